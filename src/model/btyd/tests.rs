//! Derivatives, degenerate data and identities between the predictions.

use super::beta_geometric;
use super::beta_geometric::FirstThrow;
use super::gamma_gamma;
use super::pareto_nbd;
use super::*;
use crate::model::optimize::Derivs;

fn row(x: u32, t_x: f64, t: f64) -> BtydRow {
    BtydRow::try_new(x, t_x, t).unwrap()
}

pub(super) fn varied_rows() -> PooledRows {
    PooledRows::try_from_rows(&[
        row(0, 0.0, 0.0),
        row(0, 0.0, 39.0),
        row(1, 1.7, 38.9),
        row(1, 38.9, 38.9),
        row(3, 20.0, 31.0),
        row(3, 20.0, 31.0),
        row(40, 30.0, 32.0),
        row(6_000, 700.0, 730.0),
    ])
    .unwrap()
}

/// Exact derivatives against central differences.
pub(super) fn check_derivatives<const N: usize>(
    point: [f64; N],
    of: impl Fn(&[f64; N]) -> Derivs<N>,
) {
    let exact = of(&point);
    let step = 1e-5;
    for i in 0..N {
        let (mut up, mut down) = (point, point);
        up[i] += step;
        down[i] -= step;
        let (up, down) = (of(&up), of(&down));
        let slope = (up.value - down.value) / (2.0 * step);
        let scale = 1.0 + exact.gradient[i].abs() + 1e-4 * exact.value.abs();
        let off = (slope - exact.gradient[i]).abs() / scale;
        assert!(off < 1e-6, "{point:?}: slope {i}: {} {slope}", exact.gradient[i]);
        for j in 0..N {
            let bend = (up.gradient[j] - down.gradient[j]) / (2.0 * step);
            let scale = 1.0 + exact.hessian[i][j].abs() + 1e-4 * exact.gradient[j].abs();
            let off = (bend - exact.hessian[i][j]).abs() / scale;
            assert!(off < 1e-6, "{point:?}: bend {i} {j}: {} {bend}", exact.hessian[i][j]);
        }
    }
}

#[test]
fn derivatives_are_exact() {
    let rows = varied_rows();
    for point in [[-1.4, 1.5, -0.2, 0.9], [1.0, 3.0, 2.0, -1.0], [-3.0, -1.0, 4.0, 6.0]] {
        for first in [FirstThrow::AfterRepeat, FirstThrow::AfterFirst] {
            check_derivatives(point, |p| beta_geometric::likelihood(first, &rows, p));
        }
        check_derivatives(point, |p| pareto_nbd::likelihood(&rows, p));
    }
    let spend = |x, mean_spend| SpendRow { x, mean_spend };
    let rows = PooledSpend::try_from_rows(&[spend(1, 11.77), spend(7, 30.0), spend(900, 0.5)]);
    let rows = rows.unwrap();
    for point in [[1.8, 1.3, 2.7], [-1.0, 3.0, 0.0], [3.0, -0.5, 6.0]] {
        check_derivatives(point, |p| gamma_gamma::likelihood(&rows, p));
    }
}

/// The sums of the fit and the formula of one row are written apart.
#[test]
fn sum_over_rows_equals_the_rows() {
    let params = [0.3, 5.0, 0.8, 2.5_f64];
    let rows = varied_rows();
    let at = params.map(f64::ln);
    let [r, alpha, a, b] = params;
    let bg = BgNbd::try_from_params(BgNbdParams { r, alpha, a, b }).unwrap();
    let mbg = MbgNbd::try_from_params(MbgNbdParams { r, alpha, a, b }).unwrap();
    let pareto = ParetoNbd::try_from_params(ParetoNbdParams { r, alpha, s: a, beta: b }).unwrap();
    let check = |sum: f64, of: &dyn Fn(&BtydRow) -> f64| {
        let want = rows.total(of);
        assert!((sum - want).abs() < 1e-11 * want.abs(), "{sum} {want}");
    };
    let sum = beta_geometric::likelihood(FirstThrow::AfterRepeat, &rows, &at).value;
    check(sum, &|row| bg.log_likelihood(row.x, row.t_x, row.t));
    let sum = beta_geometric::likelihood(FirstThrow::AfterFirst, &rows, &at).value;
    check(sum, &|row| mbg.log_likelihood(row.x, row.t_x, row.t));
    check(pareto_nbd::likelihood(&rows, &at).value, &|row| {
        pareto.log_likelihood(row.x, row.t_x, row.t)
    });
}

