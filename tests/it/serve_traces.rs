//! Traces of calls reach a collector, and a collector that is not there hurts nobody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tenure::serve::pb;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::serve_client::{Clients, subject, three_customers};
use crate::serve_fixture::Running;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// What the collector reads of a request: the fields of OTLP by their numbers.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Attributes>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attributes {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Pair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Pair>,
    #[prost(message, optional, tag = "15")]
    status: Option<SpanStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SpanStatus {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    int: Option<i64>,
}

fn words(pairs: &[Pair]) -> BTreeMap<&str, String> {
    let word = |value: &AnyValue| match (&value.text, value.int) {
        (Some(text), None) => text.clone(),
        (None, Some(int)) => int.to_string(),
        _ => panic!("{value:?}"),
    };
    pairs.iter().map(|pair| (&*pair.key, word(pair.value.as_ref().unwrap()))).collect()
}

/// A collector of OTLP, which hands on what it is sent.
#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<Export>);

impl Collector {
    async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<Export>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().serve_with_incoming(Self(sender), incoming));
        (address, receiver)
    }
}

impl Service<Request<Export>> for Collector {
    type Response = Response<()>;
    type Error = Status;
    type Future = std::future::Ready<Result<Response<()>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Export>) -> Self::Future {
        self.0.send(request.into_inner()).unwrap();
        ready(Ok(Response::new(())))
    }
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        assert_eq!(request.uri().path(), path);
        let export = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<(), Export>::default();
            Ok(tonic::server::Grpc::new(codec).unary(export, request).await)
        })
    }
}

/// A request in a trace of the caller's.
fn traced<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{SPAN}-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "shop=7".parse().unwrap());
    request
}

#[tokio::test]
async fn a_collector_gets_one_span_a_call_in_the_callers_trace() {
    let (address, mut exports) = Collector::start().await;
    let endpoint = format!("http://{address}");
    let settings =
        [("otlp_endpoint", &*endpoint), ("trace_share", "0"), ("trace_service", "scores")];
    let server = Running::start(&settings).await;
    let version = format!("models/demo/versions/{}", server.version);
    let mut clients = Clients::new(&server).await;
    let snapshot = clients.ingest(three_customers()).await.unwrap().snapshot;
    let score =
        |who: &str| pb::ScoreCustomerRequest { subject: Some(subject(who)), ..Default::default() };
    let known = three_customers().remove(0).customer;
    clients.scoring.score_customer(traced(score(&known), "01")).await.unwrap();
    clients.scoring.score_customer(traced(score("nobody"), "01")).await.unwrap_err();
    // Its caller does not trace this one; the next says nothing of it.
    clients.scoring.score_customer(traced(score(&known), "00")).await.unwrap();
    clients.scoring.score_customer(score(&known)).await.unwrap();
    let rows = pb::ScoreStreamRequest { subject: Some(subject(&known)), ..Default::default() };
    let rows = tokio_stream::iter([rows]);
    let mut answers = clients.scoring.score_stream(traced(rows, "01")).await.unwrap().into_inner();
    while answers.next().await.is_some() {}
    drop((clients, answers));
    // What is left is sent before the server ends.
    server.stop().await;
    let mut spans = Vec::new();
    while let Ok(export) = exports.try_recv() {
        for OfResource { resource, scopes } in export.resources {
            assert_eq!(words(&resource.unwrap().attributes)["service.name"], "scores");
            spans.extend(scopes.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans.sort_by_key(|span| {
        (span.name.clone(), words(&span.attributes)["rpc.grpc.status_code"].clone())
    });
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let words = words(&span.attributes);
            (
                span.name.clone(),
                words["rpc.grpc.status_code"].clone(),
                words["tenure.class"].clone(),
            )
        })
        .collect();
    let expected = [
        ("tenure.v1.ScoringService/ScoreCustomer", "0", "interactive"),
        ("tenure.v1.ScoringService/ScoreCustomer", "5", "interactive"),
        ("tenure.v1.ScoringService/ScoreStream", "0", "stream"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(told, expected);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for span in &spans {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), SPAN.into()));
        assert!(span.span_id.len() == 8 && hex(&span.span_id) != SPAN);
        assert_eq!((&*span.trace_state, span.kind), ("shop=7", 2));
        assert!(span.start > 0 && span.end >= span.start);
        // Neither was the server's fault.
        assert!(span.status.is_none());
        let words = words(&span.attributes);
        assert_eq!(
            (&words["tenure.model_version"], &words["tenure.snapshot"]),
            (&version, &snapshot)
        );
        assert_eq!(
            (&*words["rpc.system"], &*words["rpc.service"]),
            ("grpc", "tenure.v1.ScoringService")
        );
        assert!(span.name.ends_with(&words["rpc.method"]));
        assert!(!words.values().any(|word| word.contains(&known)), "nothing of the customer");
    }
}

#[tokio::test]
async fn a_share_of_the_calls_without_a_trace_is_traced() {
    let (address, mut exports) = Collector::start().await;
    let endpoint = format!("http://{address}");
    let settings = [("otlp_endpoint", &*endpoint), ("trace_share", "1")];
    let server = Running::start(&settings).await;
    let mut clients = Clients::new(&server).await;
    for _ in 0..700 {
        clients.score(subject("nobody")).await.unwrap_err();
    }
    drop(clients);
    server.stop().await;
    let mut n_spans = 0;
    while let Ok(export) = exports.try_recv() {
        for span in export.resources.into_iter().flat_map(|of| of.scopes).flat_map(|s| s.spans) {
            assert!(span.parent_span_id.is_empty() && span.trace_id.len() == 16);
            n_spans += 1;
        }
    }
    assert_eq!(n_spans, 700);
}

#[tokio::test]
async fn without_a_collector_calls_are_answered_and_the_server_ends() {
    // A port that was free a moment ago and answers nobody.
    let endpoint = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let server = Running::start(&[("otlp_endpoint", &*endpoint), ("trace_share", "1")]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    for _ in 0..50 {
        clients.score(subject(&three_customers()[0].customer)).await.unwrap();
    }
    drop(clients);
    server.stop().await;
}
