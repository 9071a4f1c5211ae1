//! `EventService`: events become durable histories.
//!
//! In: a batch of events. Out: what became of each, once the commit is as durable as the store
//! promises. Events are folded on the store's own writer threads, a customer's always on the same
//! one, so no update is lost and none happens twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use super::event_stream;
use super::event_stream::Acknowledgements;
use super::live::{Live, snapshot};
use super::metrics::EventOutcome;
use super::outcomes;
use super::pb;
use super::pb::event_service_server::EventService;
use super::status::{ServeError, Violation};
use crate::domain::CustomerId;
use crate::events::{Event, EventIssue, Rules};
use crate::history::{Applied, History};
use crate::store::{Fold, Outcome, Receipt, Rejection, Update, WriteError};

/// From so many events on, checking them is work for the pool.
const POOL_FROM_EVENTS: usize = 64;

/// The service.
#[derive(Clone)]
pub(super) struct Intake(pub(super) Arc<Live>);

#[tonic::async_trait]
impl EventService for Intake {
    async fn ingest_events(
        &self,
        request: Request<pb::IngestEventsRequest>,
    ) -> Result<Response<pb::IngestEventsResponse>, Status> {
        let pb::IngestEventsRequest { events, validate_only } = request.into_inner();
        let taken = async {
            if validate_only {
                return self.check(events).await;
            }
            self.submit(events).await?.stored().await
        };
        Ok(Response::new(taken.await.map_err(|error| error.to_status())?))
    }

    type StreamEventsStream = Acknowledgements;

    async fn stream_events(
        &self,
        request: Request<Streaming<pb::StreamEventsRequest>>,
    ) -> Result<Response<Acknowledgements>, Status> {
        let opened = event_stream::open(&self.0, request.into_inner());
        Ok(Response::new(opened.map_err(|error| error.to_status())?))
    }

    async fn report_outcomes(
        &self,
        request: Request<pb::ReportOutcomesRequest>,
    ) -> Result<Response<pb::ReportOutcomesResponse>, Status> {
        let taken = outcomes::report(&self.0, request.into_inner()).await;
        Ok(Response::new(taken.map_err(|error| error.to_status())?))
    }
}

impl Intake {
    /// Checks events and hands the good ones to the writer.
    pub(super) async fn submit(&self, events: Vec<pb::Event>) -> Result<Submission, ServeError> {
        let Plan { groups, rejected } = self.plan(events).await?;
        if groups.is_empty() {
            return Ok(Submission {
                live: Arc::clone(&self.0),
                groups: Vec::new(),
                rejected,
                answer: None,
            });
        }
        let (updates, groups): (Vec<_>, Vec<_>) = groups.into_iter().map(Group::split).unzip();
        let (done, answer) = oneshot::channel();
        let live = Arc::clone(&self.0);
        let customers: Vec<CustomerId> =
            groups.iter().map(|group| group.customer.clone()).collect();
        // The caller may have left: the events are stored all the same, and the sweep hears of it.
        let callback = Box::new(move |result: Result<Receipt, WriteError>| {
            match &result {
                Ok(receipt) if receipt.changed() => {
                    live.note_changed(receipt.commit, customers);
                }
                // Nothing new: the commit it names may be of something else.
                Ok(_) => {}
                Err(_) => live.write_failed.notify_one(),
            }
            drop(done.send(result));
        });
        self.0.writer.submit_with(updates, Vec::new(), callback)?;
        Ok(Submission { live: Arc::clone(&self.0), groups, rejected, answer: Some(answer) })
    }

    async fn plan(&self, events: Vec<pb::Event>) -> Result<Plan, ServeError> {
        let (live, most) = (&self.0, self.0.limits.events_max);
        if events.is_empty() || events.len() > most {
            let found = format!("{} events, 1 to {most} are taken", events.len());
            return Err(ServeError::invalid("events", "EVENT_COUNT", found));
        }
        let moment = live.moment();
        moment.require_log("events have no use here")?;
        let rules = moment.rules(true);
        if events.len() < POOL_FROM_EVENTS {
            return Ok(Plan::new(&events, &rules));
        }
        live.pooled(move |_| Ok(Plan::new(&events, &rules))).await
    }

    /// Says what would become of events.
    async fn check(&self, events: Vec<pb::Event>) -> Result<pb::IngestEventsResponse, ServeError> {
        let Plan { groups, rejected } = self.plan(events).await?;
        let mut tally = pb::IngestEventsResponse::default();
        let mut seen = BTreeSet::new();
        for Group { customer, events, places: _ } in groups {
            for event in events {
                let is_new = seen.insert((customer.clone(), event.id));
                if is_new && !self.0.store.contains(&customer, event.id)? {
                    tally.accepted_count += 1;
                } else {
                    tally.duplicate_count += 1;
                }
            }
        }
        tally.rejected = told(rejected);
        Ok(tally)
    }
}

/// Events that are on their way into the store.
pub(super) struct Submission {
    live: Arc<Live>,
    groups: Vec<Submitted>,
    rejected: Vec<(usize, ServeError)>,
    /// None where no event was good.
    answer: Option<oneshot::Receiver<Result<Receipt, WriteError>>>,
}

