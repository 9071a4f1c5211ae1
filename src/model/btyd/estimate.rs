//! From a log-likelihood with exact derivatives to estimates that say how far they can be trusted.
//!
//! In: the log-likelihood in log parameters, starts, and the quantities a weak prior speaks of.
//! Out: the optimum over all starts with standard errors, or a typed error; and a warning
//! wherever the data do not decide a quantity. It deliberately knows no model's formulas.

use super::error::BtydError;
use super::rows::PooledRows;
use super::rows::count;
use super::special::logistic;
use super::special::softplus;
use crate::model::optimize::Derivs;
use crate::model::optimize::Optimum;
use crate::model::optimize::Stop;
use crate::model::optimize::invert_positive;
use crate::model::optimize::maximize;

/// What is believed of the parameters before the data are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prior {
    /// Nothing: maximum likelihood, as published. Data that do not decide every parameter give an
    /// error.
    None,
    /// Weak, unit-free normal priors on logarithms, worth less than one customer's data where
    /// the data speak: they keep short or one-sided histories finite. See `docs/MODELS.md`.
    #[default]
    Weak,
}

/// The unit of the times a model was fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeUnit {
    /// Days / 7.
    Weeks,
    /// Whole periods, of a length that the caller knows (opportunities, contract terms).
    Periods,
    /// The model has no time (Gamma-Gamma).
    Timeless,
}

/// Something a user of the fit must know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FitWarning {
    /// The data say little about a quantity: the prior decides it.
    PriorDecides {
        /// Which, such as `log(a + b)`.
        quantity: &'static str,
        /// Variance after the data over variance before them, above 0.25; about 1 where the data
        /// say nothing.
        prior_share: f64,
    },
    /// Without a prior: the likelihood is nearly flat in a quantity.
    FlatRidge {
        /// Which, such as `log(a + b)`.
        quantity: &'static str,
        /// Its standard error; above 2 the quantity is known to a factor of 50 at best.
        standard_error: f64,
    },
    /// Another optimum explains the data almost as well.
    SecondOptimum {
        /// How much lower its log-likelihood (with prior) is.
        gap: f64,
    },
    /// Nobody bought twice: rates of repeat purchase are a guess.
    NoRepeatPurchase {
        /// Customers seen.
        n_customers: u64,
    },
    /// Customers or purchases are too much alike to tell by how much: a ceiling holds the
    /// parameter.
    NoSpread {
        /// The parameter, a shape that grows as spread vanishes.
        name: &'static str,
        /// Its estimate.
        found: f64,
    },
    /// Gamma-Gamma's q is at most 1: its population mean is infinite, and a floor stands in.
    InfiniteMeanSpend {
        /// The estimate of q.
        q: f64,
    },
}

impl std::fmt::Display for FitWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PriorDecides { quantity, prior_share } => write!(
                f,
                "the prior decides {quantity}: the data leave {:.0} % of its prior variance",
                100.0 * prior_share
            ),
            Self::FlatRidge { quantity, standard_error } => write!(
                f,
                "the likelihood is flat in {quantity}: its standard error is {standard_error:.2}"
            ),
            Self::SecondOptimum { gap } => {
                write!(f, "a second optimum is only {gap:.3} log-likelihood units lower")
            }
            Self::NoRepeatPurchase { n_customers } => {
                write!(f, "none of {n_customers} customers bought twice: repeat rates are a guess")
            }
            Self::NoSpread { name, found } => {
                write!(f, "there is no spread to estimate: a ceiling holds {name} at {found:.0}")
            }
            Self::InfiniteMeanSpend { q } => {
                write!(f, "q = {q:.3} is at most 1: mean spend is infinite, a floor stands in")
            }
        }
    }
}

