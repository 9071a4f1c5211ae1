//! What `tenure-ops` does: bundles, stores and policies looked at and looked after.
//!
//! In: a checked command. Out: what was found, as text for a person and as JSON for a program,
//! and whether it is as it should be.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use crate::bundle::{
    Bundle, BundleError, BundleSelector, aliases, model_names, set_alias, versions,
};
use crate::config::{LoadConfig, OpsCommand, OpsConfig, OpsTask};
use crate::decision::{Policy, PolicyErrors};
use crate::evaluate::MetricError;
use crate::history::CodecError;
use crate::model::OnnxError;
use crate::scoring::{ScoringError, self_test};
use crate::store::{
    DecisionLogError, ExportManifestV1, ScanRange, StateStore, StoreError, TransferError, export,
    export_manifest, import,
};

use super::columns::ColumnsError;
use super::consistency::consistency;
use super::contract::{ContractError, contract};
use super::decisions::export_decisions;
use super::error::BatchError;
use super::experiment;
use super::load::{load, open};
use super::moves::moves;
use super::opportunities::{OpportunitiesError, opportunities};
use super::ops_activities;
use super::ops_erase;
use super::ops_erase::EraseError;
use super::ops_keys;
use super::ops_keys::KeysError;
use super::ops_stats;
use super::policy;

/// Exit code of things that are not as they should be.
pub(super) const REJECTED: u8 = 65;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct OpsOutcome {
    /// For a person.
    pub text: String,
    /// For a program.
    pub json: Value,
    /// 0, or 65 where something is not as it should be.
    pub exit_code: u8,
}

impl OpsOutcome {
    pub(super) const fn fine(text: String, json: Value) -> Self {
        Self { text, json, exit_code: 0 }
    }
}

/// Why nothing was found or done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpsError {
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle does not score as it should.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// The log cannot be used.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// No event of the customer is in the log.
    #[error("the log holds no event of customer {customer:?} before the end of {as_of}")]
    NoCustomer {
        /// Who was asked for.
        customer: String,
        /// The last day looked at.
        as_of: crate::domain::Day,
    },
    /// No row of the customer is in the table.
    #[error(
        "{}: no row is of customer {customer:?}: {}", path.display(),
        column.as_ref().map_or_else(
            || "rows have no id (name its column with --id), so their numbers from 1 stand for it"
                .to_owned(),
            |column| format!("ids stand in the column {column:?} (--id names another)"),
        )
    )]
    NoRow {
        /// Who was asked for.
        customer: String,
        /// The table.
        path: PathBuf,
        /// Where ids stand; none where rows have none.
        column: Option<String>,
    },
    /// The bundle does not say what its training table looked like.
    #[error(
        "bundle {version} does not keep what its training table looked like, as older versions \
         did not: train it again"
    )]
    NoBaseline {
        /// Its version.
        version: String,
    },
    /// The model has no graph.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The export cannot be written or read.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A state of the store cannot be read.
    #[error("a state of the store: {0}")]
    State(#[from] CodecError),
    /// The store holds states, and nobody said to add to them.
    #[error("the store already holds {n_states} customers: load an empty one, or say --append")]
    StoreNotEmpty {
        /// How many.
        n_states: u64,
    },
    /// There is no store.
    #[error("{}: there is no store", dir.display())]
    NoStore {
        /// Where none was found.
        dir: PathBuf,
    },
    /// The policy file cannot be read.
    #[error("{}: {source}", path.display())]
    PolicyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The command asks a server: `serve::call` does that.
    #[error("this is asked of a running server, not of files")]
    OfServer,
    /// The decision log cannot be read.
    #[error(transparent)]
    DecisionLog(#[from] DecisionLogError),
    /// The decision log holds nothing to judge by.
    #[error("the decision log in {} holds no decision that can be judged: {why}", dir.display())]
    NoDecisions {
        /// Where it lies.
        dir: PathBuf,
        /// What is missing.
        why: String,
    },
    /// The numbers cannot be worked out.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The policy has errors.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, by line.
        source: PolicyErrors,
    },
    /// Contracts were not fitted.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Opportunities were not fitted.
    #[error(transparent)]
    Opportunities(#[from] OpportunitiesError),
    /// No key was made, or the file of keys is not sound.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nobody was erased.
    #[error(transparent)]
    Erase(#[from] EraseError),
}

impl OpsError {
    /// The program's exit code: 75 where the store is in use, 1 where the system failed, 65
    /// where something is not as it should be.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Batch(error) => error.exit_code(),
            Self::Store(StoreError::AlreadyOpen { .. })
            | Self::DecisionLog(DecisionLogError::AlreadyOpen { .. }) => 75,
            Self::Store(StoreError::Io { .. } | StoreError::DiskFull { .. })
            | Self::Transfer(TransferError::Io { .. }) => 1,
            Self::PolicyFile { .. }
            | Self::Erase(EraseError::Read { .. })
            | Self::Contract(ContractError::Columns(ColumnsError::Open { .. }))
            | Self::Opportunities(OpportunitiesError::Columns(ColumnsError::Open { .. })) => 64,
            Self::Opportunities(OpportunitiesError::Write { .. })
            | Self::Keys(KeysError::Io { .. }) => 1,
            Self::Keys(KeysError::Taken { .. }) => 64,
            _ => REJECTED,
        }
    }
}

