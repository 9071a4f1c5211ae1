//! The curves and tables by which people judge a score with their eyes.
//!
//! In: scores and outcomes. Out: points, ready to be drawn, at most [`CURVE_POINTS_MAX`] of them
//! whatever the number of rows, and tables by tenth. Rows with equal scores are one step, so the
//! order of the rows does not matter. It deliberately draws nothing and gives no verdict.

use super::error::{MetricError, check_classes, check_finite, check_length};
use super::ties::Ranked;
use crate::model::IntervalTable;

/// Points of a curve, at most: more cannot be told apart on a page.
pub const CURVE_POINTS_MAX: usize = 200;
/// Folds of the check on intervals.
const INTERVAL_FOLDS: usize = 5;

/// The ROC curve: share of the negative rows, and share of the positive rows, that score at least
/// as high as a threshold; from (0, 0) to (1, 1).
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number` (score not finite), `OneClass`.
pub fn roc_curve(score: &[f64], positive: &[bool]) -> Result<Vec<[f64; 2]>, MetricError> {
    let steps = steps(score, positive)?;
    let points = steps.counts.iter().map(|&[hits, misses]| {
        [misses / (steps.n_rows - steps.n_positive), hits / steps.n_positive]
    });
    Ok(thinned(points, |[x, y]| (x + y) / 2.0))
}

/// The precision-recall curve: share of all positive rows found, and share of positive rows among
/// those found, as the threshold falls. It begins at the first row that is found.
///
/// # Errors
/// As [`roc_curve`].
pub fn pr_curve(score: &[f64], positive: &[bool]) -> Result<Vec<[f64; 2]>, MetricError> {
    let steps = steps(score, positive)?;
    let found = steps.counts.iter().filter(|[hits, misses]| hits + misses > 0.0);
    let points = found.map(|&[hits, misses]| [hits / steps.n_positive, hits / (hits + misses)]);
    Ok(thinned(points, |[x, _]| x))
}

/// The gain curve: share of the rows taken, highest score first, and share of the positive rows
/// among them; from (0, 0) to (1, 1).
///
/// # Errors
/// As [`roc_curve`].
pub fn gain_curve(score: &[f64], positive: &[bool]) -> Result<Vec<[f64; 2]>, MetricError> {
    let steps = steps(score, positive)?;
    let points = steps
        .counts
        .iter()
        .map(|&[hits, misses]| [(hits + misses) / steps.n_rows, hits / steps.n_positive]);
    Ok(thinned(points, |[x, _]| x))
}

/// The same for amounts: share of the rows taken, highest prediction first, and share of the
/// actual total among them. Where rows have negative amounts the curve can fall.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`, `Total` (the total is not above 0).
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn value_curve(predicted: &[f64], actual: &[f64]) -> Result<Vec<[f64; 2]>, MetricError> {
    check_length("predicted", actual.len(), predicted.len())?;
    check_finite("predicted", predicted)?;
    check_finite("actual", actual)?;
    let total: f64 = actual.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return Err(MetricError::Total { what: "actual values", found: total });
    }
    let mut points = vec![[0.0, 0.0]];
    let mut sum = 0.0;
    for (ranks, rows) in Ranked::descending(predicted).groups() {
        sum += rows.iter().map(|&row| actual[row]).sum::<f64>();
        points.push([ranks.end as f64 / actual.len() as f64, sum / total]);
    }
    Ok(thinned(points.into_iter(), |[x, _]| x))
}

/// One tenth of the rows by score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskTenth {
    /// Rows, >= 1.
    pub n_rows: usize,
    /// Mean predicted probability.
    pub prob_mean: f64,
    /// Share of positive rows.
    pub positive_share: f64,
    /// Share of all positive rows that are in this tenth or a higher one.
    pub capture_share: f64,
}

/// Rows in up to ten bins of nearly equal numbers, highest probability first; equal ones stay
/// together, and empty bins are left out.
///
/// # Errors
/// As [`roc_curve`].
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn risk_tenths(prob: &[f64], positive: &[bool]) -> Result<Vec<RiskTenth>, MetricError> {
    check_scores(prob, positive)?;
    let n_positive = check_classes(positive)? as f64;
    let mut found = 0.0;
    let tenth = |rows: Vec<usize>| {
        let (n_rows, n) = (rows.len(), rows.len() as f64);
        let hits = rows.iter().filter(|&&row| positive[row]).count() as f64;
        found += hits;
        RiskTenth {
            n_rows,
            prob_mean: rows.iter().map(|&row| prob[row]).sum::<f64>() / n,
            positive_share: hits / n,
            capture_share: found / n_positive,
        }
    };
    Ok(Ranked::descending(prob).bins(10).into_iter().map(tenth).collect())
}

/// Rows by probability in `n_bins` bins of equal width over [0, 1]: numbers of positive and of
/// negative ones. NaN is in no bin.
#[must_use]
pub fn score_histogram(prob: &[f64], positive: &[bool], n_bins: usize) -> Vec<[u64; 2]> {
    let mut bins = vec![[0; 2]; n_bins];
    for (&p, &hit) in prob.iter().zip(positive) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a small number of bins; beyond them it saturates"
        )]
        let bin = (p * n_bins as f64) as usize;
        if !p.is_nan() && n_bins > 0 {
            bins[bin.min(n_bins - 1)][usize::from(!hit)] += 1;
        }
    }
    bins
}

