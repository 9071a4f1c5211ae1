//! Trailing windows of 1, 4, 8, 13, 26 and 52 weeks, and what changed between them.

use crate::domain::{AsOf, Day, Money};
use crate::history::{History, Tally, Tiles};

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

/// Ages in days at which a window begins or ends: all windows are sums of the spans between.
const EDGES: [i32; 7] = [7, 28, 56, 91, 112, 182, 364];
/// Spans that make up the trailing windows of 4, 8, 13, 26 and 52 weeks.
const WINDOWS: [usize; 5] = [2, 3, 4, 6, 7];

/// What the windows are made of: of each span what a feature looks at, no more.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    orders: u32,
    purchase_days: u32,
    items: u32,
    activities: u32,
    spend: Money,
    refunded: Money,
}

impl Span {
    fn add(&mut self, tally: &Tally) {
        self.orders = self.orders.saturating_add(tally.orders);
        self.purchase_days = self.purchase_days.saturating_add(tally.purchase_days);
        self.items = self.items.saturating_add(tally.items);
        self.activities = self.activities.saturating_add(tally.activities);
        self.spend += tally.spend;
        self.refunded += tally.refunded;
    }
}

/// The spans of the days aged `0..EDGES[0]`, `EDGES[0]..EDGES[1]` and so on, counted back from
/// `last`, whose age is 0.
fn spans(tiles: &Tiles, last: Day) -> [Span; EDGES.len()] {
    let mut rest = tiles.until(last);
    EDGES.map(|edge| {
        let after = last.plus(-edge);
        let mut span = Span::default();
        while let [before @ .., (day, tally)] = rest
            && *day > after
        {
            span.add(tally);
            rest = before;
        }
        span
    })
}

pub(super) fn extract(history: &History, as_of: AsOf, row: &mut Vec<f64>) {
    let end = row.len() + FEATURES.len();
    let spans = spans(history.tiles(), as_of.last_day());
    let windows = WINDOWS.map(|n_spans| &spans[..n_spans]);
    row.extend(windows.map(|window| count(window, |span| span.purchase_days)));
    row.extend(windows.map(spend));
    row.push(count(windows[2], |span| span.items));
    row.extend([0, 2, 4].map(|idx| count(windows[idx], |span| span.activities)));
    for spans in [&spans[..1], &spans[1..2], &spans[..2], &spans[2..5]] {
        row.push(count(spans, |span| span.orders));
    }
    let log_ratio = |recent: f64, before: f64, add: f64| {
        ((recent.max(0.0) + add) / (before.max(0.0) + add)).ln()
    };
    let before_13w = &spans[4..6];
    let days = |spans: &[Span]| count(spans, |span| span.purchase_days);
    row.push(log_ratio(days(windows[2]), days(before_13w), 0.5));
    row.push(log_ratio(days(windows[0]), days(windows[1]) - days(windows[0]), 0.5));
    row.push(log_ratio(spend(windows[2]), spend(before_13w), 1.0));
    debug_assert_eq!(row.len(), end, "one value a definition");
}

fn count(spans: &[Span], of: impl Fn(&Span) -> u32) -> f64 {
    f64::from(spans.iter().fold(0_u32, |sum, span| sum.saturating_add(of(span))))
}

/// Net spend, units.
fn spend(spans: &[Span]) -> f64 {
    spans.iter().fold(Money::ZERO, |sum, span| sum + (span.spend + -span.refunded)).units()
}
