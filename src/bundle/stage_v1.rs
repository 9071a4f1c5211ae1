//! Version 1 of the parts of the first model stage that not every bundle has: the season clock,
//! covariates and the mean of purchase models.

use serde::{Deserialize, Serialize};

use crate::domain::Day;
use crate::features::{CovariateCode, CovariateEncoding, CovariateSource, SeasonClock};
use crate::model::btyd::{CovariateBase, CovariateEffects};
use crate::model::{CountModel, PurchaseMix, StageCovariates};

/// The season clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeasonV1 {
    /// The last day before the first week.
    start: String,
    /// Speed of each week.
    weekly: Vec<f64>,
    /// Speed by week of the year, for days after the last week.
    yearly: Vec<f64>,
}

/// Covariates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CovariatesV1 {
    /// The model they act on.
    base: String,
    /// Its parameters where all covariates are 0.
    params: [f64; 4],
    /// How facts become numbers.
    fields: Vec<FieldV1>,
    /// Effect of each number on the logarithm of the purchase rate.
    rate: Vec<f64>,
    /// Effect of each number on the logarithm of the rate (or odds) of dropout.
    dropout: Vec<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldV1 {
    name: String,
    code: CodeV1,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum CodeV1 {
    Levels { reference: String, levels: Vec<String> },
    Flag {},
    Number { mean: f64, sd: f64 },
}

/// A member of the mean of purchase models.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightedCountsV1 {
    model: String,
    /// r, alpha, a, b; for Pareto/NBD r, alpha, s, beta.
    params: [f64; 4],
    weight: f64,
}

impl WeightedCountsV1 {
    pub(super) fn all(mix: &PurchaseMix) -> Vec<Self> {
        let of = |(model, weight): &(CountModel, f64)| Self {
            model: model.name().to_owned(),
            params: model.params(),
            weight: *weight,
        };
        mix.members().iter().map(of).collect()
    }

    /// # Errors
    /// What is out of range or unknown. No members are no mean.
    pub(super) fn into_mix(members: Vec<Self>) -> Result<Option<PurchaseMix>, String> {
        if members.is_empty() {
            return Ok(None);
        }
        let of = |Self { model, params, weight }: Self| {
            let model = CountModel::try_from_params(&model, params);
            Ok((model.map_err(|error| error.to_string())?, weight))
        };
        let members: Result<Vec<_>, String> = members.into_iter().map(of).collect();
        PurchaseMix::try_new(members?).map(Some).map_err(|error| error.to_string())
    }
}

impl SeasonV1 {
    pub(super) fn new(clock: &SeasonClock) -> Self {
        let (start, weekly, yearly) = clock.parts();
        Self { start: start.to_string(), weekly: weekly.to_vec(), yearly: yearly.to_vec() }
    }

    /// # Errors
    /// What is out of range.
    pub(super) fn into_clock(self) -> Result<SeasonClock, String> {
        let start = Day::parse(&self.start).map_err(|error| error.to_string())?;
        SeasonClock::try_new(start, self.weekly, self.yearly).map_err(|error| error.to_string())
    }
}

impl CovariatesV1 {
    pub(super) fn new(covariates: &StageCovariates) -> Self {
        let StageCovariates { encoding, effects } = covariates;
        let CovariateEffects { base, params, rate, dropout } = effects;
        let fields = encoding.fields().iter().map(|(source, code)| FieldV1 {
            name: source.name(),
            code: match code {
                CovariateCode::Levels { reference, levels } => {
                    CodeV1::Levels { reference: reference.clone(), levels: levels.clone() }
                }
                CovariateCode::Flag => CodeV1::Flag {},
                CovariateCode::Number { mean, sd } => CodeV1::Number { mean: *mean, sd: *sd },
            },
        });
        Self {
            base: base.name().to_owned(),
            params: *params,
            fields: fields.collect(),
            rate: rate.clone(),
            dropout: dropout.clone(),
        }
    }

