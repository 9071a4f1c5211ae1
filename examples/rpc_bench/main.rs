//! What calls cost: the server beside one that does nothing, or any other server, under one client.
//!
//!     cargo build --release --bins && cargo run --release --example rpc_bench [SECONDS]
//!     rpc_bench ours SECONDS               (without the other server)
//!     rpc_bench --base cdnow ...           (either, of customers with few purchases)
//!     rpc_bench load NAME ADDRESS METHOD PID IN_FLIGHT SECONDS REQUEST_FILE
//!     rpc_bench requests FOLDER            (writes the messages of the first)
//!     rpc_bench tls|traced|swaps|started [SECONDS]
//!
//! The first starts `tenure-serve` with the demo model, a base in its store and a decision log, and
//! this program again as a server that reads each message and answers the bytes that tenure
//! answered; then drives both, kind by kind. The base is the households of Complete Journey, with
//! 58 events each, or the CDNOW sample, with 3. It prints a Markdown table: calls a second, the
//! server's processor time a call (all threads, from /proc), the times that callers waited, and at
//! the end the most memory that the server had. Client and servers share the machine. `load` does
//! the same with one call of another server, whose processes are those of PID's group;
//! REQUEST_FILE is its message. The last kinds hold servers of different settings against each
//! other, in turns: with and without TLS, with and without traces, while the champion changes, and
//! when they start. `PROGRAMS` names another folder of programs than the one beside this. Writes
//! only to `target/rpc_bench` and folders whose names begin so.
#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost::bytes::{Buf, Bytes};
use tenure::bundle::{Bundle, BundleSelector};
use tenure::domain::{AsOf, Day, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules};
use tenure::history::History;
use tenure::scoring::Engine;
use tenure::serve::pb;
use tenure::serve::pb::score_matrix_request::Cells;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

mod beside;
mod noop;
mod started;
mod swaps;
mod tls;
mod traced;

const SERVICE: &str = "/tenure.v1.ScoringService/";
const ROWS: usize = 1_000;
const CONNECTIONS: usize = 4;
const DEEP: usize = 64;
/// Streams side by side, where there are several.
const STREAMS: usize = 4;

/// Whose customers are asked for.
#[derive(Debug, Clone, Copy)]
struct Base {
    /// Name for the command line.
    name: &'static str,
    /// The log.
    file: &'static str,
    /// The last day of it that counts; questions are of its end.
    day: &'static str,
}

const BASES: [Base; 2] = [
    Base { name: "complete_journey", file: "data/complete_journey.csv.gz", day: "2017-11-30" },
    Base { name: "cdnow", file: "data/cdnow_sample.csv.gz", day: "1998-06-30" },
];

impl Base {
    /// Takes the choice out of the arguments.
    fn of(args: &mut Vec<String>) -> Result<Self> {
        let Some(at) = args.iter().position(|arg| arg == "--base") else { return Ok(BASES[0]) };
        let name = args.get(at + 1).cloned().unwrap_or_default();
        args.drain(at..args.len().min(at + 2));
        let found = BASES.into_iter().find(|base| base.name == name);
        found.with_context(|| format!("no base {name:?}: complete_journey or cdnow"))
    }

