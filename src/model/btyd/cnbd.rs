//! The BG/CNBD-k and MBG/CNBD-k models of Platzer and Reutterer (2016), "Ticking Away the
//! Moments", Marketing Science 35(5): regular buyers.
//!
//! In: pooled rows with the summed logarithms of all gaps between purchases, or stored
//! parameters. Out: a fitted model and its predictions. While alive a customer's gaps are
//! Erlang-k of rate lambda ~ Gamma(r, rate alpha): a mean gap of k / lambda whose relative spread
//! is 1 / sqrt(k); after each repeat purchase (MBG: also after the first one) the customer leaves
//! for good with probability p ~ Beta(a, b). With k = 1 they are BG/NBD and MBG/NBD. They
//! deliberately do not choose k: see [`Cnbd::fit_regular`].

use super::base;
use super::base::FrequencyBin;
use super::beta_geometric::FirstThrow;
use super::beta_geometric::THINNED_ROWS;
use super::beta_geometric::beliefs;
use super::beta_geometric::count_part;
use super::beta_geometric::starts;
use super::cnbd_core::CnbdCore;
use super::cnbd_core::K_MAX;
use super::cnbd_core::NAMES;
use super::cnbd_core::row_part;
use super::delegate::purchase_predictions;
use super::error::BtydError;
use super::estimate::BaseRates;
use super::estimate::FitInfo;
use super::estimate::LogLikelihood;
use super::estimate::Prior;
use super::estimate::Problem;
use super::estimate::TimeUnit;
use super::estimate::sum_rows;
use super::predict::Discount;
use super::predict::Prediction;
use super::rows::BtydRow;
use super::rows::PooledRow;
use super::rows::PooledRows;
use super::rows::count;
use super::special::ln_gamma;
use crate::model::optimize::Derivs;

/// How to fit BG/CNBD-k or MBG/CNBD-k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CnbdSpec {
    /// Whether the first purchase can be the last: MBG (`AfterFirst`) or BG (`AfterRepeat`).
    pub first: FirstThrow,
    /// Regularity, 1 to 4: the stages of a gap.
    pub k: u8,
    /// What is believed before the data are seen.
    pub prior: Prior,
}

/// The parameters of BG/CNBD-k or MBG/CNBD-k; all positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CnbdParams {
    /// Whether the first purchase can be the last.
    pub first: FirstThrow,
    /// Regularity, 1 to 4.
    pub k: u8,
    /// Shape of the distribution of stage rates.
    pub r: f64,
    /// Rate of that distribution, in weeks: the mean purchase rate is r / (k alpha) a week.
    pub alpha: f64,
    /// First parameter of the dropout probability's Beta distribution, of mean a / (a + b).
    pub a: f64,
    /// Second parameter of it.
    pub b: f64,
}

/// A fitted BG/CNBD-k or MBG/CNBD-k model.
#[derive(Debug, Clone, PartialEq)]
pub struct Cnbd {
    params: CnbdParams,
    info: Option<FitInfo>,
    core: CnbdCore,
}

const fn model_name(first: FirstThrow) -> &'static str {
    match first {
        FirstThrow::AfterRepeat => "BG/CNBD-k",
        FirstThrow::AfterFirst => "MBG/CNBD-k",
    }
}

