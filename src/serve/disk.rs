//! Room on the store's disk, and a store that is watched.
//!
//! In: the directory of the store and how much room there must be. Out: whether events are taken,
//! how long commits took and how many failed. Events are refused while there is still room, since
//! the engine needs some to be opened again; they are taken again once there is room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

use super::metrics::Metrics;
use crate::domain::{CustomerId, EventId};
use crate::store::{
    Batch, Commit, DedupeVisitor, Erased, Health, Notice, NoticeId, Restore, ScanRange, Snapshot,
    StateStore, StateVisitor, StoreError, StoredState, VerifyReport,
};

/// What nobody has measured.
const UNKNOWN: u64 = u64::MAX;

/// The disk of a store.
#[derive(Debug)]
pub(super) struct Disk {
    dir: Option<PathBuf>,
    free_min: u64,
    free: AtomicU64,
    used: AtomicU64,
    is_low: AtomicBool,
}

impl Disk {
    /// The disk of a directory, measured now; none for a store in memory.
    pub(super) fn new(dir: Option<PathBuf>, free_min: u64) -> Self {
        let disk = Self {
            dir,
            free_min,
            free: AtomicU64::new(UNKNOWN),
            used: AtomicU64::new(UNKNOWN),
            is_low: AtomicBool::new(false),
        };
        disk.measure();
        disk
    }

    /// Looks how much room there is. A disk that cannot be measured counts as one with room: the
    /// writes themselves tell.
    pub(super) fn measure(&self) {
        let Some(dir) = &self.dir else { return };
        let Ok(free) = fs2::available_space(dir) else { return };
        self.free.store(free, Ordering::Relaxed);
        self.is_low.store(free < self.free_min, Ordering::Relaxed);
        let used = std::fs::metadata(dir.join("db")).map_or(UNKNOWN, |found| found.len());
        self.used.store(used, Ordering::Relaxed);
    }

    /// Free bytes, if they are known.
    pub(super) fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    /// Bytes of the store's log, if they are known.
    pub(super) fn used(&self) -> Option<u64> {
        Some(self.used.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    /// Why no events are taken, if there is too little room.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let dir = self.dir.as_deref().unwrap_or_else(|| Path::new("."));
        self.is_low.load(Ordering::Relaxed).then(|| StoreError::DiskLow {
            dir: dir.to_owned(),
            free: self.free.load(Ordering::Relaxed),
            wanted: self.free_min,
        })
    }
}

/// A store whose commits are measured, and refused while there is too little room.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) inner: Arc<dyn StateStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) disk: Arc<Disk>,
}

impl Watched {
    fn write<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let began = Instant::now();
        let written = write();
        self.metrics.commits.note(began.elapsed());
        if written.is_err() {
            self.metrics.commits_failed.add(1);
        }
        written
    }
}

impl StateStore for Watched {
    fn get(&self, customer: &CustomerId) -> Result<Option<StoredState>, StoreError> {
        self.inner.get(customer)
    }

    fn with_state(
        &self,
        customer: &CustomerId,
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.inner.with_state(customer, look)
    }

    fn get_many(&self, customers: &[CustomerId]) -> Result<Vec<Option<StoredState>>, StoreError> {
        self.inner.get_many(customers)
    }

    fn contains(&self, customer: &CustomerId, event: EventId) -> Result<bool, StoreError> {
        self.inner.contains(customer, event)
    }

    fn commit(&self, batch: Batch) -> Result<Commit, StoreError> {
        match self.disk.refusal() {
            Some(refusal) => Err(refusal),
            None => self.write(|| self.inner.commit(batch)),
        }
    }

    fn standing(&self, customer: &CustomerId) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.standing(customer)
    }

    fn notices(&self, after: NoticeId, most: usize) -> Result<Vec<Notice>, StoreError> {
        self.inner.notices(after, most)
    }

    fn notices_floor(&self) -> Result<NoticeId, StoreError> {
        self.inner.notices_floor()
    }

    fn prune_notices(&self, keep: usize) -> Result<u64, StoreError> {
        self.inner.prune_notices(keep)
    }

    // Forgetting is owed even where there is little room.
    fn delete(&self, customer: &CustomerId) -> Result<Erased, StoreError> {
        self.write(|| self.inner.delete(customer))
    }

    fn prune_dedupe(&self, older_than: Commit) -> Result<u64, StoreError> {
        self.inner.prune_dedupe(older_than)
    }

    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError> {
        self.inner.scan(range, visit)
    }

    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError> {
        self.inner.scan_dedupe(range, visit)
    }

    fn count(&self) -> Result<u64, StoreError> {
        self.inner.count()
    }

    fn watermarks(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.inner.watermarks()
    }

    fn pinned(&self) -> Result<BTreeMap<String, String>, StoreError> {
        self.inner.pinned()
    }

    fn pin(&self, facts: &[(&str, &str)]) -> Result<(), StoreError> {
        self.inner.pin(facts)
    }

    fn restore(&self, part: Restore) -> Result<Commit, StoreError> {
        self.inner.restore(part)
    }

    fn last_commit(&self) -> Commit {
        self.inner.last_commit()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.inner.verify()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot()
    }
}
