//! The own-rhythm state of a buyer: current, slipping or lapsed.
//!
//! In: the base's rhythm, the probability of a silence this long, and its days. Out: the state. It
//! deliberately is no churn model: it explains and triggers, the tier comes from the model. The
//! rhythm itself is worked out in `features`.

use crate::features::RhythmBase;

/// Where a buyer stands against their own rhythm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lapse {
    /// Nothing unusual.
    Current = 0,
    /// Longer silent than usual.
    Slipping = 1,
    /// So long silent that the next order is not to be expected.
    Lapsed = 2,
}

impl Lapse {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Current, Self::Slipping, Self::Lapsed];

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Slipping => "slipping",
            Self::Lapsed => "lapsed",
        }
    }
}

/// When a silence means slipping and when it means lapsed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LapseRule {
    /// At or below this silence probability: slipping.
    pub slipping_at: f64,
    /// At or below this silence probability: lapsed.
    pub lapsed_at: f64,
    /// Silent this many days: lapsed, whatever the rhythm says.
    pub hard_lapsed_days: f64,
}

impl LapseRule {
    /// The state of a buyer silent for `silent_days` with that silence probability.
    #[must_use]
    pub fn state(&self, base: &RhythmBase, silence_prob: f64, silent_days: f64) -> Lapse {
        let is_rare = silence_prob <= self.lapsed_at && silent_days >= base.gap_days_p90;
        if is_rare || silent_days >= self.hard_lapsed_days {
            Lapse::Lapsed
        } else if silence_prob <= self.slipping_at && silent_days >= base.gap_days_p50 {
            Lapse::Slipping
        } else {
            Lapse::Current
        }
    }
}

#[cfg(test)]
#[path = "lapse_tests.rs"]
mod tests;
