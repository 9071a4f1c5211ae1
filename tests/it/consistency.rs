//! Stored states held against the log of what was acknowledged, and the faults that must show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tenure::domain::CustomerId;
use tenure::serve::pb;
use tenure::store::{
    Batch, MemoryStore, Put, ScanRange, StateStore, decision_segments, export, import,
};

use crate::cli::{OPS, Place, run};
use crate::serve_client::{Clients, DAY, purchase, subject};
use crate::serve_fixture::{NOW_SECONDS, Running};

const BATCHES: usize = 8;

/// One batch of events, and its lines in a log.
fn batch(n: usize) -> (Vec<pb::Event>, String) {
    let (mut events, mut lines) = (Vec::new(), String::new());
    for i in 0..40 {
        // Half of the customers buy in every batch, half in this one alone.
        let who = if i % 2 == 0 { format!("c{i}") } else { format!("only-{n}-{i}") };
        let (id, days) = (format!("e{n}-{i}"), i64::try_from(200 - 7 * n + i % 5).unwrap());
        let amount = 5.0 + i as f64;
        events.push(purchase(&id, &who, days, amount));
        let time = tenure::domain::Timestamp::from_micros((NOW_SECONDS - days * DAY) * 1_000_000);
        writeln!(
            lines,
            "{{\"event_id\":\"{id}\",\"customer_id\":\"{who}\",\"type\":\"purchase\",\
             \"time\":\"{time}\",\"amount\":{amount}}}"
        )
        .unwrap();
    }
    (events, lines)
}

fn names(n: usize) -> BTreeSet<String> {
    batch(n).0.into_iter().map(|event| event.customer).collect()
}

/// Checks an export, or what a server has; the exit code and what was said.
fn check(server: &Running, log: &str, states: &str, more: &[&str]) -> (Value, bool) {
    let models = server.config.models.to_str().unwrap();
    let args = ["consistency", "--events", log, "--models", models, "--name", "demo", "--json"];
    let ran = run(OPS, &[&args[..], &["--states", states], more].concat());
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    let is_consistent = said["consistent"] == true;
    ran.expect(if is_consistent { 0 } else { 65 }, &[]);
    (said, is_consistent)
}

