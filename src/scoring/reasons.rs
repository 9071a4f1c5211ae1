//! Reasons in words: contributions grouped by what they mean, each with the customer's own
//! numbers.
//!
//! In: an explanation and the row it explains. Out: reasons, the weightiest first, with a stable
//! code and a sentence of facts. This file holds the one table of groups and the one set of texts.
//! A text says what is known of the customer; it deliberately never says what to change: a
//! contribution is what the model used, not what would help.

use std::borrow::Cow;
use std::fmt::Write;

use crate::domain::Currency;
use crate::features::FeatureSchema;
use crate::model::Explanation;

/// What a group of features is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReasonGroup {
    /// How long ago the last purchase is, against the own gaps.
    Rhythm,
    /// How often was bought.
    Frequency,
    /// Whether it became more or less.
    Trend,
    /// How long the customer is known.
    Tenure,
    /// How much was spent.
    Spend,
    /// Discounts and refunds.
    Price,
    /// How many kinds of things were bought, and where.
    Breadth,
    /// Use of the product, site or app.
    Usage,
    /// Messages and responses.
    Contacts,
    /// Complaints, tickets and scores given.
    Satisfaction,
    /// What the purchase-count model expects, as the trees use it.
    Expectation,
    /// Anything else.
    Other,
}

/// Which feature belongs to which group: a name, or the beginning of names. The first line that
/// fits counts.
const GROUPS: &[(&str, ReasonGroup)] = &[
    ("rhythm_model:recency_days", ReasonGroup::Rhythm),
    ("rhythm_model:active_span_days", ReasonGroup::Rhythm),
    ("rhythm_model:frequency", ReasonGroup::Frequency),
    ("rhythm_model:spend", ReasonGroup::Spend),
    ("btyd_", ReasonGroup::Expectation),
    ("recency_", ReasonGroup::Rhythm),
    ("gap_", ReasonGroup::Rhythm),
    ("expected_gap_days", ReasonGroup::Rhythm),
    ("silence_prob", ReasonGroup::Rhythm),
    ("active_span_days", ReasonGroup::Rhythm),
    ("trend_", ReasonGroup::Trend),
    ("spend_trend_", ReasonGroup::Trend),
    ("orders_7d", ReasonGroup::Trend),
    ("orders_28d", ReasonGroup::Trend),
    ("heartbeat", ReasonGroup::Trend),
    ("hb_", ReasonGroup::Trend),
    ("frequency", ReasonGroup::Frequency),
    ("orders", ReasonGroup::Frequency),
    ("purchase_days_", ReasonGroup::Frequency),
    ("tenure_days", ReasonGroup::Tenure),
    ("known_days", ReasonGroup::Tenure),
    ("spend_", ReasonGroup::Spend),
    ("items_", ReasonGroup::Spend),
    ("discount_", ReasonGroup::Price),
    ("refund_", ReasonGroup::Price),
    ("categor", ReasonGroup::Breadth),
    ("sales_channels", ReasonGroup::Breadth),
    ("activit", ReasonGroup::Usage),
    ("devices", ReasonGroup::Usage),
    ("inactive_days", ReasonGroup::Usage),
    ("sticky", ReasonGroup::Usage),
    ("contact", ReasonGroup::Contacts),
    ("open_share", ReasonGroup::Contacts),
    ("click_share", ReasonGroup::Contacts),
    ("response_", ReasonGroup::Contacts),
    ("complaints_", ReasonGroup::Satisfaction),
    ("tickets_", ReasonGroup::Satisfaction),
    ("nps_", ReasonGroup::Satisfaction),
    ("csat_", ReasonGroup::Satisfaction),
];

impl ReasonGroup {
    /// All groups.
    pub const ALL: [Self; 12] = [
        Self::Rhythm,
        Self::Frequency,
        Self::Trend,
        Self::Tenure,
        Self::Spend,
        Self::Price,
        Self::Breadth,
        Self::Usage,
        Self::Contacts,
        Self::Satisfaction,
        Self::Expectation,
        Self::Other,
    ];

