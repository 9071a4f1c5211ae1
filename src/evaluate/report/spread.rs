//! Figures of the value section, and today's base: who holds the money, how often intervals held,
//! and the distributions that later bases are held against.

use serde_json::{Value, json};

use super::doc::{Doc, Source};
use super::figure::{Figure, Scale, Size, Words};
use super::text::{ABSENT, count, number, or_absent, percent, tick};

/// The figures of the value section.
pub(super) fn figures(source: Source<'_>) -> Value {
    let plots = source.plots().at("value");
    json!({
        "capture": capture(plots.at("capture")),
        "coverage": coverage(plots.at("coverage"), source),
    })
}

fn capture(doc: Doc<'_>) -> Option<Value> {
    let [model, perfect] = ["model", "perfect"].map(|key| doc.at(key).points());
    if model.len() < 2 {
        return None;
    }
    let words = Words::new(
        "capture",
        "Spend held by the top of the list",
        "Share of the customers across, highest prediction first; share of all spend among them \
         up.",
        "How much of all spend the customers with the highest predictions held: a perfect list \
         follows the dotted line, chance the dashed one.",
    );
    let all = model.iter().chain(&perfect).map(|point| point[1]);
    let (low, high) = all.fold((0.0_f64, 1.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    let y = Scale::round([low, high], "share of all spend", percent_whole)?;
    let x = Scale::shares("share of all customers, highest prediction first");
    let mut figure = Figure::new(words, Size::Half, x, y)?;
    figure.line("diagonal", &[[0.0, 0.0], [1.0, 1.0]]);
    for (class, points) in [("perfect", &perfect), ("model", &model)] {
        if points.iter().all(|point| (0.0..=1.0).contains(&point[0])) {
            figure.line(class, points);
        }
    }
    Some(figure.done())
}

fn percent_whole(share: f64) -> String {
    super::text::percent_plain(share)
}

fn coverage(list: Doc<'_>, source: Source<'_>) -> Option<Value> {
    let tenths: Vec<[f64; 3]> = list
        .items()
        .into_iter()
        .filter_map(|tenth| {
            let [below, above] = ["below", "above"].map(|key| tenth.at(key).share());
            let (below, above) = (below?, above?);
            (below + above <= 1.0 + 1e-9).then_some([
                below,
                above,
                tenth.at("predicted_mean").number()?,
            ])
        })
        .collect();
    let words = Words::new(
        "coverage",
        "Interval coverage by tenth of the prediction",
        "For each tenth of the customers, lowest prediction first: shares that spent less than \
         their interval, inside it, and more.",
        "A tenth should lie above each interval and a tenth below it (dashed lines); each was made \
         from other customers of the same window, so a later one is not checked.",
    );
    let names: Vec<String> = (1..=tenths.len()).map(|at| at.to_string()).collect();
    let x = Scale::slots(&names, "tenth of the customers, lowest prediction first");
    let mut figure = Figure::new(words, Size::Half, x, Scale::shares("share of the customers"))?;
    figure.key_bar("actual", 1.0, "spent more");
    figure.key_bar("predicted", 1.0, "inside");
    figure.key_bar("other", 1.0, "spent less");
    for (at, &[below, above, mean]) in tenths.iter().enumerate() {
        let place = [at as f64 + 0.12, at as f64 + 0.88];
        let hint = format!(
            "mean predicted {}: {} below, {} inside, {} above",
            super::text::money(mean, source.currency()),
            percent(below),
            percent((1.0 - below - above).max(0.0)),
            percent(above)
        );
        figure.bar("other", place, [0.0, below], &hint);
        figure.bar("predicted", place, [below, (1.0 - above).max(below)], &hint);
        figure.bar("actual", place, [1.0 - above, 1.0], &hint);
    }
    figure.level("diagonal", 0.1);
    figure.level("diagonal", 0.9);
    Some(figure.done())
}

/// Today's base: distributions of both scores, and of the weightiest features.
pub(super) fn today(source: Source<'_>) -> Option<Value> {
    let doc = source.plots().at("today");
    let customers = doc.at("customers").number();
    let features: Vec<Value> = doc.at("features").items().into_iter().map(feature).collect();
    let probs = distribution(
        doc.at("churn_prob"),
        Words::new(
            "today-churn",
            "Churn probability over the base",
            "Shares of the customers of the last day by their probability to leave.",
            "What the model in use says of the customers of the last day; a later base that looks \
             different has drifted.",
        ),
        "probability to leave",
        &percent_whole,
    );
    let unit = match source.currency() {
        "" => "predicted value".to_owned(),
        currency => format!("predicted value, {currency}"),
    };
    let values = distribution(
        doc.at("value"),
        Words::new(
            "today-value",
            "Predicted value over the base",
            "Shares of the customers of the last day by their predicted value, without the highest \
             two of a hundred.",
            "The same of the predicted value; the two of a hundred with the highest are left out, \
             so that the others can be seen.",
        ),
        &unit,
        &tick,
    );
    (probs.is_some() || values.is_some() || !features.is_empty()).then(|| {
        json!({
            "customers": or_absent(customers, count),
            "mean": or_absent(doc.at("churn_prob_mean").share(), percent),
            "probs": probs,
            "values": values,
            "features": features,
        })
    })
}

fn distribution(
    doc: Doc<'_>,
    words: Words,
    x_name: &str,
    text: &dyn Fn(f64) -> String,
) -> Option<Value> {
    let width = doc.at("width").number().filter(|width| *width > 0.0)?;
    let shares = doc.at("shares").numbers();
    let high = shares.iter().copied().fold(0.0, f64::max);
    let x = Scale::exact([0.0, width * shares.len() as f64], x_name, text)?;
    let y = Scale::round([0.0, high.min(1.0)], "share of the customers", percent_whole)?;
    let mut figure = Figure::new(words, Size::Half, x, y)?;
    for (at, share) in shares.iter().enumerate().filter(|(_, s)| (0.0..=1.0).contains(*s)) {
        let from = width * at as f64;
        let hint = format!("{} to {}: {}", text(from), text(from + width), percent(*share));
        figure.bar("predicted", [from + 0.08 * width, from + 0.92 * width], [0.0, *share], &hint);
    }
    Some(figure.done())
}

/// A feature's share of gaps and its tenth, middle and ninth tenth, from bins of equal mass.
fn feature(doc: Doc<'_>) -> Value {
    let (edges, shares) = (doc.at("edges").numbers(), doc.at("shares").numbers());
    let known: f64 = shares.iter().sum();
    let quantile = |level: f64| -> String {
        let mut sum = 0.0;
        for (at, share) in shares.iter().enumerate() {
            sum += share;
            if sum >= level * known - 1e-3 {
                return match edges.get(at) {
                    Some(edge) => number(*edge),
                    None => edges.last().map_or(ABSENT.to_owned(), |e| format!("> {}", number(*e))),
                };
            }
        }
        ABSENT.to_owned()
    };
    json!({
        "name": doc.at("name").text().unwrap_or(ABSENT),
        "missing": or_absent(doc.at("missing").share(), percent),
        "low": quantile(0.1),
        "middle": quantile(0.5),
        "high": quantile(0.9),
    })
}
