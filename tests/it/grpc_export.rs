//! The store of a running server as an export: the same bytes as beside a stopped one, of one
//! commit whatever is written meanwhile, taken up again after a break, fetched by the program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use tenure::serve::pb;
use tenure::store::{
    MemoryStore, ScanRange, SledOptions, SledStore, StateStore, export, export_manifest, import,
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::cli::{OPS, run};
use crate::serve_client::{Clients, purchase, three_customers, told};
use crate::serve_fixture::Running;

type Chunks = Streaming<pb::ExportStatesResponse>;

async fn begin(clients: &mut Clients, request: pb::ExportStatesRequest) -> Result<Chunks, Status> {
    clients.customers.export_states(request).await.map(tonic::Response::into_inner)
}

/// Reads to the end, behind what is there; the export's id and its manifest.
async fn read(chunks: &mut Chunks, bytes: &mut Vec<u8>) -> (String, pb::ExportManifest) {
    loop {
        let message = chunks.message().await.unwrap().expect("a manifest comes last");
        assert_eq!(message.offset, bytes.len() as u64);
        assert!(message.chunk.len() <= 256 << 10);
        bytes.extend_from_slice(&message.chunk);
        if let Some(manifest) = message.manifest {
            assert_eq!(manifest.byte_count, bytes.len() as u64);
            assert_eq!(manifest.sha256, Sha256::digest(&bytes[..]).to_vec());
            assert_eq!(chunks.message().await.unwrap(), None);
            return (message.export_id, manifest);
        }
    }
}

async fn whole(clients: &mut Clients) -> (Vec<u8>, pb::ExportManifest) {
    let mut bytes = Vec::new();
    let mut chunks = begin(clients, pb::ExportStatesRequest::default()).await.unwrap();
    let (_, manifest) = read(&mut chunks, &mut bytes).await;
    (bytes, manifest)
}

/// An id so long that a few thousand customers are more than fits into all buffers on the way.
fn name(i: usize) -> String {
    format!("c{i}-{}", "x".repeat(200))
}

/// So many customers from a number on, a purchase each.
async fn fill(clients: &mut Clients, from: usize, n: usize) {
    let events: Vec<pb::Event> =
        (from..from + n).map(|i| purchase(&format!("e{i}"), &name(i), 9, 5.0)).collect();
    for events in events.chunks(1_000) {
        let taken = clients.ingest(events.to_vec()).await.unwrap();
        assert!(taken.rejected.is_empty());
    }
}

fn records(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("records.bin")).unwrap()
}

