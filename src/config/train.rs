//! The settings of `tenure-train`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;

use super::env::process_environment;
use super::log::{LogArgs, LogConfig, LogDefaults, said};
use super::raw::{ConfigError, Layers, Reader, Setting, read_file, settings_toml};
use super::table::{TableArgs, TableConfig};
use crate::bundle::BundleSelector;
use crate::domain::{Currency, Day, Days, Zone};
use crate::features::CovariateSource;
use crate::model::btyd::Prior;
use crate::model::{PERSONAS_MAX, PERSONAS_MIN, SearchScope};

// Defaults. Each says why it is this number.
/// A quarter: most regular buyers of retail come back within it, and a log of a year holds
/// several complete windows to learn from.
const CHURN: Days = Days::QUARTER;
/// A year: what budgets are made for, and free of seasons.
const CLV: Days = Days::YEAR;
/// As many as a row of answers can be read with; each costs another fit.
const CHURN_HORIZONS_MAX: usize = 4;
/// Ten years: no log holds a complete window of more.
const HORIZON_DAYS_MAX: i64 = 3_650;
/// Any fixed number would do; it is part of the bundle.
const SEED: u64 = 42;
/// When a new bundle becomes champion.
const IF_NOT_WORSE: &str = "if-not-worse";
const ALWAYS: &str = "always";
/// Beyond this no machine has use for threads.
const THREADS_MAX: u64 = 1_024;

/// Begins the name of every variable that this program reads.
const PREFIX: &str = "TENURE_TRAIN_";

/// Learns who leaves and what customers are worth from a log of events, and writes a bundle.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "tenure-train",
    version,
    after_help = "\
Every setting can also come from the environment (TENURE_TRAIN_UNTIL=...) or from the file
(until = \"...\"); a flag wins over the environment, that over the file. --print-config lists all.

Examples:
  tenure-train --events orders.csv.gz --until 2026-06-30 --models models --name shop
  tenure-train --events a.csv b.csv --customer-column client --until 2026-06-30 \\
    --churn-horizon-days 60 --clv-horizon-days 180 --models models --name shop --json
  tenure-train --table customers.csv --label churned --positive Yes --models models --name tariff
  tenure-train --config train.toml --print-config

Exit codes: 0 done, 1 failed, 3 trained but not promoted (with --require-promotion),
64 usage or configuration, 65 the data were rejected."
)]
pub struct TrainArgs {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    table: TableArgs,
    /// Last day that training looks at, such as 2026-06-30
    #[arg(long, value_name = "DATE", help_heading = "The models")]
    until: Option<String>,
    /// No purchase for so many days is churn; up to 4, separated by commas, of which the first one
    /// decides and the others are reported beside it [default: 90]
    #[arg(long, value_name = "DAYS,...", help_heading = "The models")]
    churn_horizon_days: Option<String>,
    /// Days ahead that value is predicted for [default: 365]
    #[arg(long, value_name = "DAYS", help_heading = "The models")]
    clv_horizon_days: Option<String>,
    /// Directory of models
    #[arg(long, value_name = "DIR", help_heading = "The models")]
    models: Option<String>,
    /// Name of the model
    #[arg(long, value_name = "NAME", help_heading = "The models")]
    name: Option<String>,
    /// Weak prior of the purchase models: default or none [default: default]
    #[arg(long, value_name = "PRIOR", help_heading = "The models")]
    prior: Option<String>,
    /// Facts of --profiles that purchase rates and dropout may depend on, separated by commas:
    /// acquisition_channel, persona, b2b, loyalty_member, contact_people, tag:NAME
    #[arg(long, value_name = "NAME,...", help_heading = "The models")]
    covariates: Option<String>,
    /// Measures the purchase models' time on a clock that runs with the base's busy weeks
    #[arg(long, help_heading = "The models")]
    season_clock: bool,
    /// The policy that goes into the bundle [default: the one that comes with the program]
    #[arg(long, value_name = "FILE", help_heading = "The models")]
    policy: Option<String>,
    /// Finds so many personas, 2 to 12: groups of customers alike in how they buy
    #[arg(long, value_name = "NUMBER", help_heading = "The models")]
    personas: Option<String>,
    /// How far to search for settings of the churn trees: off, default or wide [default: default]
    #[arg(long, value_name = "SCOPE", help_heading = "The models")]
    search: Option<String>,
    /// Writes the rows learned from and judged on into this directory
    #[arg(long, value_name = "DIR", help_heading = "The models")]
    export_dataset: Option<String>,
    /// Seed of all sampling [default: 42]
    #[arg(long, value_name = "NUMBER", help_heading = "The models")]
    seed: Option<String>,
    /// Learns from less data than the minimum
    #[arg(long, help_heading = "The models")]
    allow_small: bool,
    /// Takes the log for complete up to --until although its last event is older
    #[arg(long, help_heading = "The models")]
    assume_complete: bool,
    /// When the new bundle becomes champion: if-not-worse or always [default: if-not-worse]
    #[arg(long, value_name = "WHEN")]
    promote: Option<String>,
    /// Ends with code 3 where the new bundle does not become champion
    #[arg(long)]
    require_promotion: bool,
    /// Threads, 0 for one a core; changes no result [default: 0]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<String>,
    /// Settings in a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Prints no progress and no report
    #[arg(long)]
    quiet: bool,
    /// Prints the settings with where each came from, and ends
    #[arg(long)]
    pub print_config: bool,
}

