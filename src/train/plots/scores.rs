//! Curves and tables of probabilities and predicted amounts against what came: of a log and of a
//! ready-made table alike.

use serde_json::{Value, json};

use crate::evaluate::{
    gain_curve, interval_coverage, pr_curve, risk_tenths, roc_curve, score_histogram, value_curve,
    worst_misses,
};
use crate::features::FeatureSchema;
use crate::model::row_definitions;
use crate::train::backtest::Rows;

use super::{digits, points, share};

/// Bins of the histogram of probabilities.
const SCORE_BINS: usize = 20;
/// Most confident mistakes of either kind that are shown.
pub(in crate::train) const WORST: usize = 5;
/// Facts of a customer that was misjudged; no id.
const FACTS: [&str; 5] =
    ["recency_days", "frequency", "tenure_days", "expected_gap_days", "spend_total"];

/// ROC, precision and recall, gain, tenths and the histogram of probabilities by outcome.
pub(in crate::train) fn risk(probs: &[f64], churned: &[bool]) -> Value {
    let tenths: Vec<Value> = risk_tenths(probs, churned)
        .unwrap_or_default()
        .iter()
        .map(|tenth| {
            json!({
                "customers": tenth.n_rows,
                "prob_mean": share(tenth.prob_mean),
                "churn_share": share(tenth.positive_share),
                "capture": share(tenth.capture_share),
            })
        })
        .collect();
    let bins = score_histogram(probs, churned, SCORE_BINS);
    let side = |at: usize| bins.iter().map(|bin| bin[at]).collect::<Vec<u64>>();
    json!({
        "roc": points(&roc_curve(probs, churned).unwrap_or_default()),
        "pr": points(&pr_curve(probs, churned).unwrap_or_default()),
        "gain": points(&gain_curve(probs, churned).unwrap_or_default()),
        "tenths": tenths,
        "scores": { "left": side(0), "stayed": side(1) },
    })
}

/// The most confident mistakes of either kind, as facts.
pub(super) fn worst(probs: &[f64], rows: &Rows) -> Value {
    let schema = FeatureSchema::new(&row_definitions());
    let columns: Vec<(&str, usize)> =
        FACTS.iter().filter_map(|name| Some((*name, schema.position(name)?))).collect();
    let [left, stayed] = worst_misses(probs, &rows.churned, WORST);
    let told = |found: Vec<usize>| -> Vec<Value> {
        let one = |row: usize| {
            let facts: Vec<Value> = columns
                .iter()
                .map(|(name, at)| json!({ "name": name, "value": digits(rows.matrix.column(*at)[row]) }))
                .collect();
            json!({ "prob": share(probs[row]), "facts": facts, "spend_after": digits(rows.spend[row]) })
        };
        found.into_iter().map(one).collect()
    };
    json!({ "left": told(left), "stayed": told(stayed) })
}

/// Share of all value against share of the customers, by prediction and in the perfect order.
pub(in crate::train) fn capture(predicted: &[f64], actual: &[f64]) -> Value {
    json!({
        "model": points(&value_curve(predicted, actual).unwrap_or_default()),
        "perfect": points(&value_curve(actual, actual).unwrap_or_default()),
    })
}

/// How often intervals made from other customers held what came, by tenth of the prediction.
pub(in crate::train) fn coverage(predicted: &[f64], actual: &[f64]) -> Vec<Value> {
    interval_coverage(predicted, actual)
        .iter()
        .map(|tenth| {
            json!({
                "customers": tenth.n_rows,
                "predicted_mean": digits(tenth.predicted_mean),
                "below": share(tenth.below_share),
                "above": share(tenth.above_share),
            })
        })
        .collect()
}
