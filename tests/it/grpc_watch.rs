//! Changes of standing over a real socket: by events, by silence, and across a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tenure::domain::Timestamp;
use tenure::serve::pb;
use tenure::serve::{Clock, Parts};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use crate::serve_client::{Clients, DAY, purchase, three_customers, told};
use crate::serve_fixture::{NOW_SECONDS, Running};

type Changes = Streaming<pb::WatchScoresResponse>;

/// A server whose clock the test sets, with a sweep every second.
async fn server() -> (Running, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(NOW_SECONDS));
    let told = Arc::clone(&now);
    let clock = Clock::of(move || Timestamp::from_micros(told.load(Ordering::SeqCst) * 1_000_000));
    let settings = [("sweep_seconds", "1"), ("sweep_rate", "1000000")];
    let server = Running::start_on(&settings, |parts| Parts { clock, ..parts }).await;
    (server, now)
}

async fn watch(clients: &mut Clients, request: pb::WatchScoresRequest) -> Changes {
    clients.scoring.watch_scores(request).await.unwrap().into_inner()
}

/// The next change and its token; messages without a change are passed over.
async fn next(changes: &mut Changes) -> (pb::Transition, String) {
    loop {
        let message = changes.message().await.unwrap().unwrap();
        if let Some(transition) = message.transition {
            return (transition, message.resume_token);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_changes_standings_and_a_watcher_hears_of_it_once_across_a_restart() {
    let (mut server, now) = server().await;
    let mut clients = Clients::new(&server).await;
    let mut changes = watch(&mut clients, pb::WatchScoresRequest::default()).await;
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.transition, None);
    clients.ingest(three_customers()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (change, token) = next(&mut changes).await;
        assert_eq!((change.previous.as_ref(), change.cause()), (None, pb::TransitionCause::Events));
        seen.push((change, token));
    }
    let mut names: Vec<&str> = seen.iter().map(|(change, _)| &*change.customer).collect();
    names.sort_unstable();
    assert_eq!(names, ["once", "regular", "visitor"]);
    // Nobody says anything for most of a year: only the sweep can notice.
    now.fetch_add(300 * DAY, Ordering::SeqCst);
    let (change, token) = loop {
        let found = next(&mut changes).await;
        seen.push(found.clone());
        if found.0.customer == "regular" {
            break found;
        }
    };
    assert_eq!(change.cause(), pb::TransitionCause::Time);
    let previous = change.previous.unwrap();
    let current = change.current.unwrap();
    assert_ne!(previous, current);
    assert_eq!(current.risk_tier(), pb::RiskTier::Red);
    assert!(change.tier_reasons.contains(&"MODEL_RED".to_owned()));
    assert_eq!(change.facts_as_of.unwrap().seconds, NOW_SECONDS - 20 * DAY);
    assert_eq!(change.as_of.unwrap().seconds, NOW_SECONDS + 300 * DAY);
    assert_eq!(change.model_version, format!("models/demo/versions/{}", server.version));
    let score = clients.score(crate::serve_client::subject("regular")).await.unwrap();
    assert_eq!((score.risk_tier, score.segment), (current.risk_tier, current.segment));
    // An order brings the customer back, told as what it is.
    let back = purchase("back", "regular", -300, 30.0);
    clients.ingest(vec![back]).await.unwrap();
    let (change, _) = loop {
        let found = next(&mut changes).await;
        seen.push(found.clone());
        if found.0.customer == "regular" {
            break found;
        }
    };
    assert_eq!(change.cause(), pb::TransitionCause::Events);
    assert_eq!(change.previous.unwrap().risk_tier(), pb::RiskTier::Red);
    // The stream ends with the server, and goes on after a restart where it was left.
    server.tell();
    while let Ok(Some(_)) = changes.message().await {}
    assert!(server.ended().await.complete);
    let again = Running::start_with(server.config.clone()).await;
    let mut clients = Clients::new(&again).await;
    let from = pb::WatchScoresRequest { resume_token: first.resume_token, ..Default::default() };
    let mut changes = watch(&mut clients, from).await;
    for (change, token) in &seen {
        assert_eq!(&next(&mut changes).await, &(change.clone(), token.clone()));
    }
    let later = pb::WatchScoresRequest {
        resume_token: token,
        customers: vec!["regular".to_owned()],
        ..Default::default()
    };
    let mut changes = watch(&mut clients, later).await;
    let (change, _) = next(&mut changes).await;
    assert_eq!((&*change.customer, change.cause()), ("regular", pb::TransitionCause::Events));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_cannot_be_kept_is_refused_with_the_way_out() {
    let (server, _) = server().await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let of = |token: &str| pb::WatchScoresRequest {
        resume_token: token.to_owned(),
        ..Default::default()
    };
    let mut changes = watch(&mut clients, of("t999999.0")).await;
    let refused = changes.message().await.unwrap_err();
    assert_eq!(told(&refused).0, Code::OutOfRange);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "RESUME_TOKEN_LOST");
    let oldest = info.metadata["oldest_token"].clone();
    let mut changes = watch(&mut clients, of(&oldest)).await;
    next(&mut changes).await;
    let bad = pb::WatchScoresRequest {
        resume_token: "x".to_owned(),
        customers: vec![String::new()],
        risk_tiers: vec![99],
    };
    let (code, _, fields) = told(&clients.scoring.watch_scores(bad).await.unwrap_err());
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(fields, ["resume_token", "customers[0]", "risk_tiers[0]"]);
    server.stop().await;
    let still = Running::start(&[("sweep_rate", "0")]).await;
    let mut clients = Clients::new(&still).await;
    let refused = clients.scoring.watch_scores(of("")).await.unwrap_err();
    let (code, reason, _) = told(&refused);
    assert_eq!((code, &*reason), (Code::FailedPrecondition, "SWEEP_OFF"));
    still.stop().await;
}
