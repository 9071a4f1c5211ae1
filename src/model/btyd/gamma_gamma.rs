//! The Gamma-Gamma model of spend: Colombo and Jiang (1999), Fader, Hardie and Lee (2005), and
//! Fader and Hardie's note 025 (2013).
//!
//! In: pooled spend rows or stored parameters. Out: a fitted model and expected spend a purchase.
//! A customer's spends are Gamma(p, rate nu) and nu ~ Gamma(q, rate gamma) differs among
//! customers. It deliberately assumes that what customers spend does not depend on how often
//! they come.

use super::error::BtydError;
use super::estimate::Belief;
use super::estimate::FitInfo;
use super::estimate::FitWarning;
use super::estimate::GUARD_SD;
use super::estimate::Prior;
use super::estimate::Problem;
use super::estimate::Quantity;
use super::estimate::RIDGE_SD;
use super::estimate::TimeUnit;
use super::estimate::sum_rows;
use super::predict::check_params;
use super::rows::PooledSpend;
use super::rows::SpendRow;
use super::rows::count;
use super::special::digamma;
use super::special::ln_gamma;
use super::special::trigamma;
use crate::model::optimize::Derivs;

/// How to fit Gamma-Gamma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GammaGammaSpec {
    /// What is believed before the data are seen.
    pub prior: Prior,
}

/// The parameters of Gamma-Gamma; all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaGammaParams {
    /// Shape of one customer's spends: the larger, the more alike they are.
    pub p: f64,
    /// Shape of the distribution of spend scales: the larger, the more alike customers are.
    pub q: f64,
    /// Scale of spend, in units of the currency: the mean over customers is p gamma / (q - 1).
    pub gamma: f64,
}

/// A fitted Gamma-Gamma model.
#[derive(Debug, Clone, PartialEq)]
pub struct GammaGamma {
    params: GammaGammaParams,
    info: Option<FitInfo>,
}

/// Least value of p x + q - 1 in the denominator of expected spend. At 0 the mean is infinite;
/// with the floor it is large but finite, and continuous in the parameters.
const MEAN_SHAPE_MIN: f64 = 0.1;

