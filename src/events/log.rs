//! A whole log in memory: each customer's events in time order.
//!
//! In: files of events and, optionally, a table of customers' facts. Out: customers by id, and
//! the intake report. Only events strictly before the given instant are kept: what training and
//! batch scoring may not see never reaches them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::IntakeError;
use super::event::Event;
use super::intake::{Intake, ReadSpec, RowOutcome};
use super::profiles::read_profiles;
use super::report::IntakeReport;
use super::rules::Rules;
use crate::domain::{AsOf, CustomerId, Day};

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
    pub fn read(spec: &LogSpec, progress: &mut dyn FnMut(u64)) -> Result<Self, IntakeError> {
        let mut log = Self::default();
        let mut by_customer: BTreeMap<CustomerId, Vec<Event>> = BTreeMap::new();
        let mut first_time = None;
        let mut n_rows = 0_u64;
        let mut intake = Intake::new(&spec.read, &spec.rules);
        for path in &spec.events {
            intake.read(path, &mut |outcome| {
                n_rows += 1;
                if n_rows.is_multiple_of(65_536) {
                    progress(n_rows);
                }
                let RowOutcome::Kept(event) = outcome else { return };
                if event.time >= spec.before.instant() {
                    log.n_after += 1;
                    return;
                }
                first_time = Some(
                    first_time.map_or(event.time, |t: crate::domain::Timestamp| t.min(event.time)),
                );
                log.days = Some(match log.days {
                    None => (event.day, event.day),
                    Some((first, last)) => (first.min(event.day), last.max(event.day)),
                });
                push(&mut by_customer, event);
            })?;
        }
        log.report = intake.finish()?;
        progress(n_rows);
        if let (Some(path), Some(known_from)) = (&spec.profiles, first_time) {
            let read = ReadSpec { columns: super::ColumnMapping::default(), ..spec.read.clone() };
            let mut n_after = 0;
            log.profiles_report =
                Some(read_profiles(path, &read, &spec.rules, known_from, &mut |event| {
                    if event.time < spec.before.instant() {
                        push(&mut by_customer, event);
                    } else {
                        n_after += 1;
                    }
                })?);
            log.n_after += n_after;
        }
        log.customers = by_customer
            .into_iter()
            .map(|(customer, mut events)| {
                events.sort_by_key(|event| (event.time, event.id));
                CustomerLog { customer, events }
            })
            .collect();
        log.n_events = log.customers.iter().map(|c| c.events.len() as u64).sum();
        Ok(log)
    }
}

fn push(by_customer: &mut BTreeMap<CustomerId, Vec<Event>>, event: Event) {
    if let Some(events) = by_customer.get_mut(&event.customer) {
        events.push(event);
    } else {
        by_customer.insert(event.customer.clone(), vec![event]);
    }
}
