//! The store on disk under `kill -9`, torn tails, damage and a full disk.
//!
//! A child process (this test binary again) commits numbered batches and prints each number that
//! was acknowledged. It is killed at random moments; then the store must hold exactly the batches
//! 1 to n for some n that is not below the last acknowledged one. Real power loss cannot be tested
//! on an ordinary machine and is not claimed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise; the child speaks through its output"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tenure::domain::CustomerId;
use tenure::domain::EventId;
use tenure::store::Batch;
use tenure::store::Put;
use tenure::store::ScanRange;
use tenure::store::SledOptions;
use tenure::store::SledStore;
use tenure::store::StateStore;
use tenure::store::StoreError;
use tenure::store::Update;
use tenure::store::Watermark;
use tenure::store::Writer;
use tenure::store::WriterLimits;

const CHILD_DIR: &str = "TENURE_TEST_STORE_DIR";
const CHILD_WAY: &str = "TENURE_TEST_STORE_WAY";

/// Customers in all, and touched by one batch.
const N_CUSTOMERS: u64 = 300;
const BATCH_CUSTOMERS: u64 = 25;

/// Rounds of a test that kills: a few in every run, and so many times more where SLOW_TESTS is set.
pub(crate) fn rounds(usual: usize) -> usize {
    const SLOW: usize = 4;
    if std::env::var_os("SLOW_TESTS").is_some() { SLOW * usual } else { usual }
}

/// Submissions that a child may have open at the writer.
const WINDOW: u64 = 40;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn customers_of(batch: u64) -> impl Iterator<Item = CustomerId> {
    let first = batch.wrapping_mul(17);
    (0..BATCH_CUSTOMERS)
        .map(move |idx| CustomerId::try_new(&format!("c{}", (first + idx) % N_CUSTOMERS)).unwrap())
}

fn event_of(batch: u64) -> EventId {
    EventId::from_bits(u128::from(batch))
}

/// A state: how many batches, the last one, and a digest that depends on all in their order.
fn fold(state: Option<&[u8]>, batch: u64) -> Vec<u8> {
    let mut numbers = [0_u64; 3];
    if let Some(state) = state {
        for (number, bytes) in numbers.iter_mut().zip(state.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().unwrap());
        }
    }
    let [count, _, digest] = numbers;
    let digest = (digest ^ batch).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let head = [count + 1, batch, digest].into_iter().flat_map(u64::to_le_bytes);
    // Padded to the size of a usual state.
    head.chain((0..240).map(|idx| (batch.wrapping_add(idx)).to_le_bytes()[0])).collect()
}

fn watermark(batch: u64) -> Vec<Watermark> {
    vec![Watermark { source: "log".to_owned(), position: batch }]
}

fn commit_batch(store: &dyn StateStore, batch: u64) -> Result<(), StoreError> {
    let mut content = Batch { watermarks: watermark(batch), ..Batch::default() };
    for customer in customers_of(batch) {
        let state = store.get(&customer)?;
        let bytes = fold(state.as_ref().map(|state| &*state.bytes), batch);
        let expected_version = Some(state.map_or(0, |state| state.version));
        content.dedupe.push((customer.clone(), event_of(batch)));
        content.puts.push(Put { customer, expected_version, bytes });
    }
    store.commit(content).map(|_| ())
}

fn last_batch(store: &dyn StateStore) -> u64 {
    store.watermarks().unwrap().get("log").copied().unwrap_or(0)
}

