//! The whole base at once: files in, one row a customer out; and a log into a store.
//!
//! In: a checked configuration. Out: files that are there whole or not at all, with a manifest
//! that says what made them. Customers are folded by the same code as on the server and scored by
//! the same engine (invariant G-1), in parallel; the rows come in the order of the customers' ids
//! on any number of threads and in any amount of memory.
//! It deliberately holds no base that does not fit: a log is gathered by customer into parts, each
//! part is scored into a run of rows, and the runs are merged. A run that was killed goes on.

mod base;
mod clock;
mod columns;
mod consistency;
mod contract;
mod decisions;
mod drift;
mod drift_table;
mod emit;
mod error;
mod experiment;
mod explain;
mod gather;
mod load;
mod moves;
mod opportunities;
mod ops;
mod ops_activities;
mod ops_erase;
mod ops_keys;
mod ops_stats;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod policy;
mod previous;
mod ranking;
mod row;
mod run;
mod runs;
mod sink;
mod summary;
mod table;
mod tried;
mod work;

pub use columns::ColumnsError;
pub use contract::ContractError;
pub use error::BatchError;
pub use opportunities::OpportunitiesError;
pub use ops::{OpsError, OpsOutcome, operate};
pub use ops_erase::EraseError;
pub use ops_keys::KeysError;
pub use row::{COLUMNS, Cell, ColumnKind};
pub use run::score;
pub use summary::{ScoreSummary, ValueAtRisk};
