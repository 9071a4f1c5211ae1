//! The programs as people run them: exit codes, messages, and what must not change a bit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const TRAIN: &str = env!("CARGO_BIN_EXE_tenure-train");
pub(crate) const SCORE: &str = env!("CARGO_BIN_EXE_tenure-score");
pub(crate) const OPS: &str = env!("CARGO_BIN_EXE_tenure-ops");

/// What one run gave.
pub(crate) struct Ran {
    code: i32,
    pub(crate) out: String,
    err: String,
}

impl Ran {
    /// Ends the test unless the run ended with a code and said all parts on standard error.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {}", self.err);
        }
    }

    /// The same of standard output.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, parts: &[&str]) {
        self.expect(code, &[]);
        for part in parts {
            assert!(self.out.contains(part), "{part:?} is not in {}", self.out);
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.expect(0, &[]);
        serde_json::from_str(&self.out).unwrap()
    }
}

fn run_in(program: &str, args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(program);
    let done: Output = command.args(args).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

pub(crate) fn run(program: &str, args: &[&str]) -> Ran {
    run_in(program, args, &[])
}

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cdnow_sample.csv.gz");
    path.to_str().unwrap().to_owned()
}

/// The lines of the sample, the header first.
fn sample_lines() -> Vec<String> {
    let file = fs::File::open(sample()).unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A directory to work in.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.0.path().join(name), text).unwrap();
        self.path(name)
    }

    /// Trains on some events of the sample.
    fn train(&self, events: &str, more: &[&str]) -> Ran {
        let models = self.path("models");
        let args = [
            &["--events", events, "--until", "1997-09-30", "--churn-horizon-days", "91"][..],
            &["--clv-horizon-days", "273", "--models", &models, "--name", "cd", "--json"],
            more,
        ];
        run(TRAIN, &args.concat())
    }

    /// Scores with a model of this place.
    fn score(&self, events: &str, out: &str, more: &[&str]) -> Ran {
        self.score_with(&self.path("models"), events, out, more)
    }

    fn score_with(&self, models: &str, events: &str, out: &str, more: &[&str]) -> Ran {
        let out = self.path(out);
        let args = [
            &["--models", models, "--name", "cd", "--events", events, "--out", &out][..],
            &["--as-of", "1997-09-30", "--json"],
            more,
        ];
        run(SCORE, &args.concat())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }
}

/// A model that all tests only read.
static TRAINED: LazyLock<(Place, Value)> = LazyLock::new(|| {
    let place = Place::new();
    let said = place.train(&sample(), &[]).json();
    (place, said)
});

fn models() -> String {
    TRAINED.0.path("models")
}

fn version() -> &'static str {
    TRAINED.1["version"].as_str().unwrap()
}

#[test]
fn training_says_what_it_made() {
    let said = &TRAINED.1;
    assert_eq!((&said["promoted"], &said["alias"]), (&Value::Bool(true), &"champion".into()));
    assert!(["A", "B", "C"].contains(&said["grade"].as_str().unwrap()), "{said}");
    assert!(said["metrics"]["churn"]["candidates"].as_array().unwrap().len() >= 3);
    let folder = PathBuf::from(said["folder"].as_str().unwrap());
    for name in
        ["manifest.json", "metrics.json", "report.html", "model_card.md", "run.json", "policy.toml"]
    {
        assert!(folder.join(name).is_file(), "{name}");
    }
    let run: Value = serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    assert_eq!(run["intake"]["identical_rows"], 21);
    assert!(run["seconds"].as_f64().unwrap() > 0.0 && run["created"].is_string());
}

#[test]
fn b_2_neither_threads_nor_later_events_change_the_version() {
    let lines = sample_lines();
    // The second column is the day; text order is that of days.
    let early: Vec<&str> = lines
        .iter()
        .enumerate()
        .filter(|(idx, line)| *idx == 0 || line.split(',').nth(1).unwrap() <= "1997-09-30")
        .map(|(_, line)| line.as_str())
        .collect();
    assert!(early.len() < lines.len());
    let place = Place::new();
    let events = place.file("early.csv", &early.join("\n"));
    let again = place.train(&events, &["--threads", "1"]).json();
    assert_eq!(again["version"], version());
    let again = place.train(&sample(), &["--threads", "2", "--quiet"]).json();
    assert_eq!(again["version"], version());
    assert_eq!(again["promotion_reason"], "it is the champion already");
    // Scores: the same file to the byte, with the later events and without.
    let (all, early) = (sample(), events);
    let first = place.score(&all, "all.csv", &["--threads", "1"]).json();
    let second = place.score(&early, "early.scores.csv", &["--threads", "2"]).json();
    assert_eq!(place.read("all.csv"), place.read("early.scores.csv"));
    assert_eq!(first["sha256"], second["sha256"]);
    assert!(first["events_after"].as_u64().unwrap() > 0);
    assert_eq!(second["events_after"], 0);
}

