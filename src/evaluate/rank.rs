//! How well scores put rows in order.
//!
//! Ties count half or in expectation, so a constant score gets .5, 1 and 0, not what the order of
//! the rows happens to give.

use super::error::{MetricError, check_classes, check_finite, check_length, check_share};
use super::ties::Ranked;

/// Area under the ROC curve, in [0, 1]: the probability that a positive row scores higher than a
/// negative one, ties counting half. Counted in integers, so it is exact.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number` (score not finite), `OneClass`.
#[allow(clippy::cast_precision_loss, reason = "the quotient of two counts is what is wanted")]
pub fn auc(score: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    let (ranked, n_positive) = classified(score, positive)?;
    let mut pairs_twice: u128 = 0;
    let mut negatives_below: u128 = 0;
    // Descending order would do as well; ascending makes "below" literal.
    for (_, rows) in ranked.groups() {
        let hits = rows.iter().filter(|&&row| positive[row]).count() as u128;
        let misses = rows.len() as u128 - hits;
        pairs_twice += hits * (2 * negatives_below + misses);
        negatives_below += misses;
    }
    let pairs = n_positive as u128 * (positive.len() - n_positive) as u128;
    Ok(pairs_twice as f64 / (2 * pairs) as f64)
}

/// Area under the precision-recall curve as average precision, in (0, 1]: the mean precision over
/// the positive rows, equal scores forming one step (scikit-learn's `average_precision_score`).
///
/// # Errors
/// As [`auc`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn pr_auc(score: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    check_scores(score, positive)?;
    let n_positive = check_classes(positive)?;
    let (mut hits_so_far, mut area) = (0_usize, 0.0);
    for (ranks, rows) in Ranked::descending(score).groups() {
        let hits = rows.iter().filter(|&&row| positive[row]).count();
        hits_so_far += hits;
        area += hits as f64 * (hits_so_far as f64 / ranks.end as f64);
    }
    Ok(area / n_positive as f64)
}

/// What the rows with the highest scores hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopShare {
    /// Rows looked at.
    pub n_top: usize,
    /// Share of all positive rows that are among them, in [0, 1].
    pub capture_share: f64,
    /// Their share of positives over the share in all rows, >= 0.
    pub lift_ratio: f64,
}

/// Lift and capture of positive rows in the top `share` (above 0, at most 1) of the scores; the
/// number of rows is rounded up.
///
/// # Errors
/// As [`auc`], and [`MetricError::Parameter`] for the share.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn top_share(score: &[f64], positive: &[bool], share: f64) -> Result<TopShare, MetricError> {
    check_share(share)?;
    check_scores(score, positive)?;
    let n_positive = check_classes(positive)?;
    let n_top = top_rows(share, score.len());
    let hit = |row: usize| if positive[row] { 1.0 } else { 0.0 };
    let hits = Ranked::descending(score).top_sum(n_top, &hit);
    let capture_share = hits / n_positive as f64;
    let lift_ratio = capture_share * (score.len() as f64 / n_top as f64);
    Ok(TopShare { n_top, capture_share, lift_ratio })
}

/// [`top_share`] of the rarer outcome: where most rows are positive, the negative rows are looked
/// for among the lowest scores. A lift on the more frequent outcome cannot exceed 2.
///
/// # Errors
/// As [`top_share`].
pub fn top_share_of_rarer(
    score: &[f64],
    positive: &[bool],
    share: f64,
) -> Result<TopShare, MetricError> {
    let n_positive = positive.iter().filter(|&&hit| hit).count();
    if n_positive * 2 <= positive.len() {
        return top_share(score, positive, share);
    }
    let turned: Vec<f64> = score.iter().map(|s| -s).collect();
    let negative: Vec<bool> = positive.iter().map(|hit| !hit).collect();
    top_share(&turned, &negative, share)
}

