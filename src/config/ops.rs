//! The settings of `tenure-ops`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::load::{LoadArgs, LoadConfig, read_load};
use super::log::said;
use super::look::{DriftArgs, DriftConfig, ExplainArgs, ExplainConfig, OnnxArgs};
use super::look::{read_drift, read_explain, read_onnx};
use super::ops_client;
use super::ops_client::{ClientConfig, EventsArgs, HealthArgs};
use super::ops_contract;
use super::ops_contract::{ContractArgs, ContractConfig, OpportunitiesArgs, OpportunitiesConfig};
use super::ops_keys;
use super::ops_keys::{KeysArgs, KeysConfig, read_keys};
use super::ops_states;
use super::ops_states::{
    ConsistencyArgs, ConsistencyConfig, EraseArgs, EraseConfig, StatsArgs, StatsConfig, read_states,
};
use super::raw::{ConfigError, Layers, Reader, Setting, settings_toml};
use super::remote;
use super::remote::{FetchConfig, RemoteArgs};
use super::score::parse_selector;
use super::train::layers;
use super::trial;
use super::trial::{
    DecisionsArgs, DecisionsConfig, ExperimentArgs, ExperimentConfig, PolicyArgs, PolicyRunConfig,
    read_decisions, read_experiment, read_policy_run,
};
use crate::bundle::{BundleSelector, CHAMPION};

/// Begins the name of every variable that this program reads.
const PREFIX: &str = "TENURE_OPS_";

/// Settings that one of the commands uses: the file and the environment may hold them for all.
const KEYS: [&str; 15] = [
    "models",
    "name",
    "alias",
    "store",
    "out",
    "from",
    "as_of",
    "append",
    "file",
    "json",
    "quiet",
    "events",
    "policy",
    "customer",
    "fail_on_alarm",
];

