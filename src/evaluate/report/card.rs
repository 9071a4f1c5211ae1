//! `model_card.md`: what a model is for, what it was made of, how it did and when it fails.
//!
//! In: the same two documents as the report's. Out: Markdown in the same bytes for the same input;
//! texts of users cannot become markup. It deliberately measures nothing and praises nothing.

use serde_json::{Value, json};

use super::candidates::find;
use super::doc::{Doc, Source};
use super::page::page;
use super::table::is_table;
use super::text::{days, fixed, number};

/// Parts of column names that speak of what people must not be treated differently for.
const PROTECTED: [&str; 28] = [
    "age",
    "birth",
    "citizen",
    "dependents",
    "disab",
    "ethnic",
    "family",
    "female",
    "gender",
    "health",
    "language",
    "male",
    "marital",
    "married",
    "national",
    "orientation",
    "origin",
    "partner",
    "postcode",
    "pregnan",
    "race",
    "religio",
    "senior",
    "sex",
    "spouse",
    "union",
    "zip",
    "zipcode",
];
/// Those that are taken for a word of their own only: they are part of many other words.
const WHOLE_WORDS: [&str; 8] = ["age", "family", "male", "origin", "race", "sex", "union", "zip"];

/// What the card's template is filled with.
pub(super) fn context(source: Source<'_>) -> Value {
    let mut all = page(source);
    if let Value::Object(entries) = &mut all {
        // Drawings have no place in a text, and are most of the page.
        for key in ["curves", "spread", "tracking", "today"] {
            entries.remove(key);
        }
    }
    all["currency"] = json!(source.currency());
    all["churn_days"] = json!(source.churn_days().map(days));
    all["value_days"] = json!(source.value_days().map(days));
    all["spreads"] = json!({
        "churn": spreads(source.churn()),
        "value": spreads(source.value()),
    });
    all["label"] = json!({
        "column": source.metrics.at("table").at("label").text(),
        "positive": source.metrics.at("table").at("positive").text(),
        "value": source.metrics.at("table").at("value_label").text(),
    });
    all["protected"] = json!(protected(source));
    all["covariates"] = json!(covariates(source));
    all["notes"] = json!(
        source.data().at("notes").items().into_iter().filter_map(Doc::text).collect::<Vec<_>>()
    );
    all["program"] = json!(env!("CARGO_PKG_VERSION"));
    tame(&mut all);
    // A block of code takes texts as they are.
    all["command"] = json!(command(source));
    all
}

/// Keeps texts from being read as markup.
fn tame(value: &mut Value) {
    match value {
        Value::String(text) => {
            let mut plain = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '<' => plain.push_str("&lt;"),
                    '`' => plain.push('\''),
                    '|' | '*' | '[' | ']' | '\\' => plain.extend(['\\', c]),
                    c if c.is_control() => plain.push(' '),
                    c => plain.push(c),
                }
            }
            *text = plain;
        }
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::Object(entries) => entries.values_mut().for_each(tame),
        _ => {}
    }
}

/// Ranges that were measured of the champion's metrics, as texts.
fn spreads(section: Doc<'_>) -> Vec<String> {
    let candidates = section.at("candidates").items();
    let champion = section.at("champion").text().and_then(|name| find(&candidates, name));
    let Some(champion) = champion else { return Vec::new() };
    let range = |doc: Doc<'_>| -> Option<[f64; 2]> {
        let pair = doc.numbers();
        let named = |low: &str, high: &str| Some([doc.at(low).number()?, doc.at(high).number()?]);
        <[f64; 2]>::try_from(pair)
            .ok()
            .or_else(|| named("low", "high"))
            .or_else(|| named("p05", "p95"))
    };
    champion
        .entries()
        .into_iter()
        .filter_map(|(key, doc)| {
            let [low, high] = range(doc)?;
            let name = key.trim_end_matches("_interval").trim_end_matches("_range");
            let text = |x: f64| if x.abs() < 10.0 { fixed(x, 4) } else { number(x) };
            let what = if key.ends_with("_range") { "over the repeats" } else { "interval" };
            Some(format!("{name} {} to {} ({what})", text(low), text(high)))
        })
        .collect()
}

