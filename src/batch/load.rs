//! A log into a store: what the server would hold, had it been told every event.
//!
//! In: a log, the bundle whose business it is, a store. Out: a state for every customer with the
//! ids of the events in it, in commits that each keep both together (S-1): a load that was cut
//! off is taken up again with `append`. The log is gathered by customer in bounded memory and
//! folded side by side; one thread commits, in the order of the store's keys.

use std::path::Path;

use rayon::prelude::*;

use crate::bundle::{Bundle, ManifestV1, installation_salt, store_facts};
use crate::config::{LoadConfig, LogDefaults};
use crate::domain::{Currency, CustomerId, Day, EventId, Zone};
use crate::events::{Event, EventReader, Parts};
use crate::history::History;
use crate::store::{BATCH_OPS_MAX, Batch, Put, SledOptions, SledStore, StateStore, shard_of};

use super::clock::Pace;
use super::error::BatchError;
use super::gather::{Gathering, until};
use super::ops::OpsError;

/// Events folded and remembered in one commit; with the states they stay within a batch.
const COMMIT_EVENTS: usize = BATCH_OPS_MAX / 2;
/// States in one commit.
const COMMIT_STATES: usize = BATCH_OPS_MAX / 4;

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
    let before = until(config.as_of, &defaults.zone);
    let gathering = Gathering::make(&config.store, config.work_dir.as_deref(), "load")?;
    let log = (&config.log, &defaults);
    let parts = gathering.read(log, before, config.memory_mb, progress)?;
    progress("opening the store");
    let store = open(&config.store)?;
    let n_states = store.count()?;
    if n_states > 0 && !config.append {
        return Err(OpsError::StoreNotEmpty { n_states });
    }
    let salt = installation_salt(&config.models)?;
    store.pin(&store_facts(manifest, &salt))?;
    fill(&store, &parts, config.ids_since, progress)
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

/// A customer of a part, on the way into a store.
struct Folded {
    customer: CustomerId,
    n_events: usize,
    what: What,
}

enum What {
    /// Nobody knows the customer yet: the state, and the ids to remember.
    New(Vec<u8>, Vec<EventId>),
    /// There may be a state to fold into, or there is more than a commit takes.
    Events(Vec<Event>),
}

/// Folds one part; the customers in the order of the store's keys.
fn folded(
    parts: &Parts,
    at: usize,
    (is_empty, ids_since): (bool, Option<Day>),
) -> Result<(Vec<Folded>, u64), BatchError> {
    let (part, mut reader) = (parts.open(at)?, EventReader::default());
    let mut all = Vec::with_capacity(part.n_customers());
    for place in 0..part.n_customers() {
        let n_events = part.n_events(place);
        if is_empty && n_events <= COMMIT_EVENTS {
            let (mut history, mut ids) = (History::default(), Vec::with_capacity(n_events));
            let customer = part.visit(place, &mut reader, &mut |event| {
                history.apply(&event);
                if is_remembered(&event, ids_since) {
                    ids.push(event.id);
                }
            })?;
            all.push(Folded { customer, n_events, what: What::New(history.to_bytes(), ids) });
        } else {
            let mut events = Vec::with_capacity(n_events);
            let customer = part.visit(place, &mut reader, &mut |event| events.push(event))?;
            all.push(Folded { customer, n_events, what: What::Events(events) });
        }
    }
    all.sort_unstable_by(|a, b| {
        let key = |one: &Folded| shard_of(&one.customer);
        key(a).cmp(&key(b)).then_with(|| a.customer.cmp(&b.customer))
    });
    Ok((all, part.counts().n_after))
}

fn is_remembered(event: &Event, since: Option<Day>) -> bool {
    since.is_none_or(|since| event.day >= since)
}

/// Folds a log into a store, a commit's worth after the other.
pub(super) fn fill(
    store: &dyn StateStore,
    parts: &Parts,
    ids_since: Option<Day>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<LoadCounts, OpsError> {
    let is_empty = store.count()? == 0;
    let mut filling =
        Filling { store, ids_since, counts: LoadCounts::default(), batch: Batch::default() };
    let pace = Pace::new(parts.n_parts() as u64, progress);
    let n_open = parts.n_open_max().min(rayon::current_num_threads()).max(1);
    let places: Vec<usize> = (0..parts.n_parts()).collect();
    // The next parts are folded while the last ones are committed.
    let fold = |places: &[usize]| -> Result<Vec<(Vec<Folded>, u64)>, BatchError> {
        places.par_iter().map(|at| folded(parts, *at, (is_empty, ids_since))).collect()
    };
    let mut ready = Vec::new();
    for window in places.chunks(n_open) {
        let (done, next) =
            rayon::join(|| filling.take(std::mem::take(&mut ready)), || fold(window));
        done?;
        ready = next?;
        pace.step(window.len() as u64, |done, all| format!("{done} of {all} parts folded"));
    }
    filling.take(ready)?;
    filling.commit()?;
    Ok(filling.counts)
}

/// A store that is filled.
struct Filling<'s> {
    store: &'s dyn StateStore,
    ids_since: Option<Day>,
    counts: LoadCounts,
    batch: Batch,
}

