//! One past instant of a log: rows, outcomes, and what was fitted on the data before it.

use rayon::prelude::*;

use crate::dataset::{FeatureMatrix, MatrixError};
use crate::domain::{AsOf, Day, Days, Zone};
use crate::events::Log;
use crate::features::{
    BaseStats, CovariateEncoding, PurchaseSummary, SeasonClock, extract, purchase_summary,
};
use crate::history::History;
use crate::labels::{Label, Outcome, StayRule, label};
use crate::model::btyd::{
    BtydError, BtydRow, CovariateBase, CovariateEffects, CovariateInfo, CovariateRows,
    CovariateSpec, GammaGamma, GammaGammaSpec, PooledSpend, Prior, SpendRow,
};
use crate::model::{
    BTYD_COLUMNS, BtydStage, CountKind, CountModel, CountRows, PurchaseMix, StageCovariates,
    StageInput, StageView,
};

use super::count_mix::MixChoice;
use super::replay::Replay;
use super::sample::Sample;

/// What all slices of a run share.
#[derive(Debug, Clone)]
pub struct SliceSpec {
    /// Time zone of the business.
    pub zone: Zone,
    /// Churn horizon: also the horizon of the outcomes.
    pub churn: Days,
    /// Value horizon.
    pub value: Days,
    /// Last day the log is complete to.
    pub last_observed: Day,
    /// Prior of the buy-till-you-die models.
    pub prior: Prior,
    /// The purchase-count model, the same at every cutoff.
    pub counts: CountKind,
    /// The models that say how many purchases come, with weights, the same at every cutoff; empty
    /// where the one above says it.
    pub mix: Vec<(CountKind, f64)>,
    /// Whether time runs on a season clock.
    pub season_clock: bool,
    /// The encoding of covariates, the same at every cutoff.
    pub encoding: Option<CovariateEncoding>,
    /// What counts as staying.
    pub stay: StayRule,
    /// Whose rows are held: those that are learned from.
    pub sample: Sample,
    /// Digest of the whole row's schema.
    pub schema_id: String,
}

/// A past instant: the customers who had bought before it, as rows, with what they did after it.
#[derive(Debug)]
pub struct Slice {
    /// The last day seen.
    pub cutoff: Day,
    /// Base statistics of the data before.
    pub base: BaseStats,
    /// Purchase-count model of the data before.
    pub counts: CountModel,
    /// Mean of the models that say how many purchases come, of the data before.
    pub mix: Option<PurchaseMix>,
    /// Spend model of the data before.
    pub spend: Option<GammaGamma>,
    /// Positions in the log of the customers who are learned from.
    pub customers: Vec<usize>,
    /// The season clock of the data before.
    pub clock: Option<SeasonClock>,
    /// What covariates do in the data before, with an account of the fit.
    pub covariates: Option<(StageCovariates, CovariateInfo)>,
    /// The customers as the first model stage sees them.
    pub inputs: Vec<StageInput>,
    /// Features without the buy-till-you-die columns.
    features: FeatureMatrix,
    /// What they did in the horizon after; empty where it is not complete.
    pub outcomes: Vec<Outcome>,
}

/// What a customer contributes to the base's statistics.
#[derive(Debug, Clone)]
struct Rhythm {
    idx: usize,
    summary: PurchaseSummary,
    gaps: Vec<f64>,
}

