//! One part of a log: the events of some customers, told apart and put in order.
//!
//! In: the records of a part, in any order. Out: its customers by id, each with its events by
//! time, then id, and what was counted. Each customer's events lie side by side, so whoever
//! takes the customers one by one reads memory in one go. While a part is put in order it takes
//! up to three times the bytes of its records, afterwards about as much as they.

use std::borrow::Cow;

use super::content_read::KindReader;
use super::content_read::time_of;
use super::error::IntakeError;
use super::event::Event;
use super::part_counts::PartCounts;
use super::part_slice::arrange;
use super::part_slice::split;
use crate::domain::CustomerId;
use crate::domain::Day;
use crate::domain::EventId;
use crate::domain::Timestamp;

/// Bytes of a customer's id that tell most customers apart without a look at the others.
const KEY_BYTES: usize = 16;

/// What holds for all parts of a log.
#[derive(Debug, Clone)]
pub(super) struct PartSpec {
    /// Events at or after it are left out.
    pub(super) before: Timestamp,
    /// How many files are of events; one of facts may follow.
    pub(super) n_event_files: usize,
}

/// A customer of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    /// The first bytes of the id, as a number that is ordered as they are.
    key: u128,
    /// Where the id stands; the events follow it.
    at: usize,
    id_bytes: u32,
    n_events: u32,
    newest: Timestamp,
}

impl Who {
    fn text<'b>(&self, bytes: &'b [u8]) -> &'b str {
        let text = bytes.get(self.at..self.at + self.id_bytes as usize).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// The customers of a part, by ascending id.
#[derive(Debug, Default)]
pub struct Part {
    /// Customer by customer: the id, then each event as [`put_event`] writes it.
    bytes: Vec<u8>,
    customers: Vec<Who>,
    counts: PartCounts,
}

/// The bytes are none that this program wrote.
pub(super) fn damaged() -> IntakeError {
    IntakeError::SpillDamaged { path: "a part of the log".to_owned() }
}

impl Part {
    pub(super) fn open(bytes: Cow<'_, [u8]>, spec: &PartSpec) -> Result<Self, IntakeError> {
        let n_bytes = bytes.len();
        let slices = split(&bytes)?;
        drop(bytes);
        let mut part = Self { bytes: Vec::with_capacity(n_bytes), ..Self::default() };
        for slice in slices {
            let counts = arrange(&slice, spec, &mut part)?;
            part.counts.add(counts);
        }
        let Self { bytes, customers, .. } = &mut part;
        customers.sort_unstable_by(|a, b| {
            a.key.cmp(&b.key).then_with(|| a.text(bytes).cmp(b.text(bytes)))
        });
        Ok(part)
    }

    /// Begins a customer, whose events are put next.
    pub(super) fn put_customer(&mut self, id: &str, n_events: usize, newest: Timestamp) {
        let mut key = [0; KEY_BYTES];
        for (place, byte) in key.iter_mut().zip(id.bytes()) {
            *place = byte;
        }
        self.customers.push(Who {
            key: u128::from_be_bytes(key),
            at: self.bytes.len(),
            // An id has at most 256 bytes, and a slice fewer than 2^32 records.
            id_bytes: u32::try_from(id.len()).unwrap_or(u32::MAX),
            n_events: u32::try_from(n_events).unwrap_or(u32::MAX),
            newest,
        });
        self.bytes.extend_from_slice(id.as_bytes());
    }

    /// Adds an event of the customer begun last, given its content from the time on.
    pub(super) fn put_event(&mut self, id: EventId, day: Day, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&id.bits().to_le_bytes());
        self.bytes.extend_from_slice(&day.number().to_le_bytes());
        self.bytes.extend_from_slice(content);
    }

    /// How many customers it has; none without an event before the instant.
    #[must_use]
    pub const fn n_customers(&self) -> usize {
        self.customers.len()
    }

    /// What was counted.
    #[must_use]
    pub const fn counts(&self) -> &PartCounts {
        &self.counts
    }

    /// What was counted, and nothing else.
    pub(super) fn into_counts(self) -> PartCounts {
        self.counts
    }

    /// The id of the customer at a place, as it came.
    ///
    /// # Panics
    /// Never for a place below [`Part::n_customers`].
    #[must_use]
    pub fn id(&self, at: usize) -> &str {
        self.customers[at].text(&self.bytes)
    }

    /// Number of events of the customer at a place.
    ///
    /// # Panics
    /// Never for a place below [`Part::n_customers`].
    #[must_use]
    pub fn n_events(&self, at: usize) -> usize {
        self.customers[at].n_events as usize
    }

    /// The time of the newest event of the customer at a place.
    ///
    /// # Panics
    /// Never for a place below [`Part::n_customers`].
    #[must_use]
    pub fn newest(&self, at: usize) -> Option<Timestamp> {
        let who = &self.customers[at];
        (who.n_events > 0).then_some(who.newest)
    }

    /// Hands the events of the customer at a place to a visitor, by time, then id.
    ///
    /// # Errors
    /// [`IntakeError::SpillDamaged`] for bytes that this program did not write.
    ///
    /// # Panics
    /// Never for a place below [`Part::n_customers`].
    pub fn visit(
        &self,
        at: usize,
        reader: &mut EventReader,
        visit: &mut dyn FnMut(Event),
    ) -> Result<CustomerId, IntakeError> {
        let who = &self.customers[at];
        let customer = CustomerId::try_new(who.text(&self.bytes)).map_err(|_| damaged())?;
        let mut rest = self.bytes.get(who.at + who.id_bytes as usize..).ok_or_else(damaged)?;
        for _ in 0..who.n_events {
            let (event, after) = take_event(rest, &customer, reader).ok_or_else(damaged)?;
            rest = after;
            visit(event);
        }
        Ok(customer)
    }
}

/// The event that bytes begin with, and what follows it.
fn take_event<'b>(
    bytes: &'b [u8],
    customer: &CustomerId,
    reader: &mut EventReader,
) -> Option<(Event, &'b [u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (day, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (content, rest) = rest.split_at_checked(length)?;
    let event = Event {
        customer: customer.clone(),
        id: EventId::from_bits(u128::from_le_bytes(*id)),
        time: time_of(content)?,
        day: Day::from_number(i32::from_le_bytes(*day)),
        kind: reader.0.read(content)?,
    };
    Some((event, rest))
}

/// Reads events of parts; one that is kept lets events share their names.
#[derive(Debug, Default)]
pub struct EventReader(KindReader);