/// What every model can do, for tests that run over all of them.
struct AnyModel {
    name: &'static str,
    info: FitInfo,
    params: Vec<f64>,
    expected: Predict,
}

type Predict = Box<dyn Fn(&BtydRow, f64) -> Prediction>;

type NamedFit = (&'static str, Result<AnyModel, BtydError>);

fn fit_all(prior: Prior, rows: &PooledRows) -> Vec<NamedFit> {
    let bg = BgNbd::fit(&BgNbdSpec { prior }, rows).map(|m| {
        let BgNbdParams { r, alpha, a, b } = *m.params();
        AnyModel {
            name: "BG/NBD",
            info: m.info().unwrap().clone(),
            params: vec![r, alpha, a, b],
            expected: Box::new(move |row, h| m.predict(row, h)),
        }
    });
    let mbg = MbgNbd::fit(&MbgNbdSpec { prior }, rows).map(|m| {
        let MbgNbdParams { r, alpha, a, b } = *m.params();
        AnyModel {
            name: "MBG/NBD",
            info: m.info().unwrap().clone(),
            params: vec![r, alpha, a, b],
            expected: Box::new(move |row, h| m.predict(row, h)),
        }
    });
    let pareto = ParetoNbd::fit(&ParetoNbdSpec { prior }, rows).map(|m| {
        let ParetoNbdParams { r, alpha, s, beta } = *m.params();
        AnyModel {
            name: "Pareto/NBD",
            info: m.info().unwrap().clone(),
            params: vec![r, alpha, s, beta],
            expected: Box::new(move |row, h| m.predict(row, h)),
        }
    });
    vec![("BG/NBD", bg), ("MBG/NBD", mbg), ("Pareto/NBD", pareto)]
}

fn degenerate_bases() -> Vec<(&'static str, PooledRows)> {
    let pool = |rows: Vec<BtydRow>| PooledRows::try_from_rows(&rows).unwrap();
    let days = |d: u32| f64::from(d) / 7.0;
    vec![
        ("everybody buys once", pool((0..2_000).map(|i| row(0, 0.0, days(i % 300))).collect())),
        ("one customer, one purchase", pool(vec![row(0, 0.0, 20.0)])),
        ("one customer", pool(vec![row(3, 11.0, 20.0)])),
        ("bought today", pool(vec![row(0, 0.0, 0.0); 50])),
        (
            "all of one age",
            pool(
                (0..900)
                    .map(|i| {
                        let x = (i % 7) / 3;
                        row(x, if x == 0 { 0.0 } else { days(1 + i % 272) }, days(273))
                    })
                    .collect(),
            ),
        ),
        (
            "sixty days",
            pool(
                (0..900)
                    .map(|i| {
                        let x = u32::from(i % 11 == 0) + u32::from(i % 23 == 0);
                        let t = 20 + i % 41;
                        row(x, if x == 0 { 0.0 } else { days(1 + i % t) }, days(t))
                    })
                    .collect(),
            ),
        ),
        ("everybody buys every week", pool(vec![row(52, 52.0, 52.0); 300])),
        ("one busy customer", pool(vec![row(400_000, 700.0, 728.0), row(0, 0.0, 728.0)])),
    ]
}

#[test]
fn degenerate_data_give_finite_answers_with_the_weak_prior() {
    for (what, rows) in degenerate_bases() {
        for (name, fit) in fit_all(Prior::Weak, &rows) {
            let model = fit.unwrap_or_else(|e| panic!("{what}: {name}: {e}"));
            assert_eq!(model.name, name);
            println!("{what}: {name} {:?} {:?}", model.params, model.info.warnings);
            assert!(model.params.iter().all(|p| p.is_finite() && *p > 0.0));
            assert!(model.info.standard_errors.iter().all(|e| e.is_finite() && *e > 0.0));
            assert!(!model.info.warnings.is_empty(), "{what}: {name} warns of nothing");
            for row in [row(0, 0.0, 20.0), row(3, 11.0, 20.0)] {
                let prediction = (model.expected)(&row, 52.0);
                assert!((0.0..=1.0).contains(&prediction.p_no_purchase));
                assert!(prediction.expected_purchases.is_finite());
            }
        }
    }
}

#[test]
fn degenerate_data_without_prior_are_an_error_with_numbers() {
    for (what, rows) in &degenerate_bases()[..4] {
        for (name, fit) in fit_all(Prior::None, rows) {
            match fit {
                Err(BtydError::NotConverged { model, params, .. }) => {
                    assert_eq!(model, name);
                    assert_eq!(params.len(), 4);
                }
                Err(other) => panic!("{what}: {name}: {other}"),
                Ok(model) => panic!("{what}: {name}: {:?} {:?}", model.params, model.info),
            }
        }
    }
}

#[test]
fn nobody_buying_twice_is_said() {
    let (_, rows) = degenerate_bases().swap_remove(0);
    for (_, fit) in fit_all(Prior::Weak, &rows) {
        let warnings = fit.unwrap().info.warnings;
        assert!(warnings.contains(&FitWarning::NoRepeatPurchase { n_customers: 2_000 }));
        assert!(
            warnings.iter().any(|w| matches!(w, FitWarning::PriorDecides { .. })),
            "{warnings:?}"
        );
    }
}

/// Customers who are all alike in dropping out: only a / b is known, not a + b.
#[test]
fn flat_ridge_is_said_to_be_decided_by_the_prior() {
    let (_, rows) = degenerate_bases().swap_remove(5);
    for (name, fit) in fit_all(Prior::Weak, &rows) {
        let warnings = fit.unwrap().info.warnings;
        let ridge = if name == "Pareto/NBD" { "log s" } else { "log(a + b)" };
        let said = warnings.iter().any(|warning| match warning {
            FitWarning::PriorDecides { quantity, prior_share } => {
                *quantity == ridge && *prior_share > 0.25
            }
            _ => false,
        });
        assert!(said, "{name}: {warnings:?}");
    }
}

/// The same customers in days instead of weeks, and in cents instead of dollars.
#[test]
fn weak_prior_is_free_of_units() {
    let (_, weeks) = degenerate_bases().swap_remove(5);
    let mut days = Vec::new();
    for pooled in weeks.rows() {
        let BtydRow { x, t_x, t } = pooled.row;
        for _ in 0..pooled.n_customers {
            days.push(row(x, 7.0 * t_x, 7.0 * t));
        }
    }
    let days = PooledRows::try_from_rows(&days).unwrap();
    for ((name, in_weeks), (_, in_days)) in
        fit_all(Prior::Weak, &weeks).into_iter().zip(fit_all(Prior::Weak, &days))
    {
        let (in_weeks, in_days) = (in_weeks.unwrap(), in_days.unwrap());
        for (i, param) in in_weeks.info.names.iter().enumerate() {
            let factor = if matches!(*param, "alpha" | "beta") { 7.0 } else { 1.0 };
            let off = in_days.params[i] / (factor * in_weeks.params[i]) - 1.0;
            assert!(off.abs() < 1e-7, "{name}: {param} is off by {off:e}");
        }
    }
    let spend = |factor: f64| -> GammaGammaParams {
        let rows: Vec<SpendRow> = (1..200_u32)
            .map(|i| SpendRow { x: 1 + i % 5, mean_spend: factor * f64::from(7 + i % 31) })
            .collect();
        let pooled = PooledSpend::try_from_rows(&rows).unwrap();
        *GammaGamma::fit(&GammaGammaSpec::default(), &pooled).unwrap().params()
    };
    let (dollars, cents) = (spend(1.0), spend(100.0));
    assert!((cents.p / dollars.p - 1.0).abs() < 1e-7 && (cents.q / dollars.q - 1.0).abs() < 1e-7);
    assert!((cents.gamma / dollars.gamma / 100.0 - 1.0).abs() < 1e-7);
}

#[test]
fn gamma_gamma_survives_degenerate_spend() {
    let spend = |x, mean_spend| SpendRow { x, mean_spend };
    let heavy: Vec<SpendRow> = (1..400).map(|i| spend(1, 1e6 / f64::from(i).powi(3))).collect();
    for rows in [vec![spend(1, 10.0)], vec![spend(2, 10.0); 500], heavy] {
        let pooled = PooledSpend::try_from_rows(&rows).unwrap();
        let gg = GammaGamma::fit(&GammaGammaSpec::default(), &pooled).unwrap();
        println!("{:?} {:?}", gg.params(), gg.info().unwrap().warnings);
        assert!(!gg.info().unwrap().warnings.is_empty());
        for (x, mean) in [(0, 0.0), (1, 10.0), (1, f64::NAN), (3, f64::INFINITY), (u32::MAX, 1.0)] {
            let found = gg.expected_spend(x, mean);
            assert!(found.is_finite() && found > 0.0, "{x} {mean}: {found}");
        }
    }
}

#[test]
fn infinite_mean_spend_is_floored() {
    for q in [1e-3, 0.5, 1.0, 1.05] {
        let gg = GammaGamma::try_from_params(GammaGammaParams { p: 2.0, q, gamma: 5.0 }).unwrap();
        assert!((gg.population_spend() - 100.0).abs() < 1e-9);
    }
    let params = GammaGammaParams { p: 2.0, q: 3.0, gamma: 5.0 };
    let gg = GammaGamma::try_from_params(params).unwrap();
    assert!((gg.population_spend() - 5.0).abs() < 1e-12);
    assert!((gg.expected_spend(2, 9.0) - 2.0 * (5.0 + 18.0) / 6.0).abs() < 1e-12);
}

#[test]
fn parameters_that_are_no_numbers_are_named() {
    let bad = BgNbdParams { r: 1.0, alpha: 2.0, a: f64::NAN, b: 1.0 };
    let found = BgNbd::try_from_params(bad);
    assert!(matches!(found, Err(BtydError::InvalidParameter { name: "a", .. })), "{found:?}");
    let bad = ParetoNbdParams { r: 1.0, alpha: 2.0, s: 1.0, beta: 0.0 };
    let found = ParetoNbd::try_from_params(bad);
    assert!(matches!(found, Err(BtydError::InvalidParameter { name: "beta", .. })), "{found:?}");
}

/// Distribution, its mean and the probability of nothing are computed in three ways.
#[test]
fn distribution_agrees_with_mean_and_zero_probability() {
    let bg = BgNbdParams { r: 0.24, alpha: 4.4, a: 0.79, b: 2.43 };
    let bg = BgNbd::try_from_params(bg).unwrap();
    let mbg = MbgNbdParams { r: 0.52, alpha: 6.2, a: 0.89, b: 1.6 };
    let mbg = MbgNbd::try_from_params(mbg).unwrap();
    let pareto = ParetoNbdParams { r: 0.55, alpha: 10.6, s: 0.61, beta: 11.7 };
    let pareto = ParetoNbd::try_from_params(pareto).unwrap();
    type AtLeast<'a> = &'a dyn Fn(&BtydRow, f64, u32) -> f64;
    type Quantile<'a> = &'a dyn Fn(&BtydRow, f64, f64) -> u32;
    type Predict<'a> = &'a dyn Fn(&BtydRow, f64) -> Prediction;
    let models: [(AtLeast, Quantile, Predict); 3] = [
        (&|r, h, n| bg.p_at_least(r, h, n), &|r, h, l| bg.purchase_quantile(r, h, l), &|r, h| {
            bg.predict(r, h)
        }),
        (&|r, h, n| mbg.p_at_least(r, h, n), &|r, h, l| mbg.purchase_quantile(r, h, l), &|r, h| {
            mbg.predict(r, h)
        }),
        (
            &|r, h, n| pareto.p_at_least(r, h, n),
            &|r, h, l| pareto.purchase_quantile(r, h, l),
            &|r, h| pareto.predict(r, h),
        ),
    ];
    for (at_least, quantile, predict) in models {
        for row in [row(0, 0.0, 0.0), row(0, 0.0, 39.0), row(2, 30.4, 38.9), row(26, 30.9, 31.0)] {
            for h in [1.0, 39.0] {
                let p = predict(&row, h);
                assert!((at_least(&row, h, 0) - 1.0).abs() < 1e-12);
                assert!((at_least(&row, h, 1) + p.p_no_purchase - 1.0).abs() < 1e-10);
                let mean: f64 = (1..3_000).map(|n| at_least(&row, h, n)).sum();
                assert!((mean / p.expected_purchases - 1.0).abs() < 1e-8, "{mean} {p:?}");
                for level in [0.0, 0.1, 0.5, 0.9, 0.999] {
                    let n = quantile(&row, h, level);
                    assert!(at_least(&row, h, n + 1) <= 1.0 - level + 1e-12);
                    assert!(n == 0 || at_least(&row, h, n) > 1.0 - level - 1e-12);
                }
            }
        }
    }
}

/// Two ways of counting a busy customer: the walk and the quadrature.
#[test]
fn quantiles_of_busy_customers_are_near_their_mean() {
    let params = BgNbdParams { r: 5_000.0, alpha: 10.0, a: 1e-9, b: 1.0 };
    let bg = BgNbd::try_from_params(params).unwrap();
    let busy = row(5_000, 10.0, 10.0);
    let mean = bg.expected_purchases(5_000, 10.0, 10.0, 10.0);
    assert!((mean - 5_000.0).abs() < 1e-3, "{mean}");
    let median = f64::from(bg.purchase_quantile(&busy, 10.0, 0.5));
    assert!((median - 5_000.0).abs() < 2.0, "{median}");
}

#[test]
fn discounts_agree_with_each_other() {
    let params = ParetoNbdParams { r: 0.55, alpha: 10.6, s: 0.61, beta: 11.7 };
    let pareto = ParetoNbd::try_from_params(params).unwrap();
    let bg = BgNbdParams { r: 0.24, alpha: 4.4, a: 0.79, b: 2.43 };
    let bg = BgNbd::try_from_params(bg).unwrap();
    let customer = row(2, 30.4, 38.9);
    for rate in [0.002, 0.02, 0.5] {
        // Nothing is left after a thousand years: the sum without end.
        let continuous = Discount::try_continuous(rate).unwrap();
        let sum = pareto.discounted_purchases(&customer, 52_200.0, &continuous);
        let endless = pareto.discounted_residual_purchases(&customer, rate);
        assert!((sum / endless - 1.0).abs() < 1e-11, "{rate}: {sum} {endless}");
        // Daily periods come near to continuous discounting.
        let daily = Discount::try_periodic((rate / 7.0).exp_m1(), 1.0 / 7.0).unwrap();
        let by_day = bg.discounted_purchases(&customer, 52.0, &daily);
        let sum = bg.discounted_purchases(&customer, 52.0, &continuous);
        assert!(by_day < sum && (by_day / sum - 1.0).abs() < 0.1 * rate + 1e-3, "{by_day} {sum}");
    }
    let plain = bg.expected_purchases(2, 30.4, 38.9, 52.0);
    let none = bg.discounted_purchases(&customer, 52.0, &Discount::NONE);
    assert!((plain - none).abs() < f64::EPSILON);
    assert!(Discount::try_periodic(-0.1, 4.0).is_err());
    assert!(Discount::try_periodic(0.1, 0.0).is_err());
    assert!(Discount::try_continuous(f64::NAN).is_err());
}
