//! Table mode from the file to the wire: types, splits, the guard, labels, scores.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use tenure::batch;
use tenure::bundle::Bundle;
use tenure::config::{Layers, OpsConfig, OpsTask, ScoreConfig, TrainConfig};
use tenure::domain::{AsOf, CustomerId, Timestamp};
use tenure::evaluate::SplitMix64;
use tenure::events::{RawValue, ReadSpec, Rules, Table};
use tenure::scoring::{Engine, TableQuestion, self_test};
use tenure::train::{TrainOutcome, execute};

/// Of an installation of its own.
const SALT: &str = "0123456789abcdef";

pub(crate) type Settings<'s> = &'s [(&'s str, &'s str)];

pub(crate) fn layers(settings: Settings<'_>) -> Layers {
    let pairs = settings.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    Layers { flags: pairs.collect(), ..Layers::default() }
}

/// Trains on a table in a directory; the model is called `demo`.
fn train(dir: &Path, file: &str, settings: Settings<'_>) -> Result<TrainOutcome, (u8, String)> {
    let (table, models) = (dir.join(file), dir.join("models"));
    let fixed = [
        ("table", table.to_str().unwrap()),
        ("models", models.to_str().unwrap()),
        ("name", "demo"),
    ];
    // Settings of the test win.
    let all: Vec<(&str, &str)> = fixed.iter().chain(settings).copied().collect();
    let config = TrainConfig::check(layers(&all)).map_err(|error| (64, error.to_string()))?;
    execute(&config, &mut |_| {}).map_err(|error| (error.exit_code(), error.to_string()))
}

/// Scores a table; gives the rows of the file as objects.
pub(crate) fn score(
    dir: &Path,
    file: &str,
    settings: Settings<'_>,
) -> Result<(Vec<serde_json::Value>, Vec<String>), (u8, String)> {
    // Tests share the folder of the model: each call writes to a place of its own.
    let place = tempfile::tempdir().unwrap();
    let (table, models) = (dir.join(file), dir.join("models"));
    let out = place.path().join("scores.jsonl");
    let fixed = [
        ("table", table.to_str().unwrap()),
        ("models", models.to_str().unwrap()),
        ("name", "demo"),
        ("out", out.to_str().unwrap()),
        ("as_of", "2026-06-01"),
    ];
    let all: Vec<(&str, &str)> = fixed.iter().chain(settings).copied().collect();
    let config = ScoreConfig::check(layers(&all)).map_err(|error| (64, error.to_string()))?;
    let summary = batch::score(&config, &mut |_| {})
        .map_err(|error| (error.exit_code(), error.to_string()))?;
    let text = fs::read_to_string(&out).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Ok((rows, summary.notes))
}

/// A table of a made-up business: risk falls with tenure and rises with tickets; the value that
/// followed grows with the plan and is nothing for those who left.
pub(crate) fn business(n: usize, seed: u64) -> String {
    let mut random = SplitMix64::new(seed);
    let mut text = "client,month,plan,tenure_days,tickets,spend,email_ok,signup,region,empty,\
                    same,left,next_value\n"
        .to_owned();
    for row in 0..n {
        let plan = ["basic", "plus", "pro"][random.below(3)];
        let tenure = random.below(1_500);
        let tickets = random.below(6);
        let level = match plan {
            "basic" => 20.0,
            "plus" => 50.0,
            _ => 120.0,
        };
        let spend = level * (0.5 + random.unit());
        let z = 0.4 - tenure as f64 / 500.0 + 0.5 * tickets as f64 - level / 100.0;
        let left = random.unit() < 1.0 / (1.0 + (-z).exp());
        let value = if left { 0.0 } else { 12.0 * spend * (0.5 + random.unit()) };
        let spend = if row % 17 == 0 { "n/a".to_owned() } else { format!("{spend:.2}") };
        let region = if row % 90 == 0 { "Hiiumaa" } else { ["north", "south"][row % 2] };
        let (month, signup) = (1 + row % 12, 1 + row % 28);
        writeln!(
            text,
            "c{},2025-{month:02}-01,{plan},{tenure},{tickets},{spend},{},2024-05-{signup:02},\
             {region},,x,{},{value:.2}",
            row / 2,
            ["yes", "no"][random.below(2)],
            if left { "Yes" } else { "No" },
        )
        .unwrap();
    }
    text
}

