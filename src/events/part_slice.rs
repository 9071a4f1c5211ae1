//! A part of a log by slices that fit into a core's own cache, each put in order by itself.
//!
//! In: the records of a part, in any order. Out: slices, each with all records of some customers;
//! and a slice's customers with their events, told apart, into the part. Ten million events of a
//! million customers would else be as many random looks at memory, for every step.

use xxhash_rust::xxh3::xxh3_64;

use super::content_read::customer_of;
use super::content_read::time_of;
use super::error::IntakeError;
use super::part::Part;
use super::part::PartSpec;
use super::part::damaged;
use super::part_counts::Counter;
use super::part_counts::Met;
use super::part_counts::PartCounts;
use super::record;
use super::record::Place;
use crate::domain::Day;
use crate::domain::EventId;
use crate::domain::Timestamp;

/// Bytes of records in a slice, about: with the tables made of them they stay in a cache of 1 MB.
const SLICE_BYTES: usize = 256 << 10;
/// Most slices: more are as many places to write to that no cache holds.
const SLICES_MAX: usize = 512;
/// Bits of the hash that choose the slice: below those of parts and shards, above those of tables.
const SLICE_SHIFT: u32 = 32;
/// Bytes of the hash that stands before each record of a slice.
const HASH_BYTES: usize = 8;

/// Takes a part's records apart by the hash of their customers, which is put before each.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<Vec<u8>>, IntakeError> {
    let n_slices = (bytes.len() / SLICE_BYTES).clamp(1, SLICES_MAX).next_power_of_two();
    let each = bytes.len() / n_slices;
    let mut slices: Vec<Vec<u8>> = Vec::with_capacity(n_slices);
    slices.resize_with(n_slices, || Vec::with_capacity(each + each / 4));
    let mut at = 0;
    while at < bytes.len() {
        let length = record::length(&bytes[at..]).ok_or_else(damaged)?;
        let record = bytes.get(at..at + length).ok_or_else(damaged)?;
        let content = record::content_of(record).ok_or_else(damaged)?;
        let (customer, _) = customer_of(content).ok_or_else(damaged)?;
        let hash = xxh3_64(customer.as_bytes());
        #[allow(clippy::cast_possible_truncation, reason = "masked to the number of slices")]
        let slice = &mut slices[(hash >> SLICE_SHIFT) as usize & (n_slices - 1)];
        slice.extend_from_slice(&hash.to_le_bytes());
        slice.extend_from_slice(record);
        at += length;
    }
    Ok(slices)
}

/// A customer met in a slice.
#[derive(Debug, Clone, Copy)]
struct Who<'s> {
    hash: u64,
    id: &'s str,
    n_events: usize,
    met: Met,
}

/// An event of a slice.
#[derive(Debug, Clone, Copy)]
struct Brief<'s> {
    id: EventId,
    time: Timestamp,
    day: Day,
    /// What follows the customer's id.
    content: &'s [u8],
    who: u32,
}

/// Tells the events of a slice apart and puts its customers into the part.
pub(super) fn arrange(
    slice: &[u8],
    spec: &PartSpec,
    part: &mut Part,
) -> Result<PartCounts, IntakeError> {
    let order = order_of(slice)?;
    let mut counter = Counter::new(spec.n_event_files, order.len());
    let (mut customers, mut events) = (Customers::default(), Vec::with_capacity(order.len()));
    for (_, at) in order {
        let at = at as usize;
        let hash = slice.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(damaged)?;
        let record = record::read(&slice[at + HASH_BYTES..]).ok_or_else(damaged)?;
        let (id, end) = customer_of(record.content).ok_or_else(damaged)?;
        let content = &record.content[end..];
        let time = time_of(content).ok_or_else(damaged)?;
        let who = customers.find(u64::from_le_bytes(*hash), id)?;
        let known = &mut customers.all[who as usize];
        let id = counter.count(&record, (id, content), &mut known.met).ok_or_else(damaged)?;
        let Some(id) = id else { continue };
        if time >= spec.before {
            counter.count_after();
            continue;
        }
        known.n_events += 1;
        events.push(Brief { id, time, day: record.day, content, who });
    }
    let counts = counter.finish(events.len() as u64);
    put(customers.all, &events, part);
    Ok(counts)
}

/// Where records begin, in the order of the log.
fn order_of(slice: &[u8]) -> Result<Vec<(Place, u32)>, IntakeError> {
    let mut order = Vec::new();
    let mut at = 0;
    while at < slice.len() {
        let record = slice.get(at + HASH_BYTES..).ok_or_else(damaged)?;
        let place = record::place_of(record).ok_or_else(damaged)?;
        order.push((place, u32::try_from(at).map_err(|_| too_large())?));
        at += HASH_BYTES + record::length(record).ok_or_else(damaged)?;
    }
    // Not the unstable sort: files and row groups come in long runs that are in order.
    order.sort();
    Ok(order)
}

/// Beyond 4 GiB: hundreds of millions of events of a few customers.
fn too_large() -> IntakeError {
    IntakeError::PartTooLarge
}

/// Puts customers and, in their order, their events into the part.
fn put(all: Vec<Who<'_>>, briefs: &[Brief<'_>], part: &mut Part) {
    let mut next = Vec::with_capacity(all.len());
    let mut first = 0;
    for who in &all {
        next.push(first);
        first += who.n_events;
    }
    let mut order = vec![0_usize; briefs.len()];
    for (at, brief) in briefs.iter().enumerate() {
        let place = &mut next[brief.who as usize];
        order[*place] = at;
        *place += 1;
    }
    let mut rest = order.as_mut_slice();
    for who in all {
        let (own, after) = std::mem::take(&mut rest).split_at_mut(who.n_events);
        rest = after;
        own.sort_unstable_by_key(|at| (briefs[*at].time, briefs[*at].id));
        let Some(newest) = own.last() else { continue };
        part.put_customer(who.id, own.len(), briefs[*newest].time);
        for at in own {
            let Brief { id, day, content, .. } = briefs[*at];
            part.put_event(id, day, content);
        }
    }
}

/// The customers met so far: open addressing over a uniform hash.
#[derive(Debug, Default)]
struct Customers<'s> {
    all: Vec<Who<'s>>,
    /// Places in `all`, plus one; 0 is free.
    slots: Vec<u32>,
}

impl<'s> Customers<'s> {
    /// The place of a customer.
    fn find(&mut self, hash: u64, id: &'s str) -> Result<u32, IntakeError> {
        if (self.all.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut slot = slot_of(hash, mask);
        while let Some(held) = self.slots[slot].checked_sub(1) {
            let who = &self.all[held as usize];
            if who.hash == hash && who.id == id {
                return Ok(held);
            }
            slot = (slot + 1) & mask;
        }
        self.all.push(Who { hash, id, n_events: 0, met: Met::default() });
        let place = u32::try_from(self.all.len()).map_err(|_| too_large())?;
        self.slots[slot] = place;
        Ok(place - 1)
    }

    fn grow(&mut self) {
        let n_slots = (self.slots.len() * 2).max(1 << 10);
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
