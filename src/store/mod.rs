//! Customer states at rest: opaque versioned bytes, the ids of the events already folded into
//! them, and how far each source has been read.
//!
//! In: batches of states, event ids and watermarks. Out: the same, after a crash too. The three
//! move in one atomic commit (S-1), so an event counts exactly once however often it is sent.
//! Optimistic versions tell a caller when somebody else wrote first; [`Writer`] avoids the
//! question by folding on the one thread that writes a customer's shard.
//!
//! A store deliberately does not know what its bytes mean, reads no clock, starts no
//! asynchronous work and keeps no history of old versions. Its calls block: keep them off the
//! threads of an asynchronous runtime.

mod batch;
mod codec_v1;
#[cfg(test)]
mod conformance;
mod decision_log;
#[cfg(test)]
mod decision_log_tests;
mod engine;
mod error;
mod fold;
mod home;
mod key;
mod memory;
mod notices;
mod sled;
mod transfer;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use crate::domain::CustomerId;
use crate::domain::EventId;

pub use self::batch::{
    BATCH_OPS_MAX, Batch, Commit, Erased, FACT_BYTES_MAX, NAME_BYTES_MAX, Put, Restore,
    STATE_BYTES_MAX, StoredState, Watermark,
};
pub use self::codec_v1::CodecError;
pub use self::decision_log::{
    Appended, DecisionLog, DecisionLogError, DecisionLogReport, DecisionLogSpec, OnFull,
    decision_segments,
};
pub use self::error::{CorruptPart, StoreError};
pub use self::home::OpenReport;
pub use self::key::{KeyError, N_SHARDS, shard_of};
pub use self::memory::MemoryStore;
pub use self::notices::{NOTICE_BYTES_MAX, Notice, NoticeId, STANDING_BYTES_MAX, Turn};
pub use self::sled::{Durability, SledOptions, SledStore};
pub use self::transfer::{
    ErasedFromExport, ExportCounts, ExportManifestV1, ExportReceiver, SendError, TransferError,
    each_state, erase_from_export, export, export_manifest, export_pins, import, send_export,
};
pub use self::writer::{
    Fold, FoldError, Outcome, Receipt, Rejection, SubmitError, Ticket, Update, WriteError, Writer,
    WriterLimits,
};

/// Begins the names of watermarks that the program keeps for itself; no source is named so.
pub const OWN_SOURCES: &str = "tenure/";

/// What a scan walks over, always in key order: shard, then the bytes of the customer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanRange {
    /// The whole store.
    All,
    /// One of the [`N_SHARDS`] virtual shards, 0 to 1,023.
    Shard(u16),
}

impl ScanRange {
    fn check(self) -> Result<(), StoreError> {
        match self {
            Self::Shard(found) if found >= N_SHARDS => Err(StoreError::NoSuchShard { found }),
            _ => Ok(()),
        }
    }
}

/// Whether a store still takes commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It reads and commits.
    Serving,
    /// A write did not reach its durability: reads still answer, commits are refused until the
    /// store has been opened anew.
    ReadOnly {
        /// What went wrong, for the operator.
        cause: String,
    },
}

/// What a full walk over a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Customer states seen, readable or not.
    pub n_states: u64,
    /// The number of states that the store believes it holds.
    pub n_states_expected: u64,
    /// Event ids seen.
    pub n_dedupe: u64,
    /// Bytes of all readable states, without keys and headers.
    pub state_bytes: u64,
    /// Entries that cannot be read.
    pub n_issues: u64,
    /// The first hundred of them.
    pub issues: Vec<VerifyIssue>,
}

impl VerifyReport {
    /// Whether every entry was readable and none is missing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.n_issues == 0 && self.n_states == self.n_states_expected
    }

    fn note(&mut self, issue: VerifyIssue) {
        const ISSUES_MAX: usize = 100;
        self.n_issues += 1;
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(issue);
        }
    }
}

/// One entry that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyIssue {
    /// The key as stored, in hexadecimal.
    pub key_hex: String,
    /// Why, in words.
    pub problem: String,
}

/// Receives one state of a scan; `Break` ends the scan. It must not call the store.
pub type StateVisitor<'a> = dyn FnMut(&CustomerId, StoredState) -> ControlFlow<()> + 'a;

/// Receives one remembered event id of a scan, with the commit that brought it.
pub type DedupeVisitor<'a> = dyn FnMut(&CustomerId, EventId, Commit) -> ControlFlow<()> + 'a;

/// Customer states, remembered event ids and watermarks that move together.
///
/// Every implementation passes the same conformance suite. All calls block.
pub trait StateStore: fmt::Debug + Send + Sync {
    /// The state of one customer, `None` if there is none. It may show a commit that is on its
    /// way to the disk and not acknowledged yet.
    ///
    /// # Errors
    /// [`StoreError`] when the entry or the engine cannot be read.
    fn get(&self, customer: &CustomerId) -> Result<Option<StoredState>, StoreError>;

    /// Hands over the bytes of one customer's state where they lie, without a copy; whether there
    /// is one. `look` must be short: the store may wait for it. As [`StateStore::get`] otherwise.
    ///
    /// # Errors
    /// As [`StateStore::get`].
    fn with_state(
        &self,
        customer: &CustomerId,
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        let state = self.get(customer)?;
        if let Some(state) = &state {
            look(&state.bytes);
        }
        Ok(state.is_some())
    }

