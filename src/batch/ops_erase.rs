//! `tenure-ops store erase`: customers erased from what lies on disk.
//!
//! In: a file of ids, and an export, a decision log or the store of a server that has ended. Out:
//! the same without them, and what went. It may be repeated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use super::ops::{OpsError, OpsOutcome, existing, line};
use crate::config::EraseConfig;
use crate::domain::{CustomerId, IdError};
use crate::scoring::LinesOf;
use crate::store::{DecisionLog, DecisionLogSpec, StateStore, erase_from_export};

/// Why nobody was erased.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EraseError {
    /// The file of ids cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is no id.
    #[error("{}: line {line}: {source}", path.display())]
    Id {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        source: IdError,
    },
    /// The file names nobody.
    #[error("{}: no customer is named in it, one a line is wanted", path.display())]
    Nobody {
        /// The file.
        path: PathBuf,
    },
}

/// Erases as configured.
pub(super) fn erase(config: &EraseConfig) -> Result<OpsOutcome, OpsError> {
    let gone = read_ids(&config.customers)?;
    let mut text = String::new();
    line(&mut text, "customers", gone.len());
    let mut said = json!({ "customers": gone.len() });
    if let Some(dir) = &config.store {
        let (store, mut n_states, mut n_dedupe) = (existing(dir)?, 0_u64, 0);
        for customer in &gone {
            let erased = store.delete(customer)?;
            n_states += u64::from(erased.had_state);
            n_dedupe += erased.n_dedupe;
        }
        line(&mut text, "from the store", format_args!("{n_states}, {n_dedupe} event ids"));
        said["store"] = json!({ "states": n_states, "event_ids": n_dedupe });
    }
    if let Some(dir) = &config.export {
        let erased = erase_from_export(dir, &gone)?;
        let (n_states, n_dedupe) = (erased.n_states, erased.n_dedupe);
        line(&mut text, "from the export", format_args!("{n_states}, {n_dedupe} event ids"));
        said["export"] = json!({ "states": n_states, "event_ids": n_dedupe });
    }
    if let Some(dir) = &config.decisions {
        let (log, _) = DecisionLog::open(dir, DecisionLogSpec::default())?;
        let mut lines = LinesOf::of_all(&gone);
        log.erase(false, &mut |line| lines.picks(line))?;
        let (n_decisions, n_outcomes) = (lines.n_decisions, lines.n_outcomes);
        let counts = format_args!("{n_decisions} decisions, {n_outcomes} outcomes");
        line(&mut text, "from the log", counts);
        said["decisions"] = json!({ "decisions": n_decisions, "outcomes": n_outcomes });
    }
    Ok(OpsOutcome::fine(text, said))
}

/// Ids, one a line, as they are: blanks belong to them.
fn read_ids(path: &Path) -> Result<BTreeSet<CustomerId>, EraseError> {
    let path = path.to_owned();
    let text = std::fs::read_to_string(&path)
        .map_err(|source| EraseError::Read { path: path.clone(), source })?;
    let mut gone = BTreeSet::new();
    for (idx, id) in text.lines().enumerate().filter(|(_, id)| !id.is_empty()) {
        let customer = CustomerId::try_new(id);
        gone.insert(customer.map_err(|source| EraseError::Id {
            path: path.clone(),
            line: idx + 1,
            source,
        })?);
    }
    if gone.is_empty() { Err(EraseError::Nobody { path }) } else { Ok(gone) }
}
