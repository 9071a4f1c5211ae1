//! A whole log, gathered by customer in bounded memory.
//!
//! In: files of events and, optionally, a table of customers' facts. Out: parts, each with all
//! events of some customers, and what was counted. Files and row groups are read side by side;
//! a record says where it stood, so the result does not depend on which came first. What does not
//! fit goes to a file a part, and a part is opened alone.
//! It deliberately folds nothing: the caller takes the parts one by one.

use std::borrow::Cow;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use serde::Deserialize;
use serde::Serialize;

use super::error::IntakeError;
use super::issue::EventIssue;
use super::log::LogSpec;
use super::mapping::ColumnMapping;
use super::mapping::Purpose;
use super::part::Part;
use super::part::PartSpec;
use super::part_counts::PartCounts;
use super::part_counts::put_second_profiles;
use super::report::IntakeReport;
use super::rows::RowSpec;
use super::shape::Identities;
use super::shape::LinkSink;
use super::source;
use super::source::FileFormat;
use super::source::FilePart;
use super::source::ReadSpec;
use super::source::is_stdin;
use super::spill::PartBytes;
use super::spill::PartFile;
use super::spill::Spill;
use super::unit::Span;
use super::unit::Unit;
use super::unit::UnitDone;
use super::unit::write_reject;
use crate::domain::Currency;
use crate::domain::Day;
use crate::domain::Timestamp;

/// Fewest and most parts; a power of two each. Each may become a file of rows, and all of those
/// are open at a time in the end: a process may have 1,024.
const PARTS: (usize, usize) = (16, 512);
/// Bytes that opening a part takes for each byte of it.
const OPEN_FACTOR: usize = 4;
/// Rows of a Parquet file that are worth reading on their own.
const UNIT_ROWS_MIN: u64 = 100_000;
/// Bytes of a text file that are worth reading on their own: more than what tells its columns.
const UNIT_BYTES_MIN: u64 = 16 << 20;
/// Standard input is taken to be as long as this.
const STDIN_BYTES: u64 = 8 << 30;

/// How a log is gathered.
#[derive(Debug, Clone, Default)]
pub struct PartsSpec {
    /// Bytes that gathering and opening parts may take together.
    pub memory_bytes: usize,
    /// An empty directory for what does not fit; without one all is held in memory.
    pub dir: Option<PathBuf>,
    /// Takes only one shard, the first number, of so many.
    pub shard: Option<(u16, u16)>,
    /// Whether rows that are no events are told one by one.
    pub rejects: bool,
    /// Bytes of a text file that are read on their own; the usual where none is given.
    pub unit_bytes_min: Option<u64>,
}

/// A log by parts. Customers lie in the part of the highest bits of the xxh3-64 of their id, so
/// parts stand in the order of the store's shards.
#[derive(Debug)]
pub struct Parts {
    parts: Vec<PartBytes>,
    spec: PartSpec,
    profiles_path: Option<String>,
    memory_bytes: usize,
    span: Span,
    log: IntakeReport,
    profiles: Option<IntakeReport>,
    /// Rows that are no events as CSV, without a header, in the order of the log.
    pub rejects: Vec<u8>,
}

/// What is kept of parts in files, to go on with them later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartsV1 {
    before: i64,
    n_event_files: usize,
    days: Option<(i32, i32)>,
    n_before: u64,
    n_after: u64,
    memory_bytes: usize,
    /// Length and digest of each part.
    parts: Vec<(u64, u64)>,
}

