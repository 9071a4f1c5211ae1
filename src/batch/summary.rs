//! What a run of the batch job did, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::decision::Campaign;
use crate::scoring::Answer;

/// What was scored, counted over all rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ScoreSummary {
    /// Rows written.
    pub rows: u64,
    /// Where to.
    pub out: String,
    /// sha256 of the bytes written.
    pub sha256: String,
    /// The bundle that scored.
    pub model_version: String,
    /// The policy that decided.
    pub policy_id: String,
    /// Its version.
    pub policy_version: String,
    /// sha256 of what it means.
    pub policy_hash: String,
    /// The last day looked at.
    pub as_of: String,
    /// Events left out because they lie after that day.
    pub events_after: u64,
    /// Customers by risk tier; `none` without one.
    pub tiers: BTreeMap<&'static str, u64>,
    /// Customers by segment.
    pub segments: BTreeMap<&'static str, u64>,
    /// Customers by recommended campaign.
    pub campaigns: BTreeMap<String, u64>,
    /// Customers without a campaign, by the reason.
    pub suppressions: BTreeMap<&'static str, u64>,
    /// Customers left alone for an experiment.
    pub held_out: u64,
    /// Decisions for which the decision log had no room.
    pub decisions_dropped: u64,
    /// Customers unlike those the models learned from.
    pub out_of_distribution: u64,
    /// Churn probability times value, over all customers, in units of the currency.
    pub value_at_risk: f64,
    /// Predicted value of all customers, in units of the currency; none without a value model.
    pub clv: Option<f64>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl ScoreSummary {
    /// Counts one answer.
    pub(super) fn count(&mut self, answer: &Answer<'_>) {
        let decision = &answer.decision;
        self.rows += 1;
        let tier = decision.tier.map_or("none", crate::decision::Tier::as_str);
        *self.tiers.entry(tier).or_default() += 1;
        *self.segments.entry(decision.segment.as_str()).or_default() += 1;
        if let Some(id) = decision.campaign.map(Campaign::id) {
            match self.campaigns.get_mut(id) {
                Some(count) => *count += 1,
                None => drop(self.campaigns.insert(id.to_owned(), 1)),
            }
        }
        if let Some(held) = decision.suppression {
            *self.suppressions.entry(held.reason.as_str()).or_default() += 1;
        }
        self.held_out += u64::from(decision.is_held_out());
        self.out_of_distribution += u64::from(decision.flags.out_of_distribution);
        self.value_at_risk += decision.value_at_risk.unwrap_or(0.0);
        if let Some(clv) = &answer.score.clv {
            *self.clv.get_or_insert(0.0) += clv.mean;
        }
    }

    /// The summary as lines of text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{label:<18}{value}");
        };
        line("rows", format!("{} in {}", self.rows, self.out));
        line("as of", format!("end of {}", self.as_of));
        let policy = format!("{} {}", self.policy_id, self.policy_version);
        line("model, policy", format!("{}, {policy}", self.model_version));
        line("tiers", named(&self.tiers));
        line("segments", named(&self.segments));
        line("campaigns", named(&self.campaigns));
        line("no campaign", named(&self.suppressions));
        line("held out", self.held_out.to_string());
        if self.decisions_dropped > 0 {
            line("not logged", format!("{} decisions", self.decisions_dropped));
        }
        line("unlike training", self.out_of_distribution.to_string());
        if let Some(clv) = self.clv {
            line("predicted value", format!("{clv:.2}"));
        }
        line("value at risk", format!("{:.2}", self.value_at_risk));
        line("events after", format!("{} left out", self.events_after));
        for note in &self.notes {
            line("note", note.clone());
        }
        text
    }
}

/// Counts, the largest first.
fn named<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named: Vec<String> = sorted.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}
