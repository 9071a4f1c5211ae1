//! The formulas of BG/CNBD-k and MBG/CNBD-k for one customer.
//!
//! In: parameters, the regularity k and a row. Out: likelihood with derivatives, and predictions.
//! A gap between purchases is k stages of an exponential clock of rate lambda, so the state of a
//! silent customer is the number of stages passed, j < k, and lambda given j is a Gamma again:
//! every prediction is a mean of k negative binomials that count stages. It deliberately knows no
//! fitting procedure and no gaps: beyond (x, `t_x`, T) they enter the likelihood as a constant.

use super::beta_geometric::FirstThrow;
use super::error::BtydError;
use super::predict::Prediction;
use super::predict::check_params;
use super::predict::if_alive;
use super::predict::smallest_count;
use super::predict::tail_prob;
use super::reach::reach_prob_real;
use super::rows::BtydRow;
use super::rows::sane_weeks;
use super::special::gauss_legendre;
use super::special::ln_gamma;
use super::special::ln_pochhammer;
use super::special::ln_survival;
use super::special::logistic;
use super::special::softplus;
use crate::model::optimize::Derivs;

/// The most regular buyers there are models for.
pub(super) const K_MAX: usize = 4;
/// Names of the parameters, in order.
pub(super) const NAMES: [&str; 4] = ["r", "alpha", "a", "b"];

/// Relative size of the neglected tail of a sum over stages.
const TAIL: f64 = 1e-15;
/// Walks longer than this, in stages, cost more than the quadrature.
const STAGES_MAX: f64 = 8_000.0;
/// Logarithm of the least first term that a walk starts from.
const FIRST_TERM_LOG_MIN: f64 = -620.0;
/// Below this the walk would rise from that term to an overflow.
const LOG_NONE_MIN: f64 = -1_300.0;
/// ln of 2^30 purchases: no customer makes more.
const LOG_COUNT_MAX: f64 = 20.8;
/// Purchases that are added one by one before the quadrature takes over.
const COUNTED_MAX: u32 = 64;

/// Parameters of either model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CnbdCore {
    first: FirstThrow,
    k: u32,
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
}

/// The polynomial S(K, z) = sum over j < k of (K)_j z^j / j! with its terms: the chance of a
/// silence of fewer than k stages over that of none.
struct Silence {
    terms: [f64; K_MAX],
    sum: f64,
}

impl Silence {
    fn new(k: u32, shape: f64, z: f64) -> Self {
        let mut terms = [0.0; K_MAX];
        let (mut term, mut sum, mut j) = (1.0, 0.0, 0.0);
        for slot in terms.iter_mut().take(k as usize) {
            *slot = term;
            sum += term;
            term *= (shape + j) * z / (j + 1.0);
            j += 1.0;
        }
        Self { terms, sum }
    }
}

/// ln S with its derivatives in ln r and ln alpha.
fn log_silence(k: u32, point: &[f64; 4], row: &BtydRow) -> Derivs<2> {
    let [r, alpha, ..] = *point;
    let shape = r + f64::from(k) * f64::from(row.x);
    let end = alpha + row.t;
    let z = (row.t - row.t_x) / end;
    let share = alpha / end;
    // p is (K)_j / j! with its derivatives in K; w is z^j with those in ln alpha.
    let (mut p, mut dp, mut ddp) = (1.0, 0.0, 0.0);
    let (mut power, mut j) = (1.0, 0.0);
    let [mut s, mut s_k, mut s_kk, mut s_a, mut s_ak, mut s_aa] = [0.0; 6];
    for _ in 0..k {
        // d z / d ln alpha = -z share, and d share / d ln alpha = share (1 - share).
        let slope = -j * share;
        let bend = slope * slope - j * share * (1.0 - share);
        s += p * power;
        s_k += dp * power;
        s_kk += ddp * power;
        s_a += p * power * slope;
        s_ak += dp * power * slope;
        s_aa += p * power * bend;
        let c = shape + j;
        j += 1.0;
        ddp = (ddp * c + 2.0 * dp) / j;
        dp = (dp * c + p) / j;
        p *= c / j;
        power *= z;
    }
    let (l_k, l_a) = (s_k / s, s_a / s);
    let mut d = Derivs::<2>::ZERO;
    d.value = s.ln();
    d.gradient = [r * l_k, l_a];
    d.hessian[0][0] = r * l_k + r * r * (s_kk / s - l_k * l_k);
    d.hessian[0][1] = r * (s_ak / s - l_k * l_a);
    d.hessian[1][0] = d.hessian[0][1];
    d.hessian[1][1] = s_aa / s - l_a * l_a;
    d
}

