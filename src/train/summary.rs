//! A run's outcome as text for a person and as JSON for a program.
//!
//! In: the outcome. Out: texts. Every number in them stands in `metrics.json` as well.

use std::fmt::Write;

use serde_json::{Value, json};

use super::run::TrainOutcome;

/// The outcome as one JSON object, under names that stay.
#[must_use]
pub fn to_json(outcome: &TrainOutcome) -> Value {
    json!({
        "version": outcome.version,
        "folder": outcome.folder,
        "promoted": outcome.promoted,
        "promotion_reason": outcome.promotion_reason,
        "alias": outcome.alias(),
        "grade": outcome.grade.letter,
        "grade_reason": outcome.grade.reason,
        "metrics": outcome.metrics,
    })
}

/// The outcome as lines of text.
#[must_use]
pub fn to_text(outcome: &TrainOutcome) -> String {
    let metrics = &outcome.metrics;
    let mut text = outcome.intake.clone();
    usability(&mut text, &metrics["data"]);
    // A table may have one of the two labels only.
    if metrics["churn"].is_object() {
        churn(&mut text, &metrics["churn"]);
    }
    if metrics["clv"].is_object() {
        value(&mut text, &metrics["clv"]);
    }
    costs(&mut text, &metrics["churn"]["costs"]);
    tiers(&mut text, &metrics["churn"]["tiers"]);
    let grade = &outcome.grade;
    line(&mut text, format_args!("\nGrade {}: {}", grade.letter, grade.reason));
    let (version, alias) = (&outcome.version, outcome.alias());
    line(&mut text, format_args!("Version {version} is {alias}: {}", outcome.promotion_reason));
    line(&mut text, format_args!("Bundle {}", outcome.folder.display()));
    let report = outcome.folder.join("report.html");
    line(&mut text, format_args!("Report {}", report.display()));
    text
}

fn line(text: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{args}");
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text as it is, `-` where there is none.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// A number with some digits, `-` where there is none.
fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
}

/// A share in percent, `-` where there is none.
fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

fn usability(text: &mut String, data: &Value) {
    line(text, format_args!("\nData"));
    for finding in items(&data["usability"]) {
        let mark = if finding["ok"] == json!(true) { "ok" } else { "TOO FEW" };
        let (what, found, needed) = (word(&finding["what"]), &finding["found"], &finding["needed"]);
        line(text, format_args!("  {what:<42}{found:>10} of {needed:>4} needed  {mark}"));
    }
    for warning in items(&data["warnings"]) {
        line(text, format_args!("  note: {}", word(warning)));
    }
    if data["learned"] != json!(true) {
        let only = "nothing is learned: purchase models with a weak prior only (--allow-small)";
        line(text, format_args!("  {only}"));
    }
}

/// A line for each further horizon.
fn further(text: &mut String, churn: &Value) {
    for horizon in items(&churn["horizons"]) {
        let (days, champion) = (&horizon["days"], word(&horizon["champion"]));
        let [auc, loss] = [number(&horizon["auc"], 3), number(&horizon["log_loss"], 4)];
        let note = word(&horizon["note"]);
        line(
            text,
            format_args!("  within {days} days: {champion}, AUC {auc}, log loss {loss}; {note}"),
        );
    }
}

fn churn(text: &mut String, churn: &Value) {
    let days = &churn["horizon_days"];
    let champion = word(&churn["champion"]);
    match days.as_u64() {
        // The label of a table need not name its horizon.
        Some(0) => line(text, format_args!("\nChurn: {champion}")),
        _ => line(text, format_args!("\nChurn within {days} days: {champion}")),
    }
    if churn["signal"] != json!(true) {
        line(text, format_args!("  no usable signal"));
    }
    if let Some(note) = churn["note"].as_str() {
        line(text, format_args!("  {note}"));
    }
    further(text, churn);
    let candidates = items(&churn["candidates"]);
    if !candidates.is_empty() {
        let [a, b, c, d] = ["AUC", "log loss", "Brier", "ECE"];
        line(text, format_args!("  {:<16}{a:>8}{b:>10}{c:>8}{d:>8}", "candidate"));
    }
    for candidate in candidates {
        let mark = if candidate["name"] == churn["champion"] { "  <- champion" } else { "" };
        line(
            text,
            format_args!(
                "  {:<16}{:>8}{:>10}{:>8}{:>8}{mark}",
                word(&candidate["name"]),
                number(&candidate["auc"], 3),
                number(&candidate["log_loss"], 4),
                number(&candidate["brier"], 4),
                number(&candidate["ece"], 4),
            ),
        );
    }
    closer_look(text, churn);
    if let Some(note) = churn["stacking_note"].as_str() {
        line(text, format_args!("  stacking: {note}"));
    }
    if let Some(note) = churn["calibration"]["note"].as_str() {
        line(text, format_args!("  calibration: {note}"));
    }
}

