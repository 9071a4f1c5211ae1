//! The store on disk, on the embedded engine sled 0.34.
//!
//! One tree holds everything, told apart by the first byte of the key, so that one engine batch
//! makes states, event ids, watermarks and counters move together (S-1). A mutex of our own
//! orders the writers; the engine's transactions over several trees gave the same guarantee for
//! about 15 % more CPU and may run their closure twice.
//!
//! Two habits of the engine are cured here. Half-written snapshots are removed before opening
//! (see `home`). And because its `flush` does not sync the file on Linux, a handle of our own on
//! `db` is synced before a commit is acknowledged. `db` is the only file that grows between
//! openings: states are kept so small ([`STATE_BYTES_MAX`](super::STATE_BYTES_MAX)) that
//! `blobs/`, which the engine never syncs, stays empty.

mod durable;
mod notices;
mod snapshot;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use self::durable::Durable;
use super::batch;
use super::codec_v1;
use super::engine;
use super::error::hex;
use super::home;
use super::home::Home;
use super::key;
use super::key::{COMMIT_COUNTER, IMPORT_MARK, STATES_COUNTER};
use super::{
    Batch, Commit, CorruptPart, DedupeVisitor, Erased, Health, Notice, NoticeId, OpenReport,
    Restore, ScanRange, Snapshot, StateStore, StateVisitor, StoreError, StoredState, VerifyReport,
};
use crate::domain::CustomerId;
use crate::domain::EventId;

/// The engine's page cache: a quarter of its own default of 1 GiB, enough for the inner nodes
/// and the hot leaves of ten million customers.
const CACHE_BYTES: u64 = 256 << 20;

/// Most event ids removed in one commit of a pruning.
const PRUNE_CHUNK: usize = 10_000;

/// What a commit has survived when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing: a killed process may lose the last fifth of a second.
    Memory,
    /// The end of the process, in whatever way; not that of the machine.
    Process,
    /// The end of the machine, as far as its disk keeps what it has acknowledged.
    #[default]
    Disk,
}

/// How to open a store on disk. The default is right for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SledOptions {
    /// What a commit has survived when it is acknowledged.
    pub durability: Durability,
    /// Size of the engine's page cache in bytes.
    pub cache_bytes: u64,
    /// Leaves half-written snapshots where they are, so that a test can show what they do.
    #[doc(hidden)]
    pub keep_leftovers: bool,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { durability: Durability::Disk, cache_bytes: CACHE_BYTES, keep_leftovers: false }
    }
}

#[derive(Debug, Clone, Copy)]
struct Counters {
    commit: u64,
    n_states: u64,
}

/// Makes what was written to the engine's log durable; a test puts a failing one in its place.
type Sync = fn(&File) -> io::Result<()>;

/// The store on disk. One process opens a directory at a time.
pub struct SledStore {
    // Dropped in this order: the engine first, the lock of the directory last.
    engine: ::sled::Db,
    log: File,
    durability: Durability,
    sync: Sync,
    /// Who writes which customers.
    shards: [Mutex<()>; write::N_LOCKS],
    writing: Mutex<Counters>,
    snapshots: snapshot::Snapshots,
    /// The newest commit that the engine has taken.
    taken: AtomicU64,
    durable: Durable,
    home: Home,
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore")
            .field("dir", &self.home.dir())
            .field("durability", &self.durability)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store in `dir`, or makes one there if the directory is new or empty.
    ///
    /// # Errors
    /// [`StoreError::AlreadyOpen`], [`StoreError::NotAStore`], [`StoreError::NewerFormat`],
    /// [`StoreError::ImportUnfinished`], [`StoreError::Corrupt`], [`StoreError::DiskFull`] and
    /// the file system's own; nothing acknowledged is touched.
    pub fn open(dir: &Path, options: &SledOptions) -> Result<(Self, OpenReport), StoreError> {
        let (home, report) = Home::open(dir, !options.keep_leftovers)?;
        let engine = engine::open(dir, options)?;
        let path = dir.join("db");
        let log = File::open(&path).map_err(|source| home::io_error("open", &path, source))?;
        let mut store = Self {
            engine,
            log,
            durability: options.durability,
            sync: File::sync_data,
            shards: std::array::from_fn(|_| Mutex::default()),
            writing: Mutex::new(Counters { commit: 0, n_states: 0 }),
            snapshots: snapshot::Snapshots::default(),
            taken: AtomicU64::new(0),
            durable: Durable::new(0),
            home,
        };
        if report.created {
            store.put_first_counters()?;
        }
        store.home.sync_dir()?;
        if store.read(IMPORT_MARK)?.is_some() {
            return Err(StoreError::ImportUnfinished { dir: dir.to_owned() });
        }
        let counters = Counters {
            commit: store.counter(COMMIT_COUNTER)?,
            n_states: store.counter(STATES_COUNTER)?,
        };
        store.writing = Mutex::new(counters);
        store.taken = AtomicU64::new(counters.commit);
        store.durable = Durable::new(counters.commit);
        Ok((store, report))
    }

