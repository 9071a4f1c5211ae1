//! One sync for all who wait for one.
//!
//! In: the number of a commit that the engine has taken. Out: word that the log up to it is as
//! durable as the store promises, or that it may not be. Whoever finds nobody at it syncs, for
//! all commits that the engine has taken by then; whoever comes meanwhile waits, and the first of
//! them syncs for the others. Commits are taken in the order of their numbers, so what is durable
//! is always a beginning of them.
//!
//! After a sync that failed nothing is acknowledged any more: what the engine holds in memory is
//! then not what is on disk, and only a new opening tells. It deliberately knows no engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::super::StoreError;

/// What is durable, and who is making more of it so.
#[derive(Debug)]
pub(super) struct Durable {
    upto: AtomicU64,
    failure: OnceLock<String>,
    is_syncing: Mutex<bool>,
    changed: Condvar,
}

impl Durable {
    /// Everything up to this commit is durable.
    pub(super) fn new(upto: u64) -> Self {
        Self {
            upto: AtomicU64::new(upto),
            failure: OnceLock::new(),
            is_syncing: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// The newest commit that is durable, and all before it.
    pub(super) fn upto(&self) -> u64 {
        self.upto.load(Ordering::Acquire)
    }

    /// Everything up to this commit is durable now.
    pub(super) fn reached(&self, commit: u64) {
        self.upto.fetch_max(commit, Ordering::AcqRel);
    }

    /// Why nothing is acknowledged any more, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Nothing is acknowledged from now on. The first cause is the one worth keeping.
    pub(super) fn fail(&self, cause: String) {
        let _ = self.failure.set(cause);
        self.changed.notify_all();
    }

    /// An error once nothing is acknowledged any more.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.failure() {
            Some(cause) => Err(StoreError::ReadOnly { cause: cause.to_owned() }),
            None => Ok(()),
        }
    }

    /// Waits until a commit is durable. `sync` makes durable what the engine has taken, and
    /// answers the newest commit of it; it is called if nobody else is at it.
    pub(super) fn reach(
        &self,
        commit: u64,
        sync: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        let mut is_syncing = self.lock();
        loop {
            if self.upto() >= commit {
                return Ok(());
            }
            self.check()?;
            if !*is_syncing {
                break;
            }
            is_syncing = self.changed.wait(is_syncing).unwrap_or_else(PoisonError::into_inner);
        }
        *is_syncing = true;
        drop(is_syncing);
        let mut turn = Turn { of: self, is_done: false };
        let synced = sync();
        turn.is_done = true;
        match synced {
            Ok(upto) => {
                debug_assert!(upto >= commit, "the engine had taken it");
                self.reached(upto);
                Ok(())
            }
            Err(error) => {
                self.fail(error.to_string());
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A flag is never half-written.
        self.is_syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who syncs; hands the turn on, whatever becomes of it.
struct Turn<'a> {
    of: &'a Durable,
    is_done: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.of.fail("a thread stopped in the middle of a sync".to_owned());
        }
        *self.of.lock() = false;
        self.of.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, Barrier, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn who_comes_while_another_syncs_shares_the_next_one() {
        const N_WAITING: u64 = 8;
        let durable = Arc::new(Durable::new(0));
        let (began, has_begun) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let first = {
            let durable = Arc::clone(&durable);
            thread::spawn(move || {
                durable.reach(1, || {
                    began.send(()).unwrap();
                    may_end.recv().unwrap();
                    Ok(1)
                })
            })
        };
        has_begun.recv().unwrap();
        let (n_syncs, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(9)));
        let waiting: Vec<_> = (2..2 + N_WAITING)
            .map(|commit| {
                let (durable, n_syncs) = (Arc::clone(&durable), Arc::clone(&n_syncs));
                let all = Arc::clone(&all);
                thread::spawn(move || {
                    all.wait();
                    durable.reach(commit, || {
                        n_syncs.fetch_add(1, Ordering::SeqCst);
                        Ok(1 + N_WAITING)
                    })
                })
            })
            .collect();
        all.wait();
        assert_eq!(durable.upto(), 0, "nothing is acknowledged before its sync");
        end.send(()).unwrap();
        first.join().unwrap().unwrap();
        waiting.into_iter().for_each(|waiting| waiting.join().unwrap().unwrap());
        assert_eq!((n_syncs.load(Ordering::SeqCst), durable.upto()), (1, 1 + N_WAITING));
    }

    #[test]
    fn after_a_failure_only_what_was_durable_is_acknowledged() {
        let durable = Durable::new(3);
        let failed = durable.reach(4, || Err(StoreError::NoSuchShard { found: 9 }));
        assert!(matches!(failed, Err(StoreError::NoSuchShard { .. })));
        assert!(matches!(durable.reach(5, || Ok(5)), Err(StoreError::ReadOnly { .. })));
        durable.reach(3, || Ok(9)).unwrap();
        assert_eq!(durable.upto(), 3);
    }

    #[test]
    fn a_panic_in_a_sync_leaves_nobody_waiting() {
        let durable = Arc::new(Durable::new(0));
        let other = Arc::clone(&durable);
        #[allow(clippy::panic, reason = "that is what is tried")]
        let panicked = thread::spawn(move || other.reach(1, || panic!("the engine gave up")));
        assert!(panicked.join().is_err());
        assert!(matches!(durable.reach(1, || Ok(1)), Err(StoreError::ReadOnly { .. })));
    }
}
