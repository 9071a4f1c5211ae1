//! Scores and decisions as messages, field by field: what the bytes are held against.

use super::explain::reason;
use super::names;
use super::score::Made;
use crate::decision::{Alternative, Assignment, Decision, Lapse, Offer, Rfm};
use crate::domain::{AsOf, Currency, Timestamp};
use crate::model::{Clv, HorizonProb};
use crate::scoring::{Answer, decision_id};
use crate::serve::pb;

/// A customer's score.
pub(super) fn score(answer: &Answer<'_>, made: Made<'_>) -> pb::Score {
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
    pb::Score {
        customer: customer.as_str().to_owned(),
        as_of: Some(super::timestamp(as_of.instant())),
        facts_as_of: facts_as_of.map(super::timestamp),
        churn_probability: *churn_prob,
        churn_horizon_days: u32::from(*churn_horizon_days),
        risk_tier: names::tier(decision.tier),
        model_risk_tier: names::tier(decision.model_tier),
        tier_reasons: decision.tier_reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        clv: clv.as_ref().map(|clv| value(clv, made.served.engine.currency())),
        value_at_risk: decision.value_at_risk,
        expected_purchases: *expected_purchases,
        alive_probability: *p_alive,
        out_of_distribution: *out_of_distribution,
        lifecycle_phase: names::phase(decision.phase),
        segment: names::segment(decision.segment),
        engagement_stage: names::stage(decision.stage),
        micro_segment: decision.micro_key.clone(),
        rfm: Some(rfm(decision.rfm)),
        lapse: decision.lapse.map(|state| lapse(state, decision.silence_prob)),
        heartbeats: heartbeats(answer),
        advice: Some(advice(decision, *as_of)),
        assignments: decision.assignments.iter().map(assignment).collect(),
        provenance: Some(provenance(answer, made)),
        active_core: decision.flags.active_core,
        advocate: decision.flags.advocate,
        churn_reasons: made.reasons.iter().flat_map(|why| &why.churn).map(reason).collect(),
        value_reasons: made.reasons.iter().flat_map(|why| &why.value).map(reason).collect(),
        churn_by_horizon: churn_by_horizon.iter().map(horizon).collect(),
        persona: facts.persona.as_ref().map_or_else(String::new, ToString::to_string),
    }
}

fn horizon(found: &HorizonProb) -> pb::HorizonChurn {
    let HorizonProb { days, prob } = *found;
    pb::HorizonChurn { horizon_days: u32::from(days), probability: prob }
}

/// The signals that were measured, with what they rest on where that is known.
fn heartbeats(answer: &Answer<'_>) -> Vec<pb::Heartbeat> {
    let (states, beats) = (answer.decision.heartbeat, answer.facts.beats);
    [
        (pb::HeartbeatSignal::Orders, states.orders, beats.map(|beats| beats.orders)),
        (pb::HeartbeatSignal::Activity, states.activity, beats.map(|beats| beats.activity)),
        (pb::HeartbeatSignal::Spend, states.spend, beats.map(|beats| beats.spend)),
    ]
    .into_iter()
    .filter_map(|(signal, state, beat)| {
        let known = |number: f64| (!number.is_nan()).then_some(number);
        Some(pb::Heartbeat {
            signal: signal.into(),
            state: names::heartbeat(state?),
            window_days: beat.map_or(0, |beat| u32::from(beat.window_days)),
            observed: beat.and_then(|beat| known(beat.observed)),
            expected: beat.and_then(|beat| known(beat.expected)),
            probability: beat.and_then(|beat| beat.prob),
            deviation: beat.and_then(|beat| beat.z),
            since_day: beat
                .and_then(|beat| beat.since)
                .map_or_else(String::new, |day| day.to_string()),
        })
    })
    .collect()
}

fn value(clv: &Clv, currency: Currency) -> pb::Clv {
    let Clv { mean, p10, p50, p90, historic, percentile, horizon_days, extrapolated } = clv;
    let known = |quantile: f64| (!quantile.is_nan()).then_some(quantile);
    pb::Clv {
        mean: *mean,
        p10: known(*p10),
        p50: known(*p50),
        p90: known(*p90),
        historic: known(*historic),
        horizon_days: u32::from(*horizon_days),
        currency_code: currency.as_str().to_owned(),
        // The models predict revenue; a policy's margin only caps what offers may cost.
        basis: pb::ValueBasis::Revenue.into(),
        extrapolated: *extrapolated,
        percentile: *percentile,
    }
}

