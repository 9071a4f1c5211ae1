//! One thread that writes: it gathers what is waiting, folds it and commits it in one go.
//!
//! In: updates, each a customer, the ids of its events and a closure that folds the new ones
//! into the state. Out: for each submission one answer, given after the commit is durable.
//!
//! - Exactly once: which events are new is decided on this thread, against the store and against
//!   what the same commit already holds; ids and state move together (S-1).
//! - No lost update, no version conflict: the closure sees the latest state and nobody else
//!   writes between. A customer's updates happen in the order of submission.
//! - Partial success an update: one that is rejected changes nothing, the others go on.
//! - Limits: a full queue refuses at once. Closing takes no more and finishes what is queued.
//!
//! While a commit waits for the disk, the next one gathers: no clock is needed, a lone caller
//! waits for nobody, many callers share one sync.
//!
//! It deliberately does not retry, and knows neither events nor histories. Whoever commits to
//! the same customers beside a writer risks failing the writer's commit: do not.

mod erase;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use super::batch;
use super::fold::run_fold;
use super::{
    BATCH_OPS_MAX, Batch, Commit, Erased, NAME_BYTES_MAX, Put, STATE_BYTES_MAX, StateStore,
    StoreError, Turn, Watermark,
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
    /// The commit that made it durable.
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
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self { commit_ops_max: 1_000, queue_ops_max: 10_000, linger: Duration::ZERO }
    }
}

/// No commit waits longer for company.
const LINGER_MAX: Duration = Duration::from_millis(5);

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

enum Job {
    Update { updates: Vec<Update>, watermarks: Vec<Watermark>, done: Answer<Receipt> },
    Erase { customer: CustomerId, version: Option<u64>, done: Answer<Erased> },
    Turn { turns: Vec<Turn>, watermarks: Vec<Watermark>, done: Answer<Commit> },
}

struct Queued {
    job: Job,
    n_ops: usize,
}

/// The one who writes to a store. Share it in an `Arc`; dropping it closes it.
pub struct Writer {
    queue: Mutex<Option<mpsc::SyncSender<Queued>>>,
    n_queued: Arc<AtomicUsize>,
    limits: WriterLimits,
    thread: Mutex<Option<JoinHandle<()>>>,
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
    /// Starts the thread. Limits out of range count as the nearest one within: at least one
    /// operation, at most half of [`BATCH_OPS_MAX`] in a commit, at most 5 ms of `linger`.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn start(store: Arc<dyn StateStore>, limits: WriterLimits) -> io::Result<Self> {
        let limits = WriterLimits {
            // An event makes at most two entries of a batch: its state and its id.
            commit_ops_max: limits.commit_ops_max.clamp(1, BATCH_OPS_MAX / 2),
            queue_ops_max: limits.queue_ops_max.max(1),
            linger: limits.linger.min(LINGER_MAX),
        };
        let (sender, receiver) = mpsc::sync_channel(limits.queue_ops_max);
        let n_queued = Arc::new(AtomicUsize::new(0));
        let room = Room { store, receiver, n_queued: Arc::clone(&n_queued), limits };
        let thread =
            thread::Builder::new().name("store-writer".to_owned()).spawn(move || room.run())?;
        Ok(Self {
            queue: Mutex::new(Some(sender)),
            n_queued,
            limits,
            thread: Mutex::new(Some(thread)),
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

    /// As [`Writer::submit`], with a callback in place of a ticket. It is called once, on the
    /// writer's thread: it must be quick and not wait for this writer.
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
        let n_events: usize = updates.iter().map(|update| update.events.len().max(1)).sum();
        let n_ops = (n_events + watermarks.len()).max(1);
        self.enqueue(Queued { job: Job::Update { updates, watermarks, done }, n_ops })
    }

    /// Queues turns, and watermarks that hold with them. The callback is called once, on the
    /// writer's thread, after the commit.
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
        self.enqueue(Queued { job: Job::Turn { turns, watermarks, done }, n_ops })
    }