#[test]
fn files_that_are_no_log_are_refused_with_a_reason() {
    let place = Place::new();
    let cases: &[(&str, &str, &[&str])] = &[
        ("", "empty", &["the file is empty"]),
        ("customer_id,date,amount\n", "header", &["a header but no row"]),
        ("customer_id,amount\n1,2\n", "time", &["--time-column", "columns: customer_id, amount"]),
        ("customer_id,date,amount\n1,2026-01-01,x\n", "amount", &["1 of 1 rows", "\"x\""]),
        ("customer_id,date,amount\n1,2199-01-01,5\n", "future", &["1 of 1 rows", "2199"]),
        ("customer_id,date,amount\n1,1997-09-30,-5\n", "refund", &["no purchase up to 1997-09-30"]),
        ("customer_id,date,amount\n1,1997-02-01,5\n", "short", &["ends on 1997-02-01", "--until"]),
    ];
    for (text, name, parts) in cases {
        let events = place.file(&format!("{name}.csv"), text);
        let ran = place.train(&events, &[]);
        ran.expect(65, parts);
        assert!(
            !PathBuf::from(place.path("models/cd")).try_exists().unwrap(),
            "{name}: nothing is written"
        );
    }
    let ran = place.train(&place.path("nowhere.csv"), &[]);
    ran.expect(65, &["there is no such file"]);
    let ran = place.train(&sample(), &["--customer-column", "client"]);
    ran.expect(65, &["\"client\"", "--customer-column", "customer_id"]);
}

#[test]
fn odd_rows_are_kept_counted_or_refused_beyond_the_threshold() {
    let place = Place::new();
    let mut lines = sample_lines();
    let n_rows = lines.len() - 1;
    // A refund, a row that stands there a second time, and one that is no event.
    let twice = lines[5].clone();
    lines.extend([
        "00004,1997-02-02,1,-9.99".to_owned(),
        twice,
        "00004,1997-02-03,1,n/a".to_owned(),
    ]);
    let events = place.file("odd.csv", &lines.join("\n"));
    let said = place.train(&events, &[]).json();
    let run = fs::read(Path::new(said["folder"].as_str().unwrap()).join("run.json")).unwrap();
    let intake = &serde_json::from_slice::<Value>(&run).unwrap()["intake"];
    assert_eq!(intake["rows"], n_rows + 3);
    assert_eq!((&intake["dropped"], &intake["kept"]), (&1.into(), &(n_rows + 2).into()));
    assert_eq!((&intake["negative_purchases"], &intake["refunds"]), (&1.into(), &1.into()));
    assert_eq!(intake["identical_rows"], 22);
    assert_eq!(said["metrics"]["data"]["dropped"], 1);
    place.train(&events, &["--max-dropped-rows", "0"]).expect(65, &["1 of", "\"n/a\"", "0 rows"]);
}

#[test]
fn settings_are_checked_all_at_once_and_printed_with_their_origin() {
    let place = Place::new();
    let ran = run(TRAIN, &["--until", "soon", "--name", "../x", "--prior", "strong"]);
    ran.expect(64, &["events is missing", "\"soon\"", "\"../x\"", "default or none", "models"]);
    assert!(ran.err.contains("5 problem(s)"), "{}", ran.err);
    run(TRAIN, &["--colour", "red"]).expect(64, &["--colour"]);
    run(SCORE, &["--as-of", "1997-09-30", "--out", "scores.xlsx"]).expect(64, &[".parquet"]);
    let config = place.file("train.toml", "seed = 7\nthreads = 3\nhorizon = 9\n");
    run(TRAIN, &["--config", &config]).expect(64, &["\"horizon\" is not a setting", "known:"]);
    let config = place.file("train.toml", "seed = 7\nthreads = 3\nevents = ['a.csv', 'b.csv']\n");
    let args = ["--config", &config, "--name", "cd", "--until", "2026-01-31", "--print-config"];
    let environment = [("TENURE_TRAIN_MODELS", "m"), ("TENURE_TRAIN_THREADS", "2")];
    let ran = run_in(TRAIN, &args, &environment);
    ran.expect(0, &[]);
    let printed = [
        "events = [\"a.csv\", \"b.csv\"]  # file",
        "name = \"cd\"  # flag",
        "models = \"m\"  # environment",
        "threads = 2  # environment",
        "seed = 7  # file",
        "churn_horizon_days = 90  # default",
        "# policy is not set",
    ];
    for line in printed {
        assert!(ran.out.contains(line), "{line} is not in\n{}", ran.out);
    }
    let again = place.file("printed.toml", &ran.out);
    let ran = run(TRAIN, &["--config", &again, "--print-config"]);
    ran.expect(0, &[]);
    assert!(ran.out.contains("threads = 2  # file"), "{}", ran.out);
    run_in(TRAIN, &args, &[("TENURE_TRAIN_MODEL", "m")]).expect(64, &["\"model\""]);
    run(SCORE, &["--help"]).expect(0, &[]);
}

