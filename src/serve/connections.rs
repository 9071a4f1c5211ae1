//! Connections as they come in: counted, encrypted where that is set up, and made to speak.
//!
//! In: a listener. Out: connections that may be served. One over the limit is closed at once; one
//! that takes too long for its handshake, or says nothing, is closed when its time is up, so that
//! nobody holds a place with silence. Handshakes run beside each other: a slow one delays nobody.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::access::Peer;
use super::tls::Tls;
use super::turnstile::{Turnstile, Turnstiles};
use crate::config::GuardConfig;

/// Connections that are ready and wait to be taken over.
const READY_MAX: usize = 64;
/// Where the system has no file left for a connection, a moment passes before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Preface and the header of the first frame of HTTP/2: who has sent them speaks it, and answers
/// the pings that keep a connection alive.
const SPOKEN_BYTES: usize = 24 + 9;

/// Takes connections until the stream is dropped, which closes the listener.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    guard: &GuardConfig,
    turnstiles: Turnstiles,
) -> ReceiverStream<io::Result<Turnstile<Connection>>> {
    let (ready, taken) = mpsc::channel(READY_MAX);
    let places = Arc::new(Semaphore::new(guard.connections_max.min(Semaphore::MAX_PERMITS)));
    tokio::spawn(accept(
        listener,
        Door { tls, places, handshake: guard.handshake, ready, turnstiles },
    ));
    ReceiverStream::new(taken)
}

#[derive(Clone)]
struct Door {
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    handshake: Duration,
    ready: mpsc::Sender<io::Result<Turnstile<Connection>>>,
    turnstiles: Turnstiles,
}

async fn accept(listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.ready.closed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&door.places).try_acquire_owned() else {
            door.turnstiles.metrics().connections_refused.add(1);
            tracing::warn!("too many connections: one was closed");
            continue;
        };
        // A connection without it is slower, not wrong.
        let _ = stream.set_nodelay(true);
        let door = door.clone();
        tokio::spawn(async move { door.let_in(stream, place).await });
    }
}

impl Door {
    async fn let_in(self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let silence = Box::pin(tokio::time::sleep(self.handshake));
        let socket = match &self.tls {
            None => Socket::Plain(stream),
            Some(tls) => {
                let shaken = tls.acceptor().accept(stream);
                match tokio::time::timeout(self.handshake, shaken).await {
                    Ok(Ok(stream)) => Socket::Tls(Box::new(stream)),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a handshake failed");
                        return;
                    }
                    Err(_) => {
                        tracing::debug!("a handshake took too long");
                        return;
                    }
                }
            }
        };
        let unspoken = Some(Unspoken { n_bytes: 0, silence });
        let connection = Connection { socket, unspoken, _place: place };
        // An error means that the server has ended.
        let _ = self.ready.send(Ok(self.turnstiles.before(connection))).await;
    }
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that has not said enough yet.
struct Unspoken {
    n_bytes: usize,
    silence: Pin<Box<Sleep>>,
}

/// One connection; dropping it frees its place.
pub(super) struct Connection {
    socket: Socket,
    unspoken: Option<Unspoken>,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match &self.socket {
            Socket::Plain(_) => Peer::new(None),
            Socket::Tls(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let own = certificates.and_then(|chain| chain.first());
                Peer::new(own.map(|der| der.clone().into_owned()))
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, unspoken, .. } = &mut *self;
        let before = buf.filled().len();
        let read = match socket {
            Socket::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if let Some(waiting) = unspoken {
            waiting.n_bytes += buf.filled().len() - before;
            if waiting.n_bytes >= SPOKEN_BYTES {
                *unspoken = None;
            } else if read.is_pending() && waiting.silence.as_mut().poll(cx).is_ready() {
                let late = "it did not begin to speak HTTP/2 in time";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(stream) => stream.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
