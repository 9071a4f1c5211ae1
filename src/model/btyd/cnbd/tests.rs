//! Regular buyers: against k = 1, against simulation, and against themselves.

use super::super::bg_nbd::{BgNbd, BgNbdParams, BgNbdSpec};
use super::super::mbg_nbd::{MbgNbd, MbgNbdParams, MbgNbdSpec};
use super::super::simulate::{Drawn, Draws, observe};
use super::super::tests::{check_derivatives, varied_rows};
use super::*;

const BOTH: [FirstThrow; 2] = [FirstThrow::AfterRepeat, FirstThrow::AfterFirst];

fn row(x: u32, t_x: f64, t: f64) -> BtydRow {
    BtydRow::try_new(x, t_x, t).unwrap()
}

fn model(first: FirstThrow, k: u8, [r, alpha, a, b]: [f64; 4]) -> Cnbd {
    Cnbd::try_from_params(CnbdParams { first, k, r, alpha, a, b }).unwrap()
}

/// Customers of a true model, seen for `weeks` at most and then for `h` more.
fn draw(truth: &Cnbd, n: u32, weeks: f64, h: f64) -> Vec<Drawn> {
    let mut draws = Draws::new(7 + u64::from(truth.params.k));
    let CnbdParams { first, k, r, alpha, a, b } = truth.params;
    (0..n)
        .map(|_| {
            let (lambda, p) = (draws.gamma(r, alpha), draws.beta(a, b));
            let t = weeks * (0.5 + 0.5 * draws.unit());
            let mut times = Vec::new();
            let mut at = 0.0;
            let mut left = (first == FirstThrow::AfterFirst && draws.unit() < p).then_some(0.0);
            while left.is_none() && at <= t + h {
                for _ in 0..k {
                    at += draws.exponential(lambda);
                }
                times.push(at);
                left = (draws.unit() < p).then_some(at);
            }
            observe(&times, left.is_none_or(|left| left > t), t, h)
        })
        .collect()
}

fn pooled(customers: &[Drawn]) -> (PooledRows, f64) {
    let rows: Vec<BtydRow> = customers.iter().map(|c| c.row).collect();
    let log_gaps = customers.iter().map(|c| c.log_gaps).sum();
    (PooledRows::try_from_rows(&rows).unwrap(), log_gaps)
}

fn hard_rows() -> Vec<BtydRow> {
    vec![
        row(0, 0.0, 0.0),
        row(0, 0.0, 39.0),
        row(1, 1.7, 38.9),
        row(2, 30.4, 38.9),
        row(26, 30.9, 31.0),
        row(300, 198.0, 200.0),
        row(5_000, 690.0, 730.0),
    ]
}

#[test]
fn one_stage_is_bg_and_mbg() {
    for params in [[0.243, 4.414, 0.793, 2.426], [3.0, 0.2, 40.0, 0.05], [1e-3, 900.0, 1.0, 1e4]] {
        let [r, alpha, a, b] = params;
        let bg = BgNbd::try_from_params(BgNbdParams { r, alpha, a, b }).unwrap();
        let mbg = MbgNbd::try_from_params(MbgNbdParams { r, alpha, a, b }).unwrap();
        let ours = BOTH.map(|first| model(first, 1, params));
        for row in hard_rows() {
            let BtydRow { x, t_x, t } = row;
            for h in [0.0, 1.0, 39.0, 520.0] {
                let pairs = [
                    (ours[0].predict(&row, h), bg.predict(&row, h)),
                    (ours[1].predict(&row, h), mbg.predict(&row, h)),
                ];
                for (found, want) in pairs {
                    for (found, want) in [
                        (found.p_alive, want.p_alive),
                        (found.p_no_purchase, want.p_no_purchase),
                        (found.expected_purchases, want.expected_purchases),
                    ] {
                        let off = (found - want).abs() / want.abs().max(1e-300);
                        assert!(
                            off < 1e-9 || (found - want).abs() < 1e-300,
                            "{params:?} {row:?} {h}: {found} {want}"
                        );
                    }
                }
                for level in [0.1, 0.5, 0.9] {
                    let found = ours[1].purchase_quantile(&row, h, level);
                    assert_eq!(
                        found,
                        mbg.purchase_quantile(&row, h, level),
                        "{params:?} {row:?} {h}"
                    );
                }
            }
            let (found, want) =
                (ours[0].log_likelihood_with_gaps(&row, -3.0), bg.log_likelihood(x, t_x, t));
            assert!((found - want).abs() < 1e-9 * want.abs().max(1.0), "{found} {want}");
            let (found, want) =
                (ours[1].log_likelihood_with_gaps(&row, -3.0), mbg.log_likelihood(x, t_x, t));
            assert!((found - want).abs() < 1e-9 * want.abs().max(1.0), "{found} {want}");
        }
    }
}

