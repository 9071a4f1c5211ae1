//! Settings of the boosted churn trees, searched on windows inside of the training ones.
//!
//! In: the rows of the training cutoffs, all of which end before the judged window begins. Out:
//! settings, and an account of everything that was tried. Trees are grown on early cutoffs of one
//! half of the customers and judged on later, complete windows of the other half, and the other
//! way round: no customer and no day is on both sides. The number of trees is read from the same
//! curve of losses.
//!
//! The search is bounded: a fixed list of settings, a bound on the rows, the same seed. Settings
//! other than the usual ones must beat them by twice what their difference is uncertain, because
//! the best of several is partly luck, and the inner windows see fewer rows of a younger base than
//! the models do in the end. It deliberately touches neither the judged window nor the regression.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::backtest::Rows;
use super::error::TrainError;
use crate::domain::Day;
use crate::evaluate::SplitMix64;
use crate::features::FeatureSchema;
use crate::model::{
    Boosted, BoostedSpec, ChurnKind, ChurnParts, Columns, Forest, SearchScope, TreeShape,
    row_definitions, sigmoid,
};

/// Rows to learn from at most, both halves together.
const fn rows_max(scope: SearchScope) -> usize {
    match scope {
        SearchScope::Off => 0,
        SearchScope::Default => 60_000,
        SearchScope::Wide => 240_000,
    }
}

/// Trees grown at most while searching.
const ROUNDS_MAX: usize = 300;
/// Numbers of trees that are looked at: every so many.
const ROUNDS_STEP: usize = 10;
/// Fewer trees than this are luck.
const ROUNDS_MIN: usize = 30;
/// Rows of the rarer outcome that each half must have on either side.
const OUTCOMES_MIN: usize = 60;
/// Other settings must beat the usual ones by this many standard errors of the difference ...
const GAIN_ERRORS_MIN: f64 = 2.0;
/// ... and by this share of the log loss: a smaller gain is not worth leaving settings that held
/// on other logs, and trees grown on fewer rows want to be fewer.
const GAIN_SHARE_MIN: f64 = 0.005;
/// Inner windows to judge on at most.
const JUDGED_MAX: usize = 3;

/// Facts whose sign holds whatever the rest: a worse experience never lowers the risk.
const SIGNS_SAFE: [(&str, i8); 3] =
    [("complaints_serious_90d", 1), ("nps_last", -1), ("csat_last", -1)];

/// Signs that hold where customers buy when they like, and fail where fresh buyers rest for longer
/// than the horizon: tried, and taken only where they cost nothing.
const SIGNS_USUAL: [(&str, i8); 16] = [
    ("purchase_days_4w", -1),
    ("purchase_days_8w", -1),
    ("purchase_days_13w", -1),
    ("purchase_days_26w", -1),
    ("purchase_days_52w", -1),
    ("orders_7d", -1),
    ("orders_28d", -1),
    ("trend_4w", -1),
    ("trend_13w", -1),
    ("activities_4w", -1),
    ("activities_13w", -1),
    ("activities_52w", -1),
    ("open_share", -1),
    ("click_share", -1),
    ("response_age_days", 1),
    ("silence_prob", 1),
];

/// The directions of the trees in the order of a row: the safe signs, and where asked the usual
/// ones as well.
#[must_use]
pub fn signs(usual: bool) -> Vec<i8> {
    let schema = FeatureSchema::new(&row_definitions());
    let mut signs = vec![0; schema.features().len()];
    let more = SIGNS_USUAL.iter().filter(|_| usual);
    for (name, sign) in SIGNS_SAFE.iter().chain(more) {
        if let Some(at) = schema.position(name) {
            signs[at] = *sign;
        }
    }
    signs
}

/// Settings that are tried.
#[derive(Debug, Clone)]
struct Trial {
    name: String,
    spec: BoostedSpec,
    usual_signs: bool,
}

