//! E[min(N, G)]: purchases made before time or the customer runs out.
//!
//! In: N ~ negative binomial with shape k and odds c = h / A (purchases the customer would make
//! in the time ahead), G with P(G > j) = (b)_j / (a + b)_j (purchases until dropout). Out: the
//! mean of the smaller one, to about 13 digits. Two ways, each where it is short: a series of
//! positive terms, and the trapezoidal rule over the dropout probability's log odds. Neither
//! subtracts, so nothing cancels, and neither is singular at a = 1.

use super::beta_mean::BetaMean;

/// Entries of the tables kept for the series: enough for all but the busiest customers.
pub(super) const TABLE_LEN: usize = 512;

/// 1 / n for n < [`TABLE_LEN`] (the entry at 0 is never read).
const INVERSES: [f64; TABLE_LEN] = {
    let mut table = [0.0; TABLE_LEN];
    let mut n = 1_usize;
    let mut value = 1.0;
    while n < TABLE_LEN {
        table[n] = 1.0 / value;
        value += 1.0;
        n += 1;
    }
    table
};

/// Dropout of one model: P(G > j) given m throws survived, with its ratios kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dropout {
    a: f64,
    b: f64,
    /// (b + i) / (a + b + i).
    ratios: Vec<f64>,
    /// ln(a / (b + i)): of the odds of having left at the last throw.
    log_odds: Vec<f64>,
}

/// Purchases ahead of a customer who has survived some throws of the dropout coin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// Shape k = r + x.
    pub(super) shape: f64,
    /// Odds c = h / (alpha + T).
    pub(super) odds: f64,
    /// (1 + c)^-k, the probability of no purchase while alive.
    pub(super) none_prob: f64,
    /// Throws survived.
    pub(super) n_throws: u32,
}

impl Ahead {
    /// Whether a walk over N = 0, 1, ... is short and does not start at an underflow: mean, spread
    /// and tail length of N bound the number of terms.
    fn is_short(&self) -> bool {
        let mean = self.shape * self.odds;
        let terms = mean + 9.0 * (mean * (1.0 + self.odds)).sqrt() + 38.0 * (1.0 + self.odds);
        self.none_prob >= FIRST_TERM_MIN && terms <= TERMS_MAX
    }
}

/// Series longer than this cost more than the quadrature.
const TERMS_MAX: f64 = 2_000.0;
/// Below this the first term is too near to underflow to start a recurrence from.
const FIRST_TERM_MIN: f64 = 1e-270;
/// Relative size of the neglected tail.
const TAIL: f64 = 1e-15;
/// Terms summed between two looks at the tail.
const BLOCK: usize = 8;
const OFFSETS: [f64; BLOCK] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];

impl Dropout {
    pub(super) fn new(a: f64, b: f64) -> Self {
        let ratio = |i: u32| (b + f64::from(i)) / (a + b + f64::from(i));
        let log_odds = |i: u32| (a / (b + f64::from(i))).ln();
        Self {
            a,
            b,
            ratios: (0..).take(TABLE_LEN).map(ratio).collect(),
            log_odds: (0..).take(TABLE_LEN).map(log_odds).collect(),
        }
    }

    /// ln(a / (b + n_throws - 1)); minus infinity without a throw.
    pub(super) fn log_odds(&self, n_throws: u32) -> f64 {
        let Some(i) = n_throws.checked_sub(1) else { return f64::NEG_INFINITY };
        let kept = usize::try_from(i).ok().and_then(|i| self.log_odds.get(i));
        kept.copied().unwrap_or_else(|| (self.a / (self.b + f64::from(i))).ln())
    }

    /// E[min(N, G)].
    pub(super) fn expected_min(&self, ahead: &Ahead) -> f64 {
        if ahead.odds <= 0.0 {
            return 0.0;
        }
        if ahead.is_short() { self.by_series(ahead) } else { self.by_quadrature(ahead) }
    }

    /// [`Self::expected_min`] over two stretches of time ahead of the same customer, the same bits
    /// for less: what the throws take away is the same for both.
    pub(super) fn expected_min_two(&self, ahead: [&Ahead; 2]) -> [f64; 2] {
        let [near, far] = ahead;
        let is_series = |ahead: &Ahead| ahead.odds > 0.0 && ahead.is_short();
        if is_series(near) && is_series(far) && near.n_throws == far.n_throws {
            let found = self.two_series(ahead);
            return [0, 1].map(|of| found[of].unwrap_or_else(|| self.by_series(ahead[of])));
        }
        ahead.map(|ahead| self.expected_min(ahead))
    }

