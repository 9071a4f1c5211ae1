//! What BG/NBD and MBG/NBD share: everything but the number of dropout throws.
//!
//! In: parameters, rows. Out: likelihood with derivatives, and predictions. While alive a
//! customer buys at rate lambda ~ Gamma(r, rate alpha); after each repeat purchase (MBG: also
//! after the first one) a coin p ~ Beta(a, b) decides on leaving for good. It deliberately knows
//! no fitting procedure and no discounting.

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
use super::min_count::Ahead;
use super::min_count::Dropout;
use super::predict::Prediction;
use super::predict::check_params;
use super::predict::if_alive;
use super::predict::smallest_count;
use super::predict::tail_prob;
use super::reach::reach_prob;
use super::rows::BtydRow;
use super::rows::PooledRow;
use super::rows::PooledRows;
use super::rows::count;
use super::rows::sane_weeks;
use super::special::PochhammerWalk;
use super::special::ln_pochhammer;
use super::special::ln_survival;
use super::special::logistic;
use super::special::logistic_pair;
use super::special::softplus;
use crate::model::optimize::Derivs;

/// Whether the first purchase can already be the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstThrow {
    /// BG/NBD: the coin falls after each repeat purchase.
    AfterRepeat,
    /// MBG/NBD: it falls after the first purchase too.
    AfterFirst,
}

impl FirstThrow {
    pub(super) const fn model(self) -> &'static str {
        match self {
            Self::AfterRepeat => "BG/NBD",
            Self::AfterFirst => "MBG/NBD",
        }
    }

    /// Throws a customer with `x` repeat purchases has seen.
    pub(super) const fn throws(self, x: u32) -> u32 {
        match self {
            Self::AfterRepeat => x,
            Self::AfterFirst => x.saturating_add(1),
        }
    }
}

/// Parameters with what repeated scoring needs of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BetaGeometric {
    first: FirstThrow,
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
    dropout: Dropout,
}

/// ln of the odds of being gone, a / (b + throws - 1) ((alpha + T) / (alpha + t_x))^(r + x);
/// minus infinity where no throw has been seen.
fn log_odds_gone(point: &[f64; 4], n_throws: u32, row: &BtydRow) -> f64 {
    let [r, alpha, a, b] = *point;
    if n_throws == 0 {
        return f64::NEG_INFINITY;
    }
    let silence = ((alpha + row.t) / (alpha + row.t_x)).ln();
    (a / (b + f64::from(n_throws - 1))).ln() + (r + f64::from(row.x)) * silence
}

impl BetaGeometric {
    /// `params` are r, alpha, a, b.
    pub(super) fn try_new(first: FirstThrow, params: [f64; 4]) -> Result<Self, BtydError> {
        check_params(first.model(), &NAMES, &params)?;
        let [r, alpha, a, b] = params;
        Ok(Self { first, r, alpha, a, b, dropout: Dropout::new(a, b) })
    }

    /// The time over which the purchase rate of a customer changes, in weeks.
    pub(super) fn age_scale(&self, row: &BtydRow) -> f64 {
        self.alpha + row.nearest().t
    }

    /// [`log_odds_gone`] with the first logarithm from a table.
    fn log_odds_gone(&self, n_throws: u32, row: &BtydRow) -> f64 {
        if n_throws == 0 {
            return f64::NEG_INFINITY;
        }
        let silence = ((self.alpha + row.t) / (self.alpha + row.t_x)).ln();
        self.dropout.log_odds(n_throws) + (self.r + f64::from(row.x)) * silence
    }

    fn ahead(&self, row: &BtydRow, h: f64) -> Ahead {
        let shape = self.r + f64::from(row.x);
        let odds = h / (self.alpha + row.t);
        // The plain logarithm is quicker, and as good where 1 + odds loses nothing that matters.
        let log_grown = if odds > 0.25 { (1.0 + odds).ln() } else { odds.ln_1p() };
        let none_prob = (-shape * log_grown).exp();
        Ahead { shape, odds, none_prob, n_throws: self.first.throws(row.x) }
    }

    pub(super) fn log_likelihood(&self, row: &BtydRow) -> f64 {
        let row = row.nearest();
        let n_throws = self.first.throws(row.x);
        let x = f64::from(row.x);
        ln_survival(self.a, self.b, n_throws) + ln_pochhammer(self.r, row.x)
            - self.r * (row.t / self.alpha).ln_1p()
            - x * (self.alpha + row.t).ln()
            + softplus(self.log_odds_gone(n_throws, &row))
    }

    pub(super) fn p_alive(&self, row: &BtydRow) -> f64 {
        let row = row.nearest();
        logistic(-self.log_odds_gone(self.first.throws(row.x), &row))
    }

