//! What a purchase-count model says of a whole base: the closed type's way to the numbers that
//! plots hold against what customers did.
//!
//! In: rows of customers or the weeks of their first purchases. Out: probabilities and expected
//! numbers, from whichever model it is. It deliberately draws and judges nothing.

use super::btyd::BtydRow;
use super::count::CountModel;

impl CountModel {
    /// P(alive), in [0, 1], of a customer with these purchases: a diagnostic.
    #[must_use]
    pub fn p_alive(&self, row: &BtydRow) -> f64 {
        let BtydRow { x, t_x, t } = *row;
        match self {
            Self::BgNbd(m) => m.p_alive(x, t_x, t),
            Self::MbgNbd(m) => m.p_alive(x, t_x, t),
            Self::ParetoNbd(m) => m.p_alive(x, t_x, t),
            Self::Cnbd(m) => m.p_alive(x, t_x, t),
        }
    }

    /// Probability, in [0, 1], of at least `n` purchases within `weeks`.
    #[must_use]
    pub fn p_at_least(&self, row: &BtydRow, weeks: f64, n: u32) -> f64 {
        match self {
            Self::BgNbd(m) => m.p_at_least(row, weeks, n),
            Self::MbgNbd(m) => m.p_at_least(row, weeks, n),
            Self::ParetoNbd(m) => m.p_at_least(row, weeks, n),
            Self::Cnbd(m) => m.p_at_least(row, weeks, n),
        }
    }

    /// Expected repeat purchases of a whole base, added up from week 0 until each of `weeks`;
    /// `first_weeks` holds, a customer, the week of the first purchase on the same axis.
    #[must_use]
    pub fn expected_cumulative(&self, first_weeks: &[f64], weeks: &[f64]) -> Vec<f64> {
        match self {
            Self::BgNbd(m) => m.expected_cumulative(first_weeks, weeks),
            Self::MbgNbd(m) => m.expected_cumulative(first_weeks, weeks),
            Self::ParetoNbd(m) => m.expected_cumulative(first_weeks, weeks),
            Self::Cnbd(m) => m.expected_cumulative(first_weeks, weeks),
        }
    }
}
