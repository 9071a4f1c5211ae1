//! Who answers whom: the versions that are loaded, and which of them answers which customers.
//!
//! In: loaded engines, the traffic policy, the aliases. Out: one immutable whole behind one
//! pointer, so that churn, value, decisions and the split of customers change together. Which arm
//! a customer belongs to is a pure hash of the id and the policy's salt, apart from the hashes that
//! experiments draw by. It deliberately loads nothing and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::convert;
use super::refusals::ModelRefusal;
use super::shadow::Agreement;
use super::status::ServeError;
use crate::bundle::{CHAMPION_ARM, TrafficArmV1, TrafficV1, WEIGHT_ALL};
use crate::decision::unit_interval;
use crate::scoring::Engine;
use crate::telemetry::Counter;

/// An engine under the name it is asked for by.
#[derive(Debug)]
pub(super) struct Served {
    /// Churn, value and policy.
    pub(super) engine: Arc<Engine>,
    /// models/{model}/versions/{version}
    pub(super) model_version: String,
    /// What the provenance of all its answers begins with, as bytes.
    pub(super) origin: Box<[u8]>,
}

impl Served {
    /// An engine under its name.
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let bundle = engine.bundle();
        let model_version = version_name(&bundle.manifest.name, &bundle.version);
        Self { model_version, origin: convert::origin(&engine), engine }
    }
}

/// A version's resource name.
pub(super) fn version_name(model: &str, version: &str) -> String {
    format!("models/{model}/versions/{version}")
}

/// A version that is ready to answer.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    /// The version.
    pub(super) served: Arc<Served>,
    /// Whether a call loaded it: it then stays until a call lets it go.
    pub(super) by_hand: bool,
    /// Rises with each version that is loaded.
    pub(super) nr: u64,
}

/// Part of the customers.
#[derive(Debug)]
pub(super) struct Arm {
    /// Its name.
    pub(super) name: String,
    /// Who answers them.
    pub(super) served: Arc<Served>,
    /// Places below this one that no arm before it has are its own.
    below: f64,
    /// Answers given, since arm and version are together.
    pub(super) answers: Arc<Counter>,
}

/// A version that scores beside the champion, unseen.
#[derive(Debug)]
pub(super) struct ShadowArm {
    /// Its name.
    pub(super) name: String,
    /// Who scores.
    pub(super) served: Arc<Served>,
    /// Whose answers it is held against.
    pub(super) champion: Arc<Served>,
    /// Customers at places below it are scored.
    below: f64,
    /// How far both agree.
    pub(super) agreement: Arc<Agreement>,
}

/// Who answers whom.
#[derive(Debug)]
pub(super) struct Serving {
    /// Answers where nobody else does.
    pub(super) champion: Arm,
    /// The other arms that answer, in order.
    pub(super) challengers: Vec<Arm>,
    /// Those that never answer.
    pub(super) shadows: Vec<Arc<ShadowArm>>,
    /// All versions that are loaded.
    pub(super) loaded: BTreeMap<String, Loaded>,
    /// What aliases mean: versions, loaded or not.
    pub(super) aliases: BTreeMap<String, String>,
    /// The policy that the arms are made from.
    pub(super) traffic: TrafficV1,
    salt: String,
    shadow_salt: String,
}

/// Who answers for a customer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answering<'s> {
    /// The version.
    pub(super) served: &'s Arc<Served>,
    /// The arm; empty where the request named the version.
    pub(super) arm: &'s str,
    /// Counts the arm's answers.
    pub(super) answers: Option<&'s Counter>,
}

