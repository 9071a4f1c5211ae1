//! `ReportOutcomes`: what became of decisions, beside them in the decision log.

use std::sync::Arc;

use super::convert;
use super::live::{Live, Moment};
use super::pb;
use super::status::{ServeError, Violation};
use crate::scoring::{OutcomeRowV1, RECORD_VERSION};

/// Hexadecimal digits of a decision's id.
const ID_DIGITS: usize = 32;

/// Takes in outcomes: all of them or none.
pub(super) async fn report(
    live: &Arc<Live>,
    request: pb::ReportOutcomesRequest,
) -> Result<pb::ReportOutcomesResponse, ServeError> {
    let pb::ReportOutcomesRequest { outcomes } = request;
    if live.decisions.is_none() {
        return Err(ServeError::NoDecisionLog);
    }
    let most = live.limits.events_max;
    if outcomes.is_empty() || outcomes.len() > most {
        let found = format!("{} outcomes, 1 to {most} are taken", outcomes.len());
        return Err(ServeError::invalid("outcomes", "OUTCOME_COUNT", found));
    }
    let moment = live.moment();
    let (mut lines, mut violations) = (Vec::new(), Vec::new());
    for (idx, outcome) in outcomes.iter().enumerate() {
        match row(outcome, &moment) {
            Ok(row) => lines.extend(row.to_line()),
            Err(found) => {
                let path = format!("outcomes[{idx}]");
                violations.extend(found.into_iter().map(|violation| violation.within(&path)));
            }
        }
    }
    if !violations.is_empty() {
        return Err(ServeError::Invalid(violations));
    }
    let (live, n_lines) = (Arc::clone(live), outcomes.len());
    let stored = tokio::task::spawn_blocking(move || store(&live, &lines, n_lines, &moment));
    stored.await.map_err(ServeError::internal)??;
    Ok(pb::ReportOutcomesResponse { accepted_count: u32::try_from(n_lines).unwrap_or(u32::MAX) })
}

/// An outcome is never dropped, whatever is done with decisions when the log is full.
fn store(live: &Live, lines: &[u8], n_lines: usize, moment: &Moment) -> Result<(), ServeError> {
    let Some(log) = &live.decisions else { return Err(ServeError::NoDecisionLog) };
    let n_dropped = log.n_dropped();
    live.log_decisions(lines, n_lines, moment)?;
    if log.n_dropped() > n_dropped {
        return Err(ServeError::DecisionLogFull);
    }
    log.flush().map_err(|error| {
        tracing::error!(%error, "outcomes may not be on disk");
        ServeError::DecisionLogFull
    })
}

fn row(outcome: &pb::Outcome, moment: &Moment) -> Result<OutcomeRowV1, Vec<Violation>> {
    let pb::Outcome { decision_id, churned, treated, spend, outcome_time } = outcome;
    let mut violations = Vec::new();
    let is_id = decision_id.len() == ID_DIGITS
        && decision_id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_id {
        let wanted = "not the decision_id of a score";
        violations.push(Violation::new("decision_id", "DECISION_ID", wanted));
    }
    if churned.is_none() && treated.is_none() && spend.is_none() {
        let wanted = "neither churned nor treated nor spend is given";
        violations.push(Violation::new("churned", "MISSING", wanted));
    }
    if spend.is_some_and(|spend| !spend.is_finite()) {
        violations.push(Violation::new("spend", "NOT_FINITE", "it must be a finite number"));
    }
    let at = match outcome_time {
        None => Err(Violation::new("outcome_time", "MISSING", "the time is missing")),
        Some(time) => convert::instant("outcome_time", time).and_then(|at| {
            if at > moment.newest_allowed {
                let found = format!("{at} lies in the future: it is {}", moment.now);
                return Err(Violation::new("outcome_time", "TIME_IN_FUTURE", found));
            }
            Ok(at)
        }),
    };
    match at {
        Ok(at) if violations.is_empty() => Ok(OutcomeRowV1 {
            v: RECORD_VERSION,
            outcome_of: decision_id.clone(),
            reported_at: moment.now.micros(),
            outcome_at: at.micros(),
            churned: *churned,
            treated: *treated,
            spend: *spend,
        }),
        at => {
            violations.extend(at.err());
            Err(violations)
        }
    }
}
