//! The settings of `tenure-score`.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::checked::read_decision_log;
use super::log::{LogArgs, LogConfig, said};
use super::raw::{ConfigError, Layers, Reader, Setting, settings_toml};
use super::train::{layers, parse_day, read_threads};
use crate::bundle::BundleSelector;
use crate::domain::{Day, Zone};
use crate::store::{DecisionLogSpec, N_SHARDS};

/// Begins the name of every variable that this program reads.
const PREFIX: &str = "TENURE_SCORE_";
/// There are no more groups of reasons.
const REASONS_MAX: u64 = 12;
/// Memory for the base, in MiB: half of the smallest machine that runs a database beside it.
pub(super) const MEMORY_MB: u64 = 512;
pub(super) const MEMORY_MB_MAX: u64 = 1 << 22;
/// Standard output in place of a file.
const STDOUT: &str = "-";

/// Scores all customers of a log and writes one row for each.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "tenure-score",
    version,
    after_help = "\
Every setting can also come from the environment (TENURE_SCORE_OUT=...) or from the file
(out = \"...\"); a flag wins over the environment, that over the file. --print-config lists all.

Examples:
  tenure-score --models models --name shop --events orders.csv.gz --as-of 2026-06-30 --out scores.csv
  tenure-score --models models --name shop@challenger --events orders.csv.gz --as-of 2026-06-30 \\
    --out scores.parquet --json
  tenure-score --models models --name shop --events orders.csv.gz --as-of 2026-06-30 \\
    --shards 4 --shard 0 --out scores-0.csv.gz
  tenure-score --models models --name tariff --table customers.csv --out scores.csv
  tenure-score --models models --name shop --states export --as-of 2026-06-30 \\
    --changed-since 2026-06-29 --previous scores-29.parquet --out scores-30.parquet

--events - reads standard input. A base that does not fit into --memory-mb goes to files beside
--out; started again after a kill, the run goes on from them and ends with the same bytes.

Beside the file FILE.manifest.json says how many rows it has, its sha256, and what made it.

Exit codes: 0 done, 1 failed, 64 usage or configuration, 65 data or model rejected."
)]
pub struct ScoreArgs {
    #[command(flatten)]
    log: LogArgs,
    /// A ready-made table to score, for a model that was trained on one
    #[arg(long, value_name = "FILE", help_heading = "The scores")]
    table: Option<String>,
    /// Column of the customer id in that table [default: as in training, else the row's number]
    #[arg(long, value_name = "COLUMN", help_heading = "The scores")]
    id: Option<String>,
    /// Directory of models
    #[arg(long, value_name = "DIR", help_heading = "The scores")]
    models: Option<String>,
    /// Which model
    #[arg(long, value_name = "NAME[@ALIAS|@VERSION]", help_heading = "The scores")]
    name: Option<String>,
    /// Last day that is looked at, such as 2026-06-30
    #[arg(long, value_name = "DATE", help_heading = "The scores")]
    as_of: Option<String>,
    /// Where to: .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet; - is CSV on standard output
    #[arg(long, value_name = "FILE", help_heading = "The scores")]
    out: Option<String>,
    /// A policy in place of the model's own
    #[arg(long, value_name = "FILE", help_heading = "The scores")]
    policy: Option<String>,
    /// Logs every decision there, in the form of the server's log
    #[arg(long, value_name = "DIR", help_heading = "The scores")]
    decision_log: Option<String>,
    /// Says in the column churn_reasons why, by so many reasons in each direction [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = "The scores")]
    reasons: Option<String>,
    /// Columns to write, such as customer_id,risk_tier,campaign [default: all]
    #[arg(long, value_name = "NAMES", help_heading = "The scores")]
    out_columns: Option<String>,
    /// A store's export in place of a log: the states are scored as they are
    #[arg(long, value_name = "DIR", help_heading = "The scores")]
    states: Option<String>,
    /// Writes the rows of the log that are no events there, with place and reason
    #[arg(long, value_name = "FILE.csv", help_heading = "The scores")]
    rejects: Option<String>,
    /// Scores only customers with an event from that day or instant on
    #[arg(long, value_name = "TIME", help_heading = "The scores")]
    changed_since: Option<String>,
    /// Scores of an earlier night: with --changed-since, also whose tier or segment is another now
    #[arg(long, value_name = "FILE", help_heading = "The scores")]
    previous: Option<String>,
    /// Memory for the base, in MiB; what does not fit goes to files [default: 512]
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<String>,
    /// Where those files go; a run that was killed goes on from them [default: beside --out]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<String>,
    /// Splits the customers into so many parts [default: 1]
    #[arg(long, value_name = "NUMBER", help_heading = "The scores")]
    shards: Option<String>,
    /// Scores only this part, counted from 0 [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = "The scores")]
    shard: Option<String>,
    /// Threads, 0 for one a core; changes no result [default: 0]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<String>,
    /// Settings in a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the summary as one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Prints no progress and no summary
    #[arg(long)]
    quiet: bool,
    /// Prints the settings with where each came from, and ends
    #[arg(long)]
    pub print_config: bool,
}

