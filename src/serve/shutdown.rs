//! When and how the server ends: say so, close the door, answer what is at work, and leave.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic_health::server::HealthReporter;

use super::ServeFailure;
use super::health;
use crate::config::ServeLimits;

/// Time for calls that are cut off to tell their callers.
const CUT_TIME: Duration = Duration::from_secs(1);

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Whether all calls at work were answered within the time given.
    pub complete: bool,
}

/// Catches SIGTERM and SIGINT from now on; the future is ready at the first and names it.
///
/// # Errors
/// The system's, when it lets nobody wait for signals.
pub fn signals() -> io::Result<impl Future<Output = &'static str>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}

/// What ending a server needs.
pub(super) struct Closing {
    /// Closes the door.
    pub(super) close: oneshot::Sender<()>,
    /// Ends the calls at work.
    pub(super) cut: watch::Sender<bool>,
    /// Ends the streams.
    pub(super) end: watch::Sender<bool>,
    /// Says how the services are.
    pub(super) reporter: HealthReporter,
    /// Follows the store's health.
    pub(super) watcher: JoinHandle<()>,
}

/// Waits until the server is to end, or has ended by itself, and ends it.
pub(super) async fn run(
    mut server: JoinHandle<Result<(), tonic::transport::Error>>,
    shutdown: impl Future<Output = ()>,
    limits: ServeLimits,
    closing: Closing,
) -> Result<Drained, ServeFailure> {
    let Closing { close, cut, end, mut reporter, watcher } = closing;
    tokio::select! {
        () = shutdown => {}
        ended = &mut server => {
            watcher.abort();
            ended??;
            return Ok(Drained { complete: true });
        }
    }
    // The watcher must be gone before health is closed, or it could open it again.
    watcher.abort();
    let _ = watcher.await;
    health::close(&reporter).await;
    tokio::time::sleep(limits.notice).await;
    // A send fails only if the server has ended: then there is nothing to close.
    let _ = close.send(());
    let _ = end.send(true);
    health::end_watches(&mut reporter).await;
    if let Ok(ended) = tokio::time::timeout(limits.drain, &mut server).await {
        ended??;
        return Ok(Drained { complete: true });
    }
    tracing::warn!(seconds = limits.drain.as_secs(), "calls are cut off at the end");
    let _ = cut.send(true);
    if tokio::time::timeout(CUT_TIME, &mut server).await.is_err() {
        // Connections that do not end even now go with the runtime.
        server.abort();
    }
    Ok(Drained { complete: false })
}
