//! `ModelService`: what models there are, what is loaded, and which version answers whom.
//!
//! In: requests of operators. Out: lists, and changes made by the switchboard. Whatever reads files
//! or a model has a thread of its own and goes on to its end once begun, whether the caller waits
//! or not. Names are checked here; what they mean is known elsewhere.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert;
use super::live::Live;
use super::model_list;
use super::pb;
use super::pb::model_service_server::ModelService;
use super::refusals::ModelRefusal;
use super::status::{ServeError, Violation};
use super::switchboard::Change;
use crate::bundle::{TrafficArmV1, TrafficV1};

/// The service.
pub(super) struct Models(pub(super) Arc<Live>);

type Answer<T> = Result<Response<T>, Status>;

fn answered<T>(answer: Result<T, ServeError>) -> Answer<T> {
    answer.map(Response::new).map_err(|error| error.to_status())
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Answer<pb::ListModelsResponse> {
        answered(self.list(request.into_inner()).await)
    }

    async fn list_model_versions(
        &self,
        request: Request<pb::ListModelVersionsRequest>,
    ) -> Answer<pb::ListModelVersionsResponse> {
        answered(self.list_versions(request.into_inner()).await)
    }

    async fn get_model_version(
        &self,
        request: Request<pb::GetModelVersionRequest>,
    ) -> Answer<pb::GetModelVersionResponse> {
        let name = request.into_inner().name;
        let found = self.apart(move |live| {
            let (model, version) = version_parts("name", &name).map_err(invalid)?;
            model_list::version(live, &live.serving.load(), (model, version))
        });
        answered(found.await)
    }

    async fn load_model_version(
        &self,
        request: Request<pb::LoadModelVersionRequest>,
    ) -> Answer<pb::LoadModelVersionResponse> {
        let pb::LoadModelVersionRequest { name, validate_only } = request.into_inner();
        let loaded = self.apart(move |live| {
            let version = own_version(live, "name", &name).map_err(invalid)?;
            live.switchboard.load(live, version, validate_only)?;
            let model = live.switchboard.model();
            let found = model_list::version(live, &live.serving.load(), (model, version))?;
            Ok(pb::LoadModelVersionResponse { model_version: found.model_version })
        });
        answered(loaded.await)
    }

    async fn unload_model_version(
        &self,
        request: Request<pb::UnloadModelVersionRequest>,
    ) -> Answer<pb::UnloadModelVersionResponse> {
        let name = request.into_inner().name;
        let unloaded = self.apart(move |live| {
            let version = own_version(live, "name", &name).map_err(invalid)?;
            live.switchboard.unload(live, version)?;
            Ok(pb::UnloadModelVersionResponse {})
        });
        answered(unloaded.await)
    }

    async fn get_traffic_policy(
        &self,
        request: Request<pb::GetTrafficPolicyRequest>,
    ) -> Answer<pb::GetTrafficPolicyResponse> {
        answered(self.traffic(&request.into_inner()))
    }

    async fn update_traffic_policy(
        &self,
        request: Request<pb::UpdateTrafficPolicyRequest>,
    ) -> Answer<pb::UpdateTrafficPolicyResponse> {
        let pb::UpdateTrafficPolicyRequest { traffic_policy, validate_only } = request.into_inner();
        let changed = self.apart(move |live| {
            let (arms, salt, etag) = checked_update(live, traffic_policy)?;
            let change = Change::Update { salt, arms };
            let now = live.clock.now();
            let next = live.switchboard.change(live, change, (&etag, validate_only), now)?;
            Ok(pb::UpdateTrafficPolicyResponse { traffic_policy: Some(policy(live, &next)) })
        });
        answered(changed.await)
    }

    async fn roll_back_traffic_policy(
        &self,
        request: Request<pb::RollBackTrafficPolicyRequest>,
    ) -> Answer<pb::RollBackTrafficPolicyResponse> {
        let pb::RollBackTrafficPolicyRequest { name, revision, etag } = request.into_inner();
        let changed = self.apart(move |live| {
            check_policy_name(live, "name", &name).map_err(invalid)?;
            let change = Change::RollBack((revision > 0).then_some(revision));
            let next = live.switchboard.change(live, change, (&etag, false), live.clock.now())?;
            Ok(pb::RollBackTrafficPolicyResponse { traffic_policy: Some(policy(live, &next)) })
        });
        answered(changed.await)
    }
}

