//! The heartbeat: does a customer do less, or more, than in their own recent past?
//!
//! In: a history, the last whole day before the instant asked for, the base's statistics and the
//! rule. Out: for orders, activity and spend a state with what it rests on. It is a pure function
//! of the history and the day: what was said yesterday is worked out again from the tiles and
//! never stored, so the order in which events came in does not matter.
//! It deliberately predicts nothing: it compares the customer with themselves.
//!
//! Of the windows of 7, 14, 28, 42 and 56 days the shortest is taken whose baseline, three times as
//! long and just before it, holds enough events. With x and y the counts in window and baseline,
//! both divided by the dispersion phi, and k the base's own ratio of baseline to window, the rate
//! ratio's posterior under a Jeffreys prior gives
//! P(drop) = I_{r/(r+k)}(x + 1/2, y + 1/2) at r = 0.8 and P(rise) = 1 - I at r = 1.25.
//! A state is entered at 0.95 and left below 0.70.

mod curve;
mod series;
mod signal;
mod spend;

#[cfg(test)]
mod tests;

pub use curve::DayCurve;

use crate::domain::Day;
use crate::history::History;

use series::{Reach, Room, Summed, Sums};
use signal::Signal;

/// Windows tried, days, the shortest first; whole weeks, so that weekdays cancel out.
/// Six weeks stand between four and eight for bursty customers of one event a week: with eight
/// alone a full stop of theirs is seen in 49 days (median), with six in 37.
const LADDER: [i32; 5] = [7, 14, 28, 42, 56];
/// The baseline is so many windows long.
const BASELINE_WINDOWS: i32 = 3;
/// Day boundaries that the state is replayed over.
const REPLAY_DAYS: i32 = 56;

/// A signal of the customer's own rhythm against the customer's own past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Heartbeat {
    /// Measured, but too few events to say.
    NoData = 0,
    /// Neither of the others.
    Steady = 1,
    /// More than before.
    Rise = 2,
    /// Less than before.
    Drop = 3,
}

impl Heartbeat {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::NoData, Self::Steady, Self::Rise, Self::Drop];

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoData => "no_data",
            Self::Steady => "steady",
            Self::Rise => "rise",
            Self::Drop => "drop",
        }
    }
}

/// How the states are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatMode {
    /// By the probability that the rate changed.
    Probability,
    /// The plain rule "this week below (above) the mean of the three weeks before", for
    /// comparison: it flags half of the steady customers each week.
    Literal,
}

/// When a signal drops or rises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeartbeatRule {
    /// How the states are found.
    pub mode: HeartbeatMode,
    /// Below this ratio of rates it is a drop; in (0, 1).
    pub ratio_drop: f64,
    /// Above this ratio of rates it is a rise; > 1.
    pub ratio_rise: f64,
    /// A state is entered at this probability.
    pub enter_prob: f64,
    /// A state is left below this probability; 0.7 at least, see [`HeartbeatRule::LEAVE_PROB_MIN`].
    pub leave_prob: f64,
    /// Events expected in a window, after division by the dispersion, that make it long enough.
    pub expected_min: f64,
}

impl HeartbeatRule {
    /// Less than this lies on either side of a Beta distribution's mean (shapes >= 1/2), so only
    /// one side has to be looked at.
    pub const LEAVE_PROB_MIN: f64 = 0.7;
}

impl Default for HeartbeatRule {
    fn default() -> Self {
        Self {
            mode: HeartbeatMode::Probability,
            ratio_drop: 0.8,
            ratio_rise: 1.25,
            enter_prob: 0.95,
            leave_prob: Self::LEAVE_PROB_MIN,
            // Nothing where four were expected has a chance of 1.8 % by Poisson.
            expected_min: 4.0,
        }
    }
}

/// What the base contributes to one signal.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalBase {
    /// Dispersion of weekly counts beyond Poisson: 1 / shape of the negative binomial, >= 0.
    pub dispersion: f64,
    /// How the rate of the whole base goes from day to day.
    pub curve: DayCurve,
}

