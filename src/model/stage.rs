//! The first model stage: buy-till-you-die columns, appended to a row of features.
//!
//! In: a customer's purchase summary. Out: six columns that training and scoring both append
//! through this one function. Fitted on data before the cutoff only.

use crate::features::{FeatureDef, PurchaseSummary};

use thiserror::Error;

use super::btyd::{
    BgNbd, BgNbdParams, BtydError, BtydRow, FitInfo, GammaGamma, MbgNbd, MbgNbdParams, ParetoNbd,
    ParetoNbdParams,
};

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

/// A fitted purchase-count model. Closed: a bundle must list what it can hold.
#[derive(Debug, Clone)]
pub enum CountModel {
    /// BG/NBD (Fader, Hardie and Lee 2005).
    BgNbd(BgNbd),
    /// MBG/NBD (Batislam, Denizel and Filiztekin 2007): dropout also before the first repeat.
    MbgNbd(MbgNbd),
    /// Pareto/NBD (Schmittlein, Morrison and Colombo 1987).
    ParetoNbd(ParetoNbd),
}

impl CountModel {
    /// Its name in metrics and bundles.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BgNbd(_) => "bg_nbd",
            Self::MbgNbd(_) => "mbg_nbd",
            Self::ParetoNbd(_) => "pareto_nbd",
        }
    }

    /// From a stored name and parameters.
    ///
    /// # Errors
    /// [`CountModelError`] for an unknown name or a parameter out of range.
    pub fn try_from_params(name: &str, params: [f64; 4]) -> Result<Self, CountModelError> {
        let [r, alpha, third, fourth] = params;
        let beta = |a, b| (r, alpha, a, b);
        match name {
            "bg_nbd" => {
                let (r, alpha, a, b) = beta(third, fourth);
                Ok(Self::BgNbd(BgNbd::try_from_params(BgNbdParams { r, alpha, a, b })?))
            }
            "mbg_nbd" => {
                let (r, alpha, a, b) = beta(third, fourth);
                Ok(Self::MbgNbd(MbgNbd::try_from_params(MbgNbdParams { r, alpha, a, b })?))
            }
            "pareto_nbd" => {
                let params = ParetoNbdParams { r, alpha, s: third, beta: fourth };
                Ok(Self::ParetoNbd(ParetoNbd::try_from_params(params)?))
            }
            _ => Err(CountModelError::Unknown { name: name.to_owned() }),
        }
    }

    /// Its parameters in the order of the papers: r, alpha, then a, b or s, beta.
    #[must_use]
    pub const fn params(&self) -> [f64; 4] {
        match self {
            Self::BgNbd(model) => {
                let BgNbdParams { r, alpha, a, b } = *model.params();
                [r, alpha, a, b]
            }
            Self::MbgNbd(model) => {
                let MbgNbdParams { r, alpha, a, b } = *model.params();
                [r, alpha, a, b]
            }
            Self::ParetoNbd(model) => {
                let ParetoNbdParams { r, alpha, s, beta } = *model.params();
                [r, alpha, s, beta]
            }
        }
    }

    /// How it was fitted; none if it was made from stored parameters.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        match self {
            Self::BgNbd(model) => model.info(),
            Self::MbgNbd(model) => model.info(),
            Self::ParetoNbd(model) => model.info(),
        }
    }

    /// P(alive), P(no purchase) in the first of `weeks`, and expected purchases in each of them.
    #[must_use]
    pub fn predict(&self, summary: &PurchaseSummary, weeks: [f64; 2]) -> [f64; 4] {
        let PurchaseSummary { x, t_x, t, .. } = *summary;
        let row = BtydRow { x, t_x, t };
        let [near, far] = weeks;
        let (near, far) = match self {
            Self::BgNbd(m) => (m.predict(&row, near), m.predict(&row, far)),
            Self::MbgNbd(m) => (m.predict(&row, near), m.predict(&row, far)),
            Self::ParetoNbd(m) => (m.predict(&row, near), m.predict(&row, far)),
        };
        [near.p_alive, near.p_no_purchase, near.expected_purchases, far.expected_purchases]
    }
}

impl CountModel {
    /// The predictive quantile of the number of purchases within `weeks`: the smallest n such that
    /// at most n have at least the probability `level`.
    #[must_use]
    pub fn purchase_quantile(&self, row: &BtydRow, weeks: f64, level: f64) -> u32 {
        match self {
            Self::BgNbd(m) => m.purchase_quantile(row, weeks, level),
            Self::MbgNbd(m) => m.purchase_quantile(row, weeks, level),
            Self::ParetoNbd(m) => m.purchase_quantile(row, weeks, level),
        }
    }
}

/// Why a stored purchase-count model cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CountModelError {
    /// A name that no model has.
    #[error("unknown purchase-count model {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A parameter out of range.
    #[error(transparent)]
    Params(#[from] BtydError),
}

/// The fitted stage.
#[derive(Debug, Clone)]
pub struct BtydStage {
    /// When and how often.
    pub counts: CountModel,
    /// How much; none where no repeat purchase had a price.
    pub spend: Option<GammaGamma>,
    /// Churn horizon, weeks.
    pub churn_weeks: f64,
    /// Value horizon, weeks.
    pub value_weeks: f64,
}

impl BtydStage {
    /// Appends the columns; NaN for a customer who has not bought.
    pub fn append(&self, summary: Option<&PurchaseSummary>, row: &mut Vec<f64>) {
        let Some(summary) = summary else {
            row.resize(row.len() + BTYD_COLUMNS.len(), f64::NAN);
            return;
        };
        let [alive, churn, near, far] =
            self.counts.predict(summary, [self.churn_weeks, self.value_weeks]);
        let spend = self
            .spend
            .as_ref()
            .map_or(0.0, |model| model.expected_spend(summary.x, summary.spend_repeat_mean));
        row.extend_from_slice(&[alive, churn, near, far, spend, far * spend]);
    }
}
