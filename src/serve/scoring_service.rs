//! `ScoringService`: one customer, or many in one call.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message;
use prost::bytes::Bytes;
use rayon::prelude::*;
use tonic::{Request, Response, Status, Streaming};
use xxhash_rust::xxh3::xxh3_128;

use super::answers::{BatchScoreCustomersResponse, ExplainScoreResponse, Outcome};
use super::answers::{ScoreCustomerResponse, ScoreOutcome, ScoringService};
use super::convert;
use super::limits::panic_error;
use super::live::{Live, Moment};
use super::pb;
use super::score_matrix;
use super::score_rows;
use super::score_stream::ScoreAnswers;
use super::score_watch;
use super::scored::{Lines, Scored, score_bytes};
use super::serving::Answering;
use super::shadow;
use super::status::{ServeError, Violation, scoring_error};
use crate::domain::{AsOf, CustomerId, EventId, Timestamp};
use crate::events::Event;
use crate::history::History;
use crate::scoring::{Answer, Question, ROWS_AT_ONCE, ScoringError};

/// From so many inline events on, a single score is work for the pool.
pub(super) const POOL_FROM_EVENTS: usize = 64;

/// Reasons told in each direction with a full view.
pub(super) const REASONS: usize = 3;

/// The service.
pub(super) struct Scoring(pub(super) Arc<Live>);

#[tonic::async_trait]
impl ScoringService for Scoring {
    async fn score_customer(
        &self,
        request: Request<pb::ScoreCustomerRequest>,
    ) -> Result<Response<ScoreCustomerResponse>, Status> {
        let score = self.one_once(request.into_inner()).await;
        let score = score.map_err(|error| error.to_status())?;
        Ok(Response::new(ScoreCustomerResponse { score }))
    }

    async fn batch_score_customers(
        &self,
        request: Request<pb::BatchScoreCustomersRequest>,
    ) -> Result<Response<BatchScoreCustomersResponse>, Status> {
        let outcomes = self.many_once(request.into_inner()).await;
        let outcomes = outcomes.map_err(|error| error.to_status())?;
        Ok(Response::new(BatchScoreCustomersResponse { outcomes }))
    }

    type ScoreStreamStream = ScoreAnswers;

    async fn score_stream(
        &self,
        request: Request<Streaming<pb::ScoreStreamRequest>>,
    ) -> Result<Response<ScoreAnswers>, Status> {
        let answers = ScoreAnswers::open(&self.0, request.into_inner());
        Ok(Response::new(answers.map_err(|error| error.to_status())?))
    }

    async fn score_matrix(
        &self,
        request: Request<pb::ScoreMatrixRequest>,
    ) -> Result<Response<pb::ScoreMatrixResponse>, Status> {
        let answer = score_matrix::score(&self.0, request.into_inner()).await;
        Ok(Response::new(answer.map_err(|error| error.to_status())?))
    }

    type WatchScoresStream = score_watch::Watched;

    async fn watch_scores(
        &self,
        request: Request<pb::WatchScoresRequest>,
    ) -> Result<Response<score_watch::Watched>, Status> {
        let watched = score_watch::open(&self.0, request.get_ref());
        Ok(Response::new(watched.map_err(|error| error.to_status())?))
    }

    async fn explain_score(
        &self,
        request: Request<pb::ExplainScoreRequest>,
    ) -> Result<Response<ExplainScoreResponse>, Status> {
        let answer = self.why(request.into_inner()).await.map_err(|error| error.to_status())?;
        Ok(Response::new(answer))
    }
}

impl Scoring {
    /// One score; for a request that was answered before, that answer.
    async fn one_once(&self, request: pb::ScoreCustomerRequest) -> Result<Bytes, ServeError> {
        if request.request_id.is_empty() {
            return self.one(request).await;
        }
        let digest = xxh3_128(&request.encode_to_vec());
        let kept = self.0.remembered.place(&request.request_id, digest, 1)?;
        let made = async || {
            let score = self.one(request).await?;
            Ok::<_, ServeError>(vec![ScoreOutcome { outcome: Some(Outcome::Score(score)) }])
        };
        let kept = kept.get_or_try_init(made).await?;
        match kept.first().and_then(|row| row.outcome.clone()) {
            Some(Outcome::Score(score)) => Ok(score),
            _ => Err(ServeError::internal("a kept answer is no score")),
        }
    }

