//! The real program is killed with SIGKILL again and again while it takes in events: whatever it
//! acknowledged is there after the next start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost_types::value::Kind;
use tenure::bundle::{CHAMPION, set_alias};
use tenure::decision::Policy;
use tenure::serve::pb;
use tenure::serve::pb::customer_service_client::CustomerServiceClient;
use tenure::serve::pb::event_service_client::EventServiceClient;
use tenure::serve::pb::model_service_client::ModelServiceClient;
use tenure::serve::pb::scoring_service_client::ScoringServiceClient;
use tonic::transport::Channel;

use crate::serve_fixture::{write_bundle, write_bundle_with_policy};
use crate::store_kill::rounds;

const N_KILLS: usize = 20;
const N_CUSTOMERS: usize = 7;
const BATCH: usize = 40;
/// Acknowledged batches before the kill of a round; the next batch is then under way.
const BATCHES: [usize; 4] = [1, 3, 2, 6];

/// The program at work.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenure-serve"))
            .args(["--name", "demo", "--listen", "127.0.0.1:0", "--log", "warn"])
            .arg("--models")
            .arg(dir.join("models"))
            .arg("--store")
            .arg(dir.join("store"))
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        Self { address: format!("http://{address}"), child }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(self.address.clone()).unwrap().connect().await.unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Ends it in order and gives its exit code.
    fn terminate(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn event(idx: usize) -> pb::Event {
    let amount = prost_types::Value { kind: Some(Kind::NumberValue(1.0)) };
    pb::Event {
        event_id: format!("event-{idx}"),
        customer: format!("customer-{}", idx % N_CUSTOMERS),
        r#type: "purchase".to_owned(),
        event_time: Some(prost_types::Timestamp { seconds: 1_700_000_000 + idx as i64, nanos: 0 }),
        attributes: Some(prost_types::Struct { fields: [("amount".to_owned(), amount)].into() }),
    }
}

/// Sends batches until the connection breaks; answers the events acknowledged.
async fn ingest(channel: Channel, from: usize, n_acknowledged: Arc<AtomicUsize>) -> usize {
    let mut client = EventServiceClient::new(channel);
    let mut next = from;
    loop {
        let events = (next..next + BATCH).map(event).collect();
        match client.ingest_events(pb::IngestEventsRequest { events, ..Default::default() }).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert_eq!(answer.accepted_count + answer.duplicate_count, 40);
                next += BATCH;
                n_acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => return next,
        }
    }
}

