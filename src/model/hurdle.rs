//! Value in two parts: whether anything is bought at all, times what is spent if so.
//!
//! In: the columns of a row, who came back and what they spent. Out: expected spend within the
//! horizon that the labels are of. Who comes back is asked of the same inputs as churn, so its
//! complement is the churn regression; the amount is a regression with a logarithmic link on the
//! buyers alone. It deliberately knows no horizon but the one it was fitted on.
//!
//! Cragg (1971), "Some Statistical Models for Limited Dependent Variables"; with covariates on both
//! parts the first one may say "seldom" where the second one says "much".

use super::columns::Columns;
use super::error::FitError;
use super::glm::{TweedieGlm, TweedieGlmSpec};
use super::logistic::{Logistic, LogisticSpec};
use crate::dataset::FeatureMatrix;

/// Variance power of a buyer's amount: near the Gamma's 2, and still defined for a purchase of 0.
const AMOUNT_POWER: f64 = 1.9;

/// Who buys, and how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Hurdle {
    /// Whether anything is bought.
    pub comes: Logistic,
    /// Spend of those who buy.
    pub amount: TweedieGlm,
}

impl Hurdle {
    /// Fits both parts on rows, who bought, and what was spent (>= 0).
    ///
    /// # Errors
    /// [`FitError`] of the part that failed; also where nobody or everybody bought.
    pub fn fit(
        columns: &Columns,
        rows: &FeatureMatrix,
        came: &[bool],
        spend: &[f64],
    ) -> Result<Self, FitError> {
        let mut design = vec![Vec::with_capacity(rows.n_rows()); Columns::n_design()];
        let mut buyers = vec![Vec::new(); Columns::n_value_design()];
        let mut amounts = Vec::new();
        let mut row = vec![0.0; rows.n_columns()];
        for (idx, (&came, &spend)) in came.iter().zip(spend).enumerate() {
            rows.copy_row(idx, &mut row);
            for (column, input) in design.iter_mut().zip(columns.design(&row)) {
                column.push(input);
            }
            if came {
                for (column, input) in buyers.iter_mut().zip(columns.value_design(&row)) {
                    column.push(input);
                }
                amounts.push(spend);
            }
        }
        let spec = TweedieGlmSpec { power: AMOUNT_POWER, ..TweedieGlmSpec::default() };
        Ok(Self {
            comes: Logistic::fit(&LogisticSpec::default(), &design, came)?,
            amount: TweedieGlm::fit(&spec, &buyers, &amounts, None)?,
        })
    }

    /// Expected spend, > 0, in the units of the labels.
    #[must_use]
    pub fn mean(&self, columns: &Columns, row: &[f64]) -> f64 {
        self.comes.prob(&columns.design(row)) * self.amount.predict(&columns.value_design(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureSchema;
    use crate::model::row_definitions;

    #[test]
    fn both_parts_are_found_and_the_total_is_kept() {
        let schema = FeatureSchema::new(&row_definitions());
        let columns = Columns::try_new(&schema).unwrap();
        let at = |name| schema.position(name).unwrap();
        let mut rows = FeatureMatrix::new("s", schema.features().len());
        let (mut came, mut spend) = (Vec::new(), Vec::new());
        for i in 0..4000_u32 {
            let mut row = vec![0.0; schema.features().len()];
            let (leaves, money) = (0.1 + 0.2 * f64::from(i % 5), f64::from(10 + 20 * (i % 3)));
            row[at("btyd_churn_prob")] = leaves;
            row[at("btyd_purchases_churn")] = 1.0 - leaves;
            row[at("spend_per_day_mean")] = money;
            rows.push_row(&row).unwrap();
            let yes = f64::from(i * 7919 % 1000) / 1000.0 >= leaves;
            came.push(yes);
            spend.push(if yes { money } else { 0.0 });
        }
        let hurdle = Hurdle::fit(&columns, &rows, &came, &spend).unwrap();
        let said = rows.map_rows(|row| hurdle.mean(&columns, row));
        let (predicted, actual): (f64, f64) = (said.iter().sum(), spend.iter().sum());
        assert!((predicted / actual - 1.0).abs() < 0.02, "{predicted} of {actual}");
        // Who is likely to come and spends much, against who is neither.
        assert!((said[35] / (0.9 * 50.0) - 1.0).abs() < 0.1, "{}", said[35]);
        assert!((said[9] / (0.1 * 10.0) - 1.0).abs() < 0.25, "{}", said[9]);
    }

    #[test]
    fn a_base_in_which_all_buy_is_refused() {
        let schema = FeatureSchema::new(&row_definitions());
        let columns = Columns::try_new(&schema).unwrap();
        let mut rows = FeatureMatrix::new("s", schema.features().len());
        for i in 0..20_u32 {
            rows.push_row(&vec![f64::from(i); schema.features().len()]).unwrap();
        }
        let found = Hurdle::fit(&columns, &rows, &[true; 20], &[5.0; 20]);
        assert!(matches!(found, Err(FitError::OneClass { .. })), "{found:?}");
    }
}
