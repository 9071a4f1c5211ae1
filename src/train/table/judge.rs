//! Judging candidates on rows that they have not seen, and fitting the chosen one on all.
//!
//! In: rows and how they are split. Out: every candidate's metrics, the champion, its calibration,
//! its interval, and the predictions that the tiers are cut from.

use rayon::prelude::*;
use serde_json::Value;

use super::rows::Rows;
use super::rule::ColumnRule;
use super::split::{Origin, Split};
use crate::evaluate::{gini_normalised, log_loss, rmse, spearman};
use crate::model::{
    FitError, IntervalTable, LogitLine, TableChurn, TableFitSpec, TableKind, TableValue,
    clamp_prob, sigmoid,
};
use crate::train::backtest::{ChurnMetrics, ValueMetrics};

/// A champion must beat the base rate by this many standard errors of the difference.
const SIGNAL_ERRORS: f64 = 2.0;
/// The same for the rank correlation of value.
const SIGNAL_RANK_ERRORS: f64 = 3.0;
/// A recalibration must lower the log loss at least by this.
const CALIBRATION_GAIN_MIN: f64 = 1e-4;
/// A candidate may give up this much Gini for a lower error.
const GINI_TOLERANCE: f64 = 0.01;
const KINDS: usize = TableKind::ALL.len();

/// Predictions for rows by models that have not seen them, in the order of the rows.
#[derive(Debug, Default)]
struct Judged {
    rows: Vec<usize>,
    fold: Vec<usize>,
    /// Log-odds of churn by candidate.
    logits: Vec<[f64; KINDS]>,
    /// The single-column rule.
    rule: Vec<f64>,
    /// Expected value by candidate, not corrected.
    means: Vec<[f64; KINDS]>,
}

/// How the churn candidates did.
#[derive(Debug)]
pub(super) struct ChurnVerdict {
    /// Mean metrics over the rounds, candidates first, then the rule.
    pub(super) candidates: Vec<Value>,
    /// The chosen one.
    pub(super) champion: TableKind,
    /// Whether it beats the base rate.
    pub(super) signal: bool,
    /// Its recalibration.
    pub(super) calibration: LogitLine,
    /// Why it was kept or left out.
    pub(super) calibration_note: String,
    /// Rows judged in the first round.
    pub(super) rows: Vec<usize>,
    /// The champion's probabilities for them, calibrated on other rows.
    pub(super) probs: Vec<f64>,
    /// What came of them.
    pub(super) churned: Vec<bool>,
    /// Area under the ROC curve and calibration error of the champion, mean of the rounds.
    pub(super) quality: [f64; 2],
    /// The column of the rule.
    pub(super) rule_column: Option<usize>,
}

/// How the value candidates did.
#[derive(Debug)]
pub(super) struct ValueVerdict {
    /// Mean metrics over the rounds.
    pub(super) candidates: Vec<Value>,
    /// The chosen one.
    pub(super) champion: TableKind,
    /// Whether it ranks better than chance.
    pub(super) signal: bool,
    /// What corrects its total.
    pub(super) factor: f64,
    /// Its corrected predictions for the judged rows.
    pub(super) predicted: Vec<f64>,
    /// What came of them.
    pub(super) actual: Vec<f64>,
    /// Its interval.
    pub(super) intervals: IntervalTable,
    /// Share of the judged rows inside of an interval made from other folds.
    pub(super) coverage: Option<f64>,
}

/// Everything judged.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) churn: Option<ChurnVerdict>,
    pub(super) value: Option<ValueVerdict>,
}

/// Judges all candidates.
pub(super) fn judge(spec: &TableFitSpec, rows: &Rows, split: &Split) -> Result<Verdict, FitError> {
    let rounds: Vec<Judged> = split
        .rounds
        .iter()
        .map(|origins| judge_round(spec, rows, origins))
        .collect::<Result<_, _>>()?;
    let earlier = split.earlier.as_ref();
    let earlier = match earlier.filter(|origin| rows.churned.is_some() && can_judge(rows, origin)) {
        Some(origin) => Some(judge_round(spec, rows, std::slice::from_ref(origin))?),
        None => None,
    };
    Ok(Verdict {
        churn: rows.churned.as_ref().map(|all| churn_verdict(rows, all, &rounds, earlier.as_ref())),
        value: rows.value.as_ref().map(|all| value_verdict(all, &rounds)),
    })
}

