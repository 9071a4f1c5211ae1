//! Which purchase-count model a run uses, chosen without the labels it will be judged on.
//!
//! In: customers before a cutoff and, where the log has one, what they did in the window after
//! it, which ends before the judged window begins. Out: a kind and the reason. The regularity k
//! is decided by the likelihood; among the candidates left the earlier window decides, by the log
//! loss of the closed-form probability of no purchase, else the likelihood. It deliberately never
//! sees the judged window.

use crate::domain::{AsOf, Day};
use crate::events::Log;
use crate::features::{PurchaseSummary, purchase_summary};
use crate::labels::{Label, StayRule, label};
use crate::model::btyd::{BtydError, Cnbd, FirstThrow, Prior};
use crate::model::{CountKind, CountModel, CountRows};

use super::backtest::closed_form_loss;
use super::plan::TrainSpec;
use super::replay::Replay;

/// Without a window to judge on, the likelihood may find regular buyers only where gaps are this
/// long on average: purchases are counted by the day, and gaps of few whole days look regular
/// whatever the customers are like.
const GAP_WEEKS_MIN: f64 = 1.0;

/// What came after the cutoff, in a window that ends before the judged one begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct EarlierWindow<'w> {
    /// Whether each customer made no purchase.
    pub(super) churned: &'w [bool],
    /// Its length.
    pub(super) weeks: f64,
}

/// A candidate and how it did.
#[derive(Debug, Clone, PartialEq)]
pub struct CountCandidate {
    /// The model.
    pub kind: CountKind,
    /// Log-likelihood of the data before the cutoff.
    pub log_likelihood: f64,
    /// Log loss on the earlier window; none where there is none.
    pub log_loss: Option<f64>,
}

/// The choice of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct CountChoice {
    /// The chosen model.
    pub kind: CountKind,
    /// Why.
    pub reason: String,
    /// All that were tried.
    pub candidates: Vec<CountCandidate>,
}

impl CountChoice {
    /// The choice where covariates are used: they act on MBG/NBD.
    #[must_use]
    pub(super) fn for_covariates(self) -> Self {
        let reason = "covariates act on MBG/NBD".to_owned();
        Self { kind: CountKind::MbgNbd, reason, ..self }
    }
}

/// Chooses the purchase-count model of a run on a log: at the `earlier` cutoff with the window
/// after it, where one is given and somebody had bought by then, else at `newest` without labels.
/// The window of `earlier` must end before the judged window begins.
///
/// # Errors
/// [`BtydError`] where not even the priors give a fit.
pub(super) fn choose_for_log(
    spec: &TrainSpec,
    log: &Log,
    earlier: Option<Day>,
    newest: Day,
) -> Result<CountChoice, BtydError> {
    let mut replay = Replay::new(log);
    if let Some(cutoff) = earlier {
        let as_of = AsOf::end_of(cutoff, &spec.zone);
        replay.advance(as_of);
        let mut churned = Vec::new();
        let mut summaries = Vec::new();
        for (idx, customer) in log.customers.iter().enumerate() {
            let Some(summary) = purchase_summary(replay.history(idx), as_of) else { continue };
            let (horizon, rule) = (spec.churn, StayRule::Purchase);
            match label(&customer.events, as_of, horizon, spec.until, rule) {
                Label::Complete(outcome) => churned.push(outcome.churned),
                Label::Censored => continue,
            }
            summaries.push(summary);
        }
        let both = churned.contains(&true) && churned.contains(&false);
        let window = EarlierWindow { churned: &churned, weeks: spec.churn.weeks() };
        if both && let Ok(choice) = choose_count_kind(&summaries, spec.prior, Some(window)) {
            return Ok(choice);
        }
    }
    let as_of = AsOf::end_of(newest, &spec.zone);
    replay.advance(as_of);
    let summaries: Vec<PurchaseSummary> =
        (0..replay.len()).filter_map(|idx| purchase_summary(replay.history(idx), as_of)).collect();
    choose_count_kind(&summaries, spec.prior, None)
}

