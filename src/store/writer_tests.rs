use std::collections::BTreeMap;
use std::sync::mpsc::channel;

use super::*;
use crate::store::conformance::customer;
use crate::store::conformance::exported;
use crate::store::{
    Batch, DedupeVisitor, Health, MemoryStore, Notice, NoticeId, Restore, STATE_BYTES_MAX,
    ScanRange, SledOptions, SledStore, StateVisitor, StoredState, VerifyReport,
};

/// How a commit of [`Probe`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing is written.
    Before,
    /// It is written, but not acknowledged.
    After,
}

/// A store that counts commits, lets them wait and makes one of them fail.
#[derive(Debug, Default)]
struct Probe {
    inner: MemoryStore,
    n_commits: AtomicUsize,
    fail_at: Option<(usize, Fault)>,
    gate: Mutex<()>,
    unreadable: Option<CustomerId>,
}

impl Probe {
    fn broken() -> StoreError {
        StoreError::ReadOnly { cause: "the test says so".to_owned() }
    }
}

impl StateStore for Probe {
    fn get(&self, customer: &CustomerId) -> Result<Option<StoredState>, StoreError> {
        if self.unreadable.as_ref() == Some(customer) {
            return Err(Self::broken());
        }
        self.inner.get(customer)
    }

    fn contains(&self, customer: &CustomerId, event: EventId) -> Result<bool, StoreError> {
        self.inner.contains(customer, event)
    }

    fn commit(&self, batch: Batch) -> Result<Commit, StoreError> {
        let _open = self.gate.lock().unwrap();
        let number = self.n_commits.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fail_at {
            Some((at, Fault::Before)) if at == number => Err(Self::broken()),
            Some((at, Fault::After)) if at == number => {
                self.inner.commit(batch)?;
                Err(Self::broken())
            }
            _ => self.inner.commit(batch),
        }
    }

    fn delete(&self, customer: &CustomerId) -> Result<Erased, StoreError> {
        self.inner.delete(customer)
    }

    fn standing(&self, customer: &CustomerId) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.standing(customer)
    }

    fn notices(&self, after: NoticeId, most: usize) -> Result<Vec<Notice>, StoreError> {
        self.inner.notices(after, most)
    }

    fn notices_floor(&self) -> Result<NoticeId, StoreError> {
        self.inner.notices_floor()
    }

    fn prune_notices(&self, keep: usize) -> Result<u64, StoreError> {
        self.inner.prune_notices(keep)
    }

    fn prune_dedupe(&self, older_than: Commit) -> Result<u64, StoreError> {
        self.inner.prune_dedupe(older_than)
    }

    fn scan(&self, range: ScanRange, visit: &mut StateVisitor<'_>) -> Result<u64, StoreError> {
        self.inner.scan(range, visit)
    }

    fn scan_dedupe(
        &self,
        range: ScanRange,
        visit: &mut DedupeVisitor<'_>,
    ) -> Result<u64, StoreError> {
        self.inner.scan_dedupe(range, visit)
    }

    fn count(&self) -> Result<u64, StoreError> {
        self.inner.count()
    }

    fn watermarks(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.inner.watermarks()
    }

    fn pinned(&self) -> Result<BTreeMap<String, String>, StoreError> {
        self.inner.pinned()
    }

    fn pin(&self, facts: &[(&str, &str)]) -> Result<(), StoreError> {
        self.inner.pin(facts)
    }

    fn restore(&self, part: Restore) -> Result<Commit, StoreError> {
        self.inner.restore(part)
    }

    fn last_commit(&self) -> Commit {
        self.inner.last_commit()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.inner.verify()
    }

    fn snapshot(&self) -> Result<Box<dyn crate::store::Snapshot>, StoreError> {
        self.inner.snapshot()
    }
}

