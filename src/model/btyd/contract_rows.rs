//! Cohorts of contracts, pooled into renewals and losses a period.
//!
//! In: how many customers of each cohort remain after 0, 1, 2, ... periods. Out: over all
//! cohorts, how many renewed and how many left at each renewal. Cohorts of different ages pool
//! without loss, because a customer's chance to renew depends on the number of renewals behind
//! alone. It deliberately knows no calendar and no names of cohorts.

use super::error::BtydError;
use super::error::CohortIssue;
use super::opportunity_rows::PERIODS_MAX;

/// One cohort: customers who began together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    /// The period of the first count: 0 if it is the number of new customers; later where the
    /// cohort was not watched from its start.
    pub first_period: u32,
    /// Customers who remain at that period and each one after it; never rises.
    pub remaining: Vec<u64>,
}

impl Cohort {
    /// Renewals behind the customers who remain at the last count.
    #[must_use]
    pub fn last_period(&self) -> u32 {
        let n = u32::try_from(self.remaining.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_period.saturating_add(n)
    }

    fn check(&self) -> Result<(), (u32, CohortIssue)> {
        if self.remaining.first().is_none_or(|&n| n == 0) {
            return Err((self.first_period, CohortIssue::Empty));
        }
        if self.last_period() > PERIODS_MAX {
            return Err((self.last_period(), CohortIssue::TooManyPeriods));
        }
        for (period, pair) in (self.first_period + 1..).zip(self.remaining.windows(2)) {
            let (before, after) = (pair[0], pair[1]);
            if after > before {
                return Err((period, CohortIssue::Rises { before, after }));
            }
        }
        Ok(())
    }
}

/// What happened at one renewal, over all cohorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Which renewal, from 1.
    pub period: u32,
    /// Customers who renewed.
    pub kept: u64,
    /// Customers who left.
    pub lost: u64,
}

/// Renewals of all cohorts, by period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PooledCohorts {
    renewals: Vec<Renewal>,
    n_customers: u64,
}

impl PooledCohorts {
    /// Pools cohorts.
    ///
    /// # Errors
    /// [`BtydError::InvalidCohort`] for the first cohort that is empty, rises or is longer than
    /// 10,000 periods; [`BtydError::NoRows`] where no cohort has met a renewal yet.
    pub fn try_from_cohorts(cohorts: &[Cohort]) -> Result<Self, BtydError> {
        let mut by_period = std::collections::BTreeMap::<u32, (u64, u64)>::new();
        let mut n_customers = 0_u64;
        for (idx, cohort) in cohorts.iter().enumerate() {
            cohort.check().map_err(|(period, issue)| BtydError::InvalidCohort {
                cohort: idx,
                period,
                issue,
            })?;
            n_customers = n_customers.saturating_add(cohort.remaining[0]);
            for (period, pair) in (cohort.first_period + 1..).zip(cohort.remaining.windows(2)) {
                let (kept, lost) = by_period.entry(period).or_default();
                *kept = kept.saturating_add(pair[1]);
                *lost = lost.saturating_add(pair[0] - pair[1]);
            }
        }
        let renewals: Vec<Renewal> = by_period
            .into_iter()
            .map(|(period, (kept, lost))| Renewal { period, kept, lost })
            .filter(|renewal| renewal.kept + renewal.lost > 0)
            .collect();
        if renewals.is_empty() {
            return Err(BtydError::NoRows { model: "contract models" });
        }
        Ok(Self { renewals, n_customers })
    }

    /// What happened at each renewal, rising in the period.
    #[must_use]
    pub fn renewals(&self) -> &[Renewal] {
        &self.renewals
    }

    /// Customers at the first count of their cohorts.
    #[must_use]
    pub const fn n_customers(&self) -> u64 {
        self.n_customers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cohorts_of_different_ages_pool_by_renewal() {
        let cohorts = [
            Cohort { first_period: 0, remaining: vec![100, 60, 50] },
            Cohort { first_period: 0, remaining: vec![80, 50] },
            Cohort { first_period: 1, remaining: vec![30, 30, 20] },
        ];
        let pooled = PooledCohorts::try_from_cohorts(&cohorts).unwrap();
        let want = [(1, 110, 70), (2, 80, 10), (3, 20, 10)];
        let want = want.map(|(period, kept, lost)| Renewal { period, kept, lost });
        assert_eq!(pooled.renewals(), want);
        assert_eq!(pooled.n_customers(), 210);
        assert_eq!(cohorts[2].last_period(), 3);
    }

    #[test]
    fn cohorts_that_contradict_themselves_are_named() {
        let good = Cohort { first_period: 0, remaining: vec![5, 4] };
        let of = |first_period, remaining: &[u64]| {
            let bad = Cohort { first_period, remaining: remaining.to_vec() };
            PooledCohorts::try_from_cohorts(&[good.clone(), bad])
        };
        let rises = CohortIssue::Rises { before: 3, after: 4 };
        for (found, want_period, want) in [
            (of(2, &[3, 3, 4]), 4, rises),
            (of(0, &[]), 0, CohortIssue::Empty),
            (of(0, &[0, 0]), 0, CohortIssue::Empty),
            (of(10_000, &[2, 1]), 10_001, CohortIssue::TooManyPeriods),
        ] {
            match found {
                Err(BtydError::InvalidCohort { cohort: 1, period, issue }) => {
                    assert_eq!((period, issue), (want_period, want));
                }
                other => panic!("{want:?}: {other:?}"),
            }
        }
        let new = Cohort { first_period: 0, remaining: vec![5] };
        let nothing = PooledCohorts::try_from_cohorts(&[new]);
        assert!(matches!(nothing, Err(BtydError::NoRows { .. })));
    }
}
