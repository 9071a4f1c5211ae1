//! The one place of the batch programs that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// The time now: what tells the future of a log apart.
#[allow(clippy::disallowed_methods, reason = "the batch programs' edge: read here alone")]
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
