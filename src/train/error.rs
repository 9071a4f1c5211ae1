//! Why a training run did not give a bundle.

use std::path::PathBuf;

use thiserror::Error;

use crate::bundle::BundleError;
use crate::dataset::{CutoffError, MatrixError};
use crate::evaluate::report::ReportError;
use crate::events::{IntakeError, ThresholdError};
use crate::features::CovariateError;
use crate::model::btyd::BtydError;
use crate::model::{FitError, MissingColumn, PersonaError, ShapError};
use crate::scoring::ScoringError;

/// Why a training run did not give a bundle. Nothing was written when one is returned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file could not be taken in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// Too much of the log was dropped.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// The table gives no bundle.
    #[error(transparent)]
    Table(#[from] super::table::TableError),
    /// The log is too short for the horizon.
    #[error(transparent)]
    Cutoff(#[from] CutoffError),
    /// Nobody bought anything.
    #[error(
        "the log holds no purchase up to {until}: {n_events} events of {n_customers} customers were read; \
         check the type and amount columns"
    )]
    NoPurchase {
        /// The last day looked at.
        until: crate::domain::Day,
        /// Events read.
        n_events: u64,
        /// Customers read.
        n_customers: usize,
    },
    /// The history is too short to say anything.
    #[error(
        "the log covers {days} days, at least {wanted} are needed to see a customer come back{report}\n\
         take a longer log; --allow-small goes on with a weak prior in place of data"
    )]
    TooLittle {
        /// Days covered.
        days: i32,
        /// Days needed.
        wanted: i32,
        /// All findings, a line each.
        report: String,
    },
    /// The log ends long before the last day to look at: the days between would count as days
    /// on which nobody bought.
    #[error(
        "the log ends on {last}, {days} days before --until {until}: the days between would count \
         as days without a purchase; say --until {last}, or --assume-complete if nothing happened"
    )]
    Incomplete {
        /// Day of the last event.
        last: crate::domain::Day,
        /// The last day looked at.
        until: crate::domain::Day,
        /// Days between.
        days: i32,
    },
    /// Further horizons with what they cannot be had with.
    #[error(
        "several churn horizons cannot be had with a season clock or covariates: train a bundle \
         for each horizon, or leave those out"
    )]
    Horizons,
    /// A buy-till-you-die model could not be fitted.
    #[error(transparent)]
    Btyd(#[from] BtydError),
    /// The covariates cannot be used.
    #[error(transparent)]
    Covariates(#[from] CovariateError),
    /// A learned model could not be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Rows and schema disagree.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// A column is missing in the schema.
    #[error(transparent)]
    Column(#[from] MissingColumn),
    /// The bundle could not be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The base cannot be split into personas.
    #[error(transparent)]
    Personas(#[from] PersonaError),
    /// The models cannot be explained.
    #[error(transparent)]
    Explain(#[from] ShapError),
    /// The rows could not be written.
    #[error("{}: {source}", path.display())]
    Export {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The finished bundle does not score.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
}

impl TrainError {
    /// Whether the data, not the program or its settings, are the cause.
    #[must_use]
    pub const fn is_data(&self) -> bool {
        match self {
            Self::Intake(_)
            | Self::Threshold(_)
            | Self::Table(_)
            | Self::Cutoff(_)
            | Self::NoPurchase { .. }
            | Self::TooLittle { .. }
            | Self::Incomplete { .. }
            | Self::Btyd(_)
            | Self::Covariates(_)
            | Self::Personas(_)
            | Self::Fit(_) => true,
            Self::Matrix(_)
            | Self::Column(_)
            | Self::Horizons
            | Self::Bundle(_)
            | Self::Explain(_)
            | Self::Export { .. }
            | Self::Report(_)
            | Self::Scoring(_) => false,
        }
    }
}
