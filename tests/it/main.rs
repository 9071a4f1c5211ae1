//! The one integration-test binary: a module per boundary.

mod btyd;
mod cli;
mod demo;
mod explain;
mod grpc;
mod grpc_life;
mod learn;
mod path;
mod quality;
mod serve_client;
mod serve_faults;
mod serve_fixture;
mod server_kill;
mod store_kill;
mod tidy;
