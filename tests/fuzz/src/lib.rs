//! What the fuzz targets run: the same functions as the ordinary tests run on the kept inputs.

pub mod cli;
pub mod corpus;
#[path = "../harness.rs"]
pub mod harness;
#[path = "../../it/serve_fixture.rs"]
#[allow(dead_code, reason = "the targets use a part of what the tests use")]
mod serve_fixture;
