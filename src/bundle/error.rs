//! Why a bundle cannot be written or read.

use std::path::PathBuf;

use thiserror::Error;

/// Why a bundle cannot be written, found or read. Nothing of it is used when one is returned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No bundle of that name.
    #[error(
        "there is no model {name:?} in {dir} (found: {found}); train one with tenure-train --name {name}",
        dir = dir.display()
    )]
    NoModel {
        /// Folder of all models.
        dir: PathBuf,
        /// The name asked for.
        name: String,
        /// The names found.
        found: String,
    },
    /// No such version or alias.
    #[error("model {name:?} has no version or alias {selector:?} (found: {found})")]
    NoVersion {
        /// The model.
        name: String,
        /// Version or alias asked for.
        selector: String,
        /// Versions and aliases found.
        found: String,
    },
    /// A name, alias or version that cannot be part of a path.
    #[error(
        "{found:?} is not a model name, alias or version: use 1 to 64 letters, digits, '-', '_' or '.'"
    )]
    BadName {
        /// The text found.
        found: String,
    },
    /// Not valid JSON of the expected form.
    #[error("{path}: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// Written by a newer version.
    #[error(
        "{path} has bundle format {found}, this version reads up to {known}: update tenure",
        path = path.display()
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// A file that the manifest lists is not there.
    #[error("{path} is missing although the manifest lists it: the bundle is incomplete, copy or train it again", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file's digest is not the manifest's.
    #[error(
        "{path} is damaged: its sha256 is {found}, the manifest says {expected}; copy or train the bundle again",
        path = path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// By the manifest.
        expected: String,
        /// As found.
        found: String,
    },
    /// The folder's name is not the version of what is in it.
    #[error("{path} holds version {found}: the manifest was changed or the folder renamed", path = path.display())]
    Version {
        /// The folder.
        path: PathBuf,
        /// The version by content.
        found: String,
    },
    /// The rows of the bundle are not the rows this version makes.
    #[error(
        "{path} was trained on feature schema {found}, this version makes {expected}: train it again",
        path = path.display()
    )]
    Schema {
        /// The bundle.
        path: PathBuf,
        /// The schema of this version.
        expected: String,
        /// The schema of the bundle.
        found: String,
    },
    /// A value in a file is out of range although the digest matches.
    #[error("{path}: {what}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The bundle would be larger than allowed.
    #[error("{path} has {found} bytes, at most {limit} are read", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
}
