use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Bytes, Service};
use tonic::transport::{Channel, Server};
use tonic_types::StatusExt;

use super::frames::*;
use super::*;
use crate::serve::methods::METHODS;
use crate::serve::pb;
use crate::serve::pb::scoring_service_client::ScoringServiceClient;

const SCORE: &[u8] = b"/tenure.v1.ScoringService/ScoreCustomer";
const NONE_PASS: Shares = [0; Class::ALL.len()];
const ALL_PASS: Shares = [OPEN; Class::ALL.len()];

/// What a client sends first, after which nothing it sends refers to a table.
fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put(&mut bytes, (SETTINGS, 0), 0, &[]);
    put(&mut bytes, (SETTINGS, ACK), 0, &[]);
    put(&mut bytes, (SETTINGS, ACK), 0, &[]);
    put(&mut bytes, (HEADERS, END_HEADERS | END_STREAM), 1, &[0x20, 0x83]);
    bytes
}

fn block(path: &[u8]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    block::put_field(&mut block, b":path", path);
    block
}

/// One call with a body.
fn call(bytes: &mut Vec<u8>, path: &[u8], stream: u32, body: &[u8]) {
    put(bytes, (HEADERS, END_HEADERS), stream, &block(path));
    put(bytes, (DATA, END_STREAM), stream, body);
}

/// A sieve that has told its client to empty the table, and heard of the library's settings.
fn closing() -> Sieve {
    let mut sieve = Sieve::new(Arc::new(Desk::new()), 0);
    sieve.note_settings(1);
    let mut out = Vec::new();
    sieve.tell((false, false), &mut out);
    assert_eq!(out, [0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    sieve
}

/// Hands over bytes in pieces, as reads do; what passed, and what was sent in place of the rest.
fn sift(sieve: &mut Sieve, bytes: &[u8], pieces: &[usize], shares: &Shares) -> (Vec<u8>, Vec<u8>) {
    let (mut passed, mut out, mut input) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let n = pieces.next().map_or(rest.len(), |n| (*n).clamp(1, rest.len()));
        input.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        loop {
            // The library has little room at times.
            let mut pass = |part: &[u8]| {
                let n = part.len().min(1 + input.len() % 7);
                passed.extend_from_slice(&part[..n]);
                n
            };
            let n = sieve.sift(&input, shares, true, (&mut pass, &mut out));
            if n == 0 {
                break;
            }
            input.drain(..n);
        }
    }
    passed.extend(input);
    sieve.put_credit(&mut out);
    (passed, out)
}

/// The heads of whole frames.
fn heads(bytes: &[u8]) -> Vec<Head> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while let Some(head) = Head::at(rest) {
        found.push(head);
        rest = &rest[head.frame_bytes()..];
    }
    assert!(rest.is_empty());
    found
}

#[test]
fn a_call_is_turned_away_with_all_that_comes_for_it_and_others_pass() {
    let mut sieve = closing();
    let mut bytes = opening();
    call(&mut bytes, SCORE, 3, &[7; 100]);
    let mut wanted = opening();
    for bytes in [&mut bytes, &mut wanted] {
        call(bytes, b"/grpc.health.v1.Health/Check", 5, b"");
        call(bytes, b"/tenure.v1.ModelService/ListModels", 7, b"abc");
        call(bytes, b"/tenure.v1.ScoringService/ScoreStream", 9, b"abc");
    }
    // In Huffman's code, with padding and a priority; its end comes later.
    let path = block::coded(std::str::from_utf8(SCORE).unwrap()).unwrap();
    let mut padded = vec![2, 0, 0, 0, 0, 9, 0x83, 0x04, 0x80 | path.len().to_le_bytes()[0]];
    padded.extend(path);
    padded.extend([0, 0]);
    put(&mut bytes, (HEADERS, END_HEADERS | 0x28), 11, &padded);
    put(&mut bytes, (WINDOW_UPDATE, 0), 11, &[0, 0, 0, 9]);
    put(&mut bytes, (DATA, 0), 11, &[7; 60]);
    put(&mut bytes, (RST_STREAM, 0), 11, &[0, 0, 0, 8]);
    put(&mut bytes, (RST_STREAM, 0), 3, &[0, 0, 0, 8]);
    // The acknowledgement of our own settings is not the library's business.
    let own = wanted.len();
    let (passed, out) = sift(&mut sieve, &bytes, &[1, 50, 3], &NONE_PASS);
    let at = 24 + 9 + 9;
    assert_eq!(passed.len(), own - 9);
    assert_eq!([&passed[..at], &passed[at..]], [&wanted[..at], &wanted[at + 9..]]);
    let found = heads(&out);
    assert_eq!(found.iter().map(|head| head.stream).collect::<Vec<_>>(), [3, 11, 11, 0]);
    assert!(found[..2].iter().all(|head| head.kind == HEADERS && head.flags == 5));
    // A body that goes on gets its own window back as well.
    assert!(found[2].kind == WINDOW_UPDATE);
    assert_eq!(out[out.len() - 4..], 160_u32.to_be_bytes());
    assert_eq!(sieve.news.len(), 2);
    let known = sieve.news[0];
    assert_eq!(METHODS[known.place].name, "ScoringService/ScoreCustomer");
    // Nothing is awaited, but the newest stream was turned away and the table is gone.
    assert!(!sieve.can_end());
    let mut last = Vec::new();
    call(&mut last, SCORE, 13, b"");
    assert_eq!(sift(&mut sieve, &last, &[], &ALL_PASS), (last, Vec::new()));
    assert!(!sieve.can_end());
    let mut out = Vec::new();
    sieve.tell((true, true), &mut out);
    assert_eq!(out[9..], [0, 1, 0, 0, 0x10, 0]);
    let mut ack = Vec::new();
    put(&mut ack, (SETTINGS, ACK), 0, &[]);
    assert_eq!(sift(&mut sieve, &ack, &[], &ALL_PASS), (Vec::new(), Vec::new()));
    assert!(sieve.can_end());
}

