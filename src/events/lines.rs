//! A plain text file cut into parts at the ends of lines, so that all threads can read it.
//!
//! In: a file. Out: where its parts begin, and how many lines stand before each; nothing where it
//! has to be read in one go. It is looked at once, in order, and nothing is kept of it. It
//! deliberately understands no row: a file of CSV with a quote anywhere is not cut, since a line
//! break may then be part of a cell.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::ops::Range;

/// Bytes looked at at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// A part of a text file, from the beginning of a line to the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineRange {
    pub(super) bytes: Range<u64>,
    pub(super) lines_before: u64,
}

/// The parts of a file, each but the last of at least `bytes_min` bytes.
///
/// # Errors
/// Those of reading.
pub(super) fn split_lines(
    file: &mut File,
    is_csv: bool,
    bytes_min: u64,
) -> io::Result<Option<Vec<LineRange>>> {
    let n_bytes = file.metadata()?.len();
    if n_bytes < bytes_min.saturating_mul(2) {
        return Ok(None);
    }
    let mut cutter = Cutter { bytes_min: bytes_min.max(1), ..Cutter::default() };
    let mut block = vec![0; BLOCK_BYTES];
    let mut is_first = true;
    loop {
        let n_read = file.read(&mut block)?;
        let read = &block[..n_read];
        // Gzip has its own beginning, and cannot be entered in the middle.
        let is_packed = is_first && read.starts_with(&[0x1f, 0x8b]);
        if is_packed || (is_csv && read.contains(&b'"')) {
            return Ok(None);
        }
        if n_read == 0 {
            break;
        }
        is_first = false;
        cutter.take(read);
    }
    file.rewind()?;
    Ok(cutter.finish())
}

/// Cuts at the first end of a line after each part is long enough.
#[derive(Default)]
struct Cutter {
    bytes_min: u64,
    at: u64,
    lines: u64,
    ranges: Vec<LineRange>,
    /// Where the part at work begins: bytes and lines before it.
    from: (u64, u64),
}

impl Cutter {
    fn take(&mut self, mut block: &[u8]) {
        while !block.is_empty() {
            let wanted = (self.from.0 + self.bytes_min).saturating_sub(self.at);
            let skipped = usize::try_from(wanted).unwrap_or(usize::MAX).min(block.len());
            let (before, after) = block.split_at(skipped);
            self.step(before);
            let Some(end) = after.iter().position(|&byte| byte == b'\n') else {
                self.step(after);
                return;
            };
            let (line, rest) = after.split_at(end + 1);
            self.step(line);
            let lines_before = self.from.1;
            self.ranges.push(LineRange { bytes: self.from.0..self.at, lines_before });
            self.from = (self.at, self.lines);
            block = rest;
        }
    }

    fn step(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        self.lines += bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum::<u64>();
    }

    /// What is left belongs to the last part.
    fn finish(mut self) -> Option<Vec<LineRange>> {
        let last = self.ranges.last_mut()?;
        last.bytes.end = self.at;
        (self.ranges.len() > 1).then_some(self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn split(text: &[u8], bytes_min: u64) -> Option<Vec<LineRange>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        split_lines(&mut file, true, bytes_min).unwrap()
    }

    #[test]
    fn parts_are_whole_lines_and_all_of_them() {
        let mut text = String::new();
        for line in 0..200_000 {
            text.push_str(&"x".repeat(line % 17));
            text.push('\n');
        }
        for bytes_min in [1_000, 70_000, 700_000] {
            let ranges = split(text.as_bytes(), bytes_min).unwrap();
            let (mut at, mut lines) = (0, 0);
            for LineRange { bytes, lines_before } in &ranges {
                assert_eq!(bytes.start, at);
                assert_eq!(*lines_before, lines);
                let place = |at| usize::try_from(at).unwrap();
                let part = &text[place(bytes.start)..place(bytes.end)];
                assert!(part.len() as u64 >= bytes_min && part.ends_with('\n'));
                lines += part.lines().count() as u64;
                at = bytes.end;
            }
            assert_eq!(at, text.len() as u64);
            assert!(ranges.len() as u64 >= (text.len() as u64 / (bytes_min + 17)).min(2));
        }
    }

    #[test]
    fn what_cannot_be_cut_is_read_whole() {
        assert_eq!(split(b"a\nb\nc\n", 4), None);
        assert_eq!(split(b"a\nb\n\"c\nd\"\n", 2), None);
        assert_eq!(split(b"\x1f\x8b\nb\nc\nd\n", 2), None);
        assert_eq!(split(b"one long line without an end", 2), None);
    }
}
