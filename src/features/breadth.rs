//! Breadth: what kinds of things a customer buys and uses.

use crate::domain::AsOf;
use crate::history::{Distinct, History};

use super::schema::FeatureDef;
use super::share;

pub(super) const FEATURES: &[FeatureDef] = &[
    FeatureDef { name: "categories", unit: "count", doc: "distinct categories bought" },
    FeatureDef { name: "categories_13w", unit: "count", doc: "distinct categories in 13 weeks" },
    FeatureDef {
        name: "category_top_share",
        unit: "share",
        doc: "share of orders in the category bought most",
    },
    FeatureDef {
        name: "category_entropy",
        unit: "score",
        doc: "entropy of orders over categories, in nats",
    },
    FeatureDef { name: "sales_channels", unit: "count", doc: "distinct places of sale used" },
    FeatureDef { name: "activity_kinds", unit: "count", doc: "distinct kinds of use" },
    FeatureDef {
        name: "activity_kinds_4w",
        unit: "count",
        doc: "distinct kinds of use in 4 weeks",
    },
    FeatureDef { name: "devices", unit: "count", doc: "distinct devices used" },
];

pub(super) fn extract(history: &History, as_of: AsOf, row: &mut Vec<f64>) {
    let end = row.len() + FEATURES.len();
    let last = as_of.last_day();
    let categories = history.categories();
    let (top_share, entropy) = concentration(categories);
    row.extend_from_slice(&[
        categories.n_distinct(),
        categories.n_recent(last, 91) as f64,
        top_share,
        entropy,
        history.sales_channels().n_distinct(),
        history.activities().n_distinct(),
        history.activities().n_recent(last, 28) as f64,
        history.devices().n_distinct(),
    ]);
    debug_assert_eq!(row.len(), end, "one value a definition");
}

/// Share of the largest count and entropy of the counts, NaN without any.
fn concentration(distinct: &Distinct) -> (f64, f64) {
    let total: f64 = distinct.kept().iter().map(|usage| f64::from(usage.count)).sum();
    let largest = distinct.top().map_or(0.0, |usage| f64::from(usage.count));
    if total <= 0.0 {
        return (f64::NAN, f64::NAN);
    }
    let entropy = distinct
        .kept()
        .iter()
        .map(|usage| {
            let part = f64::from(usage.count) / total;
            -part * part.ln()
        })
        .sum();
    (share(largest, total), entropy)
}
