//! What goes into a commit and what comes back, with the limits both engines share.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::error::StoreError;
use super::notices::Turn;
use crate::domain::CustomerId;
use crate::domain::EventId;

/// Largest state, in bytes. With it the engine's largest page (20 entries) stays below 128 KiB,
/// the size from which it would write to side files that it never syncs.
pub const STATE_BYTES_MAX: usize = 6_000;

/// Most entries (states + event ids + watermarks) in one batch: bounds memory and latency.
pub const BATCH_OPS_MAX: usize = 20_000;

/// Longest name of a source or a pinned fact, in bytes; the shortest has 1.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest pinned fact, in bytes; the shortest has 1.
pub const FACT_BYTES_MAX: usize = 1_024;

/// The number of a commit. Numbers rise by at least one from commit to commit and survive a
/// reopening; 0 is a store that was never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Commit(pub(super) u64);

impl Commit {
    /// The number itself.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.0
    }

    /// A commit number that was noted down earlier.
    #[must_use]
    pub const fn from_seq(seq: u64) -> Self {
        Self(seq)
    }
}

/// A state as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// 1 for the first write of a customer, one more for each further write.
    pub version: u64,
    /// The caller's bytes, untouched.
    pub bytes: Vec<u8>,
}

/// One state to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Whose state.
    pub customer: CustomerId,
    /// The version that must be there now: `Some(0)` means none may be there, `None` means
    /// whatever is there is replaced.
    pub expected_version: Option<u64>,
    /// The new state, at most [`STATE_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// How far one source has been read. A source with partitions is one watermark a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Name of the source, 1 to [`NAME_BYTES_MAX`] bytes.
    pub source: String,
    /// Everything up to and including this position has been committed.
    pub position: u64,
}

/// What is committed together (S-1): at most [`BATCH_OPS_MAX`] entries, each customer once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// New states.
    pub puts: Vec<Put>,
    /// Events that these states now contain.
    pub dedupe: Vec<(CustomerId, EventId)>,
    /// How far the sources have been read with them.
    pub watermarks: Vec<Watermark>,
    /// Where customers stand from now on; those of customers without a state are left out.
    pub turns: Vec<Turn>,
}

impl Batch {
    /// Checks the limits that need no look at the store.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let n_ops = self.puts.len() + self.dedupe.len() + self.watermarks.len();
        check_ops(n_ops + 2 * self.turns.len())?;
        self.turns.iter().try_for_each(Turn::check)?;
        let mut seen = BTreeSet::new();
        for put in &self.puts {
            check_state(&put.customer, &put.bytes)?;
            if !seen.insert(&put.customer) {
                return Err(StoreError::CustomerTwice { customer: put.customer.clone() });
            }
        }
        self.watermarks
            .iter()
            .try_for_each(|mark| check_length("the name of a source", &mark.source, NAME_BYTES_MAX))
    }
}

/// What [`super::StateStore::delete`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Whether there was a state.
    pub had_state: bool,
    /// How many remembered event ids went with it.
    pub n_dedupe: u64,
    /// The commit that removed them, or the last one if there was nothing.
    pub commit: Commit,
}

/// A part of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// States with the versions they had.
    pub states: Vec<(CustomerId, StoredState)>,
    /// Event ids with the commits that brought them.
    pub dedupe: Vec<(CustomerId, EventId, Commit)>,
    /// Watermarks.
    pub watermarks: Vec<Watermark>,
    /// On the last part the commit number of the source store: numbering goes on behind it.
    /// `None` says that more parts follow; until the last one a store on disk refuses to open.
    pub finish: Option<Commit>,
}

impl Restore {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        check_ops(self.states.len() + self.dedupe.len() + self.watermarks.len())?;
        let mut seen = BTreeSet::new();
        for (customer, state) in &self.states {
            check_state(customer, &state.bytes)?;
            if !seen.insert(customer) {
                return Err(StoreError::CustomerTwice { customer: customer.clone() });
            }
        }
        self.watermarks
            .iter()
            .try_for_each(|mark| check_length("the name of a source", &mark.source, NAME_BYTES_MAX))
    }
}

/// The facts that are not pinned yet, if none contradicts a pinned one or another of the call.
pub(super) fn new_facts(
    pinned: &BTreeMap<String, String>,
    facts: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut fresh: BTreeMap<String, String> = BTreeMap::new();
    for &(name, wanted) in facts {
        check_length("the name of a fact", name, NAME_BYTES_MAX)?;
        check_length("a fact", wanted, FACT_BYTES_MAX)?;
        match pinned.get(name).or_else(|| fresh.get(name)) {
            Some(found) if found != wanted => {
                return Err(StoreError::PinMismatch {
                    name: name.to_owned(),
                    wanted: wanted.to_owned(),
                    found: found.clone(),
                });
            }
            Some(_) => {}
            None => {
                fresh.insert(name.to_owned(), wanted.to_owned());
            }
        }
    }
    Ok(fresh)
}

/// The version to write, if what is there agrees with what the caller saw.
pub(super) fn next_version(put: &Put, found: u64) -> Result<u64, StoreError> {
    match put.expected_version {
        Some(expected) if expected != found => {
            Err(StoreError::VersionConflict { customer: put.customer.clone(), expected, found })
        }
        _ => Ok(found.saturating_add(1)),
    }
}

fn check_ops(found: usize) -> Result<(), StoreError> {
    if found > BATCH_OPS_MAX {
        return Err(StoreError::BatchTooLarge { found, limit: BATCH_OPS_MAX });
    }
    Ok(())
}

fn check_state(customer: &CustomerId, bytes: &[u8]) -> Result<(), StoreError> {
    if bytes.len() > STATE_BYTES_MAX {
        return Err(StoreError::StateTooLarge {
            customer: customer.clone(),
            found: bytes.len(),
            limit: STATE_BYTES_MAX,
        });
    }
    Ok(())
}

fn check_length(what: &'static str, text: &str, limit: usize) -> Result<(), StoreError> {
    if (1..=limit).contains(&text.len()) {
        return Ok(());
    }
    Err(StoreError::BadLength { what, found: text.len(), limit })
}

/// Whether a source may have this name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}
