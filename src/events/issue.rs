//! Why a row or request is no event. Counted by code, shown by its text, never raised as an
//! error: the caller decides by a threshold how much of it is too much.

use thiserror::Error;

use crate::domain::Currency;
use crate::domain::IdError;
use crate::domain::TimeError;
use crate::domain::Timestamp;

/// Characters of a found text that are kept for messages.
const FOUND_CHARS_MAX: usize = 60;

/// Why a row or request is no event.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum EventIssue {
    /// No customer was said.
    #[error("the customer is missing")]
    MissingCustomer,
    /// The customer is no id.
    #[error("customer: {source}")]
    BadCustomer {
        /// What is wrong with it.
        source: IdError,
    },
    /// No event id was said where one is required.
    #[error("the event id is missing")]
    MissingEventId,
    /// The event id is no id.
    #[error("event id: {source}")]
    BadEventId {
        /// What is wrong with it.
        source: IdError,
    },
    /// No time was said.
    #[error("the time is missing")]
    MissingTime,
    /// The time is no time.
    #[error("time: {source}")]
    BadTime {
        /// What is wrong with it.
        source: TimeError,
    },
    /// Later than the caller allows.
    #[error("time {found} lies in the future: the newest allowed is {newest_allowed}")]
    FutureTime {
        /// The event's time.
        found: Timestamp,
        /// The bound.
        newest_allowed: Timestamp,
    },
    /// No type was said.
    #[error("the type is missing (one of {wanted})")]
    MissingType {
        /// The types.
        wanted: String,
    },
    /// Not a type.
    #[error("{found:?} is not an event type{}", did_you_mean(suggestion.as_deref(), wanted))]
    UnknownType {
        /// The text found.
        found: String,
        /// The nearest type.
        suggestion: Option<String>,
        /// The types.
        wanted: String,
    },
    /// An attribute that events of this type do not have.
    #[error(
        "attribute {field:?} is not one of a {event_type}{}",
        did_you_mean(suggestion.as_deref(), wanted)
    )]
    UnknownAttribute {
        /// Its name.
        field: String,
        /// The event's type.
        event_type: &'static str,
        /// The nearest name.
        suggestion: Option<String>,
        /// The names this type takes.
        wanted: String,
    },
    /// An attribute said twice.
    #[error("attribute {field:?} is given twice")]
    RepeatedAttribute {
        /// Its name.
        field: String,
    },
    /// An attribute that events of this type must have.
    #[error("a {event_type} needs the attribute {field:?}")]
    MissingAttribute {
        /// Its name.
        field: &'static str,
        /// The event's type.
        event_type: &'static str,
    },
    /// More attributes than one event may have.
    #[error("{found} attributes, at most {most} are accepted")]
    TooManyAttributes {
        /// How many.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// More values than one list may have.
    #[error("{field}: {found} values, at most {most} are accepted")]
    TooManyValues {
        /// The attribute.
        field: String,
        /// How many.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// A value of the wrong kind, such as a list for a number.
    #[error("{field}: {found} where {wanted} is wanted")]
    WrongValueKind {
        /// The attribute.
        field: String,
        /// The kind found.
        found: &'static str,
        /// The kind wanted.
        wanted: &'static str,
    },
    /// Not a number.
    #[error("{field}: {found:?} is not a number{hint}")]
    NotANumber {
        /// The attribute.
        field: String,
        /// The text found.
        found: String,
        /// What to do about it, or nothing.
        hint: &'static str,
    },
    /// NaN, an infinity, or out of its range.
    #[error("{field}: {found} is out of range: {wanted} is wanted")]
    NumberOutOfRange {
        /// The attribute.
        field: String,
        /// The number found.
        found: f64,
        /// The range.
        wanted: &'static str,
    },
    /// Neither true nor false.
    #[error("{field}: {found:?} is neither true nor false (true, false, yes, no, 1, 0)")]
    NotAFlag {
        /// The attribute.
        field: String,
        /// The text found.
        found: String,
    },
    /// Not one of a closed set.
    #[error("{field}: {found:?} is not one of {wanted}")]
    NotAChoice {
        /// The attribute.
        field: String,
        /// The text found.
        found: String,
        /// The set.
        wanted: String,
    },
    /// Too long, empty or with a control character.
    #[error("{field}: {found:?} is not a name: 1 to 64 bytes without control characters")]
    NotAName {
        /// The attribute.
        field: String,
        /// The text found.
        found: String,
    },
    /// Not a calendar day.
    #[error("{field}: {found:?} is not a day such as 2026-01-31")]
    NotADay {
        /// The attribute.
        field: String,
        /// The text found.
        found: String,
    },
    /// Not an ISO 4217 code.
    #[error("currency: {found:?} is not a code of three letters such as EUR")]
    NotACurrency {
        /// The text found.
        found: String,
    },
    /// Not the currency asked for. Files count it apart from dropped rows: it was asked for.
    #[error("currency {found} where only {wanted} is asked for")]
    OtherCurrency {
        /// The event's currency.
        found: Currency,
        /// The one asked for.
        wanted: Currency,
    },
    /// A row with more or fewer cells than the header.
    #[error("{found} cells over {lines} line(s) where the header has {wanted}{hint}")]
    RaggedRow {
        /// Cells in the row.
        found: usize,
        /// Cells in the header.
        wanted: usize,
        /// Lines the row spans.
        lines: u64,
        /// What to look for, or nothing.
        hint: &'static str,
    },
    /// A quote that is opened and never closed: the rest of the file stands in one cell.
    #[error("a quote is opened here and not closed by the end of the file, {lines} lines on")]
    UnclosedQuote {
        /// Lines swallowed.
        lines: u64,
    },
    /// Bytes that are no text.
    #[error("column {field:?} is not UTF-8 text (convert the file: iconv -t UTF-8)")]
    InvalidUtf8 {
        /// The column, or `row` where the whole line is meant.
        field: String,
    },
    /// A line that is no JSON object.
    #[error("not a JSON object: {found}")]
    BadJson {
        /// What the parser said.
        found: String,
    },
    /// A line longer than the bound.
    #[error("the row has more than {most} bytes")]
    RowTooLong {
        /// The bound.
        most: u64,
    },
    /// An envelope that is not as its standard says.
    #[error("{field}: {found} where {wanted} is wanted")]
    BadEnvelope {
        /// The field.
        field: &'static str,
        /// What was found.
        found: String,
        /// What the standard says.
        wanted: &'static str,
    },
    /// No line of the map says what it is, and the map refuses what it does not name.
    #[error("{found:?} is not in the map of events (unmapped = \"reject\")")]
    Unmapped {
        /// The type or name found.
        found: String,
    },
    /// Two ids are said to be one customer, where that cannot be taken in.
    #[error(
        "two ids are one customer: identities are merged in a whole log alone, of Segment or \
         CloudEvents (tenure-ops store load, docs/FORMATS.md), not in stored histories"
    )]
    IdentityMerge,
    /// A second profile of a customer, with no time to say which is newer.
    #[error("a second profile of this customer, and no valid_from column to say which is newer")]
    SecondProfile,
}

