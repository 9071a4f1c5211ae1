//! The first model stage: buy-till-you-die columns, appended to a row of features.
//!
//! In: a customer's history. Out: six columns that training and scoring both append through this
//! one function. Fitted on data before the cutoff only. With a season clock all times are measured
//! on it; with covariates every customer has count parameters of their own.

use crate::domain::AsOf;
use crate::features::{
    CovariateEncoding, FeatureDef, PurchaseSummary, SeasonClock, purchase_summary, purchase_times,
};
use crate::history::History;

use super::btyd::{BtydRow, CovariateEffects, GammaGamma};
use super::count::CountModel;
use super::purchase_mix::PurchaseMix;

/// The columns, in order.
pub const BTYD_COLUMNS: &[FeatureDef] = &[
    FeatureDef {
        name: "btyd_alive_prob",
        unit: "probability",
        doc: "probability of still being a customer by the purchase-count model (a diagnostic)",
    },
    FeatureDef {
        name: "btyd_churn_prob",
        unit: "probability",
        doc: "probability of no purchase within the churn horizon by the purchase-count model",
    },
    FeatureDef {
        name: "btyd_purchases_churn",
        unit: "count",
        doc: "expected purchases within the churn horizon",
    },
    FeatureDef {
        name: "btyd_purchases_value",
        unit: "count",
        doc: "expected purchases within the value horizon",
    },
    FeatureDef {
        name: "btyd_spend_mean",
        unit: "money",
        doc: "expected spend a purchase by the Gamma-Gamma model",
    },
    FeatureDef {
        name: "btyd_value",
        unit: "money",
        doc: "expected spend within the value horizon: purchases times spend",
    },
];

/// What the stage looks at in one customer as of an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct StageInput {
    /// Purchases so far, on the season clock where there is one.
    pub summary: PurchaseSummary,
    /// Churn and value horizon from the instant on, weeks, on the same clock.
    pub weeks: [f64; 2],
    /// The customer's covariates; empty without an encoding.
    pub covariates: Vec<f64>,
}

/// How a customer is measured for the stage: on which clock, with which covariates.
#[derive(Debug, Clone, Copy)]
pub struct StageView<'s> {
    /// Churn and value horizon, calendar weeks.
    pub weeks: [f64; 2],
    /// The season clock; none is the calendar.
    pub clock: Option<&'s SeasonClock>,
    /// The encoding of covariates.
    pub encoding: Option<&'s CovariateEncoding>,
}

impl StageView<'_> {
    /// Measures a customer for a fit; none for one who has not bought.
    #[must_use]
    pub fn input(&self, history: &History, as_of: AsOf) -> Option<StageInput> {
        Some(self.measured(purchase_summary(history, as_of)?, history, as_of))
    }

    fn measured(&self, mut summary: PurchaseSummary, history: &History, as_of: AsOf) -> StageInput {
        let mut weeks = self.weeks;
        if let Some(clock) = self.clock
            && let Some(first) = history.first_purchase()
            && let Some((_, last)) = history.last_purchase()
        {
            let today = as_of.last_day();
            let t_x = clock.weeks(first.day, last);
            if summary.x > 0 {
                // Gaps keep their proportions: only their sum is known on the clock.
                summary.log_gap_sum += f64::from(summary.x) * (t_x / summary.t_x).ln();
            }
            (summary.t_x, summary.t) = (t_x, clock.weeks(first.day, today));
            weeks = weeks.map(|weeks| clock.weeks(today, today.plus(whole_days(weeks))));
        }
        let covariates = self.encoding.map_or_else(Vec::new, |encoding| encoding.encode(history));
        StageInput { summary, weeks, covariates }
    }
}

/// Weeks as days; horizons are whole days.
fn whole_days(weeks: f64) -> i32 {
    #[allow(clippy::cast_possible_truncation, reason = "horizons are at most 36500 days")]
    let days = (7.0 * weeks).round().clamp(0.0, 36_500.0) as i32;
    days
}

/// Covariates and what they do.
#[derive(Debug, Clone, PartialEq)]
pub struct StageCovariates {
    /// How facts become numbers.
    pub encoding: CovariateEncoding,
    /// What the numbers do.
    pub effects: CovariateEffects,
}

