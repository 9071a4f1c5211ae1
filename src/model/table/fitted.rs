//! The fitted whole of a table: from a row of numbers to a score.
//!
//! Every candidate is a sum on the scale of its link (log-odds of churn, logarithm of value), so
//! what each column adds can be told exactly.

use crate::dataset::FeatureMatrix;

use super::schema::{ColumnKind, TableSchema};
use crate::model::boosted::{Boosted, BoostedSpec, Objective};
use crate::model::calibrate::LogitLine;
use crate::model::error::FitError;
use crate::model::forest::Forest;
use crate::model::glm::{TweedieGlm, TweedieGlmSpec};
use crate::model::link::{clamp_prob, logit, sigmoid};
use crate::model::logistic::{Logistic, LogisticSpec};
use crate::model::score::{Clv, Score};
use crate::model::value::IntervalTable;

/// A value this many training ranges outside of the training range has no precedent.
const RANGES_OUTSIDE: f64 = 10.0;

/// A candidate. Closed: a bundle must list what it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableKind {
    /// The same for everybody: base rate or mean.
    Constant,
    /// Logistic or Tweedie regression.
    Linear,
    /// Gradient boosting.
    Boosted,
    /// Mean of the last two on the scale of their link.
    Blend,
}

impl TableKind {
    /// All candidates, simplest first.
    pub const ALL: [Self; 4] = [Self::Constant, Self::Linear, Self::Boosted, Self::Blend];

    /// Its name among churn models, in metrics and bundles.
    #[must_use]
    pub const fn churn_name(self) -> &'static str {
        match self {
            Self::Constant => "base_rate",
            Self::Linear => "logistic",
            Self::Boosted => "boosted",
            Self::Blend => "blend",
        }
    }

    /// Its name among value models, in metrics and bundles.
    #[must_use]
    pub const fn value_name(self) -> &'static str {
        match self {
            Self::Constant => "mean",
            Self::Linear => "tweedie_glm",
            Self::Boosted => "boosted",
            Self::Blend => "blend",
        }
    }

    /// What regression and trees weigh in the candidate's sum: its explanation is theirs, so
    /// weighted.
    #[must_use]
    pub const fn weights(self) -> [f64; 2] {
        match self {
            Self::Constant => [0.0, 0.0],
            Self::Linear => [1.0, 0.0],
            Self::Boosted => [0.0, 1.0],
            Self::Blend => [0.5, 0.5],
        }
    }

    const fn has_linear(self) -> bool {
        matches!(self, Self::Linear | Self::Blend)
    }

    const fn has_forest(self) -> bool {
        matches!(self, Self::Boosted | Self::Blend)
    }

    /// The candidate's sum: a missing part counts as the constant.
    fn margin(self, base: f64, linear: Option<f64>, forest: Option<f64>) -> f64 {
        match self {
            Self::Constant => base,
            Self::Linear => linear.unwrap_or(base),
            Self::Boosted => forest.unwrap_or(base),
            Self::Blend => 0.5 * (linear.unwrap_or(base) + forest.unwrap_or(base)),
        }
    }
}

/// Settings of fitting.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableFitSpec {
    /// Of the logistic regression.
    pub logistic: LogisticSpec,
    /// Of the Tweedie regression.
    pub glm: TweedieGlmSpec,
    /// Of the trees; the objective is set by what is fitted.
    pub boosted: BoostedSpec,
}

/// The churn model of a table.
#[derive(Debug, Clone)]
pub struct TableChurn {
    /// The chosen candidate.
    pub kind: TableKind,
    /// Log-odds of the base rate.
    pub base_logit: f64,
    /// Its regression, on [`TableSchema::design`].
    pub logistic: Option<Logistic>,
    /// Its trees, on the encoded row.
    pub forest: Option<Forest>,
    /// Recalibration of its log-odds; the identity where none was kept.
    pub calibration: LogitLine,
}

