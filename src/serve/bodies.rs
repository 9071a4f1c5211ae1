//! Bodies of requests and answers on their way through the gate.
//!
//! In: a request's body. Out: the same, of which the beginning has arrived already; a caller that
//! sends slowly so holds no place among those at work. And answers that keep their place until
//! their last byte is sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Body as _;
use tonic::codegen::Bytes;

use super::admission::Permit;
use super::limits;
use super::traces::OpenSpan;

/// So much of a body has to be there before the call may begin; most bodies are shorter.
const BEGINNING_BYTES: usize = 64 << 10;

/// Waits for the beginning of a body.
pub(super) async fn begun(mut body: Body) -> Body {
    let (mut frames, mut n_bytes, mut rest) = (VecDeque::new(), 0, None);
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        match frame {
            None => break,
            Some(frame) => {
                n_bytes += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
                let is_end = frame.is_err();
                frames.push_back(frame);
                if is_end || body.is_end_stream() {
                    break;
                }
                if n_bytes >= BEGINNING_BYTES {
                    rest = Some(body);
                    break;
                }
            }
        }
    }
    Body::new(Begun { frames, rest })
}

struct Begun {
    frames: VecDeque<Result<Frame<Bytes>, Status>>,
    rest: Option<Body>,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

/// An answer whose span ends when it has been sent, with the status that comes last.
pub(super) fn traced(body: Body, span: OpenSpan) -> Body {
    Body::new(Traced { body, span })
}

struct Traced {
    body: Body,
    span: OpenSpan,
}

impl http_body::Body for Traced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(last) = frame.trailers_ref() {
                    self.span.note(limits::code(last));
                }
            }
            Poll::Ready(Some(Err(status))) => self.span.note(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that keeps its place until it has been sent.
pub(super) fn held(body: Body, permit: Permit) -> Body {
    Body::new(Held { body, _permit: permit })
}

struct Held {
    body: Body,
    _permit: Permit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
