//! Which calls are traced, and what is told of them: one span a call, in its caller's trace.
//!
//! In: the headers of calls (`traceparent` and `tracestate` of the W3C) and how they ended. Out:
//! spans, handed to whoever exports them. A caller that traces decides for its calls; of those
//! without a trace a share is taken. A call that is not taken costs a look at two headers.
//!
//! Nothing in here waits: where too many spans wait to be exported, the next one is dropped and
//! counted. It deliberately knows no protocol for exporting.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Code;
use tonic::codegen::http::HeaderMap;

use super::clock::Clock;
use super::methods::Method;
use super::metrics::{Metrics, SpanOutcome};

/// Spans that may wait to be exported: some seconds of calls, a few MiB.
pub(super) const WAITING_MAX: usize = 8_192;
/// Longest `tracestate` that is passed on, as the W3C asks for at least.
const STATE_BYTES_MAX: usize = 512;

/// What a caller says of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent<'h> {
    /// The trace as it was written, for logs.
    pub(super) trace_text: &'h str,
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
}

/// The trace that a caller's request belongs to, as `traceparent` of the W3C says it.
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent<'_>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace_text, span) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = parts.next()?;
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_well_formed = is_hex(version, 2)
        && is_hex(trace_text, 32)
        && is_hex(span, 16)
        && is_hex(flags, 2)
        && version != "ff"
        // Later versions may add parts; this one has four.
        && (version != "00" || parts.next().is_none());
    let trace_id = u128::from_str_radix(trace_text, 16).ok().filter(|id| *id != 0)?;
    let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    is_well_formed.then_some(Parent { trace_text, trace_id, span_id, is_sampled: flags & 1 == 1 })
}

/// What answers, when a call arrives.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// models/{model}/versions/{version}
    pub(super) model_version: String,
    /// The snapshot that is read, or an older one.
    pub(super) snapshot: String,
}

/// A call that is over.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    /// 0: it is the first of its trace.
    pub(super) parent_id: u64,
    pub(super) trace_state: String,
    pub(super) method: Method,
    pub(super) facts: Facts,
    /// Microseconds since 1970.
    pub(super) began_micros: i64,
    pub(super) time: Duration,
    pub(super) code: Code,
}

/// Decides what is traced, and hands it on.
pub(super) struct Tracer {
    /// Of traces without a parent those are taken whose lower half is below this.
    below: u64,
    seeds: [RandomState; 2],
    number: AtomicU64,
    clock: Clock,
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
    metrics: Arc<Metrics>,
    spans: mpsc::Sender<Span>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("below", &self.below).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Takes a share of the calls that bring no trace, 0 to 1.
    pub(super) fn new(
        share: f64,
        (clock, metrics): (Clock, Arc<Metrics>),
        facts: impl Fn() -> Facts + Send + Sync + 'static,
        spans: mpsc::Sender<Span>,
    ) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of 2^64, which is cut off at both ends"
        )]
        let below = (share * u64::MAX as f64) as u64;
        Self {
            below,
            seeds: [RandomState::new(), RandomState::new()],
            number: AtomicU64::new(0),
            clock,
            facts: Box::new(facts),
            metrics,
            spans,
        }
    }

    /// Looks at a call that has just arrived; none: it is not traced.
    pub(super) fn begin(
        self: &Arc<Self>,
        headers: &HeaderMap,
        method: Method,
        began: Instant,
    ) -> Option<OpenSpan> {
        let parent = parent(headers);
        if parent.is_some_and(|parent| !parent.is_sampled) {
            return None;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        // Drawn anew by every process, and no number gives another away.
        let draw = |seed: usize, what: u8| self.seeds[seed].hash_one((number, what)).max(1);
        let trace_id = match parent {
            Some(parent) => parent.trace_id,
            None => {
                let low = draw(0, 0);
                if low >= self.below {
                    return None;
                }
                u128::from(draw(1, 0)) << 64 | u128::from(low)
            }
        };
        let state = parent.and_then(|_| headers.get("tracestate")?.to_str().ok());
        let state = state.filter(|text| text.len() <= STATE_BYTES_MAX).unwrap_or_default();
        let span = Span {
            trace_id,
            span_id: draw(0, 1),
            parent_id: parent.map_or(0, |parent| parent.span_id),
            trace_state: state.to_owned(),
            method,
            facts: (self.facts)(),
            began_micros: self.clock.now().micros(),
            time: Duration::ZERO,
            // Whoever is gone before an answer has cancelled.
            code: Code::Cancelled,
        };
        Some(OpenSpan { tracer: Arc::clone(self), span: Some(span), began })
    }
}

/// A call at work; told of when it is over, whatever becomes of it.
#[derive(Debug)]
pub(super) struct OpenSpan {
    tracer: Arc<Tracer>,
    span: Option<Span>,
    began: Instant,
}

impl OpenSpan {
    /// How it ended, or will if nothing else is said.
    pub(super) fn note(&mut self, code: Code) {
        if let Some(span) = &mut self.span {
            span.code = code;
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.time = self.began.elapsed();
        if self.tracer.spans.try_send(span).is_err() {
            self.tracer.metrics.spans(SpanOutcome::Dropped, 1);
        }
    }
}

#[cfg(test)]
#[path = "traces_tests.rs"]
mod tests;
