//! What `tenure-serve` runs with, every limit set.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::bundle::BundleSelector;
use crate::store::{DecisionLogSpec, OnFull};

use super::guard::GuardConfig;
use super::models::ModelsConfig;
use super::raw::{ConfigError, Layers, Reader, Setting, settings_toml};

// Defaults. Each says why it is this number.
/// Only this machine, until TLS and authentication are set up.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_051);
/// gRPC's own default for a received message; a batch of 1,000 events is some 300 KiB.
const MESSAGE_BYTES_MAX: u64 = 4 << 20;
/// A thousand rows score in a few milliseconds and answer in under 1 MiB.
const BATCH_ROWS_MAX: u64 = 1_000;
/// As many as one commit of the store takes.
const EVENTS_MAX: u64 = 1_000;
/// Above it latency grows and throughput does not; a call holds at most one message.
const CALLS_MAX: u64 = 512;
/// Longest a call may take that names no deadline itself.
const CALL_SECONDS: u64 = 30;
/// Clocks of producers run ahead by seconds, not minutes.
const CLOCK_SKEW_SECONDS: u64 = 300;
/// A base of a million is seen through in under ten minutes, at some six per cent of a core.
const SWEEP_RATE: u64 = 2_000;
/// What time alone changes, it changes from one day to the next.
const SWEEP_SECONDS: u64 = 300;
/// Whoever is erased sooner was perhaps only away for a month.
const FORGET_DAYS_MIN: u32 = 30;
/// Container platforms kill after 30 s by default; this leaves time to close the store.
const DRAIN_SECONDS: u64 = 20;
/// No wait between saying NOT_SERVING and closing; a load balancer may need some seconds.
const NOTICE_SECONDS: u64 = 0;

/// See [`store_writers`].
const STORE_WRITERS_MAX: u64 = 4;
/// In MiB, see [`DecisionLogSpec`] for why.
const DECISION_LOG_MIB: u64 = 8 << 10;
const DECISION_SEGMENT_MIB: u64 = 64;
/// A day: what is looked at is mostly a day's decisions.
const DECISION_SEGMENT_HOURS: u64 = 24;

/// What a commit has survived when it is acknowledged; the same levels as the store's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreDurability {
    /// Nothing.
    Memory,
    /// The end of the process.
    Process,
    /// The end of the machine.
    #[default]
    Disk,
}

impl StoreDurability {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "process" => Ok(Self::Process),
            "disk" => Ok(Self::Disk),
            _ => Err("disk, process or memory".to_owned()),
        }
    }
}

impl fmt::Display for StoreDurability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Process => "process",
            Self::Disk => "disk",
        })
    }
}

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Largest message received, in bytes after decompression.
    pub message_bytes_max: usize,
    /// Most rows of one BatchScoreCustomers.
    pub batch_rows_max: usize,
    /// Most events of one IngestEvents, and of one score's inline events.
    pub events_max: usize,
    /// Most calls at work at once, over all connections.
    pub calls_max: usize,
    /// Longest a call may take that names no deadline, or a later one.
    pub call_time_max: Duration,
    /// How far ahead of the server's clock an event's time may lie.
    pub clock_skew: Duration,
    /// Wait between NOT_SERVING and closing the door.
    pub notice: Duration,
    /// Longest wait for calls at work when the server ends.
    pub drain: Duration,
    /// Threads of the pool that scores batches; 0 is one a core.
    pub batch_threads: usize,
    /// Threads that write to the store, each for its range of shards.
    pub store_writers: usize,
    /// Customers looked at a second in search of changes; 0 looks at none.
    pub sweep_rate: u32,
    /// Wait between two walks over all customers.
    pub sweep_pause: Duration,
    /// Customers without an event for so many days are erased; 0 erases nobody.
    pub forget_after_days: u32,
}

/// What `tenure-serve` runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Directory of models.
    pub models: PathBuf,
    /// Which one to serve.
    pub model: BundleSelector,
    /// Directory of the store; a model of a table needs none.
    pub store: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A policy in place of the bundle's.
    pub policy: Option<PathBuf>,
    /// What an acknowledged event has survived.
    pub durability: StoreDurability,
    /// Directory of the decision log; none is kept without one.
    pub decision_log: Option<PathBuf>,
    /// Its limits.
    pub decision_log_spec: DecisionLogSpec,
    /// Limits.
    pub limits: ServeLimits,
    /// Who reaches it and how.
    pub guard: GuardConfig,
    /// Versions beside the one that serves.
    pub versions: ModelsConfig,
    /// What to log, as the logging library spells filters.
    pub log: String,
    /// Whether standard output and the log are JSON.
    pub json: bool,
    /// Every setting with where it came from.
    pub settings: Vec<Setting>,
}

impl ServeConfig {
    /// Checks settings.
    ///
    /// # Errors
    /// [`ConfigError::Issues`] with everything that is wrong.
    pub fn check(layers: Layers) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers);
        let models = PathBuf::from(reader.required("models"));
        let name = reader.required("name");
        let model = BundleSelector::parse(&name).unwrap_or_else(|error| {
            if !name.is_empty() {
                reader.conflict(format!("name is {name:?}: {error}"));
            }
            BundleSelector { name: String::new(), version: String::new() }
        });
        let store = reader.optional("store").map(PathBuf::from);
        let guard = GuardConfig::read(&mut reader);
        let listen = read_listen(&mut reader, &guard);
        let policy = reader.optional("policy").map(PathBuf::from);
        let durability =
            reader.parsed("durability", StoreDurability::default(), StoreDurability::parse);
        let (decision_log, decision_log_spec) = read_decision_log(&mut reader);
        let limits = read_limits(&mut reader);
        let versions = ModelsConfig::read(&mut reader);
        let log = reader.parsed("log", "info".to_owned(), |text| Ok(text.to_owned()));
        let json = reader.flag("json");
        let settings = reader.finish()?;
        Ok(Self {
            models,
            model,
            store,
            listen,
            policy,
            durability,
            decision_log,
            decision_log_spec,
            limits,
            guard,
            versions,
            log,
            json,
            settings,
        })
    }

    /// The settings as a TOML file, each with a comment on where it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        settings_toml(&self.settings)
    }
}