/// Columns whose names suggest a protected attribute.
fn protected(source: Source<'_>) -> Vec<&str> {
    let columns = source.metrics.at("table").at("columns").items();
    let covariates = source.metrics.at("btyd_covariates").at("columns").items();
    let names = columns.into_iter().chain(covariates);
    names.filter_map(|doc| doc.at("name").text()).filter(|name| is_protected(name)).collect()
}

fn is_protected(name: &str) -> bool {
    // `SeniorCitizen` and `senior_citizen` have the same words.
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in name.chars() {
        let begins = c.is_uppercase() && before_is_lower;
        if !c.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase();
    }
    words.iter().any(|word| {
        PROTECTED.iter().any(|part| match WHOLE_WORDS.contains(part) {
            true => word == part,
            false => word.contains(part),
        })
    })
}

/// Facts about customers that the purchase model takes as covariates.
fn covariates(source: Source<'_>) -> Vec<&str> {
    let columns = source.metrics.at("btyd_covariates").at("columns").items();
    columns.into_iter().filter_map(|column| column.at("name").text()).collect()
}

/// How to train it again.
fn command(source: Source<'_>) -> String {
    let manifest = source.manifest;
    let text = |key: &str| manifest.at(key).text().map(str::to_owned);
    let whole = |key: &str| manifest.at(key).whole().filter(|n| *n > 0).map(|n| n.to_string());
    let table = source.metrics.at("table");
    let of_table = |key: &str| table.at(key).text().map(str::to_owned);
    let mut parts = vec!["tenure-train".to_owned()];
    let mut add = |flag: &str, said: Option<String>| {
        parts.extend(said.map(|said| format!("--{flag} {}", quoted(&said))));
    };
    if is_table(source) {
        add("table", Some("FILE".to_owned()));
        add("label", of_table("label"));
        add("positive", of_table("positive"));
        add("value-label", of_table("value_label"));
        add("id", of_table("id"));
        add("time-column", of_table("time"));
        add("value-horizon-days", whole("clv_horizon_days"));
    } else {
        add("events", Some("FILE".to_owned()));
        add("until", text("data_until"));
        add("clv-horizon-days", whole("clv_horizon_days"));
        add("prior", text("prior"));
    }
    add("churn-horizon-days", whole("churn_horizon_days").map(|days| horizons(days, source)));
    add("currency", text("currency").filter(|code| code != "XXX"));
    add("timezone", text("timezone"));
    add("seed", manifest.at("seed").whole().map(|seed| seed.to_string()));
    add("models", Some("DIR".to_owned()));
    add("name", text("name"));
    parts.join(" \\\n    ")
}

/// The primary horizon and the further ones, as the program takes them.
fn horizons(primary: String, source: Source<'_>) -> String {
    let further = source.churn().at("horizons").items();
    let days = further.into_iter().filter_map(|horizon| horizon.at("days").whole());
    days.fold(primary, |all, days| format!("{all},{days}"))
}

/// A word for a shell; what would end a block of code or a line is left out.
fn quoted(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control() && *c != '`').collect();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:+,".contains(c);
    if !kept.is_empty() && kept.chars().all(is_plain) {
        return kept;
    }
    format!("'{}'", kept.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_word_by_word() {
        for name in ["gender", "SeniorCitizen", "customer_age", "Partner", "zip", "birth_date"] {
            assert!(is_protected(name), "{name}");
        }
        for name in ["usage", "average_spend", "trace", "region", "tenure_days", "PaperlessBilling"]
        {
            assert!(!is_protected(name), "{name}");
        }
    }

    #[test]
    fn words_of_users_are_quoted_for_the_shell() {
        assert_eq!(quoted("Yes"), "Yes");
        assert_eq!(quoted("a b's\n```"), r"'a b'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn texts_become_no_markup() {
        let mut value = json!(["<b>`x`|*y*\n[z](w)"]);
        tame(&mut value);
        assert_eq!(value[0], "&lt;b>'x'\\|\\*y\\* \\[z\\](w)");
    }
}
