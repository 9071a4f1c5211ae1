//! Spans on their way to a collector, as OTLP over gRPC.
//!
//! In: spans from a queue. Out: requests of `opentelemetry.proto.collector.trace.v1`, some hundred
//! spans each, at least one a second. What cannot be delivered after a few tries is counted and
//! forgotten: nobody who is served waits for a collector, or notices that there is none.
//!
//! The messages are the few fields of that protocol that a server's span has, under its numbers:
//! a whole library for it would be many times this file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::metrics::{Metrics, SpanOutcome};
use super::traces::Span;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Most spans of one request.
const BATCH_MAX: usize = 512;
/// Longest that a span waits for company.
const GATHER: Duration = Duration::from_secs(1);
/// A collector answers in milliseconds.
const CALL_TIME: Duration = Duration::from_secs(5);
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Tries of one request, and the waits between them.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Where spans go; connects when the first is sent.
///
/// # Errors
/// When the address is none.
pub(super) fn collector(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(endpoint.to_owned())?;
    Ok(endpoint.connect_timeout(CONNECT_TIME).timeout(CALL_TIME).connect_lazy())
}

/// Exports until nobody traces any more and everything has been sent.
pub(super) async fn run(
    collector: Channel,
    service: String,
    mut spans: mpsc::Receiver<Span>,
    metrics: Arc<Metrics>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            let more = spans.recv_many(&mut batch, room);
            match timeout_at(until, more).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let n_spans = batch.len() as u64;
        let request = request(&service, std::mem::take(&mut batch));
        match deliver(&collector, request).await {
            Ok(n_rejected) => {
                metrics.spans(SpanOutcome::Failed, n_rejected.min(n_spans));
                metrics.spans(SpanOutcome::Exported, n_spans.saturating_sub(n_rejected));
            }
            Err(status) => {
                let before = metrics.n_spans(SpanOutcome::Failed);
                metrics.spans(SpanOutcome::Failed, n_spans);
                let total = before + n_spans;
                // At the first and then ever more seldom: the count tells the rest.
                if before.checked_ilog2() != total.checked_ilog2() {
                    let (code, text) = (status.code(), status.message());
                    tracing::warn!(total, ?code, text, "spans could not be exported");
                }
            }
        }
    }
}

/// Delivers a request; how many of its spans the collector did not want.
async fn deliver(collector: &Channel, request: ExportRequest) -> Result<u64, Status> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let called = call(collector.clone(), request.clone()).await;
        let status = match called {
            Ok(answer) => {
                let n_rejected = answer.partial_success.map_or(0, |part| part.rejected_spans);
                return Ok(u64::try_from(n_rejected).unwrap_or(0));
            }
            Err(status) => status,
        };
        let is_passing = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted
        );
        match pauses.next().filter(|_| is_passing) {
            Some(pause) => sleep(pause).await,
            None => return Err(status),
        }
    }
}

async fn call(collector: Channel, request: ExportRequest) -> Result<ExportAnswer, Status> {
    let mut client = Grpc::new(collector);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<ExportRequest, ExportAnswer>::default();
    let path = PathAndQuery::from_static(EXPORT);
    Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
}

/// Spans as a request.
fn request(service: &str, spans: Vec<Span>) -> ExportRequest {
    let resource = Resource {
        attributes: vec![
            text("service.name", service.to_owned()),
            text("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ],
    };
    let scope = Scope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let spans = spans.into_iter().map(OtlpSpan::from).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Text(value)) }) }
}

impl From<Span> for OtlpSpan {
    fn from(span: Span) -> Self {
        let Span { trace_id, span_id, parent_id, trace_state, method, .. } = span;
        let (service, rpc) = method.name.split_once('/').unwrap_or(("", method.name));
        let began = u64::try_from(span.began_micros).unwrap_or(0).saturating_mul(1_000);
        let time = u64::try_from(span.time.as_nanos()).unwrap_or(u64::MAX);
        let code = Value::Int(i64::from(span.code as i32));
        let mut attributes = vec![
            text("rpc.system", "grpc".to_owned()),
            text("rpc.service", format!("tenure.v1.{service}")),
            text("rpc.method", rpc.to_owned()),
            KeyValue {
                key: "rpc.grpc.status_code".to_owned(),
                value: Some(AnyValue { value: Some(code) }),
            },
            text("tenure.class", method.class.as_str().to_owned()),
        ];
        attributes.push(text("tenure.model_version", span.facts.model_version));
        attributes.push(text("tenure.snapshot", span.facts.snapshot));
        Self {
            trace_id: trace_id.to_be_bytes().to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            trace_state,
            parent_span_id: match parent_id {
                0 => Vec::new(),
                id => id.to_be_bytes().to_vec(),
            },
            name: format!("tenure.v1.{}", method.name),
            kind: KIND_SERVER,
            start_time_unix_nano: began,
            end_time_unix_nano: began.saturating_add(time),
            attributes,
            status: is_fault(span.code).then_some(SpanStatus { code: STATUS_ERROR }),
        }
    }
}

/// Whether a code is the server's fault and not its caller's.
const fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

const KIND_SERVER: i32 = 2;
const STATUS_ERROR: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExportAnswer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<OtlpSpan>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OtlpSpan {
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
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<SpanStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SpanStatus {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Int(i64),
}
