//! Gradient boosting: growing the trees.
//!
//! In: settings, a feature matrix (NaN = missing), targets. Out: a [`Forest`]. The trees are grown
//! by hessboost, written as XGBoost JSON and read back by our evaluator, so nothing but this module
//! knows the library.
//!
//! It deliberately tunes nothing and offers no class weights: they leave the ranking and spoil the
//! calibration. The same rows, settings and seed give the same trees, byte for byte, on any number
//! of threads.

use std::num::NonZeroUsize;

use hessboost::config::GrowPolicy;
use hessboost::config::Monotone;
use hessboost::config::TrainingParams;
use hessboost::config::TreeMethod;
use hessboost::data::DMatrix;
use hessboost::error::HessboostError;
use hessboost::metric::EvalMetric;
use hessboost::model::BoostedModel;
use hessboost::model::ModelFormat;
use hessboost::objective::RegLoss;
use hessboost::objective::Tweedie as TweedieLoss;
use hessboost::training::Trainer;

use super::error::{FitError, check_length};
use super::forest::Forest;
use super::link::PROB_MIN;
use crate::dataset::FeatureMatrix;

/// Rounds that may be asked for: beyond this a learning rate is wrong, not too small.
const ROUNDS_MAX: usize = 100_000;
/// Histogram bins a feature.
const BINS_MAX: usize = 256;

/// What the trees predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// A probability; targets in [0, 1], log loss.
    Logistic,
    /// A mean >= 0 that is often exactly 0; targets >= 0, Tweedie deviance with a log link.
    Tweedie {
        /// Variance power, in (1, 2); 1.5 for spend.
        power: f64,
    },
}

/// How far a tree may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeShape {
    /// Level by level, up to this many splits on a path (>= 1).
    Depth(usize),
    /// Best split first, up to this many leaves (>= 2).
    Leaves(usize),
}

/// Settings of gradient boosting.
#[derive(Debug, Clone, PartialEq)]
pub struct BoostedSpec {
    /// What the trees predict.
    pub objective: Objective,
    /// Trees to grow at most, in 1..=100,000.
    pub n_rounds_max: usize,
    /// Stop when the loss on the validation rows has not improved for this many rounds, and keep
    /// the trees up to the best one; none: grow all. Needs validation rows.
    pub early_stopping_rounds: Option<NonZeroUsize>,
    /// Share of each tree's step that is taken, in (0, 1].
    pub learning_rate: f64,
    /// How far a tree may grow.
    pub shape: TreeShape,
    /// Least sum of second derivatives in a child, >= 0: for the log loss about four times fewer
    /// than rows.
    pub min_child_weight: f64,
    /// L2 penalty on leaf values, >= 0.
    pub lambda: f64,
    /// Share of the rows each tree sees, in (0, 1].
    pub subsample: f64,
    /// Share of the columns each tree sees, in (0, 1].
    pub colsample: f64,
    /// Direction a column: 1 the prediction never falls with it, -1 never rises, 0 free. Empty:
    /// all free.
    pub monotone: Vec<i8>,
    /// Seed of the sampling.
    pub seed: u64,
    /// Threads to grow with, >= 1; does not change the result.
    pub n_threads: usize,
}

impl Default for BoostedSpec {
    /// Small steps and shallow trees: on some thousand customers deeper or more ones already fit
    /// noise (depth 4 and 300 trees cost .005 AUC on 7,000 rows).
    fn default() -> Self {
        Self {
            objective: Objective::Logistic,
            n_rounds_max: 200,
            early_stopping_rounds: None,
            learning_rate: 0.05,
            shape: TreeShape::Depth(3),
            min_child_weight: 5.0,
            lambda: 1.0,
            subsample: 0.8,
            colsample: 0.8,
            monotone: Vec::new(),
            seed: 0,
            n_threads: 1,
        }
    }
}

/// Gradient boosting. It has no state: a fit gives a [`Forest`].
#[derive(Debug, Clone, Copy)]
pub struct Boosted;

