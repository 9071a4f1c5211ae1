//! Customers as the purchase models see them, pooled into unique rows.
//!
//! In: one row a customer. Out: unique rows with counts in a fixed order (so sums do not depend
//! on the order of the input), or the first row that contradicts itself. It deliberately knows no
//! calendar: weeks are handed in.

use super::error::BtydError;
use super::error::RowIssue;

/// Longest time a row may hold: a thousand years of 52.2 weeks.
pub(super) const WEEKS_MAX: f64 = 52_200.0;
/// Range of mean spends: outside it, an amount is a mistake and sums lose their digits.
const SPEND_RANGE: std::ops::RangeInclusive<f64> = 1e-9..=1e15;

/// The purchase history of one customer, in weeks: all that BG/NBD, MBG/NBD and Pareto/NBD use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BtydRow {
    /// Repeat purchase occasions (the first purchase does not count).
    pub x: u32,
    /// Weeks from the first to the last purchase; 0 exactly where `x` is 0.
    pub t_x: f64,
    /// Weeks from the first purchase to the end of observation; at least `t_x`.
    pub t: f64,
}

impl BtydRow {
    /// Takes a row that does not contradict itself.
    ///
    /// # Errors
    /// [`RowIssue`] if a time is outside [0, 52200] weeks, `t_x > t`, or only one of `x` and
    /// `t_x` is 0.
    pub fn try_new(x: u32, t_x: f64, t: f64) -> Result<Self, RowIssue> {
        let row = Self { x, t_x, t };
        row.check().map(|()| row)
    }

    fn check(&self) -> Result<(), RowIssue> {
        if !(0.0..=WEEKS_MAX).contains(&self.t_x) || !(0.0..=WEEKS_MAX).contains(&self.t) {
            Err(RowIssue::TimeOutOfRange)
        } else if self.t_x > self.t {
            Err(RowIssue::LastAfterEnd)
        } else if (self.x == 0) == (self.t_x > 0.0) {
            Err(RowIssue::RepeatWithoutTime)
        } else {
            Ok(())
        }
    }

    /// The nearest row that the formulas can hold; valid rows come back unchanged.
    pub(super) fn nearest(&self) -> Self {
        let t = sane_weeks(self.t);
        let t_x = if self.x == 0 { 0.0 } else { sane_weeks(self.t_x).min(t) };
        Self { x: self.x, t_x, t }
    }
}

/// Clamps weeks to [0, 52200]; NaN is 0.
pub(super) fn sane_weeks(weeks: f64) -> f64 {
    if weeks > 0.0 { weeks.min(WEEKS_MAX) } else { 0.0 }
}

/// One unique purchase row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledRow {
    /// The row.
    pub row: BtydRow,
    /// How many customers share it.
    pub n_customers: u64,
}

/// Unique purchase rows with counts, sorted by (x, t_x, t).
#[derive(Debug, Clone, PartialEq)]
pub struct PooledRows {
    rows: Vec<PooledRow>,
    /// Distinct x with the number of customers, rising in x.
    by_x: Vec<(u32, u64)>,
    n_customers: u64,
}

impl PooledRows {
    /// Pools one row a customer.
    ///
    /// # Errors
    /// [`BtydError::NoRows`] for an empty slice, [`BtydError::InvalidRow`] for the first row that
    /// [`BtydRow::try_new`] would refuse.
    pub fn try_from_rows(rows: &[BtydRow]) -> Result<Self, BtydError> {
        for (idx, row) in rows.iter().enumerate() {
            row.check().map_err(|issue| BtydError::InvalidRow {
                row: idx,
                x: row.x,
                t_x: row.t_x,
                t: row.t,
                issue,
            })?;
        }
        if rows.is_empty() {
            return Err(BtydError::NoRows { model: "purchase models" });
        }
        let mut sorted: Vec<BtydRow> =
            // Adding 0 turns -0 into 0, so both pool together.
            rows.iter().map(|r| BtydRow { x: r.x, t_x: r.t_x + 0.0, t: r.t + 0.0 }).collect();
        sorted.sort_unstable_by(|p, q| {
            p.x.cmp(&q.x).then(p.t_x.total_cmp(&q.t_x)).then(p.t.total_cmp(&q.t))
        });
        let mut pooled: Vec<PooledRow> = Vec::new();
        for row in sorted {
            match pooled.last_mut() {
                Some(last) if last.row == row => last.n_customers += 1,
                _ => pooled.push(PooledRow { row, n_customers: 1 }),
            }
        }
        Ok(Self::from_sorted(pooled))
    }

    fn from_sorted(rows: Vec<PooledRow>) -> Self {
        let mut by_x: Vec<(u32, u64)> = Vec::new();
        for pooled in &rows {
            match by_x.last_mut() {
                Some((x, n)) if *x == pooled.row.x => *n += pooled.n_customers,
                _ => by_x.push((pooled.row.x, pooled.n_customers)),
            }
        }
        let n_customers = rows.iter().map(|r| r.n_customers).sum();
        Self { rows, by_x, n_customers }
    }

    /// The unique rows, sorted by (x, t_x, t).
    #[must_use]
    pub fn rows(&self) -> &[PooledRow] {
        &self.rows
    }

    /// Customers pooled.
    #[must_use]
    pub const fn n_customers(&self) -> u64 {
        self.n_customers
    }

    pub(super) fn by_x(&self) -> &[(u32, u64)] {
        &self.by_x
    }

