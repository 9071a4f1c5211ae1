//! Ids of the newest events, so that an event that comes twice changes nothing.

use crate::domain::Day;

/// Ids remembered: the newest ones within the lateness bound. The store and the intake keep the
/// complete record; this one protects a single history wherever it is folded.
const IDS_MAX: usize = 96;

/// Days after which an event counts as late, back from the newest one.
pub const LATENESS_DAYS: i32 = 35;

/// The newest event ids, ascending by day, then id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RecentIds {
    pub(super) ids: Vec<(Day, u64)>,
}

impl RecentIds {
    pub(super) fn contains(&self, day: Day, tie: u64) -> bool {
        self.ids.binary_search(&(day, tie)).is_ok()
    }

    pub(super) fn insert(&mut self, day: Day, tie: u64, newest: Day) {
        if newest.days_since(day) <= LATENESS_DAYS
            && let Err(at) = self.ids.binary_search(&(day, tie))
        {
            self.ids.insert(at, (day, tie));
            if self.ids.len() > IDS_MAX {
                self.ids.remove(0);
            }
        }
    }

    /// Keeps the newest ids.
    pub(super) fn keep(&mut self, n: usize) {
        let n_old = self.ids.len().saturating_sub(n);
        self.ids.drain(..n_old);
    }

    pub(super) fn retire(&mut self, newest: Day) {
        let n_old = self.ids.partition_point(|(day, _)| newest.days_since(*day) > LATENESS_DAYS);
        self.ids.drain(..n_old);
    }

    pub(super) fn merge(&mut self, other: &Self, newest: Day) {
        for (day, tie) in &other.ids {
            self.insert(*day, *tie, newest);
        }
    }
}
