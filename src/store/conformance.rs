//! What every store must do: one list of facts, run against each implementation.
//!
//! A rig makes a fresh store and can close and open it again (a store in memory stays as it is).

mod snapshots;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::{
    BATCH_OPS_MAX, Batch, Commit, Health, N_SHARDS, NoticeId, Put, STATE_BYTES_MAX, ScanRange,
    StateStore, StoreError, StoredState, TransferError, Turn, Watermark, export, import, shard_of,
};
use crate::domain::CustomerId;
use crate::domain::EventId;

pub(super) use self::snapshots::{
    a_snapshot_shows_its_commit_whatever_is_written_since,
    a_snapshot_stands_still_while_others_write,
};

pub(super) trait Rig {
    fn fresh() -> Self;
    fn store(&self) -> &dyn StateStore;
    fn reopen(&mut self);
}

/// Makes one test of each fact for a rig.
macro_rules! conformance_suite {
    ($rig:ty) => {
        $crate::store::conformance::conformance_suite!($rig:
            a_new_store_is_empty
            states_come_back_byte_for_byte
            versions_rise_by_one
            a_conflict_changes_nothing
            what_breaks_a_limit_changes_nothing
            a_batch_without_news_is_no_commit
            an_event_id_keeps_its_first_commit
            a_watermark_never_falls
            scans_go_in_key_order
            shards_add_up
            a_visitor_can_stop
            replaying_twice_changes_no_byte
            a_deleted_customer_leaves_nothing
            pruning_forgets_old_ids_only
            a_pinned_fact_never_changes
            reopening_keeps_everything
            commit_numbers_rise_for_ever
            an_export_fills_an_equal_store
            a_shard_can_move
            a_snapshot_shows_its_commit_whatever_is_written_since
            a_snapshot_stands_still_while_others_write
            an_import_is_checked_before_it_writes
            no_update_of_racing_writers_is_lost
            standings_and_notices_move_with_states
        );
    };
    ($rig:ty: $($fact:ident)*) => {
        $(#[test]
        fn $fact() {
            $crate::store::conformance::$fact::<$rig>();
        })*
    };
}
pub(super) use conformance_suite;

pub(super) fn customer(text: &str) -> CustomerId {
    CustomerId::try_new(text).unwrap()
}

fn event(number: u128) -> EventId {
    EventId::from_bits(number)
}

fn put(text: &str, expected_version: Option<u64>, bytes: &[u8]) -> Put {
    Put { customer: customer(text), expected_version, bytes: bytes.to_vec() }
}

pub(super) fn puts(puts: Vec<Put>) -> Batch {
    Batch { puts, ..Batch::default() }
}

fn mark(source: &str, position: u64) -> Watermark {
    Watermark { source: source.to_owned(), position }
}

/// Everything a store holds, as the bytes of its export.
pub(super) fn exported(store: &dyn StateStore) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    export(store, ScanRange::All, dir.path()).unwrap();
    std::fs::read(dir.path().join("records.bin")).unwrap()
}

