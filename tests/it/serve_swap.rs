//! Versions that change again and again while callers score one by one, in batches and in streams.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and tells its numbers"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tenure::bundle::{CHAMPION, aliases};
use tenure::serve::pb;
use tenure::serve::pb::score_outcome::Outcome;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::serve_client::{Clients, subject, three_customers};
use crate::serve_fixture::Running;
use crate::serve_models::{another, arm, name};
use crate::serve_reload::until;
use crate::store_kill::rounds;

/// Version, policy and arm of an answer.
type Pair = (String, Vec<u8>, String);

/// What one caller has seen.
#[derive(Default)]
struct Seen {
    n_answers: AtomicUsize,
    n_failed: AtomicUsize,
    stop: AtomicBool,
}

impl Seen {
    fn note(&self, outcome: Option<Outcome>, pairs: &mut BTreeSet<Pair>) {
        match outcome {
            Some(Outcome::Score(score)) => {
                let of = score.provenance.unwrap();
                pairs.insert((of.model_version, of.policy_hash, of.arm));
                self.n_answers.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                self.n_failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

type Caller = (Arc<Seen>, JoinHandle<BTreeSet<Pair>>);

fn one_by_one(mut clients: Clients) -> Caller {
    let seen = Arc::new(Seen::default());
    let own = Arc::clone(&seen);
    let calls = async move {
        let mut pairs = BTreeSet::new();
        while own.goes_on() {
            let score = clients.score(subject("regular")).await;
            own.note(score.ok().map(Outcome::Score), &mut pairs);
        }
        pairs
    };
    (seen, tokio::spawn(calls))
}

fn in_batches(mut clients: Clients) -> Caller {
    let seen = Arc::new(Seen::default());
    let own = Arc::clone(&seen);
    let calls = async move {
        let mut pairs = BTreeSet::new();
        while own.goes_on() {
            let rows = ["regular", "once", "visitor"].iter().cycle().take(60);
            match clients.batch(rows.map(|customer| subject(customer)).collect()).await {
                Ok(outcomes) => {
                    let mut of_one = BTreeSet::new();
                    outcomes.into_iter().for_each(|one| own.note(Some(one), &mut of_one));
                    assert_eq!(of_one.len(), 1, "a batch is answered by one version");
                    pairs.extend(of_one);
                }
                Err(_) => own.note(None, &mut pairs),
            }
        }
        pairs
    };
    (seen, tokio::spawn(calls))
}

fn in_a_stream(mut clients: Clients) -> Caller {
    let seen = Arc::new(Seen::default());
    let own = Arc::clone(&seen);
    let calls = async move {
        let mut pairs = BTreeSet::new();
        let (requests, receiver) = mpsc::channel(64);
        let rows = ReceiverStream::new(receiver);
        let mut answers = clients.scoring.score_stream(rows).await.unwrap().into_inner();
        let sender = Arc::clone(&own);
        tokio::spawn(async move {
            let mut sequence = 0;
            while sender.goes_on() {
                sequence += 1;
                let subject = Some(subject("once"));
                let row = pb::ScoreStreamRequest { sequence, subject, ..Default::default() };
                requests.send(row).await.unwrap();
            }
        });
        let mut expected = 0;
        // One stream from the first change to the last.
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    expected += 1;
                    assert_eq!(answer.sequence, expected);
                    own.note(answer.outcome.unwrap().outcome, &mut pairs);
                }
                Ok(None) => break,
                Err(_) => {
                    own.note(None, &mut pairs);
                    break;
                }
            }
        }
        assert!(!own.goes_on(), "the stream has ended by itself");
        pairs
    };
    (seen, tokio::spawn(calls))
}

fn told(what: &str, times: &mut [Duration]) {
    times.sort();
    let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!("{what}: n {} p50 {middle:?} max {longest:?}", times.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_change_under_load_and_every_answer_names_one_known_pair() {
    let server = Running::start(&[("reload_seconds", "1")]).await;
    let (first, second) = (server.version.clone(), another(&server.config.models, "second"));
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let loaded = clients.load(&second).await.unwrap();
    let second_pair = (name(&second), loaded.policy.unwrap().hash, "champion".to_owned());
    let of = clients.score(subject("once")).await.unwrap().provenance.unwrap();
    let first_pair = (name(&first), of.policy_hash, of.arm);
    let callers = [
        one_by_one(Clients::new(&server).await),
        one_by_one(Clients::new(&server).await),
        in_batches(Clients::new(&server).await),
        in_a_stream(Clients::new(&server).await),
    ];
    let (mut forth, mut back) = (Vec::new(), Vec::new());
    for _ in 0..rounds(26) / 2 {
        for is_forth in [true, false] {
            let before: Vec<_> =
                callers.iter().map(|(seen, _)| seen.n_answers.load(Ordering::Relaxed)).collect();
            let began = Instant::now();
            let (times, expected) = if is_forth {
                clients.set_arms(vec![arm("champion", &second, 10_000)]).await.unwrap();
                (&mut forth, &second_pair)
            } else {
                clients.roll_back(0, "").await.unwrap();
                (&mut back, &first_pair)
            };
            times.push(began.elapsed());
            let of = clients.score(subject("once")).await.unwrap().provenance.unwrap();
            assert_eq!((&of.model_version, &of.policy_hash), (&expected.0, &expected.1));
            until("answers of everybody", async || {
                let now = callers.iter().map(|(seen, _)| seen.n_answers.load(Ordering::Relaxed));
                now.zip(&before).all(|(now, before)| now > *before)
            })
            .await;
        }
    }
    let (mut n_answers, mut pairs) = (0, BTreeSet::new());
    for (seen, _) in &callers {
        seen.stop.store(true, Ordering::Relaxed);
    }
    for (seen, caller) in callers {
        pairs.extend(caller.await.unwrap());
        assert_eq!(seen.n_failed.load(Ordering::Relaxed), 0);
        n_answers += seen.n_answers.load(Ordering::Relaxed);
    }
    assert_eq!(pairs, BTreeSet::from([first_pair, second_pair]));
    assert_eq!(aliases(&server.config.models, "demo").unwrap()[CHAMPION], first);
    let mut idle = Vec::new();
    for _ in 0..10 {
        clients.set_arms(vec![arm("champion", &second, 10_000)]).await.unwrap();
        let began = Instant::now();
        clients.roll_back(0, "").await.unwrap();
        idle.push(began.elapsed());
    }
    eprintln!("{} changes, {n_answers} answers, 0 failed", forth.len() + back.len());
    told("another champion under load", &mut forth);
    told("rollback under load", &mut back);
    told("rollback", &mut idle);
    assert!(server.stop().await.complete);
}
