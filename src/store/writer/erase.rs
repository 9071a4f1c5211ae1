//! Erasing customers on the thread that writes them.

use super::lane::{Job, Queued};
use super::{Erased, StateStore, StoreError, SubmitError, Ticket, Writer, ticket};
use crate::domain::CustomerId;

impl Writer {
    /// Queues the erasure of a customer behind everything submitted before.
    ///
    /// # Errors
    /// [`SubmitError`] at once, when it is not taken.
    pub fn erase(&self, customer: CustomerId) -> Result<Ticket<Erased>, SubmitError> {
        self.enqueue_erasure(customer, None)
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
        self.enqueue_erasure(customer, Some(version))
    }

    fn enqueue_erasure(
        &self,
        customer: CustomerId,
        version: Option<u64>,
    ) -> Result<Ticket<Erased>, SubmitError> {
        let (done, ticket) = ticket();
        let idx = self.thread_of(&customer);
        self.enqueue_at(idx, Queued { job: Job::Erase { customer, version, done }, n_ops: 1 })?;
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
