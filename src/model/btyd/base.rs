//! What a purchase model expects of a whole base of customers, to be held against what they did.
//!
//! In: a model's predictions of one customer, and a base. Out: numbers of customers by repeat
//! purchases, purchases of all by week, and purchases ahead by purchases behind: the three
//! pictures by which the papers judge a fit. It deliberately knows no calendar and draws nothing.

use super::rows::BtydRow;
use super::rows::PooledRows;
use super::rows::count;
use super::rows::sane_weeks;

/// A customer who has just bought for the first time.
const NEW: BtydRow = BtydRow { x: 0, t_x: 0.0, t: 0.0 };

/// Customers of one frequency with what is expected of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrequencyBin {
    /// Repeat purchases behind; the last bin holds everybody with at least this many.
    pub x: u32,
    /// Customers of the base in the bin.
    pub n_customers: u64,
    /// Mean expected purchases ahead of one of them; 0 for an empty bin.
    pub mean_expected: f64,
}

/// Equal times counted once, rising; times are clamped as in every prediction.
fn pooled_weeks(weeks: impl Iterator<Item = (f64, u64)>) -> Vec<(f64, u64)> {
    let mut sorted: Vec<(f64, u64)> = weeks.map(|(w, n)| (sane_weeks(w), n)).collect();
    sorted.sort_unstable_by(|p, q| p.0.total_cmp(&q.0));
    sorted.dedup_by(|next, kept| {
        let same = next.0.to_bits() == kept.0.to_bits();
        if same {
            kept.1 += next.1;
        }
        same
    });
    sorted
}

/// Expected customers with 0, 1, ..., `max` repeat purchases, where `at_least(row, h, n)` is the
/// probability of at least n purchases of a customer in the h weeks ahead.
pub(super) fn repeat_counts(
    rows: &PooledRows,
    max: u32,
    at_least: impl Fn(&BtydRow, f64, u32) -> f64,
) -> Vec<f64> {
    let ages = pooled_weeks(rows.rows().iter().map(|r| (r.row.t, r.n_customers)));
    let mut expected = vec![0.0; max as usize + 1];
    for (age, n_customers) in ages {
        let mut above = 1.0;
        for (n, sum) in (1..=max.saturating_add(1)).zip(&mut expected) {
            let reaches = at_least(&NEW, age, n);
            *sum += count(n_customers) * (above - reaches);
            above = reaches;
        }
    }
    expected
}

/// Expected repeat purchases of all until each of `weeks`, where `purchases(row, h)` are those of
/// one customer in the h weeks ahead.
pub(super) fn cumulative(
    first_weeks: &[f64],
    weeks: &[f64],
    purchases: impl Fn(&BtydRow, f64) -> f64,
) -> Vec<f64> {
    let firsts = pooled_weeks(first_weeks.iter().map(|&week| (week, 1)));
    weeks
        .iter()
        .map(|&week| {
            let begun = firsts.iter().take_while(|(first, _)| *first < week);
            begun.map(|(first, n)| count(*n) * purchases(&NEW, week - first)).sum()
        })
        .collect()
}

/// Mean expected purchases in the next h weeks by repeat purchases behind, 0, 1, ..., `max` and
/// above, where `purchases(row)` are those of one customer.
pub(super) fn by_frequency(
    rows: &PooledRows,
    max: u32,
    purchases: impl Fn(&BtydRow) -> f64,
) -> Vec<FrequencyBin> {
    let mut bins: Vec<FrequencyBin> =
        (0..=max).map(|x| FrequencyBin { x, n_customers: 0, mean_expected: 0.0 }).collect();
    for pooled in rows.rows() {
        let bin = &mut bins[pooled.row.x.min(max) as usize];
        bin.n_customers += pooled.n_customers;
        bin.mean_expected += count(pooled.n_customers) * purchases(&pooled.row);
    }
    for bin in &mut bins {
        bin.mean_expected /= count(bin.n_customers.max(1));
    }
    bins
}
