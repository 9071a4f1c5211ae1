//! Rows of JSON lines files: one object a line, in our own form (`attributes` in an object of its
//! own) or flat.
//!
//! In: bytes. Out: raw events with the line they stand on. It deliberately checks no value.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

use serde_json::Map;
use serde_json::Value;

use super::error::IntakeError;
use super::issue::EventIssue;
use super::issue::excerpt;
use super::mapping::Layout;
use super::raw::RawEvent;
use super::raw::RawValue;
use super::rows::Rows;
use super::source::ROW_BYTES_MAX;

/// Lines, and bytes of them, whose keys stand for the header that the format lacks.
const HEADER_LINES: usize = 1_000;
const HEADER_BYTES: u64 = 4 << 20;
/// The key of the object of attributes.
const ATTRIBUTES: &str = "attributes";

pub(super) type Object = Map<String, Value>;

/// Reads all rows. Of a part of a file, the lines before it are given, with what the file begins
/// with, which tells the keys.
pub(super) fn read_jsonl(
    rows: &mut Rows<'_>,
    input: Box<dyn Read + '_>,
    part: Option<(u64, &[u8])>,
) -> Result<(), IntakeError> {
    rows.set_format("JSON lines");
    let mut lines = Lines::after(part.map_or(0, |(lines, _)| lines), input);
    let first = match part {
        None => first_lines(&mut lines, rows)?,
        Some((_, head)) => first_lines(&mut Lines::after(0, Box::new(head)), rows)?,
    };
    if first.is_empty() {
        return Err(IntakeError::Empty { path: rows.path() });
    }
    let header = header_of(&first);
    let layout = rows.layout(&header)?;
    let keys = Keys { header, layout };
    for (row, object) in first.into_iter().filter(|_| part.is_none()) {
        take(rows, &keys, row, &object);
    }
    while let Some((row, object, _)) = lines.next(rows)? {
        take(rows, &keys, row, &object);
    }
    Ok(())
}

type Numbered = (u64, Result<Object, EventIssue>);

/// The lines whose keys stand for the header.
fn first_lines(lines: &mut Lines<'_>, rows: &Rows<'_>) -> Result<Vec<Numbered>, IntakeError> {
    let (mut first, mut bytes) = (Vec::new(), 0);
    while first.len() < HEADER_LINES && bytes < HEADER_BYTES {
        let Some((row, object, n)) = lines.next(rows)? else { break };
        bytes += n;
        first.push((row, object));
    }
    Ok(first)
}

/// The keys of the first objects, in their alphabetic order, without `attributes`.
fn header_of(first: &[Numbered]) -> Vec<String> {
    let objects = first.iter().filter_map(|(_, object)| object.as_ref().ok());
    let keys: BTreeSet<&String> = objects.flat_map(Object::keys).collect();
    keys.into_iter().filter(|key| *key != ATTRIBUTES).cloned().collect()
}

struct Keys {
    header: Vec<String>,
    layout: Layout,
}

fn take(rows: &mut Rows<'_>, keys: &Keys, row: u64, object: &Result<Object, EventIssue>) {
    let raw = match object {
        Ok(object) => {
            for key in object.keys().filter(|key| !keys.knows(key)) {
                rows.ignore_column(key);
            }
            keys.raw_event(object)
        }
        Err(issue) => Err(issue.clone()),
    };
    rows.take(row, 1, raw);
}

impl Keys {
    fn is_in_header(&self, key: &str) -> bool {
        key == ATTRIBUTES || self.header.binary_search_by(|known| known.as_str().cmp(key)).is_ok()
    }

    /// Whether a key has a place: in the header, or by its own name.
    fn knows(&self, key: &str) -> bool {
        self.is_in_header(key) || self.layout.takes(key)
    }

