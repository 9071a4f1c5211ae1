//! The decision log, and what is made of it: the real programs write it, are killed, and the
//! report finds the effect that was put into the data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use prost_types::value::Kind;
use serde_json::Value;
use tenure::decision::{Policy, unit_interval};
use tenure::events::{RawValue, ReadSpec, Rules, Table};
use tenure::scoring::{DecisionRowV1, EligibleV1};
use tenure::serve::pb;
use tenure::serve::pb::scoring_service_client::ScoringServiceClient;
use tenure::store::decision_segments;

use crate::serve_fixture::{Running, write_bundle};

const SCORE: &str = env!("CARGO_BIN_EXE_tenure-score");
const OPS: &str = env!("CARGO_BIN_EXE_tenure-ops");
const N_CUSTOMERS: usize = 6_000;

fn rows(dir: &Path) -> Vec<DecisionRowV1> {
    let segments = decision_segments(dir).unwrap();
    let texts = segments.iter().map(|path| fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| {
            let row: DecisionRowV1 =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            // What is written is what the row says, field by field and in its order.
            assert_eq!(serde_json::to_string(&row).unwrap(), line);
            row
        })
        .collect()
}

fn subject(idx: usize) -> pb::ScoreSubject {
    let event = |n: usize| pb::Event {
        event_id: format!("e{n}"),
        customer: format!("c{idx}"),
        r#type: "purchase".to_owned(),
        event_time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000 + 2_000_000 * n as i64,
            nanos: 0,
        }),
        attributes: Some(prost_types::Struct {
            fields: [(
                "amount".to_owned(),
                prost_types::Value { kind: Some(Kind::NumberValue(20.0)) },
            )]
            .into(),
        }),
    };
    pb::ScoreSubject {
        customer: format!("c{idx}"),
        events: (0..1 + idx % 4).map(event).collect(),
        inline_only: true,
        as_of: Some(prost_types::Timestamp { seconds: 1_710_000_000, nanos: 0 }),
        features: None,
    }
}

/// The program with a decision log.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenure-serve"))
            .args(["--name", "demo", "--listen", "127.0.0.1:0", "--log", "warn"])
            .args(["--models".as_ref(), dir.join("models").as_os_str()])
            .args(["--store".as_ref(), dir.join("store").as_os_str()])
            .args(["--decision-log".as_ref(), dir.join("decisions").as_os_str()])
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        Self { address: format!("http://{address}"), child }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_given_out_is_in_the_log_whatever_kills_the_server() {
    let dir = tempfile::tempdir().unwrap();
    write_bundle(&dir.path().join("models"));
    let decisions = dir.path().join("decisions");
    let mut given = BTreeSet::new();
    for round in 0..5 {
        let server = Server::start(dir.path());
        let mut client = ScoringServiceClient::connect(server.address.clone()).await.unwrap();
        for idx in 0..40 {
            let subject = subject(round * 100 + idx);
            let request = pb::ScoreCustomerRequest { subject: Some(subject), ..Default::default() };
            let score = client.score_customer(request).await.unwrap().into_inner().score.unwrap();
            given.insert(score.provenance.unwrap().decision_id);
        }
        let subjects = (0..30).map(|idx| subject(round * 100 + 50 + idx)).collect();
        let request = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        for outcome in client.batch_score_customers(request).await.unwrap().into_inner().outcomes {
            let Some(pb::score_outcome::Outcome::Score(score)) = outcome.outcome else { panic!() };
            given.insert(score.provenance.unwrap().decision_id);
        }
        server.kill();
        let logged: BTreeSet<String> =
            rows(&decisions).into_iter().map(|row| row.decision_id).collect();
        assert!(given.is_subset(&logged), "round {round}");
        // What a crash of the machine can leave behind.
        let last = decision_segments(&decisions).unwrap().pop().unwrap();
        let mut file = OpenOptions::new().append(true).open(last).unwrap();
        file.write_all(b"{\"v\":1,\"decision_id\":\"torn").unwrap();
    }
    let server = Server::start(dir.path());
    assert_eq!(rows(&decisions).len(), given.len(), "the torn line is gone, nothing else");
    // A second writer is refused and told why.
    let second = tenure::store::DecisionLog::open(&decisions, Default::default()).unwrap_err();
    assert!(second.to_string().contains("open in another process"), "{second}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_without_room_in_the_log_is_not_given_out_or_counted() {
    for (what, is_given) in [("refuse", false), ("drop", true)] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("decisions");
        let settings = [
            ("decision_log", log.to_str().unwrap()),
            ("decision_log_full", what),
            ("decision_log_mib_max", "1"),
        ];
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join("decisions-00000001.jsonl"), vec![b'\n'; 1 << 20]).unwrap();
        let server = Running::start(&settings).await;
        let mut client = ScoringServiceClient::new(server.channel().await);
        let request = pb::ScoreCustomerRequest { subject: Some(subject(1)), ..Default::default() };
        let answer = client.score_customer(request).await;
        assert_eq!(answer.is_ok(), is_given, "{what}");
        if let Err(status) = answer {
            assert_eq!(status.code(), tonic::Code::Unavailable);
            assert!(status.message().contains("decision log"), "{status}");
        }
        server.stop().await;
    }
}

