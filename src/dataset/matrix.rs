//! The feature matrix: columns of `f64`, NaN for missing, tied to a schema.

use thiserror::Error;

/// Why a matrix could not be made or filled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A row or column of another length than the matrix has.
    #[error("{what}: expected {expected} values, found {found}")]
    Shape {
        /// The row or column.
        what: String,
        /// Length of the matrix.
        expected: usize,
        /// Length found.
        found: usize,
    },
}

/// Rows by columns of `f64`, stored by column; NaN means missing.
///
/// `schema_id` is the digest of the feature schema the columns follow: two matrices of different
/// schemas are never mixed.
#[derive(Debug, Clone)]
pub struct FeatureMatrix {
    schema_id: String,
    n_rows: usize,
    columns: Vec<Vec<f64>>,
}

impl FeatureMatrix {
    /// An empty matrix of `n_columns` columns.
    #[must_use]
    pub fn new(schema_id: &str, n_columns: usize) -> Self {
        Self { schema_id: schema_id.to_owned(), n_rows: 0, columns: vec![Vec::new(); n_columns] }
    }

    /// From columns of equal length.
    ///
    /// # Errors
    /// [`MatrixError::Shape`] when a column's length differs from the first one's.
    pub fn from_columns(schema_id: &str, columns: Vec<Vec<f64>>) -> Result<Self, MatrixError> {
        let n_rows = columns.first().map_or(0, Vec::len);
        for (idx, column) in columns.iter().enumerate() {
            if column.len() != n_rows {
                return Err(MatrixError::Shape {
                    what: format!("column {idx}"),
                    expected: n_rows,
                    found: column.len(),
                });
            }
        }
        Ok(Self { schema_id: schema_id.to_owned(), n_rows, columns })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`MatrixError::Shape`] when the row has another number of values than there are columns.
    pub fn push_row(&mut self, row: &[f64]) -> Result<(), MatrixError> {
        if row.len() != self.columns.len() {
            return Err(MatrixError::Shape {
                what: format!("row {}", self.n_rows),
                expected: self.columns.len(),
                found: row.len(),
            });
        }
        for (column, &number) in self.columns.iter_mut().zip(row) {
            column.push(number);
        }
        self.n_rows += 1;
        Ok(())
    }

    /// The digest of the schema.
    #[must_use]
    pub fn schema_id(&self) -> &str {
        &self.schema_id
    }

    /// Number of rows.
    #[must_use]
    pub const fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.columns.len()
    }

    /// A column by its position.
    ///
    /// # Panics
    /// Never for a position below [`FeatureMatrix::n_columns`].
    #[must_use]
    pub fn column(&self, idx: usize) -> &[f64] {
        &self.columns[idx]
    }

    /// Puts another column in the place of one and gives back what was there.
    ///
    /// # Errors
    /// [`MatrixError::Shape`] for a position or a length that the matrix does not have.
    pub fn replace_column(
        &mut self,
        idx: usize,
        column: Vec<f64>,
    ) -> Result<Vec<f64>, MatrixError> {
        let (n_rows, found) = (self.n_rows, column.len());
        match self.columns.get_mut(idx).filter(|_| found == n_rows) {
            Some(place) => Ok(std::mem::replace(place, column)),
            None => {
                Err(MatrixError::Shape { what: format!("column {idx}"), expected: n_rows, found })
            }
        }
    }

    /// Copies a row into `out`, which has one place a column.
    pub fn copy_row(&self, row_idx: usize, out: &mut [f64]) {
        for (slot, column) in out.iter_mut().zip(&self.columns) {
            *slot = column[row_idx];
        }
    }

    /// What a function says of each row, in the order of the rows.
    pub fn map_rows<T>(&self, mut of: impl FnMut(&[f64]) -> T) -> Vec<T> {
        let mut row = vec![0.0; self.columns.len()];
        (0..self.n_rows)
            .map(|idx| {
                self.copy_row(idx, &mut row);
                of(&row)
            })
            .collect()
    }

    /// A matrix of the columns at these positions, in their order, under the same schema: what is
    /// made of it must know which columns they were.
    ///
    /// # Panics
    /// Never for positions below [`FeatureMatrix::n_columns`].
    #[must_use]
    pub fn select_columns(&self, columns: &[usize]) -> Self {
        let columns = columns.iter().map(|&column| self.columns[column].clone()).collect();
        Self { schema_id: self.schema_id.clone(), n_rows: self.n_rows, columns }
    }

    /// A matrix of the rows at these positions, in their order.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let columns =
            self.columns.iter().map(|column| rows.iter().map(|&r| column[r]).collect()).collect();
        Self { schema_id: self.schema_id.clone(), n_rows: rows.len(), columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_agree() {
        let mut matrix = FeatureMatrix::new("s", 2);
        matrix.push_row(&[1.0, 2.0]).unwrap();
        matrix.push_row(&[3.0, f64::NAN]).unwrap();
        assert!(matrix.push_row(&[1.0]).is_err());
        assert_eq!((matrix.n_rows(), matrix.n_columns()), (2, 2));
        assert_eq!(matrix.column(0), &[1.0, 3.0]);
        let mut row = [0.0; 2];
        matrix.select_rows(&[1]).copy_row(0, &mut row);
        assert!(row[0] > 2.9 && row[1].is_nan());
        assert_eq!(matrix.replace_column(0, vec![7.0, 8.0]).unwrap(), &[1.0, 3.0]);
        assert_eq!(matrix.column(0), &[7.0, 8.0]);
        assert!(matrix.replace_column(0, vec![7.0]).is_err());
        assert!(matrix.replace_column(2, vec![7.0, 8.0]).is_err());
    }
}
