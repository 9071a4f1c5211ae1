//! The fold: a customer's events become one bounded [`History`], the only state there is.
//!
//! In: checked events, one at a time, in any order inside the lateness bound. Out: a history
//! that features, facts and labels are read from, and its bytes. Training, batch and server fold
//! with this one function.
//! It keeps F-3 (order of arrival is irrelevant inside the lateness bound) and F-4 (an event that
//! comes twice changes nothing). It deliberately knows no model, no label and no clock.

mod bytes;
mod codec_v1;
mod contacts;
mod distinct;
mod latest;
mod recent;
mod rhythm;
mod squeeze;
mod tiles;

#[cfg(test)]
mod tests;

pub use codec_v1::CodecError;
pub use contacts::{CONTACT_DAYS, ContactLog, Responses};
pub use distinct::{Distinct, Usage};
pub use latest::{Basket, Latest, ProfileFacts, Satisfaction, Stamp, Ticket};
pub use recent::LATENESS_DAYS;
pub use rhythm::Gaps;
pub use squeeze::BYTES_MAX;
pub use tiles::{DAILY_DAYS, QUARTER_DAYS, QUARTERS, Tally, Tiles};

use crate::domain::{Day, Money, Timestamp};
use crate::events::{Event, EventKind, Purchase};

use latest::{Stamp as EventStamp, tie_of};
use recent::RecentIds;
use rhythm::RetiredGaps;
use squeeze::Slack;

/// Distinct names kept of each kind; beyond them a fair sample (see [`Distinct`]).
const CATEGORIES_MAX: usize = 24;
const ACTIVITIES_MAX: usize = 16;
const DEVICES_MAX: usize = 8;
const SALES_CHANNELS_MAX: usize = 8;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It changed the history.
    New,
    /// It had been taken in before and changed nothing.
    Duplicate,
    /// It came after the lateness bound: it was added to the tile or total it belongs to and
    /// counted as late, but a second copy of it could not be told apart.
    TooOld,
}

/// A customer's first purchase day and what was spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPurchase {
    /// The day.
    pub day: Day,
    /// Paid on that day, before refunds.
    pub spend: Money,
}

/// Everything known of one customer: bounded, mergeable, independent of arrival order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    totals: Tally,
    n_events: u64,
    n_late: u32,
    first_event: Option<Timestamp>,
    newest: Option<(Timestamp, Day)>,
    first_purchase: Option<FirstPurchase>,
    last_purchase: Option<(Timestamp, Day)>,
    last_active: Option<Timestamp>,
    tiles: Tiles,
    retired_gaps: RetiredGaps,
    categories: Distinct,
    sales_channels: Distinct,
    activities: Distinct,
    devices: Distinct,
    contacts: ContactLog,
    satisfaction: Satisfaction,
    profile: ProfileFacts,
    basket: Basket,
    recent: RecentIds,
    slack: Slack,
}

impl History {
    /// Takes in one event. The caller gives each history only its own customer's events.
    pub fn apply(&mut self, event: &Event) -> Applied {
        let tie = tie_of(event.id);
        if self.recent.contains(event.day, tie) {
            return Applied::Duplicate;
        }
        let newest_day = self.newest.map_or(event.day, |(_, day)| day.max(event.day));
        let late = newest_day.days_since(event.day) > LATENESS_DAYS;
        if self.newest.is_some_and(|(_, day)| newest_day > day) {
            self.retire(newest_day);
        }
        self.newest = self.newest.max(Some((event.time, newest_day)));
        // A fact about the customer is no event of the relation: it may be dated long before.
        if !matches!(event.kind, EventKind::Profile(_)) {
            self.first_event = Some(self.first_event.map_or(event.time, |t| t.min(event.time)));
        }
        self.n_events = self.n_events.saturating_add(1);
        self.recent.insert(event.day, tie, newest_day);
        self.record(event, newest_day);
        self.n_late = self.n_late.saturating_add(u32::from(late));
        // Last: whatever is counted after it could take the history above its bound.
        self.keep_small(&event.kind);
        if late { Applied::TooOld } else { Applied::New }
    }

    fn retire(&mut self, newest: Day) {
        let retired_gaps = &mut self.retired_gaps;
        self.tiles.retire(newest, |day| retired_gaps.push(day));
        self.contacts.retire(newest);
        self.recent.retire(newest);
    }

