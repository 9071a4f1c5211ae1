//! Which column holds what: from flags or a config file, else guessed from the header.
//!
//! In: the user's column names and a header. Out: a [`Layout`], positions with the words to print,
//! or an error that lists the columns and the flag to use. It deliberately looks at names only,
//! never at values: a guess that depends on the data would differ from one day's file to the next.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use super::guess::AMOUNT;
use super::guess::CATEGORY;
use super::guess::CHANNEL;
use super::guess::CURRENCY;
use super::guess::CUSTOMER;
use super::guess::DISCOUNT;
use super::guess::EVENT_ID;
use super::guess::EVENT_TYPE;
use super::guess::ITEMS;
use super::guess::OWN_ID;
use super::guess::Search;
use super::guess::TIME;
use super::guess::VALID_FROM;
use super::issue::EventIssue;
use super::issue::nearest;
use super::kinds::EventType;
use super::raw::RawEvent;
use super::raw::RawValue;
use super::raw::id_of_number;

/// Columns as flags or a config file name them; all optional, what is missing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawColumns {
    /// Column of the customer id.
    pub customer: Option<String>,
    /// Column of the time.
    pub time: Option<String>,
    /// Column of the event type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Column of the event's own id.
    pub event_id: Option<String>,
    /// Column of the amount.
    pub amount: Option<String>,
    /// Column of the number of items.
    pub items: Option<String>,
    /// Column of the category.
    pub category: Option<String>,
    /// Column of the (sales or contact) channel.
    pub channel: Option<String>,
    /// Column of the discount.
    pub discount: Option<String>,
    /// Column of the currency.
    pub currency: Option<String>,
    /// Type of every row; with it no column is guessed to be the type.
    pub default_type: Option<String>,
    /// Columns of further attributes, by the attribute's name.
    pub attributes: BTreeMap<String, String>,
    /// The same value for every row, by the attribute's name.
    pub constants: BTreeMap<String, String>,
}

/// Why the columns could not be told.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The type given for every row is none.
    #[error("default type: {source}")]
    DefaultType {
        /// What is wrong with it.
        source: Box<EventIssue>,
    },
    /// An attribute no event has.
    #[error("{found:?} is not an attribute{}", hint(suggestion.as_deref()))]
    UnknownAttribute {
        /// The name found.
        found: String,
        /// The nearest name.
        suggestion: Option<String>,
    },
    /// A column that was named is not there.
    #[error(
        "there is no column {wanted:?} for the {role} ({flag}){}; columns: {found}",
        hint(suggestion.as_deref())
    )]
    NoSuchColumn {
        /// What it is for.
        role: String,
        /// The name given.
        wanted: String,
        /// The flag or key that gave it.
        flag: String,
        /// The nearest column.
        suggestion: Option<String>,
        /// The columns there are.
        found: String,
    },
    /// No column looks like it.
    #[error("no column looks like the {role}: name it with {flag}; columns: {found}")]
    Missing {
        /// What is missing.
        role: String,
        /// The flag that names it.
        flag: String,
        /// The columns there are.
        found: String,
    },
    /// Several columns look like it.
    #[error("several columns could be the {role} ({candidates}): name one with {flag}")]
    Ambiguous {
        /// What is ambiguous.
        role: String,
        /// The columns.
        candidates: String,
        /// The flag that names it.
        flag: String,
    },
    /// One name twice in the header.
    #[error("the column {name:?} for the {role} stands in the header more than once")]
    Repeated {
        /// What it is for.
        role: String,
        /// The name.
        name: String,
    },
    /// One attribute from two places.
    #[error("the attribute {attribute:?} is given by a column and as a constant: keep one")]
    GivenTwice {
        /// The attribute.
        attribute: String,
    },
    /// A price beside a quantity: their product may be the amount.
    #[error(
        "column {price:?} beside {items:?} may be the price of one item: \
         add a column of the amount paid, or say --amount-column {price}"
    )]
    UnitPrice {
        /// The price column.
        price: String,
        /// The quantity column.
        items: String,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A log of events.
    Events,
    /// A table of customers' facts.
    Profiles,
    /// A ready-made table: every column is a cell.
    Table,
    /// A log of events, of which only the identity merges are looked for.
    Links,
    /// A log of events that is handed on unchecked.
    Raw,
}

/// Columns as the user named them, checked; what is missing is guessed from each header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnMapping {
    raw: RawColumns,
    default_type: Option<EventType>,
}

impl TryFrom<RawColumns> for ColumnMapping {
    type Error = MappingError;