/// Looks after bundles, stores, policies and experiments.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tenure-ops",
    version,
    after_help = ops_keys::HELP
)]
pub struct OpsArgs {
    #[command(subcommand)]
    room: RoomArgs,
    /// Settings in a TOML file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Prints the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Prints no progress
    #[arg(long, global = true)]
    quiet: bool,
    /// Prints the settings with where each came from, and ends
    #[arg(long, global = true)]
    pub print_config: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum RoomArgs {
    /// Models on disk
    #[command(subcommand)]
    Bundle(BundleArgs),
    /// Customer states on disk
    #[command(subcommand)]
    Store(StoreArgs),
    /// Policies
    #[command(subcommand)]
    Policy(Box<PolicyArgs>),
    /// Experiments
    #[command(subcommand)]
    Experiment(Box<ExperimentArgs>),
    /// The decision log
    #[command(subcommand)]
    Decisions(DecisionsArgs),
    /// Fits contracts (sBG, BdW) to cohorts: survival, retention, lifetime and value ahead
    Contract(ContractArgs),
    /// Fits opportunities taken or not (BG/BB) to a table: transactions ahead by customer
    Opportunities(OpportunitiesArgs),
    /// Activities that customers take up
    #[command(subcommand)]
    Activities(ActivitiesArgs),
    /// Says why a customer got this score and this campaign
    Explain(Box<ExplainArgs>),
    /// Holds the states of a server or an export against the log that they should be of
    Consistency(Box<ConsistencyArgs>),
    /// Counts the base of a server or an export: tiers, segments, arms, cohorts
    Stats(StatsArgs),
    /// Events for a running server
    #[command(subcommand)]
    Events(EventsArgs),
    /// Asks a running server whether it serves: exit code 0 yes, 1 no, 2 no answer
    Health(HealthArgs),
    /// Keys for callers of the server
    #[command(subcommand)]
    Keys(KeysArgs),
}

#[derive(Debug, Clone, Args)]
pub(super) struct Models {
    /// Directory of models
    #[arg(long, value_name = "DIR")]
    models: Option<String>,
    /// Which model; the champion where nothing follows its name
    #[arg(long, value_name = "NAME[@ALIAS|@VERSION]")]
    name: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct StoreDir {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum BundleArgs {
    /// Lists all versions of all models, or of one
    List(Models),
    /// Shows what a bundle is and how its models did
    Show(Models),
    /// Checks every digest and scores the bundle's own examples
    Verify(Models),
    /// Points an alias at a version, after checking it
    Promote {
        #[command(flatten)]
        models: Models,
        /// The alias [default: champion]
        #[arg(long, value_name = "ALIAS")]
        alias: Option<String>,
    },
    /// Says where the report lies
    ReportPath(Models),
    /// Holds today's base against the one that the bundle was trained on
    Drift(Box<DriftArgs>),
    /// Writes the churn model as an ONNX graph, for other programs
    ExportOnnx(OnnxArgs),
}

#[derive(Debug, Clone, Subcommand)]
enum StoreArgs {
    /// Fills an empty store from a log, for the server to go on with
    Load(Box<LoadArgs>),
    /// Reads and checks every entry
    Verify(StoreDir),
    /// Counts what is in it
    Stats(StoreDir),
    /// Writes all of it into a new directory
    Export {
        #[command(flatten)]
        store: StoreDir,
        #[command(flatten)]
        remote: Box<RemoteArgs>,
        /// The new directory
        #[arg(long, value_name = "DIR")]
        out: Option<String>,
    },
    /// Fills an empty store from an export
    Import {
        #[command(flatten)]
        store: StoreDir,
        /// Directory of the export
        #[arg(long, value_name = "DIR")]
        from: Option<String>,
    },
    /// Erases customers from an export, a decision log or a store
    Erase(EraseArgs),
}

#[derive(Debug, Clone, Subcommand)]
enum ActivitiesArgs {
    /// Shows which activities are worth testing as a promotion, as training found
    Report(Models),
}

pub(super) type Given = Vec<(&'static str, Option<String>)>;

impl Models {
    pub(super) fn given(&self) -> Given {
        vec![("models", self.models.clone()), ("name", self.name.clone())]
    }
}

impl StoreDir {
    pub(super) fn given(&self) -> Given {
        vec![("store", self.store.clone())]
    }
}

impl OpsArgs {
    /// The configuration that flags, the environment of the process and the file make together.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn to_config(&self) -> Result<OpsConfig, ConfigError> {
        let (task, mut given) = self.room.given();
        given.extend([("json", said(self.json)), ("quiet", said(self.quiet))]);
        OpsConfig::check(task, layers(PREFIX, self.config.as_ref(), given)?)
    }
}

impl RoomArgs {
    fn given(&self) -> (OpsTask, Given) {
        match self {
            Self::Bundle(BundleArgs::List(models)) => (OpsTask::BundleList, models.given()),
            Self::Bundle(BundleArgs::Show(models)) => (OpsTask::BundleShow, models.given()),
            Self::Bundle(BundleArgs::Verify(models)) => (OpsTask::BundleVerify, models.given()),
            Self::Bundle(BundleArgs::ReportPath(models)) => {
                (OpsTask::BundleReportPath, models.given())
            }
            Self::Bundle(BundleArgs::Drift(drift)) => (OpsTask::BundleDrift, drift.given()),
            Self::Bundle(BundleArgs::ExportOnnx(onnx)) => (OpsTask::BundleExportOnnx, onnx.given()),
            Self::Explain(explain) => (OpsTask::Explain, explain.given()),
            Self::Bundle(BundleArgs::Promote { models, alias }) => {
                (OpsTask::BundlePromote, [models.given(), vec![("alias", alias.clone())]].concat())
            }
            Self::Store(StoreArgs::Load(load)) => (OpsTask::StoreLoad, load.given()),
            Self::Store(StoreArgs::Verify(store)) => (OpsTask::StoreVerify, store.given()),
            Self::Store(StoreArgs::Stats(store)) => (OpsTask::StoreStats, store.given()),
            Self::Store(StoreArgs::Export { store, remote, out }) => {
                let own = vec![("out", out.clone())];
                (OpsTask::StoreExport, [store.given(), remote.given(), own].concat())
            }
            Self::Store(StoreArgs::Import { store, from }) => {
                (OpsTask::StoreImport, [store.given(), vec![("from", from.clone())]].concat())
            }
            Self::Store(StoreArgs::Erase(erase)) => (OpsTask::StoreErase, erase.given()),
            Self::Consistency(args) => (OpsTask::Consistency, args.given()),
            Self::Stats(args) => (OpsTask::Stats, args.given()),
            Self::Events(events) => (OpsTask::EventsSend, events.given()),
            Self::Health(health) => (OpsTask::Health, health.given()),
            Self::Policy(args) => args.given(),
            Self::Experiment(args) => args.given(),
            Self::Decisions(args) => args.given(),
            Self::Activities(ActivitiesArgs::Report(models)) => {
                (OpsTask::ActivitiesReport, models.given())
            }
            Self::Contract(contract) => (OpsTask::Contract, contract.given()),
            Self::Opportunities(table) => (OpsTask::Opportunities, table.given()),
            Self::Keys(keys) => {
                let (is_new, given) = keys.given();
                (if is_new { OpsTask::KeysNew } else { OpsTask::KeysCheck }, given)
            }
        }
    }
}

/// What is to be done, without its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpsTask {
    /// List versions.
    BundleList,
    /// Show one.
    BundleShow,
    /// Check one.
    BundleVerify,
    /// Point an alias at one.
    BundlePromote,
    /// Say where its report lies.
    BundleReportPath,
    /// Show what a bundle says of activities.
    ActivitiesReport,
    /// Fill a store from a log.
    StoreLoad,
    /// Check a store.
    StoreVerify,
    /// Count what is in a store.
    StoreStats,
    /// Write a store out.
    StoreExport,
    /// Read a store in.
    StoreImport,
    /// Erase customers.
    StoreErase,
    /// Hold states against a log.
    Consistency,
    /// Count a base.
    Stats,
    /// Check a policy file.
    PolicyCheck,
    /// Fit contract models to cohorts.
    Contract,
    /// Fit BG/BB to a table.
    Opportunities,
    /// Hold two policies against each other.
    PolicyDiff,
    /// Count what a policy does.
    PolicySimulate,
    /// Explain one decision.
    PolicyExplain,
    /// Count who moved where.
    PolicyMoves,
    /// Work out what campaigns brought.
    ExperimentReport,
    /// Write a decision log for other programs.
    DecisionsExport,
    /// Say why a customer got a score.
    Explain,
    /// Hold a base against a bundle's.
    BundleDrift,
    /// Write a churn model for other programs.
    BundleExportOnnx,
    /// Send events to a server.
    EventsSend,
    /// Ask a server how it is.
    Health,
    /// Make a key.
    KeysNew,
    /// Check a file of keys.
    KeysCheck,
}

/// What is to be done, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub enum OpsCommand {
    /// List the versions of all models, or of one.
    BundleList {
        /// Directory of models.
        models: PathBuf,
        /// The model, none for all.
        name: Option<String>,
    },
    /// Look at one bundle.
    Bundle {
        /// What to do with it.
        task: OpsTask,
        /// Directory of models.
        models: PathBuf,
        /// Which one.
        model: BundleSelector,
        /// The alias that is to point at it.
        alias: String,
    },
    /// Fill a store.
    StoreLoad(Box<LoadConfig>),
    /// Look at a store, write it out or read it in.
    Store {
        /// What to do with it.
        task: OpsTask,
        /// The store.
        store: PathBuf,
        /// The export, for those that have one.
        export: PathBuf,
    },
    /// Take an export from a running server.
    Fetch(FetchConfig),
    /// Hold states against a log.
    Consistency(Box<ConsistencyConfig>),
    /// Count a base.
    Stats(StatsConfig),
    /// Erase customers.
    StoreErase(EraseConfig),
    /// Check a policy file.
    PolicyCheck {
        /// The file.
        file: PathBuf,
    },
    /// Fit contract models to cohorts.
    Contract(ContractConfig),
    /// Fit BG/BB to a table.
    Opportunities(OpportunitiesConfig),
    /// Try a policy on a base.
    PolicyRun {
        /// Diff, simulate, explain or moves.
        task: OpsTask,
        /// On what.
        run: Box<PolicyRunConfig>,
    },
    /// Work out what campaigns brought.
    ExperimentReport(Box<ExperimentConfig>),
    /// Write a decision log for other programs.
    DecisionsExport(DecisionsConfig),
    /// Say why a customer got a score.
    Explain(Box<ExplainConfig>),
    /// Hold a base against a bundle's.
    Drift(Box<DriftConfig>),
    /// Write a churn model for other programs.
    ExportOnnx {
        /// Directory of models.
        models: PathBuf,
        /// Which one.
        model: BundleSelector,
        /// The file to write.
        out: PathBuf,
    },
    /// Ask something of a running server.
    Client(Box<ClientConfig>),
    /// Make a key, or check a file of keys.
    Keys(KeysConfig),
}

impl OpsCommand {
    /// What has to be taken from a running server before it is done.
    #[must_use]
    pub const fn fetch(&self) -> Option<&FetchConfig> {
        match self {
            Self::Fetch(fetch) => Some(fetch),
            Self::Consistency(config) => config.fetch.as_ref(),
            Self::Stats(config) => config.fetch.as_ref(),
            _ => None,
        }
    }
}

/// What `tenure-ops` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct OpsConfig {
    /// What is to be done.
    pub command: OpsCommand,
    /// Whether standard output is JSON.
    pub json: bool,
    /// Whether there is no progress.
    pub quiet: bool,
    /// Every setting with where it came from.
    pub settings: Vec<Setting>,
}

