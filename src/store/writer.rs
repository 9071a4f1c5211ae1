//! The threads that write: each gathers what is waiting, folds it and commits it in one go.
//!
//! In: updates, each a customer, the ids of its events and a closure that folds the new ones
//! into the state. Out: for each submission one answer, given after all of it is durable.
//!
//! - Exactly once: which events are new is decided on the customer's thread, against the store
//!   and against what the same commit already holds; ids and state move together (S-1).
//! - No lost update, no version conflict: a shard, and so a customer, has one thread. The closure
//!   sees the latest state and nobody else writes between. A customer's updates happen in the
//!   order of submission.
//! - Partial success an update: one that is rejected changes nothing, the others go on.
//! - Limits: a full queue refuses at once. Closing takes no more and finishes what is queued.
//!
//! With one thread a submission is one commit, or a part of one. With several, each thread
//! commits its part of a submission: after a kill some customers of a submission that was not
//! acknowledged may have their events and others not (each whole, with its ids), and sending it
//! again completes it. Watermarks then follow in a commit behind all parts (`joint`).
//!
//! While a commit waits for the disk, the next one gathers: no clock is needed, a lone caller
//! waits for nobody, many callers share one sync.
//!
//! It deliberately does not retry, and knows neither events nor histories. Whoever commits to
//! the same customers beside a writer risks failing the writer's commit: do not.

mod erase;
mod joint;
mod lane;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use self::joint::InOrder;
use self::lane::{Job, Lane, Queued};
use super::batch;
use super::{
    BATCH_OPS_MAX, Commit, Erased, N_SHARDS, NAME_BYTES_MAX, StateStore, StoreError, Turn,
    Watermark, shard_of,
};
use crate::domain::CustomerId;
use crate::domain::EventId;

/// Why a fold refused; whatever error the caller's fold has.
pub type FoldError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the next state out of the latest one (`None`: there is none) and the new events.
/// The mask has one entry an event id of the update: whether that event is new. The fold is
/// called only if one is, or if the update has no event ids at all.
pub type Fold =
    Box<dyn FnOnce(Option<&[u8]>, &[bool]) -> Result<Vec<u8>, FoldError> + Send + 'static>;

/// One change of one customer's state.
pub struct Update {
    /// Whose state.
    pub customer: CustomerId,
    /// The events that the fold would add. Empty for a change that may be repeated harmlessly.
    pub events: Vec<EventId>,
    /// Adds them.
    pub fold: Fold,
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("customer", &self.customer)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// What became of one update.
#[derive(Debug)]
pub enum Outcome {
    /// The new state is stored under this version, with the ids of the new events.
    Stored {
        /// Version of the state.
        version: u64,
        /// How many of its events were new.
        n_new: usize,
    },
    /// The fold gave the same bytes: the ids of the new events are stored, the state stayed.
    Unchanged {
        /// How many of its events were new.
        n_new: usize,
    },
    /// Every event had been committed before: nothing was done.
    Duplicate,
    /// Nothing of this update was stored.
    Rejected(Rejection),
}

/// Why one update was rejected while the others went on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The fold refused.
    #[error("the fold refused: {0}")]
    Fold(FoldError),
    /// The fold panicked; the writer lives on.
    #[error("the fold panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The state that is there cannot be read, or the new one cannot be stored.
    #[error(transparent)]
    Store(StoreError),
}

/// The answer to one submission.
#[derive(Debug)]
pub struct Receipt {
    /// The newest of the commits that made it durable.
    pub commit: Commit,
    /// One entry an update, in order.
    pub outcomes: Vec<Outcome>,
    /// Whether its watermarks were taken: they are not if one of its updates was rejected, so
    /// that a source is never marked as read beyond an event that is not stored. To go on
    /// without that event, submit the watermark again alone.
    pub watermarks_taken: bool,
}

impl Receipt {
    /// Whether anything was stored that had not been there before.
    #[must_use]
    pub fn changed(&self) -> bool {
        let is_old = |one: &Outcome| matches!(one, Outcome::Duplicate | Outcome::Rejected(_));
        !self.outcomes.iter().all(is_old)
    }
}

/// Why a submission was not taken. Nothing of it happens.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Too much is waiting.
    #[error("{queued} operations are waiting, at most {limit} may: try again later")]
    Overloaded {
        /// Operations in the queue.
        queued: usize,
        /// How many may be there.
        limit: usize,
    },
    /// One submission is more than one commit takes.
    #[error("the submission has {found} operations, at most {limit} are taken at once: split it")]
    TooLarge {
        /// Its events, plus its updates without events, plus its watermarks.
        found: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// The name of a source is empty or too long.
    #[error("the name of a source has {found} bytes, 1 to {NAME_BYTES_MAX} are accepted")]
    BadSource {
        /// Its length in bytes.
        found: usize,
    },
    /// The writer has been closed.
    #[error("the writer is closed")]
    Closed,
}

