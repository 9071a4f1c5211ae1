//! Scores of a ready-made table: a table bundle and a file in, one row a row out.
//!
//! In: a configuration that names a table. Out: the same columns as for a log. A column that the
//! model reads must be there; others are named and not looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::config::{ExplainConfig, LogConfig, ScoreConfig};
use crate::domain::{AsOf, CustomerId};
use crate::events::{RawValue, Table};
use crate::model::level_of;
use crate::scoring::{Engine, ExplainedAnswer, ROWS_AT_ONCE, ScoringError, TableAnswer};
use crate::scoring::{TableInput, TableQuestion, decision_line};
use crate::store::shard_of;

use super::base::Scored;
use super::clock::{Pace, now};
use super::emit::Emitter;
use super::error::BatchError;
use super::ops::OpsError;
use super::row::cells;
use super::run::BLOCK_CUSTOMERS;
use super::runs::Marks;
use super::summary::ScoreSummary;

/// Unused columns that are named in a note.
const NAMED_MAX: usize = 12;

type Found<'e> = Result<TableAnswer<'e>, ScoringError>;

/// Scores all rows as configured.
pub(super) fn score<'e>(
    (config, columns): (&ScoreConfig, &[usize]),
    engine: &'e Engine,
    path: &std::path::Path,
    as_of: AsOf,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ScoreSummary, BatchError> {
    let Some(inputs) = engine.table_inputs() else {
        return Err(BatchError::LogBundle { version: engine.bundle().version.clone() });
    };
    progress("reading the table");
    let table = read(&config.log, engine, path, as_of)?;
    let wanted = |customer: &CustomerId| {
        config.shards == 1 || shard_of(customer) % config.shards == config.shard
    };
    let rows = Rows::new((&table, engine, inputs), config.id.as_deref(), &wanted)?;
    let unknown: Vec<AtomicU64> = inputs.iter().map(|_| AtomicU64::new(0)).collect();
    let decided_at = now();
    let row = |place: usize, asked: &TableQuestion<'_>, found: Found<'e>| {
        let wrong = |source| BatchError::Row { line: table.line(place), source };
        let found = found.map_err(wrong)?;
        let why = match config.reasons {
            0 => None,
            most => Some(engine.row_reasons(asked.cells, most).map_err(wrong)?.churn),
        };
        for input in found.unknown_levels {
            unknown[input].fetch_add(1, Ordering::Relaxed);
        }
        let (answer, digest) = (found.answer, found.digest);
        let line = match config.decision_log {
            Some(_) => decision_line((engine, ""), &answer, digest, decided_at),
            None => Vec::new(),
        };
        let out_of_distribution = answer.decision.flags.out_of_distribution;
        let marks = Marks { out_of_distribution, is_fresh: true };
        Ok(Scored { cells: cells(engine, &answer, why.as_deref()), marks, line })
    };
    let block = |block: &[(usize, CustomerId)]| -> Result<Vec<Scored<'e>>, BatchError> {
        let values: Vec<_> = block.iter().map(|(place, _)| rows.cells(&table, *place)).collect();
        let asked: Vec<TableQuestion<'_>> = block
            .iter()
            .zip(&values)
            .map(|((_, customer), cells)| TableQuestion { customer, cells, as_of })
            .collect();
        let found = engine.answer_rows(&asked).into_iter().zip(&asked).zip(block);
        found.map(|((found, asked), (place, _))| row(*place, asked, found)).collect()
    };
    let mut notes = notes(&table, inputs, engine);
    if table.report.dropped > 0 {
        notes.push(format!("{} rows could not be read and have no score", table.report.dropped));
    }
    let summary = super::run::begin(config, engine, (as_of, 0), notes);
    let mut emitter = Emitter::begin(config, columns, summary, decided_at)?;
    let pace = Pace::new(rows.wanted.len() as u64, progress);
    for wanted in rows.wanted.chunks(BLOCK_CUSTOMERS) {
        let scored: Vec<Vec<Scored<'_>>> =
            wanted.par_chunks(ROWS_AT_ONCE).map(block).collect::<Result<_, BatchError>>()?;
        for Scored { cells, marks, line } in scored.iter().flatten() {
            emitter.row(cells, *marks, line)?;
        }
        pace.step(wanted.len() as u64, |done, all| format!("{done} of {all} rows scored"));
    }
    for (input, count) in inputs.iter().zip(&unknown) {
        let count = count.load(Ordering::Relaxed);
        if count > 0 {
            emitter.summary.notes.push(format!(
                "column {:?}: {count} rows hold a level that training had not seen, counted as \
                 other",
                input.name
            ));
        }
    }
    emitter.finish()
}

