//! A header searched for the columns of each field, by the names that people give them.
//!
//! In: a header, and for each field the name the user gave or none. Out: positions, and the words
//! that say what each column was taken for.

use super::issue::excerpt;
use super::issue::nearest;
use super::mapping::Layout;
use super::mapping::MappingError;

/// Columns named in a message.
const COLUMNS_SHOWN: usize = 100;

/// A field of an event, as the mapping names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    /// Its name in messages and as an attribute.
    pub(super) name: &'static str,
    /// The flag that names its column.
    pub(super) flag: &'static str,
    /// Names of our own formats, taken without asking, letters and digits only.
    pub(super) own: &'static [&'static str],
    /// Names that others use for it, letters and digits only, lower case.
    pub(super) common: &'static [&'static str],
}

pub(super) const CUSTOMER: Role = Role {
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
pub(super) const TIME: Role = Role {
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
pub(super) const VALID_FROM: Role =
    Role { name: "time", flag: "--time-column", own: &["validfrom"], common: &[] };
pub(super) const EVENT_TYPE: Role =
    Role { name: "type", flag: "--type-column", own: &["type", "eventtype"], common: &["event"] };
pub(super) const EVENT_ID: Role =
    Role { name: "event id", flag: "--event-id-column", own: &["eventid"], common: &["eventuuid"] };
/// The id of our own format, where that is what the file is.
pub(super) const OWN_ID: Role = Role { own: &["id"], common: &[], ..EVENT_ID };
pub(super) const AMOUNT: Role = Role {
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
pub(super) const ITEMS: Role = Role {
    name: "items",
    flag: "--items-column",
    own: &["items"],
    common: &["nitems", "numitems", "itemcount", "quantity", "qty", "units", "ncds", "pieces"],
};
pub(super) const CATEGORY: Role = Role {
    name: "category",
    flag: "--category-column",
    own: &["category"],
    common: &["department", "productcategory", "categoryname", "topcategory"],
};
pub(super) const CHANNEL: Role = Role {
    name: "channel",
    flag: "--channel-column",
    own: &["channel"],
    common: &["saleschannel", "orderchannel"],
};
pub(super) const DISCOUNT: Role = Role {
    name: "discount",
    flag: "--discount-column",
    own: &["discount"],
    common: &["discountamount", "discountvalue"],
};
pub(super) const CURRENCY: Role = Role {
    name: "currency",
    flag: "--currency-column",
    own: &["currency"],
    common: &["currencycode"],
};

/// A header being searched: each column is used at most once.
pub(super) struct Search<'h> {
    header: &'h [String],
    /// Letters and digits of each name, lower case.
    keys: Vec<String>,
    taken: Vec<bool>,
    used: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl<'h> Search<'h> {
    pub(super) fn new(header: &'h [String]) -> Self {
        let keys = header.iter().map(|name| key_of(name)).collect();
        let taken = vec![false; header.len()];
        Self { header, keys, taken, used: Vec::new(), notes: Vec::new() }
    }

    /// The columns for a message; the first of them where the header is no sensible one.
    fn columns(&self) -> String {
        let shown = self.header.iter().take(COLUMNS_SHOWN).map(|name| excerpt(name));
        let mut columns = shown.collect::<Vec<_>>().join(", ");
        if self.header.len() > COLUMNS_SHOWN {
            columns.push_str(", ...");
        }
        columns
    }

    pub(super) fn take(&mut self, idx: usize, role: &str, is_named: bool) {
        self.taken[idx] = true;
        let how = if is_named { "" } else { " (guessed)" };
        self.used.push(format!("{role} <- {}{how}", self.header[idx]));
    }

    /// The column a user named.
    pub(super) fn named(
        &self,
        role: &str,
        wanted: &str,
        flag: &str,
    ) -> Result<usize, MappingError> {
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
    pub(super) fn column(
        &mut self,
        role: Role,
        named: Option<&str>,
    ) -> Result<Option<usize>, MappingError> {
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

    pub(super) fn required(&self, role: Role, found: Option<usize>) -> Result<usize, MappingError> {
        found.ok_or_else(|| MappingError::Missing {
            role: role.name.to_owned(),
            flag: role.flag.to_owned(),
            found: self.columns(),
        })
    }

    /// The column of an order's attribute.
    pub(super) fn attribute(
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
    pub(super) fn own_attributes(&self, layout: &Layout) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (idx, name) in self.header.iter().enumerate() {
            let name = name.trim().to_ascii_lowercase();
            if !self.taken[idx] && layout.takes(&name) {
                found.push((idx, name));
            }
        }
        found
    }

    pub(super) fn finish(self, layout: &mut Layout) {
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
