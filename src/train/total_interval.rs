//! The interval of the base's total, from what past windows missed by.
//!
//! In: a finished fit. Out: for spend and for purchases within the value horizon a 90 % interval of
//! the total, where its windows come from, and where there is none the reason.

use serde_json::{Value, json};

use crate::evaluate::{LogRatio, TotalSpread, effective_windows};
use crate::model::ValueKind;

use super::correction::{LevelTrial, is_evidence, trial};
use super::fit::FitResult;
use super::plan::TrainSpec;
use super::totals::{TotalOf, log_ratios};

/// Past windows of one length.
struct Evidence {
    windows: Vec<LogRatio>,
    days: u16,
    /// Whose totals they are.
    of: &'static str,
}

/// The total of an interval and its note.
struct Found {
    spread: TotalSpread,
    days: u16,
    of: &'static str,
}

/// The first evidence with windows enough.
fn pick(evidence: Vec<Evidence>) -> Result<Found, String> {
    let mut most = 0.0_f64;
    for Evidence { windows, days, of } in evidence {
        let window_days = i32::from(days);
        if let Some(spread) = TotalSpread::of(&windows, window_days) {
            return Ok(Found { spread, days, of });
        }
        most = most.max(effective_windows(&windows, window_days));
    }
    Err(format!(
        "no interval: past windows cover {most:.1} horizon(s) without overlap, and fewer than 2 \
         say nothing about the spread"
    ))
}

/// The interval of the predicted spend of today's base.
pub(super) fn value_interval(spec: &TrainSpec, fit: &FitResult) -> Value {
    let Some(model) = fit.fitted.value.as_ref() else {
        return absent("no interval: there is no value model");
    };
    let champion = |days: u16| champion_ratios(spec, fit, model.kind, days);
    let of = "the champion's";
    let (churn, value) = (spec.churn.get(), spec.value.get());
    let mut evidence = vec![Evidence { windows: champion(value), days: value, of }];
    // Windows of the full horizon go before those that must be stretched.
    let mut others = of_purchase_models(spec, fit, TotalOf::Value).into_iter();
    evidence.extend(others.next());
    if churn < value {
        evidence.push(Evidence { windows: champion(churn), days: churn, of });
    }
    evidence.extend(others);
    match pick(evidence) {
        Ok(found) => described(spec, &found, fit.total_predicted),
        Err(why) => absent(&why),
    }
}

/// What the champion's totals missed by at the origins, at the level that is used.
fn champion_ratios(spec: &TrainSpec, fit: &FitResult, kind: ValueKind, days: u16) -> Vec<LogRatio> {
    let Some(correction) = fit.value.as_ref().map(|verdict| &verdict.correction) else {
        return Vec::new();
    };
    let of_trial =
        |found: &LevelTrial| LogRatio { day: found.cutoff.number(), log_ratio: found.used() };
    if days == spec.churn.get() {
        return correction.trials.iter().map(of_trial).collect();
    }
    let telling = fit.origins.iter().filter(|origin| is_evidence(origin, kind));
    let ratios = telling.filter_map(|origin| {
        let totals = fit.totals.iter().find(|totals| totals.cutoff == origin.cutoff)?;
        let found = trial(origin, kind, totals.full?.value, |kind| origin.full_total(kind))?;
        Some(of_trial(&found))
    });
    ratios.collect()
}

/// Expected purchases of today's base within the value horizon, with their interval.
pub(super) fn purchases_total(spec: &TrainSpec, fit: &FitResult) -> Value {
    let found = pick(of_purchase_models(spec, fit, TotalOf::Purchases));
    let interval = match found {
        Ok(found) => described(spec, &found, fit.purchases_expected),
        Err(why) => absent(&why),
    };
    json!({
        "model": if fit.today.mix.is_some() { "mean" } else { fit.today.counts.name() },
        "horizon_days": spec.value.get(),
        "expected": fit.purchases_expected,
        "total_interval": interval,
    })
}

/// Windows of the purchase models, those of the full horizon first.
fn of_purchase_models(spec: &TrainSpec, fit: &FitResult, total: TotalOf) -> Vec<Evidence> {
    let of = "the purchase models'";
    let full = log_ratios(&fit.totals, total, |at| at.full);
    let near = log_ratios(&fit.totals, total, |at| Some(at.near));
    let mut evidence = vec![Evidence { windows: full, days: spec.value.get(), of }];
    if spec.churn < spec.value {
        evidence.push(Evidence { windows: near, days: spec.churn.get(), of });
    }
    evidence
}

fn described(spec: &TrainSpec, found: &Found, median: f64) -> Value {
    let Found { spread, days, of } = found;
    let stretch = f64::from(spec.value.get()) / f64::from(*days);
    let Some(interval) = spread.interval(median, stretch) else {
        return absent("no interval: the spread of past windows is no usable number");
    };
    let is_stretched = spec.value.get() > *days;
    let n = spread.n_residuals;
    let mut note = format!(
        "90 % interval from what {of} totals missed by in {n} past windows of {days} days \
         ({:.1} without overlap), Student's quantile",
        spread.n_effective
    );
    if is_stretched {
        note.push_str(", widened by the root of the horizons' ratio");
    }
    json!({
        "p05": interval.p05,
        "p50": interval.p50,
        "p95": interval.p95,
        "n_residuals": n,
        "n_effective": spread.n_effective,
        "window_days": days,
        "log_rms": spread.log_rms,
        "extrapolated": is_stretched,
        "note": note,
    })
}

fn absent(why: &str) -> Value {
    json!({
        "p05": null,
        "p50": null,
        "p95": null,
        "n_residuals": 0,
        "extrapolated": null,
        "note": why,
    })
}
