//! Weights of the stacked candidates, fitted on out-of-time predictions of several origins.
//!
//! In: what the members (closed form, regression, trees) said at each origin, and what came. Out:
//! weights >= 0 that sum to 1, and whether they may be used: each origin after the first is
//! predicted with the weights of those before it and, beside that, by the candidate that the plain
//! rule would have picked on the origin before. Only if the weights did better on average are they
//! used. With n origins the fitted weights count n parts and the plain blend one.

use rayon::prelude::*;

use crate::domain::Day;
use crate::evaluate::{log_loss, tweedie_deviance};
use crate::model::{ChurnKind, STACK_MEMBERS, StackWeights, ValueKind};

use super::backtest::{Rows, pick_churn, pick_value};
use super::origins::{OriginResult, probs};

/// Steps of the grid of weights between 0 and 1: finer weights would fit noise.
const GRID: u32 = 10;
/// Rows of an origin that weights are fitted on; of more, a systematic part is taken.
const ROWS_MAX: usize = 10_000;

/// How stacked and picked candidates did on one origin, chosen before it.
#[derive(Debug, Clone, PartialEq)]
pub struct StackTrial {
    /// The origin.
    pub cutoff: Day,
    /// Name of the candidate that the plain rule picked on the origin before.
    pub pick: &'static str,
    /// Its loss here: log loss for churn, Tweedie deviance for value.
    pub pick_loss: f64,
    /// The loss of the stacked candidate here.
    pub stacked_loss: f64,
    /// Its weights, fitted on the origins before.
    pub weights: StackWeights,
}

/// What became of stacking.
#[derive(Debug, Clone, PartialEq)]
pub struct StackVerdict {
    /// Weights fitted on all mature origins; none where there is none.
    pub weights: Option<StackWeights>,
    /// Whether they are used.
    pub used: bool,
    /// Why, or why not.
    pub note: String,
    /// The origins on which it was tried.
    pub trials: Vec<StackTrial>,
    /// For each mature origin the weights of the origins before it; those
    /// of the plain blend at the first.
    pub before: Vec<StackWeights>,
}

/// What the members said at one origin.
struct Members<'o> {
    cutoff: Day,
    says: [&'o [f64]; STACK_MEMBERS],
    actual: Actual<'o>,
}

/// What came.
#[derive(Clone, Copy)]
enum Actual<'o> {
    /// Who left; members say log-odds.
    Left(&'o [bool]),
    /// What was spent; members say means.
    Spent(&'o [f64]),
}

impl Members<'_> {
    /// The weighted sum of what the members say; a member of weight 0 is not looked at.
    fn mean(&self, weights: [f64; STACK_MEMBERS]) -> Vec<f64> {
        let mut sums = vec![0.0; self.says[0].len()];
        for (weight, says) in weights.into_iter().zip(self.says).filter(|(w, _)| *w > 0.0) {
            for (sum, said) in sums.iter_mut().zip(says) {
                *sum += weight * said;
            }
        }
        sums
    }

    fn loss(&self, weights: [f64; STACK_MEMBERS]) -> f64 {
        let mean = self.mean(weights);
        let loss = match self.actual {
            Actual::Left(churned) => log_loss(&probs(&mean), churned),
            Actual::Spent(spend) => tweedie_deviance(&mean, spend),
        };
        loss.unwrap_or(f64::INFINITY)
    }
}

/// A systematic part of an origin's rows, so that large bases cost no more than small ones.
struct Sample {
    says: [Vec<f64>; STACK_MEMBERS],
    churned: Vec<bool>,
    spend: Vec<f64>,
}

impl Sample {
    fn of(members: &Members<'_>) -> Self {
        let step = members.says[0].len().div_ceil(ROWS_MAX).max(1);
        let (mut churned, mut spend) = (Vec::new(), Vec::new());
        match members.actual {
            Actual::Left(left) => churned = left.iter().copied().step_by(step).collect(),
            Actual::Spent(spent) => spend = spent.iter().copied().step_by(step).collect(),
        }
        Self {
            says: members.says.map(|says| says.iter().copied().step_by(step).collect()),
            churned,
            spend,
        }
    }

    fn members(&self, cutoff: Day) -> Members<'_> {
        let [first, second, third] = &self.says;
        let actual = if self.churned.is_empty() {
            Actual::Spent(&self.spend)
        } else {
            Actual::Left(&self.churned)
        };
        Members { cutoff, says: [first, second, third], actual }
    }
}

/// All weights of the grid, in a fixed order.
fn grid() -> Vec<[f64; STACK_MEMBERS]> {
    let share = |n: u32| f64::from(n) / f64::from(GRID);
    let mut all = Vec::new();
    for linear in 0..=GRID {
        for trees in 0..=GRID - linear {
            all.push([share(GRID - linear - trees), share(linear), share(trees)]);
        }
    }
    all
}

/// The weights with the lowest mean loss over origins, each origin against the plain blend's
/// loss there, shrunk to the plain blend.
fn fit_weights(origins: &[Members<'_>]) -> StackWeights {
    let samples: Vec<Sample> = origins.iter().map(Sample::of).collect();
    let samples: Vec<Members<'_>> =
        samples.iter().zip(origins).map(|(s, origin)| s.members(origin.cutoff)).collect();
    let blend: Vec<f64> =
        samples.iter().map(|sample| sample.loss(StackWeights::BLEND.weights())).collect();
    let costs: Vec<([f64; STACK_MEMBERS], f64)> = grid()
        .into_par_iter()
        .map(|weights| {
            let ratios = samples.iter().zip(&blend).map(|(sample, b)| sample.loss(weights) / b);
            (weights, ratios.sum::<f64>())
        })
        .collect();
    let best = costs.iter().filter(|(_, cost)| cost.is_finite());
    let best = best.min_by(|(_, a), (_, b)| a.total_cmp(b));
    let found = best.and_then(|(weights, _)| StackWeights::try_new(*weights).ok());
    let share = origins.len() as f64 / (origins.len() as f64 + 1.0);
    found.unwrap_or_default().shrunk(StackWeights::BLEND, share)
}

/// What the plain rule picks on one origin, and the loss of that pick on the next.
type Pick<'p> = dyn Fn(usize, usize) -> Option<(&'static str, f64)> + 'p;

