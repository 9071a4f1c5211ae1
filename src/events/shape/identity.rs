//! Which ids are one customer.
//!
//! In: pairs of a former id and the one that took its place, in any order. Out: the id that each
//! stands for. Ids that hang together are one customer, however they do and in whatever order it
//! was said; cycles do no harm. The customer goes by the id that nothing replaced, of several by
//! the smallest in byte order.

use std::collections::BTreeMap;

use crate::domain::CustomerId;
use crate::domain::Timestamp;
use crate::events::issue::EventIssue;
use crate::events::raw::RawEvent;
use crate::events::raw::RawValue;
use crate::events::report::SourceReport;
use crate::events::rows::Checked;
use crate::events::rows::RowSink;
use crate::events::rules::PREVIOUS;
use crate::events::rules::Rules;
use crate::events::rules::read_time;

/// A former id and the one that took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) previous: String,
    pub(crate) customer: String,
    /// When that was said.
    pub(crate) time: Timestamp,
}

impl Link {
    /// Checks a row that says so.
    pub(crate) fn of(raw: &RawEvent<'_>, rules: &Rules) -> Result<Self, EventIssue> {
        if raw.customer.trim().is_empty() {
            return Err(EventIssue::MissingCustomer);
        }
        let bad = |source| EventIssue::BadCustomer { source };
        CustomerId::try_new(&raw.customer).map_err(bad)?;
        let said = raw.attributes.iter().find(|(name, _)| name == PREVIOUS);
        let previous = match said {
            Some((_, RawValue::Text(text))) if !text.trim().is_empty() => text,
            _ => {
                let (field, event_type) = (PREVIOUS, "alias");
                return Err(EventIssue::MissingAttribute { field, event_type });
            }
        };
        CustomerId::try_new(previous).map_err(bad)?;
        let time = read_time(&raw.time, rules)?;
        let (previous, customer) = (previous.clone().into_owned(), raw.customer.to_string());
        Ok(Self { previous, customer, time })
    }
}

/// Which ids stand for which.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identities {
    /// By id, of those that stand for another.
    of_previous: BTreeMap<String, String>,
}

/// The ids of a log that hang together.
#[derive(Debug, Default)]
struct Union {
    places: BTreeMap<String, usize>,
    parents: Vec<usize>,
    /// Whether another id took its place.
    was_replaced: Vec<bool>,
}

impl Union {
    fn place(&mut self, id: String) -> usize {
        let next = self.parents.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            self.parents.push(next);
            self.was_replaced.push(false);
        }
        place
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            // Each second step is cut short, so paths stay short.
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn join(&mut self, previous: String, customer: String) {
        let (previous, customer) = (self.place(previous), self.place(customer));
        if previous == customer {
            return;
        }
        self.was_replaced[previous] = true;
        let (a, b) = (self.root(previous), self.root(customer));
        self.parents[a.max(b)] = a.min(b);
    }
}

impl Identities {
    /// The ids that pairs make one, in whatever order they come.
    pub(crate) fn of(links: impl IntoIterator<Item = Link>) -> Self {
        let mut union = Union::default();
        for Link { previous, customer, time: _ } in links {
            union.join(previous, customer);
        }
        let places = std::mem::take(&mut union.places);
        let mut stands_for: BTreeMap<usize, &String> = BTreeMap::new();
        // Ids come in ascending order: first those that nothing replaced, then the others.
        for replaced in [false, true] {
            for (id, place) in &places {
                if union.was_replaced[*place] == replaced {
                    let root = union.root(*place);
                    stands_for.entry(root).or_insert(id);
                }
            }
        }
        let mut of_previous = BTreeMap::new();
        for (id, place) in &places {
            let root = union.root(*place);
            if let Some(customer) = stands_for.get(&root).filter(|customer| **customer != id) {
                of_previous.insert(id.clone(), (*customer).clone());
            }
        }
        Self { of_previous }
    }

    /// The id that another one stands for; `None` for one that stands for itself.
    pub(crate) fn of_previous(&self, id: &str) -> Option<&str> {
        if self.of_previous.is_empty() {
            return None;
        }
        self.of_previous.get(id).map(String::as_str)
    }

    /// Ids that stand for another.
    pub(crate) fn n_merged(&self) -> u64 {
        self.of_previous.len() as u64
    }
}

/// Gathers what a file says of identities before an instant; what is wrong with a row is told when
/// it is read for its events.
#[derive(Debug)]
pub(crate) struct LinkSink {
    before: Timestamp,
    pub(crate) links: Vec<Link>,
}

impl LinkSink {
    pub(crate) const fn new(before: Timestamp) -> Self {
        Self { before, links: Vec::new() }
    }
}

impl RowSink for LinkSink {
    fn checked(&mut self, _: &mut SourceReport, _: Checked) {}

    fn dropped(&mut self, _: &mut SourceReport, _: u64, _: u64, _: &EventIssue) {}

    fn ignored(&mut self, _: &mut SourceReport, _: &str) {}

    fn alias(&mut self, _: &mut SourceReport, _: u64, link: Link) {
        if link.time < self.before {
            self.links.push(link);
        }
    }

    fn other_currency(&mut self, _: &mut SourceReport) {}

    fn cells<'r>(
        &mut self,
        _: &mut SourceReport,
        _: u64,
        _: Vec<(std::borrow::Cow<'r, str>, RawValue<'r>)>,
    ) {
    }
}
