//! The rows of files unchecked, for those who hand them on to a server that checks them.
//!
//! In: files, as of any log. Out: each row as it came with its instant, or why it has none. It
//! deliberately knows no duplicates and gives no ids: the server does.

use std::borrow::Cow;
use std::path::PathBuf;

use super::error::IntakeError;
use super::issue::EventIssue;
use super::mapping::Purpose;
use super::raw::RawEvent;
use super::raw::RawValue;
use super::report::IntakeReport;
use super::report::SourceReport;
use super::rows::Checked;
use super::rows::RowSink;
use super::rows::RowSpec;
use super::rules::Rules;
use super::rules::read_time;
use super::shape::Link;
use super::source::ReadSpec;
use super::source::read_source;
use crate::domain::Timestamp;

/// A row as it came.
#[derive(Debug)]
pub struct RawRow<'r> {
    /// The file.
    pub path: &'r str,
    /// The line of a text file, the row of a Parquet file.
    pub row: u64,
    /// What stands there, and its instant; the type `alias` says that two ids are one customer.
    pub event: Result<(RawEvent<'r>, Timestamp), EventIssue>,
}

/// Reads files one after the other, each row to the callback. Of the rules only those of time
/// hold.
///
/// # Errors
/// [`IntakeError`] where a file as a whole cannot be taken in.
pub fn read_raw(
    paths: &[PathBuf],
    read: &ReadSpec,
    rules: &Rules,
    out: &mut dyn FnMut(RawRow<'_>),
) -> Result<IntakeReport, IntakeError> {
    let (purpose, known_from, identities) = (Purpose::Raw, None, None);
    let spec = RowSpec { read, rules, purpose, known_from, identities };
    let mut sink = Sink { rules, report: IntakeReport::default(), out };
    for path in paths {
        let source = read_source(path, spec, None, &mut sink)?;
        sink.report.sources.push(source);
    }
    Ok(sink.report)
}

struct Sink<'s> {
    rules: &'s Rules,
    report: IntakeReport,
    out: &'s mut dyn FnMut(RawRow<'_>),
}

impl Sink<'_> {
    fn count(&mut self, source: &mut SourceReport) {
        source.rows += 1;
        self.report.rows += 1;
    }
}

impl RowSink for Sink<'_> {
    fn raw(&mut self, source: &mut SourceReport, row: u64, raw: Result<RawEvent<'_>, EventIssue>) {
        self.count(source);
        let event = raw.and_then(|raw| {
            let time = read_time(&raw.time, self.rules)?;
            Ok((raw, time))
        });
        (self.out)(RawRow { path: &source.path, row, event });
    }

    fn ignored(&mut self, source: &mut SourceReport, name: &str) {
        self.count(source);
        self.report.count_ignored(name);
    }

    // None of these comes of a row that is handed on unchecked.
    fn checked(&mut self, _: &mut SourceReport, _: Checked) {}

    fn dropped(&mut self, _: &mut SourceReport, _: u64, _: u64, _: &EventIssue) {}

    fn alias(&mut self, _: &mut SourceReport, _: u64, _: Link) {}

    fn other_currency(&mut self, _: &mut SourceReport) {}

    fn cells<'r>(&mut self, _: &mut SourceReport, _: u64, _: Vec<(Cow<'r, str>, RawValue<'r>)>) {}
}
