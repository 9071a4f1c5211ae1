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
use super::hurdle::Hurdle;
use super::stack::StackWeights;

/// A candidate. Closed: a bundle must list what it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKind {
    /// Expected purchases times expected spend.
    Btyd,
    /// Tweedie regression on log-RFM and buy-till-you-die terms, carried to the value horizon.
    Glm,
    /// Whether anything is bought, times what buyers spend, carried to the value horizon.
    Hurdle,
    /// Boosted spend on top of the buy-till-you-die expectation, carried to the value horizon.
    Boosted,
    /// Mean of the Tweedie regression and the boosted spend.
    Blend,
    /// Mean of the members, by weights that a backtest fitted.
    Stacked,
}

impl ValueKind {
    /// All candidates, simplest first.
    pub const ALL: [Self; 6] =
        [Self::Btyd, Self::Glm, Self::Hurdle, Self::Boosted, Self::Blend, Self::Stacked];
    /// Those that need no weights of a backtest.
    pub const PLAIN: [Self; 5] = [Self::Btyd, Self::Glm, Self::Hurdle, Self::Boosted, Self::Blend];
    /// The members of the stacked one, in the order of its weights.
    pub const MEMBERS: [Self; 3] = [Self::Btyd, Self::Glm, Self::Boosted];

    /// Its name in metrics and bundles.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Btyd => "btyd_gamma_gamma",
            Self::Glm => "tweedie_glm",
            Self::Hurdle => "hurdle",
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
    /// The same spend in two parts.
    pub hurdle: Option<Hurdle>,
    /// Correction of the buy-till-you-die expectation of the observed horizon (log link).
    pub forest: Option<Forest>,
    /// Weights of the stacked candidate.
    pub stack: StackWeights,
}

