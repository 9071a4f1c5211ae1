//! The recipe: from a log to everything that a bundle holds.
//!
//! Replay the log at past cutoffs; judge candidates at several origins; refit the champion on all
//! complete windows; freeze cut points. No clock, no file.

use crate::dataset::{CutoffPlan, FeatureMatrix};
use crate::decision::Policy;
use crate::domain::{AsOf, Day};
use crate::events::Log;
use crate::features::{BaseStats, CovariateEncoding, FeatureSchema, OfferBase};
use crate::labels::StayRule;
use crate::model::btyd::BtydError;
use crate::model::{
    BoostedSpec, ChurnKind, ChurnModel, ChurnParts, ChurnSpec, Columns, CountKind, CountModel,
    Fitted, IntervalTable, LogisticSpec, LogitLine, Objective, PurchaseMix, SearchScope, TreeShape,
    ValueHorizon, ValueKind, ValueModel, ValueParts, row_definitions,
};

use super::activities::{ActivityReport, candidates, report};
use super::backtest::{ChurnVerdict, Rows, ValueVerdict, fit_parts, judge_churn, judge_value};
use super::base_facts;
use super::base_facts::Offered;
use super::correction::combining;
use super::count_choice::{CountChoice, choose_for_log};
use super::count_mix::{MixChoice, choose_mix};
use super::error::TrainError;
use super::horizons::{self, HorizonVerdict, Settled, fit_further};
use super::judgement::Judgement;
use super::origins::{OriginResult, OriginWork, log_level, value_parts};
use super::plan::{DataVerdict, TrainSpec};
use super::replay::Replay;
use super::sample::{ROWS_MAX, Sample};
use super::search::{CutoffRows, Search, SearchTask, search, signs};
use super::slice::{PastBase, Slice, SliceSpec};
use super::stacking::{add_stacked, stack_churn, stack_value};
use super::totals::CutoffTotals;
use super::usability::{check_history, warnings};

/// Quantiles kept of a distribution of scores: 0, 0.001, ..., 1.
const QUANTILES: usize = 1000;

/// What fitting gave.
#[derive(Debug)]
pub struct FitResult {
    /// The models.
    pub fitted: Fitted,
    /// The cutoffs, where the log has a complete window.
    pub plan: Option<CutoffPlan>,
    /// What the data allow.
    pub data: DataVerdict,
    /// How the churn candidates did; none without a window to judge on.
    pub churn: Option<ChurnVerdict>,
    /// How the models of further horizons did, ascending by days.
    pub horizons: Vec<HorizonVerdict>,
    /// How the value candidates did.
    pub value: Option<ValueVerdict>,
    /// The rows of every cutoff, oldest first; the last one is judged.
    pub rows: Vec<(Day, Rows)>,
    /// What every candidate said at each origin, oldest first; the last one is judged.
    pub origins: Vec<OriginResult>,
    /// Totals of the base at every cutoff by the purchase models, oldest first.
    pub totals: Vec<CutoffTotals>,
    /// All purchase-count models on all data, for the record; the first is BG/NBD.
    pub counts: Vec<CountModel>,
    /// Which of them the columns come from, and why.
    pub count_choice: CountChoice,
    /// How much each of them counts where purchases are expected.
    pub count_mix: MixChoice,
    /// Ascending quantiles of the churn probability over today's base: the base that the tiers are
    /// cut for. The judged window's base is younger; on a single cohort its cuts would paint most
    /// of today's base red.
    pub churn_quantiles: Vec<f64>,
    /// Predicted value of today's base in all; 0 without a value model.
    pub total_predicted: f64,
    /// Purchase days that the purchase-count model expects of today's base within the value
    /// horizon.
    pub purchases_expected: f64,
    /// What the log says of activities, the most promising first.
    pub activities: Vec<ActivityReport>,
    /// The slice of the last day: today's base.
    pub today: Slice,
    /// The base of the judged cutoff, for plots; none without a window to judge on.
    pub judged: Option<PastBase>,
    /// Settings of the churn trees, and what else was tried.
    pub search: Search,
    /// A closer look at the champion on the judged window.
    pub judgement: Option<Judgement>,
}

