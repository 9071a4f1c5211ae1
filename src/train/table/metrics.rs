//! `metrics.json` and the text on a table, under the names that a log's run uses.

use std::fmt::Write;

use serde_json::{Value, json};

use super::judge::{ChurnVerdict, ValueVerdict, Verdict};
use super::rows::Rows;
use super::split::Split;
use crate::config::TableConfig;
use crate::decision::Policy;
use crate::domain::Timestamp;
use crate::evaluate::{deciles, judge_costs};
use crate::events::Table;
use crate::model::{ColumnKind, TableFitted};
use crate::train::metrics::{Grade, captures, reliability_bins, tiers};
use crate::train::plan::Usability;

/// A column of which a larger share is missing is worth a word.
const COLUMN_MISSING_MAX: f64 = 0.2;

/// What the numbers are about.
pub(super) struct Subject<'s> {
    pub(super) table: &'s Table,
    pub(super) config: &'s TableConfig,
    pub(super) rows: &'s Rows,
    pub(super) split: &'s Split,
    pub(super) verdict: &'s Verdict,
    pub(super) fitted: &'s TableFitted,
    pub(super) usability: &'s [Usability],
    pub(super) policy: &'s Policy,
    pub(super) churn_quantiles: &'s [f64],
}

/// Builds the metrics of a run.
pub(super) fn metrics(subject: &Subject<'_>, grade: &Grade) -> Value {
    let mut all = json!({
        "data": data(subject),
        "table": table(subject),
        "grade": grade.letter,
        "grade_reason": grade.reason,
    });
    if let Some(verdict) = &subject.verdict.churn {
        all["churn"] = churn(subject, verdict);
    }
    if let Some(verdict) = &subject.verdict.value {
        all["clv"] = clv(subject, verdict);
    }
    all["plots"] = super::plots::plots(subject);
    all
}

/// Grades a run: D below the data minimum, C without signal or calibration, B judged on rows of
/// the same time, A judged on later rows.
pub(super) fn grade(verdict: &Verdict, split: &Split, short: &[String]) -> Grade {
    let by_time = split.judged_from.is_some();
    if !short.is_empty() {
        let reason = format!("less data than the minimum: {}", short.join("; "));
        return Grade { letter: "D", reason };
    }
    let mut numbers = Vec::new();
    if let Some(churn) = &verdict.churn {
        let [auc, ece] = churn.quality;
        if !churn.signal {
            let reason = "no usable signal: no candidate beats the base rate".to_owned();
            return Grade { letter: "C", reason };
        }
        numbers.push(format!("AUC {auc:.3}, ECE {ece:.3}"));
        if auc < 0.65 || ece > 0.05 {
            let reason = format!("weak or badly calibrated: {}", numbers.join(", "));
            return Grade { letter: "C", reason };
        }
    }
    if let Some(value) = &verdict.value {
        if !value.signal {
            let reason = "no usable signal of value: no candidate ranks it".to_owned();
            return Grade { letter: "C", reason };
        }
        let gini = value
            .candidates
            .iter()
            .find(|candidate| candidate["name"] == json!(value.champion.value_name()))
            .and_then(|candidate| candidate["gini"].as_f64());
        numbers.extend(gini.map(|gini| format!("Gini {gini:.3}")));
    }
    let numbers = numbers.join(", ");
    if by_time {
        return Grade { letter: "A", reason: format!("{numbers} on later rows") };
    }
    let reason =
        format!("{numbers} on held-out rows of the same time; no later ones to confirm it");
    Grade { letter: "B", reason }
}

