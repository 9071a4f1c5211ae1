//! Changes what serves: versions are loaded and let go, the traffic policy is replaced.
//!
//! In: calls of operators, and files that changed. Out: another [`Serving`] in the place of the
//! one before, or a refusal and the one before. Whatever takes long (reading, checking, trying)
//! is done beside what serves and without a lock, so that going back never waits for a load.
//!
//! One rule joins alias and traffic policy: the alias says who is champion. Moving the alias moves
//! the champion and leaves the other arms; a policy with another champion moves the alias.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::live::Live;
use super::open::{OpenError, load_version, policy_in_place};
use super::refusals::ModelRefusal;
use super::serving::{Loaded, Served, Serving};
use super::status::{ServeError, Violation};
use crate::bundle;
use crate::bundle::{BundleError, TrafficArmV1, TrafficV1};
use crate::config::ServeConfig;
use crate::domain::Timestamp;
use crate::scoring::Engine;
use crate::store::StateStore;

/// Versions remembered that were refused, with the check that failed.
const REFUSED_MAX: usize = 64;

/// Changes what serves.
pub(super) struct Switchboard {
    config: ServeConfig,
    /// The alias that is followed; none for a version that stays.
    alias: Option<String>,
    /// Held for each change.
    notes: Mutex<Notes>,
    /// Held for each load that a call asked for: one model is read at a time.
    loading: Mutex<()>,
}

#[derive(Debug, Default)]
struct Notes {
    /// By version: the check that failed at the last try.
    refused: BTreeMap<String, &'static str>,
    n_loads: u64,
}

/// A change that operators ask for.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Other arms; an empty salt stays as it is.
    Update {
        /// The salt.
        salt: String,
        /// The arms.
        arms: Vec<TrafficArmV1>,
    },
    /// An earlier revision.
    RollBack(Option<u64>),
}

impl Switchboard {
    /// Makes what serves of an engine and of the traffic policy that was in force before. An arm
    /// whose version cannot be loaded any more is left out: the champion answers its customers.
    ///
    /// # Errors
    /// [`BundleError`] for a traffic policy that cannot be read: without it customers would change
    /// arms unseen.
    pub(super) fn open(
        config: &ServeConfig,
        engine: Arc<Engine>,
        store: &dyn StateStore,
        now: Timestamp,
    ) -> Result<(Self, Serving), ServeOpenError> {
        let name = &config.model.name;
        let aliases = bundle::aliases(&config.models, name).unwrap_or_else(|error| {
            tracing::warn!(%error, "the aliases cannot be read");
            BTreeMap::new()
        });
        let alias = Some(&config.model.version).filter(|alias| aliases.contains_key(*alias));
        let alias = alias.cloned();
        let (notes, loading) = (Mutex::default(), Mutex::default());
        let one = Self { config: config.clone(), alias, notes, loading };
        let version = engine.bundle().version.clone();
        let (stored, mut traffic) = (one.stored()?, one.traffic_of(&version, None, now)?);
        let mut notes = Notes::default();
        let champion = Arc::new(Served::new(engine));
        let mut loaded = BTreeMap::from([(version.clone(), notes.loaded(champion, false))]);
        for version in versions(&traffic) {
            if loaded.contains_key(&version) {
                continue;
            }
            match load_version(&one.config, store, &version) {
                Ok(engine) => {
                    let served = Arc::new(Served::new(Arc::new(engine)));
                    loaded.insert(version, notes.loaded(served, false));
                }
                Err(error) => {
                    tracing::error!(version, %error, "an arm is lost: the champion has its share");
                    traffic = traffic.without(&version, now.micros());
                }
            }
        }
        if stored.is_some_and(|stored| stored != traffic) {
            one.note_down(&traffic);
        }
        *one.lock() = notes;
        let serving = Serving::try_new(None, traffic, loaded, aliases);
        let serving =
            serving.map_err(|error| ServeOpenError::Arms(error.to_status().to_string()))?;
        Ok((one, serving))
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // A change that panics half-way has put nothing in place.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model that is served.
    pub(super) fn model(&self) -> &str {
        &self.config.model.name
    }

    /// The alias that is followed.
    pub(super) fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The check that a version failed when it was last tried.
    pub(super) fn refused(&self, version: &str) -> Option<&'static str> {
        self.lock().refused.get(version).copied()
    }

    /// The traffic policy on disk.
    fn stored(&self) -> Result<Option<TrafficV1>, BundleError> {
        let Some(alias) = &self.alias else { return Ok(None) };
        TrafficV1::read(&self.config.models, &self.config.model.name, alias)
    }

