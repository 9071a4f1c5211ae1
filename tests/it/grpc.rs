//! A real server on a free port and a real client: answers, refusals with their details, limits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use prost_types::value::Kind;
use tenure::domain::{AsOf, CustomerId, Timestamp, Zone};
use tenure::serve::pb;
use tenure::serve::pb::score_outcome::Outcome;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::serve_client::{Clients, DAY, event, purchase, subject, three_customers, time, told};
use crate::serve_fixture::{NOW_SECONDS, Running};

#[tokio::test(flavor = "multi_thread")]
async fn a_score_is_the_librarys_to_the_bit_and_names_where_it_came_from() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let taken = clients.ingest(three_customers()).await.unwrap();
    assert_eq!((taken.accepted_count, taken.duplicate_count, taken.rejected.len()), (8, 0, 0));
    let score = clients.score(subject("regular")).await.unwrap();
    let library = {
        use tenure::bundle::{Bundle, BundleSelector};
        use tenure::history::History;
        let selector = BundleSelector::parse("demo").unwrap();
        let bundle = Bundle::find(&server.config.models, &selector).unwrap();
        let mut history = History::default();
        for event in three_customers().iter().filter(|event| event.customer == "regular") {
            let Some(Kind::NumberValue(amount)) =
                event.attributes.as_ref().unwrap().fields["amount"].kind
            else {
                panic!("a purchase has an amount")
            };
            history.apply(&library_purchase(event, amount));
        }
        let engine = tenure::scoring::Engine::try_new(bundle, None, Some("0123456789abcdef"));
        let now = Timestamp::from_micros(NOW_SECONDS * 1_000_000);
        let customer = CustomerId::try_new("regular").unwrap();
        let engine = engine.unwrap();
        let answer = engine.answer(&customer, &history, AsOf::at(now, &Zone::UTC), false);
        answer.unwrap().score
    };
    let clv = score.clv.clone().unwrap();
    let expected = library.clv.unwrap();
    assert_eq!(score.churn_probability.map(f64::to_bits), library.churn_prob.map(f64::to_bits));
    assert_eq!(clv.mean.to_bits(), expected.mean.to_bits());
    assert_eq!(clv.p90.map(f64::to_bits), Some(expected.p90.to_bits()));
    assert_eq!((clv.currency_code.as_str(), clv.horizon_days), ("EUR", 180));
    assert!((clv.historic.unwrap() - 201.0).abs() < 1e-9);
    let churn = score.churn_probability.unwrap();
    assert!((score.value_at_risk.unwrap() - churn * clv.mean).abs() < 1e-9);
    assert_eq!(score.churn_horizon_days, 90);
    assert_eq!(score.as_of, time(NOW_SECONDS));
    assert_eq!(score.facts_as_of, time(NOW_SECONDS - 20 * DAY));
    let provenance = score.provenance.unwrap();
    assert_eq!(provenance.model_version, format!("models/demo/versions/{}", server.version));
    assert_eq!(provenance.policy_hash.len(), 32);
    assert_eq!(provenance.snapshot, taken.snapshot);
    assert_eq!(provenance.decision_id.len(), 32);
    let advice = score.advice.unwrap();
    assert_ne!(advice.campaign, i32::from(pb::CampaignType::Unspecified));
    assert_eq!(score.tier_reasons.len(), 1);
    assert!(server.stop().await.complete);
}