/// Settings of the learned churn models.
#[must_use]
pub fn churn_spec(seed: u64, n_threads: usize) -> ChurnSpec {
    let mut boosted = boosted((seed, n_threads), Objective::Logistic);
    boosted.monotone = signs(false);
    ChurnSpec { logistic: LogisticSpec::default(), boosted }
}

/// Settings of the boosted spend.
#[must_use]
pub(super) fn value_spec(seed: u64, n_threads: usize) -> BoostedSpec {
    boosted((seed, n_threads), Objective::Tweedie { power: 1.5 })
}

/// Small steps, shallow trees, many rows a leaf: purchase logs are noisy and few features matter.
fn boosted((seed, n_threads): (u64, usize), objective: Objective) -> BoostedSpec {
    BoostedSpec {
        objective,
        n_rounds_max: 200,
        early_stopping_rounds: None,
        learning_rate: 0.04,
        shape: TreeShape::Depth(3),
        min_child_weight: 20.0,
        lambda: 5.0,
        subsample: 0.7,
        colsample: 0.5,
        monotone: Vec::new(),
        seed,
        n_threads,
    }
}

/// Slices at all cutoffs and at the last day.
struct Slices {
    choice: CountChoice,
    mix: MixChoice,
    spec: SliceSpec,
    past: Vec<Slice>,
    today: Slice,
}

/// Fits everything on a log.
///
/// # Errors
/// [`TrainError`]; a log too short for one complete window is no error here: then nothing is
/// learned or judged.
pub fn fit(spec: &TrainSpec, log: &Log) -> Result<FitResult, TrainError> {
    horizons::check(spec)?;
    let (first, _) = log.days.ok_or_else(|| no_purchase(spec, log))?;
    let plan = CutoffPlan::new(first, spec.until, spec.churn).ok();
    let schema = FeatureSchema::new(&row_definitions());
    let columns = Columns::try_new(&schema)?;
    let slices = build_slices(spec, log, plan.as_ref(), schema.id())?;
    let Slices { choice: count_choice, mix: count_mix, spec: slice_spec, past, today } = slices;
    let judged = past.last().map(PastBase::of);
    let Cutoffs { rows, totals, customers } = Cutoffs::of(log, &slice_spec, &columns, past)?;
    let mut data =
        data_verdict(spec, log, plan.as_ref(), rows.last().map(|(_, rows)| rows), &today);
    check_history(spec, spec.until.days_since(first) + 1, &data)?;
    data.warnings = warnings(log, &today.base.rhythm, &rows);
    data.warnings.extend(slice_spec.sample.note());
    let mut work = Work::new(spec, &columns, &rows, data.learn);
    let search = work.search_settings(&customers)?;
    let Judged { origins, churn, value } = work.judge()?;
    let judgement = churn.as_ref().and_then(|verdict| Judgement::new(spec, log, verdict, &rows));
    let churn_model = work.final_churn(churn.as_ref())?;
    let value_model = work.final_value(value.as_ref())?;
    let settled =
        Settled { slices: &slice_spec, columns: &columns, churn: &work.churn_spec, today: &today };
    let (horizon_models, horizons) = fit_further(spec, log, settled)?;
    let today_rows = today.rows(&slice_spec)?;
    let has_amounts = today.spend.is_some();
    let (base, activities) = base_stats(spec, log, &today);
    let mut fitted = Fitted {
        base,
        stage: today.stage(&slice_spec),
        churn: churn_model,
        horizons: horizon_models,
        value: has_amounts.then_some(value_model),
        intervals: intervals(value.as_ref(), &rows),
        value_quantiles: Vec::new(),
        ranges: ranges(rows.iter().map(|(_, rows)| &rows.matrix).chain([&today_rows])),
        churn_days: spec.churn.get(),
        value_days: spec.value.get(),
        extrapolated: spec.value > spec.churn || value.is_none(),
    };
    combine_levels(&mut fitted, &columns, &today_rows);
    let means = value_means(&fitted, &columns, &today_rows);
    fitted.value_quantiles = quantiles(&means);
    let total_predicted = means.iter().sum();
    let [_, purchases] = columns.purchases();
    let purchases_expected = today_rows.column(purchases).iter().sum();
    let churn_quantiles = quantiles(&fitted.churn.probs(&columns, &today_rows));
    let counts = all_count_models(spec, &today)?;
    Ok(FitResult {
        fitted,
        plan,
        data,
        churn,
        horizons,
        value,
        rows,
        origins,
        totals,
        counts,
        count_choice,
        count_mix,
        churn_quantiles,
        total_predicted,
        purchases_expected,
        activities,
        today,
        judged,
        search,
        judgement,
    })
}

