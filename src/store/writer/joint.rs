//! Submissions that several threads of a writer work at: one answer each, once all parts are in.
//!
//! In: what became of each part. Out: one receipt, whose commit is the newest of its parts: since
//! commits become durable in the order of their numbers, that one number stands for all of them.
//! Watermarks are committed after every part of their submission and of all those before it, so
//! that a source is never marked as read beyond an event that is not stored.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Batch, Commit, StateStore, Watermark};
use super::lane::tell;
use super::{Answer, Outcome, Receipt, WriteError};

/// Submissions with watermarks that are not answered yet, in the order in which they came.
#[derive(Default)]
pub(super) struct InOrder(Mutex<VecDeque<Arc<Joint>>>);

/// A submission of which several threads have a part.
pub(super) struct Joint {
    state: Mutex<State>,
    watermarks: Vec<Watermark>,
    order: Arc<InOrder>,
    store: Arc<dyn StateStore>,
}

struct State {
    n_left: usize,
    outcomes: Vec<Option<Outcome>>,
    /// The newest commit that changed something, and the newest of all.
    changed: Option<Commit>,
    newest: Commit,
    error: Option<WriteError>,
    done: Option<Answer<Receipt>>,
}

/// One part of a submission; answered with the word that nobody knows if it is dropped before.
pub(super) struct Part {
    joint: Option<Arc<Joint>>,
    /// The places of its updates in the submission.
    places: Vec<usize>,
}

impl InOrder {
    /// A submission of so many updates in so many parts, at least one.
    pub(super) fn join(
        self: &Arc<Self>,
        store: &Arc<dyn StateStore>,
        (n_updates, n_parts): (usize, usize),
        watermarks: Vec<Watermark>,
        done: Answer<Receipt>,
    ) -> Arc<Joint> {
        let joint = Arc::new(Joint {
            state: Mutex::new(State {
                n_left: n_parts,
                outcomes: (0..n_updates).map(|_| None).collect(),
                changed: None,
                newest: Commit::default(),
                error: None,
                done: Some(done),
            }),
            watermarks,
            order: Arc::clone(self),
            store: Arc::clone(store),
        });
        if !joint.watermarks.is_empty() {
            self.lock().push_back(Arc::clone(&joint));
        }
        joint
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Joint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits the watermarks of all submissions before the first that is under way, and answers
    /// these.
    fn release(&self) {
        // Held until they are committed: those that come next wait for that in any case.
        let mut waiting = self.lock();
        let mut ready = Vec::new();
        while waiting.front().is_some_and(|joint| joint.lock().n_left == 0) {
            ready.extend(waiting.pop_front());
        }
        let Some(first) = ready.first() else { return };
        let good = ready.iter().filter(|joint| joint.lock().is_good());
        let watermarks: Vec<_> = good.flat_map(|joint| joint.watermarks.iter().cloned()).collect();
        let committed = if watermarks.is_empty() {
            Ok(None)
        } else {
            first.store.commit(Batch { watermarks, ..Batch::default() }).map(Some)
        };
        let committed = committed.map_err(|error| WriteError::Commit(Arc::new(error)));
        drop(waiting);
        for joint in &ready {
            if let Err(error) = &committed {
                joint.lock().error.get_or_insert_with(|| error.clone());
            }
            joint.answer(committed.as_ref().ok().copied().flatten());
        }
    }
}

impl Joint {
    pub(super) fn part(self: &Arc<Self>, places: Vec<usize>) -> Part {
        Part { joint: Some(Arc::clone(self)), places }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, places: &[usize], answer: Result<Receipt, WriteError>) {
        let mut state = self.lock();
        state.n_left -= 1;
        match answer {
            Ok(receipt) => {
                state.newest = state.newest.max(receipt.commit);
                if receipt.changed() {
                    state.changed = state.changed.max(Some(receipt.commit));
                }
                for (place, outcome) in places.iter().zip(receipt.outcomes) {
                    state.outcomes[*place] = Some(outcome);
                }
            }
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        let is_last = state.n_left == 0;
        drop(state);
        if is_last && self.watermarks.is_empty() {
            self.answer(None);
        } else if is_last {
            self.order.release();
        }
    }

    /// Gives the answer; `marked` is the commit that holds its watermarks, if they were taken.
    fn answer(&self, marked: Option<Commit>) {
        let mut state = self.lock();
        let Some(done) = state.done.take() else { return };
        let watermarks_taken = state.is_good();
        let marked = marked.filter(|_| watermarks_taken && !self.watermarks.is_empty());
        let commit = state.changed.max(marked).unwrap_or(state.newest);
        let outcomes: Option<Vec<Outcome>> = state.outcomes.drain(..).collect();
        let answer = match (state.error.take(), outcomes) {
            (Some(error), _) => Err(error),
            (None, None) => Err(WriteError::Lost),
            (None, Some(outcomes)) => Ok(Receipt { commit, outcomes, watermarks_taken }),
        };
        drop(state);
        tell(done, answer);
    }
}

impl State {
    fn is_good(&self) -> bool {
        let is_rejected = |one: &Option<Outcome>| matches!(one, Some(Outcome::Rejected(_)));
        self.error.is_none() && !self.outcomes.iter().any(is_rejected)
    }
}

impl Part {
    pub(super) fn answer(mut self, answer: Result<Receipt, WriteError>) {
        if let Some(joint) = self.joint.take() {
            joint.take(&self.places, answer);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(joint) = self.joint.take() {
            joint.take(&self.places, Err(WriteError::Lost));
        }
    }
}
