//! Recency, frequency, monetary and value scores, 1 to 5.
//!
//! In: the base's values once, to find the cut points; then one customer's values. Out: scores from
//! the frozen cut points, so a score can be worked out again. It deliberately does not know how the
//! values were measured, nor any customer but the one asked for.

use thiserror::Error;

use crate::features::quantile;

/// The scores of one customer, each 1..=5 (5 best); `None` where the value is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rfm {
    /// Recency: 5 = bought most recently.
    pub r: Option<u8>,
    /// Frequency: 1 = exactly one order, 2..=5 by quartiles among repeaters.
    pub f: Option<u8>,
    /// Size of the average order.
    pub m: Option<u8>,
    /// Total spend over 728 days.
    pub v: Option<u8>,
}

/// One customer's values; a non-buyer has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RfmValues {
    /// Days since the last order, >= 0.
    pub days_since_order: Option<f64>,
    /// Purchase occasions.
    pub orders: u32,
    /// Average order value, in units of the currency.
    pub avg_order_value: Option<f64>,
    /// Total spend over 728 days, in units of the currency.
    pub spend_728d: Option<f64>,
}

/// Why no cut points can be found.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RfmError {
    /// There is no buyer to compare with.
    #[error("found no buyer, at least one is needed to find the cut points of the scores")]
    NoBuyer,
    /// A value is not finite.
    #[error("customer {row}: {field} is {found}, a finite number is needed")]
    NotFinite {
        /// Position in the base.
        row: usize,
        /// The field.
        field: &'static str,
        /// The value.
        found: f64,
    },
}

/// The cut points of a base, rising. A value above a cut belongs to the next bucket; equal values
/// therefore always share a bucket.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RfmCuts {
    /// Quintiles of days since the last order.
    pub days_since_order: Vec<f64>,
    /// Quartiles of the number of orders among repeaters.
    pub orders: Vec<f64>,
    /// Quintiles of the average order value.
    pub avg_order_value: Vec<f64>,
    /// Quintiles of spend over 728 days.
    pub spend_728d: Vec<f64>,
}

const QUINTILES: [f64; 4] = [0.2, 0.4, 0.6, 0.8];
const QUARTILES: [f64; 3] = [0.25, 0.5, 0.75];

impl RfmCuts {
    /// Finds the cut points of a base. Rows without orders are left out.
    ///
    /// # Errors
    /// [`RfmError`] where no row has an order, or a value is NaN or infinite.
    pub fn fit(base: &[RfmValues]) -> Result<Self, RfmError> {
        let mut days = Vec::new();
        let mut orders = Vec::new();
        let mut order_values = Vec::new();
        let mut spends = Vec::new();
        let mut n_buyers = 0_usize;
        for (row, values) in base.iter().enumerate().filter(|(_, values)| values.orders > 0) {
            n_buyers += 1;
            if values.orders > 1 {
                orders.push(f64::from(values.orders));
            }
            push_finite(&mut days, values.days_since_order, row, "days_since_order")?;
            push_finite(&mut order_values, values.avg_order_value, row, "avg_order_value")?;
            push_finite(&mut spends, values.spend_728d, row, "spend_728d")?;
        }
        if n_buyers == 0 {
            return Err(RfmError::NoBuyer);
        }
        Ok(Self {
            days_since_order: cuts(days, &QUINTILES),
            orders: cuts(orders, &QUARTILES),
            avg_order_value: cuts(order_values, &QUINTILES),
            spend_728d: cuts(spends, &QUINTILES),
        })
    }

    /// The scores of one customer; all `None` for a non-buyer.
    #[must_use]
    pub fn score(&self, values: &RfmValues) -> Rfm {
        if values.orders == 0 {
            return Rfm::default();
        }
        let upward = |value: Option<f64>, cuts: &[f64]| {
            value.filter(|value| value.is_finite()).map(|value| bucket(value, cuts, 1))
        };
        Rfm {
            r: upward(values.days_since_order, &self.days_since_order).map(|bucket| 6 - bucket),
            f: Some(match values.orders {
                1 => 1,
                orders => bucket(f64::from(orders), &self.orders, 2),
            }),
            m: upward(values.avg_order_value, &self.avg_order_value),
            v: upward(values.spend_728d, &self.spend_728d),
        }
    }
}

fn push_finite(
    column: &mut Vec<f64>,
    value: Option<f64>,
    row: usize,
    field: &'static str,
) -> Result<(), RfmError> {
    match value {
        Some(found) if !found.is_finite() => Err(RfmError::NotFinite { row, field, found }),
        Some(value) => {
            column.push(value);
            Ok(())
        }
        None => Ok(()),
    }
}

