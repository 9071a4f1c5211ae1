//! Rolling origins: what every candidate would have said at several past instants.
//!
//! In: the rows of all cutoffs. Out: for the newest cutoffs whose windows do not overlap, each
//! candidate's predictions for the window after the cutoff, learned only from windows that end by
//! it. Where no window ends by a cutoff only the closed form can answer there.
//! It deliberately chooses nothing: choosing is done from what stands here, later windows judging
//! earlier choices.
//!
//! One choice is made once for all origins: the kind of the purchase-count model, on the window
//! before the newest one. Its parameters are fitted anew at every cutoff.

use crate::domain::Day;
use crate::evaluate::{log_loss, tweedie_deviance};
use crate::model::{
    BoostedSpec, ChurnKind, ChurnParts, ChurnSpec, Columns, FitError, ValueHorizon, ValueKind,
    ValueModel, ValueParts, sigmoid,
};

use super::backtest::{ChurnMetrics, Rows, ValueMetrics, fit_parts, recency_rule};

/// Origins looked at; more would need more cutoffs than training has.
const ORIGINS_MAX: usize = 5;
/// Rows that may be learned from at all origins together; the two newest origins always stand.
/// A base of a million customers would else spend hours on windows of years ago.
const ROWS_MAX: usize = 2_000_000;
/// Rows of either outcome that older origins need to learn from, as the newest one does.
const OUTCOMES_MIN: usize = 200;

/// What the candidates said at one past instant, and how they did.
#[derive(Debug, Clone)]
pub struct OriginResult {
    /// The last day seen.
    pub cutoff: Day,
    /// Position among all cutoffs.
    pub at: usize,
    /// Windows that end by the cutoff: those learned from.
    pub n_windows: usize,
    /// Whether anything was learned there.
    pub learned: bool,
    /// Whether what was learned there comes from windows that reach back two horizons: models of
    /// less history are too unlike the one in use to base choices on.
    pub mature: bool,
    /// Log-odds of churn by candidate.
    pub churn: Vec<(ChurnKind, Vec<f64>)>,
    /// The plain rule on days since the last purchase.
    pub recency: Option<ChurnMetrics>,
    /// Expected spend within the churn horizon by candidate, before any correction.
    pub value: Vec<(ValueKind, Vec<f64>)>,
    /// Sum of the expected spend within the value horizon by candidate, before any correction.
    pub value_full: Vec<(ValueKind, f64)>,
    /// Total of each candidate on the newest window that it learned from, as the logarithm of
    /// actual over predicted; 0 where either is nothing.
    pub value_level: Vec<(ValueKind, f64)>,
}

impl OriginResult {
    /// Log-odds of a candidate, where it could answer.
    #[must_use]
    pub fn logits(&self, kind: ChurnKind) -> Option<&[f64]> {
        self.churn.iter().find(|(found, _)| *found == kind).map(|(_, z)| z.as_slice())
    }

    /// Expected spend by a candidate, where it could answer.
    #[must_use]
    pub fn means(&self, kind: ValueKind) -> Option<&[f64]> {
        self.value.iter().find(|(found, _)| *found == kind).map(|(_, means)| means.as_slice())
    }

    /// Total expected within the value horizon by a candidate.
    #[must_use]
    pub fn full_total(&self, kind: ValueKind) -> Option<f64> {
        self.value_full.iter().find(|(found, _)| *found == kind).map(|(_, total)| *total)
    }

    /// Level of a candidate on the newest window that it learned from.
    #[must_use]
    pub fn level(&self, kind: ValueKind) -> Option<f64> {
        self.value_level.iter().find(|(found, _)| *found == kind).map(|(_, level)| *level)
    }

    /// Metrics of all candidates; those that cannot be had (one outcome only) are left out.
    #[must_use]
    pub fn churn_metrics(&self, rows: &Rows) -> Vec<ChurnMetrics> {
        let of = |(kind, logits): &(ChurnKind, Vec<f64>)| {
            ChurnMetrics::new(kind.as_str(), &probs(logits), &rows.churned).ok()
        };
        self.churn.iter().filter_map(of).collect()
    }

    /// Metrics of all candidates with their kinds.
    #[must_use]
    pub fn value_metrics(&self, rows: &Rows) -> Vec<(ValueKind, ValueMetrics)> {
        let of = |(kind, means): &(ValueKind, Vec<f64>)| {
            Some((*kind, ValueMetrics::new(kind.as_str(), means, &rows.spend).ok()?))
        };
        self.value.iter().filter_map(of).collect()
    }

