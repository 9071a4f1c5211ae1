//! Events of files to a server, each acknowledged or told why not.
//!
//! A thread reads, and batches go out on one stream, a few ahead of what is acknowledged. Where
//! the stream breaks, what is not acknowledged goes out again on another one after a pause, at
//! least as long as the server asks for: the ids of events make that harmless.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use prost::Message;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic_types::StatusExt;

use super::connect::{Connection, connection, with_causes};
use super::wire;
use super::{Answered, ClientError, is_passing, told};
use crate::config::{LogConfig, ServerConfig};
use crate::domain::Zone;
use crate::events::{EventIssue, IntakeError, IntakeReport, RawRow, ReadSpec, Rules, read_raw};
use crate::serve::pb;
use crate::serve::pb::event_service_client::EventServiceClient;

/// Events of a message: what the API takes.
const BATCH_EVENTS: usize = 1_000;
/// Bytes of a message: well below what a server takes.
const BATCH_BYTES: usize = 1 << 20;
/// Messages that may be under way.
const WINDOW: usize = 8;
/// Refusals told on the terminal; the file has all.
const REFUSALS_TOLD: usize = 5;
/// The first pause before another attempt, and the longest.
const PAUSE_MS: (u64, u64) = (250, 30_000);
/// What is wrong with so many of a hundred rows is wrong with the map.
const REJECTED: u8 = 65;

/// How it is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct How<'h> {
    /// Where refused rows are told.
    pub(super) rejects: Option<&'h Path>,
    /// Attempts in a row without an answer.
    pub(super) attempts: u32,
}

/// Where a row stands.
#[derive(Debug, Clone)]
struct Place {
    file: usize,
    row: u64,
}

/// A message.
#[derive(Debug, Default)]
struct Chunk {
    sequence: u64,
    places: Vec<Place>,
    events: Vec<pb::Event>,
    n_bytes: usize,
    /// Rows that are no events at all.
    bad: Vec<(Place, EventIssue)>,
}

/// Sends everything.
pub(super) async fn send(
    server: &ServerConfig,
    log: &LogConfig,
    how: How<'_>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Answered, ClientError> {
    let client = EventServiceClient::new(connection(server)?);
    let (sender, chunks) = mpsc::channel(WINDOW);
    let rules = Rules { zone: log.timezone.clone().unwrap_or(Zone::UTC), ..Rules::default() };
    let (read, paths) = (log.read_spec()?, log.events.clone());
    let (done, report) = oneshot::channel();
    // A thread of its own: a file may be slow, and standard input may never end.
    std::thread::spawn(move || drop(done.send(gather(&paths, &read, &rules, &sender))));
    let names = log.events.iter().map(|path| path.display().to_string()).collect();
    let mut sending = Sending {
        server,
        client,
        chunks,
        is_read: false,
        pending: VecDeque::new(),
        tally: Tally::new(names, how.rejects)?,
        progress,
    };
    sending.run(how.attempts).await?;
    let report = report.await.map_err(|_| ClientError::System {
        source: std::io::Error::other("the thread that reads has ended early"),
    })??;
    sending.tally.finish(&report, log)
}

/// Reads the files and makes messages of them until nobody takes them any more.
fn gather(
    paths: &[std::path::PathBuf],
    read: &ReadSpec,
    rules: &Rules,
    sender: &mpsc::Sender<Chunk>,
) -> Result<IntakeReport, IntakeError> {
    let mut chunk = Chunk { sequence: 1, ..Chunk::default() };
    let (mut file, mut last) = (0, None);
    let flush = |chunk: &mut Chunk| {
        let next = Chunk { sequence: chunk.sequence + 1, ..Chunk::default() };
        // Nobody takes it where sending has failed: the rest is only counted.
        drop(sender.blocking_send(std::mem::replace(chunk, next)));
    };
    let report = read_raw(paths, read, rules, &mut |RawRow { path, row, event }| {
        if last.as_deref() != Some(path) {
            let names = paths.iter().map(|path| path.display().to_string());
            file = names.into_iter().position(|name| name == path).unwrap_or(file);
            last = Some(path.to_owned());
        }
        let place = Place { file, row };
        match event.and_then(|(raw, time)| wire::event_of(&raw, time)) {
            Ok(event) => {
                let n_bytes = event.encoded_len();
                if !chunk.events.is_empty() && chunk.n_bytes + n_bytes > BATCH_BYTES {
                    flush(&mut chunk);
                }
                chunk.n_bytes += n_bytes;
                chunk.places.push(place);
                chunk.events.push(event);
            }
            Err(issue) => chunk.bad.push((place, issue)),
        }
        if chunk.events.len() >= BATCH_EVENTS || chunk.bad.len() >= BATCH_EVENTS {
            flush(&mut chunk);
        }
    })?;
    flush(&mut chunk);
    Ok(report)
}

