//! The formulas of Pareto/NBD for one customer.
//!
//! In: parameters and a row. Out: log-likelihood with derivatives, and predictions. Everything
//! goes through the odds of being gone, s J, where J is one integral over the time of leaving.
//! It deliberately knows no fitting procedure.

use super::error::BtydError;
use super::pareto_integral::Stretch;
use super::predict::Prediction;
use super::predict::check_params;
use super::predict::if_alive;
use super::predict::smallest_count;
use super::predict::tail_prob;
use super::reach::reach_alive_prob;
use super::rows::BtydRow;
use super::rows::sane_weeks;
use super::special::decay_mean;
use super::special::gauss_legendre;
use super::special::ln_pochhammer;
use super::special::logistic;
use super::special::logistic_pair;
use super::special::softplus;
use crate::model::optimize::Derivs;

/// Parameters of Pareto/NBD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ParetoCore {
    r: f64,
    alpha: f64,
    s: f64,
    beta: f64,
}

/// The time between last purchase and end of observation, in which the customer may have left.
fn silence(point: &[f64; 4], row: &BtydRow) -> Stretch {
    let [r, alpha, s, beta] = *point;
    Stretch {
        alpha_power: r + f64::from(row.x),
        beta_power: s + 1.0,
        alpha_from: alpha + row.t_x,
        beta_from: beta + row.t_x,
        weeks: row.t - row.t_x,
    }
}

/// ln of the odds of being gone for a given value of the integral over the silence.
fn log_odds_gone(point: &[f64; 4], row: &BtydRow, integral: f64) -> f64 {
    let [r, alpha, s, beta] = *point;
    let alpha_log = ((alpha + row.t) / (alpha + row.t_x)).ln();
    let beta_log = ((beta + row.t) / (beta + row.t_x)).ln();
    (r + f64::from(row.x)) * alpha_log + s * beta_log + (s * integral / (beta + row.t_x)).ln()
}

