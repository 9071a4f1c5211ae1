//! Rows in order of a key, with equal keys as one group: what makes the metrics independent of the
//! order in which rows arrive.

use std::ops::Range;

/// Rows sorted by a finite key, in groups of equal keys.
#[derive(Debug)]
pub(super) struct Ranked {
    /// Positions of the rows.
    order: Vec<usize>,
    /// Start of each group in `order`, and the number of rows at the end.
    borders: Vec<usize>,
}

impl Ranked {
    /// Smallest key first.
    pub(super) fn ascending(keys: &[f64]) -> Self {
        Self::sorted(keys.len(), &|row| keys[row])
    }

    /// Largest key first.
    pub(super) fn descending(keys: &[f64]) -> Self {
        Self::sorted(keys.len(), &|row| -keys[row])
    }

    fn sorted(n_rows: usize, key: &dyn Fn(usize) -> f64) -> Self {
        // Adding 0 turns -0 into 0, which `total_cmp` would otherwise set apart.
        let mut keyed: Vec<(f64, usize)> = (0..n_rows).map(|row| (key(row) + 0.0, row)).collect();
        keyed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut borders = vec![0];
        for at in 1..n_rows {
            if keyed[at].0.total_cmp(&keyed[at - 1].0).is_ne() {
                borders.push(at);
            }
        }
        borders.push(n_rows);
        Self { order: keyed.into_iter().map(|(_, row)| row).collect(), borders }
    }

    /// Groups of equal keys: their ranks and their rows.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Range<usize>, &[usize])> {
        self.borders.windows(2).map(|pair| (pair[0]..pair[1], &self.order[pair[0]..pair[1]]))
    }

    /// Whether all keys are equal.
    pub(super) fn is_constant(&self) -> bool {
        self.borders.len() <= 2
    }

    /// Sum of a number over the first `n_top` rows. Of a group that is only partly among them the
    /// same part of its sum counts: the expectation when ties are broken by lot.
    #[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
    pub(super) fn top_sum(&self, n_top: usize, number: &dyn Fn(usize) -> f64) -> f64 {
        let mut sum = 0.0;
        for (ranks, rows) in self.groups() {
            if ranks.start >= n_top {
                break;
            }
            let group: f64 = rows.iter().map(|&row| number(row)).sum();
            if ranks.end <= n_top {
                sum += group;
            } else {
                sum += group * ((n_top - ranks.start) as f64 / ranks.len() as f64);
            }
        }
        sum
    }

    /// The rows in `n_bins` bins of (nearly) equal numbers of rows, in order. Equal keys stay
    /// together: a group lies in the bin that holds its middle rank, so bins may be of different
    /// size, and empty ones are left out.
    pub(super) fn bins(&self, n_bins: usize) -> Vec<Vec<usize>> {
        let n_rows = self.order.len();
        let mut bins: Vec<Vec<usize>> = vec![Vec::new(); n_bins];
        for (ranks, rows) in self.groups() {
            let middle_twice = (ranks.start + ranks.end) as u128;
            let bin = middle_twice * n_bins as u128 / (2 * n_rows as u128);
            let bin = usize::try_from(bin).map_or(n_bins - 1, |b| b.min(n_bins - 1));
            bins[bin].extend_from_slice(rows);
        }
        bins.retain(|bin| !bin.is_empty());
        bins
    }
}