/// A base of repeat buyers who are in rhythm at the end of May 2024, and what they do in June.
struct Base {
    dir: tempfile::TempDir,
}

impl Base {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_bundle(&dir.path().join("models"));
        // The same groups in every run: effects within intervals are no certain thing.
        let salt = dir.path().join("models/installation.json");
        fs::write(salt, r#"{"salt":"a salt of this test alone"}"#).unwrap();
        let mut text = "customer_id,date,amount\n".to_owned();
        for idx in 0..N_CUSTOMERS {
            for month in 1..=5 {
                let day = 1 + (idx * 7 + month * 3) % 24;
                let amount = 5 + idx % 40;
                writeln!(text, "c{idx},2024-{month:02}-{day:02},{amount}").unwrap();
            }
        }
        fs::write(dir.path().join("log.csv"), text).unwrap();
        let policy = Policy::default_text()
            .replace("global_control_share   = 0.05", "global_control_share = 0.2")
            .replace("campaign_control_share = 0.10", "campaign_control_share = 0.4");
        fs::write(dir.path().join("policy.toml"), policy).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a program on the base; its standard output.
    fn run(&self, program: &str, words: &[&str], more: &[&str]) -> String {
        let done = Command::new(program)
            .args(words)
            .args(["--models", &self.path("models"), "--name", "demo"])
            .args(["--events", &self.path("log.csv"), "--as-of", "2024-05-31"])
            .args(more)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{words:?}: {err}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn json(&self, program: &str, words: &[&str], more: &[&str]) -> Value {
        serde_json::from_str(&self.run(program, words, &[more, &["--json"]].concat())).unwrap()
    }

    fn report(&self, outcome: &str) -> Value {
        let done = Command::new(OPS)
            .args(["experiment", "report", "--json", "--outcome", outcome, "--days", "30"])
            .args(["--decisions", &self.path("decisions"), "--events", &self.path("june.csv")])
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{err}");
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_report_finds_the_effect_that_is_in_the_data_and_a_broken_split() {
    let base = Base::new();
    let (policy, log) = (base.path("policy.toml"), base.path("decisions"));
    let more = ["--policy", &policy, "--decision-log", &log, "--out", &base.path("scores.csv")];
    let summary = base.json(SCORE, &[], &more);
    let logged = rows(Path::new(&log));
    assert_eq!(logged.len(), N_CUSTOMERS);
    assert_eq!(summary["rows"], N_CUSTOMERS);
    let ids: BTreeSet<&str> = logged.iter().map(|row| &*row.decision_id).collect();
    assert_eq!(ids.len(), N_CUSTOMERS);
    for row in &logged {
        let sent: f64 = row.eligible.iter().map(|one| one.propensity).sum();
        let wanted =
            if row.chosen == "no_action" { 1.0 - sent } else { row.eligible[0].propensity };
        assert!((row.chosen_propensity - wanted).abs() < 1e-15 || row.eligible.is_empty());
        assert_eq!(row.holdout, row.would_be.is_some());
    }
    // 30 % buy in June, 40 % of those who were sent something.
    let mut text = fs::read_to_string(base.path("log.csv")).unwrap();
    for row in &logged {
        let luck = unit_interval("the luck of June", &row.customer);
        if luck < 0.30 + if row.chosen == "no_action" { 0.0 } else { 0.10 } {
            writeln!(text, "{},2024-06-10,50", row.customer).unwrap();
        }
    }
    writeln!(text, "somebody else,2024-07-15,1").unwrap();
    fs::write(base.path("june.csv"), text).unwrap();

    let report = base.report("purchase");
    assert_eq!((&report["decisions"], &report["immature"]), (&N_CUSTOMERS.into(), &0.into()));
    // The campaign that most customers got, or would have got.
    let all = |report: &Value, experiment: &str| -> Value {
        let rows = report["comparisons"].as_array().unwrap().iter().filter(|one| {
            one["segment"] == "all" && one["experiment"].as_str().unwrap().starts_with(experiment)
        });
        let size = |one: &&Value| one["arms"][0]["customers"].as_u64().unwrap();
        rows.max_by_key(size).unwrap_or_else(|| panic!("{experiment}: {report:#}")).clone()
    };
    let campaign = all(&report, "campaign/");
    let lift = &campaign["lift"];
    assert!(number(&lift["low"]) < 0.10 && 0.10 < number(&lift["high"]), "{lift}");
    assert!(number(&lift["low"]) > 0.03, "found: {lift}");
    assert!(number(&campaign["sequential_p_value"]) < 0.01, "{campaign}");
    assert_eq!(campaign["sample_ratio_mismatch"], false);
    // Of those reached 40 % were held out once more: the global effect is diluted.
    let global = all(&report, "global");
    let lift = &global["lift"];
    assert!(number(&lift["low"]) < 0.06 && 0.06 < number(&lift["high"]), "{lift}");
    let spend = all(&base.report("spend"), "campaign/");
    let lift = &spend["adjusted"];
    assert!(number(&lift["low"]) < 5.0 && 5.0 < number(&lift["high"]), "{lift}");

    // The same job again repeats the decisions and changes nothing.
    base.json(SCORE, &[], &more);
    let again = base.report("purchase");
    assert_eq!(again["repeated"], N_CUSTOMERS);
    assert_eq!(again["comparisons"], report["comparisons"]);

    // Half of the control group got lost on the way.
    let segment = decision_segments(Path::new(&log)).unwrap().remove(0);
    let kept: String = fs::read_to_string(&segment)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("HOLDOUT_CAMPAIGN") || line.len() % 2 == 0)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&segment, format!("{kept}{{\"v\":1,\"dropped\":7}}\nnot a row\n")).unwrap();
    let broken = base.report("purchase");
    assert_eq!(all(&broken, "campaign/")["sample_ratio_mismatch"], true);
    assert_eq!((&broken["dropped"], &broken["unreadable"]), (&7.into(), &1.into()));
}

/// June as it would be if those of higher risk were kept by what they got, the others not; and the
/// other way round; and everybody alike.
#[test]
fn the_report_says_whether_a_score_tells_who_responds() {
    let base = Base::new();
    let (policy, log) = (base.path("policy.toml"), base.path("decisions"));
    let more = ["--policy", &policy, "--decision-log", &log, "--out", &base.path("scores.csv")];
    base.json(SCORE, &[], &more);
    let logged = rows(Path::new(&log));
    let mut risks: Vec<f64> = logged.iter().map(|row| row.churn_probability.unwrap()).collect();
    risks.sort_by(f64::total_cmp);
    let median = risks[risks.len() / 2];
    assert!(risks[0] < median && logged.iter().all(|row| row.clv_mean.is_some()));
    let log_text = fs::read_to_string(base.path("log.csv")).unwrap();
    for (finding, effects) in [("more", [0.0, 0.3]), ("less", [0.3, 0.0]), ("not_shown", [0.15; 2])]
    {
        let mut text = log_text.clone();
        for row in &logged {
            let luck = unit_interval("the luck of June", &row.customer);
            let effect = effects[usize::from(row.churn_probability.unwrap() >= median)];
            if luck < 0.3 + if row.chosen == "no_action" { 0.0 } else { effect } {
                writeln!(text, "{},2024-06-10,50", row.customer).unwrap();
            }
        }
        writeln!(text, "somebody else,2024-07-15,1").unwrap();
        fs::write(base.path("june.csv"), text).unwrap();
        for outcome in ["purchase", "spend"] {
            let report = base.report(outcome);
            let rankings = report["rankings"].as_array().unwrap();
            let found = rankings
                .iter()
                .filter(|one| one["experiment"].as_str().unwrap().starts_with("campaign/"))
                .filter(|one| one["score"] == "churn_probability")
                .max_by_key(|one| one["customers"].as_u64())
                .unwrap();
            assert_eq!(found["finding"], finding, "{outcome}: {found:#}");
            assert_eq!(found["qini"].is_null(), outcome == "spend");
            let parts = found["parts"].as_array().unwrap();
            let people = |part: &Value| {
                part["treated"].as_u64().unwrap() + part["control"].as_u64().unwrap()
            };
            let all = parts.iter().map(people).sum::<u64>();
            assert_eq!(Some(all), found["customers"].as_u64());
            assert!(
                parts.windows(2).all(|pair| {
                    number(&pair[0]["score_low"]) >= number(&pair[1]["score_high"])
                })
            );
            let gain = number(&found["top_difference"]) - number(&found["all_difference"]);
            assert!((gain - number(&found["gain"]["value"])).abs() < 1e-12);
            assert_eq!(base.report(outcome), report, "the same numbers again");
        }
    }
}

/// Each decision once, the same in every format, with nothing rounded.
#[test]
fn the_log_is_written_as_one_table_for_other_programs() {
    let base = Base::new();
    let (policy, log) = (base.path("policy.toml"), base.path("decisions"));
    let more = ["--policy", &policy, "--decision-log", &log, "--out", &base.path("scores.csv")];
    base.json(SCORE, &[], &more);
    base.json(SCORE, &[], &more);
    let export = |out: &str| {
        let done = Command::new(OPS)
            .args(["decisions", "export", "--json", "--decisions", &log])
            .args(["--out", &base.path(out)])
            .output()
            .unwrap();
        (done.status.code(), [done.stdout, done.stderr].map(|b| String::from_utf8(b).unwrap()))
    };
    let mut tables = Vec::new();
    for out in ["all.parquet", "all.csv.gz", "all.jsonl"] {
        let (code, [said, err]) = export(out);
        assert_eq!(code, Some(0), "{err}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["decisions"], N_CUSTOMERS);
        assert_eq!(said["repeated"], N_CUSTOMERS);
        let path = base.path(out);
        let table = Table::read(Path::new(&path), &ReadSpec::default(), &Rules::default()).unwrap();
        assert_eq!(table.n_rows(), N_CUSTOMERS);
        tables.push(table);
    }
    let logged = rows(Path::new(&log));
    for table in &tables {
        let cell = |row: usize, name: &str| table.cell(row, table.position(name).unwrap());
        for (at, row) in logged.iter().take(N_CUSTOMERS).enumerate().step_by(97) {
            let text = |name: &str| match cell(at, name) {
                RawValue::Text(text) => text.into_owned(),
                other => format!("{other:?}"),
            };
            let number = |name: &str| match cell(at, name) {
                RawValue::Number(number) => number,
                RawValue::Text(text) => text.parse().unwrap(),
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(text("decision_id"), row.decision_id);
            assert_eq!(text("customer_id"), row.customer);
            assert_eq!(text("campaign"), row.chosen);
            let bits = |number: f64| number.to_bits();
            assert_eq!(bits(number("propensity")), bits(row.chosen_propensity));
            let risk = row.churn_probability.unwrap();
            assert_eq!(bits(number("churn_probability")), bits(risk));
            let eligible: Vec<EligibleV1> = serde_json::from_str(&text("eligible")).unwrap();
            assert_eq!(eligible, row.eligible);
        }
    }
    let (code, [_, err]) = export("all.xlsx");
    assert!(code == Some(64) && err.contains(".parquet"), "{err}");
    fs::remove_dir_all(&log).unwrap();
    let (code, [_, err]) = export("all.csv");
    assert!(code == Some(65) && err.contains("decisions"), "{err}");
    assert!(!Path::new(&base.path("all.csv")).try_exists().unwrap(), "no file without decisions");
}

#[test]
fn policies_are_tried_held_against_each_other_and_explained() {
    let base = Base::new();
    let old = base.path("policy.toml");
    let simulated = base.json(OPS, &["policy", "simulate"], &["--policy", &old]);
    let counts = &simulated["base"];
    for block in ["tiers", "segments", "campaigns"] {
        let of = counts[block].as_object().unwrap();
        let sum: u64 = of.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, N_CUSTOMERS as u64, "{block}");
    }
    assert_eq!(counts["expected_cost"], Value::Null, "no costs are known");
    let text = base.run(OPS, &["policy", "simulate"], &["--policy", &old]);
    assert!(
        text.contains("campaign\n") && text.contains("the policy has no [economics]"),
        "{text}"
    );

    // With costs, by value, fewer red: who changes is told.
    let changed = fs::read_to_string(&old)
        .unwrap()
        .replace("#| ", "")
        .replace("#|\n", "\n")
        .replace("clv_basis = \"revenue\"", "clv_basis = \"margin\"\nmargin_share = 0.4")
        .replace("mode = \"priority\"", "mode = \"expected_value\"")
        .replace("red_share   = 0.10", "red_share = 0.05");
    fs::write(base.path("new.toml"), changed).unwrap();
    let new = base.path("new.toml");
    let diff = base.json(OPS, &["policy", "diff", &old, &new], &[]);
    assert!(diff["changed"].as_u64().unwrap() > 0 && diff["same"] == false, "{diff:#}");
    assert!(diff["after"]["expected_cost"].is_number());
    for change in diff["changes"].as_array().unwrap() {
        assert_ne!(change["from"], change["to"]);
    }
    let same = base.json(OPS, &["policy", "diff", &old, &old], &[]);
    assert_eq!((&same["changed"], &same["same"]), (&0.into(), &true.into()));

    let words = ["policy", "explain", "--customer", "c7"];
    let text = base.run(OPS, &words, &["--policy", &old]);
    for campaign in Policy::default_policy().unwrap().campaigns() {
        assert!(text.contains(&format!("\n  {:<26}", campaign.id())), "{text}");
    }
    assert!(text.contains("overrides of the tier") && text.contains("found: "), "{text}");
    let stranger = Command::new(OPS)
        .args(["policy", "explain", "--customer", "nobody", "--as-of", "2024-05-31"])
        .args(["--models", &base.path("models"), "--name", "demo"])
        .args(["--events", &base.path("log.csv")])
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("\"nobody\""));
}

#[test]
fn who_moved_where_and_who_bought_is_counted() {
    let base = Base::new();
    let moves = |since: &str| base.json(OPS, &["policy", "moves", "--since", since], &[]);
    let sum = |rows: &Value, key: &str| -> f64 {
        rows.as_array().unwrap().iter().map(|row| number(&row[key])).sum()
    };
    // Everybody buys once a month, so two purchases lie between the days.
    let found = moves("2024-03-31");
    let spend: usize = (0..N_CUSTOMERS).map(|idx| 2 * (5 + idx % 40)).sum();
    for block in ["segments", "tiers", "cohorts"] {
        let rows = &found[block];
        assert!((sum(rows, "customers") - N_CUSTOMERS as f64).abs() < 0.5, "{block}");
        assert!((sum(rows, "bought") - N_CUSTOMERS as f64).abs() < 0.5, "{block}");
        assert!((sum(rows, "spend") - spend as f64).abs() < 1e-6, "{block}");
        for row in rows.as_array().unwrap() {
            let Some(to) = row["to"].as_object() else {
                assert_eq!((block, &row["first_purchase"]), ("cohorts", &"2024-01".into()));
                continue;
            };
            let to: u64 = to.values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(Some(to), row["customers"].as_u64());
        }
    }
    // The same places as of the later day as in the counts of that day.
    let counts = &base.json(OPS, &["policy", "simulate"], &[])["base"];
    let now = |name: &str| -> u64 {
        let rows = found["segments"].as_array().unwrap().iter();
        rows.filter_map(|row| row["to"][name].as_u64()).sum()
    };
    for (name, n) in counts["segments"].as_object().unwrap() {
        assert_eq!(Some(now(name)), n.as_u64(), "{name}");
    }
    let phases = counts["phases"].as_object().unwrap();
    let of_phases: u64 = phases.values().map(|one| one["customers"].as_u64().unwrap()).sum();
    assert_eq!(of_phases, N_CUSTOMERS as u64);
    // Who had not bought by then is new.
    let late = (0..N_CUSTOMERS).filter(|idx| 1 + (idx * 7 + 3) % 24 > 10).count();
    assert_eq!(moves("2024-01-10")["new"], late);
    let text = base.run(OPS, &["policy", "moves", "--since", "2024-01-10"], &[]);
    assert!(text.contains("new since") && text.contains("first purchase"), "{text}");
    let wrong = Command::new(OPS)
        .args(["policy", "moves", "--since", "2024-05-31", "--as-of", "2024-05-31"])
        .args(["--models", "m", "--name", "demo", "--events", "log.csv"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("a day before as_of"));
}