/// What lies ahead of a living customer.
struct Ahead {
    /// K = r + k x.
    shape: f64,
    /// h / (alpha + T).
    odds: f64,
    /// Probability of each number of stages passed since the last purchase.
    weights: [f64; K_MAX],
    /// b plus the throws survived.
    b: f64,
    /// P(no purchase in h | alive).
    none_prob: f64,
}

impl CnbdCore {
    /// `params` are r, alpha, a, b; `k` from 1 to [`K_MAX`].
    pub(super) fn try_new(
        first: FirstThrow,
        k: u8,
        params: [f64; 4],
        model: &'static str,
    ) -> Result<Self, BtydError> {
        check_params(model, &NAMES, &params)?;
        if !(1..=K_MAX).contains(&usize::from(k)) {
            return Err(BtydError::InvalidRegularity { model, found: k });
        }
        let [r, alpha, a, b] = params;
        Ok(Self { first, k: u32::from(k), r, alpha, a, b })
    }

    fn shape(&self, x: u32) -> f64 {
        self.r + f64::from(self.k) * f64::from(x)
    }

    fn silence(&self, row: &BtydRow) -> Silence {
        let z = (row.t - row.t_x) / (self.alpha + row.t);
        Silence::new(self.k, self.shape(row.x), z)
    }

    /// ln of the odds of being gone.
    fn log_odds_gone(&self, row: &BtydRow, silence: &Silence) -> f64 {
        let n_throws = self.first.throws(row.x);
        if n_throws == 0 {
            return f64::NEG_INFINITY;
        }
        let fall = ((self.alpha + row.t) / (self.alpha + row.t_x)).ln();
        (self.a / (self.b + f64::from(n_throws - 1))).ln() + self.shape(row.x) * fall
            - silence.sum.ln()
    }

    /// The time over which the purchase rate of a customer changes, in weeks.
    pub(super) fn age_scale(&self, row: &BtydRow) -> f64 {
        self.alpha + row.nearest().t
    }

    /// The log-likelihood of (x, `t_x`, T) up to the part that gaps alone decide.
    pub(super) fn log_likelihood(&self, row: &BtydRow) -> f64 {
        let row = row.nearest();
        let silence = self.silence(&row);
        let stages = self.k.saturating_mul(row.x);
        ln_survival(self.a, self.b, self.first.throws(row.x)) + ln_pochhammer(self.r, stages)
            - self.r * (row.t / self.alpha).ln_1p()
            - f64::from(stages) * (self.alpha + row.t).ln()
            + silence.sum.ln()
            + softplus(self.log_odds_gone(&row, &silence))
    }

    pub(super) fn p_alive(&self, row: &BtydRow) -> f64 {
        let row = row.nearest();
        logistic(-self.log_odds_gone(&row, &self.silence(&row)))
    }

    fn ahead(&self, row: &BtydRow, h: f64, silence: &Silence) -> Ahead {
        let shape = self.shape(row.x);
        let age = self.alpha + row.t;
        let odds = h / age;
        let later = Silence::new(self.k, shape, (row.t - row.t_x + h) / (age + h));
        let none_prob = (-shape * odds.ln_1p()).exp() * (later.sum / silence.sum);
        let weights = silence.terms.map(|term| term / silence.sum);
        let b = self.b + f64::from(self.first.throws(row.x));
        Ahead { shape, odds, weights, b, none_prob: none_prob.min(1.0) }
    }

    pub(super) fn p_no_purchase(&self, row: &BtydRow, h: f64) -> f64 {
        let row = row.nearest();
        let silence = self.silence(&row);
        let log_odds = self.log_odds_gone(&row, &silence);
        let ahead = self.ahead(&row, sane_weeks(h), &silence);
        (logistic(log_odds) + logistic(-log_odds) * ahead.none_prob).min(1.0)
    }

    pub(super) fn predict(&self, row: &BtydRow, h: f64) -> Prediction {
        let row = row.nearest();
        let silence = self.silence(&row);
        let log_odds = self.log_odds_gone(&row, &silence);
        let ahead = self.ahead(&row, sane_weeks(h), &silence);
        let p_alive = logistic(-log_odds);
        Prediction {
            p_alive,
            p_no_purchase: (logistic(log_odds) + p_alive * ahead.none_prob).min(1.0),
            expected_purchases: if_alive(self.expected_min(&ahead), p_alive, log_odds),
        }
    }

    /// [`Self::predict`] for the first horizon, and expected purchases within the second.
    pub(super) fn predict_two(&self, row: &BtydRow, [near, far]: [f64; 2]) -> (Prediction, f64) {
        (self.predict(row, near), self.predict(row, far).expected_purchases)
    }

    /// Expected purchases within each of two horizons.
    pub(super) fn expected_two(&self, row: &BtydRow, weeks: [f64; 2]) -> [f64; 2] {
        weeks.map(|weeks| self.predict(row, weeks).expected_purchases)
    }