/// One row taken apart: the first of a customer. Notes say what a reader should know.
pub(super) fn explain<'e>(
    config: &ExplainConfig,
    engine: &'e Engine,
    path: &std::path::Path,
    as_of: AsOf,
) -> Result<(ExplainedAnswer<'e>, Vec<String>), OpsError> {
    let Some(inputs) = engine.table_inputs() else {
        return Err(BatchError::LogBundle { version: engine.bundle().version.clone() }.into());
    };
    let table = read(&config.log, engine, path, as_of)?;
    let wanted = |customer: &CustomerId| *customer == config.customer;
    let rows = Rows::new((&table, engine, inputs), config.id.as_deref(), &wanted)?;
    let Some((place, customer)) = rows.wanted.first() else {
        let (customer, path) = (config.customer.as_str().to_owned(), path.to_owned());
        let column = config.id.as_deref().or_else(|| engine.table_id_column());
        return Err(OpsError::NoRow { customer, path, column: column.map(str::to_owned) });
    };
    let mut notes = notes(&table, inputs, engine);
    if rows.wanted.len() > 1 {
        let (n, line) = (rows.wanted.len(), table.line(*place));
        notes.push(format!("{n} rows are of this customer: this is the first, of line {line}"));
    }
    let found = engine
        .explain_row(customer, &rows.cells(&table, *place), as_of)
        .map_err(|source| BatchError::Row { line: table.line(*place), source })?;
    Ok((found.explained, notes))
}

/// A table with the rows that are wanted; notes say what a reader should know.
pub(super) fn read_table(
    (config, id): (&LogConfig, Option<&str>),
    engine: &Engine,
    (path, as_of): (&std::path::Path, AsOf),
    is_wanted: &dyn Fn(&CustomerId) -> bool,
) -> Result<(Table, Rows, Vec<String>), BatchError> {
    let Some(inputs) = engine.table_inputs() else {
        return Err(BatchError::LogBundle { version: engine.bundle().version.clone() });
    };
    let table = read(config, engine, path, as_of)?;
    let rows = Rows::new((&table, engine, inputs), id, is_wanted)?;
    let notes = notes(&table, inputs, engine);
    Ok((table, rows, notes))
}

fn read(
    config: &LogConfig,
    engine: &Engine,
    path: &std::path::Path,
    as_of: AsOf,
) -> Result<Table, BatchError> {
    let defaults =
        crate::config::LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
    let (spec, rules) = config.table_spec(&defaults, as_of.instant());
    let table = Table::read(path, &spec, &rules)?;
    config.threshold.check(&table.report)?;
    Ok(table)
}

/// Which rows are scored, and where their cells stand.
pub(super) struct Rows {
    /// Place in the table and customer.
    pub(super) wanted: Vec<(usize, CustomerId)>,
    /// Column of each input.
    positions: Vec<usize>,
}

impl Rows {
    /// The rows of the customers that are wanted; `id` names their column where it is another than
    /// in training.
    fn new(
        (table, engine, inputs): (&Table, &Engine, &[TableInput]),
        id: Option<&str>,
        is_wanted: &dyn Fn(&CustomerId) -> bool,
    ) -> Result<Self, BatchError> {
        let missing: Vec<String> = inputs
            .iter()
            .filter(|input| table.position(&input.name).is_none())
            .map(|input| format!("{:?} ({})", input.name, input.kind))
            .collect();
        if !missing.is_empty() {
            let (missing, found) = (missing.join(", "), table.names().join(", "));
            return Err(BatchError::NoColumn { missing, found });
        }
        let positions = inputs.iter().filter_map(|input| table.position(&input.name)).collect();
        let id = match id.or_else(|| engine.table_id_column()) {
            None => None,
            Some(name) => {
                let at = table.position(name).ok_or_else(|| BatchError::NoColumn {
                    missing: format!("{name:?} (the customer id)"),
                    found: table.names().join(", "),
                })?;
                Some((at, name.to_owned()))
            }
        };
        let mut wanted = Vec::new();
        for place in 0..table.n_rows() {
            let customer = customer(table, place, id.as_ref())?;
            if is_wanted(&customer) {
                wanted.push((place, customer));
            }
        }
        Ok(Self { wanted, positions })
    }

    /// The cells of a row in the order of the inputs.
    pub(super) fn cells<'t>(&self, table: &'t Table, place: usize) -> Vec<RawValue<'t>> {
        self.positions.iter().map(|&column| table.cell(place, column)).collect()
    }
}

/// The customer of a row; its number, counted from 1, where no column says.
fn customer(
    table: &Table,
    place: usize,
    id: Option<&(usize, String)>,
) -> Result<CustomerId, BatchError> {
    let line = table.line(place);
    let bad =
        |column: &str, detail: String| BatchError::Id { line, column: column.to_owned(), detail };
    let Some((at, name)) = id else {
        let number = (place + 1).to_string();
        return CustomerId::try_new(&number).map_err(|error| bad("", error.to_string()));
    };
    let cell = table.cell(place, *at);
    let text = level_of(&cell).map_err(|()| bad(name, format!("{} is no id", cell.kind())))?;
    CustomerId::try_new(text.as_deref().unwrap_or_default())
        .map_err(|error| bad(name, error.to_string()))
}

/// Columns that nobody looks at.
fn notes(table: &Table, inputs: &[TableInput], engine: &Engine) -> Vec<String> {
    let is_used = |name: &&String| {
        inputs.iter().any(|input| input.name == **name)
            || engine.table_id_column() == Some(name.as_str())
    };
    let unused: Vec<&str> =
        table.names().iter().filter(|name| !is_used(name)).map(String::as_str).collect();
    if unused.is_empty() {
        return Vec::new();
    }
    let more = unused.len().saturating_sub(NAMED_MAX);
    let named = unused.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    vec![format!("columns not looked at: {named}{more}")]
}
