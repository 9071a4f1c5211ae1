//! Why a row of a table got its score: exact additive contributions by column.
//!
//! In: a fitted whole, once; then encoded rows. Out: a base value and one contribution a column,
//! which sum to the calibrated log-odds of churn, or to the logarithm of the expected value
//! (within 1e-9). A regression is explained by its own terms, trees by TreeSHAP; every candidate
//! is a weighted sum of the two on the scale of its link, so is its explanation. The places of a
//! category's levels are added up: a column is what a reader knows.
//! It deliberately knows no cell and makes no words.

use super::fitted::{TableFitted, TableKind, TablePredictor};
use super::schema::TableSchema;
use crate::model::explain::Explanation;
use crate::model::forest::Forest;
use crate::model::linear::Linear;
use crate::model::treeshap::{ShapError, TreeShap};

/// Explains what one fitted whole of a table says. It holds tables of the trees; the whole itself
/// is handed in with every row.
#[derive(Debug, Clone)]
pub struct TableExplainer {
    churn_trees: Option<TreeShap>,
    value_trees: Option<TreeShap>,
}

impl TableExplainer {
    /// Prepares the trees.
    ///
    /// # Errors
    /// [`ShapError::Cover`] when the file of the trees stored no covers.
    pub fn try_new(predictor: &TablePredictor) -> Result<Self, ShapError> {
        let TableFitted { churn, value, .. } = predictor.fitted();
        let prepared = |forest: Option<&Forest>| forest.map(TreeShap::try_new).transpose();
        Ok(Self {
            churn_trees: prepared(churn.as_ref().and_then(|model| model.forest.as_ref()))?,
            value_trees: prepared(value.as_ref().and_then(|model| model.forest.as_ref()))?,
        })
    }

    /// Contributions of the columns to the calibrated log-odds of churn; none without a churn
    /// model, or for a row of another length.
    #[must_use]
    pub fn churn(&self, predictor: &TablePredictor, row: &[f64]) -> Option<Explanation> {
        let schema = predictor.schema();
        let model = predictor.fitted().churn.as_ref().filter(|_| fits(schema, row))?;
        let linear = model.logistic.as_ref().map(|one| regression(schema, row, one.linear()));
        let trees = self.churn_trees.as_ref().map(|trees| of_trees(schema, row, trees));
        let mut found = weighted(model.kind, (schema, model.base_logit), linear, trees);
        let (intercept, slope) = (model.calibration.intercept(), model.calibration.slope());
        found.base_value = intercept + slope * found.base_value;
        for part in &mut found.contributions {
            *part *= slope;
        }
        found.total = model.calibration.apply(model.logit_by(model.kind, schema, row));
        Some(found)
    }

    /// Contributions of the columns to the logarithm of the expected value; none without a value
    /// model, for a row of another length, or where nothing is expected.
    #[must_use]
    pub fn value(&self, predictor: &TablePredictor, row: &[f64]) -> Option<Explanation> {
        let schema = predictor.schema();
        let model = predictor.fitted().value.as_ref().filter(|_| fits(schema, row))?;
        let mean = model.mean(schema, row);
        if !(mean.is_finite() && mean > 0.0) {
            return None;
        }
        let linear = model.glm.as_ref().map(|one| regression(schema, row, one.linear()));
        let trees = self.value_trees.as_ref().map(|trees| of_trees(schema, row, trees));
        let mut found = weighted(model.kind, (schema, model.base_log), linear, trees);
        found.base_value += libm::log(model.factor);
        found.total = libm::log(mean);
        Some(found)
    }
}

fn fits(schema: &TableSchema, row: &[f64]) -> bool {
    row.len() == schema.slots().len()
}

/// The candidate's sum: a missing part counts as the constant, as it does in the score.
fn weighted(
    kind: TableKind,
    (schema, constant): (&TableSchema, f64),
    linear: Option<Explanation>,
    trees: Option<Explanation>,
) -> Explanation {
    let n_columns = schema.columns().len();
    let weights = kind.weights();
    let constant = Explanation::new(n_columns, constant);
    if weights.iter().all(|weight| *weight <= 0.0) {
        return constant;
    }
    let mut sum = Explanation::new(n_columns, 0.0);
    for (weight, part) in weights.into_iter().zip([linear, trees]) {
        if weight > 0.0 {
            sum.add(weight, part.as_ref().unwrap_or(&constant));
        }
    }
    sum
}

/// Terms of a regression, by column.
fn regression(schema: &TableSchema, row: &[f64], line: &Linear) -> Explanation {
    let mut design = Vec::with_capacity(schema.n_design());
    schema.design(row, &mut design);
    let mut found = Explanation::new(schema.columns().len(), line.intercept);
    for (place, &number) in design.iter().enumerate() {
        found.contributions[schema.design_column(place)] += line.term(place, number);
    }
    found
}