    /// The states of several customers, in the order asked.
    ///
    /// # Errors
    /// As [`StateStore::get`]; one unreadable entry fails the call.
    fn get_many(&self, customers: &[CustomerId]) -> Result<Vec<Option<StoredState>>, StoreError> {
        customers.iter().map(|customer| self.get(customer)).collect()
    }

    /// Whether this event of this customer has been committed.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot be read.
    fn contains(&self, customer: &CustomerId, event: EventId) -> Result<bool, StoreError>;

    /// Writes a batch: all of it or nothing. When it returns `Ok`, the batch has reached the
    /// durability of the store. A batch that changes nothing (no state, only known event ids and
    /// old watermarks) is no commit and answers the last one.
    ///
    /// Event ids already remembered stay as they are; a watermark below the stored one leaves
    /// the stored one (replaying a source from its start undoes nothing).
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`] and the limits of [`Batch`] before anything was written;
    /// an engine error turns the store [`Health::ReadOnly`].
    fn commit(&self, batch: Batch) -> Result<Commit, StoreError>;

    /// Where a customer stands, as the last turn said; `None` if there was none.
    ///
    /// # Errors
    /// As [`StateStore::get`].
    fn standing(&self, customer: &CustomerId) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most so many acknowledged notices after a place, in order.
    ///
    /// # Errors
    /// [`StoreError`] when an entry or the engine cannot be read.
    fn notices(&self, after: NoticeId, most: usize) -> Result<Vec<Notice>, StoreError>;

    /// Notices up to this place are gone, or were never in this store.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot be read.
    fn notices_floor(&self) -> Result<NoticeId, StoreError>;

    /// Removes all but the newest `keep` notices, and answers how many went.
    ///
    /// # Errors
    /// As [`StateStore::commit`]. What was removed before the error stays removed.
    fn prune_notices(&self, keep: usize) -> Result<u64, StoreError>;

    /// Forgets a customer: state, standing, notices and the remembered event ids, in one durable
    /// commit.
    /// Events sent again later would make a new state: keep a suppression list upstream.
    ///
    /// # Errors
    /// An engine error turns the store [`Health::ReadOnly`].
    fn delete(&self, customer: &CustomerId) -> Result<Erased, StoreError>;

    /// Forgets the event ids that commits before `older_than` brought, and answers how many.
    /// Events that old would be folded again if sent again: choose it beyond the lateness that
    /// sources can have.
    ///
    /// # Errors
    /// As [`StateStore::commit`]. What was removed before the error stays removed.
    fn prune_dedupe(&self, older_than: Commit) -> Result<u64, StoreError>;

    /// Walks over states in key order and answers how many were visited. Commits made meanwhile
    /// may or may not be seen; compare [`StateStore::last_commit`] before and after.
    ///
    /// # Errors
    /// [`StoreError::NoSuchShard`]; the first unreadable entry ends the scan.
    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError>;

    /// Walks over remembered event ids, in the order shard, customer id bytes, event id.
    ///
    /// # Errors
    /// As [`StateStore::scan`].
    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError>;

    /// How many customers have a state.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot be read.
    fn count(&self) -> Result<u64, StoreError>;

    /// How far each source has been read, by source name.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot be read.
    fn watermarks(&self) -> Result<BTreeMap<String, u64>, StoreError>;

    /// The facts pinned to this store, by name.
    ///
    /// # Errors
    /// [`StoreError`] when the engine cannot be read.
    fn pinned(&self) -> Result<BTreeMap<String, String>, StoreError>;

    /// Pins facts that must never change in a store's life, such as the version of the fold, the
    /// time zone, the currency, the installation's salt. A fact not there yet is written, one
    /// that is there is compared.
    ///
    /// # Errors
    /// [`StoreError::PinMismatch`] when a fact differs: then none is written.
    fn pin(&self, facts: &[(&str, &str)]) -> Result<(), StoreError>;

    /// Puts entries as they were in another store, versions and all. For [`import`] only.
    ///
    /// # Errors
    /// [`StoreError::AlreadyThere`] when a customer of it has a state; otherwise as
    /// [`StateStore::commit`].
    fn restore(&self, part: Restore) -> Result<Commit, StoreError>;

    /// The newest acknowledged commit: the token under which a reader saw the store.
    fn last_commit(&self) -> Commit;

    /// Whether commits are taken.
    fn health(&self) -> Health;

    /// Reads every entry and checks it.
    ///
    /// # Errors
    /// [`StoreError`] when the engine itself fails; unreadable entries are in the report.
    fn verify(&self) -> Result<VerifyReport, StoreError>;

    /// The store as the newest commit left it: commits made later do not show. It costs memory
    /// for what is written while it is open.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] after a failed write, since what is in memory may not be on disk.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;
}

/// A store as one commit left it. All calls block.
pub trait Snapshot: fmt::Debug + Send + Sync {
    /// The commit.
    fn commit(&self) -> Commit;

    /// The facts pinned to the store, by name.
    fn pinned(&self) -> &BTreeMap<String, String>;

    /// How far each source had been read, by source name.
    fn watermarks(&self) -> &BTreeMap<String, u64>;

    /// As [`StateStore::scan`], of the states at the commit.
    ///
    /// # Errors
    /// As [`StateStore::scan`]; [`StoreError::SnapshotLost`] where too much was written since.
    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError>;

    /// As [`StateStore::scan_dedupe`], of the event ids at the commit.
    ///
    /// # Errors
    /// As [`Snapshot::scan`].
    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError>;
}
