//! The event types by name, the attributes each takes, and the making of one from the other.
//!
//! In: a type and its raw attributes. Out: an [`EventKind`] or the issue. The table of names here
//! is the one in docs/FORMATS.md.

use std::borrow::Cow;

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
use super::issue::EventIssue;
use super::issue::excerpt;
use super::issue::nearest;
use super::raw::RawValue;
use super::rules::Rules;
use super::value;
use crate::domain::Channel;
use crate::domain::Currency;
use crate::domain::Money;
use crate::domain::Name;

/// Most items one purchase may hold: more is a mis-mapped column.
const ITEMS_MAX: u32 = 1_000_000;
const ITEMS_WANTED: &str = "a whole number from 0 to 1000000";
const COUNT_WANTED: &str = "a whole number from 0 to 4294967295";

/// An event type by its name in files and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventType {
    /// An order; below 0 it is a refund.
    Purchase,
    /// Money given back.
    Refund,
    /// Use of the product.
    Activity,
    /// A message, or the response to it.
    Contact,
    /// One of the five below, named by the attribute `kind`.
    Feedback,
    /// A complaint.
    Complaint,
    /// A ticket was opened.
    TicketOpened,
    /// A ticket was closed.
    TicketClosed,
    /// Net promoter score.
    Nps,
    /// Customer satisfaction.
    Csat,
    /// Facts about the customer.
    Profile,
    /// What became of a basket.
    Cart,
}

impl EventType {
    /// All types.
    pub const ALL: [Self; 12] = [
        Self::Purchase,
        Self::Refund,
        Self::Activity,
        Self::Contact,
        Self::Feedback,
        Self::Complaint,
        Self::TicketOpened,
        Self::TicketClosed,
        Self::Nps,
        Self::Csat,
        Self::Profile,
        Self::Cart,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Refund => "refund",
            Self::Activity => "activity",
            Self::Contact => "contact",
            Self::Feedback => "feedback",
            Self::Complaint => "complaint",
            Self::TicketOpened => "ticket_opened",
            Self::TicketClosed => "ticket_closed",
            Self::Nps => "nps",
            Self::Csat => "csat",
            Self::Profile => "profile",
            Self::Cart => "cart",
        }
    }

    /// From its name, in any case.
    ///
    /// # Errors
    /// [`EventIssue::UnknownType`] with the nearest name.
    pub fn parse(text: &str) -> Result<Self, EventIssue> {
        let text = text.trim();
        let found = Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| EventIssue::UnknownType {
            found: excerpt(text),
            suggestion: nearest(text, Self::ALL.iter().map(|kind| kind.as_str()))
                .map(str::to_owned),
            wanted: Self::names(),
        })
    }

    pub(super) fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// The names of the attributes it takes. A profile takes also `consent_` and `reachable_`
    /// with each channel's name; every type takes `currency`, since a file has it in each row.
    #[must_use]
    pub const fn attributes(self) -> &'static [&'static str] {
        match self {
            Self::Purchase => &["amount", "currency", "items", "category", "channel", "discount"],
            Self::Refund => &["amount", "currency"],
            Self::Activity => &["name", "device"],
            Self::Contact => &["campaign", "channel", "stage"],
            Self::Feedback => &["kind", "severity", "ticket", "critical", "score"],
            Self::Complaint => &["severity"],
            Self::TicketOpened => &["ticket", "critical"],
            Self::TicketClosed => &["ticket"],
            Self::Nps | Self::Csat => &["score"],
            Self::Profile => &[
                "email_known",
                "has_email",
                "do_not_contact",
                "loyalty_member",
                "loyalty_points",
                "b2b",
                "contact_people",
                "csm_changed",
                "persona",
                "acquisition_channel",
                "tags",
                "has_updates",
                "consent",
                "reachable",
            ],
            Self::Cart => &["state"],
        }
    }

    /// Whether it takes an attribute of this name.
    #[must_use]
    pub fn takes(self, attribute: &str) -> bool {
        attribute == "currency"
            || self.attributes().contains(&attribute)
            || (self == Self::Profile && channel_fact(attribute).is_some())
    }
}

