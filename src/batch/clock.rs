//! The one place of the batch programs that reads a clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// The time now: what tells the future of a log apart.
#[allow(clippy::disallowed_methods, reason = "the batch programs' edge: read here alone")]
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// How fast something goes and how long it will take, for a person who waits.
pub(super) struct Pace<'p> {
    /// 0 where nobody knows.
    n_all: u64,
    n_done: AtomicU64,
    began: Instant,
    progress: Mutex<&'p mut (dyn FnMut(&str) + Send)>,
}

impl<'p> Pace<'p> {
    /// Begins now.
    #[allow(clippy::disallowed_methods, reason = "the batch programs' edge: no result sees it")]
    pub(super) fn new(n_all: u64, progress: &'p mut (dyn FnMut(&str) + Send)) -> Self {
        let (n_done, began) = (AtomicU64::new(0), Instant::now());
        Self { n_all, n_done, began, progress: Mutex::new(progress) }
    }

    /// So many more are done.
    pub(super) fn step(&self, n_more: u64, say: impl Fn(u64, u64) -> String) {
        let n_done = self.n_done.fetch_add(n_more, Ordering::Relaxed) + n_more;
        self.tell(n_done, say);
    }

    /// So many are done.
    pub(super) fn reach(&self, n_done: u64, say: impl Fn(u64, u64) -> String) {
        self.n_done.store(n_done, Ordering::Relaxed);
        self.tell(n_done, say);
    }

    /// Tells, unless another thread just does.
    fn tell(&self, n_done: u64, say: impl Fn(u64, u64) -> String) {
        let Ok(mut progress) = self.progress.try_lock() else { return };
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = n_done as f64 / seconds.max(1e-3);
        let mut text = format!("{}, {rate:.0}/s", say(n_done, self.n_all));
        if let Some(n_left) = self.n_all.checked_sub(n_done).filter(|left| *left > 0)
            && n_done > 0
        {
            text.push_str(&format!(", {:.0} s left", n_left as f64 / rate));
        }
        progress(&text);
    }
}
