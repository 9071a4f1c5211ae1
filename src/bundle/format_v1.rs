//! Version 1 of a bundle's files, and the way between them and the models.
//!
//! Every field is named on both sides, so that a new one does not compile until it is handled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::features::{BaseStats, GammaPrior, RhythmBase};
use crate::model::btyd::{GammaGamma, GammaGammaParams};
use crate::model::{
    BtydStage, ChurnKind, ChurnModel, ChurnParts, CountModel, Fitted, Forest, HorizonModel, Hurdle,
    IntervalBin, IntervalTable, LinearV1, Logistic, LogitLine, STACK_MEMBERS, Score, StackWeights,
    TweedieGlm, ValueKind, ValueModel, ValueParts,
};

use super::stage_v1::{CovariatesV1, SeasonV1, WeightedCountsV1};

/// This format's number.
pub(super) const FORMAT: u32 = 1;

/// What a bundle's models score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BundleKind {
    /// Histories of a log.
    #[default]
    Log,
    /// Rows of a ready-made table.
    Table,
}

impl BundleKind {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    fn is_log(&self) -> bool {
        *self == Self::Log
    }
}

/// Unit of time that the buy-till-you-die models of this version are fitted and asked in.
pub const BTYD_TIME_UNIT: &str = "weeks";
/// What those models count as one purchase.
pub const BTYD_OCCASION: &str = "one a customer and day";

impl ManifestV1 {
    /// Refuses models whose numbers are in another unit of time, or count other purchases, than
    /// the rows that this version would feed them.
    ///
    /// # Errors
    /// What was found and what is wanted.
    pub(super) fn check_grain(&self) -> Result<(), String> {
        if self.kind == BundleKind::Table {
            // A table has no purchase models.
            return Ok(());
        }
        let pairs = [
            ("btyd_time_unit", &self.btyd_time_unit, BTYD_TIME_UNIT),
            ("btyd_occasion", &self.btyd_occasion, BTYD_OCCASION),
        ];
        for (field, found, wanted) in pairs {
            if found != wanted {
                return Err(format!(
                    "{field} is {found:?}, this version scores with {wanted:?}: train the bundle \
                     again with this version"
                ));
            }
        }
        Ok(())
    }
}

/// The manifest: what the bundle is, and the digest of every file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestV1 {
    /// Bundle format.
    pub format: u32,
    /// What its models score; left out for a log.
    #[serde(default, skip_serializing_if = "BundleKind::is_log")]
    pub kind: BundleKind,
    /// Name of the model.
    pub name: String,
    /// Digest of the feature schema.
    pub feature_schema: String,
    /// Time zone that days belong to.
    pub timezone: String,
    /// Currency of all amounts, `XXX` where the log says none.
    pub currency: String,
    /// Days of the churn horizon.
    pub churn_horizon_days: u16,
    /// Days of the value horizon.
    pub clv_horizon_days: u16,
    /// Unit of time of the buy-till-you-die models.
    pub btyd_time_unit: String,
    /// What counts as one purchase of those models.
    pub btyd_occasion: String,
    /// Prior of those models.
    pub prior: String,
    /// Seed of the training.
    pub seed: u64,
    /// First day of the log.
    pub data_first: String,
    /// Last day that training looked at.
    pub data_until: String,
    /// Customers in the log.
    pub customers: u64,
    /// Events in the log.
    pub events: u64,
    /// What the data allow to trust, A to D.
    pub grade: String,
    /// Digest of every other file.
    pub files: BTreeMap<String, String>,
}

/// `models.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelsV1 {
    rhythm: RhythmV1,
    counts: CountsV1,
    /// Who answers how many purchases come; left out where `counts` does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purchases: Vec<WeightedCountsV1>,
    /// p, q, gamma.
    spend: Option<[f64; 3]>,
    season: Option<SeasonV1>,
    covariates: Option<CovariatesV1>,
    churn: ChurnV1,
    /// Churn within further horizons; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    horizons: Vec<HorizonV1>,
    value: Option<ValueV1>,
    /// Largest mean, then the ratios at 10 %, 50 % and 90 %.
    intervals: Vec<[f64; 4]>,
    value_quantiles: Vec<f64>,
    ranges: Vec<[f64; 2]>,
    extrapolated: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RhythmV1 {
    /// Shape and rate (days) of the Gamma prior.
    prior: [f64; 2],
    gap_days_p50: f64,
    gap_days_p90: f64,
    history_short: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsV1 {
    model: String,
    /// r, alpha, a, b; for Pareto/NBD r, alpha, s, beta.
    params: [f64; 4],
}

/// Churn within a further horizon.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HorizonV1 {
    days: u16,
    /// Its trees lie in `forest_churn_DAYS.json`.
    churn: ChurnV1,
}

