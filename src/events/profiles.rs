//! Tables of customers' facts, one row a customer, as profile events.
//!
//! In: a CSV, JSONL or Parquet file with a customer column; the other columns are named as the
//! attributes of a profile, others are ignored and named in the report. Out: events and a report.
//! It deliberately guesses no time column but `valid_from`: a date in such a table may be any date.

use std::path::Path;

use super::error::IntakeError;
use super::event::Event;
use super::intake::Intake;
use super::intake::RowOutcome;
use super::report::IntakeReport;
use super::rules::Rules;
use super::source::ReadSpec;
use crate::domain::Timestamp;

/// Reads one table of facts. A row holds from its `valid_from`, else from `known_from`; of two
/// rows of one customer without `valid_from` the first holds and the second is dropped. The
/// columns of `spec` are those of this table, not those of the log.
///
/// # Errors
/// As [`Intake::read`].
pub fn read_profiles(
    path: &Path,
    spec: &ReadSpec,
    rules: &Rules,
    known_from: Timestamp,
    sink: &mut dyn FnMut(Event),
) -> Result<IntakeReport, IntakeError> {
    let mut intake = Intake::of_profiles(spec, rules, known_from);
    intake.read(path, &mut |outcome| {
        if let RowOutcome::Kept(event) = outcome {
            sink(event);
        }
    })?;
    intake.finish()
}