/// A fold that appends one byte a new event: the low byte of its id.
fn update(who: &str, ids: &[u128]) -> Update {
    let events: Vec<EventId> = ids.iter().map(|id| EventId::from_bits(*id)).collect();
    let added: Vec<u8> = ids.iter().map(|id| id.to_le_bytes()[0]).collect();
    let fold: Fold = Box::new(move |state, is_new| {
        assert_eq!(is_new.len(), added.len());
        let new = added.iter().zip(is_new).filter(|(_, new)| **new);
        Ok(state.unwrap_or(&[]).iter().chain(new.map(|(byte, _)| byte)).copied().collect())
    });
    Update { customer: customer(who), events, fold }
}

fn mark(position: u64) -> Watermark {
    Watermark { source: "log".to_owned(), position }
}

fn low(number: u128) -> u64 {
    u64::try_from(number).unwrap()
}

fn bytes(store: &dyn StateStore, who: &str) -> Option<Vec<u8>> {
    store.get(&customer(who)).unwrap().map(|state| state.bytes)
}

fn start(store: &Arc<Probe>, limits: WriterLimits) -> Writer {
    Writer::start(Arc::<Probe>::clone(store), limits).unwrap()
}

fn one_by_one(store: &Arc<Probe>) -> Writer {
    start(store, WriterLimits::default())
}

/// The outcomes as short words.
fn words(receipt: &Receipt) -> Vec<String> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Stored { version, n_new } => format!("stored {version} {n_new}"),
        Outcome::Unchanged { n_new } => format!("unchanged {n_new}"),
        Outcome::Duplicate => "duplicate".to_owned(),
        Outcome::Rejected(rejection) => rejection.to_string(),
    };
    receipt.outcomes.iter().map(word).collect()
}

#[test]
fn an_event_counts_once_wherever_it_repeats() {
    let store = Arc::new(Probe::default());
    let writer = one_by_one(&store);
    let updates = vec![update("a", &[1, 2, 1]), update("a", &[2, 3]), update("a", &[3, 1])];
    let receipt = writer.submit(updates, vec![mark(1)]).unwrap().wait().unwrap();
    assert_eq!(words(&receipt), ["stored 1 2", "stored 1 1", "duplicate"]);
    let again = vec![update("a", &[3]), update("a", &[4, 1]), update("b", &[1])];
    let receipt = writer.submit(again, vec![]).unwrap().wait().unwrap();
    assert_eq!(words(&receipt), ["duplicate", "stored 2 1", "stored 1 1"]);
    assert_eq!(bytes(&*store, "a").unwrap(), [1, 2, 3, 4]);
    assert_eq!(bytes(&*store, "b").unwrap(), [1]);
    assert_eq!(receipt.commit, store.last_commit());
}

#[test]
fn nothing_new_is_no_commit() {
    let store = Arc::new(Probe::default());
    let writer = one_by_one(&store);
    let first = writer.submit(vec![update("a", &[1])], vec![]).unwrap().wait().unwrap();
    let again = writer.submit(vec![update("a", &[1])], vec![]).unwrap().wait().unwrap();
    assert_eq!((words(&again), again.commit), (vec!["duplicate".to_owned()], first.commit));
    let nothing = writer.submit(vec![], vec![]).unwrap().wait().unwrap();
    assert_eq!(nothing.commit, first.commit);
}

#[test]
fn the_same_bytes_keep_the_version_and_remember_the_event() {
    let store = Arc::new(Probe::default());
    let writer = one_by_one(&store);
    writer.submit(vec![update("a", &[1])], vec![]).unwrap().wait().unwrap();
    let fold: Fold = Box::new(|state, _| Ok(state.unwrap_or(&[]).to_vec()));
    let late = Update { customer: customer("a"), events: vec![EventId::from_bits(9)], fold };
    let receipt = writer.submit(vec![late], vec![]).unwrap().wait().unwrap();
    assert_eq!(words(&receipt), ["unchanged 1"]);
    assert_eq!(store.get(&customer("a")).unwrap().unwrap().version, 1);
    assert!(store.contains(&customer("a"), EventId::from_bits(9)).unwrap());
}

