//! The one integration-test binary: a module per boundary.

mod btyd;
mod btyd_base;
mod btyd_discrete;
mod churn;
mod cli;
mod cli_contract;
mod decisions;
mod demo;
mod explain;
mod grpc;
mod grpc_life;
mod learn;
mod lightgbm;
mod origins;
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
