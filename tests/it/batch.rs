//! The batch job whatever its memory, its sources and its end: the same bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::{OPS, Place, SCORE, run};

const AS_OF: &str = "2017-11-30";

/// A place with the demo bundle in it: its salt must not go into the source tree.
pub(crate) fn place() -> Place {
    let place = Place::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    copy(&from, Path::new(&place.path("models")).join("demo").as_path());
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A log out of order: customers at random, some rows twice.
fn log(n_rows: u64, n_customers: u64) -> String {
    let mut text = "customer_id,time,amount,category\n".to_owned();
    let mut state = 11_u64;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..n_rows {
        let (who, month, day) = (next(n_customers), 1 + next(12), 1 + next(28));
        let (amount, category) = (next(9_000), next(7));
        let line = format!("c{who},2017-{month:02}-{day:02} 10:00,{amount}.5,k{category}");
        for _ in 0..1 + u64::from(next(40) == 0) {
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}

/// Arguments that all runs here share.
fn args<'a>(place: &'a Args, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let own = ["--models", &place.models, "--name", "demo", "--as-of", AS_OF, "--json"];
    [&own[..], &["--out", out], more].concat()
}

struct Args {
    models: String,
}

fn score(place: &Place, out: &str, more: &[&str]) -> Value {
    let models = Args { models: place.path("models") };
    run(SCORE, &args(&models, &place.path(out), more)).json()
}

/// A summary without what a run may do in its own way.
fn plain(mut said: Value) -> Value {
    for key in ["out", "parts", "parts_resumed", "sha256"] {
        said.as_object_mut().unwrap().remove(key);
    }
    said
}

fn bytes(place: &Place, name: &str) -> Vec<u8> {
    fs::read(place.path(name)).unwrap()
}

#[test]
fn little_memory_and_many_threads_change_no_byte() {
    let place = place();
    let a = place.file("a.csv", &log(6_000, 700));
    let b = place.file("b.csv", &log(6_500, 700));
    let mut facts = "customer_id,loyalty_points,email_known\n".to_owned();
    (0..800).for_each(|at| writeln!(facts, "c{at},{},true", at * 7).unwrap());
    let facts = place.file("facts.csv", &facts);
    let source = ["--events", &a, "--events", &b, "--profiles", &facts, "--reasons", "1"];
    for (held, spilled) in
        [("a.csv.gz", "b.csv.gz"), ("a.jsonl", "b.jsonl"), ("a.parquet", "b.parquet")]
    {
        let in_memory = score(&place, held, &source);
        let in_parts = score(
            &place,
            spilled,
            &[&source[..], &["--memory-mb", "1", "--threads", "3"]].concat(),
        );
        assert_eq!(in_memory["parts"], 0);
        assert!(in_parts["parts"].as_u64().unwrap() >= 16, "{in_parts}");
        assert!(in_memory["rows"].as_u64().unwrap() >= 700);
        assert_eq!(bytes(&place, held), bytes(&place, spilled), "{held}");
        assert_eq!(plain(in_memory), plain(in_parts));
    }
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains(".work")));
}

#[test]
fn a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes() {
    let place = place();
    let events = place.file("log.csv", &log(30_000, 3_000));
    let source = ["--events", &events, "--memory-mb", "1", "--threads", "1"];
    let whole = score(&place, "whole.csv", &source);
    let models = Args { models: place.path("models") };
    let out = place.path("scores.csv");
    let mut child = Command::new(SCORE)
        .args(args(&models, &out, &source))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let work = place.path(".scores.csv.work");
    let n_runs = || {
        let entries = fs::read_dir(&work).map(|all| all.flatten().collect()).unwrap_or_default();
        let entries: Vec<fs::DirEntry> = entries;
        entries.iter().filter(|one| one.path().extension().is_some_and(|end| end == "rows")).count()
    };
    while n_runs() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&out).try_exists().unwrap(), "a file of scores is whole or not there");
    // Another question must not be answered from what this one left.
    let n_left = n_runs();
    let said = score(&place, "scores.csv", &source);
    assert!(said["parts_resumed"].as_u64().unwrap() >= n_left as u64, "{said}");
    assert!(said["parts_resumed"].as_u64() < said["parts"].as_u64(), "{said}");
    assert_eq!(bytes(&place, "scores.csv"), bytes(&place, "whole.csv"));
    assert_eq!(said["sha256"], whole["sha256"]);
    assert!(!Path::new(&work).try_exists().unwrap());
}

#[test]
fn rows_come_from_standard_input_and_only_the_columns_asked_for_go_out() {
    let place = place();
    let text = log(900, 90);
    let events = place.file("log.csv", &text);
    let bad = place.file("bad.csv", &format!("{text}c1,soon,3,k\n,2017-02-01,3,k\n"));
    let columns = ["--out-columns", "segment,customer_id,value_at_risk"];
    score(&place, "few.csv", &[&["--events", &events][..], &columns].concat());
    let few = String::from_utf8(bytes(&place, "few.csv")).unwrap();
    assert!(few.starts_with("segment,customer_id,value_at_risk\n"));
    let manifest: Value = serde_json::from_slice(&bytes(&place, "few.csv.manifest.json")).unwrap();
    assert_eq!(manifest["columns"][0], "segment");

    let models = Args { models: place.path("models") };
    let out = place.path("stdin.csv");
    let mut child = Command::new(SCORE)
        .args(args(&models, &out, &[&["--events", "-"][..], &columns].concat()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(bytes(&place, "stdin.csv"), few.as_bytes());

    let rejects = place.path("rejects.csv");
    score(&place, "s.csv", &["--events", &bad, "--rejects", &rejects]);
    let rejects = fs::read_to_string(rejects).unwrap();
    let lines: Vec<&str> = rejects.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "file,row,code,reason"), "{rejects}");
    assert!(lines[1].contains(",bad_time,") && lines[2].contains(",missing_customer,"));

    let other = ["--events", &events, "--out-columns", "segment,tier"];
    let ran = run(SCORE, &args(&models, &out, &other));
    ran.expect(64, &["no column \"tier\"", "risk_tier"]);
}

