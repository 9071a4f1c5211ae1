//! What an experiment says: two arms in, the difference with its uncertainty out.
//!
//! Every function takes sums over customers, so that arms of millions cost nothing; the unit is
//! the customer as assigned, treated or not (intention to treat). Intervals are of 95 %. It
//! deliberately knows no campaign and decides nothing.

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::erf::erfc;
use statrs::function::gamma::checked_gamma_ur;

use super::error::MetricError;

/// Probability that an interval covers.
const LEVEL: f64 = 0.95;
/// The normal quantile at 97.5 %.
const Z_975: f64 = 1.959_963_984_540_054;
/// Standard errors between 0 and the effect that is found with 80 % power at 5 % two-sided:
/// the normal quantiles at 97.5 % and 80 % together.
const DETECTABLE_ERRORS: f64 = 2.801_585_218_112_968_4;

/// Sums over the customers of one arm: outcome y and what was known before, x.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ArmSums {
    /// Customers.
    pub n: u64,
    /// Sum of y.
    pub y: f64,
    /// Sum of y squared.
    pub yy: f64,
    /// Sum of x.
    pub x: f64,
    /// Sum of x squared.
    pub xx: f64,
    /// Sum of x times y.
    pub xy: f64,
}

impl ArmSums {
    /// Adds one customer.
    pub fn add(&mut self, outcome: f64, before: f64) {
        self.n += 1;
        self.y += outcome;
        self.yy += outcome * outcome;
        self.x += before;
        self.xx += before * before;
        self.xy += before * outcome;
    }

    /// Customers, as a number.
    #[allow(clippy::cast_precision_loss, reason = "customers number far below 2^52")]
    #[must_use]
    pub const fn count(&self) -> f64 {
        self.n as f64
    }

    /// Mean outcome; NaN without customers.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.y / self.count()
    }

    /// Unbiased variance of the outcome, >= 0; NaN below two customers.
    #[must_use]
    pub fn variance(&self) -> f64 {
        ((self.yy - self.y * self.mean()) / (self.count() - 1.0)).max(0.0)
    }

    /// The same arm with the outcome less `slope` times what was known before.
    fn adjusted(&self, slope: f64) -> Self {
        Self {
            y: self.y - slope * self.x,
            yy: self.yy - 2.0 * slope * self.xy + slope * slope * self.xx,
            ..*self
        }
    }
}

/// A difference, treatment less control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lift {
    /// The difference, in units of the outcome.
    pub difference: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Probability of a difference at least this large without any effect, if one looks once.
    pub p_value: f64,
}

/// The difference of two shares of customers: Newcombe's hybrid score interval (1998, method 10),
/// which holds for small arms and shares near 0, and the pooled z test.
///
/// # Errors
/// [`MetricError::Empty`] for an empty arm, [`MetricError::Number`] for more hits than customers.
pub fn proportion_lift(treatment: &ArmSums, control: &ArmSums) -> Result<Lift, MetricError> {
    for (row, arm) in [treatment, control].into_iter().enumerate() {
        if arm.n == 0 {
            return Err(MetricError::Empty);
        }
        if !(0.0..=arm.count()).contains(&arm.y) {
            let wanted = "a number of customers of the arm";
            return Err(MetricError::Number { what: "hits", row, found: arm.y, wanted });
        }
    }
    let (p, q) = (treatment.mean(), control.mean());
    let ((p_low, p_high), (q_low, q_high)) =
        (wilson(p, treatment.count()), wilson(q, control.count()));
    let difference = p - q;
    let pooled = (treatment.y + control.y) / (treatment.count() + control.count());
    let spread = pooled * (1.0 - pooled) * (1.0 / treatment.count() + 1.0 / control.count());
    let standard_error =
        (p * (1.0 - p) / treatment.count() + q * (1.0 - q) / control.count()).sqrt();
    Ok(Lift {
        difference,
        standard_error,
        low: difference - (p - p_low).hypot(q_high - q),
        high: difference + (p_high - p).hypot(q - q_low),
        p_value: if spread > 0.0 { two_sided(difference / spread.sqrt()) } else { 1.0 },
    })
}

/// Wilson's score interval of one share.
fn wilson(share: f64, n: f64) -> (f64, f64) {
    let zz = Z_975 * Z_975;
    let mid = (share + zz / (2.0 * n)) / (1.0 + zz / n);
    let half = Z_975 * (share * (1.0 - share) / n + zz / (4.0 * n * n)).sqrt() / (1.0 + zz / n);
    (mid - half, mid + half)
}

