//! Scoring rows of ready numbers, for callers that keep their own features.
//!
//! In: an engine and rows of `f64`, one number a column: a log's row as training exports it, or a
//! table's columns with flags as 0 and 1 and levels by their place. Out: what the models say, the
//! same bits as for the history or row the numbers came from. It deliberately decides nothing: a
//! row of features holds no facts for a policy to look at.

use super::{Engine, NumbersScored, ScoringError};
use crate::bundle::BundleModels;
use crate::model::{CellIssue, ColumnKind, Score};

/// A column of such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixColumn<'e> {
    /// Its name.
    pub name: &'e str,
    /// Unit of a feature of a log, else numeric, boolean or categorical.
    pub unit: &'e str,
    /// Levels of a category, by place; empty for every other column.
    pub levels: &'e [String],
}

impl Engine {
    /// Digest of the columns of a row of numbers.
    #[must_use]
    pub fn matrix_schema(&self) -> &str {
        match &self.bundle().models {
            BundleModels::Log { predictor, .. } => predictor.schema().id(),
            BundleModels::Table { predictor, .. } => predictor.schema().id(),
        }
    }

    /// How many numbers a row has; at least 1.
    #[must_use]
    pub fn n_matrix_columns(&self) -> usize {
        match &self.bundle().models {
            BundleModels::Log { predictor, .. } => predictor.schema().features().len(),
            BundleModels::Table { predictor, .. } => predictor.schema().columns().len(),
        }
    }

    /// The columns of a row of numbers, in order.
    #[must_use]
    pub fn matrix_columns(&self) -> Vec<MatrixColumn<'_>> {
        match &self.bundle().models {
            BundleModels::Log { predictor, .. } => {
                let features = predictor.schema().features().iter();
                let column = |f: &crate::features::FeatureDef| MatrixColumn {
                    name: f.name,
                    unit: f.unit,
                    levels: &[],
                };
                features.map(column).collect()
            }
            BundleModels::Table { predictor, .. } => {
                let columns = predictor.schema().columns().iter();
                columns
                    .map(|column| MatrixColumn {
                        name: &column.name,
                        unit: column.kind.as_str(),
                        levels: levels(&column.kind),
                    })
                    .collect()
            }
        }
    }

    /// Whether there is a churn model.
    #[must_use]
    pub fn predicts_churn(&self) -> bool {
        match &self.bundle().models {
            BundleModels::Log { .. } => true,
            BundleModels::Table { predictor, .. } => predictor.fitted().churn.is_some(),
        }
    }

    /// What the models say of a row of numbers, and the tier of the model alone. The value
    /// realised so far is not known and NaN. `scratch` is room to work in.
    ///
    /// # Errors
    /// [`ScoringError::RowLength`], and [`ScoringError::Row`] with every cell that its column
    /// cannot hold; infinities are held by none.
    pub fn score_numbers(
        &self,
        row: &[f64],
        scratch: &mut Vec<f64>,
    ) -> Result<NumbersScored, ScoringError> {
        let (expected, found) = (self.n_matrix_columns(), row.len());
        if found != expected {
            return Err(ScoringError::RowLength { expected, found });
        }
        if row.iter().any(|number| number.is_infinite()) {
            return Err(ScoringError::Row(self.infinite_cells(row)));
        }
        let score = match &self.bundle().models {
            BundleModels::Log { predictor, .. } => predictor.score(row, f64::NAN),
            BundleModels::Table { predictor, .. } => {
                let schema = predictor.schema();
                scratch.clear();
                scratch.resize(schema.slots().len(), f64::NAN);
                let mut issues = Vec::new();
                for (column, &number) in row.iter().enumerate() {
                    issues.extend(schema.encode_number(column, number, scratch).err());
                }
                if !issues.is_empty() {
                    return Err(ScoringError::Row(issues));
                }
                predictor.score(scratch)
            }
        };
        Ok(self.with_model_tier(score))
    }

    pub(super) fn with_model_tier(&self, score: Score) -> NumbersScored {
        let tier = self.tier_cuts().zip(score.churn_prob).map(|(cuts, prob)| cuts.tier(prob));
        (score, tier)
    }

    fn infinite_cells(&self, row: &[f64]) -> Vec<CellIssue> {
        let cells = self.matrix_columns().into_iter().zip(row);
        cells
            .filter(|(_, number)| number.is_infinite())
            .map(|(column, number)| CellIssue {
                column: column.name.to_owned(),
                found: number.to_string(),
                wanted: "finite number",
            })
            .collect()
    }
}

fn levels(kind: &ColumnKind) -> &[String] {
    match kind {
        ColumnKind::Category { levels, .. } => levels,
        ColumnKind::Number { .. } | ColumnKind::Flag { .. } => &[],
    }
}
