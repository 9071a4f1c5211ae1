//! What the base as a whole contributes to the facts, learned from the log: how busy it is from
//! day to day and how bursty its customers are (for the heartbeat), what is offered, and how long
//! it lasts.
//!
//! In: a log and its last day. Out: [`HeartbeatBase`], and the parts of an
//! [`OfferBase`](crate::features::OfferBase). Customers are walked in the order of the log and
//! sums are of whole numbers, or in that order: the same log gives the same bits.

use std::collections::BTreeMap;

use crate::domain::{Day, Name};
use crate::events::{CustomerLog, EventKind, Log};
use crate::features::{CategoryLife, DayCurve, HeartbeatBase, SignalBase, quantile};

/// Days of the curve: a year of whole weeks to repeat, and a quarter to compare levels by.
const CURVE_DAYS: i32 = 364 + 91;
/// Fewer days than these say nothing of a season.
const CURVE_DAYS_MIN: i32 = 56;
/// A customer counts on a day if they did something in so many days before.
const EXPOSED_DAYS: i32 = 91;
/// Days at the start of a log in which too few are known to have done something before.
const START_DAYS: i32 = 28;
/// Events of an average day that each day is mixed with: a day of a small base is mostly chance.
const RATE_PRIOR: f64 = 20.0;
/// Rates are kept to a thousandth: finer digits are noise.
const RATE_UNIT: f64 = 1e3;
/// Days back that the dispersion looks at, weeks a customer must span, and customers needed.
const DISPERSION_DAYS: i32 = 371;
const DISPERSION_WEEKS_MIN: i32 = 8;
const DISPERSION_CUSTOMERS_MIN: usize = 30;
/// Weeks more uneven than this are not one kind of customer, but holidays and moves.
const DISPERSION_MAX: f64 = 5.0;
/// Days in which a name must have been used, by how large a share of those active then, and how
/// many names are kept at most.
const OFFER_DAYS: i32 = 182;
const OFFER_SHARE_MIN: f64 = 0.01;
const OFFER_MAX: usize = 64;
/// Repeats in a category that make its gap known, and categories kept at most.
const LIFE_GAPS_MIN: usize = 100;
const LIVES_MAX: usize = 256;

/// Days of one signal of one customer with counts, ascending.
type DayCounts = Vec<(Day, u32)>;

/// The heartbeat's base, from the events up to and with `until`.
pub(super) fn heartbeat(log: &Log, until: Day) -> HeartbeatBase {
    let signal = |is_of: fn(&EventKind) -> bool| {
        let days: Vec<DayCounts> =
            log.customers.iter().map(|customer| day_counts(customer, until, is_of)).collect();
        let known = SignalBase { dispersion: 0.0, curve: curve(log, &days, until) };
        match dispersion(&days, until) {
            Some(dispersion) => SignalBase { dispersion, ..known },
            None => SignalBase { dispersion: SignalBase::unknown().dispersion, ..known },
        }
    };
    HeartbeatBase {
        orders: signal(|kind| matches!(kind, EventKind::Purchase(_))),
        activity: signal(|kind| matches!(kind, EventKind::Activity(_))),
    }
}

fn day_counts(customer: &CustomerLog, until: Day, is_of: fn(&EventKind) -> bool) -> DayCounts {
    let mut days: DayCounts = Vec::new();
    for event in customer.events.iter().filter(|event| event.day <= until && is_of(&event.kind)) {
        match days.last_mut() {
            Some((day, count)) if *day == event.day => *count += 1,
            _ => days.push((event.day, 1)),
        }
    }
    days
}

/// Events a day per customer who did something in the 91 days before, relative to the mean.
fn curve(log: &Log, days: &[DayCounts], until: Day) -> DayCurve {
    let Some((log_first, _)) = log.days else { return DayCurve::flat() };
    let first = log_first.plus(START_DAYS).max(until.plus(1 - CURVE_DAYS));
    let n_days = until.days_since(first) + 1;
    if n_days < CURVE_DAYS_MIN {
        return DayCurve::flat();
    }
    let n = usize::try_from(n_days).unwrap_or(0);
    let place = |day: Day| usize::try_from(day.days_since(first)).unwrap_or(0).min(n);
    let (mut events, mut exposed_steps) = (vec![0_u64; n], vec![0_i64; n + 1]);
    for customer in days {
        let mut exposed_to: Option<Day> = None;
        for (day, count) in customer {
            let is_exposed = exposed_to.is_some_and(|to| *day <= to);
            if is_exposed && *day >= first {
                events[place(*day)] += u64::from(*count);
            }
            // Exposed from the day after this one, or where the span before ended.
            let to = day.plus(EXPOSED_DAYS);
            let from = exposed_to.map_or(day.plus(1), |held| held.plus(1).max(day.plus(1)));
            exposed_steps[place(from)] += 1;
            exposed_steps[place(to.plus(1))] -= 1;
            exposed_to = Some(to);
        }
    }
    let mut exposed = 0_i64;
    let exposed: Vec<f64> = exposed_steps[..n]
        .iter()
        .map(|step| {
            exposed += step;
            exposed as f64
        })
        .collect();
    let total = (events.iter().sum::<u64>() as f64, exposed.iter().sum::<f64>());
    if total.0 <= 0.0 {
        return DayCurve::flat();
    }
    let mean_rate = total.0 / total.1;
    let rate = |(events, exposed): (&u64, &f64)| {
        let rate = (*events as f64 + RATE_PRIOR) / (exposed * mean_rate + RATE_PRIOR);
        (rate * RATE_UNIT).round() / RATE_UNIT
    };
    let rates: Vec<f64> = events.iter().zip(&exposed).map(rate).collect();
    DayCurve::new(first, &rates)
}

