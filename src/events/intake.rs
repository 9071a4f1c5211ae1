//! Files in, checked events out, one file after the other.
//!
//! In: paths, the column mapping and the rules. Out: each event to a callback, in the order of the
//! file, and a report. It keeps per row only what tells identical rows and known ids apart (28 to
//! 55 bytes a distinct row, half as much again while that table grows), and the same per customer;
//! everything else is the caller's. A whole log is read by parts instead, see [`super::parts`].

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use super::content::write_content;
use super::error::IntakeError;
use super::event::Event;
use super::issue::EventIssue;
use super::mapping::Purpose;
use super::raw::RawValue;
use super::report::IntakeReport;
use super::report::SourceReport;
use super::rows::Checked;
use super::rows::RowSink;
use super::rows::RowSpec;
use super::rules::Rules;
use super::shape::Link;
use super::sightings::Sightings;
use super::source::FileFormat;
use super::source::ReadSpec;
use super::source::read_source;
use super::source::read_text;
use crate::domain::Timestamp;

/// What became of a row.
#[derive(Debug)]
pub enum RowOutcome<'r> {
    /// It is a row of a table, and these are its cells in the order of the header.
    Cells {
        /// The line of a text file (the header is line 1), the row of a Parquet file (from 1).
        row: u64,
        /// Names and values.
        cells: Vec<(Cow<'r, str>, RawValue<'r>)>,
    },
    /// It is an event.
    Kept(Event),
    /// It is none.
    Dropped {
        /// The file.
        path: &'r str,
        /// The line of a text file (the header is line 1), the row of a Parquet file (from 1).
        row: u64,
        /// Why.
        issue: &'r EventIssue,
    },
}

/// Reads several files as one log: the same event in two of them is taken in once.
#[derive(Debug)]
pub struct Intake<'s> {
    spec: RowSpec<'s>,
    seen: Sightings,
    report: IntakeReport,
    scratch: Vec<u8>,
}

impl<'s> Intake<'s> {
    /// For logs of events.
    #[must_use]
    pub fn new(spec: &'s ReadSpec, rules: &'s Rules) -> Self {
        Self::of(RowSpec {
            read: spec,
            rules,
            purpose: Purpose::Events,
            known_from: None,
            identities: None,
        })
    }

    /// For tables of customers' facts, known from an instant where the table names none.
    #[must_use]
    pub fn of_profiles(spec: &'s ReadSpec, rules: &'s Rules, known_from: Timestamp) -> Self {
        let known_from = Some(known_from);
        let purpose = Purpose::Profiles;
        Self::of(RowSpec { read: spec, rules, purpose, known_from, identities: None })
    }

    /// For a ready-made table, whose rows are handed on as cells.
    pub(super) fn of_table(spec: &'s ReadSpec, rules: &'s Rules) -> Self {
        Self::of(RowSpec {
            read: spec,
            rules,
            purpose: Purpose::Table,
            known_from: None,
            identities: None,
        })
    }

    fn of(spec: RowSpec<'s>) -> Self {
        let (report, scratch) = (IntakeReport::default(), Vec::new());
        Self { spec, seen: Sightings::default(), report, scratch }
    }