/// Whether a text stands anywhere in the files of a directory.
fn holds(dir: &str, text: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|found| found == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_those_of_the_log_and_every_fault_shows() {
    let place = Place::new();
    let mut log = String::new();
    let whole = Running::start(&[]).await;
    let lossy = Running::start(&[]).await;
    for n in 0..BATCHES {
        let (events, lines) = batch(n);
        log.push_str(&lines);
        for server in [&whole, &lossy] {
            let mut clients = Clients::new(server).await;
            if n != 3 || std::ptr::eq(server, &whole) {
                let taken = clients.ingest(events.clone()).await.unwrap();
                assert_eq!(taken.accepted_count, 40);
            }
        }
    }
    let file = place.file("log.jsonl", &log);
    let (good, bad) = (place.path("good"), place.path("bad"));
    let of = |server: &Running| ["--from-server".to_owned(), server.address.to_string()];
    let from = of(&whole);
    let (said, is_fine) = check(&whole, &file, &good, &[&from[0], &from[1]]);
    assert!(is_fine, "{said}");
    assert_eq!((&said["compared"], &said["equal"]), (&180.into(), &180.into()));
    let (said, is_fine) = check(&whole, &file, &good, &["--sample", "0.3"]);
    let compared = said["compared"].as_u64().unwrap();
    assert!(is_fine && (20..100).contains(&compared), "{said}");

    // An acknowledged batch that is not there: everybody in it shows, and nobody else.
    let from = of(&lossy);
    let (said, is_fine) = check(&lossy, &file, &bad, &[&from[0], &from[1]]);
    assert!(!is_fine);
    let customers = |what: &str| said[what]["customers"].as_u64().unwrap();
    assert_eq!((customers("missing"), customers("mismatched"), customers("extra")), (20, 20, 0));
    for what in ["missing", "mismatched"] {
        let examples = said[what]["examples"].as_array().unwrap();
        assert_eq!(examples.len(), 10);
        assert!(examples.iter().all(|one| names(3).contains(one.as_str().unwrap())), "{said}");
    }
    // Events that nobody sent: the same the other way round.
    let short: String = (0..BATCHES).filter(|n| *n != 5).map(|n| batch(n).1).collect();
    let short = place.file("short.jsonl", &short);
    let (said, is_fine) = check(&whole, &short, &good, &[]);
    assert!(!is_fine && said["extra"]["customers"] == 20 && said["missing"]["customers"] == 0);

    // One state that is another customer's.
    let (store, changed) = (MemoryStore::new(), place.path("changed"));
    import(&store, Path::new(&good)).unwrap();
    let [one, other] = ["only-2-1", "c4"].map(|id| CustomerId::try_new(id).unwrap());
    let bytes = store.get(&other).unwrap().unwrap().bytes;
    let put = Put { customer: one, expected_version: None, bytes };
    store.commit(Batch { puts: vec![put], ..Batch::default() }).unwrap();
    export(&store, ScanRange::All, Path::new(&changed)).unwrap();
    let (said, is_fine) = check(&whole, &file, &changed, &[]);
    assert!(!is_fine);
    assert_eq!(said["mismatched"]["examples"], serde_json::json!(["only-2-1"]));
    assert_eq!((&said["scores_differ"], &said["equal"]), (&1.into(), &179.into()));
    whole.stop().await;
    lossy.stop().await;
}

/// Erasure from what lies on disk: no byte of the id is left, and the rest is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_erased_are_gone_from_export_and_decision_log() {
    let place = Place::new();
    let (decisions, out) = (place.path("decisions"), place.path("export"));
    let server = Running::start(&[("decision_log", &decisions)]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(batch(0).0).await.unwrap();
    let mut ids = Vec::new();
    for customer in ["only-0-11", "c4", "only-0-13"] {
        let score = clients.score(subject(customer)).await.unwrap();
        ids.push(score.provenance.unwrap().decision_id);
    }
    let outcomes = ids.iter().map(|id| pb::Outcome {
        decision_id: id.clone(),
        outcome_time: crate::serve_client::time(NOW_SECONDS - DAY),
        churned: Some(true),
        ..Default::default()
    });
    let outcomes = pb::ReportOutcomesRequest { outcomes: outcomes.collect() };
    clients.events.report_outcomes(outcomes).await.unwrap();
    let address = server.address.to_string();
    run(OPS, &["store", "export", "--from-server", &address, "--out", &out]).expect(0, &[]);
    let gone = place.file("gone.txt", "only-0-11\n\nonly-0-13\nnobody\n");
    let erase = ["store", "erase", "--customers", &gone, "--decisions", &decisions, "--json"];
    run(OPS, &erase).expect(75, &["is open in another process"]);
    let store = server.config.store.clone().unwrap();
    let kept = server.stop_and_keep().await;
    let store = ["--store", store.to_str().unwrap(), "--export", &out];
    let said = run(OPS, &[&erase[..], &store].concat()).json();
    let both = serde_json::json!({ "states": 2, "event_ids": 2 });
    assert_eq!((&said["export"], &said["store"]), (&both, &both));
    assert_eq!(said["decisions"], serde_json::json!({ "decisions": 2, "outcomes": 2 }));
    for dir in [&out, &decisions] {
        assert!(!holds(dir, "only-0-11") && !holds(dir, "only-0-13") && !holds(dir, &ids[0]));
        assert!(holds(dir, "\"c4\"") || holds(dir, "c4"), "{dir}");
    }
    assert_eq!(decision_segments(Path::new(&decisions)).unwrap().len(), 2);
    let again = run(OPS, &[&erase[..], &store].concat()).json();
    assert_eq!(again["export"], serde_json::json!({ "states": 0, "event_ids": 0 }));
    run(OPS, &["store", "erase", "--customers", &gone]).expect(64, &["nothing to erase from"]);
    let bad = place.file("bad.txt", "fine\nbad\u{1}\n");
    run(OPS, &["store", "erase", "--customers", &bad, "--export", &out])
        .expect(65, &["bad.txt: line 2"]);
    drop(kept);
}
