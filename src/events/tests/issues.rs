//! Every reason to drop a row: found, on the right row, counted once.

use std::collections::BTreeSet;

use super::*;
use crate::domain::Currency;
use crate::domain::Zone;

fn bounded() -> Rules {
    let newest_allowed = Zone::UTC.parse("2026-06-01").unwrap();
    Rules { newest_allowed: Some(newest_allowed), ..Rules::default() }
}

/// Rows of a corpus file with the code its text names; `ok` where an event is expected.
fn expected(text: &[u8], separator: &str) -> Vec<(u64, String)> {
    let text = String::from_utf8_lossy(text).into_owned();
    let mut found = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        let code = match separator {
            "," => line.split(',').next().filter(|code| !code.starts_with([' ', 'e'])),
            _ => ["bad_json", "ok"]
                .into_iter()
                .find(|code| line.contains(&format!("\"{code}\"")))
                .or_else(|| line.split('"').nth(3)),
        };
        if let Some(code) = code.filter(|code| !code.is_empty() && !line.is_empty()) {
            found.push((idx as u64 + 1, code.to_owned()));
        }
    }
    found
}

fn check_corpus(name: &str, format: FileFormat, separator: &str) -> BTreeSet<String> {
    let text = corpus(name);
    let taken = take_text(&ReadSpec::default(), &bounded(), format, &text).unwrap();
    let mut wanted = expected(&text, separator);
    if let Some(idx) = wanted.iter().position(|(_, code)| code == "unclosed_quote") {
        // What stands behind the open quote is no row of its own.
        wanted.truncate(idx + 1);
    }
    let n_ok = wanted.iter().filter(|(_, code)| code == "ok").count();
    let is_issue = |(row, code): (u64, String)| (code != "ok").then_some((row, code));
    let wanted: Vec<(u64, String)> = wanted.into_iter().filter_map(is_issue).collect();
    let found: Vec<(u64, String)> =
        taken.dropped.iter().map(|(row, code)| (*row, (*code).to_owned())).collect();
    assert_eq!(found, wanted);
    assert_eq!(taken.events.len(), n_ok);
    let report = taken.report;
    assert_eq!(report.dropped, report.issues.values().map(|count| count.rows).sum::<u64>());
    assert_eq!(
        report.rows,
        report.kept + report.dropped + report.duplicates + report.other_currency
    );
    wanted.into_iter().map(|(_, code)| code).collect()
}

#[test]
fn every_issue_is_found_on_its_row() {
    let mut codes = check_corpus("issues.jsonl", FileFormat::Jsonl, ":");
    codes.extend(check_corpus("issues.csv", FileFormat::Csv, ","));
    let others = [
        "missing_event_id",
        "other_currency",
        "row_too_long",
        "second_profile",
        "too_many_attributes",
        "too_many_values",
    ];
    codes.extend(others.map(str::to_owned));
    // A code added to the enum must be added to a corpus, or above and to a test below.
    assert_eq!(codes.len(), 29, "{codes:?}");
}

#[test]
fn a_row_swallowed_by_an_open_quote_is_counted_by_its_lines() {
    let taken =
        take_text(&ReadSpec::default(), &Rules::default(), FileFormat::Csv, &corpus("issues.csv"))
            .unwrap();
    assert_eq!(taken.report.issues["unclosed_quote"].rows, 3);
    assert_eq!(taken.report.rows, taken.report.kept + taken.report.dropped);
}

#[test]
fn a_quote_that_closes_at_the_end_of_the_file_is_closed() {
    for end in ["\"", "\"\n", "\"\r\n", " \"\"tea\"\"\"\n"] {
        let text = format!("customer,date,amount,note\na,2026-01-01,1,\"two\nlines{end}");
        assert_eq!(take_csv(&text).unwrap().report.kept, 1, "{end:?}");
    }
    for end in ["", "\n", "\"\"", "\"\"\n"] {
        let text = format!("customer,date,amount,note\na,2026-01-01,1,\"two\nlines{end}");
        let taken = take_csv(&text).unwrap();
        assert_eq!(taken.dropped, [(2, "unclosed_quote")], "{end:?}");
    }
}

