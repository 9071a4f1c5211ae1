//! The short way for plain rows: orders and activities in which nothing is amiss, without making
//! an event of each.
//!
//! In: the cells of a row. Out: what an event of it would say, borrowed from the row; or nothing,
//! and then the rules say what it is or why it is none. It deliberately judges nothing: what is
//! not plain goes the long way, which alone gives reasons. Both ways ask the same functions for
//! each value, and a test holds them to one log.

use std::borrow::Cow;

use super::content::PurchaseText;
use super::content::write_activity;
use super::content::write_head;
use super::issue::EventIssue;
use super::kinds::EventType;
use super::kinds::items_of;
use super::mapping::Layout;
use super::mapping::id_text;
use super::raw::RawValue;
use super::rules::Rules;
use super::rules::read_time;
use super::value;
use crate::domain::Currency;
use crate::domain::CustomerId;
use crate::domain::Day;
use crate::domain::EventId;
use crate::domain::Money;
use crate::domain::Name;
use crate::domain::Timestamp;

/// A row that is an event of the plain kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlainEvent<'a> {
    pub(super) customer: Cow<'a, str>,
    pub(super) own_id: Option<EventId>,
    pub(super) time: Timestamp,
    pub(super) day: Day,
    kind: PlainKind<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum PlainKind<'a> {
    Purchase(PurchaseText<'a>),
    Activity { name: &'a str, device: Option<&'a str> },
}

impl PlainEvent<'_> {
    /// The currency of its amount.
    pub(super) const fn currency(&self) -> Option<Currency> {
        match &self.kind {
            PlainKind::Purchase(purchase) => Some(purchase.currency),
            PlainKind::Activity { .. } => None,
        }
    }

    /// Adds its content to a buffer.
    pub(super) fn write_content(&self, out: &mut Vec<u8>) {
        write_head(&self.customer, self.time, out);
        match &self.kind {
            PlainKind::Purchase(purchase) => purchase.write(out),
            PlainKind::Activity { name, device } => write_activity(name, *device, out),
        }
    }
}

/// What a column of plain rows holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Amount,
    Currency,
    Items,
    Category,
    Channel,
    Discount,
    Name,
    Device,
    /// What neither orders nor activities have: a row that says something here is not plain.
    Other,
}

impl Slot {
    fn of(attribute: &str) -> Self {
        match attribute {
            "amount" => Self::Amount,
            "currency" => Self::Currency,
            "items" => Self::Items,
            "category" => Self::Category,
            "channel" => Self::Channel,
            "discount" => Self::Discount,
            "name" => Self::Name,
            "device" => Self::Device,
            _ => Self::Other,
        }
    }
}

/// Where plain rows hold what.
#[derive(Debug)]
pub(super) struct PlainLayout {
    customer: usize,
    time: usize,
    event_type: Option<usize>,
    default_type: Option<EventType>,
    event_id: Option<usize>,
    attributes: Vec<(usize, Slot)>,
}

impl PlainLayout {
    /// Of a log; none where every row must go the long way.
    pub(super) fn of(layout: &Layout, rules: &Rules) -> Option<Self> {
        let is_plain = !layout.is_table
            && layout.constants.is_empty()
            && layout.attributes.len() <= rules.attributes_max;
        let attributes: Vec<(usize, Slot)> =
            layout.attributes.iter().map(|(idx, name)| (*idx, Slot::of(name))).collect();
        let repeats = attributes.iter().enumerate().any(|(at, (_, slot))| {
            *slot != Slot::Other && attributes[..at].iter().any(|(_, before)| before == slot)
        });
        (is_plain && !repeats).then_some(Self {
            customer: layout.customer,
            time: layout.time?,
            event_type: layout.event_type,
            default_type: layout.default_type,
            event_id: layout.event_id,
            attributes,
        })
    }

