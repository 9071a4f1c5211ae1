//! The whole way in one minute, on real data: train on the shipped grocery log, load a store,
//! start a server, send it a month of events, and ask it over gRPC what to do about whom.
//!
//!     cargo run --release --example quickstart
//!
//! Everything it writes lies in `quickstart-out/`, made anew at each run.
#![allow(clippy::print_stdout, reason = "a program talks to its terminal")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use prost_types::value::Kind;
use tenure::config::{OpsArgs, ServeArgs, TrainArgs};
use tenure::domain::{AsOf, Day, Zone};
use tenure::events::{Event, EventKind, Log, LogSpec, ReadSpec, Rules};
use tenure::serve::pb;
use tenure::serve::pb::event_service_client::EventServiceClient;
use tenure::serve::pb::scoring_service_client::ScoringServiceClient;
use tenure::{batch, serve, train};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Channel;

/// Training looks at the log up to this day; what came after it is sent to the server.
const UNTIL: &str = "2017-11-30";
/// The last day of the log: what the scores speak of.
const LOG_END: &str = "2017-12-31";
/// Events a request.
const BATCH: usize = 1000;
/// Customers shown.
const SHOWN: usize = 16;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let log = root.join("data/complete_journey.csv.gz");
    let out = root.join("quickstart-out");
    if out.try_exists()? {
        std::fs::remove_dir_all(&out).with_context(|| format!("clear {}", out.display()))?;
    }
    let (models, store) = (out.join("models"), out.join("store"));
    println!("1/5  training on {} up to {UNTIL}", log.display());
    let report = train_model(&log, &models)?;
    println!("2/5  loading a fresh store from the same log");
    load_store(&log, &models, &store)?;
    let december = events_after(&log)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let scores = runtime.block_on(ask_a_server(&models, &store, &december))?;
    print_scores(&scores)?;
    print_next(&report, &out);
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", path.display()))
}

fn train_model(log: &Path, models: &Path) -> Result<PathBuf> {
    let args = TrainArgs::try_parse_from([
        "tenure-train",
        "--events",
        text(log)?,
        "--until",
        UNTIL,
        "--churn-horizon-days",
        "30",
        "--clv-horizon-days",
        "90",
        "--currency",
        "USD",
        "--models",
        text(models)?,
        "--name",
        "grocery",
        "--quiet",
    ])?;
    let outcome = train::execute(&args.to_config()?, &mut |_| {})?;
    println!("     grade {}: {}", outcome.grade.letter, outcome.grade.reason);
    println!("     bundle {}", outcome.folder.display());
    Ok(outcome.folder.join("report.html"))
}

fn load_store(log: &Path, models: &Path, store: &Path) -> Result<()> {
    let args = OpsArgs::try_parse_from([
        "tenure-ops",
        "store",
        "load",
        "--store",
        text(store)?,
        "--models",
        text(models)?,
        "--name",
        "grocery",
        "--events",
        text(log)?,
        "--as-of",
        UNTIL,
    ])?;
    let outcome = batch::operate(&args.to_config()?, &mut |_| {})?;
    for line in outcome.text.lines() {
        println!("     {line}");
    }
    Ok(())
}

/// The log's events after the day that training looked at.
fn events_after(log: &Path) -> Result<Vec<Event>> {
    let spec = LogSpec {
        events: vec![log.to_owned()],
        profiles: None,
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: AsOf::end_of(Day::parse(LOG_END)?, &Zone::UTC),
    };
    let until = AsOf::end_of(Day::parse(UNTIL)?, &Zone::UTC);
    let log = Log::read(&spec, &mut |_| {})?;
    let mut events: Vec<Event> = log
        .customers
        .into_iter()
        .flat_map(|customer| customer.events)
        .filter(|event| event.time >= until.instant())
        .collect();
    events.sort_by_key(|event| (event.time, event.id));
    Ok(events)
}

/// Starts a real server on a free port, sends it the events, scores every customer seen in them,
/// and ends the server in order.
async fn ask_a_server(models: &Path, store: &Path, events: &[Event]) -> Result<Vec<pb::Score>> {
    let args = ServeArgs::try_parse_from([
        "tenure-serve",
        "--models",
        text(models)?,
        "--name",
        "grocery",
        "--store",
        text(store)?,
        "--listen",
        "127.0.0.1:0",
    ])?;
    let config = args.to_config()?;
    let parts = serve::open(&config)?;
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let ended = async {
            let _ = stopped.await;
        };
        serve::serve(&config, parts, listener, ended).await
    });
    println!("3/5  a server listens on {address}");
    let channel = Channel::from_shared(format!("http://{address}"))?
        .timeout(Duration::from_secs(30))
        .connect()
        .await?;
    ingest(channel.clone(), events).await?;
    let mut customers: Vec<&str> = events.iter().map(|event| event.customer.as_str()).collect();
    customers.sort_unstable();
    customers.dedup();
    let scores = score(channel, &customers).await?;
    let _ = stop.send(());
    server.await??;
    Ok(scores)
}

async fn ingest(channel: Channel, events: &[Event]) -> Result<()> {
    let mut client = EventServiceClient::new(channel);
    let mut accepted = 0;
    for batch in events.chunks(BATCH) {
        let events = batch.iter().map(to_wire).collect();
        let answer = client
            .ingest_events(pb::IngestEventsRequest { events, ..Default::default() })
            .await?
            .into_inner();
        ensure!(answer.rejected.is_empty(), "refused: {:?}", answer.rejected.first());
        accepted += answer.accepted_count;
    }
    println!("4/5  {accepted} events of December ingested, each durable before its answer");
    Ok(())
}