/// Does what is configured. `progress` is told now and then what is being done.
///
/// # Errors
/// [`OpsError`].
pub fn operate(
    config: &OpsConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    match &config.command {
        OpsCommand::BundleList { models, name } => list(models, name.as_deref()),
        OpsCommand::Bundle { task, models, model, alias } => {
            let found = Bundle::find(models, model)?;
            match task {
                OpsTask::BundleVerify => verify_bundle(&found),
                OpsTask::BundlePromote => promote(models, model, &found, alias),
                OpsTask::ActivitiesReport => {
                    let (text, json) = ops_activities::report(&found);
                    Ok(OpsOutcome::fine(text, json))
                }
                OpsTask::BundleReportPath => {
                    let path = found.folder.join("report.html");
                    Ok(OpsOutcome::fine(format!("{}\n", path.display()), json!({ "path": path })))
                }
                _ => Ok(show(&found)),
            }
        }
        OpsCommand::StoreLoad(load) => fill(load, progress),
        OpsCommand::Store { task, store, export: dir } => match task {
            OpsTask::StoreImport => {
                let manifest = import(&open(store)?, dir)?;
                Ok(moved("imported", &manifest))
            }
            OpsTask::StoreExport => {
                let manifest = export(&existing(store)?, ScanRange::All, dir)?;
                Ok(moved("exported", &manifest))
            }
            OpsTask::StoreVerify => verify_store(store),
            _ => stats(store),
        },
        // The program has fetched it.
        OpsCommand::Fetch(fetch) => Ok(moved("exported", &export_manifest(&fetch.out)?)),
        OpsCommand::Consistency(config) => consistency(config, progress),
        OpsCommand::StoreErase(config) => ops_erase::erase(config),
        OpsCommand::Stats(config) => ops_stats::stats(config, progress),
        OpsCommand::PolicyCheck { file } => check_policy(file),
        OpsCommand::DecisionsExport(config) => export_decisions(config),
        OpsCommand::Contract(config) => Ok(contract(config)?),
        OpsCommand::Opportunities(config) => Ok(opportunities(config)?),
        OpsCommand::PolicyRun { task, run } => match task {
            OpsTask::PolicyDiff => policy::diff(run, progress),
            OpsTask::PolicyExplain => policy::explain(run, progress),
            OpsTask::PolicyMoves => moves(run, progress),
            _ => policy::simulate(run, progress),
        },
        OpsCommand::ExperimentReport(report) => experiment::report(report, progress),
        OpsCommand::Explain(config) => super::explain::explain(config, progress),
        OpsCommand::Drift(config) => super::drift::drift(config, progress),
        OpsCommand::ExportOnnx { models, model, out } => {
            super::explain::export_onnx(&Bundle::find(models, model)?, out)
        }
        OpsCommand::Client(_) => Err(OpsError::OfServer),
        OpsCommand::Keys(config) => Ok(ops_keys::keys(config)?),
    }
}

pub(super) fn line(text: &mut String, label: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{label:<18}{value}");
}