    /// The policy in which a version is champion: the one on disk, else `known`, else a new one.
    fn traffic_of(
        &self,
        version: &str,
        known: Option<&TrafficV1>,
        now: Timestamp,
    ) -> Result<TrafficV1, BundleError> {
        let found = self.stored()?.or_else(|| known.cloned());
        Ok(match found {
            Some(traffic) if traffic.now().champion() == Some(version) => traffic,
            Some(traffic) => traffic.promoted(version, now.micros()),
            None => TrafficV1::first(&self.config.model.name, version, now.micros()),
        })
    }

    /// Notes what followed from a change of files. Models may lie where nobody may write: what
    /// serves is right nevertheless, and only the way back is shorter after a restart.
    fn note_down(&self, traffic: &TrafficV1) {
        let Some(alias) = &self.alias else { return };
        let (models, name) = (&self.config.models, &self.config.model.name);
        if let Err(error) = traffic.note(models, name, alias) {
            tracing::warn!(%error, "the traffic policy cannot be noted");
        }
    }

    /// The version that the configuration means now.
    fn followed(&self, aliases: &BTreeMap<String, String>) -> String {
        let selector = &self.config.model.version;
        aliases.get(selector).unwrap_or(selector).clone()
    }

    /// Reads and tries a version, and remembers where that failed.
    fn try_version(&self, live: &Live, version: &str) -> Result<Arc<Served>, OpenError> {
        let found = load_version(&self.config, &*live.store, version).and_then(|engine| {
            let kind = live.served().engine.bundle().manifest.kind;
            if engine.bundle().manifest.kind == kind {
                return Ok(Arc::new(Served::new(Arc::new(engine))));
            }
            Err(OpenError::OtherKind { version: version.to_owned() })
        });
        let mut notes = self.lock();
        match &found {
            Ok(_) => {
                notes.refused.remove(version);
            }
            Err(error) => {
                let refusal = ModelRefusal::of(version, error);
                if let ModelRefusal::Refused { check, .. } = refusal
                    && notes.refused.len() < REFUSED_MAX
                {
                    notes.refused.insert(version.to_owned(), check);
                }
            }
        }
        found
    }

