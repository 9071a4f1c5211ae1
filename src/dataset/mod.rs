//! Cutoffs x customers -> training rows: the matrix, its labels, weights and time-honest splits.
//!
//! It deliberately knows no model and no file.

mod matrix;

pub use matrix::{FeatureMatrix, MatrixError};
