//! Scoring the features that come with a request, for a model that was trained on a table.
//!
//! In: named values. Out: the score that the batch job gives the same row, or every violation at
//! once, each with its path. Nothing is read from the store and nothing is kept.

use super::answers::ExplainScoreResponse;
use super::convert;
use super::live::Live;
use super::live::Moment;
use super::pb;
use super::score_rows::{Row, by_version};
use super::scored::{Scored, score_bytes};
use super::scoring_service::{REASONS, asked_as_of};
use super::serving::Answering;
use super::shadow;
use super::status::{ServeError, Violation};
use crate::domain::{AsOf, CustomerId, Timestamp};
use crate::events::RawValue;
use crate::model::CellIssue;
use crate::scoring::{Engine, ScoringError, TableAnswer, TableQuestion};

/// Scores one subject. Field paths begin at `path`.
pub(super) fn score(
    live: &Live,
    moment: &Moment,
    (subject, path): (&pb::ScoreSubject, &str),
    (view, scored): (pb::ScoreView, &mut Scored),
) -> Result<(), ServeError> {
    let answering = moment.answering(&subject.customer);
    let checked = check(moment, &answering.served.engine, (subject, path))?;
    let Checked { customer, cells, as_of } = &checked;
    let found = answering.served.engine.answer_row(customer, cells, *as_of, false);
    finished(live, moment, (&answering, cells, (subject, path)), &found, (view, scored))
}

/// Scores several subjects together, each as [`score`] does by itself.
pub(super) fn score_all(
    live: &Live,
    moment: &Moment,
    rows: &[Row<'_>],
    view: pb::ScoreView,
) -> Scored {
    let checked: Vec<Result<(Answering<'_>, Checked<'_>), ServeError>> = rows
        .iter()
        .map(|&(subject, path)| {
            let answering = moment.answering(&subject.customer);
            let checked = check(moment, &answering.served.engine, (subject, path))?;
            Ok((answering, checked))
        })
        .collect();
    let asked: Vec<(Answering<'_>, TableQuestion<'_>)> =
        checked.iter().flatten().map(|(by, checked)| (*by, checked.question())).collect();
    let answers = by_version(&asked, |engine, rows| engine.answer_rows(rows));
    let mut answers = answers.iter();
    let mut scored = Scored::with_room(rows.len());
    for (checked, row) in checked.into_iter().zip(rows) {
        let done = checked.and_then(|(answering, Checked { cells, .. })| {
            // There is one answer for each question.
            let found = answers.next().ok_or_else(|| ServeError::internal("a row is missing"))?;
            finished(live, moment, (&answering, &cells, *row), found, (view, &mut scored))
        });
        scored.refuse_if(done);
    }
    scored
}

fn finished(
    live: &Live,
    moment: &Moment,
    (answering, cells, (subject, path)): (&Answering<'_>, &[RawValue<'_>], Row<'_>),
    found: &Result<TableAnswer<'_>, ScoringError>,
    (view, scored): (pb::ScoreView, &mut Scored),
) -> Result<(), ServeError> {
    let wrong = |error: &ScoringError| refused(error, path);
    let found = found.as_ref().map_err(wrong)?;
    shadow::note(live, moment, (answering, &found.answer), || {
        shadow::Subject::Row(subject.features.clone().unwrap_or_default())
    });
    let why = match view {
        pb::ScoreView::Full => {
            let why = answering.served.engine.row_reasons(cells, REASONS);
            Some(why.map_err(|error| wrong(&error))?)
        }
        _ => None,
    };
    scored.add(live, (moment, answering), (&found.answer, found.digest), why.as_ref());
    Ok(())
}

/// Scores one subject and says why.
pub(super) fn explain(
    moment: &Moment,
    subject: &pb::ScoreSubject,
    path: &str,
) -> Result<ExplainScoreResponse, ServeError> {
    let answering = moment.answering(&subject.customer);
    let engine = &answering.served.engine;
    let Checked { customer, cells, as_of } = check(moment, engine, (subject, path))?;
    let found = engine.explain_row(&customer, &cells, as_of);
    let found = found.map_err(|error| refused(&error, path))?;
    let answer = (&found.explained.answer, found.digest);
    let score = score_bytes((moment, &answering), answer);
    Ok(convert::explained(&found.explained, score))
}

/// What a version says of features that came for another one; none where it cannot read them.
pub(super) fn unseen<'e>(
    engine: &'e Engine,
    customer: &CustomerId,
    features: &prost_types::Struct,
    as_of: AsOf,
) -> Option<TableAnswer<'e>> {
    let mut violations = Vec::new();
    let cells = cells(engine, Some(features), &mut violations);
    // A column that this version does not know is no fault of it.
    let is_fault = |violation: &Violation| violation.reason != "FEATURE_UNKNOWN";
    if violations.iter().any(is_fault) {
        return None;
    }
    engine.answer_row(customer, &cells, as_of, false).ok()
}