/// What is missing of the first `n_acknowledged` events.
async fn missing(channel: &Channel, n_acknowledged: usize, n_sent: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for idx in 0..n_sent {
        let (acknowledged, sent) = expected.entry(event(idx).customer).or_default();
        *acknowledged += u64::from(idx < n_acknowledged);
        *sent += 1;
    }
    let mut customers = CustomerServiceClient::new(channel.clone());
    for (customer, (acknowledged, sent)) in expected {
        let request = pb::GetCustomerRequest { customer: customer.clone(), ..Default::default() };
        let view = customers.get_customer(request).await.unwrap().into_inner().customer.unwrap();
        let orders = u64::from(view.totals.unwrap().order_count);
        if !(acknowledged..=sent).contains(&orders) || view.event_count != orders {
            wrong.push(format!("{customer}: {orders} orders, {acknowledged} to {sent} expected"));
        }
    }
    // By name: each acknowledged event sent again is known.
    let mut events = EventServiceClient::new(channel.clone());
    let all: Vec<pb::Event> = (0..n_acknowledged).map(event).collect();
    for chunk in all.chunks(1_000) {
        let request = pb::IngestEventsRequest { events: chunk.to_vec(), ..Default::default() };
        let answer = events.ingest_events(request).await.unwrap().into_inner();
        if answer.accepted_count > 0 {
            wrong.push(format!("{} acknowledged events were new", answer.accepted_count));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_event_is_lost_by_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    write_bundle(&dir.path().join("models"));
    let mut n_acknowledged = 0;
    for round in 0..rounds(N_KILLS) {
        let server = Server::start(dir.path());
        let batches = Arc::new(AtomicUsize::new(0));
        let channel = server.channel().await;
        let sending = tokio::spawn(ingest(channel, n_acknowledged, Arc::clone(&batches)));
        while batches.load(Ordering::SeqCst) < BATCHES[round % BATCHES.len()] {
            assert!(!sending.is_finished(), "the server ended by itself");
            tokio::task::yield_now().await;
        }
        server.kill();
        n_acknowledged = sending.await.unwrap();
    }
    assert!(n_acknowledged >= rounds(N_KILLS) * BATCH);
    // What a kill in the middle of opening leaves behind.
    let half = dir.path().join("store/snap.00000000000000FF.generating");
    std::fs::write(&half, b"half a snapshot").unwrap();
    let server = Server::start(dir.path());
    assert!(!half.try_exists().unwrap(), "the leftover is gone");
    let channel = server.channel().await;
    let n_sent = n_acknowledged + BATCH;
    assert_eq!(missing(&channel, n_acknowledged, n_sent).await, Vec::<String>::new());
    // The check itself notices an event that was never sent.
    assert!(!missing(&channel, n_sent + 1, n_sent + 1).await.is_empty());
    drop(channel);
    assert_eq!(server.terminate(), Some(0));
}

/// The model's alias is moved and the server told, and it is killed in the middle of taking the
/// other one in: afterwards it serves one of the two, and every acknowledged event is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_reloading_leaves_one_of_the_versions_and_every_event() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let other = Policy::default_text().replacen("policy_version = \"", "policy_version = \"b-", 1);
    let versions = [write_bundle(&models), write_bundle_with_policy(&models, &other)];
    let (mut n_acknowledged, mut seen) = (0, BTreeSet::new());
    for round in 0..rounds(10) {
        let server = Server::start(dir.path());
        let channel = server.channel().await;
        let sending = tokio::spawn(ingest(channel.clone(), n_acknowledged, Arc::default()));
        set_alias(&models, "demo", CHAMPION, &versions[round % 2]).unwrap();
        server.signal("-HUP");
        // More and more of the reloading happens before the kill.
        let mut scoring = ScoringServiceClient::new(channel);
        for _ in 0..round % 10 {
            let subject = pb::ScoreSubject { customer: "nobody".to_owned(), ..Default::default() };
            let request = pb::ScoreCustomerRequest { subject: Some(subject), ..Default::default() };
            scoring.score_customer(request).await.unwrap_err();
        }
        server.kill();
        n_acknowledged = sending.await.unwrap();
        let server = Server::start(dir.path());
        let channel = server.channel().await;
        let n_sent = n_acknowledged + BATCH;
        if n_acknowledged > 0 {
            let wrong = missing(&channel, n_acknowledged, n_sent).await;
            assert_eq!(wrong, Vec::<String>::new(), "round {round}");
        }
        let mut listing = ModelServiceClient::new(channel);
        let listed = listing.list_models(pb::ListModelsRequest::default()).await.unwrap();
        let served = listed.into_inner().served_version;
        assert!(versions.iter().any(|version| served.ends_with(version)), "{served}");
        seen.insert(served);
        assert_eq!(server.terminate(), Some(0));
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn what_cannot_start_says_why_and_with_which_code() {
    let dir = tempfile::tempdir().unwrap();
    write_bundle(&dir.path().join("models"));
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (models, store) = (path("models"), path("store"));
    std::fs::create_dir(path("other")).unwrap();
    std::fs::write(path("other/file"), "x").unwrap();
    std::fs::write(path("policy.toml"), "nonsense = 1").unwrap();
    let given = |store: &str, more: &[&str]| -> Vec<String> {
        let needed = ["--models", &models, "--name", "demo", "--store", store];
        needed.iter().chain(more).map(|text| (*text).to_owned()).collect()
    };
    let running = Server::start(dir.path());
    let taken = running.address.strip_prefix("http://").unwrap().to_owned();
    let cases: Vec<(Vec<String>, i32, &str)> = vec![
        (vec!["--no-such-flag".to_owned()], 64, "--no-such-flag"),
        (vec![], 64, "models is missing"),
        (given(&store, &["--listen", "0.0.0.0:0"]), 64, "--insecure"),
        (given(&store, &["--set", "calls_max=many"]), 64, "calls_max"),
        (given(&store, &["--config", "/no/such/file"]), 64, "/no/such/file"),
        (given(&store, &["--name", "nothing"]), 64, "--name"),
        (given(&path("other"), &[]), 65, "is not a store"),
        (given(&path("new"), &["--policy", &path("policy.toml")]), 65, "policy.toml"),
        (given(&store, &[]), 75, "is already open"),
        (given(&path("new"), &["--listen", &taken]), 75, &taken),
    ];
    for (args, code, text) in cases {
        let ended = Command::new(env!("CARGO_BIN_EXE_tenure-serve"))
            .args(&args)
            .env_clear()
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(text), "{args:?}: {told}");
    }
    let printed = Command::new(env!("CARGO_BIN_EXE_tenure-serve"))
        .args(given(&store, &["--print-config"]))
        .env_clear()
        .env("TENURE_SERVE_EVENTS_MAX", "500")
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("events_max = 500  # environment"), "{printed}");
    assert_eq!(running.terminate(), Some(0));
}
