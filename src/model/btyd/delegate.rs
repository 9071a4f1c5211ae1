//! The predictions that every purchase model offers, written once.
//!
//! In: a model with a field `core` that computes them. Out: public methods with one name, one
//! meaning and one documentation on all models. A trait would have to be imported wherever a
//! model is used, and no code is generic over the models.

/// Gives a model its public predictions. Callers import `base`, `FrequencyBin` and the types of
/// the signatures.
macro_rules! purchase_predictions {
    ($model:ident) => {
        impl $model {
            /// How the model was fitted; none if it was made from stored parameters alone.
            #[must_use]
            pub const fn info(&self) -> Option<&FitInfo> {
                self.info.as_ref()
            }

            /// Probability, in [0, 1], that a customer with `x` repeat purchases, the last one
            /// `t_x` weeks after the first, has not left for good `t` weeks after the first.
            ///
            /// A diagnostic: as a churn score use [`Self::p_no_purchase`]. All predictions are
            /// finite whatever they are given: times are clamped to [0, 52200] weeks and `t_x`
            /// to `t`, NaN counts as 0, and `t_x` is not read where `x` is 0.
            #[must_use]
            pub fn p_alive(&self, x: u32, t_x: f64, t: f64) -> f64 {
                self.core.p_alive(&BtydRow { x, t_x, t })
            }

            /// Probability, in [0, 1], of no purchase in the `h` weeks after `t`; falls in `h`.
            /// Arguments as in [`Self::p_alive`].
            #[must_use]
            pub fn p_no_purchase(&self, x: u32, t_x: f64, t: f64, h: f64) -> f64 {
                self.core.p_no_purchase(&BtydRow { x, t_x, t }, h)
            }

            /// Expected purchase occasions in the `h` weeks after `t`; finite, at least 0, rises
            /// in `h`. Arguments as in [`Self::p_alive`]; a customer about whom nothing is known
            /// yet is (0, 0, 0).
            #[must_use]
            pub fn expected_purchases(&self, x: u32, t_x: f64, t: f64, h: f64) -> f64 {
                self.core.predict(&BtydRow { x, t_x, t }, h).expected_purchases
            }

            /// All three of the above at once, cheaper than one by one.
            #[must_use]
            pub fn predict(&self, row: &BtydRow, h: f64) -> Prediction {
                self.core.predict(row, h)
            }

            /// [`Self::predict`] for the first of two horizons, and expected purchases within the
            /// second: the same numbers as one by one, and quicker.
            #[must_use]
            pub fn predict_two(&self, row: &BtydRow, weeks: [f64; 2]) -> (Prediction, f64) {
                self.core.predict_two(row, weeks)
            }

            /// Expected purchases within each of two horizons, as [`Self::expected_purchases`].
            #[must_use]
            pub fn expected_two(&self, row: &BtydRow, weeks: [f64; 2]) -> [f64; 2] {
                self.core.expected_two(row, weeks)
            }

            /// Probability, in [0, 1], of at least `n` purchases in the next `h` weeks.
            #[must_use]
            pub fn p_at_least(&self, row: &BtydRow, h: f64, n: u32) -> f64 {
                self.core.p_at_least(row, h, n)
            }

            /// The smallest n such that at most n purchases in the next `h` weeks have at least
            /// the probability `level`. A level is clamped to [0, 1 - 1e-9]; NaN is the median.
            #[must_use]
            pub fn purchase_quantile(&self, row: &BtydRow, h: f64, level: f64) -> u32 {
                self.core.purchase_quantile(row, h, level)
            }

            /// Expected purchases in the next `h` weeks, each discounted to now; times expected
            /// spend this is the customer lifetime value over the horizon.
            #[must_use]
            pub fn discounted_purchases(&self, row: &BtydRow, h: f64, discount: &Discount) -> f64 {
                let scale = self.core.age_scale(row);
                discount.apply(h, scale, |t| self.core.predict(row, t).expected_purchases)
            }

            /// Expected numbers of customers with exactly 0, 1, ..., `max` repeat purchases, each
            /// customer counted over their own age T; `max` + 1 numbers, whose sum falls short
            /// of the base by those with more. Beside the actual numbers, a test of the fit.
            #[must_use]
            pub fn expected_repeat_counts(&self, rows: &PooledRows, max: u32) -> Vec<f64> {
                base::repeat_counts(rows, max, |row, h, n| self.core.p_at_least(row, h, n))
            }

            /// Expected repeat purchases of a whole base, added up from week 0 until each of
            /// `weeks`: one number for each, in their order. `first_weeks` holds, a customer, the
            /// week of the first purchase on the same axis; both are clamped to [0, 52200].
            #[must_use]
            pub fn expected_cumulative(&self, first_weeks: &[f64], weeks: &[f64]) -> Vec<f64> {
                base::cumulative(first_weeks, weeks, |row, h| {
                    self.core.predict(row, h).expected_purchases
                })
            }

            /// Mean expected purchases in the next `h` weeks of the customers with 0, 1, ...,
            /// `max` repeat purchases behind; the last bin holds those with more, too.
            #[must_use]
            pub fn expected_by_frequency(
                &self,
                rows: &PooledRows,
                h: f64,
                max: u32,
            ) -> Vec<FrequencyBin> {
                base::by_frequency(rows, max, |row| self.core.predict(row, h).expected_purchases)
            }

            /// Log-likelihood of one customer.
            #[must_use]
            pub fn log_likelihood(&self, x: u32, t_x: f64, t: f64) -> f64 {
                self.core.log_likelihood(&BtydRow { x, t_x, t })
            }
        }
    };
}
pub(super) use purchase_predictions;
