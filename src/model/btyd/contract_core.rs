//! The formulas of the contract models: sBG, and the beta-discrete-Weibull that contains it.
//!
//! In: parameters and renewals. Out: log-likelihood with derivatives, survival, retention and
//! residual lifetimes. S(t) = B(alpha, beta + t^c) / B(alpha, beta); sBG has c = 1. Everything
//! goes through ln(Gamma(z + alpha) / Gamma(z)), so nothing cancels for long-lived customers. It
//! deliberately knows no fitting procedure and no money.

use super::beta_mean::discounted_periods;
use super::contract_rows::PooledCohorts;
use super::contract_rows::Renewal;
use super::error::BtydError;
use super::opportunity_rows::PERIODS_MAX;
use super::predict::check_params;
use super::rows::count;
use super::special::digamma;
use super::special::ln_gamma_ratio;
use super::special::trigamma;
use crate::model::optimize::Derivs;

/// Parameters of a contract model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ContractCore {
    alpha: f64,
    beta: f64,
    /// None for sBG, where it is 1.
    c: Option<f64>,
}

/// Where a discounted sum stops: the rest is below this share of it.
const TAIL: f64 = 1e-15;

impl ContractCore {
    pub(super) fn try_sbg(params: [f64; 2]) -> Result<Self, BtydError> {
        check_params("sBG", &["alpha", "beta"], &params)?;
        let [alpha, beta] = params;
        Ok(Self { alpha, beta, c: None })
    }

    pub(super) fn try_bdw(params: [f64; 3]) -> Result<Self, BtydError> {
        check_params("BdW", &["alpha", "beta", "c"], &params)?;
        let [alpha, beta, c] = params;
        Ok(Self { alpha, beta, c: Some(c) })
    }

    /// t^c.
    fn spread(&self, t: u32) -> f64 {
        let t = f64::from(t);
        // Ages beyond this have survival 0 to the last digit for any parameters there are.
        self.c.map_or(t, |c| t.powf(c)).min(1e300)
    }

    /// beta + t^c.
    fn age(&self, t: u32) -> f64 {
        self.beta + self.spread(t)
    }

    /// ln P(renews `t` times more | renewed `from` times), at most 0.
    ///
    /// With z = beta + from^c and g = (from + t)^c - from^c it is the logarithm of
    /// Gamma(z + g) Gamma(z + alpha) / (Gamma(z) Gamma(z + g + alpha)), which is the same with g
    /// and alpha exchanged: two large ratios are subtracted, so the smaller of both is the step.
    fn log_survival(&self, from: u32, t: u32) -> f64 {
        let start = self.age(from);
        let gap = (self.spread(from.saturating_add(t)) - self.spread(from)).max(0.0);
        let (step, shift) = if gap < self.alpha { (gap, self.alpha) } else { (self.alpha, gap) };
        (ln_gamma_ratio(start, step) - ln_gamma_ratio(start + shift, step)).min(0.0)
    }

    /// P(renews `t` times more | renewed `from` times).
    pub(super) fn survival_from(&self, from: u32, t: u32) -> f64 {
        self.log_survival(from, t).exp()
    }

    /// P(renews for the `t`-th time | renewed t - 1 times); t is at least 1.
    pub(super) fn retention(&self, t: u32) -> f64 {
        let t = t.max(1);
        if self.c.is_some() {
            return self.survival_from(t - 1, 1);
        }
        let age = self.beta + f64::from(t - 1);
        age / (self.alpha + age)
    }

    /// Expected renewals among the next `n_periods`.
    pub(super) fn expected_renewals(&self, from: u32, n_periods: u32) -> f64 {
        (1..=n_periods.min(PERIODS_MAX)).map(|t| self.survival_from(from, t)).sum()
    }

