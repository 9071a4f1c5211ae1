//! Why a model could not be fitted.

use thiserror::Error;

use super::forest::ForestError;

/// Why a model could not be fitted. No model exists when one of these is returned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FitError {
    /// A setting outside its range.
    #[error("{parameter} = {found} cannot be used: it must be {wanted}")]
    Spec {
        /// Name of the setting.
        parameter: &'static str,
        /// Its value.
        found: f64,
        /// The range it must lie in.
        wanted: &'static str,
    },
    /// No rows to learn from.
    #[error("no rows to fit on: give at least one row")]
    Empty,
    /// Two inputs of different lengths.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which input.
        what: &'static str,
        /// The length of the other inputs.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A feature that is infinite, too large, or missing where the model cannot handle it.
    #[error("column {column}, row {row}: {found} is not a number this model can be fitted on")]
    Feature {
        /// Position of the column.
        column: usize,
        /// Position of the row.
        row: usize,
        /// The number found.
        found: f64,
    },
    /// A target, weight or prediction out of its range.
    #[error("{what}, row {row}: {found} cannot be used, it must be {wanted}")]
    Number {
        /// Which input.
        what: &'static str,
        /// Position of the row.
        row: usize,
        /// The number found.
        found: f64,
        /// The range it must lie in.
        wanted: &'static str,
    },
    /// All rows have the same class, or no row has a positive target.
    #[error("the {n_rows} rows have only one outcome ({outcome}): two are needed to learn from")]
    OneClass {
        /// Number of rows.
        n_rows: usize,
        /// The only outcome.
        outcome: &'static str,
    },
    /// The matrix for early stopping follows another schema.
    #[error("the validation rows follow schema {found}, the training rows {expected}")]
    Schema {
        /// Schema of the training rows.
        expected: String,
        /// Schema of the validation rows.
        found: String,
    },
    /// The optimiser stopped before the gradient vanished.
    #[error(
        "{model} did not converge: gradient {gradient} a row after {n_steps} steps \
         (raise the penalty, or look for a column that separates the classes)"
    )]
    NotConverged {
        /// Which model.
        model: &'static str,
        /// Steps taken, or the limit of steps where the optimiser does not tell.
        n_steps: usize,
        /// Largest absolute gradient divided by the number of rows.
        gradient: f64,
    },
    /// The scores rank the outcomes the wrong way round.
    #[error(
        "recalibration slope {slope} is not positive: the scores rank the outcomes the wrong way"
    )]
    Inverted {
        /// The slope found.
        slope: f64,
    },
    /// A library refused the settings or failed.
    #[error("{library} failed: {source}")]
    Library {
        /// Name of the library.
        library: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The trees that were grown cannot be read by our evaluator.
    #[error("the grown trees cannot be read: {0}")]
    Forest(#[from] ForestError),
}

/// Checks that an input has the length of the others.
pub(super) const fn check_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), FitError> {
    if expected == found { Ok(()) } else { Err(FitError::Length { what, expected, found }) }
}

/// Checks that both outcomes occur.
pub(super) fn check_classes(y: &[bool]) -> Result<(), FitError> {
    let n_positive = y.iter().filter(|&&positive| positive).count();
    match (y.len(), n_positive) {
        (0, _) => Err(FitError::Empty),
        (n_rows, 0) => Err(FitError::OneClass { n_rows, outcome: "false" }),
        (n_rows, n) if n == n_rows => Err(FitError::OneClass { n_rows, outcome: "true" }),
        _ => Ok(()),
    }
}
