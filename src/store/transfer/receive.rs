//! The receiving side of an export: a directory that becomes one once all of it is there.

use std::fs;
use std::fs::File;
use std::io;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::Digest;
use sha2::Sha256;

use super::{ExportManifestV1, RECORDS, TransferError, compare, io_at, write_manifest};
use crate::store::error::hex;

/// Takes the bytes of an export in order. Until it is finished the directory holds no export.
#[derive(Debug)]
pub struct ExportReceiver {
    dir: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Sha256,
    n_bytes: u64,
}

impl ExportReceiver {
    /// Begins in a new or empty directory.
    ///
    /// # Errors
    /// [`TransferError::TargetNotEmpty`], and what the file system says.
    pub fn create(dir: &Path) -> Result<Self, TransferError> {
        fs::create_dir_all(dir).map_err(io_at("create directory", dir))?;
        let mut entries = fs::read_dir(dir).map_err(io_at("list", dir))?;
        if entries.next().is_some() {
            return Err(TransferError::TargetNotEmpty { dir: dir.to_owned() });
        }
        let path = dir.join(RECORDS);
        let file = File::create_new(&path).map_err(io_at("create", &path))?;
        let (file, hasher) = (BufWriter::with_capacity(1 << 20, file), Sha256::new());
        Ok(Self { dir: dir.to_owned(), path, file, hasher, n_bytes: 0 })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.n_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.file.write_all(bytes)
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Says where a step failed.
    #[must_use]
    pub fn failed(&self, operation: &'static str, source: io::Error) -> TransferError {
        io_at(operation, &self.path)(source)
    }

    /// Makes the directory an export, if what was taken is what the manifest says.
    ///
    /// # Errors
    /// [`TransferError::Altered`], and what the file system says.
    pub fn finish(self, manifest: &ExportManifestV1) -> Result<(), TransferError> {
        let Self { dir, path, file, hasher, n_bytes } = self;
        compare(&path, "the length", manifest.bytes, n_bytes)?;
        compare(&path, "the sha256", &manifest.sha256, &hex(&hasher.finalize()))?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(io_at("write", &path))?;
        write_manifest(&dir, manifest)
    }
}
