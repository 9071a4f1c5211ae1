//! The best rule on a single column: what a model has to beat.
//!
//! In: encoded rows and outcomes. Out: the column whose groups (levels, or tenths of a number)
//! tell most of who leaves, and the share that left in each group.

use crate::dataset::FeatureMatrix;
use crate::evaluate::log_loss;
use crate::model::{ColumnKind, SlotMeaning, TableSchema};

/// Groups of a number.
const TENTHS: usize = 10;
/// Pseudo-rows at the base rate in each group.
const PRIOR_ROWS: f64 = 10.0;

/// A rule: groups of one column and the share that left in each.
#[derive(Debug, Clone)]
pub(super) struct ColumnRule {
    /// The column's place in the schema.
    pub(super) column: usize,
    slots: std::ops::Range<usize>,
    /// Ascending cuts of a number; empty for levels.
    cuts: Vec<f64>,
    /// Share that left, by group; the last group is "none of them".
    shares: Vec<f64>,
}

impl ColumnRule {
    /// The best rule by log loss on the rows it is made from.
    pub(super) fn fit(
        schema: &TableSchema,
        rows: &FeatureMatrix,
        churned: &[bool],
    ) -> Option<Self> {
        let mut best: Option<(f64, Self)> = None;
        for column in 0..schema.columns().len() {
            let rule = Self::of_column(schema, column, rows, churned);
            let loss = log_loss(&rows.map_rows(|row| rule.prob(row)), churned).ok()?;
            if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                best = Some((loss, rule));
            }
        }
        best.map(|(_, rule)| rule)
    }

    fn of_column(
        schema: &TableSchema,
        column: usize,
        rows: &FeatureMatrix,
        churned: &[bool],
    ) -> Self {
        let slots = schema.slots();
        let first = slots.iter().position(|slot| slot.column == column).unwrap_or(0);
        let n = slots.iter().filter(|slot| slot.column == column).count();
        let is_number = matches!(schema.columns()[column].kind, ColumnKind::Number { .. })
            && slots[first].meaning == SlotMeaning::Value;
        let cuts = if is_number { tenths(rows.column(first)) } else { Vec::new() };
        let n_groups = if is_number { cuts.len() + 2 } else { (n + 1).max(3) };
        let shares = vec![0.0; n_groups];
        let mut rule = Self { column, slots: first..first + n, cuts, shares };
        let groups = rows.map_rows(|row| rule.group(row));
        let base = churned.iter().filter(|&&yes| yes).count() as f64 / churned.len().max(1) as f64;
        let mut counts = vec![[0.0_f64; 2]; n_groups];
        for (&group, &yes) in groups.iter().zip(churned) {
            counts[group][0] += 1.0;
            counts[group][1] += f64::from(u8::from(yes));
        }
        let share = |[n, left]: [f64; 2]| (left + PRIOR_ROWS * base) / (n + PRIOR_ROWS);
        rule.shares = counts.into_iter().map(share).collect();
        rule
    }

    fn group(&self, row: &[f64]) -> usize {
        let places = &row[self.slots.clone()];
        let last = self.shares.len() - 1;
        if !self.cuts.is_empty() || places.len() == 1 {
            let number = places[0];
            return match (number.is_nan(), self.cuts.is_empty()) {
                (true, _) => last,
                (false, true) => usize::from(number > 0.5),
                (false, false) => self.cuts.partition_point(|cut| *cut < number),
            };
        }
        places.iter().position(|&place| place > 0.5).unwrap_or(last)
    }

    /// Share that left among those of the row's group.
    pub(super) fn prob(&self, row: &[f64]) -> f64 {
        self.shares[self.group(row)]
    }
}

/// Distinct tenths of a column's numbers.
fn tenths(column: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = column.iter().copied().filter(|x| !x.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return Vec::new();
    }
    let mut cuts: Vec<f64> =
        (1..TENTHS).map(|tenth| sorted[tenth * (sorted.len() - 1) / TENTHS]).collect();
    cuts.dedup_by(|later, earlier| *later <= *earlier);
    cuts
}
