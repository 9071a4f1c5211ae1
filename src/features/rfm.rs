//! Recency, frequency, money, and the customer's own rhythm.

use crate::domain::AsOf;
use crate::history::{Gaps, History};

use super::base::BaseStats;
use super::rhythm::Rhythm;
use super::schema::FeatureDef;
use super::share;

pub(super) const FEATURES: &[FeatureDef] = &[
    FeatureDef { name: "recency_days", unit: "days", doc: "days since the last purchase day" },
    FeatureDef { name: "frequency", unit: "count", doc: "repeat purchase days" },
    FeatureDef { name: "tenure_days", unit: "days", doc: "days since the first purchase day" },
    FeatureDef {
        name: "recency_share",
        unit: "share",
        doc: "days since the last purchase day as a share of the days since the first",
    },
    FeatureDef {
        name: "active_span_days",
        unit: "days",
        doc: "days from the first to the last purchase day",
    },
    FeatureDef { name: "orders", unit: "count", doc: "orders in all" },
    FeatureDef { name: "orders_per_day", unit: "ratio", doc: "orders per purchase day" },
    FeatureDef { name: "spend_total", unit: "money", doc: "spend in all, less refunds" },
    FeatureDef {
        name: "spend_per_day_mean",
        unit: "money",
        doc: "mean spend per purchase day, less refunds",
    },
    FeatureDef {
        name: "spend_repeat_mean",
        unit: "money",
        doc: "mean spend per repeat purchase day, less refunds",
    },
    FeatureDef { name: "spend_first", unit: "money", doc: "spend on the first purchase day" },
    FeatureDef {
        name: "spend_last_ratio",
        unit: "ratio",
        doc: "spend on the last purchase day against the mean purchase day",
    },
    FeatureDef { name: "items_per_order", unit: "ratio", doc: "items per order" },
    FeatureDef { name: "discount_share", unit: "share", doc: "share of orders with a discount" },
    FeatureDef { name: "refund_share", unit: "share", doc: "share of spend that was refunded" },
    FeatureDef { name: "gap_days_mean", unit: "days", doc: "mean gap between purchase days" },
    FeatureDef { name: "gap_days_sd", unit: "days", doc: "standard deviation of those gaps" },
    FeatureDef { name: "gap_days_max", unit: "days", doc: "longest of those gaps" },
    FeatureDef { name: "gap_days_last", unit: "days", doc: "newest of those gaps" },
    FeatureDef {
        name: "gap_regularity",
        unit: "ratio",
        doc: "mean log gap less log mean gap: 0 for clockwork, lower for bursts",
    },
    FeatureDef {
        name: "recency_gap_ratio",
        unit: "ratio",
        doc: "days since the last purchase against the mean gap",
    },
    FeatureDef {
        name: "recency_gap_max_ratio",
        unit: "ratio",
        doc: "days since the last purchase against the longest gap",
    },
    FeatureDef {
        name: "expected_gap_days",
        unit: "days",
        doc: "own mean gap, shrunk to the base's rhythm",
    },
    FeatureDef {
        name: "silence_prob",
        unit: "probability",
        doc: "probability of a silence this long for an active customer of this rhythm",
    },
];

/// The sufficient statistics of the buy-till-you-die models as of an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PurchaseSummary {
    /// Repeat purchase days.
    pub x: u32,
    /// Weeks from the first to the last purchase day.
    pub t_x: f64,
    /// Weeks from the first purchase day to the last observed day.
    pub t: f64,
    /// Mean spend of repeat purchase days less refunds, in units; 0 without a repeat or where
    /// refunds exceed it.
    pub spend_repeat_mean: f64,
    /// Sum over the gaps between consecutive purchase days of ln(gap in weeks); 0 without a
    /// repeat. Exact while purchases arrive within the lateness bound; a gap that the history has
    /// lost (a purchase that came after more than a year) counts as a mean one.
    pub log_gap_sum: f64,
}