    /// Loads a version beside those that serve.
    pub(super) fn load(
        &self,
        live: &Live,
        version: &str,
        only_check: bool,
    ) -> Result<Arc<Served>, ServeError> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = live.serving.load_full();
        if let Some(held) = before.loaded.get(version).filter(|_| !only_check) {
            let served = Arc::clone(&held.served);
            return Ok(served);
        }
        if !only_check {
            self.room(before.loaded.clone(), &before.traffic)?;
        }
        let found = self.try_version(live, version);
        let served = found.map_err(|error| ModelRefusal::of(version, &error))?;
        if only_check {
            return Ok(served);
        }
        let mut notes = self.lock();
        let now = live.serving.load_full();
        let mut loaded = self.room(now.loaded.clone(), &now.traffic)?;
        loaded.insert(version.to_owned(), notes.loaded(Arc::clone(&served), true));
        self.publish(live, &now, (now.traffic.clone(), loaded, now.aliases.clone()))?;
        Ok(served)
    }

    /// What stays loaded so that one more fits: versions that nobody asked for go first.
    fn room(
        &self,
        mut loaded: BTreeMap<String, Loaded>,
        traffic: &TrafficV1,
    ) -> Result<BTreeMap<String, Loaded>, ServeError> {
        let limit = self.config.versions.loaded_max;
        evict(&mut loaded, traffic, limit - 1, false);
        if loaded.len() < limit { Ok(loaded) } else { Err(ModelRefusal::Full { limit }.into()) }
    }

    /// Lets go of a version.
    pub(super) fn unload(&self, live: &Live, version: &str) -> Result<(), ServeError> {
        let _notes = self.lock();
        let now = live.serving.load_full();
        let arms = now.arms_of(version);
        if !arms.is_empty() {
            return Err(ModelRefusal::InUse { version: version.to_owned(), arms }.into());
        }
        let mut loaded = now.loaded.clone();
        if loaded.remove(version).is_none() {
            return Err(ModelRefusal::NotLoaded { versions: vec![version.to_owned()] }.into());
        }
        self.publish(live, &now, (now.traffic.clone(), loaded, now.aliases.clone()))
    }

    /// Changes the traffic policy, and gives what is in force then, or would be. An etag that is
    /// not empty must be the one in force.
    pub(super) fn change(
        &self,
        live: &Live,
        change: Change,
        (etag, only_check): (&str, bool),
        at: Timestamp,
    ) -> Result<TrafficV1, ServeError> {
        let Some(alias) = &self.alias else {
            let selector = self.config.model.version.clone();
            return Err(ModelRefusal::Pinned { selector }.into());
        };
        // What somebody else has put there meanwhile is in force before this change is judged. A
        // file that is not sound, or an alias of such a version, does not stop anybody from
        // putting things right.
        if let Err(error) = self.reload(live, at) {
            tracing::warn!(%error, "what lies on disk is not taken in before a change of traffic");
        }
        let mut notes = self.lock();
        let now = live.serving.load_full();
        let in_force = now.traffic.etag();
        if !etag.is_empty() && etag != in_force {
            return Err(ModelRefusal::Stale { found: etag.to_owned(), etag: in_force }.into());
        }
        let mut loaded = now.loaded.clone();
        let next = match change {
            Change::Update { salt, arms } => updated(&now, &salt, arms, at)?,
            Change::RollBack(revision) => {
                let next = now.traffic.rolled_back(revision, at.micros());
                let next = next.ok_or_else(|| no_revision(revision, &now.traffic))?;
                for version in versions(&next) {
                    // Mostly there still: what one would go back to is let go last.
                    if let Entry::Vacant(place) = loaded.entry(version) {
                        let engine = load_version(&self.config, &*live.store, place.key())
                            .map_err(|error| ModelRefusal::of(place.key(), &error))?;
                        let served = Arc::new(Served::new(Arc::new(engine)));
                        place.insert(notes.loaded(served, false));
                    }
                }
                next
            }
        };
        if only_check {
            return Ok(next);
        }
        let (models, name) = (&self.config.models, &self.config.model.name);
        next.write(models, name, alias).map_err(ServeError::internal)?;
        let mut aliases = now.aliases.clone();
        if let Some(champion) = next.now().champion() {
            aliases.insert(alias.clone(), champion.to_owned());
        }
        evict(&mut loaded, &next, self.config.versions.loaded_max, true);
        self.publish(live, &now, (next.clone(), loaded, aliases))?;
        // In force, and so after a restart; the alias follows, here or at the next look.
        if let Err(error) = TrafficV1::finish_move(models, name, alias) {
            tracing::error!(%error, "the alias does not follow the champion");
        }
        let revision = next.now().revision;
        tracing::info!(revision, arms = ?next.now().arms, "another traffic policy is in force");
        Ok(next)
    }

    /// Takes in what changed on disk: aliases, traffic policy, the policy that decides. Says what
    /// it is, or nothing where nothing of what serves changed.
    ///
    /// # Errors
    /// [`OpenError`]; whatever is wrong, what serves is as it was.
    pub(super) fn reload(&self, live: &Live, at: Timestamp) -> Result<Option<String>, OpenError> {
        let (models, name) = (&self.config.models, &self.config.model.name);
        if let Some(alias) = &self.alias {
            let _change = self.lock();
            TrafficV1::finish_move(models, name, alias)?;
        }
        let before = live.serving.load_full();
        let aliases = bundle::aliases(models, name)?;
        let followed = self.followed(&aliases);
        let mut traffic = self.traffic_of(&followed, Some(&before.traffic), at)?;
        let policy = policy_in_place(&self.config)?;
        let is_current = |served: &Served| {
            policy.as_ref().is_none_or(|policy| policy.id() == served.engine.policy().id())
        };
        let mut fresh = BTreeMap::new();
        let (named, held) = (versions(&traffic), before.loaded.keys().cloned());
        for version in named.into_iter().chain(held).collect::<BTreeSet<_>>() {
            if before.loaded.get(&version).is_some_and(|held| is_current(&held.served)) {
                continue;
            }
            match self.try_version(live, &version) {
                Ok(served) => {
                    fresh.insert(version, Some(served));
                }
                Err(error) if version == followed => return Err(error),
                Err(error) => {
                    tracing::error!(version, %error, "refused: it is let go");
                    if versions(&traffic).contains(&version) {
                        traffic = traffic.without(&version, at.micros());
                    }
                    fresh.insert(version, None);
                }
            }
        }
        let mut notes = self.lock();
        let now = live.serving.load_full();
        if !Arc::ptr_eq(&before, &now) {
            // Somebody changed it meanwhile, and knew what lies on disk.
            return Ok(None);
        }
        if fresh.is_empty() && traffic == before.traffic {
            if aliases != before.aliases {
                let parts = (traffic, before.loaded.clone(), aliases);
                self.publish(live, &before, parts).map_err(arms_missing)?;
            }
            return Ok(None);
        }
        let mut loaded = before.loaded.clone();
        for (version, served) in fresh {
            let by_hand = loaded.remove(&version).is_some_and(|held| held.by_hand);
            if let Some(served) = served {
                loaded.insert(version, notes.loaded(served, by_hand));
            }
        }
        evict(&mut loaded, &traffic, self.config.versions.loaded_max, true);
        if traffic != before.traffic {
            self.note_down(&traffic);
        }
        self.publish(live, &before, (traffic, loaded, aliases)).map_err(arms_missing)?;
        Ok(Some(what_serves(&live.serving.load())))
    }

    /// Puts another whole in place.
    fn publish(
        &self,
        live: &Live,
        before: &Serving,
        (traffic, loaded, aliases): (TrafficV1, BTreeMap<String, Loaded>, BTreeMap<String, String>),
    ) -> Result<(), ServeError> {
        let next = Serving::try_new(Some(before), traffic, loaded, aliases)?;
        live.serving.store(Arc::new(next));
        Ok(())
    }
}

