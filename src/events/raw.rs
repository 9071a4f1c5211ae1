//! One event as it came, unchecked: from a row of a file or from a request.
//!
//! In: borrowed cells of a row, or owned values of a message. Out: what the rules check.
//! It deliberately judges nothing: a blank cell and a nonsense text are both taken as they are.

use std::borrow::Cow;

use crate::domain::Day;
use crate::domain::Timestamp;

/// One value as it came. Closed, so that a row of a large file costs no allocation a cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RawValue<'a> {
    /// Nothing was said.
    #[default]
    Missing,
    /// A text; a blank one counts as nothing said.
    Text(Cow<'a, str>),
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// An instant, already known exactly.
    Time(Timestamp),
    /// A calendar day of the business's zone.
    Day(Day),
    /// Several values.
    List(Vec<RawValue<'a>>),
    /// Something an event cannot hold, such as an object; the text names what it is.
    Other(&'static str),
}

impl<'a> RawValue<'a> {
    /// A borrowed text.
    #[must_use]
    pub const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Whether nothing was said: no value, or a blank text.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing => true,
            // What begins with a letter or a digit is not blank: no need to look for its ends.
            Self::Text(text) => {
                !text.as_bytes().first().is_some_and(u8::is_ascii_graphic) && text.trim().is_empty()
            }
            _ => false,
        }
    }

    /// What kind of value it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "nothing",
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Time(_) => "an instant",
            Self::Day(_) => "a day",
            Self::List(_) => "a list",
            Self::Other(what) => what,
        }
    }
}

/// One event as it came. `Event::try_from_raw` makes it an event or says why it is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawEvent<'a> {
    /// The producer's own id for the event, if it gives one.
    pub id: Option<Cow<'a, str>>,
    /// Whose it is.
    pub customer: Cow<'a, str>,
    /// Its type, such as `purchase`; a reader fills in the mapping's default type.
    pub event_type: Option<Cow<'a, str>>,
    /// When it happened: a text, seconds since 1970, an instant or a day.
    pub time: RawValue<'a>,
    /// Named values; the names each type takes are listed in docs/FORMATS.md.
    pub attributes: Vec<(Cow<'a, str>, RawValue<'a>)>,
}

/// A whole number written as a float, as an id of it would be written: `900`, not `900.0`.
/// Fractions and numbers beyond 2^53 are no ids.
pub(super) fn id_of_number(number: f64) -> Option<String> {
    let is_id = number.fract().abs() < f64::MIN_POSITIVE && number.abs() <= 9_007_199_254_740_992.0;
    if is_id && number.is_sign_negative() && number.abs() < 1.0 {
        return Some("-0".to_owned());
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole and at most 2^53")]
    let whole = number as i64;
    is_id.then(|| whole.to_string())
}