    /// As [`Scoring::one_once`], of a batch.
    async fn many_once(
        &self,
        request: pb::BatchScoreCustomersRequest,
    ) -> Result<Vec<ScoreOutcome>, ServeError> {
        if request.request_id.is_empty() {
            return self.many(request).await;
        }
        let digest = xxh3_128(&request.encode_to_vec());
        let n_rows = request.subjects.len().max(1);
        let kept = self.0.remembered.place(&request.request_id, digest, n_rows)?;
        kept.get_or_try_init(async || self.many(request).await).await.cloned()
    }

    async fn one(&self, request: pb::ScoreCustomerRequest) -> Result<Bytes, ServeError> {
        let pb::ScoreCustomerRequest { subject, model, view, request_id: _ } = request;
        let moment = self.0.moment_of(model.as_ref())?;
        let view = checked_view(view)?;
        let Some(subject) = subject else {
            return Err(ServeError::invalid("subject", "MISSING", "the subject is missing"));
        };
        if subject.events.len() < POOL_FROM_EVENTS {
            let (score, line) = score_one(&self.0, &moment, &subject, view)?;
            self.0.log_decision(line.bytes, &moment).await?;
            return Ok(score);
        }
        let live = Arc::clone(&self.0);
        let score = move |_: &AtomicBool| {
            let (score, line) = score_one(&live, &moment, &subject, view)?;
            live.log_decisions(&line.bytes, line.n, &moment)?;
            Ok(score)
        };
        self.0.pooled(score).await
    }

    async fn why(
        &self,
        request: pb::ExplainScoreRequest,
    ) -> Result<ExplainScoreResponse, ServeError> {
        let pb::ExplainScoreRequest { subject, model } = request;
        let moment = self.0.moment_of(model.as_ref())?;
        let Some(subject) = subject else {
            return Err(ServeError::invalid("subject", "MISSING", "the subject is missing"));
        };
        let live = Arc::clone(&self.0);
        self.0.pooled(move |_| explain_subject(&live, &moment, &subject)).await
    }

    async fn many(
        &self,
        request: pb::BatchScoreCustomersRequest,
    ) -> Result<Vec<ScoreOutcome>, ServeError> {
        let pb::BatchScoreCustomersRequest { subjects, model, view, request_id: _ } = request;
        let moment = self.0.moment_of(model.as_ref())?;
        let view = checked_view(view)?;
        let most = self.0.limits.batch_rows_max;
        if subjects.is_empty() || subjects.len() > most {
            let found = format!("{} rows, 1 to {most} are taken", subjects.len());
            return Err(ServeError::invalid("subjects", "ROW_COUNT", found));
        }
        let live = Arc::clone(&self.0);
        self.0.pooled(move |left| score_rows(&live, &moment, (&subjects, view), left)).await
    }
}

/// Scores one subject: the score, and its line of the decision log.
fn score_one(
    live: &Live,
    moment: &Moment,
    subject: &pb::ScoreSubject,
    view: pb::ScoreView,
) -> Result<(Bytes, Lines), ServeError> {
    let mut scored = Scored::with_room(1);
    score_subject(live, moment, (subject, "subject"), (view, &mut scored))?;
    Ok(scored.into_score())
}

/// Scores rows in order on the threads of the pool. Each row depends on itself alone, so the
/// answers are the same however the rows are spread.
fn score_rows(
    live: &Live,
    moment: &Moment,
    (subjects, view): (&[pb::ScoreSubject], pb::ScoreView),
    left: &AtomicBool,
) -> Result<Vec<ScoreOutcome>, ServeError> {
    // Small enough to use every thread, large enough for what many save together.
    let n_rows = subjects.len().div_ceil(2 * rayon::current_num_threads());
    let scored: Vec<(Vec<ScoreOutcome>, Lines)> = subjects
        .par_chunks(n_rows.clamp(ROWS_AT_ONCE / 4, ROWS_AT_ONCE))
        .map(|subjects| {
            if left.load(Ordering::Relaxed) {
                return Err(ServeError::Deadline);
            }
            let rows: Vec<_> = subjects.iter().map(|subject| (subject, "")).collect();
            Ok(score_rows::score_rows(live, moment, &rows, view).into_parts())
        })
        .collect::<Result<_, ServeError>>()?;
    let (outcomes, lines): (Vec<_>, Vec<_>) = scored.into_iter().unzip();
    let lines = Lines::joined(lines);
    live.log_decisions(&lines.bytes, lines.n, moment)?;
    Ok(outcomes.into_iter().flatten().collect())
}

