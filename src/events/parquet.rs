//! Rows of Parquet files, read column by column without arrow, one batch of a row group at a time.
//!
//! In: a file with flat columns. Out: raw events with their row, counted from 1. Only the columns
//! that are used are decoded. It deliberately checks no value.

use std::borrow::Cow;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use ::parquet::basic::ConvertedType;
use ::parquet::basic::LogicalType;
use ::parquet::basic::TimeUnit;
use ::parquet::basic::Type as Physical;
use ::parquet::column::reader::ColumnReader;
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::ByteArray;
use ::parquet::data_type::DataType;
use ::parquet::data_type::FixedLenByteArray;
use ::parquet::data_type::Int96;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::FileReader;
use ::parquet::file::reader::RowGroupReader;
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::schema::types::ColumnDescriptor;

use super::error::IntakeError;
use super::issue::EventIssue;
use super::mapping::Layout;
use super::raw::RawValue;
use super::rows::Rows;
use super::rules::DAYS_ACCEPTED;
use super::source::GroupRange;
use crate::domain::Day;
use crate::domain::Timestamp;
use crate::domain::Zone;

/// Rows decoded at a time: enough to amortise the calls, a few MB for the widest tables.
const BATCH_ROWS: usize = 4_096;
const DAY_MICROS: i64 = 86_400_000_000;
/// Whole numbers up to here are exact as floats.
const EXACT_MAX: u64 = 1 << 53;

/// The parts that a file can be read in at once: row groups with at least `rows_min` rows.
pub(super) fn split(path: &str, file: File, rows_min: u64) -> Result<Vec<GroupRange>, IntakeError> {
    let reader = guarded(|| SerializedFileReader::new(file)).map_err(|e| failed(path, &e))?;
    let (mut ranges, mut rows_before) = (Vec::new(), 0);
    let (mut first, mut n_rows) = (0, 0_u64);
    for (idx, group) in reader.metadata().row_groups().iter().enumerate() {
        n_rows += u64::try_from(group.num_rows()).unwrap_or(0);
        if n_rows >= rows_min || idx + 1 == reader.num_row_groups() {
            ranges.push(GroupRange { groups: first..idx + 1, rows_before });
            rows_before += n_rows;
            (first, n_rows) = (idx + 1, 0);
        }
    }
    Ok(ranges)
}

fn failed(path: &str, error: &ParquetError) -> IntakeError {
    let detail = format!("this is no Parquet file that can be read: {error}");
    IntakeError::Parquet { path: path.to_owned(), detail }
}

/// Reads all rows, or those of a part.
pub(super) fn read_parquet(
    rows: &mut Rows<'_>,
    file: File,
    part: Option<&GroupRange>,
) -> Result<(), IntakeError> {
    rows.set_format("Parquet");
    let path = rows.path();
    let reader =
        guarded(|| SerializedFileReader::new(file)).map_err(|error| failed(&path, &error))?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let header: Vec<String> =
        schema.columns().iter().map(|column| column.path().string()).collect();
    let layout = rows.layout(&header)?;
    let mut columns = Vec::with_capacity(header.len());
    let used = layout.columns();
    for (idx, column) in schema.columns().iter().enumerate() {
        columns.push(if used.contains(&idx) { Some(used_column(rows, column)?) } else { None });
    }
    let (groups, mut row) = match part {
        Some(part) => (part.groups.clone(), part.rows_before),
        None => (0..reader.num_row_groups(), 0),
    };
    for idx in groups {
        let group = guarded(|| reader.get_row_group(idx)).map_err(|error| failed(&path, &error))?;
        row = read_group(rows, group.as_ref(), &mut columns, (&layout, row))
            .map_err(|error| failed(&path, &error))?;
    }
    if row == 0 {
        return Err(IntakeError::NoRows { path });
    }
    Ok(())
}

/// Runs a step of the decoder, which panics on some damaged files, as an error of that file.
/// What it was working on is dropped with the error, so no half-made state is seen.
fn guarded<T>(step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|_| Err(ParquetError::General("the file is damaged".to_owned())))
}

