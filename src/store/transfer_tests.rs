use std::path::PathBuf;

use super::*;
use crate::store::conformance::customer;
use crate::store::conformance::exported;
use crate::store::{Batch, MemoryStore, Put};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store/export_v1")
}

#[test]
fn the_golden_export_is_read_and_written() {
    let store = MemoryStore::new();
    let manifest = import(&store, &golden()).unwrap();
    assert_eq!((manifest.commit, store.last_commit().seq()), (41, 41));
    let state = store.get(&customer("golden-Zoë")).unwrap().unwrap();
    assert_eq!((state.version, &*state.bytes), (3, b"opaque \x00\xff state".as_slice()));
    assert!(store.contains(&customer("golden-Zoë"), EventId::from_bits(0x0102)).unwrap());
    assert_eq!(store.watermarks().unwrap()["log"], 7);
    assert_eq!(store.pinned().unwrap()["fold"], "1");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(export(&store, ScanRange::All, dir.path()).unwrap(), manifest);
    for name in [RECORDS, MANIFEST] {
        assert_eq!(
            fs::read(dir.path().join(name)).unwrap(),
            fs::read(golden().join(name)).unwrap()
        );
    }
}

#[test]
fn a_store_with_pins_takes_an_export_that_agrees_only() {
    for (fold, agrees) in [("1", true), ("2", false)] {
        let store = MemoryStore::new();
        store.pin(&[("fold", fold)]).unwrap();
        let imported = import(&store, &golden());
        assert_eq!(imported.is_ok(), agrees);
        if let Err(error) = imported {
            assert_eq!(store.count().unwrap(), 0);
            assert!(matches!(error, TransferError::Store(StoreError::PinMismatch { .. })));
        }
    }
}

#[test]
fn any_bytes_are_a_record_or_a_reason() {
    let mut seed = 7_u64;
    let mut n_records = 0;
    for round in 0..20_000_usize {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        };
        let mut bytes: Vec<u8> = (0..round % 64).map(|_| next()).collect();
        if let [tag, low, high, ..] = &mut *bytes {
            *tag = [TAG_PIN, TAG_WATERMARK, TAG_STATE, TAG_DEDUPE][round / 64 % 4];
            (*low, *high) = (*low % 8, 0);
        }
        n_records += usize::from(parse(&bytes).is_ok());
    }
    assert!(n_records > 0);
}

#[test]
fn an_export_shows_every_change() {
    let store = MemoryStore::new();
    let mut seen = vec![exported(&store)];
    let put = |bytes: &[u8]| Put {
        customer: customer("a"),
        expected_version: None,
        bytes: bytes.to_vec(),
    };
    let mark = |position| Watermark { source: "s".to_owned(), position };
    let event = (customer("a"), EventId::from_bits(1));
    let changes = [
        Batch { puts: vec![put(b"1")], ..Batch::default() },
        Batch { puts: vec![put(b"1")], ..Batch::default() },
        Batch { puts: vec![put(b"2")], ..Batch::default() },
        Batch { dedupe: vec![event], ..Batch::default() },
        Batch { watermarks: vec![mark(1)], ..Batch::default() },
        Batch { watermarks: vec![mark(2)], ..Batch::default() },
    ];
    for batch in changes {
        store.commit(batch).unwrap();
        seen.push(exported(&store));
    }
    seen.sort();
    let n_seen = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), n_seen);
}
