//! Figures of the purchase-rhythm section: by these the papers judge a purchase model.

use serde_json::{Value, json};

use super::counts;
use super::doc::{Doc, Source};
use super::figure::{Figure, Scale, Size, Words};
use super::text::{count, days, number, or_absent, percent, percent_plain, tick};

/// All that stands there.
pub(super) fn figures(source: Source<'_>) -> Value {
    let plots = source.plots().at("rhythm");
    let tracking = plots.at("tracking");
    let grid = plots.at("grid");
    json!({
        "model": plots.at("model").text().map(counts::name),
        "plain": plots.at("plain").flag() != Some(false),
        "cumulative": cumulative(tracking),
        "incremental": incremental(tracking),
        "repeats": repeats(plots.at("repeat_counts")),
        "by_frequency": by_frequency(plots.at("by_frequency")),
        "alive": heat(grid, "alive"),
        "purchases": heat(grid, "purchases"),
        "once": once(grid),
        "history": history(plots.at("history")),
    })
}

/// Week, expected and actual purchases up to its end.
fn steps(tracking: Doc<'_>) -> Option<Vec<[f64; 3]>> {
    let steps: Vec<[f64; 3]> = tracking
        .at("cumulative")
        .series()
        .into_iter()
        .filter_map(|step| <[f64; 3]>::try_from(step.numbers()).ok())
        .collect();
    let is_sound = steps.windows(2).all(|pair| pair[0][0] < pair[1][0]);
    (steps.len() > 3 && is_sound).then_some(steps)
}

fn two_lines(
    words: Words,
    (tracking, y_name): (Doc<'_>, &str),
    points: &[[f64; 3]],
) -> Option<Value> {
    let last = points.last()?[0];
    let low = points.iter().flat_map(|point| &point[1..]).copied().fold(0.0, f64::min);
    let high = points.iter().flat_map(|point| &point[1..]).copied().fold(0.0, f64::max);
    let y = Scale::round([low, high], y_name, tick)?;
    let x = Scale::exact([0.0, last], "weeks since the first purchase of all", tick)?;
    let mut figure = Figure::new(words, Size::Half, x, y)?;
    figure.key_line("expected", "expected");
    figure.key_line("came", "actual");
    if let Some(week) = tracking.at("cutoff_week").number().filter(|w| (0.0..=last).contains(w)) {
        figure.upright(week, if week > last / 2.0 { "judged from here" } else { "judged" });
    }
    let line = |at: usize| points.iter().map(|point| [point[0], point[at]]).collect::<Vec<_>>();
    figure.line("came", &line(2));
    figure.line("expected", &line(1));
    Some(figure.done())
}

fn cumulative(tracking: Doc<'_>) -> Option<Value> {
    let mut points = vec![[0.0; 3]];
    points.extend(steps(tracking)?);
    let words = Words::new(
        "cumulative",
        "Repeat purchases added up over time",
        "Expected and actual repeat purchases of all customers of the judged base, added up week \
         by week; a line marks where the model's data end.",
        "The model was fitted left of the upright line only: how far the lines drift apart right \
         of it is its error over the whole base.",
    );
    two_lines(words, (tracking, "repeat purchases so far"), &points)
}

fn incremental(tracking: Doc<'_>) -> Option<Value> {
    let steps = steps(tracking)?;
    let mut before = [0.0; 3];
    let points: Vec<[f64; 3]> = steps
        .into_iter()
        .map(|step| {
            let gained = [step[0], step[1] - before[1], step[2] - before[2]];
            before = step;
            gained
        })
        .collect();
    let every = tracking.at("step_weeks").number().filter(|n| *n > 1.0);
    let y_name = match every {
        Some(n) => format!("repeat purchases in {} weeks", count(n)),
        None => "repeat purchases a week".to_owned(),
    };
    let words = Words::new(
        "incremental",
        "Repeat purchases week by week",
        "The same purchases, not added up: each week's own.",
        "Seasons and campaigns show here as peaks that a purchase model without a season clock \
         does not follow.",
    );
    two_lines(words, (tracking, &y_name), &points)
}

/// The name of a bin of counts.
fn bin_name(bin: Doc<'_>) -> Option<String> {
    let from = bin.at("from").number()?;
    Some(match bin.at("to").number() {
        Some(to) if to > from => format!("{}–{}", count(from), count(to)),
        Some(_) => count(from),
        None => format!("{}+", count(from)),
    })
}

/// Bars of expected and actual numbers by bin.
fn pairs(words: Words, list: Doc<'_>, names: [&str; 2]) -> Option<Value> {
    let bins: Vec<(String, [f64; 2])> = list
        .items()
        .into_iter()
        .filter_map(|bin| {
            Some((bin_name(bin)?, [bin.at("expected").number()?, bin.at("actual").number()?]))
        })
        .collect();
    let high = bins.iter().flat_map(|(_, pair)| *pair).fold(0.0, f64::max);
    let low = bins.iter().flat_map(|(_, pair)| *pair).fold(0.0, f64::min);
    let y = Scale::round([low, high], names[1], tick)?;
    let labels: Vec<String> = bins.iter().map(|(name, _)| name.clone()).collect();
    let mut figure = Figure::new(words, Size::Half, Scale::slots(&labels, names[0]), y)?;
    figure.key_bar("predicted", 1.0, "expected");
    figure.key_bar("actual", 1.0, "actual");
    for (at, (name, [expected, actual])) in bins.iter().enumerate() {
        let middle = at as f64 + 0.5;
        let hint = format!("{name}: expected {}, actual {}", number(*expected), number(*actual));
        figure.bar("predicted", [middle - 0.38, middle - 0.01], [0.0, *expected], &hint);
        figure.bar("actual", [middle + 0.01, middle + 0.38], [0.0, *actual], &hint);
    }
    Some(figure.done())
}

fn repeats(list: Doc<'_>) -> Option<Value> {
    let words = Words::new(
        "repeats",
        "Customers by number of repeat purchases",
        "Expected and actual numbers of customers for each number of repeat purchases.",
        "How many of today's customers came back how often, beside what the model in use expects \
         of customers of their age: it was fitted on them, so this checks its shape only.",
    );
    pairs(words, list, ["repeat purchases", "customers"])
}

fn by_frequency(doc: Doc<'_>) -> Option<Value> {
    let horizon = or_absent(doc.at("horizon_days").number(), days);
    let words = Words::new(
        "by-frequency",
        "Purchases ahead by purchases behind",
        "Mean expected and mean actual purchases in the judged window, by repeat purchases before \
         it.",
        &format!(
            "What customers with so many repeat purchases behind them were expected to buy in the \
             {horizon} of the judged window, and what they did: the model had not seen it."
        ),
    );
    pairs(words, doc.at("bins"), ["repeat purchases before", "purchases a customer"])
}

/// The grid of customers by repeat purchases and silence, as shades.
fn heat(grid: Doc<'_>, key: &str) -> Option<Value> {
    let repeats = grid.at("repeats").numbers();
    let silences = grid.at("silent_days").numbers();
    let rows: Vec<Vec<Option<f64>>> = grid
        .at(key)
        .items()
        .into_iter()
        .take(repeats.len())
        .map(|row| row.items().into_iter().take(silences.len()).map(Doc::number).collect())
        .collect();
    let known = rows.iter().flatten().flatten().copied();
    let high = known.filter(|x| *x >= 0.0).fold(0.0, f64::max);
    let is_share = key == "alive";
    let most = if is_share { 1.0 } else { high };
    if !(most > 0.0 && most.is_finite()) {
        return None;
    }
    let age = or_absent(grid.at("age_days").number(), days);
    let horizon = or_absent(grid.at("horizon_days").number(), days);
    let words = if is_share {
        Words::new(
            "alive",
            "P(alive) by purchases and silence",
            "Shades of the probability of still being a customer, by days since the last purchase \
             across and repeat purchases up.",
            &format!(
                "For a customer whose first purchase was {age} ago: the stronger the colour, the \
                 likelier still a customer; many purchases and then silence speak of leaving."
            ),
        )
    } else {
        Words::new(
            "ahead",
            "Expected purchases by purchases and silence",
            "Shades of the purchases expected ahead, by days since the last purchase across and \
             repeat purchases up.",
            &format!(
                "For the same customers: the stronger the colour, the more purchases are expected \
                 within {horizon}."
            ),
        )
    };
    let names = |numbers: &[f64]| numbers.iter().map(|n| count(*n)).collect::<Vec<String>>();
    let x = Scale::slots(&names(&silences), "days since the last purchase");
    let y = Scale::slots(&names(&repeats), "repeat purchases");
    let mut figure = Figure::new(words, Size::Half, x, y)?;
    let text = |x: f64| if is_share { percent(x) } else { number(x) };
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let key = if is_share { percent_plain(share) } else { tick(share * most) };
        figure.key_bar("heat", ink(share), &key);
    }
    for (row, cells) in rows.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let Some(found) = cell.filter(|x| (0.0..=most).contains(x)) else { continue };
            let hint = format!(
                "{} repeats, silent for {}: {}",
                count(repeats[row]),
                days(silences[column]),
                text(found)
            );
            let [x, y] = [column as f64, row as f64];
            figure.cell(("heat", ink(found / most)), [x, x + 1.0], [y, y + 1.0], &hint);
        }
    }
    Some(figure.done())
}

