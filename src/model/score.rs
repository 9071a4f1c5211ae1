//! What the models say of one customer.

/// What the models say of one customer as of one instant. Predictions are `f64` everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Calibrated probability of churn within the horizon, in [0, 1]; none for a value-only bundle.
    pub churn_prob: Option<f64>,
    /// Days of the churn horizon; 0 where there is none.
    pub churn_horizon_days: u16,
    /// Probability of churn within each horizon, the primary one included, ascending by days and
    /// never rising; empty where the bundle knows one horizon only.
    pub churn_by_horizon: Vec<HorizonProb>,
    /// Predicted value; none for a bundle trained without values (never 0 in its place).
    pub clv: Option<Clv>,
    /// Expected number of purchases within the value horizon.
    pub expected_purchases: Option<f64>,
    /// P(alive) of the buy-till-you-die model: a diagnostic, never the churn score.
    pub p_alive: Option<f64>,
    /// Whether the features lie outside of what the models were trained on.
    pub out_of_distribution: bool,
}

/// Probability of churn within one horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HorizonProb {
    /// Days of the horizon.
    pub days: u16,
    /// Probability of no purchase within it, in [0, 1].
    pub prob: f64,
}

/// Predicted customer lifetime value over a horizon, in units of a currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Clv {
    /// Expected value.
    pub mean: f64,
    /// 10th percentile.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// Value realised before the instant.
    pub historic: f64,
    /// Share of the reference base with a lower predicted mean, in [0, 1].
    pub percentile: f64,
    /// Days ahead.
    pub horizon_days: u16,
    /// Whether no complete window of this length was there to judge it.
    pub extrapolated: bool,
}
