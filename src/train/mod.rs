//! Training: a log in, a bundle out.
//!
//! In: a checked specification and a log. Out: fitted models judged on a later window, and a
//! bundle on disk. It joins every room below; the science lives in them.

mod activities;
mod backtest;
mod backtest_json;
mod base;
mod base_facts;
mod correction;
mod count_choice;
mod count_mix;
mod error;
mod export;
mod fit;
mod horizons;
mod importance;
mod judgement;
mod metrics;
mod origins;
mod plan;
mod plots;
mod program;
mod promotion;
mod recalibration;
mod replay;
mod run;
mod sample;
mod search;
mod season;
mod signal;
mod slice;
mod snapshot;
mod stacking;
mod summary;
mod table;
mod total_interval;
mod totals;
mod usability;

pub use activities::ActivityReport;
pub use backtest::{ChurnMetrics, ChurnVerdict, Rows, ValueMetrics, ValueVerdict};
pub use correction::{Correction, LevelTrial};
pub use count_choice::{CountCandidate, CountChoice};
pub use count_mix::{MixChoice, MixWindow};
pub use error::TrainError;
pub use fit::{FitResult, churn_spec, fit};
pub use horizons::HorizonVerdict;
pub use judgement::{CalibrationLine, Judgement};
pub use metrics::{Grade, metrics};
pub use origins::OriginResult;
pub use plan::{DataVerdict, Extras, Promotion, TrainSpec, Usability};
pub use program::{ProgramError, execute};
pub use run::{TrainOutcome, run};
pub use search::{Search, signs};
pub use stacking::{StackTrial, StackVerdict};
pub use summary::{to_json, to_text};
pub use table::TableError;
pub use totals::{CountCheck, CutoffTotals, HorizonTotals};
