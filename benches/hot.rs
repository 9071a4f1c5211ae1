//! The hot path, piece by piece: fold, codec, store, features, models, forest, explanation,
//! decision, the complete answer and its line of the decision log, on the log and with the bundle
//! that ship.
//!
//! Ways to run it: as a bench it takes times. As `hot cpu` it takes the processor's time alone (on
//! Linux), which waiting for a busy machine does not lengthen. As `hot count` it does each piece
//! once inside of [`measured`], for `benches/instructions.sh`, which has the instructions counted:
//! a figure that a busy machine does not move at all. `hot forest` prints the forest, for peers.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may stop and tells")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a bench's own making"
)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput};
use tenure::bundle::{Bundle, BundleSelector};
use tenure::decision::{Context, decide};
use tenure::domain::{AsOf, CustomerId, Day, Timestamp, Zone};
use tenure::events::{Log, LogSpec, ReadSpec, Rules};
use tenure::history::History;
use tenure::model::btyd::{
    BgNbd, BgNbdParams, BtydRow, GammaGamma, GammaGammaParams, MbgNbd, MbgNbdParams, ParetoNbd,
    ParetoNbdParams, Prediction,
};
use tenure::model::{Explainer, Forest, Score, TreeShap};
use tenure::scoring::{
    Answer, Engine, ROWS_AT_ONCE, append_decision_line, decision_id, history_digest,
};
use tenure::store::{
    Batch, DecisionLog, DecisionLogSpec, Durability, Put, SledOptions, SledStore, StateStore,
};

/// Customers of the log that take part.
const CUSTOMERS: usize = 500;
/// Rows of the forest benches.
const ROWS: usize = 4_096;
const FEATURES: usize = 30;
const TREES: usize = 200;
const LEAVES: usize = 31;

/// What a purchase model says of a customer.
type Predict = Box<dyn Fn(&BtydRow) -> Prediction>;

/// One piece: its name, how many things one call does, and the call.
struct Piece<'s> {
    name: &'static str,
    n: usize,
    run: Box<dyn FnMut() + 's>,
}

impl<'s> Piece<'s> {
    fn new(name: &'static str, n: usize, run: impl FnMut() + 's) -> Self {
        Self { name, n, run: Box::new(run) }
    }
}

/// What the pieces work on.
struct Setup {
    engine: Engine,
    log: Log,
    as_of: AsOf,
    histories: Vec<(CustomerId, History)>,
    bytes: Vec<Vec<u8>>,
    /// The same states in a store.
    store: SledStore,
    decisions: DecisionLog,
    _dir: tempfile::TempDir,
    /// Customers of another shop, most of whom bought once or twice, and their instant.
    light: Vec<(CustomerId, History)>,
    light_as_of: AsOf,
    /// Rows of the demo bundle, one after another.
    rows: Vec<f64>,
    explainer: Explainer,
    forest: Forest,
    shap: TreeShap,
    forest_rows: Vec<f64>,
}