/// `consent_email` as (consent, email); the consent is true.
fn channel_fact(attribute: &str) -> Option<(bool, Channel)> {
    if let Some(channel) = attribute.strip_prefix("consent_") {
        return Channel::parse(channel).ok().map(|channel| (true, channel));
    }
    let channel = attribute.strip_prefix("reachable_")?;
    Channel::parse(channel).ok().map(|channel| (false, channel))
}

/// The raw attributes of one event of a known type; all names are known and none repeats.
pub(super) struct Attributes<'r, 'a> {
    event_type: EventType,
    pairs: &'r [(Cow<'a, str>, RawValue<'a>)],
    rules: &'r Rules,
}

impl<'r, 'a> Attributes<'r, 'a> {
    pub(super) fn try_new(
        event_type: EventType,
        pairs: &'r [(Cow<'a, str>, RawValue<'a>)],
        rules: &'r Rules,
    ) -> Result<Self, EventIssue> {
        if pairs.len() > rules.attributes_max {
            return Err(EventIssue::TooManyAttributes {
                found: pairs.len(),
                most: rules.attributes_max,
            });
        }
        for (idx, (field, value)) in pairs.iter().enumerate() {
            if value.is_missing() {
                continue;
            }
            if !event_type.takes(field) {
                return Err(unknown_attribute(event_type, field));
            }
            let repeats = |pair: &(Cow<'_, str>, RawValue<'_>)| pair.0 == *field;
            if pairs.iter().take(idx).any(repeats) {
                return Err(EventIssue::RepeatedAttribute { field: excerpt(field) });
            }
        }
        Ok(Self { event_type, pairs, rules })
    }

    fn get(&self, field: &str) -> &'r RawValue<'a> {
        const NOTHING: &RawValue<'static> = &RawValue::Missing;
        self.pairs.iter().find(|(name, _)| name == field).map_or(NOTHING, |(_, value)| value)
    }

    fn required<T>(&self, field: &'static str, value: Option<T>) -> Result<T, EventIssue> {
        let event_type = self.event_type.as_str();
        value.ok_or(EventIssue::MissingAttribute { field, event_type })
    }

    fn amount(&self) -> Result<Money, EventIssue> {
        self.required("amount", value::money("amount", self.get("amount"), self.rules)?)
    }

    fn currency(&self) -> Result<Currency, EventIssue> {
        let raw = self.get("currency");
        let currency = match raw {
            _ if raw.is_missing() => self.rules.default_currency,
            RawValue::Text(text) => Currency::try_new(text)
                .map_err(|_| EventIssue::NotACurrency { found: excerpt(text) })?,
            _ => return Err(EventIssue::NotACurrency { found: raw.kind().to_owned() }),
        };
        match self.rules.only_currency {
            Some(wanted) if wanted != currency => {
                Err(EventIssue::OtherCurrency { found: currency, wanted })
            }
            _ => Ok(currency),
        }
    }

    fn name(&self, field: &'static str) -> Result<Option<Name>, EventIssue> {
        value::name(field, self.get(field))
    }

    fn required_name(&self, field: &'static str) -> Result<Name, EventIssue> {
        self.required(field, self.name(field)?)
    }

    fn flag(&self, field: &'static str) -> Result<Option<bool>, EventIssue> {
        value::flag(field, self.get(field))
    }

    fn count(&self, field: &'static str) -> Result<Option<u32>, EventIssue> {
        value::whole(field, self.get(field), (0, u32::MAX, COUNT_WANTED), self.rules)
    }

    fn score(&self, least: u32, most: u32, wanted: &'static str) -> Result<u8, EventIssue> {
        let found = value::whole("score", self.get("score"), (least, most, wanted), self.rules)?;
        Ok(u8::try_from(self.required("score", found)?).unwrap_or(u8::MAX))
    }
}