fn read_listen(reader: &mut Reader, guard: &GuardConfig) -> SocketAddr {
    let listen = reader.parsed("listen", LISTEN, |text| {
        let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
        numeric.parse().map_err(|_| "an address and port such as 127.0.0.1:50051".to_owned())
    });
    let insecure = reader.flag("insecure");
    let missing = match (guard.tls.is_some(), guard.knows_callers()) {
        (true, true) => None,
        (true, false) => Some("knows no caller: give --keys or --tls-client-ca"),
        (false, true) => Some("does not encrypt: give --tls-cert and --tls-key"),
        (false, false) => Some(
            "neither encrypts nor knows callers: give --tls-cert, --tls-key and --keys (or \
             --tls-client-ca)",
        ),
    };
    if let Some(missing) = missing.filter(|_| !listen.ip().is_loopback() && !insecure) {
        reader.conflict(format!(
            "listen is {listen}, which other machines can reach, and the server {missing}, listen \
             on 127.0.0.1 behind a proxy that does, or say --insecure"
        ));
    }
    listen
}

/// Where decisions are logged and how much of it; the same keys for every program that decides.
pub(super) fn read_decision_log(reader: &mut Reader) -> (Option<PathBuf>, DecisionLogSpec) {
    let dir = reader.optional("decision_log").map(PathBuf::from);
    let on_full = reader.parsed("decision_log_full", "refuse".to_owned(), |text| match text {
        "refuse" | "drop" => Ok(text.to_owned()),
        _ => Err("refuse or drop".to_owned()),
    });
    let on_full = if on_full == OnFull::Drop.as_str() { OnFull::Drop } else { OnFull::Refuse };
    let mib = |number: u64| number << 20;
    let hours = |number: u64| seconds(number * 3_600);
    let spec = DecisionLogSpec {
        on_full,
        bytes_max: mib(reader.number("decision_log_mib_max", DECISION_LOG_MIB, 1..=1 << 30)),
        segment_bytes_max: mib(reader.number(
            "decision_log_segment_mib",
            DECISION_SEGMENT_MIB,
            1..=1 << 20,
        )),
        segment_age_max: hours(reader.number(
            "decision_log_segment_hours",
            DECISION_SEGMENT_HOURS,
            1..=24 * 366,
        )),
        ..DecisionLogSpec::default()
    };
    (dir, spec)
}

fn read_limits(reader: &mut Reader) -> ServeLimits {
    ServeLimits {
        message_bytes_max: size(reader.number(
            "message_bytes_max",
            MESSAGE_BYTES_MAX,
            1_024..=64 << 20,
        )),
        batch_rows_max: size(reader.number("batch_rows_max", BATCH_ROWS_MAX, 1..=100_000)),
        events_max: size(reader.number("events_max", EVENTS_MAX, 1..=10_000)),
        calls_max: size(reader.number("calls_max", CALLS_MAX, 1..=100_000)),
        call_time_max: seconds(reader.number("call_seconds_max", CALL_SECONDS, 1..=3_600)),
        clock_skew: seconds(reader.number("clock_skew_seconds", CLOCK_SKEW_SECONDS, 0..=86_400)),
        notice: seconds(reader.number("notice_seconds", NOTICE_SECONDS, 0..=600)),
        drain: seconds(reader.number("drain_seconds", DRAIN_SECONDS, 0..=3_600)),
        batch_threads: size(reader.number("batch_threads", 0, 0..=1_024)),
        store_writers: size(reader.number("store_writers", store_writers(), 1..=64)),
        sweep_rate: u32::try_from(reader.number("sweep_rate", SWEEP_RATE, 0..=1_000_000))
            .unwrap_or(u32::MAX),
        sweep_pause: seconds(reader.number("sweep_seconds", SWEEP_SECONDS, 0..=86_400)),
        forget_after_days: read_forget_after(reader),
    }
}

/// Whom the sweep is to forget; without a sweep nobody would be.
fn read_forget_after(reader: &mut Reader) -> u32 {
    let days = reader.parsed("forget_after_days", 0, |text| match text.parse::<u32>() {
        Ok(days) if days == 0 || (FORGET_DAYS_MIN..=36_500).contains(&days) => Ok(days),
        _ => Err(format!("0, or a whole number from {FORGET_DAYS_MIN} to 36500")),
    });
    if days > 0 && reader.peek("sweep_rate").as_deref() == Some("0") {
        let text = "forget_after_days needs the sweep: sweep_rate must not be 0".to_owned();
        reader.conflict(text);
    }
    days
}

/// While one writer waits for the disk or holds the engine, another folds. The engine takes one
/// batch at a time, so more than a few only wait for each other.
fn store_writers() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u64::try_from(cores).unwrap_or(STORE_WRITERS_MAX).min(STORE_WRITERS_MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
