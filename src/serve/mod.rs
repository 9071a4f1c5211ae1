//! Room `serve`.

pub mod pb;
