//! What a policy does to a base: counted, held against another, explained for one customer.
//!
//! In: a log or a table, a bundle, policies. Out: counts and costs over all customers, or one
//! decision with every rule. Nothing is written and nothing is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::PolicyRunConfig;
use crate::decision::{Campaign, Decision, NO_ACTION, Policy, RuleKind, RuleTrace, Tier};
use crate::decision::{WhyNot, why_not};
use crate::domain::CustomerId;
use crate::scoring::Answer;

use super::ops::{OpsError, OpsOutcome};
use super::run::read_policy;
use super::tried::{Base, Sum, another};

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
    value_at_risk: Sum,
    expected_cost: Sum,
    expected_value: Sum,
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
    value_at_risk: Sum,
    /// Costs and expected values are in currency units, over campaigns recommended.
    expected_cost: Sum,
    expected_value: Sum,
    /// The most that all offers together may cost.
    offer_cost_max: Sum,
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
        phase.value_at_risk.add(decision.value_at_risk.unwrap_or(0.0));
        phase.expected_cost.add(decision.expected_cost.unwrap_or(0.0));
        phase.expected_value.add(decision.expected_value.unwrap_or(0.0));
        self.held_out += u64::from(decision.is_held_out());
        self.value_at_risk.add(decision.value_at_risk.unwrap_or(0.0));
        self.has_costs |= decision.expected_cost.is_some();
        self.expected_cost.add(decision.expected_cost.unwrap_or(0.0));
        self.expected_value.add(decision.expected_value.unwrap_or(0.0));
        self.offer_cost_max.add(decision.offer.cost_max.unwrap_or(0.0));
    }

    /// Adds what was counted of other customers.
    fn join(&mut self, other: Self) {
        let Self { customers, held_out, value_at_risk, has_costs, .. } = other;
        let pairs = [
            (&mut self.campaigns, other.campaigns),
            (&mut self.channels, other.channels),
            (&mut self.offers, other.offers),
            (&mut self.suppressions, other.suppressions),
            (&mut self.tiers, other.tiers),
            (&mut self.segments, other.segments),
        ];
        for (own, more) in pairs {
            more.into_iter().for_each(|(key, count)| *own.entry(key).or_default() += count);
        }
        for (name, more) in other.phases {
            let own = self.phases.entry(name).or_default();
            own.customers += more.customers;
            own.campaigns += more.campaigns;
            own.value_at_risk.join(more.value_at_risk);
            own.expected_cost.join(more.expected_cost);
            own.expected_value.join(more.expected_value);
        }
        self.customers += customers;
        self.held_out += held_out;
        self.has_costs |= has_costs;
        self.value_at_risk.join(value_at_risk);
        self.expected_cost.join(other.expected_cost);
        self.expected_value.join(other.expected_value);
        self.offer_cost_max.join(other.offer_cost_max);
    }

    fn to_json(&self) -> Value {
        let money = |amount: Sum| self.has_costs.then_some(amount.get());
        let phase = |(name, of): (&&str, &PhaseTally)| {
            let row = json!({
                "customers": of.customers, "campaigns": of.campaigns,
                "value_at_risk": of.value_at_risk.get(), "expected_cost": money(of.expected_cost),
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
            "value_at_risk": self.value_at_risk.get(),
            "offer_cost_max": self.offer_cost_max.get(),
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
            let PhaseTally { customers, campaigns, .. } = of;
            let value_at_risk = of.value_at_risk.get();
            let worth = if self.has_costs {
                let (cost, value) = (of.expected_cost.get(), of.expected_value.get());
                format!("  costs {cost:.2}, brings {value:.2}")
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
        line("value at risk", format!("{:.2} {currency}", self.value_at_risk.get()));
        line("offers may cost at most", format!("{:.2} {currency}", self.offer_cost_max.get()));
        if self.has_costs {
            line("expected cost", format!("{:.2} {currency}", self.expected_cost.get()));
            line(
                "expected value after cost",
                format!("{:.2} {currency}", self.expected_value.get()),
            );
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
    let base = Base::read(config, policy, None, progress)?;
    let add = |tally: &mut Tally, [answer]: [&Answer<'_>; 1]| tally.count(&answer.decision);
    let tally = base.count([&base.engine], (&add, Tally::join), progress)?;
    let id = base.engine.policy().id();
    let currency = base.engine.currency();
    let text = format!(
        "policy {} {} on {} customers as of the end of {}\n{}",
        id.id,
        id.version,
        tally.customers,
        base.as_of.last_day(),
        tally.to_text(currency.as_str())
    );
    let text = noted(text, &base);
    let json = json!({
        "policy": named(base.engine.policy()), "as_of": base.as_of.last_day().to_string(),
        "currency": currency.as_str(), "base": tally.to_json(), "notes": base.notes,
    });
    Ok(OpsOutcome { text, json, exit_code: 0 })
}

/// What changes for whom, from one policy to another.
#[derive(Debug, Default)]
struct Changes {
    /// By (what, from, to): how many, and the first ids.
    by_kind: BTreeMap<(&'static str, String, String), (u64, BTreeSet<String>)>,
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
            examples.insert(customer.to_owned());
            keep_first(examples);
        }
        self.customers += u64::from(has_changed);
    }

    /// Adds what was noted of other customers.
    fn join(&mut self, other: Self) {
        self.customers += other.customers;
        for (kind, (more, ids)) in other.by_kind {
            let (count, examples) = self.by_kind.entry(kind).or_default();
            *count += more;
            examples.extend(ids);
            keep_first(examples);
        }
    }
}

fn keep_first(examples: &mut BTreeSet<String>) {
    while examples.len() > EXAMPLES {
        examples.pop_last();
    }
}

/// Both policies on one base.
#[derive(Debug, Default)]
struct Both {
    before: Tally,
    after: Tally,
    changes: Changes,
}

impl Both {
    fn add(&mut self, [old, new]: [&Answer<'_>; 2]) {
        self.before.count(&old.decision);
        self.after.count(&new.decision);
        self.changes.note(old.customer.as_str(), &old.decision, &new.decision);
    }

    fn join(&mut self, other: Self) {
        self.before.join(other.before);
        self.after.join(other.after);
        self.changes.join(other.changes);
    }
}

/// A text with what its reader should know of the base at its end.
fn noted(mut text: String, base: &Base) -> String {
    for note in &base.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// Holds two policies against each other on a base.
pub(super) fn diff(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let [old_file, new_file] = &config.files;
    let (old_policy, new_policy) = (read_policy(old_file)?, read_policy(new_file)?);
    let same = old_policy.id().hash == new_policy.id().hash;
    let base = Base::read(config, Some(old_policy), None, progress)?;
    let new_engine = another((&config.models, &config.model), new_policy)?;
    let Both { before, after, changes } =
        base.count([&base.engine, &new_engine], (&Both::add, Both::join), progress)?;
    let mut kinds: Vec<_> = changes.by_kind.iter().collect();
    kinds.sort_by_key(|((what, _, _), (count, _))| (*what != "tier", std::cmp::Reverse(*count)));
    let mut text = format!(
        "{} of {} customers change, as of the end of {}{}\n",
        changes.customers,
        before.customers,
        base.as_of.last_day(),
        if same { " (the policies mean the same)" } else { "" }
    );
    for ((what, from, to), (count, examples)) in kinds.iter().take(CHANGES_SHOWN) {
        let _ = writeln!(
            text,
            "{count:>9}  {what:<9} {from} -> {to}   such as {}",
            examples.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        );
    }
    if kinds.len() > CHANGES_SHOWN {
        let _ =
            writeln!(text, "{:>9}  more kinds of change: see --json", kinds.len() - CHANGES_SHOWN);
    }
    let currency = base.engine.currency();
    let mut money = |label: &str, from: Sum, to: Sum| {
        let (from, to) = (from.get(), to.get());
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
        "as_of": base.as_of.last_day().to_string(), "currency": currency.as_str(),
        "changed": changes.customers, "changes": rows, "notes": base.notes,
        "before": before.to_json(), "after": after.to_json(),
    });
    Ok(OpsOutcome::fine(noted(text, &base), json))
}

/// Shows one customer's decision with every rule that was tried.
pub(super) fn explain(
    config: &PolicyRunConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let wanted = config.customer.as_deref().unwrap_or_default();
    let missing = |base: &Base| match (&config.table, wanted.to_owned()) {
        (Some(path), customer) => {
            let column = config.id.as_deref().or_else(|| base.engine.table_id_column());
            OpsError::NoRow { customer, path: path.clone(), column: column.map(str::to_owned) }
        }
        (None, customer) => OpsError::NoCustomer { customer, as_of: base.as_of.last_day() },
    };
    let id = CustomerId::try_new(wanted).ok();
    let base = Base::read(config, policy, id.as_ref(), progress)?;
    let found = id.map(|id| base.one(&id)).transpose()?.flatten();
    let Some(answer) = found else { return Err(missing(&base)) };
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
        "customer": wanted, "as_of": base.as_of.last_day().to_string(), "policy": named(policy),
        "tier": decision.tier.map(Tier::as_str), "tier_reasons": decision.tier_reasons,
        "segment": decision.segment.as_str(), "campaign": decision.campaign_id(),
        "would_be_campaign": decision.would_be_campaign.map(Campaign::id),
        "suppression": decision.suppression.map(|stop| stop.reason.as_str()),
        "churn_probability": answer.score.churn_prob,
        "clv": answer.score.clv.as_ref().map(|clv| clv.mean),
        "expected_value": decision.expected_value, "propensity": decision.propensity,
        "campaigns": campaigns, "rules": rules, "notes": base.notes,
    });
    Ok(OpsOutcome::fine(noted(text, &base), json))
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
