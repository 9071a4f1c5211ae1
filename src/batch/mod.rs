//! The whole base at once: files in, one row a customer out; and a log into a store.
//!
//! In: a checked configuration. Out: files that are there whole or not at all, with a manifest
//! that says what made them. Customers are folded by the same code as on the server and scored by
//! the same engine (invariant G-1), in parallel; the rows come in the order of the customers' ids
//! on any number of threads.
//! It deliberately holds the log in memory: a base that is too large for that is split by shards.

mod clock;
mod columns;
mod contract;
mod decisions;
mod drift;
mod error;
mod experiment;
mod explain;
mod load;
mod moves;
mod opportunities;
mod ops;
mod ops_activities;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod policy;
mod ranking;
mod row;
mod run;
mod sink;
mod summary;
mod table;

pub use columns::ColumnsError;
pub use contract::ContractError;
pub use error::BatchError;
pub use opportunities::OpportunitiesError;
pub use ops::{OpsError, OpsOutcome, operate};
pub use row::{COLUMNS, Cell, ColumnKind};
pub use run::score;
pub use summary::ScoreSummary;
