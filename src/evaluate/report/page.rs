//! The whole page as one document for the template: every text is ready to be shown.

use serde_json::{Value, json};

use super::candidates::find;
use super::doc::{Doc, Source};
use super::text::{ABSENT, candidate, count, days, fixed, four_digits, money, or_absent, percent};
use super::{churn, counts, table, timeline, value};

/// What the grades say, best first.
const GRADES: [(&str, &str); 4] = [
    ("A", "judged on windows the model had not seen, and its calibration tried on a later one"),
    ("B", "judged on one unseen window; no second one to confirm it"),
    ("C", "no usable signal, weak ranking (AUC below 0.65) or probabilities off (ECE above 0.05)"),
    ("D", "too little data: nothing was learned, only the purchase-rhythm models with weak priors"),
];

/// The page.
pub(super) fn page(source: Source<'_>) -> Value {
    let is_table = table::is_table(source);
    json!({
        "table": table::section(source),
        // A table may have one of the two labels only.
        "has_churn": !is_table || source.churn().at("champion").text().is_some(),
        "has_value": !is_table || source.value().at("champion").text().is_some(),
        "judged_rows": if is_table { "held-out rows" } else { "the judged window" },
        "name": source.manifest.at("name").text().unwrap_or("unnamed model"),
        "head": head(source),
        "short": in_short(source),
        "data": data(source),
        "windows": { "plot": timeline::plot(source), "rows": timeline::rows(source) },
        "churn": churn::section(source),
        "value": value::section(source),
        "counts": counts::models(source.metrics.at("btyd"), source.currency()),
        "rhythm": rhythm(source.data().at("base_rhythm")),
        "limits": if is_table { table::limits(source) } else { limits(source) },
        "grades": grades(source),
        "facts": facts(source),
    })
}

fn grade(source: Source<'_>) -> Option<&str> {
    let grade = source.metrics.at("grade").text();
    grade.or_else(|| source.manifest.at("grade").text())
}

fn head(source: Source<'_>) -> Value {
    let letter = grade(source);
    let class = match letter {
        Some("A") => "a",
        Some("B") => "b",
        Some("C") => "c",
        Some("D") => "d",
        _ => "unknown",
    };
    let champion = |doc: Doc<'_>| or_name(doc.at("champion").text().map(candidate));
    let tiles = [
        ("Data until", source.until().map_or_else(|| ABSENT.to_owned(), |day| day.to_string())),
        ("Churn horizon", or_absent(source.churn_days(), days)),
        ("Value horizon", or_absent(source.value_days(), days)),
        ("Currency", or_name(Some(source.currency()).filter(|code| !code.is_empty()))),
        ("Churn champion", champion(source.churn())),
        ("Value champion", champion(source.value())),
    ];
    let tiles: Vec<Value> =
        tiles.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    json!({
        "grade": letter.unwrap_or("?"),
        "class": class,
        "reason": source.metrics.at("grade_reason").text().unwrap_or("no reason given"),
        "tiles": tiles,
    })
}

fn or_name(name: Option<&str>) -> String {
    name.unwrap_or(ABSENT).to_owned()
}

/// The findings in sentences, for those who read nothing else.
fn in_short(source: Source<'_>) -> Vec<String> {
    if table::is_table(source) {
        return table::in_short(source);
    }
    let sentences = [
        base_sentence(source),
        churn_sentence(source),
        top_sentence(source),
        value_sentence(source),
    ];
    sentences.into_iter().flatten().collect()
}

fn base_sentence(source: Source<'_>) -> Option<String> {
    let Some(window) = source.judged() else {
        let text = "Nothing was judged on these data: how well the model predicts is not known.";
        return Some(text.to_owned());
    };
    let (n, left) = (window.at("customers").number()?, window.at("churn_share").share()?);
    let (cutoff, end) = (window.at("cutoff").day()?, window.at("window_end").day()?);
    Some(format!(
        "In the judged window, {} to {end}, {} of {} customers left: they placed no order in it.",
        cutoff.plus(1),
        percent(left),
        count(n)
    ))
}

