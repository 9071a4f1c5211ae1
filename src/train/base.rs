//! The base's rhythm, as features and facts use it.

use crate::domain::Day;
use crate::features::{BaseStats, Rhythm, RhythmBase};

/// One customer's share in the base's rhythm.
#[derive(Debug, Clone, Copy)]
pub(super) struct CustomerRhythm<'g> {
    /// Repeat purchase days.
    pub(super) repeats: u32,
    /// Days from the first to the last purchase day.
    pub(super) active_days: f64,
    /// Gaps between purchase days of the last year, days.
    pub(super) gaps_days: &'g [f64],
}

/// Fits the base's rhythm; a weak stand-in where nobody bought twice.
pub(super) fn fit(
    rhythms: &[CustomerRhythm<'_>],
    last: Day,
    days: Option<(Day, Day)>,
) -> BaseStats {
    let history_days = days.map_or(0, |(first, _)| last.days_since(first).max(0));
    let gaps: Vec<f64> = rhythms.iter().flat_map(|r| r.gaps_days.iter().copied()).collect();
    let rows: Vec<Rhythm> = rhythms
        .iter()
        .filter(|r| r.repeats > 0)
        .map(|r| Rhythm { repeats: r.repeats, active_days: r.active_days })
        .collect();
    let rhythm = RhythmBase::fit(&rows, &gaps, f64::from(history_days))
        .unwrap_or_else(|_| RhythmBase::weak());
    BaseStats::of_rhythm(rhythm)
}