    /// The group of a term of an explanation.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let found = GROUPS.iter().find(|(begin, _)| name.starts_with(begin));
        found.map_or(Self::Other, |(_, group)| *group)
    }

    /// Its stable code, for rules and for texts in other languages.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Rhythm => "PURCHASE_RHYTHM",
            Self::Frequency => "PURCHASE_FREQUENCY",
            Self::Trend => "PURCHASE_TREND",
            Self::Tenure => "TENURE",
            Self::Spend => "SPEND",
            Self::Price => "DISCOUNTS_AND_REFUNDS",
            Self::Breadth => "BREADTH",
            Self::Usage => "USAGE",
            Self::Contacts => "CONTACTS",
            Self::Satisfaction => "SATISFACTION",
            Self::Expectation => "EXPECTED_PURCHASES",
            Self::Other => "OTHER",
        }
    }
}

/// One reason for a score.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// What it is about: the code of a [`ReasonGroup`], or the column of a table.
    pub code: Cow<'static, str>,
    /// Sum of the contributions of the group, in log-odds of churn or in the log of the value.
    pub contribution: f64,
    /// The customer's own numbers, as a sentence of facts.
    pub text: String,
}

/// What the texts speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spoken<'a> {
    pub(super) schema: &'a FeatureSchema,
    pub(super) row: &'a [f64],
    pub(super) currency: Currency,
    /// Days of the churn horizon.
    pub(super) horizon_days: u16,
}

/// Contributions by group, the weightiest first; groups without any are left out. `groups` has the
/// group of each term.
pub(super) fn by_group(
    groups: &[ReasonGroup],
    explanation: &Explanation,
) -> Vec<(ReasonGroup, f64)> {
    let mut sums = ReasonGroup::ALL.map(|group| (group, 0.0));
    for (group, part) in groups.iter().zip(&explanation.contributions) {
        // The groups are listed in the order of their numbers.
        sums[*group as usize].1 += part;
    }
    let mut found: Vec<_> = sums.into_iter().filter(|(_, sum)| sum.abs() > 0.0).collect();
    found.sort_by(|(a, x), (b, y)| y.abs().total_cmp(&x.abs()).then(a.cmp(b)));
    found
}

/// The weightiest `most` that raise and the weightiest `most` that lower, of parts that stand by
/// weight already.
pub(super) fn weightiest<T: Copy>(parts: &[(T, f64)], most: usize) -> Vec<(T, f64)> {
    let (mut raising, mut lowering) = (0, 0);
    let mut found = Vec::new();
    for &(what, contribution) in parts {
        let told = if contribution > 0.0 { &mut raising } else { &mut lowering };
        if *told < most {
            *told += 1;
            found.push((what, contribution));
        }
    }
    found
}

/// The weightiest `most` reasons that raise and the weightiest `most` that lower, by weight.
pub(super) fn reasons(groups: &[(ReasonGroup, f64)], most: usize, of: Spoken<'_>) -> Vec<Reason> {
    let told = weightiest(groups, most).into_iter().map(|(group, contribution)| Reason {
        code: Cow::Borrowed(group.code()),
        contribution,
        text: of.text(group),
    });
    told.collect()
}

