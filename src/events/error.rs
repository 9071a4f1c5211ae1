//! Why a file could not be taken in at all.

use std::io;

use thiserror::Error;

use super::mapping::MappingError;
use super::shape::MapError;

/// Why a file could not be taken in. What was handed on before is not to be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// There is no such file.
    #[error("{path}: there is no such file")]
    NotFound {
        /// The path.
        path: String,
    },
    /// Reading failed.
    #[error("{path}: reading failed at row {row}: {source}")]
    Read {
        /// The path.
        path: String,
        /// The row reached.
        row: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A gzip file that ends early or is damaged.
    #[error(
        "{path}: the gzip data is cut off or damaged after row {row} ({detail}): copy the file again (gzip -t tells)"
    )]
    BrokenGzip {
        /// The path.
        path: String,
        /// The last whole row.
        row: u64,
        /// What the decoder said.
        detail: String,
    },
    /// The name says nothing of the format.
    #[error("{path}: the format is unknown: end the name in {wanted}")]
    UnknownFormat {
        /// The path.
        path: String,
        /// The endings.
        wanted: &'static str,
    },
    /// The content is not what the name says.
    #[error("{path}: this is {found}, not {wanted}: {remedy}")]
    WrongContent {
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
        /// What it was taken for.
        wanted: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Nothing in it.
    #[error("{path}: the file is empty")]
    Empty {
        /// The path.
        path: String,
    },
    /// A header and nothing else.
    #[error("{path}: there is a header but no row")]
    NoRows {
        /// The path.
        path: String,
    },
    /// The columns could not be told.
    #[error("{path}: {source}")]
    Mapping {
        /// The path.
        path: String,
        /// What is wrong.
        source: Box<MappingError>,
    },
    /// The map of events cannot be used.
    #[error("{path}: {source}")]
    Map {
        /// The path.
        path: String,
        /// What is wrong.
        source: MapError,
    },
    /// A map for a file without objects.
    #[error("{path}: {shape} comes as JSON lines: end the name in .jsonl, or say --format {shape}")]
    MapNeedsJson {
        /// The path.
        path: String,
        /// The shape.
        shape: &'static str,
    },
    /// Identities cannot be merged in what can be read only once.
    #[error(
        "row {row} of standard input says that two ids are one customer: such a log is read \
         twice, so put it into a file"
    )]
    AliasOnStdin {
        /// The row.
        row: u64,
    },
    /// A row beyond the bound: nearly always a quote that is never closed.
    #[error("{path}: row {row} has more than {most} bytes: look for a quote that is not closed")]
    RowTooLong {
        /// The path.
        path: String,
        /// The row.
        row: u64,
        /// The bound in bytes.
        most: u64,
    },
    /// Not a Parquet file we can read.
    #[error("{path}: {detail}")]
    Parquet {
        /// The path.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// Built without Parquet.
    #[error("{path}: this program was built without Parquet: use .csv or .jsonl")]
    ParquetNotBuilt {
        /// The path.
        path: String,
    },
    /// Amounts of several currencies cannot be added.
    #[error(
        "amounts in several currencies ({found}) cannot be added: convert them, or take one with --currency"
    )]
    MixedCurrencies {
        /// Currencies and their rows.
        found: String,
    },
    /// The parts of a log cannot be written or read.
    #[error("{path}: the log does not fit into memory, and its parts cannot be kept: {source}")]
    Spill {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A part of a log is not what was written.
    #[error("{path} is damaged: delete the directory it lies in and start again")]
    SpillDamaged {
        /// The file.
        path: String,
    },
    /// Hundreds of millions of events of a few customers.
    #[error("a part of the log has more than 4 GiB: its customers have too many events")]
    PartTooLarge,
}
