//! A column of an encoded row as one number.

use super::schema::TableSchema;

impl TableSchema {
    /// A column of an encoded row as one number: a number and a flag as they are, a category by
    /// the place of its level among those that have places of their own; NaN where nothing is
    /// known. Levels are places and no amounts.
    ///
    /// # Panics
    /// Never for a row of this schema.
    #[must_use]
    pub fn flat(&self, column: usize, row: &[f64]) -> f64 {
        let slots = self.slots().iter().zip(row);
        let mut own = slots.filter(|(slot, _)| slot.column == column).map(|(_, number)| *number);
        match (own.next(), own.next()) {
            (Some(single), None) => single,
            (Some(first), Some(second)) => {
                let mut all = [first, second].into_iter().chain(own);
                all.position(|number| number > 0.5).map_or(f64::NAN, |at| at as f64)
            }
            (None, _) => f64::NAN,
        }
    }

    /// How many places of their own a column's levels have; 1 for a number or a flag.
    #[must_use]
    pub fn n_places(&self, column: usize) -> usize {
        self.slots().iter().filter(|slot| slot.column == column).count()
    }
}