/// The rows that a score got most wrong: positive ones with the lowest and negative ones with the
/// highest score, up to `most` of each, the worst first; ties go by position.
#[must_use]
pub fn worst_misses(score: &[f64], positive: &[bool], most: usize) -> [Vec<usize>; 2] {
    [true, false].map(|side| {
        let mut rows: Vec<usize> =
            (0..score.len().min(positive.len())).filter(|&row| positive[row] == side).collect();
        rows.sort_by(|&a, &b| {
            let order = score[a].total_cmp(&score[b]);
            (if side { order } else { order.reverse() }).then(a.cmp(&b))
        });
        rows.truncate(most);
        rows
    })
}

/// How often what came lay in the interval, among rows of about the same prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoverageTenth {
    /// Rows, >= 1.
    pub n_rows: usize,
    /// Mean predicted value.
    pub predicted_mean: f64,
    /// Share of rows below the interval.
    pub below_share: f64,
    /// Share of rows above it.
    pub above_share: f64,
}

/// Coverage by tenth of the prediction, lowest first, of intervals made from the other rows: rows
/// go into folds by their position, and each is held against an interval that four fifths of the
/// rows give which it is not among. Rows without a positive prediction have no interval and are
/// left out; too few rows give no table. It says nothing of a later window.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn interval_coverage(predicted: &[f64], actual: &[f64]) -> Vec<CoverageTenth> {
    let rows: Vec<usize> =
        (0..predicted.len().min(actual.len())).filter(|&row| predicted[row] > 0.0).collect();
    if rows.len() < 10 * INTERVAL_FOLDS {
        return Vec::new();
    }
    // Below, inside or above, by place among `rows`.
    let mut sides = vec![std::cmp::Ordering::Equal; rows.len()];
    for fold in 0..INTERVAL_FOLDS {
        let others = rows.iter().enumerate().filter(|(at, _)| at % INTERVAL_FOLDS != fold);
        let (known, came): (Vec<f64>, Vec<f64>) =
            others.map(|(_, &row)| (predicted[row], actual[row])).unzip();
        let table = IntervalTable::fit(&known, &came);
        for (at, &row) in rows.iter().enumerate().filter(|(at, _)| at % INTERVAL_FOLDS == fold) {
            let [low, _, high] = table.quantiles(predicted[row], predicted[row]);
            if actual[row] < low {
                sides[at] = std::cmp::Ordering::Less;
            } else if actual[row] > high {
                sides[at] = std::cmp::Ordering::Greater;
            }
        }
    }
    let held: Vec<f64> = rows.iter().map(|&row| predicted[row]).collect();
    let tenth = |places: &Vec<usize>| {
        let n = places.len() as f64;
        let share = |side| places.iter().filter(|&&at| sides[at] == side).count() as f64 / n;
        CoverageTenth {
            n_rows: places.len(),
            predicted_mean: places.iter().map(|&at| held[at]).sum::<f64>() / n,
            below_share: share(std::cmp::Ordering::Less),
            above_share: share(std::cmp::Ordering::Greater),
        }
    };
    Ranked::ascending(&held).bins(10).iter().map(tenth).collect()
}

/// Rows found so far after each step of the threshold, positive and negative ones.
struct Steps {
    counts: Vec<[f64; 2]>,
    n_rows: f64,
    n_positive: f64,
}

#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn steps(score: &[f64], positive: &[bool]) -> Result<Steps, MetricError> {
    check_scores(score, positive)?;
    let n_positive = check_classes(positive)?;
    let mut counts = vec![[0.0, 0.0]];
    let (mut hits, mut rows_so_far) = (0, 0);
    for (ranks, rows) in Ranked::descending(score).groups() {
        hits += rows.iter().filter(|&&row| positive[row]).count();
        rows_so_far = ranks.end;
        counts.push([hits as f64, (rows_so_far - hits) as f64]);
    }
    debug_assert_eq!(rows_so_far, score.len(), "every row is in a group");
    Ok(Steps { counts, n_rows: score.len() as f64, n_positive: n_positive as f64 })
}

fn check_scores(score: &[f64], positive: &[bool]) -> Result<(), MetricError> {
    check_length("score", positive.len(), score.len())?;
    check_finite("score", score)
}

