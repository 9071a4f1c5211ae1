//! The mean of a function of a probability that follows a Beta distribution.
//!
//! In: the two shapes, and a function of p and 1 - p that is positive, at most about 1 / p and
//! constant near both ends. Out: its mean, to about 13 digits. It deliberately knows no model.
//!
//! The trapezoidal rule over the log odds u of p: the integrand falls off exponentially both ways
//! and is analytic in a strip, so equal steps converge exponentially. The density is normalised
//! by the same sum. Beyond the ends, where the function is constant, the rest is a geometric
//! series.

use super::special::logistic;
use super::special::softplus;

/// A Beta distribution with the log odds between which the function still changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BetaMean {
    /// First shape.
    pub(super) a: f64,
    /// Second shape.
    pub(super) b: f64,
    /// Below this log odds of p the function is constant to the last digit, and 1 - p is 1.
    pub(super) flat: f64,
    /// Above this log odds it is constant again (or negligible), and p is 1.
    pub(super) full: f64,
}

impl BetaMean {
    /// The mean of `gain(p, 1 - p)`.
    pub(super) fn of(&self, gain: impl Fn(f64, f64) -> f64) -> f64 {
        let Self { a, b, flat, full } = *self;
        let log_weight = |u: f64| -a * softplus(-u) - b * softplus(u);
        let at = |u: f64| gain(logistic(u).max(f64::MIN_POSITIVE), logistic(-u));
        let top = (a / b).ln();
        let log_top = log_weight(top);
        let p_top = logistic(top);
        let step = f64::min(0.2, 0.4 * ((a + b) / (a * b)).sqrt());

        let weight = (log_weight(top) - log_top).exp();
        let (mut sum, mut norm) = (weight * at(top), weight);
        let mut u = top;
        loop {
            u -= step;
            let log_w = log_weight(u) - log_top;
            let (weight, value) = (log_w.exp(), at(u));
            sum += weight * value;
            norm += weight;
            if u < flat {
                let rest = geometric_rest(a * step);
                sum += weight * value * rest;
                norm += weight * rest;
                break;
            }
            // The gain grows at most like 1 / p leftwards.
            let p = logistic(u).max(f64::MIN_POSITIVE);
            if log_w + (p_top / p).ln() < -46.0 {
                break;
            }
        }
        let mut u = top;
        loop {
            u += step;
            let weight = (log_weight(u) - log_top).exp();
            let value = at(u);
            sum += weight * value;
            norm += weight;
            if u > full {
                let rest = geometric_rest(b * step);
                sum += weight * value * rest;
                norm += weight * rest;
                break;
            }
            if weight * value < 1e-20 * sum && weight < 1e-20 * norm {
                break;
            }
        }
        sum / norm
    }
}

/// The mean of (1 - p) / (rate + p): the discounted number of periods that a customer with
/// dropout probability p has ahead, the first one discounted once. `rate` is positive.
pub(super) fn discounted_periods(a: f64, b: f64, rate: f64) -> f64 {
    let size = f64::max(a + b, 1.0).ln();
    let flat = -40.0 - size + rate.min(1.0).ln();
    BetaMean { a, b, flat, full: 40.0 + size }.of(|p, stay| stay / (rate + p))
}

/// e^-d + e^-2d + ...
fn geometric_rest(d: f64) -> f64 {
    1.0 / d.exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same mean by summing rate-discounted survival, period by period.
    #[test]
    fn discounted_periods_are_the_sum_of_discounted_survival() {
        for (a, b) in [(0.657, 2.783), (1e-6, 0.3), (0.05, 60.0), (40.0, 0.2), (1.0, 1.0)] {
            for rate in [1e-3, 0.1, 3.0] {
                let (mut sum, mut alive, mut factor, mut i) = (0.0, 1.0, 1.0, 0.0);
                while factor > 1e-18 {
                    alive *= (b + i) / (a + b + i);
                    factor /= 1.0 + rate;
                    sum += alive * factor;
                    i += 1.0;
                }
                let found = discounted_periods(a, b, rate);
                assert!((found / sum - 1.0).abs() < 3e-13, "{a} {b} {rate}: {found} {sum}");
            }
        }
    }
}
