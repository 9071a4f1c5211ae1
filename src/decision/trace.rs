//! Why a decision came out as it did: every rule that was tried, for those who ask.
//!
//! In: the policy and the flat view of one customer. Out: rules with their tests and what was
//! found. It evaluates the same compiled rules once more, so it costs nothing where nobody asks.

use crate::decision::arbitrate::pass;
use crate::decision::economics::Stakes;
use crate::decision::fact::Fact;
use crate::decision::fact::View;
use crate::decision::fact::describe;
use crate::decision::gates::Gatekeeper;
use crate::decision::gates::SuppressionReason;
use crate::decision::policy::Policy;
use crate::decision::predicate::Rule;

/// What `non_buyers_only = true` asks of a customer, for every list of the rule.
const NON_BUYERS: &str = "orders = 0";

/// What kind of rule was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// A segment, in order, up to the first that matched.
    Segment,
    /// An override of the risk tier.
    Override,
    /// A campaign.
    Campaign,
}

impl RuleKind {
    /// Its name in files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Override => "override",
            Self::Campaign => "campaign",
        }
    }
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct TestTrace<'p> {
    /// The list of `any` it belongs to, from 0.
    pub list: usize,
    /// The condition as written.
    pub text: &'p str,
    /// Whether it held.
    pub held: bool,
    /// What was found; `None`: not known, so the condition did not hold.
    pub found: Option<String>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleTrace<'p> {
    /// What kind of rule.
    pub kind: RuleKind,
    /// The segment, the override's reason code, or the campaign.
    pub id: &'p str,
    /// Whether the rule held.
    pub held: bool,
    /// The first gate shut for a campaign whose rule held.
    pub blocked: Option<SuppressionReason>,
    /// Its conditions.
    pub tests: Vec<TestTrace<'p>>,
}

/// All rules tried for a customer; `view` is complete.
pub(crate) fn trace<'p>(
    policy: &'p Policy,
    view: &View<'_>,
    keeper: &Gatekeeper<'_>,
) -> Vec<RuleTrace<'p>> {
    let stakes = Stakes::of(policy, view);
    let mut rules = Vec::with_capacity(policy.segments.len() + policy.campaigns.len());
    for segment in &policy.segments {
        let held = segment.rule.holds(view);
        rules.push(one(RuleKind::Segment, segment.segment.as_str(), &segment.rule, view));
        if held {
            break;
        }
    }
    for rule in &policy.overrides {
        rules.push(one(RuleKind::Override, &rule.reason, &rule.rule, view));
    }
    for campaign in &policy.campaigns {
        let mut rule = one(RuleKind::Campaign, &campaign.id, &campaign.rule, view);
        rule.held = keeper.is_eligible(campaign, view);
        if campaign.non_buyers_only {
            let (held, found) = (keeper.is_non_buyer(), describe(view, Fact::Orders));
            rule.tests.push(TestTrace { list: 0, text: NON_BUYERS, held, found });
        }
        if rule.held {
            let gate = pass(policy, view, (keeper, stakes.as_ref()), campaign);
            rule.blocked = gate.err().map(|shut| shut.reason);
        }
        rules.push(rule);
    }
    rules
}

fn one<'p>(kind: RuleKind, id: &'p str, rule: &'p Rule, view: &View<'_>) -> RuleTrace<'p> {
    let mut tests = Vec::new();
    for (list, all) in rule.any().iter().enumerate() {
        tests.extend(all.iter().map(|test| TestTrace {
            list,
            text: &test.text,
            held: test.holds(view),
            found: describe(view, test.fact),
        }));
    }
    RuleTrace { kind, id, held: rule.holds(view), blocked: None, tests }
}
