//! The decision log on disk: lines appended to files, one file after the other.
//!
//! In: whole lines of JSON. Out: `decisions-00000001.jsonl` and so on in one directory. A line has
//! been handed to the system before the call returns, so it outlives a killed process; a thread of
//! its own makes what has gathered durable in one sync, so it outlives the machine a moment later.
//! Files are changed at a size or an age. Everything is bounded: bytes in all, bytes not yet
//! durable. What happens at the bound is the owner's choice, and never silent: the call is refused,
//! or the lines are dropped, counted, and the gap is marked in the log itself.
//!
//! A line that a crash tore is cut off at the next opening. One process writes at a time; anybody
//! may read. It deliberately knows nothing of decisions, and deletes nothing.

mod erase;

use std::fs;
use std::fs::{File, OpenOptions};
use std::io;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use crate::domain::Timestamp;

const PREFIX: &str = "decisions-";
const ENDING: &str = ".jsonl";
const LOCK: &str = "LOCK";
/// How long lines gather before a sync: what a crash of the machine, not of the process, may cost.
/// A sync takes the processor some 200 us, however many lines there are.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// How much of the end of a file is read at a time in search of its last whole line.
const TAIL_BYTES: u64 = 1 << 16;

/// What happens to lines for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// They are refused: without the log an experiment that runs would be spoilt.
    #[default]
    Refuse,
    /// They are dropped and counted.
    Drop,
}

impl OnFull {
    /// Its name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Drop => "drop",
        }
    }
}

/// The limits of a decision log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionLogSpec {
    /// What happens at a limit.
    pub on_full: OnFull,
    /// Most bytes in all files together.
    pub bytes_max: u64,
    /// Most bytes that are not durable yet.
    pub unsynced_bytes_max: u64,
    /// A file takes no line once it has so many bytes.
    pub segment_bytes_max: u64,
    /// A file takes no line once it is so old.
    pub segment_age_max: Duration,
}

impl Default for DecisionLogSpec {
    /// Ten million decisions of some 800 bytes, in files that are looked through in a second.
    fn default() -> Self {
        Self {
            on_full: OnFull::Refuse,
            bytes_max: 8 << 30,
            unsynced_bytes_max: 64 << 20,
            segment_bytes_max: 64 << 20,
            segment_age_max: Duration::from_secs(24 * 3600),
        }
    }
}

/// Why lines are not in the log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecisionLogError {
    /// The files have reached their limit.
    #[error("the decision log in {} has {found} bytes, at most {limit} are written: move old files away, or allow more", dir.display())]
    Full {
        /// Where it lies.
        dir: PathBuf,
        /// Bytes in all files.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The disk does not keep up.
    #[error(
        "the decision log has {found} bytes that are not on disk yet, at most {limit} may wait"
    )]
    Behind {
        /// Bytes that wait.
        found: u64,
        /// Bytes that may wait.
        limit: u64,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was written or read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An earlier failure may have torn a line: nothing is written after it.
    #[error("the decision log failed before ({cause}): open it anew")]
    Broken {
        /// What happened then.
        cause: String,
    },
    /// Another process writes.
    #[error("the decision log in {} is open in another process", dir.display())]
    AlreadyOpen {
        /// Where it lies.
        dir: PathBuf,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DecisionLogError {
    let path = path.to_owned();
    move |source| DecisionLogError::Io { path, source }
}

/// What became of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// They are in the log.
    Written,
    /// There was no room; they are counted.
    Dropped,
}

/// What an opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecisionLogReport {
    /// Files there were.
    pub segments: usize,
    /// Bytes of a torn line that were cut off.
    pub torn_bytes: u64,
}

struct Inner {
    /// Shared with the thread that syncs it.
    file: Arc<File>,
    path: PathBuf,
    number: u64,
    segment_bytes: u64,
    /// Time of the first line of this file that we wrote.
    began: Option<Timestamp>,
    total_bytes: u64,
    unsynced_bytes: u64,
    /// Bytes made durable since the log was opened.
    synced_bytes: u64,
    /// Files that are full and not yet durable.
    full: Vec<Arc<File>>,
    /// Whether the thread that syncs has nothing to do: only then must it be woken, which is a
    /// call of the system.
    is_idle: bool,
    /// Whether somebody waits for a sync.
    is_awaited: bool,
    n_dropped: u64,
    n_dropped_unmarked: u64,
    broken: Option<String>,
    closing: bool,
}

