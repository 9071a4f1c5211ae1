//! Export and import in a form that no engine owns: backup, move, another engine.
//!
//! In: a store, a directory. Out: `records.bin` and, written last, `manifest.json`; or a store.
//! Equal stores give equal `records.bin`, byte for byte. docs/FORMATS.md has the layout.
//!
//! It deliberately makes no incremental exports and does not read states.

mod erase;
mod receive;
mod send;

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

pub use self::erase::{ErasedFromExport, erase_from_export};
pub use self::receive::ExportReceiver;
pub use self::send::{SendError, send_export};

use super::error::hex;
use super::{
    BATCH_OPS_MAX, Commit, NAME_BYTES_MAX, Restore, STATE_BYTES_MAX, ScanRange, StateStore,
    StoreError, StoredState, Watermark,
};
use crate::domain::CustomerId;
use crate::domain::EventId;

const FORMAT: u32 = 1;
const RECORDS: &str = "records.bin";
const MANIFEST: &str = "manifest.json";
const MAGIC: &[u8; 8] = b"TENUREX1";

const TAG_PIN: u8 = b'p';
const TAG_WATERMARK: u8 = b'w';
const TAG_STATE: u8 = b's';
const TAG_DEDUPE: u8 = b'd';

/// No record is longer: a name or id of 256 bytes, a state of 6,000, a few numbers.
const RECORD_BYTES_MAX: usize = 1 << 13;

/// Entries a commit of an import.
const IMPORT_CHUNK: usize = BATCH_OPS_MAX / 4;

/// How many records of each kind an export holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportCounts {
    /// Pinned facts.
    pub pins: u64,
    /// Watermarks.
    pub watermarks: u64,
    /// Customer states.
    pub states: u64,
    /// Remembered event ids.
    pub dedupe: u64,
}

/// What `manifest.json` of an export says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportManifestV1 {
    /// Format of both files, 1.
    pub format: u32,
    /// The commit that the export shows.
    pub commit: u64,
    /// The shard, if it is not the whole store.
    pub shard: Option<u16>,
    /// Records by kind.
    pub counts: ExportCounts,
    /// Length of `records.bin` in bytes.
    pub bytes: u64,
    /// SHA-256 of `records.bin`, in hexadecimal.
    pub sha256: String,
}

/// Why an export or import did not happen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// The target directory is not empty.
    #[error("{} holds an export already: name an empty or new directory", dir.display())]
    TargetNotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The store to import into has states.
    #[error("the store already holds {n_states} states: import into an empty one")]
    StoreNotEmpty {
        /// How many.
        n_states: u64,
    },
    /// `manifest.json` is not readable.
    #[error("{}: {source}", path.display())]
    BadManifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A newer program made the export.
    #[error(
        "{}: format {found} is unknown, this program reads up to {supported}: \
         use the program that wrote it or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program reads.
        supported: u32,
    },
    /// `records.bin` is not what the manifest describes.
    #[error("{}: {what} is {found}, the manifest says {expected}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// Which property.
        what: &'static str,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A record of an intact file makes no sense.
    #[error("{}: record {record}: {what}", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Its number, from 0.
        record: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Writes an export of the store, or of one shard of it, into a new or empty directory: as of the
/// newest commit, whatever is committed meanwhile. Pins and watermarks go along with every shard;
/// standings and notices stay behind.
///
/// # Errors
/// [`TransferError`]; without a `manifest.json` the directory holds no export.
pub fn export(
    store: &dyn StateStore,
    range: ScanRange,
    dir: &Path,
) -> Result<ExportManifestV1, TransferError> {
    let mut receiver = ExportReceiver::create(dir)?;
    let snapshot = store.snapshot()?;
    let sent = send_export(&*snapshot, range, &mut |bytes| receiver.take(bytes));
    match sent {
        Ok(manifest) => {
            receiver.finish(&manifest)?;
            Ok(manifest)
        }
        Err(SendError::Store(error)) => Err(error.into()),
        Err(SendError::Io(source)) => Err(receiver.failed("write", source)),
    }
}

/// What the manifest of an export says.
///
/// # Errors
/// [`TransferError`] where there is none, or none that this program reads.
pub fn export_manifest(dir: &Path) -> Result<ExportManifestV1, TransferError> {
    read_manifest(dir)
}

