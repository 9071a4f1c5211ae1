//! A server that is asked more than it may answer: it turns most of it away before it is read,
//! and what it turns away is told so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::serve_client::{Clients, subject, three_customers, told};
use crate::serve_reload::{get, sample, with_admin};
use crate::serve_secure::{connect, golden};

const CALLERS: usize = 32;
/// Far more than it takes.
const ROUNDS_MAX: usize = 2_000;

/// Calls by as many callers at once; how many were refused.
async fn round(clients: &[Clients]) -> usize {
    let calls = (0..CALLERS).map(|nth| {
        let mut scoring = clients[nth % clients.len()].scoring.clone();
        tokio::spawn(async move {
            let subjects = vec![subject("regular"); 20];
            let request =
                tenure::serve::pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
            scoring.batch_score_customers(request).await
        })
    });
    let mut n_refused = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(answer) => assert_eq!(answer.into_inner().outcomes.len(), 20),
            Err(status) => {
                assert_eq!(told(&status).0, Code::Unavailable, "{status:?}");
                assert_eq!(told(&status).1, "OVERLOADED", "{status:?}");
                assert!(status.get_details_retry_info().is_some(), "{status:?}");
                n_refused += 1;
            }
        }
    }
    n_refused
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_too_many_are_turned_away_unread_and_others_never_notice() {
    let settings = [("calls_max", "1"), ("batch_threads", "1")];
    let (server, admin) = with_admin(&settings, |parts| parts).await;
    let channels = [server.channel().await, server.channel().await];
    flood(channels, admin).await;
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_where_calls_are_encrypted() {
    let (cert, key) = (golden("server.pem"), golden("server.key"));
    let settings = [
        ("calls_max", "1"),
        ("batch_threads", "1"),
        ("tls_cert", cert.to_str().unwrap()),
        ("tls_key", key.to_str().unwrap()),
    ];
    let (server, admin) = with_admin(&settings, |parts| parts).await;
    let connected = async || connect(&server, "authority.pem", None).await.unwrap();
    let channels = [connected().await, connected().await];
    flood(channels, admin).await;
    assert!(server.stop().await.complete);
}

async fn flood(channels: [Channel; 2], admin: std::net::SocketAddr) {
    let mut clients = channels.map(Clients::of);
    clients[0].ingest(three_customers()).await.unwrap();
    let of_class = |class: &str, why: &str| {
        format!("tenure_calls_refused_total{{class=\"{class}\",reason=\"{why}\"}}")
    };
    let (mut n_refused, mut n_unread) = (0, 0.0);
    for _ in 0..ROUNDS_MAX {
        n_refused += round(&clients).await;
        // Another class has a line of its own.
        clients[1].score(subject("once")).await.unwrap();
        n_unread = sample(&get(admin, "/metrics").await.1, &of_class("batch", "unread")).unwrap();
        if n_unread > 100.0 {
            break;
        }
    }
    assert!(n_unread > 100.0, "{n_unread} of {n_refused} were turned away unread");
    // Each is counted once, by reason and by code.
    let page = get(admin, "/metrics").await.1;
    let full = sample(&page, &of_class("batch", "full")).unwrap();
    let late = sample(&page, &of_class("batch", "too_late")).unwrap();
    let method = "method=\"ScoringService/BatchScoreCustomers\"";
    let calls = format!("tenure_calls_total{{{method},code=\"Unavailable\"}}");
    assert_eq!(sample(&page, &calls), Some(n_unread + full + late));
    assert!((n_unread + full + late - n_refused as f64).abs() < 0.5);
    // Who comes alone is soon answered, and then always.
    let (mut n_again, mut n_in_a_row) = (0, 0);
    while n_in_a_row < 200 {
        if clients[0].batch(vec![subject("regular")]).await.is_ok() {
            n_in_a_row += 1;
        } else {
            (n_again, n_in_a_row) = (n_again + 1, 0);
            assert!(n_again < ROUNDS_MAX);
        }
    }
}
