//! Static covariates on Pareto/NBD and MBG/NBD: customers of different origin buy and leave at
//! different rates.
//!
//! In: rows of customers with a few numbers each that do not change (an origin, a kind of
//! customer). Out: the model of a customer without any of them and, for every number, what it
//! does to the purchase rate and to dropout, with standard errors. After Fader and Hardie (2007),
//! "Incorporating time-invariant covariates into the Pareto/NBD and BG/NBD models": with numbers
//! z, the rate of purchase is multiplied by exp(g'z), that is alpha by exp(-g'z); in Pareto/NBD
//! the rate of dropout by exp(d'z), that is beta by exp(-d'z); in MBG/NBD the odds of dropout a/b
//! by exp(d'z), that is a by exp(d'z / 2) and b by exp(-d'z / 2), which is the one-vector case of
//! the two that the note has. It deliberately knows no customer's facts and no encoding.

use rayon::prelude::*;

use super::beta_geometric;
use super::beta_geometric::FirstThrow;
use super::error::BtydError;
use super::estimate::BaseRates;
use super::estimate::Prior;
use super::mbg_nbd::{MbgNbd, MbgNbdParams, MbgNbdSpec};
use super::pareto_nbd;
use super::pareto_nbd::{ParetoNbd, ParetoNbdParams, ParetoNbdSpec};
use super::rows::BtydRow;
use super::rows::PooledRows;
use crate::model::optimize::Derivs;
use crate::model::optimize::Stop;
use crate::model::optimize::invert_positive;
use crate::model::optimize::maximize;

/// Most numbers a customer.
pub const COVARIATES_MAX: usize = 12;
/// The four parameters, what each number does to the rate, what each does to dropout.
const N: usize = 4 + 2 * COVARIATES_MAX;
/// Where the effects on dropout begin.
const DROPOUT: usize = 4 + COVARIATES_MAX;
/// Parameters of a customer stay within what the models hold.
const LOG_PARAM_MAX: f64 = 40.0;
/// Groups of customers with equal numbers a chunk: fixed, so sums do not depend on threads.
const CHUNK_GROUPS: usize = 64;

/// The model that the covariates act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CovariateBase {
    /// MBG/NBD: parameters r, alpha, a, b.
    MbgNbd,
    /// Pareto/NBD: parameters r, alpha, s, beta.
    ParetoNbd,
}

/// How to fit a model with covariates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CovariateSpec {
    /// The model.
    pub base: CovariateBase,
    /// What is believed of the four parameters before the data are seen.
    pub prior: Prior,
    /// Ridge: half of this times the sum of squared effects is taken off the summed
    /// log-likelihood, so 1 believes in effects of about a factor e; at least 0.
    pub ridge: f64,
}

impl CovariateSpec {
    /// MBG/NBD with the weak prior and a ridge of 1.
    #[must_use]
    pub const fn new(base: CovariateBase) -> Self {
        Self { base, prior: Prior::Weak, ridge: 1.0 }
    }
}

/// Customers grouped by their numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct CovariateRows {
    groups: Vec<(Vec<f64>, PooledRows)>,
    pooled: PooledRows,
    n_covariates: usize,
}

