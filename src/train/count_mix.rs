//! How much each purchase-count model counts where purchases are expected.
//!
//! In: the log and past cutoffs whose windows end before the judged one begins. Out: weights of
//! BG/NBD, MBG/NBD and Pareto/NBD, fitted on what each of them, fitted before a cutoff, expected
//! of the window after it. Who comes at all is another question: that one is answered by the model
//! that [`super::count_choice`] picks. It deliberately never sees the judged window.

use rayon::prelude::*;

use crate::domain::{AsOf, Day};
use crate::evaluate::poisson_deviance;
use crate::events::Log;
use crate::features::{PurchaseSummary, purchase_summary};
use crate::labels::{Label, StayRule, label};
use crate::model::btyd::Prior;
use crate::model::{CountKind, CountModel, CountRows, PurchaseMix};

use super::plan::TrainSpec;
use super::replay::Replay;

/// Windows looked at, the newest ones that do not overlap: as many as the backtest has origins.
const WINDOWS_MAX: usize = 5;
/// Customers that weights are fitted on; of more, a systematic part is taken.
const CUSTOMERS_MAX: usize = 200_000;
/// Steps of the grid of weights between 0 and 1: finer weights would fit noise.
const GRID: u32 = 10;
/// Number of models.
const MEMBERS: usize = PurchaseMix::KINDS.len();
/// What is believed before the data are seen: of models that are about as good, the mean of all
/// errs less than any one of them.
const EQUAL: [f64; MEMBERS] = [1.0 / MEMBERS as f64; MEMBERS];

/// How the members did on one window, as the mean Poisson deviance of purchase days.
#[derive(Debug, Clone, PartialEq)]
pub struct MixWindow {
    /// The last day seen.
    pub cutoff: Day,
    /// Of each member, in the order of [`PurchaseMix::KINDS`].
    pub deviances: [f64; MEMBERS],
    /// Of the equal mean.
    pub equal: f64,
}

/// The weights of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MixChoice {
    /// Each member's weight; empty where one model alone answers.
    pub weights: Vec<(CountKind, f64)>,
    /// The windows they were fitted on, oldest first.
    pub windows: Vec<MixWindow>,
    /// Why, or why not.
    pub reason: String,
}

impl MixChoice {
    /// No mean, for a reason.
    pub(super) fn none(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::default() }
    }

    /// The mean on some data; members that cannot be fitted there leave their weight to the
    /// others. None where no mean is used or nothing can be fitted.
    #[must_use]
    pub(super) fn fit(
        weights: &[(CountKind, f64)],
        prior: Prior,
        data: &CountRows,
        known: &CountModel,
    ) -> Option<PurchaseMix> {
        let fitted = |&(kind, weight): &(CountKind, f64)| {
            let model = if kind == known.kind() {
                known.clone()
            } else {
                CountModel::fit(kind, prior, data).ok()?
            };
            Some((model, weight))
        };
        let members: Vec<(CountModel, f64)> = weights.iter().filter_map(fitted).collect();
        let sum: f64 = members.iter().map(|(_, weight)| weight).sum();
        let share = |(model, weight)| (model, if sum < 1.0 { weight / sum } else { weight });
        PurchaseMix::try_new(members.into_iter().map(share).collect()).ok()
    }
}

/// What the members expected of each customer in one window, and what came.
struct Window {
    cutoff: Day,
    says: [Vec<f64>; MEMBERS],
    purchases: Vec<f64>,
}

impl Window {
    fn deviance(&self, weights: [f64; MEMBERS]) -> f64 {
        let mut mean = vec![0.0; self.purchases.len()];
        for (weight, says) in weights.iter().zip(&self.says).filter(|(weight, _)| **weight > 0.0) {
            for (sum, said) in mean.iter_mut().zip(says) {
                *sum += weight * said;
            }
        }
        poisson_deviance(&mean, &self.purchases).unwrap_or(f64::INFINITY)
    }

    fn told(&self) -> MixWindow {
        let mut deviances = [0.0; MEMBERS];
        for (at, deviance) in deviances.iter_mut().enumerate() {
            let mut alone = [0.0; MEMBERS];
            alone[at] = 1.0;
            *deviance = self.deviance(alone);
        }
        MixWindow { cutoff: self.cutoff, deviances, equal: self.deviance(EQUAL) }
    }
}

/// Fits the weights on the windows after `cutoffs` (oldest first), all of which must end before
/// the judged one begins; `chosen` is the model of the run.
pub(super) fn choose_mix(
    spec: &TrainSpec,
    log: &Log,
    cutoffs: &[Day],
    chosen: CountKind,
) -> MixChoice {
    if !PurchaseMix::KINDS.contains(&chosen) {
        return MixChoice::none("buyers are regular: the other models do not know that");
    }
    let mut replay = Replay::new(log);
    let places = apart(cutoffs, spec.churn.as_i32());
    let windows: Vec<Window> =
        places.into_iter().filter_map(|cutoff| window(spec, log, &mut replay, cutoff)).collect();
    if windows.is_empty() {
        return MixChoice::none("no window before the judged one: one model alone");
    }
    let weights = fit_weights(&windows);
    MixChoice {
        weights: PurchaseMix::KINDS.into_iter().zip(weights).collect(),
        windows: windows.iter().map(Window::told).collect(),
        reason: "lowest Poisson deviance of purchases on the windows before the judged one, \
                 with one window's worth of equal weights"
            .to_owned(),
    }
}

