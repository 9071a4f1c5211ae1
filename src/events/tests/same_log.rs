//! One log as CSV, JSON lines and Parquet: the same events with the same ids.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::column::writer::ColumnWriter;
use ::parquet::column::writer::ColumnWriterImpl;
use ::parquet::data_type::ByteArray;
use ::parquet::data_type::DataType;
use ::parquet::data_type::FixedLenByteArray;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;
use crate::domain::Zone;

/// A column to write; `None` is null.
#[derive(Clone)]
pub(super) enum Cells {
    Flags(Vec<Option<bool>>),
    Int32(Vec<Option<i32>>),
    Int64(Vec<Option<i64>>),
    Float(Vec<Option<f32>>),
    Double(Vec<Option<f64>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Fixed(Vec<Option<Vec<u8>>>),
}

impl Cells {
    pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let bytes = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        Self::Bytes(texts.into_iter().map(bytes).collect())
    }
}

fn write_column<T: DataType>(writer: &mut ColumnWriterImpl<'_, T>, cells: Vec<Option<T::T>>) {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    writer.write_batch(&values, Some(&levels), None).unwrap();
}

/// Writes two row groups, all columns of the schema optional.
pub(super) fn write_parquet(path: &Path, schema: &str, columns: &[Cells], n_rows: usize) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in [0..n_rows / 3, n_rows / 3..n_rows] {
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut column_writer = group.next_column().unwrap().unwrap();
            match (column_writer.untyped(), column.clone()) {
                (ColumnWriter::BoolColumnWriter(w), Cells::Flags(c)) => {
                    write_column(w, c[rows.clone()].to_vec());
                }
                (ColumnWriter::Int32ColumnWriter(w), Cells::Int32(c)) => {
                    write_column(w, c[rows.clone()].to_vec());
                }
                (ColumnWriter::Int64ColumnWriter(w), Cells::Int64(c)) => {
                    write_column(w, c[rows.clone()].to_vec());
                }
                (ColumnWriter::FloatColumnWriter(w), Cells::Float(c)) => {
                    write_column(w, c[rows.clone()].to_vec());
                }
                (ColumnWriter::DoubleColumnWriter(w), Cells::Double(c)) => {
                    write_column(w, c[rows.clone()].to_vec());
                }
                (ColumnWriter::ByteArrayColumnWriter(w), Cells::Bytes(c)) => {
                    let cells = c[rows.clone()].iter().cloned().map(|b| b.map(ByteArray::from));
                    write_column(w, cells.collect());
                }
                (ColumnWriter::FixedLenByteArrayColumnWriter(w), Cells::Fixed(c)) => {
                    let cells = c[rows.clone()].iter().cloned();
                    write_column(w, cells.map(|b| b.map(FixedLenByteArray::from)).collect());
                }
                _ => panic!("the cells do not fit the schema"),
            }
            column_writer.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn take_parquet(
    rules: &Rules,
    schema: &str,
    columns: &[Cells],
    n_rows: usize,
) -> Result<Taken, IntakeError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    write_parquet(&path, schema, columns, n_rows);
    take_file(rules, &path)
}

fn take_file(rules: &Rules, path: &Path) -> Result<Taken, IntakeError> {
    let (mut events, mut dropped) = (Vec::new(), Vec::new());
    let spec = ReadSpec::default();
    let mut intake = Intake::new(&spec, rules);
    intake.read(path, &mut |outcome| match outcome {
        RowOutcome::Kept(event) => events.push(event),
        RowOutcome::Dropped { row, issue, .. } => dropped.push((row, issue.code())),
        RowOutcome::Cells { .. } => panic!("a log has no cells"),
    })?;
    Ok(Taken { events, dropped, report: intake.finish()? })
}