fn to_wire(event: &Event) -> pb::Event {
    let mut fields = BTreeMap::new();
    let mut set = |name: &str, kind| {
        fields.insert(name.to_owned(), prost_types::Value { kind: Some(kind) });
    };
    if let EventKind::Purchase(purchase) = &event.kind {
        set("amount", Kind::NumberValue(purchase.amount.units()));
        set("items", Kind::NumberValue(f64::from(purchase.items)));
        if let Some(category) = &purchase.category {
            set("category", Kind::StringValue(category.as_str().to_owned()));
        }
    }
    let (seconds, micros) = event.time.seconds_and_micros();
    pb::Event {
        event_id: format!("{:032x}", event.id.bits()),
        customer: event.customer.as_str().to_owned(),
        r#type: "purchase".to_owned(),
        event_time: Some(prost_types::Timestamp {
            seconds,
            nanos: i32::try_from(micros * 1000).unwrap_or(0),
        }),
        attributes: Some(prost_types::Struct { fields }),
    }
}

async fn score(channel: Channel, customers: &[&str]) -> Result<Vec<pb::Score>> {
    let mut client = ScoringServiceClient::new(channel);
    let (seconds, _) =
        AsOf::end_of(Day::parse(LOG_END)?, &Zone::UTC).instant().seconds_and_micros();
    let as_of = prost_types::Timestamp { seconds, nanos: 0 };
    let mut scores = Vec::with_capacity(customers.len());
    for batch in customers.chunks(BATCH) {
        let subjects = batch
            .iter()
            .map(|customer| pb::ScoreSubject {
                customer: (*customer).to_owned(),
                as_of: Some(as_of),
                ..pb::ScoreSubject::default()
            })
            .collect();
        let request = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        for row in client.batch_score_customers(request).await?.into_inner().outcomes {
            match row.outcome {
                Some(pb::score_outcome::Outcome::Score(score)) => scores.push(score),
                other => return Err(anyhow!("no score: {other:?}")),
            }
        }
    }
    println!("5/5  {} customers scored as of the end of {LOG_END}\n", scores.len());
    Ok(scores)
}

fn campaign(score: &pb::Score) -> &str {
    score.advice.as_ref().map_or("", |advice| advice.campaign_id.as_str())
}

/// The customers with the most value at risk of each campaign, most urgent first.
fn print_scores(scores: &[pb::Score]) -> Result<()> {
    let mut by_campaign: BTreeMap<&str, Vec<&pb::Score>> = BTreeMap::new();
    for score in scores {
        by_campaign.entry(campaign(score)).or_default().push(score);
    }
    let risk = |score: &pb::Score| score.value_at_risk.unwrap_or(0.0);
    let mut shown: Vec<&pb::Score> = Vec::new();
    let per_campaign = (SHOWN / by_campaign.len().max(1)).max(1);
    for members in by_campaign.values_mut() {
        members.sort_by(|a, b| risk(b).total_cmp(&risk(a)));
        shown.extend(members.iter().take(per_campaign));
    }
    shown.sort_by(|a, b| risk(b).total_cmp(&risk(a)));
    println!(
        "{:<9} {:>6}  {:<6} {:>9}  {:>17}  {:<18} {:<22} {:<12} reason",
        "customer", "churn", "tier", "CLV", "p10 .. p90", "segment", "campaign", "channel"
    );
    for score in shown {
        print_row(score);
    }
    println!("\ncampaign                customers  value at risk");
    for (id, members) in &by_campaign {
        let total: f64 = members.iter().map(|score| risk(score)).sum();
        println!("{id:<22} {:>10} {total:>14.0}", members.len());
    }
    let distinct = by_campaign.keys().filter(|id| **id != "no_action").count();
    ensure!(distinct >= 5, "only {distinct} distinct campaigns: the shipped log gives more");
    Ok(())
}

fn print_row(score: &pb::Score) {
    let name = |full: &str, prefix: &str| full.strip_prefix(prefix).unwrap_or(full).to_lowercase();
    let clv = score.clv.clone().unwrap_or_default();
    let advice = score.advice.clone().unwrap_or_default();
    let channel = advice.channels.first().map_or_else(String::new, |_| {
        advice.channels().next().map_or_else(String::new, |c| name(c.as_str_name(), "CHANNEL_"))
    });
    let reason = if advice.reason.is_empty() {
        name(advice.suppression().as_str_name(), "SUPPRESSION_")
    } else {
        advice.reason.clone()
    };
    println!(
        "{:<9} {:>5.1}%  {:<6} {:>9.0}  {:>17}  {:<18} {:<22} {:<12} {reason}",
        score.customer,
        100.0 * score.churn_probability.unwrap_or(f64::NAN),
        name(score.risk_tier().as_str_name(), "RISK_TIER_"),
        clv.mean,
        format!("{:.0} .. {:.0}", clv.p10.unwrap_or(f64::NAN), clv.p90.unwrap_or(f64::NAN)),
        name(score.segment().as_str_name(), "SEGMENT_"),
        campaign(score),
        channel,
    );
}

fn print_next(report: &Path, out: &Path) {
    println!("\nreport: {}", report.display());
    println!(
        "\non your own data (a CSV, JSONL or Parquet file with customer, time and amount):
  cargo run --release --bin tenure-train -- --events sales.csv --until 2026-10-31 \\
      --churn-horizon-days 90 --clv-horizon-days 365 --models models --name shop
  cargo run --release --bin tenure-score -- --models models --name shop --events sales.csv \\
      --as-of 2026-10-31 --out scores.csv
  cargo run --release --bin tenure-ops -- store load --store state --models models --name shop \\
      --events sales.csv
  cargo run --release --bin tenure-serve -- --models models --name shop --store state
everything this run wrote lies in {}",
        out.display()
    );
}
