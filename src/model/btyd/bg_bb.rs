//! The BG/BB model of Fader, Hardie and Shang (2010), Customer-Base Analysis in a Discrete-Time
//! Noncontractual Setting.
//!
//! In: pooled rows of opportunities or stored parameters. Out: a fitted model and its
//! predictions. While alive a customer takes each opportunity with probability p ~ Beta(alpha,
//! beta); before each one they leave for good with probability theta ~ Beta(gamma, delta). It
//! deliberately holds no spend and no calendar.

use super::bg_bb_core::BgBbCore;
use super::bg_bb_core::likelihood;
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
use super::opportunity_rows::OpportunityRow;
use super::opportunity_rows::PooledOpportunities;
use super::predict::Prediction;
use super::rows::count;

/// How to fit BG/BB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BgBbSpec {
    /// What is believed before the data are seen.
    pub prior: Prior,
}

/// The parameters of BG/BB; all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgBbParams {
    /// First parameter of the Beta distribution of the chance to buy, of mean
    /// alpha / (alpha + beta).
    pub alpha: f64,
    /// Second parameter of it.
    pub beta: f64,
    /// First parameter of the Beta distribution of the chance to leave, of mean
    /// gamma / (gamma + delta).
    pub gamma: f64,
    /// Second parameter of it.
    pub delta: f64,
}

/// A fitted BG/BB model.
#[derive(Debug, Clone, PartialEq)]
pub struct BgBb {
    params: BgBbParams,
    info: Option<FitInfo>,
    core: BgBbCore,
}

/// Least discount a period at which sums without end are taken.
pub(super) const RATE_MIN: f64 = 1e-4;
/// Largest one: at 10 the next period is worth a tenth of what this one is.
pub(super) const RATE_MAX: f64 = 10.0;

/// Refuses discounts that a sum without end cannot hold.
pub(super) fn check_rate(rate: f64) -> Result<f64, BtydError> {
    if (RATE_MIN..=RATE_MAX).contains(&rate) {
        Ok(rate)
    } else {
        Err(BtydError::InvalidPeriodRate { rate })
    }
}

