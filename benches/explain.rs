//! How fast scores are explained: a blend of 200 trees and a regression, on the log that ships.
#![allow(clippy::unwrap_used, reason = "a bench may stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput};
use tenure::bundle::Bundle;
use tenure::decision::Policy;
use tenure::domain::{AsOf, Currency, Day, Days, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules, Threshold};
use tenure::history::History;
use tenure::model::Explainer;
use tenure::model::btyd::Prior;
use tenure::scoring::Engine;
use tenure::train::{Extras, TrainSpec, run};

/// Customers explained in one go.
const CUSTOMERS: usize = 1_000;

fn log_spec(as_of: AsOf) -> LogSpec {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/complete_journey.csv.gz");
    LogSpec {
        events: vec![file],
        profiles: None,
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: as_of,
    }
}

fn train_spec(until: Day) -> TrainSpec {
    TrainSpec {
        name: "bench".to_owned(),
        until,
        zone: Zone::UTC,
        churn: Days::try_new(30).unwrap(),
        value: Days::try_new(30).unwrap(),
        prior: Prior::default(),
        covariates: Vec::new(),
        season_clock: false,
        seed: 42,
        threads: 2,
        allow_small: false,
        assume_complete: false,
        currency: Currency::try_new("USD").unwrap(),
        policy: Policy::default_text().to_owned(),
        extras: Extras::default(),
    }
}

fn main() {
    let until = Day::parse("2017-11-30").unwrap();
    let as_of = AsOf::end_of(until, &Zone::UTC);
    let (log_spec, spec) = (log_spec(as_of), train_spec(until));
    let dir = tempfile::tempdir().unwrap();
    let made = run(&spec, &log_spec, &Threshold::default(), dir.path(), &mut |_| {}).unwrap();
    let engine = Engine::try_new(Bundle::load(&made.folder).unwrap(), None, Some("salt of bench"));
    let engine = engine.unwrap();
    let log = Log::read(&log_spec, &mut |_| {}).unwrap();
    let customers: Vec<_> = log.customers.iter().take(CUSTOMERS).collect();
    let histories: Vec<History> = customers
        .iter()
        .map(|customer| {
            let mut history = History::default();
            for event in &customer.events {
                history.apply(event);
            }
            history
        })
        .collect();
    let predictor = engine.bundle().predictor().unwrap();
    let explainer =
        Explainer::try_new(predictor, engine.bundle().baseline().unwrap().typical()).unwrap();
    let rows: Vec<Vec<f64>> = histories
        .iter()
        .map(|history| {
            let mut row = Vec::new();
            predictor.row(history, as_of, &mut row);
            row
        })
        .collect();

    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut group = criterion.benchmark_group("explain");
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("score/1000", |b| {
        b.iter(|| {
            for row in &rows {
                let _ = black_box(predictor.score(row, 0.0));
            }
        });
    });
    group.bench_function("churn/1000", |b| {
        b.iter(|| {
            for row in &rows {
                let _ = black_box(explainer.churn(predictor, row));
            }
        });
    });
    group.bench_function("value/1000", |b| {
        b.iter(|| {
            for row in &rows {
                let _ = black_box(explainer.value(predictor, row));
            }
        });
    });
    group.bench_function("reasons_from_history/1000", |b| {
        b.iter(|| {
            for history in &histories {
                let _ = black_box(engine.reasons(history, as_of, 3));
            }
        });
    });
    group.finish();
    criterion.final_summary();
}
