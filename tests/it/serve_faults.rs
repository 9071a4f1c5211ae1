//! A store in memory that fails where a test wants it to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tenure::domain::{CustomerId, EventId};
use tenure::store::{
    Batch, Commit, DedupeVisitor, Erased, Health, MemoryStore, Notice, NoticeId, Restore,
    ScanRange, StateStore, StateVisitor, StoreError, StoredState, VerifyReport,
};

/// Customers `panics` and `fails` cannot be read; writes break or wait on demand.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    broken: AtomicBool,
    held: AtomicBool,
    n_held: AtomicUsize,
}

impl Faulty {
    pub(crate) fn break_writes(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    pub(crate) fn hold_writes(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    pub(crate) fn release_writes(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    pub(crate) fn n_held(&self) -> usize {
        self.n_held.load(Ordering::SeqCst)
    }
}

fn read_only() -> StoreError {
    StoreError::ReadOnly { cause: "the test broke it".to_owned() }
}

impl StateStore for Faulty {
    fn get(&self, customer: &CustomerId) -> Result<Option<StoredState>, StoreError> {
        match customer.as_str() {
            "panics" => panic!("a secret of the store"),
            "fails" => Err(StoreError::NoSuchShard { found: 4711 }),
            _ => self.inner.get(customer),
        }
    }

    fn contains(&self, customer: &CustomerId, event: EventId) -> Result<bool, StoreError> {
        self.inner.contains(customer, event)
    }

    fn commit(&self, batch: Batch) -> Result<Commit, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(read_only());
        }
        while self.held.load(Ordering::SeqCst) {
            self.n_held.store(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        self.inner.commit(batch)
    }

    fn delete(&self, customer: &CustomerId) -> Result<Erased, StoreError> {
        self.inner.delete(customer)
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
        match self.broken.load(Ordering::SeqCst) {
            true => Health::ReadOnly { cause: read_only().to_string() },
            false => self.inner.health(),
        }
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.inner.verify()
    }

    fn snapshot(&self) -> Result<Box<dyn tenure::store::Snapshot>, StoreError> {
        self.inner.snapshot()
    }
}
