//! A champion against simple rivals on the same rows: differences with intervals.
//!
//! In: probabilities of all for the same rows, and what came. Out: how much better the champion
//! is, by paired resampling of the rows. It deliberately promotes nothing: an interval that
//! reaches below 0 says that the gain may be luck.

use serde::Serialize;

use super::bootstrap::{BootstrapSpec, bootstrap_many};
use super::calibration::log_loss;
use super::error::{MetricError, check_classes, check_length};
use super::rank::auc;
use super::ties::Ranked;
use crate::model::clamp_prob;

/// A number and the interval it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// On the rows as they are.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How much better a champion is than one rival.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// The rival.
    pub against: String,
    /// Log loss of the rival less the champion's, nats: above 0 is better.
    pub log_loss: Estimate,
    /// Area under the ROC curve of the champion less the rival's: above 0 is better.
    pub auc: Estimate,
}

impl Gain {
    /// Whether the champion's log loss is lower beyond the interval.
    #[must_use]
    pub fn is_beyond_luck(&self) -> bool {
        self.log_loss.low > 0.0
    }
}

/// A champion's own metrics with intervals, and its gains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Probability that an interval is to cover.
    pub level: f64,
    /// Resamples of the rows.
    pub resamples: usize,
    /// Area under the ROC curve.
    pub auc: Estimate,
    /// Log loss, nats.
    pub log_loss: Estimate,
    /// Against each rival.
    pub gains: Vec<Gain>,
}

/// One model's probabilities, ready for many resamples.
struct Judged {
    losses: Vec<f64>,
    /// Rank of each row's group of equal probabilities.
    groups: Vec<usize>,
    n_groups: usize,
}

impl Judged {
    fn new(probs: &[f64], positive: &[bool]) -> Self {
        let loss = |(&prob, &hit): (&f64, &bool)| {
            let p = clamp_prob(prob);
            if hit { -libm::log(p) } else { -libm::log1p(-p) }
        };
        let losses = probs.iter().zip(positive).map(loss).collect();
        let ranked = Ranked::ascending(probs);
        let mut groups = vec![0; probs.len()];
        let mut n_groups = 0;
        for (_, rows) in ranked.groups() {
            rows.iter().for_each(|&row| groups[row] = n_groups);
            n_groups += 1;
        }
        Self { losses, groups, n_groups }
    }

    fn log_loss(&self, rows: &[usize]) -> f64 {
        rows.iter().map(|&row| self.losses[row]).sum::<f64>() / rows.len() as f64
    }

    /// Area under the ROC curve of drawn rows, by counting; none for one outcome.
    fn auc(&self, rows: &[usize], positive: &[bool]) -> Option<f64> {
        let mut counts = vec![[0.0_f64; 2]; self.n_groups];
        rows.iter().for_each(|&row| counts[self.groups[row]][usize::from(positive[row])] += 1.0);
        let (mut below, mut won, mut n_positive) = (0.0, 0.0, 0.0);
        for [negatives, positives] in counts {
            won += positives * (below + 0.5 * negatives);
            below += negatives;
            n_positive += positives;
        }
        (below > 0.0 && n_positive > 0.0).then(|| won / (below * n_positive))
    }
}

