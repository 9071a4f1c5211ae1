//! Last-writer-wins facts: profile, consents, scores given, tickets, the basket.
//!
//! "Last" is by event time, then by event id, never by arrival: the order in which events come
//! in does not matter.

use crate::domain::{Channel, Day, EventId, Name, Timestamp};
use crate::events::{Cart, Event, Feedback, Profile, Severity};

/// Complaints and tickets remembered: the newest ones.
const COMPLAINTS_MAX: usize = 8;
const TICKETS_MAX: usize = 16;

/// When a fact was said, and by which event (which decides between equal times).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub(super) time: Timestamp,
    pub(super) tie: u64,
}

impl Stamp {
    pub(super) fn of(event: &Event) -> Self {
        Self { time: event.time, tie: tie_of(event.id) }
    }
}

/// The lower half of an event id: what stored state keeps of it.
pub(super) fn tie_of(id: EventId) -> u64 {
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let tie = id.bits() as u64;
    tie
}

/// A fact and when it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest<T> {
    pub(super) stamp: Stamp,
    pub(super) value: T,
}

impl<T> Latest<T> {
    /// The fact.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// When it was said.
    pub const fn time(&self) -> Timestamp {
        self.stamp.time
    }
}

pub(super) fn set<T>(slot: &mut Option<Latest<T>>, stamp: Stamp, value: T) {
    if slot.as_ref().is_none_or(|held| held.stamp < stamp) {
        *slot = Some(Latest { stamp, value });
    }
}

fn set_some<T: Clone>(slot: &mut Option<Latest<T>>, stamp: Stamp, value: Option<&T>) {
    if let Some(value) = value {
        set(slot, stamp, value.clone());
    }
}

fn merge_slot<T: Clone>(slot: &mut Option<Latest<T>>, other: &Option<Latest<T>>) {
    if let Some(other) = other {
        set(slot, other.stamp, other.value.clone());
    }
}

/// Facts about the customer, each the newest said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileFacts {
    /// Consent by channel.
    pub consents: [Option<Latest<bool>>; 8],
    /// Deliverability by channel.
    pub reachable: [Option<Latest<bool>>; 8],
    /// Whether an e-mail address is known.
    pub email_known: Option<Latest<bool>>,
    /// Whether the customer asked for no contact at all.
    pub do_not_contact: Option<Latest<bool>>,
    /// Whether enrolled in the loyalty programme.
    pub loyalty_member: Option<Latest<bool>>,
    /// Points in the loyalty programme.
    pub loyalty_points: Option<Latest<u32>>,
    /// Whether a business.
    pub b2b: Option<Latest<bool>>,
    /// Known contact people.
    pub contact_people: Option<Latest<u32>>,
    /// When the customer success manager changed.
    pub csm_changed: Option<Latest<Day>>,
    /// Persona given from outside.
    pub persona: Option<Latest<Name>>,
    /// How the customer was acquired.
    pub acquisition_channel: Option<Latest<Name>>,
    /// Tags.
    pub tags: Option<Latest<Vec<Name>>>,
    /// Whether content waits that the customer had not seen when it was said.
    pub has_updates: Option<Latest<bool>>,
}

impl ProfileFacts {
    /// Consent for a channel, if said.
    #[must_use]
    pub fn consent(&self, channel: Channel) -> Option<bool> {
        self.consents[channel.index()].as_ref().map(|held| held.value)
    }

    /// Deliverability of a channel, if said.
    #[must_use]
    pub fn is_reachable(&self, channel: Channel) -> Option<bool> {
        self.reachable[channel.index()].as_ref().map(|held| held.value)
    }

    /// Keeps the first tags, as far as their bytes fit.
    pub(super) fn keep_tags(&mut self, n_bytes: usize) {
        if let Some(tags) = &mut self.tags {
            let mut left = n_bytes;
            let mut fits = |tag: &Name| {
                let needed = tag.as_str().len() + 1;
                let enough = needed <= left;
                left = if enough { left - needed } else { 0 };
                enough
            };
            let n = tags.value.iter().take_while(|tag| fits(tag)).count();
            tags.value.truncate(n);
        }
    }

    pub(super) fn apply(&mut self, stamp: Stamp, profile: &Profile) {
        let Profile {
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
        for (channel, yes) in consents {
            set(&mut self.consents[channel.index()], stamp, *yes);
        }
        for (channel, yes) in reachable {
            set(&mut self.reachable[channel.index()], stamp, *yes);
        }
        set_some(&mut self.email_known, stamp, email_known.as_ref());
        set_some(&mut self.do_not_contact, stamp, do_not_contact.as_ref());
        set_some(&mut self.loyalty_member, stamp, loyalty_member.as_ref());
        set_some(&mut self.loyalty_points, stamp, loyalty_points.as_ref());
        set_some(&mut self.b2b, stamp, b2b.as_ref());
        set_some(&mut self.contact_people, stamp, contact_people.as_ref());
        set_some(&mut self.csm_changed, stamp, csm_changed.as_ref());
        set_some(&mut self.persona, stamp, persona.as_ref());
        set_some(&mut self.acquisition_channel, stamp, acquisition_channel.as_ref());
        set_some(&mut self.tags, stamp, tags.as_ref());
        set_some(&mut self.has_updates, stamp, has_updates.as_ref());
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (slot, held) in self.consents.iter_mut().zip(&other.consents) {
            merge_slot(slot, held);
        }
        for (slot, held) in self.reachable.iter_mut().zip(&other.reachable) {
            merge_slot(slot, held);
        }
        merge_slot(&mut self.email_known, &other.email_known);
        merge_slot(&mut self.do_not_contact, &other.do_not_contact);
        merge_slot(&mut self.loyalty_member, &other.loyalty_member);
        merge_slot(&mut self.loyalty_points, &other.loyalty_points);
        merge_slot(&mut self.b2b, &other.b2b);
        merge_slot(&mut self.contact_people, &other.contact_people);
        merge_slot(&mut self.csm_changed, &other.csm_changed);
        merge_slot(&mut self.persona, &other.persona);
        merge_slot(&mut self.acquisition_channel, &other.acquisition_channel);
        merge_slot(&mut self.tags, &other.tags);
        merge_slot(&mut self.has_updates, &other.has_updates);
    }
}

/// The newest word on one support ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) hash: u64,
    pub(super) stamp: Stamp,
    /// Whether it is open.
    pub open: bool,
    /// Whether it stops the customer's use.
    pub critical: bool,
    pub(super) first_opened: Option<Timestamp>,
}

