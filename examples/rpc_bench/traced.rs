//! What being watched costs: a server that says nothing, one that logs as it comes, and those
//! whose calls are traced to a collector that swallows everything.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use anyhow::Result;
use prost::Message;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::beside::{Side, in_turns};
use super::{Base, Kind, Raw, TcpListenerStream, kinds, prepare, root};

/// The calls that are made over each server, by the beginning of their names.
const CALLS: [&str; 3] = ["ScoreCustomer by id, 64", "ScoreStream", "ScoreMatrix x1,"];

/// Prints the table of calls, and how many spans arrived.
pub(super) async fn run(base: Base, time: Duration) -> Result<()> {
    let work = root().join("target/rpc_bench");
    prepare(base, &work)?;
    let spans = Arc::new(AtomicU64::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let collector = Collector(Arc::clone(&spans));
    let incoming = TcpListenerStream::new(listener);
    let swallowing = tokio::spawn(Server::builder().serve_with_incoming(collector, incoming));
    let quiet = ["--log", "error"];
    let traced = ["--log", "error", "--otlp-endpoint", &endpoint];
    let all = [&traced[..], &["--set", "trace_share=1"]].concat();
    let sides = [
        Side::start((&work, "quiet"), &quiet, None).await?,
        Side::start((&work, "log as it comes"), &["--log", "info"], None).await?,
        Side::start((&work, "one call of 100 traced"), &traced, None).await?,
        Side::start((&work, "every call traced"), &all, None).await?,
    ];
    let is_wanted = |kind: &Kind<'_>| CALLS.iter().any(|name| kind.name.starts_with(name));
    let kinds: Vec<Kind<'_>> = kinds(base)?.into_iter().filter(is_wanted).collect();
    in_turns(&sides, &kinds, time).await?;
    println!("\n{} spans arrived at the collector", spans.load(Ordering::Relaxed));
    swallowing.abort();
    Ok(())
}

/// The fields of a request that hold spans; what a span holds is not looked at.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(bytes = "vec", repeated, tag = "2")]
    spans: Vec<Vec<u8>>,
}

/// Counts spans and forgets them.
#[derive(Clone)]
struct Collector(Arc<AtomicU64>);

impl UnaryService<Bytes> for Collector {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let found = Export::decode(request.into_inner()).unwrap_or_default();
        let scopes = found.resources.iter().flat_map(|of| &of.scopes);
        let n_spans: usize = scopes.map(|of| of.spans.len()).sum();
        self.0.fetch_add(n_spans as u64, Ordering::Relaxed);
        ready(Ok(Response::new(Bytes::new())))
    }
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let collector = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(collector, request).await) })
    }
}
