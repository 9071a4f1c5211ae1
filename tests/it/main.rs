//! The one integration-test binary: a module per boundary.

mod btyd;
mod learn;
mod path;
mod store_kill;
