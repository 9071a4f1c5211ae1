//! One signal of counts: its window, its probabilities, and its state replayed over the last
//! day boundaries.

use crate::domain::Day;
use crate::features::beta::beta_cdf;

use super::series::Series;
use super::{BASELINE_WINDOWS, Beat, Heartbeat, HeartbeatMode, HeartbeatRule, LADDER};
use super::{REPLAY_DAYS, SignalBase};

/// What one signal is worked out from.
pub(super) struct Signal<'s> {
    pub(super) base: &'s SignalBase,
    pub(super) rule: &'s HeartbeatRule,
    pub(super) series: &'s Series<'s>,
    /// The last whole day: the newest boundary is its end.
    pub(super) last: Day,
    /// Days the customer is known, `last` included.
    pub(super) known_days: i32,
}

/// The window chosen at one boundary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rung {
    pub(super) window: i32,
    /// Events in the window.
    pub(super) recent: f64,
    /// Events in the baseline.
    pub(super) baseline: f64,
    /// Variance over mean of such counts.
    dispersion: f64,
    /// The base's own ratio of baseline to window.
    pub(super) base_ratio: f64,
}

/// Which way the numbers lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lean {
    Drop,
    Rise,
}

impl Rung {
    /// The shapes of the posterior of the window's share.
    fn shapes(&self) -> (f64, f64) {
        (self.recent / self.dispersion + 0.5, self.baseline / self.dispersion + 0.5)
    }

    /// Events expected in the window after division by the dispersion.
    pub(super) fn evidence(&self) -> f64 {
        self.baseline / f64::from(BASELINE_WINDOWS) / self.dispersion
    }

    fn lean(&self) -> Lean {
        let (recent, baseline) = self.shapes();
        if recent * self.base_ratio < baseline { Lean::Drop } else { Lean::Rise }
    }

    /// Probability that the rate changed this way by more than the rule's ratio.
    fn prob(&self, lean: Lean, rule: &HeartbeatRule) -> f64 {
        let (recent, baseline) = self.shapes();
        match lean {
            Lean::Drop => {
                let at = rule.ratio_drop / (rule.ratio_drop + self.base_ratio);
                beta_cdf(at, recent, baseline)
            }
            Lean::Rise => {
                // The other side from its own end keeps the digits.
                let at = self.base_ratio / (rule.ratio_rise + self.base_ratio);
                beta_cdf(at, baseline, recent)
            }
        }
    }
}

impl Signal<'_> {
    /// The window at the boundary `back` days before the newest; none where no window holds
    /// enough, or the customer is not known for its whole baseline.
    pub(super) fn rung(&self, back: i32) -> Option<Rung> {
        let known = self.known_days - back;
        for window in LADDER {
            let span = (BASELINE_WINDOWS + 1) * window;
            if span > known {
                return None;
            }
            let baseline = self.count(back + window, back + span);
            let weeks = f64::from(BASELINE_WINDOWS * window) / 7.0;
            let dispersion = 1.0 + baseline / weeks * self.base.dispersion;
            let recent = self.count(back, back + window);
            let rung = Rung { window, recent, baseline, dispersion, base_ratio: f64::NAN };
            if rung.evidence() >= self.rule.expected_min {
                let base_ratio = self.base.curve.ratio(self.last.plus(-back), window, span);
                return Some(Rung { base_ratio, ..rung });
            }
        }
        None
    }

    fn count(&self, from: i32, to: i32) -> f64 {
        // Counts of some hundred days of one customer: far below 2^53.
        #[allow(clippy::cast_precision_loss, reason = "a sum of fewer than 2^53 events")]
        let count = self.series.between(from, to) as f64;
        count
    }

    /// The signal's present state and what it rests on.
    pub(super) fn beat(&self) -> Beat {
        if self.rule.mode == HeartbeatMode::Literal {
            let [recent, before] = [self.count(0, 7), self.count(7, 28)];
            return literal(recent, before / f64::from(BASELINE_WINDOWS), self.known_days);
        }
        let Some(rung) = self.rung(0) else { return Beat::NO_DATA };
        let lean = rung.lean();
        let prob = rung.prob(lean, self.rule);
        let entered = if prob < self.rule.leave_prob { None } else { self.entered(lean, prob) };
        let state = match (entered, lean) {
            (None, _) => Heartbeat::Steady,
            (Some(_), Lean::Drop) => Heartbeat::Drop,
            (Some(_), Lean::Rise) => Heartbeat::Rise,
        };
        Beat {
            state,
            window_days: u16::try_from(rung.window).unwrap_or(u16::MAX),
            observed: rung.recent,
            expected: rung.baseline / rung.base_ratio,
            prob: Some(prob),
            z: None,
            since: entered.map(|back| self.last.plus(-back)),
        }
    }

    /// How many days back the state was entered that has not been left since; none where it was
    /// not. Goes back while the probability stays at or above the one of leaving: before that
    /// the state was another, whatever came earlier.
    fn entered(&self, lean: Lean, prob: f64) -> Option<i32> {
        let mut entered = (prob >= self.rule.enter_prob).then_some(0);
        for back in 1..REPLAY_DAYS {
            let Some(rung) = self.rung(back) else { break };
            // On the other side of the mean less than the probability of leaving remains.
            if rung.lean() != lean {
                break;
            }
            let prob = rung.prob(lean, self.rule);
            if prob < self.rule.leave_prob {
                break;
            }
            if prob >= self.rule.enter_prob {
                entered = Some(back);
            }
        }
        entered
    }
}

/// The plain rule: this week against the mean of the three before.
pub(super) fn literal(recent: f64, expected: f64, known_days: i32) -> Beat {
    let state = if known_days < 7 * (BASELINE_WINDOWS + 1) || recent + expected <= 0.0 {
        return Beat::NO_DATA;
    } else if recent < expected {
        Heartbeat::Drop
    } else if recent > expected {
        Heartbeat::Rise
    } else {
        Heartbeat::Steady
    };
    Beat { state, window_days: 7, observed: recent, expected, ..Beat::NO_DATA }
}
