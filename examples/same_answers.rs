//! Holds a file of scores against what a running server answers for the same customers.
//!
//! `same_answers SCORES.parquet ADDRESS DAY [CUSTOMERS]`
//!
//! In: what `tenure-score` wrote as of the end of a day (UTC), a server on a store of the same
//! log, such as 127.0.0.1:50051, and how many customers to ask for (10,000), taken evenly from the
//! whole file. Out: one line of JSON. Every column of every row is compared, floats by their bits.
//! Exit code 1 where anything differs, with the first differences. Reasons are not compared: a
//! server gives them in words of its own view.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "an example talks to its terminal and measures time"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use tenure::domain::{AsOf, Day, Zone};
use tenure::serve::pb;
use tenure::serve::pb::score_outcome::Outcome;
use tenure::serve::pb::scoring_service_client::ScoringServiceClient;

/// Rows of one call.
const CALL_ROWS: usize = 500;
/// Differences that are shown.
const SHOWN: usize = 10;
/// A column that holds words, not a score.
const REASONS: &str = "churn_reasons";

/// A row by column: floats as their bits, so that no digit is rounded away.
type Row = BTreeMap<String, String>;

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, address, day, more @ ..] = args.as_slice() else {
        anyhow::bail!("same_answers SCORES.parquet ADDRESS DAY [CUSTOMERS]");
    };
    let n_wanted = more.first().map_or(Ok(10_000), |text| text.parse())?;
    let as_of = AsOf::end_of(Day::parse(day)?, &Zone::UTC).instant().micros() / 1_000_000;
    let begun = Instant::now();
    let (rows, n_all) = sample(Path::new(file), n_wanted)?;
    let read_s = begun.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    let differences = runtime.block_on(compare(address, &rows, as_of))?;
    for text in differences.iter().take(SHOWN) {
        eprintln!("{text}");
    }
    println!(
        "{{\"rows\":{n_all},\"asked\":{},\"columns\":{},\"different\":{},\"read_s\":{read_s:.1},\
         \"asked_s\":{:.1}}}",
        rows.len(),
        rows.first().map_or(0, BTreeMap::len),
        differences.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every so many rows of a file, and how many there are in all.
fn sample(path: &Path, n_wanted: usize) -> Result<(Vec<Row>, usize)> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let n_all = usize::try_from(reader.metadata().file_metadata().num_rows())?;
    let stride = (n_all / n_wanted.max(1)).max(1);
    let (mut rows, mut first) = (Vec::new(), 0);
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at)?;
        let n_rows = usize::try_from(group.metadata().num_rows())?;
        let wanted: Vec<usize> = (0..n_rows).filter(|row| (first + row) % stride == 0).collect();
        let mut found = vec![Row::new(); wanted.len()];
        for column in 0..group.num_columns() {
            let name = group.metadata().column(column).column_path().string();
            let cells = cells(group.get_column_reader(column)?, n_rows, &wanted)?;
            for (row, cell) in found.iter_mut().zip(cells) {
                row.extend(cell.map(|cell| (name.clone(), cell)));
                // What is missing is compared, too.
                row.entry(name.clone()).or_default();
            }
        }
        rows.extend(found);
        first += n_rows;
    }
    Ok((rows, n_all))
}

/// Some cells of a column of a row group.
fn cells(reader: ColumnReader, n_rows: usize, wanted: &[usize]) -> Result<Vec<Option<String>>> {
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => {
            picked(reader, n_rows, wanted, |text| Ok(text.as_utf8()?.to_owned()))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            picked(reader, n_rows, wanted, |number| Ok(bits(*number)))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            picked(reader, n_rows, wanted, |number| Ok(number.to_string()))
        }
        ColumnReader::BoolColumnReader(reader) => {
            picked(reader, n_rows, wanted, |flag| Ok(flag.to_string()))
        }
        _ => anyhow::bail!("a column of a kind that no file of scores has"),
    }
}

