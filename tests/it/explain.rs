//! Explanations, exports, drift and personas, from the log to the answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;
use tenure::bundle::Bundle;
use tenure::decision::Policy;
use tenure::domain::{AsOf, Currency, Day, Days, Zone};
use tenure::events::{CustomerLog, Log, LogSpec, ReadSpec, Rules, Threshold};
use tenure::history::History;
use tenure::model::btyd::Prior;
use tenure::scoring::{Engine, ReasonGroup};
use tenure::serve::pb;
use tenure::train::{Extras, TrainSpec, run};

use super::serve_client::{Clients, purchase, subject, three_customers};
use super::serve_fixture::Running;

const OPS: &str = env!("CARGO_BIN_EXE_tenure-ops");
const SCORE: &str = env!("CARGO_BIN_EXE_tenure-score");
const UNTIL: &str = "2017-11-30";

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/complete_journey.csv.gz")
}

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn log_spec() -> LogSpec {
    LogSpec {
        events: vec![sample()],
        profiles: None,
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: AsOf::end_of(day(UNTIL), &Zone::UTC),
    }
}

/// A model with personas, and its rows; made once for all tests.
struct Trained {
    dir: TempDir,
    folder: PathBuf,
    version: String,
    metrics: Value,
}

fn train(dir: &Path, threads: usize) -> (PathBuf, String, Value) {
    let spec = TrainSpec {
        name: "why".to_owned(),
        until: day(UNTIL),
        zone: Zone::UTC,
        churn: Days::try_new(30).unwrap(),
        value: Days::try_new(60).unwrap(),
        prior: Prior::default(),
        covariates: Vec::new(),
        season_clock: false,
        seed: 42,
        threads,
        allow_small: false,
        assume_complete: false,
        currency: Currency::try_new("USD").unwrap(),
        policy: Policy::default_text().to_owned(),
        extras: Extras {
            personas: Some(4),
            export_dataset: Some(dir.join("rows")),
            ..Extras::default()
        },
    };
    let models = dir.join("models");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let made = pool
        .install(|| run(&spec, &log_spec(), &Threshold::default(), &models, &mut |_| {}))
        .unwrap();
    (made.folder, made.version, made.metrics)
}

static TRAINED: LazyLock<Trained> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let (folder, version, metrics) = train(dir.path(), 2);
    Trained { dir, folder, version, metrics }
});

fn engine() -> Engine {
    Engine::try_new(Bundle::load(&TRAINED.folder).unwrap(), None, Some("a salt of this test"))
        .unwrap()
}

fn folded(customer: &CustomerLog) -> History {
    let mut history = History::default();
    for event in &customer.events {
        history.apply(event);
    }
    history
}

/// Whether to leave a test out: models are fitted in release builds only.
const DEBUG: bool = cfg!(debug_assertions);

#[test]
fn explanations_sum_to_the_scores_of_everybody_and_change_nothing() {
    if DEBUG {
        return;
    }
    let engine = engine();
    let log = Log::read(&log_spec(), &mut |_| {}).unwrap();
    let as_of = AsOf::end_of(day(UNTIL), &Zone::UTC);
    let (mut largest, mut groups) = (0.0_f64, std::collections::BTreeSet::new());
    for customer in &log.customers {
        let history = folded(customer);
        let plain = engine.answer(&customer.customer, &history, as_of, false).unwrap();
        let found = engine.explain(&customer.customer, &history, as_of).unwrap();
        assert_eq!(found.answer.score, plain.score);
        assert_eq!(found.answer.decision.campaign_id(), plain.decision.campaign_id());
        assert!(!found.answer.decision.trace.is_empty() && plain.decision.trace.is_empty());
        let churn = found.churn.unwrap();
        let odds = |p: f64| (p / (1.0 - p)).ln();
        let prob = plain.score.churn_prob.unwrap();
        let sum =
            churn.explanation.base_value + churn.explanation.contributions.iter().sum::<f64>();
        assert!((sum - odds(prob)).abs() < 1e-9, "{}: {sum}", customer.customer);
        let by_group: f64 = churn.groups.iter().map(|(_, part)| part).sum();
        assert!((churn.explanation.base_value + by_group - sum).abs() < 1e-9);
        let value = found.value.unwrap();
        let mean = plain.score.clv.as_ref().unwrap().mean;
        let sum =
            value.explanation.base_value + value.explanation.contributions.iter().sum::<f64>();
        assert!((sum - mean.ln()).abs() < 1e-9, "{}: {sum}", customer.customer);
        let told = engine.reasons(&history, as_of, 2).unwrap();
        for why in [&told.churn, &told.value] {
            let raising = why.iter().filter(|reason| reason.contribution > 0.0).count();
            assert!(raising <= 2 && why.len() - raising <= 2 && !why.is_empty());
        }
        assert_eq!(told.churn[0].group, churn.reasons[0].group);
        groups.insert(told.churn[0].group);
        largest = largest.max(told.churn[0].contribution.abs());
    }
    assert!(largest > 1.0 && groups.len() > 1, "{largest} {groups:?}");
}

