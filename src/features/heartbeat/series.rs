//! A customer's daily numbers as running sums back from a day, so that any window is one
//! subtraction.

use crate::domain::Day;
use crate::history::Tally;

use super::{BASELINE_WINDOWS, LADDER, REPLAY_DAYS};

/// Days back that any window at any replayed boundary reaches: the longest window and its
/// baseline, one more window for spend, and the boundaries before today's.
pub(super) const REACH_DAYS: usize =
    (LADDER[LADDER.len() - 1] * (BASELINE_WINDOWS + 2) + REPLAY_DAYS - 1).unsigned_abs() as usize;

/// Running sums by age: `sums[a]` is the total of the days younger than `a` days.
#[derive(Debug)]
pub(super) struct Series {
    sums: [i64; REACH_DAYS + 1],
}

impl Series {
    /// From daily tiles, ascending; those after `last` are left out.
    pub(super) fn new(tiles: &[(Day, Tally)], last: Day, value: impl Fn(&Tally) -> i64) -> Self {
        let mut sums = [0; REACH_DAYS + 1];
        let (mut total, mut filled) = (0_i64, 0);
        for (age, tally) in ages(tiles, last) {
            // Days without a tile repeat the sum; this day's number counts from the next age on.
            sums[filled..=age].fill(total);
            total = total.saturating_add(value(tally));
            filled = age + 1;
        }
        sums[filled..].fill(total);
        Self { sums }
    }

    /// The total of days aged `from..to`, both cut to the reach.
    pub(super) fn between(&self, from: i32, to: i32) -> i64 {
        self.sums[place(to)] - self.sums[place(from)]
    }
}

fn place(age: i32) -> usize {
    usize::try_from(age).unwrap_or(0).min(REACH_DAYS)
}

/// The tiles within reach of `last`, the newest first, each with its age in days.
fn ages(tiles: &[(Day, Tally)], last: Day) -> impl Iterator<Item = (usize, &Tally)> {
    let n = tiles.partition_point(|(day, _)| *day <= last);
    tiles[..n].iter().rev().map_while(move |(day, tally)| {
        let age = usize::try_from(last.days_since(*day)).ok()?;
        (age < REACH_DAYS).then_some((age, tally))
    })
}

/// Orders and activities within reach.
pub(super) fn totals(tiles: &[(Day, Tally)], last: Day) -> [u32; 2] {
    ages(tiles, last).fold([0, 0], |[orders, activities]: [u32; 2], (_, tally)| {
        [orders.saturating_add(tally.orders), activities.saturating_add(tally.activities)]
    })
}