/// The number of the last batch, if the store holds exactly the batches up to it.
fn exact_prefix(store: &dyn StateStore) -> Result<u64, String> {
    let report = store.verify().map_err(|error| error.to_string())?;
    if !report.is_clean() {
        return Err(format!("not clean: {report:?}"));
    }
    let last = last_batch(store);
    let mut expected: BTreeMap<CustomerId, (u64, Vec<u8>)> = BTreeMap::new();
    let mut events = Vec::new();
    for batch in 1..=last {
        for customer in customers_of(batch) {
            let (version, state) = expected.entry(customer.clone()).or_default();
            *state = fold(Some(&*state).filter(|state| !state.is_empty()).map(|s| &**s), batch);
            *version += 1;
            events.push((customer, event_of(batch)));
        }
    }
    let mut found = BTreeMap::new();
    let mut visit = |customer: &CustomerId, state: tenure::store::StoredState| {
        found.insert(customer.clone(), (state.version, state.bytes));
        ControlFlow::Continue(())
    };
    store.scan(ScanRange::All, &mut visit).map_err(|error| error.to_string())?;
    for (customer, (version_max, state)) in &expected {
        let Some((version, bytes)) = found.get(customer) else {
            return Err(format!("{customer} is missing"));
        };
        // Batches that shared a commit raised the version once.
        if bytes != state || !(1..=*version_max).contains(version) {
            return Err(format!("{customer} is not as batches 1 to {last} leave it"));
        }
    }
    if found.len() != expected.len() {
        return Err(format!("{} customers, batches make {}", found.len(), expected.len()));
    }
    let mut n_extra = 0_usize;
    events.sort();
    let mut visit = |customer: &CustomerId, event, _| {
        n_extra += usize::from(events.binary_search(&(customer.clone(), event)).is_err());
        ControlFlow::Continue(())
    };
    let n_found =
        store.scan_dedupe(ScanRange::All, &mut visit).map_err(|error| error.to_string())?;
    if n_extra > 0 || n_found != events.len() as u64 {
        return Err(format!(
            "{n_found} event ids ({n_extra} strange), batches make {}",
            events.len()
        ));
    }
    Ok(last)
}

/// The checker: nothing acknowledged is missing, nothing is torn, nothing is invented.
fn check(store: &dyn StateStore, acknowledged: u64, started: u64) -> Result<u64, String> {
    let last = exact_prefix(store)?;
    if last < acknowledged {
        return Err(format!("batch {acknowledged} was acknowledged, the store ends at {last}"));
    }
    if last > started {
        return Err(format!("the store ends at batch {last}, only {started} were started"));
    }
    Ok(last)
}

/// The same where several threads write: every customer is as a beginning of its own batches
/// leaves it, ids included, none ends before the watermark, and that not before what was
/// acknowledged. The part of a batch that was under way may be there for some of its customers.
fn check_by_customer(
    store: &dyn StateStore,
    acknowledged: u64,
    started: u64,
) -> Result<(), String> {
    let report = store.verify().map_err(|error| error.to_string())?;
    let marked = last_batch(store);
    if !report.is_clean() || marked < acknowledged || marked > started {
        return Err(format!("acknowledged {acknowledged}, marked {marked}, {report:?}"));
    }
    let mut batches: BTreeMap<CustomerId, Vec<u64>> = BTreeMap::new();
    for batch in 1..=started {
        customers_of(batch).for_each(|who| batches.entry(who).or_default().push(batch));
    }
    let (mut events, mut n_events) = (BTreeMap::new(), 0);
    for (customer, batches) in batches {
        let state = store.get(&customer).map_err(|error| error.to_string())?;
        let bytes = state.map(|state| state.bytes);
        let last = bytes.as_ref().map_or(0, |b| u64::from_le_bytes(b[8..16].try_into().unwrap()));
        let mut expected = None;
        for batch in batches.iter().filter(|batch| **batch <= last) {
            expected = Some(fold(expected.as_deref(), *batch));
            events.insert((customer.clone(), event_of(*batch)), ());
            n_events += 1;
        }
        let missing = batches.iter().find(|batch| **batch <= marked && **batch > last);
        if bytes != expected || missing.is_some() {
            return Err(format!("{customer} ends at {last}, marked {marked}, missing {missing:?}"));
        }
    }
    let mut n_known = 0;
    let mut visit = |customer: &CustomerId, event, _| {
        n_known += usize::from(events.contains_key(&(customer.clone(), event)));
        ControlFlow::Continue(())
    };
    let n_found = store.scan_dedupe(ScanRange::All, &mut visit).map_err(|e| e.to_string())?;
    if n_known != n_events || n_found != n_events as u64 {
        return Err(format!("{n_found} event ids, {n_known} known, {n_events} expected"));
    }
    Ok(())
}

fn open(dir: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(dir, &SledOptions::default()).map(|(store, _)| store)
}

fn say(word: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {number}").unwrap();
    out.flush().unwrap();
}

