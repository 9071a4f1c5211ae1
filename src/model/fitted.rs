//! The fitted whole: from a history to a score.

use crate::domain::AsOf;
use crate::features::{BaseStats, FeatureDef, FeatureSchema, definitions, extract};
use crate::history::History;

use super::btyd::BtydRow;
use super::churn::ChurnModel;
use super::columns::{Columns, MissingColumn};
use super::forest::Forest;
use super::horizons::{HorizonModel, RowBlock, by_horizon};
use super::score::{Clv, HorizonProb, Score};
use super::stage::{BTYD_COLUMNS, BtydStage};
use super::value::{IntervalTable, ValueModel};

/// A value this many training ranges outside of the training range has no precedent.
const RANGES_OUTSIDE: f64 = 10.0;

/// All features of a row, in order: those of the history, then the buy-till-you-die columns.
#[must_use]
pub fn row_definitions() -> Vec<FeatureDef> {
    let mut all = definitions();
    all.extend_from_slice(BTYD_COLUMNS);
    all
}

/// Everything fitted that a score needs.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// What the base contributes to features.
    pub base: BaseStats,
    /// The buy-till-you-die stage.
    pub stage: BtydStage,
    /// The churn model.
    pub churn: ChurnModel,
    /// Churn models of further horizons, ascending by days, each once.
    pub horizons: Vec<HorizonModel>,
    /// The value model; none where amounts are missing.
    pub value: Option<ValueModel>,
    /// Its interval.
    pub intervals: IntervalTable,
    /// Ascending quantiles of the predicted value over the reference base.
    pub value_quantiles: Vec<f64>,
    /// Smallest and largest training value of each column.
    pub ranges: Vec<[f64; 2]>,
    /// Days of the churn horizon.
    pub churn_days: u16,
    /// Days of the value horizon.
    pub value_days: u16,
    /// Whether the value horizon is longer than any complete window that judged it.
    pub extrapolated: bool,
}

/// Margins of the trees for a row; none where no trees are asked.
#[derive(Debug, Clone, Copy, Default)]
struct Margins {
    churn: Option<f64>,
    value: Option<f64>,
}

/// A fitted whole tied to its schema, ready to score.
#[derive(Debug, Clone)]
pub struct Predictor {
    fitted: Fitted,
    schema: FeatureSchema,
    columns: Columns,
    /// Of each column, the values beyond which there is no precedent.
    bounds: Vec<[f64; 2]>,
}

impl Predictor {
    /// Ties the models to the schema of this version.
    ///
    /// # Errors
    /// [`MissingColumn`] when the schema lacks a column that a model names.
    pub fn try_new(fitted: Fitted) -> Result<Self, MissingColumn> {
        let schema = FeatureSchema::new(&row_definitions());
        let columns = Columns::try_new(&schema)?;
        let bounds = fitted.ranges.iter().map(|&range| bounds_of(range)).collect();
        Ok(Self { fitted, schema, columns, bounds })
    }

    /// The models.
    #[must_use]
    pub const fn fitted(&self) -> &Fitted {
        &self.fitted
    }

    /// The schema of its rows.
    #[must_use]
    pub const fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Positions of the columns that the models name.
    #[must_use]
    pub const fn columns(&self) -> &Columns {
        &self.columns
    }

    /// A customer's row as of an instant, written over `row`.
    pub fn row(&self, history: &History, as_of: AsOf, row: &mut Vec<f64>) {
        row.clear();
        self.append_row(history, as_of, row);
    }

    /// A customer's row as of an instant, appended to `row`.
    pub fn append_row(&self, history: &History, as_of: AsOf, row: &mut Vec<f64>) {
        extract(&self.fitted.base, history, as_of, row);
        let stage = &self.fitted.stage;
        stage.append(stage.input(history, as_of).as_ref(), row);
    }

    /// What the models say of one row; `historic` is the value realised so far. A customer who
    /// has not bought has no churn probability and no predicted value.
    #[must_use]
    pub fn score(&self, row: &[f64], historic: f64) -> Score {
        let bought = !row[self.columns.btyd_churn].is_nan();
        let trees = if bought { self.margins(row) } else { Margins::default() };
        let further = self.further_probs(row);
        self.score_given(row, historic, (trees, self.horizon_probs(&further, 0)))
    }

    /// The same of many rows that lie one after another, each with its value realised so far:
    /// the same bits as [`Predictor::score`], for less than one by one.
    #[must_use]
    pub fn score_many(&self, rows: &[f64], historic: &[f64]) -> Vec<Score> {
        let Fitted { churn, value, .. } = &self.fitted;
        let asked = [churn.parts.trees(churn.kind), value.as_ref().and_then(ValueModel::trees)];
        // Rows of another width have no margins, and are walked one by one below.
        let [of_churn, of_value] = margins_of_two(asked, rows, historic.len());
        let at = |margins: &Option<Vec<f64>>, idx: usize| {
            margins.as_ref().and_then(|margins| margins.get(idx).copied())
        };
        let further = self.further_probs(rows);
        let rows = rows.chunks(self.schema.features().len().max(1)).zip(historic).enumerate();
        rows.map(|(idx, (row, &historic))| {
            let trees = Margins { churn: at(&of_churn, idx), value: at(&of_value, idx) };
            self.score_given(row, historic, (trees, self.horizon_probs(&further, idx)))
        })
        .collect()
    }

