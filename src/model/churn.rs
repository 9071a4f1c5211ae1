//! Churn: the candidates' parts, and the chosen candidate with its calibration.
//!
//! In: a row of features with the buy-till-you-die columns. Out: log-odds of churn. The blend
//! averages log-odds, so contributions stay additive.

use crate::dataset::FeatureMatrix;

use super::boosted::{Boosted, BoostedSpec};
use super::calibrate::LogitLine;
use super::columns::Columns;
use super::error::FitError;
use super::forest::Forest;
use super::link::{clamp_prob, logit, sigmoid};
use super::logistic::{Logistic, LogisticSpec};
use super::stack::StackWeights;

/// A candidate. Closed: a bundle must list what it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChurnKind {
    /// Everybody gets the base rate.
    BaseRate,
    /// The closed form of the purchase-count model.
    Btyd,
    /// Logistic regression on log-RFM and buy-till-you-die terms.
    Logistic,
    /// Gradient boosting on all features, on top of the closed form.
    Boosted,
    /// Mean of the log-odds of the last two.
    Blend,
    /// Mean of the log-odds of closed form, regression and trees, by weights of a backtest.
    Stacked,
}

impl ChurnKind {
    /// All candidates, simplest first.
    pub const ALL: [Self; 6] =
        [Self::BaseRate, Self::Btyd, Self::Logistic, Self::Boosted, Self::Blend, Self::Stacked];
    /// Those that need no weights of a backtest.
    pub const PLAIN: [Self; 5] =
        [Self::BaseRate, Self::Btyd, Self::Logistic, Self::Boosted, Self::Blend];
    /// The members of the stacked one, in the order of its weights.
    pub const MEMBERS: [Self; 3] = [Self::Btyd, Self::Logistic, Self::Boosted];

    /// Its name in metrics and bundles.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BaseRate => "base_rate",
            Self::Btyd => "btyd",
            Self::Logistic => "logistic",
            Self::Boosted => "boosted",
            Self::Blend => "blend",
            Self::Stacked => "stacked",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the candidates are made of. Learned parts are absent where the data did not allow them.
#[derive(Debug, Clone)]
pub struct ChurnParts {
    /// Log-odds of the base rate.
    pub base_logit: f64,
    /// The logistic regression.
    pub logistic: Option<Logistic>,
    /// The boosted trees.
    pub forest: Option<Forest>,
    /// Weights of the stacked candidate.
    pub stack: StackWeights,
}

/// Settings of the learned parts.
#[derive(Debug, Clone, PartialEq)]
pub struct ChurnSpec {
    /// Of the logistic regression.
    pub logistic: LogisticSpec,
    /// Of the boosted trees.
    pub boosted: BoostedSpec,
}

impl ChurnParts {
    /// Fits all parts on rows and their labels.
    ///
    /// # Errors
    /// [`FitError`] of the part that failed.
    pub fn fit(
        spec: &ChurnSpec,
        columns: &Columns,
        rows: &FeatureMatrix,
        churned: &[bool],
    ) -> Result<Self, FitError> {
        let n_churned = churned.iter().filter(|&&yes| yes).count();
        let share = n_churned as f64 / churned.len().max(1) as f64;
        let mut design: Vec<Vec<f64>> =
            vec![Vec::with_capacity(rows.n_rows()); Columns::n_design()];
        let mut row = vec![0.0; rows.n_columns()];
        let mut margin = Vec::with_capacity(rows.n_rows());
        for idx in 0..rows.n_rows() {
            rows.copy_row(idx, &mut row);
            margin.push(closed_form(columns, &row));
            for (column, input) in design.iter_mut().zip(columns.design(&row)) {
                column.push(input);
            }
        }
        let target: Vec<f64> = churned.iter().map(|&yes| f64::from(u8::from(yes))).collect();
        Ok(Self {
            base_logit: logit(clamp_prob(share)),
            logistic: Some(Logistic::fit(&spec.logistic, &design, churned)?),
            forest: Some(Boosted::fit_on_margin(&spec.boosted, rows, &target, &margin)?),
            stack: StackWeights::BLEND,
        })
    }

    /// Parts without anything learned but the base rate.
    #[must_use]
    pub fn unlearned(base_rate: f64) -> Self {
        Self {
            base_logit: logit(clamp_prob(base_rate)),
            logistic: None,
            forest: None,
            stack: StackWeights::BLEND,
        }
    }

    /// Log-odds of churn by one candidate; the closed form stands in for an absent part.
    #[must_use]
    pub fn logit(&self, kind: ChurnKind, columns: &Columns, row: &[f64]) -> f64 {
        let btyd = || closed_form(columns, row);
        let logistic =
            || self.logistic.as_ref().map_or_else(btyd, |model| model.logit(&columns.design(row)));
        let boosted = || btyd() + self.forest.as_ref().map_or(0.0, |model| model.margin(row));
        match kind {
            ChurnKind::BaseRate => self.base_logit,
            ChurnKind::Btyd => btyd(),
            ChurnKind::Logistic => logistic(),
            ChurnKind::Boosted => boosted(),
            ChurnKind::Blend => StackWeights::BLEND.sum([&btyd, &logistic, &boosted]),
            ChurnKind::Stacked => self.stack.sum([&btyd, &logistic, &boosted]),
        }
    }

    /// Log-odds of all rows.
    #[must_use]
    pub fn logits(&self, kind: ChurnKind, columns: &Columns, rows: &FeatureMatrix) -> Vec<f64> {
        rows.map_rows(|row| self.logit(kind, columns, row))
    }

    /// Keeps only what a candidate needs.
    #[must_use]
    pub fn only(self, kind: ChurnKind) -> Self {
        let Self { base_logit, logistic, forest, stack } = self;
        let [linear, trees] = match kind {
            ChurnKind::BaseRate | ChurnKind::Btyd => [false, false],
            ChurnKind::Logistic => [true, false],
            ChurnKind::Boosted => [false, true],
            ChurnKind::Blend => [true, true],
            ChurnKind::Stacked => [stack.uses(1), stack.uses(2)],
        };
        Self {
            base_logit,
            logistic: logistic.filter(|_| linear),
            forest: forest.filter(|_| trees),
            stack,
        }
    }
}

/// Log-odds of the closed form. The trees are grown on top of it: they learn what it gets wrong,
/// so that rows older than any of training are carried by the model of the process.
fn closed_form(columns: &Columns, row: &[f64]) -> f64 {
    logit(clamp_prob(row[columns.btyd_churn]))
}

/// The chosen candidate.
#[derive(Debug, Clone)]
pub struct ChurnModel {
    /// Which one.
    pub kind: ChurnKind,
    /// What it needs.
    pub parts: ChurnParts,
    /// Recalibration of its log-odds; the identity where none was kept.
    pub calibration: LogitLine,
}

impl ChurnModel {
    /// Calibrated log-odds of churn.
    #[must_use]
    pub fn log_odds(&self, columns: &Columns, row: &[f64]) -> f64 {
        self.calibration.apply(self.parts.logit(self.kind, columns, row))
    }

    /// Calibrated probability of churn, in (0, 1).
    #[must_use]
    pub fn prob(&self, columns: &Columns, row: &[f64]) -> f64 {
        sigmoid(self.log_odds(columns, row))
    }
}