const BOTH: Settings<'static> = &[
    ("label", "left"),
    ("positive", "Yes"),
    ("value_label", "next_value"),
    ("value_horizon_days", "180"),
    ("churn_horizon_days", "60"),
    ("currency", "EUR"),
    ("id", "client"),
    ("map", "tenure_days=tenure_days\nhas_email=email_ok\nopen_tickets=tickets"),
    ("ignore", "month"),
];

fn place(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A bundle of both labels, trained once.
pub(crate) static TRAINED: LazyLock<(TempDir, TrainOutcome)> = LazyLock::new(|| {
    let dir = place(&[("business.csv", &business(3_000, 5))]);
    let outcome = train(dir.path(), "business.csv", BOTH).unwrap();
    (dir, outcome)
});

#[test]
fn types_are_told_and_columns_that_say_nothing_are_left_out_with_a_reason() {
    let metrics = &TRAINED.1.metrics;
    let columns = metrics["table"]["columns"].as_array().unwrap();
    let named: Vec<String> = columns
        .iter()
        .map(|column| format!("{}:{}", column["name"], column["type"]).replace('"', ""))
        .collect();
    let wanted = [
        "plan:categorical",
        "tenure_days:numeric",
        "tickets:numeric",
        "spend:numeric",
        "email_ok:boolean",
        "region:categorical",
    ];
    assert_eq!(named, wanted);
    assert_eq!(columns[3]["missing"], 177);
    assert_eq!(metrics["data"]["missing_texts"]["n/a"], 177);
    let ignored = metrics["table"]["ignored"].as_array().unwrap();
    for (name, part) in [
        ("client", "customer id"),
        ("month", "as asked"),
        ("signup", "a date is no feature"),
        ("empty", "no row has a value"),
        ("same", "constant"),
        ("left", "churn label"),
        ("next_value", "value label"),
    ] {
        let reason = ignored.iter().find(|entry| entry["name"] == name).unwrap();
        assert!(reason["reason"].as_str().unwrap().contains(part), "{reason}");
    }
    let text = tenure::train::to_text(&TRAINED.1);
    for part in ["plan", "categorical  3 levels", "177 missing", "Left out", "Taken as missing"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn both_labels_give_both_models_and_a_bundle_of_its_own_kind() {
    let (dir, outcome) = &*TRAINED;
    let metrics = &outcome.metrics;
    assert_eq!(outcome.grade.letter, "B", "{:?}", outcome.grade);
    assert!(outcome.promoted);
    let find = |part: &str| {
        let part = &metrics[part];
        let all = part["candidates"].as_array().unwrap();
        all.iter().find(|entry| entry["name"] == part["champion"]).unwrap().clone()
    };
    let (churn, clv) = (find("churn"), find("clv"));
    assert!(churn["auc"].as_f64().unwrap() > 0.75 && churn["ece"].as_f64().unwrap() < 0.04);
    assert!(clv["gini"].as_f64().unwrap() > 0.4, "{clv}");
    let covered = metrics["clv"]["interval_coverage"]["out_of_fold"].as_f64().unwrap();
    assert!((0.75..0.95).contains(&covered), "{covered}");
    let names: Vec<&str> = metrics["churn"]["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["base_rate", "logistic", "boosted", "blend", "column_rule"]);
    let manifest = fs::read_to_string(outcome.folder.join("manifest.json")).unwrap();
    assert!(manifest.contains("\"kind\": \"table\""));
    let bundle = Bundle::load(&outcome.folder).unwrap();
    assert_eq!((bundle.manifest.churn_horizon_days, bundle.manifest.clv_horizon_days), (60, 180));
    assert_eq!(bundle.n_examples(), 16);
    self_test(&bundle).unwrap();
    let report = fs::read_to_string(outcome.folder.join("report.html")).unwrap();
    assert!(report.contains("next_value") && !report.contains("P(alive)"));
    assert!(!report.contains("days since the last order"));
    let (rows, _) = score(dir.path(), "business.csv", &[]).unwrap();
    assert_eq!(rows.len(), 3_000);
    let expected: f64 = rows.iter().map(|row| row["clv_mean"].as_f64().unwrap()).sum();
    let table =
        Table::read(&dir.path().join("business.csv"), &ReadSpec::default(), &Rules::default());
    let table = table.unwrap();
    let actual: f64 = table
        .column(table.position("next_value").unwrap())
        .map(|cell| if let RawValue::Number(x) = cell { x } else { cell_number(&cell) })
        .sum();
    assert!((expected / actual - 1.0).abs() < 0.05, "{expected} {actual}");
    for row in &rows {
        assert_eq!(
            (row["currency"].as_str(), row["clv_basis"].as_str()),
            (Some("EUR"), Some("value_label"))
        );
        assert!(row["clv_p10"].as_f64() <= row["clv_p90"].as_f64());
        assert_eq!(row["churn_horizon_days"], 60);
        assert!(row["r"].is_null() && row["expected_purchases"].is_null());
    }
    assert_eq!(rows[5]["customer_id"], "c2");
}

fn cell_number(cell: &RawValue<'_>) -> f64 {
    match cell {
        RawValue::Text(text) => text.parse().unwrap(),
        _ => 0.0,
    }
}

#[test]
fn the_same_table_gives_the_same_bytes_on_any_number_of_threads() {
    let (dir, outcome) = &*TRAINED;
    for threads in ["1", "2"] {
        let other = place(&[]);
        fs::copy(dir.path().join("business.csv"), other.path().join("renamed.csv")).unwrap();
        let settings = [BOTH, &[("threads", threads)]].concat();
        let again = train(other.path(), "renamed.csv", &settings).unwrap();
        assert_eq!(again.version, outcome.version);
        for entry in fs::read_dir(&outcome.folder).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "run.json" {
                let read = |folder: &PathBuf| fs::read(folder.join(&name)).unwrap();
                assert!(read(&outcome.folder) == read(&again.folder), "{name:?}");
            }
        }
    }
    let other = place(&[("business.csv", &business(3_000, 5))]);
    let settings = [BOTH, &[("seed", "7")]].concat();
    assert_ne!(train(other.path(), "business.csv", &settings).unwrap().version, outcome.version);
}

#[test]
fn a_label_under_another_name_stops_training_and_is_named() {
    let text = business(1_000, 8);
    for (yes, no) in [("1", "0"), ("gone", "here"), ("", "here"), ("2024-01-01", "")] {
        let leaked: String = text
            .lines()
            .enumerate()
            .map(|(idx, line)| match idx {
                0 => format!("{line},status\n"),
                _ if line.contains(",Yes,") => format!("{line},{yes}\n"),
                _ => format!("{line},{no}\n"),
            })
            .collect();
        let dir = place(&[("leak.csv", &leaked)]);
        let settings = [("label", "left"), ("positive", "Yes"), ("ignore", "next_value")];
        let found = train(dir.path(), "leak.csv", &settings);
        if yes.starts_with("2024") {
            // A date is no feature, so it cannot leak.
            assert!(found.is_ok(), "{found:?}");
            continue;
        }
        let (code, message) = found.unwrap_err();
        assert_eq!(code, 65);
        assert!(message.contains("\"status\"") && message.contains("--allow-leak"), "{message}");
        assert!(!message.contains("tickets"), "{message}");
        assert!(!dir.path().join("models").join("demo").try_exists().unwrap());
    }
    // The value that follows tells who left, as those who left spend nothing.
    let dir = place(&[("business.csv", &text)]);
    let settings = [("label", "left"), ("positive", "Yes")];
    let (_, message) = train(dir.path(), "business.csv", &settings).unwrap_err();
    assert!(message.contains("\"next_value\""), "{message}");
    let allowed = [settings.as_slice(), &[("allow_leak", "next_value")]].concat();
    assert!(train(dir.path(), "business.csv", &allowed).is_ok());
}

#[test]
fn a_shuffled_label_gives_no_signal_and_the_base_rate() {
    let mut random = SplitMix64::new(11);
    let shuffled: String = business(2_000, 9)
        .lines()
        .enumerate()
        .map(|(idx, line)| match (idx, random.below(10)) {
            (0, _) => format!("{line},mark\n"),
            (_, 0..3) => format!("{line},1\n"),
            _ => format!("{line},0\n"),
        })
        .collect();
    let dir = place(&[("shuffled.csv", &shuffled)]);
    let settings = [("label", "mark"), ("ignore", "left\nnext_value"), ("id", "client")];
    let outcome = train(dir.path(), "shuffled.csv", &settings).unwrap();
    let churn = &outcome.metrics["churn"];
    assert_eq!(
        (churn["signal"].as_bool(), churn["champion"].as_str()),
        (Some(false), Some("base_rate"))
    );
    assert_eq!(outcome.grade.letter, "C");
    assert!(outcome.grade.reason.contains("no usable signal"));
    let (rows, _) = score(dir.path(), "shuffled.csv", &[]).unwrap();
    let probs: Vec<f64> = rows.iter().map(|r| r["churn_probability"].as_f64().unwrap()).collect();
    assert!(probs.iter().all(|p| p.to_bits() == probs[0].to_bits()));
    assert!((probs[0] - 0.3).abs() < 0.03);
    assert!(rows[0]["clv_mean"].is_null(), "absent, never 0");
    assert!(rows[0]["churn_horizon_days"].is_null(), "the label names none");
}

#[test]
fn too_little_is_refused_and_bad_settings_say_what_is_meant() {
    let dir = place(&[("small.csv", &business(300, 3)), ("business.csv", &business(1_000, 3))]);
    let churn = [("label", "left"), ("positive", "Yes"), ("ignore", "next_value")];
    let (code, message) = train(dir.path(), "small.csv", &churn).unwrap_err();
    assert_eq!(code, 65);
    assert!(message.contains("300 found, 500 needed") && message.contains("--allow-small"));
    let small = [churn.as_slice(), &[("allow_small", "true")]].concat();
    assert_eq!(train(dir.path(), "small.csv", &small).unwrap().grade.letter, "D");
    for (settings, parts) in [
        (vec![("label", "lefft")], vec!["\"lefft\"", "did you mean \"left\""]),
        (vec![("label", "plan"), ("positive", "gold")], vec!["\"gold\" is not among", "basic"]),
        (vec![("label", "plan")], vec!["--positive"]),
        (vec![("label", "left"), ("map", "persna=plan")], vec!["did you mean \"persona\""]),
        (vec![("label", "left"), ("map", "churn_p=plan")], vec!["worked out"]),
        (vec![("label", "left"), ("type", "plan=colour")], vec!["categorical"]),
        (vec![("label", "left"), ("cost_columns", "fp=3")], vec!["fn="]),
        (vec![("value_label", "next_value")], vec!["currency"]),
        (vec![], vec!["--label"]),
        (
            vec![("label", "left"), ("type", "plan=numeric"), ("ignore", "next_value")],
            vec!["row 2", "\"plan\"", "no number"],
        ),
        (
            vec![("label", "left"), ("map", "orders=plan"), ("ignore", "next_value")],
            vec!["\"plan\"", "orders"],
        ),
    ] {
        let (_, message) = train(dir.path(), "business.csv", &settings).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}

#[test]
fn a_time_column_judges_later_rows() {
    let dir = place(&[("business.csv", &business(3_000, 21))]);
    let settings = [
        ("label", "left"),
        ("positive", "Yes"),
        ("ignore", "next_value"),
        ("id", "client"),
        ("time_column", "month"),
    ];
    let outcome = train(dir.path(), "business.csv", &settings).unwrap();
    assert_eq!(outcome.grade.letter, "A", "{:?}", outcome.grade);
    let metrics = &outcome.metrics;
    assert_eq!(metrics["table"]["judged_on"], "later rows");
    assert_eq!(metrics["churn"]["judged"]["rows"], 750);
    assert_eq!(metrics["data"]["last"].as_str().map(|t| &t[..10]), Some("2025-12-01"));
    let manifest = &Bundle::load(&outcome.folder).unwrap().manifest;
    assert_eq!((&*manifest.data_first, &*manifest.data_until), ("2025-01-01", "2025-12-01"));
}

#[test]
fn costs_of_each_row_choose_whom_to_act_on() {
    let dir = place(&[("business.csv", &business(3_000, 5))]);
    let settings = [
        ("label", "left"),
        ("positive", "Yes"),
        ("ignore", "next_value"),
        ("cost_columns", "fp=20,fn=spend,tp=20"),
    ];
    let (_, message) = train(dir.path(), "business.csv", &settings).unwrap_err();
    assert!(message.contains("\"spend\": nothing is no cost"), "{message}");
    let settings = [&settings[..3], &[("cost_columns", "fp=50,fn=100,tp=50")]].concat();
    let outcome = train(dir.path(), "business.csv", &settings).unwrap();
    let costs = &outcome.metrics["churn"]["costs"];
    let number = |path: &str| costs.pointer(path).and_then(serde_json::Value::as_f64).unwrap();
    assert!((number("/act_on_all") - 150_000.0).abs() < 1e-6);
    assert!(number("/by_row/cost") < 0.9 * number("/act_on_none").min(number("/act_on_all")));
    assert!((0.4..0.6).contains(&number("/by_threshold/threshold")), "{costs}");
    assert!(number("/by_threshold/cost") <= number("/by_row/cost") + 1e-6);
    assert!(tenure::train::to_text(&outcome).contains("acting on none"));
}

#[test]
fn a_table_that_lacks_a_column_or_holds_nonsense_is_refused_by_name() {
    let (dir, _) = &*TRAINED;
    let good = "client,plan,tenure_days,tickets,spend,email_ok,region,extra\n";
    let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
    write("short.csv", "client,plan,tenure_days,tickets,email_ok\na,pro,3,1,yes\n".to_owned());
    let (code, message) = score(dir.path(), "short.csv", &[]).unwrap_err();
    assert_eq!(code, 65);
    assert!(message.contains("\"spend\" (numeric), \"region\" (categorical)"), "{message}");
    write(
        "nonsense.csv",
        format!("{good}a,pro,3,1,9.5,yes,north,\nb,pro,many,1,9.5,sure,north,\n"),
    );
    let (code, message) = score(dir.path(), "nonsense.csv", &[]).unwrap_err();
    assert_eq!(code, 65);
    for part in ["row 3", "\"tenure_days\": \"many\"", "\"email_ok\": \"sure\""] {
        assert!(message.contains(part), "{part} in {message}");
    }
    write("new.csv", format!("{good}a,gold,3,1,,yes,east,1\nb,,3,1,9.5,,north,2\n"));
    let (rows, notes) = score(dir.path(), "new.csv", &[]).unwrap();
    assert_eq!(rows.len(), 2);
    let notes = notes.join("\n");
    for part in ["\"plan\": 1 rows", "\"region\": 1 rows", "columns not looked at: extra"] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
    let log = [("table", ""), ("events", "data/cdnow_sample.csv.gz")];
    let (code, message) = score(dir.path(), "new.csv", &log).unwrap_err();
    assert_eq!(code, 65);
    assert!(message.contains("trained on a table"), "{message}");
}

/// Base value and contributions are the calibrated log-odds, and the log of the value; the texts
/// carry the row's own cells, whoever is asked.
#[test]
fn every_row_is_explained_by_its_columns_to_the_last_digit() {
    let (dir, outcome) = &*TRAINED;
    let engine = Engine::try_new(Bundle::load(&outcome.folder).unwrap(), None, Some(SALT)).unwrap();
    let path = dir.path().join("business.csv");
    let table = Table::read(&path, &ReadSpec::default(), &Rules::default()).unwrap();
    let (rows, _) = score(dir.path(), "business.csv", &[("reasons", "2")]).unwrap();
    let inputs = engine.table_inputs().unwrap();
    let as_of = AsOf::at(Timestamp::from_micros(0), engine.zone());
    let mut weight = std::collections::BTreeMap::<String, f64>::new();
    let cells_of = |row: usize| -> Vec<RawValue<'_>> {
        inputs.iter().map(|i| table.cell(row, table.position(&i.name).unwrap())).collect()
    };
    // G-1: many rows at once get the same bits, and a bad one stops no other.
    let mut many: Vec<Vec<RawValue<'_>>> = (0..rows.len()).map(cells_of).collect();
    many[70].pop();
    let anybody = CustomerId::try_new("x").unwrap();
    let questions = many.iter().map(|cells| TableQuestion { customer: &anybody, cells, as_of });
    let together = engine.answer_rows(&questions.collect::<Vec<_>>());
    for (cells, found) in many.iter().zip(&together) {
        let alone = engine.answer_row(&anybody, cells, as_of, false);
        assert_eq!(format!("{alone:?}"), format!("{found:?}"));
    }
    assert_eq!(
        (together.len(), together.iter().filter(|one| one.is_err()).count()),
        (rows.len(), 1)
    );
    for (row, file) in rows.iter().enumerate() {
        let cells = cells_of(row);
        let id = CustomerId::try_new(file["customer_id"].as_str().unwrap()).unwrap();
        let found = engine.explain_row(&id, &cells, as_of).unwrap();
        let plain = engine.answer_row(&id, &cells, as_of, false).unwrap();
        let (answer, score) = (&found.explained.answer, &plain.answer.score);
        // Of the past nothing is known: NaN is not equal to itself.
        assert_eq!(format!("{:?}", answer.score), format!("{score:?}"));
        assert_eq!(found.digest, plain.digest);
        assert!(!answer.decision.trace.is_empty());
        let (prob, mean) = (score.churn_prob.unwrap(), score.clv.as_ref().unwrap().mean);
        let parts = [
            (found.explained.churn.as_ref().unwrap(), (prob / (1.0 - prob)).ln()),
            (found.explained.value.as_ref().unwrap(), mean.ln()),
        ];
        for (part, wanted) in parts {
            let explanation = &part.explanation;
            let sum = explanation.base_value + explanation.contributions.iter().sum::<f64>();
            assert!((sum - wanted).abs() < 1e-9 && explanation.gap().abs() < 1e-9, "row {row}");
            let told: f64 = part.reasons.iter().map(|reason| reason.contribution).sum();
            assert!((explanation.base_value + told - wanted).abs() < 1e-9, "row {row}");
            let sizes = part.reasons.iter().map(|reason| reason.contribution.abs());
            assert!(sizes.is_sorted_by(|a, b| a >= b));
        }
        let churn = parts[0].0;
        for reason in &churn.reasons {
            *weight.entry(reason.code.clone().into_owned()).or_default() +=
                reason.contribution.abs();
        }
        let first = &churn.reasons[0];
        let said = format!("{:+.2} {}", first.contribution, first.text);
        assert!(file["churn_reasons"].as_str().unwrap().starts_with(&said), "{file}");
        let plan = cells[inputs.iter().position(|input| input.name == "plan").unwrap()].clone();
        let RawValue::Text(plan) = plan else { panic!("a plan is a text") };
        let of_plan = churn.reasons.iter().find(|reason| reason.code == "plan").unwrap();
        assert_eq!(of_plan.text, format!("plan: {plan}"));
    }
    // What drives the made-up business weighs most; what it does not look at, next to nothing.
    let mut order: Vec<(&str, f64)> = weight.iter().map(|(name, sum)| (&**name, *sum)).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let first: Vec<&str> = order.iter().take(3).map(|(name, _)| *name).collect();
    assert!(
        ["plan", "tenure_days", "tickets"].iter().all(|name| first.contains(name)),
        "{order:?}"
    );
}

#[test]
fn a_cell_that_is_not_known_or_new_is_told_as_such() {
    let (_, outcome) = &*TRAINED;
    let engine = Engine::try_new(Bundle::load(&outcome.folder).unwrap(), None, Some(SALT)).unwrap();
    let inputs = engine.table_inputs().unwrap();
    let cells: Vec<RawValue<'_>> = inputs
        .iter()
        .map(|input| match input.name.as_str() {
            "plan" => RawValue::text(" gold "),
            "tenure_days" => RawValue::Number(12.5),
            _ => RawValue::Missing,
        })
        .collect();
    let why = engine.row_reasons(&cells, usize::MAX).unwrap();
    let texts: Vec<&str> = why.churn.iter().map(|reason| &*reason.text).collect();
    for wanted in ["plan: gold (counted as other)", "tenure_days: 12.5", "spend: not known"] {
        assert!(texts.contains(&wanted), "{texts:?}");
    }
    let few = engine.row_reasons(&cells, 1).unwrap();
    assert!(few.churn.len() <= 2 && few.value.len() <= 2 && !few.churn.is_empty());
}

#[test]
fn one_row_is_explained_on_a_page() {
    let (dir, _) = &*TRAINED;
    let (models, table) = (dir.path().join("models"), dir.path().join("business.csv"));
    let fixed = [
        ("models", models.to_str().unwrap()),
        ("name", "demo"),
        ("table", table.to_str().unwrap()),
    ];
    let explain = |customer: &str, more: Settings<'_>| {
        let all: Vec<_> =
            fixed.iter().chain(more).copied().chain([("customer", customer)]).collect();
        let config = OpsConfig::check(OpsTask::Explain, layers(&all)).unwrap();
        batch::operate(&config, &mut |_| {}).map_err(|error| (error.exit_code(), error.to_string()))
    };
    let found = explain("c7", &[]).unwrap();
    for wanted in ["c7", "log-odds", "plan: ", "rules that were tried", "2 rows are of this"] {
        assert!(found.text.contains(wanted), "{wanted:?} in {}", found.text);
    }
    let parts = found.json["churn"]["contributions"].as_array().unwrap();
    assert!(parts.iter().any(|part| part["name"] == "plan" && part["cell"].is_string()));
    assert!(parts.iter().any(|part| part["name"] == "tickets" && part["value"].is_f64()));
    let (code, text) = explain("nobody", &[]).unwrap_err();
    assert_eq!(code, 65);
    assert!(text.contains("\"nobody\"") && text.contains("\"client\""), "{text}");
    let (code, text) = explain("c7", &[("id", "klient")]).unwrap_err();
    assert!(code == 65 && text.contains("klient") && text.contains("client"), "{text}");
    let both = [("events", "log.csv"), ("customer", "c7")];
    let all: Vec<_> = fixed.iter().chain(&both).copied().collect();
    let error = OpsConfig::check(OpsTask::Explain, layers(&all)).unwrap_err();
    assert!(error.to_string().contains("exclude each other"), "{error}");
}

#[test]
fn a_log_bundle_takes_no_table() {
    let dir = place(&[("new.csv", "a,b\n1,2\n")]);
    crate::serve_fixture::write_bundle(&dir.path().join("models"));
    let (code, message) = score(dir.path(), "new.csv", &[]).unwrap_err();
    assert_eq!(code, 65);
    assert!(message.contains("give --events"), "{message}");
}

#[test]
fn the_telco_table_reaches_its_floor() {
    let dir = place(&[]);
    let settings = [
        ("table", "data/telco_wa_churn.csv.gz"),
        ("label", "churn"),
        ("positive", "Yes"),
        ("repeats", "3"),
    ];
    let outcome = train(dir.path(), "unused", &settings).unwrap();
    let churn = &outcome.metrics["churn"];
    let auc = |name: &str| {
        let all = churn["candidates"].as_array().unwrap();
        let found = all.iter().find(|entry| entry["name"] == name).unwrap();
        found["auc"].as_f64().unwrap()
    };
    assert!(auc("blend") >= 0.845 && auc("logistic") >= 0.842, "{churn}");
    assert_eq!(churn["signal"], true);
    let champion = churn["champion"].as_str().unwrap();
    assert!(auc(champion) >= 0.845 && auc("column_rule") < 0.78);
    assert_eq!(outcome.metrics["data"]["kept"], 7_043);
}
