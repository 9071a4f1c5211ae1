//! Why a table gave no bundle.

use thiserror::Error;

use crate::evaluate::{Leak, MetricError};
use crate::model::{CellIssue, TableSchemaError};

/// Why a table gave no bundle.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TableError {
    /// A column that was named is not there.
    #[error("there is no column {name:?} for {role}{hint}; columns: {found}")]
    NoColumn {
        /// What it is for.
        role: String,
        /// The name.
        name: String,
        /// The nearest name, in words.
        hint: String,
        /// The columns there are.
        found: String,
    },
    /// The label's values are not two classes.
    #[error("label {column:?} holds {found}: {wanted}")]
    Label {
        /// The column.
        column: String,
        /// Values and their rows.
        found: String,
        /// What to do.
        wanted: String,
    },
    /// A cell that its column cannot hold.
    #[error("row {line}: {issue}")]
    Cell {
        /// Line of a text file, row of a Parquet file.
        line: u64,
        /// What is wrong.
        issue: CellIssue,
    },
    /// Too little, or too full of gaps.
    #[error("the table does not suffice to learn from ({}); --allow-small learns all the same", .0.join("; "))]
    Small(Vec<String>),
    /// Columns that know the label.
    #[error("{}", leaks_text(.0))]
    Leak(Vec<Leak>),
    /// The time column has no two instants to split by.
    #[error("time column {column:?}: {what}")]
    Time {
        /// The column.
        column: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The columns make no schema.
    #[error(transparent)]
    Schema(#[from] TableSchemaError),
    /// A number that a metric cannot take.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The finished models do not fit together: a defect of this version.
    #[error("{0}")]
    Parts(String),
}

fn leaks_text(leaks: &[Leak]) -> String {
    let named: Vec<String> = leaks
        .iter()
        .map(|leak| {
            let what = if leak.is_label { ": it is the label in disguise" } else { "" };
            format!("{:?} (AUC {:.4} alone{what})", leak.column, leak.auc)
        })
        .collect();
    format!(
        "columns that tell the label nearly alone: {}; a column known only after the fact must be \
         left out (--ignore COLUMN), an honest one is taken with --allow-leak COLUMN",
        named.join(", ")
    )
}
