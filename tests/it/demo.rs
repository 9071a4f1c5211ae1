//! The bundle that ships with the source loads, passes its self-test, and is what its command
//! makes.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tenure::bundle::{Bundle, BundleSelector};
use tenure::domain::{AsOf, Day, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules};
use tenure::history::History;
use tenure::model::Clv;
use tenure::scoring::{Engine, self_test};
use tenure::serve::pb;
use tenure::serve::pb::scoring_service_client::ScoringServiceClient;

fn root(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(part)
}

fn demo() -> Bundle {
    Bundle::find(&root("models"), &BundleSelector::parse("demo").unwrap()).unwrap()
}

#[test]
fn the_demo_bundle_passes_its_self_test() {
    let bundle = demo();
    self_test(&bundle).unwrap();
    let engine = Engine::try_new(bundle, None, Some("a salt of this test")).unwrap();
    assert_eq!(engine.currency().as_str(), "USD");
}

#[test]
fn the_demo_bundle_is_what_its_command_makes() {
    let models = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tenure-train"))
        .args(["--events"])
        .arg(root("data/complete_journey.csv.gz"))
        .args(["--until", "2017-11-30", "--churn-horizon-days", "30", "--clv-horizon-days", "90"])
        .args(["--currency", "USD", "--name", "demo", "--quiet", "--models"])
        .arg(models.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        version.trim(),
        demo().version,
        "features or recipe changed: train the demo bundle again as models/README.md says"
    );
}

