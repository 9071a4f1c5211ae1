//! The factor that corrects the total of the value champion.
//!
//! In: what the champion expected in all at each origin, and what came. Out: the factor for the
//! model in use, one for the newest window that knows nothing of it, and what the rule missed by at
//! each origin. Single customers' values are ranked by the models; their level is what all share.
//!
//! Two rules compete. One sets the level to that of the newest window learned from. The other adds
//! to that what the first rule missed by at the origins before, as a mean shrunk to nothing (n
//! origins count n parts, nothing counts one). The second is used only where it would have missed by
//! less at two origins or more.

use crate::domain::Day;
use crate::model::ValueKind;

use super::backtest::Rows;
use super::origins::OriginResult;

/// Origins that must have tried the second rule before it can be used.
const TRIALS_MIN: usize = 2;

/// How a total is corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorrectionRule {
    /// To the level of the newest window learned from.
    NewestWindow,
    /// That, and what it missed by at the origins.
    Origins,
}

impl CorrectionRule {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewestWindow => "newest_window",
            Self::Origins => "newest_window_and_origins",
        }
    }
}

/// What one origin tells of the level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelTrial {
    /// The origin.
    pub cutoff: Day,
    /// Logarithm of actual over predicted total, without any correction.
    pub plain: f64,
    /// The same with the level of the newest window learned from.
    pub newest_window: f64,
    /// The same with the second rule; none at the first origin.
    pub origins: Option<f64>,
}

/// The correction of a total.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// The rule in use.
    pub rule: CorrectionRule,
    /// What it adds, as a logarithm, to the level of the newest window learned from.
    pub log_shift: f64,
    /// The factor for the newest origin, known before its window.
    pub judged: f64,
    /// The origins, oldest first.
    pub trials: Vec<LevelTrial>,
}

impl Correction {
    /// Of a candidate.
    #[must_use]
    pub(super) fn of(origins: &[OriginResult], rows: &[(Day, Rows)], champion: ValueKind) -> Self {
        let mut trials: Vec<LevelTrial> = Vec::new();
        for origin in origins.iter().filter(|origin| is_evidence(origin, champion)) {
            let Some(plain) = log_ratio(origin, rows, champion) else { continue };
            let newest_window = plain - origin.level(champion).unwrap_or(0.0);
            let origins = (!trials.is_empty()).then(|| newest_window - shift(&trials));
            trials.push(LevelTrial { cutoff: origin.cutoff, plain, newest_window, origins });
        }
        let newest = origins.last();
        let before: Vec<LevelTrial> = trials
            .iter()
            .copied()
            .filter(|trial| newest.is_none_or(|newest| trial.cutoff != newest.cutoff))
            .collect();
        let level = newest.and_then(|newest| newest.level(champion)).unwrap_or(0.0);
        let judged = libm::exp(level + used_shift(&before).1);
        let (rule, log_shift) = used_shift(&trials);
        Self { rule, log_shift, judged, trials }
    }
}

/// Whether an origin tells of the level of the model in use.
fn is_evidence(origin: &OriginResult, champion: ValueKind) -> bool {
    origin.mature || (champion == ValueKind::Btyd && origin.n_windows > 0)
}

/// Logarithm of the actual over the predicted total at an origin.
fn log_ratio(origin: &OriginResult, rows: &[(Day, Rows)], champion: ValueKind) -> Option<f64> {
    let predicted: f64 = origin.means(champion)?.iter().sum();
    let actual: f64 = rows[origin.at].1.spend.iter().sum();
    (predicted > 0.0 && actual > 0.0).then(|| libm::log(actual / predicted))
}

/// What the first rule missed by, as a mean shrunk to nothing.
fn shift(trials: &[LevelTrial]) -> f64 {
    let sum: f64 = trials.iter().map(|trial| trial.newest_window).sum();
    sum / (trials.len() as f64 + 1.0)
}

/// The rule that past origins speak for, and what it adds to the level.
fn used_shift(trials: &[LevelTrial]) -> (CorrectionRule, f64) {
    let tried: Vec<(f64, f64)> =
        trials.iter().filter_map(|trial| Some((trial.newest_window, trial.origins?))).collect();
    let squares =
        |of: fn(&(f64, f64)) -> f64| -> f64 { tried.iter().map(|pair| of(pair).powi(2)).sum() };
    if tried.len() >= TRIALS_MIN && squares(|pair| pair.1) < squares(|pair| pair.0) {
        (CorrectionRule::Origins, shift(trials))
    } else {
        (CorrectionRule::NewestWindow, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(misses: &[f64]) -> Vec<LevelTrial> {
        let mut trials: Vec<LevelTrial> = Vec::new();
        for (at, &miss) in misses.iter().enumerate() {
            let origins = (at > 0).then(|| miss - shift(&trials));
            let cutoff = Day::from_number(30 * i32::try_from(at).unwrap());
            trials.push(LevelTrial { cutoff, plain: miss, newest_window: miss, origins });
        }
        trials
    }

    #[test]
    fn what_was_missed_by_every_time_is_corrected() {
        let (rule, shift) = used_shift(&trials(&[0.2, 0.2, 0.2]));
        assert_eq!(rule, CorrectionRule::Origins);
        assert!((shift - 0.15).abs() < 1e-12);
    }

    #[test]
    fn what_was_missed_by_at_random_is_not() {
        let none = (CorrectionRule::NewestWindow, 0.0);
        assert_eq!(used_shift(&trials(&[0.2, -0.2, 0.2, -0.2])), none);
        assert_eq!(used_shift(&trials(&[0.2, 0.2])), none, "one trial proves nothing");
        assert_eq!(used_shift(&[]), none);
    }
}