impl TableChurn {
    /// Fits all parts on encoded rows.
    ///
    /// # Errors
    /// [`FitError`] of the part that failed.
    pub fn fit(
        spec: &TableFitSpec,
        schema: &TableSchema,
        rows: &FeatureMatrix,
        churned: &[bool],
    ) -> Result<Self, FitError> {
        let n_churned = churned.iter().filter(|&&yes| yes).count();
        let share = n_churned as f64 / churned.len().max(1) as f64;
        let target: Vec<f64> = churned.iter().map(|&yes| f64::from(u8::from(yes))).collect();
        let boosted = BoostedSpec { objective: Objective::Logistic, ..spec.boosted.clone() };
        Ok(Self {
            kind: TableKind::Blend,
            base_logit: logit(clamp_prob(share)),
            logistic: Some(Logistic::fit(&spec.logistic, &designs(schema, rows), churned)?),
            forest: Some(Boosted::fit(&boosted, rows, &target, None, None)?),
            calibration: LogitLine::IDENTITY,
        })
    }

    /// Log-odds by a candidate, not recalibrated.
    #[must_use]
    pub fn logit_by(&self, kind: TableKind, schema: &TableSchema, row: &[f64]) -> f64 {
        self.logit_given(kind, schema, row, None)
    }

    /// The same; `margin` is that of the trees where it is known.
    fn logit_given(
        &self,
        kind: TableKind,
        schema: &TableSchema,
        row: &[f64],
        margin: Option<f64>,
    ) -> f64 {
        let linear = self.logistic.as_ref().filter(|_| kind.has_linear()).map(|model| {
            let mut design = Vec::with_capacity(schema.n_design());
            schema.design(row, &mut design);
            model.logit(&design)
        });
        let forest = self.forest.as_ref().filter(|_| kind.has_forest());
        let forest = forest.map(|forest| margin.unwrap_or_else(|| forest.margin(row)));
        kind.margin(self.base_logit, linear, forest)
    }

    /// Calibrated probability of churn, in (0, 1).
    #[must_use]
    pub fn prob(&self, schema: &TableSchema, row: &[f64]) -> f64 {
        self.prob_given(schema, row, None)
    }

    fn prob_given(&self, schema: &TableSchema, row: &[f64], margin: Option<f64>) -> f64 {
        let logit = self.logit_given(self.kind, schema, row, margin);
        clamp_prob(sigmoid(self.calibration.apply(logit)))
    }

    /// The trees that it asks.
    fn trees(&self) -> Option<&Forest> {
        self.forest.as_ref().filter(|_| self.kind.has_forest())
    }

    /// Keeps one candidate and what it needs.
    #[must_use]
    pub fn only(self, kind: TableKind) -> Self {
        Self {
            kind,
            logistic: self.logistic.filter(|_| kind.has_linear()),
            forest: self.forest.filter(|_| kind.has_forest()),
            ..self
        }
    }
}

/// The value model of a table.
#[derive(Debug, Clone)]
pub struct TableValue {
    /// The chosen candidate.
    pub kind: TableKind,
    /// Logarithm of the mean value.
    pub base_log: f64,
    /// Its regression, on [`TableSchema::design`].
    pub glm: Option<TweedieGlm>,
    /// Its trees, on the encoded row.
    pub forest: Option<Forest>,
    /// Factor that corrects its total, > 0.
    pub factor: f64,
}

impl TableValue {
    /// Fits all parts on encoded rows and values (>= 0, some above 0).
    ///
    /// # Errors
    /// [`FitError`] of the part that failed.
    pub fn fit(
        spec: &TableFitSpec,
        schema: &TableSchema,
        rows: &FeatureMatrix,
        value: &[f64],
    ) -> Result<Self, FitError> {
        let mean = value.iter().sum::<f64>() / value.len().max(1) as f64;
        let power = spec.glm.power;
        let boosted =
            BoostedSpec { objective: Objective::Tweedie { power }, ..spec.boosted.clone() };
        Ok(Self {
            kind: TableKind::Blend,
            base_log: libm::log(mean.max(f64::MIN_POSITIVE)),
            glm: Some(TweedieGlm::fit(&spec.glm, &designs(schema, rows), value, None)?),
            forest: Some(Boosted::fit(&boosted, rows, value, None, None)?),
            factor: 1.0,
        })
    }

