//! The rows that were learned from and judged on, as files: for those who check us with other
//! tools.
//!
//! In: a finished fit. Out: in the directory asked for `dataset.csv.gz` (all rows of all cutoffs
//! with outcomes and roles), `judged.csv` (what the models say of the judged rows) and
//! `schema.json` (what the columns mean). Numbers have the fewest digits that read back as the
//! same bits; a missing value is an empty cell.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use csv::Writer;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::bundle::write_atomic;
use crate::domain::{AsOf, Day};
use crate::events::Log;
use crate::features::purchase_summary;
use crate::model::Predictor;

use super::backtest::Rows;
use super::error::TrainError;
use super::fit::FitResult;
use super::plan::TrainSpec;
use super::replay::Replay;

const DATASET: &str = "dataset.csv.gz";
const JUDGED: &str = "judged.csv";
const SCHEMA: &str = "schema.json";

/// Writes the rows of a fit where the run was asked to.
///
/// # Errors
/// [`TrainError::Export`] for a directory or file that cannot be written.
pub(super) fn export(spec: &TrainSpec, log: &Log, fit: &FitResult) -> Result<(), TrainError> {
    let Some(dir) = &spec.extras.export_dataset else { return Ok(()) };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    let predictor = Predictor::try_new(fit.fitted.clone())?;
    let path = dir.join(DATASET);
    let customers = whole(&path, |file| dataset(file, spec, log, fit, &predictor))?;
    if let (Some((_, rows)), Some(verdict)) = (fit.rows.last(), &fit.churn) {
        let says = Says { predictor: &predictor, rows, probs: &verdict.probs };
        whole(&dir.join(JUDGED), |file| judged(file, says, &customers))?;
    }
    let schema = schema(spec, fit, &predictor);
    write_atomic(&dir.join(SCHEMA), format!("{schema:#}\n").as_bytes())?;
    Ok(())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> TrainError + '_ {
    move |source| TrainError::Export { path: path.to_owned(), source }
}

/// Writes a file beside its place and renames it: it is there whole or not at all.
fn whole<T>(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> io::Result<(T, File)>,
) -> Result<T, TrainError> {
    let temporary: PathBuf = path.with_extension("writing");
    let done = || -> io::Result<T> {
        let (found, file) = write(BufWriter::new(File::create(&temporary)?))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        Ok(found)
    };
    done().map_err(failed(path))
}

/// The customers of a slice, in the order of its rows: all who had bought by then.
fn customers(log: &Log, replay: &Replay<'_>, as_of: AsOf) -> Vec<usize> {
    (0..log.customers.len())
        .filter(|&idx| purchase_summary(replay.history(idx), as_of).is_some())
        .collect()
}

/// What a cutoff's rows were used for, before the final fit on all of them.
fn role(fit: &FitResult, cutoff: Day) -> &'static str {
    match &fit.plan {
        Some(plan) if plan.judged == cutoff => "judged",
        Some(plan) if plan.training.contains(&cutoff) => "training",
        _ => "final_fit_only",
    }
}

/// Writes all rows and gives the ids of the customers of the last cutoff.
fn dataset(
    file: BufWriter<File>,
    spec: &TrainSpec,
    log: &Log,
    fit: &FitResult,
    predictor: &Predictor,
) -> io::Result<(Vec<String>, File)> {
    let mut writer = Writer::from_writer(GzEncoder::new(file, Compression::fast()));
    let labels = ["customer_id", "cutoff", "role", "churned", "spend"];
    let features = predictor.schema().features();
    writer.write_record(labels.into_iter().chain(features.iter().map(|f| f.name)))?;
    let mut replay = Replay::new(log);
    let mut ids = Vec::new();
    for (cutoff, rows) in &fit.rows {
        let as_of = AsOf::end_of(*cutoff, &spec.zone);
        replay.advance(as_of);
        let found = customers(log, &replay, as_of);
        if found.len() != rows.churned.len() {
            return Err(io::Error::other("the customers of a cutoff are not those of its rows"));
        }
        let name = |&idx: &usize| log.customers[idx].customer.as_str().to_owned();
        ids = found.iter().map(name).collect();
        let (cutoff, role) = (cutoff.to_string(), role(fit, *cutoff));
        let mut row = vec![0.0; rows.matrix.n_columns()];
        for (idx, id) in ids.iter().enumerate() {
            rows.matrix.copy_row(idx, &mut row);
            let churned = if rows.churned[idx] { "1" } else { "0" };
            for field in [id, cutoff.as_str(), role, churned, &number(rows.spend[idx])] {
                writer.write_field(field)?;
            }
            writer.write_record(row.iter().map(|&value| number(value)))?;
        }
    }
    let gzip = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok((ids, gzip.finish()?.into_inner()?))
}

/// What the models say of the judged rows.
#[derive(Clone, Copy)]
struct Says<'a> {
    predictor: &'a Predictor,
    rows: &'a Rows,
    /// Of the champion as it was judged, fitted on earlier windows only.
    probs: &'a [f64],
}

fn judged(file: BufWriter<File>, says: Says<'_>, customers: &[String]) -> io::Result<((), File)> {
    let Says { predictor, rows, probs } = says;
    let mut writer = Writer::from_writer(file);
    writer.write_record([
        "customer_id",
        "churned",
        "spend",
        "judged_churn_probability",
        "forest_margin",
        "linear_margin",
        "log_odds",
        "churn_probability",
    ])?;
    let (columns, model) = (predictor.columns(), &predictor.fitted().churn);
    let mut row = vec![0.0; rows.matrix.n_columns()];
    for (idx, customer) in customers.iter().enumerate() {
        rows.matrix.copy_row(idx, &mut row);
        let forest = model.parts.forest.as_ref().map(|forest| forest.margin(&row));
        let line = model.parts.logistic.as_ref().map(|line| line.logit(&columns.design(&row)));
        let churned = if rows.churned[idx] { "1" } else { "0" };
        writer.write_record([
            customer.as_str(),
            churned,
            &number(rows.spend[idx]),
            &number(probs[idx]),
            &number(forest.unwrap_or(f64::NAN)),
            &number(line.unwrap_or(f64::NAN)),
            &number(model.log_odds(columns, &row)),
            &number(model.prob(columns, &row)),
        ])?;
    }
    writer.flush()?;
    let buffer = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(((), buffer.into_inner()?))
}

fn schema(spec: &TrainSpec, fit: &FitResult, predictor: &Predictor) -> serde_json::Value {
    let cutoffs: Vec<serde_json::Value> = fit
        .rows
        .iter()
        .map(|(cutoff, rows)| {
            json!({
                "cutoff": cutoff.to_string(),
                "role": role(fit, *cutoff),
                "rows": rows.churned.len(),
            })
        })
        .collect();
    let schema = predictor.schema();
    let features: Vec<serde_json::Value> = schema
        .features()
        .iter()
        .map(|f| json!({ "name": f.name, "unit": f.unit, "doc": f.doc }))
        .collect();
    json!({
        "feature_schema": schema.id(),
        "churn_horizon_days": spec.churn.get(),
        "seed": spec.seed,
        "champion": fit.fitted.churn.kind.as_str(),
        "labels": [
            {
                "name": "churned",
                "doc": "1: no purchase within the churn horizon after the cutoff's day",
            },
            { "name": "spend", "doc": "spend less refunds within the churn horizon" },
        ],
        "cutoffs": cutoffs,
        "features": features,
    })
}

/// The fewest digits that read back as the same bits; empty for a missing value.
fn number(value: f64) -> String {
    if value.is_nan() { String::new() } else { format!("{value:?}") }
}
