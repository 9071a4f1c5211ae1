//! Who may begin now, who waits, and who is told at once to come again.
//!
//! In: calls by class, each with the time its caller still gives it, and how long calls took. Out:
//! a permit now or later, or a refusal. Each class has a line of its own, first come, first
//! served, so that a batch never waits behind a crowd of single scores or the other way round.
//!
//! How many calls of a class work at once follows their own times: while they take about as long
//! as undisturbed ones, more are let in; when they take longer, the machine is full and fewer are
//! (a gradient, as networks find their speed). Waiting is then outside, where it can be counted:
//! a caller whose time would be over before its turn is refused on arrival, and looked at once
//! more when its turn comes. Work for callers who have left is what brings an overloaded server
//! down.
//!
//! Before all this a call that has been read waits until a thread looks at it. Short calls never
//! work beside each other on one thread, so where they are too many this is the only place where
//! they pile up. How long each waited there is handed in. A burst may take half of its callers'
//! time; once that was too little, whoever waited longer than a moment is refused, until nobody
//! has for a second. It deliberately knows no request.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::methods::Class;
use super::metrics::Refusal;
use super::throttle::{OPEN, Throttle};

/// Nobody waits longer than this for a turn, whatever time the caller gives.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A window of times is judged once it has so many, and lasted so long.
const WINDOW_CALLS: u32 = 16;
const WINDOW_TIME: Duration = Duration::from_millis(50);
/// Calls may take so many times what undisturbed ones take before fewer are let in.
const TOLERANCE: f64 = 1.5;
/// How fast what counts as undisturbed follows calls that really became longer, such as those of
/// a larger model: by so much of itself a second, so that a minute of overload changes little.
const DRIFT: f64 = 0.02;
/// At the smallest limit nothing is gained by letting in fewer: then it follows by so much of the
/// difference a window.
const DRIFT_AT_FLOOR: f64 = 0.1;
/// A call is let into the line if its time allows for so many times what is expected of it: one
/// that waited and is then given up cost its caller the time, which a refusal at once does not.
const MARGIN: f64 = 1.5;
/// Weight of the newest call in the time that is expected of the next.
const RECENT: f64 = 0.1;
/// A burst may wait so long to be looked at, or half of the time its callers give it.
const BURST_MAX: Duration = Duration::from_millis(50);
/// Where calls keep coming faster than they are looked at, they may wait so long: refusals, which
/// wait as well, then come within 5 ms.
const STANDING_MAX: Duration = Duration::from_millis(2);
/// How long after the last refusal calls count as coming too fast.
const STANDING_TIME: Duration = Duration::from_secs(1);
/// Calls of people and tools at once.
const ADMIN_CALLS: usize = 16;

/// Within what a class's limit moves.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    floor: usize,
    ceiling: usize,
    /// Whether it follows the times of calls, or stays at the ceiling.
    follows: bool,
    /// Whether calls may wait.
    waits: bool,
}

/// How long calls take, and what limit follows from it.
#[derive(Debug)]
struct Pace {
    limit: f64,
    /// Time of an undisturbed call, in seconds; 0: none was seen.
    undisturbed: f64,
    /// Time expected of the next call, in seconds.
    expected: f64,
    /// Of the window that is being filled: seconds, calls, most at work, its beginning.
    sum: f64,
    n: u32,
    n_working_max: usize,
    began: Option<Instant>,
}

impl Pace {
    fn new(bounds: Bounds) -> Self {
        // From below: what the first calls take is then what undisturbed ones take.
        let limit = if bounds.follows { bounds.floor } else { bounds.ceiling };
        Self {
            limit: count(limit),
            undisturbed: 0.0,
            expected: 0.0,
            sum: 0.0,
            n: 0,
            n_working_max: 0,
            began: None,
        }
    }

    /// Notes the time of a call that ended while so many were at work.
    fn note(&mut self, time: Duration, n_working: usize, now: Instant, bounds: Bounds) {
        let seconds = time.as_secs_f64();
        self.expected = if self.expected > 0.0 {
            self.expected + RECENT * (seconds - self.expected)
        } else {
            seconds
        };
        self.sum += seconds;
        self.n += 1;
        self.n_working_max = self.n_working_max.max(n_working);
        let began = *self.began.get_or_insert(now);
        if self.n < WINDOW_CALLS || now - began < WINDOW_TIME {
            return;
        }
        let mean = self.sum / f64::from(self.n);
        if bounds.follows {
            self.follow(mean, (now - began).as_secs_f64(), bounds);
        }
        (self.sum, self.n, self.n_working_max, self.began) = (0.0, 0, 0, None);
    }