/// Whether both sides of an origin have both outcomes.
fn can_judge(rows: &Rows, Origin { train, judged }: &Origin) -> bool {
    rows.churned.as_ref().is_some_and(|churned| {
        [train, judged].iter().all(|side| {
            side.iter().any(|&row| churned[row]) && side.iter().any(|&row| !churned[row])
        })
    })
}

fn judge_round(spec: &TableFitSpec, rows: &Rows, origins: &[Origin]) -> Result<Judged, FitError> {
    // Each fold is fitted on one thread: folds side by side use the cores better.
    let mut spec = spec.clone();
    spec.boosted.n_threads = 1;
    let parts: Vec<Judged> = origins
        .par_iter()
        .enumerate()
        .map(|(fold, origin)| judge_origin(&spec, rows, origin, fold))
        .collect::<Result<_, _>>()?;
    let mut order: Vec<(usize, usize, usize)> = Vec::new();
    for (part, judged) in parts.iter().enumerate() {
        order.extend(judged.rows.iter().enumerate().map(|(at, &row)| (row, part, at)));
    }
    order.sort_unstable();
    let mut all = Judged::default();
    for (row, part, at) in order {
        let from = &parts[part];
        all.rows.push(row);
        all.fold.push(from.fold[at]);
        all.logits.extend(from.logits.get(at));
        all.rule.extend(from.rule.get(at));
        all.means.extend(from.means.get(at));
    }
    Ok(all)
}

fn judge_origin(
    spec: &TableFitSpec,
    rows: &Rows,
    Origin { train, judged }: &Origin,
    fold: usize,
) -> Result<Judged, FitError> {
    let learn = rows.matrix.select_rows(train);
    let seen = rows.matrix.select_rows(judged);
    let schema = &rows.schema;
    let mut found =
        Judged { rows: judged.clone(), fold: vec![fold; judged.len()], ..Judged::default() };
    if let Some(churned) = &rows.churned {
        let labels: Vec<bool> = train.iter().map(|&row| churned[row]).collect();
        let model = TableChurn::fit(spec, schema, &learn, &labels)?;
        found.logits =
            seen.map_rows(|row| TableKind::ALL.map(|kind| model.logit_by(kind, schema, row)));
        if let Some(rule) = ColumnRule::fit(schema, &learn, &labels) {
            found.rule = seen.map_rows(|row| rule.prob(row));
        }
    }
    if let Some(value) = &rows.value {
        let target = targets(train.iter().map(|&row| value[row]));
        let model = TableValue::fit(spec, schema, &learn, &target)?;
        found.means =
            seen.map_rows(|row| TableKind::ALL.map(|kind| model.mean_by(kind, schema, row)));
    }
    Ok(found)
}

/// Refunds may exceed purchases; the Tweedie mean is not negative.
fn targets(values: impl Iterator<Item = f64>) -> Vec<f64> {
    values.map(|value| value.max(0.0)).collect()
}

fn probs_of(judged: &Judged, kind: TableKind, line: LogitLine) -> Vec<f64> {
    let at = kind as usize;
    judged.logits.iter().map(|z| clamp_prob(sigmoid(line.apply(z[at])))).collect()
}