    /// Operations that are waiting.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.n_queued.load(Ordering::Relaxed)
    }

    /// Takes nothing more, finishes what is queued and ends the thread. Further calls do nothing.
    pub fn close(&self) {
        if let Ok(mut queue) = self.queue.lock() {
            queue.take();
        }
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        // A callback that drops the last writer runs on that thread, which cannot wait for itself.
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // A panic on that thread has answered its waiters with `Lost` already.
            let _ = thread.join();
        }
    }

    fn enqueue(&self, queued: Queued) -> Result<(), SubmitError> {
        let (found, limit) = (queued.n_ops, self.limits.commit_ops_max);
        if found > limit {
            return Err(SubmitError::TooLarge { found, limit });
        }
        // Holding the queue while counting keeps the bound exact.
        let queue = self.queue.lock().map_err(|_| SubmitError::Closed)?;
        let Some(sender) = queue.as_ref() else {
            return Err(SubmitError::Closed);
        };
        let (waiting, limit) = (self.queued(), self.limits.queue_ops_max);
        let overloaded = SubmitError::Overloaded { queued: waiting, limit };
        if waiting > 0 && waiting + found > limit {
            return Err(overloaded);
        }
        self.n_queued.fetch_add(found, Ordering::Relaxed);
        sender.try_send(queued).map_err(|refused| {
            self.n_queued.fetch_sub(found, Ordering::Relaxed);
            match refused {
                mpsc::TrySendError::Full(_) => overloaded,
                mpsc::TrySendError::Disconnected(_) => SubmitError::Closed,
            }
        })
    }
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

/// Where the writer's thread works.
struct Room {
    store: Arc<dyn StateStore>,
    receiver: mpsc::Receiver<Queued>,
    n_queued: Arc<AtomicUsize>,
    limits: WriterLimits,
}

impl Room {
    fn run(self) {
        let mut carried: Option<Queued> = None;
        while let Some(first) = carried.take().or_else(|| self.receiver.recv().ok()) {
            match first.job {
                Job::Erase { customer, version, done } => {
                    let erased = erase::erase(&*self.store, &customer, version);
                    self.n_queued.fetch_sub(first.n_ops, Ordering::Relaxed);
                    tell(done, erased.map_err(|error| WriteError::Commit(Arc::new(error))));
                }
                job => {
                    let mut group = Group::new(&*self.store);
                    let mut n_ops = first.n_ops;
                    group.take(job);
                    carried = self.gather(&mut group, &mut n_ops);
                    group.commit(|| {
                        self.n_queued.fetch_sub(n_ops, Ordering::Relaxed);
                    });
                }
            }
        }
    }

    /// Adds what is waiting as long as it fits, and answers what did not.
    fn gather(&self, group: &mut Group<'_>, n_ops: &mut usize) -> Option<Queued> {
        let mut lingered = self.limits.linger.is_zero();
        while *n_ops < self.limits.commit_ops_max {
            let Ok(next) = self.receiver.try_recv() else {
                if lingered {
                    return None;
                }
                lingered = true;
                thread::sleep(self.limits.linger);
                continue;
            };
            if *n_ops + next.n_ops > self.limits.commit_ops_max {
                return Some(next);
            }
            if matches!(next.job, Job::Erase { .. }) {
                return Some(next);
            }
            *n_ops += next.n_ops;
            group.take(next.job);
        }
        None
    }
}

/// A customer inside the commit that is being prepared.
struct Pending {
    /// Version in the store, 0 for none.
    found: u64,
    /// Latest bytes: the store's, or those that this commit will write.
    bytes: Option<Vec<u8>>,
    changed: bool,
}

/// The commit that is being prepared.
struct Group<'a> {
    store: &'a dyn StateStore,
    customers: BTreeMap<CustomerId, Pending>,
    events: BTreeSet<(CustomerId, EventId)>,
    watermarks: Vec<Watermark>,
    turns: Vec<Turn>,
    answers: Vec<(Vec<Outcome>, bool, Answer<Receipt>)>,
    turn_answers: Vec<Answer<Commit>>,
}

impl<'a> Group<'a> {
    fn new(store: &'a dyn StateStore) -> Self {
        Self {
            store,
            customers: BTreeMap::new(),
            events: BTreeSet::new(),
            watermarks: Vec::new(),
            turns: Vec::new(),
            answers: Vec::new(),
            turn_answers: Vec::new(),
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Update { updates, watermarks, done } => self.add(updates, watermarks, done),
            Job::Turn { turns, watermarks, done } => {
                self.turns.extend(turns);
                self.watermarks.extend(watermarks);
                self.turn_answers.push(done);
            }
            // An erasure is a commit of its own; the thread never hands one over.
            Job::Erase { done, .. } => tell(done, Err(WriteError::Lost)),
        }
    }

