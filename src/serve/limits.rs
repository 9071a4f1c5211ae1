//! The gate before every call of our own services: how many may be at work, how long each may
//! take, and that a panic ends one call and not the process.
//!
//! In: requests of all connections. Out: their answers, or a status with details. It also gives
//! the statuses that the framework makes itself (unreadable or too long messages, unknown
//! methods) the codes and details that ours have. Health and reflection pass unhindered.
//! It deliberately knows no message.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::Layer;

use super::status::ServeError;
use crate::config::ServeLimits;

/// Begins the path of every method of ours.
const OURS: &str = "/tenure.";

/// The gate as a layer.
#[derive(Debug, Clone)]
pub(super) struct GateLayer {
    calls: Arc<Semaphore>,
    time_max: Duration,
    message_bytes_max: usize,
    cut: watch::Receiver<bool>,
}

impl GateLayer {
    /// A gate with these limits. Once `cut` says true, calls at work end at once.
    pub(super) fn new(limits: &ServeLimits, cut: watch::Receiver<bool>) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(limits.calls_max.min(Semaphore::MAX_PERMITS))),
            time_max: limits.call_time_max,
            message_bytes_max: limits.message_bytes_max,
            cut,
        }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, gate: self.clone() }
    }
}

/// A service behind the gate.
#[derive(Debug, Clone)]
pub(super) struct Gate<S> {
    inner: S,
    gate: GateLayer,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !request.uri().path().starts_with(OURS) {
            return Box::pin(self.inner.call(request));
        }
        let Ok(permit) = Arc::clone(&self.gate.calls).try_acquire_owned() else {
            let busy = ServeError::Overloaded { what: "calls at work" };
            return Box::pin(async move { Ok(busy.to_status().into_http()) });
        };
        let asked = grpc_timeout(request.headers());
        let time = asked.map_or(self.gate.time_max, |asked| asked.min(self.gate.time_max));
        // Started before the call, so that it ends before the framework's own timer, which would
        // answer CANCELLED.
        let timer = tokio::time::sleep(time);
        let limit = self.gate.message_bytes_max;
        let cut = self.gate.cut.clone();
        let call = self.inner.call(request);
        Box::pin(async move {
            let _permit = permit;
            match run(call, timer, cut).await {
                Ok(answer) => answer.map(|answer| with_details(answer, limit)),
                Err(error) => Ok(error.to_status().into_http()),
            }
        })
    }
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
