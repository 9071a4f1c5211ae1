//! What a training run is asked to do, and what the data allow it to.

use serde::Serialize;

use crate::domain::{Currency, Day, Days};
use crate::features::CovariateSource;
use crate::model::SearchScope;
use crate::model::btyd::Prior;

/// Fewer customers than this, and nothing is learned.
const CUSTOMERS_MIN: usize = 500;
/// Fewer rows of either outcome than this, and nothing is learned.
const OUTCOMES_MIN: usize = 200;
/// The history must be this many churn horizons long.
const HORIZONS_MIN: i32 = 2;

/// What a training run is asked to do.
#[derive(Debug, Clone)]
pub struct TrainSpec {
    /// Name of the model.
    pub name: String,
    /// The last day that training looks at.
    pub until: Day,
    /// Time zone of the business.
    pub zone: crate::domain::Zone,
    /// Churn horizon.
    pub churn: Days,
    /// Value horizon.
    pub value: Days,
    /// Prior of the buy-till-you-die models.
    pub prior: Prior,
    /// Seed of all sampling.
    pub seed: u64,
    /// Threads to use; changes no result.
    pub threads: usize,
    /// Whether to learn from less data than the minimum.
    pub allow_small: bool,
    /// Whether the log counts as complete up to `until` although its last event is older.
    pub assume_complete: bool,
    /// Facts that the purchase-count model takes as covariates.
    pub covariates: Vec<CovariateSource>,
    /// Whether the purchase models run on a season clock.
    pub season_clock: bool,
    /// Currency where the log names none.
    pub currency: Currency,
    /// The policy that goes into the bundle, as text.
    pub policy: String,
    /// What is made beside models and metrics.
    pub extras: Extras,
}

/// When a new bundle becomes champion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Promotion {
    /// Unless it is worse than the present champion on the newest complete window.
    #[default]
    IfNotWorse,
    /// Whatever the comparison says.
    Always,
}

/// What a run makes beside models and metrics, where it is asked to, and what becomes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Further churn horizons than the primary one.
    pub horizons: Vec<Days>,
    /// How many personas to find; none: no personas.
    pub personas: Option<usize>,
    /// Where to write the rows that were learned from and judged on.
    pub export_dataset: Option<std::path::PathBuf>,
    /// How far to search for settings of the churn trees.
    pub search: SearchScope,
    /// When the new bundle becomes champion.
    pub promotion: Promotion,
}

/// One finding on whether the data suffice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usability {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: i64,
    /// What is needed.
    pub needed: i64,
    /// Whether it suffices.
    pub ok: bool,
}

/// What the data allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataVerdict {
    /// The findings.
    pub findings: Vec<Usability>,
    /// Whether models may be learned.
    pub learn: bool,
    /// What is worth knowing and stops nothing.
    pub warnings: Vec<String>,
}

impl DataVerdict {
    /// Looks at the number of customers, of either outcome on the judged window, and the length
    /// of the history.
    #[must_use]
    pub fn new(
        spec: &TrainSpec,
        n_customers: usize,
        outcomes: [usize; 2],
        history_days: i32,
        n_training_cutoffs: usize,
    ) -> Self {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let finding = |what, found, needed| Usability { what, found, needed, ok: found >= needed };
        let findings = vec![
            finding("customers who bought", count(n_customers), count(CUSTOMERS_MIN)),
            finding("customers who left", count(outcomes[0]), count(OUTCOMES_MIN)),
            finding("customers who stayed", count(outcomes[1]), count(OUTCOMES_MIN)),
            finding(
                "days of history",
                i64::from(history_days),
                i64::from(HORIZONS_MIN * spec.churn.as_i32()),
            ),
            finding("complete windows before the judged one", count(n_training_cutoffs), 1),
        ];
        // Without a window to learn from there is nothing to allow.
        let enough = findings.iter().all(|finding| finding.ok);
        let learn = enough || (spec.allow_small && n_training_cutoffs > 0);
        Self { findings, learn, warnings: Vec::new() }
    }

    /// The findings that do not suffice, as text.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        self.findings
            .iter()
            .filter(|f| !f.ok)
            .map(|f| format!("{}: {} found, {} needed", f.what, f.found, f.needed))
            .collect()
    }
}
