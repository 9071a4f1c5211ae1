//! What the base as a whole contributes to a customer's features, frozen in the bundle.

use super::heartbeat::HeartbeatBase;
use super::offer::OfferBase;
use super::rhythm::RhythmBase;

/// Base-wide quantities, fitted on data before a cutoff only.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseStats {
    /// How fast the base buys.
    pub rhythm: RhythmBase,
    /// Dispersion and season of the base, against which a customer's heartbeat is held.
    pub heartbeat: HeartbeatBase,
    /// What the base uses and buys, and how long it lasts.
    pub offer: OfferBase,
}

impl BaseStats {
    /// The rhythm alone: of the rest nothing is known.
    #[must_use]
    pub fn of_rhythm(rhythm: RhythmBase) -> Self {
        Self { rhythm, heartbeat: HeartbeatBase::unknown(), offer: OfferBase::default() }
    }
}
