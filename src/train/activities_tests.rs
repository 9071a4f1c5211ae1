//! Simulated customers: one activity truly keeps them, one is merely taken up by the engaged.

use super::*;
use crate::domain::{Currency, CustomerId, EventId, Money, Timestamp, Zone};
use crate::events::{Activity, Event, Purchase};

const FIRST: i32 = 10_000;
const DAYS: i32 = 800;

fn name(text: &str) -> Name {
    Name::try_new(text).unwrap()
}

struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        xxh3_64(&self.0.to_le_bytes()) as f64 / u64::MAX as f64
    }

    fn chance(&mut self, prob: f64) -> bool {
        self.unit() < prob
    }
}

/// A customer visits and buys at their own rate until they leave. Each visit may bring the first
/// use of `keeps` (which makes leaving five times less likely), of `null` (taken up by
/// frequent customers far more often, without effect) or of `even` (by anybody, without effect).
fn customer(dice: &mut Dice, idx: u32) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut push = |day: i32, kind: EventKind| {
        let n = events.len();
        let time = Timestamp::from_micros(i64::from(day) * 86_400_000_000 + n as i64);
        events.push(Event {
            customer: CustomerId::try_new(&idx.to_string()).unwrap(),
            id: EventId::from_bits(n as u128),
            time,
            day: Zone::UTC.day_of(time),
            kind,
        });
    };
    let visit = |text: &str| EventKind::Activity(Activity { name: name(text), device: None });
    let rate = [0.04, 0.08, 0.16, 0.32][idx as usize % 4];
    let begins = FIRST + i32::try_from(idx).unwrap() % 500;
    let mut leave = 0.012 - 0.03 * rate;
    let mut used = [false; 3];
    for day in begins..FIRST + DAYS {
        if dice.chance(leave) {
            break;
        }
        if !dice.chance(rate) && day > begins {
            continue;
        }
        push(day, visit("visit"));
        let takes_up = [0.03, 0.3 * rate, 0.03];
        for (at, text) in ["keeps", "null", "even"].into_iter().enumerate() {
            if !used[at] && dice.chance(takes_up[at]) {
                used[at] = true;
                push(day, visit(text));
                if at == 0 {
                    leave *= 0.2;
                }
            }
        }
        if dice.chance(0.4) {
            push(
                day,
                EventKind::Purchase(Purchase {
                    amount: Money::from_micros(1_000_000),
                    currency: Currency::NONE,
                    items: 1,
                    category: None,
                    sales_channel: None,
                    discount: Money::ZERO,
                }),
            );
        }
    }
    events
}

fn log(seed: u64, n: u32) -> Log {
    let mut dice = Dice(seed);
    let customers = (0..n)
        .map(|idx| CustomerLog {
            customer: CustomerId::try_new(&idx.to_string()).unwrap(),
            events: customer(&mut dice, idx),
        })
        .collect();
    let days = Some((Day::from_number(FIRST), Day::from_number(FIRST + DAYS - 1)));
    Log { customers, days, ..Log::default() }
}

#[test]
fn a_planted_effect_is_found_and_a_confounded_null_is_not() {
    let until = Day::from_number(FIRST + DAYS - 1);
    let horizon = Days::try_new(90).unwrap();
    let named = [name("keeps"), name("share_social")];
    let used = [name("even"), name("keeps"), name("null"), name("visit")];
    for seed in [1, 2] {
        let reports = report(&log(seed, 12_000), until, horizon, &named, &used);
        println!("{:#}", to_json(&reports));
        let of = |text: &str| {
            reports.iter().find(|report| report.activity.as_str() == text).unwrap().effect.clone()
        };
        let keeps = of("keeps");
        assert_eq!(keeps.verdict, AdoptionVerdict::CandidateToTest, "{keeps:?}");
        assert!(keeps.difference.unwrap().interval()[0] > 0.02);
        assert!(keeps.e_values.unwrap()[1] > 1.1);
        let null = of("null");
        assert_ne!(null.verdict, AdoptionVerdict::CandidateToTest, "{null:?}");
        assert!(null.unadjusted.unwrap() > 0.05, "it looks like one: {null:?}");
        assert!(null.difference.unwrap().value.abs() < 0.04, "{null:?}");
        assert_ne!(of("even").verdict, AdoptionVerdict::CandidateToTest);
        assert_eq!(candidates(&reports), [name("keeps")]);
        // Nobody used share_social; everybody visited before anything could be compared.
        assert!(reports[0].in_policy && reports.len() <= 4);
    }
}

#[test]
fn second_kinds_are_taken_up_on_the_day_of_the_second() {
    let customer = CustomerLog {
        customer: CustomerId::try_new("c").unwrap(),
        events: (0..6)
            .map(|n: u8| {
                let time = Timestamp::from_micros(i64::from(n) * 86_400_000_000);
                let device = Some(name(["phone", "tablet"][usize::from(n > 2)]));
                let kind = EventKind::Activity(Activity { name: name("visit"), device });
                Event {
                    customer: CustomerId::try_new("c").unwrap(),
                    id: EventId::from_bits(u128::from(n)),
                    time,
                    day: Zone::UTC.day_of(time),
                    kind,
                }
            })
            .collect(),
    };
    let course = course(&customer, Day::from_number(100), &[name("second_device"), name("visit")]);
    assert_eq!(course.taken_up, [(1, Day::from_number(0)), (0, Day::from_number(3))]);
    assert_eq!(course.days.len(), 6);
}