#[test]
fn the_fit_with_one_stage_is_that_of_bg_and_mbg() {
    let truth = model(FirstThrow::AfterFirst, 1, [0.6, 5.0, 0.9, 2.5]);
    let (rows, log_gaps) = pooled(&draw(&truth, 2_000, 60.0, 1.0));
    let prior = Prior::Weak;
    for first in BOTH {
        let ours = Cnbd::fit(&CnbdSpec { first, k: 1, prior }, &rows, log_gaps).unwrap();
        let (want, info) = match first {
            FirstThrow::AfterRepeat => {
                let bg = BgNbd::fit(&BgNbdSpec { prior }, &rows).unwrap();
                let BgNbdParams { r, alpha, a, b } = *bg.params();
                ([r, alpha, a, b], bg.info().unwrap().clone())
            }
            FirstThrow::AfterFirst => {
                let mbg = MbgNbd::fit(&MbgNbdSpec { prior }, &rows).unwrap();
                let MbgNbdParams { r, alpha, a, b } = *mbg.params();
                ([r, alpha, a, b], mbg.info().unwrap().clone())
            }
        };
        let CnbdParams { r, alpha, a, b, .. } = *ours.params();
        for (found, want) in [r, alpha, a, b].into_iter().zip(want) {
            assert!((found / want - 1.0).abs() < 1e-9, "{first:?}: {found} {want}");
        }
        let found = ours.info().unwrap();
        assert!((found.log_likelihood - info.log_likelihood).abs() < 1e-6);
        for (found, want) in found.standard_errors.iter().zip(&info.standard_errors) {
            assert!((found / want - 1.0).abs() < 1e-7, "{first:?}: {found} {want}");
        }
    }
}

#[test]
fn derivatives_are_exact() {
    let rows = varied_rows();
    for point in [[-1.4, 1.5, -0.2, 0.9], [1.0, 3.0, 2.0, -1.0], [-3.0, -1.0, 4.0, 6.0]] {
        for first in BOTH {
            for k in 1..=4 {
                check_derivatives(point, |p| likelihood(first, k, &rows, p));
            }
        }
    }
}

#[test]
fn sum_over_rows_equals_the_rows() {
    let params = [0.7, 2.5, 0.8, 2.5_f64];
    let rows = varied_rows();
    for first in BOTH {
        for k in 1..=4 {
            let model = model(first, k, params);
            let sum = likelihood(first, u32::from(k), &rows, &params.map(f64::ln)).value;
            let want = rows.total(|row| model.core.log_likelihood(row));
            assert!((sum - want).abs() < 1e-11 * want.abs(), "{first:?} {k}: {sum} {want}");
        }
    }
}

