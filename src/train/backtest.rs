//! Judging candidates on a window that they have not seen, and choosing one.
//!
//! In: slices of the log. Out: every candidate's predictions and metrics on the newest complete
//! window, the champion, and its calibration. Training windows end at or before the judged cutoff.

use serde::Serialize;

use super::signal::beats_base;
use crate::dataset::FeatureMatrix;
use crate::evaluate::{
    MetricError, auc, brier, calibration_line, ece, gini_normalised, log_loss, pr_auc, rmse,
    spearman, total_ratio, value_capture,
};
use crate::model::{
    ChurnKind, ChurnParts, ChurnSpec, Columns, FitError, LogitLine, ValueHorizon, ValueKind,
    ValueModel, clamp_prob, logit, sigmoid,
};

/// Rows of one or more slices, stacked.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Features with the buy-till-you-die columns.
    pub matrix: FeatureMatrix,
    /// Whether each customer left.
    pub churned: Vec<bool>,
    /// What each customer spent in the churn horizon, less refunds, in units.
    pub spend: Vec<f64>,
}

impl Rows {
    /// Stacks rows; all have the same schema.
    #[must_use]
    pub fn stack(parts: &[&Self]) -> Option<Self> {
        let first = parts.first()?;
        let columns = (0..first.matrix.n_columns())
            .map(|c| parts.iter().flat_map(|part| part.matrix.column(c).iter().copied()).collect())
            .collect();
        let matrix = FeatureMatrix::from_columns(first.matrix.schema_id(), columns).ok()?;
        Some(Self {
            matrix,
            churned: parts.iter().flat_map(|part| part.churned.iter().copied()).collect(),
            spend: parts.iter().flat_map(|part| part.spend.iter().copied()).collect(),
        })
    }

    /// The rows at these positions, in their order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            matrix: self.matrix.select_rows(rows),
            churned: rows.iter().map(|&row| self.churned[row]).collect(),
            spend: rows.iter().map(|&row| self.spend[row]).collect(),
        }
    }
}

/// A churn candidate's metrics on the judged window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChurnMetrics {
    /// The candidate.
    pub name: String,
    /// Area under the ROC curve.
    pub auc: f64,
    /// Area under the precision-recall curve, churn as the positive class.
    pub pr_auc: f64,
    /// Mean log loss, nats.
    pub log_loss: f64,
    /// Mean squared error of the probability.
    pub brier: f64,
    /// Expected calibration error, ten bins of equal mass.
    pub ece: f64,
    /// Calibration intercept: 0 is ideal, above 0 predictions are too low. None where all are
    /// equal.
    pub calibration_intercept: Option<f64>,
    /// Calibration slope: 1 is ideal, below 1 predictions are too extreme.
    pub calibration_slope: Option<f64>,
}

impl ChurnMetrics {
    /// Of probabilities against what came.
    ///
    /// # Errors
    /// [`MetricError`] for one outcome only.
    pub fn new(name: &str, probs: &[f64], churned: &[bool]) -> Result<Self, MetricError> {
        let varies =
            probs.first().is_some_and(|first| probs.iter().any(|p| p.to_bits() != first.to_bits()));
        let line = calibration_line(probs, churned).ok().filter(|_| varies);
        Ok(Self {
            name: name.to_owned(),
            auc: auc(probs, churned)?,
            pr_auc: pr_auc(probs, churned)?,
            log_loss: log_loss(probs, churned)?,
            brier: brier(probs, churned)?,
            ece: ece(probs, churned)?,
            calibration_intercept: line.map(|line| line.intercept()),
            calibration_slope: line.map(|line| line.slope()),
        })
    }
}

/// A value candidate's metrics on the judged window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueMetrics {
    /// The candidate.
    pub name: String,
    /// Normalised Gini.
    pub gini: f64,
    /// Spearman's rank correlation.
    pub spearman: f64,
    /// Root mean squared error, in units.
    pub rmse: f64,
    /// Predicted over actual total.
    pub total_ratio: f64,
    /// Share of the value that the top tenth of the predictions holds.
    pub top_10_capture: f64,
}

