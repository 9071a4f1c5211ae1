use super::super::methods::METHODS;
use super::*;
use crate::domain::Timestamp;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, text)| (name.parse().unwrap(), text.parse().unwrap())).collect()
}

fn tracer(share: f64, waiting_max: usize) -> (Arc<Tracer>, mpsc::Receiver<Span>, Arc<Metrics>) {
    let (spans, receiver) = mpsc::channel(waiting_max);
    let metrics = Arc::new(Metrics::default());
    let facts = || Facts { model_version: "models/m/versions/1".into(), snapshot: "s7".into() };
    let clock = Clock::fixed(Timestamp::from_micros(5));
    let tracer = Tracer::new(share, (clock, Arc::clone(&metrics)), facts, spans);
    (Arc::new(tracer), receiver, metrics)
}

fn call(tracer: &Arc<Tracer>, pairs: &[(&'static str, &str)]) -> Option<OpenSpan> {
    tracer.begin(&headers(pairs), METHODS[0], Instant::now())
}

#[test]
fn a_traceparent_is_read_as_the_w3c_writes_it() {
    let span = "00f067aa0ba902b7";
    let ok = |text: &str, is_sampled: bool| {
        let headers = headers(&[("traceparent", text)]);
        let found = parent(&headers).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((found.trace_text, found.span_id), (TRACE, 0x00f0_67aa_0ba9_02b7));
        assert_eq!(found.is_sampled, is_sampled, "{text}");
    };
    ok(&format!("00-{TRACE}-{span}-01"), true);
    ok(&format!("00-{TRACE}-{span}-00"), false);
    ok(&format!("00-{TRACE}-{span}-03"), true);
    ok(&format!("cc-{TRACE}-{span}-01-what-comes-later"), true);
    for text in [
        String::new(),
        TRACE.to_owned(),
        format!("ff-{TRACE}-{span}-01"),
        format!("00-{TRACE}-{span}-01-more"),
        format!("00-{TRACE}-{span}"),
        format!("00-{TRACE}-{span}-1"),
        format!("00-{}-{span}-01", TRACE.to_uppercase()),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-+{}-{span}-01", &TRACE[1..]),
        format!("00-{TRACE}0-{span}-01"),
    ] {
        assert_eq!(parent(&headers(&[("traceparent", &text)])), None, "{text}");
    }
}

#[test]
fn a_caller_that_traces_decides_for_its_calls() {
    let (tracer, mut spans, _) = tracer(0.0, 8);
    let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let not = format!("00-{TRACE}-00f067aa0ba902b7-00");
    assert!(call(&tracer, &[("traceparent", &not)]).is_none());
    assert!(call(&tracer, &[]).is_none() && call(&tracer, &[("traceparent", "x")]).is_none());
    let mut open = call(&tracer, &[("traceparent", &sampled), ("tracestate", "a=b")]).unwrap();
    open.note(Code::Ok);
    drop(open);
    let span = spans.try_recv().unwrap();
    assert_eq!(span.trace_id, u128::from_str_radix(TRACE, 16).unwrap());
    assert_eq!((span.parent_id, &*span.trace_state), (0x00f0_67aa_0ba9_02b7, "a=b"));
    assert_eq!((span.code, span.began_micros), (Code::Ok, 5));
    assert_eq!((&*span.facts.snapshot, span.method), ("s7", METHODS[0]));
    // Nobody waited for this one.
    drop(call(&tracer, &[("traceparent", &sampled)]));
    assert_eq!(spans.try_recv().unwrap().code, Code::Cancelled);
}

#[test]
fn a_share_of_the_others_is_taken_each_in_a_trace_of_its_own() {
    let (tracer, mut spans, _) = tracer(0.25, 20_000);
    let n_taken = (0..20_000).filter(|_| call(&tracer, &[]).is_some()).count();
    assert!((4_600..5_400).contains(&n_taken), "{n_taken}");
    let (mut traces, mut ids) = (std::collections::BTreeSet::new(), 0);
    while let Ok(span) = spans.try_recv() {
        assert!(span.parent_id == 0 && span.span_id != 0);
        traces.insert(span.trace_id);
        ids += 1;
    }
    assert_eq!((traces.len(), ids), (n_taken, n_taken));
    let (all, mut spans, _) = self::tracer(1.0, 200);
    (0..100).for_each(|_| drop(call(&all, &[])));
    assert_eq!(std::iter::from_fn(|| spans.try_recv().ok()).count(), 100);
}

#[test]
fn what_nobody_takes_is_dropped_and_counted() {
    let (tracer, spans, metrics) = tracer(1.0, 3);
    (0..10).for_each(|_| drop(call(&tracer, &[])));
    assert_eq!(metrics.n_spans(SpanOutcome::Dropped), 7);
    drop(spans);
    drop(call(&tracer, &[]));
    assert_eq!(metrics.n_spans(SpanOutcome::Dropped), 8);
}
