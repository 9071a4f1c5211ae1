//! Columns to mean 0 and standard deviation 1, which gradient methods need to converge.
//!
//! Missing values are refused: what stands in for them is the caller's decision.

use super::error::FitError;

/// A column whose spread is below this share of its largest absolute value is constant: what is
/// left is the rounding of the sum.
const CONSTANT_RATIO: f64 = 1e-12;

/// Mean and scale of every column, as seen in training.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standardizer {
    /// Means.
    pub(super) means: Vec<f64>,
    /// Population standard deviations; 1 for constant columns.
    pub(super) scales: Vec<f64>,
    /// Positions of the columns that are not constant.
    pub(super) active: Vec<usize>,
}

impl Standardizer {
    /// Measures columns of `n_rows` finite values each.
    ///
    /// # Errors
    /// [`FitError::Empty`], [`FitError::Length`], [`FitError::Feature`].
    pub(super) fn fit(columns: &[Vec<f64>], n_rows: usize) -> Result<Self, FitError> {
        if n_rows == 0 {
            return Err(FitError::Empty);
        }
        let (mut means, mut scales, mut active) = (Vec::new(), Vec::new(), Vec::new());
        for (idx, column) in columns.iter().enumerate() {
            super::error::check_length("feature column", n_rows, column.len())?;
            if let Some(row) = column.iter().position(|v| !v.is_finite()) {
                return Err(FitError::Feature { column: idx, row, found: column[row] });
            }
            let (mean, sd) = mean_sd(column);
            let largest = column.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
            if !(mean.is_finite() && sd.is_finite()) {
                return Err(FitError::Feature { column: idx, row: 0, found: largest });
            }
            let constant = sd <= CONSTANT_RATIO * largest;
            means.push(mean);
            scales.push(if constant { 1.0 } else { sd });
            if !constant {
                active.push(idx);
            }
        }
        Ok(Self { means, scales, active })
    }

    /// The standardised value of a column.
    pub(super) fn scaled(&self, column: usize, number: f64) -> f64 {
        (number - self.means[column]) / self.scales[column]
    }
}

#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn mean_sd(column: &[f64]) -> (f64, f64) {
    let n = column.len() as f64;
    let mean = column.iter().sum::<f64>() / n;
    let variance = column.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_columns_are_found_and_bad_ones_refused() {
        let s = Standardizer::fit(&[vec![1.0, 3.0], vec![0.1, 0.1], vec![0.0, 0.0]], 2).unwrap();
        assert_eq!(s.active, [0]);
        assert!((s.scaled(0, 3.0) - 1.0).abs() < 1e-15 && s.scaled(1, 0.1).abs() < 1e-15);
        for bad in [f64::NAN, f64::INFINITY] {
            let found = Standardizer::fit(&[vec![1.0, 2.0], vec![1.0, bad]], 2).unwrap_err();
            assert!(matches!(found, FitError::Feature { column: 1, row: 1, .. }), "{found}");
        }
        assert!(matches!(
            Standardizer::fit(&[vec![1e300, -1e300]], 2),
            Err(FitError::Feature { column: 0, .. })
        ));
        assert!(matches!(Standardizer::fit(&[vec![1.0]], 2), Err(FitError::Length { .. })));
        assert!(matches!(Standardizer::fit(&[], 0), Err(FitError::Empty)));
    }
}