fn churn(subject: &Subject<'_>, verdict: &ChurnVerdict) -> Value {
    let ChurnVerdict { probs, churned, .. } = verdict;
    let bins = reliability_bins(probs, churned);
    let capture = captures(probs, churned);
    let left = churned.iter().filter(|&&yes| yes).count();
    let columns = subject.rows.schema.columns();
    let cuts = subject.policy.tier_cuts(subject.churn_quantiles).ok();
    json!({
        "champion": verdict.champion.churn_name(),
        "signal": verdict.signal,
        "horizon_days": subject.fitted.churn_days,
        "calibration": {
            "intercept": verdict.calibration.intercept(),
            "slope": verdict.calibration.slope(),
            "note": verdict.calibration_note,
        },
        "candidates": verdict.candidates,
        "column_rule": verdict.rule_column.map(|at| columns[at].name.clone()),
        "windows": [],
        "judged": {
            "rows": churned.len(),
            "churn_share": left as f64 / churned.len().max(1) as f64,
        },
        "reliability": bins,
        "capture_of_rarer": capture,
        "tiers": cuts.map(|cuts| tiers(cuts, probs, churned)),
        "tier_cuts_today": cuts.map(|cuts| json!({
            "red_prob": cuts.red_prob,
            "amber_prob": cuts.amber_prob,
        })),
        "costs": costs(subject, verdict),
    })
}

fn costs(subject: &Subject<'_>, verdict: &ChurnVerdict) -> Value {
    let Some(all) = &subject.rows.costs else { return Value::Null };
    let own: Vec<_> = verdict.rows.iter().map(|&row| all[row]).collect();
    let Ok(found) = judge_costs(&verdict.probs, &verdict.churned, &own) else {
        return Value::Null;
    };
    let rows = own.len().max(1) as f64;
    json!({
        "rows": own.len(),
        "act_on_all": found.act_on_all,
        "act_on_none": found.act_on_none,
        "by_row": { "cost": found.by_row, "share": found.by_row_share },
        "by_threshold": {
            "threshold": found.threshold,
            "cost": found.by_threshold,
            "share": found.by_threshold_share,
        },
        "saved_per_row": (found.act_on_none.min(found.act_on_all) - found.by_row) / rows,
    })
}

fn clv(subject: &Subject<'_>, verdict: &ValueVerdict) -> Value {
    let table: Vec<Value> = deciles(&verdict.predicted, &verdict.actual)
        .unwrap_or_default()
        .iter()
        .map(|decile| {
            json!({
                "customers": decile.n_rows,
                "predicted_mean": decile.predicted_mean,
                "actual_mean": decile.actual_mean,
            })
        })
        .collect();
    json!({
        "champion": verdict.champion.value_name(),
        "signal": verdict.signal,
        "horizon_days": subject.fitted.value_days,
        "judged_horizon_days": subject.fitted.value_days,
        "extrapolated": false,
        "basis": "as the value label counts it",
        "candidates": verdict.candidates,
        "deciles": table,
        "factor": verdict.factor,
        "total_interval": { "p05": null, "p95": null },
        "interval_coverage": { "nominal": 0.8, "out_of_fold": verdict.coverage },
    })
}

fn data(subject: &Subject<'_>) -> Value {
    let Subject { table, rows, usability, .. } = subject;
    let mut customers: Vec<&Vec<u8>> = rows.groups.iter().collect();
    customers.sort_unstable();
    customers.dedup();
    let time = |at: Option<&i64>| at.map(|micros| Timestamp::from_micros(*micros).to_string());
    let is_calendar = rows.times.as_ref().is_some_and(|t| t.iter().all(|t| t.abs() > 1 << 45));
    let times = rows.times.as_ref().filter(|_| is_calendar);
    json!({
        "rows": table.report.rows,
        "kept": rows.places.len(),
        "dropped": table.report.dropped,
        "unlabelled": rows.n_unlabelled,
        "customers": customers.len(),
        "first": times.and_then(|times| time(times.iter().min())),
        "last": times.and_then(|times| time(times.iter().max())),
        "missing_share": rows.missing_share(),
        "missing_texts": rows.missing_texts,
        "usability": usability,
        "learned": true,
        "notes": rows.notes.iter().cloned().chain(sparse_columns(rows)).collect::<Vec<String>>(),
    })
}

