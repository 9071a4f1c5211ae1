//! A whole log in memory: each customer's events in time order.
//!
//! In: files of events and, optionally, a table of customers' facts. Out: customers by id, and
//! the intake report. Only events strictly before the given instant are kept: what training and
//! batch scoring may not see never reaches them.

use std::path::PathBuf;

use rayon::prelude::*;

use super::error::IntakeError;
use super::event::Event;
use super::part::EventReader;
use super::part_counts::PartCounts;
use super::parts::{Parts, PartsSpec};
use super::report::IntakeReport;
use super::rules::Rules;
use super::source::ReadSpec;
use crate::domain::{AsOf, CustomerId, Day};

/// What the number of parts is reckoned from where all is held anyway.
const MEMORY_BYTES: usize = 1 << 30;

/// Where a log lies and how it is read.
#[derive(Debug, Clone)]
pub struct LogSpec {
    /// Files of events; together one log.
    pub events: Vec<PathBuf>,
    /// A table of customers' facts.
    pub profiles: Option<PathBuf>,
    /// Columns and format.
    pub read: ReadSpec,
    /// What holds for all events.
    pub rules: Rules,
    /// Events at or after this instant are left out.
    pub before: AsOf,
}

/// One customer's events, by time, then id.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomerLog {
    /// Who.
    pub customer: CustomerId,
    /// What happened.
    pub events: Vec<Event>,
}

/// A log: customers by ascending id.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The customers; none without an event.
    pub customers: Vec<CustomerLog>,
    /// Number of events kept.
    pub n_events: u64,
    /// Events left out because they are not before the instant.
    pub n_after: u64,
    /// First and last day of an event that is not a fact about the customer.
    pub days: Option<(Day, Day)>,
    /// What the files of events held.
    pub report: IntakeReport,
    /// What the table of facts held.
    pub profiles_report: Option<IntakeReport>,
}

impl Log {
    /// Reads a log; `progress` is called now and then with the number of rows read so far.
    ///
    /// # Errors
    /// [`IntakeError`] where a file as a whole cannot be taken in; rows that are no events are
    /// counted in the reports.
    pub fn read(
        spec: &LogSpec,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Self, IntakeError> {
        let how = PartsSpec { memory_bytes: MEMORY_BYTES, ..PartsSpec::default() };
        Self::of_parts(Parts::read(spec, &how, progress)?)
    }

    /// The log that parts make, all of it in memory.
    ///
    /// # Errors
    /// [`IntakeError`] where a part cannot be read, or amounts are in several currencies.
    pub fn of_parts(mut parts: Parts) -> Result<Self, IntakeError> {
        let found = parts.each(|part| {
            let (mut customers, mut reader) = (Vec::new(), EventReader::default());
            customers.reserve_exact(part.n_customers());
            for at in 0..part.n_customers() {
                let mut events = Vec::with_capacity(part.n_events(at));
                let customer = part.visit(at, &mut reader, &mut |event| events.push(event))?;
                customers.push(CustomerLog { customer, events });
            }
            Ok((customers, part.into_counts()))
        })?;
        let (mut customers, mut counts) = (Vec::new(), PartCounts::default());
        for (more, of_part) in found {
            customers.extend(more);
            counts.add(of_part);
        }
        customers.par_sort_unstable_by(|a, b| a.customer.cmp(&b.customer));
        let (n_events, n_after, days) = (counts.n_events, counts.n_after, parts.days());
        let (report, profiles_report) = parts.reports(counts)?;
        Ok(Self { customers, n_events, n_after, days, report, profiles_report })
    }
}
