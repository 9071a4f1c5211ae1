//! What a decision costs: the default policy over a cycle of different customers.

#![allow(clippy::expect_used, missing_docs, reason = "a bench may fail loudly")]

use std::hint::black_box;

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;

use tenure::decision::Context;
use tenure::decision::Facts;
use tenure::decision::Heartbeat;
use tenure::decision::Lapse;
use tenure::decision::Policy;
use tenure::decision::Rfm;
use tenure::decision::Salts;
use tenure::decision::TierCuts;
use tenure::decision::decide;
use tenure::model::Clv;
use tenure::model::Score;

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

criterion_group!(benches, bench);
criterion_main!(benches);
