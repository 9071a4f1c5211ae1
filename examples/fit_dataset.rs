//! Fits the churn models on rows that `tenure-train --export-dataset` wrote, on one thread, and
//! prints the CPU seconds of that: for comparisons with other programs on the same rows.
//!
//! ```sh
//! tenure-train --events data/cdnow_sample.csv.gz --until 1997-09-30 --churn-horizon-days 91 \
//!     --models models --name shop --export-dataset rows
//! cargo run --release --example fit_dataset -- rows
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::File;
use std::path::Path;

use flate2::read::GzDecoder;
use tenure::dataset::FeatureMatrix;
use tenure::features::FeatureSchema;
use tenure::model::{ChurnParts, Columns, row_definitions};
use tenure::train::churn_spec;

/// Columns before the features.
const LABELS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("give the directory of the rows")?;
    let schema = FeatureSchema::new(&row_definitions());
    let columns = Columns::try_new(&schema)?;
    let mut rows = FeatureMatrix::new(schema.id(), schema.features().len());
    let mut churned = Vec::new();
    let file = File::open(Path::new(&dir).join("dataset.csv.gz"))?;
    for record in csv::Reader::from_reader(GzDecoder::new(file)).records() {
        let record = record?;
        if &record[2] != "training" {
            continue;
        }
        let number = |text: &str| if text.is_empty() { Ok(f64::NAN) } else { text.parse() };
        let row: Vec<f64> = record.iter().skip(LABELS).map(number).collect::<Result<_, _>>()?;
        rows.push_row(&row)?;
        churned.push(&record[3] == "1");
    }
    let before = cpu_seconds();
    let parts = ChurnParts::fit(&churn_spec(42, 1), &columns, &rows, &churned)?;
    let seconds = cpu_seconds() - before;
    let trees = parts.forest.as_ref().map_or(0, tenure::model::Forest::n_trees);
    println!(r#"{{"rows": {}, "trees": {trees}, "seconds": {seconds}}}"#, churned.len());
    Ok(())
}

/// CPU seconds of the process so far, threads that have ended included, as Linux's process table
/// has them in hundredths; 0 elsewhere.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold spaces; user and system time come 11 fields
    // after it.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    ticks.iter().sum::<f64>() / 100.0
}
