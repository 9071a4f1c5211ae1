//! One file opened and read to its end: format, compression, and whether it is what it says.
//!
//! In: a path, or text from a stream. Out: its rows to a sink, in the order of the file, and what
//! is said of it as a whole. Standard input is the path `-`.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::csv::read_csv;
use super::error::IntakeError;
use super::jsonl::read_jsonl;
use super::lines::LineRange;
use super::lines::split_lines;
use super::mapping::ColumnMapping;
use super::mapping::Purpose;
use super::report::SourceReport;
use super::rows::RowSink;
use super::rows::RowSpec;
use super::rows::Rows;
use super::shape::EventShape;
use super::shape::read_shaped;

/// Bytes one row may have: far above any real row, far below what would fill the memory.
pub(super) const ROW_BYTES_MAX: u64 = 1 << 20;
/// Bytes looked at to tell what a file holds.
const PEEK_BYTES: u64 = 1 << 16;
const PEEK_LENGTH: usize = 1 << 16;
/// Bytes that tell a part of a text file what its columns are: more than any header looks at.
const HEAD_BYTES: u64 = 6 << 20;
const ENDINGS: &str = ".csv, .tsv, .txt, .jsonl, .ndjson (each also with .gz) or .parquet";
/// The path of standard input.
const STDIN: &str = "-";

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
    /// What the objects of JSON lines are.
    pub shape: EventShape,
}

/// A part of a Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupRange {
    /// Row groups, counted from 0.
    pub(super) groups: Range<usize>,
    /// Rows that stand before them.
    pub(super) rows_before: u64,
}

/// A part of a file that can be read by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FilePart {
    /// Of a Parquet file.
    Groups(GroupRange),
    /// Of a text file.
    Lines(LineRange),
}

/// Whether a path means standard input, which can be read once.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// The parts that a file can be read in at once, of at least so many rows of Parquet or bytes of
/// text; the whole file where it cannot be split.
///
/// # Errors
/// [`IntakeError`] where a file cannot be opened.
pub(super) fn split(
    path: &Path,
    spec: RowSpec<'_>,
    (rows_min, bytes_min): (u64, u64),
) -> Result<Vec<Option<FilePart>>, IntakeError> {
    if is_stdin(path) {
        return Ok(vec![None]);
    }
    let name = path.display().to_string();
    let format = format_of(path, spec)?;
    if format == FileFormat::Parquet {
        return split_parquet(&name, open_parquet(path)?, rows_min);
    }
    let mut file = File::open(path).map_err(|source| cannot_open(&name, source))?;
    let is_csv = format == FileFormat::Csv;
    let ranges = split_lines(&mut file, is_csv, bytes_min).map_err(|e| cannot_read(&name, e))?;
    Ok(match ranges {
        Some(ranges) => ranges.into_iter().map(|range| Some(FilePart::Lines(range))).collect(),
        None => vec![None],
    })
}

/// Whether a file may say that two ids are one customer.
pub(super) fn may_have_links(path: &Path, spec: RowSpec<'_>) -> bool {
    let is_own = matches!(spec.read.shape, EventShape::Own);
    !is_stdin(path) && !is_own && format_of(path, spec).is_ok_and(|it| it == FileFormat::Jsonl)
}

/// Reads one file, or a part of it, to a sink.
///
/// # Errors
/// [`IntakeError`] where the file as a whole cannot be taken in. What the sink took until then is
/// not to be used.
pub(super) fn read_source(
    path: &Path,
    spec: RowSpec<'_>,
    part: Option<&FilePart>,
    sink: &mut dyn RowSink,
) -> Result<SourceReport, IntakeError> {
    let name = path.display().to_string();
    if is_stdin(path) {
        return read_text(&name, spec.read.format, spec, &mut io::stdin().lock(), sink);
    }
    let format = format_of(path, spec)?;
    if format == FileFormat::Parquet {
        spec.refuse_map(&name)?;
        let file = open_parquet(path)?;
        let mut rows = Rows::new(spec, &name, false, sink);
        let groups = part.and_then(|part| match part {
            FilePart::Groups(groups) => Some(groups),
            FilePart::Lines(_) => None,
        });
        read_parquet(&mut rows, file, groups)?;
        return Ok(rows.finish());
    }
    let mut file = File::open(path).map_err(|source| cannot_open(&name, source))?;
    match part {
        Some(FilePart::Lines(range)) => read_lines(&name, format, (&mut file, range), spec, sink),
        _ => read_text(&name, Some(format), spec, &mut file, sink),
    }
}

