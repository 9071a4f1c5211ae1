//! What `tenure-ops` asks of a running server: whether it serves, to take in events, and to give
//! out its states.
//!
//! In: a checked configuration. Out: what the server said, as text for a person and as JSON for a
//! program, with an exit code; or an export in a directory. It is a client like any other: it
//! knows the protos, and nothing of the server behind them.

mod again;
mod connect;
mod fetch;
mod health;
mod send;
mod wire;

use std::io;
use std::path::PathBuf;

use serde_json::Value;
use thiserror::Error;
use tonic::Status;

use crate::config::{ClientConfig, ConfigError, FetchConfig};
use crate::domain::TimeError;
use crate::events::IntakeError;
use crate::store::{ExportManifestV1, TransferError};

use again::{is_for_later, told, with_causes};

/// What a server said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// For a person.
    pub text: String,
    /// For a program.
    pub json: Value,
    /// What the program ends with.
    pub exit_code: u8,
}

/// Why a server was not asked, or did not answer to the end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The file of refused rows cannot be written.
    #[error("{}: {source}", path.display())]
    Rejects {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate or the key cannot be read.
    #[error("{}: {source}", path.display())]
    Credential {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of the key holds no key.
    #[error("{}: this is no key: the file holds the key and nothing else", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The address or a certificate cannot be used.
    #[error("{addr}: {detail}")]
    Address {
        /// Host and port.
        addr: String,
        /// What is wrong.
        detail: String,
    },
    /// The settings of the log cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The time zone is none.
    #[error(transparent)]
    Zone(#[from] TimeError),
    /// A file of events cannot be taken in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The system gives no thread or no timer.
    #[error("the program cannot work here: {source}")]
    System {
        /// What it says.
        source: io::Error,
    },
    /// What came cannot be written down as an export.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The server does not answer, or not now.
    #[error("{addr} does not answer now: {detail}")]
    Unavailable {
        /// Host and port.
        addr: String,
        /// What was said last.
        detail: String,
    },
    /// The server refuses the call.
    #[error("{addr} refuses: {detail}")]
    Refused {
        /// Host and port.
        addr: String,
        /// Code, reason and message.
        detail: String,
    },
    /// What the server sent makes no sense.
    #[error("{addr}: {what}")]
    Nonsense {
        /// Host and port.
        addr: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Events were not sent to the end.
    #[error("{source} ({acknowledged} events are acknowledged; sending all again is safe)")]
    Unsent {
        /// Events that are stored or refused.
        acknowledged: u64,
        /// Why not.
        source: Box<Self>,
    },
}

impl ClientError {
    /// What a program ends with: 64 for settings, 65 for data, 75 where trying again later may
    /// help, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Address { .. }
            | Self::Credential { .. }
            | Self::NoKey { .. }
            | Self::Zone(_) => 64,
            Self::Rejects { .. }
            | Self::System { .. }
            | Self::Refused { .. }
            | Self::Transfer(TransferError::Io { .. }) => 1,
            Self::Intake(_) | Self::Nonsense { .. } | Self::Transfer(_) => 65,
            Self::Unavailable { .. } => 75,
            Self::Unsent { source, .. } => source.exit_code(),
        }
    }

    /// The end of a call that is not made again.
    fn of(addr: &str, status: &Status) -> Self {
        let addr = addr.to_owned();
        match is_for_later(status) {
            true => Self::Unavailable { addr, detail: with_causes(told(status), status) },
            false => Self::Refused { addr, detail: told(status) },
        }
    }
}

/// Asks a server.
///
/// # Errors
/// [`ClientError`] where it was not asked or did not answer to the end; a server that does not
/// serve is an answer.
pub fn call(
    config: &ClientConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Answered, ClientError> {
    runtime()?.block_on(async {
        match config {
            ClientConfig::Health { server, service } => health::check(server, service).await,
            ClientConfig::Send { server, log, rejects, attempts } => {
                let how = send::How { rejects: rejects.as_deref(), attempts: *attempts };
                send::send(server, log, how, progress).await
            }
        }
    })
}

/// Fetches an export into a new or empty directory. It blocks; `progress` is told now and then.
///
/// # Errors
/// [`ClientError`]; without a `manifest.json` the directory holds no export.
pub fn fetch_export(
    config: &FetchConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ExportManifestV1, ClientError> {
    runtime()?.block_on(fetch::fetch(config, progress))
}

fn runtime() -> Result<tokio::runtime::Runtime, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| ClientError::System { source })
}
