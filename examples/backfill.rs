//! Folds a log of any size and says what it took: the first half of every backfill.
//!
//! `cargo run --release --example backfill -- FILE [MEMORY_MB]`
//!
//! In: a log, and the memory to gather it in. Out: one line of JSON: events and customers,
//! processor seconds for reading and gathering and for the fold, events a second on two cores at
//! that price, and a digest of all histories. What does not fit into memory goes beside the file.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "an example may stop, talks to its terminal and measures time"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use rayon::prelude::*;
use tenure::domain::{AsOf, Day, Zone};
use tenure::events::{EventReader, LogSpec, Parts, PartsSpec, ReadSpec, Rules};
use tenure::history::History;
use xxhash_rust::xxh3::xxh3_64;

/// Processor seconds of this process, on Linux.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = args.first().map(PathBuf::from) else {
        eprintln!("backfill FILE [MEMORY_MB]");
        return ExitCode::from(64);
    };
    let memory_mb: usize = args.get(1).map_or(512, |text| text.parse().unwrap());
    let dir = path.with_file_name(format!(".backfill-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let far = AsOf::end_of(Day::parse("2100-01-01").unwrap(), &Zone::UTC);
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let spec = LogSpec { events: vec![path], profiles: None, read, rules, before: far };
    let how =
        PartsSpec { memory_bytes: memory_mb << 20, dir: Some(dir.clone()), ..PartsSpec::default() };
    let (began, cpu) = (Instant::now(), cpu_s());
    let parts = Parts::read(&spec, &how, &mut |_| {}).unwrap();
    let read_cpu_s = cpu_s() - cpu;
    let sums: Vec<[u64; 3]> =
        (0..parts.n_parts()).into_par_iter().with_max_len(1).map(|at| fold(&parts, at)).collect();
    let (s, cpu) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    std::fs::remove_dir_all(&dir).unwrap();
    let sum = |what: usize| sums.iter().fold(0_u64, |sum, one| sum.wrapping_add(one[what]));
    let (n_events, fold_cpu_s) = (sum(0), cpu - read_cpu_s);
    println!(
        "{{\"events\":{n_events},\"customers\":{},\"s\":{s:.2},\"cpu_s\":{cpu:.2},\
         \"read_cpu_s\":{read_cpu_s:.2},\"fold_cpu_s\":{fold_cpu_s:.2},\
         \"events_per_s_on_two_cores\":{:.0},\"histories\":\"{:016x}\"}}",
        sum(1),
        2.0 * n_events as f64 / cpu,
        sum(2)
    );
    ExitCode::SUCCESS
}

/// Events and customers of a part, and a digest of their histories.
fn fold(parts: &Parts, at: usize) -> [u64; 3] {
    let (part, mut reader) = (parts.open(at).unwrap(), EventReader::default());
    let (mut n_events, mut digest) = (0, 0_u64);
    for place in 0..part.n_customers() {
        let mut history = History::default();
        part.visit(place, &mut reader, &mut |event| {
            history.apply(&event);
            n_events += 1;
        })
        .unwrap();
        digest = digest.wrapping_add(xxh3_64(&history.to_bytes()));
    }
    [n_events, part.n_customers() as u64, digest]
}
