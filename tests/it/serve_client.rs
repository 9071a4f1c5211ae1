//! A client of the server for tests, and the requests that they share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;

use prost_types::value::Kind;
use tenure::serve::pb;
use tenure::serve::pb::customer_service_client::CustomerServiceClient;
use tenure::serve::pb::event_service_client::EventServiceClient;
use tenure::serve::pb::model_service_client::ModelServiceClient;
use tenure::serve::pb::score_outcome::Outcome;
use tenure::serve::pb::scoring_service_client::ScoringServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::serve_fixture::{NOW_SECONDS, Running};

pub(crate) const DAY: i64 = 86_400;

pub(crate) fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

pub(crate) fn event(
    id: &str,
    customer: &str,
    kind: &str,
    seconds: i64,
    attributes: &[(&str, Kind)],
) -> pb::Event {
    let fields = attributes
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), prost_types::Value { kind: Some(kind.clone()) }))
        .collect::<BTreeMap<_, _>>();
    pb::Event {
        event_id: id.to_owned(),
        customer: customer.to_owned(),
        r#type: kind.to_owned(),
        event_time: time(seconds),
        attributes: Some(prost_types::Struct { fields }),
    }
}

/// A purchase so many days before now.
pub(crate) fn purchase(id: &str, customer: &str, days_ago: i64, amount: f64) -> pb::Event {
    let attributes = [("amount", Kind::NumberValue(amount))];
    event(id, customer, "purchase", NOW_SECONDS - days_ago * DAY, &attributes)
}

pub(crate) struct Clients {
    pub(crate) scoring: ScoringServiceClient<Channel>,
    pub(crate) events: EventServiceClient<Channel>,
    pub(crate) customers: CustomerServiceClient<Channel>,
    pub(crate) models: ModelServiceClient<Channel>,
}

impl Clients {
    pub(crate) async fn new(server: &Running) -> Self {
        Self::of(server.channel().await)
    }

    pub(crate) fn of(channel: Channel) -> Self {
        Self {
            scoring: ScoringServiceClient::new(channel.clone()),
            events: EventServiceClient::new(channel.clone()),
            customers: CustomerServiceClient::new(channel.clone()),
            models: ModelServiceClient::new(channel),
        }
    }

    pub(crate) async fn ingest(
        &mut self,
        events: Vec<pb::Event>,
    ) -> Result<pb::IngestEventsResponse, Status> {
        let request = pb::IngestEventsRequest { events, ..Default::default() };
        self.events.ingest_events(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn score(&mut self, subject: pb::ScoreSubject) -> Result<pb::Score, Status> {
        let request = pb::ScoreCustomerRequest { subject: Some(subject), ..Default::default() };
        let answer = self.scoring.score_customer(request).await?;
        Ok(answer.into_inner().score.unwrap())
    }

    pub(crate) async fn batch(
        &mut self,
        subjects: Vec<pb::ScoreSubject>,
    ) -> Result<Vec<Outcome>, Status> {
        let request = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        let answer = self.scoring.batch_score_customers(request).await?.into_inner();
        Ok(answer.outcomes.into_iter().map(|row| row.outcome.unwrap()).collect())
    }

    pub(crate) async fn view(&mut self, customer: &str) -> Result<pb::Customer, Status> {
        let request =
            pb::GetCustomerRequest { customer: customer.to_owned(), ..Default::default() };
        let answer = self.customers.get_customer(request).await?;
        Ok(answer.into_inner().customer.unwrap())
    }
}

pub(crate) fn subject(customer: &str) -> pb::ScoreSubject {
    pb::ScoreSubject { customer: customer.to_owned(), ..Default::default() }
}

/// Three customers: a regular, a one-time buyer, and one who never bought.
pub(crate) fn three_customers() -> Vec<pb::Event> {
    let mut events: Vec<_> =
        (1..=6).map(|n| purchase(&format!("r{n}"), "regular", n * 20, 30.0 + n as f64)).collect();
    events.push(purchase("o1", "once", 200, 12.5));
    let visit = [("name", Kind::StringValue("visit".to_owned()))];
    events.push(event("v1", "visitor", "activity", NOW_SECONDS - DAY, &visit));
    events
}

/// The reason, and the paths of the violations.
pub(crate) fn told(status: &Status) -> (Code, String, Vec<String>) {
    let info = status.get_details_error_info().expect("every refusal has an ErrorInfo");
    assert_eq!(info.domain, "tenure");
    let fields = status.get_details_bad_request().map_or_else(Vec::new, |bad| {
        bad.field_violations.into_iter().map(|violation| violation.field).collect()
    });
    (status.code(), info.reason, fields)
}
