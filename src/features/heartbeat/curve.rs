//! How busy the whole base is from day to day, against which a customer's week is held: if all
//! buy less in August, one who buys less is no alarm.
//!
//! Frozen with the models. Events of the day are counted per customer who had done something in
//! the 91 days before, so that a base that grows or shrinks looks no busier or idler for that.
//! After its end the curve repeats the same days of the year before (364 days earlier, the same
//! weekday) at the level of its end, where it is long enough, else it is flat. The same bundle
//! so gives the same answer to everybody, whatever else they have seen of the base.

use crate::domain::Day;

/// Days back that the curve repeats itself: a year of whole weeks.
pub(crate) const CURVE_YEAR_DAYS: usize = 364;
/// Days over which the levels of now and of a year ago are compared.
const LEVEL_DAYS: usize = 91;
/// Days for which a level without a year to repeat is taken from the end.
const END_DAYS: usize = 28;
/// Years that the curve is laid out beyond its end; after them it is flat.
const YEARS_AHEAD: usize = 3;
/// Bounds of a day's rate: a day without any event must not make a ratio infinite.
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 100.0;

/// The base's relative rate by day, ready for windows.
#[derive(Debug, Clone, PartialEq)]
pub struct DayCurve {
    first: i32,
    rates: Vec<f64>,
    /// `sums[i]`: total rate of the first `i` days.
    sums: Vec<f64>,
    /// Rate of a day after the last one.
    level: f64,
}

impl DayCurve {
    /// A base that is always as busy.
    #[must_use]
    pub const fn flat() -> Self {
        Self { first: 0, rates: Vec::new(), sums: Vec::new(), level: 1.0 }
    }

    /// From the first day and the relative rate of each day (1 = average); rates are cut to
    /// [0.01, 100], and one that is none is 1.
    #[must_use]
    pub fn new(first: Day, rates: &[f64]) -> Self {
        if rates.is_empty() {
            return Self::flat();
        }
        let n_frozen = rates.len();
        let clean = |rate: &f64| if rate.is_nan() { 1.0 } else { rate.clamp(RATE_MIN, RATE_MAX) };
        let rates: Vec<f64> = rates.iter().map(clean).collect();
        let mut days = rates.clone();
        let mean = |days: &[f64]| days.iter().sum::<f64>() / days.len() as f64;
        let mut level = mean(&days[n_frozen.saturating_sub(END_DAYS)..]);
        if n_frozen >= CURVE_YEAR_DAYS + LEVEL_DAYS {
            let year_ago = n_frozen - CURVE_YEAR_DAYS;
            let carry =
                mean(&days[n_frozen - LEVEL_DAYS..]) / mean(&days[year_ago - LEVEL_DAYS..year_ago]);
            for day in 0..YEARS_AHEAD * CURVE_YEAR_DAYS {
                days.push(days[year_ago + day % CURVE_YEAR_DAYS] * carry);
            }
            level = mean(&days[days.len() - CURVE_YEAR_DAYS..]);
        }
        let mut sums = Vec::with_capacity(days.len() + 1);
        let mut sum = 0.0;
        sums.push(sum);
        for day in &days {
            sum += day;
            sums.push(sum);
        }
        Self { first: first.number(), rates, sums, level }
    }

    /// The first day and the rates that it was made of.
    #[must_use]
    pub fn frozen(&self) -> (Day, &[f64]) {
        (Day::from_number(self.first), &self.rates)
    }

    /// The base's total over the `span - window` days before the window of days that ends with
    /// `last`, over that of the window.
    pub(super) fn ratio(&self, last: Day, window: i32, span: i32) -> f64 {
        let end = last.number().saturating_add(1);
        let to = self.sum_before(end);
        let [recent, all] = [window, span].map(|days| to - self.sum_before(end - days));
        (all - recent) / recent
    }

    /// Total rate from the first day up to the day before `day`; negative before the first.
    fn sum_before(&self, day: i32) -> f64 {
        let at = i64::from(day) - i64::from(self.first);
        let n = self.sums.len().saturating_sub(1);
        match usize::try_from(at) {
            // Before the curve: an average day each.
            Err(_) => at as f64,
            Ok(at) if at <= n => self.sums.get(at).copied().unwrap_or(0.0),
            Ok(at) => self.sums.last().copied().unwrap_or(0.0) + (at - n) as f64 * self.level,
        }
    }
}