impl Parts {
    /// Reads a log; `progress` is called now and then with the number of rows read so far.
    ///
    /// # Errors
    /// [`IntakeError`] where a file as a whole cannot be taken in; rows that are no events are
    /// counted.
    pub fn read(
        log: &LogSpec,
        how: &PartsSpec,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Self, IntakeError> {
        let n_parts = n_parts(log, how);
        let identities = identities(log)?;
        let limit = how.memory_bytes / 4;
        let spill = Spill::new(n_parts, how.dir.as_deref(), limit);
        let reading = Reading {
            log,
            spill: &spill,
            shard: how.shard,
            rejects: how.rejects,
            // What stands in standard input is seen too late.
            knows_identities: !log.events.iter().any(|path| is_stdin(path)),
            unit_bytes_min: how.unit_bytes_min.unwrap_or(UNIT_BYTES_MIN),
            n_rows: AtomicU64::new(0),
            progress: Mutex::new(progress),
        };
        let spec = RowSpec {
            read: &log.read,
            rules: &log.rules,
            purpose: Purpose::Events,
            known_from: None,
            identities: Some(&identities),
        };
        let files: Vec<(u32, &Path)> = (0..).zip(log.events.iter().map(PathBuf::as_path)).collect();
        let mut units = reading.read(&files, spec)?;
        let n_event_files = files.len();
        let span = Span::of(&units);
        let mut rejects = take_rejects(&mut units);
        let mut report = UnitDone::report(units, n_event_files);
        let mut profiles = None;
        if let (Some(path), Some(known_from)) = (&log.profiles, span.first) {
            let read = ReadSpec { columns: ColumnMapping::default(), ..log.read.clone() };
            let (purpose, known_from) = (Purpose::Profiles, Some(known_from));
            let identities = Some(&identities);
            let spec = RowSpec { read: &read, rules: &log.rules, purpose, known_from, identities };
            let at = u32::try_from(n_event_files).unwrap_or(u32::MAX);
            let mut units = reading.read(&[(at, path)], spec)?;
            rejects.extend(take_rejects(&mut units));
            profiles = Some(UnitDone::report(units, 1));
        }
        reading.tell();
        // Duplicates are told apart part by part; until then every event counts as kept.
        report.kept = span.n_events;
        report.merged_ids = identities.n_merged();
        let spec = PartSpec { before: log.before.instant(), n_event_files };
        let profiles_path = log.profiles.as_ref().map(|path| path.display().to_string());
        let (parts, memory_bytes) = (spill.finish()?, how.memory_bytes);
        Ok(Self { parts, spec, profiles_path, memory_bytes, span, log: report, profiles, rejects })
    }

    /// What was counted of the files of events and of the table of facts before duplicates were
    /// told apart: each event counts as kept.
    #[must_use]
    pub const fn rows(&self) -> (&IntakeReport, Option<&IntakeReport>) {
        (&self.log, self.profiles.as_ref())
    }

    /// Whether what is said of the log as a whole needs a look at all parts first: facts may be
    /// there twice, and of several currencies some may be of duplicates alone.
    #[must_use]
    pub fn needs_judging(&self) -> bool {
        self.profiles.is_some() || self.span.currencies.len() > 1
    }

    /// First and last day of an event of the files of events, of those before the instant.
    #[must_use]
    pub const fn days(&self) -> Option<(Day, Day)> {
        self.span.days
    }

    /// Rows of the files of events before and not before the instant, duplicates among them.
    #[must_use]
    pub const fn n_before_and_after(&self) -> (u64, u64) {
        (self.span.n_before, self.span.n_after)
    }

    /// Currencies of amounts, those of duplicates among them.
    #[must_use]
    pub fn currencies(&self) -> Vec<Currency> {
        self.span.currencies.clone()
    }

    /// Rows that turned out to be second profiles, as [`Parts::rejects`] has the others.
    #[must_use]
    pub fn late_rejects(&self, counts: &PartCounts) -> Vec<u8> {
        let mut rows = counts.second_profiles.clone();
        rows.sort_unstable();
        let path = self.profiles_path.as_deref().unwrap_or_default();
        let mut out = Vec::new();
        for (row, _) in rows {
            write_reject(&mut out, path, row, &EventIssue::SecondProfile);
        }
        out
    }

    /// Number of parts.
    #[must_use]
    pub const fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether the parts are in files.
    #[must_use]
    pub fn is_spilled(&self) -> bool {
        matches!(self.parts.first(), Some(PartBytes::File(_)))
    }

    /// How many parts may be open at a time.
    #[must_use]
    pub fn n_open_max(&self) -> usize {
        let largest = self.parts.iter().map(|part| match part {
            PartBytes::Held(bytes) => bytes.len(),
            PartBytes::File(file) => usize::try_from(file.n_bytes).unwrap_or(usize::MAX),
        });
        let each = largest.max().unwrap_or(0).saturating_mul(OPEN_FACTOR).max(1);
        (self.memory_bytes / each).max(1)
    }

    /// Opens a part.
    ///
    /// # Errors
    /// [`IntakeError`] where its file cannot be read or is damaged.
    ///
    /// # Panics
    /// Never for a place below [`Parts::n_parts`].
    pub fn open(&self, at: usize) -> Result<Part, IntakeError> {
        let bytes = match &self.parts[at] {
            PartBytes::Held(bytes) => Cow::Borrowed(bytes.as_slice()),
            PartBytes::File(file) => Cow::Owned(file.read()?),
        };
        Part::open(bytes, &self.spec)
    }

    /// Opens every part and takes what `make` makes of it; what a part held is freed with it.
    ///
    /// # Errors
    /// As [`Parts::open`], and those of `make`.
    pub(super) fn each<T: Send>(
        &mut self,
        make: impl Fn(Part) -> Result<T, IntakeError> + Sync,
    ) -> Result<Vec<T>, IntakeError> {
        let parts = std::mem::take(&mut self.parts);
        let spec = &self.spec;
        parts
            .into_par_iter()
            .map(|part| {
                let bytes = match part {
                    PartBytes::Held(bytes) => bytes,
                    PartBytes::File(file) => file.read()?,
                };
                make(Part::open(Cow::Owned(bytes), spec)?)
            })
            .collect()
    }

    /// What one intake of the whole log would have counted.
    ///
    /// # Errors
    /// [`IntakeError::MixedCurrencies`] where amounts of several currencies were kept.
    pub fn reports(
        &self,
        counts: PartCounts,
    ) -> Result<(IntakeReport, Option<IntakeReport>), IntakeError> {
        let mut log = self.log.clone();
        log.kept = 0;
        counts.log.put_into(&mut log);
        log.check_currencies()?;
        let profiles = self.profiles.as_ref().map(|held| {
            let mut report = IntakeReport { kept: 0, ..held.clone() };
            counts.facts.put_into(&mut report);
            let path = self.profiles_path.as_deref().unwrap_or_default();
            put_second_profiles(&mut report, counts.second_profiles, path);
            report
        });
        Ok((log, profiles))
    }

    /// Looks at all parts, and at nothing but their counts.
    ///
    /// # Errors
    /// As [`Parts::open`].
    pub fn judge(&self) -> Result<PartCounts, IntakeError> {
        let counts: Result<Vec<PartCounts>, IntakeError> = (0..self.n_parts())
            .into_par_iter()
            .map(|at| Ok(self.open(at)?.into_counts()))
            .collect();
        let mut all = PartCounts::default();
        counts?.into_iter().for_each(|counts| all.add(counts));
        Ok(all)
    }

    /// What must be kept to go on with these parts later; none where they are not in files.
    #[must_use]
    pub fn to_v1(&self) -> Option<PartsV1> {
        let parts = self.parts.iter().map(|part| match part {
            PartBytes::Held(_) => None,
            PartBytes::File(file) => Some((file.n_bytes, file.digest)),
        });
        Some(PartsV1 {
            before: self.spec.before.micros(),
            n_event_files: self.spec.n_event_files,
            days: self.span.days.map(|(first, last)| (first.number(), last.number())),
            n_before: self.span.n_before,
            n_after: self.span.n_after,
            memory_bytes: self.memory_bytes,
            parts: parts.collect::<Option<_>>()?,
        })
    }

    /// The parts in a directory, as they were.
    #[must_use]
    pub fn from_v1(kept: &PartsV1, dir: &Path) -> Self {
        let parts = kept.parts.iter().enumerate().map(|(at, &(n_bytes, digest))| {
            PartBytes::File(PartFile { path: Spill::file_of(dir, at), n_bytes, digest })
        });
        let days = kept.days.map(|(a, b)| (Day::from_number(a), Day::from_number(b)));
        let (n_before, n_after) = (kept.n_before, kept.n_after);
        Self {
            parts: parts.collect(),
            spec: PartSpec {
                before: Timestamp::from_micros(kept.before),
                n_event_files: kept.n_event_files,
            },
            profiles_path: None,
            memory_bytes: kept.memory_bytes,
            span: Span { days, n_before, n_after, ..Span::default() },
            log: IntakeReport::default(),
            profiles: None,
            rejects: Vec::new(),
        }
    }
}

/// A log on its way into the parts.
struct Reading<'r> {
    log: &'r LogSpec,
    spill: &'r Spill,
    shard: Option<(u16, u16)>,
    rejects: bool,
    knows_identities: bool,
    unit_bytes_min: u64,
    n_rows: AtomicU64,
    progress: Mutex<&'r mut (dyn FnMut(u64) + Send)>,
}

