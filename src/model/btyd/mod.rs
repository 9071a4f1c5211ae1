//! Buy-till-you-die models: how often customers come back, whether they are gone, what they spend.
//!
//! In: one row a customer, (x, t_x, T) in weeks, and mean spends. Out: fitted models whose
//! parameters and standard errors are plain data, and predictions a customer: P(alive), the
//! probability of no purchase, expected and discounted purchases, their exact distribution,
//! expected spend. Invariants: every prediction is finite, every probability lies in [0, 1]
//! (D-1), a fit gives the same bits on any number of threads, and a fit that found no optimum is
//! an error. They deliberately know no customer id, no calendar, no currency and no discount
//! policy. Equations, papers and limits stand in `docs/MODELS.md`.

mod base;
mod beta_geometric;
mod beta_mean;
mod bg_bb;
mod bg_bb_core;
mod bg_nbd;
mod cnbd;
mod cnbd_core;
mod contract;
mod contract_core;
mod contract_rows;
mod covariates;
mod delegate;
mod error;
mod estimate;
mod gamma_gamma;
mod mbg_nbd;
mod min_count;
mod opportunity_rows;
mod pareto_core;
mod pareto_integral;
mod pareto_nbd;
mod predict;
mod reach;
mod rows;
mod special;

pub use base::FrequencyBin;
pub use beta_geometric::FirstThrow;
pub use bg_bb::{BgBb, BgBbParams, BgBbSpec};
pub use bg_nbd::{BgNbd, BgNbdParams, BgNbdSpec};
pub use cnbd::{Cnbd, CnbdParams, CnbdSpec};
pub use contract::{Bdw, BdwParams, ContractModel, ContractSpec, Sbg, SbgParams};
pub use contract_rows::{Cohort, PooledCohorts, Renewal};
pub use covariates::{
    COVARIATES_MAX, CovariateBase, CovariateEffects, CovariateInfo, CovariateRows, CovariateSpec,
};
pub use error::{BtydError, CohortIssue, RowIssue};
pub use estimate::{FitInfo, FitWarning, Prior, TimeUnit};
pub use gamma_gamma::{GammaGamma, GammaGammaParams, GammaGammaSpec};
pub use mbg_nbd::{MbgNbd, MbgNbdParams, MbgNbdSpec};
pub use opportunity_rows::{OpportunityRow, PooledOpportunities};
pub use pareto_nbd::{ParetoNbd, ParetoNbdParams, ParetoNbdSpec};
pub use predict::{Discount, Prediction};
pub use rows::{BtydRow, PooledRow, PooledRows, PooledSpend, SpendRow};

#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;
