//! Version 1 of a history's bytes: what the store keeps and an export carries.
//!
//! Layout: format byte 1 | fields in the order written below, as varints | CRC-32 (IEEE) of all
//! before it, little-endian. docs/FORMATS.md describes the fields. A reader for every version
//! stays; a newer one is refused.

use thiserror::Error;

use crate::domain::{Channel, Day, Money, Name, Timestamp};

use super::bytes::{Reader, Writer};
use super::contacts::{ContactLog, Responses};
use super::distinct::{Distinct, Usage};
use super::latest::{Basket, Latest, ProfileFacts, Satisfaction, Stamp, Ticket};
use super::recent::RecentIds;
use super::rhythm::RetiredGaps;
use super::squeeze::Slack;
use super::tiles::{Tally, Tiles};
use super::{FirstPurchase, History};

/// This format's number.
const FORMAT: u8 = 1;
/// No list of a history is longer than this.
const ITEMS_MAX: usize = 4096;

/// Why bytes are no history.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// They end too early.
    #[error("the history's bytes end too early")]
    Truncated,
    /// The checksum does not match.
    #[error("the history's checksum does not match: expected {expected:08x}, found {found:08x}")]
    Checksum {
        /// As stored.
        expected: u32,
        /// As computed.
        found: u32,
    },
    /// Written by a newer version.
    #[error("the history has format {found}, this version reads up to {FORMAT}: update tenure")]
    Newer {
        /// The format found.
        found: u8,
    },
    /// A field is out of range although the checksum matches.
    #[error("the history holds an invalid {what}")]
    Invalid {
        /// The field.
        what: &'static str,
    },
}

impl History {
    /// The history's bytes: the same history always gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.out.push(FORMAT);
        write_history(&mut w, self);
        let crc = crc32fast::hash(&w.out);
        w.out.extend_from_slice(&crc.to_le_bytes());
        w.out
    }

    /// Reads back what [`History::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] for anything else; never panics, whatever the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let (&format, _) = bytes.split_first().ok_or(CodecError::Truncated)?;
        if format > FORMAT {
            return Err(CodecError::Newer { found: format });
        }
        let body_len = bytes.len().checked_sub(4).ok_or(CodecError::Truncated)?;
        let (body, crc) = bytes.split_at(body_len);
        let expected = crc.try_into().map(u32::from_le_bytes).map_err(|_| CodecError::Truncated)?;
        let found = crc32fast::hash(body);
        if expected != found {
            return Err(CodecError::Checksum { expected, found });
        }
        if format != FORMAT {
            return Err(CodecError::Invalid { what: "format" });
        }
        let mut r = Reader::new(body.get(1..).ok_or(CodecError::Truncated)?);
        let mut history = read_history(&mut r)?;
        history.slack = Slack::of_len(bytes.len());
        if r.is_done() { Ok(history) } else { Err(CodecError::Invalid { what: "length" }) }
    }
}

fn write_history(w: &mut Writer, history: &History) {
    let History {
        totals,
        n_events,
        n_late,
        first_event,
        newest,
        first_purchase,
        last_purchase,
        last_active,
        tiles,
        retired_gaps,
        categories,
        sales_channels,
        activities,
        devices,
        contacts,
        satisfaction,
        profile,
        basket,
        recent,
        slack: _,
    } = history;
    write_tally(w, totals);
    w.unsigned(*n_events);
    w.unsigned(u64::from(*n_late));
    write_opt(w, first_event.as_ref(), |w, t| w.signed(t.micros()));
    write_opt(w, newest.as_ref(), write_time_day);
    write_opt(w, first_purchase.as_ref(), |w, first| {
        write_day(w, first.day);
        w.signed(first.spend.micros());
    });
    write_opt(w, last_purchase.as_ref(), write_time_day);
    write_opt(w, last_active.as_ref(), |w, t| w.signed(t.micros()));
    write_tiles(w, tiles);
    write_opt(w, retired_gaps.first.as_ref(), |w, d| write_day(w, *d));
    write_opt(w, retired_gaps.last.as_ref(), |w, d| write_day(w, *d));
    w.unsigned(u64::from(retired_gaps.count));
    w.unsigned(retired_gaps.sum_squares);
    w.signed(retired_gaps.sum_log_nanos);
    w.unsigned(u64::from(retired_gaps.max));
    for distinct in [categories, sales_channels, activities, devices] {
        write_distinct(w, distinct);
    }
    write_contacts(w, contacts);
    write_satisfaction(w, satisfaction);
    write_profile(w, profile);
    write_opt(w, basket.updated.as_ref(), |w, t| w.signed(t.micros()));
    write_opt(w, basket.cleared.as_ref(), |w, t| w.signed(t.micros()));
    w.count(recent.ids.len());
    let mut before = 0;
    for (day, tie) in &recent.ids {
        w.signed(i64::from(day.number()) - before);
        before = i64::from(day.number());
        w.fixed(*tie);
    }
}

