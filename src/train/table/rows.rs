//! A table as rows to learn from: labels, times, costs, and encoded features.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::error::TableError;
use super::infer::{Feature, Inferred, infer, position};
use crate::config::{CostColumns, CostSource, TableConfig};
use crate::dataset::FeatureMatrix;
use crate::domain::Zone;
use crate::evaluate::RowCosts;
use crate::events::{RawValue, Table};
use crate::model::{CellIssue, TableSchema, flag_of, level_of, number_of};

/// Label values that are listed in a message.
const LISTED: usize = 8;

/// Everything that training reads of a table.
#[derive(Debug)]
pub(super) struct Rows {
    /// The columns that the models read.
    pub(super) schema: TableSchema,
    /// The same with their places in the table.
    pub(super) features: Vec<Feature>,
    /// Encoded features.
    pub(super) matrix: FeatureMatrix,
    /// Places of the rows in the table.
    pub(super) places: Vec<usize>,
    /// Who left.
    pub(super) churned: Option<Vec<bool>>,
    /// Value that followed, in units; may be negative.
    pub(super) value: Option<Vec<f64>>,
    /// What keeps rows together.
    pub(super) groups: Vec<Vec<u8>>,
    /// Micros, or the number itself.
    pub(super) times: Option<Vec<i64>>,
    /// What decisions cost.
    pub(super) costs: Option<Vec<RowCosts>>,
    /// Columns left out, and why.
    pub(super) ignored: Vec<(String, String)>,
    /// Texts taken for gaps.
    pub(super) missing_texts: BTreeMap<String, u64>,
    /// What the reader should know.
    pub(super) notes: Vec<String>,
    /// Rows without a label.
    pub(super) n_unlabelled: usize,
}

impl Rows {
    /// Reads labels, infers types, freezes the schema and encodes the rows.
    pub(super) fn new(
        table: &Table,
        config: &TableConfig,
        zone: &Zone,
    ) -> Result<Self, TableError> {
        let mut notes = Vec::new();
        let churn = labels(table, config, &mut notes)?;
        let value = values(table, config)?;
        let is_labelled = |row: &usize| {
            churn.as_ref().is_none_or(|labels| labels[*row].is_some())
                && value.as_ref().is_none_or(|values| values[*row].is_some())
        };
        let places: Vec<usize> = (0..table.n_rows()).filter(is_labelled).collect();
        let churned =
            churn.map(|labels| places.iter().map(|&row| labels[row] == Some(true)).collect());
        let value =
            value.map(|values| places.iter().map(|&row| values[row].unwrap_or(0.0)).collect());
        let said = config
            .types
            .iter()
            .map(|(name, said)| Ok((position(table, name, "--type")?, *said)))
            .collect::<Result<_, TableError>>()?;
        let inferred = infer(table, &places, zone, &roles(table, config)?, &said);
        let Inferred { features, ignored, missing_texts, notes: more } = inferred;
        notes.extend(more);
        let columns = features.iter().map(|feature| feature.column.clone()).collect();
        let schema = TableSchema::try_new(columns)?;
        let positions: Vec<usize> = features.iter().map(|feature| feature.position).collect();
        let matrix = encode(table, &places, &schema, &positions)?;
        Ok(Self {
            matrix,
            groups: groups(table, config, &places)?,
            times: times(table, config, zone, &places)?,
            costs: costs(table, config.costs.as_ref(), &places)?,
            n_unlabelled: table.n_rows() - places.len(),
            schema,
            features,
            places,
            churned,
            value,
            ignored,
            missing_texts,
            notes,
        })
    }

    /// Share of the features' cells that are missing.
    pub(super) fn missing_share(&self) -> f64 {
        let missing: usize = self.features.iter().map(|feature| feature.n_missing).sum();
        missing as f64 / (self.features.len() * self.places.len()).max(1) as f64
    }

    /// One column as numbers for the guard against leaks: levels by their place.
    pub(super) fn flat_column(&self, column: usize) -> Vec<f64> {
        self.matrix.map_rows(|row| self.schema.flat(column, row))
    }
}

