//! Tests of the decision log: what is in it after a crash, at a limit, and after a change of file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::decision_log::*;
use crate::domain::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn line(n: usize) -> String {
    format!("{{\"n\":{n}}}\n")
}

fn lines(dir: &Path) -> Vec<String> {
    let segments = decision_segments(dir).unwrap();
    let texts = segments.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn open(dir: &Path, spec: DecisionLogSpec) -> DecisionLog {
    DecisionLog::open(dir, spec).unwrap().0
}

#[test]
fn lines_are_there_before_the_call_returns_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), DecisionLogSpec::default());
    for n in 0..500 {
        assert_eq!(log.append(line(n).as_bytes(), 1, at(n as i64)).unwrap(), Appended::Written);
        // As another process sees it, before any sync was waited for.
        assert_eq!(lines(dir.path()).len(), n + 1);
    }
    log.flush().unwrap();
    let wanted: Vec<String> = (0..500).map(|n| line(n).trim().to_owned()).collect();
    assert_eq!(lines(dir.path()), wanted);
    drop(log);
    let log = open(dir.path(), DecisionLogSpec::default());
    log.append(line(500).as_bytes(), 1, at(0)).unwrap();
    assert_eq!(lines(dir.path()).len(), 501, "the next process goes on");
}

#[test]
fn many_threads_write_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let spec = DecisionLogSpec { segment_bytes_max: 4_000, ..DecisionLogSpec::default() };
    let log = open(dir.path(), spec);
    thread_writes(&log);
    drop(log);
    let mut found = lines(dir.path());
    found.sort();
    let mut wanted: Vec<String> = (0..2_000).map(|n| line(n).trim().to_owned()).collect();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(decision_segments(dir.path()).unwrap().len() > 3);
}

fn thread_writes(log: &DecisionLog) {
    std::thread::scope(|scope| {
        for part in 0..8 {
            scope.spawn(move || {
                for n in 0..250 {
                    log.append(line(part * 250 + n).as_bytes(), 1, at(0)).unwrap();
                }
            });
        }
    });
}

#[test]
fn who_does_not_wait_writes_whole_lines_too_and_nothing_where_another_is_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), DecisionLogSpec::default());
    std::thread::scope(|scope| {
        for part in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..250 {
                    let line = line(part * 250 + n);
                    let appended = loop {
                        match log.try_append(line.as_bytes(), 1, at(0)) {
                            Some(appended) => break appended.unwrap(),
                            None => std::thread::yield_now(),
                        }
                    };
                    assert_eq!(appended, Appended::Written);
                }
            });
        }
    });
    let mut found = lines(dir.path());
    found.sort();
    let mut wanted: Vec<String> = (0..1_000).map(|n| line(n).trim().to_owned()).collect();
    wanted.sort();
    assert_eq!(found, wanted, "each once");
}

#[test]
fn whoever_waits_for_the_disk_wakes_the_thread_that_syncs_however_often() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), DecisionLogSpec::default());
    for n in 0..20 {
        log.append(line(n).as_bytes(), 1, at(0)).unwrap();
        log.flush().unwrap();
        // Nothing waits any more: there is room for what is longer than may wait.
        log.flush().unwrap();
    }
    assert_eq!(lines(dir.path()).len(), 20);
}

#[test]
fn a_torn_last_line_is_cut_off_and_the_rest_stays() {
    for torn in ["{\"n\":3", "x", "{\"n\":3,\"long\":\"", "\0\0\0\0"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions-00000001.jsonl");
        let long = "y".repeat(if torn.len() > 10 { 200_000 } else { 0 });
        fs::write(&path, format!("{}{}{torn}{long}", line(1), line(2))).unwrap();
        let (log, report) = DecisionLog::open(dir.path(), DecisionLogSpec::default()).unwrap();
        assert_eq!(report.torn_bytes, (torn.len() + long.len()) as u64);
        log.append(line(4).as_bytes(), 1, at(0)).unwrap();
        assert_eq!(lines(dir.path()), ["{\"n\":1}", "{\"n\":2}", "{\"n\":4}"]);
    }
    // Nothing but a torn line: nothing is left.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("decisions-00000007.jsonl"), "{\"n").unwrap();
    let log = open(dir.path(), DecisionLogSpec::default());
    log.append(line(1).as_bytes(), 1, at(0)).unwrap();
    assert_eq!(lines(dir.path()), ["{\"n\":1}"]);
}