impl BgBb {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 4] = ["alpha", "beta", "gamma", "delta"];

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible on one-sided or
    /// short histories without a prior.
    pub fn fit(spec: &BgBbSpec, rows: &PooledOpportunities) -> Result<Self, BtydError> {
        let sum = |of: &dyn Fn(&OpportunityRow) -> u32| -> f64 {
            rows.rows().iter().map(|(row, n)| count(*n) * f64::from(of(row))).sum()
        };
        // Somewhere between all opportunities and those until the last one taken.
        let (taken, offered) = (sum(&|row| row.x), sum(&|row| row.n + row.t_x) / 2.0);
        let buys = (taken + 1.0) / (offered + 2.0);
        // Different, alike, and in between; long and short lives.
        let starts = [(2.0, 3.0, 0.2), (1.0, 1.0, 0.1), (6.0, 2.0, 0.4), (2.0, 10.0, 0.05)].map(
            |(buy_size, leave_size, leaves): (f64, f64, f64)| {
                [
                    (buy_size * buys).ln(),
                    (buy_size * (1.0 - buys).max(0.01)).ln(),
                    (leave_size * leaves).ln(),
                    (leave_size * (1.0 - leaves)).ln(),
                ]
            },
        );
        let belief = |name, quantity, centre, sd| Belief { name, quantity, centre, sd };
        let beliefs = [
            belief("log(alpha + beta)", Quantity::LogSum(0, 1), 4.0_f64.ln(), RIDGE_SD),
            belief("log(gamma + delta)", Quantity::LogSum(2, 3), 4.0_f64.ln(), RIDGE_SD),
            belief("log(alpha / beta)", Quantity::LogRatio(0, 1), 0.0, GUARD_SD),
            belief("log(gamma / delta)", Quantity::LogRatio(2, 3), 0.0, GUARD_SD),
        ];
        let problem = Problem {
            model: "BG/BB",
            names: Self::PARAM_NAMES,
            starts: &starts,
            prior: spec.prior,
            beliefs: &beliefs,
            ceilings: &[],
            full: &|at| likelihood(rows, at),
            thinned: None,
            n: rows.n_customers(),
            n_patterns: rows.rows().len(),
            time_unit: TimeUnit::Periods,
        };
        let ([alpha, beta, gamma, delta], mut info) = problem.solve()?;
        if rows.rows().iter().all(|(row, _)| row.x == 0) {
            let n_customers = rows.n_customers();
            info.warnings.push(FitWarning::NoRepeatPurchase { n_customers });
        }
        Self::try_from_fit(BgBbParams { alpha, beta, gamma, delta }, Some(info))
    }

    /// Makes the model from stored parameters.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_params(params: BgBbParams) -> Result<Self, BtydError> {
        Self::try_from_fit(params, None)
    }

    /// Makes the model from stored parameters and the stored account of their fit.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18].
    pub fn try_from_fit(params: BgBbParams, info: Option<FitInfo>) -> Result<Self, BtydError> {
        let BgBbParams { alpha, beta, gamma, delta } = params;
        let core = BgBbCore::try_new([alpha, beta, gamma, delta], &Self::PARAM_NAMES)?;
        Ok(Self { params, info, core })
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &BgBbParams {
        &self.params
    }

    /// How the model was fitted; none if it was made from stored parameters alone.
    #[must_use]
    pub const fn info(&self) -> Option<&FitInfo> {
        self.info.as_ref()
    }

    /// Log-likelihood of one customer.
    ///
    /// Rows that contradict themselves count as the nearest one that does not: periods are cut
    /// at 10,000, `t_x` at `n`, `x` at `t_x`.
    #[must_use]
    pub fn log_likelihood(&self, row: &OpportunityRow) -> f64 {
        // Where nearly certain, rounding would lift it above 0 by some 1e-9.
        self.core.log_likelihood(row).min(0.0)
    }

    /// Probability, in [0, 1], that the customer had not left for good at the last opportunity;
    /// 1 for who took it.
    #[must_use]
    pub fn p_alive(&self, row: &OpportunityRow) -> f64 {
        self.core.p_alive(row)
    }

    /// Probability, in [0, 1], that the customer is still there at the next opportunity: what
    /// the paper calls P(alive at n + 1).
    #[must_use]
    pub fn p_alive_next(&self, row: &OpportunityRow) -> f64 {
        self.core.p_alive_next(row)
    }

    /// P(alive), the probability of no transaction and the expected number of transactions in
    /// the next `n_ahead` periods (cut at 10,000).
    #[must_use]
    pub fn predict(&self, row: &OpportunityRow, n_ahead: u32) -> Prediction {
        self.core.predict(row, n_ahead)
    }

    /// Probability, in [0, 1], of exactly `k` transactions in the next `n_ahead` periods (cut at
    /// 10,000).
    #[must_use]
    pub fn p_exactly(&self, row: &OpportunityRow, n_ahead: u32, k: u32) -> f64 {
        self.core.p_exactly(row, n_ahead, k)
    }

    /// Discounted expected residual transactions: all transactions ahead, without end, those of
    /// the i-th period ahead divided by (1 + rate)^i.
    ///
    /// # Errors
    /// [`BtydError::InvalidPeriodRate`] for a rate a period outside [0.0001, 10].
    pub fn discounted_residual_transactions(
        &self,
        row: &OpportunityRow,
        rate: f64,
    ) -> Result<f64, BtydError> {
        check_rate(rate).map(|rate| self.core.discounted_residual(row, rate))
    }

    /// Expected numbers of customers with 0, 1, ..., `max` transactions in the periods that each
    /// of them was observed for; beside the actual numbers, a test of the fit.
    #[must_use]
    pub fn expected_counts(&self, rows: &PooledOpportunities, max: u32) -> Vec<f64> {
        let new = OpportunityRow { x: 0, t_x: 0, n: 0 };
        let mut by_n = std::collections::BTreeMap::<u32, u64>::new();
        for (row, n_customers) in rows.rows() {
            *by_n.entry(row.n).or_default() += n_customers;
        }
        let at = |k| by_n.iter().map(|(&n, &c)| count(c) * self.p_exactly(&new, n, k)).sum();
        (0..=max).map(at).collect()
    }
}
