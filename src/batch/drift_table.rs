//! `tenure-ops bundle drift` on a ready-made table: is it still like the one that was learned from?
//!
//! In: a table bundle and a table. Out: how far every column that the models read and the scores
//! moved since training; and, where the table has the label, what was foretold against what came.
//! A level that training had not seen counts as any other rare one, or as missing where there was
//! none.

use std::path::Path;

use rayon::prelude::*;

use super::clock::now;
use super::drift::{Ended, Moved, Then, outcome};
use super::error::BatchError;
use super::ops::{OpsError, OpsOutcome};
use super::run::open;
use super::table::{Rows, read_table};
use super::tried::Sum;
use crate::bundle::{BundleModels, HistogramV1, TableBaselineV1, TableV1};
use crate::config::DriftConfig;
use crate::domain::AsOf;
use crate::evaluate::Histogram;
use crate::events::Table;
use crate::model::{TablePredictor, flag_of, level_of};
use crate::scoring::{Engine, ScoringError, TableInput};

/// Rows that are looked at by one thread in one go.
const PIECE: usize = 4_096;

/// Holds a table against the one that was learned from.
pub(super) fn drift(
    config: &DriftConfig,
    path: &Path,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    progress("reading the model");
    let engine = open(&config.models, &config.model, None)?;
    let as_of = match config.as_of {
        Some(day) => AsOf::end_of(day, engine.zone()),
        None => AsOf::at(now(), engine.zone()),
    };
    let version = || engine.bundle().version.clone();
    let BundleModels::Table { predictor, table: trained, baseline, .. } = &engine.bundle().models
    else {
        return Err(ScoringError::LogBundle { version: version() }.into());
    };
    let Some(baseline) = baseline else { return Err(OpsError::NoBaseline { version: version() }) };
    progress("reading the table");
    let id = config.id.as_deref();
    let (table, rows, _) = read_table((&config.log, id), &engine, (path, as_of), &|_| true)?;
    let look = Look::new(&engine, (predictor, baseline), (&table, &rows), trained);
    progress("holding the table against the one that was learned from");
    let pieces = rows.wanted.par_chunks(PIECE).map(|piece| {
        let mut seen = look.nothing();
        piece.iter().try_for_each(|(place, _)| look.see(*place, &mut seen))?;
        Ok(seen)
    });
    let pieces = pieces.collect::<Result<Vec<Seen>, BatchError>>()?;
    let mut all = look.nothing();
    pieces.into_iter().for_each(|seen| all.join(seen));
    let n_rows = rows.wanted.len() as u64;
    let prob_mean = all.churn_prob.as_ref().map(|_| all.probs.get() / n_rows.max(1) as f64);
    let day = config.as_of.map(|day| day.to_string());
    let today = Then { customers: n_rows, as_of: day, prob_mean };
    let then = Then { customers: baseline.rows, as_of: None, prob_mean: baseline.churn_prob_mean };
    let labelled = std::mem::take(&mut all.labelled);
    let ended: Vec<Ended> =
        (!labelled.is_empty()).then(|| Ended::new(None, false, labelled)).into_iter().collect();
    let moved = moved(predictor, baseline, &all);
    Ok(outcome(config, engine.bundle(), [then, today], (&moved, &ended)))
}

/// What is looked at of every row.
struct Look<'a> {
    inputs: &'a [TableInput],
    predictor: &'a TablePredictor,
    baseline: &'a TableBaselineV1,
    table: &'a Table,
    rows: &'a Rows,
    /// Column of the label, and its value of those who left.
    label: Option<(usize, Option<&'a str>)>,
}

/// What was seen of some rows.
struct Seen {
    columns: Vec<Option<Histogram>>,
    churn_prob: Option<Histogram>,
    value: Option<Histogram>,
    probs: Sum,
    labelled: Vec<(f64, bool)>,
}

