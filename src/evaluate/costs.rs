//! What decisions by a score cost, where each row has costs of its own.
//!
//! In: probabilities, outcomes, and what each of the four outcomes of a decision costs a row. Out:
//! the total of acting by a threshold, by the costs of each row, on all and on none.
//! It deliberately knows no currency: all costs are in one unit of money, gains are negative.
//!
//! Elkan (2001), "The foundations of cost-sensitive learning", IJCAI; Bahnsen et al. (2015), "A
//! novel cost-sensitive framework for customer churn predictive modeling", Decision Analytics 2.

use super::error::{MetricError, check_finite, check_length};
use super::ties::Ranked;

/// What a decision about one row costs, by what then happens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowCosts {
    /// Acting on one who would have stayed.
    pub act_stays: f64,
    /// Leaving one alone who leaves.
    pub alone_leaves: f64,
    /// Acting on one who would leave.
    pub act_leaves: f64,
    /// Leaving one alone who stays.
    pub alone_stays: f64,
}

impl RowCosts {
    /// What acting costs more than leaving alone, in expectation.
    #[must_use]
    pub fn act_surplus(&self, prob: f64) -> f64 {
        prob * (self.act_leaves - self.alone_leaves)
            + (1.0 - prob) * (self.act_stays - self.alone_stays)
    }

    const fn of(&self, act: bool, left: bool) -> f64 {
        match (act, left) {
            (true, true) => self.act_leaves,
            (true, false) => self.act_stays,
            (false, true) => self.alone_leaves,
            (false, false) => self.alone_stays,
        }
    }
}

/// Totals over all rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostVerdict {
    /// Acting on everybody.
    pub act_on_all: f64,
    /// Acting on nobody.
    pub act_on_none: f64,
    /// Acting on each row where its own expected cost is lower so.
    pub by_row: f64,
    /// Share of the rows acted on so, in [0, 1].
    pub by_row_share: f64,
    /// The one threshold of the least total; above 1 where nobody is worth it.
    pub threshold: f64,
    /// Its total: chosen on these rows, so a little too good.
    pub by_threshold: f64,
    /// Share of the rows at or above it, in [0, 1].
    pub by_threshold_share: f64,
}

/// Judges decisions by probabilities.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `Number`.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn judge_costs(
    probs: &[f64],
    left: &[bool],
    costs: &[RowCosts],
) -> Result<CostVerdict, MetricError> {
    check_length("probability", left.len(), probs.len())?;
    check_length("costs", left.len(), costs.len())?;
    if left.is_empty() {
        return Err(MetricError::Empty);
    }
    check_finite("probability", probs)?;
    for part in [
        |c: &RowCosts| c.act_stays,
        |c: &RowCosts| c.alone_leaves,
        |c: &RowCosts| c.act_leaves,
        |c: &RowCosts| c.alone_stays,
    ] {
        check_finite("cost", &costs.iter().map(part).collect::<Vec<f64>>())?;
    }
    let n = left.len() as f64;
    let total = |act: &dyn Fn(usize) -> bool| -> f64 {
        costs.iter().zip(left).enumerate().map(|(row, (c, &left))| c.of(act(row), left)).sum()
    };
    let acts = |row: usize| costs[row].act_surplus(probs[row]) < 0.0;
    let act_on_none = total(&|_| false);
    let best = best_threshold(probs, left, costs);
    let at = |row: usize| probs[row] >= best;
    let share = |act: &dyn Fn(usize) -> bool| (0..left.len()).filter(|row| act(*row)).count();
    Ok(CostVerdict {
        act_on_all: total(&|_| true),
        act_on_none,
        by_row: total(&acts),
        by_row_share: share(&acts) as f64 / n,
        threshold: best,
        by_threshold: total(&at),
        by_threshold_share: share(&at) as f64 / n,
    })
}

/// The threshold of the least total; the highest of equals.
fn best_threshold(probs: &[f64], left: &[bool], costs: &[RowCosts]) -> f64 {
    let (mut sum, mut least) = (0.0, 0.0);
    // Above every probability: nobody.
    let mut best = 1.0_f64.next_up();
    for (_, rows) in Ranked::descending(probs).groups() {
        for &row in rows {
            sum += costs[row].of(true, left[row]) - costs[row].of(false, left[row]);
        }
        if let (Some(&first), true) = (rows.first(), sum < least) {
            (least, best) = (sum, probs[first]);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One cost for each, as in a textbook: acting costs 10, a leaver left alone 100.
    fn flat(n: usize) -> Vec<RowCosts> {
        vec![
            RowCosts { act_stays: 10.0, alone_leaves: 100.0, act_leaves: 10.0, alone_stays: 0.0 };
            n
        ]
    }

    #[test]
    fn equal_costs_give_elkans_threshold_and_the_totals_add_up() {
        // Calibrated: of every ten rows as many leave as the probability says.
        let probs: Vec<f64> = (0..100).map(|at| f64::from(at / 10) / 10.0).collect();
        let left: Vec<bool> = (0..100).map(|at| at % 10 < at / 10).collect();
        let verdict = judge_costs(&probs, &left, &flat(100)).unwrap();
        assert!((verdict.act_on_all - 1000.0).abs() < 1e-9);
        assert!((verdict.act_on_none - 4500.0).abs() < 1e-9);
        // At a probability of 0.1 both decisions cost the same: the higher threshold is taken.
        assert!((verdict.by_row - 900.0).abs() < 1e-9, "{verdict:?}");
        assert!((verdict.threshold - 0.2).abs() < 1e-12, "{verdict:?}");
        assert!((verdict.by_threshold_share - 0.8).abs() < 1e-12);
        assert!(verdict.by_threshold <= verdict.by_row + 1e-9);
    }

    #[test]
    fn rows_that_cost_more_than_they_save_are_left_alone() {
        let mut costs = flat(4);
        costs[0].act_leaves = 500.0;
        let verdict = judge_costs(&[0.9, 0.8, 0.2, 0.1], &[true, true, false, false], &costs);
        let verdict = verdict.unwrap();
        assert!((verdict.by_row - (100.0 + 10.0 + 10.0)).abs() < 1e-9, "{verdict:?}");
        assert!((verdict.by_row_share - 0.5).abs() < 1e-12);
        let dear = vec![RowCosts { act_stays: 1.0, act_leaves: 1.0, ..RowCosts::default() }; 4];
        let nobody = judge_costs(&[0.9, 0.8, 0.2, 0.1], &[true; 4], &dear).unwrap();
        assert!(nobody.threshold > 1.0 && nobody.by_threshold.abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        assert!(judge_costs(&[], &[], &[]).is_err());
        assert!(judge_costs(&[0.5], &[true, false], &flat(2)).is_err());
        let bad = vec![RowCosts { act_stays: f64::NAN, ..RowCosts::default() }];
        assert!(judge_costs(&[0.5], &[true], &bad).is_err());
    }
}
