//! What intake kept and dropped and why, and the threshold that makes it an error.
//!
//! In: the fate of each row. Out: counts, examples and text. It deliberately keeps no row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use thiserror::Error;

use super::error::IntakeError;
use super::event::EventKind;
use super::event::Feedback;
use super::issue::EventIssue;
use super::issue::excerpt;
use super::sightings::Fate;
use crate::domain::Currency;
use crate::domain::Timestamp;

/// Places remembered of each reason.
const PLACES_MAX: usize = 5;
/// Reasons named in the error of a threshold.
const REASONS_NAMED: usize = 3;
/// Names of ignored rows that are counted one by one in a file.
const IGNORED_NAMES_MAX: usize = 100;
/// Stands for the names beyond them.
const OTHERS: &str = "(others)";
/// Share of rows that may be dropped: more than one in a hundred is a mis-mapped column or a
/// broken export rather than dirt.
const DROPPED_SHARE_MAX: f64 = 0.01;

/// How often, where and how one reason to drop rows was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IssueCount {
    /// Rows dropped for it.
    pub rows: u64,
    /// The first places, as `file:row`.
    pub places: Vec<String>,
    /// The message of the first of them.
    pub example: String,
}

/// One file of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Its path as given.
    pub path: String,
    /// How it was read, such as `csv (delimiter ;, gzip)`.
    pub format: String,
    /// Rows read.
    pub rows: u64,
    /// Rows kept.
    pub kept: u64,
    /// What each column was taken for, one line each.
    pub columns_used: Vec<String>,
    /// Columns that were not used.
    pub columns_ignored: Vec<String>,
    /// What else the user should know of how the columns were chosen.
    pub notes: Vec<String>,
}

/// What intake kept and dropped and why.
///
/// `rows = kept + dropped + duplicates + other_currency + ignored + aliases`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct IntakeReport {
    /// Rows read, headers and blank lines not counted.
    pub rows: u64,
    /// Events handed on.
    pub kept: u64,
    /// Rows dropped because something was wrong with them.
    pub dropped: u64,
    /// The reasons, by code.
    pub issues: BTreeMap<&'static str, IssueCount>,
    /// Events already taken in: the same id and customer again.
    pub duplicates: u64,
    /// Kept rows equal to an earlier row of the same file (no event id to tell them apart).
    pub identical_rows: u64,
    /// Rows left out because another currency was asked for.
    pub other_currency: u64,
    /// Rows that the map of events leaves out, by what they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ignored: BTreeMap<String, u64>,
    /// Rows that say that two ids are one customer.
    #[serde(skip_serializing_if = "is_zero")]
    pub aliases: u64,
    /// Ids whose events were given to another id by those rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub merged_ids: u64,
    /// Refunds kept, those from negative purchases among them.
    pub refunds: u64,
    /// Purchases with an amount below 0, kept as refunds.
    pub negative_purchases: u64,
    /// Purchases of exactly 0.
    pub zero_amounts: u64,
    /// Distinct customers of the kept events.
    pub customers: u64,
    /// Kept events by type.
    pub types: BTreeMap<&'static str, u64>,
    /// Kept amounts by currency (`XXX`: none said).
    pub currencies: BTreeMap<String, u64>,
    /// The oldest kept event.
    #[serde(serialize_with = "as_text")]
    pub first: Option<Timestamp>,
    /// The newest kept event.
    #[serde(serialize_with = "as_text")]
    pub last: Option<Timestamp>,
    /// The files, in the order read.
    pub sources: Vec<SourceReport>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::ref_option, reason = "the signature serde asks for")]
fn as_text<S: serde::Serializer>(
    instant: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match instant {
        Some(instant) => serializer.collect_str(instant),
        None => serializer.serialize_none(),
    }
}

