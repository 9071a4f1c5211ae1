//! The own rhythm of the base and of a customer: how fast they buy while they are active.
//!
//! In: the base's purchase rhythms once, to fit a prior; then one customer's repeat purchases and
//! active days. Out: the probability of a silence this long from somebody who still buys, and the
//! gap to expect. It deliberately is no churn model: it explains and triggers.
//!
//! A customer buys at a rate of their own, drawn from Gamma(a, b) over the base. After x repeat
//! orders in t days from first to last order, P(silence >= s) = ((b + t) / (b + t + s))^(a + x).
//! The prior is fitted on t, the active days, not on the time since the first order: a customer who
//! left long ago would otherwise look like a slow one, and a long silence like a normal one.

use libm::lgamma;
use thiserror::Error;

/// The Gamma distribution of order rates over a base.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaPrior {
    /// Shape, > 0: the greater, the more alike the customers.
    pub a: f64,
    /// Rate in days, > 0; a / b is the mean number of repeat orders a day.
    pub b: f64,
}

/// One customer's purchase rhythm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rhythm {
    /// Repeat orders: orders minus one.
    pub repeats: u32,
    /// Days from the first to the last order, >= 0.
    pub active_days: f64,
}

impl GammaPrior {
    /// Probability of a silence of at least `silent_days` from a customer with this rhythm who
    /// still buys, in [0, 1]. Negative silence counts as none.
    #[must_use]
    pub fn silence_prob(&self, rhythm: Rhythm, silent_days: f64) -> f64 {
        let rate = self.b + rhythm.active_days.max(0.0);
        let shape = self.a + f64::from(rhythm.repeats);
        // exp(-shape ln(1 + s / rate)) keeps its digits where the power would lose them.
        libm::exp(-shape * libm::log1p(silent_days.max(0.0) / rate)).clamp(0.0, 1.0)
    }

    /// Days the customer is expected to take between orders: the inverse of the rate's posterior
    /// mean, (b + t) / (a + x).
    #[must_use]
    pub fn expected_gap_days(&self, rhythm: Rhythm) -> f64 {
        (self.b + rhythm.active_days.max(0.0)) / (self.a + f64::from(rhythm.repeats))
    }
}

/// Why no prior can be fitted.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RhythmError {
    /// Nobody bought twice.
    #[error(
        "found no customer with two orders on different days, at least one is needed to learn \
         the rhythm of the base (RhythmBase::weak is a stand-in)"
    )]
    NoRepeater,
    /// A customer's active days, or a gap, is no number of days.
    #[error("{field} {row} is {found}, a finite number of days >= 0 is needed")]
    NotDays {
        /// What was read.
        field: &'static str,
        /// Its position.
        row: usize,
        /// The value.
        found: f64,
    },
}

/// The rhythm of a base, frozen with the models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RhythmBase {
    /// Distribution of order rates.
    pub prior: GammaPrior,
    /// Median gap between orders, days: nobody slips before it.
    pub gap_days_p50: f64,
    /// 90th percentile of the gaps, days: nobody lapses before it.
    pub gap_days_p90: f64,
    /// Whether the history is shorter than [`PRIOR_HISTORY_GAPS_MIN`] mean gaps of the prior:
    /// long gaps could not be seen yet, so the prior is too fast. The trainer warns.
    pub history_short: bool,
}

/// Mean gaps of the prior that the history must span before the prior can be trusted.
pub const PRIOR_HISTORY_GAPS_MIN: f64 = 3.0;

/// Bounds of the shape in the search: below, the rates would be all noise; above, the customers
/// are alike and more shape changes nothing.
const SHAPE_MIN: f64 = 0.05;
const SHAPE_MAX: f64 = 10_000.0;

impl RhythmBase {
    /// Learns the rhythm of a base from its repeat buyers (others are left out), all gaps between
    /// consecutive orders, and the days of history there are.
    ///
    /// Maximises sum over customers with x >= 1 of
    /// ln G(a + x) - ln G(a) + a ln b - (a + x) ln(b + t). Customers all alike drive the shape to
    /// its upper bound, which is then returned.
    ///
    /// # Errors
    /// [`RhythmError`] without a repeater, or where a number of days is negative or not finite.
    pub fn fit(rhythms: &[Rhythm], gaps_days: &[f64], days: f64) -> Result<Self, RhythmError> {
        check_days("rhythm", rhythms.iter().map(|rhythm| rhythm.active_days))?;
        check_days("gap", gaps_days.iter().copied())?;
        check_days("history", std::iter::once(days))?;
        let groups = Groups::of(rhythms);
        if groups.0.is_empty() {
            return Err(RhythmError::NoRepeater);
        }
        let prior = groups.fit();
        let mut gaps: Vec<f64> = gaps_days.iter().copied().filter(|gap| *gap > 0.0).collect();
        gaps.sort_by(f64::total_cmp);
        let mean_gap_days = prior.b / prior.a;
        let gap_or_mean =
            |level| if gaps.is_empty() { mean_gap_days } else { quantile(&gaps, level) };
        Ok(Self {
            prior,
            gap_days_p50: gap_or_mean(0.5),
            gap_days_p90: gap_or_mean(0.9),
            history_short: days < PRIOR_HISTORY_GAPS_MIN * mean_gap_days,
        })
    }

