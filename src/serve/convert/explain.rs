//! Explanations, reasons and traces of rules as messages.

use super::names;
use crate::decision::{RuleKind, RuleTrace, TestTrace};
use crate::scoring::{Explained, ExplainedAnswer, ExplainedTerm, Reason};
use crate::serve::answers::ExplainScoreResponse;
use crate::serve::pb;
use prost::bytes::Bytes;

/// A reason.
pub(super) fn reason(of: &Reason) -> pb::Reason {
    let Reason { code, contribution, text } = of;
    pb::Reason { code: code.clone().into_owned(), contribution: *contribution, text: text.clone() }
}

/// An answer with all that led to it; the score is written elsewhere.
pub(in crate::serve) fn explained(of: &ExplainedAnswer<'_>, score: Bytes) -> ExplainScoreResponse {
    let ExplainedAnswer { answer, churn, value, terms } = of;
    ExplainScoreResponse {
        score,
        churn: churn.as_ref().map(|part| explanation(part, terms)),
        value: value.as_ref().map(|part| explanation(part, terms)),
        rules: answer.decision.trace.iter().map(rule).collect(),
    }
}

/// One number, taken apart.
fn explanation(of: &Explained, terms: &[ExplainedTerm<'_>]) -> pb::Explanation {
    let Explained { explanation, reasons } = of;
    let mut contributions: Vec<pb::Contribution> = terms
        .iter()
        .zip(&explanation.contributions)
        .filter(|(_, contribution)| contribution.abs() > 0.0)
        .map(|(ExplainedTerm { name, code, value, cell }, contribution)| pb::Contribution {
            feature: (*name).to_owned(),
            value: *value,
            contribution: *contribution,
            code: (*code).to_owned(),
            cell: cell.clone(),
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
fn rule(rule: &RuleTrace<'_>) -> pb::RuleTrace {
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