/// 1 / shape of a negative binomial of weekly counts around each customer's own mean, by
/// moments: sum of (s^2 / m - 1) over sum of (m - s^2 / (n m)). Whole weeks strictly between a
/// customer's first and last day count, so that a beginning or an end is no burst.
fn dispersion(days: &[DayCounts], until: Day) -> Option<f64> {
    let after = until.plus(-DISPERSION_DAYS);
    let (mut excess, mut scale, mut n_customers) = (0.0, 0.0, 0);
    for customer in days {
        let recent = &customer[customer.partition_point(|(day, _)| *day <= after)..];
        let (Some((first, _)), Some((last, _))) = (recent.first(), recent.last()) else { continue };
        let n_weeks = (last.days_since(*first) - 1) / 7;
        if n_weeks < DISPERSION_WEEKS_MIN {
            continue;
        }
        let mut weeks = vec![0_u32; usize::try_from(n_weeks).unwrap_or(0)];
        for (day, count) in recent {
            let week = usize::try_from((day.days_since(*first) - 1).div_euclid(7));
            if let Some(held) = week.ok().and_then(|week| weeks.get_mut(week)) {
                *held += count;
            }
        }
        let n = f64::from(n_weeks);
        let mean = weeks.iter().map(|count| f64::from(*count)).sum::<f64>() / n;
        if mean <= 0.0 {
            continue;
        }
        let squares = weeks.iter().map(|count| (f64::from(*count) - mean).powi(2)).sum::<f64>();
        let variance = squares / (n - 1.0);
        excess += variance / mean - 1.0;
        scale += mean - variance / (n * mean);
        n_customers += 1;
    }
    if n_customers < DISPERSION_CUSTOMERS_MIN || scale <= 0.0 {
        return None;
    }
    Some((excess / scale).clamp(0.0, DISPERSION_MAX))
}

/// The names that enough customers used, and the lives of categories.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) activities: Vec<Name>,
    pub(super) categories: Vec<Name>,
    pub(super) lives: Vec<CategoryLife>,
}

/// What is offered, as the base's use up to and with `until` shows it.
pub(super) fn offered(log: &Log, until: Day) -> Offered {
    let after = until.plus(-OFFER_DAYS);
    let is_recent = |day: Day| day > after && day <= until;
    let (mut activities, mut categories) = (Counts::default(), Counts::default());
    let mut gaps: BTreeMap<&Name, Vec<f64>> = BTreeMap::new();
    for customer in &log.customers {
        let (mut used, mut bought) = (Vec::new(), Vec::new());
        let mut last_bought: BTreeMap<&Name, Day> = BTreeMap::new();
        for event in customer.events.iter().filter(|event| event.day <= until) {
            match &event.kind {
                EventKind::Activity(activity) if is_recent(event.day) => used.push(&activity.name),
                EventKind::Purchase(purchase) => {
                    let Some(category) = &purchase.category else { continue };
                    if is_recent(event.day) {
                        bought.push(category);
                    }
                    if let Some(before) = last_bought.insert(category, event.day)
                        && event.day > before
                    {
                        gaps.entry(category)
                            .or_default()
                            .push(f64::from(event.day.days_since(before)));
                    }
                }
                _ => {}
            }
        }
        activities.add(used);
        categories.add(bought);
    }
    Offered { activities: activities.common(), categories: categories.common(), lives: lives(gaps) }
}

fn lives(gaps: BTreeMap<&Name, Vec<f64>>) -> Vec<CategoryLife> {
    let mut known: Vec<(&Name, Vec<f64>)> =
        gaps.into_iter().filter(|(_, gaps)| gaps.len() >= LIFE_GAPS_MIN).collect();
    known.sort_by_key(|(_, gaps)| std::cmp::Reverse(gaps.len()));
    known.truncate(LIVES_MAX);
    known
        .into_iter()
        .map(|(category, mut gaps)| {
            gaps.sort_by(f64::total_cmp);
            CategoryLife { category: category.clone(), gap_days_p50: quantile(&gaps, 0.5) }
        })
        .collect()
}

/// Customers by name.
#[derive(Default)]
struct Counts<'l> {
    by_name: BTreeMap<&'l Name, usize>,
    n_customers: usize,
}

impl<'l> Counts<'l> {
    fn add(&mut self, mut names: Vec<&'l Name>) {
        self.n_customers += usize::from(!names.is_empty());
        names.sort_unstable();
        names.dedup();
        for name in names {
            *self.by_name.entry(name).or_default() += 1;
        }
    }

    /// Names of a large enough share, the most common ones.
    fn common(self) -> Vec<Name> {
        let least = OFFER_SHARE_MIN * self.n_customers as f64;
        let mut common: Vec<(&Name, usize)> =
            self.by_name.into_iter().filter(|(_, n)| *n as f64 >= least).collect();
        common.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        common.truncate(OFFER_MAX);
        common.into_iter().map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
#[path = "base_facts_tests.rs"]
mod tests;
