//! A ready-made table: columns of cells, as a file holds them.
//!
//! In: a CSV, JSON lines or Parquet file. Out: columns by name, in memory, each cell as a raw
//! value again. A text that is nothing but a number in its shortest form is held as that number,
//! so the same table says the same in every format. It deliberately infers no type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::error::IntakeError;
use super::intake::Intake;
use super::intake::RowOutcome;
use super::raw::RawValue;
use super::report::IntakeReport;
use super::rules::Rules;
use super::source::ReadSpec;
use super::value::number;
use crate::domain::Day;
use crate::domain::Timestamp;

/// One cell; texts are kept once a column.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Missing,
    Number(f64),
    Flag(bool),
    Time(Timestamp),
    Day(Day),
    Text(u32),
    Other(&'static str),
}

/// One column.
#[derive(Debug, Clone, Default)]
struct Column {
    cells: Vec<Cell>,
    texts: Vec<String>,
    places: BTreeMap<String, u32>,
}

impl Column {
    fn push(&mut self, value: &RawValue<'_>, rules: &Rules) {
        let cell = match value {
            RawValue::Missing => Cell::Missing,
            RawValue::Number(number) => Cell::Number(*number),
            RawValue::Flag(flag) => Cell::Flag(*flag),
            RawValue::Time(instant) => Cell::Time(*instant),
            RawValue::Day(day) => Cell::Day(*day),
            RawValue::Text(text) => match text.trim() {
                "" => Cell::Missing,
                text => number_of(text, rules).map_or_else(|| self.text(text), Cell::Number),
            },
            RawValue::List(_) => Cell::Other("a list"),
            RawValue::Other(what) => Cell::Other(what),
        };
        self.cells.push(cell);
    }

    fn text(&mut self, text: &str) -> Cell {
        if let Some(place) = self.places.get(text) {
            return Cell::Text(*place);
        }
        // More distinct texts than this do not fit into memory.
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        Cell::Text(place)
    }
}

/// A text that is a number and nothing else; `007` and `1e3` are texts.
fn number_of(text: &str, rules: &Rules) -> Option<f64> {
    if rules.decimal_comma {
        return number("", &RawValue::text(text), rules).ok().flatten();
    }
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number.to_string() == text).then_some(number)
}

/// A table in memory.
#[derive(Debug, Clone, Default)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    lines: Vec<u64>,
    /// What was read and what was dropped.
    pub report: IntakeReport,
}

impl Table {
    /// Reads a file to its end. Rows that cannot be read are counted in the report.
    ///
    /// # Errors
    /// [`IntakeError`] where the file as a whole cannot be taken in, or has no row.
    pub fn read(path: &Path, spec: &ReadSpec, rules: &Rules) -> Result<Self, IntakeError> {
        let mut table = Self::default();
        let mut intake = Intake::of_table(spec, rules);
        intake.read(path, &mut |outcome| {
            if let RowOutcome::Cells { row, cells } = outcome {
                table.push(row, &cells, rules);
            }
        })?;
        table.report = intake.finish()?;
        if table.lines.is_empty() {
            return Err(IntakeError::NoRows { path: path.display().to_string() });
        }
        Ok(table)
    }

    fn push(&mut self, line: u64, cells: &[(Cow<'_, str>, RawValue<'_>)], rules: &Rules) {
        if self.names.is_empty() {
            self.names = cells.iter().map(|(name, _)| name.clone().into_owned()).collect();
            self.columns = vec![Column::default(); cells.len()];
        }
        for (column, (_, value)) in self.columns.iter_mut().zip(cells) {
            column.push(value, rules);
        }
        self.lines.push(line);
    }

    /// Names of the columns, in the order of the file.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of rows.
    #[must_use]
    pub const fn n_rows(&self) -> usize {
        self.lines.len()
    }

    /// Position of a column.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Where a row stands: the line of a text file, the row of a Parquet file.
    ///
    /// # Panics
    /// Never for a row below [`Table::n_rows`].
    #[must_use]
    pub fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// What stands in a cell.
    ///
    /// # Panics
    /// Never for a row and a column of this table.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> RawValue<'_> {
        let column = &self.columns[column];
        match column.cells[row] {
            Cell::Missing => RawValue::Missing,
            Cell::Number(number) => RawValue::Number(number),
            Cell::Flag(flag) => RawValue::Flag(flag),
            Cell::Time(instant) => RawValue::Time(instant),
            Cell::Day(day) => RawValue::Day(day),
            Cell::Other(what) => RawValue::Other(what),
            Cell::Text(place) => {
                column.texts.get(place as usize).map_or(RawValue::Missing, |t| RawValue::text(t))
            }
        }
    }

    /// What stands in a column, row by row.
    ///
    /// # Panics
    /// Never for a column of this table.
    pub fn column(&self, column: usize) -> impl Iterator<Item = RawValue<'_>> {
        (0..self.n_rows()).map(move |row| self.cell(row, column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Table, IntakeError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Table::read(&path, &ReadSpec::default(), &Rules::default())
    }

    #[test]
    fn a_table_says_the_same_in_csv_and_json_lines() {
        let csv = read("a.csv", "id,n,flag,word,zip\na,1.5,true,x,007\nb,,false,,9\n").unwrap();
        let json = read(
            "a.jsonl",
            "{\"id\":\"a\",\"n\":1.5,\"flag\":\"true\",\"word\":\"x\",\"zip\":\"007\"}\n\
             {\"id\":\"b\",\"n\":null,\"flag\":\"false\",\"word\":\"\",\"zip\":9}\n",
        )
        .unwrap();
        assert_eq!(csv.n_rows(), 2);
        for name in ["id", "n", "flag", "word", "zip"] {
            let of = |table: &Table| {
                let at = table.position(name).unwrap();
                (0..2).map(|row| format!("{:?}", table.cell(row, at))).collect::<Vec<_>>()
            };
            assert_eq!(of(&csv), of(&json), "{name}");
        }
        assert_eq!(csv.cell(0, 4), RawValue::text("007"), "not the number 7");
        assert_eq!((csv.line(0), csv.line(1)), (2, 3));
    }

    #[test]
    fn a_name_twice_and_a_file_without_rows_are_refused() {
        let twice = read("a.csv", "a,b,a\n1,2,3\n").unwrap_err().to_string();
        assert!(twice.contains("\"a\"") && twice.contains("more than once"), "{twice}");
        assert!(matches!(read("a.csv", "a,b\n"), Err(IntakeError::NoRows { .. })));
        let ragged = read("a.csv", "a,b\n1,2\n1,2,3\n").unwrap();
        assert_eq!((ragged.n_rows(), ragged.report.dropped), (1, 1));
    }
}
