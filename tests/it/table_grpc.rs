//! A server on a bundle of a table: the same bits as the file, refusals that name the feature.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::path::Path;

use prost_types::value::Kind;
use tenure::bundle::{Bundle, BundleModels};
use tenure::config::ServeConfig;
use tenure::domain::{AsOf, CustomerId, Timestamp};
use tenure::events::{RawValue, ReadSpec, Rules, Table};
use tenure::scoring::Engine;
use tenure::serve::pb;
use tenure::serve::pb::score_outcome::Outcome;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::serve_client::told;
use crate::serve_fixture::{Running, config as serve_config};
use crate::serve_models::{arm, name, shadow};
use crate::serve_reload::until;
use crate::table::{TRAINED, score};

/// A cell as JSON would send it.
fn sent(cell: &RawValue<'_>) -> prost_types::Value {
    let kind = match cell {
        RawValue::Number(number) => Kind::NumberValue(*number),
        RawValue::Flag(flag) => Kind::BoolValue(*flag),
        RawValue::Text(text) => Kind::StringValue(text.clone().into_owned()),
        _ => Kind::NullValue(0),
    };
    prost_types::Value { kind: Some(kind) }
}

fn subject(table: &Table, engine: &Engine, row: usize, id: &str) -> pb::ScoreSubject {
    let inputs = engine.table_inputs().unwrap();
    let fields = inputs.iter().map(|input| {
        let at = table.position(&input.name).unwrap();
        (input.name.clone(), sent(&table.cell(row, at)))
    });
    pb::ScoreSubject {
        customer: id.to_owned(),
        features: Some(prost_types::Struct { fields: fields.collect() }),
        ..pb::ScoreSubject::default()
    }
}

/// A server on the trained bundle, without a store.
fn server_config() -> ServeConfig {
    let (dir, _) = &*TRAINED;
    serve_config(dir.path(), &[("store", "")])
}

#[tokio::test(flavor = "multi_thread")]
async fn file_library_and_wire_give_the_same_bits() {
    let (dir, outcome) = &*TRAINED;
    let (rows, _) = score(dir.path(), "business.csv", &[]).unwrap();
    let path = dir.path().join("business.csv");
    let table = Table::read(&path, &ReadSpec::default(), &Rules::default()).unwrap();
    let salt = tenure::bundle::installation_salt(&dir.path().join("models")).unwrap();
    let bundle = Bundle::load(&outcome.folder).unwrap();
    assert!(matches!(bundle.models, BundleModels::Table { .. }));
    let engine = Engine::try_new(bundle, None, Some(&salt)).unwrap();
    let server = Running::start_with(server_config()).await;
    let mut clients = crate::serve_client::Clients::new(&server).await;
    let places: Vec<usize> = (0..table.n_rows()).step_by(60).collect();
    let subjects: Vec<pb::ScoreSubject> = places
        .iter()
        .map(|&row| subject(&table, &engine, row, rows[row]["customer_id"].as_str().unwrap()))
        .collect();
    let outcomes = clients.batch(subjects.clone()).await.unwrap();
    for ((&row, asked), outcome) in places.iter().zip(subjects).zip(outcomes) {
        let Outcome::Score(wire) = outcome else { panic!("{outcome:?}") };
        let one = clients.score(asked.clone()).await.unwrap();
        assert_eq!(
            one.churn_probability.map(f64::to_bits),
            wire.churn_probability.map(f64::to_bits)
        );
        let file = &rows[row];
        let bits = |key: &str| file[key].as_f64().map(f64::to_bits);
        let clv = wire.clv.unwrap();
        assert_eq!(bits("churn_probability"), wire.churn_probability.map(f64::to_bits));
        assert_eq!(bits("clv_mean"), Some(clv.mean.to_bits()));
        assert_eq!(bits("clv_p90"), clv.p90.map(f64::to_bits));
        assert_eq!((clv.horizon_days, clv.historic), (180, None));
        assert_eq!(bits("value_at_risk"), wire.value_at_risk.map(f64::to_bits));
        let advice = wire.advice.unwrap();
        assert_eq!(file["campaign"].as_str(), Some(advice.campaign_id.as_str()));
        assert_eq!(file["holdout"].as_bool(), Some(advice.holdout));
        let inputs = engine.table_inputs().unwrap();
        let cells: Vec<RawValue<'_>> =
            inputs.iter().map(|i| table.cell(row, table.position(&i.name).unwrap())).collect();
        let as_of = AsOf::at(Timestamp::from_micros(0), engine.zone());
        let customer = CustomerId::try_new(&asked.customer).unwrap();
        let library = engine.answer_row(&customer, &cells, as_of, false).unwrap();
        let library = library.answer.score.churn_prob.map(f64::to_bits);
        assert_eq!(library, wire.churn_probability.map(f64::to_bits));
    }
    server.stop().await;
}

