//! Customers who may buy once in each of a number of periods, pooled into unique rows.
//!
//! In: one row (x, t_x, n) a customer. Out: unique rows with counts in a fixed order, or the
//! first row that contradicts itself. It deliberately knows no calendar: what a period is (a
//! year's appeal, a cruise season, a conference) is up to the caller.

use super::error::BtydError;
use super::error::RowIssue;

/// Most periods that a row may hold, or that a prediction looks ahead.
pub(super) const PERIODS_MAX: u32 = 10_000;

/// What a customer did with their opportunities: all that BG/BB uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpportunityRow {
    /// Opportunities taken after the first purchase (which does not count).
    pub x: u32,
    /// The last opportunity taken, counted from 1; 0 exactly where `x` is 0.
    pub t_x: u32,
    /// Opportunities there were; at least `t_x`.
    pub n: u32,
}

impl OpportunityRow {
    /// Takes a row that does not contradict itself.
    ///
    /// # Errors
    /// [`RowIssue`] unless `x <= t_x <= n <= 10000` and `x` and `t_x` are 0 together.
    pub fn try_new(x: u32, t_x: u32, n: u32) -> Result<Self, RowIssue> {
        let row = Self { x, t_x, n };
        row.check().map(|()| row)
    }

    fn check(&self) -> Result<(), RowIssue> {
        if self.n > PERIODS_MAX {
            Err(RowIssue::TooManyPeriods)
        } else if self.t_x > self.n {
            Err(RowIssue::LastAfterEnd)
        } else if self.x > self.t_x || (self.x == 0 && self.t_x > 0) {
            Err(RowIssue::MoreThanOpportunities)
        } else {
            Ok(())
        }
    }

    /// The nearest row that the formulas can hold; valid rows come back unchanged.
    pub(super) fn nearest(&self) -> Self {
        let n = self.n.min(PERIODS_MAX);
        let t_x = if self.x == 0 { 0 } else { self.t_x.min(n) };
        Self { x: self.x.min(t_x), t_x, n }
    }
}

/// Unique opportunity rows with the number of customers of each, sorted by (x, t_x, n).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PooledOpportunities {
    rows: Vec<(OpportunityRow, u64)>,
    n_customers: u64,
}

impl PooledOpportunities {
    /// Pools one row a customer.
    ///
    /// # Errors
    /// [`BtydError::NoRows`] for an empty slice, [`BtydError::InvalidOpportunity`] for the first
    /// row that [`OpportunityRow::try_new`] would refuse.
    pub fn try_from_rows(rows: &[OpportunityRow]) -> Result<Self, BtydError> {
        let counted: Vec<(OpportunityRow, u64)> = rows.iter().map(|&row| (row, 1)).collect();
        Self::try_from_counts(&counted)
    }

    /// Pools rows that say how many customers share them; counts of 0 are left out.
    ///
    /// # Errors
    /// As [`Self::try_from_rows`].
    pub fn try_from_counts(rows: &[(OpportunityRow, u64)]) -> Result<Self, BtydError> {
        for (idx, (row, _)) in rows.iter().enumerate() {
            let OpportunityRow { x, t_x, n } = *row;
            row.check().map_err(|issue| BtydError::InvalidOpportunity {
                row: idx,
                x,
                t_x,
                n,
                issue,
            })?;
        }
        let mut sorted: Vec<_> = rows.iter().copied().filter(|(_, n)| *n > 0).collect();
        if sorted.is_empty() {
            return Err(BtydError::NoRows { model: "BG/BB" });
        }
        sorted.sort_unstable();
        let mut pooled: Vec<(OpportunityRow, u64)> = Vec::new();
        for (row, n) in sorted {
            match pooled.last_mut() {
                Some((last, total)) if *last == row => *total = total.saturating_add(n),
                _ => pooled.push((row, n)),
            }
        }
        let n_customers = pooled.iter().fold(0, |sum: u64, (_, n)| sum.saturating_add(*n));
        Ok(Self { rows: pooled, n_customers })
    }

    /// The unique rows with the number of customers that share each.
    #[must_use]
    pub fn rows(&self) -> &[(OpportunityRow, u64)] {
        &self.rows
    }

    /// Customers pooled.
    #[must_use]
    pub const fn n_customers(&self) -> u64 {
        self.n_customers
    }

    /// The longest observation, in periods.
    #[must_use]
    pub fn periods_max(&self) -> u32 {
        self.rows.iter().map(|(row, _)| row.n).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_contradict_themselves_are_named() {
        let good = OpportunityRow { x: 1, t_x: 2, n: 6 };
        let cases = [
            ((2, 7, 6), RowIssue::LastAfterEnd),
            ((3, 2, 6), RowIssue::MoreThanOpportunities),
            ((0, 2, 6), RowIssue::MoreThanOpportunities),
            ((1, 0, 6), RowIssue::MoreThanOpportunities),
            ((0, 0, 10_001), RowIssue::TooManyPeriods),
        ];
        for ((x, t_x, n), want) in cases {
            match PooledOpportunities::try_from_rows(&[good, OpportunityRow { x, t_x, n }]) {
                Err(BtydError::InvalidOpportunity { row: 1, issue, .. }) => assert_eq!(issue, want),
                other => panic!("{x} {t_x} {n} gave {other:?}"),
            }
        }
        let nobody = PooledOpportunities::try_from_counts(&[(good, 0)]);
        assert!(matches!(nobody, Err(BtydError::NoRows { model: "BG/BB" })));
    }

    #[test]
    fn pooling_adds_counts() {
        let row = |x, t_x| OpportunityRow { x, t_x, n: 6 };
        let pooled =
            PooledOpportunities::try_from_counts(&[(row(2, 5), 3), (row(0, 0), 4), (row(2, 5), 2)]);
        let pooled = pooled.unwrap();
        assert_eq!(pooled.rows(), [(row(0, 0), 4), (row(2, 5), 5)]);
        assert_eq!((pooled.n_customers(), pooled.periods_max()), (9, 6));
    }
}
