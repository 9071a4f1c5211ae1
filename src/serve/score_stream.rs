//! `ScoreStream`: an answer for each request, in order, as one stream.
//!
//! In: requests as they arrive. Out: as many answers. What has arrived is scored together, a
//! bounded number at a time, so that the decision log is written once for many. A few rows are
//! scored where they arrive; whole chunks, and rows that take long, go to the pool, as many at once
//! as it has threads, so that one stream can use them all. Nothing is read while that many are at
//! work or answers wait to be taken, which is the back pressure, and nothing is done once the
//! caller has left, since then nobody polls. Each chunk has its own instant and its own look at
//! what is served, taken in the order of the rows.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::answers::{Outcome, ScoreOutcome, ScoreStreamResponse};
use super::live::{Live, Moment};
use super::pb;
use super::score_rows::score_rows;
use super::scored::Lines;
use super::scoring_service::{POOL_FROM_EVENTS, checked_view};
use super::status::ServeError;
use super::streams::Ending;

/// Rows scored together: some hundred microseconds of work.
const CHUNK_ROWS: usize = 32;

type Answers = Vec<ScoreStreamResponse>;
type Work = Pin<Box<dyn Future<Output = Result<Answers, ServeError>> + Send>>;

/// The answers of one stream.
pub(super) struct ScoreAnswers {
    live: Arc<Live>,
    requests: Streaming<pb::ScoreStreamRequest>,
    /// Set by the first message.
    setup: Option<Setup>,
    /// Rows that wait for their chunk to be whole.
    gathered: Vec<pb::ScoreStreamRequest>,
    /// Chunks at work, in order.
    work: VecDeque<Work>,
    /// So many at once.
    work_max: usize,
    /// Answers that wait to be taken.
    ready: VecDeque<ScoreStreamResponse>,
    ending: Ending,
    /// Set once no more is read; the status to end with, if any.
    end: Option<Option<Status>>,
    _place: OwnedSemaphorePermit,
}

/// What the first message sets.
#[derive(Debug, Clone)]
struct Setup {
    model: Option<pb::ModelSelector>,
    view: pb::ScoreView,
}

impl ScoreAnswers {
    /// Begins a stream.
    pub(super) fn open(
        live: &Arc<Live>,
        requests: Streaming<pb::ScoreStreamRequest>,
    ) -> Result<Self, ServeError> {
        Ok(Self {
            requests,
            setup: None,
            gathered: Vec::new(),
            work: VecDeque::new(),
            work_max: live.pool.current_num_threads(),
            ready: VecDeque::with_capacity(CHUNK_ROWS),
            ending: live.streams.ended(),
            end: None,
            _place: live.streams.enter()?,
            live: Arc::clone(live),
        })
    }

    /// Takes in what has arrived and begins to score it. What is no whole chunk waits as long as
    /// others are at work: more may come meanwhile.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), ServeError> {
        while self.work.len() < self.work_max && self.ready.is_empty() {
            self.gather(cx);
            let is_whole = self.gathered.len() == CHUNK_ROWS || self.end.is_some();
            if self.gathered.is_empty() || !(is_whole || self.work.is_empty()) {
                break;
            }
            // One chunk of each stream, and beyond that as many of all as there are threads: else
            // streams could fill the pool before batches that were let in.
            let turn = match self.work.is_empty() {
                true => None,
                false => match Arc::clone(&self.live.chunk_turns).try_acquire_owned() {
                    Ok(turn) => Some(turn),
                    Err(_) => break,
                },
            };
            let rows = std::mem::take(&mut self.gathered);
            self.begin(rows, turn)?;
        }
        Ok(())
    }

    /// Fills a chunk with what has arrived.
    fn gather(&mut self, cx: &mut Context<'_>) {
        while self.gathered.len() < CHUNK_ROWS && self.end.is_none() {
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Ready(Some(Ok(row))) => self.gathered.push(row),
                Poll::Ready(Some(Err(status))) => self.end = Some(Some(with_details(status))),
                Poll::Ready(None) => self.end = Some(None),
                Poll::Pending => break,
            }
        }
    }

    /// Scores a chunk here, or hands it to the pool.
    fn begin(
        &mut self,
        rows: Vec<pb::ScoreStreamRequest>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<(), ServeError> {
        if self.setup.is_none()
            && let Some(first) = rows.first()
        {
            let view = checked_view(first.view)?;
            self.setup = Some(Setup { model: first.model.clone(), view });
        }
        let Some(setup) = self.setup.clone() else { return Ok(()) };
        let n_events: usize =
            rows.iter().filter_map(|row| row.subject.as_ref()).map(|s| s.events.len()).sum();
        let moment = self.live.moment_of(setup.model.as_ref())?;
        let takes_long = setup.view == pb::ScoreView::Full || n_events >= POOL_FROM_EVENTS;
        // Alone, a whole chunk gains nothing on the pool unless another can be at work beside it.
        let is_small = rows.len() < CHUNK_ROWS || self.work_max == 1;
        if takes_long || !is_small || !self.work.is_empty() {
            let live = Arc::clone(&self.live);
            let score =
                move |left: &AtomicBool| score_chunk(&live, &moment, (setup.view, &rows), left);
            let work = self.live.pooled(score);
            self.work.push_back(Box::pin(async move {
                let _turn = turn;
                work.await
            }));
            return Ok(());
        }
        let still_here = AtomicBool::new(false);
        self.ready.extend(score_chunk(&self.live, &moment, (setup.view, &rows), &still_here)?);
        Ok(())
    }

    /// Ends the stream after the answers to all chunks that are at work.
    fn end_with(&mut self, error: &ServeError) {
        self.gathered.clear();
        self.end = Some(Some(error.to_status()));
    }
}

