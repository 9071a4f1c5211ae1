//! When and how the server ends.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Whether all calls at work were answered within the time given.
    pub complete: bool,
}

/// Waits for SIGTERM or SIGINT and names it.
///
/// # Errors
/// The system's, when it lets nobody wait for signals.
pub async fn signals() -> io::Result<&'static str> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

/// Runs something for at most so long; says whether it ended by itself.
pub(super) async fn within<F: Future>(time: Duration, work: F) -> Option<F::Output> {
    tokio::time::timeout(time, work).await.ok()
}