/// Reads a part of a plain text file; what the columns are says the beginning of the file.
fn read_lines(
    name: &str,
    format: FileFormat,
    (file, range): (&mut File, &LineRange),
    spec: RowSpec<'_>,
    sink: &mut dyn RowSink,
) -> Result<SourceReport, IntakeError> {
    let mut rows = Rows::new(spec, name, false, sink);
    let head = peek(file, HEAD_BYTES).map_err(|error| rows.cannot_read(0, error))?;
    let start = &head[..head.len().min(PEEK_LENGTH)];
    check_content(name, format, start)?;
    file.seek(SeekFrom::Start(range.bytes.start)).map_err(|error| rows.cannot_read(0, error))?;
    let input = Box::new(file.take(range.bytes.end - range.bytes.start));
    let part = Some((range.lines_before, head.as_slice()));
    match format {
        FileFormat::Csv => {
            spec.refuse_map(name)?;
            read_csv(&mut rows, start, input, part)?;
        }
        _ => match spec.map_of(name, start)? {
            Some(map) => read_shaped(&mut rows, &map, range.lines_before, input)?,
            None => read_jsonl(&mut rows, input, part)?,
        },
    }
    Ok(rows.finish())
}

fn format_of(path: &Path, spec: RowSpec<'_>) -> Result<FileFormat, IntakeError> {
    let unknown =
        || IntakeError::UnknownFormat { path: path.display().to_string(), wanted: ENDINGS };
    spec.read.format.or_else(|| FileFormat::of_name(path)).ok_or_else(unknown)
}

fn open_parquet(path: &Path) -> Result<File, IntakeError> {
    let name = path.display().to_string();
    let mut file = File::open(path).map_err(|source| cannot_open(&name, source))?;
    let start = peek(&mut file, 4).map_err(|error| cannot_read(&name, error))?;
    check_content(&name, FileFormat::Parquet, &start)?;
    Ok(file)
}

/// Reads text, plain or gzip; without a format its first character tells.
pub(super) fn read_text(
    name: &str,
    format: Option<FileFormat>,
    spec: RowSpec<'_>,
    input: &mut dyn Read,
    sink: &mut dyn RowSink,
) -> Result<SourceReport, IntakeError> {
    let magic = peek(input, 2).map_err(|error| cannot_read(name, error))?;
    let is_gzip = magic == [0x1f, 0x8b];
    let mut input: Box<dyn Read + '_> = if is_gzip {
        Box::new(MultiGzDecoder::new(io::Cursor::new(magic).chain(input)))
    } else {
        Box::new(io::Cursor::new(magic).chain(input))
    };
    let mut rows = Rows::new(spec, name, is_gzip, sink);
    let start = peek(&mut input, PEEK_BYTES).map_err(|error| rows.cannot_read(0, error))?;
    let format = format.unwrap_or_else(|| format_of_text(&start));
    check_content(name, format, &start)?;
    let input = Box::new(io::Cursor::new(start.clone()).chain(input));
    match format {
        FileFormat::Csv => {
            spec.refuse_map(name)?;
            read_csv(&mut rows, &start, input, None)?;
        }
        FileFormat::Jsonl => match spec.map_of(name, &start)? {
            Some(map) => read_shaped(&mut rows, &map, 0, input)?,
            None if spec.purpose == Purpose::Links => {}
            None => read_jsonl(&mut rows, input, None)?,
        },
        FileFormat::Parquet => {
            let path = name.to_owned();
            return Err(IntakeError::UnknownFormat { path, wanted: ".csv or .jsonl" });
        }
    }
    Ok(rows.finish())
}

/// JSON lines begin with an object; everything else has a header.
fn format_of_text(start: &[u8]) -> FileFormat {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    if text.first() == Some(&b'{') { FileFormat::Jsonl } else { FileFormat::Csv }
}

#[cfg(feature = "parquet")]
fn read_parquet(
    rows: &mut Rows<'_>,
    file: File,
    part: Option<&GroupRange>,
) -> Result<(), IntakeError> {
    super::parquet::read_parquet(rows, file, part)
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(
    rows: &mut Rows<'_>,
    _file: File,
    _part: Option<&GroupRange>,
) -> Result<(), IntakeError> {
    Err(IntakeError::ParquetNotBuilt { path: rows.path() })
}

#[cfg(feature = "parquet")]
fn split_parquet(
    path: &str,
    file: File,
    rows_min: u64,
) -> Result<Vec<Option<FilePart>>, IntakeError> {
    let ranges = super::parquet::split(path, file, rows_min)?;
    if ranges.is_empty() {
        return Ok(vec![None]);
    }
    Ok(ranges.into_iter().map(|range| Some(FilePart::Groups(range))).collect())
}

#[cfg(not(feature = "parquet"))]
fn split_parquet(
    path: &str,
    _file: File,
    _rows_min: u64,
) -> Result<Vec<Option<FilePart>>, IntakeError> {
    Err(IntakeError::ParquetNotBuilt { path: path.to_owned() })
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