/// Fills an empty store from an export, after checking the whole export. A store on disk that
/// was cut off in the middle refuses to open until its directory is deleted.
///
/// # Errors
/// [`TransferError`]; up to and including the check nothing was written.
pub fn import(store: &dyn StateStore, dir: &Path) -> Result<ExportManifestV1, TransferError> {
    let n_states = store.count()?;
    if n_states > 0 {
        return Err(TransferError::StoreNotEmpty { n_states });
    }
    let manifest = read_manifest(dir)?;
    let path = dir.join(RECORDS);
    let pins = check_records(&path, &manifest)?;
    let pins: Vec<(&str, &str)> = pins.iter().map(|(name, fact)| (&**name, &**fact)).collect();
    store.pin(&pins)?;
    // Mark the import as unfinished before the first record is in.
    store.restore(Restore::default())?;
    let mut part = Restore::default();
    let mut n_part = 0;
    each_record(&path, |record| {
        match record {
            Record::Pin(..) => return Ok(()),
            Record::Watermark(mark) => part.watermarks.push(mark),
            Record::State(customer, state) => part.states.push((customer, state)),
            Record::Dedupe(customer, event, commit) => part.dedupe.push((customer, event, commit)),
        }
        n_part += 1;
        if n_part == IMPORT_CHUNK {
            n_part = 0;
            store.restore(std::mem::take(&mut part))?;
        }
        Ok(())
    })?;
    part.finish = Some(Commit::from_seq(manifest.commit));
    store.restore(part)?;
    Ok(manifest)
}

/// Hands the states of an export to a visitor, in the order shard, then customer id, after
/// checking the whole export. It ends where the visitor answers false.
///
/// # Errors
/// [`TransferError`]; up to and including the check nothing was handed on.
pub fn each_state(
    dir: &Path,
    visit: &mut dyn FnMut(CustomerId, StoredState) -> bool,
) -> Result<(), TransferError> {
    let manifest = read_manifest(dir)?;
    let path = dir.join(RECORDS);
    check_records(&path, &manifest)?;
    let mut goes_on = true;
    each_record(&path, |record| {
        if let Record::State(customer, state) = record
            && goes_on
        {
            goes_on = visit(customer, state);
        }
        Ok(())
    })
}

/// The facts pinned to the store that an export was made of; they stand at its beginning.
///
/// # Errors
/// [`TransferError`] where the export cannot be read.
pub fn export_pins(dir: &Path) -> Result<Vec<(String, String)>, TransferError> {
    read_manifest(dir)?;
    let path = dir.join(RECORDS);
    let mut pins = Vec::new();
    let (mut is_over, over) = (false, "the pins are read");
    let found = each_record(&path, |record| match record {
        Record::Pin(name, fact) => {
            pins.push((name, fact));
            Ok(())
        }
        _ => {
            is_over = true;
            Err(TransferError::BadRecord { path: path.clone(), record: 0, what: over })
        }
    });
    if is_over { Ok(pins) } else { found.map(|()| pins) }
}

fn write_manifest(dir: &Path, manifest: &ExportManifestV1) -> Result<(), TransferError> {
    let (new, path) = (dir.join("manifest.json.new"), dir.join(MANIFEST));
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(io_at("write", &path))
}

fn read_manifest(dir: &Path) -> Result<ExportManifestV1, TransferError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }

    let path = dir.join(MANIFEST);
    let bytes = fs::read(&path).map_err(io_at("read", &path))?;
    let bad = |source| TransferError::BadManifest { path: path.clone(), source };
    let Version { format: found } = serde_json::from_slice(&bytes).map_err(bad)?;
    if found != FORMAT {
        return Err(TransferError::NewerFormat { path, found, supported: FORMAT });
    }
    serde_json::from_slice(&bytes).map_err(bad)
}

