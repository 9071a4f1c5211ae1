//! The settings of trials: a policy on a base, and what campaigns brought.

use std::path::PathBuf;

use super::log::LogConfig;
use super::ops::{OpsTask, read_model};
use super::raw::Reader;
use super::train::parse_day;
use crate::bundle::BundleSelector;
use crate::domain::Day;

/// What a policy is tried on.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyRunConfig {
    /// How the log is read.
    pub log: LogConfig,
    /// Directory of models.
    pub models: PathBuf,
    /// Which one.
    pub model: BundleSelector,
    /// The last day that is looked at.
    pub as_of: Day,
    /// A policy in place of the bundle's, for simulate and explain.
    pub policy: Option<PathBuf>,
    /// Old and new policy, for diff.
    pub files: [PathBuf; 2],
    /// Whose decision is explained.
    pub customer: Option<String>,
}

/// What campaigns are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Whether the customer bought.
    Purchase,
    /// What the customer spent, less refunds.
    Spend,
}

impl OutcomeKind {
    /// Its name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Spend => "spend",
        }
    }
}

/// What an experiment report is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentConfig {
    /// Directory of the decision log.
    pub decisions: PathBuf,
    /// How the log of events is read.
    pub log: LogConfig,
    /// What is compared.
    pub outcome: OutcomeKind,
    /// Days after the decision that count, 1 to 3,650.
    pub days: u16,
    /// Standard deviation of effects expected beforehand, above 0, in units of the outcome.
    pub effect_sd: Option<f64>,
}

pub(super) fn read_policy_run(task: OpsTask, reader: &mut Reader) -> PolicyRunConfig {
    let log = LogConfig::read(reader);
    log.require_events(reader);
    let (models, model) = read_model(reader);
    let as_of = reader.required_parsed("as_of", parse_day);
    let is_diff = task == OpsTask::PolicyDiff;
    let mut file = |key| if is_diff { PathBuf::from(reader.required(key)) } else { PathBuf::new() };
    let files = [file("old"), file("new")];
    let customer = match task {
        OpsTask::PolicyExplain => Some(reader.required("customer")),
        _ => None,
    };
    let policy = if is_diff { None } else { reader.optional("policy").map(PathBuf::from) };
    // A missing day is an issue, which ends the reading.
    let as_of = as_of.unwrap_or(Day::from_number(0));
    PolicyRunConfig { log, models, model, as_of, policy, files, customer }
}

pub(super) fn read_experiment(reader: &mut Reader) -> ExperimentConfig {
    let decisions = PathBuf::from(reader.required("decisions"));
    let log = LogConfig::read(reader);
    log.require_events(reader);
    let outcome =
        reader.parsed("outcome", OutcomeKind::Purchase.as_str().to_owned(), |text| match text {
            "purchase" | "spend" => Ok(text.to_owned()),
            _ => Err("purchase or spend".to_owned()),
        });
    let outcome = match outcome.as_str() {
        "spend" => OutcomeKind::Spend,
        _ => OutcomeKind::Purchase,
    };
    let days = u16::try_from(reader.number("days", 30, 1..=3_650)).unwrap_or(30);
    let effect_sd = reader.optional_parsed("effect_sd", |text| {
        let number = text.parse::<f64>().ok().filter(|sd| sd.is_finite() && *sd > 0.0);
        number.ok_or_else(|| "a number above 0".to_owned())
    });
    ExperimentConfig { decisions, log, outcome, days, effect_sd }
}
