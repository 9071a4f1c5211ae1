//! Whether a candidate knows more than the base rate or another candidate, or was lucky.
//!
//! In: probabilities of both for the same rows, and what came. Out: yes or no. It deliberately
//! knows no model.

use crate::model::clamp_prob;

/// A candidate must beat the other one by this many standard errors of the difference.
const SIGNAL_ERRORS: f64 = 2.0;

/// Whether the log loss of `probs` is lower than that of one probability for all by more than
/// luck: the mean difference a row against its standard error.
#[must_use]
pub(super) fn beats_base(probs: &[f64], base_prob: f64, churned: &[bool]) -> bool {
    beats(probs, &vec![base_prob; probs.len()], churned)
}

/// The same against the probabilities of another candidate.
#[must_use]
pub(super) fn beats(probs: &[f64], others: &[f64], churned: &[bool]) -> bool {
    let loss = |prob: f64, left: bool| {
        let p = clamp_prob(prob);
        if left { -libm::log(p) } else { -libm::log1p(-p) }
    };
    let gains: Vec<f64> = probs
        .iter()
        .zip(others)
        .zip(churned)
        .map(|((&prob, &other), &left)| loss(other, left) - loss(prob, left))
        .collect();
    let n = gains.len().max(1) as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|gain| (gain - mean) * (gain - mean)).sum::<f64>() / n;
    mean > SIGNAL_ERRORS * (variance / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knowledge_beats_the_base_rate_and_luck_does_not() {
        let churned: Vec<bool> = (0..1_000).map(|row| row % 10 < 3).collect();
        let knows: Vec<f64> = churned.iter().map(|&left| if left { 0.4 } else { 0.25 }).collect();
        assert!(beats_base(&knows, 0.3, &churned));
        // A little lower by chance: a few rows only are told apart.
        let lucky: Vec<f64> = (0..1_000).map(|row| if row < 3 { 0.35 } else { 0.3 }).collect();
        assert!(!beats_base(&lucky, 0.3, &churned));
        assert!(!beats_base(&[0.3; 1_000], 0.3, &churned));
        assert!(beats(&knows, &lucky, &churned) && !beats(&lucky, &knows, &churned));
        assert!(!beats(&knows, &knows, &churned));
    }
}
