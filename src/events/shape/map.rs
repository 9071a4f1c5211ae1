//! The map of events: which type or name is which event, and where its parts stand.
//!
//! In: a TOML text, laid over the map that is built in for its shape. Out: a checked map that
//! turns objects into raw events, or everything that is wrong with the text at once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use thiserror::Error;

use super::MESSAGES;
use super::Shape;
use super::find::FieldPath;
use super::find::first_value;
use super::find::text_of;
use super::raw_map::RawMap;
use super::raw_map::paths;
use super::raw_map::targets;
use super::read::quoted;
use crate::events::issue::EventIssue;
use crate::events::issue::excerpt;
use crate::events::jsonl::Object;
use crate::events::jsonl::raw_value;
use crate::events::kinds::EventType;
use crate::events::mapping::id_text;
use crate::events::raw::RawEvent;
use crate::events::raw::RawValue;
use crate::events::rules::ALIAS;
use crate::events::rules::PREVIOUS;

/// The version of CloudEvents that is read.
const SPEC_VERSION: &str = "1.0";
/// Attributes of which a star gives the sum.
const SUMMED: [&str; 3] = ["amount", "items", "discount"];
/// What is counted for a row without a customer, where such rows are left out.
const NO_CUSTOMER: &str = "(no customer)";
const SEGMENT: &str = include_str!("segment.toml");
const CLOUD_EVENTS: &str = include_str!("cloudevents.toml");

/// Why a text is no map of events: everything at once.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the map of events has {} problem(s)\n{}", .issues.len(), listed(.issues))]
pub struct MapError {
    /// What is wrong, one line each.
    pub issues: Vec<String>,
}

fn listed(issues: &[String]) -> String {
    issues.iter().map(|one| format!("  {one}")).collect::<Vec<_>>().join("\n")
}

impl MapError {
    pub(super) fn one(issue: impl ToString) -> Self {
        Self { issues: vec![issue.to_string().trim_end().to_owned()] }
    }
}