fn used_column(rows: &Rows<'_>, column: &ColumnDescriptor) -> Result<Column, IntakeError> {
    let meaning = meaning_of(column).ok_or_else(|| IntakeError::Parquet {
        path: rows.path(),
        detail: format!(
            "column {:?} is nested or of a type that no event has ({:?}, {:?}): \
             write it as text, number, boolean, date or timestamp",
            column.path().string(),
            column.physical_type(),
            column.logical_type_ref(),
        ),
    })?;
    Ok(Column {
        name: column.path().string(),
        meaning,
        is_optional: column.max_def_level() > 0,
        values: Values::Flags(Vec::new()),
        places: Vec::new(),
        levels: Vec::new(),
    })
}

/// Reads a row group; gives the number of its last row.
fn read_group(
    rows: &mut Rows<'_>,
    group: &dyn RowGroupReader,
    columns: &mut [Option<Column>],
    (layout, mut row): (&Layout, u64),
) -> Result<u64, ParquetError> {
    let plain = rows.plain_layout(layout);
    let mut readers = Vec::with_capacity(columns.len());
    for (idx, column) in columns.iter().enumerate() {
        let open = || guarded(|| group.get_column_reader(idx));
        readers.push(if column.is_some() { Some(open()?) } else { None });
    }
    let n_rows = usize::try_from(group.metadata().num_rows())
        .map_err(|_| ParquetError::General("a negative number of rows".to_owned()))?;
    let mut n_left = n_rows;
    while n_left > 0 {
        let n_batch = n_left.min(BATCH_ROWS);
        for (column, reader) in columns.iter_mut().zip(&mut readers) {
            if let (Some(column), Some(reader)) = (column, reader) {
                guarded(|| column.read_batch(reader, n_batch))?;
            }
        }
        let zone = &rows.rules().zone;
        for idx in 0..n_batch {
            row += 1;
            let cell = |column: usize| match columns.get(column) {
                Some(Some(column)) => column.cell(idx, zone),
                _ => Ok(RawValue::Missing),
            };
            let is_taken = plain.as_ref().is_some_and(|plain| rows.take_plain(row, plain, cell));
            if !is_taken {
                rows.take(row, 1, layout.raw_event(cell));
            }
        }
        n_left -= n_batch;
    }
    Ok(row)
}

/// What a column's physical values say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Text,
    Flag,
    Integer,
    Unsigned,
    Float,
    Decimal {
        scale: i32,
    },
    Date,
    /// In parts of a second; not adjusted to UTC means a time of the business's zone.
    Time {
        parts: i64,
        is_utc: bool,
    },
    /// The old form of Spark and Impala.
    Int96,
}

/// `None` for nested columns and types that no event has.
fn meaning_of(column: &ColumnDescriptor) -> Option<Meaning> {
    if column.max_rep_level() > 0 || column.max_def_level() > 1 || column.path().parts().len() > 1 {
        return None;
    }
    let time = |parts, is_utc| Some(Meaning::Time { parts, is_utc });
    let from_logical = match column.logical_type_ref() {
        Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => Some(Meaning::Text),
        Some(LogicalType::Decimal(decimal)) => Some(Meaning::Decimal { scale: decimal.scale }),
        Some(LogicalType::Date) => Some(Meaning::Date),
        Some(LogicalType::Timestamp(stamp)) => match stamp.unit {
            TimeUnit::MILLIS => time(1_000, stamp.is_adjusted_to_u_t_c),
            TimeUnit::MICROS => time(1_000_000, stamp.is_adjusted_to_u_t_c),
            TimeUnit::NANOS => time(1_000_000_000, stamp.is_adjusted_to_u_t_c),
        },
        Some(LogicalType::Integer(int)) if int.is_signed => Some(Meaning::Integer),
        Some(LogicalType::Integer(_)) => Some(Meaning::Unsigned),
        Some(LogicalType::Unknown) | None => return meaning_of_converted(column),
        Some(_) => return None,
    };
    from_logical.filter(|meaning| fits(*meaning, column.physical_type()))
}