impl ValueMetrics {
    /// Of predicted against actual spend.
    ///
    /// # Errors
    /// [`MetricError`] where nobody spent anything.
    pub fn new(name: &str, predicted: &[f64], actual: &[f64]) -> Result<Self, MetricError> {
        Ok(Self {
            name: name.to_owned(),
            gini: gini_normalised(predicted, actual)?,
            spearman: spearman(predicted, actual)?,
            rmse: rmse(predicted, actual)?,
            total_ratio: total_ratio(predicted, actual)?,
            top_10_capture: value_capture(predicted, actual, 0.1)?,
        })
    }
}

/// What judging the churn candidates gave.
#[derive(Debug, Clone)]
pub struct ChurnVerdict {
    /// Metrics of all candidates, then of the plain recency rule.
    pub metrics: Vec<ChurnMetrics>,
    /// The chosen candidate.
    pub champion: ChurnKind,
    /// Whether any candidate beats the base rate.
    pub signal: bool,
    /// Its calibration, fitted on out-of-time predictions.
    pub calibration: LogitLine,
    /// Why it was kept or left out.
    pub calibration_note: String,
    /// Windows that were judged out of time: 2 where the log has room for an earlier one.
    pub n_windows: usize,
    /// The champion's probabilities on the judged window, calibrated on earlier data only.
    pub probs: Vec<f64>,
}

/// A window to judge on and the rows whose windows end before it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'r> {
    /// Rows to learn from.
    pub training: &'r Rows,
    /// Rows to judge on.
    pub judged: &'r Rows,
}

/// Judges the churn candidates on the newest origin; `before` is an origin one horizon earlier,
/// where the log is long enough for one, on which the calibration is tried.
///
/// # Errors
/// [`FitError`] of a part; metrics that cannot be had leave a candidate out.
pub(super) fn judge_churn(
    spec: &ChurnSpec,
    columns: &Columns,
    newest: Origin<'_>,
    before: Option<Origin<'_>>,
    kinds: &[ChurnKind],
) -> Result<ChurnVerdict, FitError> {
    let Origin { training, judged } = newest;
    let parts = fit_parts(spec, columns, training, kinds)?;
    let mut metrics = Vec::new();
    let mut best: Option<(ChurnKind, f64)> = None;
    let mut base_loss = f64::INFINITY;
    for &kind in kinds {
        let probs: Vec<f64> =
            parts.logits(kind, columns, &judged.matrix).into_iter().map(sigmoid).collect();
        let Ok(found) = ChurnMetrics::new(kind.as_str(), &probs, &judged.churned) else { continue };
        if kind == ChurnKind::BaseRate {
            base_loss = found.log_loss;
        }
        if best.is_none_or(|(_, loss)| found.log_loss < loss) {
            best = Some((kind, found.log_loss));
        }
        metrics.push(found);
    }
    metrics.extend(recency_rule(columns, training, judged));
    // Where nothing was learned or nothing can be told apart, the closed form needs no proof.
    let learned = kinds.contains(&ChurnKind::Logistic);
    let is_signal = |(kind, _): &(ChurnKind, f64)| {
        let probs: Vec<f64> =
            parts.logits(*kind, columns, &judged.matrix).into_iter().map(sigmoid).collect();
        beats_base(&probs, sigmoid(parts.base_logit), &judged.churned)
    };
    let (champion, loss) = match best {
        Some(best) if learned && is_signal(&best) => best,
        Some(_) if learned => (ChurnKind::BaseRate, base_loss),
        _ => (
            ChurnKind::Btyd,
            metrics.iter().find(|m| m.name == "btyd").map_or(base_loss, |m| m.log_loss),
        ),
    };
    let logits = parts.logits(champion, columns, &judged.matrix);
    let tried = judge_calibration(spec, columns, champion, (&logits, judged), before);
    let Calibrated { line: calibration, judged_by, note: calibration_note } = tried;
    let probs = logits.iter().map(|&z| sigmoid(judged_by.apply(z))).collect();
    let signal = loss < base_loss && champion != ChurnKind::BaseRate;
    let n_windows = if before.is_some() { 2 } else { 1 };
    Ok(ChurnVerdict { metrics, champion, signal, calibration, calibration_note, n_windows, probs })
}