fn read_history(r: &mut Reader<'_>) -> Result<History, CodecError> {
    Ok(History {
        totals: read_tally(r)?,
        n_events: r.unsigned()?,
        n_late: r.small("late count")?,
        first_event: read_opt(r, read_time)?,
        newest: read_opt(r, read_time_day)?,
        first_purchase: read_opt(r, |r| {
            Ok(FirstPurchase { day: read_day(r)?, spend: read_money(r)? })
        })?,
        last_purchase: read_opt(r, read_time_day)?,
        last_active: read_opt(r, read_time)?,
        tiles: read_tiles(r)?,
        retired_gaps: RetiredGaps {
            first: read_opt(r, read_day)?,
            last: read_opt(r, read_day)?,
            count: r.small("gap count")?,
            sum_squares: r.unsigned()?,
            sum_log_nanos: r.signed()?,
            max: r.small("gap")?,
        },
        categories: read_distinct(r)?,
        sales_channels: read_distinct(r)?,
        activities: read_distinct(r)?,
        devices: read_distinct(r)?,
        contacts: read_contacts(r)?,
        satisfaction: read_satisfaction(r)?,
        profile: read_profile(r)?,
        basket: Basket { updated: read_opt(r, read_time)?, cleared: read_opt(r, read_time)? },
        recent: read_recent(r)?,
        slack: Slack::default(),
    })
}

fn read_recent(r: &mut Reader<'_>) -> Result<RecentIds, CodecError> {
    let n = r.count(ITEMS_MAX, "id count")?;
    let mut ids = Vec::with_capacity(n);
    let mut before = 0_i64;
    for _ in 0..n {
        before = before.saturating_add(r.signed()?);
        ids.push((day_from(before)?, r.fixed()?));
    }
    Ok(RecentIds { ids })
}

fn write_opt<T: ?Sized>(w: &mut Writer, value: Option<&T>, write: impl FnOnce(&mut Writer, &T)) {
    w.flag(value.is_some());
    if let Some(value) = value {
        write(w, value);
    }
}

fn read_opt<T>(
    r: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
) -> Result<Option<T>, CodecError> {
    if r.flag()? { read(r).map(Some) } else { Ok(None) }
}

fn write_day(w: &mut Writer, day: Day) {
    w.signed(i64::from(day.number()));
}

fn day_from(number: i64) -> Result<Day, CodecError> {
    i32::try_from(number).map(Day::from_number).map_err(|_| CodecError::Invalid { what: "day" })
}

fn read_day(r: &mut Reader<'_>) -> Result<Day, CodecError> {
    day_from(r.signed()?)
}

fn read_time(r: &mut Reader<'_>) -> Result<Timestamp, CodecError> {
    r.signed().map(Timestamp::from_micros)
}

fn read_money(r: &mut Reader<'_>) -> Result<Money, CodecError> {
    r.signed().map(Money::from_micros)
}

fn write_time_day(w: &mut Writer, (time, day): &(Timestamp, Day)) {
    w.signed(time.micros());
    write_day(w, *day);
}

fn read_time_day(r: &mut Reader<'_>) -> Result<(Timestamp, Day), CodecError> {
    Ok((read_time(r)?, read_day(r)?))
}

/// Micros in a hundredth of a unit: most sums are whole ones, and take half the bytes as such.
const CENT_MICROS: i64 = 10_000;