#[test]
fn the_states_of_a_store_give_the_scores_of_its_log() {
    let place = place();
    let text = log(7_000, 500).replace("2017-12", "2017-11");
    let events = place.file("log.csv", &text);
    let (models, store) = (place.path("models"), place.path("store"));
    let export = place.path("export");
    let load = ["store", "load", "--events", &events, "--models", &models, "--name", "demo"];
    let load = [&load[..], &["--store", &store, "--json"]].concat();
    let said = run(OPS, &[&load[..], &["--memory-mb", "1"]].concat()).json();
    assert_eq!((&said["customers"], &said["known"]), (&500.into(), &0.into()));
    let again = run(OPS, &[&load[..], &["--append"]].concat()).json();
    assert_eq!((&again["new"], &again["known"]), (&0.into(), &said["new"]));
    run(OPS, &["store", "export", "--store", &store, "--out", &export]).expect(0, &[]);

    score(&place, "log-scores.csv", &["--events", &events]);
    score(&place, "states.csv", &["--states", &export]);
    let in_pieces = score(&place, "pieces.csv", &["--states", &export, "--memory-mb", "1"]);
    assert!(in_pieces["parts"].as_u64().unwrap() > 1, "{in_pieces}");
    assert_eq!(bytes(&place, "states.csv"), bytes(&place, "log-scores.csv"));
    assert_eq!(bytes(&place, "pieces.csv"), bytes(&place, "log-scores.csv"));
}

/// The rows of a CSV file of scores, by customer.
pub(crate) fn rows(text: &[u8]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().unwrap().clone();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let row: BTreeMap<String, String> = header
            .iter()
            .zip(&record)
            .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
            .collect();
        (row["customer_id"].clone(), row)
    });
    rows.collect()
}

#[test]
fn only_customers_that_changed_are_written() {
    let place = place();
    let text = log(5_000, 600).replace("2017-12", "2017-10");
    let events = place.file("log.csv", &text);
    let more = format!("{text}c7,2017-11-30 09:00,3.5,k1\nnew,2017-11-30 09:00,3.5,k1\n");
    let later = place.file("later.csv", &more);
    let since = ["--changed-since", "2017-11-29"];
    for format in ["csv", "jsonl.gz", "parquet"] {
        let old = format!("old.{format}");
        let source = ["--events", &events, "--as-of", "2017-11-28"];
        let models = Args { models: place.path("models") };
        let out = place.path(&old);
        let mut with: Vec<&str> = args(&models, &out, &source[..2]);
        let at = with.iter().position(|arg| *arg == AS_OF).unwrap();
        with[at] = source[3];
        run(SCORE, &with).expect(0, &[]);
        for memory in [&[][..], &["--memory-mb", "1"]] {
            let whole = score(&place, "whole.csv", &["--events", &later]);
            let source = ["--events", &later];
            let few = score(&place, "few.csv", &[&source, &since[..], memory].concat());
            assert_eq!(few["rows"], 2);
            assert_eq!(few["unchanged"], whole["rows"].as_u64().unwrap() - 2);
            let previous = ["--previous", &out];
            let with = [&source, &since[..], &previous, memory].concat();
            let moved = score(&place, "moved.csv", &with);
            check_moved(&place, &old, &moved);
        }
    }
}

/// Those written are those with an event, and those whose tier or segment is another now.
fn check_moved(place: &Place, old: &str, said: &Value) {
    let whole = rows(&bytes(place, "whole.csv"));
    let moved = rows(&bytes(place, "moved.csv"));
    if old.ends_with(".csv") {
        let old = rows(&bytes(place, old));
        for (customer, row) in &whole {
            let same = |name: &str| old.get(customer).is_some_and(|old| old[name] == row[name]);
            let stays = same("risk_tier") && same("segment") && customer != "c7";
            assert_eq!(moved.contains_key(customer), !stays, "{customer}");
        }
    }
    assert!(moved.contains_key("c7") && moved.contains_key("new"));
    assert!(moved.iter().all(|(customer, row)| whole[customer] == *row));
    assert_eq!(said["rows"], moved.len());
    assert_eq!(said["unchanged"], whole.len() - moved.len());
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let models = Args { models: "m".to_owned() };
    let ran = run(SCORE, &args(&models, "o.csv", &["--events", "a.csv", "--states", "e"]));
    ran.expect(64, &["events and states exclude each other"]);
    let ran = run(SCORE, &args(&models, "o.csv", &["--events", "a.csv", "--previous", "p.csv"]));
    ran.expect(64, &["previous goes with changed_since"]);
    let ran = run(SCORE, &args(&models, "o.csv", &["--states", "e", "--rejects", "r.csv"]));
    ran.expect(64, &["rejects are rows of a log"]);
    let more = ["--events", "a.csv", "--changed-since", "lately", "--out-columns", "a,a"];
    let ran = run(SCORE, &args(&models, "o.csv", &more));
    ran.expect(64, &["changed_since", "out_columns"]);
}
