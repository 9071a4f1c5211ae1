//! A server at work whose model and policy change under it, and what it tells of itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tenure::bundle::{CHAMPION, set_alias};
use tenure::decision::Policy;
use tenure::serve::Parts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::serve_client::{Clients, subject, three_customers, told};
use crate::serve_faults::Faulty;
use crate::serve_fixture::{Running, on_store, write_bundle, write_bundle_with_policy};

const QUICK: (&str, &str) = ("reload_seconds", "1");

/// Asks the listener for operators; status and body.
pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Starts a server that answers operators, and gives their address.
pub(crate) async fn with_admin(
    settings: &[(&str, &str)],
    change: impl FnOnce(Parts) -> Parts,
) -> (Running, std::net::SocketAddr) {
    let mut address = None;
    let settings = [&[("admin_listen", "127.0.0.1:0")][..], settings].concat();
    let server = Running::start_on(&settings, |parts| {
        address = Some(parts.admin.as_ref().unwrap().local_addr().unwrap());
        change(parts)
    })
    .await;
    (server, address.unwrap())
}

/// The value of a sample, by its name and labels as printed.
pub(crate) fn sample(page: &str, name: &str) -> Option<f64> {
    let line =
        page.lines().find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
    line?.rsplit(' ').next()?.parse().ok()
}

pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not come");
}