    /// Checks the names that need no header.
    fn try_from(raw: RawColumns) -> Result<Self, MappingError> {
        let parse = |text: &String| {
            EventType::parse(text)
                .map_err(|issue| MappingError::DefaultType { source: Box::new(issue) })
        };
        let default_type = raw.default_type.as_ref().map(parse).transpose()?;
        for attribute in raw.attributes.keys().chain(raw.constants.keys()) {
            if !EventType::ALL.iter().any(|event_type| event_type.takes(attribute)) {
                let names = EventType::ALL.iter().flat_map(|event_type| event_type.attributes());
                return Err(MappingError::UnknownAttribute {
                    found: attribute.clone(),
                    suggestion: nearest(attribute, names.copied()).map(str::to_owned),
                });
            }
        }
        Ok(Self { raw, default_type })
    }
}

/// Where a file holds what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub(super) customer: usize,
    /// Whether every column is a cell and none has a meaning of its own.
    pub(super) is_table: bool,
    pub(super) time: Option<usize>,
    pub(super) event_type: Option<usize>,
    pub(super) event_id: Option<usize>,
    /// Column and attribute.
    pub(super) attributes: Vec<(usize, String)>,
    /// Attribute and value.
    pub(super) constants: Vec<(String, String)>,
    /// The type of rows where no column holds it.
    pub(super) default_type: Option<EventType>,
    /// What each column was taken for, in words.
    pub(super) used: Vec<String>,
    pub(super) ignored: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Layout {
    /// Whether a key that was not in the header (files of JSON lines have none) is an attribute.
    pub(super) fn takes(&self, attribute: &str) -> bool {
        if self.is_table {
            return false;
        }
        match self.default_type {
            Some(event_type) => event_type.takes(attribute),
            None => EventType::ALL.iter().any(|event_type| event_type.takes(attribute)),
        }
    }

    /// The columns that are used.
    #[cfg(feature = "parquet")]
    pub(super) fn columns(&self) -> Vec<usize> {
        let roles = [Some(self.customer), self.time, self.event_type, self.event_id];
        let attributes = self.attributes.iter().map(|(idx, _)| *idx);
        roles.into_iter().flatten().chain(attributes).collect()
    }

    /// A raw event of one row, given what stands in each column.
    pub(super) fn raw_event<'a>(
        &'a self,
        mut cell: impl FnMut(usize) -> Result<RawValue<'a>, EventIssue>,
    ) -> Result<RawEvent<'a>, EventIssue> {
        if self.is_table {
            return self.raw_cells(cell);
        }
        let customer = id_text("customer", cell(self.customer)?)?;
        let mut raw = RawEvent { customer, ..RawEvent::default() };
        if let Some(idx) = self.time {
            raw.time = cell(idx)?;
        }
        raw.event_type = match self.event_type {
            Some(idx) => Some(id_text("type", cell(idx)?)?),
            None => self.default_type.map(|event_type| Cow::Borrowed(event_type.as_str())),
        };
        if let Some(idx) = self.event_id {
            raw.id = Some(id_text("event_id", cell(idx)?)?);
        }
        raw.attributes.reserve_exact(self.attributes.len() + self.constants.len());
        for (idx, attribute) in &self.attributes {
            let value = cell(*idx)?;
            if !value.is_missing() {
                raw.attributes.push((Cow::Borrowed(attribute), value));
            }
        }
        for (attribute, text) in &self.constants {
            raw.attributes.push((Cow::Borrowed(attribute), RawValue::text(text)));
        }
        Ok(raw)
    }
}

impl Layout {
    /// All cells of a row of a table, in the order of the header, missing ones included.
    fn raw_cells<'a>(
        &'a self,
        mut cell: impl FnMut(usize) -> Result<RawValue<'a>, EventIssue>,
    ) -> Result<RawEvent<'a>, EventIssue> {
        let cells = self.attributes.iter();
        let attributes = cells
            .map(|(idx, name)| Ok((Cow::Borrowed(name.as_str()), cell(*idx)?)))
            .collect::<Result<Vec<_>, EventIssue>>()?;
        Ok(RawEvent { attributes, ..RawEvent::default() })
    }

    /// Every column of a header as a cell; one without a name goes by its position.
    fn of_table(header: &[String]) -> Result<Self, MappingError> {
        let mut attributes: Vec<(usize, String)> = Vec::with_capacity(header.len());
        for (idx, name) in header.iter().enumerate() {
            let unnamed = || format!("column_{}", idx + 1);
            let name = if name.is_empty() { unnamed() } else { name.clone() };
            if attributes.iter().any(|(_, known)| *known == name) {
                return Err(MappingError::Repeated { role: "table".to_owned(), name });
            }
            attributes.push((idx, name));
        }
        Ok(Self { is_table: true, attributes, ..Self::default() })
    }
}

/// An id as text: whole numbers by their digits.
pub(super) fn id_text<'a>(field: &str, value: RawValue<'a>) -> Result<Cow<'a, str>, EventIssue> {
    let digits = match value {
        RawValue::Missing => return Ok(Cow::Borrowed("")),
        RawValue::Text(text) => return Ok(text),
        RawValue::Number(number) => id_of_number(number),
        _ => None,
    };
    digits.map(Cow::Owned).ok_or_else(|| EventIssue::WrongValueKind {
        field: field.to_owned(),
        found: value.kind(),
        wanted: "a text or a whole number",
    })
}