/// The usual settings first.
fn trials(usual: &BoostedSpec, scope: SearchScope) -> Vec<Trial> {
    let spec = |change: fn(&mut BoostedSpec)| {
        let mut spec = usual.clone();
        change(&mut spec);
        spec
    };
    let mut all = vec![
        ("usual", usual.clone()),
        ("shallow", spec(|s| (s.shape, s.learning_rate) = (TreeShape::Depth(2), 0.06))),
        ("deep", spec(|s| (s.shape, s.min_child_weight) = (TreeShape::Depth(4), 40.0))),
        ("leafy", spec(|s| (s.shape, s.min_child_weight) = (TreeShape::Leaves(12), 40.0))),
        ("few_columns", spec(|s| s.colsample = 0.25)),
        ("damped", spec(|s| (s.min_child_weight, s.lambda) = (60.0, 20.0))),
    ];
    if scope == SearchScope::Wide {
        all.extend([
            ("small_steps", spec(|s| s.learning_rate = 0.025)),
            ("large_steps", spec(|s| s.learning_rate = 0.08)),
            ("deeper", spec(|s| (s.shape, s.min_child_weight) = (TreeShape::Depth(5), 60.0))),
            ("leafier", spec(|s| (s.shape, s.min_child_weight) = (TreeShape::Leaves(24), 60.0))),
            ("all_columns", spec(|s| s.colsample = 1.0)),
            ("half_the_rows", spec(|s| s.subsample = 0.5)),
            ("fine_leaves", spec(|s| s.min_child_weight = 5.0)),
        ]);
    }
    all.into_iter()
        .map(|(name, spec)| Trial { name: name.to_owned(), spec, usual_signs: false })
        .collect()
}

/// The rows of one training cutoff with the customers they speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct CutoffRows<'r> {
    /// The last day seen.
    pub cutoff: Day,
    /// Positions of the customers in the log, in the order of the rows.
    pub customers: &'r [usize],
    /// The rows.
    pub rows: &'r Rows,
}

/// What a search works with.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchTask<'t> {
    /// How far to search.
    pub scope: SearchScope,
    /// Days of the churn horizon.
    pub horizon_days: i32,
    /// The usual settings.
    pub usual: &'t BoostedSpec,
    /// Positions of the columns that the models name.
    pub columns: &'t Columns,
}

/// What was tried and what came of it.
#[derive(Debug, Clone)]
pub struct Search {
    /// The settings to use.
    pub spec: BoostedSpec,
    /// The account, for `metrics.json`.
    pub report: Value,
}

impl Search {
    /// The usual settings, with the reason why nothing else was tried.
    fn none(task: &SearchTask<'_>, note: &str) -> Self {
        let spec = task.usual.clone();
        let report = json!({
            "scope": task.scope.as_str(),
            "note": note,
            "chosen": settings("usual", &spec, false),
            "tried": [],
        });
        Self { spec, report }
    }
}

/// Searches on the rows of the training cutoffs, oldest first.
///
/// # Errors
/// [`TrainError`] should trees not grow on rows that were checked.
pub(super) fn search(
    task: SearchTask<'_>,
    cutoffs: &[CutoffRows<'_>],
) -> Result<Search, TrainError> {
    if task.scope == SearchScope::Off {
        return Ok(Search::none(&task, "not searched: switched off"));
    }
    let Some(split) = Split::new(&task, cutoffs) else {
        return Ok(Search::none(
            &task,
            "not searched: no window inside of the training ones has half of their rows before it",
        ));
    };
    if !split.is_enough() {
        return Ok(Search::none(&task, "not searched: too few rows of either outcome"));
    }
    let mut tried = split.try_all(trials(task.usual, task.scope))?;
    let stopped = tried.first().map(|usual| usual.at_best_round());
    tried.extend(stopped);
    let usual_losses = split.losses(&tried[0]);
    let mut best = 0;
    for at in 1..tried.len() {
        tried[at].gain = Some(split.gain(&usual_losses, &split.losses(&tried[at])));
        if tried[at].is_better() && tried[at].log_loss < tried[best].log_loss {
            best = at;
        }
    }
    let note = if best == 0 {
        "no other settings beat the usual ones by more than luck on windows inside of the \
         training ones"
    } else {
        "chosen on windows inside of the training ones"
    };
    let mut signed = tried[best].trial.clone();
    signed.name.push_str(" with signs");
    (signed.spec.monotone, signed.usual_signs) = (signs(true), true);
    for mut found in split.try_all(vec![signed])? {
        found.set_rounds(tried[best].n_rounds);
        found.gain = Some(split.gain(&usual_losses, &split.losses(&found)));
        let is_free = found.log_loss <= tried[best].log_loss;
        tried.push(found);
        if is_free {
            best = tried.len() - 1;
        }
    }
    Ok(split.verdict(&task, note, &tried, best))
}

/// Who learns and who is judged.
struct Split<'r> {
    columns: &'r Columns,
    cutoffs: [Vec<Day>; 2],
    n_customers: usize,
    /// By half of the customers: rows to learn from, and rows to judge on.
    halves: [Half; 2],
}

