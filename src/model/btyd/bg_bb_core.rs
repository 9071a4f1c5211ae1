//! The formulas of BG/BB for one customer.
//!
//! In: parameters and a row (x, t_x, n). Out: log-likelihood with derivatives, and predictions.
//! All sums have positive terms and are walked by their ratios, so nothing cancels and nothing
//! overflows. It deliberately knows no fitting procedure.

use super::beta_mean::discounted_periods;
use super::error::BtydError;
use super::opportunity_rows::OpportunityRow;
use super::opportunity_rows::PERIODS_MAX;
use super::opportunity_rows::PooledOpportunities;
use super::predict::Prediction;
use super::predict::check_params;
use super::rows::count;
use super::special::PochhammerWalk;
use super::special::ln_pochhammer;
use super::special::ln_survival;
use super::special::logistic;
use super::special::softplus;
use crate::model::optimize::Derivs;

/// Parameters of BG/BB, or of one customer after what they did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BgBbCore {
    alpha: f64,
    beta: f64,
    gamma: f64,
    delta: f64,
}

/// A sum of positive terms that may leave the range of a double on the way.
struct ScaledSum {
    sum: f64,
    term: f64,
    log_scale: f64,
}

impl ScaledSum {
    const BIG: f64 = 1e200;

    const fn starting_with(term: f64) -> Self {
        Self { sum: 0.0, term, log_scale: 0.0 }
    }

    /// Adds the current term and moves on to the next one.
    fn add(&mut self, ratio_of_next: f64) {
        self.sum += self.term;
        self.term *= ratio_of_next;
        if self.term > Self::BIG || self.sum > Self::BIG {
            self.term /= Self::BIG;
            self.sum /= Self::BIG;
            self.log_scale += Self::BIG.ln();
        }
    }

    fn ln(&self) -> f64 {
        self.sum.ln() + self.log_scale
    }
}