    fn raw_event<'a>(&'a self, object: &'a Object) -> Result<RawEvent<'a>, EventIssue> {
        let cell = |idx: usize| {
            let value = self.header.get(idx).and_then(|key| object.get(key));
            Ok(value.map_or(RawValue::Missing, raw_value))
        };
        let mut raw = self.layout.raw_event(cell)?;
        for (key, value) in object {
            if !self.is_in_header(key) && self.layout.takes(key) {
                raw.attributes.push((Cow::Borrowed(key), raw_value(value)));
            }
        }
        match object.get(ATTRIBUTES) {
            None | Some(Value::Null) => {}
            Some(Value::Object(attributes)) => {
                let pairs = attributes.iter();
                raw.attributes.extend(
                    pairs.map(|(key, value)| (Cow::Borrowed(key.as_str()), raw_value(value))),
                );
            }
            Some(other) => {
                return Err(EventIssue::WrongValueKind {
                    field: ATTRIBUTES.to_owned(),
                    found: raw_value(other).kind(),
                    wanted: "an object",
                });
            }
        }
        Ok(raw)
    }
}

pub(super) fn raw_value(value: &Value) -> RawValue<'_> {
    match value {
        Value::Null => RawValue::Missing,
        Value::Bool(flag) => RawValue::Flag(*flag),
        Value::String(text) => RawValue::text(text),
        Value::Array(items) => RawValue::List(items.iter().map(raw_value).collect()),
        Value::Object(_) => RawValue::Other("an object"),
        // Without arbitrary precision every number has a float; whole ones keep their digits
        // where they are ids, also beyond 2^53.
        Value::Number(number) => match (number.as_f64(), number.is_f64()) {
            (Some(float), true) => RawValue::Number(float),
            (Some(float), false) if float.abs() < 9e15 => RawValue::Number(float),
            _ => RawValue::Text(Cow::Owned(number.to_string())),
        },
    }
}

/// The lines of a file.
pub(super) struct Lines<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    row: u64,
}

type Line = (u64, Result<Object, EventIssue>, u64);

impl<'a> Lines<'a> {
    /// Those of an input before which so many lines stand.
    pub(super) fn after(row: u64, input: Box<dyn Read + 'a>) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), row }
    }

    /// The next line that is not blank: its number, its object, its bytes.
    pub(super) fn next(&mut self, rows: &Rows<'_>) -> Result<Option<Line>, IntakeError> {
        self.next_that(rows, &|_| true)
    }

    /// The next line that is wanted, by a look at its bytes, or that is too long to look at.
    pub(super) fn next_that(
        &mut self,
        rows: &Rows<'_>,
        is_wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<Line>, IntakeError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let bounded = &mut self.input;
            let n = bounded
                .take(ROW_BYTES_MAX + 1)
                .read_until(b'\n', &mut line)
                .map_err(|error| rows.cannot_read(self.row, error))?;
            if n == 0 {
                return Ok(None);
            }
            self.row += 1;
            if n as u64 > ROW_BYTES_MAX && line.last() != Some(&b'\n') {
                self.skip_line().map_err(|error| rows.cannot_read(self.row, error))?;
                let issue = EventIssue::RowTooLong { most: ROW_BYTES_MAX };
                return Ok(Some((self.row, Err(issue), 0)));
            }
            let text = if self.row == 1 {
                line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line)
            } else {
                &line
            };
            if !text.trim_ascii().is_empty() && is_wanted(text) {
                return Ok(Some((self.row, parse(text), n as u64)));
            }
        }
    }

    /// Drops the rest of a line that is too long to keep.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let n = end.map_or(buffer.len(), |idx| idx + 1);
            self.input.consume(n);
            if end.is_some() || n == 0 {
                return Ok(());
            }
        }
    }
}

pub(super) fn parse(line: &[u8]) -> Result<Object, EventIssue> {
    let text = std::str::from_utf8(line)
        .map_err(|_| EventIssue::InvalidUtf8 { field: "row".to_owned() })?;
    serde_json::from_str(text)
        .map_err(|error| EventIssue::BadJson { found: excerpt(&error.to_string()) })
}