fn all_states(store: &dyn StateStore, range: ScanRange) -> Vec<(CustomerId, StoredState)> {
    let mut found = Vec::new();
    let n_visited = store
        .scan(range, &mut |customer, state| {
            found.push((customer.clone(), state));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(n_visited, found.len() as u64);
    found
}

fn n_dedupe(store: &dyn StateStore, range: ScanRange) -> u64 {
    store.scan_dedupe(range, &mut |_, _, _| ControlFlow::Continue(())).unwrap()
}

/// Folds numbered events as a caller without a writer would: 500 customers, ten a commit.
fn feed(store: &dyn StateStore, events: std::ops::Range<u64>) {
    let numbers: Vec<u64> = events.collect();
    for chunk in numbers.chunks(10) {
        let mut states: BTreeMap<CustomerId, StoredState> = BTreeMap::new();
        let mut batch = Batch::default();
        for number in chunk {
            let who = customer(&format!("c{}", number % 500));
            let id = event(u128::from(*number));
            if store.contains(&who, id).unwrap() {
                continue;
            }
            let state = states.entry(who.clone()).or_insert_with(|| {
                store.get(&who).unwrap().unwrap_or(StoredState { version: 0, bytes: vec![] })
            });
            state.bytes.extend_from_slice(&number.to_le_bytes());
            batch.dedupe.push((who, id));
        }
        batch.puts = states
            .into_iter()
            .map(|(customer, state)| Put {
                customer,
                expected_version: Some(state.version),
                bytes: state.bytes,
            })
            .collect();
        batch.watermarks.push(mark("log", *chunk.last().unwrap()));
        store.commit(batch).unwrap();
    }
}

pub(super) fn a_new_store_is_empty<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    assert_eq!(store.get(&customer("1")).unwrap(), None);
    assert!(!store.contains(&customer("1"), event(1)).unwrap());
    assert_eq!(store.count().unwrap(), 0);
    assert_eq!(store.last_commit(), Commit::from_seq(0));
    assert_eq!(store.health(), Health::Serving);
    assert!(all_states(store, ScanRange::All).is_empty());
    assert!(store.watermarks().unwrap().is_empty() && store.pinned().unwrap().is_empty());
    assert!(store.verify().unwrap().is_clean());
}

pub(super) fn states_come_back_byte_for_byte<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    let bytes: Vec<u8> = (0..=255).cycle().take(STATE_BYTES_MAX).collect();
    let batch = vec![put("Zoë", None, &bytes), put("empty", None, &[]), put(" 7", None, b"\0\0")];
    store.commit(puts(batch)).unwrap();
    let asked = [customer("empty"), customer("nobody"), customer("Zoë"), customer(" 7")];
    let found = store.get_many(&asked).unwrap();
    let state = |bytes: &[u8]| Some(StoredState { version: 1, bytes: bytes.to_vec() });
    assert_eq!(found, [state(&[]), None, state(&bytes), state(b"\0\0")]);
    for (customer, state) in asked.iter().zip(&found) {
        let mut seen = None;
        let is_there = store.with_state(customer, &mut |bytes| seen = Some(bytes.to_vec()));
        assert_eq!(is_there.unwrap(), state.is_some());
        assert_eq!(seen, state.as_ref().map(|state| state.bytes.clone()));
    }
    assert_eq!(store.count().unwrap(), 3);
}

pub(super) fn versions_rise_by_one<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    for (expected_version, version) in [(Some(0), 1), (Some(1), 2), (None, 3), (Some(3), 4)] {
        store.commit(puts(vec![put("a", expected_version, b"same")])).unwrap();
        assert_eq!(store.get(&customer("a")).unwrap().unwrap().version, version);
    }
    assert_eq!(store.count().unwrap(), 1);
}

pub(super) fn a_conflict_changes_nothing<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    store.commit(puts(vec![put("a", Some(0), b"1"), put("b", Some(0), b"1")])).unwrap();
    let (before, commit) = (exported(store), store.last_commit());
    let cases = [("b", Some(0), 1), ("b", Some(2), 1), ("new", Some(1), 0)];
    for (who, expected, found) in cases {
        let refused = store.commit(Batch {
            puts: vec![put("a", Some(1), b"2"), put("c", None, b"2"), put(who, expected, b"2")],
            dedupe: vec![(customer("a"), event(9))],
            watermarks: vec![mark("log", 9)],
            turns: vec![turn("a", b"1", None)],
        });
        let Err(StoreError::VersionConflict { customer: named, expected: e, found: f }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((named, Some(e), f), (customer(who), expected, found));
        assert_eq!(exported(store), before);
        assert_eq!(store.last_commit(), commit);
    }
    assert_eq!(store.count().unwrap(), 2);
    assert_eq!(store.health(), Health::Serving);
}

pub(super) fn what_breaks_a_limit_changes_nothing<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    let before = exported(store);
    let too_long = vec![0; STATE_BYTES_MAX + 1];
    let too_many = (0..=BATCH_OPS_MAX as u128).map(|i| (customer("a"), event(i))).collect();
    let refused: Vec<StoreError> = vec![
        store.commit(puts(vec![put("a", None, &[]), put("a", None, &[])])).unwrap_err(),
        store.commit(puts(vec![put("b", None, &[]), put("a", None, &too_long)])).unwrap_err(),
        store.commit(Batch { dedupe: too_many, ..Batch::default() }).unwrap_err(),
        store.commit(Batch { watermarks: vec![mark("", 1)], ..Batch::default() }).unwrap_err(),
        store.pin(&[("ok", "1"), (&"x".repeat(257), "1")]).unwrap_err(),
        store.pin(&[("empty", "")]).unwrap_err(),
    ];
    assert!(matches!(
        &*refused,
        [
            StoreError::CustomerTwice { .. },
            StoreError::StateTooLarge { found: 6_001, .. },
            StoreError::BatchTooLarge { found: 20_001, .. },
            StoreError::BadLength { found: 0, .. },
            StoreError::BadLength { found: 257, .. },
            StoreError::BadLength { found: 0, .. },
        ]
    ));
    assert_eq!(exported(store), before);
}

