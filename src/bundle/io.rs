//! Bundles on disk: files with digests, written once, never changed.
//!
//! A bundle is a folder `MODELS/NAME/VERSION/`. Its manifest lists every other file with its
//! sha256; VERSION is the first 12 hex digits of the manifest's own sha256, so the version is the
//! content. A bundle is written beside its place and renamed into it: it is there whole or not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::BundleError;

/// Name of the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// Largest file of a bundle that is read: a forest of 100,000 trees stays far below.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Lower-case hex of a sha256.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The version of a manifest: the first 12 hex digits of its sha256.
pub(super) fn version_of(manifest: &[u8]) -> String {
    sha256_hex(manifest).chars().take(12).collect()
}

/// Whether a text can be a model name, alias or version: part of a path, and nothing else.
pub(super) fn check_name(text: &str) -> Result<(), BundleError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) || text.starts_with('.') {
        return Err(BundleError::BadName { found: text.to_owned() });
    }
    Ok(())
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> BundleError + '_ {
    move |source| BundleError::Io { path: path.to_owned(), source }
}

/// Reads a whole file of bounded size.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, BundleError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(BundleError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(io_error(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io_error(path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let found = bytes.len() as u64;
        return Err(BundleError::TooLarge { path: path.to_owned(), found, limit: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

/// Reads a file and holds it against its digest.
pub(super) fn read_checked(path: &Path, expected: &str) -> Result<Vec<u8>, BundleError> {
    let bytes = read_file(path)?;
    let found = sha256_hex(&bytes);
    if found != expected {
        let expected = expected.to_owned();
        return Err(BundleError::Digest { path: path.to_owned(), expected, found });
    }
    Ok(bytes)
}

/// Writes a file so that it is there whole or not at all, and survives a crash.
///
/// # Errors
/// [`BundleError::Io`]; what was there before is still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let temporary = path.with_extension("writing");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(io_error(path))
}

/// Writes a bundle's files into `parent/VERSION`, and gives that folder. A bundle that is there
/// already has the same content and is left alone.
pub(super) fn write_folder(
    parent: &Path,
    manifest: &[u8],
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<PathBuf, BundleError> {
    let version = version_of(manifest);
    let folder = parent.join(&version);
    if folder.try_exists().map_err(io_error(&folder))? {
        let same = |name: &str, bytes: &[u8]| {
            read_file(&folder.join(name)).is_ok_and(|held| held.as_slice() == bytes)
        };
        if same(MANIFEST, manifest) && files.iter().all(|(name, bytes)| same(name, bytes)) {
            return Ok(folder);
        }
        // Damaged since it was written: kept for a look, out of the way.
        let aside = parent.join(format!(".{version}.damaged"));
        if aside.try_exists().map_err(io_error(&aside))? {
            fs::remove_dir_all(&aside).map_err(io_error(&aside))?;
        }
        fs::rename(&folder, &aside).map_err(io_error(&folder))?;
    }
    fs::create_dir_all(parent).map_err(io_error(parent))?;
    let building = parent.join(format!(".{version}.writing"));
    if building.try_exists().map_err(io_error(&building))? {
        // Left over from a run that was stopped: it was never a bundle.
        fs::remove_dir_all(&building).map_err(io_error(&building))?;
    }
    fs::create_dir(&building).map_err(io_error(&building))?;
    for (name, bytes) in files {
        write_atomic(&building.join(name), bytes)?;
    }
    write_atomic(&building.join(MANIFEST), manifest)?;
    fs::rename(&building, &folder).map_err(io_error(&folder))?;
    // The rename itself must survive a crash, too.
    let parent_handle = File::open(parent).map_err(io_error(parent))?;
    parent_handle.sync_all().map_err(io_error(parent))?;
    Ok(folder)
}

/// Names of the folders in a folder, ascending; hidden ones left out.
pub(super) fn folders(path: &Path) -> Result<Vec<String>, BundleError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
