//! A store in memory: for tests, trials and programs whose states are rebuilt at each start.
//!
//! It keeps every promise of [`StateStore`] but one: nothing outlives the process.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;

use super::batch;
use super::key;
use super::{
    Batch, Commit, DedupeVisitor, Erased, Health, Restore, ScanRange, StateStore, StateVisitor,
    StoreError, StoredState, VerifyReport, Watermark,
};
use crate::domain::CustomerId;
use crate::domain::EventId;

/// A customer with its shard before it: the order of every scan.
type Place = (u16, CustomerId);

#[derive(Debug, Default)]
struct Content {
    states: BTreeMap<Place, StoredState>,
    dedupe: BTreeMap<(Place, EventId), Commit>,
    watermarks: BTreeMap<String, u64>,
    pinned: BTreeMap<String, String>,
    last: Commit,
}

/// The store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: RwLock<Content>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> Result<RwLockReadGuard<'_, Content>, StoreError> {
        self.content.read().map_err(|_| half_written())
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, Content>, StoreError> {
        self.content.write().map_err(|_| half_written())
    }
}

fn half_written() -> StoreError {
    StoreError::ReadOnly { cause: "a thread stopped in the middle of a write".to_owned() }
}

fn place(customer: &CustomerId) -> Place {
    (key::shard_of(customer), customer.clone())
}

fn in_range(range: ScanRange, place: &Place) -> bool {
    match range {
        ScanRange::All => true,
        ScanRange::Shard(shard) => place.0 == shard,
    }
}

impl Content {
    /// Raises watermarks, and answers whether any rose.
    fn raise(&mut self, marks: Vec<Watermark>) -> bool {
        let mut is_change = false;
        for mark in marks {
            let position = self.watermarks.get(&mark.source);
            if position.is_none_or(|position| *position < mark.position) {
                self.watermarks.insert(mark.source, mark.position);
                is_change = true;
            }
        }
        is_change
    }
}

impl StateStore for MemoryStore {
    fn get(&self, customer: &CustomerId) -> Result<Option<StoredState>, StoreError> {
        Ok(self.read()?.states.get(&place(customer)).cloned())
    }

    fn contains(&self, customer: &CustomerId, event: EventId) -> Result<bool, StoreError> {
        Ok(self.read()?.dedupe.contains_key(&(place(customer), event)))
    }

    fn commit(&self, batch: Batch) -> Result<Commit, StoreError> {
        batch.check()?;
        let mut content = self.write()?;
        let mut states = Vec::with_capacity(batch.puts.len());
        for put in batch.puts {
            let place = place(&put.customer);
            let found = content.states.get(&place).map_or(0, |state| state.version);
            let version = batch::next_version(&put, found)?;
            states.push((place, StoredState { version, bytes: put.bytes }));
        }
        let commit = Commit(content.last.0 + 1);
        let mut is_change = !states.is_empty();
        content.states.extend(states);
        let n_before = content.dedupe.len();
        for (customer, event) in batch.dedupe {
            content.dedupe.entry((place(&customer), event)).or_insert(commit);
        }
        is_change |= content.dedupe.len() > n_before;
        is_change |= content.raise(batch.watermarks);
        if is_change {
            content.last = commit;
        }
        Ok(content.last)
    }

    fn delete(&self, customer: &CustomerId) -> Result<Erased, StoreError> {
        let mut content = self.write()?;
        let place = place(customer);
        let had_state = content.states.remove(&place).is_some();
        let from = (place.clone(), EventId::from_bits(0));
        let to = (place, EventId::from_bits(u128::MAX));
        let events: Vec<_> = content.dedupe.range(from..=to).map(|(key, _)| key.clone()).collect();
        for event in &events {
            content.dedupe.remove(event);
        }
        if had_state || !events.is_empty() {
            content.last.0 += 1;
        }
        let n_dedupe = u64::try_from(events.len()).unwrap_or(u64::MAX);
        Ok(Erased { had_state, n_dedupe, commit: content.last })
    }

    fn prune_dedupe(&self, older_than: Commit) -> Result<u64, StoreError> {
        let mut content = self.write()?;
        let n_before = content.dedupe.len();
        content.dedupe.retain(|_, commit| *commit >= older_than);
        let n_removed = n_before - content.dedupe.len();
        if n_removed > 0 {
            content.last.0 += 1;
        }
        Ok(u64::try_from(n_removed).unwrap_or(u64::MAX))
    }

    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError> {
        range.check()?;
        let content = self.read()?;
        let mut n_visited = 0;
        for (place, state) in content.states.iter().filter(|(place, _)| in_range(range, place)) {
            n_visited += 1;
            if visit(&place.1, state.clone()) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(n_visited)
    }

    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError> {
        range.check()?;
        let content = self.read()?;
        let mut n_visited = 0;
        let events = content.dedupe.iter().filter(|((place, _), _)| in_range(range, place));
        for ((place, event), commit) in events {
            n_visited += 1;
            if visit(&place.1, *event, *commit) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(n_visited)
    }

    fn count(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.read()?.states.len()).unwrap_or(u64::MAX))
    }

    fn watermarks(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        Ok(self.read()?.watermarks.clone())
    }

    fn pinned(&self) -> Result<BTreeMap<String, String>, StoreError> {
        Ok(self.read()?.pinned.clone())
    }

    fn pin(&self, facts: &[(&str, &str)]) -> Result<(), StoreError> {
        let mut content = self.write()?;
        let fresh = batch::new_facts(&content.pinned, facts)?;
        if !fresh.is_empty() {
            content.pinned.extend(fresh);
            content.last.0 += 1;
        }
        Ok(())
    }

    fn restore(&self, part: Restore) -> Result<Commit, StoreError> {
        part.check()?;
        let mut content = self.write()?;
        for (customer, _) in &part.states {
            if content.states.contains_key(&place(customer)) {
                return Err(StoreError::AlreadyThere { customer: customer.clone() });
            }
        }
        let states = part.states.into_iter().map(|(customer, state)| (place(&customer), state));
        content.states.extend(states);
        for (customer, event, commit) in part.dedupe {
            content.dedupe.insert((place(&customer), event), commit);
        }
        content.raise(part.watermarks);
        content.last.0 = (content.last.0 + 1).max(part.finish.map_or(0, Commit::seq));
        Ok(content.last)
    }

    fn last_commit(&self) -> Commit {
        self.read().map_or(Commit(0), |content| content.last)
    }

    fn health(&self) -> Health {
        match self.content.is_poisoned() {
            true => Health::ReadOnly { cause: half_written().to_string() },
            false => Health::Serving,
        }
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        let content = self.read()?;
        let n_states = u64::try_from(content.states.len()).unwrap_or(u64::MAX);
        let state_bytes: usize = content.states.values().map(|state| state.bytes.len()).sum();
        Ok(VerifyReport {
            n_states,
            n_states_expected: n_states,
            n_dedupe: u64::try_from(content.dedupe.len()).unwrap_or(u64::MAX),
            state_bytes: u64::try_from(state_bytes).unwrap_or(u64::MAX),
            ..VerifyReport::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;
    use crate::store::StateStore;
    use crate::store::conformance::Rig;
    use crate::store::conformance::conformance_suite;

    impl Rig for MemoryStore {
        fn fresh() -> Self {
            Self::new()
        }

        fn store(&self) -> &dyn StateStore {
            self
        }

        fn reopen(&mut self) {}
    }

    conformance_suite!(MemoryStore);
}