    fn add(&mut self, updates: Vec<Update>, marks: Vec<Watermark>, done: Answer<Receipt>) {
        let outcomes: Vec<Outcome> = updates
            .into_iter()
            .map(|update| self.apply(update).unwrap_or_else(Outcome::Rejected))
            .collect();
        let taken = !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Rejected(_)));
        if taken {
            self.watermarks.extend(marks);
        }
        self.answers.push((outcomes, taken, done));
    }

    /// Folds one update into the commit; an error leaves the commit as it was.
    fn apply(&mut self, update: Update) -> Result<Outcome, Rejection> {
        let Update { customer, events, fold } = update;
        let is_new = self.new_events(&customer, &events).map_err(Rejection::Store)?;
        let n_new = is_new.iter().filter(|new| **new).count();
        if n_new == 0 && !events.is_empty() {
            return Ok(Outcome::Duplicate);
        }
        let pending = self.pending(&customer).map_err(Rejection::Store)?;
        let bytes = run_fold(fold, pending.bytes.as_deref(), &is_new)?;
        if bytes.len() > STATE_BYTES_MAX {
            return Err(Rejection::Store(StoreError::StateTooLarge {
                customer,
                found: bytes.len(),
                limit: STATE_BYTES_MAX,
            }));
        }
        let outcome = if pending.bytes.as_deref() == Some(&*bytes) {
            Outcome::Unchanged { n_new }
        } else {
            pending.bytes = Some(bytes);
            pending.changed = true;
            Outcome::Stored { version: pending.found + 1, n_new }
        };
        let new_events = events.into_iter().zip(is_new).filter(|(_, new)| *new);
        self.events.extend(new_events.map(|(event, _)| (customer.clone(), event)));
        Ok(outcome)
    }

    fn new_events(
        &self,
        customer: &CustomerId,
        events: &[EventId],
    ) -> Result<Vec<bool>, StoreError> {
        let mut here = BTreeSet::new();
        events
            .iter()
            .map(|event| {
                let in_commit = self.events.contains(&(customer.clone(), *event));
                Ok(here.insert(*event) && !in_commit && !self.store.contains(customer, *event)?)
            })
            .collect()
    }

    fn pending(&mut self, customer: &CustomerId) -> Result<&mut Pending, StoreError> {
        use std::collections::btree_map::Entry;

        match self.customers.entry(customer.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let state = self.store.get(customer)?;
                let (found, bytes) = state.map_or((0, None), |at| (at.version, Some(at.bytes)));
                Ok(entry.insert(Pending { found, bytes, changed: false }))
            }
        }
    }

    /// Commits, says so, then answers everybody.
    fn commit(self, say: impl FnOnce()) {
        let changed = self.customers.into_iter().filter(|(_, pending)| pending.changed);
        let puts = changed.filter_map(|(customer, pending)| {
            pending.bytes.map(|bytes| Put {
                customer,
                expected_version: Some(pending.found),
                bytes,
            })
        });
        let batch = Batch {
            puts: puts.collect(),
            dedupe: self.events.into_iter().collect(),
            watermarks: self.watermarks,
            turns: self.turns,
        };
        let committed = self.store.commit(batch).map_err(Arc::new);
        say();
        for done in self.turn_answers {
            tell(done, committed.as_ref().copied().map_err(|e| WriteError::Commit(Arc::clone(e))));
        }
        for (outcomes, watermarks_taken, done) in self.answers {
            let answer = match &committed {
                Ok(commit) => Ok(Receipt { commit: *commit, outcomes, watermarks_taken }),
                Err(error) => Err(WriteError::Commit(Arc::clone(error))),
            };
            tell(done, answer);
        }
    }
}

/// Gives an answer; a callback that panics must not take the other callers' writer with it.
fn tell<T>(done: Answer<T>, answer: Result<T, WriteError>) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| done(answer)));
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
