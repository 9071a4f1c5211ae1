//! Customers erased from an export by writing it anew.
//!
//! The new files are written beside the old ones and then take their places, records first. A
//! crash leaves the old export, the new one, or new records beside the old manifest: such an
//! export is refused by every reader, and the next erasure finishes it.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;

use sha2::Digest;
use sha2::Sha256;

use super::{
    ExportCounts, ExportManifestV1, ExportReceiver, MAGIC, MANIFEST, RECORDS, Record,
    TransferError, check_records, each_raw, io_at, read_manifest,
};
use crate::domain::CustomerId;
use crate::store::error::hex;

/// Where the new files are written.
const BESIDE: &str = "erasing";

/// What was erased from an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasedFromExport {
    /// Customers who were in it.
    pub n_states: u64,
    /// Ids of their events.
    pub n_dedupe: u64,
}

/// Erases customers from an export: their states and the ids of their events. The export is
/// checked first; one that holds none of them stays untouched.
///
/// # Errors
/// [`TransferError`]; the export is as it was, or to be erased from once more.
pub fn erase_from_export(
    dir: &Path,
    gone: &BTreeSet<CustomerId>,
) -> Result<ErasedFromExport, TransferError> {
    let beside = dir.join(BESIDE);
    finish(dir, &beside)?;
    let manifest = read_manifest(dir)?;
    let path = dir.join(RECORDS);
    check_records(&path, &manifest)?;
    let mut erased = ErasedFromExport::default();
    each_raw(&path, |_, record| {
        match record {
            Record::State(customer, _) => erased.n_states += u64::from(gone.contains(&customer)),
            Record::Dedupe(customer, ..) => erased.n_dedupe += u64::from(gone.contains(&customer)),
            Record::Pin(..) | Record::Watermark(_) => {}
        }
        Ok(())
    })?;
    if erased == ErasedFromExport::default() {
        return Ok(erased);
    }
    rewrite(&path, &beside, &manifest, gone)?;
    finish(dir, &beside)?;
    Ok(erased)
}

