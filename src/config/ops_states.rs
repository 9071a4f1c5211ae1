//! The settings of the commands of `tenure-ops` that work on exported states: consistency and
//! erasure.

use std::path::PathBuf;

use clap::Args;

use super::log::{LogArgs, LogConfig};
use super::ops::{Given, Models, OpsCommand, OpsTask, read_model};
use super::raw::Reader;
use super::remote::{FetchConfig, RemoteArgs, read_remote};
use super::score::{MEMORY_MB, MEMORY_MB_MAX};
use super::train::parse_day;
use crate::bundle::BundleSelector;
use crate::domain::Day;

/// Settings that only these commands use.
pub(super) const KEYS: [&str; 5] = ["states", "sample", "customers", "export", "decisions"];

#[derive(Debug, Clone, Args)]
pub(super) struct ConsistencyArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    models: Models,
    /// Directory of the export that is checked; a new one with --from-server
    #[arg(long, value_name = "DIR")]
    states: Option<String>,
    #[command(flatten)]
    remote: Box<RemoteArgs>,
    /// Last day to which the log is complete; who has later events is not compared [default: all]
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// Share of the customers that is compared, by a hash of the id, above 0 to 1 [default: 1]
    #[arg(long, value_name = "SHARE")]
    sample: Option<String>,
    /// Memory for the log, in MiB; what does not fit goes to files [default: 512]
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<String>,
    /// Where those files go [default: beside the export]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct EraseArgs {
    /// File with the ids of the customers, one a line
    #[arg(long, value_name = "FILE")]
    customers: Option<String>,
    /// An export to erase them from
    #[arg(long, value_name = "DIR")]
    export: Option<String>,
    /// A decision log to erase them from, of a server that has ended
    #[arg(long, value_name = "DIR")]
    decisions: Option<String>,
    /// A store to erase them from, of a server that has ended; a running one has DeleteCustomer
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    models: Models,
    /// Directory of the export that is counted; a new one with --from-server
    #[arg(long, value_name = "DIR")]
    states: Option<String>,
    #[command(flatten)]
    remote: Box<RemoteArgs>,
    /// Last day that is looked at, such as 2026-06-30
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// A policy in place of the model's own
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
}

impl StatsArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![
            ("states", self.states.clone()),
            ("as_of", self.as_of.clone()),
            ("policy", self.policy.clone()),
        ];
        [self.models.given(), self.remote.given(), own].concat()
    }
}

impl ConsistencyArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![
            ("states", self.states.clone()),
            ("as_of", self.as_of.clone()),
            ("sample", self.sample.clone()),
            ("memory_mb", self.memory_mb.clone()),
            ("work_dir", self.work_dir.clone()),
        ];
        [self.log.given(), self.models.given(), self.remote.given(), own].concat()
    }
}

impl EraseArgs {
    pub(super) fn given(&self) -> Given {
        vec![
            ("customers", self.customers.clone()),
            ("export", self.export.clone()),
            ("decisions", self.decisions.clone()),
            ("store", self.store.clone()),
        ]
    }
}

/// What holds stored states against the log that they should be of.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsistencyConfig {
    /// How the log is read.
    pub log: LogConfig,
    /// Directory of models.
    pub models: PathBuf,
    /// Whose scores are compared.
    pub model: BundleSelector,
    /// The export.
    pub states: PathBuf,
    /// How the export is got first, if it is.
    pub fetch: Option<FetchConfig>,
    /// The last day to which the log is complete; none for all of it.
    pub as_of: Option<Day>,
    /// Share of the customers, above 0 to 1.
    pub sample: f64,
    /// Memory for the log, in MiB.
    pub memory_mb: u32,
    /// Where what does not fit goes; none is beside the export.
    pub work_dir: Option<PathBuf>,
}

