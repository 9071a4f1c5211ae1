//! The section `plots` of `metrics.json` on a table: curves of both labels, and partial effects.
//!
//! In: judged predictions, the fitted models and the rows. Out: what the report draws, bounded in
//! size and the same on any number of threads. An effect is partial: what the model in use says on
//! average when every row gets one value of the column and keeps all others (Friedman 2001, "Greedy
//! function approximation"). It deliberately claims no cause.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::metrics::Subject;
use crate::dataset::FeatureMatrix;
use crate::evaluate::worst_misses;
use crate::model::{ColumnKind, SlotMeaning, TableSchema};
use crate::train::plots::{WORST, capture, coverage, digits, risk, rounded, share};

/// Columns whose effect is shown.
const EFFECTS: usize = 8;
/// Values of a column that are tried, at most.
const VALUES: usize = 8;
/// Rows that a value is tried on: fewer where there are many columns.
const ROWS: std::ops::RangeInclusive<usize> = 20..=200;
/// Predictions that all effects may cost.
const PREDICTIONS: usize = 40_000;
/// Columns told of a row that was misjudged.
const FACTS: usize = 5;

/// The section.
pub(super) fn plots(subject: &Subject<'_>) -> Value {
    let (schema, fitted, rows) = (&subject.rows.schema, subject.fitted, &subject.rows.matrix);
    let churn = subject.verdict.churn.as_ref().zip(fitted.churn.as_ref()).map(|(judged, model)| {
        let log_odds =
            |row: &[f64]| model.calibration.apply(model.logit_by(model.kind, schema, row));
        let effects = effects(schema, rows, &log_odds);
        let mut section = risk(&judged.probs, &judged.churned);
        let [left, stayed] = worst_misses(&judged.probs, &judged.churned, WORST);
        let told = |found: Vec<usize>| -> Vec<Value> {
            let one = |at: usize| {
                let facts = effects.iter().take(FACTS).map(|effect| {
                    let value = value_of(schema, rows, judged.rows[at], effect.column);
                    json!({ "name": schema.columns()[effect.column].name, "value": value })
                });
                json!({ "prob": share(judged.probs[at]), "facts": facts.collect::<Vec<_>>() })
            };
            found.into_iter().map(one).collect()
        };
        section["worst"] = json!({ "left": told(left), "stayed": told(stayed) });
        section["effects"] = effects.iter().map(|effect| effect.to_json(schema)).collect();
        section
    });
    let value = subject.verdict.value.as_ref().zip(fitted.value.as_ref()).map(|(judged, model)| {
        let log_mean = |row: &[f64]| libm::log(model.mean(schema, row).max(f64::MIN_POSITIVE));
        json!({
            "capture": capture(&judged.predicted, &judged.actual),
            "coverage": coverage(&judged.predicted, &judged.actual),
            "effects": effects(schema, rows, &log_mean)
                .iter()
                .map(|effect| effect.to_json(schema))
                .collect::<Vec<_>>(),
        })
    });
    json!({ "churn": churn, "value": value })
}

/// One value of a column, or a range of them.
struct Tried {
    /// What its places in the row hold.
    places: Vec<f64>,
    /// Ends of a number's range; none for levels, flags and gaps.
    range: Option<[f64; 2]>,
    name: String,
    customers: usize,
    /// Against the mean over all rows of the column.
    effect: f64,
}

/// What a column does.
struct Effect {
    column: usize,
    tried: Vec<Tried>,
}

impl Effect {
    /// Mean absolute effect over the rows.
    fn weight(&self) -> f64 {
        let n: usize = self.tried.iter().map(|tried| tried.customers).sum();
        let sum: f64 = self.tried.iter().map(|t| t.customers as f64 * t.effect.abs()).sum();
        sum / n.max(1) as f64
    }

