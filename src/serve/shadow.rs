//! What a version that does not answer would have said, held against what was said.
//!
//! In: answers of the champion whose customers a shadow scores, too, by way of a bounded queue.
//! Out: counts and sums of how far both agree. It begins once the answer has been worked out, has
//! places of the batch class only while nobody else wants them, and drops what it does not come
//! to. What it says is thrown away: no decision of it is logged, counted as given or remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::admission::{Permit, Turn};
use super::inline_row;
use super::live::{Live, Moment};
use super::methods::Class;
use super::serving::{Answering, ShadowArm};
use crate::decision::Tier;
use crate::domain::{AsOf, CustomerId};
use crate::history::History;
use crate::scoring::Answer;
use crate::telemetry::Counter;

/// Answers compared together: less than a millisecond of work.
const CHUNK: usize = 32;
/// Wait until the next look at whether the batch class has a place.
const PLACE_PAUSE: Duration = Duration::from_millis(10);

/// What of an answer is compared.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    tier: Option<Tier>,
    /// Campaign, offer and channel.
    action: (String, Option<&'static str>, Option<&'static str>),
    churn: Option<f64>,
    clv: Option<f64>,
}

impl Seen {
    fn of(answer: &Answer<'_>) -> Self {
        let (score, decision) = (&answer.score, &answer.decision);
        let chosen = decision.campaign;
        Self {
            tier: decision.tier,
            action: (
                decision.campaign_id().to_owned(),
                chosen.map(|_| decision.offer.kind.as_str()),
                chosen.and(decision.channels.first().map(|channel| channel.as_str())),
            ),
            churn: score.churn_prob,
            clv: score.clv.as_ref().map(|clv| clv.mean),
        }
    }
}

/// What was scored.
#[derive(Debug)]
pub(super) enum Subject {
    /// A customer's history.
    Log(Box<History>),
    /// A row of features.
    Row(prost_types::Struct),
}

/// One answer that waits for the shadow's.
#[derive(Debug)]
pub(super) struct Job {
    arm: Arc<ShadowArm>,
    customer: CustomerId,
    subject: Subject,
    as_of: AsOf,
    seen: Seen,
}

/// How far a shadow and the champion agree.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    sums: Mutex<Sums>,
    /// Answers that the shadow had none for.
    pub(super) failed: Counter,
    /// Answers that were drawn and not scored.
    pub(super) dropped: Counter,
}

/// Counts and sums over the answers compared; of differences: the shadow's less the champion's.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// Answers.
    pub(super) n: u64,
    /// The same campaign, offer and channel.
    pub(super) n_same_action: u64,
    /// By the champion's tier and the shadow's.
    pub(super) tiers: BTreeMap<(Option<Tier>, Option<Tier>), u64>,
    /// Of probabilities of churn.
    pub(super) churn: Differences,
    /// Of expected values.
    pub(super) clv: Differences,
}

/// Differences of one number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Differences {
    /// Answers in which both have it.
    pub(super) n: u64,
    /// Sum.
    pub(super) sum: f64,
    /// Sum without signs.
    pub(super) absolute: f64,
    /// Sum of the champion's numbers.
    pub(super) served: f64,
}

impl Differences {
    fn add(&mut self, served: Option<f64>, shadow: Option<f64>) {
        let (Some(served), Some(shadow)) = (served, shadow) else { return };
        self.n += 1;
        self.sum += shadow - served;
        self.absolute += (shadow - served).abs();
        self.served += served;
    }
}

impl Sums {
    fn add(&mut self, served: &Seen, shadow: &Seen) {
        self.n += 1;
        self.n_same_action += u64::from(served.action == shadow.action);
        *self.tiers.entry((served.tier, shadow.tier)).or_insert(0) += 1;
        self.churn.add(served.churn, shadow.churn);
        self.clv.add(served.clv, shadow.clv);
    }

    /// Answers with the same tier.
    pub(super) fn n_same_tier(&self) -> u64 {
        let same = self.tiers.iter().filter(|((served, shadow), _)| served == shadow);
        same.map(|(_, n)| n).sum()
    }
}