impl Seen {
    fn join(&mut self, other: Self) {
        let own = self.columns.iter_mut().chain([&mut self.churn_prob, &mut self.value]);
        let more = other.columns.iter().chain([&other.churn_prob, &other.value]);
        own.zip(more).for_each(|pair| {
            if let (Some(own), Some(more)) = pair {
                own.join(more);
            }
        });
        self.probs.join(other.probs);
        self.labelled.extend(other.labelled);
    }
}

impl<'a> Look<'a> {
    fn new(
        engine: &'a Engine,
        (predictor, baseline): (&'a TablePredictor, &'a TableBaselineV1),
        (table, rows): (&'a Table, &'a Rows),
        trained: &'a TableV1,
    ) -> Self {
        let at = trained.label.as_deref().and_then(|name| table.position(name));
        let label = at.map(|at| (at, trained.positive.as_deref()));
        let inputs = engine.table_inputs().unwrap_or_default();
        Self { inputs, predictor, baseline, table, rows, label }
    }

    fn nothing(&self) -> Seen {
        let of = |held: &HistogramV1| Histogram::empty(&held.edges);
        let columns = self.predictor.schema().columns().iter();
        let churn_prob = self.baseline.churn_prob.as_ref().map(of);
        Seen {
            columns: columns.map(|one| self.baseline.columns.get(&one.name).map(of)).collect(),
            churn_prob,
            value: self.baseline.value.as_ref().map(of),
            probs: Sum::default(),
            labelled: Vec::new(),
        }
    }

    fn see(&self, place: usize, seen: &mut Seen) -> Result<(), BatchError> {
        let schema = self.predictor.schema();
        let mut row = vec![f64::NAN; schema.slots().len()];
        let mut issues = Vec::new();
        for (input, cell) in self.inputs.iter().zip(self.rows.cells(self.table, place)) {
            let encoded = input.feature.map(|feature| schema.encode(feature, &cell, &mut row));
            issues.extend(encoded.and_then(Result::err));
        }
        if !issues.is_empty() {
            let (line, source) = (self.table.line(place), ScoringError::Row(issues));
            return Err(BatchError::Row { line, source });
        }
        for (column, held) in seen.columns.iter_mut().enumerate() {
            held.iter_mut().for_each(|held| held.add(schema.flat(column, &row)));
        }
        let score = self.predictor.score(&row);
        if let (Some(held), Some(prob)) = (&mut seen.churn_prob, score.churn_prob) {
            held.add(prob);
            seen.probs.add(prob);
            seen.labelled.extend(self.left(place).map(|left| (prob, left)));
        }
        if let (Some(held), Some(clv)) = (&mut seen.value, &score.clv) {
            held.add(clv.mean);
        }
        Ok(())
    }

    /// Whether the customer of a row left, as training would have read it.
    fn left(&self, place: usize) -> Option<bool> {
        let (at, positive) = self.label?;
        let cell = self.table.cell(place, at);
        match positive {
            Some(positive) => level_of(&cell).ok()?.map(|level| level == positive),
            None => flag_of(&cell).ok()?,
        }
    }
}

/// How columns and scores moved, those with the most movement first.
fn moved(predictor: &TablePredictor, baseline: &TableBaselineV1, seen: &Seen) -> Vec<Moved> {
    let against = |name: &str, held: Option<&HistogramV1>, now: Option<&Histogram>| {
        held.zip(now).and_then(|(held, now)| Moved::new(name, held, now))
    };
    let columns = predictor.schema().columns().iter().zip(&seen.columns);
    let mut moved: Vec<Moved> = columns
        .filter_map(|(column, now)| {
            against(&column.name, baseline.columns.get(&column.name), now.as_ref())
        })
        .collect();
    Moved::sort(&mut moved);
    let scores = [
        against("churn_probability", baseline.churn_prob.as_ref(), seen.churn_prob.as_ref()),
        against("value", baseline.value.as_ref(), seen.value.as_ref()),
    ];
    moved.splice(0..0, scores.into_iter().flatten());
    moved
}
