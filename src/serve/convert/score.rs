//! Scores and decisions as the bytes of their messages.
//!
//! In: an answer and how it came about. Out: a `Score`, appended to a buffer by the thread that
//! worked it out: no message is made of it first, and no text is copied twice. The test beside it
//! holds the bytes against the message that is made field by field.

use super::names;
use super::writer::Writer;
use crate::decision::{Alternative, Assignment, Decision, Experiment, Lapse, Offer, Rfm};
use crate::domain::{AsOf, Currency, Timestamp};
use crate::model::{Clv, HorizonProb};
use crate::scoring::{Answer, Engine, Reason, Reasons, decision_id};
use crate::serve::pb;
use crate::serve::serving::Served;

/// How an answer came about.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) struct Made<'a> {
    /// Who answered.
    pub(in crate::serve) served: &'a Served,
    /// In which arm; empty for none.
    pub(in crate::serve) arm: &'a str,
    /// The snapshot read.
    pub(in crate::serve) snapshot: &'a str,
    /// The server's time.
    pub(in crate::serve) score_time: Timestamp,
    /// Digest of the history that was scored.
    pub(in crate::serve) history_digest: u128,
    /// The weightiest reasons, where they were asked for.
    pub(in crate::serve) reasons: Option<&'a Reasons>,
}

/// Appends a customer's score.
pub(in crate::serve) fn score(bytes: &mut Vec<u8>, answer: &Answer<'_>, made: Made<'_>) {
    let Answer { customer, as_of, facts_as_of, facts, score, decision } = answer;
    let crate::model::Score {
        churn_prob,
        churn_horizon_days,
        churn_by_horizon,
        clv,
        expected_purchases,
        p_alive,
        out_of_distribution,
    } = score;
    let mut to = Writer::new(bytes);
    to.text(1, customer.as_str());
    instant(&mut to, 2, Some(as_of.instant()));
    instant(&mut to, 3, *facts_as_of);
    to.double_if_some(4, *churn_prob);
    to.unsigned(5, *churn_horizon_days);
    to.signed(6, names::tier(decision.tier));
    decision.tier_reasons.iter().for_each(|reason| to.text_item(7, reason));
    if let Some(clv) = clv {
        to.message(8, |to| value(to, clv, made.served.engine.currency()));
    }
    to.double_if_some(9, decision.value_at_risk);
    to.double_if_some(10, *expected_purchases);
    to.double_if_some(11, *p_alive);
    to.flag(12, *out_of_distribution);
    to.signed(13, names::phase(decision.phase));
    to.signed(14, names::segment(decision.segment));
    to.signed(15, names::stage(decision.stage));
    to.text(16, &decision.micro_key);
    to.message(17, |to| rfm(to, decision.rfm));
    if let Some(state) = decision.lapse {
        to.message(18, |to| lapse(to, state, decision.silence_prob));
    }
    heartbeats(&mut to, answer);
    to.message(20, |to| advice(to, decision, *as_of));
    for assignment in &decision.assignments {
        to.message(21, |to| place(to, assignment));
    }
    to.message(22, |to| provenance(to, answer, made));
    to.signed(23, names::tier(decision.model_tier));
    to.flag(24, decision.flags.active_core);
    to.flag(25, decision.flags.advocate);
    if let Some(Reasons { churn, value }) = made.reasons {
        churn.iter().for_each(|why| to.message(30, |to| reason(to, why)));
        value.iter().for_each(|why| to.message(31, |to| reason(to, why)));
    }
    to.text(32, facts.persona.as_ref().map_or("", |persona| persona.as_str()));
    churn_by_horizon.iter().for_each(|found| to.message(40, |to| horizon(to, *found)));
}

fn instant(to: &mut Writer<'_>, tag: u32, instant: Option<Timestamp>) {
    if let Some(instant) = instant {
        let prost_types::Timestamp { seconds, nanos } = super::timestamp(instant);
        to.message(tag, |to| {
            to.signed(1, seconds);
            to.signed(2, nanos);
        });
    }
}

fn value(to: &mut Writer<'_>, clv: &Clv, currency: Currency) {
    let Clv { mean, p10, p50, p90, historic, percentile, horizon_days, extrapolated } = clv;
    to.double(1, *mean);
    to.double_if_some(2, known(*p10));
    to.double_if_some(3, known(*p50));
    to.double_if_some(4, known(*p90));
    to.double_if_some(5, known(*historic));
    to.unsigned(6, *horizon_days);
    to.text(7, currency.as_str());
    // The models predict revenue; a policy's margin only caps what offers may cost.
    to.signed(8, pb::ValueBasis::Revenue as i32);
    to.flag(9, *extrapolated);
    to.double(10, *percentile);
}

fn known(number: f64) -> Option<f64> {
    (!number.is_nan()).then_some(number)
}

fn horizon(to: &mut Writer<'_>, HorizonProb { days, prob }: HorizonProb) {
    to.unsigned(1, days);
    to.double(2, prob);
}

fn rfm(to: &mut Writer<'_>, Rfm { r, f, m, v }: Rfm) {
    to.unsigned_if_some(1, r);
    to.unsigned_if_some(2, f);
    to.unsigned_if_some(3, m);
    to.unsigned_if_some(4, v);
}

fn lapse(to: &mut Writer<'_>, state: Lapse, silence_prob: Option<f64>) {
    to.signed(1, names::lapse(state));
    to.double_if_some(2, silence_prob);
}

