//! What all services share: the engine that answers now, the store, its writer, the pool.
//!
//! In: what was opened at the start. Out: one consistent view a call: an engine and an instant.
//! Reading one state takes some 20 us from the cache and one disk read otherwise, so single
//! reads stay on the threads of the runtime; whatever takes longer goes to the pool.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use super::admission::Admission;
use super::clock::Clock;
use super::disk::Disk;
use super::export::Exports;
use super::limits::panic_error;
use super::metrics::Metrics;
use super::pb;
use super::pb::model_selector::Choice;
use super::remembered::Remembered;
use super::serving::{Answering, Served, Serving};
use super::shadow::Job;
use super::stats::Counting;
use super::status::ServeError;
use super::streams::Streams;
use super::switchboard::Switchboard;
use crate::config::ServeLimits;
use crate::domain::{CustomerId, Timestamp};
use crate::events::Rules;
use crate::store::{Appended, Commit, DecisionLog, DecisionLogError, StateStore, Writer};

/// How often a call lets others go first while another thread writes to the decision log, before
/// it waits: a write takes a few microseconds, unless the disk is stuck.
const LOG_TURNS: usize = 16;

/// What all services share.
pub(super) struct Live {
    /// Who answers whom.
    pub(super) serving: ArcSwap<Serving>,
    /// Changes it.
    pub(super) switchboard: Switchboard,
    /// Answers that wait for a shadow's.
    pub(super) shadows: mpsc::Sender<Job>,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) writer: Writer,
    pub(super) clock: Clock,
    pub(super) limits: ServeLimits,
    pub(super) pool: rayon::ThreadPool,
    /// Turns on the pool for chunks of streams beyond the first of each.
    pub(super) chunk_turns: Arc<Semaphore>,
    /// Directory of models.
    pub(super) models: PathBuf,
    /// Where decisions are logged, if they are.
    pub(super) decisions: Option<DecisionLog>,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// Who is at work and who waits.
    pub(super) admission: Arc<Admission>,
    /// Room for the store.
    pub(super) disk: Arc<Disk>,
    /// Whether the server is ending.
    pub(super) is_ending: AtomicBool,
    /// Rung when a write failed, so that health does not wait for its next look.
    pub(super) write_failed: Notify,
    /// The newest commit that changed a history: what is kept beside them is no news to a caller.
    pub(super) seen: AtomicU64,
    /// Customers whose events were stored, for the sweep.
    pub(super) changed: mpsc::Sender<CustomerId>,
    /// The commit of the newest change that was told.
    pub(super) told: watch::Sender<Commit>,
    /// Answers by the id of their request.
    pub(super) remembered: Remembered,
    /// Snapshots that are being sent.
    pub(super) exports: Arc<Exports>,
    /// What was counted of the whole base.
    pub(super) counting: Counting,
    /// Who may keep a stream open, and when they end.
    pub(super) streams: Streams,
}

/// What holds for one call from its first row to its last.
pub(super) struct Moment {
    /// Who answers whom.
    pub(super) serving: Arc<Serving>,
    /// The version that the request names, else the champion. What does not depend on the
    /// customer is asked of it; whoever answers for one is [`Moment::answering`].
    pub(super) served: Arc<Served>,
    /// Whether the request names it: then it answers for everybody.
    is_chosen: bool,
    /// The server's time when the call began.
    pub(super) now: Timestamp,
    /// The newest instant that anything may have.
    pub(super) newest_allowed: Timestamp,
    /// The snapshot that is read, or a newer one.
    pub(super) snapshot: String,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
}

