//! Whether a new bundle becomes champion: it must not be worse than the present one.
//!
//! In: a finished fit, the log, the present champion. Out: yes or no, why, and both bundles'
//! numbers on the newest complete window. The new one's are those of its predecessor that had not
//! seen the window; the champion may have been fitted on it, which widens what is forgiven.
//! It deliberately touches no metrics of the bundle: a version does not depend on who came before.

use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::{
    Bundle, BundleError, BundleSelector, CHALLENGER, CHAMPION, aliases, set_alias,
};
use crate::domain::{AsOf, Day};
use crate::evaluate::{auc, gini_normalised, log_loss, total_ratio};
use crate::events::Log;
use crate::model::{Predictor, ValueHorizon};

use super::backtest::Rows;
use super::error::TrainError;
use super::fit::FitResult;
use super::metrics::Grade;
use super::plan::{Promotion, TrainSpec};
use super::replay::Replay;

/// How much worse a new bundle may be and still be promoted: the noise of one window.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    log_loss: f64,
    gini: f64,
    /// Of the distance between the logarithms of predicted and actual total.
    log_total: f64,
}

const UNSEEN: Tolerance = Tolerance { log_loss: 0.001, gini: 0.01, log_total: 0.1 };
/// The same where the champion was fitted on the window that the new one had not seen.
const SEEN: Tolerance = Tolerance { log_loss: 0.01, gini: 0.03, log_total: 0.25 };

/// What the gate decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// Whether the new bundle is champion now.
    pub(super) promoted: bool,
    /// Why, or why not.
    pub(super) reason: String,
    /// Both bundles on the newest window; null where they were not compared.
    pub(super) comparison: Value,
}

impl Verdict {
    fn plain(promoted: bool, reason: impl Into<String>) -> Self {
        Self { promoted, reason: reason.into(), comparison: Value::Null }
    }
}

/// Makes the version champion unless the present champion does better on the newest window, or as
/// the run was told.
///
/// # Errors
/// [`TrainError`] where the aliases or the champion's files cannot be read or written.
pub(super) fn promote(
    spec: &TrainSpec,
    log: &Log,
    result: &FitResult,
    models: &Path,
    version: &str,
) -> Result<Verdict, TrainError> {
    let incumbent = aliases(models, &spec.name)?.get(CHAMPION).cloned();
    let found = match incumbent {
        None => Verdict::plain(true, "first bundle of its name"),
        Some(held) if held == version => Verdict::plain(true, "it is the champion already"),
        Some(held) => {
            let selector = BundleSelector { name: spec.name.clone(), version: held };
            match Bundle::find(models, &selector) {
                Ok(bundle) => compare(spec, log, result, &bundle),
                Err(error @ BundleError::Io { .. }) => return Err(error.into()),
                Err(error) => {
                    Verdict::plain(true, format!("the champion cannot be read ({error})"))
                }
            }
        }
    };
    let found = as_told(spec.extras.promotion, found);
    let alias = if found.promoted { CHAMPION } else { CHALLENGER };
    set_alias(models, &spec.name, alias, version)?;
    Ok(found)
}

/// The gate's verdict, unless the run was told otherwise. The first bundle of a name always becomes
/// champion: without one nothing could be served.
fn as_told(told: Promotion, found: Verdict) -> Verdict {
    let Verdict { promoted, reason, comparison } = found;
    match told {
        Promotion::Always if !promoted => {
            let reason = format!("as told (--promote always), although: {reason}");
            Verdict { promoted: true, reason, comparison }
        }
        Promotion::IfNotWorse | Promotion::Always => Verdict { promoted, reason, comparison },
    }
}

/// The incumbent against the new champion on the newest complete window of this log.
fn compare(spec: &TrainSpec, log: &Log, result: &FitResult, incumbent: &Bundle) -> Verdict {
    let version = &incumbent.version;
    let Some(predictor) = incumbent.predictor() else {
        let why = format!("champion {version} scores a table: not comparable");
        return Verdict::plain(false, why);
    };
    if incumbent.manifest.churn_horizon_days != spec.churn.get() {
        let held = incumbent.manifest.churn_horizon_days;
        let why =
            format!("champion {version} has another churn horizon ({held} days): not comparable");
        return Verdict::plain(false, why);
    }
    let (grade, held) = (Grade::of(result).letter, &incumbent.manifest.grade);
    if grade > held.as_str() {
        return Verdict::plain(
            false,
            format!("grade {grade}, champion {version} has grade {held}"),
        );
    }
    let (Some(churn), Some((cutoff, judged))) = (&result.churn, result.rows.last()) else {
        return Verdict::plain(false, "no complete window to compare on");
    };
    let seen = Day::parse(&incumbent.manifest.data_until).is_ok_and(|day| day > *cutoff);
    let theirs = Said::by(predictor, spec, log, *cutoff);
    let values = result.value.as_ref().map(|value| value.predicted.clone()).unwrap_or_default();
    let ours = Said { probs: churn.probs.clone(), values };
    let numbers = [ours.numbers(judged), theirs.numbers(judged)];
    decide(version, seen, (*cutoff, spec.churn.as_i32()), numbers)
}

