//! The settings of trials: a policy on a base, what campaigns brought, and the decision log that
//! says so.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::log::{LogArgs, LogConfig};
use super::ops::{Given, Models, OpsCommand, OpsTask, read_model};
use super::raw::Reader;
use super::score::{MEMORY_MB, MEMORY_MB_MAX, OutFile};
use super::train::parse_day;
use crate::bundle::BundleSelector;
use crate::domain::Day;

/// Keys that only these commands use.
pub(super) const KEYS: [&str; 10] = [
    "old",
    "new",
    "since",
    "since_table",
    "decisions",
    "outcome",
    "days",
    "effect_sd",
    "table",
    "id",
];

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
        /// The table of the first day; --table is that of the other
        #[arg(long, value_name = "FILE")]
        since_table: Option<String>,
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
    /// A ready-made table in place of a log, for a model that was trained on one
    #[arg(long, value_name = "FILE")]
    table: Option<String>,
    /// Column of the customer id in that table [default: as in training, else the row's number]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Last day that is looked at; a table may leave it away
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// A policy in place of the model's own
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    #[command(flatten)]
    room: RoomArgs,
}

/// How a log is gathered.
#[derive(Debug, Clone, Args)]
pub(super) struct RoomArgs {
    /// Memory for the log, in MiB; what does not fit goes to files [default: 512]
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<String>,
    /// Where those files go [default: where the system keeps such files]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<String>,
}

impl RoomArgs {
    pub(super) fn given(&self) -> Given {
        vec![("memory_mb", self.memory_mb.clone()), ("work_dir", self.work_dir.clone())]
    }
}

/// Memory for a log in MiB, and where what does not fit goes; none is where the system keeps such
/// files.
pub(super) fn read_room(reader: &mut Reader) -> (u32, Option<PathBuf>) {
    let memory_mb = reader.number("memory_mb", MEMORY_MB, 1..=MEMORY_MB_MAX);
    let work_dir = reader.optional("work_dir").map(PathBuf::from);
    (u32::try_from(memory_mb).unwrap_or(u32::MAX), work_dir)
}

impl BaseArgs {
    fn given(&self) -> Given {
        let own = vec![
            ("table", self.table.clone()),
            ("id", self.id.clone()),
            ("as_of", self.as_of.clone()),
            ("policy", self.policy.clone()),
        ];
        let own = [own, self.room.given()].concat();
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
        #[command(flatten)]
        room: RoomArgs,
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
            Self::Moves { since, since_table, base } => {
                let own = vec![("since", since.clone()), ("since_table", since_table.clone())];
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
        let Self::Report { decisions, log, outcome, days, effect_sd, room } = self;
        let own = vec![
            ("decisions", decisions.clone()),
            ("outcome", outcome.clone()),
            ("days", days.clone()),
            ("effect_sd", effect_sd.clone()),
        ];
        (OpsTask::ExperimentReport, [log.given(), own, room.given()].concat())
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
    /// A ready-made table in place of a log.
    pub table: Option<PathBuf>,
    /// Column of the customer id in the table.
    pub id: Option<String>,
    /// The last day that is looked at; none for a table is now.
    pub as_of: Option<Day>,
    /// A policy in place of the bundle's, for simulate and explain.
    pub policy: Option<PathBuf>,
    /// Old and new policy, for diff.
    pub files: [PathBuf; 2],
    /// Whose decision is explained.
    pub customer: Option<String>,
    /// The first of two days, for moves; before `as_of`.
    pub since: Option<Day>,
    /// The table of the first day, for moves between tables.
    pub since_table: Option<PathBuf>,
    /// Memory for the log, in MiB.
    pub memory_mb: u32,
    /// Where what does not fit goes; none is where the system keeps such files.
    pub work_dir: Option<PathBuf>,
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
    /// Memory for the log of events, in MiB.
    pub memory_mb: u32,
    /// Where what does not fit goes; none is where the system keeps such files.
    pub work_dir: Option<PathBuf>,
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
    let (table, id) = read_table(&log, reader);
    let (models, model) = read_model(reader);
    let as_of = match table {
        Some(_) => reader.optional_parsed("as_of", parse_day),
        None => reader.required_parsed("as_of", parse_day),
    };
    let is_diff = task == OpsTask::PolicyDiff;
    let mut file = |key| if is_diff { PathBuf::from(reader.required(key)) } else { PathBuf::new() };
    let files = [file("old"), file("new")];
    let customer = match task {
        OpsTask::PolicyExplain => Some(reader.required("customer")),
        _ => None,
    };
    let (since, since_table) = match (task, &table) {
        (OpsTask::PolicyMoves, None) => (reader.required_parsed("since", parse_day), None),
        (OpsTask::PolicyMoves, Some(_)) => {
            let first = PathBuf::from(reader.required("since_table"));
            (reader.optional_parsed("since", parse_day), Some(first))
        }
        _ => (None, None),
    };
    if let (Some(since), Some(as_of)) = (since, as_of)
        && since >= as_of
    {
        reader.conflict(format!("since is {since}, a day before as_of ({as_of}) is needed"));
    }
    let policy = if is_diff { None } else { reader.optional("policy").map(PathBuf::from) };
    let (memory_mb, work_dir) = read_room(reader);
    PolicyRunConfig {
        log,
        models,
        model,
        table,
        id,
        as_of,
        policy,
        files,
        customer,
        since,
        since_table,
        memory_mb,
        work_dir,
    }
}

/// A table in place of a log, and the column of its ids. One of the two there must be.
pub(super) fn read_table(
    log: &LogConfig,
    reader: &mut Reader,
) -> (Option<PathBuf>, Option<String>) {
    let table = reader.optional("table").map(PathBuf::from);
    let id = reader.optional("id");
    match &table {
        None => log.require_events(reader),
        Some(_) if !log.events.is_empty() => {
            reader.conflict("events and table exclude each other".to_owned());
        }
        Some(_) => {}
    }
    (table, id)
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
    let (memory_mb, work_dir) = read_room(reader);
    ExperimentConfig { decisions, log, outcome, days, effect_sd, memory_mb, work_dir }
}
