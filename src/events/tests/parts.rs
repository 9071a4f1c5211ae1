//! A log by parts is the log that one intake gives, whatever fits into memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::domain::{AsOf, CustomerId, Day, Timestamp, Zone};

/// What the log must be: one intake, all in memory, as plainly as it can be said.
fn plain(spec: &LogSpec) -> Result<Log, IntakeError> {
    let mut log = Log::default();
    let mut by_customer: BTreeMap<CustomerId, Vec<Event>> = BTreeMap::new();
    let mut first: Option<Timestamp> = None;
    let mut intake = Intake::new(&spec.read, &spec.rules);
    let before = spec.before.instant();
    let mut kept = Vec::new();
    for path in &spec.events {
        intake.read(path, &mut |outcome| {
            if let RowOutcome::Kept(event) = outcome {
                kept.push(event);
            }
        })?;
    }
    log.report = intake.finish()?;
    for event in kept.iter().filter(|event| event.time < before) {
        first = Some(first.map_or(event.time, |first| first.min(event.time)));
        log.days = Some(
            log.days.map_or((event.day, event.day), |(a, b)| (a.min(event.day), b.max(event.day))),
        );
    }
    if let (Some(path), Some(known_from)) = (&spec.profiles, first) {
        let report =
            read_profiles(path, &ReadSpec::default(), &spec.rules, known_from, &mut |event| {
                kept.push(event);
            })?;
        log.profiles_report = Some(report);
    }
    for event in kept {
        if event.time >= before {
            log.n_after += 1;
            continue;
        }
        log.n_events += 1;
        by_customer.entry(event.customer.clone()).or_default().push(event);
    }
    log.customers = by_customer
        .into_iter()
        .map(|(customer, mut events)| {
            events.sort_by_key(|event| (event.time, event.id));
            CustomerLog { customer, events }
        })
        .collect();
    Ok(log)
}

#[track_caller]
fn same(found: &Log, expected: &Log) {
    assert_eq!(found.customers, expected.customers);
    assert_eq!((found.n_events, found.n_after), (expected.n_events, expected.n_after));
    assert_eq!(found.days, expected.days);
    assert_eq!(found.report, expected.report);
    assert_eq!(found.profiles_report, expected.profiles_report);
}

struct Files {
    dir: tempfile::TempDir,
    events: Vec<PathBuf>,
    profiles: Option<PathBuf>,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), events: Vec::new(), profiles: None }
    }

    fn add(&mut self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        self.events.push(path);
    }

    fn check(&self) {
        let before = AsOf::end_of(Day::parse("2026-03-31").unwrap(), &Zone::UTC);
        let (read, rules) = (ReadSpec::default(), Rules::default());
        let (events, profiles) = (self.events.clone(), self.profiles.clone());
        let spec = LogSpec { events, profiles, read, rules, before };
        let expected = plain(&spec).unwrap();
        same(&Log::read(&spec, &mut |_| {}).unwrap(), &expected);
        for memory_bytes in [0, 1 << 12, 1 << 16] {
            let dir = tempfile::tempdir().unwrap();
            let shard = None;
            let to = Some(dir.path().to_owned());
            // Files are cut into parts of a few rows where there is a bound at all.
            let unit_bytes_min = (memory_bytes > 0).then_some(5_000);
            let how = PartsSpec { memory_bytes, dir: to, shard, rejects: true, unit_bytes_min };
            let parts = Parts::read(&spec, &how, &mut |_| {}).unwrap();
            assert!(parts.is_spilled() || memory_bytes > 0);
            let judged = parts.reports(parts.judge().unwrap()).unwrap();
            assert_eq!(judged, (expected.report.clone(), expected.profiles_report.clone()));
            if let Some(kept) = parts.to_v1() {
                let again = Parts::from_v1(&kept, dir.path());
                let counts = again.judge().unwrap();
                assert_eq!(
                    (counts.n_events, counts.n_after),
                    (expected.n_events, expected.n_after)
                );
            }
            same(&Log::of_parts(parts).unwrap(), &expected);
        }
    }
}

