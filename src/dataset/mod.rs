//! Cutoffs x customers -> training rows: the matrix, its labels, weights and time-honest splits.
//!
//! It deliberately knows no model and no file.

mod cutoffs;
mod matrix;

pub use cutoffs::{CutoffError, CutoffPlan};
pub use matrix::{FeatureMatrix, MatrixError};