#[test]
fn as_long_as_blocks_may_refer_to_a_table_all_pass() {
    for (first, block) in [
        // It has not said that its table is empty.
        (&[0x83][..], block(SCORE)),
        // It says that it has one again.
        (&[0x20, 0x3f, 0xe1, 0x1f, 0x83], block(SCORE)),
        // It does in the block itself; it refers to it; it is cut off; it is none of ours.
        (&[0x20, 0x83], [&[0x20][..], &block(SCORE)].concat()),
        (&[0x20, 0x83], [&block(SCORE)[..], &[0xbe]].concat()),
        (&[0x20, 0x83], block(SCORE)[..20].to_vec()),
        (&[0x20, 0x83], block(b"/tenure.v1.ScoringService/ScoreCustomers")),
    ] {
        let mut sieve = closing();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        put(&mut bytes, (HEADERS, END_HEADERS), 1, first);
        put(&mut bytes, (HEADERS, END_HEADERS), 3, &block);
        put(&mut bytes, (DATA, END_STREAM), 3, b"abc");
        assert_eq!(sift(&mut sieve, &bytes, &[5], &NONE_PASS), (bytes, Vec::new()), "{block:x?}");
    }
}

#[test]
fn of_two_that_may_pass_one_does_and_the_longest_queue_of_streams_is_remembered() {
    let mut sieve = closing();
    let mut bytes = opening();
    let n_calls = 40_000;
    (1..=n_calls).for_each(|nth| call(&mut bytes, SCORE, 2 * nth + 1, b"abc"));
    // They cancel all of them, long after.
    (1..=n_calls).for_each(|nth| put(&mut bytes, (RST_STREAM, 0), 2 * nth + 1, &[0; 4]));
    let (passed, out) = sift(&mut sieve, &bytes, &[1 << 15], &[OPEN / 2; Class::ALL.len()]);
    let answered = heads(&out).len() - 1;
    assert_eq!(answered, 20_000);
    let passed = heads(&passed[24..]);
    let opened: Vec<u32> =
        passed.iter().filter(|head| head.kind == HEADERS).map(|head| head.stream).collect();
    assert_eq!(opened.len(), 20_001);
    // What passes of the rest is of a stream that the library knows, or an old one.
    let newest = *opened.last().unwrap();
    for head in passed.iter().filter(|head| head.stream > 0 && head.kind != HEADERS) {
        let is_known = opened.binary_search(&head.stream).is_ok();
        assert!(is_known || (head.kind == RST_STREAM && head.stream < newest), "{head:?}");
    }
}

/// Frames as clients send them, and as nobody should.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        Just(block(SCORE)),
        Just([&[0x20][..], &block(SCORE)].concat()),
        Just(vec![0x20, 0x83]),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let flags = prop_oneof![Just(0), Just(1), Just(4), Just(5), any::<u8>()];
    (0_u8..11, flags, 0_u32..60, content).prop_map(|(kind, flags, stream, content)| {
        let mut bytes = Vec::new();
        put(&mut bytes, (kind, flags), stream, &content);
        bytes
    })
}

