//! The lines of a file by a map.
//!
//! In: bytes and a map. Out: raw events, rows that are left out, and identity merges, each with
//! the line it stands on. There is no header: every object is read by itself.

use std::io::Read;

use super::EventMap;
use super::map::Said;
use crate::events::error::IntakeError;
use crate::events::jsonl::Lines;
use crate::events::mapping::Purpose;
use crate::events::rows::Rows;

/// Reads all rows; of a part of a file, so many lines stand before it.
pub(crate) fn read_shaped(
    rows: &mut Rows<'_>,
    map: &EventMap,
    lines_before: u64,
    input: Box<dyn Read + '_>,
) -> Result<(), IntakeError> {
    rows.set_map(map);
    let mut lines = Lines::after(lines_before, input);
    if rows.purpose() == Purpose::Links {
        return read_links(rows, map, &mut lines);
    }
    while let Some((row, object, _)) = lines.next(rows)? {
        match object.as_ref().map_err(Clone::clone).and_then(|object| map.say(object)) {
            Ok(Said::Event(raw)) => rows.take(row, 1, Ok(raw)),
            Ok(Said::Alias(raw)) => rows.take_alias(row, raw),
            Ok(Said::LeftOut(name)) => rows.ignore(&name),
            Err(issue) => rows.take(row, 1, Err(issue)),
        }
    }
    Ok(())
}

/// Reads only what says that two ids are one customer.
fn read_links(
    rows: &mut Rows<'_>,
    map: &EventMap,
    lines: &mut Lines<'_>,
) -> Result<(), IntakeError> {
    let Some(words) = map.link_words() else { return Ok(()) };
    let is_wanted = |line: &[u8]| match std::str::from_utf8(line) {
        Ok(line) => words.iter().any(|word| line.contains(word.as_str())),
        Err(_) => false,
    };
    while let Some((row, object, _)) = lines.next_that(rows, &is_wanted)? {
        let Ok(object) = object else { continue };
        if let Some(raw) = map.link(&object) {
            rows.take_alias(row, raw);
        }
    }
    Ok(())
}

/// What a line must hold one of to be looked at: a word in quotes, or an escape, which may stand
/// for any letter of a word.
pub(super) fn quoted(words: &[&str]) -> Vec<String> {
    let quoted = words.iter().map(|word| format!("\"{word}\""));
    quoted.chain(["\\".to_owned()]).collect()
}