/// Distribution, its mean and the probability of nothing are computed in three ways.
#[test]
fn distribution_agrees_with_mean_and_zero_probability() {
    for first in BOTH {
        for k in 2..=4 {
            let model = model(first, k, [0.9, 2.4, 0.79, 2.43]);
            for row in hard_rows().into_iter().take(6) {
                for h in [0.5, 39.0] {
                    let p = model.predict(&row, h);
                    assert!((model.p_at_least(&row, h, 0) - 1.0).abs() < 1e-12);
                    let none = 1.0 - model.p_at_least(&row, h, 1);
                    assert!(
                        (none - p.p_no_purchase).abs() < 1e-10,
                        "{k} {row:?} {h}: {none} {p:?}"
                    );
                    assert!((model.p_no_purchase(row.x, row.t_x, row.t, h) - none).abs() < 1e-10);
                    let mean: f64 = (1..3_000)
                        .map(|n| model.p_at_least(&row, h, n))
                        .take_while(|prob| *prob > 1e-14)
                        .sum();
                    let off = (mean / p.expected_purchases - 1.0).abs();
                    assert!(off < 1e-8, "{k} {row:?} {h}: {mean} {p:?}");
                    for level in [0.0, 0.1, 0.5, 0.9, 0.999] {
                        let n = model.purchase_quantile(&row, h, level);
                        assert!(model.p_at_least(&row, h, n + 1) <= 1.0 - level + 1e-12);
                        assert!(n == 0 || model.p_at_least(&row, h, n) > 1.0 - level - 1e-12);
                    }
                }
            }
        }
    }
}

/// Long horizons and busy customers leave the walk over stages for the quadrature.
#[test]
fn walk_and_quadrature_meet() {
    for k in 1..=4 {
        for (params, row) in [
            ([0.9, 2.4, 0.79, 2.43], row(0, 0.0, 4.0)),
            ([0.9, 2.4, 0.01, 12.0], row(100, 45.0, 50.0)),
            ([0.02, 0.8, 1.0, 1.0], row(0, 0.0, 0.1)),
            ([30.0, 8.0, 1.0, 60.0], row(12, 20.0, 31.0)),
            ([5.0, 3.0, 1e-3, 60.0], row(300, 100.0, 100.0)),
        ] {
            let model = model(FirstThrow::AfterFirst, k, params);
            for h in [10.0, 60.0, 100.0] {
                let found = model.core.both_ways(&row, h);
                let [walked, integrated] = found.map(|part| part.unwrap());
                let off = (integrated / walked - 1.0).abs();
                assert!(off < 2e-9, "{k} {params:?} {row:?} {h}: {walked} {integrated} {off:e}");
            }
        }
    }
}

#[test]
fn extremes_are_finite() {
    for k in 1..=4 {
        for params in [[1e-6, 1e-6, 1e-6, 1e6], [1e6, 1e3, 1e-9, 1.0], [1e-3, 1e9, 1e12, 1e12]] {
            for first in BOTH {
                let model = model(first, k, params);
                for row in hard_rows() {
                    for h in [0.0, 1e-9, 4.0, 52_200.0, f64::NAN] {
                        let p = model.predict(&row, h);
                        assert!((0.0..=1.0).contains(&p.p_alive), "{params:?} {row:?} {h}: {p:?}");
                        assert!((0.0..=1.0).contains(&p.p_no_purchase), "{params:?} {row:?} {p:?}");
                        let mean = p.expected_purchases;
                        assert!(mean.is_finite() && mean >= 0.0, "{params:?} {row:?} {h}: {mean}");
                    }
                }
            }
        }
    }
}