/// The difference of two means: Welch's interval and test, which do not assume equal spreads.
///
/// # Errors
/// [`MetricError::Empty`] below two customers in an arm.
pub fn mean_lift(treatment: &ArmSums, control: &ArmSums) -> Result<Lift, MetricError> {
    if treatment.n < 2 || control.n < 2 {
        return Err(MetricError::Empty);
    }
    let (v, w) = (treatment.variance() / treatment.count(), control.variance() / control.count());
    let difference = treatment.mean() - control.mean();
    let standard_error = (v + w).sqrt();
    if standard_error <= 0.0 {
        let p_value = if difference.abs() > 0.0 { 0.0 } else { 1.0 };
        let (low, high) = (difference, difference);
        return Ok(Lift { difference, standard_error, low, high, p_value });
    }
    let freedom =
        (v + w).powi(2) / (v * v / (treatment.count() - 1.0) + w * w / (control.count() - 1.0));
    let student = StudentsT::new(0.0, 1.0, freedom).map_err(|_| MetricError::Empty)?;
    let half = student.inverse_cdf(f64::midpoint(1.0, LEVEL)) * standard_error;
    Ok(Lift {
        difference,
        standard_error,
        low: difference - half,
        high: difference + half,
        p_value: (2.0 * student.cdf(-(difference / standard_error).abs())).min(1.0),
    })
}

/// The difference of two means less what the time before explains (CUPED; Deng, Xu, Kohavi and
/// Walker 2013): unbiased, because x was known before the arms were drawn, and narrower the more
/// x tells of y.
///
/// # Errors
/// As [`mean_lift`].
pub fn adjusted_lift(treatment: &ArmSums, control: &ArmSums) -> Result<Lift, MetricError> {
    let n = treatment.count() + control.count();
    let (x, y) = (treatment.x + control.x, treatment.y + control.y);
    let spread = treatment.xx + control.xx - x * x / n;
    let slope = if spread > 0.0 { (treatment.xy + control.xy - x * y / n) / spread } else { 0.0 };
    mean_lift(&treatment.adjusted(slope), &control.adjusted(slope))
}

/// The smallest true effect that arms of this size and spread find with 80 % power at 5 %
/// two-sided; `None` where an arm is empty.
#[must_use]
pub fn detectable_effect(variance: f64, n_treatment: u64, n_control: u64) -> Option<f64> {
    if n_treatment == 0 || n_control == 0 || !(variance >= 0.0 && variance.is_finite()) {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "customers number far below 2^52")]
    let per = 1.0 / n_treatment as f64 + 1.0 / n_control as f64;
    Some(DETECTABLE_ERRORS * (variance * per).sqrt())
}

/// Whether the arms have the sizes they were drawn with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    /// Chi-square statistic with one degree of freedom less than arms.
    pub chi_square: f64,
    /// Probability of sizes at least so far off by chance: below 0.001 something draws, loses or
    /// repeats customers, and no lift of the experiment can be believed.
    pub p_value: f64,
}

/// Holds the sizes of arms against those expected.
///
/// # Errors
/// [`MetricError::Length`] for lists of different lengths, [`MetricError::Number`] for an
/// expectation that is not above 0, [`MetricError::Empty`] below two arms.
pub fn sample_ratio(observed: &[u64], expected: &[f64]) -> Result<SampleRatio, MetricError> {
    super::error::check_length("expected sizes", observed.len(), expected.len())?;
    if observed.len() < 2 {
        return Err(MetricError::Empty);
    }
    let mut chi_square = 0.0;
    for (row, (&observed, &expected)) in observed.iter().zip(expected).enumerate() {
        if !(expected > 0.0 && expected.is_finite()) {
            let (what, wanted) = ("expected sizes", "above 0");
            return Err(MetricError::Number { what, row, found: expected, wanted });
        }
        #[allow(clippy::cast_precision_loss, reason = "customers number far below 2^52")]
        let observed = observed as f64;
        chi_square += (observed - expected).powi(2) / expected;
    }
    #[allow(clippy::cast_precision_loss, reason = "an experiment has a handful of arms")]
    let freedom = (observed.len() - 1) as f64;
    let p_value = if chi_square > 0.0 {
        checked_gamma_ur(freedom / 2.0, chi_square / 2.0).map_err(|_| MetricError::Empty)?
    } else {
        1.0
    };
    Ok(SampleRatio { chi_square, p_value })
}