fn judge(origins: &[Members<'_>], pick: &Pick<'_>) -> StackVerdict {
    let before: Vec<StackWeights> = (0..origins.len())
        .map(|at| if at == 0 { StackWeights::BLEND } else { fit_weights(&origins[..at]) })
        .collect();
    let trials: Vec<StackTrial> = (1..origins.len())
        .filter_map(|at| {
            let (pick, pick_loss) = pick(at - 1, at)?;
            let weights = before[at];
            let stacked_loss = origins[at].loss(weights.weights());
            Some(StackTrial { cutoff: origins[at].cutoff, pick, pick_loss, stacked_loss, weights })
        })
        .collect();
    let weights = (!origins.is_empty()).then(|| fit_weights(origins));
    let mean = |of: fn(&StackTrial) -> f64| {
        trials.iter().map(of).sum::<f64>() / trials.len().max(1) as f64
    };
    let (stacked, picked) = (mean(|trial| trial.stacked_loss), mean(|trial| trial.pick_loss));
    let used = !trials.is_empty() && stacked < picked;
    let note = if trials.is_empty() {
        "not used: weights need two origins with windows enough to learn from before them"
            .to_owned()
    } else {
        format!(
            "{}: on {} later window(s) the mean loss is {stacked:.4}, that of the candidate picked \
             one window earlier {picked:.4}",
            if used { "used" } else { "not used" },
            trials.len()
        )
    };
    StackVerdict { weights, used, note, trials, before }
}

/// Stacks the churn candidates.
pub(super) fn stack_churn(origins: &[OriginResult], rows: &[(Day, Rows)]) -> StackVerdict {
    let learned: Vec<&OriginResult> = origins.iter().filter(|origin| origin.mature).collect();
    let members: Vec<Members<'_>> = learned.iter().filter_map(|o| churn_members(o, rows)).collect();
    judge(&members, &|from, to| {
        let kind = pick_churn(learned[from], &rows[learned[from].at].1)?;
        Some((kind.as_str(), learned[to].churn_loss(kind, &rows[learned[to].at].1)))
    })
}

fn churn_members<'o>(origin: &'o OriginResult, rows: &'o [(Day, Rows)]) -> Option<Members<'o>> {
    let [first, second, third] = ChurnKind::MEMBERS.map(|kind| origin.logits(kind));
    let actual = Actual::Left(&rows[origin.at].1.churned);
    Some(Members { cutoff: origin.cutoff, says: [first?, second?, third?], actual })
}

/// Stacks the value candidates.
pub(super) fn stack_value(origins: &[OriginResult], rows: &[(Day, Rows)]) -> StackVerdict {
    let learned: Vec<&OriginResult> = origins.iter().filter(|origin| origin.mature).collect();
    let members: Vec<Members<'_>> = learned.iter().filter_map(|o| value_members(o, rows)).collect();
    judge(&members, &|from, to| {
        let kind = pick_value(&learned[from].value_metrics(&rows[learned[from].at].1))?;
        Some((kind.as_str(), learned[to].value_loss(kind, &rows[learned[to].at].1)))
    })
}

fn value_members<'o>(origin: &'o OriginResult, rows: &'o [(Day, Rows)]) -> Option<Members<'o>> {
    let [first, second, third] = ValueKind::MEMBERS.map(|kind| origin.means(kind));
    let actual = Actual::Spent(&rows[origin.at].1.spend);
    Some(Members { cutoff: origin.cutoff, says: [first?, second?, third?], actual })
}

/// Appends what the stacked candidates would have said at each mature origin,
/// with the weights of the origins before it.
pub(super) fn add_stacked(
    origins: &mut [OriginResult],
    rows: &[(Day, Rows)],
    (churn, value): (&StackVerdict, &StackVerdict),
) {
    let learned = origins.iter_mut().filter(|origin| origin.mature);
    for (origin, (churn, value)) in learned.zip(churn.before.iter().zip(&value.before)) {
        let logits = churn_members(origin, rows).map(|members| members.mean(churn.weights()));
        origin.churn.extend(logits.map(|logits| (ChurnKind::Stacked, logits)));
        let means = value_members(origin, rows).map(|members| members.mean(value.weights()));
        origin.value.extend(means.map(|means| (ValueKind::Stacked, means)));
        let totals = ValueKind::MEMBERS.map(|kind| origin.full_total(kind));
        if let [Some(first), Some(second), Some(third)] = totals {
            let parts = value.weights().into_iter().zip([first, second, third]);
            let total = parts.map(|(weight, total)| weight * total).sum();
            origin.value_full.push((ValueKind::Stacked, total));
        }
        let levels = ValueKind::MEMBERS.map(|kind| origin.level(kind));
        if let [Some(first), Some(second), Some(third)] = levels {
            // Of a weighted sum: near enough for a level of a few percent.
            let parts = value.weights().into_iter().zip([first, second, third]);
            let level = parts.map(|(weight, level)| weight * level).sum();
            origin.value_level.push((ValueKind::Stacked, level));
        }
    }
}
