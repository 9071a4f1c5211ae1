//! Cost of the store on disk: a durable commit by size of batch, a read, the writer's queue.
//!
//! One operation is a state of 300 bytes read, rewritten and committed with one new event id,
//! among 50,000 customers. The disk under the temporary directory decides the cost of a sync.
//!
//! `cargo bench --bench store -- ingest` takes durable ingest of whole submissions of 1,000 events
//! instead, by the number of writers, in the processor's time as well as the clock's.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench stops at the first error")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;

use tenure::domain::CustomerId;
use tenure::domain::EventId;
use tenure::store::Batch;
use tenure::store::Durability;
use tenure::store::Put;
use tenure::store::SledOptions;
use tenure::store::SledStore;
use tenure::store::StateStore;
use tenure::store::Update;
use tenure::store::Watermark;
use tenure::store::Writer;
use tenure::store::WriterLimits;

const N_CUSTOMERS: u64 = 50_000;
const STATE_BYTES: usize = 300;

fn customer(number: u64) -> CustomerId {
    CustomerId::try_new(&format!("customer-{:08}", number % N_CUSTOMERS)).unwrap()
}

/// Spreads consecutive numbers over the customers: an odd factor visits each once a round.
fn spread(number: u64) -> CustomerId {
    customer(number.wrapping_mul(20_021))
}

fn filled(dir: &Path, durability: Durability) -> SledStore {
    let options = SledOptions { durability, ..SledOptions::default() };
    let (store, _) = SledStore::open(dir, &options).unwrap();
    for start in (0..N_CUSTOMERS).step_by(1_000) {
        let puts = (start..start + 1_000).map(|number| Put {
            customer: customer(number),
            expected_version: None,
            bytes: vec![7; STATE_BYTES],
        });
        store.commit(Batch { puts: puts.collect(), ..Batch::default() }).unwrap();
    }
    store
}

fn read_fold_commit(store: &dyn StateStore, first: u64, n_ops: u64) {
    let mut batch = Batch::default();
    for number in first..first + n_ops {
        let customer = spread(number);
        let mut state = store.get(&customer).unwrap().unwrap();
        state.bytes[0] = state.bytes[0].wrapping_add(1);
        batch.dedupe.push((customer.clone(), EventId::from_bits(u128::from(number))));
        let expected_version = Some(state.version);
        batch.puts.push(Put { customer, expected_version, bytes: state.bytes });
    }
    batch.watermarks.push(Watermark { source: "log".to_owned(), position: first + n_ops });
    store.commit(batch).unwrap();
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store/commit");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for durability in [Durability::Memory, Durability::Process, Durability::Disk] {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), durability);
        let mut number = 0;
        for n_ops in [1, 100, 1_000] {
            group.throughput(Throughput::Elements(n_ops));
            let id = BenchmarkId::new(format!("{durability:?}"), n_ops);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    read_fold_commit(&store, number, n_ops);
                    number += n_ops;
                });
            });
        }
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Durability::Disk);
    let mut number = 0;
    criterion.bench_function("store/get", |bencher| {
        bencher.iter(|| {
            number += 1;
            black_box(store.get(&spread(number)).unwrap())
        });
    });
}

fn writer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store/writer");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for n_open in [1, 100, 1_000] {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(filled(dir.path(), Durability::Disk));
        let writer = Writer::start(store, WriterLimits::default()).unwrap();
        let mut number = 0;
        group.throughput(Throughput::Elements(n_open));
        group.bench_function(BenchmarkId::new("one_update_each", n_open), |bencher| {
            bencher.iter(|| {
                let submit = |number: u64| {
                    let fold = |state: Option<&[u8]>, _: &[bool]| {
                        let mut bytes = state.unwrap_or(&[0; STATE_BYTES]).to_vec();
                        bytes[0] = bytes[0].wrapping_add(1);
                        Ok(bytes)
                    };
                    let events = vec![EventId::from_bits(u128::from(number))];
                    let update = Update { customer: spread(number), events, fold: Box::new(fold) };
                    writer.submit(vec![update], vec![]).unwrap()
                };
                let tickets: Vec<_> = (number..number + n_open).map(submit).collect();
                number += n_open;
                tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
            });
        });
    }
    group.finish();
}

/// Submissions of one run, and how many of them are under way at once.
const N_SUBMISSIONS: u64 = 300;
const UNDER_WAY: usize = 8;
const SUBMISSION_OPS: u64 = 1_000;

/// The processor's time of this process so far, of all threads, in seconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = text.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn submission(first: u64) -> Vec<Update> {
    let update = |number: u64| {
        let fold = |state: Option<&[u8]>, _: &[bool]| {
            let mut bytes = state.unwrap_or(&[0; STATE_BYTES]).to_vec();
            bytes[0] = bytes[0].wrapping_add(1);
            Ok(bytes)
        };
        let events = vec![EventId::from_bits(u128::from(number))];
        Update { customer: spread(number), events, fold: Box::new(fold) }
    };
    (first..first + SUBMISSION_OPS).map(update).collect()
}

#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures and tells")]
fn ingest() {
    for n_threads in [1, 2, 4, 1, 2, 4] {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(filled(dir.path(), Durability::Disk));
        let commits_before = store.last_commit().seq();
        let limits = WriterLimits { n_threads, ..WriterLimits::default() };
        let writer = Writer::start(
            Arc::<SledStore>::clone(&store),
            WriterLimits { queue_ops_max: 100_000, ..limits },
        )
        .unwrap();
        let (began, cpu) = (std::time::Instant::now(), cpu_seconds());
        let mut tickets = std::collections::VecDeque::new();
        for number in 0..N_SUBMISSIONS {
            let updates = submission(number * SUBMISSION_OPS);
            tickets.push_back(writer.submit(updates, vec![]).unwrap());
            if tickets.len() == UNDER_WAY {
                tickets.pop_front().unwrap().wait().unwrap();
            }
        }
        tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let n_events = (N_SUBMISSIONS * SUBMISSION_OPS) as f64;
        println!(
            "{n_threads} writers: {:.0} events/s, {:.0} events a second of the processor, {:.2} \
             cores busy, {} commits",
            n_events / seconds,
            n_events / cpu,
            cpu / seconds,
            store.last_commit().seq() - commits_before
        );
    }
}

criterion_group!(benches, commits, reads, writer);

fn main() {
    if std::env::args().any(|arg| arg == "ingest") {
        return ingest();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