    fn follow(&mut self, mean: f64, window: f64, bounds: Bounds) {
        let is_least = self.limit <= count(bounds.floor);
        self.undisturbed = if self.undisturbed == 0.0 || mean < self.undisturbed {
            mean
        } else if is_least {
            self.undisturbed + DRIFT_AT_FLOOR * (mean - self.undisturbed)
        } else {
            mean.min(self.undisturbed * (1.0 + DRIFT * window))
        };
        let gradient = (TOLERANCE * self.undisturbed / mean).clamp(0.5, 1.0);
        // Room for a queue as short as the square root keeps the limit looking upward.
        let aim = self.limit * gradient + self.limit.sqrt();
        let is_used = 2.0 * count(self.n_working_max) >= self.limit;
        if aim < self.limit || is_used {
            let next = 0.7 * self.limit + 0.3 * aim;
            self.limit = next.clamp(count(bounds.floor), count(bounds.ceiling));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
const fn count(n: usize) -> f64 {
    n as f64
}

#[derive(Debug)]
struct Line {
    /// Until when calls count as coming faster than they are looked at.
    standing: Option<Instant>,
    pace: Pace,
    throttle: Throttle,
    n_working: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

impl Line {
    fn has_room(&self) -> bool {
        count(self.n_working) < self.pace.limit.floor().max(1.0)
    }

    /// How long one more would wait for its turn.
    fn wait(&self) -> Duration {
        let ahead = count(self.waiting.len() + 1) * self.pace.expected / self.pace.limit.max(1.0);
        Duration::try_from_secs_f64(ahead).unwrap_or(WAIT_MAX)
    }
}

/// The line of one class.
#[derive(Debug)]
struct Door {
    bounds: Bounds,
    line: Mutex<Line>,
    /// What the turnstile lets pass, of [`OPEN`].
    share: AtomicU32,
    is_calm: AtomicBool,
}

impl Door {
    fn new(bounds: Bounds, n_threads: usize) -> Arc<Self> {
        let bounds = Bounds { floor: bounds.floor.clamp(1, bounds.ceiling), ..bounds };
        let (pace, waiting) = (Pace::new(bounds), VecDeque::new());
        let throttle = Throttle::new(n_threads);
        let line = Line { standing: None, pace, throttle, n_working: 0, waiting };
        let (share, is_calm) = (AtomicU32::new(OPEN), AtomicBool::new(true));
        Arc::new(Self { bounds, line: Mutex::new(line), share, is_calm })
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing in here panics between two changes of the line.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, line: &Line, time_left: Duration) -> Option<Refusal> {
        if line.has_room() && line.waiting.is_empty() {
            return None;
        }
        if !self.bounds.waits || line.waiting.len() >= self.bounds.ceiling {
            return Some(Refusal::Full);
        }
        let wait = line.wait();
        if wait > WAIT_MAX {
            return Some(Refusal::Full);
        }
        let time = Duration::try_from_secs_f64(MARGIN * line.pace.expected).unwrap_or(WAIT_MAX);
        (wait + time > time_left).then_some(Refusal::TooLate)
    }

    /// Judges what passes the turnstile, if it is time to.
    fn tick(&self, line: &mut Line, now: Instant) {
        if line.throttle.tick(now) {
            self.share.store(line.throttle.share(), Ordering::Relaxed);
            self.is_calm.store(line.throttle.is_calm(), Ordering::Relaxed);
        }
    }

    fn look_at(&self, waited: Duration, time_left: Duration) -> Option<Refusal> {
        let (mut line, now) = (self.lock(), Instant::now());
        self.tick(&mut line, now);
        let is_standing = line.standing.is_some_and(|until| now < until);
        let most = if is_standing { STANDING_MAX } else { BURST_MAX.min(time_left / 2) };
        if waited > most {
            line.standing = Some(now + STANDING_TIME);
            return Some(if is_standing { Refusal::Full } else { Refusal::TooLate });
        }
        self.refusal(&line, time_left)
    }

    fn enter(self: &Arc<Self>, time_left: Duration) -> Result<Turn, Refusal> {
        let mut line = self.lock();
        if line.waiting.len() >= self.bounds.ceiling {
            line.waiting.retain(|waiting| !waiting.is_closed());
        }
        if let Some(refusal) = self.refusal(&line, time_left) {
            return Err(refusal);
        }
        if line.has_room() && line.waiting.is_empty() {
            line.n_working += 1;
            return Ok(Turn::Now(self.permit()));
        }
        let (turn, waiting) = oneshot::channel();
        line.waiting.push_back(turn);
        Ok(Turn::Later(waiting))
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { door: Some(Arc::clone(self)), began: Instant::now(), is_timed: false }
    }

    /// One call less is at work; `time` is how long it took, where that says something.
    fn leave(self: &Arc<Self>, time: Option<Duration>) {
        let mut called = Vec::new();
        let mut line = self.lock();
        if let Some(time) = time {
            let n_working = line.n_working;
            line.throttle.answered();
            line.pace.note(time, n_working, Instant::now(), self.bounds);
        }
        line.n_working = line.n_working.saturating_sub(1);
        while line.has_room() {
            let Some(next) = line.waiting.pop_front() else { break };
            if !next.is_closed() {
                line.n_working += 1;
                called.push(next);
            }
        }
        drop(line);
        // Outside of the lock: a caller that has just left hands the permit back, which locks.
        for next in called {
            drop(next.send(self.permit()));
        }
    }
}

/// May begin now, or when it is called.
pub(super) enum Turn {
    /// Now.
    Now(Permit),
    /// When the permit comes.
    Later(oneshot::Receiver<Permit>),
}

/// May be at work until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    door: Option<Arc<Door>>,
    began: Instant,
    is_timed: bool,
}

impl Permit {
    /// The call ended by itself: its time says how fast the machine is. One that was cut off or
    /// refused says nothing.
    pub(super) fn done(mut self) {
        self.is_timed = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.leave(self.is_timed.then(|| self.began.elapsed()));
        }
    }
}

/// How a class stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Calls at work.
    pub(super) n_working: usize,
    /// Calls that wait.
    pub(super) n_waiting: usize,
    /// Most at work.
    pub(super) limit: usize,
}

/// The lines of all classes.
#[derive(Debug)]
pub(super) struct Admission {
    doors: [Arc<Door>; Class::ALL.len()],
}

impl Admission {
    /// Lines of at most so many calls at work a class, on a machine of so many threads.
    pub(super) fn new(calls_max: usize, n_threads: usize) -> Self {
        let n_threads = n_threads.max(1);
        let bounds = |floor: usize, ceiling: usize, follows, waits| Bounds {
            floor,
            ceiling: ceiling.min(calls_max).max(1),
            follows,
            waits,
        };
        Self {
            doors: Class::ALL.map(|class| {
                let bounds = match class {
                    Class::Interactive => bounds(4 * n_threads, calls_max, true, true),
                    // Commits share one sync: the more wait for it, the cheaper each is.
                    Class::Intake => bounds(1, calls_max, false, true),
                    // More at once than threads only wait for each other in the pool.
                    Class::Batch => bounds(n_threads, 4 * n_threads, true, true),
                    Class::Explain => bounds(n_threads, 4 * n_threads, true, true),
                    Class::Admin => bounds(1, ADMIN_CALLS, false, true),
                    Class::Stream => bounds(1, calls_max, false, false),
                };
                Door::new(bounds, n_threads)
            }),
        }
    }