#[test]
fn rows_are_numbered_as_an_editor_numbers_lines() {
    for newline in ["\n", "\r\n"] {
        let lines = [
            "customer,date,amount,note",
            "a,2026-01-01,x,",
            "a,2026-01-01,1,\"two",
            "lines\"",
            "a,2026-01-01,x,",
            "",
            "",
            "a,2026-01-01,x,",
        ];
        let taken = take_csv(&lines.join(newline)).unwrap();
        let rows: Vec<u64> = taken.dropped.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [2, 5, 8], "{newline:?}");
    }
}

#[test]
fn an_event_without_its_own_id_is_refused_where_one_is_required() {
    let rules = Rules { id_required: true, ..Rules::default() };
    let text = b"customer,date,amount\na,2026-01-01,1\n";
    let taken = take_text(&ReadSpec::default(), &rules, FileFormat::Csv, text).unwrap();
    assert_eq!(taken.dropped, [(2, "missing_event_id")]);
}

#[test]
fn sizes_are_bounded() {
    let raw = |n: usize, tags: usize| RawEvent {
        customer: "a".into(),
        event_type: Some("profile".into()),
        time: RawValue::text("2026-01-01"),
        attributes: std::iter::repeat_with(|| ("b2b".into(), RawValue::Missing))
            .take(n)
            .chain([("tags".into(), RawValue::List(vec![RawValue::text("t"); tags]))])
            .collect(),
        ..RawEvent::default()
    };
    let code = |raw| Event::try_from_raw(&raw, &Rules::default()).map_err(|issue| issue.code());
    assert!(code(raw(63, 64)).is_ok());
    assert_eq!(code(raw(64, 1)).unwrap_err(), "too_many_attributes");
    assert_eq!(code(raw(1, 65)).unwrap_err(), "too_many_values");
}

#[test]
fn a_line_without_end_costs_one_row_and_no_memory() {
    let long = "x".repeat(3 << 20);
    let good = r#"{"customer":"a","type":"activity","time":"2026-01-01","name":"visit"}"#;
    let taken = take_jsonl(&format!("{good}\n{{\"note\":\"{long}\"}}\n{good}\n")).unwrap();
    assert_eq!(taken.dropped, [(2, "row_too_long")]);
    assert_eq!(taken.report.kept, 2);
    let csv = format!("customer,date,amount\na,2026-01-01,1\na,\"{long}");
    let error = take_csv(&csv).unwrap_err();
    assert!(matches!(error, IntakeError::RowTooLong { row: 3, .. }), "{error}");
}

#[test]
fn an_issue_says_field_found_and_wanted() {
    let message = |attributes: Vec<(&'static str, RawValue<'static>)>, event_type: &'static str| {
        let raw = RawEvent {
            customer: "a".into(),
            event_type: Some(event_type.into()),
            time: RawValue::text("2026-01-01"),
            attributes: attributes.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            ..RawEvent::default()
        };
        let issue = Event::try_from_raw(&raw, &Rules::default()).unwrap_err();
        (issue.field().unwrap_or_default().to_owned(), issue.to_string())
    };
    let check = |(field, text): (String, String), wanted_field: &str, wanted: &str| {
        assert_eq!((field.as_str(), text.as_str()), (wanted_field, wanted));
    };
    check(
        message(vec![("amount", RawValue::text("12,50"))], "purchase"),
        "amount",
        "amount: \"12,50\" is not a number (use --decimal-comma)",
    );
    check(
        message(vec![("amuont", RawValue::Number(1.0))], "purchase"),
        "amuont",
        "attribute \"amuont\" is not one of a purchase (did you mean \"amount\"?)",
    );
    check(
        message(vec![("consent_emial", RawValue::Flag(true))], "profile"),
        "consent_emial",
        "attribute \"consent_emial\" is not one of a profile (did you mean \"consent_email\"?)",
    );
    check(
        message(vec![], "purchse"),
        "type",
        "\"purchse\" is not an event type (did you mean \"purchase\"?)",
    );
    check(message(vec![], "nps"), "score", "a nps needs the attribute \"score\"");
}