impl IntakeReport {
    /// Share of the rows read that were dropped, 0 for no rows.
    #[must_use]
    pub fn dropped_share(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.dropped as f64 / self.rows as f64 }
    }

    /// Counts an event that passed the rules; says whether it is taken in.
    pub(super) fn count_fate(
        &mut self,
        fate: Fate,
        kind: &EventKind,
        time: Timestamp,
        from_negative: bool,
    ) -> bool {
        self.identical_rows += u64::from(fate.is_identical);
        self.duplicates += u64::from(fate.is_duplicate);
        if fate.is_duplicate {
            return false;
        }
        self.count_kept(kind, time, from_negative);
        true
    }

    fn count_kept(&mut self, kind: &EventKind, time: Timestamp, from_negative: bool) {
        self.kept += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        *self.types.entry(type_name(kind)).or_default() += 1;
        match kind {
            EventKind::Purchase(purchase) => {
                self.zero_amounts += u64::from(purchase.amount.micros() == 0);
                self.count_currency(purchase.currency);
            }
            EventKind::Refund(refund) => {
                self.refunds += 1;
                self.negative_purchases += u64::from(from_negative);
                self.count_currency(refund.currency);
            }
            _ => {}
        }
    }

    fn count_currency(&mut self, currency: Currency) {
        // No allocation but for the first row of a currency.
        match self.currencies.get_mut(currency.as_str()) {
            Some(count) => *count += 1,
            None => {
                self.currencies.insert(currency.as_str().to_owned(), 1);
            }
        }
    }

    /// Counts `rows` lines dropped for an issue found at a place.
    pub(super) fn count_dropped(
        &mut self,
        issue: &EventIssue,
        rows: u64,
        place: impl Fn() -> String,
    ) {
        self.dropped += rows;
        let count = self.issues.entry(issue.code()).or_insert_with(|| IssueCount {
            rows: 0,
            places: Vec::new(),
            example: issue.to_string(),
        });
        count.rows += rows;
        if count.places.len() < PLACES_MAX {
            count.places.push(place());
        }
    }

    /// Counts a row that the map of events leaves out. Beyond so many names, those not yet met
    /// count together.
    pub(super) fn count_ignored(&mut self, name: &str) {
        if let Some(count) = self.ignored.get_mut(name) {
            *count += 1;
            return;
        }
        let name =
            if self.ignored.len() < IGNORED_NAMES_MAX { excerpt(name) } else { OTHERS.to_owned() };
        *self.ignored.entry(name).or_default() += 1;
    }

    /// Refuses amounts of several currencies.
    pub(super) fn check_currencies(&self) -> Result<(), IntakeError> {
        if self.currencies.len() <= 1 {
            return Ok(());
        }
        let found = self.currencies.iter().map(|(code, rows)| match code.as_str() {
            "XXX" => format!("none said: {rows} rows, see --default-currency"),
            code => format!("{code}: {rows} rows"),
        });
        Err(IntakeError::MixedCurrencies { found: found.collect::<Vec<_>>().join(", ") })
    }

    /// Adds what was counted of other rows of the same files, which come after those counted
    /// here; the lists of files must be alike or one of them empty.
    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.kept += other.kept;
        self.dropped += other.dropped;
        for (code, issue) in other.issues {
            match self.issues.get_mut(code) {
                None => drop(self.issues.insert(code, issue)),
                Some(held) => {
                    held.rows += issue.rows;
                    let room = PLACES_MAX.saturating_sub(held.places.len());
                    held.places.extend(issue.places.into_iter().take(room));
                }
            }
        }
        self.duplicates += other.duplicates;
        self.identical_rows += other.identical_rows;
        self.other_currency += other.other_currency;
        for (name, count) in other.ignored {
            *self.ignored.entry(name).or_default() += count;
        }
        self.aliases += other.aliases;
        self.merged_ids += other.merged_ids;
        self.refunds += other.refunds;
        self.negative_purchases += other.negative_purchases;
        self.zero_amounts += other.zero_amounts;
        self.customers += other.customers;
        for (name, count) in other.types {
            *self.types.entry(name).or_default() += count;
        }
        for (code, count) in other.currencies {
            *self.currencies.entry(code).or_default() += count;
        }
        self.first = match (self.first, other.first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last = self.last.max(other.last);
        if self.sources.is_empty() {
            self.sources = other.sources;
        } else {
            for (held, more) in self.sources.iter_mut().zip(other.sources) {
                held.rows += more.rows;
                held.kept += more.kept;
            }
        }
    }

    /// The reasons, most frequent first.
    fn reasons(&self) -> Vec<(&'static str, &IssueCount)> {
        let mut reasons: Vec<_> = self.issues.iter().map(|(code, count)| (*code, count)).collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(count.rows));
        reasons
    }

    /// The report as lines of text for a person.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for source in &self.sources {
            source.write_text(&mut text);
        }
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "{label:<20}{value}");
        };
        line("rows read", self.rows.to_string());
        line("events kept", self.kept.to_string());
        if let (Some(first), Some(last)) = (self.first, self.last) {
            line("first and last", format!("{first} .. {last}"));
        }
        line("customers", self.customers.to_string());
        for (label, counts) in
            [("by type", named(&self.types)), ("by currency", named(&self.currencies))]
        {
            if !counts.is_empty() {
                line(label, counts.replace("XXX", "none said"));
            }
        }
        for (label, count, note) in [
            ("amounts of 0", self.zero_amounts, "kept as purchases"),
            ("refunds", self.refunds, ""),
            ("negative purchases", self.negative_purchases, "kept as refunds"),
            ("identical rows", self.identical_rows, "kept: without event ids they may be real"),
            ("duplicates", self.duplicates, "left out: the same event id and customer again"),
            ("other currencies", self.other_currency, "left out as asked"),
            ("identity merges", self.aliases, "two ids are one customer"),
            ("ids merged", self.merged_ids, "their events are another id's"),
        ] {
            if count > 0 {
                line(
                    label,
                    if note.is_empty() { count.to_string() } else { format!("{count} ({note})") },
                );
            }
        }
        if !self.ignored.is_empty() {
            line("left out by the map", named(&self.ignored));
        }
        line("rows dropped", format!("{} ({:.2} %)", self.dropped, 100.0 * self.dropped_share()));
        for (code, count) in self.reasons() {
            let (places, example) = (count.places.join(", "), &count.example);
            let _ = writeln!(text, "  {code}: {} (first at {places}): {example}", count.rows);
        }
        text
    }
}

