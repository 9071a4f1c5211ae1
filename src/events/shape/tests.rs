//! Logs of other people's events, as their callers see them.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::domain::AsOf;
use crate::domain::Day;
use crate::domain::EventId;
use crate::domain::Timestamp;
use crate::domain::Zone;
use crate::events::Event;
use crate::events::EventKind;
use crate::events::IntakeError;
use crate::events::IntakeReport;
use crate::events::Log;
use crate::events::LogSpec;
use crate::events::ReadSpec;
use crate::events::Rules;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/events").join(name)
}

fn map(name: &str) -> EventShape {
    let text = std::fs::read_to_string(corpus(name)).unwrap();
    EventShape::Mapped(Arc::new(EventMap::parse(&text, None).unwrap()))
}

fn read(events: Vec<PathBuf>, shape: EventShape, until: &str) -> Result<Log, IntakeError> {
    let before = AsOf::end_of(Day::parse(until).unwrap(), &Zone::UTC);
    let read = ReadSpec { shape, ..ReadSpec::default() };
    let (profiles, rules) = (None, Rules::default());
    Log::read(&LogSpec { events, profiles, read, rules, before }, &mut |_| {})
}

fn read_corpus(name: &str, shape: EventShape) -> Log {
    read(vec![corpus(name)], shape, "2030-01-01").unwrap()
}

fn of<'l>(log: &'l Log, customer: &str) -> &'l [Event] {
    let found = log.customers.iter().find(|one| one.customer.as_str() == customer);
    &found.unwrap_or_else(|| panic!("{customer} is not in the log")).events
}

fn names(log: &Log) -> Vec<&str> {
    log.customers.iter().map(|one| one.customer.as_str()).collect()
}

fn adds_up(report: &IntakeReport) {
    let ignored: u64 = report.ignored.values().sum();
    let told = report.kept + report.dropped + report.duplicates + report.other_currency;
    assert_eq!(report.rows, told + ignored + report.aliases, "{report:?}");
}

fn purchase(event: &Event) -> (f64, u32, f64) {
    match &event.kind {
        EventKind::Purchase(bought) => {
            (bought.amount.units(), bought.items, bought.discount.units())
        }
        other => panic!("{other:?} is no purchase"),
    }
}

#[test]
fn what_is_built_in_is_sound() {
    for shape in Shape::ALL {
        let map = EventMap::built_in(shape).unwrap();
        assert_eq!(map.shape(), shape);
        assert_eq!(Shape::parse(shape.name()), Some(shape));
        // A map of one's own that says nothing is the one built in.
        let text = format!("shape = {:?}", shape.name());
        assert_eq!(EventMap::parse(&text, None).unwrap(), map);
        assert_eq!(EventMap::parse("", Some(shape)).unwrap(), map);
    }
}

#[test]
fn a_log_of_segment_is_known_by_its_first_message() {
    let log = read_corpus("segment.jsonl", EventShape::Detect);
    let report = &log.report;
    adds_up(report);
    assert_eq!(report.sources[0].format, "JSON lines of Segment");
    assert_eq!((report.rows, report.kept, report.duplicates), (14, 6, 1));
    assert_eq!((report.aliases, report.merged_ids), (1, 1));
    let ignored: BTreeMap<&str, u64> =
        report.ignored.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected =
        [("Coupon Denied", 1), ("group", 1), ("identify", 1), ("page", 1), ("screen", 1)];
    assert_eq!(ignored, BTreeMap::from(expected));
    let issue = &report.issues["missing_attribute"];
    assert!(issue.places[0].ends_with("segment.jsonl:13"), "{issue:?}");
    assert_eq!(names(&log), ["u-1", "u-2"], "the anonymous id is a customer of its own no more");
    let events = of(&log, "u-1");
    assert_eq!(events.len(), 5);
    assert_eq!(purchase(&events[0]), (54.9, 3, 0.0));
    let EventKind::Activity(activity) = &events[1].kind else { panic!("{events:?}") };
    assert_eq!(activity.device.as_ref().map(|name| name.as_str()), Some("ios"));
    assert!(matches!(events[2].kind, EventKind::Cart(_)));
    assert_eq!(purchase(&events[3]), (19.99, 1, 2.5));
    assert_eq!(events[3].id, EventId::try_from_source("ajs-5f1c-07").unwrap());
    assert!(matches!(events[4].kind, EventKind::Refund(_)));
    assert_eq!(purchase(&of(&log, "u-2")[0]), (7.0, 1, 0.0));
}

