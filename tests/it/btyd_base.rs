//! What the purchase models expect of whole bases, and numbers printed in the papers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use jiff::civil::Date;
use tenure::model::btyd::BgNbd;
use tenure::model::btyd::BtydRow;
use tenure::model::btyd::FrequencyBin;
use tenure::model::btyd::MbgNbd;
use tenure::model::btyd::ParetoNbd;
use tenure::model::btyd::PooledRows;
use tenure::model::btyd::Prior;
use tenure::model::btyd::{BgNbdSpec, GammaGamma, GammaGammaSpec, MbgNbdSpec, ParetoNbdSpec};

use crate::btyd::{
    Table, assert_close, bg_params, cdnow, cdnow_of, check_fit, golden_json, golden_params,
    mbg_params, pareto_params, spend_of, whole,
};

fn models() -> (BgNbd, MbgNbd, ParetoNbd) {
    (
        bg_params(golden_params("bgnbd", BgNbd::PARAM_NAMES)),
        mbg_params(golden_params("mbgnbd", MbgNbd::PARAM_NAMES)),
        pareto_params(golden_params("pnbd", ParetoNbd::PARAM_NAMES)),
    )
}

fn base() -> (Vec<BtydRow>, PooledRows) {
    let rows: Vec<BtydRow> = cdnow().iter().map(|c| c.0).collect();
    let pooled = PooledRows::try_from_rows(&rows).unwrap();
    (rows, pooled)
}

/// Expected numbers of customers with n repeat purchases, beside those there were.
#[test]
fn repeat_counts_match_the_reference() {
    let (bg, mbg, pareto) = models();
    let (rows, pooled) = base();
    let table = Table::golden("cdnow_sample_pmf.csv");
    let max = u32::try_from(table.rows.len() - 1).unwrap();
    let (bg_counts, mbg_counts) =
        (bg.expected_repeat_counts(&pooled, max), mbg.expected_repeat_counts(&pooled, max));
    assert_eq!(bg_counts.len(), table.rows.len());
    for (n, golden) in table.rows.iter().enumerate() {
        assert_close("BG/NBD", bg_counts[n], golden[table.column("exp_bgnbd")], 1e-9);
        assert_close("MBG/NBD", mbg_counts[n], golden[table.column("exp_mbgnbd")], 1e-9);
        let actual = rows.iter().filter(|row| row.x == whole(golden[0])).count();
        assert_eq!(actual, whole(golden[table.column("actual")]) as usize);
    }
    // All counts together are the base, and their mean is the expectation.
    for (name, counts, mean) in [
        ("bg", bg.expected_repeat_counts(&pooled, 2_000), bg_total(&rows, &bg)),
        (
            "pareto",
            pareto.expected_repeat_counts(&pooled, 300),
            rows.iter().map(|row| pareto.expected_purchases(0, 0.0, 0.0, row.t)).sum(),
        ),
    ] {
        assert_close(name, counts.iter().sum(), 2_357.0, 1e-8);
        let sum: f64 = (0_u32..).zip(&counts).map(|(n, c)| f64::from(n) * c).sum();
        assert_close(name, sum, mean, 1e-6);
    }
}

fn bg_total(rows: &[BtydRow], bg: &BgNbd) -> f64 {
    rows.iter().map(|row| bg.expected_purchases(0, 0.0, 0.0, row.t)).sum()
}

/// Repeat purchases of the whole base week by week: the customer of age T at the end of week
/// 273/7 bought first in week 273/7 - T.
#[test]
fn cumulative_purchases_match_the_reference() {
    let (bg, mbg, pareto) = models();
    let (rows, _) = base();
    let firsts: Vec<f64> = rows.iter().map(|row| 273.0 / 7.0 - row.t).collect();
    let table = Table::golden("cdnow_sample_tracking_expected.csv");
    let weeks: Vec<f64> = table.rows.iter().map(|row| row[0]).collect();
    assert_eq!(weeks.len(), 78);
    for (name, found) in [
        ("cum_exp_bgnbd", bg.expected_cumulative(&firsts, &weeks)),
        ("cum_exp_mbgnbd", mbg.expected_cumulative(&firsts, &weeks)),
        ("cum_exp_pnbd", pareto.expected_cumulative(&firsts, &weeks)),
    ] {
        assert_eq!(found.len(), weeks.len());
        for (found, golden) in found.iter().zip(&table.rows) {
            assert_close(name, *found, golden[table.column(name)], 1e-9);
        }
    }
    // Before anybody bought there is nothing, whatever is asked.
    assert_eq!(bg.expected_cumulative(&firsts, &[0.0, -3.0, f64::NAN]), [0.0; 3]);
    assert_eq!(bg.expected_cumulative(&[], &[5.0]), [0.0]);
}

