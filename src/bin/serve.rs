//! `tenure-serve`: churn, value and decisions over gRPC.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use tenure::config::{LogFormat, ServeArgs, ServeConfig};
use tenure::serve;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// An exit code and the reason.
type Failure = (u8, anyhow::Error);

fn main() -> ExitCode {
    let run = |args: ServeArgs| {
        run(&args).map_err(|(code, error)| {
            eprintln!("tenure-serve: {error}");
            code
        })
    };
    ExitCode::from(ServeArgs::read().and_then(run).err().unwrap_or(0))
}

fn run(args: &ServeArgs) -> Result<(), Failure> {
    let config = args.to_config().map_err(|error| (64, error.into()))?;
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let filter = EnvFilter::try_new(&config.log).context("log").map_err(|error| (64, error))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.json || config.guard.log_format == LogFormat::Json {
        true => logs.json().init(),
        false => logs.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    let parts = serve::open(&config).map_err(|error| (error.exit_code(), error.into()))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| (1, error.into()))?;
    runtime.block_on(listen(&config, parts))
}

async fn listen(config: &ServeConfig, parts: serve::Parts) -> Result<(), Failure> {
    let signals = serve::signals().context("signals").map_err(|error| (1, error))?;
    let listener = TcpListener::bind(config.listen).await;
    let listener = listener.with_context(|| format!("listen on {}", config.listen));
    let listener = listener.map_err(|error| (75, error))?;
    let address = listener.local_addr().map_err(|error| (1, error.into()))?;
    let version = &parts.engine.bundle().version;
    match config.json {
        true => println!(r#"{{"listening":"{address}","model_version":"{version}"}}"#),
        false => println!("listening on {address}"),
    }
    let shutdown = async {
        let signal = signals.await;
        tracing::info!(signal, "shutting down");
    };
    let served = serve::serve(config, parts, listener, shutdown).await;
    served.map(|_| ()).map_err(|error| (error.exit_code(), error.into()))
}
