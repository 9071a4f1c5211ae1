//! Other people's events: CloudEvents and Segment's messages, by a map of what means what.
//!
//! In: JSON objects, and a map from a file or built in. Out: raw events as from any other format,
//! rows that the map leaves out, and which ids are one customer. It deliberately checks no value:
//! the same rules do as for our own form.

mod find;
mod identity;
mod map;
mod raw_map;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

use super::jsonl::Object;
use super::jsonl::parse;

pub(super) use identity::Identities;
pub(super) use identity::Link;
pub(super) use identity::LinkSink;
pub use map::EventMap;
pub use map::MapError;
pub(super) use read::read_shaped;

/// The messages of Segment.
pub(super) const MESSAGES: [&str; 6] = ["track", "identify", "alias", "page", "screen", "group"];

/// Whose form the objects of JSON lines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// CloudEvents 1.0 in the structured JSON form.
    CloudEvents,
    /// Messages of the Segment specification.
    Segment,
}

impl Shape {
    /// Both.
    pub const ALL: [Self; 2] = [Self::CloudEvents, Self::Segment];

    /// Its name in flags and maps.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Segment => "segment",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == text)
    }

    pub(super) const fn format(self) -> &'static str {
        match self {
            Self::CloudEvents => "JSON lines of CloudEvents 1.0",
            Self::Segment => "JSON lines of Segment",
        }
    }

    /// What an object is, where it can be nothing else.
    fn of_object(object: &Object) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        if ["specversion", "id", "source", "type"].iter().all(|key| text(key).is_some()) {
            return Some(Self::CloudEvents);
        }
        let is_message = text("type").is_some_and(|text| MESSAGES.contains(&text));
        (is_message && text("messageId").is_some()).then_some(Self::Segment)
    }
}

/// What the objects of JSON lines are taken for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EventShape {
    /// By the first object of each file: our own, unless it can only be another's.
    #[default]
    Detect,
    /// Our own form.
    Own,
    /// As a map says.
    Mapped(Arc<EventMap>),
}

impl EventShape {
    /// The map that a file is read by, given what it begins with. Where the form `is_open` the
    /// first object tells; otherwise only a map that was asked for is used.
    pub(super) fn map_of(
        &self,
        start: &[u8],
        is_open: bool,
    ) -> Result<Option<Arc<EventMap>>, MapError> {
        let shape = match self {
            Self::Mapped(map) => return Ok(Some(Arc::clone(map))),
            Self::Detect if is_open => {
                let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
                let lines = text.split(|byte| *byte == b'\n');
                let first = lines.into_iter().find(|line| !line.trim_ascii().is_empty());
                let object = first.and_then(|line| parse(line).ok());
                object.and_then(|object| Shape::of_object(&object))
            }
            Self::Detect | Self::Own => None,
        };
        shape.map(|shape| EventMap::built_in(shape).map(Arc::new)).transpose()
    }
}