#[test]
fn a_future_event_is_told_with_both_times() {
    let taken = take_text(
        &ReadSpec::default(),
        &bounded(),
        FileFormat::Csv,
        b"customer,date,amount\na,2026-06-01,1\na,2026-06-02,1\n",
    )
    .unwrap();
    assert_eq!(taken.dropped, [(3, "future_time")]);
    let example = &taken.report.issues["future_time"].example;
    assert!(example.contains("2026-06-02T00:00:00Z"), "{example}");
    assert!(example.contains("2026-06-01T00:00:00Z"), "{example}");
}

#[test]
fn currencies_do_not_mix() {
    let text =
        b"customer,date,amount,currency\na,2026-01-01,1,EUR\nb,2026-01-01,1,usd\nc,2026-01-01,2,\n";
    let take = |rules: &Rules| take_text(&ReadSpec::default(), rules, FileFormat::Csv, text);
    let message = take(&Rules::default()).unwrap_err().to_string();
    for part in ["EUR: 1 rows", "USD: 1 rows", "none said: 1 rows", "--currency"] {
        assert!(message.contains(part), "{message}");
    }
    let euro = Currency::try_new("EUR").unwrap();
    let rules = Rules { default_currency: euro, only_currency: Some(euro), ..Rules::default() };
    let taken = take(&rules).unwrap();
    assert_eq!(amounts(&taken.events), [1.0, 2.0]);
    let report = taken.report;
    assert_eq!((report.other_currency, report.dropped, report.rows), (1, 0, 3));
    // A single event, as a server takes it in, is refused by the same rule.
    let raw = RawEvent {
        customer: "a".into(),
        event_type: Some("purchase".into()),
        time: RawValue::text("2026-01-01"),
        attributes: vec![
            ("amount".into(), RawValue::Number(1.0)),
            ("currency".into(), RawValue::text("USD")),
        ],
        ..RawEvent::default()
    };
    assert_eq!(Event::try_from_raw(&raw, &rules).unwrap_err().code(), "other_currency");
}

#[test]
fn a_threshold_names_the_most_frequent_reasons() {
    let mut text = String::from("customer,date,amount\n");
    for row in 0..198 {
        text.push_str(&format!("a,2026-01-01,{row}\n"));
    }
    let fine = take_csv(&format!("{text}a,?,1\na,2026-01-01,?\n")).unwrap().report;
    assert_eq!((fine.dropped, fine.rows), (2, 200));
    assert_eq!(Threshold::default().check(&fine), Ok(()));
    let few = Threshold { dropped_rows_max: Some(1), ..Threshold::default() };
    let message = few.check(&fine).unwrap_err().to_string();
    assert!(message.starts_with("2 of 200 rows were dropped, at most 1 rows"), "{message}");

    let bad = take_csv(&format!("{text}a,?,1\na,2026-01-01,?\na,2026-01-01,?\n")).unwrap().report;
    let message = Threshold::default().check(&bad).unwrap_err().to_string();
    assert!(message.contains("3 of 201 rows were dropped, at most 1 %"), "{message}");
    let (first, second) = (message.find("not_a_number 2 times"), message.find("bad_time 1 times"));
    assert!(first.is_some() && first < second, "{message}");
    let not_a_share = Threshold { dropped_share_max: f64::NAN, dropped_rows_max: None };
    assert!(not_a_share.check(&fine).is_err());

    let none = take_csv("customer,date,amount\na,2026-01-01,?\n").unwrap().report;
    let lenient = Threshold { dropped_share_max: 1.0, dropped_rows_max: None };
    assert!(matches!(lenient.check(&none), Err(ThresholdError::NothingKept { rows: 1, .. })));
}
