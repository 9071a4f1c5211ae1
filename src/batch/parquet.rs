//! Rows as a Parquet file, without arrow: flat optional columns, one row group after the other.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::FileReader;
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::record::Field;
use ::parquet::schema::types::{Type, TypePtr};

use super::output::Output;
use super::row::{Cell, ColumnKind, Sheet};
use super::sink::Sink;

/// Rows of a row group: some 20 MB while it is gathered, and readers can skip by group.
const GROUP_ROWS: usize = 65_536;

/// What stands in the file for who wrote it; the version of the library says nothing to readers.
const CREATED_BY: &str = concat!("tenure ", env!("CARGO_PKG_VERSION"));

/// The values of one column of the row group that is gathered, and where none stands.
struct Gathered {
    values: Values,
    /// 1 where there is a value, 0 where it is missing.
    levels: Vec<i16>,
}

enum Values {
    Text(Vec<ByteArray>),
    Float(Vec<f64>),
    Int(Vec<i32>),
    Flag(Vec<bool>),
    Time(Vec<i64>),
}

impl Gathered {
    fn new(kind: ColumnKind) -> Self {
        let values = match kind {
            ColumnKind::Text => Values::Text(Vec::new()),
            ColumnKind::Float => Values::Float(Vec::new()),
            ColumnKind::Int => Values::Int(Vec::new()),
            ColumnKind::Flag => Values::Flag(Vec::new()),
            ColumnKind::Time => Values::Time(Vec::new()),
        };
        Self { values, levels: Vec::new() }
    }

    fn push(&mut self, cell: &Cell<'_>) -> io::Result<()> {
        match (&mut self.values, cell) {
            (_, Cell::Missing) => {
                self.levels.push(0);
                return Ok(());
            }
            (Values::Text(held), Cell::Text(text)) => held.push(ByteArray::from(text.as_ref())),
            (Values::Float(held), Cell::Float(number)) => held.push(*number),
            (Values::Int(held), Cell::Int(number)) => held.push(*number),
            (Values::Flag(held), Cell::Flag(flag)) => held.push(*flag),
            (Values::Time(held), Cell::Time(time)) => held.push(time.micros()),
            _ => return Err(io::Error::other("a cell is not of the kind of its column")),
        }
        self.levels.push(1);
        Ok(())
    }

    fn write(&self, column: &mut SerializedColumnWriter<'_>) -> Result<usize, ParquetError> {
        let levels = Some(self.levels.as_slice());
        match &self.values {
            Values::Text(held) => column.typed::<ByteArrayType>().write_batch(held, levels, None),
            Values::Float(held) => column.typed::<DoubleType>().write_batch(held, levels, None),
            Values::Int(held) => column.typed::<Int32Type>().write_batch(held, levels, None),
            Values::Flag(held) => column.typed::<BoolType>().write_batch(held, levels, None),
            Values::Time(held) => column.typed::<Int64Type>().write_batch(held, levels, None),
        }
    }
}

/// Gathers rows and writes them a row group at a time.
pub(super) struct ParquetSink {
    writer: SerializedFileWriter<Output>,
    sheet: Sheet,
    columns: Vec<Gathered>,
    /// Which of all columns they are.
    places: Vec<usize>,
    n_rows: usize,
}

impl ParquetSink {
    pub(super) fn begin(output: Output, sheet: Sheet, places: Vec<usize>) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(CREATED_BY.to_owned())
            .build();
        let schema = schema(sheet, &places).map_err(io::Error::other)?;
        let writer = SerializedFileWriter::new(output, schema, Arc::new(properties));
        let writer = writer.map_err(io::Error::other)?;
        let columns = gathered(sheet, &places);
        Ok(Self { writer, sheet, columns, places, n_rows: 0 })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let columns = std::mem::replace(&mut self.columns, gathered(self.sheet, &self.places));
        self.n_rows = 0;
        let mut group = self.writer.next_row_group()?;
        for gathered in columns {
            let Some(mut column) = group.next_column()? else { break };
            gathered.write(&mut column)?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, row: &[Cell<'_>]) -> io::Result<()> {
        for (column, &at) in self.columns.iter_mut().zip(&self.places) {
            column.push(&row[at])?;
        }
        self.n_rows += 1;
        if self.n_rows == GROUP_ROWS {
            self.write_group().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Output> {
        if self.n_rows > 0 {
            self.write_group().map_err(io::Error::other)?;
        }
        self.writer.into_inner().map_err(io::Error::other)
    }
}

fn gathered(sheet: Sheet, places: &[usize]) -> Vec<Gathered> {
    places.iter().map(|&at| Gathered::new(sheet.columns[at].1)).collect()
}

/// Rows of a file of scores, of each the texts of some columns, one after the other.
pub(super) fn read_texts(
    file: File,
    columns: &[&'static str],
) -> Result<impl Iterator<Item = Result<Vec<Option<String>>, String>> + use<>, String> {
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let mut fields = Vec::with_capacity(columns.len());
    for wanted in columns {
        let found = schema.get_fields().iter().find(|field| field.name() == *wanted);
        fields.push(found.cloned().ok_or_else(|| format!("there is no column {wanted}"))?);
    }
    let wanted: Vec<&'static str> = columns.to_vec();
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build();
    let projection = projection.map_err(|error| error.to_string())?;
    let rows = reader.into_iter().project(Some(projection)).map_err(|error| error.to_string())?;
    Ok(rows.map(move |row| {
        let row = row.map_err(|error| error.to_string())?;
        // The columns come in the order of the file, whatever was asked for.
        Ok(wanted
            .iter()
            .map(|wanted| {
                let found = row.get_column_iter().find(|(name, _)| name == wanted);
                match found {
                    Some((_, Field::Str(text))) => Some(text.clone()),
                    _ => None,
                }
            })
            .collect())
    }))
}

fn schema(sheet: Sheet, places: &[usize]) -> Result<TypePtr, ParquetError> {
    let fields: Result<Vec<TypePtr>, ParquetError> = places
        .iter()
        .map(|&at| {
            let (name, kind) = sheet.columns[at];
            let (physical, logical) = match kind {
                ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                ColumnKind::Float => (Physical::DOUBLE, None),
                ColumnKind::Int => (Physical::INT32, None),
                ColumnKind::Flag => (Physical::BOOLEAN, None),
                ColumnKind::Time => {
                    (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
                }
            };
            let builder = Type::primitive_type_builder(name, physical)
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(logical);
            Ok(Arc::new(builder.build()?))
        })
        .collect();
    Ok(Arc::new(Type::group_type_builder(sheet.name).with_fields(fields?).build()?))
}