/// The interval of value on the judged window; empty without one.
fn intervals(value: Option<&ValueVerdict>, rows: &[(Day, Rows)]) -> IntervalTable {
    let (Some(verdict), Some((_, judged))) = (value, rows.last()) else {
        return IntervalTable::default();
    };
    IntervalTable::fit(&at_actual_level(&verdict.predicted, &judged.spend), &judged.spend)
}

/// What the base contributes, as of the last day, and what its activities are worth.
fn base_stats(spec: &TrainSpec, log: &Log, today: &Slice) -> (BaseStats, Vec<ActivityReport>) {
    let Offered { activities, categories, lives } = base_facts::offered(log, spec.until);
    // The policy was checked before the run; one that cannot be read names no activity.
    let named = Policy::parse(&spec.policy).map(|policy| policy.sticky().activities.clone());
    let reports = report(log, spec.until, spec.churn, &named.unwrap_or_default(), &activities);
    let offer = OfferBase::new(activities, categories, lives, candidates(&reports));
    let heartbeat = base_facts::heartbeat(log, spec.until);
    (BaseStats { rhythm: today.base.rhythm, heartbeat, offer }, reports)
}

fn no_purchase(spec: &TrainSpec, log: &Log) -> TrainError {
    TrainError::NoPurchase {
        until: spec.until,
        n_events: log.n_events,
        n_customers: log.customers.len(),
    }
}

fn build_slices(
    spec: &TrainSpec,
    log: &Log,
    plan: Option<&CutoffPlan>,
    schema_id: &str,
) -> Result<Slices, TrainError> {
    let earlier = plan.and_then(|plan| plan.training.last().copied());
    let newest = plan.map_or(spec.until, |plan| plan.judged);
    let choice = choose_for_log(spec, log, earlier, newest)
        .or_else(|_| choose_for_log(spec, log, None, spec.until))
        .map_err(|error| as_no_purchase(spec, log, error))?;
    let encoding = covariate_encoding(spec, log)?;
    let (choice, mix) = if encoding.is_some() {
        (choice.for_covariates(), MixChoice::none("covariates act on one model"))
    } else {
        let cutoffs = plan.map_or(&[][..], |plan| &plan.training);
        let mix = choose_mix(spec, log, cutoffs, choice.kind);
        (choice, mix)
    };
    let slice_spec = SliceSpec {
        zone: spec.zone.clone(),
        churn: spec.churn,
        value: spec.value,
        last_observed: spec.until,
        prior: spec.prior,
        counts: choice.kind,
        mix: mix.weights.clone(),
        season_clock: spec.season_clock,
        encoding,
        stay: StayRule::Purchase,
        sample: Sample::of(
            log,
            (&plan.map(CutoffPlan::all).unwrap_or_default(), &spec.zone),
            ROWS_MAX,
            spec.seed,
        ),
        schema_id: schema_id.to_owned(),
    };
    let (past, mut replay) = past_slices(&slice_spec, log, plan);
    replay.advance(AsOf::end_of(spec.until, &spec.zone));
    let everybody = SliceSpec { sample: Sample::ALL, ..slice_spec.clone() };
    let today = Slice::build(&everybody, log, &replay, spec.until)
        .map_err(|error| as_no_purchase(spec, log, error))?;
    Ok(Slices { choice, mix, spec: slice_spec, past, today })
}

