//! The batch job: a bundle, a log and a day in, one row a customer out.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::bundle::{
    Bundle, BundleError, BundleSelector, installation_salt, note_experiments, store_facts,
};
use crate::config::{LogConfig, LogDefaults, ScoreConfig};
use crate::decision::Policy;
use crate::domain::{AsOf, Day, Timestamp};
use crate::events::{Parts, is_stdin};
use crate::scoring::{Engine, ROWS_AT_ONCE, ScoringError, self_test};

use super::base;
use super::base::{Base, Scored, Scorer};
use super::clock::{Pace, now};
use super::emit::Emitter;
use super::error::BatchError;
use super::row::places;
use super::runs::{decode, merge};
use super::summary::ScoreSummary;
use super::work::Work;

/// Customers scored before their rows are written: some 20 MB of rows, enough for all cores.
pub(super) const BLOCK_CUSTOMERS: usize = 16_384;
/// Settings that no row depends on.
const FREE_SETTINGS: [&str; 4] = ["threads", "json", "quiet", "rejects"];
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
    let columns = places(&config.out_columns)?;
    let engine = open(&config.models, &config.model, policy)?;
    let drawn = note_drawn(&config.models, &engine)?;
    let as_of = match config.as_of {
        Some(day) => AsOf::end_of(day, engine.zone()),
        // Only a table may leave it away: its features are as old as they are.
        None => AsOf::at(now(), engine.zone()),
    };
    if let Some(path) = &config.table {
        let mut summary = pool
            .install(|| super::table::score((config, &columns), &engine, path, as_of, progress))?;
        summary.notes.extend(drawn);
        return Ok(summary);
    }
    if engine.table_inputs().is_some() {
        let version = engine.bundle().version.clone();
        return Err(ScoringError::TableBundle { version }.into());
    }
    pool.install(|| score_base((config, &columns), &engine, (as_of, drawn), progress))
}

