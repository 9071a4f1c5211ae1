//! The one integration-test binary: a module per boundary.

mod btyd;
mod btyd_base;
mod btyd_discrete;
mod cli;
mod cli_contract;
mod decisions;
mod demo;
mod explain;
mod grpc;
mod grpc_intake;
mod grpc_life;
mod grpc_stream;
mod grpc_watch;
mod learn;
mod path;
mod quality;
mod serve_client;
mod serve_faults;
mod serve_fixture;
mod server_kill;
mod stage;
mod store_kill;
mod table;
mod table_grpc;
mod tidy;
