//! A closer look at the champion on the judged window: against simple rules, and within parts of
//! the base.
//!
//! In: the finished verdict and the rows it was judged on. Out: intervals, gains over the base
//! rate and over rules of thumb, subgroups with warnings, and calibration lines. It changes no
//! model; the grade reads it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::backtest::{ChurnVerdict, Rows};
use super::plan::TrainSpec;
use super::replay::Replay;
use crate::domain::{AsOf, Day};
use crate::evaluate::{
    BootstrapSpec, Compared, SUBGROUP_ROWS_MIN, Subgroup, calibration_line, compare,
};
use crate::events::Log;
use crate::features::FeatureSchema;
use crate::history::{Distinct, History};
use crate::model::{LogitLine, row_definitions, sigmoid};

/// Rows drawn in all for the intervals: more resamples for a small base.
const DRAWS: usize = 6_000_000;
/// Resamples at least and at most.
const RESAMPLES: [usize; 2] = [200, 1_000];
/// Parts of equal size by spend.
const QUINTILES: usize = 5;
/// Levels of a text that are shown, the commonest first.
const LEVELS_MAX: usize = 8;

/// Rules of thumb: a column that ranks, made a probability by a line of its logarithm. In the
/// second the column is divided by another one.
const RULES: [(&str, &str, Option<&str>); 2] = [
    ("recency_rule", "recency_days", None),
    ("own_gap_rule", "recency_days", Some("expected_gap_days")),
];

/// How predictions and outcomes lie on the logit scale: 0 and 1 are ideal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationLine {
    /// Above 0: predictions are too low.
    pub intercept: f64,
    /// Below 1: predictions are too extreme.
    pub slope: f64,
}

/// What a closer look found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The champion's metrics with intervals and its gains; none where they cannot be had.
    pub comparison: Option<Compared>,
    /// The champion's calibration line on the judged window.
    pub line: Option<CalibrationLine>,
    /// Parts of the base.
    pub subgroups: Vec<Subgroup>,
}

impl Judgement {
    /// Looks at the champion's probabilities on the judged window, the last of `rows`.
    #[must_use]
    pub(super) fn new(
        spec: &TrainSpec,
        log: &Log,
        verdict: &ChurnVerdict,
        rows: &[(Day, Rows)],
    ) -> Option<Self> {
        let (cutoff, judged) = rows.last()?;
        let schema = FeatureSchema::new(&row_definitions());
        let horizon = spec.churn.as_i32();
        let training: Vec<&Rows> = rows
            .iter()
            .filter(|(earlier, _)| cutoff.days_since(*earlier) >= horizon)
            .map(|(_, rows)| rows)
            .collect();
        let rivals = rivals(&schema, &training, judged);
        let n_rows = judged.churned.len();
        let n_resamples = (DRAWS / n_rows.max(1)).clamp(RESAMPLES[0], RESAMPLES[1]);
        let bootstrap = BootstrapSpec { n_resamples, seed: spec.seed, ..BootstrapSpec::default() };
        let line = calibration_line(&verdict.probs, &judged.churned).ok();
        Some(Self {
            comparison: compare(&verdict.probs, &rivals, &judged.churned, &bootstrap).ok(),
            line: line.map(|l| CalibrationLine { intercept: l.intercept(), slope: l.slope() }),
            subgroups: subgroups(spec, log, &schema, verdict, (*cutoff, judged)),
        })
    }

    /// Parts whose predictions are off.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let text = |part: &Subgroup| {
            let why = part.warning.as_ref()?;
            Some(format!("{} {} ({} customers): {why}", part.by, part.group, part.customers))
        };
        self.subgroups.iter().filter_map(text).collect()
    }
}

/// The base rate and the rules of thumb, all fitted on the training rows.
fn rivals(schema: &FeatureSchema, training: &[&Rows], judged: &Rows) -> Vec<(String, Vec<f64>)> {
    let churned: Vec<bool> =
        training.iter().flat_map(|rows| rows.churned.iter().copied()).collect();
    let share = churned.iter().filter(|&&yes| yes).count() as f64 / churned.len().max(1) as f64;
    let mut rivals = vec![("base_rate".to_owned(), vec![share; judged.churned.len()])];
    for (name, column, over) in RULES {
        let scores = |rows: &Rows| -> Option<Vec<f64>> {
            let days = rows.matrix.column(schema.position(column)?);
            let Some(over) = over else {
                return Some(days.iter().map(|days| days.max(0.0).ln_1p()).collect());
            };
            let per = rows.matrix.column(schema.position(over)?);
            let ratios = days.iter().zip(per).map(|(days, gap)| days.max(0.0) / gap.max(1.0));
            Some(ratios.map(f64::ln_1p).collect())
        };
        let Some(learned) = training.iter().map(|rows| scores(rows)).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let (Ok(line), Some(own)) =
            (LogitLine::measure(&learned.concat(), &churned), scores(judged))
        else {
            continue;
        };
        let probs = own.iter().map(|&score| sigmoid(line.apply(score))).collect();
        rivals.push((name.to_owned(), probs));
    }
    rivals
}

