//! Columns of a table, frozen: what each holds and how a cell becomes numbers.
//!
//! In: raw cells. Out: a row of `f64`, or what is wrong with a cell. An unknown level of a
//! category is no error: it counts as `other`, and the caller is told.

mod numbers;

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::events::RawValue;

/// Texts that say "nothing is known" in every column, in any case.
const MISSING: [&str; 7] = ["", "na", "n/a", "#n/a", "nan", "null", "<na>"];
/// Texts that say so in a column of numbers or flags, where they can mean nothing else.
const MISSING_NUMBERS: [&str; 6] = ["none", "-", "--", "?", ".", "missing"];
/// Levels a category may have; rarer ones are `other`.
const LEVELS_MAX: usize = 10_000;

/// How a number enters a linear model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberScale {
    /// As it is.
    Plain,
    /// ln(1 + x): for columns that are never negative and lean far to the right.
    Log,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnKind {
    /// A number.
    Number {
        /// How it enters a linear model.
        scale: NumberScale,
        /// Smallest and largest training value.
        range: [f64; 2],
        /// Mean of the scaled training values: what a linear model takes for a missing one.
        fill: f64,
        /// Whether training had rows without a value.
        has_missing: bool,
    },
    /// True or false.
    Flag {
        /// Share of true in training.
        fill: f64,
        /// Whether training had rows without a value.
        has_missing: bool,
    },
    /// One of a set of levels.
    Category {
        /// The levels, most frequent first; all others are `other`.
        levels: Vec<String>,
        /// Whether training had levels too rare for a column of their own.
        has_other: bool,
        /// Whether training had rows without a value.
        has_missing: bool,
    },
}

impl ColumnKind {
    /// Its name in schemas and settings.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Number { .. } => "numeric",
            Self::Flag { .. } => "boolean",
            Self::Category { .. } => "categorical",
        }
    }
}

/// A column that the models read.
#[derive(Debug, Clone, PartialEq)]
pub struct TableColumn {
    /// Its name in the table.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// What one place of the row of numbers says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotMeaning {
    /// The number or flag itself.
    Value,
    /// Whether the category is at this level.
    Level(usize),
    /// Whether the category is at any other level.
    Other,
    /// Whether the category is missing.
    Missing,
}

/// One place of the row of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Position of the column it comes from.
    pub column: usize,
    /// What it says.
    pub meaning: SlotMeaning,
}

/// What is wrong with a cell.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("column {column:?}: {found} is no {wanted}")]
pub struct CellIssue {
    /// The column.
    pub column: String,
    /// What was found.
    pub found: String,
    /// What the column holds.
    pub wanted: &'static str,
}

/// Why columns make no schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableSchemaError {
    /// Nothing to learn from.
    #[error("no column is left to learn from")]
    Empty,
    /// One name twice.
    #[error("column {name:?} is in the schema twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Numbers that cannot have come from training.
    #[error("column {name:?}: {what}")]
    Column {
        /// The name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// The columns that the models read, and the places their values take.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSchema {
    columns: Vec<TableColumn>,
    slots: Vec<Slot>,
    /// First place of each column, and one past the last place.
    starts: Vec<usize>,
    id: String,
}