    /// A stand-in for a base without repeaters: a mean gap of 60 days, customers of very different
    /// rates (shape 1), nobody slipping before 30 or lapsed before 120 days. An assumption, not a
    /// measurement; what it decides is to be labelled so.
    #[must_use]
    pub const fn weak() -> Self {
        Self {
            prior: GammaPrior { a: 1.0, b: 60.0 },
            gap_days_p50: 30.0,
            gap_days_p90: 120.0,
            history_short: true,
        }
    }
}

fn check_days(field: &'static str, values: impl Iterator<Item = f64>) -> Result<(), RhythmError> {
    for (row, found) in values.enumerate() {
        if !(found >= 0.0 && found.is_finite()) {
            return Err(RhythmError::NotDays { field, row, found });
        }
    }
    Ok(())
}

/// Equal rhythms with how often they occur: a base of millions has a few thousand.
struct Groups(Vec<(f64, f64, f64)>);

impl Groups {
    fn of(rhythms: &[Rhythm]) -> Self {
        let mut pairs: Vec<(u32, f64)> = rhythms
            .iter()
            .filter(|rhythm| rhythm.repeats >= 1 && rhythm.active_days > 0.0)
            .map(|rhythm| (rhythm.repeats, rhythm.active_days))
            .collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        let mut groups: Vec<(f64, f64, f64)> = Vec::new();
        for (repeats, active_days) in pairs {
            let repeats = f64::from(repeats);
            match groups.last_mut() {
                Some((x, t, n)) if *x >= repeats && *t >= active_days => *n += 1.0,
                _ => groups.push((repeats, active_days, 1.0)),
            }
        }
        Self(groups)
    }

    /// The best prior: a coarse walk over ln a brackets the optimum, golden section refines it.
    /// For each a the best b is exact, so the search has one dimension.
    fn fit(&self) -> GammaPrior {
        const STEPS: u32 = 24;
        let (low, high) = (libm::log(SHAPE_MIN), libm::log(SHAPE_MAX));
        let step = (high - low) / f64::from(STEPS);
        let at = |idx: u32| low + step * f64::from(idx);
        let mut best = (0, f64::NEG_INFINITY);
        for idx in 0..=STEPS {
            let profile = self.profile(at(idx));
            if profile > best.1 {
                best = (idx, profile);
            }
        }
        let bracket = (at(best.0.saturating_sub(1)), at((best.0 + 1).min(STEPS)));
        let ln_a = golden_max(bracket, |ln_a| self.profile(ln_a));
        let a = libm::exp(ln_a);
        GammaPrior { a, b: self.best_rate(a) }
    }

    fn profile(&self, ln_a: f64) -> f64 {
        let a = libm::exp(ln_a);
        let b = self.best_rate(a);
        let (lgamma_a, a_ln_b) = (lgamma(a), a * libm::log(b));
        self.0
            .iter()
            .map(|&(x, t, n)| n * (lgamma(a + x) - lgamma_a + a_ln_b - (a + x) * libm::log(b + t)))
            .sum()
    }

    /// The b at which the derivative sum n (a t - b x) / (b + t) crosses zero. It lies between the
    /// least and the greatest a t / x, where all terms have one sign.
    fn best_rate(&self, a: f64) -> f64 {
        let ratios = self.0.iter().map(|&(x, t, _)| t / x);
        let mut low = libm::log(a * ratios.clone().fold(f64::INFINITY, f64::min));
        let mut high = libm::log(a * ratios.fold(0.0, f64::max));
        for _ in 0..60 {
            if high - low < 1e-12 {
                break;
            }
            let middle = 0.5 * (low + high);
            let b = libm::exp(middle);
            let slope: f64 = self.0.iter().map(|&(x, t, n)| n * (a * t - b * x) / (b + t)).sum();
            if slope > 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        libm::exp(0.5 * (low + high))
    }
}

/// The place of the greatest value of a single-peaked function in the bracket.
fn golden_max(bracket: (f64, f64), value_at: impl Fn(f64) -> f64) -> f64 {
    const RATIO: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = bracket;
    let mut left = (high - RATIO * (high - low), 0.0);
    let mut right = (low + RATIO * (high - low), 0.0);
    left.1 = value_at(left.0);
    right.1 = value_at(right.0);
    while high - low > 1e-8 {
        if left.1 >= right.1 {
            high = right.0;
            right = left;
            left.0 = high - RATIO * (high - low);
            left.1 = value_at(left.0);
        } else {
            low = left.0;
            left = right;
            right.0 = low + RATIO * (high - low);
            right.1 = value_at(right.0);
        }
    }
    0.5 * (low + high)
}

/// The smallest value with at least `level` of the rising values at or below it; NaN for none.
pub(crate) fn quantile(rising: &[f64], level: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 <= level <= 1, so the product lies between 0 and the length"
    )]
    let rank = (level * rising.len() as f64).ceil() as usize;
    rising.get(rank.clamp(1, rising.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}