    pub(super) fn p_at_least(&self, row: &BtydRow, h: f64, n: u32) -> f64 {
        let row = row.nearest();
        if n == 0 {
            return 1.0;
        }
        let ahead = self.ahead(&row, sane_weeks(h), &self.silence(&row));
        self.p_alive(&row) * self.p_both_reach(&ahead, n)
    }

    /// P(N >= n) P(G >= n).
    fn p_both_reach(&self, ahead: &Ahead, n: u32) -> f64 {
        if ahead.odds <= 0.0 {
            return 0.0;
        }
        self.reach(ahead, f64::from(n)) * ln_survival(self.a, ahead.b, n - 1).exp()
    }

    pub(super) fn purchase_quantile(&self, row: &BtydRow, h: f64, level: f64) -> u32 {
        let row = row.nearest();
        let p_alive = self.p_alive(&row);
        let ahead = self.ahead(&row, sane_weeks(h), &self.silence(&row));
        smallest_count(tail_prob(level), |n| {
            // Most customers need no more than this, and it is cheap.
            p_alive * if n == 1 { 1.0 - ahead.none_prob } else { self.p_both_reach(&ahead, n) }
        })
    }

    /// E[min(N, G)]: purchases made before time or the customer runs out.
    fn expected_min(&self, ahead: &Ahead) -> f64 {
        if ahead.odds <= 0.0 {
            return 0.0;
        }
        let mut sum = 0.0;
        for (j, weight) in (0..self.k).zip(ahead.weights) {
            let shape = ahead.shape + f64::from(j);
            match self.walk(ahead, shape, j) {
                Some(part) => sum += weight * part,
                None => return self.by_quadrature(ahead),
            }
        }
        sum
    }

    /// E[min(N, G)] from stage `j`, as the sum over the stages M ahead of
    /// P(M) E[min(floor((j + M) / k), G)]; none where the walk would be long or start at an
    /// underflow. All terms are positive. It ends where a bound on the rest is below 1e-15 of
    /// the sum: P(M) falls at least by r a stage, and E[min(n, G)] grows at most like n, so the
    /// rest is at most term (r / (1 - r) (1 + 1/n) + r / (n k (1 - r)^2)).
    fn walk(&self, ahead: &Ahead, shape: f64, j: u32) -> Option<f64> {
        let odds = ahead.odds;
        let mean = shape * odds;
        let length = mean + 9.0 * (mean * (1.0 + odds)).sqrt() + 38.0 * (1.0 + odds);
        let log_none = -shape * odds.ln_1p();
        if log_none < LOG_NONE_MIN || length > STAGES_MAX {
            return None;
        }
        // A first term near to underflow is lifted, and the sum put down again at the end.
        let lift = f64::max(0.0, FIRST_TERM_LOG_MIN - log_none);
        let mut pmf = (log_none + lift).exp();
        let z = odds / (1.0 + odds);
        let k = f64::from(self.k);
        let (mut capped, mut survival, mut sum) = (0.0, 1.0, 0.0);
        let (mut n, mut stage, mut m) = (0.0, j, 0.0);
        while m < 4.0 * STAGES_MAX {
            pmf *= z * (shape + m) / (m + 1.0);
            m += 1.0;
            stage += 1;
            if stage == self.k {
                stage = 0;
                capped += survival;
                let c = ahead.b + n;
                survival *= c / (self.a + c);
                n += 1.0;
            }
            let term = pmf * capped;
            sum += term;
            let fall = f64::max(z, z * (shape + m) / (m + 1.0));
            if n > 0.0 && fall < 1.0 {
                let left = 1.0 - fall;
                let rest = fall / left * (1.0 + 1.0 / n) + fall / (n * k * left * left);
                if term * rest <= TAIL * sum {
                    return Some(sum * (-lift).exp());
                }
            }
        }
        None
    }

