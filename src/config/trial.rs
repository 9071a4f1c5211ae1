//! The settings of trials: a policy on a base, what campaigns brought, and the decision log that
//! says so.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::log::{LogArgs, LogConfig};
use super::ops::{Given, Models, OpsCommand, OpsTask, read_model};
use super::raw::Reader;
use super::score::OutFile;
use super::train::parse_day;
use crate::bundle::BundleSelector;
use crate::domain::Day;

/// Keys that only these commands use.
pub(super) const KEYS: [&str; 7] =
    ["old", "new", "since", "decisions", "outcome", "days", "effect_sd"];

#[derive(Debug, Clone, Subcommand)]
pub(super) enum PolicyArgs {
    /// Checks a policy file
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: Option<String>,
    },
    /// Shows who changes from what to what between two policies, on a base
    Diff {
        /// The policy in force
        #[arg(value_name = "OLD")]
        old: Option<String>,
        /// The one to hold against it
        #[arg(value_name = "NEW")]
        new: Option<String>,
        #[command(flatten)]
        base: BaseArgs,
    },
    /// Counts what a policy would do to a base, and what it costs
    Simulate(BaseArgs),
    /// Counts who moved from which segment and tier to which between two days, and who bought
    Moves {
        /// The first of the two days; --as-of is the other
        #[arg(long, value_name = "DATE")]
        since: Option<String>,
        #[command(flatten)]
        base: BaseArgs,
    },
    /// Shows one customer's decision with every rule, and why each campaign is not it
    Explain {
        /// The customer's id
        #[arg(long, value_name = "ID")]
        customer: Option<String>,
        #[command(flatten)]
        base: BaseArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct BaseArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    models: Models,
    /// Last day that is looked at
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// A policy in place of the model's own
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
}

impl BaseArgs {
    fn given(&self) -> Given {
        let own = vec![("as_of", self.as_of.clone()), ("policy", self.policy.clone())];
        [self.log.given(), self.models.given(), own].concat()
    }
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ExperimentArgs {
    /// Works out what campaigns brought: treated against left alone, from a decision log
    Report {
        /// Directory of the decision log
        #[arg(long, value_name = "DIR")]
        decisions: Option<String>,
        #[command(flatten)]
        log: LogArgs,
        /// What is compared: purchase (share of customers who bought) or spend [default: purchase]
        #[arg(long, value_name = "OUTCOME")]
        outcome: Option<String>,
        /// Days after the decision that count [default: 30]
        #[arg(long, value_name = "NUMBER")]
        days: Option<String>,
        /// Standard deviation of effects expected beforehand, for the sequential p-values
        /// [default: 0.02 for purchase, 2 % of the spend before for spend]
        #[arg(long, value_name = "NUMBER")]
        effect_sd: Option<String>,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum DecisionsArgs {
    /// Writes all decisions as one table, for other programs
    Export {
        /// Directory of the decision log
        #[arg(long, value_name = "DIR")]
        decisions: Option<String>,
        /// Where to: .parquet, .csv, .csv.gz, .jsonl or .jsonl.gz
        #[arg(long, value_name = "FILE")]
        out: Option<String>,
    },
}

impl PolicyArgs {
    pub(super) fn given(&self) -> (OpsTask, Given) {
        match self {
            Self::Check { file } => (OpsTask::PolicyCheck, vec![("file", file.clone())]),
            Self::Diff { old, new, base } => {
                let own = vec![("old", old.clone()), ("new", new.clone())];
                (OpsTask::PolicyDiff, [base.given(), own].concat())
            }
            Self::Simulate(base) => (OpsTask::PolicySimulate, base.given()),
            Self::Moves { since, base } => {
                let own = vec![("since", since.clone())];
                (OpsTask::PolicyMoves, [base.given(), own].concat())
            }
            Self::Explain { customer, base } => {
                let own = vec![("customer", customer.clone())];
                (OpsTask::PolicyExplain, [base.given(), own].concat())
            }
        }
    }
}

impl ExperimentArgs {
    pub(super) fn given(&self) -> (OpsTask, Given) {
        let Self::Report { decisions, log, outcome, days, effect_sd } = self;
        let own = vec![
            ("decisions", decisions.clone()),
            ("outcome", outcome.clone()),
            ("days", days.clone()),
            ("effect_sd", effect_sd.clone()),
        ];
        (OpsTask::ExperimentReport, [log.given(), own].concat())
    }
}

impl DecisionsArgs {
    pub(super) fn given(&self) -> (OpsTask, Given) {
        let Self::Export { decisions, out } = self;
        let given = vec![("decisions", decisions.clone()), ("out", out.clone())];
        (OpsTask::DecisionsExport, given)
    }
}

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
    /// The first of two days, for moves; before `as_of`.
    pub since: Option<Day>,
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

/// A decision log and where it is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionsConfig {
    /// Directory of the decision log.
    pub decisions: PathBuf,
    /// The file to write.
    pub out: OutFile,
}

pub(super) fn read_decisions(reader: &mut Reader) -> Option<OpsCommand> {
    let decisions = PathBuf::from(reader.required("decisions"));
    let out = reader.required_parsed("out", OutFile::parse);
    // A missing or wrong one is an issue, which ends the reading.
    Some(OpsCommand::DecisionsExport(DecisionsConfig { decisions, out: out? }))
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
    let since = match task {
        OpsTask::PolicyMoves => reader.required_parsed("since", parse_day),
        _ => None,
    };
    if let (Some(since), Some(as_of)) = (since, as_of)
        && since >= as_of
    {
        reader.conflict(format!("since is {since}, a day before as_of ({as_of}) is needed"));
    }
    let policy = if is_diff { None } else { reader.optional("policy").map(PathBuf::from) };
    // A missing day is an issue, which ends the reading.
    let as_of = as_of.unwrap_or(Day::from_number(0));
    PolicyRunConfig { log, models, model, as_of, policy, files, customer, since }
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