fn list(models: &Path, name: Option<&str>) -> Result<OpsOutcome, OpsError> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => model_names(models)?,
    };
    let (mut text, mut rows, mut exit_code) = (String::new(), Vec::new(), 0);
    for name in names {
        let aliases = aliases(models, &name)?;
        for version in versions(models, &name)? {
            let held: Vec<&str> = aliases
                .iter()
                .filter(|(_, aliased)| **aliased == version)
                .map(|(alias, _)| alias.as_str())
                .collect();
            let selector = BundleSelector { name: name.clone(), version: version.clone() };
            let (said, row) = match Bundle::find(models, &selector) {
                Ok(found) => {
                    let m = &found.manifest;
                    let days = format!("{} and {} days", m.churn_horizon_days, m.clv_horizon_days);
                    let row = json!({
                        "name": name, "version": version, "aliases": held, "grade": m.grade,
                        "until": m.data_until, "customers": m.customers,
                        "churn_horizon_days": m.churn_horizon_days,
                        "clv_horizon_days": m.clv_horizon_days,
                    });
                    (format!("grade {}, until {}, {days}", m.grade, m.data_until), row)
                }
                Err(error) => {
                    exit_code = REJECTED;
                    let error = error.to_string();
                    let row = json!({ "name": name, "version": version, "error": &error });
                    (error, row)
                }
            };
            let _ = writeln!(text, "{name}@{version}  {said}  {}", held.join(" "));
            rows.push(row);
        }
    }
    if rows.is_empty() {
        let _ = writeln!(text, "no model in {}", models.display());
    }
    Ok(OpsOutcome { text, json: json!({ "bundles": rows }), exit_code })
}

fn show(found: &Bundle) -> OpsOutcome {
    let (m, metrics) = (&found.manifest, &found.metrics);
    let mut text = String::new();
    line(&mut text, "model", format_args!("{}@{}", m.name, found.version));
    line(&mut text, "folder", found.folder.display());
    line(&mut text, "grade", format_args!("{}: {}", m.grade, metrics["grade_reason"]));
    line(&mut text, "data", format_args!("{} .. {}", m.data_first, m.data_until));
    line(&mut text, "customers", format_args!("{}, {} events", m.customers, m.events));
    line(&mut text, "zone, currency", format_args!("{}, {}", m.timezone, m.currency));
    for (label, part, days) in
        [("churn", "churn", m.churn_horizon_days), ("value", "clv", m.clv_horizon_days)]
    {
        let champion = metrics[part]["champion"].as_str().unwrap_or("-");
        line(&mut text, label, format_args!("{champion}, {days} days"));
    }
    if let Ok(policy) = Policy::parse(&found.policy) {
        line(&mut text, "policy", format_args!("{} {}", policy.id().id, policy.id().version));
    }
    let manifest = serde_json::to_value(m).unwrap_or_default();
    OpsOutcome::fine(
        text,
        json!({ "version": found.version, "manifest": manifest, "metrics": metrics }),
    )
}

/// Reading the bundle has checked every digest already.
fn verify_bundle(found: &Bundle) -> Result<OpsOutcome, OpsError> {
    self_test(found)?;
    Policy::parse(&found.policy).map_err(ScoringError::from)?;
    let (files, examples) = (found.manifest.files.len(), found.n_examples());
    let text = format!(
        "{}@{} is sound: {files} files have their digests, {examples} examples score to the bit\n",
        found.manifest.name, found.version
    );
    let json = json!({
        "version": found.version, "files": files, "examples": examples, "sound": true,
    });
    Ok(OpsOutcome::fine(text, json))
}

fn promote(
    models: &Path,
    model: &BundleSelector,
    found: &Bundle,
    alias: &str,
) -> Result<OpsOutcome, OpsError> {
    self_test(found)?;
    let before = aliases(models, &model.name)?.get(alias).cloned();
    set_alias(models, &model.name, alias, &found.version)?;
    let was = before.as_deref().unwrap_or("none");
    let text = format!("{}@{alias} is {} (was {was})\n", model.name, found.version);
    Ok(OpsOutcome::fine(
        text,
        json!({ "name": model.name, "alias": alias, "version": found.version, "was": before }),
    ))
}