impl Submission {
    /// Waits until they are durable.
    pub(super) async fn stored(self) -> Result<pb::IngestEventsResponse, ServeError> {
        let Self { live, groups, mut rejected, answer } = self;
        let mut tally = pb::IngestEventsResponse::default();
        if let Some(answer) = answer {
            let receipt = answer.await.unwrap_or(Err(WriteError::Lost))?;
            tally.snapshot = snapshot(receipt.commit);
            for (group, outcome) in groups.iter().zip(receipt.outcomes) {
                group.count(outcome, &mut tally, &mut rejected);
            }
        } else {
            tally.snapshot = live.snapshot();
        }
        let counts = [
            (EventOutcome::Accepted, tally.accepted_count),
            (EventOutcome::Duplicate, tally.duplicate_count),
            (EventOutcome::Late, tally.late_count),
            (EventOutcome::Rejected, number(rejected.len())),
        ];
        counts.into_iter().for_each(|(outcome, n)| live.metrics.events(outcome, n));
        tally.rejected = told(rejected);
        Ok(tally)
    }
}

fn told(mut rejected: Vec<(usize, ServeError)>) -> Vec<pb::RejectedEvent> {
    rejected.sort_by_key(|(idx, _)| *idx);
    let row = |(idx, error): (usize, ServeError)| pb::RejectedEvent {
        index: number(idx),
        error: Some(error.to_row_status()),
    };
    rejected.into_iter().map(row).collect()
}

/// What is to be done with a batch of events.
struct Plan {
    /// Good events by customer, in the order in which customers first appear.
    groups: Vec<Group>,
    /// Bad events.
    rejected: Vec<(usize, ServeError)>,
}

impl Plan {
    fn new(messages: &[pb::Event], rules: &Rules) -> Self {
        let mut plan = Self { groups: Vec::new(), rejected: Vec::new() };
        let mut places: BTreeMap<CustomerId, usize> = BTreeMap::new();
        for (idx, message) in messages.iter().enumerate() {
            match convert::event(message, &format!("events[{idx}]"), None, rules) {
                Ok(event) => {
                    let groups = &mut plan.groups;
                    let place = *places.entry(event.customer.clone()).or_insert_with(|| {
                        groups.push(Group::new(event.customer.clone()));
                        groups.len() - 1
                    });
                    groups[place].places.push(idx);
                    groups[place].events.push(event);
                }
                Err(violation) => plan.rejected.push((idx, invalid(violation))),
            }
        }
        plan
    }
}

fn invalid(violation: Violation) -> ServeError {
    if violation.reason == EventIssue::IDENTITY_MERGE {
        return ServeError::IdentityMerge(violation);
    }
    ServeError::Invalid(vec![violation])
}

/// The good events of one customer.
struct Group {
    customer: CustomerId,
    events: Vec<Event>,
    places: Vec<usize>,
}

impl Group {
    const fn new(customer: CustomerId) -> Self {
        Self { customer, events: Vec::new(), places: Vec::new() }
    }

    fn split(self) -> (Update, Submitted) {
        let Self { customer, events, places } = self;
        let counts = Arc::new(FoldCounts::default());
        let ids = events.iter().map(|event| event.id).collect();
        let fold = fold(events, Arc::clone(&counts));
        let submitted = Submitted { customer: customer.clone(), places, counts };
        (Update { customer, events: ids, fold }, submitted)
    }
}

/// What a fold saw that its outcome does not tell.
#[derive(Debug, Default)]
struct FoldCounts {
    late: AtomicU32,
    repeated: AtomicU32,
}

/// Adds the new ones of the events to a customer's history.
fn fold(events: Vec<Event>, counts: Arc<FoldCounts>) -> Fold {
    Box::new(move |state, is_new| {
        let mut history = match state {
            Some(bytes) => History::from_bytes(bytes)?,
            None => History::default(),
        };
        for (event, _) in events.iter().zip(is_new).filter(|(_, is_new)| **is_new) {
            match history.apply(event) {
                Applied::New => {}
                Applied::TooOld => {
                    counts.late.fetch_add(1, Ordering::Relaxed);
                }
                Applied::Duplicate => {
                    counts.repeated.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(history.to_bytes())
    })
}

/// The events of one customer that were handed to the writer.
struct Submitted {
    customer: CustomerId,
    places: Vec<usize>,
    counts: Arc<FoldCounts>,
}

impl Submitted {
    fn count(
        &self,
        outcome: Outcome,
        tally: &mut pb::IngestEventsResponse,
        rejected: &mut Vec<(usize, ServeError)>,
    ) {
        let n_events = number(self.places.len());
        match outcome {
            Outcome::Stored { n_new, .. } | Outcome::Unchanged { n_new } => {
                let n_new =
                    number(n_new).saturating_sub(self.counts.repeated.load(Ordering::Relaxed));
                tally.accepted_count += n_new;
                tally.duplicate_count += n_events.saturating_sub(n_new);
                tally.late_count += self.counts.late.load(Ordering::Relaxed);
            }
            Outcome::Duplicate => tally.duplicate_count += n_events,
            Outcome::Rejected(rejection) => {
                let error = match rejection {
                    Rejection::Fold(cause) => ServeError::internal(cause),
                    Rejection::Panicked { message } => ServeError::internal(message),
                    Rejection::Store(error) => error.into(),
                };
                rejected.extend(self.places.iter().map(|idx| (*idx, error.clone())));
            }
        }
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
