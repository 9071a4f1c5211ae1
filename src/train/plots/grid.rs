//! What the purchase-count model in use says: of repeat purchases over the base, of customers by
//! frequency and silence, and of one customer through time.

use serde_json::{Value, json};

use crate::domain::Day;
use crate::events::Log;
use crate::model::btyd::BtydRow;
use crate::train::plan::TrainSpec;
use crate::train::slice::Slice;

use super::tracking::{frequency_edges, purchase_days};
use super::{digits, rounded, share};

/// Columns of the grid: days of silence.
const SILENCES: i32 = 16;
/// Rows of the grid, at most: repeat purchases.
const FREQUENCIES: u32 = 12;
/// Points of one customer's history, at most, beside those at purchases.
const HISTORY_STEPS: i32 = 150;
/// Repeat purchases of the customer whose history is shown: enough to see a rhythm, few enough to
/// see each.
const HISTORY_REPEATS: std::ops::RangeInclusive<usize> = 4..=20;
/// A customer who has just bought for the first time.
const NEW: BtydRow = BtydRow { x: 0, t_x: 0.0, t: 0.0 };

/// Customers by repeat purchases, as expected of a base of these ages and as they are.
pub(super) fn repeat_counts(today: &Slice) -> Value {
    let frequency: Vec<f64> = today.inputs.iter().map(|i| f64::from(i.summary.x)).collect();
    let edges = frequency_edges(&frequency);
    let mut ages: Vec<f64> = today.inputs.iter().map(|input| input.summary.t).collect();
    ages.sort_by(f64::total_cmp);
    let mut expected = vec![0.0; edges.len()];
    for same in ages.chunk_by(|a, b| a.total_cmp(b).is_eq()) {
        let mut at_least: Vec<f64> =
            edges.iter().map(|&n| today.counts.p_at_least(&NEW, same[0], n)).collect();
        at_least.push(0.0);
        for (sum, pair) in expected.iter_mut().zip(at_least.windows(2)) {
            *sum += same.len() as f64 * (pair[0] - pair[1]);
        }
    }
    let mut actual = vec![0_u64; edges.len()];
    for input in &today.inputs {
        actual[edges.partition_point(|edge| *edge <= input.summary.x).saturating_sub(1)] += 1;
    }
    let last = edges.len() - 1;
    let bins: Vec<Value> = (0..edges.len())
        .map(|at| {
            json!({
                "from": edges[at],
                "to": (at < last).then(|| edges[at + 1] - 1),
                "expected": digits(expected[at]),
                "actual": actual[at],
            })
        })
        .collect();
    Value::from(bins)
}

/// P(alive) and expected purchases within the churn horizon by repeat purchases and days of
/// silence, for customers of the base's median age; null where a combination cannot be.
pub(super) fn grid(spec: &TrainSpec, today: &Slice) -> Value {
    let mut ages: Vec<f64> = today.inputs.iter().map(|input| input.summary.t * 7.0).collect();
    ages.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, reason = "at most a thousand years of days")]
    let age = ages.get(ages.len() / 2).map_or(0, |days| days.round() as i32);
    if age < SILENCES {
        return Value::Null;
    }
    let frequency: Vec<f64> = today.inputs.iter().map(|i| f64::from(i.summary.x)).collect();
    let most = frequency_edges(&frequency).last().copied().unwrap_or(1).max(4);
    let step = most.div_ceil(FREQUENCIES);
    let frequencies: Vec<u32> = (1..=most.div_ceil(step)).map(|at| at * step).collect();
    let silences: Vec<i32> = (0..SILENCES).map(|at| at * age / SILENCES).collect();
    let weeks = spec.churn.weeks();
    let cells = |of: &dyn Fn(&BtydRow) -> Value| -> Vec<Vec<Value>> {
        frequencies
            .iter()
            .map(|&x| {
                silences
                    .iter()
                    .map(|silence| {
                        let active = age - silence;
                        // One purchase a day at most.
                        if i64::from(active) < i64::from(x) {
                            return Value::Null;
                        }
                        let [t_x, t] = [active, age].map(|days| f64::from(days) / 7.0);
                        of(&BtydRow { x, t_x, t })
                    })
                    .collect()
            })
            .collect()
    };
    let once = BtydRow { x: 0, t_x: 0.0, t: f64::from(age) / 7.0 };
    json!({
        "age_days": age,
        "horizon_days": spec.churn.get(),
        "repeats": frequencies,
        "silent_days": silences,
        "alive": cells(&|row| rounded(today.counts.p_alive(row), 3)),
        "purchases": cells(&|row| digits(today.counts.expected_purchases(row, weeks))),
        "alive_once": share(today.counts.p_alive(&once)),
        "purchases_once": digits(today.counts.expected_purchases(&once, weeks)),
    })
}

/// P(alive) of one customer through time: of those with a handful of purchases the one who came
/// back after the longest silence against their own mean gap. No id and no date: days since the
/// first purchase.
pub(super) fn history(spec: &TrainSpec, log: &Log, today: &Slice) -> Value {
    let mut best: Option<(f64, Vec<Day>)> = None;
    for &idx in &today.customers {
        let days = purchase_days(&log.customers[idx]);
        if !HISTORY_REPEATS.contains(&days.len().saturating_sub(1)) {
            continue;
        }
        let span = f64::from(days[days.len() - 1].days_since(days[0]));
        let longest = days.windows(2).map(|pair| pair[1].days_since(pair[0])).max().unwrap_or(0);
        let ratio = f64::from(longest) * (days.len() - 1) as f64 / span;
        if best.as_ref().is_none_or(|(found, _)| ratio > *found) {
            best = Some((ratio, days));
        }
    }
    let Some((_, days)) = best else { return Value::Null };
    let first = days[0];
    let span = spec.until.days_since(first);
    let step = span.div_euclid(HISTORY_STEPS) + 1;
    let mut at: Vec<i32> = (0..=span / step).map(|n| n * step).collect();
    // On the eve of a purchase and on its day, so that the jump can be seen.
    at.extend(
        days.iter().skip(1).flat_map(|day| [day.days_since(first) - 1, day.days_since(first)]),
    );
    at.push(span);
    at.sort_unstable();
    at.dedup();
    let weeks = |to: Day| match &today.clock {
        Some(clock) => clock.weeks(first, to),
        None => f64::from(to.days_since(first)) / 7.0,
    };
    let curve: Vec<Value> = at
        .iter()
        .map(|&age| {
            let now = first.plus(age);
            let n = days.partition_point(|day| *day <= now).max(1);
            let row = BtydRow {
                x: u32::try_from(n - 1).unwrap_or(u32::MAX),
                t_x: weeks(days[n - 1]),
                t: weeks(now),
            };
            json!([age, share(today.counts.p_alive(&row))])
        })
        .collect();
    let bought: Vec<i32> = days.iter().map(|day| day.days_since(first)).collect();
    json!({ "alive": curve, "purchase_days": bought })
}