/// Why a submission that was taken failed as a whole.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The commit failed; every submission in it gets the same cause.
    #[error("the commit failed: {0}")]
    Commit(Arc<StoreError>),
    /// The writer ended without an answer.
    #[error("the writer ended before it could answer: whether it was stored is unknown")]
    Lost,
}

/// The limits of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterLimits {
    /// Most operations in one commit and in one submission. At a thousand the sync no longer
    /// shows in the cost of an operation, and the commit takes tens of milliseconds.
    pub commit_ops_max: usize,
    /// Most operations waiting: a few commits, so that a refusal comes within a second.
    pub queue_ops_max: usize,
    /// How long to wait for company before a commit that is not full, at most 5 ms. Zero relies
    /// on what gathers while the disk works, which costs a lone caller nothing.
    pub linger: Duration,
    /// Threads that write, each for its range of shards.
    pub n_threads: usize,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self { commit_ops_max: 1_000, queue_ops_max: 10_000, linger: Duration::ZERO, n_threads: 1 }
    }
}

/// No commit waits longer for company.
const LINGER_MAX: Duration = Duration::from_millis(5);
/// More threads only wait for each other: the engine takes one batch at a time.
const THREADS_MAX: usize = 64;

/// An answer that is still to come.
#[derive(Debug)]
pub struct Ticket<T>(mpsc::Receiver<Result<T, WriteError>>);

impl<T> Ticket<T> {
    /// Waits for it; blocks the thread.
    ///
    /// # Errors
    /// [`WriteError`] when the commit failed: nothing is acknowledged.
    pub fn wait(self) -> Result<T, WriteError> {
        self.0.recv().unwrap_or(Err(WriteError::Lost))
    }
}

type Answer<T> = Box<dyn FnOnce(Result<T, WriteError>) + Send + 'static>;

