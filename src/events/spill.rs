//! Records gathered by part in bounded memory: what does not fit goes to a file a part.
//!
//! In: records of any thread in any order, each with the part it belongs to. Out: the bytes of
//! each part. It deliberately does not know what a record is.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use xxhash_rust::xxh3::Xxh3;
use xxhash_rust::xxh3::xxh3_64;

use super::error::IntakeError;

/// Where the bytes of a part are.
#[derive(Debug)]
pub(super) enum PartBytes {
    /// In memory.
    Held(Vec<u8>),
    /// In a file.
    File(PartFile),
}

/// A part in a file, with what tells a damaged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartFile {
    pub(super) path: PathBuf,
    pub(super) n_bytes: u64,
    pub(super) digest: u64,
}

impl PartFile {
    /// All of it.
    pub(super) fn read(&self) -> Result<Vec<u8>, IntakeError> {
        let path = || self.path.display().to_string();
        let bytes = std::fs::read(&self.path)
            .map_err(|source| IntakeError::Spill { path: path(), source })?;
        if bytes.len() as u64 != self.n_bytes || xxh3_64(&bytes) != self.digest {
            return Err(IntakeError::SpillDamaged { path: path() });
        }
        Ok(bytes)
    }
}

#[derive(Default)]
struct Gathered {
    held: Vec<u8>,
    n_written: u64,
    hasher: Xxh3,
}

/// Parts in the making.
pub(super) struct Spill {
    parts: Vec<Mutex<Gathered>>,
    dir: Option<PathBuf>,
    /// Bytes held from which on they are written.
    limit: usize,
    n_held: AtomicUsize,
    has_written: AtomicBool,
}

impl Spill {
    /// Parts that are written into a directory once more than `limit` bytes are held; without a
    /// directory all are held.
    pub(super) fn new(n_parts: usize, dir: Option<&Path>, limit: usize) -> Self {
        Self {
            parts: (0..n_parts).map(|_| Mutex::default()).collect(),
            dir: dir.map(Path::to_owned),
            limit,
            n_held: AtomicUsize::new(0),
            has_written: AtomicBool::new(false),
        }
    }

    pub(super) const fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Adds records to a part and leaves the buffer empty.
    pub(super) fn append(&self, part: usize, records: &mut Vec<u8>) -> Result<(), IntakeError> {
        let mut gathered = self.parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let n_more = records.len();
        let n_held = self.n_held.fetch_add(n_more, Ordering::Relaxed) + n_more;
        gathered.held.append(records);
        if self.dir.is_none() || n_held <= self.limit {
            return Ok(());
        }
        // An even share is what a write is worth; far above the limit anything is.
        let is_worth_it = gathered.held.len() * self.parts.len() * 2 >= self.limit;
        if is_worth_it || n_held > 2 * self.limit {
            self.write_out(part, &mut gathered)?;
        }
        Ok(())
    }

    fn path(&self, part: usize) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| Self::file_of(dir, part))
    }

    /// The file of a part.
    pub(super) fn file_of(dir: &Path, part: usize) -> PathBuf {
        dir.join(format!("part-{part:04}.events"))
    }

    fn write_out(&self, part: usize, gathered: &mut Gathered) -> Result<(), IntakeError> {
        let Some(path) = self.path(part) else { return Ok(()) };
        append_to(&path, gathered.n_written == 0, &gathered.held)
            .map_err(|source| IntakeError::Spill { path: path.display().to_string(), source })?;
        gathered.hasher.update(&gathered.held);
        gathered.n_written += gathered.held.len() as u64;
        self.n_held.fetch_sub(gathered.held.len(), Ordering::Relaxed);
        self.has_written.store(true, Ordering::Relaxed);
        gathered.held = Vec::new();
        Ok(())
    }

    /// Ends the gathering. Where anything was written, all is, so that the files are the whole.
    pub(super) fn finish(mut self) -> Result<Vec<PartBytes>, IntakeError> {
        let has_written = *self.has_written.get_mut();
        let parts = std::mem::take(&mut self.parts);
        let mut found = Vec::with_capacity(parts.len());
        for (part, gathered) in parts.into_iter().enumerate() {
            let mut gathered = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
            found.push(match self.path(part).filter(|_| has_written) {
                None => PartBytes::Held(gathered.held),
                Some(path) => {
                    if gathered.n_written == 0 || !gathered.held.is_empty() {
                        self.write_out(part, &mut gathered)?;
                    }
                    let (n_bytes, digest) = (gathered.n_written, gathered.hasher.digest());
                    PartBytes::File(PartFile { path, n_bytes, digest })
                }
            });
        }
        Ok(found)
    }
}

fn append_to(path: &Path, is_new: bool, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        if is_new { File::create(path)? } else { OpenOptions::new().append(true).open(path)? };
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_what_was_added_in_memory_and_in_files() {
        let dir = tempfile::tempdir().unwrap();
        for limit in [usize::MAX / 4, 1 << 12, 0] {
            let spill = Spill::new(7, Some(dir.path()), limit);
            let mut expected = vec![Vec::new(); 7];
            for n in 0_u32..5_000 {
                let part = (n.wrapping_mul(2_654_435_761) >> 16) as usize % 7;
                expected[part].extend_from_slice(&n.to_le_bytes());
                spill.append(part, &mut n.to_le_bytes().to_vec()).unwrap();
            }
            let parts = spill.finish().unwrap();
            for (part, expected) in parts.iter().zip(expected) {
                let bytes = match part {
                    PartBytes::Held(bytes) => bytes.clone(),
                    PartBytes::File(file) => file.read().unwrap(),
                };
                assert_eq!(bytes, expected);
                assert_eq!(matches!(part, PartBytes::Held(_)), limit > 1 << 20);
            }
        }
    }

    #[test]
    fn a_damaged_part_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::new(1, Some(dir.path()), 0);
        spill.append(0, &mut vec![1, 2, 3]).unwrap();
        let parts = spill.finish().unwrap();
        let PartBytes::File(file) = &parts[0] else { panic!("it is in a file") };
        for bytes in [&[1_u8, 2][..], &[1, 2, 4]] {
            std::fs::write(&file.path, bytes).unwrap();
            assert!(matches!(file.read(), Err(IntakeError::SpillDamaged { .. })));
        }
    }
}