    /// Reads a row.
    pub(super) fn read<'a>(
        &self,
        rules: &Rules,
        mut cell: impl FnMut(usize) -> Result<RawValue<'a>, EventIssue>,
    ) -> Option<PlainEvent<'a>> {
        let customer = id_text("customer", cell(self.customer).ok()?).ok()?;
        CustomerId::check(&customer).ok()?;
        let time = read_time(&cell(self.time).ok()?, rules).ok()?;
        let event_type = match self.event_type {
            Some(idx) => EventType::parse(borrowed(&cell(idx).ok()?)?).ok()?,
            None => self.default_type?,
        };
        let own_id = match self.event_id {
            Some(idx) => own_id(cell(idx).ok()?)?,
            None => None,
        };
        if own_id.is_none() && rules.id_required {
            return None;
        }
        let kind = match event_type {
            EventType::Purchase => self.purchase(rules, cell)?,
            EventType::Activity => self.activity(cell)?,
            _ => return None,
        };
        Some(PlainEvent { customer, own_id, time, day: rules.zone.day_of(time), kind })
    }

    fn purchase<'a>(
        &self,
        rules: &Rules,
        mut cell: impl FnMut(usize) -> Result<RawValue<'a>, EventIssue>,
    ) -> Option<PlainKind<'a>> {
        let (mut amount, mut currency, mut items) = (None, rules.default_currency, 1);
        let (mut category, mut sales_channel, mut discount) = (None, None, Money::ZERO);
        for (idx, slot) in &self.attributes {
            let value = cell(*idx).ok()?;
            if value.is_missing() {
                continue;
            }
            match slot {
                Slot::Amount => amount = money("amount", &value, rules)?,
                Slot::Currency => currency = Currency::try_new(borrowed(&value)?).ok()?,
                Slot::Items => items = items_of(&value, rules).ok()??,
                Slot::Category => category = name(&value)?,
                Slot::Channel => sales_channel = name(&value)?,
                Slot::Discount => discount = money("discount", &value, rules)??,
                Slot::Name | Slot::Device | Slot::Other => return None,
            }
        }
        if rules.only_currency.is_some_and(|wanted| wanted != currency) {
            return None;
        }
        let amount = amount?;
        Some(PlainKind::Purchase(PurchaseText {
            amount,
            currency,
            items,
            category,
            sales_channel,
            discount,
        }))
    }

    fn activity<'a>(
        &self,
        mut cell: impl FnMut(usize) -> Result<RawValue<'a>, EventIssue>,
    ) -> Option<PlainKind<'a>> {
        let (mut what, mut device) = (None, None);
        for (idx, slot) in &self.attributes {
            let value = cell(*idx).ok()?;
            if value.is_missing() {
                continue;
            }
            match slot {
                Slot::Name => what = name(&value)?,
                Slot::Device => device = name(&value)?,
                // Every type takes one, since a file has it in each row.
                Slot::Currency => {}
                _ => return None,
            }
        }
        Some(PlainKind::Activity { name: what?, device })
    }
}

/// A text that lives as long as the row.
fn borrowed<'a>(value: &RawValue<'a>) -> Option<&'a str> {
    match value {
        RawValue::Text(Cow::Borrowed(text)) => Some(text),
        _ => None,
    }
}

/// An id, where one is said; the outer `None` for what is no plain one.
#[allow(clippy::option_option, reason = "the outer one is not plain, the inner one no id")]
fn own_id(value: RawValue<'_>) -> Option<Option<EventId>> {
    if value.is_missing() {
        return Some(None);
    }
    let text = id_text("event_id", value).ok()?;
    EventId::try_from_source(&text).ok().map(Some)
}

/// An amount that is not below 0.
#[allow(clippy::option_option, reason = "the outer one is not plain, the inner one no amount")]
fn money(field: &str, value: &RawValue<'_>, rules: &Rules) -> Option<Option<Money>> {
    let found = value::money(field, value, rules).ok()?;
    (!found.is_some_and(Money::is_negative)).then_some(found)
}

#[allow(clippy::option_option, reason = "the outer one is not plain, the inner one no name")]
fn name<'a>(value: &RawValue<'a>) -> Option<Option<&'a str>> {
    Name::check(borrowed(value)?).ok().map(Some)
}
