//! The one integration-test binary: a module per boundary.

mod btyd;
mod learn;
mod store_kill;
mod tidy;