    /// The directory of the store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.home.dir()
    }

    /// Bytes that the engine's files take on disk.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be looked at.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.engine.size_on_disk().map_err(|source| self.engine_error("measure", source))
    }

    fn put_first_counters(&self) -> Result<(), StoreError> {
        let mut batch = ::sled::Batch::default();
        batch.insert(COMMIT_COUNTER, &0_u64.to_le_bytes());
        batch.insert(STATES_COUNTER, &0_u64.to_le_bytes());
        self.engine.apply_batch(batch).map_err(|source| self.engine_error("create", source))?;
        self.engine.flush().map_err(|source| self.engine_error("create", source))?;
        self.home.finish_creating()
    }

    fn read(&self, key: &[u8]) -> Result<Option<::sled::IVec>, StoreError> {
        self.engine.get(key).map_err(|source| self.engine_error("read", source))
    }

    fn counter(&self, key: &[u8]) -> Result<u64, StoreError> {
        let found = self.read(key)?;
        let bytes = found.as_deref().and_then(|value| value.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or_else(|| StoreError::Corrupt {
            dir: self.home.dir().to_owned(),
            part: CorruptPart::Counters,
            detail: format!("{} is {found:?}", String::from_utf8_lossy(key)),
        })
    }

    fn engine_error(&self, operation: &'static str, source: ::sled::Error) -> StoreError {
        engine::error(self.home.dir(), operation, source)
    }

    /// Every entry whose key begins with the prefix, in key order.
    fn entries(
        &self,
        prefix: Vec<u8>,
    ) -> impl Iterator<Item = Result<(::sled::IVec, ::sled::IVec), StoreError>> {
        self.engine
            .scan_prefix(prefix)
            .map(|entry| entry.map_err(|source| self.engine_error("scan", source)))
    }

    fn text_entries(&self, tag: u8) -> Result<Vec<(String, ::sled::IVec)>, StoreError> {
        self.entries(vec![tag])
            .map(|entry| {
                let (key, value) = entry?;
                let name = std::str::from_utf8(&key[1..]).map_err(|_| StoreError::BadKey {
                    key_hex: hex(&key),
                    source: key::KeyError::NotText,
                })?;
                Ok((name.to_owned(), value))
            })
            .collect()
    }
}

impl StateStore for SledStore {
    fn get(&self, customer: &CustomerId) -> Result<Option<StoredState>, StoreError> {
        let key = key::state_key(customer);
        match self.read(&key)? {
            None => Ok(None),
            Some(value) => codec_v1::decode(&key[1..], &value)
                .map(Some)
                .map_err(|source| bad_state(&key, source)),
        }
    }

    fn with_state(
        &self,
        customer: &CustomerId,
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        let key = key::state_key(customer);
        let Some(value) = self.read(&key)? else { return Ok(false) };
        let parts = codec_v1::parts(&key[1..], &value);
        look(parts.map_err(|source| bad_state(&key, source))?.1);
        Ok(true)
    }