    /// Log loss of a candidate; infinite where there is none.
    #[must_use]
    pub fn churn_loss(&self, kind: ChurnKind, rows: &Rows) -> f64 {
        let loss = self.logits(kind).and_then(|z| log_loss(&probs(z), &rows.churned).ok());
        loss.unwrap_or(f64::INFINITY)
    }

    /// Deviance of a candidate; infinite where there is none.
    #[must_use]
    pub fn value_loss(&self, kind: ValueKind, rows: &Rows) -> f64 {
        let loss = self.means(kind).and_then(|means| tweedie_deviance(means, &rows.spend).ok());
        loss.unwrap_or(f64::INFINITY)
    }
}

/// Probabilities of log-odds.
pub(super) fn probs(logits: &[f64]) -> Vec<f64> {
    logits.iter().map(|&z| sigmoid(z)).collect()
}

/// The work of all origins.
#[derive(Debug, Clone, Copy)]
pub(super) struct OriginWork<'w> {
    /// Where columns lie.
    pub(super) columns: &'w Columns,
    /// Rows of all cutoffs, oldest first.
    pub(super) rows: &'w [(Day, Rows)],
    /// Length of the windows.
    pub(super) horizon_days: i32,
    /// Whether anything may be learned.
    pub(super) learn: bool,
    /// Whether less data than the minimum suffice.
    pub(super) allow_small: bool,
    /// Settings of the churn candidates.
    pub(super) churn: &'w ChurnSpec,
    /// Settings of the boosted spend.
    pub(super) value: &'w BoostedSpec,
}

