//! Whole files: what cannot be read, what ids rows get, and the shipped sample.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::domain::Money;
use crate::domain::Zone;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_file(name: &str, bytes: &[u8]) -> Result<IntakeReport, IntakeError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_events(&path, &ReadSpec::default(), &Rules::default(), &mut |_| {})
}

#[test]
fn complete_journey_is_read_whole() {
    let mut sum = Money::ZERO;
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let path = in_package("data/complete_journey.csv.gz");
    let report = read_events(&path, &spec, &rules, &mut |event| {
        if let EventKind::Purchase(purchase) = event.kind {
            sum += purchase.amount;
        }
    })
    .unwrap();
    assert_eq!((report.rows, report.kept, report.dropped), (155_848, 155_848, 0));
    assert_eq!((report.customers, report.zero_amounts, report.refunds), (2_469, 478, 0));
    assert_eq!((report.identical_rows, report.duplicates), (8, 0));
    assert_eq!(report.first.unwrap(), Zone::UTC.parse("2017-01-01 11:53").unwrap());
    assert_eq!(report.last.unwrap(), Zone::UTC.parse("2018-01-01 04:01").unwrap());
    assert_eq!(Threshold::default().check(&report), Ok(()));
    assert!((sum.units() - SUM_OF_AMOUNTS).abs() < 1e-6, "{}", sum.units());
}

/// By `zcat complete_journey.csv.gz | awk -F, 'NR>1 {s+=$3} END {printf "%.2f", s}'`.
const SUM_OF_AMOUNTS: f64 = 4_596_039.58;

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let csv = b"customer,date,amount\na,2026-01-01,1\n";
    let jsonl = br#"{"customer":"a","type":"activity","time":"2026-01-01","name":"visit"}"#;
    assert_eq!(read_file("a.csv", csv).unwrap().kept, 1);
    assert_eq!(read_file("a.CSV.gz", &gzip(csv)).unwrap().kept, 1);
    // Named plain, but gzip all the same: there is no doubt how to read it.
    assert_eq!(read_file("a.csv", &gzip(csv)).unwrap().kept, 1);
    assert_eq!(read_file("a.ndjson.gz", &gzip(jsonl)).unwrap().kept, 1);
    for (name, bytes, wanted) in [
        ("a.xlsx", csv.as_slice(), "the format is unknown"),
        ("a", csv, "the format is unknown"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"\xef\xbb\xbf \n", "the file is empty"),
        ("a.csv.gz", b"", "the file is empty"),
        ("a.csv.gz", &gzip(b""), "the file is empty"),
        ("a.jsonl", b"\n\n", "the file is empty"),
        ("a.csv", b"customer,date,amount\n", "there is a header but no row"),
        ("a.csv", b"customer,date,amount", "there is a header but no row"),
        ("a.csv", b"customer,date,amount\ra,2026-01-01,1\r", "this is text whose lines end in \\r"),
        ("a.csv", jsonl, "this is JSON lines, not CSV"),
        ("a.jsonl", csv, "this is no JSON object, not JSON lines"),
        ("a.jsonl", b"[{}]", "this is a JSON array"),
        ("a.csv", b"PK\x03\x04....", "this is a zip archive or a spreadsheet"),
        ("a.csv", b"PAR1....", "this is a Parquet file"),
        ("a.csv", b"\xff\xfec\0u\0", "this is UTF-16 text"),
        ("a.parquet", csv, "this is something else, not Parquet"),
    ] {
        let message = read_file(name, bytes).unwrap_err().to_string();
        assert!(message.contains(wanted), "{name}: {message}");
        assert!(message.contains(name), "{message}");
    }
    let nowhere = in_package("data/nowhere.csv");
    let missing = read_events(&nowhere, &ReadSpec::default(), &Rules::default(), &mut |_| {});
    assert!(matches!(missing, Err(IntakeError::NotFound { .. })));
}