fn churn_verdict(
    rows: &Rows,
    all: &[bool],
    rounds: &[Judged],
    earlier: Option<&Judged>,
) -> ChurnVerdict {
    let of = |judged: &Judged| -> Vec<bool> { judged.rows.iter().map(|&row| all[row]).collect() };
    let loss = |kind: TableKind| -> f64 {
        let losses = rounds.iter().map(|judged| {
            let probs = probs_of(judged, kind, LogitLine::IDENTITY);
            log_loss(&probs, &of(judged)).unwrap_or(f64::INFINITY)
        });
        losses.sum::<f64>() / rounds.len() as f64
    };
    let learned = [TableKind::Linear, TableKind::Boosted, TableKind::Blend];
    let best = learned.into_iter().min_by(|a, b| loss(*a).total_cmp(&loss(*b)));
    let best = best.unwrap_or(TableKind::Constant);
    let judged = &rounds[0];
    let churned = of(judged);
    let signal = beats_base(judged, best, &churned);
    let champion = if signal { best } else { TableKind::Constant };
    let calibrated = match (champion, earlier) {
        (TableKind::Constant, _) => {
            plain(judged, champion, "not tried: the base rate has nothing to recalibrate")
        }
        (_, None) if judged.fold.iter().all(|fold| *fold == judged.fold[0]) => {
            plain(judged, champion, "skipped: too few earlier rows to try it on")
        }
        (_, None) => calibrate_folds(judged, champion, &churned),
        (_, Some(earlier)) => calibrate_later(judged, champion, &churned, (earlier, &of(earlier))),
    };
    let mut candidates = Vec::new();
    let mut quality = [0.5, 0.0];
    for kind in TableKind::ALL {
        let found: Vec<ChurnMetrics> = rounds
            .iter()
            .filter_map(|judged| {
                let probs = probs_of(judged, kind, LogitLine::IDENTITY);
                ChurnMetrics::new(kind.churn_name(), &probs, &of(judged)).ok()
            })
            .collect();
        if kind == champion && !found.is_empty() {
            let mean = |part: fn(&ChurnMetrics) -> f64| {
                found.iter().map(part).sum::<f64>() / found.len() as f64
            };
            quality = [mean(|m| m.auc), mean(|m| m.ece)];
        }
        candidates.extend(mean_metrics(&found));
    }
    let rule: Vec<ChurnMetrics> = rounds
        .iter()
        .filter_map(|judged| ChurnMetrics::new("column_rule", &judged.rule, &of(judged)).ok())
        .collect();
    candidates.extend(mean_metrics(&rule));
    ChurnVerdict {
        candidates,
        champion,
        signal,
        calibration: calibrated.line,
        calibration_note: calibrated.note,
        rows: judged.rows.clone(),
        probs: calibrated.probs,
        churned,
        quality,
        rule_column: ColumnRule::fit(&rows.schema, &rows.matrix, all).map(|rule| rule.column),
    }
}

/// Whether a candidate's log loss is lower than the base rate's by more than noise.
fn beats_base(judged: &Judged, kind: TableKind, churned: &[bool]) -> bool {
    let losses = |kind| -> Vec<f64> {
        let probs = probs_of(judged, kind, LogitLine::IDENTITY);
        probs
            .iter()
            .zip(churned)
            .map(|(p, &left)| -if left { p.ln() } else { (1.0 - p).ln() })
            .collect()
    };
    let (base, own) = (losses(TableKind::Constant), losses(kind));
    let gains: Vec<f64> = base.iter().zip(&own).map(|(base, own)| base - own).collect();
    let n = gains.len().max(1) as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|gain| (gain - mean) * (gain - mean)).sum::<f64>() / n;
    mean > SIGNAL_ERRORS * (variance / n).sqrt()
}

/// A recalibration and what became of it.
struct Calibrated {
    line: LogitLine,
    probs: Vec<f64>,
    note: String,
}

fn plain(judged: &Judged, kind: TableKind, note: &str) -> Calibrated {
    let (line, note) = (LogitLine::IDENTITY, note.to_owned());
    Calibrated { line, probs: probs_of(judged, kind, line), note }
}

fn logits(judged: &Judged, kind: TableKind) -> Vec<f64> {
    judged.logits.iter().map(|z| z[kind as usize]).collect()
}