    /// # Errors
    /// What is unknown or out of range.
    pub(super) fn into_covariates(self) -> Result<StageCovariates, String> {
        let Self { base, params, fields, rate, dropout } = self;
        let base = match base.as_str() {
            "mbg_nbd" => CovariateBase::MbgNbd,
            "pareto_nbd" => CovariateBase::ParetoNbd,
            _ => return Err(format!("unknown base of covariates {base:?}")),
        };
        let fields = fields.into_iter().map(|FieldV1 { name, code }| {
            let source = CovariateSource::parse(&name).map_err(|error| error.to_string())?;
            let code = match code {
                CodeV1::Levels { reference, levels } => CovariateCode::Levels { reference, levels },
                CodeV1::Flag {} => CovariateCode::Flag,
                CodeV1::Number { mean, sd } => CovariateCode::Number { mean, sd },
            };
            Ok((source, code))
        });
        let fields = fields.collect::<Result<Vec<_>, String>>()?;
        let encoding = CovariateEncoding::try_new(fields).map_err(|error| error.to_string())?;
        let n = encoding.columns().len();
        let numbers = params.iter().chain(&rate).chain(&dropout);
        let in_range = params.iter().all(|param| (1e-18..=1e18).contains(param));
        if rate.len() != n || dropout.len() != n {
            let (rates, dropouts) = (rate.len(), dropout.len());
            return Err(format!("{rates} and {dropouts} effects of {n} covariates"));
        }
        if !in_range || numbers.into_iter().any(|number| !number.is_finite()) {
            return Err("the numbers of the covariates are out of range".to_owned());
        }
        Ok(StageCovariates { encoding, effects: CovariateEffects { base, params, rate, dropout } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covariates() -> StageCovariates {
        let parse = |name| CovariateSource::parse(name).unwrap();
        let levels = vec!["friend".to_owned()];
        let fields = vec![
            (
                parse("acquisition_channel"),
                CovariateCode::Levels { reference: "search".to_owned(), levels },
            ),
            (parse("b2b"), CovariateCode::Flag),
            (parse("contact_people"), CovariateCode::Number { mean: 1.5, sd: 0.25 }),
        ];
        StageCovariates {
            encoding: CovariateEncoding::try_new(fields).unwrap(),
            effects: CovariateEffects {
                base: CovariateBase::MbgNbd,
                params: [0.5, 6.1, 0.9, 1.7],
                rate: vec![0.1, 0.2, -0.3, 1.0 / 3.0],
                dropout: vec![0.0, -1.5, 0.7, 1e-9],
            },
        }
    }

    #[test]
    fn covariates_come_back_as_they_were() {
        let text = serde_json::to_string(&CovariatesV1::new(&covariates())).unwrap();
        let back: CovariatesV1 = serde_json::from_str(&text).unwrap();
        assert_eq!(back.into_covariates().unwrap(), covariates());
    }

    #[test]
    fn damaged_covariates_are_refused() {
        let mut short = CovariatesV1::new(&covariates());
        short.rate.pop();
        assert!(short.into_covariates().unwrap_err().contains("3 and 4 effects of 4"));
        let mut unknown = CovariatesV1::new(&covariates());
        unknown.base = "other".to_owned();
        assert!(unknown.into_covariates().is_err());
        let mut absurd = CovariatesV1::new(&covariates());
        absurd.params[1] = f64::NAN;
        assert!(absurd.into_covariates().is_err());
    }

    #[test]
    fn a_clock_comes_back_as_it_was() {
        let day = Day::parse("2025-03-01").unwrap();
        let clock = SeasonClock::try_new(day, vec![0.7, 1.3, 1.0 / 3.0], vec![1.1; 52]).unwrap();
        let text = serde_json::to_string(&SeasonV1::new(&clock)).unwrap();
        let back: SeasonV1 = serde_json::from_str(&text).unwrap();
        assert_eq!(back.into_clock().unwrap(), clock);
    }
}
