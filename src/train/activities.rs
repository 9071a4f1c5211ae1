//! Which activities are worth testing as a promotion: customers who took one up against others
//! who were active on such a day and did not.
//!
//! In: a log, its last day, a horizon, and the activities named by the policy. Out: an account of
//! each activity, the most promising first. Each period gives rows of its own; nothing after the
//! last day is looked at, and a day whose horizon is not complete is left out.
//! The maths is in `evaluate`; here are the rows.

use rayon::prelude::*;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{Day, Days, Name};
use crate::evaluate::{AdoptionEffect, AdoptionRow, AdoptionVerdict, Difference, adoption_effects};
use crate::events::{CustomerLog, EventKind, Log};
use crate::features::{MULTI_CATEGORY, SECOND_DEVICE};

/// Days in which an activity is taken up, a period.
const PERIOD_DAYS: i32 = 28;
/// Periods looked at, the newest ones.
const PERIODS_MAX: i32 = 8;
/// A customer counts from so many days after the first event on: what is done at first is
/// onboarding.
const KNOWN_DAYS_MIN: i32 = 28;
/// Days that purchases are counted in, before the day; the negative control is the same length
/// before those.
const BEFORE_DAYS: i32 = 91;
/// Classes of activities looked at: those of the base and of the policy.
const ACTIVITIES_MAX: usize = 80;

/// One activity and what the log says of it.
#[derive(Debug, Clone)]
pub struct ActivityReport {
    /// The activity.
    pub activity: Name,
    /// Whether the policy names it.
    pub in_policy: bool,
    /// What the log says.
    pub effect: AdoptionEffect,
}

/// A day of a customer with something.
#[derive(Debug, Clone, Copy)]
struct ActiveDay {
    day: Day,
    purchases: u32,
    activities: u32,
}

/// A customer's days, and the day on which each activity was taken up.
struct Course {
    days: Vec<ActiveDay>,
    taken_up: Vec<(usize, Day)>,
}

/// Reports on the policy's activities and the base's own, the strongest evidence first.
pub(super) fn report(
    log: &Log,
    until: Day,
    horizon: Days,
    named: &[Name],
    used: &[Name],
) -> Vec<ActivityReport> {
    let mut activities: Vec<Name> = named.to_vec();
    activities.extend(used.iter().filter(|name| !named.contains(name)).cloned());
    activities.truncate(ACTIVITIES_MAX);
    let courses: Vec<Course> =
        log.customers.par_iter().map(|customer| course(customer, until, &activities)).collect();
    let first = log.days.map_or(until, |(first, _)| first);
    let periods = periods(first, until, horizon);
    let rows: Vec<Vec<Vec<AdoptionRow>>> = (0..activities.len())
        .into_par_iter()
        .map(|activity| {
            let question =
                Question { activity, horizon, by_purchase: is_bought(&activities[activity]) };
            periods.iter().map(|end| question.rows(&courses, *end)).collect()
        })
        .collect();
    let effects = adoption_effects(&rows);
    let mut reports: Vec<ActivityReport> = activities
        .into_iter()
        .zip(effects)
        .map(|(activity, effect)| ActivityReport {
            in_policy: named.contains(&activity),
            activity,
            effect,
        })
        .collect();
    reports.retain(|report| report.effect.n_adopters > 0);
    reports.sort_by(|one, other| {
        let key = |report: &ActivityReport| {
            (report.effect.verdict == AdoptionVerdict::CandidateToTest, lower_bound(report))
        };
        let ((one_is, one_low), (other_is, other_low)) = (key(one), key(other));
        other_is.cmp(&one_is).then(other_low.total_cmp(&one_low))
    });
    reports
}

fn lower_bound(report: &ActivityReport) -> f64 {
    report.effect.difference.map_or(f64::NEG_INFINITY, |difference| difference.interval()[0])
}

/// The activities that are candidates, the best first.
pub(super) fn candidates(reports: &[ActivityReport]) -> Vec<Name> {
    reports
        .iter()
        .filter(|report| report.effect.verdict == AdoptionVerdict::CandidateToTest)
        .map(|report| report.activity.clone())
        .collect()
}

fn is_bought(activity: &Name) -> bool {
    activity.as_str() == MULTI_CATEGORY
}

fn course(customer: &CustomerLog, until: Day, activities: &[Name]) -> Course {
    let mut course = Course { days: Vec::new(), taken_up: Vec::new() };
    let (mut categories, mut devices): (Vec<&Name>, Vec<&Name>) = (Vec::new(), Vec::new());
    let place = |text: &str| activities.iter().position(|name| name.as_str() == text);
    let several = [place(MULTI_CATEGORY), place(SECOND_DEVICE)];
    for event in customer.events.iter().filter(|event| event.day <= until) {
        let (mut taken, add) = (
            [None, None],
            match &event.kind {
                EventKind::Purchase(_) => [1, 0],
                EventKind::Activity(_) => [0, 1],
                _ => continue,
            },
        );
        match &event.kind {
            EventKind::Purchase(purchase) => {
                let second = is_second(&mut categories, purchase.category.as_ref());
                taken[0] = several[0].filter(|_| second);
            }
            EventKind::Activity(activity) => {
                taken[0] = place(activity.name.as_str());
                if is_second(&mut devices, activity.device.as_ref()) {
                    taken[1] = several[1];
                }
            }
            _ => {}
        }
        for activity in taken.into_iter().flatten() {
            if !course.taken_up.iter().any(|(held, _)| *held == activity) {
                course.taken_up.push((activity, event.day));
            }
        }
        match course.days.last_mut() {
            Some(held) if held.day == event.day => {
                held.purchases += add[0];
                held.activities += add[1];
            }
            _ => course.days.push(ActiveDay {
                day: event.day,
                purchases: add[0],
                activities: add[1],
            }),
        }
    }
    course
}