/// How a model was fitted; plain numbers, in the order of the model's parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct FitInfo {
    /// Parameter names, with the paper's letters.
    pub names: Vec<&'static str>,
    /// Log-likelihood at the estimates, without the prior.
    pub log_likelihood: f64,
    /// Logarithm of the prior's density at the estimates over its top; 0 without a prior.
    pub log_prior: f64,
    /// Customers.
    pub n: u64,
    /// Unique rows.
    pub n_patterns: usize,
    /// Standard errors of the parameters (delta method; with a prior: posterior, Laplace).
    pub standard_errors: Vec<f64>,
    /// Covariance of the logarithms of the parameters, row by row.
    pub covariance_log: Vec<Vec<f64>>,
    /// Largest absolute derivative at the estimates, in log parameters.
    pub gradient_max: f64,
    /// Evaluations of the winning search.
    pub n_evaluations: u32,
    /// What a user must know.
    pub warnings: Vec<FitWarning>,
    /// Unit of the times.
    pub time_unit: TimeUnit,
}

/// A function of the log parameters on which a prior can speak.
#[derive(Debug, Clone, Copy)]
pub(super) enum Quantity {
    /// One log parameter.
    Log(usize),
    /// ln(p / q) of two parameters.
    LogRatio(usize, usize),
    /// ln(p + q) of two parameters.
    LogSum(usize, usize),
}

/// A normal prior on a quantity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Belief {
    pub(super) name: &'static str,
    pub(super) quantity: Quantity,
    pub(super) centre: f64,
    pub(super) sd: f64,
}

/// Standard deviation of a belief that only keeps an undecided quantity finite: a factor of
/// 3,000 either way is within two of it.
pub(super) const GUARD_SD: f64 = 4.0;
/// Standard deviation of the belief on the known flat direction: a factor of 20 either way.
pub(super) const RIDGE_SD: f64 = 1.5;
/// Least relative variance of spend a customer is taken to have: amounts are rounded. A shape
/// costs this much log-likelihood a customer and unit, which stops it near a million.
const SPREAD_MIN: f64 = 1e-6;
/// A shape above this is held by the ceiling, not by the data.
const SHAPE_HELD: f64 = 0.05 / SPREAD_MIN;
/// Share of prior variance left by the data above which the prior is said to decide.
const PRIOR_SHARE_MAX: f64 = 0.25;
/// Standard error of a logarithm above which a likelihood is said to be flat.
const FLAT_SE: f64 = 2.0;
/// Optima closer than this (in log parameters) are the same.
const SAME_OPTIMUM: f64 = 1e-3;
/// Optima this much lower are no rivals.
const RIVAL_GAP: f64 = 2.0;

impl Belief {
    /// The quantity with its derivatives.
    fn quantity<const N: usize>(&self, point: &[f64; N]) -> Derivs<N> {
        let mut d = Derivs::ZERO;
        match self.quantity {
            Quantity::Log(i) => {
                d.value = point[i];
                d.gradient[i] = 1.0;
            }
            Quantity::LogRatio(i, j) => {
                d.value = point[i] - point[j];
                d.gradient[i] = 1.0;
                d.gradient[j] = -1.0;
            }
            Quantity::LogSum(i, j) => {
                let share = logistic(point[i] - point[j]);
                d.value = point[j] + softplus(point[i] - point[j]);
                d.gradient[i] = share;
                d.gradient[j] = 1.0 - share;
                let bend = share * (1.0 - share);
                d.hessian[i][i] = bend;
                d.hessian[j][j] = bend;
                d.hessian[i][j] = -bend;
                d.hessian[j][i] = -bend;
            }
        }
        d
    }

    /// Log density over its top.
    pub(super) fn log_density<const N: usize>(&self, point: &[f64; N]) -> Derivs<N> {
        let g = self.quantity(point);
        let precision = 1.0 / (self.sd * self.sd);
        let off = g.value - self.centre;
        let mut d = Derivs { value: -0.5 * precision * off * off, ..Derivs::ZERO };
        for i in 0..N {
            d.gradient[i] = -precision * off * g.gradient[i];
            for j in 0..N {
                d.hessian[i][j] =
                    -precision * (g.gradient[i] * g.gradient[j] + off * g.hessian[i][j]);
            }
        }
        d
    }
}

