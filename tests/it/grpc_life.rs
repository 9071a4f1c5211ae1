//! The life of a server: faults, health, reflection, drain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::sync::Arc;
use std::time::Duration;

use tenure::domain::CustomerId;
use tenure::serve::pb::score_outcome::Outcome;
use tenure::store::{SledOptions, SledStore, StateStore};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::serve_client::{Clients, purchase, subject, three_customers, told};
use crate::serve_faults::Faulty;
use crate::serve_fixture::{Running, on_store};

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_server_is_one_calls_alone_and_names_only_its_id() {
    let server = Running::start_on(&[], on_store(Arc::new(Faulty::default()))).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    for customer in ["panics", "fails"] {
        let status = clients.score(subject(customer)).await.unwrap_err();
        let (code, reason, _) = told(&status);
        assert_eq!((code, &*reason), (Code::Internal, "INTERNAL"));
        let info = status.get_details_error_info().unwrap();
        assert!(!info.metadata["incident"].is_empty());
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        assert_eq!(clients.view(customer).await.unwrap_err().code(), Code::Internal);
    }
    let rows = vec![subject("once"), subject("panics"), subject("fails"), subject("regular")];
    let codes: Vec<i32> = clients
        .batch(rows)
        .await
        .unwrap()
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Score(_) => 0,
            Outcome::Error(error) => error.code,
        })
        .collect();
    assert_eq!(codes, [0, 13, 13, 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_told_by_code_and_by_health() {
    let store = Arc::new(Faulty::default());
    let server = Running::start_on(&[], on_store(Arc::clone(&store) as Arc<dyn StateStore>)).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    assert_eq!(check(&mut health, "tenure.v1.EventService").await, SERVING);
    store.break_writes();
    let refused = clients.ingest(vec![purchase("x", "once", 1, 1.0)]).await.unwrap_err();
    let (code, reason, _) = told(&refused);
    assert_eq!((code, &*reason), (Code::Unavailable, "STORE_READ_ONLY"));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    while check(&mut health, "tenure.v1.EventService").await == SERVING {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(check(&mut health, "").await, NOT_SERVING);
    assert_eq!(check(&mut health, "tenure.v1.ScoringService").await, SERVING);
    assert!(clients.score(subject("once")).await.is_ok());
    server.stop().await;
}

const SERVING: i32 = tonic_health::pb::health_check_response::ServingStatus::Serving as i32;
const NOT_SERVING: i32 = tonic_health::pb::health_check_response::ServingStatus::NotServing as i32;

type HealthClient = tonic_health::pb::health_client::HealthClient<Channel>;

async fn check(client: &mut HealthClient, service: &str) -> i32 {
    let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.unwrap().into_inner().status
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_know_every_service() {
    let server = Running::start(&[]).await;
    let mut health = HealthClient::new(server.channel().await);
    let ours = ["ScoringService", "EventService", "CustomerService", "ModelService"];
    for name in ours.map(|name| format!("tenure.v1.{name}")).into_iter().chain([String::new()]) {
        assert_eq!(check(&mut health, &name).await, SERVING, "{name:?}");
    }
    let unknown = tonic_health::pb::HealthCheckRequest { service: "nothing".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let listed = {
        use tonic_reflection::pb::v1::ServerReflectionRequest;
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new(server.channel().await);
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let mut answers = client
            .server_reflection_info(tokio_stream::iter([request]))
            .await
            .unwrap()
            .into_inner();
        match answers.message().await.unwrap().unwrap().message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => list.service,
            other => panic!("{other:?}"),
        }
    };
    let listed: Vec<String> = listed.into_iter().map(|service| service.name).collect();
    for name in ours {
        assert!(listed.contains(&format!("tenure.v1.{name}")), "{listed:?}");
    }
    assert!(listed.contains(&"grpc.health.v1.Health".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_so_finishes_its_work_and_leaves_a_closed_store() {
    let mut server = Running::start(&[("notice_seconds", "1")]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let mut health = HealthClient::new(server.channel().await);
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING);
    server.tell();
    assert_eq!(watch.message().await.unwrap().unwrap().status, NOT_SERVING);
    // Still answering: the notice has begun, the door is open.
    let late = purchase("late", "once", 2, 3.0);
    assert_eq!(clients.ingest(vec![late]).await.unwrap().accepted_count, 1);
    // Closing ends the watch, so that it does not hold the server up.
    assert_eq!(watch.message().await.unwrap(), None);
    assert!(server.ended().await.complete);
    let refused = clients.score(subject("once")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let (store, _) =
        SledStore::open(server.config.store.as_ref().unwrap(), &SledOptions::default()).unwrap();
    let state = store.get(&CustomerId::try_new("once").unwrap()).unwrap().unwrap();
    let history = tenure::history::History::from_bytes(&state.bytes).unwrap();
    assert_eq!(history.n_events(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_to_end_is_cut_off() {
    let store = Arc::new(Faulty::default());
    let settings = [("drain_seconds", "0"), ("call_seconds_max", "600"), ("sweep_rate", "0")];
    let mut server = Running::start_on(&settings, on_store(Arc::clone(&store) as _)).await;
    let mut clients = Clients::new(&server).await;
    store.hold_writes();
    let call = tokio::spawn(async move { clients.ingest(three_customers()).await });
    while store.n_held() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.tell();
    let (code, reason, _) = told(&call.await.unwrap().unwrap_err());
    assert_eq!((code, &*reason), (Code::Unavailable, "SHUTTING_DOWN"));
    store.release_writes();
    assert!(!server.ended().await.complete);
    // Not acknowledged, yet taken: sending it again would have been a duplicate.
    assert!(store.get(&CustomerId::try_new("once").unwrap()).unwrap().is_some());
}