impl Models {
    /// Runs what reads files on a thread of its own.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Live) -> Result<T, ServeError> + Send + 'static,
    ) -> Result<T, ServeError> {
        let live = Arc::clone(&self.0);
        let worked = tokio::task::spawn_blocking(move || work(&live)).await;
        worked.map_err(ServeError::internal)?
    }

    async fn list(
        &self,
        request: pb::ListModelsRequest,
    ) -> Result<pb::ListModelsResponse, ServeError> {
        let (n_models, after) = model_list::page(request.page_size, &request.page_token)?;
        self.apart(move |live| {
            let serving = live.serving.load_full();
            let mut names = model_list::names(live, after.as_deref())?;
            let is_more = names.len() > n_models;
            names.truncate(n_models);
            let last = names.last().filter(|_| is_more);
            Ok(pb::ListModelsResponse {
                next_page_token: model_list::token(last.map(String::as_str)),
                models: names.iter().map(|name| model_list::model(live, &serving, name)).collect(),
                served_version: serving.champion.served.model_version.clone(),
            })
        })
        .await
    }

    async fn list_versions(
        &self,
        request: pb::ListModelVersionsRequest,
    ) -> Result<pb::ListModelVersionsResponse, ServeError> {
        let (n_versions, after) = model_list::page(request.page_size, &request.page_token)?;
        self.apart(move |live| {
            let parent = &request.parent;
            let name = part(parent.strip_prefix("models/")).ok_or_else(|| {
                ServeError::invalid("parent", "NAME", format!("{parent:?} is not models/MODEL"))
            })?;
            let mut versions = model_list::versions(live, &live.serving.load(), name)?;
            if versions.is_empty() {
                let found = model_list::names(live, None)?.join(", ");
                return Err(ModelRefusal::Unknown { wanted: parent.clone(), found }.into());
            }
            if let Some(after) = after {
                let at = versions.iter().position(|version| version.name == after);
                let at = at.ok_or_else(|| {
                    let found = "the version that the page ended with is gone: begin anew";
                    ServeError::invalid("page_token", "PAGE_TOKEN", found)
                })?;
                versions.drain(..=at);
            }
            let is_more = versions.len() > n_versions;
            versions.truncate(n_versions);
            let last = versions.last().filter(|_| is_more).map(|version| version.name.as_str());
            let next_page_token = model_list::token(last);
            Ok(pb::ListModelVersionsResponse { model_versions: versions, next_page_token })
        })
        .await
    }

    fn traffic(
        &self,
        request: &pb::GetTrafficPolicyRequest,
    ) -> Result<pb::GetTrafficPolicyResponse, ServeError> {
        let live = &self.0;
        check_policy_name(live, "name", &request.name).map_err(invalid)?;
        let serving = live.serving.load();
        let model = live.switchboard.model();
        let earlier = serving.traffic.before().iter().rev();
        Ok(pb::GetTrafficPolicyResponse {
            traffic_policy: Some(policy(live, &serving.traffic)),
            shadow_agreements: serving.shadows.iter().map(|arm| convert::agreement(arm)).collect(),
            earlier_policies: earlier.map(|old| convert::traffic(model, old, "")).collect(),
        })
    }
}

fn policy(live: &Live, traffic: &TrafficV1) -> pb::TrafficPolicy {
    convert::traffic(live.switchboard.model(), traffic.now(), &traffic.etag())
}

fn invalid(violation: Violation) -> ServeError {
    ServeError::Invalid(vec![violation])
}

/// One part of a resource name.
fn part(text: Option<&str>) -> Option<&str> {
    text.filter(|part| !part.is_empty() && !part.contains('/') && !part.starts_with('.'))
}

/// Model and version of a resource name.
fn version_parts<'n>(field: &str, name: &'n str) -> Result<(&'n str, &'n str), Violation> {
    let parts = name.strip_prefix("models/").and_then(|rest| rest.split_once("/versions/"));
    let parts = parts.and_then(|(model, version)| Some((part(Some(model))?, part(Some(version))?)));
    parts.ok_or_else(|| {
        let found = format!("{name:?} is not models/MODEL/versions/VERSION");
        Violation::new(field, "NAME", found)
    })
}

/// The version of a resource name of the served model.
fn own_version<'n>(live: &Live, field: &str, name: &'n str) -> Result<&'n str, Violation> {
    let own = live.switchboard.model();
    match version_parts(field, name)? {
        (model, version) if model == own => Ok(version),
        (model, _) => {
            let found = format!("this server serves versions of {own:?}, not of {model:?}");
            Err(Violation::new(field, "OTHER_MODEL", found))
        }
    }
}

fn check_policy_name(live: &Live, field: &str, name: &str) -> Result<(), Violation> {
    let own = convert::traffic_name(live.switchboard.model());
    if name == own {
        return Ok(());
    }
    let found = format!("{name:?} is not the traffic policy of this server, {own:?} is");
    Err(Violation::new(field, "NAME", found))
}

/// Arms, salt and etag of an update, with every violation of its form at once.
fn checked_update(
    live: &Live,
    policy: Option<pb::TrafficPolicy>,
) -> Result<(Vec<TrafficArmV1>, String, String), ServeError> {
    let Some(policy) = policy else {
        return Err(ServeError::invalid("traffic_policy", "MISSING", "the policy is missing"));
    };
    let mut violations = Vec::new();
    violations.extend(check_policy_name(live, "name", &policy.name).err());
    if policy.etag.is_empty() {
        let wanted = "show the etag of the policy that this one replaces";
        violations.push(Violation::new("etag", "MISSING", wanted));
    }
    let mut arms = Vec::with_capacity(policy.arms.len());
    for (idx, arm) in policy.arms.into_iter().enumerate() {
        let pb::TrafficArm { arm, model_version, weight, shadow } = arm;
        let version = own_version(live, &format!("arms[{idx}].model_version"), &model_version);
        let weight = u16::try_from(weight).map_err(|_| {
            let found = format!("{weight} parts, at most 10000 are taken");
            Violation::new(format!("arms[{idx}].weight"), "WEIGHT", found)
        });
        match (version, weight) {
            (Ok(version), Ok(weight)) => {
                arms.push(TrafficArmV1 { arm, version: version.to_owned(), weight, shadow });
            }
            (version, weight) => {
                violations.extend([version.err(), weight.err()].into_iter().flatten());
            }
        }
    }
    if violations.is_empty() {
        return Ok((arms, policy.salt, policy.etag));
    }
    let within = violations.into_iter().map(|violation| violation.within("traffic_policy"));
    Err(ServeError::Invalid(within.collect()))
}
