//! The weighted mean of several models' probabilities, taken on the logit scale.
//!
//! On that scale a model that is sure moves the mean more than one that is not, and the result
//! stays a probability. It deliberately learns no weights: which blend is used is decided by
//! backtests.

use thiserror::Error;

use super::link::{logit, sigmoid};

/// Why weights make no blend.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum BlendError {
    /// No member.
    #[error("a blend needs at least one member")]
    Empty,
    /// A weight that is negative or not finite.
    #[error("weight {found} of member {member} is not a finite number of at least 0")]
    Weight {
        /// Position of the member.
        member: usize,
        /// Its weight.
        found: f64,
    },
    /// All weights are 0, or their sum is not finite.
    #[error("the weights sum to {sum}: the sum must be positive and finite")]
    Sum {
        /// The sum.
        sum: f64,
    },
}

/// Weights of the members, summing to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    weights: Vec<f64>,
}

impl Blend {
    /// Takes weights >= 0 of any positive sum.
    ///
    /// # Errors
    /// [`BlendError`] for no weights, a weight out of range, or a sum of 0.
    pub fn try_new(weights: &[f64]) -> Result<Self, BlendError> {
        if weights.is_empty() {
            return Err(BlendError::Empty);
        }
        for (member, &found) in weights.iter().enumerate() {
            if !(found.is_finite() && found >= 0.0) {
                return Err(BlendError::Weight { member, found });
            }
        }
        let sum: f64 = weights.iter().sum();
        if !(sum.is_finite() && sum > 0.0) {
            return Err(BlendError::Sum { sum });
        }
        Ok(Self { weights: weights.iter().map(|w| w / sum).collect() })
    }

    /// Weights, in [0, 1] and summing to 1.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Weighted mean of one logit a member; NaN for another number of logits than members. A
    /// member of weight 0 is not looked at.
    #[must_use]
    pub fn logit(&self, logits: &[f64]) -> f64 {
        if logits.len() != self.weights.len() {
            return f64::NAN;
        }
        let used = self.weights.iter().zip(logits).filter(|(weight, _)| **weight > 0.0);
        used.map(|(weight, z)| weight * z).sum()
    }

    /// Blend of one probability a member, each clamped first; NaN as for [`Blend::logit`].
    #[must_use]
    pub fn prob(&self, probs: &[f64]) -> f64 {
        let logits: Vec<f64> = probs.iter().map(|&p| logit(p)).collect();
        sigmoid(self.logit(&logits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blend_is_the_geometric_mean_of_the_odds() {
        let blend = Blend::try_new(&[1.0, 3.0]).unwrap();
        let odds = (0.2_f64 / 0.8).powf(0.25) * (0.6_f64 / 0.4).powf(0.75);
        assert!((blend.prob(&[0.2, 0.6]) - odds / (1.0 + odds)).abs() < 1e-14);
        assert!(blend.prob(&[0.2]).is_nan());
        let first = Blend::try_new(&[2.0, 0.0]).unwrap();
        assert!((first.prob(&[0.3, f64::NAN]) - 0.3).abs() < 1e-14);
    }

    #[test]
    fn senseless_weights_are_refused() {
        assert_eq!(Blend::try_new(&[]), Err(BlendError::Empty));
        assert_eq!(Blend::try_new(&[0.0, 0.0]), Err(BlendError::Sum { sum: 0.0 }));
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            let found = Blend::try_new(&[1.0, bad]);
            assert!(matches!(found, Err(BlendError::Weight { member: 1, .. })));
        }
    }
}
