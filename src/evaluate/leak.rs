//! Columns that know the outcome: the guard against labels that leaked into features.
//!
//! In: columns and outcomes. Out: how well each column alone tells the outcomes apart, and those
//! that do so better than any honest one could. It deliberately decides nothing: the caller stops
//! or goes on.

use super::error::{MetricError, check_classes, check_length};
use super::rank::auc;
use super::ties::Ranked;

/// Above this a single column is taken for the label in disguise.
pub const LEAK_AUC: f64 = 0.97;
/// Up to so many distinct values a column is read as categories whose numbers mean nothing.
const CATEGORIES_MAX: usize = 20;

/// A column that tells the outcomes apart better than it should.
#[derive(Debug, Clone, PartialEq)]
pub struct Leak {
    /// Its name.
    pub column: String,
    /// Area under the ROC curve of the column alone, in the direction that suits it, > the limit.
    pub auc: f64,
    /// Whether it is the label itself, up to encoding: no value occurs with both outcomes.
    pub is_label: bool,
}

/// Area under the ROC curve of one column alone, in [0.5, 1], in the direction and encoding that
/// suit it best: rising, falling, missing values at either end, and for up to 20 distinct values
/// in the order of their outcomes. Missing values are NaN; infinities are ordinary extremes.
///
/// # Errors
/// [`MetricError`] `Empty`, `Length`, `OneClass`.
#[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub fn single_feature_auc(column: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    check_length("column", positive.len(), column.len())?;
    check_classes(positive)?;
    // As f64::MAX is finite, infinities and missing values find a place beyond all others.
    let placed = |missing: f64| -> Vec<f64> {
        let finite = |v: f64| v.clamp(-f64::MAX / 2.0, f64::MAX / 2.0);
        column.iter().map(|&v| if v.is_nan() { missing } else { finite(v) }).collect()
    };
    let low = placed(-f64::MAX);
    let mut best = either_way(&low, positive)?;
    if column.iter().any(|v| v.is_nan()) {
        best = best.max(either_way(&placed(f64::MAX), positive)?);
    }
    let ranked = Ranked::ascending(&low);
    if ranked.groups().take(CATEGORIES_MAX + 1).count() <= CATEGORIES_MAX {
        let mut encoded = vec![0.0; column.len()];
        for (_, rows) in ranked.groups() {
            let hits = rows.iter().filter(|&&row| positive[row]).count();
            let rate = hits as f64 / rows.len() as f64;
            rows.iter().for_each(|&row| encoded[row] = rate);
        }
        best = best.max(auc(&encoded, positive)?);
    }
    Ok(best)
}

fn either_way(score: &[f64], positive: &[bool]) -> Result<f64, MetricError> {
    let found = auc(score, positive)?;
    Ok(found.max(1.0 - found))
}

/// The named columns whose [`single_feature_auc`] exceeds `limit`, best first.
///
/// # Errors
/// As [`single_feature_auc`].
pub fn leaks<'c>(
    columns: impl Iterator<Item = (&'c str, &'c [f64])>,
    positive: &[bool],
    limit: f64,
) -> Result<Vec<Leak>, MetricError> {
    let mut found = Vec::new();
    for (name, column) in columns {
        let auc = single_feature_auc(column, positive)?;
        if auc > limit {
            found.push(Leak { column: name.to_owned(), auc, is_label: auc >= 1.0 });
        }
    }
    found.sort_by(|a, b| b.auc.total_cmp(&a.auc).then_with(|| a.column.cmp(&b.column)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::SplitMix64;
    use super::*;

    fn outcomes(n: usize) -> Vec<bool> {
        let mut random = SplitMix64::new(3);
        (0..n).map(|_| random.unit() < 0.3).collect()
    }

    #[test]
    fn the_label_is_found_under_any_encoding() {
        let positive = outcomes(500);
        let as_number = |yes: f64, no: f64| -> Vec<f64> {
            positive.iter().map(|&hit| if hit { yes } else { no }).collect()
        };
        for column in [
            as_number(1.0, 0.0),
            as_number(0.0, 1.0),
            as_number(2.0, f64::NAN),
            as_number(f64::NAN, -5.0),
            as_number(f64::INFINITY, f64::NAN),
        ] {
            assert!(single_feature_auc(&column, &positive).unwrap() > 1.0 - 1e-12);
        }
        // Categories: 0 and 2 stay, 1 leaves. No order of the numbers tells, their outcomes do.
        let codes: Vec<f64> = positive
            .iter()
            .enumerate()
            .map(|(row, &hit)| if hit { 1.0 } else { f64::from(u8::from(row % 2 == 0)) * 2.0 })
            .collect();
        assert!(single_feature_auc(&codes, &positive).unwrap() > 1.0 - 1e-12);
    }

    #[test]
    fn honest_columns_pass_and_leaks_are_named_best_first() {
        let positive = outcomes(2_000);
        let mut random = SplitMix64::new(4);
        let noise: Vec<f64> = (0..2_000).map(|_| random.unit()).collect();
        let good: Vec<f64> =
            positive.iter().map(|&hit| f64::from(u8::from(hit)) + 2.0 * random.unit()).collect();
        let near: Vec<f64> =
            positive.iter().map(|&hit| f64::from(u8::from(hit)) + 1.1 * random.unit()).collect();
        let label: Vec<f64> = positive.iter().map(|&hit| f64::from(u8::from(hit))).collect();
        assert!(single_feature_auc(&noise, &positive).unwrap() < 0.55);
        let columns = [("noise", &noise), ("near", &near), ("good", &good), ("label", &label)];
        let columns = columns.iter().map(|(name, column)| (*name, column.as_slice()));
        let found = leaks(columns, &positive, LEAK_AUC).unwrap();
        let names: Vec<&str> = found.iter().map(|leak| leak.column.as_str()).collect();
        assert_eq!(names, ["label", "near"]);
        assert!(found[0].is_label && !found[1].is_label);
    }

    #[test]
    fn one_outcome_or_no_rows_is_an_error() {
        assert!(matches!(single_feature_auc(&[], &[]), Err(MetricError::Empty)));
        let found = single_feature_auc(&[1.0, 2.0], &[true, true]);
        assert!(matches!(found, Err(MetricError::OneClass { .. })));
        let found = single_feature_auc(&[1.0], &[true, false]);
        assert!(matches!(found, Err(MetricError::Length { .. })));
    }
}
