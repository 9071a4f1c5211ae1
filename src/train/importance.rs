//! Which features matter to the models in use, over all customers of the judged window.
//!
//! In: the fitted models and the rows of the newest complete window. Out: for `metrics.json` the
//! mean absolute contribution of each term, what shuffling each column costs, and how the
//! contribution goes with the feature. Seeded and the same on any number of threads.
//!
//! The models in use were fitted again with that window: this says what they look at, not how well
//! they will do. It deliberately claims no cause.

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::dataset::FeatureMatrix;
use crate::evaluate::{SplitMix64, log_loss};
use crate::model::{Explainer, Explanation, Predictor, Term, TypicalCustomer};
use crate::scoring::ReasonGroup;

use super::error::TrainError;
use super::fit::FitResult;
use super::plan::TrainSpec;

/// Rows looked at; of more, a systematic part is taken.
const ROWS_MAX: usize = 5_000;
/// Shuffles of each column, averaged.
const SHUFFLES: u64 = 2;
/// Features whose effect is shown.
const EFFECTS: usize = 8;
/// Bins of an effect, of about equal mass.
const EFFECT_BINS: usize = 10;
/// Rows of a chunk: sums are taken by chunk, in order.
const CHUNK_ROWS: usize = 256;

/// The section `importance` of `metrics.json`; null where no window is complete.
///
/// # Errors
/// [`TrainError::Explain`] for trees without training weights, which training gives them.
pub(super) fn importance(
    spec: &TrainSpec,
    fit: &FitResult,
    typical: TypicalCustomer,
) -> Result<Value, TrainError> {
    let Some((cutoff, judged)) = fit.rows.last() else { return Ok(Value::Null) };
    let step = judged.churned.len().div_ceil(ROWS_MAX).max(1);
    let taken: Vec<usize> = (0..judged.churned.len()).step_by(step).collect();
    let rows = judged.matrix.select_rows(&taken);
    let churned: Vec<bool> = taken.iter().map(|&row| judged.churned[row]).collect();
    let predictor = Predictor::try_new(fit.fitted.clone())?;
    let explainer = Explainer::try_new(&predictor, typical)?;
    let churn = explain(&rows, |row| explainer.churn(&predictor, row));
    let value = explain(&rows, |row| explainer.value(&predictor, row));
    let shuffled = Shuffled::new(&predictor, &rows, &churned, spec.seed);
    let means = mean_abs(explainer.terms().len(), &churn);
    let cost = |term: usize, column: usize| {
        // The terms of the purchase models have no column of their own that could be shuffled.
        (term == column && shuffled.matters(&means, explainer.terms(), column))
            .then(|| shuffled.cost(column))
            .flatten()
    };
    let costs: Vec<Option<f64>> = explainer
        .terms()
        .par_iter()
        .enumerate()
        .map(|(idx, term)| cost(idx, term.column))
        .collect();
    Ok(json!({
        "cutoff": cutoff.to_string(),
        "customers": rows.n_rows(),
        "churn": {
            "log_loss": shuffled.log_loss,
            "features": features(explainer.terms(), &means, Some(&costs)),
            "effects": effects(&predictor, explainer.terms(), &rows, &churn),
        },
        "value": fit.fitted.value.as_ref().map(|_| json!({
            "features": features(
                explainer.terms(),
                &mean_abs(explainer.terms().len(), &value),
                None,
            ),
            "effects": effects(&predictor, explainer.terms(), &rows, &value),
        })),
    }))
}

/// The explanation of each row; none where there is nothing to explain.
fn explain(
    rows: &FeatureMatrix,
    of: impl Fn(&[f64]) -> Option<Explanation> + Sync,
) -> Vec<Option<Explanation>> {
    (0..rows.n_rows())
        .into_par_iter()
        .map(|idx| {
            let mut row = vec![0.0; rows.n_columns()];
            rows.copy_row(idx, &mut row);
            of(&row)
        })
        .collect()
}

/// Mean absolute contribution of each term.
fn mean_abs(n_terms: usize, explained: &[Option<Explanation>]) -> Vec<f64> {
    let mut sums = vec![0.0; n_terms];
    let mut n = 0_usize;
    for chunk in explained.chunks(CHUNK_ROWS) {
        let mut part = vec![0.0; n_terms];
        for one in chunk.iter().flatten() {
            n += 1;
            for (sum, contribution) in part.iter_mut().zip(&one.contributions) {
                *sum += contribution.abs();
            }
        }
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums.into_iter().map(|sum| sum / n.max(1) as f64).collect()
}

/// Terms that contribute anything or were shuffled, the weightiest first.
fn features(terms: &[Term], means: &[f64], costs: Option<&[Option<f64>]>) -> Vec<Value> {
    let cost = |at: usize| costs.and_then(|costs| costs[at]);
    let counts = |at: &usize| means[*at] > 0.0 || cost(*at).is_some();
    let mut order: Vec<usize> = (0..terms.len()).filter(counts).collect();
    order.sort_by(|&a, &b| means[b].total_cmp(&means[a]).then(a.cmp(&b)));
    order
        .into_iter()
        .map(|at| {
            json!({
                "name": terms[at].name,
                "group": ReasonGroup::of(terms[at].name).code(),
                "contribution_mean_abs": means[at],
                "permutation_log_loss": cost(at),
            })
        })
        .collect()
}

/// What shuffling columns costs.
struct Shuffled<'a> {
    predictor: &'a Predictor,
    rows: &'a FeatureMatrix,
    churned: &'a [bool],
    seed: u64,
    /// With the columns as they are; none where all rows have one outcome.
    log_loss: Option<f64>,
}

