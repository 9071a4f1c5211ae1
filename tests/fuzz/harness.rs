//! One function a target: whatever the bytes, no panic, and what was taken in holds together.
//!
//! In: bytes of a fuzzer or of the kept corpus. Out: nothing; a broken promise is a panic. These
//! are compiled into the fuzz targets and into the ordinary tests, which run the kept inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a finding is a panic")]
#![allow(unreachable_pub, reason = "a module of two programs")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tenure::bundle::Bundle;
use tenure::decision::Policy;
use tenure::domain::{AsOf, CustomerId, Day, Timestamp};
use tenure::events::{FileFormat, Intake, ReadSpec, RowOutcome, Rules};
use tenure::history::{BYTES_MAX, History};
use tenure::scoring::{Engine, self_test};
use tenure::serve::pb;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::serve_fixture::{Running, write_bundle};

/// Of the installation that these inputs are tried on.
const SALT: &str = "a salt that nobody guesses";

/// Rows of a log or of a table of facts, folded into one customer.
pub fn events(data: &[u8]) {
    let Some((&how, text)) = data.split_first() else { return };
    let format = if how & 1 == 0 { FileFormat::Jsonl } else { FileFormat::Csv };
    let rules = Rules {
        id_required: how & 4 != 0,
        decimal_comma: how & 8 != 0,
        newest_allowed: (how & 16 != 0).then(|| Timestamp::from_micros(1_800_000_000_000_000)),
        ..Rules::default()
    };
    let spec = ReadSpec::default();
    let mut intake = if how & 2 == 0 {
        Intake::new(&spec, &rules)
    } else {
        Intake::of_profiles(&spec, &rules, Timestamp::from_micros(1_700_000_000_000_000))
    };
    let mut history = History::default();
    let mut took = |outcome: RowOutcome<'_>| {
        if let RowOutcome::Kept(event) = outcome {
            history.apply(&event);
        }
    };
    let read = intake.read_text("fuzz", format, &mut &*text, &mut took);
    if read.is_ok() {
        let _ = intake.finish();
    }
    round_trip(&history);
}

/// A stored history: the body with its checksum made right, then as it came.
pub fn history(data: &[u8]) {
    let _ = History::from_bytes(data);
    let mut bytes = vec![1];
    bytes.extend_from_slice(data);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let Ok(history) = History::from_bytes(&bytes) else { return };
    round_trip(&history);
    let mut merged = history.clone();
    merged.merge(&history);
    round_trip(&merged);
    let _ = answer(engine(), &history);
}

/// A bundle's file changed in places, or replaced, with digests and version made right again.
pub fn bundle(data: &[u8]) {
    let Some((&which, data)) = data.split_first() else { return };
    let mut files = bundle_files().clone();
    let manifest = files.remove("manifest.json").unwrap();
    let names = files.keys().cloned().collect::<Vec<_>>();
    let manifest = match names.get(usize::from(which) % (names.len() + 1)) {
        Some(name) => {
            let changed = patched(&files[name], data);
            files.insert(name.clone(), changed.into_owned());
            let mut fields: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            for (name, bytes) in &files {
                fields["files"][name] = hex(bytes).into();
            }
            serde_json::to_vec(&fields).unwrap()
        }
        None => patched(&manifest, data).into_owned(),
    };
    let dir = scratch();
    let folder = dir.path().join(&hex(&manifest)[..12]);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("manifest.json"), &manifest).unwrap();
    for (name, bytes) in &files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let Ok(bundle) = Bundle::load(&folder) else { return };
    if self_test(&bundle).is_err() {
        return;
    }
    if let Ok(engine) = Engine::try_new(bundle, None, Some(SALT)) {
        let _ = answer(&engine, &bought());
    }
}

/// A policy, whole or the default one changed in places.
pub fn policy(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let text = if how & 1 == 0 {
        Cow::Borrowed(rest)
    } else {
        patched(Policy::default_text().as_bytes(), rest)
    };
    let Ok(text) = std::str::from_utf8(&text) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    assert_eq!(policy.id(), Policy::parse(text).unwrap().id(), "one text, one hash");
    let bundle = Bundle::load(&engine().bundle().folder).unwrap();
    if let Ok(engine) = Engine::try_new(bundle, Some(policy), Some(SALT)) {
        let _ = answer(&engine, &bought());
    }
}

/// Calls to a server: which method, then the bytes of its message. Streams get it thrice.
pub fn request(data: &[u8]) {
    let Some((&method, message)) = data.split_first() else { return };
    let (runtime, channel) = server();
    let path = methods()[usize::from(method) % methods().len()].clone();
    let result = runtime.block_on(call(channel.clone(), &path, message));
    let Err(status) = result else { return };
    assert!(![Code::Unknown, Code::DataLoss].contains(&status.code()), "{path}: {status:?}");
    // Calls that end before they reach us, as for a broken frame, are answered by the protocol.
    if status.get_details_error_info().is_none() {
        let codes = [Code::Internal, Code::InvalidArgument, Code::Cancelled, Code::OutOfRange];
        assert!(codes.contains(&status.code()), "{path}: no reason in {status:?}");
    }
}

