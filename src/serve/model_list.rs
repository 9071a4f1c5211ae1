//! What lies in the directory of models, as messages.
//!
//! In: the directory, read at each call, and what serves. Out: models, versions and their states. A
//! version that cannot be read is listed as failed. Only manifests, metrics, card and schema are
//! read here; the digests of all files are checked when a version is loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::convert;
use super::live::Live;
use super::pb;
use super::refusals::ModelRefusal;
use super::serving::{Serving, version_name};
use super::status::{ServeError, Violation};
use crate::bundle;
use crate::bundle::ManifestV1;
use crate::domain::{AsOf, Day, Zone};

/// Entries a page where the request says nothing.
const PAGE: usize = 100;
/// Most entries a page.
const PAGE_MAX: usize = 1_000;
/// Begins a page token; the name of the last entry of the page before follows.
const TOKEN: &str = "after:";
/// Longest card or schema that is sent, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Entries a page, and the name after which it begins.
pub(super) fn page(
    page_size: i32,
    page_token: &str,
) -> Result<(usize, Option<String>), ServeError> {
    let n_entries = match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE),
        Ok(n_entries) => Ok(n_entries.min(PAGE_MAX)),
        Err(_) => {
            let found = format!("{page_size} is below 0");
            Err(Violation::new("page_size", "PAGE_SIZE", found))
        }
    };
    let after = match page_token.strip_prefix(TOKEN) {
        Some(name) => Ok(Some(name.to_owned())),
        None if page_token.is_empty() => Ok(None),
        None => {
            let wanted = "not the next_page_token of an answer";
            Err(Violation::new("page_token", "PAGE_TOKEN", wanted))
        }
    };
    match (n_entries, after) {
        (Ok(n_entries), Ok(after)) => Ok((n_entries, after)),
        (n_entries, after) => {
            Err(ServeError::Invalid([n_entries.err(), after.err()].into_iter().flatten().collect()))
        }
    }
}

/// The token of the page that follows, where there is one.
pub(super) fn token(last: Option<&str>) -> String {
    last.map_or_else(String::new, |name| format!("{TOKEN}{name}"))
}

/// Names of all models after one, by rising name.
pub(super) fn names(live: &Live, after: Option<&str>) -> Result<Vec<String>, ServeError> {
    let mut names = bundle::model_names(&live.models).map_err(ServeError::internal)?;
    names.sort();
    names.retain(|name| after.is_none_or(|after| &**name > after));
    Ok(names)
}

/// A model with its versions, those that serve first, then by version.
pub(super) fn model(live: &Live, serving: &Serving, name: &str) -> pb::Model {
    // What cannot be listed is an empty list: the model itself is there.
    let mut versions = versions(live, serving, name).unwrap_or_default();
    let serves = |version: &pb::ModelVersion| version.state == i32::from(pb::ModelState::Serving);
    versions.sort_by(|a, b| serves(b).cmp(&serves(a)).then_with(|| a.name.cmp(&b.name)));
    let aliases = bundle::aliases(&live.models, name).unwrap_or_default().into_iter();
    pb::Model {
        name: format!("models/{name}"),
        aliases: aliases.map(|(alias, version)| (alias, version_name(name, &version))).collect(),
        versions,
    }
}

/// The versions of a model, the newest data first.
pub(super) fn versions(
    live: &Live,
    serving: &Serving,
    name: &str,
) -> Result<Vec<pb::ModelVersion>, ServeError> {
    let found = bundle::versions(&live.models, name).map_err(ServeError::internal)?;
    let aliases = bundle::aliases(&live.models, name).unwrap_or_default();
    let look = Look { live, serving, name, aliases: &aliases };
    let mut versions: Vec<_> = found.iter().map(|version| look.version(version)).collect();
    let end = |version: &pb::ModelVersion| version.data_end_time.map_or(i64::MIN, |at| at.seconds);
    versions.sort_by(|a, b| end(b).cmp(&end(a)).then_with(|| a.name.cmp(&b.name)));
    Ok(versions)
}

/// One version with its card and its features.
pub(super) fn version(
    live: &Live,
    serving: &Serving,
    (name, version): (&str, &str),
) -> Result<pb::GetModelVersionResponse, ServeError> {
    let found = bundle::versions(&live.models, name).map_err(ServeError::internal)?;
    if !found.iter().any(|held| held == version) {
        let (wanted, found) = (version_name(name, version), found.join(", "));
        return Err(ModelRefusal::Unknown { wanted, found }.into());
    }
    let aliases = bundle::aliases(&live.models, name).unwrap_or_default();
    let folder = live.models.join(name).join(version);
    Ok(pb::GetModelVersionResponse {
        model_version: Some(Look { live, serving, name, aliases: &aliases }.version(version)),
        model_card: text(&folder.join("model_card.md")).unwrap_or_default(),
        features: features(&folder),
    })
}