fn churn_sentence(source: Source<'_>) -> Option<String> {
    let candidates = source.churn().at("candidates").items();
    if !candidates.is_empty() && source.churn().at("signal").flag() == Some(false) {
        let text =
            "No candidate tells who leaves better than the base rate: use no ranking by risk.";
        return Some(text.to_owned());
    }
    let champion = source.churn().at("champion").text()?;
    let auc = |name: &str| find(&candidates, name)?.at("auc").number();
    let own = auc(champion)?;
    let rule = auc("recency_rule").map_or_else(String::new, |rule| {
        format!(", against {} for the plain rule on days since the last order", fixed(rule, 3))
    });
    Some(format!(
        "Best at foretelling who leaves: {}. It ranks a leaver above a stayer with chance {} \
         (AUC){rule} and 0.5 for guessing.",
        candidate(champion),
        fixed(own, 3)
    ))
}

fn top_sentence(source: Source<'_>) -> Option<String> {
    let rows = source.churn().at("capture_of_rarer").items();
    let row = rows.iter().find(|row| row.at("share").number().is_some_and(is_a_tenth))?;
    let capture = percent(row.at("capture").share()?);
    let lift = fixed(row.at("lift").number()?, 1);
    Some(if source.leavers_are_rarer()? {
        format!(
            "The tenth of the customers with the highest risk held {capture} of all who left: \
             {lift} times what a random tenth would hold."
        )
    } else {
        format!(
            "Most customers left, so the few who stayed are the ones to find: the tenth with the \
             lowest risk held {capture} of them, {lift} times what a random tenth would hold."
        )
    })
}

fn is_a_tenth(share: f64) -> bool {
    (share - 0.1).abs() < 1e-9
}

fn value_sentence(source: Source<'_>) -> Option<String> {
    let value = source.value();
    let total = money(four_digits(value.at("total_predicted").number()?), source.currency());
    let horizon = days(source.value_days()?);
    let extrapolated = if value.at("extrapolated").flag() == Some(true) {
        "; this horizon is longer than what could be judged"
    } else {
        ""
    };
    Some(format!(
        "Today's customers are predicted to spend {total} in all within the next {horizon}\
         {extrapolated}."
    ))
}

fn data(source: Source<'_>) -> Value {
    let data = source.data();
    let numbers = [
        ("Rows read", "rows"),
        ("Rows kept", "kept"),
        ("Rows dropped", "dropped"),
        ("Duplicates left out", "duplicates"),
        ("Customers", "customers"),
        ("Customers who bought", "buyers"),
    ];
    let mut rows: Vec<Value> = numbers
        .iter()
        .map(|(name, key)| json!({ "name": name, "text": or_absent(data.at(key).number(), count) }))
        .collect();
    if table::is_table(source) {
        rows = table::data_rows(source);
    }
    for (name, key) in [("First event", "first"), ("Last event used", "last")] {
        rows.push(json!({ "name": name, "text": or_name(data.at(key).text()) }));
    }
    let findings: Vec<Value> = data
        .at("usability")
        .items()
        .into_iter()
        .map(|finding| {
            json!({
                "what": finding.at("what").text().unwrap_or(ABSENT),
                "found": or_absent(finding.at("found").number(), count),
                "needed": or_absent(finding.at("needed").number(), count),
                "ok": finding.at("ok").flag(),
            })
        })
        .collect();
    let short = findings.iter().any(|finding| finding["ok"] == json!(false));
    let verdict = match (data.at("learned").flag(), short) {
        (Some(true), false) => "The data suffice: models were learned.",
        (Some(true), true) => {
            "The data fall short, and models were learned because it was asked for."
        }
        (Some(false), _) => "The data fall short: no models were learned.",
        _ => "",
    };
    json!({ "rows": rows, "findings": findings, "verdict": verdict, "short": short })
}