impl TableSchema {
    /// Takes columns in their order.
    ///
    /// # Errors
    /// [`TableSchemaError`].
    pub fn try_new(columns: Vec<TableColumn>) -> Result<Self, TableSchemaError> {
        if columns.is_empty() {
            return Err(TableSchemaError::Empty);
        }
        let (mut slots, mut starts) = (Vec::new(), vec![0]);
        for (column, TableColumn { name, kind }) in columns.iter().enumerate() {
            if columns[..column].iter().any(|other| other.name == *name) {
                return Err(TableSchemaError::Twice { name: name.clone() });
            }
            check_kind(kind)
                .map_err(|what| TableSchemaError::Column { name: name.clone(), what })?;
            slots.extend(meanings(kind).into_iter().map(|meaning| Slot { column, meaning }));
            starts.push(slots.len());
        }
        let id = digest(&columns);
        Ok(Self { columns, slots, starts, id })
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[TableColumn] {
        &self.columns
    }

    /// The places of the row of numbers.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Digest of names, kinds and levels.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What a place says, such as `contract = One year`.
    ///
    /// # Panics
    /// Never for a place of this schema.
    #[must_use]
    pub fn slot_name(&self, slot: usize) -> String {
        let Slot { column, meaning } = self.slots[slot];
        let TableColumn { name, kind } = &self.columns[column];
        match (meaning, kind) {
            (SlotMeaning::Level(level), ColumnKind::Category { levels, .. }) => {
                format!("{name} = {}", levels[level])
            }
            (SlotMeaning::Other, _) => format!("{name} = (other)"),
            (SlotMeaning::Missing, _) => format!("{name} is missing"),
            _ => name.clone(),
        }
    }

    /// Writes the numbers of one cell into the row, which has one place a slot. Answers whether
    /// the level of a category was known.
    ///
    /// # Errors
    /// [`CellIssue`] for a cell that the column cannot hold; its places are then as before.
    ///
    /// # Panics
    /// Never for a column of this schema and a row of its length.
    pub fn encode(
        &self,
        column: usize,
        cell: &RawValue<'_>,
        row: &mut [f64],
    ) -> Result<bool, CellIssue> {
        let TableColumn { name, kind } = &self.columns[column];
        let places = &mut row[self.starts[column]..self.starts[column + 1]];
        let issue = |wanted| CellIssue { column: name.clone(), found: shown(cell), wanted };
        match kind {
            ColumnKind::Number { .. } => {
                places[0] = number_of(cell).map_err(|()| issue("number"))?.unwrap_or(f64::NAN);
                Ok(true)
            }
            ColumnKind::Flag { .. } => {
                let flag = flag_of(cell).map_err(|()| issue("flag (true or false)"))?;
                places[0] = flag.map_or(f64::NAN, |flag| if flag { 1.0 } else { 0.0 });
                Ok(true)
            }
            ColumnKind::Category { levels, .. } => {
                let level = level_of(cell).map_err(|()| issue("text"))?;
                let at = level.as_ref().map(|level| levels.iter().position(|l| l == level));
                let slots = &self.slots[self.starts[column]..self.starts[column + 1]];
                encode_level(at, slots, places);
                Ok(!matches!(at, Some(None)))
            }
        }
    }

    /// Length of a linear model's input.
    #[must_use]
    pub fn n_design(&self) -> usize {
        self.slots.len() + self.gaps().count()
    }

    /// The input of a linear model: numbers inside of their training range on their scale, what is
    /// missing at its mean, then one 0/1 place for each column that had gaps in training.
    pub fn design(&self, row: &[f64], design: &mut Vec<f64>) {
        design.clear();
        for (slot, &number) in self.slots.iter().zip(row) {
            design.push(match &self.columns[slot.column].kind {
                ColumnKind::Number { fill, .. } | ColumnKind::Flag { fill, .. }
                    if number.is_nan() =>
                {
                    *fill
                }
                ColumnKind::Number { scale, range: [low, high], .. } => {
                    scaled(*scale, number.clamp(*low, *high))
                }
                _ if number.is_nan() => 0.5,
                _ => number,
            });
        }
        design.extend(self.gaps().map(|slot| f64::from(u8::from(row[slot].is_nan()))));
    }

    /// Places of numbers and flags that were missing in training.
    fn gaps(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| {
            match self.columns[slot.column].kind {
                ColumnKind::Number { has_missing: true, .. }
                | ColumnKind::Flag { has_missing: true, .. } => Some(at),
                _ => None,
            }
        })
    }