/// Encodes rows of a table.
pub(super) fn encode(
    table: &Table,
    places: &[usize],
    schema: &TableSchema,
    positions: &[usize],
) -> Result<FeatureMatrix, TableError> {
    let n_slots = schema.slots().len();
    let rows: Vec<Vec<f64>> = places
        .par_iter()
        .map(|&place| {
            let mut row = vec![f64::NAN; n_slots];
            for (column, &position) in positions.iter().enumerate() {
                schema
                    .encode(column, &table.cell(place, position), &mut row)
                    .map_err(|issue| TableError::Cell { line: table.line(place), issue })?;
            }
            Ok(row)
        })
        .collect::<Result<_, TableError>>()?;
    let mut matrix = FeatureMatrix::new(schema.id(), n_slots);
    for row in &rows {
        // Every row has one number a place: it was made so above.
        let pushed = matrix.push_row(row);
        debug_assert!(pushed.is_ok(), "one number a place");
    }
    Ok(matrix)
}

/// Columns that are no features, and why.
fn roles(table: &Table, config: &TableConfig) -> Result<BTreeMap<usize, String>, TableError> {
    let mut roles = BTreeMap::new();
    let mut role = |name: &str, flag: &str, why: &str| -> Result<(), TableError> {
        roles.insert(position(table, name, flag)?, why.to_owned());
        Ok(())
    };
    for name in &config.ignore {
        role(name, "--ignore", "as asked")?;
    }
    if let Some(costs) = &config.costs {
        let CostColumns { act_stays, alone_leaves, act_leaves, alone_stays } = costs;
        for source in [act_stays, alone_leaves, act_leaves, alone_stays] {
            if let CostSource::Column(name) = source {
                role(name, "--cost-columns", "a cost of decisions")?;
            }
        }
    }
    for (name, flag, why) in [
        (&config.label, "--label", "the churn label"),
        (&config.value_label, "--value-label", "the value label"),
        (&config.id, "--id", "the customer id"),
        (&config.time, "--time-column", "the time that splits are made by"),
    ] {
        if let Some(name) = name {
            role(name, flag, why)?;
        }
    }
    for (fact, column) in &config.map {
        position(table, column, &format!("--map {}", fact.as_str()))?;
    }
    for name in &config.allow_leak {
        position(table, name, "--allow-leak")?;
    }
    Ok(roles)
}

fn labels(
    table: &Table,
    config: &TableConfig,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Option<bool>>>, TableError> {
    let Some(name) = &config.label else { return Ok(None) };
    let at = position(table, name, "--label")?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for cell in table.column(at) {
        if let Ok(Some(level)) = level_of(&cell) {
            *counts.entry(level.into_owned()).or_default() += 1;
        }
    }
    let mut sorted: Vec<(&String, &usize)> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let listed: Vec<String> =
        sorted.iter().take(LISTED).map(|(text, n)| format!("{text:?} ({n} rows)")).collect();
    let found = if listed.is_empty() { "no value".to_owned() } else { listed.join(", ") };
    let refuse = |wanted: &str| {
        let (column, found) = (name.clone(), found.clone());
        Err(TableError::Label { column, found, wanted: wanted.to_owned() })
    };
    if counts.len() < 2 {
        return refuse("two outcomes are needed to learn from");
    }
    let Some(positive) = &config.positive else {
        let flags: Vec<_> = table.column(at).map(|cell| flag_of(&cell)).collect();
        if flags.iter().any(Result::is_err) {
            return refuse("say with --positive which value means that the customer left");
        }
        return Ok(Some(flags.into_iter().map(|flag| flag.unwrap_or(None)).collect()));
    };
    if !counts.contains_key(positive) {
        return refuse(&format!("--positive {positive:?} is not among them"));
    }
    if counts.len() > 2 {
        let n = counts.len() - 1;
        notes.push(format!(
            "label {name:?}: {n} other values than {positive:?} all count as stayed"
        ));
    }
    let label = |cell: RawValue<'_>| match level_of(&cell) {
        Ok(Some(level)) => Some(level == positive.as_str()),
        _ => None,
    };
    Ok(Some(table.column(at).map(label).collect()))
}

