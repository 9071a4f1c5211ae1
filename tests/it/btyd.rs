//! Purchase models against published numbers, reference numbers and hard inputs.
//!
//! Reference numbers in `tests/golden/btyd` were made once at 30 or more digits or with tight
//! maximum likelihood; CDNOW is aggregated here: purchases a customer and day, weeks = days / 7,
//! calibration to 1997-09-30 inclusive with T counted to that day.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking and shows its numbers"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use jiff::civil::Date;
use proptest::prelude::*;
use serde_json::Value;
use tenure::model::btyd::BtydRow;
use tenure::model::btyd::Discount;
use tenure::model::btyd::FitInfo;
use tenure::model::btyd::PooledRows;
use tenure::model::btyd::PooledSpend;
use tenure::model::btyd::Prior;
use tenure::model::btyd::SpendRow;
use tenure::model::btyd::{BgNbd, BgNbdParams, BgNbdSpec};
use tenure::model::btyd::{GammaGamma, GammaGammaParams, GammaGammaSpec};
use tenure::model::btyd::{MbgNbd, MbgNbdParams, MbgNbdSpec};
use tenure::model::btyd::{ParetoNbd, ParetoNbdParams, ParetoNbdSpec};

fn read(path: &str) -> String {
    let file = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let mut text = String::new();
    if path.ends_with(".gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        std::io::BufReader::new(file).read_to_string(&mut text).unwrap();
    }
    text
}

/// A table by column name; fields that are no numbers are NaN.
pub(crate) struct Table {
    names: Vec<String>,
    pub(crate) rows: Vec<Vec<f64>>,
}

impl Table {
    pub(crate) fn golden(name: &str) -> Self {
        let text = read(&format!("tests/golden/btyd/{name}"));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let number = |field: &str| field.parse().unwrap_or(f64::NAN);
        let rows = reader.records().map(|r| r.unwrap().iter().map(number).collect()).collect();
        Self { names, rows }
    }

    pub(crate) fn column(&self, name: &str) -> usize {
        self.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no column {name}"))
    }
}

pub(crate) fn golden_json(name: &str) -> Value {
    serde_json::from_str(&read(&format!("tests/golden/btyd/{name}"))).unwrap()
}

pub(crate) fn assert_close(what: &str, found: f64, want: f64, tolerance: f64) {
    let off = (found - want).abs() / want.abs().max(1e-300);
    assert!(off <= tolerance, "{what}: found {found:e}, wanted {want:e}, off by {off:e}");
}

