//! Night after night: export, score, send, and what was sent comes back as events.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::batch::{place, rows};
use crate::cli::{OPS, Place, SCORE, run};

/// Exports the store and scores it as of a day; the campaigns that are recommended.
fn night(place: &Place, day: &str, more: &[&str]) -> BTreeMap<String, (String, String)> {
    let (models, store) = (place.path("models"), place.path("store"));
    let (export, out) = (place.path(&format!("export-{day}")), place.path(&format!("{day}.csv")));
    run(OPS, &["store", "export", "--store", &store, "--out", &export]).expect(0, &[]);
    let args = ["--models", &models, "--name", "demo", "--states", &export, "--as-of", day];
    run(SCORE, &[&args[..], &["--out", &out, "--json"], more].concat()).expect(0, &[]);
    let scores = rows(&fs::read(out).unwrap());
    let chosen = scores.into_iter().filter(|(_, row)| row["campaign"] != "no_action");
    chosen.map(|(id, row)| (id, (row["campaign"].clone(), row["channel"].clone()))).collect()
}

#[test]
fn a_second_night_repeats_no_campaign_under_its_cooldown() {
    let place = place();
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/complete_journey.csv.gz");
    let (models, store) = (place.path("models"), place.path("store"));
    let of_store = ["--models", &models, "--name", "demo", "--store", &store, "--json"];
    let events = ["store", "load", "--events", log.to_str().unwrap(), "--until", "2017-11-30"];
    let ids = ["--ids-since", "2017-10-01"];
    run(OPS, &[&events[..], &of_store, &ids].concat()).expect(0, &[]);

    let first = night(&place, "2017-11-30", &[]);
    assert!(first.len() > 100, "{} customers are written to", first.len());
    // What the sender reports: one contact a message, with an id of its own.
    let mut sent = String::new();
    for (customer, (campaign, channel)) in &first {
        writeln!(
            sent,
            "{{\"event_id\":\"2017-12-01/{customer}/{campaign}\",\"customer_id\":\"{customer}\",\
             \"type\":\"contact\",\"time\":\"2017-12-01T08:00:00Z\",\"campaign\":\"{campaign}\",\
             \"channel\":\"{channel}\",\"stage\":\"delivered\"}}"
        )
        .unwrap();
    }
    let sent = place.file("sent.jsonl", &sent);
    let back = ["store", "load", "--append", "--events", &sent];
    let said = run(OPS, &[&back[..], &of_store].concat()).json();
    assert_eq!(said["new"], first.len());
    // Sent twice by mistake, it changes nothing.
    let said = run(OPS, &[&back[..], &of_store].concat()).json();
    assert_eq!((&said["new"], &said["known"]), (&0.into(), &first.len().into()));

    let second = night(&place, "2017-12-01", &[]);
    for (customer, (campaign, _)) in &first {
        let again = second.get(customer).map(|(campaign, _)| campaign);
        assert_ne!(again, Some(campaign), "{customer} hears the same twice");
    }
    // Only those with news: all that were written to are among them.
    let old = place.path("2017-11-30.csv");
    fs::remove_dir_all(place.path("export-2017-12-01")).unwrap();
    let more = ["--changed-since", "2017-12-01", "--previous", &old];
    let changed = night(&place, "2017-12-01", &more);
    assert!(changed.iter().all(|(customer, chosen)| second[customer] == *chosen));
    let written = rows(&fs::read(place.path("2017-12-01.csv")).unwrap());
    assert!(first.keys().all(|customer| written.contains_key(customer)));
    assert!(written.len() < 2_400, "not everybody has news: {}", written.len());
}