pub(super) fn a_batch_without_news_is_no_commit<R: Rig>() {
    let rig = R::fresh();
    assert_eq!(rig.store().commit(Batch::default()).unwrap().seq(), 0);
    let first = rig.store().commit(puts(vec![put("a", None, b"1")])).unwrap();
    assert_eq!(rig.store().commit(Batch::default()).unwrap(), first);
    let batch = || Batch {
        dedupe: vec![(customer("a"), event(1))],
        watermarks: vec![mark("log", 7)],
        ..Batch::default()
    };
    let second = rig.store().commit(batch()).unwrap();
    assert!(second > first);
    assert_eq!(rig.store().commit(batch()).unwrap(), second);
    let lower = Batch { watermarks: vec![mark("log", 3)], ..Batch::default() };
    assert_eq!(rig.store().commit(lower).unwrap(), second);
}

pub(super) fn an_event_id_keeps_its_first_commit<R: Rig>() {
    let mut rig = R::fresh();
    let ids = || vec![(customer("a"), event(1)), (customer("ab"), event(u128::MAX))];
    let batch = || Batch { dedupe: ids(), ..Batch::default() };
    let first = rig.store().commit(batch()).unwrap();
    rig.store().commit(batch()).unwrap();
    rig.reopen();
    let mut found = Vec::new();
    let mut visit = |customer: &CustomerId, event, commit| {
        found.push(((customer.clone(), event), commit));
        ControlFlow::Continue(())
    };
    rig.store().scan_dedupe(ScanRange::All, &mut visit).unwrap();
    assert!(found.iter().all(|(_, commit)| *commit == first) && found.len() == 2);
    assert!(rig.store().contains(&customer("a"), event(1)).unwrap());
    assert!(!rig.store().contains(&customer("a"), event(u128::MAX)).unwrap());
}

pub(super) fn a_watermark_never_falls<R: Rig>() {
    let mut rig = R::fresh();
    let cases = [("s", 5, 5), ("s", 3, 5), ("s", 5, 5), ("s", 6, 6), ("t", 0, 0)];
    for (source, position, stored) in cases {
        let watermarks = vec![mark(source, position)];
        rig.store().commit(Batch { watermarks, ..Batch::default() }).unwrap();
        assert_eq!(rig.store().watermarks().unwrap()[source], stored);
    }
    let watermarks = vec![mark("u", 9), mark("u", 4)];
    rig.store().commit(Batch { watermarks, ..Batch::default() }).unwrap();
    rig.reopen();
    let expected = [("s", 6), ("t", 0), ("u", 9)].map(|(source, at)| (source.to_owned(), at));
    assert_eq!(rig.store().watermarks().unwrap(), BTreeMap::from(expected));
}

pub(super) fn scans_go_in_key_order<R: Rig>() {
    let rig = R::fresh();
    feed(rig.store(), 0..1_000);
    let found = all_states(rig.store(), ScanRange::All);
    let places: Vec<_> =
        found.iter().map(|(who, _)| (shard_of(who), who.as_str().as_bytes().to_vec())).collect();
    assert_eq!(places.len(), 500);
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
}

pub(super) fn shards_add_up<R: Rig>() {
    let rig = R::fresh();
    feed(rig.store(), 0..1_000);
    let mut states = Vec::new();
    let mut n_events = 0;
    for shard in 0..N_SHARDS {
        states.extend(all_states(rig.store(), ScanRange::Shard(shard)));
        n_events += n_dedupe(rig.store(), ScanRange::Shard(shard));
    }
    assert_eq!(states, all_states(rig.store(), ScanRange::All));
    assert_eq!((n_events, n_dedupe(rig.store(), ScanRange::All)), (1_000, 1_000));
    let beyond = ScanRange::Shard(N_SHARDS);
    let refused = rig.store().scan(beyond, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(StoreError::NoSuchShard { found: N_SHARDS })));
}

pub(super) fn a_visitor_can_stop<R: Rig>() {
    let rig = R::fresh();
    feed(rig.store(), 0..100);
    let stop = |n: u64| if n == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let mut n = 0;
    let visited = rig.store().scan(ScanRange::All, &mut |_, _| {
        n += 1;
        stop(n)
    });
    assert_eq!((visited.unwrap(), n), (7, 7));
    let mut n = 0;
    let visited = rig.store().scan_dedupe(ScanRange::All, &mut |_, _, _| {
        n += 1;
        stop(n)
    });
    assert_eq!((visited.unwrap(), n), (7, 7));
}