/// Tries the recalibration fitted on the other folds.
fn calibrate_folds(judged: &Judged, kind: TableKind, churned: &[bool]) -> Calibrated {
    let z = logits(judged, kind);
    let n_folds = judged.fold.iter().max().map_or(0, |last| last + 1);
    let mut probs = vec![0.0; z.len()];
    for fold in 0..n_folds {
        let others: Vec<usize> = (0..z.len()).filter(|&at| judged.fold[at] != fold).collect();
        let (own, labels): (Vec<f64>, Vec<bool>) =
            others.iter().map(|&at| (z[at], churned[at])).unzip();
        let Ok(line) = LogitLine::fit(&own, &labels) else {
            return plain(judged, kind, "left out: it could not be fitted");
        };
        for at in (0..z.len()).filter(|&at| judged.fold[at] == fold) {
            probs[at] = clamp_prob(sigmoid(line.apply(z[at])));
        }
    }
    let line = LogitLine::fit(&z, churned).unwrap_or(LogitLine::IDENTITY);
    decide(judged, kind, churned, (line, probs), "fitted on the other folds")
}

/// Tries the recalibration fitted on earlier rows.
fn calibrate_later(
    judged: &Judged,
    kind: TableKind,
    churned: &[bool],
    (earlier, earlier_churned): (&Judged, &[bool]),
) -> Calibrated {
    let before = logits(earlier, kind);
    let Ok(line) = LogitLine::fit(&before, earlier_churned) else {
        return plain(judged, kind, "left out: it could not be fitted on the earlier rows");
    };
    let both: Vec<f64> = before.iter().copied().chain(logits(judged, kind)).collect();
    let labels: Vec<bool> = earlier_churned.iter().chain(churned).copied().collect();
    let refitted = LogitLine::fit(&both, &labels).unwrap_or(line);
    let probs = probs_of(judged, kind, line);
    decide(judged, kind, churned, (refitted, probs), "fitted on earlier rows")
}

fn decide(
    judged: &Judged,
    kind: TableKind,
    churned: &[bool],
    (line, probs): (LogitLine, Vec<f64>),
    how: &str,
) -> Calibrated {
    let loss = |probs: &[f64]| log_loss(probs, churned).unwrap_or(f64::INFINITY);
    let (before, after) = (loss(&probs_of(judged, kind, LogitLine::IDENTITY)), loss(&probs));
    if after > before - CALIBRATION_GAIN_MIN {
        let note = format!("left out: {how} it gives log loss {after:.4}, without it {before:.4}");
        return plain(judged, kind, &note);
    }
    let note = format!("kept: {how} it lowers the log loss from {before:.4} to {after:.4}");
    Calibrated { line, probs, note }
}

/// The mean of every number over the rounds; its spread for the AUC and the Gini.
fn mean_metrics(rounds: &[impl serde::Serialize]) -> Option<Value> {
    let rounds: Vec<Value> = rounds.iter().filter_map(|m| serde_json::to_value(m).ok()).collect();
    let mut mean = rounds.first()?.clone();
    let n = rounds.len() as f64;
    let object = mean.as_object_mut()?;
    let mut spreads = Vec::new();
    for (key, value) in object.iter_mut() {
        let numbers: Vec<f64> = rounds.iter().filter_map(|round| round[key].as_f64()).collect();
        if value.is_number() && numbers.len() == rounds.len() {
            let found = numbers.iter().sum::<f64>() / n;
            *value = Value::from(found);
            if rounds.len() > 1 && matches!(key.as_str(), "auc" | "gini") {
                let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
                let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                spreads.push((format!("{key}_range"), Value::from(vec![low, high])));
            }
        }
    }
    object.extend(spreads);
    Some(mean)
}