/// Dispersion assumed where the base tells nothing: weeks of a mean of four vary twice as much as
/// Poisson ones.
const DISPERSION_UNKNOWN: f64 = 0.25;

impl SignalBase {
    /// Nothing known of the base: no season, a moderate dispersion. A stand-in.
    #[must_use]
    pub fn unknown() -> Self {
        Self { dispersion: DISPERSION_UNKNOWN, curve: DayCurve::flat() }
    }
}

/// What the base contributes to the heartbeat, frozen with the models.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatBase {
    /// Of orders.
    pub orders: SignalBase,
    /// Of activity.
    pub activity: SignalBase,
}

impl HeartbeatBase {
    /// Nothing known of the base.
    #[must_use]
    pub fn unknown() -> Self {
        Self { orders: SignalBase::unknown(), activity: SignalBase::unknown() }
    }
}

/// One signal and what its state rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// The state.
    pub state: Heartbeat,
    /// Length of the recent window, days; 0 without data.
    pub window_days: u16,
    /// Seen in the window: events, or currency units; NaN without data.
    pub observed: f64,
    /// To be expected from the baseline and the base's season; NaN without data.
    pub expected: f64,
    /// Probability of a drop or of a rise, whichever way the numbers lean, in [0, 1]; none for
    /// spend, for the literal rule and without data.
    pub prob: Option<f64>,
    /// Distance from the baseline's median in robust standard deviations; of spend only.
    pub z: Option<f64>,
    /// The last day of the boundary at which the present drop or rise was entered, at most 55 days
    /// back; none for other states.
    pub since: Option<Day>,
}

impl Beat {
    /// Too little to say.
    pub const NO_DATA: Self = Self {
        state: Heartbeat::NoData,
        window_days: 0,
        observed: f64::NAN,
        expected: f64::NAN,
        prob: None,
        z: None,
        since: None,
    };
}

/// The three signals of one customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heartbeats {
    /// Of orders.
    pub orders: Beat,
    /// Of activity: use of the product, site or app.
    pub activity: Beat,
    /// Of spend.
    pub spend: Beat,
}

impl Heartbeats {
    /// Too little to say of any.
    pub const NO_DATA: Self =
        Self { orders: Beat::NO_DATA, activity: Beat::NO_DATA, spend: Beat::NO_DATA };
}

/// The heartbeats of a history as of the end of `last`, the last whole day.
///
/// A window counts only where its whole baseline lies in the time the customer is known.
#[must_use]
pub fn heartbeats(
    base: &HeartbeatBase,
    rule: &HeartbeatRule,
    history: &History,
    last: Day,
) -> Heartbeats {
    let reach = Reach::new(history.tiles(), last);
    let mut beats = Heartbeats::NO_DATA;
    let [orders, activities] = reach.totals();
    // Dispersion only raises the need: most customers are done here.
    let least = match rule.mode {
        HeartbeatMode::Literal => 1.0,
        HeartbeatMode::Probability => rule.expected_min * f64::from(BASELINE_WINDOWS),
    };
    // Older than the tiles reach is old enough.
    let known_days = history.known_days(last);
    let (has_orders, has_activities) = (f64::from(orders) >= least, f64::from(activities) >= least);
    if !(has_orders || has_activities) {
        return beats;
    }
    let mut room = Room::new();
    if has_orders {
        let sums = Sums::new(&reach, Summed::Purchases, &mut room);
        let (counts, money) = (sums.events(), sums.spend());
        let orders = Signal { base: &base.orders, rule, series: &counts, last, known_days };
        let now = orders.rung(0);
        beats.orders = orders.beat(now);
        beats.spend = spend::beat(&orders, now, &money);
    }
    if has_activities {
        let sums = Sums::new(&reach, Summed::Activities, &mut room);
        let counts = sums.events();
        let activity = Signal { base: &base.activity, rule, series: &counts, last, known_days };
        beats.activity = activity.beat(activity.rung(0));
    }
    beats
}
