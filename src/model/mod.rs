//! Models: fit(spec, rows, seed) -> fitted; predict. Closed enums, pure computation.
//!
//! It deliberately knows no customer id, no file, no policy, no clock and no global state.

pub mod btyd;
mod optimize;
mod score;

pub use score::{Clv, Score};