impl ValueParts {
    /// Fits all parts on rows, who bought, and the spend that followed (>= 0; some above 0). A
    /// hurdle that cannot be fitted (all bought) is left out: the closed form stands in for it.
    ///
    /// # Errors
    /// [`FitError`] of the part that failed.
    pub fn fit(
        spec: &BoostedSpec,
        columns: &Columns,
        rows: &FeatureMatrix,
        (came, spend): (&[bool], &[f64]),
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
            hurdle: Hurdle::fit(columns, rows, came, spend).ok(),
            forest: Some(Boosted::fit_on_margin(spec, rows, spend, &margin)?),
            stack: StackWeights::BLEND,
        })
    }

    /// Keeps only what a candidate needs.
    #[must_use]
    pub fn only(self, kind: ValueKind) -> Self {
        let Self { glm, hurdle, forest, stack } = self;
        let hurdle = hurdle.filter(|_| kind == ValueKind::Hurdle);
        let [linear, trees] = match kind {
            ValueKind::Btyd | ValueKind::Hurdle => [false, false],
            ValueKind::Glm => [true, false],
            ValueKind::Boosted => [false, true],
            ValueKind::Blend => [true, true],
            ValueKind::Stacked => [stack.uses(1), stack.uses(2)],
        };
        Self { glm: glm.filter(|_| linear), hurdle, forest: forest.filter(|_| trees), stack }
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
        let learned = self.learned(kind, columns, row, None);
        mean_given(kind, columns, row, horizon, learned)
    }

    /// The trees that it asks.
    #[must_use]
    pub fn trees(&self) -> Option<&Forest> {
        self.trees_of(self.kind)
    }

    fn trees_of(&self, kind: ValueKind) -> Option<&Forest> {
        let asked = match kind {
            ValueKind::Boosted | ValueKind::Blend => true,
            ValueKind::Stacked => self.parts.stack.uses(2),
            ValueKind::Btyd | ValueKind::Glm | ValueKind::Hurdle => false,
        };
        self.parts.forest.as_ref().filter(|_| asked)
    }

    /// What its learned parts say of a row; `margin` is that of the trees where it is known.
    fn learned(
        &self,
        kind: ValueKind,
        columns: &Columns,
        row: &[f64],
        margin: Option<f64>,
    ) -> Learned {
        let glm = self.parts.glm.as_ref();
        let glm = glm.filter(|_| match kind {
            ValueKind::Glm | ValueKind::Blend => true,
            ValueKind::Stacked => self.parts.stack.uses(1),
            ValueKind::Btyd | ValueKind::Hurdle | ValueKind::Boosted => false,
        });
        let hurdle = self.parts.hurdle.as_ref().filter(|_| kind == ValueKind::Hurdle);
        let correction =
            |forest: &Forest| forest.link().predict(margin.unwrap_or_else(|| forest.margin(row)));
        Learned {
            spend: glm
                .map(|glm| glm.predict(&columns.value_design(row)))
                .or_else(|| hurdle.map(|hurdle| hurdle.mean(columns, row))),
            correction: self.trees_of(kind).map(correction),
            stack: self.parts.stack,
        }
    }

    /// Expected spend within a horizon, >= 0.
    #[must_use]
    pub fn mean(&self, columns: &Columns, row: &[f64], horizon: ValueHorizon) -> f64 {
        self.factor * self.mean_by(self.kind, columns, row, horizon)
    }

    /// Expected spend within the full horizon and within the observed one; `margin` is that of the
    /// trees where it is known.
    pub(super) fn means(&self, columns: &Columns, row: &[f64], margin: Option<f64>) -> [f64; 2] {
        let learned = self.learned(self.kind, columns, row, margin);
        [ValueHorizon::Full, ValueHorizon::Observed]
            .map(|horizon| self.factor * mean_given(self.kind, columns, row, horizon, learned))
    }

    /// Expected spend of all rows within a horizon, >= 0, by a candidate, without the factor.
    #[must_use]
    pub fn means_by(
        &self,
        kind: ValueKind,
        columns: &Columns,
        rows: &FeatureMatrix,
        horizon: ValueHorizon,
    ) -> Vec<f64> {
        let margins = self.trees_of(kind).and_then(|forest| forest.margins(rows).ok());
        let mut margins = margins.unwrap_or_default().into_iter();
        rows.map_rows(|row| {
            let learned = self.learned(kind, columns, row, margins.next());
            mean_given(kind, columns, row, horizon, learned)
        })
    }
}

/// What the learned parts say of a row, whatever the horizon; none of an absent part.
#[derive(Debug, Clone, Copy)]
struct Learned {
    /// Spend within the observed horizon by the regression, or by the hurdle.
    spend: Option<f64>,
    /// Factor by which the trees correct the buy-till-you-die expectation.
    correction: Option<f64>,
    /// Weights of the stacked candidate.
    stack: StackWeights,
}

/// Expected spend by a candidate, without the factor.
fn mean_given(
    kind: ValueKind,
    columns: &Columns,
    row: &[f64],
    horizon: ValueHorizon,
    learned: Learned,
) -> f64 {
    let btyd = expected_spend(columns, row, horizon);
    let near = row[columns.btyd_purchases_churn];
    // How much more is expected of the horizon than of the observed one.
    let ratio = match horizon {
        ValueHorizon::Full if near > 0.0 => row[columns.btyd_purchases_value] / near,
        ValueHorizon::Full | ValueHorizon::Observed => 1.0,
    };
    let glm = || learned.spend.map_or(btyd, |spend| spend * ratio);
    // What the trees multiply has a floor; in a mean with them the closed form has it, too.
    let floored = || btyd.max(VALUE_MIN * ratio);
    let boosted = || learned.correction.map_or(btyd, |by| floored() * by);
    match kind {
        ValueKind::Btyd => btyd,
        ValueKind::Glm | ValueKind::Hurdle => glm(),
        ValueKind::Boosted => boosted(),
        ValueKind::Blend => StackWeights::BLEND.sum([&floored, &glm, &boosted]),
        ValueKind::Stacked => learned.stack.sum([&floored, &glm, &boosted]),
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