impl BgBbCore {
    /// `params` are alpha, beta, gamma, delta.
    pub(super) fn try_new(params: [f64; 4], names: &[&'static str; 4]) -> Result<Self, BtydError> {
        check_params("BG/BB", names, &params)?;
        let [alpha, beta, gamma, delta] = params;
        Ok(Self { alpha, beta, gamma, delta })
    }

    /// ln of the odds of being gone after n: minus infinity where the last opportunity was taken.
    fn log_odds_gone(&self, row: &OpportunityRow) -> f64 {
        let Self { alpha, beta, gamma, delta } = *self;
        let x = f64::from(row.x);
        // Left just before opportunity k + 1, for k from n - 1 down to t_x, over "still here".
        let refused = |k: f64| (alpha + beta + k) / (beta + (k - x));
        let last = f64::from(row.n) - 1.0;
        let mut odds = ScaledSum::starting_with(refused(last) * gamma / (delta + last));
        let mut k = last;
        for _ in row.t_x..row.n {
            k -= 1.0;
            odds.add(refused(k) * (gamma + delta + k + 1.0) / (delta + k));
        }
        odds.ln()
    }

    pub(super) fn log_likelihood(&self, row: &OpportunityRow) -> f64 {
        let row = row.nearest();
        let Self { alpha, beta, gamma, delta } = *self;
        ln_pochhammer(alpha, row.x) + ln_pochhammer(beta, row.n - row.x)
            - ln_pochhammer(alpha + beta, row.n)
            + ln_survival(gamma, delta, row.n)
            + softplus(self.log_odds_gone(&row))
    }

    pub(super) fn p_alive(&self, row: &OpportunityRow) -> f64 {
        logistic(-self.log_odds_gone(&row.nearest()))
    }

    pub(super) fn p_alive_next(&self, row: &OpportunityRow) -> f64 {
        let row = row.nearest();
        let age = self.delta + f64::from(row.n);
        logistic(-self.log_odds_gone(&row)) * (age / (self.gamma + age))
    }

    /// What is believed of a customer who is still here: again a BG/BB.
    fn after(&self, row: &OpportunityRow) -> Self {
        let (x, n) = (f64::from(row.x), f64::from(row.n));
        Self {
            alpha: self.alpha + x,
            beta: self.beta + (n - x),
            gamma: self.gamma,
            delta: self.delta + n,
        }
    }

    /// Mean number of periods lived through among the next `n_ahead`, times the chance to buy.
    fn expected(&self, n_ahead: u32) -> f64 {
        let (mut alive, mut sum) = (1.0, 0.0);
        for i in 0..n_ahead.min(PERIODS_MAX) {
            let age = self.delta + f64::from(i);
            alive *= age / (self.gamma + age);
            sum += alive;
        }
        self.alpha / (self.alpha + self.beta) * sum
    }

    /// ln P(exactly k transactions in n periods) of somebody who is here at the start.
    fn log_pmf(&self, k: u32, n: u32) -> f64 {
        let Self { alpha, beta, gamma, delta } = *self;
        if k > n {
            return f64::NEG_INFINITY;
        }
        let real_k = f64::from(k);
        // Leaving before period i + 1, for i from k to n - 1, relative to i = k; then staying.
        let mut sum = ScaledSum::starting_with(1.0);
        let mut i = real_k;
        for _ in k..n {
            let chosen = (i + 1.0) / (i + 1.0 - real_k) * (beta + (i - real_k));
            sum.add(chosen / (alpha + beta + i) * (delta + i) / (gamma + delta + i + 1.0));
            i += 1.0;
        }
        sum.term *= (gamma + delta + f64::from(n)) / gamma;
        sum.add(0.0);
        ln_pochhammer(alpha, k) - ln_pochhammer(alpha + beta, k)
            + ln_survival(gamma, delta, k)
            + (gamma / (gamma + delta + real_k)).ln()
            + sum.ln()
    }

    pub(super) fn p_exactly(&self, row: &OpportunityRow, n_ahead: u32, k: u32) -> f64 {
        let row = row.nearest();
        let log_odds = self.log_odds_gone(&row);
        let stays = self.after(&row).log_pmf(k, n_ahead.min(PERIODS_MAX)).exp();
        let gone = if k == 0 { logistic(log_odds) } else { 0.0 };
        (gone + logistic(-log_odds) * stays).min(1.0)
    }

    pub(super) fn predict(&self, row: &OpportunityRow, n_ahead: u32) -> Prediction {
        let row = row.nearest();
        let n_ahead = n_ahead.min(PERIODS_MAX);
        let log_odds = self.log_odds_gone(&row);
        let (p_alive, after) = (logistic(-log_odds), self.after(&row));
        let none = after.log_pmf(0, n_ahead).exp();
        Prediction {
            p_alive,
            p_no_purchase: (logistic(log_odds) + p_alive * none).min(1.0),
            expected_purchases: p_alive * after.expected(n_ahead),
        }
    }

    pub(super) fn discounted_residual(&self, row: &OpportunityRow, rate: f64) -> f64 {
        let row = row.nearest();
        let after = self.after(&row);
        let buys = after.alpha / (after.alpha + after.beta);
        self.p_alive(&row) * buys * discounted_periods(after.gamma, after.delta, rate)
    }
}

/// ln (c)_n with its derivatives in c, for n = 0, 1, ..., the longest needed.
fn walk(c: f64, n_max: u32) -> Vec<[f64; 3]> {
    let mut walk = PochhammerWalk::new(c);
    (0..=n_max).map(|n| walk.advance(n)).collect()
}

/// Products that all rows share at one point of the parameters.
struct Tables {
    /// Of alpha, beta, alpha + beta, delta, gamma + delta.
    by_n: [Vec<[f64; 3]>; 5],
}

/// Value, slopes and bends in the parameters themselves; the bends that are not 0 are those of
/// (alpha, alpha), (alpha, beta), (beta, beta), (gamma, gamma), (gamma, delta), (delta, delta).
#[derive(Clone, Copy)]
struct Path {
    value: f64,
    slope: [f64; 4],
    bend: [f64; 6],
}

impl Tables {
    fn new(point: &[f64; 4], n_max: u32) -> Self {
        let [alpha, beta, gamma, delta] = *point;
        let of = [alpha, beta, alpha + beta, delta, gamma + delta];
        Self { by_n: of.map(|c| walk(c, n_max + 1)) }
    }

