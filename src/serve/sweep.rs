//! The sweep: silence is an event, too.
//!
//! In: customers whose events have just been stored, and, again and again, all customers of the
//! store, at a bounded rate. Out: turns, for those whose tier, segment or heartbeat is another one
//! than before; the store keeps them in order for whoever watches. It is the only writer of
//! standings, so each change is told once. What it does not come to when events pour in, the next
//! walk over the store finds.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::forget::{Limit, Silent};
use super::live::{Live, Moment};
use super::scoring_service::as_of;
use super::status::ServeError;
use crate::domain::CustomerId;
use crate::history::History;
use crate::scoring::{Answer, Cause, Standing, TransitionV1};
use crate::store::{
    Commit, N_SHARDS, NOTICE_BYTES_MAX, OWN_SOURCES, ScanRange, Turn, Watermark, WriteError,
};

/// Customers whose events were stored and who wait for a look; more are left to the next walk.
pub(super) const CHANGED_MAX: usize = 50_000;
/// Customers looked at together after events.
const CHANGED_CHUNK: usize = 256;
/// Turns of one commit: each is two of its thousand operations.
const TURNS_MAX: usize = 400;
/// Notices kept for those who were away.
const NOTICES_KEPT: usize = 100_000;
/// Wait after a failure, such as a store that takes no writes.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// Looks at customers until the server ends.
pub(super) async fn run(live: Arc<Live>, mut changed: mpsc::Receiver<CustomerId>, known: Known) {
    let rate = live.limits.sweep_rate;
    if rate == 0 || live.moment().require_log("").is_err() {
        return;
    }
    let mut ending = live.streams.ended();
    let mut walk = Walk {
        shard: 0,
        is_known: known.all,
        is_marked: known.is_marked,
        silent: Silent::default(),
    };
    if walk.is_known
        && let Err(error) = walk.mark(&live).await
    {
        tracing::warn!(reason = ?error.to_status().message(), "the sweep was held up");
    }
    let mut next = pin!(sleep(Duration::ZERO));
    let mut waiting = Vec::with_capacity(CHANGED_CHUNK);
    loop {
        let looked = tokio::select! {
            biased;
            () = &mut ending => return,
            n = changed.recv_many(&mut waiting, CHANGED_CHUNK) => {
                if n == 0 {
                    return;
                }
                let mut customers = std::mem::take(&mut waiting);
                customers.sort_unstable();
                customers.dedup();
                look_at_changed(&live, customers, walk.is_known).await
            }
            () = &mut next => {
                let looked = walk.step(&live).await;
                let pause =
                    if walk.shard == 0 { live.limits.sweep_pause } else { Duration::ZERO };
                next.as_mut().reset(Instant::now() + pause);
                looked
            }
        };
        let pause = match looked {
            Ok(n_customers) => Duration::from_secs(n_customers) / rate,
            Err(error) => {
                tracing::warn!(reason = ?error.to_status().message(), "the sweep was held up");
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = &mut ending => return,
            () = sleep(pause) => {}
        }
    }
}

/// The mark that every customer has been looked at once: from then on one without a standing is
/// new, and told.
fn known_mark() -> Watermark {
    Watermark { source: known_source(), position: 1 }
}

fn known_source() -> String {
    format!("{OWN_SOURCES}standings")
}

/// Whether every customer is known, and whether that is marked. Nobody is unknown in an empty
/// store. To be asked before events come in.
pub(super) fn known(live: &Live) -> Known {
    let is_marked = live.store.watermarks().is_ok_and(|marks| marks.contains_key(&known_source()));
    let is_empty = live.store.count().is_ok_and(|n_customers| n_customers == 0);
    Known { all: is_marked || is_empty, is_marked }
}

/// What is known of standings when the server starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    all: bool,
    is_marked: bool,
}

/// A walk over all customers, shard by shard.
struct Walk {
    shard: u16,
    is_known: bool,
    is_marked: bool,
    silent: Silent,
}

impl Walk {
    /// Looks at one shard, and answers how many customers it has.
    async fn step(&mut self, live: &Arc<Live>) -> Result<u64, ServeError> {
        let (own, shard, is_known) = (Arc::clone(live), self.shard, self.is_known);
        let limit = self.silent.limit(live, &live.moment());
        let look = move |left: &AtomicBool| look_at_shard(&own, (shard, limit), is_known, left);
        let looked = live.pooled(look).await?;
        let n_customers = looked.n_customers;
        self.silent.note(looked.silent);
        commit(live, looked.turns, Vec::new()).await?;
        self.shard = (self.shard + 1) % N_SHARDS;
        if self.shard == 0 {
            self.end(live).await?;
        }
        Ok(n_customers)
    }

    async fn mark(&mut self, live: &Live) -> Result<(), ServeError> {
        if !self.is_marked {
            commit(live, Vec::new(), vec![known_mark()]).await?;
        }
        (self.is_known, self.is_marked) = (true, true);
        Ok(())
    }

