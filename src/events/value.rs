//! One raw value read as what its attribute is: a number, an amount, a flag, a name, a choice.
//!
//! In: a field's name, its raw value, the rules. Out: the typed value, `None` where nothing was
//! said, or the issue. It deliberately knows no event type.

use super::issue::EventIssue;
use super::issue::excerpt;
use super::raw::RawValue;
use super::rules::DAYS_ACCEPTED;
use super::rules::Rules;
use crate::domain::Channel;
use crate::domain::Day;
use crate::domain::Money;
use crate::domain::MoneyError;
use crate::domain::Name;

/// Separates the values of a list written into one cell.
const LIST_SEPARATOR: char = '|';

fn wrong_kind(field: &str, value: &RawValue<'_>, wanted: &'static str) -> EventIssue {
    EventIssue::WrongValueKind { field: field.to_owned(), found: value.kind(), wanted }
}

/// A finite number.
pub(super) fn number(
    field: &str,
    value: &RawValue<'_>,
    rules: &Rules,
) -> Result<Option<f64>, EventIssue> {
    let number = match value {
        _ if value.is_missing() => return Ok(None),
        RawValue::Number(number) => *number,
        RawValue::Text(text) => number_of_text(field, text, rules.decimal_comma)?,
        _ => return Err(wrong_kind(field, value, "a number")),
    };
    if number.is_finite() {
        Ok(Some(number))
    } else {
        Err(EventIssue::NumberOutOfRange {
            field: field.to_owned(),
            found: number,
            wanted: "a finite number",
        })
    }
}

fn number_of_text(field: &str, text: &str, decimal_comma: bool) -> Result<f64, EventIssue> {
    let text = text.trim();
    let parsed = if decimal_comma {
        with_decimal_point(text).and_then(|text| text.parse().ok())
    } else {
        text.parse().ok()
    };
    parsed.ok_or_else(|| EventIssue::NotANumber {
        field: field.to_owned(),
        found: excerpt(text),
        hint: match (decimal_comma, text.contains(',')) {
            (false, true) => " (use --decimal-comma)",
            (true, _) if text.contains('.') => " (the point groups thousands: --decimal-comma)",
            _ => "",
        },
    })
}

/// `1.234,5` as `1234.5`. A point is taken only where it groups exactly three digits, so that a
/// file with decimal points is refused instead of read a thousandfold.
fn with_decimal_point(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once(',').map_or((text, None), |(w, f)| (w, Some(f)));
    let mut groups = whole.split('.');
    let first = groups.next()?;
    let grouped = groups.clone().next().is_some();
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    let n_first = first.trim_start_matches(['-', '+']).len();
    if grouped && !((1..=3).contains(&n_first) && groups.clone().all(is_group)) {
        return None;
    }
    if fraction.is_some_and(|digits| !digits.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let mut point: String = first.to_owned();
    point.extend(groups);
    if let Some(digits) = fraction {
        point.push('.');
        point.push_str(digits);
    }
    Some(point)
}

/// An amount of either sign.
pub(super) fn money(
    field: &str,
    value: &RawValue<'_>,
    rules: &Rules,
) -> Result<Option<Money>, EventIssue> {
    let Some(units) = number(field, value, rules)? else { return Ok(None) };
    Money::try_from_units(units).map(Some).map_err(|error| EventIssue::NumberOutOfRange {
        field: field.to_owned(),
        found: units,
        wanted: match error {
            MoneyError::NotFinite => "a finite number",
            _ => "at most 1e10 either way",
        },
    })
}

/// A whole number from `least` to `most`.
pub(super) fn whole(
    field: &str,
    value: &RawValue<'_>,
    (least, most, wanted): (u32, u32, &'static str),
    rules: &Rules,
) -> Result<Option<u32>, EventIssue> {
    let Some(found) = number(field, value, rules)? else { return Ok(None) };
    let in_range = found >= f64::from(least) && found <= f64::from(most);
    if in_range && found.fract().abs() < f64::MIN_POSITIVE {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and between two u32"
        )]
        return Ok(Some(found as u32));
    }
    Err(EventIssue::NumberOutOfRange { field: field.to_owned(), found, wanted })
}

