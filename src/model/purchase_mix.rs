//! Expected purchases as the weighted mean of several purchase-count models.
//!
//! In: fitted models with weights that a backtest found. Out: expected purchases, checked on the
//! way in. Which model foretells best who comes at all, and how often they come, are two
//! questions: the mean answers the second one only. It deliberately fits and chooses nothing.

use thiserror::Error;

use super::count::{CountKind, CountModel};
use crate::features::PurchaseSummary;

/// How far the sum of weights may be from 1: they are stored as they are, never normalised again.
const SUM_TOLERANCE: f64 = 1e-9;

/// Why members and weights make no mean.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PurchaseMixError {
    /// A weight that is no share.
    #[error("weight {found} of {model}: a number above 0 and up to 1 is needed")]
    Weight {
        /// The member.
        model: &'static str,
        /// What was found.
        found: f64,
    },
    /// A model that stands there twice.
    #[error("{model} stands in the mean of purchase models twice")]
    Twice {
        /// The member.
        model: &'static str,
    },
    /// Weights that do not sum to 1; also of no members at all.
    #[error("the weights of the mean of purchase models sum to {sum}, not to 1")]
    Sum {
        /// Their sum.
        sum: f64,
    },
}

/// Models with weights in (0, 1] that sum to 1, each kind once.
#[derive(Debug, Clone)]
pub struct PurchaseMix {
    members: Vec<(CountModel, f64)>,
}

impl PurchaseMix {
    /// The models that may be members, simplest first.
    pub const KINDS: [CountKind; 3] = [CountKind::BgNbd, CountKind::MbgNbd, CountKind::ParetoNbd];

    /// Of models with their weights.
    ///
    /// # Errors
    /// [`PurchaseMixError`].
    pub fn try_new(members: Vec<(CountModel, f64)>) -> Result<Self, PurchaseMixError> {
        for (at, (model, weight)) in members.iter().enumerate() {
            let (kind, found) = (model.kind(), *weight);
            if !(found > 0.0 && found <= 1.0) {
                return Err(PurchaseMixError::Weight { model: kind.name(), found });
            }
            if members[..at].iter().any(|(before, _)| before.kind() == kind) {
                return Err(PurchaseMixError::Twice { model: kind.name() });
            }
        }
        let sum: f64 = members.iter().map(|(_, weight)| weight).sum();
        if (sum - 1.0).abs() <= SUM_TOLERANCE {
            Ok(Self { members })
        } else {
            Err(PurchaseMixError::Sum { sum })
        }
    }

    /// The members and their weights.
    #[must_use]
    pub fn members(&self) -> &[(CountModel, f64)] {
        &self.members
    }

    /// Expected purchases within each of two horizons; finite, at least 0. `known` is what one
    /// kind of model is known to say: it is not asked again.
    pub(super) fn expected(
        &self,
        summary: &PurchaseSummary,
        weeks: [f64; 2],
        (kind, known): (CountKind, [f64; 2]),
    ) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for (model, weight) in &self.members {
            let said =
                if model.kind() == kind { known } else { model.expected_two(summary, weeks) };
            for (sum, said) in sums.iter_mut().zip(said) {
                *sum += weight * said;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(kind: CountKind) -> CountModel {
        CountModel::try_from_params(kind.name(), [0.5, 6.0, 0.9, 2.0]).unwrap()
    }

    #[test]
    fn the_mean_lies_between_its_members_and_what_is_known_is_not_asked() {
        let [bg, _, pareto] = PurchaseMix::KINDS.map(model);
        let mix = PurchaseMix::try_new(vec![(bg.clone(), 0.25), (pareto.clone(), 0.75)]).unwrap();
        let summary =
            PurchaseSummary { x: 2, t_x: 20.0, t: 39.0, spend_repeat_mean: 0.0, log_gap_sum: 0.0 };
        let weeks = [13.0, 39.0];
        let (one, other) = (bg.expected_two(&summary, weeks), pareto.expected_two(&summary, weeks));
        let found = mix.expected(&summary, weeks, (CountKind::BgNbd, one));
        for at in 0..2 {
            assert!((found[at] - 0.25 * one[at] - 0.75 * other[at]).abs() < 1e-15);
        }
        let told = mix.expected(&summary, weeks, (CountKind::BgNbd, [0.0; 2]));
        assert!((told[0] - 0.75 * other[0]).abs() < 1e-15, "a known model is not asked");
    }

    #[test]
    fn other_sums_weights_and_doubles_are_refused() {
        let [bg, mbg, _] = PurchaseMix::KINDS.map(model);
        let found = |members: Vec<(CountModel, f64)>| PurchaseMix::try_new(members).unwrap_err();
        assert!(matches!(found(Vec::new()), PurchaseMixError::Sum { .. }));
        let two = |p, q| vec![(bg.clone(), p), (mbg.clone(), q)];
        assert!(matches!(found(two(0.5, 0.4)), PurchaseMixError::Sum { .. }));
        for bad in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(matches!(found(two(0.5, bad)), PurchaseMixError::Weight { .. }), "{bad}");
        }
        let twice = vec![(bg.clone(), 0.5), (bg.clone(), 0.5)];
        assert!(matches!(found(twice), PurchaseMixError::Twice { model: "bg_nbd" }));
    }
}