impl TrainArgs {
    /// The configuration that flags, the environment of the process and the file make together.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn to_config(&self) -> Result<TrainConfig, ConfigError> {
        TrainConfig::check(layers(PREFIX, self.config.as_ref(), self.given())?)
    }

    fn given(&self) -> Vec<(&'static str, Option<String>)> {
        let mut given = self.log.given();
        given.extend(self.table.given());
        given.extend([
            ("until", self.until.clone()),
            ("churn_horizon_days", self.churn_horizon_days.clone()),
            ("clv_horizon_days", self.clv_horizon_days.clone()),
            ("models", self.models.clone()),
            ("name", self.name.clone()),
            ("prior", self.prior.clone()),
            ("covariates", self.covariates.clone()),
            ("season_clock", said(self.season_clock)),
            ("policy", self.policy.clone()),
            ("personas", self.personas.clone()),
            ("search", self.search.clone()),
            ("export_dataset", self.export_dataset.clone()),
            ("seed", self.seed.clone()),
            ("allow_small", said(self.allow_small)),
            ("assume_complete", said(self.assume_complete)),
            ("promote", self.promote.clone()),
            ("require_promotion", said(self.require_promotion)),
            ("threads", self.threads.clone()),
            ("json", said(self.json)),
            ("quiet", said(self.quiet)),
        ]);
        given
    }
}

/// Flags, the environment and the file that either names, in layers.
pub(super) fn layers(
    prefix: &str,
    file: Option<&PathBuf>,
    given: Vec<(&'static str, Option<String>)>,
) -> Result<Layers, ConfigError> {
    let mut environment = process_environment(prefix);
    let named = environment.remove("config").map(PathBuf::from);
    let file = match file.or(named.as_ref()) {
        Some(path) => read_file(path)?,
        None => toml::Table::new(),
    };
    let flags: BTreeMap<String, String> =
        given.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect();
    Ok(Layers { flags, environment, file })
}

/// What `tenure-train` runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainConfig {
    /// How the log is read.
    pub log: LogConfig,
    /// A ready-made table in place of a log.
    pub table: Option<TableConfig>,
    /// The last day that training looks at.
    pub until: Day,
    /// Churn horizon: the primary one.
    pub churn: Days,
    /// Further churn horizons, as given.
    pub horizons: Vec<Days>,
    /// Value horizon.
    pub value: Days,
    /// Directory of models.
    pub models: PathBuf,
    /// Name of the model.
    pub name: String,
    /// Prior of the purchase models.
    pub prior: Prior,
    /// Facts that the purchase-count model takes as covariates.
    pub covariates: Vec<CovariateSource>,
    /// Whether the purchase models run on a season clock.
    pub season_clock: bool,
    /// A policy in place of the default one.
    pub policy: Option<PathBuf>,
    /// How many personas to find, 2 to 12; none: no personas.
    pub personas: Option<usize>,
    /// How far to search for settings of the churn trees.
    pub search: SearchScope,
    /// Where the rows that were learned from go.
    pub export_dataset: Option<PathBuf>,
    /// Seed of all sampling.
    pub seed: u64,
    /// Whether to learn from less data than the minimum.
    pub allow_small: bool,
    /// Whether the log counts as complete up to `until` whatever its last event.
    pub assume_complete: bool,
    /// Whether the new bundle becomes champion even where it is worse than the present one.
    pub promote_always: bool,
    /// Whether not to be promoted is a failure.
    pub require_promotion: bool,
    /// Threads, 0 for one a core.
    pub threads: usize,
    /// Whether standard output is JSON.
    pub json: bool,
    /// Whether nothing but the result is said.
    pub quiet: bool,
    /// Every setting with where it came from.
    pub settings: Vec<Setting>,
}

