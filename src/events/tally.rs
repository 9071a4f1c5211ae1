//! How often each content was seen: the one thing intake keeps besides what the caller keeps.
//!
//! In: 128-bit hashes. Out: counts. Open addressing over hashes that are already uniform, because
//! an ordered tree costs twice the memory and several times the time at ten million rows.
//! It takes 24 bytes a slot and fills at most 7 of 8 slots: 28 to 55 bytes a distinct hash, and
//! half as much again while it grows.

/// Slots of a new table.
const SLOTS_FIRST: usize = 1 << 10;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The hash; all zeros where the slot is free.
    hash: [u64; 2],
    /// Sightings in the current file.
    here: u32,
    /// Most sightings in one earlier file.
    before: u32,
}

/// Sightings of a hash before the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Earlier in the current file.
    pub(super) here: u32,
    /// The most in any one earlier file.
    pub(super) before: u32,
}

/// Counts sightings of hashes, in the current file and in those before it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    slots: Vec<Slot>,
    n_used: usize,
}

impl Tally {
    /// With room for so many distinct hashes.
    pub(super) fn with_room(n_hashes: usize) -> Self {
        let n_slots = (n_hashes + n_hashes / 7 + 1).next_power_of_two();
        Self { slots: vec![Slot::default(); n_slots], n_used: 0 }
    }

    /// Distinct hashes seen.
    pub(super) const fn len(&self) -> usize {
        self.n_used
    }

    /// Counts one sighting; says what was seen before it.
    pub(super) fn see(&mut self, hash: u128) -> Seen {
        if (self.n_used + 1) * 8 > self.slots.len() * 7 {
            self.grow();
        }
        let key = key_of(hash);
        let idx = self.find(key);
        let slot = &mut self.slots[idx];
        if slot.hash == [0, 0] {
            slot.hash = key;
            self.n_used += 1;
        }
        let seen = Seen { here: slot.here, before: slot.before };
        slot.here = slot.here.saturating_add(1);
        seen
    }

    /// Ends the current file: its sightings become earlier ones.
    pub(super) fn next_file(&mut self) {
        for slot in &mut self.slots {
            slot.before = slot.before.max(slot.here);
            slot.here = 0;
        }
    }

    /// The slot that holds a key, or the free one where it belongs. One slot in eight is free.
    fn find(&self, key: [u64; 2]) -> usize {
        let mask = self.slots.len() - 1;
        #[allow(clippy::cast_possible_truncation, reason = "masked to the table's length")]
        let mut idx = key[0] as usize & mask;
        while self.slots[idx].hash != key && self.slots[idx].hash != [0, 0] {
            idx = (idx + 1) & mask;
        }
        idx
    }

    fn grow(&mut self) {
        let n_slots = (self.slots.len() * 2).max(SLOTS_FIRST);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); n_slots]);
        for slot in old.into_iter().filter(|slot| slot.hash != [0, 0]) {
            let idx = self.find(slot.hash);
            self.slots[idx] = slot;
        }
    }
}

/// Halves of the hash; the one hash that would mean a free slot is moved.
fn key_of(hash: u128) -> [u64; 2] {
    #[allow(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    let key = [(hash >> 64) as u64, hash as u64];
    if key == [0, 0] { [0, 1] } else { key }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_counts_as_an_ordered_map_does() {
        let mut tally = Tally::default();
        let mut counts: BTreeMap<u128, u32> = BTreeMap::new();
        let mut state = 7_u128;
        for _ in 0..20_000 {
            state = state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(11);
            // Few distinct values, all in the same few low bits of both halves.
            let hash = (state >> 90) % 5_000 * ((1 << 64) + 1);
            let count = counts.entry(hash).or_default();
            assert_eq!(tally.see(hash), Seen { here: *count, before: 0 });
            *count += 1;
        }
        assert_eq!(tally.len(), counts.len());
        tally.next_file();
        for (hash, count) in counts {
            assert_eq!(tally.see(hash), Seen { here: 0, before: count });
        }
    }
}
