//! Writers of rows: CSV and JSON lines, plain or with gzip; Parquet has a file of its own.
//!
//! In: rows of cells. Out: bytes. Floats are written with the fewest digits that read back as the
//! same bits.

use std::io;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::{OutFile, OutFormat};

use super::output::Output;
use super::row::{Cell, Sheet};

/// Takes rows one after the other.
pub(super) trait Sink {
    /// Takes a row of one cell for each column of the sheet; those asked for are written.
    fn write(&mut self, row: &[Cell<'_>]) -> io::Result<()>;

    /// Writes what is still held back and gives the output.
    fn finish(self: Box<Self>) -> io::Result<Output>;
}

/// The sink for a file.
pub(super) fn sink(
    out: &OutFile,
    output: Output,
    (sheet, columns): (Sheet, &[usize]),
) -> io::Result<Box<dyn Sink>> {
    let columns = columns.to_vec();
    let plain = |output| if out.gzip { Text::gzip(output) } else { Text::Plain(output) };
    Ok(match out.format {
        OutFormat::Csv => Box::new(CsvSink::begin(plain(output), sheet, columns)?),
        OutFormat::Jsonl => Box::new(JsonlSink { text: plain(output), sheet, columns }),
        #[cfg(feature = "parquet")]
        OutFormat::Parquet => Box::new(super::parquet::ParquetSink::begin(output, sheet, columns)?),
        #[cfg(not(feature = "parquet"))]
        OutFormat::Parquet => {
            let why = "this program was built without Parquet: use .csv or .jsonl";
            return Err(io::Error::other(why));
        }
    })
}

/// Text, compressed or not.
enum Text {
    Plain(Output),
    Gzip(Box<GzEncoder<Output>>),
}

impl Text {
    fn gzip(output: Output) -> Self {
        // No name and no time goes into the header: the same rows give the same bytes.
        Self::Gzip(Box::new(GzEncoder::new(output, Compression::default())))
    }

    fn finish(self) -> io::Result<Output> {
        match self {
            Self::Plain(output) => Ok(output),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}

/// CSV with a header; a missing cell is empty.
struct CsvSink {
    writer: csv::Writer<Text>,
    columns: Vec<usize>,
    scratch: String,
}

impl CsvSink {
    fn begin(text: Text, sheet: Sheet, columns: Vec<usize>) -> io::Result<Self> {
        let mut writer = csv::Writer::from_writer(text);
        writer.write_record(columns.iter().map(|&at| sheet.columns[at].0))?;
        Ok(Self { writer, columns, scratch: String::new() })
    }
}

impl Sink for CsvSink {
    fn write(&mut self, row: &[Cell<'_>]) -> io::Result<()> {
        for &at in &self.columns {
            self.scratch.clear();
            let text = match &row[at] {
                Cell::Missing => "",
                Cell::Text(text) => text,
                Cell::Float(number) => formatted(&mut self.scratch, format_args!("{number:?}")),
                Cell::Int(number) => formatted(&mut self.scratch, format_args!("{number}")),
                Cell::Flag(flag) => formatted(&mut self.scratch, format_args!("{flag}")),
                Cell::Time(time) => formatted(&mut self.scratch, format_args!("{time}")),
            };
            self.writer.write_field(text)?;
        }
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Output> {
        self.writer.into_inner().map_err(csv::IntoInnerError::into_error)?.finish()
    }
}

fn formatted<'s>(scratch: &'s mut String, args: std::fmt::Arguments<'_>) -> &'s str {
    use std::fmt::Write;

    // Writing to a string cannot fail.
    let _ = scratch.write_fmt(args);
    scratch
}

/// One object a line, all keys in the order of the columns; a missing cell is null.
struct JsonlSink {
    text: Text,
    sheet: Sheet,
    columns: Vec<usize>,
}

impl Sink for JsonlSink {
    fn write(&mut self, row: &[Cell<'_>]) -> io::Result<()> {
        let out = &mut self.text;
        for (idx, &at) in self.columns.iter().enumerate() {
            let name = self.sheet.columns[at].0;
            write!(out, "{}\"{name}\":", if idx == 0 { '{' } else { ',' })?;
            match &row[at] {
                Cell::Missing => out.write_all(b"null")?,
                Cell::Text(text) => serde_json::to_writer(&mut *out, text)?,
                Cell::Float(number) => serde_json::to_writer(&mut *out, number)?,
                Cell::Int(number) => write!(out, "{number}")?,
                Cell::Flag(flag) => write!(out, "{flag}")?,
                Cell::Time(time) => write!(out, "\"{time}\"")?,
            }
        }
        out.write_all(b"}\n")
    }

    fn finish(self: Box<Self>) -> io::Result<Output> {
        self.text.finish()
    }
}
