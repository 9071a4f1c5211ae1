//! Weights of the stacked candidates: how much the closed form, the regression and the trees count.
//!
//! In: weights that a backtest fitted. Out: a checked type that bundles store bit by bit. For churn
//! they average log-odds, so contributions stay additive; for value they average means.
//! It deliberately fits nothing: that takes predictions of several windows.

use super::blend::BlendError;

/// Number of members: the closed form, the regression, the trees.
pub const STACK_MEMBERS: usize = 3;
/// How far the sum may be from 1: weights are stored as they are, never normalised again.
const SUM_TOLERANCE: f64 = 1e-9;

/// Weights of the closed form, the regression and the trees, each in [0, 1], summing to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StackWeights([f64; STACK_MEMBERS]);

impl StackWeights {
    /// Half the regression, half the trees: the plain blend.
    pub const BLEND: Self = Self([0.0, 0.5, 0.5]);

    /// Takes weights >= 0 that sum to 1.
    ///
    /// # Errors
    /// [`BlendError`] for a weight out of range or another sum.
    pub fn try_new(weights: [f64; STACK_MEMBERS]) -> Result<Self, BlendError> {
        for (member, &found) in weights.iter().enumerate() {
            if !(found.is_finite() && found >= 0.0) {
                return Err(BlendError::Weight { member, found });
            }
        }
        let sum: f64 = weights.iter().sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(BlendError::Sum { sum });
        }
        Ok(Self(weights))
    }

    /// The weights, in the order of the members.
    #[must_use]
    pub const fn weights(self) -> [f64; STACK_MEMBERS] {
        self.0
    }

    /// Whether a member counts at all.
    #[must_use]
    pub fn uses(self, member: usize) -> bool {
        self.0.get(member).is_some_and(|&weight| weight > 0.0)
    }

    /// Weighted sum; a member of weight 0 is not asked.
    pub(super) fn sum(self, members: [&dyn Fn() -> f64; STACK_MEMBERS]) -> f64 {
        let used = self.0.iter().zip(members).filter(|(weight, _)| **weight > 0.0);
        used.map(|(weight, member)| weight * member()).sum()
    }

    /// As much of these weights as there is evidence for, the rest of others; `share` in [0, 1].
    #[must_use]
    pub fn shrunk(self, to: Self, share: f64) -> Self {
        let mut weights = self.0;
        for (weight, other) in weights.iter_mut().zip(to.0) {
            *weight = share * *weight + (1.0 - share) * other;
        }
        Self(weights)
    }
}

impl Default for StackWeights {
    fn default() -> Self {
        Self::BLEND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_unused_members_are_not_asked() {
        let weights = StackWeights::try_new([0.25, 0.0, 0.75]).unwrap();
        let never = || -> f64 { unreachable!("weight 0") };
        let found = weights.sum([&|| 4.0, &never, &|| 8.0]);
        assert!((found - 7.0).abs() < 1e-15);
        assert!(weights.uses(0) && !weights.uses(1) && !weights.uses(3));
        let half = weights.shrunk(StackWeights::BLEND, 0.5).weights();
        assert!(half.iter().zip([0.125, 0.25, 0.625]).all(|(a, b)| (a - b).abs() < 1e-15));
    }

    #[test]
    fn other_sums_and_negative_weights_are_refused() {
        assert!(matches!(StackWeights::try_new([0.5; 3]), Err(BlendError::Sum { .. })));
        for bad in [-0.5, f64::NAN] {
            let found = StackWeights::try_new([1.0, bad, 0.5]);
            assert!(matches!(found, Err(BlendError::Weight { member: 1, .. })));
        }
    }
}
