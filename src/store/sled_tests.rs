use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::store::Watermark;
use crate::store::conformance::Rig;
use crate::store::conformance::conformance_suite;
use crate::store::conformance::customer;
use crate::store::conformance::exported;
use crate::store::{Put, STATE_BYTES_MAX};

struct SledRig {
    // Dropped before its directory.
    store: Option<SledStore>,
    dir: TempDir,
}

impl Rig for SledRig {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(open(dir.path()).unwrap().0);
        Self { store, dir }
    }

    fn store(&self) -> &dyn StateStore {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        drop(self.store.take());
        self.store = Some(open(self.dir.path()).unwrap().0);
    }
}

conformance_suite!(SledRig);

fn open(dir: &Path) -> Result<(SledStore, OpenReport), StoreError> {
    SledStore::open(dir, &SledOptions::default())
}

fn one(text: &str, bytes: &[u8]) -> Batch {
    let put = Put { customer: customer(text), expected_version: None, bytes: bytes.to_vec() };
    Batch { puts: vec![put], ..Batch::default() }
}

/// A closed store with a few states, and what it held.
fn closed_store() -> (TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (store, report) = open(dir.path()).unwrap();
    assert!(report.created);
    for idx in 0..300 {
        store.commit(one(&format!("c{idx}"), &[7; 200])).unwrap();
    }
    let content = exported(&store);
    drop(store);
    // Opening writes a snapshot of what the log holds by now.
    drop(open(dir.path()).unwrap());
    (dir, content)
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

#[test]
fn a_second_opener_is_refused_by_name() {
    let (dir, _) = closed_store();
    let (store, report) = open(dir.path()).unwrap();
    assert_eq!(report, OpenReport::default());
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::AlreadyOpen { dir: named } if named == dir.path()));
    assert!(refused.to_string().contains(dir.path().to_str().unwrap()));
    store.commit(one("still", b"works")).unwrap();
    drop(store);
    open(dir.path()).unwrap();
}

#[test]
fn a_half_snapshot_breaks_the_engine_and_is_cured() {
    // A kill leaves the name of the newer snapshot; the short one sorts before every real
    // snapshot, so the engine would pass over it where a real one exists.
    for (name, breaks) in
        [("snap.7FFFFFFFFFFFFFFF.generating", true), ("snap.0000.generating", false)]
    {
        let (dir, content) = closed_store();
        assert_eq!(snapshots(dir.path()).len(), 1);
        let half = dir.path().join(name);
        fs::write(&half, [0xa5; 1_000]).unwrap();
        let uncured = SledOptions { keep_leftovers: true, ..SledOptions::default() };
        match SledStore::open(dir.path(), &uncured) {
            Err(StoreError::Corrupt { part: CorruptPart::Engine, .. }) => assert!(breaks),
            Ok(_) => assert!(!breaks, "{name}"),
            Err(error) => panic!("{error}"),
        }
        let (store, report) = open(dir.path()).unwrap();
        assert_eq!(report.removed, std::slice::from_ref(&half));
        assert!(!half.try_exists().unwrap() && !report.created);
        assert_eq!(exported(&store), content);
    }
}

#[test]
fn a_half_snapshot_before_the_first_real_one_is_cured() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    store.commit(one("a", b"1")).unwrap();
    let content = exported(&store);
    drop(store);
    snapshots(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::write(dir.path().join("snap.0000.generating"), [0xa5; 1_000]).unwrap();
    let uncured = SledOptions { keep_leftovers: true, ..SledOptions::default() };
    let refused = SledStore::open(dir.path(), &uncured);
    assert!(matches!(refused, Err(StoreError::Corrupt { part: CorruptPart::Engine, .. })));
    assert_eq!(exported(&open(dir.path()).unwrap().0), content);
}

#[test]
fn what_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), b"not ours").unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::NotAStore { found, .. } if found == "holiday.jpg"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let file = dir.path().join("holiday.jpg");
    assert!(matches!(open(&file), Err(StoreError::Io { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"not ours");
}

#[test]
fn a_newer_store_is_refused_and_not_rewritten() {
    let (dir, content) = closed_store();
    let marker = dir.path().join("STORE");
    assert_eq!(fs::read_to_string(&marker).unwrap(), "tenure-store 1 ready\n");
    fs::write(&marker, "tenure-store 2 ready packed\n").unwrap();
    let log = fs::read(dir.path().join("db")).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 2, supported: 1, .. }));
    assert_eq!(fs::read(dir.path().join("db")).unwrap(), log);
    for text in
        ["", "tenure-store", "tenure-store 1", "tenure-store x ready", "tenure-store 0 ready"]
    {
        fs::write(&marker, text).unwrap();
        let refused = open(dir.path()).unwrap_err();
        let marker = CorruptPart::Marker;
        assert!(matches!(refused, StoreError::Corrupt { part, .. } if part == marker), "{text}");
    }
    fs::write(&marker, "tenure-store 1 ready\n").unwrap();
    assert_eq!(exported(&open(dir.path()).unwrap().0), content);
}