/// The distinct quantiles (values that occur, lower empirical definition). A cut at the greatest
/// value would leave the top bucket empty, so it is dropped unless it is the only one.
fn cuts(mut values: Vec<f64>, levels: &[f64]) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let Some(&greatest) = values.last() else { return Vec::new() };
    let mut cuts: Vec<f64> = levels.iter().map(|&level| quantile(&values, level)).collect();
    cuts.dedup_by(|later, earlier| *later <= *earlier);
    if cuts.first().is_some_and(|first| *first < greatest) {
        cuts.retain(|cut| *cut < greatest);
    }
    cuts
}

/// The bucket of a value, from `lowest` up to 5. The top bucket is 5 and the bottom one `lowest`
/// even where ties leave fewer cuts than buckets.
fn bucket(value: f64, cuts: &[f64], lowest: u8) -> u8 {
    let passed = cuts.iter().take_while(|cut| value > **cut).count();
    if passed == 0 {
        return lowest;
    }
    if passed == cuts.len() {
        return 5;
    }
    lowest.saturating_add(u8::try_from(passed).unwrap_or(5)).min(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(orders: &[u32]) -> Vec<RfmValues> {
        orders
            .iter()
            .enumerate()
            .map(|(idx, &orders)| RfmValues {
                days_since_order: Some(idx as f64),
                orders,
                avg_order_value: Some(10.0 + idx as f64),
                spend_728d: Some(10.0 * f64::from(orders) + idx as f64),
            })
            .collect()
    }

    #[test]
    fn quintiles_split_a_base_without_ties_into_fifths() {
        let base = base(&[1; 100]);
        let cuts = RfmCuts::fit(&base).unwrap();
        assert_eq!(cuts.days_since_order, vec![19.0, 39.0, 59.0, 79.0]);
        let mut n_by_score = [0; 6];
        for values in &base {
            let scores = cuts.score(values);
            n_by_score[usize::from(scores.m.unwrap())] += 1;
            assert_eq!(scores.f, Some(1));
        }
        assert_eq!(n_by_score, [0, 20, 20, 20, 20, 20]);
        assert_eq!(cuts.score(&base[0]).r, Some(5), "the most recent buyer scores 5");
        assert_eq!(cuts.score(&base[99]).r, Some(1));
    }

    #[test]
    fn frequency_is_one_for_single_orders_and_quartiles_among_repeaters() {
        let cuts = RfmCuts::fit(&base(&[1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        assert_eq!(cuts.orders, vec![2.0, 4.0, 6.0]);
        let f = |orders| cuts.score(&RfmValues { orders, ..RfmValues::default() }).f;
        assert_eq!([f(0), f(1), f(2), f(3), f(4)], [None, Some(1), Some(2), Some(3), Some(3)]);
        assert_eq!([f(5), f(6), f(7), f(100)], [Some(4), Some(4), Some(5), Some(5)]);
    }

    #[test]
    fn with_fewer_than_three_distinct_cuts_the_top_is_still_five_and_the_bottom_two() {
        let cuts = RfmCuts::fit(&base(&[1, 2, 2, 2, 2, 2, 3])).unwrap();
        let f = |orders| cuts.score(&RfmValues { orders, ..RfmValues::default() }).f;
        assert_eq!(cuts.orders, vec![2.0]);
        assert_eq!([f(2), f(3)], [Some(2), Some(5)]);
        let only_twos = RfmCuts::fit(&base(&[1, 2, 2, 2])).unwrap();
        let f = |orders| only_twos.score(&RfmValues { orders, ..RfmValues::default() }).f;
        assert_eq!([f(2), f(3)], [Some(2), Some(5)], "all alike is not all champions");
    }

    #[test]
    fn what_cannot_be_cut_is_refused_and_what_is_missing_stays_missing() {
        assert_eq!(RfmCuts::fit(&[]), Err(RfmError::NoBuyer));
        assert_eq!(RfmCuts::fit(&[RfmValues::default()]), Err(RfmError::NoBuyer));
        let mut rows = base(&[1, 2]);
        rows[1].spend_728d = Some(f64::NAN);
        assert!(matches!(
            RfmCuts::fit(&rows),
            Err(RfmError::NotFinite { row: 1, field: "spend_728d", .. })
        ));
        let cuts = RfmCuts::fit(&base(&[1, 2, 3])).unwrap();
        let bare = cuts.score(&RfmValues { orders: 2, ..RfmValues::default() });
        assert_eq!((bare.r, bare.m, bare.v), (None, None, None));
        assert!(bare.f.is_some());
    }
}