    fn record(&mut self, event: &Event, newest: Day) {
        let mut active = true;
        match &event.kind {
            EventKind::Purchase(purchase) => self.record_purchase(event, purchase, newest),
            EventKind::Refund(refund) => {
                active = false;
                let tally = Tally { refunds: 1, refunded: refund.amount, ..Tally::default() };
                self.add_tally(event.day, newest, &tally);
            }
            EventKind::Activity(activity) => {
                let tally = Tally { activities: 1, ..Tally::default() };
                self.add_tally(event.day, newest, &tally);
                self.activities.record(&activity.name, event.day, Money::ZERO, ACTIVITIES_MAX);
                if let Some(device) = &activity.device {
                    self.devices.record(device, event.day, Money::ZERO, DEVICES_MAX);
                }
            }
            EventKind::Contact(contact) => {
                active = contact.stage > crate::events::ContactStage::Delivered;
                self.contacts.apply(event.time, event.day, newest, contact);
            }
            EventKind::Feedback(feedback) => {
                self.satisfaction.apply(EventStamp::of(event), feedback);
            }
            EventKind::Profile(profile) => {
                active = false;
                self.profile.apply(EventStamp::of(event), profile);
            }
            EventKind::Cart(cart) => self.basket.apply(event.time, *cart),
        }
        if active {
            self.last_active = self.last_active.max(Some(event.time));
        }
    }

    fn record_purchase(&mut self, event: &Event, purchase: &Purchase, newest: Day) {
        let tally = Tally {
            orders: 1,
            purchase_days: 1,
            items: purchase.items,
            discounted: u32::from(purchase.discount > Money::ZERO),
            spend: purchase.amount,
            discount: purchase.discount,
            ..Tally::default()
        };
        let day = event.day;
        self.add_tally(day, newest, &tally);
        match &mut self.first_purchase {
            Some(first) if day > first.day => {}
            Some(first) if day == first.day => first.spend += purchase.amount,
            first => *first = Some(FirstPurchase { day, spend: purchase.amount }),
        }
        self.last_purchase = self.last_purchase.max(Some((event.time, day)));
        if let Some(category) = &purchase.category {
            self.categories.record(category, day, purchase.amount, CATEGORIES_MAX);
        }
        if let Some(place) = &purchase.sales_channel {
            self.sales_channels.record(place, day, purchase.amount, SALES_CHANNELS_MAX);
        }
    }

    /// Adds to the tiles and to the lifetime totals, counting each purchase day once as far as
    /// tiles can tell.
    fn add_tally(&mut self, day: Day, newest: Day, tally: &Tally) {
        let known = tally.purchase_days > 0 && self.is_purchase_day(day);
        let counted =
            Tally { purchase_days: u32::from(tally.purchase_days > 0 && !known), ..*tally };
        self.totals.add(&counted);
        let reached = self.tiles.record(day, newest, if known { &counted } else { tally });
        debug_assert!(reached || newest.days_since(day) >= DAILY_DAYS, "F-3");
    }

    fn is_purchase_day(&self, day: Day) -> bool {
        self.first_purchase.is_some_and(|first| first.day == day)
            || self.tiles.purchase_days().any(|held| held == day)
    }

    /// Adds the events of another history of the same customer. The event sets must not overlap.
    ///
    /// Exact where one history's daily tiles reach the other's first event, or where one ends
    /// before the other begins; otherwise purchase days and gaps older than the tiles may be
    /// counted twice or missed.
    pub fn merge(&mut self, other: &Self) {
        let Some((other_newest, other_day)) = other.newest else { return };
        let mut other = other.clone();
        let newest = self.newest.map_or(other_day, |(_, day)| day.max(other_day));
        self.retire(newest);
        other.retire(newest);
        self.merge_purchases(&other);
        self.newest = self.newest.max(Some((other_newest, newest)));
        self.newest = self.newest.map(|(time, _)| (time, newest));
        self.n_events = self.n_events.saturating_add(other.n_events);
        self.n_late = self.n_late.saturating_add(other.n_late);
        self.first_event = match (self.first_event, other.first_event) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last_active = self.last_active.max(other.last_active);
        self.tiles.merge(&other.tiles, newest);
        self.categories.merge(&other.categories, CATEGORIES_MAX);
        self.sales_channels.merge(&other.sales_channels, SALES_CHANNELS_MAX);
        self.activities.merge(&other.activities, ACTIVITIES_MAX);
        self.devices.merge(&other.devices, DEVICES_MAX);
        self.contacts.merge(&other.contacts, newest);
        self.satisfaction.merge(&other.satisfaction);
        self.profile.merge(&other.profile);
        self.basket.merge(&other.basket);
        self.recent.merge(&other.recent, newest);
        self.squeeze();
    }

