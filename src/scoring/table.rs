//! Scoring rows of a ready-made table.
//!
//! In: an engine of a table bundle, and the cells of a row in the order of its inputs. Out: the
//! same answer that a history gets, with what the table does not say missing, never 0.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::{Answer, Engine, ScoringError, TestNumbers, compare_numbers};
use crate::bundle::{Bundle, BundleModels, TableExampleV1, TableV1};
use crate::decision::{Context, Fact, Facts, RfmCuts, RfmValues, decide};
use crate::domain::{AsOf, CustomerId};
use crate::events::{RawValue, nearest};
use crate::model::{CellIssue, Score, TablePredictor};

/// A column that a row must name.
#[derive(Debug, Clone, PartialEq)]
pub struct TableInput {
    /// Its name.
    pub name: String,
    /// Its place among the columns that the models read; none for one that only gives facts.
    pub feature: Option<usize>,
    /// What it holds: numeric, boolean, categorical, or fact.
    pub kind: &'static str,
    facts: Vec<Fact>,
}

/// The columns that a row must name: those of the models, then those that only give facts.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct TableInputs(Vec<TableInput>);

impl TableInputs {
    /// Of a bundle; none for a log's.
    pub(super) fn of(bundle: &Bundle) -> Result<Option<Self>, ScoringError> {
        let BundleModels::Table { predictor, table, .. } = &bundle.models else { return Ok(None) };
        Self::new(predictor, table).map(Some)
    }

    fn new(predictor: &TablePredictor, table: &TableV1) -> Result<Self, ScoringError> {
        let mut inputs: Vec<TableInput> = predictor
            .schema()
            .columns()
            .iter()
            .enumerate()
            .map(|(at, column)| TableInput {
                name: column.name.clone(),
                feature: Some(at),
                kind: column.kind.as_str(),
                facts: Vec::new(),
            })
            .collect();
        let mut extra: BTreeMap<&str, Vec<Fact>> = BTreeMap::new();
        for (name, column) in &table.facts {
            let fact = Fact::parse(name).filter(|fact| fact.is_given());
            let fact = fact.ok_or_else(|| ScoringError::UnknownFact { found: name.clone() })?;
            match inputs.iter_mut().find(|input| input.name == *column) {
                Some(input) => input.facts.push(fact),
                None => extra.entry(column).or_default().push(fact),
            }
        }
        inputs.extend(extra.into_iter().map(|(name, facts)| TableInput {
            name: name.to_owned(),
            feature: None,
            kind: "fact",
            facts,
        }));
        Ok(Self(inputs))
    }
}

/// A question about a row.
#[derive(Debug, Clone, Copy)]
pub struct TableQuestion<'a> {
    /// Who.
    pub customer: &'a CustomerId,
    /// The cells, in the order of [`Engine::table_inputs`].
    pub cells: &'a [RawValue<'a>],
    /// The instant asked for.
    pub as_of: AsOf,
}

/// The answer to a row.
#[derive(Debug, Clone)]
pub struct TableAnswer<'e> {
    /// The answer.
    pub answer: Answer<'e>,
    /// Places of the inputs whose level was not known in training: it counted as `other`.
    pub unknown_levels: Vec<usize>,
    /// Digest of what the answer rests on.
    pub digest: u128,
}

/// A row that has been taken in.
pub(super) struct RowRead {
    /// The places that the models read.
    pub(super) row: Vec<f64>,
    facts: Facts,
    /// Places of the inputs whose level was not known in training.
    pub(super) unknown_levels: Vec<usize>,
    digest: u128,
}

impl Engine {
    /// The models of a table, or a refusal.
    pub(super) fn table_predictor(&self) -> Result<&TablePredictor, ScoringError> {
        match &self.bundle.models {
            BundleModels::Table { predictor, .. } => Ok(predictor),
            BundleModels::Log { .. } => {
                Err(ScoringError::LogBundle { version: self.bundle.version.clone() })
            }
        }
    }

