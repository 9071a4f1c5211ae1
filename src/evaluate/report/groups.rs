//! Tables that only some models have: groups of customers, and several judged origins.

use serde_json::{Value, json};

use super::doc::{Doc, Source};
use super::text::{ABSENT, candidate, count, fixed, number, or_absent, percent, points};

/// How the champion did in groups of customers; none where no groups were judged.
pub(super) fn subgroups(source: Source<'_>) -> Option<Vec<Value>> {
    let groups = source.churn().at("subgroups").items();
    (!groups.is_empty()).then(|| {
        groups
            .into_iter()
            .map(|group| {
                let [observed, predicted] =
                    ["churn_share", "mean_prob"].map(|key| group.at(key).share());
                let gap = predicted.zip(observed).map(|(p, o)| o - p);
                json!({
                    "name": group.at("group").text().unwrap_or(ABSENT),
                    "customers": or_absent(group.at("customers").number(), count),
                    "observed": or_absent(observed, percent),
                    "predicted": or_absent(predicted, percent),
                    "gap": or_absent(gap, points),
                    "auc": or_absent(group.at("auc").number(), |x| fixed(x, 3)),
                    "log_loss": or_absent(group.at("log_loss").number(), |x| fixed(x, 4)),
                })
            })
            .collect()
    })
}

/// How the candidates did from each of several origins; none where only one was judged.
pub(super) fn origins(source: Source<'_>) -> Option<Value> {
    let origins = source.metrics.at("backtest").at("origins").items();
    if origins.is_empty() {
        return None;
    }
    let churn = |doc: Doc<'_>| {
        [("auc", 3), ("log_loss", 4), ("ece", 4)]
            .map(|(key, decimals)| or_absent(doc.at(key).number(), |x| fixed(x, decimals)))
    };
    let value = |doc: Doc<'_>| {
        let gini = or_absent(doc.at("gini").number(), |x| fixed(x, 3));
        let rmse = or_absent(doc.at("rmse").number(), number);
        [gini, rmse, or_absent(doc.at("total_ratio").number(), |x| fixed(x, 3))]
    };
    Some(json!({
        "n": count(origins.len() as f64),
        "churn": rows(&origins, "churn", source.churn(), churn),
        "value": rows(&origins, "value", source.value(), value),
    }))
}

/// One row an origin and candidate, the champion marked.
fn rows(
    origins: &[Doc<'_>],
    key: &str,
    section: Doc<'_>,
    cells: impl Fn(Doc<'_>) -> [String; 3],
) -> Vec<Value> {
    let champion = section.at("champion").text();
    let mut rows = Vec::new();
    for origin in origins {
        for (at, found) in origin.at(key).items().into_iter().enumerate() {
            let name = found.at("name").text().unwrap_or(ABSENT);
            rows.push(json!({
                // The window is named once.
                "cutoff": (at == 0).then(|| origin.at("cutoff").text().unwrap_or(ABSENT)),
                "end": (at == 0).then(|| origin.at("window_end").text().unwrap_or(ABSENT)),
                "name": candidate(name),
                "champion": champion == Some(name),
                "cells": cells(found),
            }));
        }
    }
    rows
}
