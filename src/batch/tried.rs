//! The base that something is tried on: the customers of a log, or the rows of a ready-made table.
//!
//! In: the settings of a command, a bundle, perhaps a policy. Out: whatever is counted of all
//! customers, side by side, a tally a part, the tallies joined in the order of the parts. A log is
//! gathered in bounded memory and no more parts are open than fit; a table is held, as by the job
//! that scores it. What is counted must not depend on the order of customers: sums of money are
//! [`Sum`]s. It writes nothing but what does not fit into memory.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::base::folded;
use super::clock::{Pace, now};
use super::error::BatchError;
use super::gather::Gathering;
use super::ops::OpsError;
use super::run::open;
use super::table::{Rows, read_table};
use crate::bundle::BundleSelector;
use crate::config::{LogConfig, LogDefaults, PolicyRunConfig};
use crate::decision::Policy;
use crate::domain::{AsOf, CustomerId};
use crate::events::{Event, EventReader, Part, Parts, Table};
use crate::history::History;
use crate::scoring::{Answer, Engine, ROWS_AT_ONCE, ScoringError, TableQuestion};
use crate::store::shard_of;

/// Rows of a table that are counted by one thread in one go.
const PIECE: usize = 4_096;
/// Of so many parts of a base one holds a customer: as many as a store has shards.
const SHARDS: u16 = 1_024;
/// Units of a [`Sum`] in one.
const SUM_UNITS: f64 = (1_u64 << 40) as f64;

/// A sum that is the same in whatever order its terms come: whole units of less than a millionth of
/// a millionth, in which terms are cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum(i128);

impl Sum {
    /// Adds a finite number.
    pub(super) fn add(&mut self, term: f64) {
        #[allow(clippy::cast_possible_truncation, reason = "a cast of floats keeps to the bounds")]
        let units = (term * SUM_UNITS) as i128;
        self.0 = self.0.saturating_add(units);
    }

    /// Adds another sum.
    pub(super) fn join(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    /// The sum.
    #[allow(clippy::cast_precision_loss, reason = "digits beyond those of a float")]
    pub(super) fn get(self) -> f64 {
        self.0 as f64 / SUM_UNITS
    }
}

/// What customers are read from.
enum Source {
    Log(Box<LogSource>),
    Table(Box<(Table, Rows)>),
}

/// A log that has been gathered, and the files that it lies in.
pub(super) struct LogSource {
    pub(super) parts: Parts,
    _files: Gathering,
}

/// How a log is gathered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    /// Memory for the log, in MiB.
    pub(super) memory_mb: u32,
    /// Where what does not fit goes; none is where the system keeps such files.
    pub(super) work_dir: Option<&'a Path>,
    /// The only customer that is wanted; none for all.
    pub(super) only: Option<&'a CustomerId>,
}

/// Adds one customer with all events to a tally.
type AddCustomer<'a, T> =
    &'a (dyn Fn(&mut T, (&CustomerId, &[Event])) -> Result<(), BatchError> + Sync);

impl LogSource {
    /// Gathers a log up to an instant.
    pub(super) fn read(
        (log, business): (&LogConfig, &LogDefaults),
        before: AsOf,
        room: Room<'_>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, BatchError> {
        let dir = room.work_dir.map_or_else(std::env::temp_dir, Path::to_owned);
        let files = Gathering::make(&dir.join("tenure-ops"), None, "base")?;
        let shard = room.only.map(|customer| (shard_of(customer) % SHARDS, SHARDS));
        let how = (room.memory_mb, shard);
        let parts = files.read_shard((log, business), before, how, progress)?;
        Ok(Self { parts, _files: files })
    }