/// A log out of order, with rows twice, ids twice, bad rows and rows after the instant.
fn rows(seed: u64, n: u32, with_ids: bool) -> String {
    let mut text = "customer_id,time,amount,category,note\n".to_owned();
    if with_ids {
        text = "event_id,customer_id,time,amount\n".to_owned();
    }
    let mut state = seed;
    for _ in 0..n {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 33) % below
        };
        let (who, day, amount) = (next(40), 1 + next(28), next(6));
        let month = 1 + next(4);
        let amount = if amount == 5 { "-1.5".to_owned() } else { format!("{amount}.25") };
        let line = if with_ids {
            format!("e{},c{who},2026-{month:02}-{day:02},{amount}", next(400))
        } else {
            format!("c{who},2026-{month:02}-{day:02},{amount},k{},", next(2))
        };
        let line = if next(50) == 0 { line.replace("2026", "never") } else { line };
        writeln!(text, "{line}").unwrap();
    }
    text
}

#[test]
fn parts_give_the_log_of_one_intake() {
    for with_ids in [false, true] {
        let mut files = Files::new();
        files.add("a.csv", &rows(1, 900, with_ids));
        files.check();
        // The same rows again, then others: what is new of them counts.
        files.add("b.csv", &rows(1, 900, with_ids));
        files.add("c.csv", &rows(2, 700, with_ids));
        files.check();
    }
}