/// The signals that were measured, with what they rest on where that is known.
fn heartbeats(to: &mut Writer<'_>, answer: &Answer<'_>) {
    let (states, beats) = (answer.decision.heartbeat, answer.facts.beats.as_ref());
    let signals = [
        (pb::HeartbeatSignal::Orders, states.orders, beats.map(|beats| &beats.orders)),
        (pb::HeartbeatSignal::Activity, states.activity, beats.map(|beats| &beats.activity)),
        (pb::HeartbeatSignal::Spend, states.spend, beats.map(|beats| &beats.spend)),
    ];
    for (signal, state, beat) in signals {
        let Some(state) = state else { continue };
        to.message(19, |to| {
            to.signed(1, signal as i32);
            to.signed(2, names::heartbeat(state));
            let Some(beat) = beat else { return };
            to.unsigned(3, beat.window_days);
            to.double_if_some(4, known(beat.observed));
            to.double_if_some(5, known(beat.expected));
            to.double_if_some(6, beat.prob);
            to.double_if_some(7, beat.z);
            if let Some(day) = beat.since {
                to.printed(8, day);
            }
        });
    }
}

fn advice(to: &mut Writer<'_>, decision: &Decision<'_>, as_of: AsOf) {
    let stopped = decision.suppression.and_then(|suppression| suppression.campaign);
    let would_be = decision.would_be_campaign;
    let later = |days: Option<f64>| days.and_then(|days| days_after(as_of.instant(), days));
    match decision.campaign {
        Some(campaign) => to.signed(1, names::campaign(Some(campaign))),
        None => to.signed(1, pb::CampaignType::NoAction as i32),
    }
    to.text(2, decision.campaign_id());
    if decision.campaign.is_some() {
        to.message(3, |to| offer(to, decision.offer));
    }
    to.packed(4, decision.channels.iter().map(|channel| names::channel(*channel)));
    to.text(5, decision.target.as_ref().map_or("", |target| target.as_str()));
    to.text(6, decision.campaign_reason().unwrap_or_default());
    decision.alternatives.iter().for_each(|next| to.message(7, |to| alternative(to, next)));
    to.signed(8, names::suppression(decision.suppression.map(|stop| stop.reason)));
    to.signed(9, names::campaign(stopped));
    to.text(10, stopped.map_or("", |campaign| campaign.id()));
    to.signed(11, names::campaign(would_be));
    to.text(12, would_be.map_or("", |campaign| campaign.id()));
    to.flag(13, decision.is_held_out());
    instant(to, 14, later(decision.not_before_days));
    instant(to, 15, later(decision.expires_after_days));
    to.text(16, decision.variant.unwrap_or_default());
    to.double_if_some(17, decision.expected_value);
    to.double(18, decision.propensity);
    to.flag(19, decision.flags.explored);
}

fn offer(to: &mut Writer<'_>, Offer { kind, cost_max, guarded }: Offer) {
    to.signed(1, names::offer_kind(kind));
    to.double_if_some(2, cost_max);
    to.flag(3, guarded);
}

fn alternative(to: &mut Writer<'_>, alternative: &Alternative<'_>) {
    let Alternative { campaign, channel, offer: given, expected_value } = alternative;
    to.signed(1, names::campaign(Some(campaign)));
    to.text(2, campaign.id());
    to.text(3, campaign.reason());
    to.signed(4, names::channel(*channel));
    to.message(5, |to| offer(to, *given));
    to.double_if_some(6, *expected_value);
}

fn place(to: &mut Writer<'_>, assignment: &Assignment<'_>) {
    let Assignment { experiment, arm, place: _, bucket, propensity, variant } = assignment;
    match experiment {
        Experiment::Global => to.text(1, "global"),
        Experiment::Campaign(id) => to.text(1, id),
        Experiment::Variants(_) => to.text(1, &experiment.name()),
    }
    to.signed(2, names::arm(*arm));
    to.unsigned(3, *bucket);
    to.double(4, *propensity);
    to.text(5, variant.unwrap_or_default());
}

fn reason(to: &mut Writer<'_>, of: &Reason) {
    let Reason { code, contribution, text } = of;
    to.text(1, code);
    to.double(2, *contribution);
    to.text(3, text);
}

fn provenance(to: &mut Writer<'_>, answer: &Answer<'_>, made: Made<'_>) {
    to.written(&made.served.origin);
    to.text(5, &decision_id(&made.served.engine, answer, made.history_digest));
    to.text(6, made.snapshot);
    instant(to, 7, Some(made.score_time));
    to.text(8, made.arm);
}

/// The first fields of the provenance of all that an engine answers.
pub(in crate::serve) fn origin(engine: &Engine) -> Box<[u8]> {
    let (mut bytes, policy) = (Vec::new(), engine.policy().id());
    let mut to = Writer::new(&mut bytes);
    to.text(1, engine.model_version());
    to.text(2, &policy.id);
    to.text(3, &policy.version);
    to.bytes(4, &policy.hash);
    bytes.into_boxed_slice()
}

/// The instant so many days later; `None` beyond the range of instants.
fn days_after(from: Timestamp, days: f64) -> Option<Timestamp> {
    let micros = days * 86_400e6;
    if !(0.0..1e18).contains(&micros) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 1e18, checked above")]
    let later = from.micros().checked_add(micros as i64)?;
    Some(Timestamp::from_micros(later))
}