/// True or false.
pub(super) fn flag(field: &str, value: &RawValue<'_>) -> Result<Option<bool>, EventIssue> {
    let not = |found: String| EventIssue::NotAFlag { field: field.to_owned(), found };
    match value {
        _ if value.is_missing() => Ok(None),
        RawValue::Flag(flag) => Ok(Some(*flag)),
        RawValue::Number(number) if number.to_bits() == 1.0_f64.to_bits() => Ok(Some(true)),
        RawValue::Number(number) if number.to_bits() == 0.0_f64.to_bits() => Ok(Some(false)),
        RawValue::Number(number) => Err(not(number.to_string())),
        RawValue::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "t" | "1" => Ok(Some(true)),
            "false" | "no" | "n" | "f" | "0" => Ok(Some(false)),
            _ => Err(not(excerpt(text))),
        },
        _ => Err(wrong_kind(field, value, "true or false")),
    }
}

/// A name; a whole number is taken as its digits, as ids of campaigns often are numbers.
pub(super) fn name(field: &str, value: &RawValue<'_>) -> Result<Option<Name>, EventIssue> {
    let not = |found: String| EventIssue::NotAName { field: field.to_owned(), found };
    match value {
        _ if value.is_missing() => Ok(None),
        RawValue::Text(text) => {
            Name::try_new(text).map(Some).map_err(|_| not(excerpt(text.as_ref())))
        }
        RawValue::Number(number) => {
            let text = super::raw::id_of_number(*number).ok_or_else(|| not(number.to_string()))?;
            Name::try_new(&text).map(Some).map_err(|_| not(text))
        }
        _ => Err(wrong_kind(field, value, "a name")),
    }
}

/// One of a closed set of words, in any case.
pub(super) fn choice<T: Copy>(
    field: &str,
    value: &RawValue<'_>,
    choices: &[(&'static str, T)],
) -> Result<Option<T>, EventIssue> {
    let text = match value {
        _ if value.is_missing() => return Ok(None),
        RawValue::Text(text) => text.trim(),
        _ => return Err(wrong_kind(field, value, "a text")),
    };
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| EventIssue::NotAChoice {
        field: field.to_owned(),
        found: excerpt(text),
        wanted: choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "),
    })
}

/// A contact channel.
pub(super) fn channel(field: &str, value: &RawValue<'_>) -> Result<Option<Channel>, EventIssue> {
    choice(field, value, &Channel::ALL.map(|channel| (channel.as_str(), channel)))
}

/// A calendar day of the business's zone.
pub(super) fn day(
    field: &str,
    value: &RawValue<'_>,
    rules: &Rules,
) -> Result<Option<Day>, EventIssue> {
    let not = |found: &str| EventIssue::NotADay { field: field.to_owned(), found: excerpt(found) };
    let day = match value {
        _ if value.is_missing() => return Ok(None),
        RawValue::Day(day) => *day,
        RawValue::Time(instant) => rules.zone.day_of(*instant),
        RawValue::Text(text) => Day::parse(text).map_err(|_| not(text))?,
        _ => return Err(wrong_kind(field, value, "a day")),
    };
    if DAYS_ACCEPTED.contains(&day.number()) { Ok(Some(day)) } else { Err(not(&day.to_string())) }
}

/// Several values: a list, or one text with `|` between them.
pub(super) fn list<'v, T>(
    field: &str,
    value: &'v RawValue<'_>,
    rules: &Rules,
    read: impl Fn(&RawValue<'v>) -> Result<Option<T>, EventIssue>,
) -> Result<Option<Vec<T>>, EventIssue> {
    let items: Vec<RawValue<'v>> = match value {
        _ if value.is_missing() => return Ok(None),
        RawValue::List(items) => items.clone(),
        RawValue::Text(text) => text.split(LIST_SEPARATOR).map(RawValue::text).collect(),
        _ => return Err(wrong_kind(field, value, "a list, or a text with | between the values")),
    };
    if items.len() > rules.list_values_max {
        return Err(EventIssue::TooManyValues {
            field: field.to_owned(),
            found: items.len(),
            most: rules.list_values_max,
        });
    }
    let mut values = Vec::with_capacity(items.len());
    for item in &items {
        values.extend(read(item)?);
    }
    Ok(Some(values))
}
