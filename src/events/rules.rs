//! The rules that make a raw event an event.
//!
//! In: a [`RawEvent`] and the [`Rules`]. Out: an [`Event`] or the first issue found. Amount 0 is a
//! purchase, below 0 a refund. It deliberately reads no clock: what counts as the future is given.

use std::ops::Range;

use super::content::content_id;
use super::event::Event;
use super::issue::EventIssue;
use super::issue::excerpt;
use super::kinds::Attributes;
use super::kinds::EventType;
use super::kinds::read_kind;
use super::raw::RawEvent;
use super::raw::RawValue;
use crate::domain::Currency;
use crate::domain::CustomerId;
use crate::domain::EventId;
use crate::domain::TimeError;
use crate::domain::Timestamp;
use crate::domain::Zone;

/// Attributes one event may have: a profile with every channel's consent and reachability has 28.
const ATTRIBUTES_MAX: usize = 64;
/// Values one list may have: enough for tags, too few to fill a history.
const LIST_VALUES_MAX: usize = 64;

/// The type of a row that says that two ids are one customer, and its attribute: the other id.
pub(super) const ALIAS: &str = "alias";
pub(super) const PREVIOUS: &str = "previous";

/// Days from 1900 to 2200, counted from 1970: where every reckoning of days is sure not to wrap.
pub(super) const DAYS_ACCEPTED: Range<i32> = -25_567..84_006;

/// What holds for all events of a business.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The business's time zone: reads times without an offset, and gives each event its day.
    pub zone: Zone,
    /// The newest instant an event may have, `None` for no bound.
    pub newest_allowed: Option<Timestamp>,
    /// The currency of amounts that name none.
    pub default_currency: Currency,
    /// Takes only amounts in this currency, `None` for any.
    pub only_currency: Option<Currency>,
    /// Whether texts write 1.234,50 for 1234.5.
    pub decimal_comma: bool,
    /// Whether every event must bring an id of its own.
    pub id_required: bool,
    /// Most attributes of one event.
    pub attributes_max: usize,
    /// Most values of one list.
    pub list_values_max: usize,
}

impl Default for Rules {
    /// UTC, no bound on the future, no currency, decimal points, ids from content.
    fn default() -> Self {
        Self {
            zone: Zone::UTC,
            newest_allowed: None,
            default_currency: Currency::NONE,
            only_currency: None,
            decimal_comma: false,
            id_required: false,
            attributes_max: ATTRIBUTES_MAX,
            list_values_max: LIST_VALUES_MAX,
        }
    }
}

impl Event {
    /// Checks a raw event. Without an id of its own it gets one from its content, as the first
    /// of its kind (occurrence 0); readers of files number identical rows instead.
    ///
    /// # Errors
    /// The first [`EventIssue`] found, in the order customer, id, time, type, attributes.
    pub fn try_from_raw(raw: &RawEvent<'_>, rules: &Rules) -> Result<Self, EventIssue> {
        let (mut event, has_own_id) = check(raw, rules)?;
        if !has_own_id {
            event.id = content_id(&event, 0, &mut Vec::new());
        }
        Ok(event)
    }
}

impl Event {
    /// The id of the `occurrence`-th event of this content (0 is the first), for readers that
    /// number identical events without ids of their own.
    #[must_use]
    pub fn content_id(&self, occurrence: u64) -> EventId {
        content_id(self, occurrence, &mut Vec::new())
    }
}

/// Checks a raw event; says whether it brought an id. Without one the event's id is still zero.
pub(super) fn check(raw: &RawEvent<'_>, rules: &Rules) -> Result<(Event, bool), EventIssue> {
    if raw.customer.trim().is_empty() {
        return Err(EventIssue::MissingCustomer);
    }
    let customer =
        CustomerId::try_new(&raw.customer).map_err(|source| EventIssue::BadCustomer { source })?;
    let own_id = raw.id.as_deref().filter(|id| !id.trim().is_empty());
    let id = match own_id {
        Some(id) => {
            EventId::try_from_source(id).map_err(|source| EventIssue::BadEventId { source })?
        }
        None if rules.id_required => return Err(EventIssue::MissingEventId),
        None => EventId::from_bits(0),
    };
    let time = read_time(&raw.time, rules)?;
    let event_type = match raw.event_type.as_deref().map(str::trim) {
        None | Some("") => return Err(EventIssue::MissingType { wanted: EventType::names() }),
        Some(text) if is_alias(text) => return Err(EventIssue::IdentityMerge),
        Some(text) => EventType::parse(text)?,
    };
    let attributes = Attributes::try_new(event_type, &raw.attributes, rules)?;
    let kind = read_kind(&attributes)?;
    let day = rules.zone.day_of(time);
    Ok((Event { customer, id, time, day, kind }, own_id.is_some()))
}

/// Whether a type says that two ids are one customer.
fn is_alias(text: &str) -> bool {
    text.eq_ignore_ascii_case(ALIAS)
}

/// The instant of an event.
pub(super) fn read_time(raw: &RawValue<'_>, rules: &Rules) -> Result<Timestamp, EventIssue> {
    let bad = |source| EventIssue::BadTime { source };
    let time = match raw {
        _ if raw.is_missing() => return Err(EventIssue::MissingTime),
        RawValue::Text(text) => rules.zone.parse(text).map_err(|source| match source {
            TimeError::NotATime { found } => bad(TimeError::NotATime { found: excerpt(&found) }),
            source => bad(source),
        })?,
        RawValue::Time(instant) => in_range(*instant).map_err(bad)?,
        RawValue::Day(day) if !DAYS_ACCEPTED.contains(&day.number()) => {
            return Err(bad(TimeError::OutOfRange { found: day.to_string() }));
        }
        RawValue::Day(day) => in_range(rules.zone.start_of(*day)).map_err(bad)?,
        RawValue::Number(seconds) => instant_of_seconds(*seconds).map_err(bad)?,
        _ => {
            return Err(EventIssue::WrongValueKind {
                field: "time".to_owned(),
                found: raw.kind(),
                wanted: "a time",
            });
        }
    };
    match rules.newest_allowed {
        Some(newest_allowed) if time > newest_allowed => {
            Err(EventIssue::FutureTime { found: time, newest_allowed })
        }
        _ => Ok(time),
    }
}

fn in_range(instant: Timestamp) -> Result<Timestamp, TimeError> {
    let (seconds, micros) = instant.seconds_and_micros();
    Timestamp::try_from_seconds(seconds, micros)
}

/// Seconds since 1970, exact to the microsecond for the years accepted. Fewer than nine digits
/// are refused, as in texts: eight would be a compact date to some.
fn instant_of_seconds(seconds: f64) -> Result<Timestamp, TimeError> {
    let out_of_range = || TimeError::OutOfRange { found: format!("{seconds} s since 1970") };
    if !(1e8..1e11).contains(&seconds) {
        return Err(out_of_range());
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 1e17, which is below 2^63")]
    let micros = (seconds * 1e6).round() as i64;
    in_range(Timestamp::from_micros(micros)).map_err(|_| out_of_range())
}
