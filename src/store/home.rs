//! The directory of a store on disk: who may open it, what format it has, and what a killed
//! process left behind.
//!
//! In: a path. Out: a directory that this process alone holds and that the engine can open.
//!
//! ```text
//! STORE      "tenure-store 1 ready": format and stage, written once each by rename
//! LOCK       held (flock) as long as the store is open; its content means nothing
//! db         the engine's log          conf, blobs/, snap.<n>   the engine's other files
//! ```
//! Stage `creating` means that nothing was ever acknowledged: the engine's files are thrown away
//! and made anew. Stage `ready` means that nothing but a half-written snapshot may be removed.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::error::{CorruptPart, StoreError};

/// The format of the directory and of everything in it that is written today.
pub(super) const FORMAT: u32 = 1;

const MARKER: &str = "STORE";
const MARKER_NEW: &str = "STORE.new";
const LOCK: &str = "LOCK";
const MAGIC: &str = "tenure-store";

/// The lock of a store that was just closed may live half a second longer: a process that its
/// opener was starting at that moment holds a copy until it runs its own program.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

const CREATING: &str = "creating";
const READY: &str = "ready";

/// What happened while a store was opened, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// The store is new.
    pub created: bool,
    /// Files that a killed process left half-written, now removed.
    pub removed: Vec<PathBuf>,
}

/// A directory that this process alone holds.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    /// Dropping it lets the next opener in.
    _lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Creating,
    Ready,
}

impl Home {
    /// Takes the directory, makes it if need be, and clears what a killed process left there.
    pub(super) fn open(
        dir: &Path,
        remove_leftovers: bool,
    ) -> Result<(Self, OpenReport), StoreError> {
        fs::create_dir_all(dir).map_err(|source| io_error("create directory", dir, source))?;
        // Before the lock file is made, so that a foreign directory stays untouched.
        refuse_foreign(dir)?;
        let home = Self { dir: dir.to_owned(), _lock: lock(dir)? };
        let mut report = OpenReport::default();
        match home.stage()? {
            None => {
                home.write_stage(CREATING)?;
                report.created = true;
            }
            Some(Stage::Creating) => {
                home.remove_engine_files(&mut report)?;
                report.created = true;
            }
            Some(Stage::Ready) => {
                home.require("db")?;
                home.require("conf")?;
                if remove_leftovers {
                    home.remove_half_snapshots(&mut report)?;
                }
            }
        }
        Ok((home, report))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Records that the engine's files are complete and on disk.
    pub(super) fn finish_creating(&self) -> Result<(), StoreError> {
        for name in ["db", "conf"] {
            let path = self.dir.join(name);
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|source| io_error("sync", &path, source))?;
        }
        self.write_stage(READY)
    }

    /// Makes names in the directory durable.
    pub(super) fn sync_dir(&self) -> Result<(), StoreError> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| io_error("sync directory", &self.dir, source))
    }

    fn stage(&self) -> Result<Option<Stage>, StoreError> {
        let path = self.dir.join(MARKER);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) if source.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let corrupt = || StoreError::Corrupt {
            dir: self.dir.clone(),
            part: CorruptPart::Marker,
            detail: format!("found {:?}", text.chars().take(64).collect::<String>()),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let [MAGIC, format, rest @ ..] = words.as_slice() else {
            return Err(corrupt());
        };
        let found: u32 = format.parse().map_err(|_| corrupt())?;
        if found > FORMAT {
            return Err(StoreError::NewerFormat {
                dir: self.dir.clone(),
                found,
                supported: FORMAT,
            });
        }
        match rest {
            [CREATING] if found == FORMAT => Ok(Some(Stage::Creating)),
            [READY] if found == FORMAT => Ok(Some(Stage::Ready)),
            _ => Err(corrupt()),
        }
    }

    fn write_stage(&self, stage: &str) -> Result<(), StoreError> {
        let (new, path) = (self.dir.join(MARKER_NEW), self.dir.join(MARKER));
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            writeln!(file, "{MAGIC} {FORMAT} {stage}")?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| io_error("write", &path, source))?;
        self.sync_dir()
    }

    fn require(&self, name: &str) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Corrupt {
                dir: self.dir.clone(),
                part: CorruptPart::MissingFile,
                detail: name.to_owned(),
            }),
            Err(source) => Err(io_error("look for", &path, source)),
        }
    }

    /// The engine writes `snap.<n>.generating` and renames it when it is complete. It takes a
    /// half-written one that a kill left behind for the newest snapshot and then never opens
    /// again; the complete snapshot before it is still there, and the log tells the rest.
    fn remove_half_snapshots(&self, report: &mut OpenReport) -> Result<(), StoreError> {
        for name in file_names(&self.dir)? {
            if name.starts_with("snap.") && name.ends_with(".generating") {
                self.remove(&name, report)?;
            }
        }
        Ok(())
    }

    fn remove_engine_files(&self, report: &mut OpenReport) -> Result<(), StoreError> {
        for name in file_names(&self.dir)? {
            if ["db", "conf", "blobs"].contains(&name.as_str()) || name.starts_with("snap.") {
                self.remove(&name, report)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str, report: &mut OpenReport) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| io_error("remove", &path, source))?;
        report.removed.push(path);
        Ok(())
    }
}

/// An error of the file system, told apart from a full disk.
pub(super) fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    if is_disk_full(&source) {
        return StoreError::DiskFull { operation, dir: path.to_owned() };
    }
    StoreError::Io { operation, path: path.to_owned(), source }
}

pub(super) fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn refuse_foreign(dir: &Path) -> Result<(), StoreError> {
    let names = file_names(dir)?;
    if names.iter().any(|name| name == MARKER) {
        return Ok(());
    }
    match names.into_iter().find(|name| name != LOCK && name != MARKER_NEW) {
        Some(found) => Err(StoreError::NotAStore { dir: dir.to_owned(), found }),
        None => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| io_error("open", &path, source))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
        }
    }
    Err(StoreError::AlreadyOpen { dir: dir.to_owned() })
}

/// Names in the directory, sorted.
fn file_names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> io::Result<Vec<String>> {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    let mut names = list().map_err(|source| io_error("list", dir, source))?;
    names.sort();
    Ok(names)
}