    /// Expected value by a candidate, without the factor, >= 0.
    #[must_use]
    pub fn mean_by(&self, kind: TableKind, schema: &TableSchema, row: &[f64]) -> f64 {
        self.mean_given(kind, schema, row, None)
    }

    /// The same; `margin` is that of the trees where it is known.
    fn mean_given(
        &self,
        kind: TableKind,
        schema: &TableSchema,
        row: &[f64],
        margin: Option<f64>,
    ) -> f64 {
        let linear = self.glm.as_ref().filter(|_| kind.has_linear()).map(|model| {
            let mut design = Vec::with_capacity(schema.n_design());
            schema.design(row, &mut design);
            model.log_mean(&design)
        });
        let forest = self.forest.as_ref().filter(|_| kind.has_forest());
        let forest = forest.map(|forest| margin.unwrap_or_else(|| forest.margin(row)));
        libm::exp(kind.margin(self.base_log, linear, forest))
    }

    /// Expected value, >= 0.
    #[must_use]
    pub fn mean(&self, schema: &TableSchema, row: &[f64]) -> f64 {
        self.factor * self.mean_by(self.kind, schema, row)
    }

    /// The trees that it asks.
    fn trees(&self) -> Option<&Forest> {
        self.forest.as_ref().filter(|_| self.kind.has_forest())
    }

    /// Keeps one candidate and what it needs.
    #[must_use]
    pub fn only(self, kind: TableKind) -> Self {
        Self {
            kind,
            glm: self.glm.filter(|_| kind.has_linear()),
            forest: self.forest.filter(|_| kind.has_forest()),
            ..self
        }
    }
}

/// The input of a linear model, by place.
fn designs(schema: &TableSchema, rows: &FeatureMatrix) -> Vec<Vec<f64>> {
    let mut columns = vec![Vec::with_capacity(rows.n_rows()); schema.n_design()];
    let mut design = Vec::with_capacity(schema.n_design());
    let mut row = vec![0.0; rows.n_columns()];
    for idx in 0..rows.n_rows() {
        rows.copy_row(idx, &mut row);
        schema.design(&row, &mut design);
        for (column, &number) in columns.iter_mut().zip(&design) {
            column.push(number);
        }
    }
    columns
}

/// Everything fitted that a score needs.
#[derive(Debug, Clone)]
pub struct TableFitted {
    /// The churn model; none for a table without a churn label.
    pub churn: Option<TableChurn>,
    /// The value model; none for a table without a value label.
    pub value: Option<TableValue>,
    /// Its interval.
    pub intervals: IntervalTable,
    /// Ascending quantiles of the predicted value over the training table.
    pub value_quantiles: Vec<f64>,
    /// Days of the churn horizon; 0 where the label names none.
    pub churn_days: u16,
    /// Days of the value horizon; 0 without a value model.
    pub value_days: u16,
}

/// Margins of the trees for a row, where they are known.
#[derive(Debug, Clone, Copy, Default)]
struct Margins {
    churn: Option<f64>,
    value: Option<f64>,
}

/// A fitted whole tied to its schema, ready to score.
#[derive(Debug, Clone)]
pub struct TablePredictor {
    schema: TableSchema,
    fitted: TableFitted,
}

