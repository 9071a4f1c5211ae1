//! Why a metric has no answer.

use thiserror::Error;

use crate::model::FitError;

/// Why a metric has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricError {
    /// No rows.
    #[error("no rows to judge")]
    Empty,
    /// Predictions and outcomes of different lengths.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which input.
        what: &'static str,
        /// Length of the outcomes.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A number outside its range.
    #[error("{what}, row {row}: {found} must be {wanted}")]
    Number {
        /// Which input.
        what: &'static str,
        /// Position of the row.
        row: usize,
        /// The number.
        found: f64,
        /// Its range.
        wanted: &'static str,
    },
    /// All rows have the same outcome.
    #[error("all {n_rows} rows have the outcome {outcome}: this metric needs both")]
    OneClass {
        /// Number of rows.
        n_rows: usize,
        /// The only outcome.
        outcome: bool,
    },
    /// All values are equal.
    #[error("{what}: all {n_rows} values are equal, so there is no order to judge")]
    Constant {
        /// Which input.
        what: &'static str,
        /// Number of rows.
        n_rows: usize,
    },
    /// A total that must be positive.
    #[error("the total of the {what} is {found}: it must be positive and finite")]
    Total {
        /// Which input.
        what: &'static str,
        /// The total.
        found: f64,
    },
    /// A setting outside its range.
    #[error("{parameter} = {found} must be {wanted}")]
    Parameter {
        /// Which setting.
        parameter: &'static str,
        /// Its value.
        found: f64,
        /// Its range.
        wanted: &'static str,
    },
    /// The statistic is undefined in too many resamples.
    #[error("only {n_defined} of {n_resamples} resamples have a value: too few for an interval")]
    Resamples {
        /// Resamples with a value.
        n_defined: usize,
        /// Resamples drawn.
        n_resamples: usize,
    },
    /// The calibration line has no finite answer.
    #[error("calibration line: {0}")]
    Fit(#[from] FitError),
}

pub(super) const fn check_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), MetricError> {
    match (expected, expected == found) {
        (0, true) => Err(MetricError::Empty),
        (_, true) => Ok(()),
        (_, false) => Err(MetricError::Length { what, expected, found }),
    }
}

pub(super) fn check_finite(what: &'static str, numbers: &[f64]) -> Result<(), MetricError> {
    match numbers.iter().position(|v| !v.is_finite()) {
        Some(row) => Err(MetricError::Number { what, row, found: numbers[row], wanted: "finite" }),
        None => Ok(()),
    }
}

/// Number of positive rows; both outcomes must occur.
pub(super) fn check_classes(positive: &[bool]) -> Result<usize, MetricError> {
    let n_positive = positive.iter().filter(|&&hit| hit).count();
    if n_positive == 0 || n_positive == positive.len() {
        return Err(MetricError::OneClass { n_rows: positive.len(), outcome: n_positive > 0 });
    }
    Ok(n_positive)
}

pub(super) fn check_share(share: f64) -> Result<(), MetricError> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(MetricError::Parameter { parameter: "share", found: share, wanted: "above 0, at most 1" })
}