impl ColumnMapping {
    /// Finds the columns in a header.
    pub(super) fn layout(
        &self,
        header: &[String],
        purpose: Purpose,
    ) -> Result<Layout, MappingError> {
        if purpose == Purpose::Table {
            return Layout::of_table(header);
        }
        let mut search = Search::new(header);
        let raw = &self.raw;
        let mut layout = Layout::default();
        let customer = search.column(CUSTOMER, raw.customer.as_deref())?;
        layout.customer = search.required(CUSTOMER, customer)?;
        self.find_type(&mut search, purpose, &mut layout)?;
        layout.time = match purpose {
            Purpose::Profiles => search.column(VALID_FROM, raw.time.as_deref())?,
            Purpose::Events | Purpose::Table | Purpose::Links | Purpose::Raw => {
                let time = search.column(TIME, raw.time.as_deref())?;
                Some(search.required(TIME, time)?)
            }
        };
        layout.event_id = search.column(EVENT_ID, raw.event_id.as_deref())?;
        if layout.event_id.is_none() && layout.event_type.is_some() {
            // `id` beside a customer and a type is our own format; elsewhere it may be anything.
            layout.event_id = search.column(OWN_ID, None)?;
        }
        self.find_attributes(&mut search, &mut layout)?;
        search.finish(&mut layout);
        Ok(layout)
    }

    fn find_type(
        &self,
        search: &mut Search<'_>,
        purpose: Purpose,
        layout: &mut Layout,
    ) -> Result<(), MappingError> {
        if purpose == Purpose::Profiles {
            layout.default_type = Some(EventType::Profile);
            return Ok(());
        }
        let named = self.raw.event_type.as_deref();
        if named.is_some() || self.default_type.is_none() {
            layout.event_type = search.column(EVENT_TYPE, named)?;
            if named.is_none() && layout.event_type.is_some() {
                let note = "if the type column says something else, give --default-type purchase";
                search.notes.push(note.to_owned());
            }
        }
        if layout.event_type.is_none() {
            let default_type = self.default_type.unwrap_or(EventType::Purchase);
            layout.default_type = Some(default_type);
            if self.default_type.is_none() {
                search.notes.push("no type column: every row is a purchase".to_owned());
            }
        }
        Ok(())
    }

    fn find_attributes(
        &self,
        search: &mut Search<'_>,
        layout: &mut Layout,
    ) -> Result<(), MappingError> {
        let raw = &self.raw;
        for (attribute, column) in &raw.attributes {
            let idx = search.named(attribute, column, &format!("attributes.{attribute}"))?;
            search.take(idx, attribute, true);
            layout.attributes.push((idx, attribute.clone()));
        }
        for (role, named) in [
            (ITEMS, &raw.items),
            (AMOUNT, &raw.amount),
            (CATEGORY, &raw.category),
            (CHANNEL, &raw.channel),
            (DISCOUNT, &raw.discount),
            (CURRENCY, &raw.currency),
        ] {
            let given = |(_, attribute): &(usize, String)| attribute == role.name;
            let is_free =
                !layout.attributes.iter().any(given) && !raw.constants.contains_key(role.name);
            // Only an order's columns go by other people's names: the sales channel of a contact
            // would be taken for the channel of the message.
            let is_order = layout.default_type.is_none_or(|t| t.takes("amount"));
            let is_wanted = named.is_some() || (is_order && is_free && layout.takes(role.name));
            if !is_wanted {
                continue;
            }
            if let Some(idx) = search.attribute(role, named.as_deref(), layout)? {
                layout.attributes.push((idx, role.name.to_owned()));
            }
        }
        let is_order = layout.default_type.is_some_and(|t| t.takes("amount"));
        let has_amount = raw.constants.contains_key("amount")
            || layout.attributes.iter().any(|(_, attribute)| attribute == "amount");
        if is_order && !has_amount {
            search.required(AMOUNT, None)?;
        }
        for (idx, attribute) in search.own_attributes(layout) {
            let given = layout.attributes.iter().any(|(_, name)| *name == attribute);
            if !given && !raw.constants.contains_key(&attribute) {
                search.take(idx, &attribute, false);
                layout.attributes.push((idx, attribute));
            }
        }
        for (attribute, text) in &raw.constants {
            if layout.attributes.iter().any(|(_, name)| name == attribute) {
                return Err(MappingError::GivenTwice { attribute: attribute.clone() });
            }
            search.notes.push(format!("{attribute} is {text:?} in every row"));
            layout.constants.push((attribute.clone(), text.clone()));
        }
        Ok(())
    }
}