/// A log-likelihood in log parameters.
pub(super) type LogLikelihood<'a, const N: usize> = &'a dyn Fn(&[f64; N]) -> Derivs<N>;

/// A fit to be made.
pub(super) struct Problem<'a, const N: usize> {
    pub(super) model: &'static str,
    pub(super) names: [&'static str; N],
    /// Log parameters to start from.
    pub(super) starts: &'a [[f64; N]],
    pub(super) prior: Prior,
    pub(super) beliefs: &'a [Belief],
    /// Shape parameters that grow without end where spread vanishes.
    pub(super) ceilings: &'a [usize],
    /// Log-likelihood on all rows.
    pub(super) full: LogLikelihood<'a, N>,
    /// Log-likelihood on a part of the rows, to choose among the starts cheaply.
    pub(super) thinned: Option<LogLikelihood<'a, N>>,
    pub(super) n: u64,
    pub(super) n_patterns: usize,
    pub(super) time_unit: TimeUnit,
}

impl<const N: usize> Problem<'_, N> {
    fn log_prior(&self, point: &[f64; N]) -> Derivs<N> {
        let mut sum = Derivs::ZERO;
        if self.prior == Prior::Weak {
            for belief in self.beliefs {
                sum.add(&belief.log_density(point));
            }
            for &i in self.ceilings {
                let pull = SPREAD_MIN * count(self.n) * point[i].exp();
                sum.value -= pull;
                sum.gradient[i] -= pull;
                sum.hessian[i][i] -= pull;
            }
        }
        sum
    }

    fn search(&self, start: [f64; N], of: LogLikelihood<N>) -> Optimum<N> {
        maximize(start, |point| {
            let mut d = of(point);
            d.add(&self.log_prior(point));
            d
        })
    }

    /// Estimates and what is known of them.
    pub(super) fn solve(&self) -> Result<([f64; N], FitInfo), BtydError> {
        let mut optima: Vec<Optimum<N>> = match self.thinned {
            None => self.starts.iter().map(|s| self.search(*s, self.full)).collect(),
            Some(part) => {
                let rough = self.starts.iter().map(|s| self.search(*s, part)).collect();
                let rough = distinct(rough);
                rough.iter().take(2).map(|o| self.search(o.point, self.full)).collect()
            }
        };
        optima = distinct(optima);
        let Some(best) = optima.first().copied() else {
            return Err(BtydError::NoRows { model: self.model });
        };
        let mut negative = best.derivs.hessian;
        for entry in negative.iter_mut().flatten() {
            *entry = -*entry;
        }
        let log_prior = self.log_prior(&best.point).value;
        let log_likelihood = best.derivs.value - log_prior;
        let params = best.point.map(f64::exp);
        let covariance = invert_positive(negative);
        let (Stop::Converged, Some(covariance)) = (best.stop, covariance) else {
            return Err(BtydError::NotConverged {
                model: self.model,
                names: self.names.to_vec(),
                params: params.to_vec(),
                log_likelihood,
                gradient_max: best.derivs.gradient_max(),
                n_evaluations: best.n_evaluations,
                n_starts: self.starts.len(),
            });
        };
        let mut warnings = self.undecided(&best.point, &covariance);
        if let Some(rival) = optima.get(1)
            && rival.stop == Stop::Converged
            && best.derivs.value - rival.derivs.value < RIVAL_GAP
        {
            warnings
                .push(FitWarning::SecondOptimum { gap: best.derivs.value - rival.derivs.value });
        }
        let info = FitInfo {
            names: self.names.to_vec(),
            log_likelihood,
            log_prior,
            n: self.n,
            n_patterns: self.n_patterns,
            standard_errors: (0..N).map(|i| params[i] * covariance[i][i].sqrt()).collect(),
            covariance_log: covariance.iter().map(|row| row.to_vec()).collect(),
            gradient_max: best.derivs.gradient_max(),
            n_evaluations: best.n_evaluations,
            warnings,
            time_unit: self.time_unit,
        };
        Ok((params, info))
    }

    /// Warns of everything that the data leave open.
    fn undecided(&self, point: &[f64; N], covariance: &[[f64; N]; N]) -> Vec<FitWarning> {
        let mut warnings = Vec::new();
        for belief in self.beliefs {
            let slope = belief.quantity(point).gradient;
            let variance: f64 = (0..N)
                .flat_map(|i| (0..N).map(move |j| (i, j)))
                .map(|(i, j)| slope[i] * covariance[i][j] * slope[j])
                .sum();
            let prior_share = variance / (belief.sd * belief.sd);
            let quantity = belief.name;
            match self.prior {
                Prior::Weak if prior_share > PRIOR_SHARE_MAX => {
                    warnings.push(FitWarning::PriorDecides { quantity, prior_share });
                }
                Prior::None if variance.sqrt() > FLAT_SE => {
                    let standard_error = variance.sqrt();
                    warnings.push(FitWarning::FlatRidge { quantity, standard_error });
                }
                _ => {}
            }
        }
        for &i in self.ceilings {
            let found = point[i].exp();
            if found > SHAPE_HELD {
                warnings.push(FitWarning::NoSpread { name: self.names[i], found });
            }
        }
        warnings
    }
}