fn meaning_of_converted(column: &ColumnDescriptor) -> Option<Meaning> {
    let physical = column.physical_type();
    let meaning = match column.converted_type() {
        ConvertedType::NONE => match physical {
            Physical::BOOLEAN => Meaning::Flag,
            Physical::INT32 | Physical::INT64 => Meaning::Integer,
            Physical::INT96 => Meaning::Int96,
            Physical::FLOAT | Physical::DOUBLE => Meaning::Float,
            Physical::BYTE_ARRAY => Meaning::Text,
            Physical::FIXED_LEN_BYTE_ARRAY => return None,
        },
        ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Meaning::Text,
        ConvertedType::DECIMAL => Meaning::Decimal { scale: column.type_scale() },
        ConvertedType::DATE => Meaning::Date,
        ConvertedType::TIMESTAMP_MILLIS => Meaning::Time { parts: 1_000, is_utc: true },
        ConvertedType::TIMESTAMP_MICROS => Meaning::Time { parts: 1_000_000, is_utc: true },
        ConvertedType::INT_8
        | ConvertedType::INT_16
        | ConvertedType::INT_32
        | ConvertedType::INT_64 => Meaning::Integer,
        ConvertedType::UINT_8
        | ConvertedType::UINT_16
        | ConvertedType::UINT_32
        | ConvertedType::UINT_64 => Meaning::Unsigned,
        _ => return None,
    };
    fits(meaning, physical).then_some(meaning)
}

/// Whether a meaning can be read from physical values; a damaged schema may say anything.
fn fits(meaning: Meaning, physical: Physical) -> bool {
    let is_int = matches!(physical, Physical::INT32 | Physical::INT64);
    match meaning {
        Meaning::Text => physical == Physical::BYTE_ARRAY,
        Meaning::Flag => physical == Physical::BOOLEAN,
        Meaning::Integer | Meaning::Unsigned => is_int,
        Meaning::Float => matches!(physical, Physical::FLOAT | Physical::DOUBLE),
        Meaning::Decimal { scale } => {
            let is_bytes =
                matches!(physical, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY);
            (0..=38).contains(&scale) && (is_int || is_bytes)
        }
        Meaning::Date => physical == Physical::INT32,
        Meaning::Time { .. } => physical == Physical::INT64,
        Meaning::Int96 => physical == Physical::INT96,
    }
}

/// A column's values that are not null, of one batch.
#[derive(Debug)]
enum Values {
    Flags(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int96(Vec<Int96>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

#[derive(Debug)]
struct Column {
    name: String,
    meaning: Meaning,
    is_optional: bool,
    values: Values,
    /// Where each row's value is, `None` for null.
    places: Vec<Option<usize>>,
    levels: Vec<i16>,
}

impl Column {
    fn read_batch(&mut self, reader: &mut ColumnReader, n_rows: usize) -> Result<(), ParquetError> {
        self.levels.clear();
        let levels = &mut self.levels;
        self.values = match reader {
            ColumnReader::BoolColumnReader(r) => Values::Flags(fill(r, levels, n_rows)?),
            ColumnReader::Int32ColumnReader(r) => Values::Int32(fill(r, levels, n_rows)?),
            ColumnReader::Int64ColumnReader(r) => Values::Int64(fill(r, levels, n_rows)?),
            ColumnReader::Int96ColumnReader(r) => Values::Int96(fill(r, levels, n_rows)?),
            ColumnReader::FloatColumnReader(r) => Values::Float(fill(r, levels, n_rows)?),
            ColumnReader::DoubleColumnReader(r) => Values::Double(fill(r, levels, n_rows)?),
            ColumnReader::ByteArrayColumnReader(r) => Values::Bytes(fill(r, levels, n_rows)?),
            ColumnReader::FixedLenByteArrayColumnReader(r) => {
                Values::Fixed(fill(r, levels, n_rows)?)
            }
        };
        self.places.clear();
        let mut n_values = 0;
        for row in 0..n_rows {
            let is_null = self.is_optional && self.levels.get(row) != Some(&1);
            self.places.push((!is_null).then_some(n_values));
            n_values += usize::from(!is_null);
        }
        Ok(())
    }

    fn cell(&self, row: usize, zone: &Zone) -> Result<RawValue<'_>, EventIssue> {
        let Some(Some(idx)) = self.places.get(row).copied() else { return Ok(RawValue::Missing) };
        let value = match &self.values {
            Values::Flags(values) => values.get(idx).map(|flag| RawValue::Flag(*flag)),
            Values::Int32(values) => values.get(idx).map(|int| self.integer(*int, zone)),
            Values::Int64(values) => values.get(idx).map(|int| self.long(*int, zone)),
            Values::Int96(values) => {
                values.get(idx).map(|int| RawValue::Time(Timestamp::from_micros(int.to_micros())))
            }
            Values::Float(values) => values.get(idx).map(|float| RawValue::Number(widened(*float))),
            Values::Double(values) => values.get(idx).map(|float| RawValue::Number(*float)),
            Values::Bytes(values) => values.get(idx).map(|b| self.bytes(b.data())).transpose()?,
            Values::Fixed(values) => values.get(idx).map(|b| self.bytes(b.data())).transpose()?,
        };
        Ok(value.unwrap_or_default())
    }

    fn integer(&self, int: i32, zone: &Zone) -> RawValue<'_> {
        match self.meaning {
            Meaning::Date => RawValue::Day(Day::from_number(int)),
            Meaning::Unsigned => RawValue::Number(f64::from(int.cast_unsigned())),
            _ => self.long(i64::from(int), zone),
        }
    }

    fn long(&self, int: i64, zone: &Zone) -> RawValue<'_> {
        match self.meaning {
            Meaning::Time { parts, is_utc } => {
                // Finer than a micro is cut off, as in texts.
                let micros = match parts {
                    1_000 => int.saturating_mul(1_000),
                    1_000_000 => int,
                    _ => int.div_euclid(1_000),
                };
                if is_utc {
                    RawValue::Time(Timestamp::from_micros(micros))
                } else {
                    RawValue::Time(local_instant(zone, micros))
                }
            }
            Meaning::Decimal { scale } => RawValue::Number(int as f64 / 10_f64.powi(scale)),
            Meaning::Unsigned if int < 0 => {
                RawValue::Text(Cow::Owned(int.cast_unsigned().to_string()))
            }
            // Beyond 2^53 only ids are meant, and those by their digits.
            _ if int.unsigned_abs() > EXACT_MAX => RawValue::Text(Cow::Owned(int.to_string())),
            _ => RawValue::Number(int as f64),
        }
    }