fn rhythm(doc: Doc<'_>) -> Option<Value> {
    let (usual, long) = (doc.at("gap_days_p50").number()?, doc.at("gap_days_p90").number()?);
    Some(json!({
        "usual": days(usual),
        "long": days(long),
        "short": doc.at("history_short").flag() == Some(true),
    }))
}

/// What the numbers do not say.
fn limits(source: Source<'_>) -> Vec<String> {
    let mut limits = vec![horizon_limit(source), window_limit(source)];
    if source.recalibrated() {
        limits.push(
            "The recalibration was fitted again on the judged window once it had proved itself: \
             the reliability plot and the observed churn of the tiers are drawn after it, so they \
             look a little better than a new window will."
                .to_owned(),
        );
    }
    if source.judged().is_some() {
        limits.push(
            "The models in use were fitted again on all complete windows, the judged one included; \
             the tables show their predecessors, which had not seen it."
                .to_owned(),
        );
    }
    limits.push(
        "P(alive), the chance that a customer has not left for good, is a diagnostic of the \
         purchase-rhythm models. It is not the churn probability and was not judged."
            .to_owned(),
    );
    limits.push(
        "Contributions of features say what moved a prediction, not what causes customers to leave. \
         Whether a campaign works is known from its holdout only."
            .to_owned(),
    );
    limits.push(
        "Everything assumes that the coming months resemble the log. A new price, a new market or \
         a changed log ends that; train again then."
            .to_owned(),
    );
    limits
}

fn horizon_limit(source: Source<'_>) -> String {
    let value = source.value();
    let horizon = or_absent(source.value_days(), days);
    let judged = or_absent(value.at("judged_horizon_days").number().or(source.churn_days()), days);
    match value.at("extrapolated").flag() {
        _ if value.at("champion").text().is_none() => {
            "There is no value model, so nothing is said about future spend.".to_owned()
        }
        Some(true) if value.at("candidates").items().is_empty() => format!(
            "The value horizon of {horizon} is extrapolated: no complete window could judge it."
        ),
        Some(true) => format!(
            "The value horizon of {horizon} is extrapolated: spend could be judged over {judged} \
             only, and the rest follows the purchase-rhythm models. Intervals are stretched the \
             same way."
        ),
        Some(false) => {
            format!("The value horizon of {horizon} is not extrapolated: it was judged in full.")
        }
        None => "It is not recorded whether the value horizon is extrapolated.".to_owned(),
    }
}

fn window_limit(source: Source<'_>) -> String {
    let text = if source.judged().is_none() {
        "No window was judged: nothing here says how well the model predicts."
    } else if source.tried_on_second_window() {
        "Several windows were used: the recalibration was fitted on earlier ones and tried on later \
         ones. The candidates' numbers in the tables are from the newest alone, so a season or a \
         campaign in it counts in full."
    } else {
        "Candidates were judged on one window, and the champion was chosen on it: expect it to do \
         slightly worse on the next one. A season or a campaign in that window counts in full."
    };
    text.to_owned()
}

fn grades(source: Source<'_>) -> Vec<Value> {
    let own = grade(source);
    let texts = if table::is_table(source) { table::GRADES } else { GRADES };
    texts
        .iter()
        .map(|(letter, text)| json!({ "letter": letter, "text": text, "own": own == Some(letter) }))
        .collect()
}

/// How the model was made, for the record.
fn facts(source: Source<'_>) -> Vec<String> {
    let manifest = source.manifest;
    let text = |key: &str| manifest.at(key).text();
    let fact = |name: &str, text: Option<String>| text.map(|text| format!("{name}: {text}"));
    let all = [
        fact("time zone", text("timezone").map(str::to_owned)),
        fact("purchase occasion", text("btyd_occasion").map(str::to_owned)),
        fact("time unit of rates", text("btyd_time_unit").map(str::to_owned)),
        fact("prior", text("prior").map(str::to_owned)),
        // A seed is a name, not a quantity: no thousands in it.
        fact("seed", manifest.at("seed").whole().map(|seed| seed.to_string())),
    ];
    all.into_iter().flatten().collect()
}
