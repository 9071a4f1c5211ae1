//! Tiles: what happened on one day, and in one quarter of thirteen weeks.
//!
//! Daily tiles are sparse (only days with something) and reach back 371 days from the newest
//! event, so that every window up to a year and the heartbeat ladder count exactly. Older days
//! are added to thirteen-week tiles on fixed boundaries, which reach back three years. All sums
//! are integers: they do not depend on the order of arrival.

use crate::domain::{Day, Money};

/// Days a daily tile is kept, counted back from the newest event's day.
pub const DAILY_DAYS: i32 = 371;
/// Length of a coarse tile: thirteen weeks.
pub const QUARTER_DAYS: i32 = 91;
/// Coarse tiles kept: three years.
pub const QUARTERS: i32 = 12;

/// What happened in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Orders.
    pub orders: u32,
    /// Days with an order (0 or 1 in a daily tile).
    pub purchase_days: u32,
    /// Items bought.
    pub items: u32,
    /// Orders with a discount.
    pub discounted: u32,
    /// Refunds.
    pub refunds: u32,
    /// Uses of the product, site or app.
    pub activities: u32,
    /// Paid, before refunds.
    pub spend: Money,
    /// Given back.
    pub refunded: Money,
    /// Taken off prices.
    pub discount: Money,
}

impl Tally {
    /// Adds another span's events. `purchase_days` adds too: spans must not share a day.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            orders,
            purchase_days,
            items,
            discounted,
            refunds,
            activities,
            spend,
            refunded,
            discount,
        } = other;
        self.orders = self.orders.saturating_add(*orders);
        self.purchase_days = self.purchase_days.saturating_add(*purchase_days);
        self.items = self.items.saturating_add(*items);
        self.discounted = self.discounted.saturating_add(*discounted);
        self.refunds = self.refunds.saturating_add(*refunds);
        self.activities = self.activities.saturating_add(*activities);
        self.spend += *spend;
        self.refunded += *refunded;
        self.discount += *discount;
    }

    /// Spend less refunds.
    #[must_use]
    pub fn net_spend(&self) -> Money {
        self.spend + -self.refunded
    }
}

/// The quarter a day belongs to, on fixed boundaries from 1970-01-01.
fn quarter_of(day: Day) -> i32 {
    day.number().div_euclid(QUARTER_DAYS)
}

/// Sparse tiles of one customer, each list ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tiles {
    pub(super) days: Vec<(Day, Tally)>,
    pub(super) quarters: Vec<(i32, Tally)>,
}

impl Tiles {
    /// The daily tiles, ascending.
    #[must_use]
    pub fn days(&self) -> &[(Day, Tally)] {
        &self.days
    }

    /// Whether something is older than the daily tiles.
    pub(super) fn has_quarters(&self) -> bool {
        !self.quarters.is_empty()
    }

    /// Adds a tally to the day's tile if daily tiles still reach it (`true`), else to its
    /// quarter's if those do.
    pub(super) fn record(&mut self, day: Day, newest: Day, tally: &Tally) -> bool {
        if newest.days_since(day) < DAILY_DAYS {
            match self.days.binary_search_by_key(&day, |(d, _)| *d) {
                Ok(at) => {
                    let tile = &mut self.days[at].1;
                    let had_purchase = tile.purchase_days;
                    tile.add(tally);
                    tile.purchase_days = had_purchase.max(tally.purchase_days);
                }
                Err(at) => self.days.insert(at, (day, *tally)),
            }
            return true;
        }
        if quarter_of(newest) - quarter_of(day) < QUARTERS {
            self.record_quarter(quarter_of(day), tally);
        }
        false
    }

    /// Moves days out of reach into their quarters; calls `retired` with each purchase day that
    /// goes, ascending.
    pub(super) fn retire(&mut self, newest: Day, mut retired: impl FnMut(Day)) {
        let n_old = self.days.partition_point(|(day, _)| newest.days_since(*day) >= DAILY_DAYS);
        if n_old > 0 {
            let old: Vec<(Day, Tally)> = self.days.drain(..n_old).collect();
            for (day, tally) in &old {
                if tally.purchase_days > 0 {
                    retired(*day);
                }
                if quarter_of(newest) - quarter_of(*day) < QUARTERS {
                    self.record_quarter(quarter_of(*day), tally);
                }
            }
        }
        let keep_from = quarter_of(newest) - QUARTERS;
        self.quarters.retain(|(quarter, _)| *quarter > keep_from);
    }