    fn bytes<'a>(&self, bytes: &'a [u8]) -> Result<RawValue<'a>, EventIssue> {
        if let Meaning::Decimal { scale } = self.meaning {
            return Ok(match big_endian(bytes) {
                Some(unscaled) => RawValue::Number(unscaled as f64 / 10_f64.powi(scale)),
                None => RawValue::Other("a decimal of more than 16 bytes"),
            });
        }
        std::str::from_utf8(bytes)
            .map(RawValue::text)
            .map_err(|_| EventIssue::InvalidUtf8 { field: self.name.clone() })
    }
}

/// Reads exactly `n_rows` rows of a column.
fn fill<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    levels: &mut Vec<i16>,
    n_rows: usize,
) -> Result<Vec<T::T>, ParquetError> {
    let mut values = Vec::with_capacity(n_rows);
    let mut n_read = 0;
    while n_read < n_rows {
        let (n, _, _) = reader.read_records(n_rows - n_read, Some(levels), None, &mut values)?;
        if n == 0 {
            return Err(ParquetError::General("a column ends before its row group".to_owned()));
        }
        n_read += n;
    }
    Ok(values)
}

/// A float of 32 bits by its shortest decimal form, which is what was meant: 12.35, not
/// 12.3500003815.
fn widened(float: f32) -> f64 {
    float.to_string().parse().unwrap_or(f64::from(float))
}

/// A signed big-endian number of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// The instant at which the clocks of a zone show a time, given in micros as if in UTC.
fn local_instant(zone: &Zone, micros: i64) -> Timestamp {
    let as_utc = Timestamp::from_micros(micros);
    let number = i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX);
    if !DAYS_ACCEPTED.contains(&number) {
        return as_utc;
    }
    let day = Day::from_number(number);
    let start = zone.start_of(day).micros();
    if zone.start_of(day.plus(1)).micros().saturating_sub(start) == DAY_MICROS {
        return Timestamp::from_micros(start + micros.rem_euclid(DAY_MICROS));
    }
    // A day on which the clocks change: as a text would be read.
    zone.parse(as_utc.to_string().trim_end_matches('Z')).unwrap_or(as_utc)
}