impl Filling<'_> {
    fn commit(&mut self) -> Result<(), OpsError> {
        if !self.batch.puts.is_empty() {
            self.store.commit(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn take(&mut self, parts: Vec<(Vec<Folded>, u64)>) -> Result<(), OpsError> {
        for (customers, n_after) in parts {
            self.counts.after += n_after;
            for Folded { customer, n_events, what } in customers {
                match what {
                    What::New(bytes, ids) => self.put(customer, n_events, bytes, ids)?,
                    What::Events(events) => self.add(&customer, &events)?,
                }
            }
        }
        Ok(())
    }

    /// Makes room for the state and so many ids.
    fn make_room(&mut self, n_ids: usize) -> Result<(), OpsError> {
        let is_full = self.batch.dedupe.len() + n_ids > COMMIT_EVENTS
            || self.batch.puts.len() >= COMMIT_STATES;
        if is_full { self.commit() } else { Ok(()) }
    }

    fn put(
        &mut self,
        customer: CustomerId,
        n_events: usize,
        bytes: Vec<u8>,
        ids: Vec<EventId>,
    ) -> Result<(), OpsError> {
        self.make_room(ids.len())?;
        self.counts.customers += 1;
        self.counts.new += n_events as u64;
        self.batch.dedupe.extend(ids.into_iter().map(|id| (customer.clone(), id)));
        self.batch.puts.push(Put { customer, expected_version: Some(0), bytes });
        Ok(())
    }

    /// Folds events into what is there.
    fn add(&mut self, customer: &CustomerId, events: &[Event]) -> Result<(), OpsError> {
        let fresh = unknown(self.store, customer, events)?;
        self.counts.known += (events.len() - fresh.len()) as u64;
        self.counts.new += fresh.len() as u64;
        self.counts.customers += u64::from(!fresh.is_empty());
        // The parts of one customer go into commits of their own: a batch has each once.
        for (n_part, part) in fresh.chunks(COMMIT_EVENTS).enumerate() {
            if n_part > 0 {
                self.commit()?;
            }
            self.make_room(part.len())?;
            let (mut history, version) = match self.store.get(customer)? {
                Some(state) => (History::from_bytes(&state.bytes)?, state.version),
                None => (History::default(), 0),
            };
            for event in part {
                history.apply(event);
                if is_remembered(event, self.ids_since) {
                    self.batch.dedupe.push((customer.clone(), event.id));
                }
            }
            let (customer, bytes) = (customer.clone(), history.to_bytes());
            self.batch.puts.push(Put { customer, expected_version: Some(version), bytes });
        }
        Ok(())
    }
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
    use crate::domain::AsOf;
    use crate::domain::Zone;
    use crate::events::PartsSpec;
    use crate::events::{CustomerLog, Log, LogSpec, ReadSpec, Rules};
    use crate::store::MemoryStore;

    /// The log, whole and by parts, which are in files or in memory.
    fn log(rows: usize, customers: usize, to: Option<&Path>) -> (Log, Parts) {
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
        let how = PartsSpec { dir: to.map(Path::to_owned), ..PartsSpec::default() };
        let parts = Parts::read(&spec, &how, &mut |_| {}).unwrap();
        (Log::read(&spec, &mut |_| {}).unwrap(), parts)
    }

    #[test]
    fn a_load_is_what_the_fold_gives_and_a_second_one_changes_nothing() {
        // One customer has more events than a commit takes, and many have few.
        let dir = tempfile::tempdir().unwrap();
        for (rows, customers, to) in [(25_000, 1, None), (30_000, 999, Some(dir.path()))] {
            let ((log, parts), store) = (log(rows, customers, to), MemoryStore::new());
            assert_eq!(parts.is_spilled(), to.is_some());
            let counts = fill(&store, &parts, None, &mut |_| {}).unwrap();
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
            let again = fill(&store, &parts, None, &mut |_| {}).unwrap();
            assert_eq!((again.new, again.known), (0, rows as u64));
            assert_eq!(store.last_commit(), commit);
        }
    }
    #[test]
    fn ids_before_a_day_are_not_remembered_and_states_are_the_same() {
        let ((log, parts), store) = (log(3_000, 70, None), MemoryStore::new());
        let since = Day::parse("2026-01-20").unwrap();
        fill(&store, &parts, Some(since), &mut |_| {}).unwrap();
        for CustomerLog { customer, events } in &log.customers {
            let mut history = History::default();
            for event in events {
                history.apply(event);
                let is_known = store.contains(customer, event.id).unwrap();
                assert_eq!(is_known, event.day >= since);
            }
            assert_eq!(store.get(customer).unwrap().unwrap().bytes, history.to_bytes());
        }
    }
}
