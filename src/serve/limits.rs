//! The gate before every call of our own services: who may call, when it begins, how long it may
//! take, and that a panic ends one call and not the process.
//!
//! In: requests of all connections. Out: their answers, or a status with details. It also gives
//! the statuses that the framework makes itself (unreadable or too long messages, unknown
//! methods) the codes and details that ours have. Health passes unhindered, reflection needs a
//! known caller. It deliberately knows no message.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::Layer;
use tracing::{Instrument, Span};

use super::access::{Access, Peer};
use super::admission::{Admission, Permit, Turn};
use super::bodies;
use super::methods;
use super::methods::{Class, Method};
use super::metrics::{Metrics, Refusal};
use super::status::ServeError;
use super::traces;
use super::traces::Tracer;
use crate::config::ServeLimits;

/// Begins the path of the methods that tell how the services are.
const HEALTH: &str = "/grpc.health.v1.";
/// Longest time for the beginning of a request's body to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The same for a call that is refused.
const REFUSED_BODY_TIME: Duration = Duration::from_millis(20);
/// Calls of which the body has not arrived may be so many times those at work.
const ARRIVING: usize = 8;
/// A stream without a deadline of its caller's may last as long as this: for ever.
const STREAM_TIME: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The gate as a layer.
#[derive(Debug, Clone)]
pub(super) struct GateLayer {
    gate: Arc<Rules>,
    cut: watch::Receiver<bool>,
    tracer: Option<Arc<Tracer>>,
}

/// What the gate goes by.
#[derive(Debug)]
struct Rules {
    arriving: Arc<Semaphore>,
    time_max: Duration,
    message_bytes_max: usize,
    access: Arc<Access>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    /// The headers of the answer to one call too many, by class.
    overloaded: [HeaderMap; Class::ALL.len()],
}

impl GateLayer {
    /// A gate with these limits. Once `cut` says true, calls at work end at once.
    pub(super) fn new(
        limits: &ServeLimits,
        access: Arc<Access>,
        (admission, metrics): (Arc<Admission>, Arc<Metrics>),
        cut: watch::Receiver<bool>,
    ) -> Self {
        let n_arriving = limits.calls_max.saturating_mul(ARRIVING).min(Semaphore::MAX_PERMITS);
        let gate = Rules {
            arriving: Arc::new(Semaphore::new(n_arriving)),
            time_max: limits.call_time_max,
            message_bytes_max: limits.message_bytes_max,
            access,
            admission,
            metrics,
            overloaded: Class::ALL.map(|class| {
                let error = ServeError::Overloaded { what: class.as_str() };
                std::mem::take(error.to_status().into_http::<Body>().headers_mut())
            }),
        };
        Self { gate: Arc::new(gate), cut, tracer: None }
    }

    /// The same, where calls are traced.
    pub(super) fn traced(self, tracer: Option<Arc<Tracer>>) -> Self {
        Self { tracer, ..self }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, layer: self.clone(), taken: Instant::now() }
    }
}

/// A service behind the gate.
///
/// The server takes a request from its connection by cloning its service, and calls the clone
/// when a thread first looks at the request: so a clone knows since when its request waits. There
/// is no other place that sees both.
#[derive(Debug)]
pub(super) struct Gate<S> {
    inner: S,
    layer: GateLayer,
    taken: Instant,
}

