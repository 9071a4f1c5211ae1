use super::*;
use crate::domain::{Currency, CustomerId, EventId, Money, Timestamp, Zone};
use crate::events::{Activity, Event, Purchase};

fn name(text: &str) -> Name {
    Name::try_new(text).unwrap()
}

fn event(customer: u32, day: i32, n: u32, kind: EventKind) -> Event {
    let time = Timestamp::from_micros(i64::from(day) * 86_400_000_000 + i64::from(n));
    Event {
        customer: CustomerId::try_new(&customer.to_string()).unwrap(),
        id: EventId::from_bits(u128::from(n) + 1),
        time,
        day: Zone::UTC.day_of(time),
        kind,
    }
}

fn visit(text: &str) -> EventKind {
    EventKind::Activity(Activity { name: name(text), device: None })
}

fn order(category: &str) -> EventKind {
    EventKind::Purchase(Purchase {
        amount: Money::from_micros(1_000_000),
        currency: Currency::NONE,
        items: 1,
        category: Some(name(category)),
        sales_channel: None,
        discount: Money::ZERO,
    })
}

fn log_of(customers: Vec<Vec<Event>>) -> Log {
    let days: Vec<Day> = customers.iter().flatten().map(|event| event.day).collect();
    let days = days.iter().min().copied().zip(days.iter().max().copied());
    let customers = customers
        .into_iter()
        .enumerate()
        .map(|(idx, events)| CustomerLog {
            customer: CustomerId::try_new(&idx.to_string()).unwrap(),
            events,
        })
        .collect();
    Log { customers, days, ..Log::default() }
}

/// A chance between 0 and 1 that depends on three numbers alone.
fn chance(one: u32, two: i32, three: u32) -> f64 {
    let key = [one.to_le_bytes(), two.to_le_bytes(), three.to_le_bytes()].concat();
    xxhash_rust::xxh3::xxh3_64(&key) as f64 / u64::MAX as f64
}

#[test]
fn a_growing_base_is_flat_and_a_quiet_month_is_seen() {
    // Twice as many customers at the end as at the start, each visiting every other day; all
    // halve for the last 28 days.
    let until = 10_000 + 400;
    let customers = (0..600_u32)
        .map(|customer| {
            let begins = if customer < 300 {
                10_000
            } else {
                10_000 + i32::try_from(customer).unwrap() % 300
            };
            (begins..=until)
                .filter(|day| {
                    let rate = if until - day < 28 { 0.25 } else { 0.5 };
                    chance(customer, *day, 0) < rate
                })
                .map(|day| event(customer, day, 0, visit("visit")))
                .collect()
        })
        .collect();
    let base = heartbeat(&log_of(customers), Day::from_number(until));
    let (first, rates) = base.activity.curve.frozen();
    assert_eq!(first, Day::from_number(10_028));
    let mean = |from: usize, to: usize| rates[from..to].iter().sum::<f64>() / (to - from) as f64;
    let n = rates.len();
    let early = mean(30, 90) / mean(n - 120, n - 60);
    assert!((early - 1.0).abs() < 0.06, "growth shows: {early}");
    let quiet = mean(n - 28, n) / mean(n - 120, n - 60);
    assert!((quiet - 0.5).abs() < 0.05, "{quiet}");
    // No orders at all: nothing is known of them.
    assert_eq!(base.orders, SignalBase::unknown());
}

#[test]
fn the_dispersion_of_weekly_counts_comes_back() {
    // Weekly rates are 0 or 8 by chance: mean 4, variance of the rate 16, so 1 / shape = 1.
    let until = 10_000 + 363;
    let log_with = |rate: fn(u32, i32) -> f64| {
        log_of(
            (0..200_u32)
                .map(|customer| {
                    (10_000..=until)
                        .flat_map(|day| {
                            let n = (0..40)
                                .filter(|n| {
                                    chance(customer, day, 1 + n) < rate(customer, day) / 280.0
                                })
                                .count();
                            (0..u32::try_from(n).unwrap())
                                .map(move |n| event(customer, day, n, visit("visit")))
                        })
                        .collect()
                })
                .collect(),
        )
    };
    let even = heartbeat(&log_with(|_, _| 4.0), Day::from_number(until)).activity.dispersion;
    assert!(even < 0.03, "{even}");
    let bursty = heartbeat(
        &log_with(
            |customer, day| if chance(customer, day.div_euclid(7), 0) < 0.5 { 8.0 } else { 0.0 },
        ),
        Day::from_number(until),
    )
    .activity
    .dispersion;
    // The customers' weeks begin on their own days, so a burst is cut into two of them.
    assert!((0.5..1.1).contains(&bursty), "{bursty}");
}

#[test]
fn offered_is_what_enough_customers_use_and_lives_are_medians_of_gaps() {
    let customers = (0..200_u32)
        .map(|customer| {
            let mut events = vec![event(customer, 10_000, 0, order("coffee"))];
            events.push(event(
                customer,
                10_000 + 20 + i32::try_from(customer % 3).unwrap(),
                1,
                order("coffee"),
            ));
            events.push(event(customer, 10_050, 2, visit("search")));
            if customer == 7 {
                events.push(event(customer, 10_060, 3, visit("odd")));
                events.push(event(customer, 10_061, 4, order("rare")));
            }
            events
        })
        .collect();
    let offered = offered(&log_of(customers), Day::from_number(10_100));
    assert_eq!(offered.activities, [name("search")]);
    assert_eq!(offered.categories, [name("coffee")]);
    let life = CategoryLife { category: name("coffee"), gap_days_p50: 21.0 };
    assert_eq!(offered.lives, [life]);
}
