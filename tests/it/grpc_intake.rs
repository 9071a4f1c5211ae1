//! Streams of events, outcomes, erasure and retries over a real socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::path::Path;

use tenure::serve::pb;
use tenure::store::decision_segments;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::serve_client::{Clients, DAY, purchase, subject, three_customers, time, told};
use crate::serve_fixture::{NOW_SECONDS, Running};

type Batches = mpsc::Sender<pb::StreamEventsRequest>;

async fn stream(clients: &mut Clients) -> (Batches, Streaming<pb::StreamEventsResponse>) {
    let (batches, receiver) = mpsc::channel(64);
    let answers = clients.events.stream_events(ReceiverStream::new(receiver)).await.unwrap();
    (batches, answers.into_inner())
}

fn batch(sequence: u64, events: Vec<pb::Event>) -> pb::StreamEventsRequest {
    pb::StreamEventsRequest { sequence, events }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_is_acknowledged_in_order_and_may_be_sent_again() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let events = |n: u64| -> Vec<pb::Event> {
        (0..40).map(|i| purchase(&format!("e{n}-{i}"), &format!("c{}", i % 7), 30, 2.0)).collect()
    };
    for (is_again, n_new) in [(false, 40), (true, 0)] {
        let (batches, mut answers) = stream(&mut clients).await;
        for n in 0..50 {
            let mut events = events(n);
            events.push(purchase("", "c0", 3, 1.0));
            batches.send(batch(10 + 3 * n, events)).await.unwrap();
        }
        drop(batches);
        let mut last = String::new();
        for n in 0..50 {
            let answer = answers.message().await.unwrap().unwrap();
            assert_eq!(answer.acknowledged_sequence, 10 + 3 * n);
            let result = answer.result.unwrap();
            assert_eq!((result.accepted_count, result.duplicate_count), (n_new, 40 - n_new));
            assert_eq!((result.rejected.len(), result.rejected[0].index), (1, 40));
            last = result.snapshot;
        }
        assert_eq!(answers.message().await.unwrap(), None);
        let score = clients.score(subject("c0")).await.unwrap();
        assert!(is_again || score.provenance.unwrap().snapshot == last);
    }
    assert_eq!(clients.view("c3").await.unwrap().event_count, 300);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_that_breaks_the_rules_ends_and_keeps_what_it_acknowledged() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let one = |id: &str| vec![purchase(id, "a", 3, 1.0)];
    for (second, field) in [(batch(5, one("2")), "sequence"), (batch(6, vec![]), "events")] {
        let (batches, mut answers) = stream(&mut clients).await;
        batches.send(batch(5, one("1"))).await.unwrap();
        batches.send(second).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().acknowledged_sequence, 5);
        let (code, _, fields) = told(&answers.message().await.unwrap_err());
        assert_eq!((code, fields), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    assert_eq!(clients.view("a").await.unwrap().event_count, 1);
    let checked = pb::IngestEventsRequest {
        events: vec![
            purchase("1", "a", 3, 1.0),
            purchase("n", "a", 3, 1.0),
            purchase("n", "a", 3, 1.0),
            purchase("", "a", 3, 1.0),
        ],
        validate_only: true,
    };
    let answer = clients.events.ingest_events(checked).await.unwrap().into_inner();
    assert_eq!((answer.accepted_count, answer.duplicate_count), (1, 2));
    assert_eq!((answer.rejected.len(), &*answer.snapshot), (1, ""));
    assert_eq!(clients.view("a").await.unwrap().event_count, 1);
    server.stop().await;
}

/// All bytes of the decision log.
fn log_text(dir: &Path) -> String {
    let paths = decision_segments(dir).unwrap();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

async fn with_log() -> (Running, std::path::PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("decisions");
    let server = Running::start(&[("decision_log", log.to_str().unwrap())]).await;
    (server, log, dir)
}

fn outcome(decision_id: &str) -> pb::Outcome {
    pb::Outcome {
        decision_id: decision_id.to_owned(),
        churned: Some(false),
        treated: Some(true),
        spend: Some(12.5),
        outcome_time: time(NOW_SECONDS - DAY),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_stand_beside_their_decisions_and_erasure_takes_both() {
    let (server, log, _dir) = with_log().await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let mut ids = Vec::new();
    for customer in ["regular", "once", "regular"] {
        let score = clients.score(subject(customer)).await.unwrap();
        ids.push(score.provenance.unwrap().decision_id);
    }
    let report = |outcomes| pb::ReportOutcomesRequest { outcomes };
    let good = report(vec![outcome(&ids[0]), outcome(&ids[1])]);
    let taken = clients.events.report_outcomes(good).await.unwrap().into_inner();
    assert_eq!(taken.accepted_count, 2);
    let text = log_text(&log);
    assert_eq!(text.lines().count(), 5);
    assert!(text.contains(&format!("\"outcome_of\":\"{}\"", ids[1])));
    let bad = pb::Outcome {
        churned: None,
        treated: None,
        spend: Some(f64::NAN),
        outcome_time: time(NOW_SECONDS + DAY),
        ..outcome("nothing")
    };
    let refused = report(vec![outcome(&ids[0]), bad]);
    let (code, _, fields) = told(&clients.events.report_outcomes(refused).await.unwrap_err());
    let expected = ["decision_id", "spend", "outcome_time"];
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(fields, expected.map(|field| format!("outcomes[1].{field}")));
    assert_eq!(log_text(&log), text);
    let delete =
        |validate_only| pb::DeleteCustomerRequest { customer: "regular".to_owned(), validate_only };
    let looked = clients.customers.delete_customer(delete(true)).await.unwrap().into_inner();
    assert_eq!((looked.had_history, looked.decision_count, looked.outcome_count), (true, 2, 1));
    assert_eq!(log_text(&log), text);
    let erased = clients.customers.delete_customer(delete(false)).await.unwrap().into_inner();
    assert_eq!((erased.had_history, erased.event_id_count), (true, 6));
    assert_eq!((erased.decision_count, erased.outcome_count), (2, 1));
    let text = log_text(&log);
    assert!(!text.contains("regular") && !text.contains(&ids[0]), "{text}");
    assert_eq!(text.lines().count(), 2);
    assert_eq!(clients.view("regular").await.unwrap_err().code(), Code::NotFound);
    let score = clients.score(subject("once")).await.unwrap();
    assert_eq!(score.provenance.unwrap().snapshot, erased.snapshot);
    let again = clients.customers.delete_customer(delete(false)).await.unwrap().into_inner();
    assert_eq!((again.had_history, again.decision_count), (false, 0));
    // The log goes on, and what comes later makes a new customer.
    clients.ingest(vec![purchase("r1", "regular", 20, 31.0)]).await.unwrap();
    clients.score(subject("regular")).await.unwrap();
    assert_eq!(log_text(&log).lines().count(), 4);
    assert_eq!(clients.view("regular").await.unwrap().event_count, 1);
    server.stop().await;
    let without = Running::start(&[]).await;
    let mut clients = Clients::new(&without).await;
    let refused = clients.events.report_outcomes(report(vec![outcome(&ids[0])])).await;
    let (code, reason, _) = told(&refused.unwrap_err());
    assert_eq!((code, &*reason), (Code::FailedPrecondition, "NO_DECISION_LOG"));
    without.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_has_the_first_answer_and_decides_nothing_anew() {
    let (server, log, _dir) = with_log().await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let request = |customer: &str, id: &str| pb::ScoreCustomerRequest {
        subject: Some(subject(customer)),
        request_id: id.to_owned(),
        ..Default::default()
    };
    let first = clients.scoring.score_customer(request("once", "k1")).await.unwrap().into_inner();
    clients.ingest(vec![purchase("o2", "once", 2, 50.0)]).await.unwrap();
    let again = clients.scoring.score_customer(request("once", "k1")).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = clients.scoring.score_customer(request("once", "k2")).await.unwrap().into_inner();
    assert_ne!(first, other);
    assert_eq!(log_text(&log).lines().count(), 2);
    let (code, _, fields) =
        told(&clients.scoring.score_customer(request("regular", "k1")).await.unwrap_err());
    assert_eq!((code, fields), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    // A refusal is not remembered.
    let stranger = clients.scoring.score_customer(request("new", "k3")).await;
    assert_eq!(stranger.unwrap_err().code(), Code::NotFound);
    clients.ingest(vec![purchase("n1", "new", 2, 50.0)]).await.unwrap();
    clients.scoring.score_customer(request("new", "k3")).await.unwrap();
    let batch = pb::BatchScoreCustomersRequest {
        subjects: vec![subject("once"), subject("nobody")],
        request_id: "b1".to_owned(),
        ..Default::default()
    };
    let first = clients.scoring.batch_score_customers(batch.clone()).await.unwrap().into_inner();
    clients.ingest(vec![purchase("o3", "once", 1, 50.0)]).await.unwrap();
    let again = clients.scoring.batch_score_customers(batch).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(log_text(&log).lines().count(), 4);
    server.stop().await;
}
