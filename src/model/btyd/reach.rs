//! P(the n-th purchase ahead comes in time).
//!
//! In: the shape k of the purchase rate, the odds h / A of the horizon, and how likely the
//! customer is to live until a given time. Out: a probability. The time y to the n-th purchase
//! has y / (A + y) ~ Beta(n, k). It deliberately knows no model.

use statrs::function::beta::checked_beta_reg;

use super::special::gauss_legendre;
use super::special::ln_gamma;
use super::special::softplus;

/// Up to here the continued fraction of the incomplete beta function has enough steps.
const FRACTION_MAX: f64 = 2_000.0;

/// P(n-th purchase within the horizon) of a customer who never leaves: N >= n.
pub(super) fn reach_prob(n: u32, shape: f64, odds: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    if odds <= 0.0 {
        return 0.0;
    }
    reach_prob_real(f64::from(n), shape, odds)
}

/// The same for any n > 0, as if purchases could be counted in parts; `odds` above 0.
pub(super) fn reach_prob_real(n: f64, shape: f64, odds: f64) -> f64 {
    if n + shape <= FRACTION_MAX
        && let Ok(prob) = checked_beta_reg(n, shape, odds / (1.0 + odds))
        && prob.is_finite()
    {
        return prob.clamp(0.0, 1.0);
    }
    integrate(n, shape, odds, |_| 1.0)
}

/// P(n-th purchase within the horizon, and alive then), where `lives(y / A)` is the probability
/// of living to time y.
pub(super) fn reach_alive_prob(n: u32, shape: f64, odds: f64, lives: impl Fn(f64) -> f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    if odds <= 0.0 {
        return 0.0;
    }
    integrate(f64::from(n), shape, odds, lives)
}

/// A sum over v = ln(y / A), on which the density is one smooth hill with exponential flanks.
fn integrate(n: f64, k: f64, odds: f64, lives: impl Fn(f64) -> f64) -> f64 {
    let log_norm = ln_gamma(n + k) - ln_gamma(n) - ln_gamma(k);
    let (top, sd) = ((n / k).ln(), (1.0 / n + 1.0 / k).sqrt());
    let end = f64::min(odds.ln(), top + 8.0 * sd + 32.0 / k);
    // Left of the hill (or of an end before it) the density falls like exp(n v).
    let start = f64::min(top - 8.0 * sd, end) - 32.0 / n;
    let n_panels = ((end - start) / f64::min(2.0, 2.5 * sd)).ceil().clamp(1.0, 4_096.0);
    let width = (end - start) / n_panels;
    let (mut sum, mut i) = (0.0, 0.0);
    while i < n_panels {
        let from = start + i * width;
        gauss_legendre(from, from + width, |v, weight| {
            let log_density = log_norm - n * softplus(-v) - k * softplus(v);
            sum += weight * log_density.exp() * lives(v.exp());
        });
        i += 1.0;
    }
    sum.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        for n in [1, 2, 10, 300] {
            for shape in [0.05, 0.8, 5.0, 700.0] {
                for odds in [1e-6, 0.01, 0.5, 2.0, 50.0, 1e6] {
                    let (fraction, nodes) =
                        (reach_prob(n, shape, odds), reach_alive_prob(n, shape, odds, |_| 1.0));
                    assert!(
                        (fraction - nodes).abs() < 1e-10,
                        "{n} {shape} {odds}: {fraction} {nodes}"
                    );
                }
            }
        }
    }

    #[test]
    fn busy_customers_follow_the_normal_law() {
        // A million expected purchases from a shape of a million: the median is near the mean.
        let median = reach_prob(1_000_000, 1e6, 1.0);
        assert!((median - 0.5).abs() < 1e-3, "{median}");
    }
}
