//! One file, or a part of one, on its way into the parts of a log.
//!
//! In: the rows of the file. Out: records to the parts, and what was counted of the rows, which
//! adds up over files in the order of the log.

use std::borrow::Cow;
use std::io::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::error::IntakeError;
use super::event::EventKind;
use super::issue::EventIssue;
use super::plain::PlainEvent;
use super::raw::RawValue;
use super::record;
use super::record::Place;
use super::report::IntakeReport;
use super::report::SourceReport;
use super::rows::Checked;
use super::rows::RowSink;
use super::shape::Link;
use super::spill::Spill;
use crate::domain::Currency;
use crate::domain::Day;
use crate::domain::Timestamp;

/// Bytes of records gathered before they are handed on: enough to make locks rare.
const GATHERED_BYTES: usize = 1 << 20;
/// Rows after which progress is told.
const TELL_ROWS: u64 = 1 << 16;
/// Bits of the hash that are not the shard of a customer.
const SHARD_SHIFT: u32 = 54;

/// What time and money the rows of a log span, duplicates among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Span {
    /// The oldest event before the instant.
    pub(super) first: Option<Timestamp>,
    /// First and last day of an event before the instant.
    pub(super) days: Option<(Day, Day)>,
    /// Events before the instant.
    pub(super) n_before: u64,
    /// Events at or after it.
    pub(super) n_after: u64,
    /// All events.
    pub(super) n_events: u64,
    /// Currencies of amounts.
    pub(super) currencies: Vec<Currency>,
}

impl Span {
    /// The span of all units.
    pub(super) fn of(units: &[UnitDone]) -> Self {
        let mut all = Self::default();
        for UnitDone { span, .. } in units {
            all.first = match (all.first, span.first) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            all.days = match (all.days, span.days) {
                (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                (a, b) => a.or(b),
            };
            all.n_before += span.n_before;
            all.n_after += span.n_after;
            all.n_events += span.n_events;
            span.currencies.iter().for_each(|code| all.see_currency(*code));
        }
        all
    }

    fn see(&mut self, (time, day): (Timestamp, Day), code: Option<Currency>, before: Timestamp) {
        self.n_events += 1;
        if let Some(code) = code {
            self.see_currency(code);
        }
        if time >= before {
            self.n_after += 1;
            return;
        }
        self.n_before += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.days = Some(match self.days {
            None => (day, day),
            Some((first, last)) => (first.min(day), last.max(day)),
        });
    }

    fn see_currency(&mut self, code: Currency) {
        if self.currencies.last() != Some(&code) && !self.currencies.contains(&code) {
            self.currencies.push(code);
        }
    }
}

/// What was read of a unit.
#[derive(Debug)]
pub(super) struct UnitDone {
    file: u32,
    report: IntakeReport,
    source: SourceReport,
    pub(super) span: Span,
    pub(super) rejects: Vec<u8>,
}

impl UnitDone {
    /// What was counted of the rows of so many files, given their units in the order of the log.
    pub(super) fn report(units: Vec<Self>, n_files: usize) -> IntakeReport {
        let mut all = IntakeReport::default();
        let mut last_file = None;
        let mut sources: Vec<SourceReport> = Vec::with_capacity(n_files);
        for UnitDone { file, report, source, span, .. } in units {
            all.add(report);
            all.kept += span.n_events;
            match sources.last_mut() {
                Some(held) if last_file == Some(file) => {
                    held.rows += source.rows;
                    // A key that comes late is named by the part it comes in.
                    for name in source.columns_ignored {
                        if !held.columns_ignored.contains(&name) {
                            held.columns_ignored.push(name);
                        }
                    }
                }
                _ => sources.push(source),
            }
            last_file = Some(file);
        }
        all.sources = sources;
        all
    }
}

/// A unit at work.
pub(super) struct Unit<'u> {
    file: u32,
    spill: &'u Spill,
    before: Timestamp,
    /// Takes only one shard, the first number, of so many.
    pub(super) shard: Option<(u16, u16)>,
    pub(super) with_rejects: bool,
    /// Whether identities were gathered before.
    pub(super) knows_identities: bool,
    /// Told now and then of rows read since.
    pub(super) progress: Option<&'u mut dyn FnMut(u64)>,
    n_untold: u64,
    gathered: Vec<Vec<u8>>,
    n_gathered: usize,
    report: IntakeReport,
    span: Span,
    rejects: Vec<u8>,
    failed: Option<IntakeError>,
}

