//! Instants, days and spans of days, and the business's own time zone.
//!
//! Every window, tile and label counts in days of that zone. Nothing here reads a clock.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;
use thiserror::Error;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimeError {
    /// Not in any accepted form.
    #[error(
        "{found:?} is not a time: write 2026-01-31, 2026-01-31 14:05[:00], 2026-01-31T14:05:00Z or seconds since 1970"
    )]
    NotATime {
        /// The text found.
        found: String,
    },
    /// Not a zone of the tz database.
    #[error("{found:?} is not a time zone of the tz database (such as UTC or Europe/Berlin)")]
    Zone {
        /// The text found.
        found: String,
    },
    /// Outside of the years 1900 to 2200.
    #[error("the time {found} lies outside the years 1900 to 2200")]
    OutOfRange {
        /// What was found.
        found: String,
    },
    /// A span of days out of range.
    #[error("{found} days is out of range (1 to 36500)")]
    Days {
        /// The number found.
        found: i64,
    },
}

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 1900-01-01 and 2200-01-01 in seconds since 1970.
const SECONDS_RANGE: std::ops::Range<i64> = -2_208_988_800..7_258_118_400;

impl Timestamp {
    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From seconds since 1970 and microseconds of the second.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside of the years 1900 to 2200.
    pub fn try_from_seconds(seconds: i64, micros: i64) -> Result<Self, TimeError> {
        if SECONDS_RANGE.contains(&seconds) && (0..MICROS_PER_SECOND).contains(&micros) {
            Ok(Self(seconds * MICROS_PER_SECOND + micros))
        } else {
            Err(TimeError::OutOfRange { found: format!("{seconds} s since 1970") })
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, and the microseconds of the second.
    #[must_use]
    pub const fn seconds_and_micros(self) -> (i64, i64) {
        (self.0.div_euclid(MICROS_PER_SECOND), self.0.rem_euclid(MICROS_PER_SECOND))
    }

    /// Hours from an earlier instant to this one; negative if that one is later.
    #[must_use]
    pub fn hours_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / (3600.0 * MICROS_PER_SECOND as f64)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{} us since 1970", self.0),
        }
    }
}

/// A calendar day of the business's zone: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// From days since 1970-01-01.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// From a text such as `1997-09-30`.
    ///
    /// # Errors
    /// [`TimeError::NotATime`] for anything else.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let not = || TimeError::NotATime { found: text.to_owned() };
        let text = text.trim();
        // jiff also takes compact forms; only the ISO form with dashes is unambiguous here.
        if text.len() != 10 {
            return Err(not());
        }
        text.parse::<civil::Date>().map(Self::from_date).map_err(|_| not())
    }

    /// This day, moved by a number of days (saturating).
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Days from an earlier day to this one; negative if that one is later.
    #[must_use]
    pub const fn days_since(self, earlier: Self) -> i32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The calendar month it lies in, counted from January of the year 0; a day outside of the
    /// calendar's years lies in the nearest month.
    #[must_use]
    pub fn month(self) -> i32 {
        let end = if self.0 < 0 { civil::Date::MIN } else { civil::Date::MAX };
        let date = self.date().unwrap_or(end);
        i32::from(date.year()) * 12 + i32::from(date.month()) - 1
    }

    fn from_date(date: civil::Date) -> Self {
        let epoch = civil::Date::constant(1970, 1, 1);
        Self(date.duration_since(epoch).as_hours().div_euclid(24).try_into().unwrap_or(i32::MAX))
    }

    fn date(self) -> Option<civil::Date> {
        let epoch = civil::Date::constant(1970, 1, 1);
        epoch.checked_add(jiff::Span::new().try_days(self.0).ok()?).ok()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.date() {
            Some(date) => write!(f, "{date}"),
            None => write!(f, "day {}", self.0),
        }
    }
}

/// A span of 1 to 36,500 days, such as a horizon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Days(u16);

impl Days {
    /// 90 days.
    pub const QUARTER: Self = Self(90);
    /// 365 days.
    pub const YEAR: Self = Self(365);

