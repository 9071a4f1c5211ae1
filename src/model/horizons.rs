//! Churn within further horizons than the primary one.
//!
//! In: a row made for the primary horizon and a churn model for each further one. Out: a
//! probability for each horizon that never falls as the horizon shrinks. The columns that depend
//! on the horizon are made anew by the stage that training used.
//! It deliberately decides nothing: tiers and policy look at the primary horizon only.

use crate::features::PurchaseSummary;

use super::churn::ChurnModel;
use super::columns::Columns;
use super::forest::Forest;
use super::score::HorizonProb;
use super::stage::{BTYD_COLUMNS, BtydStage, StageInput};

/// The churn model of a further horizon.
#[derive(Debug, Clone)]
pub struct HorizonModel {
    /// Days of the horizon.
    pub days: u16,
    /// Its model.
    pub churn: ChurnModel,
}

impl HorizonModel {
    /// Probabilities of churn within this horizon for rows that were made for the primary one and
    /// lie one after another; NaN for a customer who has not bought.
    pub(super) fn probs(
        &self,
        stage: &BtydStage,
        columns: &Columns,
        rows: &RowBlock<'_>,
    ) -> Vec<f64> {
        let mut own = rows.cells.to_vec();
        for row in own.chunks_mut(rows.width.max(1)) {
            rebuild_row(stage, columns, self.days, row);
        }
        let forest = self.churn.parts.trees(self.churn.kind);
        let margins = forest.and_then(|forest| {
            let mut margins = Vec::new();
            forest.margins_of(&own, &mut margins).is_ok().then_some(margins)
        });
        let margin = |at: usize, row: &[f64]| match &margins {
            Some(margins) => margins.get(at).copied().unwrap_or(f64::NAN),
            None => forest.map_or(0.0, |forest: &Forest| forest.margin(row)),
        };
        own.chunks(rows.width.max(1))
            .enumerate()
            .map(|(at, row)| {
                if row[columns.btyd_churn].is_nan() {
                    return f64::NAN;
                }
                self.churn.prob_given(columns, row, margin(at, row))
            })
            .collect()
    }
}

/// Rows that lie one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowBlock<'r> {
    /// All cells.
    pub(super) cells: &'r [f64],
    /// Cells of a row.
    pub(super) width: usize,
}

/// Makes the columns that depend on the churn horizon anew for a horizon of `days`; a row of a
/// customer who has not bought stays as it is. The row must have been made on the calendar and
/// without covariates: a row does not hold what else a stage would look at.
pub fn rebuild_row(stage: &BtydStage, columns: &Columns, days: u16, row: &mut [f64]) {
    if row[columns.btyd_churn].is_nan() {
        return;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of purchase days that came from a u32"
    )]
    let x = row[columns.frequency].max(0.0) as u32;
    let summary = PurchaseSummary {
        x,
        t_x: row[columns.active_span] / 7.0,
        t: row[columns.tenure] / 7.0,
        // Neither enters the columns that are made anew.
        spend_repeat_mean: 0.0,
        log_gap_sum: 0.0,
    };
    let weeks = [f64::from(days) / 7.0, stage.value_weeks];
    let input = StageInput { summary, weeks, covariates: Vec::new() };
    let mut added = Vec::with_capacity(BTYD_COLUMNS.len());
    stage.append(Some(&input), &mut added);
    if let [_, churn, purchases, ..] = added[..] {
        row[columns.btyd_churn] = churn;
        row[columns.btyd_purchases_churn] = purchases;
    }
}

/// All horizons in ascending order, such that who is gone within a long horizon is no surer to be
/// gone than within a shorter one: no purchase in 90 days contains no purchase in 30. The primary
/// probability stays as it is, since decisions rest on it; the others are moved to it.
#[must_use]
pub fn by_horizon(primary: HorizonProb, others: &[HorizonProb]) -> Vec<HorizonProb> {
    let mut all = others.to_vec();
    all.sort_by_key(|found| found.days);
    let at = all.partition_point(|found| found.days < primary.days);
    let mut least = primary.prob;
    for shorter in all[..at].iter_mut().rev() {
        least = least.max(shorter.prob);
        shorter.prob = least;
    }
    let mut most = primary.prob;
    for longer in &mut all[at..] {
        most = most.min(longer.prob);
        longer.prob = most;
    }
    all.insert(at, primary);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probs(primary: (u16, f64), others: &[(u16, f64)]) -> Vec<(u16, f64)> {
        let of = |&(days, prob): &(u16, f64)| HorizonProb { days, prob };
        let others: Vec<HorizonProb> = others.iter().map(of).collect();
        by_horizon(of(&primary), &others).iter().map(|p| (p.days, p.prob)).collect()
    }

    #[test]
    fn a_longer_horizon_is_never_surer_and_the_primary_one_stays() {
        let check = |primary, others: &[(u16, f64)], wanted: &[(u16, f64)]| {
            assert_eq!(probs(primary, others), wanted);
        };
        check((90, 0.5), &[(30, 0.8), (180, 0.3)], &[(30, 0.8), (90, 0.5), (180, 0.3)]);
        check((90, 0.5), &[(180, 0.6), (30, 0.4)], &[(30, 0.5), (90, 0.5), (180, 0.5)]);
        check((30, 0.9), &[(60, 0.7), (90, 0.8)], &[(30, 0.9), (60, 0.7), (90, 0.7)]);
        check((90, 0.2), &[(30, 0.3), (60, 0.4)], &[(30, 0.4), (60, 0.4), (90, 0.2)]);
    }
}
