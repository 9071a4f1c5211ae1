//! Rows of CSV files: delimiter, quotes, byte order mark, ragged rows.
//!
//! In: bytes. Out: raw events with the line they start on. It deliberately checks no value.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::io::Read;
use std::rc::Rc;

use ::csv::ByteRecord;
use ::csv::ErrorKind;
use ::csv::Reader;
use ::csv::ReaderBuilder;
use ::csv::Terminator;

use super::error::IntakeError;
use super::issue::EventIssue;
use super::mapping::Layout;
use super::raw::RawEvent;
use super::raw::RawValue;
use super::rows::Rows;
use super::source::ROW_BYTES_MAX;

const BUFFER_BYTES: usize = 1 << 16;
/// Bytes kept from the end of the input, to see whether a last quote was closed.
const TAIL_BYTES: usize = 64;
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const QUOTE_HINT: &str = " (look for a quote that is not closed)";

/// Reads all rows; `start` is what the file begins with. Of a part of a file, the
/// lines before it are given, with what the file begins with.
pub(super) fn read_csv(
    rows: &mut Rows<'_>,
    start: &[u8],
    input: Box<dyn Read + '_>,
    part: Option<(u64, &[u8])>,
) -> Result<(), IntakeError> {
    let delimiter = rows.delimiter().unwrap_or_else(|| guess_delimiter(start));
    let shown = match delimiter {
        b'\t' => "tab",
        b',' => "comma",
        b';' => "semicolon",
        b'|' => "bar",
        _ => "as given",
    };
    rows.set_format(&format!("CSV (delimiter: {shown})"));
    let watch = Rc::new(Watch::default());
    let input = Watched { input, watch: Rc::clone(&watch) };
    let mut builder = ReaderBuilder::new();
    builder
        .delimiter(delimiter)
        // Not the default, which ends a row at `\r` and loses count of the lines.
        .terminator(Terminator::Any(b'\n'))
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES);
    let is_whole = part.is_none();
    // The first part has the header itself.
    let part = part.filter(|(lines, _)| *lines > 0);
    let found = part.map(|(_, head)| builder.from_reader(head).byte_headers().cloned());
    let mut reader = builder.has_headers(part.is_none()).from_reader(input);
    let header = match found.unwrap_or_else(|| reader.byte_headers().cloned()) {
        Ok(header) => header,
        Err(error) => return Err(failure(rows, &watch, 1, error)),
    };
    let header: Vec<String> =
        header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    let layout = rows.layout(&header)?;
    let lines_before = part.map_or(0, |(lines, _)| lines);
    let n_rows = read_rows(rows, &mut reader, &watch, (&header, &layout, lines_before))?;
    if n_rows == 0 && is_whole {
        return Err(IntakeError::NoRows { path: rows.path() });
    }
    Ok(())
}

/// Reads rows, and says how many.
fn read_rows(
    rows: &mut Rows<'_>,
    reader: &mut Reader<Watched<'_>>,
    watch: &Watch,
    (header, layout, lines_before): (&[String], &Layout, u64),
) -> Result<u64, IntakeError> {
    let mut record = ByteRecord::new();
    let plain = rows.plain_layout(layout);
    let mut n_rows = 0_u64;
    let mut n_multi_line = 0_u64;
    loop {
        watch.since_row.set(0);
        let before = lines_before + reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(failure(rows, watch, before, error)),
        }
        if is_blank(&record) {
            continue;
        }
        n_rows += 1;
        let breaks = line_breaks(&record);
        let mut lines = 1 + breaks;
        n_multi_line += u64::from(breaks > 0);
        // The line a row starts on, reckoned from its end: the reader's own start of a row lies
        // before the blank lines that it skips.
        let at_end = watch.at_end.get();
        let line = lines_before + reader.position().line();
        let row = line.saturating_sub(breaks + u64::from(!at_end));
        if breaks == 0
            && record.len() == header.len()
            && let Some(plain) = &plain
            && rows.take_plain(row, plain, |idx| cell_of(&record, header, idx))
        {
            continue;
        }
        let raw = if breaks > 0 && at_end && watch.ends_in_quotes() && ends_in_break(&record) {
            lines -= u64::from(watch.tail.borrow().ends_with(b"\n"));
            Err(EventIssue::UnclosedQuote { lines })
        } else {
            raw_event(&record, header, layout, lines)
        };
        rows.take(row, lines, raw);
    }
    if n_multi_line > 0 {
        rows.note(format!("{n_multi_line} rows have line breaks inside of quotes"));
    }
    Ok(n_rows)
}

