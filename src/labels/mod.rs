//! Room `labels`.
