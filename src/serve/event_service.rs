//! `EventService`: events become durable histories.
//!
//! In: a batch of events. Out: what became of each, once the commit is as durable as the store
//! promises. Events are folded on the store's own writer thread, one customer after the other,
//! so no update is lost and none happens twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::convert;
use super::live::{Live, snapshot};
use super::metrics::EventOutcome;
use super::pb;
use super::pb::event_service_server::EventService;
use super::status::{ServeError, Violation};
use crate::domain::CustomerId;
use crate::events::{Event, Rules};
use crate::history::{Applied, History};
use crate::store::{Fold, Outcome, Receipt, Rejection, Update, WriteError};

/// From so many events on, checking them is work for the pool.
const POOL_FROM_EVENTS: usize = 64;

/// The service.
pub(super) struct Intake(pub(super) Arc<Live>);

#[tonic::async_trait]
impl EventService for Intake {
    async fn ingest_events(
        &self,
        request: Request<pb::IngestEventsRequest>,
    ) -> Result<Response<pb::IngestEventsResponse>, Status> {
        let answer = self.ingest(request.into_inner()).await.map_err(|error| error.to_status())?;
        Ok(Response::new(answer))
    }
}

impl Intake {
    async fn ingest(
        &self,
        request: pb::IngestEventsRequest,
    ) -> Result<pb::IngestEventsResponse, ServeError> {
        let pb::IngestEventsRequest { events } = request;
        let (live, most) = (&self.0, self.0.limits.events_max);
        if events.is_empty() || events.len() > most {
            let found = format!("{} events, 1 to {most} are taken", events.len());
            return Err(ServeError::invalid("events", "EVENT_COUNT", found));
        }
        let moment = live.moment();
        moment.require_log("events have no use here")?;
        let rules = moment.rules(true);
        let plan = if events.len() < POOL_FROM_EVENTS {
            Plan::new(&events, &rules)
        } else {
            live.pooled(move |_| Ok(Plan::new(&events, &rules))).await?
        };
        let Plan { groups, mut rejected } = plan;
        let mut tally = pb::IngestEventsResponse::default();
        if groups.is_empty() {
            tally.snapshot = snapshot(live.store.last_commit());
        } else {
            let (updates, groups): (Vec<_>, Vec<_>) = groups.into_iter().map(Group::split).unzip();
            let receipt = self.submit(updates).await?;
            tally.snapshot = snapshot(receipt.commit);
            for (group, outcome) in groups.iter().zip(receipt.outcomes) {
                group.count(outcome, &mut tally, &mut rejected);
            }
        }
        let counts = [
            (EventOutcome::Accepted, tally.accepted_count),
            (EventOutcome::Duplicate, tally.duplicate_count),
            (EventOutcome::Late, tally.late_count),
            (EventOutcome::Rejected, number(rejected.len())),
        ];
        counts.into_iter().for_each(|(outcome, n)| live.metrics.events(outcome, n));
        rejected.sort_by_key(|(idx, _)| *idx);
        tally.rejected = rejected
            .into_iter()
            .map(|(idx, error)| pb::RejectedEvent {
                index: number(idx),
                error: Some(error.to_row_status()),
            })
            .collect();
        Ok(tally)
    }

    /// Waits until the updates are durable.
    async fn submit(&self, updates: Vec<Update>) -> Result<Receipt, ServeError> {
        let (done, answer) = oneshot::channel();
        // The caller may have left: the events are stored all the same.
        let callback = Box::new(move |result| drop(done.send(result)));
        self.0.writer.submit_with(updates, Vec::new(), callback)?;
        let result = answer.await.unwrap_or(Err(WriteError::Lost));
        result.map_err(|error| {
            self.0.write_failed.notify_one();
            ServeError::from(error)
        })
    }
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
        (Update { customer, events: ids, fold }, Submitted { places, counts })
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