/// Copies the models of the trained bundle, with one more version of the same bits.
fn twice(to: &Path) -> [String; 2] {
    use sha2::{Digest, Sha256};
    let (_, outcome) = &*TRAINED;
    let first = outcome.folder.file_name().unwrap().to_str().unwrap().to_owned();
    let model = to.join("models/demo");
    let copy = |version: &str| {
        std::fs::create_dir_all(model.join(version)).unwrap();
        for file in std::fs::read_dir(&outcome.folder).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), model.join(version).join(file.file_name())).unwrap();
        }
    };
    copy(&first);
    let manifest = std::fs::read_to_string(model.join(&first).join("manifest.json")).unwrap();
    let (head, seed) = manifest.split_once("\"seed\": ").unwrap();
    let manifest = format!("{head}\"seed\": 7{seed}");
    let digest = Sha256::digest(manifest.as_bytes());
    let second: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    copy(&second);
    std::fs::write(model.join(&second).join("manifest.json"), manifest).unwrap();
    let models = to.join("models");
    tenure::bundle::set_alias(&models, "demo", tenure::bundle::CHAMPION, &first).unwrap();
    [first, second]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_split_and_shadowed_as_customers_of_a_log_are() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = twice(dir.path());
    let server = Running::start_with(serve_config(dir.path(), &[("store", "")])).await;
    let mut clients = crate::serve_client::Clients::new(&server).await;
    clients.load(&second).await.unwrap();
    let path = TRAINED.0.path().join("business.csv");
    let table = Table::read(&path, &ReadSpec::default(), &Rules::default()).unwrap();
    let bundle = Bundle::load(&TRAINED.1.folder).unwrap();
    let engine = Engine::try_new(bundle, None, Some("0123456789abcdef")).unwrap();
    let row = |row: usize| subject(&table, &engine, row, &format!("c{row}"));
    let rows: Vec<pb::ScoreSubject> = (0..200).map(row).collect();
    let all = clients.batch(rows.clone()).await.unwrap();
    let arms = vec![arm("champion", &first, 5_000), arm("canary", &second, 5_000)];
    let policy = clients.set_arms(arms).await.unwrap();
    let split = clients.batch(rows.clone()).await.unwrap();
    let salt = format!("traffic/{}", policy.salt);
    for ((row, whole), of_arm) in rows.iter().zip(&all).zip(&split) {
        let (Outcome::Score(whole), Outcome::Score(of_arm)) = (whole, of_arm) else {
            panic!("{whole:?} {of_arm:?}")
        };
        assert_eq!(whole.churn_probability, of_arm.churn_probability);
        let is_canary = tenure::decision::unit_interval(&salt, &row.customer) < 0.5;
        let expected = if is_canary { ("canary", &second) } else { ("champion", &first) };
        let of = of_arm.provenance.as_ref().unwrap();
        assert_eq!((&*of.arm, &of.model_version), (expected.0, &name(expected.1)));
    }
    let arms = vec![arm("champion", &first, 10_000), shadow("dark", &second, 10_000)];
    clients.set_arms(arms).await.unwrap();
    clients.batch(rows).await.unwrap();
    let mut found = pb::ShadowAgreement::default();
    until("the shadow", async || {
        found = clients.traffic().await.shadow_agreements.remove(0);
        found.compared_count + found.failed_count + found.dropped_count == 200
    })
    .await;
    assert_eq!((found.compared_count, found.same_decision_count), (200, 200), "{found:?}");
    assert!(found.churn_absolute_difference_sum.abs() < 1e-12, "the same bits");
    assert!(server.stop().await.complete);
}

