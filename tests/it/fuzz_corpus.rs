//! The kept inputs of the fuzz targets of `tests/fuzz`, run through the same functions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

#[path = "../fuzz/src/corpus.rs"]
#[allow(dead_code, reason = "only reading is needed here")]
mod corpus;
#[path = "../fuzz/harness.rs"]
mod harness;

use std::path::Path;

/// Runs all kept inputs of a target; a finding names its number in the file.
fn replay(target: &str, run: fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/fuzz");
    let inputs = corpus::read(&kept.join(format!("{target}.gz"))).unwrap();
    assert!(inputs.len() >= 50, "{target}: {} inputs", inputs.len());
    for (n, input) in inputs.iter().enumerate() {
        let held = std::panic::catch_unwind(|| run(input));
        assert!(held.is_ok(), "{target}: kept input {n} of {}", inputs.len());
    }
}

#[test]
fn kept_logs_of_events_break_nothing() {
    replay("events", harness::events);
}

#[test]
fn kept_histories_break_nothing() {
    replay("history", harness::history);
}

#[test]
fn kept_bundles_break_nothing() {
    replay("bundle", harness::bundle);
}

#[test]
fn kept_policies_break_nothing() {
    replay("policy", harness::policy);
}

#[test]
fn kept_requests_break_nothing() {
    replay("request", harness::request);
}
