//! Files in, checked events out: the one loop that CSV, JSON lines and Parquet share.
//!
//! In: paths, the column mapping and the rules. Out: each event to a callback, in the order of the
//! file, and a report. It keeps per row only what tells identical rows and known ids apart (28 to
//! 55 bytes a distinct row, half as much again while that table grows), and the same per customer;
//! everything else is the caller's.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use xxhash_rust::xxh3::xxh3_128;

use super::content::content_id;
use super::csv::read_csv;
use super::error::IntakeError;
use super::event::Event;
use super::event::EventKind;
use super::issue::EventIssue;
use super::jsonl::read_jsonl;
use super::kinds::EventType;
use super::mapping::ColumnMapping;
use super::mapping::Layout;
use super::mapping::Purpose;
use super::raw::RawEvent;
use super::raw::RawValue;
use super::report::IntakeReport;
use super::report::SourceReport;
use super::rules::Rules;
use super::rules::check;
use super::tally::Tally;
use crate::domain::EventId;
use crate::domain::Timestamp;

/// Bytes one row may have: far above any real row, far below what would fill the memory.
pub(super) const ROW_BYTES_MAX: u64 = 1 << 20;
/// Bytes looked at to tell what a file holds.
const PEEK_BYTES: u64 = 1 << 16;
const ENDINGS: &str = ".csv, .tsv, .txt, .jsonl, .ndjson (each also with .gz) or .parquet";

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// Text with a header and separated columns.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl FileFormat {
    /// The format a file name tells.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Jsonl => "JSON lines",
            Self::Parquet => "Parquet",
        }
    }
}

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadSpec {
    /// Which column holds what.
    pub columns: ColumnMapping,
    /// The format, `None` to tell it from each file's name.
    pub format: Option<FileFormat>,
    /// The delimiter of CSV files, `None` to guess it from each header.
    pub delimiter: Option<u8>,
}

/// What became of a row.
#[derive(Debug)]
pub enum RowOutcome<'r> {
    /// It is a row of a table, and these are its cells in the order of the header.
    Cells {
        /// The line of a text file (the header is line 1), the row of a Parquet file (from 1).
        row: u64,
        /// Names and values.
        cells: Vec<(Cow<'r, str>, RawValue<'r>)>,
    },
    /// It is an event.
    Kept(Event),
    /// It is none.
    Dropped {
        /// The file.
        path: &'r str,
        /// The line of a text file (the header is line 1), the row of a Parquet file (from 1).
        row: u64,
        /// Why.
        issue: &'r EventIssue,
    },
}

/// Reads several files as one log: the same event in two of them is taken in once.
#[derive(Debug)]
pub struct Intake<'s> {
    spec: &'s ReadSpec,
    rules: &'s Rules,
    purpose: Purpose,
    known_from: Option<Timestamp>,
    events: Tally,
    customers: Tally,
    /// Customers with a profile of no time of its own.
    timeless: Tally,
    report: IntakeReport,
    scratch: Vec<u8>,
}

impl<'s> Intake<'s> {
    /// For logs of events.
    #[must_use]
    pub fn new(spec: &'s ReadSpec, rules: &'s Rules) -> Self {
        Self {
            spec,
            rules,
            purpose: Purpose::Events,
            known_from: None,
            events: Tally::default(),
            customers: Tally::default(),
            timeless: Tally::default(),
            report: IntakeReport::default(),
            scratch: Vec::new(),
        }
    }

    /// For tables of customers' facts, known from an instant where the table names none.
    #[must_use]
    pub fn of_profiles(spec: &'s ReadSpec, rules: &'s Rules, known_from: Timestamp) -> Self {
        Self { purpose: Purpose::Profiles, known_from: Some(known_from), ..Self::new(spec, rules) }
    }

    /// For a ready-made table, whose rows are handed on as cells.
    pub(super) fn of_table(spec: &'s ReadSpec, rules: &'s Rules) -> Self {
        Self { purpose: Purpose::Table, ..Self::new(spec, rules) }
    }

