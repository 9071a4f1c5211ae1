//! `tenure-ops`: looks after bundles, stores and policies.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::process::ExitCode;

use clap::Parser;
use tenure::batch;
use tenure::config::{OpsArgs, OpsCommand};
use tenure::serve;
use tenure::telemetry::Progress;

/// An exit code and its reason.
type Failure = (u8, anyhow::Error);

fn main() -> ExitCode {
    let args = OpsArgs::try_parse().unwrap_or_else(|told| {
        let _ = told.print();
        std::process::exit(if told.use_stderr() { 64 } else { 0 })
    });
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err((code, error)) => {
            eprintln!("tenure-ops: {error}");
            ExitCode::from(code)
        }
    }
}

fn run(args: &OpsArgs) -> Result<u8, Failure> {
    let config = args.to_config().map_err(|error| (64, error.into()))?;
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(0);
    }
    let progress = Progress::new(!config.quiet);
    let mut tell = |what: &str| progress.tell(what);
    if let Some(fetch) = config.command.fetch() {
        serve::fetch_export(fetch, &mut tell).map_err(|e| (e.exit_code(), e.into()))?;
    }
    let (text, json, exit_code) = if let OpsCommand::Client(asked) = &config.command {
        let told = serve::client::call(asked, &mut tell).map_err(|e| (e.exit_code(), e.into()))?;
        (told.text, told.json, told.exit_code)
    } else {
        let told = batch::operate(&config, &mut tell).map_err(|e| (e.exit_code(), e.into()))?;
        (told.text, told.json, told.exit_code)
    };
    drop(progress);
    match config.json {
        true => println!("{json}"),
        false => print!("{text}"),
    }
    Ok(exit_code)
}
