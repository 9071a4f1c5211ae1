//! A store on disk as one commit left it, while others go on.
//!
//! The engine keeps no old versions. So as long as a snapshot is open, whoever writes first sets
//! aside what a key held before (nothing, where it was not there); a walk over the snapshot reads
//! the engine and puts what was set aside in the place of what is there now. Ids of events need
//! that only where they are removed: each carries the commit that brought it, and none changes.
//! What is set aside is bounded; a snapshot that would need more is lost, and says so.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::super::engine;
use super::super::key;
use super::super::{
    Commit, DedupeVisitor, ScanRange, Snapshot, StateStore, StateVisitor, StoreError,
};
use super::{SledStore, bad_state, codec_v1, dedupe_commit, parse_dedupe, parse_place, prefix};

/// Most bytes set aside for one snapshot: some half a million changed customers.
const SET_ASIDE_MAX: usize = 256 << 20;
/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 96;
/// Entries read from the engine at a time.
const PAGE: usize = 512;

/// What keys held at the commit of a snapshot, of those that were written since.
#[derive(Debug, Default)]
struct Before(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

#[derive(Debug)]
struct SetAside {
    limit: usize,
    content: Mutex<(Before, Held)>,
}

#[derive(Debug, Clone, Copy)]
enum Held {
    Bytes(usize),
    Lost,
}

impl SetAside {
    fn new(limit: usize) -> Self {
        Self { limit, content: Mutex::new((Before::default(), Held::Bytes(0))) }
    }

    fn lock(&self) -> MutexGuard<'_, (Before, Held)> {
        // No step of it leaves the map half-changed.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: &[u8], value: Option<&[u8]>) {
        let mut content = self.lock();
        let (before, held) = &mut *content;
        let Held::Bytes(n_bytes) = *held else { return };
        if before.0.contains_key(key) {
            return;
        }
        let n_bytes = n_bytes + key.len() + value.map_or(0, <[u8]>::len) + ENTRY_BYTES;
        if n_bytes > self.limit {
            before.0.clear();
            *held = Held::Lost;
            return;
        }
        *held = Held::Bytes(n_bytes);
        before.0.insert(key.to_vec(), value.map(<[u8]>::to_vec));
    }

    fn range(&self, range: Range) -> Result<Vec<Old>, StoreError> {
        let content = self.lock();
        let (before, held) = &*content;
        match held {
            Held::Lost => Err(StoreError::SnapshotLost { limit: self.limit }),
            Held::Bytes(_) => {
                let found = before.0.range::<Vec<u8>, _>(range);
                Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        }
    }
}

type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);
/// A key with what it held, if anything.
type Old = (Vec<u8>, Option<Vec<u8>>);

/// The open snapshots of a store.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Mutex<Vec<Weak<SetAside>>>);

impl Snapshots {
    /// Those that are open.
    fn all(&self) -> Vec<Arc<SetAside>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|one| one.strong_count() > 0);
        open.iter().filter_map(Weak::upgrade).collect()
    }

    fn open(&self, limit: usize) -> Arc<SetAside> {
        let one = Arc::new(SetAside::new(limit));
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|one| one.strong_count() > 0);
        open.push(Arc::downgrade(&one));
        one
    }
}

/// The store as one commit left it.
pub(super) struct SledSnapshot {
    engine: ::sled::Db,
    dir: PathBuf,
    commit: Commit,
    pinned: BTreeMap<String, String>,
    watermarks: BTreeMap<String, u64>,
    set_aside: Arc<SetAside>,
}

impl fmt::Debug for SledSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledSnapshot")
            .field("dir", &self.dir)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}

impl SledStore {
    /// Sets aside what keys hold, for each open snapshot. To be called by whoever holds the turn to
    /// write, before any of them is written.
    pub(super) fn set_aside<K: AsRef<[u8]>, I: Iterator<Item = K>>(
        &self,
        keys: impl FnOnce() -> I,
    ) -> Result<(), StoreError> {
        let open = self.snapshots.all();
        if open.is_empty() {
            return Ok(());
        }
        for key in keys() {
            let value = self.read(key.as_ref())?;
            for one in &open {
                one.keep(key.as_ref(), value.as_deref());
            }
        }
        Ok(())
    }

    /// Opens a snapshot of the newest commit, which nobody is in the middle of.
    pub(super) fn open_snapshot(&self) -> Result<SledSnapshot, StoreError> {
        self.open_snapshot_within(SET_ASIDE_MAX)
    }

    /// The same, with so many bytes to set aside.
    pub(super) fn open_snapshot_within(&self, limit: usize) -> Result<SledSnapshot, StoreError> {
        let turn = self.turn()?;
        let snapshot = SledSnapshot {
            engine: self.engine.clone(),
            dir: self.home.dir().to_owned(),
            commit: Commit(turn.commit),
            pinned: self.pinned()?,
            watermarks: self.watermarks()?,
            set_aside: self.snapshots.open(limit),
        };
        drop(turn);
        // What it shows has been acknowledged, or will stay whatever happens.
        self.acknowledge(snapshot.commit.0)?;
        Ok(snapshot)
    }
}