/// The fitted stage.
#[derive(Debug, Clone)]
pub struct BtydStage {
    /// When and how often, for a customer of whom no covariates are known.
    pub counts: CountModel,
    /// Who answers how often; none where `counts` does.
    pub mix: Option<PurchaseMix>,
    /// How much; none where no repeat purchase had a price.
    pub spend: Option<GammaGamma>,
    /// Churn horizon, calendar weeks.
    pub churn_weeks: f64,
    /// Value horizon, calendar weeks.
    pub value_weeks: f64,
    /// The season clock; none is the calendar.
    pub clock: Option<SeasonClock>,
    /// Covariates; with them every customer has count parameters of their own.
    pub covariates: Option<StageCovariates>,
}

impl BtydStage {
    /// Measures a customer for a prediction, which does not look at the gaps between purchases;
    /// none for one who has not bought.
    #[must_use]
    pub fn input(&self, history: &History, as_of: AsOf) -> Option<StageInput> {
        let view = StageView {
            weeks: [self.churn_weeks, self.value_weeks],
            clock: self.clock.as_ref(),
            encoding: self.covariates.as_ref().map(|covariates| &covariates.encoding),
        };
        Some(view.measured(purchase_times(history, as_of)?, history, as_of))
    }

    /// The purchase-count model of a customer with covariates; none where all have the same.
    fn own_counts(&self, covariates: &[f64]) -> Option<CountModel> {
        let held = self.covariates.as_ref()?;
        let params = held.effects.params_of(covariates);
        // Parameters of a customer stay in the range that every model takes.
        CountModel::try_from_params(held.effects.base.name(), params).ok()
    }

    /// Predictive quantiles of the number of purchases within the churn horizon.
    #[must_use]
    pub fn purchase_quantiles<const N: usize>(
        &self,
        input: &StageInput,
        levels: [f64; N],
    ) -> [u32; N] {
        let StageInput { summary, weeks: [weeks, _], covariates } = input;
        let own = self.own_counts(covariates);
        let counts = own.as_ref().unwrap_or(&self.counts);
        let row = BtydRow { x: summary.x, t_x: summary.t_x, t: summary.t };
        levels.map(|level| counts.purchase_quantile(&row, *weeks, level))
    }

    /// P(alive), P(no purchase) in the first of `weeks`, and expected purchases in each of them, of
    /// a customer of whom no covariates are known.
    pub(super) fn predict(&self, summary: &PurchaseSummary, weeks: [f64; 2]) -> [f64; 4] {
        let said = self.counts.predict(summary, weeks);
        let Some(mix) = &self.mix else { return said };
        let [alive, churn, near, far] = said;
        let [near, far] = mix.expected(summary, weeks, (self.counts.kind(), [near, far]));
        [alive, churn, near, far]
    }

    /// Expected purchases within `weeks` of a customer of whom no covariates are known.
    #[must_use]
    pub fn expected_purchases(&self, row: &BtydRow, weeks: f64) -> f64 {
        let BtydRow { x, t_x, t } = *row;
        // No prediction looks at the rest.
        let summary = PurchaseSummary { x, t_x, t, spend_repeat_mean: 0.0, log_gap_sum: 0.0 };
        let [.., far] = self.predict(&summary, [weeks; 2]);
        far
    }

    /// Appends the columns; NaN for a customer who has not bought.
    pub fn append(&self, input: Option<&StageInput>, row: &mut Vec<f64>) {
        let Some(StageInput { summary, weeks, covariates }) = input else {
            row.resize(row.len() + BTYD_COLUMNS.len(), f64::NAN);
            return;
        };
        let [alive, churn, near, far] = match self.own_counts(covariates) {
            Some(own) => own.predict(summary, *weeks),
            None => self.predict(summary, *weeks),
        };
        let spend = self
            .spend
            .as_ref()
            .map_or(0.0, |model| model.expected_spend(summary.x, summary.spend_repeat_mean));
        row.extend_from_slice(&[alive, churn, near, far, spend, far * spend]);
    }
}
