//! The traffic light of churn risk.
//!
//! In: a calibrated churn probability and two cut points. Out: green, amber or red. The cut points
//! are absolute probabilities found once from a reference sample and then frozen, so a customer's
//! tier depends on that customer alone. It deliberately does not apply the policy's overrides:
//! `decide` does, and they only ever raise.

use std::fmt;

use thiserror::Error;

/// A risk tier; a greater one is riskier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// Happy: very unlikely to leave.
    Green = 1,
    /// Cooling, or an open issue that is not critical.
    Amber = 2,
    /// Serious risk.
    Red = 3,
}

impl Tier {
    /// All tiers, rising.
    pub const ALL: [Self; 3] = [Self::Green, Self::Amber, Self::Red];

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Amber => "amber",
            Self::Red => "red",
        }
    }

    /// The reason code of a tier that comes from the model alone.
    #[must_use]
    pub const fn model_reason(self) -> &'static str {
        match self {
            Self::Green => "MODEL_GREEN",
            Self::Amber => "MODEL_AMBER",
            Self::Red => "MODEL_RED",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why no cut points can be found.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TierError {
    /// No score to find the shares of.
    #[error(
        "found no reference score, a sample of churn probabilities is needed to find the top shares"
    )]
    NoScore,
    /// A reference score is no probability.
    #[error("reference score {row} is {found}, a probability in [0, 1] is needed")]
    NotProbability {
        /// Position in the sample.
        row: usize,
        /// The value.
        found: f64,
    },
    /// The shares are no shares.
    #[error(
        "red_share {red_share} and amber_share {amber_share} must be >= 0 and together at most 1"
    )]
    BadShares {
        /// Share of red.
        red_share: f64,
        /// Share of amber.
        amber_share: f64,
    },
}

/// Absolute probabilities at which a tier begins, `amber_prob <= red_prob`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierCuts {
    /// At or above: red. May lie above 1: nobody is red.
    pub red_prob: f64,
    /// At or above: amber, unless red. May lie above 1: nobody is amber.
    pub amber_prob: f64,
}

impl TierCuts {
    /// The tier of a churn probability: monotone, and equal probabilities have equal tiers.
    #[must_use]
    pub fn tier(&self, churn_prob: f64) -> Tier {
        if churn_prob >= self.red_prob {
            Tier::Red
        } else if churn_prob >= self.amber_prob {
            Tier::Amber
        } else {
            Tier::Green
        }
    }

    /// Cut points that paint the top `red_share` of the sample red and the next `amber_share`
    /// amber. Equal scores are never split: each cut takes whole groups of ties, to the number
    /// nearest the share wanted (the smaller where two are equally near).
    ///
    /// # Errors
    /// [`TierError`] for an empty sample, a score outside [0, 1], or impossible shares.
    pub fn capacity(scores: &[f64], red_share: f64, amber_share: f64) -> Result<Self, TierError> {
        let shares_are_fine =
            red_share >= 0.0 && amber_share >= 0.0 && red_share + amber_share <= 1.0 + 1e-12;
        if !shares_are_fine {
            return Err(TierError::BadShares { red_share, amber_share });
        }
        if scores.is_empty() {
            return Err(TierError::NoScore);
        }
        if let Some((row, &found)) =
            scores.iter().enumerate().find(|(_, score)| !(0.0..=1.0).contains(*score))
        {
            return Err(TierError::NotProbability { row, found });
        }
        let mut falling = scores.to_vec();
        falling.sort_by(|one, other| other.total_cmp(one));
        Ok(Self {
            red_prob: cut(&falling, red_share),
            amber_prob: cut(&falling, red_share + amber_share),
        })
    }
}

/// The cut whose number of scores at or above it is nearest to `share` of all.
fn cut(falling: &[f64], share: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a sample has far fewer than 2^52 rows")]
    let count = |n: usize| n as f64;
    let wanted = share * count(falling.len());
    // Just above the greatest score: nobody of the sample.
    let mut best = (falling.first().map_or(f64::INFINITY, |score| score.next_up()), wanted);
    let mut taken = 0;
    for group in falling.chunk_by(|one, other| one.total_cmp(other).is_eq()) {
        taken += group.len();
        let miss = (count(taken) - wanted).abs();
        if miss < best.1 {
            best = (group[0], miss);
        }
        if count(taken) >= wanted {
            break;
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(cuts: TierCuts, scores: &[f64]) -> [usize; 3] {
        let mut n = [0; 3];
        for &score in scores {
            n[cuts.tier(score) as usize - 1] += 1;
        }
        n
    }

    #[test]
    fn capacity_paints_the_wanted_shares() {
        let scores: Vec<f64> = (0..1000).map(|idx| f64::from(idx) / 1000.0).collect();
        let cuts = TierCuts::capacity(&scores, 0.10, 0.20).unwrap();
        assert_eq!(shares(cuts, &scores), [700, 200, 100]);
        assert!((cuts.red_prob - 0.9).abs() < 1e-12 && (cuts.amber_prob - 0.7).abs() < 1e-12);
    }

    #[test]
    fn ties_are_never_split() {
        let mut scores = vec![0.9; 12];
        scores.extend([0.5; 20]);
        scores.extend([0.1; 68]);
        let cuts = TierCuts::capacity(&scores, 0.10, 0.20).unwrap();
        assert_eq!(shares(cuts, &scores), [68, 20, 12]);
        let alike = TierCuts::capacity(&[0.4; 50], 0.10, 0.20).unwrap();
        assert_eq!(shares(alike, &[0.4; 50]), [50, 0, 0], "nobody stands out");
        let zero = TierCuts::capacity(&scores, 0.0, 0.0).unwrap();
        assert_eq!(shares(zero, &scores), [100, 0, 0]);
        let all = TierCuts::capacity(&scores, 1.0, 0.0).unwrap();
        assert_eq!(shares(all, &scores), [0, 0, 100]);
    }

    #[test]
    fn tiers_rise_with_the_probability() {
        let scores: Vec<f64> = (0..997).map(|idx| f64::from(idx * idx % 997) / 997.0).collect();
        for (red, amber) in [(0.1, 0.2), (0.01, 0.5), (0.5, 0.5), (0.0, 0.3)] {
            let cuts = TierCuts::capacity(&scores, red, amber).unwrap();
            assert!(cuts.amber_prob <= cuts.red_prob);
            let mut last = Tier::Green;
            for step in 0..=1000 {
                let tier = cuts.tier(f64::from(step) / 1000.0);
                assert!(tier >= last);
                last = tier;
            }
        }
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        assert_eq!(TierCuts::capacity(&[], 0.1, 0.2), Err(TierError::NoScore));
        for bad in [f64::NAN, -0.1, 1.1] {
            assert!(matches!(
                TierCuts::capacity(&[0.5, bad], 0.1, 0.2),
                Err(TierError::NotProbability { row: 1, .. })
            ));
        }
        for (red, amber) in [(-0.1, 0.2), (0.6, 0.6), (f64::NAN, 0.1)] {
            assert!(matches!(
                TierCuts::capacity(&[0.5], red, amber),
                Err(TierError::BadShares { .. })
            ));
        }
    }
}