impl Setup {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bundle =
            Bundle::find(&root.join("models"), &BundleSelector::parse("demo").unwrap()).unwrap();
        let engine = Engine::try_new(bundle, None, Some("salt of the bench")).unwrap();
        let as_of = AsOf::end_of(Day::parse("2017-11-30").unwrap(), &Zone::UTC);
        let log = read(root.join("data/complete_journey.csv.gz"), as_of);
        let histories = histories_of(&log);
        let light_as_of = AsOf::end_of(Day::parse("1998-06-30").unwrap(), &Zone::UTC);
        let light = histories_of(&read(root.join("data/cdnow_sample.csv.gz"), light_as_of));
        let bytes = histories.iter().map(|(_, history)| history.to_bytes()).collect();
        let dir = tempfile::tempdir().unwrap();
        let options = SledOptions { durability: Durability::Memory, ..SledOptions::default() };
        let (store, _) = SledStore::open(&dir.path().join("store"), &options).unwrap();
        let put = |(customer, history): &(CustomerId, History)| Put {
            customer: customer.clone(),
            expected_version: None,
            bytes: history.to_bytes(),
        };
        store
            .commit(Batch { puts: histories.iter().map(put).collect(), ..Batch::default() })
            .unwrap();
        let spec = DecisionLogSpec::default();
        let (decisions, _) = DecisionLog::open(&dir.path().join("decisions"), spec).unwrap();
        let predictor = engine.bundle().predictor().unwrap();
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        for (_, history) in &histories {
            predictor.row(history, as_of, &mut row);
            rows.extend_from_slice(&row);
        }
        let typical = engine.bundle().baseline().unwrap().typical();
        let explainer = Explainer::try_new(predictor, typical).unwrap();
        let mut random = Random(42);
        let forest = Forest::from_json(&grown(&mut random)).unwrap();
        let shap = TreeShap::try_new(&forest).unwrap();
        let forest_rows = (0..ROWS * FEATURES).map(|_| random.unit()).collect();
        Self {
            engine,
            log,
            as_of,
            histories,
            bytes,
            store,
            decisions,
            _dir: dir,
            light,
            light_as_of,
            rows,
            explainer,
            forest,
            shap,
            forest_rows,
        }
    }

    fn row_width(&self) -> usize {
        self.rows.len() / self.histories.len()
    }

    fn answers(&self) -> Vec<Answer<'_>> {
        let answer = |(customer, history): &(CustomerId, History)| {
            self.engine.answer(customer, history, self.as_of, false).unwrap()
        };
        self.histories.iter().map(answer).collect()
    }

    /// Answers in blocks, as the batch job and the server do.
    fn answer_blocks(&self, histories: &[(CustomerId, History)], as_of: AsOf) {
        for block in histories.chunks(ROWS_AT_ONCE) {
            let customers: Vec<(&CustomerId, &History)> =
                block.iter().map(|(customer, history)| (customer, history)).collect();
            black_box(self.engine.answer_many(&customers, as_of, false));
        }
    }

    fn pieces(&self) -> Vec<Piece<'_>> {
        let mut all = self.state_pieces();
        all.extend(self.model_pieces());
        all.extend(Self::value_pieces());
        all.extend(self.forest_pieces());
        all.extend(self.explain_pieces());
        all.extend(self.answer_pieces());
        all.extend(self.log_pieces());
        all
    }

    fn state_pieces(&self) -> Vec<Piece<'_>> {
        let taken = || self.log.customers.iter().take(CUSTOMERS);
        let n_events = taken().map(|customer| customer.events.len()).sum();
        vec![
            Piece::new("fold/events", n_events, move || {
                for customer in taken() {
                    black_box(folded(&customer.events));
                }
            }),
            Piece::new("codec/decode", self.bytes.len(), || {
                for bytes in &self.bytes {
                    black_box(History::from_bytes(bytes).unwrap());
                }
            }),
            Piece::new("codec/encode", self.bytes.len(), || {
                for (_, history) in &self.histories {
                    black_box(history.to_bytes());
                }
            }),
            Piece::new("store/get", self.histories.len(), || {
                for (customer, _) in &self.histories {
                    black_box(self.store.get(customer).unwrap());
                }
            }),
            Piece::new("store/get_digest_decode", self.histories.len(), || {
                for (customer, _) in &self.histories {
                    let mut look = |bytes: &[u8]| {
                        black_box((history_digest(bytes), History::from_bytes(bytes).unwrap()));
                    };
                    assert!(self.store.with_state(customer, &mut look).unwrap());
                }
            }),
            Piece::new("features/row", self.histories.len(), || {
                let predictor = self.engine.bundle().predictor().unwrap();
                let mut row = Vec::new();
                for (_, history) in &self.histories {
                    predictor.row(history, self.as_of, &mut row);
                    black_box(&row);
                }
            }),
        ]
    }

    fn model_pieces(&self) -> Vec<Piece<'_>> {
        let predictor = self.engine.bundle().predictor().unwrap();
        let historic = vec![0.0; self.histories.len()];
        let params = ParetoNbdParams { r: 0.553, alpha: 10.578, s: 0.606, beta: 11.669 };
        let pareto = ParetoNbd::try_from_params(params).unwrap();
        let params = MbgNbdParams { r: 0.525, alpha: 6.183, a: 0.891, b: 1.614 };
        let mbg = MbgNbd::try_from_params(params).unwrap();
        let customers = purchase_rows();
        let same = customers.clone();
        vec![
            Piece::new("model/score_one_by_one", self.histories.len(), || {
                for row in self.rows.chunks(self.row_width()) {
                    black_box(predictor.score(row, 0.0));
                }
            }),
            Piece::new("model/score_many", self.histories.len(), move || {
                black_box(predictor.score_many(&self.rows, &historic));
            }),
            Piece::new("btyd/pareto_nbd", customers.len(), move || {
                for row in &customers {
                    black_box(pareto.predict(row, 13.0));
                }
            }),
            Piece::new("btyd/mbg_nbd", same.len(), move || {
                for row in &same {
                    black_box(mbg.predict(row, 13.0));
                }
            }),
        ]
    }

    /// P(no purchase) and expected purchases within 39 weeks, times expected spend.
    fn value_pieces() -> Vec<Piece<'static>> {
        let params = GammaGammaParams { p: 6.25, q: 3.74, gamma: 15.44 };
        let spend = GammaGamma::try_from_params(params).unwrap();
        // The published optima of the CDNOW sample.
        let params = BgNbdParams { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };
        let bg = BgNbd::try_from_params(params).unwrap();
        let params = MbgNbdParams { r: 0.525, alpha: 6.183, a: 0.891, b: 1.614 };
        let mbg = MbgNbd::try_from_params(params).unwrap();
        let params = ParetoNbdParams { r: 0.553, alpha: 10.578, s: 0.606, beta: 11.669 };
        let pareto = ParetoNbd::try_from_params(params).unwrap();
        let models: [(&'static str, Predict); 3] = [
            ("btyd/bg_nbd_spend", Box::new(move |row| bg.predict(row, 39.0))),
            ("btyd/mbg_nbd_spend", Box::new(move |row| mbg.predict(row, 39.0))),
            ("btyd/pareto_nbd_spend", Box::new(move |row| pareto.predict(row, 39.0))),
        ];
        let piece = |(name, predict): (&'static str, Predict)| {
            let (spend, customers) = (spend.clone(), purchase_rows());
            Piece::new(name, customers.len(), move || {
                for row in &customers {
                    let said = predict(row);
                    let mean = spend.expected_spend(row.x, 20.0 + f64::from(row.x));
                    black_box((said.p_no_purchase, said.expected_purchases * mean));
                }
            })
        };
        models.into_iter().map(piece).collect()
    }

    fn forest_pieces(&self) -> Vec<Piece<'_>> {
        let rows = || self.forest_rows.chunks(FEATURES);
        vec![
            Piece::new("forest/plain_200x31x30", ROWS, move || {
                for row in rows() {
                    black_box(self.forest.margin_plain(row));
                }
            }),
            Piece::new("forest/one_row_200x31x30", ROWS, move || {
                for row in rows() {
                    black_box(self.forest.margin(row));
                }
            }),
            Piece::new("forest/many_rows_200x31x30", ROWS, || {
                let mut margins = Vec::with_capacity(ROWS);
                self.forest.margins_of(&self.forest_rows, &mut margins).unwrap();
                black_box(margins);
            }),
        ]
    }

    fn explain_pieces(&self) -> Vec<Piece<'_>> {
        let predictor = self.engine.bundle().predictor().unwrap();
        let rows = || self.rows.chunks(self.row_width());
        vec![
            Piece::new("explain/treeshap_200x31x30", 64, || {
                let mut out = vec![0.0; FEATURES];
                for row in self.forest_rows.chunks(FEATURES).take(64) {
                    self.shap.contributions(row, &mut out).unwrap();
                    black_box(&out);
                }
            }),
            Piece::new("explain/churn", self.histories.len(), move || {
                for row in rows() {
                    black_box(self.explainer.churn(predictor, row));
                }
            }),
            Piece::new("explain/value", self.histories.len(), move || {
                for row in rows() {
                    black_box(self.explainer.value(predictor, row));
                }
            }),
            Piece::new("explain/reasons_from_history", self.histories.len(), || {
                for (_, history) in &self.histories {
                    black_box(self.engine.reasons(history, self.as_of, 3).unwrap());
                }
            }),
        ]
    }

    fn answer_pieces(&self) -> Vec<Piece<'_>> {
        let answers = self.answers();
        let salts = tenure::decision::Salts::try_new(self.engine.policy(), Some("salt of bench"));
        let salts = salts.unwrap();
        vec![
            Piece::new("decision/decide", answers.len(), move || {
                for answer in &answers {
                    let Answer { customer, facts, score, .. } = answer;
                    let context = Context {
                        customer_id: customer.as_str(),
                        facts,
                        tier_cuts: self.engine.tier_cuts(),
                        salts: &salts,
                        hour_of_day: None,
                        trace: false,
                    };
                    let score: &Score = score;
                    black_box(decide(self.engine.policy(), score, &context));
                }
            }),
            Piece::new("answer/complete", self.histories.len(), || {
                for (customer, history) in &self.histories {
                    black_box(self.engine.answer(customer, history, self.as_of, false).unwrap());
                }
            }),
            Piece::new("answer/many", self.histories.len(), || {
                self.answer_blocks(&self.histories, self.as_of);
            }),
            Piece::new("answer/many_cdnow", self.light.len(), || {
                self.answer_blocks(&self.light, self.light_as_of);
            }),
            Piece::new("answer/complete_from_bytes", self.histories.len(), || {
                for ((customer, _), bytes) in self.histories.iter().zip(&self.bytes) {
                    let history = History::from_bytes(bytes).unwrap();
                    black_box(self.engine.answer(customer, &history, self.as_of, false).unwrap());
                }
            }),
        ]
    }
}

