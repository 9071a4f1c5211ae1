//! Version 1 of a table bundle's files, and the way between them and the models.
//!
//! `schema.json` holds the columns that the models read, which column is the customer id, and
//! which give facts to the policy; `models.json` the models; `examples.json` encoded rows with the
//! scores that must come out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::events::RawValue;
use crate::model::{
    ColumnKind, Forest, IntervalBin, IntervalTable, LinearV1, Logistic, LogitLine, NumberScale,
    Score, TableChurn, TableColumn, TableFitted, TableKind, TablePredictor, TableSchema,
    TableValue, TweedieGlm,
};

/// `schema.json` of a table bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableV1 {
    /// Column of the customer id; rows go by their number where there is none.
    pub id_column: Option<String>,
    /// Column of the churn label: looked at in training only.
    pub label: Option<String>,
    /// Its value of those who left.
    pub positive: Option<String>,
    /// Column of the value label: looked at in training only.
    pub value_label: Option<String>,
    /// Facts of the policy and the columns that give them.
    pub facts: BTreeMap<String, String>,
    /// Columns of the training table that the models do not read, and why.
    pub ignored: BTreeMap<String, String>,
    /// Columns that the models read.
    pub(super) columns: Vec<ColumnV1>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnV1 {
    name: String,
    #[serde(rename = "type")]
    kind: KindV1,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum KindV1 {
    Numeric { log: bool, range: [f64; 2], fill: f64, missing: bool },
    Boolean { fill: f64, missing: bool },
    Categorical { levels: Vec<String>, other: bool, missing: bool },
}

impl TableV1 {
    /// What is not part of the models' own schema; [`TableDraft`](super::TableDraft) adds the
    /// columns.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            id_column: None,
            label: None,
            positive: None,
            value_label: None,
            facts: BTreeMap::new(),
            ignored: BTreeMap::new(),
            columns: Vec::new(),
        }
    }

    pub(super) fn with_columns(self, schema: &TableSchema) -> Self {
        Self { columns: schema.columns().iter().map(column_v1).collect(), ..self }
    }

    pub(super) fn to_schema(&self) -> Result<TableSchema, String> {
        let columns = self.columns.iter().map(ColumnV1::to_column).collect();
        TableSchema::try_new(columns).map_err(|error| error.to_string())
    }
}

impl Default for TableV1 {
    fn default() -> Self {
        Self::new()
    }
}

fn column_v1(column: &TableColumn) -> ColumnV1 {
    let TableColumn { name, kind } = column;
    let kind = match kind {
        ColumnKind::Number { scale, range, fill, has_missing } => KindV1::Numeric {
            log: *scale == NumberScale::Log,
            range: *range,
            fill: *fill,
            missing: *has_missing,
        },
        ColumnKind::Flag { fill, has_missing } => {
            KindV1::Boolean { fill: *fill, missing: *has_missing }
        }
        ColumnKind::Category { levels, has_other, has_missing } => {
            KindV1::Categorical { levels: levels.clone(), other: *has_other, missing: *has_missing }
        }
    };
    ColumnV1 { name: name.clone(), kind }
}

impl ColumnV1 {
    fn to_column(&self) -> TableColumn {
        let kind = match &self.kind {
            KindV1::Numeric { log, range, fill, missing } => ColumnKind::Number {
                scale: if *log { NumberScale::Log } else { NumberScale::Plain },
                range: *range,
                fill: *fill,
                has_missing: *missing,
            },
            KindV1::Boolean { fill, missing } => {
                ColumnKind::Flag { fill: *fill, has_missing: *missing }
            }
            KindV1::Categorical { levels, other, missing } => ColumnKind::Category {
                levels: levels.clone(),
                has_other: *other,
                has_missing: *missing,
            },
        };
        TableColumn { name: self.name.clone(), kind }
    }
}

