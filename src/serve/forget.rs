//! Customers of whom nothing was heard for a long time are erased, where that is asked for.
//!
//! In: what the sweep sees on its walks. Out: erasures, a bounded number an hour, counted and
//! logged. Only the state that was seen to be silent is erased: an event that comes in meanwhile
//! keeps its customer. Decisions go first and, what was decided meanwhile, once more behind the
//! states, so that a crash in between leaves nothing that the next try does not find.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::live::{Live, Moment};
use super::status::ServeError;
use crate::domain::{CustomerId, Timestamp};
use crate::history::History;
use crate::scoring::LinesOf;
use crate::store::{DecisionLog, StoredState};

/// Customers erased at a time: some ten seconds of commits.
const FORGET_MAX: usize = 2_000;
/// And no sooner than so long after the last time: the decision log is read through twice.
const EVERY_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Customers who are to be forgotten at the end of a walk.
#[derive(Debug, Default)]
pub(super) struct Silent {
    found: BTreeMap<CustomerId, u64>,
    last: Option<Timestamp>,
}

/// The instant before which the newest event of a silent customer lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit(Timestamp);

impl Limit {
    /// The version of a state whose customer is silent.
    pub(super) fn silent(self, state: &StoredState) -> Option<u64> {
        let newest = History::from_bytes(&state.bytes).ok()?.newest()?;
        (newest < self.0).then_some(state.version)
    }
}

impl Silent {
    /// What to look for, if it is time to look and there is room.
    pub(super) fn limit(&self, live: &Live, moment: &Moment) -> Option<Limit> {
        let days = i64::from(live.limits.forget_after_days);
        let now = moment.now.micros();
        let is_due = self.last.is_none_or(|last| now - last.micros() >= EVERY_MICROS);
        let before = Timestamp::from_micros(now.saturating_sub(days * DAY_MICROS));
        (days > 0 && is_due && self.found.len() < FORGET_MAX).then_some(Limit(before))
    }

    /// Notes silent customers, with the versions of their states.
    pub(super) fn note(&mut self, found: Vec<(CustomerId, u64)>) {
        let room = FORGET_MAX.saturating_sub(self.found.len());
        self.found.extend(found.into_iter().take(room));
    }

    /// Erases those who were noted.
    pub(super) async fn forget(&mut self, live: &Arc<Live>) -> Result<(), ServeError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let (own, found) = (Arc::clone(live), std::mem::take(&mut self.found));
        self.last = Some(live.clock.now());
        // It waits for the disk, so it has a thread of its own.
        let erasing = tokio::task::spawn_blocking(move || erase(&own, found));
        let n_erased = erasing.await.map_err(ServeError::internal)??;
        live.metrics.forgotten.add(n_erased);
        let days = live.limits.forget_after_days;
        tracing::info!(customers = n_erased, days, "forgot customers who were silent so long");
        Ok(())
    }
}

fn erase(live: &Live, found: BTreeMap<CustomerId, u64>) -> Result<u64, ServeError> {
    clear(live.decisions.as_ref(), found.keys())?;
    let mut gone = Vec::new();
    for (customer, version) in found {
        let erased = live.writer.erase_at(customer.clone(), version)?.wait()?;
        if erased.had_state {
            live.note_changed(erased.commit, []);
            gone.push(customer);
        }
    }
    clear(live.decisions.as_ref(), gone.iter())?;
    Ok(gone.len() as u64)
}

/// Clears the decision log of customers.
fn clear<'c>(
    log: Option<&DecisionLog>,
    customers: impl Iterator<Item = &'c CustomerId>,
) -> Result<(), ServeError> {
    let Some(log) = log else { return Ok(()) };
    let mut lines = LinesOf::of_all(customers);
    log.erase(false, &mut |line| lines.picks(line)).map_err(|error| {
        tracing::error!(%error, "the decision log could not be cleared of silent customers");
        ServeError::DecisionLogFull
    })
}
