//! The command line of `tenure-serve`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;

use super::checked::ServeConfig;
use super::env::process_environment;
use super::raw::{ConfigError, ConfigIssue, Layers, read_file};

/// Begins the name of every variable that this program reads.
const PREFIX: &str = "TENURE_SERVE_";

/// Serves churn, value and campaign decisions over gRPC.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "tenure-serve",
    version,
    after_help = "\
Every setting can also come from the environment (TENURE_SERVE_LISTEN=...) or from the file
(listen = \"...\"); a flag wins over the environment, that over the file. --print-config lists all.

Examples:
  tenure-serve --models models --name demo --store ./state
  tenure-serve --models models --name demo@champion --store ./state --listen 127.0.0.1:0 --json
  tenure-serve --models models --name shop --store ./state --listen 0.0.0.0:50051 \
    --tls-cert server.pem --tls-key server.key --keys keys.toml --admin-listen 127.0.0.1:9464
  tenure-serve --config serve.toml --set batch_rows_max=5000 --print-config

Exit codes: 0 ended in order, 1 failed, 64 configuration, 65 model or store unusable,
75 try again later (the store or the address is in use).
SIGHUP reads model alias, policy, certificate and keys again, SIGTERM ends in order."
)]
pub struct ServeArgs {
    /// Directory of models
    #[arg(long, value_name = "DIR")]
    models: Option<String>,
    /// Which model to serve
    #[arg(long, value_name = "NAME[@ALIAS|@VERSION]")]
    name: Option<String>,
    /// Directory of the store; made if it is not there; a model of a table needs none
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// A policy in place of the model's own
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// What an acknowledged event has survived: disk, process or memory [default: disk]
    #[arg(long, value_name = "LEVEL")]
    durability: Option<String>,
    /// The server's certificate and its chain, in PEM; with --tls-key connections are encrypted
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Authorities of clients, in PEM: every client then needs a certificate of one of them
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
    /// Who may call, with which role; `tenure-ops keys new` adds to it
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
    /// Answers /metrics, /livez and /readyz over HTTP there, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// How the log is written: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Exports traces of calls there by OTLP over gRPC, such as http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Logs every decision there before it is answered
    #[arg(long, value_name = "DIR")]
    decision_log: Option<String>,
    /// What happens to decisions that the log has no room for: refuse or drop [default: refuse]
    #[arg(long, value_name = "WHAT")]
    decision_log_full: Option<String>,
    /// Erases customers without an event for so many days [default: nobody]
    #[arg(long, value_name = "DAYS")]
    forget_after_days: Option<String>,
    /// What to log, such as info or tenure=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Any other setting
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Settings in a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listens where other machines reach it, without TLS and authentication
    #[arg(long)]
    insecure: bool,
    /// Says on standard output in JSON where it listens, and logs in JSON
    #[arg(long)]
    json: bool,
    /// Prints the settings with where each came from, and ends
    #[arg(long)]
    pub print_config: bool,
}

impl ServeArgs {
    /// Reads the command line of the process.
    ///
    /// # Errors
    /// The exit code, once help or what is wrong has been printed: 0 or 64.
    pub fn read() -> Result<Self, u8> {
        Self::try_parse().map_err(|told| {
            // Nobody is left to tell where the terminal is gone.
            let _ = told.print();
            if told.use_stderr() { 64 } else { 0 }
        })
    }

    /// The configuration that flags, the environment of the process and the file make together.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn to_config(&self) -> Result<ServeConfig, ConfigError> {
        let mut environment = process_environment(PREFIX);
        let file = environment.remove("config").map(PathBuf::from);
        let file = match self.config.as_ref().or(file.as_ref()) {
            Some(path) => read_file(path)?,
            None => toml::Table::new(),
        };
        ServeConfig::check(Layers { flags: self.flags()?, environment, file })
    }

    /// The flags that were given, by key.
    fn flags(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let said = |given: bool| given.then(|| "true".to_owned());
        let mut flags: BTreeMap<String, String> = [
            ("models", self.models.clone()),
            ("name", self.name.clone()),
            ("store", self.store.clone()),
            ("listen", self.listen.clone()),
            ("policy", self.policy.clone()),
            ("durability", self.durability.clone()),
            ("tls_cert", self.tls_cert.clone()),
            ("tls_key", self.tls_key.clone()),
            ("tls_client_ca", self.tls_client_ca.clone()),
            ("keys", self.keys.clone()),
            ("admin_listen", self.admin_listen.clone()),
            ("log_format", self.log_format.clone()),
            ("otlp_endpoint", self.otlp_endpoint.clone()),
            ("decision_log", self.decision_log.clone()),
            ("decision_log_full", self.decision_log_full.clone()),
            ("forget_after_days", self.forget_after_days.clone()),
            ("log", self.log.clone()),
            ("insecure", said(self.insecure)),
            ("json", said(self.json)),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_owned(), text?)))
        .collect();
        for pair in &self.set {
            let Some((key, text)) = pair.split_once('=') else {
                let text = format!("--set {pair:?} is not KEY=VALUE");
                return Err(ConfigError::Issues(vec![ConfigIssue::Conflict { text }]));
            };
            flags.insert(key.trim().to_owned(), text.trim().to_owned());
        }
        Ok(flags)
    }
}