impl CovariateRows {
    /// Groups customers, each with the same number of covariates.
    ///
    /// # Errors
    /// [`BtydError::InvalidCovariates`] for more than [`COVARIATES_MAX`] numbers, another number
    /// of them than the first customer has, or one that is not finite; and as
    /// [`PooledRows::try_from_rows`].
    pub fn try_new(customers: &[(BtydRow, Vec<f64>)]) -> Result<Self, BtydError> {
        let wanted = customers.first().map_or(0, |(_, z)| z.len());
        for (row, (_, z)) in customers.iter().enumerate() {
            let finite = z.iter().all(|number| number.is_finite());
            if z.len() > COVARIATES_MAX || z.len() != wanted || !finite {
                let found = z.clone();
                return Err(BtydError::InvalidCovariates { row, found, wanted });
            }
        }
        let rows: Vec<BtydRow> = customers.iter().map(|(row, _)| *row).collect();
        let pooled = PooledRows::try_from_rows(&rows)?;
        let mut order: Vec<usize> = (0..customers.len()).collect();
        order.sort_by(|&p, &q| compare(&customers[p].1, &customers[q].1).then(p.cmp(&q)));
        let mut groups = Vec::new();
        for group in order.chunk_by(|&p, &q| compare(&customers[p].1, &customers[q].1).is_eq()) {
            let rows: Vec<BtydRow> = group.iter().map(|&idx| customers[idx].0).collect();
            groups.push((customers[group[0]].1.clone(), PooledRows::try_from_rows(&rows)?));
        }
        Ok(Self { groups, pooled, n_covariates: wanted })
    }
}

fn compare(p: &[f64], q: &[f64]) -> std::cmp::Ordering {
    let pairs = p.iter().zip(q).map(|(p, q)| p.total_cmp(q));
    pairs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
}

/// What covariates do.
#[derive(Debug, Clone, PartialEq)]
pub struct CovariateEffects {
    /// The model they act on.
    pub base: CovariateBase,
    /// Parameters of a customer whose numbers are all 0: r, alpha, then a, b or s, beta.
    pub params: [f64; 4],
    /// Logarithm of the factor on the purchase rate, for one unit of each number.
    pub rate: Vec<f64>,
    /// Logarithm of the factor on the dropout rate (MBG/NBD: on the odds of dropout).
    pub dropout: Vec<f64>,
}

/// How a model with covariates was fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct CovariateInfo {
    /// Log-likelihood, without prior and ridge.
    pub log_likelihood: f64,
    /// Log-likelihood of the same model without covariates.
    pub log_likelihood_plain: f64,
    /// Customers.
    pub n: u64,
    /// Standard errors of the four parameters (delta method). All standard errors are those of
    /// the inverse Hessian of the penalised log-likelihood, the posterior's of a normal prior with
    /// the ridge as its precision; where the ridge is 0 they are the usual ones.
    pub standard_errors: [f64; 4],
    /// Standard errors of the effects on the rate.
    pub rate_errors: Vec<f64>,
    /// Standard errors of the effects on dropout.
    pub dropout_errors: Vec<f64>,
    /// Largest absolute derivative at the estimates.
    pub gradient_max: f64,
    /// Evaluations of the search.
    pub n_evaluations: u32,
}

impl CovariateEffects {
    /// Fits a model with covariates, from the optimum of the model without them.
    ///
    /// # Errors
    /// [`BtydError::NotConverged`] where the model without covariates has no optimum or the search
    /// ends without one; [`BtydError::InvalidRidge`].
    pub fn fit(
        spec: &CovariateSpec,
        rows: &CovariateRows,
    ) -> Result<(Self, CovariateInfo), BtydError> {
        if !(spec.ridge >= 0.0 && spec.ridge.is_finite()) {
            return Err(BtydError::InvalidRidge { found: spec.ridge });
        }
        let (plain, log_likelihood_plain) = fit_plain(spec, &rows.pooled)?;
        let mut start = [0.0; N];
        start[..4].copy_from_slice(&plain.map(f64::ln));
        let penalty = Penalty::new(spec, rows);
        let best = maximize(start, |at| {
            let mut sum = likelihood(spec.base, rows, at);
            penalty.add(&mut sum, at);
            sum
        });
        let mut negative = best.derivs.hessian;
        negative.iter_mut().flatten().for_each(|entry| *entry = -*entry);
        let covariance = invert_positive(negative);
        let mut params = [0.0; 4];
        for (param, log) in params.iter_mut().zip(best.point) {
            *param = log.exp();
        }
        let log_likelihood = likelihood(spec.base, rows, &best.point).value;
        let (Stop::Converged, Some(covariance)) = (best.stop, covariance) else {
            return Err(BtydError::NotConverged {
                model: "purchase model with covariates",
                names: spec.base.names().to_vec(),
                params: params.to_vec(),
                log_likelihood,
                gradient_max: best.derivs.gradient_max(),
                n_evaluations: best.n_evaluations,
                n_starts: 1,
            });
        };
        let m = rows.n_covariates;
        let error = |i: usize| covariance[i][i].sqrt();
        let mut standard_errors = [0.0; 4];
        for (i, slot) in standard_errors.iter_mut().enumerate() {
            *slot = params[i] * error(i);
        }
        let info = CovariateInfo {
            log_likelihood,
            log_likelihood_plain,
            n: rows.pooled.n_customers(),
            standard_errors,
            rate_errors: (4..4 + m).map(error).collect(),
            dropout_errors: (DROPOUT..DROPOUT + m).map(error).collect(),
            gradient_max: best.derivs.gradient_max(),
            n_evaluations: best.n_evaluations,
        };
        let rate = best.point[4..4 + m].to_vec();
        let dropout = best.point[DROPOUT..DROPOUT + m].to_vec();
        Ok((Self { base: spec.base, params, rate, dropout }, info))
    }

