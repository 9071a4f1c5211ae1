//! Settings of the commands of `tenure-ops` that hold a bundle against a log: explain, drift, and
//! the export of a model for other programs.

use std::path::PathBuf;

use clap::Args;

use super::log::{LogArgs, LogConfig, said};
use super::ops::{Given, Models, OpsCommand, read_model};
use super::raw::Reader;
use super::train::parse_day;
use super::trial::{RoomArgs, read_room, read_table};
use crate::bundle::BundleSelector;
use crate::domain::{CustomerId, Day};

#[derive(Debug, Clone, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    models: Models,
    /// Whose score
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// A ready-made table in place of a log, for a model that was trained on one
    #[arg(long, value_name = "FILE")]
    table: Option<String>,
    /// Column of the customer id in that table [default: as in training, else the row's number]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Last day that is looked at, such as 2026-06-30; a table may leave it away
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// A policy in place of the model's own
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct DriftArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    models: Models,
    /// A ready-made table in place of a log, for a model that was trained on one
    #[arg(long, value_name = "FILE")]
    table: Option<String>,
    /// Column of the customer id in that table [default: as in training, else the row's number]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Last day that is looked at; the log must be complete to it; a table may leave it away
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    #[command(flatten)]
    room: RoomArgs,
    /// Ends with code 3 where there is an alarm
    #[arg(long)]
    fail_on_alarm: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct OnnxArgs {
    #[command(flatten)]
    models: Models,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
}

impl ExplainArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![
            ("customer", self.customer.clone()),
            ("table", self.table.clone()),
            ("id", self.id.clone()),
            ("as_of", self.as_of.clone()),
            ("policy", self.policy.clone()),
        ];
        [self.log.given(), self.models.given(), own].concat()
    }
}

impl DriftArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![
            ("table", self.table.clone()),
            ("id", self.id.clone()),
            ("as_of", self.as_of.clone()),
            ("fail_on_alarm", said(self.fail_on_alarm)),
        ];
        [self.log.given(), self.models.given(), self.room.given(), own].concat()
    }
}

impl OnnxArgs {
    pub(super) fn given(&self) -> Given {
        [self.models.given(), vec![("out", self.out.clone())]].concat()
    }
}

/// Whose score is explained.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainConfig {
    /// How the log is read.
    pub log: LogConfig,
    /// Directory of models.
    pub models: PathBuf,
    /// Which one.
    pub model: BundleSelector,
    /// The customer.
    pub customer: CustomerId,
    /// A ready-made table in place of a log.
    pub table: Option<PathBuf>,
    /// Column of the customer id in the table.
    pub id: Option<String>,
    /// The last day that is looked at; none for a table is now.
    pub as_of: Option<Day>,
    /// A policy in place of the bundle's.
    pub policy: Option<PathBuf>,
}

/// What is held against a bundle's baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftConfig {
    /// How the log is read.
    pub log: LogConfig,
    /// Directory of models.
    pub models: PathBuf,
    /// Which one.
    pub model: BundleSelector,
    /// A ready-made table in place of a log.
    pub table: Option<PathBuf>,
    /// Column of the customer id in the table.
    pub id: Option<String>,
    /// The last day that is looked at; none only for a table.
    pub as_of: Option<Day>,
    /// Memory for the log, in MiB.
    pub memory_mb: u32,
    /// Where what does not fit goes; none is where the system keeps such files.
    pub work_dir: Option<PathBuf>,
    /// Whether an alarm is a failure.
    pub fail_on_alarm: bool,
}

pub(super) fn read_explain(reader: &mut Reader) -> Option<OpsCommand> {
    let log = LogConfig::read(reader);
    let (table, id) = read_table(&log, reader);
    let (models, model) = read_model(reader);
    let customer = reader
        .required_parsed("customer", |text| CustomerId::try_new(text).map_err(|e| e.to_string()));
    let as_of = match table {
        Some(_) => reader.optional_parsed("as_of", parse_day),
        None => reader.required_parsed("as_of", parse_day),
    };
    let policy = reader.optional("policy").map(PathBuf::from);
    // A missing or wrong one is an issue, which ends the reading.
    let customer = customer?;
    let config = ExplainConfig { log, models, model, customer, table, id, as_of, policy };
    Some(OpsCommand::Explain(Box::new(config)))
}

pub(super) fn read_drift(reader: &mut Reader) -> Option<OpsCommand> {
    let log = LogConfig::read(reader);
    let (table, id) = read_table(&log, reader);
    let (models, model) = read_model(reader);
    let as_of = match table {
        Some(_) => reader.optional_parsed("as_of", parse_day),
        // A missing or wrong one is an issue, which ends the reading.
        None => reader.required_parsed("as_of", parse_day),
    };
    let fail_on_alarm = reader.flag("fail_on_alarm");
    let (memory_mb, work_dir) = read_room(reader);
    let config =
        DriftConfig { log, models, model, table, id, as_of, memory_mb, work_dir, fail_on_alarm };
    Some(OpsCommand::Drift(Box::new(config)))
}

pub(super) fn read_onnx(reader: &mut Reader) -> OpsCommand {
    let (models, model) = read_model(reader);
    OpsCommand::ExportOnnx { models, model, out: PathBuf::from(reader.required("out")) }
}
