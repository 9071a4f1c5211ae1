//! What a policy does to a base: counted, held against another, explained for one customer.
//!
//! In: a log, a bundle, policies. Out: counts and costs over all customers, or one decision with
//! every rule. Nothing is written and nothing is sent.

use std::collections::BTreeMap;
use std::fmt::Write;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::config::{LogDefaults, PolicyRunConfig};
use crate::decision::{Campaign, Decision, NO_ACTION, Policy, RuleKind, RuleTrace, Tier};
use crate::decision::{WhyNot, why_not};
use crate::domain::AsOf;
use crate::events::Log;
use crate::scoring::{Answer, Engine, ScoringError};

use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome};
use super::run::{answer, open, read_log, read_policy};

/// Kinds of change that are listed in the text; the rest is in the JSON.
const CHANGES_SHOWN: usize = 25;
/// Customers named as examples of a change.
const EXAMPLES: usize = 3;

type Counts = BTreeMap<String, u64>;

/// What one policy does to the customers of one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct PhaseTally {
    customers: u64,
    /// Those with a recommended campaign.
    campaigns: u64,
    value_at_risk: f64,
    expected_cost: f64,
    expected_value: f64,
}

/// What one policy does to a base.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tally {
    customers: u64,
    campaigns: Counts,
    channels: Counts,
    offers: Counts,
    suppressions: Counts,
    tiers: Counts,
    segments: Counts,
    /// By phase of the life cycle.
    phases: BTreeMap<&'static str, PhaseTally>,
    held_out: u64,
    value_at_risk: f64,
    /// Costs and expected values are in currency units, over campaigns recommended.
    expected_cost: f64,
    expected_value: f64,
    /// The most that all offers together may cost.
    offer_cost_max: f64,
    has_costs: bool,
}

impl Tally {
    fn count(&mut self, decision: &Decision<'_>) {
        let add = |counts: &mut Counts, key: &str| *counts.entry(key.to_owned()).or_default() += 1;
        self.customers += 1;
        add(&mut self.tiers, decision.tier.map_or("none", Tier::as_str));
        add(&mut self.segments, decision.segment.as_str());
        add(&mut self.campaigns, decision.campaign_id());
        if decision.campaign.is_some() {
            if let Some(channel) = decision.channels.first() {
                add(&mut self.channels, channel.as_str());
            }
            add(&mut self.offers, decision.offer.kind.as_str());
        }
        if let Some(stop) = decision.suppression {
            add(&mut self.suppressions, stop.reason.as_str());
        }
        let phase = self.phases.entry(decision.phase.as_str()).or_default();
        phase.customers += 1;
        phase.campaigns += u64::from(decision.campaign.is_some());
        phase.value_at_risk += decision.value_at_risk.unwrap_or(0.0);
        phase.expected_cost += decision.expected_cost.unwrap_or(0.0);
        phase.expected_value += decision.expected_value.unwrap_or(0.0);
        self.held_out += u64::from(decision.is_held_out());
        self.value_at_risk += decision.value_at_risk.unwrap_or(0.0);
        self.has_costs |= decision.expected_cost.is_some();
        self.expected_cost += decision.expected_cost.unwrap_or(0.0);
        self.expected_value += decision.expected_value.unwrap_or(0.0);
        self.offer_cost_max += decision.offer.cost_max.unwrap_or(0.0);
    }

    fn to_json(&self) -> Value {
        let money = |amount: f64| self.has_costs.then_some(amount);
        let phase = |(name, of): (&&str, &PhaseTally)| {
            let row = json!({
                "customers": of.customers, "campaigns": of.campaigns,
                "value_at_risk": of.value_at_risk, "expected_cost": money(of.expected_cost),
                "expected_value": money(of.expected_value),
            });
            ((*name).to_owned(), row)
        };
        let phases: serde_json::Map<String, Value> = self.phases.iter().map(phase).collect();
        json!({
            "phases": phases,
            "customers": self.customers, "campaigns": self.campaigns, "channels": self.channels,
            "offers": self.offers, "suppressions": self.suppressions, "tiers": self.tiers,
            "segments": self.segments, "held_out": self.held_out,
            "value_at_risk": self.value_at_risk, "offer_cost_max": self.offer_cost_max,
            "expected_cost": money(self.expected_cost),
            "expected_value": money(self.expected_value),
        })
    }

