//! Why a base was not scored, or a store not filled.

use std::path::PathBuf;

use thiserror::Error;

use crate::bundle::BundleError;
use crate::config::ConfigError;
use crate::decision::PolicyErrors;
use crate::events::{IntakeError, ThresholdError};
use crate::history::CodecError;
use crate::scoring::ScoringError;
use crate::store::{DecisionLogError, TransferError};

/// Why a base was not scored. No file was written or replaced when one is returned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy file cannot be read.
    #[error("{}: {source}", path.display())]
    PolicyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The policy has errors.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, by line.
        source: PolicyErrors,
    },
    /// Another time zone than the bundle's was asked for.
    #[error("timezone is {wanted}, the model was trained with {found}: leave --timezone away")]
    Zone {
        /// The zone asked for.
        wanted: String,
        /// The bundle's.
        found: String,
    },
    /// The log's amounts are in another currency than the bundle's.
    #[error("the log's amounts are in {found}, the model was trained on {wanted}: convert them")]
    Currency {
        /// The log's.
        found: String,
        /// The bundle's.
        wanted: String,
    },
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle does not score as it should.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// The log cannot be taken in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// Too much of the log was dropped.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// A table was given to a bundle that scores histories.
    #[error("bundle {version} was trained on a log of events: give --events, not --table")]
    LogBundle {
        /// The bundle.
        version: String,
    },
    /// The table lacks columns that the model reads.
    #[error("the table lacks columns that the model was trained on: {missing}; columns: {found}")]
    NoColumn {
        /// Columns with what they hold.
        missing: String,
        /// The columns there are.
        found: String,
    },
    /// A row cannot be scored.
    #[error("row {line}: {source}")]
    Row {
        /// Line of a text file, row of a Parquet file.
        line: u64,
        /// Why.
        source: ScoringError,
    },
    /// A row's customer id is none.
    #[error("row {line}: column {column:?}: {detail}")]
    Id {
        /// Line of a text file, row of a Parquet file.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong.
        detail: String,
    },
    /// Customers of two tables cannot be told apart.
    #[error("rows of two tables belong together by the customer's id: name its column with --id")]
    NoIds,
    /// A customer has several rows where one is needed.
    #[error("{}: {n_rows} rows have the id of another row, but moves need one row a customer", path.display())]
    RepeatedIds {
        /// The table.
        path: PathBuf,
        /// Rows too many.
        n_rows: usize,
    },
    /// No event lies before the instant.
    #[error("no event of the log lies before the end of {as_of}: {n_after} lie after it")]
    NothingBefore {
        /// The last day looked at.
        as_of: crate::domain::Day,
        /// Events after it.
        n_after: u64,
    },
    /// The system gave no threads.
    #[error("starting {threads} threads: {source}")]
    Threads {
        /// How many were wanted, 0 for one a core.
        threads: usize,
        /// Why not.
        source: rayon::ThreadPoolBuildError,
    },
    /// The decisions could not be logged.
    #[error(transparent)]
    DecisionLog(#[from] DecisionLogError),
    /// A column to write that is none.
    #[error("there is no column {found:?} to write (--out-columns); columns: {known}")]
    OutColumn {
        /// The name given.
        found: String,
        /// The columns there are.
        known: String,
    },
    /// What does not fit into memory cannot be kept.
    #[error("{}: {source}", dir.display())]
    Work {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another run is at work on the same output.
    #[error("{} is held by another run: wait for it, or name another --out or --work-dir", dir.display())]
    WorkInUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The scores to compare with cannot be read.
    #[error("{}: row {row}: {detail}", path.display())]
    Previous {
        /// The file.
        path: PathBuf,
        /// Its row, counted from 1; 0 is the file as a whole.
        row: u64,
        /// What is wrong.
        detail: String,
    },
    /// The states are of another business, zone, currency or installation than the model.
    #[error("{}: {name} is {found:?} there, and {wanted:?} in the model", dir.display())]
    Pin {
        /// The export.
        dir: PathBuf,
        /// Which fact.
        name: String,
        /// What the export says.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// The states cannot be read.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A state is none.
    #[error("the state of customer {customer:?}: {source}")]
    State {
        /// Whose.
        customer: String,
        /// What is wrong.
        source: CodecError,
    },
    /// The file of rejected rows could not be written.
    #[error("writing {}: {source}", path.display())]
    Rejects {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A run of rows could not be written or read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The scores could not be written.
    #[error("writing {out}: {source}")]
    Write {
        /// Where to.
        out: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl BatchError {
    /// The program's exit code: 64 for settings, 65 for data and models, 1 for all else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::PolicyFile { .. }
            | Self::Policy { .. }
            | Self::OutColumn { .. }
            | Self::Zone { .. } => 64,
            Self::Currency { .. }
            | Self::Bundle(_)
            | Self::Scoring(_)
            | Self::Intake(_)
            | Self::Threshold(_)
            | Self::LogBundle { .. }
            | Self::NoColumn { .. }
            | Self::NoIds
            | Self::RepeatedIds { .. }
            | Self::Row { .. }
            | Self::Id { .. }
            | Self::NothingBefore { .. }
            | Self::Previous { .. }
            | Self::Pin { .. }
            | Self::Transfer(_)
            | Self::State { .. } => 65,
            Self::DecisionLog(DecisionLogError::AlreadyOpen { .. }) | Self::WorkInUse { .. } => 75,
            Self::DecisionLog(_)
            | Self::Threads { .. }
            | Self::Work { .. }
            | Self::Rejects { .. }
            | Self::Io(_)
            | Self::Write { .. } => 1,
        }
    }
}
