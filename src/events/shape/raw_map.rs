//! The text of a map, and what of it can be checked line by line.
//!
//! In: TOML. Out: paths and targets, and everything that is wrong with them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::find::FieldPath;
use super::map::Attributes;
use super::map::MapError;
use super::map::Target;
use crate::events::issue::nearest;
use crate::events::kinds::EventType;
use crate::events::rules::ALIAS;
use crate::events::rules::PREVIOUS;

/// One path or several, of which the first that leads anywhere is taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a path such as \"properties.total\", or a list of paths")]
pub(super) enum RawPaths {
    One(String),
    Several(Vec<String>),
}

/// Paths by attribute, or the path of an object whose keys are the attributes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a table of paths by attribute, or the path of an object")]
pub(super) enum RawAttributes {
    Object(String),
    Named(BTreeMap<String, RawPaths>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    attributes: Option<RawAttributes>,
    #[serde(default)]
    constants: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMap {
    pub(super) shape: Option<String>,
    pub(super) customer: Option<RawPaths>,
    pub(super) time: Option<RawPaths>,
    pub(super) unmapped: Option<String>,
    pub(super) without_customer: Option<String>,
    pub(super) identify_links: Option<bool>,
    pub(super) events: BTreeMap<String, RawTarget>,
    pub(super) calls: BTreeMap<String, RawTarget>,
}

impl RawMap {
    pub(super) fn parse(text: &str) -> Result<Self, MapError> {
        toml::from_str(text).map_err(MapError::one)
    }

    /// Lays another map over this one.
    pub(super) fn under(mut self, over: Self) -> Self {
        self.events.extend(over.events);
        self.calls.extend(over.calls);
        Self {
            shape: over.shape.or(self.shape),
            customer: over.customer.or(self.customer),
            time: over.time.or(self.time),
            unmapped: over.unmapped.or(self.unmapped),
            without_customer: over.without_customer.or(self.without_customer),
            identify_links: over.identify_links.or(self.identify_links),
            events: self.events,
            calls: self.calls,
        }
    }
}

pub(super) fn paths(key: &str, raw: Option<RawPaths>, issues: &mut Vec<String>) -> Vec<FieldPath> {
    let texts = match raw {
        None => Vec::new(),
        Some(RawPaths::One(text)) => vec![text],
        Some(RawPaths::Several(texts)) => texts,
    };
    if texts.is_empty() {
        issues.push(format!("{key}: no path is given"));
    }
    let mut found = Vec::with_capacity(texts.len());
    for text in texts {
        match FieldPath::parse(&text) {
            Ok(path) => found.push(path),
            Err(why) => issues.push(format!("{key}: {text:?} is no path: {why}")),
        }
    }
    found
}

pub(super) fn targets(
    room: &str,
    raw: BTreeMap<String, RawTarget>,
    issues: &mut Vec<String>,
) -> BTreeMap<String, Target> {
    let mut found = BTreeMap::new();
    for (name, raw) in raw {
        let key = format!("{room}.{name:?}");
        if let Some(target) = target(&key, raw, issues) {
            found.insert(name, target);
        }
    }
    found
}

fn target(key: &str, raw: RawTarget, issues: &mut Vec<String>) -> Option<Target> {
    let RawTarget { event_type, attributes, constants } = raw;
    match event_type.as_str() {
        "ignore" => return Some(Target::LeftOut),
        ALIAS => return alias_target(key, attributes, issues),
        _ => {}
    }
    let event_type = match EventType::parse(&event_type) {
        Ok(event_type) => event_type,
        Err(issue) => {
            issues.push(format!("{key}.type: {issue}, or ignore, or alias"));
            return None;
        }
    };
    let attributes = match attributes {
        None => Attributes::Named(Vec::new()),
        Some(RawAttributes::Object(text)) => match FieldPath::parse(&text) {
            Ok(path) => Attributes::Object(path),
            Err(why) => {
                issues.push(format!("{key}.attributes: {text:?} is no path: {why}"));
                return None;
            }
        },
        Some(RawAttributes::Named(named)) => Attributes::Named(
            named
                .into_iter()
                .map(|(name, raw)| {
                    check_attribute(key, event_type, &name, issues);
                    let paths = paths(&format!("{key}.attributes.{name}"), Some(raw), issues);
                    (name, paths)
                })
                .collect(),
        ),
    };
    for name in constants.keys() {
        check_attribute(key, event_type, name, issues);
        let is_twice = match &attributes {
            Attributes::Named(named) => named.iter().any(|(known, _)| known == name),
            Attributes::Object(_) => false,
        };
        if is_twice {
            issues.push(format!("{key}: {name:?} is given by a path and as a constant: keep one"));
        }
    }
    Some(Target::Event { event_type, attributes, constants: constants.into_iter().collect() })
}

fn alias_target(
    key: &str,
    attributes: Option<RawAttributes>,
    issues: &mut Vec<String>,
) -> Option<Target> {
    match attributes {
        Some(RawAttributes::Named(mut named))
            if named.len() == 1 && named.contains_key(PREVIOUS) =>
        {
            let key = format!("{key}.attributes.{PREVIOUS}");
            Some(Target::Alias(paths(&key, named.remove(PREVIOUS), issues)))
        }
        _ => {
            issues.push(format!("{key}: an alias has the attribute {PREVIOUS:?} and no other"));
            None
        }
    }
}

fn check_attribute(key: &str, event_type: EventType, name: &str, issues: &mut Vec<String>) {
    if event_type.takes(name) {
        return;
    }
    let names = event_type.attributes();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("one of {}", names.join(", ")),
    };
    let event_type = event_type.as_str();
    issues.push(format!("{key}: {name:?} is not an attribute of a {event_type} ({hint})"));
}