/// Hours around both changes of the clocks in Berlin, and an ordinary day.
const LOCAL_TIMES: [&str; 9] = [
    "2026-03-28T12:00:00",
    "2026-03-29T00:30:00",
    "2026-03-29T02:30:00",
    "2026-03-29T23:00:00",
    "2026-10-25T00:00:00",
    "2026-10-25T02:30:00",
    "2026-10-25T12:00:00",
    "2026-10-26T00:00:00",
    "2026-11-01T08:15:30",
];
const N_ROWS: usize = 9_000;

struct Log {
    rules: Rules,
    customers: Vec<String>,
    local_micros: Vec<i64>,
    cents: Vec<i64>,
    categories: Vec<&'static str>,
}

/// A log with repeated rows, returns, zeros, missing categories and bad amounts.
fn log() -> Log {
    let rules = Rules { zone: Zone::try_new("Europe/Berlin").unwrap(), ..Rules::default() };
    let row = |idx: usize| idx * 7_919 % 1_009;
    let micros = |idx: usize| Zone::UTC.parse(LOCAL_TIMES[row(idx) % 9]).unwrap().micros();
    Log {
        rules,
        customers: (0..N_ROWS).map(|idx| (row(idx) % 97).to_string()).collect(),
        local_micros: (0..N_ROWS).map(micros).collect(),
        cents: (0..N_ROWS).map(|idx| (row(idx) % 400) as i64 * 5 - 100).collect(),
        categories: (0..N_ROWS).map(|idx| ["", "tea", "grünes, \"Öl\""][row(idx) % 3]).collect(),
    }
}

impl Log {
    fn local_text(&self, idx: usize) -> String {
        crate::domain::Timestamp::from_micros(self.local_micros[idx])
            .to_string()
            .trim_end_matches('Z')
            .to_owned()
    }

    fn amount(&self, idx: usize) -> f64 {
        self.cents[idx] as f64 / 100.0
    }

    fn csv(&self) -> Taken {
        let mut text = String::from("category,customer_id,amount,timestamp\n");
        for idx in 0..N_ROWS {
            let category = self.categories[idx].replace('"', "\"\"");
            let (customer, time) = (&self.customers[idx], self.local_text(idx));
            writeln!(text, "\"{category}\",{customer},{},{time}", self.amount(idx)).unwrap();
        }
        take_text(&ReadSpec::default(), &self.rules, FileFormat::Csv, text.as_bytes()).unwrap()
    }

    fn jsonl(&self, is_flat: bool) -> Taken {
        let mut text = String::new();
        for idx in 0..N_ROWS {
            let (customer, time) = (&self.customers[idx], self.local_text(idx));
            let mut attributes = serde_json::json!({ "amount": self.amount(idx) });
            if !self.categories[idx].is_empty() {
                attributes["category"] = self.categories[idx].into();
            }
            let line = if is_flat {
                attributes["customer_id"] = customer.parse::<i64>().unwrap().into();
                attributes["date"] = time.into();
                attributes
            } else {
                serde_json::json!({"customer": customer, "type": "purchase", "time": time,
                    "attributes": attributes})
            };
            writeln!(text, "{line}").unwrap();
        }
        take_text(&ReadSpec::default(), &self.rules, FileFormat::Jsonl, text.as_bytes()).unwrap()
    }

    /// As Parquet, with the customer, time and amount in given physical forms.
    fn parquet(
        &self,
        customer: (&str, Cells),
        time: (&str, Cells),
        amount: (&str, Cells),
    ) -> Taken {
        let schema = format!(
            "message log {{ optional {} timestamp {}; optional int32 store; optional {} customer_id {}; \
             optional binary category (UTF8); optional {} amount {}; }}",
            time.0.split_once(' ').unwrap().0,
            time.0.split_once(' ').unwrap().1,
            customer.0.split_once(' ').unwrap().0,
            customer.0.split_once(' ').unwrap().1,
            amount.0.split_once(' ').unwrap().0,
            amount.0.split_once(' ').unwrap().1,
        );
        let store = Cells::Int32(vec![None; N_ROWS]);
        let categories = Cells::texts(self.categories.iter().copied());
        let columns = [time.1, store, customer.1, categories, amount.1];
        take_parquet(&self.rules, &schema, &columns, N_ROWS).unwrap()
    }