#[test]
fn a_rejected_update_changes_nothing_and_stops_only_its_watermark() {
    let store = Arc::new(Probe { unreadable: Some(customer("torn")), ..Probe::default() });
    let writer = one_by_one(&store);
    let with = |who: &str, id: u128, fold: Fold| Update {
        customer: customer(who),
        events: vec![EventId::from_bits(id)],
        fold,
    };
    let updates = vec![
        update("a", &[1]),
        with("a", 2, Box::new(|_, _| Err("no such thing".into()))),
        with("a", 3, Box::new(|_, _| panic!("fold number {}", 3))),
        with("b", 4, Box::new(|_, _| Ok(vec![0; STATE_BYTES_MAX + 1]))),
        update("torn", &[5]),
        update("a", &[2, 6]),
    ];
    let receipt = writer.submit(updates, vec![mark(6)]).unwrap().wait().unwrap();
    assert_eq!(
        words(&receipt),
        [
            "stored 1 1",
            "the fold refused: no such thing",
            "the fold panicked: fold number 3",
            "customer b: the state has 6001 bytes, at most 6000 are stored",
            "the store takes no commits since a write failed (the test says so): open it again",
            "stored 1 2",
        ]
    );
    assert_eq!(bytes(&*store, "a").unwrap(), [1, 2, 6]);
    assert_eq!(bytes(&*store, "b"), None);
    for (who, id, there) in [("a", 2, true), ("a", 3, false), ("b", 4, false), ("torn", 5, false)] {
        assert_eq!(store.contains(&customer(who), EventId::from_bits(id)).unwrap(), there);
    }
    assert!(!receipt.watermarks_taken && store.watermarks().unwrap().is_empty());
    let receipt = writer.submit(vec![], vec![mark(6)]).unwrap().wait().unwrap();
    assert!(receipt.watermarks_taken && store.watermarks().unwrap()["log"] == 6);
}

#[test]
fn what_waits_shares_a_commit_in_order() {
    let store = Arc::new(Probe::default());
    let limits = WriterLimits { commit_ops_max: 80, ..WriterLimits::default() };
    let writer = start(&store, limits);
    let closed = store.gate.lock().unwrap();
    let first = writer.submit(vec![update("a", &[0])], vec![]).unwrap();
    // The thread holds the first one by now, or will take it with the others: either way
    // the hundred (two operations each) need three commits of forty, and at most one each for the
    // first.
    let tickets: Vec<_> = (1..=100_u128)
        .map(|id| writer.submit(vec![update("a", &[id])], vec![mark(low(id))]).unwrap())
        .collect();
    drop(closed);
    let mut commits = vec![first.wait().unwrap().commit];
    commits.extend(tickets.into_iter().map(|ticket| ticket.wait().unwrap().commit));
    assert!(commits.windows(2).all(|pair| pair[0] <= pair[1]), "answers in order of submission");
    commits.dedup();
    assert!((3..=4).contains(&commits.len()), "{}", commits.len());
    assert_eq!(bytes(&*store, "a").unwrap(), (0..=100).collect::<Vec<u8>>());
    assert_eq!(store.watermarks().unwrap()["log"], 100);
    assert_eq!(writer.queued(), 0);
}

#[test]
fn a_full_queue_refuses_at_once_and_keeps_what_it_took() {
    let store = Arc::new(Probe::default());
    let limits = WriterLimits { commit_ops_max: 10, queue_ops_max: 25, ..WriterLimits::default() };
    let writer = start(&store, limits);
    let closed = store.gate.lock().unwrap();
    let mut tickets = Vec::new();
    for id in 0..5 {
        let ids: Vec<u128> = (id * 5..id * 5 + 5).collect();
        tickets.push(writer.submit(vec![update("a", &ids)], vec![]).unwrap());
    }
    let refused = writer.submit(vec![update("a", &[99])], vec![]).unwrap_err();
    assert_eq!(refused, SubmitError::Overloaded { queued: 25, limit: 25 });
    drop(closed);
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(bytes(&*store, "a").unwrap(), (0..25).collect::<Vec<u8>>());
    writer.submit(vec![update("a", &[99])], vec![]).unwrap().wait().unwrap();
}

