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

use super::error::{FitError, check_classes};
use super::linear::{Linear, LinearV1, LinearV1Error};
use super::link::{logit, sigmoid};
use super::standardize::Standardizer;

/// Length of the gradient at which linfa stops on small data; at this value its coefficients equal
/// scikit-learn's to about 1e-6.
const GRADIENT_TOLERANCE: f64 = 1e-6;
/// The same a row, for large data: closer to the optimum the loss, a sum over the rows, falls by
/// less than its own rounding, and the line search goes astray (minutes instead of seconds on
/// 200,000 rows). Coefficients are then exact to about 1e-7.
const GRADIENT_TOLERANCE_ROW: f64 = 1e-8;
/// Tolerance a row of the second attempt, should the first end in a line search that finds no lower
/// point.
const GRADIENT_TOLERANCE_ROW_LOOSE: f64 = 1e-6;
/// Largest absolute gradient a row that counts as converged.
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
    linear: Linear,
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
        Ok(Self { linear: Linear::new(intercept, &active_weights, scaler) })
    }

    /// Number of columns it was fitted on.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.linear.weights.len()
    }

    /// Logit at the mean of every column.
    #[must_use]
    pub const fn intercept(&self) -> f64 {
        self.linear.intercept
    }

    /// Change of the logit for one standard deviation of a column.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.linear.weights
    }

    /// Logit of P(true); NaN if the row has a NaN or another number of values than
    /// [`Logistic::n_features`].
    #[must_use]
    pub fn logit(&self, row: &[f64]) -> f64 {
        self.linear.sum(row)
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
        self.linear.term(column, number)
    }

    pub(super) const fn linear(&self) -> &Linear {
        &self.linear
    }

    /// The form it is stored in.
    #[must_use]
    pub fn to_v1(&self) -> LinearV1 {
        self.linear.to_v1()
    }
}

impl TryFrom<LinearV1> for Logistic {
    type Error = LinearV1Error;

    fn try_from(stored: LinearV1) -> Result<Self, Self::Error> {
        Ok(Self { linear: Linear::try_from(stored)? })
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
    let tight = GRADIENT_TOLERANCE.max(GRADIENT_TOLERANCE_ROW * n);
    for tolerance in [tight, GRADIENT_TOLERANCE.max(GRADIENT_TOLERANCE_ROW_LOOSE * n)] {
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