    async fn end(&mut self, live: &Arc<Live>) -> Result<(), ServeError> {
        self.mark(live).await?;
        self.silent.forget(live).await?;
        let store = Arc::clone(&live.store);
        live.pooled(move |_| Ok(store.prune_notices(NOTICES_KEPT)?)).await?;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Looked {
    n_customers: u64,
    turns: Vec<Turn>,
    silent: Vec<(CustomerId, u64)>,
}

async fn look_at_changed(
    live: &Arc<Live>,
    customers: Vec<CustomerId>,
    is_known: bool,
) -> Result<u64, ServeError> {
    let own = Arc::clone(live);
    let looked = live
        .pooled(move |left| {
            let (moment, mut looked) = (own.moment(), Looked::default());
            for customer in customers {
                if left.load(Ordering::Relaxed) {
                    break;
                }
                looked.n_customers += 1;
                let Some(state) = own.store.get(&customer)? else { continue };
                let found = look(&moment, &customer, &state.bytes);
                looked.turns.extend(turn(&own, found, (Cause::Events, is_known), &moment)?);
            }
            Ok(looked)
        })
        .await?;
    let n_customers = looked.n_customers;
    commit(live, looked.turns, Vec::new()).await?;
    Ok(n_customers)
}

fn look_at_shard(
    live: &Live,
    (shard, limit): (u16, Option<Limit>),
    is_known: bool,
    left: &AtomicBool,
) -> Result<Looked, ServeError> {
    let moment = live.moment();
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    let n_customers = live.store.scan(ScanRange::Shard(shard), &mut |customer, state| {
        if let Some(version) = limit.and_then(|limit| limit.silent(&state)) {
            silent.push((customer.clone(), version));
        }
        found.push(look(&moment, customer, &state.bytes));
        if left.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let mut looked = Looked { n_customers, turns: Vec::new(), silent };
    for found in found {
        looked.turns.extend(turn(live, found, (Cause::Time, is_known), &moment)?);
    }
    Ok(looked)
}

/// What is said of a customer now; none for a history that cannot be read.
fn look<'m>(moment: &'m Moment, customer: &CustomerId, bytes: &[u8]) -> Option<Answer<'m>> {
    let history = History::from_bytes(bytes)
        .inspect_err(|error| tracing::error!(%error, "a stored history cannot be read"))
        .ok()?;
    let as_of = as_of(None, &history, moment);
    moment.answering(customer.as_str()).served.engine.answer(customer, &history, as_of, false).ok()
}

/// The turn of a customer, if the standing is another one than before.
fn turn(
    live: &Live,
    found: Option<Answer<'_>>,
    (cause, is_known): (Cause, bool),
    moment: &Moment,
) -> Result<Option<Turn>, ServeError> {
    let Some(answer) = found else { return Ok(None) };
    let served = moment.answering(answer.customer.as_str()).served;
    let (after, judge) = (Standing::of(&answer), served.engine.judge());
    let stored = live.store.standing(&answer.customer)?;
    let before = stored.as_deref().and_then(Standing::from_bytes);
    let told = match before {
        Some((before, who)) if before == after && who == judge => return Ok(None),
        // Another judge sees the same: nobody needs to hear it.
        Some((before, _)) if before == after => None,
        Some((before, who)) => {
            Some((Some(before), if who == judge { cause } else { Cause::Model }))
        }
        None => is_known.then_some((None, cause)),
    };
    let notice = told.map(|(before, cause)| {
        let mut record = TransitionV1::new(&answer, before, cause, &served.model_version);
        let bytes = record.to_bytes();
        if bytes.len() <= NOTICE_BYTES_MAX {
            return bytes;
        }
        record.tier_reasons.clear();
        record.to_bytes()
    });
    Ok(Some(Turn { customer: answer.customer, standing: after.to_bytes(judge), notice }))
}

/// Commits turns through the store's writer, and rings for those who watch.
async fn commit(
    live: &Live,
    mut turns: Vec<Turn>,
    watermarks: Vec<Watermark>,
) -> Result<(), ServeError> {
    if turns.is_empty() && watermarks.is_empty() {
        return Ok(());
    }
    let mut watermarks = Some(watermarks);
    while !turns.is_empty() || watermarks.is_some() {
        let rest = turns.split_off(turns.len().min(TURNS_MAX));
        let (done, answer) = oneshot::channel();
        let callback = Box::new(move |result| drop(done.send(result)));
        let marks = watermarks.take().unwrap_or_default();
        live.writer.turn_with(std::mem::replace(&mut turns, rest), marks, callback)?;
        let commit: Commit = answer.await.unwrap_or(Err(WriteError::Lost))?;
        live.told.send_replace(commit);
    }
    Ok(())
}