    /// The columns that a row must name; none where the bundle scores histories.
    #[must_use]
    pub fn table_inputs(&self) -> Option<&[TableInput]> {
        self.inputs.as_ref().map(|inputs| inputs.0.as_slice())
    }

    /// The column of the customer id in the training table, if it had one.
    #[must_use]
    pub fn table_id_column(&self) -> Option<&str> {
        match &self.bundle.models {
            BundleModels::Table { table, .. } => table.id_column.as_deref(),
            BundleModels::Log { .. } => None,
        }
    }

    /// The name of an input that was meant by one that is none, if any is near enough.
    #[must_use]
    pub fn nearest_input(&self, name: &str) -> Option<&str> {
        nearest(name, self.table_inputs()?.iter().map(|input| input.name.as_str()))
    }

    /// What is said of a row, whose cells stand in the order of [`Engine::table_inputs`].
    ///
    /// # Errors
    /// [`ScoringError::LogBundle`] for a bundle that scores histories, [`ScoringError::Row`] with
    /// every cell that its column cannot hold, [`ScoringError::RowLength`].
    pub fn answer_row(
        &self,
        customer: &CustomerId,
        cells: &[RawValue<'_>],
        as_of: AsOf,
        trace: bool,
    ) -> Result<TableAnswer<'_>, ScoringError> {
        let predictor = self.table_predictor()?;
        let read = self.read_row(predictor, cells)?;
        let score = predictor.score(&read.row);
        Ok(self.answer_read((customer, read), score, as_of, trace))
    }

    /// What is said of many rows, without the rules tried: the same bits as
    /// [`Engine::answer_row`], for less than one by one.
    ///
    /// # Errors
    /// Of each row as [`Engine::answer_row`].
    pub fn answer_rows(
        &self,
        rows: &[TableQuestion<'_>],
    ) -> Vec<Result<TableAnswer<'_>, ScoringError>> {
        let mut answers = Vec::with_capacity(rows.len());
        let Ok(predictor) = self.table_predictor() else {
            let one = |row: &TableQuestion<'_>| {
                self.answer_row(row.customer, row.cells, row.as_of, false)
            };
            answers.extend(rows.iter().map(one));
            return answers;
        };
        let mut encoded = Vec::new();
        for rows in rows.chunks(super::ROWS_AT_ONCE) {
            encoded.clear();
            let mut read = Vec::with_capacity(rows.len());
            for row in rows {
                let one = self.read_row(predictor, row.cells);
                encoded.extend(one.iter().flat_map(|read| &read.row));
                read.push(one);
            }
            let mut scores = predictor.score_many(&encoded).into_iter();
            for (row, read) in rows.iter().zip(read) {
                answers.push(read.map(|read| {
                    // There is one score for each row that was taken in.
                    let score = scores.next().unwrap_or_else(|| predictor.score(&read.row));
                    self.answer_read((row.customer, read), score, row.as_of, false)
                }));
            }
        }
        answers
    }

    /// Takes in the cells of a row.
    pub(super) fn read_row(
        &self,
        predictor: &TablePredictor,
        cells: &[RawValue<'_>],
    ) -> Result<RowRead, ScoringError> {
        let inputs = self.table_inputs().unwrap_or_default();
        if cells.len() != inputs.len() {
            let (expected, found) = (inputs.len(), cells.len());
            return Err(ScoringError::RowLength { expected, found });
        }
        let mut row = vec![f64::NAN; predictor.schema().slots().len()];
        let (mut issues, mut unknown_levels) = (Vec::new(), Vec::new());
        let mut facts = Facts::default();
        let mut bytes = Vec::with_capacity(row.len() * 8 + 64);
        for (at, (input, cell)) in inputs.iter().zip(cells).enumerate() {
            if let Some(feature) = input.feature {
                match predictor.schema().encode(feature, cell, &mut row) {
                    Ok(true) => {}
                    Ok(false) => unknown_levels.push(at),
                    Err(issue) => issues.push(issue),
                }
            }
            for &fact in &input.facts {
                bytes.extend_from_slice(format!("{}={cell:?}\0", fact.as_str()).as_bytes());
                if let Err(wanted) = facts.give(fact, cell) {
                    let found = format!("{:?} for the fact {}", cell.kind(), fact.as_str());
                    issues.push(CellIssue { column: input.name.clone(), found, wanted });
                }
            }
        }
        if !issues.is_empty() {
            return Err(ScoringError::Row(issues));
        }
        bytes.extend(row.iter().flat_map(|number| number.to_bits().to_be_bytes()));
        fill_rfm(&self.rfm_cuts, &mut facts);
        Ok(RowRead { row, facts, unknown_levels, digest: xxh3_128(&bytes) })
    }

    /// The answer to a row that has been taken in.
    pub(super) fn answer_read(
        &self,
        (customer, read): (&CustomerId, RowRead),
        score: Score,
        as_of: AsOf,
        trace: bool,
    ) -> TableAnswer<'_> {
        let RowRead { row: _, facts, unknown_levels, digest } = read;
        let context = Context {
            customer_id: customer.as_str(),
            facts: &facts,
            tier_cuts: self.tier_cuts,
            salts: &self.salts,
            hour_of_day: Some(self.zone.hour_of(as_of.instant())),
            trace,
        };
        let decision = decide(&self.policy, &score, &context);
        let customer = customer.clone();
        let answer = Answer { customer, as_of, facts_as_of: None, facts, score, decision };
        TableAnswer { answer, unknown_levels, digest }
    }
}

