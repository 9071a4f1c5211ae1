//! How well predicted amounts agree with actual ones. All in units of the amounts.

use super::error::{MetricError, check_finite, check_length};
use super::ties::Ranked;

/// Root of the mean squared error, >= 0.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number` (not finite).
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn rmse(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_values(predicted, actual)?;
    let squares = predicted.iter().zip(actual).map(|(p, a)| (p - a) * (p - a));
    Ok((squares.sum::<f64>() / actual.len() as f64).sqrt())
}

/// Mean absolute error, >= 0. Never select by it: where most customers spend nothing, predicting
/// nothing for all wins.
///
/// # Errors
/// As [`rmse`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn mae(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_values(predicted, actual)?;
    let misses = predicted.iter().zip(actual).map(|(p, a)| (p - a).abs());
    Ok(misses.sum::<f64>() / actual.len() as f64)
}

/// Predicted means below this count as this much where a deviance divides by them.
const MEAN_MIN: f64 = 1e-6;

/// Mean Tweedie deviance of power 1.5, >= 0: the loss that fits money which is often exactly 0.
/// Negative outcomes (more refunds than purchases) count as 0.
///
/// # Errors
/// As [`rmse`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn tweedie_deviance(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_values(predicted, actual)?;
    let deviance = |(mean, actual): (&f64, &f64)| {
        let root = mean.max(MEAN_MIN).sqrt();
        let gap = actual.max(0.0).sqrt() - root;
        4.0 * gap * gap / root
    };
    Ok(predicted.iter().zip(actual).map(deviance).sum::<f64>() / actual.len() as f64)
}

/// Mean Poisson deviance of predicted against actual counts, >= 0.
///
/// # Errors
/// As [`rmse`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn poisson_deviance(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_values(predicted, actual)?;
    let deviance = |(mean, actual): (&f64, &f64)| {
        let (mean, count) = (mean.max(MEAN_MIN), actual.max(0.0));
        let ratio = if count > 0.0 { count * libm::log(count / mean) } else { 0.0 };
        2.0 * (ratio - (count - mean))
    };
    Ok(predicted.iter().zip(actual).map(deviance).sum::<f64>() / actual.len() as f64)
}

/// Total of the predictions over the actual total; 1 is unbiased.
///
/// # Errors
/// As [`rmse`], and [`MetricError::Total`] when the actual total is not positive.
pub fn total_ratio(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_values(predicted, actual)?;
    let found: f64 = actual.iter().sum();
    if found > 0.0 && found.is_finite() {
        Ok(predicted.iter().sum::<f64>() / found)
    } else {
        Err(MetricError::Total { what: "actual values", found })
    }
}

/// One tenth of the rows by predicted value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decile {
    /// Rows, >= 1.
    pub n_rows: usize,
    /// Mean predicted value.
    pub predicted_mean: f64,
    /// Mean actual value.
    pub actual_mean: f64,
}

/// Predicted against actual value in up to ten bins of nearly equal numbers of rows, highest
/// prediction first. Equal predictions stay in one bin, the one that holds their middle rank, so
/// the table does not depend on the order of the rows; empty bins are left out.
///
/// # Errors
/// As [`rmse`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn deciles(predicted: &[f64], actual: &[f64]) -> Result<Vec<Decile>, MetricError> {
    check_values(predicted, actual)?;
    let decile = |rows: &Vec<usize>| {
        let mean =
            |numbers: &[f64]| rows.iter().map(|&row| numbers[row]).sum::<f64>() / rows.len() as f64;
        Decile { n_rows: rows.len(), predicted_mean: mean(predicted), actual_mean: mean(actual) }
    };
    Ok(Ranked::descending(predicted).bins(10).iter().map(decile).collect())
}

/// Mean absolute percentage error over deciles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecileMape {
    /// Mean of `|predicted - actual| / actual` over the deciles that count, >= 0.
    pub mape_ratio: f64,
    /// Deciles left out because their actual value is not positive.
    pub n_skipped: usize,
}

/// Mean absolute percentage error over the [`deciles`].
///
/// # Errors
/// As [`rmse`], and [`MetricError::Total`] when no decile has a positive actual value.
#[allow(clippy::cast_precision_loss, reason = "at most ten deciles")]
pub fn decile_mape(predicted: &[f64], actual: &[f64]) -> Result<DecileMape, MetricError> {
    let table = deciles(predicted, actual)?;
    let counted: Vec<&Decile> = table.iter().filter(|decile| decile.actual_mean > 0.0).collect();
    if counted.is_empty() {
        return Err(MetricError::Total { what: "actual values", found: actual.iter().sum() });
    }
    let miss =
        |decile: &&Decile| (decile.predicted_mean - decile.actual_mean).abs() / decile.actual_mean;
    let mape_ratio = counted.iter().map(miss).sum::<f64>() / counted.len() as f64;
    Ok(DecileMape { mape_ratio, n_skipped: table.len() - counted.len() })
}

fn check_values(predicted: &[f64], actual: &[f64]) -> Result<(), MetricError> {
    check_length("predicted", actual.len(), predicted.len())?;
    check_finite("predicted", predicted)?;
    check_finite("actual", actual)
}
