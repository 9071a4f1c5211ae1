//! What training says where a log holds little or nothing: refusal, no signal, parts of the base.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tenure::bundle::Bundle;
use tenure::config::{Layers, TrainConfig};
use tenure::evaluate::SplitMix64;
use tenure::train::{TrainOutcome, execute};

/// Trains on a log of lines `customer,day,amount[,channel]`.
fn train(log: &str, settings: &[(&str, &str)]) -> Result<(TempDir, TrainOutcome), (u8, String)> {
    let dir = TempDir::new().unwrap();
    let (events, models) = (dir.path().join("log.csv"), dir.path().join("models"));
    fs::write(&events, log).unwrap();
    let fixed = [
        ("events", events.to_str().unwrap()),
        ("models", models.to_str().unwrap()),
        ("name", "shop"),
    ];
    let pairs = fixed.iter().chain(settings);
    let flags = pairs.map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    let config = TrainConfig::check(Layers { flags, ..Layers::default() })
        .map_err(|error| (64, error.to_string()))?;
    let outcome = execute(&config, &mut |_| {});
    outcome.map(|found| (dir, found)).map_err(|error| (error.exit_code(), error.to_string()))
}

/// Days from 2025-01-01 on as a date.
fn date(day: u32) -> String {
    let month_days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let (mut day, mut month) = (day, 1);
    for length in month_days {
        if day < length {
            break;
        }
        (day, month) = (day - length, month + 1);
    }
    format!("2025-{month:02}-{:02}", day + 1)
}

/// Customers who buy on any day with the same chance, for ever: the past tells nothing.
fn pure_chance(n: u32, days: u32, chance: f64, seed: u64) -> String {
    let mut random = SplitMix64::new(seed);
    let mut log = "customer,date,amount\n".to_owned();
    for customer in 0..n {
        for day in 0..days {
            if random.unit() < chance {
                let amount = 10.0 + 20.0 * random.unit();
                writeln!(log, "c{customer},{},{amount:.2}", date(day)).unwrap();
            }
        }
    }
    log
}

#[test]
fn three_days_of_history_are_refused_with_all_that_was_found() {
    let log = pure_chance(900, 3, 0.6, 1);
    let settings = [("until", "2025-01-03"), ("churn_horizon_days", "30")];
    let (code, message) = train(&log, &settings).unwrap_err();
    assert_eq!(code, 65, "{message}");
    for part in [
        "covers 3 days",
        "days of history: 3 found, 60 needed: TOO FEW",
        "customers who bought: ",
        "take a longer log",
        "--allow-small",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    let (_dir, outcome) =
        train(&log, &[&settings[..], &[("allow_small", "true")]].concat()).unwrap();
    assert_eq!(outcome.grade.letter, "D");
    let warnings = outcome.metrics["data"]["warnings"].to_string();
    assert!(warnings.contains("shorter than three mean gaps"), "{warnings}");
}

#[test]
fn a_log_of_pure_chance_gives_no_signal_and_the_base_rate() {
    let log = pure_chance(900, 240, 0.02, 2);
    let settings = [("until", "2025-08-28"), ("churn_horizon_days", "60"), ("search", "off")];
    let (_dir, outcome) = train(&log, &settings).unwrap();
    let churn = &outcome.metrics["churn"];
    assert_eq!(churn["signal"], false, "{}", churn["candidates"]);
    assert_eq!(churn["champion"], "base_rate");
    assert_eq!(outcome.grade.letter, "C");
    assert!(outcome.grade.reason.contains("no usable signal"), "{}", outcome.grade.reason);
    let bundle = Bundle::load(&outcome.folder).unwrap();
    let probs: Vec<f64> =
        bundle.examples().iter().map(|example| example.churn_prob.unwrap()).collect();
    assert!(probs.iter().all(|p| p.to_bits() == probs[0].to_bits()), "{probs:?}");
    // 60 days without a purchase at 2 % a day.
    assert!((probs[0] - 0.98_f64.powi(60)).abs() < 0.04, "{}", probs[0]);
}

/// Customers of two places of sale: those of the web buy often and stay, those of the shop leave.
fn two_channels() -> String {
    let mut random = SplitMix64::new(3);
    let mut log = "customer,date,amount,channel\n".to_owned();
    for customer in 0..1_200_u32 {
        let (channel, chance, leave) =
            if customer % 3 == 0 { ("shop", 0.03, 0.008) } else { ("web", 0.05, 0.001) };
        for day in customer % 50..300 {
            if random.unit() < leave {
                break;
            }
            if day == customer % 50 || random.unit() < chance {
                writeln!(log, "c{customer},{},{:.2},{channel}", date(day), 5.0 + random.unit())
                    .unwrap();
            }
        }
    }
    log
}

#[test]
fn parts_of_the_base_rules_and_settings_are_accounted_for() {
    let settings =
        [("until", "2025-10-27"), ("churn_horizon_days", "30"), ("channel_column", "channel")];
    let (_dir, outcome) = train(&two_channels(), &settings).unwrap();
    let churn = &outcome.metrics["churn"];
    let groups: Vec<(&str, &str)> = churn["subgroups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| (part["by"].as_str().unwrap(), part["group"].as_str().unwrap()))
        .collect();
    for wanted in [("buyers", "bought again"), ("spend", "highest fifth"), ("sales channel", "web")]
    {
        assert!(groups.contains(&wanted), "{wanted:?} is not in {groups:?}");
    }
    let share = |group: &str| {
        let parts = churn["subgroups"].as_array().unwrap();
        parts.iter().find(|part| part["group"] == group).unwrap()["churn_share"].as_f64().unwrap()
    };
    assert!(share("shop") > share("web") + 0.1);
    let gains = churn["comparison"]["gains"].as_array().unwrap();
    let against: Vec<&Value> = gains.iter().map(|gain| &gain["against"]).collect();
    assert_eq!(against, ["base_rate", "recency_rule", "own_gap_rule"]);
    assert!(gains[0]["log_loss"]["low"].as_f64().unwrap() > 0.0);
    let search = &churn["search"];
    let tried = search["tried"].as_array().unwrap();
    assert!((6..=9).contains(&tried.len()), "{search}");
    assert!(tried.iter().all(|one| one["log_loss"].as_f64().is_some()), "{search}");
    let (early, late) = (&search["inner"]["training_cutoffs"], &search["inner"]["judged_cutoffs"]);
    assert!(early.as_array().unwrap().last().unwrap().as_str() < late[0].as_str());
    let logistic = churn["candidates"].as_array().unwrap().iter().find(|c| c["name"] == "logistic");
    assert!(logistic.unwrap()["calibration_slope"].as_f64().unwrap() > 0.5);
    assert!(churn["candidates"][0]["calibration_slope"].is_null(), "the base rate has no slope");
    let text = tenure::train::to_text(&outcome);
    assert!(text.contains("against base_rate: log loss lower by"), "{text}");
}
