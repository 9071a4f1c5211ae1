//! The BG/NBD model of Fader, Hardie and Lee (2005), "Counting Your Customers" the Easy Way.
//!
//! In: pooled rows or stored parameters. Out: a fitted model and its predictions. While alive a
//! customer buys at rate lambda ~ Gamma(r, rate alpha), and after each repeat purchase leaves for
//! good with probability p ~ Beta(a, b). It deliberately holds no spend: see `GammaGamma`.

use super::base;
use super::base::FrequencyBin;
use super::beta_geometric::BetaGeometric;
use super::beta_geometric::FirstThrow;
use super::beta_geometric::NAMES;
use super::beta_geometric::fit;
use super::delegate::purchase_predictions;
use super::error::BtydError;
use super::estimate::FitInfo;
use super::estimate::Prior;
use super::predict::Discount;
use super::predict::Prediction;
use super::rows::BtydRow;
use super::rows::PooledRows;

/// How to fit BG/NBD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BgNbdSpec {
    /// What is believed before the data are seen.
    pub prior: Prior,
}

/// The parameters of BG/NBD; all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgNbdParams {
    /// Shape of the distribution of purchase rates.
    pub r: f64,
    /// Rate of that distribution, in weeks: the mean purchase rate is r / alpha a week.
    pub alpha: f64,
    /// First parameter of the dropout probability's Beta distribution, of mean a / (a + b).
    pub a: f64,
    /// Second parameter of it.
    pub b: f64,
}

/// A fitted BG/NBD model.
#[derive(Debug, Clone, PartialEq)]
pub struct BgNbd {
    params: BgNbdParams,
    info: Option<FitInfo>,
    core: BetaGeometric,
}

const FIRST: FirstThrow = FirstThrow::AfterRepeat;

impl BgNbd {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 4] = NAMES;

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible on one-sided or
    /// short histories without a prior.
    pub fn fit(spec: &BgNbdSpec, rows: &PooledRows) -> Result<Self, BtydError> {
        let (params, info) = fit(FIRST, spec.prior, rows)?;
        Self::try_from_fit(Self::named(params), Some(info))
    }

    /// Makes the model from stored parameters.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_params(params: BgNbdParams) -> Result<Self, BtydError> {
        Self::try_from_fit(params, None)
    }

    /// Makes the model from stored parameters and the stored account of their fit.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_fit(params: BgNbdParams, info: Option<FitInfo>) -> Result<Self, BtydError> {
        let BgNbdParams { r, alpha, a, b } = params;
        Ok(Self { params, info, core: BetaGeometric::try_new(FIRST, [r, alpha, a, b])? })
    }

    const fn named([r, alpha, a, b]: [f64; 4]) -> BgNbdParams {
        BgNbdParams { r, alpha, a, b }
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &BgNbdParams {
        &self.params
    }
}

purchase_predictions!(BgNbd);