impl Cnbd {
    /// Names of the parameters, in the order of [`FitInfo`].
    pub const PARAM_NAMES: [&'static str; 4] = NAMES;

    /// Fits by maximum likelihood, or maximum posterior with the weak prior.
    ///
    /// `log_gap_sum` is the sum over all customers and all their gaps between consecutive
    /// purchases of ln(gap in weeks). It moves no parameter; it decides between one k and another.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where no start leads to an optimum: possible on one-sided or
    /// short histories without a prior; [`BtydError::InvalidGaps`] for a sum that these rows
    /// cannot have; [`BtydError::InvalidRegularity`].
    pub fn fit(spec: &CnbdSpec, rows: &PooledRows, log_gap_sum: f64) -> Result<Self, BtydError> {
        let CnbdSpec { first, k, prior } = *spec;
        let model = model_name(first);
        if !(1..=K_MAX).contains(&usize::from(k)) {
            return Err(BtydError::InvalidRegularity { model, found: k });
        }
        // Equal gaps have the greatest sum of logarithms.
        let most = rows.total(|row| {
            let x = f64::from(row.x);
            if row.x == 0 { 0.0 } else { x * (row.t_x / x).ln() }
        });
        if log_gap_sum.is_nan() || log_gap_sum > most + 1e-6 * (1.0 + most.abs()) {
            return Err(BtydError::InvalidGaps { model, found: log_gap_sum, most });
        }
        let gaps = gap_part(k, rows.total(|row| f64::from(row.x)), log_gap_sum);
        let stages = u32::from(k);
        let full = |at: &[f64; 4]| {
            let mut sum = likelihood(first, stages, rows, at);
            sum.value += gaps;
            sum
        };
        let base = BaseRates::of(rows);
        let starts = starts(base.rate * f64::from(k));
        let beliefs = beliefs(base.weeks / f64::from(k));
        let part = rows.thinned(THINNED_ROWS);
        let thinned =
            part.as_ref().map(|part| move |at: &[f64; 4]| likelihood(first, stages, part, at));
        let problem = Problem {
            model,
            names: NAMES,
            starts: &starts,
            prior,
            beliefs: &beliefs,
            ceilings: &[],
            full: &full,
            thinned: thinned.as_ref().map(|f| f as LogLikelihood<4>),
            n: rows.n_customers(),
            n_patterns: rows.rows().len(),
            time_unit: TimeUnit::Weeks,
        };
        let ([r, alpha, a, b], mut info) = problem.solve()?;
        info.warnings.extend(base.warning(rows));
        Self::try_from_fit(CnbdParams { first, k, r, alpha, a, b }, Some(info))
    }

    /// The regular model (k >= 2) that is clearly more likely than the one with k = 1, whose
    /// log-likelihood is `plain`; none where there is no such k.
    ///
    /// k rises from 2 while each step gains more than ln(n) / 2 in log-likelihood, n being the
    /// customers: half a unit of the Bayesian information criterion for the one number that is
    /// chosen. Of two k that are as good as each other the smaller one holds.
    ///
    /// # Errors
    /// As [`Cnbd::fit`]; a fit that finds no optimum ends the rise and is no error.
    pub fn fit_regular(
        first: FirstThrow,
        prior: Prior,
        rows: &PooledRows,
        log_gap_sum: f64,
        plain: f64,
    ) -> Result<Option<Self>, BtydError> {
        let margin = 0.5 * count(rows.n_customers()).ln();
        let (mut best, mut reached) = (None, plain);
        for k in 2..=u8::try_from(K_MAX).unwrap_or(u8::MAX) {
            match Self::fit(&CnbdSpec { first, k, prior }, rows, log_gap_sum) {
                Ok(model) => {
                    let found = model.info.as_ref().map_or(f64::NAN, |info| info.log_likelihood);
                    if found.is_nan() || found <= reached + margin {
                        break;
                    }
                    (best, reached) = (Some(model), found);
                }
                Err(BtydError::NotConverged { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(best)
    }

    /// Makes the model from stored parameters.
    ///
    /// # Errors
    /// [`BtydError::InvalidParameter`] for a parameter outside [1e-18, 1e18],
    /// [`BtydError::InvalidRegularity`] for a k outside 1 to 4.
    pub fn try_from_params(params: CnbdParams) -> Result<Self, BtydError> {
        Self::try_from_fit(params, None)
    }

    /// Makes the model from stored parameters and the stored account of their fit.
    ///
    /// # Errors
    /// As [`Cnbd::try_from_params`].
    pub fn try_from_fit(params: CnbdParams, info: Option<FitInfo>) -> Result<Self, BtydError> {
        let CnbdParams { first, k, r, alpha, a, b } = params;
        let core = CnbdCore::try_new(first, k, [r, alpha, a, b], model_name(first))?;
        Ok(Self { params, info, core })
    }

    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &CnbdParams {
        &self.params
    }

    /// Log-likelihood of one customer whose gaps have this sum of ln(gap in weeks). The plain
    /// log-likelihood of a row leaves out the part that the gaps alone decide.
    #[must_use]
    pub fn log_likelihood_with_gaps(&self, row: &BtydRow, log_gap_sum: f64) -> f64 {
        self.core.log_likelihood(row) + gap_part(self.params.k, f64::from(row.x), log_gap_sum)
    }
}

purchase_predictions!(Cnbd);

/// The part of the likelihood that no parameter moves: of each gap g, g^(k-1) / (k-1)!.
fn gap_part(k: u8, n_gaps: f64, log_gap_sum: f64) -> f64 {
    if k <= 1 {
        return 0.0;
    }
    f64::from(k - 1) * log_gap_sum - n_gaps * ln_gamma(f64::from(k))
}

/// Log-likelihood of all rows, up to the part of the gaps, with derivatives in the log parameters
/// (r, alpha, a, b).
pub(super) fn likelihood(
    first: FirstThrow,
    k: u32,
    rows: &PooledRows,
    log_params: &[f64; 4],
) -> Derivs<4> {
    let point = log_params.map(f64::exp);
    let mut sum = sum_rows(rows.rows(), |pooled: &PooledRow| {
        (count(pooled.n_customers), row_part(first, k, &point, &pooled.row))
    });
    sum.add(&count_part(first, k, rows, &point));
    sum
}

#[cfg(test)]
mod tests;