#[test]
fn a_bad_policy_is_refused_by_line_before_anything_is_read() {
    let place = Place::new();
    let text = tenure::decision::Policy::default_text();
    let line = 1 + text.lines().position(|line| line.starts_with("priority")).unwrap();
    let bad = text.replacen("\npriority", "\npriorty", 1);
    let policy = place.file("bad.toml", &bad);
    let said = format!("line {line}");
    place.train("nowhere.csv", &["--policy", &policy]).expect(64, &[&said, "priorty"]);
    let ran = place.score_with(&models(), &sample(), "s.csv", &["--policy", &policy]);
    ran.expect(64, &[&said, "priorty"]);
    run(OPS, &["policy", "check", &policy]).expect(65, &[&said, "priorty"]);
    let good = place.file("good.toml", text);
    let checked = run(OPS, &["policy", "check", &good, "--json"]).json();
    assert!(checked["campaigns"].as_u64().unwrap() > 5, "{checked}");
    assert_eq!(checked["hash"].as_str().unwrap().len(), 64);
}

/// A row of the scores by column; a missing cell is left out.
type Row = BTreeMap<String, String>;

fn from_csv(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        let cells = header.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
        cells.map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    });
    rows.collect()
}

fn from_jsonl(text: &str) -> Vec<Row> {
    let row = |line: &str| -> Row {
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let cells = object.into_iter().filter(|(_, cell)| !cell.is_null());
        cells
            .map(|(name, cell)| match cell {
                Value::String(text) => (name, text),
                Value::Number(number) if number.is_f64() => {
                    (name, format!("{:?}", number.as_f64().unwrap()))
                }
                other => (name, other.to_string()),
            })
            .collect()
    };
    text.lines().map(row).collect()
}

#[cfg(feature = "parquet")]
fn from_parquet(path: &str) -> Vec<Row> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let cells = row.get_column_iter().filter(|(_, cell)| !matches!(cell, Field::Null));
        cells
            .map(|(name, cell)| {
                let text = match cell {
                    Field::Str(text) => text.clone(),
                    Field::Double(number) => format!("{number:?}"),
                    Field::Int(number) => number.to_string(),
                    Field::Bool(flag) => flag.to_string(),
                    other => panic!("{other:?}"),
                };
                (name.clone(), text)
            })
            .collect()
    });
    rows.collect()
}

