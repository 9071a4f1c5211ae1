//! What training found about activities, as a table for a person and as JSON for a program.
//!
//! In: a bundle. Out: its account of activities. It deliberately works nothing out: the account
//! was made with the bundle, from the same log.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::bundle::Bundle;

const NOTE: &str = "\
Adjusted differences in the share of customers who bought within the churn horizon, between those
who took an activity up and others like them on such a day. They are associations: adopters may
differ in ways that no log shows. A \"candidate to test\" is worth an experiment, no more is said.
";

/// The account of a bundle, as (text, JSON).
pub(super) fn report(found: &Bundle) -> (String, Value) {
    let rows = found.metrics["activities"].as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}@{}", found.manifest.name, found.version);
    if rows.is_empty() {
        text.push_str("the log has no activity that anybody took up: nothing to report\n");
        return (text, json!({ "activities": rows }));
    }
    text.push_str(NOTE);
    let _ = writeln!(
        text,
        "{:<24}{:>9}{:>12}{:>21}{:>14}{:>9}  verdict",
        "activity", "adopters", "difference", "95 % interval", "unadjusted", "E-value"
    );
    for row in &rows {
        let points = |value: &Value| {
            value.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:+.1}", 100.0 * share))
        };
        let difference = &row["difference"];
        let interval = match difference {
            Value::Null => "-".to_owned(),
            known => format!("{} .. {}", points(&known["low"]), points(&known["high"])),
        };
        let e_value = row["e_value_low"].as_f64().map_or("-".to_owned(), |e| format!("{e:.2}"));
        let named = if row["in_policy"] == true { "" } else { " (not in the policy)" };
        let _ = writeln!(
            text,
            "{:<24}{:>9}{:>12}{:>21}{:>14}{:>9}  {}{named}",
            row["activity"].as_str().unwrap_or_default(),
            row["adopters"],
            points(&difference["value"]),
            interval,
            points(&row["unadjusted"]),
            e_value,
            row["verdict"].as_str().unwrap_or_default(),
        );
    }
    text.push_str(
        "Differences are percentage points; the E-value is that of the interval's end.\n",
    );
    (text, json!({ "version": found.version, "activities": rows }))
}
