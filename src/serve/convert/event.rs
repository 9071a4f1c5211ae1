//! Events out of messages.

use std::borrow::Cow;

use prost_types::value::Kind;

use crate::domain::CustomerId;
use crate::events::{Event, EventIssue, RawEvent, RawValue, Rules};
use crate::serve::pb;
use crate::serve::status::Violation;

/// Longest list and deepest nesting are the rules' business; deeper values are refused by kind.
const OBJECT: &str = "an object";

/// Checks one event. `owner` is whose it must be, where the event itself may leave it out.
pub(in crate::serve) fn event(
    message: &pb::Event,
    path: &str,
    owner: Option<&CustomerId>,
    rules: &Rules,
) -> Result<Event, Violation> {
    let pb::Event { event_id, customer, r#type, event_time, attributes } = message;
    let customer: &str = match owner {
        Some(owner) if customer.is_empty() || customer == owner.as_str() => owner.as_str(),
        Some(owner) => {
            let found = format!("{customer:?} is not the subject {:?}", owner.as_str());
            return Err(Violation::new(format!("{path}.customer"), "OTHER_CUSTOMER", found));
        }
        None => customer,
    };
    let time = event_time
        .as_ref()
        .map(|time| super::instant(&format!("{path}.event_time"), time))
        .transpose()?;
    let raw = RawEvent {
        id: (!event_id.is_empty()).then_some(Cow::Borrowed(event_id.as_str())),
        customer: Cow::Borrowed(customer),
        event_type: (!r#type.is_empty()).then_some(Cow::Borrowed(r#type.as_str())),
        time: time.map_or(RawValue::Missing, RawValue::Time),
        attributes: attributes.as_ref().map_or_else(Vec::new, |attributes| {
            let fields = attributes.fields.iter();
            fields.map(|(name, value)| (Cow::Borrowed(name.as_str()), raw_value(value))).collect()
        }),
    };
    Event::try_from_raw(&raw, rules)
        .map_err(|issue| Violation::new(field_path(path, &issue), issue.code(), &issue))
}

pub(in crate::serve) fn raw_value(value: &prost_types::Value) -> RawValue<'_> {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => RawValue::Missing,
        Some(Kind::NumberValue(number)) => RawValue::Number(*number),
        Some(Kind::StringValue(text)) => RawValue::text(text),
        Some(Kind::BoolValue(flag)) => RawValue::Flag(*flag),
        Some(Kind::StructValue(_)) => RawValue::Other(OBJECT),
        Some(Kind::ListValue(list)) => RawValue::List(list.values.iter().map(flat_value).collect()),
    }
}

/// A value inside a list: a list of lists means nothing in an event, and recursion has no bound.
fn flat_value(value: &prost_types::Value) -> RawValue<'_> {
    match &value.kind {
        Some(Kind::ListValue(_)) => RawValue::Other("a list of lists"),
        _ => raw_value(value),
    }
}

/// The path of the field that an issue is about.
fn field_path(path: &str, issue: &EventIssue) -> String {
    match issue {
        EventIssue::MissingCustomer | EventIssue::BadCustomer { .. } => format!("{path}.customer"),
        EventIssue::MissingEventId | EventIssue::BadEventId { .. } => format!("{path}.event_id"),
        EventIssue::MissingTime | EventIssue::BadTime { .. } | EventIssue::FutureTime { .. } => {
            format!("{path}.event_time")
        }
        EventIssue::MissingType { .. }
        | EventIssue::UnknownType { .. }
        | EventIssue::IdentityMerge => format!("{path}.type"),
        EventIssue::TooManyAttributes { .. } => format!("{path}.attributes"),
        other => match other.field() {
            Some(attribute) => format!("{path}.attributes.{attribute}"),
            None => path.to_owned(),
        },
    }
}
