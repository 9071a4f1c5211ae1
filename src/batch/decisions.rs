//! The decision log read back: row by row for reports, and as one table for other programs.
//!
//! In: a directory that a decision log was written to. Out: its rows in the order they were
//! written, each decision once; what could not be read, or was never written, is counted. Nothing
//! but the row at hand is kept, and the digest of each decision's name.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::DecisionsConfig;
use crate::domain::Timestamp;
use crate::scoring::DecisionRowV1;
use crate::store::{DecisionLogError, decision_segments};

use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome};
use super::output::Output;
use super::row::{Cell, ColumnKind, Sheet};
use super::sink::sink;

use ColumnKind::{Flag, Float, Int, Text, Time};

/// What a log held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DecisionIntake {
    /// Rows that could be read.
    pub(super) rows: u64,
    /// Those of a decision that was read before.
    pub(super) repeated: u64,
    /// Lines that are no decision.
    pub(super) unreadable: u64,
    /// Decisions for which there was no room when they were made.
    pub(super) dropped: u64,
}

/// Reads a log; `take` gets each decision once.
///
/// # Errors
/// [`OpsError::DecisionLog`], [`OpsError::NoDecisions`] for a log without any, and what `take`
/// says.
pub(super) fn read_decisions(
    dir: &Path,
    take: &mut dyn FnMut(DecisionRowV1) -> Result<(), OpsError>,
) -> Result<DecisionIntake, OpsError> {
    let mut intake = DecisionIntake::default();
    let mut seen = BTreeSet::new();
    for path in decision_segments(dir)? {
        let failed = |source| DecisionLogError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(failed)?;
            let Ok(row) = serde_json::from_slice::<DecisionRowV1>(&line) else {
                let marker = serde_json::from_slice::<Value>(&line).unwrap_or_default();
                match (marker["dropped"].as_u64(), marker["outcome_of"].as_str()) {
                    (Some(n), _) => intake.dropped += n,
                    // What was reported of a decision; the log of events is what is judged by.
                    (None, Some(_)) => {}
                    (None, None) => intake.unreadable += 1,
                }
                continue;
            };
            intake.rows += 1;
            if !seen.insert(xxh3_128(row.decision_id.as_bytes())) {
                intake.repeated += 1;
                continue;
            }
            take(row)?;
        }
    }
    if intake.rows == 0 {
        let (dir, why) = (dir.to_owned(), "there is no row".to_owned());
        return Err(OpsError::NoDecisions { dir, why });
    }
    Ok(intake)
}

/// The columns of an exported log, in the order in which they are written. New ones are added at
/// the end only.
const DECISIONS: Sheet = Sheet {
    name: "decisions",
    columns: &[
        ("decision_id", Text),
        ("customer_id", Text),
        ("decided_at", Time),
        ("as_of", Time),
        ("facts_as_of", Time),
        ("model", Text),
        ("feature_schema", Text),
        ("policy", Text),
        ("policy_version", Text),
        ("policy_hash", Text),
        ("segment", Text),
        ("risk_tier", Text),
        ("churn_probability", Float),
        ("clv_mean", Float),
        ("campaign", Text),
        ("propensity", Float),
        ("variant", Text),
        ("channel", Text),
        ("offer", Text),
        ("expected_value", Float),
        ("explored", Flag),
        ("holdout", Flag),
        ("would_be_campaign", Text),
        ("suppression", Text),
        ("eligible", Text),
        ("assignments", Text),
        ("row_version", Int),
        ("arm", Text),
    ],
};

fn cells(row: &DecisionRowV1) -> Vec<Cell<'_>> {
    let time = |micros: i64| Cell::Time(Timestamp::from_micros(micros));
    let text = |text: &'_ Option<String>| -> Cell<'_> {
        text.clone().map_or(Cell::Missing, |text| Cell::Text(text.into()))
    };
    let list = |found: Result<String, serde_json::Error>| {
        found.map_or(Cell::Missing, |text| Cell::Text(text.into()))
    };
    let row: [Cell<'_>; DECISIONS.columns.len()] = [
        Cell::text(Some(&row.decision_id)),
        Cell::text(Some(&row.customer)),
        time(row.decided_at),
        time(row.as_of),
        row.facts_as_of.map_or(Cell::Missing, time),
        Cell::text(Some(&row.model)),
        Cell::text(Some(&row.feature_schema)),
        Cell::text(Some(&row.policy)),
        Cell::text(Some(&row.policy_version)),
        Cell::text(Some(&row.policy_hash)),
        Cell::text(Some(&row.segment)),
        text(&row.tier),
        Cell::float(row.churn_probability),
        Cell::float(row.clv_mean),
        Cell::text(Some(&row.chosen)),
        Cell::float(Some(row.chosen_propensity)),
        text(&row.variant),
        text(&row.channel),
        text(&row.offer),
        Cell::float(row.expected_value),
        Cell::Flag(row.explored),
        Cell::Flag(row.holdout),
        text(&row.would_be),
        text(&row.suppression),
        list(serde_json::to_string(&row.eligible)),
        list(serde_json::to_string(&row.assignments)),
        i32::try_from(row.v).map_or(Cell::Missing, Cell::Int),
        text(&row.arm),
    ];
    row.into()
}

/// Writes a log as one table.
pub(super) fn export_decisions(config: &DecisionsConfig) -> Result<OpsOutcome, OpsError> {
    let DecisionsConfig { decisions, out } = config;
    let failed = |source| BatchError::Write { out: out.to_string(), source };
    let output = Output::create(out.path.as_deref()).map_err(failed)?;
    let mut sheet = sink(out, output, (DECISIONS, &DECISIONS.all())).map_err(failed)?;
    let mut take = |row: DecisionRowV1| Ok(sheet.write(&cells(&row)).map_err(failed)?);
    let intake = read_decisions(decisions, &mut take)?;
    let sha256 =
        sheet.finish().and_then(|output| output.finish(out.path.as_deref())).map_err(failed)?;
    let DecisionIntake { rows, repeated, unreadable, dropped } = intake;
    let written = rows - repeated;
    let text = format!(
        "{out}: {written} decisions; {repeated} repeated, {unreadable} unreadable, {dropped} \
         dropped when written\n"
    );
    let json = json!({
        "out": out.to_string(), "decisions": written, "repeated": repeated,
        "unreadable": unreadable, "dropped": dropped, "sha256": sha256,
    });
    Ok(OpsOutcome::fine(text, json))
}
