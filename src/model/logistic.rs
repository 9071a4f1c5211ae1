//! Logistic regression with an L2 penalty.
//!
//! In: finite columns and outcomes. Out: coefficients that speak of P(true), on standardised
//! columns. Fitting is linfa's; prediction is ours, in `f64`.
//!
//! It deliberately offers no sample weights (linfa ignores them) and fills no missing values.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_logistic::LogisticRegression;
use ndarray::Array1;
use ndarray::Array2;
use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use super::error::{FitError, check_classes};
use super::link::{logit, sigmoid};
use super::standardize::Standardizer;

/// Length of the gradient at which linfa stops; at this value its coefficients equal
/// scikit-learn's to about 1e-5.
const GRADIENT_TOLERANCE: f64 = 1e-6;
/// Largest absolute gradient a row that counts as converged. The gradient is a sum over the rows,
/// so on large data its rounding alone can exceed [`GRADIENT_TOLERANCE`].
const GRADIENT_ROW_MAX: f64 = 1e-6;
/// Steps of the optimiser; a standardised problem takes some tens.
const STEPS_MAX: u64 = 1_000;

/// Settings of a logistic regression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogisticSpec {
    /// Strength of the penalty `l2 / 2 * sum(weight^2)` against the log loss summed over rows, on
    /// standardised columns; the intercept is free. Finite, >= 0; scikit-learn's `1 / C`.
    pub l2: f64,
}

impl Default for LogisticSpec {
    /// One pseudo-row of penalty: scikit-learn's default, which matters only on small data.
    fn default() -> Self {
        Self { l2: 1.0 }
    }
}

/// A fitted logistic regression: `logit P(true) = intercept + sum(weight * (x - mean) / scale)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    intercept: f64,
    weights: Vec<f64>,
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl Logistic {
    /// Fits P(true) on columns of finite values, one place a row.
    ///
    /// Constant columns get weight 0.
    ///
    /// # Errors
    /// [`FitError::Spec`] for a penalty that is negative or not finite; [`FitError::Length`],
    /// [`FitError::Feature`] and [`FitError::OneClass`] for the data; [`FitError::Library`] and
    /// [`FitError::NotConverged`] when no optimum was reached.
    pub fn fit(spec: &LogisticSpec, x: &[Vec<f64>], y: &[bool]) -> Result<Self, FitError> {
        if !(spec.l2.is_finite() && spec.l2 >= 0.0) {
            let wanted = "finite and at least 0";
            return Err(FitError::Spec { parameter: "l2", found: spec.l2, wanted });
        }
        check_classes(y)?;
        let scaler = Standardizer::fit(x, y.len())?;
        let scaled = scaled_rows(x, &scaler);
        let (intercept, active_weights) = if scaler.active.is_empty() {
            (logit(positive_share(y)), Vec::new())
        } else {
            solve(spec, &scaled, y)?
        };
        let mut weights = vec![0.0; x.len()];
        for (&column, &weight) in scaler.active.iter().zip(&active_weights) {
            weights[column] = weight;
        }
        Ok(Self { intercept, weights, means: scaler.means, scales: scaler.scales })
    }

    /// Number of columns it was fitted on.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.weights.len()
    }

    /// Logit at the mean of every column.
    #[must_use]
    pub const fn intercept(&self) -> f64 {
        self.intercept
    }

    /// Change of the logit for one standard deviation of a column.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Logit of P(true); NaN if the row has a NaN or another number of values than
    /// [`Logistic::n_features`].
    #[must_use]
    pub fn logit(&self, row: &[f64]) -> f64 {
        if row.len() != self.weights.len() {
            return f64::NAN;
        }
        let mut sum = self.intercept;
        for (idx, &number) in row.iter().enumerate() {
            sum += self.term(idx, number);
        }
        sum
    }

    /// P(true) in [0, 1]; NaN as for [`Logistic::logit`].
    #[must_use]
    pub fn prob(&self, row: &[f64]) -> f64 {
        sigmoid(self.logit(row))
    }

    /// What a column's value adds to the logit, against its mean in training: the exact additive
    /// explanation, `logit = intercept + sum(term)`.
    ///
    /// # Panics
    /// Never for a column below [`Logistic::n_features`].
    #[must_use]
    pub fn term(&self, column: usize, number: f64) -> f64 {
        self.weights[column] * ((number - self.means[column]) / self.scales[column])
    }

    /// The form it is stored in.
    #[must_use]
    pub fn to_v1(&self) -> LogisticV1 {
        LogisticV1 {
            intercept: self.intercept,
            weights: self.weights.clone(),
            means: self.means.clone(),
            scales: self.scales.clone(),
        }
    }
}

/// [`Logistic`] as stored. Any JSON writer that keeps the bits of `f64` keeps every score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticV1 {
    /// Logit at the means.
    pub intercept: f64,
    /// Weights on standardised columns.
    pub weights: Vec<f64>,
    /// Means of the columns.
    pub means: Vec<f64>,
    /// Standard deviations, 1 for constant columns.
    pub scales: Vec<f64>,
}