    /// Sum over customers of a number a row.
    pub(super) fn total(&self, of: impl Fn(&BtydRow) -> f64) -> f64 {
        self.rows.iter().map(|r| count(r.n_customers) * of(&r.row)).sum()
    }

    /// Every k-th unique row so that about `n` remain; none where there are not many more.
    /// Neighbours in the order are alike, so this is a systematic sample.
    pub(super) fn thinned(&self, n: usize) -> Option<Self> {
        let stride = self.rows.len() / n.max(1);
        (stride >= 2)
            .then(|| Self::from_sorted(self.rows.iter().step_by(stride).copied().collect()))
    }
}

/// What one customer spends: all that Gamma-Gamma uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpendRow {
    /// Repeat purchase occasions; at least 1.
    pub x: u32,
    /// Mean spend a repeat purchase occasion, in units of the currency; positive.
    pub mean_spend: f64,
}

/// Unique spend rows with counts, sorted by (x, mean spend).
#[derive(Debug, Clone, PartialEq)]
pub struct PooledSpend {
    rows: Vec<(SpendRow, u64)>,
    n_customers: u64,
}

impl PooledSpend {
    /// Pools one row a customer who came back and paid something.
    ///
    /// # Errors
    /// [`BtydError::NoRows`] for an empty slice, [`BtydError::InvalidSpend`] for the first row
    /// with x = 0 or a mean outside [1e-9, 1e15].
    pub fn try_from_rows(rows: &[SpendRow]) -> Result<Self, BtydError> {
        for (idx, row) in rows.iter().enumerate() {
            if row.x == 0 || !SPEND_RANGE.contains(&row.mean_spend) {
                let SpendRow { x, mean_spend } = *row;
                return Err(BtydError::InvalidSpend { row: idx, x, mean_spend });
            }
        }
        if rows.is_empty() {
            return Err(BtydError::NoRows { model: "Gamma-Gamma" });
        }
        let mut sorted = rows.to_vec();
        sorted.sort_unstable_by(|p, q| p.x.cmp(&q.x).then(p.mean_spend.total_cmp(&q.mean_spend)));
        let mut pooled: Vec<(SpendRow, u64)> = Vec::new();
        for row in sorted {
            match pooled.last_mut() {
                Some((last, n)) if *last == row => *n += 1,
                _ => pooled.push((row, 1)),
            }
        }
        let n_customers = pooled.iter().map(|r| r.1).sum();
        Ok(Self { rows: pooled, n_customers })
    }

    /// The unique rows with the number of customers that share each.
    #[must_use]
    pub fn rows(&self) -> &[(SpendRow, u64)] {
        &self.rows
    }

    /// Customers pooled.
    #[must_use]
    pub const fn n_customers(&self) -> u64 {
        self.n_customers
    }
}

/// A count as a weight.
#[allow(clippy::cast_precision_loss, reason = "counts of customers stay far below 2^53")]
pub(super) const fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_contradict_themselves_are_named() {
        let good = BtydRow { x: 1, t_x: 2.0, t: 3.0 };
        let cases = [
            (BtydRow { x: 1, t_x: 4.0, t: 3.0 }, RowIssue::LastAfterEnd),
            (BtydRow { x: 0, t_x: 1.0, t: 3.0 }, RowIssue::RepeatWithoutTime),
            (BtydRow { x: 1, t_x: 0.0, t: 3.0 }, RowIssue::RepeatWithoutTime),
            (BtydRow { x: 1, t_x: f64::NAN, t: 3.0 }, RowIssue::TimeOutOfRange),
            (BtydRow { x: 0, t_x: 0.0, t: -1.0 }, RowIssue::TimeOutOfRange),
            (BtydRow { x: 0, t_x: 0.0, t: f64::INFINITY }, RowIssue::TimeOutOfRange),
        ];
        for (bad, want) in cases {
            match PooledRows::try_from_rows(&[good, bad]) {
                Err(BtydError::InvalidRow { row: 1, issue, .. }) => assert_eq!(issue, want),
                other => panic!("{bad:?} gave {other:?}"),
            }
        }
        assert!(matches!(PooledRows::try_from_rows(&[]), Err(BtydError::NoRows { .. })));
    }

    #[test]
    fn pooling_does_not_depend_on_the_order() {
        let row = |x, t_x, t| BtydRow { x, t_x, t };
        let rows = [row(0, 0.0, 9.0), row(2, 3.0, 9.0), row(0, -0.0, 9.0), row(2, 1.0, 9.0)];
        let mut turned = rows;
        turned.reverse();
        let pooled = PooledRows::try_from_rows(&rows).unwrap();
        assert_eq!(pooled, PooledRows::try_from_rows(&turned).unwrap());
        assert_eq!(pooled.rows().len(), 3);
        assert_eq!(pooled.rows()[0].n_customers, 2);
        assert_eq!(pooled.by_x(), [(0, 2), (2, 2)]);
        assert_eq!(pooled.n_customers(), 4);
    }

    #[test]
    fn spend_without_repeat_or_amount_is_refused() {
        for (x, mean_spend) in [(0, 5.0), (1, 0.0), (1, -3.0), (1, f64::NAN), (1, 1e300)] {
            let found = PooledSpend::try_from_rows(&[SpendRow { x, mean_spend }]);
            assert!(matches!(found, Err(BtydError::InvalidSpend { row: 0, .. })), "{found:?}");
        }
    }
}