impl Boosted {
    /// Grows trees on a matrix, one target and optionally one weight (>= 0) a row.
    ///
    /// The base score is the weighted mean of the targets.
    ///
    /// # Errors
    /// [`FitError`]: `Spec` or `Library` for a setting out of range, `Length`, `Schema`, `Feature`
    /// (infinite, or too large for `f32`), `Number` and `OneClass` for the data, `Forest` should
    /// the library write trees that cannot be read.
    pub fn fit(
        spec: &BoostedSpec,
        x: &FeatureMatrix,
        target: &[f64],
        weights: Option<&[f64]>,
        valid: Option<(&FeatureMatrix, &[f64])>,
    ) -> Result<Forest, FitError> {
        let rows = TrainingRows { x, target, weights, margin: None };
        Self::grow(spec, rows, valid)
    }

    /// Grows trees on top of a known margin a row (a logit; for Tweedie the logarithm of a mean):
    /// the forest learns what that margin gets wrong, its own base margin is 0, and a prediction
    /// is the known margin plus the forest's.
    ///
    /// # Errors
    /// As [`Boosted::fit`]; `Number` for a margin that is not finite.
    pub fn fit_on_margin(
        spec: &BoostedSpec,
        x: &FeatureMatrix,
        target: &[f64],
        margin: &[f64],
    ) -> Result<Forest, FitError> {
        check_length("margin", x.n_rows(), margin.len())?;
        if let Some(row) = margin.iter().position(|m| !m.is_finite()) {
            let (what, found, wanted) = ("margin", margin[row], "finite");
            return Err(FitError::Number { what, row, found, wanted });
        }
        let rows = TrainingRows { x, target, weights: None, margin: Some(margin) };
        Self::grow(spec, rows, None)
    }

    /// Grows trees on the columns that vary, and gives them in terms of all columns. Columns that
    /// do not vary cost time and take places in the sample of columns, and no tree can use them.
    fn grow(
        spec: &BoostedSpec,
        rows: TrainingRows<'_>,
        valid: Option<(&FeatureMatrix, &[f64])>,
    ) -> Result<Forest, FitError> {
        check_spec(spec, rows.x.n_columns(), valid.is_some())?;
        if let Some((valid_x, _)) = valid {
            check_schema(valid_x, rows.x)?;
        }
        let active = active_columns(rows.x);
        if active.len() == rows.x.n_columns() {
            return Self::export(&train(spec, rows, valid)?);
        }
        let mut narrow = spec.clone();
        if !spec.monotone.is_empty() {
            narrow.monotone = active.iter().map(|&column| spec.monotone[column]).collect();
        }
        let x = rows.x.select_columns(&active);
        let valid_x = valid.map(|(valid_x, target)| (valid_x.select_columns(&active), target));
        let valid = valid_x.as_ref().map(|(valid_x, target)| (valid_x, *target));
        let forest = Self::export(&train(&narrow, TrainingRows { x: &x, ..rows }, valid)?)?;
        Ok(forest.widened(&active, rows.x.n_columns()))
    }

    fn export(model: &BoostedModel) -> Result<Forest, FitError> {
        let bytes = model.encode(ModelFormat::XgboostJson).map_err(library)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| FitError::Library { library: "hessboost", source: error.into() })?;
        Ok(Forest::from_json(&text)?)
    }
}

fn library(error: HessboostError) -> FitError {
    FitError::Library { library: "hessboost", source: error.into() }
}

/// What trees are grown on.
#[derive(Clone, Copy)]
struct TrainingRows<'r> {
    x: &'r FeatureMatrix,
    target: &'r [f64],
    weights: Option<&'r [f64]>,
    /// What is known of each row beforehand, on the scale of the sum of leaves.
    margin: Option<&'r [f64]>,
}

fn check_schema(valid: &FeatureMatrix, x: &FeatureMatrix) -> Result<(), FitError> {
    if valid.schema_id() == x.schema_id() && valid.n_columns() == x.n_columns() {
        return Ok(());
    }
    let (expected, found) = (x.schema_id().to_owned(), valid.schema_id().to_owned());
    Err(FitError::Schema { expected, found })
}

