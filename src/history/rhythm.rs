//! The customer's own rhythm: gaps between purchase days.
//!
//! Gaps between days that still have a tile are read from the tiles. Once a purchase day leaves
//! them, the gap before it can no longer change and is summed here, in integers.

use std::sync::LazyLock;

use crate::domain::Day;

use super::tiles::DAILY_DAYS;

/// Fixed-point unit of a stored natural logarithm: sums stay exact and order-free.
const LOG_UNIT: f64 = 1e9;

/// Logarithms of the gaps that lie between daily tiles: most of what is ever asked for.
static LOG_NANOS: LazyLock<Vec<i64>> =
    LazyLock::new(|| (0..=DAILY_DAYS.unsigned_abs()).map(log_nanos_of).collect());

/// ln(gap) in billionths.
fn log_nanos(gap: u32) -> i64 {
    let held = usize::try_from(gap).ok().and_then(|gap| LOG_NANOS.get(gap));
    held.copied().unwrap_or_else(|| log_nanos_of(gap))
}

fn log_nanos_of(gap: u32) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "ln(2^32) x 1e9 is below 2^35")]
    let log_nanos = (f64::from(gap).ln() * LOG_UNIT).round() as i64;
    log_nanos
}

/// Sums over gaps between consecutive purchase days that have left the daily tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RetiredGaps {
    pub(super) first: Option<Day>,
    pub(super) last: Option<Day>,
    pub(super) count: u32,
    pub(super) sum_squares: u64,
    pub(super) sum_log_nanos: i64,
    pub(super) max: u32,
}

impl RetiredGaps {
    /// Takes the next purchase day, ascending; one at or before the last changes nothing.
    pub(super) fn push(&mut self, day: Day) {
        if let Some(last) = self.last {
            if day <= last {
                return;
            }
            self.add_gap(day.days_since(last).unsigned_abs());
        }
        self.first = self.first.or(Some(day));
        self.last = Some(day);
    }

    fn add_gap(&mut self, gap: u32) {
        self.add(gap, log_nanos(gap));
    }

    fn add(&mut self, gap: u32, log_nanos: i64) {
        self.count = self.count.saturating_add(1);
        self.sum_squares = self.sum_squares.saturating_add(u64::from(gap) * u64::from(gap));
        self.sum_log_nanos = self.sum_log_nanos.saturating_add(log_nanos);
        self.max = self.max.max(gap);
    }

    /// Appends a later span of retired days. Exact when that span begins after this one ends.
    pub(super) fn append(&mut self, later: &Self) {
        let Some(first) = later.first else { return };
        self.push(first);
        self.count = self.count.saturating_add(later.count);
        self.sum_squares = self.sum_squares.saturating_add(later.sum_squares);
        self.sum_log_nanos = self.sum_log_nanos.saturating_add(later.sum_log_nanos);
        self.max = self.max.max(later.max);
        self.last = self.last.max(later.last);
    }
}

/// Gaps between a customer's purchase days, in days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaps {
    /// Number of gaps.
    pub count: u32,
    /// Mean, days; NaN without a gap.
    pub mean: f64,
    /// Standard deviation (population form), days; NaN without a gap.
    pub sd: f64,
    /// Longest, days; NaN without a gap.
    pub max: f64,
    /// Newest, days; NaN without a gap.
    pub last: f64,
    /// Sum of natural logarithms of the gaps.
    pub sum_log: f64,
}

/// Joins the retired gaps with those of the purchase days still in tiles (ascending).
pub(super) fn gaps(retired: &RetiredGaps, days: impl Iterator<Item = Day>) -> Gaps {
    let mut all = *retired;
    let mut newest = None;
    let log_nanos_held: &[i64] = &LOG_NANOS;
    for day in days {
        let Some(last) = all.last else {
            all.push(day);
            continue;
        };
        let ahead = day.days_since(last);
        if ahead <= 0 {
            continue;
        }
        newest = Some(ahead);
        all.last = Some(day);
        let gap = ahead.unsigned_abs();
        let held = usize::try_from(gap).ok().and_then(|gap| log_nanos_held.get(gap));
        all.add(gap, held.copied().unwrap_or_else(|| log_nanos_of(gap)));
    }
    let n = f64::from(all.count);
    if all.count == 0 {
        let none = f64::NAN;
        return Gaps { count: 0, mean: none, sd: none, max: none, last: none, sum_log: 0.0 };
    }
    let total = match (all.first, all.last) {
        (Some(first), Some(last)) => f64::from(last.days_since(first)),
        _ => f64::NAN,
    };
    let mean = total / n;
    let variance = (all.sum_squares as f64 / n - mean * mean).max(0.0);
    Gaps {
        count: all.count,
        mean,
        sd: variance.sqrt(),
        max: f64::from(all.max),
        last: newest.map_or(f64::NAN, f64::from),
        sum_log: all.sum_log_nanos as f64 / LOG_UNIT,
    }
}
