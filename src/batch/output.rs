//! Where bytes go: a file that is there whole or not at all, or standard output. Hashed on the way.

use std::fs;
use std::fs::File;
use std::io;
use std::io::{BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

#[derive(Debug)]
enum Target {
    File(File),
    Stdout(Stdout),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// A file in the making: it takes its name when it is finished; dropped before, it is removed.
pub(super) struct Output {
    target: BufWriter<Target>,
    hasher: Sha256,
    /// Present until the file has its name.
    temporary: Option<PathBuf>,
}

impl Output {
    /// Begins a file beside its place, or standard output.
    pub(super) fn create(path: Option<&Path>) -> io::Result<Self> {
        let (target, temporary) = match path {
            None => (Target::Stdout(io::stdout()), None),
            Some(path) => {
                let temporary = beside(path, ".", ".writing");
                (Target::File(File::create(&temporary)?), Some(temporary))
            }
        };
        let target = BufWriter::with_capacity(1 << 16, target);
        Ok(Self { target, hasher: Sha256::new(), temporary })
    }

    /// Makes the bytes durable, gives the file its name and answers the sha256 in hex. A manifest
    /// of an older file of that name is removed before: it would describe something else.
    pub(super) fn finish(mut self, path: Option<&Path>) -> io::Result<String> {
        self.target.flush()?;
        if let (Target::File(file), Some(path)) = (self.target.get_ref(), path) {
            file.sync_all()?;
            match fs::remove_file(manifest_path(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if let Some(temporary) = &self.temporary {
                fs::rename(temporary, path)?;
            }
            self.temporary = None;
            sync_dir(path)?;
        }
        let digest = std::mem::take(&mut self.hasher).finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.target.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing can be done about a file that cannot be removed; it has no name to go by.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Where the manifest of a file lies.
pub(super) fn manifest_path(path: &Path) -> PathBuf {
    beside(path, "", ".manifest.json")
}

/// A name in the same directory.
fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!("{before}{name}{after}"))
}

/// A rename must survive a crash, too.
fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}
