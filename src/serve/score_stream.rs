//! `ScoreStream`: an answer for each request, in order, as one stream.
//!
//! In: requests as they arrive. Out: as many answers. What has arrived is scored together, a
//! bounded number at a time, so that the decision log is written once for many; nothing is read
//! while answers wait to be taken, which is the back pressure, and nothing is done once the caller
//! has left, since then nobody polls. Light rows are scored where they arrive, heavy ones on the
//! pool. Each chunk has its own instant and its own look at what is served.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::live::Live;
use super::pb;
use super::pb::score_outcome::Outcome;
use super::score_rows::score_rows;
use super::scoring_service::{POOL_FROM_EVENTS, checked_view};
use super::status::ServeError;
use super::streams::Ending;

/// Rows scored together: some hundred microseconds of work.
const CHUNK_ROWS: usize = 32;

type Answers = Vec<pb::ScoreStreamResponse>;
type Work = Pin<Box<dyn Future<Output = Result<Answers, ServeError>> + Send>>;

/// The answers of one stream.
pub(super) struct ScoreAnswers {
    live: Arc<Live>,
    requests: Streaming<pb::ScoreStreamRequest>,
    /// Set by the first message.
    setup: Option<Setup>,
    ready: VecDeque<pb::ScoreStreamResponse>,
    work: Option<Work>,
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
            ready: VecDeque::with_capacity(CHUNK_ROWS),
            work: None,
            ending: live.streams.ended(),
            end: None,
            _place: live.streams.enter()?,
            live: Arc::clone(live),
        })
    }

    /// What has arrived, at most a chunk of it.
    fn gather(&mut self, cx: &mut Context<'_>) -> Vec<pb::ScoreStreamRequest> {
        let mut rows = Vec::new();
        while rows.len() < CHUNK_ROWS && self.end.is_none() {
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Ready(Some(Ok(row))) => rows.push(row),
                Poll::Ready(Some(Err(status))) => self.end = Some(Some(with_details(status))),
                Poll::Ready(None) => self.end = Some(None),
                Poll::Pending => break,
            }
        }
        rows
    }

    /// Scores a chunk here, or hands it to the pool.
    fn begin(&mut self, rows: Vec<pb::ScoreStreamRequest>) -> Result<(), ServeError> {
        if self.setup.is_none()
            && let Some(first) = rows.first()
        {
            let view = checked_view(first.view)?;
            self.setup = Some(Setup { model: first.model.clone(), view });
        }
        let Some(setup) = self.setup.clone() else { return Ok(()) };
        let n_events: usize =
            rows.iter().filter_map(|row| row.subject.as_ref()).map(|s| s.events.len()).sum();
        if setup.view == pb::ScoreView::Full || n_events >= POOL_FROM_EVENTS {
            let live = Arc::clone(&self.live);
            let own = Arc::clone(&live);
            self.work = Some(Box::pin(async move {
                live.pooled(move |left| score_chunk(&own, &setup, &rows, left)).await
            }));
            return Ok(());
        }
        let answers = score_chunk(&self.live, &setup, &rows, &AtomicBool::new(false))?;
        self.ready.extend(answers);
        Ok(())
    }

    fn end_with(&mut self, error: &ServeError) {
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
    setup: &Setup,
    rows: &[pb::ScoreStreamRequest],
    left: &AtomicBool,
) -> Result<Answers, ServeError> {
    let moment = live.moment_of(setup.model.as_ref())?;
    let (mut answers, mut lines, mut n_lines) = (Vec::with_capacity(rows.len()), Vec::new(), 0);
    let together = if setup.view == pb::ScoreView::Full { 1 } else { CHUNK_ROWS };
    // Rows with many events, or with reasons, take long: between them is a look at the caller.
    for rows in rows.chunks(together) {
        if left.load(Ordering::Relaxed) {
            return Err(ServeError::Deadline);
        }
        let asked: Vec<_> =
            rows.iter().filter_map(|row| Some((row.subject.as_ref()?, "subject"))).collect();
        let mut scored = score_rows(live, &moment, &asked, setup.view).into_iter();
        for pb::ScoreStreamRequest { sequence, subject, model: _, view: _ } in rows {
            let scored = subject.as_ref().and_then(|_| scored.next());
            let outcome = if let Some((outcome, line)) = scored {
                n_lines += usize::from(!line.is_empty());
                lines.extend_from_slice(&line);
                outcome
            } else {
                refused(&ServeError::invalid("subject", "MISSING", "the subject is missing"))
            };
            answers.push(pb::ScoreStreamResponse { sequence: *sequence, outcome: Some(outcome) });
        }
    }
    // What is not logged is not given out; what the rows were refused for stays as it is.
    if let Err(error) = live.log_decisions(&lines, n_lines, &moment) {
        let is_score = |o: &pb::ScoreOutcome| matches!(o.outcome, Some(Outcome::Score(_)));
        for answer in &mut answers {
            if answer.outcome.as_ref().is_some_and(is_score) {
                answer.outcome = Some(refused(&error));
            }
        }
    }
    Ok(answers)
}

fn refused(error: &ServeError) -> pb::ScoreOutcome {
    pb::ScoreOutcome { outcome: Some(Outcome::Error(error.to_row_status())) }
}

impl Stream for ScoreAnswers {
    type Item = Result<pb::ScoreStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(answer) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if let Some(work) = &mut this.work {
                let Poll::Ready(done) = work.as_mut().poll(cx) else { return Poll::Pending };
                this.work = None;
                match done {
                    Ok(answers) => this.ready.extend(answers),
                    Err(error) => this.end_with(&error),
                }
                continue;
            }
            if let Some(end) = &mut this.end {
                return Poll::Ready(end.take().map(Err));
            }
            if this.ending.as_mut().poll(cx).is_ready() {
                this.end_with(&ServeError::Closing);
                continue;
            }
            let rows = this.gather(cx);
            if rows.is_empty() && this.end.is_none() {
                return Poll::Pending;
            }
            if let Err(error) = this.begin(rows) {
                this.end_with(&error);
            }
        }
    }
}