    /// Reads one file to its end, each row's fate to the callback in the order of the file.
    ///
    /// # Errors
    /// [`IntakeError`] where the file as a whole cannot be taken in. Rows that are no events are
    /// no error. After an error the intake and what it handed on are not to be used.
    pub fn read(
        &mut self,
        path: &Path,
        out: &mut dyn FnMut(RowOutcome<'_>),
    ) -> Result<(), IntakeError> {
        let name = path.display().to_string();
        let unknown = || IntakeError::UnknownFormat { path: name.clone(), wanted: ENDINGS };
        let format = self.spec.format.or_else(|| FileFormat::of_name(path)).ok_or_else(unknown)?;
        let mut file = File::open(path).map_err(|source| cannot_open(&name, source))?;
        if format == FileFormat::Parquet {
            let start = peek(&mut file, 4).map_err(|error| cannot_read(&name, error))?;
            check_content(&name, format, &start)?;
            return self.read_parquet(name, file, out);
        }
        self.read_text(&name, format, &mut file, out)
    }

    /// Reads text from memory or a stream, plain or gzip, as [`Intake::read`] does from a file.
    ///
    /// # Errors
    /// As [`Intake::read`]; [`IntakeError::UnknownFormat`] for Parquet, which needs a file.
    pub fn read_text(
        &mut self,
        name: &str,
        format: FileFormat,
        input: &mut dyn Read,
        out: &mut dyn FnMut(RowOutcome<'_>),
    ) -> Result<(), IntakeError> {
        let magic = peek(input, 2).map_err(|error| cannot_read(name, error))?;
        let is_gzip = magic == [0x1f, 0x8b];
        let mut input: Box<dyn Read + '_> = if is_gzip {
            Box::new(MultiGzDecoder::new(io::Cursor::new(magic).chain(input)))
        } else {
            Box::new(io::Cursor::new(magic).chain(input))
        };
        let mut rows = Rows::new(self, name, is_gzip, out);
        let start = peek(&mut input, PEEK_BYTES).map_err(|error| rows.cannot_read(0, error))?;
        check_content(name, format, &start)?;
        let input = Box::new(io::Cursor::new(start.clone()).chain(input));
        match format {
            FileFormat::Csv => read_csv(&mut rows, &start, input)?,
            FileFormat::Jsonl => read_jsonl(&mut rows, input)?,
            FileFormat::Parquet => {
                let path = name.to_owned();
                return Err(IntakeError::UnknownFormat { path, wanted: ".csv or .jsonl" });
            }
        }
        rows.finish();
        Ok(())
    }

    #[cfg(feature = "parquet")]
    fn read_parquet(
        &mut self,
        name: String,
        file: File,
        out: &mut dyn FnMut(RowOutcome<'_>),
    ) -> Result<(), IntakeError> {
        let mut rows = Rows::new(self, &name, false, out);
        super::parquet::read_parquet(&mut rows, file)?;
        rows.finish();
        Ok(())
    }

    #[cfg(not(feature = "parquet"))]
    #[allow(clippy::unused_self, reason = "the same signature with and without the feature")]
    fn read_parquet(
        &mut self,
        path: String,
        _file: File,
        _out: &mut dyn FnMut(RowOutcome<'_>),
    ) -> Result<(), IntakeError> {
        Err(IntakeError::ParquetNotBuilt { path })
    }

    /// Ends the intake.
    ///
    /// # Errors
    /// [`IntakeError::MixedCurrencies`] where amounts of several currencies were kept.
    pub fn finish(mut self) -> Result<IntakeReport, IntakeError> {
        self.report.customers = self.customers.len() as u64;
        if self.report.currencies.len() > 1 {
            let counts = self.report.currencies.iter();
            let found = counts.map(|(code, rows)| match code.as_str() {
                "XXX" => format!("none said: {rows} rows, see --default-currency"),
                code => format!("{code}: {rows} rows"),
            });
            let found = found.collect::<Vec<_>>().join(", ");
            return Err(IntakeError::MixedCurrencies { found });
        }
        Ok(self.report)
    }
}

/// Reads one file of events.
///
/// # Errors
/// As [`Intake::read`] and [`Intake::finish`].
pub fn read_events(
    path: &Path,
    spec: &ReadSpec,
    rules: &Rules,
    sink: &mut dyn FnMut(Event),
) -> Result<IntakeReport, IntakeError> {
    let mut intake = Intake::new(spec, rules);
    intake.read(path, &mut |outcome| {
        if let RowOutcome::Kept(event) = outcome {
            sink(event);
        }
    })?;
    intake.finish()
}

/// The rows of one file on their way through the rules.
pub(super) struct Rows<'i, 's, 'o> {
    intake: &'i mut Intake<'s>,
    out: &'i mut (dyn FnMut(RowOutcome<'_>) + 'o),
    is_gzip: bool,
    source: SourceReport,
}

impl<'i, 's, 'o> Rows<'i, 's, 'o> {
    fn new(
        intake: &'i mut Intake<'s>,
        name: &str,
        is_gzip: bool,
        out: &'i mut (dyn FnMut(RowOutcome<'_>) + 'o),
    ) -> Self {
        let source = SourceReport {
            path: name.to_owned(),
            format: String::new(),
            rows: 0,
            kept: 0,
            columns_used: Vec::new(),
            columns_ignored: Vec::new(),
            notes: Vec::new(),
        };
        Self { intake, out, is_gzip, source }
    }