    fn contains(&self, customer: &CustomerId, event: EventId) -> Result<bool, StoreError> {
        Ok(self.read(&key::dedupe_key(customer, event))?.is_some())
    }

    fn commit(&self, batch: Batch) -> Result<Commit, StoreError> {
        batch.check()?;
        self.commit_checked(batch)
    }

    fn delete(&self, customer: &CustomerId) -> Result<Erased, StoreError> {
        let held = self.hold(std::iter::once(customer));
        let mut changes = ::sled::Batch::default();
        let key = key::state_key(customer);
        let had_state = self.read(&key)?.is_some();
        let mut keys = vec![::sled::IVec::from(key)];
        for entry in self.entries(key::dedupe_prefix(customer)) {
            keys.push(entry?.0);
        }
        let n_dedupe = length(&keys[1..]);
        self.forget_notices(&mut changes, customer)?;
        let turn = self.turn()?;
        self.set_aside(|| keys.iter())?;
        keys.into_iter().for_each(|key| changes.remove(key));
        if !had_state && n_dedupe == 0 {
            let last = turn.commit;
            drop((turn, held));
            return Ok(Erased { had_state, n_dedupe, commit: self.acknowledge(last)? });
        }
        let next = Counters {
            commit: turn.commit + 1,
            n_states: turn.n_states.saturating_sub(u64::from(had_state)),
        };
        let commit = self.write(turn, changes, next)?;
        Ok(Erased { had_state, n_dedupe, commit })
    }

    fn standing(&self, customer: &CustomerId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_standing(customer)
    }

    fn notices(&self, after: NoticeId, most: usize) -> Result<Vec<Notice>, StoreError> {
        self.read_notices(after, most)
    }

    fn notices_floor(&self) -> Result<NoticeId, StoreError> {
        self.read_floor()
    }

    fn prune_notices(&self, keep: usize) -> Result<u64, StoreError> {
        self.remove_notices(keep)
    }