fn rfm(rfm: Rfm) -> pb::Rfm {
    let Rfm { r, f, m, v } = rfm;
    pb::Rfm { r: r.map(u32::from), f: f.map(u32::from), m: m.map(u32::from), v: v.map(u32::from) }
}

fn lapse(state: Lapse, silence_prob: Option<f64>) -> pb::Lapse {
    pb::Lapse { state: names::lapse(state), silence_probability: silence_prob }
}

fn advice(decision: &Decision<'_>, as_of: AsOf) -> pb::CampaignAdvice {
    let stopped = decision.suppression.and_then(|suppression| suppression.campaign);
    let later = |days: Option<f64>| days.and_then(|days| days_after(as_of.instant(), days));
    pb::CampaignAdvice {
        campaign: match decision.campaign {
            Some(campaign) => names::campaign(Some(campaign)),
            None => pb::CampaignType::NoAction.into(),
        },
        campaign_id: decision.campaign_id().to_owned(),
        offer: decision.campaign.map(|_| offer(decision.offer)),
        channels: decision.channels.iter().map(|channel| names::channel(*channel)).collect(),
        target: decision.target.as_ref().map_or_else(String::new, ToString::to_string),
        reason: decision.campaign_reason().unwrap_or_default().to_owned(),
        alternatives: decision.alternatives.iter().map(alternative).collect(),
        suppression: names::suppression(decision.suppression.map(|stop| stop.reason)),
        suppressed_campaign: names::campaign(stopped),
        suppressed_campaign_id: stopped.map_or_else(String::new, |stop| stop.id().to_owned()),
        would_be_campaign: names::campaign(decision.would_be_campaign),
        would_be_campaign_id: decision
            .would_be_campaign
            .map_or_else(String::new, |campaign| campaign.id().to_owned()),
        holdout: decision.is_held_out(),
        not_before: later(decision.not_before_days),
        expire_time: later(decision.expires_after_days),
        variant: decision.variant.unwrap_or_default().to_owned(),
        expected_value: decision.expected_value,
        propensity: decision.propensity,
        explored: decision.flags.explored,
    }
}

fn offer(offer: Offer) -> pb::Offer {
    let Offer { kind, cost_max, guarded } = offer;
    pb::Offer { kind: names::offer_kind(kind), cost_max, guarded }
}

fn alternative(alternative: &Alternative<'_>) -> pb::Alternative {
    let Alternative { campaign, channel, offer: given, expected_value } = alternative;
    pb::Alternative {
        campaign: names::campaign(Some(campaign)),
        campaign_id: campaign.id().to_owned(),
        reason: campaign.reason().to_owned(),
        channel: names::channel(*channel),
        offer: Some(offer(*given)),
        expected_value: *expected_value,
    }
}

fn assignment(assignment: &Assignment<'_>) -> pb::Assignment {
    let Assignment { experiment, arm, place: _, bucket, propensity, variant } = assignment;
    pb::Assignment {
        experiment: experiment.name(),
        arm: names::arm(*arm),
        bucket: u32::from(*bucket),
        propensity: *propensity,
        variant: variant.unwrap_or_default().to_owned(),
    }
}

fn provenance(answer: &Answer<'_>, made: Made<'_>) -> pb::Provenance {
    let policy = answer.decision.policy;
    pb::Provenance {
        model_version: made.served.engine.model_version().to_owned(),
        policy_id: policy.id.clone(),
        policy_version: policy.version.clone(),
        policy_hash: policy.hash.to_vec(),
        decision_id: decision_id(&made.served.engine, answer, made.history_digest),
        snapshot: made.snapshot.to_owned(),
        score_time: Some(super::timestamp(made.score_time)),
        arm: made.arm.to_owned(),
    }
}

/// The instant so many days later; `None` beyond the range of instants.
fn days_after(from: Timestamp, days: f64) -> Option<prost_types::Timestamp> {
    let micros = days * 86_400e6;
    if !(0.0..1e18).contains(&micros) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 1e18, checked above")]
    let later = from.micros().checked_add(micros as i64)?;
    Some(super::timestamp(Timestamp::from_micros(later)))
}
