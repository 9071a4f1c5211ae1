//! Today's base as it was when the models were fitted: what later bases are held against.

use serde_json::{Value, json};

use crate::bundle::{BaselineV1, HistogramV1};
use crate::train::fit::FitResult;

use super::{digits, share};

/// Bins of the distributions of scores.
const BINS: usize = 20;
/// Features whose distribution is shown: the weightiest.
const FEATURES: usize = 12;

/// Distributions of both scores over today's base, and of the features that matter most.
pub(super) fn base(fit: &FitResult, baseline: &BaselineV1, importance: &Value) -> Value {
    let values = &fit.fitted.value_quantiles;
    // A few large values would squeeze all others into one bin.
    let high = values.get(values.len() * 98 / 100).copied().unwrap_or(0.0);
    let mut names: Vec<&str> = Vec::new();
    for term in importance["churn"]["features"].as_array().into_iter().flatten() {
        let name = term["name"].as_str().unwrap_or_default();
        let column = name.rsplit(':').next().unwrap_or(name);
        if !names.contains(&column) && names.len() < FEATURES {
            names.push(column);
        }
    }
    let features: Vec<Value> = names
        .into_iter()
        .filter_map(|name| Some(feature(name, baseline.features.get(name)?)))
        .collect();
    json!({
        "customers": baseline.customers,
        "churn_prob": distribution(&fit.churn_quantiles, 1.0),
        "churn_prob_mean": share(baseline.churn_prob_mean),
        "value": (high > 0.0).then(|| distribution(values, high)),
        "features": features,
    })
}

/// Shares of quantiles in bins of equal width up to `high`; beyond it nothing is counted, and the
/// shares say so by their sum.
fn distribution(quantiles: &[f64], high: f64) -> Value {
    let width = high / BINS as f64;
    let below = |edge: f64| quantiles.partition_point(|quantile| *quantile < edge) as f64;
    let n = quantiles.len().max(1) as f64;
    let shares: Vec<Value> = (0..BINS)
        .map(|bin| {
            let from = if bin == 0 { 0.0 } else { below(width * bin as f64) };
            share((below(width * (bin + 1) as f64) - from) / n)
        })
        .collect();
    json!({ "width": digits(width), "shares": shares })
}

/// A feature's bins of about equal mass: where they end and what they hold.
fn feature(name: &str, held: &HistogramV1) -> Value {
    let HistogramV1 { edges, counts, missing } = held;
    let n = (missing + counts.iter().sum::<u64>()).max(1) as f64;
    json!({
        "name": name,
        "edges": edges.iter().map(|edge| digits(*edge)).collect::<Vec<_>>(),
        "shares": counts.iter().map(|count| share(*count as f64 / n)).collect::<Vec<_>>(),
        "missing": share(*missing as f64 / n),
    })
}
