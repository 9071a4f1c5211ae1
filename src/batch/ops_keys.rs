//! `tenure-ops keys`: makes a key for callers of the server, or checks the file of keys.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use super::ops::{OpsOutcome, line};
use crate::config::{Grant, KEY_BYTES, KeyFile, KeyFileError, KeysConfig, NewKey};

/// Where the system gives random bytes.
const RANDOM: &str = "/dev/urandom";
/// Only the owner reads the hashes: they are no keys, but nobody else needs them.
const MODE: u32 = 0o600;

/// Why there is no key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has errors.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// All of them.
        source: KeyFileError,
    },
    /// The id is taken.
    #[error("{}: there is a key {id:?} already: choose another id, or take its entry out", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |source| KeysError::Io { path, source }
}

/// Does what is configured.
///
/// # Errors
/// [`KeysError`]; the file is as it was.
pub(super) fn keys(config: &KeysConfig) -> Result<OpsOutcome, KeysError> {
    match &config.new {
        Some(grant) => make(&config.file, grant),
        None => check(&config.file),
    }
}

fn parse(path: &Path, text: &str) -> Result<KeyFile, KeysError> {
    KeyFile::parse(text).map_err(|source| KeysError::File { path: path.to_owned(), source })
}

fn make(path: &Path, grant: &Grant) -> Result<OpsOutcome, KeysError> {
    let before = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(io_error(path))?,
    };
    let taken = parse(path, &before)?.keys().any(|held| held.name == grant.name);
    if taken {
        return Err(KeysError::Taken { path: path.to_owned(), id: grant.name.clone() });
    }
    let mut random = [0; KEY_BYTES];
    let mut source = File::open(RANDOM).map_err(io_error(Path::new(RANDOM)))?;
    source.read_exact(&mut random).map_err(io_error(Path::new(RANDOM)))?;
    let NewKey { key, entry } = NewKey::new(grant, &random);
    let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let after = format!("{before}{gap}{entry}");
    parse(path, &after)?;
    replace(path, after.as_bytes()).map_err(io_error(path))?;
    let text = format!(
        "{key}\n\nThis is shown once; {} holds its hash. Callers send it as `authorization: \
         Bearer KEY`.\n",
        path.display()
    );
    let json = json!({ "id": grant.name, "key": key, "file": path });
    Ok(OpsOutcome::fine(text, json))
}

/// Writes a file as a whole: a server that reads it meanwhile sees the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(MODE).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn check(path: &Path) -> Result<OpsOutcome, KeysError> {
    let text = std::fs::read_to_string(path).map_err(io_error(path))?;
    let file = parse(path, &text)?;
    let (mut said, mut rows) = (String::new(), Vec::new());
    let keys = file.keys().map(|grant| ("key", grant));
    for (kind, grant) in keys.chain(file.certificates().iter().map(|grant| ("certificate", grant)))
    {
        let roles: Vec<&str> = grant.roles.iter().map(|role| role.as_str()).collect();
        let limit = grant.calls_per_second.map_or_else(String::new, |n| format!(", {n} calls/s"));
        line(&mut said, kind, format_args!("{}: {}{limit}", grant.name, roles.join(", ")));
        rows.push(json!({
            "kind": kind, "name": grant.name, "roles": roles,
            "calls_per_second": grant.calls_per_second,
        }));
    }
    if rows.is_empty() {
        line(&mut said, "keys", "none: nobody may call");
    }
    Ok(OpsOutcome::fine(said, json!({ "callers": rows })))
}
