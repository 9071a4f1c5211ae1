//! Settings of the commands of `tenure-ops` that hold a bundle against a log: explain, drift, and
//! the export of a model for other programs.

use std::path::PathBuf;

use clap::Args;

use super::log::{LogArgs, LogConfig, said};
use super::ops::{Given, Models, OpsCommand, read_model};
use super::raw::Reader;
use super::train::parse_day;
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
    /// Last day that is looked at, such as 2026-06-30
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
    /// Last day that is looked at; the log must be complete to it
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
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
            ("as_of", self.as_of.clone()),
            ("policy", self.policy.clone()),
        ];
        [self.log.given(), self.models.given(), own].concat()
    }
}

impl DriftArgs {
    pub(super) fn given(&self) -> Given {
        let own = vec![("as_of", self.as_of.clone()), ("fail_on_alarm", said(self.fail_on_alarm))];
        [self.log.given(), self.models.given(), own].concat()
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
    /// The last day that is looked at.
    pub as_of: Day,
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
    /// The last day that is looked at.
    pub as_of: Day,
    /// Whether an alarm is a failure.
    pub fail_on_alarm: bool,
}

pub(super) fn read_explain(reader: &mut Reader) -> Option<OpsCommand> {
    let log = LogConfig::read(reader);
    log.require_events(reader);
    let (models, model) = read_model(reader);
    let customer = reader
        .required_parsed("customer", |text| CustomerId::try_new(text).map_err(|e| e.to_string()));
    let as_of = reader.required_parsed("as_of", parse_day);
    let policy = reader.optional("policy").map(PathBuf::from);
    // A missing or wrong one is an issue, which ends the reading.
    let (customer, as_of) = (customer?, as_of?);
    let config = ExplainConfig { log, models, model, customer, as_of, policy };
    Some(OpsCommand::Explain(Box::new(config)))
}

pub(super) fn read_drift(reader: &mut Reader) -> Option<OpsCommand> {
    let log = LogConfig::read(reader);
    log.require_events(reader);
    let (models, model) = read_model(reader);
    let as_of = reader.required_parsed("as_of", parse_day);
    let fail_on_alarm = reader.flag("fail_on_alarm");
    let config = DriftConfig { log, models, model, as_of: as_of?, fail_on_alarm };
    Some(OpsCommand::Drift(Box::new(config)))
}

pub(super) fn read_onnx(reader: &mut Reader) -> OpsCommand {
    let (models, model) = read_model(reader);
    OpsCommand::ExportOnnx { models, model, out: PathBuf::from(reader.required("out")) }
}
