//! Reads named columns of a small CSV table.
//!
//! In: a file (plain or with gzip) and the names of its columns. Out: the fields of each row with
//! the line it stands on. It deliberately gives a field no meaning beyond a whole number.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use thiserror::Error;

/// Most rows a table may have: all are held in memory.
const ROWS_MAX: usize = 20_000_000;

/// Why a table cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ColumnsError {
    /// It cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no CSV.
    #[error("{}: {source}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{}: no column {column:?} among {found:?}: name it so in the first line", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        column: &'static str,
        /// The columns there are.
        found: Vec<String>,
    },
    /// A field is no count.
    #[error("{}: line {line}: column {column:?}: {found:?} is not a whole number from 0 to {most}", path.display())]
    NoCount {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// The field.
        found: String,
        /// The largest number wanted.
        most: u64,
    },
    /// There is nothing below the first line.
    #[error("{}: no rows below the names of the columns", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// There are more rows than are read.
    #[error("{}: more than {most} rows: cut the table in parts", path.display())]
    TooManyRows {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
}

/// A row of the columns asked for, in their order.
pub(super) struct Fields<const N: usize> {
    /// The line it stands on, from 1.
    pub(super) line: u64,
    /// The fields, without spaces around them.
    pub(super) fields: [String; N],
}

/// A table read whole.
pub(super) struct Columns<const N: usize> {
    path: PathBuf,
    names: [&'static str; N],
    pub(super) rows: Vec<Fields<N>>,
}

impl<const N: usize> Columns<N> {
    /// Reads the columns of these names; others are left alone.
    pub(super) fn read(path: &Path, names: [&'static str; N]) -> Result<Self, ColumnsError> {
        let own = || path.to_owned();
        let file = File::open(path).map_err(|source| ColumnsError::Open { path: own(), source })?;
        let is_gzip = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"));
        let bytes: Box<dyn Read> =
            if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let broken = |source| ColumnsError::Csv { path: own(), source };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let header = reader.headers().map_err(broken)?.clone();
        let mut at = [0; N];
        for (idx, column) in at.iter_mut().zip(names) {
            // Some programs begin a file with a byte order mark.
            let is_it = |name: &str| name.trim_start_matches('\u{feff}').trim() == column;
            *idx = header.iter().position(is_it).ok_or_else(|| ColumnsError::NoColumn {
                path: own(),
                column,
                found: header.iter().map(str::to_owned).collect(),
            })?;
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            if rows.len() >= ROWS_MAX {
                return Err(ColumnsError::TooManyRows { path: own(), most: ROWS_MAX });
            }
            let line = record.position().map_or(0, csv::Position::line);
            let fields = at.map(|idx| record.get(idx).unwrap_or_default().to_owned());
            rows.push(Fields { line, fields });
        }
        if rows.is_empty() {
            return Err(ColumnsError::Empty { path: own() });
        }
        Ok(Self { path: own(), names, rows })
    }

    /// A field as a whole number.
    pub(super) fn count(
        &self,
        row: &Fields<N>,
        column: usize,
        most: u64,
    ) -> Result<u64, ColumnsError> {
        let found = &row.fields[column];
        found.parse().ok().filter(|n| *n <= most).ok_or_else(|| ColumnsError::NoCount {
            path: self.path.clone(),
            line: row.line,
            column: self.names[column],
            found: found.clone(),
            most,
        })
    }

    /// A field as a number of periods.
    pub(super) fn periods(&self, row: &Fields<N>, column: usize) -> Result<u32, ColumnsError> {
        const PERIODS_MAX: u64 = 10_000;
        self.count(row, column, PERIODS_MAX).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
