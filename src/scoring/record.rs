//! The row of the decision log: what was decided about whom, when, by what, and how likely.
//!
//! One JSON object, written before the answer leaves (`line.rs`), from which the effect
//! of campaigns can be worked out later without anything else but the events. It holds no personal
//! data beyond the customer's id, and no number is rounded.

use serde::Deserialize;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::{Answer, Engine};

/// The form of the row.
pub const RECORD_VERSION: u32 = 1;

/// One row of the decision log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRowV1 {
    /// The form of the row: [`RECORD_VERSION`].
    pub v: u32,
    /// Names the decision, see [`decision_id`].
    pub decision_id: String,
    /// The customer's id.
    pub customer: String,
    /// When it was decided, microseconds since 1970.
    pub decided_at: i64,
    /// The instant it speaks of, microseconds since 1970: outcomes count from here.
    pub as_of: i64,
    /// Time of the newest event it rests on, microseconds since 1970.
    pub facts_as_of: Option<i64>,
    /// Digest of the feature schema.
    pub feature_schema: String,
    /// `models/NAME/versions/VERSION`.
    pub model: String,
    /// The arm of the traffic policy that the customer belonged to; none where a version was
    /// asked for, in a batch, and in rows of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub policy_version: String,
    /// SHA-256 of what it means, hex.
    pub policy_hash: String,
    /// Segment.
    pub segment: String,
    /// Risk tier; none without a churn model where no override fired.
    pub tier: Option<String>,
    /// Calibrated probability of churn, as scored; rows of earlier versions do not say.
    #[serde(default)]
    pub churn_probability: Option<f64>,
    /// Expected value, as scored, in currency units; the same.
    #[serde(default)]
    pub clv_mean: Option<f64>,
    /// All campaigns that passed every gate, the one chosen or held out first.
    pub eligible: Vec<EligibleV1>,
    /// The campaign, or `no_action`.
    pub chosen: String,
    /// Probability of what was done, in (0, 1].
    pub chosen_propensity: f64,
    /// The version of the campaign, where versions are compared.
    pub variant: Option<String>,
    /// Its best channel.
    pub channel: Option<String>,
    /// What it gives.
    pub offer: Option<String>,
    /// What it was expected to bring, in currency units.
    pub expected_value: Option<f64>,
    /// Whether it was drawn by exploration.
    pub explored: bool,
    /// Whether the customer was left alone on purpose.
    pub holdout: bool,
    /// What would have been done, had the customer not been held out.
    pub would_be: Option<String>,
    /// Why nothing was done.
    pub suppression: Option<String>,
    /// Places in experiments.
    pub assignments: Vec<AssignmentV1>,
}

/// A campaign that passed every gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EligibleV1 {
    /// Its id.
    pub campaign: String,
    /// Probability that it was sent, in [0, 1].
    pub propensity: f64,
}

/// A place in an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignmentV1 {
    /// `global`, a campaign's id, or `variant/` and a campaign's id.
    pub experiment: String,
    /// `treatment` or `control`.
    pub arm: String,
    /// The version, where versions are compared.
    pub variant: Option<String>,
    /// The place in ten thousandths.
    pub bucket: u16,
    /// Probability of this side, in (0, 1].
    pub propensity: f64,
}

/// Hexadecimal digits of a decision's id.
pub(super) const ID_DIGITS: usize = 32;

/// Names a decision: the same for the same customer, events, instant, model and policy, whoever
/// asks. `digest` is [`history_digest`] of the history scored.
#[must_use]
pub fn decision_id(engine: &Engine, answer: &Answer<'_>, digest: u128) -> String {
    String::from_utf8_lossy(&decision_id_digits(engine, answer, digest)).into_owned()
}

/// The same as its digits.
pub(super) fn decision_id_digits(
    engine: &Engine,
    answer: &Answer<'_>,
    digest: u128,
) -> [u8; ID_DIGITS] {
    let mut bytes = Vec::with_capacity(192);
    bytes.extend_from_slice(answer.customer.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(engine.model_version().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&answer.decision.policy.hash);
    bytes.extend_from_slice(&answer.as_of.instant().micros().to_be_bytes());
    bytes.extend_from_slice(&digest.to_be_bytes());
    let mut digits = [0; ID_DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(xxh3_128(&bytes).to_be_bytes()) {
        pair.copy_from_slice(&hex_digits(byte));
    }
    digits
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().copied().flat_map(hex_digits).map(char::from).collect()
}

const fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

/// The digest of a history's bytes.
#[must_use]
pub fn history_digest(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// What became of a decision, as a line of the decision log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRowV1 {
    /// The form of the row: [`RECORD_VERSION`].
    pub v: u32,
    /// The decision, see [`decision_id`].
    pub outcome_of: String,
    /// When it was reported, microseconds since 1970; of several the newest counts.
    pub reported_at: i64,
    /// When it was known, microseconds since 1970.
    pub outcome_at: i64,
    /// Whether the customer churned within the horizon; none where not known.
    pub churned: Option<bool>,
    /// Whether the campaign went out; none where not known.
    pub treated: Option<bool>,
    /// Spend within the horizon less refunds, in currency units; none where not known.
    pub spend: Option<f64>,
}

impl OutcomeRowV1 {
    /// The row as one line of JSON with its end.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        // Numbers are finite: whoever makes a row has checked.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Picks the lines of customers out of a decision log, in the order they were written.
#[derive(Debug)]
pub struct LinesOf {
    customers: std::collections::BTreeSet<String>,
    /// The id of the only one as it stands in a line: what lacks it is not read further.
    text: Option<Vec<u8>>,
    decisions: std::collections::BTreeSet<String>,
    /// Decisions picked.
    pub n_decisions: u64,
    /// Outcomes of them picked.
    pub n_outcomes: u64,
}

#[derive(Deserialize)]
struct LineHead {
    customer: Option<String>,
    decision_id: Option<String>,
    outcome_of: Option<String>,
}

impl LinesOf {
    /// Of this customer.
    #[must_use]
    pub fn new(customer: &crate::domain::CustomerId) -> Self {
        let text = serde_json::to_vec(customer.as_str()).ok();
        Self { text, ..Self::of_all([customer]) }
    }

    /// Of all these customers.
    #[must_use]
    pub fn of_all<'c>(customers: impl IntoIterator<Item = &'c crate::domain::CustomerId>) -> Self {
        let customers = customers.into_iter().map(|one| one.as_str().to_owned()).collect();
        let decisions = std::collections::BTreeSet::new();
        Self { customers, text: None, decisions, n_decisions: 0, n_outcomes: 0 }
    }

    /// Whether a line speaks of one of them.
    pub fn picks(&mut self, line: &[u8]) -> bool {
        let has = |part: &[u8]| line.windows(part.len()).any(|found| found == part);
        if self.text.as_ref().is_some_and(|text| !has(text)) && !has(b"\"outcome_of\"") {
            return false;
        }
        let Ok(head) = serde_json::from_slice::<LineHead>(line) else { return false };
        if head.customer.is_some_and(|customer| self.customers.contains(&customer)) {
            self.decisions.extend(head.decision_id);
            self.n_decisions += 1;
            return true;
        }
        let is_outcome = head.outcome_of.is_some_and(|id| self.decisions.contains(&id));
        self.n_outcomes += u64::from(is_outcome);
        is_outcome
    }
}
