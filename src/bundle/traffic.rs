//! The traffic policy of a model: which version answers which share of the customers, and which
//! ones score beside it unseen.
//!
//! In: arms, a salt, what was in force before. Out: a file beside the aliases, replaced in one
//! step, with the revisions that one can go back to. The alias says who is champion, always; this
//! file holds the other arms. Where a change moves the champion as well, the file says so until
//! the alias has moved, so that a crash between the two is made good at the next start. It
//! deliberately loads no model and reads no clock.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::alias::{aliases, set_alias, versions};
use super::error::BundleError;
use super::io::{check_name, io_error, read_file, sha256_hex, write_atomic};

/// The form of the file.
const FORMAT: u32 = 1;
/// What all weights of answering arms sum to.
pub const WEIGHT_ALL: u16 = 10_000;
/// The arm whose version is what the alias means.
pub const CHAMPION_ARM: &str = "champion";
/// Most arms of one policy.
pub const ARMS_MAX: usize = 8;
/// Longest name of an arm, in characters.
pub const ARM_NAME_MAX: usize = 32;
/// Longest salt, in characters.
pub const TRAFFIC_SALT_MAX: usize = 64;
/// Revisions that one can go back to.
const REVISIONS_KEPT: usize = 20;
/// A policy of a few arms and twenty revisions has some 20 KiB.
const ETAG_CHARS: usize = 16;

/// Part of the customers, or a version that scores beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficArmV1 {
    /// Its name in answers, log and metrics.
    pub arm: String,
    /// The version, 12 hex digits.
    pub version: String,
    /// Share of the customers in ten thousandths; of a shadow: the share that it scores, too.
    pub weight: u16,
    /// Whether it scores and never answers.
    pub shadow: bool,
}

/// What brought a revision about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficCause {
    /// The first one.
    Start,
    /// A call that set it.
    Update,
    /// The alias was moved.
    Alias,
    /// A call that went back to an earlier one.
    RollBack,
    /// A version of an arm can no longer be loaded.
    ArmLost,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficRevisionV1 {
    /// Its number; rises by one at each change.
    pub revision: u64,
    /// What brought it about.
    pub cause: TrafficCause,
    /// The revision whose content it has again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_revision: Option<u64>,
    /// When, microseconds since 1970.
    pub changed_at: i64,
    /// Salt of the customers' hash.
    pub salt: String,
    /// The champion and the others.
    pub arms: Vec<TrafficArmV1>,
}

/// The traffic policy with its earlier revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficV1 {
    format: u32,
    /// What the alias meant before a move that may not have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving_from: Option<String>,
    /// In force.
    now: TrafficRevisionV1,
    /// Earlier ones, the oldest first.
    before: Vec<TrafficRevisionV1>,
}

#[derive(Deserialize)]
struct Form {
    format: u32,
}

/// One thing wrong with arms or salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficProblem {
    /// Path of the field, such as `arms[1].weight`.
    pub field: String,
    /// A stable code.
    pub reason: &'static str,
    /// What was found and what is wanted.
    pub what: String,
}

impl TrafficRevisionV1 {
    /// The version that the alias means; none in a file that was tampered with.
    #[must_use]
    pub fn champion(&self) -> Option<&str> {
        let champion = self.arms.iter().find(|arm| arm.arm == CHAMPION_ARM && !arm.shadow);
        champion.map(|arm| arm.version.as_str())
    }

    /// Everything wrong with it, with the paths of the fields.
    #[must_use]
    pub fn problems(&self) -> Vec<TrafficProblem> {
        let mut found = Vec::new();
        let mut note = |field: String, reason, what: String| {
            found.push(TrafficProblem { field, reason, what });
        };
        if self.arms.is_empty() || self.arms.len() > ARMS_MAX {
            let what = format!("{} arms, 1 to {ARMS_MAX} are taken", self.arms.len());
            note("arms".to_owned(), "ARM_COUNT", what);
        }
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if self.salt.len() > TRAFFIC_SALT_MAX || !self.salt.chars().all(is_plain) {
            let what = format!("at most {TRAFFIC_SALT_MAX} printable characters are taken");
            note("salt".to_owned(), "SALT", what);
        }
        let mut names = BTreeSet::new();
        for (idx, arm) in self.arms.iter().enumerate() {
            for (field, reason, what) in arm_problems(arm, self.champion()) {
                note(format!("arms[{idx}].{field}"), reason, what);
            }
            if !names.insert(arm.arm.as_str()) {
                let what = format!("{:?} is the name of another arm", arm.arm);
                note(format!("arms[{idx}].arm"), "ARM_TWICE", what);
            }
        }
        if self.champion().is_none() {
            let what = format!("one arm that answers must be named {CHAMPION_ARM:?}");
            note("arms".to_owned(), "CHAMPION_MISSING", what);
        }
        let answering = self.arms.iter().filter(|arm| !arm.shadow);
        let sum: u32 = answering.map(|arm| u32::from(arm.weight)).sum();
        if sum != u32::from(WEIGHT_ALL) {
            let what = format!("the arms that answer have {sum} of {WEIGHT_ALL} parts together");
            note("arms".to_owned(), "WEIGHT_SUM", what);
        }
        found
    }