fn text(path: &Path) -> Option<String> {
    let is_short = fs::metadata(path).is_ok_and(|found| found.len() <= TEXT_BYTES_MAX);
    if is_short { fs::read_to_string(path).ok() } else { None }
}

/// The names in schema.json: features of a log, columns of a table.
fn features(folder: &Path) -> Vec<String> {
    let schema = text(&folder.join("schema.json")).unwrap_or_default();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap_or_default();
    let listed = schema["features"].as_array().or_else(|| schema["columns"].as_array());
    let names = listed.into_iter().flatten().filter_map(|feature| feature["name"].as_str());
    names.map(str::to_owned).collect()
}

/// How versions of a model are looked at.
struct Look<'a> {
    live: &'a Live,
    serving: &'a Serving,
    name: &'a str,
    aliases: &'a BTreeMap<String, String>,
}

impl Look<'_> {
    fn version(&self, version: &str) -> pb::ModelVersion {
        let folder = self.live.models.join(self.name).join(version);
        let name = version_name(self.name, version);
        let (state, state_message) = self.state(version);
        let arms = if self.is_served() { self.serving.arms_of(version) } else { Vec::new() };
        let meaning = self.aliases.iter().filter(|(_, means)| *means == version);
        let aliases = meaning.map(|(alias, _)| alias.clone()).collect();
        let policy = self.serving.named(&name).map(|served| convert::policy(&served.engine));
        let (manifest, digest) = match read_manifest(&folder) {
            Ok(read) => read,
            Err(state_message) => {
                return pb::ModelVersion {
                    name,
                    // One that is loaded answers, whatever has become of its files.
                    state: policy.as_ref().map_or(pb::ModelState::Failed, |_| state).into(),
                    state_message,
                    aliases,
                    arms,
                    policy,
                    ..pb::ModelVersion::default()
                };
            }
        };
        pb::ModelVersion {
            name,
            state: state.into(),
            state_message,
            digest,
            churn_horizon_days: u32::from(manifest.churn_horizon_days),
            clv_horizon_days: u32::from(manifest.clv_horizon_days),
            data_end_time: data_end(&manifest),
            feature_schema: manifest.feature_schema,
            currency_code: manifest.currency,
            metrics: metrics(&folder),
            grade: manifest.grade,
            aliases,
            arms,
            policy,
        }
    }

    fn is_served(&self) -> bool {
        self.name == self.live.switchboard.model()
    }

    fn state(&self, version: &str) -> (pb::ModelState, String) {
        let quiet = |state| (state, String::new());
        if !self.is_served() {
            return quiet(pb::ModelState::Available);
        }
        if !self.serving.arms_of(version).is_empty() {
            return quiet(pb::ModelState::Serving);
        }
        if self.serving.loaded.contains_key(version) {
            return quiet(pb::ModelState::Loaded);
        }
        match self.live.switchboard.refused(version) {
            Some(check) => {
                let why = format!("refused when it was to be loaded: {check}");
                (pb::ModelState::Failed, why)
            }
            None => quiet(pb::ModelState::Available),
        }
    }
}

/// The manifest and its digest.
fn read_manifest(folder: &Path) -> Result<(ManifestV1, String), String> {
    let bytes = fs::read(folder.join("manifest.json")).map_err(|error| error.to_string())?;
    let manifest = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((manifest, digest))
}

fn data_end(manifest: &ManifestV1) -> Option<prost_types::Timestamp> {
    let zone = Zone::try_new(&manifest.timezone).ok()?;
    let day = Day::parse(&manifest.data_until).ok()?;
    Some(convert::timestamp(AsOf::end_of(day, &zone).instant()))
}

/// The numbers of the champions in metrics.json, as `churn.auc` or `clv.gini`.
#[allow(clippy::disallowed_types, reason = "the type that the generated message takes")]
fn metrics(folder: &Path) -> std::collections::HashMap<String, f64> {
    let read = || {
        let bytes = fs::read(folder.join("metrics.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&bytes).ok()
    };
    let metrics = read().unwrap_or_default();
    ["churn", "clv"]
        .into_iter()
        .flat_map(|part| {
            champion(&metrics[part])
                .into_iter()
                .map(move |(key, number)| (format!("{part}.{key}"), number))
        })
        .collect()
}

/// The numbers of the candidate that is the champion.
fn champion(part: &serde_json::Value) -> BTreeMap<String, f64> {
    let candidates = part["candidates"].as_array().map_or(&[][..], Vec::as_slice);
    let champion = candidates.iter().find(|candidate| candidate["name"] == part["champion"]);
    let numbers = champion.and_then(serde_json::Value::as_object).into_iter().flatten();
    numbers.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?))).collect()
}
