//! A checked row as bytes, for the parts that a log is gathered into.
//!
//! In: a row that is an event. Out: bytes, and from them where it stood, its id if it brought one,
//! its day, and its content. The bytes live as long as a run; they have no version.

use super::content::write_content;
use super::plain::PlainEvent;
use super::rows::Checked;
use crate::domain::Day;
use crate::domain::EventId;

const OWN_ID: u8 = 1;
const FROM_NEGATIVE: u8 = 2;
const TIMELESS: u8 = 4;

/// Where the content of a record begins that has neither an id of its own nor lines: after its
/// length, flags, place and day.
const CONTENT_AT: usize = 4 + 1 + 8 + 4;

/// Bits of a place that are the row.
const ROW_BITS: u32 = 40;

/// Where a row stands: the file, then the row in it; ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    pub(super) const fn new(file: u32, row: u64) -> Self {
        Self((file as u64) << ROW_BITS | row & ((1 << ROW_BITS) - 1))
    }

    pub(super) const fn file(self) -> usize {
        (self.0 >> ROW_BITS) as usize
    }

    pub(super) const fn row(self) -> u64 {
        self.0 & ((1 << ROW_BITS) - 1)
    }
}

/// Adds the record of a row of a file.
pub(super) fn write(checked: &Checked, place: Place, out: &mut Vec<u8>) {
    let Checked { event, row: _, lines, has_own_id, from_negative, is_timeless } = checked;
    let own_id = has_own_id.then_some(event.id);
    let start = begin((place, event.day), own_id, out);
    if *from_negative {
        out[start + 4] |= FROM_NEGATIVE;
    }
    if *is_timeless {
        out[start + 4] |= TIMELESS;
        out.extend_from_slice(&lines.to_le_bytes());
    }
    write_content(event, out);
    end(start, out);
}

/// Adds the record of a plain row of a file.
pub(super) fn write_plain(plain: &PlainEvent<'_>, place: Place, out: &mut Vec<u8>) {
    let start = begin((place, plain.day), plain.own_id, out);
    plain.write_content(out);
    end(start, out);
}

/// Begins a record and says where; its length is known at its end.
fn begin((place, day): (Place, Day), own_id: Option<EventId>, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut head = [0; CONTENT_AT];
    head[5..13].copy_from_slice(&place.0.to_le_bytes());
    head[13..].copy_from_slice(&day.number().to_le_bytes());
    head[4] = if own_id.is_some() { OWN_ID } else { 0 };
    out.extend_from_slice(&head);
    if let Some(id) = own_id {
        out.extend_from_slice(&id.bits().to_le_bytes());
    }
    start
}

fn end(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'b> {
    pub(super) place: Place,
    pub(super) day: Day,
    pub(super) own_id: Option<EventId>,
    pub(super) from_negative: bool,
    /// Lines of a profile that named no time.
    pub(super) timeless_lines: Option<u64>,
    pub(super) content: &'b [u8],
}

/// The length of a record, given what begins with it.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    usize::try_from(length).ok()?.checked_add(4)
}

/// The place of the record that bytes begin with.
pub(super) fn place_of(bytes: &[u8]) -> Option<Place> {
    bytes.get(5..)?.first_chunk().map(|bytes| Place(u64::from_le_bytes(*bytes)))
}

/// The content of a record.
pub(super) fn content_of(record: &[u8]) -> Option<&[u8]> {
    let flags = *record.get(4)?;
    let mut begins = CONTENT_AT;
    if flags & OWN_ID != 0 {
        begins += 16;
    }
    if flags & TIMELESS != 0 {
        begins += 8;
    }
    record.get(begins..)
}

/// Reads the record that bytes begin with.
pub(super) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let rest = bytes.get(4..length(bytes)?)?;
    let (&flags, rest) = rest.split_first()?;
    let (place, rest) = rest.split_first_chunk()?;
    let (day, rest) = rest.split_first_chunk()?;
    let (own_id, rest) = if flags & OWN_ID == 0 {
        (None, rest)
    } else {
        let (id, rest) = rest.split_first_chunk()?;
        (Some(EventId::from_bits(u128::from_le_bytes(*id))), rest)
    };
    let (timeless_lines, content) = if flags & TIMELESS == 0 {
        (None, rest)
    } else {
        let (lines, rest) = rest.split_first_chunk()?;
        (Some(u64::from_le_bytes(*lines)), rest)
    };
    Some(Record {
        place: Place(u64::from_le_bytes(*place)),
        day: Day::from_number(i32::from_le_bytes(*day)),
        own_id,
        from_negative: flags & FROM_NEGATIVE != 0,
        timeless_lines,
        content,
    })
}
