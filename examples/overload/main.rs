//! What becomes of a server that is asked three times as much as it can answer.
//!
//!     cargo build --release --bins --example overload
//!     taskset -c 1 target/release/examples/overload [ROWS] [SECONDS] [CORE] [TIMES] [-- FLAGS]
//!
//! Starts `tenure-serve` on the demo model and 2,000 customers (on CORE alone, if one is named),
//! finds its peak in a closed loop, then sends calls of ROWS customers (200; 1 is a single score)
//! at TIMES (3) that rate for SECONDS (30), in an open loop: calls are sent when they are due,
//! whatever became of those before, and each gives up after 100 ms. FLAGS go to the server.
//! With client and server on cores of their own, the server's core is what is overloaded.
//! Writes only to `target/overload`.
#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "lengths of frames and counts of calls are small"
)]

mod wire;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use prost::Message;
use prost_types::value::Kind;
use tenure::serve::pb;
use tenure::serve::pb::event_service_client::EventServiceClient;
use tonic::transport::Channel;

use wire::{Ask, End, Wire};

const N_CUSTOMERS: usize = 2_000;
const DEADLINE: Duration = Duration::from_millis(100);
const CONNECTIONS: usize = 8;
/// Callers of the closed loop: that which gets most answers.
const CALLERS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const PEAK_TIME: Duration = Duration::from_secs(5);
/// How often the open loop sends what is due, and reads.
const TURN: Duration = Duration::from_micros(200);
const UNAVAILABLE: u8 = 14;
const DEADLINE_EXCEEDED: u8 = 4;
const TIMES_PEAK: f64 = 3.0;
/// The system counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let own: Vec<String> = args.by_ref().take_while(|arg| arg != "--").collect();
    let flags: Vec<String> = args.collect();
    let rows = own.first().map_or(Ok(200), |text| text.parse::<usize>())?;
    let seconds = own.get(1).map_or(Ok(30), |text| text.parse::<u64>())?;
    let server = Server::start(own.get(2).map(String::as_str), &flags)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        fill(&Channel::from_shared(format!("http://{}", server.address))?.connect().await?).await
    })?;
    drop(runtime);
    let times = own.get(3).map_or(Ok(TIMES_PEAK), |text| text.parse::<f64>())?;
    measure(&server, rows, (times, Duration::from_secs(seconds)))
}

/// The program at work.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(core: Option<&str>, flags: &[String]) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let work = root.join("target/overload");
        if work.try_exists()? {
            std::fs::remove_dir_all(&work)?;
        }
        copy(&root.join("models"), &work.join("models"))?;
        let beside = std::env::current_exe()?;
        let programs = beside.parent().and_then(Path::parent).context("no folder of programs")?;
        let program = programs.join("tenure-serve");
        let mut command = match core {
            None => Command::new(program),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(program);
                command
            }
        };
        let mut child = command
            .args(["--name", "demo", "--listen", "127.0.0.1:0", "--log", "warn"])
            .arg("--models")
            .arg(work.join("models"))
            .arg("--store")
            .arg(work.join("store"))
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .context("start tenure-serve: build it first")?;
        let mut line = String::new();
        let out = child.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("it did not start")?;
        Ok(Self { address: address.to_owned(), child })
    }

    /// Resident memory in MiB.
    fn memory(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: u32 = text.split(' ').nth(1).context("statm")?.parse()?;
        Ok(f64::from(pages) * 4_096.0 / f64::from(1 << 20))
    }

    /// Processor time so far, in seconds.
    fn cpu(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = text.rsplit(')').next().context("stat")?.split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<u32>);
        Ok(f64::from(ticks.sum::<Result<u32, _>>()?) / TICKS)
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

impl Tally {
    /// Times are from when a call was due, so that what the client itself was late counts as well.
    fn note(&mut self, end: End, time: Duration) {
        let ms = time.as_secs_f64() * 1e3;
        match end {
            End::Status(0) if time <= DEADLINE => {
                self.good += 1;
                self.good_ms.push(ms);
            }
            End::Status(UNAVAILABLE) => {
                self.refused += 1;
                self.refused_ms.push(ms);
            }
            End::Status(0 | DEADLINE_EXCEEDED) | End::Cancelled => self.late += 1,
            _ => self.other += 1,
        }
    }
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let idx = ((values.len() as f64 - 1.0) * share) as usize;
    values.get(idx).copied().unwrap_or(f64::NAN)
}

