//! Writing one file of the log anew without some of its lines.

use std::fs;
use std::fs::File;
use std::io;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Leaves out the lines that are picked, and answers how many bytes went. A file without any stays
/// untouched.
pub(super) fn rewrite(
    path: &Path,
    only_count: bool,
    picks: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<u64> {
    let mut picked = Vec::new();
    each_line(path, |idx, line| {
        if picks(line) {
            picked.push(idx);
        }
        Ok(())
    })?;
    if picked.is_empty() || only_count {
        return Ok(0);
    }
    let beside = path.with_extension("erasing");
    let mut out = BufWriter::new(File::create(&beside)?);
    let (mut freed, mut next) = (0, picked.into_iter().peekable());
    each_line(path, |idx, line| {
        if next.next_if_eq(&idx).is_some() {
            freed += line.len() as u64;
            return Ok(());
        }
        out.write_all(line)
    })?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(freed)
}

/// Hands over each line with its end.
fn each_line(path: &Path, mut visit: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut line, mut idx) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut line)? > 0 {
        visit(idx, &line)?;
        line.clear();
        idx += 1;
    }
    Ok(())
}
