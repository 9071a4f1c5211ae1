//! Erasing customers on the thread that writes.

use super::{Erased, Job, Queued, StateStore, StoreError, SubmitError, Ticket, Writer, ticket};
use crate::domain::CustomerId;

impl Writer {
    /// Queues the erasure of a customer behind everything submitted before.
    ///
    /// # Errors
    /// [`SubmitError`] at once, when it is not taken.
    pub fn erase(&self, customer: CustomerId) -> Result<Ticket<Erased>, SubmitError> {
        let (done, ticket) = ticket();
        self.enqueue(Queued { job: Job::Erase { customer, version: None, done }, n_ops: 1 })?;
        Ok(ticket)
    }

    /// The same, if the state still has this version when its turn comes: a customer of whom
    /// something came in meanwhile stays, and nothing is said to be erased.
    ///
    /// # Errors
    /// [`SubmitError`] at once, when it is not taken.
    pub fn erase_at(
        &self,
        customer: CustomerId,
        version: u64,
    ) -> Result<Ticket<Erased>, SubmitError> {
        let (done, ticket) = ticket();
        let job = Job::Erase { customer, version: Some(version), done };
        self.enqueue(Queued { job, n_ops: 1 })?;
        Ok(ticket)
    }
}

/// Erases a customer, of a certain version only where one is wanted.
pub(super) fn erase(
    store: &dyn StateStore,
    customer: &CustomerId,
    version: Option<u64>,
) -> Result<Erased, StoreError> {
    if let Some(version) = version
        && store.get(customer)?.is_none_or(|state| state.version != version)
    {
        return Ok(Erased { had_state: false, n_dedupe: 0, commit: store.last_commit() });
    }
    store.delete(customer)
}
