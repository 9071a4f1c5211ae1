//! Which events were seen before: the rule of duplicates, in one place.
//!
//! In: events one after the other, file by file. Out: the id of each, and whether it is taken in.
//! An event that brings an id is known by it and its customer, once over all files. Without one,
//! identical rows of one file are kept and numbered, and a later file adds only what it has more
//! of than any file before: two rows alike may be two orders, a file sent twice is not.

use xxhash_rust::xxh3::xxh3_128;

use super::tally::Tally;
use crate::domain::EventId;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    /// Its id.
    pub(super) id: EventId,
    /// Whether it was taken in before.
    pub(super) is_duplicate: bool,
    /// Whether an identical row of the same file was taken in before it.
    pub(super) is_identical: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    events: Tally,
    customers: Tally,
    /// Customers with a profile of no time of its own.
    timeless: Tally,
}

impl Sightings {
    /// With room for so many events.
    pub(super) fn with_room(n_events: usize) -> Self {
        Self { events: Tally::with_room(n_events), ..Self::default() }
    }

    /// Sees an event with an id of its own; the scratch space must be empty.
    pub(super) fn of_own_id(&mut self, id: EventId, who: &str, scratch: &mut Vec<u8>) -> Fate {
        scratch.extend_from_slice(&id.bits().to_be_bytes());
        scratch.extend_from_slice(who.as_bytes());
        let seen = self.events.see(xxh3_128(scratch));
        scratch.clear();
        Fate { id, is_duplicate: seen.here > 0 || seen.before > 0, is_identical: false }
    }

    /// Sees an event by its content, which is left as it was.
    pub(super) fn of_content(&mut self, content: &mut Vec<u8>) -> Fate {
        let first_id = EventId::from_content_in(content, 0);
        let seen = self.events.see(first_id.bits());
        let id = match seen.here {
            0 => first_id,
            n => EventId::from_content_in(content, u64::from(n)),
        };
        let is_duplicate = seen.here < seen.before;
        Fate { id, is_duplicate, is_identical: seen.here > 0 && !is_duplicate }
    }

    /// Sees a profile without a time; says whether it is the customer's first.
    pub(super) fn is_first_timeless(&mut self, who: &str) -> bool {
        let seen = self.timeless.see(xxh3_128(who.as_bytes()));
        seen.here == 0 && seen.before == 0
    }

    /// Sees the customer of an event that was taken in.
    pub(super) fn see_customer(&mut self, who: &str) {
        self.customers.see(xxh3_128(who.as_bytes()));
    }

    /// Customers seen.
    pub(super) const fn n_customers(&self) -> usize {
        self.customers.len()
    }

    /// Ends the current file.
    pub(super) fn next_file(&mut self) {
        self.events.next_file();
    }
}