    /// [`Self::by_series`] of both, step by step as there; none of one that takes more steps than
    /// the tables hold.
    fn two_series(&self, ahead: [&Ahead; 2]) -> [Option<f64>; 2] {
        let z = ahead.map(|ahead| ahead.odds / (1.0 + ahead.odds));
        let offset = usize::try_from(ahead[0].n_throws).unwrap_or(usize::MAX);
        let ratios = self.ratios.get(offset..).unwrap_or(&[]);
        let (shape, mut at) = (ahead.map(|ahead| ahead.shape), 0.0);
        let mut pmf = ahead.map(|ahead| ahead.none_prob);
        let (mut survival, mut capped, mut sum) = (1.0, 0.0, [0.0; 2]);
        let mut found = [None; 2];
        for (ratios, inverses) in ratios.chunks_exact(BLOCK).zip(INVERSES[1..].chunks_exact(BLOCK))
        {
            let mut grows = [[0.0; 2]; BLOCK];
            for ((grow, inverse), offset) in grows.iter_mut().zip(inverses).zip(OFFSETS) {
                for of in 0..2 {
                    grow[of] = z[of] * (shape[of] + (at + offset)) * inverse;
                }
            }
            let mut term = [0.0; 2];
            for (grow, ratio) in grows.iter().zip(ratios) {
                capped += survival;
                survival *= ratio;
                for of in 0..2 {
                    pmf[of] *= grow[of];
                    term[of] = pmf[of] * capped;
                    sum[of] += term[of];
                }
            }
            at += OFFSETS[BLOCK - 1] + 1.0;
            for of in 0..2 {
                let fall = f64::max(grows[BLOCK - 1][of], z[of]);
                if found[of].is_none() && term[of] * fall <= TAIL * (1.0 - fall) * sum[of] {
                    found[of] = Some(sum[of]);
                }
            }
            if found[0].is_some() && found[1].is_some() {
                break;
            }
        }
        found
    }

    /// The smallest n with P(min(N, G) > n) <= `tail`; none where the walk would be long.
    pub(super) fn first_below(&self, ahead: &Ahead, tail: f64) -> Option<u32> {
        if !ahead.is_short() {
            return None;
        }
        let z = ahead.odds / (1.0 + ahead.odds);
        let (mut pmf, mut more_prob, mut survival) = (ahead.none_prob, 1.0, 1.0);
        let mut n = 0;
        loop {
            more_prob -= pmf;
            if more_prob * survival <= tail {
                return Some(n);
            }
            let real_n = f64::from(n);
            pmf *= z * (ahead.shape + real_n) / (real_n + 1.0);
            let c = self.b + f64::from(ahead.n_throws) + real_n;
            survival *= c / (self.a + c);
            n += 1;
            if f64::from(n) > 2.0 * TERMS_MAX {
                return None;
            }
        }
    }

    /// sum over n of P(N = n) E[min(n, G)].
    fn by_series(&self, ahead: &Ahead) -> f64 {
        let z = ahead.odds / (1.0 + ahead.odds);
        let offset = usize::try_from(ahead.n_throws).unwrap_or(usize::MAX);
        let ratios = self.ratios.get(offset..).unwrap_or(&[]);
        let (shape, mut at) = (ahead.shape, 0.0);
        let (mut pmf, mut survival) = (ahead.none_prob, 1.0);
        let (mut capped, mut sum) = (0.0, 0.0);
        let blocks = ratios.chunks_exact(BLOCK).zip(INVERSES[1..].chunks_exact(BLOCK));
        let n_blocks = blocks.len();
        for (ratios, inverses) in blocks {
            // P(N = n + 1) over P(N = n); the last one bounds those to come, or z does.
            let mut grows = [0.0; BLOCK];
            for ((grow, inverse), offset) in grows.iter_mut().zip(inverses).zip(OFFSETS) {
                *grow = z * (shape + (at + offset)) * inverse;
            }
            let mut term = 0.0;
            for (grow, ratio) in grows.iter().zip(ratios) {
                pmf *= grow;
                capped += survival;
                survival *= ratio;
                term = pmf * capped;
                sum += term;
            }
            at += OFFSETS[BLOCK - 1] + 1.0;
            let fall = f64::max(grows[BLOCK - 1], z);
            if term * fall <= TAIL * (1.0 - fall) * sum {
                return sum;
            }
        }
        let mut n = n_blocks * BLOCK;
        let mut k = shape + at;
        let n_cap = n + 100 * TABLE_LEN;
        while n < n_cap {
            let real_n = f64::from(u32::try_from(n).unwrap_or(u32::MAX));
            let inverse = 1.0 / (real_n + 1.0);
            pmf *= z * k * inverse;
            capped += survival;
            let c = self.b + f64::from(ahead.n_throws) + real_n;
            survival *= c / (self.a + c);
            let term = pmf * capped;
            sum += term;
            k += 1.0;
            let fall = z * k * inverse;
            if term * fall <= TAIL * (1.0 - fall) * sum {
                return sum;
            }
            n += 1;
        }
        self.by_quadrature(ahead)
    }