#[test]
fn a_damaged_gzip_file_is_an_error_wherever_it_breaks() {
    let mut text = String::from("customer,date,amount\n");
    for row in 0..20_000 {
        text.push_str(&format!("{},2026-01-01,{}\n", row * 7_919 % 10_007, row * 31 % 977));
    }
    let whole = gzip(text.as_bytes());
    for end in [3, 11, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let error = read_file("a.csv.gz", &whole[..end]).unwrap_err();
        assert!(matches!(error, IntakeError::BrokenGzip { .. }), "{end}: {error}");
    }
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    let error = read_file("a.csv.gz", &flipped).unwrap_err();
    assert!(matches!(error, IntakeError::BrokenGzip { .. }), "{error}");
    let two = [whole.clone(), gzip(b"1,2026-01-01,5\n")].concat();
    assert_eq!(read_file("a.csv.gz", &two).unwrap().rows, 20_001);
}

#[test]
fn a_european_file_is_read_by_its_own_rules() {
    let text = corpus("semicolon_bom_crlf.csv");
    let rules = Rules { decimal_comma: true, ..Rules::default() };
    let taken = take_text(&ReadSpec::default(), &rules, FileFormat::Csv, &text).unwrap();
    assert_eq!(amounts(&taken.events), [1234.5, -2.5]);
    assert_eq!(taken.dropped, [(4, "not_a_number")]);
    assert_eq!((taken.report.refunds, taken.report.negative_purchases), (1, 1));
    // Read with decimal points, the same file loses rows instead of changing amounts.
    let taken = take_text(&ReadSpec::default(), &Rules::default(), FileFormat::Csv, &text).unwrap();
    assert_eq!(amounts(&taken.events), [12.5]);
    assert!(taken.report.issues["not_a_number"].example.contains("--decimal-comma"));
}

