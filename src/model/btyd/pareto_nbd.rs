//! The Pareto/NBD model of Schmittlein, Morrison and Colombo (1987).
//!
//! In: pooled rows or stored parameters. Out: a fitted model and its predictions. While alive a
//! customer buys at rate lambda ~ Gamma(r, rate alpha), and lives for an exponential time of rate
//! mu ~ Gamma(s, rate beta). It deliberately holds no spend: see `GammaGamma`.

use super::base;
use super::base::FrequencyBin;
use super::beta_geometric::THINNED_ROWS;
use super::delegate::purchase_predictions;
use super::error::BtydError;
use super::estimate::BaseRates;
use super::estimate::Belief;
use super::estimate::FitInfo;
use super::estimate::GUARD_SD;
use super::estimate::LogLikelihood;
use super::estimate::Prior;
use super::estimate::Problem;
use super::estimate::Quantity;
use super::estimate::RIDGE_SD;
use super::estimate::TimeUnit;
use super::estimate::sum_rows;
use super::pareto_core::ParetoCore;
use super::pareto_core::row_part;
use super::predict::Discount;
use super::predict::Prediction;
use super::rows::BtydRow;
use super::rows::PooledRow;
use super::rows::PooledRows;
use super::rows::count;
use super::special::PochhammerWalk;
use crate::model::optimize::Derivs;

/// How to fit Pareto/NBD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParetoNbdSpec {
    /// What is believed before the data are seen.
    pub prior: Prior,
}

/// The parameters of Pareto/NBD; all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParetoNbdParams {
    /// Shape of the distribution of purchase rates.
    pub r: f64,
    /// Rate of that distribution, in weeks: the mean purchase rate is r / alpha a week.
    pub alpha: f64,
    /// Shape of the distribution of dropout rates.
    pub s: f64,
    /// Rate of that distribution, in weeks: the mean dropout rate is s / beta a week.
    pub beta: f64,
}

/// A fitted Pareto/NBD model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParetoNbd {
    params: ParetoNbdParams,
    info: Option<FitInfo>,
    core: ParetoCore,
}

impl ParetoNbd {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 4] = ["r", "alpha", "s", "beta"];

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible on one-sided or
    /// short histories without a prior.
    pub fn fit(spec: &ParetoNbdSpec, rows: &PooledRows) -> Result<Self, BtydError> {
        let base = BaseRates::of(rows);
        // Dropout slow and uneven, fast, even, and very slow.
        let starts = [(0.5, 0.6, 0.4), (1.0, 1.0, 1.0), (2.0, 3.0, 4.0), (0.5, 0.4, 3.0)].map(
            |(r, s, beta): (f64, f64, f64)| {
                [r.ln(), (r / base.rate).ln(), s.ln(), (beta * base.weeks).ln()]
            },
        );
        let beliefs = beliefs(&base);
        let part = rows.thinned(THINNED_ROWS);
        let thinned = part.as_ref().map(|part| move |at: &[f64; 4]| likelihood(part, at));
        let problem = Problem {
            model: "Pareto/NBD",
            names: Self::PARAM_NAMES,
            starts: &starts,
            prior: spec.prior,
            beliefs: &beliefs,
            ceilings: &[],
            full: &|at| likelihood(rows, at),
            thinned: thinned.as_ref().map(|f| f as LogLikelihood<4>),
            n: rows.n_customers(),
            n_patterns: rows.rows().len(),
            time_unit: TimeUnit::Weeks,
        };
        let ([r, alpha, s, beta], mut info) = problem.solve()?;
        info.warnings.extend(base.warning(rows));
        Self::try_from_fit(ParetoNbdParams { r, alpha, s, beta }, Some(info))
    }

    /// Makes the model from stored parameters.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_params(params: ParetoNbdParams) -> Result<Self, BtydError> {
        Self::try_from_fit(params, None)
    }

    /// Makes the model from stored parameters and the stored account of their fit.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_fit(params: ParetoNbdParams, info: Option<FitInfo>) -> Result<Self, BtydError> {
        let ParetoNbdParams { r, alpha, s, beta } = params;
        let core = ParetoCore::try_new([r, alpha, s, beta], &Self::PARAM_NAMES)?;
        Ok(Self { params, info, core })
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &ParetoNbdParams {
        &self.params
    }

    /// Discounted expected residual transactions: all purchases ahead, without end, each
    /// discounted continuously at `rate_per_week` (15 % a year is ln(1.15) / 52). Fader, Hardie
    /// and Lee (2005), "RFM and CLV". The rate is clamped to [1e-9, 1]; NaN counts as 1e-9.
    #[must_use]
    pub fn discounted_residual_purchases(&self, row: &BtydRow, rate_per_week: f64) -> f64 {
        self.core.discounted_residual_purchases(row, rate_per_week)
    }
}

purchase_predictions!(ParetoNbd);

pub(super) fn beliefs(base: &BaseRates) -> [Belief; 4] {
    [
        Belief { name: "log s", quantity: Quantity::Log(2), centre: 0.0, sd: RIDGE_SD },
        Belief {
            name: "log(beta / s)",
            quantity: Quantity::LogRatio(3, 2),
            centre: base.weeks.ln(),
            sd: GUARD_SD,
        },
        Belief { name: "log r", quantity: Quantity::Log(0), centre: 0.0, sd: GUARD_SD },
        Belief {
            name: "log(alpha / r)",
            quantity: Quantity::LogRatio(1, 0),
            centre: base.weeks.ln(),
            sd: GUARD_SD,
        },
    ]
}

/// Log-likelihood of all rows with derivatives in the log parameters (r, alpha, s, beta).
pub(super) fn likelihood(rows: &PooledRows, log_params: &[f64; 4]) -> Derivs<4> {
    let point = log_params.map(f64::exp);
    let mut sum = sum_rows(rows.rows(), |pooled: &PooledRow| {
        (count(pooled.n_customers), row_part(&point, &pooled.row))
    });
    // The part that depends on x alone: ln (r)_x.
    let r = point[0];
    let mut walk = PochhammerWalk::new(r);
    for &(x, n_customers) in rows.by_x() {
        let weight = count(n_customers);
        let [value, slope, bend] = walk.advance(x);
        sum.value += weight * value;
        sum.gradient[0] += weight * r * slope;
        sum.hessian[0][0] += weight * (r * slope + r * r * bend);
    }
    sum
}
