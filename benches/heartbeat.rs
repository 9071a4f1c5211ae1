//! What a customer's heartbeats cost: nothing to compare, steady, gone for three weeks.

#![allow(clippy::expect_used, missing_docs, reason = "a bench may fail loudly")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tenure::domain::{CustomerId, Day, EventId, Name, Timestamp, Zone};
use tenure::events::{Activity, Event, EventKind};
use tenure::features::{HeartbeatBase, HeartbeatRule, heartbeats};
use tenure::history::History;

const FIRST: i32 = 20_000;

/// A customer of so many uses a week (in a fixed, uneven order), until a day.
fn customer(per_week: u32, until: i32) -> History {
    let mut history = History::default();
    let mut lot = 1_u64;
    for day in 0..until {
        for n in 0..3_u32 {
            lot =
                lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (lot >> 33) % 21 < u64::from(per_week) {
                let micros = i64::from(FIRST + day) * 86_400_000_000 + i64::from(n);
                let time = Timestamp::from_micros(micros);
                history.apply(&Event {
                    customer: CustomerId::try_new("c").expect("a plain id"),
                    id: EventId::from_bits(u128::from(micros.unsigned_abs())),
                    time,
                    day: Zone::UTC.day_of(time),
                    kind: EventKind::Activity(Activity {
                        name: Name::try_new("visit").expect("a plain name"),
                        device: None,
                    }),
                });
            }
        }
    }
    history
}

fn heartbeat(c: &mut Criterion) {
    let (base, rule) = (HeartbeatBase::unknown(), HeartbeatRule::default());
    let last = Day::from_number(FIRST + 399);
    for (name, history) in [
        ("nothing", customer(0, 400)),
        ("steady 2 a week", customer(2, 400)),
        ("steady 10 a week", customer(10, 400)),
        ("gone for 21 days, 10 a week", customer(10, 379)),
        ("gone for 60 days, 10 a week", customer(10, 340)),
    ] {
        c.bench_function(&format!("heartbeats/{name}"), |b| {
            b.iter_batched(
                || (),
                |()| heartbeats(black_box(&base), &rule, black_box(&history), last),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, heartbeat);
criterion_main!(benches);
