//! What the page says of a model of a ready-made table, where a log's words do not fit.

use serde_json::{Value, json};

use super::candidates::find;
use super::doc::{Doc, Source};
use super::text::{ABSENT, candidate, count, days, fixed, or_absent, percent};

/// What the grades say, best first.
pub(super) const GRADES: [(&str, &str); 4] = [
    ("A", "judged on rows later than any the model had seen"),
    ("B", "judged on held-out rows of the same time; no later ones to confirm it"),
    ("C", "no usable signal, weak ranking (AUC below 0.65) or probabilities off (ECE above 0.05)"),
    ("D", "less data than the minimum: learned because it was asked for"),
];

/// Whether the bundle was trained on a table.
pub(super) fn is_table(source: Source<'_>) -> bool {
    source.manifest.at("kind").text() == Some("table")
}

/// The section on the table's columns and how rows were judged.
pub(super) fn section(source: Source<'_>) -> Option<Value> {
    if !is_table(source) {
        return None;
    }
    let table = source.metrics.at("table");
    let columns: Vec<Value> = table
        .at("columns")
        .items()
        .into_iter()
        .map(|column| {
            json!({
                "name": column.at("name").text().unwrap_or(ABSENT),
                "type": column.at("type").text().unwrap_or(ABSENT),
                "levels": or_absent(column.at("levels").number(), count),
                "missing": or_absent(column.at("missing").number(), count),
            })
        })
        .collect();
    let pairs = |key: &str, name: &str, text: &str| -> Vec<Value> {
        let entries = table.at(key).items().into_iter();
        entries
            .map(|entry| {
                json!({
                    "name": entry.at(name).text().unwrap_or(ABSENT),
                    "text": entry.at(text).text().unwrap_or(ABSENT),
                })
            })
            .collect()
    };
    Some(json!({
        "columns": columns,
        "ignored": pairs("ignored", "name", "reason"),
        "mapped": pairs("facts", "fact", "column"),
        "judged": judged_sentence(table),
        "costs": costs(source.churn().at("costs")),
    }))
}

fn judged_sentence(table: Doc<'_>) -> String {
    if table.at("judged_on").text() == Some("later rows") {
        return "Models were learned on the earlier three quarters of the rows and judged on the \
                later quarter; the final fit took all."
            .to_owned();
    }
    let folds = or_absent(table.at("folds").number(), count);
    let times = match table.at("repeats").number() {
        Some(repeats) if repeats > 1.0 => {
            format!("; this was done {} times and the numbers are means", count(repeats))
        }
        _ => String::new(),
    };
    format!(
        "Rows were dealt into {folds} folds that keep a customer's rows together; each fold was \
         judged by models that had not seen it{times}. The final fit took all rows."
    )
}

fn costs(costs: Doc<'_>) -> Option<Vec<Value>> {
    let line = |name: String, cost: Doc<'_>, share: Doc<'_>| -> Option<Value> {
        Some(json!({
            "name": name,
            "cost": fixed(cost.number()?, 2),
            "share": or_absent(share.share(), percent),
        }))
    };
    let nothing = costs.at("none");
    let best = costs.at("by_threshold");
    let from = or_absent(best.at("threshold").number(), |t| fixed(t, 4));
    let row = costs.at("by_row");
    [
        line("Acting on all".to_owned(), costs.at("act_on_all"), nothing),
        line("Acting on none".to_owned(), costs.at("act_on_none"), nothing),
        line("By each row's own costs".to_owned(), row.at("cost"), row.at("share")),
        line(format!("From probability {from}"), best.at("cost"), best.at("share")),
    ]
    .into_iter()
    .collect()
}

/// The findings in sentences.
pub(super) fn in_short(source: Source<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    let churn = source.churn();
    let judged = churn.at("judged");
    if let (Some(n), Some(left)) = (judged.at("rows").number(), judged.at("churn_share").share()) {
        sentences.push(format!("Of {} judged rows {} left.", count(n), percent(left)));
    }
    let candidates = churn.at("candidates").items();
    let auc = |name: &str| find(&candidates, name)?.at("auc").number();
    match (churn.at("signal").flag(), churn.at("champion").text()) {
        (Some(false), _) => sentences.push(
            "No candidate tells who leaves better than the base rate: use no ranking by risk."
                .to_owned(),
        ),
        (_, Some(champion)) => {
            let rule = match (auc("column_rule"), churn.at("column_rule").text()) {
                (Some(rule), Some(column)) => {
                    format!(
                        " against {} for the best rule on one column ({column})",
                        fixed(rule, 3)
                    )
                }
                _ => String::new(),
            };
            sentences.extend(auc(champion).map(|own| {
                format!(
                    "Best at foretelling who leaves: {}. It ranks a leaver above a stayer with \
                     chance {} (AUC){rule} and 0.5 for guessing.",
                    candidate(champion),
                    fixed(own, 3)
                )
            }));
        }
        _ => {}
    }
    let value = source.value();
    let values = value.at("candidates").items();
    if let Some(champion) = value.at("champion").text()
        && let Some(gini) = find(&values, champion).and_then(|found| found.at("gini").number())
    {
        sentences.push(format!(
            "Best at ranking value: {} (Gini {}; 0 is guessing).",
            candidate(champion),
            fixed(gini, 3)
        ));
    }
    sentences
}

/// What was read.
pub(super) fn data_rows(source: Source<'_>) -> Vec<Value> {
    let data = source.data();
    let number = |key: &str| or_absent(data.at(key).number(), count);
    let label = |key: &str| source.metrics.at("table").at(key).text().unwrap_or(ABSENT).to_owned();
    [
        ("Rows read", number("rows")),
        ("Rows used", number("kept")),
        ("Rows dropped", number("dropped")),
        ("Rows without a label", number("unlabelled")),
        ("Customers", number("customers")),
        ("Cells missing", or_absent(data.at("missing_share").share(), percent)),
        ("Churn label", label("label")),
        ("Value label", label("value_label")),
    ]
    .iter()
    .map(|(name, text)| json!({ "name": name, "text": text }))
    .collect()
}

/// What the numbers do not say.
pub(super) fn limits(source: Source<'_>) -> Vec<String> {
    let by_time = source.metrics.at("table").at("judged_on").text() == Some("later rows");
    let mut limits = vec![
        "The features are taken as they are. A column that was filled after the outcome was known \
         makes every number here too good; only columns that tell the label nearly alone are found."
            .to_owned(),
        if by_time {
            "Judged on the later rows once: a season or a campaign in them counts in full."
        } else {
            "Held-out rows are of the same time as the others: a price or a market that changes \
             later is not in these numbers. A time column (--time-column) judges later rows."
        }
        .to_owned(),
        "The champion was chosen on the rows that judged it: expect it to do slightly worse."
            .to_owned(),
    ];
    if source.churn().at("champion").text().is_some() && source.churn_days().is_none() {
        limits.push("The label names no horizon: by when customers leave is not said.".to_owned());
    }
    if let Some(horizon) = source.value_days() {
        limits.push(format!(
            "Value means what the value label counted, over {}; nothing beyond is predicted.",
            days(horizon)
        ));
    }
    limits.push(
        "Contributions of features say what moved a prediction, not what causes customers to leave. \
         Whether a campaign works is known from its holdout only."
            .to_owned(),
    );
    limits
}