impl HorizonV1 {
    /// The file of its trees; none where it has none.
    pub(super) fn forest_file(&self) -> Option<String> {
        self.churn.forest.then(|| horizon_forest(self.days))
    }

    /// # Errors
    /// What is out of range or unknown.
    pub(super) fn into_model(self, forest: Option<Forest>) -> Result<HorizonModel, String> {
        Ok(HorizonModel { days: self.days, churn: self.churn.into_model(forest)? })
    }
}

/// The file of a further horizon's trees.
pub(super) fn horizon_forest(days: u16) -> String {
    format!("forest_churn_{days}.json")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChurnV1 {
    kind: String,
    base_logit: f64,
    logistic: Option<LinearV1>,
    /// Whether `forest_churn.json` belongs to it.
    forest: bool,
    /// Intercept and slope.
    calibration: [f64; 2],
    /// Weights of closed form, regression and trees; of the stacked kind only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack: Option<[f64; STACK_MEMBERS]>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueV1 {
    kind: String,
    /// Whether `forest_value.json` belongs to it.
    forest: bool,
    glm: Option<LinearV1>,
    /// Only of a hurdle: who buys, and how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hurdle: Option<[LinearV1; 2]>,
    factor: f64,
    /// As that of churn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack: Option<[f64; STACK_MEMBERS]>,
}

/// `cuts.json`: frozen cut points, as plain numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutsV1 {
    /// Ascending cuts of the days since the last order.
    pub days_since_order: Vec<f64>,
    /// Ascending cuts of the number of orders among repeat buyers.
    pub orders: Vec<f64>,
    /// Ascending cuts of the average order value.
    pub avg_order_value: Vec<f64>,
    /// Ascending cuts of the spend in 728 days.
    pub spend_728d: Vec<f64>,
    /// Ascending quantiles of the churn probability over the judged window.
    pub churn_quantiles: Vec<f64>,
}

/// One line of `examples.json`: a history, an instant, and the score that must come out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleV1 {
    /// The history's bytes, hex.
    pub history: String,
    /// The last day seen; the instant is its end.
    pub as_of: String,
    /// Expected probability of churn.
    pub churn_prob: Option<f64>,
    /// Expected probability of churn by horizon: days and probability; left out where the bundle
    /// knows one horizon only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub churn_by_horizon: Vec<(u16, f64)>,
    /// Expected value: mean, 10 %, 50 %, 90 %.
    pub clv: Option<[f64; 4]>,
    /// Expected number of purchases.
    pub expected_purchases: Option<f64>,
}

impl ExampleV1 {
    /// The example's expectation from a score.
    #[must_use]
    pub fn new(history: &[u8], as_of: String, score: &Score) -> Self {
        let clv = score.clv.as_ref().map(|clv| [clv.mean, clv.p10, clv.p50, clv.p90]);
        Self {
            history: history.iter().map(|byte| format!("{byte:02x}")).collect(),
            as_of,
            churn_prob: score.churn_prob,
            churn_by_horizon: score.churn_by_horizon.iter().map(|h| (h.days, h.prob)).collect(),
            clv,
            expected_purchases: score.expected_purchases,
        }
    }

    /// The history's bytes; none where the text is not hex.
    #[must_use]
    pub fn history_bytes(&self) -> Option<Vec<u8>> {
        let digits = self.history.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect()
    }
}

