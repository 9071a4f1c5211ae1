//! The heartbeat on simulated customers whose truth is known.

use super::*;
use crate::domain::{Currency, CustomerId, EventId, Money, Name, Timestamp, Zone};
use crate::events::{Activity, Event, EventKind, Purchase};
use crate::history::History;

/// A seeded generator of its own: the numbers in docs/QUALITY.md must not move with a crate.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    fn normal(&mut self) -> f64 {
        (2.0 * self.exponential()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    fn poisson(&mut self, mean: f64) -> u32 {
        let (mut n, mut left) = (0, mean);
        loop {
            left -= self.exponential();
            if left < 0.0 {
                return n;
            }
            n += 1;
        }
    }

    /// Gamma of integer shape and mean 1.
    fn gamma(&mut self, shape: u32) -> f64 {
        (0..shape).map(|_| self.exponential()).sum::<f64>() / f64::from(shape)
    }
}

/// How a steady customer behaves.
#[derive(Clone, Copy)]
struct Steady {
    per_week: f64,
    /// Shape of the Gamma that multiplies each week's rate; none for Poisson.
    weekly_shape: Option<u32>,
}

const FIRST: i32 = 10_000;

/// Events of `days` days; orders of log-normal amounts (sigma 0.5) around 20.
fn simulate(dice: &mut Dice, steady: Steady, days: i32, with_orders: bool) -> Vec<Event> {
    let mut events = Vec::new();
    let mut rate = steady.per_week / 7.0;
    for day in 0..days {
        if let Some(shape) = steady.weekly_shape
            && day % 7 == 0
        {
            rate = steady.per_week / 7.0 * dice.gamma(shape);
        }
        for n in 0..dice.poisson(rate) {
            let amount = 20.0 * (0.5 * dice.normal()).exp();
            events.push(event(FIRST + day, n, amount, with_orders));
        }
    }
    events
}

fn event(day: i32, n: u32, amount: f64, order: bool) -> Event {
    let micros = i64::from(day) * 86_400_000_000 + i64::from(n) * 1_000_000;
    let time = Timestamp::from_micros(micros);
    let kind = if order {
        #[allow(clippy::cast_possible_truncation, reason = "an amount of some tens")]
        let cents = (amount * 100.0).round() as i64;
        EventKind::Purchase(Purchase {
            amount: Money::from_micros(cents * 10_000),
            currency: Currency::NONE,
            items: 1,
            category: None,
            sales_channel: None,
            discount: Money::ZERO,
        })
    } else {
        EventKind::Activity(Activity { name: Name::try_new("visit").unwrap(), device: None })
    };
    let id = EventId::from_bits(u128::from(micros.unsigned_abs()));
    Event {
        customer: CustomerId::try_new("c").unwrap(),
        id,
        time,
        day: Zone::UTC.day_of(time),
        kind,
    }
}

fn base(dispersion: f64) -> HeartbeatBase {
    let signal = SignalBase { dispersion, curve: DayCurve::flat() };
    HeartbeatBase { orders: signal.clone(), activity: signal }
}

/// Calls `look` with the heartbeats at the end of each day from `from` on.
fn each_day(
    events: &[Event],
    (base, rule): (&HeartbeatBase, &HeartbeatRule),
    (from, to): (i32, i32),
    mut look: impl FnMut(i32, &Heartbeats),
) {
    let mut history = History::default();
    let mut at = 0;
    for day in 0..to {
        while let Some(event) = events.get(at)
            && event.day.number() <= FIRST + day
        {
            history.apply(event);
            at += 1;
        }
        if day >= from {
            look(day, &heartbeats(base, rule, &history, Day::from_number(FIRST + day)));
        }
    }
}

/// New drops and rises a customer-year of activity (or orders) and of spend, over two years.
fn alarms(steady: Steady, dispersion: f64, n_customers: u32, seed: u64) -> [f64; 2] {
    const YEAR_DAYS: i32 = 365;
    let mut dice = Dice(seed);
    let (base, rule) = (base(dispersion), HeartbeatRule::default());
    let mut counts = [0_u32; 2];
    for _ in 0..n_customers {
        let events = simulate(&mut dice, steady, 3 * YEAR_DAYS, true);
        let mut before = [Heartbeat::Steady; 2];
        each_day(&events, (&base, &rule), (YEAR_DAYS, 3 * YEAR_DAYS), |_, beats| {
            let now = [beats.orders.state, beats.spend.state];
            for ((count, before), now) in counts.iter_mut().zip(before).zip(now) {
                *count += u32::from(now != before && now >= Heartbeat::Rise);
            }
            before = now;
        });
    }
    counts.map(|count| f64::from(count) / (2.0 * f64::from(n_customers)))
}

