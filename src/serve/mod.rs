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
mod health;
mod limits;
mod live;
mod model_service;
pub mod pb;
mod scoring_service;
mod shutdown;
mod status;

use std::future::Future;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::server::HealthReporter;
use tower::layer::util::{Identity, Stack};

use crate::config::{ServeConfig, ServeLimits};
use crate::scoring::Engine;
use crate::store::{StateStore, Writer, WriterLimits};

use live::{Live, Served};

pub use clock::Clock;
pub use shutdown::{Drained, signals};

/// What a server serves with.
#[derive(Debug)]
pub struct Parts {
    /// Churn, value and policy.
    pub engine: Arc<Engine>,
    /// Aliases that meant the engine's version when it was loaded.
    pub aliases: Vec<String>,
    /// Where states are. The server is its only writer.
    pub store: Arc<dyn StateStore>,
    /// Says what time it is.
    pub clock: Clock,
}

/// Why a server did not start, or ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeFailure {
    /// The system gave no thread.
    #[error("no thread for the {what}: {source}")]
    Thread {
        /// For what.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The pool could not be made.
    #[error("the pool for batches: {0}")]
    Pool(#[from] rayon::ThreadPoolBuildError),
    /// The descriptors of the services are damaged: a broken build.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The connections could not be served.
    #[error("serving: {0}")]
    Transport(#[from] tonic::transport::Error),
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
    let live = Arc::new(start(parts, limits)?);
    let (mut reporter, health) = tonic_health::server::health_reporter();
    let watcher = tokio::spawn(health::watch(Arc::clone(&live), reporter.clone()));
    let (close, closed) = oneshot::channel::<()>();
    let router = router(&live)?.add_service(health);
    let door = async {
        // An error means that the sender is gone: then the server ends as well.
        let _ = closed.await;
    };
    let mut server = tokio::spawn(
        router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), door),
    );
    let early = tokio::select! {
        () = shutdown => None,
        ended = &mut server => Some(ended),
    };
    watcher.abort();
    let drained = match early {
        Some(ended) => ended.map_err(joined)?.map(|()| Drained { complete: true })?,
        None => {
            let complete = drain(&mut reporter, limits, close, &mut server).await?;
            server.abort();
            Drained { complete }
        }
    };
    close_writer(&live).await;
    Ok(drained)
}