    #[cfg(feature = "parquet")]
    pub(super) const fn rules(&self) -> &'s Rules {
        self.intake.rules
    }

    pub(super) const fn delimiter(&self) -> Option<u8> {
        self.intake.spec.delimiter
    }

    pub(super) fn path(&self) -> String {
        self.source.path.clone()
    }

    pub(super) fn set_format(&mut self, format: &str) {
        self.source.format = format.to_owned();
        if self.is_gzip {
            self.source.format.push_str(", gzip");
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.source.notes.push(note);
    }

    /// Names a column that is not used, once.
    pub(super) fn ignore_column(&mut self, name: &str) {
        if !self.source.columns_ignored.iter().any(|known| known == name) {
            self.source.columns_ignored.push(name.to_owned());
        }
    }

    /// Finds the columns, and keeps the words on them for the report.
    pub(super) fn layout(&mut self, header: &[String]) -> Result<Layout, IntakeError> {
        let found = self.intake.spec.columns.layout(header, self.intake.purpose);
        let layout = found.map_err(|source| IntakeError::Mapping {
            path: self.path(),
            source: Box::new(source),
        })?;
        self.source.columns_used.clone_from(&layout.used);
        self.source.columns_ignored.clone_from(&layout.ignored);
        self.source.notes.extend(layout.notes.iter().cloned());
        Ok(layout)
    }

    /// Where reading stopped: a damaged archive has its own remedy.
    pub(super) fn cannot_read(&self, row: u64, error: io::Error) -> IntakeError {
        let is_damage = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        );
        if self.is_gzip && is_damage {
            return IntakeError::BrokenGzip { path: self.path(), row, detail: error.to_string() };
        }
        IntakeError::Read { path: self.path(), row, source: error }
    }

    /// Takes one row: its place, the lines it spans, and what stands in it.
    pub(super) fn take(&mut self, row: u64, lines: u64, raw: Result<RawEvent<'_>, EventIssue>) {
        let raw = match raw {
            Ok(raw) if self.intake.purpose == Purpose::Table => {
                self.count_rows(1);
                self.intake.report.kept += 1;
                self.source.kept += 1;
                (self.out)(RowOutcome::Cells { row, cells: raw.attributes });
                return;
            }
            raw => raw,
        };
        match raw.and_then(|raw| self.check(raw)) {
            Ok((event, has_own_id, from_negative)) => {
                self.count_rows(1);
                self.keep(event, has_own_id, from_negative);
            }
            Err(EventIssue::OtherCurrency { .. }) => {
                self.count_rows(1);
                self.intake.report.other_currency += 1;
            }
            Err(issue) => {
                self.count_rows(lines);
                let place = || format!("{}:{row}", self.source.path);
                self.intake.report.count_dropped(&issue, lines, place);
                (self.out)(RowOutcome::Dropped { path: &self.source.path, row, issue: &issue });
            }
        }
    }

    const fn count_rows(&mut self, rows: u64) {
        self.intake.report.rows += rows;
        self.source.rows += rows;
    }

    fn check(&mut self, mut raw: RawEvent<'_>) -> Result<(Event, bool, bool), EventIssue> {
        let mut is_timeless = false;
        if let Some(known_from) = self.intake.known_from
            && raw.time.is_missing()
        {
            raw.time = super::raw::RawValue::Time(known_from);
            is_timeless = true;
        }
        let (event, has_own_id) = check(&raw, self.intake.rules)?;
        if is_timeless {
            // Two profiles at one instant would leave to chance which of them holds.
            let customer = xxh3_128(event.customer.as_str().as_bytes());
            let seen = self.intake.timeless.see(customer);
            if seen.here > 0 || seen.before > 0 {
                return Err(EventIssue::SecondProfile);
            }
        }
        let is_refund = matches!(event.kind, EventKind::Refund(_));
        let said = raw.event_type.as_deref().unwrap_or_default().trim();
        let is_purchase = said.eq_ignore_ascii_case(EventType::Purchase.as_str());
        Ok((event, has_own_id, is_refund && is_purchase))
    }

    fn keep(&mut self, mut event: Event, has_own_id: bool, from_negative: bool) {
        let intake = &mut *self.intake;
        let is_duplicate = if has_own_id {
            intake.scratch.clear();
            intake.scratch.extend_from_slice(&event.id.bits().to_be_bytes());
            intake.scratch.extend_from_slice(event.customer.as_str().as_bytes());
            let seen = intake.events.see(xxh3_128(&intake.scratch));
            seen.here > 0 || seen.before > 0
        } else {
            let first_id = content_id(&event, 0, &mut intake.scratch);
            let seen = intake.events.see(first_id.bits());
            event.id = match seen.here {
                0 => first_id,
                n => EventId::from_content(&intake.scratch, u64::from(n)),
            };
            let is_duplicate = seen.here < seen.before;
            intake.report.identical_rows += u64::from(seen.here > 0 && !is_duplicate);
            is_duplicate
        };
        if is_duplicate {
            intake.report.duplicates += 1;
            return;
        }
        intake.customers.see(xxh3_128(event.customer.as_str().as_bytes()));
        intake.report.count_kept(&event, from_negative);
        self.source.kept += 1;
        (self.out)(RowOutcome::Kept(event));
    }

    fn finish(self) {
        self.intake.events.next_file();
        self.intake.report.sources.push(self.source);
    }
}