impl Setup {
    fn log_pieces(&self) -> Vec<Piece<'_>> {
        let (answers, again) = (self.answers(), self.answers());
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        vec![
            Piece::new("log/decision_id", answers.len(), {
                let answers = self.answers();
                move || {
                    for answer in &answers {
                        black_box(decision_id(&self.engine, answer, 7));
                    }
                }
            }),
            Piece::new("log/line", answers.len(), move || {
                lines.clear();
                for answer in &answers {
                    append_decision_line(&mut lines, (&self.engine, "champion"), answer, (7, now));
                }
                black_box(&lines);
            }),
            Piece::new("log/line_and_append", again.len(), move || {
                for answer in &again {
                    line.clear();
                    append_decision_line(&mut line, (&self.engine, "champion"), answer, (7, now));
                    self.decisions.append(&line, 1, now).unwrap();
                }
            }),
        ]
    }
}

fn read(file: std::path::PathBuf, before: AsOf) -> Log {
    let (read, rules) = (ReadSpec::default(), Rules::default());
    let spec = LogSpec { events: vec![file], profiles: None, read, rules, before };
    Log::read(&spec, &mut |_| {}).unwrap()
}

fn histories_of(log: &Log) -> Vec<(CustomerId, History)> {
    let taken = log.customers.iter().take(CUSTOMERS);
    taken.map(|customer| (customer.customer.clone(), folded(&customer.events))).collect()
}