/// The one who writes to a store. Share it in an `Arc`; dropping it closes it.
pub struct Writer {
    store: Arc<dyn StateStore>,
    /// One a thread; empty once it is closed.
    queues: Mutex<Vec<mpsc::Sender<Queued>>>,
    n_queued: Arc<AtomicUsize>,
    limits: WriterLimits,
    threads: Mutex<Vec<JoinHandle<()>>>,
    in_order: Arc<InOrder>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("limits", &self.limits)
            .field("n_queued", &self.n_queued)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the threads. Limits out of range count as the nearest one within: at least one
    /// operation, at most half of [`BATCH_OPS_MAX`] in a commit, at most 5 ms of `linger`, 1 to 64
    /// threads.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn start(store: Arc<dyn StateStore>, limits: WriterLimits) -> io::Result<Self> {
        let limits = WriterLimits {
            // An event makes at most two entries of a batch: its state and its id.
            commit_ops_max: limits.commit_ops_max.clamp(1, BATCH_OPS_MAX / 2),
            queue_ops_max: limits.queue_ops_max.max(1),
            linger: limits.linger.min(LINGER_MAX),
            n_threads: limits.n_threads.clamp(1, THREADS_MAX),
        };
        let n_queued = Arc::new(AtomicUsize::new(0));
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for idx in 0..limits.n_threads {
            let (sender, receiver) = mpsc::channel();
            let (store, n_queued) = (Arc::clone(&store), Arc::clone(&n_queued));
            let lane = Lane { store, receiver, n_queued, limits };
            let thread = thread::Builder::new().name(format!("store-writer-{idx}"));
            threads.push(thread.spawn(move || lane.run())?);
            queues.push(sender);
        }
        Ok(Self {
            store,
            queues: Mutex::new(queues),
            n_queued,
            limits,
            threads: Mutex::new(threads),
            in_order: Arc::default(),
        })
    }

    /// Queues updates, and watermarks that hold once they are stored. The ticket gives the
    /// answer after the commit.
    ///
    /// # Errors
    /// [`SubmitError`] at once, when it is not taken.
    pub fn submit(
        &self,
        updates: Vec<Update>,
        watermarks: Vec<Watermark>,
    ) -> Result<Ticket<Receipt>, SubmitError> {
        let (done, ticket) = ticket();
        self.submit_with(updates, watermarks, done)?;
        Ok(ticket)
    }

    /// As [`Writer::submit`], with a callback in place of a ticket. It is called once, on a
    /// thread of the writer: it must be quick and not wait for this writer.
    ///
    /// # Errors
    /// [`SubmitError`] at once, when it is not taken; the callback is then never called.
    pub fn submit_with(
        &self,
        updates: Vec<Update>,
        watermarks: Vec<Watermark>,
        done: Box<dyn FnOnce(Result<Receipt, WriteError>) + Send + 'static>,
    ) -> Result<(), SubmitError> {
        if let Some(mark) = watermarks.iter().find(|mark| !batch::is_name(&mark.source)) {
            return Err(SubmitError::BadSource { found: mark.source.len() });
        }
        let n_ops = (n_ops(&updates) + watermarks.len()).max(1);
        if self.limits.n_threads > 1 {
            return self.enqueue(n_ops, |queues| self.split(queues, updates, watermarks, done));
        }
        self.enqueue_at(0, Queued { job: Job::Update { updates, watermarks, done }, n_ops })
    }

    /// Hands each thread its part of a submission.
    fn split(
        &self,
        queues: &[mpsc::Sender<Queued>],
        updates: Vec<Update>,
        watermarks: Vec<Watermark>,
        done: Answer<Receipt>,
    ) {
        let n_updates = updates.len();
        let mut parts: BTreeMap<usize, (Vec<usize>, Vec<Update>)> = BTreeMap::new();
        for (place, update) in updates.into_iter().enumerate() {
            let (places, part) = parts.entry(self.thread_of(&update.customer)).or_default();
            places.push(place);
            part.push(update);
        }
        if parts.is_empty() {
            parts.entry(0).or_default();
        }
        let n_parts = parts.len();
        let joint = self.in_order.join(&self.store, (n_updates, n_parts), watermarks, done);
        for (idx, (places, updates)) in parts {
            let part = joint.part(places);
            let n_ops = n_ops(&updates).max(1);
            let done = Box::new(move |answer| part.answer(answer));
            let job = Job::Update { updates, watermarks: Vec::new(), done };
            self.send(&queues[idx], Queued { job, n_ops });
        }
    }

    /// The thread of a customer: each has a range of shards.
    fn thread_of(&self, customer: &CustomerId) -> usize {
        usize::from(shard_of(customer)) * self.limits.n_threads / usize::from(N_SHARDS)
    }

    /// Queues turns, and watermarks that hold with them: one commit, in the order of submission
    /// among turns. The callback is called once, on a thread of the writer, after the commit.
    ///
    /// # Errors
    /// [`SubmitError`] at once, when they are not taken; the callback is then never called.
    pub fn turn_with(
        &self,
        turns: Vec<Turn>,
        watermarks: Vec<Watermark>,
        done: Box<dyn FnOnce(Result<Commit, WriteError>) + Send + 'static>,
    ) -> Result<(), SubmitError> {
        let n_ops = (2 * turns.len() + watermarks.len()).max(1);
        self.enqueue_at(0, Queued { job: Job::Turn { turns, watermarks, done }, n_ops })
    }

    /// Operations that are waiting.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.n_queued.load(Ordering::Relaxed)
    }

    /// Takes nothing more, finishes what is queued and ends the threads. Further calls do nothing.
    pub fn close(&self) {
        if let Ok(mut queues) = self.queues.lock() {
            queues.clear();
        }
        let threads = self.threads.lock().map(|mut threads| std::mem::take(&mut *threads));
        for thread in threads.unwrap_or_default() {
            // A callback that drops the last writer runs on one of them, which cannot wait for
            // itself. A panic on another has answered its waiters with `Lost` already.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }

    /// Takes so many operations if there is room for all of them.
    fn enqueue(
        &self,
        found: usize,
        send: impl FnOnce(&[mpsc::Sender<Queued>]),
    ) -> Result<(), SubmitError> {
        let limit = self.limits.commit_ops_max;
        if found > limit {
            return Err(SubmitError::TooLarge { found, limit });
        }
        // Holding the queues while counting keeps the bound exact, and the order the same for all.
        let queues = self.queues.lock().map_err(|_| SubmitError::Closed)?;
        // Where a thread ended by a panic, its customers have no writer any more.
        let threads = self.threads.lock().map_err(|_| SubmitError::Closed)?;
        if queues.is_empty() || threads.iter().any(JoinHandle::is_finished) {
            return Err(SubmitError::Closed);
        }
        drop(threads);
        let (waiting, limit) = (self.queued(), self.limits.queue_ops_max);
        if waiting > 0 && waiting + found > limit {
            return Err(SubmitError::Overloaded { queued: waiting, limit });
        }
        send(&queues);
        Ok(())
    }

    /// Queues one job at one thread.
    fn enqueue_at(&self, idx: usize, queued: Queued) -> Result<(), SubmitError> {
        self.enqueue(queued.n_ops, |queues| self.send(&queues[idx], queued))
    }

    fn send(&self, queue: &mpsc::Sender<Queued>, queued: Queued) {
        let n_ops = queued.n_ops;
        self.n_queued.fetch_add(n_ops, Ordering::Relaxed);
        if queue.send(queued).is_err() {
            // That thread has just ended; dropping the job has told whoever waits.
            self.n_queued.fetch_sub(n_ops, Ordering::Relaxed);
        }
    }
}

/// What updates count in the queue and in a commit.
fn n_ops(updates: &[Update]) -> usize {
    updates.iter().map(|update| update.events.len().max(1)).sum()
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn ticket<T: Send + 'static>() -> (Answer<T>, Ticket<T>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    let done = Box::new(move |answer| {
        // Whoever dropped the ticket does not want the answer.
        let _ = sender.send(answer);
    });
    (done, Ticket(receiver))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
