//! `tenure-ops consistency`: are the stored states what the log says they should be?
//!
//! In: an export of states, the log of all events that were acknowledged, a bundle. Out: how many
//! customers, all of them or a sample by a hash of their ids, have the very state that folding
//! their events anew gives, and who has not, with examples; 0 is right. Customers are `missing`
//! whose events are in the log alone, `extra` who are in the store alone, and `mismatched` whose
//! states differ. Not held against anybody: an event so late that its copy could not be told apart
//! any more, if all scores agree (`late`), and events after the day to which the log is complete
//! (`ahead`).
//!
//! The log is gathered in bounded memory; of each stored customer that is compared some hundred
//! bytes are held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde_json::json;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::base::{check_pins, folded};
use super::clock::Pace;
use super::error::BatchError;
use super::gather::{Gathering, until};
use super::ops::{OpsError, OpsOutcome, REJECTED, line};
use crate::bundle::{Bundle, installation_salt, store_facts};
use crate::config::{ConsistencyConfig, LogDefaults};
use crate::domain::{AsOf, CustomerId};
use crate::events::{EventReader, Part, Parts};
use crate::history::History;
use crate::scoring::{Answer, Engine, ScoringError};
use crate::store::each_state;

/// Tells this draw of customers from all others.
const SEED: u64 = 0x636f_6e73_6973_7465;
/// 2^64.
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;
/// Examples shown of each fault.
const EXAMPLES_MAX: usize = 10;
/// Differing states that are looked at more closely.
const CLOSER_MAX: usize = 100_000;

/// Whether a customer is compared.
fn is_sampled(id: &str, share: f64) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "53 of 64 bits are far more than shares need")]
    let place = xxh3_64_with_seed(id.as_bytes(), SEED) as f64 / TWO_POW_64;
    share >= 1.0 || place < share
}

/// A stored customer.
struct Stored {
    digest: u128,
    /// Has events after the day to which the log is complete.
    is_ahead: bool,
    /// Is in the log as well.
    is_in_log: AtomicBool,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    compared: u64,
    equal: u64,
    ahead: u64,
    late: u64,
    scores_differ: u64,
    missing: Vec<String>,
    extra: Vec<String>,
    mismatched: Vec<String>,
}

impl Found {
    fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.mismatched.is_empty()
    }

    fn outcome(mut self) -> OpsOutcome {
        let mut text = String::new();
        line(&mut text, "compared", self.compared);
        line(&mut text, "equal", self.equal);
        line(&mut text, "late", self.late);
        line(&mut text, "ahead of the log", self.ahead);
        let mut said = json!({
            "compared": self.compared, "equal": self.equal, "late": self.late,
            "ahead": self.ahead, "scores_differ": self.scores_differ,
            "consistent": self.is_clean(),
        });
        let exit_code = if self.is_clean() { 0 } else { REJECTED };
        let faults = [
            ("mismatched", &mut self.mismatched),
            ("missing", &mut self.missing),
            ("extra", &mut self.extra),
        ];
        for (name, customers) in faults {
            customers.sort_unstable();
            let examples = &customers[..customers.len().min(EXAMPLES_MAX)];
            let shown = match examples {
                [] => "0".to_owned(),
                _ => format!("{}, such as {}", customers.len(), examples.join(", ")),
            };
            line(&mut text, name, shown);
            said[name] = json!({ "customers": customers.len(), "examples": examples });
        }
        line(&mut text, "scores differ", self.scores_differ);
        OpsOutcome { text, json: said, exit_code }
    }
}

