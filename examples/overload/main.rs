//! What becomes of a server that is asked three times as much as it can answer.
//!
//!     cargo build --release --bins && cargo run --release --example overload [ROWS] [SECONDS]
//!
//! Starts `tenure-serve` on the demo model and 2,000 customers, finds its peak in a closed loop,
//! then sends calls of ROWS customers (200; 1 is a single score) at three times that rate for
//! SECONDS (30), in an open loop: calls are sent when they are due, whatever became of those
//! before, and each gives up after 100 ms. Client and server share the machine, so the client's
//! own work is part of what the server lacks. Writes only to `target/overload`.
#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType};
use prost_types::value::Kind;
use tenure::serve::pb;
use tenure::serve::pb::event_service_client::EventServiceClient;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

const N_CUSTOMERS: usize = 2_000;
const DEADLINE: Duration = Duration::from_millis(100);
const CONNECTIONS: usize = 8;
/// Callers of the closed loop.
const CALLERS: usize = 16;
const PEAK_TIME: Duration = Duration::from_secs(5);
const TIMES_PEAK: f64 = 3.0;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let rows = args.next().map_or(Ok(200), |text| text.parse::<usize>())?;
    let seconds = args.next().map_or(Ok(30), |text| text.parse::<u64>())?;
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&server, rows, Duration::from_secs(seconds)))
}

/// The program at work.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let work = root.join("target/overload");
        if work.try_exists()? {
            std::fs::remove_dir_all(&work)?;
        }
        copy(&root.join("models"), &work.join("models"))?;
        let beside = std::env::current_exe()?;
        let programs = beside.parent().and_then(Path::parent).context("no folder of programs")?;
        let mut child = Command::new(programs.join("tenure-serve"))
            .args(["--name", "demo", "--listen", "127.0.0.1:0", "--log", "warn"])
            .arg("--models")
            .arg(work.join("models"))
            .arg("--store")
            .arg(work.join("store"))
            .stdout(Stdio::piped())
            .spawn()
            .context("start tenure-serve: build it first")?;
        let mut line = String::new();
        let out = child.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("it did not start")?;
        Ok(Self { address: format!("http://{address}"), child })
    }

    /// Resident memory in MiB.
    fn memory(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: u32 = text.split(' ').nth(1).context("statm")?.parse()?;
        Ok(f64::from(pages) * 4_096.0 / f64::from(1 << 20))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server notes its experiments beside the models: it gets models of its own.
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

/// How calls ended.
#[derive(Debug, Default)]
struct Tally {
    good: u32,
    refused: u32,
    late: u32,
    other: u32,
    good_ms: Vec<f64>,
    refused_ms: Vec<f64>,
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let idx = ((values.len() as f64 - 1.0) * share) as usize;
    values.get(idx).copied().unwrap_or(f64::NAN)
}

async fn measure(server: &Server, rows: usize, time: Duration) -> Result<()> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Channel::from_shared(server.address.clone())?.connect().await?);
    }
    fill(&channels[0]).await?;
    let ask = Arc::new(Ask::new(rows));
    peak(&channels, &ask, Duration::from_secs(2)).await?;
    let peak = peak(&channels, &ask, PEAK_TIME).await?;
    println!("{rows} customers a call; peak in a closed loop of {CALLERS}: {peak:.0} calls/s");
    let before = server.memory()?;
    let (tally, most) = flood(server, &channels, &ask, (TIMES_PEAK * peak, time)).await?;
    let (after, seconds) = (server.memory()?, time.as_secs_f64());
    let mut tally = tally;
    let goodput = f64::from(tally.good) / seconds;
    println!(
        "{TIMES_PEAK} times the peak for {seconds:.0} s: {goodput:.0} good calls/s, {:.1} % of \
         the peak",
        100.0 * goodput / peak
    );
    println!(
        "  good {}, refused {}, late {}, other {}",
        tally.good, tally.refused, tally.late, tally.other
    );
    for (name, times) in [("good", &mut tally.good_ms), ("refused", &mut tally.refused_ms)] {
        let [half, most, worst] = [0.5, 0.99, 0.999].map(|share| quantile(times, share));
        println!("  {name}: p50 {half:.2} ms, p99 {most:.2} ms, p99.9 {worst:.2} ms");
    }
    println!("  memory {before:.0} MiB before, {most:.0} at most, {after:.0} after");
    let recovery = recovery(server, &channels, &ask, peak).await?;
    println!("  all calls at half the peak are good again after {recovery:.1} s");
    Ok(())
}

/// One call, already encoded.
struct Ask {
    path: PathAndQuery,
    message: Vec<u8>,
}

impl Ask {
    fn new(rows: usize) -> Self {
        let subject = |idx: usize| pb::ScoreSubject {
            customer: format!("customer-{}", idx % N_CUSTOMERS),
            ..Default::default()
        };
        let (path, message) = if rows == 1 {
            let request =
                pb::ScoreCustomerRequest { subject: Some(subject(7)), ..Default::default() };
            ("/tenure.v1.ScoringService/ScoreCustomer", request.encode_to_vec())
        } else {
            let subjects = (0..rows).map(subject).collect();
            let request = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
            ("/tenure.v1.ScoringService/BatchScoreCustomers", request.encode_to_vec())
        };
        Self { path: PathAndQuery::from_static(path), message }
    }