/// Reads the purchase summary; none for a customer who has not bought.
#[must_use]
pub fn purchase_summary(history: &History, as_of: AsOf) -> Option<PurchaseSummary> {
    let summary = purchase_times(history, as_of)?;
    let span_days = history.last_purchase()?.1.days_since(history.first_purchase()?.day);
    let log_gap_sum = log_gap_sum(&history.gaps(), summary.x, span_days);
    Some(PurchaseSummary { log_gap_sum, ..summary })
}

/// The same without the logarithms of the gaps, which are 0: a fit looks at them, no prediction
/// does.
#[must_use]
pub fn purchase_times(history: &History, as_of: AsOf) -> Option<PurchaseSummary> {
    let first = history.first_purchase()?;
    let (_, last) = history.last_purchase()?;
    let totals = history.totals();
    let x = totals.purchase_days.saturating_sub(1);
    let repeat_spend = totals.net_spend() + -first.spend;
    let spend_repeat_mean =
        if x > 0 { (repeat_spend.units() / f64::from(x)).max(0.0) } else { 0.0 };
    // Whole days over 7, so that equal histories pool into equal rows.
    Some(PurchaseSummary {
        x,
        t_x: f64::from(last.days_since(first.day)) / 7.0,
        t: f64::from(as_of.last_day().days_since(first.day)) / 7.0,
        spend_repeat_mean,
        log_gap_sum: 0.0,
    })
}

/// The sum of ln(gap in weeks) over `x` gaps that make up `span_days`.
fn log_gap_sum(gaps: &Gaps, x: u32, span_days: i32) -> f64 {
    if x == 0 || span_days <= 0 {
        return 0.0;
    }
    let x = f64::from(x);
    // Equal gaps have the greatest sum: only lost ones can lead beyond it.
    let most = x * (f64::from(span_days) / 7.0 / x).ln();
    if gaps.count == 0 {
        return most;
    }
    most.min(gaps.sum_log * (x / f64::from(gaps.count)) - x * 7.0_f64.ln())
}

pub(super) fn extract(base: &BaseStats, history: &History, as_of: AsOf, row: &mut Vec<f64>) {
    let end = row.len() + FEATURES.len();
    let (Some(first), Some((_, last))) = (history.first_purchase(), history.last_purchase()) else {
        let start = row.len();
        row.resize(end, f64::NAN);
        // Counts have a natural zero; nothing else exists before the first purchase.
        for (slot, feature) in row[start..].iter_mut().zip(FEATURES) {
            if matches!(feature.name, "frequency" | "orders" | "spend_total") {
                *slot = 0.0;
            }
        }
        return;
    };
    let totals = history.totals();
    let recency = f64::from(as_of.last_day().days_since(last));
    let span = f64::from(last.days_since(first.day));
    let tenure = f64::from(as_of.last_day().days_since(first.day));
    let n_days = f64::from(totals.purchase_days.max(1));
    let repeats = n_days - 1.0;
    let rhythm = Rhythm { repeats: totals.purchase_days.saturating_sub(1), active_days: span };
    let orders = f64::from(totals.orders);
    let spend = totals.net_spend().units();
    let repeat_spend = spend - first.spend.units();
    let last_spend = history.tiles().window(last, 1).spend.units();
    let gaps = history.gaps();
    let mean_log = gaps.sum_log / f64::from(gaps.count);
    row.extend_from_slice(&[
        recency,
        repeats,
        tenure,
        share(recency, tenure),
        span,
        orders,
        orders / n_days,
        spend,
        spend / n_days,
        share(repeat_spend, repeats),
        first.spend.units(),
        share(last_spend * n_days, totals.spend.units()),
        f64::from(totals.items) / orders,
        f64::from(totals.discounted) / orders,
        share(totals.refunded.units(), totals.spend.units()),
        gaps.mean,
        gaps.sd,
        gaps.max,
        gaps.last,
        mean_log - gaps.mean.ln(),
        share(recency, gaps.mean),
        share(recency, gaps.max),
        base.rhythm.prior.expected_gap_days(rhythm),
        base.rhythm.prior.silence_prob(rhythm, recency),
    ]);
    debug_assert_eq!(row.len(), end, "one value a definition");
}