impl Serving {
    /// The whole of its parts. What was counted goes on where the same versions stay together.
    ///
    /// # Errors
    /// Where the policy names a version that is not loaded.
    pub(super) fn try_new(
        before: Option<&Self>,
        traffic: TrafficV1,
        loaded: BTreeMap<String, Loaded>,
        aliases: BTreeMap<String, String>,
    ) -> Result<Self, ServeError> {
        let find = |arm: &TrafficArmV1| match loaded.get(&arm.version) {
            Some(found) => Ok(Arc::clone(&found.served)),
            None => Err(not_loaded(&arm.version)),
        };
        let (mut champion, mut challengers, mut below) = (None, Vec::new(), 0.0);
        for arm in traffic.now().arms.iter().filter(|arm| !arm.shadow) {
            let is_champion = arm.arm == CHAMPION_ARM;
            below += if is_champion { 0.0 } else { share(arm.weight) };
            let served = find(arm)?;
            let old = before.and_then(|before| before.arm(&arm.arm, &served));
            let answers = old.map_or_else(Arc::default, |old| Arc::clone(&old.answers));
            let made = Arm { name: arm.arm.clone(), served, below, answers };
            if is_champion {
                champion = Some(made);
            } else {
                challengers.push(made);
            }
        }
        let champion = champion.ok_or_else(|| not_loaded(CHAMPION_ARM))?;
        let mut shadows = Vec::new();
        for arm in traffic.now().arms.iter().filter(|arm| arm.shadow) {
            let served = find(arm)?;
            let champion = Arc::clone(&champion.served);
            let goes_on = |old: &&Arc<ShadowArm>| {
                old.name == arm.arm
                    && Arc::ptr_eq(&old.served, &served)
                    && Arc::ptr_eq(&old.champion, &champion)
            };
            let old = before.and_then(|before| before.shadows.iter().find(goes_on));
            let agreement = old.map_or_else(Arc::default, |old| Arc::clone(&old.agreement));
            let (name, below) = (arm.arm.clone(), share(arm.weight));
            shadows.push(Arc::new(ShadowArm { name, served, champion, below, agreement }));
        }
        let (salt, shadow_salt) =
            (format!("traffic/{}", traffic.now().salt), format!("shadow/{}", traffic.now().salt));
        Ok(Self { champion, challengers, shadows, loaded, aliases, traffic, salt, shadow_salt })
    }

    fn arm(&self, name: &str, served: &Arc<Served>) -> Option<&Arm> {
        let mut arms = std::iter::once(&self.champion).chain(&self.challengers);
        arms.find(|arm| arm.name == name && Arc::ptr_eq(&arm.served, served))
    }

    /// Who answers for a customer whose request names no version.
    pub(super) fn answering(&self, customer: &str) -> Answering<'_> {
        let mut arm = &self.champion;
        if !self.challengers.is_empty() {
            let place = unit_interval(&self.salt, customer);
            arm = self.challengers.iter().find(|arm| place < arm.below).unwrap_or(arm);
        }
        Answering { served: &arm.served, arm: &arm.name, answers: Some(&arm.answers) }
    }

    /// The shadows that score a customer of the champion, too.
    pub(super) fn shadows_of(&self, customer: &str) -> impl Iterator<Item = &Arc<ShadowArm>> {
        let place =
            if self.shadows.is_empty() { 1.0 } else { unit_interval(&self.shadow_salt, customer) };
        self.shadows.iter().filter(move |shadow| place < shadow.below)
    }

    /// The version that a request names, if it is loaded.
    pub(super) fn named(&self, version: &str) -> Option<&Arc<Served>> {
        let mut loaded = self.loaded.values().map(|loaded| &loaded.served);
        loaded.find(|served| served.model_version == version)
    }

    /// The version that an alias means, if it is loaded.
    pub(super) fn aliased(&self, alias: &str) -> Option<&Arc<Served>> {
        let name = &self.champion.served.engine.bundle().manifest.name;
        let alias = alias.strip_prefix(&format!("models/{name}/aliases/"))?;
        Some(&self.loaded.get(self.aliases.get(alias)?)?.served)
    }

    /// Names of the arms of a version.
    pub(super) fn arms_of(&self, version: &str) -> Vec<String> {
        let arms = self.traffic.now().arms.iter().filter(|arm| arm.version == version);
        arms.map(|arm| arm.arm.clone()).collect()
    }
}

fn share(weight: u16) -> f64 {
    f64::from(weight) / f64::from(WEIGHT_ALL)
}

fn not_loaded(version: &str) -> ServeError {
    ServeError::Model(ModelRefusal::NotLoaded { versions: vec![version.to_owned()] })
}
