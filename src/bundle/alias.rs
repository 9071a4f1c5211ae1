//! Aliases: which version of a model is champion and which is challenger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::BundleError;
use super::io::{MANIFEST, check_name, folders, io_error, read_file, write_atomic};

/// The alias that `--name NAME` means.
pub const CHAMPION: &str = "champion";
/// The alias of a version that did not pass the gate.
pub const CHALLENGER: &str = "challenger";

const ALIASES: &str = "aliases.json";

/// Which bundle is meant: `NAME`, `NAME@alias` or `NAME@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleSelector {
    /// Name of the model.
    pub name: String,
    /// Alias or version.
    pub version: String,
}

impl BundleSelector {
    /// From `NAME[@alias|@version]`; the champion where nothing follows.
    ///
    /// # Errors
    /// [`BundleError::BadName`] for a part that cannot be part of a path.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let (name, version) = text.split_once('@').unwrap_or((text, CHAMPION));
        check_name(name)?;
        check_name(version)?;
        Ok(Self { name: name.to_owned(), version: version.to_owned() })
    }

    /// The folder of the bundle that is meant.
    ///
    /// # Errors
    /// [`BundleError::NoModel`] or [`BundleError::NoVersion`] list what was found instead.
    pub fn folder(&self, models: &Path) -> Result<PathBuf, BundleError> {
        let model = models.join(&self.name);
        let versions = versions(models, &self.name)?;
        if versions.is_empty() {
            let found = model_names(models)?.join(", ");
            let dir = models.to_owned();
            return Err(BundleError::NoModel { dir, name: self.name.clone(), found });
        }
        let aliases = aliases(models, &self.name)?;
        let version = aliases.get(&self.version).unwrap_or(&self.version);
        if !versions.contains(version) {
            let known: Vec<String> =
                aliases.keys().map(|alias| format!("@{alias}")).chain(versions).collect();
            return Err(BundleError::NoVersion {
                name: self.name.clone(),
                selector: self.version.clone(),
                found: known.join(", "),
            });
        }
        Ok(model.join(version))
    }
}

/// Names of all models in a folder.
///
/// # Errors
/// [`BundleError::Io`].
pub fn model_names(models: &Path) -> Result<Vec<String>, BundleError> {
    let mut names = folders(models)?;
    names.retain(|name| versions(models, name).is_ok_and(|versions| !versions.is_empty()));
    Ok(names)
}

/// All complete versions of a model.
///
/// # Errors
/// [`BundleError::Io`].
pub fn versions(models: &Path, name: &str) -> Result<Vec<String>, BundleError> {
    let model = models.join(name);
    let mut versions = folders(&model)?;
    versions.retain(|version| model.join(version).join(MANIFEST).is_file());
    Ok(versions)
}

/// A model's aliases.
///
/// # Errors
/// [`BundleError::Json`] for a damaged file, [`BundleError::Io`].
pub fn aliases(models: &Path, name: &str) -> Result<BTreeMap<String, String>, BundleError> {
    let path = models.join(name).join(ALIASES);
    if !path.try_exists().map_err(io_error(&path))? {
        return Ok(BTreeMap::new());
    }
    let bytes = read_file(&path)?;
    serde_json::from_slice(&bytes).map_err(|source| BundleError::Json { path, source })
}

/// Points an alias at a version, in one step.
///
/// # Errors
/// [`BundleError::NoVersion`] when there is no such version, [`BundleError::Io`].
pub fn set_alias(models: &Path, name: &str, alias: &str, version: &str) -> Result<(), BundleError> {
    check_name(alias)?;
    let known = versions(models, name)?;
    if !known.iter().any(|held| held == version) {
        return Err(BundleError::NoVersion {
            name: name.to_owned(),
            selector: version.to_owned(),
            found: known.join(", "),
        });
    }
    let mut aliases = aliases(models, name)?;
    aliases.insert(alias.to_owned(), version.to_owned());
    let path = models.join(name).join(ALIASES);
    let mut bytes = serde_json::to_vec_pretty(&aliases)
        .map_err(|source| BundleError::Json { path: path.clone(), source })?;
    bytes.push(b'\n');
    write_atomic(&path, &bytes)
}
