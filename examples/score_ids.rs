//! Opens a store and scores customers by their ids, one after the other, as a server would.
//!
//! `score_ids --models DIR --name NAME --store DIR [--customers NUMBER]`
//!
//! In: a bundle and a store. Out: one line of JSON: how long opening took, what memory the process
//! held after it and in the end, bytes of a state, and microseconds a customer for reading the
//! state, decoding it, and the full decision: on average, at the median and at the 99th percentile.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example may stop, talks to its terminal and measures time"
)]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use tenure::bundle::{Bundle, BundleSelector, installation_salt};
use tenure::domain::{AsOf, Day};
use tenure::history::History;
use tenure::scoring::Engine;
use tenure::store::{ScanRange, SledOptions, SledStore, StateStore};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let named = |name: &str| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
    };
    let models = PathBuf::from(named("--models").unwrap());
    let model = BundleSelector::parse(&named("--name").unwrap()).unwrap();
    let n_wanted: usize = named("--customers").map_or(2_000, |text| text.parse().unwrap());
    let salt = installation_salt(&models).unwrap();
    let bundle = Bundle::find(&models, &model).unwrap();
    let engine = Engine::try_new(bundle, None, Some(&salt)).unwrap();
    let began = Instant::now();
    let dir = PathBuf::from(named("--store").unwrap());
    let (store, _) = SledStore::open(&dir, &SledOptions::default()).unwrap();
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let open_mib = resident_mib();
    // Customers from all over the store: of every so many, one.
    let stride = (usize::try_from(store.count().unwrap()).unwrap() / n_wanted).max(1);
    let (mut ids, mut at, mut n_bytes) = (Vec::new(), 0_usize, 0);
    store
        .scan(ScanRange::All, &mut |customer, state| {
            n_bytes += state.bytes.len();
            if at.is_multiple_of(stride) {
                ids.push(customer.clone());
            }
            at += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    let until = Day::parse(&engine.bundle().manifest.data_until).unwrap();
    let as_of = AsOf::end_of(until.plus(30), engine.zone());
    let (mut at_risk, mut took) = (0.0, Vec::with_capacity(ids.len()));
    for customer in &ids {
        let began = Instant::now();
        let state = store.get(customer).unwrap().unwrap();
        let history = History::from_bytes(&state.bytes).unwrap();
        let answer = engine.answer(customer, &history, as_of, false).unwrap();
        at_risk += answer.decision.value_at_risk.unwrap_or(0.0);
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let us_each = took.iter().sum::<f64>() / took.len().max(1) as f64;
    took.sort_by(f64::total_cmp);
    let (us_p50, us_p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    let state_bytes = n_bytes / at.max(1);
    println!(
        "{{\"open_ms\":{open_ms:.1},\"open_mib\":{open_mib:.1},\"end_mib\":{:.1},\
         \"state_bytes\":{state_bytes},\"us_each\":{us_each:.2},\"us_p50\":{us_p50:.2},\
         \"us_p99\":{us_p99:.2},\"n\":{},\"at_risk\":{at_risk:.2}}}",
        resident_mib(),
        ids.len()
    );
}

/// Memory of this process that is in use now; 0 where the system does not tell.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