#[test]
fn a_state_of_a_newer_format_is_refused_and_not_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    store.commit(one("old", b"1")).unwrap();
    let key = key::state_key(&customer("new"));
    store.engine.insert(&key, &[2, 0, 0, 0]).unwrap();
    let unknown = |refused: StoreError| {
        let StoreError::BadState { source, .. } = refused else { panic!("{refused}") };
        assert_eq!(source, codec_v1::CodecError::UnknownFormat { found: 2 });
    };
    unknown(store.get(&customer("new")).unwrap_err());
    unknown(store.get_many(&[customer("old"), customer("new")]).unwrap_err());
    unknown(store.commit(one("new", b"2")).unwrap_err());
    unknown(store.scan(ScanRange::All, &mut |_, _| ControlFlow::Continue(())).unwrap_err());
    assert_eq!(store.engine.get(&key).unwrap().unwrap(), &[2, 0, 0, 0]);
    let report = store.verify().unwrap();
    assert_eq!((report.n_states, report.n_states_expected, report.n_issues), (2, 1, 1));
    assert!(!report.is_clean() && report.issues[0].key_hex == hex(&key));
    assert_eq!(store.health(), Health::Serving);
}

#[test]
fn verify_finds_a_state_under_the_wrong_key() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    store.commit(one("a", b"1")).unwrap();
    let value = store.engine.get(key::state_key(&customer("a"))).unwrap().unwrap();
    store.engine.insert(key::state_key(&customer("b")), value).unwrap();
    assert_eq!(store.verify().unwrap().n_issues, 1);
    assert!(matches!(store.get(&customer("b")), Err(StoreError::BadState { .. })));
}

#[test]
fn a_missing_file_is_damage_and_no_new_store() {
    for name in ["db", "conf"] {
        let (dir, _) = closed_store();
        fs::rename(dir.path().join(name), dir.path().join("kept")).unwrap();
        let refused = open(dir.path()).unwrap_err();
        let missing = CorruptPart::MissingFile;
        assert!(matches!(refused, StoreError::Corrupt { part, .. } if part == missing), "{name}");
        assert!(!dir.path().join(name).try_exists().unwrap());
    }
}

#[test]
fn an_emptied_log_is_damage_and_no_new_store() {
    let (dir, _) = closed_store();
    fs::write(dir.path().join("db"), b"").unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { .. })));
    snapshots(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_creation_that_was_cut_off_starts_anew() {
    for torn_conf in
        [b"".as_slice(), b"segment_size: 524288\nuse_compression: false\nversion: 0.34"]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("STORE"), "tenure-store 1 creating\n").unwrap();
        fs::write(dir.path().join("conf"), torn_conf).unwrap();
        fs::write(dir.path().join("snap.0000000000000001.generating"), b"half").unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        let (store, report) = open(dir.path()).unwrap();
        assert!(report.created && report.removed.len() == 3, "{report:?}");
        store.commit(one("a", b"1")).unwrap();
        drop(store);
        assert_eq!(open(dir.path()).unwrap().0.count().unwrap(), 1);
    }
}

#[test]
fn half_an_import_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    store.restore(Restore::default()).unwrap();
    drop(store);
    assert!(matches!(open(dir.path()), Err(StoreError::ImportUnfinished { .. })));
}

#[test]
fn a_failed_sync_is_not_acknowledged_and_nothing_is_after_it() {
    for (code, disk_full) in [(libc_eio(), false), (libc_enospc(), true)] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path()).unwrap();
        let first = store.commit(one("a", b"1")).unwrap();
        store.sync = if code == libc_eio() { fail_eio } else { fail_enospc };
        let refused = store.commit(one("a", b"2")).unwrap_err();
        assert_eq!(matches!(refused, StoreError::DiskFull { .. }), disk_full, "{refused}");
        assert_eq!(store.last_commit(), first);
        let Health::ReadOnly { cause } = store.health() else { panic!("still serving") };
        assert_eq!(cause, refused.to_string());
        store.sync = File::sync_data;
        assert!(matches!(store.commit(one("b", b"1")), Err(StoreError::ReadOnly { .. })));
        assert!(matches!(store.delete(&customer("a")), Err(StoreError::ReadOnly { .. })));
        assert!(matches!(store.pin(&[("x", "1")]), Err(StoreError::ReadOnly { .. })));
        assert!(store.get(&customer("a")).unwrap().is_some());
        drop(store);
        let (store, _) = open(dir.path()).unwrap();
        assert_eq!(store.get(&customer("b")).unwrap(), None);
        store.commit(one("b", b"1")).unwrap();
    }
}

