use proptest::prelude::*;

use super::*;
use crate::domain::{Channel, Currency, CustomerId, Day, EventId, Name, Timestamp, Zone};
use crate::events::{
    Activity, Cart, Contact, ContactStage, Event, Feedback, Profile, Purchase, Refund, Severity,
};

fn long_name(kind: &str, n: u32) -> Name {
    Name::try_new(&format!("{kind}-{n:0>width$}", width = 63 - kind.len())).unwrap()
}

fn event(day: i32, n: u32, kind: EventKind) -> Event {
    let time = Timestamp::from_micros(i64::from(day) * 86_400_000_000 + i64::from(n) * 7_000_001);
    Event {
        customer: CustomerId::try_new("c").unwrap(),
        id: EventId::from_content(&[day.to_le_bytes(), n.to_le_bytes()].concat(), 0),
        time,
        day: Zone::UTC.day_of(time),
        kind,
    }
}

/// Amounts that are no whole cents and take many bytes.
fn odd(n: u32) -> Money {
    Money::from_micros(9_000_000_000_000_001 + i64::from(n))
}

fn purchase(n: u32) -> EventKind {
    EventKind::Purchase(Purchase {
        amount: odd(n),
        currency: Currency::NONE,
        items: 1_000_000,
        category: Some(long_name("category", n % 60)),
        sales_channel: Some(long_name("place", n % 20)),
        discount: odd(n),
    })
}

fn profile(n: u32) -> EventKind {
    EventKind::Profile(Box::new(Profile {
        consents: Channel::ALL.map(|channel| (channel, n.is_multiple_of(2))).to_vec(),
        reachable: Channel::ALL.map(|channel| (channel, true)).to_vec(),
        email_known: Some(true),
        do_not_contact: Some(false),
        loyalty_member: Some(true),
        loyalty_points: Some(u32::MAX),
        b2b: Some(true),
        contact_people: Some(u32::MAX),
        csm_changed: Some(Day::from_number(80_000)),
        persona: Some(long_name("persona", n)),
        acquisition_channel: Some(long_name("from", n)),
        tags: Some((0..64).map(|tag| long_name("tag", tag)).collect()),
        has_updates: Some(true),
    }))
}

/// The heaviest event of each kind.
fn heavy(which: u32, n: u32) -> EventKind {
    match which % 9 {
        0 | 1 => purchase(n),
        2 => EventKind::Refund(Refund { amount: odd(n), currency: Currency::NONE }),
        3 => EventKind::Activity(Activity {
            name: long_name("activity", n % 40),
            device: Some(long_name("device", n % 20)),
        }),
        4 => EventKind::Contact(Contact {
            campaign: long_name("campaign", n % 200),
            channel: Channel::ALL[n as usize % 8],
            stage: ContactStage::Delivered,
        }),
        5 => EventKind::Feedback(Feedback::Complaint { severity: Severity::Serious }),
        6 => EventKind::Feedback(Feedback::TicketOpened {
            ticket: long_name("ticket", n),
            critical: true,
        }),
        7 if n % 50 == 7 => profile(n),
        7 => EventKind::Feedback(if n.is_multiple_of(2) {
            Feedback::Nps(9)
        } else {
            Feedback::Csat(5)
        }),
        _ => EventKind::Cart(if n.is_multiple_of(2) { Cart::Updated } else { Cart::Cleared }),
    }
}

/// Each history of the fold fits and reads back.
fn check_fits(events: impl IntoIterator<Item = Event>) -> History {
    let mut history = History::default();
    for event in events {
        history.apply(&event);
        let bytes = history.to_bytes();
        assert!(bytes.len() <= BYTES_MAX, "{} bytes after {event:?}", bytes.len());
    }
    assert_eq!(History::from_bytes(&history.to_bytes()).unwrap(), history);
    history
}

#[test]
fn every_kind_of_event_every_day_for_years_fits() {
    let events = (0..1_500).flat_map(|day| {
        (0..18_u32).map(move |n| {
            let n_all = u32::try_from(day).unwrap() * 18 + n;
            event(10_000 + day, n, heavy(n, n_all))
        })
    });
    let mut n_profiles = 0;
    let history = check_fits(events.inspect(|event| {
        n_profiles += u32::from(matches!(event.kind, EventKind::Profile(_)));
    }));
    assert!(n_profiles > 5);
    // What decisions rest on most is still there.
    assert_eq!(history.totals().purchase_days, 1_500);
    assert!(history.top_category_is_known() && history.satisfaction().open_tickets().0 > 0);
    let last = Day::from_number(11_499);
    assert_eq!(history.tiles().window(last, 28).orders, 28 * 4);
}

