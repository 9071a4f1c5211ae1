//! A server that does nothing: it reads each message and answers bytes that were written before.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use anyhow::{Context, Result};
use prost::bytes::Bytes;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use super::{Kind, Load, Raw, TcpListenerStream};

/// What a server says to the first message of a kind.
pub(super) async fn first_answer(channel: Channel, kind: &Kind<'_>) -> Result<Bytes> {
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
    client.ready().await?;
    let message = kind.messages.first().context("a message")?.clone();
    let path = kind.method.parse()?;
    if let Load::Unary(_) = kind.load {
        return Ok(client.unary(Request::new(message), path, Raw).await?.into_inner());
    }
    let request = Request::new(tokio_stream::once(message));
    let mut answers = client.streaming(request, path, Raw).await?.into_inner();
    Ok(answers.next().await.context("no answer")??)
}

/// Serves the answers of a folder, whose files are named after method and rows.
pub(super) async fn serve(dir: &Path) -> Result<()> {
    let mut answers: BTreeMap<String, BTreeMap<usize, Bytes>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?;
        let (method, rows) = name.split_once('-').context("METHOD-ROWS")?;
        let held = answers.entry(format!("{}{method}", super::SERVICE)).or_default();
        held.insert(rows.parse()?, std::fs::read(&path)?.into());
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    // Without this the client waits for acknowledgements that are put off.
    let prompt = |stream: std::io::Result<tokio::net::TcpStream>| {
        stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    };
    let incoming = TcpListenerStream::new(listener).map(prompt);
    Server::builder().serve_with_incoming(Nothing(Arc::new(answers)), incoming).await?;
    Ok(())
}

type Answers = Arc<BTreeMap<String, BTreeMap<usize, Bytes>>>;

#[derive(Clone)]
struct Nothing(Answers);

impl NamedService for Nothing {
    const NAME: &'static str = "tenure.v1.ScoringService";
}

/// Messages of this size and more have the answer of many rows.
const MANY_BYTES: usize = 4_096;

/// The answers of a method by rows: few, many.
#[derive(Clone)]
struct Same([Bytes; 2]);

impl Same {
    fn of(&self, request: &Bytes) -> Bytes {
        self.0[usize::from(request.len() >= MANY_BYTES)].clone()
    }
}

impl UnaryService<Bytes> for Same {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(self.of(request.get_ref()))))
    }
}

impl StreamingService<Bytes> for Same {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let same = self.clone();
        let answers = request.into_inner().map(move |row| row.map(|row| same.of(&row)));
        ready(Ok(Response::new(Box::pin(answers))))
    }
}

impl Service<http::Request<Body>> for Nothing {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let Some(held) = self.0.get(path) else {
            let unknown = Status::unimplemented("nothing is answered here");
            return Box::pin(ready(Ok(unknown.into_http())));
        };
        let part =
            |found: Option<(&usize, &Bytes)>| found.map_or_else(Bytes::new, |(_, b)| b.clone());
        let same = Same([part(held.first_key_value()), part(held.last_key_value())]);
        let is_stream = path.ends_with("Stream");
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(64 << 20);
            Ok(if is_stream {
                grpc.streaming(same, request).await
            } else {
                grpc.unary(same, request).await
            })
        })
    }
}