    /// What tells it from every other revision.
    fn etag(&self) -> String {
        let Self { revision, cause: _, of_revision: _, changed_at: _, salt, arms } = self;
        let mut text = format!("{revision}\n{salt}\n");
        for TrafficArmV1 { arm, version, weight, shadow } in arms {
            text.push_str(&format!("{arm}\n{version}\n{weight}\n{shadow}\n"));
        }
        sha256_hex(text.as_bytes()).chars().take(ETAG_CHARS).collect()
    }
}

fn arm_problems(
    arm: &TrafficArmV1,
    champion: Option<&str>,
) -> Vec<(&'static str, &'static str, String)> {
    let mut found = Vec::new();
    let TrafficArmV1 { arm: name, version, weight, shadow } = arm;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if name.is_empty() || name.len() > ARM_NAME_MAX || !name.chars().all(is_plain) {
        let what = format!(
            "{name:?} is no name of an arm: 1 to {ARM_NAME_MAX} of a-z, 0-9, '-' and '_' are"
        );
        found.push(("arm", "ARM_NAME", what));
    }
    if check_name(version).is_err() {
        found.push(("model_version", "MODEL_VERSION", format!("{version:?} is no version")));
    }
    if *weight > WEIGHT_ALL || (*shadow && *weight == 0) {
        let what =
            format!("{weight} parts, at most {WEIGHT_ALL} are taken, of a shadow at least 1");
        found.push(("weight", "WEIGHT", what));
    }
    if *shadow && champion == Some(version.as_str()) {
        let what = "the champion cannot be its own shadow".to_owned();
        found.push(("model_version", "SHADOW_OF_ITSELF", what));
    }
    found
}

impl TrafficV1 {
    /// All customers to one version, and nothing before.
    #[must_use]
    pub fn first(salt: &str, version: &str, changed_at: i64) -> Self {
        let arm = TrafficArmV1 {
            arm: CHAMPION_ARM.to_owned(),
            version: version.to_owned(),
            weight: WEIGHT_ALL,
            shadow: false,
        };
        let now = TrafficRevisionV1 {
            revision: 1,
            cause: TrafficCause::Start,
            of_revision: None,
            changed_at,
            salt: salt.to_owned(),
            arms: vec![arm],
        };
        Self { format: FORMAT, moving_from: None, now, before: Vec::new() }
    }

    /// What is in force.
    #[must_use]
    pub const fn now(&self) -> &TrafficRevisionV1 {
        &self.now
    }

    /// What was in force before, the oldest first.
    #[must_use]
    pub fn before(&self) -> &[TrafficRevisionV1] {
        &self.before
    }

    /// What a change must show to be made: that it knows what is in force.
    #[must_use]
    pub fn etag(&self) -> String {
        self.now.etag()
    }

    /// With other arms and another salt.
    #[must_use]
    pub fn updated(&self, salt: &str, arms: Vec<TrafficArmV1>, changed_at: i64) -> Self {
        self.with(TrafficCause::Update, None, (salt.to_owned(), arms), changed_at)
    }

    /// After the alias has been moved: the champion is another one, the other arms stay. An arm
    /// with the version that is champion now has reached its end; its customers are the
    /// champion's.
    #[must_use]
    pub fn promoted(&self, version: &str, changed_at: i64) -> Self {
        let arms = self.now.arms.iter().map(|arm| match &*arm.arm {
            CHAMPION_ARM => TrafficArmV1 { version: version.to_owned(), ..arm.clone() },
            _ => arm.clone(),
        });
        let (arms, salt) = (arms.collect(), self.now.salt.clone());
        let arms = without(arms, version);
        self.with(TrafficCause::Alias, None, (salt, arms), changed_at)
    }

    /// Without the arms of a version that cannot be loaded; its customers are the champion's.
    #[must_use]
    pub fn without(&self, version: &str, changed_at: i64) -> Self {
        let (arms, salt) = (self.now.arms.clone(), self.now.salt.clone());
        let arms = without(arms, version);
        self.with(TrafficCause::ArmLost, None, (salt, arms), changed_at)
    }

    /// With the arms and salt of an earlier revision: that one, or the one before what is in
    /// force. Whoever goes back twice goes back two steps. None where it is not kept.
    #[must_use]
    pub fn rolled_back(&self, revision: Option<u64>, changed_at: i64) -> Option<Self> {
        let origin = self.now.of_revision.unwrap_or(self.now.revision);
        let target = match revision {
            Some(wanted) => self.before.iter().find(|old| old.revision == wanted),
            None => self.before.iter().rev().find(|old| old.revision < origin),
        }?;
        let of = target.of_revision.unwrap_or(target.revision);
        let content = (target.salt.clone(), target.arms.clone());
        Some(self.with(TrafficCause::RollBack, Some(of), content, changed_at))
    }

