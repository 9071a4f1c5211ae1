//! Room `scoring`.
