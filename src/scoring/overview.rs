//! The whole base in numbers: who stands where, what is at risk, and who came back.
//!
//! In: histories with their answers, one after the other. Out: counts and sums by risk tier,
//! segment and arm of each experiment, and retention by cohort: of those who first bought in a
//! month, how many bought in each later one. Sums depend on the order in which customers are
//! added, so whoever wants the same bits adds them in the same order.
//!
//! A history knows the days of its last 371 only, so months that begin earlier are not counted for
//! anybody; the newest month is not over.

use std::collections::BTreeMap;

use super::Answer;
use crate::decision::{Arm, Segment, Tier};
use crate::domain::Day;
use crate::history::{DAILY_DAYS, History};

/// Customers who have something in common.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Group {
    /// How many they are.
    pub customers: u64,
    /// Churn probability times value, of all of them, in units of the currency.
    pub value_at_risk: f64,
    /// Predicted value of all of them, in units of the currency.
    pub clv: f64,
}

impl Group {
    fn add(&mut self, value_at_risk: f64, clv: f64) {
        self.customers += 1;
        self.value_at_risk += value_at_risk;
        self.clv += clv;
    }
}

/// Customers who first bought in one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    /// The month, as [`Day::month`] counts.
    pub month: i32,
    /// How many they are.
    pub customers: u64,
    /// Of each month that is known (months since the first; 0 is the first): who bought in it.
    pub bought: Vec<(i32, u64)>,
}

/// A side of an experiment: its name, the arm, the version where versions are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArmName {
    /// `global`, a campaign's id, or `variant/` and a campaign's id.
    pub experiment: String,
    /// Whether it is the control.
    pub is_control: bool,
    /// The version; empty where none is compared.
    pub variant: String,
}

/// The whole base in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Everybody.
    pub all: Group,
    /// Those who bought at least once.
    pub buyers: u64,
    tiers: [Group; 1 + Tier::ALL.len()],
    segments: [Group; Segment::ALL.len()],
    arms: BTreeMap<ArmName, Group>,
    cohorts: BTreeMap<i32, (u64, BTreeMap<i32, u64>)>,
    /// The months that are known of everybody.
    months: (i32, i32),
}

impl Overview {
    /// Of nobody yet, as of a day.
    #[must_use]
    pub fn new(today: Day) -> Self {
        let oldest = today.plus(1 - DAILY_DAYS);
        // The first month of which all days are known.
        let is_whole = oldest.plus(-1).month() != oldest.month();
        let first = oldest.month() + i32::from(!is_whole);
        Self {
            all: Group::default(),
            buyers: 0,
            tiers: Default::default(),
            segments: Default::default(),
            arms: BTreeMap::new(),
            cohorts: BTreeMap::new(),
            months: (first, today.month()),
        }
    }

    /// Adds a customer.
    pub fn add(&mut self, history: &History, answer: &Answer<'_>) {
        let decision = &answer.decision;
        let value_at_risk = decision.value_at_risk.unwrap_or(0.0);
        let clv = answer.score.clv.as_ref().map_or(0.0, |clv| clv.mean);
        self.all.add(value_at_risk, clv);
        self.tiers[decision.tier.map_or(0, |tier| tier as usize)].add(value_at_risk, clv);
        if let Some(group) = self.segments.get_mut(decision.segment as usize) {
            group.add(value_at_risk, clv);
        }
        for one in &decision.assignments {
            let name = ArmName {
                experiment: one.experiment.name(),
                is_control: one.arm == Arm::Control,
                variant: one.variant.unwrap_or_default().to_owned(),
            };
            self.arms.entry(name).or_default().add(value_at_risk, clv);
        }
        self.add_to_cohort(history);
    }