/// Does nothing in a normal run. As the child of another test it commits until it is killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    // The line that the test harness has begun ends here.
    say("\nopening", 0);
    let store = Arc::new(open(Path::new(&dir)).unwrap());
    say("opened", last_batch(&*store));
    match std::env::var_os(CHILD_WAY).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("writer") => write_through_writer(store, 1),
        Some("writers") => write_through_writer(store, 3),
        _ => write_directly(&store),
    }
}

fn write_directly(store: &SledStore) {
    for batch in last_batch(store) + 1.. {
        match commit_batch(store, batch) {
            Ok(()) => say("ack", batch),
            Err(StoreError::DiskFull { .. }) => return say("full", batch),
            Err(error) => {
                println!("\nerror {error}");
                return;
            }
        }
    }
}

fn write_through_writer(store: Arc<SledStore>, n_threads: usize) {
    let first = last_batch(&*store) + 1;
    let limits = WriterLimits {
        commit_ops_max: 200,
        queue_ops_max: 10_000,
        n_threads,
        ..Default::default()
    };
    let writer = Writer::start(store, limits).unwrap();
    let mut tickets = std::collections::VecDeque::new();
    for batch in first.. {
        let updates = customers_of(batch).map(|customer| Update {
            customer,
            events: vec![event_of(batch)],
            fold: Box::new(move |state, is_new| {
                assert_eq!(is_new, [true]);
                Ok(fold(state, batch))
            }),
        });
        tickets.push_back((batch, writer.submit(updates.collect(), watermark(batch)).unwrap()));
        if tickets.len() as u64 == WINDOW {
            let (batch, ticket) = tickets.pop_front().unwrap();
            assert!(ticket.wait().unwrap().watermarks_taken);
            say("ack", batch);
        }
    }
}