/// Fits the learned parts if a candidate needs them.
///
/// # Errors
/// [`FitError`].
pub(super) fn fit_parts(
    spec: &ChurnSpec,
    columns: &Columns,
    rows: &Rows,
    kinds: &[ChurnKind],
) -> Result<ChurnParts, FitError> {
    let learned = [ChurnKind::Logistic, ChurnKind::Boosted, ChurnKind::Blend];
    if kinds.iter().any(|kind| learned.contains(kind)) {
        return ChurnParts::fit(spec, columns, &rows.matrix, &rows.churned);
    }
    let n = rows.churned.len().max(1);
    let n_churned = rows.churned.iter().filter(|&&yes| yes).count();
    Ok(ChurnParts::unlearned(n_churned as f64 / n as f64))
}

/// The best rule of thumb: days since the last purchase, as a logistic curve of its logarithm.
fn recency_rule(columns: &Columns, training: &Rows, judged: &Rows) -> Option<ChurnMetrics> {
    let scores = |rows: &Rows| -> Vec<f64> {
        rows.matrix.column(columns.recency()).iter().map(|days| days.max(0.0).ln_1p()).collect()
    };
    // As the rule ranks; the curve only makes probabilities of it.
    let line = LogitLine::measure(&scores(training), &training.churned).ok()?;
    let probs: Vec<f64> = scores(judged).iter().map(|&score| sigmoid(line.apply(score))).collect();
    ChurnMetrics::new("recency_rule", &probs, &judged.churned).ok()
}

/// A recalibration and what became of it.
struct Calibrated {
    /// For use: fitted on all out-of-time predictions.
    line: LogitLine,
    /// For judging: fitted before the judged window.
    judged_by: LogitLine,
    /// Why it was kept or left out.
    note: String,
}

/// Tries the recalibration of the champion: fitted one window earlier, it is kept only if it
/// lowers the log loss on the newest window; then it is fitted again on the newest predictions.
fn judge_calibration(
    spec: &ChurnSpec,
    columns: &Columns,
    champion: ChurnKind,
    (logits, judged): (&[f64], &Rows),
    before: Option<Origin<'_>>,
) -> Calibrated {
    let none = |why: &str| Calibrated {
        line: LogitLine::IDENTITY,
        judged_by: LogitLine::IDENTITY,
        note: why.to_owned(),
    };
    if champion == ChurnKind::BaseRate {
        return none("not tried: the base rate has nothing to recalibrate");
    }
    let Some(before) = before else {
        return none("skipped: the log is too short for a second window to judge it on");
    };
    let Ok(parts) = fit_parts(spec, columns, before.training, &[champion]) else {
        return none("left out: the models could not be fitted before the earlier window");
    };
    let earlier = parts.logits(champion, columns, &before.judged.matrix);
    let Ok(line) = LogitLine::fit(&earlier, &before.judged.churned) else {
        return none("left out: it could not be fitted on the earlier window");
    };
    let loss = |apply: &dyn Fn(f64) -> f64| {
        let probs: Vec<f64> = logits.iter().map(|&z| sigmoid(apply(z))).collect();
        log_loss(&probs, &judged.churned).unwrap_or(f64::INFINITY)
    };
    let (plain, recalibrated) = (loss(&|z| z), loss(&|z| line.apply(z)));
    if recalibrated >= plain {
        return none(&format!(
            "left out: fitted one window earlier it gives log loss {recalibrated:.4} on the newest \
             window, without it {plain:.4}"
        ));
    }
    let both: Vec<f64> = earlier.iter().chain(logits).copied().collect();
    let churned: Vec<bool> = before.judged.churned.iter().chain(&judged.churned).copied().collect();
    let note = format!(
        "kept: fitted one window earlier it lowers the newest window's log loss from {plain:.4} to \
         {recalibrated:.4}"
    );
    Calibrated { line: LogitLine::fit(&both, &churned).unwrap_or(line), judged_by: line, note }
}

