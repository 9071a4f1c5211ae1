//! What the linear models share: a weighted sum of standardised columns, and how it is stored.

use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use super::standardize::Standardizer;

/// `intercept + sum(weight * (x - mean) / scale)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub(super) intercept: f64,
    pub(super) weights: Vec<f64>,
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl Linear {
    /// From the weights of the columns that are not constant; the others get weight 0.
    pub(super) fn new(intercept: f64, active_weights: &[f64], scaler: Standardizer) -> Self {
        let mut weights = vec![0.0; scaler.means.len()];
        for (&column, &weight) in scaler.active.iter().zip(active_weights) {
            weights[column] = weight;
        }
        Self { intercept, weights, means: scaler.means, scales: scaler.scales }
    }

    /// The sum for a row; NaN if it has a NaN or another number of values.
    pub(super) fn sum(&self, row: &[f64]) -> f64 {
        if row.len() != self.weights.len() {
            return f64::NAN;
        }
        let mut sum = self.intercept;
        for (column, &number) in row.iter().enumerate() {
            sum += self.term(column, number);
        }
        sum
    }

    /// One column's part of the sum.
    pub(super) fn term(&self, column: usize, number: f64) -> f64 {
        self.weights[column] * ((number - self.means[column]) / self.scales[column])
    }

    /// Change of the sum for one unit of a column.
    pub(super) fn slope(&self, column: usize) -> f64 {
        self.weights[column] / self.scales[column]
    }

    pub(super) fn to_v1(&self) -> LinearV1 {
        LinearV1 {
            intercept: self.intercept,
            weights: self.weights.clone(),
            means: self.means.clone(),
            scales: self.scales.clone(),
        }
    }
}

/// A linear model as stored. Any JSON writer that keeps the bits of `f64` keeps every prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearV1 {
    /// The sum at the means.
    pub intercept: f64,
    /// Weights on standardised columns.
    pub weights: Vec<f64>,
    /// Means of the columns.
    pub means: Vec<f64>,
    /// Standard deviations, 1 for constant columns.
    pub scales: Vec<f64>,
}

/// Why a stored linear model cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinearV1Error {
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
    /// The intercept is not finite.
    #[error("the intercept must be finite")]
    Intercept,
    /// A number that is not finite, or a scale that is not positive.
    #[error("column {column}: weight and mean must be finite and the scale positive")]
    Column {
        /// Position of the column.
        column: usize,
    },
}

impl TryFrom<LinearV1> for Linear {
    type Error = LinearV1Error;

    fn try_from(stored: LinearV1) -> Result<Self, Self::Error> {
        let LinearV1 { intercept, weights, means, scales } = stored;
        if weights.len() != means.len() || weights.len() != scales.len() {
            let (weights, means, scales) = (weights.len(), means.len(), scales.len());
            return Err(LinearV1Error::Length { weights, means, scales });
        }
        if !intercept.is_finite() {
            return Err(LinearV1Error::Intercept);
        }
        for column in 0..weights.len() {
            let scale_ok = scales[column].is_finite() && scales[column] > 0.0;
            if !(weights[column].is_finite() && means[column].is_finite() && scale_ok) {
                return Err(LinearV1Error::Column { column });
            }
        }
        Ok(Self { intercept, weights, means, scales })
    }
}