#[test]
fn files_of_text_are_read_in_parts_as_they_are_in_one_go() {
    let mut lines = String::new();
    for at in 0..2_500 {
        // A key that comes after the lines that stand for a header, and lines that are none.
        let more = if at > 2_000 { r#","loyalty":3"# } else { "" };
        let kind = if at % 97 == 5 { "visit" } else { "purchase" };
        writeln!(
            lines,
            r#"{{"customer":"c{}","type":"{kind}","time":"2026-01-{:02}","amount":{}{more}}}"#,
            at % 31,
            1 + at % 28,
            at % 11
        )
        .unwrap();
        lines.push_str(if at % 50 == 7 { "\n{no object\n" } else { "" });
    }
    let mut files = Files::new();
    files.add("a.jsonl", &lines);
    files.check();
    let mut files = Files::new();
    files.add("a.csv", &rows(3, 900, false).replace('\n', "\r\n"));
    files.add("b.csv", &format!("{}\n\n\n", rows(4, 900, false).replace("k1", "\"a\n,b\"")));
    files.add("c.csv", &rows(5, 900, true).replace("c7,", "c7,extra,"));
    files.check();
}

#[test]
fn parts_take_facts_and_drop_second_ones() {
    let mut files = Files::new();
    files.add("a.csv", &rows(3, 500, false));
    let path = files.dir.path().join("facts.csv");
    let facts = "customer_id,loyalty_points,valid_from\nc1,5,\nc2,6,2026-02-01\nc1,7,\n\
                 c2,8,2026-03-01\nnew,1,\nc3,x,\nc1,9,\nlater,3,2026-05-01\nc2,6,2026-02-01\n";
    std::fs::write(&path, facts).unwrap();
    files.profiles = Some(path);
    files.check();
}

#[test]
fn shards_are_parts_of_the_whole() {
    let mut files = Files::new();
    files.add("a.csv", &rows(4, 800, false));
    let before = AsOf::end_of(Day::parse("2026-03-31").unwrap(), &Zone::UTC);
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let spec = LogSpec { events: files.events.clone(), profiles: None, read, rules, before };
    let whole = Log::read(&spec, &mut |_| {}).unwrap();
    let mut customers = Vec::new();
    let mut n_after = 0;
    for shard in 0..3 {
        let shard = Some((shard, 3));
        let how = PartsSpec { memory_bytes: 1 << 20, shard, ..PartsSpec::default() };
        let parts = Parts::read(&spec, &how, &mut |_| {}).unwrap();
        assert_eq!(parts.rows().0.rows, whole.report.rows, "all rows are looked at");
        assert_eq!(parts.days(), whole.days);
        let log = Log::of_parts(parts).unwrap();
        n_after += log.n_after;
        customers.extend(log.customers);
    }
    customers.sort_by(|a, b| a.customer.cmp(&b.customer));
    assert_eq!((customers, n_after), (whole.customers, whole.n_after));
}

#[test]
fn rejected_rows_are_told_with_their_places() {
    let mut files = Files::new();
    files.add("a.csv", "customer_id,time,amount\nc1,2026-01-01,1\nc1,soon,2\n,2026-01-02,1\n");
    let before = AsOf::end_of(Day::parse("2026-03-31").unwrap(), &Zone::UTC);
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let spec = LogSpec { events: files.events.clone(), profiles: None, read, rules, before };
    let how = PartsSpec { rejects: true, ..PartsSpec::default() };
    let parts = Parts::read(&spec, &how, &mut |_| {}).unwrap();
    let text = String::from_utf8(parts.rejects.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("a.csv\",3,bad_time,"), "{text}");
    assert!(lines[1].contains("a.csv\",4,missing_customer,"), "{text}");
}

/// Rows of every kind, most of them plain and many nearly so: customer, time, type, id, amount,
/// items, category, name, currency.
const MIXED: &str = "\
c1|2026-01-05|purchase||12.5|2|books||EUR
c2|2026-01-05T10:00:00Z| Purchase |e1|0|1|Bäckerei||eur
c2|2026-01-05T10:00:00Z|purchase|e1|0|1|Bäckerei||eur
 c3 |2026-02-01|purchase||-3||||EUR
c1|2026-02-02|activity||||| visit |
c1|2026-02-02|activity|||||visit|
c1|2026-02-02|activity|||||visit|usd
c1|2026-02-02|activity|||||visit|usd
c1|2026-02-03|activity||5|||visit|
c1|2026-02-03|activity|||||
c4|2026-02-04|purchase|||||
c4|2026-02-04|purchase||5|1.5|||EUR
c4|2026-02-04|purchase||5|0|||EUR
c4|2026-02-04|purchase||5|1000001|||EUR
c4|2026-02-04|purchase||1e11|1|||EUR
c4|2026-02-04|purchase||nan|1|||EUR
c4|2026-02-04|purchase||7|1|||EURO
c5|never|purchase||1||||EUR
c5||purchase||1||||EUR
|2026-02-05|purchase||1||||EUR
c5|2026-02-05|||1||||EUR
c5|2026-02-05|purchaze||1||||EUR
c5|2026-02-05|cart||||||
c5|2026-02-05|purchase||1||books|visit|EUR
c5|2026-02-05|purchase|  |1||   ||EUR
c6|2026-02-05|refund||1||||EUR
c7|2026-04-05|purchase||1||||EUR
c7|2026-03-05|purchase||1||||EUR
c7|2026-03-05|purchase||1||||EUR
";

#[test]
fn plain_rows_give_what_the_long_way_gives() {
    let header = "customer_id,time,type,event_id,amount,items,category,name,currency\n";
    let mut files = Files::new();
    files.add("a.csv", &format!("{header}{}", MIXED.repeat(3).replace('|', ",")));
    files.add(
        "b.csv",
        &format!("{}{}", header.replace(",name", ""), "c1,2026-01-01,purchase,,1,1,x,EUR\r\n"),
    );
    files.check();
}

#[cfg(feature = "parquet")]
#[test]
fn plain_rows_of_parquet_give_what_the_long_way_gives() {
    use super::same_log::{Cells, write_parquet};

    let rows: Vec<Vec<&str>> = MIXED.lines().map(|line| line.split('|').collect()).collect();
    let texts =
        |at: usize| Cells::texts(rows.iter().map(|row| row.get(at).copied().unwrap_or_default()));
    let number = |text: &str| text.parse::<f64>().ok();
    let micros = |row: &Vec<&str>| Zone::UTC.parse(row[1]).ok().map(Timestamp::micros);
    let schema = "message log { optional binary customer_id (STRING);
        optional int64 time (TIMESTAMP(MICROS, true)); optional binary type (STRING);
        optional binary event_id (STRING); optional double amount; optional int64 items;
        optional binary category (STRING); optional binary name (STRING);
        optional binary currency (STRING); }";
    let columns = [
        texts(0),
        Cells::Int64(rows.iter().map(micros).collect()),
        texts(2),
        texts(3),
        Cells::Double(rows.iter().map(|row| number(row[4])).collect()),
        Cells::Int64(rows.iter().map(|row| row[5].parse().ok()).collect()),
        texts(6),
        texts(7),
        texts(8),
    ];
    let mut files = Files::new();
    let path = files.dir.path().join("a.parquet");
    write_parquet(&path, schema, &columns, rows.len());
    files.events.push(path);
    files.check();
    // Ids as numbers, of which one is beyond what a float holds.
    let mut files = Files::new();
    let schema =
        "message log { optional int64 customer_id; optional int64 time (TIMESTAMP(MICROS, true));
        optional double amount; }";
    let n = rows.len();
    let columns = [
        Cells::Int64((0..n).map(|at| Some([7, -7, 0, (1 << 60) + 1][at % 4])).collect()),
        Cells::Int64(rows.iter().map(micros).collect()),
        Cells::Double(rows.iter().map(|row| number(row[4])).collect()),
    ];
    let path = files.dir.path().join("b.parquet");
    write_parquet(&path, schema, &columns, n);
    files.events.push(path);
    files.check();
}