fn fill(
    config: &LoadConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    let counts = load(config, progress)?;
    let mut text = String::new();
    line(&mut text, "customers", counts.customers);
    line(&mut text, "events", format_args!("{} new, {} known", counts.new, counts.known));
    line(&mut text, "left out", format_args!("{} after the day", counts.after));
    Ok(OpsOutcome::fine(
        text,
        json!({
            "customers": counts.customers, "new": counts.new, "known": counts.known,
            "after": counts.after,
        }),
    ))
}

/// Opening makes a store where there is none; looking at one must not.
pub(super) fn existing(dir: &Path) -> Result<crate::store::SledStore, OpsError> {
    match dir.join("STORE").try_exists() {
        Ok(true) => open(dir),
        _ => Err(OpsError::NoStore { dir: dir.to_owned() }),
    }
}

fn moved(what: &str, manifest: &ExportManifestV1) -> OpsOutcome {
    let counts = &manifest.counts;
    let text = format!(
        "{what} {} customers and {} event ids as of commit {} (sha256 {})\n",
        counts.states, counts.dedupe, manifest.commit, manifest.sha256
    );
    OpsOutcome::fine(text, serde_json::to_value(manifest).unwrap_or_default())
}

fn verify_store(dir: &Path) -> Result<OpsOutcome, OpsError> {
    let report = existing(dir)?.verify()?;
    let mut text = String::new();
    line(
        &mut text,
        "customers",
        format_args!("{} of {}", report.n_states, report.n_states_expected),
    );
    line(&mut text, "event ids", report.n_dedupe);
    line(&mut text, "state bytes", report.state_bytes);
    line(&mut text, "unreadable", report.n_issues);
    for issue in &report.issues {
        let _ = writeln!(text, "  {}: {}", issue.key_hex, issue.problem);
    }
    let issues: Vec<Value> = report
        .issues
        .iter()
        .map(|issue| json!({ "key": issue.key_hex, "problem": issue.problem }))
        .collect();
    let json = json!({
        "customers": report.n_states, "customers_expected": report.n_states_expected,
        "event_ids": report.n_dedupe, "state_bytes": report.state_bytes,
        "unreadable": report.n_issues, "issues": issues, "clean": report.is_clean(),
    });
    let exit_code = if report.is_clean() { 0 } else { REJECTED };
    Ok(OpsOutcome { text, json, exit_code })
}

fn stats(dir: &Path) -> Result<OpsOutcome, OpsError> {
    let store = existing(dir)?;
    let (customers, bytes) = (store.count()?, store.disk_bytes()?);
    let (commit, mut pinned) = (store.last_commit().seq(), store.pinned()?);
    let watermarks = store.watermarks()?;
    // Whoever knows the salt can work out who is held out.
    if let Some(salt) = pinned.get_mut("salt") {
        *salt = format!("({} characters)", salt.len());
    }
    let mut text = String::new();
    line(&mut text, "customers", customers);
    line(&mut text, "bytes on disk", bytes);
    line(&mut text, "last commit", commit);
    for (name, fact) in &pinned {
        line(&mut text, name, fact);
    }
    for (source, position) in &watermarks {
        line(&mut text, "read up to", format_args!("{position} of {source}"));
    }
    let json = json!({
        "customers": customers, "disk_bytes": bytes, "last_commit": commit, "pinned": pinned,
        "watermarks": watermarks,
    });
    Ok(OpsOutcome::fine(text, json))
}

pub(super) fn read_policy(path: &Path) -> Result<Policy, OpsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| OpsError::PolicyFile { path: path.to_owned(), source })?;
    Policy::parse(&text).map_err(|source| OpsError::Policy { path: path.to_owned(), source })
}

fn check_policy(path: &Path) -> Result<OpsOutcome, OpsError> {
    let policy = read_policy(path)?;
    let id = policy.id();
    let hash: String = id.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let counts = [policy.campaigns().len(), policy.segments().count(), policy.overrides().count()];
    let [campaigns, segments, overrides] = counts;
    let mut said = String::new();
    line(&mut said, "policy", format_args!("{} {}", id.id, id.version));
    line(&mut said, "hash", &hash);
    line(&mut said, "campaigns", campaigns);
    line(&mut said, "segments", segments);
    line(&mut said, "overrides", overrides);
    Ok(OpsOutcome::fine(
        said,
        json!({
            "id": id.id, "version": id.version, "hash": hash, "campaigns": campaigns,
            "segments": segments, "overrides": overrides,
        }),
    ))
}
