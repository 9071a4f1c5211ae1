//! The fold's invariants, on random streams of every kind of event.

use proptest::prelude::*;

use super::*;
use crate::domain::{Channel, Currency, CustomerId, EventId, Name, Zone};
use crate::events::{Activity, Cart, Contact, ContactStage, Feedback, Profile, Refund, Severity};

fn name(text: &str) -> Name {
    Name::try_new(text).unwrap()
}

pub(crate) fn event(day: i32, second: i64, id: u64, kind: EventKind) -> Event {
    let time = Timestamp::from_micros((i64::from(day) * 86_400 + second) * 1_000_000);
    Event {
        customer: CustomerId::try_new("c").unwrap(),
        id: EventId::from_bits(u128::from(id)),
        time,
        day: Zone::UTC.day_of(time),
        kind,
    }
}

fn purchase(units: i64) -> EventKind {
    EventKind::Purchase(Purchase {
        amount: Money::from_micros(units * 1_000_000),
        currency: Currency::NONE,
        items: 1,
        category: Some(name(["food", "toys", "books"][usize::try_from(units % 3).unwrap()])),
        sales_channel: None,
        discount: Money::from_micros(units % 2),
    })
}

fn kinds() -> impl Strategy<Value = EventKind> {
    let profile =
        (any::<bool>(), 0..8_usize, any::<Option<bool>>()).prop_map(|(yes, at, loyal)| {
            EventKind::Profile(Box::new(Profile {
                consents: vec![(Channel::ALL[at], yes)],
                loyalty_member: loyal,
                tags: Some(vec![name("vip")]),
                ..Profile::default()
            }))
        });
    prop_oneof![
        6 => (0..50_i64).prop_map(purchase),
        1 => (1..50_i64).prop_map(|units| EventKind::Refund(Refund {
            amount: Money::from_micros(units * 1_000_000),
            currency: Currency::NONE,
        })),
        3 => (0..40_u8).prop_map(|n| EventKind::Activity(Activity {
            name: name(&format!("activity-{n}")),
            device: Some(name("phone")),
        })),
        2 => (0..8_usize, 0..3_u8, 0..90_u8).prop_map(|(channel, stage, campaign)| {
            EventKind::Contact(Contact {
                campaign: name(&format!("campaign-{campaign}")),
                channel: Channel::ALL[channel],
                stage: [ContactStage::Delivered, ContactStage::Opened, ContactStage::Clicked]
                    [usize::from(stage)],
            })
        }),
        1 => (0..5_u8, 0..20_u8).prop_map(|(which, n)| EventKind::Feedback(match which {
            0 => Feedback::Complaint { severity: Severity::Serious },
            1 => Feedback::TicketOpened { ticket: name(&n.to_string()), critical: n > 9 },
            2 => Feedback::TicketClosed { ticket: name(&n.to_string()) },
            3 => Feedback::Nps(n / 2),
            _ => Feedback::Csat(1 + n / 5),
        })),
        1 => profile,
        1 => any::<bool>().prop_map(|yes| {
            EventKind::Cart(if yes { Cart::Updated } else { Cart::Cleared })
        }),
    ]
}

/// Events over `days` days, sorted by time, with distinct ids.
fn streams(days: i32, n_max: usize) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0..days, 0..86_400_i64, kinds()), 1..n_max).prop_map(|rows| {
        let mut events: Vec<Event> = rows
            .into_iter()
            .enumerate()
            .map(|(idx, (day, second, kind))| {
                let id = xxhash_rust::xxh3::xxh3_64(&idx.to_le_bytes());
                event(10_000 + day, second, id, kind)
            })
            .collect();
        events.sort_by_key(|event| (event.time, event.id));
        events
    })
}

fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> History {
    let mut history = History::default();
    for event in events {
        history.apply(event);
    }
    history
}