    /// Takes 1 to 36,500 days.
    ///
    /// # Errors
    /// [`TimeError::Days`] outside that range.
    pub fn try_new(number: i64) -> Result<Self, TimeError> {
        match u16::try_from(number) {
            Ok(days @ 1..=36_500) => Ok(Self(days)),
            _ => Err(TimeError::Days { found: number }),
        }
    }

    /// The number of days.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number of days, for day arithmetic.
    #[must_use]
    pub fn as_i32(self) -> i32 {
        i32::from(self.0)
    }

    /// In weeks of seven days, the unit of the buy-till-you-die models.
    #[must_use]
    pub fn weeks(self) -> f64 {
        f64::from(self.0) / 7.0
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The business's time zone: which day an instant belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC, the default.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// From a name of the tz database.
    ///
    /// # Errors
    /// [`TimeError::Zone`] for an unknown name.
    pub fn try_new(name: &str) -> Result<Self, TimeError> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::UTC);
        }
        TimeZone::get(name).map(Self).map_err(|_| TimeError::Zone { found: name.to_owned() })
    }

    /// Its name in the tz database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The day an instant belongs to.
    #[must_use]
    pub fn day_of(&self, instant: Timestamp) -> Day {
        if self.0 == TimeZone::UTC {
            let days = instant.0.div_euclid(86_400 * MICROS_PER_SECOND);
            return Day(i32::try_from(days).unwrap_or(i32::MAX));
        }
        match jiff::Timestamp::from_microsecond(instant.0) {
            Ok(at) => Day::from_date(self.0.to_datetime(at).date()),
            Err(_) => Day(if instant.0 < 0 { i32::MIN } else { i32::MAX }),
        }
    }

    /// The hour of the day of an instant by the zone's clock, in [0, 24).
    #[must_use]
    pub fn hour_of(&self, instant: Timestamp) -> f64 {
        let offset_seconds = if self.0 == TimeZone::UTC {
            0
        } else {
            jiff::Timestamp::from_microsecond(instant.0)
                .map_or(0, |at| i64::from(self.0.to_offset(at).seconds()))
        };
        let local = instant.0 + offset_seconds * MICROS_PER_SECOND;
        let of_day = local.rem_euclid(86_400 * MICROS_PER_SECOND);
        of_day as f64 / (3600.0 * MICROS_PER_SECOND as f64)
    }

    /// The first instant of a day.
    #[must_use]
    pub fn start_of(&self, day: Day) -> Timestamp {
        let utc = Timestamp(i64::from(day.0) * 86_400 * MICROS_PER_SECOND);
        if self.0 == TimeZone::UTC {
            return utc;
        }
        let start = day
            .date()
            .and_then(|date| date.to_zoned(self.0.clone()).ok())
            .and_then(|zoned| zoned.start_of_day().ok());
        start.map_or(utc, |zoned| Timestamp(zoned.timestamp().as_microsecond()))
    }

    /// Reads an instant: a date (its first instant), a date with a time of day, the same with an
    /// offset, or seconds since 1970. Without an offset the text is in this zone.
    ///
    /// # Errors
    /// [`TimeError`] for any other text, or a year outside of 1900 to 2200.
    pub fn parse(&self, text: &str) -> Result<Timestamp, TimeError> {
        let text = text.trim();
        let instant =
            self.parse_any(text).ok_or_else(|| TimeError::NotATime { found: text.to_owned() })?;
        if SECONDS_RANGE.contains(&instant.seconds_and_micros().0) {
            Ok(instant)
        } else {
            Err(TimeError::OutOfRange { found: text.to_owned() })
        }
    }

    /// The ISO forms: a date, a date and time, either with an offset.
    fn parse_dashed(&self, text: &str) -> Option<Timestamp> {
        if text.len() == 10 {
            return Day::parse(text).ok().map(|day| self.start_of(day));
        }
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp(instant.as_microsecond()));
        }
        let local = text.parse::<civil::DateTime>().ok()?;
        let zoned = local.to_zoned(self.0.clone()).ok()?;
        Some(Timestamp(zoned.timestamp().as_microsecond()))
    }

    fn parse_any(&self, text: &str) -> Option<Timestamp> {
        if text.as_bytes().get(4) == Some(&b'-') {
            return self.parse_dashed(text);
        }
        // Eight digits would be a compact date to some and seconds to others: refused.
        let is_seconds = (9..=11).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if is_seconds {
            text.parse().ok().map(|s: i64| Timestamp(s * MICROS_PER_SECOND))
        } else {
            None
        }
    }
}

