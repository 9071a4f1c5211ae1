//! Scoring the features that come with a request, for a model that was trained on a table.
//!
//! In: named values. Out: the score that the batch job gives the same row, or every violation at
//! once, each with its path. Nothing is read from the store and nothing is kept.

use std::collections::BTreeMap;

use super::convert;
use super::live::Live;
use super::live::Moment;
use super::pb;
use super::scoring_service::{asked_as_of, score_message};
use super::status::{ServeError, Violation};
use crate::domain::{AsOf, CustomerId};
use crate::events::RawValue;
use crate::scoring::{DecisionRowV1, Engine, ScoringError};

/// Scores one subject; the second is its line of the decision log, empty where none is kept. Field
/// paths begin at `path`.
pub(super) fn score(
    live: &Live,
    moment: &Moment,
    subject: &pb::ScoreSubject,
    path: &str,
) -> Result<(pb::Score, Vec<u8>), ServeError> {
    let pb::ScoreSubject { customer, events, inline_only: _, as_of, features } = subject;
    if features.is_none() && events.is_empty() {
        moment.require_log("give its features with the request")?;
    }
    let engine = &moment.served.engine;
    let mut violations = Vec::new();
    if !events.is_empty() {
        let found = "the served model was trained on a table: give features, not events";
        violations.push(Violation::new("events", "MODEL_SCORES_TABLES", found));
    }
    let as_of = asked_as_of(as_of.as_ref(), moment);
    let customer = convert::customer_id("customer", customer);
    let empty = BTreeMap::new();
    let fields = features.as_ref().map_or(&empty, |features| &features.fields);
    let cells = cells(engine, fields, &mut violations);
    let (customer, as_of) = match (customer, as_of) {
        (Ok(customer), Ok(as_of)) => (Some(customer), as_of),
        (customer, as_of) => {
            violations.extend([customer.err(), as_of.err()].into_iter().flatten());
            (None, None)
        }
    };
    // The cells are tried even where something else is wrong: all violations are told at once.
    let asked = customer.clone().or_else(|| CustomerId::try_new("-").ok());
    let Some(asked) = asked else { return Err(ServeError::internal("no id to try with")) };
    let instant = AsOf::at(as_of.unwrap_or(moment.now), engine.zone());
    match engine.answer_row(&asked, &cells, instant, false) {
        Ok(found) if violations.is_empty() => {
            let line = match &live.decisions {
                Some(_) => {
                    let (answer, digest) = (&found.answer, found.digest);
                    DecisionRowV1::new(engine, answer, digest, moment.now).to_line()
                }
                None => Vec::new(),
            };
            Ok((score_message(&found.answer, moment, found.digest), line))
        }
        Ok(_) => Err(invalid(violations, path)),
        Err(ScoringError::Row(issues)) => {
            violations.extend(issues.iter().map(|issue| {
                let what = format!("{} is no {}", issue.found, issue.wanted);
                Violation::new(field(&issue.column), "FEATURE_TYPE", what)
            }));
            Err(invalid(violations, path))
        }
        Err(error) => Err(ServeError::internal(error)),
    }
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
    fields: &'m BTreeMap<String, prost_types::Value>,
    violations: &mut Vec<Violation>,
) -> Vec<RawValue<'m>> {
    let inputs = engine.table_inputs().unwrap_or_default();
    for name in fields.keys() {
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
        .map(|input| match fields.get(&input.name) {
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
