//! Why a store did not do what it was asked.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::codec_v1::CodecError;
use super::key::KeyError;
use crate::domain::CustomerId;

/// Why a store refused or failed. Nothing of the refused call was written, except where the
/// store turned read-only: then the outcome of the last write is unknown until the next opening.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody wrote this customer since the caller read it.
    #[error(
        "customer {customer}: the stored version is {found}, the caller saw {expected} \
         (0 = none): read again and repeat"
    )]
    VersionConflict {
        /// Whose state.
        customer: CustomerId,
        /// The version that the caller named.
        expected: u64,
        /// The version that is stored, 0 for none.
        found: u64,
    },
    /// A batch names a customer more than once.
    #[error("customer {customer} is in the batch twice: merge both writes into one")]
    CustomerTwice {
        /// Who.
        customer: CustomerId,
    },
    /// A state is longer than the store takes.
    #[error("customer {customer}: the state has {found} bytes, at most {limit} are stored")]
    StateTooLarge {
        /// Whose state.
        customer: CustomerId,
        /// Its length in bytes.
        found: usize,
        /// The accepted length in bytes.
        limit: usize,
    },
    /// A batch has too many entries.
    #[error("the batch has {found} entries, at most {limit} are taken at once: split it")]
    BatchTooLarge {
        /// States, event ids and watermarks together.
        found: usize,
        /// The accepted number.
        limit: usize,
    },
    /// A name or a pinned fact is empty or too long.
    #[error("{what} has {found} bytes, 1 to {limit} are accepted")]
    BadLength {
        /// Whose length.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The accepted length in bytes.
        limit: usize,
    },
    /// A pinned fact differs from what the program runs with.
    #[error(
        "the store was made with {name} = {found:?}, this program runs with {wanted:?}: \
         use the same setting or another store"
    )]
    PinMismatch {
        /// Which fact.
        name: String,
        /// What the program wants.
        wanted: String,
        /// What the store holds.
        found: String,
    },
    /// There is no shard of this number.
    #[error("there is no shard {found}: shards are 0 to 1023")]
    NoSuchShard {
        /// The number asked for.
        found: u16,
    },
    /// Too much was written while a snapshot was open.
    #[error(
        "more than {limit} bytes were changed while the snapshot was open, so it is lost: \
         begin again, where less is written"
    )]
    SnapshotLost {
        /// Bytes that are set aside for a snapshot.
        limit: usize,
    },
    /// An import met a customer that has a state.
    #[error("customer {customer} already has a state: import into an empty store")]
    AlreadyThere {
        /// Who.
        customer: CustomerId,
    },
    /// Another process, or another part of this one, has the store open.
    #[error(
        "the store {} is already open, most likely in another process: stop that one first, \
         a store has one opener at a time",
        dir.display()
    )]
    AlreadyOpen {
        /// Directory of the store.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error(
        "{} is not a store (found {found:?}, no STORE file): name an empty or new directory",
        dir.display()
    )]
    NotAStore {
        /// The directory.
        dir: PathBuf,
        /// An entry of it.
        found: String,
    },
    /// A newer program wrote this store.
    #[error(
        "the store {} has format {found}, this program reads up to {supported}: \
         use the program that wrote it or a newer one",
        dir.display()
    )]
    NewerFormat {
        /// Directory of the store.
        dir: PathBuf,
        /// The store's format.
        found: u32,
        /// The newest format that this program reads.
        supported: u32,
    },
    /// An import was cut off.
    #[error(
        "the store {} is half an import: delete the directory and import again",
        dir.display()
    )]
    ImportUnfinished {
        /// Directory of the store.
        dir: PathBuf,
    },
    /// The files of the store contradict themselves.
    #[error(
        "the store {} is damaged ({part}: {detail}): keep a copy, restore the last export",
        dir.display()
    )]
    Corrupt {
        /// Directory of the store.
        dir: PathBuf,
        /// Which part.
        part: CorruptPart,
        /// What the engine says.
        detail: String,
    },
    /// One entry cannot be read.
    #[error("the state under key {key_hex}: {source}")]
    BadState {
        /// The key as stored, in hexadecimal.
        key_hex: String,
        /// Why.
        source: CodecError,
    },
    /// One key cannot be read.
    #[error("the key {key_hex}: {source}")]
    BadKey {
        /// The key as stored, in hexadecimal.
        key_hex: String,
        /// Why.
        source: KeyError,
    },
    /// There is no room for the next write.
    #[error(
        "{operation} in {}: the disk is full: free some space, then open the store again \
         (opening needs space too)",
        dir.display()
    )]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// Directory of the store.
        dir: PathBuf,
    },
    /// There is less room than is to be kept free.
    #[error(
        "{}: the disk has {} MiB free, {} MiB are kept free: free some space",
        dir.display(),
        free >> 20,
        wanted >> 20
    )]
    DiskLow {
        /// Directory of the store.
        dir: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that must be free.
        wanted: u64,
    },
    /// The file system refused.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The engine failed in another way.
    #[error("{operation} in {}: the engine says {detail:?}", dir.display())]
    Engine {
        /// What was being done.
        operation: &'static str,
        /// Directory of the store.
        dir: PathBuf,
        /// What the engine says.
        detail: String,
    },
    /// An earlier write failed, so nothing more is acknowledged.
    #[error("the store takes no commits since a write failed ({cause}): open it again")]
    ReadOnly {
        /// The failure.
        cause: String,
    },
}

/// Which part of a store on disk is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorruptPart {
    /// The `STORE` file that names the format.
    Marker,
    /// A file that must be there is not.
    MissingFile,
    /// The engine's log or snapshot.
    Engine,
    /// The store's own counters.
    Counters,
}

impl fmt::Display for CorruptPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Marker => "the STORE file",
            Self::MissingFile => "a missing file",
            Self::Engine => "the engine's files",
            Self::Counters => "the store's counters",
        })
    }
}

/// Bytes as hexadecimal digits, for messages.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
