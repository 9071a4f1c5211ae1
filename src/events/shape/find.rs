//! Where a value stands in an object: a path of keys.
//!
//! In: `properties.products.0.price`, `traits.tags`, `properties.products.*.quantity`. Out: what
//! stands there. A number names a place of a list, a star all of them, and `\.` is a point inside
//! a key.

use std::borrow::Cow;

use serde_json::Value;

use crate::events::jsonl::Object;
use crate::events::jsonl::raw_value;
use crate::events::raw::RawValue;

/// Steps that one path may have.
const STEPS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    All,
}

/// A path of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldPath(Vec<Step>);

impl FieldPath {
    /// Reads a path; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut steps, mut key, mut is_escaped) = (Vec::new(), String::new(), false);
        let mut end = |key: &mut String| {
            let key = std::mem::take(key);
            if key.is_empty() {
                return Err("a key of it is empty");
            }
            steps.push(if key == "*" { Step::All } else { Step::Key(key) });
            Ok(())
        };
        for letter in text.chars() {
            match letter {
                '\\' if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                '.' if !is_escaped => end(&mut key)?,
                letter => key.push(letter),
            }
            is_escaped = false;
        }
        end(&mut key)?;
        let n_stars = steps.iter().filter(|step| **step == Step::All).count();
        match (steps.first(), n_stars) {
            _ if steps.len() > STEPS_MAX => Err("it has more than 16 keys"),
            (Some(Step::All), _) => Err("it begins with a star"),
            (_, 0 | 1) => Ok(Self(steps)),
            _ => Err("it has more than one star"),
        }
    }

    /// What stands there; with a star a list of what is there, or its sum.
    pub(super) fn value<'o>(&self, object: &'o Object, is_sum: bool) -> RawValue<'o> {
        let star = self.0.iter().position(|step| *step == Step::All);
        let Some(star) = star else {
            return self.0.split_first().map_or(RawValue::Missing, |(first, rest)| {
                let found = first_of(object, first).and_then(|value| walk(value, rest));
                found.map_or(RawValue::Missing, raw_value)
            });
        };
        let list = self.0[..star].split_first();
        let list = list.and_then(|(first, rest)| walk(first_of(object, first)?, rest));
        let Some(Value::Array(items)) = list else { return RawValue::Missing };
        let rest = &self.0[star + 1..];
        let found: Vec<RawValue<'o>> = items
            .iter()
            .filter_map(|item| walk(item, rest))
            .map(raw_value)
            .filter(|value| !value.is_missing())
            .collect();
        match sum(&found) {
            _ if found.is_empty() => RawValue::Missing,
            Some(sum) if is_sum => RawValue::Number(sum),
            _ => RawValue::List(found),
        }
    }

    /// The object that stands there.
    pub(super) fn object<'o>(&self, object: &'o Object) -> Option<&'o Object> {
        let (first, rest) = self.0.split_first()?;
        walk(first_of(object, first)?, rest)?.as_object()
    }
}

fn first_of<'o>(object: &'o Object, step: &Step) -> Option<&'o Value> {
    match step {
        Step::Key(key) => object.get(key),
        Step::All => None,
    }
}

fn walk<'o>(from: &'o Value, steps: &[Step]) -> Option<&'o Value> {
    let mut at = from;
    for step in steps {
        let Step::Key(key) = step else { return None };
        at = match at {
            Value::Object(object) => object.get(key)?,
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

fn sum(values: &[RawValue<'_>]) -> Option<f64> {
    let number = |value: &RawValue<'_>| match value {
        RawValue::Number(number) => Some(*number),
        _ => None,
    };
    values.iter().map(number).sum()
}

/// What stands at the first of several paths where anything does.
pub(super) fn first_value<'o>(
    paths: &[FieldPath],
    object: &'o Object,
    is_sum: bool,
) -> RawValue<'o> {
    let values = paths.iter().map(|path| path.value(object, is_sum));
    values.into_iter().find(|value| !value.is_missing()).unwrap_or_default()
}

/// A text that an envelope must have.
pub(super) fn text_of<'o>(object: &'o Object, key: &str) -> Option<Cow<'o, str>> {
    let text = object.get(key).and_then(Value::as_str);
    text.filter(|text| !text.trim().is_empty()).map(Cow::Borrowed)
}
