//! How the predictions do within parts of the base, so that nobody is surprised.
//!
//! In: named parts as positions of rows, probabilities and what came. Out: one line a part, with a
//! warning where the predictions of a part are off by more than chance explains.

use serde::Serialize;

use super::calibration::{ece, log_loss};
use super::rank::auc;

/// Smaller parts are left out: their numbers are noise.
pub const SUBGROUP_ROWS_MIN: usize = 50;
/// A mean prediction this far off the observed share is worth a warning ...
const GAP_MIN: f64 = 0.03;
/// ... if it is also this many standard errors off.
const GAP_ERRORS_MIN: f64 = 3.0;

/// How the predictions do within one part of the base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subgroup {
    /// What the parts are told apart by.
    pub by: String,
    /// The part.
    pub group: String,
    /// Customers in it.
    pub customers: usize,
    /// Share of them that left.
    pub churn_share: f64,
    /// Mean predicted probability.
    pub mean_prob: f64,
    /// Area under the ROC curve within the part; none where only one outcome came.
    pub auc: Option<f64>,
    /// Log loss, nats.
    pub log_loss: f64,
    /// Expected calibration error.
    pub ece: f64,
    /// What is wrong with it, in a sentence.
    pub warning: Option<String>,
}

impl Subgroup {
    /// Judges one part; none where it is small or a probability is out of range.
    #[must_use]
    pub fn new(
        (by, group): (&str, &str),
        rows: &[usize],
        probs: &[f64],
        churned: &[bool],
    ) -> Option<Self> {
        if rows.len() < SUBGROUP_ROWS_MIN {
            return None;
        }
        let own: Vec<f64> = rows.iter().filter_map(|&row| probs.get(row).copied()).collect();
        let came: Vec<bool> = rows.iter().filter_map(|&row| churned.get(row).copied()).collect();
        let n = own.len() as f64;
        let churn_share = came.iter().filter(|&&yes| yes).count() as f64 / n;
        let mean_prob = own.iter().sum::<f64>() / n;
        // Of the share, were the probabilities right.
        let error = own.iter().map(|p| p * (1.0 - p)).sum::<f64>().sqrt() / n;
        let gap = mean_prob - churn_share;
        let is_off = gap.abs() > GAP_MIN && gap.abs() > GAP_ERRORS_MIN * error;
        let warning = is_off.then(|| {
            let way = if gap > 0.0 { "high" } else { "low" };
            format!(
                "predictions are too {way} here: {:.1} % on average, {:.1} % left",
                100.0 * mean_prob,
                100.0 * churn_share
            )
        });
        Some(Self {
            by: by.to_owned(),
            group: group.to_owned(),
            customers: own.len(),
            churn_share,
            mean_prob,
            auc: auc(&own, &came).ok(),
            log_loss: log_loss(&own, &came).ok()?,
            ece: ece(&own, &came).ok()?,
            warning,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_off_is_warned_of_and_a_small_one_is_left_out() {
        let probs = vec![0.3; 1_000];
        // 30 % leave among the first half, 60 % among the second.
        let churned: Vec<bool> =
            (0..1_000).map(|row| row % 10 < if row < 500 { 3 } else { 6 }).collect();
        let part = |rows: std::ops::Range<usize>| {
            let rows: Vec<usize> = rows.collect();
            Subgroup::new(("half", "one"), &rows, &probs, &churned)
        };
        let (good, bad) = (part(0..500).unwrap(), part(500..1_000).unwrap());
        assert!(good.warning.is_none() && (good.churn_share - 0.3).abs() < 1e-12);
        assert!(bad.warning.unwrap().contains("too low here: 30.0 % on average, 60.0 % left"));
        assert!(part(0..49).is_none());
        let all_left = Subgroup::new(("a", "b"), &[3; 60], &probs, &vec![true; 1_000]).unwrap();
        assert!(all_left.auc.is_none());
    }
}
