//! Features: a history as of an instant, as numbers.
//!
//! In: a history and an instant no earlier than its newest event. Out: one row of `f64`, NaN
//! where a value cannot exist (such as a gap before the second purchase). Every value is a pure
//! function of events strictly before the instant (invariant F-1).
//! It deliberately sees no label, no model and no clock. One file a family:
//! `rfm` money and timing, `windows` trailing windows, `breadth` what was bought and used,
//! `relation` contacts and satisfaction.

mod base;
mod beta;
mod breadth;
mod covariates;
mod heartbeat;
mod offer;
mod relation;
mod rfm;
mod rhythm;
mod schema;
mod season;
mod windows;

#[cfg(test)]
mod tests;

pub use base::BaseStats;
pub use covariates::{
    COVARIATE_COLUMNS_MAX, CovariateCode, CovariateEncoding, CovariateError, CovariateSource,
};
pub use heartbeat::{
    Beat, DayCurve, Heartbeat, HeartbeatBase, HeartbeatMode, HeartbeatRule, Heartbeats, SignalBase,
    heartbeats,
};
pub use offer::{CategoryLife, MULTI_CATEGORY, OfferBase, SECOND_DEVICE, is_regular};
pub use rfm::{PurchaseSummary, purchase_summary, purchase_times};
pub(crate) use rhythm::quantile;
pub use rhythm::{GammaPrior, PRIOR_HISTORY_GAPS_MIN, Rhythm, RhythmBase, RhythmError};
pub use schema::{FeatureDef, FeatureSchema};
pub use season::{REPEAT_WEEKS_MIN, SeasonClock, SeasonError};

use crate::domain::AsOf;
use crate::history::History;

/// The features read from a history, in the order of a row. The buy-till-you-die columns come
/// after them: they need fitted models.
#[must_use]
pub fn definitions() -> Vec<FeatureDef> {
    [rfm::FEATURES, windows::FEATURES, breadth::FEATURES, relation::FEATURES].concat()
}

/// Appends a history's features as of an instant to `row`, in the order of [`definitions`].
///
/// The history must hold events strictly before `as_of` only; `base` holds what the base as a
/// whole contributes.
pub fn extract(base: &BaseStats, history: &History, as_of: AsOf, row: &mut Vec<f64>) {
    debug_assert!(history.newest().is_none_or(|newest| newest < as_of.instant()), "F-1");
    rfm::extract(base, history, as_of, row);
    windows::extract(history, as_of, row);
    breadth::extract(history, as_of, row);
    relation::extract(history, as_of, row);
}

/// `part / whole`, NaN where the whole is nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}