/// The models as a file and the forests beside it.
pub(super) fn to_v1(fitted: &Fitted) -> ModelsV1 {
    let Fitted {
        base,
        stage,
        churn,
        horizons,
        value,
        intervals,
        value_quantiles,
        ranges,
        churn_days: _,
        value_days: _,
        extrapolated,
    } = fitted;
    let BtydStage { counts, mix, spend, churn_weeks: _, value_weeks: _, clock, covariates } = stage;
    // The rest of the base has a file of its own.
    let BaseStats { rhythm, .. } = base;
    let RhythmBase { prior, gap_days_p50, gap_days_p90, history_short } = rhythm;
    ModelsV1 {
        rhythm: RhythmV1 {
            prior: [prior.a, prior.b],
            gap_days_p50: *gap_days_p50,
            gap_days_p90: *gap_days_p90,
            history_short: *history_short,
        },
        counts: CountsV1 { model: counts.name().to_owned(), params: counts.params() },
        purchases: mix.as_ref().map(WeightedCountsV1::all).unwrap_or_default(),
        spend: spend.as_ref().map(|model| {
            let GammaGammaParams { p, q, gamma } = *model.params();
            [p, q, gamma]
        }),
        season: clock.as_ref().map(SeasonV1::new),
        covariates: covariates.as_ref().map(CovariatesV1::new),
        churn: ChurnV1::new(churn),
        horizons: horizons
            .iter()
            .map(|HorizonModel { days, churn }| HorizonV1 {
                days: *days,
                churn: ChurnV1::new(churn),
            })
            .collect(),
        value: value.as_ref().map(|value| ValueV1 {
            kind: value.kind.as_str().to_owned(),
            forest: value.parts.forest.is_some(),
            glm: value.parts.glm.as_ref().map(TweedieGlm::to_v1),
            hurdle: value.parts.hurdle.as_ref().map(|h| [h.comes.to_v1(), h.amount.to_v1()]),
            factor: value.factor,
            stack: (value.kind == ValueKind::Stacked).then(|| value.parts.stack.weights()),
        }),
        intervals: intervals
            .bins
            .iter()
            .map(|bin| [bin.mean_max, bin.ratios[0], bin.ratios[1], bin.ratios[2]])
            .collect(),
        value_quantiles: value_quantiles.clone(),
        ranges: ranges.clone(),
        extrapolated: *extrapolated,
    }
}

impl ModelsV1 {
    /// Whether the churn and the value model have a forest.
    pub(super) fn forests(&self) -> [bool; 2] {
        [self.churn.forest, self.value.as_ref().is_some_and(|value| value.forest)]
    }

    /// Takes out the further horizons, whose forests are read one by one.
    ///
    /// # Errors
    /// Horizons that are out of order or that the first model stage cannot serve.
    pub(super) fn take_horizons(&mut self, primary: u16) -> Result<Vec<HorizonV1>, String> {
        let taken = std::mem::take(&mut self.horizons);
        let days: Vec<u16> = taken.iter().map(|horizon| horizon.days).collect();
        if !days.is_sorted_by(|a, b| a < b) || days.contains(&0) || days.contains(&primary) {
            return Err(format!(
                "further horizons of {days:?} days beside {primary}: they must ascend, each once"
            ));
        }
        if !days.is_empty() && (self.season.is_some() || self.covariates.is_some()) {
            return Err("further horizons with a season clock or covariates".to_owned());
        }
        Ok(taken)
    }

