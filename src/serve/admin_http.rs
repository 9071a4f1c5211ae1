//! What orchestrators and Prometheus ask over plain HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! In: a listener of its own, apart from the services. Out: short answers, from what is counted
//! and known already. It tells nothing of a customer. `/livez` says that the process answers;
//! `/readyz` says whether it should get calls, and if not, why.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::TcpListener as BoundListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::codegen::http::{Method, Request, Response, StatusCode};

use super::live::Live;
use crate::store::Health;

/// Probes and scrapers at once.
const CONNECTIONS_MAX: usize = 64;
/// Longest time for a request to arrive, and for a connection to live.
const READ_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Answers until it is aborted.
pub(super) fn run(listener: BoundListener, live: Arc<Live>) -> std::io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    Ok(tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Its end does not wait for probes, so a connection must not keep the store open.
            let live = Arc::downgrade(&live);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<_>| -> Answer {
                    let live = live.upgrade();
                    let method = request.method();
                    ready(Ok(answer(live.as_deref(), method, request.uri().path())))
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(READ_TIME);
                let connection = http.serve_connection(TokioIo::new(stream), service);
                // Whatever a prober does wrong ends its connection and nothing else.
                let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
                drop(place);
            });
        }
    }))
}

type Answer = Ready<Result<Response<String>, Infallible>>;

fn answer(live: Option<&Live>, method: &Method, path: &str) -> Response<String> {
    let text = "text/plain; charset=utf-8";
    let prometheus = "text/plain; version=0.0.4; charset=utf-8";
    let (status, kind, body) = match (live, path) {
        _ if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, text, "GET is wanted\n".to_owned())
        }
        (_, "/livez") => (StatusCode::OK, text, "alive\n".to_owned()),
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, text, "ending\n".to_owned()),
        (Some(live), "/readyz") => match not_ready(live) {
            None => (StatusCode::OK, text, "ready\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, text, format!("{why}\n")),
        },
        (Some(live), "/metrics") => (StatusCode::OK, prometheus, live.metrics.page(live)),
        _ => {
            let known = "there are /livez, /readyz and /metrics\n";
            (StatusCode::NOT_FOUND, text, known.to_owned())
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert("content-type", tonic::codegen::http::HeaderValue::from_static(kind));
    answer
}

/// Why the server should get no calls, if it should not.
fn not_ready(live: &Live) -> Option<String> {
    if live.is_ending.load(Ordering::Relaxed) {
        return Some("the server is ending".to_owned());
    }
    match live.store.health() {
        Health::ReadOnly { cause } => Some(format!("the store takes no events: {cause}")),
        Health::Serving => live.disk.refusal().map(|low| low.to_string()),
    }
}
