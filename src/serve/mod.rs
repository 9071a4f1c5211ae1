//! The gRPC server: events in, scores and decisions out.
//!
//! In: a checked configuration, an engine, a store, a listener and a future that says when to
//! end. Out: a server that answers until then and leaves a closed store. This room alone knows the
//! types of the wire.
//!
//! It keeps these promises: events are acknowledged only when they are as durable as the store
//! is set to; one call is answered by one engine as of one instant; a panic ends one call; every
//! refusal has a stable reason. It deliberately computes no score and writes no state itself.

mod access;
mod admin_http;
mod admission;
mod answers;
mod bodies;
pub mod client;
mod clock;
mod connections;
mod convert;
mod customer_service;
mod disk;
mod event_service;
mod event_stream;
mod export;
mod forget;
mod health;
mod inline_row;
mod limits;
mod live;
mod methods;
mod metrics;
mod model_list;
mod model_service;
mod open;
mod otlp;
mod outcomes;
pub mod pb;
mod refusals;
mod reload;
mod remembered;
mod routes;
mod score_matrix;
mod score_rows;
mod score_stream;
mod score_watch;
mod scored;
mod scoring_service;
mod serving;
mod shadow;
mod shutdown;
mod stats;
mod status;
mod streams;
mod sweep;
mod switchboard;
mod throttle;
mod tls;
mod traces;
mod traffic_metrics;
mod turnstile;

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::config::{GuardConfig, ServeConfig};
use crate::domain::CustomerId;
use crate::scoring::Engine;
use crate::store::{Commit, DecisionLog, StateStore, Writer, WriterLimits};

use access::Access;
use admission::Admission;
use answers::ScoringServiceServer;
use customer_service::Customers;
use disk::{Disk, Watched};
use event_service::Intake;
use export::Exports;
use limits::GateLayer;
use live::Live;
use metrics::Metrics;
use model_service::Models;
use pb::customer_service_server::CustomerServiceServer;
use pb::event_service_server::EventServiceServer;
use pb::model_service_server::ModelServiceServer;
use reload::Reloader;
use remembered::Remembered;
use routes::Routes;
use scoring_service::Scoring;
use shadow::Job;
use shutdown::Closing;
use stats::Counting;
use streams::Streams;
use switchboard::Switchboard;
use tls::Tls;
use traces::{Facts, Tracer};
use turnstile::Turnstiles;

pub use access::AccessError;
pub use clock::Clock;
pub use open::{OpenError, open};
pub use shutdown::{Drained, signals};
pub use switchboard::ServeOpenError;
pub use tls::TlsError;

/// How often a silent connection is asked whether it is still there.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
/// And how long its answer may take.
const KEEPALIVE_WAIT: Duration = Duration::from_secs(20);
/// Calls of a connection that were cancelled before they were looked at; beyond it the connection
/// is closed. An honest client cancels what it has under way when its deadlines pass, and what it
/// sent after that, so twice what may be open at once by default.
const RESETS_MAX: usize = 2_048;
/// Calls of a connection that the library ended for a mistake of the client's, in all its life. A
/// body that comes after its call was refused counts, which is none: so far more than are
/// mistakes, and few enough that a flood of them ends.
const MISTAKES_MAX: usize = 16_384;
/// How long a server that ends waits for its last spans to be exported.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// What a server serves with.
#[derive(Debug)]
pub struct Parts {
    /// Churn, value and policy.
    pub engine: Arc<Engine>,
    /// Where states are. The server is its only writer.
    pub store: Arc<dyn StateStore>,
    /// Says what time it is.
    pub clock: Clock,
    /// Where decisions are logged before they are answered; none: they are not.
    pub decisions: Option<DecisionLog>,
    /// Where probes and metrics are answered, already bound; none: nowhere.
    pub admin: Option<std::net::TcpListener>,
}

/// Why a server did not start, or ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeFailure {
    /// The system gave no thread.
    #[error("no thread for the store's writer: {0}")]
    Thread(#[source] io::Error),
    /// The pool could not be made.
    #[error("the pool for batches: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
    /// The descriptors of the services are damaged: a broken build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The connections could not be served.
    #[error("serving: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Certificate, key or authorities cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener for probes and metrics cannot be used.
    #[error("the listener for probes and metrics: {0}")]
    Admin(#[source] io::Error),
    /// The file of keys cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The traffic policy cannot be used.
    #[error(transparent)]
    Arms(#[from] ServeOpenError),
    /// The server's task ended by a panic.
    #[error("the server's task: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ServeFailure {
    /// The exit code of a program that ends with it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Tls(_) | Self::Access(_) | Self::Arms(_) => 65,
            _ => 1,
        }
    }
}