fn other_policy(name: &str) -> String {
    Policy::default_text().replacen(
        "policy_version = \"",
        &format!("policy_version = \"{name}-"),
        1,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_changes_under_load_and_no_call_notices() {
    let server = Running::start(&[QUICK]).await;
    let models = server.config.models.clone();
    let other = write_bundle_with_policy(&models, &other_policy("other"));
    set_alias(&models, "demo", CHAMPION, &server.version).unwrap();
    assert_ne!(other, server.version);
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let (stop, n_failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = Vec::new();
    for _ in 0..4 {
        let mut clients = Clients::new(&server).await;
        let (stop, n_failed) = (Arc::clone(&stop), Arc::clone(&n_failed));
        callers.push(tokio::spawn(async move {
            let mut versions = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                match clients.score(subject("regular")).await {
                    Ok(score) => {
                        let of = score.provenance.unwrap();
                        versions.insert((of.model_version, of.policy_version));
                    }
                    Err(_) => {
                        n_failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            versions
        }));
    }
    let version = |version: &str| format!("models/demo/versions/{version}");
    for wanted in [&other, &server.version, &other] {
        set_alias(&models, "demo", CHAMPION, wanted).unwrap();
        until("the version", async || {
            let score = clients.score(subject("once")).await.unwrap();
            score.provenance.unwrap().model_version == version(wanted)
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for caller in callers {
        seen.extend(caller.await.unwrap());
    }
    assert_eq!(n_failed.load(Ordering::Relaxed), 0);
    // Model and policy always together: two pairs and not three.
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_and_a_bundle_that_are_not_sound_leave_the_old_ones_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, other_policy("first")).unwrap();
    let settings = [QUICK, ("policy", file.to_str().unwrap())];
    let (server, admin) = with_admin(&settings, |parts| parts).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let refused = "tenure_reloads_total{part=\"model\",result=\"refused\"}";
    let n_refused = async || sample(&get(admin, "/metrics").await.1, refused);
    let mut served = async || {
        let of = clients.score(subject("once")).await.unwrap().provenance.unwrap();
        (of.model_version, of.policy_version)
    };
    let before = served().await;
    assert!(before.1.starts_with("first-"), "{before:?}");
    // A policy with an error.
    std::fs::write(&file, "nonsense = 1").unwrap();
    until("the refusal", async || n_refused().await == Some(1.0)).await;
    assert_eq!(served().await, before);
    // A sound one again.
    std::fs::write(&file, other_policy("second")).unwrap();
    until("the policy", async || served().await.1.starts_with("second-")).await;
    // A bundle of which a byte has changed.
    let models = &server.config.models;
    let broken = write_bundle_with_policy(dir.path(), &other_policy("broken"));
    let folder = dir.path().join("demo").join(&broken);
    let mut manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    manifest.push(' ');
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();
    std::fs::rename(&folder, models.join("demo").join(&broken)).unwrap();
    set_alias(models, "demo", CHAMPION, &broken).unwrap();
    until("the refusal", async || n_refused().await == Some(2.0)).await;
    let after = served().await;
    assert_eq!(after.0, before.0);
    // An alias that means nothing.
    std::fs::write(models.join("demo/aliases.json"), "{").unwrap();
    until("the refusal", async || n_refused().await == Some(3.0)).await;
    assert_eq!(served().await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_tells_what_happened() {
    let (server, admin) = with_admin(&[], |parts| parts).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    clients.ingest(three_customers()).await.unwrap();
    for customer in ["regular", "once", "once"] {
        clients.score(subject(customer)).await.unwrap();
    }
    clients.score(subject("nobody")).await.unwrap_err();
    assert_eq!(get(admin, "/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(get(admin, "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(get(admin, "/nothing").await.0, 404);
    let (status, page) = get(admin, "/metrics").await;
    assert_eq!(status, 200);
    let score = "method=\"ScoringService/ScoreCustomer\"";
    for (name, expected) in [
        (format!("tenure_calls_total{{{score},code=\"Ok\"}}"), 3.0),
        (format!("tenure_calls_total{{{score},code=\"NotFound\"}}"), 1.0),
        (format!("tenure_call_seconds_count{{{score}}}"), 4.0),
        ("tenure_events_total{outcome=\"accepted\"}".to_owned(), 8.0),
        ("tenure_events_total{outcome=\"duplicate\"}".to_owned(), 8.0),
        ("tenure_store_customers".to_owned(), 3.0),
        ("tenure_store_serving".to_owned(), 1.0),
        ("tenure_calls_in_flight{class=\"interactive\"}".to_owned(), 0.0),
        ("tenure_calls_refused_total{class=\"interactive\",reason=\"full\"}".to_owned(), 0.0),
        ("tenure_decision_log_dropped_total".to_owned(), 0.0),
        ("tenure_model_data_end_seconds".to_owned(), 1_767_225_600.0),
    ] {
        assert_eq!(sample(&page, &name), Some(expected), "{name} in\n{page}");
    }
    let tiers: f64 = ["none", "green", "amber", "red"]
        .iter()
        .filter_map(|tier| sample(&page, &format!("tenure_scores_total{{tier=\"{tier}\"}}")))
        .sum();
    assert!((tiers - 3.0).abs() < 0.5, "{tiers}");
    assert!(sample(&page, "tenure_store_commit_seconds_count").unwrap() >= 1.0);
    assert!(sample(&page, "tenure_store_disk_free_bytes").unwrap() > 0.0);
    assert!(page.contains(&format!("model_version=\"models/demo/versions/{}\"", server.version)));
    // Every line is a comment or a sample with a number.
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
    }
    for told in ["regular", "once", "nobody"] {
        assert!(!page.contains(&format!("\"{told}\"")), "the page must not know customers");
    }
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_is_not_ready_and_says_why() {
    let store = Arc::new(Faulty::default());
    let (server, admin) = with_admin(&[], on_store(Arc::clone(&store) as _)).await;
    assert_eq!(get(admin, "/readyz").await.0, 200);
    store.break_writes();
    let (status, why) = get(admin, "/readyz").await;
    assert!(status == 503 && why.contains("the test broke it"), "{status} {why}");
    assert_eq!(get(admin, "/livez").await.0, 200);
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_too_little_room_takes_no_events_and_goes_on_reading() {
    // More than any disk has free.
    let most = (1_u64 << 30).to_string();
    let (server, admin) = with_admin(&[("disk_free_mib_min", &most)], |parts| parts).await;
    let mut clients = Clients::new(&server).await;
    let (code, reason, _) = told(&clients.ingest(three_customers()).await.unwrap_err());
    assert_eq!((code, &*reason), (Code::Unavailable, "STORE_DISK_LOW"));
    let inline = tenure::serve::pb::ScoreSubject {
        inline_only: true,
        events: vec![crate::serve_client::purchase("p", "someone", 3, 5.0)],
        ..subject("someone")
    };
    clients.score(inline).await.unwrap();
    let (status, why) = get(admin, "/readyz").await;
    assert!(status == 503 && why.contains("MiB free"), "{status} {why}");
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    for (service, serves) in
        [("", false), ("tenure.v1.EventService", false), ("tenure.v1.ScoringService", true)]
    {
        let asked = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let status = health.check(asked).await.unwrap().into_inner().status;
        assert_eq!(status == 1, serves, "{service:?}");
    }
    assert!(server.stop().await.complete);
}

#[test]
fn the_fixture_writes_the_same_bundle_again() {
    let dir = tempfile::tempdir().unwrap();
    let one = write_bundle(Path::new(dir.path()));
    assert_eq!(one, write_bundle_with_policy(dir.path(), Policy::default_text()));
}
