//! What badly behaved peers do to a server: nothing that others notice. Silence, slowness, frames
//! of any size, bytes that are no message, calls that are opened to be cancelled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::serve_client::{Clients, subject, three_customers, told};
use crate::serve_fixture::Running;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SCORE: &str = "/tenure.v1.ScoringService/ScoreCustomer";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = len[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a call, each as a literal without a name of the tables (RFC 7541, 6.2.2).
fn headers(stream: u32, ends: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", SCORE),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    frame(1, 4 | u8::from(ends), stream, &block)
}

/// A connection on which HTTP/2 has begun.
async fn open(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Reads until the server closes; how much came. Fails when it does not close in time.
async fn closed(mut stream: TcpStream, within: Duration) -> usize {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(within, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server should have closed the connection");
    bytes.len()
}

/// The server still answers others.
async fn lives(clients: &mut Clients) {
    clients.score(subject("regular")).await.unwrap();
}

async fn start(settings: &[(&str, &str)]) -> (Running, Clients) {
    let server = Running::start(settings).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    (server, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_too_little_is_shown_out() {
    let settings = [("handshake_seconds", "3"), ("connections_max", "8")];
    let (server, mut clients) = start(&settings).await;
    let mut silent = Vec::new();
    for n_bytes in [0, 1, 10, 23, 24, 32, 0] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let begun = [PREFACE, &frame(4, 0, 0, &[])].concat();
        stream.write_all(&begun[..n_bytes]).await.unwrap();
        silent.push(stream);
    }
    // All places are taken: one more is closed at once, and who is in is served.
    lives(&mut clients).await;
    let refused = TcpStream::connect(server.address).await.unwrap();
    closed(refused, Duration::from_secs(2)).await;
    for stream in silent {
        closed(stream, Duration::from_secs(10)).await;
    }
    // Their places are free again.
    let mut others = Clients::new(&server).await;
    lives(&mut others).await;
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_hold_up_nobody() {
    let (server, mut clients) = start(&[("calls_max", "4")]).await;
    let mut slow = open(&server).await;
    // Far more than may be at work: headers, and a body that never ends.
    for n in 0..24 {
        slow.write_all(&headers(2 * n + 1, false)).await.unwrap();
        slow.write_all(&frame(0, 0, 2 * n + 1, &[0, 0, 0, 0, 100, 1, 2])).await.unwrap();
    }
    for _ in 0..20 {
        lives(&mut clients).await;
    }
    drop(slow);
    lives(&mut clients).await;
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_none_end_their_connection_alone() {
    let (server, mut clients) = start(&[("header_bytes_max", "4096")]).await;
    let giant = frame(0, 1, 1, &vec![7; 1 << 20]);
    let long_header = {
        let mut block = vec![0, 1, b'x', 0x7f, 0xe1, 0xff, 0x03];
        block.extend(vec![b'y'; 65_000]);
        let mut frames = frame(1, 0, 1, &block[..16_000]);
        frames.extend(block[16_000..].chunks(16_000).flat_map(|part| frame(9, 0, 1, part)));
        frames
    };
    let mut noise = 0x7e57_u64;
    let mut random = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.to_be_bytes()[0]
    };
    let garbage: Vec<u8> = (0..4_096).map(|_| random()).collect();
    for bytes in [giant, long_header, garbage, frame(8, 0, 0, &[0xff; 4]), frame(3, 0, 0, &[1; 4])]
    {
        let mut stream = open(&server).await;
        // The server may have closed before all of it was sent.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        closed(stream, Duration::from_secs(10)).await;
        lives(&mut clients).await;
    }
    // Calls opened and cancelled at once, again and again, cost the caller its connection.
    let mut stream = open(&server).await;
    for n in 0..20_000_u32 {
        let bytes = [headers(2 * n + 1, false), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    let _ = stream.shutdown().await;
    closed(stream, Duration::from_secs(10)).await;
    lives(&mut clients).await;
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_none_are_refused_with_a_reason_and_unknown_fields_are_passed_over() {
    let (server, _) = start(&[("message_bytes_max", "4096")]).await;
    let channel = server.channel().await;
    let call = |message: Vec<u8>| {
        let channel = channel.clone();
        async move {
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let path = PathAndQuery::from_static(SCORE);
            let codec = ProstCodec::<Raw, ()>::default();
            client.unary(tonic::Request::new(Raw(message)), path, codec).await.map(|_| ())
        }
    };
    let customer = |text: &[u8]| {
        let field = [&[0x0a, u8::try_from(text.len()).unwrap()], text].concat();
        [&[0x0a, u8::try_from(field.len()).unwrap()], &*field].concat()
    };
    assert_eq!(call(customer(b"regular")).await.map_err(|s| s.code()), Ok(()));
    // A field of a later version: number 900, varint.
    let later = [customer(b"regular"), vec![0xa0, 0x38, 0x01]].concat();
    assert_eq!(call(later).await.map_err(|s| s.code()), Ok(()));
    for (message, code, reason) in [
        (customer(&[0xff, 0xfe]), Code::InvalidArgument, "REQUEST_UNREADABLE"),
        (vec![0x0a, 0xff, 0xff], Code::InvalidArgument, "REQUEST_UNREADABLE"),
        (vec![0x0f; 9], Code::InvalidArgument, "REQUEST_UNREADABLE"),
        (vec![0; 5_000], Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (Vec::new(), Code::InvalidArgument, "REQUEST_INVALID"),
    ] {
        let status = call(message.clone()).await.unwrap_err();
        let (found, why, _) = told(&status);
        assert_eq!((found, &*why), (code, reason), "{message:x?}");
    }
    assert!(server.stop().await.complete);
}

/// Bytes that claim to be a message.
#[derive(Debug, Default)]
struct Raw(Vec<u8>);

impl prost::Message for Raw {
    fn encode_raw(&self, buf: &mut impl prost::bytes::BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl prost::bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