#[test]
fn identical_rows_are_kept_under_ids_of_their_own() {
    let text = b"customer,date,amount\na,2026-01-01,1\na,2026-01-01,1.0\nb,2026-01-01,1\n";
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let taken = take_text(&spec, &rules, FileFormat::Csv, text).unwrap();
    assert_eq!((taken.report.kept, taken.report.identical_rows), (3, 1));
    let mut ids: Vec<_> = taken.events.iter().map(|event| event.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    // The same column content in another order of columns and rows: the same ids.
    let text = b"amount,date,customer\n1,2026-01-01,b\n1,2026-01-01,a\n1,2026-01-01,a\n";
    let again = take_text(&spec, &rules, FileFormat::Csv, text).unwrap();
    let mut ids_again: Vec<_> = again.events.iter().map(|event| event.id).collect();
    ids_again.sort();
    assert_eq!(ids_again, ids);
    // A raw event of that content is the first of them.
    let raw = RawEvent {
        customer: "a".into(),
        event_type: Some("purchase".into()),
        time: RawValue::text("2026-01-01"),
        attributes: vec![("amount".into(), RawValue::Number(1.0))],
        ..RawEvent::default()
    };
    assert_eq!(Event::try_from_raw(&raw, &rules).unwrap(), taken.events[0]);
}

#[test]
fn a_row_that_two_files_share_is_taken_once() {
    let january = b"customer,date,amount\na,2026-01-01,1\na,2026-01-01,1\nb,2026-01-31,2\n";
    let overlap = b"customer,date,amount\nb,2026-01-31,2\na,2026-01-01,1\nb,2026-02-01,3\n";
    let more = b"customer,date,amount\na,2026-01-01,1\na,2026-01-01,1\na,2026-01-01,1\n";
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let texts: [&[u8]; 3] = [january, overlap, more];
    let taken = take_texts(Intake::new(&spec, &rules), FileFormat::Csv, &texts).unwrap();
    let report = taken.report;
    assert_eq!((report.rows, report.kept, report.duplicates), (9, 5, 4));
    assert_eq!((report.identical_rows, report.customers), (2, 2));
    assert_eq!(
        report.sources.iter().map(|s| (s.rows, s.kept)).collect::<Vec<_>>(),
        [(3, 3), (3, 1), (3, 1)]
    );
}

#[test]
fn an_own_id_is_taken_once_a_customer() {
    let text = b"event_id,customer,date,amount\n7,a,2026-01-01,1\n7,a,2026-01-02,2\n7,b,2026-01-01,1\n,b,2026-01-01,1\n";
    let taken = take_text(&ReadSpec::default(), &Rules::default(), FileFormat::Csv, text).unwrap();
    assert_eq!((taken.report.kept, taken.report.duplicates, taken.report.dropped), (3, 1, 0));
    assert_eq!(amounts(&taken.events), [1.0, 1.0, 1.0]);
    assert_eq!(taken.events[0].id, taken.events[1].id);
    assert_ne!(taken.events[1].id, taken.events[2].id);
}

#[test]
fn profiles_are_known_from_the_start() {
    let known_from = Zone::UTC.parse("2020-01-01").unwrap();
    let (spec, rules) = (ReadSpec::default(), Rules::default());
    let text = corpus("profiles.csv");
    let intake = Intake::of_profiles(&spec, &rules, known_from);
    let taken = take_texts(intake, FileFormat::Csv, &[&text]).unwrap();
    assert_eq!(taken.dropped, [(4, "second_profile"), (5, "not_a_flag"), (6, "not_a_choice")]);
    assert_eq!((taken.report.kept, taken.report.customers), (2, 2));
    assert_eq!(taken.report.sources[0].columns_ignored, ["birth_date"]);
    let EventKind::Profile(profile) = &taken.events[0].kind else { panic!() };
    assert_eq!(taken.events[0].time, known_from);
    assert_eq!(profile.email_known, Some(true));
    assert_eq!(
        profile.reachable,
        [(crate::domain::Channel::Email, true), (crate::domain::Channel::Push, true)]
    );
    assert_eq!(profile.consents, [(crate::domain::Channel::Sms, false)]);
    assert_eq!(profile.tags.as_ref().map(Vec::len), Some(2));
    let EventKind::Profile(profile) = &taken.events[1].kind else { panic!() };
    let silent = Profile { email_known: Some(false), ..Profile::default() };
    assert_eq!(**profile, silent);

    let dated = b"customer_id,valid_from,b2b\n1,2024-05-01,yes\n1,2025-05-01,no\n1,,no\n";
    let intake = Intake::of_profiles(&spec, &rules, known_from);
    let taken = take_texts(intake, FileFormat::Csv, &[dated]).unwrap();
    let days: Vec<String> = taken.events.iter().map(|event| event.day.to_string()).collect();
    assert_eq!(days, ["2024-05-01", "2025-05-01", "2020-01-01"]);
}

#[test]
fn a_report_is_told_as_text_and_as_json() {
    let text = "customer,date,amount,sku\na,2026-01-01,1,x\na,2026-01-02,-1,x\nb,2026-01-03,0,x\nb,2026-01-03,0,x\nc,?,1,x\n";
    let report = take_csv(text).unwrap().report;
    let told = report.to_text();
    for line in [
        "memory: CSV (delimiter: comma), 5 rows, 4 kept",
        "  customer <- customer (guessed)",
        "  ignored: sku",
        "rows read           5",
        "first and last      2026-01-01T00:00:00Z .. 2026-01-03T00:00:00Z",
        "by type             purchase 3, refund 1",
        "amounts of 0        2 (kept as purchases)",
        "negative purchases  1 (kept as refunds)",
        "identical rows      1 (kept: without event ids they may be real)",
        "rows dropped        1 (20.00 %)",
        "  bad_time: 1 (first at memory:6): time: \"?\" is not a time",
    ] {
        assert!(told.contains(line), "{line:?} in\n{told}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["issues"]["bad_time"]["places"][0], "memory:6");
    assert_eq!(json["first"], "2026-01-01T00:00:00Z");
    assert_eq!(json["rows"], 5);
}

/// One event of each kind with all it can say, and its id: stored events are recognised by it.
#[test]
fn ids_from_content_never_change() {
    let text = String::from_utf8(corpus("ids.jsonl")).unwrap();
    let taken = take_jsonl(&text).unwrap();
    assert_eq!(taken.dropped, []);
    let wanted = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["expect_id"].as_str().unwrap().to_owned()
    });
    let found = taken.events.iter().map(|event| format!("{:032x}", event.id.bits()));
    assert_eq!(found.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
}
