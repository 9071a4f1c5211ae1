//! A customer's daily numbers as running sums back from a day, so that any window is one
//! subtraction.

use crate::domain::Day;
use crate::history::Tally;

use super::{BASELINE_WINDOWS, LADDER, REPLAY_DAYS};

/// Days back that any window at any replayed boundary reaches: the longest window and its
/// baseline, one more window for spend, and the boundaries before today's.
pub(super) const REACH_DAYS: usize =
    (LADDER[LADDER.len() - 1] * (BASELINE_WINDOWS + 2) + REPLAY_DAYS - 1).unsigned_abs() as usize;

/// Where the tiles of a customer lie by age: one for all series of the customer.
pub(super) struct Ages<'t> {
    /// Those within reach, the newest last.
    tiles: &'t [(Day, Tally)],
    /// A bit for each age that has a tile.
    present: [u64; WORDS],
    /// Bits set in the words before each.
    before: [u32; WORDS],
}

/// Words that hold a bit for each age up to the reach.
const WORDS: usize = REACH_DAYS / 64 + 1;

impl<'t> Ages<'t> {
    /// From daily tiles, ascending; those after `last` are left out.
    pub(super) fn new(tiles: &'t [(Day, Tally)], last: Day) -> Self {
        let end = tiles.partition_point(|(day, _)| *day <= last);
        let mut present = [0_u64; WORDS];
        let mut n_tiles = 0;
        for (age, _) in ages(tiles, last) {
            present[age / 64] |= 1 << (age % 64);
            n_tiles += 1;
        }
        let mut before = [0; WORDS];
        for at in 1..WORDS {
            before[at] = before[at - 1] + present[at - 1].count_ones();
        }
        Self { tiles: &tiles[end - n_tiles..end], present, before }
    }

    /// Tiles younger than `age` days.
    fn younger(&self, age: usize) -> usize {
        let (word, bit) = (age / 64, age % 64);
        let here = self.present[word] & ((1 << bit) - 1);
        (self.before[word] + here.count_ones()) as usize
    }
}

/// What is summed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Orders = 0,
    /// Micros.
    Spend = 1,
    Activities = 2,
}

/// Running sums of all columns: place `n` holds the totals of the `n` newest tiles.
pub(super) struct Sums<'a> {
    ages: &'a Ages<'a>,
    sums: Vec<[i64; 3]>,
}

impl<'a> Sums<'a> {
    pub(super) fn new(ages: &'a Ages<'a>) -> Self {
        let mut sums = Vec::with_capacity(ages.tiles.len() + 1);
        let mut total = [0_i64; 3];
        sums.push(total);
        for (_, tally) in ages.tiles.iter().rev() {
            let more =
                [i64::from(tally.orders), tally.net_spend().micros(), i64::from(tally.activities)];
            for (total, more) in total.iter_mut().zip(more) {
                *total = total.saturating_add(more);
            }
            sums.push(total);
        }
        Self { ages, sums }
    }

    pub(super) const fn series(&self, column: Column) -> Series<'_> {
        Series { sums: self, column: column as usize }
    }
}

/// One column.
pub(super) struct Series<'a> {
    sums: &'a Sums<'a>,
    column: usize,
}

impl Series<'_> {
    /// The total of days aged `from..to`, both cut to the reach.
    pub(super) fn between(&self, from: i32, to: i32) -> i64 {
        let Sums { ages, sums } = self.sums;
        let before = |age: i32| sums[ages.younger(place(age))][self.column];
        before(to) - before(from)
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
