//! One signal of counts: its window, its probabilities, and its state replayed over the last
//! day boundaries.

use crate::domain::Day;
use crate::features::beta::Beta;

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

    /// The posterior of the share that lies on the side that the numbers lean to.
    fn posterior(&self, lean: Lean) -> Beta {
        let (recent, baseline) = self.shapes();
        match lean {
            Lean::Drop => Beta::new(recent, baseline),
            // The other side from its own end keeps the digits.
            Lean::Rise => Beta::new(baseline, recent),
        }
    }

    /// The share below which the rate changed this way by more than the rule's ratio.
    fn share(&self, lean: Lean, rule: &HeartbeatRule) -> f64 {
        match lean {
            Lean::Drop => rule.ratio_drop / (rule.ratio_drop + self.base_ratio),
            Lean::Rise => self.base_ratio / (rule.ratio_rise + self.base_ratio),
        }
    }

    /// Probability that the rate changed this way by more than the rule's ratio.
    fn prob(&self, lean: Lean, rule: &HeartbeatRule) -> f64 {
        self.posterior(lean).cdf(self.share(lean, rule))
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
            let near = self.series.before(back + window);
            let baseline = count(self.series.before(back + span) - near);
            // Dispersion is 1 at least, and only lessens the evidence.
            if baseline / f64::from(BASELINE_WINDOWS) < self.rule.expected_min {
                continue;
            }
            let weeks = f64::from(BASELINE_WINDOWS * window) / 7.0;
            let dispersion = 1.0 + baseline / weeks * self.base.dispersion;
            let rung = Rung { window, recent: 0.0, baseline, dispersion, base_ratio: f64::NAN };
            if rung.evidence() >= self.rule.expected_min {
                let recent = count(near - self.series.before(back));
                let base_ratio = self.base.curve.ratio(self.last.plus(-back), window, span);
                return Some(Rung { recent, base_ratio, ..rung });
            }
        }
        None
    }

    /// The signal's present state and what it rests on; `now` is the window at the newest boundary.
    pub(super) fn beat(&self, now: Option<Rung>) -> Beat {
        if self.rule.mode == HeartbeatMode::Literal {
            let [recent, before] =
                [(0, 7), (7, 28)].map(|(from, to)| count(self.series.between(from, to)));
            return literal(recent, before / f64::from(BASELINE_WINDOWS), self.known_days);
        }
        let Some(rung) = now else { return Beat::NO_DATA };
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
        let (enter, leave) = (self.rule.enter_prob, self.rule.leave_prob);
        let mut entered = (prob >= enter).then_some(0);
        // From day to day the counts, and with them the posterior, are often the same.
        let mut seen: Option<Seen> = None;
        for back in 1..REPLAY_DAYS {
            let Some(rung) = self.rung(back) else { break };
            // On the other side of the mean less than the probability of leaving remains.
            if rung.lean() != lean {
                break;
            }
            let share = rung.share(lean, self.rule);
            #[allow(clippy::float_cmp, reason = "the same numbers give the same posterior")]
            let mut here = match seen {
                Some(held) if held.shapes == rung.shapes() => held,
                _ => Seen::new(&rung, lean),
            };
            let enters = match here.enters(share) {
                Some(enters) => enters,
                None => {
                    let prob = here.posterior.cdf_beside(share, [enter, leave]);
                    if prob < leave {
                        break;
                    }
                    here.note(share, prob, [enter, leave]);
                    prob >= enter
                }
            };
            seen = Some(here);
            if enters {
                entered = Some(back);
            }
        }
        entered
    }
}

/// Counts of some hundred days of one customer.
#[allow(clippy::cast_precision_loss, reason = "a sum of fewer than 2^53 events")]
const fn count(events: i64) -> f64 {
    events as f64
}

/// Probabilities that lie apart from a limit by more than this say which side of it they are on,
/// whatever their last digits.
const SURE: f64 = 1e-9;

/// What is known of one posterior. The probability below a share rises with the share, so one
/// between two others need not be worked out.
#[derive(Debug, Clone, Copy)]
struct Seen {
    shapes: (f64, f64),
    posterior: Beta,
    /// The least share known to reach the probability of entering.
    enters_from: f64,
    /// The least and the greatest share known to lie between leaving and entering.
    stays: [f64; 2],
}

impl Seen {
    fn new(rung: &Rung, lean: Lean) -> Self {
        Self {
            shapes: rung.shapes(),
            posterior: rung.posterior(lean),
            enters_from: f64::INFINITY,
            stays: [f64::INFINITY, f64::NEG_INFINITY],
        }
    }

    /// Whether the probability below a share reaches that of entering; none where what was seen
    /// does not tell. Where it does tell, the state is not left.
    fn enters(&self, share: f64) -> Option<bool> {
        let [low, high] = self.stays;
        if share >= self.enters_from {
            return Some(true);
        }
        (low..=high).contains(&share).then_some(false)
    }

    fn note(&mut self, share: f64, prob: f64, [enter, leave]: [f64; 2]) {
        if prob > enter + SURE {
            self.enters_from = self.enters_from.min(share);
        } else if prob > leave + SURE && prob < enter - SURE {
            self.stays = [self.stays[0].min(share), self.stays[1].max(share)];
        }
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
