//! What `tenure-ops` does on ready-made tables, and on logs that do not fit into memory: policies
//! tried, held against each other and explained, who moved, and drift.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::fs;

use serde_json::Value;
use tenure::batch;
use tenure::config::{OpsConfig, OpsTask};
use tenure::decision::Policy;

use crate::batch::place;
use crate::cli::{OPS, run};
use crate::table::{Settings, TRAINED, business, layers, score};

type Found = Result<batch::OpsOutcome, (u8, String)>;

/// Does something with the trained model and a table beside it.
fn operate(task: OpsTask, file: &str, more: Settings<'_>) -> Found {
    let (dir, _) = &*TRAINED;
    let (models, table) = (dir.path().join("models"), dir.path().join(file));
    let fixed = [
        ("models", models.to_str().unwrap()),
        ("name", "demo"),
        ("table", table.to_str().unwrap()),
    ];
    let all: Vec<_> = fixed.iter().chain(more).copied().collect();
    let config = OpsConfig::check(task, layers(&all)).map_err(|error| (64, error.to_string()))?;
    batch::operate(&config, &mut |_| {}).map_err(|error| (error.exit_code(), error.to_string()))
}

/// The same table with an id of its own for each row.
fn alone(text: &str) -> String {
    let mut lines = text.lines();
    let mut all = lines.next().unwrap().to_owned() + "\n";
    for (row, line) in lines.enumerate() {
        let (_, rest) = line.split_once(',').unwrap();
        all += &format!("r{row},{rest}\n");
    }
    all
}