    /// Parameters of a customer with these numbers, in the order of the model's own; numbers that
    /// are missing at the end or not finite count as 0.
    #[must_use]
    pub fn params_of(&self, covariates: &[f64]) -> [f64; 4] {
        let sum = |effects: &[f64]| -> f64 {
            let parts = effects.iter().zip(covariates).map(|(effect, z)| effect * z);
            parts.filter(|part| part.is_finite()).sum()
        };
        let shift = self.base.shift(sum(&self.rate), sum(&self.dropout));
        let mut params = self.params;
        for (param, shift) in params.iter_mut().zip(shift) {
            *param = (param.ln() + shift).clamp(-LOG_PARAM_MAX, LOG_PARAM_MAX).exp();
        }
        params
    }
}

impl CovariateBase {
    /// Its name in bundles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MbgNbd => "mbg_nbd",
            Self::ParetoNbd => "pareto_nbd",
        }
    }

    const fn names(self) -> [&'static str; 4] {
        match self {
            Self::MbgNbd => MbgNbd::PARAM_NAMES,
            Self::ParetoNbd => ParetoNbd::PARAM_NAMES,
        }
    }

    /// What a factor exp(rate) on the purchase rate and exp(dropout) on dropout adds to the log
    /// parameters.
    fn shift(self, rate: f64, dropout: f64) -> [f64; 4] {
        let [to_third, to_fourth] = self.dropout_slopes();
        [0.0, -rate, to_third * dropout, to_fourth * dropout]
    }

    const fn dropout_slopes(self) -> [f64; 2] {
        match self {
            Self::MbgNbd => [0.5, -0.5],
            Self::ParetoNbd => [0.0, -1.0],
        }
    }
}

fn fit_plain(spec: &CovariateSpec, rows: &PooledRows) -> Result<([f64; 4], f64), BtydError> {
    let prior = spec.prior;
    let (params, info) = match spec.base {
        CovariateBase::MbgNbd => {
            let model = MbgNbd::fit(&MbgNbdSpec { prior }, rows)?;
            let MbgNbdParams { r, alpha, a, b } = *model.params();
            ([r, alpha, a, b], model.info().map(|info| info.log_likelihood))
        }
        CovariateBase::ParetoNbd => {
            let model = ParetoNbd::fit(&ParetoNbdSpec { prior }, rows)?;
            let ParetoNbdParams { r, alpha, s, beta } = *model.params();
            ([r, alpha, s, beta], model.info().map(|info| info.log_likelihood))
        }
    };
    Ok((params, info.unwrap_or(f64::NAN)))
}