/// A subject that has been checked, but for what its cells hold.
struct Checked<'m> {
    customer: CustomerId,
    cells: Vec<RawValue<'m>>,
    as_of: AsOf,
}

impl Checked<'_> {
    fn question(&self) -> TableQuestion<'_> {
        let Self { customer, cells, as_of } = self;
        TableQuestion { customer, cells, as_of: *as_of }
    }
}

/// Checks everything and tells all violations at once.
fn check<'m>(
    moment: &Moment,
    engine: &Engine,
    (subject, path): (&'m pb::ScoreSubject, &str),
) -> Result<Checked<'m>, ServeError> {
    let pb::ScoreSubject { customer, events, inline_only: _, as_of, features } = subject;
    if features.is_none() && events.is_empty() {
        moment.require_log("give its features with the request")?;
    }
    let mut violations = Vec::new();
    if !events.is_empty() {
        let found = "the served model was trained on a table: give features, not events";
        violations.push(Violation::new("events", "MODEL_SCORES_TABLES", found));
    }
    let asked = asked_as_of(as_of.as_ref(), moment);
    let customer = convert::customer_id("customer", customer);
    let cells = cells(engine, features.as_ref(), &mut violations);
    let instant = |asked: Option<Timestamp>| AsOf::at(asked.unwrap_or(moment.now), engine.zone());
    match (customer, asked) {
        (Ok(customer), Ok(asked)) if violations.is_empty() => {
            Ok(Checked { customer, cells, as_of: instant(asked) })
        }
        (customer, asked) => {
            violations.extend([customer.err(), asked.err()].into_iter().flatten());
            // The cells are tried even where something else is wrong.
            if let Ok(anybody) = CustomerId::try_new("-")
                && let Err(ScoringError::Row(issues)) =
                    engine.answer_row(&anybody, &cells, instant(None), false)
            {
                violations.extend(issues.iter().map(violation));
            }
            Err(invalid(violations, path))
        }
    }
}

/// What the engine says of cells that their columns cannot hold.
fn refused(error: &ScoringError, path: &str) -> ServeError {
    match error {
        ScoringError::Row(issues) => invalid(issues.iter().map(violation).collect(), path),
        error => ServeError::internal(error),
    }
}

fn violation(issue: &CellIssue) -> Violation {
    let what = format!("{} is no {}", issue.found, issue.wanted);
    Violation::new(field(&issue.column), "FEATURE_TYPE", what)
}

fn invalid(violations: Vec<Violation>, path: &str) -> ServeError {
    ServeError::Invalid(violations.into_iter().map(|violation| violation.within(path)).collect())
}

fn field(name: &str) -> String {
    format!("features.{name}")
}

/// The cells in the order of the engine's inputs; what is unknown, missing or not finite is told.
fn cells<'m>(
    engine: &Engine,
    features: Option<&'m prost_types::Struct>,
    violations: &mut Vec<Violation>,
) -> Vec<RawValue<'m>> {
    let inputs = engine.table_inputs().unwrap_or_default();
    let given = |name: &str| features.and_then(|features| features.fields.get(name));
    for name in features.iter().flat_map(|features| features.fields.keys()) {
        if !inputs.iter().any(|input| input.name == *name) {
            let hint = match engine.nearest_input(name) {
                Some(near) => format!(" (did you mean {near:?}?)"),
                None => String::new(),
            };
            let found = format!("{name:?} is no feature of the served model{hint}");
            violations.push(Violation::new(field(name), "FEATURE_UNKNOWN", found));
        }
    }
    inputs
        .iter()
        .map(|input| match given(&input.name) {
            Some(value) => {
                let cell = convert::raw_value(value);
                match cell {
                    RawValue::Number(number) if !number.is_finite() => {
                        let found = format!("{number} is not finite; null says it is not known");
                        let violation = Violation::new(field(&input.name), "FEATURE_TYPE", found);
                        violations.push(violation);
                        RawValue::Missing
                    }
                    cell => cell,
                }
            }
            None => {
                let found = format!("missing ({}); null says that it is not known", input.kind);
                violations.push(Violation::new(field(&input.name), "FEATURE_MISSING", found));
                RawValue::Missing
            }
        })
        .collect()
}
