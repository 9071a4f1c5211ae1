//! The settings of what `tenure-ops` asks of a running server.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::log::{LogArgs, LogConfig, said};
use super::ops::{Given, OpsTask};
use super::raw::Reader;

/// Settings that only these commands use.
pub(super) const KEYS: [&str; 11] = [
    "addr",
    "service",
    "timeout_ms",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "tls_name",
    "key_file",
    "insecure",
    "attempts",
    "rejects",
];

/// A probe must end well before the next one begins.
const HEALTH_TIMEOUT_MS: u64 = 2_000;
/// Time to connect, and for the next answer on a stream: a busy server makes callers wait there.
const SEND_TIMEOUT_MS: u64 = 60_000;
const TIMEOUT_MS_MAX: u64 = 600_000;
/// Attempts in a row that bring nothing before it is given up: some two minutes of waiting.
const ATTEMPTS: u64 = 10;
const ATTEMPTS_MAX: u64 = 1_000_000;

/// Flags that say which server, and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The server")]
pub(super) struct ServerArgs {
    /// Host and port of the server
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    /// Authorities of the server's certificate, in PEM: the connection is then encrypted
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// The client's own certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Name in the server's certificate [default: the host of --addr]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// A file that holds the key to show, and nothing else
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Shows the key unencrypted to another machine
    #[arg(long)]
    insecure: bool,
    /// How long an answer may take, in milliseconds
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<String>,
}

impl ServerArgs {
    fn given(&self) -> Given {
        vec![
            ("addr", self.addr.clone()),
            ("tls_ca", self.tls_ca.clone()),
            ("tls_cert", self.tls_cert.clone()),
            ("tls_key", self.tls_key.clone()),
            ("tls_name", self.tls_name.clone()),
            ("key_file", self.key_file.clone()),
            ("insecure", said(self.insecure)),
            ("timeout_ms", self.timeout_ms.clone()),
        ]
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// One of its services, such as tenure.v1.ScoringService [default: the server as a whole]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
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
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    log: LogArgs,
    /// Writes what was refused there, as CSV: file, row, code, reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<String>,
    /// Attempts in a row without an answer before it gives up [default: 10]
    #[arg(long, value_name = "NUMBER")]
    attempts: Option<String>,
}

impl EventsArgs {
    pub(super) fn given(&self) -> Given {
        let Self::Send(send) = self;
        let own = vec![("rejects", send.rejects.clone()), ("attempts", send.attempts.clone())];
        [send.server.given(), send.log.given(), own].concat()
    }
}

/// Which server, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Host and port.
    pub addr: String,
    /// Authorities of its certificate; without them nothing is encrypted.
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub tls_own: Option<(PathBuf, PathBuf)>,
    /// Name in the server's certificate, if not the host.
    pub tls_name: Option<String>,
    /// The file that holds the key to show.
    pub key_file: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
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
    pub(super) fn read(task: OpsTask, reader: &mut Reader) -> Self {
        if task == OpsTask::Health {
            let server = read_server(reader, HEALTH_TIMEOUT_MS);
            return Self::Health {
                server,
                service: reader.optional("service").unwrap_or_default(),
            };
        }
        let server = read_server(reader, SEND_TIMEOUT_MS);
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
        Self::Send {
            server,
            log: Box::new(log),
            rejects: reader.optional("rejects").map(PathBuf::from),
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        }
    }
}

fn read_server(reader: &mut Reader, timeout_ms: u64) -> ServerConfig {
    let addr = reader.required_parsed("addr", |text| match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("host and port, such as 127.0.0.1:50051".to_owned()),
    });
    let tls_ca = reader.optional("tls_ca").map(PathBuf::from);
    let cert = reader.optional("tls_cert").map(PathBuf::from);
    let key = reader.optional("tls_key").map(PathBuf::from);
    let tls_name = reader.optional("tls_name");
    if cert.is_some() != key.is_some() {
        reader.conflict("tls_cert and tls_key go together".to_owned());
    }
    if tls_ca.is_none() && (cert.is_some() || tls_name.is_some()) {
        reader.conflict("tls_ca is missing: without it nothing is encrypted".to_owned());
    }
    let key_file = reader.optional("key_file").map(PathBuf::from);
    let (insecure, addr) = (reader.flag("insecure"), addr.unwrap_or_default());
    if key_file.is_some() && tls_ca.is_none() && !is_here(&addr) && !insecure {
        reader.conflict(format!(
            "the key would go to {addr} unencrypted: give --tls-ca, or say --insecure"
        ));
    }
    let timeout_ms = reader.number("timeout_ms", timeout_ms, 1..=TIMEOUT_MS_MAX);
    ServerConfig {
        addr,
        tls_ca,
        tls_own: cert.zip(key),
        tls_name,
        key_file,
        timeout: Duration::from_millis(timeout_ms),
    }
}

/// Whether an address is this machine's own.
fn is_here(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
