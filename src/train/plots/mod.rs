//! The numbers behind the plots of the report: the section `plots` of `metrics.json`.
//!
//! In: a fitted run and its log. Out: curves, tables and grids, rounded as they are shown and
//! bounded in size whatever the log: they are part of the bundle's digest, so they depend on
//! neither clock nor threads. It deliberately draws nothing and judges nothing anew.

mod base;
mod grid;
mod scores;
mod tracking;

use serde_json::{Value, json};

use crate::bundle::BaselineV1;
use crate::events::Log;

use super::fit::FitResult;
use super::plan::TrainSpec;

pub(super) use scores::{WORST, capture, coverage, risk};

/// The section; parts that a run cannot have are null.
pub(super) fn plots(
    spec: &TrainSpec,
    log: &Log,
    fit: &FitResult,
    (baseline, importance): (&BaselineV1, &Value),
) -> Value {
    let judged = fit.rows.last().map(|(_, rows)| rows);
    let churn = fit.churn.as_ref().zip(judged).map(|(verdict, rows)| {
        let mut section = risk(&verdict.probs, &rows.churned);
        section["worst"] = scores::worst(&verdict.probs, rows);
        section
    });
    let value = fit.value.as_ref().zip(judged).map(|(verdict, rows)| {
        json!({
            "capture": capture(&verdict.predicted, &rows.spend),
            "coverage": coverage(&verdict.predicted, &rows.spend),
        })
    });
    json!({
        "churn": churn,
        "value": value,
        "rhythm": {
            "model": fit.today.counts.name(),
            "plain": fit.today.covariates.is_none(),
            "tracking": fit.judged.as_ref().and_then(|base| tracking::tracking(spec, log, base)),
            "by_frequency": fit.judged.as_ref().zip(judged).map(|(base, rows)| {
                tracking::by_frequency(spec, base, rows)
            }),
            "repeat_counts": grid::repeat_counts(&fit.today),
            "grid": grid::grid(spec, &fit.today),
            "history": grid::history(spec, log, &fit.today),
        },
        "today": base::base(fit, baseline, importance),
    })
}

/// A number with four decimals: a share as it can be seen.
pub(super) fn share(x: f64) -> Value {
    rounded(x, 4)
}

/// A number with `decimals`; null where it is not finite.
pub(super) fn rounded(x: f64, decimals: usize) -> Value {
    let number: Option<f64> =
        format!("{x:.decimals$}").parse().ok().filter(|x: &f64| x.is_finite());
    // -0 and 0 are one number to the reader.
    number.map_or(Value::Null, |number| json!(number + 0.0))
}

/// A number with four significant digits: an amount as it can be seen.
pub(super) fn digits(x: f64) -> Value {
    let number: Option<f64> = format!("{x:.3e}").parse().ok().filter(|x: &f64| x.is_finite());
    number.map_or(Value::Null, |number| json!(number + 0.0))
}

/// Points of a curve.
pub(super) fn points(curve: &[[f64; 2]]) -> Vec<Value> {
    curve.iter().map(|&[x, y]| json!([share(x), share(y)])).collect()
}

#[cfg(test)]
mod tests;
