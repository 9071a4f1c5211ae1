//! `ModelService`: the models that this server can see.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::live::Live;
use super::pb;
use super::pb::model_service_server::ModelService;

/// The service.
pub(super) struct Models(pub(super) Arc<Live>);

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        _request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let served = self.0.served.load_full();
        Ok(Response::new(pb::ListModelsResponse {
            models: Vec::new(),
            next_page_token: String::new(),
            served_version: served.model_version.clone(),
        }))
    }
}