/// Starts the child; `shell` runs before it, to set limits.
fn start_child(dir: &Path, way: &str, shell: &str) -> (Child, BufReader<ChildStdout>) {
    let binary = std::env::current_exe().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(binary)
        .args(["--exact", "store_kill::child", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env(CHILD_WAY, way)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// Reads until a line with this word; its number, or `None` when the child has ended.
fn read_until(lines: &mut BufReader<ChildStdout>, wanted: &str) -> Option<u64> {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // A line without its end was cut off by the kill: it was never said.
        if let Some((word, number)) = line.strip_suffix('\n').and_then(|line| line.split_once(' '))
            && word == wanted
        {
            return Some(number.parse().unwrap());
        }
        line.clear();
    }
    None
}

fn kill(mut child: Child) {
    // On Unix this is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What a kill during an earlier opening can leave: always passed over by the cure.
fn plant_half_snapshots(dir: &Path) {
    for name in ["snap.0000.generating", "snap.7FFFFFFFFFFFFFF0.generating"] {
        fs::write(dir.join(name), [0xa5; 777]).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_kill_while_writing_loses_nothing_acknowledged() {
    let seed = 0x7e57_0001;
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut n_acknowledged = 0;
    for round in 0..rounds(20) {
        let way = ["direct", "writer"][round % 2];
        let (child, mut lines) = start_child(dir.path(), way, "");
        let mut acknowledged = read_until(&mut lines, "opened").unwrap();
        for _ in 0..random.below(60) {
            acknowledged = read_until(&mut lines, "ack").unwrap();
            n_acknowledged += 1;
        }
        std::thread::sleep(Duration::from_micros(random.below(3_000)));
        kill(child);
        while let Some(number) = read_until(&mut lines, "ack") {
            acknowledged = number;
            n_acknowledged += 1;
        }
        plant_half_snapshots(dir.path());
        let store = open(dir.path()).unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
        let started = acknowledged + WINDOW;
        let last = check(&store, acknowledged, started)
            .unwrap_or_else(|problem| panic!("seed {seed} round {round} ({way}): {problem}"));
        println!("round {round} ({way}): acknowledged {acknowledged}, stored {last}");
    }
    assert!(n_acknowledged > 200, "too little was written: {n_acknowledged}");
}

#[test]
fn a_kill_among_several_writers_loses_nothing_acknowledged() {
    let seed = 0x7e57_0007;
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut n_acknowledged = 0;
    for round in 0..rounds(12) {
        let (child, mut lines) = start_child(dir.path(), "writers", "");
        let mut acknowledged = read_until(&mut lines, "opened").unwrap();
        for _ in 0..random.below(60) {
            acknowledged = read_until(&mut lines, "ack").unwrap();
            n_acknowledged += 1;
        }
        std::thread::sleep(Duration::from_micros(random.below(3_000)));
        kill(child);
        while let Some(number) = read_until(&mut lines, "ack") {
            acknowledged = number;
            n_acknowledged += 1;
        }
        let store = open(dir.path()).unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
        check_by_customer(&store, acknowledged, acknowledged + WINDOW)
            .unwrap_or_else(|problem| panic!("seed {seed} round {round}: {problem}"));
        // The check itself notices a batch that was never committed.
        let never = acknowledged + WINDOW + 1;
        assert!(check_by_customer(&store, never, never).is_err());
    }
    assert!(n_acknowledged > 100, "too little was written: {n_acknowledged}");
}

#[test]
fn a_kill_while_opening_leaves_a_store_that_opens() {
    let seed = 0x7e57_0002;
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    (1..=400).for_each(|batch| commit_batch(&store, batch).unwrap());
    drop(store);
    let (mut last, mut n_before_opened) = (400, 0);
    for round in 0..rounds(12) {
        let (child, mut lines) = start_child(dir.path(), "direct", "");
        read_until(&mut lines, "opening").unwrap();
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        kill(child);
        let opened = read_until(&mut lines, "opened");
        n_before_opened += usize::from(opened.is_none());
        let mut acknowledged = opened.unwrap_or(last);
        while let Some(number) = read_until(&mut lines, "ack") {
            acknowledged = number;
        }
        // Every other round the next child is the one that finds what this one left.
        if round % 2 == 1 {
            let store =
                open(dir.path()).unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
            last = check(&store, acknowledged, acknowledged + 1)
                .unwrap_or_else(|problem| panic!("seed {seed} round {round}: {problem}"));
        } else {
            last = last.max(acknowledged);
        }
    }
    println!("{n_before_opened} of {} kills came before the store was open", rounds(12));
    assert!(n_before_opened > 0, "no kill met the opening");
}

#[test]
fn a_kill_while_creating_leaves_a_directory_that_opens() {
    let seed = 0x7e57_0003;
    let mut random = Random(seed);
    for round in 0..rounds(8) {
        let dir = tempfile::tempdir().unwrap();
        let (child, mut lines) = start_child(dir.path(), "direct", "");
        read_until(&mut lines, "opening").unwrap();
        std::thread::sleep(Duration::from_micros(random.below(2_500)));
        kill(child);
        let mut acknowledged = read_until(&mut lines, "opened").unwrap_or(0);
        while let Some(number) = read_until(&mut lines, "ack") {
            acknowledged = number;
        }
        let store = open(dir.path()).unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
        check(&store, acknowledged, acknowledged + 1)
            .unwrap_or_else(|problem| panic!("seed {seed} round {round}: {problem}"));
    }
}

#[test]
fn without_the_cure_a_half_snapshot_keeps_the_store_shut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    (1..=50).for_each(|batch| commit_batch(&store, batch).unwrap());
    drop(store);
    drop(open(dir.path()).unwrap());
    plant_half_snapshots(dir.path());
    let uncured = SledOptions { keep_leftovers: true, ..SledOptions::default() };
    for _ in 0..2 {
        let refused = SledStore::open(dir.path(), &uncured).map(|_| ());
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    }
    let (store, report) = SledStore::open(dir.path(), &SledOptions::default()).unwrap();
    assert_eq!(report.removed.len(), 2);
    assert_eq!(check(&store, 50, 50), Ok(50));
}

#[test]
fn a_torn_tail_is_an_error_or_an_exact_prefix() {
    let seed = 0x7e57_0004;
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let (child, mut lines) = start_child(dir.path(), "direct", "");
    while read_until(&mut lines, "ack").unwrap() < 120 {}
    kill(child);
    let log = fs::read(dir.path().join("db")).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    let (mut n_errors, mut n_shorter, mut n_whole) = (0, 0, 0);
    for round in 0..rounds(24) {
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        let mut torn = log.clone();
        let at = usize::try_from(random.below(used)).unwrap();
        if round % 2 == 0 {
            torn[at..].fill(0);
        } else {
            let end = (at + 4_096).min(torn.len());
            torn[at..end]
                .iter_mut()
                .for_each(|byte| *byte ^= random.below(255).to_le_bytes()[0] + 1);
        }
        fs::write(image.path().join("db"), torn).unwrap();
        // Damage may also make the engine panic: that is an error too, and not a silent one.
        let read = std::panic::catch_unwind(|| {
            let store = open(image.path()).map_err(|error| error.to_string())?;
            // A store that answers an error when it is verified is not silent either.
            store.verify().map_err(|error| error.to_string())?;
            Ok::<_, String>(exact_prefix(&store).unwrap_or_else(|problem| {
                assert!(problem.contains("not clean"), "seed {seed} round {round}: {problem}");
                u64::MAX
            }))
        });
        match read {
            Ok(Ok(u64::MAX)) | Ok(Err(_)) | Err(_) => n_errors += 1,
            Ok(Ok(last)) if last < 120 => n_shorter += 1,
            Ok(Ok(_)) => n_whole += 1,
        }
    }
    println!("{n_errors} errors, {n_shorter} shorter prefixes, {n_whole} whole");
    assert!(n_errors + n_shorter > 0);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    // A file may grow to 4096 blocks of 512 bytes; with the signal ignored, writing answers an
    // error as a full disk does.
    let limit = "trap '' XFSZ; ulimit -f 4096;";
    let (mut child, mut lines) = start_child(dir.path(), "direct", limit);
    let (mut acknowledged, mut full, mut line) = (0, false, String::new());
    while lines.read_line(&mut line).unwrap() > 0 {
        match line.trim_end().split_once(' ') {
            Some(("ack", number)) => acknowledged = number.parse().unwrap(),
            Some(("full", _)) => full = true,
            Some(("error", text)) => panic!("{text}"),
            _ => {}
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(full && acknowledged > 10, "acknowledged {acknowledged}");
    let store = open(dir.path()).unwrap();
    check(&store, acknowledged, acknowledged + 1).unwrap();
    commit_batch(&store, last_batch(&store) + 1).unwrap();
}

#[test]
fn the_checker_notices_what_it_is_there_for() {
    let fresh = |batches: &[u64]| {
        let store = tenure::store::MemoryStore::new();
        batches.iter().for_each(|batch| commit_batch(&store, *batch).unwrap());
        store
    };
    let whole: Vec<u64> = (1..=60).collect();
    assert_eq!(check(&fresh(&whole), 60, 60), Ok(60));
    assert_eq!(check(&fresh(&whole), 59, 60), Ok(60));
    // An acknowledged batch is dropped: at the end, in the middle, at the start.
    assert!(check(&fresh(&whole[..59]), 60, 60).is_err());
    for dropped in [1, 30, 59] {
        let rest: Vec<u64> = whole.iter().copied().filter(|batch| *batch != dropped).collect();
        assert!(check(&fresh(&rest), 60, 60).is_err(), "batch {dropped}");
    }
    // Something is there that nobody wrote.
    assert!(check(&fresh(&whole), 40, 59).is_err());
    // A batch is torn: its states without its ids, its ids without its states.
    for (puts, dedupe) in [(true, false), (false, true)] {
        let store = fresh(&whole[..59]);
        let mut batch = Batch { watermarks: watermark(60), ..Batch::default() };
        for customer in customers_of(60) {
            if dedupe {
                batch.dedupe.push((customer.clone(), event_of(60)));
            }
            if puts {
                let state = store.get(&customer).unwrap();
                let bytes = fold(state.as_ref().map(|state| &*state.bytes), 60);
                batch.puts.push(Put { customer, expected_version: None, bytes });
            }
        }
        store.commit(batch).unwrap();
        assert!(check(&store, 60, 60).is_err());
    }
    // One customer is forgotten.
    let store = fresh(&whole);
    store.delete(&customers_of(60).next().unwrap()).unwrap();
    assert!(check(&store, 60, 60).is_err());
}
