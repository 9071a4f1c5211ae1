//! What a running program tells about itself, beside its results.
//!
//! In: what is being done, and counts of it. Out: lines for a terminal, and a page of metrics. It
//! deliberately changes no result.

mod metrics;
mod progress;

pub use metrics::{Counter, MetricKind, Page, SECONDS, Samples, Times};
pub use progress::Progress;
