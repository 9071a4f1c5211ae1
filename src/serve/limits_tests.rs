use std::convert::Infallible;

use tonic_types::StatusExt;

use super::*;

/// What the service behind the gate does.
#[derive(Clone, Copy)]
enum Behind {
    Answers,
    Sleeps(Duration),
    Panics,
    Says(Code, &'static str),
}

impl Service<Request<Body>> for Behind {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let behind = *self;
        Box::pin(async move {
            match behind {
                Self::Answers => {}
                Self::Sleeps(time) => tokio::time::sleep(time).await,
                Self::Panics => panic!("a secret"),
                Self::Says(code, text) => return Ok(Status::new(code, text).into_http()),
            }
            Ok(Response::new(Body::empty()))
        })
    }
}

const SCORE: &str = "/tenure.v1.ScoringService/ScoreCustomer";
const SECOND: Duration = Duration::from_secs(1);

fn gate_and_cut(behind: Behind) -> (Gate<Behind>, watch::Sender<bool>) {
    let limits = ServeLimits {
        message_bytes_max: 77,
        batch_rows_max: 1,
        events_max: 1,
        calls_max: 2,
        call_time_max: 10 * SECOND,
        clock_skew: SECOND,
        notice: SECOND,
        drain: SECOND,
        batch_threads: 1,
        store_writers: 1,
        sweep_rate: 0,
        sweep_pause: SECOND,
        forget_after_days: 0,
    };
    let (cut, is_cut) = watch::channel(false);
    let counted = (Arc::new(Admission::new(limits.calls_max, 1)), Arc::default());
    (GateLayer::new(&limits, Arc::default(), counted, is_cut).layer(behind), cut)
}

fn gate(behind: Behind) -> Gate<Behind> {
    let (gate, cut) = gate_and_cut(behind);
    // A sender that is gone would end every call.
    std::mem::forget(cut);
    gate
}

fn request(path: &str, timeout: Option<&str>) -> Request<Body> {
    let builder = Request::builder().uri(path);
    let builder = timeout.into_iter().fold(builder, |b, text| b.header("grpc-timeout", text));
    builder.body(Body::empty()).unwrap()
}

async fn status(behind: Behind, timeout: Option<&str>) -> Option<Status> {
    let answer = gate(behind).call(request(SCORE, timeout)).await.unwrap();
    Status::from_header_map(answer.headers())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_told_as_one() {
    for (time, timeout, late) in [
        (SECOND, None, false),
        (11 * SECOND, None, true),
        (SECOND, Some("500m"), true),
        (SECOND, Some("2S"), false),
        (11 * SECOND, Some("1H"), true),
        (SECOND, Some("nonsense"), false),
        (SECOND, Some(""), false),
    ] {
        let status = status(Behind::Sleeps(time), timeout).await;
        assert_eq!(status.is_some(), late, "{time:?} {timeout:?}");
        if let Some(status) = status {
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
        }
    }
}

#[tokio::test]
async fn a_panic_ends_one_call_and_tells_nothing_of_its_cause() {
    let status = status(Behind::Panics, None).await.unwrap();
    assert_eq!(status.code(), Code::Internal);
    let info = status.get_details_error_info().unwrap();
    assert!(!info.metadata["incident"].is_empty());
    assert!(!format!("{status:?}").contains("secret"));
    assert!(self::status(Behind::Answers, None).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_may_be_at_work_are_told_to_come_again() {
    let gate = gate(Behind::Sleeps(SECOND));
    // Two at work and two in the line.
    let calls: Vec<_> =
        (0..4).map(|_| tokio::spawn(gate.clone().call(request(SCORE, None)))).collect();
    tokio::time::sleep(SECOND / 10).await;
    let refused = gate.clone().call(request(SCORE, None)).await.unwrap();
    let status = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "OVERLOADED"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    let health = gate.clone().call(request("/grpc.health.v1.Health/Check", None)).await.unwrap();
    assert!(Status::from_header_map(health.headers()).is_none());
    for call in calls {
        let answer = call.await.unwrap().unwrap();
        assert!(Status::from_header_map(answer.headers()).is_none());
    }
    let again = gate.clone().call(request(SCORE, None)).await.unwrap();
    assert!(Status::from_header_map(again.headers()).is_none());
}

#[tokio::test]
async fn what_the_framework_says_gets_our_codes_and_details() {
    let long = "Error, decoded message length too large: found 9 bytes, the limit is: 7 bytes";
    for (code, text, ours, why) in [
        (Code::OutOfRange, long, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (Code::Internal, "failed to decode: x", Code::InvalidArgument, "REQUEST_UNREADABLE"),
        (Code::Unimplemented, "", Code::Unimplemented, "METHOD_UNKNOWN"),
    ] {
        let status = status(Behind::Says(code, text), None).await.unwrap();
        assert_eq!((status.code(), &*reason(&status)), (ours, why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cuts_off_tells_the_calls_at_work() {
    let (gate, cut) = gate_and_cut(Behind::Sleeps(5 * SECOND));
    let call = gate.clone().call(request(SCORE, None));
    let cutting = async {
        tokio::time::sleep(SECOND).await;
        cut.send(true).unwrap();
    };
    let (answer, ()) = tokio::join!(call, cutting);
    let status = Status::from_header_map(answer.unwrap().headers()).unwrap();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "SHUTTING_DOWN"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_too_long_to_be_looked_at_is_refused() {
    let gate = gate(Behind::Answers);
    let after = async |waited: u64, timeout: Option<&str>| {
        let mut taken = gate.clone();
        tokio::time::sleep(Duration::from_millis(waited)).await;
        let answer = taken.call(request(SCORE, timeout)).await.unwrap();
        Status::from_header_map(answer.headers()).map(|status| reason(&status))
    };
    assert_eq!(after(49, None).await, None);
    assert_eq!(after(51, None).await.unwrap(), "OVERLOADED");
    // As long as that goes on, a moment is too long; a second later it is not.
    assert_eq!(after(3, None).await.unwrap(), "OVERLOADED");
    assert_eq!(after(1, None).await, None);
    tokio::time::sleep(SECOND).await;
    assert_eq!(after(9, Some("20m")).await, None);
    assert_eq!(after(11, Some("20m")).await.unwrap(), "OVERLOADED");
}
