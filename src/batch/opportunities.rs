//! `tenure-ops opportunities`: who takes the opportunities ahead.
//!
//! In: a table with one row a customer, (x, t_x, n). Out: BG/BB with standard errors, and a CSV
//! with what is expected of each customer in the periods ahead, in the order of the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use crate::config::OpportunitiesConfig;
use crate::model::btyd::BgBb;
use crate::model::btyd::BgBbSpec;
use crate::model::btyd::BtydError;
use crate::model::btyd::OpportunityRow;
use crate::model::btyd::PooledOpportunities;
use crate::model::btyd::RowIssue;

use super::columns::{Columns, ColumnsError};
use super::contract::{fit_json, fit_text};
use super::ops::OpsOutcome;
use super::output::Output;

/// Why opportunities were not fitted, or predictions not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpportunitiesError {
    /// The table cannot be used.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    /// A row contradicts itself.
    #[error("{}: line {line}: x = {}, t_x = {}, n = {}: {issue}", path.display(), row[0], row[1], row[2])]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// x, t_x and n.
        row: [u32; 3],
        /// What is wrong.
        issue: RowIssue,
    },
    /// The model cannot be fitted.
    #[error(transparent)]
    Fit(#[from] BtydError),
    /// The predictions cannot be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

fn read_rows(columns: &Columns<4>) -> Result<Vec<OpportunityRow>, OpportunitiesError> {
    let read = |fields| -> Result<OpportunityRow, OpportunitiesError> {
        let periods = |column| columns.periods(fields, column);
        let (x, t_x, n) = (periods(1)?, periods(2)?, periods(3)?);
        OpportunityRow::try_new(x, t_x, n).map_err(|issue| OpportunitiesError::Row {
            path: columns.path().to_owned(),
            line: fields.line,
            row: [x, t_x, n],
            issue,
        })
    };
    columns.rows.iter().map(read).collect()
}

/// Fits the table and writes what is expected.
pub(super) fn opportunities(
    config: &OpportunitiesConfig,
) -> Result<OpsOutcome, OpportunitiesError> {
    let columns = Columns::read(&config.table, ["customer", "x", "t_x", "n"])?;
    let rows = read_rows(&columns)?;
    let pooled = PooledOpportunities::try_from_rows(&rows)?;
    let model = BgBb::fit(&BgBbSpec { prior: config.outlook.prior }, &pooled)?;
    let p = model.params();
    let fit = fit_json("BG/BB", &[p.alpha, p.beta, p.gamma, p.delta], model.info(), None);
    let mut by_row = BTreeMap::new();
    let mut total = 0.0;
    for (row, n) in pooled.rows() {
        let expected = expectations(&model, row, config)?;
        #[allow(clippy::cast_precision_loss, reason = "customers stay far below 2^53")]
        let weight = *n as f64;
        total += weight * expected[3];
        by_row.insert(*row, expected);
    }
    let digest = match &config.out {
        None => None,
        Some(out) => Some(
            write(out, &columns, &rows, &by_row)
                .map_err(|source| OpportunitiesError::Write { path: out.clone(), source })?,
        ),
    };
    let periods = config.outlook.periods;
    let mut text = String::new();
    let _ = writeln!(text, "{} customers, {} distinct rows", rows.len(), pooled.rows().len());
    fit_text(&mut text, &fit);
    let _ =
        writeln!(text, "Expected transactions of all in the next {periods} periods: {total:.1}");
    if let Some(out) = &config.out {
        let _ = writeln!(text, "Written to {}", out.display());
    }
    let json = json!({
        "customers": rows.len(), "distinct_rows": pooled.rows().len(), "fit": fit,
        "periods": periods, "discount": config.outlook.discount, "expected_transactions": total,
        "out": config.out, "sha256": digest,
    });
    Ok(OpsOutcome { text, json, exit_code: 0 })
}

const COLUMNS: [&str; 9] = [
    "customer",
    "x",
    "t_x",
    "n",
    "p_alive",
    "p_alive_next",
    "p_no_transaction",
    "expected_transactions",
    "discounted_residual_transactions",
];

/// The last five columns; the last one is NaN without a discount.
fn expectations(
    model: &BgBb,
    row: &OpportunityRow,
    config: &OpportunitiesConfig,
) -> Result<[f64; 5], BtydError> {
    let ahead = model.predict(row, config.outlook.periods);
    let endless = match config.outlook.discount {
        Some(rate) => model.discounted_residual_transactions(row, rate)?,
        None => f64::NAN,
    };
    let next = model.p_alive_next(row);
    Ok([ahead.p_alive, next, ahead.p_no_purchase, ahead.expected_purchases, endless])
}

fn write(
    out: &Path,
    columns: &Columns<4>,
    rows: &[OpportunityRow],
    by_row: &BTreeMap<OpportunityRow, [f64; 5]>,
) -> std::io::Result<String> {
    let mut writer = csv::Writer::from_writer(Output::create(Some(out))?);
    writer.write_record(COLUMNS)?;
    for (fields, row) in columns.rows.iter().zip(rows) {
        writer.write_field(&fields.fields[0])?;
        for n in [row.x, row.t_x, row.n] {
            writer.write_field(n.to_string())?;
        }
        for number in by_row.get(row).into_iter().flatten() {
            let text = if number.is_nan() { String::new() } else { format!("{number:?}") };
            writer.write_field(text)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)?.finish(Some(out))
}