/// A line of nothing: `\r` alone is what the break `\r\n` leaves of one.
fn is_blank(record: &ByteRecord) -> bool {
    record.len() == 1 && matches!(record.as_slice(), b"" | b"\r")
}

fn line_breaks(record: &ByteRecord) -> u64 {
    record.as_slice().iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

fn ends_in_break(record: &ByteRecord) -> bool {
    record.iter().next_back().is_some_and(|cell| cell.contains(&b'\n'))
}

fn raw_event<'a>(
    record: &'a ByteRecord,
    header: &[String],
    layout: &'a Layout,
    lines: u64,
) -> Result<RawEvent<'a>, EventIssue> {
    if record.len() != header.len() {
        return Err(EventIssue::RaggedRow {
            found: record.len(),
            wanted: header.len(),
            lines,
            hint: if lines > 1 { QUOTE_HINT } else { "" },
        });
    }
    layout.raw_event(|idx| cell_of(record, header, idx))
}

/// The cell of a row that has as many as the header.
fn cell_of<'a>(
    record: &'a ByteRecord,
    header: &[String],
    idx: usize,
) -> Result<RawValue<'a>, EventIssue> {
    let cell = record.get(idx).unwrap_or_default();
    let is_last = idx + 1 == header.len();
    let cell = if is_last { cell.strip_suffix(b"\r").unwrap_or(cell) } else { cell };
    std::str::from_utf8(cell).map(RawValue::text).map_err(|_| EventIssue::InvalidUtf8 {
        field: header.get(idx).cloned().unwrap_or_default(),
    })
}

fn failure(rows: &Rows<'_>, watch: &Watch, row: u64, error: ::csv::Error) -> IntakeError {
    if watch.is_over() {
        return IntakeError::RowTooLong { path: rows.path(), row, most: ROW_BYTES_MAX };
    }
    let error = match error.into_kind() {
        ErrorKind::Io(error) => error,
        // Ragged rows are allowed and bytes are not decoded, so this is not reached today.
        other => io::Error::other(format!("{other:?}")),
    };
    rows.cannot_read(row, error)
}

/// The delimiter that occurs most in the header, outside of quotes; a comma where none does.
fn guess_delimiter(start: &[u8]) -> u8 {
    let mut counts = [0_u32; DELIMITERS.len()];
    let mut in_quotes = false;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    for &byte in text {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if !in_quotes => {
                if let Some(idx) = DELIMITERS.iter().position(|&delimiter| delimiter == byte) {
                    counts[idx] += 1;
                }
            }
            _ => {}
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    // The first of equals, so that a header of one column counts as comma separated.
    counts.iter().position(|&count| count == most).map_or(b',', |idx| DELIMITERS[idx])
}

/// What the reader below has seen of the input.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes read since the last row began.
    since_row: Cell<u64>,
    at_end: Cell<bool>,
    tail: RefCell<Vec<u8>>,
}

impl Watch {
    fn is_over(&self) -> bool {
        self.since_row.get() > ROW_BYTES_MAX + BUFFER_BYTES as u64
    }

    /// Whether the input, all read, ends inside of a quoted cell, given that its last cell has a
    /// line break: a closing quote makes the run of quotes at the end odd.
    fn ends_in_quotes(&self) -> bool {
        let tail = self.tail.borrow();
        let mut end = tail.as_slice();
        while let Some((b'\n' | b'\r', rest)) = end.split_last() {
            end = rest;
        }
        end.iter().rev().take_while(|&&byte| byte == b'"').count() % 2 == 0
    }
}

/// Stops the reader from gathering a row without end.
struct Watched<'a> {
    input: Box<dyn Read + 'a>,
    watch: Rc<Watch>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        let watch = &self.watch;
        watch.at_end.set(n == 0);
        watch.since_row.set(watch.since_row.get() + n as u64);
        if watch.is_over() {
            return Err(io::Error::other("the row is too long"));
        }
        let mut tail = watch.tail.borrow_mut();
        tail.extend_from_slice(&buffer[n.saturating_sub(TAIL_BYTES)..n]);
        let excess = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
        Ok(n)
    }
}