impl Slice {
    /// Builds the slice of the replay's present instant.
    ///
    /// # Errors
    /// [`BtydError`] where not even the priors give a fit.
    pub fn build(
        spec: &SliceSpec,
        log: &Log,
        replay: &Replay<'_>,
        cutoff: Day,
    ) -> Result<Self, BtydError> {
        let as_of = AsOf::end_of(cutoff, &spec.zone);
        let rhythms: Vec<Rhythm> = (0..replay.len())
            .into_par_iter()
            .filter_map(|idx| rhythm(idx, replay.history(idx), as_of))
            .collect();
        let base = super::base::fit(&rhythms_of(&rhythms), cutoff, log.days);
        let summaries: Vec<PurchaseSummary> = rhythms.iter().map(|r| r.summary).collect();
        let customers: Vec<usize> = rhythms
            .iter()
            .map(|r| r.idx)
            .filter(|&idx| spec.sample.takes(&log.customers[idx].customer))
            .collect();
        drop(rhythms);
        let spend = fit_spend(&summaries, spec.prior)?;
        let mut data = CountRows::try_new(&summaries)?;
        let mut counts = CountModel::fit(spec.counts, spec.prior, &data)?;
        let clock = if spec.season_clock {
            super::season::fit_clock(log, &customers, as_of, &counts)
        } else {
            None
        };
        let view = StageView {
            weeks: [spec.churn.weeks(), spec.value.weeks()],
            clock: clock.as_ref(),
            encoding: spec.encoding.as_ref(),
        };
        let inputs: Vec<StageInput> = customers
            .par_iter()
            .filter_map(|&idx| view.input(replay.history(idx), as_of))
            .collect();
        if clock.is_some() {
            data = rows_of(&inputs)?;
            counts = CountModel::fit(spec.counts, spec.prior, &data)?;
        }
        let mix = MixChoice::fit(&spec.mix, spec.prior, &data, &counts);
        let covariates = match &spec.encoding {
            Some(encoding) => Some(fit_covariates(spec, encoding, &inputs)?),
            None => None,
        };
        let features = feature_rows(spec, &base, replay, &customers, as_of);
        let outcomes: Vec<Outcome> = customers
            .par_iter()
            .filter_map(|&idx| {
                let events = &log.customers[idx].events;
                match label(events, as_of, spec.churn, spec.last_observed, spec.stay) {
                    Label::Complete(outcome) => Some(outcome),
                    Label::Censored => None,
                }
            })
            .collect();
        Ok(Self {
            cutoff,
            base,
            counts,
            mix,
            spend,
            customers,
            clock,
            covariates,
            inputs,
            features,
            outcomes,
        })
    }

    /// Whether each customer left.
    #[must_use]
    pub fn churned(&self) -> Vec<bool> {
        self.outcomes.iter().map(|outcome| outcome.churned).collect()
    }

    /// What each customer spent, less refunds, in units.
    #[must_use]
    pub fn spend_after(&self) -> Vec<f64> {
        self.outcomes.iter().map(|outcome| outcome.spend.units()).collect()
    }

    /// The first model stage.
    #[must_use]
    pub fn stage(&self, spec: &SliceSpec) -> BtydStage {
        BtydStage {
            counts: self.counts.clone(),
            mix: self.mix.clone(),
            spend: self.spend.clone(),
            churn_weeks: spec.churn.weeks(),
            value_weeks: spec.value.weeks(),
            clock: self.clock.clone(),
            covariates: self.covariates.as_ref().map(|(covariates, _)| covariates.clone()),
        }
    }

    /// What the purchase-count models are fitted on.
    ///
    /// # Errors
    /// [`BtydError`] for no customers.
    pub fn count_rows(&self) -> Result<CountRows, BtydError> {
        rows_of(&self.inputs)
    }

    /// The rows with the buy-till-you-die columns.
    ///
    /// # Errors
    /// [`MatrixError`] should the columns differ in length, which they do not.
    pub fn rows(&self, spec: &SliceSpec) -> Result<FeatureMatrix, MatrixError> {
        let stage = self.stage(spec);
        let added: Vec<Vec<f64>> = self
            .inputs
            .par_iter()
            .map(|input| {
                let mut row = Vec::with_capacity(BTYD_COLUMNS.len());
                stage.append(Some(input), &mut row);
                row
            })
            .collect();
        let mut columns: Vec<Vec<f64>> =
            (0..self.features.n_columns()).map(|c| self.features.column(c).to_vec()).collect();
        for column in 0..BTYD_COLUMNS.len() {
            columns.push(added.iter().map(|row| row[column]).collect());
        }
        FeatureMatrix::from_columns(&spec.schema_id, columns)
    }
}

/// What plots need of a past slice, without its features.
#[derive(Debug, Clone)]
pub struct PastBase {
    /// The last day seen.
    pub cutoff: Day,
    /// Purchase-count model of the data before.
    pub counts: CountModel,
    /// The season clock of the data before.
    pub clock: Option<SeasonClock>,
    /// Positions of the customers in the log.
    pub customers: Vec<usize>,
    /// Days with a purchase of each customer in the horizon after.
    pub purchases_after: Vec<u32>,
}