/// The used columns of which more cells are missing than is healthy; none where all are well
/// filled. The models take missing cells as they come, so this stops nothing.
fn sparse_columns(rows: &Rows) -> Option<String> {
    let n = rows.places.len().max(1) as f64;
    let shares = rows.features.iter().map(|f| (&f.column.name, f.n_missing as f64 / n));
    let sparse: Vec<String> = shares
        .filter(|(_, share)| *share > COLUMN_MISSING_MAX)
        .map(|(name, share)| format!("{name:?} ({:.0} %)", 100.0 * share))
        .collect();
    let limit = 100.0 * COLUMN_MISSING_MAX;
    (!sparse.is_empty()).then(|| {
        format!("more than {limit:.0} % of the cells are missing in {}", sparse.join(", "))
    })
}

fn table(subject: &Subject<'_>) -> Value {
    let Subject { config, rows, split, .. } = subject;
    let columns: Vec<Value> = rows
        .features
        .iter()
        .map(|feature| {
            let (levels, other) = match &feature.column.kind {
                ColumnKind::Category { levels, has_other, .. } => (Some(levels.len()), *has_other),
                _ => (None, false),
            };
            json!({
                "name": feature.column.name,
                "type": feature.column.kind.as_str(),
                "levels": levels,
                "other": other,
                "missing": feature.n_missing,
            })
        })
        .collect();
    let ignored: Vec<Value> =
        rows.ignored.iter().map(|(name, why)| json!({ "name": name, "reason": why })).collect();
    let judged = match split.judged_from {
        Some(_) => "later rows",
        None => "folds",
    };
    let origins = split.rounds.first().map_or(0, Vec::len);
    json!({
        "label": config.label,
        "positive": config.positive,
        "value_label": config.value_label,
        "id": config.id,
        "time": config.time,
        "judged_on": judged,
        "folds": if split.judged_from.is_none() { Some(origins) } else { None },
        "repeats": split.rounds.len(),
        "columns": columns,
        "ignored": ignored,
        "facts": config.map.iter().map(|(f, c)| json!({ "fact": f.as_str(), "column": c }))
            .collect::<Vec<_>>(),
        "places": rows.schema.slots().len(),
    })
}

/// The schema as lines of text.
pub(super) fn schema_text(metrics: &Value) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{args}");
    };
    let (data, table) = (&metrics["data"], &metrics["table"]);
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    line(format_args!(
        "{} rows read, {} used, {} dropped, {} without a label",
        data["rows"], data["kept"], data["dropped"], data["unlabelled"]
    ));
    let columns = table["columns"].as_array().map_or(&[][..], Vec::as_slice);
    line(format_args!("\nColumns ({})", columns.len()));
    for column in columns {
        let levels = match (column["levels"].as_u64(), column["other"].as_bool()) {
            (Some(levels), Some(true)) => format!("{levels} levels and others"),
            (Some(levels), _) => format!("{levels} levels"),
            _ => String::new(),
        };
        let missing = match column["missing"].as_u64() {
            Some(0) | None => String::new(),
            Some(missing) => format!("{missing} missing"),
        };
        let parts = [levels, missing].into_iter().filter(|part| !part.is_empty());
        let parts = parts.collect::<Vec<_>>().join(", ");
        let row = format!("  {:<32}{:<13}{parts}", word(&column["name"]), word(&column["type"]));
        line(format_args!("{}", row.trim_end()));
    }
    let ignored = table["ignored"].as_array().map_or(&[][..], Vec::as_slice);
    if !ignored.is_empty() {
        line(format_args!("\nLeft out"));
    }
    for column in ignored {
        line(format_args!("  {:<32}{}", word(&column["name"]), word(&column["reason"])));
    }
    if let Some(texts) = data["missing_texts"].as_object().filter(|texts| !texts.is_empty()) {
        let named: Vec<String> = texts.iter().map(|(text, n)| format!("{text} {n}")).collect();
        line(format_args!("\nTaken as missing: {}", named.join(", ")));
    }
    for note in data["notes"].as_array().map_or(&[][..], Vec::as_slice) {
        line(format_args!("note: {}", word(note)));
    }
    text
}
