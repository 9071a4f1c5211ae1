//! How well predicted probabilities agree with what happened.

use super::error::{MetricError, check_classes, check_length};
use super::ties::Ranked;
use crate::model::LogitLine;
use crate::model::clamp_prob;
use crate::model::logit;

/// Bins of the expected calibration error.
const ECE_BINS: usize = 10;
/// Bins that may be asked for.
const BINS_MAX: usize = 10_000;

/// Mean log loss in nats, >= 0. Probabilities are clamped as the models clamp theirs
/// ([`crate::model::PROB_MIN`]), so one wrong certainty costs 13.8.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number` (not in [0, 1]).
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn log_loss(prob: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    check_probs(prob, positive)?;
    let loss = |(&p, &hit): (&f64, &bool)| {
        let p = clamp_prob(p);
        if hit { -libm::log(p) } else { -libm::log1p(-p) }
    };
    Ok(prob.iter().zip(positive).map(loss).sum::<f64>() / prob.len() as f64)
}

/// Mean squared difference of probability and outcome, in [0, 1] (Brier score).
///
/// # Errors
/// As [`log_loss`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn brier(prob: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    check_probs(prob, positive)?;
    let loss = |(&p, &hit): (&f64, &bool)| {
        let miss = p - if hit { 1.0 } else { 0.0 };
        miss * miss
    };
    Ok(prob.iter().zip(positive).map(loss).sum::<f64>() / prob.len() as f64)
}

/// One bin of a reliability table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBin {
    /// Rows in the bin, >= 1.
    pub n_rows: usize,
    /// Mean predicted probability.
    pub prob_mean: f64,
    /// Share of positive rows.
    pub positive_share: f64,
}

/// Predicted probability against the share of positives, in up to `n_bins` (1..=10,000) bins of
/// nearly equal numbers of rows, lowest probability first.
///
/// Equal probabilities stay in one bin, the one that holds their middle rank, so the table does
/// not depend on the order of the rows; bins can differ in size and empty ones are left out.
///
/// # Errors
/// As [`log_loss`], and [`MetricError::Parameter`] for the number of bins.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn reliability(
    prob: &[f64],
    positive: &[bool],
    n_bins: usize,
) -> Result<Vec<ReliabilityBin>, MetricError> {
    check_probs(prob, positive)?;
    if n_bins == 0 || n_bins > BINS_MAX {
        let found = n_bins as f64;
        return Err(MetricError::Parameter { parameter: "n_bins", found, wanted: "in 1..=10000" });
    }
    let bin = |rows: &Vec<usize>| {
        let n = rows.len() as f64;
        let hits = rows.iter().filter(|&&row| positive[row]).count();
        ReliabilityBin {
            n_rows: rows.len(),
            prob_mean: rows.iter().map(|&row| prob[row]).sum::<f64>() / n,
            positive_share: hits as f64 / n,
        }
    };
    Ok(Ranked::ascending(prob).bins(n_bins).iter().map(bin).collect())
}

/// Expected calibration error in 10 bins of [`reliability`], in [0, 1]: the mean over rows of the
/// difference between a bin's mean probability and its share of positives. For few rows it is
/// above 0 even for a perfect model, about `0.8 * sqrt(10 p (1 - p) / n)`.
///
/// # Errors
/// As [`log_loss`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn ece(prob: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    let bins = reliability(prob, positive, ECE_BINS)?;
    let gap = |bin: &ReliabilityBin| bin.n_rows as f64 * (bin.prob_mean - bin.positive_share).abs();
    Ok(bins.iter().map(gap).sum::<f64>() / prob.len() as f64)
}

/// Calibration intercept and slope: the logistic regression of the outcome on the logit of the
/// prediction. 0 and 1 are ideal; a slope below 1 means too extreme, an intercept above 0 too low.
///
/// # Errors
/// As [`log_loss`], [`MetricError::OneClass`], and [`MetricError::Fit`] if no line is found.
pub fn calibration_line(prob: &[f64], positive: &[bool]) -> Result<LogitLine, MetricError> {
    check_probs(prob, positive)?;
    check_classes(positive)?;
    let logits: Vec<f64> = prob.iter().map(|&p| logit(p)).collect();
    Ok(LogitLine::measure(&logits, positive)?)
}

fn check_probs(prob: &[f64], positive: &[bool]) -> Result<(), MetricError> {
    check_length("probability", positive.len(), prob.len())?;
    match prob.iter().position(|p| !(0.0..=1.0).contains(p)) {
        Some(row) => {
            let (found, wanted) = (prob[row], "in [0, 1]");
            Err(MetricError::Number { what: "probability", row, found, wanted })
        }
        None => Ok(()),
    }
}