    /// The column that a place of a linear model's input comes from.
    ///
    /// # Panics
    /// Never for a place below [`TableSchema::n_design`].
    #[must_use]
    pub fn design_column(&self, place: usize) -> usize {
        let slot = match place.checked_sub(self.slots.len()) {
            None => place,
            Some(gap) => self.gaps().nth(gap).unwrap_or(0),
        };
        self.slots[slot].column
    }
}

/// A number on its scale.
pub(super) fn scaled(scale: NumberScale, number: f64) -> f64 {
    match scale {
        NumberScale::Plain => number,
        NumberScale::Log => libm::log1p(number.max(0.0)),
    }
}

fn encode_level(at: Option<Option<usize>>, slots: &[Slot], places: &mut [f64]) {
    // Two levels and nothing else take one place; anything else there says nothing.
    let single = slots.len() == 1;
    let known = matches!(at, Some(Some(_)));
    for (place, slot) in places.iter_mut().zip(slots) {
        let hit = match slot.meaning {
            SlotMeaning::Level(level) => at == Some(Some(level)),
            SlotMeaning::Other => at == Some(None),
            SlotMeaning::Missing => at.is_none(),
            SlotMeaning::Value => false,
        };
        *place = match (single, known, hit) {
            (true, false, _) => f64::NAN,
            (_, _, true) => 1.0,
            (_, _, false) => 0.0,
        };
    }
}

fn meanings(kind: &ColumnKind) -> Vec<SlotMeaning> {
    match kind {
        ColumnKind::Number { .. } | ColumnKind::Flag { .. } => vec![SlotMeaning::Value],
        ColumnKind::Category { levels, has_other: false, has_missing: false }
            if levels.len() == 2 =>
        {
            vec![SlotMeaning::Level(1)]
        }
        ColumnKind::Category { levels, has_other, has_missing } => {
            let mut all: Vec<SlotMeaning> = (0..levels.len()).map(SlotMeaning::Level).collect();
            all.extend(has_other.then_some(SlotMeaning::Other));
            all.extend(has_missing.then_some(SlotMeaning::Missing));
            all
        }
    }
}

fn check_kind(kind: &ColumnKind) -> Result<(), &'static str> {
    match kind {
        ColumnKind::Number { range: [low, high], fill, .. } => {
            let fine = low.is_finite() && high.is_finite() && low <= high && fill.is_finite();
            if fine { Ok(()) } else { Err("range and mean must be finite and rising") }
        }
        ColumnKind::Flag { fill, .. } => {
            if (0.0..=1.0).contains(fill) {
                Ok(())
            } else {
                Err("the share must be in [0, 1]")
            }
        }
        ColumnKind::Category { levels, .. } if levels.len() > LEVELS_MAX => Err("too many levels"),
        ColumnKind::Category { levels, has_other, has_missing } => {
            let n = levels.len() + usize::from(*has_other) + usize::from(*has_missing);
            let twice = (1..levels.len()).any(|at| levels[..at].contains(&levels[at]));
            if n < 2 {
                Err("a category needs two levels")
            } else if twice {
                Err("one level twice")
            } else {
                Ok(())
            }
        }
    }
}