impl Agreement {
    /// As it stands.
    pub(super) fn sums(&self) -> Sums {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn compared(&self, served: &Seen, shadow: &Seen) {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).add(served, shadow);
    }
}

impl Job {
    fn run(self) {
        let Self { arm, customer, subject, as_of, seen } = self;
        let engine = &arm.served.engine;
        let shadow = match subject {
            Subject::Log(history) => {
                let answer = engine.answer(&customer, &history, as_of, false);
                answer.ok().map(|answer| Seen::of(&answer))
            }
            Subject::Row(features) => {
                let answer = inline_row::unseen(engine, &customer, &features, as_of);
                answer.map(|answer| Seen::of(&answer.answer))
            }
        };
        match shadow {
            Some(shadow) => arm.agreement.compared(&seen, &shadow),
            None => arm.agreement.failed.add(1),
        }
    }
}

/// Hands an answer to the shadows that score its customer, too. Costs a look where there is none.
pub(super) fn note(
    live: &Live,
    moment: &Moment,
    (answering, answer): (&Answering<'_>, &Answer<'_>),
    subject: impl Fn() -> Subject,
) {
    let serving = &moment.serving;
    // A version that was asked for by name is nobody's champion.
    let is_champion = answering.arm == serving.champion.name;
    if serving.shadows.is_empty() || !is_champion {
        return;
    }
    for arm in serving.shadows_of(answer.customer.as_str()) {
        let Ok(place) = live.shadows.try_reserve() else {
            arm.agreement.dropped.add(1);
            continue;
        };
        place.send(Job {
            arm: Arc::clone(arm),
            customer: answer.customer.clone(),
            subject: subject(),
            as_of: answer.as_of,
            seen: Seen::of(answer),
        });
    }
}

/// Compares until the server ends.
pub(super) async fn run(live: Arc<Live>, mut jobs: mpsc::Receiver<Job>) {
    let mut ending = live.streams.ended();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let n = tokio::select! {
            biased;
            () = &mut ending => return,
            n = jobs.recv_many(&mut chunk, CHUNK) => n,
        };
        if n == 0 {
            return;
        }
        let permit = tokio::select! {
            () = &mut ending => return,
            permit = place(&live) => permit,
        };
        let compare = move |_: &_| {
            chunk.into_iter().for_each(Job::run);
            Ok(())
        };
        if let Err(error) = live.pooled(compare).await {
            tracing::warn!(reason = error.to_status().message(), "a shadow was not scored");
        }
        drop(permit);
    }
}

/// A place of the batch class that nobody else wants.
async fn place(live: &Live) -> Permit {
    loop {
        if let Ok(Turn::Now(permit)) = live.admission.enter(Class::Batch, Duration::ZERO) {
            return permit;
        }
        sleep(PLACE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tier: Tier, campaign: &str, churn: Option<f64>, clv: f64) -> Seen {
        Seen { tier: Some(tier), action: (campaign.to_owned(), None, None), churn, clv: Some(clv) }
    }

    #[test]
    fn agreement_counts_and_adds_up() {
        let found = Agreement::default();
        let calm = seen(Tier::Green, "no_action", Some(0.25), 100.0);
        found.compared(&calm, &calm);
        found.compared(&calm, &seen(Tier::Red, "upsell", Some(0.75), 40.0));
        found.compared(&calm, &seen(Tier::Green, "upsell", None, 110.0));
        let sums = found.sums();
        assert_eq!((sums.n, sums.n_same_tier(), sums.n_same_action), (3, 2, 1));
        assert_eq!(sums.tiers[&(Some(Tier::Green), Some(Tier::Red))], 1);
        assert_eq!((sums.churn.n, sums.clv.n), (2, 3));
        assert!((sums.churn.sum - 0.5).abs() < 1e-12);
        assert!((sums.churn.absolute - 0.5).abs() < 1e-12);
        assert!((sums.clv.sum + 50.0).abs() < 1e-12);
        assert!((sums.clv.absolute - 70.0).abs() < 1e-12);
        assert!((sums.clv.served - 300.0).abs() < 1e-12);
    }
}
