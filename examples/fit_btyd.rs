//! Fits a purchase model to a CSV with the columns x, t_x, T (weeks), and prints parameters,
//! standard errors, log-likelihood and CPU seconds as one line of JSON.
//!
//! ```sh
//! cargo run --release --example fit_btyd -- bg customers.csv
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tenure::model::btyd::BtydRow;
use tenure::model::btyd::FitInfo;
use tenure::model::btyd::PooledRows;
use tenure::model::btyd::Prior;
use tenure::model::btyd::{BgNbd, BgNbdSpec};
use tenure::model::btyd::{MbgNbd, MbgNbdSpec};
use tenure::model::btyd::{ParetoNbd, ParetoNbdSpec};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, path] = &args[..] else {
        bail!("usage: fit_btyd bg|mbg|pareto FILE.csv (columns x, t_x, T)");
    };
    let rows = read(Path::new(path))?;
    let before = cpu_seconds();
    let pooled = PooledRows::try_from_rows(&rows)?;
    let (params, info) = fit(model, &pooled)?;
    let seconds = before.and_then(|before| Some(cpu_seconds()? - before));
    let FitInfo { names, log_likelihood, standard_errors, n, n_patterns, .. } = info;
    println!(
        "{}",
        json!({
            "model": model, "names": names, "params": params, "standard_errors": standard_errors,
            "log_likelihood": log_likelihood, "customers": n, "unique_rows": n_patterns,
            "cpu_seconds": seconds,
        })
    );
    Ok(())
}

/// Maximum likelihood, as published: without a prior.
fn fit(model: &str, rows: &PooledRows) -> Result<(Vec<f64>, FitInfo)> {
    let prior = Prior::None;
    let (params, info) = match model {
        "bg" => {
            let fit = BgNbd::fit(&BgNbdSpec { prior }, rows)?;
            let p = fit.params();
            (vec![p.r, p.alpha, p.a, p.b], fit.info().cloned())
        }
        "mbg" => {
            let fit = MbgNbd::fit(&MbgNbdSpec { prior }, rows)?;
            let p = fit.params();
            (vec![p.r, p.alpha, p.a, p.b], fit.info().cloned())
        }
        "pareto" => {
            let fit = ParetoNbd::fit(&ParetoNbdSpec { prior }, rows)?;
            let p = fit.params();
            (vec![p.r, p.alpha, p.s, p.beta], fit.info().cloned())
        }
        other => bail!("model is {other:?}, wanted bg, mbg or pareto"),
    };
    Ok((params, info.context("a fit tells how it was made")?))
}

fn read(path: &Path) -> Result<Vec<BtydRow>> {
    let mut reader = csv::Reader::from_path(path)?;
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        header.iter().position(|h| h == name).with_context(|| format!("no column {name:?}"))
    };
    let (x, t_x, t) = (column("x")?, column("t_x")?, column("T")?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let row = BtydRow::try_new(record[x].parse()?, record[t_x].parse()?, record[t].parse()?);
        rows.push(row.with_context(|| format!("row {}", rows.len() + 1))?);
    }
    Ok(rows)
}

/// CPU seconds of all threads so far; none where the system does not tell (it is read from
/// Linux's process table).
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds * 1e-9)
}
