//! The scores of an earlier night, to tell whose tier or segment has moved with time.
//!
//! In: a file of scores as this program writes it, in the order of the customers' ids. Out: for
//! one row after the other in the same order, whether it says something new. It is read beside
//! the rows, a row at a time, and never held.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::BatchError;
use super::row::{Cell, at};

/// Columns that are compared, and the one that they are found by.
const COLUMNS: [&str; 3] = ["customer_id", "risk_tier", "segment"];

/// One customer of the earlier file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Old {
    customer: String,
    tier: String,
    segment: String,
}

type Rows = Box<dyn Iterator<Item = Result<Old, String>>>;

/// The earlier file.
pub(super) struct Previous {
    path: PathBuf,
    rows: Rows,
    n_read: u64,
    next: Option<Old>,
}

impl Previous {
    pub(super) fn open(path: &Path) -> Result<Self, BatchError> {
        let rows = rows(path).map_err(|detail| BatchError::Previous {
            path: path.to_owned(),
            row: 0,
            detail,
        })?;
        let mut previous = Self { path: path.to_owned(), rows, n_read: 0, next: None };
        previous.advance()?;
        Ok(previous)
    }

    fn failed(&self, detail: String) -> BatchError {
        BatchError::Previous { path: self.path.clone(), row: self.n_read, detail }
    }

    fn advance(&mut self) -> Result<(), BatchError> {
        let before = self.next.take();
        let Some(next) = self.rows.next() else { return Ok(()) };
        self.n_read += 1;
        let next = next.map_err(|detail| self.failed(detail))?;
        if before.is_some_and(|before| before.customer >= next.customer) {
            let detail = format!("customer {:?} is not in the order of ids", next.customer);
            return Err(self.failed(detail));
        }
        self.next = Some(next);
        Ok(())
    }

    /// Whether the customer of a row was not there, or had another tier or segment. Rows come in
    /// the order of ids.
    pub(super) fn has_moved(&mut self, cells: &[Cell<'_>]) -> Result<bool, BatchError> {
        let customer = at::text(cells, at::CUSTOMER);
        while self.next.as_ref().is_some_and(|old| *old.customer < *customer) {
            self.advance()?;
        }
        Ok(self.next.as_ref().filter(|old| old.customer == customer).is_none_or(|old| {
            old.tier != at::text(cells, at::TIER) || old.segment != at::text(cells, at::SEGMENT)
        }))
    }
}

fn rows(path: &Path) -> Result<Rows, String> {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let file = File::open(path).map_err(|error| error.to_string())?;
    if plain.ends_with(".parquet") {
        return parquet_rows(file);
    }
    let text: Box<dyn Read> =
        if plain.len() < name.len() { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    if plain.ends_with(".csv") {
        return csv_rows(text);
    }
    if plain.ends_with(".jsonl") {
        return Ok(Box::new(BufReader::new(text).lines().map(|line| {
            let line = line.map_err(|error| error.to_string())?;
            let row: serde_json::Value =
                serde_json::from_str(&line).map_err(|error| error.to_string())?;
            let [customer, tier, segment] =
                COLUMNS.map(|name| row[name].as_str().unwrap_or_default().to_owned());
            known(Old { customer, tier, segment })
        })));
    }
    Err("a file of scores ends in .csv, .jsonl (each also .gz) or .parquet".to_owned())
}

/// A row without a customer is no row of scores.
fn known(old: Old) -> Result<Old, String> {
    if old.customer.is_empty() { Err(format!("there is no {}", COLUMNS[0])) } else { Ok(old) }
}

fn csv_rows(text: Box<dyn Read>) -> Result<Rows, String> {
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut places = [0; 3];
    for (place, wanted) in places.iter_mut().zip(COLUMNS) {
        *place = header
            .iter()
            .position(|name| name == wanted)
            .ok_or_else(|| format!("there is no column {wanted}"))?;
    }
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record.map_err(|error| error.to_string())?;
        let [customer, tier, segment] =
            places.map(|place| record.get(place).unwrap_or_default().to_owned());
        known(Old { customer, tier, segment })
    })))
}

#[cfg(feature = "parquet")]
fn parquet_rows(file: File) -> Result<Rows, String> {
    let rows = super::parquet::read_texts(file, &COLUMNS)?;
    Ok(Box::new(rows.map(|row| {
        let mut texts = row?.into_iter().map(Option::unwrap_or_default);
        let mut next = || texts.next().unwrap_or_default();
        known(Old { customer: next(), tier: next(), segment: next() })
    })))
}

#[cfg(not(feature = "parquet"))]
fn parquet_rows(_file: File) -> Result<Rows, String> {
    Err("this program was built without Parquet".to_owned())
}
