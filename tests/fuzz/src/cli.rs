//! Kept inputs of the fuzz targets: `seed DIR` writes first ones, `unpack KEPT DIR` makes files of
//! the kept ones, `pack DIR KEPT` keeps the files of DIR. DIR has a folder for each target.
//!
//! Programs of this package begin in the fuzzer's own code, so the words come from `CORPUS`.

use std::error::Error;
use std::path::Path;

use prost::Message;
use prost_types::value::Kind;
use tenure::decision::Policy;
use tenure::events::{FileFormat, Intake, ReadSpec, RowOutcome, Rules};
use tenure::history::History;
use tenure::serve::pb;

use crate::{corpus, harness};

const TARGETS: [&str; 5] = ["events", "history", "bundle", "policy", "request"];
/// Inputs kept of one target.
const KEPT_MAX: usize = 600;
const BYTES_MAX: usize = 4_096;

/// Done, or why not.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Does what the words say.
///
/// # Errors
/// What reading and writing files gives, and words that mean nothing.
pub fn run(words: &str) -> Outcome {
    match words.split(' ').collect::<Vec<_>>().as_slice() {
        ["seed", dir] => seed(Path::new(dir)),
        ["unpack", kept, dir] => unpack(Path::new(kept), Path::new(dir)),
        ["pack", dir, kept] => pack(Path::new(dir), Path::new(kept)),
        _ => Err("CORPUS='seed DIR' or 'unpack KEPT DIR' or 'pack DIR KEPT'".into()),
    }
}

fn unpack(kept: &Path, dir: &Path) -> Outcome {
    for target in TARGETS {
        let records = corpus::read(&kept.join(format!("{target}.gz")))?;
        for (n, record) in records.iter().enumerate() {
            put(dir, target, &format!("kept-{n:04}"), record)?;
        }
    }
    Ok(())
}

fn pack(dir: &Path, kept: &Path) -> Outcome {
    for target in TARGETS {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(dir.join(target))? {
            records.push(std::fs::read(entry?.path())?);
        }
        records.retain(|record| record.len() <= BYTES_MAX);
        records.sort_by_key(Vec::len);
        // Short and long ones alike.
        let step = records.len().div_ceil(KEPT_MAX).max(1);
        let records = records.into_iter().step_by(step).collect();
        corpus::write(&kept.join(format!("{target}.gz")), records)?;
    }
    Ok(())
}

fn put(dir: &Path, target: &str, name: &str, bytes: &[u8]) -> Outcome {
    let folder = dir.join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}

fn seed(dir: &Path) -> Outcome {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/events");
    for entry in std::fs::read_dir(sources)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file").to_owned();
        let text = std::fs::read(&path)?;
        let header = text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or(&[]);
        let is_csv = name.ends_with(".csv");
        let lines = text.split_inclusive(|&byte| byte == b'\n').skip(usize::from(is_csv));
        for (n, line) in lines.enumerate() {
            let mut input = vec![u8::from(is_csv)];
            if is_csv {
                input.extend_from_slice(header);
            }
            input.extend_from_slice(line);
            put(dir, "events", &format!("{name}-{n}"), &input)?;
            if let Some(history) = folded(&input) {
                let bytes = history.to_bytes();
                put(dir, "history", &format!("{name}-{n}"), &bytes[1..bytes.len() - 4])?;
            }
        }
        let mut whole = vec![u8::from(is_csv)];
        whole.extend_from_slice(&text);
        put(dir, "events", &name, &whole)?;
        if let Some(history) = folded(&whole) {
            let bytes = history.to_bytes();
            put(dir, "history", &name, &bytes[1..bytes.len() - 4])?;
        }
    }
    let mut whole = vec![0];
    whole.extend_from_slice(Policy::default_text().as_bytes());
    put(dir, "policy", "default", &whole)?;
    for n in 0..64_u8 {
        put(
            dir,
            "policy",
            &format!("patch-{n}"),
            &[1, n.wrapping_mul(37), n, 1, 1, b'0' + n % 10],
        )?;
        put(dir, "bundle", &format!("patch-{n}"), &[n, n.wrapping_mul(91), n / 8, 1, 1, b'1'])?;
    }
    for n in 0..16_u8 {
        put(dir, "bundle", &format!("whole-{n}"), &[n, 255, b'{', b'}'])?;
    }
    requests(dir)
}

fn folded(input: &[u8]) -> Option<History> {
    let format = if input[0] == 0 { FileFormat::Jsonl } else { FileFormat::Csv };
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let mut history = History::default();
    let mut took = |outcome: RowOutcome<'_>| {
        if let RowOutcome::Kept(event) = outcome {
            history.apply(&event);
        }
    };
    Intake::new(&spec, &rules).read_text("seed", format, &mut &input[1..], &mut took).ok()?;
    (history.n_events() > 0).then_some(history)
}

fn requests(dir: &Path) -> Outcome {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let value = |kind| prost_types::Value { kind: Some(kind) };
    let fields = [
        ("amount".to_owned(), value(Kind::NumberValue(12.5))),
        ("channel".to_owned(), value(Kind::StringValue("email".to_owned()))),
        ("first".to_owned(), value(Kind::BoolValue(true))),
    ];
    let event = |kind: &str| pb::Event {
        event_id: "e1".to_owned(),
        customer: "c1".to_owned(),
        r#type: kind.to_owned(),
        event_time: time(1_780_000_000),
        attributes: Some(prost_types::Struct { fields: fields.clone().into() }),
    };
    let kinds = ["purchase", "refund", "activity", "contact", "support", "rating", "profile"];
    let events = kinds.map(event).to_vec();
    let by_id = pb::ScoreSubject { customer: "c1".to_owned(), ..Default::default() };
    let inline = pb::ScoreSubject {
        customer: "c2".to_owned(),
        events: events.clone(),
        inline_only: true,
        as_of: time(1_780_100_000),
        ..Default::default()
    };
    let by_features = pb::ScoreSubject {
        customer: "c3".to_owned(),
        features: Some(prost_types::Struct { fields: fields.clone().into() }),
        ..Default::default()
    };
    let mut messages: Vec<Vec<u8>> = vec![
        Vec::new(),
        pb::IngestEventsRequest { events: events.clone(), ..Default::default() }.encode_to_vec(),
        pb::StreamEventsRequest { events, ..Default::default() }.encode_to_vec(),
        pb::GetCustomerRequest { customer: "c1".to_owned(), ..Default::default() }.encode_to_vec(),
        pb::ScoreMatrixRequest {
            row_count: 2,
            cells: Some(pb::score_matrix_request::Cells::FloatCells(vec![0; 64])),
            ..Default::default()
        }
        .encode_to_vec(),
    ];
    for subject in [by_id, inline, by_features] {
        let one = pb::ScoreCustomerRequest { subject: Some(subject.clone()), ..Default::default() };
        let subjects = vec![subject.clone(), subject.clone()];
        let many = pb::BatchScoreCustomersRequest { subjects, ..Default::default() };
        let next = pb::ScoreStreamRequest { subject: Some(subject), ..Default::default() };
        messages.extend([one.encode_to_vec(), many.encode_to_vec(), next.encode_to_vec()]);
    }
    for (m, _) in harness::methods().iter().enumerate() {
        for (n, message) in messages.iter().enumerate() {
            let mut input = vec![u8::try_from(m)?];
            input.extend_from_slice(message);
            put(dir, "request", &format!("{m}-{n}"), &input)?;
        }
    }
    Ok(())
}
