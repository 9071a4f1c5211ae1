//! The backtest over several origins, and logs that are too poor for one, through the program.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use tenure::domain::Day;

use crate::cli::{Place, Ran, SCORE, TRAIN, run};

fn data(name: &str) -> String {
    format!("{}/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// CDNOW's sample up to the spring of 1998, four windows of a quarter and more: `metrics.json` and
/// `models.json`.
static LONG: LazyLock<(Value, Value)> = LazyLock::new(|| {
    let place = Place::new();
    let (events, models) = (data("cdnow_sample.csv.gz"), place.path("models"));
    let args = [
        &["--events", events.as_str(), "--until", "1998-03-31", "--churn-horizon-days", "91"][..],
        &["--clv-horizon-days", "273", "--models", &models, "--name", "long", "--json"],
    ];
    let said = run(TRAIN, &args.concat()).json();
    let models = Path::new(said["folder"].as_str().unwrap()).join("models.json");
    let models = serde_json::from_slice(&fs::read(models).unwrap()).unwrap();
    (said["metrics"].clone(), models)
});

fn items(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn day(value: &Value) -> Day {
    Day::parse(value.as_str().unwrap()).unwrap()
}

#[test]
fn origins_do_not_overlap_and_the_newest_is_the_judged_window() {
    let origins = items(&LONG.0["backtest"]["origins"]);
    assert!(origins.len() >= 3, "{}", origins.len());
    for pair in origins.windows(2) {
        assert!(day(&pair[0]["window_end"]) <= day(&pair[1]["cutoff"]), "{pair:?}");
    }
    let newest = origins.last().unwrap();
    let judged = items(&LONG.0["churn"]["windows"]).iter().find(|w| w["role"] == "judged").unwrap();
    assert_eq!(newest["cutoff"], judged["cutoff"]);
    assert_eq!(newest["churn"], LONG.0["churn"]["candidates"]);
    for origin in origins {
        let names: Vec<&str> =
            items(&origin["churn"]).iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"btyd"), "{names:?}");
        let learned = origin["windows_learned_from"].as_u64().unwrap() > 0;
        assert_eq!(names.contains(&"boosted"), learned, "{names:?}");
        let counts = &origin["btyd"];
        assert!(number(&counts["rmse"]) > 0.0 && number(&counts["deviance"]) > 0.0);
        assert!((0.8..=1.0).contains(&number(&counts["coverage"])), "{counts}");
    }
    // The oldest origins had no windows to learn from: the closed form stands alone there.
    assert_eq!(origins[0]["windows_learned_from"], 0);
}

#[test]
fn stacking_weights_are_weights_and_are_tried_on_later_windows() {
    let stacking = &LONG.0["backtest"]["stacking"];
    for part in ["churn", "value"] {
        let verdict = &stacking[part];
        let weights = ["btyd", "regression", "trees"].map(|m| number(&verdict["weights"][m]));
        assert!(weights.iter().all(|w| (0.0..=1.0).contains(w)), "{verdict}");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{verdict}");
        let trials = items(&verdict["trials"]);
        assert!(!trials.is_empty(), "{verdict}");
        let mean = |of: &str| trials.iter().map(|trial| number(&trial[of])).sum::<f64>();
        let is_better = mean("stacked_loss") < mean("pick_loss");
        assert_eq!(verdict["used"], Value::Bool(is_better), "{verdict}");
    }
    let used = stacking["churn"]["used"] == Value::Bool(true);
    assert_eq!(LONG.0["churn"]["champion"] == "stacked", used);
}

#[test]
fn a_champion_has_the_parts_that_its_kind_needs() {
    let (churn, value) = (&LONG.1["churn"], &LONG.1["value"]);
    for (model, linear) in [(churn, &churn["logistic"]), (value, &value["glm"])] {
        let kind = model["kind"].as_str().unwrap();
        let [needs_linear, needs_trees] = match kind {
            "stacked" => {
                let weight = |at: usize| number(&model["stack"][at]) > 0.0;
                [weight(1), weight(2)]
            }
            "blend" => [true, true],
            "logistic" | "tweedie_glm" => [true, false],
            "boosted" | "boosted_ratio" => [false, true],
            _ => [false, false],
        };
        assert_eq!(linear.is_object(), needs_linear, "{kind}");
        assert_eq!(model["forest"], Value::Bool(needs_trees), "{kind}");
    }
}

#[test]
fn the_totals_have_intervals_around_their_predictions() {
    let value = &LONG.0["clv"];
    let intervals = [
        (&value["total_interval"], number(&value["total_predicted"])),
        (
            &LONG.0["purchases_total"]["total_interval"],
            number(&LONG.0["purchases_total"]["expected"]),
        ),
    ];
    for (interval, predicted) in intervals {
        let [low, mid, high] = ["p05", "p50", "p95"].map(|level| number(&interval[level]));
        assert!(0.0 < low && low < mid && mid < high, "{interval}");
        assert!((mid / predicted - 1.0).abs() < 1e-9, "{interval}");
        assert!(number(&interval["n_effective"]) >= 2.0, "{interval}");
        // Windows of 273 days do not cover twice their length without overlap.
        assert_eq!(interval["extrapolated"], Value::Bool(true), "{interval}");
    }
    let cutoffs = items(&LONG.0["backtest"]["cutoffs"]);
    let full = cutoffs.iter().filter(|at| at["value_horizon"].is_object()).count();
    assert!(full > 0 && full < cutoffs.len(), "{full} of {}", cutoffs.len());
}

/// Trains on rows (customer, day of 2026, amount) and scores the same log.
fn train_small(rows: &[(usize, u16, f64)], until: &str, churn: &str) -> (Value, String, Ran) {
    let place = Place::new();
    let first = Day::parse("2026-01-01").unwrap();
    let mut text = "customer_id,date,amount\n".to_owned();
    for (customer, at, amount) in rows {
        text.push_str(&format!("c{customer},{},{amount}\n", first.plus(i32::from(*at))));
    }
    let events = place.file("log.csv", &text);
    let models = place.path("models");
    let args = [
        &["--events", events.as_str(), "--until", until, "--churn-horizon-days", churn][..],
        &["--clv-horizon-days", "180", "--models", &models, "--name", "small"],
        &["--assume-complete"],
    ]
    .concat();
    let said = run(TRAIN, &[args.as_slice(), &["--json"]].concat()).json();
    let again = run(TRAIN, &args);
    let out = place.path("scores.csv");
    let score = [
        &["--models", models.as_str(), "--name", "small", "--events", &events][..],
        &["--as-of", until, "--out", &out],
    ];
    run(SCORE, &score.concat()).expect(0, &[]);
    let report =
        fs::read_to_string(Path::new(said["folder"].as_str().unwrap()).join("report.html"));
    assert!(report.unwrap().contains("</html>"));
    (said, place.read("scores.csv"), again)
}

/// Grade D, the reason, an answer of the purchase models for everybody, and no interval of the
/// total without windows to take it from.
#[track_caller]
fn is_refused_and_answered((said, scores, again): &(Value, String, Ran), reason: &str) {
    assert_eq!(said["grade"], "D", "{said}");
    assert!(said["grade_reason"].as_str().unwrap().contains(reason), "{}", said["grade_reason"]);
    again.expect(0, &[]);
    assert!(again.out.contains("nothing is learned: purchase models with a weak prior only"));
    let metrics = &said["metrics"];
    assert_eq!(metrics["data"]["learned"], Value::Bool(false));
    assert_eq!(metrics["churn"]["champion"], "btyd");
    for origin in items(&metrics["backtest"]["origins"]) {
        assert_eq!(origin["windows_learned_from"], 0, "{origin}");
    }
    let lines: Vec<&str> = scores.lines().collect();
    let at = lines[0].split(',').position(|name| name == "churn_probability").unwrap();
    assert!(lines.len() > 100);
    for line in &lines[1..] {
        let prob: f64 = line.split(',').nth(at).unwrap().parse().unwrap();
        assert!((0.0..=1.0).contains(&prob), "{line}");
    }
}

#[test]
fn a_log_of_sixty_days_is_answered_by_the_purchase_models() {
    let rows: Vec<(usize, u16, f64)> = (0..1500_usize)
        .map(|n| (n / 2, u16::try_from((n * 37 + n / 7) % 60).unwrap(), 20.0 + (n % 9) as f64))
        .collect();
    let ran = train_small(&rows, "2026-03-01", "90");
    is_refused_and_answered(&ran, "days of history");
    let interval = &ran.0["metrics"]["clv"]["total_interval"];
    assert!(interval["p05"].is_null(), "{interval}");
    assert!(interval["note"].as_str().unwrap().contains("no interval"), "{interval}");
}

#[test]
fn a_log_where_everybody_buys_once_is_answered_by_the_purchase_models() {
    let rows: Vec<(usize, u16, f64)> = (0..800_usize)
        .map(|n| (n, u16::try_from(n % 60).unwrap(), 10.0 + n as f64 / 100.0))
        .collect();
    let ran = train_small(&rows, "2026-03-01", "20");
    is_refused_and_answered(&ran, "customers who stayed");
    let models = items(&ran.0["metrics"]["btyd"]);
    let warned = models.iter().any(|model| !items(&model["warnings"]).is_empty());
    assert!(warned, "nobody bought twice, and no model says so: {models:?}");
    let correction = &ran.0["metrics"]["clv"]["factor"];
    assert!(correction.is_null() || number(correction) > 0.0);
}

#[test]
fn a_log_full_of_refunds_is_trained_on_and_answered() {
    // Every third purchase is given back the day after, some twice over.
    let mut rows = Vec::new();
    for n in 0..2400_usize {
        let (customer, at) = (n % 600, u16::try_from((n * 53 + n / 11) % 200).unwrap());
        rows.push((customer, at, 30.0 + (n % 7) as f64));
        if n % 3 == 0 {
            rows.push((customer, (at + 1).min(200), if n % 9 == 0 { -70.0 } else { -30.0 }));
        }
    }
    let (said, scores, again) = train_small(&rows, "2026-07-20", "30");
    again.expect(0, &[]);
    let value = &said["metrics"]["clv"];
    assert!(number(&value["total_predicted"]) >= 0.0, "{value}");
    let header: Vec<&str> = scores.lines().next().unwrap().split(',').collect();
    let at = header.iter().position(|name| *name == "clv_mean").unwrap();
    for line in scores.lines().skip(1) {
        let mean: f64 = line.split(',').nth(at).unwrap().parse().unwrap();
        assert!(mean.is_finite() && mean >= 0.0, "{line}");
    }
}