/// What becomes of events that the map does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unmapped {
    Ignore,
    /// An activity of that name.
    Activity,
    Reject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attributes {
    Object(FieldPath),
    Named(Vec<(String, Vec<FieldPath>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    LeftOut,
    Alias(Vec<FieldPath>),
    Event { event_type: EventType, attributes: Attributes, constants: Vec<(String, String)> },
}

/// Which type or name is which event, and where its parts stand. Checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMap {
    shape: Shape,
    customer: Vec<FieldPath>,
    time: Vec<FieldPath>,
    unmapped: Unmapped,
    leaves_out_nobody: bool,
    identify_links: bool,
    events: BTreeMap<String, Target>,
    calls: BTreeMap<String, Target>,
}

/// What an object says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said<'o> {
    /// An event.
    Event(RawEvent<'o>),
    /// That two ids are one customer: its attribute is the former id.
    Alias(RawEvent<'o>),
    /// Nothing that the map takes; the name is what it is.
    LeftOut(Cow<'o, str>),
}

impl EventMap {
    /// The map that is used where none is given.
    ///
    /// # Errors
    /// None: a test holds that what is built in is sound.
    pub fn built_in(shape: Shape) -> Result<Self, MapError> {
        Self::check(RawMap::parse(Self::built_in_text(shape))?)
    }

    /// The same as a text, to begin one's own with.
    #[must_use]
    pub const fn built_in_text(shape: Shape) -> &'static str {
        match shape {
            Shape::CloudEvents => CLOUD_EVENTS,
            Shape::Segment => SEGMENT,
        }
    }

    /// Reads a map and lays it over the one built in for its shape, which `shape` names where the
    /// text does not.
    ///
    /// # Errors
    /// [`MapError`] with everything that is wrong, unknown keys by their name.
    pub fn parse(text: &str, shape: Option<Shape>) -> Result<Self, MapError> {
        let raw = RawMap::parse(text)?;
        let said = match raw.shape.as_deref() {
            None => None,
            Some(name) => Some(Shape::parse(name).ok_or_else(|| {
                MapError::one(format!("shape is {name:?}: cloudevents or segment is wanted"))
            })?),
        };
        let shape = match (said, shape) {
            (Some(said), Some(asked)) if said != asked => {
                let (said, asked) = (said.name(), asked.name());
                let text = format!("shape is {said:?}, and the format asked for is {asked}");
                return Err(MapError::one(text));
            }
            (Some(shape), _) | (None, Some(shape)) => shape,
            (None, None) => {
                let text = "shape = \"cloudevents\" or \"segment\" is missing (or say --format)";
                return Err(MapError::one(text));
            }
        };
        Self::check(RawMap::parse(Self::built_in_text(shape))?.under(raw))
    }

    fn check(raw: RawMap) -> Result<Self, MapError> {
        let mut issues = Vec::new();
        let shape = raw.shape.as_deref().and_then(Shape::parse).unwrap_or(Shape::Segment);
        let unmapped = match raw.unmapped.as_deref() {
            None | Some("ignore") => Unmapped::Ignore,
            Some("activity") => Unmapped::Activity,
            Some("reject") => Unmapped::Reject,
            Some(other) => {
                issues.push(format!("unmapped is {other:?}: ignore, activity or reject is wanted"));
                Unmapped::Ignore
            }
        };
        let leaves_out_nobody = match raw.without_customer.as_deref() {
            None | Some("reject") => false,
            Some("ignore") => true,
            Some(other) => {
                issues.push(format!("without_customer is {other:?}: reject or ignore is wanted"));
                false
            }
        };
        let identify_links = raw.identify_links.unwrap_or(false);
        if shape != Shape::Segment && (identify_links || !raw.calls.is_empty()) {
            issues.push("calls and identify_links are of Segment alone".to_owned());
        }
        let known = |name: &&String| name.as_str() == "track" || !MESSAGES.contains(&name.as_str());
        for name in raw.calls.keys().filter(known) {
            let known = MESSAGES[1..].join(", ");
            issues.push(format!("calls.{name}: not one of {known}; track calls go by [events]"));
        }
        let customer = paths("customer", raw.customer, &mut issues);
        let time = paths("time", raw.time, &mut issues);
        let events = targets("events", raw.events, &mut issues);
        let calls = targets("calls", raw.calls, &mut issues);
        if !issues.is_empty() {
            return Err(MapError { issues });
        }
        let (unmapped, shape) = (unmapped, shape);
        Ok(Self {
            shape,
            customer,
            time,
            unmapped,
            leaves_out_nobody,
            identify_links,
            events,
            calls,
        })
    }

    /// Whose form it reads.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// What it takes, one line each.
    pub(crate) fn to_lines(&self) -> Vec<String> {
        let all = self.events.iter().map(|(name, target)| (format!("{name:?}"), target));
        let calls = self.calls.iter().map(|(name, target)| (name.clone(), target));
        all.chain(calls)
            .filter_map(|(name, target)| match target {
                Target::LeftOut => None,
                Target::Alias(_) => Some(format!("{name}: merges two ids")),
                Target::Event { event_type, .. } => {
                    Some(format!("{name}: {}", event_type.as_str()))
                }
            })
            .collect()
    }

    /// What an object says.
    pub(super) fn say<'o>(&'o self, object: &'o Object) -> Result<Said<'o>, EventIssue> {
        let (name, target) = match self.shape {
            Shape::CloudEvents => {
                let name = cloud_event_type(object)?;
                let target = self.events.get(name.as_ref());
                (name, target)
            }
            Shape::Segment => {
                let call = message_type(object)?;
                if call == "track" {
                    let name = text_of(object, "event")
                        .ok_or_else(|| envelope("event", object, "the name of the event"))?;
                    let target = self.events.get(name.as_ref());
                    (name, target)
                } else {
                    let target = self.calls.get(call.as_ref()).unwrap_or(&Target::LeftOut);
                    (call, Some(target))
                }
            }
        };
        let Some(target) = target else { return self.say_unmapped(object, name) };
        let mut raw = match target {
            Target::LeftOut => return Ok(Said::LeftOut(name)),
            Target::Alias(_) => RawEvent::default(),
            Target::Event { event_type: EventType::Profile, .. } if facts(target, object) == 0 => {
                return Ok(Said::LeftOut(name));
            }
            Target::Event { .. } => RawEvent::default(),
        };
        self.fill(object, &mut raw)?;
        if raw.customer.trim().is_empty() && self.leaves_out_nobody {
            return Ok(Said::LeftOut(Cow::Borrowed(NO_CUSTOMER)));
        }
        match target {
            Target::Alias(previous) => {
                put_alias(&mut raw, id_text(PREVIOUS, first_value(previous, object, false))?);
                Ok(Said::Alias(raw))
            }
            _ => {
                put_attributes(target, object, &mut raw);
                Ok(Said::Event(raw))
            }
        }
    }

    fn say_unmapped<'o>(
        &'o self,
        object: &'o Object,
        name: Cow<'o, str>,
    ) -> Result<Said<'o>, EventIssue> {
        match self.unmapped {
            Unmapped::Ignore => Ok(Said::LeftOut(name)),
            Unmapped::Reject => Err(EventIssue::Unmapped { found: excerpt(&name) }),
            Unmapped::Activity => {
                let mut raw = RawEvent::default();
                self.fill(object, &mut raw)?;
                if raw.customer.trim().is_empty() && self.leaves_out_nobody {
                    return Ok(Said::LeftOut(Cow::Borrowed(NO_CUSTOMER)));
                }
                raw.event_type = Some(Cow::Borrowed(EventType::Activity.as_str()));
                raw.attributes.push((Cow::Borrowed("name"), RawValue::Text(name)));
                Ok(Said::Event(raw))
            }
        }
    }

    /// Customer, time and the key that makes a second delivery harmless.
    fn fill<'o>(&'o self, object: &'o Object, raw: &mut RawEvent<'o>) -> Result<(), EventIssue> {
        raw.customer = id_text("customer", first_value(&self.customer, object, false))?;
        raw.time = first_value(&self.time, object, false);
        raw.id = match self.shape {
            Shape::Segment => text_of(object, "messageId"),
            // A source is a URI and has no blank, so no two pairs give one text.
            Shape::CloudEvents => {
                let (source, id) = (text_of(object, "source"), text_of(object, "id"));
                source.zip(id).map(|(source, id)| Cow::Owned(format!("{source} {id}")))
            }
        };
        Ok(())
    }

    /// The words one of which a line must hold to say anything of identities; `None` where none
    /// does.
    pub(super) fn link_words(&self) -> Option<Vec<String>> {
        let is_alias = |target: &Target| matches!(target, Target::Alias(_));
        if self.shape == Shape::CloudEvents {
            let names = self.events.iter().filter(|(_, target)| is_alias(target));
            let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
            return (!names.is_empty()).then(|| quoted(&names));
        }
        let calls = self.calls.iter().filter(|(_, target)| is_alias(target));
        let mut words: Vec<&str> = calls.map(|(name, _)| name.as_str()).collect();
        let named = self.events.iter().filter(|(_, target)| is_alias(target));
        words.extend(named.map(|(name, _)| name.as_str()));
        if self.identify_links {
            words.push("identify");
        }
        (!words.is_empty()).then(|| quoted(&words))
    }

    /// That two ids are one customer, if an object says so.
    pub(super) fn link<'o>(&'o self, object: &'o Object) -> Option<RawEvent<'o>> {
        if let Ok(Said::Alias(raw)) = self.say(object) {
            return Some(raw);
        }
        let is_identify = self.shape == Shape::Segment && text_of(object, "type")? == "identify";
        if !(self.identify_links && is_identify) {
            return None;
        }
        let (user, device) = (text_of(object, "userId")?, text_of(object, "anonymousId")?);
        let mut raw = RawEvent { customer: user, ..RawEvent::default() };
        raw.time = first_value(&self.time, object, false);
        put_alias(&mut raw, device);
        Some(raw)
    }
}