/// A tally: a mask of the fields that are not zero and of the sums written in hundredths, then
/// those fields.
fn write_tally(w: &mut Writer, tally: &Tally) {
    let Tally {
        orders,
        purchase_days,
        items,
        discounted,
        refunds,
        activities,
        spend,
        refunded,
        discount,
    } = *tally;
    let counts = [orders, purchase_days, items, discounted, refunds, activities];
    let sums = [spend, refunded, discount];
    let mut mask = 0;
    for (bit, count) in counts.iter().enumerate() {
        mask |= u64::from(*count != 0) << bit;
    }
    let in_cents = |sum: Money| sum.micros() % CENT_MICROS == 0;
    for (bit, sum) in sums.iter().enumerate() {
        mask |= u64::from(*sum != Money::ZERO) << (6 + bit);
        mask |= u64::from(*sum != Money::ZERO && in_cents(*sum)) << (9 + bit);
    }
    w.unsigned(mask);
    counts.into_iter().filter(|count| *count != 0).for_each(|count| w.unsigned(u64::from(count)));
    for sum in sums.into_iter().filter(|sum| *sum != Money::ZERO) {
        w.signed(if in_cents(sum) { sum.micros() / CENT_MICROS } else { sum.micros() });
    }
}

fn read_tally(r: &mut Reader<'_>) -> Result<Tally, CodecError> {
    let mask = r.unsigned()?;
    if mask >> 12 != 0 {
        return Err(CodecError::Invalid { what: "tally" });
    }
    let mut counts = [0_u32; 6];
    let mut sums = [Money::ZERO; 3];
    for (bit, count) in counts.iter_mut().enumerate() {
        if mask >> bit & 1 == 1 {
            *count = r.small("count")?;
        }
    }
    for (bit, sum) in sums.iter_mut().enumerate() {
        if mask >> (6 + bit) & 1 == 1 {
            let number = r.signed()?;
            let unit = if mask >> (9 + bit) & 1 == 1 { CENT_MICROS } else { 1 };
            let micros = number.checked_mul(unit).ok_or(CodecError::Invalid { what: "sum" })?;
            *sum = Money::from_micros(micros);
        }
    }
    let [orders, purchase_days, items, discounted, refunds, activities] = counts;
    let [spend, refunded, discount] = sums;
    Ok(Tally {
        orders,
        purchase_days,
        items,
        discounted,
        refunds,
        activities,
        spend,
        refunded,
        discount,
    })
}

fn write_tiles(w: &mut Writer, tiles: &Tiles) {
    // A day has one purchase day or none: its orders say which. Joined days say it themselves.
    let days = tiles.days.iter().map(|(day, tally)| {
        let is_plain = tally.purchase_days == u32::from(tally.orders > 0);
        let purchase_days = if is_plain { 0 } else { tally.purchase_days };
        (i64::from(day.number()), Tally { purchase_days, ..*tally })
    });
    write_spans(w, tiles.days.len(), days);
    let quarters = tiles.quarters.iter().map(|(quarter, tally)| (i64::from(*quarter), *tally));
    write_spans(w, tiles.quarters.len(), quarters);
}

fn write_spans(w: &mut Writer, n: usize, spans: impl Iterator<Item = (i64, Tally)>) {
    w.count(n);
    let mut before = 0;
    for (number, tally) in spans {
        w.signed(number - before);
        before = number;
        write_tally(w, &tally);
    }
}

fn read_tiles(r: &mut Reader<'_>) -> Result<Tiles, CodecError> {
    let days = read_spans(r, |number, mut tally| {
        tally.purchase_days = tally.purchase_days.max(u32::from(tally.orders > 0));
        (Day::from_number(number), tally)
    })?;
    Ok(Tiles { days, quarters: read_spans(r, |number, tally| (number, tally))? })
}

fn read_spans<T>(r: &mut Reader<'_>, span: impl Fn(i32, Tally) -> T) -> Result<Vec<T>, CodecError> {
    let n = r.count(ITEMS_MAX, "tile count")?;
    let mut spans = Vec::with_capacity(n);
    let mut before = 0_i64;
    for idx in 0..n {
        let step = r.signed()?;
        if idx > 0 && step <= 0 {
            return Err(CodecError::Invalid { what: "tile order" });
        }
        before = before.saturating_add(step);
        let number = i32::try_from(before).map_err(|_| CodecError::Invalid { what: "tile" })?;
        spans.push(span(number, read_tally(r)?));
    }
    Ok(spans)
}

