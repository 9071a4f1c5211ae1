//! Distinct things a customer bought or used: categories, activities, devices, places of sale.
//!
//! Bounded and order-free: of the names seen, those with the smallest hashes are kept (the
//! "k minimum values" sketch of Bar-Yossef et al. 2002). A kept name was kept from its first
//! event on, so its counts are complete; up to the bound everything is exact, beyond it the
//! number of distinct names is estimated and the kept ones are a fair sample.

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{Day, Money, Name};

/// What is known of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub(super) hash: u64,
    /// The name.
    pub name: Name,
    /// Events with it.
    pub count: u32,
    /// The newest day with it.
    pub last_day: Day,
    /// Bit i: used on the day `last_day - i`, for 28 days.
    pub(super) recent_days: u32,
    /// Paid with it.
    pub spend: Money,
}

/// Bits of [`Usage::recent_days`].
const RECENT_MASK: u32 = (1 << 28) - 1;

impl Usage {
    /// Xxh3-64 of the name, by which names are ordered.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Days of use in the 28 days that end with `last`.
    #[must_use]
    pub fn days_used_28d(&self, last: Day) -> u32 {
        let age = last.days_since(self.last_day);
        match u32::try_from(age) {
            Ok(age @ 0..28) => ((self.recent_days << age) & RECENT_MASK).count_ones(),
            _ => 0,
        }
    }

    fn add(&mut self, count: u32, last_day: Day, recent_days: u32, spend: Money) {
        self.count = self.count.saturating_add(count);
        self.spend += spend;
        let ahead = last_day.days_since(self.last_day);
        let (newer, older) = if ahead > 0 {
            (recent_days, self.recent_days)
        } else {
            (self.recent_days, recent_days)
        };
        let shift = ahead.unsigned_abs();
        let shifted = if shift < 28 { (older << shift) & RECENT_MASK } else { 0 };
        self.recent_days = newer | shifted;
        self.last_day = self.last_day.max(last_day);
    }
}

/// Up to `bound` distinct names, by ascending hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distinct {
    pub(super) kept: Vec<Usage>,
    /// Whether names were left out: then the kept ones are a sample.
    pub(super) overflowed: bool,
}

impl Distinct {
    /// The kept names, by ascending hash.
    #[must_use]
    pub fn kept(&self) -> &[Usage] {
        &self.kept
    }

    /// What is known of a name; none where it was never seen or is not kept.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<&Usage> {
        let hash = xxh3_64(name.as_str().as_bytes());
        let at = self.kept.binary_search_by_key(&hash, |usage| usage.hash).ok()?;
        self.kept.get(at)
    }

    /// The greatest hash that is kept for sure where names were left out; none where all are kept.
    #[must_use]
    pub fn hash_bound(&self) -> Option<u64> {
        if self.overflowed { self.kept.last().map(|usage| usage.hash) } else { None }
    }

    pub(super) fn record(&mut self, name: &Name, day: Day, spend: Money, bound: usize) {
        let hash = xxh3_64(name.as_str().as_bytes());
        match self.kept.binary_search_by_key(&hash, |usage| usage.hash) {
            Ok(at) => self.kept[at].add(1, day, 1, spend),
            Err(at) => {
                // Once names were left out the list does not grow: it stays a sample.
                let bound = if self.overflowed { self.kept.len() } else { bound };
                if at >= bound {
                    self.overflowed = true;
                    return;
                }
                let usage = Usage {
                    hash,
                    name: name.clone(),
                    count: 1,
                    last_day: day,
                    recent_days: 1,
                    spend,
                };
                self.kept.insert(at, usage);
                self.cut(bound);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self, bound: usize) {
        let bound = [&*self, other]
            .into_iter()
            .filter(|list| list.overflowed)
            .fold(bound, |bound, list| bound.min(list.kept.len()));
        for usage in &other.kept {
            match self.kept.binary_search_by_key(&usage.hash, |u| u.hash) {
                Ok(at) => {
                    self.kept[at].add(usage.count, usage.last_day, usage.recent_days, usage.spend)
                }
                Err(at) => self.kept.insert(at, usage.clone()),
            }
        }
        self.overflowed |= other.overflowed;
        self.cut(bound);
    }

    /// Keeps the names of the smallest hashes.
    pub(super) fn cut(&mut self, bound: usize) {
        if self.kept.len() > bound {
            self.kept.truncate(bound);
            self.overflowed = true;
        }
    }

    /// Number of distinct names: exact up to the bound, estimated beyond it.
    #[must_use]
    pub fn n_distinct(&self) -> f64 {
        let n = self.kept.len() as f64;
        match self.kept.last() {
            Some(last) if self.overflowed && last.hash > 0 => {
                ((n - 1.0) / (last.hash as f64 / u64::MAX as f64)).max(n)
            }
            _ => n,
        }
    }

    /// Kept names used in the `days` days that end with `last`.
    #[must_use]
    pub fn n_recent(&self, last: Day, days: i32) -> usize {
        self.kept.iter().filter(|usage| last.days_since(usage.last_day) < days).count()
    }

    /// The name with the most events (ties: more spend, then the smaller name).
    #[must_use]
    pub fn top(&self) -> Option<&Usage> {
        self.kept.iter().max_by(|a, b| {
            (a.count, a.spend).cmp(&(b.count, b.spend)).then_with(|| b.name.cmp(&a.name))
        })
    }
}