impl TrainConfig {
    /// Checks settings.
    ///
    /// # Errors
    /// [`ConfigError::Issues`] with everything that is wrong.
    pub fn check(layers: Layers) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers);
        let log = LogConfig::read(&mut reader);
        let Horizons { first: churn, further: horizons } =
            reader.parsed("churn_horizon_days", Horizons::default(), parse_horizons);
        let churn_said = reader.peek("churn_horizon_days").map(|_| churn);
        let table = TableConfig::read(&mut reader, churn_said);
        let until = if let Some(table) = &table {
            if !log.events.is_empty() {
                let why = "events and table exclude each other: a log is replayed, a table is not";
                reader.conflict(why.to_owned());
            }
            if table.value_label.is_some() && log.currency.is_none() {
                reader.conflict("value_label needs a currency (--currency EUR)".to_owned());
            }
            reader.optional_parsed("until", parse_day)
        } else {
            log.require_events(&mut reader);
            reader.required_parsed("until", parse_day)
        };
        let value = reader.parsed("clv_horizon_days", CLV, parse_days);
        let models = PathBuf::from(reader.required("models"));
        let name = reader.required_parsed("name", parse_name);
        let prior = match reader.parsed("prior", "default".to_owned(), parse_prior).as_str() {
            "none" => Prior::None,
            _ => Prior::Weak,
        };
        let covariates = reader.parsed("covariates", Covariates::default(), parse_covariates).0;
        let season_clock = reader.flag("season_clock");
        let policy = reader.optional("policy").map(PathBuf::from);
        check_horizons(&mut reader, &horizons, (table.is_some(), season_clock, &covariates));
        let personas = reader.optional_parsed("personas", parse_personas);
        let search = reader.parsed("search", SearchScope::default(), parse_search);
        let export_dataset = reader.optional("export_dataset").map(PathBuf::from);
        let seed = reader.number("seed", SEED, 0..=u64::MAX);
        let allow_small = reader.flag("allow_small");
        let assume_complete = reader.flag("assume_complete");
        let promote = reader.parsed("promote", IF_NOT_WORSE.to_owned(), parse_promote);
        let require_promotion = reader.flag("require_promotion");
        let threads = read_threads(&mut reader);
        let (json, quiet) = (reader.flag("json"), reader.flag("quiet"));
        let settings = reader.finish()?;
        Ok(Self {
            log,
            table,
            // Missing or wrong ones are issues, and those have ended this above.
            until: until.unwrap_or(Day::from_number(0)),
            churn,
            horizons,
            value,
            models,
            name: name.unwrap_or_default(),
            prior,
            covariates,
            season_clock,
            policy,
            personas,
            search,
            export_dataset,
            seed,
            allow_small,
            assume_complete,
            promote_always: promote == ALWAYS,
            require_promotion,
            threads,
            json,
            quiet,
            settings,
        })
    }

    /// The settings as a TOML file, each with a comment on where it came from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        settings_toml(&self.settings)
    }

    /// The last day, where it was said: a table needs none.
    #[must_use]
    pub fn until_said(&self) -> Option<Day> {
        (self.until.number() != 0).then_some(self.until)
    }

    /// Time zone and currency where neither log nor settings say any.
    #[must_use]
    pub fn defaults(&self) -> LogDefaults {
        LogDefaults {
            zone: self.log.timezone.clone().unwrap_or(Zone::UTC),
            currency: self.log.default_currency.unwrap_or(Currency::NONE),
        }
    }
}