    fn customer_text(&self) -> (&'static str, Cells) {
        ("binary (UTF8)", Cells::texts(self.customers.iter().map(String::as_str)))
    }

    fn customer_number(&self) -> (&'static str, Cells) {
        let number = |text: &String| text.parse().ok();
        ("int64 ", Cells::Int64(self.customers.iter().map(number).collect()))
    }

    fn time_in(&self, form: &'static str, of_micros: impl Fn(i64) -> i64) -> (&'static str, Cells) {
        (
            form,
            Cells::Int64(self.local_micros.iter().map(|&micros| Some(of_micros(micros))).collect()),
        )
    }

    fn amount_double(&self) -> (&'static str, Cells) {
        ("double ", Cells::Double((0..N_ROWS).map(|idx| Some(self.amount(idx))).collect()))
    }

    fn amount_float(&self) -> (&'static str, Cells) {
        let float = |idx| format!("{}", self.amount(idx)).parse::<f32>().ok();
        ("float ", Cells::Float((0..N_ROWS).map(float).collect()))
    }

    fn amount_fixed(&self) -> (&'static str, Cells) {
        let bytes = |cents: &i64| Some(cents.to_be_bytes()[3..].to_vec());
        (
            "fixed_len_byte_array(5) (DECIMAL(9,2))",
            Cells::Fixed(self.cents.iter().map(bytes).collect()),
        )
    }

    fn amount_decimal(&self) -> (&'static str, Cells) {
        let cents = |cents: &i64| Some(*cents);
        ("int64 (DECIMAL(18,2))", Cells::Int64(self.cents.iter().map(cents).collect()))
    }
}

#[test]
fn csv_json_lines_and_parquet_give_the_same_events() {
    let log = log();
    let wanted = log.csv();
    assert_eq!(wanted.report.kept, N_ROWS as u64);
    assert!(wanted.report.identical_rows > 1_000 && wanted.report.negative_purchases > 100);
    let zone = log.rules.zone.clone();
    let instant = |micros: i64| {
        let text = crate::domain::Timestamp::from_micros(micros).to_string();
        zone.parse(text.trim_end_matches('Z')).unwrap().micros()
    };
    let text_time =
        Cells::Bytes((0..N_ROWS).map(|idx| Some(log.local_text(idx).into_bytes())).collect());
    let local = "int64 (TIMESTAMP(MICROS,false))";
    for (what, taken) in [
        ("json lines, our form", log.jsonl(false)),
        ("json lines, flat", log.jsonl(true)),
        (
            "local micros, double",
            log.parquet(log.customer_text(), log.time_in(local, |m| m), log.amount_double()),
        ),
        (
            "local nanos, decimal of int64",
            log.parquet(
                log.customer_number(),
                log.time_in("int64 (TIMESTAMP(NANOS,false))", |m| m * 1_000 + 999),
                log.amount_decimal(),
            ),
        ),
        (
            "UTC millis, decimal of bytes",
            log.parquet(
                log.customer_text(),
                log.time_in("int64 (TIMESTAMP(MILLIS,true))", |m| instant(m) / 1_000),
                log.amount_fixed(),
            ),
        ),
        (
            "text, float",
            log.parquet(log.customer_number(), ("binary (UTF8)", text_time), log.amount_float()),
        ),
    ] {
        assert_eq!(taken.dropped, [], "{what}");
        // Not assert_eq: the message would hold nine thousand events twice.
        let differ = taken.events.iter().zip(&wanted.events).find(|(a, b)| a != b);
        assert!(differ.is_none(), "{what}: {differ:?}");
        assert_eq!(taken.events.len(), wanted.events.len(), "{what}");
        assert_eq!(taken.report.identical_rows, wanted.report.identical_rows, "{what}");
    }
}