#[test]
fn importance_and_effects_stand_in_the_metrics() {
    if DEBUG {
        return;
    }
    let churn = &TRAINED.metrics["importance"]["churn"];
    let features = churn["features"].as_array().unwrap();
    let weights: Vec<f64> =
        features.iter().map(|f| f["contribution_mean_abs"].as_f64().unwrap()).collect();
    assert!(weights.is_sorted_by(|a, b| a >= b) && weights[0] > 0.1);
    // What is dealt out at random must cost something where it matters most.
    let most = features
        .iter()
        .filter_map(|f| f["permutation_log_loss"].as_f64())
        .fold(f64::NEG_INFINITY, f64::max);
    assert!(most > 0.01, "{most}");
    for effect in churn["effects"].as_array().unwrap() {
        let bins = effect["bins"].as_array().unwrap();
        let n: u64 = bins.iter().map(|bin| bin["customers"].as_u64().unwrap()).sum();
        let missing = effect["missing"]["customers"].as_u64().unwrap_or(0);
        let all = TRAINED.metrics["importance"]["customers"].as_u64().unwrap();
        assert_eq!(n + missing, all, "{effect}");
        let ends = |key: &str| bins.iter().map(|b| b[key].as_f64().unwrap()).collect::<Vec<_>>();
        assert!(ends("from").iter().zip(ends("to")).all(|(from, to)| *from <= to));
        assert!(ends("to").windows(2).all(|pair| pair[0] < pair[1]));
        assert_ne!(ReasonGroup::of(effect["name"].as_str().unwrap()), ReasonGroup::Other);
    }
}