    fn as_of(self) -> Result<AsOf> {
        Ok(AsOf::end_of(Day::parse(self.day)?, &Zone::UTC))
    }
}

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let base = Base::of(&mut args)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["noop", dir] => runtime.block_on(noop::serve(Path::new(dir))),
        ["load", name, address, method, pid, in_flight, seconds, file] => {
            let messages = vec![Bytes::from(std::fs::read(file)?)];
            let (method, load) = ((*method).to_owned(), Load::Unary(in_flight.parse()?));
            let kind = Kind { name, method, messages, load, n: rows_of(name) };
            let time = Duration::from_secs(seconds.parse()?);
            runtime.block_on(async {
                let line = drive(address, pid.parse()?, &kind, time).await?;
                println!("{}", line.row(name));
                Ok(())
            })
        }
        [what @ ("tls" | "traced" | "swaps" | "started"), more @ ..] => {
            let seconds = more.first().map_or(Ok(3), |text| text.parse())?;
            let time = Duration::from_secs(seconds);
            runtime.block_on(async {
                match *what {
                    "tls" => tls::run(base, time).await,
                    "traced" => traced::run(base, time).await,
                    "swaps" => swaps::run(base, time).await,
                    _ => started::run(base, time).await,
                }
            })
        }
        ["requests", dir] => write_requests(base, Path::new(dir)),
        ["ours", seconds] => {
            runtime.block_on(compare(base, Duration::from_secs(seconds.parse()?), false))
        }
        [] => runtime.block_on(compare(base, Duration::from_secs(5), true)),
        [seconds] => runtime.block_on(compare(base, Duration::from_secs(seconds.parse()?), true)),
        _ => anyhow::bail!("see the head of examples/rpc_bench/main.rs"),
    }
}

/// A name that ends in `xN` is of calls of N rows.
fn rows_of(name: &str) -> usize {
    name.rsplit_once(" x").and_then(|(_, rows)| rows.parse().ok()).unwrap_or(1)
}

/// Messages as they are, without a look inside.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
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
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use prost::bytes::BufMut;
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// How calls are made.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// So many at a time, over all connections.
    Unary(usize),
    /// So many streams, each on a connection of its own with [`DEEP`] rows on their way.
    Streams(usize),
}

/// A kind of call.
#[derive(Debug)]
struct Kind<'k> {
    name: &'k str,
    method: String,
    /// Sent in turn.
    messages: Vec<Bytes>,
    load: Load,
    /// Rows of a call.
    n: usize,
}

/// What was found.
#[derive(Debug)]
struct Line {
    calls_per_second: f64,
    rows_per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    answer_bytes: usize,
}

impl Line {
    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {} |",
            self.calls_per_second,
            self.rows_per_second,
            self.cpu_us,
            self.p50_us,
            self.p99_us,
            self.answer_bytes
        )
    }
}

/// Processor time of all processes of a group, in seconds.
fn cpu_seconds(group: u32) -> Result<f64> {
    let mut ticks = 0_u64;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(text) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((_, rest)) = text.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields.get(2).is_some_and(|found| *found == group.to_string()) {
            let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
            ticks += number(11).unwrap_or(0) + number(12).unwrap_or(0);
        }
    }
    Ok(ticks as f64 / 100.0)
}

async fn drive(address: &str, group: u32, kind: &Kind<'_>, time: Duration) -> Result<Line> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Channel::from_shared(address.to_owned())?.connect().await?);
    }
    drive_over(&channels, group, kind, time).await
}

async fn drive_over(
    channels: &[Channel],
    group: u32,
    kind: &Kind<'_>,
    time: Duration,
) -> Result<Line> {
    let path: PathAndQuery = kind.method.parse()?;
    let messages = Arc::new(kind.messages.clone());
    let mut found = None;
    // The first run warms both sides up.
    for time in [time / 4, time] {
        let (cpu, begun) = (cpu_seconds(group)?, Instant::now());
        let run = match kind.load {
            Load::Unary(n) => unary(channels, &path, &messages, (n, time)).await?,
            Load::Streams(n) => streams(&channels[..n], &path, &messages, time).await?,
        };
        found = Some((run, cpu_seconds(group)? - cpu, begun.elapsed().as_secs_f64()));
    }
    let ((mut waited, answer_bytes), cpu, seconds) = found.context("nothing was run")?;
    waited.sort_by(f64::total_cmp);
    let n_calls = waited.len() as f64;
    ensure!(n_calls > 0.0, "{}: no call was answered", kind.name);
    let quantile = |per_thousand: usize| waited[(waited.len() - 1) * per_thousand / 1_000];
    Ok(Line {
        calls_per_second: n_calls / seconds,
        rows_per_second: n_calls * kind.n as f64 / seconds,
        cpu_us: cpu / n_calls * 1e6,
        p50_us: quantile(500),
        p99_us: quantile(990),
        answer_bytes,
    })
}