impl PastBase {
    /// Of a slice.
    #[must_use]
    pub fn of(slice: &Slice) -> Self {
        Self {
            cutoff: slice.cutoff,
            counts: slice.counts.clone(),
            clock: slice.clock.clone(),
            customers: slice.customers.clone(),
            purchases_after: slice.outcomes.iter().map(|outcome| outcome.purchase_days).collect(),
        }
    }
}

fn rhythm(idx: usize, history: &History, as_of: AsOf) -> Option<Rhythm> {
    let summary = purchase_summary(history, as_of)?;
    let days: Vec<Day> = history.tiles().purchase_days().collect();
    let gaps = days.windows(2).map(|pair| f64::from(pair[1].days_since(pair[0]))).collect();
    Some(Rhythm { idx, summary, gaps })
}

fn rhythms_of(rhythms: &[Rhythm]) -> Vec<super::base::CustomerRhythm<'_>> {
    rhythms
        .iter()
        .map(|r| super::base::CustomerRhythm {
            repeats: r.summary.x,
            active_days: r.summary.t_x * 7.0,
            gaps_days: &r.gaps,
        })
        .collect()
}

fn rows_of(inputs: &[StageInput]) -> Result<CountRows, BtydError> {
    let summaries: Vec<PurchaseSummary> = inputs.iter().map(|input| input.summary).collect();
    CountRows::try_new(&summaries)
}

/// Fits what covariates do, on MBG/NBD or Pareto/NBD as the slice has it.
fn fit_covariates(
    spec: &SliceSpec,
    encoding: &CovariateEncoding,
    inputs: &[StageInput],
) -> Result<(StageCovariates, CovariateInfo), BtydError> {
    let customers: Vec<(BtydRow, Vec<f64>)> = inputs
        .iter()
        .map(|StageInput { summary, covariates, .. }| {
            let PurchaseSummary { x, t_x, t, .. } = *summary;
            (BtydRow { x, t_x, t }, covariates.clone())
        })
        .collect();
    let base = match spec.counts {
        CountKind::ParetoNbd => CovariateBase::ParetoNbd,
        CountKind::BgNbd | CountKind::MbgNbd | CountKind::Cnbd { .. } => CovariateBase::MbgNbd,
    };
    let covariate_spec = CovariateSpec { prior: spec.prior, ..CovariateSpec::new(base) };
    let (effects, info) =
        CovariateEffects::fit(&covariate_spec, &CovariateRows::try_new(&customers)?)?;
    Ok((StageCovariates { encoding: encoding.clone(), effects }, info))
}

/// Fits the spend model on customers with a paid repeat purchase; none where there are too few.
fn fit_spend(summaries: &[PurchaseSummary], prior: Prior) -> Result<Option<GammaGamma>, BtydError> {
    let rows: Vec<SpendRow> = summaries
        .iter()
        .filter(|s| s.x > 0 && s.spend_repeat_mean > 0.0)
        .map(|s| SpendRow { x: s.x, mean_spend: s.spend_repeat_mean })
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    GammaGamma::fit(&GammaGammaSpec { prior }, &PooledSpend::try_from_rows(&rows)?).map(Some)
}

/// The feature rows of customers, by column.
fn feature_rows(
    spec: &SliceSpec,
    base: &BaseStats,
    replay: &Replay<'_>,
    customers: &[usize],
    as_of: AsOf,
) -> FeatureMatrix {
    let n_columns = crate::features::definitions().len();
    let rows: Vec<Vec<f64>> = customers
        .par_iter()
        .map(|&idx| {
            let mut row = Vec::with_capacity(n_columns);
            extract(base, replay.history(idx), as_of, &mut row);
            row
        })
        .collect();
    let mut matrix = FeatureMatrix::new(&spec.schema_id, n_columns);
    for row in &rows {
        // Every row has one value a definition: extract checks it.
        let pushed = matrix.push_row(row);
        debug_assert!(pushed.is_ok(), "one value a definition");
    }
    matrix
}