/// Scores the customers of a log, or of the states of a store.
fn score_base(
    (config, columns): (&ScoreConfig, &[usize]),
    engine: &Engine,
    (as_of, drawn): (AsOf, Vec<String>),
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ScoreSummary, BatchError> {
    let salt = installation_salt(&config.models)?;
    let mut work = take_work(config, work_key(config, engine, as_of, &salt))?;
    let decided_at = work.journal().map_or_else(now, |j| Timestamp::from_micros(j.decided_at));
    let since = base::since(config, engine);
    let scorer = Scorer { config, engine, columns, as_of, since, decided_at };
    let (base, n_resumed, mut notes) = if let Some(dir) = &config.states {
        progress("reading the states");
        base::check_pins(dir, &store_facts(&engine.bundle().manifest, &salt))?;
        let (base, n_resumed) = scorer.of_states(dir, &mut work, progress)?;
        (base, n_resumed, Vec::new())
    } else {
        let kept = work.journal().and_then(|j| Some((j.parts.clone()?, j.notes.clone())));
        let (parts, notes) = match kept {
            Some((parts, notes)) => (Parts::from_v1(&parts, work.dir()), notes),
            None => {
                progress("reading the log");
                let dir = Some(work.dir().to_owned());
                let parts = base::gather(config, engine, as_of, dir, progress)?;
                let notes = notes(engine, &parts, as_of);
                if let Some(kept) = parts.to_v1() {
                    work.note(decided_at, Some(kept), notes.clone())?;
                }
                (parts, notes)
            }
        };
        let (base, n_resumed) = scorer.of_parts(&parts, &work, progress)?;
        (base, n_resumed, notes)
    };
    notes.extend(drawn);
    let mut summary = begin(config, engine, (as_of, 0), notes);
    summary.parts_resumed = n_resumed;
    let mut summary = emit_base(&scorer, base, summary, &work, progress)?;
    if summary.rows == 0 && summary.unchanged == 0 {
        let (shard, shards) = (config.shard, config.shards);
        summary.notes.push(format!("no customer belongs to shard {shard} of {shards}"));
    }
    work.finish();
    Ok(summary)
}

/// Writes the rows of the whole base.
fn emit_base(
    scorer: &Scorer<'_>,
    base: Base,
    mut summary: ScoreSummary,
    work: &Work,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ScoreSummary, BatchError> {
    let (config, decided_at) = (scorer.config, scorer.decided_at);
    match base {
        Base::Held { customers, n_unchanged, n_after } => {
            summary.events_after = n_after;
            let mut emitter = Emitter::begin(config, scorer.columns, summary, decided_at)?;
            let pace = Pace::new(customers.len() as u64, progress);
            for block in customers.chunks(BLOCK_CUSTOMERS) {
                let rows: Vec<Vec<Scored<'_>>> = block
                    .par_chunks(ROWS_AT_ONCE)
                    .map(|known| scorer.score(known))
                    .collect::<Result<_, BatchError>>()?;
                for Scored { cells, marks, line } in rows.iter().flatten() {
                    emitter.row(cells, *marks, line)?;
                }
                pace.step(block.len() as u64, |done, all| format!("{done} of {all} scored"));
            }
            emitter.summary.unchanged += n_unchanged;
            emitter.finish()
        }
        Base::Runs(n_runs) => {
            summary.parts = n_runs as u64;
            let paths: Vec<_> = (0..n_runs).map(|at| work.run_path(at)).collect();
            let mut emitter = Emitter::begin(config, scorer.columns, summary, decided_at)?;
            let pace = Pace::new(0, progress);
            let mut n_rows = 0_u64;
            let end = merge(&paths, config.memory_bytes(), &mut |row| {
                let damaged = || std::io::Error::other("a run of rows is damaged");
                let (cells, marks, line) = decode(row).ok_or_else(damaged)?;
                n_rows += 1;
                if n_rows.is_multiple_of(BLOCK_CUSTOMERS as u64) {
                    pace.reach(n_rows, |done, _| format!("{done} rows written"));
                }
                emitter.row(&cells, marks, line)
            })?;
            emitter.summary.events_after = end.n_after;
            emitter.summary.unchanged += end.n_unchanged;
            emitter.finish()
        }
    }
}

/// Takes the directory of the job. Where there is no place for it, there is none for the output.
fn take_work(config: &ScoreConfig, key: String) -> Result<Work, BatchError> {
    Work::open(&work_dir(config), key).map_err(|error| match error {
        BatchError::Work { source, .. } if config.work_dir.is_none() => {
            BatchError::Write { out: config.out.to_string(), source }
        }
        error => error,
    })
}

/// Where what does not fit into memory goes: beside the output, where there is room for it.
fn work_dir(config: &ScoreConfig) -> PathBuf {
    let named = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        path.with_file_name(format!(".{name}.work"))
    };
    match (&config.work_dir, &config.out.path) {
        (Some(dir), _) => dir.clone(),
        (None, Some(path)) => named(path),
        (None, None) => {
            std::env::temp_dir().join(format!("tenure-score-{}.work", std::process::id()))
        }
    }
}

/// Everything that rows depend on. Who takes up the work of an earlier run must have the same.
fn work_key(config: &ScoreConfig, engine: &Engine, as_of: AsOf, salt: &str) -> String {
    use std::fmt::Write;

    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} {}", env!("CARGO_PKG_VERSION"), engine.model_version());
    let _ = writeln!(text, "{:?} {salt} {}", engine.policy().id().hash, as_of.instant().micros());
    for setting in config.settings.iter().filter(|one| !FREE_SETTINGS.contains(&one.key)) {
        let _ = writeln!(text, "{} {}", setting.key, setting.text);
    }
    let states = config.states.as_ref().map(|dir| dir.join("manifest.json"));
    let files = config.log.events.iter().chain(&config.log.profiles).chain(&states);
    for path in files.chain(config.log.setting_files()) {
        let found = std::fs::metadata(path).ok().filter(|_| !is_stdin(path));
        let changed = found.as_ref().and_then(|found| found.modified().ok());
        match found {
            Some(found) => {
                let _ = writeln!(text, "{} {} {changed:?}", path.display(), found.len());
            }
            // What cannot be read twice is never gone on with.
            None => drop(writeln!(text, "{} {}", path.display(), now().micros())),
        }
    }
    format!("{:032x}", xxh3_128(text.as_bytes()))
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

/// Refuses another time zone than the bundle's.
pub(super) fn check_zone(config: &LogConfig, business: &LogDefaults) -> Result<(), BatchError> {
    match &config.timezone {
        Some(zone) if zone.name() != business.zone.name() => {
            let (wanted, found) = (zone.name().to_owned(), business.zone.name().to_owned());
            Err(BatchError::Zone { wanted, found })
        }
        _ => Ok(()),
    }
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
fn notes(engine: &Engine, parts: &Parts, as_of: AsOf) -> Vec<String> {
    let mut notes = Vec::new();
    let as_of = as_of.last_day();
    if let Some((_, last)) = parts.days().filter(|_| parts.n_before_and_after().1 == 0)
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
    notes
}
