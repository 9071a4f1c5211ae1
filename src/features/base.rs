//! What the base as a whole contributes to a customer's features, frozen in the bundle.

/// Base-wide quantities, fitted on data before a cutoff only.
///
/// The Gamma prior describes how purchase rates differ between customers while they are active:
/// it is fitted on the exposure between first and last purchase, not on age.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaseStats {
    /// Shape of the Gamma prior of the rate (purchases a day).
    pub rate_shape: f64,
    /// Rate parameter of that prior, days.
    pub rate_days: f64,
    /// Median gap between purchase days, days.
    pub gap_days_median: f64,
    /// 90th percentile of the gaps, days.
    pub gap_days_p90: f64,
}

impl BaseStats {
    /// The own-rhythm gap: posterior mean of the gap of a customer with `x` repeat purchase days
    /// over `t_x` days, shrunk to the base's; falls back to the posterior mode where the mean does
    /// not exist.
    #[must_use]
    pub fn expected_gap_days(&self, x: f64, t_x: f64) -> f64 {
        let shape = self.rate_shape + x;
        (self.rate_days + t_x) / if shape > 1.0 { shape - 1.0 } else { shape + 1.0 }
    }

    /// Probability of a silence of at least `silent` days for a customer with `x` repeat purchase
    /// days over `t_x` days who is still active: Gamma-exponential survival
    /// `((b + t_x) / (b + t_x + s))^(a + x)`, in [0, 1].
    #[must_use]
    pub fn silence_prob(&self, x: f64, t_x: f64, silent: f64) -> f64 {
        let exposure = self.rate_days + t_x;
        (-(self.rate_shape + x) * (silent.max(0.0) / exposure).ln_1p()).exp()
    }
}