/// The newest cutoffs whose windows do not overlap, oldest first.
fn apart(cutoffs: &[Day], horizon_days: i32) -> Vec<Day> {
    let mut places: Vec<Day> = Vec::new();
    for &cutoff in cutoffs.iter().rev() {
        let is_apart = places.last().is_none_or(|next| next.days_since(cutoff) >= horizon_days);
        if is_apart && places.len() < WINDOWS_MAX {
            places.push(cutoff);
        }
    }
    places.reverse();
    places
}

/// One window; none where it is not complete, nobody came or a member cannot be fitted.
fn window(spec: &TrainSpec, log: &Log, replay: &mut Replay<'_>, cutoff: Day) -> Option<Window> {
    let as_of = AsOf::end_of(cutoff, &spec.zone);
    replay.advance(as_of);
    let step = log.customers.len().div_ceil(CUSTOMERS_MAX).max(1);
    let found: Vec<(PurchaseSummary, f64)> = (0..log.customers.len())
        .into_par_iter()
        .step_by(step)
        .filter_map(|idx| {
            let summary = purchase_summary(replay.history(idx), as_of)?;
            let events = &log.customers[idx].events;
            match label(events, as_of, spec.churn, spec.until, StayRule::Purchase) {
                Label::Complete(outcome) => Some((summary, f64::from(outcome.purchase_days))),
                Label::Censored => None,
            }
        })
        .collect();
    let (summaries, purchases): (Vec<PurchaseSummary>, Vec<f64>) = found.into_iter().unzip();
    if !purchases.iter().any(|&n| n > 0.0) {
        return None;
    }
    let data = CountRows::try_new(&summaries).ok()?;
    let weeks = [spec.churn.weeks(); 2];
    let says = |kind| -> Option<Vec<f64>> {
        let model = CountModel::fit(kind, spec.prior, &data).ok()?;
        Some(summaries.par_iter().map(|summary| model.expected_two(summary, weeks)[0]).collect())
    };
    let [first, second, third] = PurchaseMix::KINDS.map(says);
    Some(Window { cutoff, says: [first?, second?, third?], purchases })
}

/// The weights with the lowest mean deviance over windows, each window's over that of the equal
/// mean there; with n windows they count n parts and the equal mean one.
fn fit_weights(windows: &[Window]) -> [f64; MEMBERS] {
    let equal: Vec<f64> = windows.iter().map(|window| window.deviance(EQUAL)).collect();
    let costs: Vec<([f64; MEMBERS], f64)> = grid()
        .into_par_iter()
        .map(|weights| {
            let ratios = windows.iter().zip(&equal).map(|(window, e)| window.deviance(weights) / e);
            (weights, ratios.sum::<f64>())
        })
        .collect();
    let best = costs.iter().filter(|(_, cost)| cost.is_finite());
    // Of equal costs `min_by` keeps the first.
    let best = best.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(EQUAL, |(weights, _)| *weights);
    let share = windows.len() as f64 / (windows.len() as f64 + 1.0);
    let mut weights = EQUAL;
    for (weight, found) in weights.iter_mut().zip(best) {
        *weight = share * found + (1.0 - share) * *weight;
    }
    weights
}

/// All weights of the grid, in a fixed order.
fn grid() -> Vec<[f64; MEMBERS]> {
    let share = |n: u32| f64::from(n) / f64::from(GRID);
    let mut all = Vec::new();
    for second in 0..=GRID {
        for third in 0..=GRID - second {
            all.push([share(GRID - second - third), share(second), share(third)]);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window in which one member is right and the others are off both ways.
    fn window(right: usize) -> Window {
        let purchases: Vec<f64> = (0..400_u32).map(|i| f64::from(i % 4)).collect();
        let off = |factor: f64| purchases.iter().map(|n| factor * n + 0.1).collect::<Vec<f64>>();
        let mut says = [off(0.4), off(0.5), off(0.6)];
        says[right] = off(1.0);
        Window { cutoff: Day::parse("2026-01-01").unwrap(), says, purchases }
    }

    #[test]
    fn the_member_that_is_right_counts_most_and_more_with_more_windows() {
        for right in 0..MEMBERS {
            let one = fit_weights(&[window(right)]);
            let three = fit_weights(&[window(right), window(right), window(right)]);
            for weights in [one, three] {
                assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{weights:?}");
                assert!(weights.iter().all(|&weight| weight > 0.0 && weight <= weights[right]));
            }
            assert!(three[right] > one[right]);
        }
    }

    #[test]
    fn windows_that_are_looked_at_do_not_overlap() {
        let day = |n: i32| Day::parse("2026-01-01").unwrap().plus(n);
        let cutoffs: Vec<Day> = (0..9).map(|n| day(30 * n)).collect();
        assert_eq!(apart(&cutoffs, 90), [day(60), day(150), day(240)]);
        assert_eq!(apart(&cutoffs, 30).len(), WINDOWS_MAX);
    }

    #[test]
    fn a_member_that_cannot_be_fitted_leaves_its_weight_to_the_others() {
        let summary = |i: u32| PurchaseSummary {
            x: i % 5,
            t_x: if i.is_multiple_of(5) { 0.0 } else { f64::from(3 + i % 20) },
            t: 30.0,
            spend_repeat_mean: 10.0,
            log_gap_sum: 0.0,
        };
        let data = CountRows::try_new(&(0..200).map(summary).collect::<Vec<_>>()).unwrap();
        let known = CountModel::fit(CountKind::BgNbd, Prior::Weak, &data).unwrap();
        let weights = [(CountKind::BgNbd, 0.3), (CountKind::MbgNbd, 0.3)];
        let mix = MixChoice::fit(&weights, Prior::Weak, &data, &known).unwrap();
        assert!(mix.members().iter().all(|(_, weight)| (weight - 0.5).abs() < 1e-12));
        assert!(MixChoice::fit(&[], Prior::Weak, &data, &known).is_none());
    }
}
