//! `tenure-train`: a log in, a bundle out.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::process::ExitCode;

use clap::Parser;
use tenure::config::TrainArgs;
use tenure::telemetry::Progress;
use tenure::train;

/// An exit code and its reason.
type Failure = (u8, anyhow::Error);

fn main() -> ExitCode {
    let args = TrainArgs::try_parse().unwrap_or_else(|told| {
        let _ = told.print();
        std::process::exit(if told.use_stderr() { 64 } else { 0 })
    });
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err((code, error)) => {
            eprintln!("tenure-train: {error}");
            ExitCode::from(code)
        }
    }
}

fn run(args: &TrainArgs) -> Result<u8, Failure> {
    let config = args.to_config().map_err(|error| (64, error.into()))?;
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(0);
    }
    let progress = Progress::new(!config.quiet);
    let outcome = train::execute(&config, &mut |what| progress.tell(what))
        .map_err(|error| (error.exit_code(), error.into()))?;
    drop(progress);
    match (config.json, config.quiet) {
        (true, _) => println!("{}", train::to_json(&outcome)),
        (false, true) => println!("{}", outcome.version),
        (false, false) => print!("{}", train::to_text(&outcome)),
    }
    Ok(if config.require_promotion && !outcome.promoted { 3 } else { 0 })
}
