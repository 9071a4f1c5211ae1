//! A whole training run: read, fit, freeze, write, promote.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bundle::{
    BTYD_OCCASION, BTYD_TIME_UNIT, Bundle, CHALLENGER, CHAMPION, CutsV1, Draft, ExampleV1,
    ManifestV1,
};
use crate::decision::{Policy, RfmCuts};
use crate::domain::AsOf;
use crate::events::{IntakeReport, Log, LogSpec, Threshold};
use crate::model::Predictor;
use crate::model::btyd::Prior;
use crate::scoring::{ScoringError, rfm_values, self_test};

use super::error::TrainError;
use super::export::export;
use super::fit::{FitResult, fit};
use super::importance::importance;
use super::metrics::{Grade, metrics};
use super::plan::TrainSpec;
use super::promotion::{Verdict, promote};
use super::replay::Replay;
use super::snapshot::Snapshot;

/// Histories kept in a bundle with the scores that must come out.
const EXAMPLES: usize = 16;

/// What a run gave.
#[derive(Debug)]
pub struct TrainOutcome {
    /// Version of the bundle.
    pub version: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// Whether it is champion now.
    pub promoted: bool,
    /// Why, or why not.
    pub promotion_reason: String,
    /// How far it can be trusted.
    pub grade: Grade,
    /// `metrics.json`.
    pub metrics: Value,
    /// The intake's account of the log.
    pub intake: String,
    /// The same as numbers.
    pub intake_report: IntakeReport,
    /// The new bundle and the champion it was held against on one window, for `run.json`; null
    /// where there was nothing to compare.
    pub comparison: Value,
}

impl TrainOutcome {
    /// The alias that points at the bundle now.
    #[must_use]
    pub const fn alias(&self) -> &'static str {
        if self.promoted { CHAMPION } else { CHALLENGER }
    }
}