pub(super) fn replaying_twice_changes_no_byte<R: Rig>() {
    let mut rig = R::fresh();
    feed(rig.store(), 0..2_000);
    let once = exported(rig.store());
    feed(rig.store(), 0..2_000);
    assert_eq!(exported(rig.store()), once);
    rig.reopen();
    feed(rig.store(), 500..1_500);
    assert_eq!(exported(rig.store()), once);
    // The comparison can fail: one event more is one byte more.
    feed(rig.store(), 2_000..2_001);
    assert_ne!(exported(rig.store()), once);
}

pub(super) fn a_deleted_customer_leaves_nothing<R: Rig>() {
    let mut rig = R::fresh();
    let store = rig.store();
    for who in ["a", "ab", "b"] {
        let dedupe = (0..5).map(|i| (customer(who), event(i))).collect();
        store
            .commit(Batch { puts: vec![put(who, None, b"s")], dedupe, ..Batch::default() })
            .unwrap();
    }
    let erased = store.delete(&customer("a")).unwrap();
    assert_eq!((erased.had_state, erased.n_dedupe, erased.commit.seq()), (true, 5, 4));
    rig.reopen();
    let store = rig.store();
    assert_eq!(store.get(&customer("a")).unwrap(), None);
    assert!((0..5).all(|i| !store.contains(&customer("a"), event(i)).unwrap()));
    assert!((0..5).all(|i| store.contains(&customer("ab"), event(i)).unwrap()));
    assert_eq!((store.count().unwrap(), n_dedupe(store, ScanRange::All)), (2, 10));
    let again = store.delete(&customer("a")).unwrap();
    assert_eq!((again.had_state, again.n_dedupe, again.commit.seq()), (false, 0, 4));
    let bytes = exported(store);
    assert!(!bytes.windows(3).any(|window| window == [1, 0, b'a']), "the id is still there");
    store.commit(puts(vec![put("a", Some(0), b"anew")])).unwrap();
    assert!(store.verify().unwrap().is_clean());
}

pub(super) fn pruning_forgets_old_ids_only<R: Rig>() {
    let mut rig = R::fresh();
    feed(rig.store(), 0..300);
    let states = all_states(rig.store(), ScanRange::All);
    assert_eq!(rig.store().prune_dedupe(Commit::from_seq(11)).unwrap(), 100);
    assert_eq!(rig.store().prune_dedupe(Commit::from_seq(11)).unwrap(), 0);
    rig.reopen();
    assert!(!rig.store().contains(&customer("c99"), event(99)).unwrap());
    assert!(rig.store().contains(&customer("c100"), event(100)).unwrap());
    assert_eq!(n_dedupe(rig.store(), ScanRange::All), 200);
    assert_eq!(all_states(rig.store(), ScanRange::All), states);
}

pub(super) fn a_pinned_fact_never_changes<R: Rig>() {
    let mut rig = R::fresh();
    rig.store().pin(&[("fold", "1"), ("timezone", "UTC")]).unwrap();
    rig.reopen();
    rig.store().pin(&[("timezone", "UTC"), ("salt", "s")]).unwrap();
    let commit = rig.store().last_commit();
    let refused = rig.store().pin(&[("currency", "EUR"), ("fold", "2")]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the store was made with fold = \"1\", this program runs with \"2\": \
         use the same setting or another store"
    );
    let refused = rig.store().pin(&[("x", "1"), ("x", "2")]).unwrap_err();
    assert!(matches!(refused, StoreError::PinMismatch { .. }));
    let expected = [("fold", "1"), ("salt", "s"), ("timezone", "UTC")];
    let expected = expected.map(|(name, fact)| (name.to_owned(), fact.to_owned()));
    assert_eq!(rig.store().pinned().unwrap(), BTreeMap::from(expected));
    assert_eq!(rig.store().last_commit(), commit);
}

pub(super) fn reopening_keeps_everything<R: Rig>() {
    let mut rig = R::fresh();
    rig.store().pin(&[("fold", "1")]).unwrap();
    feed(rig.store(), 0..3_000);
    let (before, commit) = (exported(rig.store()), rig.store().last_commit());
    for _ in 0..3 {
        rig.reopen();
        assert_eq!(exported(rig.store()), before);
        assert_eq!(rig.store().last_commit(), commit);
        assert_eq!(rig.store().count().unwrap(), 500);
        let report = rig.store().verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.n_states, report.n_dedupe), (500, 3_000));
        assert_eq!(report.state_bytes, 3_000 * 8);
    }
}