    /// E over p ~ Beta(a, b + throws) of (1 - (1 + p c)^-k) / p.
    fn by_quadrature(&self, ahead: &Ahead) -> f64 {
        let (a, b) = (self.a, self.b + f64::from(ahead.n_throws));
        let size = f64::max(a + b, 1.0);
        // Below this log odds the gain is k c to the last digit, above the other one it is that
        // of p = 1.
        let flat = -40.0 - size.max(ahead.shape * ahead.odds).max(ahead.odds).ln();
        let full = 40.0 + size.max(ahead.shape).ln();
        BetaMean { a, b, flat, full }
            .of(|p, _| -(-ahead.shape * (p * ahead.odds).ln_1p()).exp_m1() / p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_and_quadrature_agree() {
        let mut n_compared = 0;
        for a in [1e-9, 1e-3, 0.05, 0.8, 1.0, 3.0, 40.0, 1e5, 1e12] {
            for b in [1e-6, 0.05, 2.4, 60.0, 900.0, 1e5, 1e12] {
                for shape in [1e-6, 0.05, 0.24, 3.0, 60.0, 900.0, 1e5] {
                    for odds in [1e-9, 1e-3, 0.3, 1.0, 9.0] {
                        for n_throws in [0, 1, 40] {
                            let none_prob = (-shape * f64::ln_1p(odds)).exp();
                            let ahead = Ahead { shape, odds, none_prob, n_throws };
                            if !ahead.is_short() {
                                continue;
                            }
                            n_compared += 1;
                            let dropout = Dropout::new(a, b);
                            let series = dropout.by_series(&ahead);
                            let longer = Ahead { odds: 2.0 * odds, ..ahead };
                            let one_by_one = [&ahead, &longer].map(|of| dropout.expected_min(of));
                            let at_once = dropout.expected_min_two([&ahead, &longer]);
                            assert_eq!(at_once.map(f64::to_bits), one_by_one.map(f64::to_bits));
                            let nodes = dropout.by_quadrature(&ahead);
                            // A million in a or b costs the log weights some digits.
                            let tolerance = 3e-13 + 1e-16 * a.min(b).max(shape);
                            let off = (series / nodes - 1.0).abs();
                            assert!(
                                off < tolerance,
                                "a {a} b {b} {ahead:?}: {series} {nodes} {off:e}"
                            );
                        }
                    }
                }
            }
        }
        assert!(n_compared > 3_000);
    }

    #[test]
    fn without_dropout_it_is_the_mean_of_n() {
        let ahead = Ahead { shape: 2.5, odds: 0.7, none_prob: 1.7_f64.powf(-2.5), n_throws: 0 };
        let found = Dropout::new(1e-15, 1.0).expected_min(&ahead);
        assert!((found - 1.75).abs() < 1e-12, "{found}");
    }

    #[test]
    fn certain_dropout_leaves_one_purchase_at_most() {
        let ahead = Ahead { shape: 2.5, odds: 0.7, none_prob: 1.7_f64.powf(-2.5), n_throws: 0 };
        let found = Dropout::new(1e15, 1.0).expected_min(&ahead);
        assert!((found - (1.0 - ahead.none_prob)).abs() < 1e-13, "{found}");
    }
}
