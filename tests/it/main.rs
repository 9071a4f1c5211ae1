//! The one integration-test binary: a module per boundary.

mod learn;
mod btyd;
