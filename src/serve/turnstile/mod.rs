//! The turnstile between a connection and the HTTP/2 library: while more calls come than can be
//! answered, it turns short ones away for a small part of what the library needs to refuse them.
//!
//! In: a connection, decrypted. Out: the same, without the calls that were turned away, each of
//! which was answered with UNAVAILABLE and RetryInfo as every refusal of ours. What share passes
//! is said by `throttle.rs`, from what admission refuses of those that passed; as long as all
//! pass, bytes are read where the library wants them and only frames' lengths are followed. The
//! library sees the bytes of every call that passes as they came.
//!
//! Everything is bounded: one buffer a connection while it sifts, and a client that does not read
//! its answers is not read from. It deliberately knows no caller: those turned away learn that
//! the server is busy, which is the same for all.

mod block;
mod desk;
mod frames;
mod outbound;
mod sieve;
#[cfg(test)]
mod tests;
mod turned;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::admission::Admission;
use super::methods::Class;
use super::metrics::Metrics;
use super::throttle::OPEN;

use desk::Desk;
use outbound::Outbound;
use sieve::{Pass, Shares, Sieve};

/// Bytes read at once while sifting: the longest frame of headers has room.
const INPUT_BYTES: usize = 20 << 10;
/// Beyond so many bytes of our own that the client does not take, nothing is read.
const OUT_BYTES_MAX: usize = 1 << 16;
/// Reads in a row of which nothing passed; then others have their turn.
const READS_MAX: usize = 16;

/// Who says what may pass.
pub(super) trait Valve: std::fmt::Debug + Send + Sync {
    /// Whether all have passed for a while.
    fn is_calm(&self) -> bool;

    /// What share of each class may pass, of [`OPEN`].
    fn shares(&self) -> Shares;

    /// So many were turned away.
    fn turned_away(&self, class: Class, n: u32);
}

impl Valve for Admission {
    fn is_calm(&self) -> bool {
        self.is_calm()
    }

    fn shares(&self) -> Shares {
        self.shares()
    }

    fn turned_away(&self, class: Class, n: u32) {
        self.turned_away(class, n);
    }
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Turnstiles {
    desk: Arc<Desk>,
    valve: Arc<dyn Valve>,
    metrics: Arc<Metrics>,
    n_made: Arc<AtomicU32>,
}

impl Turnstiles {
    /// With who says what may pass, and where it is counted.
    pub(super) fn new(valve: Arc<dyn Valve>, metrics: Arc<Metrics>) -> Self {
        Self { desk: Arc::new(Desk::new()), valve, metrics, n_made: Arc::default() }
    }

