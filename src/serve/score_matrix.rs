//! `ScoreMatrix`: rows of ready numbers in, packed answers out.
//!
//! In: little-endian cells, row by row. Out: one list a number, little-endian, in the order of the
//! rows. Rows are spread over the pool in slices; each depends on itself alone. It makes no
//! decision and logs none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::convert;
use super::live::Live;
use super::pb;
use super::pb::score_matrix_request::Cells;
use super::serving::Served;
use super::status::{ServeError, Violation};
use crate::model::{CellIssue, Score};
use crate::scoring::{Engine, ROWS_AT_ONCE, ScoringError};

/// Rows between two looks at whether the caller has left.
const SLICE_ROWS: usize = 1_024;
/// Cells that are told of one bad matrix.
const ISSUES_MAX: usize = 20;

/// Scores a matrix.
pub(super) async fn score(
    live: &Arc<Live>,
    request: pb::ScoreMatrixRequest,
) -> Result<pb::ScoreMatrixResponse, ServeError> {
    let pb::ScoreMatrixRequest { model, feature_schema, row_count, cells } = request;
    // Rows are nobody's, so no arm can be drawn for them: the champion answers.
    let served = live.moment_of(model.as_ref())?.served;
    let engine = &served.engine;
    if feature_schema != engine.matrix_schema() {
        return Err(ServeError::SchemaMismatch {
            found: feature_schema,
            wanted: engine.matrix_schema().to_owned(),
            served: served.model_version.clone(),
        });
    }
    let n_rows = usize::try_from(row_count).unwrap_or(usize::MAX);
    let cells = checked_cells(engine, n_rows, cells)?;
    live.pooled(move |left| score_cells(&served, &cells, left)).await
}

/// The cells, where there are as many as rows and columns say.
fn checked_cells(
    engine: &Engine,
    n_rows: usize,
    cells: Option<Cells>,
) -> Result<Cells, ServeError> {
    let Some(cells) = cells else {
        return Err(ServeError::invalid("cells", "MISSING", "the cells are missing"));
    };
    let (field, bytes, width) = match &cells {
        Cells::FloatCells(bytes) => ("float_cells", bytes, size_of::<f32>()),
        Cells::DoubleCells(bytes) => ("double_cells", bytes, size_of::<f64>()),
    };
    let n_columns = engine.n_matrix_columns();
    let wanted = n_rows.checked_mul(n_columns).and_then(|cells| cells.checked_mul(width));
    if n_rows == 0 || wanted != Some(bytes.len()) {
        let found = format!(
            "{} bytes for {n_rows} rows: at least one row of {n_columns} columns of {width} bytes \
             is wanted",
            bytes.len()
        );
        return Err(ServeError::invalid(field, "CELL_COUNT", found));
    }
    Ok(cells)
}

/// One slice of answers, packed.
#[derive(Debug)]
struct Packed {
    churn: Vec<u8>,
    clv: [Vec<u8>; 4],
    tiers: Vec<u8>,
}

impl Packed {
    fn with_capacity(n_rows: usize) -> Self {
        let numbers = || Vec::with_capacity(n_rows * size_of::<f64>());
        Self {
            churn: numbers(),
            clv: [numbers(), numbers(), numbers(), numbers()],
            tiers: Vec::with_capacity(n_rows),
        }
    }

    fn push(&mut self, score: &Score, tier: i32) {
        let number = |number: Option<f64>| number.unwrap_or(f64::NAN).to_le_bytes();
        self.churn.extend_from_slice(&number(score.churn_prob));
        let clv = score.clv.as_ref();
        let numbers =
            [clv.map(|v| v.mean), clv.map(|v| v.p10), clv.map(|v| v.p50), clv.map(|v| v.p90)];
        for (bytes, found) in self.clv.iter_mut().zip(numbers) {
            bytes.extend_from_slice(&number(found));
        }
        self.tiers.push(u8::try_from(tier).unwrap_or(0));
    }
}