    /// Probabilities within each further horizon, by horizon, then by row.
    fn further_probs(&self, rows: &[f64]) -> Vec<Vec<f64>> {
        let Fitted { horizons, stage, .. } = &self.fitted;
        let block = RowBlock { cells: rows, width: self.schema.features().len() };
        horizons.iter().map(|horizon| horizon.probs(stage, &self.columns, &block)).collect()
    }

    /// Those of one row.
    fn horizon_probs(&self, further: &[Vec<f64>], idx: usize) -> Vec<HorizonProb> {
        let horizons = self.fitted.horizons.iter().zip(further);
        horizons
            .filter_map(|(horizon, probs)| {
                Some(HorizonProb { days: horizon.days, prob: *probs.get(idx)? })
            })
            .collect()
    }

    /// What the trees say of a row.
    fn margins(&self, row: &[f64]) -> Margins {
        let Fitted { churn, value, .. } = &self.fitted;
        let margin = |forest: &Forest| forest.margin(row);
        Margins {
            churn: churn.parts.trees(churn.kind).map(margin),
            value: value.as_ref().and_then(ValueModel::trees).map(margin),
        }
    }

    fn score_given(
        &self,
        row: &[f64],
        historic: f64,
        (trees, further): (Margins, Vec<HorizonProb>),
    ) -> Score {
        let Fitted { churn, value, churn_days, value_days, .. } = &self.fitted;
        let bought = !row[self.columns.btyd_churn].is_nan();
        let clv = value.as_ref().filter(|_| bought).map(|value| {
            let [mean, observed] = value.means(&self.columns, row, trees.value);
            let [p10, p50, p90] = self.interval(row, mean, observed);
            let quantiles = &self.fitted.value_quantiles;
            let below = quantiles.partition_point(|&quantile| quantile < mean);
            Clv {
                mean,
                p10,
                p50,
                p90,
                historic,
                percentile: below as f64 / quantiles.len().max(1) as f64,
                horizon_days: *value_days,
                extrapolated: self.fitted.extrapolated,
            }
        });
        let margin = trees.churn.unwrap_or(0.0);
        let churn_prob = bought.then(|| churn.prob_given(&self.columns, row, margin));
        let churn_by_horizon = match churn_prob {
            Some(prob) if !further.is_empty() => {
                by_horizon(HorizonProb { days: *churn_days, prob }, &further)
            }
            _ => Vec::new(),
        };
        Score {
            churn_prob,
            churn_horizon_days: *churn_days,
            churn_by_horizon,
            clv,
            expected_purchases: bought.then(|| row[self.columns.btyd_purchases_value]),
            p_alive: bought.then(|| row[self.columns.btyd_alive]),
            out_of_distribution: bought && self.is_outside(row),
        }
    }

    /// 10th percentile, median and 90th percentile: conformal where a window was there to learn
    /// them from, else those of the purchase count times the expected spend.
    fn interval(&self, row: &[f64], mean: f64, observed: f64) -> [f64; 3] {
        let Fitted { intervals, stage, .. } = &self.fitted;
        if !intervals.bins.is_empty() {
            return intervals.quantiles(observed, mean);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of purchase days that came from a u32"
        )]
        let x = row[self.columns.frequency].max(0.0) as u32;
        let weeks = |column: usize| row[column] / 7.0;
        let purchases =
            BtydRow { x, t_x: weeks(self.columns.active_span), t: weeks(self.columns.tenure) };
        let spend = row[self.columns.btyd_spend];
        let mut weeks = stage.value_weeks;
        if stage.clock.is_some() || stage.covariates.is_some() || stage.mix.is_some() {
            // The row holds calendar days and no covariates, and a mean of models has no quantile:
            // the horizon is stretched until the one model expects as much as the row says.
            let own = row[self.columns.btyd_purchases_value];
            let plain = stage.counts.expected_purchases(&purchases, weeks);
            weeks *= if plain > 0.0 { (own / plain).clamp(0.01, 100.0) } else { 1.0 };
        }
        [0.1, 0.5, 0.9].map(|level| {
            let count = stage.counts.purchase_quantile(&purchases, weeks, level);
            f64::from(count) * spend
        })
    }

    fn is_outside(&self, row: &[f64]) -> bool {
        let beyond = |(&number, &[low, high]): (&f64, &[f64; 2])| number > high || number < low;
        // Without a way out in between: most customers have to be held against all columns.
        row.iter().zip(&self.bounds).fold(false, |outside, pair| outside | beyond(pair))
    }
}

/// The margins of many rows by each of two forests; none of one that is not there, or that does not
/// take them.
fn margins_of_two(
    forests: [Option<&Forest>; 2],
    rows: &[f64],
    n_rows: usize,
) -> [Option<Vec<f64>>; 2] {
    let mut margins = forests.map(|forest| forest.map(|_| Vec::with_capacity(n_rows)));
    let mut asked: Vec<(&Forest, &mut Vec<f64>)> =
        forests.into_iter().flatten().zip(margins.iter_mut().flatten()).collect();
    match Forest::margins_of_all(&mut asked, rows) {
        Ok(()) => margins,
        Err(_) => [None, None],
    }
}

/// How far outside of the training range a value has no precedent.
fn bounds_of([low, high]: [f64; 2]) -> [f64; 2] {
    let slack = RANGES_OUTSIDE * (high - low);
    if high > low {
        [low - slack, high + slack]
    } else {
        // A column that did not vary in training tells the models nothing, whatever it says.
        [f64::NEG_INFINITY, f64::INFINITY]
    }
}
