//! What the base as a whole contributes to a customer's features, frozen in the bundle.

use super::rhythm::RhythmBase;

/// Base-wide quantities, fitted on data before a cutoff only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaseStats {
    /// How fast the base buys.
    pub rhythm: RhythmBase,
}
