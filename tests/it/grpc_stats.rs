//! The base in numbers, as the server, the program and the file of scores count it; and customers
//! who were silent too long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tenure::domain::Timestamp;
use tenure::serve::pb;
use tenure::serve::{Clock, Parts};
use tenure::store::decision_segments;
use tonic::{Code, Status};

use crate::cli::{OPS, Place, SCORE, run};
use crate::serve_client::{Clients, DAY, purchase, subject, three_customers, told};
use crate::serve_fixture::{NOW_SECONDS, Running};

/// A server whose clock the test sets.
async fn server(settings: &[(&str, &str)]) -> (Running, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(NOW_SECONDS));
    let told = Arc::clone(&now);
    let clock = Clock::of(move || Timestamp::from_micros(told.load(Ordering::SeqCst) * 1_000_000));
    (Running::start_on(settings, |parts| Parts { clock, ..parts }).await, now)
}

async fn stats(clients: &mut Clients, max_age: Option<i64>) -> Result<pb::StatsResponse, Status> {
    let max_age = max_age.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    clients.customers.stats(pb::StatsRequest { max_age }).await.map(tonic::Response::into_inner)
}

/// Buyers of several months, some of whom come back.
fn base() -> Vec<pb::Event> {
    let mut events = three_customers();
    for i in 0..300_i64 {
        for n in 0..=i % 4 {
            let (id, days) = (format!("b{i}-{n}"), 330 - i - 25 * n);
            events.push(purchase(&id, &format!("c{i}"), days.max(1), 10.0 + i as f64));
        }
    }
    events
}

/// Counts by name, those of nobody left out.
fn counts<'s>(rows: impl Iterator<Item = (&'s str, u64)>) -> BTreeMap<String, u64> {
    rows.filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
}

fn counts_of(rows: &Value, name: &str) -> BTreeMap<String, u64> {
    let rows = rows.as_array().unwrap().iter();
    counts(rows.map(|row| (row[name].as_str().unwrap(), row["customers"].as_u64().unwrap())))
}