/// Recency, frequency and order value scores from facts, where the table gives those and not the
/// scores themselves.
fn fill_rfm(cuts: &RfmCuts, facts: &mut Facts) {
    let found = cuts.score(&rfm_values_of(facts));
    let known = |cuts: &[f64], score: Option<u8>| score.filter(|_| !cuts.is_empty());
    facts.rfm.r = facts.rfm.r.or_else(|| known(&cuts.days_since_order, found.r));
    facts.rfm.f = facts.rfm.f.or_else(|| known(&cuts.orders, found.f));
    facts.rfm.m = facts.rfm.m.or_else(|| known(&cuts.avg_order_value, found.m));
}

/// What the scores are cut from, by facts.
#[must_use]
pub fn rfm_values_of(facts: &Facts) -> RfmValues {
    RfmValues {
        days_since_order: facts.days_since_order,
        orders: facts.orders,
        avg_order_value: facts.avg_order_value,
        spend_728d: None,
    }
}

/// Scores the examples of a table bundle and holds every number against what the bundle says.
pub(super) fn self_test(
    version: &str,
    predictor: &TablePredictor,
    examples: &[TableExampleV1],
) -> Result<(), ScoringError> {
    for (idx, example) in examples.iter().enumerate() {
        let mut row = vec![f64::NAN; predictor.schema().slots().len()];
        if example.cells.len() != predictor.schema().columns().len() {
            return Err(ScoringError::BadExample { row: idx, what: "another number of cells" });
        }
        for (column, cell) in example.raw_cells().enumerate() {
            predictor
                .schema()
                .encode(column, &cell, &mut row)
                .map_err(|_| ScoringError::BadExample { row: idx, what: "a cell is wrong" })?;
        }
        let cells: Vec<RawValue<'_>> = example.raw_cells().collect();
        let found = TableExampleV1::new(&cells, &predictor.score(&row));
        let numbers = |example: &TableExampleV1| -> TestNumbers {
            let clv = |at: usize| example.clv.map(|clv| clv[at]);
            [example.churn_prob, clv(0), clv(1), clv(2), clv(3), None]
        };
        compare_numbers(version, idx, numbers(example), numbers(&found))?;
    }
    Ok(())
}