fn unknown_attribute(event_type: EventType, field: &str) -> EventIssue {
    let channels = Channel::ALL.map(Channel::as_str);
    let mut names: Vec<String> = event_type.attributes().iter().map(|&n| n.to_owned()).collect();
    if event_type == EventType::Profile {
        names.extend(channels.map(|channel| format!("consent_{channel}")));
        names.extend(channels.map(|channel| format!("reachable_{channel}")));
    }
    EventIssue::UnknownAttribute {
        field: excerpt(field),
        event_type: event_type.as_str(),
        suggestion: nearest(field, names.iter().map(String::as_str)).map(str::to_owned),
        wanted: event_type.attributes().join(", "),
    }
}

/// Makes the kind of an event from its raw attributes.
pub(super) fn read_kind(attributes: &Attributes<'_, '_>) -> Result<EventKind, EventIssue> {
    match attributes.event_type {
        EventType::Purchase => read_purchase(attributes),
        EventType::Refund => read_refund(attributes),
        EventType::Activity => Ok(EventKind::Activity(Activity {
            name: attributes.required_name("name")?,
            device: attributes.name("device")?,
        })),
        EventType::Contact => read_contact(attributes).map(EventKind::Contact),
        EventType::Profile => {
            read_profile(attributes).map(|profile| EventKind::Profile(Box::new(profile)))
        }
        EventType::Cart => {
            let states = [("updated", Cart::Updated), ("cleared", Cart::Cleared)];
            let state = value::choice("state", attributes.get("state"), &states)?;
            attributes.required("state", state).map(EventKind::Cart)
        }
        EventType::Feedback
        | EventType::Complaint
        | EventType::TicketOpened
        | EventType::TicketClosed
        | EventType::Nps
        | EventType::Csat => read_feedback(attributes).map(EventKind::Feedback),
    }
}

fn read_purchase(attributes: &Attributes<'_, '_>) -> Result<EventKind, EventIssue> {
    let amount = attributes.amount()?;
    let currency = attributes.currency()?;
    if amount.is_negative() {
        // Given back: its number of items and its discount say nothing about an order.
        return Ok(EventKind::Refund(Refund { amount: -amount, currency }));
    }
    let items = items_of(attributes.get("items"), attributes.rules)?;
    let discount = value::money("discount", attributes.get("discount"), attributes.rules)?;
    let discount = discount.unwrap_or(Money::ZERO);
    if discount.is_negative() {
        return Err(EventIssue::NumberOutOfRange {
            field: "discount".to_owned(),
            found: discount.units(),
            wanted: "at least 0",
        });
    }
    Ok(EventKind::Purchase(Purchase {
        amount,
        currency,
        items: items.unwrap_or(1),
        category: attributes.name("category")?,
        sales_channel: attributes.name("channel")?,
        discount,
    }))
}

/// The number of items of an order.
pub(super) fn items_of(raw: &RawValue<'_>, rules: &Rules) -> Result<Option<u32>, EventIssue> {
    value::whole("items", raw, (0, ITEMS_MAX, ITEMS_WANTED), rules)
}

fn read_refund(attributes: &Attributes<'_, '_>) -> Result<EventKind, EventIssue> {
    let amount = attributes.amount()?;
    if amount <= Money::ZERO {
        return Err(EventIssue::NumberOutOfRange {
            field: "amount".to_owned(),
            found: amount.units(),
            wanted: "above 0 (what was given back)",
        });
    }
    Ok(EventKind::Refund(Refund { amount, currency: attributes.currency()? }))
}

fn read_contact(attributes: &Attributes<'_, '_>) -> Result<Contact, EventIssue> {
    let stages = [
        ("delivered", ContactStage::Delivered),
        ("opened", ContactStage::Opened),
        ("clicked", ContactStage::Clicked),
    ];
    let channel = value::channel("channel", attributes.get("channel"))?;
    let stage = value::choice("stage", attributes.get("stage"), &stages)?;
    Ok(Contact {
        campaign: attributes.required_name("campaign")?,
        channel: attributes.required("channel", channel)?,
        stage: attributes.required("stage", stage)?,
    })
}