fn digest(columns: &[TableColumn]) -> String {
    let mut hasher = Sha256::new();
    let mut text = |text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    for TableColumn { name, kind } in columns {
        text(name);
        text(kind.as_str());
        match kind {
            ColumnKind::Number { scale, range, fill, has_missing } => {
                text(&format!("{scale:?} {range:?} {fill:?} {has_missing}"));
            }
            ColumnKind::Flag { fill, has_missing } => text(&format!("{fill:?} {has_missing}")),
            ColumnKind::Category { levels, has_other, has_missing } => {
                levels.iter().for_each(|level| text(level));
                text(&format!("{has_other} {has_missing}"));
            }
        }
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text says that nothing is known; `in_number`: in a column of numbers or flags.
#[must_use]
pub fn is_missing_text(text: &str, in_number: bool) -> bool {
    let text = text.trim();
    let is = |word: &&str| word.eq_ignore_ascii_case(text);
    MISSING.iter().any(is) || (in_number && MISSING_NUMBERS.iter().any(is))
}

/// The number of a cell; none where it is missing.
///
/// # Errors
/// For a cell that is no finite number.
#[allow(clippy::result_unit_err, reason = "the caller knows the column and words the error")]
pub fn number_of(cell: &RawValue<'_>) -> Result<Option<f64>, ()> {
    let number = match cell {
        RawValue::Missing => return Ok(None),
        RawValue::Number(number) => *number,
        RawValue::Text(text) if is_missing_text(text, true) => return Ok(None),
        RawValue::Text(text) => text.trim().parse().map_err(|_| ())?,
        // Files hold NaN for what is missing; in a request it is a mistake of the sender.
        _ => return Err(()),
    };
    // The trees compare 32-bit floats: beyond them there is no order.
    if number.is_nan() {
        return Ok(None);
    }
    if number.abs() <= f64::from(f32::MAX) { Ok(Some(number)) } else { Err(()) }
}

/// The flag of a cell; none where it is missing.
///
/// # Errors
/// For a cell that is neither true nor false.
#[allow(clippy::result_unit_err, reason = "the caller knows the column and words the error")]
pub fn flag_of(cell: &RawValue<'_>) -> Result<Option<bool>, ()> {
    match cell {
        RawValue::Missing => Ok(None),
        RawValue::Flag(flag) => Ok(Some(*flag)),
        RawValue::Number(number) if number.is_nan() => Ok(None),
        RawValue::Number(number) if number.to_bits() == 1.0_f64.to_bits() => Ok(Some(true)),
        RawValue::Number(number) if number.abs() < f64::MIN_POSITIVE => Ok(Some(false)),
        RawValue::Text(text) if is_missing_text(text, true) => Ok(None),
        RawValue::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "t" | "1" | "1.0" => Ok(Some(true)),
            "false" | "no" | "n" | "f" | "0" | "0.0" => Ok(Some(false)),
            _ => Err(()),
        },
        _ => Err(()),
    }
}

/// The level of a cell as text; none where it is missing. A number is the text it is written as.
///
/// # Errors
/// For a cell that is no text, number or flag.
#[allow(clippy::result_unit_err, reason = "the caller knows the column and words the error")]
pub fn level_of<'c>(cell: &'c RawValue<'_>) -> Result<Option<Cow<'c, str>>, ()> {
    match cell {
        RawValue::Missing => Ok(None),
        RawValue::Text(text) if is_missing_text(text, false) => Ok(None),
        RawValue::Text(text) => Ok(Some(Cow::Borrowed(text.trim()))),
        RawValue::Number(number) if number.is_nan() => Ok(None),
        RawValue::Number(number) => Ok(Some(Cow::Owned(number.to_string()))),
        RawValue::Flag(flag) => Ok(Some(Cow::Borrowed(if *flag { "true" } else { "false" }))),
        RawValue::Day(day) => Ok(Some(Cow::Owned(day.to_string()))),
        _ => Err(()),
    }
}

/// A cell as it is shown in messages.
fn shown(cell: &RawValue<'_>) -> String {
    match cell {
        RawValue::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        RawValue::Number(number) => number.to_string(),
        other => other.kind().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> TableSchema {
        let column = |name: &str, kind| TableColumn { name: name.to_owned(), kind };
        let levels = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let number = ColumnKind::Number {
            scale: NumberScale::Log,
            range: [0.0, 9.0],
            fill: 1.25,
            has_missing: true,
        };
        TableSchema::try_new(vec![
            column("n", number),
            column("f", ColumnKind::Flag { fill: 0.25, has_missing: false }),
            column(
                "c",
                ColumnKind::Category {
                    levels: levels(&["a", "b"]),
                    has_other: true,
                    has_missing: true,
                },
            ),
            column(
                "two",
                ColumnKind::Category {
                    levels: levels(&["x", "y"]),
                    has_other: false,
                    has_missing: false,
                },
            ),
        ])
        .unwrap()
    }

    fn encode(cells: [RawValue<'_>; 4]) -> (Vec<f64>, Vec<bool>) {
        let schema = schema();
        let mut row = vec![0.0; schema.slots().len()];
        let known = cells
            .iter()
            .enumerate()
            .map(|(at, cell)| schema.encode(at, cell, &mut row).unwrap())
            .collect();
        (row, known)
    }

    #[test]
    fn cells_become_numbers_and_gaps_stay_gaps() {
        let (row, known) = encode([
            RawValue::text(" 2.5 "),
            RawValue::text("Yes"),
            RawValue::text("b"),
            RawValue::text("y"),
        ]);
        assert_eq!(row, [2.5, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        assert!(known.iter().all(|known| *known));
        let (row, known) = encode([
            RawValue::text("n/a"),
            RawValue::Missing,
            RawValue::text("NULL"),
            RawValue::text("z"),
        ]);
        assert!(row[0].is_nan() && row[1].is_nan() && row[6].is_nan());
        assert_eq!(row[2..6], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(known, [true, true, true, false]);
        let (row, known) = encode([
            RawValue::Number(3.0),
            RawValue::Number(0.0),
            RawValue::Number(7.0),
            RawValue::text("x"),
        ]);
        assert_eq!(row, [3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(known, [true, true, false, true], "7 is another level");
    }

    #[test]
    fn a_cell_that_cannot_be_meant_is_named() {
        let schema = schema();
        let mut row = vec![0.0; schema.slots().len()];
        for (column, cell, text) in [
            (0, RawValue::text("many"), "column \"n\": \"many\" is no number"),
            (0, RawValue::Flag(true), "column \"n\": true or false is no number"),
            (0, RawValue::Number(f64::INFINITY), "column \"n\": inf is no number"),
            (1, RawValue::Number(2.0), "column \"f\": 2 is no flag (true or false)"),
            (2, RawValue::List(Vec::new()), "column \"c\": a list is no text"),
        ] {
            let issue = schema.encode(column, &cell, &mut row).unwrap_err();
            assert_eq!(issue.to_string(), text);
        }
    }

    #[test]
    fn a_linear_model_sees_ranges_scales_and_gaps() {
        let schema = schema();
        let mut design = Vec::new();
        let (row, _) = encode([
            RawValue::Number(1e6),
            RawValue::Missing,
            RawValue::Missing,
            RawValue::Missing,
        ]);
        schema.design(&row, &mut design);
        assert_eq!(design.len(), schema.n_design());
        assert!((design[0] - 10.0_f64.ln()).abs() < 1e-15, "as at the end of the range");
        assert!((design[1] - 0.25).abs() < 1e-15 && (design[6] - 0.5).abs() < 1e-15);
        assert!(design[7].abs() < 1e-15);
        let (row, _) = encode([const { RawValue::Missing }; 4]);
        schema.design(&row, &mut design);
        assert!((design[0] - 1.25).abs() < 1e-15 && (design[7] - 1.0).abs() < 1e-15);
        assert_eq!((schema.design_column(6), schema.design_column(7)), (3, 0));
        assert_eq!(schema.slot_name(4), "c = (other)");
    }

    #[test]
    fn a_schema_that_says_nothing_is_refused() {
        assert_eq!(TableSchema::try_new(Vec::new()), Err(TableSchemaError::Empty));
        let flag = || TableColumn {
            name: "f".to_owned(),
            kind: ColumnKind::Flag { fill: 0.5, has_missing: false },
        };
        let twice = TableSchema::try_new(vec![flag(), flag()]);
        assert!(matches!(twice, Err(TableSchemaError::Twice { .. })));
        let bad = ColumnKind::Flag { fill: f64::NAN, has_missing: false };
        let bad = TableSchema::try_new(vec![TableColumn { kind: bad, ..flag() }]);
        assert!(matches!(bad, Err(TableSchemaError::Column { .. })));
    }
}
