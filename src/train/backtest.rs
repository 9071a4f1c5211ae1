//! Judging candidates on windows that they have not seen, and choosing one.
//!
//! In: what the candidates said at the origins. Out: their metrics on the newest complete window,
//! the champion, and its calibration. What was learned comes from windows that end by the judged
//! cutoff.

use serde::Serialize;

use crate::dataset::FeatureMatrix;
use crate::domain::Day;
use crate::evaluate::{
    MetricError, auc, brier, calibration_line, decile_mape, ece, gini_normalised, log_loss, pr_auc,
    rmse, spearman, total_ratio, tweedie_deviance, value_capture,
};
use crate::model::{
    ChurnKind, ChurnParts, ChurnSpec, Columns, FitError, LogitLine, ValueKind, clamp_prob, logit,
    sigmoid,
};

use super::correction::Correction;
use super::origins::{OriginResult, probs};
use super::recalibration::{Recalibrated, recalibrate};
use super::signal::{beats, beats_base};
use super::stacking::StackVerdict;

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
    /// Mean Tweedie deviance of power 1.5.
    pub deviance: f64,
    /// Mean distance of predicted and actual value over the tenths, as a share of the actual one;
    /// none where no tenth spent anything.
    pub decile_mape: Option<f64>,
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
            deviance: tweedie_deviance(predicted, actual)?,
            decile_mape: decile_mape(predicted, actual).ok().map(|found| found.mape_ratio),
        })
    }
}

/// What judging the churn candidates gave.
#[derive(Debug, Clone)]
pub struct ChurnVerdict {
    /// Metrics of all candidates on the newest window, then of the plain recency rule.
    pub metrics: Vec<ChurnMetrics>,
    /// The chosen candidate.
    pub champion: ChurnKind,
    /// Whether any candidate beats the base rate.
    pub signal: bool,
    /// Its calibration, fitted on out-of-time predictions.
    pub calibration: LogitLine,
    /// Why it was kept or left out.
    pub calibration_note: String,
    /// Windows that were judged out of time by models that had learned something, or by the
    /// closed form where nothing may be learned.
    pub n_windows: usize,
    /// The champion's probabilities on the judged window, calibrated on earlier data only.
    pub probs: Vec<f64>,
    /// Weights of the stacked candidate and what became of them.
    pub stacking: StackVerdict,
}

/// The candidate with the lowest log loss at an origin; the stacked one, whose weights take
/// several origins, is not among them. The regression or the trees alone must beat the mean of
/// both by more than luck: which of two is better changes from one window to the next, and the
/// mean errs less than the wrong one.
pub(super) fn pick_churn(origin: &OriginResult, rows: &Rows) -> Option<ChurnKind> {
    let best = lowest_loss(origin, rows)?;
    let is_half = matches!(best, ChurnKind::Logistic | ChurnKind::Boosted);
    let said = origin.logits(best).zip(origin.logits(ChurnKind::Blend)).filter(|_| is_half);
    match said {
        Some((one, mean)) if !beats(&probs(one), &probs(mean), &rows.churned) => {
            Some(ChurnKind::Blend)
        }
        _ => Some(best),
    }
}

fn lowest_loss(origin: &OriginResult, rows: &Rows) -> Option<ChurnKind> {
    let kinds = origin.churn.iter().map(|(kind, _)| *kind);
    kinds
        .filter(|kind| *kind != ChurnKind::Stacked)
        .map(|kind| (kind, origin.churn_loss(kind, rows)))
        .filter(|(_, loss)| loss.is_finite())
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(kind, _)| kind)
}

/// Whether a candidate beats the base rate at an origin by more than luck.
fn knows_more(origin: &OriginResult, kind: ChurnKind, rows: &Rows) -> bool {
    let (Some(logits), Some(base)) = (origin.logits(kind), origin.logits(ChurnKind::BaseRate))
    else {
        return false;
    };
    base.first().is_some_and(|&base| beats_base(&probs(logits), sigmoid(base), &rows.churned))
}

/// Chooses the churn champion: the stacked candidate where the origins support it, else the one
/// that [`pick_churn`] picks on the newest window. None where no window ended before that one.
#[must_use]
pub(super) fn judge_churn(
    origins: &[OriginResult],
    rows: &[(Day, Rows)],
    stacking: StackVerdict,
) -> Option<ChurnVerdict> {
    let newest = origins.last().filter(|origin| origin.n_windows > 0)?;
    let judged = &rows[newest.at].1;
    let mut metrics = newest.churn_metrics(judged);
    metrics.extend(newest.recency.clone());
    // Where nothing was learned or nothing can be told apart, the closed form needs no proof.
    let champion = match pick_churn(newest, judged) {
        Some(_) if newest.mature && stacking.used => ChurnKind::Stacked,
        Some(kind) if newest.learned => kind,
        _ => ChurnKind::Btyd,
    };
    let champion = if newest.learned && !knows_more(newest, champion, judged) {
        ChurnKind::BaseRate
    } else {
        champion
    };
    let Recalibrated { line: calibration, judged_by, note: calibration_note } =
        recalibrate(origins, rows, champion);
    let logits = newest.logits(champion)?;
    let probs = logits.iter().map(|&z| sigmoid(judged_by.apply(z))).collect();
    let loss = newest.churn_loss(champion, judged);
    let base_loss = newest.churn_loss(ChurnKind::BaseRate, judged);
    let signal = loss < base_loss && champion != ChurnKind::BaseRate;
    let others = origins.iter().filter(|origin| origin.cutoff != newest.cutoff);
    let n_windows = 1 + others.filter(|o| o.mature || (!newest.learned && o.n_windows > 0)).count();
    Some(ChurnVerdict {
        metrics,
        champion,
        signal,
        calibration,
        calibration_note,
        n_windows,
        probs,
        stacking,
    })
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
    let learned = [ChurnKind::Logistic, ChurnKind::Boosted, ChurnKind::Blend, ChurnKind::Stacked];
    if kinds.iter().any(|kind| learned.contains(kind)) {
        return ChurnParts::fit(spec, columns, &rows.matrix, &rows.churned);
    }
    let n = rows.churned.len().max(1);
    let n_churned = rows.churned.iter().filter(|&&yes| yes).count();
    Ok(ChurnParts::unlearned(n_churned as f64 / n as f64))
}

