//! Cells that are given as numbers.

use super::{CellIssue, ColumnKind, TableColumn, TableSchema, encode_level};

impl TableSchema {
    /// As [`TableSchema::encode`], of a cell given as a number: a flag is 0 or 1, a category is
    /// the place of its level or the number of levels for any other, NaN is missing.
    ///
    /// # Errors
    /// [`CellIssue`] for a number that the column cannot hold; its places are then as before.
    ///
    /// # Panics
    /// Never for a column of this schema and a row of its length.
    pub fn encode_number(
        &self,
        column: usize,
        number: f64,
        row: &mut [f64],
    ) -> Result<(), CellIssue> {
        let TableColumn { name, kind } = &self.columns[column];
        let range = self.starts[column]..self.starts[column + 1];
        let (places, slots) = (&mut row[range.clone()], &self.slots[range]);
        let issue = |wanted| CellIssue { column: name.clone(), found: number.to_string(), wanted };
        match kind {
            ColumnKind::Number { .. } => places[0] = number,
            ColumnKind::Flag { .. } => {
                if !number.is_nan() && place_of(number, 1).is_none() {
                    return Err(issue("flag (0 or 1)"));
                }
                places[0] = number;
            }
            ColumnKind::Category { levels, .. } => {
                let place = place_of(number, levels.len());
                if place.is_none() && !number.is_nan() {
                    return Err(issue("place of a level"));
                }
                let at = place.map(|place| (place < levels.len()).then_some(place));
                encode_level(at, slots, places);
            }
        }
        Ok(())
    }
}

/// The number as a place from 0 to `last`, if it is one.
fn place_of(number: f64, last: usize) -> Option<usize> {
    // Adding 0 makes a negative zero a plain one; places are exact numbers.
    let bits = (number + 0.0).to_bits();
    (0..=last).find(|&place| (place as f64).to_bits() == bits)
}