    fn to_json(&self, schema: &TableSchema) -> Value {
        let bins: Vec<Value> = self
            .tried
            .iter()
            .map(|tried| match tried.range {
                Some([from, to]) => json!({
                    "from": digits(from),
                    "to": digits(to),
                    "customers": tried.customers,
                    "contribution_mean": rounded(tried.effect, 4),
                }),
                None => json!({
                    "level": tried.name,
                    "customers": tried.customers,
                    "contribution_mean": rounded(tried.effect, 4),
                }),
            })
            .collect();
        json!({ "name": schema.columns()[self.column].name, "bins": bins })
    }
}

/// The effects of the weightiest columns, the weightiest first; columns without one are left out.
fn effects(
    schema: &TableSchema,
    rows: &FeatureMatrix,
    says: &(dyn Fn(&[f64]) -> f64 + Sync),
) -> Vec<Effect> {
    let n_columns = schema.columns().len();
    let n_rows = (PREDICTIONS / (n_columns * VALUES).max(1)).clamp(*ROWS.start(), *ROWS.end());
    let step = rows.n_rows().div_ceil(n_rows).max(1);
    let sample: Vec<usize> = (0..rows.n_rows()).step_by(step).collect();
    let sample = rows.select_rows(&sample);
    let mut effects: Vec<Effect> = (0..n_columns)
        .into_par_iter()
        .map(|column| {
            let slots = slots(schema, column);
            let mut tried = values(schema, rows, column);
            for one in &mut tried {
                let said = sample.map_rows(|row| {
                    let mut row = row.to_vec();
                    row[slots.clone()].copy_from_slice(&one.places);
                    says(&row)
                });
                one.effect = said.iter().sum::<f64>() / said.len().max(1) as f64;
            }
            let n: usize = tried.iter().map(|one| one.customers).sum();
            let sum: f64 = tried.iter().map(|one| one.customers as f64 * one.effect).sum();
            for one in &mut tried {
                one.effect -= sum / n.max(1) as f64;
            }
            Effect { column, tried }
        })
        .filter(|effect| effect.weight() > 1e-6)
        .collect();
    effects.sort_by(|a, b| b.weight().total_cmp(&a.weight()).then(a.column.cmp(&b.column)));
    effects.truncate(EFFECTS);
    effects
}

/// The places of a column in a row.
fn slots(schema: &TableSchema, column: usize) -> std::ops::Range<usize> {
    let slots = schema.slots();
    let from = slots.iter().position(|slot| slot.column == column).unwrap_or(0);
    from..from + slots.iter().filter(|slot| slot.column == column).count()
}

/// The values of a column that are tried: ranges of about equal mass of a number, each at its
/// middle; else what is there, the most frequent ones.
fn values(schema: &TableSchema, rows: &FeatureMatrix, column: usize) -> Vec<Tried> {
    let slots = slots(schema, column);
    if matches!(schema.columns()[column].kind, ColumnKind::Number { .. }) {
        return ranges(rows.column(slots.start));
    }
    let mut found: BTreeMap<Vec<u64>, (usize, usize)> = BTreeMap::new();
    for row in 0..rows.n_rows() {
        let key = slots.clone().map(|slot| rows.column(slot)[row].to_bits()).collect();
        found.entry(key).or_insert((row, 0)).1 += 1;
    }
    let mut kept: Vec<(usize, usize)> = found.into_values().collect();
    kept.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    kept.truncate(VALUES);
    let mut tried: Vec<Tried> = kept
        .into_iter()
        .map(|(row, customers)| Tried {
            places: slots.clone().map(|slot| rows.column(slot)[row]).collect(),
            range: None,
            name: level_name(schema, rows, row, column),
            customers,
            effect: 0.0,
        })
        .collect();
    tried.sort_by(|a, b| a.name.cmp(&b.name));
    tried
}

fn ranges(numbers: &[f64]) -> Vec<Tried> {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let mut tried = Vec::new();
    let mut from = 0;
    for bin in 1..VALUES {
        let mut to = bin * sorted.len() / (VALUES - 1);
        // Equal numbers belong into one range.
        while to > 0 && to < sorted.len() && sorted[to].total_cmp(&sorted[to - 1]).is_eq() {
            to += 1;
        }
        if to > from {
            tried.push(Tried {
                places: vec![sorted[(from + to) / 2]],
                range: Some([sorted[from], sorted[to - 1]]),
                name: String::new(),
                customers: to - from,
                effect: 0.0,
            });
            from = to;
        }
    }
    let missing = numbers.len() - sorted.len();
    if missing > 0 {
        let (places, name) = (vec![f64::NAN], "missing".to_owned());
        tried.push(Tried { places, range: None, name, customers: missing, effect: 0.0 });
    }
    tried
}