fn write_distinct(w: &mut Writer, distinct: &Distinct) {
    w.flag(distinct.overflowed);
    w.count(distinct.kept.len());
    for usage in &distinct.kept {
        // The hash is that of the name: it is worked out again when read.
        let Usage { hash: _, name, count, last_day, recent_days, spend } = usage;
        w.text(name.as_str());
        w.unsigned(u64::from(*count));
        write_day(w, *last_day);
        w.unsigned(u64::from(*recent_days));
        w.signed(spend.micros());
    }
}

fn read_distinct(r: &mut Reader<'_>) -> Result<Distinct, CodecError> {
    let overflowed = r.flag()?;
    let n = r.count(ITEMS_MAX, "name count")?;
    let mut kept: Vec<Usage> = Vec::with_capacity(n);
    for _ in 0..n {
        let name = read_name(r)?;
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_str().as_bytes());
        if kept.last().is_some_and(|before| before.hash >= hash) {
            return Err(CodecError::Invalid { what: "name order" });
        }
        kept.push(Usage {
            hash,
            name,
            count: r.small("count")?,
            last_day: read_day(r)?,
            recent_days: r.small("days of use")?,
            spend: read_money(r)?,
        });
    }
    Ok(Distinct { kept, overflowed })
}

fn read_name(r: &mut Reader<'_>) -> Result<Name, CodecError> {
    Name::try_new(r.text()?).map_err(|_| CodecError::Invalid { what: "name" })
}

fn write_contacts(w: &mut Writer, contacts: &ContactLog) {
    let ContactLog { days, channels, campaigns, last_by_channel, last_response } = contacts;
    w.count(days.len());
    for (day, channel, count) in days {
        write_day(w, *day);
        w.count(channel.index());
        w.unsigned(u64::from(*count));
    }
    for responses in channels {
        w.unsigned(u64::from(responses.delivered));
        w.unsigned(u64::from(responses.opened));
        w.unsigned(u64::from(responses.clicked));
    }
    w.count(campaigns.len());
    for (hash, time) in campaigns {
        w.fixed(*hash);
        w.signed(time.micros());
    }
    for last in last_by_channel {
        write_opt(w, last.as_ref(), |w, t| w.signed(t.micros()));
    }
    write_opt(w, last_response.as_ref(), |w, t| w.signed(t.micros()));
}

fn read_contacts(r: &mut Reader<'_>) -> Result<ContactLog, CodecError> {
    let mut days = Vec::new();
    for _ in 0..r.count(ITEMS_MAX, "contact count")? {
        let day = read_day(r)?;
        let at = r.count(Channel::ALL.len() - 1, "channel")?;
        days.push((day, Channel::ALL[at], r.small("count")?));
    }
    let mut channels = [Responses::default(); 8];
    for responses in &mut channels {
        *responses = Responses {
            delivered: r.small("count")?,
            opened: r.small("count")?,
            clicked: r.small("count")?,
        };
    }
    let mut campaigns = Vec::new();
    for _ in 0..r.count(ITEMS_MAX, "campaign count")? {
        campaigns.push((r.fixed()?, read_time(r)?));
    }
    let mut last_by_channel = [None; 8];
    for last in &mut last_by_channel {
        *last = read_opt(r, read_time)?;
    }
    let last_response = read_opt(r, read_time)?;
    Ok(ContactLog { days, channels, campaigns, last_by_channel, last_response })
}

fn write_stamp(w: &mut Writer, stamp: Stamp) {
    w.signed(stamp.time.micros());
    w.fixed(stamp.tie);
}

fn read_stamp(r: &mut Reader<'_>) -> Result<Stamp, CodecError> {
    Ok(Stamp { time: read_time(r)?, tie: r.fixed()? })
}

fn write_latest<T>(w: &mut Writer, slot: &Option<Latest<T>>, write: impl FnOnce(&mut Writer, &T)) {
    write_opt(w, slot.as_ref(), |w, held| {
        write_stamp(w, held.stamp);
        write(w, &held.value);
    });
}