proptest! {
    #[test]
    fn how_bytes_are_cut_into_reads_changes_nothing(
        frames in prop::collection::vec(frame(), 0..60),
        tail in prop::collection::vec(any::<u8>(), 0..30),
        pieces in prop::collection::vec(1_usize..40, 1..10),
        share in prop_oneof![Just(0), Just(OPEN / 3), Just(OPEN)],
    ) {
        let bytes = [opening(), frames.concat(), tail].concat();
        let shares = [share; Class::ALL.len()];
        let (mut whole, mut cut) = (closing(), closing());
        let wanted = sift(&mut whole, &bytes, &[], &shares);
        let found = sift(&mut cut, &bytes, &pieces, &shares);
        prop_assert_eq!(&found.1, &wanted.1);
        prop_assert_eq!(&found.0, &wanted.0);
        prop_assert_eq!(&whole.news, &cut.news);
        // While all pass, all does but the answers to our own settings.
        if share == OPEN {
            let is_ack = |head: &&Head| head.kind == SETTINGS && head.has(ACK);
            let n_acks = heads_of(&bytes).iter().filter(is_ack).count();
            prop_assert!(n_acks >= 2);
            prop_assert_eq!(found.0.len(), bytes.len() - HEAD_BYTES - ack_content(&bytes));
            prop_assert!(found.1.is_empty());
        }
        // One that only follows knows the same place.
        let mut through = Sieve::new(Arc::new(Desk::new()), 0);
        for part in bytes.chunks(pieces[0]) {
            through.follow(part);
        }
    }

    #[test]
    fn where_the_library_writes_is_known_however_it_writes(
        frames in prop::collection::vec(frame(), 1..30),
        pieces in prop::collection::vec(1_usize..40, 1..10),
    ) {
        let (bytes, mut outbound) = (frames.concat(), Outbound::default());
        let mut whole = Outbound::default();
        whole.follow(&bytes);
        let (mut rest, mut pieces) = (&bytes[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let n = pieces.next().map_or(1, |n| (*n).min(rest.len()));
            outbound.follow(&rest[..n]);
            rest = &rest[n..];
        }
        prop_assert_eq!(outbound.is_between(), whole.is_between());
        prop_assert_eq!(outbound.n_settings, whole.n_settings);
        prop_assert_eq!(outbound.has_answered, whole.has_answered);
        let last = frames.last().unwrap();
        outbound.follow(&last[..last.len() - 1]);
        prop_assert!(!outbound.is_between());
    }
}

/// Heads as far as frames are whole.
fn heads_of(bytes: &[u8]) -> Vec<Head> {
    let (mut rest, mut found) = (&bytes[24..], Vec::new());
    while let Some(head) = Head::at(rest)
        && let Some(after) = rest.get(head.frame_bytes()..)
    {
        found.push(head);
        rest = after;
    }
    found
}

/// Content of the second acknowledgement, which is that of our own settings.
fn ack_content(bytes: &[u8]) -> usize {
    let acks = |head: &&Head| head.kind == SETTINGS && head.has(ACK);
    heads_of(bytes).iter().filter(acks).nth(1).map_or(0, |head| head.n_bytes)
}

/// Lets pass what a test says.
#[derive(Debug, Default)]
struct Told {
    share: AtomicU32,
    is_calm: AtomicBool,
    n_turned: AtomicU32,
}

impl Valve for Told {
    fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    fn shares(&self) -> Shares {
        [self.share.load(Ordering::Relaxed); Class::ALL.len()]
    }

    fn turned_away(&self, _: Class, n: u32) {
        self.n_turned.fetch_add(n, Ordering::Relaxed);
    }
}

/// Answers every call with an empty message, once it has read its body.
#[derive(Debug, Clone)]
struct Empty;

impl Service<Request<Body>> for Empty {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) =
                std::future::poll_fn(|cx| tonic::codegen::Body::poll_frame(Pin::new(&mut body), cx))
                    .await
            {}
            let last = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
            let message = http_body::Frame::data(Bytes::from_static(&[0; 5]));
            let frames = [message, http_body::Frame::trailers(last.into_iter().collect())];
            let mut answer = Response::new(Body::new(Frames(frames.into_iter().collect())));
            let kind = "application/grpc".parse().unwrap();
            answer.headers_mut().insert("content-type", kind);
            Ok(answer)
        })
    }
}

