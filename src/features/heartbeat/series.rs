//! A customer's daily numbers as running sums back from a day, so that any window is one
//! subtraction.
//!
//! In: daily tiles and a day. Out: totals of windows by age in days. Which of the sums belongs to
//! an age is told by bits, eight ages a byte. It deliberately knows no signal.

use crate::domain::Day;
use crate::history::{Tally, Tiles};

use super::{BASELINE_WINDOWS, LADDER, REPLAY_DAYS};

/// Days back that any window at any replayed boundary reaches: the longest window and its
/// baseline, one more window for spend, and the boundaries before today's.
pub(super) const REACH_DAYS: usize =
    (LADDER[LADDER.len() - 1] * (BASELINE_WINDOWS + 2) + REPLAY_DAYS - 1).unsigned_abs() as usize;

/// Tiles within reach of a day, the newest last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach<'t> {
    tiles: &'t [(Day, Tally)],
    last: Day,
}

impl<'t> Reach<'t> {
    /// Of daily tiles; those after `last` are left out.
    pub(super) fn new(tiles: &'t Tiles, last: Day) -> Self {
        let oldest = last.plus(1 - to_i32(REACH_DAYS));
        let tiles = tiles.until(last);
        // Most customers are known for less than that.
        let from = match tiles.first() {
            Some((first, _)) if *first < oldest => tiles.partition_point(|(day, _)| *day < oldest),
            _ => 0,
        };
        Self { tiles: &tiles[from..], last }
    }

    /// Orders and activities.
    pub(super) fn totals(&self) -> [u32; 2] {
        self.tiles.iter().fold([0, 0], |[orders, activities]: [u32; 2], (_, tally)| {
            [orders.saturating_add(tally.orders), activities.saturating_add(tally.activities)]
        })
    }
}

/// Ages that share a byte.
const AGES: usize = 8;
/// Bytes that hold a bit for each age up to the reach.
const BYTES: usize = REACH_DAYS / AGES + 1;

/// Bits set in a byte: not every processor counts them by itself.
const BITS_SET: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 1_usize;
    while byte < 256 {
        table[byte] = table[byte >> 1] + (byte & 1 == 1) as u8;
        byte += 1;
    }
    table
};

/// What is summed at once.
#[derive(Debug, Clone, Copy)]
pub(super) enum Summed {
    /// Orders and spend, micros.
    Purchases,
    /// Activities alone.
    Activities,
}

/// Tiles whose sums need no memory of their own.
const FEW_TILES: usize = 128;

/// Where sums are kept.
pub(super) struct Room {
    few: [[i64; 2]; FEW_TILES + 1],
    many: Vec<[i64; 2]>,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self { few: [[0; 2]; FEW_TILES + 1], many: Vec::new() }
    }

    fn take(&mut self, n: usize) -> &mut [[i64; 2]] {
        if n > self.few.len() {
            self.many.resize(n, [0; 2]);
        }
        let room = if n > self.few.len() { &mut self.many[..] } else { &mut self.few[..] };
        &mut room[..n]
    }
}

/// Running sums: place `n` holds the totals of the `n` newest tiles.
pub(super) struct Sums<'a> {
    /// A bit for each age that has a tile.
    present: [u8; BYTES],
    /// Bits set in the bytes before each.
    before: [u16; BYTES],
    sums: &'a [[i64; 2]],
}

impl<'a> Sums<'a> {
    pub(super) fn new(reach: &Reach<'_>, summed: Summed, room: &'a mut Room) -> Self {
        let mut present = [0; BYTES];
        let sums = room.take(reach.tiles.len() + 1);
        let mut total = [0_i64; 2];
        sums[0] = total;
        for (slot, (day, tally)) in sums[1..].iter_mut().zip(reach.tiles.iter().rev()) {
            let age = place(reach.last.days_since(*day));
            present[age / AGES] |= 1 << (age % AGES);
            let more = match summed {
                Summed::Purchases => [i64::from(tally.orders), tally.net_spend().micros()],
                Summed::Activities => [i64::from(tally.activities), 0],
            };
            for (total, more) in total.iter_mut().zip(more) {
                *total = total.saturating_add(more);
            }
            *slot = total;
        }
        let (mut before, mut n) = ([0; BYTES], 0);
        for (slot, &byte) in before.iter_mut().zip(&present) {
            *slot = n;
            n += u16::from(BITS_SET[usize::from(byte)]);
        }
        Self { present, before, sums }
    }

    /// Tiles younger than `age` days.
    fn younger(&self, age: usize) -> usize {
        let (byte, bit) = (age / AGES, age % AGES);
        let here = self.present[byte] & ((1_u8 << bit) - 1);
        usize::from(self.before[byte]) + usize::from(BITS_SET[usize::from(here)])
    }

    /// Orders, or activities.
    pub(super) const fn events(&self) -> Series<'_> {
        Series { sums: self, column: 0 }
    }

    /// Spend, micros; of purchases.
    pub(super) const fn spend(&self) -> Series<'_> {
        Series { sums: self, column: 1 }
    }
}

/// One column.
pub(super) struct Series<'a> {
    sums: &'a Sums<'a>,
    column: usize,
}

impl Series<'_> {
    /// The total of days younger than `age`, cut to the reach.
    pub(super) fn before(&self, age: i32) -> i64 {
        let n = self.sums.younger(place(age));
        self.sums.sums.get(n).map_or(0, |totals| totals[self.column])
    }

    /// The total of days aged `from..to`, both cut to the reach.
    pub(super) fn between(&self, from: i32, to: i32) -> i64 {
        self.before(to) - self.before(from)
    }
}

fn place(age: i32) -> usize {
    usize::try_from(age).unwrap_or(0).min(REACH_DAYS)
}

fn to_i32(days: usize) -> i32 {
    i32::try_from(days).unwrap_or(i32::MAX)
}