    /// Whether a call that waited so long to be looked at is refused, before anything of it is
    /// read; `time_left` is what its caller gave it.
    pub(super) fn look_at(
        &self,
        class: Class,
        waited: Duration,
        time_left: Duration,
    ) -> Option<Refusal> {
        self.doors[class.idx()].look_at(waited, time_left)
    }

    /// Takes a place for a call that has so much time left, or one in the line.
    pub(super) fn enter(&self, class: Class, time_left: Duration) -> Result<Turn, Refusal> {
        self.doors[class.idx()].enter(time_left)
    }

    /// Whether a call whose turn has come can still be answered in the time that is left.
    pub(super) fn is_worth_it(&self, class: Class, time_left: Duration) -> bool {
        self.doors[class.idx()].lock().pace.expected < time_left.as_secs_f64()
    }

    /// A call was refused, here or by the gate.
    pub(super) fn refused(&self, class: Class) {
        // The turnstile turns neither away, so there is nothing to close it for.
        if !matches!(class, Class::Stream | Class::Admin) {
            self.doors[class.idx()].lock().throttle.refused();
        }
    }

    /// A call was refused for who called: with it the server is done as with one it answered. Did
    /// it not count, those with no key could keep the turnstile closed while others would be
    /// answered.
    pub(super) fn dealt_with(&self, class: Class) {
        self.doors[class.idx()].lock().throttle.answered();
    }

    /// Calls were turned away before they came here.
    pub(super) fn turned_away(&self, class: Class, n: u32) {
        self.doors[class.idx()].lock().throttle.turned_away(n);
    }

    /// Whether calls of all classes have passed the turnstile for a while.
    pub(super) fn is_calm(&self) -> bool {
        self.doors.iter().all(|door| door.is_calm.load(Ordering::Relaxed))
    }

    /// What share of each class may pass the turnstile now, of [`OPEN`].
    pub(super) fn shares(&self) -> [u32; Class::ALL.len()] {
        let now = Instant::now();
        Class::ALL.map(|class| {
            let door = &self.doors[class.idx()];
            // Where nobody passes, nobody else looks at the time.
            if !door.is_calm.load(Ordering::Relaxed) {
                door.tick(&mut door.lock(), now);
            }
            door.share.load(Ordering::Relaxed)
        })
    }

    /// How a class stands.
    pub(super) fn look(&self, class: Class) -> Look {
        let line = self.doors[class.idx()].lock();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and the ceiling, which is a number of calls"
        )]
        let limit = line.pace.limit as usize;
        Look { n_working: line.n_working, n_waiting: line.waiting.len(), limit }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
