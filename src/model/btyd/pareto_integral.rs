//! The one integral of Pareto/NBD, without a hypergeometric function.
//!
//! In: a stretch of time and the exponents of (alpha + u) and (beta + u). Out: nodes and weights
//! that integrate (alpha + u)^-p (beta + u)^-q, relative to its value at the start, to 12 digits
//! or more; smooth factors (derivatives) may be summed over the same nodes. The integrand falls
//! from 1, so nothing overflows. It deliberately knows no customer and no parameter names.

use super::special::Nodes;
use super::special::gauss_legendre_of;

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

/// Exponents up to this leave 12 digits where ln and exp lose their last one near 1; beyond it
/// the slower exp(y) - 1 and ln(1 + y) are used.
const PLAIN_POWER_MAX: f64 = 1_000.0;

/// Nodes enough for an error below 5e-13 on a panel of some width and fall; measured over
/// 400,000 random panels of exponents and ratios of alpha and beta.
fn nodes(width: f64, fall: f64) -> Nodes {
    if width <= 0.5 && fall <= 1.0 {
        Nodes::Six
    } else if (width <= 1.0 && fall <= 4.0) || (width <= 1.25 && fall <= 2.0) {
        Nodes::Eight
    } else if (width <= 1.5 && fall <= 8.0) || (width <= 2.0 && fall <= 4.0) {
        Nodes::Ten
    } else if width <= 2.0 || (width <= 2.5 && fall <= 6.0) {
        Nodes::Twelve
    } else {
        Nodes::Sixteen
    }
}

/// A stretch seen from the smaller of alpha and beta.
struct Near {
    near: f64,
    near_power: f64,
    far: f64,
    far_power: f64,
}

impl Near {
    /// c + u at y = ln((c + u) / (c + start)), with the logarithm of the same ratio of the other.
    fn at<const EXACT: bool>(&self, y: f64) -> (f64, f64) {
        if EXACT {
            let weeks = self.near * y.exp_m1();
            (self.near + weeks, (weeks / self.far).ln_1p())
        } else {
            let grown = self.near * y.exp();
            (grown, ((self.far + (grown - self.near)) / self.far).ln())
        }
    }

    fn fall(&self, y: f64, far_log: f64) -> f64 {
        self.near_power * y + self.far_power * far_log
    }

    /// Calls `visit(y, c + u, logarithm of the other, weight)` with every node.
    fn integrate<const EXACT: bool>(
        &self,
        weeks: f64,
        mut visit: impl FnMut(f64, f64, f64, f64),
    ) -> f64 {
        let end = (weeks / self.near).ln_1p();
        let (mut sum, mut from, mut fall_from) = (0.0, 0.0, 0.0);
        while from < end {
            let mut to = f64::min(end, from + PANEL_LOG_MAX);
            let mut fall_to = self.fall(to, self.at::<EXACT>(to).1);
            let fall = fall_to - fall_from;
            if fall > PANEL_FALL_MAX {
                // The fall is convex in y, so the shorter panel falls by no more than wanted.
                to = from + (to - from) * PANEL_FALL_MAX / fall;
                fall_to = self.fall(to, self.at::<EXACT>(to).1);
            }
            if to <= from {
                break;
            }
            let nodes = nodes(to - from, fall_to - fall_from);
            gauss_legendre_of(nodes, from, to, |y, weight| {
                let (grown, far_log) = self.at::<EXACT>(y);
                let weight = weight * grown * (-self.fall(y, far_log)).exp();
                sum += weight;
                visit(y, grown, far_log, weight);
            });
            if to >= end || (-fall_to).exp() * weeks < TAIL * sum {
                break;
            }
            from = to;
            fall_from = fall_to;
        }
        sum
    }
}

impl Stretch {
    /// The integral over its value at the start, in weeks; calls `visit` with every node.
    pub(super) fn integrate(&self, visit: impl FnMut(&Node)) -> f64 {
        if self.alpha_power <= PLAIN_POWER_MAX && self.beta_power <= PLAIN_POWER_MAX {
            self.integrate_with::<false>(visit)
        } else {
            self.integrate_with::<true>(visit)
        }
    }

    fn integrate_with<const EXACT: bool>(&self, mut visit: impl FnMut(&Node)) -> f64 {
        if self.alpha_from <= self.beta_from {
            let near = Near {
                near: self.alpha_from,
                near_power: self.alpha_power,
                far: self.beta_from,
                far_power: self.beta_power,
            };
            near.integrate::<EXACT>(self.weeks, |alpha_log, grown, beta_log, weight| {
                visit(&Node { weeks: grown - self.alpha_from, alpha_log, beta_log, weight });
            })
        } else {
            let near = Near {
                near: self.beta_from,
                near_power: self.beta_power,
                far: self.alpha_from,
                far_power: self.alpha_power,
            };
            near.integrate::<EXACT>(self.weeks, |beta_log, grown, alpha_log, weight| {
                visit(&Node { weeks: grown - self.beta_from, alpha_log, beta_log, weight });
            })
        }
    }

    #[cfg(test)]
    fn fall(&self, node: &Node) -> f64 {
        self.alpha_power * node.alpha_log + self.beta_power * node.beta_log
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
            assert!(off < 1e-12, "{stretch:?} is off by {off:e}");
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
                    assert!(off < 1e-12, "alpha {alpha} beta {beta} p {p} q {q}: off by {off:e}");
                }
            }
        }
    }
}
