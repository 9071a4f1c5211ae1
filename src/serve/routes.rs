//! Which service a path belongs to.
//!
//! In: requests. Out: the answers of the service whose name the path begins with, or
//! UNIMPLEMENTED. A map of seven names does it: a web framework's router would be one more
//! dependency and more work a call.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use super::status::ServeError;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type Handler = Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>;

/// All services by name.
#[derive(Clone, Default)]
pub(super) struct Routes {
    handlers: Arc<BTreeMap<&'static str, Handler>>,
}

impl Routes {
    /// With one more service.
    pub(super) fn with<S>(self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let mut handlers = (*self.handlers).clone();
        // The services that the framework generates are always ready.
        let handler: Handler = Arc::new(move |request| Box::pin(service.clone().call(request)));
        handlers.insert(S::NAME, handler);
        Self { handlers: Arc::new(handlers) }
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.handlers.get(name) {
            Some(handler) => handler(request),
            None => Box::pin(ready(Ok(ServeError::UnknownMethod.to_status().into_http()))),
        }
    }
}
