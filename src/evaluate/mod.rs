//! Metrics: predictions and outcomes in, numbers out.
//!
//! Every metric takes plain slices, costs at most a sort, does not depend on the order of the rows
//! (ties are treated in expectation or kept together, as each metric says), and answers bad input
//! with a [`MetricError`], never with NaN.
//! It deliberately knows no model's inside and picks no champion.

pub mod report;

mod adoption;
mod bootstrap;
mod calibration;
mod compare;
mod costs;
mod curves;
mod drift;
mod empc;
mod error;
mod experiment;
mod leak;
mod rank;
mod subgroup;
mod ties;
mod total;
mod uplift;
mod value;

pub use adoption::{
    AdoptionEffect, AdoptionRow, AdoptionVerdict, COVARIATES, Difference, adoption_effects,
};
pub use bootstrap::{BootstrapSpec, Interval, SplitMix64, bootstrap, bootstrap_many};
pub use calibration::{ReliabilityBin, brier, calibration_line, ece, log_loss, reliability};
pub use compare::{Compared, Estimate, Gain, compare};
pub use costs::{CostVerdict, RowCosts, judge_costs};
pub use curves::{
    CURVE_POINTS_MAX, CoverageTenth, RiskTenth, gain_curve, interval_coverage, pr_curve,
    risk_tenths, roc_curve, score_histogram, value_curve, worst_misses,
};
pub use drift::{Histogram, PSI_MIN, Stability, stability};
pub use empc::{CampaignProfit, RetentionCosts, empc, mpc};
pub use error::MetricError;
pub use experiment::{
    ArmSums, Lift, SampleRatio, adjusted_lift, detectable_effect, mean_lift, proportion_lift,
    sample_ratio, sequential_half_width, sequential_p,
};
pub use leak::{LEAK_AUC, Leak, leaks, single_feature_auc};
pub use rank::{
    TopShare, auc, gini_normalised, pr_auc, spearman, top_share, top_share_of_rarer, value_capture,
};
pub use subgroup::{SUBGROUP_ROWS_MIN, Subgroup};
pub use total::{LogRatio, TotalInterval, TotalSpread, effective_windows};
pub use uplift::{
    PartOf, PerfectOrder, RankedResponses, Responses, parts_by_score, uplift_at,
    weighted_average_uplift,
};
pub use value::{
    Decile, DecileMape, decile_mape, deciles, mae, poisson_deviance, rmse, total_ratio,
    tweedie_deviance,
};

#[cfg(test)]
mod tests;
