//! Between the types of the wire and those of the domain, every field by name.
//!
//! In: messages. Out: checked events, instants and ids, or violations with the path of the field;
//! and back from answers and histories to messages. It deliberately decides nothing.

mod customer;
mod event;
mod explain;
mod export;
mod model;
mod names;
mod score;
mod stats;
mod transition;
mod writer;

#[cfg(test)]
mod score_message;
#[cfg(test)]
mod score_tests;
#[cfg(test)]
mod tests;

pub(super) use customer::{customer, facts};
pub(super) use event::{event, raw_value};
pub(super) use explain::explained;
pub(super) use export::{manifest, manifest_of};
pub(super) use model::{agreement, policy, traffic, traffic_name};
pub(super) use names::tier;
pub(super) use score::{Made, origin, score};
pub(super) use stats::stats;
pub(super) use transition::transition;

use crate::domain::{CustomerId, IdError, Timestamp};

use super::status::Violation;

/// An instant as a message.
#[allow(clippy::cast_possible_truncation, reason = "micros of a second are below 10^6")]
pub(super) const fn timestamp(instant: Timestamp) -> prost_types::Timestamp {
    let (seconds, micros) = instant.seconds_and_micros();
    prost_types::Timestamp { seconds, nanos: micros as i32 * 1_000 }
}

/// An instant out of a message; what is finer than a microsecond is cut off.
pub(super) fn instant(
    field: &str,
    message: &prost_types::Timestamp,
) -> Result<Timestamp, Violation> {
    let prost_types::Timestamp { seconds, nanos } = *message;
    if !(0..1_000_000_000).contains(&nanos) {
        let found = format!("nanos is {nanos}, 0 to 999999999 is wanted");
        return Err(Violation::new(field, "BAD_TIME", found));
    }
    Timestamp::try_from_seconds(seconds, i64::from(nanos) / 1_000)
        .map_err(|error| Violation::new(field, "BAD_TIME", error))
}

/// A customer id out of a message.
pub(super) fn customer_id(field: &str, text: &str) -> Result<CustomerId, Violation> {
    CustomerId::try_new(text).map_err(|error| {
        let reason = match error {
            IdError::Empty => "ID_EMPTY",
            IdError::TooLong { .. } => "ID_TOO_LONG",
            IdError::Control => "ID_HAS_CONTROL_CHARACTER",
        };
        Violation::new(field, reason, error)
    })
}
