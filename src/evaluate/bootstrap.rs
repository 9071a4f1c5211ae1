//! Percentile intervals of any statistic by resampling rows.
//!
//! Resample `i` draws from its own generator, seeded by the seed and `i`, so the interval is the
//! same on any number of threads. It deliberately knows no metric: it is given one.

use rayon::prelude::*;

use super::error::MetricError;

/// Share of the resamples that must have a value.
const DEFINED_SHARE_MIN: f64 = 0.9;
/// Resamples that may be asked for.
const RESAMPLES_MAX: usize = 1_000_000;

/// A small generator of uniform numbers: SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
/// pseudorandom number generators"). Good for resampling, not for secrets.
#[derive(Debug, Clone)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator whose sequence the seed determines.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 uniform bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniform position below `n` (0 for `n` = 0); its bias is below `n / 2^64`.
    #[allow(clippy::cast_possible_truncation, reason = "the product's high half is below n")]
    pub const fn below(&mut self, n: usize) -> usize {
        ((self.next_u64() as u128 * n as u128) >> 64) as usize
    }

    /// A uniform number in [0, 1), a multiple of 2^-53.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub const fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

/// Settings of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapSpec {
    /// Resamples, in 2..=1,000,000.
    pub n_resamples: usize,
    /// Probability that the interval is to cover, in (0, 1).
    pub level: f64,
    /// Seed.
    pub seed: u64,
}

impl Default for BootstrapSpec {
    /// 95 % from 1,000 resamples, which leaves 25 beyond each end.
    fn default() -> Self {
        Self { n_resamples: 1_000, level: 0.95, seed: 0 }
    }
}

/// A percentile interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples that had a value.
    pub n_defined: usize,
}

/// Interval of a statistic over resamples of `n_rows` rows with replacement.
///
/// The statistic gets the positions of the rows drawn; none, NaN or infinity means that it is
/// undefined there (only one outcome was drawn). For a paired comparison return the difference of
/// two metrics.
///
/// # Errors
/// [`MetricError::Empty`], [`MetricError::Parameter`] for a setting out of range,
/// [`MetricError::Resamples`] when less than 90 % of the resamples have a value.
pub fn bootstrap(
    n_rows: usize,
    spec: &BootstrapSpec,
    statistic: &(dyn Fn(&[usize]) -> Option<f64> + Sync),
) -> Result<Interval, MetricError> {
    let one = |rows: &[usize]| statistic(rows).map(|found| vec![found]);
    let found = bootstrap_many(n_rows, spec, &one)?;
    let n_resamples = spec.n_resamples;
    found.first().copied().ok_or(MetricError::Resamples { n_defined: 0, n_resamples })
}

/// Intervals of several statistics, always of the same number, from the same resamples: so that
/// rows are drawn once, and differences of metrics are paired.
///
/// # Errors
/// As [`bootstrap`]; a resample counts as undefined if one of its statistics is.
#[allow(clippy::cast_precision_loss, reason = "resamples number at most a million")]
pub fn bootstrap_many(
    n_rows: usize,
    spec: &BootstrapSpec,
    statistics: &(dyn Fn(&[usize]) -> Option<Vec<f64>> + Sync),
) -> Result<Vec<Interval>, MetricError> {
    let BootstrapSpec { n_resamples, level, seed } = *spec;
    if n_rows == 0 {
        return Err(MetricError::Empty);
    }
    if !(2..=RESAMPLES_MAX).contains(&n_resamples) {
        let (found, wanted) = (n_resamples as f64, "in 2..=1000000");
        return Err(MetricError::Parameter { parameter: "n_resamples", found, wanted });
    }
    if !(level > 0.0 && level < 1.0) {
        let wanted = "between 0 and 1";
        return Err(MetricError::Parameter { parameter: "level", found: level, wanted });
    }
    let draw = |rows: &mut Vec<usize>, resample: usize| {
        // Seeds are drawn from a generator themselves: neighbouring seeds must not share numbers.
        let mut seeds =
            SplitMix64::new(seed ^ (resample as u64).wrapping_mul(0xd134_2543_de82_ef95));
        let mut random = SplitMix64::new(seeds.next_u64());
        rows.iter_mut().for_each(|row| *row = random.below(n_rows));
        statistics(rows).filter(|found| found.iter().all(|number| number.is_finite()))
    };
    let found: Vec<Option<Vec<f64>>> =
        (0..n_resamples).into_par_iter().map_init(|| vec![0; n_rows], draw).collect();
    let defined: Vec<Vec<f64>> = found.into_iter().flatten().collect();
    let n_defined = defined.len();
    if (n_defined as f64) < DEFINED_SHARE_MIN * n_resamples as f64 {
        return Err(MetricError::Resamples { n_defined, n_resamples });
    }
    let tail = (1.0 - level) / 2.0;
    let n_statistics = defined.iter().map(Vec::len).min().unwrap_or(0);
    let interval = |at: usize| {
        let mut numbers: Vec<f64> = defined.iter().map(|found| found[at]).collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let (low, high) = (quantile(&numbers, tail), quantile(&numbers, 1.0 - tail));
        Interval { low, high, n_defined }
    };
    Ok((0..n_statistics).map(interval).collect())
}

/// Quantile of sorted numbers, linear between neighbours.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the place lies between 0 and the number of resamples"
)]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}
