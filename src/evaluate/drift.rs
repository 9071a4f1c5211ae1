//! Whether numbers are still distributed as they were: histograms with fixed bins, and the
//! population stability index between two of them.
//!
//! In: numbers once, to fix the bins; numbers later. Out: how far they moved, and how far chance
//! alone would move them. It deliberately says nothing of why.

/// Bins of a histogram, at most; ties make them fewer.
const BINS: usize = 10;
/// Movement below this is not worth a look, whatever the sample: the usual rule of thumb.
pub const PSI_MIN: f64 = 0.1;
/// 99th percentile of chi-square for 1 to 10 degrees of freedom.
const CHI_SQUARE_P99: [f64; BINS] =
    [6.635, 9.210, 11.345, 13.277, 15.086, 16.812, 18.475, 20.090, 21.666, 23.209];

/// Counts in fixed bins, and of missing values.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper ends of all bins but the last, ascending; a number equal to an end is below it.
    pub edges: Vec<f64>,
    /// Numbers in each bin: one more than edges.
    pub counts: Vec<u64>,
    /// Numbers that are missing.
    pub missing: u64,
}

impl Histogram {
    /// Fixes bins of about equal mass and counts.
    #[must_use]
    pub fn fit(numbers: &[f64]) -> Self {
        let mut sorted: Vec<f64> = numbers.iter().copied().filter(|x| !x.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = (1..BINS)
            .filter_map(|bin| sorted.get((bin * sorted.len() / BINS).checked_sub(1)?).copied())
            .collect();
        edges.dedup_by(|a, b| a.total_cmp(b).is_eq());
        // The largest number of all would leave the last bin empty.
        if edges.last().zip(sorted.last()).is_some_and(|(edge, last)| edge >= last) {
            edges.pop();
        }
        Self::count(&edges, numbers)
    }

    /// Bins for places 0 to `n` less one, one each; the last has those that are too many.
    #[must_use]
    pub fn of_places(n: usize) -> Self {
        let edges: Vec<f64> = (1..n.min(BINS)).map(|place| place as f64 - 0.5).collect();
        Self::empty(&edges)
    }

    /// Bins that were fixed before, with nothing in them.
    #[must_use]
    pub fn empty(edges: &[f64]) -> Self {
        Self { edges: edges.to_vec(), counts: vec![0; edges.len() + 1], missing: 0 }
    }

    /// Counts in bins that were fixed before.
    #[must_use]
    pub fn count(edges: &[f64], numbers: &[f64]) -> Self {
        let mut found = Self::empty(edges);
        numbers.iter().for_each(|number| found.add(*number));
        found
    }

    /// Counts one number.
    pub fn add(&mut self, number: f64) {
        if number.is_nan() {
            self.missing += 1;
        } else {
            self.counts[self.edges.partition_point(|&edge| edge < number)] += 1;
        }
    }

    /// Adds what was counted in the same bins.
    pub fn join(&mut self, other: &Self) {
        self.missing += other.missing;
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, more)| *own += more);
    }

    /// All numbers, missing ones included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.missing + self.counts.iter().sum::<u64>()
    }

    /// Whether the edges ascend, there is one count more than edges, and none is absurd.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.counts.len() == self.edges.len() + 1
            && self.edges.len() < BINS
            && self.edges.iter().all(|edge| !edge.is_nan())
            && self.edges.windows(2).all(|pair| pair[0] < pair[1])
            && self.counts.iter().chain([&self.missing]).all(|&count| count < 1 << 52)
    }
}

/// How far a distribution moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stability {
    /// The population stability index, >= 0.
    pub psi: f64,
    /// What it must exceed to be worth an alarm.
    pub limit: f64,
}

impl Stability {
    /// Whether it moved more than chance would move it in 99 of 100 cases, and more than a little.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        self.psi > self.limit
    }
}

