//! The one integration-test binary: a module per boundary.

mod btyd;
mod grpc;
mod learn;
mod serve_faults;
mod serve_fixture;
mod store_kill;