#[test]
fn one_thread_makes_the_same_bundle_and_the_same_rows() {
    if DEBUG {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (_, version, _) = train(dir.path(), 1);
    assert_eq!(version, TRAINED.version);
    for file in ["dataset.csv.gz", "judged.csv", "schema.json"] {
        let read = |dir: &Path| fs::read(dir.join("rows").join(file)).unwrap();
        assert!(read(dir.path()) == read(TRAINED.dir.path()), "{file} differs");
    }
}

#[test]
fn the_exported_rows_are_those_that_were_judged() {
    if DEBUG {
        return;
    }
    let dir = TRAINED.dir.path().join("rows");
    let schema: Value =
        serde_json::from_slice(&fs::read(dir.join("schema.json")).unwrap()).unwrap();
    let file = fs::File::open(dir.join("dataset.csv.gz")).unwrap();
    let mut rows = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let header: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
    let names: Vec<&str> = schema["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["name"].as_str().unwrap())
        .collect();
    assert_eq!(header[..5], ["customer_id", "cutoff", "role", "churned", "spend"]);
    assert_eq!(header[5..], names);
    let bundle = Bundle::load(&TRAINED.folder).unwrap();
    let predictor = bundle.predictor().unwrap();
    let (columns, model) = (predictor.columns(), &predictor.fitted().churn);
    let mut judged = csv::Reader::from_path(dir.join("judged.csv")).unwrap();
    let mut said = judged.records();
    let mut roles = std::collections::BTreeMap::new();
    for record in rows.records() {
        let record = record.unwrap();
        *roles.entry(record[2].to_owned()).or_insert(0_u64) += 1;
        if &record[2] != "judged" {
            continue;
        }
        let number = |text: &str| if text.is_empty() { f64::NAN } else { text.parse().unwrap() };
        let row: Vec<f64> = record.iter().skip(5).map(number).collect();
        let said = said.next().unwrap().unwrap();
        assert_eq!((&said[0], &said[1], &said[2]), (&record[0], &record[3], &record[4]));
        // The bits survive the file.
        assert!(said[7].parse::<f64>().unwrap().to_bits() == model.prob(columns, &row).to_bits());
    }
    assert!(said.next().is_none());
    assert!(roles["training"] > 0 && roles["judged"] > 0, "{roles:?}");
}

#[test]
fn personas_are_named_shared_out_and_a_fact_of_the_policy() {
    if DEBUG {
        return;
    }
    let bundle = Bundle::load(&TRAINED.folder).unwrap();
    let personas = bundle.personas().unwrap();
    let shares: f64 = personas.personas().iter().map(|one| one.share).sum();
    assert_eq!(personas.personas().len(), 4);
    assert!((shares - 1.0).abs() < 1e-9);
    let names: Vec<String> = personas.personas().iter().map(|one| one.name.clone()).collect();
    let engine = Engine::try_new(bundle, None, Some("a salt of this test")).unwrap();
    let log = Log::read(&log_spec(), &mut |_| {}).unwrap();
    let as_of = AsOf::end_of(day(UNTIL), &Zone::UTC);
    let mut seen = std::collections::BTreeSet::new();
    for customer in &log.customers {
        let history = folded(customer);
        let answer = engine.answer(&customer.customer, &history, as_of, false).unwrap();
        let persona = answer.facts.persona.unwrap();
        assert!(answer.decision.micro_key.starts_with(persona.as_str()));
        seen.insert(persona.as_str().to_owned());
    }
    assert_eq!(seen, names.into_iter().collect());
}

fn ops(args: &[&str]) -> (i32, String) {
    let models = TRAINED.dir.path().join("models");
    let done = Command::new(OPS)
        .args(args)
        .args(["--models", models.to_str().unwrap(), "--name", "why", "--quiet"])
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn the_page_of_a_customer_says_why() {
    if DEBUG {
        return;
    }
    let events = sample();
    let base = ["explain", "--events", events.to_str().unwrap(), "--as-of", UNTIL];
    let log = Log::read(&log_spec(), &mut |_| {}).unwrap();
    let someone = log.customers[7].customer.as_str().to_owned();
    let (code, page) = ops(&[&base[..], &["--customer", &someone]].concat());
    assert_eq!(code, 0, "{page}");
    for part in ["base value", "PURCHASE_RHYTHM", "rules that were tried", "% within 30 days"] {
        assert!(page.contains(part), "{part:?} is not in\n{page}");
    }
    let (code, json) = ops(&[&base[..], &["--customer", &someone, "--json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, 0);
    assert!(json["churn"]["gap"].as_f64().unwrap().abs() < 1e-9);
    let (code, said) = ops(&[&base[..], &["--customer", "nobody-of-that-name"]].concat());
    assert_eq!(code, 65);
    assert!(said.contains("no event of customer"), "{said}");
}

#[test]
fn reasons_are_a_column_of_the_scores_where_they_are_asked_for() {
    if DEBUG {
        return;
    }
    let (models, events) = (TRAINED.dir.path().join("models"), sample());
    let score = |name: &str, more: &[&str]| {
        let out = TRAINED.dir.path().join(name);
        let done = Command::new(SCORE)
            .args(["--models", models.to_str().unwrap(), "--name", "why", "--as-of", UNTIL])
            .args(["--events", events.to_str().unwrap(), "--out", out.to_str().unwrap()])
            .args(more)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mut rows = csv::Reader::from_path(out).unwrap();
        let header = rows.headers().unwrap().clone();
        let picked = ["churn_reasons", "persona", "churn_probability"]
            .map(|name| header.iter().position(|found| found == name).unwrap());
        rows.records()
            .map(|row| {
                let row = row.unwrap();
                picked.map(|at| row[at].to_owned())
            })
            .collect::<Vec<_>>()
    };
    let plain = score("plain.csv", &[]);
    let told = score("told.csv", &["--reasons", "2"]);
    assert_eq!(plain.len(), told.len());
    for ([none, persona, prob], [why, same_persona, same_prob]) in plain.iter().zip(&told) {
        assert!(none.is_empty() && prob == same_prob && persona == same_persona);
        let n = why.split(" | ").count();
        assert!((1..=4).contains(&n) && (why.starts_with('+') || why.starts_with('-')), "{why}");
        assert!(!persona.is_empty());
    }
}

#[test]
fn drift_is_quiet_on_the_training_base_and_sees_a_changed_one() {
    if DEBUG {
        return;
    }
    let events = sample();
    let events = events.to_str().unwrap();
    let drift = |file: &str, as_of: &str| {
        let args = ["bundle", "drift", "--events", file, "--as-of", as_of, "--json"];
        let (code, said) = ops(&[&args[..], &["--fail-on-alarm"]].concat());
        let json: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        (code, json)
    };
    let (code, same) = drift(events, UNTIL);
    assert_eq!((code, same["alarms"].as_array().unwrap().len()), (0, 0), "{same}");
    let moved = same["moved"].as_array().unwrap();
    assert!(moved.len() > 60 && moved.iter().all(|one| one["psi"].as_f64().unwrap() < 1e-9));
    assert!(same["windows"][0]["seen_in_training"].as_bool().unwrap());

    // The same log with all amounts ten times as large.
    let mut text = String::from("customer_id,date,amount\n");
    let log = Log::read(&log_spec(), &mut |_| {}).unwrap();
    for customer in &log.customers {
        for event in &customer.events {
            if let tenure::events::EventKind::Purchase(purchase) = &event.kind {
                let amount = 10.0 * purchase.amount.units();
                text.push_str(&format!("{},{},{amount}\n", customer.customer, event.day));
            }
        }
    }
    let dear = TRAINED.dir.path().join("dear.csv");
    fs::write(&dear, text).unwrap();
    let (code, json) = drift(dear.to_str().unwrap(), UNTIL);
    let alarms: Vec<&str> =
        json["alarms"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(code, 3);
    assert!(alarms.contains(&"spend_per_day_mean") && alarms.contains(&"value"), "{alarms:?}");
    assert!(!alarms.contains(&"spend_total") && !alarms.contains(&"frequency"), "{alarms:?}");

    // A month later one window has ended that training had not seen.
    let (_, later) = drift(events, "2017-12-30");
    let window = &later["windows"][0];
    assert!(!window["seen_in_training"].as_bool().unwrap(), "{later}");
    assert!(window["auc"].as_f64().unwrap() > 0.7);
    let share = window["churn_share"].as_f64().unwrap();
    assert!((window["churn_probability_mean"].as_f64().unwrap() - share).abs() < 0.1);
}

#[test]
fn the_graph_for_other_programs_is_written() {
    if DEBUG {
        return;
    }
    let out = TRAINED.dir.path().join("churn.onnx");
    let (code, said) = ops(&["bundle", "export-onnx", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let bytes = fs::read(&out).unwrap();
    // Field 1 (the version of the format) is 8, field 2 names the producer.
    assert_eq!(bytes[..4], [0x08, 0x08, 0x12, 0x06]);
    assert_eq!(&bytes[4..10], b"tenure");
    let name = b"churn_probability";
    assert!(bytes.windows(name.len()).any(|window| window == name));
}

#[tokio::test]
async fn the_server_explains_what_it_scores() {
    let server = Running::start(&[]).await;
    let mut client = Clients::new(&server).await;
    client.ingest(three_customers()).await.unwrap();
    let plain = client.score(subject("regular")).await.unwrap();
    assert!(plain.churn_reasons.is_empty());
    let request = pb::ExplainScoreRequest { subject: Some(subject("regular")), model: None };
    let why = client.scoring.explain_score(request).await.unwrap().into_inner();
    let mut score = why.score.unwrap();
    score.provenance.as_mut().unwrap().score_time = None;
    let mut same = plain.clone();
    same.provenance.as_mut().unwrap().score_time = None;
    assert_eq!(score, same);
    let churn = why.churn.unwrap();
    let sum = churn.base_value + churn.contributions.iter().map(|c| c.contribution).sum::<f64>();
    let prob = plain.churn_probability.unwrap();
    assert!((sum - (prob / (1.0 - prob)).ln()).abs() < 1e-9);
    assert!(churn.gap.abs() < 1e-9 && !churn.reasons.is_empty());
    assert!(churn.reasons.iter().any(|reason| reason.text.contains("usual gap 20 days")));
    let value = why.value.unwrap();
    assert!((value.total.exp() / plain.clv.unwrap().mean - 1.0).abs() < 1e-9);
    let campaigns = why.rules.iter().filter(|r| r.kind() == pb::RuleKind::Campaign).count();
    assert!(campaigns > 20, "{campaigns}");
    // Somebody who never bought has a decision, but no score to explain.
    let request = pb::ExplainScoreRequest { subject: Some(subject("visitor")), model: None };
    let why = client.scoring.explain_score(request).await.unwrap().into_inner();
    assert!(why.churn.is_none() && why.value.is_none() && !why.rules.is_empty());

    let full = pb::ScoreCustomerRequest {
        subject: Some(pb::ScoreSubject {
            events: vec![purchase("", "", 9, 1.0)],
            ..subject("regular")
        }),
        view: pb::ScoreView::Full.into(),
        ..Default::default()
    };
    let score = client.scoring.score_customer(full.clone()).await.unwrap().into_inner().score;
    assert!(!score.unwrap().churn_reasons.is_empty());
    let unknown = pb::ScoreCustomerRequest { view: 99, ..full };
    let refused = client.scoring.score_customer(unknown).await.unwrap_err();
    assert_eq!(super::serve_client::told(&refused).2, ["view"]);
    server.stop().await;
}