/// Why a stored logistic regression cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogisticV1Error {
    /// Lists of different lengths.
    #[error("weights, means and scales must be equally long, found {weights}, {means}, {scales}")]
    Length {
        /// Number of weights.
        weights: usize,
        /// Number of means.
        means: usize,
        /// Number of scales.
        scales: usize,
    },
    /// A number that is not finite, or a scale that is not positive.
    #[error("column {column}: weight and mean must be finite and the scale positive")]
    Number {
        /// Position of the column; the number of columns for the intercept.
        column: usize,
    },
}

impl TryFrom<LogisticV1> for Logistic {
    type Error = LogisticV1Error;

    fn try_from(stored: LogisticV1) -> Result<Self, Self::Error> {
        let LogisticV1 { intercept, weights, means, scales } = stored;
        if weights.len() != means.len() || weights.len() != scales.len() {
            let (weights, means, scales) = (weights.len(), means.len(), scales.len());
            return Err(LogisticV1Error::Length { weights, means, scales });
        }
        for column in 0..weights.len() {
            let scale_ok = scales[column].is_finite() && scales[column] > 0.0;
            if !(weights[column].is_finite() && means[column].is_finite() && scale_ok) {
                return Err(LogisticV1Error::Number { column });
            }
        }
        if !intercept.is_finite() {
            return Err(LogisticV1Error::Number { column: weights.len() });
        }
        Ok(Self { intercept, weights, means, scales })
    }
}

fn scaled_rows(x: &[Vec<f64>], scaler: &Standardizer) -> Array2<f64> {
    let n_rows = x.first().map_or(0, Vec::len);
    Array2::from_shape_fn((n_rows, scaler.active.len()), |(row, slot)| {
        let column = scaler.active[slot];
        scaler.scaled(column, x[column][row])
    })
}

#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn positive_share(y: &[bool]) -> f64 {
    y.iter().filter(|&&positive| positive).count() as f64 / y.len() as f64
}

/// Runs linfa and accepts only a point where our own gradient of P(true) vanishes: this also
/// proves the orientation, since linfa labels the more frequent class as positive.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn solve(
    spec: &LogisticSpec,
    scaled: &Array2<f64>,
    y: &[bool],
) -> Result<(f64, Vec<f64>), FitError> {
    let n = y.len() as f64;
    let mut failure = None;
    // A line search may find no lower point once rounding hides the descent; then a tolerance that
    // grows with the number of rows still gives the optimum as far as it can be told.
    for tolerance in [GRADIENT_TOLERANCE, 1e-9 * n, 1e-7 * n] {
        if tolerance < GRADIENT_TOLERANCE {
            continue;
        }
        match solve_once(spec, scaled, y, tolerance) {
            Ok((intercept, weights)) => {
                let gradient = gradient_max(spec, scaled, y, (intercept, &weights)) / n;
                if gradient <= GRADIENT_ROW_MAX {
                    return Ok((intercept, weights));
                }
                let n_steps = usize::try_from(STEPS_MAX).unwrap_or(usize::MAX);
                failure = Some(FitError::NotConverged {
                    model: "logistic regression",
                    n_steps,
                    gradient,
                });
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or(FitError::Empty))
}

fn solve_once(
    spec: &LogisticSpec,
    scaled: &Array2<f64>,
    y: &[bool],
    tolerance: f64,
) -> Result<(f64, Vec<f64>), FitError> {
    let rows = DatasetBase::new(scaled.view(), Array1::from(y.to_vec()));
    let fitted = LogisticRegression::default()
        .alpha(spec.l2)
        .gradient_tolerance(tolerance)
        .max_iterations(STEPS_MAX)
        .fit(&rows)
        .map_err(|error| FitError::Library { library: "linfa-logistic", source: error.into() })?;
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    Ok((sign * fitted.intercept(), fitted.params().iter().map(|w| sign * w).collect()))
}

/// Largest absolute component of the gradient of the penalised log loss of P(true).
fn gradient_max(
    spec: &LogisticSpec,
    scaled: &Array2<f64>,
    y: &[bool],
    (intercept, weights): (f64, &[f64]),
) -> f64 {
    let mut gradient: Vec<f64> = weights.iter().map(|w| spec.l2 * w).collect();
    let mut gradient_intercept = 0.0;
    for (row, &positive) in scaled.rows().into_iter().zip(y) {
        let z = intercept + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
        let residual = sigmoid(z) - if positive { 1.0 } else { 0.0 };
        gradient_intercept += residual;
        for (slot, x) in gradient.iter_mut().zip(row) {
            *slot += residual * x;
        }
    }
    let largest = gradient.iter().fold(gradient_intercept.abs(), |a, g| a.max(g.abs()));
    let is_nan = gradient_intercept.is_nan() || gradient.iter().any(|g| g.is_nan());
    if is_nan { f64::NAN } else { largest }
}

#[cfg(test)]
mod tests;
