//! One part of a log: the events of some customers, told apart and put in order.
//!
//! In: the records of a part, in any order. Out: its customers by id, each with its events by
//! time, then id, and what was counted. It takes up to 120 bytes an event beside the records
//! while they are put in order, and 32 afterwards.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::content_read::KindReader;
use super::content_read::customer_of;
use super::content_read::time_of;
use super::error::IntakeError;
use super::event::Event;
use super::part_counts::Counter;
use super::part_counts::Met;
use super::part_counts::PartCounts;
use super::record;
use super::record::Place;
use crate::domain::CustomerId;
use crate::domain::EventId;
use crate::domain::Timestamp;

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
struct Who {
    hash: u64,
    /// Where the id stands.
    at: usize,
    len: usize,
    /// Its events: from, and how many.
    first: usize,
    n_events: usize,
    met: Met,
}

impl Who {
    fn text<'b>(&self, bytes: &'b [u8]) -> &'b str {
        let text = bytes.get(self.at..self.at + self.len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// An event of a part, in short.
#[derive(Debug, Clone, Copy, Default)]
struct Brief {
    id: [u64; 2],
    time: i64,
    /// Where its record begins.
    at: u32,
    who: u32,
}

impl Brief {
    const fn id(&self) -> EventId {
        EventId::from_bits((self.id[0] as u128) << 64 | self.id[1] as u128)
    }
}

/// The customers of a part, by ascending id.
#[derive(Debug)]
pub struct Part<'p> {
    bytes: Cow<'p, [u8]>,
    customers: Vec<Who>,
    events: Vec<Brief>,
    counts: PartCounts,
}

/// The bytes are none that this program wrote.
fn damaged() -> IntakeError {
    IntakeError::SpillDamaged { path: "a part of the log".to_owned() }
}

impl<'p> Part<'p> {
    pub(super) fn open(bytes: Cow<'p, [u8]>, spec: &PartSpec) -> Result<Self, IntakeError> {
        let order = order_of(&bytes)?;
        let mut counter = Counter::new(spec.n_event_files);
        let (mut customers, mut events) = (Customers::default(), Vec::with_capacity(order.len()));
        for (_, at) in order {
            let start = at as usize;
            let record = record::read(&bytes[start..]).ok_or_else(damaged)?;
            let (text, end) = customer_of(record.content).ok_or_else(damaged)?;
            let rest = &record.content[end..];
            let time = time_of(rest).ok_or_else(damaged)?;
            let length = record::length(&bytes[start..]).ok_or_else(damaged)?;
            let id_at = start + length - record.content.len() + end - text.len();
            let who = customers.find(&bytes, text, id_at)?;
            let who_met = &mut customers.all[who as usize].met;
            let id = counter.count(&record, (text, rest), who_met).ok_or_else(damaged)?;
            let Some(id) = id else { continue };
            if time >= spec.before {
                counter.count_after();
                continue;
            }
            let bits = id.bits();
            #[allow(clippy::cast_possible_truncation, reason = "takes the halves apart")]
            let id = [(bits >> 64) as u64, bits as u64];
            customers.all[who as usize].n_events += 1;
            events.push(Brief { id, time: time.micros(), at, who });
        }
        let counts = counter.finish(events.len() as u64);
        let (customers, events) = arranged(&bytes, customers.all, events);
        Ok(Self { bytes, customers, events, counts })
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
        self.customers[at].n_events
    }

    /// The time of the newest event of the customer at a place.
    ///
    /// # Panics
    /// Never for a place below [`Part::n_customers`].
    #[must_use]
    pub fn newest(&self, at: usize) -> Option<Timestamp> {
        let Who { first, n_events, .. } = self.customers[at];
        let newest = self.events[first..first + n_events].last();
        newest.map(|brief| Timestamp::from_micros(brief.time))
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
        for brief in &self.events[who.first..who.first + who.n_events] {
            let record = record::read(&self.bytes[brief.at as usize..]).ok_or_else(damaged)?;
            let rest = &record.content[4 + who.len..];
            let kind = reader.0.read(rest).ok_or_else(damaged)?;
            visit(Event {
                customer: customer.clone(),
                id: brief.id(),
                time: Timestamp::from_micros(brief.time),
                day: record.day,
                kind,
            });
        }
        Ok(customer)
    }
}

/// Reads events of parts; one that is kept lets events share their names.
#[derive(Debug, Default)]
pub struct EventReader(KindReader);

/// Where records begin, in the order of the log.
fn order_of(bytes: &[u8]) -> Result<Vec<(Place, u32)>, IntakeError> {
    let mut order = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = record::length(&bytes[at..]).ok_or_else(damaged)?;
        let place = record::place_of(&bytes[at..]).ok_or_else(damaged)?;
        order.push((place, u32::try_from(at).map_err(|_| too_large())?));
        at += length;
    }
    if !order.is_sorted() {
        order.sort_unstable();
    }
    Ok(order)
}

/// Beyond 4 GiB: hundreds of millions of events of a few customers.
fn too_large() -> IntakeError {
    IntakeError::PartTooLarge
}

/// Puts customers in the order of their ids and events in that of their customers.
fn arranged(bytes: &[u8], mut all: Vec<Who>, briefs: Vec<Brief>) -> (Vec<Who>, Vec<Brief>) {
    let mut first = 0;
    let mut next = Vec::with_capacity(all.len());
    for who in &mut all {
        who.first = first;
        next.push(first);
        first += who.n_events;
    }
    let mut events = vec![Brief::default(); briefs.len()];
    for brief in briefs {
        let place = &mut next[brief.who as usize];
        events[*place] = brief;
        *place += 1;
    }
    for who in &all {
        let own = &mut events[who.first..who.first + who.n_events];
        own.sort_unstable_by_key(|brief| (brief.time, brief.id));
    }
    all.retain(|who| who.n_events > 0);
    all.sort_unstable_by(|a, b| a.text(bytes).cmp(b.text(bytes)));
    (all, events)
}

/// The customers met so far: open addressing over a uniform hash.
#[derive(Debug, Default)]
struct Customers {
    all: Vec<Who>,
    /// Places in `all`, plus one; 0 is free.
    slots: Vec<u32>,
}

impl Customers {
    /// The place of a customer, whose id stands somewhere in the bytes.
    fn find(&mut self, bytes: &[u8], text: &str, at: usize) -> Result<u32, IntakeError> {
        if (self.all.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let hash = xxh3_64(text.as_bytes());
        let mask = self.slots.len() - 1;
        let mut slot = slot_of(hash, mask);
        while let Some(held) = self.slots[slot].checked_sub(1) {
            let who = &self.all[held as usize];
            if who.hash == hash && who.text(bytes) == text {
                return Ok(held);
            }
            slot = (slot + 1) & mask;
        }
        self.all.push(Who {
            hash,
            at,
            len: text.len(),
            first: 0,
            n_events: 0,
            met: Met::default(),
        });
        let place = u32::try_from(self.all.len()).map_err(|_| too_large())?;
        self.slots[slot] = place;
        Ok(place - 1)
    }

    fn grow(&mut self) {
        let n_slots = (self.slots.len() * 2).max(1 << 8);
        self.slots = vec![0; n_slots];
        for (place, who) in (1..).zip(&self.all) {
            let mut slot = slot_of(who.hash, n_slots - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (n_slots - 1);
            }
            self.slots[slot] = place;
        }
    }
}

/// The low bits: the high ones are the part's own and nearly alike.
#[allow(clippy::cast_possible_truncation, reason = "masked to the table's length")]
const fn slot_of(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}