/// Optima from best to worst, each once; converged ones before the others.
fn distinct<const N: usize>(mut optima: Vec<Optimum<N>>) -> Vec<Optimum<N>> {
    optima.sort_by(|p, q| {
        let open = |o: &Optimum<N>| o.stop != Stop::Converged;
        q.derivs.value.total_cmp(&p.derivs.value).then(open(p).cmp(&open(q)))
    });
    optima.retain(|o| o.derivs.value.is_finite());
    let mut kept: Vec<Optimum<N>> = Vec::new();
    for optimum in optima {
        let twin = kept.iter().position(|k| {
            k.point.iter().zip(optimum.point).all(|(p, q)| (p - q).abs() < SAME_OPTIMUM)
        });
        match twin {
            None => kept.push(optimum),
            Some(at) if kept[at].stop != Stop::Converged && optimum.stop == Stop::Converged => {
                kept[at] = optimum;
            }
            Some(_) => {}
        }
    }
    kept
}

/// What the starts and the guards take from the data: their scale.
pub(super) struct BaseRates {
    /// Repeat purchases a customer and week; positive.
    pub(super) rate: f64,
    /// Mean weeks observed; positive.
    pub(super) weeks: f64,
}

impl BaseRates {
    pub(super) fn of(rows: &PooledRows) -> Self {
        let total_weeks = rows.total(|row| row.t);
        let total_x = rows.total(|row| f64::from(row.x));
        // Half a purchase stands for none; without any time seen, the unit is all there is.
        let rate = f64::max(total_x, 0.5) / if total_weeks > 0.0 { total_weeks } else { 1.0 };
        let weeks = total_weeks / count(rows.n_customers());
        Self { rate, weeks: if weeks > 0.0 { weeks } else { 1.0 } }
    }

    pub(super) fn warning(&self, rows: &PooledRows) -> Option<FitWarning> {
        let nobody = rows.rows().iter().all(|pooled| pooled.row.x == 0);
        nobody.then(|| FitWarning::NoRepeatPurchase { n_customers: rows.n_customers() })
    }
}

/// Rows a chunk: a fixed number, so sums do not depend on the number of threads.
const CHUNK_ROWS: usize = 256;

/// Sums a function of the rows, in parallel, with the same bits on any number of threads.
pub(super) fn sum_rows<T: Sync, const N: usize>(
    rows: &[T],
    of: impl Fn(&T) -> (f64, Derivs<N>) + Sync,
) -> Derivs<N> {
    use rayon::prelude::*;
    let parts: Vec<Derivs<N>> = rows
        .par_chunks(CHUNK_ROWS)
        .map(|chunk| {
            let mut sum = Derivs::ZERO;
            for row in chunk {
                let (weight, derivs) = of(row);
                sum.add_scaled(&derivs, weight);
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