/// Whether a name is the second of its kind.
fn is_second<'l>(seen: &mut Vec<&'l Name>, name: Option<&'l Name>) -> bool {
    let Some(name) = name.filter(|name| seen.len() < 2 && !seen.contains(name)) else {
        return false;
    };
    seen.push(name);
    seen.len() == 2
}

/// Last days of the periods, the oldest first, each with a complete horizon after it and a
/// history before it.
fn periods(first: Day, until: Day, horizon: Days) -> Vec<Day> {
    let step = PERIOD_DAYS.max(horizon.as_i32());
    let mut ends: Vec<Day> = (0..PERIODS_MAX)
        .map(|n| until.plus(-horizon.as_i32() - n * step))
        .filter(|end| end.days_since(first) >= PERIOD_DAYS + KNOWN_DAYS_MIN)
        .collect();
    ends.reverse();
    ends
}

/// One activity and how it is asked about.
#[derive(Debug, Clone, Copy)]
struct Question {
    activity: usize,
    horizon: Days,
    /// Whether it is taken up by buying: then it is compared with other days of buying.
    by_purchase: bool,
}

impl Question {
    /// The rows of the period that ends with `end`.
    fn rows(&self, courses: &[Course], end: Day) -> Vec<AdoptionRow> {
        let mut rows = Vec::new();
        for (idx, course) in courses.iter().enumerate() {
            let taken_up = course.taken_up.iter().find(|(activity, _)| *activity == self.activity);
            let taken_up = taken_up.map(|(_, day)| *day);
            let begin = end.plus(-PERIOD_DAYS);
            if taken_up.is_some_and(|day| day <= begin) {
                continue;
            }
            let Some(first) = course.days.first().map(|held| held.day) else { continue };
            let at_risk: Vec<usize> = (0..course.days.len())
                .filter(|at| {
                    let held = &course.days[*at];
                    held.day > begin
                        && held.day <= end
                        && held.day.days_since(first) >= KNOWN_DAYS_MIN
                        && (if self.by_purchase { held.purchases } else { held.activities }) > 0
                        && taken_up.is_none_or(|day| held.day <= day)
                })
                .collect();
            let is_taken = |at: &usize| taken_up == Some(course.days[*at].day);
            let (taken, others): (Vec<usize>, Vec<usize>) = at_risk.into_iter().partition(is_taken);
            if let Some(at) = taken.first() {
                rows.push(self.row(course, *at, true, 1.0));
            }
            // One of the days without it, by lot, stands for all of them.
            if !others.is_empty() {
                let key =
                    [idx as u64, u64::from(end.number().unsigned_abs())].map(u64::to_le_bytes);
                let lot = xxh3_64(&key.concat()) % others.len() as u64;
                let at = others[usize::try_from(lot).unwrap_or(0)];
                rows.push(self.row(course, at, false, others.len() as f64));
            }
        }
        rows
    }

    fn row(&self, course: &Course, at: usize, adopted: bool, weight: f64) -> AdoptionRow {
        let day = course.days[at].day;
        let bought = |after: Day, to: Day| -> u32 {
            let within = |held: &&ActiveDay| held.day > after && held.day <= to;
            course.days.iter().filter(within).map(|held| held.purchases).sum()
        };
        let last_before = day.plus(-1);
        let window = day.plus(-1 - BEFORE_DAYS);
        let known_days = day.days_since(course.days[0].day);
        let recency = match at.checked_sub(1) {
            Some(before) => day.days_since(course.days[before].day),
            None => known_days,
        };
        let long_before = window.plus(-BEFORE_DAYS);
        let bought_before =
            (course.days[0].day <= long_before).then(|| bought(long_before, window) > 0);
        AdoptionRow {
            adopted,
            stayed: bought(day, day.plus(self.horizon.as_i32())) > 0,
            bought_before,
            covariates: [
                f64::from(recency),
                f64::from(bought(window, last_before)),
                at as f64 / f64::from(known_days.max(1)),
                f64::from(known_days),
            ],
            weight,
        }
    }
}

/// The reports as `metrics.json` has them.
pub(super) fn to_json(reports: &[ActivityReport]) -> Value {
    let difference = |found: Difference| {
        let [low, high] = found.interval();
        json!({ "value": found.value, "low": low, "high": high, "adopters": found.n_adopters })
    };
    let rows: Vec<Value> = reports
        .iter()
        .map(|report| {
            let effect = &report.effect;
            json!({
                "activity": report.activity.as_str(),
                "in_policy": report.in_policy,
                "verdict": effect.verdict.as_str(),
                "adopters": effect.n_adopters,
                "difference": effect.difference.map(difference),
                "p_value": effect.difference.map(|found| found.p_value()),
                "unadjusted": effect.unadjusted,
                "negative_control": effect.before.map(difference),
                "e_value": effect.e_values.map(|values| values[0]),
                "e_value_low": effect.e_values.map(|values| values[1]),
                "periods": effect.periods.iter().map(|found| found.value).collect::<Vec<_>>(),
            })
        })
        .collect();
    Value::Array(rows)
}

#[cfg(test)]
#[path = "activities_tests.rs"]
mod tests;