impl OriginWork<'_> {
    /// Judges at all origins, oldest first; the newest cutoff is the last one.
    ///
    /// # Errors
    /// [`FitError`] of a part at the newest origin; an older one where nothing can be fitted has
    /// the closed form only.
    pub(super) fn run(&self) -> Result<Vec<OriginResult>, FitError> {
        let mut results = Vec::new();
        let mut n_rows = 0;
        for at in self.places() {
            let windows = self.windows_before(at);
            let rows: usize = windows.iter().map(|rows| rows.churned.len()).sum();
            n_rows += rows;
            if results.len() >= 2 && n_rows > ROWS_MAX {
                break;
            }
            let is_newest = results.is_empty();
            let result = match self.judge(at, &windows, is_newest) {
                Err(error) if is_newest => return Err(error),
                Err(_) => self.unlearned(at, &windows),
                Ok(result) => result,
            };
            results.push(result);
        }
        results.reverse();
        Ok(results)
    }

    /// Positions of the origins, newest first: each window ends by the cutoff of the next one.
    fn places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = Vec::new();
        for (at, (cutoff, _)) in self.rows.iter().enumerate().rev() {
            let follows =
                places.last().is_none_or(|&next| self.ends_by(*cutoff, self.rows[next].0));
            if follows && places.len() < ORIGINS_MAX {
                places.push(at);
            }
        }
        places
    }

    /// Whether the window after one cutoff ends by another.
    fn ends_by(&self, cutoff: Day, by: Day) -> bool {
        by.days_since(cutoff) >= self.horizon_days
    }

    fn windows_before(&self, at: usize) -> Vec<&Rows> {
        let by = self.rows[at].0;
        let before = self.rows.iter().filter(|(cutoff, _)| self.ends_by(*cutoff, by));
        before.map(|(_, rows)| rows).collect()
    }

    fn judge(
        &self,
        at: usize,
        windows: &[&Rows],
        is_newest: bool,
    ) -> Result<OriginResult, FitError> {
        let worth_it = is_newest || self.is_mature(at);
        let training = if worth_it { Rows::stack(windows) } else { None };
        let Some(training) = training.filter(|rows| is_newest || self.suffices(rows)) else {
            return Ok(self.unlearned(at, windows));
        };
        let (churn, value) =
            rayon::join(|| self.churn_parts(&training), || self.value_parts(&training));
        let recency = recency_rule(self.columns, &training, &self.rows[at].1);
        Ok(self.result(at, windows.len(), Some((churn?, value?)), recency))
    }

    /// Whether the windows that end by a cutoff reach back two horizons.
    fn is_mature(&self, at: usize) -> bool {
        let oldest = self.rows.first();
        oldest
            .is_some_and(|(oldest, _)| self.rows[at].0.days_since(*oldest) >= 2 * self.horizon_days)
    }

    /// Whether an older origin may learn from these rows.
    fn suffices(&self, rows: &Rows) -> bool {
        let left = rows.churned.iter().filter(|&&yes| yes).count();
        let least = left.min(rows.churned.len() - left);
        self.learn && least >= if self.allow_small { 1 } else { OUTCOMES_MIN }
    }

    fn churn_parts(&self, training: &Rows) -> Result<ChurnParts, FitError> {
        fit_parts(self.churn, self.columns, training, self.churn_kinds())
    }

    fn value_parts(&self, training: &Rows) -> Result<ValueParts, FitError> {
        value_parts(self.value, self.columns, training, self.learn)
    }

    /// Level of a model on the newest window that ends by a cutoff; 0 where there is none.
    fn level(&self, at: usize, model: &ValueModel) -> f64 {
        let by = self.rows[at].0;
        let newest = self.rows.iter().rev().find(|(cutoff, _)| self.ends_by(*cutoff, by));
        newest.map_or(0.0, |(_, rows)| log_level(self.columns, rows, model))
    }

    const fn churn_kinds(&self) -> &'static [ChurnKind] {
        if self.learn { &ChurnKind::PLAIN } else { &[ChurnKind::BaseRate, ChurnKind::Btyd] }
    }

    /// The closed forms alone; with a base rate where a window ends by the cutoff.
    fn unlearned(&self, at: usize, windows: &[&Rows]) -> OriginResult {
        let mut result = self.result(at, windows.len(), None, None);
        if let Some(training) = Rows::stack(windows) {
            let left = training.churned.iter().filter(|&&yes| yes).count();
            let parts = ChurnParts::unlearned(left as f64 / training.churned.len().max(1) as f64);
            let matrix = &self.rows[at].1.matrix;
            let logits = parts.logits(ChurnKind::BaseRate, self.columns, matrix);
            result.churn.insert(0, (ChurnKind::BaseRate, logits));
        }
        result
    }

    fn result(
        &self,
        at: usize,
        n_windows: usize,
        parts: Option<(ChurnParts, ValueParts)>,
        recency: Option<ChurnMetrics>,
    ) -> OriginResult {
        let (cutoff, rows) = &self.rows[at];
        let learned = self.learn && parts.is_some();
        let (churn_kinds, value_kinds): (&[ChurnKind], &[ValueKind]) = match &parts {
            Some(_) if self.learn => (&ChurnKind::PLAIN, &ValueKind::PLAIN),
            Some(_) => (self.churn_kinds(), &[ValueKind::Btyd]),
            None => (&[ChurnKind::Btyd], &[ValueKind::Btyd]),
        };
        let (churn, value) =
            parts.unwrap_or_else(|| (ChurnParts::unlearned(0.5), ValueParts::default()));
        let model = ValueModel { kind: ValueKind::Btyd, parts: value, factor: 1.0 };
        let means = |kind, horizon| -> Vec<f64> {
            model.means_by(kind, self.columns, &rows.matrix, horizon)
        };
        OriginResult {
            cutoff: *cutoff,
            at,
            n_windows,
            learned,
            mature: learned && self.is_mature(at),
            churn: churn_kinds
                .iter()
                .map(|&kind| (kind, churn.logits(kind, self.columns, &rows.matrix)))
                .collect(),
            recency,
            value: value_kinds
                .iter()
                .map(|&kind| (kind, means(kind, ValueHorizon::Observed)))
                .collect(),
            value_full: value_kinds
                .iter()
                .map(|&kind| (kind, means(kind, ValueHorizon::Full).iter().sum()))
                .collect(),
            value_level: value_kinds
                .iter()
                .map(|&kind| (kind, self.level(at, &ValueModel { kind, ..model.clone() })))
                .collect(),
        }
    }
}

/// Logarithm of a model's actual over predicted total on a window; 0 where either is nothing.
pub(super) fn log_level(columns: &Columns, rows: &Rows, model: &ValueModel) -> f64 {
    let means = model.means_by(model.kind, columns, &rows.matrix, ValueHorizon::Observed);
    let (predicted, actual): (f64, f64) = (means.iter().sum(), rows.spend.iter().sum());
    if predicted > 0.0 && actual > 0.0 { libm::log(actual / predicted) } else { 0.0 }
}

/// Fits the learned parts of value; nothing where nobody spent anything.
///
/// # Errors
/// [`FitError`].
pub(super) fn value_parts(
    spec: &BoostedSpec,
    columns: &Columns,
    rows: &Rows,
    learn: bool,
) -> Result<ValueParts, FitError> {
    // Refunds may exceed purchases; the Tweedie mean is not negative.
    let target: Vec<f64> = rows.spend.iter().map(|spend| spend.max(0.0)).collect();
    if !learn || !target.iter().any(|&spend| spend > 0.0) {
        return Ok(ValueParts::default());
    }
    let came: Vec<bool> = rows.churned.iter().map(|&left| !left).collect();
    ValueParts::fit(spec, columns, &rows.matrix, (&came, &target))
}
