//! Opening the embedded engine, and its errors in our words.

use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::{CorruptPart, StoreError};
use super::home;
use super::sled::SledOptions;

/// The engine writes what is still buffered this often on its own: bounds what
/// [`Durability::Memory`](super::Durability::Memory) loses.
const FLUSH_EVERY_MS: u64 = 200;

/// A store that was just dropped may hold the engine's lock for a moment longer, while the
/// engine's own threads end.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn open(dir: &Path, options: &SledOptions) -> Result<::sled::Db, StoreError> {
    for _ in 0..LOCK_TRIES {
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        // Some damage makes the engine panic instead of answering an error; what it panicked on
        // is thrown away with it.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(engine)) => return Ok(engine),
            Ok(Err(::sled::Error::Io(cause))) if is_engine_lock(&cause) => {
                thread::sleep(LOCK_PAUSE);
            }
            Ok(Err(cause)) => return Err(self::error(dir, "open", cause)),
            Err(_) => {
                return Err(StoreError::Corrupt {
                    dir: dir.to_owned(),
                    part: CorruptPart::Engine,
                    detail: "the engine gave up while reading its files".to_owned(),
                });
            }
        }
    }
    Err(StoreError::AlreadyOpen { dir: dir.to_owned() })
}

fn is_engine_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

pub(super) fn error(dir: &Path, operation: &'static str, source: ::sled::Error) -> StoreError {
    let dir = dir.to_owned();
    match source {
        ::sled::Error::Io(error) if home::is_disk_full(&error) => {
            StoreError::DiskFull { operation, dir }
        }
        ::sled::Error::Io(source) => StoreError::Io { operation, path: dir, source },
        ::sled::Error::Corruption { at, .. } => StoreError::Corrupt {
            dir,
            part: CorruptPart::Engine,
            detail: at.map_or_else(|| "place unknown".to_owned(), |at| format!("at {at:?}")),
        },
        other => StoreError::Engine { operation, dir, detail: other.to_string() },
    }
}
