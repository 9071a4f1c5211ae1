//! The batch job: a bundle, a log and a day in, one row a customer out.

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use crate::bundle::{
    Bundle, BundleError, BundleSelector, installation_salt, note_experiments, write_atomic,
};
use crate::config::{LogConfig, LogDefaults, ScoreConfig};
use crate::decision::Policy;
use crate::domain::{AsOf, Currency, Day};
use crate::events::{CustomerLog, Log};
use crate::history::History;
use crate::scoring::{
    Answer, DecisionRowV1, Engine, Reason, ScoringError, history_digest, self_test,
};
use crate::store::{Appended, DecisionLog, shard_of};

use super::clock::now;
use super::error::BatchError;
use super::output::{Output, manifest_path};
use super::row::{Cell, SCORES, cells};
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
    let policy = config.policy.as_deref().map(read_policy).transpose()?;
    let engine = open(&config.models, &config.model, policy)?;
    let drawn = note_drawn(&config.models, &engine)?;
    let as_of = match config.as_of {
        Some(day) => AsOf::end_of(day, engine.zone()),
        // Only a table may leave it away: its features are as old as they are.
        None => AsOf::at(now(), engine.zone()),
    };
    if let Some(path) = &config.table {
        let mut summary =
            pool.install(|| super::table::score(config, &engine, path, as_of, progress))?;
        summary.notes.extend(drawn);
        return Ok(summary);
    }
    if engine.table_inputs().is_some() {
        let version = engine.bundle().version.clone();
        return Err(ScoringError::TableBundle { version }.into());
    }
    progress("reading the log");
    let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
    let mut log = read_log(&config.log, &business, as_of, progress)?;
    if log.customers.is_empty() {
        let as_of = as_of.last_day();
        return Err(BatchError::NothingBefore { as_of, n_after: log.n_after });
    }
    let shard_wanted = |log: &CustomerLog| {
        config.shards == 1 || shard_of(&log.customer) % config.shards == config.shard
    };
    log.customers.retain(shard_wanted);
    let mut notes = notes(config, &engine, &log, as_of);
    notes.extend(drawn);
    let summary = begin(config, &engine, (as_of, log.n_after), notes);
    let answer = |at: usize| {
        let (history, answer) = answer(&engine, &log.customers[at], as_of, false)?;
        // Only the decision log asks what the answer rests on.
        let logged = config.decision_log.is_some();
        let digest = if logged { history_digest(&history.to_bytes()) } else { 0 };
        let why = match config.reasons {
            0 => None,
            most => Some(engine.reasons(&history, as_of, most)?.churn),
        };
        Ok(Told { answer, digest, why })
    };
    let rows = (log.customers.len(), &answer as AnswerAt<'_, '_>);
    pool.install(|| write((config, &engine), summary, rows, &mut |_| {}, progress))
}

/// The engine of a bundle, with a policy in place of its own if one is given. The bundle's
/// examples must score to the bit.
pub(super) fn open(
    models: &Path,
    model: &BundleSelector,
    policy: Option<Policy>,
) -> Result<Engine, BatchError> {
    let bundle = Bundle::find(models, model)?;
    self_test(&bundle)?;
    let salt = installation_salt(models)?;
    Ok(Engine::try_new(bundle, policy, Some(&salt))?)
}

/// What the owner should know of experiments that are not drawn as before.
fn note_drawn(models: &Path, engine: &Engine) -> Result<Vec<String>, BundleError> {
    let setups = engine.experiments();
    let setups = setups.iter().map(|one| [&*one.name, &*one.fingerprint, &*one.arms]);
    note_experiments(models, &setups.collect::<Vec<_>>())
}

pub(super) fn read_policy(path: &Path) -> Result<Policy, BatchError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BatchError::PolicyFile { path: path.to_owned(), source })?;
    Policy::parse(&text).map_err(|source| BatchError::Policy { path: path.to_owned(), source })
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

/// What is said of one customer.
pub(super) struct Told<'e> {
    /// The answer.
    pub(super) answer: Answer<'e>,
    /// Digest of what it rests on, where decisions are logged.
    pub(super) digest: u128,
    /// Why the customer may leave, where that is asked for.
    pub(super) why: Option<Vec<Reason>>,
}