/// Columns that hold two different values as `f32`, a missing one being a value; the first column
/// where none does.
#[allow(clippy::cast_possible_truncation, reason = "trees are grown on f32")]
fn active_columns(x: &FeatureMatrix) -> Vec<usize> {
    let bits =
        |number: f64| if number.is_nan() { f32::NAN.to_bits() } else { (number as f32).to_bits() };
    let varies = |column: &usize| {
        let numbers = x.column(*column);
        numbers.first().is_some_and(|&first| numbers.iter().any(|&n| bits(n) != bits(first)))
    };
    let mut active: Vec<usize> = (0..x.n_columns()).filter(varies).collect();
    if active.is_empty() && x.n_columns() > 0 {
        active.push(0);
    }
    active
}

/// Grows the trees and cuts them back to the best round.
fn train(
    spec: &BoostedSpec,
    TrainingRows { x, target, weights, margin }: TrainingRows<'_>,
    valid: Option<(&FeatureMatrix, &[f64])>,
) -> Result<BoostedModel, FitError> {
    check_spec(spec, x.n_columns(), valid.is_some())?;
    let mean = check_target(spec.objective, target, weights)?;
    let mut rows = matrix(x, target, weights)?;
    let mut base_score = mean;
    if let Some(margin) = margin {
        #[allow(clippy::cast_possible_truncation, reason = "the library takes f32")]
        let margin: Vec<f32> = margin.iter().map(|&m| m as f32).collect();
        rows = rows.with_base_margin(&margin).map_err(library)?;
        base_score = match spec.objective {
            Objective::Logistic => 0.5,
            Objective::Tweedie { .. } => 1.0,
        };
    }
    let params = params(spec, base_score)?;
    let valid_rows = match valid {
        Some((valid_x, valid_target)) => {
            check_target(spec.objective, valid_target, None)?;
            Some(matrix(valid_x, valid_target, None)?)
        }
        None => None,
    };
    let mut trainer = Trainer::new(&params, &rows, spec.n_rounds_max);
    if let Some(valid_rows) = &valid_rows {
        trainer = trainer.eval(valid_rows, "valid");
        if let Some(n_rounds) = spec.early_stopping_rounds {
            trainer = trainer.early_stopping_rounds(n_rounds);
        }
    }
    let model = trainer.train().map_err(library)?.model;
    match model.best_iteration() {
        Some(best) => model.slice(..=best, 1).map_err(library),
        None => Ok(model),
    }
}

fn check_spec(spec: &BoostedSpec, n_columns: usize, has_valid: bool) -> Result<(), FitError> {
    let refuse = |parameter, found, wanted| Err(FitError::Spec { parameter, found, wanted });
    #[allow(clippy::cast_precision_loss, reason = "the number is only shown")]
    let shown = |number: usize| number as f64;
    if spec.n_rounds_max == 0 || spec.n_rounds_max > ROUNDS_MAX {
        return refuse("n_rounds_max", shown(spec.n_rounds_max), "in 1..=100000");
    }
    if spec.n_threads == 0 {
        return refuse("n_threads", 0.0, "at least 1");
    }
    match spec.shape {
        TreeShape::Depth(0) => return refuse("depth", 0.0, "at least 1"),
        TreeShape::Leaves(n @ 0..=1) => return refuse("leaves", shown(n), "at least 2"),
        TreeShape::Depth(_) | TreeShape::Leaves(_) => {}
    }
    if let Objective::Tweedie { power } = spec.objective
        && !(power > 1.0 && power < 2.0)
    {
        return refuse("power", power, "between 1 and 2");
    }
    if let Some(n_rounds) = spec.early_stopping_rounds
        && !has_valid
    {
        let wanted = "none without validation rows";
        return refuse("early_stopping_rounds", shown(n_rounds.get()), wanted);
    }
    if !spec.monotone.is_empty() {
        check_length("monotone", n_columns, spec.monotone.len())?;
    }
    match spec.monotone.iter().find(|direction| !(-1..=1).contains(*direction)) {
        Some(&direction) => refuse("monotone", f64::from(direction), "-1, 0 or 1"),
        None => Ok(()),
    }
}

