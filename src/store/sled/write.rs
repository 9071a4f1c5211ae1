//! Commits of several writers: who may write what, and in which order.
//!
//! In: batches from any number of threads. Out: the same, in the engine, numbered without a gap
//! in their order, durable when answered. A batch is held against the store and encoded while
//! only writers of the same customers wait (locks by shard, taken in order); the engine takes one
//! batch at a time; the wait for the disk is shared (see `durable`) and keeps nobody from writing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::super::batch;
use super::super::codec_v1;
use super::super::home;
use super::super::key;
use super::super::{Batch, Commit, Put, StoreError, Watermark};
use super::{COMMIT_COUNTER, Counters, Durability, SledStore, bad_state};
use crate::domain::CustomerId;
use crate::domain::EventId;

/// Locks that keep writers of the same customers apart. More of them would only make holding a
/// large batch longer.
pub(super) const N_LOCKS: usize = 64;
/// Shards under one lock: neighbours, so that writers of ranges of shards share none.
const SHARDS_PER_LOCK: usize = key::N_SHARDS as usize / N_LOCKS;

/// What a batch writes, as far as it does not depend on its number.
struct Prepared {
    changes: ::sled::Batch,
    n_states_new: u64,
    /// Keys of event ids that are not there yet.
    events: Vec<Vec<u8>>,
}

impl SledStore {
    /// Keeps others from writing these customers.
    pub(super) fn hold<'c>(
        &self,
        customers: impl Iterator<Item = &'c CustomerId>,
    ) -> Vec<MutexGuard<'_, ()>> {
        let mut wanted = [false; N_LOCKS];
        for customer in customers {
            wanted[usize::from(key::shard_of(customer)) / SHARDS_PER_LOCK] = true;
        }
        let locks = self.shards.iter().zip(wanted).filter(|(_, wanted)| *wanted);
        // They guard no memory: who panicked has changed nothing, or poisoned the turn as well.
        locks.map(|(lock, _)| lock.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Waits for the turn to write.
    pub(super) fn turn(&self) -> Result<MutexGuard<'_, Counters>, StoreError> {
        let turn = self.writing.lock().map_err(|_| StoreError::ReadOnly {
            cause: "a thread stopped in the middle of a write".to_owned(),
        })?;
        self.durable.check()?;
        Ok(turn)
    }

    /// Commits a batch that has been checked.
    pub(super) fn commit_checked(&self, batch: Batch) -> Result<Commit, StoreError> {
        let Batch { puts, dedupe, watermarks, turns } = batch;
        let customers = puts.iter().map(|put| &put.customer);
        let customers = customers.chain(dedupe.iter().map(|(customer, _)| customer));
        let held = self.hold(customers.chain(turns.iter().map(|turn| &turn.customer)));
        let Prepared { mut changes, n_states_new, events } = self.prepare(&puts, &dedupe)?;
        let turn = self.turn()?;
        self.set_aside(|| puts.iter().map(|put| key::state_key(&put.customer)))?;
        let next = Counters { commit: turn.commit + 1, n_states: turn.n_states + n_states_new };
        let mut is_change = !puts.is_empty() || !events.is_empty();
        for event in events {
            changes.insert(event, &next.commit.to_le_bytes());
        }
        is_change |= self.put_watermarks(&mut changes, watermarks)?;
        is_change |= self.put_turns(&mut changes, &turns, (&*puts, next.commit))?;
        let commit = if is_change { self.apply(turn, changes, next)? } else { turn.commit };
        drop(held);
        self.acknowledge(commit)
    }

    /// Holds a batch against what is stored and encodes it.
    fn prepare(
        &self,
        puts: &[Put],
        dedupe: &[(CustomerId, EventId)],
    ) -> Result<Prepared, StoreError> {
        let mut changes = ::sled::Batch::default();
        let mut n_states_new = 0;
        for put in puts {
            let key = key::state_key(&put.customer);
            let found = self.stored_version(&key)?;
            let version = batch::next_version(put, found)?;
            n_states_new += u64::from(found == 0);
            let value = codec_v1::encode(&key[1..], version, &put.bytes);
            changes.insert(key, value);
        }
        let mut events = Vec::with_capacity(dedupe.len());
        for (customer, event) in dedupe {
            let key = key::dedupe_key(customer, *event);
            if self.read(&key)?.is_none() {
                events.push(key);
            }
        }
        Ok(Prepared { changes, n_states_new, events })
    }

    fn stored_version(&self, key: &[u8]) -> Result<u64, StoreError> {
        match self.read(key)? {
            None => Ok(0),
            Some(value) => {
                codec_v1::version(&key[1..], &value).map_err(|source| bad_state(key, source))
            }
        }
    }

    /// Writes a prepared batch with its counters and acknowledges it once it is durable.
    pub(super) fn write(
        &self,
        turn: MutexGuard<'_, Counters>,
        batch: ::sled::Batch,
        next: Counters,
    ) -> Result<Commit, StoreError> {
        let commit = self.apply(turn, batch, next)?;
        self.acknowledge(commit)
    }

    /// Hands a prepared batch with its counters to the engine, and ends the turn.
    fn apply(
        &self,
        mut turn: MutexGuard<'_, Counters>,
        mut batch: ::sled::Batch,
        next: Counters,
    ) -> Result<u64, StoreError> {
        debug_assert!(next.commit > turn.commit, "commit numbers rise");
        batch.insert(COMMIT_COUNTER, &next.commit.to_le_bytes());
        batch.insert(super::STATES_COUNTER, &next.n_states.to_le_bytes());
        if let Err(source) = self.engine.apply_batch(batch) {
            let error = self.engine_error("write", source);
            self.durable.fail(error.to_string());
            return Err(error);
        }
        *turn = next;
        self.taken.store(next.commit, Ordering::Release);
        Ok(next.commit)
    }

    /// Waits until a commit that the engine has taken is as durable as the store promises.
    pub(super) fn acknowledge(&self, commit: u64) -> Result<Commit, StoreError> {
        if self.durability == Durability::Memory {
            self.durable.reached(commit);
        }
        self.durable.reach(commit, || self.sync_log())?;
        Ok(Commit(commit))
    }

    fn sync_log(&self) -> Result<u64, StoreError> {
        let taken = self.taken.load(Ordering::Acquire);
        self.engine.flush().map_err(|source| self.engine_error("flush", source))?;
        if self.durability == Durability::Disk {
            (self.sync)(&self.log)
                .map_err(|source| home::io_error("sync", &self.home.dir().join("db"), source))?;
        }
        Ok(taken)
    }

    /// Adds the watermarks that rise, and answers whether any does.
    pub(super) fn put_watermarks(
        &self,
        batch: &mut ::sled::Batch,
        marks: Vec<Watermark>,
    ) -> Result<bool, StoreError> {
        let mut highest: BTreeMap<String, u64> = BTreeMap::new();
        for mark in marks {
            let position = highest.entry(mark.source).or_insert(mark.position);
            *position = mark.position.max(*position);
        }
        let mut is_change = false;
        for (source, position) in highest {
            let key = key::tagged(key::TAG_WATERMARK, source.as_bytes());
            let raised = match self.read(&key)? {
                None => true,
                Some(_) => self.counter(&key)? < position,
            };
            if raised {
                batch.insert(key, &position.to_le_bytes());
                is_change = true;
            }
        }
        Ok(is_change)
    }
}