impl Reading<'_> {
    /// Reads files side by side; what was read of them, in the order of the log.
    fn read(
        &self,
        files: &[(u32, &Path)],
        spec: RowSpec<'_>,
    ) -> Result<Vec<UnitDone>, IntakeError> {
        let mut units: Vec<(u32, &Path, Option<FilePart>)> = Vec::new();
        for (at, path) in files {
            let ranges = source::split(path, spec, (UNIT_ROWS_MIN, self.unit_bytes_min))?;
            units.extend(ranges.into_iter().map(|range| (*at, *path, range)));
        }
        units
            .par_iter()
            .with_max_len(1)
            .map(|(at, path, range)| {
                let mut unit = Unit::new(*at, self.spill, self.log.before.instant());
                unit.shard = self.shard;
                unit.with_rejects = self.rejects;
                unit.knows_identities = self.knows_identities;
                let mut tell = |n_rows| {
                    self.n_rows.fetch_add(n_rows, Ordering::Relaxed);
                    self.tell();
                };
                unit.progress = Some(&mut tell);
                let source = source::read_source(path, spec, range.as_ref(), &mut unit)?;
                unit.finish(source)
            })
            .collect()
    }

    /// Tells how far it is, unless somebody else just does.
    fn tell(&self) {
        if let Ok(mut progress) = self.progress.try_lock() {
            progress(self.n_rows.load(Ordering::Relaxed));
        }
    }
}