/// A child that is killed when the test ends, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program on a free port and gives its address.
fn serve(models: &Path, store: &Path) -> (Server, String) {
    use std::io::{BufRead, BufReader};

    let mut child = Command::new(env!("CARGO_BIN_EXE_tenure-serve"))
        .arg("--models")
        .arg(models)
        .args(["--name", "demo", "--listen", "127.0.0.1:0", "--log", "warn", "--store"])
        .arg(store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (Server(child), address)
}

/// Runs a program on the shipped log with the demo model.
fn run(program: &str, models: &Path, more: &[&str]) {
    let output = Command::new(program)
        .args(more)
        .arg("--events")
        .arg(root("data/complete_journey.csv.gz"))
        .args(["--as-of", "2017-11-30", "--name", "demo", "--models"])
        .arg(models)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn g_1_the_server_and_the_batch_job_give_the_same_bits() {
    let dir = TempDir::new().unwrap();
    let models = dir.path().join("models");
    copy_folder(&root("models"), &models);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    run(env!("CARGO_BIN_EXE_tenure-score"), &models, &["--out", &path("scores.csv")]);
    let load = ["store", "load", "--store", &path("store")];
    run(env!("CARGO_BIN_EXE_tenure-ops"), &models, &load);
    let (_server, address) = serve(&models, Path::new(&path("store")));
    let mut client = ScoringServiceClient::connect(format!("http://{address}")).await.unwrap();

    let mut reader = csv::Reader::from_path(path("scores.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(rows.len() > 2000);
    let mut held_out = 0;
    for rows in rows.chunks(1000) {
        let subjects = rows
            .iter()
            .map(|row| pb::ScoreSubject {
                customer: row[at("customer_id")].to_owned(),
                // The end of 2017-11-30.
                as_of: Some(prost_types::Timestamp { seconds: 1_512_086_400, nanos: 0 }),
                ..pb::ScoreSubject::default()
            })
            .collect();
        let request = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        let outcomes = client.batch_score_customers(request).await.unwrap().into_inner().outcomes;
        for (row, outcome) in rows.iter().zip(outcomes) {
            let Some(pb::score_outcome::Outcome::Score(score)) = outcome.outcome else {
                panic!("{outcome:?}");
            };
            let number = |name: &str| row[at(name)].parse::<f64>().unwrap().to_bits();
            let clv = score.clv.as_ref().unwrap();
            let advice = score.advice.as_ref().unwrap();
            assert_eq!(number("churn_probability"), score.churn_probability.unwrap().to_bits());
            assert_eq!(number("clv_mean"), clv.mean.to_bits());
            assert_eq!(number("clv_p10"), clv.p10.unwrap().to_bits());
            assert_eq!(number("clv_p90"), clv.p90.unwrap().to_bits());
            assert_eq!(number("expected_purchases"), score.expected_purchases.unwrap().to_bits());
            let campaign = if advice.campaign_id == "no_action" { "" } else { &advice.campaign_id };
            let found = &row[at("campaign")];
            assert!(found == campaign || found == advice.campaign_id, "{found} {campaign}");
            assert_eq!(row[at("holdout")] == *"true", advice.holdout);
            held_out += usize::from(advice.holdout);
        }
    }
    assert!(held_out > 0, "the control groups are drawn with the same salt");
}

/// The batch job scores in blocks; the library here answers one customer after the other.
#[test]
fn g_1_the_file_has_the_bits_of_one_answer_at_a_time() {
    let dir = TempDir::new().unwrap();
    let models = dir.path().join("models");
    copy_folder(&root("models"), &models);
    let out = dir.path().join("scores.csv");
    run(env!("CARGO_BIN_EXE_tenure-score"), &models, &["--out", out.to_str().unwrap()]);
    let salt = tenure::bundle::installation_salt(&models).unwrap();
    let engine = Engine::try_new(demo(), None, Some(&salt)).unwrap();
    let as_of = AsOf::end_of(Day::parse("2017-11-30").unwrap(), &Zone::UTC);
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let events = vec![root("data/complete_journey.csv.gz")];
    let log = LogSpec { events, profiles: None, read, rules, before: as_of };
    let log = Log::read(&log, &mut |_| {}).unwrap();
    let mut reader = csv::Reader::from_path(out).unwrap();
    let headers = reader.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), log.customers.len());
    for (row, customer) in rows.iter().zip(&log.customers) {
        let mut history = History::default();
        for event in &customer.events {
            history.apply(event);
        }
        let answer = engine.answer(&customer.customer, &history, as_of, false).unwrap();
        assert_eq!(&row[0], customer.customer.as_str());
        let bits = |name: &str| row[at(name)].parse::<f64>().ok().map(f64::to_bits);
        let (score, clv) = (&answer.score, answer.score.clv.as_ref());
        let of_clv = |part: fn(&Clv) -> f64| clv.map(|clv| part(clv).to_bits());
        assert_eq!(bits("churn_probability"), score.churn_prob.map(f64::to_bits));
        assert_eq!(bits("expected_purchases"), score.expected_purchases.map(f64::to_bits));
        assert_eq!(bits("clv_mean"), of_clv(|clv| clv.mean));
        assert_eq!(bits("clv_p10"), of_clv(|clv| clv.p10));
        assert_eq!(bits("clv_p50"), of_clv(|clv| clv.p50));
        assert_eq!(bits("clv_p90"), of_clv(|clv| clv.p90));
        assert_eq!(&row[at("micro_segment")], answer.decision.micro_key);
        assert_eq!(&row[at("campaign")], answer.decision.campaign_id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_bundle_is_served_by_the_program() {
    // A copy, since the first use of a models folder writes its salt there.
    let dir = TempDir::new().unwrap();
    let models = dir.path().join("models");
    copy_folder(&root("models"), &models);
    let (_server, address) = serve(&models, &dir.path().join("store"));
    let mut client = ScoringServiceClient::connect(format!("http://{address}")).await.unwrap();
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let amount = prost_types::value::Kind::NumberValue(40.0);
    let events = [1_504_346_400, 1_506_346_400, 1_508_346_400]
        .into_iter()
        .map(|seconds: i64| pb::Event {
            event_id: format!("e{seconds}"),
            customer: "42".to_owned(),
            r#type: "purchase".to_owned(),
            event_time: time(seconds),
            attributes: Some(prost_types::Struct {
                fields: [("amount".to_owned(), prost_types::Value { kind: Some(amount.clone()) })]
                    .into(),
            }),
        })
        .collect();
    let subject = pb::ScoreSubject {
        customer: "42".to_owned(),
        events,
        inline_only: true,
        as_of: time(1_512_086_400),
        features: None,
    };
    let mut request = tonic::Request::new(pb::ScoreCustomerRequest {
        subject: Some(subject),
        ..Default::default()
    });
    request.set_timeout(Duration::from_secs(20));
    let score = client.score_customer(request).await.unwrap().into_inner().score.unwrap();
    assert!((0.0..=1.0).contains(&score.churn_probability.unwrap()));
    assert!(score.clv.unwrap().mean > 0.0);
    assert!(score.advice.is_some());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
