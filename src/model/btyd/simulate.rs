//! Customers drawn from the models, for tests.
//!
//! In: a seed and rates. Out: gaps, lifetimes, purchase days. One small generator, so that every
//! test draws the same customers everywhere.

use super::rows::BtydRow;

/// SplitMix64.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform on (0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        let top = u32::try_from(self.bits() >> 32).unwrap();
        (f64::from(top) + 0.5) / 4_294_967_296.0
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    pub(super) fn exponential(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    /// Gamma of this shape and rate (Marsaglia and Tsang 2000).
    pub(super) fn gamma(&mut self, shape: f64, rate: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.unit().powf(1.0 / shape);
            return boost * self.gamma(shape + 1.0, rate);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v / rate;
            }
        }
    }

    pub(super) fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (p, q) = (self.gamma(a, 1.0), self.gamma(b, 1.0));
        p / (p + q)
    }
}

/// What is known of a drawn customer at T, and what came after.
pub(super) struct Drawn {
    pub(super) row: BtydRow,
    /// Sum of ln(gap in weeks).
    pub(super) log_gaps: f64,
    pub(super) is_alive: bool,
    /// Purchases in the weeks after T.
    pub(super) after: u32,
}

/// Reads off a customer's row from purchase times (the first one at 0 left out), which end when
/// the customer leaves.
pub(super) fn observe(times: &[f64], is_alive: bool, t: f64, h: f64) -> Drawn {
    let seen: Vec<f64> = times.iter().copied().filter(|time| *time <= t).collect();
    let (mut before, mut log_gaps) = (0.0, 0.0);
    for time in &seen {
        log_gaps += f64::ln(time - before);
        before = *time;
    }
    let after = times.iter().filter(|time| (t..=t + h).contains(*time)).count();
    Drawn {
        row: BtydRow::try_new(u32::try_from(seen.len()).unwrap(), before, t).unwrap(),
        log_gaps,
        is_alive,
        after: u32::try_from(after).unwrap(),
    }
}
