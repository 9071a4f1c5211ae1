//! Features against numbers worked out by hand, and the look-ahead invariant.

use super::*;
use crate::domain::{Currency, CustomerId, Day, EventId, Money, Timestamp, Zone};
use crate::events::{Activity, Event, EventKind, Purchase, Refund};

const RHYTHM: RhythmBase = RhythmBase {
    prior: GammaPrior { a: 1.5, b: 30.0 },
    gap_days_p50: 20.0,
    gap_days_p90: 90.0,
    history_short: false,
};

fn event(day: i32, id: u128, kind: EventKind) -> Event {
    let time = Timestamp::from_micros(i64::from(day) * 86_400_000_000 + 3_600_000_000);
    Event {
        customer: CustomerId::try_new("c").unwrap(),
        id: EventId::from_bits(id),
        time,
        day: Zone::UTC.day_of(time),
        kind,
    }
}

fn purchase(day: i32, id: u128, units: i64) -> Event {
    let kind = EventKind::Purchase(Purchase {
        amount: Money::from_micros(units * 1_000_000),
        currency: Currency::NONE,
        items: 2,
        category: None,
        sales_channel: None,
        discount: Money::ZERO,
    });
    event(day, id, kind)
}

fn as_of(last_day: i32) -> AsOf {
    AsOf::end_of(Day::from_number(last_day), &Zone::UTC)
}

fn row(events: &[Event], last_day: i32) -> Vec<f64> {
    let mut history = History::default();
    events.iter().for_each(|event| {
        history.apply(event);
    });
    let mut row = Vec::new();
    extract(&BaseStats::of_rhythm(RHYTHM), &history, as_of(last_day), &mut row);
    row
}

fn value(row: &[f64], name: &str) -> f64 {
    let schema = FeatureSchema::new(&definitions());
    row[schema.position(name).unwrap()]
}

#[test]
fn names_are_unique_and_rows_have_the_schema_length() {
    let definitions = definitions();
    let mut names: Vec<&str> = definitions.iter().map(|feature| feature.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), definitions.len());
    assert_eq!(row(&[], 1000).len(), definitions.len());
    assert_eq!(row(&[purchase(990, 1, 5)], 1000).len(), definitions.len());
}

#[test]
fn timing_and_money_are_those_of_the_log() {
    let refund = EventKind::Refund(Refund {
        amount: Money::from_micros(10_000_000),
        currency: Currency::NONE,
    });
    let log = [
        purchase(900, 1, 30),
        purchase(910, 2, 20),
        purchase(910, 3, 20),
        purchase(940, 4, 50),
        event(945, 5, refund),
    ];
    let row = row(&log, 1000);
    for (name, expected) in [
        ("recency_days", 60.0),
        ("frequency", 2.0),
        ("tenure_days", 100.0),
        ("active_span_days", 40.0),
        ("orders", 4.0),
        ("spend_total", 110.0),
        ("spend_repeat_mean", 40.0),
        ("spend_first", 30.0),
        ("gap_days_mean", 20.0),
        ("gap_days_sd", 10.0),
        ("gap_days_max", 30.0),
        ("gap_days_last", 30.0),
        ("recency_gap_ratio", 3.0),
        ("recency_gap_max_ratio", 2.0),
        ("items_per_order", 2.0),
        ("purchase_days_13w", 2.0),
        ("purchase_days_26w", 3.0),
        ("orders_28d_before_84d", 4.0),
        ("spend_26w", 110.0),
        ("expected_gap_days", 70.0 / 3.5),
        ("silence_prob", (70.0_f64 / 130.0).powf(3.5)),
    ] {
        let found = value(&row, name);
        assert!((found - expected).abs() < 1e-9, "{name}: {found}, expected {expected}");
    }
}

#[test]
fn what_cannot_exist_is_missing_and_counts_are_zero() {
    let visit = EventKind::Activity(Activity {
        name: crate::domain::Name::try_new("visit").unwrap(),
        device: None,
    });
    let row = row(&[event(990, 1, visit)], 1000);
    assert!(value(&row, "recency_days").is_nan());
    assert!(value(&row, "gap_days_mean").is_nan());
    assert!(value(&row, "orders").abs() < 1e-12);
    assert!((value(&row, "activities_4w") - 1.0).abs() < 1e-12);
    assert!((value(&row, "inactive_days") - 10.0).abs() < 1e-12);
}

#[test]
fn windows_include_their_last_day_and_exclude_the_day_before_their_first() {
    for (day, expected) in [(1000, 1.0), (973, 1.0), (972, 0.0)] {
        let row = row(&[purchase(day, 1, 5)], 1000);
        let found = value(&row, "purchase_days_4w");
        assert!((found - expected).abs() < 1e-12, "day {day}: {found}");
    }
}

#[test]
fn a_summary_counts_weeks_and_repeat_days() {
    let mut history = History::default();
    for event in [purchase(900, 1, 30), purchase(907, 2, 20), purchase(921, 3, 40)] {
        history.apply(&event);
    }
    let summary = purchase_summary(&history, as_of(928)).unwrap();
    assert_eq!(summary.x, 2);
    assert!((summary.t_x - 3.0).abs() < 1e-12 && (summary.t - 4.0).abs() < 1e-12);
    assert!((summary.spend_repeat_mean - 30.0).abs() < 1e-12);
    assert!((summary.log_gap_sum - 2.0_f64.ln()).abs() < 1e-9, "gaps of one and two weeks");
    assert!(purchase_summary(&History::default(), as_of(928)).is_none());
}

#[test]
fn the_digest_follows_names_units_and_order() {
    let all = definitions();
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    assert_ne!(FeatureSchema::new(&all).id(), FeatureSchema::new(&swapped).id());
    assert_eq!(FeatureSchema::new(&all).id().len(), 16);
}