    /// The same as the sum over n of P(N >= n) P(G >= n): the first terms one by one, the others
    /// as an integral over n from the middle between two of them, on the scale of ln n; good to
    /// 1e-9 of the sum.
    fn by_quadrature(&self, ahead: &Ahead) -> f64 {
        // The number of purchases has this mean and this spread of its logarithm.
        let mean = (ahead.shape * ahead.odds / f64::from(self.k)).ln();
        let spread = ((1.0 + ahead.odds) / (ahead.shape * ahead.odds)).sqrt();
        let edge = mean - 14.0 * spread;
        let log_start = ln_gamma(ahead.b) - ln_gamma(self.a + ahead.b);
        let at = |n: f64| -> f64 {
            let b = ahead.b + n - 1.0;
            let survival = (ln_gamma(b) - ln_gamma(self.a + b) - log_start).exp();
            // Left of the hill the time is certain to suffice.
            if n.ln() < edge { survival } else { survival * self.reach(ahead, n) }
        };
        let mut sum = 0.0;
        for n in 1..=COUNTED_MAX {
            sum += at(f64::from(n));
        }
        // A sum is the integral between the middles and, by Euler and Maclaurin, some of the
        // slope and of the third derivative at its start; both are taken from differences.
        let [f0, f1, f2, f3] = [0, 1, 2, 3].map(|i| at(f64::from(COUNTED_MAX - 1 + i)));
        sum += (f2 - f1) / 24.0 - 17.0 / 5_760.0 * (f3 - 3.0 * f2 + 3.0 * f1 - f0);
        let mut from = (f64::from(COUNTED_MAX) + 0.5).ln();
        while from < LOG_COUNT_MAX {
            let fine = f64::min(1.0, 2.0 * spread);
            let width = if from < edge { f64::min(1.0, (edge - from).max(fine)) } else { fine };
            let to = from + width;
            let mut part = 0.0;
            gauss_legendre(from, to, |v, weight| {
                let n = v.exp();
                part += weight * n * at(n);
            });
            sum += part;
            from = to;
            if part <= TAIL * sum {
                break;
            }
        }
        sum
    }

    /// P(N >= n), also for counts in parts.
    fn reach(&self, ahead: &Ahead, n: f64) -> f64 {
        let (mut reach, mut j) = (0.0, 0.0);
        for weight in ahead.weights.iter().take(self.k as usize) {
            let stages = n * f64::from(self.k) - j;
            reach += weight * reach_prob_real(stages, ahead.shape + j, ahead.odds);
            j += 1.0;
        }
        reach
    }
}

/// The part of one row: r ln alpha - (r + k x) ln(alpha + T) + ln S + ln(1 + odds of being gone),
/// with derivatives in the log parameters.
pub(super) fn row_part(first: FirstThrow, k: u32, point: &[f64; 4], row: &BtydRow) -> Derivs<4> {
    let [r, alpha, a, b] = *point;
    let stages = f64::from(k) * f64::from(row.x);
    let shape = r + stages;
    let end = alpha + row.t;
    let share = alpha / end;
    let log_share = share.ln();
    let silence = log_silence(k, point, row);
    let mut d = Derivs::ZERO;
    d.value = r * log_share - stages * end.ln() + silence.value;
    d.gradient[0] = r * log_share + silence.gradient[0];
    d.gradient[1] = r - shape * share + silence.gradient[1];
    d.hessian[0][0] = r * log_share + silence.hessian[0][0];
    d.hessian[0][1] = r * (1.0 - share) + silence.hessian[0][1];
    d.hessian[1][1] = -shape * share * (1.0 - share) + silence.hessian[1][1];
    let n_throws = first.throws(row.x);
    if n_throws > 0 {
        let last = alpha + row.t_x;
        let last_share = alpha / last;
        let fall = (end / last).ln();
        let log_odds = (a / (b + f64::from(n_throws - 1))).ln() + shape * fall - silence.value;
        let gone = logistic(log_odds);
        d.value += softplus(log_odds);
        let turn = b / (b + f64::from(n_throws - 1));
        let shrink = share - last_share;
        let mut bend = [[0.0; 4]; 4];
        bend[0][0] = r * fall - silence.hessian[0][0];
        bend[0][1] = r * shrink - silence.hessian[0][1];
        bend[1][1] =
            shape * (shrink - (share * share - last_share * last_share)) - silence.hessian[1][1];
        bend[3][3] = -turn * (1.0 - turn);
        let slope =
            [r * fall - silence.gradient[0], shape * shrink - silence.gradient[1], 1.0, -turn];
        for i in 0..4 {
            d.gradient[i] += gone * slope[i];
            for j in i..4 {
                d.hessian[i][j] += gone * (bend[i][j] + (1.0 - gone) * slope[i] * slope[j]);
            }
        }
    }
    for i in 0..4 {
        for j in 0..i {
            d.hessian[i][j] = d.hessian[j][i];
        }
    }
    d
}

#[cfg(test)]
impl CnbdCore {
    /// E[min(N, G)] by the walk and by the quadrature.
    pub(super) fn both_ways(&self, row: &BtydRow, h: f64) -> [Option<f64>; 2] {
        let ahead = self.ahead(row, h, &self.silence(row));
        let mut walked = Some(0.0);
        for (j, weight) in (0..self.k).zip(ahead.weights) {
            let part = self.walk(&ahead, ahead.shape + f64::from(j), j);
            walked = walked.zip(part).map(|(sum, part)| sum + weight * part);
        }
        [walked, Some(self.by_quadrature(&ahead))]
    }
}