    fn with(
        &self,
        cause: TrafficCause,
        of_revision: Option<u64>,
        (salt, arms): (String, Vec<TrafficArmV1>),
        changed_at: i64,
    ) -> Self {
        let revision = self.now.revision.saturating_add(1);
        let mut before = self.before.clone();
        before.push(self.now.clone());
        before.drain(..before.len().saturating_sub(REVISIONS_KEPT));
        let now = TrafficRevisionV1 { revision, cause, of_revision, changed_at, salt, arms };
        Self { format: FORMAT, moving_from: None, now, before }
    }

    /// Reads the policy of a model that is served by an alias; none where none was ever written.
    ///
    /// # Errors
    /// [`BundleError`] for a file that cannot be read or is not sound.
    pub fn read(models: &Path, name: &str, alias: &str) -> Result<Option<Self>, BundleError> {
        let path = traffic_path(models, name, alias);
        if !path.try_exists().map_err(io_error(&path))? {
            return Ok(None);
        }
        let (bytes, known) = (read_file(&path)?, FORMAT);
        let json = |source| BundleError::Json { path: path.clone(), source };
        // A newer file may have fields that are not known here: its format is asked first.
        let Form { format: found } = serde_json::from_slice(&bytes).map_err(json)?;
        if found > known {
            return Err(BundleError::Newer { path, found, known });
        }
        let found: Self = serde_json::from_slice(&bytes).map_err(json)?;
        match found.now.problems().first() {
            None => Ok(Some(found)),
            Some(TrafficProblem { field, what, .. }) => {
                let what = format!("{field}: {what}; without the file the champion has all");
                Err(BundleError::Invalid { path, what })
            }
        }
    }

    /// Puts it in force, in one step: from here on a restart serves it. Where the champion is
    /// another one than the alias means, the file says so, and [`TrafficV1::finish_move`] follows.
    ///
    /// # Errors
    /// [`BundleError`]; what was in force is in force after a restart, too.
    pub fn write(&self, models: &Path, name: &str, alias: &str) -> Result<(), BundleError> {
        let old = aliases(models, name)?.remove(alias);
        let moving_from = old.filter(|old| self.now.champion() != Some(old));
        let path = traffic_path(models, name, alias);
        put(&path, &Self { moving_from, ..self.clone() })?;
        // The rename itself must survive a crash, too.
        let Some(folder) = path.parent() else { return Ok(()) };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder))
    }

    /// Replaces the file and leaves the alias as it is: for what followed from moving it.
    ///
    /// # Errors
    /// [`BundleError::Io`].
    pub fn note(&self, models: &Path, name: &str, alias: &str) -> Result<(), BundleError> {
        put(&traffic_path(models, name, alias), self)
    }

    /// Moves the alias to the champion of a policy that was put in force with another one: after
    /// [`TrafficV1::write`], and again at a start, since a crash may have come between.
    ///
    /// # Errors
    /// [`BundleError`] as for [`TrafficV1::read`] and [`TrafficV1::write`].
    pub fn finish_move(models: &Path, name: &str, alias: &str) -> Result<(), BundleError> {
        let Some(found) = Self::read(models, name, alias)? else { return Ok(()) };
        let (Some(from), Some(version)) = (&found.moving_from, found.now.champion()) else {
            return Ok(());
        };
        if !versions(models, name)?.iter().any(|held| held == version) {
            // Its files are gone: the alias stays where it is, and says who is champion.
            return Ok(());
        }
        // Whoever moved the alias to yet another version meanwhile had the last word.
        if aliases(models, name)?.get(alias) == Some(from) {
            set_alias(models, name, alias, version)?;
        }
        let ended = Self { moving_from: None, ..found };
        put(&traffic_path(models, name, alias), &ended)
    }
}

/// Without the arms of a version beside the champion; what they had is the champion's.
fn without(arms: Vec<TrafficArmV1>, version: &str) -> Vec<TrafficArmV1> {
    let goes = |arm: &TrafficArmV1| arm.arm != CHAMPION_ARM && arm.version == version;
    let freed: u16 = arms.iter().filter(|arm| goes(arm) && !arm.shadow).map(|arm| arm.weight).sum();
    let stays = arms.into_iter().filter(|arm| !goes(arm));
    stays
        .map(|arm| match &*arm.arm {
            CHAMPION_ARM => TrafficArmV1 { weight: arm.weight.saturating_add(freed), ..arm },
            _ => arm,
        })
        .collect()
}

/// The file of the policy that goes with an alias.
#[must_use]
pub fn traffic_path(models: &Path, name: &str, alias: &str) -> PathBuf {
    models.join(name).join(format!("traffic.{alias}.json"))
}

fn put(path: &Path, policy: &TrafficV1) -> Result<(), BundleError> {
    let mut bytes = serde_json::to_vec_pretty(policy)
        .map_err(|source| BundleError::Json { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    write_atomic(path, &bytes)
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
