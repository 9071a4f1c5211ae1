//! The base that is scored: who is in it, from a log or from the states of a store.
//!
//! In: the settings. Out: customers with their histories, all in memory where they fit, else in
//! pieces that do, each scored into a run of rows. Parts of a log are folded side by side, one a
//! thread; pieces of an export come one after the other and are scored by all threads.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::config::{LogDefaults, ScoreConfig};
use crate::domain::{AsOf, Currency, CustomerId, Day, Timestamp};
use crate::events::{EventReader, IntakeReport, Part, PartCounts, Parts, PartsSpec, Threshold};
use crate::history::History;
use crate::scoring::{Answer, Engine, ROWS_AT_ONCE, decision_line, history_digest};
use crate::store::{StoredState, each_state, export_pins, shard_of};

use super::clock::{Pace, now};
use super::error::BatchError;
use super::output::Output;
use super::row::{COLUMNS, Cell, at, cells};
use super::runs::{Marks, RunWriter, encode};
use super::work::Work;

/// Bytes that a state takes as a history, for each of its own.
const HISTORY_FACTOR: usize = 6;
/// Bytes that a row of a run takes, as a rule.
const ROW_BYTES: usize = 512;
/// Customers of a piece that are scored before their rows are written.
const BLOCK_CUSTOMERS: usize = 8_192;

/// A customer and what is known of it.
pub(super) type Known = (CustomerId, History);

/// The base, as far as memory goes.
pub(super) enum Base {
    /// All customers, by id.
    Held {
        /// Who, and what is known.
        customers: Vec<Known>,
        /// Customers left out because nothing happened to them.
        n_unchanged: u64,
        /// Events after the day.
        n_after: u64,
    },
    /// So many runs of rows, in files.
    Runs(usize),
}

/// What scores customers.
pub(super) struct Scorer<'s> {
    pub(super) config: &'s ScoreConfig,
    pub(super) engine: &'s Engine,
    /// Places of the columns that are written.
    pub(super) columns: &'s [usize],
    pub(super) as_of: AsOf,
    /// From when on an event makes a customer one to be scored.
    pub(super) since: Option<Timestamp>,
    /// When decisions are said to have been made.
    pub(super) decided_at: Timestamp,
}

/// A row and what goes along with it.
pub(super) struct Scored<'e> {
    pub(super) cells: Vec<Cell<'e>>,
    pub(super) marks: Marks,
    pub(super) line: Vec<u8>,
}

impl<'s> Scorer<'s> {
    /// Whether somebody with this newest event is scored at all: where an older file of scores is
    /// compared with, everybody is.
    fn wants(&self, newest: Option<Timestamp>) -> bool {
        self.config.previous.is_some() || self.is_fresh(newest)
    }

    fn is_fresh(&self, newest: Option<Timestamp>) -> bool {
        self.since.is_none_or(|since| newest.is_some_and(|newest| newest >= since))
    }