    /// Looks at all parts side by side, as many at a time as fit; in their order.
    pub(super) fn each_part<T: Send>(
        &self,
        progress: &mut (dyn FnMut(&str) + Send),
        look: &(dyn Fn(&Part) -> Result<T, BatchError> + Sync),
    ) -> Result<Vec<T>, BatchError> {
        let parts = &self.parts;
        let threads = rayon::current_num_threads().min(parts.n_open_max());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|source| BatchError::Threads { threads, source })?;
        let pace = Pace::new(parts.n_parts() as u64, progress);
        pool.install(|| {
            (0..parts.n_parts())
                .into_par_iter()
                .with_max_len(1)
                .map(|at| {
                    let found = look(&parts.open(at)?)?;
                    pace.step(1, |done, all| format!("{done} of {all} parts looked at"));
                    Ok(found)
                })
                .collect()
        })
    }

    /// Tallies all customers with their events, which come by time; a tally a part, in order.
    pub(super) fn each_customer<T: Send>(
        &self,
        progress: &mut (dyn FnMut(&str) + Send),
        nothing: &(dyn Fn() -> T + Sync),
        add: AddCustomer<'_, T>,
    ) -> Result<Vec<T>, BatchError> {
        self.each_part(progress, &|part| {
            let (mut tally, mut reader) = (nothing(), EventReader::default());
            let mut events = Vec::new();
            for place in 0..part.n_customers() {
                events.clear();
                let customer = part.visit(place, &mut reader, &mut |event| events.push(event))?;
                add(&mut tally, (&customer, &events))?;
            }
            Ok(tally)
        })
    }

    /// The history of one customer; none where the log has no event of that one.
    pub(super) fn history(&self, customer: &CustomerId) -> Result<Option<History>, BatchError> {
        for at in 0..self.parts.n_parts() {
            let part = self.parts.open(at)?;
            let found = (0..part.n_customers()).find(|place| part.id(*place) == customer.as_str());
            if let Some(place) = found {
                return Ok(Some(folded(&part, place, &mut EventReader::default())?.1));
            }
        }
        Ok(None)
    }
}

/// Adds one customer's answers to a tally, one for each engine.
type Add<'a, 'e, T, const N: usize> = &'a (dyn Fn(&mut T, [&Answer<'e>; N]) + Sync);

/// A base that has been read.
pub(super) struct Base {
    pub(super) engine: Engine,
    pub(super) as_of: AsOf,
    /// What a reader should know.
    pub(super) notes: Vec<String>,
    source: Source,
}

impl Base {
    /// Reads the base of a command; `only` is the one customer that is wanted.
    pub(super) fn read(
        config: &PolicyRunConfig,
        policy: Option<Policy>,
        only: Option<&CustomerId>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, BatchError> {
        progress("reading the model");
        let engine = open(&config.models, &config.model, policy)?;
        let as_of = match config.as_of {
            Some(day) => AsOf::end_of(day, engine.zone()),
            // Only a table may leave it away.
            None => AsOf::at(now(), engine.zone()),
        };
        if let Some(path) = &config.table {
            return Self::of_table((config, path), engine, as_of, only, progress);
        }
        if engine.table_inputs().is_some() {
            return Err(
                ScoringError::TableBundle { version: engine.bundle().version.clone() }.into()
            );
        }
        let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
        let room = Room { memory_mb: config.memory_mb, work_dir: config.work_dir.as_deref(), only };
        let log = LogSource::read((&config.log, &business), as_of, room, progress)?;
        let (n_before, n_after) = log.parts.n_before_and_after();
        if n_before == 0 {
            return Err(BatchError::NothingBefore { as_of: as_of.last_day(), n_after });
        }
        Ok(Self { engine, as_of, notes: Vec::new(), source: Source::Log(Box::new(log)) })
    }

    /// Reads a table in place of a log.
    pub(super) fn of_table(
        (config, path): (&PolicyRunConfig, &PathBuf),
        engine: Engine,
        as_of: AsOf,
        only: Option<&CustomerId>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, BatchError> {
        progress("reading the table");
        let wanted = |customer: &CustomerId| only.is_none_or(|only| only == customer);
        let (table, rows, notes) =
            read_table((&config.log, config.id.as_deref()), &engine, (path, as_of), &wanted)?;
        Ok(Self { engine, as_of, notes, source: Source::Table(Box::new((table, rows))) })
    }

    /// The log, where it is one.
    pub(super) fn log(&self) -> Option<&LogSource> {
        match &self.source {
            Source::Log(log) => Some(log),
            Source::Table(_) => None,
        }
    }

    /// The answers of some engines to every customer, counted: `add` is told of one customer's,
    /// one for each engine.
    pub(super) fn count<'e, const N: usize, T: Default + Send>(
        &self,
        engines: [&'e Engine; N],
        (add, join): (Add<'_, 'e, T, N>, fn(&mut T, T)),
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<T, BatchError> {
        let told = |tally: &mut T, answers: Vec<Vec<Answer<'e>>>| {
            let n = answers.iter().map(Vec::len).min().unwrap_or(0);
            (0..n).for_each(|at| add(tally, std::array::from_fn(|one| &answers[one][at])));
        };
        let tallies = match &self.source {
            Source::Log(log) => log.each_part(progress, &|part| {
                let (mut tally, mut reader) = (T::default(), EventReader::default());
                for first in (0..part.n_customers()).step_by(ROWS_AT_ONCE) {
                    let last = (first + ROWS_AT_ONCE).min(part.n_customers());
                    let known = (first..last).map(|place| folded(part, place, &mut reader));
                    let known = known.collect::<Result<Vec<_>, BatchError>>()?;
                    let asked: Vec<_> = known.iter().map(|(who, history)| (who, history)).collect();
                    let all = engines.iter().map(|engine| {
                        let answers = engine.answer_many(&asked, self.as_of, false).into_iter();
                        answers.collect::<Result<Vec<_>, ScoringError>>()
                    });
                    told(&mut tally, all.collect::<Result<_, ScoringError>>()?);
                }
                Ok(tally)
            })?,
            Source::Table(source) => {
                let (table, rows) = &**source;
                let pieces = rows.wanted.par_chunks(PIECE).map(|piece| {
                    let mut tally = T::default();
                    for block in piece.chunks(ROWS_AT_ONCE) {
                        let of =
                            |engine: &&'e Engine| of_rows(engine, (table, rows), block, self.as_of);
                        told(&mut tally, engines.iter().map(of).collect::<Result<_, _>>()?);
                    }
                    Ok(tally)
                });
                pieces.collect::<Result<Vec<T>, BatchError>>()?
            }
        };
        let mut all = T::default();
        tallies.into_iter().for_each(|tally| join(&mut all, tally));
        Ok(all)
    }

    /// The answer to one customer, with every rule that was tried.
    pub(super) fn one(&self, customer: &CustomerId) -> Result<Option<Answer<'_>>, OpsError> {
        match &self.source {
            Source::Log(log) => match log.history(customer)? {
                Some(history) => {
                    Ok(Some(self.engine.answer(customer, &history, self.as_of, true)?))
                }
                None => Ok(None),
            },
            Source::Table(source) => {
                let (table, rows) = &**source;
                let Some((place, _)) = rows.wanted.iter().find(|(_, found)| found == customer)
                else {
                    return Ok(None);
                };
                let cells = rows.cells(table, *place);
                let found = self.engine.answer_row(customer, &cells, self.as_of, true);
                let wrong = |source| BatchError::Row { line: table.line(*place), source };
                Ok(Some(found.map_err(wrong)?.answer))
            }
        }
    }
}

/// An engine's answers to rows of a table.
fn of_rows<'e>(
    engine: &'e Engine,
    (table, rows): (&Table, &Rows),
    block: &[(usize, CustomerId)],
    as_of: AsOf,
) -> Result<Vec<Answer<'e>>, BatchError> {
    let cells: Vec<_> = block.iter().map(|(place, _)| rows.cells(table, *place)).collect();
    let asked: Vec<TableQuestion<'_>> = block
        .iter()
        .zip(&cells)
        .map(|((_, customer), cells)| TableQuestion { customer, cells, as_of })
        .collect();
    let found = engine.answer_rows(&asked).into_iter().zip(block);
    found
        .map(|(found, (place, _))| {
            let wrong = |source| BatchError::Row { line: table.line(*place), source };
            Ok(found.map_err(wrong)?.answer)
        })
        .collect()
}