/// Log-likelihood of all customers with derivatives in the log parameters and the effects.
pub(super) fn likelihood(base: CovariateBase, rows: &CovariateRows, at: &[f64; N]) -> Derivs<N> {
    let parts: Vec<Derivs<N>> = rows
        .groups
        .par_chunks(CHUNK_GROUPS)
        .map(|chunk| {
            let mut sum = Derivs::ZERO;
            for (z, group) in chunk {
                add_group(&mut sum, base, (z, group), at);
            }
            sum
        })
        .collect();
    let mut sum = Derivs::ZERO;
    for part in &parts {
        sum.add(part);
    }
    sum
}

/// Adds customers of equal numbers: their likelihood is that of the plain model at shifted log
/// parameters, so derivatives follow by the chain rule.
fn add_group(
    sum: &mut Derivs<N>,
    base: CovariateBase,
    (z, rows): (&[f64], &PooledRows),
    at: &[f64; N],
) {
    let dot = |effects: &[f64]| -> f64 { effects.iter().zip(z).map(|(e, z)| e * z).sum() };
    let shift = base.shift(dot(&at[4..DROPOUT]), dot(&at[DROPOUT..]));
    let mut point = [0.0; 4];
    for i in 0..4 {
        point[i] = at[i] + shift[i];
    }
    let inner = match base {
        CovariateBase::MbgNbd => beta_geometric::likelihood(FirstThrow::AfterFirst, rows, &point),
        CovariateBase::ParetoNbd => pareto_nbd::likelihood(rows, &point),
    };
    // Each variable moves the four log parameters by these slopes; most move one.
    let slopes = base.dropout_slopes();
    let mut moves: Vec<(usize, [f64; 4])> = Vec::with_capacity(4 + 2 * z.len());
    for i in 0..4 {
        let mut unit = [0.0; 4];
        unit[i] = 1.0;
        moves.push((i, unit));
    }
    for (j, z) in z.iter().enumerate() {
        moves.push((4 + j, [0.0, -z, 0.0, 0.0]));
        moves.push((DROPOUT + j, [0.0, 0.0, slopes[0] * z, slopes[1] * z]));
    }
    sum.value += inner.value;
    for (row, p) in &moves {
        let mut bent = [0.0; 4];
        for ((p, gradient), hessian) in p.iter().zip(inner.gradient).zip(inner.hessian) {
            sum.gradient[*row] += p * gradient;
            for (bent, hessian) in bent.iter_mut().zip(hessian) {
                *bent += p * hessian;
            }
        }
        for (column, q) in &moves {
            let bend: f64 = bent.iter().zip(q).map(|(bent, q)| bent * q).sum();
            sum.hessian[*row][*column] += bend;
        }
    }
}

/// The weak prior on the four parameters and the ridge on the effects.
struct Penalty {
    spec: CovariateSpec,
    beliefs: [super::estimate::Belief; 4],
    n_covariates: usize,
}

impl Penalty {
    fn new(spec: &CovariateSpec, rows: &CovariateRows) -> Self {
        let base = BaseRates::of(&rows.pooled);
        let beliefs = match spec.base {
            CovariateBase::MbgNbd => beta_geometric::beliefs(base.weeks),
            CovariateBase::ParetoNbd => pareto_nbd::beliefs(&base),
        };
        Self { spec: *spec, beliefs, n_covariates: rows.n_covariates }
    }

    fn add(&self, sum: &mut Derivs<N>, at: &[f64; N]) {
        if self.spec.prior == Prior::Weak {
            for belief in &self.beliefs {
                sum.add(&belief.log_density(at));
            }
        }
        for (i, effect) in at.iter().enumerate().skip(4) {
            // Places without a covariate are held at 0, where they start.
            let is_used = (i - 4) % COVARIATES_MAX < self.n_covariates;
            let ridge = if is_used { self.spec.ridge } else { 1.0 };
            sum.value -= 0.5 * ridge * effect * effect;
            sum.gradient[i] -= ridge * effect;
            sum.hessian[i][i] -= ridge;
        }
    }
}

#[cfg(test)]
mod tests;
