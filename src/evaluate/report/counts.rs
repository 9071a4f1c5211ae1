//! The buy-till-you-die models: parameters with their errors, and what they say in words.

use serde_json::{Value, json};

use super::doc::Doc;
use super::text::{ABSENT, count, fixed, money, number, or_absent, percent};

/// The papers' order of the parameters; one that is not listed comes last.
const ORDER: [&str; 9] = ["r", "alpha", "a", "b", "s", "beta", "p", "q", "gamma"];
/// A standard error above this share of its estimate leaves the parameter open.
const WIDE_SHARE: f64 = 0.5;

/// The models.
pub(super) fn models(list: Doc<'_>, currency: &str) -> Vec<Value> {
    let models = list.items();
    models.into_iter().map(|model| one(model, currency)).collect()
}

fn one(model: Doc<'_>, currency: &str) -> Value {
    let id = model.at("model").text().unwrap_or(ABSENT);
    let errors = model.at("standard_errors");
    let mut params = model.at("params").entries();
    let rank = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
    params.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then(a.cmp(b)));
    let rows: Vec<Value> = params
        .iter()
        .map(|(key, estimate)| {
            let (estimate, error) = (estimate.number(), errors.at(key).number());
            let share = estimate.zip(error).and_then(|(x, error)| relative(x, error));
            json!({
                "key": key,
                "meaning": meaning(id, key),
                "estimate": or_absent(estimate, number),
                "error": or_absent(error, number),
                "relative": or_absent(share, percent),
                "wide": share.is_some_and(|share| share > WIDE_SHARE),
            })
        })
        .collect();
    let warnings: Vec<&str> =
        model.at("warnings").items().into_iter().filter_map(Doc::text).collect();
    json!({
        "name": name(id),
        "customers": or_absent(model.at("n").number(), count),
        "log_likelihood": or_absent(model.at("log_likelihood").number(), number),
        "params": rows,
        "warnings": warnings,
        "words": words(id, model.at("params"), currency),
    })
}

fn relative(estimate: f64, error: f64) -> Option<f64> {
    let share = error / estimate.abs();
    share.is_finite().then_some(share)
}

pub(super) fn name(id: &str) -> &str {
    match id {
        "bg_nbd" => "BG/NBD",
        "mbg_nbd" => "MBG/NBD",
        "pareto_nbd" => "Pareto/NBD",
        "gamma_gamma" => "Gamma-Gamma (spend)",
        other => other,
    }
}

fn meaning(model: &str, key: &str) -> &'static str {
    match (model, key) {
        ("gamma_gamma", "p") => "shape of a customer's order values",
        ("gamma_gamma", "q") => "shape of their scale over customers",
        ("gamma_gamma", "gamma") => "scale of their scale over customers",
        (_, "r") => "shape of purchase rates over customers",
        (_, "alpha") => "scale of purchase rates, weeks",
        (_, "a" | "b") => "spread of the chance to leave after a purchase",
        (_, "s") => "shape of rates of leaving over customers",
        (_, "beta") => "scale of rates of leaving, weeks",
        _ => "",
    }
}

/// Means that follow from the parameters: of the rates' gamma distribution, of the beta
/// distribution of leaving, of the order value over customers.
fn words(id: &str, params: Doc<'_>, currency: &str) -> Option<String> {
    let get = |key: &str| params.at(key).number().filter(|x| *x > 0.0);
    let known = |x: f64| x.is_finite().then_some(x);
    match id {
        "gamma_gamma" => {
            let q = get("q").filter(|q| *q > 1.0)?;
            let mean = known(get("p")? * get("gamma")? / (q - 1.0))?;
            Some(format!("mean order value over customers {}", money(mean, currency)))
        }
        "bg_nbd" | "mbg_nbd" => {
            let (a, b) = (get("a")?, get("b")?);
            let leave = known(a / (a + b))?;
            let rate = rate_words(get("r")?, get("alpha")?)?;
            Some(format!("{rate}; mean chance to leave after a purchase {}", percent(leave)))
        }
        "pareto_nbd" => {
            let yearly = known(get("s")? / get("beta")? * 365.25 / 7.0)?;
            let rate = rate_words(get("r")?, get("alpha")?)?;
            Some(format!("{rate}; mean rate of leaving {} a year", fixed(yearly, 2)))
        }
        _ => None,
    }
}

/// A mean rate, as the days between purchases of a customer who buys at it.
fn rate_words(shape: f64, scale_weeks: f64) -> Option<String> {
    let gap_days = 7.0 * scale_weeks / shape;
    gap_days.is_finite().then(|| {
        let text = if gap_days < 10.0 { fixed(gap_days, 1) } else { count(gap_days) };
        format!("at the mean rate an active customer buys every {text}\u{a0}days")
    })
}
