//! Training: a log in, a bundle out.
//!
//! In: a checked specification and a log. Out: fitted models judged on a later window, and a
//! bundle on disk. It joins every room below; the science lives in them.

mod activities;
mod backtest;
mod base;
mod base_facts;
mod count_choice;
mod error;
mod export;
mod fit;
mod importance;
mod judgement;
mod metrics;
mod plan;
mod program;
mod replay;
mod run;
mod search;
mod season;
mod signal;
mod slice;
mod snapshot;
mod summary;
mod table;
mod usability;

pub use activities::ActivityReport;
pub use backtest::{ChurnMetrics, ChurnVerdict, Rows, ValueMetrics, ValueVerdict};
pub use count_choice::{CountCandidate, CountChoice};
pub use error::TrainError;
pub use fit::{FitResult, churn_spec, fit};
pub use judgement::{CalibrationLine, Judgement};
pub use metrics::{Grade, metrics};
pub use plan::{DataVerdict, Extras, TrainSpec, Usability};
pub use program::{ProgramError, execute};
pub use run::{TrainOutcome, run};
pub use search::{Search, signs};
pub use summary::{to_json, to_text};
pub use table::TableError;
