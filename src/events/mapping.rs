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
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The type given for every row is none.
    #[error("default type: {source}")]
    DefaultType {
        /// What is wrong with it.
        source: Box<EventIssueText>,
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

/// The text of an issue about a configured value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct EventIssueText(String);

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

/// A field of an event, as the mapping names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    /// Its name in messages and as an attribute.
    name: &'static str,
    /// The flag that names its column.
    flag: &'static str,
    /// Names of our own formats, taken without asking, letters and digits only.
    own: &'static [&'static str],
    /// Names that others use for it, letters and digits only, lower case.
    common: &'static [&'static str],
}

const CUSTOMER: Role = Role {
    name: "customer",
    flag: "--customer-column",
    own: &["customerid", "customer"],
    common: &[
        "custid",
        "customerno",
        "customernumber",
        "customernr",
        "customerkey",
        "customercode",
        "userid",
        "user",
        "clientid",
        "client",
        "householdid",
        "householdkey",
        "household",
        "accountid",
        "account",
        "memberid",
        "member",
        "shopperid",
        "buyerid",
        "subscriberid",
        "contactid",
        "visitorid",
        "personid",
        "cardid",
        "msno",
    ],
};
const TIME: Role = Role {
    name: "time",
    flag: "--time-column",
    own: &["eventtime", "timestamp", "time"],
    common: &[
        "date",
        "datetime",
        "day",
        "orderdate",
        "ordertime",
        "orderedat",
        "purchasedate",
        "purchasetime",
        "purchasedat",
        "transactiondate",
        "transactiontime",
        "transactiontimestamp",
        "txndate",
        "invoicedate",
        "eventdate",
        "saledate",
        "salesdate",
        "createdat",
        "ts",
    ],
};
const VALID_FROM: Role =
    Role { name: "time", flag: "--time-column", own: &["validfrom"], common: &[] };
const EVENT_TYPE: Role =
    Role { name: "type", flag: "--type-column", own: &["type", "eventtype"], common: &["event"] };
const EVENT_ID: Role =
    Role { name: "event id", flag: "--event-id-column", own: &["eventid"], common: &["eventuuid"] };