impl OpsConfig {
    /// Checks settings.
    ///
    /// # Errors
    /// [`ConfigError::Issues`] with everything that is wrong.
    pub fn check(task: OpsTask, layers: Layers) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers);
        reader.tolerate(&KEYS);
        reader.tolerate(&ops_contract::KEYS);
        reader.tolerate(&trial::KEYS);
        reader.tolerate(&super::load::KEYS);
        reader.tolerate(&ops_keys::KEYS);
        reader.tolerate(&remote::KEYS);
        reader.tolerate(&ops_states::KEYS);
        reader.tolerate(&ops_client::KEYS);
        let command = match task {
            OpsTask::BundleList => OpsCommand::BundleList {
                models: PathBuf::from(reader.required("models")),
                name: reader.optional("name"),
            },
            OpsTask::BundleShow
            | OpsTask::BundleVerify
            | OpsTask::BundlePromote
            | OpsTask::BundleReportPath
            | OpsTask::ActivitiesReport => {
                let (models, model) = read_model(&mut reader);
                let alias = reader.parsed("alias", CHAMPION.to_owned(), |text| Ok(text.to_owned()));
                OpsCommand::Bundle { task, models, model, alias }
            }
            OpsTask::StoreLoad => OpsCommand::StoreLoad(Box::new(read_load(&mut reader))),
            OpsTask::StoreVerify
            | OpsTask::StoreStats
            | OpsTask::StoreExport
            | OpsTask::StoreImport
            | OpsTask::StoreErase
            | OpsTask::Consistency
            | OpsTask::Stats => read_states(task, &mut reader).unwrap_or_else(nothing),
            OpsTask::PolicyCheck => {
                OpsCommand::PolicyCheck { file: PathBuf::from(reader.required("file")) }
            }
            OpsTask::Contract => OpsCommand::Contract(ContractConfig::read(&mut reader)),
            OpsTask::Opportunities => {
                OpsCommand::Opportunities(OpportunitiesConfig::read(&mut reader))
            }
            OpsTask::PolicyDiff
            | OpsTask::PolicySimulate
            | OpsTask::PolicyExplain
            | OpsTask::PolicyMoves => {
                OpsCommand::PolicyRun { task, run: Box::new(read_policy_run(task, &mut reader)) }
            }
            OpsTask::ExperimentReport => {
                OpsCommand::ExperimentReport(Box::new(read_experiment(&mut reader)))
            }
            OpsTask::DecisionsExport => read_decisions(&mut reader).unwrap_or_else(nothing),
            OpsTask::Explain => read_explain(&mut reader).unwrap_or_else(nothing),
            OpsTask::BundleDrift => read_drift(&mut reader).unwrap_or_else(nothing),
            OpsTask::BundleExportOnnx => read_onnx(&mut reader),
            OpsTask::EventsSend | OpsTask::Health => {
                OpsCommand::Client(Box::new(ClientConfig::read(task, &mut reader)))
            }
            OpsTask::KeysNew | OpsTask::KeysCheck => {
                OpsCommand::Keys(read_keys(task == OpsTask::KeysNew, &mut reader))
            }
        };
        let (json, quiet) = (reader.flag("json"), reader.flag("quiet"));
        Ok(Self { command, json, quiet, settings: reader.finish()? })
    }

    /// The settings as a TOML file, each with a comment on where it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        settings_toml(&self.settings)
    }
}

/// Stands for a command whose settings are wrong: their issues end the reading.
fn nothing() -> OpsCommand {
    OpsCommand::BundleList { models: PathBuf::new(), name: None }
}

pub(super) fn read_model(reader: &mut Reader) -> (PathBuf, BundleSelector) {
    let models = PathBuf::from(reader.required("models"));
    let model = reader.required_parsed("name", parse_selector);
    // A missing or wrong one is an issue, which ends the reading.
    let none = || BundleSelector { name: String::new(), version: String::new() };
    (models, model.unwrap_or_else(none))
}
