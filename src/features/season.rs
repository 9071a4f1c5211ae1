//! The season clock: time as the base lives it, faster in busy weeks and slower in quiet ones.
//!
//! In: how busy each week of the past was, against what a base without seasons would have done.
//! Out: the length of any span of days in weeks of clock time, of mean 1 over the past. One
//! population curve: customers of a purchase model are measured on it instead of the calendar.
//! It deliberately knows no customer and no model: the trainer fits it on data before a cutoff.

use thiserror::Error;

use crate::domain::Day;

/// Days of a week of the clock.
const WEEK: i32 = 7;
/// Weeks of the past from which on a year's pattern is repeated ahead.
pub const REPEAT_WEEKS_MIN: usize = 104;
/// Weeks of the year; the 365th and 366th day belong to the last one.
const WEEKS_OF_YEAR: usize = 52;
/// Slowest and fastest week.
const SPEED_RANGE: std::ops::RangeInclusive<f64> = 0.2..=5.0;
/// Purchases that a week is blended with, at the pace expected: weeks of few stay near 1.
const SHRINK_PURCHASES: f64 = 50.0;
/// The longest past a clock may hold: twenty years.
const WEEKS_MAX: usize = 1_044;

/// A stored clock that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the season clock: {what}")]
pub struct SeasonError {
    /// What is wrong with it.
    pub what: &'static str,
}

/// A monotone change of time.
#[derive(Debug, Clone, PartialEq)]
pub struct SeasonClock {
    /// The last day before the first week.
    start: Day,
    /// Speed of each week of the past, mean 1.
    weekly: Vec<f64>,
    /// Speed by week of the year, for days after the past; empty where a year is not known twice.
    yearly: Vec<f64>,
    /// Clock time at the end of each week of the past.
    ends: Vec<f64>,
}

impl SeasonClock {
    /// Measures the speed of weeks: `actual` purchases of the base in each week after `start`
    /// against those `expected` of it without seasons. None for fewer than eight weeks or where
    /// nothing was expected.
    ///
    /// Ratios are shrunk to 1 by 50 purchases, smoothed with the neighbours (1, 2, 1), clamped to
    /// [0.2, 5] and scaled so that the whole past is as long as on the calendar. With two years or
    /// more the ahead repeats the past's weeks of the year (weighted by expected purchases, scaled
    /// to mean 1), else it runs at 1.
    #[must_use]
    pub fn fit(start: Day, actual: &[f64], expected: &[f64]) -> Option<Self> {
        let n = actual.len();
        let total: f64 = expected.iter().sum();
        if n < 8 || n != expected.len() || n > WEEKS_MAX || !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let pace = actual.iter().sum::<f64>() / total;
        let ratio = |week: usize| {
            (actual[week] + SHRINK_PURCHASES * pace) / (expected[week] + SHRINK_PURCHASES)
        };
        let smooth = |week: usize| {
            let (before, after) = (week.saturating_sub(1), (week + 1).min(n - 1));
            0.25 * ratio(before) + 0.5 * ratio(week) + 0.25 * ratio(after)
        };
        let weekly = scaled((0..n).map(smooth).collect());
        let yearly = if n >= REPEAT_WEEKS_MIN {
            scaled(by_week_of_year(start, &weekly, expected))
        } else {
            Vec::new()
        };
        Self::try_new(start, weekly, yearly).ok()
    }

    /// From stored speeds.
    ///
    /// # Errors
    /// [`SeasonError`] for speeds that are not positive and finite or for another number of weeks
    /// of the year than 0 or 52.
    pub fn try_new(start: Day, weekly: Vec<f64>, yearly: Vec<f64>) -> Result<Self, SeasonError> {
        let wrong = |what| Err(SeasonError { what });
        if weekly.is_empty() || weekly.len() > WEEKS_MAX {
            return wrong("1 to 1044 weeks are needed");
        }
        if !(yearly.is_empty() || yearly.len() == WEEKS_OF_YEAR) {
            return wrong("0 or 52 weeks of the year are needed");
        }
        if weekly.iter().chain(&yearly).any(|speed| !(0.01..=100.0).contains(speed)) {
            return wrong("speeds must lie in [0.01, 100]");
        }
        let mut ends = Vec::with_capacity(weekly.len());
        let mut sum = 0.0;
        for speed in &weekly {
            sum += speed;
            ends.push(sum);
        }
        Ok(Self { start, weekly, yearly, ends })
    }

    /// The last day before the first week, the speed of each week of the past, and the speed by
    /// week of the year.
    #[must_use]
    pub fn parts(&self) -> (Day, &[f64], &[f64]) {
        (self.start, &self.weekly, &self.yearly)
    }

    /// Weeks of clock time from the end of one day to the end of another; at least 0, and 0 only
    /// for a span of no days.
    #[must_use]
    pub fn weeks(&self, from: Day, to: Day) -> f64 {
        if to <= from {
            return 0.0;
        }
        self.at(to) - self.at(from)
    }

    /// Clock time at the end of a day, from the start.
    fn at(&self, day: Day) -> f64 {
        let days = day.days_since(self.start);
        let Ok(days_in) = usize::try_from(days) else {
            // Before the past: the calendar.
            return f64::from(days) / 7.0;
        };
        let week = days_in / 7;
        if let Some(speed) = self.weekly.get(week) {
            let before = if week == 0 { 0.0 } else { self.ends[week - 1] };
            return before + speed * f64::from(days % WEEK) / 7.0;
        }
        let past = i32::try_from(7 * self.weekly.len()).unwrap_or(i32::MAX);
        let end = self.ends.last().copied().unwrap_or(0.0);
        end + self.ahead(self.start.plus(past), days - past)
    }