fn cannot_open(path: &str, source: io::Error) -> IntakeError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => IntakeError::NotFound { path },
        _ => IntakeError::Read { path, row: 0, source },
    }
}

fn cannot_read(path: &str, source: io::Error) -> IntakeError {
    IntakeError::Read { path: path.to_owned(), row: 0, source }
}

/// Reads up to a number of bytes from the front.
fn peek(input: &mut (impl Read + ?Sized), bytes: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(bytes).read_to_end(&mut start)?;
    Ok(start)
}

/// Refuses a file whose first bytes are not what it is read as.
fn check_content(path: &str, wanted: FileFormat, start: &[u8]) -> Result<(), IntakeError> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let first = text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    let (found, remedy) = match (start, first) {
        (_, None) => return Err(IntakeError::Empty { path: path.to_owned() }),
        ([b'P', b'A', b'R', b'1', ..], _) if wanted != FileFormat::Parquet => {
            ("a Parquet file", "end its name in .parquet")
        }
        ([b'P', b'A', b'R', b'1', ..], _) => return Ok(()),
        (_, _) if wanted == FileFormat::Parquet => {
            ("something else", "write it as Parquet, or end its name in .csv or .jsonl")
        }
        ([b'P', b'K', 3, 4, ..], _) => {
            ("a zip archive or a spreadsheet", "unpack it, or export the sheet as CSV")
        }
        ([0xff, 0xfe, ..] | [0xfe, 0xff, ..], _) => {
            ("UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8")
        }
        (_, Some(b'{')) if wanted == FileFormat::Csv => ("JSON lines", "end its name in .jsonl"),
        _ if wanted == FileFormat::Csv && start.contains(&b'\r') && !start.contains(&b'\n') => {
            ("text whose lines end in \\r alone", "convert it: tr '\\r' '\\n'")
        }
        (_, Some(b'[')) => ("a JSON array", "write one object a line"),
        (_, Some(byte)) if wanted == FileFormat::Jsonl && byte != b'{' => {
            ("no JSON object", "write one object a line, or end its name in .csv")
        }
        _ => return Ok(()),
    };
    Err(IntakeError::WrongContent { path: path.to_owned(), found, wanted: wanted.name(), remedy })
}
