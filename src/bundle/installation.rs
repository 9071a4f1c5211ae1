//! The installation's salt: what every control group of this installation is drawn with.
//!
//! It lies beside the models, so that trainer, server and batch job on the same models draw the
//! same groups. It is drawn once and kept for ever: losing `installation.json` assigns every
//! customer anew, and experiments that run lose their meaning. Copy it along with the models.

use std::fs;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::BundleError;
use super::format_v1::ManifestV1;
use super::io::{io_error, read_file};

const INSTALLATION: &str = "installation.json";
/// Fewer characters than this were not written by us: 128 bits in hex have 32.
const SALT_CHARS_MIN: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstallationV1 {
    salt: String,
}

/// The salt of the installation whose models lie in a directory; drawn and written there at the
/// first call. Two programs that make that call at once get the same one.
///
/// # Errors
/// [`BundleError::Io`] where it can be neither read nor written, [`BundleError::Json`] and
/// [`BundleError::Invalid`] for a damaged file: it is never replaced.
pub fn installation_salt(models: &Path) -> Result<String, BundleError> {
    let path = models.join(INSTALLATION);
    if !path.try_exists().map_err(io_error(&path))? {
        create(models, &path)?;
    }
    let bytes = read_file(&path)?;
    let InstallationV1 { salt } = serde_json::from_slice(&bytes)
        .map_err(|source| BundleError::Json { path: path.clone(), source })?;
    if salt.len() < SALT_CHARS_MIN {
        let what = format!("the salt has {} characters, {SALT_CHARS_MIN} are needed", salt.len());
        return Err(BundleError::Invalid { path, what });
    }
    Ok(salt)
}

/// The facts that a store is pinned to when it serves a bundle of an installation with a salt.
/// They must never change in the store's life.
#[must_use]
pub fn store_facts<'a>(manifest: &'a ManifestV1, salt: &'a str) -> [(&'static str, &'a str); 3] {
    [("timezone", &manifest.timezone), ("currency", &manifest.currency), ("salt", salt)]
}

fn create(models: &Path, path: &Path) -> Result<(), BundleError> {
    // Each state is keyed by the system's own randomness; two of them give 128 bits.
    let draw = || RandomState::new().build_hasher().finish();
    let salt = format!("{:016x}{:016x}", draw(), draw());
    let temporary = models.join(format!(".{INSTALLATION}.{salt}"));
    let text = format!("{{\n  \"salt\": \"{salt}\"\n}}\n");
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(models)?;
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link, unlike a rename, does not replace what another program has put there meanwhile.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }?;
        File::open(models)?.sync_all()
    };
    write().map_err(io_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_is_drawn_once_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        let first = installation_salt(&models).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(installation_salt(&models).unwrap(), first);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(installation_salt(other.path()).unwrap(), first);
        assert_eq!(fs::read_dir(&models).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn programs_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let salts: Vec<String> = std::thread::scope(|scope| {
            let call = || installation_salt(dir.path()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(salts.iter().all(|salt| *salt == salts[0]), "{salts:?}");
    }

    #[test]
    fn a_damaged_salt_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", r#"{"salt":"short"}"#] {
            fs::write(dir.path().join(INSTALLATION), text).unwrap();
            assert!(installation_salt(dir.path()).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(dir.path().join(INSTALLATION)).unwrap(), text);
        }
    }
}