/// Expected purchases of 39 weeks by frequency, from the reference's customers one by one.
#[test]
fn conditional_expectations_by_frequency_match_the_reference() {
    let (bg, mbg, pareto) = models();
    let (_, pooled) = base();
    let table = Table::golden("cdnow_sample_predictions.csv.gz");
    for (name, bins) in [
        ("cet39_bgnbd", bg.expected_by_frequency(&pooled, 39.0, 7)),
        ("cet39_mbgnbd", mbg.expected_by_frequency(&pooled, 39.0, 7)),
        ("cet39_pnbd", pareto.expected_by_frequency(&pooled, 39.0, 7)),
    ] {
        assert_eq!(bins.len(), 8);
        assert_eq!(bins.iter().map(|bin| bin.n_customers).sum::<u64>(), 2_357);
        for FrequencyBin { x, n_customers, mean_expected } in bins {
            let of: Vec<f64> = table
                .rows
                .iter()
                .filter(|row| whole(row[table.column("x")]).min(7) == x)
                .map(|row| row[table.column(name)])
                .collect();
            assert_eq!(of.len() as u64, n_customers);
            // The reference's times have ten printed digits, ours are whole days.
            let mean = of.iter().sum::<f64>() / f64::from(u32::try_from(of.len()).unwrap());
            assert_close(name, mean_expected, mean, 1e-8);
        }
    }
    let empty = bg.expected_by_frequency(&pooled, 39.0, 1_000);
    assert_eq!((empty[1_000].n_customers, empty[1_000].mean_expected), (0, 0.0));
}

/// Numbers printed in the papers, which were computed at the estimates, not at their printed
/// digits.
#[test]
fn predictions_match_the_papers() {
    let spot = &golden_json("published.json")["spot"];
    let want = |name: &str| spot[name].as_f64().unwrap();
    let (bg, _, pareto) = models();
    let found = bg.expected_purchases(2, 30.43, 38.86, 39.0);
    assert!((found - want("bgnbd_E_Y39_x2_tx30.43_T38.86")).abs() <= 0.000_6, "{found}");
    for (weeks, purchases) in spot["bgnbd_EX_t"].as_object().unwrap() {
        let found = bg.expected_purchases(0, 0.0, 0.0, weeks.parse().unwrap());
        assert!((found - purchases.as_f64().unwrap()).abs() <= 0.000_51, "{weeks}: {found}");
    }
    let found = pareto.expected_purchases(26, 30.86, 31.0, 52.0);
    assert!((found - want("pnbd_E_Y52_x26_tx30.86_T31")).abs() <= 0.006, "{found}");
    let found = pareto.p_alive(26, 30.86, 31.0);
    assert!((found - want("pnbd_palive_x26_tx30.86_T31")).abs() <= 0.000_06, "{found}");
}

/// The whole of CDNOW, which may not be shipped: runs where `CDNOW_FULL` names the file that
/// `tests/python/fetch_cdnow.py` makes, and says nothing elsewhere.
#[test]
fn cdnow_full_matches_the_reference() {
    #[allow(clippy::disallowed_methods, reason = "a test that needs data asks where they are")]
    let Ok(path) = std::env::var("CDNOW_FULL") else { return };
    let customers = cdnow_of(&path, Date::constant(1997, 9, 30));
    assert_eq!(customers.len(), 23_570);
    let rows: Vec<BtydRow> = customers.iter().map(|c| c.0).collect();
    let pooled = PooledRows::try_from_rows(&rows).unwrap();
    let prior = Prior::None;
    let bg = BgNbd::fit(&BgNbdSpec { prior }, &pooled).unwrap();
    let p = bg.params();
    check_fit("full_bgnbd", &[p.r, p.alpha, p.a, p.b], bg.info().unwrap());
    let mbg = MbgNbd::fit(&MbgNbdSpec { prior }, &pooled).unwrap();
    let p = mbg.params();
    check_fit("full_mbgnbd", &[p.r, p.alpha, p.a, p.b], mbg.info().unwrap());
    let pareto = ParetoNbd::fit(&ParetoNbdSpec { prior }, &pooled).unwrap();
    let p = pareto.params();
    check_fit("full_pnbd", &[p.r, p.alpha, p.s, p.beta], pareto.info().unwrap());
    let gg = GammaGamma::fit(&GammaGammaSpec { prior }, &spend_of(&customers)).unwrap();
    // Its unique rows are not counted alike: means of equal spends may differ in the last bit.
    let (p, info, want) = (gg.params(), gg.info().unwrap(), &golden_json("mle.json")["full_gg"]);
    assert!((info.log_likelihood - want["ll"].as_f64().unwrap()).abs() < 1e-6);
    for (name, (found, error)) in
        info.names.iter().zip([p.p, p.q, p.gamma].iter().zip(&info.standard_errors))
    {
        assert_close(name, *found, want["params"][name].as_f64().unwrap(), 1e-6);
        assert_close(name, *error, want["se"][name].as_f64().unwrap(), 1e-5);
    }
    let table = Table::golden("cdnow_full_pmf.csv");
    let (bg, mbg) =
        (bg.expected_repeat_counts(&pooled, 14), mbg.expected_repeat_counts(&pooled, 14));
    for (n, golden) in table.rows.iter().enumerate() {
        assert_close("BG/NBD", bg[n], golden[table.column("exp_bgnbd")], 1e-6);
        assert_close("MBG/NBD", mbg[n], golden[table.column("exp_mbgnbd")], 1e-6);
        let actual = rows.iter().filter(|row| row.x == whole(golden[0])).count();
        assert_eq!(actual, whole(golden[table.column("actual")]) as usize);
    }
}