fn put_alias<'o>(raw: &mut RawEvent<'o>, previous: Cow<'o, str>) {
    raw.event_type = Some(Cow::Borrowed(ALIAS));
    raw.attributes = vec![(Cow::Borrowed(PREVIOUS), RawValue::Text(previous))];
}

/// How many attributes an object brings for a target.
fn facts(target: &Target, object: &Object) -> usize {
    let mut raw = RawEvent::default();
    put_attributes(target, object, &mut raw);
    raw.attributes.len()
}

fn put_attributes<'o>(target: &'o Target, object: &'o Object, raw: &mut RawEvent<'o>) {
    let Target::Event { event_type, attributes, constants } = target else { return };
    raw.event_type = Some(Cow::Borrowed(event_type.as_str()));
    match attributes {
        Attributes::Object(path) => {
            let pairs = path.object(object).into_iter().flatten();
            let said = pairs.filter(|(_, value)| !value.is_null());
            raw.attributes
                .extend(said.map(|(name, value)| (Cow::Borrowed(name.as_str()), raw_value(value))));
        }
        Attributes::Named(named) => {
            for (name, paths) in named {
                let value = first_value(paths, object, SUMMED.contains(&name.as_str()));
                if !value.is_missing() {
                    raw.attributes.push((Cow::Borrowed(name.as_str()), value));
                }
            }
        }
    }
    let pairs = constants.iter();
    raw.attributes
        .extend(pairs.map(|(name, text)| (Cow::Borrowed(name.as_str()), RawValue::text(text))));
}

/// The type of a CloudEvent, once its envelope is as the specification says.
fn cloud_event_type(object: &Object) -> Result<Cow<'_, str>, EventIssue> {
    let version = text_of(object, "specversion");
    if version.as_deref() != Some(SPEC_VERSION) {
        return Err(envelope("specversion", object, "\"1.0\""));
    }
    for key in ["id", "source"] {
        if text_of(object, key).is_none() {
            return Err(envelope(key, object, "a text"));
        }
    }
    if object.contains_key("data_base64") {
        let (field, found) = ("data_base64", "encoded data".to_owned());
        return Err(EventIssue::BadEnvelope { field, found, wanted: "data as JSON" });
    }
    text_of(object, "type").ok_or_else(|| envelope("type", object, "a text"))
}

/// The type of a Segment message.
fn message_type(object: &Object) -> Result<Cow<'_, str>, EventIssue> {
    let wanted = "track, identify, alias, page, screen or group";
    let call = text_of(object, "type").filter(|call| MESSAGES.contains(&call.as_ref()));
    call.ok_or_else(|| envelope("type", object, wanted))
}

fn envelope(field: &'static str, object: &Object, wanted: &'static str) -> EventIssue {
    let found = match object.get(field) {
        None => "nothing".to_owned(),
        Some(value) => excerpt(&value.to_string()),
    };
    EventIssue::BadEnvelope { field, found, wanted }
}
