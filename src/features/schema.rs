//! The feature schema: which numbers a row holds, in which order and unit.

use sha2::{Digest, Sha256};

/// Rises whenever a feature's meaning changes.
const VERSION: u32 = 1;

/// One feature: its name, unit and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureDef {
    /// Its name, unique in the schema.
    pub name: &'static str,
    /// Its unit: `days`, `count`, `money`, `share`, `ratio`, `probability`, `0/1` or `score`.
    pub unit: &'static str,
    /// What it says, in one sentence.
    pub doc: &'static str,
}

/// An ordered list of features with a digest, which ties rows to models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSchema {
    features: Vec<FeatureDef>,
    id: String,
}

impl FeatureSchema {
    /// From features in order.
    #[must_use]
    pub fn new(features: &[FeatureDef]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(format!("tenure-features {VERSION}\n"));
        for feature in features {
            hasher.update(format!("{}|{}\n", feature.name, feature.unit));
        }
        let digest = hasher.finalize();
        let id = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { features: features.to_vec(), id }
    }

    /// The features, in the order of a row.
    #[must_use]
    pub fn features(&self) -> &[FeatureDef] {
        &self.features
    }

    /// The digest: 16 hex digits over version, names and units in order.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The schema's version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        VERSION
    }

    /// The position of a feature.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.features.iter().position(|feature| feature.name == name)
    }
}