/// The instant a score speaks of: features see events strictly before it, labels see
/// `[as_of, as_of + horizon)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AsOf {
    instant: Timestamp,
    last_day: Day,
    last_whole_day: Day,
}

impl AsOf {
    /// At an instant of its own, such as "now" on the server.
    #[must_use]
    pub fn at(instant: Timestamp, zone: &Zone) -> Self {
        let last_day = zone.day_of(Timestamp(instant.0 - 1));
        Self { instant, last_day, last_whole_day: zone.day_of(instant).plus(-1) }
    }

    /// At the end of a day: what `--as-of D` and `--until D` mean.
    #[must_use]
    pub fn end_of(day: Day, zone: &Zone) -> Self {
        Self { instant: zone.start_of(day.plus(1)), last_day: day, last_whole_day: day }
    }

    /// The instant itself, not included in what features see.
    #[must_use]
    pub const fn instant(self) -> Timestamp {
        self.instant
    }

    /// The last day of which something can have been seen: `T` counts to it.
    #[must_use]
    pub const fn last_day(self) -> Day {
        self.last_day
    }

    /// The last day that had ended: what days are compared with each other by.
    #[must_use]
    pub const fn last_whole_day(self) -> Day {
        self.last_whole_day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_survives_its_text_form() {
        for text in ["1970-01-01", "1997-09-30", "2000-02-29", "1969-12-31", "2026-11-21"] {
            assert_eq!(Day::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Day::parse("1970-01-02").unwrap().number(), 1);
        assert!(Day::parse("2026-02-30").is_err());
        assert!(Day::parse("20260101").is_err());
    }

    #[test]
    fn every_accepted_form_of_an_instant_is_the_same_instant() {
        for text in [
            "2017-01-01 11:53",
            "2017-01-01T11:53:00",
            "2017-01-01T11:53:00Z",
            "2017-01-01T12:53:00+01:00",
            "1483271580",
        ] {
            let instant = Zone::UTC.parse(text).unwrap();
            assert_eq!(instant.seconds_and_micros(), (1_483_271_580, 0), "{text}");
        }
        for bad in ["", "yesterday", "31/12/2017", "20170101", "2017-13-01", "2950-01-01"] {
            assert!(Zone::UTC.parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_day_includes_that_day_and_nothing_after() {
        let day = Day::parse("1997-09-30").unwrap();
        let as_of = AsOf::end_of(day, &Zone::UTC);
        assert_eq!(as_of.last_day(), day);
        assert_eq!(as_of.instant(), Zone::UTC.parse("1997-10-01").unwrap());
        assert_eq!(AsOf::at(as_of.instant(), &Zone::UTC), as_of);
        let noon = AsOf::at(Zone::UTC.parse("1997-10-01 12:00").unwrap(), &Zone::UTC);
        assert_eq!((noon.last_day(), noon.last_whole_day()), (day.plus(1), day));
    }

    #[test]
    fn a_zone_moves_the_day_boundary_also_on_short_and_long_days() {
        let berlin = Zone::try_new("Europe/Berlin").unwrap();
        let late = Zone::UTC.parse("2026-03-28T23:30:00Z").unwrap();
        assert_eq!(berlin.day_of(late).to_string(), "2026-03-29");
        for text in ["2026-03-29", "2026-10-25", "2026-07-01"] {
            let day = Day::parse(text).unwrap();
            assert_eq!(berlin.day_of(berlin.start_of(day)), day);
            let before = Timestamp::from_micros(berlin.start_of(day).micros() - 1);
            assert_eq!(berlin.day_of(before), day.plus(-1));
        }
        assert!(Zone::try_new("Mars/Olympus").is_err());
    }

    #[test]
    fn a_horizon_is_a_positive_number_of_days() {
        assert!(Days::try_new(0).is_err());
        assert!(Days::try_new(-5).is_err());
        assert!(Days::try_new(40_000).is_err());
        assert!((Days::try_new(91).unwrap().weeks() - 13.0).abs() < 1e-12);
    }
}
