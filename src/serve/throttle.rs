//! What share of a class's calls passes the turnstile, from what becomes of them.
//!
//! In: how many calls were answered, refused by admission, and turned away before it, with the
//! time. Out: the share of those to come that may pass. Admission decides, this remembers: a call
//! that it would refuse anyway is turned away where that costs next to nothing.
//!
//! So many pass as were answered in the last window, and so many more as admission can refuse for
//! a small part of the machine's time: they fill its lines, and show when more can be answered. As
//! long as none of them is refused, more pass from window to window; where no more come than were
//! answered when the server was full, all pass. This is akin to the
//! adaptive throttling of "Site Reliability Engineering" (Beyer and others, 2016, chapter 21),
//! which clients do there. It deliberately knows no connection and reads no clock.

use std::time::Duration;

use tokio::time::Instant;

/// All pass.
pub(super) const OPEN: u32 = 1 << 16;
/// Counts are judged once they are of so long a time.
const WINDOW: Duration = Duration::from_millis(20);
/// So many calls a second and thread are left to admission to refuse: at 10 us each, 1 % of the
/// time, and 4 % where each asks for hundreds of customers. Without optimisation each costs ten
/// times as much.
const SURPLUS: f64 = if cfg!(debug_assertions) { 300.0 } else { 1_000.0 };
/// So many times those answered pass at least: where the window had refusals, and after one, two,
/// and more windows without.
const MORE: [f64; 4] = [1.0, 1.1, 1.2, 1.5];
/// From window to window the share falls at most to so much of itself: a moment in which the
/// machine did something else is soon over.
const FALL: f64 = 0.5;
/// Weight of the newest window in the pace.
const RECENT: f64 = 0.3;
/// Some always pass, or nobody would see that more can.
const SHARE_MIN: f64 = 0.02;
/// All is calm once all have passed for so long.
const CALM_AFTER: Duration = Duration::from_secs(5);

/// The counts of one class.
#[derive(Debug)]
pub(super) struct Throttle {
    n_threads: f64,
    began: Option<Instant>,
    answered: u32,
    refused: u32,
    turned_away: u32,
    /// Of the share that passes: none while all do.
    share: Option<f64>,
    n_clear: usize,
    /// Calls answered a second when there were more than that, of late.
    pace: f64,
    /// Until when it is not calm.
    alert: Option<Instant>,
}

impl Throttle {
    /// For a machine of so many threads.
    pub(super) fn new(n_threads: usize) -> Self {
        Self {
            n_threads: f64::from(u32::try_from(n_threads.max(1)).unwrap_or(u32::MAX)),
            began: None,
            answered: 0,
            refused: 0,
            turned_away: 0,
            share: None,
            n_clear: 0,
            pace: 0.0,
            alert: None,
        }
    }

    /// A call was answered.
    pub(super) const fn answered(&mut self) {
        self.answered = self.answered.saturating_add(1);
    }

    /// Admission refused a call.
    pub(super) const fn refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    /// Calls were turned away before it.
    pub(super) const fn turned_away(&mut self, n: u32) {
        self.turned_away = self.turned_away.saturating_add(n);
    }

    /// Judges the window, if it is over. True if something has changed.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) < WINDOW {
            return false;
        }
        let before = (self.share.map(f64::to_bits), self.alert.is_some());
        self.share = self.next((now - began).as_secs_f64());
        if self.share.is_some() {
            self.alert = Some(now + CALM_AFTER);
        } else if self.alert.is_some_and(|until| until <= now) {
            self.alert = None;
        }
        (self.began, self.answered, self.refused, self.turned_away) = (Some(now), 0, 0, 0);
        before != (self.share.map(f64::to_bits), self.alert.is_some())
    }

    fn next(&mut self, seconds: f64) -> Option<f64> {
        let n_not = self.refused.saturating_add(self.turned_away);
        let surplus = SURPLUS * self.n_threads * seconds;
        if f64::from(n_not) < surplus {
            self.n_clear = 0;
            return None;
        }
        let answered = f64::from(self.answered);
        if self.refused == 0 {
            self.n_clear += 1;
            if answered + f64::from(n_not) <= self.pace * seconds {
                return None;
            }
        } else {
            let weight = if self.pace > 0.0 { RECENT } else { 1.0 };
            self.pace += weight * (answered / seconds - self.pace);
            self.n_clear = 0;
        }
        let more = MORE[self.n_clear.min(MORE.len() - 1)];
        let pass = (more * answered).max(answered + surplus);
        let share = pass / (answered + f64::from(n_not));
        let least = self.share.map_or(0.0, |share| FALL * share).max(SHARE_MIN);
        let share = share.max(least);
        (share < 1.0).then_some(share)
    }

    /// The share that may pass, of [`OPEN`].
    pub(super) fn share(&self) -> u32 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is between 0 and 1"
        )]
        self.share.map_or(OPEN, |share| (share * f64::from(OPEN)) as u32)
    }

    /// Whether all have passed for a while.
    pub(super) const fn is_calm(&self) -> bool {
        self.alert.is_none()
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