/// The five kinds of feedback, by their own type or by `feedback` with the attribute `kind`.
fn read_feedback(attributes: &Attributes<'_, '_>) -> Result<Feedback, EventIssue> {
    let event_type = if attributes.event_type == EventType::Feedback {
        let kinds = [
            EventType::Complaint,
            EventType::TicketOpened,
            EventType::TicketClosed,
            EventType::Nps,
            EventType::Csat,
        ]
        .map(|kind| (kind.as_str(), kind));
        let kind =
            attributes.required("kind", value::choice("kind", attributes.get("kind"), &kinds)?)?;
        for (field, value) in attributes.pairs {
            if field != "kind" && !value.is_missing() && !kind.takes(field) {
                return Err(unknown_attribute(kind, field));
            }
        }
        kind
    } else {
        attributes.event_type
    };
    match event_type {
        EventType::Complaint => {
            let severities = [
                ("minor", Severity::Minor),
                ("serious", Severity::Serious),
                ("critical", Severity::Critical),
            ];
            let severity = value::choice("severity", attributes.get("severity"), &severities)?;
            Ok(Feedback::Complaint { severity: attributes.required("severity", severity)? })
        }
        EventType::TicketOpened => Ok(Feedback::TicketOpened {
            ticket: attributes.required_name("ticket")?,
            critical: attributes.flag("critical")?.unwrap_or(false),
        }),
        EventType::TicketClosed => {
            Ok(Feedback::TicketClosed { ticket: attributes.required_name("ticket")? })
        }
        EventType::Csat => attributes.score(1, 5, "a whole number from 1 to 5").map(Feedback::Csat),
        _ => attributes.score(0, 10, "a whole number from 0 to 10").map(Feedback::Nps),
    }
}

fn read_profile(attributes: &Attributes<'_, '_>) -> Result<Profile, EventIssue> {
    let rules = attributes.rules;
    let email_known = match attributes.flag("email_known")? {
        Some(known) => Some(known),
        None => attributes.flag("has_email")?,
    };
    let tags = attributes.get("tags");
    let tags = value::list("tags", tags, rules, |tag| value::name("tags", tag))?;
    Ok(Profile {
        consents: read_channel_facts(attributes, true)?,
        reachable: read_channel_facts(attributes, false)?,
        email_known,
        do_not_contact: attributes.flag("do_not_contact")?,
        loyalty_member: attributes.flag("loyalty_member")?,
        loyalty_points: attributes.count("loyalty_points")?,
        b2b: attributes.flag("b2b")?,
        contact_people: attributes.count("contact_people")?,
        csm_changed: value::day("csm_changed", attributes.get("csm_changed"), rules)?,
        persona: attributes.name("persona")?,
        acquisition_channel: attributes.name("acquisition_channel")?,
        tags,
        has_updates: attributes.flag("has_updates")?,
    })
}

/// Facts by channel, in the order of the channels: from a list, which says yes for each channel
/// it names and nothing of the others, overruled by the attribute of each channel.
fn read_channel_facts(
    attributes: &Attributes<'_, '_>,
    of_consent: bool,
) -> Result<Vec<(Channel, bool)>, EventIssue> {
    let field = if of_consent { "consent" } else { "reachable" };
    let mut facts = [None; Channel::ALL.len()];
    let listed = value::list(field, attributes.get(field), attributes.rules, |name| {
        value::channel(field, name)
    })?;
    for channel in listed.unwrap_or_default() {
        facts[channel.index()] = Some(true);
    }
    for (name, raw) in attributes.pairs {
        if let Some((is_consent, channel)) = channel_fact(name)
            && is_consent == of_consent
            && let Some(said) = value::flag(name, raw)?
        {
            facts[channel.index()] = Some(said);
        }
    }
    let said = |channel: Channel| facts[channel.index()].map(|fact| (channel, fact));
    Ok(Channel::ALL.into_iter().filter_map(said).collect())
}
