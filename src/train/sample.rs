//! Whose rows are learned from where a base has more of them than learning needs.
//!
//! In: a log and the cutoffs. Out: everybody, or a fair part of the customers, the same at every
//! cutoff: those whose hash lies lowest. It does not depend on the order of the log or on threads.
//! Models gain nothing from more rows than these, and a base of a million customers would take
//! 20 GB of memory. It deliberately leaves alone what is cheap for everybody: purchase models,
//! base statistics, today's base with its totals and cut points.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::{AsOf, CustomerId, Day, Zone};
use crate::events::{EventKind, Log};

/// Rows of all cutoffs together that are learned from and judged on.
pub(super) const ROWS_MAX: u64 = 2_000_000;

/// Who is learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    seed: u64,
    /// Rows that everybody would give.
    n_rows: u64,
    rows_max: u64,
}

impl Sample {
    /// Everybody.
    pub(super) const ALL: Self = Self { seed: 0, n_rows: 0, rows_max: 0 };

    /// As many customers as give about `rows_max` rows at the cutoffs.
    pub(super) fn of(
        log: &Log,
        (cutoffs, zone): (&[Day], &Zone),
        rows_max: u64,
        seed: u64,
    ) -> Self {
        let ends: Vec<_> = cutoffs.iter().map(|day| AsOf::end_of(*day, zone).instant()).collect();
        let rows_of = |first| ends.iter().filter(|end| first < **end).count() as u64;
        let n_rows = log
            .customers
            .iter()
            .filter_map(|customer| {
                let is_purchase = |kind: &EventKind| matches!(kind, EventKind::Purchase(_));
                let first = customer.events.iter().find(|event| is_purchase(&event.kind))?;
                Some(rows_of(first.time))
            })
            .sum();
        Self { seed, n_rows, rows_max }
    }

    /// Whether everybody is learned from.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.n_rows <= self.rows_max
    }

    /// Whether a customer is learned from.
    #[must_use]
    pub fn takes(&self, customer: &CustomerId) -> bool {
        if self.is_all() {
            return true;
        }
        let hash = xxh3_64_with_seed(customer.as_str().as_bytes(), self.seed);
        // hash / 2^64 < rows_max / n_rows, in whole numbers.
        u128::from(hash) * u128::from(self.n_rows) < u128::from(self.rows_max) << 64
    }

    /// What is worth knowing of it; nothing where everybody is learned from.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let share = 100.0 * self.rows_max as f64 / self.n_rows.max(1) as f64;
        (!self.is_all()).then(|| {
            format!(
                "learned from {share:.1} % of the customers, chosen by the hash of their ids: all \
                 of them would give {} rows, more than {}; purchase models and today's base hold \
                 everybody",
                self.n_rows, self.rows_max
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventId, Money, Timestamp};
    use crate::events::{CustomerLog, Event, Purchase};

    const FIRST_DAY: i32 = 20_000;

    /// Customers of whom every other one first buys between the two cutoffs.
    fn log(n_customers: usize) -> Log {
        let customers = (0..n_customers).map(|at| {
            let customer = CustomerId::try_new(&format!("c{at}")).unwrap();
            let day = Day::from_number(FIRST_DAY + if at % 2 == 0 { 0 } else { 20 });
            let kind = EventKind::Purchase(Purchase {
                amount: Money::from_micros(1),
                currency: crate::domain::Currency::NONE,
                items: 1,
                category: None,
                sales_channel: None,
                discount: Money::ZERO,
            });
            let time = Timestamp::from_micros(i64::from(day.number()) * 86_400_000_000);
            let (id, owner) = (EventId::from_bits(1), customer.clone());
            let events = vec![Event { customer: owner, id, time, day, kind }];
            CustomerLog { customer, events }
        });
        Log { customers: customers.collect(), ..Log::default() }
    }

    fn of(log: &Log, rows_max: u64, seed: u64) -> Sample {
        let cutoffs = [10, 30].map(|days| Day::from_number(FIRST_DAY + days));
        Sample::of(log, (&cutoffs, &Zone::UTC), rows_max, seed)
    }

    #[test]
    fn everybody_is_taken_up_to_the_bound_and_a_fair_part_beyond_it() {
        let log = log(10_000);
        let all = of(&log, 15_000, 1);
        assert!(all.is_all() && all.note().is_none());
        assert!(log.customers.iter().all(|one| all.takes(&one.customer)));
        let part = of(&log, 3_000, 1);
        let taken = |part: &Sample| -> Vec<bool> {
            log.customers.iter().map(|one| part.takes(&one.customer)).collect()
        };
        let n_taken = taken(&part).iter().filter(|&&yes| yes).count();
        // A fifth of 10,000, five standard errors either way.
        assert!((1_800..2_200).contains(&n_taken), "{n_taken}");
        assert!(part.note().unwrap().contains("20.0 % of the customers"));
        assert_ne!(taken(&part), taken(&of(&log, 3_000, 2)));
    }

    #[test]
    fn a_smaller_part_lies_in_a_larger_one() {
        let log = log(2_000);
        let (small, large) = (of(&log, 300, 1), of(&log, 900, 1));
        let both = log.customers.iter().filter(|one| small.takes(&one.customer));
        assert!(both.clone().count() > 100 && both.clone().all(|one| large.takes(&one.customer)));
    }
}