#[test]
fn csv_json_lines_and_parquet_hold_the_same_values() {
    let place = Place::new();
    let summary = place.score_with(&models(), &sample(), "s.csv", &[]).json();
    let rows = from_csv(&place.read("s.csv"));
    assert_eq!((rows.len(), &summary["rows"]), (2357, &2357.into()));
    let header = place.read("s.csv").lines().next().unwrap().to_owned();
    assert!(header.starts_with("customer_id,churn_probability,churn_horizon_days,risk_tier,clv_"));
    assert!(header.contains(",clv_basis,model_version,policy_version,"));
    let ids: Vec<&String> = rows.iter().map(|row| &row["customer_id"]).collect();
    assert!(ids.is_sorted(), "rows come by customer id");
    for row in &rows {
        let prob: f64 = row["churn_probability"].parse().unwrap();
        assert!((0.0..=1.0).contains(&prob), "{row:?}");
        assert_eq!(row["model_version"], version());
        assert!(["no_data", "steady", "rise", "drop"].contains(&&*row["heartbeat"]), "{row:?}");
        assert_eq!(row.contains_key("suppression"), row["campaign"] == "no_action", "{row:?}");
        assert_eq!(row["holdout"] == "true", row.contains_key("would_be_campaign"));
    }
    place.score_with(&models(), &sample(), "s.jsonl", &[]).expect(0, &[]);
    assert_eq!(from_jsonl(&place.read("s.jsonl")), rows);
    #[cfg(feature = "parquet")]
    {
        place.score_with(&models(), &sample(), "s.parquet", &[]).expect(0, &[]);
        assert_eq!(from_parquet(&place.path("s.parquet")), rows);
    }
    place.score_with(&models(), &sample(), "s.csv.gz", &[]).expect(0, &[]);
    let packed = fs::File::open(place.path("s.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    assert_eq!(text, place.read("s.csv"));
    let args = ["--models", &models(), "--name", "cd", "--events", &sample(), "--as-of"];
    let piped = run(SCORE, &[args.as_slice(), &["1997-09-30", "--out", "-", "--quiet"]].concat());
    piped.expect(0, &[]);
    assert_eq!(piped.out, text);
    let left: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.to_str().unwrap().contains("writing")), "{left:?}");
}

