//! Why a customer cannot be scored, or a bundle cannot be used for it.

use thiserror::Error;

use crate::decision::{PolicyErrors, SaltError, TierError};
use crate::domain::{TimeError, Timestamp};
use crate::history::CodecError;
use crate::model::CellIssue;
use crate::model::ShapError;

/// Why a customer cannot be scored, or a bundle cannot be used for it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScoringError {
    /// The history has been folded past the instant asked for.
    #[error(
        "as_of {as_of} is not after the customer's newest event ({newest}): its history has been \
         folded past that instant, ask for a later one"
    )]
    AsOfTooEarly {
        /// The instant asked for.
        as_of: Timestamp,
        /// The newest event.
        newest: Timestamp,
    },
    /// A history was given to a bundle that scores rows of a table.
    #[error(
        "bundle {version} was trained on a table (tenure-train --table): it scores rows, not logs"
    )]
    TableBundle {
        /// The bundle.
        version: String,
    },
    /// A row of a table was given to a bundle that scores histories.
    #[error("bundle {version} was trained on a log of events: it scores histories, not table rows")]
    LogBundle {
        /// The bundle.
        version: String,
    },
    /// Cells that their columns cannot hold.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Row(Vec<CellIssue>),
    /// Another number of cells than inputs.
    #[error("a row of {found} cells for {expected} inputs")]
    RowLength {
        /// Inputs of the bundle.
        expected: usize,
        /// Cells given.
        found: usize,
    },
    /// The bundle maps a column to a fact that this version does not know.
    #[error("the bundle gives a fact {found:?} that this version does not know")]
    UnknownFact {
        /// The fact.
        found: String,
    },
    /// The bundle's trees cannot be explained.
    #[error("the model cannot be explained: {0}")]
    Explain(#[from] ShapError),
    /// The policy has errors.
    #[error("the policy cannot be used: {0}")]
    Policy(#[from] PolicyErrors),
    /// The policy's costs are in another currency than the bundle's amounts.
    #[error(
        "the policy's costs are in {found}, the model's amounts in {wanted}: convert the costs and \
         say economics.currency = {wanted:?}"
    )]
    PolicyCurrency {
        /// The policy's.
        found: String,
        /// The bundle's.
        wanted: String,
    },
    /// The policy's tiers do not fit the bundle.
    #[error("the policy's risk tiers cannot be cut: {0}")]
    Tier(#[from] TierError),
    /// The salts of the experiments do not fit.
    #[error(transparent)]
    Salt(#[from] SaltError),
    /// The bundle names a time zone that is not known here.
    #[error("the bundle's time zone: {0}")]
    Zone(#[from] TimeError),
    /// The bundle names no currency.
    #[error("the bundle's currency: {0}")]
    Currency(#[from] crate::domain::MoneyError),
    /// An example of the bundle is no history.
    #[error("example {row} of the bundle: {source}")]
    Example {
        /// Its position.
        row: usize,
        /// Why.
        source: CodecError,
    },
    /// An example of the bundle is malformed.
    #[error("example {row} of the bundle: {what}")]
    BadExample {
        /// Its position.
        row: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// An example gives another score than the bundle says.
    #[error(
        "self-test: example {row} of bundle {version} gives {field} {found}, it must be {expected}: \
         the bundle was made by another version or on another kind of machine; train it again"
    )]
    SelfTest {
        /// The bundle.
        version: String,
        /// Position of the example.
        row: usize,
        /// The number that differs.
        field: &'static str,
        /// As the bundle says.
        expected: f64,
        /// As found.
        found: f64,
    },
}
