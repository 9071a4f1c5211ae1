//! The events of a customer's life, checked.
//!
//! An [`Event`] is what the fold takes: it has passed the rules, its day is known, and every
//! field is in range. How raw bytes become one is the business of the rest of this room.

use crate::domain::{Channel, Currency, CustomerId, Day, EventId, Money, Name, Timestamp};

/// One thing that happened to or with a customer.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose it is.
    pub customer: CustomerId,
    /// Its identity: taken in once, however often it is sent.
    pub id: EventId,
    /// When it happened.
    pub time: Timestamp,
    /// The day of `time` in the business's zone.
    pub day: Day,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// An order.
    Purchase(Purchase),
    /// Money given back. It nets spend; the order's timing stays.
    Refund(Refund),
    /// Use of the product, site or app.
    Activity(Activity),
    /// A message to the customer, or the response to it.
    Contact(Contact),
    /// What the customer said of the business.
    Feedback(Feedback),
    /// Facts about the customer: only those that are set change.
    Profile(Box<Profile>),
    /// What became of a basket.
    Cart(Cart),
}

/// An order. Several on one day are one purchase occasion.
#[derive(Debug, Clone, PartialEq)]
pub struct Purchase {
    /// What was paid; never negative, zero is a purchase.
    pub amount: Money,
    /// Its currency; `Currency::NONE` where the log says none.
    pub currency: Currency,
    /// Number of items, 1 where unknown.
    pub items: u32,
    /// Top category.
    pub category: Option<Name>,
    /// Where it was bought, such as `web` or `store` (not a contact channel).
    pub sales_channel: Option<Name>,
    /// The part taken off the price; never negative.
    pub discount: Money,
}

/// Money given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Refund {
    /// What was given back; above zero.
    pub amount: Money,
    /// Its currency.
    pub currency: Currency,
}

/// Use of the product, site or app.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// What was done, such as `visit`, `watch_list` or `pay_on_mobile`.
    pub name: Name,
    /// On what device.
    pub device: Option<Name>,
}

/// A message to the customer, or the response to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// The campaign it belongs to.
    pub campaign: Name,
    /// The channel it went by.
    pub channel: Channel,
    /// How far it came.
    pub stage: ContactStage,
}

/// How far a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContactStage {
    /// It reached the customer.
    Delivered,
    /// It was opened or seen.
    Opened,
    /// It was acted on.
    Clicked,
}

/// How grave a complaint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A remark.
    Minor,
    /// A serious complaint.
    Serious,
    /// Trust is broken: contract, safety, money.
    Critical,
}

/// What the customer said of the business.
#[derive(Debug, Clone, PartialEq)]
pub enum Feedback {
    /// A complaint.
    Complaint {
        /// How grave.
        severity: Severity,
    },
    /// A support ticket was opened.
    TicketOpened {
        /// The ticket's own id.
        ticket: Name,
        /// Whether it stops the customer's use.
        critical: bool,
    },
    /// A support ticket was closed.
    TicketClosed {
        /// The ticket's own id.
        ticket: Name,
    },
    /// Net promoter score, 0 to 10.
    Nps(u8),
    /// Customer satisfaction, 1 to 5.
    Csat(u8),
}

/// Facts about the customer; what is `None` or absent stays as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    /// Consent by channel: an opt-out always wins over what is assumed.
    pub consents: Vec<(Channel, bool)>,
    /// Whether messages by this channel arrive (a valid address, a push token).
    pub reachable: Vec<(Channel, bool)>,
    /// Whether an e-mail address is known.
    pub email_known: Option<bool>,
    /// Whether the customer asked for no contact at all.
    pub do_not_contact: Option<bool>,
    /// Whether enrolled in the loyalty programme.
    pub loyalty_member: Option<bool>,
    /// Points in the loyalty programme.
    pub loyalty_points: Option<u32>,
    /// Whether the customer is a business.
    pub b2b: Option<bool>,
    /// Number of known contact people (business customers).
    pub contact_people: Option<u32>,
    /// The day the customer success manager changed.
    pub csm_changed: Option<Day>,
    /// A persona given from outside.
    pub persona: Option<Name>,
    /// How the customer was acquired.
    pub acquisition_channel: Option<Name>,
    /// Tags; when set they replace the former ones.
    pub tags: Option<Vec<Name>>,
    /// Whether content waits that the customer has not seen.
    pub has_updates: Option<bool>,
}

/// What became of a basket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cart {
    /// Something was put in or changed.
    Updated,
    /// It was emptied by the customer. (A purchase also ends it.)
    Cleared,
}
