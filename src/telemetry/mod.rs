//! What a running program tells about itself, beside its results.
//!
//! In: what is being done. Out: lines for a terminal. It deliberately changes no result.

mod progress;

pub use progress::Progress;
