//! `WatchScores`: the notices of the store as a stream.
//!
//! In: where to begin and what to send. Out: every later change, in order, each with the token to
//! go on from. A caller that is slow reads later from the same store: nothing gathers here. One
//! that was away too long is told so, and never that nothing happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert;
use super::live::Live;
use super::pb;
use super::status::{ServeError, Violation};
use crate::domain::CustomerId;
use crate::scoring::TransitionV1;
use crate::store::{Notice, NoticeId};

/// Notices read at a time.
const PAGE: usize = 256;
/// Messages that wait for the caller.
const WAITING_MAX: usize = 64;
/// How often a quiet stream shows that it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Customers that one stream may name.
const CUSTOMERS_MAX: usize = 1_000;

type Sender = mpsc::Sender<Result<pb::WatchScoresResponse, Status>>;
/// What a caller reads.
pub(super) type Watched = ReceiverStream<Result<pb::WatchScoresResponse, Status>>;

/// Begins a stream.
pub(super) fn open(
    live: &Arc<Live>,
    request: &pb::WatchScoresRequest,
) -> Result<Watched, ServeError> {
    live.moment().require_log("there is nobody to watch")?;
    if live.limits.sweep_rate == 0 {
        return Err(ServeError::SweepOff);
    }
    let (begin, wanted) = checked(request)?;
    let place = live.streams.enter()?;
    let begin = begin.unwrap_or_else(|| NoticeId::end_of(live.store.last_commit()));
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let follower = Follower { live: Arc::clone(live), at: begin, wanted, sender, _place: place };
    tokio::spawn(follower.run());
    Ok(ReceiverStream::new(receiver))
}

/// What is sent.
#[derive(Debug)]
struct Wanted {
    customers: BTreeSet<CustomerId>,
    tiers: BTreeSet<i32>,
}

fn checked(request: &pb::WatchScoresRequest) -> Result<(Option<NoticeId>, Wanted), ServeError> {
    let pb::WatchScoresRequest { resume_token, customers, risk_tiers } = request;
    let mut violations = Vec::new();
    let begin = NoticeId::parse(resume_token);
    if begin.is_none() && !resume_token.is_empty() {
        let wanted = "not the resume_token of a message";
        violations.push(Violation::new("resume_token", "RESUME_TOKEN", wanted));
    }
    if customers.len() > CUSTOMERS_MAX {
        let found = format!("{} customers, at most {CUSTOMERS_MAX} are taken", customers.len());
        violations.push(Violation::new("customers", "CUSTOMER_COUNT", found));
    }
    let mut wanted = Wanted { customers: BTreeSet::new(), tiers: BTreeSet::new() };
    for (idx, customer) in customers.iter().take(CUSTOMERS_MAX).enumerate() {
        match convert::customer_id(&format!("customers[{idx}]"), customer) {
            Ok(customer) => drop(wanted.customers.insert(customer)),
            Err(violation) => violations.push(violation),
        }
    }
    for (idx, tier) in risk_tiers.iter().enumerate() {
        if pb::RiskTier::try_from(*tier).is_err() {
            let found = format!("{tier} is not a tier known here");
            violations.push(Violation::new(format!("risk_tiers[{idx}]"), "UNKNOWN_TIER", found));
        }
        wanted.tiers.insert(*tier);
    }
    if violations.is_empty() { Ok((begin, wanted)) } else { Err(ServeError::Invalid(violations)) }
}

impl Wanted {
    /// The change in a notice, if it is wanted; a record of a later form is passed over.
    fn of(&self, notice: &Notice) -> Option<pb::Transition> {
        if !self.customers.is_empty() && !self.customers.contains(&notice.customer) {
            return None;
        }
        let record = TransitionV1::from_bytes(&notice.bytes)?;
        let transition = convert::transition(&notice.customer, &record);
        let tier = transition.current.as_ref().map_or(0, |standing| standing.risk_tier);
        (self.tiers.is_empty() || self.tiers.contains(&tier)).then_some(transition)
    }
}

struct Follower {
    live: Arc<Live>,
    at: NoticeId,
    wanted: Wanted,
    sender: Sender,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self) {
        let mut ending = self.live.streams.ended();
        let sender = self.sender.clone();
        let end = tokio::select! {
            () = sender.closed() => return,
            () = &mut ending => ServeError::Closing,
            end = self.follow() => match end {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        // The caller may leave at this moment as at any other.
        let _ = sender.send(Err(end.to_status())).await;
    }

    /// Sends until the caller leaves.
    async fn follow(&mut self) -> Result<(), ServeError> {
        let mut told = self.live.told.subscribe();
        // A token to begin with, once it is known to be good.
        let mut is_quiet = true;
        loop {
            told.mark_unchanged();
            let page = self.page().await?;
            let is_last = page.len() < PAGE;
            for notice in page {
                self.at = notice.id;
                let transition = self.wanted.of(&notice);
                is_quiet |= transition.is_none();
                if transition.is_some() && !self.send(transition).await {
                    return Ok(());
                }
            }
            if std::mem::take(&mut is_quiet) && !self.send(None).await {
                return Ok(());
            }
            if is_last {
                let changed = tokio::time::timeout(ALIVE_EVERY, told.changed()).await;
                is_quiet = changed.is_err();
            }
        }
    }

    async fn send(&self, transition: Option<pb::Transition>) -> bool {
        let resume_token = self.at.to_string();
        self.sender.send(Ok(pb::WatchScoresResponse { transition, resume_token })).await.is_ok()
    }

    async fn page(&self) -> Result<Vec<Notice>, ServeError> {
        let (store, at) = (Arc::clone(&self.live.store), self.at);
        let read = move || {
            let floor = store.notices_floor()?;
            if at < floor || at > NoticeId::end_of(store.last_commit()) {
                return Err(ServeError::ResumeTokenLost { token: at, oldest: floor });
            }
            Ok(store.notices(at, PAGE)?)
        };
        tokio::task::spawn_blocking(read).await.map_err(ServeError::internal)?
    }
}