/// What a bundle says of the customers of the newest window.
struct Said {
    probs: Vec<f64>,
    /// Spend within the churn horizon; none without a value model.
    values: Vec<f64>,
}

impl Said {
    fn by(predictor: &Predictor, spec: &TrainSpec, log: &Log, cutoff: Day) -> Self {
        let as_of = AsOf::end_of(cutoff, &spec.zone);
        let mut replay = Replay::new(log);
        replay.advance(as_of);
        let mut row = Vec::new();
        let mut said = Self { probs: Vec::new(), values: Vec::new() };
        let value = predictor.fitted().value.as_ref();
        for idx in 0..replay.len() {
            predictor.row(replay.history(idx), as_of, &mut row);
            let Some(prob) = predictor.score(&row, 0.0).churn_prob else { continue };
            said.probs.push(prob);
            said.values
                .extend(value.map(|v| v.mean(predictor.columns(), &row, ValueHorizon::Observed)));
        }
        said
    }

    fn numbers(&self, judged: &Rows) -> Numbers {
        Numbers {
            log_loss: log_loss(&self.probs, &judged.churned).ok(),
            auc: auc(&self.probs, &judged.churned).ok(),
            gini: gini_normalised(&self.values, &judged.spend).ok(),
            total_ratio: total_ratio(&self.values, &judged.spend).ok(),
        }
    }
}

/// How a bundle did on the newest window; none where it could not be judged.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    log_loss: Option<f64>,
    auc: Option<f64>,
    gini: Option<f64>,
    total_ratio: Option<f64>,
}

impl Numbers {
    fn json(self) -> Value {
        json!({
            "log_loss": self.log_loss,
            "auc": self.auc,
            "gini": self.gini,
            "total_ratio": self.total_ratio,
        })
    }
}

fn decide(
    version: &str,
    seen: bool,
    (cutoff, horizon_days): (Day, i32),
    [ours, theirs]: [Numbers; 2],
) -> Verdict {
    let comparison = json!({
        "cutoff": cutoff.to_string(),
        "window_end": cutoff.plus(horizon_days).to_string(),
        "champion": version,
        "champion_had_seen_the_window": seen,
        "new": ours.json(),
        "held": theirs.json(),
    });
    let verdict = |promoted, reason| Verdict { promoted, reason, comparison: comparison.clone() };
    let (Some(our_loss), Some(their_loss)) = (ours.log_loss, theirs.log_loss) else {
        let why = "the newest window has one outcome only: not comparable";
        return verdict(false, why.to_owned());
    };
    let Tolerance { log_loss, gini, log_total } = if seen { SEEN } else { UNSEEN };
    let note = if seen { " (the champion was fitted on that window)" } else { "" };
    let mut reason = format!(
        "log loss on the newest window {our_loss:.4}, champion {version} {their_loss:.4}{note}"
    );
    let mut promoted = our_loss <= their_loss + log_loss;
    match (ours.gini, theirs.gini) {
        (Some(our_gini), Some(their_gini)) => {
            let totals = [ours, theirs].map(|numbers| numbers.total_ratio.unwrap_or(1.0));
            reason.push_str(&format!(
                "; value Gini {our_gini:.4} against {their_gini:.4}, total {:.3} against {:.3} of \
                 the actual one",
                totals[0], totals[1]
            ));
            let [our_miss, their_miss] = totals.map(|ratio| libm::log(ratio).abs());
            promoted &= our_gini >= their_gini - gini && our_miss <= their_miss + log_total;
        }
        (None, Some(_)) => {
            reason.push_str("; the champion has a value model, the new bundle has none");
            promoted = false;
        }
        (_, None) => {}
    }
    verdict(promoted, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(log_loss: f64, gini: f64, total_ratio: f64) -> Numbers {
        Numbers {
            log_loss: Some(log_loss),
            auc: Some(0.8),
            gini: Some(gini),
            total_ratio: Some(total_ratio),
        }
    }

    fn decided(ours: Numbers, theirs: Numbers) -> Verdict {
        decide("abc", false, (Day::parse("2026-01-31").unwrap(), 30), [ours, theirs])
    }

    #[test]
    fn a_bundle_that_is_worse_in_anything_is_not_promoted() {
        let held = numbers(0.3, 0.7, 1.0);
        assert!(decided(numbers(0.3005, 0.695, 1.05), held).promoted);
        for worse in [numbers(0.302, 0.7, 1.0), numbers(0.3, 0.68, 1.0), numbers(0.3, 0.7, 1.2)] {
            let found = decided(worse, held);
            assert!(!found.promoted, "{}", found.reason);
        }
        let none = Numbers { gini: None, total_ratio: None, ..held };
        let found = decided(none, held);
        assert!(!found.promoted && found.reason.contains("value model"), "{}", found.reason);
        assert!(decided(held, none).promoted);
    }

    #[test]
    fn what_the_run_was_told_stands_and_is_said() {
        let worse = decided(numbers(0.4, 0.7, 1.0), numbers(0.3, 0.7, 1.0));
        assert_eq!(as_told(Promotion::IfNotWorse, worse.clone()), worse);
        let told = as_told(Promotion::Always, worse.clone());
        assert!(told.promoted && told.reason.contains("--promote always"), "{}", told.reason);
        assert_eq!(told.comparison, worse.comparison);
    }
}