impl<'u> Unit<'u> {
    pub(super) fn new(file: u32, spill: &'u Spill, before: Timestamp) -> Self {
        Self {
            file,
            spill,
            before,
            shard: None,
            with_rejects: false,
            knows_identities: true,
            progress: None,
            n_untold: 0,
            gathered: vec![Vec::new(); spill.n_parts()],
            n_gathered: 0,
            report: IntakeReport::default(),
            span: Span::default(),
            rejects: Vec::new(),
            failed: None,
        }
    }

    fn count_rows(&mut self, source: &mut SourceReport, rows: u64) {
        source.rows += rows;
        self.report.rows += rows;
        self.n_untold += rows;
        if self.n_untold >= TELL_ROWS
            && let Some(progress) = &mut self.progress
        {
            progress(self.n_untold);
            self.n_untold = 0;
        }
    }

    /// Puts a record to those of its part, if its customer is of the shard asked for.
    fn gather(&mut self, customer: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let hash = xxh3_64(customer.as_bytes());
        #[allow(clippy::cast_possible_truncation, reason = "64 - 54 bits fit into 16")]
        let place = (hash >> SHARD_SHIFT) as u16;
        if self.shard.is_some_and(|(shard, shards)| place % shards != shard) {
            return;
        }
        // Parts are a power of two: the highest bits choose.
        let shift = u64::BITS - self.spill.n_parts().trailing_zeros();
        #[allow(clippy::cast_possible_truncation, reason = "below the number of parts")]
        let records = &mut self.gathered[(hash >> shift) as usize];
        let before = records.len();
        write(records);
        self.n_gathered += records.len() - before;
        if self.n_gathered >= GATHERED_BYTES {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        self.n_gathered = 0;
        for (part, records) in self.gathered.iter_mut().enumerate() {
            if self.failed.is_none() && !records.is_empty() {
                self.failed = self.spill.append(part, records).err();
            }
            records.clear();
        }
    }

    /// Ends the unit.
    pub(super) fn finish(mut self, source: SourceReport) -> Result<UnitDone, IntakeError> {
        self.hand_on();
        if let Some(progress) = &mut self.progress {
            progress(self.n_untold);
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(UnitDone {
                file: self.file,
                report: self.report,
                source,
                span: self.span,
                rejects: self.rejects,
            }),
        }
    }
}

impl RowSink for Unit<'_> {
    fn checked(&mut self, source: &mut SourceReport, checked: Checked) {
        self.count_rows(source, 1);
        let event = &checked.event;
        let code = match &event.kind {
            EventKind::Purchase(purchase) => Some(purchase.currency),
            EventKind::Refund(refund) => Some(refund.currency),
            _ => None,
        };
        self.span.see((event.time, event.day), code, self.before);
        let place = Place::new(self.file, checked.row);
        self.gather(event.customer.as_str(), |out| record::write(&checked, place, out));
    }

    fn takes_plain(&self) -> bool {
        true
    }

    fn plain(&mut self, source: &mut SourceReport, row: u64, plain: PlainEvent<'_>) {
        self.count_rows(source, 1);
        self.span.see((plain.time, plain.day), plain.currency(), self.before);
        let place = Place::new(self.file, row);
        self.gather(&plain.customer, |out| record::write_plain(&plain, place, out));
    }

    fn dropped(&mut self, source: &mut SourceReport, row: u64, lines: u64, issue: &EventIssue) {
        self.count_rows(source, lines);
        self.report.count_dropped(issue, lines, || format!("{}:{row}", source.path));
        if self.with_rejects {
            write_reject(&mut self.rejects, &source.path, row, issue);
        }
    }

    fn ignored(&mut self, source: &mut SourceReport, name: &str) {
        self.count_rows(source, 1);
        self.report.count_ignored(name);
    }

    fn alias(&mut self, source: &mut SourceReport, row: u64, _link: Link) {
        self.count_rows(source, 1);
        self.report.aliases += 1;
        if !self.knows_identities && self.failed.is_none() {
            self.failed = Some(IntakeError::AliasOnStdin { row });
        }
    }

    fn other_currency(&mut self, source: &mut SourceReport) {
        self.count_rows(source, 1);
        self.report.other_currency += 1;
    }

    fn cells<'r>(
        &mut self,
        _source: &mut SourceReport,
        _row: u64,
        _cells: Vec<(Cow<'r, str>, RawValue<'r>)>,
    ) {
        // A log has no cells: only a table is read as such.
    }
}

/// One line of CSV: file, row, code, reason.
pub(super) fn write_reject(out: &mut Vec<u8>, path: &str, row: u64, issue: &EventIssue) {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let (path, reason) = (quoted(path), quoted(&issue.to_string()));
    // Writing to memory cannot fail.
    let _ = writeln!(out, "{path},{row},{},{reason}", issue.code());
}
