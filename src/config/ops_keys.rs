//! The settings of `tenure-ops keys`, and the text that ends the program's help.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::keys::{Grant, is_key_id};
use super::ops::Given;
use super::raw::Reader;

/// Settings that only these commands use.
pub(super) const KEYS: [&str; 4] = ["keys", "id", "role", "calls_per_second"];

/// What the help of the whole program ends with.
pub(super) const HELP: &str = "\
Every setting can also come from the environment (TENURE_OPS_MODELS=...) or from the file
(models = \"...\"); a flag wins over the environment, that over the file.

Examples:
  tenure-ops bundle list --models models
  tenure-ops bundle promote --models models --name shop@3f2a90c1d7e4
  tenure-ops store load --store state --events orders.csv.gz --models models --name shop
  tenure-ops store export --from-server 127.0.0.1:50051 --key-file admin.key --out export
  tenure-ops store erase --export export --customers ids.txt
  tenure-ops consistency --events orders.jsonl --models models --name shop --states export
  tenure-ops stats --models models --name shop --states export --as-of 2026-06-30
  tenure-ops keys new --keys keys.toml --id crm --role score --role ingest
  tenure-ops events send --addr 127.0.0.1:50051 --events segment.jsonl --event-map map.toml
  tenure-ops health --addr 127.0.0.1:50051
  tenure-ops policy check policy.toml
  tenure-ops contract --cohorts cohorts.csv --margin 9.95 --discount 0.01
  tenure-ops opportunities --table donors.csv --periods 5 --out ahead.csv
  tenure-ops activities report --models models --name shop
  tenure-ops policy simulate --policy policy.toml --models models --name shop \\
    --events orders.csv.gz --as-of 2026-06-30
  tenure-ops policy explain --customer 4711 --models models --name shop \\
    --events orders.csv.gz --as-of 2026-06-30
  tenure-ops policy moves --since 2026-03-31 --as-of 2026-06-30 --models models --name shop \\
    --events orders.csv.gz
  tenure-ops experiment report --decisions ./decisions --events orders.csv.gz --outcome spend
  tenure-ops decisions export --decisions ./decisions --out decisions.parquet
  tenure-ops explain --models models --name shop --events orders.csv.gz --customer 42 \\
    --as-of 2026-06-30
  tenure-ops explain --models models --name tariff --table customers.csv --customer 42
  tenure-ops bundle drift --models models --name shop --events orders.csv.gz --as-of 2026-09-30

Exit codes: 0 done, 1 failed, 3 an alarm (with --fail-on-alarm), 64 usage or configuration, 65 bundle, store, data or policy
rejected, 75 try again later (the store is in use).";

/// What is to be done with a file of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysConfig {
    /// The file.
    pub file: PathBuf,
    /// What a new key may do; none: the file is checked.
    pub new: Option<Grant>,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum KeysArgs {
    /// Draws a key, adds its hash to the file and prints the key, once
    New(NewArgs),
    /// Checks the file and lists who may do what
    Check(FileArgs),
}

#[derive(Debug, Clone, Args)]
pub(super) struct FileArgs {
    /// The file of keys, as tenure-serve takes it
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct NewArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Who will use it, as logs and quotas name it: lower-case letters, digits, hyphens
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// What for: score, ingest or admin; may be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Most calls a second [default: no limit]
    #[arg(long, value_name = "NUMBER")]
    calls_per_second: Option<String>,
}

impl KeysArgs {
    /// Whether a key is to be made, and what was given.
    pub(super) fn given(&self) -> (bool, Given) {
        match self {
            Self::Check(file) => (false, vec![("keys", file.keys.clone())]),
            Self::New(new) => {
                let roles = (!new.role.is_empty()).then(|| new.role.join("\n"));
                let given = vec![
                    ("keys", new.file.keys.clone()),
                    ("id", new.id.clone()),
                    ("role", roles),
                    ("calls_per_second", new.calls_per_second.clone()),
                ];
                (true, given)
            }
        }
    }
}

pub(super) fn read_keys(is_new: bool, reader: &mut Reader) -> KeysConfig {
    let file = PathBuf::from(reader.required("keys"));
    if !is_new {
        return KeysConfig { file, new: None };
    }
    let id = reader.required_parsed("id", |text| match is_key_id(text) {
        true => Ok(text.to_owned()),
        false => Err("up to 64 lower-case letters, digits and hyphens".to_owned()),
    });
    let roles = reader.list("role");
    let rate = reader.optional_parsed("calls_per_second", |text| {
        text.parse::<u32>().map_err(|_| "a whole number".to_owned())
    });
    let new = match Grant::check(id.as_deref().unwrap_or_default(), &roles, rate) {
        Ok(grant) => Some(grant),
        Err(problems) => {
            problems.into_iter().for_each(|text| reader.conflict(text));
            None
        }
    };
    KeysConfig { file, new }
}