fn measure(server: &Server, rows: usize, (times, time): (f64, Duration)) -> Result<()> {
    let ask = ask(rows);
    let mut wire = Wire::connect(&server.address, CONNECTIONS, &ask)?;
    // Too few leave the server idle, too many are refused and only ask again.
    let (mut callers, mut most_good) = (1, 0.0);
    for n_callers in CALLERS {
        let good = peak(&mut wire, n_callers, Duration::from_secs(1))?;
        if good > most_good {
            (callers, most_good) = (n_callers, good);
        }
    }
    let cpu = server.cpu()?;
    let before = peak(&mut wire, callers, PEAK_TIME)?;
    let cpu_peak = (server.cpu()? - cpu) / (before * PEAK_TIME.as_secs_f64());
    let memory = server.memory()?;
    let cpu = server.cpu()?;
    let n_late = wire.n_late();
    let (mut tally, most) = flood(server, &mut wire, times * before, time)?;
    let cpu = server.cpu()? - cpu;
    let n_late = wire.n_late() - n_late;
    let (after, seconds) = (server.memory()?, time.as_secs_f64());
    let recovery = recovery(server, &mut wire, before)?;
    // Others use the machine, too: the peak afterwards says how much that matters.
    let peaks = [before, peak(&mut wire, callers, PEAK_TIME)?];
    let (mean, goodput) = (0.5 * (peaks[0] + peaks[1]), f64::from(tally.good) / seconds);
    println!(
        "{rows} customers a call; peak in a closed loop of {callers}: {:.0} calls/s before, {:.0} \
         after; {:.1} us of the server's processor a call",
        peaks[0],
        peaks[1],
        1e6 * cpu_peak
    );
    println!(
        "{times} times the peak for {seconds:.0} s: {goodput:.0} good calls/s, {:.1} % of \
         the mean peak; the server's processor was busy for {:.0} % of the time",
        100.0 * goodput / mean,
        100.0 * cpu / seconds
    );
    println!(
        "  good {}, refused {}, late {}, other {}; {} connections closed by the server",
        tally.good, tally.refused, tally.late, tally.other, wire.n_closed
    );
    println!(
        "  offered {:.0} calls/s; {n_late} were sent more than 5 ms late, or never",
        f64::from(tally.good + tally.refused + tally.late + tally.other) / seconds
    );
    let left = cpu - f64::from(tally.good) * cpu_peak;
    println!(
        "  a call that was not good took {:.1} us of it, if a good one took as long as at the peak",
        1e6 * left / f64::from(tally.refused + tally.late + tally.other).max(1.0)
    );
    for (name, times) in [("good", &mut tally.good_ms), ("refused", &mut tally.refused_ms)] {
        let [half, most, worst] = [0.5, 0.99, 0.999].map(|share| quantile(times, share));
        println!("  {name}: p50 {half:.2} ms, p99 {most:.2} ms, p99.9 {worst:.2} ms");
    }
    println!("  memory {memory:.0} MiB before, {most:.0} at most, {after:.0} after");
    println!("  all calls at half the peak are good again after {recovery:.1} s");
    Ok(())
}

/// The call that is sent again and again.
fn ask(rows: usize) -> Ask {
    let subject = |idx: usize| pb::ScoreSubject {
        customer: format!("customer-{}", idx % N_CUSTOMERS),
        ..Default::default()
    };
    let (path, message) = if rows == 1 {
        let request = pb::ScoreCustomerRequest { subject: Some(subject(7)), ..Default::default() };
        ("/tenure.v1.ScoringService/ScoreCustomer", request.encode_to_vec())
    } else {
        let subjects = (0..rows).map(subject).collect();
        let request = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        ("/tenure.v1.ScoringService/BatchScoreCustomers", request.encode_to_vec())
    };
    Ask::new(path, message, DEADLINE)
}

/// Good calls a second of callers who wait for each answer.
fn peak(wire: &mut Wire<'_>, n_callers: usize, time: Duration) -> Result<f64> {
    let (began, mut good) = (Instant::now(), 0_u32);
    while began.elapsed() < time {
        while wire.n_open() < n_callers {
            wire.send(Instant::now());
        }
        wire.turn(&mut |end, _| good += u32::from(end == End::Status(0)))?;
    }
    while wire.n_open() > 0 {
        wire.turn(&mut |_, _| ())?;
    }
    Ok(f64::from(good) / time.as_secs_f64())
}

/// Sends calls at a rate, whatever becomes of them; how they ended, and the most memory.
fn flood(server: &Server, wire: &mut Wire<'_>, rate: f64, time: Duration) -> Result<(Tally, f64)> {
    let mut tally = Tally::default();
    let (began, mut sent, mut most) = (Instant::now(), 0_u32, 0_f64);
    let (mut looked, mut turned) = (Duration::ZERO, Duration::ZERO);
    while began.elapsed() < time || wire.n_open() > 0 {
        let now = began.elapsed().min(time);
        // Calls that are due together go out together: a client that sends each for itself is
        // at its own limit before the server is.
        if now < time && now - turned < TURN {
            std::hint::spin_loop();
            continue;
        }
        turned = now;
        while f64::from(sent) < rate * now.as_secs_f64() {
            wire.send(began + Duration::from_secs_f64(f64::from(sent) / rate));
            sent += 1;
        }
        wire.turn(&mut |end, time| tally.note(end, time))?;
        if now - looked > Duration::from_millis(100) {
            looked = now;
            most = most.max(server.memory()?);
        }
    }
    Ok((tally, most.max(server.memory()?)))
}

/// Seconds until all calls at half the peak are good.
fn recovery(server: &Server, wire: &mut Wire<'_>, peak: f64) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..100 {
        let at = began.elapsed();
        let (tally, _) = flood(server, wire, 0.5 * peak, Duration::from_millis(100))?;
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