struct Shared {
    inner: Mutex<Inner>,
    dirty: Condvar,
    synced: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics between two writes to the state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A decision log that is open for writing. Share it in an `Arc`; dropping it makes all durable.
pub struct DecisionLog {
    dir: PathBuf,
    spec: DecisionLogSpec,
    shared: Arc<Shared>,
    syncer: Option<JoinHandle<()>>,
    /// One erasure at a time.
    erasing: Mutex<()>,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl std::fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionLog").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl DecisionLog {
    /// Opens a log, which is made if it is not there. A torn last line is cut off.
    ///
    /// # Errors
    /// [`DecisionLogError::AlreadyOpen`] and [`DecisionLogError::Io`].
    pub fn open(
        dir: &Path,
        spec: DecisionLogSpec,
    ) -> Result<(Self, DecisionLogReport), DecisionLogError> {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        let lock = lock(dir)?;
        let segments = decision_segments(dir)?;
        let mut report = DecisionLogReport { segments: segments.len(), torn_bytes: 0 };
        let mut total_bytes = 0;
        for path in &segments {
            total_bytes += fs::metadata(path).map_err(io_error(path))?.len();
        }
        let number = segments.last().and_then(|path| segment_number(path)).unwrap_or(1);
        let path = dir.join(segment_name(number));
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).open(&path);
        let mut file = file.map_err(io_error(&path))?;
        let (segment_bytes, torn) = cut_torn_line(&mut file).map_err(io_error(&path))?;
        report.torn_bytes = torn;
        sync_dir(dir).map_err(io_error(dir))?;
        let inner = Inner {
            file: Arc::new(file),
            path,
            number,
            segment_bytes,
            began: None,
            total_bytes: total_bytes.saturating_sub(torn),
            unsynced_bytes: 0,
            synced_bytes: 0,
            full: Vec::new(),
            is_idle: false,
            is_awaited: false,
            n_dropped: 0,
            n_dropped_unmarked: 0,
            broken: None,
            closing: false,
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            dirty: Condvar::new(),
            synced: Condvar::new(),
        });
        let held = Arc::clone(&shared);
        let syncer = thread::Builder::new().name("decision-log".to_owned());
        let syncer = syncer.spawn(move || sync_loop(&held)).map_err(io_error(dir))?;
        let (syncer, erasing) = (Some(syncer), Mutex::new(()));
        let log = Self { dir: dir.to_owned(), spec, shared, syncer, erasing, _lock: lock };
        Ok((log, report))
    }

    /// Appends whole lines, each with its end; `now` decides when a file is old. They are with
    /// the system when this returns.
    ///
    /// # Errors
    /// [`DecisionLogError`]: none of the lines is in the log. With [`OnFull::Drop`] only a
    /// failure that leaves the log unusable is an error.
    pub fn append(
        &self,
        lines: &[u8],
        n_lines: u64,
        now: Timestamp,
    ) -> Result<Appended, DecisionLogError> {
        self.append_to(self.shared.lock(), (lines, n_lines), now)
    }

    /// As [`DecisionLog::append`], but does not wait for another thread that is appending: then
    /// there is no answer and nothing has happened.
    pub fn try_append(
        &self,
        lines: &[u8],
        n_lines: u64,
        now: Timestamp,
    ) -> Option<Result<Appended, DecisionLogError>> {
        let inner = match self.shared.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.append_to(inner, (lines, n_lines), now))
    }

    fn append_to(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        (lines, n_lines): (&[u8], u64),
        now: Timestamp,
    ) -> Result<Appended, DecisionLogError> {
        match self.write(&mut inner, lines, now) {
            Ok(()) => {
                let wakes = std::mem::take(&mut inner.is_idle);
                drop(inner);
                if wakes {
                    self.shared.dirty.notify_one();
                }
                Ok(Appended::Written)
            }
            Err(_) if self.spec.on_full == OnFull::Drop => {
                inner.n_dropped += n_lines;
                inner.n_dropped_unmarked += n_lines;
                Ok(Appended::Dropped)
            }
            Err(error) => Err(error),
        }
    }

    fn write(
        &self,
        inner: &mut Inner,
        lines: &[u8],
        now: Timestamp,
    ) -> Result<(), DecisionLogError> {
        if let Some(cause) = &inner.broken {
            return Err(DecisionLogError::Broken { cause: cause.clone() });
        }
        let mark = match inner.n_dropped_unmarked {
            0 => String::new(),
            n => format!("{{\"v\":1,\"dropped\":{n}}}\n"),
        };
        let n_bytes = (lines.len() + mark.len()) as u64;
        let (found, limit) = (inner.total_bytes, self.spec.bytes_max);
        if found.saturating_add(n_bytes) > limit {
            return Err(DecisionLogError::Full { dir: self.dir.clone(), found, limit });
        }
        let (found, limit) = (inner.unsynced_bytes, self.spec.unsynced_bytes_max);
        if found > 0 && found.saturating_add(n_bytes) > limit {
            return Err(DecisionLogError::Behind { found, limit });
        }
        self.rotate(inner, now)?;
        inner.began = inner.began.or(Some(now));
        let mut file = &*inner.file;
        let written = if mark.is_empty() {
            file.write_all(lines)
        } else {
            file.write_all(&[mark.as_bytes(), lines].concat())
        };
        if let Err(source) = written {
            // Half a line must not stay: a reader would take what follows for a part of it.
            if let Err(error) = inner.file.set_len(inner.segment_bytes) {
                inner.broken = Some(error.to_string());
            }
            return Err(io_error(&inner.path)(source));
        }
        inner.segment_bytes += n_bytes;
        inner.total_bytes += n_bytes;
        inner.unsynced_bytes += n_bytes;
        inner.n_dropped_unmarked = 0;
        Ok(())
    }

    /// Begins a new file where the present one is large or old enough.
    fn rotate(&self, inner: &mut Inner, now: Timestamp) -> Result<(), DecisionLogError> {
        let age_micros = inner.began.map_or(0, |began| now.micros().saturating_sub(began.micros()));
        let is_old = u128::try_from(age_micros)
            .is_ok_and(|age| age >= self.spec.segment_age_max.as_micros().max(1));
        if inner.segment_bytes == 0
            || (inner.segment_bytes < self.spec.segment_bytes_max && !is_old)
        {
            return Ok(());
        }
        self.begin_segment(inner)?;
        inner.began = Some(now);
        Ok(())
    }

    fn begin_segment(&self, inner: &mut Inner) -> Result<(), DecisionLogError> {
        let number = inner.number + 1;
        let path = self.dir.join(segment_name(number));
        let mut options = OpenOptions::new();
        let file = options.create_new(true).append(true).open(&path).map_err(io_error(&path))?;
        sync_dir(&self.dir).map_err(io_error(&self.dir))?;
        inner.full.push(std::mem::replace(&mut inner.file, Arc::new(file)));
        inner.path = path;
        inner.number = number;
        inner.segment_bytes = 0;
        inner.began = None;
        Ok(())
    }

    /// Waits until everything appended so far is durable.
    ///
    /// # Errors
    /// [`DecisionLogError::Broken`] when the disk refused.
    pub fn flush(&self) -> Result<(), DecisionLogError> {
        let mut inner = self.shared.lock();
        // What others append meanwhile is not waited for.
        let wanted = inner.synced_bytes + inner.unsynced_bytes;
        while inner.synced_bytes < wanted && inner.broken.is_none() {
            inner.is_awaited = true;
            self.shared.dirty.notify_one();
            inner = self.shared.synced.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        match &inner.broken {
            Some(cause) => Err(DecisionLogError::Broken { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Erases the lines that `picks` picks, whole files before the present one and all: what was
    /// appended before the call is looked at once, in order. Files are written anew and renamed,
    /// so a crash leaves each as it was or without the lines; then it is to be repeated. With
    /// `only_count` nothing is written. Appending goes on meanwhile.
    ///
    /// # Errors
    /// [`DecisionLogError`]; some files may have been rewritten.
    pub fn erase(
        &self,
        only_count: bool,
        picks: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), DecisionLogError> {
        let _turn = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush()?;
        let last = {
            let mut inner = self.shared.lock();
            if !only_count && inner.segment_bytes > 0 {
                self.begin_segment(&mut inner)?;
            }
            inner.number
        };
        for path in decision_segments(&self.dir)? {
            let number = segment_number(&path).unwrap_or(0);
            if number > last || (number == last && !only_count) {
                continue;
            }
            let freed = erase::rewrite(&path, only_count, picks).map_err(io_error(&path))?;
            let mut inner = self.shared.lock();
            inner.total_bytes = inner.total_bytes.saturating_sub(freed);
        }
        sync_dir(&self.dir).map_err(io_error(&self.dir))
    }

    /// Lines dropped since the log was opened.
    #[must_use]
    pub fn n_dropped(&self) -> u64 {
        self.shared.lock().n_dropped
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        {
            let mut inner = self.shared.lock();
            inner.closing = true;
            self.shared.dirty.notify_one();
        }
        if let Some(syncer) = self.syncer.take() {
            // A panic of that thread leaves nothing to wait for.
            let _ = syncer.join();
        }
    }
}

/// Makes durable what has gathered, again and again until the log is closed.
fn sync_loop(shared: &Shared) {
    loop {
        let (files, n_bytes) = {
            let mut inner = shared.lock();
            while inner.unsynced_bytes == 0 && !inner.closing {
                inner.is_idle = true;
                inner = shared.dirty.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            (inner.is_idle, inner.is_awaited) = (false, false);
            if inner.unsynced_bytes == 0 {
                return;
            }
            let mut files = std::mem::take(&mut inner.full);
            files.push(Arc::clone(&inner.file));
            (files, inner.unsynced_bytes)
        };
        let synced: io::Result<()> = files.iter().try_for_each(|file| file.sync_data());
        let mut inner = shared.lock();
        match synced {
            Ok(()) => {
                inner.unsynced_bytes -= n_bytes;
                inner.synced_bytes += n_bytes;
            }
            // What the disk holds after a failed sync is unknown: nothing more may be promised.
            Err(error) => inner.broken = Some(error.to_string()),
        }
        shared.synced.notify_all();
        if inner.broken.is_some() {
            return;
        }
        let gathers = |inner: &mut Inner| !inner.closing && !inner.is_awaited;
        // Whoever waits is not kept waiting while lines gather.
        drop(shared.dirty.wait_timeout_while(inner, SYNC_EVERY, gathers));
    }
}

fn lock(dir: &Path) -> Result<File, DecisionLogError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(DecisionLogError::AlreadyOpen { dir: dir.to_owned() })
        }
        Err(fs::TryLockError::Error(source)) => Err(io_error(&path)(source)),
    }
}

/// The files of a log in the order they were written.
///
/// # Errors
/// [`DecisionLogError::Io`] where the directory cannot be read.
pub fn decision_segments(dir: &Path) -> Result<Vec<PathBuf>, DecisionLogError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let path = entry.map_err(io_error(dir))?.path();
        found.extend(segment_number(&path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:08}{ENDING}")
}

fn segment_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(ENDING)?.parse().ok()
}

/// Cuts off what follows the last whole line; answers the length and how much was cut.
fn cut_torn_line(file: &mut File) -> io::Result<(u64, u64)> {
    let len = file.metadata()?.len();
    let mut end = len;
    let mut tail = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        tail.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut tail)?;
        if let Some(at) = tail.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < len {
        file.set_len(end)?;
        file.sync_data()?;
    }
    file.seek(SeekFrom::End(0))?;
    Ok((end, len - end))
}

/// A new name must survive a crash, too.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