/// The population stability index of a histogram against an older one of the same bins:
/// sum of (found - expected) ln(found / expected) over the shares of the bins, missing values
/// being one of them and half a count added to each. Without a change it is about
/// (1 / n + 1 / m) times a chi-square of bins - 1 degrees of freedom (Yurdakul and Naranjo 2020,
/// "Statistical properties of the population stability index"), which gives the limit.
///
/// None where either is empty or the bins differ.
#[must_use]
pub fn stability(expected: &Histogram, found: &Histogram) -> Option<Stability> {
    let same = expected.edges.len() == found.edges.len()
        && expected.edges.iter().zip(&found.edges).all(|(a, b)| a.total_cmp(b).is_eq());
    if !same || expected.total() == 0 || found.total() == 0 {
        return None;
    }
    let cells = |h: &Histogram| -> Vec<f64> {
        // A cell that is empty on both sides is no cell.
        let with_missing = expected.missing + found.missing > 0;
        let mut cells: Vec<f64> = h.counts.iter().map(|&count| count as f64 + 0.5).collect();
        cells.extend(with_missing.then_some(h.missing as f64 + 0.5));
        let sum: f64 = cells.iter().sum();
        cells.into_iter().map(|cell| cell / sum).collect()
    };
    let (before, now) = (cells(expected), cells(found));
    let psi = before.iter().zip(&now).map(|(e, f)| (f - e) * libm::log(f / e)).sum();
    let freedom = before.len() - 1;
    let by_chance = match freedom {
        0 => 0.0,
        _ => CHI_SQUARE_P99[freedom.min(CHI_SQUARE_P99.len()) - 1],
    };
    let scale = 1.0 / expected.total() as f64 + 1.0 / found.total() as f64;
    Some(Stability { psi, limit: PSI_MIN.max(scale * by_chance) })
}

#[cfg(test)]
mod tests {
    use super::super::SplitMix64;
    use super::*;

    fn numbers(seed: u64, n: usize, of: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        (0..n).map(|_| of(random.unit())).collect()
    }

    #[test]
    fn bins_have_equal_mass_and_ties_share_one() {
        let even = Histogram::fit(&numbers(1, 1_000, |u| u));
        assert_eq!(even.counts, [100; 10]);
        assert!(even.is_sound());
        let ties = Histogram::fit(&numbers(1, 1_000, |u| f64::from(u8::from(u > 0.7))));
        assert_eq!((ties.edges.len(), ties.counts.len()), (1, 2));
        let one = Histogram::fit(&[3.0; 50]);
        assert_eq!((one.edges.len(), one.counts.as_slice()), (0, [50].as_slice()));
        let mut places = Histogram::of_places(12);
        [0.0, 1.0, 1.0, 9.0, 11.0, f64::NAN].iter().for_each(|place| places.add(*place));
        assert_eq!((places.counts.len(), places.counts[1], places.counts[9]), (10, 2, 2));
        assert!(places.is_sound() && places.missing == 1);
        let mut twice = places.clone();
        twice.join(&places);
        assert_eq!((twice.total(), twice.counts[9]), (12, 4));
        let holes = Histogram::fit(&[f64::NAN, 1.0, f64::NAN]);
        assert_eq!((holes.missing, holes.total()), (2, 3));
        assert_eq!(Histogram::fit(&[]).total(), 0);
    }

    #[test]
    fn chance_gives_no_alarm_on_small_samples_and_a_shift_does_on_large_ones() {
        let base = Histogram::fit(&numbers(1, 5_000, |u| u));
        let alarms = |n: usize, shift: f64| {
            (0..400)
                .filter(|&seed| {
                    let now = numbers(1_000 + seed, n, |u| u + shift);
                    let now = Histogram::count(&base.edges, &now);
                    stability(&base, &now).unwrap().is_alarm()
                })
                .count()
        };
        // The plain limit of 0.1 would cry wolf on 60 rows most of the time.
        let plain = (0..400)
            .filter(|&seed| {
                let now = numbers(1_000 + seed, 60, |u| u);
                stability(&base, &Histogram::count(&base.edges, &now)).unwrap().psi > PSI_MIN
            })
            .count();
        assert!(plain > 200, "{plain}");
        assert!(alarms(60, 0.0) < 16, "{} of 400", alarms(60, 0.0));
        assert_eq!(alarms(5_000, 0.0), 0);
        assert_eq!(alarms(5_000, 0.2), 400);
    }

    #[test]
    fn the_index_is_that_of_its_definition() {
        let edges = [1.0];
        let before = Histogram { edges: edges.to_vec(), counts: vec![50, 50], missing: 0 };
        let now = Histogram { edges: edges.to_vec(), counts: vec![70, 30], missing: 0 };
        let (a, b) = (70.5 / 101.0, 30.5 / 101.0);
        let wanted = (a - 0.5) * (a / 0.5_f64).ln() + (b - 0.5) * (b / 0.5_f64).ln();
        let found = stability(&before, &now).unwrap();
        assert!((found.psi - wanted).abs() < 1e-12);
        assert!((found.limit - 0.1327).abs() < 1e-9, "{}", found.limit);
        let other = Histogram { edges: vec![2.0], ..now };
        assert!(stability(&before, &other).is_none());
    }
}
