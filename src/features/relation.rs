//! The relation: contacts and responses, satisfaction.
//!
//! Facts of the profile are left to the policy: a table of them is often dated long before they
//! were known, and would let a model look ahead.

use crate::domain::{AsOf, Channel, Timestamp};
use crate::history::{CONTACT_DAYS, History};

use super::schema::FeatureDef;
use super::share;

pub(super) const FEATURES: &[FeatureDef] = &[
    FeatureDef { name: "contacts_28d", unit: "count", doc: "messages delivered in 28 days" },
    FeatureDef { name: "contacts", unit: "count", doc: "messages delivered in all" },
    FeatureDef { name: "open_share", unit: "share", doc: "share of messages opened" },
    FeatureDef { name: "click_share", unit: "share", doc: "share of messages acted on" },
    FeatureDef {
        name: "contact_age_days",
        unit: "days",
        doc: "days since the last message arrived",
    },
    FeatureDef {
        name: "response_age_days",
        unit: "days",
        doc: "days since the last response to a message",
    },
    FeatureDef { name: "inactive_days", unit: "days", doc: "days since the customer did anything" },
    FeatureDef {
        name: "complaints_serious_90d",
        unit: "count",
        doc: "serious complaints in 90 days",
    },
    FeatureDef { name: "tickets_open", unit: "count", doc: "open support tickets" },
    FeatureDef { name: "nps_last", unit: "score", doc: "newest net promoter score, 0 to 10" },
    FeatureDef { name: "csat_last", unit: "score", doc: "newest satisfaction score, 1 to 5" },
    FeatureDef { name: "known_days", unit: "days", doc: "days since the first event of any kind" },
];

const MICROS_PER_DAY: i64 = 86_400_000_000;

pub(super) fn extract(history: &History, as_of: AsOf, row: &mut Vec<f64>) {
    let end = row.len() + FEATURES.len();
    let contacts = history.contacts();
    let mut delivered_28d = 0;
    let mut delivered = 0.0;
    let mut opened = 0.0;
    let mut clicked = 0.0;
    for channel in Channel::ALL {
        delivered_28d += contacts.delivered_by(channel, as_of.last_day(), CONTACT_DAYS);
        let responses = contacts.responses(channel);
        delivered += f64::from(responses.delivered);
        opened += f64::from(responses.opened);
        clicked += f64::from(responses.clicked);
    }
    let satisfaction = history.satisfaction();
    let after = Timestamp::from_micros(as_of.instant().micros() - 90 * MICROS_PER_DAY);
    row.extend_from_slice(&[
        f64::from(delivered_28d),
        delivered,
        share(opened, delivered),
        share(clicked, delivered),
        age_days(contacts.last_delivered(), as_of),
        age_days(contacts.last_response(), as_of),
        age_days(history.last_active(), as_of),
        satisfaction.serious_complaints_since(after) as f64,
        satisfaction.open_tickets().0 as f64,
        satisfaction.nps.as_ref().map_or(f64::NAN, |held| f64::from(*held.value())),
        satisfaction.csat.as_ref().map_or(f64::NAN, |held| f64::from(*held.value())),
        age_days(history.first_event(), as_of),
    ]);
    debug_assert_eq!(row.len(), end, "one value a definition");
}

/// Whole periods of 24 hours from an instant to `as_of`, NaN for none.
fn age_days(instant: Option<Timestamp>, as_of: AsOf) -> f64 {
    instant.map_or(f64::NAN, |instant| (as_of.instant().hours_since(instant) / 24.0).floor())
}