    /// Clock time of some days after the past.
    fn ahead(&self, from: Day, days: i32) -> f64 {
        if self.yearly.is_empty() {
            return f64::from(days) / 7.0;
        }
        // Whole years are 364 days of mean speed 1 and one more of the last week.
        let mut sum = 0.0;
        for day in 1..=days {
            sum += self.yearly[week_of_year(from.plus(day))] / 7.0;
        }
        sum
    }
}

/// Days of the year over 7, counted from 1970-01-01 in years of 365.2425 days: near enough to the
/// calendar for weeks, and without a table of leap years.
fn week_of_year(day: Day) -> usize {
    let year = 365.2425;
    let days = f64::from(day.number()).rem_euclid(year);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a day of the year is in [0, 366)"
    )]
    let week = (days / 7.0) as usize;
    week.min(WEEKS_OF_YEAR - 1)
}

/// Mean speed by week of the year, weighted by expected purchases.
fn by_week_of_year(start: Day, weekly: &[f64], expected: &[f64]) -> Vec<f64> {
    let mut sums = [(0.0, 0.0); WEEKS_OF_YEAR];
    let mut day = start;
    for (speed, weight) in weekly.iter().zip(expected) {
        // Its middle decides where a week belongs.
        let slot = &mut sums[week_of_year(day.plus(4))];
        slot.0 += speed * weight;
        slot.1 += weight;
        day = day.plus(WEEK);
    }
    sums.iter().map(|(sum, weight)| if *weight > 0.0 { sum / weight } else { 1.0 }).collect()
}

/// Clamped and brought to mean 1.
fn scaled(speeds: Vec<f64>) -> Vec<f64> {
    let clamped: Vec<f64> =
        speeds.iter().map(|s| s.clamp(*SPEED_RANGE.start(), *SPEED_RANGE.end())).collect();
    let mean = clamped.iter().sum::<f64>() / clamped.len().max(1) as f64;
    clamped.iter().map(|speed| speed / mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(number: i32) -> Day {
        Day::from_number(number)
    }

    #[test]
    fn busy_weeks_are_long_and_the_past_keeps_its_length() {
        let expected = vec![1_000.0; 20];
        let mut actual = expected.clone();
        for week in &mut actual[8..12] {
            *week = 2_000.0;
        }
        let clock = SeasonClock::fit(day(100), &actual, &expected).unwrap();
        let whole = clock.weeks(day(100), day(240));
        assert!((whole - 20.0).abs() < 1e-9, "{whole}");
        let busy = clock.weeks(day(100 + 63), day(100 + 77));
        let quiet = clock.weeks(day(100), day(114));
        assert!(busy > 1.8 * quiet, "{busy} {quiet}");
        // Time never stands still, and parts add up.
        for from in 90..260 {
            let step = clock.weeks(day(from), day(from + 1));
            assert!(step > 0.02 && step < 0.8, "day {from}: {step}");
        }
        let parts = clock.weeks(day(95), day(161)) + clock.weeks(day(161), day(300));
        assert!((parts - clock.weeks(day(95), day(300))).abs() < 1e-9);
        // Beyond one year of past the ahead is the calendar.
        assert!((clock.weeks(day(240), day(310)) - 10.0).abs() < 1e-9);
        assert!((clock.weeks(day(0), day(70)) - 10.0).abs() < 1e-9);
        assert!(clock.weeks(day(5), day(5)).abs() < 1e-12);
    }

    #[test]
    fn two_years_repeat_ahead() {
        let n = 110;
        let expected = vec![2_000.0; n];
        // Ten busy weeks around the turn of the year, each year.
        let start = 365 * 40;
        let actual: Vec<f64> = (0..n)
            .map(|week| {
                let day = day(start + 7 * i32::try_from(week).unwrap() + 4);
                if week_of_year(day) >= 42 { 4_000.0 } else { 2_000.0 }
            })
            .collect();
        let clock = SeasonClock::fit(day(start), &actual, &expected).unwrap();
        let end = start + 7 * i32::try_from(n).unwrap();
        let mut speeds = [(0.0, 0.0); 2];
        for number in end..end + 365 {
            let step = 7.0 * clock.weeks(day(number), day(number + 1));
            let slot = &mut speeds[usize::from(week_of_year(day(number + 1)) >= 42)];
            slot.0 += step;
            slot.1 += 1.0;
        }
        let [quiet, busy] = speeds.map(|(sum, n)| sum / n);
        assert!(busy > 1.6 * quiet, "{busy} {quiet}");
        let year = clock.weeks(day(end), day(end + 364));
        assert!((year - 52.0).abs() < 0.5, "{year}");
    }

    #[test]
    fn little_data_give_no_clock_or_one_near_the_calendar() {
        assert!(SeasonClock::fit(day(0), &[1.0; 7], &[1.0; 7]).is_none());
        assert!(SeasonClock::fit(day(0), &[0.0; 9], &[0.0; 9]).is_none());
        assert!(SeasonClock::fit(day(0), &[1.0; 9], &[f64::NAN; 9]).is_none());
        let mut actual = [1.0; 30];
        actual[4] = 9.0;
        let clock = SeasonClock::fit(day(0), &actual, &[1.0; 30]).unwrap();
        let step = clock.weeks(day(28), day(35));
        assert!((step - 1.0).abs() < 0.15, "{step}");
    }

    #[test]
    fn a_damaged_clock_is_refused() {
        for (weekly, yearly) in [
            (vec![], vec![]),
            (vec![1.0, 0.0], vec![]),
            (vec![1.0, f64::NAN], vec![]),
            (vec![1.0], vec![1.0; 53]),
        ] {
            assert!(SeasonClock::try_new(day(0), weekly, yearly).is_err());
        }
    }
}
