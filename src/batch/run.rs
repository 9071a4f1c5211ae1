//! The batch job: a bundle, a log and a day in, one row a customer out.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;

use crate::bundle::{Bundle, installation_salt, write_atomic};
use crate::config::{LogConfig, LogDefaults, ScoreConfig};
use crate::decision::Policy;
use crate::domain::{AsOf, Currency, Day};
use crate::events::{CustomerLog, Log};
use crate::history::History;
use crate::scoring::{Answer, Engine, ScoringError, self_test};
use crate::store::shard_of;

use super::clock::now;
use super::error::BatchError;
use super::output::{Output, manifest_path};
use super::row::{Cell, cells};
use super::sink::sink;
use super::summary::ScoreSummary;

/// Customers scored before their rows are written: some 20 MB of rows, enough for all cores.
const BLOCK_CUSTOMERS: usize = 16_384;
/// A log whose newest event is older than this before the day asked for is worth a word.
const QUIET_DAYS: i32 = 7;

/// Scores all customers as configured. `progress` is told now and then what is being done.
///
/// # Errors
/// [`BatchError`]; the file asked for is not touched.
pub fn score(
    config: &ScoreConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ScoreSummary, BatchError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(config.threads)
        .build()
        .map_err(|source| BatchError::Threads { threads: config.threads, source })?;
    progress("reading the model");
    let engine = open(config)?;
    progress("reading the log");
    let as_of = AsOf::end_of(config.as_of, engine.zone());
    let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
    let mut log = read_log(&config.log, &business, as_of, progress)?;
    if log.customers.is_empty() {
        return Err(BatchError::NothingBefore { as_of: config.as_of, n_after: log.n_after });
    }
    let shard_wanted = |log: &CustomerLog| {
        config.shards == 1 || shard_of(&log.customer) % config.shards == config.shard
    };
    log.customers.retain(shard_wanted);
    pool.install(|| write(config, &engine, &log, progress))
}

/// The engine that the settings name. Its examples must score to the bit.
fn open(config: &ScoreConfig) -> Result<Engine, BatchError> {
    let policy = config.policy.as_ref().map(read_policy).transpose()?;
    let bundle = Bundle::find(&config.models, &config.model)?;
    self_test(&bundle)?;
    let salt = installation_salt(&config.models)?;
    Ok(Engine::try_new(bundle, policy, Some(&salt))?)
}

pub(super) fn read_policy(path: &PathBuf) -> Result<Policy, BatchError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BatchError::PolicyFile { path: path.clone(), source })?;
    Policy::parse(&text).map_err(|source| BatchError::Policy { path: path.clone(), source })
}

/// Reads a log as the bundle's training read its own: same zone, same currency.
pub(super) fn read_log(
    config: &LogConfig,
    business: &LogDefaults,
    before: AsOf,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Log, BatchError> {
    if let Some(zone) = &config.timezone
        && zone.name() != business.zone.name()
    {
        let (wanted, found) = (zone.name().to_owned(), business.zone.name().to_owned());
        return Err(BatchError::Zone { wanted, found });
    }
    let spec = config.spec(business, before, now())?;
    let log = Log::read(&spec, &mut |rows| progress(&format!("{rows} rows read")))?;
    config.threshold.check(&log.report)?;
    if let Some(report) = &log.profiles_report {
        config.threshold.check(report)?;
    }
    let wanted = business.currency;
    let other = log.report.currencies.keys().find(|found| *found != wanted.as_str());
    match other {
        Some(found) if wanted != Currency::NONE => {
            Err(BatchError::Currency { found: found.clone(), wanted: wanted.as_str().to_owned() })
        }
        _ => Ok(log),
    }
}

fn write(
    config: &ScoreConfig,
    engine: &Engine,
    log: &Log,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ScoreSummary, BatchError> {
    let out = config.out.to_string();
    let failed = |source| BatchError::Write { out: out.clone(), source };
    let path = config.out.path.as_deref();
    let mut summary = begin(config, engine, log);
    let output = Output::create(path).map_err(failed)?;
    let mut sink = sink(&config.out, output).map_err(failed)?;
    let as_of = AsOf::end_of(config.as_of, engine.zone());
    for block in log.customers.chunks(BLOCK_CUSTOMERS) {
        let answers: Vec<(Answer<'_>, Vec<Cell<'_>>)> = block
            .par_iter()
            .map(|customer| {
                let history = folded(customer);
                let answer = engine.answer(&customer.customer, &history, as_of, false)?;
                let why = match config.reasons {
                    0 => None,
                    most => Some(engine.reasons(&history, as_of, most)?.churn),
                };
                let row = cells(engine, &answer, why.as_deref());
                Ok((answer, row))
            })
            .collect::<Result<_, ScoringError>>()?;
        for (answer, row) in &answers {
            summary.count(answer);
            sink.write(row).map_err(failed)?;
        }
        progress(&format!("{} of {} customers scored", summary.rows, log.customers.len()));
    }
    let output = sink.finish().map_err(failed)?;
    summary.sha256 = output.finish(path).map_err(failed)?;
    if let Some(path) = path {
        write_manifest(config, &summary, path)?;
    }
    Ok(summary)
}

/// One customer's events, folded as the server would one by one.
pub(super) fn folded(customer: &CustomerLog) -> History {
    let mut history = History::default();
    for event in &customer.events {
        history.apply(event);
    }
    history
}

fn begin(config: &ScoreConfig, engine: &Engine, log: &Log) -> ScoreSummary {
    let policy = engine.policy().id();
    ScoreSummary {
        out: config.out.to_string(),
        model_version: engine.bundle().version.clone(),
        policy_id: policy.id.clone(),
        policy_version: policy.version.clone(),
        policy_hash: policy.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        as_of: config.as_of.to_string(),
        events_after: log.n_after,
        notes: notes(config, engine, log),
        ..ScoreSummary::default()
    }
}

/// What looks like a mistake without being one for sure.
fn notes(config: &ScoreConfig, engine: &Engine, log: &Log) -> Vec<String> {
    let mut notes = Vec::new();
    let as_of = config.as_of;
    if let Some((_, last)) = log.days.filter(|_| log.n_after == 0)
        && as_of.days_since(last) > QUIET_DAYS
    {
        let days = as_of.days_since(last);
        notes.push(format!(
            "the newest event is of {last}, {days} days before the day scored: if the log is not \
             complete to that day, everybody looks more silent than they are"
        ));
    }
    let until = &engine.bundle().manifest.data_until;
    if Day::parse(until).is_ok_and(|until| until > as_of) {
        notes.push(format!("the model has seen events up to {until}, after the day scored"));
    }
    if log.customers.is_empty() {
        let (shard, shards) = (config.shard, config.shards);
        notes.push(format!("no customer belongs to shard {shard} of {shards}"));
    }
    notes
}

/// Says beside the file what it is and what made it.
fn write_manifest(
    config: &ScoreConfig,
    summary: &ScoreSummary,
    path: &Path,
) -> Result<(), BatchError> {
    let manifest = json!({
        "rows": summary.rows,
        "sha256": summary.sha256,
        "model_version": summary.model_version,
        "policy_hash": summary.policy_hash,
        "as_of": summary.as_of,
        "shards": config.shards,
        "shard": config.shard,
    });
    Ok(write_atomic(&manifest_path(path), format!("{manifest:#}\n").as_bytes())?)
}