/// The history of one customer of a log; of the rest of it hardly anything is held.
pub(super) fn history_of(
    (log, engine): (&LogConfig, &Engine),
    as_of: AsOf,
    customer: &CustomerId,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Option<History>, BatchError> {
    let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
    let room = Room { memory_mb: MEMORY_MB, work_dir: None, only: Some(customer) };
    LogSource::read((log, &business), as_of, room, progress)?.history(customer)
}

/// Memory for a log whose command has no setting for it, in MiB.
pub(super) const MEMORY_MB: u32 = 512;

/// The model that a command asks for, with another policy.
pub(super) fn another(
    (models, model): (&Path, &BundleSelector),
    policy: Policy,
) -> Result<Engine, BatchError> {
    open(models, model, Some(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_order_of_their_terms() {
        let terms: Vec<f64> = (0..10_000).map(|n| f64::from(n % 977) * 0.1 + 1e-7).collect();
        let sum = |terms: &mut dyn Iterator<Item = &f64>| {
            let mut sum = Sum::default();
            terms.for_each(|term| sum.add(*term));
            sum
        };
        let forth = sum(&mut terms.iter());
        assert_eq!(forth, sum(&mut terms.iter().rev()));
        let mut halves = sum(&mut terms[..3_333].iter());
        halves.join(sum(&mut terms[3_333..].iter()));
        assert_eq!(forth, halves);
        let plain: f64 = terms.iter().sum();
        assert!((forth.get() - plain).abs() < 1e-6, "{} {plain}", forth.get());
        let mut infinite = Sum::default();
        infinite.add(f64::NAN);
        assert_eq!(infinite, Sum::default());
    }
}
