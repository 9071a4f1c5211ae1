//! The level of the value champion: what its total is corrected to.
//!
//! In: what the champion and the purchase models expected in all at each origin, and what came.
//! Out: a factor for the newest window that knows nothing of it, and what each way of setting the
//! level missed by at each origin. Single customers' values are ranked by the models; their level
//! is what all of them share.
//!
//! Two forecasts of the total are at hand: the champion's at the level of the newest window that it
//! learned from, which follows the base of late, and the purchase models', which know that cohorts
//! age. Their errors differ, so the mean of their logarithms is used, as forecasts are combined
//! where there are too few windows to tell which is better (Bates and Granger 1969, "The
//! Combination of Forecasts"). It deliberately learns no weights, and no lasting bias either: both
//! took more windows than logs have, and missed by more (`docs/QUALITY.md`).

use crate::domain::Day;
use crate::model::ValueKind;

use super::backtest::Rows;
use super::origins::OriginResult;

/// What one origin tells of the level, each as the logarithm of actual over predicted total.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelTrial {
    /// The origin.
    pub cutoff: Day,
    /// The champion as it was fitted.
    pub plain: f64,
    /// The champion at the level of the newest window that it learned from.
    pub newest_window: f64,
    /// The purchase models.
    pub purchase_models: f64,
}

impl LevelTrial {
    /// What the level in use missed by: the mean of the two forecasts' misses.
    #[must_use]
    pub const fn used(&self) -> f64 {
        0.5 * (self.newest_window + self.purchase_models)
    }
}

/// The correction of a total.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// The factor for the newest origin, known before its window.
    pub judged: f64,
    /// The origins that tell of the model in use, oldest first.
    pub trials: Vec<LevelTrial>,
}

impl Correction {
    /// Of a candidate.
    #[must_use]
    pub(super) fn of(origins: &[OriginResult], rows: &[(Day, Rows)], champion: ValueKind) -> Self {
        let telling = origins.iter().filter(|origin| is_evidence(origin, champion));
        let trials = telling.filter_map(|origin| {
            let actual = rows[origin.at].1.spend.iter().sum();
            trial(origin, champion, actual, |kind| total(origin, kind))
        });
        let judged = origins.last().map_or(1.0, |newest| {
            let level = libm::exp(newest.level(champion).unwrap_or(0.0));
            let [own, other] = [champion, ValueKind::Btyd].map(|kind| total(newest, kind));
            level * own.zip(other).map_or(1.0, |(own, other)| combining(level * own, other))
        });
        Self { judged, trials: trials.collect() }
    }
}

/// The factor that takes a total to the geometric mean of itself and another; 1 where either is
/// nothing.
#[must_use]
pub(super) fn combining(own: f64, other: f64) -> f64 {
    let factor = (other / own).sqrt();
    if own > 0.0 && other > 0.0 && factor.is_finite() { factor } else { 1.0 }
}

/// Holds one origin's totals against what came; `total` gives a candidate's total.
pub(super) fn trial(
    origin: &OriginResult,
    champion: ValueKind,
    actual: f64,
    total: impl Fn(ValueKind) -> Option<f64>,
) -> Option<LevelTrial> {
    let plain = libm::log(actual / total(champion)?);
    let purchase_models = libm::log(actual / total(ValueKind::Btyd)?);
    let newest_window = plain - origin.level(champion).unwrap_or(0.0);
    let found = LevelTrial { cutoff: origin.cutoff, plain, newest_window, purchase_models };
    (plain.is_finite() && found.used().is_finite()).then_some(found)
}

/// Whether an origin tells of the level of the model in use.
pub(super) fn is_evidence(origin: &OriginResult, champion: ValueKind) -> bool {
    origin.mature || (champion == ValueKind::Btyd && origin.n_windows > 0)
}

fn total(origin: &OriginResult, kind: ValueKind) -> Option<f64> {
    origin.means(kind).map(|means| means.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_meet_in_the_geometric_middle() {
        assert!((combining(100.0, 400.0) - 2.0).abs() < 1e-12);
        for (own, other) in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            assert!((combining(own, other) - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn the_level_in_use_misses_by_the_mean_of_both() {
        let trial = LevelTrial {
            cutoff: Day::from_number(0),
            plain: 0.5,
            newest_window: 0.3,
            purchase_models: -0.1,
        };
        assert!((trial.used() - 0.1).abs() < 1e-15);
    }
}
