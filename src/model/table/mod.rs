//! Models on a ready-made table: its schema, how cells become numbers, and the fitted whole.
//!
//! In: named cells of a row. Out: one row of `f64` (NaN = missing) that both the trees and the
//! linear models read, and from it a score. Categories are 0/1 columns a level: our evaluator of
//! trees takes numerical splits only, and so explanations stay additive by column.
//! It deliberately knows no file, no customer id and no policy; the schema is frozen in training.

mod explain;
mod fitted;
mod flat;
mod schema;

pub use explain::TableExplainer;
pub use fitted::{TableChurn, TableFitSpec, TableFitted, TableKind, TablePredictor, TableValue};
pub use schema::{
    CellIssue, ColumnKind, NumberScale, Slot, SlotMeaning, TableColumn, TableSchema,
    TableSchemaError, flag_of, is_missing_text, level_of, number_of,
};
