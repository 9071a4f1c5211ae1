//! What `tenure-ops` asks of a running server: events sent, and whether it serves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::domain::{AsOf, Day, Zone};
use tenure::events::{EventMap, EventShape, Log, LogSpec, ReadSpec, Rules};
use tenure::history::History;
use tenure::serve::pb;
use tenure::serve::pb::event_service_server::{EventService, EventServiceServer};
use tenure::store::{MemoryStore, StateStore};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::cli::{OPS, Place, Ran, run};
use crate::serve_fixture::{Running, on_store};
use crate::serve_secure::{golden, new_key, secure, text};

/// Runs `tenure-ops` beside the server of a test.
async fn ops(args: &[&str]) -> Ran {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = move || run(OPS, &args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn corpus(name: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/events").join(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_sent_is_the_log_that_is_loaded() {
    let store = Arc::new(MemoryStore::new());
    let server = Running::start_on(&[], on_store(store.clone())).await;
    let (addr, place) = (server.address.to_string(), Place::new());
    let (log, map) = (corpus("cloudevents.jsonl"), corpus("cloudevents_map.toml"));
    let rejects = place.path("rejects.csv");
    let send = [
        "events",
        "send",
        "--addr",
        &addr,
        "--events",
        &log,
        "--event-map",
        &map,
        "--rejects",
        &rejects,
        "--max-dropped-share",
        "0.5",
        "--json",
    ];
    let first = ops(&send).await;
    first.expect(0, &[]);
    let (first, again) = (first.json(), ops(&send).await.json());
    assert_eq!((&first["accepted"], &first["duplicates"]), (&5.into(), &1.into()), "{first}");
    assert_eq!((&again["accepted"], &again["duplicates"]), (&0.into(), &6.into()), "{again}");
    assert_eq!(first["reasons"]["bad_envelope"], 2, "{first}");
    assert_eq!(first["reasons"]["REQUEST_INVALID"], 1, "{first}");
    assert_eq!(first["reasons"]["IDENTITY_MERGE_OFFLINE_ONLY"], 1, "{first}");
    let told = place.read("rejects.csv");
    let rows: BTreeSet<&str> =
        told.lines().skip(1).filter_map(|line| line.split(',').nth(1)).collect();
    assert_eq!(rows, BTreeSet::from(["7", "8", "9", "10"]), "{told}");
    // Offline the merge is taken in, and everything else is the same, to the byte.
    let map = EventMap::parse(&std::fs::read_to_string(&map).unwrap(), None).unwrap();
    let shape = EventShape::Mapped(Arc::new(map));
    let before = AsOf::end_of(Day::parse("2026-06-01").unwrap(), &Zone::UTC);
    let read = ReadSpec { shape, ..ReadSpec::default() };
    let rules = Rules {
        default_currency: tenure::domain::Currency::try_new("EUR").unwrap(),
        ..Rules::default()
    };
    let spec = LogSpec { events: vec![log.into()], profiles: None, read, rules, before };
    let offline = Log::read(&spec, &mut |_| {}).unwrap();
    let one = offline.customers.iter().find(|one| one.customer.as_str() == "c-1").unwrap();
    let mut history = History::default();
    for event in &one.events {
        history.apply(event);
    }
    assert_eq!(store.get(&one.customer).unwrap().unwrap().bytes, history.to_bytes());
    assert_eq!(store.count().unwrap(), 3, "c-2 and lead-7 are two in a store, one in a log");
    assert_eq!(offline.customers.len(), 2);
    // Too much of it was refused: the program says so.
    let segment = corpus("segment.jsonl");
    let strict = ops(&["events", "send", "--addr", &addr, "--events", &segment]).await;
    strict.says(65, &["segment.jsonl:3: ", "segment.jsonl:13: "]);
    assert!(server.stop().await.complete);
}

/// Stands for a stream on which nothing is ever answered.
const SAYS_NOTHING: usize = 999;

/// A server of events that breaks each stream but the last after some answers.
struct Breaks {
    /// Answers before each break.
    breaks: Mutex<Vec<usize>>,
    /// Ids of events acknowledged, and of those that came at all.
    seen: Arc<Mutex<(BTreeSet<String>, u64)>>,
}

#[tonic::async_trait]
impl EventService for Breaks {
    async fn ingest_events(
        &self,
        _: Request<pb::IngestEventsRequest>,
    ) -> Result<Response<pb::IngestEventsResponse>, Status> {
        Err(Status::unimplemented("streams only"))
    }

    async fn report_outcomes(
        &self,
        _: Request<pb::ReportOutcomesRequest>,
    ) -> Result<Response<pb::ReportOutcomesResponse>, Status> {
        Err(Status::unimplemented("streams only"))
    }

    type StreamEventsStream = ReceiverStream<Result<pb::StreamEventsResponse, Status>>;

    async fn stream_events(
        &self,
        request: Request<Streaming<pb::StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let answers_left = self.breaks.lock().unwrap().pop();
        let (seen, mut messages) = (Arc::clone(&self.seen), request.into_inner());
        let (sender, answers) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut left = answers_left.unwrap_or(usize::MAX);
            while let Ok(Some(message)) = messages.message().await {
                if left == SAYS_NOTHING {
                    continue;
                }
                if left == 0 {
                    let mut details = ErrorDetails::new();
                    details.set_retry_info(Some(Duration::from_millis(1)));
                    let code = tonic::Code::Unavailable;
                    let status = Status::with_error_details(code, "busy", details);
                    drop(sender.send(Err(status)).await);
                    return;
                }
                left -= 1;
                let n = u32::try_from(message.events.len()).unwrap();
                let mut fresh = 0;
                {
                    let mut seen = seen.lock().unwrap();
                    seen.1 += u64::from(n);
                    for event in message.events {
                        fresh += u32::from(seen.0.insert(event.event_id));
                    }
                }
                let result = pb::IngestEventsResponse {
                    accepted_count: fresh,
                    duplicate_count: n - fresh,
                    ..Default::default()
                };
                let answer = pb::StreamEventsResponse {
                    acknowledged_sequence: message.sequence,
                    result: Some(result),
                };
                drop(sender.send(Ok(answer)).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

async fn breaking(breaks: Vec<usize>) -> (String, Arc<Mutex<(BTreeSet<String>, u64)>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::default());
    let service = Breaks { breaks: Mutex::new(breaks), seen: Arc::clone(&seen) };
    let (service, incoming) = (EventServiceServer::new(service), TcpListenerStream::new(listener));
    tokio::spawn(async move {
        tonic::transport::Server::builder().serve_with_incoming(service, incoming).await
    });
    (addr, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_stream_did_not_acknowledge_is_sent_again() {
    let place = Place::new();
    let lines: Vec<String> =
        (0..7_500).map(|n| format!("e{n},c{},2026-05-{:02},{n}", n % 50, 1 + n % 28)).collect();
    let log =
        place.file("log.csv", &format!("event_id,customer,time,amount\n{}", lines.join("\n")));
    let (addr, seen) = breaking(vec![3, 0, 1, 0]).await;
    let send = ["events", "send", "--addr", &addr, "--events", &log, "--json"];
    let sent = ops(&send).await;
    sent.expect(0, &[]);
    let told = sent.json();
    assert_eq!((&told["accepted"], &told["retries"]), (&7_500.into(), &4.into()), "{told}");
    assert_eq!(seen.lock().unwrap().0.len(), 7_500);
    // One that takes everything and says nothing is left for another stream.
    let (addr, seen) = breaking(vec![SAYS_NOTHING]).await;
    let send = ["events", "send", "--addr", &addr, "--events", &log, "--timeout-ms", "2000"];
    let sent = ops(&[&send[..], &["--json"]].concat()).await.json();
    assert_eq!((&sent["accepted"], &sent["retries"]), (&7_500.into(), &1.into()), "{sent}");
    assert_eq!(seen.lock().unwrap().0.len(), 7_500);
    // A server that only breaks is given up, with what was acknowledged.
    let (addr, _) = breaking(vec![0; 20]).await;
    let send = ["events", "send", "--addr", &addr, "--events", &log, "--attempts", "2"];
    ops(&send).await.expect(75, &["Unavailable: busy", "0 events are acknowledged", "is safe"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_an_exit_code() {
    let server = Running::start(&[]).await;
    let addr = server.address.to_string();
    ops(&["health", "--addr", &addr]).await.says(0, &["SERVING"]);
    let scoring = ["health", "--addr", &addr, "--service", "tenure.v1.ScoringService", "--json"];
    let told = ops(&scoring).await.json();
    assert_eq!((&told["serves"], &told["status"]), (&true.into(), &"SERVING".into()));
    let unknown = ["health", "--addr", &addr, "--service", "tenure.v1.Nothing"];
    ops(&unknown).await.says(1, &["SERVICE_UNKNOWN"]);
    assert!(server.stop().await.complete);
    ops(&["health", "--addr", &addr]).await.says(2, &["NO_ANSWER"]);
    // Somebody who takes connections and says nothing.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = deaf.local_addr().unwrap().to_string();
    let asked = ["health", "--addr", &addr, "--timeout-ms", "200"];
    ops(&asked).await.says(2, &["NO_ANSWER within 200 ms"]);
    let far = ["health", "--addr", "a.example:1", "--key-file", "x"];
    ops(&far).await.expect(64, &["unencrypted", "--tls-ca"]);
    ops(&["health", "--addr", "nowhere"]).await.expect(64, &["host and port"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_its_key_and_checks_the_servers_certificate() {
    let place = Place::new();
    let keys = place.path("keys.toml");
    let key = new_key(Path::new(&keys), "etl", &["--role", "ingest"]);
    let key_file = place.file("key", &format!("{key}\n"));
    let server = secure(&[("keys", &keys)]).await;
    let addr = server.address.to_string();
    let log = place.file("a.csv", "event_id,customer,time,amount\n1,a,2026-05-01,7\n");
    let (ca, other) = (text(&golden("authority.pem")), text(&golden("server.pem")));
    let send = ["events", "send", "--addr", &addr, "--events", &log, "--attempts", "1"];
    let tls = |ca| ["--tls-ca", ca, "--tls-name", "localhost"];
    let shown = [&send[..], &tls(&ca), &["--key-file", &key_file]].concat();
    ops(&shown).await.says(0, &["accepted          1"]);
    let hidden = [&send[..], &tls(&ca)].concat();
    ops(&hidden).await.expect(1, &["KEY_MISSING"]);
    let strange = [&send[..], &tls(&other), &["--key-file", &key_file]].concat();
    ops(&strange).await.expect(75, &["0 events are acknowledged"]);
    let health = [&["health", "--addr", &addr][..], &tls(&ca)].concat();
    ops(&health).await.says(0, &["SERVING"]);
    ops(&["health", "--addr", &addr]).await.says(2, &["NO_ANSWER"]);
    assert!(server.stop().await.complete);
}
