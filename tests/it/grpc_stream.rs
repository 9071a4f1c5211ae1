//! Streams and matrices of scores over a real socket: order, bad rows, back pressure, bits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use tenure::bundle::{Bundle, BundleSelector};
use tenure::domain::{AsOf, Timestamp, Zone};
use tenure::history::History;
use tenure::scoring::Engine;
use tenure::serve::pb;
use tenure::serve::pb::score_matrix_request::Cells;
use tenure::serve::pb::score_outcome::Outcome;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::serve_client::{Clients, DAY, purchase, subject, three_customers, time, told};
use crate::serve_fixture::{NOW_SECONDS, Running};

type Requests = mpsc::Sender<pb::ScoreStreamRequest>;
type Answers = Streaming<pb::ScoreStreamResponse>;

async fn stream(clients: &mut Clients, room: usize) -> (Requests, Answers) {
    let (requests, receiver) = mpsc::channel(room);
    let answers = clients.scoring.score_stream(ReceiverStream::new(receiver)).await.unwrap();
    (requests, answers.into_inner())
}

fn row(sequence: u64, subject: Option<pb::ScoreSubject>) -> pb::ScoreStreamRequest {
    pb::ScoreStreamRequest { sequence, subject, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_answers_in_order_as_single_calls_do_and_a_bad_row_ends_nothing() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let early = pb::ScoreSubject { as_of: time(NOW_SECONDS - 30 * DAY), ..subject("regular") };
    let heavy = pb::ScoreSubject {
        events: (0..70).map(|n| purchase("", "", 300 - n, 2.0)).collect(),
        inline_only: true,
        ..subject("inline")
    };
    let kinds = [
        Some(subject("regular")),
        Some(subject("nobody")),
        Some(subject("once")),
        None,
        Some(early),
        Some(subject("")),
        Some(subject("visitor")),
        Some(heavy),
    ];
    // One answer a request as it comes, and many at once.
    let (requests, mut answers) = stream(&mut clients, 256).await;
    for n in 0..80_u64 {
        let kind = kinds[usize::try_from(n).unwrap() % kinds.len()].clone();
        requests.send(row(1_000 - n, kind)).await.unwrap();
        if n == 0 {
            assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1_000);
        }
    }
    drop(requests);
    for n in 1..80_u64 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, 1_000 - n);
        let outcome = answer.outcome.unwrap().outcome.unwrap();
        let Some(asked) = kinds[usize::try_from(n).unwrap() % kinds.len()].clone() else {
            let Outcome::Error(error) = outcome else { panic!("{outcome:?}") };
            assert_eq!(error.code, Code::InvalidArgument as i32);
            continue;
        };
        match (clients.score(asked).await, outcome) {
            (Ok(one), Outcome::Score(of_many)) => assert_eq!(one, of_many),
            (Err(one), Outcome::Error(of_many)) => {
                assert_eq!((one.code() as i32, one.message()), (of_many.code, &*of_many.message));
                assert!(!of_many.details.is_empty());
            }
            (one, of_many) => panic!("{one:?} {of_many:?}"),
        }
    }
    assert_eq!(answers.message().await.unwrap(), None);
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_at_once_are_answered_in_order_and_a_caller_may_leave_in_between() {
    const ROWS: u64 = 1_000;
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let kinds = ["regular", "once", "nobody", "visitor", "regular"];
    let kind = |n: u64| kinds[usize::try_from(n).unwrap() % kinds.len()];
    let rows: Vec<_> = (0..ROWS).map(|n| row(n, Some(subject(kind(n))))).collect();
    // One that leaves while its rows are at work.
    let left = clients.scoring.score_stream(tokio_stream::iter(rows.clone())).await.unwrap();
    assert_eq!(left.into_inner().message().await.unwrap().unwrap().sequence, 0);
    let answers = clients.scoring.score_stream(tokio_stream::iter(rows)).await.unwrap();
    let mut answers = answers.into_inner();
    for n in 0..ROWS {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, n);
        match answer.outcome.unwrap().outcome.unwrap() {
            Outcome::Score(score) => assert_eq!(score.customer, kind(n)),
            Outcome::Error(error) => {
                assert_eq!((error.code, kind(n)), (Code::NotFound as i32, "nobody"));
            }
        }
    }
    assert_eq!(answers.message().await.unwrap(), None);
    assert!(server.stop().await.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_sets_model_and_view_and_a_model_not_served_ends_the_stream() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let select = |version: &str| {
        let choice = pb::model_selector::Choice::Version(version.to_owned());
        Some(pb::ModelSelector { choice: Some(choice) })
    };
    let first = |model, view: pb::ScoreView| pb::ScoreStreamRequest {
        model,
        view: view.into(),
        ..row(1, Some(subject("regular")))
    };
    let ours = format!("models/demo/versions/{}", server.version);
    let (requests, mut answers) = stream(&mut clients, 8).await;
    requests.send(first(select(&ours), pb::ScoreView::Full)).await.unwrap();
    requests.send(row(2, Some(subject("once")))).await.unwrap();
    for sequence in 1..=2 {
        let answer = answers.message().await.unwrap().unwrap();
        let Some(Outcome::Score(score)) = answer.outcome.unwrap().outcome else { panic!() };
        assert_eq!(answer.sequence, sequence);
        assert!(!score.churn_reasons.is_empty());
    }
    let (requests, mut answers) = stream(&mut clients, 8).await;
    requests.send(first(select("models/demo/versions/0"), pb::ScoreView::Basic)).await.unwrap();
    let (code, reason, _) = told(&answers.message().await.unwrap_err());
    assert_eq!((code, &*reason), (Code::NotFound, "MODEL_NOT_SERVED"));
    let (requests, mut answers) = stream(&mut clients, 8).await;
    let mut strange = first(None, pb::ScoreView::Basic);
    strange.view = 77;
    requests.send(strange).await.unwrap();
    let (code, _, fields) = told(&answers.message().await.unwrap_err());
    assert_eq!((code, fields), (Code::InvalidArgument, vec!["view".to_owned()]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_ends_its_streams_and_says_so() {
    let mut server = Running::start(&[("drain_seconds", "600")]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let (requests, mut answers) = stream(&mut clients, 8).await;
    requests.send(row(1, Some(subject("regular")))).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
    // The caller keeps its half open: the stream must not hold the server up for that.
    server.tell();
    let (code, reason, _) = told(&answers.message().await.unwrap_err());
    assert_eq!((code, &*reason), (Code::Unavailable, "SHUTTING_DOWN"));
    assert!(server.ended().await.complete);
}

/// The engine of the server's bundle, and the histories of the three customers.
fn engine_and_rows(server: &Running) -> (Engine, Vec<Vec<f64>>) {
    let selector = BundleSelector::parse("demo").unwrap();
    let bundle = Bundle::find(&server.config.models, &selector).unwrap();
    let engine = Engine::try_new(bundle, None, Some("0123456789abcdef")).unwrap();
    let now = Timestamp::from_micros(NOW_SECONDS * 1_000_000);
    let as_of = AsOf::at(now, &Zone::UTC);
    let rows = ["regular", "once", "visitor"].map(|customer| {
        let mut history = History::default();
        for event in three_customers().iter().filter(|event| event.customer == customer) {
            history.apply(&crate::grpc::library_event(event));
        }
        let mut row = Vec::new();
        engine.bundle().predictor().unwrap().row(&history, as_of, &mut row);
        row
    });
    (engine, rows.into())
}

fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|cell| f64::from_le_bytes(cell.try_into().unwrap())).collect()
}

async fn matrix(
    clients: &mut Clients,
    schema: &str,
    row_count: usize,
    cells: Option<Cells>,
) -> Result<pb::ScoreMatrixResponse, Status> {
    let request = pb::ScoreMatrixRequest {
        model: None,
        feature_schema: schema.to_owned(),
        row_count: u32::try_from(row_count).unwrap(),
        cells,
    };
    clients.scoring.score_matrix(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_gives_the_bits_of_single_calls_and_of_the_library() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    clients.ingest(three_customers()).await.unwrap();
    let (engine, rows) = engine_and_rows(&server);
    let schema = engine.matrix_schema();
    let doubles: Vec<u8> =
        rows.iter().cycle().take(900).flatten().flat_map(|cell| cell.to_le_bytes()).collect();
    let answer = matrix(&mut clients, schema, 900, Some(Cells::DoubleCells(doubles))).await;
    let answer = answer.unwrap();
    let [churn, mean, p10, p50, p90] = [
        &answer.churn_probabilities,
        &answer.clv_means,
        &answer.clv_p10s,
        &answer.clv_p50s,
        &answer.clv_p90s,
    ]
    .map(|bytes| numbers(bytes));
    assert_eq!((churn.len(), p90.len(), answer.model_risk_tiers.len()), (900, 900, 900));
    for (idx, customer) in ["regular", "once", "visitor"].into_iter().enumerate() {
        let score = clients.score(subject(customer)).await.unwrap();
        for row in (idx..900).step_by(3) {
            let bits = |n: f64| (!n.is_nan()).then(|| n.to_bits());
            assert_eq!(bits(churn[row]), score.churn_probability.map(f64::to_bits));
            let clv = score.clv.as_ref();
            assert_eq!(bits(mean[row]), clv.map(|clv| clv.mean.to_bits()));
            for (found, wire) in [
                (p10[row], clv.and_then(|clv| clv.p10)),
                (p50[row], clv.and_then(|clv| clv.p50)),
                (p90[row], clv.and_then(|clv| clv.p90)),
            ] {
                assert_eq!(bits(found), wire.map(f64::to_bits));
            }
            assert_eq!(i32::from(answer.model_risk_tiers[row]), score.model_risk_tier);
        }
    }
    assert_eq!((answer.churn_horizon_days, answer.clv_horizon_days), (90, 180));
    assert_eq!(answer.currency_code, "EUR");
    assert_eq!(answer.model_version, format!("models/demo/versions/{}", server.version));
    #[allow(clippy::cast_possible_truncation, reason = "the rounding is what is tried")]
    let floats: Vec<u8> =
        rows.iter().flatten().flat_map(|cell| (*cell as f32).to_le_bytes()).collect();
    let near = matrix(&mut clients, schema, 3, Some(Cells::FloatCells(floats))).await.unwrap();
    for (near, exact) in numbers(&near.churn_probabilities).iter().zip(&churn) {
        assert!((near - exact).abs() < 1e-5 || (near.is_nan() && exact.is_nan()));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_that_does_not_fit_is_refused_by_its_columns() {
    let server = Running::start(&[]).await;
    let mut clients = Clients::new(&server).await;
    let (engine, rows) = engine_and_rows(&server);
    let schema = engine.matrix_schema();
    let cells = |rows: &[Vec<f64>]| {
        let bytes = rows.iter().flatten().flat_map(|cell| cell.to_le_bytes()).collect();
        Some(Cells::DoubleCells(bytes))
    };
    let refused = matrix(&mut clients, "0000", 3, cells(&rows)).await.unwrap_err();
    let (code, reason, _) = told(&refused);
    assert_eq!((code, &*reason), (Code::FailedPrecondition, "SCHEMA_MISMATCH"));
    assert_eq!(refused.get_details_error_info().unwrap().metadata["wanted"], schema);
    for (row_count, cells, field) in [
        (0, cells(&[]), "double_cells"),
        (2, cells(&rows), "double_cells"),
        (4, cells(&rows), "double_cells"),
        (3, None, "cells"),
        (1, Some(Cells::FloatCells(vec![0; 3])), "float_cells"),
    ] {
        let (code, _, fields) =
            told(&matrix(&mut clients, schema, row_count, cells).await.unwrap_err());
        assert_eq!((code, &*fields), (Code::InvalidArgument, &[field.to_owned()][..]));
    }
    let mut bad = rows.clone();
    bad[1][2] = f64::INFINITY;
    let (_, _, fields) = told(&matrix(&mut clients, schema, 3, cells(&bad)).await.unwrap_err());
    let column = engine.matrix_columns()[2].name;
    assert_eq!(fields, [format!("cells[1].{column}")]);
    server.stop().await;
}
