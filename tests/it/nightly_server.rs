//! Nights beside a server that runs: exported, scored, sent, and told back over gRPC.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost_types::value::Kind;
use tenure::domain::Zone;
use tenure::serve::pb;
use tenure::serve::pb::score_outcome::Outcome;

use crate::batch::{place, rows};
use crate::cli::{OPS, Place, SCORE, run};
use crate::serve_client::{Clients, event, time};
use crate::serve_fixture::{Running, config};

type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// Exports the running server's store and scores it as of a day.
fn night(place: &Place, server: &Running, (day, name): (&str, &str), more: &[&str]) -> Rows {
    let (export, address) = (place.path(&format!("export-{name}")), server.address.to_string());
    let fetch = ["store", "export", "--from-server", &address, "--out", &export];
    run(OPS, &fetch).expect(0, &[]);
    let (models, out) = (place.path("models"), place.path(&format!("{name}.csv")));
    let args = ["--models", &models, "--name", "demo", "--states", &export, "--as-of", day];
    run(SCORE, &[&args[..], &["--out", &out, "--json"], more].concat()).expect(0, &[]);
    rows(&fs::read(out).unwrap())
}

fn seconds(text: &str) -> i64 {
    Zone::UTC.parse(text).unwrap().micros() / 1_000_000
}

/// Holds rows of a file against what the server answers as of the same instant, bit for bit.
async fn hold_against(clients: &mut Clients, rows: &Rows, as_of: &str) -> usize {
    let names: Vec<&String> = rows.keys().step_by(3).take(900).collect();
    let subjects = names.iter().map(|name| pb::ScoreSubject {
        customer: (*name).clone(),
        as_of: time(seconds(as_of)),
        ..Default::default()
    });
    let outcomes = clients.batch(subjects.collect()).await.unwrap();
    for (name, outcome) in names.iter().zip(&outcomes) {
        let Outcome::Score(score) = outcome else { panic!("{name}: {outcome:?}") };
        let row = &rows[*name];
        let number = |column: &str| row[column].parse::<f64>().ok().map(f64::to_bits);
        let clv = score.clv.as_ref();
        assert_eq!(number("churn_probability"), score.churn_probability.map(f64::to_bits));
        assert_eq!(number("clv_mean"), clv.map(|clv| clv.mean.to_bits()), "{name}");
        assert_eq!(number("value_at_risk"), score.value_at_risk.map(f64::to_bits), "{name}");
        let tier = score.risk_tier().as_str_name().strip_prefix("RISK_TIER_").unwrap();
        assert_eq!(row["risk_tier"].to_uppercase(), tier, "{name}");
        let advice = score.advice.as_ref().unwrap();
        let campaign = &row["campaign"];
        assert_eq!(*campaign, advice.campaign_id, "{name}");
    }
    outcomes.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn nights_beside_a_running_server_repeat_nothing_and_say_what_it_says() {
    let place = place();
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/complete_journey.csv.gz");
    let log = log.to_str().unwrap();
    let (models, store) = (place.path("models"), place.path("store"));
    let of_model = ["--models", &*models, "--name", "demo", "--json"];
    let load = ["store", "load", "--events", log, "--until", "2017-11-30", "--store", &store];
    run(OPS, &[&load[..], &["--ids-since", "2017-10-01"], &of_model].concat()).expect(0, &[]);
    let settings = [("sweep_rate", "0")];
    let server = Running::start_with(config(Path::new(&place.path("")), &settings)).await;
    let mut clients = Clients::new(&server).await;

    let first = night(&place, &server, ("2017-11-30", "first"), &[]);
    assert!(hold_against(&mut clients, &first, "2017-12-01T00:00:00Z").await > 800);
    let sent: BTreeMap<&String, &String> = first
        .iter()
        .filter(|(_, row)| row["campaign"] != "no_action")
        .map(|(customer, row)| (customer, &row["campaign"]))
        .collect();
    assert!(sent.len() > 100, "{} customers are written to", sent.len());
    // What the sender reports: one contact a message, with an id of its own; twice by mistake.
    let contacts: Vec<pb::Event> = sent
        .iter()
        .map(|(customer, campaign)| {
            let text = |text: &str| Kind::StringValue(text.to_owned());
            let attributes = [
                ("campaign", text(campaign)),
                ("channel", text(&first[*customer]["channel"])),
                ("stage", text("delivered")),
            ];
            let id = format!("2017-12-01/{customer}/{campaign}");
            let at = seconds("2017-12-01T08:00:00Z");
            event(&id, customer, "contact", at, &attributes)
        })
        .collect();
    for accepted in [true, false] {
        for contacts in contacts.chunks(1_000) {
            let taken = clients.ingest(contacts.to_vec()).await.unwrap();
            let n = u32::try_from(contacts.len()).unwrap();
            let found = (taken.accepted_count, taken.duplicate_count);
            assert_eq!(found, if accepted { (n, 0) } else { (0, n) });
        }
    }
    let day = "2017-12-01";
    let second = night(&place, &server, (day, "second"), &[]);
    for (customer, campaign) in &sent {
        assert_ne!(second[*customer]["campaign"], **campaign, "{customer} hears the same twice");
    }
    hold_against(&mut clients, &second, "2017-12-02T00:00:00Z").await;
    // Only customers whose facts changed: those who were written to.
    let changed = night(&place, &server, (day, "changed"), &["--changed-since", day]);
    assert!(changed.keys().eq(sent.keys().copied()));
    assert!(changed.iter().all(|(customer, row)| second[customer] == *row));

    // And the states that all of it rests on are those of the log.
    let (states, address) = (place.path("checked"), server.address.to_string());
    let check = ["consistency", "--events", log, "--as-of", "2017-11-30", "--states", &states];
    let said = run(OPS, &[&check[..], &["--from-server", &address], &of_model].concat()).json();
    assert_eq!((&said["consistent"], &said["ahead"]), (&true.into(), &sent.len().into()));
    assert_eq!(said["compared"], first.len() - sent.len());
    assert_eq!(said["equal"], said["compared"]);
    server.stop().await;
}