#[test]
fn a_map_names_traits_pages_and_events_of_its_own() {
    let log = read_corpus("segment.jsonl", map("segment_map.toml"));
    adds_up(&log.report);
    let ignored: Vec<&str> = log.report.ignored.keys().map(String::as_str).collect();
    assert_eq!(ignored, ["group", "screen"]);
    let profiles: Vec<_> = of(&log, "u-1")
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Profile(profile) => Some(profile),
            _ => None,
        })
        .collect();
    assert_eq!(profiles.len(), 1);
    assert_eq!(profiles[0].loyalty_member, Some(true));
    assert_eq!(profiles[0].consents, [(crate::domain::Channel::Email, true)]);
    assert!(matches!(of(&log, "u-2")[0].kind, EventKind::Feedback(_)));
}

#[test]
fn cloud_events_go_by_source_and_id_and_by_the_types_of_a_map() {
    let log = read_corpus("cloudevents.jsonl", map("cloudevents_map.toml"));
    let report = &log.report;
    adds_up(report);
    assert_eq!((report.kept, report.duplicates, report.dropped), (5, 1, 3));
    assert_eq!(report.issues["bad_envelope"].rows, 2, "an old version, and encoded data");
    assert_eq!(report.issues["unknown_attribute"].rows, 1);
    let events = of(&log, "c-1");
    assert_eq!(purchase(&events[0]), (129.9, 5, 0.0));
    let id = EventId::try_from_source("https://shop.example.org/orders A234-1").unwrap();
    assert_eq!(events[0].id, id, "another source may use the same id");
    assert_eq!(names(&log), ["c-1", "c-2"]);
    let kinds = of(&log, "c-2").iter().map(|event| &event.kind).collect::<Vec<_>>();
    assert!(matches!(kinds[..], [EventKind::Purchase(_), EventKind::Profile(_)]), "{kinds:?}");
    let without_map = read_corpus("cloudevents.jsonl", EventShape::Detect);
    assert_eq!(without_map.report.ignored["org.example.shop.order.placed.v2"], 2);
}

#[test]
fn everything_wrong_with_a_map_is_told_at_once_and_by_its_name() {
    let text = r#"
        shape = "segment"
        customer = "user..id"
        unmapped = "drop"
        [calls.identfy]
        type = "profile"
        [events.Paid]
        type = "purchase"
        attributes = { amuont = "properties.a", amount = [] }
        [events.Bought]
        type = "buy"
        [events.Joined]
        type = "alias"
    "#;
    let told = EventMap::parse(text, None).unwrap_err().to_string();
    for word in [
        "customer: \"user..id\" is no path: a key of it is empty",
        "unmapped is \"drop\"",
        "calls.identfy",
        "\"amuont\" is not an attribute of a purchase (did you mean \"amount\"?)",
        "events.\"Paid\".attributes.amount: no path is given",
        "\"buy\" is not an event type",
        "an alias has the attribute \"previous\" and no other",
    ] {
        assert!(told.contains(word), "{word:?} is not in\n{told}");
    }
    let unknown = EventMap::parse("shape = \"segment\"\ncustomr = \"x\"", None).unwrap_err();
    assert!(unknown.to_string().contains("customr"), "{unknown}");
    assert!(EventMap::parse("", None).unwrap_err().to_string().contains("shape"));
    let other = EventMap::parse("shape = \"segment\"", Some(Shape::CloudEvents)).unwrap_err();
    assert!(other.to_string().contains("cloudevents"), "{other}");
    let calls = EventMap::parse("shape = \"cloudevents\"\nidentify_links = true", None);
    assert!(calls.unwrap_err().to_string().contains("of Segment alone"));
}

#[test]
fn a_map_for_a_file_without_objects_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, "customer,time,amount\na,2026-01-01,1\n").unwrap();
    let told = read(vec![path], map("segment_map.toml"), "2030-01-01").unwrap_err().to_string();
    assert!(told.contains("--format segment"), "{told}");
}

fn track(id: usize, who: &str, day: u32) -> String {
    format!(
        r#"{{"type":"track","event":"Order Completed","messageId":"m{id}","userId":"{who}","timestamp":"2026-01-{day:02}T10:00:00Z","properties":{{"total":{id}}}}}"#
    )
}

fn alias(previous: &str, user: &str, day: u32) -> String {
    format!(
        r#"{{"type":"\u0061lias","messageId":"{previous}-{user}","previousId":"{previous}","userId":"{user}","timestamp":"2026-01-{day:02}T11:00:00Z"}}"#
    )
}