impl ParetoCore {
    /// `params` are r, alpha, s, beta.
    pub(super) fn try_new(params: [f64; 4], names: &[&'static str; 4]) -> Result<Self, BtydError> {
        check_params("Pareto/NBD", names, &params)?;
        let [r, alpha, s, beta] = params;
        Ok(Self { r, alpha, s, beta })
    }

    fn log_odds_gone(&self, row: &BtydRow) -> f64 {
        let point = [self.r, self.alpha, self.s, self.beta];
        log_odds_gone(&point, row, silence(&point, row).integrate(|_| ()))
    }

    /// The time over which the purchase rate of a customer changes, in weeks.
    pub(super) fn age_scale(&self, row: &BtydRow) -> f64 {
        f64::min(self.alpha, self.beta) + row.nearest().t
    }

    pub(super) fn log_likelihood(&self, row: &BtydRow) -> f64 {
        let row = row.nearest();
        ln_pochhammer(self.r, row.x)
            - self.r * (row.t / self.alpha).ln_1p()
            - f64::from(row.x) * (self.alpha + row.t).ln()
            - self.s * (row.t / self.beta).ln_1p()
            + softplus(self.log_odds_gone(&row))
    }

    pub(super) fn p_alive(&self, row: &BtydRow) -> f64 {
        logistic(-self.log_odds_gone(&row.nearest()))
    }

    /// P(no purchase in h | alive): silent to the end, or gone before it and silent until then.
    fn none_prob(&self, row: &BtydRow, h: f64) -> f64 {
        let ahead = Stretch {
            alpha_power: self.r + f64::from(row.x),
            beta_power: self.s + 1.0,
            alpha_from: self.alpha + row.t,
            beta_from: self.beta + row.t,
            weeks: h,
        };
        let stays = -ahead.alpha_power * (h / ahead.alpha_from).ln_1p()
            - self.s * (h / ahead.beta_from).ln_1p();
        stays.exp() + self.s / ahead.beta_from * ahead.integrate(|_| ())
    }

    pub(super) fn p_no_purchase(&self, row: &BtydRow, h: f64) -> f64 {
        let (row, h) = (row.nearest(), sane_weeks(h));
        let log_odds = self.log_odds_gone(&row);
        let (p_alive, p_gone) = logistic_pair(log_odds);
        (p_gone + p_alive * self.none_prob(&row, h)).min(1.0)
    }

    pub(super) fn predict(&self, row: &BtydRow, h: f64) -> Prediction {
        let (row, h) = (row.nearest(), sane_weeks(h));
        let log_odds = self.log_odds_gone(&row);
        let (p_alive, p_gone) = logistic_pair(log_odds);
        Prediction {
            p_alive,
            p_no_purchase: (p_gone + p_alive * self.none_prob(&row, h)).min(1.0),
            expected_purchases: if_alive(self.expected_alive(&row, h), p_alive, log_odds),
        }
    }

    /// Expected purchases within `h` weeks of a customer who is there.
    fn expected_alive(&self, row: &BtydRow, h: f64) -> f64 {
        let (age, beta_age) = (self.alpha + row.t, self.beta + row.t);
        let lifetime_log = (h / beta_age).ln_1p();
        let weeks_alive = beta_age * lifetime_log * decay_mean((self.s - 1.0) * lifetime_log);
        (self.r + f64::from(row.x)) / age * weeks_alive
    }

    /// [`Self::predict`] for the first horizon, and expected purchases within the second: the
    /// integral over the silence is taken once.
    pub(super) fn predict_two(&self, row: &BtydRow, [near, far]: [f64; 2]) -> (Prediction, f64) {
        let (row, near, far) = (row.nearest(), sane_weeks(near), sane_weeks(far));
        let log_odds = self.log_odds_gone(&row);
        let (p_alive, p_gone) = logistic_pair(log_odds);
        let expected = |weeks| if_alive(self.expected_alive(&row, weeks), p_alive, log_odds);
        let prediction = Prediction {
            p_alive,
            p_no_purchase: (p_gone + p_alive * self.none_prob(&row, near)).min(1.0),
            expected_purchases: expected(near),
        };
        (prediction, expected(far))
    }

    /// Expected purchases within each of two horizons: needs the integral over the silence alone.
    pub(super) fn expected_two(&self, row: &BtydRow, weeks: [f64; 2]) -> [f64; 2] {
        let row = row.nearest();
        let log_odds = self.log_odds_gone(&row);
        let (p_alive, _) = logistic_pair(log_odds);
        weeks.map(|h| if_alive(self.expected_alive(&row, sane_weeks(h)), p_alive, log_odds))
    }

    pub(super) fn discounted_residual_purchases(&self, row: &BtydRow, rate_per_week: f64) -> f64 {
        let row = row.nearest();
        let rate = if rate_per_week > 1e-9 { rate_per_week.min(1.0) } else { 1e-9 };
        let beta_age = self.beta + row.t;
        let pace = rate * beta_age;
        // Integral of e^(-pace v) (1 + v)^-s over v > 0, in y = ln(1 + v).
        let (mut sum, mut from) = (0.0, 0.0);
        loop {
            let fall = pace * f64::exp(from) + self.s;
            let to = from + f64::min(1.0, 6.0 / fall);
            gauss_legendre(from, to, |y, weight| {
                sum += weight * (y - pace * y.exp_m1() - self.s * y).exp();
            });
            from = to;
            let last = (from - pace * from.exp_m1() - self.s * from).exp();
            // Beyond here the integrand falls at least by e a unit of y, or the discount ends it.
            let fall = pace * f64::exp(from) + self.s - 1.0;
            if fall > 0.0 && last < 1e-17 * fall * sum {
                break;
            }
        }
        self.p_alive(&row) * (self.r + f64::from(row.x)) / (self.alpha + row.t) * beta_age * sum
    }

    pub(super) fn p_at_least(&self, row: &BtydRow, h: f64, n: u32) -> f64 {
        let (row, h) = (row.nearest(), sane_weeks(h));
        self.p_alive(&row) * self.reach_prob(&row, h, n)
            + if n == 0 { logistic(self.log_odds_gone(&row)) } else { 0.0 }
    }

    pub(super) fn purchase_quantile(&self, row: &BtydRow, h: f64, level: f64) -> u32 {
        let (row, h) = (row.nearest(), sane_weeks(h));
        let p_alive = self.p_alive(&row);
        let one_prob = 1.0 - self.none_prob(&row, h);
        smallest_count(tail_prob(level), |n| {
            // Most customers need no more than this, and it is cheap.
            p_alive * if n == 1 { one_prob } else { self.reach_prob(&row, h, n) }
        })
    }

    /// P(the n-th purchase ahead comes within h, before leaving | alive).
    fn reach_prob(&self, row: &BtydRow, h: f64, n: u32) -> f64 {
        let (age, beta_age) = (self.alpha + row.t, self.beta + row.t);
        let ratio = age / beta_age;
        reach_alive_prob(n, self.r + f64::from(row.x), h / age, |y| {
            (-self.s * (ratio * y).ln_1p()).exp()
        })
    }
}

/// The log-likelihood of one row without ln (r)_x, with derivatives in the log parameters.
pub(super) fn row_part(point: &[f64; 4], row: &BtydRow) -> Derivs<4> {
    let [r, alpha, s, beta] = *point;
    let x = f64::from(row.x);
    let (end, beta_end) = (alpha + row.t, beta + row.t);
    let (share, beta_share) = (alpha / end, beta / beta_end);
    let (log_share, log_beta_share) = (share.ln(), beta_share.ln());
    let mut d = Derivs::ZERO;
    d.value = r * log_share - x * end.ln() + s * log_beta_share;
    d.gradient = [r * log_share, r - (r + x) * share, s * log_beta_share, s - s * beta_share];
    d.hessian[0][0] = d.gradient[0];
    d.hessian[0][1] = r * (1.0 - share);
    d.hessian[1][1] = -(r + x) * share * (1.0 - share);
    d.hessian[2][2] = d.gradient[2];
    d.hessian[2][3] = s * (1.0 - beta_share);
    d.hessian[3][3] = -s * beta_share * (1.0 - beta_share);
    if row.t > row.t_x {
        add_gone(&mut d, point, row);
    }
    for i in 0..4 {
        for j in 0..i {
            d.hessian[i][j] = d.hessian[j][i];
        }
    }
    d
}

/// Adds ln(1 + s J) and its derivatives (upper triangle).
///
/// J is an integral over the time u of leaving, so its derivatives are means over u of those of
/// the integrand's logarithm: slopes and bends are summed over the same nodes.
fn add_gone(d: &mut Derivs<4>, point: &[f64; 4], row: &BtydRow) {
    let [r, alpha, s, beta] = *point;
    let k = r + f64::from(row.x);
    let (end, beta_end) = (alpha + row.t, beta + row.t);
    let (last, beta_last) = (alpha + row.t_x, beta + row.t_x);
    let (silence_log, beta_silence_log) = ((end / last).ln(), (beta_end / beta_last).ln());
    let (share, beta_share) = (alpha / end, beta / beta_end);
    let mut slopes = [0.0; 4];
    let mut bends = [[0.0; 4]; 4];
    let integral = silence(point, row).integrate(|node| {
        let at = alpha / (last + node.weeks);
        let beta_at = beta / (beta_last + node.weeks);
        let slope = [
            r * (silence_log - node.alpha_log),
            k * (share - at),
            1.0 + s * (beta_silence_log - node.beta_log),
            s * beta_share - (s + 1.0) * beta_at,
        ];
        for i in 0..4 {
            slopes[i] += node.weight * slope[i];
            for j in i..4 {
                bends[i][j] += node.weight * slope[i] * slope[j];
            }
        }
        bends[0][0] += node.weight * slope[0];
        bends[0][1] += node.weight * r * (share - at);
        bends[1][1] += node.weight * (slope[1] - k * (share * share - at * at));
        bends[2][2] += node.weight * (slope[2] - 1.0);
        bends[2][3] += node.weight * s * (beta_share - beta_at);
        bends[3][3] +=
            node.weight * (slope[3] - s * beta_share * beta_share + (s + 1.0) * beta_at * beta_at);
    });
    if integral <= 0.0 {
        return;
    }
    let log_odds = log_odds_gone(point, row, integral);
    let gone = logistic(log_odds);
    d.value += softplus(log_odds);
    for i in 0..4 {
        let slope = slopes[i] / integral;
        d.gradient[i] += gone * slope;
        for j in i..4 {
            let both = slope * slopes[j] / integral;
            d.hessian[i][j] += gone * (bends[i][j] / integral - gone * both);
        }
    }
}
