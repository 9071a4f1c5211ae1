//! Written scores against the messages that are made field by field.

use std::path::Path;
use std::sync::Arc;

use prost::Message;

use super::score::{Made, score};
use super::score_message;
use crate::bundle::{Bundle, BundleSelector};
use crate::decision::Tier;
use crate::decision::{Alternative, Arm, Assignment, Campaign, Decision, Experiment, Heartbeat};
use crate::decision::{Lapse, Offer, Rfm};
use crate::decision::{OfferKind, Phase, Policy, Segment, Stage, Suppression, SuppressionReason};
use crate::domain::{AsOf, Channel, CustomerId, Day, Name, Timestamp, Zone};
use crate::features::{Beat, Heartbeats};
use crate::history::History;
use crate::model::HorizonProb;
use crate::scoring::{Answer, Engine, Reason, Reasons};
use crate::serve::serving::Served;

fn served() -> Served {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let bundle = Bundle::find(&models, &BundleSelector::parse("demo").unwrap()).unwrap();
    Served::new(Arc::new(Engine::try_new(bundle, None, Some("the salt of these tests")).unwrap()))
}

/// Holds the bytes of one answer against its message.
fn check(served: &Served, answer: &Answer<'_>, reasons: Option<&Reasons>, arm: &str) {
    let made = Made {
        served,
        arm,
        snapshot: "s17",
        score_time: Timestamp::from_micros(1_512_086_400_000_001),
        history_digest: 0x0123_4567_89ab_cdef,
        reasons,
    };
    let mut bytes = vec![7];
    score(&mut bytes, answer, made);
    assert_eq!(bytes[1..], score_message::score(answer, made).encode_to_vec(), "{answer:?}");
}

#[test]
fn scores_of_real_customers_are_written_as_their_messages() {
    let served = served();
    let engine = &served.engine;
    let (zone, mut n_beats, mut n_reasons) = (Zone::UTC, 0, 0);
    for (idx, example) in engine.bundle().examples().iter().enumerate() {
        let history = History::from_bytes(&example.history_bytes().unwrap()).unwrap();
        let customer = CustomerId::try_new(&format!("customer {idx}")).unwrap();
        for days in [0, 3, 30, 200, 2_000] {
            let day = Day::parse(&example.as_of).unwrap().plus(days);
            let as_of = AsOf::end_of(day, &zone);
            let answer = engine.answer(&customer, &history, as_of, false).unwrap();
            n_beats += usize::from(answer.facts.beats.is_some());
            check(&served, &answer, None, "champion");
            if days == 3 {
                let reasons = engine.reasons(&history, as_of, 3).unwrap();
                n_reasons += reasons.churn.len() + reasons.value.len();
                check(&served, &answer, Some(&reasons), "");
            }
        }
    }
    assert!(n_beats > 20 && n_reasons > 20, "{n_beats} {n_reasons}");
}

/// Numbers and choices that cover every branch, whatever a model or a policy would do.
struct Any(u64);

