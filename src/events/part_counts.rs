//! What is counted of a part, and which of its events are taken in.
//!
//! In: the records of a part in the order of the log. Out: the id of each that is taken in, and
//! numbers that add up over parts to what one intake of the whole log would have counted: all rows
//! of a customer are in one part.

use super::content_read::MoneyMove;
use super::content_read::brief_of;
use super::content_read::time_of;
use super::issue::EventIssue;
use super::record::Record;
use super::report::IntakeReport;
use super::sightings::Sightings;
use crate::domain::Currency;
use crate::domain::EventId;

/// What was counted of a part.
#[derive(Debug, Clone, Default)]
pub struct PartCounts {
    /// Events before the instant.
    pub n_events: u64,
    /// Events left out because they are not before the instant.
    pub n_after: u64,
    /// Of the files of events.
    pub(super) log: FileCounts,
    /// Of the table of facts.
    pub(super) facts: FileCounts,
    /// Rows and lines of second profiles without a time, which are dropped.
    pub(super) second_profiles: Vec<(u64, u64)>,
}

impl PartCounts {
    /// Adds those of another part.
    pub fn add(&mut self, other: Self) {
        self.n_events += other.n_events;
        self.n_after += other.n_after;
        self.log.add(other.log);
        self.facts.add(other.facts);
        self.second_profiles.extend(other.second_profiles);
    }
}

/// What was counted of the files of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct FileCounts {
    report: IntakeReport,
    /// Events kept of each file, by its place.
    kept: Vec<u64>,
}

impl FileCounts {
    fn add(&mut self, other: Self) {
        self.report.add(other.report);
        if self.kept.len() < other.kept.len() {
            self.kept.resize(other.kept.len(), 0);
        }
        for (held, more) in self.kept.iter_mut().zip(other.kept) {
            *held += more;
        }
    }

    /// Puts them into what was counted of the rows.
    pub(super) fn put_into(self, report: &mut IntakeReport) {
        report.add(self.report);
        for (source, kept) in report.sources.iter_mut().zip(self.kept) {
            source.kept += kept;
        }
    }
}

/// Where a customer was met.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    in_log: bool,
    in_facts: bool,
    /// A profile without a time of its own.
    timeless: bool,
}

/// One kind of files at work.
#[derive(Debug, Default)]
struct Kept {
    seen: Sightings,
    counts: FileCounts,
    file: usize,
    n_customers: u64,
    types: Vec<(&'static str, u64)>,
    currencies: Vec<(Currency, u64)>,
}

impl Kept {
    fn enter(&mut self, file: usize) {
        if file != self.file {
            self.seen.next_file();
            self.file = file;
        }
        if self.counts.kept.len() <= file {
            self.counts.kept.resize(file + 1, 0);
        }
    }

    /// Counts an event of that content; `None` for what is no content.
    fn count(&mut self, record: &Record<'_>, rest: &[u8]) -> Option<()> {
        let (brief, time) = (brief_of(rest)?, time_of(rest)?);
        let report = &mut self.counts.report;
        report.kept += 1;
        report.first = Some(report.first.map_or(time, |first| first.min(time)));
        report.last = report.last.max(Some(time));
        self.counts.kept[self.file] += 1;
        raise(&mut self.types, brief.type_name);
        if let Some((way, amount, currency)) = brief.money {
            match way {
                MoneyMove::Paid => report.zero_amounts += u64::from(amount.micros() == 0),
                MoneyMove::GivenBack => {
                    report.refunds += 1;
                    report.negative_purchases += u64::from(record.from_negative);
                }
            }
            raise(&mut self.currencies, currency);
        }
        Some(())
    }

    fn finish(mut self) -> FileCounts {
        let report = &mut self.counts.report;
        report.customers = self.n_customers;
        report.types = self.types.into_iter().collect();
        let currencies = self.currencies.into_iter();
        report.currencies = currencies.map(|(code, n)| (code.as_str().to_owned(), n)).collect();
        self.counts
    }
}

/// Raises a count; there are few.
fn raise<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
    }
}

/// Counts the records of a part.
#[derive(Debug)]
pub(super) struct Counter {
    n_event_files: usize,
    log: Kept,
    facts: Kept,
    counts: PartCounts,
    scratch: Vec<u8>,
}

impl Counter {
    /// For so many records at most.
    pub(super) fn new(n_event_files: usize, n_records: usize) -> Self {
        let seen = Sightings::with_room(n_records);
        let (log, facts) = (Kept { seen, ..Kept::default() }, Kept::default());
        Self { n_event_files, log, facts, counts: PartCounts::default(), scratch: Vec::new() }
    }

    /// The id of an event, where it is taken in; the outer `None` for what is no content.
    #[allow(clippy::option_option, reason = "the outer one is damage, the inner one a duplicate")]
    pub(super) fn count(
        &mut self,
        record: &Record<'_>,
        (customer, rest): (&str, &[u8]),
        met: &mut Met,
    ) -> Option<Option<EventId>> {
        let file = record.place.file();
        let (kept, is_met) = match file.checked_sub(self.n_event_files) {
            None => {
                self.log.enter(file);
                (&mut self.log, &mut met.in_log)
            }
            Some(file) => {
                self.facts.enter(file);
                (&mut self.facts, &mut met.in_facts)
            }
        };
        if let Some(lines) = record.timeless_lines
            && std::mem::replace(&mut met.timeless, true)
        {
            self.counts.second_profiles.push((record.place.row(), lines));
            return Some(None);
        }
        self.scratch.clear();
        let fate = match record.own_id {
            Some(id) => kept.seen.of_own_id(id, customer, &mut self.scratch),
            None => {
                self.scratch.extend_from_slice(record.content);
                kept.seen.of_content(&mut self.scratch)
            }
        };
        let report = &mut kept.counts.report;
        report.identical_rows += u64::from(fate.is_identical);
        report.duplicates += u64::from(fate.is_duplicate);
        if fate.is_duplicate {
            return Some(None);
        }
        kept.count(record, rest)?;
        kept.n_customers += u64::from(!std::mem::replace(is_met, true));
        Some(Some(fate.id))
    }

    /// Counts an event that is left out because it is not before the instant.
    pub(super) const fn count_after(&mut self) {
        self.counts.n_after += 1;
    }

    pub(super) fn finish(mut self, n_events: u64) -> PartCounts {
        self.counts.n_events = n_events;
        self.counts.log = self.log.finish();
        self.counts.facts = self.facts.finish();
        self.counts
    }
}

/// Puts second profiles into the report of a table of facts, by their rows.
pub(super) fn put_second_profiles(
    report: &mut IntakeReport,
    mut found: Vec<(u64, u64)>,
    path: &str,
) {
    found.sort_unstable();
    let n_lines: u64 = found.iter().map(|(_, lines)| lines).sum();
    // They were counted as rows when they were read, one each.
    report.rows += n_lines - found.len() as u64;
    if let Some(source) = report.sources.first_mut() {
        source.rows += n_lines - found.len() as u64;
    }
    for (row, lines) in found {
        report.count_dropped(&EventIssue::SecondProfile, lines, || format!("{path}:{row}"));
    }
}
