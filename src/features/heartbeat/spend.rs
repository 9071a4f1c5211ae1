//! The signal of spend: the window's weekly spend against the baseline's windows, on the
//! logarithmic scale and by median and MAD, because single orders are wild.
//!
//! The window is the one chosen for orders: spend without enough orders says nothing. The baseline
//! is up to eight windows of the same length before it, as far as the tiles reach.

use super::series::{REACH_DAYS, Series};
use super::signal::{Rung, Signal, literal};
use super::{BASELINE_WINDOWS, Beat, Heartbeat, HeartbeatMode, REPLAY_DAYS};

/// Robust standard deviations from which spend drops or rises, and below which it is steady again.
const Z_ENTER: f64 = 2.0;
const Z_LEAVE: f64 = 1.0;
/// Scale of the median absolute deviation of a normal distribution, and a floor that keeps
/// customers of very even spend from alarming at small changes.
const MAD_SCALE: f64 = 1.4826;
const SCALE_MIN: f64 = 0.25;
/// Variance over squared mean of a sum of orders of different size, times the number of orders:
/// 1 for chance alone, 0.3 for amounts whose logarithms vary by one half. A median deviation of
/// few windows may come out near 0 by luck; the noise of the counts is always there.
const ORDER_NOISE: f64 = 1.3;
/// Windows of the baseline at most.
const WINDOWS_MAX: usize = 8;
const MICROS: f64 = 1e6;

/// One boundary's comparison.
struct Reading {
    /// Distance from the baseline's median.
    z: f64,
    /// That median, of ln(1 + spend a week).
    median: f64,
}

/// The present state of spend, over the windows of the signal of orders; `now` is its window at
/// the newest boundary.
pub(super) fn beat(orders: &Signal<'_>, now: Option<Rung>, money: &Series<'_>) -> Beat {
    if orders.rule.mode == HeartbeatMode::Literal {
        let [recent, before] = [(0, 7), (7, 28)].map(|(from, to)| units(money.between(from, to)));
        return literal(recent, before / f64::from(BASELINE_WINDOWS), orders.known_days);
    }
    let mut reader = Reader::new(orders, money);
    let Some((now, rung)) = now.and_then(|rung| Some((reader.read(&rung, 0)?, rung))) else {
        return Beat::NO_DATA;
    };
    let sign = if now.z < 0.0 { -1.0 } else { 1.0 };
    let mut entered = None;
    for back in 0..REPLAY_DAYS {
        let z = match back {
            0 => Some(now.z),
            _ => orders.rung(back).and_then(|rung| reader.read(&rung, back)).map(|read| read.z),
        };
        match z.map(|z| z * sign) {
            Some(z) if z >= Z_ENTER => entered = Some(back),
            Some(z) if z >= Z_LEAVE => {}
            _ => break,
        }
    }
    let state = match (entered, sign < 0.0) {
        (None, _) => Heartbeat::Steady,
        (Some(_), true) => Heartbeat::Drop,
        (Some(_), false) => Heartbeat::Rise,
    };
    Beat {
        state,
        window_days: u16::try_from(rung.window).unwrap_or(u16::MAX),
        observed: units(money.between(0, rung.window)),
        expected: libm::expm1(now.median) * weeks(rung.window),
        prob: None,
        z: Some(now.z),
        since: entered.map(|back| orders.last.plus(-back)),
    }
}

/// Compares one boundary after another, and keeps what most of them share with the one before.
struct Reader<'s> {
    money: &'s Series<'s>,
    /// Days that windows may lie in.
    reach: i32,
    /// The window of the last boundary, days.
    window: i32,
    /// Spend of the window and of those before it, and its logarithms.
    spends: [i64; WINDOWS_MAX + 1],
    logs: [f64; WINDOWS_MAX + 1],
    /// Windows of the baseline, their median and the median distance from it.
    n: usize,
    median: f64,
    spread: f64,
}

impl<'s> Reader<'s> {
    fn new(orders: &Signal<'_>, money: &'s Series<'s>) -> Self {
        Self {
            money,
            // Windows that lie whole in the time the customer is known and in reach.
            reach: orders.known_days.min(i32::try_from(REACH_DAYS).unwrap_or(i32::MAX)),
            window: 0,
            spends: [0; WINDOWS_MAX + 1],
            logs: [0.0; WINDOWS_MAX + 1],
            n: 0,
            median: 0.0,
            spread: 0.0,
        }
    }

    /// The boundary `back` days before the newest; none without a window before it.
    fn read(&mut self, rung: &Rung, back: i32) -> Option<Reading> {
        if self.look(rung.window, back) {
            let mut sorted = [0.0; WINDOWS_MAX];
            let logs = self.logs.get(1..=self.n)?;
            let sorted = sorted.get_mut(..self.n)?;
            sorted.copy_from_slice(logs);
            self.median = median(sorted);
            for (slot, log) in sorted.iter_mut().zip(logs) {
                *slot = (log - self.median).abs();
            }
            self.spread = MAD_SCALE * median(sorted);
        }
        if self.n == 0 {
            return None;
        }
        let scale = self.spread.max((ORDER_NOISE / rung.evidence()).sqrt()) + SCALE_MIN;
        Some(Reading { z: (self.logs[0] - self.median) / scale, median: self.median })
    }

    /// Takes the windows of a boundary; whether those of the baseline changed.
    fn look(&mut self, window: i32, back: i32) -> bool {
        let is_other = window != self.window;
        let mut changed = is_other;
        self.window = window;
        let weeks = weeks(window);
        let mut before = self.money.before(back);
        let mut n_windows = 0;
        for (at, (spend, log)) in self.spends.iter_mut().zip(&mut self.logs).enumerate() {
            let end = back + window * (i32::try_from(at).unwrap_or(0) + 1);
            // The window itself is always there.
            if at > 0 && end > self.reach {
                break;
            }
            n_windows = at;
            let total = self.money.before(end);
            let found = total - std::mem::replace(&mut before, total);
            if is_other || at > self.n || found != *spend {
                *spend = found;
                *log = log_weekly(found, weeks);
                changed |= at > 0;
            }
        }
        changed |= n_windows != self.n;
        self.n = n_windows;
        changed
    }
}

fn weeks(window: i32) -> f64 {
    f64::from(window) / 7.0
}

fn units(micros: i64) -> f64 {
    // Rounding a sum of micros above 2^53 moves it by less than a unit in ten thousand millions.
    #[allow(clippy::cast_precision_loss, reason = "a relative error of 2^-53 is nothing here")]
    let micros = micros as f64;
    micros / MICROS
}

/// ln(1 + spend a week); more refunds than spend count as none.
fn log_weekly(micros: i64, weeks: f64) -> f64 {
    if micros <= 0 { 0.0 } else { libm::log1p(units(micros) / weeks) }
}

/// The median, by sorting in place; 0 for none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => 0.0,
        _ if n.is_multiple_of(2) => 0.5 * (values[n / 2 - 1] + values[n / 2]),
        _ => values[n / 2],
    }
}