/// Normalised Gini coefficient of predicted against actual value, at most 1: `2 * mean(cumulative
/// share of value) - 1` in the order of the prediction, over the same in the perfect order. 0 is
/// chance, 1 perfect, negative worse than chance. Actual values may be negative (refunds), their
/// total may not.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`, `Total`, `Constant` (all actual values equal).
pub fn gini_normalised(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    let total = check_values(predicted, actual)?;
    let perfect = Ranked::descending(actual);
    if perfect.is_constant() {
        return Err(MetricError::Constant { what: "actual", n_rows: actual.len() });
    }
    let found = gini(&Ranked::descending(predicted), actual, total);
    Ok(found / gini(&perfect, actual, total))
}

/// `2 * mean(cumulative share) - 1`; within a group of equal predictions the value rises evenly.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn gini(ranked: &Ranked, actual: &[f64], total: f64) -> f64 {
    let (mut cumulative, mut area) = (0.0, 0.0);
    for (ranks, rows) in ranked.groups() {
        let value: f64 = rows.iter().map(|&row| actual[row]).sum();
        let size = ranks.len() as f64;
        area += size * cumulative + value * (size + 1.0) / 2.0;
        cumulative += value;
    }
    2.0 * area / (actual.len() as f64 * total) - 1.0
}

/// Share of all actual value that the top `share` (above 0, at most 1) of the predictions hold;
/// the number of rows is rounded up.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`, `Total`, `Parameter`.
pub fn value_capture(predicted: &[f64], actual: &[f64], share: f64) -> Result<f64, MetricError> {
    check_share(share)?;
    let total = check_values(predicted, actual)?;
    let n_top = top_rows(share, actual.len());
    Ok(Ranked::descending(predicted).top_sum(n_top, &|row| actual[row]) / total)
}

/// Spearman's rank correlation, in [-1, 1]: Pearson's of the ranks, ties sharing their mean rank.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`, `Constant`.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn spearman(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_length("predicted", actual.len(), predicted.len())?;
    let first = mean_ranks("predicted", predicted)?;
    let second = mean_ranks("actual", actual)?;
    let middle = (actual.len() as f64 + 1.0) / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in first.iter().zip(&second) {
        let (a, b) = (a - middle, b - middle);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    Ok((ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
}

#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn mean_ranks(what: &'static str, numbers: &[f64]) -> Result<Vec<f64>, MetricError> {
    check_finite(what, numbers)?;
    let ranked = Ranked::ascending(numbers);
    if ranked.is_constant() {
        return Err(MetricError::Constant { what, n_rows: numbers.len() });
    }
    let mut ranks = vec![0.0; numbers.len()];
    for (places, rows) in ranked.groups() {
        let mean = (places.start + places.end + 1) as f64 / 2.0;
        for &row in rows {
            ranks[row] = mean;
        }
    }
    Ok(ranks)
}

fn check_scores(score: &[f64], positive: &[bool]) -> Result<(), MetricError> {
    check_length("score", positive.len(), score.len())?;
    check_finite("score", score)
}

fn classified(score: &[f64], positive: &[bool]) -> Result<(Ranked, usize), MetricError> {
    check_scores(score, positive)?;
    let n_positive = check_classes(positive)?;
    Ok((Ranked::ascending(score), n_positive))
}

/// Checks both inputs and gives the total of the actual values.
fn check_values(predicted: &[f64], actual: &[f64]) -> Result<f64, MetricError> {
    check_length("predicted", actual.len(), predicted.len())?;
    check_finite("predicted", predicted)?;
    check_finite("actual", actual)?;
    let found: f64 = actual.iter().sum();
    if found > 0.0 && found.is_finite() {
        Ok(found)
    } else {
        Err(MetricError::Total { what: "actual values", found })
    }
}

/// `share * n_rows` rounded up; a product that rounding lifted just above a whole number stays.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "share is in (0, 1], so the product lies between 0 and the number of rows"
)]
fn top_rows(share: f64, n_rows: usize) -> usize {
    let wanted = share * n_rows as f64;
    ((wanted * (1.0 - 1e-12)).ceil() as usize).clamp(1, n_rows)
}
