//! Value: expected spend within the value horizon, and its interval.
//!
//! In: a row of features with the buy-till-you-die columns. Out: money. Learned values are fitted
//! on a horizon whose labels are complete and carried to the value horizon by the ratio of
//! expected purchases.

use crate::dataset::FeatureMatrix;

use super::boosted::{Boosted, BoostedSpec};
use super::columns::Columns;
use super::error::FitError;
use super::forest::Forest;
use super::glm::{TweedieGlm, TweedieGlmSpec};
use super::stack::StackWeights;

/// A candidate. Closed: a bundle must list what it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKind {
    /// Expected purchases times expected spend.
    Btyd,
    /// Tweedie regression on log-RFM and buy-till-you-die terms, carried to the value horizon.
    Glm,
    /// Boosted spend on top of the buy-till-you-die expectation, carried to the value horizon.
    Boosted,
    /// Mean of the last two.
    Blend,
    /// Mean of the first three, by weights that a backtest fitted.
    Stacked,
}

impl ValueKind {
    /// All candidates, simplest first.
    pub const ALL: [Self; 5] = [Self::Btyd, Self::Glm, Self::Boosted, Self::Blend, Self::Stacked];
    /// Those that need no weights of a backtest.
    pub const PLAIN: [Self; 4] = [Self::Btyd, Self::Glm, Self::Boosted, Self::Blend];
    /// The members of the stacked one, in the order of its weights.
    pub const MEMBERS: [Self; 3] = [Self::Btyd, Self::Glm, Self::Boosted];

    /// Its name in metrics and bundles.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Btyd => "btyd_gamma_gamma",
            Self::Glm => "tweedie_glm",
            Self::Boosted => "boosted_ratio",
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
#[derive(Debug, Clone, Default)]
pub struct ValueParts {
    /// Spend within the observed horizon.
    pub glm: Option<TweedieGlm>,
    /// Correction of the buy-till-you-die expectation of the observed horizon (log link).
    pub forest: Option<Forest>,
    /// Weights of the stacked candidate.
    pub stack: StackWeights,
}

impl ValueParts {
    /// Fits all parts on rows and the spend that followed (>= 0; some above 0).
    ///
    /// # Errors
    /// [`FitError`] of the part that failed.
    pub fn fit(
        spec: &BoostedSpec,
        columns: &Columns,
        rows: &FeatureMatrix,
        spend: &[f64],
    ) -> Result<Self, FitError> {
        let mut design: Vec<Vec<f64>> =
            vec![Vec::with_capacity(rows.n_rows()); Columns::n_value_design()];
        let mut margin = Vec::with_capacity(rows.n_rows());
        let mut row = vec![0.0; rows.n_columns()];
        for idx in 0..rows.n_rows() {
            rows.copy_row(idx, &mut row);
            margin.push(expected_spend(columns, &row, ValueHorizon::Observed).max(VALUE_MIN).ln());
            for (column, input) in design.iter_mut().zip(columns.value_design(&row)) {
                column.push(input);
            }
        }
        Ok(Self {
            glm: Some(TweedieGlm::fit(&TweedieGlmSpec::default(), &design, spend, None)?),
            forest: Some(Boosted::fit_on_margin(spec, rows, spend, &margin)?),
            stack: StackWeights::BLEND,
        })
    }

    /// Keeps only what a candidate needs.
    #[must_use]
    pub fn only(self, kind: ValueKind) -> Self {
        let Self { glm, forest, stack } = self;
        let [linear, trees] = match kind {
            ValueKind::Btyd => [false, false],
            ValueKind::Glm => [true, false],
            ValueKind::Boosted => [false, true],
            ValueKind::Blend => [true, true],
            ValueKind::Stacked => [stack.uses(1), stack.uses(2)],
        };
        Self { glm: glm.filter(|_| linear), forest: forest.filter(|_| trees), stack }
    }
}

/// Expected spend below this (in units) counts as this much where a logarithm is taken.
pub(super) const VALUE_MIN: f64 = 1e-6;

/// Expected purchases times expected spend, without correction.
fn expected_spend(columns: &Columns, row: &[f64], horizon: ValueHorizon) -> f64 {
    let purchases = match horizon {
        ValueHorizon::Observed => row[columns.btyd_purchases_churn],
        ValueHorizon::Full => row[columns.btyd_purchases_value],
    };
    purchases * row[columns.btyd_spend]
}

/// The chosen candidate.
#[derive(Debug, Clone)]
pub struct ValueModel {
    /// Which one.
    pub kind: ValueKind,
    /// What it needs.
    pub parts: ValueParts,
    /// Factor that corrects its total on the newest complete window, > 0.
    pub factor: f64,
}

/// A horizon to predict spend for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueHorizon {
    /// The churn horizon, on which labels are complete.
    Observed,
    /// The value horizon.
    Full,
}