    fn to_text(&self, currency: &str) -> String {
        let mut text = String::new();
        let blocks = [
            ("tier", &self.tiers),
            ("segment", &self.segments),
            ("campaign", &self.campaigns),
            ("channel", &self.channels),
            ("offer", &self.offers),
            ("no campaign because of", &self.suppressions),
        ];
        for (title, counts) in blocks {
            let _ = writeln!(text, "{title}");
            let mut rows: Vec<_> = counts.iter().collect();
            rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (name, count) in rows {
                let share = percent(*count, self.customers);
                let _ = writeln!(text, "  {name:<28}{count:>9}  {share:>5.1} %");
            }
        }
        let _ =
            writeln!(text, "phase{:>34}{:>12}{:>18}", "customers", "campaigns", "value at risk");
        for (name, of) in &self.phases {
            let PhaseTally { customers, campaigns, value_at_risk, .. } = of;
            let worth = if self.has_costs {
                format!("  costs {:.2}, brings {:.2}", of.expected_cost, of.expected_value)
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "  {name:<28}{customers:>9}{campaigns:>12}{value_at_risk:>18.2}{worth}"
            );
        }
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "{label:<30}{value}");
        };
        line("held out", self.held_out.to_string());
        line("value at risk", format!("{:.2} {currency}", self.value_at_risk));
        line("offers may cost at most", format!("{:.2} {currency}", self.offer_cost_max));
        if self.has_costs {
            line("expected cost", format!("{:.2} {currency}", self.expected_cost));
            line("expected value after cost", format!("{:.2} {currency}", self.expected_value));
        } else {
            line("expected cost", "unknown: the policy has no [economics]".to_owned());
        }
        text
    }
}

#[allow(clippy::cast_precision_loss, reason = "customers number far below 2^52")]
pub(super) fn percent(count: u64, of: u64) -> f64 {
    100.0 * count as f64 / of.max(1) as f64
}

/// A base that has been read.
pub(super) struct Base {
    pub(super) engine: Engine,
    pub(super) log: Log,
    pub(super) as_of: AsOf,
}

impl Base {
    pub(super) fn read(
        config: &PolicyRunConfig,
        policy: Option<Policy>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, BatchError> {
        progress("reading the model");
        let engine = open(&config.models, &config.model, policy)?;
        let as_of = AsOf::end_of(config.as_of, engine.zone());
        let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
        let log = read_log(&config.log, &business, as_of, progress)?;
        if log.customers.is_empty() {
            return Err(BatchError::NothingBefore { as_of: config.as_of, n_after: log.n_after });
        }
        Ok(Self { engine, log, as_of })
    }

    /// The answers of an engine to all customers, in the order of their ids.
    fn answers<'e>(&self, engine: &'e Engine) -> Result<Vec<Answer<'e>>, ScoringError> {
        let customers = self.log.customers.par_iter();
        customers.map(|one| Ok(answer(engine, one, self.as_of, false)?.1)).collect()
    }
}

pub(super) fn named(policy: &Policy) -> Value {
    let id = policy.id();
    let hash: String = id.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "id": id.id, "version": id.version, "hash": hash })
}

/// Counts what a policy does to a base.
pub(super) fn simulate(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let base = Base::read(config, policy, progress)?;
    let mut tally = Tally::default();
    for answer in base.answers(&base.engine)? {
        tally.count(&answer.decision);
    }
    let id = base.engine.policy().id();
    let currency = base.engine.currency();
    let text = format!(
        "policy {} {} on {} customers as of the end of {}\n{}",
        id.id,
        id.version,
        tally.customers,
        config.as_of,
        tally.to_text(currency.as_str())
    );
    let json = json!({
        "policy": named(base.engine.policy()), "as_of": config.as_of.to_string(),
        "currency": currency.as_str(), "base": tally.to_json(),
    });
    Ok(OpsOutcome { text, json, exit_code: 0 })
}

/// What changes for whom, from one policy to another.
#[derive(Debug, Default)]
struct Changes {
    /// By (what, from, to): how many, and some ids.
    by_kind: BTreeMap<(&'static str, String, String), (u64, Vec<String>)>,
    customers: u64,
}

impl Changes {
    fn note(&mut self, customer: &str, old: &Decision<'_>, new: &Decision<'_>) {
        let tier = |one: &Decision<'_>| one.tier.map_or("none", Tier::as_str).to_owned();
        let channel = |one: &Decision<'_>| {
            let first = one.channels.first().filter(|_| one.campaign.is_some());
            first.map_or("-", |channel| channel.as_str()).to_owned()
        };
        let what = |one: &Decision<'_>| match one.suppression {
            Some(stop) => format!("{NO_ACTION} ({})", stop.reason.as_str()),
            None => one.campaign_id().to_owned(),
        };
        let pairs = [
            ("segment", old.segment.as_str().to_owned(), new.segment.as_str().to_owned()),
            ("tier", tier(old), tier(new)),
            ("campaign", what(old), what(new)),
            ("channel", channel(old), channel(new)),
            ("offer", old.offer.kind.as_str().to_owned(), new.offer.kind.as_str().to_owned()),
        ];
        let mut has_changed = false;
        for (what, from, to) in pairs.into_iter().filter(|(_, from, to)| from != to) {
            has_changed = true;
            let (count, examples) = self.by_kind.entry((what, from, to)).or_default();
            *count += 1;
            if examples.len() < EXAMPLES {
                examples.push(customer.to_owned());
            }
        }
        self.customers += u64::from(has_changed);
    }
}

