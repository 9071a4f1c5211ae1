//! What the models look at: importance as a table, and the effect of the weightiest features.

use serde_json::{Value, json};

use super::doc::{Doc, Source};
use super::figure::{Figure, Scale, Size, Words};
use super::text::{ABSENT, count, fixed, or_absent, tick};

/// Features in the table.
const SHOWN: usize = 15;

/// One section for churn and one for value; none where nothing was explained.
pub(super) fn section(source: Source<'_>) -> Value {
    let importance = source.metrics.at("importance");
    let of_table = source.plots();
    let churn = one(importance.at("churn"), of_table.at("churn"), "churn");
    let value = one(importance.at("value"), of_table.at("value"), "value");
    json!({
        "customers": or_absent(importance.at("customers").number(), count),
        "churn": churn,
        "value": value,
    })
}

fn one(importance: Doc<'_>, of_table: Doc<'_>, key: &str) -> Option<Value> {
    let features = features(importance.at("features"));
    let own = importance.at("effects").items();
    let is_partial = own.is_empty();
    let effects = if is_partial { of_table.at("effects").items() } else { own };
    let figures = figures(&effects, key);
    (!features.is_empty() || !figures.is_empty()).then(|| {
        json!({
            "has_cost": features.iter().any(|row| row["cost"] != json!(ABSENT)),
            "features": features,
            "figures": figures,
            // How a table's effects are made: all rows with one column set to one value.
            "partial": is_partial,
        })
    })
}

fn features(list: Doc<'_>) -> Vec<Value> {
    let rows = list.items();
    let most =
        rows.iter().filter_map(|row| row.at("contribution_mean_abs").number()).fold(0.0, f64::max);
    rows.into_iter()
        .take(SHOWN)
        .map(|row| {
            let weight = row.at("contribution_mean_abs").number();
            let share = weight.map_or(0.0, |weight| weight / most);
            let width = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
            json!({
                "name": row.at("name").text().unwrap_or(ABSENT),
                "group": row.at("group").text().unwrap_or_default().to_lowercase().replace('_', " "),
                "weight": or_absent(weight, |x| fixed(x, 3)),
                "width": format!("{:.1}", width * 100.0),
                "cost": or_absent(row.at("permutation_log_loss").number(), |x| fixed(x, 4)),
            })
        })
        .collect()
}

/// One bin of an effect.
struct Bin {
    name: String,
    customers: f64,
    mean: f64,
}

fn bins(effect: Doc<'_>) -> Vec<Bin> {
    let mut bins: Vec<Bin> = effect
        .at("bins")
        .items()
        .into_iter()
        .filter_map(|bin| {
            let name = match bin.at("level").text() {
                Some(level) => level.to_owned(),
                None => range_name(bin.at("from").number()?, bin.at("to").number()?),
            };
            let customers = bin.at("customers").number()?;
            Some(Bin { name, customers, mean: bin.at("contribution_mean").number()? })
        })
        .collect();
    let missing = effect.at("missing");
    if let (Some(customers), Some(mean)) =
        (missing.at("customers").number(), missing.at("contribution_mean").number())
    {
        bins.push(Bin { name: "missing".to_owned(), customers, mean });
    }
    bins
}

fn range_name(from: f64, to: f64) -> String {
    let [from, to] = [from, to].map(tick);
    if from == to { from } else { format!("{from} to {to}") }
}

/// Small figures of one height, so that effects can be compared.
fn figures(effects: &[Doc<'_>], key: &str) -> Vec<Value> {
    let all: Vec<(Doc<'_>, Vec<Bin>)> =
        effects.iter().map(|effect| (*effect, bins(*effect))).collect();
    let means = all.iter().flat_map(|(_, bins)| bins.iter().map(|bin| bin.mean));
    let (low, high) = means.fold((0.0_f64, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
    all.iter()
        .enumerate()
        .filter_map(|(at, (effect, bins))| {
            figure(&format!("effect-{key}-{at}"), (*effect, bins), [low, high])
        })
        .collect()
}

fn figure(id: &str, (effect, bins): (Doc<'_>, &[Bin]), range: [f64; 2]) -> Option<Value> {
    let name = effect.at("name").text().unwrap_or(ABSENT);
    let unit = effect.at("unit").text().unwrap_or_default();
    let words = Words::new(
        id,
        &format!("Effect of {name}"),
        "Mean contribution by bins of the feature, smallest values at the left.",
        &if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") },
    );
    let names: Vec<String> = bins.iter().map(|bin| bin.name.clone()).collect();
    // Of a range its beginning, of the last one its end.
    let end = |at: usize| -> String {
        let name = names[at].as_str();
        let (first, last) = name.split_once(" to ").unwrap_or((name, name));
        let text = if at + 1 == names.len() { last } else { first };
        text.chars().take(12).collect()
    };
    let places = match names.len() {
        0 => return None,
        n @ 1..=3 => (0..n).collect(),
        n => vec![0, n / 2, n - 1],
    };
    let ticks: Vec<(f64, String)> =
        places.into_iter().map(|at| (at as f64 + 0.5, end(at))).collect();
    let x = Scale::slots(&names, "").marked(ticks);
    let mut figure = Figure::new(words, Size::Small, x, Scale::round(range, "", tick)?)?;
    for (at, bin) in bins.iter().enumerate() {
        let place = [at as f64 + 0.08, at as f64 + 0.92];
        let class = if bin.mean > 0.0 { "up" } else { "down" };
        let hint = format!(
            "{}: {} on average, {} customers",
            bin.name,
            fixed(bin.mean, 2),
            count(bin.customers)
        );
        figure.bar(class, place, [0.0, bin.mean], &hint);
    }
    figure.level("axis", 0.0);
    Some(figure.done())
}
