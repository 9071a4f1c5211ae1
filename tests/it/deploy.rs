//! What is shipped for operators names only what exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;

use crate::serve_client::{Clients, subject, three_customers};
use crate::serve_reload::{get, with_admin};

fn read(name: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Names of metrics in a text, without what a histogram's samples end with.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !is_name(c))
        .filter(|word| word.starts_with("tenure_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_name_metrics_that_exist_and_every_alert_is_explained() {
    let (server, admin) = with_admin(&[], |parts| parts).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    clients.score(subject("once")).await.unwrap();
    let (_, page) = get(admin, "/metrics").await;
    let known: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .collect();
    let (dashboard, alerts) = (read("deploy/grafana.json"), read("deploy/alerts.yml"));
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    assert!(panels.len() > 10 && panels.iter().all(|panel| !panel["targets"].is_null()));
    for (name, text) in [("grafana.json", &dashboard), ("alerts.yml", &alerts)] {
        let named = metrics(text);
        assert!(named.len() > 8, "{name}: {named:?}");
        let strange: Vec<_> = named.difference(&known).collect();
        assert!(strange.is_empty(), "{name} names {strange:?}, the server has {known:?}");
    }
    // Whatever is counted is worth a look.
    let shown = metrics(&dashboard);
    let unseen: Vec<_> = known.difference(&shown).collect();
    assert!(unseen.iter().all(|name| *name == "tenure_store_last_commit"), "{unseen:?}");
    let book = read("docs/OPERATIONS.md");
    let named: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 10);
    for alert in named {
        assert!(book.contains(&format!("\n### {alert}\n")), "{alert} has no section");
    }
    assert!(server.stop().await.complete);
}

#[test]
fn the_settings_in_the_run_book_exist() {
    let config = crate::serve_fixture::config(std::path::Path::new("x"), &[]).to_toml();
    let book = read("docs/OPERATIONS.md");
    let ends = ["_max", "_seconds", "_minutes", "_min"];
    let is_key = |c: char| c.is_ascii_lowercase() || c == '_';
    let keys: BTreeSet<&str> = book
        .split(|c| !is_key(c))
        .filter(|word| ends.iter().any(|end| word.ends_with(end)) && !word.starts_with("tenure"))
        .collect();
    assert!(keys.len() > 8, "{keys:?}");
    for key in keys {
        assert!(config.contains(&format!("{key} ")), "{key} is no setting");
    }
}