impl Spoken<'_> {
    /// A feature's value; none where it is missing or not part of the rows.
    fn get(&self, name: &str) -> Option<f64> {
        let position = self.schema.position(name)?;
        self.row.get(position).copied().filter(|value| value.is_finite())
    }

    fn text(&self, group: ReasonGroup) -> String {
        let said = match group {
            ReasonGroup::Rhythm => self.rhythm(),
            ReasonGroup::Frequency => self.frequency(),
            ReasonGroup::Trend => self.trend(),
            ReasonGroup::Tenure => {
                self.get("tenure_days").map(|n| format!("first purchase {} ago", days(n)))
            }
            ReasonGroup::Spend => self.spend(),
            ReasonGroup::Price => self.price(),
            ReasonGroup::Breadth => self.breadth(),
            ReasonGroup::Usage => self.usage(),
            ReasonGroup::Contacts => Some(self.contacts()),
            ReasonGroup::Satisfaction => Some(self.satisfaction()),
            ReasonGroup::Expectation => self.get("btyd_purchases_churn").map(|n| {
                format!("{n:.1} purchases expected in {} days by past rhythm", self.horizon_days)
            }),
            ReasonGroup::Other => None,
        };
        said.unwrap_or_else(|| "not known".to_owned())
    }

    fn money(&self, amount: f64) -> String {
        match self.currency {
            Currency::NONE => format!("{amount:.2}"),
            currency => format!("{amount:.2} {currency}"),
        }
    }

    fn rhythm(&self) -> Option<String> {
        let silent = self.get("recency_days")?;
        if self.get("frequency")? < 0.5 {
            return Some(match silent < 0.5 {
                true => "the first purchase was on the last day seen".to_owned(),
                false => format!("one purchase, {} ago", days(silent)),
            });
        }
        let gap = self.get("gap_days_mean").or_else(|| self.get("expected_gap_days"))?;
        let since = match silent < 0.5 {
            true => "last purchase on the last day seen".to_owned(),
            false => format!("no purchase for {}", days(silent)),
        };
        Some(format!("{since}; usual gap {}", days(gap)))
    }

    fn frequency(&self) -> Option<String> {
        let all = self.get("frequency")? + 1.0;
        let lately = self.get("purchase_days_13w")?;
        Some(format!("{} in all, {lately:.0} in the last 13 weeks", count(all, "purchase day")))
    }

    fn trend(&self) -> Option<String> {
        let lately = self.get("purchase_days_13w")?;
        let before = self.get("purchase_days_26w")? - lately;
        let said = count(lately, "purchase day");
        Some(format!("{said} in the last 13 weeks, {before:.0} in the 13 weeks before"))
    }

    fn spend(&self) -> Option<String> {
        let (each, all) = (self.get("spend_per_day_mean")?, self.get("spend_total")?);
        Some(format!("{} a purchase day, {} in all", self.money(each), self.money(all)))
    }

    fn price(&self) -> Option<String> {
        let discounted = self.get("discount_share")?;
        let mut text = format!("{} of orders with a discount", share(discounted));
        if let Some(refunded) = self.get("refund_share") {
            let _ = write!(text, ", {} of spend refunded", share(refunded));
        }
        Some(text)
    }

    fn breadth(&self) -> Option<String> {
        let categories = self.get("categories")?;
        let Some(top) = self.get("category_top_share") else {
            return Some("no category on record".to_owned());
        };
        let said = plural(categories, "category", "categories");
        Some(format!("{said} bought, {} of orders in one", share(top)))
    }

    fn usage(&self) -> Option<String> {
        let lately = count(self.get("activities_4w")?, "use");
        let mut text = format!("{lately} in the last 4 weeks");
        if let Some(inactive) = self.get("inactive_days") {
            let _ = write!(text, "; last seen {} ago", days(inactive));
        }
        Some(text)
    }

    fn contacts(&self) -> String {
        let (Some(lately), Some(all)) = (self.get("contacts_28d"), self.get("contacts")) else {
            return "no message on record".to_owned();
        };
        if all < 0.5 {
            return "no message on record".to_owned();
        }
        let mut text = format!("{} in the last 28 days", count(lately, "message"));
        if let Some(opened) = self.get("open_share") {
            let _ = write!(text, "; {} of {all:.0} opened", share(opened));
        }
        text
    }

    fn satisfaction(&self) -> String {
        let mut said = Vec::new();
        for (name, of) in
            [("complaints_serious_90d", "serious complaint"), ("tickets_open", "open ticket")]
        {
            let found = self.get(name).filter(|n| *n >= 0.5);
            said.extend(found.map(|n| count(n, of)));
        }
        let nps = self.get("nps_last");
        said.extend(nps.map(|score| format!("recommendation score {score:.0} of 10")));
        said.extend(self.get("csat_last").map(|score| format!("satisfaction {score:.0} of 5")));
        if said.is_empty() {
            "no complaint, ticket or score on record".to_owned()
        } else {
            said.join("; ")
        }
    }
}

fn plural(n: f64, one: &str, many: &str) -> String {
    let said = format!("{n:.0}");
    let word = if said == "1" { one } else { many };
    format!("{said} {word}")
}