    /// Reads one file to its end, each row's fate to the callback in the order of the file.
    ///
    /// # Errors
    /// [`IntakeError`] where the file as a whole cannot be taken in. Rows that are no events are
    /// no error. After an error the intake and what it handed on are not to be used.
    pub fn read(
        &mut self,
        path: &Path,
        out: &mut dyn FnMut(RowOutcome<'_>),
    ) -> Result<(), IntakeError> {
        let spec = self.spec;
        let source = read_source(path, spec, None, &mut Taker { intake: self, out })?;
        self.end_file(source);
        Ok(())
    }

    /// Reads text from memory or a stream, plain or gzip, as [`Intake::read`] does from a file.
    ///
    /// # Errors
    /// As [`Intake::read`]; [`IntakeError::UnknownFormat`] for Parquet, which needs a file.
    pub fn read_text(
        &mut self,
        name: &str,
        format: FileFormat,
        input: &mut dyn Read,
        out: &mut dyn FnMut(RowOutcome<'_>),
    ) -> Result<(), IntakeError> {
        let spec = self.spec;
        let taker = &mut Taker { intake: self, out };
        let source = read_text(name, Some(format), spec, input, taker)?;
        self.end_file(source);
        Ok(())
    }

    fn end_file(&mut self, source: SourceReport) {
        self.seen.next_file();
        self.report.sources.push(source);
    }

    /// Ends the intake.
    ///
    /// # Errors
    /// [`IntakeError::MixedCurrencies`] where amounts of several currencies were kept.
    pub fn finish(mut self) -> Result<IntakeReport, IntakeError> {
        self.report.customers = self.seen.n_customers() as u64;
        self.report.check_currencies()?;
        Ok(self.report)
    }
}

/// An intake at work on a file.
struct Taker<'i, 's, 'o> {
    intake: &'i mut Intake<'s>,
    out: &'i mut (dyn FnMut(RowOutcome<'_>) + 'o),
}

impl RowSink for Taker<'_, '_, '_> {
    fn checked(&mut self, source: &mut SourceReport, checked: Checked) {
        let Checked { mut event, row, lines, has_own_id, from_negative, is_timeless } = checked;
        let intake = &mut *self.intake;
        // Two profiles at one instant would leave to chance which of them holds.
        if is_timeless && !intake.seen.is_first_timeless(event.customer.as_str()) {
            self.dropped(source, row, lines, &EventIssue::SecondProfile);
            return;
        }
        source.rows += 1;
        intake.report.rows += 1;
        intake.scratch.clear();
        let fate = if has_own_id {
            intake.seen.of_own_id(event.id, event.customer.as_str(), &mut intake.scratch)
        } else {
            write_content(&event, &mut intake.scratch);
            intake.seen.of_content(&mut intake.scratch)
        };
        if !intake.report.count_fate(fate, &event.kind, event.time, from_negative) {
            return;
        }
        event.id = fate.id;
        intake.seen.see_customer(event.customer.as_str());
        source.kept += 1;
        (self.out)(RowOutcome::Kept(event));
    }

    fn dropped(&mut self, source: &mut SourceReport, row: u64, lines: u64, issue: &EventIssue) {
        source.rows += lines;
        self.intake.report.rows += lines;
        self.intake.report.count_dropped(issue, lines, || format!("{}:{row}", source.path));
        (self.out)(RowOutcome::Dropped { path: &source.path, row, issue });
    }

    fn ignored(&mut self, source: &mut SourceReport, name: &str) {
        source.rows += 1;
        self.intake.report.rows += 1;
        self.intake.report.count_ignored(name);
    }

    fn alias(&mut self, source: &mut SourceReport, row: u64, _link: Link) {
        // Rows before it were handed on already: only a whole log can take it in.
        self.dropped(source, row, 1, &EventIssue::IdentityMerge);
    }

    fn other_currency(&mut self, source: &mut SourceReport) {
        source.rows += 1;
        self.intake.report.rows += 1;
        self.intake.report.other_currency += 1;
    }

    fn cells<'r>(
        &mut self,
        source: &mut SourceReport,
        row: u64,
        cells: Vec<(Cow<'r, str>, RawValue<'r>)>,
    ) {
        source.rows += 1;
        source.kept += 1;
        self.intake.report.rows += 1;
        self.intake.report.kept += 1;
        (self.out)(RowOutcome::Cells { row, cells });
    }
}

/// Reads one file of events.
///
/// # Errors
/// As [`Intake::read`] and [`Intake::finish`].
pub fn read_events(
    path: &Path,
    spec: &ReadSpec,
    rules: &Rules,
    sink: &mut dyn FnMut(Event),
) -> Result<IntakeReport, IntakeError> {
    let mut intake = Intake::new(spec, rules);
    intake.read(path, &mut |outcome| {
        if let RowOutcome::Kept(event) = outcome {
            sink(event);
        }
    })?;
    intake.finish()
}