impl ScoreArgs {
    /// The configuration that flags, the environment of the process and the file make together.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn to_config(&self) -> Result<ScoreConfig, ConfigError> {
        ScoreConfig::check(layers(PREFIX, self.config.as_ref(), self.given())?)
    }

    fn given(&self) -> Vec<(&'static str, Option<String>)> {
        let mut given = self.log.given();
        given.extend([
            ("table", self.table.clone()),
            ("id", self.id.clone()),
            ("models", self.models.clone()),
            ("name", self.name.clone()),
            ("as_of", self.as_of.clone()),
            ("out", self.out.clone()),
            ("policy", self.policy.clone()),
            ("decision_log", self.decision_log.clone()),
            ("reasons", self.reasons.clone()),
            ("out_columns", self.out_columns.clone()),
            ("states", self.states.clone()),
            ("rejects", self.rejects.clone()),
            ("changed_since", self.changed_since.clone()),
            ("previous", self.previous.clone()),
            ("memory_mb", self.memory_mb.clone()),
            ("work_dir", self.work_dir.clone()),
            ("shards", self.shards.clone()),
            ("shard", self.shard.clone()),
            ("threads", self.threads.clone()),
            ("json", said(self.json)),
            ("quiet", said(self.quiet)),
        ]);
        given
    }
}

/// How scores are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutFormat {
    /// Comma-separated text with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// Where scores go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFile {
    /// The file; none is standard output.
    pub path: Option<PathBuf>,
    /// Its format.
    pub format: OutFormat,
    /// Whether it is compressed with gzip.
    pub gzip: bool,
}

impl OutFile {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == STDOUT {
            return Ok(Self { path: None, format: OutFormat::Csv, gzip: false });
        }
        let path = Path::new(text);
        let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
        let name = name.unwrap_or_default();
        let plain = name.strip_suffix(".gz");
        let gzip = plain.is_some();
        let format = match plain.unwrap_or(&name).rsplit_once('.') {
            Some((_, "csv")) => Some(OutFormat::Csv),
            Some((_, "jsonl")) => Some(OutFormat::Jsonl),
            Some((_, "parquet")) if !gzip => Some(OutFormat::Parquet),
            _ => None,
        };
        let wanted = || "a file name ending in .csv, .jsonl (each also .gz) or .parquet, or -";
        let format = format.ok_or_else(|| wanted().to_owned())?;
        Ok(Self { path: Some(path.to_owned()), format, gzip })
    }
}

impl fmt::Display for OutFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str(STDOUT),
        }
    }
}

/// What `tenure-score` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreConfig {
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
    /// Where the scores go.
    pub out: OutFile,
    /// A policy in place of the bundle's.
    pub policy: Option<PathBuf>,
    /// Directory of the decision log; none is kept without one.
    pub decision_log: Option<PathBuf>,
    /// Its limits.
    pub decision_log_spec: DecisionLogSpec,
    /// Reasons told in each direction; 0 for none.
    pub reasons: usize,
    /// Names of the columns that are written, in the order asked for; none is all.
    pub out_columns: Vec<String>,
    /// Directory of an export of a store in place of a log.
    pub states: Option<PathBuf>,
    /// Where rows of the log that are no events go.
    pub rejects: Option<PathBuf>,
    /// The day or instant from which on something must have happened.
    pub changed_since: Option<String>,
    /// Scores of an earlier run.
    pub previous: Option<PathBuf>,
    /// Memory for the base, in MiB.
    pub memory_mb: u32,
    /// Where what does not fit goes; none is beside the output.
    pub work_dir: Option<PathBuf>,
    /// Parts that the customers are split into, 1 to 1,024.
    pub shards: u16,
    /// The part that is scored, below `shards`.
    pub shard: u16,
    /// Threads, 0 for one a core.
    pub threads: usize,
    /// Whether the summary is JSON.
    pub json: bool,
    /// Whether there is none.
    pub quiet: bool,
    /// Every setting with where it came from.
    pub settings: Vec<Setting>,
}