impl ValueModel {
    /// Expected spend within a horizon, >= 0, by a candidate, without the factor.
    #[must_use]
    pub fn mean_by(
        &self,
        kind: ValueKind,
        columns: &Columns,
        row: &[f64],
        horizon: ValueHorizon,
    ) -> f64 {
        let btyd = expected_spend(columns, row, horizon);
        let near = row[columns.btyd_purchases_churn];
        // How much more is expected of the horizon than of the observed one.
        let ratio = match horizon {
            ValueHorizon::Full if near > 0.0 => row[columns.btyd_purchases_value] / near,
            ValueHorizon::Full | ValueHorizon::Observed => 1.0,
        };
        let glm = || {
            let glm = self.parts.glm.as_ref();
            glm.map_or(btyd, |glm| glm.predict(&columns.value_design(row)) * ratio)
        };
        // What the trees multiply has a floor; in a mean with them the closed form has it, too.
        let floored = || btyd.max(VALUE_MIN * ratio);
        let boosted = || {
            let forest = self.parts.forest.as_ref();
            forest.map_or(btyd, |forest| floored() * forest.predict(row))
        };
        match kind {
            ValueKind::Btyd => btyd,
            ValueKind::Glm => glm(),
            ValueKind::Boosted => boosted(),
            ValueKind::Blend => StackWeights::BLEND.sum([&floored, &glm, &boosted]),
            ValueKind::Stacked => self.parts.stack.sum([&floored, &glm, &boosted]),
        }
    }

    /// Expected spend within a horizon, >= 0.
    #[must_use]
    pub fn mean(&self, columns: &Columns, row: &[f64], horizon: ValueHorizon) -> f64 {
        self.factor * self.mean_by(self.kind, columns, row, horizon)
    }
}

/// Bins of the interval table: deciles of the predicted mean.
const BINS: usize = 10;
/// Fewer rows than this a bin, and bins are merged.
const BIN_ROWS_MIN: usize = 40;

/// One bin of the interval table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalBin {
    /// Largest predicted mean of the bin.
    pub mean_max: f64,
    /// Quantiles of actual over predicted: 10 %, 50 %, 90 %.
    pub ratios: [f64; 3],
}

/// Split-conformal interval, by bins of the predicted mean (Vovk's Mondrian form): quantiles of
/// actual over predicted on a window that the models had not seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IntervalTable {
    /// Ascending by `mean_max`; empty where no window was complete: then no interval is claimed.
    pub bins: Vec<IntervalBin>,
}

impl IntervalTable {
    /// From predicted means (> 0) and what came, of one window. Negative outcomes (refunds) count
    /// as they are.
    #[must_use]
    pub fn fit(predicted: &[f64], actual: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..predicted.len()).filter(|&i| predicted[i] > 0.0).collect();
        order.sort_by(|&a, &b| predicted[a].total_cmp(&predicted[b]).then(a.cmp(&b)));
        let n_bins = (order.len() / BIN_ROWS_MIN).clamp(usize::from(!order.is_empty()), BINS);
        let mut bins = Vec::with_capacity(n_bins);
        for bin in 0..n_bins {
            let rows = &order[bin * order.len() / n_bins..(bin + 1) * order.len() / n_bins];
            let mut ratios: Vec<f64> = rows.iter().map(|&i| actual[i] / predicted[i]).collect();
            ratios.sort_by(f64::total_cmp);
            let mean_max = rows.last().map_or(0.0, |&i| predicted[i]);
            bins.push(IntervalBin {
                mean_max,
                ratios: [0.1, 0.5, 0.9].map(|q| conformal(&ratios, q)),
            });
        }
        Self { bins }
    }

    /// 10th percentile, median and 90th percentile of a customer's spend: the bin is found by the
    /// mean predicted for the observed horizon, its ratios are applied to `mean`. NaN without a
    /// table.
    #[must_use]
    pub fn quantiles(&self, observed_mean: f64, mean: f64) -> [f64; 3] {
        let at = self.bins.partition_point(|bin| bin.mean_max < observed_mean);
        let bin = self.bins.get(at).or_else(|| self.bins.last());
        bin.map_or([f64::NAN; 3], |bin| bin.ratios.map(|ratio| ratio * mean))
    }
}

/// The conformal quantile of ascending numbers: rank `ceil((n + 1) q)`, kept inside.
fn conformal(sorted: &[f64], q: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "q is in (0, 1): the rank lies in 1..=n + 1"
    )]
    let rank = ((sorted.len() as f64 + 1.0) * q).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_covers_its_own_window_at_the_nominal_rate() {
        let predicted: Vec<f64> = (1..=2000).map(f64::from).collect();
        let actual: Vec<f64> = predicted
            .iter()
            .enumerate()
            .map(|(idx, mean)| mean * ((idx * 7919) % 100) as f64 / 50.0)
            .collect();
        let table = IntervalTable::fit(&predicted, &actual);
        let covered = predicted
            .iter()
            .zip(&actual)
            .filter(|(mean, actual)| {
                let [low, _, high] = table.quantiles(**mean, **mean);
                (low..=high).contains(*actual)
            })
            .count();
        assert!((1560..=1680).contains(&covered), "{covered} of 2000");
        let [low, mid, high] = table.quantiles(1e9, 1e9);
        assert!(low <= mid && mid <= high);
    }

    #[test]
    fn no_window_gives_no_interval() {
        let table = IntervalTable::fit(&[], &[]);
        assert!(table.quantiles(5.0, 5.0)[0].is_nan());
    }
}
