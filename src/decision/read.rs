//! A reader of TOML tables that finds everything wrong at once.
//!
//! In: a parsed document with byte spans. Out: typed values with their lines; whatever is missing,
//! mistyped or unknown becomes an issue instead of an end. It deliberately does not know what a
//! policy is.

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use crate::decision::issue::PolicyIssue;
use crate::decision::issue::PolicyIssueKind;
use crate::decision::issue::nearest;

/// A value and the line it stands in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) line: usize,
    pub(crate) it: T,
}

/// The issues so far, and the means to find a line.
#[derive(Debug)]
pub(crate) struct Issues {
    line_starts: Vec<usize>,
    pub(crate) found: Vec<PolicyIssue>,
}

impl Issues {
    pub(crate) fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(breaks.map(|(idx, _)| idx + 1)).collect();
        Self { line_starts, found: Vec::new() }
    }

    /// The line, from 1, of a byte.
    pub(crate) fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte).max(1)
    }

    pub(crate) fn add(&mut self, line: usize, kind: PolicyIssueKind) {
        self.found.push(PolicyIssue { line, kind });
    }
}

/// A table being read: every key must be asked for once, the rest is unknown.
#[derive(Debug)]
pub(crate) struct Section<'t> {
    /// Its name, such as `risk.override`.
    pub(crate) name: String,
    pub(crate) line: usize,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(crate) fn new(name: &str, line: usize, table: &'t DeTable<'t>) -> Self {
        Self { name: name.to_owned(), line, table, asked: Vec::new() }
    }

    /// The full name of a key, for messages.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn find(&mut self, key: &'static str, issues: &Issues) -> Option<At<&'t DeValue<'t>>> {
        self.asked.push(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(At { line: issues.line_of(name.span().start), it: value.get_ref() })
    }

    fn missing(&self, key: &'static str, issues: &mut Issues) {
        let table = if self.name.is_empty() { "top level" } else { &self.name }.to_owned();
        issues.add(self.line, PolicyIssueKind::MissingKey { table, key });
    }

    fn wrong(&self, key: &str, expected: &'static str, at: At<&DeValue<'_>>, issues: &mut Issues) {
        let (key, found) = (self.path(key), format!("a {}", at.it.type_str()));
        issues.add(at.line, PolicyIssueKind::WrongType { key, expected, found });
    }

    /// A text that may be absent.
    pub(crate) fn text_maybe(
        &mut self,
        key: &'static str,
        issues: &mut Issues,
    ) -> Option<At<&'t str>> {
        let at = self.find(key, issues)?;
        match at.it.as_str() {
            Some(it) => Some(At { line: at.line, it }),
            None => {
                self.wrong(key, "a text in quotes", at, issues);
                None
            }
        }
    }

    /// A text; its absence is an issue.
    pub(crate) fn text(&mut self, key: &'static str, issues: &mut Issues) -> Option<At<&'t str>> {
        if !self.table.iter().any(|(name, _)| name.get_ref() == key) {
            self.asked.push(key);
            self.missing(key, issues);
            return None;
        }
        self.text_maybe(key, issues)
    }

    /// A number between bounds that may be absent.
    pub(crate) fn number_maybe(
        &mut self,
        key: &'static str,
        (min, max): (f64, f64),
        issues: &mut Issues,
    ) -> Option<f64> {
        let at = self.find(key, issues)?;
        self.bounded(key, at, (min, max), issues)
    }

    fn bounded(
        &self,
        key: &str,
        at: At<&DeValue<'_>>,
        (min, max): (f64, f64),
        issues: &mut Issues,
    ) -> Option<f64> {
        let digits = match at.it {
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            DeValue::Float(float) => Some(float.as_str()),
            _ => None,
        };
        let Some(found) = digits.and_then(|digits| digits.replace('_', "").parse::<f64>().ok())
        else {
            self.wrong(key, "a number", at, issues);
            return None;
        };
        if (min..=max).contains(&found) {
            return Some(found);
        }
        let key = self.path(key);
        issues.add(at.line, PolicyIssueKind::OutOfRange { key, found, min, max });
        None
    }

    /// A number between bounds; its absence is an issue, and 0 stands in.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        bounds: (f64, f64),
        issues: &mut Issues,
    ) -> f64 {
        let n_before = issues.found.len();
        let number = self.number_maybe(key, bounds, issues);
        if number.is_none() && issues.found.len() == n_before {
            self.missing(key, issues);
        }
        number.unwrap_or(0.0)
    }

    /// A whole number up to `max`; its absence is an issue, and 0 stands in.
    pub(crate) fn count(&mut self, key: &'static str, max: u32, issues: &mut Issues) -> u32 {
        let number = self.number(key, (0.0, f64::from(max)), issues);
        if number.fract() > 0.0 {
            let line = self.find(key, issues).map_or(self.line, |at| at.line);
            let (key, found) = (self.path(key), number.to_string());
            let kind = PolicyIssueKind::WrongType { key, expected: "a whole number", found };
            issues.add(line, kind);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number was just checked to lie between 0 and a u32"
        )]
        let count = number as u32;
        count
    }

    /// Yes or no, with a default.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool, issues: &mut Issues) -> bool {
        let Some(at) = self.find(key, issues) else { return default };
        at.it.as_bool().unwrap_or_else(|| {
            self.wrong(key, "true or false", at, issues);
            default
        })
    }

    /// A list of texts that may be absent.
    pub(crate) fn texts_maybe(
        &mut self,
        key: &'static str,
        issues: &mut Issues,
    ) -> Option<At<Vec<At<&'t str>>>> {
        let at = self.find(key, issues)?;
        let texts = at.it.as_array().and_then(|items| texts_of(items, issues));
        if texts.is_none() {
            self.wrong(key, "a list of texts", at, issues);
        }
        Some(At { line: at.line, it: texts? })
    }

    /// A list of texts; its absence is an issue, and an empty list stands in.
    pub(crate) fn texts(&mut self, key: &'static str, issues: &mut Issues) -> Vec<At<&'t str>> {
        let n_before = issues.found.len();
        match self.texts_maybe(key, issues) {
            Some(texts) => texts.it,
            None => {
                if issues.found.len() == n_before {
                    self.missing(key, issues);
                }
                Vec::new()
            }
        }
    }

    /// A list of lists of texts that may be absent.
    pub(crate) fn text_lists_maybe(
        &mut self,
        key: &'static str,
        issues: &mut Issues,
    ) -> Option<At<Vec<Vec<At<&'t str>>>>> {
        let at = self.find(key, issues)?;
        let lists = at.it.as_array().and_then(|lists| {
            lists
                .iter()
                .map(|list| list.get_ref().as_array().and_then(|items| texts_of(items, issues)))
                .collect::<Option<Vec<_>>>()
        });
        if lists.is_none() {
            self.wrong(key, "a list of lists of texts", at, issues);
        }
        Some(At { line: at.line, it: lists? })
    }

    /// A table within; its absence is an issue.
    pub(crate) fn section(
        &mut self,
        key: &'static str,
        issues: &mut Issues,
    ) -> Option<Section<'t>> {
        let Some(at) = self.find(key, issues) else {
            self.missing(key, issues);
            return None;
        };
        match at.it.as_table() {
            Some(table) => Some(Self::new(&self.path(key), at.line, table)),
            None => {
                self.wrong(key, "a table", at, issues);
                None
            }
        }
    }

    /// A table within that may be absent.
    pub(crate) fn section_maybe(
        &mut self,
        key: &'static str,
        issues: &mut Issues,
    ) -> Option<Section<'t>> {
        let is_there = self.table.iter().any(|(name, _)| name.get_ref() == key);
        if !is_there {
            self.asked.push(key);
            return None;
        }
        self.section(key, issues)
    }

    /// All entries of a table keyed by names, each a number between bounds; none where it is not.
    pub(crate) fn amounts(
        &self,
        bounds: (f64, f64),
        issues: &mut Issues,
    ) -> Vec<(At<&'t str>, Option<f64>)> {
        self.table
            .iter()
            .map(|(name, value)| {
                let line = issues.line_of(name.span().start);
                let key: &'t str = name.get_ref();
                let at = At { line, it: value.get_ref() };
                (At { line, it: key }, self.bounded(key, at, bounds, issues))
            })
            .collect()
    }

    /// A list of tables; an empty one if absent.
    pub(crate) fn sections(&mut self, key: &'static str, issues: &mut Issues) -> Vec<Section<'t>> {
        let Some(at) = self.find(key, issues) else { return Vec::new() };
        let name = self.path(key);
        let tables = at.it.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| {
                    let line = issues.line_of(item.span().start);
                    item.get_ref().as_table().map(|table| Self::new(&name, line, table))
                })
                .collect::<Option<Vec<_>>>()
        });
        if tables.is_none() {
            self.wrong(key, "a list of [[tables]]", at, issues);
        }
        tables.unwrap_or_default()
    }

    /// The names of the tables within this one, for a table keyed by names.
    pub(crate) fn keyed(&self, issues: &Issues) -> Vec<(At<&'t str>, Option<Section<'t>>)> {
        self.table
            .iter()
            .map(|(name, value)| {
                let line = issues.line_of(name.span().start);
                let key: &'t str = name.get_ref();
                let section = value.get_ref().as_table();
                (At { line, it: key }, section.map(|table| Self::new(&self.path(key), line, table)))
            })
            .collect()
    }

    /// Every key not asked for is unknown.
    pub(crate) fn finish(self, issues: &mut Issues) {
        let table = if self.name.is_empty() { "top level" } else { &self.name };
        for (name, _) in self.table {
            let key: &str = name.get_ref();
            if !self.asked.contains(&key) {
                let kind = PolicyIssueKind::UnknownKey {
                    table: table.to_owned(),
                    key: key.to_owned(),
                    did_you_mean: nearest(key, self.asked.iter().copied()),
                };
                issues.add(issues.line_of(name.span().start), kind);
            }
        }
    }
}

fn texts_of<'t>(items: &'t [Spanned<DeValue<'t>>], issues: &Issues) -> Option<Vec<At<&'t str>>> {
    items
        .iter()
        .map(|item| {
            let line = issues.line_of(item.span().start);
            item.get_ref().as_str().map(|it| At { line, it })
        })
        .collect()
}
