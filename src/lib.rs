//! tenure tells a business which customers are about to leave, what each is worth, and what to do
//! about it.
//!
//! A log of events is folded into histories; a history as of an instant gives features; models
//! turn features into scores; a policy turns scores and facts into a decision. Training replays
//! the same fold at past cutoffs, the server keeps it current event by event, the batch job runs
//! it over the whole base.
//!
//! ```
//! use tenure::bundle::{Bundle, BundleSelector};
//! use tenure::domain::{AsOf, CustomerId, Day};
//! use tenure::events::{Event, RawEvent, RawValue};
//! use tenure::history::History;
//! use tenure::scoring::Engine;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bundle = Bundle::find("models".as_ref(), &BundleSelector::parse("demo")?)?;
//! let engine = Engine::try_new(bundle, None, Some("the salt of this installation"))?;
//!
//! let rules = tenure::events::Rules::default();
//! let mut history = History::default();
//! for (day, amount) in [("2017-08-03", 40.0), ("2017-08-29", 55.5), ("2017-09-20", 35.0)] {
//!     let raw = RawEvent {
//!         customer: "42".into(),
//!         event_type: Some("purchase".into()),
//!         time: RawValue::text(day),
//!         attributes: vec![("amount".into(), RawValue::Number(amount))],
//!         ..RawEvent::default()
//!     };
//!     history.apply(&Event::try_from_raw(&raw, &rules)?);
//! }
//!
//! let as_of = AsOf::end_of(Day::parse("2017-11-30")?, engine.zone());
//! let answer = engine.answer(&CustomerId::try_new("42")?, &history, as_of, false)?;
//! let churn = answer.score.churn_prob.ok_or("a buyer has a probability")?;
//! assert!(churn > 0.5, "silent for 71 days, used to come every 24: {churn}");
//! println!("{churn:.2} {} {}", answer.decision.segment, answer.decision.campaign_id());
//! # Ok(())
//! # }
//! ```
//!
//! The modules below stand in the order in which data flows: each uses only those above it.

pub mod domain;

pub mod events;

pub mod history;

pub mod features;
pub mod labels;

pub mod dataset;

pub mod model;

pub mod evaluate;

pub mod bundle;

pub mod decision;

pub mod scoring;

pub mod store;

pub mod config;
pub mod telemetry;

pub mod batch;
pub mod serve;
pub mod train;
