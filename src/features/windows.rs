//! Trailing windows of 1, 4, 8, 13, 26 and 52 weeks, and what changed between them.

use crate::domain::AsOf;
use crate::history::History;

use super::schema::FeatureDef;

pub(super) const FEATURES: &[FeatureDef] = &[
    FeatureDef { name: "purchase_days_4w", unit: "count", doc: "purchase days in 4 weeks" },
    FeatureDef { name: "purchase_days_8w", unit: "count", doc: "purchase days in 8 weeks" },
    FeatureDef { name: "purchase_days_13w", unit: "count", doc: "purchase days in 13 weeks" },
    FeatureDef { name: "purchase_days_26w", unit: "count", doc: "purchase days in 26 weeks" },
    FeatureDef { name: "purchase_days_52w", unit: "count", doc: "purchase days in 52 weeks" },
    FeatureDef { name: "spend_4w", unit: "money", doc: "net spend in 4 weeks" },
    FeatureDef { name: "spend_8w", unit: "money", doc: "net spend in 8 weeks" },
    FeatureDef { name: "spend_13w", unit: "money", doc: "net spend in 13 weeks" },
    FeatureDef { name: "spend_26w", unit: "money", doc: "net spend in 26 weeks" },
    FeatureDef { name: "spend_52w", unit: "money", doc: "net spend in 52 weeks" },
    FeatureDef { name: "items_13w", unit: "count", doc: "items in 13 weeks" },
    FeatureDef { name: "activities_4w", unit: "count", doc: "uses in 4 weeks" },
    FeatureDef { name: "activities_13w", unit: "count", doc: "uses in 13 weeks" },
    FeatureDef { name: "activities_52w", unit: "count", doc: "uses in 52 weeks" },
    FeatureDef { name: "orders_7d", unit: "count", doc: "orders in 7 days" },
    FeatureDef { name: "orders_7d_before_21d", unit: "count", doc: "orders in the 21 days before" },
    FeatureDef { name: "orders_28d", unit: "count", doc: "orders in 28 days" },
    FeatureDef {
        name: "orders_28d_before_84d",
        unit: "count",
        doc: "orders in the 84 days before",
    },
    FeatureDef {
        name: "trend_13w",
        unit: "ratio",
        doc: "log ratio of purchase days in 13 weeks to the 13 before, one half added to each",
    },
    FeatureDef {
        name: "trend_4w",
        unit: "ratio",
        doc: "log ratio of purchase days in 4 weeks to the 4 before, one half added to each",
    },
    FeatureDef {
        name: "spend_trend_13w",
        unit: "ratio",
        doc: "log ratio of spend in 13 weeks to the 13 before, one unit added to each",
    },
];

/// Weeks of the trailing windows.
const WEEKS: [i32; 5] = [4, 8, 13, 26, 52];

pub(super) fn extract(history: &History, as_of: AsOf, row: &mut Vec<f64>) {
    let end = row.len() + FEATURES.len();
    let tiles = history.tiles();
    let last = as_of.last_day();
    let windows = WEEKS.map(|weeks| tiles.window(last, 7 * weeks));
    row.extend(windows.iter().map(|tally| f64::from(tally.purchase_days)));
    row.extend(windows.iter().map(|tally| tally.net_spend().units()));
    row.push(f64::from(windows[2].items));
    for idx in [0, 2, 4] {
        row.push(f64::from(windows[idx].activities));
    }
    for (recent, before) in [(7, 21), (28, 84)] {
        row.push(f64::from(tiles.window(last, recent).orders));
        row.push(f64::from(tiles.window(last.plus(-recent), before).orders));
    }
    let log_ratio = |recent: f64, before: f64, add: f64| {
        ((recent.max(0.0) + add) / (before.max(0.0) + add)).ln()
    };
    let before_13w = tiles.window(last.plus(-91), 91);
    let days = |tally: &crate::history::Tally| f64::from(tally.purchase_days);
    row.push(log_ratio(days(&windows[2]), days(&before_13w), 0.5));
    row.push(log_ratio(days(&windows[0]), days(&windows[1]) - days(&windows[0]), 0.5));
    row.push(log_ratio(windows[2].net_spend().units(), before_13w.net_spend().units(), 1.0));
    debug_assert_eq!(row.len(), end, "one value a definition");
}