impl GammaGamma {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 3] = ["p", "q", "gamma"];

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible with few
    /// customers and no prior.
    pub fn fit(spec: &GammaGammaSpec, rows: &PooledSpend) -> Result<Self, BtydError> {
        let total: f64 = rows.rows().iter().map(|(row, n)| count(*n) * row.mean_spend.ln()).sum();
        let mean_log = total / count(rows.n_customers());
        let starts = [(6.0, 4.0), (1.5, 3.0), (2.0, 10.0), (30.0, 2.0)]
            .map(|(p, q): (f64, f64)| [p.ln(), q.ln(), mean_log + (q / p).ln()]);
        let beliefs = [
            Belief {
                name: "log q",
                quantity: Quantity::Log(1),
                centre: 4.0_f64.ln(),
                sd: RIDGE_SD,
            },
            Belief { name: "log p", quantity: Quantity::Log(0), centre: 0.0, sd: GUARD_SD },
            Belief {
                name: "log gamma",
                quantity: Quantity::Log(2),
                centre: mean_log,
                sd: GUARD_SD,
            },
        ];
        let problem = Problem {
            model: "Gamma-Gamma",
            names: Self::PARAM_NAMES,
            starts: &starts,
            prior: spec.prior,
            beliefs: &beliefs,
            ceilings: &[0, 1],
            full: &|at| likelihood(rows, at),
            thinned: None,
            n: rows.n_customers(),
            n_patterns: rows.rows().len(),
            time_unit: TimeUnit::Timeless,
        };
        let ([p, q, gamma], mut info) = problem.solve()?;
        if q <= 1.0 {
            info.warnings.push(FitWarning::InfiniteMeanSpend { q });
        }
        Self::try_from_fit(GammaGammaParams { p, q, gamma }, Some(info))
    }

    /// Makes the model from stored parameters.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_params(params: GammaGammaParams) -> Result<Self, BtydError> {
        Self::try_from_fit(params, None)
    }

    /// Makes the model from stored parameters and the stored account of their fit.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_fit(
        params: GammaGammaParams,
        info: Option<FitInfo>,
    ) -> Result<Self, BtydError> {
        let GammaGammaParams { p, q, gamma } = params;
        check_params("Gamma-Gamma", &Self::PARAM_NAMES, &[p, q, gamma])?;
        Ok(Self { params, info })
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &GammaGammaParams {
        &self.params
    }

    /// How the model was fitted; none if it was made from stored parameters alone.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        self.info.as_ref()
    }

    /// Expected spend a purchase, in units of the currency, of a customer whose `x` repeat
    /// purchases had the mean `mean_spend`: p (gamma + x mean) / (p x + q - 1).
    ///
    /// Always finite and positive. Without repeat purchases (or with a mean that is not
    /// positive) it is the population's mean. Where p x + q - 1 is below 0.1 (q near or below 1:
    /// the mean is infinite) 0.1 stands in.
    #[must_use]
    pub fn expected_spend(&self, x: u32, mean_spend: f64) -> f64 {
        let GammaGammaParams { p, q, gamma } = self.params;
        let (x, mean) = if x > 0 && mean_spend > 0.0 {
            (f64::from(x), mean_spend.min(1e15))
        } else {
            (0.0, 0.0)
        };
        p * (gamma + x * mean) / f64::max(p * x + q - 1.0, MEAN_SHAPE_MIN)
    }

    /// Mean spend a purchase over the population, p gamma / (q - 1), floored as in
    /// [`Self::expected_spend`].
    #[must_use]
    pub fn population_spend(&self) -> f64 {
        self.expected_spend(0, 0.0)
    }
}

/// Log-likelihood of all rows with derivatives in the log parameters (p, q, gamma).
pub(super) fn likelihood(rows: &PooledSpend, log_params: &[f64; 3]) -> Derivs<3> {
    let point = log_params.map(f64::exp);
    let own_q = [ln_gamma(point[1]), digamma(point[1]), trigamma(point[1])];
    sum_rows(rows.rows(), |(row, n): &(SpendRow, u64)| (count(*n), row_part(&point, &own_q, row)))
}

/// ln G(N) - ln G(px) - ln G(q) + q ln(gamma / D) + px ln(x m / D) - ln m, with G the gamma
/// function, N = px + q and D = gamma + x m; `own_q` is ln G(q) with its derivatives.
fn row_part(point: &[f64; 3], own_q: &[f64; 3], row: &SpendRow) -> Derivs<3> {
    let [p, q, gamma] = *point;
    let x = f64::from(row.x);
    let (px, spent) = (p * x, x * row.mean_spend);
    let (shape, scale) = (px + q, gamma + spent);
    let (share_log, spent_log) = (-(spent / gamma).ln_1p(), -(gamma / spent).ln_1p());
    let share = gamma / scale;
    let (psi, psi_px, psi_1) = (digamma(shape), digamma(px), trigamma(shape));
    let by_p = px * (psi - psi_px + spent_log);
    let by_q = q * (psi - own_q[1] + share_log);
    let by_gamma = q - shape * share;
    let mut d = Derivs {
        value: ln_gamma(shape) - ln_gamma(px) - own_q[0] + q * share_log + px * spent_log
            - row.mean_spend.ln(),
        gradient: [by_p, by_q, by_gamma],
        hessian: [
            [by_p + px * px * (psi_1 - trigamma(px)), px * q * psi_1, -px * share],
            [0.0, by_q + q * q * (psi_1 - own_q[2]), q * (1.0 - share)],
            [0.0, 0.0, -shape * share * (1.0 - share)],
        ],
    };
    for i in 0..3 {
        for j in 0..i {
            d.hessian[i][j] = d.hessian[j][i];
        }
    }
    d
}