/// Parts by number of purchases, by spend so far, and by what was bought most often and where.
fn subgroups(
    spec: &TrainSpec,
    log: &Log,
    schema: &FeatureSchema,
    verdict: &ChurnVerdict,
    (cutoff, judged): (Day, &Rows),
) -> Vec<Subgroup> {
    let mut parts: Vec<(&str, String, Vec<usize>)> = Vec::new();
    let all: Vec<usize> = (0..judged.churned.len()).collect();
    if let Some(at) = schema.position("frequency") {
        let repeats = judged.matrix.column(at);
        let (repeat, once): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|&&row| repeats[row] > 0.0);
        parts.push(("buyers", "bought once".to_owned(), once));
        parts.push(("buyers", "bought again".to_owned(), repeat));
    }
    if let Some(at) = schema.position("tenure_days") {
        let tenure = judged.matrix.column(at);
        let horizon = f64::from(spec.churn.as_i32());
        let (new, known): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|&&row| tenure[row] < horizon);
        parts.push(("age", format!("first purchase within {horizon:.0} days"), new));
        parts.push(("age", "older".to_owned(), known));
    }
    if let Some(at) = schema.position("spend_total") {
        let spend = judged.matrix.column(at);
        let mut order = all.clone();
        order.sort_by(|&a, &b| spend[a].total_cmp(&spend[b]).then(a.cmp(&b)));
        for part in 0..QUINTILES {
            let n = order.len();
            let mut rows = order[part * n / QUINTILES..(part + 1) * n / QUINTILES].to_vec();
            rows.sort_unstable();
            let name = match part {
                0 => "lowest fifth".to_owned(),
                part if part + 1 == QUINTILES => "highest fifth".to_owned(),
                part => format!("fifth {}", part + 1),
            };
            parts.push(("spend", name, rows));
        }
    }
    let as_of = AsOf::end_of(cutoff, &spec.zone);
    let mut replay = Replay::new(log);
    replay.advance(as_of);
    // The rows of a slice are the customers who had bought, in the order of the log.
    let buyers: Vec<usize> =
        (0..replay.len()).filter(|&idx| replay.history(idx).first_purchase().is_some()).collect();
    if buyers.len() == all.len() {
        let channels = levels(&buyers, &replay, History::sales_channels);
        parts.extend(channels.into_iter().map(|(level, rows)| ("sales channel", level, rows)));
        let categories = levels(&buyers, &replay, History::categories);
        parts.extend(categories.into_iter().map(|(level, rows)| ("category", level, rows)));
    }
    parts
        .iter()
        .filter_map(|(by, group, rows)| {
            Subgroup::new((*by, group.as_str()), rows, &verdict.probs, &judged.churned)
        })
        .collect()
}

/// The rows by the level that each customer has most often: the commonest levels, then all others
/// as one; nothing where there is one level only.
fn levels(
    buyers: &[usize],
    replay: &Replay<'_>,
    of: fn(&History) -> &Distinct,
) -> Vec<(String, Vec<usize>)> {
    let mut by_level = BTreeMap::<String, Vec<usize>>::new();
    for (row, &idx) in buyers.iter().enumerate() {
        if let Some(top) = of(replay.history(idx)).top() {
            by_level.entry(top.name.as_str().to_owned()).or_default().push(row);
        }
    }
    if by_level.len() < 2 {
        return Vec::new();
    }
    let mut levels: Vec<(String, Vec<usize>)> = by_level.into_iter().collect();
    levels.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    let n_shown =
        levels.iter().take(LEVELS_MAX).filter(|(_, rows)| rows.len() >= SUBGROUP_ROWS_MIN).count();
    let mut rest: Vec<usize> = levels.split_off(n_shown).into_iter().flat_map(|l| l.1).collect();
    if !rest.is_empty() {
        rest.sort_unstable();
        levels.push(("all others".to_owned(), rest));
    }
    levels
}
