//! `CustomerService`: all that is known of one customer.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};
use xxhash_rust::xxh3::xxh3_128;

use super::convert;
use super::export;
use super::export::Chunks;
use super::live::Live;
use super::pb;
use super::pb::customer_service_server::CustomerService;
use super::scored::score_bytes;
use super::scoring_service::{as_of, asked_as_of};
use super::stats;
use super::status::{ServeError, Violation, scoring_error};
use crate::domain::CustomerId;
use crate::history::{DAILY_DAYS, History};
use crate::scoring::LinesOf;

/// Days of the timeline where the request says nothing: about a month.
const TIMELINE_DAYS: u32 = 30;
/// Days that have a tile of their own.
const TIMELINE_DAYS_MAX: u32 = DAILY_DAYS.unsigned_abs();

/// The service.
pub(super) struct Customers(pub(super) Arc<Live>);

#[tonic::async_trait]
impl CustomerService for Customers {
    async fn get_customer(
        &self,
        request: Request<pb::GetCustomerRequest>,
    ) -> Result<Response<pb::GetCustomerResponse>, Status> {
        let customer = self.view(&request.into_inner()).map_err(|error| error.to_status())?;
        Ok(Response::new(pb::GetCustomerResponse { customer: Some(customer) }))
    }

    async fn delete_customer(
        &self,
        request: Request<pb::DeleteCustomerRequest>,
    ) -> Result<Response<pb::DeleteCustomerResponse>, Status> {
        let erased = self.erase(request.into_inner()).await.map_err(|error| error.to_status())?;
        Ok(Response::new(erased))
    }

    async fn stats(
        &self,
        request: Request<pb::StatsRequest>,
    ) -> Result<Response<pb::StatsResponse>, Status> {
        let counted = stats::stats(&self.0, request.into_inner()).await;
        Ok(Response::new(counted.map_err(|error| error.to_status())?))
    }

    type ExportStatesStream = Chunks;

    async fn export_states(
        &self,
        request: Request<pb::ExportStatesRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let opened = export::open(&self.0, request.into_inner()).await;
        Ok(Response::new(opened.map_err(|error| error.to_status())?))
    }
}

impl Customers {
    async fn erase(
        &self,
        request: pb::DeleteCustomerRequest,
    ) -> Result<pb::DeleteCustomerResponse, ServeError> {
        let pb::DeleteCustomerRequest { customer, validate_only } = request;
        self.0.moment().require_log("there is no customer to erase")?;
        let customer = convert::customer_id("customer", &customer)
            .map_err(|violation| ServeError::Invalid(vec![violation]))?;
        let live = Arc::clone(&self.0);
        // It waits for the disk, so it has a thread of its own; once begun it goes on to its end,
        // whether the caller waits or not.
        let erasing = tokio::task::spawn_blocking(move || erase(&live, &customer, validate_only));
        erasing.await.map_err(ServeError::internal)?
    }

    fn view(&self, request: &pb::GetCustomerRequest) -> Result<pb::Customer, ServeError> {
        let pb::GetCustomerRequest { customer, as_of: asked, timeline_days_max } = request;
        let moment = self.0.moment();
        moment.require_log("there is no customer to show")?;
        let days = match *timeline_days_max {
            0 => Ok(TIMELINE_DAYS),
            days if days <= TIMELINE_DAYS_MAX => Ok(days),
            days => {
                let found = format!("{days} days, at most {TIMELINE_DAYS_MAX} are kept");
                Err(Violation::new("timeline_days_max", "DAY_COUNT", found))
            }
        };
        let customer = convert::customer_id("customer", customer);
        let (customer, asked, days) = match (customer, asked_as_of(asked.as_ref(), &moment), days) {
            (Ok(customer), Ok(asked), Ok(days)) => (customer, asked, days),
            (customer, asked, days) => {
                let violations = [customer.err(), asked.err(), days.err()];
                return Err(ServeError::Invalid(violations.into_iter().flatten().collect()));
            }
        };
        let Some(state) = self.0.store.get(&customer)? else {
            return Err(ServeError::UnknownCustomer(customer));
        };
        let history = History::from_bytes(&state.bytes)?;
        let as_of = as_of(asked, &history, &moment);
        let answering = moment.answering(customer.as_str());
        let engine = &answering.served.engine;
        let answer = engine
            .answer(&customer, &history, as_of, false)
            .map_err(|error| scoring_error(&customer, &error))?;
        let days = usize::try_from(days).unwrap_or(usize::MAX);
        let digest = xxh3_128(&state.bytes);
        // Scores are written in one way only; here one is wanted as a part of a larger message.
        let score = score_bytes((&moment, &answering), (&answer, digest));
        let score = pb::Score::decode(score).map_err(ServeError::internal)?;
        let view = convert::customer(&customer, &history, engine.currency(), days);
        Ok(pb::Customer { facts: convert::facts(&answer.facts), score: Some(score), ..view })
    }
}

/// The state first: nobody decides for the customer on the old history while the log is cleared.
fn erase(
    live: &Live,
    customer: &CustomerId,
    only_look: bool,
) -> Result<pb::DeleteCustomerResponse, ServeError> {
    let mut answer = pb::DeleteCustomerResponse::default();
    if only_look {
        answer.had_history = live.store.get(customer)?.is_some();
    } else {
        let erased = live.writer.erase(customer.clone())?.wait().inspect_err(|_| {
            live.write_failed.notify_one();
        })?;
        answer.had_history = erased.had_state;
        answer.event_id_count = erased.n_dedupe;
        live.note_changed(erased.commit, []);
        answer.snapshot = live.snapshot();
    }
    if let Some(log) = &live.decisions {
        let mut lines = LinesOf::new(customer);
        log.erase(only_look, &mut |line| lines.picks(line)).map_err(|error| {
            tracing::error!(%error, "the decision log could not be cleared of a customer");
            ServeError::DecisionLogFull
        })?;
        answer.decision_count = lines.n_decisions;
        answer.outcome_count = lines.n_outcomes;
    }
    Ok(answer)
}