#[test]
fn shards_are_a_partition_and_the_manifest_describes_the_file() {
    use sha2::{Digest, Sha256};

    let place = Place::new();
    place.score_with(&models(), &sample(), "all.csv", &[]).expect(0, &[]);
    let mut whole = from_csv(&place.read("all.csv"));
    let mut parts = Vec::new();
    for shard in ["0", "1", "2"] {
        let name = format!("{shard}.csv");
        let more = ["--shards", "3", "--shard", shard];
        place.score_with(&models(), &sample(), &name, &more).expect(0, &[]);
        let rows = from_csv(&place.read(&name));
        assert!(rows.len() > 500, "{}", rows.len());
        let manifest: Value =
            serde_json::from_str(&place.read(&format!("{name}.manifest.json"))).unwrap();
        let sha256: String = Sha256::digest(place.read(&name).as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!((&manifest["rows"], &manifest["sha256"]), (&rows.len().into(), &sha256.into()));
        assert_eq!(
            (&manifest["model_version"], &manifest["as_of"]),
            (&version().into(), &"1997-09-30".into())
        );
        assert_eq!(manifest["policy_hash"].as_str().unwrap().len(), 64);
        parts.extend(rows);
    }
    let by_id = |rows: &mut Vec<Row>| rows.sort_by(|a, b| a["customer_id"].cmp(&b["customer_id"]));
    by_id(&mut parts);
    by_id(&mut whole);
    assert_eq!(parts, whole);
    let more = ["--shards", "3", "--shard", "3"];
    place.score_with(&models(), &sample(), "x.csv", &more).expect(64, &["counted from 0"]);
}

/// Copies the trained models to a place.
fn copied() -> (Place, PathBuf) {
    let place = Place::new();
    let folder = PathBuf::from(place.path("models")).join("cd").join(version());
    fs::create_dir_all(&folder).unwrap();
    let from = PathBuf::from(models());
    for entry in fs::read_dir(from.join("cd").join(version())).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    fs::copy(from.join("cd/aliases.json"), folder.with_file_name("aliases.json")).unwrap();
    fs::copy(from.join("installation.json"), PathBuf::from(place.path("models/installation.json")))
        .unwrap();
    (place, folder)
}

#[test]
fn damaged_and_unknown_models_are_refused() {
    let (place, folder) = copied();
    place.score(&sample(), "s.csv", &[]).expect(0, &[]);
    let models = place.path("models");
    let verify = ["bundle", "verify", "--models", &models, "--name", "cd"];
    run(OPS, &verify).expect(0, &[]);
    let file = folder.join("models.json");
    let bytes = fs::read(&file).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for damaged in [&bytes[..bytes.len() / 2], &flipped] {
        fs::write(&file, damaged).unwrap();
        place.score(&sample(), "t.csv", &[]).expect(65, &["models.json is damaged", "sha256"]);
        run(OPS, &verify).expect(65, &["models.json is damaged"]);
        assert!(!Path::new(&place.path("t.csv")).try_exists().unwrap());
    }
    fs::remove_file(&file).unwrap();
    place.score(&sample(), "t.csv", &[]).expect(65, &["models.json", "incomplete"]);
    let name = ["--name", "shop"];
    let ran = run(
        SCORE,
        &[
            ["--models", &models, "--events", "x.csv", "--out", "-"].as_slice(),
            &["--as-of", "1997-09-30"],
            &name,
        ]
        .concat(),
    );
    ran.expect(65, &["no model \"shop\"", "found: cd"]);
    run(OPS, &["bundle", "show", "--models", &models, "--name", "cd@blue"])
        .expect(65, &["@champion"]);
}

#[test]
fn bundles_are_listed_shown_and_promoted() {
    let (place, _) = copied();
    let models = place.path("models");
    let at = ["--models", models.as_str()];
    let with =
        |task: &[&str], more: &[&str]| run(OPS, &[task, &at, more, &["--json"]].concat()).json();
    let list = with(&["bundle", "list"], &[]);
    assert_eq!(list["bundles"][0]["version"], version());
    assert_eq!(list["bundles"][0]["aliases"][0], "champion");
    let shown = with(&["bundle", "show"], &["--name", "cd"]);
    assert_eq!(shown["manifest"]["churn_horizon_days"], 91);
    let path = with(&["bundle", "report-path"], &["--name", "cd"]);
    assert!(Path::new(path["path"].as_str().unwrap()).is_file());
    let name = format!("cd@{}", version());
    let promoted = with(&["bundle", "promote"], &["--name", &name, "--alias", "stable"]);
    assert_eq!((&promoted["version"], &promoted["was"]), (&version().into(), &Value::Null));
    let shown = with(&["bundle", "show"], &["--name", "cd@stable"]);
    assert_eq!(shown["version"], version());
}

#[test]
fn a_store_is_loaded_verified_exported_and_imported() {
    let place = Place::new();
    let (store, models, sample) = (place.path("store"), models(), sample());
    let load = [
        ["store", "load", "--store", &store, "--events", &sample, "--models", &models].as_slice(),
        &["--name", "cd", "--json"],
    ]
    .concat();
    let with = |more: &[&str]| run(OPS, &[load.as_slice(), more].concat());
    let first = with(&["--until", "1997-09-30"]).json();
    assert_eq!((&first["customers"], &first["known"]), (&2357.into(), &0.into()));
    with(&[]).expect(65, &["already holds 2357 customers", "--append"]);
    // The rest goes on top; what is known stays as it is.
    let second = with(&["--append"]).json();
    assert_eq!(second["known"], first["new"]);
    assert_eq!(second["new"], first["after"]);
    let third = with(&["--append"]).json();
    assert_eq!((&third["new"], &third["customers"]), (&0.into(), &0.into()));
    let task = |task: &str, store: &str, more: &[&str]| {
        run(OPS, &[["store", task, "--store", store, "--json"].as_slice(), more].concat())
    };
    let verified = task("verify", &store, &[]).json();
    assert_eq!((&verified["clean"], &verified["customers"]), (&true.into(), &2357.into()));
    assert_eq!(verified["event_ids"], 6919);
    let stats = task("stats", &store, &[]).json();
    assert_eq!(stats["pinned"]["timezone"], "UTC");
    assert_eq!(stats["pinned"]["salt"], "(32 characters)");
    let (export, copy) = (place.path("export"), place.path("copy"));
    let exported = task("export", &store, &["--out", &export]).json();
    let imported = task("import", &copy, &["--from", &export]).json();
    assert_eq!(exported, imported);
    assert_eq!(task("verify", &copy, &[]).json(), verified);
    task("import", &copy, &["--from", &export]).expect(65, &["already holds"]);
    task("stats", &place.path("nowhere"), &[]).expect(65, &["there is no store"]);
    assert!(!Path::new(&place.path("nowhere")).try_exists().unwrap(), "looking makes no store");
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let place = Place::new();
    place.file("s.csv", "old");
    let ran = place.score_with(&models(), &place.path("nowhere.csv"), "s.csv", &[]);
    ran.expect(65, &["there is no such file"]);
    assert_eq!(place.read("s.csv"), "old");
    let ran = place.score_with(&models(), &sample(), "no/such/dir/s.csv", &[]);
    ran.expect(1, &["writing", "s.csv"]);
    let mut odd = fs::File::create(place.path("odd.csv")).unwrap();
    writeln!(odd, "customer_id,date,amount,currency\n1,1997-03-01,5,EUR\n2,1997-03-02,5,USD")
        .unwrap();
    let ran = place.score_with(&models(), &place.path("odd.csv"), "s.csv", &[]);
    ran.expect(65, &["several currencies", "--currency"]);
}