const AMOUNT: Role = Role {
    name: "amount",
    flag: "--amount-column",
    own: &["amount"],
    common: &[
        "amountpaid",
        "totalamount",
        "total",
        "totalprice",
        "totalvalue",
        "salesvalue",
        "sales",
        "salesamount",
        "spend",
        "spent",
        "revenue",
        "price",
        "value",
        "ordervalue",
        "orderamount",
        "ordertotal",
        "basketvalue",
        "grandtotal",
        "nettotal",
        "netsales",
        "paymentvalue",
        "transactionamount",
        "purchaseamount",
        "paid",
    ],
};
const ITEMS: Role = Role {
    name: "items",
    flag: "--items-column",
    own: &["items"],
    common: &["nitems", "numitems", "itemcount", "quantity", "qty", "units", "ncds", "pieces"],
};
const CATEGORY: Role = Role {
    name: "category",
    flag: "--category-column",
    own: &["category"],
    common: &["department", "productcategory", "categoryname", "topcategory"],
};
const CHANNEL: Role = Role {
    name: "channel",
    flag: "--channel-column",
    own: &["channel"],
    common: &["saleschannel", "orderchannel"],
};
const DISCOUNT: Role = Role {
    name: "discount",
    flag: "--discount-column",
    own: &["discount"],
    common: &["discountamount", "discountvalue"],
};
const CURRENCY: Role = Role {
    name: "currency",
    flag: "--currency-column",
    own: &["currency"],
    common: &["currencycode"],
};

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A log of events.
    Events,
    /// A table of customers' facts.
    Profiles,
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
            EventType::parse(text).map_err(|issue: EventIssue| MappingError::DefaultType {
                source: Box::new(EventIssueText(issue.to_string())),
            })
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
    pub(super) fn raw_event<'a, E>(
        &'a self,
        mut cell: impl FnMut(usize) -> Result<RawValue<'a>, E>,
    ) -> Result<RawEvent<'a>, E> {
        let mut raw = RawEvent { customer: id_text(cell(self.customer)?), ..RawEvent::default() };
        if let Some(idx) = self.time {
            raw.time = cell(idx)?;
        }
        raw.event_type = match self.event_type {
            Some(idx) => Some(id_text(cell(idx)?)),
            None => self.default_type.map(|event_type| Cow::Borrowed(event_type.as_str())),
        };
        if let Some(idx) = self.event_id {
            raw.id = Some(id_text(cell(idx)?));
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

/// An id as text: whole numbers by their digits, what is no id as nothing.
pub(super) fn id_text(value: RawValue<'_>) -> Cow<'_, str> {
    match value {
        RawValue::Text(text) => text,
        RawValue::Number(number) => id_of_number(number).map_or(Cow::Borrowed(""), Cow::Owned),
        _ => Cow::Borrowed(""),
    }
}

impl ColumnMapping {
    /// Finds the columns in a header.
    pub(super) fn layout(
        &self,
        header: &[String],
        purpose: Purpose,
    ) -> Result<Layout, MappingError> {
        let mut search = Search::new(header);
        let raw = &self.raw;
        let mut layout = Layout::default();
        let customer = search.column(CUSTOMER, raw.customer.as_deref())?;
        layout.customer = search.required(CUSTOMER, customer)?;
        self.find_type(&mut search, purpose, &mut layout)?;
        layout.time = match purpose {
            Purpose::Profiles => search.column(VALID_FROM, raw.time.as_deref())?,
            Purpose::Events => {
                let time = search.column(TIME, raw.time.as_deref())?;
                Some(search.required(TIME, time)?)
            }
        };
        layout.event_id = search.column(EVENT_ID, raw.event_id.as_deref())?;
        if layout.event_id.is_none() && layout.event_type.is_some() {
            // `id` beside a customer and a type is our own format; elsewhere it may be anything.
            let own = Role { own: &["id"], common: &[], ..EVENT_ID };
            layout.event_id = search.column(own, None)?;
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
            // Only an order's columns go by other people's names; other types use ours.
            let is_wanted = named.is_some() || (is_free && layout.takes(role.name));
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

/// A header being searched: each column is used at most once.
struct Search<'h> {
    header: &'h [String],
    /// Letters and digits of each name, lower case.
    keys: Vec<String>,
    taken: Vec<bool>,
    used: Vec<String>,
    notes: Vec<String>,
}

impl<'h> Search<'h> {
    fn new(header: &'h [String]) -> Self {
        let keys = header.iter().map(|name| key_of(name)).collect();
        let taken = vec![false; header.len()];
        Self { header, keys, taken, used: Vec::new(), notes: Vec::new() }
    }

    fn columns(&self) -> String {
        self.header.join(", ")
    }

    fn take(&mut self, idx: usize, role: &str, is_named: bool) {
        self.taken[idx] = true;
        let how = if is_named { "" } else { " (guessed)" };
        self.used.push(format!("{role} <- {}{how}", self.header[idx]));
    }

    /// The column a user named.
    fn named(&self, role: &str, wanted: &str, flag: &str) -> Result<usize, MappingError> {
        let mut found = (0..self.header.len()).filter(|&idx| self.header[idx] == wanted);
        match (found.next(), found.next()) {
            (Some(idx), None) => Ok(idx),
            (Some(_), Some(_)) => {
                Err(MappingError::Repeated { role: role.to_owned(), name: wanted.to_owned() })
            }
            (None, _) => Err(MappingError::NoSuchColumn {
                role: role.to_owned(),
                wanted: wanted.to_owned(),
                flag: flag.to_owned(),
                suggestion: nearest(wanted, self.header.iter().map(String::as_str))
                    .map(str::to_owned),
                found: self.columns(),
            }),
        }
    }

    fn candidates(&self, names: &[&str]) -> Vec<usize> {
        let is_free = |&idx: &usize| !self.taken[idx] && names.contains(&self.keys[idx].as_str());
        (0..self.header.len()).filter(is_free).collect()
    }

    /// The column of a field: the one named, else the one with our own name, else the only one
    /// with a common name.
    fn column(&mut self, role: Role, named: Option<&str>) -> Result<Option<usize>, MappingError> {
        if let Some(wanted) = named {
            let idx = self.named(role.name, wanted, role.flag)?;
            self.take(idx, role.name, true);
            return Ok(Some(idx));
        }
        for names in [role.own, role.common] {
            match self.candidates(names).as_slice() {
                [] => {}
                &[idx] => {
                    self.take(idx, role.name, false);
                    return Ok(Some(idx));
                }
                several => return Err(self.ambiguous(role, several)),
            }
        }
        Ok(None)
    }

    fn ambiguous(&self, role: Role, several: &[usize]) -> MappingError {
        let names: Vec<&str> = several.iter().map(|&idx| self.header[idx].as_str()).collect();
        MappingError::Ambiguous {
            role: role.name.to_owned(),
            candidates: names.join(", "),
            flag: role.flag.to_owned(),
        }
    }

    fn required(&self, role: Role, found: Option<usize>) -> Result<usize, MappingError> {
        found.ok_or_else(|| MappingError::Missing {
            role: role.name.to_owned(),
            flag: role.flag.to_owned(),
            found: self.columns(),
        })
    }

    /// The column of an order's attribute.
    fn attribute(
        &mut self,
        role: Role,
        named: Option<&str>,
        layout: &Layout,
    ) -> Result<Option<usize>, MappingError> {
        let idx = self.column(role, named)?;
        if role == AMOUNT
            && named.is_none()
            && let Some(price) = idx
            && self.keys[price] == "price"
            && let Some((items, _)) = layout.attributes.iter().find(|(_, name)| name == "items")
        {
            return Err(MappingError::UnitPrice {
                price: self.header[price].clone(),
                items: self.header[*items].clone(),
            });
        }
        Ok(idx)
    }

    /// Free columns named exactly as an attribute.
    fn own_attributes(&self, layout: &Layout) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (idx, name) in self.header.iter().enumerate() {
            let name = name.trim().to_ascii_lowercase();
            if !self.taken[idx] && layout.takes(&name) {
                found.push((idx, name));
            }
        }
        found
    }

    fn finish(self, layout: &mut Layout) {
        let free = |(idx, name): (usize, &String)| (!self.taken[idx]).then(|| name.clone());
        layout.ignored = self.header.iter().enumerate().filter_map(free).collect();
        layout.used = self.used;
        layout.notes = self.notes;
    }
}

/// Letters and digits, lower case: `Customer ID`, `customer_id` and `customerId` are one name.
fn key_of(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
