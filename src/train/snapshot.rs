//! The base on the last day that training looked at: what monitoring, explanations and personas
//! are held against later.

use rayon::prelude::*;

use crate::bundle::BaselineV1;
use crate::dataset::FeatureMatrix;
use crate::domain::AsOf;
use crate::evaluate::Histogram;
use crate::events::Log;
use crate::model::{Personas, Predictor, TypicalCustomer, ValueHorizon};

use super::error::TrainError;
use super::fit::FitResult;
use super::plan::TrainSpec;
use super::replay::Replay;

/// What a bundle keeps of the base.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Distributions, and a typical customer.
    pub(super) baseline: BaselineV1,
    /// Groups of customers, where they were asked for.
    pub(super) personas: Option<Personas>,
}

impl Snapshot {
    /// Looks at everybody who had bought by the last day.
    ///
    /// # Errors
    /// [`TrainError::Personas`] where the base cannot be split as asked.
    pub(super) fn take(spec: &TrainSpec, log: &Log, fit: &FitResult) -> Result<Self, TrainError> {
        let predictor = Predictor::try_new(fit.fitted.clone())?;
        let rows = rows(spec, log, fit, &predictor)?;
        let (columns, schema) = (predictor.columns(), predictor.schema());
        let fitted = predictor.fitted();
        let probs = fitted.churn.probs(columns, &rows);
        let values = fitted
            .value
            .as_ref()
            .map(|value| rows.map_rows(|row| value.mean(columns, row, ValueHorizon::Full)));
        let features = schema.features().iter().enumerate();
        let baseline = BaselineV1 {
            as_of: spec.until.to_string(),
            customers: rows.n_rows() as u64,
            typical: TypicalCustomer::of(columns, &rows).into(),
            features: features
                .map(|(at, feature)| {
                    (feature.name.to_owned(), Histogram::fit(rows.column(at)).into())
                })
                .collect(),
            churn_prob: Histogram::fit(&probs).into(),
            churn_prob_mean: probs.iter().sum::<f64>() / probs.len().max(1) as f64,
            value: values.map(|values| Histogram::fit(&values).into()),
        };
        let wanted = spec.extras.personas;
        let personas = wanted.map(|n| Personas::fit(schema, &rows, n, spec.seed)).transpose()?;
        Ok(Self { baseline, personas })
    }
}

/// The rows of today's buyers.
fn rows(
    spec: &TrainSpec,
    log: &Log,
    fit: &FitResult,
    predictor: &Predictor,
) -> Result<FeatureMatrix, TrainError> {
    let as_of = AsOf::end_of(spec.until, &spec.zone);
    let mut replay = Replay::new(log);
    replay.advance(as_of);
    let rows: Vec<Vec<f64>> = fit
        .today
        .customers
        .par_iter()
        .map(|&idx| {
            let mut row = Vec::new();
            predictor.row(replay.history(idx), as_of, &mut row);
            row
        })
        .collect();
    let schema = predictor.schema();
    let mut matrix = FeatureMatrix::new(schema.id(), schema.features().len());
    for row in &rows {
        matrix.push_row(row)?;
    }
    Ok(matrix)
}
