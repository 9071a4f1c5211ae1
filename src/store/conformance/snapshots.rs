//! What every snapshot must do.

use std::ops::ControlFlow;

use super::{Rig, customer, exported, feed, put, puts};
use crate::domain::CustomerId;
use crate::store::{Commit, ScanRange, Snapshot, StoredState, send_export, shard_of};

/// Everything that a snapshot holds, as the bytes of its export.
fn sent(snapshot: &dyn Snapshot, range: ScanRange) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let manifest = send_export(snapshot, range, &mut |more| {
        bytes.extend_from_slice(more);
        Ok(())
    });
    (bytes, manifest.unwrap().commit)
}

pub(in crate::store) fn a_snapshot_shows_its_commit_whatever_is_written_since<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    store.pin(&[("fold", "1")]).unwrap();
    feed(store, 0..6_000);
    let (before, commit) = (exported(store), store.last_commit().seq());
    let shard = ScanRange::Shard(shard_of(&customer("c7")));
    let of_shard = sent(&*store.snapshot().unwrap(), shard);
    let snapshot = store.snapshot().unwrap();
    let halfway = {
        // Changed, added, taken away, and taken away and added again.
        feed(store, 6_000..8_000);
        store.snapshot().unwrap()
    };
    let later = exported(store);
    store.commit(puts(vec![put("new", Some(0), b"x"), put("c9", None, b"y")])).unwrap();
    for gone in ["c3", "c7", "c499"] {
        store.delete(&customer(gone)).unwrap();
    }
    feed(store, 0..500);
    store.prune_dedupe(Commit::from_seq(300)).unwrap();
    store.pin(&[("zone", "UTC")]).unwrap();
    assert_ne!(exported(store), later);
    for _ in 0..2 {
        assert_eq!(sent(&*snapshot, ScanRange::All), (before.clone(), commit));
        assert_eq!(sent(&*snapshot, shard), of_shard);
        assert_eq!(sent(&*halfway, ScanRange::All).0, later);
    }
    drop((snapshot, halfway));
    let bytes = exported(store);
    assert_eq!(sent(&*store.snapshot().unwrap(), ScanRange::All).0, bytes);
}

pub(in crate::store) fn a_snapshot_stands_still_while_others_write<R: Rig>() {
    let rig = R::fresh();
    let store = rig.store();
    feed(store, 0..3_000);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| feed(store, 3_000..9_000));
        while !writing.is_finished() {
            let snapshot = store.snapshot().unwrap();
            // A state grows by eight bytes with each event, and the watermark is the last of them:
            // all three must be of one commit.
            let mut n_bytes = 0;
            let mut add = |_: &CustomerId, state: StoredState| {
                n_bytes += state.bytes.len() as u64;
                ControlFlow::Continue(())
            };
            snapshot.scan(ScanRange::All, &mut add).unwrap();
            let all = &mut |_: &CustomerId, _, _| ControlFlow::Continue(());
            let n_events = snapshot.scan_dedupe(ScanRange::All, all).unwrap();
            assert_eq!((n_bytes / 8, snapshot.watermarks()["log"] + 1), (n_events, n_events));
            let first = sent(&*snapshot, ScanRange::All);
            assert_eq!(sent(&*snapshot, ScanRange::All), first);
        }
        writing.join().unwrap();
    });
}