#[tokio::test(flavor = "multi_thread")]
async fn server_program_and_scores_count_the_same_base() {
    let (server, _) = server(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(base()).await.unwrap();
    let counted = stats(&mut clients, None).await.unwrap();
    let all = counted.all.unwrap();
    assert_eq!((all.customer_count, counted.buyer_count), (303, 302));
    assert_eq!(counted.as_of.unwrap().seconds, NOW_SECONDS);
    assert_eq!(counted.model_version, format!("models/demo/versions/{}", server.version));
    assert!(all.value_at_risk > 0.0 && all.value_at_risk < all.clv_total);
    let n_of = |group: &Option<pb::GroupStats>| group.as_ref().unwrap().customer_count;
    let tiers = counts(counted.tiers.iter().map(|one| {
        let name = match one.risk_tier() {
            pb::RiskTier::Unspecified => "none",
            pb::RiskTier::Green => "green",
            pb::RiskTier::Amber => "amber",
            pb::RiskTier::Red => "red",
        };
        (name, n_of(&one.group))
    }));
    let global = counted.arms.iter().filter(|one| one.experiment == "global");
    let global: Vec<u64> = global.map(|one| n_of(&one.group)).collect();
    assert_eq!((global.len(), global.iter().sum::<u64>()), (2, 303), "{:?}", counted.arms);
    // Retention: everybody who is in a cohort bought in its first month.
    let cohorts = &counted.cohorts;
    assert_eq!(cohorts.iter().map(|one| one.customer_count).sum::<u64>(), 302);
    for cohort in cohorts.iter().filter(|one| one.months.first().unwrap().months_since == 0) {
        assert_eq!(cohort.months[0].customer_count, cohort.customer_count, "{cohort:?}");
    }
    assert!(cohorts.iter().any(|one| one.months.iter().skip(1).any(|m| m.customer_count > 0)));

    // The program on an export, and the rows that would be sent.
    let place = Place::new();
    let (states, out) = (place.path("states"), place.path("scores.csv"));
    let models = server.config.models.to_str().unwrap().to_owned();
    let of_model = ["--models", &*models, "--name", "demo", "--as-of", "2026-05-31", "--json"];
    let fetch = ["stats", "--from-server", &server.address.to_string(), "--states", &states];
    let said = run(OPS, &[&fetch[..], &of_model].concat()).json();
    let score = ["--states", &states, "--out", &out];
    let scored = run(SCORE, &[&score[..], &of_model].concat()).json();
    let by_tier = counts_of(&said["tiers"], "tier");
    assert_eq!(tiers, by_tier);
    let of_scores = |what: &str| -> BTreeMap<String, u64> {
        serde_json::from_value(scored[what].clone()).unwrap()
    };
    assert_eq!(by_tier, of_scores("tiers"));
    assert_eq!(counts_of(&said["segments"], "segment"), of_scores("segments"));
    assert_eq!(said["value_at_risk"].as_f64().map(f64::to_bits), Some(all.value_at_risk.to_bits()));
    let close = scored["value_at_risk"].as_f64().unwrap() - all.value_at_risk;
    assert!(close.abs() < 1e-6 * all.value_at_risk, "another order of adding up");
    let months: Vec<&str> = cohorts.iter().map(|one| &*one.month).collect();
    let said_months: Vec<&str> = said["cohorts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["month"].as_str().unwrap())
        .collect();
    assert_eq!(months, said_months);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_kept_for_a_minute_whatever_is_asked_and_then_as_long_as_the_caller_says() {
    let (server, now) = server(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let counted = stats(&mut clients, None).await.unwrap();
    clients.ingest(vec![purchase("later", "later", 1, 5.0)]).await.unwrap();
    assert_eq!(stats(&mut clients, Some(0)).await.unwrap(), counted);
    now.fetch_add(61, Ordering::SeqCst);
    assert_eq!(stats(&mut clients, None).await.unwrap(), counted);
    let fresh = stats(&mut clients, Some(0)).await.unwrap();
    assert_eq!(fresh.all.unwrap().customer_count, 4);
    assert_eq!(fresh.as_of.unwrap().seconds, NOW_SECONDS + 61);
    let (code, _, fields) = told(&stats(&mut clients, Some(-1)).await.unwrap_err());
    assert_eq!((code, fields), (Code::InvalidArgument, vec!["max_age".to_owned()]));
    // Many who ask at once wait for one walk.
    now.fetch_add(3_600, Ordering::SeqCst);
    let mut asking = Vec::new();
    for _ in 0..8 {
        let mut clients = Clients::new(&server).await;
        asking.push(tokio::spawn(async move { stats(&mut clients, None).await.unwrap() }));
    }
    for asked in asking {
        assert_eq!(asked.await.unwrap().as_of.unwrap().seconds, NOW_SECONDS + 3_661);
    }
    server.stop().await;
}

async fn is_gone(clients: &mut Clients, customer: &str) {
    for _ in 0..1_200 {
        match clients.view(customer).await {
            Err(status) if status.code() == Code::NotFound => return,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("{customer} is not forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_who_are_silent_for_so_long_are_forgotten_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("decisions");
    let settings = [
        ("sweep_seconds", "1"),
        ("sweep_rate", "1000000"),
        ("forget_after_days", "100"),
        ("decision_log", log.to_str().unwrap()),
    ];
    let (server, now) = server(&settings).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    // The last event of one is 200 days old.
    is_gone(&mut clients, "once").await;
    for customer in ["regular", "visitor"] {
        clients.score(subject(customer)).await.unwrap();
    }
    now.fetch_add(90 * DAY, Ordering::SeqCst);
    is_gone(&mut clients, "regular").await;
    assert_eq!(clients.view("visitor").await.unwrap().event_count, 1);
    // What is forgotten makes a new customer when it comes again.
    clients.ingest(vec![purchase("r1", "regular", -80, 31.0)]).await.unwrap();
    assert_eq!(clients.view("regular").await.unwrap().event_count, 1);
    server.stop().await;
    let paths = decision_segments(&log).unwrap();
    let text: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(text.contains("visitor") && !text.contains("regular"), "{text}");
}