#[test]
fn every_type_comes_out_of_a_wide_parquet_table() {
    let schema = "message log { optional int32 time (DATE); optional binary customer (UTF8);
        optional binary type (UTF8); optional double amount; optional int32 score (INTEGER(8,false));
        optional binary name (UTF8); optional boolean b2b; optional int32 csm_changed (DATE);
        optional binary tags (UTF8); }";
    let day = crate::domain::Day::parse("2026-01-31").unwrap().number();
    let text = |texts: [&str; 4]| Cells::texts(texts);
    let columns = [
        Cells::Int32(vec![Some(day); 4]),
        text(["a", "b", "c", ""]),
        text(["purchase", "nps", "profile", "nps"]),
        Cells::Double(vec![Some(2.5), None, None, None]),
        Cells::Int32(vec![None, Some(7), None, Some(7)]),
        text(["", "", "", ""]),
        Cells::Flags(vec![None, None, Some(true), None]),
        Cells::Int32(vec![None, None, Some(day), None]),
        text(["", "", "vip|early", ""]),
    ];
    let taken = take_parquet(&Rules::default(), schema, &columns, 4).unwrap();
    assert_eq!(taken.dropped, [(4, "missing_customer")]);
    let csv = "time,customer,type,amount,score,b2b,csm_changed,tags\n\
        2026-01-31,a,purchase,2.5,,,,\n2026-01-31,b,nps,,7,,,\n\
        2026-01-31,c,profile,,,yes,2026-01-31,vip|early\n2026-01-31,,nps,,7,,,\n";
    assert_eq!(taken.events, take_csv(csv).unwrap().events);
}

#[test]
fn a_column_that_no_event_has_is_refused_where_it_is_used() {
    let schema = "message log { optional binary customer (UTF8); optional int32 date (DATE);
        optional int32 amount (TIME(MILLIS,true)); }";
    let columns =
        [Cells::texts(["a"]), Cells::Int32(vec![Some(20_000)]), Cells::Int32(vec![Some(5)])];
    let error = take_parquet(&Rules::default(), schema, &columns, 1).unwrap_err().to_string();
    assert!(
        error.contains("column \"amount\" is nested or of a type that no event has"),
        "{error}"
    );
    let extreme = "message log { optional binary customer (UTF8); optional int32 date (DATE);
        optional double amount; }";
    let columns = [
        Cells::Bytes(vec![Some(b"a".to_vec()), Some(b"\xff".to_vec()), Some(b"a".to_vec())]),
        Cells::Int32(vec![Some(i32::MAX), Some(1), Some(i32::MIN)]),
        Cells::Double(vec![Some(f64::NAN), Some(1.0), Some(1.0)]),
    ];
    let taken = take_parquet(&Rules::default(), extreme, &columns, 3).unwrap();
    assert_eq!(taken.dropped, [(1, "bad_time"), (2, "invalid_utf8"), (3, "bad_time")]);
}

#[test]
fn a_damaged_parquet_file_is_an_error_or_drops_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let schema = "message log { optional binary customer (UTF8); optional int64 date (TIMESTAMP(MICROS,false));
        optional double amount; }";
    let columns = [
        Cells::texts(["a", "b", "c", "d", "e", "f"]),
        Cells::Int64((0..6).map(|idx| Some(1_700_000_000_000_000 + idx)).collect()),
        Cells::Double((0..6).map(|idx| Some(f64::from(idx))).collect()),
    ];
    write_parquet(&path, schema, &columns, 6);
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(take_file(&Rules::default(), &path).unwrap().report.kept, 6);
    for end in (4..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(take_file(&Rules::default(), &path).is_err(), "cut at {end}");
    }
    for idx in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[idx] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        // Not all damage can be seen; what matters is that none of it panics.
        let _ = take_file(&Rules::default(), &path);
    }
}
