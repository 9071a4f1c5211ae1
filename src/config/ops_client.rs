//! The settings of what `tenure-ops` asks of a running server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::log::{LogArgs, LogConfig};
use super::ops::{Given, OpsTask};
use super::ops_server::{AddrArgs, STREAM_TIMEOUT_MS, ServerConfig, read_addr};
use super::raw::Reader;

/// Settings that only these commands use.
pub(super) const KEYS: [&str; 3] = ["service", "attempts", "rejects"];

/// A probe must end well before the next one begins.
const HEALTH_TIMEOUT_MS: u64 = 2_000;
/// Attempts in a row that bring nothing before it is given up: some two minutes of waiting.
const ATTEMPTS: u64 = 10;
const ATTEMPTS_MAX: u64 = 1_000_000;

#[derive(Debug, Clone, Args)]
pub(super) struct HealthArgs {
    /// One of its services, such as tenure.v1.ScoringService [default: the server as a whole]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    #[command(flatten)]
    server: AddrArgs,
}

impl HealthArgs {
    pub(super) fn given(&self) -> Given {
        [self.server.given(), vec![("service", self.service.clone())]].concat()
    }
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum EventsArgs {
    /// Sends the events of files or of standard input (-), and says what became of them; sending
    /// them again is always safe
    Send(Box<SendArgs>),
}

#[derive(Debug, Clone, Args)]
pub(super) struct SendArgs {
    /// Writes what was refused there, as CSV: file, row, code, reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<String>,
    /// Attempts in a row without an answer before it gives up [default: 10]
    #[arg(long, value_name = "NUMBER")]
    attempts: Option<String>,
    #[command(flatten)]
    server: AddrArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl EventsArgs {
    pub(super) fn given(&self) -> Given {
        let Self::Send(send) = self;
        let own = vec![("rejects", send.rejects.clone()), ("attempts", send.attempts.clone())];
        [send.server.given(), send.log.given(), own].concat()
    }
}

/// An export that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// From whom.
    pub server: ServerConfig,
    /// Into which new directory.
    pub out: PathBuf,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientConfig {
    /// Whether it serves.
    Health {
        /// The server.
        server: ServerConfig,
        /// The service; empty for the server as a whole.
        service: String,
    },
    /// To take in events.
    Send {
        /// The server.
        server: ServerConfig,
        /// The log.
        log: Box<LogConfig>,
        /// Where refused rows are told.
        rejects: Option<PathBuf>,
        /// Attempts in a row without an answer.
        attempts: u32,
    },
}

impl ClientConfig {
    /// What is asked; none where no server is named, which ends the reading.
    pub(super) fn read(task: OpsTask, reader: &mut Reader) -> Option<Self> {
        if task == OpsTask::Health {
            let server = read_addr(reader, HEALTH_TIMEOUT_MS);
            let service = reader.optional("service").unwrap_or_default();
            return Some(Self::Health { server: server?, service });
        }
        let server = read_addr(reader, STREAM_TIMEOUT_MS);
        let log = LogConfig::read(reader);
        log.require_events(reader);
        if log.profiles.is_some() {
            reader
                .conflict("profiles are no events: give them as events of type profile".to_owned());
        }
        if log.has_decimal_comma() {
            let text = "a server reads amounts with a point: decimal_comma cannot be sent";
            reader.conflict(text.to_owned());
        }
        let attempts = reader.number("attempts", ATTEMPTS, 1..=ATTEMPTS_MAX);
        let rejects = reader.optional("rejects").map(PathBuf::from);
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        Some(Self::Send { server: server?, log: Box::new(log), rejects, attempts })
    }
}
