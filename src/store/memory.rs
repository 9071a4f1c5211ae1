//! A store in memory: for tests, trials and programs whose states are rebuilt at each start.
//!
//! It keeps every promise of [`StateStore`] but one: nothing outlives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;

use super::batch;
use super::key;
use super::{
    Batch, Commit, DedupeVisitor, Erased, Health, Notice, NoticeId, Restore, ScanRange, Snapshot,
    StateStore, StateVisitor, StoreError, StoredState, Turn, VerifyReport, Watermark,
};
use crate::domain::CustomerId;
use crate::domain::EventId;

/// A customer with its shard before it: the order of every scan.
type Place = (u16, CustomerId);

#[derive(Debug, Clone, Default)]
struct Content {
    states: BTreeMap<Place, StoredState>,
    dedupe: BTreeMap<(Place, EventId), Commit>,
    watermarks: BTreeMap<String, u64>,
    pinned: BTreeMap<String, String>,
    standings: BTreeMap<Place, Vec<u8>>,
    notices: BTreeMap<NoticeId, (CustomerId, Vec<u8>)>,
    floor: NoticeId,
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
    /// Takes the turns of customers with a state, and answers whether there was any.
    fn turn(&mut self, turns: Vec<Turn>, commit: Commit) -> bool {
        let (mut is_change, mut idx) = (false, 0);
        for Turn { customer, standing, notice } in turns {
            let place = place(&customer);
            if !self.states.contains_key(&place) {
                continue;
            }
            is_change = true;
            self.standings.insert(place, standing);
            if let Some(notice) = notice {
                self.notices.insert(NoticeId { commit, idx }, (customer, notice));
                idx += 1;
            }
        }
        is_change
    }

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
        is_change |= content.turn(batch.turns, commit);
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
        let to = (place.clone(), EventId::from_bits(u128::MAX));
        let events: Vec<_> = content.dedupe.range(from..=to).map(|(key, _)| key.clone()).collect();
        for event in &events {
            content.dedupe.remove(event);
        }
        content.standings.remove(&place);
        content.notices.retain(|_, (who, _)| who != customer);
        if had_state || !events.is_empty() {
            content.last.0 += 1;
        }
        let n_dedupe = u64::try_from(events.len()).unwrap_or(u64::MAX);
        Ok(Erased { had_state, n_dedupe, commit: content.last })
    }

    fn standing(&self, customer: &CustomerId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read()?.standings.get(&place(customer)).cloned())
    }

    fn notices(&self, after: NoticeId, most: usize) -> Result<Vec<Notice>, StoreError> {
        let content = self.read()?;
        let later = content.notices.range((Bound::Excluded(after), Bound::Unbounded));
        let notice = |(id, (customer, bytes)): (&NoticeId, &(CustomerId, Vec<u8>))| Notice {
            id: *id,
            customer: customer.clone(),
            bytes: bytes.clone(),
        };
        Ok(later.take(most).map(notice).collect())
    }

    fn notices_floor(&self) -> Result<NoticeId, StoreError> {
        Ok(self.read()?.floor)
    }

    fn prune_notices(&self, keep: usize) -> Result<u64, StoreError> {
        let mut content = self.write()?;
        let n_removed = content.notices.len().saturating_sub(keep);
        for _ in 0..n_removed {
            if let Some((id, _)) = content.notices.pop_first() {
                content.floor = id;
            }
        }
        content.last.0 += u64::from(n_removed > 0);
        Ok(u64::try_from(n_removed).unwrap_or(u64::MAX))
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
        self.read()?.scan(range, visit)
    }

    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError> {
        self.read()?.scan_dedupe(range, visit)
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
        if part.finish.is_some() {
            content.floor = NoticeId::end_of(content.last);
        }
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

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.read()?.clone()))
    }
}

/// A copy: what is in memory fits twice in what tests and trials have.
impl Snapshot for Content {
    fn commit(&self) -> Commit {
        self.last
    }

    fn pinned(&self) -> &BTreeMap<String, String> {
        &self.pinned
    }

    fn watermarks(&self) -> &BTreeMap<String, u64> {
        &self.watermarks
    }

    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError> {
        range.check()?;
        let mut n_visited = 0;
        for (place, state) in self.states.iter().filter(|(place, _)| in_range(range, place)) {
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
        let mut n_visited = 0;
        let events = self.dedupe.iter().filter(|((place, _), _)| in_range(range, place));
        for ((place, event), commit) in events {
            n_visited += 1;
            if visit(&place.1, *event, *commit) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(n_visited)
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