/// Keeps the first and the last point, and between them those that lie a step further along;
/// `along` rises from 0 to 1.
#[allow(clippy::cast_precision_loss, reason = "a small constant")]
fn thinned(
    points: impl Iterator<Item = [f64; 2]>,
    along: impl Fn([f64; 2]) -> f64,
) -> Vec<[f64; 2]> {
    let step = 1.0 / (CURVE_POINTS_MAX - 3) as f64;
    let mut kept: Vec<[f64; 2]> = Vec::new();
    let mut newest = None;
    for point in points {
        if kept.last().is_none_or(|last| along(point) - along(*last) >= step) {
            kept.push(point);
            newest = None;
        } else {
            newest = Some(point);
        }
    }
    kept.extend(newest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{SplitMix64, auc};

    /// Scores that tell something, with ties, and outcomes.
    fn rows(n: usize) -> (Vec<f64>, Vec<bool>) {
        let mut random = SplitMix64::new(7);
        (0..n)
            .map(|_| {
                let p = (random.unit() * 500.0).round() / 500.0;
                (p, random.unit() < 0.2 + 0.6 * p)
            })
            .unzip()
    }

    fn area(curve: &[[f64; 2]]) -> f64 {
        curve.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum()
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_its_area() {
        for n in [5, 50, 30_000] {
            let (score, positive) = rows(n);
            let curve = roc_curve(&score, &positive).unwrap();
            assert!(curve.len() <= CURVE_POINTS_MAX, "{}", curve.len());
            assert_eq!((curve[0], *curve.last().unwrap()), ([0.0, 0.0], [1.0, 1.0]));
            let exact = auc(&score, &positive).unwrap();
            assert!((area(&curve) - exact).abs() < 1e-4, "{} {exact}", area(&curve));
            let gain = gain_curve(&score, &positive).unwrap();
            assert!(gain.len() <= CURVE_POINTS_MAX);
            assert_eq!((gain[0], *gain.last().unwrap()), ([0.0, 0.0], [1.0, 1.0]));
            let pr = pr_curve(&score, &positive).unwrap();
            let share = positive.iter().filter(|&&yes| yes).count() as f64 / n as f64;
            assert!(pr.len() <= CURVE_POINTS_MAX);
            assert!((pr.last().unwrap()[1] - share).abs() < 1e-12, "all rows: the base rate");
        }
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter() {
        let (mut score, mut positive) = rows(300);
        let sizes = |score: &[f64], positive: &[bool]| -> Vec<(usize, u64)> {
            let tenths = risk_tenths(score, positive).unwrap();
            tenths.iter().map(|t| (t.n_rows, t.positive_share.to_bits())).collect()
        };
        let before = (roc_curve(&score, &positive).unwrap(), sizes(&score, &positive));
        score.reverse();
        positive.reverse();
        assert_eq!(before, (roc_curve(&score, &positive).unwrap(), sizes(&score, &positive)));
    }

    #[test]
    fn tenths_hold_all_rows_and_all_positive_ones() {
        let (score, positive) = rows(1_003);
        let tenths = risk_tenths(&score, &positive).unwrap();
        assert_eq!(tenths.iter().map(|tenth| tenth.n_rows).sum::<usize>(), 1_003);
        assert!((tenths.last().unwrap().capture_share - 1.0).abs() < 1e-12);
        assert!(tenths.windows(2).all(|pair| pair[0].prob_mean > pair[1].prob_mean));
        let bins = score_histogram(&score, &positive, 20);
        assert_eq!(bins.iter().flatten().sum::<u64>(), 1_003);
        let left = positive.iter().filter(|&&yes| yes).count() as u64;
        assert_eq!(bins.iter().map(|bin| bin[0]).sum::<u64>(), left);
        assert!(score_histogram(&[f64::NAN, 1.0], &[true, true], 2) == [[0, 0], [1, 0]]);
    }

    #[test]
    fn the_worst_misses_are_the_confident_ones() {
        let score = [0.9, 0.1, 0.2, 0.8, 0.95];
        let positive = [true, true, true, false, false];
        assert_eq!(worst_misses(&score, &positive, 2), [vec![1, 2], vec![4, 3]]);
        assert_eq!(worst_misses(&score, &positive, 9)[1], [4, 3]);
    }

    #[test]
    fn amounts_rise_to_all_and_one_outcome_is_an_error() {
        let curve = value_curve(&[3.0, 2.0, 1.0, 1.0], &[10.0, 0.0, 4.0, 6.0]).unwrap();
        assert_eq!(curve, [[0.0, 0.0], [0.25, 0.5], [0.5, 0.5], [1.0, 1.0]]);
        assert!(value_curve(&[1.0], &[0.0]).is_err());
        assert!(roc_curve(&[0.1, 0.2], &[true, true]).is_err());
        assert!(pr_curve(&[], &[]).is_err());
    }

    #[test]
    fn coverage_by_tenth_is_near_the_nominal_one() {
        let mut random = SplitMix64::new(3);
        let predicted: Vec<f64> = (0..4_000).map(|_| 1.0 + 99.0 * random.unit()).collect();
        let actual: Vec<f64> = predicted.iter().map(|mean| mean * 2.0 * random.unit()).collect();
        let tenths = interval_coverage(&predicted, &actual);
        assert_eq!(tenths.len(), 10);
        for tenth in &tenths {
            let inside = 1.0 - tenth.below_share - tenth.above_share;
            assert!((inside - 0.8).abs() < 0.08, "{tenth:?}");
        }
        assert!(tenths.windows(2).all(|pair| pair[0].predicted_mean < pair[1].predicted_mean));
        assert!(interval_coverage(&[1.0; 12], &[1.0; 12]).is_empty(), "too few to say");
    }
}