fn read_latest<T>(
    r: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
) -> Result<Option<Latest<T>>, CodecError> {
    read_opt(r, |r| Ok(Latest { stamp: read_stamp(r)?, value: read(r)? }))
}

fn write_satisfaction(w: &mut Writer, satisfaction: &Satisfaction) {
    let Satisfaction { complaints, tickets, nps, csat } = satisfaction;
    w.count(complaints.len());
    complaints.iter().for_each(|stamp| write_stamp(w, *stamp));
    w.count(tickets.len());
    for ticket in tickets {
        w.fixed(ticket.hash);
        write_stamp(w, ticket.stamp);
        w.flag(ticket.open);
        w.flag(ticket.critical);
        write_opt(w, ticket.first_opened.as_ref(), |w, t| w.signed(t.micros()));
    }
    write_latest(w, nps, |w, score| w.unsigned(u64::from(*score)));
    write_latest(w, csat, |w, score| w.unsigned(u64::from(*score)));
}

fn read_satisfaction(r: &mut Reader<'_>) -> Result<Satisfaction, CodecError> {
    let mut complaints = Vec::new();
    for _ in 0..r.count(ITEMS_MAX, "complaint count")? {
        complaints.push(read_stamp(r)?);
    }
    let mut tickets = Vec::new();
    for _ in 0..r.count(ITEMS_MAX, "ticket count")? {
        tickets.push(Ticket {
            hash: r.fixed()?,
            stamp: read_stamp(r)?,
            open: r.flag()?,
            critical: r.flag()?,
            first_opened: read_opt(r, read_time)?,
        });
    }
    let nps = read_latest(r, |r| r.small("score"))?;
    Ok(Satisfaction { complaints, tickets, nps, csat: read_latest(r, |r| r.small("score"))? })
}

fn write_profile(w: &mut Writer, profile: &ProfileFacts) {
    let ProfileFacts {
        consents,
        reachable,
        email_known,
        do_not_contact,
        loyalty_member,
        loyalty_points,
        b2b,
        contact_people,
        csm_changed,
        persona,
        acquisition_channel,
        tags,
        has_updates,
    } = profile;
    for slot in consents.iter().chain(reachable) {
        write_latest(w, slot, |w, yes| w.flag(*yes));
    }
    for slot in [email_known, do_not_contact, loyalty_member, b2b] {
        write_latest(w, slot, |w, yes| w.flag(*yes));
    }
    for slot in [loyalty_points, contact_people] {
        write_latest(w, slot, |w, count| w.unsigned(u64::from(*count)));
    }
    write_latest(w, csm_changed, |w, day| write_day(w, *day));
    for slot in [persona, acquisition_channel] {
        write_latest(w, slot, |w, name| w.text(name.as_str()));
    }
    write_latest(w, tags, |w, tags| {
        w.count(tags.len());
        tags.iter().for_each(|tag| w.text(tag.as_str()));
    });
    write_latest(w, has_updates, |w, yes| w.flag(*yes));
}

fn read_profile(r: &mut Reader<'_>) -> Result<ProfileFacts, CodecError> {
    let mut profile = ProfileFacts::default();
    for slot in profile.consents.iter_mut().chain(&mut profile.reachable) {
        *slot = read_latest(r, |r| r.flag())?;
    }
    profile.email_known = read_latest(r, |r| r.flag())?;
    profile.do_not_contact = read_latest(r, |r| r.flag())?;
    profile.loyalty_member = read_latest(r, |r| r.flag())?;
    profile.b2b = read_latest(r, |r| r.flag())?;
    profile.loyalty_points = read_latest(r, |r| r.small("points"))?;
    profile.contact_people = read_latest(r, |r| r.small("count"))?;
    profile.csm_changed = read_latest(r, read_day)?;
    profile.persona = read_latest(r, read_name)?;
    profile.acquisition_channel = read_latest(r, read_name)?;
    profile.tags = read_latest(r, |r| {
        let n = r.count(ITEMS_MAX, "tag count")?;
        (0..n).map(|_| read_name(r)).collect()
    })?;
    profile.has_updates = read_latest(r, |r| r.flag())?;
    Ok(profile)
}