proptest! {
    #[test]
    fn f_3_arrival_order_inside_the_lateness_bound_is_irrelevant(
        events in streams(35, 60),
        seed in any::<u64>(),
    ) {
        let mut shuffled = events.clone();
        shuffled.sort_by_key(|event| {
            xxhash_rust::xxh3::xxh3_64_with_seed(&event.id.bits().to_le_bytes(), seed)
        });
        prop_assert_eq!(fold(&events).to_bytes(), fold(&shuffled).to_bytes());
    }

    #[test]
    fn f_3_holds_for_late_events_of_a_long_history(
        events in streams(1500, 120),
        late in prop::collection::vec(1..35_i32, 120),
    ) {
        // Each event arrives up to 34 days after it happened.
        let mut arrivals: Vec<(i32, usize)> = events
            .iter()
            .enumerate()
            .map(|(idx, event)| (event.day.number() + late[idx % late.len()], idx))
            .collect();
        arrivals.sort_unstable();
        let delayed = arrivals.iter().map(|(_, idx)| &events[*idx]);
        prop_assert_eq!(fold(&events), fold(delayed));
    }

    #[test]
    fn f_4_a_duplicate_changes_nothing(events in streams(35, 60)) {
        let mut history = fold(&events);
        let before = history.to_bytes();
        for event in &events {
            prop_assert_eq!(history.apply(event), Applied::Duplicate);
        }
        prop_assert_eq!(history.to_bytes(), before);
    }

    #[test]
    fn two_parts_merge_to_the_whole(events in streams(1500, 120), at in 0..1500_i32) {
        let cut = 10_000 + at;
        let n = events.partition_point(|event| event.day.number() < cut);
        let mut merged = fold(&events[..n]);
        merged.merge(&fold(&events[n..]));
        prop_assert_eq!(&merged, &fold(&events));
        let mut reversed = fold(&events[n..]);
        reversed.merge(&fold(&events[..n]));
        prop_assert_eq!(reversed, merged);
    }

    #[test]
    fn bytes_give_back_the_history(events in streams(1500, 120)) {
        let history = fold(&events);
        let bytes = history.to_bytes();
        prop_assert!(bytes.len() <= 16 * 1024);
        prop_assert_eq!(History::from_bytes(&bytes).unwrap(), history);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_refused(
        events in streams(200, 30),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = fold(&events).to_bytes();
        let at = at.index(bytes.len());
        prop_assert!(History::from_bytes(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(History::from_bytes(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = History::from_bytes(&bytes);
        // Past the checksum, too.
        if let Some(first) = bytes.first_mut() {
            *first = 1;
            let crc = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            let _ = History::from_bytes(&bytes);
        }
    }

    #[test]
    fn lifetime_numbers_equal_those_of_the_plain_log(events in streams(1500, 120)) {
        let history = fold(&events);
        let mut days: Vec<i32> = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::Purchase(_)))
            .map(|event| event.day.number())
            .collect();
        let n_orders = days.len();
        days.sort_unstable();
        days.dedup();
        prop_assert_eq!(history.totals().orders as usize, n_orders);
        prop_assert_eq!(history.totals().purchase_days as usize, days.len());
        prop_assert_eq!(history.first_purchase().map(|f| f.day.number()), days.first().copied());
        prop_assert_eq!(history.last_purchase().map(|(_, d)| d.number()), days.last().copied());
        let gaps: Vec<f64> = days.windows(2).map(|w| f64::from(w[1] - w[0])).collect();
        let found = history.gaps();
        prop_assert_eq!(found.count as usize, gaps.len());
        if !gaps.is_empty() {
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let sd = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n).sqrt();
            prop_assert!((found.mean - mean).abs() < 1e-9);
            prop_assert!((found.sd - sd).abs() < 1e-6);
            prop_assert!((found.max - gaps.iter().copied().fold(0.0, f64::max)).abs() < 1e-9);
            let logs: f64 = gaps.iter().map(|g| g.ln()).sum();
            prop_assert!((found.sum_log - logs).abs() < 1e-6);
        }
    }
}

#[test]
fn a_late_event_counts_in_its_day_and_in_the_totals() {
    let mut history = fold(&[event(1000, 0, 1, purchase(10)), event(1100, 0, 2, purchase(10))]);
    assert_eq!(history.apply(&event(1050, 0, 3, purchase(7))), Applied::TooOld);
    assert_eq!(history.n_late(), 1);
    assert_eq!(history.totals().orders, 3);
    assert_eq!(history.tiles().window(Day::from_number(1050), 1).orders, 1);
    assert_eq!(history.gaps().count, 2);
}

#[test]
fn use_on_distinct_days_is_counted_over_28_days() {
    let used = |day, id| {
        event(day, 0, id, EventKind::Activity(Activity { name: name("watch_list"), device: None }))
    };
    let history = fold(&[used(1000, 1), used(1003, 2), used(1003, 3), used(1020, 4)]);
    let usage = &history.activities().kept()[0];
    assert_eq!(usage.count, 4);
    for (last, expected) in [(1020, 3), (1027, 3), (1028, 2), (1031, 1), (1047, 1), (1048, 0)] {
        assert_eq!(usage.days_used_28d(Day::from_number(last)), expected, "{last}");
    }
}

#[test]
fn a_basket_waits_until_it_is_bought_or_emptied() {
    let cart = |second, id, cart| event(1000, second, id, EventKind::Cart(cart));
    let open = fold(&[cart(100, 1, Cart::Updated)]);
    assert!(open.basket().waiting_since(None).is_some());
    let bought = fold(&[cart(100, 1, Cart::Updated), event(1000, 200, 2, purchase(1))]);
    assert!(bought.basket().waiting_since(bought.last_purchase().map(|(t, _)| t)).is_none());
    let emptied = fold(&[cart(200, 1, Cart::Cleared), cart(100, 2, Cart::Updated)]);
    assert!(emptied.basket().waiting_since(None).is_none());
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = History::default().to_bytes();
    bytes[0] = 9;
    let message = History::from_bytes(&bytes).unwrap_err().to_string();
    assert!(message.contains("format 9"), "{message}");
}

#[test]
fn an_ordinary_customer_takes_few_bytes() {
    let events: Vec<Event> =
        (0..25).map(|n| event(1000 + n * 14, 0, n.unsigned_abs().into(), purchase(20))).collect();
    let n_bytes = fold(&events).to_bytes().len();
    assert!(n_bytes < 450, "{n_bytes}");
}

/// Why identities are merged in a log and never in a store: the same two states come from logs
/// that merge into different ones, so no function of two states is the fold of their events.
#[test]
fn two_histories_do_not_say_what_the_history_of_both_is() {
    // Old purchase days are kept as sums over the gaps between them: 10 and 20 days, or 20 and 10.
    let fold = |days: &[i32]| {
        let mut history = History::default();
        for (id, day) in days.iter().chain(&[800]).enumerate() {
            history.apply(&event(*day, 0, 100 + id as u64, purchase(3)));
        }
        history
    };
    let (one, other) = (fold(&[100, 110, 130]), fold(&[100, 120, 130]));
    assert_eq!(one.to_bytes(), other.to_bytes());
    // Another id of theirs bought on the tenth day, too.
    let (one, other) = (fold(&[100, 110, 110, 130]), fold(&[100, 110, 120, 130]));
    assert_ne!(one.to_bytes(), other.to_bytes());
}