fn picked<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    n_rows: usize,
    wanted: &[usize],
    text: fn(&T::T) -> Result<String>,
) -> Result<Vec<Option<String>>> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while levels.len() < n_rows {
        let left = n_rows - levels.len();
        let (n_read, _, _) = reader.read_records(left, Some(&mut levels), None, &mut values)?;
        ensure!(n_read > 0, "a column ends early");
    }
    let (mut found, mut wanted, mut value) = (Vec::new(), wanted.iter().peekable(), 0);
    for (row, level) in levels.iter().enumerate() {
        if wanted.next_if(|next| **next == row).is_some() {
            let cell = if *level > 0 { Some(text(&values[value])?) } else { None };
            found.push(cell);
        }
        value += usize::from(*level > 0);
    }
    Ok(found)
}

fn bits(number: f64) -> String {
    format!("{number:?} ({:016x})", number.to_bits())
}

/// Asks for all rows; what differs.
async fn compare(address: &str, rows: &[Row], as_of_seconds: i64) -> Result<Vec<String>> {
    let mut client = ScoringServiceClient::connect(format!("http://{address}")).await?;
    client = client.max_decoding_message_size(64 << 20);
    let as_of = Some(prost_types::Timestamp { seconds: as_of_seconds, nanos: 0 });
    let mut differences = Vec::new();
    // The first of each call alone as well: single calls and batches say the same.
    for rows in rows.chunks(CALL_ROWS) {
        let subjects: Vec<pb::ScoreSubject> = rows
            .iter()
            .map(|row| pb::ScoreSubject {
                customer: row.get("customer_id").cloned().unwrap_or_default(),
                as_of,
                ..Default::default()
            })
            .collect();
        let subject = subjects.first().cloned();
        let one = pb::ScoreCustomerRequest { subject, ..Default::default() };
        let alone = client.score_customer(one).await?.into_inner().score;
        let batch = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        let answers = client.batch_score_customers(batch).await?.into_inner().outcomes;
        ensure!(answers.len() == rows.len(), "{} answers to {}", answers.len(), rows.len());
        let first = rows.first().zip(alone.as_ref());
        differences.extend(first.and_then(|(row, score)| difference(row, score)));
        for (row, answer) in rows.iter().zip(answers) {
            match answer.outcome {
                Some(Outcome::Score(score)) => differences.extend(difference(row, &score)),
                other => differences.push(format!("{:?}: {other:?}", row.get("customer_id"))),
            }
        }
    }
    Ok(differences)
}

fn difference(row: &Row, score: &pb::Score) -> Option<String> {
    let said = answered(score);
    let different: Vec<String> = row
        .iter()
        .filter(|(column, _)| *column != REASONS)
        .filter_map(|(column, cell)| {
            let told = said.get(column.as_str()).map_or("(no such field)", String::as_str);
            (told != cell).then(|| format!("{column}: file {cell:?}, server {told:?}"))
        })
        .collect();
    (!different.is_empty()).then(|| format!("{}: {}", score.customer, different.join("; ")))
}

