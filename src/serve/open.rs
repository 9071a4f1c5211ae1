//! From a configuration to what a server serves with: the bundle is read and tried, the store is
//! opened and held against it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::Parts;
use super::clock::Clock;
use crate::bundle;
use crate::bundle::{Bundle, BundleError, BundleKind, BundleSelector, TrafficV1};
use crate::config::{ServeConfig, StoreDurability};
use crate::decision::{Policy, PolicyErrors};
use crate::domain::{AsOf, CustomerId, Timestamp};
use crate::events::RawValue;
use crate::history::History;
use crate::scoring;
use crate::scoring::{Engine, ScoringError};
use crate::store::{
    DecisionLog, DecisionLogError, Durability, MemoryStore, SledOptions, SledStore, StateStore,
    StoreError,
};

/// Why a server cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The policy file cannot be read.
    #[error("{}: {source}", path.display())]
    PolicyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The policy has errors.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PolicyErrors,
    },
    /// The bundle does not score as it should, or does not fit its policy.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// The model keeps histories, and no place for them was named.
    #[error(
        "model version {version} scores histories: name the directory of its store (--store DIR)"
    )]
    NoStore {
        /// The bundle.
        version: String,
    },
    /// One scores histories, the other rows of a table.
    #[error(
        "model version {version} scores other things (histories, or rows of a table) than the one \
         that serves: start the server anew with it"
    )]
    OtherKind {
        /// The bundle.
        version: String,
    },
    /// The traffic policy names a version that is not loaded.
    #[error("the arms of the traffic policy: {what}")]
    Arms {
        /// Which.
        what: String,
    },
    /// The store cannot be opened, or belongs to another business.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address for probes and metrics cannot be used.
    #[error("listen for probes and metrics on {address}: {source}")]
    AdminListen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The decision log cannot be opened.
    #[error(transparent)]
    DecisionLog(#[from] DecisionLogError),
}

impl OpenError {
    /// The exit code of a program that ends with it: 75 where trying again later may help, since
    /// somebody else has the store open; else 65.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreError::AlreadyOpen { .. })
            | Self::AdminListen { .. }
            | Self::DecisionLog(DecisionLogError::AlreadyOpen { .. }) => 75,
            Self::NoStore { .. } => 64,
            _ => 65,
        }
    }
}

/// Opens everything that the configuration names. The bundle's own examples must score to the
/// bit, and time zone and currency of the store must be the bundle's.
///
/// # Errors
/// [`OpenError`]; nothing is left locked.
pub fn open(config: &ServeConfig) -> Result<Parts, OpenError> {
    // An alias that a change of the traffic policy was about to move when a crash came.
    TrafficV1::finish_move(&config.models, &config.model.name, &config.model.version)?;
    let found = Bundle::find(&config.models, &config.model)?;
    scoring::self_test(&found)?;
    let policy = policy_in_place(config)?;
    let durability = match config.durability {
        StoreDurability::Memory => Durability::Memory,
        StoreDurability::Process => Durability::Process,
        StoreDurability::Disk => Durability::Disk,
    };
    let options = SledOptions { durability, ..SledOptions::default() };
    let store: Arc<dyn StateStore> = match (&config.store, found.manifest.kind) {
        (Some(path), _) => {
            let (store, report) = SledStore::open(path, &options)?;
            for path in &report.removed {
                let path = path.display();
                tracing::warn!(%path, "removed what a killed process left half-written");
            }
            Arc::new(store)
        }
        // Rows of a table come with each request: nothing is kept.
        (None, BundleKind::Table) => Arc::new(MemoryStore::default()),
        (None, BundleKind::Log) => {
            return Err(OpenError::NoStore { version: found.version });
        }
    };
    // The salt lies beside the models, so that the batch job draws the same control groups; a
    // store that was served with another one belongs to another installation.
    let salt = bundle::installation_salt(&config.models)?;
    store.pin(&bundle::store_facts(&found.manifest, &salt))?;
    let engine = Engine::try_new(found, policy, Some(&salt))?;
    for note in note_experiments(config, &engine)? {
        tracing::warn!("{note}");
    }
    let decisions = match &config.decision_log {
        Some(dir) => {
            let (log, report) = DecisionLog::open(dir, config.decision_log_spec)?;
            if report.torn_bytes > 0 {
                tracing::warn!(report.torn_bytes, "cut off a decision that a crash had torn");
            }
            Some(log)
        }
        None => None,
    };
    let admin = config.guard.admin_listen.map(|address| {
        TcpListener::bind(address).map_err(|source| OpenError::AdminListen { address, source })
    });
    let (clock, admin) = (Clock::system(), admin.transpose()?);
    Ok(Parts { engine: Arc::new(engine), store, clock, decisions, admin })
}

/// Reads a version of the served model beside the one that serves, tries it, makes an engine of
/// it, and has it answer once, so that the first caller finds it warm.
///
/// # Errors
/// [`OpenError`]; whatever is wrong with it, what serves is as it was.
pub(super) fn load_version(
    config: &ServeConfig,
    store: &dyn StateStore,
    version: &str,
) -> Result<Engine, OpenError> {
    let (name, version) = (config.model.name.clone(), version.to_owned());
    let found = Bundle::find(&config.models, &BundleSelector { name, version: version.clone() })?;
    if found.version != version {
        // An alias in the place of a version.
        let (name, found) = (config.model.name.clone(), found.version);
        return Err(BundleError::NoVersion { name, selector: version, found }.into());
    }
    let policy = policy_in_place(config)?;
    scoring::self_test(&found)?;
    let salt = bundle::installation_salt(&config.models)?;
    store.pin(&bundle::store_facts(&found.manifest, &salt))?;
    let engine = Engine::try_new(found, policy, Some(&salt))?;
    for note in note_experiments(config, &engine)? {
        tracing::warn!("{note}");
    }
    warm(&engine);
    Ok(engine)
}

/// Asks for a customer of whom nothing is known and for the reasons: what the engine makes at the
/// first question is then made.
fn warm(engine: &Engine) {
    let Ok(nobody) = CustomerId::try_new("-") else { return };
    let as_of = AsOf::at(Timestamp::from_micros(0), engine.zone());
    if let Some(inputs) = engine.table_inputs() {
        let cells = vec![RawValue::Missing; inputs.len()];
        // A column that must not be missing is no fault here.
        let _ = engine.answer_row(&nobody, &cells, as_of, false);
        let _ = engine.row_reasons(&cells, 1);
    } else {
        let history = History::default();
        let _ = engine.answer(&nobody, &history, as_of, false);
        let _ = engine.reasons(&history, as_of, 1);
    }
}

/// The policy that the configuration puts in the place of every version's own.
pub(super) fn policy_in_place(config: &ServeConfig) -> Result<Option<Policy>, OpenError> {
    config.policy.as_ref().map(read_policy).transpose()
}

/// Holds the experiments against those that ran before.
fn note_experiments(config: &ServeConfig, engine: &Engine) -> Result<Vec<String>, BundleError> {
    let setups = engine.experiments();
    let setups = setups.iter().map(|one| [&*one.name, &*one.fingerprint, &*one.arms]);
    bundle::note_experiments(&config.models, &setups.collect::<Vec<_>>())
}

fn read_policy(path: &PathBuf) -> Result<Policy, OpenError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| OpenError::PolicyFile { path: path.clone(), source })?;
    Policy::parse(&text).map_err(|source| OpenError::Policy { path: path.clone(), source })
}