/// Microseconds that each call took, and bytes of the last answer.
type Run = (Vec<f64>, usize);

async fn unary(
    channels: &[Channel],
    path: &PathAndQuery,
    messages: &Arc<Vec<Bytes>>,
    (n, time): (usize, Duration),
) -> Result<Run> {
    let (until, turn) = (Instant::now() + time, Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for idx in 0..n {
        let mut client =
            Grpc::new(channels[idx % channels.len()].clone()).max_decoding_message_size(64 << 20);
        let (path, messages, turn) = (path.clone(), Arc::clone(messages), Arc::clone(&turn));
        callers.spawn(async move {
            let (mut waited, mut bytes) = (Vec::new(), 0);
            while Instant::now() < until {
                let message = turn.fetch_add(1, Ordering::Relaxed) % messages.len();
                let begun = Instant::now();
                client.ready().await?;
                let request = Request::new(messages[message].clone());
                match client.unary(request, path.clone(), Raw).await {
                    Ok(answer) => {
                        bytes = answer.into_inner().len();
                        waited.push(begun.elapsed().as_secs_f64() * 1e6);
                    }
                    // A busy server refuses what it cannot answer in time: such a call is no call.
                    Err(status) if status.code() == tonic::Code::Unavailable => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    Err(status) => return Err(status.into()),
                }
            }
            Ok::<_, anyhow::Error>((waited, bytes))
        });
    }
    together(callers).await
}

/// What all callers found.
async fn together(mut callers: tokio::task::JoinSet<Result<Run>>) -> Result<Run> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(run) = callers.join_next().await {
        let (waited, found) = run??;
        all.extend(waited);
        bytes = bytes.max(found);
    }
    Ok((all, bytes))
}

async fn streams(
    channels: &[Channel],
    path: &PathAndQuery,
    messages: &Arc<Vec<Bytes>>,
    time: Duration,
) -> Result<Run> {
    let mut callers = tokio::task::JoinSet::new();
    for channel in channels {
        let (channel, path, messages) = (channel.clone(), path.clone(), Arc::clone(messages));
        callers.spawn(async move { stream(channel, path, &messages, time).await });
    }
    together(callers).await
}

async fn stream(
    channel: Channel,
    path: PathAndQuery,
    messages: &[Bytes],
    time: Duration,
) -> Result<Run> {
    let (sender, receiver) = tokio::sync::mpsc::channel(DEEP);
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let request = Request::new(ReceiverStream::new(receiver));
    let mut turn = messages.iter().cycle();
    let mut sent = std::collections::VecDeque::new();
    for message in turn.by_ref().take(DEEP) {
        sent.push_back(Instant::now());
        sender.send(message.clone()).await?;
    }
    let mut answers = client.streaming(request, path, Raw).await?.into_inner();
    let (until, mut waited, mut bytes) = (Instant::now() + time, Vec::new(), 0);
    while let Some(answer) = answers.next().await {
        bytes = answer?.len();
        let begun = sent.pop_front().context("more answers than rows")?;
        waited.push(begun.elapsed().as_secs_f64() * 1e6);
        if begun >= until {
            break;
        }
        if let Some(message) = turn.next() {
            sent.push_back(Instant::now());
            sender.send(message.clone()).await?;
        }
    }
    Ok((waited, bytes))
}