    /// Scores customers, a block at a time.
    pub(super) fn score(&self, known: &[Known]) -> Result<Vec<Scored<'s>>, BatchError> {
        let asked: Vec<_> = known.iter().map(|(customer, history)| (customer, history)).collect();
        let answers = self.engine.answer_many(&asked, self.as_of, false).into_iter();
        answers.zip(known).map(|(answer, (_, history))| self.row(&answer?, history)).collect()
    }

    /// The row of an answer.
    fn row(&self, answer: &Answer<'s>, history: &History) -> Result<Scored<'s>, BatchError> {
        let Self { config, engine, as_of, .. } = *self;
        let why = match config.reasons {
            0 => None,
            most => Some(engine.reasons(history, as_of, most)?.churn),
        };
        // Only the decision log asks what the answer rests on.
        let line = if config.decision_log.is_some() {
            let digest = history_digest(&history.to_bytes());
            decision_line((engine, ""), answer, digest, self.decided_at)
        } else {
            Vec::new()
        };
        let marks = Marks {
            out_of_distribution: answer.decision.flags.out_of_distribution,
            is_fresh: self.is_fresh(history.newest()),
        };
        Ok(Scored { cells: cells(engine, answer, why.as_deref()), marks, line })
    }

    /// Scores customers into the rows of a run.
    fn encode(&self, known: &[Known]) -> Result<Vec<Vec<u8>>, BatchError> {
        let mut rows = Vec::with_capacity(known.len());
        for Scored { mut cells, marks, line } in self.score(known)? {
            // What nobody reads again takes no room.
            for (place, cell) in cells.iter_mut().enumerate() {
                if !self.columns.contains(&place) && !at::READ.contains(&place) {
                    *cell = Cell::Missing;
                }
            }
            debug_assert_eq!(cells.len(), COLUMNS.len(), "one cell a column");
            let mut row = Vec::with_capacity(ROW_BYTES + line.len());
            encode(&cells, marks, &line, &mut row);
            rows.push(row);
        }
        Ok(rows)
    }

    /// Folds the customers of a part that are to be scored.
    fn fold(
        &self,
        part: &Part,
        take: &mut dyn FnMut(Known) -> Result<(), BatchError>,
    ) -> Result<u64, BatchError> {
        let (mut reader, mut n_unchanged) = (EventReader::default(), 0);
        for place in 0..part.n_customers() {
            if !self.wants(part.newest(place)) {
                n_unchanged += 1;
                continue;
            }
            take(folded(part, place, &mut reader)?)?;
        }
        Ok(n_unchanged)
    }

    /// Scores one part of a log into a run.
    fn run_of_part(&self, part: &Part, path: &Path) -> Result<(), BatchError> {
        let mut run = RunWriter::create(path)?;
        let mut waiting = Vec::with_capacity(ROWS_AT_ONCE);
        let mut write = |known: &mut Vec<Known>| {
            for row in self.encode(known)? {
                run.push(&row)?;
            }
            known.clear();
            Ok::<(), BatchError>(())
        };
        let n_unchanged = self.fold(part, &mut |known| {
            waiting.push(known);
            if waiting.len() < ROWS_AT_ONCE { Ok(()) } else { write(&mut waiting) }
        })?;
        write(&mut waiting)?;
        Ok(run.finish(n_unchanged, part.counts().n_after)?)
    }

    /// Folds or scores a log that has been gathered.
    pub(super) fn of_parts(
        &self,
        parts: &Parts,
        work: &Work,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Base, u64), BatchError> {
        if !parts.is_spilled() {
            return Ok((self.held(parts)?, 0));
        }
        let wanted: Vec<usize> = (0..parts.n_parts()).filter(|at| !work.has_run(*at)).collect();
        let n_resumed = (parts.n_parts() - wanted.len()) as u64;
        // As many at a time as fit into the memory allowed.
        let threads = rayon::current_num_threads().min(parts.n_open_max());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|source| BatchError::Threads { threads, source })?;
        let pace = Pace::new(wanted.len() as u64, progress);
        pool.install(|| {
            wanted.par_iter().with_max_len(1).try_for_each(|at| {
                self.run_of_part(&parts.open(*at)?, &work.run_path(*at))?;
                pace.step(1, |done, all| format!("{done} of {all} parts scored"));
                Ok::<(), BatchError>(())
            })
        })?;
        Ok((Base::Runs(parts.n_parts()), n_resumed))
    }

    fn held(&self, parts: &Parts) -> Result<Base, BatchError> {
        let found: Result<Vec<(Vec<Known>, u64, PartCounts)>, BatchError> = (0..parts.n_parts())
            .into_par_iter()
            .map(|at| {
                let part = parts.open(at)?;
                let mut customers = Vec::with_capacity(part.n_customers());
                let n_unchanged = self.fold(&part, &mut |known| {
                    customers.push(known);
                    Ok(())
                })?;
                Ok((customers, n_unchanged, part.counts().clone()))
            })
            .collect();
        let (mut customers, mut n_unchanged, mut n_after) = (Vec::new(), 0, 0);
        for (more, left_out, counts) in found? {
            customers.extend(more);
            n_unchanged += left_out;
            n_after += counts.n_after;
        }
        customers.par_sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(Base::Held { customers, n_unchanged, n_after })
    }

    /// Reads the states of an export, and scores them piece by piece where they do not fit.
    pub(super) fn of_states(
        &self,
        dir: &Path,
        work: &mut Work,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Base, u64), BatchError> {
        let piece_bytes = (self.config.memory_bytes() / 2 / HISTORY_FACTOR).max(1);
        let mut states = States { scorer: self, held: Vec::new(), n_bytes: 0, n_unchanged: 0 };
        let (mut n_runs, mut n_resumed) = (0, 0);
        let mut failed = None;
        each_state(dir, &mut |customer, state| {
            let done = (|| {
                states.take(customer, state)?;
                if states.n_bytes < piece_bytes {
                    return Ok(());
                }
                if work.journal().is_none() {
                    work.note(self.decided_at, None, Vec::new())?;
                }
                n_resumed += u64::from(states.run(work, n_runs)?);
                n_runs += 1;
                progress(&format!("{n_runs} pieces of the export scored"));
                Ok(())
            })();
            failed = done.err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if n_runs == 0 {
            let n_unchanged = states.n_unchanged;
            let customers = states.histories()?;
            return Ok((Base::Held { customers, n_unchanged, n_after: 0 }, 0));
        }
        n_resumed += u64::from(states.run(work, n_runs)?);
        Ok((Base::Runs(n_runs + 1), n_resumed))
    }
}

/// States of an export that wait to be scored.
struct States<'s, 'c> {
    scorer: &'s Scorer<'c>,
    held: Vec<(CustomerId, Vec<u8>)>,
    n_bytes: usize,
    n_unchanged: u64,
}

impl States<'_, '_> {
    fn take(&mut self, customer: CustomerId, state: StoredState) -> Result<(), BatchError> {
        let ScoreConfig { shard, shards, .. } = *self.scorer.config;
        if shards > 1 && shard_of(&customer) % shards != shard {
            return Ok(());
        }
        if self.scorer.since.is_some() && self.scorer.config.previous.is_none() {
            let history = history_of(&customer, &state.bytes)?;
            if !self.scorer.wants(history.newest()) {
                self.n_unchanged += 1;
                return Ok(());
            }
        }
        self.n_bytes += state.bytes.len() + customer.as_str().len();
        self.held.push((customer, state.bytes));
        Ok(())
    }

    /// All of them as histories, by id.
    fn histories(&mut self) -> Result<Vec<Known>, BatchError> {
        self.n_bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        held.par_sort_unstable_by(|a, b| a.0.cmp(&b.0));
        held.into_par_iter()
            .map(|(customer, bytes)| {
                let history = history_of(&customer, &bytes)?;
                Ok((customer, history))
            })
            .collect()
    }

    /// Scores what is held into a run; says whether an earlier job had done so.
    fn run(&mut self, work: &Work, at: usize) -> Result<bool, BatchError> {
        let n_unchanged = std::mem::take(&mut self.n_unchanged);
        if work.has_run(at) {
            self.held.clear();
            self.n_bytes = 0;
            return Ok(true);
        }
        let customers = self.histories()?;
        let mut run = RunWriter::create(&work.run_path(at))?;
        for block in customers.chunks(BLOCK_CUSTOMERS) {
            let rows: Vec<Vec<Vec<u8>>> = block
                .par_chunks(ROWS_AT_ONCE)
                .map(|known| self.scorer.encode(known))
                .collect::<Result<_, BatchError>>()?;
            for row in rows.iter().flatten() {
                run.push(row)?;
            }
        }
        run.finish(n_unchanged, 0)?;
        Ok(false)
    }
}

fn history_of(customer: &CustomerId, bytes: &[u8]) -> Result<History, BatchError> {
    History::from_bytes(bytes).map_err(|source| {
        let customer = customer.as_str().to_owned();
        BatchError::State { customer, source }
    })
}

/// Refuses an export of another business than the model's.
pub(super) fn check_pins(dir: &Path, wanted: &[(&str, &str)]) -> Result<(), BatchError> {
    let pins = export_pins(dir)?;
    for (name, wanted) in wanted {
        if let Some((_, found)) = pins.iter().find(|(pin, found)| pin == name && found != wanted) {
            // Whoever knows the salt can work out who is held out.
            let hidden = |text: &str| match *name {
                "salt" => format!("({} characters)", text.len()),
                _ => text.to_owned(),
            };
            let (found, wanted) = (hidden(found), hidden(wanted));
            let (dir, name) = (dir.to_owned(), (*name).to_owned());
            return Err(BatchError::Pin { dir, name, found, wanted });
        }
    }
    Ok(())
}

/// Gathers the log as the bundle's training read its own: same zone, same currency. Rows that are
/// no events are written where that is asked for, whatever becomes of the rest.
pub(super) fn gather(
    config: &ScoreConfig,
    engine: &Engine,
    as_of: AsOf,
    dir: Option<PathBuf>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Parts, BatchError> {
    let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
    super::run::check_zone(&config.log, &business)?;
    let spec = config.log.spec(&business, as_of, now())?;
    let how = PartsSpec {
        memory_bytes: config.memory_bytes(),
        dir,
        shard: (config.shards > 1).then_some((config.shard, config.shards)),
        rejects: config.rejects.is_some(),
        ..PartsSpec::default()
    };
    let pace = Pace::new(0, progress);
    let mut tell = |rows: u64| pace.reach(rows, |done, _| format!("{done} rows read"));
    let mut parts = Parts::read(&spec, &how, &mut tell)?;
    let judged = if parts.needs_judging() { Some(parts.judge()?) } else { None };
    if let Some(path) = &config.rejects {
        let late = judged.as_ref().map(|counts| parts.late_rejects(counts)).unwrap_or_default();
        let rejects = std::mem::take(&mut parts.rejects);
        write_rejects(path, &[&rejects, &late])
            .map_err(|source| BatchError::Rejects { path: path.clone(), source })?;
    }
    check_parts(&parts, judged, &config.log.threshold, business.currency)?;
    if parts.n_before_and_after().0 == 0 {
        let n_after = parts.n_before_and_after().1;
        return Err(BatchError::NothingBefore { as_of: as_of.last_day(), n_after });
    }
    Ok(parts)
}

/// A customer of a part, folded as the server would, one event after the other.
pub(super) fn folded(
    part: &Part,
    place: usize,
    reader: &mut EventReader,
) -> Result<(CustomerId, History), BatchError> {
    let mut history = History::default();
    let customer = part.visit(place, reader, &mut |event| {
        history.apply(&event);
    })?;
    Ok((customer, history))
}

/// Refuses a log of which too much was dropped, or in another currency than the bundle's. Where
/// that cannot be said of the rows alone, all parts are looked at, unless that was done already.
pub(super) fn check_parts(
    parts: &Parts,
    judged: Option<PartCounts>,
    threshold: &Threshold,
    currency: Currency,
) -> Result<(), BatchError> {
    let judged = match judged {
        None if parts.needs_judging() => Some(parts.judge()?),
        judged => judged,
    };
    let reports = judged.map(|counts| parts.reports(counts)).transpose()?;
    let (log, facts) = match &reports {
        Some((log, facts)) => (log, facts.as_ref()),
        None => parts.rows(),
    };
    check_dropped((log, facts), threshold)?;
    let found = match &reports {
        Some((log, _)) => log.currencies.keys().next().cloned(),
        None => parts.currencies().first().map(|code| code.as_str().to_owned()),
    };
    check_currency(found, currency)
}

/// The same by what is known of the rows of all shards, where only one was gathered.
pub(super) fn check_rows(
    parts: &Parts,
    threshold: &Threshold,
    currency: Currency,
) -> Result<(), BatchError> {
    check_dropped(parts.rows(), threshold)?;
    let is_other = |code: &&Currency| **code != currency;
    let found = parts.currencies().iter().find(is_other).map(|code| code.as_str().to_owned());
    check_currency(found, currency)
}

fn check_dropped(
    (log, facts): (&IntakeReport, Option<&IntakeReport>),
    threshold: &Threshold,
) -> Result<(), BatchError> {
    threshold.check(log)?;
    facts.map_or(Ok(()), |facts| threshold.check(facts))?;
    Ok(())
}

fn check_currency(found: Option<String>, currency: Currency) -> Result<(), BatchError> {
    match found {
        Some(found) if currency != Currency::NONE && found != currency.as_str() => {
            Err(BatchError::Currency { found, wanted: currency.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

fn write_rejects(path: &Path, rows: &[&[u8]]) -> std::io::Result<()> {
    use std::io::Write;

    let mut output = Output::create(Some(path))?;
    output.write_all(b"file,row,code,reason\n")?;
    for rows in rows {
        output.write_all(rows)?;
    }
    output.finish(Some(path)).map(|_| ())
}

/// The instant that `--changed-since` means: a day is its first instant.
pub(super) fn since(config: &ScoreConfig, engine: &Engine) -> Option<Timestamp> {
    let text = config.changed_since.as_deref()?;
    match Day::parse(text) {
        Ok(day) => Some(engine.zone().start_of(day)),
        // Its form was checked with the settings.
        Err(_) => engine.zone().parse(text).ok(),
    }
}