/// What an offline export of the store gives.
fn offline(store: &Path, out: &Path) -> Vec<u8> {
    let (store, _) = SledStore::open(store, &SledOptions::default()).unwrap();
    export(&store, ScanRange::All, out).unwrap();
    records(out)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_export_has_the_bytes_of_one_beside_the_stopped_store() {
    let server = Running::start(&[("sweep_rate", "0")]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    fill(&mut clients, 0, 2_000).await;
    let (bytes, manifest) = whole(&mut clients).await;
    assert_eq!((manifest.state_count, manifest.event_id_count), (2_003, 2_008));
    // The program does the same, and what it wrote is an export like any other.
    let dir = tempfile::tempdir().unwrap();
    let fetched = dir.path().join("fetched");
    let args = ["store", "export", "--from-server", &server.address.to_string(), "--json"]
        .map(str::to_owned);
    let out = fetched.to_str().unwrap().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).chain(["--out", &out]).collect();
        let first = run(OPS, &args).json();
        run(OPS, &args).expect(65, &["holds an export already"]);
        first
    });
    let said = ran.await.unwrap();
    assert_eq!((&said["commit"], &said["bytes"]), (&manifest.commit.into(), &bytes.len().into()));
    assert_eq!(records(&fetched), bytes);
    let copy = MemoryStore::new();
    assert_eq!(import(&copy, &fetched).unwrap(), export_manifest(&fetched).unwrap());
    assert_eq!(copy.count().unwrap(), 2_003);
    let shard = tenure::store::shard_of(&tenure::domain::CustomerId::try_new("once").unwrap());
    let mut of_shard = Vec::new();
    let request = pb::ExportStatesRequest { shard: Some(shard.into()), ..Default::default() };
    let mut chunks = begin(&mut clients, request).await.unwrap();
    let (_, manifest) = read(&mut chunks, &mut of_shard).await;
    assert_eq!(manifest.shard, Some(shard.into()));
    assert!((1..40).contains(&manifest.state_count) && of_shard.len() < bytes.len() / 50);
    let store = server.config.store.clone().unwrap();
    let kept = server.stop_and_keep().await;
    assert_eq!(offline(&store, &dir.path().join("offline")), bytes);
    drop(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_of_one_commit_while_events_come_in_and_goes_on_after_a_break() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    fill(&mut clients, 0, 12_000).await;
    let (before, manifest) = whole(&mut clients).await;
    assert!(before.len() > 24 * (256 << 10), "{} bytes", before.len());
    // A part of it, which is then broken off.
    let mut chunks = begin(&mut clients, pb::ExportStatesRequest::default()).await.unwrap();
    let mut bytes = Vec::new();
    let first = chunks.message().await.unwrap().unwrap();
    bytes.extend_from_slice(&first.chunk);
    // While it waits for its reader, others write: old customers, new ones, and one is erased.
    fill(&mut clients, 11_000, 3_000).await;
    let again: Vec<pb::Event> =
        (0..1_000).map(|i| purchase(&format!("f{i}"), &name(i * 11), 3, 7.0)).collect();
    clients.ingest(again).await.unwrap();
    let gone = pb::DeleteCustomerRequest { customer: name(77), validate_only: false };
    clients.customers.delete_customer(gone).await.unwrap();
    drop(chunks);
    let go_on = pb::ExportStatesRequest {
        export_id: first.export_id.clone(),
        offset: bytes.len() as u64,
        shard: None,
    };
    let mut chunks = loop {
        match begin(&mut clients, go_on.clone()).await {
            Ok(chunks) => break chunks,
            // The server has not heard of the break yet.
            Err(status) => {
                assert_eq!(told(&status).1, "OVERLOADED");
                assert!(status.get_details_retry_info().is_some());
            }
        }
    };
    let (id, again) = read(&mut chunks, &mut bytes).await;
    assert_eq!(id, first.export_id);
    // The sweep's own notes are commits, too; the states are those of before.
    assert!(again.commit >= manifest.commit);
    assert!(bytes == before, "the bytes are those of before the events");
    let (after, _) = whole(&mut clients).await;
    assert!(after != before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_cannot_be_meant_or_are_too_many_are_refused_and_hold_up_nobody() {
    let mut server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    fill(&mut clients, 0, 12_000).await;
    let bad = pb::ExportStatesRequest { shard: Some(1_024), offset: 3, ..Default::default() };
    let (code, _, fields) = told(&begin(&mut clients, bad).await.unwrap_err());
    assert_eq!(
        (code, fields),
        (Code::InvalidArgument, ["shard", "offset"].map(String::from).into())
    );
    let unknown = pb::ExportStatesRequest { export_id: "x1.2.3".to_owned(), ..Default::default() };
    assert_eq!(told(&begin(&mut clients, unknown).await.unwrap_err()).1, "EXPORT_UNKNOWN");
    let ask = pb::ExportStatesRequest::default;
    let mut first = begin(&mut clients, ask()).await.unwrap();
    let second = begin(&mut clients, ask()).await.unwrap();
    let (code, reason, _) = told(&begin(&mut clients, ask()).await.unwrap_err());
    assert_eq!((code, &*reason), (Code::Unavailable, "OVERLOADED"));
    // One that its reader left makes way, and one that is not read holds up no writer.
    drop(second);
    let third = loop {
        if let Ok(chunks) = begin(&mut clients, ask()).await {
            break chunks;
        }
    };
    fill(&mut clients, 20_000, 1_000).await;
    // They end with the server, which waits for none of them.
    server.tell();
    let ended = loop {
        match first.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the export is not whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(told(&ended).1, "SHUTTING_DOWN");
    drop(third);
    assert!(server.ended().await.complete);
}

/// With a key and an authority, over TLS, as from another machine.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_fetches_over_tls_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let golden = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name);
        path.to_str().unwrap().to_owned()
    };
    for role in ["admin", "score"] {
        let args = ["keys", "new", "--keys", &path("keys"), "--id", role, "--role", role, "--json"];
        let key = run(OPS, &args).json()["key"].as_str().unwrap().to_owned();
        fs::write(path(role), format!("{key}\n")).unwrap();
    }
    let (cert, key, keys) = (golden("server.pem"), golden("server.key"), path("keys"));
    let settings = [("tls_cert", &*cert), ("tls_key", &*key), ("keys", &*keys)];
    let server = Running::start(&settings).await;
    let (port, authority) = (server.address.port(), golden("authority.pem"));
    let address = format!("localhost:{port}");
    let places = (path("admin"), path("score"), path("out"), path("other"), golden("stranger.pem"));
    let tried = tokio::task::spawn_blocking(move || {
        let (admin, score, out, other, stranger) = places;
        let fetch = |key: &str, authority: &str, out: &str| {
            let server = ["store", "export", "--from-server", &address, "--tls-ca", authority];
            run(OPS, &[&server[..], &["--key-file", key, "--out", out]].concat())
        };
        fetch(&score, &authority, &other).expect(65, &["ROLE_MISSING"]);
        fs::remove_dir_all(&other).unwrap();
        fetch(&admin, &stranger, &other).expect(75, &[&address]);
        fs::remove_dir_all(&other).unwrap();
        fetch("/no/such/key", &authority, &other).expect(64, &["/no/such/key"]);
        fetch(&admin, &authority, &out).expect(0, &[]);
        run(OPS, &["store", "export", "--out", &out]).expect(64, &["store is missing"]);
    });
    tried.await.unwrap();
    assert_eq!(export_manifest(Path::new(&path("out"))).unwrap().counts.states, 0);
    server.stop().await;
}