/// A server at work; ended with its group.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut child = command.stdout(Stdio::piped()).process_group(0).spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("it did not start")?;
        Ok(Self { address: format!("http://{address}"), child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn programs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("PROGRAMS") {
        return Ok(folder.into());
    }
    let beside = std::env::current_exe()?;
    Ok(beside.parent().and_then(Path::parent).context("no folder of programs")?.to_owned())
}

/// Models of its own, since the server notes its experiments beside them, and a filled store.
fn prepare(base: Base, work: &Path) -> Result<()> {
    if work.try_exists()? {
        std::fs::remove_dir_all(work)?;
    }
    copy(&root().join("models"), &work.join("models"))?;
    let loaded = Command::new(programs()?.join("tenure-ops"))
        .args(["store", "load", "--as-of", base.day, "--name", "demo", "--store"])
        .arg(work.join("store"))
        .arg("--models")
        .arg(work.join("models"))
        .arg("--events")
        .arg(root().join(base.file))
        .stdout(Stdio::null())
        .status()?;
    ensure!(loaded.success(), "the store could not be loaded: build the programs first");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// The engine of the demo model, and the log that the store was filled from.
fn engine_and_log(base: Base) -> Result<(Engine, Log, AsOf)> {
    let bundle = Bundle::find(&root().join("models"), &BundleSelector::parse("demo")?)?;
    let engine = Engine::try_new(bundle, None, Some("a salt that decides nothing here"))?;
    let as_of = base.as_of()?;
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let events = vec![root().join(base.file)];
    let log = LogSpec { events, profiles: None, read, rules, before: as_of };
    Ok((engine, Log::read(&log, &mut |_| {})?, as_of))
}

/// The rows of the first customers as a message, and that of the first alone.
fn matrices(engine: &Engine, log: &Log, as_of: AsOf) -> Result<[Vec<Bytes>; 2]> {
    let predictor = engine.bundle().predictor().context("a bundle of a log")?;
    let (mut cells, mut row) = (Vec::new(), Vec::new());
    for customer in log.customers.iter().take(ROWS) {
        let mut history = History::default();
        for event in &customer.events {
            history.apply(event);
        }
        predictor.row(&history, as_of, &mut row);
        #[allow(clippy::cast_possible_truncation, reason = "cells of f32 are what is sent")]
        cells.extend(row.iter().flat_map(|cell| (*cell as f32).to_le_bytes()));
    }
    let width = cells.len() / ROWS;
    Ok([1, ROWS].map(|n_rows| {
        let request = pb::ScoreMatrixRequest {
            model: None,
            feature_schema: engine.matrix_schema().to_owned(),
            row_count: u32::try_from(n_rows).unwrap_or(u32::MAX),
            cells: Some(Cells::FloatCells(cells[..n_rows * width].to_vec())),
        };
        vec![Bytes::from(request.encode_to_vec())]
    }))
}

/// All kinds of calls with their messages.
fn kinds(base: Base) -> Result<Vec<Kind<'static>>> {
    let (engine, log, as_of) = engine_and_log(base)?;
    let seconds = as_of.instant().micros() / 1_000_000;
    let subject = |customer: &tenure::events::CustomerLog| pb::ScoreSubject {
        customer: customer.customer.as_str().to_owned(),
        as_of: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..Default::default()
    };
    let subjects: Vec<pb::ScoreSubject> = log.customers.iter().map(subject).collect();
    let one = |subject: &pb::ScoreSubject| {
        let subject = Some(subject.clone());
        pb::ScoreCustomerRequest { subject, ..Default::default() }.encode_to_vec().into()
    };
    let streamed = |(sequence, subject): (u64, &pb::ScoreSubject)| {
        let subject = Some(subject.clone());
        pb::ScoreStreamRequest { sequence, subject, ..Default::default() }.encode_to_vec().into()
    };
    let ones: Vec<Bytes> = subjects.iter().map(one).collect();
    let streamed: Vec<Bytes> = (0..).zip(&subjects).map(streamed).collect();
    let subjects = subjects.into_iter().take(ROWS).collect();
    let batch = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
    let batch = vec![Bytes::from(batch.encode_to_vec())];
    let [row, rows] = matrices(&engine, &log, as_of)?;
    let unary = |name, messages, in_flight, n| {
        let method = method_of(name);
        Kind { name, method, messages, load: Load::Unary(in_flight), n }
    };
    let streams = |name, n| {
        let (method, messages) = (method_of(name), streamed.clone());
        Kind { name, method, messages, load: Load::Streams(n), n: 1 }
    };
    Ok(vec![
        unary("ScoreCustomer by id, 64 in flight", ones.clone(), 64, 1),
        unary("ScoreCustomer by id, 1 in flight", ones, 1, 1),
        streams("ScoreStream by id, 64 deep", 1),
        streams("ScoreStream by id, 4 streams", STREAMS),
        unary("BatchScoreCustomers by id x1000", batch, 2, ROWS),
        unary("ScoreMatrix x1, 64 in flight", row.clone(), 64, 1),
        unary("ScoreMatrix x1, 1 in flight", row, 1, 1),
        unary("ScoreMatrix x1000", rows, 2, ROWS),
    ])
}

/// Names of kinds begin with their method.
fn method_of(name: &str) -> String {
    let method = name.split(' ').next().unwrap_or_default();
    format!("{SERVICE}{method}")
}

fn write_requests(base: Base, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    for kind in kinds(base)? {
        let method = kind.method.rsplit('/').next().context("a method")?;
        let name = format!("{method}-{}.bin", kind.n);
        std::fs::write(dir.join(name), kind.messages.first().context("a message")?)?;
    }
    Ok(())
}

/// Drives the server with all kinds of calls; and, if asked for, one that does nothing.
async fn compare(base: Base, time: Duration, beside_nothing: bool) -> Result<()> {
    let work = root().join("target/rpc_bench");
    prepare(base, &work)?;
    let kinds = kinds(base)?;
    let mut serve = Command::new(programs()?.join("tenure-serve"));
    serve.args(["--name", "demo", "--listen", "127.0.0.1:0", "--log", "error"]);
    serve.arg("--models").arg(work.join("models")).arg("--store").arg(work.join("store"));
    serve.arg("--decision-log").arg(work.join("decisions"));
    let ours = Server::start(serve)?;
    let nothing = if beside_nothing { Some(nothing(&work, &kinds, &ours).await?) } else { None };
    if beside_nothing {
        println!("| call | calls/s | rows/s | server CPU us a call | p50 us | p99 us | bytes |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
    }
    for kind in &kinds {
        let found = drive(&ours.address, ours.child.id(), kind, time).await?;
        println!("{}", found.row(&format!("tenure, {}", kind.name)));
        let Some(nothing) = &nothing else { continue };
        let none = drive(&nothing.address, nothing.child.id(), kind, time).await?;
        println!("{}", none.row("a server that does nothing"));
        println!(
            "| ratio | {:.2} | | {:.2} | {:.2} | {:.2} | |",
            found.calls_per_second / none.calls_per_second,
            found.cpu_us / none.cpu_us,
            found.p50_us / none.p50_us,
            found.p99_us / none.p99_us
        );
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", ours.child.id()))?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("\nmost memory of the server: {}", most.context("no VmHWM")?.trim());
    Ok(())
}

/// A server that answers what ours does, and does nothing else.
async fn nothing(work: &Path, kinds: &[Kind<'_>], ours: &Server) -> Result<Server> {
    let answers = work.join("answers");
    std::fs::create_dir_all(&answers)?;
    for kind in kinds {
        let channel = Channel::from_shared(ours.address.clone())?.connect().await?;
        let answer = noop::first_answer(channel, kind).await?;
        let method = kind.method.rsplit('/').next().context("a method")?;
        std::fs::write(answers.join(format!("{method}-{}", kind.n)), answer)?;
    }
    let mut nothing = Command::new(std::env::current_exe()?);
    nothing.arg("noop").arg(answers);
    Server::start(nothing)
}
