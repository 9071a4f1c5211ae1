//! What every purchase model predicts, and discounting of what it expects.
//!
//! In: expected purchases as a function of the horizon. Out: their discounted sum, quantiles by
//! search. It deliberately knows no model's formulas.

use super::error::BtydError;
use super::rows::sane_weeks;
use super::special::gauss_legendre;

/// What a purchase model says of one customer over a horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Probability that the customer has not left for good, in [0, 1]; a diagnostic, not the
    /// complement of a churn score.
    pub p_alive: f64,
    /// Probability of no purchase within the horizon, in [0, 1].
    pub p_no_purchase: f64,
    /// Expected purchase occasions within the horizon; finite, at least 0.
    pub expected_purchases: f64,
}

/// How purchases ahead are discounted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discount {
    rate: f64,
    /// 0 for continuous compounding.
    period_weeks: f64,
}

impl Discount {
    /// No discount.
    pub const NONE: Self = Self { rate: 0.0, period_weeks: 0.0 };

    /// A rate a period: purchases in the i-th period are divided by (1 + rate)^i. Twelve periods
    /// of 4.345 weeks at 0.01 are the customary year of months at 1 %.
    ///
    /// # Errors
    /// [`BtydError::InvalidDiscount`] for a rate outside [0, 1] or a period outside [1/7, 520]
    /// weeks.
    pub fn try_periodic(rate: f64, period_weeks: f64) -> Result<Self, BtydError> {
        if (0.0..=1.0).contains(&rate) && (1.0 / 7.0..=520.0).contains(&period_weeks) {
            Ok(Self { rate, period_weeks })
        } else {
            Err(BtydError::InvalidDiscount { rate, period_weeks })
        }
    }

    /// Continuous compounding: a purchase t weeks ahead counts exp(-rate t). A yearly rate of
    /// 15 % is ln(1.15) / 52 a week.
    ///
    /// # Errors
    /// [`BtydError::InvalidDiscount`] for a rate outside [0, 1].
    pub fn try_continuous(rate_per_week: f64) -> Result<Self, BtydError> {
        if (0.0..=1.0).contains(&rate_per_week) {
            Ok(Self { rate: rate_per_week, period_weeks: 0.0 })
        } else {
            Err(BtydError::InvalidDiscount { rate: rate_per_week, period_weeks: 0.0 })
        }
    }

    /// Discounted purchases within `h` weeks; `age_scale` is the time (alpha + T) over which
    /// the rate of purchase changes.
    pub(super) fn apply(&self, h: f64, age_scale: f64, expected: impl Fn(f64) -> f64) -> f64 {
        let h = sane_weeks(h);
        if self.rate <= 0.0 {
            expected(h)
        } else if self.period_weeks > 0.0 {
            self.by_period(h, expected)
        } else {
            self.continuously(h, age_scale, expected)
        }
    }

    fn by_period(&self, h: f64, expected: impl Fn(f64) -> f64) -> f64 {
        let (mut sum, mut before, mut factor, mut i) = (0.0, 0.0, 1.0, 0.0);
        loop {
            i += 1.0;
            // The last period ends at the horizon; a sliver left by rounding is no period.
            let end = i * self.period_weeks;
            let is_last = end >= h * (1.0 - 1e-12);
            let now = expected(if is_last { h } else { end });
            factor /= 1.0 + self.rate;
            sum += factor * (now - before);
            before = now;
            if is_last || factor < 1e-18 {
                return sum;
            }
        }
    }

    /// Integration by parts: e^(-d h) E(h) + d * integral of e^(-d t) E(t), panel by panel on the
    /// scale ln(1 + t / age) on which E is smooth.
    fn continuously(&self, h: f64, age_scale: f64, expected: impl Fn(f64) -> f64) -> f64 {
        let end = (h / age_scale).ln_1p();
        let mut sum = (-self.rate * h).exp() * expected(h);
        let mut from = 0.0;
        while from < end {
            // At most one unit of the scale and four time constants of the discount a panel.
            let t = age_scale * f64::exp_m1(from);
            let discount_width = (4.0 / (self.rate * (age_scale + t))).ln_1p();
            let to = f64::min(end, from + discount_width.clamp(1e-3, 1.0));
            if self.rate * t > 80.0 {
                break;
            }
            gauss_legendre(from, to, |y, weight| {
                let t = age_scale * y.exp_m1();
                let weight = weight * self.rate * (age_scale + t);
                sum += weight * (-self.rate * t).exp() * expected(t);
            });
            from = to;
        }
        sum
    }
}

/// Purchases expected of a customer who is there with `p_alive`, whose odds of being gone have the
/// logarithm `log_odds`: through the logarithm where P(alive) is too small to have all its digits.
pub(super) fn if_alive(purchases: f64, p_alive: f64, log_odds: f64) -> f64 {
    if p_alive < 1e-290 && purchases > 0.0 {
        (purchases.ln() - log_odds).exp()
    } else {
        p_alive * purchases
    }
}

/// 1 - level, with the level clamped to [0, 1 - 1e-9] and NaN taken as 1/2.
pub(super) fn tail_prob(level: f64) -> f64 {
    if level.is_nan() { 0.5 } else { 1.0 - level.clamp(0.0, 1.0 - 1e-9) }
}

/// The smallest n with P(count >= n + 1) <= tail, where `at_least(n)` = P(count >= n), n >= 1.
pub(super) fn smallest_count(tail: f64, at_least: impl Fn(u32) -> f64) -> u32 {
    let is_enough = |n: u32| at_least(n + 1) <= tail;
    if is_enough(0) {
        return 0;
    }
    let (mut low, mut high) = (0_u32, 1_u32);
    while !is_enough(high) {
        low = high;
        if high >= 1 << 30 {
            return high;
        }
        high *= 2;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Refuses parameters that are no usable numbers.
pub(super) fn check_params(
    model: &'static str,
    names: &[&'static str],
    params: &[f64],
) -> Result<(), BtydError> {
    for (&name, &found) in names.iter().zip(params) {
        if !(1e-18..=1e18).contains(&found) {
            return Err(BtydError::InvalidParameter { model, name, found });
        }
    }
    Ok(())
}
