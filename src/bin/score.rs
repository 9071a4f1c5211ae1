//! `tenure-score`: a bundle and a log in, one row a customer out.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::process::ExitCode;

use clap::Parser;
use tenure::batch;
use tenure::config::ScoreArgs;
use tenure::telemetry::Progress;

/// An exit code and its reason.
type Failure = (u8, anyhow::Error);

fn main() -> ExitCode {
    let args = ScoreArgs::try_parse().unwrap_or_else(|told| {
        let _ = told.print();
        std::process::exit(if told.use_stderr() { 64 } else { 0 })
    });
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            eprintln!("tenure-score: {error}");
            ExitCode::from(code)
        }
    }
}

fn run(args: &ScoreArgs) -> Result<(), Failure> {
    let config = args.to_config().map_err(|error| (64, error.into()))?;
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let progress = Progress::new(!config.quiet);
    let summary = batch::score(&config, &mut |what| progress.tell(what))
        .map_err(|error| (error.exit_code(), error.into()))?;
    drop(progress);
    if config.json {
        println!("{}", serde_json::to_string(&summary).map_err(|error| (1, error.into()))?);
    } else if !config.quiet {
        eprint!("{}", summary.to_text());
    }
    Ok(())
}
