//! `ExportStates`: the store as of one commit as a stream, while events go on coming in.
//!
//! In: a request for the whole store or a shard, or for the rest of an export whose stream broke.
//! Out: the bytes of `records.bin` in pieces, and what the manifest says. A thread of its own
//! walks over the snapshot and waits while the caller has not taken what it was sent, which is the
//! back pressure; it ends once the caller has left. A snapshot is kept a while after a break: then
//! the walk begins anew and leaves out what has arrived, so the digest is that of the whole.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::Status;

use super::convert;
use super::live::Live;
use super::pb;
use super::status::{ServeError, Violation};
use super::streams::Ending;
use crate::store::{ExportManifestV1, N_SHARDS, ScanRange, SendError, Snapshot, send_export};

/// Bytes of a message: far below what clients take by default.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages that wait for the caller.
const WAITING_MAX: usize = 4;
/// Exports at once: each holds what is overwritten while it is open.
const EXPORTS_MAX: usize = 2;
/// How long a snapshot is kept for a caller whose stream broke.
const KEPT: Duration = Duration::from_secs(120);
/// And how long once all of it is on its way: the end of it may still get lost.
const KEPT_SENT: Duration = Duration::from_secs(15);

type Message = Result<pb::ExportStatesResponse, Status>;

/// Snapshots that are being sent, or wait for their caller to come again.
#[derive(Debug, Default)]
pub(super) struct Exports {
    held: Mutex<Vec<Held>>,
    n_begun: AtomicU64,
}

#[derive(Debug)]
struct Held {
    id: String,
    snapshot: Arc<dyn Snapshot>,
    range: ScanRange,
    /// Until when it is kept though nobody reads it; none while somebody does.
    until: Option<Instant>,
}

impl Exports {
    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        // A list of whole entries is sound, whatever happened to its holder.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of all of them: the store is to be closed.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Lets go of those that nobody came back for.
    fn purge(&self) {
        self.lock().retain(|held| held.until.is_none_or(|until| Instant::now() < until));
    }

    fn check_room(&self) -> Result<(), ServeError> {
        self.purge();
        let mut held = self.lock();
        // One that waits for its caller makes way for one that is there.
        if held.len() >= EXPORTS_MAX
            && let Some(idle) = held.iter().position(|one| one.until.is_some())
        {
            held.remove(idle);
        }
        if held.len() < EXPORTS_MAX {
            return Ok(());
        }
        Err(ServeError::Overloaded { what: "exports" })
    }

    fn begin(
        &self,
        snapshot: Box<dyn Snapshot>,
        range: ScanRange,
        clock: u64,
    ) -> Result<(String, Arc<dyn Snapshot>), ServeError> {
        self.check_room()?;
        // The instant tells the exports of this process from those of the one before.
        let number = self.n_begun.fetch_add(1, Ordering::Relaxed);
        let id = format!("x{}.{clock:x}.{number}", snapshot.commit().seq());
        let snapshot: Arc<dyn Snapshot> = Arc::from(snapshot);
        let held = Held { id: id.clone(), snapshot: Arc::clone(&snapshot), range, until: None };
        self.lock().push(held);
        Ok((id, snapshot))
    }

    fn go_on(&self, id: &str) -> Result<(Arc<dyn Snapshot>, ScanRange), ServeError> {
        self.purge();
        let mut held = self.lock();
        let found = held.iter_mut().find(|one| one.id == id);
        let found = found.ok_or_else(|| ServeError::UnknownExport(id.to_owned()))?;
        if found.until.take().is_none() {
            // The break has not been noticed here yet: it will be.
            return Err(ServeError::Overloaded { what: "exports" });
        }
        Ok((Arc::clone(&found.snapshot), found.range))
    }

    /// Ends the sending of one, which is kept for its caller a while.
    fn leave(&self, id: &str, kept: Duration) {
        if let Some(one) = self.lock().iter_mut().find(|one| one.id == id) {
            one.until = Some(Instant::now() + kept);
        }
    }
}

/// What is to be sent.
struct Sending {
    id: String,
    snapshot: Arc<dyn Snapshot>,
    range: ScanRange,
    offset: u64,
}