/// Log loss of the purchase-count model's closed form, by which BG/NBD and MBG/NBD are compared.
#[must_use]
pub(super) fn closed_form_loss(probs: &[f64], churned: &[bool]) -> f64 {
    let clamped: Vec<f64> = probs.iter().map(|&p| sigmoid(logit(clamp_prob(p)))).collect();
    log_loss(&clamped, churned).unwrap_or(f64::INFINITY)
}

/// What judging the value candidates gave.
#[derive(Debug, Clone)]
pub struct ValueVerdict {
    /// Metrics of all candidates, then of the plain rule; totals before the correction.
    pub metrics: Vec<ValueMetrics>,
    /// The chosen candidate with its factor, fitted for the judged window.
    pub model: ValueModel,
    /// Its corrected predictions for the observed horizon on the judged window.
    pub predicted: Vec<f64>,
}

/// A candidate may give up this much Gini for a lower error.
const GINI_TOLERANCE: f64 = 0.01;

/// Judges the value candidates on a window: ranking first (normalised Gini), then error among
/// those that rank about as well. Never by the absolute error, which the zero prediction wins.
#[must_use]
pub(super) fn judge_value(
    columns: &Columns,
    judged: &Rows,
    mut model: ValueModel,
    kinds: &[ValueKind],
) -> Option<ValueVerdict> {
    let found: Vec<(ValueKind, ValueMetrics)> = kinds
        .iter()
        .filter_map(|&kind| {
            let predicted = predict_value(columns, judged, &model, kind);
            Some((kind, ValueMetrics::new(kind.as_str(), &predicted, &judged.spend).ok()?))
        })
        .collect();
    let best_gini = found.iter().map(|(_, m)| m.gini).fold(f64::NEG_INFINITY, f64::max);
    let champion = found
        .iter()
        .filter(|(_, m)| m.gini >= best_gini - GINI_TOLERANCE)
        .min_by(|(_, a), (_, b)| a.rmse.total_cmp(&b.rmse))
        .map(|(kind, _)| *kind)?;
    let mut metrics: Vec<ValueMetrics> = found.into_iter().map(|(_, m)| m).collect();
    let past = judged.matrix.column(columns.spend_total());
    metrics.extend(ValueMetrics::new("past_spend", past, &judged.spend));
    model.kind = champion;
    model.factor = total_factor(columns, judged, &model);
    let predicted = predict_value(columns, judged, &model, champion)
        .into_iter()
        .map(|mean| mean * model.factor)
        .collect();
    Some(ValueVerdict { metrics, model, predicted })
}

/// The factor that makes a model's total on a window the actual one; 1 where either is nothing.
#[must_use]
pub(super) fn total_factor(columns: &Columns, judged: &Rows, model: &ValueModel) -> f64 {
    let actual: f64 = judged.spend.iter().sum();
    let total: f64 = predict_value(columns, judged, model, model.kind).iter().sum();
    if total > 0.0 && actual > 0.0 { actual / total } else { 1.0 }
}

fn predict_value(columns: &Columns, rows: &Rows, model: &ValueModel, kind: ValueKind) -> Vec<f64> {
    rows.matrix.map_rows(|row| model.mean_by(kind, columns, row, ValueHorizon::Observed))
}
