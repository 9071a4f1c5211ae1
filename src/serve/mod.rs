//! The gRPC server: events in, scores and decisions out.
//!
//! In: a checked configuration, an engine, a store, a listener and a future that says when to
//! end. Out: a server that answers until then and leaves a closed store. This room alone knows the
//! types of the wire.
//!
//! It keeps these promises: events are acknowledged only when they are as durable as the store
//! is set to; one call is answered by one engine as of one instant; a panic ends one call; every
//! refusal has a stable reason. It deliberately computes no score and writes no state itself.

mod clock;
mod convert;
mod customer_service;
mod event_service;
mod event_stream;
mod health;
mod inline_row;
mod limits;
mod live;
mod model_service;
mod open;
mod outcomes;
pub mod pb;
mod remembered;
mod routes;
mod score_matrix;
mod score_stream;
mod score_watch;
mod scoring_service;
mod shutdown;
mod status;
mod streams;
mod sweep;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::config::ServeConfig;
use crate::domain::CustomerId;
use crate::scoring::Engine;
use crate::store::{Commit, DecisionLog, StateStore, Writer, WriterLimits};

use customer_service::Customers;
use event_service::Intake;
use limits::GateLayer;
use live::{Live, Served};
use model_service::Models;
use pb::customer_service_server::CustomerServiceServer;
use pb::event_service_server::EventServiceServer;
use pb::model_service_server::ModelServiceServer;
use pb::scoring_service_server::ScoringServiceServer;
use remembered::Remembered;
use routes::Routes;
use scoring_service::Scoring;
use shutdown::Closing;
use streams::Streams;

pub use clock::Clock;
pub use open::{OpenError, open};
pub use shutdown::{Drained, signals};

/// How often a silent connection is asked whether it is still there.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);

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
    /// The server's task ended by a panic.
    #[error("the server's task: {0}")]
    Task(#[from] tokio::task::JoinError),
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
    let limits = config.limits;
    let (end, ending) = watch::channel(false);
    let (changed, is_changed) = mpsc::channel(sweep::CHANGED_MAX);
    let live = Arc::new(start(config, parts, (Streams::new(ending), changed))?);
    let known = sweep::known(&live);
    let sweeper = tokio::spawn(sweep::run(Arc::clone(&live), is_changed, known));
    let (reporter, health) = tonic_health::server::health_reporter();
    health::open(&live, &reporter).await;
    let watcher = tokio::spawn(health::watch(Arc::clone(&live), reporter.clone()));
    let routes = routes(&live)?.with(health);
    let (cut, is_cut) = watch::channel(false);
    let gate = GateLayer::new(&limits, is_cut);
    let (close, closed) = oneshot::channel::<()>();
    let door = async {
        // An error means that the sender is gone: then the server ends as well.
        let _ = closed.await;
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .layer(gate)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .serve_with_incoming_shutdown(routes, incoming, door);
    let server = tokio::spawn(server);
    let drained =
        shutdown::run(server, shutdown, limits, Closing { close, cut, end, reporter, watcher })
            .await;
    // It has heard that the server ends, or has nothing more to do.
    sweeper.abort();
    let _ = sweeper.await;
    close_writer(live).await;
    drained
}

/// Opens what the services share.
fn start(
    config: &ServeConfig,
    parts: Parts,
    (streams, changed): (Streams, mpsc::Sender<CustomerId>),
) -> Result<Live, ServeFailure> {
    let Parts { engine, store, clock, decisions } = parts;
    let (limits, seen) = (config.limits, store.last_commit());
    let queue = WriterLimits::default();
    let commit_ops_max = queue.commit_ops_max.max(limits.events_max);
    let queue_ops_max = queue.queue_ops_max.max(10 * limits.events_max);
    let queue = WriterLimits { commit_ops_max, queue_ops_max, ..queue };
    let writer = Writer::start(Arc::clone(&store), queue).map_err(ServeFailure::Thread)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(limits.batch_threads)
        .thread_name(|idx| format!("score-{idx}"))
        .build()?;
    Ok(Live {
        served: ArcSwap::from_pointee(Served::new(engine, &config.models)),
        store,
        writer,
        clock,
        limits,
        pool,
        models: config.models.clone(),
        decisions,
        write_failed: Notify::new(),
        seen: AtomicU64::new(seen.seq()),
        changed,
        told: watch::Sender::new(Commit::default()),
        remembered: Remembered::default(),
        streams,
    })
}

/// Our services and reflection.
fn routes(live: &Arc<Live>) -> Result<Routes, ServeFailure> {
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
    Ok(Routes::default()
        .with(scoring.max_decoding_message_size(limit))
        .with(intake.max_decoding_message_size(limit))
        .with(customers.max_decoding_message_size(limit))
        .with(models.max_decoding_message_size(limit))
        .with(reflection().build_v1()?)
        .with(reflection().build_v1alpha()?))
}

/// Finishes what is queued; the store closes with its last owner.
async fn close_writer(live: Arc<Live>) {
    let closed = tokio::task::spawn_blocking(move || {
        live.writer.close();
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