/// A message that cannot be read ends the stream: what follows it cannot be told apart.
fn with_details(status: Status) -> Status {
    if status.code() == tonic::Code::Internal && status.message().contains("decode") {
        return ServeError::Unreadable { detail: status.message().to_owned() }.to_status();
    }
    status
}

fn score_chunk(
    live: &Live,
    moment: &Moment,
    (view, rows): (pb::ScoreView, &[pb::ScoreStreamRequest]),
    left: &AtomicBool,
) -> Result<Answers, ServeError> {
    let (mut answers, mut lines) = (Vec::with_capacity(rows.len()), Vec::new());
    let together = if view == pb::ScoreView::Full { 1 } else { CHUNK_ROWS };
    // Rows with many events, or with reasons, take long: between them is a look at the caller.
    for rows in rows.chunks(together) {
        if left.load(Ordering::Relaxed) {
            return Err(ServeError::Deadline);
        }
        let asked: Vec<_> =
            rows.iter().filter_map(|row| Some((row.subject.as_ref()?, "subject"))).collect();
        let (outcomes, their_lines) = score_rows(live, moment, &asked, view).into_parts();
        lines.push(their_lines);
        let mut outcomes = outcomes.into_iter();
        for pb::ScoreStreamRequest { sequence, subject, model: _, view: _ } in rows {
            let outcome = subject.as_ref().and_then(|_| outcomes.next()).unwrap_or_else(|| {
                refused(&ServeError::invalid("subject", "MISSING", "the subject is missing"))
            });
            answers.push(ScoreStreamResponse { sequence: *sequence, outcome: Some(outcome) });
        }
    }
    // What is not logged is not given out; what the rows were refused for stays as it is.
    let lines = Lines::joined(lines);
    if let Err(error) = live.log_decisions(&lines.bytes, lines.n, moment) {
        let is_score = |o: &ScoreOutcome| matches!(o.outcome, Some(Outcome::Score(_)));
        for answer in &mut answers {
            if answer.outcome.as_ref().is_some_and(is_score) {
                answer.outcome = Some(refused(&error));
            }
        }
    }
    Ok(answers)
}

fn refused(error: &ServeError) -> ScoreOutcome {
    ScoreOutcome { outcome: Some(Outcome::Error(error.to_row_status())) }
}

impl Stream for ScoreAnswers {
    type Item = Result<ScoreStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(answer) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if this.end.is_none() && this.ending.as_mut().poll(cx).is_ready() {
                this.end_with(&ServeError::Closing);
            }
            if let Err(error) = this.take_in(cx) {
                this.end_with(&error);
            }
            if !this.ready.is_empty() {
                continue;
            }
            if let Some(first) = this.work.front_mut() {
                let Poll::Ready(done) = first.as_mut().poll(cx) else { return Poll::Pending };
                this.work.pop_front();
                match done {
                    Ok(answers) => this.ready.extend(answers),
                    Err(error) => {
                        // An answer to what came later would be out of order.
                        this.work.clear();
                        this.end_with(&error);
                    }
                }
                continue;
            }
            let Some(end) = &mut this.end else { return Poll::Pending };
            return Poll::Ready(end.take().map(Err));
        }
    }
}
