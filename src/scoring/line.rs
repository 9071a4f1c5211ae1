//! The line of the decision log, written from an answer as it stands.
//!
//! In: an answer. Out: one line of JSON with its end, which [`DecisionRowV1`](super::DecisionRowV1)
//! reads, byte by byte what it would write: every decision of a server goes through here, so the
//! text is put down in one pass, and what all answers of an engine share is made once. It
//! deliberately knows nothing of files.

use serde::Serialize;

use crate::bundle::Bundle;
use crate::decision::{Arm, Campaign, Experiment, PolicyId, Tier};
use crate::domain::Timestamp;

use super::record::{ID_DIGITS, RECORD_VERSION, decision_id_digits};
use super::{Answer, Engine};

/// Room for a line, as a rule: of buyers with seven campaigns to choose from and two control groups
/// it has 1,200 bytes.
const LINE_BYTES: usize = 1_536;

/// The parts of a line that are the same for all answers of an engine.
#[derive(Debug)]
pub(super) struct LineParts {
    /// Up to the decision's id.
    begin: Box<[u8]>,
    /// What the features are, and the model.
    model: Box<[u8]>,
    /// The policy.
    policy: Box<[u8]>,
}

impl LineParts {
    pub(super) fn new(
        bundle: &Bundle,
        model_version: &str,
        (policy, hash): (&PolicyId, &str),
    ) -> Self {
        let part = |write: &dyn Fn(&mut Fields<'_>)| {
            let mut bytes = Vec::new();
            write(&mut Fields(&mut bytes));
            bytes.into_boxed_slice()
        };
        Self {
            begin: part(&|line| {
                line.number(b"{\"v\":", RECORD_VERSION);
                line.raw(b",\"decision_id\":\"");
            }),
            model: part(&|line| {
                line.text(b",\"feature_schema\":", &bundle.manifest.feature_schema);
                line.text(b",\"model\":", model_version);
            }),
            policy: part(&|line| {
                line.text(b",\"policy\":", &policy.id);
                line.text(b",\"policy_version\":", &policy.version);
                line.text(b",\"policy_hash\":", hash);
            }),
        }
    }
}

/// The line of an answer. `digest` is that of the history scored, see
/// [`decision_id`](super::decision_id); `arm` is the customer's of the traffic policy, empty for
/// none.
#[must_use]
pub fn decision_line(
    by: (&Engine, &str),
    answer: &Answer<'_>,
    digest: u128,
    decided_at: Timestamp,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_decision_line(&mut bytes, by, answer, (digest, decided_at));
    bytes
}

/// The same, after the lines that are there already.
pub fn append_decision_line(
    lines: &mut Vec<u8>,
    (engine, arm): (&Engine, &str),
    answer: &Answer<'_>,
    (digest, decided_at): (u128, Timestamp),
) {
    let Answer { customer, as_of, facts_as_of, facts: _, score, decision } = answer;
    debug_assert_eq!(decision.policy, engine.policy().id(), "an answer of this engine");
    let parts = &engine.line_parts;
    let id: [u8; ID_DIGITS] = decision_id_digits(engine, answer, digest);
    let clv = score.clv.as_ref();
    lines.reserve(LINE_BYTES);
    let mut line = Fields(lines);
    line.raw(&parts.begin);
    line.raw(&id);
    line.text(b"\",\"customer\":", customer.as_str());
    line.number(b",\"decided_at\":", decided_at.micros());
    line.number(b",\"as_of\":", as_of.instant().micros());
    line.number(b",\"facts_as_of\":", facts_as_of.map(Timestamp::micros));
    line.raw(&parts.model);
    if !arm.is_empty() {
        line.text(b",\"arm\":", arm);
    }
    line.raw(&parts.policy);
    line.text(b",\"segment\":", decision.segment.as_str());
    line.text_or_null(b",\"tier\":", decision.tier.map(Tier::as_str));
    line.number(b",\"churn_probability\":", score.churn_prob);
    line.number(b",\"clv_mean\":", clv.map(|clv| clv.mean));
    line.raw(b",\"eligible\":");
    line.list(&decision.eligible, |line, eligible| {
        line.text(b"{\"campaign\":", eligible.campaign.id());
        line.number(b",\"propensity\":", eligible.propensity);
    });
    line.chosen(answer);
    line.raw(b",\"assignments\":");
    line.list(&decision.assignments, |line, assignment| {
        match assignment.experiment {
            Experiment::Global => line.text(b"{\"experiment\":", "global"),
            Experiment::Campaign(id) => line.text(b"{\"experiment\":", id),
            named @ Experiment::Variants(_) => line.text(b"{\"experiment\":", &named.name()),
        }
        line.text(b",\"arm\":", Arm::as_str(assignment.arm));
        line.text_or_null(b",\"variant\":", assignment.variant);
        line.number(b",\"bucket\":", assignment.bucket);
        line.number(b",\"propensity\":", assignment.propensity);
    });
    line.raw(b"}\n");
}

/// Appends fields. A name is given as it stands in the text: with what is before and after it.
struct Fields<'o>(&'o mut Vec<u8>);

impl Fields<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A number as `serde_json` writes it: `null` for none and for what is not finite.
    fn number(&mut self, name: &[u8], number: impl Serialize) {
        self.raw(name);
        // Only a map, a text or a writer could fail: numbers go to memory.
        let _ = serde_json::to_writer(&mut *self.0, &number);
    }

    fn flag(&mut self, name: &[u8], yes: bool) {
        self.raw(name);
        self.raw(if yes { b"true" } else { b"false" });
    }

    fn text(&mut self, name: &[u8], text: &str) {
        self.raw(name);
        let is_escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        // Without a way out in between, many bytes are looked at together.
        if text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
            let _ = serde_json::to_writer(&mut *self.0, text);
            return;
        }
        self.0.push(b'"');
        self.raw(text.as_bytes());
        self.0.push(b'"');
    }

    fn text_or_null(&mut self, name: &[u8], text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => {
                self.raw(name);
                self.raw(b"null");
            }
        }
    }

    /// A list of objects, each without its end.
    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.raw(b"[");
        for (idx, item) in items.iter().enumerate() {
            if idx > 0 {
                self.raw(b",");
            }
            write(self, item);
            self.raw(b"}");
        }
        self.raw(b"]");
    }

    /// What was done, and why not more.
    fn chosen(&mut self, answer: &Answer<'_>) {
        let decision = &answer.decision;
        let channel = decision.channels.first().filter(|_| decision.campaign.is_some());
        let offer = decision.campaign.map(|_| decision.offer.kind.as_str());
        self.text(b",\"chosen\":", decision.campaign_id());
        self.number(b",\"chosen_propensity\":", decision.propensity);
        self.text_or_null(b",\"variant\":", decision.variant);
        self.text_or_null(b",\"channel\":", channel.map(|channel| channel.as_str()));
        self.text_or_null(b",\"offer\":", offer);
        self.number(b",\"expected_value\":", decision.expected_value);
        self.flag(b",\"explored\":", decision.flags.explored);
        self.flag(b",\"holdout\":", decision.is_held_out());
        self.text_or_null(b",\"would_be\":", decision.would_be_campaign.map(Campaign::id));
        let suppression = decision.suppression.map(|stop| stop.reason.as_str());
        self.text_or_null(b",\"suppression\":", suppression);
    }
}