/// Largest relative error by column, so that a failure shows all of them.
#[derive(Default)]
pub(crate) struct Worst(BTreeMap<&'static str, (f64, String)>);

impl Worst {
    pub(crate) fn see(
        &mut self,
        column: &'static str,
        found: f64,
        want: f64,
        at: impl Fn() -> String,
    ) {
        assert!(found.is_finite(), "{column} is {found} at {}", at());
        let off = if want.to_bits() == found.to_bits() {
            0.0
        } else {
            (found - want).abs() / want.abs().max(f64::MIN_POSITIVE)
        };
        let entry = self.0.entry(column).or_insert((-1.0, String::new()));
        if off > entry.0 {
            *entry = (off, format!("{} (found {found:e}, wanted {want:e})", at()));
        }
    }

    pub(crate) fn assert_below(&self, tolerance: impl Fn(&str) -> f64) {
        println!("{:#?}", self.0);
        for (column, (off, at)) in &self.0 {
            assert!(*off <= tolerance(column), "{column} is off by {off:e} at {at}");
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
pub(crate) fn whole(number: f64) -> u32 {
    number as u32
}

/// Calibration rows of the CDNOW sample in the order of customer ids, with mean repeat spend.
pub(crate) fn cdnow() -> Vec<(BtydRow, f64)> {
    cdnow_until(Date::constant(1997, 9, 30))
}

/// The same for another last day of calibration; who first buys later is left out.
fn cdnow_until(end: Date) -> Vec<(BtydRow, f64)> {
    cdnow_of("data/cdnow_sample.csv.gz", end)
}

/// The same for another file of that form.
pub(crate) fn cdnow_of(path: &str, end: Date) -> Vec<(BtydRow, f64)> {
    let text = read(path);
    let mut customers: BTreeMap<u32, BTreeMap<Date, f64>> = BTreeMap::new();
    for record in csv::Reader::from_reader(text.as_bytes()).records() {
        let record = record.unwrap();
        let day: Date = record[1].parse().unwrap();
        if day <= end {
            let days = customers.entry(record[0].parse().unwrap()).or_default();
            *days.entry(day).or_default() += record[3].parse::<f64>().unwrap();
        }
    }
    let weeks = |from: Date, to: Date| f64::from(from.until(to).unwrap().get_days()) / 7.0;
    customers
        .values()
        .map(|days| {
            let (first, last) = (*days.keys().next().unwrap(), *days.keys().next_back().unwrap());
            let x = u32::try_from(days.len() - 1).unwrap();
            let spend: f64 = days.values().skip(1).sum();
            let mean = if x == 0 { 0.0 } else { spend / f64::from(x) };
            (BtydRow::try_new(x, weeks(first, last), weeks(first, end)).unwrap(), mean)
        })
        .collect()
}

fn cdnow_rows() -> PooledRows {
    let rows: Vec<BtydRow> = cdnow().iter().map(|c| c.0).collect();
    PooledRows::try_from_rows(&rows).unwrap()
}

fn cdnow_spend() -> PooledSpend {
    spend_of(&cdnow())
}

pub(crate) fn spend_of(customers: &[(BtydRow, f64)]) -> PooledSpend {
    let rows: Vec<SpendRow> = customers
        .iter()
        .filter(|(row, mean)| row.x > 0 && *mean > 0.0)
        .map(|&(row, mean_spend)| SpendRow { x: row.x, mean_spend })
        .collect();
    PooledSpend::try_from_rows(&rows).unwrap()
}

/// A fit against the reference and the paper.
pub(crate) fn check_fit(model: &str, params: &[f64], info: &FitInfo) {
    let want = &golden_json("mle.json")[model];
    println!("{model}: {info:#?}");
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);
    assert!((info.log_likelihood - want["ll"].as_f64().unwrap()).abs() < 1e-6);
    assert!(info.log_prior.abs() < f64::MIN_POSITIVE);
    assert_close("n", info.n as f64, want["n"].as_f64().unwrap(), 0.0);
    assert_close("patterns", info.n_patterns as f64, want["patterns"].as_f64().unwrap(), 0.0);
    for (i, name) in info.names.iter().enumerate() {
        assert_close(name, params[i], want["params"][name].as_f64().unwrap(), 1e-6);
        assert_close(name, info.standard_errors[i], want["se"][name].as_f64().unwrap(), 1e-5);
        for (j, &found) in info.covariance_log[i].iter().enumerate() {
            let want = want["cov_logparams"][i][j].as_f64().unwrap();
            assert!((found - want).abs() < 1e-7, "covariance {i} {j}: {found} {want}");
        }
    }
    assert!(info.gradient_max < 1e-6);

    let published = &golden_json("published.json")[model];
    if let Some(printed) = published["params"].as_object() {
        for (i, name) in info.names.iter().enumerate() {
            // Half a unit of the last printed digit.
            let digits = printed[*name].to_string().split('.').nth(1).unwrap().len();
            let half = 0.5 * 10_f64.powi(-i32::try_from(digits).unwrap()) * (1.0 + 1e-9);
            let want = printed[*name].as_f64().unwrap();
            assert!((params[i] - want).abs() <= half, "{name}: {} {want}", params[i]);
        }
    }
}

pub(crate) fn bg_params([r, alpha, a, b]: [f64; 4]) -> BgNbd {
    BgNbd::try_from_params(BgNbdParams { r, alpha, a, b }).unwrap()
}

pub(crate) fn mbg_params([r, alpha, a, b]: [f64; 4]) -> MbgNbd {
    MbgNbd::try_from_params(MbgNbdParams { r, alpha, a, b }).unwrap()
}

pub(crate) fn pareto_params([r, alpha, s, beta]: [f64; 4]) -> ParetoNbd {
    ParetoNbd::try_from_params(ParetoNbdParams { r, alpha, s, beta }).unwrap()
}

pub(crate) fn golden_params<const N: usize>(model: &str, names: [&str; N]) -> [f64; N] {
    let params = &golden_json("mle.json")[model]["params"];
    names.map(|name| params[name].as_f64().unwrap())
}

#[test]
fn bg_nbd_finds_the_published_optimum() {
    let bg = BgNbd::fit(&BgNbdSpec { prior: Prior::None }, &cdnow_rows()).unwrap();
    let p = bg.params();
    check_fit("bgnbd", &[p.r, p.alpha, p.a, p.b], bg.info().unwrap());
}

#[test]
fn mbg_nbd_finds_the_reference_optimum() {
    let mbg = MbgNbd::fit(&MbgNbdSpec { prior: Prior::None }, &cdnow_rows()).unwrap();
    let p = mbg.params();
    check_fit("mbgnbd", &[p.r, p.alpha, p.a, p.b], mbg.info().unwrap());
}

#[test]
fn pareto_nbd_finds_the_published_optimum() {
    let pareto = ParetoNbd::fit(&ParetoNbdSpec { prior: Prior::None }, &cdnow_rows()).unwrap();
    let p = pareto.params();
    check_fit("pnbd", &[p.r, p.alpha, p.s, p.beta], pareto.info().unwrap());
}

#[test]
fn gamma_gamma_finds_the_published_optimum() {
    let gg = GammaGamma::fit(&GammaGammaSpec { prior: Prior::None }, &cdnow_spend()).unwrap();
    let p = gg.params();
    check_fit("gg", &[p.p, p.q, p.gamma], gg.info().unwrap());
}

/// The weak prior moves no parameter by more than a third of its standard error.
#[test]
fn weak_prior_is_weak_on_cdnow() {
    let rows = cdnow_rows();
    let bg = BgNbd::fit(&BgNbdSpec::default(), &rows).unwrap();
    let p = bg.params();
    let want = golden_params("bgnbd", BgNbd::PARAM_NAMES);
    check_near(&[p.r, p.alpha, p.a, p.b], &want, bg.info().unwrap());
    let mbg = MbgNbd::fit(&MbgNbdSpec::default(), &rows).unwrap();
    let p = mbg.params();
    let want = golden_params("mbgnbd", MbgNbd::PARAM_NAMES);
    check_near(&[p.r, p.alpha, p.a, p.b], &want, mbg.info().unwrap());
    let pareto = ParetoNbd::fit(&ParetoNbdSpec::default(), &rows).unwrap();
    let p = pareto.params();
    let want = golden_params("pnbd", ParetoNbd::PARAM_NAMES);
    check_near(&[p.r, p.alpha, p.s, p.beta], &want, pareto.info().unwrap());
    let gg = GammaGamma::fit(&GammaGammaSpec::default(), &cdnow_spend()).unwrap();
    let p = gg.params();
    let want = golden_params("gg", GammaGamma::PARAM_NAMES);
    check_near(&[p.p, p.q, p.gamma], &want, gg.info().unwrap());
}

fn check_near(params: &[f64], want: &[f64], info: &FitInfo) {
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);
    assert!(info.log_prior < 0.0);
    for (i, name) in info.names.iter().enumerate() {
        let moved = (params[i] - want[i]).abs() / info.standard_errors[i];
        assert!(moved < 1.0 / 3.0, "{name} moved by {moved} standard errors");
    }
}

#[test]
fn predictions_of_the_sample_match_the_reference() {
    let bg = bg_params(golden_params("bgnbd", BgNbd::PARAM_NAMES));
    let mbg = mbg_params(golden_params("mbgnbd", MbgNbd::PARAM_NAMES));
    let pareto = pareto_params(golden_params("pnbd", ParetoNbd::PARAM_NAMES));
    let [p, q, gamma] = golden_params("gg", GammaGamma::PARAM_NAMES);
    let gg = GammaGamma::try_from_params(GammaGammaParams { p, q, gamma }).unwrap();
    let monthly = Discount::try_periodic(0.01, 4.345).unwrap();
    let yearly = 1.15_f64.ln() / 52.0;

    let table = Table::golden("cdnow_sample_predictions.csv.gz");
    let mut worst = Worst::default();
    for golden in &table.rows {
        let want = |name: &str| golden[table.column(name)];
        // The reference was computed from the ten printed digits, not from whole days.
        let row = BtydRow { x: whole(want("x")), t_x: want("t_x"), t: want("T") };
        let BtydRow { x, t_x, t } = row;
        let at = || format!("customer {}", golden[0]);
        let spend = gg.expected_spend(x, want("m_repeat"));
        worst.see("spend_gg", spend, want("spend_gg"), at);

        let clv = |discounted: f64| spend * discounted;
        worst.see("loglik_bgnbd", bg.log_likelihood(x, t_x, t), want("loglik_bgnbd"), at);
        worst.see("palive_bgnbd", bg.p_alive(x, t_x, t), want("palive_bgnbd"), at);
        worst.see("cet39_bgnbd", bg.expected_purchases(x, t_x, t, 39.0), want("cet39_bgnbd"), at);
        let found = clv(bg.discounted_purchases(&row, 12.0 * 4.345, &monthly));
        worst.see("clv12m_bgnbd", found, want("clv12m_bgnbd"), at);

        worst.see("loglik_mbgnbd", mbg.log_likelihood(x, t_x, t), want("loglik_mbgnbd"), at);
        worst.see("palive_mbgnbd", mbg.p_alive(x, t_x, t), want("palive_mbgnbd"), at);
        worst.see(
            "cet39_mbgnbd",
            mbg.expected_purchases(x, t_x, t, 39.0),
            want("cet39_mbgnbd"),
            at,
        );
        let found = clv(mbg.discounted_purchases(&row, 12.0 * 4.345, &monthly));
        worst.see("clv12m_mbgnbd", found, want("clv12m_mbgnbd"), at);

        worst.see("loglik_pnbd", pareto.log_likelihood(x, t_x, t), want("loglik_pnbd"), at);
        worst.see("palive_pnbd", pareto.p_alive(x, t_x, t), want("palive_pnbd"), at);
        worst.see("cet39_pnbd", pareto.expected_purchases(x, t_x, t, 39.0), want("cet39_pnbd"), at);
        let found = clv(pareto.discounted_purchases(&row, 12.0 * 4.345, &monthly));
        worst.see("clv12m_pnbd", found, want("clv12m_pnbd"), at);
        let dert = pareto.discounted_residual_purchases(&row, yearly);
        worst.see("dert_pnbd_15pct", dert, want("dert_pnbd_15pct"), at);
        worst.see("clv_inf_pnbd_15pct", spend * dert, want("clv_inf_pnbd_15pct"), at);
    }
    assert_eq!(table.rows.len(), 2_357);
    worst.assert_below(|_| 1e-9);
}

/// The aggregation in this file and the one behind the reference are the same: its customers
/// are numbered by day of first purchase, then by customer id.
#[test]
fn calibration_rows_match_the_reference() {
    let table = Table::golden("cdnow_sample_predictions.csv.gz");
    let mut customers = cdnow();
    customers.sort_by(|p, q| q.0.t.total_cmp(&p.0.t));
    assert_eq!(customers.len(), table.rows.len());
    for ((row, mean), golden) in customers.iter().zip(&table.rows) {
        let want = |name: &str| golden[table.column(name)];
        assert_eq!(row.x, whole(want("x")));
        assert!((row.t_x - want("t_x")).abs() < 1e-7 && (row.t - want("T")).abs() < 1e-7);
        assert!((mean - want("m_repeat")).abs() < 1e-7);
    }
}

#[test]
fn hard_inputs_match_to_nine_digits() {
    let text = read("tests/golden/btyd/numerics_edge_cases.csv.gz");
    let mut worst = Worst::default();
    let mut n_rows = 0;
    for record in csv::Reader::from_reader(text.as_bytes()).records() {
        let record = record.unwrap();
        n_rows += 1;
        let number = |i: usize| record[i].parse::<f64>().unwrap();
        let params = [number(1), number(2), number(3), number(4)];
        let (x, t_x, t, h) = (whole(number(5)), number(6), number(7), number(8));
        let row = BtydRow { x, t_x, t };
        let (log_likelihood, prediction, p_alive, p_none) = match &record[0] {
            "bgnbd" => {
                let m = bg_params(params);
                (
                    m.log_likelihood(x, t_x, t),
                    m.predict(&row, h),
                    m.p_alive(x, t_x, t),
                    m.p_no_purchase(x, t_x, t, h),
                )
            }
            "mbgnbd" => {
                let m = mbg_params(params);
                (
                    m.log_likelihood(x, t_x, t),
                    m.predict(&row, h),
                    m.p_alive(x, t_x, t),
                    m.p_no_purchase(x, t_x, t, h),
                )
            }
            "pnbd" => {
                let m = pareto_params(params);
                (
                    m.log_likelihood(x, t_x, t),
                    m.predict(&row, h),
                    m.p_alive(x, t_x, t),
                    m.p_no_purchase(x, t_x, t, h),
                )
            }
            other => panic!("unknown model {other}"),
        };
        let at = || record.iter().take(9).collect::<Vec<_>>().join(",");
        assert_eq!(p_alive.to_bits(), prediction.p_alive.to_bits());
        assert_eq!(p_none.to_bits(), prediction.p_no_purchase.to_bits());
        worst.see("log_likelihood", log_likelihood, number(9), at);
        // Below the normal range a double has fewer digits: half a unit of the last is allowed.
        if number(10) >= f64::MIN_POSITIVE {
            worst.see("p_alive", p_alive, number(10), at);
        } else {
            assert!((p_alive - number(10)).abs() <= f64::from_bits(1), "{}", at());
        }
        let name = match &record[0] {
            "pnbd" if number(10) < f64::MIN_POSITIVE => "expected_purchases_subnormal",
            _ => "expected_purchases",
        };
        worst.see(name, prediction.expected_purchases, number(11), at);
        worst.see("p_no_purchase", p_none, number(12), at);
    }
    assert_eq!(n_rows, 444);
    worst.assert_below(|column| if column.ends_with("subnormal") { 1e-8 } else { 1e-9 });
}

/// From three days of data to eighteen months, the weak prior gives a fit, and says so where
/// the history is too short to know how dropout differs among customers.
#[test]
fn every_cutoff_of_cdnow_can_be_fitted() {
    let start = Date::constant(1997, 1, 3);
    let step_days = if cfg!(debug_assertions) { 120 } else { 15 };
    for day in (0..540).step_by(step_days) {
        let end = start.checked_add(jiff::Span::new().days(day)).unwrap();
        let customers: Vec<BtydRow> = cdnow_until(end).iter().map(|c| c.0).collect();
        let rows = PooledRows::try_from_rows(&customers).unwrap();
        let bg = BgNbd::fit(&BgNbdSpec::default(), &rows).unwrap();
        let mbg = MbgNbd::fit(&MbgNbdSpec::default(), &rows).unwrap();
        let pareto = ParetoNbd::fit(&ParetoNbdSpec::default(), &rows).unwrap();
        for info in [bg.info(), mbg.info(), pareto.info()] {
            let info = info.unwrap();
            println!("{end} {:?} {:.3} {:?}", info.names, info.log_likelihood, info.warnings);
            assert!(info.gradient_max < 1e-6, "{end}: {info:?}");
            assert!(day > 60 || !info.warnings.is_empty(), "{end}: {info:?}");
            assert!(day < 400 || info.warnings.is_empty(), "{end}: {info:?}");
        }
        println!("{:?} {:?} {:?}", bg.params(), mbg.params(), pareto.params());
    }
}

/// A fit gives the same bits on any number of threads.
#[test]
fn fits_do_not_depend_on_the_number_of_threads() {
    let (rows, spend) = (cdnow_rows(), cdnow_spend());
    let fit = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| {
            let bg = BgNbd::fit(&BgNbdSpec::default(), &rows).unwrap();
            let pareto = ParetoNbd::fit(&ParetoNbdSpec::default(), &rows).unwrap();
            let gg = GammaGamma::fit(&GammaGammaSpec::default(), &spend).unwrap();
            let (p, s) = (*bg.params(), *pareto.params());
            let bits = [p.r, p.alpha, p.a, p.b, s.r, s.alpha, s.s, s.beta, gg.params().p]
                .map(f64::to_bits);
            (bits, bg.info().cloned(), pareto.info().cloned(), gg.info().cloned())
        })
    };
    let one = fit(1);
    assert_eq!(one, fit(2));
    assert_eq!(one, fit(5));
}