/// A p-value that stays valid however often one looks: the mixture sequential probability ratio
/// test for a normal difference with variance `variance` and effects spread with variance `tau2`
/// (Johari, Pekelis and Walsh 2017). In (0, 1].
///
/// # Errors
/// [`MetricError::Parameter`] for a variance that is not above 0.
pub fn sequential_p(difference: f64, variance: f64, tau2: f64) -> Result<f64, MetricError> {
    check_variances(variance, tau2)?;
    let both = variance + tau2;
    let log_ratio =
        0.5 * (variance / both).ln() + tau2 * difference * difference / (2.0 * variance * both);
    Ok((-log_ratio).exp().min(1.0))
}

/// Half the width of an interval that covers at all looks together with probability 1 - `alpha`.
///
/// # Errors
/// [`MetricError::Parameter`] for a variance that is not above 0, or an `alpha` outside (0, 1).
pub fn sequential_half_width(variance: f64, tau2: f64, alpha: f64) -> Result<f64, MetricError> {
    check_variances(variance, tau2)?;
    if !(alpha > 0.0 && alpha < 1.0) {
        let wanted = "between 0 and 1";
        return Err(MetricError::Parameter { parameter: "alpha", found: alpha, wanted });
    }
    let both = variance + tau2;
    Ok((variance * both / tau2 * ((both / variance).ln() - 2.0 * alpha.ln())).sqrt())
}

fn check_variances(variance: f64, tau2: f64) -> Result<(), MetricError> {
    for (parameter, found) in [("variance", variance), ("tau2", tau2)] {
        if !(found > 0.0 && found.is_finite()) {
            return Err(MetricError::Parameter { parameter, found, wanted: "above 0" });
        }
    }
    Ok(())
}