/// Holds two policies against each other on a base.
pub(super) fn diff(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let [old_file, new_file] = &config.files;
    let (old_policy, new_policy) = (read_policy(old_file)?, read_policy(new_file)?);
    let same = old_policy.id().hash == new_policy.id().hash;
    let base = Base::read(config, Some(old_policy), progress)?;
    let new_engine = open(&config.models, &config.model, Some(new_policy))?;
    let (old, new) = (base.answers(&base.engine)?, base.answers(&new_engine)?);
    let (mut before, mut after) = (Tally::default(), Tally::default());
    let mut changes = Changes::default();
    for (old, new) in old.iter().zip(&new) {
        before.count(&old.decision);
        after.count(&new.decision);
        changes.note(old.customer.as_str(), &old.decision, &new.decision);
    }
    let mut kinds: Vec<_> = changes.by_kind.iter().collect();
    kinds.sort_by_key(|((what, _, _), (count, _))| (*what != "tier", std::cmp::Reverse(*count)));
    let mut text = format!(
        "{} of {} customers change, as of the end of {}{}\n",
        changes.customers,
        before.customers,
        config.as_of,
        if same { " (the policies mean the same)" } else { "" }
    );
    for ((what, from, to), (count, examples)) in kinds.iter().take(CHANGES_SHOWN) {
        let _ = writeln!(
            text,
            "{count:>9}  {what:<9} {from} -> {to}   such as {}",
            examples.join(", ")
        );
    }
    if kinds.len() > CHANGES_SHOWN {
        let _ =
            writeln!(text, "{:>9}  more kinds of change: see --json", kinds.len() - CHANGES_SHOWN);
    }
    let currency = base.engine.currency();
    let mut money = |label: &str, from: f64, to: f64| {
        let _ = writeln!(text, "{label:<30}{from:.2} -> {to:.2} {currency}");
    };
    money("offers may cost at most", before.offer_cost_max, after.offer_cost_max);
    if before.has_costs || after.has_costs {
        money("expected cost", before.expected_cost, after.expected_cost);
        money("expected value after cost", before.expected_value, after.expected_value);
    }
    let rows: Vec<Value> = kinds
        .iter()
        .map(|((what, from, to), (count, examples))| {
            json!({ "what": what, "from": from, "to": to, "customers": count, "examples": examples })
        })
        .collect();
    let json = json!({
        "old": named(base.engine.policy()), "new": named(new_engine.policy()), "same": same,
        "as_of": config.as_of.to_string(), "currency": currency.as_str(),
        "changed": changes.customers, "changes": rows,
        "before": before.to_json(), "after": after.to_json(),
    });
    Ok(OpsOutcome { text, json, exit_code: 0 })
}

/// Shows one customer's decision with every rule that was tried.
pub(super) fn explain(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let base = Base::read(config, policy, progress)?;
    let wanted = config.customer.as_deref().unwrap_or_default();
    let found = base.log.customers.iter().find(|one| one.customer.as_str() == wanted);
    let Some(customer) = found else {
        return Err(OpsError::NoCustomer { customer: wanted.to_owned(), as_of: config.as_of });
    };
    let (_, answer) = answer(&base.engine, customer, base.as_of, true)?;
    let policy = base.engine.policy();
    let text = explained(policy, &answer);
    let rules: Vec<Value> = answer.decision.trace.iter().map(rule_json).collect();
    let campaigns: Vec<Value> = policy
        .campaigns()
        .iter()
        .map(|one| json!({ "campaign": one.id(), "why": said(&answer.decision, one) }))
        .collect();
    let decision = &answer.decision;
    let json = json!({
        "customer": wanted, "as_of": config.as_of.to_string(), "policy": named(policy),
        "tier": decision.tier.map(Tier::as_str), "tier_reasons": decision.tier_reasons,
        "segment": decision.segment.as_str(), "campaign": decision.campaign_id(),
        "would_be_campaign": decision.would_be_campaign.map(Campaign::id),
        "suppression": decision.suppression.map(|stop| stop.reason.as_str()),
        "churn_probability": answer.score.churn_prob,
        "clv": answer.score.clv.as_ref().map(|clv| clv.mean),
        "expected_value": decision.expected_value, "propensity": decision.propensity,
        "campaigns": campaigns, "rules": rules,
    });
    Ok(OpsOutcome { text, json, exit_code: 0 })
}

