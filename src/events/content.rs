//! The canonical bytes of an event's content, from which events without an id get theirs.
//!
//! In: a checked event. Out: bytes that depend on what the event says and not on how a file wrote
//! it, so that CSV, JSONL and Parquet, and any order of columns, give the same ids. The layout is
//! in docs/FORMATS.md and must not change: stored events are recognised by these ids.

use super::event::Cart;
use super::event::ContactStage;
use super::event::Event;
use super::event::EventKind;
use super::event::Feedback;
use super::event::Profile;
use super::event::Severity;
use crate::domain::Channel;
use crate::domain::Currency;
use crate::domain::EventId;
use crate::domain::Money;
use crate::domain::Name;
use crate::domain::Timestamp;

/// The id of the `occurrence`-th event of this content (0 is the first). The scratch buffer is
/// left with the content.
pub(super) fn content_id(event: &Event, occurrence: u64, scratch: &mut Vec<u8>) -> EventId {
    scratch.clear();
    write_content(event, scratch);
    EventId::from_content_in(scratch, occurrence)
}

/// Adds the content of an event to a buffer.
pub(super) fn write_content(event: &Event, out: &mut Vec<u8>) {
    write_head(event.customer.as_str(), event.time, out);
    match &event.kind {
        EventKind::Purchase(purchase) => PurchaseText {
            amount: purchase.amount,
            currency: purchase.currency,
            items: purchase.items,
            category: purchase.category.as_ref().map(Name::as_str),
            sales_channel: purchase.sales_channel.as_ref().map(Name::as_str),
            discount: purchase.discount,
        }
        .write(out),
        EventKind::Refund(refund) => {
            out.push(2);
            out.extend_from_slice(&refund.amount.micros().to_be_bytes());
            text(refund.currency.as_str(), out);
        }
        EventKind::Activity(activity) => {
            write_activity(activity.name.as_str(), activity.device.as_ref().map(Name::as_str), out);
        }
        EventKind::Contact(contact) => {
            out.push(4);
            text(contact.campaign.as_str(), out);
            channel(contact.channel, out);
            out.push(match contact.stage {
                ContactStage::Delivered => 1,
                ContactStage::Opened => 2,
                ContactStage::Clicked => 3,
            });
        }
        EventKind::Feedback(feedback) => {
            out.push(5);
            write_feedback(feedback, out);
        }
        EventKind::Profile(profile) => {
            out.push(6);
            write_profile(profile, out);
        }
        EventKind::Cart(cart) => {
            out.push(7);
            out.push(match cart {
                Cart::Updated => 1,
                Cart::Cleared => 2,
            });
        }
    }
}

/// Adds what every content begins with: whose it is, and when.
pub(super) fn write_head(customer: &str, time: Timestamp, out: &mut Vec<u8>) {
    text(customer, out);
    out.extend_from_slice(&time.micros().to_be_bytes());
}

/// An order whose names are checked and belong to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PurchaseText<'a> {
    pub(super) amount: Money,
    pub(super) currency: Currency,
    pub(super) items: u32,
    pub(super) category: Option<&'a str>,
    pub(super) sales_channel: Option<&'a str>,
    pub(super) discount: Money,
}

impl PurchaseText<'_> {
    /// Adds what follows the head of a purchase.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(1);
        out.extend_from_slice(&self.amount.micros().to_be_bytes());
        text(self.currency.as_str(), out);
        out.extend_from_slice(&self.items.to_be_bytes());
        maybe_text(self.category, out);
        maybe_text(self.sales_channel, out);
        out.extend_from_slice(&self.discount.micros().to_be_bytes());
    }
}

/// Adds what follows the head of an activity.
pub(super) fn write_activity(name: &str, device: Option<&str>, out: &mut Vec<u8>) {
    out.push(3);
    text(name, out);
    maybe_text(device, out);
}

fn write_feedback(feedback: &Feedback, out: &mut Vec<u8>) {
    match feedback {
        Feedback::Complaint { severity } => {
            out.push(1);
            out.push(match severity {
                Severity::Minor => 1,
                Severity::Serious => 2,
                Severity::Critical => 3,
            });
        }
        Feedback::TicketOpened { ticket, critical } => {
            out.push(2);
            text(ticket.as_str(), out);
            out.push(u8::from(*critical));
        }
        Feedback::TicketClosed { ticket } => {
            out.push(3);
            text(ticket.as_str(), out);
        }
        Feedback::Nps(score) => out.extend_from_slice(&[4, *score]),
        Feedback::Csat(score) => out.extend_from_slice(&[5, *score]),
    }
}

fn write_profile(profile: &Profile, out: &mut Vec<u8>) {
    // Named one by one, so that a new fact does not compile until it is given a place here.
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
    for facts in [consents, reachable] {
        length(facts.len(), out);
        for (by, said) in facts {
            channel(*by, out);
            out.push(u8::from(*said));
        }
    }
    for flag in [email_known, do_not_contact, loyalty_member, b2b] {
        out.push(flag.map_or(0, |said| 1 + u8::from(said)));
    }
    for count in [loyalty_points, contact_people] {
        maybe_four(count.map(u32::to_be_bytes), out);
    }
    maybe_four(csm_changed.map(|day| day.number().to_be_bytes()), out);
    maybe_name(persona.as_ref(), out);
    maybe_name(acquisition_channel.as_ref(), out);
    match tags {
        None => out.push(0),
        Some(tags) => {
            out.push(1);
            length(tags.len(), out);
            for tag in tags {
                text(tag.as_str(), out);
            }
        }
    }
    // Came later: profiles that do not say it keep the ids they had.
    if let Some(said) = has_updates {
        out.push(1 + u8::from(*said));
    }
}

fn channel(channel: Channel, out: &mut Vec<u8>) {
    text(channel.as_str(), out);
}

fn maybe_four(bytes: Option<[u8; 4]>, out: &mut Vec<u8>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(&bytes);
        }
    }
}

fn maybe_name(name: Option<&Name>, out: &mut Vec<u8>) {
    maybe_text(name.map(Name::as_str), out);
}

fn maybe_text(found: Option<&str>, out: &mut Vec<u8>) {
    match found {
        None => out.push(0),
        Some(found) => {
            out.push(1);
            text(found, out);
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Lengths are bounded far below 2^32 by the types that hold the texts and lists.
fn length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}