/// The full view and `ExplainScore` say what the file says, column by column.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_explained_over_the_wire_as_in_the_file() {
    let (dir, outcome) = &*TRAINED;
    let (rows, _) = score(dir.path(), "business.csv", &[("reasons", "3")]).unwrap();
    let path = dir.path().join("business.csv");
    let table = Table::read(&path, &ReadSpec::default(), &Rules::default()).unwrap();
    let bundle = Bundle::load(&outcome.folder).unwrap();
    let engine = Engine::try_new(bundle, None, Some("0123456789abcdef")).unwrap();
    let server = Running::start_with(server_config()).await;
    let mut client = pb::scoring_service_client::ScoringServiceClient::new(server.channel().await);
    for row in (0..table.n_rows()).step_by(311) {
        let asked = subject(&table, &engine, row, rows[row]["customer_id"].as_str().unwrap());
        let full = pb::ScoreCustomerRequest {
            subject: Some(asked.clone()),
            model: None,
            view: pb::ScoreView::Full.into(),
            ..Default::default()
        };
        let full = client.score_customer(full).await.unwrap().into_inner().score.unwrap();
        let told = full.churn_reasons.iter();
        let told = told.map(|reason| format!("{:+.2} {}", reason.contribution, reason.text));
        let told = told.collect::<Vec<_>>().join(" | ");
        assert_eq!(rows[row]["churn_reasons"].as_str(), Some(&*told));
        assert!(!full.value_reasons.is_empty());
        let why = pb::ExplainScoreRequest { subject: Some(asked), model: None };
        let why = client.explain_score(why).await.unwrap().into_inner();
        let (prob, mean) = (full.churn_probability.unwrap(), full.clv.unwrap().mean);
        assert_eq!(why.score.unwrap().churn_probability, Some(prob));
        let wanted =
            [(why.churn.unwrap(), (prob / (1.0 - prob)).ln()), (why.value.unwrap(), mean.ln())];
        for (part, wanted) in wanted {
            let sum: f64 = part.contributions.iter().map(|one| one.contribution).sum();
            assert!((part.base_value + sum - wanted).abs() < 1e-9, "{part:?}");
            let reasons: f64 = part.reasons.iter().map(|one| one.contribution).sum();
            assert!((reasons - sum).abs() < 1e-9);
            let plan = part.contributions.iter().find(|one| one.feature == "plan").unwrap();
            assert!(plan.cell.is_some() && plan.value.is_none() && plan.code == "plan");
        }
        assert!(!why.rules.is_empty());
    }
    let mut bad = subject(&table, &engine, 0, "c0");
    bad.features.as_mut().unwrap().fields.remove("plan");
    let why = pb::ExplainScoreRequest { subject: Some(bad), model: None };
    let (code, _, fields) = told(&client.explain_score(why).await.unwrap_err());
    assert_eq!((code, fields), (Code::InvalidArgument, vec!["subject.features.plan".to_owned()]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_meant_is_told_everything_at_once() {
    let (dir, outcome) = &*TRAINED;
    let path = dir.path().join("business.csv");
    let table = Table::read(&path, &ReadSpec::default(), &Rules::default()).unwrap();
    let bundle = Bundle::load(&outcome.folder).unwrap();
    let engine = Engine::try_new(bundle, None, Some("0123456789abcdef")).unwrap();
    let server = Running::start_with(server_config()).await;
    let mut clients = crate::serve_client::Clients::new(&server).await;
    let good = subject(&table, &engine, 1, "c0");
    let change = |name: &str, kind: Option<Kind>| {
        let mut asked = good.clone();
        let fields = &mut asked.features.as_mut().unwrap().fields;
        match kind {
            Some(kind) => {
                fields.insert(name.to_owned(), prost_types::Value { kind: Some(kind) });
            }
            None => drop(fields.remove(name)),
        }
        asked
    };
    let mut bad = change("spend", None);
    let fields = &mut bad.features.as_mut().unwrap().fields;
    let value = |kind| prost_types::Value { kind: Some(kind) };
    fields.insert("tickts".to_owned(), value(Kind::NumberValue(1.0)));
    fields.insert("tenure_days".to_owned(), value(Kind::StringValue("long".to_owned())));
    fields.insert("email_ok".to_owned(), value(Kind::NumberValue(f64::NAN)));
    bad.customer = String::new();
    let refused = clients.score(bad).await.unwrap_err();
    let (code, reason, mut fields) = told(&refused);
    assert_eq!((code, &*reason), (Code::InvalidArgument, "REQUEST_INVALID"));
    fields.sort();
    let wanted = [
        "customer",
        "features.email_ok",
        "features.spend",
        "features.tenure_days",
        "features.tenure_days",
        "features.tickts",
    ];
    let wanted: Vec<String> = wanted.iter().map(|field| format!("subject.{field}")).collect();
    assert_eq!(fields, wanted, "a cell that is feature and fact is wrong for both");
    let hints: Vec<String> = refused
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| violation.description)
        .collect();
    assert!(hints.iter().any(|hint| hint.contains("did you mean \"tickets\"")), "{hints:?}");
    // Null says that it is not known, and a new level is no mistake.
    let null = change("spend", Some(Kind::NullValue(0)));
    assert!(clients.score(null).await.unwrap().churn_probability.is_some());
    let level = change("plan", Some(Kind::StringValue("gold".to_owned())));
    assert!(clients.score(level).await.unwrap().churn_probability.is_some());
    // Without features there is nothing to score: no customer is stored.
    let expect = |found: Result<(), Status>| {
        let (code, reason, _) = told(&found.unwrap_err());
        assert_eq!((code, &*reason), (Code::FailedPrecondition, "MODEL_SCORES_TABLES"));
    };
    expect(clients.score(crate::serve_client::subject("c0")).await.map(drop));
    expect(clients.view("c0").await.map(drop));
    expect(clients.ingest(crate::serve_client::three_customers()).await.map(drop));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_a_log_takes_no_features() {
    let server = Running::start(&[]).await;
    let mut clients = crate::serve_client::Clients::new(&server).await;
    let asked = pb::ScoreSubject {
        features: Some(prost_types::Struct::default()),
        ..crate::serve_client::subject("c0")
    };
    let (code, _, fields) = told(&clients.score(asked).await.unwrap_err());
    assert_eq!((code, fields), (Code::InvalidArgument, vec!["subject.features".to_owned()]));
    server.stop().await;
    let no_store = serve_config(Path::new("."), &[("store", ""), ("models", "models")]);
    let error = tenure::serve::open(&no_store).unwrap_err().to_string();
    assert!(error.contains("--store") || error.contains("demo"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_of_a_table_gives_the_bits_of_its_rows() {
    use tenure::serve::pb::score_matrix_request::Cells;
    let (dir, outcome) = &*TRAINED;
    let table =
        Table::read(&dir.path().join("business.csv"), &ReadSpec::default(), &Rules::default());
    let table = table.unwrap();
    let engine =
        Engine::try_new(Bundle::load(&outcome.folder).unwrap(), None, Some("0123456789abcdef"));
    let engine = engine.unwrap();
    let columns = engine.matrix_columns();
    let server = Running::start_with(server_config()).await;
    let mut clients = crate::serve_client::Clients::new(&server).await;
    let places: Vec<usize> = (0..table.n_rows()).step_by(97).collect();
    let mut cells = Vec::new();
    for &row in &places {
        for column in &columns {
            let at = table.position(column.name).unwrap();
            cells.push(match (table.cell(row, at), column.unit) {
                (cell, "categorical") => {
                    let text = tenure::model::level_of(&cell).unwrap();
                    text.map_or(f64::NAN, |text| {
                        let place = column.levels.iter().position(|level| *level == text);
                        place.unwrap_or(column.levels.len()) as f64
                    })
                }
                (cell, "boolean") => tenure::model::flag_of(&cell)
                    .unwrap()
                    .map_or(f64::NAN, |flag| f64::from(u8::from(flag))),
                (cell, _) => tenure::model::number_of(&cell).unwrap().unwrap_or(f64::NAN),
            });
        }
    }
    let bytes = |cells: &[f64]| cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
    let request = |cells: &[f64]| pb::ScoreMatrixRequest {
        model: None,
        feature_schema: engine.matrix_schema().to_owned(),
        row_count: u32::try_from(places.len()).unwrap(),
        cells: Some(Cells::DoubleCells(bytes(cells))),
    };
    let answer = clients.scoring.score_matrix(request(&cells)).await.unwrap().into_inner();
    for (idx, &row) in places.iter().enumerate() {
        let score = clients.score(subject(&table, &engine, row, "x")).await.unwrap();
        let found = &answer.churn_probabilities[idx * 8..][..8];
        assert_eq!(found, score.churn_probability.unwrap().to_le_bytes());
        let found = &answer.clv_means[idx * 8..][..8];
        assert_eq!(found, score.clv.unwrap().mean.to_le_bytes());
    }
    let at = columns.iter().position(|column| column.unit == "categorical").unwrap();
    cells[at] = 0.5;
    let refused = clients.scoring.score_matrix(request(&cells)).await.unwrap_err();
    let (code, _, fields) = told(&refused);
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(fields, [format!("cells[0].{}", columns[at].name)]);
    server.stop().await;
}