/// Chooses the purchase-count model of a run: BG/NBD, MBG/NBD, or the regular variant of the more
/// likely of the two where the gaps speak clearly for it (see `Cnbd::fit_regular`). Of candidates
/// that are as good as each other the one named first holds.
///
/// # Errors
/// [`BtydError`] where not even the priors give a fit.
pub(super) fn choose_count_kind(
    summaries: &[PurchaseSummary],
    prior: Prior,
    earlier: Option<EarlierWindow<'_>>,
) -> Result<CountChoice, BtydError> {
    let data = CountRows::try_new(summaries)?;
    let mut models = vec![
        CountModel::fit(CountKind::BgNbd, prior, &data)?,
        CountModel::fit(CountKind::MbgNbd, prior, &data)?,
    ];
    let [bg, mbg] = [likelihood(&models[0]), likelihood(&models[1])];
    let (first, plain) =
        if mbg > bg { (FirstThrow::AfterFirst, mbg) } else { (FirstThrow::AfterRepeat, bg) };
    if earlier.is_some() || mean_gap_weeks(summaries) >= GAP_WEEKS_MIN {
        let regular = Cnbd::fit_regular(first, prior, &data.rows, data.log_gap_sum, plain)?;
        models.extend(regular.map(CountModel::Cnbd));
    }
    let candidates: Vec<CountCandidate> = models
        .iter()
        .map(|model| CountCandidate {
            kind: model.kind(),
            log_likelihood: likelihood(model),
            log_loss: earlier.map(|window| loss(model, summaries, window)),
        })
        .collect();
    // A smaller cost is better; of equal ones `min_by` keeps the first.
    let cost = |candidate: &CountCandidate| candidate.log_loss.unwrap_or(-candidate.log_likelihood);
    let best = candidates.iter().min_by(|p, q| cost(p).total_cmp(&cost(q)));
    let kind = best.map_or(CountKind::BgNbd, |candidate| candidate.kind);
    let reason = match earlier {
        Some(_) => "lowest log loss on the window before the judged one",
        None => "highest likelihood: the log has no window before the judged one",
    };
    Ok(CountChoice { kind, reason: reason.to_owned(), candidates })
}

/// The mean gap of the base; 0 where nobody bought twice.
fn mean_gap_weeks(summaries: &[PurchaseSummary]) -> f64 {
    let n_gaps: f64 = summaries.iter().map(|summary| f64::from(summary.x)).sum();
    let weeks: f64 = summaries.iter().map(|summary| summary.t_x).sum();
    if n_gaps > 0.0 { weeks / n_gaps } else { 0.0 }
}

fn likelihood(model: &CountModel) -> f64 {
    model.info().map_or(f64::NEG_INFINITY, |info| info.log_likelihood)
}

fn loss(model: &CountModel, summaries: &[PurchaseSummary], window: EarlierWindow<'_>) -> f64 {
    let probs: Vec<f64> =
        summaries.iter().map(|summary| model.p_no_purchase(summary, window.weeks)).collect();
    closed_form_loss(&probs, window.churned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Customers who buy every fourth week with a little jitter, and stop at different times.
    fn regular() -> Vec<PurchaseSummary> {
        (0..600_u32)
            .map(|i| {
                let x = i % 9;
                let jitter = f64::from(i % 5) * 0.1;
                let gap = 3.6 + jitter;
                PurchaseSummary {
                    x,
                    t_x: f64::from(x) * gap,
                    t: 40.0 + f64::from(i % 3),
                    spend_repeat_mean: 10.0,
                    log_gap_sum: f64::from(x) * gap.ln() - 0.02 * f64::from(x),
                }
            })
            .collect()
    }

    #[test]
    fn regular_buyers_are_found_without_a_window() {
        let choice = choose_count_kind(&regular(), Prior::Weak, None).unwrap();
        assert!(matches!(choice.kind, CountKind::Cnbd { k: 4, .. }), "{choice:?}");
        assert_eq!(choice.candidates.len(), 3);
    }

    #[test]
    fn gaps_of_few_days_prove_no_regularity() {
        let days: Vec<PurchaseSummary> = regular()
            .into_iter()
            .map(|s| PurchaseSummary {
                t_x: s.t_x / 7.0,
                t: s.t / 7.0,
                log_gap_sum: s.log_gap_sum - f64::from(s.x) * 7.0_f64.ln(),
                ..s
            })
            .collect();
        let choice = choose_count_kind(&days, Prior::Weak, None).unwrap();
        assert!(!matches!(choice.kind, CountKind::Cnbd { .. }), "{choice:?}");
    }

    #[test]
    fn an_earlier_window_overrules_the_likelihood() {
        let summaries = regular();
        let data = CountRows::try_new(&summaries).unwrap();
        let bg = CountModel::fit(CountKind::BgNbd, Prior::Weak, &data).unwrap();
        // What BG/NBD expects, to the nearer outcome.
        let churned: Vec<bool> =
            summaries.iter().map(|s| bg.p_no_purchase(s, 13.0) > 0.5).collect();
        let window = EarlierWindow { churned: &churned, weeks: 13.0 };
        let choice = choose_count_kind(&summaries, Prior::Weak, Some(window)).unwrap();
        let losses: Vec<f64> = choice.candidates.iter().map(|c| c.log_loss.unwrap()).collect();
        let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let chosen = choice.candidates.iter().find(|c| c.kind == choice.kind).unwrap();
        assert!(chosen.log_loss.unwrap() <= least);
        assert!(choice.candidates.iter().any(|c| c.log_likelihood > chosen.log_likelihood));
    }
}
