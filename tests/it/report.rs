//! What a training run says of itself: the numbers behind its plots, its page and its model card.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tenure::bundle::Bundle;
use tenure::config::{Layers, TrainConfig};
use tenure::scoring::self_test;
use tenure::train::{TrainOutcome, execute};

const UNTIL: &str = "1997-12-31";
const CUTOFF: &str = "1997-10-01";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join("cdnow_sample.csv.gz")
}

/// One run for all tests.
static TRAINED: LazyLock<(TempDir, TrainOutcome)> = LazyLock::new(|| {
    let models = TempDir::new().unwrap();
    let settings = [
        ("events", data().to_str().unwrap().to_owned()),
        ("until", UNTIL.to_owned()),
        ("churn_horizon_days", "91".to_owned()),
        ("clv_horizon_days", "273".to_owned()),
        ("models", models.path().to_str().unwrap().to_owned()),
        ("name", "sample".to_owned()),
    ];
    let flags = settings.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
    let config = TrainConfig::check(Layers { flags, ..Layers::default() }).unwrap();
    let outcome = execute(&config, &mut |_| {}).unwrap();
    (models, outcome)
});

fn plots() -> &'static Value {
    &TRAINED.1.metrics["plots"]
}

/// Distinct purchase days of each customer up to a day, read without the library.
fn purchase_days(until: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(data()).unwrap()).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name: &str| head.iter().position(|column| *column == name).unwrap();
    let (customer, date) = (at("customer_id"), at("date"));
    let mut days: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        if cells[date] <= until {
            days.entry(cells[customer].to_owned()).or_default().insert(cells[date].to_owned());
        }
    }
    days
}

#[test]
fn tracked_purchases_are_those_of_the_log() {
    let tracking = &plots()["rhythm"]["tracking"];
    let days = purchase_days(UNTIL);
    let base: Vec<&BTreeSet<String>> =
        days.values().filter(|days| days.first().unwrap().as_str() <= CUTOFF).collect();
    assert_eq!(tracking["customers"], base.len());
    let steps = tracking["cumulative"].as_array().unwrap();
    // 52 whole weeks from the first day: up to 1997-12-31.
    assert_eq!((steps.len(), &steps[51][0]), (52, &Value::from(52)));
    let repeats: usize = base.iter().map(|days| days.len() - 1).sum();
    assert_eq!(steps[51][2], repeats);
    // The model was fitted up to week 39 and expects that week's total within 3 %.
    let [expected, actual] = [1, 2].map(|at| steps[38][at].as_f64().unwrap());
    assert!((expected / actual - 1.0).abs() < 0.03, "{expected} {actual}");
    assert!(steps.windows(2).all(|pair| pair[0][1].as_f64() < pair[1][1].as_f64()));
}

#[test]
fn bins_hold_everybody_and_expectations_add_up() {
    let days = purchase_days(UNTIL);
    let bins = plots()["rhythm"]["repeat_counts"].as_array().unwrap();
    let sum = |key: &str| bins.iter().map(|bin| bin[key].as_f64().unwrap()).sum::<f64>();
    let customers = days.len() as f64;
    assert!((sum("actual") - customers).abs() < 1e-9);
    assert!((sum("expected") / customers - 1.0).abs() < 1e-3, "{}", sum("expected"));
    let once = days.values().filter(|days| days.len() == 1).count();
    assert_eq!(bins[0]["actual"], once);
    let seen: f64 = plots()["rhythm"]["by_frequency"]["bins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["customers"].as_f64().unwrap() * bin["actual"].as_f64().unwrap())
        .sum();
    let after: usize = days
        .values()
        .filter(|days| days.first().unwrap().as_str() <= CUTOFF)
        .map(|days| days.iter().filter(|day| day.as_str() > CUTOFF).count())
        .sum();
    assert!((seen / after as f64 - 1.0).abs() < 2e-3, "{seen} {after}");
}

#[test]
fn curves_tell_what_the_metrics_tell() {
    let metrics = &TRAINED.1.metrics;
    let champion = metrics["churn"]["champion"].as_str().unwrap();
    let candidates = metrics["churn"]["candidates"].as_array().unwrap();
    let found = candidates.iter().find(|c| c["name"] == champion).unwrap();
    let pair = |point: &Value| [0, 1].map(|at| point[at].as_f64().unwrap());
    let roc: Vec<[f64; 2]> = plots()["churn"]["roc"].as_array().unwrap().iter().map(pair).collect();
    let area: f64 = roc.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum();
    // A recalibration is a rising line: it moves no curve.
    assert!((area - found["auc"].as_f64().unwrap()).abs() < 2e-3, "{area} {found}");
    for place in ["/churn/roc", "/churn/pr", "/churn/gain", "/value/capture/model"] {
        let n = plots().pointer(place).unwrap().as_array().unwrap().len();
        assert!((20..=200).contains(&n), "{place} {n}");
    }
    let tenths = plots()["churn"]["tenths"].as_array().unwrap();
    assert_eq!(tenths.last().unwrap()["capture"], 1.0);
    let alive = plots()["rhythm"]["history"]["alive"].as_array().unwrap();
    let share = 0.0..=1.0;
    assert!(alive.iter().all(|point| share.contains(&point[1].as_f64().unwrap())));
    let text = plots().to_string();
    assert!(text.len() < 40_000, "{} bytes of plots", text.len());
}

#[test]
fn page_and_card_are_part_of_the_bundle() {
    let folder = &TRAINED.1.folder;
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(manifest.contains("model_card.md"));
    let card = fs::read_to_string(folder.join("model_card.md")).unwrap();
    assert!(card.starts_with("# Model card: sample\n") && card.contains("--until 1997-12-31"));
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    for id in ["roc", "cumulative", "by-frequency", "alive", "history", "coverage", "capture"] {
        assert!(page.contains(&format!("<title id=\"{id}-title\">")), "{id}");
    }
}

#[test]
fn a_bundle_from_before_the_card_is_read() {
    let dir = TempDir::new().unwrap();
    let from = &TRAINED.1.folder;
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(from.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_object_mut().unwrap();
    assert!(files.remove("model_card.md").is_some());
    let names: Vec<String> = files.keys().cloned().collect();
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    let digest = Sha256::digest(&bytes);
    let version: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = dir.path().join(&version);
    fs::create_dir(&folder).unwrap();
    for name in names {
        fs::copy(from.join(&name), folder.join(&name)).unwrap();
    }
    fs::write(folder.join("manifest.json"), bytes).unwrap();
    let bundle = Bundle::load(&folder).unwrap();
    assert_eq!(bundle.version, version);
    self_test(&bundle).unwrap();
}