/// What a row holds in a column that is no number.
fn level_name(schema: &TableSchema, rows: &FeatureMatrix, row: usize, column: usize) -> String {
    let slots = slots(schema, column);
    let hit = slots.clone().find(|&slot| rows.column(slot)[row] > 0.5);
    let first = rows.column(slots.start)[row];
    match (&schema.columns()[column].kind, hit.map(|slot| schema.slots()[slot].meaning)) {
        (_, None) if first.is_nan() => "missing".to_owned(),
        (ColumnKind::Category { levels, .. }, Some(SlotMeaning::Level(level))) => {
            levels.get(level).cloned().unwrap_or_default()
        }
        // Of two levels only the second has a place.
        (ColumnKind::Category { levels, .. }, None) => levels.first().cloned().unwrap_or_default(),
        (_, Some(SlotMeaning::Other)) => "other".to_owned(),
        (_, Some(SlotMeaning::Missing)) => "missing".to_owned(),
        (_, Some(_)) => "yes".to_owned(),
        (_, None) => "no".to_owned(),
    }
}

fn value_of(schema: &TableSchema, rows: &FeatureMatrix, row: usize, column: usize) -> Value {
    if matches!(schema.columns()[column].kind, ColumnKind::Number { .. }) {
        return digits(rows.column(slots(schema, column).start)[row]);
    }
    Value::from(level_name(schema, rows, row, column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NumberScale, TableColumn};

    fn table() -> (TableSchema, FeatureMatrix) {
        let number = ColumnKind::Number {
            scale: NumberScale::Plain,
            range: [0.0, 99.0],
            fill: 0.0,
            has_missing: true,
        };
        let levels = ["a", "b", "c"].map(str::to_owned).to_vec();
        let plan = ColumnKind::Category { levels, has_other: false, has_missing: false };
        let columns = [("age", number), ("plan", plan)]
            .map(|(name, kind)| TableColumn { name: name.to_owned(), kind })
            .to_vec();
        let schema = TableSchema::try_new(columns).unwrap();
        let mut rows = FeatureMatrix::new(schema.id(), schema.slots().len());
        for row in 0..400_u32 {
            let age = if row % 40 == 0 { f64::NAN } else { f64::from(row % 100) };
            let mut places = vec![age, 0.0, 0.0, 0.0];
            places[1 + row as usize % 3] = 1.0;
            rows.push_row(&places).unwrap();
        }
        (schema, rows)
    }

    #[test]
    fn a_partial_effect_is_what_the_column_adds() {
        let (schema, rows) = table();
        assert_eq!(schema.slots().len(), 4);
        // The plan adds 2 for c, the age nothing but for gaps.
        let says = |row: &[f64]| 2.0 * row[3] + if row[0].is_nan() { 1.0 } else { 0.0 };
        let found = effects(&schema, &rows, &says);
        let names: Vec<&str> =
            found.iter().map(|e| schema.columns()[e.column].name.as_str()).collect();
        assert_eq!(names, ["plan", "age"]);
        let plan = &found[0].tried;
        assert_eq!(plan.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!((plan[2].effect - plan[0].effect - 2.0).abs() < 1e-12);
        let age = &found[1].tried;
        assert_eq!(age.iter().map(|t| t.customers).sum::<usize>(), 400);
        assert_eq!(age.last().unwrap().name, "missing");
        assert!((age.last().unwrap().effect - age[0].effect - 1.0).abs() < 1e-12);
        assert_eq!(value_of(&schema, &rows, 1, 1), json!("b"));
    }

    #[test]
    fn what_the_model_does_not_read_has_no_effect() {
        let (schema, rows) = table();
        assert!(effects(&schema, &rows, &|_| 3.0).is_empty());
    }
}