impl TablePredictor {
    /// Ties the models to their schema.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn try_new(schema: TableSchema, fitted: TableFitted) -> Result<Self, String> {
        let n_slots = schema.slots().len();
        let forests = [
            fitted.churn.as_ref().and_then(|churn| churn.forest.as_ref()),
            fitted.value.as_ref().and_then(|value| value.forest.as_ref()),
        ];
        for forest in forests.into_iter().flatten() {
            if forest.n_features() != n_slots {
                let found = forest.n_features();
                return Err(format!("trees of {found} features, the schema has {n_slots}"));
            }
        }
        let n_design = schema.n_design();
        let linear = [
            fitted.churn.as_ref().and_then(|churn| churn.logistic.as_ref()).map(|m| m.n_features()),
            fitted.value.as_ref().and_then(|value| value.glm.as_ref()).map(|m| m.n_features()),
        ];
        if let Some(found) = linear.into_iter().flatten().find(|found| *found != n_design) {
            return Err(format!("a regression of {found} inputs, the schema has {n_design}"));
        }
        if fitted.churn.is_none() && fitted.value.is_none() {
            return Err("neither a churn nor a value model".to_owned());
        }
        Ok(Self { schema, fitted })
    }

    /// The schema of its rows.
    #[must_use]
    pub const fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The models.
    #[must_use]
    pub const fn fitted(&self) -> &TableFitted {
        &self.fitted
    }

    /// What the models say of one encoded row. What was realised before is not known: it is NaN.
    #[must_use]
    pub fn score(&self, row: &[f64]) -> Score {
        self.score_given(row, Margins::default())
    }

    /// The same of many encoded rows that lie one after another: the same bits, for less.
    #[must_use]
    pub fn score_many(&self, rows: &[f64]) -> Vec<Score> {
        let of = |forest: Option<&Forest>| {
            let mut margins = Vec::with_capacity(rows.len() / self.schema.slots().len().max(1));
            // Rows of another width have no margins, and are walked one by one below.
            let made = forest.is_some_and(|forest| forest.margins_of(rows, &mut margins).is_ok());
            made.then_some(margins)
        };
        let of_churn = of(self.fitted.churn.as_ref().and_then(TableChurn::trees));
        let of_value = of(self.fitted.value.as_ref().and_then(TableValue::trees));
        let at = |margins: &Option<Vec<f64>>, idx: usize| {
            margins.as_ref().and_then(|margins| margins.get(idx).copied())
        };
        let rows = rows.chunks(self.schema.slots().len().max(1)).enumerate();
        rows.map(|(idx, row)| {
            let margins = Margins { churn: at(&of_churn, idx), value: at(&of_value, idx) };
            self.score_given(row, margins)
        })
        .collect()
    }

    fn score_given(&self, row: &[f64], margins: Margins) -> Score {
        let TableFitted { churn, value, intervals, value_quantiles, churn_days, value_days } =
            &self.fitted;
        let clv = value.as_ref().map(|value| {
            let mean = value.mean_given(value.kind, &self.schema, row, margins.value);
            let mean = value.factor * mean;
            let [p10, p50, p90] = intervals.quantiles(mean, mean);
            let below = value_quantiles.partition_point(|&quantile| quantile < mean);
            Clv {
                mean,
                p10,
                p50,
                p90,
                historic: f64::NAN,
                percentile: below as f64 / value_quantiles.len().max(1) as f64,
                horizon_days: *value_days,
                extrapolated: false,
            }
        });
        Score {
            churn_prob: churn
                .as_ref()
                .map(|churn| churn.prob_given(&self.schema, row, margins.churn)),
            churn_horizon_days: *churn_days,
            churn_by_horizon: Vec::new(),
            clv,
            expected_purchases: None,
            p_alive: None,
            out_of_distribution: self.is_outside(row),
        }
    }

    fn is_outside(&self, row: &[f64]) -> bool {
        self.schema.slots().iter().zip(row).any(|(slot, &number)| {
            match self.schema.columns()[slot.column].kind {
                ColumnKind::Number { range: [low, high], .. } => {
                    let slack = RANGES_OUTSIDE * (high - low);
                    high > low && (number > high + slack || number < low - slack)
                }
                _ => false,
            }
        })
    }
}
