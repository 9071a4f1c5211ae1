//! The section `backtest` of `metrics.json`: every candidate at every origin.
//!
//! In: a finished fit. Out: JSON, oldest origin first. Names stay; numbers depend on neither the
//! clock nor the number of threads.

use serde_json::{Value, json};

use crate::model::{IntervalTable, StackWeights};

use super::backtest::{Rows, ValueVerdict};
use super::fit::{FitResult, at_actual_level};
use super::origins::OriginResult;
use super::plan::TrainSpec;
use super::stacking::StackVerdict;
use super::totals::CutoffTotals;

/// Builds the section.
pub(super) fn backtest(spec: &TrainSpec, fit: &FitResult) -> Value {
    let horizon = spec.churn.as_i32();
    let mut coverages = Vec::new();
    let origins: Vec<Value> = fit
        .origins
        .iter()
        .enumerate()
        .map(|(at, origin)| {
            let rows = &fit.rows[origin.at].1;
            let before = at.checked_sub(1).map(|at| &fit.origins[at]);
            let coverage = before.and_then(|before| coverage(fit, before, origin));
            coverages.extend(coverage);
            let totals = fit.totals.iter().find(|totals| totals.cutoff == origin.cutoff);
            json!({
                "cutoff": origin.cutoff.to_string(),
                "window_end": origin.cutoff.plus(horizon).to_string(),
                "customers": rows.churned.len(),
                "windows_learned_from": if origin.learned { origin.n_windows } else { 0 },
                "churn": churn(origin, rows),
                "value": value(origin, rows, coverage),
                "btyd": totals.and_then(|totals| totals.counts.as_ref()),
                "totals": totals.map(totals_json),
            })
        })
        .collect();
    let (churn, value) = (fit.churn.as_ref(), fit.value.as_ref());
    json!({
        "origins": origins,
        "horizon_days": spec.churn.get(),
        "overlap": "the windows of the origins do not overlap; those of `cutoffs` do",
        "stacking": {
            "churn": churn.map(|verdict| stacking(&verdict.stacking, "log_loss")),
            "value": value.map(|verdict| stacking(&verdict.stacking, "deviance")),
        },
        "value_correction": value.map(correction),
        "interval_coverage": mean(&coverages),
        "cutoffs": fit.totals.iter().map(|totals| {
            let mut json = totals_json(totals);
            json["cutoff"] = json!(totals.cutoff.to_string());
            json
        }).collect::<Vec<_>>(),
    })
}

fn churn(origin: &OriginResult, rows: &Rows) -> Value {
    let mut metrics = origin.churn_metrics(rows);
    metrics.extend(origin.recency.clone());
    json!(metrics)
}

/// Metrics of the candidates; of the champion also how many customers lie in the interval that
/// the origin before would have given.
fn value(origin: &OriginResult, rows: &Rows, coverage: Option<f64>) -> Value {
    let metrics: Vec<_> = origin.value_metrics(rows).into_iter().map(|(_, m)| m).collect();
    json!({ "candidates": metrics, "interval_coverage": coverage })
}

/// Share of an origin's customers in the intervals that the champion had learned one origin
/// earlier.
fn coverage(fit: &FitResult, before: &OriginResult, origin: &OriginResult) -> Option<f64> {
    let kind = fit.value.as_ref()?.champion;
    let (then, now) = (before.means(kind)?, origin.means(kind)?);
    let spent = &fit.rows[before.at].1.spend;
    let table = IntervalTable::fit(&at_actual_level(then, spent), spent);
    let pairs = now.iter().zip(&fit.rows[origin.at].1.spend).filter(|(mean, _)| **mean > 0.0);
    let (n, inside) = pairs.fold((0_usize, 0_usize), |(n, inside), (&mean, spend)| {
        let [low, _, high] = table.quantiles(mean, mean);
        (n + 1, inside + usize::from((low..=high).contains(spend)))
    });
    (n > 0 && !table.bins.is_empty()).then(|| inside as f64 / n as f64)
}

fn totals_json(totals: &CutoffTotals) -> Value {
    json!({
        "customers": totals.customers,
        "churn_horizon": totals.near,
        "value_horizon": totals.full,
    })
}

fn stacking(verdict: &StackVerdict, loss: &str) -> Value {
    let named = |weights: StackWeights| {
        let [closed, linear, trees] = weights.weights();
        json!({ "btyd": closed, "regression": linear, "trees": trees })
    };
    let trials: Vec<Value> = verdict
        .trials
        .iter()
        .map(|trial| {
            json!({
                "cutoff": trial.cutoff.to_string(),
                "pick": trial.pick,
                "pick_loss": trial.pick_loss,
                "stacked_loss": trial.stacked_loss,
                "weights": named(trial.weights),
            })
        })
        .collect();
    json!({
        "used": verdict.used,
        "note": verdict.note,
        "loss": loss,
        "weights": verdict.weights.map(named),
        "trials": trials,
    })
}

fn correction(verdict: &ValueVerdict) -> Value {
    let correction = &verdict.correction;
    let trials: Vec<Value> = correction
        .trials
        .iter()
        .map(|trial| {
            json!({
                "cutoff": trial.cutoff.to_string(),
                "plain": trial.plain,
                "newest_window": trial.newest_window,
                "purchase_models": trial.purchase_models,
                "used": trial.used(),
            })
        })
        .collect();
    json!({
        "what": "log of actual over predicted total at each origin",
        "factor_before_newest": correction.judged,
        "trials": trials,
    })
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}
