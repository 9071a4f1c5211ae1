//! The installation's experiments: which salt and which shares each has been drawn with.
//!
//! In: the experiments as a policy sets them up now. Out: a warning for each that is not drawn as
//! it was before: its groups are others from now on, and what was measured so far does not go on.
//! Fingerprints are kept, no salts. It deliberately forbids nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::BundleError;
use super::io::{io_error, read_file, write_atomic};

const EXPERIMENTS: &str = "experiments.json";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentsV1 {
    /// By name.
    experiments: BTreeMap<String, ExperimentV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentV1 {
    /// Tells its salt from others.
    salt_fingerprint: String,
    /// Its arms and shares.
    arms: String,
}

/// Notes experiments (each name, fingerprint of the salt, arms) beside the models, and answers
/// what the owner should know of: changed salts, changed shares, a salt that two experiments have.
///
/// # Errors
/// [`BundleError`] where the file cannot be read.
pub fn note_experiments(
    models: &Path,
    experiments: &[[&str; 3]],
) -> Result<Vec<String>, BundleError> {
    let path = models.join(EXPERIMENTS);
    let mut known = if path.try_exists().map_err(io_error(&path))? {
        serde_json::from_slice(&read_file(&path)?)
            .map_err(|source| BundleError::Json { path: path.clone(), source })?
    } else {
        ExperimentsV1::default()
    };
    let mut notes = Vec::new();
    let mut is_new = false;
    for [name, fingerprint, arms] in experiments {
        let now =
            ExperimentV1 { salt_fingerprint: (*fingerprint).to_owned(), arms: (*arms).to_owned() };
        let shared = known
            .experiments
            .iter()
            .find(|(other, held)| *other != name && held.salt_fingerprint == now.salt_fingerprint);
        if let Some((other, _)) = shared {
            notes.push(format!(
                "experiments {name:?} and {other:?} have one salt: they leave out the same people"
            ));
        }
        match known.experiments.get(*name) {
            Some(was) if *was == now => continue,
            Some(was) if was.salt_fingerprint != now.salt_fingerprint => notes.push(format!(
                "experiment {name:?} has another salt than before: its groups are drawn anew, and a \
                 comparison that runs has ended"
            )),
            Some(was) => notes.push(format!(
                "experiment {name:?} had the arms {:?} and now has {arms:?}: some customers change \
                 sides, compare only what was decided since",
                was.arms
            )),
            None => {}
        }
        is_new = true;
        known.experiments.insert((*name).to_owned(), now);
    }
    if is_new {
        let mut bytes = serde_json::to_vec_pretty(&known)
            .map_err(|source| BundleError::Json { path: path.clone(), source })?;
        bytes.push(b'\n');
        // Models may lie on a disk that nobody may write: worth a word, not the end.
        if let Err(error) = write_atomic(&path, &bytes) {
            notes.push(format!(
                "the experiments cannot be noted, a later change would go unseen: {error}"
            ));
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_salt_or_share_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let note = |experiments: &[[&str; 3]]| note_experiments(dir.path(), experiments).unwrap();
        let first = [["global", "aa", "control 0.05"], ["campaign/upsell", "bb", "control 0.1"]];
        assert!(note(&first).is_empty());
        assert!(note(&first).is_empty());
        assert!(note(&first[..1]).is_empty(), "a policy may leave one out");
        let resalted = [["global", "cc", "control 0.05"], first[1]];
        let told = note(&resalted);
        assert!(told.len() == 1 && told[0].contains("drawn anew"), "{told:?}");
        assert!(note(&resalted).is_empty());
        let told = note(&[["global", "cc", "control 0.06"]]);
        assert!(told.len() == 1 && told[0].contains("change sides"), "{told:?}");
        let told = note(&[["variant/upsell", "bb", "a b"]]);
        assert!(told.len() == 1 && told[0].contains("have one salt"), "{told:?}");
        std::fs::write(dir.path().join(EXPERIMENTS), "{").unwrap();
        assert!(note_experiments(dir.path(), &first).is_err());
    }
}
