//! The canonical content read back: an event again, but for its id and day.
//!
//! In: bytes that [`super::content`] wrote, in this or an earlier run of the same program. Out: the
//! event. What is no content is refused, so that a damaged file of the batch job is an error and
//! never a wrong event.

use super::event::Activity;
use super::event::Cart;
use super::event::Contact;
use super::event::ContactStage;
use super::event::EventKind;
use super::event::Feedback;
use super::event::Profile;
use super::event::Purchase;
use super::event::Refund;
use super::event::Severity;
use super::kinds::EventType;
use crate::domain::Channel;
use crate::domain::Currency;
use crate::domain::Day;
use crate::domain::Money;
use crate::domain::Name;
use crate::domain::Timestamp;

/// Names remembered while contents are read, so that equal ones share their text.
const NAMES_MAX: usize = 64;

/// The customer's id, and where it ends.
pub(super) fn customer_of(content: &[u8]) -> Option<(&str, usize)> {
    let mut bytes = Bytes { rest: content };
    let text = bytes.text()?;
    Some((text, content.len() - bytes.rest.len()))
}

/// The instant, given what follows the customer's id.
pub(super) fn time_of(rest: &[u8]) -> Option<Timestamp> {
    rest.first_chunk().map(|bytes| Timestamp::from_micros(i64::from_be_bytes(*bytes)))
}

/// What a report counts of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brief {
    /// The name of its type.
    pub(super) type_name: &'static str,
    /// Whether it is money paid or given back, how much and in what currency.
    pub(super) money: Option<(MoneyMove, Money, Currency)>,
}

/// Which way money went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MoneyMove {
    Paid,
    GivenBack,
}

/// What a report counts, given what follows the customer's id.
pub(super) fn brief_of(rest: &[u8]) -> Option<Brief> {
    let mut bytes = Bytes { rest: rest.get(9..)? };
    let mut of_money = |type_name, direction| {
        let money = Some((direction, bytes.money()?, bytes.currency()?));
        Some(Brief { type_name, money })
    };
    let (tag, next) = (*rest.get(8)?, rest.get(9));
    let type_name = match (tag, next) {
        (1 | 2, _) => {
            let (name, way) = if tag == 1 {
                (EventType::Purchase, MoneyMove::Paid)
            } else {
                (EventType::Refund, MoneyMove::GivenBack)
            };
            return of_money(name.as_str(), way);
        }
        (3, _) => EventType::Activity,
        (4, _) => EventType::Contact,
        (5, Some(1)) => EventType::Complaint,
        (5, Some(2)) => EventType::TicketOpened,
        (5, Some(3)) => EventType::TicketClosed,
        (5, Some(4)) => EventType::Nps,
        (5, Some(5)) => EventType::Csat,
        (6, _) => EventType::Profile,
        (7, _) => EventType::Cart,
        _ => return None,
    };
    Some(Brief { type_name: type_name.as_str(), money: None })
}

/// Reads what happened, given what follows the customer's id.
#[derive(Debug, Default)]
pub(super) struct KindReader {
    names: Vec<Name>,
    next: usize,
}

impl KindReader {
    /// The kind of an event; `None` for what is no content.
    pub(super) fn read(&mut self, rest: &[u8]) -> Option<EventKind> {
        let mut bytes = Bytes { rest: rest.get(8..)? };
        let kind = self.kind(&mut bytes)?;
        bytes.rest.is_empty().then_some(kind)
    }

    fn kind(&mut self, bytes: &mut Bytes<'_>) -> Option<EventKind> {
        Some(match bytes.byte()? {
            1 => EventKind::Purchase(Purchase {
                amount: bytes.money()?,
                currency: bytes.currency()?,
                items: bytes.four().map(u32::from_be_bytes)?,
                category: self.maybe_name(bytes)?,
                sales_channel: self.maybe_name(bytes)?,
                discount: bytes.money()?,
            }),
            2 => EventKind::Refund(Refund { amount: bytes.money()?, currency: bytes.currency()? }),
            3 => {
                let name = self.name(bytes)?;
                EventKind::Activity(Activity { name, device: self.maybe_name(bytes)? })
            }
            4 => EventKind::Contact(Contact {
                campaign: self.name(bytes)?,
                channel: bytes.channel()?,
                stage: match bytes.byte()? {
                    1 => ContactStage::Delivered,
                    2 => ContactStage::Opened,
                    3 => ContactStage::Clicked,
                    _ => return None,
                },
            }),
            5 => EventKind::Feedback(self.feedback(bytes)?),
            6 => EventKind::Profile(Box::new(self.profile(bytes)?)),
            7 => EventKind::Cart(match bytes.byte()? {
                1 => Cart::Updated,
                2 => Cart::Cleared,
                _ => return None,
            }),
            _ => return None,
        })
    }

