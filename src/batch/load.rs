//! A log into a store: what the server would hold, had it been told every event.
//!
//! In: a log, the bundle whose business it is, a store. Out: a state for every customer with the
//! ids of the events in it, in commits that each keep both together (S-1): a load that was cut
//! off is taken up again with `append`.

use std::path::Path;

use crate::bundle::{Bundle, ManifestV1, installation_salt, store_facts};
use crate::config::{LoadConfig, LogDefaults};
use crate::domain::{AsOf, Currency, CustomerId, Timestamp, Zone};
use crate::events::{CustomerLog, Event, Log};
use crate::history::History;
use crate::store::{BATCH_OPS_MAX, Batch, Put, SledOptions, SledStore, StateStore};

use super::clock::now;
use super::ops::OpsError;
use super::run::read_log;

/// Events folded and remembered in one commit; with the states they stay within a batch.
const COMMIT_EVENTS: usize = BATCH_OPS_MAX / 2;
/// What the rules of reading let an event lie ahead, and one microsecond: nothing is cut off.
const AHEAD_MICROS: i64 = 86_400_000_001;

/// What a load did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LoadCounts {
    /// Customers with at least one new event.
    pub(super) customers: u64,
    /// Events folded in.
    pub(super) new: u64,
    /// Events that the store knew.
    pub(super) known: u64,
    /// Events left out because they lie after the day asked for.
    pub(super) after: u64,
}

/// Loads as configured.
pub(super) fn load(
    config: &LoadConfig,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<LoadCounts, OpsError> {
    progress("reading the model");
    let bundle = Bundle::find(&config.models, &config.model)?;
    if bundle.predictor().is_none() {
        let version = bundle.version;
        return Err(crate::scoring::ScoringError::TableBundle { version }.into());
    }
    let manifest = &bundle.manifest;
    let defaults = business(manifest)?;
    let before = match config.as_of {
        Some(day) => AsOf::end_of(day, &defaults.zone),
        None => {
            let end = now().micros().saturating_add(AHEAD_MICROS);
            AsOf::at(Timestamp::from_micros(end), &defaults.zone)
        }
    };
    let log = read_log(&config.log, &defaults, before, progress)?;
    progress("opening the store");
    let store = open(&config.store)?;
    let n_states = store.count()?;
    if n_states > 0 && !config.append {
        return Err(OpsError::StoreNotEmpty { n_states });
    }
    let salt = installation_salt(&config.models)?;
    store.pin(&store_facts(manifest, &salt))?;
    let counts = fill(&store, &log, progress)?;
    Ok(LoadCounts { after: log.n_after, ..counts })
}

/// Time zone and currency of a bundle's business.
fn business(manifest: &ManifestV1) -> Result<LogDefaults, OpsError> {
    use crate::scoring::ScoringError;

    let zone = Zone::try_new(&manifest.timezone).map_err(ScoringError::from)?;
    let currency = Currency::try_new(&manifest.currency).map_err(ScoringError::from)?;
    Ok(LogDefaults { zone, currency })
}

pub(super) fn open(dir: &Path) -> Result<SledStore, OpsError> {
    let (store, _) = SledStore::open(dir, &SledOptions::default())?;
    Ok(store)
}

/// Folds a log into a store, a commit's worth after the other.
pub(super) fn fill(
    store: &dyn StateStore,
    log: &Log,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<LoadCounts, OpsError> {
    let mut counts = LoadCounts::default();
    let mut batch = Batch::default();
    let is_empty = store.count()? == 0;
    for (idx, CustomerLog { customer, events }) in log.customers.iter().enumerate() {
        let fresh =
            if is_empty { events.iter().collect() } else { unknown(store, customer, events)? };
        counts.known += (events.len() - fresh.len()) as u64;
        counts.new += fresh.len() as u64;
        counts.customers += u64::from(!fresh.is_empty());
        let mut held = if is_empty || fresh.is_empty() { None } else { store.get(customer)? };
        // The parts of one customer go into commits of their own: a batch has each once.
        for (n_part, part) in fresh.chunks(COMMIT_EVENTS).enumerate() {
            if n_part > 0 || batch.dedupe.len() + part.len() > COMMIT_EVENTS {
                store.commit(std::mem::take(&mut batch))?;
                progress(&format!("{idx} of {} customers loaded", log.customers.len()));
            }
            if n_part > 0 {
                held = store.get(customer)?;
            }
            let (mut history, version) = match &held {
                Some(state) => (History::from_bytes(&state.bytes)?, state.version),
                None => (History::default(), 0),
            };
            for event in part {
                history.apply(event);
                batch.dedupe.push((customer.clone(), event.id));
            }
            let (customer, bytes) = (customer.clone(), history.to_bytes());
            batch.puts.push(Put { customer, expected_version: Some(version), bytes });
        }
    }
    if !batch.puts.is_empty() {
        store.commit(batch)?;
    }
    Ok(counts)
}

/// The events that the store does not know.
fn unknown<'e>(
    store: &dyn StateStore,
    customer: &CustomerId,
    events: &'e [Event],
) -> Result<Vec<&'e Event>, OpsError> {
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        if !store.contains(customer, event.id)? {
            fresh.push(event);
        }
    }
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Zone;
    use crate::events::{LogSpec, ReadSpec, Rules};
    use crate::store::MemoryStore;

    fn log(rows: usize, customers: usize) -> Log {
        use std::fmt::Write;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.csv");
        let mut text = "customer_id,date,amount\n".to_owned();
        for row in 0..rows {
            let (who, day) = (row % customers, 1 + row / customers % 28);
            writeln!(text, "c{who},2026-01-{day:02} 10:{:02},{}.5", row % 60, row % 7).unwrap();
        }
        std::fs::write(&path, text).unwrap();
        let far = AsOf::end_of(crate::domain::Day::parse("2030-01-01").unwrap(), &Zone::UTC);
        let (read, rules) = (ReadSpec::default(), Rules::default());
        let spec = LogSpec { events: vec![path], profiles: None, read, rules, before: far };
        Log::read(&spec, &mut |_| {}).unwrap()
    }

    #[test]
    fn a_load_is_what_the_fold_gives_and_a_second_one_changes_nothing() {
        // One customer has more events than a commit takes, and many have few.
        for (rows, customers) in [(25_000, 1), (30_000, 999)] {
            let (log, store) = (log(rows, customers), MemoryStore::new());
            let counts = fill(&store, &log, &mut |_| {}).unwrap();
            assert_eq!((counts.new, counts.known), (rows as u64, 0));
            assert_eq!(counts.customers, customers as u64);
            for CustomerLog { customer, events } in &log.customers {
                let mut history = History::default();
                for event in events {
                    history.apply(event);
                    assert!(store.contains(customer, event.id).unwrap());
                }
                assert_eq!(store.get(customer).unwrap().unwrap().bytes, history.to_bytes());
            }
            let commit = store.last_commit();
            let again = fill(&store, &log, &mut |_| {}).unwrap();
            assert_eq!((again.new, again.known), (0, rows as u64));
            assert_eq!(store.last_commit(), commit);
        }
    }
}