/// What the customer said of the business.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Satisfaction {
    /// Newest serious complaints, newest first.
    pub(super) complaints: Vec<Stamp>,
    /// Newest tickets, newest first; closed ones too: a closing may arrive before its opening.
    pub(super) tickets: Vec<Ticket>,
    /// Newest net promoter score, 0 to 10.
    pub nps: Option<Latest<u8>>,
    /// Newest satisfaction score, 1 to 5.
    pub csat: Option<Latest<u8>>,
}

impl Satisfaction {
    /// Serious complaints after an instant (at most eight are remembered).
    #[must_use]
    pub fn serious_complaints_since(&self, after: Timestamp) -> usize {
        self.complaints.iter().filter(|stamp| stamp.time >= after).count()
    }

    /// Open tickets (of the newest sixteen), and how many of them are critical.
    #[must_use]
    pub fn open_tickets(&self) -> (usize, usize) {
        let open = self.tickets.iter().filter(|ticket| ticket.open);
        open.fold((0, 0), |(n, critical), ticket| (n + 1, critical + usize::from(ticket.critical)))
    }

    /// The newest sixteen tickets, newest first.
    #[must_use]
    pub fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    pub(super) fn apply(&mut self, stamp: Stamp, feedback: &Feedback) {
        match feedback {
            Feedback::Complaint { severity } if *severity >= Severity::Serious => {
                self.add_complaint(stamp);
            }
            Feedback::Complaint { .. } => {}
            Feedback::TicketOpened { ticket, critical } => {
                self.add_ticket(Ticket::new(ticket, stamp, true, *critical));
            }
            Feedback::TicketClosed { ticket } => {
                self.add_ticket(Ticket::new(ticket, stamp, false, false));
            }
            Feedback::Nps(score) => set(&mut self.nps, stamp, *score),
            Feedback::Csat(score) => set(&mut self.csat, stamp, *score),
        }
    }

    /// Keeps the newest tickets.
    pub(super) fn keep_tickets(&mut self, n: usize) {
        self.tickets.truncate(n);
    }

    fn add_complaint(&mut self, stamp: Stamp) {
        let at = self.complaints.partition_point(|held| *held > stamp);
        self.complaints.insert(at, stamp);
        self.complaints.truncate(COMPLAINTS_MAX);
    }

    fn add_ticket(&mut self, mut ticket: Ticket) {
        if let Some(at) = self.tickets.iter().position(|held| held.hash == ticket.hash) {
            let held = &mut self.tickets[at];
            let first_opened = earlier(held.first_opened, ticket.first_opened);
            held.first_opened = first_opened;
            ticket.first_opened = first_opened;
            if held.stamp >= ticket.stamp {
                return;
            }
            self.tickets.remove(at);
        }
        let at = self.tickets.partition_point(|held| held.stamp > ticket.stamp);
        self.tickets.insert(at, ticket);
        self.tickets.truncate(TICKETS_MAX);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.complaints.iter().for_each(|stamp| self.add_complaint(*stamp));
        other.tickets.iter().for_each(|ticket| self.add_ticket(*ticket));
        merge_slot(&mut self.nps, &other.nps);
        merge_slot(&mut self.csat, &other.csat);
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

impl Ticket {
    fn new(ticket: &Name, stamp: Stamp, open: bool, critical: bool) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(ticket.as_str().as_bytes());
        let first_opened = open.then_some(stamp.time);
        Self { hash, stamp, open, critical, first_opened }
    }

    /// When it was first opened, if that is known.
    #[must_use]
    pub const fn opened(&self) -> Option<Timestamp> {
        self.first_opened
    }

    /// When it was closed, unless it is open.
    #[must_use]
    pub fn closed(&self) -> Option<Timestamp> {
        (!self.open).then_some(self.stamp.time)
    }
}

/// The basket, as its newest events left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Basket {
    pub(super) updated: Option<Timestamp>,
    pub(super) cleared: Option<Timestamp>,
}

impl Basket {
    /// When something was last put in, unless it was emptied or bought since.
    #[must_use]
    pub fn waiting_since(&self, last_purchase: Option<Timestamp>) -> Option<Timestamp> {
        let updated = self.updated?;
        let ended = self.cleared.max(last_purchase);
        if ended.is_some_and(|ended| ended >= updated) { None } else { Some(updated) }
    }

    pub(super) fn apply(&mut self, time: Timestamp, cart: Cart) {
        let slot = match cart {
            Cart::Updated => &mut self.updated,
            Cart::Cleared => &mut self.cleared,
        };
        *slot = (*slot).max(Some(time));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.updated = self.updated.max(other.updated);
        self.cleared = self.cleared.max(other.cleared);
    }
}