/// Why a stream ended, and whether anything was acknowledged on it.
struct Broken {
    status: Status,
    has_progressed: bool,
}

struct Sending<'s> {
    server: &'s ServerConfig,
    client: EventServiceClient<Connection>,
    chunks: mpsc::Receiver<Chunk>,
    is_read: bool,
    /// Sent, or to be sent again, and not acknowledged.
    pending: VecDeque<Chunk>,
    tally: Tally,
    progress: &'s mut (dyn FnMut(&str) + Send),
}

impl Sending<'_> {
    async fn run(&mut self, attempts: u32) -> Result<(), ClientError> {
        let mut failures = 0;
        while let Err(Broken { status, has_progressed }) = self.stream().await? {
            failures = if has_progressed { 1 } else { failures + 1 };
            let (addr, acknowledged) = (self.server.addr.clone(), self.tally.acknowledged());
            if !is_passing(&status) {
                return Err(ClientError::Refused { addr, detail: told(&status), acknowledged });
            }
            if failures >= attempts {
                let detail = with_causes(told(&status), &status);
                return Err(ClientError::Unavailable { addr, detail, acknowledged });
            }
            let pause = pause_before(failures, &status);
            self.tally.n_retries += 1;
            (self.progress)(&format!("{}; again in {} ms", told(&status), pause.as_millis()));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Opens a stream and sends until everything is acknowledged or the stream breaks.
    async fn stream(&mut self) -> Result<Result<(), Broken>, ClientError> {
        let mut has_progressed = false;
        let (messages, receiver) = mpsc::channel(WINDOW);
        for chunk in &self.pending {
            // There is room for all that may be pending.
            drop(messages.try_send(message(chunk)));
        }
        let opened = self.client.stream_events(ReceiverStream::new(receiver)).await;
        let mut answers = match opened {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Ok(Err(Broken { status, has_progressed })),
        };
        // From the last answer on, or from when there was something to wait for.
        let mut waits_since = Instant::now();
        loop {
            if self.is_read && self.pending.is_empty() {
                break;
            }
            let has_room = !self.is_read && self.pending.len() < WINDOW;
            tokio::select! {
                chunk = self.chunks.recv(), if has_room => match chunk {
                    None => self.is_read = true,
                    Some(mut chunk) => {
                        self.tally.refuse_locally(std::mem::take(&mut chunk.bad))?;
                        if !chunk.events.is_empty() {
                            if self.pending.is_empty() {
                                waits_since = Instant::now();
                            }
                            // A stream that broke says so with its next answer.
                            drop(messages.send(message(&chunk)).await);
                            self.pending.push_back(chunk);
                        }
                    }
                },
                answer = answers.message(), if !self.pending.is_empty() => match answer {
                    Ok(Some(answer)) => {
                        has_progressed = true;
                        waits_since = Instant::now();
                        self.acknowledge(answer)?;
                    }
                    Ok(None) => {
                        let status = Status::unavailable("the stream ended early");
                        return Ok(Err(Broken { status, has_progressed }));
                    }
                    Err(status) => return Ok(Err(Broken { status, has_progressed })),
                },
                () = tokio::time::sleep_until(waits_since + self.server.timeout),
                    if !self.pending.is_empty() =>
                {
                    let text = format!("no answer within {} ms", self.server.timeout.as_millis());
                    let status = Status::unavailable(text);
                    return Ok(Err(Broken { status, has_progressed }));
                }
            }
        }
        // Ends the stream in order: a dropped one would look like a client that gave up.
        drop(messages);
        while let Ok(Some(_)) = answers.message().await {}
        Ok(Ok(()))
    }

    fn acknowledge(&mut self, answer: pb::StreamEventsResponse) -> Result<(), ClientError> {
        let pb::StreamEventsResponse { acknowledged_sequence, result } = answer;
        while let Some(chunk) = self.pending.front() {
            if chunk.sequence > acknowledged_sequence {
                break;
            }
            let is_last = chunk.sequence == acknowledged_sequence;
            let Some(chunk) = self.pending.pop_front() else { break };
            if is_last {
                self.tally.count(&chunk, result.clone().unwrap_or_default())?;
            }
        }
        let n = self.tally.acknowledged();
        (self.progress)(&format!("{n} events acknowledged"));
        Ok(())
    }
}

fn message(chunk: &Chunk) -> pb::StreamEventsRequest {
    pb::StreamEventsRequest { sequence: chunk.sequence, events: chunk.events.clone() }
}

/// Doubles with each failure, and is never shorter than the server asks for.
fn pause_before(failures: u32, status: &Status) -> Duration {
    let (first, longest) = PAUSE_MS;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let own = Duration::from_millis(doubled.min(longest));
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    own.max(asked.unwrap_or_default().min(Duration::from_millis(longest)))
}

/// What became of events.
struct Tally {
    names: Vec<String>,
    rejects: Option<(std::path::PathBuf, BufWriter<File>)>,
    accepted: u64,
    duplicates: u64,
    late: u64,
    refused: u64,
    n_retries: u64,
    reasons: BTreeMap<String, u64>,
    told: Vec<String>,
}

impl Tally {
    fn new(names: Vec<String>, rejects: Option<&Path>) -> Result<Self, ClientError> {
        let rejects = match rejects {
            None => None,
            Some(path) => {
                let failed = |source| ClientError::File { path: path.to_owned(), source };
                let mut file = BufWriter::new(File::create(path).map_err(failed)?);
                file.write_all(b"file,row,code,reason\n").map_err(failed)?;
                Some((path.to_owned(), file))
            }
        };
        let (reasons, told) = (BTreeMap::new(), Vec::new());
        let (accepted, duplicates, late, refused, n_retries) = (0, 0, 0, 0, 0);
        Ok(Self { names, rejects, accepted, duplicates, late, refused, n_retries, reasons, told })
    }

    const fn acknowledged(&self) -> u64 {
        self.accepted + self.duplicates + self.refused
    }

    fn count(
        &mut self,
        chunk: &Chunk,
        result: pb::IngestEventsResponse,
    ) -> Result<(), ClientError> {
        let pb::IngestEventsResponse {
            accepted_count, duplicate_count, rejected, late_count, ..
        } = result;
        self.accepted += u64::from(accepted_count);
        self.duplicates += u64::from(duplicate_count);
        self.late += u64::from(late_count);
        for pb::RejectedEvent { index, error } in rejected {
            let place = usize::try_from(index).ok().and_then(|index| chunk.places.get(index));
            let (code, reason) = wire::refusal(error);
            if let Some(place) = place {
                self.refuse(place, &code, &reason)?;
            }
        }
        Ok(())
    }

    fn refuse_locally(&mut self, rows: Vec<(Place, EventIssue)>) -> Result<(), ClientError> {
        rows.iter().try_for_each(|(at, issue)| self.refuse(at, issue.code(), &issue.to_string()))
    }

    fn refuse(&mut self, place: &Place, code: &str, reason: &str) -> Result<(), ClientError> {
        self.refused += 1;
        *self.reasons.entry(code.to_owned()).or_default() += 1;
        let name = self.names.get(place.file).map_or("", String::as_str);
        if self.told.len() < REFUSALS_TOLD {
            self.told.push(format!("{name}:{}: {reason}", place.row));
        }
        if let Some((path, file)) = &mut self.rejects {
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            writeln!(file, "{},{},{code},{}", quoted(name), place.row, quoted(reason))
                .map_err(|source| ClientError::File { path: path.clone(), source })?;
        }
        Ok(())
    }

    fn finish(mut self, report: &IntakeReport, log: &LogConfig) -> Result<Answered, ClientError> {
        use std::fmt::Write;

        if let Some((path, file)) = &mut self.rejects {
            file.flush().map_err(|source| ClientError::File { path: path.clone(), source })?;
        }
        let mut text = String::new();
        for (label, count) in [
            ("rows read", report.rows),
            ("accepted", self.accepted),
            ("of them late", self.late),
            ("known before", self.duplicates),
            ("refused", self.refused),
            ("left out by map", report.ignored.values().sum()),
            ("sent again", self.n_retries),
        ] {
            let _ = writeln!(text, "{label:<18}{count}");
        }
        for line in &self.told {
            let _ = writeln!(text, "  {line}");
        }
        let json = json!({
            "rows": report.rows, "accepted": self.accepted, "late": self.late,
            "duplicates": self.duplicates, "refused": self.refused, "reasons": self.reasons,
            "ignored": report.ignored, "retries": self.n_retries,
        });
        let judged =
            IntakeReport { rows: report.rows, dropped: self.refused, ..Default::default() };
        let share_max = log.threshold.dropped_share_max;
        let is_too_much = judged.dropped_share() > share_max
            || log.threshold.dropped_rows_max.is_some_and(|most| self.refused > most);
        let exit_code = if is_too_much { REJECTED } else { 0 };
        Ok(Answered { text, json, exit_code })
    }
}