impl Any {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn maybe<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| some(self))
    }

    fn number(&mut self) -> f64 {
        self.of(&[0.0, -0.0, 1.0, -12.5, 1e300, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE])
    }

    /// Also such as take a length of two bytes.
    fn text(&mut self) -> String {
        let len = self.of(&[1, 2, 60, 64]);
        ["a", "b c", "é", "\""][self.below(4)].repeat(len)
    }

    fn name(&mut self) -> Name {
        let len = self.of(&[1, 31, 64]);
        Name::try_new(&"n".repeat(len)).unwrap()
    }

    fn days(&mut self) -> f64 {
        self.of(&[0.0, 0.25, 30.0, -1.0, 1e9, f64::NAN, f64::INFINITY])
    }

    fn offer(&mut self) -> Offer {
        Offer {
            kind: self.of(&OfferKind::ALL),
            cost_max: self.maybe(Self::number),
            guarded: self.below(2) == 0,
        }
    }

    fn beat(&mut self) -> Beat {
        Beat {
            state: self.of(&Heartbeat::ALL),
            window_days: self.of(&[0, 7, 300]),
            observed: self.number(),
            expected: self.number(),
            prob: self.maybe(Self::number),
            z: self.maybe(Self::number),
            since: self.maybe(|any| Day::parse(any.of(&["2026-01-31", "1970-01-01"])).unwrap()),
        }
    }

    fn reasons(&mut self) -> Reasons {
        let reason = |any: &mut Self| Reason {
            code: any.text().into(),
            contribution: any.number(),
            text: any.text(),
        };
        let churn = (0..self.below(4)).map(|_| reason(self)).collect();
        Reasons { churn, value: (0..self.below(4)).map(|_| reason(self)).collect() }
    }

    fn campaign<'p>(&mut self, policy: &'p Policy) -> &'p Campaign {
        &policy.campaigns()[self.below(policy.campaigns().len())]
    }

    /// Changes all that stands in a message.
    fn change<'p>(&mut self, answer: &mut Answer<'p>, policy: &'p Policy) {
        answer.facts_as_of = self.maybe(|any| Timestamp::from_micros(any.of(&[0, -1, 1 << 50])));
        answer.facts.persona = self.maybe(Self::name);
        answer.facts.beats = self.maybe(|any| Heartbeats {
            orders: any.beat(),
            activity: any.beat(),
            spend: any.beat(),
        });
        let score = &mut answer.score;
        score.churn_prob = self.maybe(Self::number);
        score.churn_horizon_days = self.of(&[0, 30, 730]);
        score.churn_by_horizon = (0..self.below(4))
            .map(|days| HorizonProb {
                days: u16::try_from(90 * days).unwrap(),
                prob: self.number(),
            })
            .collect();
        if self.below(4) == 0 {
            score.clv = None;
        }
        if let Some(clv) = &mut score.clv {
            for number in [&mut clv.mean, &mut clv.p10, &mut clv.p50, &mut clv.p90] {
                *number = self.number();
            }
            (clv.historic, clv.percentile) = (self.number(), self.number());
            clv.extrapolated = self.below(2) == 0;
        }
        score.expected_purchases = self.maybe(Self::number);
        score.p_alive = self.maybe(Self::number);
        score.out_of_distribution = self.below(2) == 0;
        self.change_standing(&mut answer.decision, policy);
        self.change_advice(&mut answer.decision, policy);
    }

    fn change_standing<'p>(&mut self, decision: &mut Decision<'p>, policy: &'p Policy) {
        decision.tier = self.maybe(|any| any.of(&Tier::ALL));
        decision.model_tier = self.maybe(|any| any.of(&Tier::ALL));
        decision.tier_reasons =
            (0..self.below(4)).map(|_| self.campaign(policy).reason()).collect();
        decision.segment = self.of(&Segment::ALL);
        decision.phase = self.of(&Phase::ALL);
        decision.stage = self.maybe(|any| any.of(&Stage::ALL));
        let part = |any: &mut Self| any.maybe(|any| any.of(&[0, 1, 5]));
        decision.rfm = Rfm { r: part(self), f: part(self), m: part(self), v: part(self) };
        decision.lapse = self.maybe(|any| any.of(&Lapse::ALL));
        decision.silence_prob = self.maybe(Self::number);
        let state = |any: &mut Self| any.maybe(|any| any.of(&Heartbeat::ALL));
        decision.heartbeat.orders = state(self);
        decision.heartbeat.activity = state(self);
        decision.heartbeat.spend = state(self);
        decision.micro_key = self.text();
        decision.value_at_risk = self.maybe(Self::number);
        decision.flags.active_core = self.below(2) == 0;
        decision.flags.advocate = self.below(2) == 0;
        decision.flags.explored = self.below(2) == 0;
    }

    fn change_advice<'p>(&mut self, decision: &mut Decision<'p>, policy: &'p Policy) {
        let campaign = |any: &mut Self| any.campaign(policy);
        decision.campaign = self.maybe(campaign);
        decision.would_be_campaign = self.maybe(campaign);
        decision.offer = self.offer();
        decision.target = self.maybe(Self::name);
        decision.suppression = self.maybe(|any| Suppression {
            reason: any.of(&SuppressionReason::ALL),
            campaign: any.maybe(campaign),
        });
        decision.alternatives = (0..self.below(3))
            .map(|_| Alternative {
                campaign: campaign(self),
                channel: self.of(&Channel::ALL),
                offer: self.offer(),
                expected_value: self.maybe(Self::number),
            })
            .collect();
        decision.variant = self.maybe(|any| campaign(any).id());
        decision.expected_value = self.maybe(Self::number);
        decision.propensity = self.number();
        decision.assignments = (0..self.below(4))
            .map(|_| Assignment {
                experiment: match self.below(3) {
                    0 => Experiment::Global,
                    1 => Experiment::Campaign(campaign(self).id()),
                    _ => Experiment::Variants(campaign(self).id()),
                },
                arm: self.of(&[Arm::Treatment, Arm::Control]),
                place: 0.5,
                bucket: self.of(&[0, 1, 9_999]),
                propensity: self.number(),
                variant: self.maybe(|any| campaign(any).id()),
            })
            .collect();
        decision.not_before_days = self.maybe(Self::days);
        decision.expires_after_days = self.maybe(Self::days);
    }
}

#[test]
fn whatever_stands_in_an_answer_is_written_as_its_message() {
    let served = served();
    let engine = &served.engine;
    let mut any = Any(42);
    let mut answers = Vec::new();
    for (idx, example) in engine.bundle().examples().iter().take(8).enumerate() {
        let history = History::from_bytes(&example.history_bytes().unwrap()).unwrap();
        let as_of = AsOf::end_of(Day::parse(&example.as_of).unwrap(), &Zone::UTC);
        let customer = CustomerId::try_new(&"é".repeat(1 + 60 * (idx % 3))).unwrap();
        answers.push(engine.answer(&customer, &history, as_of, false).unwrap());
    }
    for _ in 0..500 {
        let mut answer = answers[any.below(answers.len())].clone();
        any.change(&mut answer, engine.policy());
        let reasons = any.maybe(Any::reasons);
        check(&served, &answer, reasons.as_ref(), any.of(&["", "champion"]));
    }
}
