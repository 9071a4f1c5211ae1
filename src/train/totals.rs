//! What the purchase models expect of the whole base at each cutoff, beside what came.
//!
//! In: slices of the log. Out: totals of purchases and spend over both horizons, and how well the
//! number of purchases is foretold customer by customer. The models are those fitted on the data
//! before each cutoff, so every cutoff counts, also those before which no window ended.

use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::FeatureMatrix;
use crate::domain::{AsOf, Day};
use crate::evaluate::{LogRatio, poisson_deviance, rmse, total_ratio};
use crate::events::Log;
use crate::labels::{Label, label};
use crate::model::Columns;

use super::slice::{Slice, SliceSpec};

/// Customers whose predictive interval is looked up; of more, a systematic part is taken.
const QUANTILE_ROWS_MAX: usize = 5_000;
/// The predictive interval that is checked.
const LEVELS: [f64; 2] = [0.1, 0.9];

/// Totals of the base over one horizon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HorizonTotals {
    /// Days of the horizon.
    pub days: u16,
    /// Purchase days that the models expected.
    pub purchases_expected: f64,
    /// Purchase days that came.
    pub purchases: f64,
    /// Spend that the models expected, in units.
    pub value_expected: f64,
    /// Spend that came, less refunds, in units.
    pub value: f64,
}

/// How well the purchases of each customer were foretold, over the churn horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountCheck {
    /// The purchase-count model; `mean` where the number is a mean of several.
    pub model: &'static str,
    /// Root mean squared error of the number of purchase days.
    pub rmse: f64,
    /// Mean Poisson deviance.
    pub deviance: f64,
    /// Expected over actual purchase days.
    pub total_ratio: f64,
    /// Share of customers inside their own 10 % to 90 % interval; at least .8 is meant, for counts
    /// are whole numbers.
    pub coverage: f64,
}

/// One cutoff.
#[derive(Debug, Clone, PartialEq)]
pub struct CutoffTotals {
    /// The last day seen.
    pub cutoff: Day,
    /// Customers who had bought by then.
    pub customers: usize,
    /// Over the churn horizon.
    pub near: HorizonTotals,
    /// Over the value horizon, where that was seen in full.
    pub full: Option<HorizonTotals>,
    /// Customer by customer; none where nobody bought.
    pub counts: Option<CountCheck>,
}

impl CutoffTotals {
    /// Looks at one slice; `matrix` holds its rows. None where its window is not complete.
    #[must_use]
    pub(super) fn of(
        spec: &SliceSpec,
        columns: &Columns,
        log: &Log,
        slice: &Slice,
        matrix: &FeatureMatrix,
    ) -> Option<Self> {
        if slice.outcomes.len() != slice.customers.len() {
            return None;
        }
        let expected = columns.purchases().map(|column| matrix.column(column));
        let value = |purchases: &[f64]| -> f64 {
            purchases.iter().zip(matrix.column(columns.spend_mean())).map(|(n, m)| n * m).sum()
        };
        let purchases: Vec<f64> =
            slice.outcomes.iter().map(|outcome| f64::from(outcome.purchase_days)).collect();
        let near = HorizonTotals {
            days: spec.churn.get(),
            purchases_expected: expected[0].iter().sum(),
            purchases: purchases.iter().sum(),
            value_expected: value(expected[0]),
            value: slice.outcomes.iter().map(|outcome| outcome.spend.units()).sum(),
        };
        let full = full_outcomes(spec, log, slice).map(|(purchases, value_actual)| HorizonTotals {
            days: spec.value.get(),
            purchases_expected: expected[1].iter().sum(),
            purchases,
            value_expected: value(expected[1]),
            value: value_actual,
        });
        Some(Self {
            cutoff: slice.cutoff,
            customers: slice.customers.len(),
            near,
            full,
            counts: count_check(spec, slice, expected[0], &purchases),
        })
    }
}

/// Purchase days and spend of all customers within the value horizon; none where it is censored.
fn full_outcomes(spec: &SliceSpec, log: &Log, slice: &Slice) -> Option<(f64, f64)> {
    let as_of = AsOf::end_of(slice.cutoff, &spec.zone);
    let outcomes: Option<Vec<(f64, f64)>> = slice
        .customers
        .par_iter()
        .map(|&idx| {
            let events = &log.customers[idx].events;
            match label(events, as_of, spec.value, spec.last_observed, spec.stay) {
                Label::Complete(outcome) => {
                    Some((f64::from(outcome.purchase_days), outcome.spend.units()))
                }
                Label::Censored => None,
            }
        })
        .collect();
    let outcomes = outcomes?;
    Some(outcomes.iter().fold((0.0, 0.0), |(n, value), (m, spent)| (n + m, value + spent)))
}

fn count_check(
    spec: &SliceSpec,
    slice: &Slice,
    expected: &[f64],
    purchases: &[f64],
) -> Option<CountCheck> {
    let stage = slice.stage(spec);
    let step = purchases.len().div_ceil(QUANTILE_ROWS_MAX).max(1);
    let taken: Vec<usize> = (0..purchases.len()).step_by(step).collect();
    let inside: Vec<bool> = taken
        .par_iter()
        .map(|&row| {
            let [low, high] = stage.purchase_quantiles(&slice.inputs[row], LEVELS).map(f64::from);
            (low..=high).contains(&purchases[row])
        })
        .collect();
    Some(CountCheck {
        model: if slice.mix.is_some() { "mean" } else { slice.counts.name() },
        rmse: rmse(expected, purchases).ok()?,
        deviance: poisson_deviance(expected, purchases).ok()?,
        total_ratio: total_ratio(expected, purchases).ok()?,
        coverage: inside.iter().filter(|&&yes| yes).count() as f64 / inside.len().max(1) as f64,
    })
}

/// What of a horizon's totals is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TotalOf {
    /// Purchase days.
    Purchases,
    /// Spend.
    Value,
}

impl HorizonTotals {
    /// Logarithm of actual over expected; none where either is nothing.
    pub(super) fn log_ratio(&self, of: TotalOf) -> Option<f64> {
        let (actual, expected) = match of {
            TotalOf::Purchases => (self.purchases, self.purchases_expected),
            TotalOf::Value => (self.value, self.value_expected),
        };
        (actual > 0.0 && expected > 0.0).then(|| libm::log(actual / expected))
    }
}

/// Log ratios of all cutoffs over one horizon.
pub(super) fn log_ratios(
    totals: &[CutoffTotals],
    of: TotalOf,
    horizon: fn(&CutoffTotals) -> Option<HorizonTotals>,
) -> Vec<LogRatio> {
    let found = totals.iter().filter_map(|at| {
        let log_ratio = horizon(at)?.log_ratio(of)?;
        Some(LogRatio { day: at.cutoff.number(), log_ratio })
    });
    found.collect()
}