/// Probability of a standard normal at least so far from 0.
fn two_sided(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::SplitMix64;

    fn near(found: f64, wanted: f64, tolerance: f64) {
        assert!((found - wanted).abs() <= tolerance, "{found} is not {wanted}");
    }

    fn share(hits: u64, n: u64) -> ArmSums {
        let mut arm = ArmSums::default();
        (0..n).for_each(|idx| arm.add(if idx < hits { 1.0 } else { 0.0 }, 0.0));
        arm
    }

    /// Newcombe 1998, "Interval estimation for the difference between independent proportions",
    /// table II, method 10.
    #[test]
    fn the_published_intervals_of_differences_of_shares_come_out() {
        for (a, b, low, high) in [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((10, 10), (0, 20), 0.6791, 1.0),
            ((5, 56), (0, 29), -0.0381, 0.1926),
        ] {
            let lift = proportion_lift(&share(a.0, a.1), &share(b.0, b.1)).unwrap();
            near(lift.low, low, 5e-5);
            near(lift.high, high, 5e-5);
        }
    }

    /// Johari, Pekelis and Walsh's test, worked out once with numpy.
    #[test]
    fn the_sequential_reference_values_are_met() {
        const VECTORS: &str = include_str!("../../tests/golden/decision/sequential.csv");
        let mut n = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let numbers: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
            let [difference, variance, tau2, p, half] = numbers[..] else { panic!("{line}") };
            near(sequential_p(difference, variance, tau2).unwrap(), p, 1e-12);
            near(sequential_half_width(variance, tau2, 0.05).unwrap(), half, 1e-12);
            n += 1;
        }
        assert_eq!(n, 4);
    }

    #[test]
    fn welch_is_student_for_equal_arms() {
        let (mut one, mut other) = (ArmSums::default(), ArmSums::default());
        for x in [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] {
            one.add(x + 1.0, 0.0);
            other.add(x, 0.0);
        }
        let lift = mean_lift(&one, &other).unwrap();
        // Variance 3.5 in each arm of 6: 10 degrees of freedom, t at 97.5 % is 2.228139.
        let error = (3.5_f64 / 6.0 * 2.0).sqrt();
        near(lift.standard_error, error, 1e-12);
        near(lift.high - 1.0, 2.228_139 * error, 1e-5);
        near(lift.p_value, 0.376_5, 5e-4);
        let same = mean_lift(&share(3, 3), &share(2, 2)).unwrap();
        near(same.p_value, 1.0, 0.0);
    }

    #[test]
    fn sizes_are_held_against_their_shares() {
        let fine = sample_ratio(&[9_510, 490], &[9_500.0, 500.0]).unwrap();
        assert!(fine.p_value > 0.5, "{fine:?}");
        let off = sample_ratio(&[9_700, 300], &[9_500.0, 500.0]).unwrap();
        assert!(off.p_value < 1e-6, "{off:?}");
        // 3.841459 is the 95 % point at one degree of freedom, 5.991465 at two.
        let at = |chi: f64| {
            let half = (chi / 2.0_f64).sqrt();
            let n = 1_000_000.0;
            let gap = half * f64::sqrt(n);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test")]
            let observed = [(n + gap).round() as u64, (n - gap).round() as u64];
            sample_ratio(&observed, &[n, n]).unwrap().p_value
        };
        near(at(3.841_459), 0.05, 2e-4);
        assert!(sample_ratio(&[1], &[1.0]).is_err());
        assert!(sample_ratio(&[1, 2], &[0.0, 3.0]).is_err());
        assert!(sample_ratio(&[1, 2], &[1.0]).is_err());
    }

    /// With 5 % control, a base rate of 0.2 and 80 % power.
    #[test]
    fn the_detectable_effect_is_that_of_the_tables() {
        for (n, points) in [(10_000, 5.1), (100_000, 1.6), (400_000, 0.8)] {
            let effect = detectable_effect(0.2 * 0.8, n - n / 20, n / 20).unwrap();
            near(100.0 * effect, points, 0.06);
        }
        assert_eq!(detectable_effect(0.2, 0, 10), None);
        assert_eq!(detectable_effect(f64::NAN, 10, 10), None);
    }

    /// The interval covers the true effect as often as it says, and the adjusted one too, narrower.
    #[test]
    fn intervals_cover_and_adjusting_narrows() {
        let mut random = SplitMix64::new(5);
        let (mut covered, mut adjusted, mut shares, mut always) = (0, 0, 0, 0);
        let (mut width, mut narrow) = (0.0, 0.0);
        let rounds = 600;
        for _ in 0..rounds {
            let mut arms = [ArmSums::default(), ArmSums::default()];
            let mut hits = [ArmSums::default(), ArmSums::default()];
            for idx in 0..400 {
                let arm = usize::from(idx % 4 == 0);
                let before = random.unit();
                let effect = if arm == 0 { 0.1 } else { 0.0 };
                arms[arm].add(2.0 * before + 0.5 * random.unit() + effect, before);
                let hit = random.unit() < 0.2 + effect;
                hits[arm].add(if hit { 1.0 } else { 0.0 }, 0.0);
            }
            let is_in = |lift: &Lift| i32::from(lift.low <= 0.1 && 0.1 <= lift.high);
            let plain = mean_lift(&arms[0], &arms[1]).unwrap();
            let less = adjusted_lift(&arms[0], &arms[1]).unwrap();
            let share = proportion_lift(&hits[0], &hits[1]).unwrap();
            covered += is_in(&plain);
            adjusted += is_in(&less);
            shares += is_in(&share);
            let half = sequential_half_width(share.standard_error.powi(2), 0.01, 0.05).unwrap();
            always += i32::from((share.difference - 0.1).abs() <= half);
            width += plain.high - plain.low;
            narrow += less.high - less.low;
        }
        // 570 expected, standard deviation 5.3.
        for (what, n) in [("mean", covered), ("adjusted", adjusted), ("share", shares)] {
            assert!((545..=595).contains(&n), "{what}: {n} of {rounds}");
        }
        assert!(always > shares, "valid at every look is wider at one: {always}");
        assert!(narrow < 0.5 * width, "{narrow} against {width}");
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        let (some, none) = (share(1, 5), ArmSums::default());
        assert!(proportion_lift(&some, &none).is_err() && mean_lift(&none, &some).is_err());
        assert!(proportion_lift(&ArmSums { y: 9.0, ..some }, &some).is_err());
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(sequential_p(0.1, bad, 1.0).is_err() && sequential_p(0.1, 1.0, bad).is_err());
        }
        assert!(sequential_half_width(1.0, 1.0, 1.0).is_err());
        near(sequential_p(0.0, 1.0, 1.0).unwrap(), 1.0, 0.0);
        assert!(sequential_p(1e6, 1.0, 1.0).unwrap() >= 0.0);
    }
}