/// Begins a stream.
pub(super) async fn open(
    live: &Arc<Live>,
    request: pb::ExportStatesRequest,
) -> Result<Chunks, ServeError> {
    live.moment().require_log("there are no states to export")?;
    let pb::ExportStatesRequest { shard, export_id, offset } = request;
    let range = checked(shard, &export_id, offset)?;
    let place = live.streams.enter()?;
    let sending = if export_id.is_empty() {
        live.exports.check_room()?;
        let (store, clock) = (Arc::clone(&live.store), live.clock.now().micros().unsigned_abs());
        // It waits for the commit that is under way.
        let taken = tokio::task::spawn_blocking(move || store.snapshot()).await;
        let snapshot = taken.map_err(ServeError::internal)??;
        let (id, snapshot) = live.exports.begin(snapshot, range, clock)?;
        Sending { id, snapshot, range, offset }
    } else {
        let (snapshot, range) = live.exports.go_on(&export_id)?;
        Sending { id: export_id, snapshot, range, offset }
    };
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let exports = Arc::clone(&live.exports);
    let begun = tokio::task::spawn_blocking(move || send(&exports, &sending, &sender));
    // Even if nobody ever asks again, what is kept is let go of.
    let exports = Arc::clone(&live.exports);
    tokio::spawn(async move {
        tokio::time::sleep(begun.await.unwrap_or(KEPT)).await;
        exports.purge();
    });
    let ending = live.streams.ended();
    Ok(Chunks { receiver, ending, is_over: false, _place: place })
}

fn checked(shard: Option<u32>, export_id: &str, offset: u64) -> Result<ScanRange, ServeError> {
    let mut violations = Vec::new();
    let range = match shard.map(u16::try_from) {
        None => Some(ScanRange::All),
        Some(Ok(shard)) if shard < N_SHARDS => Some(ScanRange::Shard(shard)),
        Some(_) => None,
    };
    if range.is_none() {
        let found = format!("shards are 0 to {}", N_SHARDS - 1);
        violations.push(Violation::new("shard", "SHARD", found));
    }
    if offset > 0 && export_id.is_empty() {
        let found = "only an export that is under way has an offset: name it by export_id";
        violations.push(Violation::new("offset", "OFFSET", found));
    }
    match range {
        Some(range) if violations.is_empty() => Ok(range),
        _ => Err(ServeError::Invalid(violations)),
    }
}

/// Sends to the end, or until the caller leaves; answers how long the snapshot is kept.
fn send(exports: &Exports, sending: &Sending, sender: &mpsc::Sender<Message>) -> Duration {
    let Sending { id, snapshot, range, offset } = sending;
    let mut cutter = Cutter { id, sender, skip: *offset, at: *offset, chunk: Vec::new() };
    let sent = send_export(&**snapshot, *range, &mut |bytes| cutter.take(bytes));
    let kept = match sent {
        Ok(manifest) if cutter.finish(&manifest) => KEPT_SENT,
        // The caller has left.
        Ok(_) | Err(SendError::Io(_)) => KEPT,
        Err(SendError::Store(error)) => {
            let status = ServeError::from(error).to_status();
            // It may have left at this moment.
            let _ = sender.blocking_send(Err(status));
            Duration::ZERO
        }
    };
    exports.leave(id, kept);
    kept
}

/// Cuts bytes into messages, from an offset on.
struct Cutter<'s> {
    id: &'s str,
    sender: &'s mpsc::Sender<Message>,
    skip: u64,
    at: u64,
    chunk: Vec<u8>,
}

impl Cutter<'_> {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n_skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= n_skipped as u64;
        self.chunk.extend_from_slice(&bytes[n_skipped..]);
        while self.chunk.len() >= CHUNK_BYTES {
            let rest = self.chunk.split_off(CHUNK_BYTES);
            self.send(rest)?;
        }
        // What is walked over again has nothing to wait for, so it has to look.
        if n_skipped > 0 && self.sender.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    fn send(&mut self, rest: Vec<u8>) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, rest);
        let (export_id, offset) = (self.id.to_owned(), self.at);
        self.at += chunk.len() as u64;
        let message = pb::ExportStatesResponse { export_id, offset, chunk, manifest: None };
        let sent = self.sender.blocking_send(Ok(message));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends what is left, and the manifest.
    fn finish(mut self, manifest: &ExportManifestV1) -> bool {
        if !self.chunk.is_empty() && self.send(Vec::new()).is_err() {
            return false;
        }
        let message = pb::ExportStatesResponse {
            export_id: self.id.to_owned(),
            offset: manifest.bytes,
            chunk: Vec::new(),
            manifest: Some(convert::manifest(manifest)),
        };
        let is_taken = self.sender.blocking_send(Ok(message)).is_ok();
        if is_taken {
            let (commit, bytes) = (manifest.commit, manifest.bytes);
            tracing::info!(commit, bytes, customers = manifest.counts.states, "exported");
        }
        is_taken
    }
}

/// What a caller reads. It ends with the server.
pub(super) struct Chunks {
    receiver: mpsc::Receiver<Message>,
    ending: Ending,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Stream for Chunks {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.ending.as_mut().poll(cx).is_ready() {
            this.is_over = true;
            this.receiver.close();
            return Poll::Ready(Some(Err(ServeError::Closing.to_status())));
        }
        this.receiver.poll_recv(cx)
    }
}