impl SourceReport {
    fn write_text(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{}: {}, {} rows, {} kept",
            self.path, self.format, self.rows, self.kept
        );
        for used in &self.columns_used {
            let _ = writeln!(text, "  {used}");
        }
        if !self.columns_ignored.is_empty() {
            let _ = writeln!(text, "  ignored: {}", self.columns_ignored.join(", "));
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
    }
}

fn named<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

const fn type_name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Purchase(_) => "purchase",
        EventKind::Refund(_) => "refund",
        EventKind::Activity(_) => "activity",
        EventKind::Contact(_) => "contact",
        EventKind::Feedback(Feedback::Complaint { .. }) => "complaint",
        EventKind::Feedback(Feedback::TicketOpened { .. }) => "ticket_opened",
        EventKind::Feedback(Feedback::TicketClosed { .. }) => "ticket_closed",
        EventKind::Feedback(Feedback::Nps(_)) => "nps",
        EventKind::Feedback(Feedback::Csat(_)) => "csat",
        EventKind::Profile(_) => "profile",
        EventKind::Cart(_) => "cart",
    }
}

/// How much may be dropped before the whole log is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Largest share of the rows read, 0 to 1.
    pub dropped_share_max: f64,
    /// Largest number of rows, `None` for no bound.
    pub dropped_rows_max: Option<u64>,
}

impl Default for Threshold {
    fn default() -> Self {
        Self { dropped_share_max: DROPPED_SHARE_MAX, dropped_rows_max: None }
    }
}

/// Too much was dropped, or nothing was kept.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// More rows dropped than allowed.
    #[error(
        "{dropped} of {rows} rows were dropped, at most {allowed} are allowed \
         (--max-dropped-share, --max-dropped-rows): {reasons}"
    )]
    TooManyDropped {
        /// Rows dropped.
        dropped: u64,
        /// Rows read.
        rows: u64,
        /// What is allowed.
        allowed: String,
        /// The most frequent reasons, with places and an example.
        reasons: String,
    },
    /// Not one row became an event.
    #[error("none of {rows} rows became an event: {reasons}")]
    NothingKept {
        /// Rows read.
        rows: u64,
        /// The most frequent reasons.
        reasons: String,
    },
}

impl Threshold {
    /// Refuses a log of which too much was dropped.
    ///
    /// # Errors
    /// [`ThresholdError`] naming the most frequent reasons. A share that is NaN refuses any drop.
    pub fn check(&self, report: &IntakeReport) -> Result<(), ThresholdError> {
        let reasons = || {
            let named = report.reasons().into_iter().take(REASONS_NAMED).map(|(code, count)| {
                let places = count.places.first().map_or("", String::as_str);
                format!("{code} {} times (first at {places}: {})", count.rows, count.example)
            });
            let named: Vec<String> = named.collect();
            if named.is_empty() { "no reason counted".to_owned() } else { named.join("; ") }
        };
        let share_allowed = report.dropped_share() <= self.dropped_share_max;
        let rows_allowed = self.dropped_rows_max.is_none_or(|most| report.dropped <= most);
        if report.dropped > 0 && !(share_allowed && rows_allowed) {
            let allowed = match self.dropped_rows_max {
                Some(most) if !rows_allowed => format!("{most} rows"),
                _ => format!("{} %", 100.0 * self.dropped_share_max),
            };
            return Err(ThresholdError::TooManyDropped {
                dropped: report.dropped,
                rows: report.rows,
                allowed,
                reasons: reasons(),
            });
        }
        if report.kept == 0 {
            return Err(ThresholdError::NothingKept { rows: report.rows, reasons: reasons() });
        }
        Ok(())
    }
}