    fn add_to_cohort(&mut self, history: &History) {
        let Some(first) = history.first_purchase() else { return };
        self.buyers += 1;
        let (oldest, newest) = self.months;
        let (n_customers, bought) = self.cohorts.entry(first.day.month()).or_default();
        *n_customers += 1;
        let mut last = None;
        for (day, tally) in history.tiles().days() {
            let month = day.month();
            if tally.orders > 0 && (oldest..=newest).contains(&month) && last != Some(month) {
                *bought.entry(month).or_default() += 1;
                last = Some(month);
            }
        }
    }

    /// By risk tier, those without one first.
    pub fn tiers(&self) -> impl Iterator<Item = (Option<Tier>, Group)> {
        let names = std::iter::once(None).chain(Tier::ALL.into_iter().map(Some));
        names.zip(self.tiers)
    }

    /// By segment.
    pub fn segments(&self) -> impl Iterator<Item = (Segment, Group)> {
        Segment::ALL.into_iter().zip(self.segments)
    }

    /// By experiment and arm, in the order of their names.
    pub fn arms(&self) -> impl Iterator<Item = (&ArmName, Group)> {
        self.arms.iter().map(|(name, group)| (name, *group))
    }

    /// By the month of the first purchase, the earliest first. A month that is known and in which
    /// nobody bought counts 0.
    #[must_use]
    pub fn cohorts(&self) -> Vec<Cohort> {
        let (oldest, newest) = self.months;
        let cohort = |(&month, (customers, bought)): (&i32, &(u64, BTreeMap<i32, u64>))| Cohort {
            month,
            customers: *customers,
            bought: (oldest.max(month)..=newest)
                .map(|later| (later - month, bought.get(&later).copied().unwrap_or(0)))
                .collect(),
        };
        self.cohorts.iter().map(cohort).collect()
    }
}

/// A month as text, such as 2026-01.
#[must_use]
pub fn month_text(month: i32) -> String {
    format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Currency, CustomerId, EventId, Money, Zone};
    use crate::events::{Event, EventKind, Purchase};

    fn bought(days: &[&str]) -> History {
        let mut history = History::default();
        for (idx, text) in days.iter().enumerate() {
            let day = Day::parse(text).unwrap();
            history.apply(&Event {
                customer: CustomerId::try_new("c").unwrap(),
                id: EventId::from_bits(idx as u128),
                time: Zone::UTC.start_of(day),
                day,
                kind: EventKind::Purchase(Purchase {
                    amount: Money::ZERO,
                    currency: Currency::NONE,
                    items: 1,
                    category: None,
                    sales_channel: None,
                    discount: Money::ZERO,
                }),
            });
        }
        history
    }

    #[test]
    fn a_cohort_is_counted_in_the_months_that_are_known() {
        let mut overview = Overview::new(Day::parse("2026-03-15").unwrap());
        for days in [
            &["2024-05-03", "2025-03-20", "2025-05-01", "2025-05-02", "2026-03-14"][..],
            &["2024-05-30"],
            &["2026-01-31", "2026-02-01", "2026-02-28"],
            &["2026-02-02"],
        ] {
            overview.add_to_cohort(&bought(days));
        }
        overview.add_to_cohort(&History::default());
        assert_eq!(overview.buyers, 4);
        let cohorts = overview.cohorts();
        let sizes: Vec<(String, u64)> =
            cohorts.iter().map(|one| (month_text(one.month), one.customers)).collect();
        let expected = [("2024-05", 2), ("2026-01", 1), ("2026-02", 1)];
        assert_eq!(sizes, expected.map(|(month, n)| (month.to_owned(), n)));
        // 371 days reach back to 2025-03-10: April 2025 is the first month that is whole.
        let old: Vec<(i32, u64)> = cohorts[0].bought.clone();
        assert_eq!((old.first(), old.len()), (Some(&(11, 0)), 12));
        assert_eq!(old.iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(), [&(12, 1), &(22, 1)]);
        assert_eq!(cohorts[1].bought, [(0, 1), (1, 1), (2, 0)]);
        assert_eq!(cohorts[2].bought, [(0, 1), (1, 0)]);
    }
}