    /// The smallest t with P(renews t times more) <= level; none beyond 10,000.
    pub(super) fn residual_quantile(&self, from: u32, level: f64) -> Option<u32> {
        let is_below = |t: u32| self.survival_from(from, t) <= level;
        if !is_below(PERIODS_MAX) {
            return None;
        }
        let (mut low, mut high) = (0, PERIODS_MAX);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_below(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// Sum over t >= 0 of P(renews t + 1 times more) / (1 + rate)^t.
    pub(super) fn discounted_residual(&self, from: u32, rate: f64) -> f64 {
        if self.c.is_none() {
            let periods = discounted_periods(self.alpha, self.age(from), rate);
            return (1.0 + rate) * periods;
        }
        let (mut sum, mut factor, mut t) = (0.0, 1.0, 0_u32);
        loop {
            t = t.saturating_add(1);
            let alive = self.survival_from(from, t);
            sum += factor * alive;
            factor /= 1.0 + rate;
            // Survival only falls, so the rest is at most a geometric series.
            if factor * alive <= TAIL * rate / (1.0 + rate) * sum || alive <= 0.0 {
                return sum;
            }
        }
    }
}

/// Log-likelihood of sBG with derivatives in the log parameters (alpha, beta).
pub(super) fn sbg_likelihood(rows: &PooledCohorts, log_params: &[f64; 2]) -> Derivs<2> {
    let point = log_params.map(f64::exp);
    rows.renewals().iter().fold(Derivs::ZERO, |mut sum, renewal| {
        sum.add(&outcome(renewal, &sbg_renewal(&point, renewal.period), &point));
        sum
    })
}

/// Log-likelihood of BdW with derivatives in the log parameters (alpha, beta, c).
pub(super) fn bdw_likelihood(rows: &PooledCohorts, log_params: &[f64; 3]) -> Derivs<3> {
    let point = log_params.map(f64::exp);
    // Renewals come in rising order, so most periods were the end of the one before.
    let mut last = (0, bdw_hazard(&point, 0));
    rows.renewals().iter().fold(Derivs::ZERO, |mut sum, renewal| {
        let period = renewal.period;
        let before = if last.0 + 1 == period { last.1 } else { bdw_hazard(&point, period - 1) };
        let after = bdw_hazard(&point, period);
        let mut log_retention = before;
        log_retention.add_scaled(&after, -1.0);
        last = (period, after);
        sum.add(&outcome(renewal, &log_retention, &point));
        sum
    })
}

/// ln of the chance to renew under sBG, -ln(1 + alpha / (beta + t - 1)), with derivatives in the
/// parameters themselves.
fn sbg_renewal(point: &[f64; 2], period: u32) -> Derivs<2> {
    let [alpha, beta] = *point;
    let age = beta + f64::from(period - 1);
    let both = alpha + age;
    let cross = 1.0 / (both * both);
    Derivs {
        value: -(alpha / age).ln_1p(),
        gradient: [-1.0 / both, alpha / (age * both)],
        hessian: [[cross, cross], [cross, -alpha * (age + both) * cross / (age * age)]],
    }
}

/// ln(Gamma(z + alpha) / Gamma(z)) at z = beta + t^c, with derivatives in the parameters.
fn bdw_hazard(point: &[f64; 3], t: u32) -> Derivs<3> {
    let [alpha, beta, c] = *point;
    let log_t = f64::from(t.max(1)).ln();
    let age = if t == 0 { 0.0 } else { (c * log_t).exp() };
    let z = beta + age;
    let both = alpha + z;
    // The age grows by this a unit of c, and that by this times ln t.
    let growth = age * log_t;
    let (slope, bend) = (digamma(both), trigamma(both));
    let (rise, curve) = (slope - digamma(z), bend - trigamma(z));
    Derivs {
        value: ln_gamma_ratio(z, alpha),
        gradient: [slope, rise, rise * growth],
        hessian: [
            [bend, bend, bend * growth],
            [bend, curve, curve * growth],
            [bend * growth, curve * growth, curve * growth * growth + rise * growth * log_t],
        ],
    }
}

/// The log-likelihood of one renewal, kept ln r + lost ln(1 - r), from ln r in the parameters to
/// derivatives in their logarithms.
fn outcome<const N: usize>(renewal: &Renewal, log_r: &Derivs<N>, point: &[f64; N]) -> Derivs<N> {
    let (kept, lost) = (count(renewal.kept), count(renewal.lost));
    // Rounding may leave ln r at 0 where hardly anybody leaves.
    let value = log_r.value.min(-f64::MIN_POSITIVE);
    let odds = 1.0 / (-value).exp_m1();
    let (first, second) =
        if lost > 0.0 { (kept - lost * odds, -lost * odds * (1.0 + odds)) } else { (kept, 0.0) };
    let left = if lost > 0.0 { lost * (-value.exp_m1()).ln() } else { 0.0 };
    let mut d = Derivs { value: kept * value + left, ..Derivs::ZERO };
    for i in 0..N {
        d.gradient[i] = point[i] * first * log_r.gradient[i];
        for j in 0..N {
            let bend = first * log_r.hessian[i][j] + second * log_r.gradient[i] * log_r.gradient[j];
            d.hessian[i][j] = point[i] * point[j] * bend;
        }
        d.hessian[i][i] += d.gradient[i];
    }
    d
}