/// Which ids of a log are one customer, from the rows before the instant that say so. Only files
/// of objects have such rows, and those are looked through before anything is gathered: where a
/// customer lies is settled by the id.
fn identities(log: &LogSpec) -> Result<Identities, IntakeError> {
    let spec = RowSpec {
        read: &log.read,
        rules: &log.rules,
        purpose: Purpose::Links,
        known_from: None,
        identities: None,
    };
    let of_objects = log.events.iter().filter(|path| source::may_have_links(path, spec));
    let files: Vec<&PathBuf> = of_objects.collect();
    let found: Result<Vec<LinkSink>, IntakeError> = files
        .par_iter()
        .map(|path| {
            let mut links = LinkSink::new(log.before.instant());
            source::read_source(path, spec, None, &mut links)?;
            Ok(links)
        })
        .collect();
    Ok(Identities::of(found?.into_iter().flat_map(|sink| sink.links)))
}

fn take_rejects(units: &mut [UnitDone]) -> Vec<u8> {
    units.iter_mut().flat_map(|unit| std::mem::take(&mut unit.rejects)).collect()
}

/// As many parts as let one a thread be open in the memory given, reckoned from the files' sizes.
fn n_parts(log: &LogSpec, how: &PartsSpec) -> usize {
    let bytes: u64 = log.events.iter().chain(&log.profiles).map(|path| bytes_of(path)).sum();
    let each = how.memory_bytes / OPEN_FACTOR / rayon::current_num_threads().max(1);
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX) / each.max(1);
    wanted.clamp(PARTS.0, PARTS.1).next_power_of_two()
}

/// Bytes that the records of a file may take.
fn bytes_of(path: &Path) -> u64 {
    if is_stdin(path) {
        return STDIN_BYTES;
    }
    let n_bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    let is_packed = FileFormat::of_name(path) == Some(FileFormat::Parquet)
        || path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"));
    n_bytes.saturating_mul(if is_packed { 12 } else { 3 })
}
