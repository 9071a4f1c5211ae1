//! Covariates against simulation, against no covariates, and derivatives.

use super::super::simulate::{Draws, observe};
use super::super::tests::check_derivatives;
use super::*;

const BOTH: [CovariateBase; 2] = [CovariateBase::MbgNbd, CovariateBase::ParetoNbd];

/// Customers of a true model; the numbers are a flag that 40 % carry, and a normal-like score.
fn draw(truth: &CovariateEffects, n: u32) -> Vec<(BtydRow, Vec<f64>)> {
    let mut draws = Draws::new(11);
    (0..n)
        .map(|_| {
            let flag = if draws.unit() < 0.4 { 1.0 } else { 0.0 };
            let score = (draws.unit() + draws.unit() + draws.unit() - 1.5) * 2.0;
            let z = vec![flag, score];
            let [r, alpha, third, fourth] = truth.params_of(&z);
            let t = 40.0 + 40.0 * draws.unit();
            let lambda = draws.gamma(r, alpha);
            let mut times = Vec::new();
            let mut at = 0.0;
            match truth.base {
                CovariateBase::ParetoNbd => {
                    let mu = draws.gamma(third, fourth);
                    let end = draws.exponential(mu).min(t);
                    loop {
                        at += draws.exponential(lambda);
                        if at > end {
                            break;
                        }
                        times.push(at);
                    }
                }
                CovariateBase::MbgNbd => {
                    let p = draws.beta(third, fourth);
                    while draws.unit() >= p && at <= t {
                        at += draws.exponential(lambda);
                        times.push(at);
                    }
                }
            }
            (observe(&times, true, t, 0.0).row, z)
        })
        .collect()
}

fn truth(base: CovariateBase) -> CovariateEffects {
    let params = match base {
        CovariateBase::MbgNbd => [0.9, 6.0, 0.8, 2.5],
        CovariateBase::ParetoNbd => [0.9, 6.0, 0.8, 14.0],
    };
    CovariateEffects { base, params, rate: vec![0.6, -0.3], dropout: vec![-0.7, 0.25] }
}

#[test]
fn effects_are_found_again() {
    for base in BOTH {
        let truth = truth(base);
        let rows = CovariateRows::try_new(&draw(&truth, 5_000)).unwrap();
        let spec = CovariateSpec { base, prior: Prior::None, ridge: 1.0 };
        let (found, info) = CovariateEffects::fit(&spec, &rows).unwrap();
        println!("{found:?}\n{info:?}");
        for i in 0..4 {
            let off = (found.params[i] - truth.params[i]).abs();
            assert!(off < 3.5 * info.standard_errors[i], "{base:?} {i}: {found:?} {info:?}");
        }
        for i in 0..2 {
            let off = (found.rate[i] - truth.rate[i]).abs();
            assert!(off < 3.5 * info.rate_errors[i], "{base:?} rate {i}: {found:?} {info:?}");
            let off = (found.dropout[i] - truth.dropout[i]).abs();
            assert!(off < 3.5 * info.dropout_errors[i], "{base:?} {i}: {found:?} {info:?}");
        }
        assert!(info.log_likelihood > info.log_likelihood_plain + 20.0);
        assert!(info.rate_errors.iter().all(|se| (0.005..0.3).contains(se)), "{info:?}");
    }
}

#[test]
fn without_covariates_it_is_the_plain_model() {
    for base in BOTH {
        let customers: Vec<_> =
            draw(&truth(base), 800).into_iter().map(|(row, _)| (row, Vec::new())).collect();
        let rows = CovariateRows::try_new(&customers).unwrap();
        let (found, info) = CovariateEffects::fit(&CovariateSpec::new(base), &rows).unwrap();
        let (plain, _) = fit_plain(&CovariateSpec::new(base), &rows.pooled).unwrap();
        for (found, want) in found.params.iter().zip(plain) {
            assert!((found / want - 1.0).abs() < 1e-7, "{base:?}: {found} {want}");
        }
        assert!((info.log_likelihood - info.log_likelihood_plain).abs() < 1e-6);
    }
}

/// A number that nobody has, or that says nothing, keeps an effect of about 0; its standard error
/// is that of the ridge.
#[test]
fn an_empty_number_has_no_effect() {
    let base = CovariateBase::MbgNbd;
    let customers: Vec<_> =
        draw(&truth(base), 800).into_iter().map(|(row, z)| (row, vec![z[0], 0.0])).collect();
    let rows = CovariateRows::try_new(&customers).unwrap();
    let (found, info) = CovariateEffects::fit(&CovariateSpec::new(base), &rows).unwrap();
    assert!(found.rate[1].abs() < 1e-12 && found.dropout[1].abs() < 1e-12);
    assert!((info.rate_errors[1] - 1.0).abs() < 1e-9);
}

#[test]
fn derivatives_are_exact() {
    for base in BOTH {
        let rows = CovariateRows::try_new(&draw(&truth(base), 60)).unwrap();
        let mut at = [0.0; N];
        for (i, slot) in at.iter_mut().take(4).enumerate() {
            *slot = [0.1, 1.5, -0.4, 1.2][i];
        }
        (at[4], at[5], at[DROPOUT], at[DROPOUT + 1]) = (0.4, -0.6, 0.3, -0.2);
        check_derivatives(at, |p| likelihood(base, &rows, p));
    }
}

#[test]
fn a_heavy_ridge_leaves_the_plain_model() {
    let base = CovariateBase::MbgNbd;
    let rows = CovariateRows::try_new(&draw(&truth(base), 800)).unwrap();
    let spec = CovariateSpec { ridge: 1e9, ..CovariateSpec::new(base) };
    let (found, _) = CovariateEffects::fit(&spec, &rows).unwrap();
    assert!(found.rate.iter().chain(&found.dropout).all(|effect| effect.abs() < 1e-5), "{found:?}");
}

#[test]
fn what_is_no_covariate_is_refused() {
    let row = BtydRow { x: 0, t_x: 0.0, t: 3.0 };
    for bad in [vec![f64::NAN], vec![1.0, 2.0], vec![0.0; COVARIATES_MAX + 1]] {
        let found = CovariateRows::try_new(&[(row, vec![1.0]), (row, bad)]);
        assert!(matches!(found, Err(BtydError::InvalidCovariates { row: 1, .. })), "{found:?}");
    }
    let rows = CovariateRows::try_new(&[(row, vec![1.0])]).unwrap();
    let spec = CovariateSpec { ridge: -1.0, ..CovariateSpec::new(CovariateBase::MbgNbd) };
    let found = CovariateEffects::fit(&spec, &rows);
    assert!(matches!(found, Err(BtydError::InvalidRidge { .. })), "{found:?}");
}

#[test]
fn absurd_numbers_keep_parameters_in_range() {
    let truth = truth(CovariateBase::MbgNbd);
    for z in [vec![1e300, 1.0], vec![-1e9, 1e9], vec![f64::NAN, 0.0], vec![]] {
        for param in truth.params_of(&z) {
            assert!((1e-18..=1e18).contains(&param), "{z:?}: {param}");
        }
    }
}