fn value_verdict(all: &[f64], rounds: &[Judged]) -> ValueVerdict {
    let of = |judged: &Judged| -> Vec<f64> { judged.rows.iter().map(|&row| all[row]).collect() };
    let means = |judged: &Judged, kind: TableKind| -> Vec<f64> {
        judged.means.iter().map(|mean| mean[kind as usize]).collect()
    };
    let learned = [TableKind::Linear, TableKind::Boosted, TableKind::Blend];
    let judged = &rounds[0];
    let actual = of(judged);
    let quality = learned.map(|kind| {
        let predicted = means(judged, kind);
        let gini = gini_normalised(&predicted, &actual).unwrap_or(f64::NEG_INFINITY);
        (kind, gini, rmse(&predicted, &actual).unwrap_or(f64::INFINITY))
    });
    let top = quality.iter().map(|(_, gini, _)| *gini).fold(f64::NEG_INFINITY, f64::max);
    let best = quality
        .iter()
        .filter(|(_, gini, _)| *gini >= top - GINI_TOLERANCE)
        .min_by(|a, b| a.2.total_cmp(&b.2))
        .map_or(TableKind::Constant, |(kind, _, _)| *kind);
    let rho = spearman(&means(judged, best), &actual).unwrap_or(0.0);
    let signal = rho > SIGNAL_RANK_ERRORS / (actual.len().max(1) as f64).sqrt();
    let champion = if signal { best } else { TableKind::Constant };
    let raw = means(judged, champion);
    let (total, wanted) = (raw.iter().sum::<f64>(), actual.iter().sum::<f64>());
    let factor = if total > 0.0 && wanted > 0.0 { wanted / total } else { 1.0 };
    let predicted: Vec<f64> = raw.iter().map(|mean| factor * mean).collect();
    let mut candidates = Vec::new();
    for kind in learned {
        let found: Vec<ValueMetrics> = rounds
            .iter()
            .filter_map(|judged| {
                ValueMetrics::new(kind.value_name(), &means(judged, kind), &of(judged)).ok()
            })
            .collect();
        candidates.extend(mean_metrics(&found));
    }
    ValueVerdict {
        candidates,
        champion,
        signal,
        factor,
        intervals: IntervalTable::fit(&predicted, &actual),
        coverage: coverage(&judged.fold, &predicted, &actual),
        predicted,
        actual,
    }
}

/// Share of rows inside of the interval that the other folds give.
fn coverage(fold: &[usize], predicted: &[f64], actual: &[f64]) -> Option<f64> {
    let n_folds = fold.iter().max()? + 1;
    if n_folds < 2 {
        return None;
    }
    let mut inside = 0_usize;
    for own in 0..n_folds {
        let (others, values): (Vec<f64>, Vec<f64>) = (0..fold.len())
            .filter(|&at| fold[at] != own)
            .map(|at| (predicted[at], actual[at]))
            .unzip();
        let table = IntervalTable::fit(&others, &values);
        inside += (0..fold.len())
            .filter(|&at| fold[at] == own)
            .filter(|&at| {
                let [low, _, high] = table.quantiles(predicted[at], predicted[at]);
                (low..=high).contains(&actual[at])
            })
            .count();
    }
    Some(inside as f64 / fold.len().max(1) as f64)
}

/// The champions, fitted on all rows.
pub(super) fn fit_all(
    spec: &TableFitSpec,
    rows: &Rows,
    verdict: &Verdict,
) -> Result<(Option<TableChurn>, Option<TableValue>), FitError> {
    let churn = match (&verdict.churn, &rows.churned) {
        (Some(verdict), Some(churned)) => {
            let model = TableChurn::fit(spec, &rows.schema, &rows.matrix, churned)?;
            let calibration = verdict.calibration;
            Some(TableChurn { calibration, ..model.only(verdict.champion) })
        }
        _ => None,
    };
    let value = match (&verdict.value, &rows.value) {
        (Some(verdict), Some(value)) => {
            let target = targets(value.iter().copied());
            let model = TableValue::fit(spec, &rows.schema, &rows.matrix, &target)?;
            let factor = verdict.factor;
            Some(TableValue { factor, ..model.only(verdict.champion) })
        }
        _ => None,
    };
    Ok((churn, value))
}
