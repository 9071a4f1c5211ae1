//! Cutoffs: the past instants that training looks from, and the window models are judged on.

use thiserror::Error;

use crate::domain::{Day, Days};

/// At most this many cutoffs before the judged one: older ones add time, not knowledge.
const CUTOFFS_MAX: usize = 12;
/// The shortest history a cutoff must have before it, days.
const HISTORY_DAYS_MIN: i32 = 28;

/// Why no cutoff could be placed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CutoffError {
    /// The log is too short for even one window.
    #[error(
        "the log covers {found} days up to {until}: a horizon of {horizon} days needs at least {wanted}; \
         choose a shorter horizon or a longer log"
    )]
    TooShort {
        /// Days covered.
        found: i32,
        /// Its end.
        until: Day,
        /// The horizon.
        horizon: Days,
        /// Days needed.
        wanted: i32,
    },
}

/// The last days of the histories that training looks at, oldest first, and the judged one.
///
/// Every label window `(cutoff, cutoff + horizon]` ends at or before `until`. The windows of
/// `training` end at or before `judged`, so that models judged there have seen nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutoffPlan {
    /// Cutoffs whose windows end by `judged`, oldest first; empty when the log is short.
    pub training: Vec<Day>,
    /// Cutoffs between the training ones and `judged`: used only for the final fit.
    pub overlapping: Vec<Day>,
    /// The cutoff of the newest complete window, on which candidates are judged.
    pub judged: Day,
}

impl CutoffPlan {
    /// Places cutoffs about a third of the horizon apart, back from the newest complete window.
    ///
    /// # Errors
    /// [`CutoffError::TooShort`] when not even one window fits after four weeks of history.
    pub fn new(first: Day, until: Day, horizon: Days) -> Result<Self, CutoffError> {
        let horizon_days = horizon.as_i32();
        let judged = until.plus(-horizon_days);
        let wanted = horizon_days + HISTORY_DAYS_MIN;
        let found = until.days_since(first) + 1;
        if found < wanted {
            return Err(CutoffError::TooShort { found, until, horizon, wanted });
        }
        let step = (horizon_days + 2) / 3;
        let mut training = Vec::new();
        let mut overlapping = Vec::new();
        let mut cutoff = judged.plus(-step);
        while cutoff.days_since(first) + 1 >= HISTORY_DAYS_MIN
            && training.len() + overlapping.len() < CUTOFFS_MAX
        {
            if judged.days_since(cutoff) >= horizon_days {
                training.push(cutoff);
            } else {
                overlapping.push(cutoff);
            }
            cutoff = cutoff.plus(-step);
        }
        training.reverse();
        overlapping.reverse();
        Ok(Self { training, overlapping, judged })
    }

    /// All cutoffs, oldest first: those of the final fit.
    #[must_use]
    pub fn all(&self) -> Vec<Day> {
        let mut all = self.training.clone();
        all.extend_from_slice(&self.overlapping);
        all.push(self.judged);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(first: &str, until: &str, horizon: i64) -> Result<CutoffPlan, CutoffError> {
        let day = |text| Day::parse(text).unwrap();
        CutoffPlan::new(day(first), day(until), Days::try_new(horizon).unwrap())
    }

    #[test]
    fn no_training_window_reaches_into_the_judged_one() {
        for (first, until, horizon) in [
            ("1997-01-01", "1997-09-30", 91),
            ("2017-01-01", "2017-11-30", 30),
            ("2020-01-01", "2023-06-30", 90),
        ] {
            let plan = plan(first, until, horizon).unwrap();
            let horizon = i32::try_from(horizon).unwrap();
            assert_eq!(plan.judged.plus(horizon), Day::parse(until).unwrap());
            for cutoff in &plan.training {
                assert!(cutoff.plus(horizon) <= plan.judged);
                assert!(cutoff.days_since(Day::parse(first).unwrap()) >= 27);
            }
            for cutoff in &plan.overlapping {
                assert!(*cutoff < plan.judged && cutoff.plus(horizon) > plan.judged);
            }
            assert!(plan.all().is_sorted());
        }
    }

    #[test]
    fn a_short_log_is_refused_with_what_it_would_need() {
        let message = plan("2026-01-01", "2026-01-03", 30).unwrap_err().to_string();
        assert!(message.contains("covers 3 days") && message.contains("at least 58"), "{message}");
    }

    #[test]
    fn a_log_of_one_window_has_no_training_cutoffs() {
        let plan = plan("2026-01-01", "2026-04-20", 60).unwrap();
        assert!(plan.training.is_empty());
    }
}