pub(super) fn commit_numbers_rise_for_ever<R: Rig>() {
    let mut rig = R::fresh();
    let mut last = rig.store().last_commit();
    for round in 0..4 {
        for idx in 0..5 {
            let text = format!("{round}-{idx}");
            let commit = rig.store().commit(puts(vec![put(&text, None, b"")])).unwrap();
            assert!(commit > last && commit == rig.store().last_commit());
            last = commit;
        }
        rig.reopen();
    }
}

pub(super) fn an_export_fills_an_equal_store<R: Rig>() {
    let rig = R::fresh();
    rig.store().pin(&[("fold", "1")]).unwrap();
    feed(rig.store(), 0..12_000);
    rig.store().delete(&customer("c3")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let manifest = export(rig.store(), ScanRange::All, dir.path()).unwrap();
    assert_eq!((manifest.counts.states, manifest.counts.dedupe), (499, 12_000 - 24));
    assert_eq!((manifest.counts.pins, manifest.counts.watermarks), (1, 1));
    let mut copy = R::fresh();
    assert_eq!(import(copy.store(), dir.path()).unwrap(), manifest);
    copy.reopen();
    assert_eq!(exported(copy.store()), exported(rig.store()));
    assert_eq!(copy.store().last_commit(), rig.store().last_commit());
    assert_eq!(copy.store().count().unwrap(), 499);
    let again = export(rig.store(), ScanRange::All, dir.path());
    assert!(matches!(again, Err(TransferError::TargetNotEmpty { .. })));
    let full = import(copy.store(), dir.path());
    assert!(matches!(full, Err(TransferError::StoreNotEmpty { n_states: 499 })));
}

pub(super) fn a_shard_can_move<R: Rig>() {
    let rig = R::fresh();
    feed(rig.store(), 0..1_000);
    let range = ScanRange::Shard(shard_of(&customer("c7")));
    let dir = tempfile::tempdir().unwrap();
    let manifest = export(rig.store(), range, dir.path()).unwrap();
    assert_eq!(manifest.shard, Some(shard_of(&customer("c7"))));
    let copy = R::fresh();
    import(copy.store(), dir.path()).unwrap();
    assert_eq!(all_states(copy.store(), ScanRange::All), all_states(rig.store(), range));
    assert!(copy.store().contains(&customer("c7"), event(507)).unwrap());
}

pub(super) fn an_import_is_checked_before_it_writes<R: Rig>() {
    let rig = R::fresh();
    feed(rig.store(), 0..50);
    let dir = tempfile::tempdir().unwrap();
    export(rig.store(), ScanRange::All, dir.path()).unwrap();
    let (records, manifest) = (dir.path().join("records.bin"), dir.path().join("manifest.json"));
    let (bytes, text) =
        (std::fs::read(&records).unwrap(), std::fs::read_to_string(&manifest).unwrap());
    let copy = R::fresh();
    let refused = |path: &Path, content: &[u8]| {
        let before = std::fs::read(path).unwrap();
        std::fs::write(path, content).unwrap();
        let error = import(copy.store(), dir.path()).unwrap_err();
        std::fs::write(path, before).unwrap();
        assert_eq!(copy.store().last_commit().seq(), 0, "{error}");
        error
    };
    for idx in [0, 9, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[idx] ^= 0x20;
        assert!(matches!(refused(&records, &changed), TransferError::Altered { .. }));
    }
    let cut = &bytes[..bytes.len() - 1];
    assert!(matches!(refused(&records, cut), TransferError::Altered { what: "the length", .. }));
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    let error = refused(&manifest, newer.as_bytes());
    assert!(matches!(error, TransferError::NewerFormat { found: 2, .. }));
    let miscounted = text.replace("\"states\": 50", "\"states\": 51");
    let error = refused(&manifest, miscounted.as_bytes());
    assert!(matches!(error, TransferError::Altered { what: "the number of states", .. }));
    assert!(matches!(refused(&manifest, b"{"), TransferError::BadManifest { .. }));
    import(copy.store(), dir.path()).unwrap();
    assert_eq!(exported(copy.store()), exported(rig.store()));
}

pub(super) fn no_update_of_racing_writers_is_lost<R: Rig>() {
    const N_THREADS: u64 = 4;
    const N_UPDATES: u64 = 50;

    fn increment(store: &dyn StateStore) {
        loop {
            let state = store.get(&customer("hot")).unwrap();
            let (version, count) = state.map_or((0, 0), |state| {
                (state.version, u64::from_le_bytes(state.bytes.try_into().unwrap()))
            });
            let bytes = (count + 1).to_le_bytes();
            match store.commit(puts(vec![put("hot", Some(version), &bytes)])) {
                Ok(_) => return,
                Err(StoreError::VersionConflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    let rig = R::fresh();
    let store = rig.store();
    std::thread::scope(|scope| {
        for _ in 0..N_THREADS {
            scope.spawn(|| (0..N_UPDATES).for_each(|_| increment(store)));
        }
    });
    let state = store.get(&customer("hot")).unwrap().unwrap();
    assert_eq!(state.version, N_THREADS * N_UPDATES);
    assert_eq!(state.bytes, (N_THREADS * N_UPDATES).to_le_bytes());
}

fn turn(text: &str, standing: &[u8], notice: Option<&[u8]>) -> Turn {
    Turn {
        customer: customer(text),
        standing: standing.to_vec(),
        notice: notice.map(<[u8]>::to_vec),
    }
}

fn notices(store: &dyn StateStore, after: NoticeId) -> Vec<(String, Vec<u8>)> {
    let found = store.notices(after, 1_000).unwrap();
    found.into_iter().map(|one| (one.customer.as_str().to_owned(), one.bytes)).collect()
}

pub(super) fn standings_and_notices_move_with_states<R: Rig>() {
    let mut rig = R::fresh();
    let store = rig.store();
    let turns = vec![turn("a", b"1", Some(b"a1")), turn("nobody", b"1", Some(b"x"))];
    let batch = Batch { puts: vec![put("a", Some(0), b"s")], turns, ..Batch::default() };
    let first = store.commit(batch).unwrap();
    let again =
        vec![turn("a", b"2", Some(b"a2")), turn("a", b"3", None), turn("a", b"4", Some(b"a4"))];
    let second = store.commit(Batch { turns: again, ..Batch::default() }).unwrap();
    assert!(second > first);
    let only_strangers =
        Batch { turns: vec![turn("nobody", b"1", Some(b"x"))], ..Batch::default() };
    assert_eq!(store.commit(only_strangers).unwrap(), second);
    let conflict = Batch {
        puts: vec![put("a", Some(0), b"t")],
        turns: vec![turn("a", b"9", Some(b"lost"))],
        ..Batch::default()
    };
    store.commit(conflict).unwrap_err();
    let long = Batch { turns: vec![turn("a", &[0; 65], None)], ..Batch::default() };
    assert!(matches!(store.commit(long), Err(StoreError::BadLength { .. })));
    rig.reopen();
    let store = rig.store();
    assert_eq!(store.standing(&customer("a")).unwrap().as_deref(), Some(&b"4"[..]));
    assert_eq!(store.standing(&customer("nobody")).unwrap(), None);
    let all = |texts: &[&[u8]]| -> Vec<(String, Vec<u8>)> {
        texts.iter().map(|text| ("a".to_owned(), text.to_vec())).collect()
    };
    assert_eq!(notices(store, NoticeId::default()), all(&[b"a1", b"a2", b"a4"]));
    assert_eq!(notices(store, NoticeId::end_of(first)), all(&[b"a2", b"a4"]));
    assert_eq!(store.notices(NoticeId::default(), 2).unwrap().len(), 2);
    let ids: Vec<NoticeId> =
        store.notices(NoticeId::default(), 9).unwrap().into_iter().map(|one| one.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert_eq!(notices(store, ids[1]), all(&[b"a4"]));
    assert_eq!(store.notices_floor().unwrap(), NoticeId::default());
    assert_eq!(store.prune_notices(1).unwrap(), 2);
    assert_eq!(store.prune_notices(1).unwrap(), 0);
    assert_eq!(store.notices_floor().unwrap(), ids[1]);
    assert_eq!(notices(store, NoticeId::default()), all(&[b"a4"]));
    assert!(store.verify().unwrap().is_clean());
    store.commit(puts(vec![put("b", Some(0), b"s")])).unwrap();
    let turns = vec![turn("b", b"1", Some(b"b1"))];
    store.commit(Batch { turns, ..Batch::default() }).unwrap();
    store.delete(&customer("a")).unwrap();
    assert_eq!(store.standing(&customer("a")).unwrap(), None);
    assert_eq!(notices(store, NoticeId::default()), [("b".to_owned(), b"b1".to_vec())]);
}