fn count(n: f64, one: &str) -> String {
    plural(n, one, &format!("{one}s"))
}

fn days(n: f64) -> String {
    count(n, "day")
}

fn share(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row_definitions;

    #[test]
    fn every_feature_of_a_row_belongs_to_a_group() {
        for feature in row_definitions() {
            assert_ne!(ReasonGroup::of(feature.name), ReasonGroup::Other, "{}", feature.name);
        }
        for (number, group) in ReasonGroup::ALL.into_iter().enumerate() {
            assert_eq!(group as usize, number);
        }
        let mut codes = ReasonGroup::ALL.map(ReasonGroup::code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
    }

    fn check(values: &[(&str, f64)], group: ReasonGroup, wanted: &str) {
        let schema = FeatureSchema::new(&row_definitions());
        let mut row = vec![f64::NAN; schema.features().len()];
        for (name, value) in values {
            row[schema.position(name).unwrap()] = *value;
        }
        let currency = Currency::try_new("EUR").unwrap();
        let of = Spoken { schema: &schema, row: &row, currency, horizon_days: 91 };
        assert_eq!(of.text(group), wanted);
    }

    #[test]
    fn texts_carry_the_customers_own_numbers() {
        use ReasonGroup as G;

        let silent = [("recency_days", 84.0), ("frequency", 5.0), ("gap_days_mean", 21.2)];
        check(&silent, G::Rhythm, "no purchase for 84 days; usual gap 21 days");
        let once = [("recency_days", 1.0), ("frequency", 0.0)];
        check(&once, G::Rhythm, "one purchase, 1 day ago");
        check(
            &[("frequency", 12.0), ("purchase_days_13w", 1.0)],
            G::Frequency,
            "13 purchase days in all, 1 in the last 13 weeks",
        );
        check(
            &[("purchase_days_13w", 2.0), ("purchase_days_26w", 7.0)],
            G::Trend,
            "2 purchase days in the last 13 weeks, 5 in the 13 weeks before",
        );
        check(
            &[("spend_per_day_mean", 35.2), ("spend_total", 412.0)],
            G::Spend,
            "35.20 EUR a purchase day, 412.00 EUR in all",
        );
        check(&[("discount_share", 0.4)], G::Price, "40 % of orders with a discount");
        check(
            &[("categories", 1.0), ("category_top_share", 1.0)],
            G::Breadth,
            "1 category bought, 100 % of orders in one",
        );
        check(
            &[("contacts_28d", 5.0), ("contacts", 40.0), ("open_share", 0.2)],
            G::Contacts,
            "5 messages in the last 28 days; 20 % of 40 opened",
        );
        check(
            &[("tickets_open", 1.0), ("nps_last", 3.0)],
            G::Satisfaction,
            "1 open ticket; recommendation score 3 of 10",
        );
        check(&[], G::Satisfaction, "no complaint, ticket or score on record");
        check(&[], G::Rhythm, "not known");
    }

    #[test]
    fn the_weightiest_of_each_direction_are_told() {
        let schema = FeatureSchema::new(&row_definitions());
        let row = vec![f64::NAN; schema.features().len()];
        let of = Spoken { schema: &schema, row: &row, currency: Currency::NONE, horizon_days: 9 };
        let names = ["recency_days", "gap_days_mean", "frequency", "spend_total", "nps_last"];
        let contributions = vec![0.5, 0.25, -0.125, 1.0, 0.0];
        let explanation = Explanation { base_value: 0.0, total: 0.0, contributions };
        let groups = by_group(&names.map(ReasonGroup::of), &explanation);
        assert_eq!(
            groups.iter().map(|(group, _)| group.code()).collect::<Vec<_>>(),
            ["SPEND", "PURCHASE_RHYTHM", "PURCHASE_FREQUENCY"]
        );
        let told = reasons(&groups, 1, of);
        assert_eq!(
            told.iter().map(|reason| &*reason.code).collect::<Vec<_>>(),
            [ReasonGroup::Spend.code(), ReasonGroup::Frequency.code()]
        );
    }
}
