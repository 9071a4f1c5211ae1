//! Several churn horizons in one bundle: trained, stored, scored and served.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fs;
use std::path::{Path, PathBuf};

use prost_types::value::Kind;
use serde_json::Value;
use tenure::bundle::Bundle;
use tenure::domain::{AsOf, Day, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules};
use tenure::history::History;
use tenure::model::rebuild_row;
use tenure::scoring::{Engine, self_test};
use tenure::serve::pb;

use crate::cli::{Place, SCORE, TRAIN, run};
use crate::serve_client::{Clients, subject, three_customers};
use crate::serve_fixture::{Running, write_bundle_with_horizons};

/// What draws control groups; no score depends on it.
const SALT: &str = "a salt of this test";

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    path.to_str().unwrap().to_owned()
}

/// Trains on a log that is shipped and gives what the program said.
fn train(place: &Place, events: &str, until: &str, horizons: &str) -> Value {
    let models = place.path("models");
    let args = [
        &["--events", events, "--until", until, "--churn-horizon-days", horizons][..],
        &["--clv-horizon-days", "90", "--models", &models, "--name", "shop", "--json"],
        &["--search", "off", "--promote", "always"],
    ];
    run(TRAIN, &args.concat()).json()
}

/// Scores the same log with what was trained; rows as the file has them.
fn score(place: &Place, events: &str, as_of: &str) -> Vec<Value> {
    let (models, out) = (place.path("models"), place.path("scores.jsonl"));
    let args = [
        &["--models", &models, "--name", "shop", "--events", events, "--out", &out][..],
        &["--as-of", as_of, "--json"],
    ];
    run(SCORE, &args.concat()).json();
    let text = place.read("scores.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The column as days and probability.
fn by_horizon(row: &Value) -> Vec<(u16, f64)> {
    let text = row["churn_by_horizon"].as_str().unwrap();
    let pair = |text: &str| {
        let (days, prob) = text.split_once(':').unwrap();
        (days.parse().unwrap(), prob.parse().unwrap())
    };
    text.split(';').map(pair).collect()
}

fn folder(said: &Value) -> PathBuf {
    PathBuf::from(said["folder"].as_str().unwrap())
}

fn histories(events: &str, until: &str) -> Vec<(tenure::domain::CustomerId, History)> {
    let spec = LogSpec {
        events: vec![PathBuf::from(events)],
        profiles: None,
        read: ReadSpec::default(),
        rules: Rules::default(),
        before: AsOf::end_of(Day::parse(until).unwrap(), &Zone::UTC),
    };
    let log = Log::read(&spec, &mut |_| {}).unwrap();
    let folded = log.customers.into_iter().map(|customer| {
        let mut history = History::default();
        for event in &customer.events {
            history.apply(event);
        }
        (customer.customer, history)
    });
    folded.collect()
}

#[test]
fn further_horizons_are_judged_stored_and_scored_and_the_primary_one_stays_as_it_was() {
    let (events, until) = (data("complete_journey.csv.gz"), "2017-11-30");
    let (one, two) = (Place::new(), Place::new());
    let alone = train(&one, &events, until, "30");
    let both = train(&two, &events, until, "30,60");
    let judged = both["metrics"]["churn"]["horizons"].as_array().unwrap();
    assert_eq!((judged.len(), &judged[0]["days"]), (1, &60.into()));
    let number = |key: &str| judged[0][key].as_f64().unwrap();
    assert!(number("auc") > 0.75, "{judged:?}");
    assert!(number("log_loss") < number("base_rate_log_loss") && number("ece") < 0.05);
    assert!(number("customers") > 1_000.0 && judged[0]["cutoff"] == "2017-10-01");

    // What the primary horizon had alone it has still.
    let (alone, both) = (folder(&alone), folder(&both));
    for file in ["cuts.json", "base.json", "baseline.json", "forest_churn.json"] {
        let read = |folder: &Path| fs::read(folder.join(file)).ok();
        assert_eq!(read(&alone), read(&both), "{file}");
    }
    let models = |folder: &Path| -> Value {
        serde_json::from_slice(&fs::read(folder.join("models.json")).unwrap()).unwrap()
    };
    let (plain, mut more) = (models(&alone), models(&both));
    assert!(plain.get("horizons").is_none(), "one horizon leaves no trace");
    let taken = more.as_object_mut().unwrap().remove("horizons").unwrap();
    assert_eq!(plain, more);
    let has_forest = taken[0]["churn"]["forest"].as_bool().unwrap();
    assert_eq!(both.join("forest_churn_60.json").try_exists().unwrap(), has_forest);

    let bundle = Bundle::load(&both).unwrap();
    assert!(bundle.examples().iter().all(|example| example.churn_by_horizon.len() == 2));
    self_test(&bundle).unwrap();
    library_and_batch_agree(&two, bundle, (&events, until));
    let rows = score(&one, &events, until);
    assert!(rows.iter().all(|row| row["churn_by_horizon"].is_null()));
}

/// G-1 over horizons: the file has the library's bits, one by one and many at once; and a row
/// that is made anew for a horizon is the one that the stage makes for it.
fn library_and_batch_agree(place: &Place, bundle: Bundle, (events, until): (&str, &str)) {
    let rows = score(place, events, until);
    let customers = histories(events, until);
    assert_eq!(rows.len(), customers.len());
    let as_of = AsOf::end_of(Day::parse(until).unwrap(), &Zone::UTC);
    let predictor = bundle.predictor().unwrap().clone();
    let fitted = predictor.fitted();
    let stage = tenure::model::BtydStage { churn_weeks: 60.0 / 7.0, ..fitted.stage.clone() };
    let engine = Engine::try_new(bundle, None, Some(SALT)).unwrap();
    let many: Vec<_> = customers.iter().map(|(customer, history)| (customer, history)).collect();
    let together = engine.answer_many(&many, as_of, false);
    let mut n_moved = 0;
    for (((customer, history), answer), row) in customers.iter().zip(together).zip(&rows) {
        let answer = answer.unwrap();
        assert_eq!(row["customer_id"], customer.as_str());
        let alone = engine.answer(customer, history, as_of, false).unwrap();
        assert_eq!(alone.score, answer.score);
        let found = by_horizon(row);
        let library: Vec<(u16, f64)> =
            answer.score.churn_by_horizon.iter().map(|h| (h.days, h.prob)).collect();
        assert_eq!(found, library);
        let [(30, near), (60, far)] = found[..] else { unreachable!("{found:?}") };
        assert!(near >= far && far > 0.0, "{found:?}");
        assert_eq!(Some(near.to_bits()), answer.score.churn_prob.map(f64::to_bits));
        n_moved += usize::from(near.to_bits() == far.to_bits());

        let mut made = Vec::new();
        predictor.row(history, as_of, &mut made);
        let mut wanted = made.clone();
        wanted.truncate(made.len() - tenure::model::BTYD_COLUMNS.len());
        stage.append(stage.input(history, as_of).as_ref(), &mut wanted);
        rebuild_row(&fitted.stage, predictor.columns(), 60, &mut made);
        let bits = |row: &[f64]| row.iter().map(|x| x.to_bits()).collect::<Vec<u64>>();
        assert_eq!(bits(&made), bits(&wanted), "{customer}");
    }
    // Trees on both horizons are noisier than a regression on one: in flat parts of the risk a
    // few thousandths change the order.
    assert!(n_moved * 5 < rows.len(), "the models seldom contradict each other: {n_moved}");
}

#[test]
fn a_log_too_short_for_a_horizon_gets_the_closed_form_and_says_so() {
    let (events, until, place) = (data("cdnow_sample.csv.gz"), "1997-09-30", Place::new());
    let said = train(&place, &events, until, "91,30,180,365");
    let judged = said["metrics"]["churn"]["horizons"].as_array().unwrap().clone();
    let days: Vec<u64> = judged.iter().map(|h| h["days"].as_u64().unwrap()).collect();
    assert_eq!(days, [30, 180, 365]);
    assert!(judged[0]["auc"].as_f64().unwrap() > 0.7, "{judged:?}");
    for (at, note) in [(1, "before the judged one"), (2, "no complete window of 365 days")] {
        assert_eq!((&judged[at]["champion"], &judged[at]["auc"]), (&"btyd".into(), &Value::Null));
        assert!(judged[at]["note"].as_str().unwrap().contains(note), "{judged:?}");
    }
    let card = fs::read_to_string(folder(&said).join("model_card.md")).unwrap();
    assert!(card.contains("--churn-horizon-days 91,30,180,365"), "{card}");
    for row in score(&place, &events, until) {
        let found = by_horizon(&row);
        assert_eq!(found.len(), 4);
        assert!(found.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1), "{found:?}");
        let primary = found.iter().find(|(days, _)| *days == 91).unwrap();
        assert_eq!(row["churn_probability"].as_f64().unwrap().to_bits(), primary.1.to_bits());
    }
}

#[test]
fn a_list_that_is_none_is_refused_before_anything_is_read() {
    let refused = |more: &[&str], parts: &[&str]| {
        let args = ["--events", "x.csv", "--until", "2026-01-31", "--models", "m", "--name", "n"];
        run(TRAIN, &[&args[..], more].concat()).expect(64, parts);
    };
    let wanted = "a number of days from 1 to 3650, or up to 4 different ones";
    for list in ["30,abc", "30,30", "30,60,90,120,150", "30,,60", "", "0,30", "30,-1"] {
        let list = format!("--churn-horizon-days={list}");
        refused(&[&list], &["churn_horizon_days", wanted]);
    }
    let list = "--churn-horizon-days=30,60";
    refused(&[list, "--season-clock"], &["exclude season_clock and covariates"]);
    refused(&[list, "--covariates", "b2b"], &["exclude season_clock and covariates"]);
    let place = Place::new();
    let config = place.file("train.toml", "churn_horizon_days = [30, 60]\n");
    let args = ["--config", &config, "--events", "x.csv", "--until", "2026-01-31"];
    let more = ["--models", "m", "--name", "n", "--print-config"];
    let printed = run(TRAIN, &[&args[..], &more].concat()).out;
    assert!(printed.contains("churn_horizon_days = [30, 60]  # file"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_the_library_says_of_each_horizon() {
    let write = |models: &Path| write_bundle_with_horizons(models, &[30, 180]);
    let server = Running::start_of(&[], |parts| parts, write).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let score = clients.score(subject("regular")).await.unwrap();
    let days: Vec<u32> = score.churn_by_horizon.iter().map(|h| h.horizon_days).collect();
    assert_eq!(days, [30, 90, 180]);
    let of = |at: usize| score.churn_by_horizon[at].probability;
    assert_eq!(Some(of(1).to_bits()), score.churn_probability.map(f64::to_bits));
    assert!(of(0) > of(1) && of(1) > of(2), "{score:?}");

    let folder = server.config.models.join("demo").join(&server.version);
    let predictor = Bundle::load(&folder).unwrap().predictor().unwrap().clone();
    let mut history = History::default();
    for event in three_customers().iter().filter(|event| event.customer == "regular") {
        let amount = &event.attributes.as_ref().unwrap().fields["amount"].kind;
        let Some(Kind::NumberValue(amount)) = amount else { unreachable!("{event:?}") };
        history.apply(&crate::grpc::library_purchase(event, *amount));
    }
    let now = tenure::domain::Timestamp::from_micros(crate::serve_fixture::NOW_SECONDS * 1_000_000);
    let mut row = Vec::new();
    predictor.row(&history, AsOf::at(now, &Zone::UTC), &mut row);
    let library = predictor.score(&row, 0.0).churn_by_horizon;
    let told = library
        .iter()
        .map(|h| pb::HorizonChurn { horizon_days: u32::from(h.days), probability: h.prob });
    assert_eq!(told.collect::<Vec<_>>(), score.churn_by_horizon);
    server.stop().await;
}