fn rule_json(rule: &RuleTrace<'_>) -> Value {
    let tests: Vec<Value> = rule
        .tests
        .iter()
        .map(|test| {
            json!({ "list": test.list, "test": test.text, "held": test.held, "found": test.found })
        })
        .collect();
    json!({
        "kind": rule.kind.as_str(), "id": rule.id, "held": rule.held,
        "blocked": rule.blocked.map(|reason| reason.as_str()), "tests": tests,
    })
}

/// What a test found, for a person: numbers with four decimals at most.
pub(super) fn told(found: Option<&str>) -> String {
    const DECIMALS: usize = 4;
    let Some(found) = found else { return "not known".to_owned() };
    let is_long = found.split_once('.').is_some_and(|(_, after)| after.len() > DECIMALS);
    match found.parse::<f64>() {
        Ok(number) if is_long => format!("{number:.DECIMALS$}"),
        _ => found.to_owned(),
    }
}

/// One line of why a campaign is, or is not, recommended.
fn said(decision: &Decision<'_>, campaign: &Campaign) -> String {
    match why_not(decision, campaign.id()) {
        WhyNot::Chosen => "chosen".to_owned(),
        WhyNot::NotTraced => "not asked".to_owned(),
        WhyNot::Conditions(failed) => {
            let failed: Vec<String> = failed
                .iter()
                .map(|test| format!("{} (found: {})", test.text, told(test.found.as_deref())))
                .collect();
            format!("does not fit: {}", failed.join(", "))
        }
        WhyNot::Gate(reason) => format!("fits, but {}", reason.as_str()),
        WhyNot::HeldOut(reason) => format!("would be chosen, but {}", reason.as_str()),
        WhyNot::Outranked { by } => format!("fits, but {by} goes first"),
    }
}

fn explained(policy: &Policy, answer: &Answer<'_>) -> String {
    let decision = &answer.decision;
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<18}{value}");
    };
    let known = |number: Option<f64>| number.map_or("not known".to_owned(), |n| format!("{n:.4}"));
    line("customer", answer.customer.as_str().to_owned());
    line("policy", format!("{} {}", policy.id().id, policy.id().version));
    line("churn probability", known(answer.score.churn_prob));
    line("value", known(answer.score.clv.as_ref().map(|clv| clv.mean)));
    let tier = decision.tier.map_or("none", Tier::as_str);
    line("tier", format!("{tier}: {}", decision.tier_reasons.join(", ")));
    let segment = policy.segments().find(|(one, _, _)| *one == decision.segment);
    let why = segment.map_or("", |(_, _, why)| why);
    line("segment", format!("{} ({}). {why}", decision.segment, decision.phase));
    match (decision.campaign, decision.would_be_campaign) {
        (Some(campaign), _) => {
            line("campaign", format!("{}. {}", campaign.id(), campaign.why()));
            let channels: Vec<&str> = decision.channels.iter().map(|one| one.as_str()).collect();
            line("channels", channels.join(", "));
            let offer = decision.offer;
            let most = offer.cost_max.map_or(String::new(), |most| format!(", at most {most:.2}"));
            let guarded = if offer.guarded { " (DISCOUNT_GUARD)" } else { "" };
            line("offer", format!("{}{most}{guarded}", offer.kind.as_str()));
        }
        (None, would_be) => {
            let reason = decision.suppression.map_or("", |stop| stop.reason.as_str());
            line("campaign", format!("{NO_ACTION}: {reason}"));
            if let Some(campaign) = would_be {
                line("would be", campaign.id().to_owned());
            }
        }
    }
    if let Some(value) = decision.expected_value {
        line("expected value", format!("{value:.4}"));
    }
    for assignment in &decision.assignments {
        let (name, arm) = (assignment.experiment.name(), assignment.arm.as_str());
        let arm = assignment.variant.unwrap_or(arm);
        line("experiment", format!("{name}: {arm} (bucket {} of 10000)", assignment.bucket));
    }
    let _ = writeln!(text, "\nevery campaign");
    for campaign in policy.campaigns() {
        let _ = writeln!(text, "  {:<26}{}", campaign.id(), said(decision, campaign));
    }
    for (kind, title) in
        [(RuleKind::Segment, "segments, in order"), (RuleKind::Override, "overrides of the tier")]
    {
        let _ = writeln!(text, "\n{title}");
        for rule in decision.trace.iter().filter(|rule| rule.kind == kind) {
            let held = if rule.held { "yes" } else { "no" };
            let _ = writeln!(text, "  {:<34}{held}", rule.id);
            for test in &rule.tests {
                let mark = if test.held { '+' } else { '-' };
                let found = told(test.found.as_deref());
                let _ = writeln!(text, "    {mark} {:<36} found: {found}", test.text);
            }
        }
    }
    text
}