/// `TreeSHAP` of the places, by column.
fn of_trees(schema: &TableSchema, row: &[f64], trees: &TreeShap) -> Explanation {
    let mut found = Explanation::new(schema.columns().len(), trees.expected_margin());
    let mut parts = vec![0.0; schema.slots().len()];
    if trees.contributions(row, &mut parts).is_err() {
        // The predictor holds the trees against the schema: this cannot be met.
        debug_assert!(false, "rows and trees have the same places");
        return found;
    }
    for (slot, part) in schema.slots().iter().zip(parts) {
        found.contributions[slot.column] += part;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::FeatureMatrix;
    use crate::events::RawValue;
    use crate::model::LogitLine;
    use crate::model::table::{
        ColumnKind, NumberScale, TableChurn, TableColumn, TableFitSpec, TableValue,
    };
    use crate::model::value::IntervalTable;

    fn schema() -> TableSchema {
        let column = |name: &str, kind| TableColumn { name: name.to_owned(), kind };
        let number = |has_missing| ColumnKind::Number {
            scale: NumberScale::Log,
            range: [0.0, 99.0],
            fill: 3.0,
            has_missing,
        };
        let levels = ["a", "b", "c"].map(str::to_owned).to_vec();
        TableSchema::try_new(vec![
            column("n", number(true)),
            column("plan", ColumnKind::Category { levels, has_other: true, has_missing: true }),
            column("flag", ColumnKind::Flag { fill: 0.5, has_missing: false }),
        ])
        .unwrap()
    }

    /// Rows with gaps and levels of every kind.
    fn rows(schema: &TableSchema) -> FeatureMatrix {
        let n_slots = schema.slots().len();
        let mut columns = vec![Vec::new(); n_slots];
        for at in 0..400_u32 {
            let mut row = vec![f64::NAN; n_slots];
            let n = if at % 9 == 0 {
                RawValue::Missing
            } else {
                RawValue::Number(f64::from(at * 37 % 100))
            };
            let plan = ["a", "b", "c", "d", ""][(at / 3 % 5) as usize];
            let cells = [n, RawValue::text(plan), RawValue::Flag(at % 7 < 3)];
            for (column, cell) in cells.iter().enumerate() {
                schema.encode(column, cell, &mut row).unwrap();
            }
            columns.iter_mut().zip(row).for_each(|(column, number)| column.push(number));
        }
        FeatureMatrix::from_columns(schema.id(), columns).unwrap()
    }

    /// Whatever candidate is in use, recalibrated or not, by column to the last digit.
    #[test]
    fn contributions_sum_to_what_every_candidate_says() {
        let schema = schema();
        let rows = rows(&schema);
        // Never so sure that the probability is cut off.
        let churned = (0..400_u32).map(|at| (at * 37 % 100 < 40) != (at % 11 < 4));
        let churned: Vec<bool> = churned.collect();
        let value: Vec<f64> = (0..400_u32).map(|at| f64::from(at * 37 % 100 / 2)).collect();
        let mut spec = TableFitSpec::default();
        spec.boosted.n_rounds_max = 20;
        let churn = TableChurn::fit(&spec, &schema, &rows, &churned).unwrap();
        let model = TableValue::fit(&spec, &schema, &rows, &value).unwrap();
        for kind in TableKind::ALL {
            for (intercept, slope, factor) in [(0.0, 1.0, 1.0), (0.3, 0.8, 1.7)] {
                let calibration = LogitLine::try_new(intercept, slope).unwrap();
                let fitted = TableFitted {
                    churn: Some(TableChurn { calibration, ..churn.clone().only(kind) }),
                    value: Some(TableValue { factor, ..model.clone().only(kind) }),
                    intervals: IntervalTable::default(),
                    value_quantiles: Vec::new(),
                    churn_days: 30,
                    value_days: 30,
                };
                let predictor = TablePredictor::try_new(schema.clone(), fitted).unwrap();
                let explainer = TableExplainer::try_new(&predictor).unwrap();
                let mut row = vec![0.0; schema.slots().len()];
                for at in 0..rows.n_rows() {
                    rows.copy_row(at, &mut row);
                    let score = predictor.score(&row);
                    let (prob, mean) = (score.churn_prob.unwrap(), score.clv.unwrap().mean);
                    let parts = [
                        (explainer.churn(&predictor, &row), (prob / (1.0 - prob)).ln()),
                        (explainer.value(&predictor, &row), mean.ln()),
                    ];
                    for (found, wanted) in parts {
                        let found = found.unwrap();
                        let sum = found.base_value + found.contributions.iter().sum::<f64>();
                        assert!((sum - wanted).abs() < 1e-9, "{kind:?} row {at}: {sum} {wanted}");
                        assert!(found.gap().abs() < 1e-9 && found.contributions.len() == 3);
                        let is_constant = found.contributions.iter().all(|part| part.abs() <= 0.0);
                        assert_eq!(is_constant, kind == TableKind::Constant);
                    }
                }
                assert!(explainer.churn(&predictor, &row[1..]).is_none());
            }
        }
    }
}
