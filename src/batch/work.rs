//! Where a job keeps what does not fit into memory, and how a job that was killed goes on.
//!
//! In: a place beside the output, and a key of everything that the scores depend on. Out: a
//! directory that one job holds at a time. Parts of the log and finished runs of rows that an
//! earlier job of the same key left there are used again; those of any other key are removed.

use std::fs;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::write_atomic;
use crate::domain::Timestamp;
use crate::events::PartsV1;

use super::error::BatchError;

const JOURNAL: &str = "journal.json";
const LOCK: &str = "lock";
const RUN_ENDING: &str = "rows";
const FORMAT: u32 = 1;

/// What a job notes once the log has been gathered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalV1 {
    format: u32,
    key: String,
    /// When the decisions of the job are said to have been made, microseconds since 1970.
    pub(super) decided_at: i64,
    /// The parts of the log; none for a job from states.
    pub(super) parts: Option<PartsV1>,
    /// What the reader of the summary should know of the log.
    pub(super) notes: Vec<String>,
}

/// The directory of a job; removed when the job is done, kept where it can go on from it.
#[derive(Debug)]
pub(super) struct Work {
    dir: PathBuf,
    key: String,
    journal: Option<JournalV1>,
    is_done: bool,
    /// Held until the end.
    _lock: File,
}

impl Work {
    /// Takes the directory for a job of that key; the one it lies in must be there.
    pub(super) fn open(dir: &Path, key: String) -> Result<Self, BatchError> {
        let failed = |source| BatchError::Work { dir: dir.to_owned(), source };
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let lock = File::create(dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BatchError::WorkInUse { dir: dir.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let journal = read_journal(dir, &key);
        let work = Self { dir: dir.to_owned(), key, journal, is_done: false, _lock: lock };
        if work.journal.is_none() {
            work.clear().map_err(failed)?;
        }
        Ok(work)
    }

    /// Removes what another job left. Only files of ours are touched.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let is_ours = [RUN_ENDING, "events", "writing"].contains(&ending)
                || path.file_name().is_some_and(|name| name == JOURNAL);
            if is_ours {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What an earlier job of the same key noted.
    pub(super) const fn journal(&self) -> Option<&JournalV1> {
        self.journal.as_ref()
    }

    /// Notes that the log is gathered: from here on a killed job goes on.
    pub(super) fn note(
        &mut self,
        decided_at: Timestamp,
        parts: Option<PartsV1>,
        notes: Vec<String>,
    ) -> Result<(), BatchError> {
        let (key, decided_at) = (self.key.clone(), decided_at.micros());
        let journal = JournalV1 { format: FORMAT, key, decided_at, parts, notes };
        let text = serde_json::to_vec(&journal).unwrap_or_default();
        write_atomic(&self.dir.join(JOURNAL), &text)?;
        self.journal = Some(journal);
        Ok(())
    }

    /// Where a run goes.
    pub(super) fn run_path(&self, at: usize) -> PathBuf {
        self.dir.join(format!("run-{at:05}.{RUN_ENDING}"))
    }

    /// Whether a run is there and whole.
    pub(super) fn has_run(&self, at: usize) -> bool {
        self.run_path(at).try_exists().unwrap_or(false)
    }

    /// Ends the job: nothing of it is needed any more.
    pub(super) fn finish(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.is_done || self.journal.is_none() {
            // What cannot be removed is removed by the next job here, or by a person.
            let _ = self.clear();
            let _ = fs::remove_file(self.dir.join(LOCK));
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

fn read_journal(dir: &Path, key: &str) -> Option<JournalV1> {
    let text = fs::read(dir.join(JOURNAL)).ok()?;
    let journal: JournalV1 = serde_json::from_slice(&text).ok()?;
    (journal.format == FORMAT && journal.key == key).then_some(journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_on_only_from_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("work");
        let mut work = Work::open(&dir, "a".to_owned()).unwrap();
        assert!(work.journal().is_none());
        assert!(matches!(Work::open(&dir, "a".to_owned()), Err(BatchError::WorkInUse { .. })));
        work.note(Timestamp::from_micros(7), None, vec!["n".to_owned()]).unwrap();
        fs::write(work.run_path(3), b"rows").unwrap();
        drop(work);
        let work = Work::open(&dir, "a".to_owned()).unwrap();
        assert_eq!(work.journal().unwrap().decided_at, 7);
        assert!(work.has_run(3) && !work.has_run(2));
        drop(work);
        fs::write(dir.join("mine.txt"), b"a user's").unwrap();
        let work = Work::open(&dir, "b".to_owned()).unwrap();
        assert!(work.journal().is_none() && !work.has_run(3));
        drop(work);
        assert!(dir.join("mine.txt").is_file(), "only files of ours are removed");
    }
}