/// A base that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsConfig {
    /// Directory of models.
    pub models: PathBuf,
    /// Who judges.
    pub model: BundleSelector,
    /// The export.
    pub states: PathBuf,
    /// How the export is got first, if it is.
    pub fetch: Option<FetchConfig>,
    /// The last day that is looked at.
    pub as_of: Day,
    /// A policy in place of the model's own.
    pub policy: Option<PathBuf>,
}

/// Who is erased, and from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseConfig {
    /// The file of ids.
    pub customers: PathBuf,
    /// An export.
    pub export: Option<PathBuf>,
    /// A decision log.
    pub decisions: Option<PathBuf>,
    /// A store.
    pub store: Option<PathBuf>,
}

/// What is to be done with states; none where a setting is wrong, which ends the reading.
pub(super) fn read_states(task: OpsTask, reader: &mut Reader) -> Option<OpsCommand> {
    Some(match task {
        OpsTask::StoreExport => {
            let remote = read_remote(reader);
            let store = match remote {
                Some(_) => reader.optional("store").unwrap_or_default(),
                None => reader.required("store"),
            };
            let out = PathBuf::from(reader.required("out"));
            match remote {
                Some(remote) => OpsCommand::Fetch(FetchConfig { remote, out }),
                None => OpsCommand::Store { task, store: PathBuf::from(store), export: out },
            }
        }
        OpsTask::StoreImport => {
            let store = PathBuf::from(reader.required("store"));
            OpsCommand::Store { task, store, export: PathBuf::from(reader.required("from")) }
        }
        OpsTask::StoreErase => read_erase(reader),
        OpsTask::Consistency => read_consistency(reader),
        OpsTask::Stats => read_stats(reader)?,
        _ => {
            let store = PathBuf::from(reader.required("store"));
            OpsCommand::Store { task, store, export: PathBuf::new() }
        }
    })
}

fn read_consistency(reader: &mut Reader) -> OpsCommand {
    let log = LogConfig::read(reader);
    log.require_events(reader);
    let (models, model) = read_model(reader);
    let states = PathBuf::from(reader.required("states"));
    let remote = read_remote(reader);
    let sample = reader.parsed("sample", 1.0, |text| match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a share above 0, at most 1".to_owned()),
    });
    let memory_mb = reader.number("memory_mb", MEMORY_MB, 1..=MEMORY_MB_MAX);
    OpsCommand::Consistency(Box::new(ConsistencyConfig {
        log,
        models,
        model,
        fetch: remote.map(|remote| FetchConfig { remote, out: states.clone() }),
        states,
        as_of: reader.optional_parsed("as_of", parse_day),
        sample,
        memory_mb: u32::try_from(memory_mb).unwrap_or(u32::MAX),
        work_dir: reader.optional("work_dir").map(PathBuf::from),
    }))
}

fn read_stats(reader: &mut Reader) -> Option<OpsCommand> {
    let (models, model) = read_model(reader);
    let states = PathBuf::from(reader.required("states"));
    let remote = read_remote(reader);
    let as_of = reader.required_parsed("as_of", parse_day);
    let policy = reader.optional("policy").map(PathBuf::from);
    let fetch = remote.map(|remote| FetchConfig { remote, out: states.clone() });
    // A missing or wrong day is an issue, which ends the reading.
    Some(OpsCommand::Stats(StatsConfig { models, model, states, fetch, as_of: as_of?, policy }))
}

fn read_erase(reader: &mut Reader) -> OpsCommand {
    let dir = |reader: &mut Reader, key| reader.optional(key).map(PathBuf::from);
    let customers = PathBuf::from(reader.required("customers"));
    let export = dir(reader, "export");
    let decisions = dir(reader, "decisions");
    let store = dir(reader, "store");
    if export.is_none() && decisions.is_none() && store.is_none() {
        reader.conflict("nothing to erase from: give export, decisions or store".to_owned());
    }
    OpsCommand::StoreErase(EraseConfig { customers, export, decisions, store })
}
