//! Rows of scores in files, sorted by customer, and many such files read as one.
//!
//! In: rows in the order of the customers' ids. Out: a file that has its name only when it is
//! whole, and rows again, those of all files in one order. A file ends with its digest, so a
//! damaged one is an error. The bytes live as long as one job; they have no version.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::domain::Timestamp;

use super::row::{COLUMNS, Cell};

/// In place of a row's length: the file's end follows.
const END: u32 = u32::MAX;
/// No row is longer: a few dozen cells.
const ROW_BYTES_MAX: usize = 1 << 20;
const BUFFER_BYTES: (usize, usize) = (1 << 12, 1 << 16);

/// What goes along with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks {
    /// Unlike the customers that the models learned from.
    pub(super) out_of_distribution: bool,
    /// Whether something happened since the instant asked about.
    pub(super) is_fresh: bool,
}

/// What is said of a run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RunEnd {
    /// Rows.
    pub(super) n_rows: u64,
    /// Customers left out because nothing happened to them.
    pub(super) n_unchanged: u64,
    /// Events after the day scored.
    pub(super) n_after: u64,
}

/// Writes a row: its cells, its marks, and its line of the decision log.
pub(super) fn encode(cells: &[Cell<'_>], marks: Marks, line: &[u8], out: &mut Vec<u8>) {
    out.push(u8::from(marks.out_of_distribution) | u8::from(marks.is_fresh) << 1);
    for cell in cells {
        match cell {
            Cell::Missing => out.push(0),
            Cell::Text(text) => {
                out.push(1);
                length(text.len(), out);
                out.extend_from_slice(text.as_bytes());
            }
            Cell::Float(number) => {
                out.push(2);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Cell::Int(number) => {
                out.push(3);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Cell::Flag(flag) => out.push(4 + u8::from(*flag)),
            Cell::Time(time) => {
                out.push(6);
                out.extend_from_slice(&time.micros().to_le_bytes());
            }
        }
    }
    out.extend_from_slice(line);
}

fn length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(END - 1).to_le_bytes());
}

/// A row as it was written; `None` for bytes that are none.
pub(super) fn decode(row: &[u8]) -> Option<(Vec<Cell<'_>>, Marks, &[u8])> {
    let (&flags, mut rest) = row.split_first()?;
    let marks = Marks { out_of_distribution: flags & 1 != 0, is_fresh: flags & 2 != 0 };
    let mut cells = Vec::with_capacity(COLUMNS.len());
    for _ in COLUMNS {
        let (&tag, after) = rest.split_first()?;
        rest = after;
        cells.push(match tag {
            0 => Cell::Missing,
            1 => {
                let (len, after) = rest.split_first_chunk()?;
                let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
                let (text, after) = after.split_at_checked(len)?;
                rest = after;
                Cell::Text(Cow::Borrowed(std::str::from_utf8(text).ok()?))
            }
            2 => {
                let (bits, after) = rest.split_first_chunk()?;
                rest = after;
                Cell::Float(f64::from_bits(u64::from_le_bytes(*bits)))
            }
            3 => {
                let (number, after) = rest.split_first_chunk()?;
                rest = after;
                Cell::Int(i32::from_le_bytes(*number))
            }
            4 | 5 => Cell::Flag(tag == 5),
            6 => {
                let (micros, after) = rest.split_first_chunk()?;
                rest = after;
                Cell::Time(Timestamp::from_micros(i64::from_le_bytes(*micros)))
            }
            _ => return None,
        });
    }
    Some((cells, marks, rest))
}

/// The customer of a row: its first cell.
fn customer_of(row: &[u8]) -> Option<&[u8]> {
    let (len, rest) = row.get(2..)?.split_first_chunk()?;
    rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

/// A run in the making: dropped before its end, it leaves nothing that counts.
pub(super) struct RunWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Xxh3,
    end: RunEnd,
}

impl RunWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES.1, File::create(writing(path))?);
        Ok(Self { path: path.to_owned(), file, hasher: Xxh3::new(), end: RunEnd::default() })
    }

    /// Adds a row that [`encode`] made.
    pub(super) fn push(&mut self, row: &[u8]) -> io::Result<()> {
        let len = u32::try_from(row.len()).unwrap_or(END - 1).to_le_bytes();
        self.hasher.update(&len);
        self.hasher.update(row);
        self.end.n_rows += 1;
        self.file.write_all(&len)?;
        self.file.write_all(row)
    }

    /// Writes the end, makes all durable and gives the file its name.
    pub(super) fn finish(mut self, n_unchanged: u64, n_after: u64) -> io::Result<()> {
        let end = RunEnd { n_unchanged, n_after, ..self.end };
        let numbers = [end.n_rows, end.n_unchanged, end.n_after];
        let mut bytes = END.to_le_bytes().to_vec();
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        self.hasher.update(&bytes);
        bytes.extend_from_slice(&self.hasher.digest().to_le_bytes());
        self.file.write_all(&bytes)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        fs::rename(writing(&self.path), &self.path)
    }
}

fn writing(path: &Path) -> PathBuf {
    path.with_extension("writing")
}

/// A run that is read.
struct RunReader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: Xxh3,
    n_rows: u64,
    row: Vec<u8>,
}

impl RunReader {
    fn open(path: &Path, buffer: usize) -> io::Result<Self> {
        let file = BufReader::with_capacity(buffer, File::open(path)?);
        let (hasher, row) = (Xxh3::new(), Vec::new());
        Ok(Self { path: path.to_owned(), file, hasher, n_rows: 0, row })
    }