fn values(table: &Table, config: &TableConfig) -> Result<Option<Vec<Option<f64>>>, TableError> {
    let Some(name) = &config.value_label else { return Ok(None) };
    numbers(table, name, "--value-label").map(Some)
}

/// A column of numbers, over the whole table.
fn numbers(table: &Table, name: &str, role: &str) -> Result<Vec<Option<f64>>, TableError> {
    let at = position(table, name, role)?;
    table
        .column(at)
        .enumerate()
        .map(|(row, cell)| {
            number_of(&cell).map_err(|()| {
                let found = cell.kind().to_owned();
                let issue = CellIssue { column: name.to_owned(), found, wanted: "number" };
                TableError::Cell { line: table.line(row), issue }
            })
        })
        .collect()
}

fn groups(
    table: &Table,
    config: &TableConfig,
    places: &[usize],
) -> Result<Vec<Vec<u8>>, TableError> {
    let Some(name) = &config.id else {
        return Ok(places.iter().map(|row| row.to_be_bytes().to_vec()).collect());
    };
    let at = position(table, name, "--id")?;
    let id = |&row: &usize| match level_of(&table.cell(row, at)) {
        Ok(Some(id)) => id.as_bytes().to_vec(),
        // A row without an id belongs to nobody else.
        _ => [b"\0row".as_slice(), &row.to_be_bytes()].concat(),
    };
    Ok(places.iter().map(id).collect())
}

fn times(
    table: &Table,
    config: &TableConfig,
    zone: &Zone,
    places: &[usize],
) -> Result<Option<Vec<i64>>, TableError> {
    let Some(name) = &config.time else { return Ok(None) };
    let at = position(table, name, "--time-column")?;
    let time = |&row: &usize| {
        let cell = table.cell(row, at);
        #[allow(clippy::cast_possible_truncation, reason = "only the order counts")]
        let time = match &cell {
            RawValue::Time(instant) => Some(instant.micros()),
            RawValue::Day(day) => Some(zone.start_of(*day).micros()),
            RawValue::Number(number) if number.is_finite() => Some((number * 1e3) as i64),
            RawValue::Text(text) => zone.parse(text).ok().map(|instant| instant.micros()),
            _ => None,
        };
        time.ok_or_else(|| {
            let (column, found) = (name.clone(), cell.kind().to_owned());
            let issue = CellIssue { column, found, wanted: "time" };
            TableError::Cell { line: table.line(row), issue }
        })
    };
    places.iter().map(time).collect::<Result<_, _>>().map(Some)
}

fn costs(
    table: &Table,
    columns: Option<&CostColumns>,
    places: &[usize],
) -> Result<Option<Vec<RowCosts>>, TableError> {
    let Some(CostColumns { act_stays, alone_leaves, act_leaves, alone_stays }) = columns else {
        return Ok(None);
    };
    let of = |source: &CostSource| -> Result<Vec<f64>, TableError> {
        let name = match source {
            CostSource::Constant(number) => return Ok(vec![*number; places.len()]),
            CostSource::Column(name) => name,
        };
        let numbers = numbers(table, name, "--cost-columns")?;
        let cost = |&row: &usize| {
            numbers[row].ok_or_else(|| {
                let (column, found) = (name.clone(), "nothing".to_owned());
                let issue = CellIssue { column, found, wanted: "cost" };
                TableError::Cell { line: table.line(row), issue }
            })
        };
        places.iter().map(cost).collect()
    };
    let (fp, fn_, tp, tn) = (of(act_stays)?, of(alone_leaves)?, of(act_leaves)?, of(alone_stays)?);
    let rows = (0..places.len()).map(|row| RowCosts {
        act_stays: fp[row],
        alone_leaves: fn_[row],
        act_leaves: tp[row],
        alone_stays: tn[row],
    });
    Ok(Some(rows.collect()))
}
