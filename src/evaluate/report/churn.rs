//! The section on churn: candidates, calibration, what the top of the list catches, tiers.

use serde_json::{Value, json};

use super::candidates::{Better, Measure, Style, find, table};
use super::doc::{Doc, Source};
use super::plot;
use super::text::{
    ABSENT, candidate, count, fixed, number, or_absent, percent, percent_plain, points,
};

/// Plain rules, shown for comparison. The base rate is used where nothing beats it.
const REFERENCES: [&str; 3] = ["base_rate", "recency_rule", "column_rule"];
/// The columns of the table.
const MEASURES: [Measure; 5] = [
    Measure {
        key: "auc",
        head: "AUC",
        hint: "chance that a customer who left was ranked above one who stayed; \
               0.5 is guessing, 1 is perfect",
        better: Better::High,
        style: Style::Decimals(3),
    },
    Measure {
        key: "pr_auc",
        head: "PR-AUC",
        hint: "precision averaged over recall of those who left; guessing gives the share who left",
        better: Better::High,
        style: Style::Decimals(3),
    },
    Measure {
        key: "log_loss",
        head: "Log loss",
        hint: "punishes confident mistakes; lower is better; it decides the champion",
        better: Better::Low,
        style: Style::Decimals(4),
    },
    Measure {
        key: "brier",
        head: "Brier",
        hint: "mean squared error of the probability; lower is better",
        better: Better::Low,
        style: Style::Decimals(4),
    },
    Measure {
        key: "ece",
        head: "ECE",
        hint: "mean gap between predicted and observed share over ten bins; lower is better",
        better: Better::Low,
        style: Style::Decimals(4),
    },
];

/// The section.
pub(super) fn section(source: Source<'_>) -> Value {
    let churn = source.churn();
    let candidates = churn.at("candidates").items();
    let champion = churn.at("champion").text();
    let bins = churn.at("reliability").items();
    json!({
        "table": table(&candidates, champion, &REFERENCES, &MEASURES),
        "missing": churn.at("note").text().unwrap_or("no candidate was judged"),
        "champion": champion.map(candidate),
        "no_signal": !candidates.is_empty() && churn.at("signal").flag() == Some(false),
        "beaten": beaten_by_recency(&candidates, champion),
        "calibration": calibration(churn.at("calibration")),
        "recalibrated": source.recalibrated(),
        "plot": plot::reliability(&bins),
        "bins": reliability_rows(&bins),
        "rarer": source.leavers_are_rarer().map(|left| if left { "left" } else { "stayed" }),
        "capture": capture_rows(source),
        "tiers": tier_rows(churn.at("tiers")),
        "horizons": horizon_rows(&churn.at("horizons").items()),
    })
}

/// The models of further horizons, each on its own newest complete window.
fn horizon_rows(horizons: &[Doc<'_>]) -> Vec<Value> {
    let decimals = |doc: Doc<'_>, decimals| or_absent(doc.number(), |x| fixed(x, decimals));
    horizons
        .iter()
        .map(|horizon| {
            let is_judged = horizon.at("auc").number().is_some();
            json!({
                "days": or_absent(horizon.at("days").number(), count),
                "champion": horizon.at("champion").text().map_or(ABSENT, candidate),
                "window": horizon.at("cutoff").text().unwrap_or(ABSENT),
                "customers": or_absent(horizon.at("customers").number().filter(|_| is_judged), count),
                "auc": decimals(horizon.at("auc"), 3),
                "log_loss": decimals(horizon.at("log_loss"), 4),
                "base": decimals(horizon.at("base_rate_log_loss"), 4),
                "ece": decimals(horizon.at("ece"), 4),
                "note": horizon.at("note").text().unwrap_or(ABSENT),
            })
        })
        .collect()
}

/// A warning where the plain rule on recency has the lower log loss.
fn beaten_by_recency(candidates: &[Doc<'_>], champion: Option<&str>) -> Option<String> {
    let loss = |name: &str| find(candidates, name)?.at("log_loss").number();
    let (champion, rule) = (loss(champion?)?, loss("recency_rule")?);
    (rule <= champion).then(|| {
        format!(
            "The plain rule on days since the last order has log loss {} on this window, the \
             champion {}: the model adds nothing to it here.",
            fixed(rule, 4),
            fixed(champion, 4)
        )
    })
}

fn calibration(doc: Doc<'_>) -> Option<Value> {
    let note = doc.at("note").text()?;
    Some(json!({
        "note": note,
        "intercept": or_absent(doc.at("intercept").number(), number),
        "slope": or_absent(doc.at("slope").number(), number),
    }))
}

fn reliability_rows(bins: &[Doc<'_>]) -> Vec<Value> {
    bins.iter()
        .map(|bin| {
            let (predicted, observed) =
                (bin.at("prob_mean").share(), bin.at("churn_share").share());
            let gap = predicted.zip(observed).map(|(predicted, observed)| observed - predicted);
            json!({
                "customers": or_absent(bin.at("customers").number(), count),
                "predicted": or_absent(predicted, percent),
                "observed": or_absent(observed, percent),
                "gap": or_absent(gap, points),
            })
        })
        .collect()
}

/// What the top of the list holds, beside what chance and a perfect list would hold.
fn capture_rows(source: Source<'_>) -> Vec<Value> {
    let left = source.judged().and_then(|window| window.at("churn_share").share());
    let rarer = left.map(|left| left.min(1.0 - left)).filter(|rarer| *rarer > 0.0);
    let rows = source.churn().at("capture_of_rarer").items();
    rows.into_iter()
        .filter_map(|row| {
            let (share, capture) = (row.at("share").share()?, row.at("capture").share()?);
            let perfect = rarer.map(|rarer| (share / rarer).min(1.0));
            Some(json!({
                "share": percent_plain(share),
                "capture": percent(capture),
                "width": format!("{:.1}", capture * 100.0),
                "lift": or_absent(row.at("lift").number(), |lift| format!("{}×", fixed(lift, 2))),
                "perfect": or_absent(perfect, percent),
            }))
        })
        .collect()
}

fn tier_rows(tiers: Doc<'_>) -> Vec<Value> {
    let rows = tiers.items();
    rows.into_iter()
        .map(|row| {
            let name = row.at("tier").text().unwrap_or(ABSENT);
            let observed = row.at("observed_churn").share();
            let class = match name {
                "red" | "amber" | "green" => name,
                _ => "other",
            };
            json!({
                "name": name,
                "class": class,
                "customers": or_absent(row.at("customers").number(), count),
                "share": or_absent(row.at("share").share(), percent),
                "observed": or_absent(observed, percent),
                "width": format!("{:.1}", observed.unwrap_or(0.0) * 100.0),
                "from": or_absent(row.at("prob_from").share(), percent),
            })
        })
        .collect()
}