fn score_cells(
    served: &Served,
    cells: &Cells,
    left: &AtomicBool,
) -> Result<pb::ScoreMatrixResponse, ServeError> {
    let engine = &*served.engine;
    let (bytes, width) = match cells {
        Cells::FloatCells(bytes) => (bytes, size_of::<f32>()),
        Cells::DoubleCells(bytes) => (bytes, size_of::<f64>()),
    };
    let row_bytes = engine.n_matrix_columns() * width;
    // Small enough to use every thread, large enough that a slice is worth handing over.
    let slice_rows = (bytes.len() / row_bytes).div_ceil(4 * rayon::current_num_threads());
    let slice_rows = slice_rows.clamp(64, SLICE_ROWS);
    let slices: Vec<Packed> = bytes
        .par_chunks(row_bytes * slice_rows)
        .enumerate()
        .map(|(slice, rows)| {
            if left.load(Ordering::Relaxed) {
                return Err(ServeError::Deadline);
            }
            score_slice(engine, (rows, row_bytes, width), slice * slice_rows)
        })
        .collect::<Result<_, ServeError>>()?;
    let join = |part: fn(&Packed) -> &Vec<u8>| -> Vec<u8> {
        slices.iter().map(part).map(Vec::as_slice).collect::<Vec<_>>().concat()
    };
    let manifest = &engine.bundle().manifest;
    let has_value = manifest.clv_horizon_days > 0;
    let of_value = |bytes: Vec<u8>| if has_value { bytes } else { Vec::new() };
    let has_churn = engine.predicts_churn();
    let churn = join(|p| &p.churn);
    Ok(pb::ScoreMatrixResponse {
        churn_probabilities: if has_churn { churn } else { Vec::new() },
        clv_means: of_value(join(|p| &p.clv[0])),
        clv_p10s: of_value(join(|p| &p.clv[1])),
        clv_p50s: of_value(join(|p| &p.clv[2])),
        clv_p90s: of_value(join(|p| &p.clv[3])),
        model_risk_tiers: join(|p| &p.tiers),
        model_version: served.model_version.clone(),
        churn_horizon_days: u32::from(manifest.churn_horizon_days),
        clv_horizon_days: u32::from(manifest.clv_horizon_days),
        currency_code: engine.currency().as_str().to_owned(),
    })
}

fn score_slice(
    engine: &Engine,
    (bytes, row_bytes, width): (&[u8], usize, usize),
    first: usize,
) -> Result<Packed, ServeError> {
    let n_rows = bytes.len() / row_bytes;
    let (mut packed, mut violations) = (Packed::with_capacity(n_rows), Vec::new());
    let (mut rows, mut scored) = (Vec::new(), Vec::new());
    for (block, bytes) in bytes.chunks(row_bytes * ROWS_AT_ONCE).enumerate() {
        rows.clear();
        if width == size_of::<f32>() {
            let cells = bytes.as_chunks::<4>().0.iter();
            rows.extend(cells.map(|cell| f64::from(f32::from_le_bytes(*cell))));
        } else {
            rows.extend(bytes.as_chunks::<8>().0.iter().map(|cell| f64::from_le_bytes(*cell)));
        }
        scored.clear();
        engine.score_numbers_many(&rows, &mut scored).map_err(ServeError::internal)?;
        for (idx, scored) in scored.drain(..).enumerate() {
            match scored {
                Ok((score, tier)) => packed.push(&score, convert::tier(tier)),
                Err(ScoringError::Row(issues)) => {
                    let row = first + block * ROWS_AT_ONCE + idx;
                    violations.extend(issues.iter().map(|issue| violation(row, issue)));
                }
                Err(error) => return Err(ServeError::internal(error)),
            }
        }
        if violations.len() >= ISSUES_MAX {
            break;
        }
    }
    if violations.is_empty() {
        return Ok(packed);
    }
    violations.truncate(ISSUES_MAX);
    Err(ServeError::Invalid(violations))
}

fn violation(row: usize, issue: &CellIssue) -> Violation {
    let what = format!("{} is no {}", issue.found, issue.wanted);
    Violation::new(format!("cells[{row}].{}", issue.column), "CELL_VALUE", what)
}
