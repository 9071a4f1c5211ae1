//! What can go wrong in the purchase models.

use thiserror::Error;

/// Why rows, parameters or a fit of a purchase model were refused.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BtydError {
    /// There is nothing to fit.
    #[error("{model}: no rows to fit (give at least one customer)")]
    NoRows {
        /// Which model or table.
        model: &'static str,
    },
    /// A purchase row contradicts itself.
    #[error("row {row}: x = {x}, t_x = {t_x}, t = {t} weeks: {issue}")]
    InvalidRow {
        /// Position in the input, from 0.
        row: usize,
        /// Repeat purchases found.
        x: u32,
        /// Weeks from first to last purchase found.
        t_x: f64,
        /// Weeks from first purchase to the end of observation found.
        t: f64,
        /// What is wrong with it.
        issue: RowIssue,
    },
    /// A row of opportunities contradicts itself.
    #[error("row {row}: x = {x}, t_x = {t_x}, n = {n} periods: {issue}")]
    InvalidOpportunity {
        /// Position in the input, from 0.
        row: usize,
        /// Opportunities taken found.
        x: u32,
        /// The last opportunity taken found.
        t_x: u32,
        /// Opportunities found.
        n: u32,
        /// What is wrong with it.
        issue: RowIssue,
    },
    /// A cohort of contracts contradicts itself.
    #[error("cohort {cohort}: period {period}: {issue}")]
    InvalidCohort {
        /// Position in the input, from 0.
        cohort: usize,
        /// The period at which it shows, counted from the start of the contracts.
        period: u32,
        /// What is wrong with it.
        issue: CohortIssue,
    },
    /// A discount a period outside of what a sum without end can hold.
    #[error("discount {rate} a period: wanted a rate in [0.0001, 10]")]
    InvalidPeriodRate {
        /// The rate found.
        rate: f64,
    },
    /// A spend row is outside of what Gamma-Gamma can hold.
    #[error(
        "row {row}: x = {x}, mean spend {mean_spend}: wanted x > 0 and a mean in [1e-9, 1e15] (leave other customers out)"
    )]
    InvalidSpend {
        /// Position in the input, from 0.
        row: usize,
        /// Repeat purchases found.
        x: u32,
        /// Mean spend a repeat purchase found.
        mean_spend: f64,
    },
    /// A parameter is no usable number.
    #[error("{model}: parameter {name} is {found}, wanted a number in [1e-18, 1e18]")]
    InvalidParameter {
        /// Which model.
        model: &'static str,
        /// Which parameter, with the paper's letter.
        name: &'static str,
        /// The number found.
        found: f64,
    },
    /// A regularity that no model has.
    #[error("{model}: regularity k = {found}, wanted 1 to 4")]
    InvalidRegularity {
        /// Which model.
        model: &'static str,
        /// The k found.
        found: u8,
    },
    /// The summed logarithms of gaps contradict the rows.
    #[error(
        "{model}: the logarithms of the gaps (weeks) sum to {found}, wanted a number of at most {most} for these rows"
    )]
    InvalidGaps {
        /// Which model.
        model: &'static str,
        /// The sum found.
        found: f64,
        /// What equal gaps would give: unequal ones give less.
        most: f64,
    },
    /// A customer's covariates cannot be used.
    #[error("row {row}: covariates {found:?}: wanted {wanted} finite numbers, at most 12")]
    InvalidCovariates {
        /// Position in the input, from 0.
        row: usize,
        /// The numbers found.
        found: Vec<f64>,
        /// How many the first customer has.
        wanted: usize,
    },
    /// A ridge that is no ridge.
    #[error("a ridge of {found}: wanted a finite number of at least 0")]
    InvalidRidge {
        /// The number found.
        found: f64,
    },
    /// A discount that is no discount.
    #[error(
        "discount rate {rate} over {period_weeks} weeks: wanted a rate in [0, 1] and a period in [1/7, 520] weeks"
    )]
    InvalidDiscount {
        /// Rate found.
        rate: f64,
        /// Period found, in weeks.
        period_weeks: f64,
    },
    /// No start led to an optimum.
    #[error(
        "{model}: no optimum after {n_evaluations} evaluations from {n_starts} starts: at {names:?} = {params:?} the log-likelihood is {log_likelihood} and the largest gradient {gradient_max:e} (the likelihood has no top there: use the weak prior, or more history)"
    )]
    NotConverged {
        /// Which model.
        model: &'static str,
        /// Parameter names.
        names: Vec<&'static str>,
        /// The best parameters reached.
        params: Vec<f64>,
        /// Log-likelihood there.
        log_likelihood: f64,
        /// Largest absolute derivative there, in log parameters.
        gradient_max: f64,
        /// Evaluations of the last search.
        n_evaluations: u32,
        /// Starts tried.
        n_starts: usize,
    },
}

/// What contradicts itself in a purchase row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowIssue {
    /// A time is NaN, infinite, negative or absurdly long.
    #[error("times must lie in [0, 52200] weeks")]
    TimeOutOfRange,
    /// The last purchase lies after the end of observation.
    #[error("t_x must not exceed t")]
    LastAfterEnd,
    /// More periods than a row may hold.
    #[error("n must not exceed 10000 periods")]
    TooManyPeriods,
    /// More purchases than there were opportunities for, or a last one without any.
    #[error("x must not exceed t_x, and x = 0 and t_x = 0 must go together")]
    MoreThanOpportunities,
    /// A repeat purchase at the moment of the first, or a last purchase without a repeat.
    #[error("x = 0 and t_x = 0 must go together (one purchase occasion a customer and day)")]
    RepeatWithoutTime,
}

/// What contradicts itself in a cohort of contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CohortIssue {
    /// Customers came back: a contract that ended does not go on.
    #[error("{after} customers remain, more than the {before} of the period before it")]
    Rises {
        /// Customers of the period before.
        before: u64,
        /// Customers of this period.
        after: u64,
    },
    /// Nobody to begin with.
    #[error("there are no customers to begin with")]
    Empty,
    /// More periods than a cohort may hold.
    #[error("periods must not exceed 10000")]
    TooManyPeriods,
}