/// The slices at all cutoffs, oldest first, and the replay at the last one.
pub(super) fn past_slices<'l>(
    spec: &SliceSpec,
    log: &'l Log,
    plan: Option<&CutoffPlan>,
) -> (Vec<Slice>, Replay<'l>) {
    let mut replay = Replay::new(log);
    let mut past = Vec::new();
    for cutoff in plan.map(CutoffPlan::all).unwrap_or_default() {
        replay.advance(AsOf::end_of(cutoff, &spec.zone));
        // Where nobody, or too few, had bought to say anything (an early cutoff of a log that
        // begins slowly), the other cutoffs stand.
        if let Ok(slice) = Slice::build(spec, log, &replay, cutoff) {
            past.push(slice);
        }
    }
    if past.last().map(|slice| slice.cutoff) != plan.map(|plan| plan.judged) {
        // Nobody had bought by the judged cutoff: there is nothing to judge on.
        past.clear();
    }
    (past, replay)
}

/// Fixes how facts become covariates, on all customers who have bought; none without covariates.
fn covariate_encoding(
    spec: &TrainSpec,
    log: &Log,
) -> Result<Option<CovariateEncoding>, TrainError> {
    if spec.covariates.is_empty() {
        return Ok(None);
    }
    let mut replay = Replay::new(log);
    replay.advance(AsOf::end_of(spec.until, &spec.zone));
    let buyers = (0..replay.len())
        .map(|idx| replay.history(idx))
        .filter(|history| history.first_purchase().is_some());
    Ok(Some(CovariateEncoding::fit(&spec.covariates, buyers)?))
}

/// Nobody to fit on is a fact about the log.
fn as_no_purchase(spec: &TrainSpec, log: &Log, error: BtydError) -> TrainError {
    match error {
        BtydError::NoRows { .. } => no_purchase(spec, log),
        error => error.into(),
    }
}

pub(super) fn data_verdict(
    spec: &TrainSpec,
    log: &Log,
    plan: Option<&CutoffPlan>,
    judged: Option<&Rows>,
    today: &Slice,
) -> DataVerdict {
    let outcomes = judged.map_or([0, 0], |rows| {
        let churned = rows.churned.iter().filter(|&&yes| yes).count();
        [churned, rows.churned.len() - churned]
    });
    let history_days = log.days.map_or(0, |(first, _)| spec.until.days_since(first) + 1);
    let n_training = plan.map_or(0, |plan| plan.training.len());
    DataVerdict::new(spec, today.customers.len(), outcomes, history_days, n_training)
}

/// What the past cutoffs gave, oldest first.
struct Cutoffs {
    rows: Vec<(Day, Rows)>,
    totals: Vec<CutoffTotals>,
    /// Positions in the log of each cutoff's customers, in the order of its rows.
    customers: Vec<Vec<usize>>,
}

impl Cutoffs {
    fn of(
        log: &Log,
        spec: &SliceSpec,
        columns: &Columns,
        past: Vec<Slice>,
    ) -> Result<Self, TrainError> {
        let mut found = Self { rows: Vec::new(), totals: Vec::new(), customers: Vec::new() };
        for slice in past {
            let matrix = slice.rows(spec)?;
            found.totals.extend(CutoffTotals::of(spec, columns, log, &slice, &matrix));
            let (churned, spend) = (slice.churned(), slice.spend_after());
            found.rows.push((slice.cutoff, Rows { matrix, churned, spend }));
            found.customers.push(slice.customers);
        }
        Ok(found)
    }
}

/// What judging gave.
struct Judged {
    origins: Vec<OriginResult>,
    churn: Option<ChurnVerdict>,
    value: Option<ValueVerdict>,
}

/// The rows of all cutoffs (oldest first, the judged one last) and what may be done with them.
pub(super) struct Work<'w> {
    spec: &'w TrainSpec,
    columns: &'w Columns,
    rows: &'w [(Day, Rows)],
    learn: bool,
    /// Settings of the churn candidates.
    pub(super) churn_spec: ChurnSpec,
}

impl<'w> Work<'w> {
    pub(super) fn new(
        spec: &'w TrainSpec,
        columns: &'w Columns,
        rows: &'w [(Day, Rows)],
        learn: bool,
    ) -> Self {
        let usual = churn_spec(spec.seed, spec.threads);
        let work = Self { spec, columns, rows, learn, churn_spec: usual };
        Self { learn: learn && work.can_learn(), ..work }
    }

