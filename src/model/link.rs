//! Probabilities and their logits.
//!
//! Everything is `f64`. A probability that a model hands out is never closer to 0 or 1 than
//! [`PROB_MIN`]: no finite number of rows can justify more, and the log loss of one wrong certainty
//! would outweigh thousands of good predictions.

/// Smallest probability a model states; the largest is `1 - PROB_MIN`.
pub const PROB_MIN: f64 = 1e-6;

/// Moves a probability into [`PROB_MIN`, `1 - PROB_MIN`]; NaN stays NaN.
#[must_use]
pub const fn clamp_prob(prob: f64) -> f64 {
    prob.clamp(PROB_MIN, 1.0 - PROB_MIN)
}

/// `ln(p / (1 - p))` of the clamped probability; finite for every input but NaN.
#[must_use]
pub fn logit(prob: f64) -> f64 {
    let p = clamp_prob(prob);
    libm::log(p) - libm::log1p(-p)
}

/// `1 / (1 + exp(-z))` without overflow, not clamped: in [0, 1], NaN for NaN.
#[must_use]
pub fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + libm::exp(-z))
    } else {
        let e = libm::exp(z);
        e / (1.0 + e)
    }
}

/// `ln(1 + exp(z))` without overflow: the log loss of a negative row with logit `z`.
pub(super) fn softplus(z: f64) -> f64 {
    if z > 0.0 { z + libm::log1p(libm::exp(-z)) } else { libm::log1p(libm::exp(z)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logit_and_sigmoid_undo_each_other() {
        for p in [PROB_MIN, 1e-3, 0.25, 0.5, 0.9, 1.0 - PROB_MIN] {
            assert!((sigmoid(logit(p)) - p).abs() < 1e-15);
        }
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays_nan() {
        assert!((logit(0.0) - logit(PROB_MIN)).abs() < f64::EPSILON);
        assert!(logit(1.0).is_finite() && logit(-3.0).is_finite());
        assert!(sigmoid(-1e300).abs() < f64::EPSILON && (sigmoid(1e300) - 1.0).abs() < 1e-15);
        assert!(logit(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
        assert!((softplus(800.0) - 800.0).abs() < 1e-12 && softplus(-800.0).abs() < 1e-300);
        assert!((softplus(0.0) - 2.0_f64.ln()).abs() < 1e-15);
    }
}