fn folded(events: &[tenure::events::Event]) -> History {
    let mut history = History::default();
    for event in events {
        history.apply(event);
    }
    history
}

/// xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Customers of all kinds: from one purchase to a hundred, just gone and long gone.
fn purchase_rows() -> Vec<BtydRow> {
    let mut random = Random(7);
    (0..2_000)
        .map(|_| {
            let t = (1.0 + 77.0 * random.unit()).floor();
            let x = (random.unit().powi(4) * 30.0) as u32;
            let t_x = if x == 0 { 0.0 } else { (t * random.unit() * 7.0).ceil() / 7.0 };
            BtydRow { x, t_x, t }
        })
        .collect()
}

/// Trees of [`LEAVES`] leaves at random places, as XGBoost model JSON.
fn grown(random: &mut Random) -> String {
    let trees: Vec<serde_json::Value> = (0..TREES).map(|id| tree(random, id)).collect();
    serde_json::json!({"learner": {
        "gradient_booster": {"name": "gbtree", "model": {
            "gbtree_model_param": {"num_trees": TREES.to_string()}, "trees": trees}},
        "learner_model_param": {"base_score": "5E-1", "num_class": "0",
            "num_feature": FEATURES.to_string()},
        "objective": {"name": "binary:logistic"}
    }})
    .to_string()
}