    /// Searches settings of the churn trees on the windows that end before the judged one begins,
    /// and works with them from then on.
    fn search_settings(&mut self, customers: &[Vec<usize>]) -> Result<Search, TrainError> {
        let judged = self.rows.last().map(|(cutoff, _)| *cutoff);
        let horizon_days = self.spec.churn.as_i32();
        let cutoffs: Vec<CutoffRows<'_>> = customers
            .iter()
            .zip(self.rows)
            .filter(|(_, (cutoff, _))| {
                judged.is_some_and(|j| j.days_since(*cutoff) >= horizon_days)
            })
            .map(|(customers, (cutoff, rows))| CutoffRows { cutoff: *cutoff, customers, rows })
            .collect();
        let scope = if self.learn { self.spec.extras.search } else { SearchScope::Off };
        let usual = self.churn_spec.boosted.clone();
        let task = SearchTask { scope, horizon_days, usual: &usual, columns: self.columns };
        let found = search(task, &cutoffs)?;
        self.churn_spec.boosted = found.spec.clone();
        Ok(found)
    }

    /// Whether both outcomes are among the rows to learn from: with `allow_small` they may hold
    /// one only.
    fn can_learn(&self) -> bool {
        let newest = self.rows.last().and_then(|(cutoff, _)| self.training_before(*cutoff));
        newest.is_some_and(|rows| {
            rows.churned.iter().any(|&yes| yes) && rows.churned.iter().any(|&yes| !yes)
        })
    }

    /// Rows of all cutoffs whose windows end at or before a cutoff.
    fn training_before(&self, judged: Day) -> Option<Rows> {
        let horizon = self.spec.churn.as_i32();
        let parts: Vec<&Rows> = self
            .rows
            .iter()
            .filter(|(cutoff, _)| judged.days_since(*cutoff) >= horizon)
            .map(|(_, rows)| rows)
            .collect();
        Rows::stack(&parts)
    }

    fn judge(&self) -> Result<Judged, TrainError> {
        let mut origins = self.origins()?;
        let (churn, value) = (stack_churn(&origins, self.rows), stack_value(&origins, self.rows));
        add_stacked(&mut origins, self.rows, (&churn, &value));
        let churn = judge_churn(&origins, self.rows, churn);
        let value = judge_value(self.columns, &origins, self.rows, value);
        Ok(Judged { origins, churn, value })
    }

    /// Every candidate at every origin, oldest first.
    pub(super) fn origins(&self) -> Result<Vec<OriginResult>, TrainError> {
        let value = value_spec(self.spec.seed, self.spec.threads);
        let work = OriginWork {
            columns: self.columns,
            rows: self.rows,
            horizon_days: self.spec.churn.as_i32(),
            learn: self.learn,
            allow_small: self.spec.allow_small,
            churn: &self.churn_spec,
            value: &value,
        };
        Ok(work.run()?)
    }

    /// The champion, fitted again on all complete windows.
    pub(super) fn final_churn(
        &self,
        verdict: Option<&ChurnVerdict>,
    ) -> Result<ChurnModel, TrainError> {
        let all: Vec<&Rows> = self.rows.iter().map(|(_, rows)| rows).collect();
        let (Some(verdict), Some(all)) = (verdict, Rows::stack(&all)) else {
            // No window to judge on: the closed form needs none.
            let parts = ChurnParts::unlearned(0.5);
            return Ok(ChurnModel {
                kind: ChurnKind::Btyd,
                parts,
                calibration: LogitLine::IDENTITY,
            });
        };
        let kind = verdict.champion;
        let mut parts = fit_parts(&self.churn_spec, self.columns, &all, &[kind])?;
        parts.stack = verdict.stacking.weights.unwrap_or_default();
        let parts = parts.only(kind);
        Ok(ChurnModel { kind, parts, calibration: verdict.calibration })
    }

