//! `Stats`: the whole base in numbers, worked out at most once a minute and kept.
//!
//! In: how old the answer may be. Out: counts by tier, segment, arm and cohort. One walk over the
//! store at a time, on one thread of its own, shard by shard; who asks meanwhile waits for the same
//! walk. A caller that cannot wait so long asks again: the walk goes on.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::convert;
use super::live::{Live, Moment};
use super::pb;
use super::scoring_service::as_of;
use super::status::{ServeError, Violation, scoring_error};
use crate::domain::{AsOf, CustomerId, Timestamp};
use crate::history::History;
use crate::scoring::{Overview, ScoringError};
use crate::store::{N_SHARDS, ScanRange};

/// It is worked out no sooner than so long after the last time.
const EVERY: Duration = Duration::from_secs(60);
/// How old an answer may be where the request says nothing.
const AGE_MAX: Duration = Duration::from_secs(300);

/// What was counted last.
#[derive(Debug)]
pub(super) struct Counting {
    newest: watch::Sender<Option<Arc<Counted>>>,
    is_at_work: AtomicBool,
}

#[derive(Debug)]
struct Counted {
    at: Timestamp,
    result: Result<pb::StatsResponse, ServeError>,
}

impl Default for Counting {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), is_at_work: AtomicBool::new(false) }
    }
}

/// Answers a call.
pub(super) async fn stats(
    live: &Arc<Live>,
    request: pb::StatsRequest,
) -> Result<pb::StatsResponse, ServeError> {
    live.moment().require_log("there are no customers to count")?;
    let age_max = age_max(request.max_age.as_ref())?.max(EVERY);
    let mut newest = live.counting.newest.subscribe();
    loop {
        let counted = newest.borrow_and_update().clone();
        let now = live.clock.now();
        if let Some(counted) = counted
            && age(counted.at, now) <= age_max
            && let Ok(counts) = &counted.result
        {
            return Ok(counts.clone());
        }
        begin(live);
        newest.changed().await.map_err(ServeError::internal)?;
        let counted = newest.borrow().clone();
        if let Some(Err(error)) = counted.as_deref().map(|counted| &counted.result) {
            return Err(error.clone());
        }
    }
}

fn age_max(asked: Option<&prost_types::Duration>) -> Result<Duration, ServeError> {
    let Some(asked) = asked else { return Ok(AGE_MAX) };
    Duration::try_from(*asked).map_err(|_| {
        let found = "a span of time that is not negative is wanted";
        ServeError::Invalid(vec![Violation::new("max_age", "BAD_DURATION", found)])
    })
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(now.micros().saturating_sub(at.micros()).max(0).unsigned_abs())
}

/// Begins a walk, unless one is under way.
fn begin(live: &Arc<Live>) {
    if live.counting.is_at_work.swap(true, Ordering::AcqRel) {
        return;
    }
    let own = Arc::clone(live);
    let walk = tokio::task::spawn_blocking(move || {
        let moment = own.moment();
        let result = count(&own, &moment);
        Counted { at: moment.now, result }
    });
    let own = Arc::clone(live);
    tokio::spawn(async move {
        let counted = walk.await.unwrap_or_else(|panicked| Counted {
            at: own.clock.now(),
            result: Err(ServeError::internal(panicked)),
        });
        own.counting.is_at_work.store(false, Ordering::Release);
        own.counting.newest.send_replace(Some(Arc::new(counted)));
    });
}

/// Walks over all customers.
fn count(live: &Live, moment: &Moment) -> Result<pb::StatsResponse, ServeError> {
    let engine = &moment.served.engine;
    let now = AsOf::at(moment.now, engine.zone());
    let mut overview = Overview::new(now.last_day());
    for shard in 0..N_SHARDS {
        if live.is_ending.load(Ordering::Relaxed) {
            return Err(ServeError::Closing);
        }
        let mut held: Vec<(CustomerId, History)> = Vec::new();
        let mut failed = None;
        live.store.scan(ScanRange::Shard(shard), &mut |customer, state| {
            match History::from_bytes(&state.bytes) {
                Ok(history) => held.push((customer.clone(), history)),
                Err(error) => failed = Some(error),
            }
            if failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        add(moment, (&held, now), &mut overview)?;
    }
    let id = engine.policy().id();
    Ok(pb::StatsResponse {
        as_of: Some(convert::timestamp(moment.now)),
        snapshot: moment.snapshot.clone(),
        model_version: engine.model_version().to_owned(),
        policy_version: id.version.clone(),
        currency_code: engine.currency().as_str().to_owned(),
        ..convert::stats(&overview)
    })
}

fn add(
    moment: &Moment,
    (held, now): (&[(CustomerId, History)], AsOf),
    overview: &mut Overview,
) -> Result<(), ServeError> {
    let engine = &moment.served.engine;
    let asked: Vec<(&CustomerId, &History)> =
        held.iter().map(|(customer, history)| (customer, history)).collect();
    for ((customer, history), answer) in held.iter().zip(engine.answer_many(&asked, now, false)) {
        let answer = match answer {
            // An event that is a moment ahead of this machine's clock.
            Err(ScoringError::AsOfTooEarly { .. }) => {
                engine.answer(customer, history, as_of(None, history, moment), false)
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| scoring_error(customer, &error))?;
        overview.add(history, &answer);
    }
    Ok(())
}
