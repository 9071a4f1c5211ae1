//! Fitting the season clock on the data before a cutoff.
//!
//! In: the log up to an instant, and the purchase-count model fitted on the calendar. Out: how
//! busy each week was against what that model expects of customers who came when these came. The
//! model carries arrival and dropout, so that a base that grows or fades is not taken for a season.

use std::collections::BTreeMap;

use crate::domain::{AsOf, Day};
use crate::events::{EventKind, Log};
use crate::features::SeasonClock;
use crate::model::CountModel;
use crate::model::btyd::BtydRow;

/// Fits the clock; none where the past is shorter than eight weeks.
pub(super) fn fit_clock(
    log: &Log,
    customers: &[usize],
    as_of: AsOf,
    counts: &CountModel,
) -> Option<SeasonClock> {
    let last = as_of.last_day();
    let mut firsts: BTreeMap<Day, f64> = BTreeMap::new();
    let mut repeats: BTreeMap<Day, f64> = BTreeMap::new();
    for &idx in customers {
        let events = log.customers[idx].events.iter();
        let mut before = None;
        for event in events.take_while(|event| event.time < as_of.instant()) {
            if matches!(event.kind, EventKind::Purchase(_)) && before != Some(event.day) {
                let counted = if before.is_none() { &mut firsts } else { &mut repeats };
                *counted.entry(event.day).or_default() += 1.0;
                before = Some(event.day);
            }
        }
    }
    let (first, _) = firsts.first_key_value()?;
    let n_weeks = usize::try_from(last.days_since(*first) / 7).ok()?;
    let days = i32::try_from(7 * n_weeks).ok()?;
    let start = last.plus(-days);
    // Expected repeat purchases of a new customer by age in days.
    let new = BtydRow { x: 0, t_x: 0.0, t: 0.0 };
    let by_age: Vec<f64> = (0..=last.days_since(*first))
        .map(|age| counts.expected_purchases(&new, f64::from(age) / 7.0))
        .collect();
    let until = |first: Day, day: Day| -> f64 {
        let age = usize::try_from(day.days_since(first)).unwrap_or(0);
        by_age.get(age).copied().unwrap_or(0.0)
    };
    let (mut actual, mut expected) = (Vec::new(), Vec::new());
    let mut from = start;
    while from < last {
        let to = from.plus(7);
        actual.push(repeats.range(from.plus(1)..=to).map(|(_, n)| n).sum());
        let arrived = firsts.range(..to);
        expected.push(arrived.map(|(day, n)| n * (until(*day, to) - until(*day, from))).sum());
        from = to;
    }
    SeasonClock::fit(start, &actual, &expected)
}