/// The rows of one half of the customers.
#[derive(Default)]
struct Half {
    training: Option<Rows>,
    judged: Option<Rows>,
    /// The customer of each judged row.
    customers: Vec<usize>,
}

/// One try with its trees.
#[derive(Clone)]
struct Tried {
    trial: Trial,
    n_rounds: usize,
    log_loss: f64,
    /// By which half of the customers they were grown on.
    forests: [Forest; 2],
    /// Mean loss after every [`ROUNDS_STEP`] trees.
    curve: Vec<f64>,
    /// How much lower the loss is than that of the usual settings, and the standard error.
    gain: Option<[f64; 2]>,
}

impl Tried {
    /// Takes a number of trees, a multiple of [`ROUNDS_STEP`].
    fn set_rounds(&mut self, n_rounds: usize) {
        let at = (n_rounds / ROUNDS_STEP).clamp(1, self.curve.len()) - 1;
        (self.n_rounds, self.log_loss) = ((at + 1) * ROUNDS_STEP, self.curve[at]);
    }

    /// The same trees, stopped where the loss is lowest.
    fn at_best_round(&self) -> Self {
        let mut stopped = self.clone();
        stopped.trial.name.push_str(" stopped early");
        stopped.set_rounds(best_round(&self.curve));
        stopped
    }

    fn is_better(&self) -> bool {
        self.gain.is_some_and(|[gain, error]| {
            gain > (GAIN_ERRORS_MIN * error).max(GAIN_SHARE_MIN * self.log_loss)
        })
    }

    fn to_json(&self) -> Value {
        let mut spec = self.trial.spec.clone();
        spec.n_rounds_max = self.n_rounds;
        let mut found = settings(&self.trial.name, &spec, self.trial.usual_signs);
        found["log_loss"] = json!(self.log_loss);
        found["gain"] = json!(self.gain.map(|[gain, _]| gain));
        found["gain_error"] = json!(self.gain.map(|[_, error]| error));
        found
    }
}

fn settings(name: &str, spec: &BoostedSpec, usual_signs: bool) -> Value {
    let (depth, leaves) = match spec.shape {
        TreeShape::Depth(depth) => (Some(depth), None),
        TreeShape::Leaves(leaves) => (None, Some(leaves)),
    };
    json!({
        "name": name,
        "rounds": spec.n_rounds_max,
        "learning_rate": spec.learning_rate,
        "depth": depth,
        "leaves": leaves,
        "min_child_weight": spec.min_child_weight,
        "lambda": spec.lambda,
        "subsample": spec.subsample,
        "colsample": spec.colsample,
        "usual_signs": usual_signs,
    })
}

