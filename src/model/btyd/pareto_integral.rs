//! The one integral of Pareto/NBD, without a hypergeometric function.
//!
//! In: a stretch of time and the exponents of (alpha + u) and (beta + u). Out: nodes and weights
//! that integrate (alpha + u)^-p (beta + u)^-q, relative to its value at the start, to about 14
//! digits; smooth factors (derivatives) may be summed over the same nodes. The integrand falls
//! from 1, so nothing overflows. It deliberately knows no customer and no parameter names.

use super::special::gauss_legendre;

/// A stretch of time on which to integrate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Exponent p of (alpha + u).
    pub(super) alpha_power: f64,
    /// Exponent q of (beta + u).
    pub(super) beta_power: f64,
    /// alpha + u at the start; positive.
    pub(super) alpha_from: f64,
    /// beta + u at the start; positive.
    pub(super) beta_from: f64,
    /// Length of the stretch; at least 0.
    pub(super) weeks: f64,
}

/// One node of the quadrature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Time since the start of the stretch.
    pub(super) weeks: f64,
    /// ln((alpha + u) / (alpha + u at the start)).
    pub(super) alpha_log: f64,
    /// The same of beta.
    pub(super) beta_log: f64,
    /// Integrand (relative to the start) times quadrature weight.
    pub(super) weight: f64,
}

/// Widest panel in ln(u + the smaller of alpha and beta): the nearest singularity is pi away.
const PANEL_LOG_MAX: f64 = 3.0;
/// Largest fall of the integrand's logarithm over a panel that 16 nodes follow to the last digit.
const PANEL_FALL_MAX: f64 = 14.0;
/// Relative size of the neglected tail.
const TAIL: f64 = 1e-17;

impl Stretch {
    /// Distances at y = ln((c + u) / (c + start)), c being the smaller of alpha and beta.
    fn at(&self, y: f64) -> Node {
        if self.alpha_from <= self.beta_from {
            let weeks = self.alpha_from * y.exp_m1();
            let beta_log = (weeks / self.beta_from).ln_1p();
            Node { weeks, alpha_log: y, beta_log, weight: self.alpha_from + weeks }
        } else {
            let weeks = self.beta_from * y.exp_m1();
            let alpha_log = (weeks / self.alpha_from).ln_1p();
            Node { weeks, alpha_log, beta_log: y, weight: self.beta_from + weeks }
        }
    }

    fn fall(&self, node: &Node) -> f64 {
        self.alpha_power * node.alpha_log + self.beta_power * node.beta_log
    }

    /// The integral over its value at the start, in weeks; calls `visit` with every node.
    pub(super) fn integrate(&self, mut visit: impl FnMut(&Node)) -> f64 {
        let near = f64::min(self.alpha_from, self.beta_from);
        let end = (self.weeks / near).ln_1p();
        let (mut sum, mut from, mut fall_from) = (0.0, 0.0, 0.0);
        while from < end {
            let mut to = f64::min(end, from + PANEL_LOG_MAX);
            let mut fall_to = self.fall(&self.at(to));
            let fall = fall_to - fall_from;
            if fall > PANEL_FALL_MAX {
                // The fall is convex in y, so the shorter panel falls by no more than wanted.
                to = from + (to - from) * PANEL_FALL_MAX / fall;
                fall_to = self.fall(&self.at(to));
            }
            if to <= from {
                break;
            }
            gauss_legendre(from, to, |y, weight| {
                let mut node = self.at(y);
                node.weight *= weight * (-self.fall(&node)).exp();
                sum += node.weight;
                visit(&node);
            });
            if (-fall_to).exp() * self.weeks < TAIL * sum {
                break;
            }
            from = to;
            fall_from = fall_to;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scales_have_a_closed_form() {
        for (power, from, weeks) in
            [(1.5, 10.0, 39.0), (5_000.0, 10.0, 700.0), (1.05, 1e-3, 1e4), (3.0, 1e3, 1e-6)]
        {
            let stretch = Stretch {
                alpha_power: 0.25 * power,
                beta_power: 0.75 * power,
                alpha_from: from,
                beta_from: from,
                weeks,
            };
            let want = -from * (-(power - 1.0) * f64::ln_1p(weeks / from)).exp_m1() / (power - 1.0);
            let off = (stretch.integrate(|_| ()) / want - 1.0).abs();
            assert!(off < 2e-14, "{stretch:?} is off by {off:e}");
        }
    }

    #[test]
    fn two_halves_make_the_whole() {
        for alpha in [1e-3, 1.0, 30.0, 1e6] {
            for beta in [1e-3, 2.0, 1e3, 1e7] {
                for (p, q) in [(0.05, 1.05), (3.0, 2.0), (400.0, 1.01), (0.5, 900.0), (300.0, 9e3)]
                {
                    let stretch = |from: f64, weeks| Stretch {
                        alpha_power: p,
                        beta_power: q,
                        alpha_from: alpha + from,
                        beta_from: beta + from,
                        weeks,
                    };
                    let cut = 0.37;
                    let whole = stretch(0.0, 100.0).integrate(|_| ());
                    let first = stretch(0.0, cut);
                    let node = Node {
                        weeks: cut,
                        alpha_log: (cut / alpha).ln_1p(),
                        beta_log: (cut / beta).ln_1p(),
                        weight: 0.0,
                    };
                    let left = (-first.fall(&node)).exp();
                    let parts = first.integrate(|_| ())
                        + left * stretch(cut, 100.0 - cut).integrate(|_| ());
                    let off = (parts / whole - 1.0).abs();
                    assert!(off < 3e-13, "alpha {alpha} beta {beta} p {p} q {q}: off by {off:e}");
                }
            }
        }
    }
}