fn libc_eio() -> i32 {
    5
}

fn libc_enospc() -> i32 {
    28
}

fn fail_eio(_: &File) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc_eio()))
}

fn fail_enospc(_: &File) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc_enospc()))
}

#[test]
fn only_disk_durability_syncs() {
    for (durability, syncs) in
        [(Durability::Memory, false), (Durability::Process, false), (Durability::Disk, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let options = SledOptions { durability, ..SledOptions::default() };
        let (mut store, _) = SledStore::open(dir.path(), &options).unwrap();
        store.sync = fail_eio;
        assert_eq!(store.commit(one("a", b"1")).is_err(), syncs, "{durability:?}");
    }
}

#[test]
fn the_largest_states_need_no_side_files() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path()).unwrap();
    let id = |idx: usize| format!("{idx:0>256}");
    for round in 0..4_usize {
        for start in (0..2_000).step_by(200) {
            let puts = (start..start + 200).map(|idx| {
                let bytes =
                    (0..STATE_BYTES_MAX).map(|at| (at * (idx + 7 * round + 1)).to_le_bytes()[0]);
                Put { customer: customer(&id(idx)), expected_version: None, bytes: bytes.collect() }
            });
            store.commit(Batch { puts: puts.collect(), ..Batch::default() }).unwrap();
            assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
        }
    }
    for idx in 0..1_990 {
        store.delete(&customer(&id(idx))).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
    }
    drop(store);
    let (store, _) = open(dir.path()).unwrap();
    assert_eq!(store.verify().unwrap().state_bytes, 10 * STATE_BYTES_MAX as u64);
    assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
}

#[test]
fn damage_is_an_error_or_changes_nothing() {
    // 4 KiB of noise at a random place of the log, as a failing disk would leave it.
    let mut seed = 0x5eed_u64;
    let (mut n_errors, mut n_harmless) = (0, 0);
    for round in 0..12 {
        let (dir, content) = closed_store();
        let path = dir.path().join("db");
        let mut log = fs::read(&path).unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let used = log.iter().rposition(|byte| *byte != 0).unwrap();
        let at = usize::try_from(seed >> 33).unwrap() % used;
        let end = (at + 4_096).min(log.len());
        log[at..end]
            .iter_mut()
            .zip(seed.to_le_bytes().iter().cycle())
            .for_each(|(a, b)| *a ^= b | 1);
        fs::write(&path, log).unwrap();
        let read = std::panic::catch_unwind(|| match open(dir.path()) {
            Err(_) => None,
            Ok((store, _)) => {
                store.verify().is_ok_and(|report| report.is_clean()).then(|| exported(&store))
            }
        });
        match read {
            Ok(Some(found)) => {
                assert_eq!(found, content, "silent damage in round {round} at {at}");
                n_harmless += 1;
            }
            _ => n_errors += 1,
        }
    }
    println!("{n_errors} errors, {n_harmless} harmless");
    assert!(n_errors > 0, "the damage never met anything that is read");
}

/// A directory of format 1, as the first release wrote it and closed it; the log compressed.
fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store/dir_v1")
}

/// What was written into it.
fn golden_content(store: &dyn StateStore) {
    store.pin(&[("fold", "1"), ("timezone", "UTC")]).unwrap();
    for number in 0..24_u64 {
        let mut batch = one(&format!("golden-{}", number % 12), &number.to_le_bytes());
        batch.dedupe.push((customer("golden-1"), EventId::from_bits(u128::from(number))));
        batch.watermarks.push(Watermark { source: "log".to_owned(), position: number });
        store.commit(batch).unwrap();
    }
    store.delete(&customer("golden-0")).unwrap();
}

#[test]
fn the_golden_directory_opens_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["STORE", "conf"] {
        fs::copy(golden_dir().join(name), dir.path().join(name)).unwrap();
    }
    let log = fs::File::open(golden_dir().join("db.gz")).unwrap();
    let mut log = flate2::read::GzDecoder::new(log);
    io::copy(&mut log, &mut File::create(dir.path().join("db")).unwrap()).unwrap();
    let (store, report) = open(dir.path()).unwrap();
    assert_eq!(report, OpenReport::default());
    let expected = crate::store::MemoryStore::new();
    golden_content(&expected);
    assert_eq!(exported(&store), exported(&expected));
    assert_eq!(store.last_commit(), expected.last_commit());
    store.commit(one("golden-0", b"anew")).unwrap();
}