/// What a walk over entries does with each.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

impl SledSnapshot {
    /// Hands over the entries that begin so, in the order of their keys.
    fn walk(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let end = Bound::Excluded(after(prefix));
        let mut from = Bound::Included(prefix.to_vec());
        loop {
            let entries = self.engine.range::<Vec<u8>, _>((from.clone(), end.clone())).take(PAGE);
            let page = entries.collect::<Result<Vec<_>, _>>();
            let page = page.map_err(|source| engine::error(&self.dir, "scan", source))?;
            let last = page.last().map(|(key, _)| key.to_vec()).filter(|_| page.len() == PAGE);
            let to = last.clone().map_or_else(|| end.clone(), Bound::Included);
            // Read after the page: whatever was written before the page was read is in it.
            let before = self.set_aside.range((from, to))?;
            if merge(&page, before, visit)? == ControlFlow::Break(()) {
                return Ok(());
            }
            match last {
                None => return Ok(()),
                Some(last) => from = Bound::Excluded(last),
            }
        }
    }
}

/// Hands over a page with what was set aside in the place of what is there now.
fn merge(
    page: &[(::sled::IVec, ::sled::IVec)],
    before: Vec<Old>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, StoreError> {
    let mut before = before.into_iter().peekable();
    for (key, value) in page {
        while let Some((gone, value)) = before.next_if(|(held, _)| **held < **key) {
            if let Some(value) = value
                && visit(&gone, &value)? == ControlFlow::Break(())
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        let gone_on = match before.next_if(|(held, _)| **held == **key) {
            None => visit(key, value)?,
            Some((_, Some(value))) => visit(key, &value)?,
            Some((_, None)) => ControlFlow::Continue(()),
        };
        if gone_on == ControlFlow::Break(()) {
            return Ok(ControlFlow::Break(()));
        }
    }
    for (key, value) in before {
        if let Some(value) = value
            && visit(&key, &value)? == ControlFlow::Break(())
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The first key behind all that begin so.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    // A tag is a letter, so there is always a byte to raise.
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

impl Snapshot for SledSnapshot {
    fn commit(&self) -> Commit {
        self.commit
    }

    fn pinned(&self) -> &BTreeMap<String, String> {
        &self.pinned
    }

    fn watermarks(&self) -> &BTreeMap<String, u64> {
        &self.watermarks
    }

    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError> {
        let mut n_visited = 0;
        self.walk(&prefix(key::TAG_STATE, range)?, &mut |key, value| {
            let customer = parse_place(key)?;
            let state = codec_v1::decode(&key[1..], value);
            n_visited += 1;
            Ok(visit(&customer, state.map_err(|source| bad_state(key, source))?))
        })?;
        Ok(n_visited)
    }

    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError> {
        let mut n_visited = 0;
        self.walk(&prefix(key::TAG_DEDUPE, range)?, &mut |key, value| {
            let commit = dedupe_commit(key, value)?;
            if commit > self.commit {
                return Ok(ControlFlow::Continue(()));
            }
            let (customer, event) = parse_dedupe(key)?;
            n_visited += 1;
            Ok(visit(&customer, event, commit))
        })?;
        Ok(n_visited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{customer, puts};
    use crate::store::{Put, SledOptions, SledStore};

    #[test]
    fn a_snapshot_that_would_need_too_much_memory_is_lost_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = SledStore::open(dir.path(), &SledOptions::default()).unwrap();
        let put = |idx: u32| Put {
            customer: customer(&format!("c{idx}")),
            expected_version: None,
            bytes: vec![7; 400],
        };
        store.commit(puts((0..50).map(put).collect())).unwrap();
        let snapshot = store.open_snapshot_within(10_000).unwrap();
        store.commit(puts((0..5).map(put).collect())).unwrap();
        let count = |snapshot: &SledSnapshot| {
            snapshot.scan(ScanRange::All, &mut |_, _| ControlFlow::Continue(()))
        };
        assert_eq!(count(&snapshot).unwrap(), 50);
        store.commit(puts((0..50).map(put).collect())).unwrap();
        assert!(matches!(count(&snapshot), Err(StoreError::SnapshotLost { limit: 10_000 })));
        assert_eq!(count(&store.open_snapshot().unwrap()).unwrap(), 50);
    }

    #[test]
    fn what_comes_after_a_prefix() {
        for (prefix, wanted) in [
            (&b"s"[..], &b"t"[..]),
            (&[b's', 0, 255], &[b's', 1]),
            (&[b's', 3, 254], &[b's', 3, 255]),
        ] {
            assert_eq!(after(prefix), wanted);
        }
    }
}