struct Frames(std::collections::VecDeque<http_body::Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// A server behind turnstiles that let pass what they are told, and a client of it.
async fn start(valve: &Arc<Told>) -> (Channel, Arc<Metrics>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::default());
    let turnstiles = Turnstiles::new(valve.clone(), Arc::clone(&metrics));
    let incoming = TcpListenerStream::new(listener)
        .map(move |stream| stream.map(|stream| turnstiles.before(stream)));
    tokio::spawn(Server::builder().serve_with_incoming(Empty, incoming));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    (channel.connect().await.unwrap(), metrics)
}

async fn score(channel: &Channel, n_bytes: usize) -> Result<(), tonic::Status> {
    let subject = pb::ScoreSubject { customer: "x".repeat(n_bytes), ..Default::default() };
    let request = pb::ScoreCustomerRequest { subject: Some(subject), ..Default::default() };
    ScoringServiceClient::new(channel.clone()).score_customer(request).await.map(|_| ())
}

/// Whether a call was answered; if not, it was refused as it should be.
fn is_good(result: Result<(), tonic::Status>) -> bool {
    let Err(status) = result else { return true };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert!(status.message().contains("too many calls (interactive)"), "{status:?}");
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_passes_is_answered_and_the_rest_is_told_to_come_again() {
    let valve = Arc::new(Told { is_calm: true.into(), share: OPEN.into(), ..Told::default() });
    let (channel, _) = start(&valve).await;
    let callers = (0..8_u32).map(|caller| {
        let (channel, valve) = (channel.clone(), Arc::clone(&valve));
        tokio::spawn(async move {
            let (mut noise, mut n_refused) = (u64::from(caller) + 1, 0);
            for nth in 0..400 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let drawn = (noise >> 33) as u32;
                if caller == 0 && nth % 8 == 0 {
                    let (share, is_calm) =
                        [(0, false), (OPEN / 3, false), (OPEN, false), (OPEN, true)]
                            [drawn as usize % 4];
                    valve.share.store(share, Ordering::Relaxed);
                    valve.is_calm.store(is_calm, Ordering::Relaxed);
                }
                let n_bytes = [10, 1_000, 40_000][drawn as usize / 8 % 3];
                // Some leave before they are answered.
                if drawn.is_multiple_of(11) {
                    let call = score(&channel, n_bytes);
                    let _ = tokio::time::timeout(Duration::ZERO, call).await;
                } else {
                    n_refused += u32::from(!is_good(score(&channel, n_bytes).await));
                }
            }
            n_refused
        })
    });
    let mut n_refused = 0;
    for caller in callers.collect::<Vec<_>>() {
        n_refused += caller.await.unwrap();
    }
    let n_turned = valve.n_turned.load(Ordering::Relaxed);
    assert!(n_refused > 100, "{n_refused}");
    assert!(n_turned >= n_refused, "{n_turned} {n_refused}");
    valve.share.store(OPEN, Ordering::Relaxed);
    valve.is_calm.store(true, Ordering::Relaxed);
    for _ in 0..50 {
        assert!(is_good(score(&channel, 1_000).await));
    }
    assert_eq!(valve.n_turned.load(Ordering::Relaxed), n_turned);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_calls_turned_away_use_up_no_window() {
    let valve = Arc::new(Told { share: OPEN.into(), ..Told::default() });
    let (channel, _) = start(&valve).await;
    assert!(is_good(score(&channel, 10).await));
    valve.share.store(OPEN / 50, Ordering::Relaxed);
    // A hundred times the window of the connection.
    let mut n_refused = 0;
    for _ in 0..2_000 {
        n_refused += u32::from(!is_good(score(&channel, 60_000).await));
    }
    assert!(n_refused > 1_900, "{n_refused}");
}

/// A client keeps a call until its body has left, and has only so many.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_longer_than_a_streams_window_keep_no_call_open() {
    let valve = Arc::new(Told { share: OPEN.into(), ..Told::default() });
    let (channel, _) = start(&valve).await;
    assert!(is_good(score(&channel, 10).await));
    valve.share.store(OPEN / 50, Ordering::Relaxed);
    let mut n_refused = 0;
    // More than may be open at once.
    for _ in 0..260 {
        n_refused += u32::from(!is_good(score(&channel, 2 << 20).await));
    }
    assert!(n_refused > 200, "{n_refused}");
    valve.share.store(OPEN, Ordering::Relaxed);
    assert!(is_good(score(&channel, 10).await));
}