/// How much is asked for; a view of a later version is refused rather than guessed.
pub(super) fn checked_view(view: i32) -> Result<pb::ScoreView, ServeError> {
    pb::ScoreView::try_from(view).map_err(|_| {
        ServeError::invalid("view", "UNKNOWN_VIEW", format!("{view} is not a view known here"))
    })
}

/// Scores one row, whatever happens to it.
pub(super) fn score_row(
    live: &Live,
    moment: &Moment,
    (subject, path): (&pb::ScoreSubject, &str),
    (view, scored): (pb::ScoreView, &mut Scored),
) {
    let row = || score_subject(live, moment, (subject, path), (view, scored));
    let done =
        catch_unwind(AssertUnwindSafe(row)).unwrap_or_else(|panicked| Err(panic_error(&*panicked)));
    scored.refuse_if(done);
}

/// Scores one subject. Field paths begin at `path`.
fn score_subject(
    live: &Live,
    moment: &Moment,
    (subject, path): (&pb::ScoreSubject, &str),
    (view, scored): (pb::ScoreView, &mut Scored),
) -> Result<(), ServeError> {
    if moment.served.engine.table_inputs().is_some() {
        return super::inline_row::score(live, moment, (subject, path), (view, scored));
    }
    let checked = Subject::check(live, moment, subject, path)?;
    let (history, digest) = checked.history(live)?;
    let as_of = as_of(checked.as_of, &history, moment);
    let answering = moment.answering(checked.customer.as_str());
    let customer = &checked.customer;
    let answer = answering.served.engine.answer(customer, &history, as_of, false);
    let question = Question { customer, history: &history, as_of, trace: false };
    finished(live, moment, (&answering, question, digest), &answer, (view, scored))
}

/// Adds an answer to those that were scored.
pub(super) fn finished(
    live: &Live,
    moment: &Moment,
    (answering, asked, digest): (&Answering<'_>, Question<'_>, u128),
    answer: &Result<Answer<'_>, ScoringError>,
    (view, scored): (pb::ScoreView, &mut Scored),
) -> Result<(), ServeError> {
    let engine = &answering.served.engine;
    let refused = |error: &ScoringError| scoring_error(asked.customer, error);
    let answer = answer.as_ref().map_err(refused)?;
    shadow::note(live, moment, (answering, answer), || {
        shadow::Subject::Log(Box::new(asked.history.clone()))
    });
    let why = match view {
        pb::ScoreView::Full => {
            let why = engine.reasons(asked.history, asked.as_of, REASONS);
            Some(why.map_err(|error| refused(&error))?)
        }
        _ => None,
    };
    scored.add(live, (moment, answering), (answer, digest), why.as_ref());
    Ok(())
}

/// Scores one subject and says why.
fn explain_subject(
    live: &Live,
    moment: &Moment,
    subject: &pb::ScoreSubject,
) -> Result<ExplainScoreResponse, ServeError> {
    if moment.served.engine.table_inputs().is_some() {
        return super::inline_row::explain(moment, subject, "subject");
    }
    let checked = Subject::check(live, moment, subject, "subject")?;
    let (history, digest) = checked.history(live)?;
    let as_of = as_of(checked.as_of, &history, moment);
    let answering = moment.answering(checked.customer.as_str());
    let found = answering
        .served
        .engine
        .explain(&checked.customer, &history, as_of)
        .map_err(|error| scoring_error(&checked.customer, &error))?;
    let score = score_bytes((moment, &answering), (&found.answer, digest));
    Ok(convert::explained(&found, score))
}

/// The instant asked for; now where none was. Where a producer's clock runs ahead of ours, "now"
/// is just after the customer's newest event.
pub(super) fn as_of(asked: Option<Timestamp>, history: &History, moment: &Moment) -> AsOf {
    let zone = moment.served.engine.zone();
    let now = || {
        let after_newest = history.newest().map(|t| Timestamp::from_micros(t.micros() + 1));
        after_newest.map_or(moment.now, |after| after.max(moment.now))
    };
    AsOf::at(asked.unwrap_or_else(now), zone)
}

