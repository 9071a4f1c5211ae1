//! Replaying a log: every customer's history at one past instant after another.
//!
//! The same fold as on the server; only the driver differs. Work is spread over customers, whose
//! histories do not touch: the result is the same on any number of threads.

use rayon::prelude::*;

use crate::domain::AsOf;
use crate::events::Log;
use crate::history::History;

/// Histories of all customers of a log, moved forward in time.
#[derive(Debug)]
pub struct Replay<'l> {
    log: &'l Log,
    states: Vec<(History, usize)>,
}

impl<'l> Replay<'l> {
    /// Before the first event.
    #[must_use]
    pub fn new(log: &'l Log) -> Self {
        Self { log, states: vec![(History::default(), 0); log.customers.len()] }
    }

    /// Takes in all events strictly before an instant, which must not lie before the last one.
    pub fn advance(&mut self, as_of: AsOf) {
        self.states.par_iter_mut().zip(&self.log.customers).for_each(
            |((history, at), customer)| {
                while let Some(event) = customer.events.get(*at)
                    && event.time < as_of.instant()
                {
                    history.apply(event);
                    *at += 1;
                }
            },
        );
    }

    /// The history of the customer at a position of the log.
    #[must_use]
    pub fn history(&self, idx: usize) -> &History {
        &self.states[idx].0
    }

    /// Number of customers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether the log is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}