pub(super) fn parse_day(text: &str) -> Result<Day, String> {
    Day::parse(text).map_err(|_| "a day such as 2026-06-30".to_owned())
}

fn parse_name(text: &str) -> Result<String, String> {
    match BundleSelector::parse(text) {
        Ok(_) if !text.contains('@') => Ok(text.to_owned()),
        _ => Err("1 to 64 letters, digits, '-', '_' or '.'".to_owned()),
    }
}

fn parse_personas(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (PERSONAS_MIN..=PERSONAS_MAX).contains(number));
    number.ok_or_else(|| format!("a whole number from {PERSONAS_MIN} to {PERSONAS_MAX}"))
}

fn parse_search(text: &str) -> Result<SearchScope, String> {
    SearchScope::parse(text).ok_or_else(|| "off, default or wide".to_owned())
}

fn parse_promote(text: &str) -> Result<String, String> {
    match text {
        IF_NOT_WORSE | ALWAYS => Ok(text.to_owned()),
        _ => Err(format!("{IF_NOT_WORSE} or {ALWAYS}")),
    }
}

pub(super) fn parse_prior(text: &str) -> Result<String, String> {
    match text {
        "default" | "none" => Ok(text.to_owned()),
        _ => Err("default or none".to_owned()),
    }
}

/// Churn horizons as one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Horizons {
    first: Days,
    further: Vec<Days>,
}

impl Default for Horizons {
    fn default() -> Self {
        Self { first: CHURN, further: Vec::new() }
    }
}

impl std::fmt::Display for Horizons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.first)?;
        self.further.iter().try_for_each(|days| write!(f, ",{days}"))
    }
}

fn parse_horizons(text: &str) -> Result<Horizons, String> {
    let wanted = || {
        format!(
            "a number of days from 1 to {HORIZON_DAYS_MAX}, or up to {CHURN_HORIZONS_MAX} \
             different ones separated by commas, the one to decide by first"
        )
    };
    // A file may hold a list.
    let text = text.trim_start_matches('[').trim_end_matches(']');
    let all: Result<Vec<Days>, String> =
        text.split(',').map(|days| parse_days(days.trim()).map_err(|_| wanted())).collect();
    let all = all?;
    let is_twice = (1..all.len()).any(|at| all[..at].contains(&all[at]));
    match all.split_first() {
        Some((&first, further)) if !is_twice && all.len() <= CHURN_HORIZONS_MAX => {
            Ok(Horizons { first, further: further.to_vec() })
        }
        _ => Err(wanted()),
    }
}

/// Several horizons are of a log, and of columns that a row alone suffices for.
fn check_horizons(
    reader: &mut Reader,
    horizons: &[Days],
    (is_table, season_clock, covariates): (bool, bool, &[CovariateSource]),
) {
    if horizons.is_empty() {
        return;
    }
    if is_table {
        let why = "several churn_horizon_days need events: the label of a table has one horizon";
        reader.conflict(why.to_owned());
    }
    if season_clock || !covariates.is_empty() {
        let why = "several churn_horizon_days exclude season_clock and covariates: train a bundle \
                   for each horizon, or leave those out";
        reader.conflict(why.to_owned());
    }
}

/// Covariates as one setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Covariates(Vec<CovariateSource>);

impl std::fmt::Display for Covariates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(CovariateSource::name).collect();
        f.write_str(&names.join(","))
    }
}

fn parse_covariates(text: &str) -> Result<Covariates, String> {
    let mut sources: Vec<CovariateSource> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let source = CovariateSource::parse(name).map_err(|_| {
            "acquisition_channel, persona, b2b, loyalty_member, contact_people or tag:NAME, \
             separated by commas"
                .to_owned()
        })?;
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    Ok(Covariates(sources))
}

pub(super) fn parse_days(text: &str) -> Result<Days, String> {
    let days = text.parse().ok().filter(|days| (1..=HORIZON_DAYS_MAX).contains(days));
    let days = days.and_then(|days| Days::try_new(days).ok());
    days.ok_or_else(|| format!("a number of days from 1 to {HORIZON_DAYS_MAX}"))
}

pub(super) fn read_threads(reader: &mut Reader) -> usize {
    usize::try_from(reader.number("threads", 0, 0..=THREADS_MAX)).unwrap_or(0)
}