impl ScoreConfig {
    /// Checks settings.
    ///
    /// # Errors
    /// [`ConfigError::Issues`] with everything that is wrong.
    pub fn check(layers: Layers) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers);
        let log = LogConfig::read(&mut reader);
        let table = reader.optional("table").map(PathBuf::from);
        let id = reader.optional("id");
        let states = reader.optional("states").map(PathBuf::from);
        if table.is_none() && states.is_none() {
            log.require_events(&mut reader);
        }
        read_sources(&mut reader, &log, table.is_some(), states.is_some());
        let models = PathBuf::from(reader.required("models"));
        let model = reader.required_parsed("name", parse_selector);
        let as_of = match table {
            Some(_) => reader.optional_parsed("as_of", parse_day),
            None => reader.required_parsed("as_of", parse_day),
        };
        let out = reader.required_parsed("out", OutFile::parse);
        let policy = reader.optional("policy").map(PathBuf::from);
        let (decision_log, decision_log_spec) = read_decision_log(&mut reader);
        let reasons = usize::try_from(reader.number("reasons", 0, 0..=REASONS_MAX)).unwrap_or(0);
        let memory_mb = reader.number("memory_mb", MEMORY_MB, 1..=MEMORY_MB_MAX);
        let work_dir = reader.optional("work_dir").map(PathBuf::from);
        let Partial { out_columns, rejects, changed_since, previous } =
            Partial::read(&mut reader, table.is_some(), states.is_some());
        let limit = u64::from(N_SHARDS);
        let shards = u16::try_from(reader.number("shards", 1, 1..=limit)).unwrap_or(1);
        let shard = u16::try_from(reader.number("shard", 0, 0..=limit - 1)).unwrap_or(0);
        if shard >= shards {
            reader.conflict(format!("shard is {shard} of {shards}: shards are counted from 0"));
        }
        let threads = read_threads(&mut reader);
        let (json, quiet) = (reader.flag("json"), reader.flag("quiet"));
        if json && out.as_ref().is_some_and(|out| out.path.is_none()) {
            reader.conflict("--json and --out - both want standard output: name a file".to_owned());
        }
        let settings = reader.finish()?;
        // Missing or wrong ones are issues, and those have ended this above.
        let model = model.unwrap_or(BundleSelector { name: String::new(), version: String::new() });
        let out = out.unwrap_or(OutFile { path: None, format: OutFormat::Csv, gzip: false });
        Ok(Self {
            log,
            table,
            id,
            models,
            model,
            as_of,
            out,
            policy,
            decision_log,
            decision_log_spec,
            reasons,
            out_columns,
            states,
            rejects,
            changed_since,
            previous,
            memory_mb: u32::try_from(memory_mb).unwrap_or(u32::MAX),
            work_dir,
            shards,
            shard,
            threads,
            json,
            quiet,
            settings,
        })
    }

    /// Memory for the base, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        usize::try_from(u64::from(self.memory_mb) << 20).unwrap_or(usize::MAX)
    }

    /// The settings as a TOML file, each with a comment on where it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        settings_toml(&self.settings)
    }
}

/// Notes sources that exclude each other.
fn read_sources(reader: &mut Reader, log: &LogConfig, has_table: bool, has_states: bool) {
    let given = [("events", !log.events.is_empty()), ("table", has_table), ("states", has_states)];
    let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if given.len() > 1 {
        reader.conflict(format!("{} exclude each other", given.join(" and ")));
    }
    if has_states && log.profiles.is_some() {
        reader.conflict("states hold the facts already: leave profiles away".to_owned());
    }
}

/// What leaves a part of the base or of its rows away.
struct Partial {
    out_columns: Vec<String>,
    rejects: Option<PathBuf>,
    changed_since: Option<String>,
    previous: Option<PathBuf>,
}

impl Partial {
    fn read(reader: &mut Reader, has_table: bool, has_states: bool) -> Self {
        let names = |text: &str| {
            let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
            let is_fine = |name: &String| {
                !name.is_empty() && names.iter().filter(|other| *other == name).count() == 1
            };
            let wanted = "names of columns with commas between them, each once";
            if names.iter().all(is_fine) { Ok(names.clone()) } else { Err(wanted.to_owned()) }
        };
        let out_columns = reader.optional_parsed("out_columns", names).unwrap_or_default();
        let rejects = reader.optional("rejects").map(PathBuf::from);
        let changed_since = reader.optional_parsed("changed_since", |text| {
            let wanted = || "a day such as 2026-06-30, or an instant".to_owned();
            Zone::UTC.parse(text).map(|_| text.to_owned()).map_err(|_| wanted())
        });
        let previous = reader.optional("previous").map(PathBuf::from);
        if previous.is_some() && changed_since.is_none() {
            reader.conflict("previous goes with changed_since".to_owned());
        }
        if has_table && (changed_since.is_some() || previous.is_some()) {
            reader.conflict("a table has no events that something changed with".to_owned());
        }
        if rejects.is_some() && (has_table || has_states) {
            reader.conflict("rejects are rows of a log: give events".to_owned());
        }
        Self { out_columns, rejects, changed_since, previous }
    }
}

pub(super) fn parse_selector(text: &str) -> Result<BundleSelector, String> {
    BundleSelector::parse(text).map_err(|error| error.to_string())
}