/// Checks length, hash, every record and the counts, and answers the pinned facts.
fn check_records(
    path: &Path,
    manifest: &ExportManifestV1,
) -> Result<Vec<(String, String)>, TransferError> {
    let mut file = File::open(path).map_err(io_at("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut n_bytes = 0_u64;
    loop {
        let n = file.read(&mut buffer).map_err(io_at("read", path))?;
        if n == 0 {
            break;
        }
        n_bytes += u64::try_from(n).unwrap_or(u64::MAX);
        hasher.update(&buffer[..n]);
    }
    compare(path, "the length", manifest.bytes, n_bytes)?;
    compare(path, "the sha256", &manifest.sha256, &hex(&hasher.finalize()))?;
    let mut counts = ExportCounts::default();
    let mut pins = Vec::new();
    each_record(path, |record| {
        match record {
            Record::Pin(name, fact) => {
                counts.pins += 1;
                pins.push((name, fact));
            }
            Record::Watermark(_) => counts.watermarks += 1,
            Record::State(..) => counts.states += 1,
            Record::Dedupe(..) => counts.dedupe += 1,
        }
        Ok(())
    })?;
    compare(path, "the number of pins", manifest.counts.pins, counts.pins)?;
    compare(path, "the number of watermarks", manifest.counts.watermarks, counts.watermarks)?;
    compare(path, "the number of states", manifest.counts.states, counts.states)?;
    compare(path, "the number of event ids", manifest.counts.dedupe, counts.dedupe)?;
    Ok(pins)
}

fn compare<T: PartialEq + ToString>(
    path: &Path,
    what: &'static str,
    expected: T,
    found: T,
) -> Result<(), TransferError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(TransferError::Altered { path: path.to_owned(), what, expected, found })
}

enum Record {
    Pin(String, String),
    Watermark(Watermark),
    State(CustomerId, StoredState),
    Dedupe(CustomerId, EventId, Commit),
}

fn each_record(
    path: &Path,
    mut visit: impl FnMut(Record) -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    each_raw(path, |_, record| visit(record))
}

/// Hands over each record with its bytes.
fn each_raw(
    path: &Path,
    mut visit: impl FnMut(&[u8], Record) -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    let mut file = BufReader::new(File::open(path).map_err(io_at("open", path))?);
    let mut magic = [0; MAGIC.len()];
    let bad = |record, what| TransferError::BadRecord { path: path.to_owned(), record, what };
    file.read_exact(&mut magic).map_err(io_at("read", path))?;
    if magic != *MAGIC {
        return Err(bad(0, "the file does not begin as an export does"));
    }
    let mut record = 0;
    let mut bytes = Vec::new();
    loop {
        let mut len = [0; 4];
        let n = file.read(&mut len[..1]).map_err(io_at("read", path))?;
        if n == 0 {
            return Ok(());
        }
        file.read_exact(&mut len[1..]).map_err(io_at("read", path))?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > RECORD_BYTES_MAX {
            return Err(bad(record, "it is longer than any record can be"));
        }
        bytes.resize(len, 0);
        file.read_exact(&mut bytes).map_err(io_at("read", path))?;
        let read = parse(&bytes).map_err(|what| bad(record, what))?;
        visit(&bytes, read)?;
        record += 1;
    }
}

fn parse(bytes: &[u8]) -> Result<Record, &'static str> {
    const CUT: &str = "it is cut off";

    let (&tag, rest) = bytes.split_first().ok_or(CUT)?;
    let (len, rest) = rest.split_first_chunk::<2>().ok_or(CUT)?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len))).ok_or(CUT)?;
    let name = std::str::from_utf8(name).map_err(|_| "its id or name is not UTF-8")?;
    let customer = || CustomerId::try_new(name).map_err(|_| "its customer id is unusable");
    match tag {
        TAG_PIN if (1..=NAME_BYTES_MAX).contains(&name.len()) => {
            let fact = std::str::from_utf8(rest).map_err(|_| "its fact is not UTF-8")?;
            Ok(Record::Pin(name.to_owned(), fact.to_owned()))
        }
        TAG_WATERMARK if (1..=NAME_BYTES_MAX).contains(&name.len()) => {
            let position = u64::from_le_bytes(rest.try_into().map_err(|_| CUT)?);
            Ok(Record::Watermark(Watermark { source: name.to_owned(), position }))
        }
        TAG_PIN | TAG_WATERMARK => Err("its name is empty or too long"),
        TAG_STATE => {
            let (version, bytes) = rest.split_first_chunk::<8>().ok_or(CUT)?;
            if bytes.len() > STATE_BYTES_MAX {
                return Err("its state is longer than a store takes");
            }
            let version = u64::from_le_bytes(*version);
            Ok(Record::State(customer()?, StoredState { version, bytes: bytes.to_vec() }))
        }
        TAG_DEDUPE => {
            let (event, commit) = rest.split_first_chunk::<16>().ok_or(CUT)?;
            let event = EventId::from_bits(u128::from_be_bytes(*event));
            let commit = u64::from_le_bytes(commit.try_into().map_err(|_| CUT)?);
            Ok(Record::Dedupe(customer()?, event, Commit::from_seq(commit)))
        }
        _ => Err("its kind is unknown"),
    }
}

fn io_at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    move |source| TransferError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