/// Checks targets and weights; gives the weighted mean of the targets.
fn check_target(
    objective: Objective,
    target: &[f64],
    weights: Option<&[f64]>,
) -> Result<f64, FitError> {
    if target.is_empty() {
        return Err(FitError::Empty);
    }
    if let Some(weights) = weights {
        check_length("weights", target.len(), weights.len())?;
    }
    let (target_max, wanted) = match objective {
        Objective::Logistic => (1.0, "in [0, 1]"),
        Objective::Tweedie { .. } => (f64::from(f32::MAX), "a finite number of at least 0"),
    };
    let (mut weight_sum, mut sum) = (0.0, 0.0);
    for (row, &found) in target.iter().enumerate() {
        if !(0.0..=target_max).contains(&found) {
            return Err(FitError::Number { what: "target", row, found, wanted });
        }
        let weight = weights.map_or(1.0, |w| w[row]);
        if !(0.0..=f64::from(f32::MAX)).contains(&weight) {
            let wanted = "a finite number of at least 0";
            return Err(FitError::Number { what: "weight", row, found: weight, wanted });
        }
        weight_sum += weight;
        sum += weight * found;
    }
    let n_rows = target.len();
    if sum <= 0.0 {
        return Err(FitError::OneClass { n_rows, outcome: "zero" });
    }
    match objective {
        Objective::Logistic if sum >= weight_sum => {
            Err(FitError::OneClass { n_rows, outcome: "one" })
        }
        Objective::Logistic => Ok((sum / weight_sum).clamp(PROB_MIN, 1.0 - PROB_MIN)),
        Objective::Tweedie { .. } => Ok(sum / weight_sum),
    }
}

/// Row-major `f32`, as the library takes it.
#[allow(clippy::cast_possible_truncation, reason = "trees are grown on f32; overflow is refused")]
fn matrix(x: &FeatureMatrix, target: &[f64], weights: Option<&[f64]>) -> Result<DMatrix, FitError> {
    check_length("target", x.n_rows(), target.len())?;
    let (n_rows, n_columns) = (x.n_rows(), x.n_columns());
    let mut dense = vec![0.0_f32; n_rows * n_columns];
    for column in 0..n_columns {
        for (row, &found) in x.column(column).iter().enumerate() {
            let narrow = found as f32;
            if narrow.is_infinite() {
                return Err(FitError::Feature { column, row, found });
            }
            dense[row * n_columns + column] = narrow;
        }
    }
    let labels: Vec<f32> = target.iter().map(|&y| y as f32).collect();
    let mut rows = DMatrix::from_dense_vec(dense, n_rows, n_columns)
        .and_then(|rows| rows.with_labels(&labels))
        .map_err(library)?;
    if let Some(weights) = weights {
        let weights: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
        rows = rows.with_weights(&weights).map_err(library)?;
    }
    Ok(rows)
}

fn params(spec: &BoostedSpec, base_score: f64) -> Result<TrainingParams, FitError> {
    let builder = TrainingParams::builder()
        .tree_method(TreeMethod::Hist)
        .max_bin(BINS_MAX)
        .base_score(base_score)
        .eta(spec.learning_rate)
        .min_child_weight(spec.min_child_weight)
        .lambda(spec.lambda)
        .subsample(spec.subsample)
        .colsample_bytree(spec.colsample)
        .seed(spec.seed)
        .nthread(spec.n_threads)
        .monotone_constraints(spec.monotone.iter().map(|&d| direction(d)).collect());
    let builder = match spec.shape {
        TreeShape::Depth(depth) => builder.max_depth(depth).grow_policy(GrowPolicy::DepthWise),
        TreeShape::Leaves(leaves) => {
            builder.unlimited_depth().max_leaves(leaves).grow_policy(GrowPolicy::LossGuide)
        }
    };
    let builder = match spec.objective {
        Objective::Logistic => builder
            .objective(hessboost::objective::Objective::BinaryLogistic(RegLoss::default()))
            .eval_metric(EvalMetric::LogLoss),
        Objective::Tweedie { power } => {
            let loss = TweedieLoss::new(power).map_err(library)?;
            builder
                .objective(hessboost::objective::Objective::Tweedie(loss))
                .eval_metric(EvalMetric::TweedieNLogLik(loss))
        }
    };
    builder.build().map_err(library)
}

const fn direction(stored: i8) -> Monotone {
    match stored {
        1 => Monotone::Increasing,
        -1 => Monotone::Decreasing,
        _ => Monotone::None,
    }
}

#[cfg(test)]
mod tests;
