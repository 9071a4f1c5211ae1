//! The settings of `tenure-ops store load`: a log into a store.

use std::path::PathBuf;

use clap::Args;

use super::log::{LogArgs, LogConfig, said};
use super::ops::{Given, Models, StoreDir, read_model};
use super::raw::Reader;
use super::score::{MEMORY_MB, MEMORY_MB_MAX};
use super::train::parse_day;
use crate::bundle::BundleSelector;
use crate::domain::Day;

/// Keys that only this command uses.
pub(super) const KEYS: [&str; 3] = ["memory_mb", "work_dir", "ids_since"];

#[derive(Debug, Clone, Args)]
pub(super) struct LoadArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    store: StoreDir,
    /// Last day that is loaded [default: all]
    #[arg(long, visible_alias = "until", value_name = "DATE")]
    as_of: Option<String>,
    /// Adds to what is there; events known already change nothing
    #[arg(long)]
    append: bool,
    /// Remembers the ids only of events from that day on: older ones, sent again, would count
    /// twice [default: of all]
    #[arg(long, value_name = "DATE")]
    ids_since: Option<String>,
    /// Memory for the log, in MiB; what does not fit goes to files [default: 512]
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<String>,
    /// Where those files go [default: beside the store]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<String>,
}

impl LoadArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![
            ("as_of", self.as_of.clone()),
            ("append", said(self.append)),
            ("ids_since", self.ids_since.clone()),
            ("memory_mb", self.memory_mb.clone()),
            ("work_dir", self.work_dir.clone()),
        ];
        [self.log.given(), self.models.given(), self.store.given(), own].concat()
    }
}

/// What fills a store.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadConfig {
    /// How the log is read.
    pub log: LogConfig,
    /// Directory of models.
    pub models: PathBuf,
    /// Whose time zone and currency hold.
    pub model: BundleSelector,
    /// The store.
    pub store: PathBuf,
    /// The last day that is loaded; none for all.
    pub as_of: Option<Day>,
    /// Whether the store may hold states already.
    pub append: bool,
    /// The first day whose events' ids are remembered; none for all.
    pub ids_since: Option<Day>,
    /// Memory for the log, in MiB.
    pub memory_mb: u32,
    /// Where what does not fit goes; none is beside the store.
    pub work_dir: Option<PathBuf>,
}

pub(super) fn read_load(reader: &mut Reader) -> LoadConfig {
    let log = LogConfig::read(reader);
    log.require_events(reader);
    let (models, model) = read_model(reader);
    let memory_mb = reader.number("memory_mb", MEMORY_MB, 1..=MEMORY_MB_MAX);
    LoadConfig {
        log,
        models,
        model,
        store: PathBuf::from(reader.required("store")),
        as_of: reader.optional_parsed("as_of", parse_day),
        append: reader.flag("append"),
        ids_since: reader.optional_parsed("ids_since", parse_day),
        memory_mb: u32::try_from(memory_mb).unwrap_or(u32::MAX),
        work_dir: reader.optional("work_dir").map(PathBuf::from),
    }
}
