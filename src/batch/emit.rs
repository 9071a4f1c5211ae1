//! Rows on their way out: counted, filtered, logged and written, one by one in order.
//!
//! In: the cells of a row, what goes along with them, and a line of the decision log. Out: the
//! file of scores with its manifest, and the summary. All ways to score end here, so the same
//! rows give the same bytes and the same sums, whatever they went through before.

use std::path::Path;

use serde_json::json;

use crate::bundle::write_atomic;
use crate::config::ScoreConfig;
use crate::domain::Timestamp;
use crate::store::{Appended, DecisionLog};

use super::error::BatchError;
use super::output::{Output, manifest_path};
use super::previous::Previous;
use super::row::{Cell, SCORES};
use super::runs::Marks;
use super::sink::{Sink, sink};
use super::summary::ScoreSummary;

/// Decisions logged at a time.
const LOGGED_ROWS: u64 = 16_384;

/// Writes rows.
pub(super) struct Emitter<'c> {
    config: &'c ScoreConfig,
    /// What was written, so far.
    pub(super) summary: ScoreSummary,
    sink: Box<dyn Sink>,
    decisions: Option<DecisionLog>,
    decided_at: Timestamp,
    lines: Vec<u8>,
    n_lines: u64,
    previous: Option<Previous>,
}

impl<'c> Emitter<'c> {
    pub(super) fn begin(
        config: &'c ScoreConfig,
        columns: &[usize],
        summary: ScoreSummary,
        decided_at: Timestamp,
    ) -> Result<Self, BatchError> {
        let failed = |source| BatchError::Write { out: config.out.to_string(), source };
        let decisions = match &config.decision_log {
            Some(dir) => Some(DecisionLog::open(dir, config.decision_log_spec)?.0),
            None => None,
        };
        let previous = config.previous.as_deref().map(Previous::open).transpose()?;
        let output = Output::create(config.out.path.as_deref()).map_err(failed)?;
        let sink = sink(&config.out, output, (SCORES, columns)).map_err(failed)?;
        let (lines, n_lines) = (Vec::new(), 0);
        Ok(Self { config, summary, sink, decisions, decided_at, lines, n_lines, previous })
    }

    /// Takes the next row; rows come in the order of the customers' ids where an older file is
    /// compared with.
    pub(super) fn row(
        &mut self,
        cells: &[Cell<'_>],
        marks: Marks,
        line: &[u8],
    ) -> Result<(), BatchError> {
        if let Some(previous) = &mut self.previous
            && !(previous.has_moved(cells)? || marks.is_fresh)
        {
            self.summary.unchanged += 1;
            return Ok(());
        }
        self.summary.count(cells, marks.out_of_distribution);
        self.sink.write(cells).map_err(|source| self.failed(source))?;
        if self.decisions.is_some() {
            self.lines.extend_from_slice(line);
            self.n_lines += 1;
            if self.n_lines == LOGGED_ROWS {
                self.log()?;
            }
        }
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> BatchError {
        BatchError::Write { out: self.config.out.to_string(), source }
    }

    /// The decisions are known before the scores are: the file has no name yet.
    fn log(&mut self) -> Result<(), BatchError> {
        let Some(log) = &self.decisions else { return Ok(()) };
        let (lines, n_lines) = (std::mem::take(&mut self.lines), self.n_lines);
        self.n_lines = 0;
        if log.append(&lines, n_lines, self.decided_at)? == Appended::Dropped {
            self.summary.decisions_dropped += n_lines;
        }
        log.flush()?;
        Ok(())
    }

    /// Gives the file its name and writes the manifest.
    pub(super) fn finish(mut self) -> Result<ScoreSummary, BatchError> {
        if self.n_lines > 0 {
            self.log()?;
        }
        let out = self.config.out.to_string();
        let failed = |source| BatchError::Write { out: out.clone(), source };
        let Self { config, mut summary, sink, .. } = self;
        let path = config.out.path.as_deref();
        summary.sha256 = sink.finish().map_err(failed)?.finish(path).map_err(failed)?;
        if let Some(path) = path {
            write_manifest(config, &summary, path)?;
        }
        Ok(summary)
    }
}

/// Says beside the file what it is and what made it.
fn write_manifest(
    config: &ScoreConfig,
    summary: &ScoreSummary,
    path: &Path,
) -> Result<(), BatchError> {
    let mut manifest = json!({
        "rows": summary.rows,
        "sha256": summary.sha256,
        "model_version": summary.model_version,
        "policy_hash": summary.policy_hash,
        "as_of": summary.as_of,
        "shards": config.shards,
        "shard": config.shard,
    });
    if !config.out_columns.is_empty() {
        manifest["columns"] = json!(config.out_columns);
    }
    if let Some(since) = &config.changed_since {
        manifest["changed_since"] = json!(since);
        manifest["unchanged"] = json!(summary.unchanged);
    }
    Ok(write_atomic(&manifest_path(path), format!("{manifest:#}\n").as_bytes())?)
}