/// Four thousand regular buyers: k, the parameters, and what comes after are found again.
#[test]
fn regular_buyers_are_found_again() {
    let h = 26.0;
    for (first, k) in [(FirstThrow::AfterFirst, 3), (FirstThrow::AfterRepeat, 2)] {
        let params = [1.4, 1.1, 0.7, 4.0];
        let truth = model(first, k, params);
        let customers = draw(&truth, 4_000, 80.0, h);
        let (rows, log_gaps) = pooled(&customers);
        let spec = CnbdSpec { first, k: 1, prior: Prior::None };
        let plain = Cnbd::fit(&spec, &rows, log_gaps).unwrap();
        let likely = plain.info().unwrap().log_likelihood;
        let fitted = Cnbd::fit_regular(first, Prior::None, &rows, log_gaps, likely).unwrap();
        let fitted = fitted.expect("regular buyers are found");
        assert_eq!(fitted.params().k, k);
        let CnbdParams { r, alpha, a, b, .. } = *fitted.params();
        let info = fitted.info().unwrap();
        for ((found, want), se) in
            [r, alpha, a, b].into_iter().zip(params).zip(&info.standard_errors)
        {
            println!("{first:?} {k}: {found:.4} +- {se:.4}, true {want}");
            assert!((found - want).abs() < 3.5 * se, "{first:?} {k}: {found} {want} +- {se}");
        }
        let mean =
            |of: &dyn Fn(&Drawn) -> f64| -> f64 { customers.iter().map(of).sum::<f64>() / 4_000.0 };
        let at = |c: &Drawn| truth.predict(&c.row, h);
        let alive = mean(&|c| f64::from(u8::from(c.is_alive)));
        let quiet = mean(&|c| f64::from(u8::from(c.after == 0)));
        let bought = mean(&|c| f64::from(c.after));
        let told = [
            (mean(&|c| at(c).p_alive), alive, 0.02),
            (mean(&|c| at(c).p_no_purchase), quiet, 0.02),
            (mean(&|c| at(c).expected_purchases) / bought, 1.0, 0.03),
        ];
        for (found, want, slack) in told {
            println!("{first:?} {k}: {found:.4} came {want:.4}");
            assert!((found - want).abs() < slack, "{first:?} {k}: {found} {want}");
        }
        // Among those most likely gone, as many are gone as said: the model with k = 1 is far off.
        let doubtful = |c: &Drawn| c.row.x >= 3 && (0.2..0.8).contains(&at(c).p_alive);
        let n = mean(&|c| f64::from(u8::from(doubtful(c))));
        let said = mean(&|c| if doubtful(c) { at(c).p_alive } else { 0.0 }) / n;
        let came = mean(&|c| f64::from(u8::from(doubtful(c) && c.is_alive))) / n;
        println!("{first:?} {k}: doubtful {n:.3}, said alive {said:.3}, were {came:.3}");
        assert!((said - came).abs() < 0.08, "{said} {came}");
    }
}

#[test]
fn random_buyers_are_left_alone() {
    let first = FirstThrow::AfterFirst;
    let truth = model(first, 1, [0.8, 6.0, 0.7, 4.0]);
    let (rows, log_gaps) = pooled(&draw(&truth, 3_000, 80.0, 1.0));
    let plain = Cnbd::fit(&CnbdSpec { first, k: 1, prior: Prior::Weak }, &rows, log_gaps).unwrap();
    let likely = plain.info().unwrap().log_likelihood;
    let found = Cnbd::fit_regular(first, Prior::Weak, &rows, log_gaps, likely).unwrap();
    assert!(found.is_none(), "{found:?}");
}

#[test]
fn gaps_that_rows_cannot_have_are_refused() {
    let rows = PooledRows::try_from_rows(&[row(2, 8.0, 9.0)]).unwrap();
    let spec = CnbdSpec { first: FirstThrow::AfterFirst, k: 2, prior: Prior::Weak };
    let most = 2.0 * 4.0_f64.ln();
    assert!(Cnbd::fit(&spec, &rows, most).is_ok());
    for bad in [most + 0.1, f64::NAN, f64::INFINITY] {
        let found = Cnbd::fit(&spec, &rows, bad);
        assert!(matches!(found, Err(BtydError::InvalidGaps { .. })), "{bad}: {found:?}");
    }
    let found = Cnbd::fit(&CnbdSpec { k: 5, ..spec }, &rows, most);
    assert!(matches!(found, Err(BtydError::InvalidRegularity { found: 5, .. })), "{found:?}");
}