    /// The models, with the forests read from their own files.
    ///
    /// # Errors
    /// What is out of range or unknown.
    pub(super) fn into_fitted(
        self,
        forests: [Option<Forest>; 2],
        horizons: [u16; 2],
    ) -> Result<Fitted, String> {
        let [churn_forest, value_forest] = forests;
        let [churn_days, value_days] = horizons;
        let weeks = |days: u16| f64::from(days) / 7.0;
        let spend = match self.spend {
            Some([p, q, gamma]) => {
                let params = GammaGammaParams { p, q, gamma };
                Some(GammaGamma::try_from_params(params).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let stage = BtydStage {
            counts: self.counts.into_model()?,
            mix: WeightedCountsV1::into_mix(self.purchases)?,
            spend,
            churn_weeks: weeks(churn_days),
            value_weeks: weeks(value_days),
            clock: self.season.map(SeasonV1::into_clock).transpose()?,
            covariates: self.covariates.map(CovariatesV1::into_covariates).transpose()?,
        };
        let value = match self.value {
            Some(value) => Some(value.into_model(value_forest)?),
            None => None,
        };
        let RhythmV1 { prior: [a, b], gap_days_p50, gap_days_p90, history_short } = self.rhythm;
        let prior = GammaPrior { a, b };
        let rhythm = RhythmBase { prior, gap_days_p50, gap_days_p90, history_short };
        let bins = self
            .intervals
            .into_iter()
            .map(|[mean_max, low, mid, high]| IntervalBin { mean_max, ratios: [low, mid, high] });
        Ok(Fitted {
            base: BaseStats::of_rhythm(rhythm),
            stage,
            churn: self.churn.into_model(churn_forest)?,
            horizons: Vec::new(),
            value,
            intervals: IntervalTable { bins: bins.collect() },
            value_quantiles: self.value_quantiles,
            ranges: self.ranges,
            churn_days,
            value_days,
            extrapolated: self.extrapolated,
        })
    }
}

impl CountsV1 {
    fn into_model(self) -> Result<CountModel, String> {
        CountModel::try_from_params(&self.model, self.params).map_err(|error| error.to_string())
    }
}

impl ChurnV1 {
    fn new(churn: &ChurnModel) -> Self {
        Self {
            kind: churn.kind.as_str().to_owned(),
            base_logit: churn.parts.base_logit,
            logistic: churn.parts.logistic.as_ref().map(Logistic::to_v1),
            forest: churn.parts.forest.is_some(),
            calibration: [churn.calibration.intercept(), churn.calibration.slope()],
            stack: (churn.kind == ChurnKind::Stacked).then(|| churn.parts.stack.weights()),
        }
    }

    fn into_model(self, forest: Option<Forest>) -> Result<ChurnModel, String> {
        let kind = ChurnKind::parse(&self.kind)
            .ok_or_else(|| format!("unknown churn model {:?}", self.kind))?;
        let logistic = match self.logistic {
            Some(v1) => Some(Logistic::try_from(v1).map_err(|error| error.to_string())?),
            None => None,
        };
        let [intercept, slope] = self.calibration;
        let calibration =
            LogitLine::try_new(intercept, slope).map_err(|error| error.to_string())?;
        let stack = stack_weights(self.stack, kind == ChurnKind::Stacked)?;
        let parts = ChurnParts { base_logit: self.base_logit, logistic, forest, stack };
        Ok(ChurnModel { kind, parts, calibration })
    }
}

impl ValueV1 {
    fn into_model(self, forest: Option<Forest>) -> Result<ValueModel, String> {
        let kind = ValueKind::parse(&self.kind)
            .ok_or_else(|| format!("unknown value model {:?}", self.kind))?;
        let glm = match self.glm {
            Some(v1) => Some(TweedieGlm::try_from(v1).map_err(|error| error.to_string())?),
            None => None,
        };
        if !(self.factor.is_finite() && self.factor > 0.0) {
            return Err(format!("the value factor is {}, it must be above 0", self.factor));
        }
        let stack = stack_weights(self.stack, kind == ValueKind::Stacked)?;
        let hurdle = match self.hurdle {
            Some([comes, amount]) => Some(Hurdle {
                comes: Logistic::try_from(comes).map_err(|error| error.to_string())?,
                amount: TweedieGlm::try_from(amount).map_err(|error| error.to_string())?,
            }),
            None => None,
        };
        let parts = ValueParts { glm, hurdle, forest, stack };
        Ok(ValueModel { kind, parts, factor: self.factor })
    }
}

/// Checked weights; those of a plain blend where none are stored and none are needed.
fn stack_weights(
    stored: Option<[f64; STACK_MEMBERS]>,
    is_needed: bool,
) -> Result<StackWeights, String> {
    match stored {
        Some(weights) => StackWeights::try_new(weights).map_err(|error| error.to_string()),
        None if is_needed => Err("a stacked model has no weights".to_owned()),
        None => Ok(StackWeights::BLEND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_unit_of_time_or_occasion_is_refused_by_name() {
        let text = include_str!("../../tests/golden/report/cdnow_manifest.json");
        let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["files"] = serde_json::json!({});
        let manifest: ManifestV1 = serde_json::from_value(json).unwrap();
        assert_eq!(manifest.check_grain(), Ok(()));
        let days = ManifestV1 { btyd_time_unit: "days".to_owned(), ..manifest.clone() };
        let found = days.check_grain().unwrap_err();
        assert!(found.contains("btyd_time_unit") && found.contains("\"weeks\""), "{found}");
        let orders = ManifestV1 { btyd_occasion: "one an order".to_owned(), ..manifest };
        assert!(orders.check_grain().unwrap_err().contains("btyd_occasion"));
    }
}