/// Writes an export without some customers.
fn rewrite(
    path: &Path,
    beside: &Path,
    manifest: &ExportManifestV1,
    gone: &BTreeSet<CustomerId>,
) -> Result<(), TransferError> {
    let mut receiver = ExportReceiver::create(beside)?;
    let (mut hasher, mut bytes, mut counts) = (Sha256::new(), 0, ExportCounts::default());
    let mut put = |part: &[u8]| {
        hasher.update(part);
        bytes += part.len() as u64;
        receiver.take(part).map_err(|source| receiver.failed("write", source))
    };
    put(MAGIC)?;
    each_raw(path, |raw, record| {
        let count = match &record {
            Record::State(customer, _) | Record::Dedupe(customer, ..)
                if gone.contains(customer) =>
            {
                return Ok(());
            }
            Record::Pin(..) => &mut counts.pins,
            Record::Watermark(_) => &mut counts.watermarks,
            Record::State(..) => &mut counts.states,
            Record::Dedupe(..) => &mut counts.dedupe,
        };
        *count += 1;
        put(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        put(raw)
    })?;
    let sha256 = hex(&hasher.finalize());
    let ExportManifestV1 { format, commit, shard, .. } = *manifest;
    let new = ExportManifestV1 { format, commit, shard, counts, bytes, sha256 };
    receiver.finish(&new)
}

/// Puts new files in the places of the old ones, from wherever an earlier try was cut off.
fn finish(dir: &Path, beside: &Path) -> Result<(), TransferError> {
    let is_there = |path: &Path| path.try_exists().map_err(io_at("look for", path));
    if !is_there(beside)? {
        return Ok(());
    }
    let (records, manifest) = (beside.join(RECORDS), beside.join(MANIFEST));
    // The manifest is written last: without it the files are not whole.
    if is_there(&manifest)? {
        let swap = || -> io::Result<()> {
            if records.try_exists()? {
                fs::rename(&records, dir.join(RECORDS))?;
                File::open(dir)?.sync_all()?;
            }
            fs::rename(&manifest, dir.join(MANIFEST))?;
            File::open(dir)?.sync_all()
        };
        swap().map_err(io_at("replace files in", dir))?;
    }
    fs::remove_dir_all(beside).map_err(io_at("remove", beside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventId;
    use crate::store::{
        Batch, MemoryStore, Put, ScanRange, StateStore, export, export_manifest, import,
    };

    fn customer(text: &str) -> CustomerId {
        CustomerId::try_new(text).unwrap()
    }

    fn exported(dir: &Path) {
        let store = MemoryStore::new();
        store.pin(&[("fold", "1")]).unwrap();
        for idx in 0..200_u32 {
            let who = customer(&format!("person-{idx}."));
            let put = |bytes: &[u8]| Put {
                customer: who.clone(),
                expected_version: None,
                bytes: bytes.to_vec(),
            };
            let dedupe = (0..3).map(|n| (who.clone(), EventId::from_bits(n))).collect();
            let puts = vec![put(format!("state of person-{idx}.").as_bytes())];
            store.commit(Batch { puts, dedupe, ..Batch::default() }).unwrap();
        }
        export(&store, ScanRange::All, dir).unwrap();
    }

    /// Whether a text stands anywhere in any file of a directory.
    fn holds(dir: &Path, text: &str) -> bool {
        fs::read_dir(dir).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return holds(&path, text);
            }
            let bytes = fs::read(path).unwrap();
            bytes.windows(text.len()).any(|found| found == text.as_bytes())
        })
    }

    #[test]
    fn the_erased_are_in_no_byte_and_the_others_are_untouched() {
        let dir = tempfile::tempdir().unwrap();
        exported(dir.path());
        let before = export_manifest(dir.path()).unwrap();
        let gone = BTreeSet::from(["person-7.", "person-199.", "nobody"].map(customer));
        assert!(holds(dir.path(), "person-7."));
        let erased = erase_from_export(dir.path(), &gone).unwrap();
        assert_eq!(erased, ErasedFromExport { n_states: 2, n_dedupe: 6 });
        assert!(!holds(dir.path(), "person-7.") && !holds(dir.path(), "person-199."));
        let after = export_manifest(dir.path()).unwrap();
        assert_eq!((after.counts.states, after.commit), (198, before.commit));
        let store = MemoryStore::new();
        import(&store, dir.path()).unwrap();
        assert!(store.contains(&customer("person-8."), EventId::from_bits(2)).unwrap());
        let again = erase_from_export(dir.path(), &gone).unwrap();
        assert_eq!(again, ErasedFromExport::default());
        assert_eq!(export_manifest(dir.path()).unwrap(), after);
    }

    #[test]
    fn an_erasure_that_was_cut_off_is_finished_by_the_next() {
        for cut in ["before the manifest", "before the swap", "in the swap"] {
            let dir = tempfile::tempdir().unwrap();
            exported(dir.path());
            let (gone, beside) = (BTreeSet::from([customer("person-7.")]), dir.path().join(BESIDE));
            let manifest = read_manifest(dir.path()).unwrap();
            rewrite(&dir.path().join(RECORDS), &beside, &manifest, &gone).unwrap();
            match cut {
                "before the manifest" => fs::remove_file(beside.join(MANIFEST)).unwrap(),
                "in the swap" => {
                    fs::rename(beside.join(RECORDS), dir.path().join(RECORDS)).unwrap();
                    let refused = import(&MemoryStore::new(), dir.path());
                    assert!(matches!(refused, Err(TransferError::Altered { .. })));
                }
                _ => {}
            }
            erase_from_export(dir.path(), &gone).unwrap();
            assert!(!holds(dir.path(), "person-7."), "{cut}");
            assert_eq!(import(&MemoryStore::new(), dir.path()).unwrap().counts.states, 199);
            assert!(!beside.try_exists().unwrap());
        }
    }
}
