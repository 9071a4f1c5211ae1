//! Training on a ready-made table: features with labels in, a bundle out.
//!
//! In: checked settings and a file. Out: models of churn, value or both, judged on rows that they
//! have not seen (later rows where there is a time column, else folds that keep a customer's rows
//! together), and a bundle of the kind `table`.
//! It deliberately makes no features: what stands in the columns is the caller's.

mod baseline;
mod error;
mod infer;
mod judge;
mod metrics;
mod plots;
mod rows;
mod rule;
mod run;
mod split;

pub use error::TableError;
pub(super) use run::run;