    async fn call(&self, channel: Channel) -> Result<(), Code> {
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|_| Code::Unavailable)?;
        let mut request = Request::new(Raw(self.message.clone()));
        request.set_timeout(DEADLINE);
        let codec = ProstCodec::<Raw, ()>::default();
        let called = client.unary(request, self.path.clone(), codec).await;
        called.map(|_| ()).map_err(|status| status.code())
    }
}

/// Good calls a second of callers who wait for each answer.
async fn peak(channels: &[Channel], ask: &Arc<Ask>, time: Duration) -> Result<f64> {
    let until = Instant::now() + time;
    let callers: Vec<_> = (0..CALLERS)
        .map(|idx| {
            let (channel, ask) = (channels[idx % channels.len()].clone(), Arc::clone(ask));
            tokio::spawn(async move {
                let mut good = 0_u32;
                while Instant::now() < until {
                    good += u32::from(ask.call(channel.clone()).await.is_ok());
                }
                good
            })
        })
        .collect();
    let mut good = 0;
    for caller in callers {
        good += caller.await?;
    }
    Ok(f64::from(good) / time.as_secs_f64())
}

/// Sends calls at a rate, whatever becomes of them; how they ended, and the most memory.
async fn flood(
    server: &Server,
    channels: &[Channel],
    ask: &Arc<Ask>,
    (rate, time): (f64, Duration),
) -> Result<(Tally, f64)> {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (began, mut sent, mut most) = (Instant::now(), 0_u32, 0_f64);
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut calls = tokio::task::JoinSet::new();
    while began.elapsed() < time {
        ticks.tick().await;
        while f64::from(sent) < rate * began.elapsed().as_secs_f64() {
            let due = began + Duration::from_secs_f64(f64::from(sent) / rate);
            let channel = channels[sent as usize % channels.len()].clone();
            let (ask, tally) = (Arc::clone(ask), Arc::clone(&tally));
            calls.spawn(async move {
                let called = tokio::time::timeout(2 * DEADLINE, ask.call(channel)).await;
                note(&tally, called.unwrap_or(Err(Code::DeadlineExceeded)), due.elapsed());
            });
            sent += 1;
            if sent.is_multiple_of(1_024) {
                most = most.max(server.memory()?);
            }
        }
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
    let tally = std::mem::take(&mut *tally.lock().map_err(|_| anyhow!("a caller panicked"))?);
    Ok((tally, most.max(server.memory()?)))
}

fn note(tally: &Mutex<Tally>, called: Result<(), Code>, time: Duration) {
    let Ok(mut tally) = tally.lock() else { return };
    let ms = time.as_secs_f64() * 1e3;
    match called {
        // From when it was due, so that what the client itself was late counts as well.
        Ok(()) if time <= DEADLINE => {
            tally.good += 1;
            tally.good_ms.push(ms);
        }
        Err(Code::Unavailable) => {
            tally.refused += 1;
            tally.refused_ms.push(ms);
        }
        Ok(()) | Err(Code::DeadlineExceeded | Code::Cancelled) => tally.late += 1,
        Err(_) => tally.other += 1,
    }
}

/// Seconds until all calls at half the peak are good.
async fn recovery(server: &Server, channels: &[Channel], ask: &Arc<Ask>, peak: f64) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..100 {
        let part = (0.5 * peak, Duration::from_millis(100));
        let at = began.elapsed();
        let (tally, _) = flood(server, channels, ask, part).await?;
        if tally.refused + tally.late + tally.other == 0 {
            return Ok(at.as_secs_f64());
        }
    }
    Err(anyhow!("it did not recover in ten seconds"))
}

/// Gives each customer a history.
async fn fill(channel: &Channel) -> Result<()> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let mut client = EventServiceClient::new(channel.clone());
    let purchase = |idx: usize| {
        let days = 3 + (idx * 7919) % 500;
        let amount = prost_types::Value { kind: Some(Kind::NumberValue(5.0 + days as f64 / 7.0)) };
        pb::Event {
            event_id: format!("event-{idx}"),
            customer: format!("customer-{}", idx % N_CUSTOMERS),
            r#type: "purchase".to_owned(),
            event_time: Some(prost_types::Timestamp {
                seconds: now - days as i64 * 86_400,
                nanos: 0,
            }),
            attributes: Some(prost_types::Struct {
                fields: [("amount".to_owned(), amount)].into(),
            }),
        }
    };
    for part in (0..12 * N_CUSTOMERS).collect::<Vec<_>>().chunks(1_000) {
        let events = part.iter().map(|idx| purchase(*idx)).collect();
        let answer = client
            .ingest_events(pb::IngestEventsRequest { events, ..Default::default() })
            .await?
            .into_inner();
        ensure!(answer.rejected.is_empty(), "rejected: {:?}", answer.rejected.first());
    }
    Ok(())
}

/// A message that is encoded already.
#[derive(Debug, Default)]
struct Raw(Vec<u8>);

impl Message for Raw {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: WireType,
        _: &mut impl Buf,
        _: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
