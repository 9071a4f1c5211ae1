//! The rows of one file on their way through the rules.
//!
//! In: raw rows from a reader of a format. Out: each row's fate to a [`RowSink`], and what is said
//! of the file as a whole. It deliberately knows no duplicates: whoever takes the rows tells them
//! apart.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use super::error::IntakeError;
use super::event::Event;
use super::event::EventKind;
use super::issue::EventIssue;
use super::kinds::EventType;
use super::mapping::ColumnMapping;
use super::mapping::Layout;
use super::mapping::Purpose;
use super::plain::PlainEvent;
use super::plain::PlainLayout;
use super::raw::RawEvent;
use super::raw::RawValue;
use super::report::SourceReport;
use super::rules::Rules;
use super::rules::check;
use super::shape::EventMap;
use super::shape::EventShape;
use super::shape::Identities;
use super::shape::Link;
use super::source::ReadSpec;
use crate::domain::Timestamp;

/// How the rows of a file are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSpec<'s> {
    pub(super) read: &'s ReadSpec,
    pub(super) rules: &'s Rules,
    pub(super) purpose: Purpose,
    /// From when facts without a time of their own hold.
    pub(super) known_from: Option<Timestamp>,
    /// Which ids are one customer.
    pub(super) identities: Option<&'s Identities>,
}

impl RowSpec<'_> {
    /// The map that the objects of a file are read by, given what it begins with; `None` for our
    /// own form.
    pub(super) fn map_of(
        &self,
        path: &str,
        start: &[u8],
    ) -> Result<Option<Arc<EventMap>>, IntakeError> {
        if matches!(self.purpose, Purpose::Profiles | Purpose::Table) {
            return Ok(None);
        }
        // Who names columns has said what the keys are.
        let is_open = self.read.columns == ColumnMapping::default();
        let found = self.read.shape.map_of(start, is_open);
        found.map_err(|source| IntakeError::Map { path: path.to_owned(), source })
    }

    /// Refuses a map for a file that has no objects.
    pub(super) fn refuse_map(&self, path: &str) -> Result<(), IntakeError> {
        let is_log = !matches!(self.purpose, Purpose::Profiles | Purpose::Table);
        match &self.read.shape {
            EventShape::Mapped(map) if is_log => {
                let (path, shape) = (path.to_owned(), map.shape().name());
                Err(IntakeError::MapNeedsJson { path, shape })
            }
            _ => Ok(()),
        }
    }
}

/// A row that is an event. Without an id of its own the event's id is still zero.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) event: Event,
    /// The line of a text file, the row of a Parquet file.
    pub(super) row: u64,
    /// Lines it spans.
    pub(super) lines: u64,
    pub(super) has_own_id: bool,
    /// Whether it is a refund that came as a purchase below 0.
    pub(super) from_negative: bool,
    /// Whether it is a profile that named no time.
    pub(super) is_timeless: bool,
}

/// Takes the rows of a file. The source is what its report says so far; its rows are counted by
/// whoever takes them.
pub(super) trait RowSink {
    /// A row that is an event.
    fn checked(&mut self, source: &mut SourceReport, checked: Checked);

    /// Whether it takes plain rows as such; where not, all come checked.
    fn takes_plain(&self) -> bool {
        false
    }

    /// A row of one line that is an event of the plain kind, for those who take them.
    fn plain(&mut self, source: &mut SourceReport, row: u64, plain: PlainEvent<'_>) {
        debug_assert!(false, "nobody asked for row {row} of {} ({plain:?})", source.path);
    }

    /// A row, or `lines` of it, that is none.
    fn dropped(&mut self, source: &mut SourceReport, row: u64, lines: u64, issue: &EventIssue);

    /// A row that the map of events leaves out.
    fn ignored(&mut self, source: &mut SourceReport, name: &str);

    /// A row that says that two ids are one customer.
    fn alias(&mut self, source: &mut SourceReport, row: u64, link: Link);

    /// A row that is handed on unchecked.
    fn raw(
        &mut self,
        _source: &mut SourceReport,
        _row: u64,
        _raw: Result<RawEvent<'_>, EventIssue>,
    ) {
    }

    /// A row in another currency than asked for.
    fn other_currency(&mut self, source: &mut SourceReport);

    /// A row of a table.
    fn cells<'r>(
        &mut self,
        source: &mut SourceReport,
        row: u64,
        cells: Vec<(Cow<'r, str>, RawValue<'r>)>,
    );
}

/// The rows of one file on their way to a sink.
pub(super) struct Rows<'i> {
    spec: RowSpec<'i>,
    sink: &'i mut dyn RowSink,
    is_gzip: bool,
    source: SourceReport,
}

impl<'i> Rows<'i> {
    pub(super) fn new(
        spec: RowSpec<'i>,
        name: &str,
        is_gzip: bool,
        sink: &'i mut dyn RowSink,
    ) -> Self {
        let source = SourceReport {
            path: name.to_owned(),
            format: String::new(),
            rows: 0,
            kept: 0,
            columns_used: Vec::new(),
            columns_ignored: Vec::new(),
            notes: Vec::new(),
        };
        Self { spec, sink, is_gzip, source }
    }

