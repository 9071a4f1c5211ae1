//! Purchases over time and by frequency: what the purchase-count model of the judged instant
//! expected, beside what customers did before and after it.

use serde_json::{Value, json};

use crate::domain::Day;
use crate::events::{CustomerLog, EventKind, Log};
use crate::features::FeatureSchema;
use crate::model::row_definitions;
use crate::train::backtest::Rows;
use crate::train::plan::TrainSpec;
use crate::train::slice::PastBase;

use super::{digits, rounded};

/// Points of the tracking curves, at most.
const STEPS_MAX: i32 = 104;
/// Bins of the number of purchases behind; the last is open.
const FREQUENCY_BINS: usize = 9;

/// Distinct days of a customer's purchases, ascending.
pub(super) fn purchase_days(customer: &CustomerLog) -> Vec<Day> {
    let mut days: Vec<Day> = customer
        .events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Purchase(_)))
        .map(|event| event.day)
        .collect();
    days.sort_unstable();
    days.dedup();
    days
}

/// Repeat purchase days of the customers of the judged base, added up week by week from the first
/// of them to the end of the log, as expected and as they came. The model has seen only what lies
/// before the cutoff. None for less than four steps.
pub(super) fn tracking(spec: &TrainSpec, log: &Log, base: &PastBase) -> Option<Value> {
    let days: Vec<Vec<Day>> =
        base.customers.iter().map(|&idx| purchase_days(&log.customers[idx])).collect();
    let firsts: Vec<Day> = days.iter().filter_map(|days| days.first().copied()).collect();
    let origin = *firsts.iter().min()?;
    let n_weeks = spec.until.days_since(origin) / 7;
    let step = (n_weeks + STEPS_MAX - 1) / STEPS_MAX.max(1);
    if step < 1 || n_weeks / step < 4 {
        return None;
    }
    let ends: Vec<Day> = (1..=n_weeks / step).map(|at| origin.plus(7 * step * at)).collect();
    let clock_weeks = |to: Day| match &base.clock {
        Some(clock) => clock.weeks(origin, to),
        None => f64::from(to.days_since(origin)) / 7.0,
    };
    let first_weeks: Vec<f64> = firsts.iter().map(|&day| clock_weeks(day)).collect();
    let end_weeks: Vec<f64> = ends.iter().map(|&day| clock_weeks(day)).collect();
    let expected = base.counts.expected_cumulative(&first_weeks, &end_weeks);
    let mut repeats: Vec<Day> = days.iter().flat_map(|days| days.iter().skip(1).copied()).collect();
    repeats.sort_unstable();
    let steps: Vec<Value> = ends
        .iter()
        .zip(&expected)
        .map(|(end, expected)| {
            let actual = repeats.partition_point(|day| day <= end);
            json!([end.days_since(origin) / 7, rounded(*expected, 1), actual])
        })
        .collect();
    Some(json!({
        "model": base.counts.name(),
        "customers": base.customers.len(),
        "step_weeks": step,
        "cutoff_week": rounded(f64::from(base.cutoff.days_since(origin)) / 7.0, 2),
        // Week, expected and actual repeat purchases up to its end.
        "cumulative": steps,
    }))
}

/// Purchases in the judged window by purchases behind: mean expected at the cutoff, and mean seen.
pub(super) fn by_frequency(spec: &TrainSpec, base: &PastBase, rows: &Rows) -> Value {
    let schema = FeatureSchema::new(&row_definitions());
    let column = |name: &str| schema.position(name).map(|at| rows.matrix.column(at));
    let (Some(frequency), Some(expected)) = (column("frequency"), column("btyd_purchases_churn"))
    else {
        return Value::Null;
    };
    let edges = frequency_edges(frequency);
    let mut bins = vec![(0_u32, 0.0, 0_u64); edges.len()];
    for ((x, expected), seen) in frequency.iter().zip(expected).zip(&base.purchases_after) {
        let at = edges.partition_point(|edge| f64::from(*edge) <= *x).saturating_sub(1);
        bins[at].0 += 1;
        bins[at].1 += expected;
        bins[at].2 += u64::from(*seen);
    }
    let last = edges.len() - 1;
    let bins: Vec<Value> = bins
        .iter()
        .enumerate()
        .filter(|(_, (n, _, _))| *n > 0)
        .map(|(at, &(n, expected, seen))| {
            json!({
                "from": edges[at],
                "to": (at < last).then(|| edges[at + 1] - 1),
                "customers": n,
                "expected": digits(expected / f64::from(n)),
                "actual": digits(seen as f64 / f64::from(n)),
            })
        })
        .collect();
    json!({ "horizon_days": spec.churn.get(), "bins": bins })
}

/// Where bins of a number of purchases begin: one by one where nearly everybody has few, else in
/// equal steps up to where few are left.
pub(super) fn frequency_edges(frequency: &[f64]) -> Vec<u32> {
    let mut sorted: Vec<f64> = frequency.to_vec();
    sorted.sort_by(f64::total_cmp);
    let high = sorted.get(sorted.len() * 97 / 100).copied().unwrap_or(0.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of purchase days that came from a u32"
    )]
    let high = high.max(0.0) as u32;
    let n_bins = u32::try_from(FREQUENCY_BINS).unwrap_or(u32::MAX);
    let step = high.div_ceil(n_bins - 1).max(1);
    let mut edges = vec![0];
    edges.extend((0..n_bins).map(|at| 1 + at * step));
    edges
}