/// Compares a champion with rivals by resampling rows, each row being one customer.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `OneClass`, `Number` for probabilities outside [0, 1], and
/// those of [`bootstrap_many`].
pub fn compare(
    champion: &[f64],
    rivals: &[(String, Vec<f64>)],
    positive: &[bool],
    spec: &BootstrapSpec,
) -> Result<Compared, MetricError> {
    check_classes(positive)?;
    let all: Vec<&[f64]> =
        std::iter::once(champion).chain(rivals.iter().map(|(_, probs)| probs.as_slice())).collect();
    let mut exact = Vec::with_capacity(2 * all.len());
    for probs in &all {
        check_length("probability", positive.len(), probs.len())?;
        exact.push(log_loss(probs, positive)?);
        exact.push(auc(probs, positive)?);
    }
    let judged: Vec<Judged> = all.iter().map(|probs| Judged::new(probs, positive)).collect();
    // Both metrics of the champion, then both gains over each rival.
    let differences = |numbers: &[f64]| -> Vec<f64> {
        let gains = numbers[2..].chunks_exact(2);
        let gains = gains.flat_map(|pair| [pair[0] - numbers[0], numbers[1] - pair[1]]);
        numbers[..2].iter().copied().chain(gains).collect()
    };
    let statistics = |rows: &[usize]| -> Option<Vec<f64>> {
        let mut numbers = Vec::with_capacity(2 * judged.len());
        for one in &judged {
            numbers.push(one.log_loss(rows));
            numbers.push(one.auc(rows, positive)?);
        }
        Some(differences(&numbers))
    };
    let intervals = bootstrap_many(positive.len(), spec, &statistics)?;
    let estimates: Vec<Estimate> = differences(&exact)
        .into_iter()
        .zip(intervals)
        .map(|(value, interval)| Estimate { value, low: interval.low, high: interval.high })
        .collect();
    let gains = rivals
        .iter()
        .zip(estimates[2..].chunks_exact(2))
        .map(|((name, _), pair)| Gain { against: name.clone(), log_loss: pair[0], auc: pair[1] })
        .collect();
    let (level, resamples) = (spec.level, spec.n_resamples);
    Ok(Compared { level, resamples, log_loss: estimates[0], auc: estimates[1], gains })
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::SplitMix64;
    use super::*;

    fn drawn(n: usize) -> (Vec<f64>, Vec<bool>) {
        let mut random = SplitMix64::new(5);
        let probs: Vec<f64> = (0..n).map(|_| 0.05 + 0.9 * random.unit()).collect();
        let positive = probs.iter().map(|p| random.unit() < *p).collect();
        (probs, positive)
    }

    #[test]
    fn counting_gives_the_area_that_sorting_gives() {
        let (mut probs, positive) = drawn(400);
        probs.iter_mut().step_by(3).for_each(|p| *p = 0.5);
        let rows: Vec<usize> = (0..400).chain(0..100).collect();
        let found = Judged::new(&probs, &positive).auc(&rows, &positive).unwrap();
        let (p, y): (Vec<f64>, Vec<bool>) =
            rows.iter().map(|&row| (probs[row], positive[row])).unzip();
        assert!((found - auc(&p, &y).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn a_true_gain_is_beyond_luck_and_an_equal_rival_is_not() {
        let (probs, positive) = drawn(2_000);
        let base = vec![0.5; 2_000];
        // As good as the champion, differently wrong.
        let wobble = |sign: f64| -> Vec<f64> {
            let shift = |row: usize| if row.is_multiple_of(2) { sign } else { -sign };
            probs
                .iter()
                .enumerate()
                .map(|(row, p)| (p + 0.03 * shift(row)).clamp(0.01, 0.99))
                .collect()
        };
        let rivals = [("base".to_owned(), base), ("twin".to_owned(), wobble(1.0))];
        let spec = BootstrapSpec { n_resamples: 400, ..BootstrapSpec::default() };
        let found = compare(&wobble(-1.0), &rivals, &positive, &spec).unwrap();
        assert!(found.gains[0].is_beyond_luck() && found.gains[0].auc.low > 0.2);
        assert!(!found.gains[1].is_beyond_luck(), "{:?}", found.gains[1]);
        assert!(found.auc.low < found.auc.value && found.auc.value < found.auc.high);
        let same = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let again = same.install(|| compare(&wobble(-1.0), &rivals, &positive, &spec)).unwrap();
        assert_eq!(found, again);
    }

    #[test]
    fn one_outcome_is_refused() {
        let found = compare(&[0.5, 0.6], &[], &[true, true], &BootstrapSpec::default());
        assert!(matches!(found, Err(MetricError::OneClass { .. })));
    }
}