#[test]
fn what_breaks_a_limit_is_refused_at_once() {
    let store = Arc::new(Probe::default());
    let writer = start(&store, WriterLimits { commit_ops_max: 3, ..WriterLimits::default() });
    let refused = writer.submit(vec![update("a", &[1, 2]), update("b", &[])], vec![mark(1)]);
    assert_eq!(refused.unwrap_err(), SubmitError::TooLarge { found: 4, limit: 3 });
    let unnamed = Watermark { source: String::new(), position: 1 };
    let refused = writer.submit(vec![], vec![unnamed]);
    assert_eq!(refused.unwrap_err(), SubmitError::BadSource { found: 0 });
    writer.close();
    assert_eq!(writer.submit(vec![], vec![]).unwrap_err(), SubmitError::Closed);
    assert!(matches!(writer.erase(customer("a")), Err(SubmitError::Closed)));
    writer.close();
    assert_eq!(store.last_commit().seq(), 0);
}

#[test]
fn closing_finishes_what_is_queued() {
    for linger in [Duration::ZERO, Duration::from_millis(5)] {
        let store = Arc::new(Probe::default());
        let limits = WriterLimits {
            commit_ops_max: 7,
            queue_ops_max: 1_000,
            linger,
            ..WriterLimits::default()
        };
        let writer = start(&store, limits);
        let tickets: Vec<_> =
            (0..100).map(|id| writer.submit(vec![update("a", &[id])], vec![]).unwrap()).collect();
        writer.close();
        assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
        assert_eq!(bytes(&*store, "a").unwrap().len(), 100);
    }
}

#[test]
fn a_failed_commit_fails_all_and_sending_again_is_exactly_once() {
    let submissions: Vec<Vec<(&str, u128)>> =
        (0..12).map(|idx| vec![("a", idx), (["b", "c"][idx as usize % 2], idx + 100)]).collect();
    let send = |store: &Arc<Probe>| {
        let writer = one_by_one(store);
        let mut n_failed = 0;
        for submission in &submissions {
            loop {
                let updates = submission.iter().map(|(who, id)| update(who, &[*id])).collect();
                match writer.submit(updates, vec![mark(low(submission[0].1))]).unwrap().wait() {
                    Ok(_) => break,
                    Err(error) => {
                        assert!(matches!(error, WriteError::Commit(_)));
                        n_failed += 1;
                    }
                }
            }
        }
        n_failed
    };
    let states = |store: &dyn StateStore| ["a", "b", "c"].map(|who| bytes(store, who).unwrap());
    let calm = Arc::new(Probe::default());
    assert_eq!(send(&calm), 0);
    for at in 1..=submissions.len() {
        for fault in [Fault::Before, Fault::After] {
            let store = Arc::new(Probe { fail_at: Some((at, fault)), ..Probe::default() });
            assert_eq!(send(&store), 1, "commit {at} {fault:?}");
            assert_eq!(states(&*store), states(&*calm), "commit {at} {fault:?}");
            assert_eq!(exported(&*store), exported(&*calm), "commit {at} {fault:?}");
        }
    }
}

#[test]
fn an_erasure_stands_in_the_queue() {
    let store = Arc::new(Probe::default());
    let writer = one_by_one(&store);
    let closed = store.gate.lock().unwrap();
    let before = writer.submit(vec![update("a", &[1, 2])], vec![]).unwrap();
    let erased = writer.erase(customer("a")).unwrap();
    let after = writer.submit(vec![update("a", &[2])], vec![]).unwrap();
    drop(closed);
    assert_eq!(words(&before.wait().unwrap()), ["stored 1 2"]);
    let erased = erased.wait().unwrap();
    assert!(erased.had_state && erased.n_dedupe == 2);
    assert_eq!(words(&after.wait().unwrap()), ["stored 1 1"]);
    assert_eq!(bytes(&*store, "a").unwrap(), [2]);
}