#[test]
fn files_change_by_size_and_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let spec = DecisionLogSpec {
        segment_bytes_max: 20,
        segment_age_max: Duration::from_secs(3600),
        ..DecisionLogSpec::default()
    };
    let log = open(dir.path(), spec);
    for n in 0..6 {
        log.append(line(n).as_bytes(), 1, at(0)).unwrap();
    }
    assert_eq!(decision_segments(dir.path()).unwrap().len(), 2);
    log.append(line(6).as_bytes(), 1, at(10)).unwrap();
    log.append(line(7).as_bytes(), 1, at(3610)).unwrap();
    let segments = decision_segments(dir.path()).unwrap();
    assert_eq!(segments.len(), 4, "{segments:?}");
    assert_eq!(lines(dir.path()).len(), 8);
}

#[test]
fn at_the_limit_lines_are_refused_or_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let spec = DecisionLogSpec { bytes_max: 30, ..DecisionLogSpec::default() };
    let log = open(dir.path(), spec);
    for n in 0..3 {
        log.append(line(n).as_bytes(), 1, at(0)).unwrap();
    }
    let error = log.append(line(3).as_bytes(), 1, at(0)).unwrap_err();
    assert!(matches!(error, DecisionLogError::Full { limit: 30, .. }), "{error}");
    assert_eq!((lines(dir.path()).len(), log.n_dropped()), (3, 0));
    drop(log);
    let log = open(dir.path(), DecisionLogSpec { on_full: OnFull::Drop, ..spec });
    for n in 3..10 {
        assert_eq!(log.append(line(n).as_bytes(), 1, at(0)).unwrap(), Appended::Dropped);
    }
    assert_eq!((lines(dir.path()).len(), log.n_dropped()), (3, 7));
}

#[test]
fn a_gap_is_marked_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let spec = DecisionLogSpec {
        on_full: OnFull::Drop,
        unsynced_bytes_max: 12,
        ..DecisionLogSpec::default()
    };
    let log = open(dir.path(), spec);
    let mut n_dropped = 0_u64;
    for n in 0..2_000 {
        if log.append(line(n).as_bytes(), 1, at(0)).unwrap() == Appended::Dropped {
            n_dropped += 1;
        }
    }
    // The mark is longer than what may wait, so it is taken only when nothing waits.
    log.flush().unwrap();
    log.append(line(2_000).as_bytes(), 1, at(0)).unwrap();
    assert!(n_dropped > 0, "the disk was faster than the loop");
    assert_eq!(log.n_dropped(), n_dropped);
    let found = lines(dir.path());
    let marked: u64 = found
        .iter()
        .filter_map(|line| line.strip_prefix("{\"v\":1,\"dropped\":")?.strip_suffix('}'))
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    assert_eq!(marked, n_dropped);
}

#[test]
fn one_process_writes_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), DecisionLogSpec::default());
    let error = DecisionLog::open(dir.path(), DecisionLogSpec::default()).unwrap_err();
    assert!(matches!(error, DecisionLogError::AlreadyOpen { .. }), "{error}");
    drop(log);
    DecisionLog::open(dir.path(), DecisionLogSpec::default()).unwrap();
}

#[test]
fn a_flush_waits_for_what_was_there_and_not_for_what_keeps_coming() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), DecisionLogSpec::default());
    let (is_over, n) = (std::sync::atomic::AtomicBool::new(false), 200_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..n {
                log.append(line(n).as_bytes(), 1, at(0)).unwrap();
            }
            is_over.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut n_flushes = 0;
        while !is_over.load(std::sync::atomic::Ordering::Acquire) {
            log.flush().unwrap();
            n_flushes += 1;
        }
        assert!(n_flushes > 2, "{n_flushes}");
    });
    assert_eq!(lines(dir.path()).len(), n);
}
