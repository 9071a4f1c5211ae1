//! Why a campaign was not chosen, said of any campaign.
//!
//! In: a decision made with its trace. Out: the one thing that kept the campaign away. It
//! evaluates nothing again.

use crate::decision::decide::Decision;
use crate::decision::gates::SuppressionReason;
use crate::decision::trace::RuleKind;
use crate::decision::trace::TestTrace;

/// Why a campaign is not the recommendation.
#[derive(Debug, Clone, PartialEq)]
pub enum WhyNot<'d> {
    /// It is the recommendation.
    Chosen,
    /// The policy has no such campaign, or the decision was made without its trace.
    NotTraced,
    /// Its conditions do not hold: those that failed in the list nearest to holding.
    Conditions(Vec<&'d TestTrace<'d>>),
    /// Its conditions hold and a gate is shut.
    Gate(SuppressionReason),
    /// It would have been the recommendation, had the customer not been held out.
    HeldOut(SuppressionReason),
    /// Another campaign goes first.
    Outranked {
        /// Id of the campaign before it.
        by: &'d str,
    },
}

/// Says why a campaign is not the recommendation of a decision with its trace.
#[must_use]
pub fn why_not<'d>(decision: &'d Decision<'_>, campaign: &str) -> WhyNot<'d> {
    if decision.campaign.is_some_and(|chosen| chosen.id() == campaign) {
        return WhyNot::Chosen;
    }
    let is_it = |rule: &&crate::decision::RuleTrace<'_>| {
        rule.kind == RuleKind::Campaign && rule.id == campaign
    };
    let Some(rule) = decision.trace.iter().find(is_it) else { return WhyNot::NotTraced };
    if !rule.held {
        return WhyNot::Conditions(failed(&rule.tests));
    }
    if let Some(reason) = rule.blocked {
        return WhyNot::Gate(reason);
    }
    let would_be = decision.would_be_campaign.map(crate::decision::Campaign::id);
    if let Some(suppression) = decision.suppression.filter(|_| would_be == Some(campaign)) {
        return WhyNot::HeldOut(suppression.reason);
    }
    let first = decision.campaign.map(crate::decision::Campaign::id).or(would_be);
    first.map_or(WhyNot::NotTraced, |by| WhyNot::Outranked { by })
}

/// What failed in the list of conditions of which the least failed.
fn failed<'d>(tests: &'d [TestTrace<'d>]) -> Vec<&'d TestTrace<'d>> {
    let lists = tests.iter().map(|test| test.list).max().map_or(0, |last| last + 1);
    (0..lists)
        .map(|list| tests.iter().filter(|test| test.list == list && !test.held).collect())
        .filter(|failed: &Vec<&TestTrace<'_>>| !failed.is_empty())
        .min_by_key(Vec::len)
        .unwrap_or_default()
}