/// Serves on a listener until `shutdown` is ready, then answers what is at work and closes.
///
/// # Errors
/// [`ServeFailure`]; whatever was acknowledged is stored.
pub async fn serve(
    config: &ServeConfig,
    parts: Parts,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ServeFailure> {
    let (limits, guard) = (config.limits, &config.guard);
    let tls = guard.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
    let access = Arc::new(Access::open(guard)?);
    let mut parts = parts;
    let admin = parts.admin.take();
    let (end, ending) = watch::channel(false);
    let (changed, is_changed) = mpsc::channel(sweep::CHANGED_MAX);
    let (shadows, to_shadow) = mpsc::channel(config.versions.shadow_queue_max);
    let live = Arc::new(start(config, parts, (Streams::new(ending), changed, shadows))?);
    let admin = admin.map(|admin| admin_http::run(admin, Arc::clone(&live))).transpose();
    let admin = admin.map_err(ServeFailure::Admin)?;
    say_what_serves(config, &live);
    let known = sweep::known(&live);
    let sweeper = tokio::spawn(sweep::run(Arc::clone(&live), is_changed, known));
    let shadower = tokio::spawn(shadow::run(Arc::clone(&live), to_shadow));
    let (reporter, health) = tonic_health::server::health_reporter();
    health::open(&live, &reporter).await;
    let watcher = tokio::spawn(health::watch(Arc::clone(&live), reporter.clone()));
    let routes = routes(&live, guard.reflection)?.with(health);
    let (cut, is_cut) = watch::channel(false);
    let counted = (Arc::clone(&live.admission), Arc::clone(&live.metrics));
    let (tracer, exporter) = start_traces(guard, &live)?;
    let gate = GateLayer::new(&limits, Arc::clone(&access), counted, is_cut).traced(tracer);
    let reloader = Reloader::new(config, Arc::clone(&live), tls.clone(), access).run();
    let (close, closed) = oneshot::channel::<()>();
    let door = async {
        // An error means that the sender is gone: then the server ends as well.
        let _ = closed.await;
    };
    let turnstiles = Turnstiles::new(live.admission.clone(), Arc::clone(&live.metrics));
    let incoming = connections::incoming(listener, tls, guard, turnstiles);
    let server = transport(guard).layer(gate).serve_with_incoming_shutdown(routes, incoming, door);
    let server = tokio::spawn(server);
    let told = Arc::clone(&live);
    let shutdown = async move {
        shutdown.await;
        told.is_ending.store(true, Ordering::Relaxed);
    };
    let drained =
        shutdown::run(server, shutdown, limits, Closing { close, cut, end, reporter, watcher })
            .await;
    // What they hold of the store must be gone before the store can close.
    for task in [Some(sweeper), Some(shadower), Some(reloader), admin].into_iter().flatten() {
        task.abort();
        let _ = task.await;
    }
    // With the last connection the last span was handed over: what is left is sent.
    if let Some(mut exporter) = exporter
        && tokio::time::timeout(LAST_SPANS, &mut exporter).await.is_err()
    {
        exporter.abort();
    }
    close_writer(live).await;
    drained
}

/// Who traces calls, and who exports what they tell.
type Traces = (Option<Arc<Tracer>>, Option<JoinHandle<()>>);

/// Traces calls where a collector is named.
fn start_traces(guard: &GuardConfig, live: &Arc<Live>) -> Result<Traces, ServeFailure> {
    let Some(spec) = &guard.traces else { return Ok((None, None)) };
    let collector = otlp::collector(&spec.endpoint)?;
    let (spans, waiting) = mpsc::channel(traces::WAITING_MAX);
    let metrics = Arc::clone(&live.metrics);
    let exporter = otlp::run(collector, spec.service.clone(), waiting, Arc::clone(&metrics));
    let facts = {
        let live = Arc::clone(live);
        move || Facts {
            model_version: live.served().model_version.clone(),
            snapshot: live.snapshot(),
        }
    };
    let share = f64::from(spec.share_millionths) / 1e6;
    let tracer = Tracer::new(share, (live.clock.clone(), metrics), facts, spans);
    Ok((Some(Arc::new(tracer)), Some(tokio::spawn(exporter))))
}

/// One line for whoever reads the log: what serves, from where, and who is let in.
fn say_what_serves(config: &ServeConfig, live: &Live) {
    let (guard, served) = (&config.guard, live.served());
    let callers = match (guard.keys.is_some(), guard.knows_callers()) {
        (true, _) => "with a key or certificate",
        (false, true) => "with a certificate",
        (false, false) => "anybody",
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        model = served.model_version,
        policy = served.engine.policy().id().id,
        policy_version = served.engine.policy().id().version,
        customers = live.store.count().unwrap_or_default(),
        store = config.store.as_ref().map(|dir| dir.display().to_string()),
        durability = %config.durability,
        tls = guard.tls.is_some(),
        callers,
        "serving"
    );
    if !guard.knows_callers() && !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "anybody who reaches the address may do everything");
    }
}

