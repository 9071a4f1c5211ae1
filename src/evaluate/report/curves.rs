//! Figures of the churn section: what the probabilities can tell apart, and what they are like.

use serde_json::{Value, json};

use super::doc::{Doc, Source};
use super::figure::{Figure, Scale, Size, Words};
use super::text::{ABSENT, count, fixed, number, or_absent, percent, percent_plain, tick};

/// All that stands there.
pub(super) fn figures(source: Source<'_>) -> Value {
    let plots = source.plots().at("churn");
    let left = source.judged().and_then(|window| window.at("churn_share").share());
    json!({
        "roc": roc(plots.at("roc").points()),
        "pr": precision(plots.at("pr").points(), left),
        "gain": gain(plots.at("gain").points(), left),
        "scores": scores(plots.at("scores")),
        "tenths": tenths(plots.at("tenths"), left),
        "worst": worst(source, plots.at("worst")),
    })
}

/// Points that lie in the unit square; none where there are too few for a line.
fn in_square(points: Vec<[f64; 2]>) -> Option<Vec<[f64; 2]>> {
    let share = 0.0..=1.0;
    let inside: Vec<[f64; 2]> =
        points.into_iter().filter(|point| point.iter().all(|x| share.contains(x))).collect();
    (inside.len() > 1).then_some(inside)
}

fn roc(points: Vec<[f64; 2]>) -> Option<Value> {
    let points = in_square(points)?;
    let words = Words::new(
        "roc",
        "ROC curve",
        "Share of those who stayed across, share of those who left up, as the threshold falls; \
         guessing gives the diagonal.",
        "As more customers are taken for leavers, riskiest first, how many leavers are found for \
         how many wrong alarms: the further above the dashed line of guessing, the better.",
    );
    let x = Scale::shares("wrong alarms: share of those who stayed");
    let mut figure =
        Figure::new(words, Size::Half, x, Scale::shares("found: share of those who left"))?;
    figure.line("diagonal", &[[0.0, 0.0], [1.0, 1.0]]);
    figure.line("model", &points);
    Some(figure.done())
}

fn precision(points: Vec<[f64; 2]>, left: Option<f64>) -> Option<Value> {
    let points = in_square(points)?;
    let words = Words::new(
        "pr",
        "Precision and recall",
        "Share of the leavers found across, share of leavers among those taken up, as the \
         threshold falls.",
        "How many of those taken for leavers are ones, against how many of all leavers are found; \
         the dashed line is what guessing gives.",
    );
    let x = Scale::shares("found: share of those who left");
    let mut figure =
        Figure::new(words, Size::Half, x, Scale::shares("right: share of those taken"))?;
    if let Some(left) = left {
        figure.level("diagonal", left);
    }
    figure.line("model", &points);
    Some(figure.done())
}

fn gain(points: Vec<[f64; 2]>, left: Option<f64>) -> Option<Value> {
    let points = in_square(points)?;
    let words = Words::new(
        "gain",
        "Leavers captured by the top of the list",
        "Share of the customers across, riskiest first; share of all leavers among them up.",
        "How many of all leavers are among the riskiest customers; a perfect list follows the \
         dotted line, chance the dashed one.",
    );
    let x = Scale::shares("share of all customers, riskiest first");
    let mut figure =
        Figure::new(words, Size::Half, x, Scale::shares("share of all leavers among them"))?;
    figure.line("diagonal", &[[0.0, 0.0], [1.0, 1.0]]);
    if let Some(left) = left.filter(|left| *left > 0.0) {
        figure.line("perfect", &[[0.0, 0.0], [left, 1.0], [1.0, 1.0]]);
    }
    figure.line("model", &points);
    Some(figure.done())
}

/// How many customers have which probability, by what became of them.
fn scores(doc: Doc<'_>) -> Option<Value> {
    let [left, stayed] = ["left", "stayed"].map(|key| doc.at(key).numbers());
    let n_bins = left.len().min(stayed.len());
    let high = left.iter().zip(&stayed).map(|(a, b)| a + b).fold(0.0, f64::max);
    let words = Words::new(
        "scores",
        "Probabilities by outcome",
        "Customers by predicted probability to leave, those who left and those who stayed on top \
         of each other.",
        "How many customers got which probability, and what became of them: a good model has \
         leavers at the right and stayers at the left.",
    );
    let y = Scale::round([0.0, high], "customers", tick)?;
    let x = Scale::shares("predicted probability to leave");
    let mut figure = Figure::new(words, Size::Half, x, y)?;
    figure.key_bar("actual", 1.0, "left");
    figure.key_bar("predicted", 1.0, "stayed");
    let width = 1.0 / n_bins as f64;
    for (at, (left, stayed)) in left.iter().zip(&stayed).enumerate() {
        if *left < 0.0 || *stayed < 0.0 {
            continue;
        }
        let from = width * at as f64;
        let place = [from + 0.08 * width, from + 0.92 * width];
        let hint = format!(
            "{} to {}: {} left, {} stayed",
            percent_plain(from),
            percent_plain(from + width),
            count(*left),
            count(*stayed)
        );
        figure.bar("actual", place, [0.0, *left], &hint);
        figure.bar("predicted", place, [*left, left + stayed], &hint);
    }
    Some(figure.done())
}

/// The tenths as rows of a table.
fn tenths(list: Doc<'_>, left: Option<f64>) -> Vec<Value> {
    let rows = list.items().into_iter().enumerate();
    rows.map(|(at, row)| {
        let observed = row.at("churn_share").share();
        let lift = observed.zip(left.filter(|left| *left > 0.0)).map(|(own, all)| own / all);
        json!({
            "tenth": format!("{}", at + 1),
            "customers": or_absent(row.at("customers").number(), count),
            "predicted": or_absent(row.at("prob_mean").share(), percent),
            "observed": or_absent(observed, percent),
            "width": format!("{:.1}", observed.unwrap_or(0.0) * 100.0),
            "lift": or_absent(lift, |lift| format!("{}×", fixed(lift, 2))),
            "capture": or_absent(row.at("capture").share(), percent),
        })
    })
    .collect()
}

/// The most confident mistakes of either kind as rows of a table; none where none are told.
fn worst(source: Source<'_>, doc: Doc<'_>) -> Option<Value> {
    let [left, stayed] = ["left", "stayed"].map(|key| doc.at(key).items());
    let first = left.first().or_else(|| stayed.first())?;
    let facts = first.at("facts").items();
    let names: Vec<&str> =
        facts.iter().map(|fact| fact.at("name").text().unwrap_or(ABSENT)).collect();
    let has_spend = first.at("spend_after").number().is_some();
    let rows = |found: &[Doc<'_>], what: &str| -> Vec<Value> {
        found
            .iter()
            .map(|row| {
                let facts = row.at("facts").items().into_iter().map(|fact| fact.at("value"));
                let cells = facts.map(|value| match value.text() {
                    Some(text) => text.to_owned(),
                    None => or_absent(value.number(), number),
                });
                json!({
                    "what": what,
                    "prob": or_absent(row.at("prob").share(), percent),
                    "facts": cells.take(names.len()).collect::<Vec<_>>(),
                    "spend": has_spend.then(|| or_absent(row.at("spend_after").number(), number)),
                })
            })
            .collect()
    };
    let mut all = rows(&left, "left");
    all.extend(rows(&stayed, "stayed"));
    Some(json!({
        "names": names,
        "rows": all,
        "spend": has_spend,
        "currency": source.currency(),
    }))
}