/// Gains over rules, parts that are off, and settings of the trees.
fn closer_look(text: &mut String, churn: &Value) {
    for gain in items(&churn["comparison"]["gains"]) {
        let (against, loss) = (word(&gain["against"]), &gain["log_loss"]);
        let [value, low, high] = ["value", "low", "high"].map(|part| number(&loss[part], 4));
        line(
            text,
            format_args!("  against {against}: log loss lower by {value} ({low} to {high})"),
        );
    }
    for part in items(&churn["subgroups"]) {
        if let Some(warning) = part["warning"].as_str() {
            let (by, group) = (word(&part["by"]), word(&part["group"]));
            line(text, format_args!("  {by}, {group}: {warning}"));
        }
    }
    let settings = &churn["search"]["chosen"];
    if settings.is_object() {
        let tried = items(&churn["search"]["tried"]).len();
        let (name, rounds) = (word(&settings["name"]), &settings["rounds"]);
        line(text, format_args!("  trees: {name}, {rounds} rounds; {tried} settings tried"));
    }
}

fn value(text: &mut String, clv: &Value) {
    let (days, champion) = (&clv["horizon_days"], word(&clv["champion"]));
    line(text, format_args!("\nValue within {days} days: {champion}"));
    let candidates = items(&clv["candidates"]);
    if !candidates.is_empty() {
        let [a, b, c, d] = ["Gini", "Spearman", "RMSE", "total"];
        let judged = &clv["judged_horizon_days"];
        line(
            text,
            format_args!("  {:<16}{a:>8}{b:>10}{c:>10}{d:>8}  ({judged} days)", "candidate"),
        );
    }
    for candidate in candidates {
        let mark = if candidate["name"] == clv["champion"] { "  <- champion" } else { "" };
        line(
            text,
            format_args!(
                "  {:<16}{:>8}{:>10}{:>10}{:>8}{mark}",
                word(&candidate["name"]),
                number(&candidate["gini"], 3),
                number(&candidate["spearman"], 3),
                number(&candidate["rmse"], 2),
                number(&candidate["total_ratio"], 3),
            ),
        );
    }
    let interval = &clv["total_interval"];
    if interval["p05"].is_number() {
        line(
            text,
            format_args!(
                "  total of the base {} (90 % interval {} to {}{})",
                number(&clv["total_predicted"], 0),
                number(&interval["p05"], 0),
                number(&interval["p95"], 0),
                if interval["extrapolated"] == json!(true) { ", extrapolated" } else { "" },
            ),
        );
    } else if let Some(why) = interval["note"].as_str() {
        line(
            text,
            format_args!("  total of the base {}: {why}", number(&clv["total_predicted"], 0)),
        );
    }
    if clv["extrapolated"] == json!(true) {
        let why = "no complete window of this length: the value is extrapolated";
        line(text, format_args!("  {why}"));
    }
}

fn costs(text: &mut String, costs: &Value) {
    if !costs.is_object() {
        return;
    }
    line(text, format_args!("\nCost of decisions on {} held-out rows", costs["rows"]));
    let (row, best) = (&costs["by_row"], &costs["by_threshold"]);
    let mut entry = |what: &str, cost: &Value, share: String| {
        line(text, format_args!("  {what:<34}{:>16}  {share}", number(cost, 2)));
    };
    entry("acting on all", &costs["act_on_all"], String::new());
    entry("acting on none", &costs["act_on_none"], String::new());
    entry("by each row's own costs", &row["cost"], format!("{} acted on", percent(&row["share"])));
    let what = format!("from probability {}", number(&best["threshold"], 4));
    entry(&what, &best["cost"], format!("{} acted on", percent(&best["share"])));
}

fn tiers(text: &mut String, tiers: &Value) {
    if items(tiers).is_empty() {
        return;
    }
    line(text, format_args!("\nRisk tiers on the judged window"));
    for tier in items(tiers) {
        line(
            text,
            format_args!(
                "  {:<8}{:>10} customers{:>9} of all, {:>7} of them left",
                word(&tier["tier"]),
                tier["customers"].to_string(),
                percent(&tier["share"]),
                percent(&tier["observed_churn"]),
            ),
        );
    }
}