    fn at(&self, table: usize, n: u32) -> [f64; 3] {
        self.by_n[table][n as usize]
    }

    /// x of k opportunities taken by somebody who lives through k of them; `drawn` of the
    /// (gamma + delta) draws of leaving are known.
    fn path(&self, x: u32, k: u32, drawn: u32) -> Path {
        let (a, b, ab) = (self.at(0, x), self.at(1, k - x), self.at(2, k));
        let (d, gd) = (self.at(3, k), self.at(4, drawn));
        Path {
            value: a[0] + b[0] - ab[0] + d[0] - gd[0],
            slope: [a[1] - ab[1], b[1] - ab[1], -gd[1], d[1] - gd[1]],
            bend: [a[2] - ab[2], -ab[2], b[2] - ab[2], -gd[2], -gd[2], d[2] - gd[2]],
        }
    }

    /// Lives through k opportunities and leaves before the next.
    fn leaves(&self, x: u32, k: u32, gamma: f64) -> Path {
        let mut path = self.path(x, k, k + 1);
        path.value += gamma.ln();
        path.slope[2] += 1.0 / gamma;
        path.bend[3] -= 1.0 / (gamma * gamma);
        path
    }
}

const BENDS: [(usize, usize); 6] = [(0, 0), (0, 1), (1, 1), (2, 2), (2, 3), (3, 3)];

/// The log-likelihood of one row, with derivatives in the log parameters.
#[allow(clippy::needless_range_loop, reason = "the upper triangle is filled by row and column")]
fn row_part(tables: &Tables, point: &[f64; 4], row: &OpportunityRow) -> Derivs<4> {
    let gamma = point[2];
    let stays = tables.path(row.x, row.n, row.n);
    let paths = || {
        std::iter::once(stays).chain((row.t_x..row.n).map(move |k| tables.leaves(row.x, k, gamma)))
    };
    let top = paths().fold(f64::NEG_INFINITY, |top, path| top.max(path.value));
    let mut total = 0.0;
    let (mut slope, mut bend) = ([0.0; 4], [[0.0; 4]; 4]);
    for path in paths() {
        let weight = (path.value - top).exp();
        total += weight;
        for i in 0..4 {
            slope[i] += weight * path.slope[i];
            for j in i..4 {
                bend[i][j] += weight * path.slope[i] * path.slope[j];
            }
        }
        for ((i, j), own) in BENDS.into_iter().zip(path.bend) {
            bend[i][j] += weight * own;
        }
    }
    let mut d = Derivs { value: top + total.ln(), ..Derivs::ZERO };
    for i in 0..4 {
        let mean = slope[i] / total;
        d.gradient[i] = point[i] * mean;
        for j in i..4 {
            let entry = point[i] * point[j] * (bend[i][j] / total - mean * slope[j] / total);
            d.hessian[i][j] = entry;
            d.hessian[j][i] = entry;
        }
        d.hessian[i][i] += d.gradient[i];
    }
    d
}

/// Log-likelihood of all rows with derivatives in the log parameters.
pub(super) fn likelihood(rows: &PooledOpportunities, log_params: &[f64; 4]) -> Derivs<4> {
    let point = log_params.map(f64::exp);
    let tables = Tables::new(&point, rows.periods_max());
    super::estimate::sum_rows(rows.rows(), |(row, n): &(OpportunityRow, u64)| {
        (count(*n), row_part(&tables, &point, row))
    })
}