#[test]
fn a_callback_may_panic_or_drop_the_writer() {
    let store = Arc::new(Probe::default());
    let writer = Arc::new(one_by_one(&store));
    writer.submit_with(vec![], vec![], Box::new(|_| panic!("in the callback"))).unwrap();
    writer.submit(vec![update("a", &[1])], vec![]).unwrap().wait().unwrap();
    let (sender, receiver) = channel();
    let last = Arc::clone(&writer);
    let (go, wait) = channel::<()>();
    let done = move |answer: Result<Receipt, WriteError>| {
        wait.recv().unwrap();
        drop(last);
        sender.send(answer.is_ok()).unwrap();
    };
    writer.submit_with(vec![update("a", &[2])], vec![], Box::new(done)).unwrap();
    drop(writer);
    go.send(()).unwrap();
    assert!(receiver.recv().unwrap());
    assert_eq!(bytes(&*store, "a").unwrap(), [1, 2]);
}

#[test]
fn many_threads_lose_nothing_on_disk() {
    for n_threads in [1, 3] {
        many_threads_lose_nothing(n_threads);
    }
}

fn many_threads_lose_nothing(n_threads: usize) {
    const N_THREADS: u128 = 8;
    const N_UPDATES: u128 = 200;

    let dir = tempfile::tempdir().unwrap();
    let (store, _) = SledStore::open(dir.path(), &SledOptions::default()).unwrap();
    let store: Arc<dyn StateStore> = Arc::new(store);
    let limits = WriterLimits { n_threads, ..WriterLimits::default() };
    let writer = Writer::start(Arc::clone(&store), limits).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..N_THREADS {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..N_UPDATES {
                    // Each event is sent by two threads.
                    let id = (thread / 2) * N_UPDATES + number;
                    let who = ["a", "b", "c"][(id % 3) as usize];
                    writer.submit(vec![update(who, &[id])], vec![]).unwrap().wait().unwrap();
                }
            });
        }
    });
    let n_bytes: usize =
        ["a", "b", "c"].map(|who| bytes(&*store, who).unwrap().len()).into_iter().sum();
    assert_eq!(n_bytes as u128, N_THREADS / 2 * N_UPDATES);
    assert!(store.last_commit().seq() < low(N_THREADS / 2 * N_UPDATES), "some commits are shared");
}

#[test]
fn only_the_version_that_was_seen_is_erased() {
    let store = Arc::new(crate::store::MemoryStore::new());
    let put = |bytes: &[u8]| crate::store::Put {
        customer: customer("a"),
        expected_version: None,
        bytes: bytes.to_vec(),
    };
    let commit = |bytes: &[u8]| {
        store.commit(Batch { puts: vec![put(bytes)], ..Batch::default() }).unwrap();
    };
    commit(b"1");
    let own: Arc<dyn StateStore> = Arc::clone(&store) as _;
    let writer = Writer::start(own, WriterLimits::default()).unwrap();
    commit(b"2");
    let erased = writer.erase_at(customer("a"), 1).unwrap().wait().unwrap();
    assert!(!erased.had_state && store.get(&customer("a")).unwrap().is_some());
    let erased = writer.erase_at(customer("a"), 2).unwrap().wait().unwrap();
    assert!(erased.had_state && store.get(&customer("a")).unwrap().is_none());
    let erased = writer.erase_at(customer("a"), 2).unwrap().wait().unwrap();
    assert!(!erased.had_state);
}

/// Customers of several threads each, in the order of their shards.
fn spread(n: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..n).map(|idx| format!("customer-{idx}")).collect();
    names.sort_by_key(|name| shard_of(&customer(name)));
    names
}

#[test]
fn a_submission_of_several_threads_has_one_receipt_in_its_order() {
    let store = Arc::new(Probe::default());
    let writer = start(&store, WriterLimits { n_threads: 4, ..WriterLimits::default() });
    let names = spread(40);
    let updates = |id| names.iter().rev().map(|name| update(name, &[id])).collect::<Vec<_>>();
    let receipt = writer.submit(updates(1), vec![mark(1)]).unwrap().wait().unwrap();
    assert_eq!(words(&receipt), vec!["stored 1 1"; 40]);
    assert!(receipt.watermarks_taken && store.watermarks().unwrap()["log"] == 1);
    assert_eq!(receipt.commit, store.last_commit(), "the newest of its commits");
    let last = receipt.commit;
    // What was known names no newer commit; what is new in one part names that one.
    let again = writer.submit(updates(1), vec![]).unwrap().wait().unwrap();
    assert_eq!((words(&again), again.commit), (vec!["duplicate".to_owned(); 40], last));
    let mut mixed = updates(1);
    mixed.push(update(&names[39], &[2]));
    let receipt = writer.submit(mixed, vec![]).unwrap().wait().unwrap();
    assert_eq!(words(&receipt)[39..], ["duplicate", "stored 2 1"]);
    assert_eq!(receipt.commit.seq(), last.seq() + 1);
    // Nothing at all is answered, too.
    writer.submit(vec![], vec![]).unwrap().wait().unwrap();
    assert_eq!(writer.queued(), 0);
}