/// An event of `three_customers` as the library reads it.
pub(crate) fn library_event(event: &pb::Event) -> tenure::events::Event {
    use tenure::events::{RawEvent, RawValue, Rules};
    let attributes = event.attributes.as_ref().unwrap().fields.iter();
    let micros = event.event_time.as_ref().unwrap().seconds * 1_000_000;
    let raw = RawEvent {
        id: Some(event.event_id.as_str().into()),
        customer: event.customer.as_str().into(),
        event_type: Some(event.r#type.as_str().into()),
        time: RawValue::Time(Timestamp::from_micros(micros)),
        attributes: attributes
            .map(|(name, value)| match value.kind.as_ref().unwrap() {
                Kind::NumberValue(number) => (name.as_str().into(), RawValue::Number(*number)),
                Kind::StringValue(text) => {
                    (name.as_str().into(), RawValue::Text(text.as_str().into()))
                }
                other => panic!("{other:?}"),
            })
            .collect(),
    };
    tenure::events::Event::try_from_raw(&raw, &Rules::default()).unwrap()
}

pub(crate) fn library_purchase(event: &pb::Event, amount: f64) -> tenure::events::Event {
    use tenure::events::{RawEvent, RawValue, Rules};
    let micros = event.event_time.as_ref().unwrap().seconds * 1_000_000;
    let raw = RawEvent {
        id: Some(event.event_id.as_str().into()),
        customer: event.customer.as_str().into(),
        event_type: Some("purchase".into()),
        time: RawValue::Time(Timestamp::from_micros(micros)),
        attributes: vec![("amount".into(), RawValue::Number(amount))],
    };
    tenure::events::Event::try_from_raw(&raw, &Rules::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_as_single_calls_do_and_a_bad_row_stops_nothing() {
    let server = Running::start(&[("batch_rows_max", "60")]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let as_of = time(NOW_SECONDS - 10 * DAY);
    let early = pb::ScoreSubject { as_of, ..subject("visitor") };
    let inline = pb::ScoreSubject {
        events: vec![purchase("i1", "", 3, 7.0), purchase("r1", "regular", 20, 31.0)],
        ..subject("regular")
    };
    let alone = pb::ScoreSubject { inline_only: true, ..inline.clone() };
    let mut rows = vec![subject("regular"), subject("nobody"), subject("once"), early, inline];
    rows.extend([subject(""), subject("visitor"), alone]);
    let rows: Vec<_> = rows.iter().cycle().take(56).cloned().collect();
    let outcomes = clients.batch(rows.clone()).await.unwrap();
    assert_eq!(outcomes.len(), rows.len());
    let mut n_errors = 0;
    for (row, outcome) in rows.into_iter().zip(outcomes) {
        match (clients.score(row.clone()).await, outcome) {
            (Ok(one), Outcome::Score(of_many)) => assert_eq!(one, of_many),
            (Err(one), Outcome::Error(of_many)) => {
                n_errors += 1;
                assert_eq!(one.code() as i32, of_many.code, "{row:?}");
                assert!(!of_many.details.is_empty());
            }
            (one, of_many) => panic!("{one:?} {of_many:?}"),
        }
    }
    assert_eq!(n_errors, 3 * 7);
    let never = clients.score(subject("visitor")).await.unwrap();
    assert_eq!((never.churn_probability, never.clv, never.lapse), (None, None, None));
    for n_rows in [0, 61] {
        let refused = clients.batch(vec![subject("once"); n_rows]).await.unwrap_err();
        let (code, reason, fields) = told(&refused);
        assert_eq!((code, &*reason), (Code::InvalidArgument, "REQUEST_INVALID"));
        assert_eq!(fields, ["subjects"]);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_events_count_once_and_are_not_stored() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let plain = clients.score(subject("once")).await.unwrap();
    let again =
        pb::ScoreSubject { events: vec![purchase("o1", "once", 200, 12.5)], ..subject("once") };
    let same = clients.score(again).await.unwrap();
    assert_eq!(same, plain);
    let more = pb::ScoreSubject { events: vec![purchase("o2", "", 5, 12.5)], ..subject("once") };
    let more = clients.score(more).await.unwrap();
    assert!(more.churn_probability < plain.churn_probability);
    assert_ne!(more.provenance.unwrap().decision_id, plain.provenance.clone().unwrap().decision_id);
    assert_eq!(clients.score(subject("once")).await.unwrap(), plain);
    let stranger = pb::ScoreSubject {
        events: (0..100).map(|n| purchase("", "", 300 - n, 2.0)).collect(),
        inline_only: true,
        ..subject("stranger")
    };
    let stranger = clients.score(stranger).await.unwrap();
    assert!((stranger.clv.unwrap().historic.unwrap() - 200.0).abs() < 1e-9);
    assert_eq!(clients.view("stranger").await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

/// Fourteen events: good ones, copies, and one of each fault.
fn good_and_bad_events() -> Vec<pb::Event> {
    let ahead = |seconds: i64| {
        event(
            "f",
            "a",
            "cart",
            NOW_SECONDS + seconds,
            &[("state", Kind::StringValue("updated".to_owned()))],
        )
    };
    vec![
        purchase("1", "a", 3, 10.0),
        purchase("1", "a", 3, 10.0),
        purchase("", "a", 3, 10.0),
        purchase("2", "", 3, 10.0),
        purchase("3", "a", 3, f64::NAN),
        ahead(301),
        ahead(299),
        event("4", "a", "purchse", NOW_SECONDS - DAY, &[]),
        event("5", "a", "purchase", NOW_SECONDS - DAY, &[("amont", Kind::NumberValue(1.0))]),
        pb::Event { event_time: None, ..purchase("6", "a", 3, 1.0) },
        pb::Event {
            event_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
            ..purchase("7", "a", 3, 1.0)
        },
        event(
            "8",
            "a",
            "purchase",
            NOW_SECONDS - DAY,
            &[
                ("amount", Kind::NumberValue(1.0)),
                ("currency", Kind::StringValue("USD".to_owned())),
            ],
        ),
        purchase("9", "a", 400, 1.0),
        purchase("1", "b", 3, 10.0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_events_is_taken_in_part_and_each_refusal_says_which_and_why() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let events = good_and_bad_events();
    let n_events = events.len();
    let taken = clients.ingest(events.clone()).await.unwrap();
    assert_eq!((taken.accepted_count, taken.duplicate_count, taken.late_count), (4, 1, 1));
    let told: Vec<(u32, i32, String)> = taken
        .rejected
        .iter()
        .map(|row| {
            let error = row.error.as_ref().unwrap();
            let status = Status::with_details(
                Code::from_i32(error.code),
                error.message.clone(),
                prost::Message::encode_to_vec(error).into(),
            );
            let (_, _, fields) = self::told(&status);
            (row.index, error.code, fields.join(" "))
        })
        .collect();
    let invalid = Code::InvalidArgument as i32;
    let expected = [
        (2, "events[2].event_id"),
        (3, "events[3].customer"),
        (4, "events[4].attributes.amount"),
        (5, "events[5].event_time"),
        (7, "events[7].type"),
        (8, "events[8].attributes.amont"),
        (9, "events[9].event_time"),
        (10, "events[10].event_time"),
        (11, "events[11].attributes.currency"),
    ];
    assert_eq!(told, expected.map(|(idx, field)| (idx, invalid, field.to_owned())));
    assert_eq!(
        usize::try_from(taken.accepted_count + taken.duplicate_count).unwrap() + told.len(),
        n_events
    );
    let again = clients.ingest(events).await.unwrap();
    assert_eq!((again.accepted_count, again.duplicate_count), (0, 5));
    let view = clients.view("a").await.unwrap();
    assert_eq!((view.event_count, view.totals.unwrap().order_count), (3, 2));
    // The cart's event lies ahead of the server's clock: "now" is then just after it.
    assert_eq!(view.score.unwrap().as_of.unwrap().nanos, 1_000);
    for events in [Vec::new(), vec![purchase("1", "a", 1, 1.0); 1_001]] {
        let refused = clients.ingest(events).await.unwrap_err();
        assert_eq!(self::told(&refused).0, Code::InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_a_customer_holds_facts_timeline_profile_and_score() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let mut events = three_customers();
    let text = |text: &str| Kind::StringValue(text.to_owned());
    events.push(event(
        "p1",
        "regular",
        "profile",
        NOW_SECONDS - 2 * DAY,
        &[
            ("consent_email", Kind::BoolValue(true)),
            ("persona", text("hunter")),
            (
                "tags",
                Kind::ListValue(prost_types::ListValue {
                    values: vec![prost_types::Value { kind: Some(text("vip")) }],
                }),
            ),
            ("loyalty_member", Kind::BoolValue(false)),
        ],
    ));
    clients.ingest(events).await.unwrap();
    let view = clients.view("regular").await.unwrap();
    let totals = view.totals.unwrap();
    assert_eq!((view.event_count, totals.order_count, totals.purchase_day_count), (7, 6, 6));
    assert!((totals.spend - 201.0).abs() < 1e-9);
    assert_eq!(
        (&*view.persona, &*view.tags, &*view.currency_code),
        ("hunter", &["vip".to_owned()][..], "EUR")
    );
    assert_eq!(view.timeline.len(), 6);
    assert_eq!(view.timeline[0].day, "2026-05-12");
    assert_eq!(view.channels[0].consent, Some(true));
    assert_eq!(view.last_purchase_time, time(NOW_SECONDS - 20 * DAY));
    let fact = |name: &str| view.facts.iter().find(|fact| fact.name == name).unwrap();
    assert_eq!(fact("orders").value, Some(pb::fact::Value::Number(6.0)));
    assert_eq!(fact("loyalty_member").value, Some(pb::fact::Value::Flag(false)));
    let nps = fact("nps_last");
    assert_eq!((nps.status(), &nps.value), (pb::FactStatus::Missing, &None));
    assert!(view.facts.is_sorted_by(|a, b| a.name < b.name));
    let score = view.score.unwrap();
    assert_eq!(score, clients.score(subject("regular")).await.unwrap());
    let request = pb::GetCustomerRequest {
        customer: "regular".to_owned(),
        timeline_days_max: 2,
        as_of: None,
    };
    let few = clients.customers.get_customer(request.clone()).await.unwrap().into_inner();
    assert_eq!(few.customer.unwrap().timeline.len(), 2);
    let bad =
        pb::GetCustomerRequest { timeline_days_max: 372, customer: "\n".to_owned(), ..request };
    let (code, _, fields) = told(&clients.customers.get_customer(bad).await.unwrap_err());
    assert_eq!(
        (code, fields),
        (Code::InvalidArgument, vec!["customer".to_owned(), "timeline_days_max".to_owned()])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_dropped_is_told_with_what_it_rests_on() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let mut events = three_customers();
    // Two uses a day until three weeks ago.
    for day in 21..140 {
        for n in 0..2 {
            let at = NOW_SECONDS - day * DAY + n;
            let name = [("name", Kind::StringValue("visit".to_owned()))];
            events.push(event(&format!("a{day}-{n}"), "regular", "activity", at, &name));
        }
    }
    let score = [("score", Kind::NumberValue(9.0))];
    events.push(event("n1", "regular", "nps", NOW_SECONDS - 200 * DAY, &score));
    clients.ingest(events).await.unwrap();
    let view = clients.view("regular").await.unwrap();
    let fact = |name: &str| view.facts.iter().find(|fact| fact.name == name).unwrap();
    let word = |text: &str| Some(pb::fact::Value::Text(text.to_owned()));
    assert_eq!(fact("hb_activity").value, word("drop"));
    assert_eq!(fact("hb_orders").value, word("no_data"));
    let nps = fact("nps_last");
    assert_eq!((nps.status(), nps.value.is_some()), (pb::FactStatus::Stale, true));
    let score = view.score.unwrap();
    assert_eq!(score.heartbeats.len(), 3);
    let activity = &score.heartbeats[1];
    assert_eq!(
        (activity.signal(), activity.state()),
        (pb::HeartbeatSignal::Activity, pb::HeartbeatState::Drop)
    );
    assert!(activity.window_days >= 7 && activity.observed == Some(0.0));
    assert!(activity.expected.unwrap() > 10.0 && activity.probability.unwrap() >= 0.95);
    assert!(activity.since_day.starts_with("2026-05"), "{}", activity.since_day);
    let orders = &score.heartbeats[0];
    assert_eq!((orders.state(), orders.observed), (pb::HeartbeatState::NoData, None));
    assert!(score.tier_reasons.contains(&"HEARTBEAT_DROP".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_with_what_serves() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let broken = server.config.models.join("demo/0123456789ab");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("manifest.json"), "{").unwrap();
    let list =
        clients.models.list_models(pb::ListModelsRequest::default()).await.unwrap().into_inner();
    let served = format!("models/demo/versions/{}", server.version);
    assert_eq!((list.served_version.as_str(), list.models.len()), (served.as_str(), 1));
    let model = &list.models[0];
    assert_eq!((&*model.name, &model.aliases["champion"]), ("models/demo", &served));
    let [serving, failed] = &model.versions[..] else { panic!("{model:?}") };
    assert_eq!(
        (serving.state(), failed.state()),
        (pb::ModelState::Serving, pb::ModelState::Failed)
    );
    assert!(serving.digest.starts_with(&server.version) && serving.digest.len() == 64);
    assert_eq!((serving.churn_horizon_days, &*serving.grade), (90, "D"));
    assert!((serving.metrics["churn.auc"] - 0.75).abs() < 1e-12);
    assert!(!failed.state_message.is_empty());
    let bad = pb::ListModelsRequest { page_size: -1, page_token: "x".to_owned() };
    let (code, _, fields) = told(&clients.models.list_models(bad).await.unwrap_err());
    assert_eq!((code, fields.len()), (Code::InvalidArgument, 2));
    for (choice, ok) in [
        (pb::model_selector::Choice::Version(served.clone()), true),
        (pb::model_selector::Choice::Alias("models/demo/aliases/champion".to_owned()), true),
        (pb::model_selector::Choice::Alias("models/demo/aliases/canary".to_owned()), false),
        (
            pb::model_selector::Choice::Version("models/demo/versions/0123456789ab".to_owned()),
            false,
        ),
    ] {
        let request = pb::ScoreCustomerRequest {
            subject: Some(pb::ScoreSubject {
                events: vec![purchase("", "", 9, 1.0)],
                inline_only: true,
                ..subject("x")
            }),
            model: Some(pb::ModelSelector { choice: Some(choice) }),
            ..Default::default()
        };
        match clients.scoring.score_customer(request).await {
            Ok(_) => assert!(ok),
            Err(status) => {
                assert!(!ok);
                let (code, reason, _) = told(&status);
                assert_eq!((code, &*reason), (Code::NotFound, "MODEL_NOT_SERVED"));
                assert_eq!(
                    status.get_details_resource_info().unwrap().resource_type,
                    "tenure.v1.ModelVersion"
                );
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_has_its_code_its_reason_and_its_field() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let long = "x".repeat(257);
    let at = |seconds: i64| pb::ScoreSubject { as_of: time(seconds), ..subject("regular") };
    let with = |event: pb::Event| pb::ScoreSubject { events: vec![event], ..subject("regular") };
    let invalid = (Code::InvalidArgument, "REQUEST_INVALID");
    let cases: Vec<(pb::ScoreSubject, (Code, &str), &[&str])> = vec![
        (subject("nobody"), (Code::NotFound, "CUSTOMER_UNKNOWN"), &[]),
        (subject(""), invalid, &["subject.customer"]),
        (subject("  "), invalid, &["subject.customer"]),
        (subject("a\nb"), invalid, &["subject.customer"]),
        (subject(&long), invalid, &["subject.customer"]),
        (at(NOW_SECONDS - 30 * DAY), (Code::FailedPrecondition, "AS_OF_TOO_EARLY"), &[]),
        (at(NOW_SECONDS + 301), invalid, &["subject.as_of"]),
        (at(i64::MAX), invalid, &["subject.as_of"]),
        (with(purchase("", "other", 3, 1.0)), invalid, &["subject.events[0].customer"]),
        (
            with(purchase("", "", 3, f64::INFINITY)),
            invalid,
            &["subject.events[0].attributes.amount"],
        ),
        (with(purchase("", "", -1, 1.0)), invalid, &["subject.events[0].event_time"]),
        (
            pb::ScoreSubject { events: vec![pb::Event::default(); 1_001], ..subject("x") },
            invalid,
            &["subject.events"],
        ),
        (
            pb::ScoreSubject { inline_only: true, ..at(i64::MIN) },
            invalid,
            &["subject.events", "subject.as_of"],
        ),
        (
            pb::ScoreSubject { customer: String::new(), ..with(pb::Event::default()) },
            invalid,
            &["subject.events[0].customer", "subject.customer"],
        ),
    ];
    for (subject, (code, reason), fields) in cases {
        let shown = format!("{subject:?}");
        let status = clients.score(subject).await.unwrap_err();
        let found = told(&status);
        assert_eq!((found.0, &*found.1), (code, reason), "{shown:.300}");
        assert_eq!(found.2, fields, "{shown:.300}");
        if code == Code::NotFound {
            let resource = status.get_details_resource_info().unwrap();
            assert_eq!(
                (&*resource.resource_type, &*resource.resource_name),
                ("tenure.v1.Customer", "nobody")
            );
        }
        if code == Code::FailedPrecondition {
            assert_eq!(status.get_details_precondition_failure().unwrap().violations.len(), 1);
        }
    }
    let none = pb::ScoreCustomerRequest::default();
    assert_eq!(told(&clients.scoring.score_customer(none).await.unwrap_err()).2, ["subject"]);
    server.stop().await;
}

/// A message whose customer is no UTF-8.
#[derive(Clone, PartialEq, prost::Message)]
struct RawSubject {
    #[prost(bytes = "vec", tag = "1")]
    customer: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawRequest {
    #[prost(message, optional, tag = "1")]
    subject: Option<RawSubject>,
}

async fn raw_call(server: &Running, path: &'static str, customer: Vec<u8>) -> Status {
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let request = RawRequest { subject: Some(RawSubject { customer }) };
    let codec = tonic_prost::ProstCodec::<RawRequest, pb::ScoreCustomerResponse>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    client.unary(tonic::Request::new(request), path, codec).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_of_ours_is_refused_with_details() {
    let server = Running::start(&[("message_bytes_max", "2048")]).await;
    let score = "/tenure.v1.ScoringService/ScoreCustomer";
    for (path, customer, code, reason) in [
        (score, vec![0xff, 0xfe], Code::InvalidArgument, "REQUEST_UNREADABLE"),
        (score, vec![b'a'; 4_000], Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        ("/tenure.v1.ScoringService/Nothing", vec![b'a'], Code::Unimplemented, "METHOD_UNKNOWN"),
        ("/tenure.v1.NoService/Nothing", vec![b'a'], Code::Unimplemented, "METHOD_UNKNOWN"),
        ("/other.Service/Nothing", vec![b'a'], Code::Unimplemented, "METHOD_UNKNOWN"),
    ] {
        let status = raw_call(&server, path, customer).await;
        let (found, why, _) = told(&status);
        assert_eq!((found, &*why), (code, reason), "{path} {status:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_events_are_taken_as_a_file_of_them_would_be() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let mut events: Vec<pb::Event> =
        (0..40).map(|n| purchase(&format!("e{n}"), "ann", 30 + 9 * n, 10.0)).collect();
    let ask =
        |events: Vec<pb::Event>| pb::ScoreSubject { events, inline_only: true, ..subject("ann") };
    let in_order = clients.score(ask(events.clone())).await.unwrap();
    events.reverse();
    events.swap(3, 30);
    events.extend(events.clone());
    let shuffled_twice = clients.score(ask(events)).await.unwrap();
    assert_eq!(shuffled_twice.churn_probability, in_order.churn_probability);
    assert_eq!(shuffled_twice.clv, in_order.clv);

    // Identical events without an id of their own are events of their own.
    let without_id = |n: usize| {
        let one = pb::Event { event_id: String::new(), ..purchase("", "ann", 30, 10.0) };
        vec![one; n]
    };
    let historic = |score: pb::Score| score.clv.unwrap().historic.unwrap();
    let once = historic(clients.score(ask(without_id(1))).await.unwrap());
    let thrice = historic(clients.score(ask(without_id(3))).await.unwrap());
    assert!((thrice - 3.0 * once).abs() < 1e-9, "{once} then {thrice}");
    server.stop().await;
}