    fn prune_dedupe(&self, older_than: Commit) -> Result<u64, StoreError> {
        let mut n_removed = 0;
        let mut chunk = Vec::new();
        for entry in self.entries(vec![key::TAG_DEDUPE]) {
            let (key, value) = entry?;
            if dedupe_commit(&key, &value)? < older_than {
                chunk.push(key);
            }
            if chunk.len() == PRUNE_CHUNK {
                n_removed += self.remove_all(std::mem::take(&mut chunk))?;
            }
        }
        Ok(n_removed + self.remove_all(chunk)?)
    }

    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError> {
        let mut n_visited = 0;
        for entry in self.entries(prefix(key::TAG_STATE, range)?) {
            let (key, value) = entry?;
            let customer = parse_place(&key)?;
            let state = codec_v1::decode(&key[1..], &value);
            n_visited += 1;
            if visit(&customer, state.map_err(|source| bad_state(&key, source))?)
                == ControlFlow::Break(())
            {
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
        let mut n_visited = 0;
        for entry in self.entries(prefix(key::TAG_DEDUPE, range)?) {
            let (key, value) = entry?;
            let (customer, event) = parse_dedupe(&key)?;
            n_visited += 1;
            if visit(&customer, event, dedupe_commit(&key, &value)?) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(n_visited)
    }

    fn count(&self) -> Result<u64, StoreError> {
        self.counter(STATES_COUNTER)
    }

    fn watermarks(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.text_entries(key::TAG_WATERMARK)?
            .into_iter()
            .map(|(source, _)| {
                let key = key::tagged(key::TAG_WATERMARK, source.as_bytes());
                Ok((source, self.counter(&key)?))
            })
            .collect()
    }

    fn pinned(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let facts = self.text_entries(key::TAG_PIN)?.into_iter();
        Ok(facts.map(|(name, fact)| (name, String::from_utf8_lossy(&fact).into_owned())).collect())
    }

    fn pin(&self, facts: &[(&str, &str)]) -> Result<(), StoreError> {
        let turn = self.turn()?;
        let fresh = batch::new_facts(&self.pinned()?, facts)?;
        if fresh.is_empty() {
            return Ok(());
        }
        let mut changes = ::sled::Batch::default();
        for (name, fact) in fresh {
            changes.insert(key::tagged(key::TAG_PIN, name.as_bytes()), fact.as_bytes());
        }
        let next = Counters { commit: turn.commit + 1, ..*turn };
        self.write(turn, changes, next).map(|_| ())
    }

    fn restore(&self, part: Restore) -> Result<Commit, StoreError> {
        part.check()?;
        let turn = self.turn()?;
        self.set_aside(|| part.states.iter().map(|(customer, _)| key::state_key(customer)))?;
        let events = part.dedupe.iter();
        self.set_aside(|| events.map(|(customer, event, _)| key::dedupe_key(customer, *event)))?;
        let mut changes = ::sled::Batch::default();
        let mut next = Counters { commit: turn.commit + 1, ..*turn };
        for (customer, state) in &part.states {
            let key = key::state_key(customer);
            if self.read(&key)?.is_some() {
                return Err(StoreError::AlreadyThere { customer: customer.clone() });
            }
            let value = codec_v1::encode(&key[1..], state.version, &state.bytes);
            changes.insert(key, value);
            next.n_states += 1;
        }
        for (customer, event, commit) in &part.dedupe {
            changes.insert(key::dedupe_key(customer, *event), &commit.0.to_le_bytes());
        }
        self.put_watermarks(&mut changes, part.watermarks)?;
        match part.finish {
            None => changes.insert(IMPORT_MARK, b"unfinished"),
            Some(commit) => {
                changes.remove(IMPORT_MARK);
                next.commit = next.commit.max(commit.0);
                let floor = NoticeId::end_of(Commit(next.commit));
                changes.insert(key::NOTICES_FLOOR, &key::notice_key(floor)[1..]);
            }
        }
        self.write(turn, changes, next)
    }

    fn last_commit(&self) -> Commit {
        Commit(self.durable.upto())
    }

    fn health(&self) -> Health {
        match self.durable.failure() {
            Some(cause) => Health::ReadOnly { cause: cause.to_owned() },
            None if self.writing.is_poisoned() => {
                Health::ReadOnly { cause: "a thread stopped in the middle of a write".to_owned() }
            }
            None => Health::Serving,
        }
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.verify_all()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.open_snapshot()?))
    }
}

impl SledStore {
    fn remove_all(&self, keys: Vec<::sled::IVec>) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let turn = self.turn()?;
        let next = Counters { commit: turn.commit + 1, ..*turn };
        let mut changes = ::sled::Batch::default();
        let n_removed = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        self.set_aside(|| keys.iter())?;
        keys.into_iter().for_each(|key| changes.remove(key));
        self.write(turn, changes, next)?;
        Ok(n_removed)
    }
}

fn prefix(tag: u8, range: ScanRange) -> Result<Vec<u8>, StoreError> {
    range.check()?;
    Ok(match range {
        ScanRange::All => vec![tag],
        ScanRange::Shard(shard) => key::tagged(tag, &shard.to_be_bytes()),
    })
}

fn parse_place(key: &[u8]) -> Result<CustomerId, StoreError> {
    key::parse_place(&key[1..]).map_err(|source| StoreError::BadKey { key_hex: hex(key), source })
}

fn parse_dedupe(key: &[u8]) -> Result<(CustomerId, EventId), StoreError> {
    key::parse_dedupe(&key[1..]).map_err(|source| StoreError::BadKey { key_hex: hex(key), source })
}

fn dedupe_commit(key: &[u8], value: &[u8]) -> Result<Commit, StoreError> {
    let bytes = value.try_into().map_err(|_| StoreError::BadKey {
        key_hex: hex(key),
        source: key::KeyError::TooShort { found: value.len() },
    })?;
    Ok(Commit(u64::from_le_bytes(bytes)))
}

fn bad_state(key: &[u8], source: codec_v1::CodecError) -> StoreError {
    StoreError::BadState { key_hex: hex(key), source }
}

fn length<T>(bytes: &[T]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "sled_tests.rs"]
mod tests;