/// The best rule of thumb: days since the last purchase, as a logistic curve of its logarithm.
pub(super) fn recency_rule(
    columns: &Columns,
    training: &Rows,
    judged: &Rows,
) -> Option<ChurnMetrics> {
    let scores = |rows: &Rows| -> Vec<f64> {
        rows.matrix.column(columns.recency()).iter().map(|days| days.max(0.0).ln_1p()).collect()
    };
    // As the rule ranks; the curve only makes probabilities of it.
    let line = LogitLine::measure(&scores(training), &training.churned).ok()?;
    let probs: Vec<f64> = scores(judged).iter().map(|&score| sigmoid(line.apply(score))).collect();
    ChurnMetrics::new("recency_rule", &probs, &judged.churned).ok()
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
    /// Metrics of all candidates on the newest window, then of the plain rule; totals before the
    /// correction.
    pub metrics: Vec<ValueMetrics>,
    /// The chosen candidate.
    pub champion: ValueKind,
    /// The correction of its total.
    pub correction: Correction,
    /// Its corrected predictions for the observed horizon on the judged window.
    pub predicted: Vec<f64>,
    /// Weights of the stacked candidate and what became of them.
    pub stacking: StackVerdict,
}

/// A candidate may give up this much Gini for a lower error.
const GINI_TOLERANCE: f64 = 0.01;

/// The candidate that ranks about best (normalised Gini) with the lowest error among those. Never
/// by the absolute error, which the zero prediction wins.
pub(super) fn pick_value(found: &[(ValueKind, ValueMetrics)]) -> Option<ValueKind> {
    let found: Vec<&(ValueKind, ValueMetrics)> =
        found.iter().filter(|(kind, _)| *kind != ValueKind::Stacked).collect();
    let best_gini = found.iter().map(|(_, m)| m.gini).fold(f64::NEG_INFINITY, f64::max);
    found
        .into_iter()
        .filter(|(_, m)| m.gini >= best_gini - GINI_TOLERANCE)
        .min_by(|(_, a), (_, b)| a.rmse.total_cmp(&b.rmse))
        .map(|(kind, _)| *kind)
}

/// Chooses the value champion as [`pick_value`] does on the newest window, or the stacked
/// candidate where the origins support it.
#[must_use]
pub(super) fn judge_value(
    columns: &Columns,
    origins: &[OriginResult],
    rows: &[(Day, Rows)],
    stacking: StackVerdict,
) -> Option<ValueVerdict> {
    let newest = origins.last().filter(|origin| origin.n_windows > 0)?;
    let judged = &rows[newest.at].1;
    let found = newest.value_metrics(judged);
    let picked = pick_value(&found)?;
    let champion = if newest.mature && stacking.used { ValueKind::Stacked } else { picked };
    let mut metrics: Vec<ValueMetrics> = found.into_iter().map(|(_, m)| m).collect();
    let past = judged.matrix.column(columns.spend_total());
    metrics.extend(ValueMetrics::new("past_spend", past, &judged.spend));
    let correction = Correction::of(origins, rows, champion);
    let means = newest.means(champion)?;
    let predicted = means.iter().map(|mean| mean * correction.judged).collect();
    Some(ValueVerdict { metrics, champion, correction, predicted, stacking })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureSchema;
    use crate::model::{BoostedSpec, row_definitions};

    /// Rows of noise in which those with an even number leave.
    fn rows(columns: usize) -> Rows {
        let mut matrix = FeatureMatrix::new("s", columns);
        let n = 240_u32;
        for row in 0..n {
            let n_columns = u32::try_from(columns).unwrap();
            let cells: Vec<f64> =
                (0..n_columns).map(|c| f64::from((row * 7 + c * 13) % 11) / 11.0).collect();
            matrix.push_row(&cells).unwrap();
        }
        let churned = (0..n).map(|row| row % 2 == 0).collect();
        let spend = (0..n).map(|row| f64::from(row % 3)).collect();
        Rows { matrix, churned, spend }
    }

    #[test]
    fn every_candidate_gets_the_parts_that_it_asks() {
        let schema = FeatureSchema::new(&row_definitions());
        let columns = Columns::try_new(&schema).unwrap();
        let rows = rows(schema.features().len());
        let spec = crate::train::churn_spec(1, 1);
        let spec = ChurnSpec { boosted: BoostedSpec { n_rounds_max: 3, ..spec.boosted }, ..spec };
        for kind in ChurnKind::ALL {
            let parts = fit_parts(&spec, &columns, &rows, &[kind]).unwrap();
            let all = ChurnParts::fit(&spec, &columns, &rows.matrix, &rows.churned).unwrap();
            let mut row = vec![0.0; rows.matrix.n_columns()];
            rows.matrix.copy_row(5, &mut row);
            let (found, wanted) = (parts.only(kind).logit(kind, &columns, &row), all);
            let wanted = wanted.logit(kind, &columns, &row);
            assert!((found - wanted).abs() < 1e-12, "{kind:?}: {found} {wanted}");
        }
    }
}
