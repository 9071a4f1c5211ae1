//! The contract models: sBG (Fader and Hardie 2007, How to Project Customer Retention) and the
//! beta-discrete-Weibull (Fader, Hardie, Liu, Davin and Steenburgh 2018, How to Project Customer
//! Retention Revisited: The Role of Duration Dependence).
//!
//! In: pooled cohorts or stored parameters. Out: a fitted model, its survival and retention
//! curves, and residual lifetimes. At the end of each period a customer leaves with a
//! probability that differs among customers, theta ~ Beta(alpha, beta); under BdW a customer's
//! own chance to leave also changes with age, rising where c > 1 and falling where c < 1. It
//! deliberately knows no money: a lifetime times a margin is a value.

use super::bg_bb::check_rate;
use super::contract_core::ContractCore;
use super::contract_core::bdw_likelihood;
use super::contract_core::sbg_likelihood;
use super::contract_rows::PooledCohorts;
use super::error::BtydError;
use super::estimate::Belief;
use super::estimate::FitInfo;
use super::estimate::GUARD_SD;
use super::estimate::Prior;
use super::estimate::Problem;
use super::estimate::Quantity;
use super::estimate::RIDGE_SD;
use super::estimate::TimeUnit;

/// How to fit a contract model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContractSpec {
    /// What is believed before the data are seen.
    pub prior: Prior,
}

/// The parameters of sBG; both positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SbgParams {
    /// First parameter of the Beta distribution of the chance to leave, of mean
    /// alpha / (alpha + beta).
    pub alpha: f64,
    /// Second parameter of it.
    pub beta: f64,
}

/// The parameters of the beta-discrete-Weibull; all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BdwParams {
    /// First parameter of the Beta distribution of the chance to leave in the first period.
    pub alpha: f64,
    /// Second parameter of it.
    pub beta: f64,
    /// Duration dependence: a customer's own chance to leave rises with age above 1, falls
    /// below 1; at 1 the model is sBG.
    pub c: f64,
}

/// A fitted shifted-beta-geometric model.
#[derive(Debug, Clone, PartialEq)]
pub struct Sbg {
    params: SbgParams,
    info: Option<FitInfo>,
    core: ContractCore,
}

/// A fitted beta-discrete-Weibull model.
#[derive(Debug, Clone, PartialEq)]
pub struct Bdw {
    params: BdwParams,
    info: Option<FitInfo>,
    core: ContractCore,
}

/// Different and alike, loyal and fleeting: (alpha, beta).
const STARTS: [(f64, f64); 4] = [(0.7, 1.5), (0.5, 4.0), (3.0, 12.0), (2.0, 2.0)];

const fn belief(name: &'static str, quantity: Quantity, centre: f64, sd: f64) -> Belief {
    Belief { name, quantity, centre, sd }
}

/// ln 4: an eighth to thirty-odd throws of a coin are known of a customer beforehand.
const SIZE_CENTRE: f64 = 2.0 * std::f64::consts::LN_2;

impl Sbg {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 2] = ["alpha", "beta"];

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible without a prior
    /// where nobody left, or after one renewal only.
    pub fn fit(spec: &ContractSpec, rows: &PooledCohorts) -> Result<Self, BtydError> {
        let problem = Problem {
            model: "sBG",
            names: Self::PARAM_NAMES,
            starts: &STARTS.map(|(alpha, beta)| [alpha.ln(), beta.ln()]),
            prior: spec.prior,
            beliefs: &[
                belief("log(alpha + beta)", Quantity::LogSum(0, 1), SIZE_CENTRE, RIDGE_SD),
                belief("log(alpha / beta)", Quantity::LogRatio(0, 1), 0.0, GUARD_SD),
            ],
            ceilings: &[],
            full: &|at| sbg_likelihood(rows, at),
            thinned: None,
            n: rows.n_customers(),
            n_patterns: rows.renewals().len(),
            time_unit: TimeUnit::Periods,
        };
        let ([alpha, beta], info) = problem.solve()?;
        Self::try_from_fit(SbgParams { alpha, beta }, Some(info))
    }

    /// Makes the model from stored parameters and, where there is one, the account of their fit.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_fit(params: SbgParams, info: Option<FitInfo>) -> Result<Self, BtydError> {
        let core = ContractCore::try_sbg([params.alpha, params.beta])?;
        Ok(Self { params, info, core })
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &SbgParams {
        &self.params
    }

    /// How the model was fitted; none if it was made from stored parameters alone.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        self.info.as_ref()
    }

    const fn core(&self) -> &ContractCore {
        &self.core
    }

    /// Expected renewals ahead, without end and without discount, of a customer with `renewals`
    /// behind: (beta + renewals) / (alpha - 1). None where alpha <= 1: the mean is infinite.
    #[must_use]
    pub fn mean_residual_renewals(&self, renewals: u32) -> Option<f64> {
        let SbgParams { alpha, beta } = self.params;
        (alpha > 1.0).then(|| (beta + f64::from(renewals)) / (alpha - 1.0))
    }
}

