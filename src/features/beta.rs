//! The regularised incomplete beta function, fast enough to ask for each customer.
//!
//! In: two shapes above 0 and a point in [0, 1]. Out: the probability that a Beta variable lies
//! below the point. It deliberately takes no logarithm of the result: the heartbeat asks for
//! probabilities near 0.7 and 0.95, not for tails.

use libm::{exp, lgamma, log, log1p};

/// Terms of the continued fraction; for shapes up to 10^6 some hundreds are enough.
const TERMS_MAX: u32 = 2_000;
/// Relative change at which the fraction has settled.
const SETTLED: f64 = 1e-13;
/// Relative change at which the fraction is as good as settled, for probabilities that lie apart
/// from a limit by a thousand times as much.
const NEARLY_SETTLED: f64 = 1e-6;
const APART: f64 = 1e-3;
/// Stands in for a zero denominator.
const TINY: f64 = 1e-300;

/// A Beta distribution with shapes above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beta {
    a: f64,
    b: f64,
    /// ln(1 / B(a, b)).
    log_scale: f64,
}

impl Beta {
    pub(crate) fn new(a: f64, b: f64) -> Self {
        Self { a, b, log_scale: lgamma(a + b) - lgamma(a) - lgamma(b) }
    }

    /// P(X <= at): I_at(a, b); points beyond [0, 1] are cut to it.
    ///
    /// The continued fraction of DLMF 8.17.22, evaluated from the front (modified Lentz), on the
    /// side where it converges fast; the other side by I_x(a, b) = 1 - I_{1-x}(b, a).
    pub(crate) fn cdf(&self, at: f64) -> f64 {
        self.cdf_until(at, |_| false)
    }

    /// The same where only its side of some limits is asked for: as many digits as that takes.
    pub(crate) fn cdf_beside(&self, at: f64, limits: [f64; 2]) -> f64 {
        self.cdf_until(at, |prob| limits.iter().all(|limit| (prob - limit).abs() > APART))
    }

    /// `is_enough` is told of probabilities that are near the last one already.
    fn cdf_until(&self, at: f64, is_enough: impl Fn(f64) -> bool) -> f64 {
        let Self { a, b, log_scale } = *self;
        if at.is_nan() || a.is_nan() || b.is_nan() {
            return f64::NAN;
        }
        if at <= 0.0 {
            return 0.0;
        }
        if at >= 1.0 {
            return 1.0;
        }
        let front = exp(log_scale + a * log(at) + b * log1p(-at));
        let below = if at <= (a + 1.0) / (a + b + 2.0) {
            front * fraction(at, a, b, |value| is_enough(front * value / a)) / a
        } else {
            1.0 - front * fraction(1.0 - at, b, a, |value| is_enough(1.0 - front * value / b)) / b
        };
        below.clamp(0.0, 1.0)
    }
}

fn fraction(x: f64, a: f64, b: f64, is_enough: impl Fn(f64) -> bool) -> f64 {
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for term in 1..=TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / nonzero(1.0 + even * d);
        c = nonzero(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / nonzero(1.0 + odd * d);
        c = nonzero(1.0 + odd / c);
        let step = d * c;
        value *= step;
        let change = (step - 1.0).abs();
        if change < SETTLED || (change < NEARLY_SETTLED && is_enough(value)) {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beta_cdf(at: f64, a: f64, b: f64) -> f64 {
        Beta::new(a, b).cdf(at)
    }

    /// What the replay of the heartbeat goes by.
    #[test]
    fn fewer_digits_tell_the_same_side() {
        for a in [0.5, 0.9, 1.7, 3.5, 20.0, 150.5, 4000.5] {
            for b in [0.5, 1.3, 5.5, 40.25, 900.0, 20_000.5] {
                for at in (1..400).map(|step| f64::from(step) / 400.0) {
                    let beta = Beta::new(a, b);
                    let (all, few) = (beta.cdf(at), beta.cdf_beside(at, [0.7, 0.95]));
                    assert!((all - few).abs() < APART / 10.0, "{at} {a} {b}: {all} {few}");
                    for limit in [0.7, 0.95] {
                        assert_eq!(all >= limit, few >= limit, "{at} {a} {b}: {all} {few}");
                    }
                }
            }
        }
    }

    #[test]
    fn it_agrees_with_an_independent_implementation() {
        for a in [0.5, 0.7, 1.0, 3.5, 20.0, 150.5, 4000.5] {
            for b in [0.5, 1.0, 5.5, 40.25, 900.0, 20_000.5] {
                for at in [1e-6, 0.05, 0.2, 0.210_5, 0.294, 0.5, 0.9, 0.999] {
                    let (ours, theirs) =
                        (beta_cdf(at, a, b), statrs::function::beta::beta_reg(a, b, at));
                    assert!((ours - theirs).abs() < 1e-9, "{at} {a} {b}: {ours} {theirs}");
                }
            }
        }
    }

    #[test]
    fn closed_forms_come_out() {
        for at in [0.0, 0.1, 0.5, 0.77, 1.0] {
            assert!((beta_cdf(at, 1.0, 1.0) - at).abs() < 1e-14);
            assert!((beta_cdf(at, 3.0, 1.0) - at.powi(3)).abs() < 1e-13);
            let arcsine = 2.0 / std::f64::consts::PI * at.sqrt().asin();
            assert!((beta_cdf(at, 0.5, 0.5) - arcsine).abs() < 1e-12);
        }
        assert!(beta_cdf(f64::NAN, 1.0, 1.0).is_nan());
    }

    /// What lets the heartbeat skip the function for most customers.
    #[test]
    fn less_than_the_leave_probability_lies_on_either_side_of_the_mean() {
        for a in [0.5, 0.6, 0.8, 1.0, 1.5, 2.5, 6.5, 30.5, 1000.5] {
            for b in [0.5, 0.6, 0.8, 1.0, 1.5, 2.5, 6.5, 30.5, 1000.5, 1e6] {
                let below = beta_cdf(a / (a + b), a, b);
                assert!((0.317..0.683).contains(&below), "{a} {b}: {below}");
            }
        }
    }
}
