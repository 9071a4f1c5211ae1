//! How far the total of a whole base may lie from its prediction.
//!
//! In: logarithms of actual over predicted totals of past windows. Out: a prediction interval for
//! the next total. The customers' own randomness hardly matters to a total of thousands; what
//! matters is what hits all of them at once, and only past windows tell how much that is.
//!
//! Student's quantiles allow for the few windows. Windows that overlap say less than as many that
//! do not: what counts is the time they cover, in windows.
//! It deliberately assumes no model and looks at no customer.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// What one past window says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogRatio {
    /// First day of the window, as a number of days from any fixed day.
    pub day: i32,
    /// Logarithm of the actual over the predicted total.
    pub log_ratio: f64,
}

/// How many windows that do not overlap cover the same time: the days that at least one window
/// holds, over the length of a window.
#[must_use]
pub fn effective_windows(windows: &[LogRatio], window_days: i32) -> f64 {
    let mut days: Vec<i32> = windows.iter().map(|window| window.day).collect();
    days.sort_unstable();
    let mut covered = 0;
    for (at, day) in days.iter().enumerate() {
        let next = days.get(at + 1).map_or(window_days, |next| next - day);
        covered += next.clamp(0, window_days);
    }
    f64::from(covered) / f64::from(window_days.max(1))
}

/// Spread of past totals around their predictions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TotalSpread {
    /// Root mean square of the log ratios: lasting bias counts as spread.
    pub log_rms: f64,
    /// Windows looked at.
    pub n_residuals: usize,
    /// The same without their overlap.
    pub n_effective: f64,
}

/// An interval for a total.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TotalInterval {
    /// 5th percentile.
    pub p05: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
}

/// Fewer windows than this without their overlap, and nothing is known about the spread.
const WINDOWS_MIN: f64 = 2.0;
/// A total that is further off than a factor of a million says nothing any more.
const LOG_WIDTH_MAX: f64 = 14.0;

impl TotalSpread {
    /// Of windows of one length. None for fewer than two windows without their overlap: one
    /// residual has no spread.
    #[must_use]
    pub fn of(windows: &[LogRatio], window_days: i32) -> Option<Self> {
        let n_effective = effective_windows(windows, window_days);
        let n = windows.len() as f64;
        if windows.len() < 2 || n_effective < WINDOWS_MIN {
            return None;
        }
        let square = |window: &LogRatio| window.log_ratio * window.log_ratio;
        let log_rms = (windows.iter().map(square).sum::<f64>() / n).sqrt();
        let found = Self { log_rms, n_residuals: windows.len(), n_effective };
        log_rms.is_finite().then_some(found)
    }

    /// The 90 % interval of the next total around its prediction: Student's quantile with as many
    /// degrees of freedom as windows without overlap, for no mean is taken off. `stretch` is how
    /// much longer its horizon is than the windows: where the level of a base drifts at random, the
    /// error of a total's logarithm grows with the root of the horizon.
    #[must_use]
    pub fn interval(&self, median: f64, stretch: f64) -> Option<TotalInterval> {
        let student = StudentsT::new(0.0, 1.0, self.n_effective).ok()?;
        let width = student.inverse_cdf(0.95) * self.log_rms * stretch.max(1.0).sqrt();
        let width = width.min(LOG_WIDTH_MAX);
        let found = TotalInterval {
            p05: median * libm::exp(-width),
            p50: median,
            p95: median * libm::exp(width),
        };
        (found.p05.is_finite() && found.p95.is_finite()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(days: &[i32], ratios: &[f64]) -> Vec<LogRatio> {
        days.iter().zip(ratios).map(|(&day, &log_ratio)| LogRatio { day, log_ratio }).collect()
    }

    #[test]
    fn overlap_is_counted_out() {
        let apart = windows(&[0, 30, 60], &[0.0; 3]);
        assert!((effective_windows(&apart, 30) - 3.0).abs() < 1e-12);
        let overlapping = windows(&[0, 10, 20, 30, 40, 50, 60], &[0.0; 7]);
        assert!((effective_windows(&overlapping, 30) - 3.0).abs() < 1e-12);
        let gaps = windows(&[0, 100], &[0.0; 2]);
        assert!((effective_windows(&gaps, 30) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn two_windows_give_students_interval_with_two_degrees_of_freedom() {
        let spread = TotalSpread::of(&windows(&[0, 30], &[0.1, -0.1]), 30).unwrap();
        assert!((spread.log_rms - 0.1).abs() < 1e-12);
        let found = spread.interval(100.0, 1.0).unwrap();
        // t(0.95, 2) = 2.919986.
        let width = 2.919_986 * 0.1;
        assert!(((found.p95 / 100.0).ln() - width).abs() < 1e-5, "{found:?}");
        assert!((found.p05 * found.p95 - 1e4).abs() < 1e-6);
        let wider = spread.interval(100.0, 4.0).unwrap();
        assert!(((wider.p95 / 100.0).ln() - 2.0 * width).abs() < 1e-5);
    }

    #[test]
    fn one_window_has_no_spread() {
        assert_eq!(TotalSpread::of(&windows(&[0], &[0.3]), 30), None);
        // Two that are nearly the same window are one.
        assert_eq!(TotalSpread::of(&windows(&[0, 10], &[0.3, 0.2]), 30), None);
    }

    /// Totals of a log-normal base: the interval must hold nine of ten next ones.
    #[test]
    fn nine_of_ten_next_totals_lie_inside() {
        let mut state = 1_u64;
        let mut normal = || {
            let mut sum = -6.0;
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sum += f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(1_u32 << 31);
            }
            0.2 * sum
        };
        let n = 4_000;
        let mut n_inside = 0;
        for _ in 0..n {
            let ratios: Vec<f64> = (0..4).map(|_| normal()).collect();
            let spread = TotalSpread::of(&windows(&[0, 30, 60, 90], &ratios), 30).unwrap();
            let found = spread.interval(1.0, 1.0).unwrap();
            let next = normal().exp();
            n_inside += usize::from((found.p05..=found.p95).contains(&next));
        }
        let share = f64::from(u32::try_from(n_inside).unwrap()) / f64::from(n);
        assert!((0.88..0.95).contains(&share), "{share}");
    }
}
