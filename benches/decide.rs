//! What a decision costs: the policy alone over a cycle of different customers, and the complete
//! answer (state to features, models, heartbeats, policy) over real histories.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench may fail loudly and says what it ran on"
)]

use std::hint::black_box;
use std::path::Path;

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;

use tenure::bundle::Bundle;
use tenure::bundle::BundleSelector;
use tenure::decision::Context;
use tenure::decision::Facts;
use tenure::decision::Heartbeat;
use tenure::decision::Lapse;
use tenure::decision::Policy;
use tenure::decision::Rfm;
use tenure::decision::Salts;
use tenure::decision::TierCuts;
use tenure::decision::decide;
use tenure::domain::AsOf;
use tenure::domain::CustomerId;
use tenure::domain::Day;
use tenure::events::CustomerLog;
use tenure::events::Log;
use tenure::events::LogSpec;
use tenure::events::ReadSpec;
use tenure::events::Rules;
use tenure::features::heartbeats;
use tenure::history::History;
use tenure::model::Clv;
use tenure::model::Score;
use tenure::scoring::Engine;

/// Customers in the cycle: enough to keep the branch predictor honest.
const N_CUSTOMERS: usize = 1024;

fn customers() -> Vec<(String, Facts, Score)> {
    let lapses = [Lapse::Current, Lapse::Current, Lapse::Slipping, Lapse::Lapsed];
    (0..N_CUSTOMERS)
        .map(|idx| {
            let fifth = |step: usize| u8::try_from(1 + idx * step % 5).ok();
            let orders = u32::try_from(idx % 7).unwrap_or(0);
            let facts = Facts {
                has_email: idx % 3 > 0,
                orders,
                visits: 4,
                days_since_order: (orders > 0).then_some((idx % 60) as f64),
                rfm: Rfm { r: fifth(3), f: fifth(7), m: fifth(11), v: fifth(13) },
                lapse: (orders > 0).then(|| lapses[idx / 7 % 4]),
                hb_activity: Some(Heartbeat::ALL[idx / 5 % 4]),
                breadth: Some((idx % 10) as f64 / 10.0),
                days_inactive: Some((idx % 45) as f64),
                ..Facts::default()
            };
            let clv = Clv {
                mean: 200.0,
                p10: 50.0,
                p50: 180.0,
                p90: 400.0,
                historic: 90.0,
                percentile: 0.9,
                horizon_days: 365,
                extrapolated: false,
            };
            let score = Score {
                churn_prob: Some((idx * 37 % 100) as f64 / 100.0),
                churn_horizon_days: 90,
                churn_by_horizon: Vec::new(),
                clv: Some(clv),
                expected_purchases: Some(2.0),
                p_alive: Some(0.8),
                out_of_distribution: false,
            };
            (format!("customer-{idx:08}"), facts, score)
        })
        .collect()
}

fn bench(criterion: &mut Criterion) {
    let policy = Policy::default_policy().expect("the default policy is whole");
    let salts = Salts::try_new(&policy, Some("a bench installation")).expect("the salt is long");
    let customers = customers();
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    for (id, trace) in [("plain", false), ("traced", true)] {
        let mut next = customers.iter().cycle();
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let Some((customer_id, facts, score)) = next.next() else { return };
                let tier_cuts = Some(TierCuts { red_prob: 0.9, amber_prob: 0.7 });
                let context = Context {
                    customer_id,
                    facts,
                    tier_cuts,
                    salts: &salts,
                    hour_of_day: None,
                    trace,
                };
                black_box(decide(&policy, black_box(score), &context));
            });
        });
    }
    group.finish();
    criterion.bench_function("policy/parse", |bencher| {
        bencher.iter(|| black_box(Policy::parse(black_box(Policy::default_text()))));
    });
}

/// Histories of the log that ships, as the demo bundle saw them.
fn histories(as_of: AsOf) -> Vec<(CustomerId, History)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/complete_journey.csv.gz");
    let spec = LogSpec {
        events: vec![file],
        profiles: None,
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: as_of,
    };
    let log = Log::read(&spec, &mut |_| {}).expect("the sample is whole");
    let folded = |customer: CustomerLog| {
        let mut history = History::default();
        for event in &customer.events {
            history.apply(event);
        }
        (customer.customer, history)
    };
    // A spread over the base: customers stand in the order of their ids.
    log.customers.into_iter().step_by(2).take(N_CUSTOMERS).map(folded).collect()
}

/// What a server does for one stored customer, whole and by part.
fn answers(criterion: &mut Criterion) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let selector = BundleSelector::parse("demo").expect("a plain name");
    let bundle = Bundle::find(&models, &selector).expect("the demo bundle is whole");
    let engine = Engine::try_new(bundle, None, Some("a bench installation")).expect("it fits");
    let day = Day::parse("2017-11-30").expect("a plain day");
    let as_of = AsOf::end_of(day, engine.zone());
    let histories = histories(as_of);
    let bytes: Vec<Vec<u8>> = histories.iter().map(|(_, history)| history.to_bytes()).collect();
    let predictor = engine.bundle().predictor().expect("it is of a log");
    let base = &predictor.fitted().base.heartbeat;
    let rule = engine.policy().fact_rule().heartbeat;
    let known = histories.iter().filter(|(_, history)| {
        let found = heartbeats(base, &rule, history, day);
        found.orders.state != Heartbeat::NoData
    });
    println!("{} of {} have a heartbeat of orders", known.count(), histories.len());
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Elements(1));
    let mut next = histories.iter().zip(&bytes).cycle();
    group.bench_function("state to reply", |bencher| {
        bencher.iter(|| {
            let Some(((customer, _), bytes)) = next.next() else { return };
            let history = History::from_bytes(black_box(bytes)).expect("our own bytes");
            let _ = black_box(engine.answer(customer, &history, as_of, false));
        });
    });
    let mut next = histories.iter().cycle();
    group.bench_function("history to reply", |bencher| {
        bencher.iter(|| {
            let Some((customer, history)) = next.next() else { return };
            let _ = black_box(engine.answer(customer, black_box(history), as_of, false));
        });
    });
    let mut next = bytes.iter().cycle();
    group.bench_function("part: decoding the state", |bencher| {
        bencher.iter(|| next.next().map(|bytes| black_box(History::from_bytes(bytes))));
    });
    let mut next = histories.iter().cycle();
    group.bench_function("part: features and models", |bencher| {
        let mut row = Vec::new();
        bencher.iter(|| {
            let Some((_, history)) = next.next() else { return };
            let _ = black_box(engine.score(history, as_of, &mut row));
        });
    });
    let mut next = histories.iter().cycle();
    group.bench_function("part: heartbeats", |bencher| {
        bencher.iter(|| {
            next.next().map(|(_, history)| black_box(heartbeats(base, &rule, history, day)))
        });
    });
    group.finish();
}

criterion_group!(benches, bench, answers);
criterion_main!(benches);