/// Reads a log, trains, writes the bundle and sets its alias.
///
/// # Errors
/// [`TrainError`]; no bundle and no alias is written when one is returned.
pub fn run(
    spec: &TrainSpec,
    log_spec: &LogSpec,
    threshold: &Threshold,
    models: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<TrainOutcome, TrainError> {
    progress("reading the log");
    let log = Log::read(log_spec, &mut |rows| progress(&format!("{rows} rows read")))?;
    threshold.check(&log.report)?;
    if let Some(report) = &log.profiles_report {
        threshold.check(report)?;
    }
    check_complete(spec, &log)?;
    let policy = Policy::parse(&spec.policy).map_err(ScoringError::from)?;
    progress("fitting and judging");
    let result = fit(spec, &log)?;
    progress("writing the bundle");
    let mut metrics = metrics(spec, &log, &result, Some(&policy));
    let snapshot = Snapshot::take(spec, &log, &result)?;
    metrics["importance"] = importance(spec, &result, snapshot.baseline.typical())?;
    let grade = Grade::of(&result);
    export(spec, &log, &result)?;
    let draft = draft(spec, &log, &result, (&metrics, &grade), snapshot)?;
    let (version, folder) = draft.write(models)?;
    let bundle = Bundle::load(&folder)?;
    self_test(&bundle)?;
    progress("comparing with the champion");
    let Verdict { promoted, reason, comparison } = promote(spec, &log, &result, models, &version)?;
    let mut intake = log.report.to_text();
    if let Some(report) = &log.profiles_report {
        intake.push_str(&report.to_text());
    }
    Ok(TrainOutcome {
        version,
        folder,
        promoted,
        promotion_reason: reason,
        grade,
        metrics,
        intake,
        intake_report: log.report,
        comparison,
    })
}

/// Refuses a log that ends before the last day to look at. A log that goes on after that day is
/// complete up to it, and one day may be missing: shops are closed on Sundays.
fn check_complete(spec: &TrainSpec, log: &Log) -> Result<(), TrainError> {
    let Some((_, last)) = log.days.filter(|_| log.n_after == 0 && !spec.assume_complete) else {
        return Ok(());
    };
    let (until, days) = (spec.until, spec.until.days_since(last));
    if days > 1 { Err(TrainError::Incomplete { last, until, days }) } else { Ok(()) }
}

/// The currency of the log's amounts; there is one at most.
fn currency(spec: &TrainSpec, log: &Log) -> String {
    let found = log.report.currencies.keys().next().cloned();
    found.unwrap_or_else(|| spec.currency.as_str().to_owned())
}

fn draft(
    spec: &TrainSpec,
    log: &Log,
    result: &FitResult,
    (metrics, grade): (&Value, &Grade),
    snapshot: Snapshot,
) -> Result<Draft, TrainError> {
    let as_of = AsOf::end_of(spec.until, &spec.zone);
    let mut replay = Replay::new(log);
    replay.advance(as_of);
    let manifest = manifest(spec, log, grade);
    Ok(Draft {
        fitted: result.fitted.clone(),
        cuts: cuts(result, &replay, as_of),
        policy: spec.policy.clone(),
        metrics: metrics.clone(),
        examples: examples(result, &replay, spec, as_of)?,
        report: crate::evaluate::report::render(
            &serde_json::to_value(&manifest).unwrap_or_default(),
            metrics,
        )?,
        manifest,
        baseline: snapshot.baseline,
        personas: snapshot.personas,
    })
}

fn manifest(spec: &TrainSpec, log: &Log, grade: &Grade) -> ManifestV1 {
    let first = log.days.map_or(spec.until, |(first, _)| first);
    ManifestV1 {
        format: 0,
        kind: crate::bundle::BundleKind::Log,
        name: spec.name.clone(),
        feature_schema: String::new(),
        timezone: spec.zone.name().to_owned(),
        currency: currency(spec, log),
        churn_horizon_days: spec.churn.get(),
        clv_horizon_days: spec.value.get(),
        btyd_time_unit: BTYD_TIME_UNIT.to_owned(),
        btyd_occasion: BTYD_OCCASION.to_owned(),
        prior: match spec.prior {
            Prior::None => "none".to_owned(),
            Prior::Weak => "default".to_owned(),
        },
        seed: spec.seed,
        data_first: first.to_string(),
        data_until: spec.until.to_string(),
        customers: log.customers.len() as u64,
        events: log.n_events,
        grade: grade.letter.to_owned(),
        files: std::collections::BTreeMap::new(),
    }
}

fn cuts(result: &FitResult, replay: &Replay<'_>, as_of: AsOf) -> CutsV1 {
    let base: Vec<_> =
        result.today.customers.iter().map(|&idx| rfm_values(replay.history(idx), as_of)).collect();
    // The base has buyers, or there would be no fit.
    let rfm = RfmCuts::fit(&base).unwrap_or_default();
    CutsV1 {
        days_since_order: rfm.days_since_order,
        orders: rfm.orders,
        avg_order_value: rfm.avg_order_value,
        spend_728d: rfm.spend_728d,
        churn_quantiles: result.churn_quantiles.clone(),
    }
}

/// Histories spread over the base, with the scores that must come out of them.
fn examples(
    result: &FitResult,
    replay: &Replay<'_>,
    spec: &TrainSpec,
    as_of: AsOf,
) -> Result<Vec<ExampleV1>, TrainError> {
    let predictor = Predictor::try_new(result.fitted.clone())?;
    let mut row = Vec::new();
    let n = replay.len();
    let examples = (0..EXAMPLES.min(n)).map(|at| {
        let history = replay.history(at * n / EXAMPLES.min(n));
        predictor.row(history, as_of, &mut row);
        let score = predictor.score(&row, history.totals().net_spend().units());
        ExampleV1::new(&history.to_bytes(), spec.until.to_string(), &score)
    });
    Ok(examples.collect())
}
