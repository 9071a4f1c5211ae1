//! One thread of a writer: gathers what waits for its customers, folds it, commits it in one go.
//!
//! In: jobs from a queue. Out: each answered, after its commit is durable. It ends when the queue
//! is closed and empty.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use super::super::fold::run_fold;
use super::super::{
    Batch, Commit, Erased, Put, STATE_BYTES_MAX, StateStore, StoreError, Turn, Watermark,
};
use super::erase::erase;
use super::{Answer, Outcome, Receipt, Rejection, Update, WriteError, WriterLimits};
use crate::domain::CustomerId;
use crate::domain::EventId;

pub(super) enum Job {
    Update { updates: Vec<Update>, watermarks: Vec<Watermark>, done: Answer<Receipt> },
    Erase { customer: CustomerId, version: Option<u64>, done: Answer<Erased> },
    Turn { turns: Vec<Turn>, watermarks: Vec<Watermark>, done: Answer<Commit> },
}

pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) n_ops: usize,
}

/// Where a thread of the writer works.
pub(super) struct Lane {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) receiver: mpsc::Receiver<Queued>,
    pub(super) n_queued: Arc<AtomicUsize>,
    pub(super) limits: WriterLimits,
}

impl Lane {
    pub(super) fn run(self) {
        let mut carried: Option<Queued> = None;
        while let Some(first) = carried.take().or_else(|| self.receiver.recv().ok()) {
            match first.job {
                Job::Erase { customer, version, done } => {
                    let erased = erase(&*self.store, &customer, version);
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
pub(super) fn tell<T>(done: Answer<T>, answer: Result<T, WriteError>) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| done(answer)));
}
