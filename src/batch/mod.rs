//! Room `batch`.