    pub(super) fn predict(&self, row: &BtydRow, h: f64) -> Prediction {
        let row = row.nearest();
        let ahead = self.ahead(&row, sane_weeks(h));
        let log_odds = self.log_odds_gone(ahead.n_throws, &row);
        let (p_alive, p_gone) = logistic_pair(log_odds);
        Prediction {
            p_alive,
            p_no_purchase: (p_gone + p_alive * ahead.none_prob).min(1.0),
            expected_purchases: if_alive(self.dropout.expected_min(&ahead), p_alive, log_odds),
        }
    }

    /// [`Self::predict`] for the first horizon, and expected purchases within the second.
    pub(super) fn predict_two(&self, row: &BtydRow, [near, far]: [f64; 2]) -> (Prediction, f64) {
        let row = row.nearest();
        let ahead = [near, far].map(|weeks| self.ahead(&row, sane_weeks(weeks)));
        let [ahead, further] = &ahead;
        let log_odds = self.log_odds_gone(ahead.n_throws, &row);
        let (p_alive, p_gone) = logistic_pair(log_odds);
        let [near, far] = self
            .dropout
            .expected_min_two([ahead, further])
            .map(|purchases| if_alive(purchases, p_alive, log_odds));
        let prediction = Prediction {
            p_alive,
            p_no_purchase: (p_gone + p_alive * ahead.none_prob).min(1.0),
            expected_purchases: near,
        };
        (prediction, far)
    }

    /// Expected purchases within each of two horizons.
    pub(super) fn expected_two(&self, row: &BtydRow, weeks: [f64; 2]) -> [f64; 2] {
        let (near, far) = self.predict_two(row, weeks);
        [near.expected_purchases, far]
    }

    pub(super) fn p_no_purchase(&self, row: &BtydRow, h: f64) -> f64 {
        let row = row.nearest();
        let ahead = self.ahead(&row, sane_weeks(h));
        let (p_alive, p_gone) = logistic_pair(self.log_odds_gone(ahead.n_throws, &row));
        (p_gone + p_alive * ahead.none_prob).min(1.0)
    }

    /// P(at least n purchases in the next h weeks) = P(alive) P(N >= n) P(G >= n).
    pub(super) fn p_at_least(&self, row: &BtydRow, h: f64, n: u32) -> f64 {
        let row = row.nearest();
        if n == 0 {
            return 1.0;
        }
        let ahead = self.ahead(&row, sane_weeks(h));
        self.p_alive(&row) * self.p_both_reach(&ahead, n)
    }

    fn p_both_reach(&self, ahead: &Ahead, n: u32) -> f64 {
        let b = self.b + f64::from(ahead.n_throws);
        reach_prob(n, ahead.shape, ahead.odds) * ln_survival(self.a, b, n - 1).exp()
    }

    pub(super) fn purchase_quantile(&self, row: &BtydRow, h: f64, level: f64) -> u32 {
        let row = row.nearest();
        let ahead = self.ahead(&row, sane_weeks(h));
        let p_alive = self.p_alive(&row);
        let tail = tail_prob(level);
        self.dropout
            .first_below(&ahead, tail / p_alive)
            .unwrap_or_else(|| smallest_count(tail, |n| p_alive * self.p_both_reach(&ahead, n)))
    }
}

/// Names of the parameters, in order.
pub(super) const NAMES: [&str; 4] = ["r", "alpha", "a", "b"];

/// Log-likelihood of all rows with derivatives in the log parameters (r, alpha, a, b).
pub(super) fn likelihood(first: FirstThrow, rows: &PooledRows, log_params: &[f64; 4]) -> Derivs<4> {
    let point = log_params.map(f64::exp);
    let mut sum = sum_rows(rows.rows(), |pooled: &PooledRow| {
        (count(pooled.n_customers), row_part(first, &point, &pooled.row))
    });
    sum.add(&count_part(first, 1, rows, &point));
    sum
}

/// The part that depends on x alone: ln (r)_kx + ln (b)_m - ln (a + b)_m, with k stages a
/// purchase.
pub(super) fn count_part(
    first: FirstThrow,
    k: u32,
    rows: &PooledRows,
    point: &[f64; 4],
) -> Derivs<4> {
    let [r, _, a, b] = *point;
    let mut walks = [PochhammerWalk::new(r), PochhammerWalk::new(b), PochhammerWalk::new(a + b)];
    let mut d = Derivs::ZERO;
    for &(x, n_customers) in rows.by_x() {
        let weight = count(n_customers);
        let n_throws = first.throws(x);
        let [l_r, d_r, dd_r] = walks[0].advance(k.saturating_mul(x));
        let [l_b, d_b, dd_b] = walks[1].advance(n_throws);
        let [l_c, d_c, dd_c] = walks[2].advance(n_throws);
        d.value += weight * (l_r + (l_b - l_c));
        d.gradient[0] += weight * r * d_r;
        d.gradient[2] -= weight * a * d_c;
        d.gradient[3] += weight * b * (d_b - d_c);
        d.hessian[0][0] += weight * (r * d_r + r * r * dd_r);
        d.hessian[2][2] -= weight * (a * d_c + a * a * dd_c);
        d.hessian[3][3] += weight * (b * (d_b - d_c) + b * b * (dd_b - dd_c));
        d.hessian[2][3] -= weight * a * b * dd_c;
    }
    d.hessian[3][2] = d.hessian[2][3];
    d
}

