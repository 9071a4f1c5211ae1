//! `tenure-train` behind its flags: from a configuration to a finished run.
//!
//! In: a checked configuration and the time now. Out: the outcome of the run; beside the bundle's
//! files `run.json` says how long it took and on what. The clock is read here alone, for that.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use thiserror::Error;

use crate::bundle::{BundleError, installation_salt, write_atomic};
use crate::config::{ConfigError, TableConfig, TrainConfig};
use crate::decision::{Policy, PolicyErrors};
use crate::domain::{AsOf, Timestamp};

use super::error::TrainError;
use super::plan::{Extras, Promotion, TrainSpec};
use super::run::{TrainOutcome, run};

/// Beside the bundle's files, outside of its digest.
const RUN: &str = "run.json";

/// Why the program ended without a bundle.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy file cannot be read.
    #[error("{}: {source}", path.display())]
    PolicyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The policy has errors.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, by line.
        source: PolicyErrors,
    },
    /// The system gave no threads.
    #[error("starting {threads} threads: {source}")]
    Threads {
        /// How many were wanted, 0 for one a core.
        threads: usize,
        /// Why not.
        source: rayon::ThreadPoolBuildError,
    },
    /// The run failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The models' directory cannot be written to.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ProgramError {
    /// The program's exit code: 64 for settings, 65 for data, 1 for all else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::PolicyFile { .. } | Self::Policy { .. } => 64,
            Self::Train(error) if error.is_data() => 65,
            Self::Threads { .. } | Self::Train(_) | Self::Bundle(_) => 1,
        }
    }
}

/// Trains as configured. `progress` is told now and then what is being done.
///
/// # Errors
/// [`ProgramError`]; the policy is checked before the first row is read.
pub fn execute(
    config: &TrainConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<TrainOutcome, ProgramError> {
    if let Some(table) = &config.table {
        return execute_table(config, table, progress);
    }
    let policy = policy_text(config)?;
    let defaults = config.defaults();
    let before = AsOf::end_of(config.until, &defaults.zone);
    let log_spec = config.log.spec(&defaults, before, now())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(config.threads)
        .build()
        .map_err(|source| ProgramError::Threads { threads: config.threads, source })?;
    let spec = TrainSpec {
        name: config.name.clone(),
        until: config.until,
        zone: defaults.zone,
        churn: config.churn,
        value: config.value,
        prior: config.prior,
        seed: config.seed,
        threads: pool.current_num_threads(),
        allow_small: config.allow_small,
        assume_complete: config.assume_complete,
        covariates: config.covariates.clone(),
        season_clock: config.season_clock,
        currency: defaults.currency,
        policy,
        extras: Extras {
            horizons: config.horizons.clone(),
            personas: config.personas,
            export_dataset: config.export_dataset.clone(),
            search: config.search,
            promotion: if config.promote_always {
                Promotion::Always
            } else {
                Promotion::IfNotWorse
            },
        },
    };
    let mut timings = Timings::start();
    let outcome = pool.install(|| {
        let mut told = |what: &str| {
            timings.note(what);
            progress(what);
        };
        run(&spec, &log_spec, &config.log.threshold, &config.models, &mut told)
    })?;
    finish(config, &timings, spec.threads, outcome)
}

/// Trains on a ready-made table.
fn execute_table(
    config: &TrainConfig,
    table: &TableConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<TrainOutcome, ProgramError> {
    let policy = policy_text(config)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(config.threads)
        .build()
        .map_err(|source| ProgramError::Threads { threads: config.threads, source })?;
    let threads = pool.current_num_threads();
    let mut timings = Timings::start();
    let outcome = pool.install(|| {
        let mut told = |what: &str| {
            timings.note(what);
            progress(what);
        };
        super::table::run(config, table, (&policy, threads), now(), &mut told)
    })?;
    finish(config, &timings, threads, outcome)
}

/// Draws the installation's salt and writes what the run took.
fn finish(
    config: &TrainConfig,
    timings: &Timings,
    threads: usize,
    outcome: TrainOutcome,
) -> Result<TrainOutcome, ProgramError> {
    // Drawn with the first bundle, so that server and batch job find it however they may write.
    installation_salt(&config.models)?;
    let record = timings.to_json(threads, &outcome);
    let bytes = format!("{record:#}\n").into_bytes();
    write_atomic(&outcome.folder.join(RUN), &bytes)?;
    Ok(outcome)
}

fn policy_text(config: &TrainConfig) -> Result<String, ProgramError> {
    let Some(path) = &config.policy else { return Ok(Policy::default_text().to_owned()) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProgramError::PolicyFile { path: path.clone(), source })?;
    Policy::parse(&text).map_err(|source| ProgramError::Policy { path: path.clone(), source })?;
    Ok(text)
}

#[allow(clippy::disallowed_methods, reason = "the program's edge: what counts as the future")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// How long each step took.
struct Timings {
    created: Timestamp,
    began: Instant,
    /// What began when, in seconds from the start.
    steps: Vec<(String, f64)>,
}

impl Timings {
    #[allow(clippy::disallowed_methods, reason = "timings of the run, kept outside of the bundle")]
    fn start() -> Self {
        Self { created: now(), began: Instant::now(), steps: Vec::new() }
    }

    /// Notes the beginning of a step; counts of rows are no steps.
    fn note(&mut self, what: &str) {
        if !what.starts_with(|c: char| c.is_ascii_digit()) {
            self.steps.push((what.to_owned(), self.began.elapsed().as_secs_f64()));
        }
    }

    fn to_json(&self, threads: usize, outcome: &TrainOutcome) -> serde_json::Value {
        let total = self.began.elapsed().as_secs_f64();
        let ends = self.steps.iter().skip(1).map(|(_, at)| *at).chain([total]);
        let steps: Vec<_> = self
            .steps
            .iter()
            .zip(ends)
            .map(|((what, from), to)| json!({ "step": what, "seconds": to - from }))
            .collect();
        json!({
            "created": self.created.to_string(),
            "tenure_version": env!("CARGO_PKG_VERSION"),
            "threads": threads,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "seconds": total,
            "steps": steps,
            "intake": outcome.intake_report,
            "promotion": {
                "promoted": outcome.promoted,
                "reason": outcome.promotion_reason,
                "comparison": outcome.comparison,
            },
        })
    }
}