impl<S: Clone> Clone for Gate<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone(), taken: Instant::now() }
    }
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let arrived = self.taken;
        let gate = Arc::clone(&self.layer.gate);
        let path = request.uri().path();
        let Some((method, place)) = methods::of_path(path) else {
            // Balancers ask for health without a key; it tells nothing of anybody.
            if !path.starts_with(HEALTH)
                && let Err(refused) = gate.known(&request, None)
            {
                return Box::pin(async move { Ok(refused.to_status().into_http()) });
            }
            return Box::pin(self.inner.call(request));
        };
        let span = traces::parent(request.headers()).map_or_else(Span::none, |parent| {
            tracing::info_span!("call", method = method.name, trace_id = parent.trace_text)
        });
        let tracer = self.layer.tracer.as_ref();
        let mut traced = tracer.and_then(|tracer| tracer.begin(request.headers(), method, arrived));
        let begun = gate.admit(&request, method, arrived);
        let deadline = match begun {
            Ok(deadline) => deadline,
            // A future of its own: it is a tenth as long, and there are many of them just when
            // there is no time for any.
            Err(refused) => {
                let call = async move {
                    gate.let_arrive(request, method.class).await;
                    let answer = gate.refusal(&refused);
                    let code = code(answer.headers());
                    gate.metrics.called(place, code, arrived.elapsed());
                    if let Some(traced) = &mut traced {
                        traced.note(code);
                    }
                    Ok(answer)
                };
                return Box::pin(call.instrument(span));
            }
        };
        let mut inner = self.inner.clone();
        let cut = self.layer.cut.clone();
        let call = async move {
            let answer = match gate.answer(&mut inner, request, (method, deadline), cut).await {
                Ok(answer) => answer,
                Err(error) => Ok(gate.refusal(&error)),
            };
            let Ok(answer) = answer else { return answer };
            let code = code(answer.headers());
            gate.metrics.called(place, code, arrived.elapsed());
            let Some(mut traced) = traced else { return Ok(answer) };
            traced.note(code);
            // A stream's span lasts as long as the stream.
            let is_stream = method.class == Class::Stream && code == Code::Ok;
            Ok(if is_stream { answer.map(|body| bodies::traced(body, traced)) } else { answer })
        };
        Box::pin(call.instrument(span))
    }
}

impl Rules {
    fn known<B>(&self, request: &Request<B>, method: Option<Method>) -> Result<(), ServeError> {
        let peer = request.extensions().get::<Peer>();
        let role = method.map(|method| method.role);
        let checked = self.access.check(request.headers(), peer, role);
        if let (Err(refused), Some(method)) = (&checked, method) {
            let is_quota = matches!(refused, ServeError::QuotaUsed { .. });
            let why = if is_quota { Refusal::Quota } else { Refusal::Access };
            self.metrics.refused(method.class, why);
            self.admission.dealt_with(method.class);
        }
        checked
    }

    /// Looks at a call for the first time; gives the instant at which its time is over.
    fn admit<B>(
        &self,
        request: &Request<B>,
        method: Method,
        arrived: Instant,
    ) -> Result<Instant, ServeError> {
        self.known(request, Some(method))?;
        let asked = grpc_timeout(request.headers());
        let time = match method.class {
            // It lasts as long as its caller wants.
            Class::Stream => asked.unwrap_or(STREAM_TIME),
            _ => asked.map_or(self.time_max, |asked| asked.min(self.time_max)),
        };
        match self.admission.look_at(method.class, arrived.elapsed(), time) {
            Some(refusal) => Err(self.refuse(method.class, refusal)),
            None => Ok(arrived + time),
        }
    }

    fn refuse(&self, class: Class, refusal: Refusal) -> ServeError {
        self.metrics.refused(class, refusal);
        self.admission.refused(class);
        ServeError::Overloaded { what: class.as_str() }
    }

    /// The answer of a call that failed. That of too many calls is made once: it must cost
    /// next to nothing.
    fn refusal(&self, error: &ServeError) -> Response<Body> {
        let ServeError::Overloaded { what } = error else {
            return error.to_status().into_http();
        };
        let Some(class) = Class::ALL.iter().find(|class| class.as_str() == *what) else {
            return error.to_status().into_http();
        };
        let mut answer = Response::new(Body::empty());
        answer.headers_mut().clone_from(&self.overloaded[class.idx()]);
        answer
    }

    /// Waits a moment for the body of a call that is refused. It is mostly on its way already, and
    /// bytes that come for a call that has ended count against their connection.
    async fn let_arrive(&self, request: Request<Body>, class: Class) {
        if class != Class::Stream
            && let Ok(_place) = self.arriving.try_acquire()
        {
            let body = bodies::begun(request.into_body());
            // A body that does not come is not waited for.
            let _ = tokio::time::timeout(REFUSED_BODY_TIME, body).await;
        }
    }