    #[cfg(feature = "parquet")]
    pub(super) const fn rules(&self) -> &'i Rules {
        self.spec.rules
    }

    pub(super) const fn delimiter(&self) -> Option<u8> {
        self.spec.read.delimiter
    }

    pub(super) fn path(&self) -> String {
        self.source.path.clone()
    }

    pub(super) fn set_format(&mut self, format: &str) {
        self.source.format = format.to_owned();
        if self.is_gzip {
            self.source.format.push_str(", gzip");
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.source.notes.push(note);
    }

    /// Names a column that is not used, once.
    pub(super) fn ignore_column(&mut self, name: &str) {
        if !self.source.columns_ignored.iter().any(|known| known == name) {
            self.source.columns_ignored.push(name.to_owned());
        }
    }

    /// Finds the columns, and keeps the words on them for the report.
    pub(super) fn layout(&mut self, header: &[String]) -> Result<Layout, IntakeError> {
        let found = self.spec.read.columns.layout(header, self.spec.purpose);
        let layout = found.map_err(|source| IntakeError::Mapping {
            path: self.path(),
            source: Box::new(source),
        })?;
        self.source.columns_used.clone_from(&layout.used);
        self.source.columns_ignored.clone_from(&layout.ignored);
        self.source.notes.extend(layout.notes.iter().cloned());
        Ok(layout)
    }

    /// Where reading stopped: a damaged archive has its own remedy.
    pub(super) fn cannot_read(&self, row: u64, error: io::Error) -> IntakeError {
        let is_damage = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        );
        if self.is_gzip && is_damage {
            return IntakeError::BrokenGzip { path: self.path(), row, detail: error.to_string() };
        }
        IntakeError::Read { path: self.path(), row, source: error }
    }

    /// How plain rows are read, where whoever takes the rows wants them and they have a time.
    pub(super) fn plain_layout(&self, layout: &Layout) -> Option<PlainLayout> {
        let is_log = self.spec.purpose == Purpose::Events && self.spec.known_from.is_none();
        if is_log && self.sink.takes_plain() {
            PlainLayout::of(layout, self.spec.rules)
        } else {
            None
        }
    }

    /// Takes a row of one line that is plain; says whether it was.
    pub(super) fn take_plain<'a>(
        &mut self,
        row: u64,
        layout: &PlainLayout,
        cell: impl FnMut(usize) -> Result<RawValue<'a>, EventIssue>,
    ) -> bool {
        let Some(plain) = layout.read(self.spec.rules, cell) else { return false };
        // Whose id stands for another's goes the long way, where that is looked up.
        let stands_for =
            |identities: &Identities| identities.of_previous(&plain.customer).is_some();
        if self.spec.identities.is_some_and(stands_for) {
            return false;
        }
        self.sink.plain(&mut self.source, row, plain);
        true
    }

    /// Takes one row: its place, the lines it spans, and what stands in it.
    pub(super) fn take(&mut self, row: u64, lines: u64, raw: Result<RawEvent<'_>, EventIssue>) {
        let raw = match raw {
            Ok(raw) if self.spec.purpose == Purpose::Table => {
                self.sink.cells(&mut self.source, row, raw.attributes);
                return;
            }
            raw if self.spec.purpose == Purpose::Raw => {
                self.sink.raw(&mut self.source, row, raw);
                return;
            }
            raw => raw,
        };
        match raw.and_then(|raw| self.check((row, lines), raw)) {
            Ok(checked) => self.sink.checked(&mut self.source, checked),
            Err(EventIssue::OtherCurrency { .. }) => self.sink.other_currency(&mut self.source),
            Err(issue) => self.sink.dropped(&mut self.source, row, lines, &issue),
        }
    }

    /// Takes a row that the map of events leaves out.
    pub(super) fn ignore(&mut self, name: &str) {
        self.sink.ignored(&mut self.source, name);
    }

    /// Takes a row that says that two ids are one customer.
    pub(super) fn take_alias(&mut self, row: u64, raw: RawEvent<'_>) {
        if self.spec.purpose == Purpose::Raw {
            self.sink.raw(&mut self.source, row, Ok(raw));
            return;
        }
        match Link::of(&raw, self.spec.rules) {
            Ok(link) => self.sink.alias(&mut self.source, row, link),
            Err(issue) => self.sink.dropped(&mut self.source, row, 1, &issue),
        }
    }

    pub(super) const fn purpose(&self) -> Purpose {
        self.spec.purpose
    }

    /// Says by which map a file is read.
    pub(super) fn set_map(&mut self, map: &EventMap) {
        self.set_format(map.shape().format());
        self.source.columns_used = map.to_lines();
    }

    fn check(&self, (row, lines): (u64, u64), raw: RawEvent<'_>) -> Result<Checked, EventIssue> {
        let mut raw = raw;
        if let Some(identities) = self.spec.identities
            && let Some(customer) = identities.of_previous(&raw.customer)
        {
            raw.customer = Cow::Borrowed(customer);
        }
        let mut is_timeless = false;
        if let Some(known_from) = self.spec.known_from
            && raw.time.is_missing()
        {
            raw.time = RawValue::Time(known_from);
            is_timeless = true;
        }
        let (event, has_own_id) = check(&raw, self.spec.rules)?;
        let is_refund = matches!(event.kind, EventKind::Refund(_));
        let said = raw.event_type.as_deref().unwrap_or_default().trim();
        let from_negative = is_refund && said.eq_ignore_ascii_case(EventType::Purchase.as_str());
        Ok(Checked { event, row, lines, has_own_id, from_negative, is_timeless })
    }

    /// What is said of the file, all read.
    pub(super) fn finish(self) -> SourceReport {
        self.source
    }
}
