//! Kept inputs of one target in one file: gzip of records, each a length (u32, little-endian) and
//! so many bytes.
#![allow(unreachable_pub, reason = "a module of two programs")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// Reads all records.
///
/// # Errors
/// What reading the file gives; a cut record is an unexpected end.
pub fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path)?).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while !rest.is_empty() {
        let mut len = [0; 4];
        rest.read_exact(&mut len)?;
        let mut record = vec![0; u32::from_le_bytes(len) as usize];
        rest.read_exact(&mut record)?;
        records.push(record);
    }
    Ok(records)
}

/// Writes records, sorted, so that the same set gives the same file.
///
/// # Errors
/// What writing the file gives.
pub fn write(path: &Path, mut records: Vec<Vec<u8>>) -> io::Result<()> {
    records.sort();
    records.dedup();
    let mut out = GzEncoder::new(File::create(path)?, Compression::best());
    for record in records {
        let len = u32::try_from(record.len()).map_err(io::Error::other)?;
        out.write_all(&len.to_le_bytes())?;
        out.write_all(&record)?;
    }
    out.finish()?.flush()
}