impl Bdw {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 3] = ["alpha", "beta", "c"];

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible without a prior
    /// where nobody left, or after one or two renewals only.
    pub fn fit(spec: &ContractSpec, rows: &PooledCohorts) -> Result<Self, BtydError> {
        let problem = Problem {
            model: "BdW",
            names: Self::PARAM_NAMES,
            starts: &STARTS.map(|(alpha, beta)| [alpha.ln(), beta.ln(), 0.0]),
            prior: spec.prior,
            beliefs: &[
                belief("log(alpha + beta)", Quantity::LogSum(0, 1), SIZE_CENTRE, RIDGE_SD),
                belief("log c", Quantity::Log(2), 0.0, RIDGE_SD),
                belief("log(alpha / beta)", Quantity::LogRatio(0, 1), 0.0, GUARD_SD),
            ],
            ceilings: &[],
            full: &|at| bdw_likelihood(rows, at),
            thinned: None,
            n: rows.n_customers(),
            n_patterns: rows.renewals().len(),
            time_unit: TimeUnit::Periods,
        };
        let ([alpha, beta, c], info) = problem.solve()?;
        Self::try_from_fit(BdwParams { alpha, beta, c }, Some(info))
    }

    /// Makes the model from stored parameters and, where there is one, the account of their fit.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_fit(params: BdwParams, info: Option<FitInfo>) -> Result<Self, BtydError> {
        let core = ContractCore::try_bdw([params.alpha, params.beta, params.c])?;
        Ok(Self { params, info, core })
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &BdwParams {
        &self.params
    }

    /// How the model was fitted; none if it was made from stored parameters alone.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        self.info.as_ref()
    }

    const fn core(&self) -> &ContractCore {
        &self.core
    }
}

/// One of the contract models.
#[derive(Debug, Clone, PartialEq)]
pub enum ContractModel {
    /// Chances to leave differ among customers.
    Sbg(Sbg),
    /// They also change with age.
    Bdw(Bdw),
}

impl ContractModel {
    /// The model's short name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sbg(_) => "sBG",
            Self::Bdw(_) => "BdW",
        }
    }

    /// The parameters, in the order of [`FitInfo`].
    #[must_use]
    pub fn params(&self) -> Vec<f64> {
        match self {
            Self::Sbg(model) => vec![model.params.alpha, model.params.beta],
            Self::Bdw(model) => vec![model.params.alpha, model.params.beta, model.params.c],
        }
    }

    /// How the model was fitted; none if it was made from stored parameters alone.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        match self {
            Self::Sbg(model) => model.info(),
            Self::Bdw(model) => model.info(),
        }
    }

    const fn core(&self) -> &ContractCore {
        match self {
            Self::Sbg(model) => model.core(),
            Self::Bdw(model) => model.core(),
        }
    }
}

/// The predictions that all contract models offer, written once.
macro_rules! contract_predictions {
    ($model:ident) => {
        impl $model {
            /// Probability, in [0, 1], that a new customer renews at least `t` times; 1 at 0.
            #[must_use]
            pub fn survival(&self, t: u32) -> f64 {
                self.core().survival_from(0, t)
            }

            /// Probability, in [0, 1], that a customer with `renewals` behind renews at least
            /// `t` times more.
            #[must_use]
            pub fn residual_survival(&self, renewals: u32, t: u32) -> f64 {
                self.core().survival_from(renewals, t)
            }

            /// Retention rate of period `t`, from 1: the probability, in [0, 1], that a customer
            /// with t - 1 renewals behind renews once more. 0 counts as 1.
            #[must_use]
            pub fn retention(&self, t: u32) -> f64 {
                self.core().retention(t)
            }

            /// Expected renewals among the next `n_periods` (cut at 10,000) of a customer with
            /// `renewals` behind.
            #[must_use]
            pub fn expected_renewals(&self, renewals: u32, n_periods: u32) -> f64 {
                self.core().expected_renewals(renewals, n_periods)
            }

            /// The number of periods after which half of the customers with `renewals` behind
            /// have left; none beyond 10,000 periods.
            #[must_use]
            pub fn median_residual_periods(&self, renewals: u32) -> Option<u32> {
                self.core().residual_quantile(renewals, 0.5)
            }

            /// Discounted expected residual lifetime of a customer with `renewals` behind,
            /// standing just before the next renewal: renewals ahead without end, the next one
            /// counting 1 and each one after it divided by 1 + rate once more. With n - 1
            /// renewals behind it is the papers' DERL of a customer active in period n.
            ///
            /// # Errors
            /// [`BtydError::InvalidPeriodRate`] for a rate a period outside [0.0001, 10].
            pub fn discounted_residual_lifetime(
                &self,
                renewals: u32,
                rate: f64,
            ) -> Result<f64, BtydError> {
                check_rate(rate).map(|rate| self.core().discounted_residual(renewals, rate))
            }

            /// Expected lifetime value of a new customer who pays `margin` at once and again at
            /// each renewal: margin (1 + DERL / (1 + rate)).
            ///
            /// # Errors
            /// [`BtydError::InvalidPeriodRate`] for a rate a period outside [0.0001, 10].
            pub fn new_customer_value(&self, margin: f64, rate: f64) -> Result<f64, BtydError> {
                let ahead = self.discounted_residual_lifetime(0, rate)?;
                Ok(margin * (1.0 + ahead / (1.0 + rate)))
            }

            /// Expected value ahead of a customer with `renewals` behind, just before the next
            /// renewal, at `margin` a renewal.
            ///
            /// # Errors
            /// [`BtydError::InvalidPeriodRate`] for a rate a period outside [0.0001, 10].
            pub fn residual_value(
                &self,
                renewals: u32,
                margin: f64,
                rate: f64,
            ) -> Result<f64, BtydError> {
                Ok(margin * self.discounted_residual_lifetime(renewals, rate)?)
            }
        }
    };
}

contract_predictions!(Sbg);
contract_predictions!(Bdw);
contract_predictions!(ContractModel);
