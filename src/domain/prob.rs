//! Probabilities.

use thiserror::Error;

/// A number that is no probability.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{found} is not a probability: it must lie in [0, 1]")]
pub struct ProbabilityError {
    /// The number found.
    pub found: f64,
}

/// A number in [0, 1]; never NaN (invariant D-1).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// Takes a number in [0, 1].
    ///
    /// # Errors
    /// [`ProbabilityError`] outside that range or for NaN.
    pub fn try_new(number: f64) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(ProbabilityError { found: number })
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unit_interval_is_a_probability() {
        for good in [0.0, 0.5, 1.0] {
            assert!((Probability::try_new(good).unwrap().get() - good).abs() < f64::EPSILON);
        }
        for bad in [-1e-9, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
            assert!(Probability::try_new(bad).is_err());
        }
    }
}