#[test]
fn one_rejected_part_keeps_the_watermark_back_and_no_later_one() {
    let store = Arc::new(Probe { unreadable: Some(customer("torn")), ..Probe::default() });
    let writer = start(&store, WriterLimits { n_threads: 4, ..WriterLimits::default() });
    let names = spread(12);
    let mut updates: Vec<Update> = names.iter().map(|name| update(name, &[1])).collect();
    updates.push(update("torn", &[1]));
    let first = writer.submit(updates, vec![mark(1)]).unwrap();
    let marked = Watermark { source: "other".to_owned(), position: 7 };
    let second = writer.submit(vec![update("a", &[1])], vec![marked]).unwrap();
    let (first, second) = (first.wait().unwrap(), second.wait().unwrap());
    assert!(!first.watermarks_taken && second.watermarks_taken);
    assert_eq!(store.watermarks().unwrap(), [("other".to_owned(), 7)].into());
    assert!(names.iter().all(|name| bytes(&*store, name) == Some(vec![1])));
}

#[test]
fn watermarks_rise_only_behind_every_earlier_part() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = SledStore::open(dir.path(), &SledOptions::default()).unwrap();
    let store: Arc<dyn StateStore> = Arc::new(store);
    let limits = WriterLimits { n_threads: 3, ..WriterLimits::default() };
    let writer = Writer::start(Arc::clone(&store), limits).unwrap();
    let names = spread(9);
    let (sender, receiver) = channel();
    for number in 1..=200_u128 {
        let (sender, seen) = (sender.clone(), Arc::clone(&store));
        let of_it = names.iter().skip(number as usize % 5).map(|name| update(name, &[number]));
        let done = move |answer: Result<Receipt, WriteError>| {
            let commit = answer.unwrap().commit;
            let reached = seen.watermarks().unwrap()["log"];
            sender.send((low(number), reached, commit <= seen.last_commit())).unwrap();
        };
        writer.submit_with(of_it.collect(), vec![mark(low(number))], Box::new(done)).unwrap();
    }
    writer.close();
    let answers: Vec<_> = receiver.try_iter().collect();
    assert_eq!(answers.len(), 200);
    for (number, reached, is_durable) in answers {
        assert!(reached >= number && is_durable);
        // Everything up to the watermark is there: the last customer has a part of each.
        let state = bytes(&*store, &names[8]).unwrap();
        assert!(state.len() as u64 >= reached);
    }
}

#[test]
fn a_failed_part_fails_the_submission_and_sending_it_again_completes_it() {
    for at in 1..=6 {
        for fault in [Fault::Before, Fault::After] {
            let store = Arc::new(Probe { fail_at: Some((at, fault)), ..Probe::default() });
            let writer = start(&store, WriterLimits { n_threads: 3, ..WriterLimits::default() });
            let names = spread(9);
            let mut n_failed = 0;
            for id in [1, 2] {
                loop {
                    let updates = names.iter().map(|name| update(name, &[id])).collect();
                    let ticket = writer.submit(updates, vec![mark(low(id))]).unwrap();
                    match ticket.wait() {
                        Ok(_) => break,
                        Err(error) => {
                            assert!(matches!(error, WriteError::Commit(_)));
                            n_failed += 1;
                        }
                    }
                }
            }
            assert_eq!(n_failed, 1, "commit {at} {fault:?}");
            assert!(names.iter().all(|name| bytes(&*store, name) == Some(vec![1, 2])));
            assert_eq!(store.watermarks().unwrap()["log"], 2);
        }
    }
}