    /// Drops what no window reads from the days of an age on.
    pub(super) fn plain(&mut self, newest: Day, age_min: i32) {
        for (day, tally) in &mut self.days {
            if newest.days_since(*day) >= age_min {
                *tally = tally.plain();
            }
        }
    }

    /// Joins the days of an age on that lie in one span of `span` days, on fixed boundaries, into
    /// the last of them; calls `retired` with each of their purchase days, ascending.
    pub(super) fn join_days(
        &mut self,
        newest: Day,
        age_min: i32,
        span: i32,
        mut retired: impl FnMut(Day),
    ) {
        let n_old = self.days.partition_point(|(day, _)| newest.days_since(*day) >= age_min);
        let recent = self.days.split_off(n_old);
        let mut joined: Vec<(Day, Tally)> = Vec::with_capacity(n_old / 2 + recent.len());
        for (day, tally) in &self.days {
            if tally.purchase_days > 0 {
                retired(*day);
            }
            match joined.last_mut() {
                Some((last, sum))
                    if last.number().div_euclid(span) == day.number().div_euclid(span) =>
                {
                    *last = *day;
                    sum.add(tally);
                }
                _ => joined.push((*day, *tally)),
            }
        }
        joined.extend(recent);
        self.days = joined;
    }

    fn record_quarter(&mut self, quarter: i32, tally: &Tally) {
        match self.quarters.binary_search_by_key(&quarter, |(q, _)| *q) {
            Ok(at) => self.quarters[at].1.add(tally),
            Err(at) => self.quarters.insert(at, (quarter, *tally)),
        }
    }

    /// Adds another customer history's tiles; both must have been retired to the same newest day.
    pub(super) fn merge(&mut self, other: &Self, newest: Day) {
        for (day, tally) in &other.days {
            self.record(*day, newest, tally);
        }
        for (quarter, tally) in &other.quarters {
            self.record_quarter(*quarter, tally);
        }
    }

    /// The exact tally of days in `(last - days, last]`; exact for spans up to 371 days.
    #[must_use]
    pub fn window(&self, last: Day, days: i32) -> Tally {
        self.between(last.plus(-days), last)
    }

    /// The exact tally of days in `(after, last]` as far as daily tiles reach.
    #[must_use]
    pub fn between(&self, after: Day, last: Day) -> Tally {
        let mut sum = Tally::default();
        // From the newest on: what is asked for is mostly recent.
        for (_, tally) in self.until(last).iter().rev().take_while(|(day, _)| *day > after) {
            sum.add(tally);
        }
        sum
    }

    /// The daily tiles up to and with a day, ascending.
    #[must_use]
    pub fn until(&self, last: Day) -> &[(Day, Tally)] {
        if self.days.last().is_none_or(|(day, _)| *day <= last) {
            return &self.days;
        }
        &self.days[..self.days.partition_point(|(day, _)| *day <= last)]
    }

    /// Spend less refunds and purchase days of whole tiles over about `days` days back from `last`:
    /// daily tiles exactly, a quarter where it begins after `last - days`.
    #[must_use]
    pub fn long_value(&self, last: Day, days: i32) -> (Money, u32) {
        let after = last.plus(-days);
        let (mut spend, mut refunded, mut purchase_days) = (Money::ZERO, Money::ZERO, 0_u32);
        let mut add = |tally: &Tally| {
            spend += tally.spend;
            refunded += tally.refunded;
            purchase_days = purchase_days.saturating_add(tally.purchase_days);
        };
        let within = self.until(last).iter().rev().take_while(|(day, _)| *day > after);
        within.for_each(|(_, tally)| add(tally));
        for (quarter, tally) in &self.quarters {
            if quarter.saturating_mul(QUARTER_DAYS) > after.number() {
                add(tally);
            }
        }
        (spend + -refunded, purchase_days)
    }

    /// Days with a purchase that still have a tile, ascending.
    pub fn purchase_days(&self) -> impl DoubleEndedIterator<Item = Day> + '_ {
        self.days.iter().filter(|(_, tally)| tally.purchase_days > 0).map(|(day, _)| *day)
    }
}
