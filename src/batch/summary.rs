//! What a run of the batch job did, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::AddAssign;

use serde::Serialize;

use crate::decision::NO_ACTION;

use super::row::{Cell, at};

/// The tier of customers without one.
const NONE: &str = "none";

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
    pub tiers: BTreeMap<String, u64>,
    /// Customers by segment.
    pub segments: BTreeMap<String, u64>,
    /// Customers by recommended campaign.
    pub campaigns: BTreeMap<String, u64>,
    /// Customers without a campaign, by the reason.
    pub suppressions: BTreeMap<String, u64>,
    /// Customers left alone for an experiment.
    pub held_out: u64,
    /// Decisions for which the decision log had no room.
    pub decisions_dropped: u64,
    /// Customers unlike those the models learned from.
    pub out_of_distribution: u64,
    /// Churn probability times value, over all customers, in units of the currency.
    pub value_at_risk: f64,
    /// The same, by what customers were counted by.
    pub value_at_risk_by: ValueAtRisk,
    /// Predicted value of all customers, in units of the currency; none without a value model.
    pub clv: Option<f64>,
    /// Customers left out because nothing has changed since the instant asked about.
    pub unchanged: u64,
    /// Parts that the base was scored in; 0 where it was held in memory.
    pub parts: u64,
    /// Parts of the base that an earlier run, which did not end, had scored already.
    pub parts_resumed: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Churn probability times value, in units of the currency.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ValueAtRisk {
    /// By risk tier.
    pub tier: BTreeMap<String, f64>,
    /// By segment.
    pub segment: BTreeMap<String, f64>,
    /// By recommended campaign.
    pub campaign: BTreeMap<String, f64>,
}

/// Adds to a count or sum, which is made on first sight.
fn raise<T: Default + AddAssign>(counts: &mut BTreeMap<String, T>, name: &str, more: T) {
    match counts.get_mut(name) {
        Some(count) => *count += more,
        None => {
            let mut first = T::default();
            first += more;
            counts.insert(name.to_owned(), first);
        }
    }
}

impl ScoreSummary {
    /// Counts one row.
    pub(super) fn count(&mut self, cells: &[Cell<'_>], is_unlike: bool) {
        self.rows += 1;
        let at_risk = at::float(cells, at::VALUE_AT_RISK).unwrap_or(0.0);
        let tier = Some(at::text(cells, at::TIER)).filter(|tier| !tier.is_empty());
        let tier = tier.unwrap_or(NONE);
        let (segment, campaign) = (at::text(cells, at::SEGMENT), at::text(cells, at::CAMPAIGN));
        raise(&mut self.tiers, tier, 1);
        raise(&mut self.segments, segment, 1);
        raise(&mut self.value_at_risk_by.tier, tier, at_risk);
        raise(&mut self.value_at_risk_by.segment, segment, at_risk);
        if campaign != NO_ACTION {
            raise(&mut self.campaigns, campaign, 1);
            raise(&mut self.value_at_risk_by.campaign, campaign, at_risk);
        }
        let held = at::text(cells, at::SUPPRESSION);
        if !held.is_empty() {
            raise(&mut self.suppressions, held, 1);
        }
        self.held_out += u64::from(cells.get(at::HOLDOUT) == Some(&Cell::Flag(true)));
        self.out_of_distribution += u64::from(is_unlike);
        self.value_at_risk += at_risk;
        if let Some(clv) = at::float(cells, at::CLV) {
            *self.clv.get_or_insert(0.0) += clv;
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
        let by = &self.value_at_risk_by;
        for (label, sums) in [
            ("  by tier", &by.tier),
            ("  by segment", &by.segment),
            ("  by campaign", &by.campaign),
        ] {
            line(label, amounts(sums));
        }
        if self.unchanged > 0 {
            line("unchanged", format!("{} left out", self.unchanged));
        }
        if self.parts_resumed > 0 {
            line("gone on with", format!("{} parts of an earlier run", self.parts_resumed));
        }
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

/// Sums, the largest first.
fn amounts(sums: &BTreeMap<String, f64>) -> String {
    let mut sorted: Vec<_> = sums.iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(a.1));
    let named: Vec<String> = sorted.iter().map(|(name, sum)| format!("{name} {sum:.2}")).collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}