    fn feedback(&mut self, bytes: &mut Bytes<'_>) -> Option<Feedback> {
        Some(match bytes.byte()? {
            1 => Feedback::Complaint {
                severity: match bytes.byte()? {
                    1 => Severity::Minor,
                    2 => Severity::Serious,
                    3 => Severity::Critical,
                    _ => return None,
                },
            },
            2 => {
                let ticket = self.name(bytes)?;
                Feedback::TicketOpened { ticket, critical: bytes.flag()? }
            }
            3 => Feedback::TicketClosed { ticket: self.name(bytes)? },
            4 => Feedback::Nps(bytes.byte()?),
            5 => Feedback::Csat(bytes.byte()?),
            _ => return None,
        })
    }

    fn profile(&mut self, bytes: &mut Bytes<'_>) -> Option<Profile> {
        let (consents, reachable) = (bytes.channel_facts()?, bytes.channel_facts()?);
        let [email_known, do_not_contact, loyalty_member, b2b] =
            [bytes.maybe_flag()?, bytes.maybe_flag()?, bytes.maybe_flag()?, bytes.maybe_flag()?];
        let loyalty_points = bytes.maybe_four()?.map(u32::from_be_bytes);
        let contact_people = bytes.maybe_four()?.map(u32::from_be_bytes);
        let csm_changed = bytes.maybe_four()?.map(|day| Day::from_number(i32::from_be_bytes(day)));
        let (persona, acquisition_channel) = (self.maybe_name(bytes)?, self.maybe_name(bytes)?);
        let tags = if bytes.flag()? {
            let n_tags = bytes.length()?;
            Some((0..n_tags).map(|_| self.name(bytes)).collect::<Option<Vec<_>>>()?)
        } else {
            None
        };
        let has_updates = if bytes.rest.is_empty() { None } else { bytes.maybe_flag()? };
        Some(Profile {
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
        })
    }

    #[allow(clippy::option_option, reason = "the outer one is damage, the inner one no name")]
    fn maybe_name(&mut self, bytes: &mut Bytes<'_>) -> Option<Option<Name>> {
        if bytes.flag()? { self.name(bytes).map(Some) } else { Some(None) }
    }

    /// A name; one that was read lately shares its text.
    fn name(&mut self, bytes: &mut Bytes<'_>) -> Option<Name> {
        let text = bytes.text()?;
        if let Some(known) = self.names.iter().find(|name| name.as_str() == text) {
            return Some(known.clone());
        }
        let name = Name::try_new(text).ok()?;
        if self.names.len() < NAMES_MAX {
            self.names.push(name.clone());
        } else {
            self.next = (self.next + 1) % NAMES_MAX;
            self.names[self.next] = name.clone();
        }
        Some(name)
    }
}

/// What is left to read.
struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    #[allow(clippy::option_option, reason = "the outer one is damage, the inner one no fact")]
    fn maybe_flag(&mut self) -> Option<Option<bool>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(false)),
            2 => Some(Some(true)),
            _ => None,
        }
    }

    fn four(&mut self) -> Option<[u8; 4]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    #[allow(clippy::option_option, reason = "the outer one is damage, the inner one no fact")]
    fn maybe_four(&mut self) -> Option<Option<[u8; 4]>> {
        if self.flag()? { self.four().map(Some) } else { Some(None) }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.four()?)).ok()
    }

    fn money(&mut self) -> Option<Money> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(Money::from_micros(i64::from_be_bytes(*bytes)))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    fn currency(&mut self) -> Option<Currency> {
        Currency::try_new(self.text()?).ok()
    }

    fn channel(&mut self) -> Option<Channel> {
        Channel::parse(self.text()?).ok()
    }

    fn channel_facts(&mut self) -> Option<Vec<(Channel, bool)>> {
        let n_facts = self.length()?;
        (0..n_facts).map(|_| Some((self.channel()?, self.flag()?))).collect()
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