/// Reads the instant that a request asks for.
pub(super) fn asked_as_of(
    message: Option<&prost_types::Timestamp>,
    moment: &Moment,
) -> Result<Option<Timestamp>, Violation> {
    let Some(message) = message else { return Ok(None) };
    let as_of = convert::instant("as_of", message)?;
    if as_of > moment.newest_allowed {
        let found = format!("{as_of} lies in the future: it is {}", moment.now);
        return Err(Violation::new("as_of", "AS_OF_IN_FUTURE", found));
    }
    Ok(Some(as_of))
}

/// A subject that has been checked.
pub(super) struct Subject {
    pub(super) customer: CustomerId,
    events: Vec<Event>,
    inline_only: bool,
    pub(super) as_of: Option<Timestamp>,
}

impl Subject {
    /// Checks everything and tells all violations at once.
    pub(super) fn check(
        live: &Live,
        moment: &Moment,
        subject: &pb::ScoreSubject,
        path: &str,
    ) -> Result<Self, ServeError> {
        let pb::ScoreSubject { customer, events, inline_only, as_of, features } = subject;
        let mut violations = Vec::new();
        if features.is_some() {
            let found = "the served model scores histories: give events";
            violations.push(Violation::new("features", "MODEL_SCORES_LOGS", found));
        }
        let customer = convert::customer_id("customer", customer);
        let as_of = asked_as_of(as_of.as_ref(), moment);
        let most = live.limits.events_max;
        if events.len() > most {
            let found = format!("{} events, at most {most} are taken", events.len());
            violations.push(Violation::new("events", "EVENT_COUNT", found));
        } else if *inline_only && events.is_empty() {
            let found = "inline_only without events leaves nothing to score";
            violations.push(Violation::new("events", "MISSING", found));
        }
        let mut checked = Vec::with_capacity(events.len().min(most));
        if violations.is_empty() && !events.is_empty() {
            let rules = moment.rules(false);
            for (idx, event) in events.iter().enumerate() {
                let owner = customer.as_ref().ok();
                match convert::event(event, &format!("events[{idx}]"), owner, &rules) {
                    Ok(checked_event) => {
                        let own_id = !event.event_id.trim().is_empty();
                        checked.push((checked_event, own_id));
                    }
                    Err(violation) => violations.push(violation),
                }
            }
        }
        match (customer, as_of, violations.is_empty()) {
            (Ok(customer), Ok(as_of), true) => {
                let events = as_a_log(checked);
                Ok(Self { customer, events, inline_only: *inline_only, as_of })
            }
            (customer, as_of, _) => {
                violations.extend(customer.err());
                violations.extend(as_of.err());
                let within = violations.into_iter().map(|violation| violation.within(path));
                Err(ServeError::Invalid(within.collect()))
            }
        }
    }

    /// The history to score, and its digest.
    pub(super) fn history(&self, live: &Live) -> Result<(History, u128), ServeError> {
        let mut stored = None;
        if !self.inline_only {
            let mut look = |bytes: &[u8]| {
                stored = Some((History::from_bytes(bytes), xxh3_128(bytes)));
            };
            live.store.with_state(&self.customer, &mut look)?;
        }
        let is_stored = stored.is_some();
        let mut history = match stored {
            None if self.events.is_empty() => {
                return Err(ServeError::UnknownCustomer(self.customer.clone()));
            }
            None => History::default(),
            Some((history, digest)) if self.events.is_empty() => return Ok((history?, digest)),
            Some((history, _)) => history?,
        };
        for event in &self.events {
            // The history itself recognises recent events only; the store recognises all.
            if !is_stored || !live.store.contains(&self.customer, event.id)? {
                history.apply(event);
            }
        }
        let digest = xxh3_128(&history.to_bytes());
        Ok((history, digest))
    }
}

/// The events as a file of them would be taken in: identical ones without an id of their own are
/// numbered, an id that comes again is taken once, and the rest is in the order of time.
fn as_a_log(checked: Vec<(Event, bool)>) -> Vec<Event> {
    let mut seen: BTreeMap<EventId, u64> = BTreeMap::new();
    let mut events = Vec::with_capacity(checked.len());
    for (mut event, own_id) in checked {
        let before = seen.entry(event.id).or_insert(0);
        let occurrence = *before;
        *before += 1;
        if occurrence > 0 {
            if own_id {
                continue;
            }
            event.id = event.content_id(occurrence);
        }
        events.push(event);
    }
    events.sort_by_key(|event| (event.time, event.id));
    events
}