impl EventIssue {
    /// The code of [`EventIssue::IdentityMerge`].
    pub const IDENTITY_MERGE: &'static str = "identity_merge_offline_only";

    /// Its stable code, for counting.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingCustomer => "missing_customer",
            Self::BadCustomer { .. } => "bad_customer",
            Self::MissingEventId => "missing_event_id",
            Self::BadEventId { .. } => "bad_event_id",
            Self::MissingTime => "missing_time",
            Self::BadTime { .. } => "bad_time",
            Self::FutureTime { .. } => "future_time",
            Self::MissingType { .. } => "missing_type",
            Self::UnknownType { .. } => "unknown_type",
            Self::UnknownAttribute { .. } => "unknown_attribute",
            Self::RepeatedAttribute { .. } => "repeated_attribute",
            Self::MissingAttribute { .. } => "missing_attribute",
            Self::TooManyAttributes { .. } => "too_many_attributes",
            Self::TooManyValues { .. } => "too_many_values",
            Self::WrongValueKind { .. } => "wrong_value_kind",
            Self::NotANumber { .. } => "not_a_number",
            Self::NumberOutOfRange { .. } => "number_out_of_range",
            Self::NotAFlag { .. } => "not_a_flag",
            Self::NotAChoice { .. } => "not_a_choice",
            Self::NotAName { .. } => "not_a_name",
            Self::NotADay { .. } => "not_a_day",
            Self::NotACurrency { .. } => "not_a_currency",
            Self::OtherCurrency { .. } => "other_currency",
            Self::RaggedRow { .. } => "ragged_row",
            Self::UnclosedQuote { .. } => "unclosed_quote",
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::BadJson { .. } => "bad_json",
            Self::RowTooLong { .. } => "row_too_long",
            Self::BadEnvelope { .. } => "bad_envelope",
            Self::Unmapped { .. } => "unmapped",
            Self::IdentityMerge => Self::IDENTITY_MERGE,
            Self::SecondProfile => "second_profile",
        }
    }

    /// The field it is about, by the name a request gives it; `None` where the whole row is meant.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::MissingCustomer | Self::BadCustomer { .. } | Self::SecondProfile => {
                Some("customer")
            }
            Self::MissingEventId | Self::BadEventId { .. } => Some("event_id"),
            Self::MissingTime | Self::BadTime { .. } | Self::FutureTime { .. } => Some("time"),
            Self::MissingType { .. }
            | Self::UnknownType { .. }
            | Self::Unmapped { .. }
            | Self::IdentityMerge => Some("type"),
            Self::BadEnvelope { field, .. } => Some(field),
            Self::NotACurrency { .. } | Self::OtherCurrency { .. } => Some("currency"),
            Self::TooManyAttributes { .. } => Some("attributes"),
            Self::MissingAttribute { field, .. } => Some(field),
            Self::UnknownAttribute { field, .. }
            | Self::RepeatedAttribute { field }
            | Self::TooManyValues { field, .. }
            | Self::WrongValueKind { field, .. }
            | Self::NotANumber { field, .. }
            | Self::NumberOutOfRange { field, .. }
            | Self::NotAFlag { field, .. }
            | Self::NotAChoice { field, .. }
            | Self::NotAName { field, .. }
            | Self::NotADay { field, .. }
            | Self::InvalidUtf8 { field } => Some(field),
            Self::RaggedRow { .. }
            | Self::UnclosedQuote { .. }
            | Self::BadJson { .. }
            | Self::RowTooLong { .. } => None,
        }
    }
}

fn did_you_mean(suggestion: Option<&str>, wanted: &str) -> String {
    match suggestion {
        Some(name) => format!(" (did you mean {name:?}?)"),
        None => format!(" (one of {wanted})"),
    }
}

/// The first characters of a text, for a message.
pub(super) fn excerpt(text: &str) -> String {
    if text.chars().count() <= FOUND_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    short.push_str("...");
    short
}

/// The name nearest to a text, if it is near enough to be a slip of the pen.
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.trim().to_ascii_lowercase();
    if text.len() > FOUND_CHARS_MAX {
        return None;
    }
    let slips_max = if text.len() <= 4 { 1 } else { 2 };
    names
        .map(|name| (edit_distance(text.as_bytes(), name.as_bytes()), name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// Levenshtein distance: insertions, deletions and replacements.
fn edit_distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, b) in to.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[to.len()]
}