impl History {
    fn top_category_is_known(&self) -> bool {
        self.categories().top().is_some()
    }
}

/// The customer that used to exceed the store's limit.
#[test]
fn an_everyday_buyer_of_two_dozen_long_named_categories_keeps_exact_windows() {
    let cents = |units: i64| Money::from_micros(units * 10_000);
    let events: Vec<Event> = (0..500)
        .flat_map(|day| {
            let n = u32::try_from(day).unwrap();
            let bought = EventKind::Purchase(Purchase {
                amount: cents(1_999 + i64::from(n % 700)),
                currency: Currency::NONE,
                items: 3,
                category: Some(long_name("category", n % 24)),
                sales_channel: Some(Name::try_new("web").unwrap()),
                discount: cents(250),
            });
            let returned =
                EventKind::Refund(Refund { amount: cents(999), currency: Currency::NONE });
            [event(10_000 + day, 0, bought), event(10_000 + day, 1, returned)]
        })
        .collect();
    let history = check_fits(events);
    let last = Day::from_number(10_499);
    for days in [7, 28, 56, 91, 182, 364] {
        let window = history.tiles().window(last, days);
        assert_eq!(i32::try_from(window.purchase_days), Ok(days));
    }
    assert_eq!(history.totals().purchase_days, 500);
    assert_eq!(history.gaps().count, 499);
    assert!((history.gaps().max - 1.0).abs() < 1e-12);
    assert_eq!(history.categories().kept().len(), 24);
}

#[test]
fn joined_days_keep_their_sums_and_later_events_go_on_counting() {
    let mut history = History::default();
    for day in 0..300 {
        history.apply(&event(10_000 + day, 0, purchase(1)));
    }
    history.take(Step::PlainDays(91));
    history.take(Step::JoinDays(91, 7));
    let last = Day::from_number(10_299);
    assert!(history.tiles().days().len() < 91 + 32);
    assert_eq!(history.tiles().window(last, 371).orders, 300);
    assert_eq!(history.tiles().window(last, 371).purchase_days, 300);
    assert_eq!(history.gaps().count, 299);
    let again = History::from_bytes(&history.to_bytes()).unwrap();
    assert_eq!(again, history);
    for day in 300..800 {
        history.apply(&event(10_000 + day, 0, purchase(1)));
    }
    assert_eq!(history.totals().purchase_days, 800);
    assert_eq!(history.gaps().count, 799);
    assert!((history.gaps().max - 1.0).abs() < 1e-12);
}

#[test]
fn a_cut_list_of_names_stays_a_sample_of_the_smallest_hashes() {
    let used = |n: u32| {
        event(10_000, n, EventKind::Activity(Activity { name: long_name("a", n), device: None }))
    };
    let mut history = History::default();
    for n in 0..12 {
        history.apply(&used(n));
    }
    history.take(Step::Names([6, 4, 2, 2]));
    let bound = history.activities().hash_bound().unwrap();
    for n in 0..60 {
        history.apply(&used(100 + n));
    }
    assert_eq!(history.activities().kept().len(), 4);
    assert!(history.activities().kept().iter().all(|usage| usage.hash() <= bound));
    // 72 names in all; a sample of four says no more than the order of magnitude.
    assert!((15.0..400.0).contains(&history.activities().n_distinct()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_stream_of_events_exceeds_the_bound(
        rows in prop::collection::vec((0..420_i32, 0..9_u32, any::<u32>()), 1..500),
        sorted in any::<bool>(),
    ) {
        let mut events: Vec<Event> = rows
            .into_iter()
            .map(|(day, which, n)| event(10_000 + day, n % 10_000, heavy(which, n)))
            .collect();
        if sorted {
            events.sort_by_key(|event| event.time);
        }
        let half = events.len() / 2;
        let mut merged = check_fits(events[..half].to_vec());
        merged.merge(&check_fits(events[half..].to_vec()));
        prop_assert!(merged.to_bytes().len() <= BYTES_MAX);
    }
}

#[test]
fn a_history_of_nothing_is_smaller_than_is_reckoned() {
    let empty = History::default().to_bytes().len();
    assert!(empty < EMPTY_BYTES_MAX / 4, "{empty}");
}