/// Compares as configured.
pub(super) fn consistency(
    config: &ConsistencyConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<OpsOutcome, OpsError> {
    progress("reading the model");
    let bundle = Bundle::find(&config.models, &config.model)?;
    if bundle.predictor().is_none() {
        return Err(ScoringError::TableBundle { version: bundle.version }.into());
    }
    let salt = installation_salt(&config.models)?;
    check_pins(&config.states, &store_facts(&bundle.manifest, &salt))?;
    let engine = Engine::try_new(bundle, None, Some(&salt))?;
    let before = until(config.as_of, engine.zone());
    progress("reading the states");
    let stored = read_states(config, before)?;
    let gathering = Gathering::make(&config.states, config.work_dir.as_deref(), "consistency")?;
    let business = LogDefaults { zone: engine.zone().clone(), currency: engine.currency() };
    let parts = gathering.read((&config.log, &business), before, config.memory_mb, progress)?;
    let mut found = Found::default();
    let differing = compare(config, &parts, (&stored, before), &mut found, progress)?;
    for (customer, held) in stored {
        if held.is_ahead {
            found.ahead += 1;
        } else if !held.is_in_log.into_inner() {
            found.extra.push(customer.as_str().to_owned());
        }
    }
    look_closer(config, (&engine, before), differing, &mut found)?;
    Ok(found.outcome())
}

fn read_states(
    config: &ConsistencyConfig,
    before: AsOf,
) -> Result<BTreeMap<CustomerId, Stored>, OpsError> {
    let mut stored = BTreeMap::new();
    let mut failed = None;
    each_state(&config.states, &mut |customer, state| {
        if !is_sampled(customer.as_str(), config.sample) {
            return true;
        }
        match History::from_bytes(&state.bytes) {
            Ok(history) => {
                let is_ahead = history.newest().is_some_and(|newest| newest >= before.instant());
                let (digest, is_in_log) = (xxh3_128(&state.bytes), AtomicBool::new(false));
                stored.insert(customer, Stored { digest, is_ahead, is_in_log });
            }
            Err(source) => {
                let customer = customer.as_str().to_owned();
                failed = Some(BatchError::State { customer, source });
            }
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(stored), |error| Err(error.into()))
}

/// What was found in one part, and the states that differ from the stored ones.
#[derive(Default)]
struct OfPart {
    compared: u64,
    equal: u64,
    missing: Vec<String>,
    differing: Vec<(CustomerId, Vec<u8>)>,
}

/// Folds the log anew and holds it against what is stored; answers the states that differ.
fn compare(
    config: &ConsistencyConfig,
    parts: &Parts,
    (stored, before): (&BTreeMap<CustomerId, Stored>, AsOf),
    found: &mut Found,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<BTreeMap<CustomerId, Vec<u8>>, OpsError> {
    let pace = Pace::new(parts.n_parts() as u64, progress);
    let n_open = parts.n_open_max().min(rayon::current_num_threads()).max(1);
    let places: Vec<usize> = (0..parts.n_parts()).collect();
    let mut differing = BTreeMap::new();
    for window in places.chunks(n_open) {
        let of_parts: Vec<OfPart> = window
            .par_iter()
            .map(|at| compare_part(config, &parts.open(*at)?, (stored, before)))
            .collect::<Result<_, BatchError>>()?;
        for of_part in of_parts {
            found.compared += of_part.compared;
            found.equal += of_part.equal;
            found.missing.extend(of_part.missing);
            for (customer, bytes) in of_part.differing {
                if differing.len() < CLOSER_MAX {
                    differing.insert(customer, bytes);
                } else {
                    found.mismatched.push(customer.as_str().to_owned());
                }
            }
        }
        pace.step(window.len() as u64, |done, all| format!("{done} of {all} parts compared"));
    }
    Ok(differing)
}

fn compare_part(
    config: &ConsistencyConfig,
    part: &Part,
    (stored, before): (&BTreeMap<CustomerId, Stored>, AsOf),
) -> Result<OfPart, BatchError> {
    let (mut reader, mut of_part) = (EventReader::default(), OfPart::default());
    for place in 0..part.n_customers() {
        // Without an event before the instant there is nothing to hold against anything.
        let is_later = part.newest(place).is_none_or(|newest| newest >= before.instant());
        if is_later || !is_sampled(part.id(place), config.sample) {
            continue;
        }
        let (customer, history) = folded(part, place, &mut reader)?;
        let Some(held) = stored.get(&customer) else {
            of_part.compared += 1;
            of_part.missing.push(customer.as_str().to_owned());
            continue;
        };
        held.is_in_log.store(true, Ordering::Relaxed);
        if held.is_ahead {
            continue;
        }
        of_part.compared += 1;
        let bytes = history.to_bytes();
        if xxh3_128(&bytes) == held.digest {
            of_part.equal += 1;
        } else {
            of_part.differing.push((customer, bytes));
        }
    }
    Ok(of_part)
}

/// Looks at states that differ: whether a score does, and whether a late event explains it.
fn look_closer(
    config: &ConsistencyConfig,
    (engine, before): (&Engine, AsOf),
    differing: BTreeMap<CustomerId, Vec<u8>>,
    found: &mut Found,
) -> Result<(), OpsError> {
    if differing.is_empty() {
        return Ok(());
    }
    let mut failed = None;
    each_state(&config.states, &mut |customer, state| {
        let Some(folded) = differing.get(&customer) else { return true };
        let looked = (|| -> Result<(), OpsError> {
            let (stored, folded) =
                (History::from_bytes(&state.bytes)?, History::from_bytes(folded)?);
            let scores =
                [&stored, &folded].map(|history| engine.answer(&customer, history, before, false));
            let is_same = match &scores {
                [Ok(stored), Ok(folded)] => is_same_answer(stored, folded),
                _ => false,
            };
            found.scores_differ += u64::from(!is_same);
            if is_same && stored.n_late() > 0 {
                found.late += 1;
            } else {
                found.mismatched.push(customer.as_str().to_owned());
            }
            Ok(())
        })();
        failed = looked.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)
}

/// Whether two answers say the same, to the bit.
fn is_same_answer(one: &Answer<'_>, other: &Answer<'_>) -> bool {
    let numbers = |answer: &Answer<'_>| {
        let clv = answer.score.clv.as_ref().map(|clv| clv.mean.to_bits());
        (answer.score.churn_prob.map(f64::to_bits), clv)
    };
    let (a, b) = (&one.decision, &other.decision);
    numbers(one) == numbers(other)
        && (a.tier, a.segment, a.campaign_id()) == (b.tier, b.segment, b.campaign_id())
}