/// The columns of the file, made from an answer.
fn answered(score: &pb::Score) -> BTreeMap<&'static str, String> {
    let float = |number: Option<f64>| number.map(bits).unwrap_or_default();
    let int = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    let clv = score.clv.as_ref();
    let rfm = score.rfm.unwrap_or_default();
    let of = score.provenance.clone().unwrap_or_default();
    let horizon = score.churn_probability.and(Some(score.churn_horizon_days));
    let version = of.model_version.rsplit('/').next().unwrap_or_default().to_owned();
    let each = score.churn_by_horizon.iter();
    let horizons: Vec<String> =
        each.map(|one| format!("{}:{:?}", one.horizon_days, one.probability)).collect();
    let mut row = BTreeMap::from([
        ("customer_id", score.customer.clone()),
        ("churn_probability", float(score.churn_probability)),
        ("churn_horizon_days", int(horizon.filter(|days| *days > 0))),
        ("risk_tier", word(score.risk_tier().as_str_name(), "RISK_TIER_")),
        ("clv_mean", float(clv.map(|clv| clv.mean))),
        ("clv_p10", float(clv.and_then(|clv| clv.p10))),
        ("clv_p50", float(clv.and_then(|clv| clv.p50))),
        ("clv_p90", float(clv.and_then(|clv| clv.p90))),
        ("clv_horizon_days", int(clv.map(|clv| clv.horizon_days))),
        ("expected_purchases", float(score.expected_purchases)),
        ("p_alive", float(score.alive_probability)),
        ("value_at_risk", float(score.value_at_risk)),
        ("segment", word(score.segment().as_str_name(), "SEGMENT_")),
        ("lifecycle_phase", word(score.lifecycle_phase().as_str_name(), "LIFECYCLE_PHASE_")),
        ("r", int(rfm.r)),
        ("f", int(rfm.f)),
        ("m", int(rfm.m)),
        ("v", int(rfm.v)),
        ("heartbeat", beat(score, pb::HeartbeatSignal::Orders)),
        ("heartbeat_activity", beat(score, pb::HeartbeatSignal::Activity)),
        ("heartbeat_spend", beat(score, pb::HeartbeatSignal::Spend)),
        ("tier_reasons", score.tier_reasons.join("|")),
        ("model_version", version),
        ("policy_version", of.policy_version),
        ("engagement_stage", word(score.engagement_stage().as_str_name(), "ENGAGEMENT_STAGE_")),
        ("active_core", score.active_core.to_string()),
        ("advocate", score.advocate.to_string()),
        ("micro_segment", score.micro_segment.clone()),
        ("persona", score.persona.clone()),
        ("churn_by_horizon", horizons.join(";")),
    ]);
    if let Some(clv) = clv {
        let known = Some(&clv.currency_code).filter(|code| *code != "XXX");
        let basis = ["revenue_less_refunds", "revenue_less_refunds_extrapolated"];
        row.insert("currency", known.cloned().unwrap_or_default());
        row.insert("clv_basis", basis[usize::from(clv.extrapolated)].to_owned());
    }
    row.extend(advised(&score.advice.clone().unwrap_or_default()));
    row
}

/// The columns of what is advised.
fn advised(advice: &pb::CampaignAdvice) -> [(&'static str, String); 7] {
    let offer = advice.offer.as_ref().map(|offer| offer.kind().as_str_name());
    let channel = advice.channels().next().map(|channel| channel.as_str_name());
    [
        ("campaign", advice.campaign_id.clone()),
        ("would_be_campaign", advice.would_be_campaign_id.clone()),
        ("channel", channel.map(|name| word(name, "CHANNEL_")).unwrap_or_default()),
        ("offer", offer.map(|name| word(name, "OFFER_KIND_")).unwrap_or_default()),
        ("campaign_reason", advice.reason.clone()),
        // The file has this one as the policies do, in capitals.
        ("suppression", word(advice.suppression().as_str_name(), "SUPPRESSION_").to_uppercase()),
        ("holdout", advice.holdout.to_string()),
    ]
}

/// The state of a signal; one that was not measured has no data.
fn beat(score: &pb::Score, signal: pb::HeartbeatSignal) -> String {
    let found = score.heartbeats.iter().find(|beat| beat.signal() == signal);
    let state = found.map_or(pb::HeartbeatState::NoData, pb::Heartbeat::state);
    word(state.as_str_name(), "HEARTBEAT_STATE_")
}

/// A name of the interface as the file writes it.
fn word(name: &str, before: &str) -> String {
    match name.strip_prefix(before).unwrap_or(name).to_lowercase().as_str() {
        "unspecified" => String::new(),
        word => word.to_owned(),
    }
}
