//! The room as its callers see it: files in, events and reports out.

use std::io::Cursor;
use std::path::Path;
use std::path::PathBuf;

use super::*;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// Reads text from memory; the events, the dropped rows, the report.
fn read_with(
    spec: &ReadSpec,
    rules: &Rules,
    format: FileFormat,
    bytes: &[u8],
) -> Result<(Vec<Event>, Vec<(u64, &'static str)>, IntakeReport), IntakeError> {
    let (mut events, mut dropped) = (Vec::new(), Vec::new());
    let mut intake = Intake::new(spec, rules);
    intake.read_text("memory", format, &mut Cursor::new(bytes), &mut |outcome| match outcome {
        RowOutcome::Kept(event) => events.push(event),
        RowOutcome::Dropped { row, issue, .. } => dropped.push((row, issue.code())),
    })?;
    let report = intake.finish()?;
    Ok((events, dropped, report))
}

#[test]
fn complete_journey_is_read_whole() {
    let mut n_events = 0_u64;
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let path = shipped("complete_journey.csv.gz");
    let report = read_events(&path, &spec, &rules, &mut |_| n_events += 1).unwrap();
    assert_eq!((report.rows, report.kept, n_events), (155_848, 155_848, 155_848));
    assert_eq!((report.dropped, report.customers, report.zero_amounts), (0, 2_469, 478));
    println!("{}", report.to_text());
}