    /// The chosen value candidate with its factor, fitted again on all complete windows.
    fn final_value(&self, verdict: Option<&ValueVerdict>) -> Result<ValueModel, TrainError> {
        let all: Vec<&Rows> = self.rows.iter().map(|(_, rows)| rows).collect();
        let (Some(verdict), Some(all)) = (verdict, Rows::stack(&all)) else {
            return Ok(plain_value(ValueParts::default()));
        };
        let kind = verdict.champion;
        let mut parts = match kind {
            ValueKind::Btyd => ValueParts::default(),
            _ => {
                let spec = value_spec(self.spec.seed, self.spec.threads);
                value_parts(&spec, self.columns, &all, self.learn)?
            }
        };
        parts.stack = verdict.stacking.weights.unwrap_or_default();
        let mut model = ValueModel { kind, parts: parts.only(kind), factor: 1.0 };
        // The level belongs to the model that will be used: it is measured where this one meets
        // the newest complete window.
        if let Some((_, judged)) = self.rows.last() {
            model.factor = libm::exp(log_level(self.columns, judged, &model));
        }
        Ok(model)
    }
}

/// Takes the total of today's base to the mean of two forecasts: the champion's at the level of
/// the newest window, and the purchase models'.
fn combine_levels(fitted: &mut Fitted, columns: &Columns, rows: &FeatureMatrix) {
    let Some(value) = fitted.value.as_mut() else { return };
    let own = rows.map_rows(|row| value.mean(columns, row, ValueHorizon::Full));
    let other =
        rows.map_rows(|row| value.mean_by(ValueKind::Btyd, columns, row, ValueHorizon::Full));
    value.factor *= combining(own.iter().sum(), other.iter().sum());
}

/// Predictions at the level of what came: intervals are about customers, not about the total.
pub(super) fn at_actual_level(predicted: &[f64], actual: &[f64]) -> Vec<f64> {
    let (expected, came): (f64, f64) = (predicted.iter().sum(), actual.iter().sum());
    let level = if expected > 0.0 && came > 0.0 { came / expected } else { 1.0 };
    predicted.iter().map(|mean| mean * level).collect()
}

const fn plain_value(parts: ValueParts) -> ValueModel {
    ValueModel { kind: ValueKind::Btyd, parts, factor: 1.0 }
}

/// All purchase-count models on all data up to the last day, for the record; the one in use is
/// among them.
fn all_count_models(spec: &TrainSpec, today: &Slice) -> Result<Vec<CountModel>, TrainError> {
    let data = today.count_rows()?;
    let mut counts = Vec::new();
    for kind in [CountKind::BgNbd, CountKind::MbgNbd, CountKind::ParetoNbd] {
        let members = today.mix.iter().flat_map(PurchaseMix::members).map(|(model, _)| model);
        // The one in use first: those made from the same rows are the same.
        let known = [&today.counts].into_iter().chain(members).find(|model| model.kind() == kind);
        counts.push(match known {
            Some(model) => model.clone(),
            None => CountModel::fit(kind, spec.prior, &data)?,
        });
    }
    if matches!(today.counts.kind(), CountKind::Cnbd { .. }) {
        counts.push(today.counts.clone());
    }
    Ok(counts)
}

/// Smallest and largest number of each column; 0 where a column is all missing.
fn ranges<'m>(
    matrices: impl Iterator<Item = &'m crate::dataset::FeatureMatrix> + Clone,
) -> Vec<[f64; 2]> {
    let n_columns = matrices.clone().map(|m| m.n_columns()).max().unwrap_or(0);
    (0..n_columns)
        .map(|column| {
            let numbers = matrices
                .clone()
                .flat_map(|m| m.column(column).iter().copied())
                .filter(|number| number.is_finite());
            let (low, high) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                (low.min(x), high.max(x))
            });
            if low <= high { [low, high] } else { [0.0, 0.0] }
        })
        .collect()
}

/// Quantiles 0, 0.001, ..., 1 of numbers, ascending.
pub(super) fn quantiles(numbers: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return Vec::new();
    }
    (0..=QUANTILES).map(|q| sorted[q * (sorted.len() - 1) / QUANTILES]).collect()
}

/// Predicted value of each row within the value horizon; none without a value model.
fn value_means(fitted: &Fitted, columns: &Columns, rows: &FeatureMatrix) -> Vec<f64> {
    let Some(value) = &fitted.value else { return Vec::new() };
    rows.map_rows(|row| value.mean(columns, row, ValueHorizon::Full))
}
