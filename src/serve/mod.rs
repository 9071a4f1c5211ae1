//! Room `serve`.

mod clock;
mod limits;
pub mod pb;
mod status;