/// The part of one row: r ln alpha - (r + x) ln(alpha + T) + ln(1 + odds of being gone).
fn row_part(first: FirstThrow, point: &[f64; 4], row: &BtydRow) -> Derivs<4> {
    let [r, alpha, _, b] = *point;
    let x = f64::from(row.x);
    let k = r + x;
    let end = alpha + row.t;
    let share = alpha / end;
    let mut d = Derivs::ZERO;
    let log_share = share.ln();
    d.value = r * log_share - x * end.ln();
    d.gradient[0] = r * log_share;
    d.gradient[1] = r - k * share;
    d.hessian[0][0] = r * log_share;
    d.hessian[1][1] = -k * share * (1.0 - share);
    d.hessian[0][1] = r * (1.0 - share);

    let n_throws = first.throws(row.x);
    if n_throws > 0 {
        let last = alpha + row.t_x;
        let last_share = alpha / last;
        let silence = (end / last).ln();
        let log_odds = log_odds_gone(point, n_throws, row);
        let gone = logistic(log_odds);
        d.value += softplus(log_odds);
        let turn = b / (b + f64::from(n_throws - 1));
        let shrink = share - last_share;
        let slope = [r * silence, k * shrink, 1.0, -turn];
        let bend_alpha = k * (shrink - (share * share - last_share * last_share));
        let bend = [slope[0], bend_alpha, 0.0, -turn * (1.0 - turn)];
        for i in 0..4 {
            d.gradient[i] += gone * slope[i];
            d.hessian[i][i] += gone * (bend[i] + (1.0 - gone) * slope[i] * slope[i]);
            for j in (i + 1)..4 {
                d.hessian[i][j] += gone * (1.0 - gone) * slope[i] * slope[j];
            }
        }
        d.hessian[0][1] += gone * r * shrink;
    }
    for i in 0..4 {
        for j in 0..i {
            d.hessian[i][j] = d.hessian[j][i];
        }
    }
    d
}

/// Unique rows above which the starts are compared on a part of the data.
pub(super) const THINNED_ROWS: usize = 1_500;

/// Log parameters to start from, for a rate of so many repeat events a customer and week: few and
/// late, many and early, rare and seldom, common dropout.
pub(super) fn starts(rate: f64) -> [[f64; 4]; 4] {
    [(0.25, 0.8, 2.4), (1.0, 1.0, 5.0), (0.5, 0.1, 1.0), (2.0, 1.5, 1.5)]
        .map(|(r, a, b): (f64, f64, f64)| [r.ln(), (r / rate).ln(), a.ln(), b.ln()])
}

/// The weak prior, around a mean time of so many weeks between events.
pub(super) fn beliefs(weeks: f64) -> [Belief; 4] {
    [
        Belief {
            name: "log(a + b)",
            quantity: Quantity::LogSum(2, 3),
            centre: 4.0_f64.ln(),
            sd: RIDGE_SD,
        },
        Belief {
            name: "log(a / b)",
            quantity: Quantity::LogRatio(2, 3),
            centre: 0.0,
            sd: GUARD_SD,
        },
        Belief { name: "log r", quantity: Quantity::Log(0), centre: 0.0, sd: GUARD_SD },
        Belief {
            name: "log(alpha / r)",
            quantity: Quantity::LogRatio(1, 0),
            centre: weeks.ln(),
            sd: GUARD_SD,
        },
    ]
}

/// Fits either model; parameters in the order of [`NAMES`].
pub(super) fn fit(
    first: FirstThrow,
    prior: Prior,
    rows: &PooledRows,
) -> Result<([f64; 4], FitInfo), BtydError> {
    let base = BaseRates::of(rows);
    let starts = starts(base.rate);
    let beliefs = beliefs(base.weeks);
    let part = rows.thinned(THINNED_ROWS);
    let thinned = part.as_ref().map(|part| move |at: &[f64; 4]| likelihood(first, part, at));
    let problem = Problem {
        model: first.model(),
        names: NAMES,
        starts: &starts,
        prior,
        beliefs: &beliefs,
        ceilings: &[],
        full: &|at| likelihood(first, rows, at),
        thinned: thinned.as_ref().map(|f| f as LogLikelihood<4>),
        n: rows.n_customers(),
        n_patterns: rows.rows().len(),
        time_unit: TimeUnit::Weeks,
    };
    let (params, mut info) = problem.solve()?;
    info.warnings.extend(base.warning(rows));
    Ok((params, info))
}