    fn damaged(&self) -> io::Error {
        let path = self.path.display();
        io::Error::other(format!("{path} is damaged: delete the directory it lies in"))
    }

    /// Reads the next row, or the end once there is none.
    fn next(&mut self) -> io::Result<Option<RunEnd>> {
        let mut len = [0; 4];
        self.file.read_exact(&mut len)?;
        self.hasher.update(&len);
        let len = u32::from_le_bytes(len);
        if len == END {
            return self.end().map(Some);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > ROW_BYTES_MAX {
            return Err(self.damaged());
        }
        self.row.resize(len, 0);
        self.file.read_exact(&mut self.row)?;
        self.hasher.update(&self.row);
        self.n_rows += 1;
        Ok(None)
    }

    fn end(&mut self) -> io::Result<RunEnd> {
        let mut numbers = [0_u64; 3];
        for number in &mut numbers {
            let mut bytes = [0; 8];
            self.file.read_exact(&mut bytes)?;
            self.hasher.update(&bytes);
            *number = u64::from_le_bytes(bytes);
        }
        let mut digest = [0; 8];
        self.file.read_exact(&mut digest)?;
        let [n_rows, n_unchanged, n_after] = numbers;
        if u64::from_le_bytes(digest) != self.hasher.digest() || n_rows != self.n_rows {
            return Err(self.damaged());
        }
        Ok(RunEnd { n_rows, n_unchanged, n_after })
    }
}

/// Where the next row of a run stands in the order of all.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    customer: Vec<u8>,
    run: usize,
}

/// Hands the rows of all runs to a visitor, in the order of the customers' ids. No customer is in
/// two runs.
pub(super) fn merge<E: From<io::Error>>(
    paths: &[PathBuf],
    memory_bytes: usize,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<RunEnd, E> {
    let (least, most) = BUFFER_BYTES;
    let buffer = (memory_bytes / 4 / paths.len().max(1)).clamp(least, most);
    let mut runs = Vec::with_capacity(paths.len());
    let mut heads = BinaryHeap::with_capacity(paths.len());
    let mut all = RunEnd::default();
    for (run, path) in paths.iter().enumerate() {
        runs.push(RunReader::open(path, buffer)?);
        advance(&mut runs[run], Head { customer: Vec::new(), run }, &mut heads, &mut all)?;
    }
    while let Some(Reverse(head)) = heads.pop() {
        let run = &mut runs[head.run];
        visit(&run.row)?;
        advance(run, head, &mut heads, &mut all)?;
    }
    Ok(all)
}

fn advance(
    run: &mut RunReader,
    mut head: Head,
    heads: &mut BinaryHeap<Reverse<Head>>,
    all: &mut RunEnd,
) -> io::Result<()> {
    if let Some(end) = run.next()? {
        all.n_rows += end.n_rows;
        all.n_unchanged += end.n_unchanged;
        all.n_after += end.n_after;
        return Ok(());
    }
    head.customer.clear();
    head.customer.extend_from_slice(customer_of(&run.row).ok_or_else(|| run.damaged())?);
    heads.push(Reverse(head));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(customer: &str, at: i32) -> Vec<u8> {
        let mut cells = vec![Cell::Text(Cow::Borrowed(customer)), Cell::Float(f64::from(at) / 3.0)];
        cells.extend([Cell::Int(at), Cell::Flag(at % 2 == 0), Cell::Missing]);
        cells.resize(COLUMNS.len(), Cell::Text(Cow::Borrowed("")));
        let mut bytes = Vec::new();
        let marks = Marks { out_of_distribution: at % 3 == 0, is_fresh: at % 5 == 0 };
        encode(&cells, marks, b"{}\n", &mut bytes);
        let (found, found_marks, line) = decode(&bytes).unwrap();
        assert_eq!((found, found_marks, line), (cells, marks, &b"{}\n"[..]));
        bytes
    }

    fn write(path: &Path, rows: &[Vec<u8>]) {
        let mut run = RunWriter::create(path).unwrap();
        rows.iter().for_each(|row| run.push(row).unwrap());
        run.finish(2, 3).unwrap();
    }

    fn read(paths: &[PathBuf]) -> io::Result<(RunEnd, Vec<Vec<u8>>)> {
        let mut rows = Vec::new();
        let end = merge(paths, 1 << 20, &mut |row: &[u8]| -> io::Result<()> {
            rows.push(row.to_vec());
            Ok(())
        })?;
        Ok((end, rows))
    }

    #[test]
    fn runs_are_read_in_the_order_of_customers() {
        let dir = tempfile::tempdir().unwrap();
        let mut rows: Vec<Vec<u8>> = (0..300).map(|at| row(&format!("c{at:05}"), at)).collect();
        let paths: Vec<PathBuf> = (0..7).map(|at| dir.path().join(format!("{at}.rows"))).collect();
        for (at, path) in paths.iter().enumerate() {
            write(path, &rows.iter().skip(at).step_by(7).cloned().collect::<Vec<_>>());
        }
        let (end, found) = read(&paths).unwrap();
        assert_eq!(end, RunEnd { n_rows: 300, n_unchanged: 14, n_after: 21 });
        rows.sort();
        assert_eq!(found.len(), rows.len());
        assert!(found.is_sorted_by_key(|row| customer_of(row).unwrap()));
    }

    #[test]
    fn a_cut_or_changed_run_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rows");
        write(&path, &[row("a", 1), row("b", 2)]);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read(std::slice::from_ref(&path)).is_err(), "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&path, &changed).unwrap();
            assert!(read(std::slice::from_ref(&path)).is_err(), "changed at {at}");
        }
    }
}