impl<'a> Shuffled<'a> {
    fn new(
        predictor: &'a Predictor,
        rows: &'a FeatureMatrix,
        churned: &'a [bool],
        seed: u64,
    ) -> Self {
        let plain = Self { predictor, rows, churned, seed, log_loss: None };
        let log_loss = plain.loss(&plain.probs(rows));
        Self { log_loss, ..plain }
    }

    fn probs(&self, rows: &FeatureMatrix) -> Vec<f64> {
        self.predictor.fitted().churn.probs(self.predictor.columns(), rows)
    }

    fn loss(&self, probs: &[f64]) -> Option<f64> {
        log_loss(probs, self.churned).ok()
    }

    /// Whether the model reads a column: directly, or as what the purchase-count model says.
    fn matters(&self, means: &[f64], terms: &[Term], column: usize) -> bool {
        let by_rhythm =
            terms.iter().zip(means).skip(self.rows.n_columns()).any(|(_, mean)| *mean > 0.0);
        let says = self.predictor.schema().position("btyd_churn_prob") == Some(column);
        means[column] > 0.0 || (says && by_rhythm)
    }

    /// Rise of the log loss when the column's values are dealt out among the rows at random.
    fn cost(&self, column: usize) -> Option<f64> {
        let plain = self.log_loss?;
        let held = self.rows.column(column);
        let mut rows = self.rows.clone();
        let mut sum = 0.0;
        for shuffle in 0..SHUFFLES {
            let mut random = SplitMix64::new(self.seed ^ (column as u64) << 8 ^ shuffle << 40);
            let mut dealt: Vec<usize> = (0..held.len()).collect();
            for at in (1..dealt.len()).rev() {
                dealt.swap(at, random.below(at + 1));
            }
            let shuffled = dealt.iter().map(|&from| held[from]).collect();
            rows.replace_column(column, shuffled).ok()?;
            sum += self.loss(&self.probs(&rows))? - plain;
        }
        Some(sum / SHUFFLES as f64)
    }
}

/// How the contribution goes with the value of the weightiest features: all terms that speak of a
/// column count as that column's.
fn effects(
    predictor: &Predictor,
    terms: &[Term],
    rows: &FeatureMatrix,
    explained: &[Option<Explanation>],
) -> Vec<Value> {
    let n_columns = rows.n_columns();
    let by_column: Vec<Option<Vec<f64>>> = explained
        .iter()
        .map(|one| {
            one.as_ref().map(|one| {
                let mut sums = vec![0.0; n_columns];
                for (term, contribution) in terms.iter().zip(&one.contributions) {
                    sums[term.column] += contribution;
                }
                sums
            })
        })
        .collect();
    let weight =
        |column: usize| -> f64 { by_column.iter().flatten().map(|sums| sums[column].abs()).sum() };
    let mut order: Vec<(usize, f64)> = (0..n_columns)
        .map(|column| (column, weight(column)))
        .filter(|(_, weight)| *weight > 0.0)
        .collect();
    order.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
    order
        .into_iter()
        .take(EFFECTS)
        .map(|(column, _)| effect(predictor, column, rows.column(column), &by_column))
        .collect()
}

fn effect(
    predictor: &Predictor,
    column: usize,
    values: &[f64],
    by_column: &[Option<Vec<f64>>],
) -> Value {
    let pairs = values.iter().zip(by_column);
    let pairs: Vec<(f64, f64)> =
        pairs.filter_map(|(value, sums)| Some((*value, sums.as_ref()?[column]))).collect();
    let (missing, mut known): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(value, _)| value.is_nan());
    known.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut bins = Vec::new();
    let mut from = 0;
    for bin in 1..=EFFECT_BINS {
        let mut to = bin * known.len() / EFFECT_BINS;
        // Equal values belong into one bin.
        while to > 0 && to < known.len() && known[to].0.total_cmp(&known[to - 1].0).is_eq() {
            to += 1;
        }
        if to > from {
            bins.push(json!({
                "from": known[from].0,
                "to": known[to - 1].0,
                "customers": to - from,
                "contribution_mean": mean(&known[from..to]),
            }));
            from = to;
        }
    }
    let feature = predictor.schema().features()[column];
    json!({
        "name": feature.name,
        "unit": feature.unit,
        "group": ReasonGroup::of(feature.name).code(),
        "bins": bins,
        "missing": (!missing.is_empty()).then(|| json!({
            "customers": missing.len(),
            "contribution_mean": mean(&missing),
        })),
    })
}

fn mean(pairs: &[(f64, f64)]) -> f64 {
    pairs.iter().map(|(_, contribution)| contribution).sum::<f64>() / pairs.len().max(1) as f64
}
