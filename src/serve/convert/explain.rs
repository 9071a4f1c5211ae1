//! Explanations, reasons and traces of rules as messages.

use super::names;
use crate::decision::{RuleKind, RuleTrace, TestTrace};
use crate::model::Term;
use crate::scoring::{Explained, Reason, ReasonGroup};
use crate::serve::pb;

/// A reason.
pub(in crate::serve) fn reason(of: &Reason) -> pb::Reason {
    let Reason { group, contribution, text } = of;
    pb::Reason { code: group.code().to_owned(), contribution: *contribution, text: text.clone() }
}

/// One number, taken apart.
pub(in crate::serve) fn explanation(
    of: &Explained,
    terms: &[Term],
    row: &[f64],
) -> pb::Explanation {
    let Explained { explanation, groups: _, reasons } = of;
    let mut contributions: Vec<pb::Contribution> = terms
        .iter()
        .zip(&explanation.contributions)
        .filter(|(_, contribution)| contribution.abs() > 0.0)
        .map(|(term, contribution)| pb::Contribution {
            feature: term.name.to_owned(),
            value: Some(row[term.column]).filter(|value| !value.is_nan()),
            contribution: *contribution,
            code: ReasonGroup::of(term.name).code().to_owned(),
        })
        .collect();
    // A stable sort: equal ones stay in the order of the schema.
    contributions.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    pb::Explanation {
        base_value: explanation.base_value,
        total: explanation.total,
        gap: explanation.gap(),
        contributions,
        reasons: reasons.iter().map(reason).collect(),
    }
}

/// A rule that was tried.
pub(in crate::serve) fn rule(rule: &RuleTrace<'_>) -> pb::RuleTrace {
    let RuleTrace { kind, id, held, blocked, tests } = rule;
    let kind = match kind {
        RuleKind::Segment => pb::RuleKind::Segment,
        RuleKind::Override => pb::RuleKind::Override,
        RuleKind::Campaign => pb::RuleKind::Campaign,
    };
    pb::RuleTrace {
        kind: kind.into(),
        id: (*id).to_owned(),
        held: *held,
        blocked_by: names::suppression(*blocked),
        tests: tests.iter().map(test).collect(),
    }
}

fn test(test: &TestTrace<'_>) -> pb::RuleTest {
    let TestTrace { list, text, held, found } = test;
    pb::RuleTest {
        list: u32::try_from(*list).unwrap_or(u32::MAX),
        condition: (*text).to_owned(),
        held: *held,
        found: found.clone(),
    }
}
