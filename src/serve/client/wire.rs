//! Rows of files as messages.
//!
//! In: a row as it came. Out: an event of the wire, or why there can be none; and from the answer
//! for an event why the server refused it.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::value::Kind;
use tonic_types::pb::{ErrorInfo, Status as RowStatus};

use crate::domain::Timestamp;
use crate::events::{EventIssue, RawEvent, RawValue};
use crate::serve::pb;

/// A row as an event of the wire.
pub(super) fn event_of(raw: &RawEvent<'_>, time: Timestamp) -> Result<pb::Event, EventIssue> {
    let (seconds, micros) = time.seconds_and_micros();
    let nanos = i32::try_from(micros).unwrap_or(0).saturating_mul(1_000);
    let mut fields = BTreeMap::new();
    for (name, value) in &raw.attributes {
        if fields.insert(name.to_string(), value_of(name, value)?).is_some() {
            return Err(EventIssue::RepeatedAttribute { field: name.to_string() });
        }
    }
    Ok(pb::Event {
        event_id: raw.id.as_deref().unwrap_or_default().to_owned(),
        customer: raw.customer.to_string(),
        r#type: raw.event_type.as_deref().unwrap_or_default().to_owned(),
        event_time: Some(prost_types::Timestamp { seconds, nanos }),
        attributes: (!fields.is_empty()).then_some(prost_types::Struct { fields }),
    })
}

fn value_of(field: &str, value: &RawValue<'_>) -> Result<prost_types::Value, EventIssue> {
    let kind = match value {
        RawValue::Missing => Kind::NullValue(0),
        RawValue::Text(text) => Kind::StringValue(text.to_string()),
        RawValue::Number(number) => Kind::NumberValue(*number),
        RawValue::Flag(flag) => Kind::BoolValue(*flag),
        RawValue::Time(time) => Kind::StringValue(time.to_string()),
        RawValue::Day(day) => Kind::StringValue(day.to_string()),
        RawValue::List(items) => {
            let values =
                items.iter().map(|item| value_of(field, item)).collect::<Result<_, _>>()?;
            Kind::ListValue(prost_types::ListValue { values })
        }
        RawValue::Other(_) => {
            return Err(EventIssue::WrongValueKind {
                field: field.to_owned(),
                found: value.kind(),
                wanted: "a value",
            });
        }
    };
    Ok(prost_types::Value { kind: Some(kind) })
}

/// Reason and message of a refused event.
pub(super) fn refusal(status: Option<RowStatus>) -> (String, String) {
    let Some(RowStatus { message, details, .. }) = status else {
        return ("UNKNOWN".to_owned(), "the server does not say why".to_owned());
    };
    let info = details.iter().find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"));
    let info = info.and_then(|detail| ErrorInfo::decode(detail.value.as_slice()).ok());
    (info.map_or_else(|| "UNKNOWN".to_owned(), |info| info.reason), message)
}