impl Notes {
    fn loaded(&mut self, served: Arc<Served>, by_hand: bool) -> Loaded {
        self.n_loads += 1;
        Loaded { served, by_hand, nr: self.n_loads }
    }
}

/// Why the arms cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeOpenError {
    /// The traffic policy cannot be read.
    #[error("the traffic policy: {0}")]
    Traffic(#[from] BundleError),
    /// The traffic policy names what is not there.
    #[error("the arms of the traffic policy: {0}")]
    Arms(String),
}

/// The policy with other arms, if it can be served.
fn updated(
    now: &Serving,
    salt: &str,
    arms: Vec<TrafficArmV1>,
    at: Timestamp,
) -> Result<TrafficV1, ServeError> {
    let salt = if salt.is_empty() { &now.traffic.now().salt } else { salt };
    let next = now.traffic.updated(salt, arms, at.micros());
    let problems = next.now().problems();
    if !problems.is_empty() {
        let violation = |found: bundle::TrafficProblem| {
            Violation::new(found.field, found.reason, found.what).within("traffic_policy")
        };
        return Err(ServeError::Invalid(problems.into_iter().map(violation).collect()));
    }
    let missing = versions(&next).into_iter().filter(|one| !now.loaded.contains_key(one));
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() {
        Ok(next)
    } else {
        Err(ModelRefusal::NotLoaded { versions: missing }.into())
    }
}

fn no_revision(wanted: Option<u64>, traffic: &TrafficV1) -> ServeError {
    let kept: Vec<String> = traffic.before().iter().map(|old| old.revision.to_string()).collect();
    let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
    ModelRefusal::NoRevision { wanted, kept }.into()
}

fn arms_missing(error: ServeError) -> OpenError {
    OpenError::Arms { what: error.to_status().message().to_owned() }
}

/// The versions that a policy names.
fn versions(traffic: &TrafficV1) -> BTreeSet<String> {
    traffic.now().arms.iter().map(|arm| arm.version.clone()).collect()
}

fn what_serves(serving: &Serving) -> String {
    let policy = serving.champion.served.engine.policy().id();
    let version = &serving.champion.served.engine.bundle().version;
    format!("{version} with policy {} {}", policy.id, policy.version)
}

/// Lets go of versions until so many are left: the oldest first of those that nobody asked for;
/// where it must be, then those that a call loaded, and at last what one would go back to. What
/// the traffic policy names always stays.
fn evict(
    loaded: &mut BTreeMap<String, Loaded>,
    traffic: &TrafficV1,
    limit: usize,
    is_forced: bool,
) {
    let named = versions(traffic);
    let back = traffic.rolled_back(None, 0).map(|back| versions(&back)).unwrap_or_default();
    let rank = |version: &str, held: &Loaded| match (back.contains(version), held.by_hand) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    };
    while loaded.len() > limit {
        let candidates = loaded.iter().filter(|(version, held)| {
            !named.contains(*version) && (is_forced || rank(version, held) == 0)
        });
        let first = candidates.min_by_key(|(version, held)| (rank(version, held), held.nr));
        let Some(version) = first.map(|(version, _)| version.clone()) else { return };
        tracing::info!(version, "a version is let go");
        loaded.remove(&version);
    }
}