fn tree(random: &mut Random, id: usize) -> serde_json::Value {
    let n = 2 * LEAVES - 1;
    let (mut left, mut right) = (vec![-1_i64], vec![-1_i64]);
    let (mut numbers, mut features) = (vec![random.unit() - 0.5], vec![0]);
    // Every node holds the rows of its range: covers that fit together.
    let mut covers = vec![1000.0];
    let mut open = vec![0];
    while open.len() < LEAVES {
        let at = open.swap_remove(random.below(open.len()));
        let share = 0.1 + 0.8 * random.unit();
        (left[at], right[at]) = (left.len() as i64, left.len() as i64 + 1);
        (numbers[at], features[at]) = (random.unit(), random.below(FEATURES));
        for cover in [covers[at] * share, covers[at] * (1.0 - share)] {
            open.push(left.len());
            left.push(-1);
            right.push(-1);
            numbers.push((random.unit() - 0.5) / 10.0);
            features.push(0);
            covers.push(cover);
        }
    }
    let missing: Vec<usize> = (0..n).map(|_| random.below(2)).collect();
    serde_json::json!({
        "base_weights": vec![0.0; n], "default_left": missing, "id": id, "left_children": left,
        "right_children": right, "split_conditions": numbers, "split_indices": features,
        "sum_hessian": covers,
        "tree_param": {"num_feature": FEATURES.to_string(), "num_nodes": n.to_string()}
    })
}

/// The calls whose instructions are counted.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
}

/// Nanoseconds that this thread was on a processor.
fn cpu_nanos() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

/// Prints the best of some runs of each piece: processor time a thing, and things a second.
fn take_cpu_times(setup: &Setup, part_of_name: &str) {
    for mut piece in setup.pieces().into_iter().filter(|piece| piece.name.contains(part_of_name)) {
        (piece.run)();
        let begun = cpu_nanos();
        (piece.run)();
        // The counter moves in steps of a tick: runs of a fifth of a second.
        let once = (cpu_nanos() - begun).max(1_000_000);
        let n_times = (200_000_000 / once).clamp(1, 200);
        let mut best = u64::MAX;
        for _ in 0..5 {
            let begun = cpu_nanos();
            for _ in 0..n_times {
                (piece.run)();
            }
            best = best.min(cpu_nanos() - begun);
        }
        let nanos = best as f64 / (n_times * piece.n as u64) as f64;
        println!("{:<32} {nanos:>12.1} ns {:>12.0} a second", piece.name, 1e9 / nanos);
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "forest") {
        println!("{}", grown(&mut Random(42)));
        return;
    }
    let setup = Setup::new();
    if words.first().is_some_and(|word| word == "cpu") {
        take_cpu_times(&setup, words.get(1).map_or("", String::as_str));
        return;
    }
    if words.first().is_some_and(|word| word == "count") {
        for mut piece in setup.pieces() {
            // Once before, so that nothing is made for the first time.
            (piece.run)();
            println!("{} {}", piece.name, piece.n);
            measured(&mut *piece.run);
        }
        return;
    }
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    for mut piece in setup.pieces() {
        let mut group = criterion.benchmark_group("hot");
        group.throughput(Throughput::Elements(piece.n as u64));
        group.bench_function(piece.name, |bencher| bencher.iter(|| (piece.run)()));
        group.finish();
    }
    criterion.final_summary();
}
