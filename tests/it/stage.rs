//! The first model stage from a log to a loaded bundle: the choice of the purchase-count model,
//! covariates from customers' facts, and the season clock.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tenure::bundle::Bundle;
use tenure::decision::Policy;
use tenure::domain::{AsOf, Currency, Day, Days, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules, Threshold};
use tenure::features::CovariateSource;
use tenure::history::History;
use tenure::model::btyd::Prior;
use tenure::scoring::self_test;
use tenure::train::{Extras, TrainOutcome, TrainSpec, run};

const UNTIL: &str = "2025-12-31";

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn train_spec(until: &str, churn: i64) -> TrainSpec {
    TrainSpec {
        name: "stage".to_owned(),
        until: day(until),
        zone: Zone::UTC,
        churn: Days::try_new(churn).unwrap(),
        value: Days::try_new(2 * churn).unwrap(),
        prior: Prior::default(),
        seed: 42,
        threads: 1,
        allow_small: false,
        assume_complete: true,
        covariates: Vec::new(),
        season_clock: false,
        currency: Currency::try_new("EUR").unwrap(),
        policy: Policy::default_text().to_owned(),
        extras: Extras::default(),
    }
}

fn log_spec(events: &Path, profiles: Option<&Path>, until: &str) -> LogSpec {
    LogSpec {
        events: vec![events.to_owned()],
        profiles: profiles.map(Path::to_owned),
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: AsOf::end_of(day(until), &Zone::UTC),
    }
}

fn train(spec: &TrainSpec, log: &LogSpec, models: &Path) -> TrainOutcome {
    run(spec, log, &Threshold::default(), models, &mut |_| {}).unwrap()
}

/// A year and a half of a shop: customers from friends buy thrice as often as those from search,
/// and everybody twice as often from mid-November on. Written as a log and a table of facts.
fn shop(dir: &Path) -> LogSpec {
    let mut state = 1_u64;
    let mut unit = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 33).unwrap()) / 2_147_483_648.0
    };
    let (mut events, mut facts) =
        ("customer_id,date,amount\n".to_owned(), "customer_id,acquisition_channel\n".to_owned());
    let start = day("2024-07-01");
    let n_days = day(UNTIL).days_since(start);
    for customer in 0..900 {
        let is_friend = customer % 3 == 0;
        let channel = if is_friend { "friend" } else { "search" };
        writeln!(facts, "c{customer},{channel}").unwrap();
        let rate = if is_friend { 0.06 } else { 0.02 } * (0.4 + 1.2 * unit());
        let first = customer % 300;
        for offset in first..=n_days {
            let date = start.plus(offset);
            let text = date.to_string();
            let season = if text[5..] >= *"11-15" { 2.0 } else { 1.0 };
            if offset == first || unit() < rate * season {
                writeln!(events, "c{customer},{text},{}", 10 + customer % 7).unwrap();
                // Some leave for good.
                if unit() < 0.04 {
                    break;
                }
            }
        }
    }
    let (log, table) = (dir.join("events.csv"), dir.join("facts.csv"));
    fs::write(&log, events).unwrap();
    fs::write(&table, facts).unwrap();
    log_spec(&log, Some(&table), UNTIL)
}

fn history_of(log: &Log, customer: &str) -> History {
    let mut history = History::default();
    let found = log.customers.iter().find(|held| held.customer.as_str() == customer).unwrap();
    for event in &found.events {
        history.apply(event);
    }
    history
}

fn expected_purchases(bundle: &Bundle, history: &History) -> f64 {
    let mut row = Vec::new();
    bundle.predictor().unwrap().row(history, AsOf::end_of(day(UNTIL), &Zone::UTC), &mut row);
    bundle.predictor().unwrap().score(&row, 0.0).expected_purchases.unwrap()
}

#[test]
fn covariates_and_a_season_clock_go_from_the_log_to_the_score() {
    let dir = TempDir::new().unwrap();
    let log_spec = shop(dir.path());
    let models = dir.path().join("models");
    let plain = train(&train_spec(UNTIL, 60), &log_spec, &models);
    let spec = TrainSpec {
        covariates: vec![CovariateSource::parse("acquisition_channel").unwrap()],
        season_clock: true,
        ..train_spec(UNTIL, 60)
    };
    let both = train(&spec, &log_spec, &models);
    assert_ne!(plain.version, both.version);
    assert_eq!(plain.metrics["btyd_covariates"], Value::Null);
    assert_eq!(plain.metrics["season_clock"], Value::Null);

    // The commonest channel is the reference; friends buy about thrice as often.
    let covariates = &both.metrics["btyd_covariates"];
    let friend = &covariates["columns"][0];
    assert_eq!(friend["name"], "acquisition_channel=friend");
    let (rate, error) =
        (friend["rate"].as_f64().unwrap(), friend["rate_standard_error"].as_f64().unwrap());
    assert!((rate - 3.0_f64.ln()).abs() < 4.0 * error && error < 0.15, "{rate} +- {error}");
    let gain = covariates["log_likelihood"].as_f64().unwrap()
        - covariates["log_likelihood_plain"].as_f64().unwrap();
    assert!(gain > 50.0, "{gain}");
    let clock = &both.metrics["season_clock"];
    let ratio = clock["fastest"].as_f64().unwrap() / clock["slowest"].as_f64().unwrap();
    assert!(ratio > 1.6, "{clock}");

    // What was loaded scores as what was trained, and facts count.
    let bundle = Bundle::load(&both.folder).unwrap();
    self_test(&bundle).unwrap();
    let stage = &bundle.predictor().unwrap().fitted().stage;
    assert!(stage.clock.is_some() && stage.covariates.is_some());
    let log = Log::read(&log_spec, &mut |_| {}).unwrap();
    let mut ratios = Vec::new();
    for customer in ["c3", "c33", "c303"] {
        let friend = history_of(&log, customer);
        let mut stranger = History::default();
        let held = log.customers.iter().find(|held| held.customer.as_str() == customer).unwrap();
        for event in &held.events {
            if matches!(event.kind, tenure::events::EventKind::Purchase(_)) {
                stranger.apply(event);
            }
        }
        ratios.push(expected_purchases(&bundle, &friend) / expected_purchases(&bundle, &stranger));
    }
    // A friend who was silent for long is rather gone than a stranger; a busy one will buy more.
    assert!(ratios.iter().all(|ratio| ratio.is_finite() && *ratio > 0.0), "{ratios:?}");
    assert!(ratios.iter().any(|ratio| *ratio > 1.02), "{ratios:?}");
    assert!(ratios.iter().any(|ratio| *ratio < 0.98), "{ratios:?}");
}

/// CDNOW's buyers are not regular: the published analyses with BTYDplus stay at k = 1, too.
#[test]
fn cdnow_has_no_regular_variant() {
    let dir = TempDir::new().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cdnow_sample.csv.gz");
    let spec = train_spec("1997-09-30", 91);
    let outcome = train(&spec, &log_spec(&data, None, "1997-09-30"), dir.path());
    let choice = &outcome.metrics["btyd_choice"];
    assert_eq!(choice["candidates"].as_array().unwrap().len(), 2, "{choice}");
    let chosen = choice["model"].as_str().unwrap();
    assert!(["bg_nbd", "mbg_nbd"].contains(&chosen), "{choice}");
}
