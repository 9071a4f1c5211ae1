//! `ModelService`: the models that this server can see.
//!
//! In: the directory of models, read at each call. Out: what lies there and what of it serves. A
//! version that cannot be read is listed as failed. Only manifests and metrics are read here; the
//! digests of all files are checked when a version is loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use super::convert;
use super::live::{Live, Served, version_name};
use super::pb;
use super::pb::model_service_server::ModelService;
use super::status::{ServeError, Violation};
use crate::bundle;
use crate::bundle::ManifestV1;
use crate::domain::{AsOf, Day, Zone};

/// Models a page where the request says nothing.
const PAGE_MODELS: usize = 100;
/// Most models a page.
const PAGE_MODELS_MAX: usize = 1_000;
/// Begins a page token; the name of the last model of the page before follows.
const TOKEN: &str = "after:";

/// The service.
pub(super) struct Models(pub(super) Arc<Live>);

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let answer = self.list(request.into_inner()).await.map_err(|error| error.to_status())?;
        Ok(Response::new(answer))
    }
}

impl Models {
    async fn list(
        &self,
        request: pb::ListModelsRequest,
    ) -> Result<pb::ListModelsResponse, ServeError> {
        let (n_models, after) = page(&request)?;
        let live = Arc::clone(&self.0);
        self.0
            .pooled(move |_| {
                let served = live.served.load_full();
                let mut names = bundle::model_names(&live.models).map_err(ServeError::internal)?;
                names.sort();
                names.retain(|name| after.as_ref().is_none_or(|after| name > after));
                let is_more = names.len() > n_models;
                names.truncate(n_models);
                let last = names.last().filter(|_| is_more);
                Ok(pb::ListModelsResponse {
                    next_page_token: last.map_or_else(String::new, |name| format!("{TOKEN}{name}")),
                    models: names.iter().map(|name| model(&live.models, name, &served)).collect(),
                    served_version: served.model_version.clone(),
                })
            })
            .await
    }
}

/// Models a page, and the name after which it begins.
fn page(request: &pb::ListModelsRequest) -> Result<(usize, Option<String>), ServeError> {
    let pb::ListModelsRequest { page_size, page_token } = request;
    let n_models = match usize::try_from(*page_size) {
        Ok(0) => Ok(PAGE_MODELS),
        Ok(n_models) => Ok(n_models.min(PAGE_MODELS_MAX)),
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
    match (n_models, after) {
        (Ok(n_models), Ok(after)) => Ok((n_models, after)),
        (n_models, after) => {
            Err(ServeError::Invalid([n_models.err(), after.err()].into_iter().flatten().collect()))
        }
    }
}

fn model(models: &Path, name: &str, served: &Served) -> pb::Model {
    // What cannot be listed is an empty list: the model itself is there.
    let aliases = bundle::aliases(models, name).unwrap_or_default();
    let mut versions: Vec<pb::ModelVersion> = bundle::versions(models, name)
        .unwrap_or_default()
        .iter()
        .map(|version| model_version(&models.join(name).join(version), name, version, served))
        .collect();
    let serves = |version: &pb::ModelVersion| version.state == i32::from(pb::ModelState::Serving);
    versions.sort_by(|a, b| serves(b).cmp(&serves(a)).then_with(|| a.name.cmp(&b.name)));
    pb::Model {
        name: format!("models/{name}"),
        aliases: aliases
            .into_iter()
            .map(|(alias, version)| (alias, version_name(name, &version)))
            .collect(),
        versions,
    }
}

fn model_version(folder: &Path, name: &str, version: &str, served: &Served) -> pb::ModelVersion {
    let resource = version_name(name, version);
    let read = || -> Result<(ManifestV1, String), String> {
        let bytes = fs::read(folder.join("manifest.json")).map_err(|error| error.to_string())?;
        let manifest = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((manifest, digest))
    };
    let (manifest, digest) = match read() {
        Ok(read) => read,
        Err(state_message) => {
            return pb::ModelVersion {
                name: resource,
                state: pb::ModelState::Failed.into(),
                state_message,
                ..pb::ModelVersion::default()
            };
        }
    };
    let state = if resource == served.model_version {
        pb::ModelState::Serving
    } else {
        pb::ModelState::Available
    };
    pb::ModelVersion {
        name: resource,
        state: state.into(),
        state_message: String::new(),
        digest,
        churn_horizon_days: u32::from(manifest.churn_horizon_days),
        clv_horizon_days: u32::from(manifest.clv_horizon_days),
        data_end_time: data_end(&manifest),
        feature_schema: manifest.feature_schema,
        currency_code: manifest.currency,
        metrics: metrics(folder),
        grade: manifest.grade,
    }
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