impl<'r> Split<'r> {
    /// The newest cutoffs are judged, up to three, as long as those whose windows end by the first
    /// of them hold at least half of the rows: less is another, younger base.
    fn new(task: &SearchTask<'r>, cutoffs: &[CutoffRows<'_>]) -> Option<Self> {
        let n_of = |part: &[CutoffRows<'_>]| -> usize {
            part.iter().map(|cutoff| cutoff.rows.churned.len()).sum()
        };
        let (early, late) = (1..=JUDGED_MAX).rev().find_map(|n_late| {
            let late = &cutoffs[cutoffs.len().checked_sub(n_late)?..];
            let first = late.first()?.cutoff;
            let n_early = cutoffs
                .iter()
                .take_while(|rows| first.days_since(rows.cutoff) >= task.horizon_days)
                .count();
            let early = &cutoffs[..n_early];
            (2 * n_of(early) >= n_of(cutoffs)).then_some((early, late))
        })?;
        let n_rows = n_of(early);
        let share = rows_max(task.scope) as f64 / n_rows.max(1) as f64;
        let seed = task.usual.seed;
        let half_of = |customer: usize| half_of(seed, customer, share);
        let mut halves: [Half; 2] = Default::default();
        let mut seen = std::collections::BTreeSet::new();
        for (half, number) in halves.iter_mut().zip(0..) {
            let of = |cutoff: &CutoffRows<'_>| -> Vec<usize> {
                let own = cutoff.customers.iter().map(|&customer| half_of(customer));
                own.enumerate().filter(|(_, found)| *found == Some(number)).map(|f| f.0).collect()
            };
            let part = |cutoffs: &[CutoffRows<'_>]| {
                let parts: Vec<Rows> =
                    cutoffs.iter().map(|cutoff| cutoff.rows.select(&of(cutoff))).collect();
                Rows::stack(&parts.iter().collect::<Vec<_>>())
            };
            (half.training, half.judged) = (part(early), part(late));
            for cutoff in late {
                half.customers.extend(of(cutoff).into_iter().map(|row| cutoff.customers[row]));
            }
            seen.extend(half.customers.iter().copied());
        }
        let days = |part: &[CutoffRows<'_>]| part.iter().map(|cutoff| cutoff.cutoff).collect();
        let cutoffs = [days(early), days(late)];
        Some(Self { columns: task.columns, cutoffs, n_customers: seen.len(), halves })
    }

    /// Whether both halves have enough of both outcomes on both sides.
    fn is_enough(&self) -> bool {
        self.halves.iter().flat_map(|half| [&half.training, &half.judged]).all(|rows| {
            rows.as_ref().is_some_and(|rows| {
                let n_churned = rows.churned.iter().filter(|&&yes| yes).count();
                n_churned.min(rows.churned.len() - n_churned) >= OUTCOMES_MIN
            })
        })
    }

    /// Grows the trees of all trials, two fits each, one thread a fit.
    fn try_all(&self, trials: Vec<Trial>) -> Result<Vec<Tried>, TrainError> {
        let fits: Vec<(&Trial, usize)> =
            trials.iter().flat_map(|trial| [(trial, 0), (trial, 1)]).collect();
        let forests: Vec<Forest> = fits
            .into_par_iter()
            .map(|(trial, half)| self.grow(&trial.spec, half))
            .collect::<Result<_, TrainError>>()?;
        let mut forests = forests.into_iter();
        let mut tried = Vec::with_capacity(trials.len());
        for trial in trials {
            let (Some(first), Some(second)) = (forests.next(), forests.next()) else { break };
            let forests = [first, second];
            let curve = self.curve(&forests);
            let n_usual = trial.spec.n_rounds_max;
            let is_usual = tried.is_empty();
            let mut found = Tried { trial, n_rounds: 0, log_loss: 0.0, forests, curve, gain: None };
            // The usual settings come with their own number of trees.
            found.set_rounds(if is_usual { n_usual } else { best_round(&found.curve) });
            tried.push(found);
        }
        Ok(tried)
    }

    fn grow(&self, spec: &BoostedSpec, half: usize) -> Result<Forest, TrainError> {
        let empty = || TrainError::Fit(crate::model::FitError::Empty);
        let rows = self.halves[half].training.as_ref().ok_or_else(empty)?;
        let spec = BoostedSpec { n_rounds_max: ROUNDS_MAX, n_threads: 1, ..spec.clone() };
        let target: Vec<f64> = rows.churned.iter().map(|&yes| f64::from(u8::from(yes))).collect();
        Ok(Boosted::fit_on_margin(&spec, &rows.matrix, &target, &self.margins(rows))?)
    }

    /// Log-odds of the closed form, which the trees are grown on top of.
    fn margins(&self, rows: &Rows) -> Vec<f64> {
        ChurnParts::unlearned(0.5).logits(ChurnKind::Btyd, self.columns, &rows.matrix)
    }

    /// The judged rows of both halves with the trees that were grown on the other one.
    fn judged<'s>(
        &'s self,
        forests: &'s [Forest; 2],
    ) -> impl Iterator<Item = (&'s Rows, &'s Forest)> {
        self.halves
            .iter()
            .zip(forests.iter().rev())
            .filter_map(|(half, forest)| half.judged.as_ref().map(|rows| (rows, forest)))
    }

    /// Mean loss over all judged rows after every so many trees.
    fn curve(&self, forests: &[Forest; 2]) -> Vec<f64> {
        let mut curve = vec![0.0; ROUNDS_MAX / ROUNDS_STEP];
        let mut n_rows = 0;
        for (rows, forest) in self.judged(forests) {
            let margins = self.margins(rows);
            let mut row = vec![0.0; rows.matrix.n_columns()];
            for (idx, &churned) in rows.churned.iter().enumerate() {
                rows.matrix.copy_row(idx, &mut row);
                forest.staged_margins(&row, |tree, margin| {
                    if (tree + 1).is_multiple_of(ROUNDS_STEP) {
                        curve[tree / ROUNDS_STEP] += loss(margins[idx] + margin, churned);
                    }
                });
            }
            n_rows += rows.churned.len();
        }
        curve.iter_mut().for_each(|loss| *loss /= n_rows.max(1) as f64);
        curve
    }

    /// The loss of every judged row at the best number of trees.
    fn losses(&self, tried: &Tried) -> Vec<f64> {
        let mut losses = Vec::new();
        for (rows, forest) in self.judged(&tried.forests) {
            let margins = self.margins(rows);
            let mut row = vec![0.0; rows.matrix.n_columns()];
            for (idx, &churned) in rows.churned.iter().enumerate() {
                rows.matrix.copy_row(idx, &mut row);
                forest.staged_margins(&row, |tree, margin| {
                    if tree + 1 == tried.n_rounds {
                        losses.push(loss(margins[idx] + margin, churned));
                    }
                });
            }
        }
        losses
    }

    /// Mean difference a row, and its standard error with the rows of a customer taken as one.
    fn gain(&self, usual: &[f64], other: &[f64]) -> [f64; 2] {
        let customers = self.halves.iter().flat_map(|half| half.customers.iter());
        let differences: Vec<f64> = usual.iter().zip(other).map(|(a, b)| a - b).collect();
        let n = differences.len().max(1) as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let mut sums = std::collections::BTreeMap::<usize, f64>::new();
        for (customer, difference) in customers.zip(&differences) {
            *sums.entry(*customer).or_default() += difference - mean;
        }
        let error = sums.values().map(|sum| sum * sum).sum::<f64>().sqrt() / n;
        [mean, error]
    }

    fn verdict(&self, task: &SearchTask<'_>, note: &str, tried: &[Tried], best: usize) -> Search {
        let chosen = &tried[best];
        let spec = BoostedSpec {
            n_rounds_max: chosen.n_rounds,
            n_threads: task.usual.n_threads,
            ..chosen.trial.spec.clone()
        };
        let days = |days: &[Day]| -> Vec<String> { days.iter().map(Day::to_string).collect() };
        let n_rows = |of: fn(&Half) -> &Option<Rows>| -> usize {
            self.halves.iter().filter_map(|half| of(half).as_ref()).map(|r| r.churned.len()).sum()
        };
        let report = json!({
            "scope": task.scope.as_str(),
            "note": note,
            "inner": {
                "training_cutoffs": days(&self.cutoffs[0]),
                "judged_cutoffs": days(&self.cutoffs[1]),
                "customers_judged": self.n_customers,
                "rows_training": n_rows(|half| &half.training),
                "rows_judged": n_rows(|half| &half.judged),
            },
            "chosen": settings(&chosen.trial.name, &spec, chosen.trial.usual_signs),
            "tried": tried.iter().map(Tried::to_json).collect::<Vec<_>>(),
        });
        Search { spec, report }
    }
}

/// The number of trees with the lowest loss.
fn best_round(curve: &[f64]) -> usize {
    let from = ROUNDS_MIN / ROUNDS_STEP - 1;
    let best = (from..curve.len()).min_by(|&a, &b| curve[a].total_cmp(&curve[b]));
    (best.unwrap_or(from) + 1) * ROUNDS_STEP
}

/// Log loss of a logit, nats.
fn loss(logit: f64, churned: bool) -> f64 {
    let prob = sigmoid(if churned { logit } else { -logit });
    -libm::log(prob.max(f64::MIN_POSITIVE))
}

/// Which half a customer belongs to; none for one who is left out of the search.
fn half_of(seed: u64, customer: usize, share: f64) -> Option<u64> {
    let mut random = SplitMix64::new(seed ^ (customer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let half = random.next_u64() >> 63;
    (random.unit() < share).then_some(half)
}
