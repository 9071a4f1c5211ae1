//! Fits the churn models on rows that `tenure-train --export-dataset` wrote, on one thread, and
//! prints how long that took: for comparisons with other programs on the same rows.
//!
//! ```sh
//! tenure-train --events data/cdnow_sample.csv.gz --until 1997-09-30 --churn-horizon-days 91 \
//!     --models models --name shop --export-dataset rows
//! cargo run --release --example fit_dataset -- rows
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

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
    let began = Instant::now();
    let parts = ChurnParts::fit(&churn_spec(42, 1), &columns, &rows, &churned)?;
    let seconds = began.elapsed().as_secs_f64();
    let trees = parts.forest.as_ref().map_or(0, tenure::model::Forest::n_trees);
    println!(r#"{{"rows": {}, "trees": {trees}, "seconds": {seconds}}}"#, churned.len());
    Ok(())
}
