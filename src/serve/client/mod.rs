//! What `tenure-ops` asks of a running server: whether it serves, and to take in events.
//!
//! In: a checked configuration. Out: what the server said, as text for a person and as JSON for a
//! program, with an exit code. It is a client like any other: it knows the protos, and nothing of
//! the server behind them.

mod connect;
mod health;
mod send;
mod wire;

use std::io;
use std::path::PathBuf;

use serde_json::Value;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::config::{ClientConfig, ConfigError};
use crate::domain::TimeError;
use crate::events::IntakeError;

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
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
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
    /// The server does not answer, or not yet.
    #[error(
        "{addr} does not answer: {detail} ({acknowledged} events are acknowledged; sending all \
         again is safe)"
    )]
    Unavailable {
        /// Host and port.
        addr: String,
        /// What was said last.
        detail: String,
        /// Events that are stored or refused.
        acknowledged: u64,
    },
    /// The server refuses the call.
    #[error("{addr} refuses: {detail} ({acknowledged} events are acknowledged)")]
    Refused {
        /// Host and port.
        addr: String,
        /// Code, reason and message.
        detail: String,
        /// Events that are stored or refused.
        acknowledged: u64,
    },
}

impl ClientError {
    /// What a program ends with.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Address { .. } | Self::NoKey { .. } | Self::Zone(_) => 64,
            Self::Intake(_) => 65,
            Self::Unavailable { .. } => 75,
            Self::File { .. } | Self::System { .. } | Self::Refused { .. } => 1,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ClientError::System { source })?;
    runtime.block_on(async {
        match config {
            ClientConfig::Health { server, service } => health::check(server, service).await,
            ClientConfig::Send { server, log, rejects, attempts } => {
                let how = send::How { rejects: rejects.as_deref(), attempts: *attempts };
                send::send(server, log, how, progress).await
            }
        }
    })
}

/// A refusal in one line: its code, its reason where it says one, and its message.
fn told(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let reason = reason.map_or_else(String::new, |reason| format!(" {reason}"));
    format!("{:?}{reason}: {}", status.code(), status.message())
}

/// Whether the same call may be answered another time.
fn is_passing(status: &Status) -> bool {
    let is_cut = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
    is_cut || status.get_details_retry_info().is_some()
}