    /// Waits for the call's body and its turn, and has it answered.
    async fn answer<S>(
        &self,
        inner: &mut S,
        request: Request<Body>,
        (method, deadline): (Method, Instant),
        cut: watch::Receiver<bool>,
    ) -> Result<Result<Response<Body>, S::Error>, ServeError>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let class = method.class;
        let mut request = request;
        if class != Class::Stream {
            let Ok(_place) = self.arriving.try_acquire() else {
                return Err(self.refuse(class, Refusal::Full));
            };
            let (parts, body) = request.into_parts();
            let until = deadline.min(Instant::now() + BODY_TIME);
            let body = tokio::time::timeout_at(until, bodies::begun(body)).await;
            request = Request::from_parts(parts, body.map_err(|_| ServeError::Deadline)?);
        }
        let permit = self.turn(class, deadline).await?;
        // The call is started before its timer ends, and the timer before the framework's own,
        // which would answer CANCELLED.
        let timer = tokio::time::sleep_until(deadline);
        let answer = run(inner.call(request), timer, cut).await?;
        let answer = answer.map(|answer| with_details(answer, self.message_bytes_max));
        if class == Class::Stream {
            return Ok(answer.map(|answer| answer.map(|body| bodies::held(body, permit))));
        }
        permit.done();
        Ok(answer)
    }

    /// Waits for a call's turn.
    async fn turn(&self, class: Class, deadline: Instant) -> Result<Permit, ServeError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        match self.admission.enter(class, left()) {
            Err(refusal) => Err(self.refuse(class, refusal)),
            Ok(Turn::Now(permit)) => Ok(permit),
            Ok(Turn::Later(called)) => {
                let permit = tokio::time::timeout_at(deadline, called).await;
                let permit = permit.map_err(|_| self.refuse(class, Refusal::Expired))?;
                let permit = permit.map_err(|_| ServeError::internal("a line without its door"))?;
                if self.admission.is_worth_it(class, left()) {
                    Ok(permit)
                } else {
                    Err(self.refuse(class, Refusal::Expired))
                }
            }
        }
    }
}

/// The code of an answer. Where its headers have none it comes after the message, and is OK for
/// whatever is answered in one piece.
pub(super) fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// Runs a call until it ends, its time is over, the server cuts it off, or it panics.
async fn run<F: Future>(
    call: F,
    timer: tokio::time::Sleep,
    mut cut: watch::Receiver<bool>,
) -> Result<F::Output, ServeError> {
    let (mut call, mut timer) = (pin!(call), pin!(timer));
    // Without a sender nobody cuts any more: a server that has ended has no calls.
    let mut cut = pin!(async move { cut.wait_for(|cut| *cut).await.is_ok() });
    poll_fn(|cx| {
        // After a panic the call is never polled again, so what it left half-done is not seen.
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
            Err(panicked) => Poll::Ready(Err(panic_error(&*panicked))),
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) if timer.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Err(ServeError::Deadline))
            }
            Ok(Poll::Pending) => cut.as_mut().poll(cx).map(|_| Err(ServeError::Closing)),
        }
    })
    .await
}

/// A panic as an internal error.
pub(super) fn panic_error(panicked: &(dyn Any + Send)) -> ServeError {
    let text = panicked.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panicked.downcast_ref::<String>().cloned());
    ServeError::internal(format!("panic: {}", text.as_deref().unwrap_or("without a message")))
}

/// Gives a status that the framework made the code and details that ours have.
fn with_details(answer: Response<Body>, message_bytes_max: usize) -> Response<Body> {
    let headers = answer.headers();
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return answer;
    }
    let Some(status) = Status::from_header_map(headers) else { return answer };
    let text = status.message().to_owned();
    let ours = match status.code() {
        Code::OutOfRange if text.contains("message length too large") => {
            ServeError::MessageTooLarge { limit: message_bytes_max }
        }
        Code::Internal if text.contains("decode") => ServeError::Unreadable { detail: text },
        Code::Unimplemented => ServeError::UnknownMethod,
        _ => return answer,
    };
    ours.to_status().into_http()
}

/// The time that the caller gives the call, if the header is there and readable.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
