//! Opens a store and scores customers by their ids, one after the other, as a server would.
//!
//! `score_ids --models DIR --name NAME --store DIR [--customers NUMBER]`
//!
//! In: a bundle and a store. Out: one line of JSON: how long opening took, and microseconds a
//! customer for reading the state, decoding it, and the full decision.
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
    // Customers from all over the store: of every so many, one.
    let stride = (usize::try_from(store.count().unwrap()).unwrap() / n_wanted).max(1);
    let (mut ids, mut at) = (Vec::new(), 0_usize);
    store
        .scan(ScanRange::All, &mut |customer, _| {
            if at.is_multiple_of(stride) {
                ids.push(customer.clone());
            }
            at += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    let until = Day::parse(&engine.bundle().manifest.data_until).unwrap();
    let as_of = AsOf::end_of(until.plus(30), engine.zone());
    let began = Instant::now();
    let mut at_risk = 0.0;
    for customer in &ids {
        let state = store.get(customer).unwrap().unwrap();
        let history = History::from_bytes(&state.bytes).unwrap();
        let answer = engine.answer(customer, &history, as_of, false).unwrap();
        at_risk += answer.decision.value_at_risk.unwrap_or(0.0);
    }
    let us_each = began.elapsed().as_secs_f64() * 1e6 / ids.len().max(1) as f64;
    println!(
        "{{\"open_ms\":{open_ms:.1},\"us_each\":{us_each:.2},\"n\":{},\"at_risk\":{at_risk:.2}}}",
        ids.len()
    );
}