    /// Totals, first and last purchase and retired gaps, before the tiles are joined.
    fn merge_purchases(&mut self, other: &Self) {
        let mut shared = 0;
        for day in other.tiles.purchase_days() {
            shared += u32::from(self.is_purchase_day(day));
        }
        let mut totals = other.totals;
        totals.purchase_days = totals.purchase_days.saturating_sub(shared);
        self.totals.add(&totals);
        self.first_purchase = match (self.first_purchase, other.first_purchase) {
            (Some(a), Some(b)) if a.day == b.day => {
                Some(FirstPurchase { day: a.day, spend: a.spend + b.spend })
            }
            (Some(a), Some(b)) => Some(if a.day < b.day { a } else { b }),
            (a, b) => a.or(b),
        };
        self.last_purchase = self.last_purchase.max(other.last_purchase);
        let (mut earlier, later) = if self.retired_gaps.first <= other.retired_gaps.first {
            (self.retired_gaps, other.retired_gaps)
        } else {
            (other.retired_gaps, self.retired_gaps)
        };
        earlier.append(&later);
        self.retired_gaps = earlier;
    }

    /// Lifetime totals.
    #[must_use]
    pub const fn totals(&self) -> &Tally {
        &self.totals
    }

    /// Number of events taken in.
    #[must_use]
    pub const fn n_events(&self) -> u64 {
        self.n_events
    }

    /// Events that came after the lateness bound.
    #[must_use]
    pub const fn n_late(&self) -> u32 {
        self.n_late
    }

    /// Time of the newest event; no score can be had for an earlier instant.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest.map(|(time, _)| time)
    }

    /// Time of the first event other than a fact about the customer.
    #[must_use]
    pub const fn first_event(&self) -> Option<Timestamp> {
        self.first_event
    }

    /// The first purchase day.
    #[must_use]
    pub const fn first_purchase(&self) -> Option<FirstPurchase> {
        self.first_purchase
    }

    /// Time and day of the last purchase.
    #[must_use]
    pub const fn last_purchase(&self) -> Option<(Timestamp, Day)> {
        self.last_purchase
    }

    /// When the customer last did something: bought, used, responded, complained, filled a basket.
    #[must_use]
    pub const fn last_active(&self) -> Option<Timestamp> {
        self.last_active
    }

    /// The tiles.
    #[must_use]
    pub const fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    /// Days up to and with `last` that the customer has bought or used something for, as far as
    /// daily tiles reach; more than any window where there is something older.
    #[must_use]
    pub fn known_days(&self, last: Day) -> i32 {
        let Some((first, _)) = self.tiles.days().first() else { return 0 };
        let has_older = self.first_purchase.is_some_and(|held| held.day < *first);
        if has_older || self.tiles.has_quarters() {
            return i32::MAX / 2;
        }
        last.days_since(*first).saturating_add(1)
    }

    /// Gaps between purchase days.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        rhythm::gaps(&self.retired_gaps, self.tiles.purchase_days())
    }

    /// Categories bought.
    #[must_use]
    pub const fn categories(&self) -> &Distinct {
        &self.categories
    }

    /// Places of sale used.
    #[must_use]
    pub const fn sales_channels(&self) -> &Distinct {
        &self.sales_channels
    }

    /// Activities done.
    #[must_use]
    pub const fn activities(&self) -> &Distinct {
        &self.activities
    }

    /// Devices used.
    #[must_use]
    pub const fn devices(&self) -> &Distinct {
        &self.devices
    }

    /// Messages and responses.
    #[must_use]
    pub const fn contacts(&self) -> &ContactLog {
        &self.contacts
    }

    /// What the customer said of the business.
    #[must_use]
    pub const fn satisfaction(&self) -> &Satisfaction {
        &self.satisfaction
    }

    /// Facts about the customer.
    #[must_use]
    pub const fn profile(&self) -> &ProfileFacts {
        &self.profile
    }

    /// The basket.
    #[must_use]
    pub const fn basket(&self) -> &Basket {
        &self.basket
    }
}