/// What holds for every connection.
fn transport(guard: &GuardConfig) -> Server {
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WAIT))
        .max_concurrent_streams(guard.streams_max)
        .http2_max_header_list_size(guard.header_bytes_max)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(MISTAKES_MAX));
    match guard.connection_age {
        None => server,
        Some(age) => server.max_connection_age(jittered(age)),
    }
}

/// An age up to a tenth longer, so that the servers of a fleet that started at once do not send
/// all their clients away at once. The draw differs from process to process.
fn jittered(age: Duration) -> Duration {
    let drawn = RandomState::new().build_hasher().finish() % 1_000;
    let part = u32::try_from(drawn).unwrap_or(0);
    age + age / 10_000 * part
}

/// Opens what the services share.
fn start(
    config: &ServeConfig,
    parts: Parts,
    (streams, changed, shadows): (Streams, mpsc::Sender<CustomerId>, mpsc::Sender<Job>),
) -> Result<Live, ServeFailure> {
    let Parts { engine, store, clock, decisions, admin: _ } = parts;
    let (limits, metrics) = (config.limits, Arc::new(Metrics::default()));
    let disk = Arc::new(Disk::new(config.store.clone(), config.guard.disk_free_min));
    let store: Arc<dyn StateStore> =
        Arc::new(Watched { inner: store, metrics: Arc::clone(&metrics), disk: Arc::clone(&disk) });
    let seen = store.last_commit();
    let queue = WriterLimits::default();
    let commit_ops_max = queue.commit_ops_max.max(limits.events_max);
    let queue_ops_max = queue.queue_ops_max.max(10 * limits.events_max);
    let n_threads = limits.store_writers;
    let queue = WriterLimits { commit_ops_max, queue_ops_max, n_threads, ..queue };
    let writer = Writer::start(Arc::clone(&store), queue).map_err(ServeFailure::Thread)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(limits.batch_threads)
        .thread_name(|idx| format!("score-{idx}"))
        .build()?;
    let admission = Arc::new(Admission::new(limits.calls_max, pool.current_num_threads()));
    let (switchboard, serving) = Switchboard::open(config, engine, &*store, clock.now())?;
    Ok(Live {
        metrics,
        admission,
        disk,
        serving: ArcSwap::from_pointee(serving),
        switchboard,
        shadows,
        store,
        writer,
        clock,
        limits,
        chunk_turns: Arc::new(Semaphore::new(pool.current_num_threads())),
        pool,
        models: config.models.clone(),
        decisions,
        is_ending: AtomicBool::new(false),
        write_failed: Notify::new(),
        seen: AtomicU64::new(seen.seq()),
        changed,
        told: watch::Sender::new(Commit::default()),
        remembered: Remembered::default(),
        exports: Arc::new(Exports::default()),
        counting: Counting::default(),
        streams,
    })
}

/// Our services, and reflection where they shall describe themselves.
fn routes(live: &Arc<Live>, describe: bool) -> Result<Routes, ServeFailure> {
    let limit = live.limits.message_bytes_max;
    let scoring = ScoringServiceServer::new(Scoring(Arc::clone(live)));
    let intake = EventServiceServer::new(Intake(Arc::clone(live)));
    let customers = CustomerServiceServer::new(Customers(Arc::clone(live)));
    let models = ModelServiceServer::new(Models(Arc::clone(live)));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::default()
        .with(scoring.max_decoding_message_size(limit))
        .with(intake.max_decoding_message_size(limit))
        .with(customers.max_decoding_message_size(limit))
        .with(models.max_decoding_message_size(limit));
    if !describe {
        return Ok(routes);
    }
    Ok(routes.with(reflection().build_v1()?).with(reflection().build_v1alpha()?))
}

/// Finishes what is queued; the store closes with its last owner.
async fn close_writer(live: Arc<Live>) {
    let closed = tokio::task::spawn_blocking(move || {
        live.writer.close();
        live.exports.clear();
        if let Some(log) = &live.decisions {
            if log.n_dropped() > 0 {
                tracing::warn!(n_dropped = log.n_dropped(), "decisions are missing from the log");
            }
            if let Err(error) = log.flush() {
                tracing::error!(%error, "the last decisions may not be on disk");
            }
        }
    })
    .await;
    if let Err(error) = closed {
        tracing::error!(%error, "the store's writer did not end in order");
    }
}