/// Median days until a full stop is seen as a drop; those who never are count as infinite.
fn delay(steady: Steady, dispersion: f64, n_customers: u32, seed: u64) -> f64 {
    let mut dice = Dice(seed);
    let (base, rule) = (base(dispersion), HeartbeatRule::default());
    let mut delays: Vec<f64> = (0..n_customers)
        .map(|_| {
            let stop = 400;
            let events = simulate(&mut dice, steady, stop, false);
            let mut seen = f64::INFINITY;
            each_day(&events, (&base, &rule), (stop, stop + 150), |day, beats| {
                if seen.is_infinite() && beats.activity.state == Heartbeat::Drop {
                    seen = f64::from(day - stop + 1);
                }
            });
            seen
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    delays[delays.len() / 2]
}

const fn poisson(per_week: f64) -> Steady {
    Steady { per_week, weekly_shape: None }
}

const fn bursty(per_week: f64) -> Steady {
    Steady { per_week, weekly_shape: Some(2) }
}

/// Run with `--nocapture` for the table of docs/QUALITY.md.
#[test]
fn steady_customers_seldom_alarm_and_a_full_stop_is_seen() {
    println!("per week, kind, new alarms a customer-year (orders, spend), days to see a stop");
    let kinds: [(&str, Option<u32>, f64, _); 3] = [
        ("poisson", None, 0.0, 5.0..=32.0),
        ("bursty, shape 4", Some(4), 0.25, 11.0..=40.0),
        ("bursty, shape 2", Some(2), 0.5, 11.0..=40.0),
    ];
    // What docs/QUALITY.md says comes from release builds.
    let n_customers = if cfg!(debug_assertions) { 30 } else { 120 };
    for per_week in [1.0, 2.0, 5.0, 10.0] {
        for (kind, weekly_shape, dispersion, allowed) in &kinds {
            let steady = Steady { per_week, weekly_shape: *weekly_shape };
            let [orders, spend] = alarms(steady, *dispersion, n_customers, 7);
            let days = delay(steady, *dispersion, 101, 11);
            println!("{per_week:>4} {kind:<16} {orders:.2} {spend:.2} {days}");
            assert!(orders <= 5.0 && spend <= 5.0, "{per_week} {kind}: {orders} {spend}");
            assert!(allowed.contains(&days), "{per_week} {kind}: {days}");
        }
    }
}

#[test]
fn the_literal_rule_flags_half_of_the_steady_customers_each_week() {
    let mut dice = Dice(5);
    let rule = HeartbeatRule { mode: HeartbeatMode::Literal, ..HeartbeatRule::default() };
    let (mut flagged, mut n) = (0_u32, 0_u32);
    for _ in 0..200 {
        let events = simulate(&mut dice, poisson(10.0), 730, false);
        each_day(&events, (&base(0.0), &rule), (365, 730), |day, beats| {
            if day % 7 == 0 {
                n += 1;
                flagged += u32::from(beats.activity.state == Heartbeat::Drop);
            }
        });
    }
    let share = f64::from(flagged) / f64::from(n);
    println!("literal rule: {share:.3} of {n} steady weeks flagged");
    assert!((0.46..0.52).contains(&share), "{share}");
}

/// The definition, word by word: every boundary from far back, both sides, no short cut.
fn plainly(base: &HeartbeatBase, rule: &HeartbeatRule, history: &History, last: Day) -> Heartbeat {
    let tiles = history.tiles();
    let mut state = Heartbeat::NoData;
    for back in (0..REPLAY_DAYS).rev() {
        let end = last.plus(-back);
        let known = history.known_days(last) - back;
        state = LADDER
            .iter()
            .find_map(|&window| {
                let recent = f64::from(tiles.window(end, window).activities);
                let baseline = f64::from(tiles.window(end.plus(-window), 3 * window).activities);
                let rate = baseline / f64::from(3 * window) * 7.0;
                let phi = 1.0 + rate * base.activity.dispersion;
                if 4 * window > known || baseline / 3.0 / phi < rule.expected_min {
                    return None;
                }
                let (x, y) = (recent / phi + 0.5, baseline / phi + 0.5);
                let below =
                    |ratio: f64| statrs::function::beta::beta_reg(x, y, ratio / (ratio + 3.0));
                let (drop, rise) = (below(rule.ratio_drop), 1.0 - below(rule.ratio_rise));
                Some(match state {
                    _ if drop >= rule.enter_prob => Heartbeat::Drop,
                    _ if rise >= rule.enter_prob => Heartbeat::Rise,
                    Heartbeat::Drop if drop >= rule.leave_prob => Heartbeat::Drop,
                    Heartbeat::Rise if rise >= rule.leave_prob => Heartbeat::Rise,
                    _ => Heartbeat::Steady,
                })
            })
            .unwrap_or(Heartbeat::NoData);
    }
    state
}

#[test]
fn the_short_cuts_give_the_state_of_the_plain_replay() {
    let mut dice = Dice(3);
    let rule = HeartbeatRule::default();
    let mut seen = [0_u32; 4];
    for n in 0..120 {
        let base = base([0.0, 0.1, 0.5][n % 3]);
        // Rates that change, so that all states occur.
        let mut events = simulate(&mut dice, bursty([0.5, 2.0, 8.0][n / 3 % 3]), 300, false);
        let thin = |from: i32, to: i32, event: &Event| {
            let day = event.day.number() - FIRST;
            !(from..to).contains(&day) || day % 3 == 0
        };
        match n % 4 {
            0 => {}
            1 => events.retain(|event| thin(0, 270, event)),
            2 => events.retain(|event| thin(0, 285, event)),
            _ => events.retain(|event| thin(250, 300, event)),
        }
        let mut history = History::default();
        for event in &events {
            history.apply(event);
        }
        for ahead in [0, 3, 10, 40] {
            let last = Day::from_number(FIRST + 300 + ahead);
            let found = heartbeats(&base, &rule, &history, last).activity;
            let expected = plainly(&base, &rule, &history, last);
            assert_eq!(found.state, expected, "{n} {ahead}: {found:?}");
            assert_eq!(found.since.is_some(), found.state >= Heartbeat::Rise);
            seen[found.state as usize] += 1;
        }
    }
    assert!(seen.iter().all(|n| *n >= 10), "{seen:?}");
}

#[test]
fn a_quiet_season_of_the_base_is_no_drop_of_a_customer() {
    // Everybody halves in the last two weeks, and this customer with them.
    let mut history = History::default();
    for day in 0..200 {
        let n = if day < 186 { 4 } else { 2 };
        for n in 0..n {
            history.apply(&event(FIRST + day, n, 1.0, false));
        }
    }
    let rates: Vec<f64> = (0..200).map(|day| if day < 186 { 1.0 } else { 0.5 }).collect();
    let curve = DayCurve::new(Day::from_number(FIRST), &rates);
    let seasonal = HeartbeatBase {
        orders: SignalBase::unknown(),
        activity: SignalBase { dispersion: 0.0, curve },
    };
    let last = Day::from_number(FIRST + 199);
    let rule = HeartbeatRule::default();
    let with = heartbeats(&seasonal, &rule, &history, last).activity;
    let without = heartbeats(&base(0.0), &rule, &history, last).activity;
    assert_eq!((with.state, without.state), (Heartbeat::Steady, Heartbeat::Drop));
    assert_eq!(without.since.map(|day| last.days_since(day) < 14), Some(true));
}

#[test]
fn a_new_customer_and_one_long_gone_have_no_data() {
    let mut history = History::default();
    for day in 0..20 {
        for n in 0..5 {
            history.apply(&event(FIRST + day, n, 1.0, false));
        }
    }
    let rule = HeartbeatRule::default();
    let at = |day| heartbeats(&base(0.0), &rule, &history, Day::from_number(FIRST + day)).activity;
    assert_eq!(at(19).state, Heartbeat::NoData, "known for less than the shortest span");
    assert_eq!(at(27).state, Heartbeat::Drop);
    assert_eq!(at(600).state, Heartbeat::NoData);
    assert!(at(600).observed.is_nan());
    let none = heartbeats(&base(0.0), &rule, &History::default(), Day::from_number(FIRST));
    assert_eq!(none.orders.state, Heartbeat::NoData);
}

#[test]
fn a_curve_goes_on_as_a_year_before_at_its_own_level() {
    let first = Day::from_number(1000);
    // Two years, the second twice as busy, each with a peak of four weeks.
    let rates: Vec<f64> = (0..728)
        .map(|day| {
            f64::from(1 + day / 364) * if (200..228).contains(&(day % 364)) { 3.0 } else { 1.0 }
        })
        .collect();
    let curve = DayCurve::new(first, &rates);
    assert_eq!(curve.frozen(), (first, rates.as_slice()));
    let at = |day: i32| curve.ratio(Day::from_number(1000 + day), 28, 112);
    assert!((at(728 + 227) - 1.0).abs() < 1e-9, "a peak against a plain baseline: {}", at(955));
    assert!((at(728 + 150) - 3.0).abs() < 1e-9);
    assert!((DayCurve::flat().ratio(first, 7, 28) - 3.0).abs() < 1e-12);
    assert!((curve.ratio(first.plus(50_000), 7, 28) - 3.0).abs() < 1e-9);
    assert!(DayCurve::new(first, &[f64::NAN, 0.0, f64::INFINITY]).ratio(first, 7, 28).is_finite());
}
