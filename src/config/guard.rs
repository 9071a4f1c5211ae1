//! Who reaches a server and how: TLS, keys, connections, the listener for operators, reloading.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::Reader;

// Defaults. Each says why it is this number.
/// A connection costs some 20 KiB and a file; balancers hold a few, services some dozens.
const CONNECTIONS_MAX: u64 = 4_096;
/// Calls at once on one connection; clients open another beyond it.
const STREAMS_MAX: u64 = 1_024;
/// A handshake takes milliseconds; who needs longer only holds the door.
const HANDSHAKE_SECONDS: u64 = 10;
/// Clients come back and spread over servers that were added meanwhile.
const CONNECTION_MINUTES: u64 = 30;
/// Keys and tracing headers fit many times.
const HEADER_BYTES_MAX: u64 = 16 << 10;
/// Soon enough for a promotion or a rollback; a look costs two small reads.
const RELOAD_SECONDS: u64 = 5;
/// Below it the store takes no events: the engine needs room to be opened again.
const DISK_FREE_MIB_MIN: u64 = 256;

/// The files of TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients; with it every client needs a certificate of one of them.
    pub client_ca: Option<PathBuf>,
}

/// One call in a hundred shows how time is spent; callers that trace decide for theirs.
const TRACE_SHARE: f64 = 0.01;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Who reaches a server and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardConfig {
    /// Encryption; none: connections are plain.
    pub tls: Option<TlsFiles>,
    /// The file of keys; none: nobody needs one.
    pub keys: Option<PathBuf>,
    /// Whether the services describe themselves to whoever may call them.
    pub reflection: bool,
    /// Where metrics and probes are answered over HTTP; none: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most calls at once on one connection.
    pub streams_max: u32,
    /// Longest a connection may take until it speaks the protocol.
    pub handshake: Duration,
    /// After this time a connection is asked to come anew; none: never.
    pub connection_age: Option<Duration>,
    /// Longest list of headers of a call, in bytes.
    pub header_bytes_max: u32,
    /// How often files are looked at for a change; none: only at SIGHUP.
    pub reload_every: Option<Duration>,
    /// Free bytes that the store's disk must have for events to be taken.
    pub disk_free_min: u64,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Where traces of calls are exported; none: nowhere.
    pub traces: Option<TraceConfig>,
}

/// Where traces of calls are exported, and of how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceConfig {
    /// A collector that takes OTLP over gRPC without TLS: one beside the server.
    pub endpoint: String,
    /// How many of a million calls are traced of those that bring no trace of their caller's.
    pub share_millionths: u32,
    /// The name of the service in the traces.
    pub service: String,
}

impl GuardConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let tls = read_tls(reader);
        let keys = reader.optional("keys").map(PathBuf::from);
        let admin_listen = reader.optional_parsed("admin_listen", |text| {
            let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
            numeric.parse().map_err(|_| "an address and port such as 127.0.0.1:9464".to_owned())
        });
        let streams_max = reader.number("streams_max", STREAMS_MAX, 1..=1 << 20);
        let header_bytes_max =
            reader.number("header_bytes_max", HEADER_BYTES_MAX, 1 << 10..=1 << 20);
        let minutes = reader.number("connection_minutes", CONNECTION_MINUTES, 0..=525_600);
        let reload = reader.number("reload_seconds", RELOAD_SECONDS, 0..=86_400);
        let connections_max = reader.number("connections_max", CONNECTIONS_MAX, 1..=1 << 20);
        Self {
            tls,
            keys,
            reflection: reader.parsed("reflection", true, |text| match text {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err("true or false".to_owned()),
            }),
            admin_listen,
            connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
            streams_max: u32::try_from(streams_max).unwrap_or(u32::MAX),
            handshake: Duration::from_secs(reader.number(
                "handshake_seconds",
                HANDSHAKE_SECONDS,
                1..=600,
            )),
            connection_age: (minutes > 0).then(|| Duration::from_secs(60 * minutes)),
            header_bytes_max: u32::try_from(header_bytes_max).unwrap_or(u32::MAX),
            reload_every: (reload > 0).then(|| Duration::from_secs(reload)),
            disk_free_min: reader.number("disk_free_mib_min", DISK_FREE_MIB_MIN, 0..=1 << 30) << 20,
            log_format: read_log_format(reader),
            traces: read_traces(reader),
        }
    }

    /// Whether callers are known: by a key, or by a certificate of an authority of theirs.
    #[must_use]
    pub fn knows_callers(&self) -> bool {
        self.keys.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }
}

fn read_traces(reader: &mut Reader) -> Option<TraceConfig> {
    let endpoint = reader.optional_parsed("otlp_endpoint", |text| {
        let is_url = text.strip_prefix("http://").is_some_and(|rest| !rest.is_empty());
        is_url.then(|| text.to_owned()).ok_or_else(|| {
            "http://HOST:PORT of a collector beside the server, such as http://127.0.0.1:4317"
                .to_owned()
        })
    });
    let share = reader.parsed("trace_share", TRACE_SHARE, |text| {
        let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
        share.ok_or_else(|| "a number from 0 to 1".to_owned())
    });
    let service = reader.parsed("trace_service", "tenure".to_owned(), |text| Ok(text.to_owned()));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the share is from 0 to 1"
    )]
    let share_millionths = (share * 1e6).round() as u32;
    endpoint.map(|endpoint| TraceConfig { endpoint, share_millionths, service })
}

fn read_tls(reader: &mut Reader) -> Option<TlsFiles> {
    let mut path = |key| reader.optional(key).map(PathBuf::from);
    let (cert, key, client_ca) = (path("tls_cert"), path("tls_key"), path("tls_client_ca"));
    match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key, client_ca }),
        (None, None) => {
            if client_ca.is_some() {
                let text = "tls_client_ca needs tls_cert and tls_key: without TLS no client shows \
                            a certificate";
                reader.conflict(text.to_owned());
            }
            None
        }
        (cert, _) => {
            let (given, missing) =
                if cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
            reader.conflict(format!("{given} is given and {missing} is not: TLS needs both"));
            None
        }
    }
}

fn read_log_format(reader: &mut Reader) -> LogFormat {
    let text = reader.parsed("log_format", "text".to_owned(), |text| match text {
        "text" | "json" => Ok(text.to_owned()),
        _ => Err("text or json".to_owned()),
    });
    if text == "json" { LogFormat::Json } else { LogFormat::Text }
}