/// Even nothing has a shade, so that it differs from what cannot be.
fn ink(share: f64) -> f64 {
    0.05 + 0.95 * share
}

fn once(grid: Doc<'_>) -> Option<String> {
    let alive = percent(grid.at("alive_once").share()?);
    let ahead = number(grid.at("purchases_once").number()?);
    let age = days(grid.at("age_days").number()?);
    let horizon = days(grid.at("horizon_days").number()?);
    Some(format!(
        "A customer who bought once, {age} ago, has P(alive) {alive} and {ahead} expected \
         purchases within {horizon}."
    ))
}

/// One customer's P(alive) through time.
fn history(doc: Doc<'_>) -> Option<Value> {
    let share = 0.0..=1.0;
    let alive: Vec<[f64; 2]> =
        doc.at("alive").points().into_iter().filter(|point| share.contains(&point[1])).collect();
    let last = alive.last()?[0];
    let words = Words::new(
        "history",
        "One customer's P(alive) over time",
        "Probability of still being a customer from the first purchase to the end of the log, with \
         strokes where the customer bought.",
        "A customer as the model in use sees them day by day: silence lowers the probability, each \
         purchase (stroke) lifts it again.",
    );
    let x = Scale::exact([0.0, last], "days since the first purchase", tick)?;
    let mut figure = Figure::new(words, Size::Wide, x, Scale::shares("P(alive)"))?;
    figure.key_line("model", "P(alive)");
    figure.key_line("bought", "purchase");
    for day in doc.at("purchase_days").numbers() {
        if (0.0..=last).contains(&day) {
            figure.stroke("bought", day);
        }
    }
    figure.line("model", &alive);
    Some(figure.done())
}
