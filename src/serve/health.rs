//! Health by service, as `grpc.health.v1` tells it.
//!
//! Intake is NOT_SERVING while the store takes no writes, and so is the server as a whole (the
//! empty name); scoring and reading go on, since a read-only store still reads. Everything is
//! NOT_SERVING while the server drains.

use std::sync::Arc;
use std::time::Duration;

use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::answers::ScoringServiceServer;
use super::customer_service::Customers;
use super::event_service::Intake;
use super::live::Live;
use super::model_service::Models;
use super::pb::customer_service_server::CustomerServiceServer;
use super::pb::event_service_server::EventServiceServer;
use super::pb::model_service_server::ModelServiceServer;
use super::scoring_service::Scoring;
use crate::store::Health;

/// How often the store is looked at: far below any orchestrator's own period.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The whole server.
const SERVER: &str = "";
const INTAKE: &str = <EventServiceServer<Intake> as NamedService>::NAME;
/// Services that only read.
const READERS: [&str; 3] = [
    <ScoringServiceServer<Scoring> as NamedService>::NAME,
    <CustomerServiceServer<Customers> as NamedService>::NAME,
    <ModelServiceServer<Models> as NamedService>::NAME,
];

/// Names of all services of ours.
pub(super) fn service_names() -> impl Iterator<Item = &'static str> {
    READERS.into_iter().chain([INTAKE])
}

/// Says how all services are, before the first caller can ask.
pub(super) async fn open(live: &Live, reporter: &HealthReporter) {
    for name in READERS {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    tell(&live.store.health(), reporter).await;
}

async fn tell(health: &Health, reporter: &HealthReporter) {
    let status = match health {
        Health::Serving => ServingStatus::Serving,
        Health::ReadOnly { .. } => ServingStatus::NotServing,
    };
    for name in [SERVER, INTAKE] {
        reporter.set_service_status(name, status).await;
    }
}

/// Follows the health of the store until it is dropped.
pub(super) async fn watch(live: Arc<Live>, reporter: HealthReporter) {
    let mut was = None;
    loop {
        live.disk.measure();
        let health = match (live.store.health(), live.disk.refusal()) {
            (Health::Serving, Some(low)) => Health::ReadOnly { cause: low.to_string() },
            (health, _) => health,
        };
        if was.as_ref() != Some(&health) {
            match &health {
                Health::Serving if was.is_some() => tracing::info!("the store takes events again"),
                Health::Serving => {}
                Health::ReadOnly { cause } => tracing::error!(cause, "the store takes no events"),
            }
            tell(&health, &reporter).await;
            was = Some(health);
        }
        // Whichever comes first: somebody says that a write failed, or it is time to look.
        let _ = tokio::time::timeout(LOOK_EVERY, live.write_failed.notified()).await;
    }
}

/// Says that nothing serves any more.
pub(super) async fn close(reporter: &HealthReporter) {
    for name in [SERVER].into_iter().chain(service_names()) {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
}

/// Ends the streams of those who watch: they would keep their connections open for ever.
pub(super) async fn end_watches(reporter: &mut HealthReporter) {
    for name in [SERVER].into_iter().chain(service_names()) {
        reporter.clear_service_status(name).await;
    }
}
