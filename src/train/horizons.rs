//! Churn within further horizons than the primary one.
//!
//! In: the log, the settings that the primary horizon was fitted with, and further horizons. Out:
//! for each a churn model, judged on its own newest complete window, and what was found there.
//! Candidates, champion and recalibration follow the primary's rules; settings of the trees and
//! the kind of the purchase-count model are the primary's, and nothing is stacked.
//! It deliberately judges no value: there is one value horizon.

use serde::Serialize;

use crate::dataset::CutoffPlan;
use crate::domain::{Day, Days};
use crate::events::Log;
use crate::model::{ChurnKind, ChurnModel, ChurnSpec, Columns, HorizonModel};

use super::backtest::{ChurnMetrics, ChurnVerdict, Rows, judge_churn};
use super::error::TrainError;
use super::fit::{Work, data_verdict, past_slices};
use super::plan::TrainSpec;
use super::slice::{Slice, SliceSpec};
use super::stacking::StackVerdict;

/// What was found for one horizon, under the names of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HorizonVerdict {
    /// Days of the horizon.
    pub days: u16,
    /// The chosen candidate.
    pub champion: String,
    /// Area under its ROC curve on the judged window; none without one.
    pub auc: Option<f64>,
    /// Its mean log loss there, nats, calibrated on earlier windows only.
    pub log_loss: Option<f64>,
    /// Its expected calibration error there.
    pub ece: Option<f64>,
    /// Mean log loss of the base rate there.
    pub base_rate_log_loss: Option<f64>,
    /// Customers judged there.
    pub customers: usize,
    /// The last day before the judged window.
    pub cutoff: Option<String>,
    /// How the model came about.
    pub note: String,
}

/// What the primary horizon has settled for the others.
#[derive(Clone, Copy)]
pub(super) struct Settled<'s> {
    /// How slices are made.
    pub(super) slices: &'s SliceSpec,
    /// Where columns lie.
    pub(super) columns: &'s Columns,
    /// Settings of the churn candidates.
    pub(super) churn: &'s ChurnSpec,
    /// Today's base.
    pub(super) today: &'s Slice,
}

/// Refuses what further horizons cannot be had with: a row holds neither the season clock nor
/// covariates, from which its columns would have to be made anew.
///
/// # Errors
/// [`TrainError::Horizons`].
pub(super) fn check(spec: &TrainSpec) -> Result<(), TrainError> {
    let is_plain = !spec.season_clock && spec.covariates.is_empty();
    if spec.extras.horizons.is_empty() || is_plain { Ok(()) } else { Err(TrainError::Horizons) }
}

/// Fits and judges the further horizons, ascending, each once; the primary one is left out.
///
/// # Errors
/// [`TrainError`] of a fit; a log too short for a horizon is none: it gets the closed form.
pub(super) fn fit_further(
    spec: &TrainSpec,
    log: &Log,
    settled: Settled<'_>,
) -> Result<(Vec<HorizonModel>, Vec<HorizonVerdict>), TrainError> {
    let mut horizons = spec.extras.horizons.clone();
    horizons.retain(|days| *days != spec.churn);
    horizons.sort_unstable();
    horizons.dedup();
    let (mut models, mut verdicts) = (Vec::new(), Vec::new());
    for days in horizons {
        let (churn, verdict) = fit_one(&TrainSpec { churn: days, ..spec.clone() }, log, settled)?;
        models.push(HorizonModel { days: days.get(), churn });
        verdicts.push(verdict);
    }
    Ok((models, verdicts))
}

/// Of one horizon, which stands in `spec` as if it were the primary one.
fn fit_one(
    spec: &TrainSpec,
    log: &Log,
    settled: Settled<'_>,
) -> Result<(ChurnModel, HorizonVerdict), TrainError> {
    let first = log.days.map_or(spec.until, |(first, _)| first);
    let plan = CutoffPlan::new(first, spec.until, spec.churn).ok();
    let slices = SliceSpec { churn: spec.churn, ..settled.slices.clone() };
    let rows = match &plan {
        Some(plan) => rows(&slices, log, plan)?,
        None => Vec::new(),
    };
    let judged = rows.last().map(|(_, rows)| rows);
    let data = data_verdict(spec, log, plan.as_ref(), judged, settled.today);
    let mut work = Work::new(spec, settled.columns, &rows, data.learn);
    work.churn_spec = settled.churn.clone();
    let origins = work.origins()?;
    let verdict = judge_churn(&origins, &rows, no_stacking());
    let model = work.final_churn(verdict.as_ref())?;
    let note = match (&verdict, judged) {
        (None, None) => format!("no complete window of {} days: closed form", spec.churn.get()),
        (None, Some(_)) => "no complete window before the judged one: closed form".to_owned(),
        (Some(_), _) if !data.learn => {
            format!("too little data to learn from: {}", data.shortfalls().join("; "))
        }
        (Some(verdict), _) if verdict.champion == ChurnKind::BaseRate => {
            "no usable signal: no candidate beats the base rate".to_owned()
        }
        (Some(verdict), _) => verdict.calibration_note.clone(),
    };
    Ok((model.clone(), found(spec.churn, &model, (verdict.as_ref(), rows.last()), note)))
}

/// The rows of all cutoffs of a horizon, oldest first. The columns that depend on the horizon are
/// made for it by the stage, as scoring makes them.
fn rows(spec: &SliceSpec, log: &Log, plan: &CutoffPlan) -> Result<Vec<(Day, Rows)>, TrainError> {
    let (past, _) = past_slices(spec, log, Some(plan));
    let of = |slice: Slice| {
        let (matrix, churned) = (slice.rows(spec)?, slice.churned());
        // Nothing was spent, as it were: no value is learned beside churn.
        let spend = vec![0.0; churned.len()];
        Ok((slice.cutoff, Rows { matrix, churned, spend }))
    };
    past.into_iter().map(of).collect()
}

fn found(
    days: Days,
    model: &ChurnModel,
    (verdict, judged): (Option<&ChurnVerdict>, Option<&(Day, Rows)>),
    note: String,
) -> HorizonVerdict {
    let judged = judged.filter(|_| verdict.is_some());
    let own = verdict.zip(judged).and_then(|(verdict, (_, rows))| {
        ChurnMetrics::new(model.kind.as_str(), &verdict.probs, &rows.churned).ok()
    });
    let base = verdict.and_then(|verdict| {
        let name = ChurnKind::BaseRate.as_str();
        verdict.metrics.iter().find(|metrics| metrics.name == name)
    });
    HorizonVerdict {
        days: days.get(),
        champion: model.kind.as_str().to_owned(),
        auc: own.as_ref().map(|own| own.auc),
        log_loss: own.as_ref().map(|own| own.log_loss),
        ece: own.as_ref().map(|own| own.ece),
        base_rate_log_loss: base.map(|base| base.log_loss),
        customers: judged.map_or(0, |(_, rows)| rows.churned.len()),
        cutoff: judged.map(|(cutoff, _)| cutoff.to_string()),
        note,
    }
}

/// Stacking is not tried: its weights take several origins, of which long horizons have none.
fn no_stacking() -> StackVerdict {
    StackVerdict {
        weights: None,
        used: false,
        note: "not tried".to_owned(),
        trials: Vec::new(),
        before: Vec::new(),
    }
}
