//! Metrics: predictions and outcomes in, numbers out.
//!
//! Every metric takes plain slices, costs at most a sort, does not depend on the order of the rows
//! (ties are treated in expectation or kept together, as each metric says), and answers bad input
//! with a [`MetricError`], never with NaN.
//! It deliberately knows no model's inside and picks no champion.

pub mod report;

mod bootstrap;
mod calibration;
mod drift;
mod error;
mod rank;
mod ties;
mod value;

pub use bootstrap::{BootstrapSpec, Interval, SplitMix64, bootstrap};
pub use calibration::{ReliabilityBin, brier, calibration_line, ece, log_loss, reliability};
pub use drift::{Histogram, PSI_MIN, Stability, stability};
pub use error::MetricError;
pub use rank::{
    TopShare, auc, gini_normalised, pr_auc, spearman, top_share, top_share_of_rarer, value_capture,
};
pub use value::{Decile, DecileMape, decile_mape, deciles, mae, rmse, total_ratio};

#[cfg(test)]
mod tests;