fn log_of(files: &[Vec<String>], shape: EventShape, until: &str) -> Log {
    let dir = tempfile::tempdir().unwrap();
    let write = |(at, lines): (usize, &Vec<String>)| {
        let path = dir.path().join(format!("{at}.jsonl"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    read(files.iter().enumerate().map(write).collect(), shape, until).unwrap()
}

#[test]
fn plain_rows_of_another_file_belong_to_the_merged_customer() {
    let dir = tempfile::tempdir().unwrap();
    let (calls, orders) = (dir.path().join("calls.jsonl"), dir.path().join("orders.csv"));
    std::fs::write(&calls, [track(1, "b", 3), alias("a", "b", 9)].join("\n")).unwrap();
    std::fs::write(&orders, "customer,time,amount\na,2026-01-04,7\nc,2026-01-05,8\n").unwrap();
    let log = read(vec![calls, orders], EventShape::Detect, "2026-01-31").unwrap();
    assert_eq!(names(&log), ["b", "c"]);
    assert_eq!(log.customers[0].events.len(), 2, "{:?}", log.customers[0]);
}

#[test]
fn the_same_events_are_the_same_log_in_every_form() {
    let (mut own, mut segment, mut cloud) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..60 {
        // A few are sent twice, and some rows are no events.
        let id = n - n % 7 / 6;
        let (who, day, amount) = (id % 5, 1 + id % 28, if id % 20 == 3 { -1 } else { id });
        let time = format!("2026-01-{day:02}T10:00:00Z");
        own.push(serde_json::json!({
            "id": format!("s {id}"), "customer": format!("c{who}"), "type": "refund",
            "time": time, "attributes": { "amount": amount, "currency": "EUR" },
        }));
        segment.push(serde_json::json!({
            "type": "track", "event": "Order Refunded", "messageId": format!("s {id}"),
            "userId": format!("c{who}"), "timestamp": time,
            "properties": { "total": amount, "currency": "EUR" },
        }));
        cloud.push(serde_json::json!({
            "specversion": "1.0", "type": "tenure.refund", "source": "s", "id": id.to_string(),
            "subject": format!("c{who}"), "time": time,
            "data": { "amount": amount, "currency": "EUR" },
        }));
    }
    let [own, segment, cloud] = [own, segment, cloud].map(|rows: Vec<Value>| {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        log_of(&[lines], EventShape::Detect, "2026-02-01")
    });
    assert_eq!((own.report.dropped, own.report.issues.len()), (4, 1), "{:?}", own.report);
    assert!(own.report.duplicates > 4 && own.customers.len() == 5, "{:?}", own.report);
    for other in [segment, cloud] {
        assert_eq!(other.customers, own.customers);
        let told = |log: &Log| {
            let lines = log.report.issues.values().flat_map(|issue| issue.places.clone());
            let lines: Vec<String> =
                lines.filter_map(|at| at.rsplit(':').next().map(str::to_owned)).collect();
            (log.report.kept, log.report.dropped, log.report.duplicates, lines)
        };
        assert_eq!(told(&other), told(&own));
    }
}

#[test]
fn a_merge_after_the_day_asked_for_is_not_known_yet() {
    let lines = vec![track(1, "a", 2), track(2, "b", 3), alias("a", "b", 9)];
    let late = log_of(std::slice::from_ref(&lines), EventShape::Detect, "2026-01-31");
    assert_eq!((names(&late), late.report.merged_ids), (vec!["b"], 1));
    let early = log_of(&[lines], EventShape::Detect, "2026-01-08");
    assert_eq!((names(&early), early.report.merged_ids), (vec!["a", "b"], 0));
}

#[test]
fn identify_calls_merge_ids_only_where_the_map_says_so() {
    let identify = r#"{"type":"identify","messageId":"i","userId":"u","anonymousId":"a","timestamp":"2026-01-05T00:00:00Z","traits":{}}"#;
    let lines = vec![track(1, "a", 2), track(2, "u", 3), identify.to_owned()];
    let apart = log_of(std::slice::from_ref(&lines), EventShape::Detect, "2026-02-01");
    assert_eq!(names(&apart), ["a", "u"]);
    let text = "shape = \"segment\"\nidentify_links = true";
    let links = EventShape::Mapped(Arc::new(EventMap::parse(text, None).unwrap()));
    let log = log_of(&[lines], links, "2026-02-01");
    assert_eq!((names(&log), log.report.merged_ids), (vec!["u"], 1));
    adds_up(&log.report);
}

/// Who is whom, the slow way: ids that hang together, named by the smallest that nothing replaced.
fn slow(pairs: &[(u8, u8)], id: u8) -> u8 {
    let mut group = vec![id];
    loop {
        let mut more = Vec::new();
        for (a, b) in pairs {
            for (x, y) in [(a, b), (b, a)] {
                if group.contains(x) && !group.contains(y) && !more.contains(y) {
                    more.push(*y);
                }
            }
        }
        if more.is_empty() {
            break;
        }
        group.extend(more);
    }
    let replaced = |id: &u8| pairs.iter().any(|(previous, user)| previous == id && user != id);
    let kept = group.iter().filter(|id| !replaced(id)).min();
    *kept.or_else(|| group.iter().min()).unwrap()
}

fn link((previous, customer): (u8, u8)) -> Link {
    let text = |id: u8| format!("id{id:03}");
    let time = Timestamp::from_micros(0);
    Link { previous: text(previous), customer: text(customer), time }
}

proptest! {
    #[test]
    fn ids_that_hang_together_are_one_in_any_order(
        pairs in prop::collection::vec((0_u8..12, 0_u8..12), 0..14),
        seed in any::<u64>(),
    ) {
        let one = Identities::of(pairs.iter().copied().map(link));
        let mut shuffled = pairs.clone();
        let n = shuffled.len();
        for at in 0..n {
            let other = seed.rotate_left(u32::try_from(at).unwrap()) % n as u64;
            shuffled.swap(at, usize::try_from(other).unwrap());
        }
        let other = Identities::of(shuffled.into_iter().map(link));
        for id in 0..12 {
            let text = format!("id{id:03}");
            let expected = format!("id{:03}", slow(&pairs, id));
            let found = one.of_previous(&text).unwrap_or(&text);
            prop_assert_eq!(found, expected.as_str());
            prop_assert_eq!(one.of_previous(&text), other.of_previous(&text));
        }
    }

    #[test]
    fn a_merged_log_is_the_log_written_with_one_id(
        pairs in prop::collection::vec((0_u8..6, 0_u8..6), 0..6),
        events in prop::collection::vec((0_u8..6, 1_u32..28), 1..20),
        cut in 0_usize..30,
    ) {
        let name = |id: u8| format!("u{id}");
        let mut lines: Vec<String> = events
            .iter()
            .enumerate()
            .map(|(n, (who, day))| track(n + 1, &name(*who), *day))
            .collect();
        let renamed: Vec<String> = events
            .iter()
            .enumerate()
            .map(|(n, (who, day))| track(n + 1, &name(slow(&pairs, *who)), *day))
            .collect();
        for (n, (previous, user)) in pairs.iter().enumerate() {
            let at = (n * 7 + cut) % (lines.len() + 1);
            lines.insert(at, alias(&name(*previous), &name(*user), 1));
        }
        let rest = lines.split_off(cut.min(lines.len() - 1).max(1));
        let files: Vec<Vec<String>> =
            [lines, rest].into_iter().filter(|lines| !lines.is_empty()).collect();
        let merged = log_of(&files, EventShape::Detect, "2026-02-01");
        let plain = log_of(&[renamed], EventShape::Detect, "2026-02-01");
        prop_assert_eq!(merged.customers, plain.customers);
        prop_assert_eq!(merged.report.aliases, pairs.len() as u64);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_map(|number| serde_json::json!(number)),
        ".{0,12}".prop_map(Value::String),
        prop::sample::select(vec!["track", "alias", "1.0", "Order Completed", "tenure.nps"])
            .prop_map(|text| Value::String(text.to_owned())),
    ];
    let keys = vec![
        "type",
        "event",
        "userId",
        "messageId",
        "previousId",
        "properties",
        "total",
        "products",
        "specversion",
        "id",
        "source",
        "subject",
        "time",
        "data",
        "score",
        "timestamp",
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(
                prop::sample::select(keys.clone()).prop_map(str::to_owned),
                inner,
                0..8
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_an_event_or_is_counted(value in prop::collection::vec(any_json(), 1..6)) {
        let lines: Vec<String> = value.iter().map(Value::to_string).collect();
        for shape in Shape::ALL {
            let map = EventShape::Mapped(Arc::new(EventMap::built_in(shape).unwrap()));
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("any.jsonl");
            std::fs::write(&path, format!("{{}}\n{}\n", lines.join("\n"))).unwrap();
            let log = read(vec![path], map, "2030-01-01").unwrap();
            prop_assert_eq!(log.report.rows, lines.len() as u64 + 1);
            adds_up(&log.report);
        }
    }
}
