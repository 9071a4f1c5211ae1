//! What the training table looks like, for monitoring to hold a later one against.
//!
//! In: the rows that were learned from, and the models. Out: histograms of every column that the
//! models read, and of both scores.

use super::rows::Rows;
use crate::bundle::TableBaselineV1;
use crate::evaluate::Histogram;
use crate::model::{ColumnKind, TablePredictor};

/// Counts all rows.
pub(super) fn baseline(rows: &Rows, predictor: &TablePredictor) -> TableBaselineV1 {
    let columns = rows.schema.columns().iter().enumerate();
    let columns = columns.map(|(at, column)| {
        let numbers = rows.flat_column(at);
        let held = match column.kind {
            ColumnKind::Category { .. } => {
                let bins = Histogram::of_places(rows.schema.n_places(at).max(2));
                Histogram::count(&bins.edges, &numbers)
            }
            ColumnKind::Number { .. } | ColumnKind::Flag { .. } => Histogram::fit(&numbers),
        };
        (column.name.clone(), held.into())
    });
    let scores = rows.matrix.map_rows(|row| predictor.score(row));
    let probs: Option<Vec<f64>> = scores.iter().map(|score| score.churn_prob).collect();
    let values: Option<Vec<f64>> =
        scores.iter().map(|score| score.clv.as_ref().map(|clv| clv.mean)).collect();
    let mean = |numbers: &Vec<f64>| numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
    TableBaselineV1 {
        rows: rows.places.len() as u64,
        columns: columns.collect(),
        churn_prob: probs.as_ref().map(|probs| Histogram::fit(probs).into()),
        churn_prob_mean: probs.as_ref().map(mean),
        value: values.map(|values| Histogram::fit(&values).into()),
    }
}
