//! The records of an export, one after the other, from a snapshot to whoever takes bytes.
//!
//! In: a snapshot. Out: the bytes of `records.bin`, and what its manifest says. Whether they go
//! into a file or over a network is not known here: equal snapshots give equal bytes.

use std::io;
use std::ops::ControlFlow;

use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

use super::{
    ExportCounts, ExportManifestV1, FORMAT, MAGIC, TAG_DEDUPE, TAG_PIN, TAG_STATE, TAG_WATERMARK,
};
use crate::store::error::hex;
use crate::store::{OWN_SOURCES, ScanRange, Snapshot, StoreError};

/// Why not all of an export was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever takes the bytes does not.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Sends the records of a snapshot, or of one shard of it, in pieces of any length. Pins and
/// watermarks go along with every shard.
///
/// # Errors
/// [`SendError`] at the first record that cannot be read, and at the first refusal of `to`.
pub fn send_export(
    snapshot: &dyn Snapshot,
    range: ScanRange,
    to: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<ExportManifestV1, SendError> {
    let mut out = Out { to, hasher: Sha256::new(), n_bytes: 0, failed: None };
    out.write(MAGIC);
    let counts = send_records(snapshot, range, &mut out)?;
    let Out { hasher, n_bytes: bytes, failed, .. } = out;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let shard = match range {
        ScanRange::All => None,
        ScanRange::Shard(shard) => Some(shard),
    };
    let (commit, sha256) = (snapshot.commit().seq(), hex(&hasher.finalize()));
    Ok(ExportManifestV1 { format: FORMAT, commit, shard, counts, bytes, sha256 })
}

fn send_records(
    snapshot: &dyn Snapshot,
    range: ScanRange,
    out: &mut Out<'_>,
) -> Result<ExportCounts, StoreError> {
    let mut counts = ExportCounts::default();
    for (name, fact) in snapshot.pinned() {
        counts.pins += 1;
        out.record(&[&[TAG_PIN], &text(name), fact.as_bytes()]);
    }
    // What a server notes of its own work speaks of standings, which are not moved.
    let marks = snapshot.watermarks().iter();
    for (source, position) in marks.filter(|(source, _)| !source.starts_with(OWN_SOURCES)) {
        counts.watermarks += 1;
        out.record(&[&[TAG_WATERMARK], &text(source), &position.to_le_bytes()]);
    }
    counts.states = snapshot.scan(range, &mut |customer, state| {
        let id = text(customer.as_str());
        go_on(out.record(&[&[TAG_STATE], &id, &state.version.to_le_bytes(), &state.bytes]))
    })?;
    counts.dedupe = snapshot.scan_dedupe(range, &mut |customer, event, commit| {
        let (id, event) = (text(customer.as_str()), event.bits().to_be_bytes());
        go_on(out.record(&[&[TAG_DEDUPE], &id, &event, &commit.seq().to_le_bytes()]))
    })?;
    Ok(counts)
}

fn go_on(written: bool) -> ControlFlow<()> {
    if written { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// A text with its length before it: 256 bytes at most, as ids and names are.
pub(super) fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&len.to_le_bytes(), text.as_bytes()].concat()
}

/// Counts and hashes what is sent; keeps the first error until the end.
struct Out<'t> {
    to: &'t mut dyn FnMut(&[u8]) -> io::Result<()>,
    hasher: Sha256,
    n_bytes: u64,
    failed: Option<io::Error>,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.hasher.update(bytes);
            self.n_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.failed = (self.to)(bytes).err();
        }
    }

    /// Sends a record; answers whether to go on.
    fn record(&mut self, parts: &[&[u8]]) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.write(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        for part in parts {
            self.write(part);
        }
        self.failed.is_none()
    }
}