/// Predictions of one row at a horizon, by a model of wild parameters.
fn any_predictions(kind: u8, params: [f64; 4], row: &BtydRow, h: f64) -> [f64; 3] {
    let p = match kind {
        0 => bg_params(params).predict(row, h),
        1 => mbg_params(params).predict(row, h),
        _ => pareto_params(params).predict(row, h),
    };
    [p.p_alive, p.p_no_purchase, p.expected_purchases]
}

fn wild() -> impl Strategy<Value = f64> {
    (-14.0..14.0_f64).prop_map(f64::exp)
}

/// What is left of a probability's digits: terms are exponentials of sums as large as v ln v of a
/// parameter or a count v, each rounded to that size.
fn rounding(params: [f64; 4], x: u32) -> f64 {
    let sizes = params.into_iter().chain([f64::from(x).max(1.0)]);
    1e-9 + 4.0 * f64::EPSILON * sizes.map(|v| v * (1.0 + v.ln().abs())).sum::<f64>()
}

fn wild_row() -> impl Strategy<Value = BtydRow> {
    let x = prop_oneof![4 => 0_u32..6, 2 => 0_u32..400, 1 => 0_u32..3_000_000];
    (x, 0.0..=1.0_f64, (-7.0..9.0_f64).prop_map(f64::exp)).prop_map(|(x, share, t)| {
        let t_x = if x == 0 { 0.0 } else { t * share };
        BtydRow { x, t_x, t }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4000 }))]

    #[test]
    fn predictions_keep_their_ranges_and_rise_with_the_horizon(
        kind in 0_u8..3,
        params in [wild(), wild(), wild(), wild()],
        row in wild_row(),
        h in (-9.0..9.0_f64).prop_map(f64::exp),
        longer in 1.0..20.0_f64,
    ) {
        let [alive, none, purchases] = any_predictions(kind, params, &row, h);
        prop_assert!((0.0..=1.0).contains(&alive), "alive {alive}");
        prop_assert!((0.0..=1.0).contains(&none), "none {none}");
        prop_assert!(purchases.is_finite() && purchases >= 0.0, "purchases {purchases}");
        // Markov: P(X >= 1) <= E[X].
        prop_assert!(1.0 - none <= purchases * (1.0 + 1e-9) + 1e-12, "{none} {purchases}");
        let [same, later_none, later] = any_predictions(kind, params, &row, h * longer);
        prop_assert!((same - alive).abs() < 1e-15);
        prop_assert!(later_none <= none + 1e-12, "{none} then {later_none}");
        prop_assert!(later >= purchases * (1.0 - 1e-10), "{purchases} then {later}");
    }

    #[test]
    fn whatever_is_asked_the_answer_is_finite(
        kind in 0_u8..3,
        params in [wild(), wild(), wild(), wild()],
        x in any::<u32>(),
        t_x in any::<f64>(),
        t in any::<f64>(),
        h in any::<f64>(),
    ) {
        let [alive, none, purchases] = any_predictions(kind, params, &BtydRow { x, t_x, t }, h);
        prop_assert!((0.0..=1.0).contains(&alive) && (0.0..=1.0).contains(&none));
        prop_assert!(purchases.is_finite() && purchases >= 0.0, "purchases {purchases}");
    }

    #[test]
    fn log_likelihood_is_finite_and_each_row_can_happen(
        params in [wild(), wild(), wild(), wild()],
        row in wild_row(),
    ) {
        let BtydRow { x, t_x, t } = row;
        let slack = rounding(params, x);
        let bg = bg_params(params).log_likelihood(x, t_x, t);
        let mbg = mbg_params(params).log_likelihood(x, t_x, t);
        let pareto = pareto_params(params).log_likelihood(x, t_x, t);
        prop_assert!(bg.is_finite() && mbg.is_finite() && pareto.is_finite());
        // Without repeat purchases the likelihood is a probability.
        if x == 0 {
            prop_assert!(bg <= slack && mbg <= slack && pareto <= slack);
        }
    }

    #[test]
    fn distribution_falls_and_quantiles_rise(
        kind in 0_u8..3,
        params in [wild(), wild(), wild(), wild()],
        row in wild_row(),
        h in (-3.0..6.0_f64).prop_map(f64::exp),
        n in 0_u32..2_000,
    ) {
        let bg = bg_params(params);
        let mbg = mbg_params(params);
        let pareto = pareto_params(params);
        let at_least = |n| match kind {
            0 => bg.p_at_least(&row, h, n),
            1 => mbg.p_at_least(&row, h, n),
            _ => pareto.p_at_least(&row, h, n),
        };
        let quantile = |level| match kind {
            0 => bg.purchase_quantile(&row, h, level),
            1 => mbg.purchase_quantile(&row, h, level),
            _ => pareto.purchase_quantile(&row, h, level),
        };
        let (p, next) = (at_least(n), at_least(n + 1));
        let slack = rounding(params, row.x);
        prop_assert!((0.0..=1.0 + 1e-12).contains(&p) && next <= p + slack, "{p} then {next}");
        prop_assert!(quantile(0.1) <= quantile(0.5) && quantile(0.5) <= quantile(0.9));
    }
}