fn alarms(found: &Value) -> Vec<&str> {
    found["alarms"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn a_policy_is_tried_on_a_table_and_counts_what_the_scores_say() {
    let (dir, _) = &*TRAINED;
    let found = operate(OpsTask::PolicySimulate, "business.csv", &[]).unwrap();
    let (rows, _) = score(dir.path(), "business.csv", &[]).unwrap();
    let base = &found.json["base"];
    assert_eq!(base["customers"], rows.len());
    for (block, column) in [("tiers", "risk_tier"), ("segments", "segment")] {
        for (name, count) in base[block].as_object().unwrap() {
            let n = rows.iter().filter(|row| row[column] == name.as_str()).count();
            assert_eq!(*count, n, "{block} {name}");
        }
    }
    let at_risk: f64 = rows.iter().filter_map(|row| row["value_at_risk"].as_f64()).sum();
    assert!((base["value_at_risk"].as_f64().unwrap() - at_risk).abs() < 1e-6);
    assert!(found.text.contains("note: columns not looked at"), "{}", found.text);

    let (code, said) =
        operate(OpsTask::PolicySimulate, "business.csv", &[("events", "log.csv")]).unwrap_err();
    assert!(code == 64 && said.contains("exclude each other"), "{said}");
}

#[test]
fn policies_are_held_against_each_other_and_explained_on_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.toml"), dir.path().join("new.toml"));
    let text = Policy::default_text();
    fs::write(&old, text).unwrap();
    fs::write(&new, text.replace("red_share   = 0.10", "red_share = 0.05")).unwrap();
    let files = [("old", old.to_str().unwrap()), ("new", new.to_str().unwrap())];
    let diff = operate(OpsTask::PolicyDiff, "business.csv", &files).unwrap();
    let changes = diff.json["changes"].as_array().unwrap();
    assert!(diff.json["changed"].as_u64().unwrap() > 0, "{}", diff.text);
    let of = |when: &str, tier: &str| diff.json[when]["tiers"][tier].as_i64().unwrap_or(0);
    let moved = |side: &str| -> i64 {
        let tiers = changes.iter().filter(|one| one["what"] == "tier" && one[side] == "red");
        tiers.map(|one| one["customers"].as_i64().unwrap()).sum()
    };
    assert_eq!(of("after", "red") - of("before", "red"), moved("to") - moved("from"));
    let same = [("old", files[0].1), ("new", files[0].1)];
    let same = operate(OpsTask::PolicyDiff, "business.csv", &same).unwrap();
    assert_eq!((&same.json["changed"], &same.json["same"]), (&0.into(), &true.into()));

    let found = operate(OpsTask::PolicyExplain, "business.csv", &[("customer", "c7")]).unwrap();
    for wanted in ["c7", "every campaign", "overrides of the tier"] {
        assert!(found.text.contains(wanted), "{wanted:?} in {}", found.text);
    }
    let (code, said) =
        operate(OpsTask::PolicyExplain, "business.csv", &[("customer", "nobody")]).unwrap_err();
    assert!(code == 65 && said.contains("\"nobody\"") && said.contains("\"client\""), "{said}");
}

#[test]
fn who_moved_between_two_tables_is_counted() {
    let (dir, _) = &*TRAINED;
    // A row each. Later the same customers are otherwise, and one is new.
    let before = dir.path().join("before.csv");
    fs::write(&before, alone(&business(1_000, 5))).unwrap();
    let new = "new1,2025-06-01,basic,20,1,3.50,yes,2024-05-01,north,,x,No,0.00\n";
    fs::write(dir.path().join("later.csv"), alone(&business(1_000, 11)) + new).unwrap();
    let since = [("since_table", before.to_str().unwrap())];
    let found = operate(OpsTask::PolicyMoves, "later.csv", &since).unwrap();
    let counts = operate(OpsTask::PolicySimulate, "later.csv", &[]).unwrap();
    assert_eq!(found.json["customers"], counts.json["base"]["customers"]);
    assert_eq!(found.json["new"], 1, "{}", found.text);
    let tiers = found.json["tiers"].as_array().unwrap();
    let left: u64 = tiers.iter().map(|row| row["customers"].as_u64().unwrap()).sum();
    assert_eq!(left + 1, found.json["customers"].as_u64().unwrap());
    assert!(tiers.iter().all(|row| row["bought"].is_null()) && !found.text.contains("bought"));
    let stay = [("since_table", before.to_str().unwrap())];
    let stay = operate(OpsTask::PolicyMoves, "before.csv", &stay).unwrap();
    for row in stay.json["segments"].as_array().unwrap() {
        let to = row["to"].as_object().unwrap();
        assert!(to.len() == 1 && to.contains_key(row["segment"].as_str().unwrap()), "{row}");
    }
    let (code, said) = operate(OpsTask::PolicyMoves, "later.csv", &[]).unwrap_err();
    assert!(code == 64 && said.contains("since_table"), "{said}");
}

#[test]
fn drift_of_a_table_is_quiet_on_the_one_learned_from_and_names_what_changed() {
    let (dir, _) = &*TRAINED;
    let same = operate(OpsTask::BundleDrift, "business.csv", &[]).unwrap();
    assert_eq!(alarms(&same.json), Vec::<&str>::new(), "{}", same.text);
    let moved = same.json["moved"].as_array().unwrap();
    let names: Vec<&str> = moved.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["churn_probability", "value"]);
    for wanted in ["plan", "tickets", "spend", "email_ok"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
    // Rows without a label are no rows of training, hence not quite nothing.
    assert!(moved.iter().all(|one| one["psi"].as_f64().unwrap() < 0.01), "{}", same.text);
    let window = &same.json["windows"][0];
    assert!(window["auc"].as_f64().unwrap() > 0.7, "{window}");
    let (foretold, came) = (&window["churn_probability_mean"], &window["churn_share"]);
    assert!((foretold.as_f64().unwrap() - came.as_f64().unwrap()).abs() < 0.03, "{window}");

    // Another table of the same business moves by chance alone; one with other tickets does not.
    fs::write(dir.path().join("again.csv"), business(2_000, 12)).unwrap();
    let again = operate(OpsTask::BundleDrift, "again.csv", &[]).unwrap();
    assert_eq!(alarms(&again.json), Vec::<&str>::new(), "{}", again.text);
    let text = business(2_000, 13);
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let at = |name: &str| header.split(',').position(|found| found == name).unwrap();
    let (tickets, plan) = (at("tickets"), at("plan"));
    let mut other = header.to_owned() + "\n";
    for line in lines {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let more = cells[tickets].parse::<f64>().map(|n| (n + 4.0).to_string());
        cells[tickets] = more.unwrap_or_default();
        cells[plan] = "gone".to_owned();
        other += &(cells.join(",") + "\n");
    }
    fs::write(dir.path().join("other.csv"), other).unwrap();
    let fail = [("fail_on_alarm", "true")];
    let found = operate(OpsTask::BundleDrift, "other.csv", &fail).unwrap();
    let told = alarms(&found.json);
    assert_eq!(found.exit_code, 3);
    assert!(told.contains(&"tickets") && told.contains(&"plan"), "{}", found.text);
    assert!(!told.contains(&"spend"), "{}", found.text);
}

#[test]
fn the_memory_allowed_changes_no_byte_of_what_is_said() {
    let place = place();
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/data/complete_journey.csv.gz");
    let models = place.path("models");
    let work = place.path("work");
    let said = |words: &[&str], memory: &str| {
        let base = ["--models", &models, "--name", "demo", "--events", log];
        let room = ["--as-of", "2017-11-30", "--memory-mb", memory, "--work-dir", &work, "--json"];
        run(OPS, &[words, &base[..], &room[..]].concat()).json()
    };
    let commands: [&[&str]; 4] = [
        &["policy", "simulate"],
        &["policy", "moves", "--since", "2017-10-31"],
        &["bundle", "drift"],
        &["policy", "explain", "--customer", "1"],
    ];
    for words in commands {
        assert_eq!(said(words, "1"), said(words, "512"), "{words:?}");
    }
    // What did not fit is gone.
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
}
