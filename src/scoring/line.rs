//! The line of the decision log, written from an answer as it stands.
//!
//! In: an answer. Out: one line of JSON with its end, which [`DecisionRowV1`](super::DecisionRowV1)
//! reads, without a copy of each text on the way: every decision of a server goes through here.

use serde::Serialize;

use crate::decision::{Arm, Assignment, Campaign, Eligible, Experiment};
use crate::domain::Timestamp;

use super::record::{RECORD_VERSION, decision_id};
use super::{Answer, Engine};

/// Room for a line, as a rule.
const LINE_BYTES: usize = 1_024;

/// The fields of [`DecisionRowV1`](super::DecisionRowV1), in its order.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    decision_id: &'a str,
    customer: &'a str,
    decided_at: i64,
    as_of: i64,
    facts_as_of: Option<i64>,
    feature_schema: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<&'a str>,
    policy: &'a str,
    policy_version: &'a str,
    policy_hash: &'a str,
    segment: &'a str,
    tier: Option<&'a str>,
    churn_probability: Option<f64>,
    clv_mean: Option<f64>,
    eligible: Vec<EligiblePart<'a>>,
    chosen: &'a str,
    chosen_propensity: f64,
    variant: Option<&'a str>,
    channel: Option<&'a str>,
    offer: Option<&'a str>,
    expected_value: Option<f64>,
    explored: bool,
    holdout: bool,
    would_be: Option<&'a str>,
    suppression: Option<&'a str>,
    assignments: Vec<AssignmentPart<'a>>,
}

#[derive(Serialize)]
struct EligiblePart<'a> {
    campaign: &'a str,
    propensity: f64,
}

impl<'a> From<&Eligible<'a>> for EligiblePart<'a> {
    fn from(eligible: &Eligible<'a>) -> Self {
        Self { campaign: eligible.campaign.id(), propensity: eligible.propensity }
    }
}

#[derive(Serialize)]
struct AssignmentPart<'a> {
    experiment: ExperimentPart<'a>,
    arm: &'static str,
    variant: Option<&'a str>,
    bucket: u16,
    propensity: f64,
}

impl<'a> From<&Assignment<'a>> for AssignmentPart<'a> {
    fn from(assignment: &Assignment<'a>) -> Self {
        let Assignment { experiment, arm, place: _, bucket, propensity, variant } = *assignment;
        let arm = Arm::as_str(arm);
        Self { experiment: ExperimentPart(experiment), arm, variant, bucket, propensity }
    }
}

/// An experiment as its name.
struct ExperimentPart<'a>(Experiment<'a>);

impl Serialize for ExperimentPart<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Experiment::Global => serializer.serialize_str("global"),
            Experiment::Campaign(id) => serializer.serialize_str(id),
            Experiment::Variants(_) => serializer.serialize_str(&self.0.name()),
        }
    }
}

/// The line of an answer. `digest` is that of the history scored, see [`decision_id`]; `arm` is the
/// customer's of the traffic policy, empty for none.
#[must_use]
pub fn decision_line(
    (engine, arm): (&Engine, &str),
    answer: &Answer<'_>,
    digest: u128,
    decided_at: Timestamp,
) -> Vec<u8> {
    let Answer { customer, as_of, facts_as_of, score, decision, .. } = answer;
    let policy = decision.policy;
    let id = decision_id(engine, answer, digest);
    let channel = decision.channels.first().filter(|_| decision.campaign.is_some());
    let line = Line {
        v: RECORD_VERSION,
        decision_id: &id,
        customer: customer.as_str(),
        decided_at: decided_at.micros(),
        as_of: as_of.instant().micros(),
        facts_as_of: facts_as_of.map(Timestamp::micros),
        feature_schema: &engine.bundle().manifest.feature_schema,
        model: engine.model_version(),
        arm: Some(arm).filter(|arm| !arm.is_empty()),
        policy: &policy.id,
        policy_version: &policy.version,
        policy_hash: engine.policy_hash(),
        segment: decision.segment.as_str(),
        tier: decision.tier.map(crate::decision::Tier::as_str),
        churn_probability: score.churn_prob,
        clv_mean: score.clv.as_ref().map(|clv| clv.mean),
        eligible: decision.eligible.iter().map(EligiblePart::from).collect(),
        chosen: decision.campaign_id(),
        chosen_propensity: decision.propensity,
        variant: decision.variant,
        channel: channel.map(|channel| channel.as_str()),
        offer: decision.campaign.map(|_| decision.offer.kind.as_str()),
        expected_value: decision.expected_value,
        explored: decision.flags.explored,
        holdout: decision.is_held_out(),
        would_be: decision.would_be_campaign.map(Campaign::id),
        suppression: decision.suppression.map(|stop| stop.reason.as_str()),
        assignments: decision.assignments.iter().map(AssignmentPart::from).collect(),
    };
    let mut bytes = Vec::with_capacity(LINE_BYTES);
    // Only a map with keys that are no texts, or a writer, could fail.
    if serde_json::to_writer(&mut bytes, &line).is_err() {
        bytes.clear();
    }
    bytes.push(b'\n');
    bytes
}
