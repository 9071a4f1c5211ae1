//! The room as its callers see it: files in, events and reports out.

mod any_bytes;
mod columns;
mod files;
mod issues;
mod parts;
#[cfg(feature = "parquet")]
mod same_log;

use std::io::Cursor;
use std::path::Path;
use std::path::PathBuf;

use super::*;

fn in_package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn corpus(name: &str) -> Vec<u8> {
    std::fs::read(in_package("tests/corpus/events").join(name)).unwrap()
}

/// What an intake gave.
#[derive(Debug)]
struct Taken {
    events: Vec<Event>,
    /// Row and code.
    dropped: Vec<(u64, &'static str)>,
    report: IntakeReport,
}

/// Reads one text from memory.
fn take_text(
    spec: &ReadSpec,
    rules: &Rules,
    format: FileFormat,
    bytes: &[u8],
) -> Result<Taken, IntakeError> {
    take_texts(Intake::new(spec, rules), format, &[bytes])
}

/// Reads several texts as one log.
fn take_texts(
    mut intake: Intake<'_>,
    format: FileFormat,
    texts: &[&[u8]],
) -> Result<Taken, IntakeError> {
    let (mut events, mut dropped) = (Vec::new(), Vec::new());
    for text in texts {
        intake.read_text(
            "memory",
            format,
            &mut Cursor::new(text),
            &mut |outcome| match outcome {
                RowOutcome::Kept(event) => events.push(event),
                RowOutcome::Dropped { row, issue, .. } => dropped.push((row, issue.code())),
                RowOutcome::Cells { .. } => panic!("a log has no cells"),
            },
        )?;
    }
    Ok(Taken { events, dropped, report: intake.finish()? })
}

fn take_csv(text: &str) -> Result<Taken, IntakeError> {
    take_text(&ReadSpec::default(), &Rules::default(), FileFormat::Csv, text.as_bytes())
}

fn take_jsonl(text: &str) -> Result<Taken, IntakeError> {
    take_text(&ReadSpec::default(), &Rules::default(), FileFormat::Jsonl, text.as_bytes())
}

fn spec_of(columns: RawColumns) -> ReadSpec {
    ReadSpec { columns: ColumnMapping::try_from(columns).unwrap(), ..ReadSpec::default() }
}

fn amounts(events: &[Event]) -> Vec<f64> {
    let amount = |event: &Event| match &event.kind {
        EventKind::Purchase(purchase) => purchase.amount.units(),
        EventKind::Refund(refund) => -refund.amount.units(),
        _ => f64::NAN,
    };
    events.iter().map(amount).collect()
}
