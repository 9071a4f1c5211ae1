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
    window: i32,
    z: f64,
    observed: f64,
    expected: f64,
}

/// The present state of spend, over the windows of the signal of orders; `now` is its window at
/// the newest boundary.
pub(super) fn beat(orders: &Signal<'_>, now: Option<Rung>, money: &Series<'_>) -> Beat {
    if orders.rule.mode == HeartbeatMode::Literal {
        let expected = units(money, 7, 28) / f64::from(BASELINE_WINDOWS);
        return literal(units(money, 0, 7), expected, orders.known_days);
    }
    let Some(now) = now.and_then(|rung| reading(orders, money, (rung, 0))) else {
        return Beat::NO_DATA;
    };
    let sign = if now.z < 0.0 { -1.0 } else { 1.0 };
    let mut entered = None;
    for back in 0..REPLAY_DAYS {
        let z = match back {
            0 => Some(now.z),
            _ => orders
                .rung(back)
                .and_then(|rung| reading(orders, money, (rung, back)))
                .map(|reading| reading.z),
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
        window_days: u16::try_from(now.window).unwrap_or(u16::MAX),
        observed: now.observed,
        expected: now.expected,
        prob: None,
        z: Some(now.z),
        since: entered.map(|back| orders.last.plus(-back)),
    }
}

fn reading(orders: &Signal<'_>, money: &Series<'_>, (rung, back): (Rung, i32)) -> Option<Reading> {
    let window = rung.window;
    let weeks = f64::from(window) / 7.0;
    // Windows that lie whole in the time the customer is known and in reach.
    let reach = orders.known_days.min(i32::try_from(REACH_DAYS).unwrap_or(i32::MAX));
    let mut logs = [0.0; WINDOWS_MAX];
    let mut n = 0;
    for slot in &mut logs {
        let from = back + window * (i32::try_from(n).unwrap_or(0) + 1);
        if from + window > reach {
            break;
        }
        *slot = log_weekly(money, from, from + window, weeks);
        n += 1;
    }
    let logs = logs.get_mut(..n).filter(|logs| !logs.is_empty())?;
    let median = median(logs);
    let mut deviations = [0.0; WINDOWS_MAX];
    for (slot, log) in deviations.iter_mut().zip(logs.iter()) {
        *slot = (log - median).abs();
    }
    let spread = MAD_SCALE * self::median(deviations.get_mut(..n)?);
    let scale = spread.max((ORDER_NOISE / rung.evidence()).sqrt()) + SCALE_MIN;
    let recent = log_weekly(money, back, back + window, weeks);
    Some(Reading {
        window,
        z: (recent - median) / scale,
        observed: units(money, back, back + window),
        expected: libm::expm1(median) * weeks,
    })
}

fn units(money: &Series<'_>, from: i32, to: i32) -> f64 {
    // Rounding a sum of micros above 2^53 moves it by less than a unit in ten thousand millions.
    #[allow(clippy::cast_precision_loss, reason = "a relative error of 2^-53 is nothing here")]
    let micros = money.between(from, to) as f64;
    micros / MICROS
}

/// ln(1 + spend a week); more refunds than spend count as none.
fn log_weekly(money: &Series<'_>, from: i32, to: i32, weeks: f64) -> f64 {
    libm::log1p(units(money, from, to).max(0.0) / weeks)
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
