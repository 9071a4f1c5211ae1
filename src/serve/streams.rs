//! What every stream needs: a place among those that are open, and to hear when the server ends.
//!
//! A stream outlives the gate, which lets go once a stream has begun: so it holds its own place.
//! It ends by itself when the server does, since an open stream would hold up its connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::status::ServeError;

/// Streams open at once, over all connections: each holds some tens of kilobytes.
const STREAMS_MAX: usize = 512;

/// The streams of a server.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    ending: watch::Receiver<bool>,
}

/// Ready when the server ends.
pub(super) type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Streams {
    /// None is open; all end when `ending` says so.
    pub(super) fn new(ending: watch::Receiver<bool>) -> Self {
        Self { places: Arc::new(Semaphore::new(STREAMS_MAX)), ending }
    }

    /// A place for one more stream, given back when it is dropped.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, ServeError> {
        if *self.ending.borrow() {
            return Err(ServeError::Closing);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| ServeError::Overloaded { what: "open streams" })
    }

    /// Ready when the server ends.
    pub(super) fn ended(&self) -> Ending {
        let mut ending = self.ending.clone();
        Box::pin(async move {
            // Without a sender the server has ended.
            let _ = ending.wait_for(|ending| *ending).await;
        })
    }
}
