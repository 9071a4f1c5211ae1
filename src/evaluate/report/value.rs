//! The section on customer lifetime value: candidates, predicted against actual, intervals.

use serde_json::{Value, json};

use super::candidates::{Better, Measure, Style, find, table};
use super::doc::{Doc, Source};
use super::plot;
use super::text::{
    candidate, count, days, four_digits, money, number, or_absent, percent, percent_plain,
};

/// Rules that are shown for comparison and cannot become champion.
const REFERENCES: [&str; 1] = ["past_spend"];
/// A total further off than this before its correction is pointed out.
const TOTAL_OFF_RATIO: f64 = 1.25;
/// The columns of the table.
const MEASURES: [Measure; 5] = [
    Measure {
        key: "gini",
        head: "Gini",
        hint: "how well spend is ranked; 0 is guessing, 1 is perfect",
        better: Better::High,
        style: Style::Decimals(3),
    },
    Measure {
        key: "spearman",
        head: "Spearman",
        hint: "rank correlation of predicted and actual spend; higher is better",
        better: Better::High,
        style: Style::Decimals(3),
    },
    Measure {
        key: "rmse",
        head: "RMSE",
        hint: "root mean squared error a customer, in the currency; lower is better",
        better: Better::Low,
        style: Style::Decimals(2),
    },
    Measure {
        key: "total_ratio",
        head: "Total ratio",
        hint: "predicted over actual total, before the correction; 1 is unbiased",
        better: Better::One,
        style: Style::Decimals(3),
    },
    Measure {
        key: "top_10_capture",
        head: "Top-10\u{a0}% capture",
        hint: "share of all spend held by the tenth of the customers with the highest prediction",
        better: Better::High,
        style: Style::Percent,
    },
];

/// The section.
pub(super) fn section(source: Source<'_>) -> Value {
    let value = source.value();
    let candidates = value.at("candidates").items();
    let champion = value.at("champion").text();
    let deciles = value.at("deciles").items();
    let pairs: Vec<[f64; 2]> = deciles.iter().filter_map(|decile| pair(*decile)).collect();
    json!({
        "table": table(&candidates, champion, &REFERENCES, &MEASURES),
        "missing": missing(champion),
        "champion": champion.map(candidate),
        "basis": value.at("basis").text(),
        "judged_days": value.at("judged_horizon_days").number().map(days),
        "currency": source.currency(),
        "factor": value.at("factor").number().map(number),
        "total_off": total_off(&candidates, champion),
        "plot": plot::deciles(&pairs),
        "deciles": decile_rows(&deciles, source.currency()),
        "gap": gap_share(&deciles).map(percent),
        "coverage": coverage(value.at("interval_coverage")),
        "total": total(source),
    })
}

fn missing(champion: Option<&str>) -> &'static str {
    if champion.is_some() {
        "No candidate was judged: there is no window with known spend after a training window. \
         The model in use is unjudged."
    } else {
        "No value model: the log holds no usable amounts."
    }
}

fn pair(decile: Doc<'_>) -> Option<[f64; 2]> {
    Some([decile.at("predicted_mean").number()?, decile.at("actual_mean").number()?])
}

fn decile_rows(deciles: &[Doc<'_>], currency: &str) -> Vec<Value> {
    let rows = deciles.iter().enumerate();
    rows.map(|(idx, decile)| {
        let ratio = pair(*decile).filter(|pair| pair[1] > 0.0).map(|pair| pair[0] / pair[1]);
        json!({
            "tenth": format!("{}", idx + 1),
            "customers": or_absent(decile.at("customers").number(), count),
            "predicted": or_absent(decile.at("predicted_mean").number(), |x| money(x, currency)),
            "actual": or_absent(decile.at("actual_mean").number(), |x| money(x, currency)),
            "ratio": or_absent(ratio.filter(|ratio| ratio.is_finite()), number),
        })
    })
    .collect()
}

/// Total distance between predicted and actual means of the tenths, as a share of actual spend.
fn gap_share(deciles: &[Doc<'_>]) -> Option<f64> {
    let mut gaps = 0.0;
    let mut actual = 0.0;
    for decile in deciles {
        let n = decile.at("customers").number()?;
        let [predicted_mean, actual_mean] = pair(*decile)?;
        gaps += n * (predicted_mean - actual_mean).abs();
        actual += n * actual_mean;
    }
    let share = gaps / actual;
    (actual > 0.0 && share.is_finite()).then_some(share)
}

/// A warning where the champion's total was far off before its correction.
fn total_off(candidates: &[Doc<'_>], champion: Option<&str>) -> Option<String> {
    let ratio = find(candidates, champion?)?.at("total_ratio").number()?;
    (!(1.0 / TOTAL_OFF_RATIO..=TOTAL_OFF_RATIO).contains(&ratio)).then(|| {
        format!(
            "Before the correction the champion's total on the judged window was {} of the \
             actual one: trust its ranking more than its amounts.",
            percent(ratio)
        )
    })
}

fn coverage(doc: Doc<'_>) -> Option<Value> {
    let (found, nominal) = (doc.at("on_calibration_window").share()?, doc.at("nominal").share());
    Some(json!({
        "found": percent(found),
        "nominal": or_absent(nominal, percent_plain),
        "above": nominal.is_some_and(|nominal| found > nominal),
    }))
}

/// The predicted total of today's base and what is known about its uncertainty.
fn total(source: Source<'_>) -> Option<Value> {
    let value = source.value();
    let total = value.at("total_predicted").number()?;
    let [low, high] = ["p05", "p95"].map(|key| value.at("total_interval").at(key).number());
    let interval = low.zip(high).map(|(low, high)| {
        let currency = source.currency();
        format!("{} to {}", money(low, currency), money(high, currency))
    });
    Some(json!({
        "amount": money(four_digits(total), source.currency()),
        "days": source.value_days().map(days),
        "interval": interval,
    }))
}