    /// Where connections are counted.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts one before a connection.
    pub(super) fn before<S>(&self, inner: S) -> Turnstile<S> {
        let seed = self.n_made.fetch_add(1, Ordering::Relaxed);
        Turnstile {
            inner,
            sieve: Sieve::new(Arc::clone(&self.desk), seed),
            outbound: Outbound::default(),
            shared: self.clone(),
            buffers: None,
        }
    }
}

/// What a connection needs while it sifts.
#[derive(Debug)]
struct Buffers {
    input: Box<[u8]>,
    /// Of the input: read, and of that done with.
    n_read: usize,
    n_done: usize,
    /// The client will say nothing more.
    is_ended: bool,
    /// Frames of our own.
    out: Vec<u8>,
    n_out: usize,
    /// Reading waits until the client takes them.
    is_blocked: bool,
}

impl Buffers {
    fn new() -> Self {
        Self {
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            n_read: 0,
            n_done: 0,
            is_ended: false,
            out: Vec::new(),
            n_out: 0,
            is_blocked: false,
        }
    }
}

/// A connection behind a turnstile.
#[derive(Debug)]
pub(super) struct Turnstile<S> {
    inner: S,
    sieve: Sieve,
    outbound: Outbound,
    shared: Turnstiles,
    /// While it sifts.
    buffers: Option<Box<Buffers>>,
}

impl<S: Connected> Connected for Turnstile<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.inner.connect_info()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Turnstile<S> {
    /// Sends frames of our own, as far as the client takes them and none of the library's has
    /// begun.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(buffers) = &mut self.buffers else { return Poll::Ready(Ok(())) };
        if buffers.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !self.outbound.is_between() {
            return Poll::Pending;
        }
        while buffers.n_out < buffers.out.len() {
            let left = &buffers.out[buffers.n_out..];
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, left))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            buffers.n_out += n;
        }
        // What cannot leave yet does when the library flushes.
        let _ = Pin::new(&mut self.inner).poll_flush(cx)?;
        buffers.out.clear();
        buffers.out.shrink_to(OUT_BYTES_MAX);
        buffers.n_out = 0;
        if std::mem::take(&mut buffers.is_blocked) {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// The same before bytes of the library, which must not stand within a frame of ours.
    fn poll_before(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.is_between() { self.poll_own(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Reads where the library wants it.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.sieve.note_settings(std::mem::take(&mut self.outbound.n_settings));
        self.sieve.follow(&buf.filled()[before..]);
        read
    }

    /// Takes over from reading through, or hands back to it.
    fn change(&mut self) -> bool {
        let is_calm = self.shared.valve.is_calm();
        let is_sifting = match &self.buffers {
            None => !is_calm && self.sieve.can_begin(),
            Some(buffers) => {
                let is_empty = buffers.out.is_empty() && buffers.n_done == buffers.n_read;
                !(is_calm && is_empty && !buffers.is_ended && self.sieve.can_end())
            }
        };
        if !is_sifting {
            if self.buffers.take().is_some() {
                self.sieve.end();
            }
        } else if self.buffers.is_none() {
            self.buffers = Some(Box::new(Buffers::new()));
        }
        is_sifting
    }

    /// Moves what has been read to the library, without the calls that are turned away.
    fn sift(&mut self, buf: &mut ReadBuf<'_>) {
        let Some(buffers) = &mut self.buffers else { return };
        let shares = self.shared.valve.shares();
        let is_open = shares.iter().all(|share| *share >= OPEN);
        self.sieve.note_settings(std::mem::take(&mut self.outbound.n_settings));
        self.sieve.tell((is_open, self.shared.valve.is_calm()), &mut buffers.out);
        let mut pass = |bytes: &[u8]| {
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..n]);
            n
        };
        let input = &buffers.input[buffers.n_done..buffers.n_read];
        let to = (&mut pass as Pass<'_>, &mut buffers.out);
        let mut n = self.sieve.sift(input, &shares, self.outbound.has_answered, to);
        if buffers.is_ended && n == 0 {
            // Half a frame, at the end.
            self.sieve.give_up();
            n = pass(input);
        }
        buffers.n_done += n;
        self.sieve.put_credit(&mut buffers.out);
        self.count();
    }

    /// Counts those who were turned away.
    fn count(&mut self) {
        let (metrics, mut by_class) = (&self.shared.metrics, [0; Class::ALL.len()]);
        for known in self.sieve.news.drain(..) {
            by_class[known.class.idx()] += 1;
            metrics.turned_away(known.class, known.place);
        }
        for class in Class::ALL.into_iter().filter(|class| by_class[class.idx()] > 0) {
            self.shared.valve.turned_away(class, by_class[class.idx()]);
        }
    }

    /// Reads behind what is not done with.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(buffers) = &mut self.buffers else { return Poll::Ready(Ok(())) };
        buffers.input.copy_within(buffers.n_done..buffers.n_read, 0);
        (buffers.n_read, buffers.n_done) = (buffers.n_read - buffers.n_done, 0);
        let mut buf = ReadBuf::new(&mut buffers.input[buffers.n_read..]);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
        let n = buf.filled().len();
        buffers.n_read += n;
        buffers.is_ended |= n == 0;
        Poll::Ready(Ok(()))
    }

    /// Whether the client leaves too much of ours unread; then reading waits.
    fn is_blocked(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let is_long = |buffers: &Buffers| buffers.out.len() - buffers.n_out > OUT_BYTES_MAX;
        if !self.buffers.as_deref().is_some_and(is_long) {
            return Ok(false);
        }
        let is_blocked = self.poll_own(cx)?.is_pending();
        if let Some(buffers) = &mut self.buffers {
            buffers.is_blocked = is_blocked;
        }
        Ok(is_blocked)
    }

    fn poll_sifted(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        for _ in 0..READS_MAX {
            if self.is_blocked(cx)? {
                return Poll::Pending;
            }
            self.sift(buf);
            let is_ended = self.buffers.as_deref().is_none_or(|buffers| buffers.is_ended);
            if is_ended || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if self.poll_input(cx)?.is_pending() {
                // Who is not ready for answers takes them when it is: the library flushes.
                let _ = self.poll_own(cx)?;
                return Poll::Pending;
            }
        }
        let _ = self.poll_own(cx)?;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Turnstile<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.change() { this.poll_sifted(cx, buf) } else { this.poll_through(cx, buf) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Turnstile<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_before(cx))?;
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.outbound.follow(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_before(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_before(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_before(cx))?;
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, parts))?;
        let mut n_left = n;
        for part in parts {
            let written = &part[..n_left.min(part.len())];
            self.outbound.follow(written);
            n_left -= written.len();
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