/// Paths of all methods, in the order of the descriptors.
pub fn methods() -> &'static [String] {
    static METHODS: OnceLock<Vec<String>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let set = prost_types::FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "tenure.v1");
        let mut paths = ours
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                let path = |rpc: &str| format!("/tenure.v1.{}/{rpc}", service.name());
                service.method.iter().map(move |rpc| path(rpc.name())).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        paths.sort();
        paths
    })
}

async fn call(channel: Channel, path: &str, message: &[u8]) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let messages = vec![message.to_vec(); 3];
    let mut request = Request::new(tokio_stream::iter(messages));
    request.set_timeout(Duration::from_secs(20));
    let path = PathAndQuery::try_from(path).unwrap();
    let mut answers = client.streaming(request, path, Raw).await?.into_inner();
    // Some streams end with their caller only.
    for _ in 0..4 {
        match tokio::time::timeout(Duration::from_millis(5), answers.message()).await {
            Ok(Ok(Some(_))) => (),
            Ok(Err(status)) => return Err(status),
            Ok(Ok(None)) | Err(_) => break,
        }
    }
    Ok(())
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(out, &item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        use prost::bytes::Buf;
        let len = bytes.remaining();
        bytes.advance(len);
        Ok(Some(len))
    }
}

/// Changes in places: each an offset (u16), bytes to drop (u8), bytes to put in (u8) and these.
/// A first byte of 255 replaces the whole.
fn patched<'a>(original: &'a [u8], data: &'a [u8]) -> Cow<'a, [u8]> {
    if let Some((255, whole)) = data.split_first() {
        return Cow::Borrowed(whole);
    }
    let mut out = original.to_vec();
    let mut rest = data;
    while let [low, high, dropped, len, tail @ ..] = rest {
        let len = usize::from(*len).min(tail.len());
        let (put, next) = tail.split_at(len);
        let start = usize::from(u16::from_le_bytes([*low, *high])) % (out.len() + 1);
        let end = (start + usize::from(*dropped)).min(out.len());
        out.splice(start..end, put.iter().copied());
        rest = next;
    }
    Cow::Owned(out)
}

fn round_trip(history: &History) {
    let bytes = history.to_bytes();
    match History::from_bytes(&bytes) {
        Ok(again) => assert_eq!(again.to_bytes(), bytes, "reading and writing changes it"),
        Err(error) => panic!("cannot read what was written ({} bytes): {error}", bytes.len()),
    }
    // What is too long for the store is told from its length; nothing may be longer by much.
    assert!(bytes.len() < 64 * BYTES_MAX, "{} bytes", bytes.len());
}

fn answer(engine: &Engine, history: &History) -> Option<()> {
    let day = Day::parse("2026-06-01").unwrap();
    let as_of = AsOf::end_of(day, engine.zone());
    let id = CustomerId::try_new("fuzz").unwrap();
    let answer = engine.answer(&id, history, as_of, true).ok()?;
    let score = &answer.score;
    let in_range = |p: f64| (0.0..=1.0).contains(&p);
    assert!(score.churn_prob.is_none_or(in_range), "{score:?}");
    assert!(score.p_alive.is_none_or(in_range), "{score:?}");
    Some(())
}

fn bought() -> History {
    static TEXT: &str = "customer_id,timestamp,amount\na,2026-01-05,10\na,2026-02-11,12.5\n\
                         a,2026-03-02,9\na,2026-03-30,31\n";
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let mut history = History::default();
    let mut intake = Intake::new(&spec, &rules);
    let mut took = |outcome: RowOutcome<'_>| {
        if let RowOutcome::Kept(event) = outcome {
            history.apply(&event);
        }
    };
    intake.read_text("bought", FileFormat::Csv, &mut TEXT.as_bytes(), &mut took).unwrap();
    assert_eq!(history.n_events(), 4);
    history
}

/// A small bundle on disk, for as long as the process lives.
fn home() -> &'static (TempDir, PathBuf) {
    static HOME: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    HOME.get_or_init(|| {
        let dir = scratch();
        let version = write_bundle(dir.path());
        let folder = dir.path().join("demo").join(version);
        (dir, folder)
    })
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let bundle = Bundle::load(&home().1).unwrap();
        Engine::try_new(bundle, None, Some(SALT)).unwrap()
    })
}

fn bundle_files() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let entries = std::fs::read_dir(&home().1).unwrap().map(|entry| entry.unwrap().path());
        let file = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        };
        entries.map(file).collect()
    })
}

fn server() -> (&'static tokio::runtime::Runtime, &'static Channel) {
    static SERVER: OnceLock<(tokio::runtime::Runtime, Channel)> = OnceLock::new();
    let (runtime, channel) = SERVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let channel = runtime.block_on(async {
            let server = Running::start(&[("durability", "memory")]).await;
            let channel = server.channel().await;
            // It serves until the process ends.
            std::mem::forget(server);
            channel
        });
        (runtime, channel)
    });
    (runtime, channel)
}

/// A folder in memory where the machine has one.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