/// `models.json` of a table bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableModelsV1 {
    churn: Option<TableChurnV1>,
    value: Option<TableValueV1>,
    /// Largest mean, then the ratios at 10 %, 50 % and 90 %.
    intervals: Vec<[f64; 4]>,
    value_quantiles: Vec<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableChurnV1 {
    kind: String,
    base_logit: f64,
    logistic: Option<LinearV1>,
    /// Whether `forest_churn.json` belongs to it.
    forest: bool,
    /// Intercept and slope.
    calibration: [f64; 2],
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableValueV1 {
    kind: String,
    base_log: f64,
    glm: Option<LinearV1>,
    /// Whether `forest_value.json` belongs to it.
    forest: bool,
    factor: f64,
}

/// The models as a file and the forests beside it.
pub(super) fn to_v1(fitted: &TableFitted) -> TableModelsV1 {
    let TableFitted { churn, value, intervals, value_quantiles, churn_days: _, value_days: _ } =
        fitted;
    TableModelsV1 {
        churn: churn.as_ref().map(|churn| {
            let TableChurn { kind, base_logit, logistic, forest, calibration } = churn;
            TableChurnV1 {
                kind: kind.churn_name().to_owned(),
                base_logit: *base_logit,
                logistic: logistic.as_ref().map(Logistic::to_v1),
                forest: forest.is_some(),
                calibration: [calibration.intercept(), calibration.slope()],
            }
        }),
        value: value.as_ref().map(|value| {
            let TableValue { kind, base_log, glm, forest, factor } = value;
            TableValueV1 {
                kind: kind.value_name().to_owned(),
                base_log: *base_log,
                glm: glm.as_ref().map(TweedieGlm::to_v1),
                forest: forest.is_some(),
                factor: *factor,
            }
        }),
        intervals: intervals
            .bins
            .iter()
            .map(|bin| [bin.mean_max, bin.ratios[0], bin.ratios[1], bin.ratios[2]])
            .collect(),
        value_quantiles: value_quantiles.clone(),
    }
}

impl TableModelsV1 {
    /// Whether the churn and the value model have a forest.
    pub(super) fn forests(&self) -> [bool; 2] {
        [
            self.churn.as_ref().is_some_and(|churn| churn.forest),
            self.value.as_ref().is_some_and(|value| value.forest),
        ]
    }

    /// The models, with the forests read from their own files.
    ///
    /// # Errors
    /// What is out of range or unknown.
    pub(super) fn into_predictor(
        self,
        schema: TableSchema,
        forests: [Option<Forest>; 2],
        [churn_days, value_days]: [u16; 2],
    ) -> Result<TablePredictor, String> {
        let [churn_forest, value_forest] = forests;
        let bins = self
            .intervals
            .into_iter()
            .map(|[mean_max, low, mid, high]| IntervalBin { mean_max, ratios: [low, mid, high] });
        let fitted = TableFitted {
            churn: self.churn.map(|churn| churn.into_model(churn_forest)).transpose()?,
            value: self.value.map(|value| value.into_model(value_forest)).transpose()?,
            intervals: IntervalTable { bins: bins.collect() },
            value_quantiles: self.value_quantiles,
            churn_days,
            value_days,
        };
        TablePredictor::try_new(schema, fitted)
    }
}

fn kind(text: &str, name: fn(TableKind) -> &'static str) -> Result<TableKind, String> {
    let found = TableKind::ALL.into_iter().find(|kind| name(*kind) == text);
    found.ok_or_else(|| format!("unknown model {text:?}"))
}

fn finite(what: &str, number: f64) -> Result<f64, String> {
    if number.is_finite() { Ok(number) } else { Err(format!("{what} is {number}")) }
}

impl TableChurnV1 {
    fn into_model(self, forest: Option<Forest>) -> Result<TableChurn, String> {
        let logistic = self.logistic.map(Logistic::try_from).transpose();
        let [intercept, slope] = self.calibration;
        Ok(TableChurn {
            kind: kind(&self.kind, TableKind::churn_name)?,
            base_logit: finite("the base rate's logit", self.base_logit)?,
            logistic: logistic.map_err(|error| error.to_string())?,
            forest,
            calibration: LogitLine::try_new(intercept, slope).map_err(|error| error.to_string())?,
        })
    }
}

impl TableValueV1 {
    fn into_model(self, forest: Option<Forest>) -> Result<TableValue, String> {
        let glm = self.glm.map(TweedieGlm::try_from).transpose();
        if !(self.factor.is_finite() && self.factor > 0.0) {
            return Err(format!("the value factor is {}, it must be above 0", self.factor));
        }
        Ok(TableValue {
            kind: kind(&self.kind, TableKind::value_name)?,
            base_log: finite("the mean's logarithm", self.base_log)?,
            glm: glm.map_err(|error| error.to_string())?,
            forest,
            factor: self.factor,
        })
    }
}

/// One line of a table bundle's `examples.json`: cells, and the score that must come out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableExampleV1 {
    /// One value for each column that the models read: null, number, flag or text.
    pub cells: Vec<serde_json::Value>,
    /// Expected probability of churn.
    pub churn_prob: Option<f64>,
    /// Expected value: mean, 10 %, 50 %, 90 %.
    pub clv: Option<[f64; 4]>,
}

impl TableExampleV1 {
    /// The example's expectation from a score.
    #[must_use]
    pub fn new(cells: &[RawValue<'_>], score: &Score) -> Self {
        Self {
            cells: cells.iter().map(cell_json).collect(),
            churn_prob: score.churn_prob,
            clv: score.clv.as_ref().map(|clv| [clv.mean, clv.p10, clv.p50, clv.p90]),
        }
    }

    /// Its cells.
    pub fn raw_cells(&self) -> impl Iterator<Item = RawValue<'_>> {
        self.cells.iter().map(|cell| match cell {
            serde_json::Value::Number(number) => {
                number.as_f64().map_or(RawValue::Missing, RawValue::Number)
            }
            serde_json::Value::Bool(flag) => RawValue::Flag(*flag),
            serde_json::Value::String(text) => RawValue::text(text),
            _ => RawValue::Missing,
        })
    }
}

fn cell_json(cell: &RawValue<'_>) -> serde_json::Value {
    match cell {
        RawValue::Number(number) => serde_json::json!(number),
        RawValue::Flag(flag) => serde_json::json!(flag),
        RawValue::Text(text) => serde_json::json!(text),
        RawValue::Day(day) => serde_json::json!(day.to_string()),
        RawValue::Missing | RawValue::Time(_) | RawValue::List(_) | RawValue::Other(_) => {
            serde_json::Value::Null
        }
    }
}