/// What is said of the customer at a place.
pub(super) type AnswerAt<'a, 'e> = &'a (dyn Fn(usize) -> Result<Told<'e>, BatchError> + Sync);

/// Writes one row for each of the places below a number, in their order, and the manifest.
/// `finish` is told when all are answered.
pub(super) fn write<'e>(
    (config, engine): (&ScoreConfig, &'e Engine),
    mut summary: ScoreSummary,
    (n_rows, answer): (usize, AnswerAt<'_, 'e>),
    finish: &mut (dyn FnMut(&mut ScoreSummary) + Send),
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ScoreSummary, BatchError> {
    let out = config.out.to_string();
    let failed = |source| BatchError::Write { out: out.clone(), source };
    let path = config.out.path.as_deref();
    let decisions = match &config.decision_log {
        Some(dir) => Some(DecisionLog::open(dir, config.decision_log_spec)?.0),
        None => None,
    };
    let decided_at = now();
    let output = Output::create(path).map_err(failed)?;
    let mut sink = sink(&config.out, output, SCORES).map_err(failed)?;
    for first in (0..n_rows).step_by(BLOCK_CUSTOMERS) {
        let last = n_rows.min(first + BLOCK_CUSTOMERS);
        let answers: Vec<(Answer<'e>, Vec<Cell<'e>>, Vec<u8>)> = (first..last)
            .into_par_iter()
            .map(|at| {
                let Told { answer, digest, why } = answer(at)?;
                let row = cells(engine, &answer, why.as_deref());
                let line = match decisions {
                    Some(_) => DecisionRowV1::new(engine, &answer, digest, decided_at).to_line(),
                    None => Vec::new(),
                };
                Ok((answer, row, line))
            })
            .collect::<Result<_, BatchError>>()?;
        let mut lines = Vec::new();
        for (answer, row, line) in &answers {
            summary.count(answer);
            sink.write(row).map_err(failed)?;
            lines.extend_from_slice(line);
        }
        if let Some(log) = &decisions {
            // The decisions are known before the scores are: the file has no name yet.
            let n_lines = answers.len() as u64;
            if log.append(&lines, n_lines, decided_at)? == Appended::Dropped {
                summary.decisions_dropped += n_lines;
            }
            log.flush()?;
        }
        progress(&format!("{last} of {n_rows} customers scored"));
    }
    finish(&mut summary);
    let output = sink.finish().map_err(failed)?;
    summary.sha256 = output.finish(path).map_err(failed)?;
    if let Some(path) = path {
        write_manifest(config, &summary, path)?;
    }
    Ok(summary)
}

/// Folds one customer's events and asks the engine.
pub(super) fn answer<'e>(
    engine: &'e Engine,
    customer: &CustomerLog,
    as_of: AsOf,
    trace: bool,
) -> Result<(History, Answer<'e>), ScoringError> {
    let history = folded(customer);
    let answer = engine.answer(&customer.customer, &history, as_of, trace)?;
    Ok((history, answer))
}

/// One customer's events, folded as the server would one by one.
pub(super) fn folded(customer: &CustomerLog) -> History {
    let mut history = History::default();
    for event in &customer.events {
        history.apply(event);
    }
    history
}

/// The summary before the first row, of an instant and the events after it.
pub(super) fn begin(
    config: &ScoreConfig,
    engine: &Engine,
    (as_of, events_after): (AsOf, u64),
    notes: Vec<String>,
) -> ScoreSummary {
    let policy = engine.policy().id();
    ScoreSummary {
        out: config.out.to_string(),
        model_version: engine.bundle().version.clone(),
        policy_id: policy.id.clone(),
        policy_version: policy.version.clone(),
        policy_hash: policy.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        as_of: as_of.last_day().to_string(),
        events_after,
        notes,
        ..ScoreSummary::default()
    }
}

/// What looks like a mistake without being one for sure.
fn notes(config: &ScoreConfig, engine: &Engine, log: &Log, as_of: AsOf) -> Vec<String> {
    let mut notes = Vec::new();
    let as_of = as_of.last_day();
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