impl Live {
    /// The champion.
    pub(super) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.serving.load().champion.served)
    }

    /// Fixes engine, instant and snapshot for one call.
    pub(super) fn moment(&self) -> Moment {
        let now = self.clock.now();
        let skew = i64::try_from(self.limits.clock_skew.as_micros()).unwrap_or(i64::MAX);
        let serving = self.serving.load_full();
        Moment {
            served: Arc::clone(&serving.champion.served),
            serving,
            is_chosen: false,
            now,
            newest_allowed: Timestamp::from_micros(now.micros().saturating_add(skew)),
            snapshot: self.snapshot(),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// The same, where the request may name who shall answer.
    pub(super) fn moment_of(
        &self,
        selector: Option<&pb::ModelSelector>,
    ) -> Result<Moment, ServeError> {
        let moment = self.moment();
        let (wanted, found) = match selector.and_then(|selector| selector.choice.as_ref()) {
            None => return Ok(moment),
            Some(Choice::Version(version)) => (version, moment.serving.named(version)),
            Some(Choice::Alias(alias)) => (alias, moment.serving.aliased(alias)),
        };
        match found.map(Arc::clone) {
            Some(served) => Ok(Moment { served, is_chosen: true, ..moment }),
            None => {
                let served = moment.served.model_version.clone();
                Err(ServeError::UnknownModel { wanted: wanted.clone(), served })
            }
        }
    }

    /// The snapshot that is read now, or an older one.
    pub(super) fn snapshot(&self) -> String {
        snapshot(Commit::from_seq(self.seen.load(Ordering::Acquire)))
    }

    /// Says that events of customers were stored by a commit. Those for whom the sweep has no room
    /// it finds on its next walk.
    pub(super) fn note_changed(
        &self,
        commit: Commit,
        customers: impl IntoIterator<Item = CustomerId>,
    ) {
        self.seen.fetch_max(commit.seq(), Ordering::AcqRel);
        for customer in customers {
            if self.changed.try_send(customer).is_err() {
                return;
            }
        }
    }

    /// Hands lines to the decision log, if there is one: what was decided is in it before the
    /// caller hears of it.
    pub(super) fn log_decisions(
        &self,
        lines: &[u8],
        n_lines: usize,
        moment: &Moment,
    ) -> Result<(), ServeError> {
        let Some(log) = self.decisions.as_ref().filter(|_| n_lines > 0) else { return Ok(()) };
        Self::logged(log, log.append(lines, n_lines as u64, moment.now), n_lines)
    }

    /// The same of one line, on a thread of the runtime: while another thread is at the log, it
    /// looks after other calls.
    pub(super) async fn log_decision(
        &self,
        line: Vec<u8>,
        moment: &Moment,
    ) -> Result<(), ServeError> {
        let Some(log) = self.decisions.as_ref().filter(|_| !line.is_empty()) else {
            return Ok(());
        };
        let mut appended = None;
        for _ in 0..LOG_TURNS {
            appended = log.try_append(&line, 1, moment.now);
            if appended.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let appended = appended.unwrap_or_else(|| log.append(&line, 1, moment.now));
        spare_line(line);
        Self::logged(log, appended, 1)
    }

    fn logged(
        log: &DecisionLog,
        appended: Result<Appended, DecisionLogError>,
        n_lines: usize,
    ) -> Result<(), ServeError> {
        match appended {
            Ok(Appended::Written) => Ok(()),
            Ok(Appended::Dropped) => {
                let total = log.n_dropped();
                // Once at the first and then ever more seldom: the count tells the rest.
                if total == n_lines as u64 || total.is_power_of_two() {
                    tracing::warn!(total, "the decision log has no room: decisions are dropped");
                }
                Ok(())
            }
            Err(error) => Err(Self::log_refused(&error)),
        }
    }

    fn log_refused(error: &DecisionLogError) -> ServeError {
        tracing::error!(%error, "a decision could not be logged and was not given out");
        ServeError::DecisionLogFull
    }

    /// Hands longer work to the pool, at once. Work whose caller has left is not begun; `work` is
    /// handed a flag that says whether the caller left meanwhile.
    pub(super) fn pooled<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, ServeError>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&AtomicBool) -> Result<T, ServeError> + Send + 'static,
    {
        let left = Arc::new(AtomicBool::new(false));
        let guard = SetOnDrop(Arc::clone(&left));
        let (done, answer) = oneshot::channel();
        // What is logged on the pool belongs to the call as well.
        let span = tracing::Span::current();
        self.pool.spawn(move || {
            let _in_span = span.enter();
            if left.load(Ordering::Relaxed) {
                return;
            }
            // A panic on the pool would end the process; what it left half-done is dropped here.
            let result = catch_unwind(AssertUnwindSafe(|| work(&left)));
            let _ = done.send(result.unwrap_or_else(|panicked| Err(panic_error(&*panicked))));
        });
        async move {
            let _guard = guard;
            answer.await.unwrap_or_else(|_| Err(ServeError::internal("the pool gave no answer")))
        }
    }
}

thread_local! {
    /// Room for the next line of this thread: lines are longer than what the allocator keeps at
    /// hand.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Room for a line of the decision log.
pub(super) fn room_for_line() -> Vec<u8> {
    SPARE.take()
}

/// Keeps a line's room for the next one.
fn spare_line(mut line: Vec<u8>) {
    line.clear();
    SPARE.set(line);
}

/// A commit as clients see it.
pub(super) fn snapshot(commit: Commit) -> String {
    format!("s{}", commit.seq())
}

impl Moment {
    /// Who answers for a customer.
    pub(super) fn answering(&self, customer: &str) -> Answering<'_> {
        if self.is_chosen {
            return Answering { served: &self.served, arm: "", answers: None };
        }
        self.serving.answering(customer)
    }

    /// Refuses a call that wants a history where rows of a table are scored.
    pub(super) fn require_log(&self, wanted: &'static str) -> Result<(), ServeError> {
        if self.served.engine.table_inputs().is_none() {
            return Ok(());
        }
        Err(ServeError::TableModel { wanted, served: self.served.model_version.clone() })
    }

    /// The rules for events of this call.
    pub(super) fn rules(&self, id_required: bool) -> Rules {
        let engine = &self.served.engine;
        let currency = engine.currency();
        Rules {
            zone: engine.zone().clone(),
            newest_allowed: Some(self.newest_allowed),
            default_currency: currency,
            // Amounts of several currencies cannot be added; a log that named none takes any.
            only_currency: (currency != crate::domain::Currency::NONE).then_some(currency),
            id_required,
            ..Rules::default()
        }
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
