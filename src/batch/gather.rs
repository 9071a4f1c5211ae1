//! A whole log gathered by customer in bounded memory, for jobs that hold it against a store.
//!
//! In: the log, what of it counts, how much memory, and a directory for what does not fit. Out:
//! its parts, checked like those of every job. It reads no store and folds nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::base::{check_parts, check_rows};
use super::clock::{Pace, now};
use super::error::BatchError;
use super::run::check_zone;
use crate::config::{LogConfig, LogDefaults};
use crate::domain::{AsOf, Day, Timestamp, Zone};
use crate::events::{Parts, PartsSpec};

/// What the rules of reading let an event lie ahead, and one microsecond: nothing is cut off.
const AHEAD_MICROS: i64 = 86_400_000_001;

/// So many directories of the same name are passed over: those of jobs that were killed, or of
/// others with the same process number on another system.
const NAMES_MAX: u32 = 1_000;

/// Makes a directory that was not there before and that only its owner reads.
fn own_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// The end of the day asked for; without one an instant after all that may be read.
pub(super) fn until(as_of: Option<Day>, zone: &Zone) -> AsOf {
    match as_of {
        Some(day) => AsOf::end_of(day, zone),
        None => {
            let end = now().micros().saturating_add(AHEAD_MICROS);
            AsOf::at(Timestamp::from_micros(end), zone)
        }
    }
}

/// The directory of what does not fit into memory; gone at the end.
pub(super) struct Gathering(PathBuf);

impl Gathering {
    /// Makes one for a job, in the directory asked for or beside what the job is about.
    pub(super) fn make(
        subject: &Path,
        work_dir: Option<&Path>,
        job: &str,
    ) -> Result<Self, BatchError> {
        let name = subject.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = format!(".{}.{job}-{}", name.unwrap_or_default(), std::process::id());
        let parent = match work_dir {
            Some(dir) => dir,
            None => subject.parent().unwrap_or(Path::new("")),
        };
        if !parent.as_os_str().is_empty() {
            let made = fs::create_dir_all(parent);
            made.map_err(|source| BatchError::Work { dir: parent.to_owned(), source })?;
        }
        // Customers' events lie there: it must be new, and nobody else's to read.
        let mut nth = 0_u32;
        loop {
            let dir = parent.join(format!("{name}-{nth}"));
            match own_dir(&dir) {
                Ok(()) => return Ok(Self(dir)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && nth < NAMES_MAX => {
                    nth += 1;
                }
                Err(source) => return Err(BatchError::Work { dir, source }),
            }
        }
    }

    /// Reads the log up to an instant.
    pub(super) fn read(
        &self,
        (log, business): (&LogConfig, &LogDefaults),
        before: AsOf,
        memory_mb: u32,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Parts, BatchError> {
        self.read_shard((log, business), before, (memory_mb, None), progress)
    }

    /// Reads of the log the customers of one shard, the first number, of so many.
    pub(super) fn read_shard(
        &self,
        (log, business): (&LogConfig, &LogDefaults),
        before: AsOf,
        (memory_mb, shard): (u32, Option<(u16, u16)>),
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Parts, BatchError> {
        check_zone(log, business)?;
        let spec = log.spec(business, before, now())?;
        let memory_bytes = usize::try_from(u64::from(memory_mb) << 20).unwrap_or(usize::MAX);
        let dir = Some(self.0.clone());
        let how = PartsSpec { memory_bytes, dir, shard, ..PartsSpec::default() };
        let pace = Pace::new(0, progress);
        let mut tell = |rows: u64| pace.reach(rows, |done, _| format!("{done} rows read"));
        let parts = Parts::read(&spec, &how, &mut tell)?;
        match shard {
            // What became of all rows cannot be said from one shard: they are judged as read.
            Some(_) => check_rows(&parts, &log.threshold, business.currency)?,
            None => check_parts(&parts, None, &log.threshold, business.currency)?,
        }
        Ok(parts)
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        // It is ours alone; what cannot be removed is seen by its name.
        let _ = fs::remove_dir_all(&self.0);
    }
}
