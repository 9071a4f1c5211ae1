//! Settings of the programs: read from several places, checked once, then only passed on.
//!
//! In: flags, environment variables and a TOML file, each as a table of texts and numbers. Out: a
//! checked configuration in which every limit is set, and where each value came from. A flag wins
//! over the environment, that over the file, that over the default. All problems are reported at
//! once.
//! Checking does no I/O and binds nothing; nothing is kept in a global.

mod args;
mod checked;
mod env;
mod guard;
mod keys;
mod load;
mod log;
mod look;
mod models;
mod ops;
mod ops_client;
mod ops_contract;
mod ops_keys;
mod ops_states;
mod raw;
mod remote;
mod score;
mod table;
mod train;
mod trial;

#[cfg(test)]
mod tests;

pub use args::ServeArgs;
pub use checked::{ServeConfig, ServeLimits, StoreDurability};
pub use env::process_environment;
pub use guard::{GuardConfig, LogFormat, TlsFiles, TraceConfig};
pub use keys::{Grant, KEY_BYTES, KeyFile, KeyFileError, NewKey, Role, is_key_id};
pub use load::LoadConfig;
pub use log::{LogArgs, LogConfig, LogDefaults};
pub use look::{DriftConfig, ExplainConfig};
pub use models::ModelsConfig;
pub use ops::{OpsArgs, OpsCommand, OpsConfig, OpsTask};
pub use ops_client::{ClientConfig, ServerConfig};
pub use ops_contract::{ContractChoice, ContractConfig, OpportunitiesConfig, Outlook};
pub use ops_keys::KeysConfig;
pub use ops_states::{ConsistencyConfig, EraseConfig, StatsConfig};
pub use raw::{ConfigError, ConfigIssue, Layers, Origin, Setting, read_file, settings_toml};
pub use remote::{FetchConfig, OwnCertificate, RemoteConfig};
pub use score::{OutFile, OutFormat, ScoreArgs, ScoreConfig};
pub use table::{CostColumns, CostSource, SaidType, TableArgs, TableConfig};
pub use train::{TrainArgs, TrainConfig};
pub use trial::{DecisionsConfig, ExperimentConfig, OutcomeKind, PolicyRunConfig};
