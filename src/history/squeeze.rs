//! Keeping a history small: what is given up, and in which order, when it would not fit.
//!
//! A store takes states of bounded size. Nearly every history is far smaller; one that is not
//! (an everyday buyer of everything, a flood of messages) gives up detail, the least missed first,
//! until it fits. The steps belong to the fold: server, batch and trainer take them at the same
//! event, so they go on agreeing. From the first step on the order of arrival may matter to what
//! was given up; before it nothing changes.

use crate::domain::{Money, Name};
use crate::events::{EventKind, Feedback};

use super::{History, Tally};

/// Bytes that no encoded history exceeds.
pub const BYTES_MAX: usize = 5_900;
/// Bytes that one event other than a profile can add at most beside its names: a new tile,
/// what is counted of two names, quarters opened by days that retire, longer numbers.
const EVENT_BYTES_MAX: usize = 384;
/// More than the bytes of a history of nothing.
const EMPTY_BYTES_MAX: usize = 512;

/// Bytes free for sure, so that most events need no look at the encoded length. It says nothing
/// of the customer: histories are equal whatever it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slack(usize);

impl Default for Slack {
    /// Of a history of nothing.
    fn default() -> Self {
        Self::of_len(EMPTY_BYTES_MAX)
    }
}

impl PartialEq for Slack {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Slack {}

impl Slack {
    /// Of a history of this many encoded bytes.
    pub(super) const fn of_len(n_bytes: usize) -> Self {
        Self(BYTES_MAX.saturating_sub(n_bytes))
    }
}

/// One thing to give up.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Items, discounts and numbers of refunds of days of this age on; no window reads them.
    PlainDays(i32),
    /// Days of this age on are joined into spans of so many days.
    JoinDays(i32, i32),
    /// Categories, activities, devices and sales channels kept.
    Names([usize; 4]),
    /// Event ids, campaigns, tickets and bytes of tags kept.
    Lists([usize; 4]),
    /// Days of messages kept.
    MessageDays(i32),
}

const STEPS: [Step; 14] = [
    Step::PlainDays(91),
    Step::JoinDays(182, 7),
    Step::Names([16, 12, 6, 6]),
    Step::JoinDays(91, 7),
    Step::Lists([64, 48, 16, 1_024]),
    Step::Names([12, 8, 4, 4]),
    Step::Lists([32, 32, 16, 256]),
    Step::JoinDays(35, 7),
    Step::Names([6, 4, 2, 2]),
    Step::PlainDays(0),
    Step::JoinDays(35, 28),
    Step::JoinDays(0, 28),
    Step::MessageDays(7),
    // What is left after this is fixed in number: tiles of four weeks and quarters, one slot a
    // channel, one a fact. A test fills all of it.
    Step::Lists([0, 0, 4, 0]),
];

impl History {
    /// Called after each event: keeps the encoded length at or below [`BYTES_MAX`].
    pub(super) fn keep_small(&mut self, kind: &EventKind) {
        let may_add = match kind {
            EventKind::Profile(_) => usize::MAX,
            kind => EVENT_BYTES_MAX + name_bytes(kind),
        };
        match self.slack.0.checked_sub(may_add) {
            Some(left) => self.slack = Slack(left),
            None => self.squeeze(),
        }
    }

    /// Takes steps until the history fits.
    pub(super) fn squeeze(&mut self) {
        let mut n_bytes = self.to_bytes().len();
        for step in STEPS {
            if n_bytes <= BYTES_MAX {
                break;
            }
            self.take(step);
            n_bytes = self.to_bytes().len();
        }
        self.slack = Slack::of_len(n_bytes);
    }

    fn take(&mut self, step: Step) {
        let Some((_, newest)) = self.newest else { return };
        match step {
            Step::PlainDays(age) => self.tiles.plain(newest, age),
            Step::JoinDays(age, span) => {
                let retired_gaps = &mut self.retired_gaps;
                self.tiles.join_days(newest, age, span, |day| retired_gaps.push(day));
            }
            Step::Names([categories, activities, devices, sales_channels]) => {
                self.categories.cut(categories);
                self.activities.cut(activities);
                self.devices.cut(devices);
                self.sales_channels.cut(sales_channels);
            }
            Step::Lists([ids, campaigns, tickets, tag_bytes]) => {
                self.recent.keep(ids);
                self.contacts.keep_campaigns(campaigns);
                self.satisfaction.keep_tickets(tickets);
                self.profile.keep_tags(tag_bytes);
            }
            Step::MessageDays(days) => self.contacts.keep_days(newest, days),
        }
    }
}

/// Bytes of the names that an event other than a profile may bring.
fn name_bytes(kind: &EventKind) -> usize {
    let of = |name: Option<&Name>| name.map_or(0, |name| name.as_str().len());
    match kind {
        EventKind::Purchase(purchase) => {
            of(purchase.category.as_ref()) + of(purchase.sales_channel.as_ref())
        }
        EventKind::Activity(activity) => of(Some(&activity.name)) + of(activity.device.as_ref()),
        EventKind::Contact(contact) => of(Some(&contact.campaign)),
        EventKind::Feedback(
            Feedback::TicketOpened { ticket, .. } | Feedback::TicketClosed { ticket },
        ) => of(Some(ticket)),
        EventKind::Feedback(_)
        | EventKind::Refund(_)
        | EventKind::Profile(_)
        | EventKind::Cart(_) => 0,
    }
}

impl Tally {
    /// Only what windows read: orders, purchase days, activities, paid and given back.
    pub(super) const fn plain(self) -> Self {
        Self { items: 0, discounted: 0, refunds: 0, discount: Money::ZERO, ..self }
    }
}

#[cfg(test)]
#[path = "squeeze_tests.rs"]
mod tests;
