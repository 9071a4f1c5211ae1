//! BG/BB, sBG and the beta-discrete-Weibull against published and reference numbers.
//!
//! The donations summary stands in Fader, Hardie and Shang (2010), the two cohorts in Fader and
//! Hardie (2007); the reference numbers in `tests/golden/btyd` were made once with tight maximum
//! likelihood at 30 or more digits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::Value;
use tenure::model::btyd::BtydError;
use tenure::model::btyd::FitInfo;
use tenure::model::btyd::FitWarning;
use tenure::model::btyd::Prior;
use tenure::model::btyd::{Bdw, BdwParams, ContractSpec, Sbg, SbgParams};
use tenure::model::btyd::{BgBb, BgBbParams, BgBbSpec};
use tenure::model::btyd::{Cohort, PooledCohorts};
use tenure::model::btyd::{OpportunityRow, PooledOpportunities};

use crate::btyd::{Table, Worst, assert_close, golden_json, whole};

const DONATIONS: &str = "donations_bgbb_predictions.csv";

fn donations() -> PooledOpportunities {
    let table = Table::golden(DONATIONS);
    let rows: Vec<(OpportunityRow, u64)> =
        table.rows.iter().map(|row| (opportunities(row), u64::from(whole(row[3])))).collect();
    PooledOpportunities::try_from_counts(&rows).unwrap()
}

fn opportunities(golden: &[f64]) -> OpportunityRow {
    OpportunityRow::try_new(whole(golden[0]), whole(golden[1]), whole(golden[2])).unwrap()
}

fn reference() -> BgBb {
    let params = &golden_json("discrete.json")["bgbb"]["params"];
    let [alpha, beta, gamma, delta] = BgBb::PARAM_NAMES.map(|name| params[name].as_f64().unwrap());
    BgBb::try_from_params(BgBbParams { alpha, beta, gamma, delta }).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn bg_bb_finds_the_published_optimum() {
    let rows = donations();
    assert_eq!(rows.n_customers(), 11_104);
    let model = BgBb::fit(&BgBbSpec { prior: Prior::None }, &rows).unwrap();
    let BgBbParams { alpha, beta, gamma, delta } = *model.params();
    let info = model.info().unwrap();
    let golden = golden_json("discrete.json");
    let (want, published) = (&golden["bgbb"], &golden["bgbb_published"]);
    assert!((info.log_likelihood - want["ll"].as_f64().unwrap()).abs() < 1e-6);
    assert!((info.log_likelihood - published["ll"].as_f64().unwrap()).abs() < 0.05);
    assert!(info.gradient_max < 1e-6 && info.warnings.is_empty(), "{info:?}");
    assert_eq!((info.n, info.n_patterns), (11_104, 22));
    for (i, found) in [alpha, beta, gamma, delta].into_iter().enumerate() {
        let name = info.names[i];
        assert_close(name, found, want["params"][name].as_f64().unwrap(), 1e-6);
        assert!((found - published["params"][name].as_f64().unwrap()).abs() <= 0.000_5);
        assert_close(name, info.standard_errors[i], want["se"][name].as_f64().unwrap(), 1e-5);
        for (j, &entry) in info.covariance_log[i].iter().enumerate() {
            let want = want["cov_logparams"][i][j].as_f64().unwrap();
            assert!((entry - want).abs() < 1e-7, "covariance {i} {j}: {entry} {want}");
        }
    }
    // The weak prior moves nothing by a third of its standard error.
    let weak = BgBb::fit(&BgBbSpec::default(), &rows).unwrap();
    let p = weak.params();
    let pairs = [(p.alpha, alpha), (p.beta, beta), (p.gamma, gamma), (p.delta, delta)];
    for ((found, free), error) in pairs.into_iter().zip(&info.standard_errors) {
        assert!((found - free).abs() < error / 3.0, "{found} {free} {error}");
    }
    assert!(weak.info().unwrap().log_prior < 0.0);
}

#[test]
fn bg_bb_predictions_match_the_reference() {
    let model = reference();
    let table = Table::golden(DONATIONS);
    let mut worst = Worst::default();
    for golden in &table.rows {
        let row = opportunities(golden);
        let at = || format!("{row:?}");
        let want = |name: &str| golden[table.column(name)];
        let next5 = model.predict(&row, 5);
        worst.see("loglik", model.log_likelihood(&row), want("loglik"), at);
        worst.see("palive_next", model.p_alive_next(&row), want("palive_next_period"), at);
        worst.see("palive_at_n", model.p_alive(&row), want("palive_at_n"), at);
        worst.see("cet5", next5.expected_purchases, want("cet5"), at);
        assert!((next5.p_alive - model.p_alive(&row)).abs() < 1e-15);
        assert!((next5.p_no_purchase - model.p_exactly(&row, 5, 0)).abs() < 1e-15);
        let mean: f64 = (1..=5).map(|k| f64::from(k) * model.p_exactly(&row, 5, k)).sum();
        assert_close("mean of the distribution", mean, next5.expected_purchases, 1e-12);
        let total: f64 = (0..=6).map(|k| model.p_exactly(&row, 5, k)).sum();
        assert_close("all counts", total, 1.0, 1e-13);
    }
    assert_eq!(table.rows.len(), 22);
    // The reference has twelve digits.
    worst.assert_below(|_| 1e-11);
}

/// Table 6 and the totals of the paper, to the printed digits.
#[test]
fn bg_bb_predictions_match_the_paper() {
    let model = reference();
    let rows = donations();
    let published = &golden_json("discrete.json")["bgbb_published"];
    let alive = numbers(&published["palive_table6"]);
    for ((x, t_x), want) in [(0, 0), (2, 4), (6, 6)].into_iter().zip(alive) {
        let found = model.p_alive_next(&OpportunityRow::try_new(x, t_x, 6).unwrap());
        assert!((found - want).abs() <= 0.005, "{x} {t_x}: {found} {want}");
    }
    let total: f64 = rows
        .rows()
        .iter()
        .map(|(row, n)| {
            f64::from(u32::try_from(*n).unwrap()) * model.predict(row, 5).expected_purchases
        })
        .sum();
    // The published parameters are rounded to three digits, ours are not.
    assert_close("next five years", total, published["sum_expected_next5"].as_f64().unwrap(), 1e-4);
    let counts = model.expected_counts(&rows, 6);
    assert_close("all", counts.iter().sum(), 11_104.0, 1e-12);
    for n in [0_usize, 6] {
        let want = published["expected_counts_in_6"][n.to_string()].as_f64().unwrap();
        assert!((counts[n] - want).abs() < 0.3, "{n}: {} {want}", counts[n]);
    }
}

/// Endless sums against long ones, and the limits of the discount.
#[test]
fn bg_bb_discounts_all_that_is_ahead() {
    let model = reference();
    for (x, t_x, n) in [(0, 0, 6), (2, 4, 6), (6, 6, 6), (0, 0, 0)] {
        let row = OpportunityRow::try_new(x, t_x, n).unwrap();
        let (mut sum, mut before, mut factor) = (0.0, 0.0, 1.0);
        for i in 1..400 {
            let now = model.predict(&row, i).expected_purchases;
            factor /= 1.1;
            sum += factor * (now - before);
            before = now;
        }
        let endless = model.discounted_residual_transactions(&row, 0.1).unwrap();
        assert_close("endless", endless, sum, 1e-9);
    }
    let row = OpportunityRow::try_new(2, 4, 6).unwrap();
    for rate in [0.0, -0.1, f64::NAN, 11.0] {
        let found = model.discounted_residual_transactions(&row, rate);
        assert!(matches!(found, Err(BtydError::InvalidPeriodRate { .. })), "{found:?}");
    }
}

#[test]
fn one_sided_opportunities_are_decided_by_the_prior_and_said_so() {
    let row = |x, t_x, n| OpportunityRow::try_new(x, t_x, n).unwrap();
    let nobody = vec![(row(0, 0, 4), 50), (row(0, 0, 2), 9)];
    let everybody = vec![(row(4, 4, 4), 50)];
    let one = vec![(row(1, 1, 3), 1)];
    let new = vec![(row(0, 0, 0), 7)];
    for rows in [nobody, everybody, one, new] {
        let pooled = PooledOpportunities::try_from_counts(&rows).unwrap();
        let fit = BgBb::fit(&BgBbSpec::default(), &pooled).unwrap();
        let info = fit.info().unwrap();
        assert!(
            info.warnings.iter().any(|w| matches!(w, FitWarning::PriorDecides { .. })),
            "{rows:?}: {info:?}"
        );
        assert!(info.standard_errors.iter().all(|e| e.is_finite() && *e > 0.0));
        let free = BgBb::fit(&BgBbSpec { prior: Prior::None }, &pooled);
        assert!(matches!(free, Err(BtydError::NotConverged { .. })), "{rows:?}: {free:?}");
    }
}

/// Both cohorts of the paper with what is wanted of them; fitted on the first seven renewals.
fn cohorts() -> Vec<(&'static str, Value, PooledCohorts)> {
    let golden = golden_json("contractual_sbg_bdw.json");
    ["regular", "highend"]
        .into_iter()
        .map(|name| {
            let want = golden[name].clone();
            let remaining: Vec<u64> = numbers(&want["alive_per_1000"])[..8]
                .iter()
                .map(|n| u64::from(whole(*n)))
                .collect();
            let cohort = Cohort { first_period: 0, remaining };
            (name, want, PooledCohorts::try_from_cohorts(&[cohort]).unwrap())
        })
        .collect()
}

fn check_contract(name: &str, want: &Value, params: &[f64], info: &FitInfo) {
    assert!((info.log_likelihood - want["ll"].as_f64().unwrap()).abs() < 1e-6, "{name}: {info:?}");
    assert!(info.gradient_max < 1e-6);
    assert_eq!((info.n, info.n_patterns), (1_000, 7));
    for (param, found) in info.names.iter().zip(params) {
        // The reference search stopped at about seven digits.
        assert_close(param, *found, want[*param].as_f64().unwrap(), 1e-5);
    }
    assert!(info.standard_errors.iter().all(|e| e.is_finite() && *e > 0.0));
}

fn check_curve(what: &str, want: &Value, found: impl Fn(u32) -> f64) {
    for (t, want) in (0..).zip(numbers(want)) {
        assert!((found(t) - want).abs() < 1e-6, "{what} {t}: {} {want}", found(t));
    }
}

#[test]
fn sbg_finds_the_reference_optimum_and_projects_the_published_curves() {
    for (name, want, rows) in cohorts() {
        let spec = ContractSpec { prior: Prior::None };
        let model = Sbg::fit(&spec, &rows).unwrap();
        let SbgParams { alpha, beta } = *model.params();
        check_contract(name, &want["sbg"], &[alpha, beta], model.info().unwrap());
        let published = &golden_json("discrete.json")["sbg_published"][name];
        assert!((alpha - published["alpha"].as_f64().unwrap()).abs() < 0.000_5);
        assert!((beta - published["beta"].as_f64().unwrap()).abs() < 0.000_5);

        let exact = SbgParams {
            alpha: want["sbg"]["alpha"].as_f64().unwrap(),
            beta: want["sbg"]["beta"].as_f64().unwrap(),
        };
        let model = Sbg::try_from_fit(exact, None).unwrap();
        check_curve(name, &want["sbg_survival"], |t| model.survival(t));
        check_curve(name, &want["sbg_retention"], |t| model.retention(t + 1));
        for (active, lifetime) in want["derl_d10"].as_object().unwrap() {
            let renewals = active.parse::<u32>().unwrap() - 1;
            let found = model.discounted_residual_lifetime(renewals, 0.1).unwrap();
            assert_close(name, found, lifetime.as_f64().unwrap(), 1e-12);
        }
        assert_eq!(model.mean_residual_renewals(3), None);
    }
}

#[test]
fn bdw_finds_the_reference_optimum_and_projects_the_reference_curves() {
    for (name, want, rows) in cohorts() {
        let spec = ContractSpec { prior: Prior::None };
        let model = Bdw::fit(&spec, &rows).unwrap();
        let BdwParams { alpha, beta, c } = *model.params();
        check_contract(name, &want["bdw"], &[alpha, beta, c], model.info().unwrap());
        check_curve(name, &want["bdw_survival"], |t| model.survival(t));
        // It holds more than sBG and projects the unseen periods better on these cohorts.
        let sbg = Sbg::fit(&spec, &rows).unwrap();
        let off = |survival: &dyn Fn(u32) -> f64| -> f64 {
            (8..).zip(&numbers(&want["actual"])[8..]).map(|(t, a)| (survival(t) - a).abs()).sum()
        };
        assert!(off(&|t| model.survival(t)) < off(&|t| sbg.survival(t)), "{name}");
    }
}

/// c = 1 is sBG, by another road.
#[test]
fn bdw_at_one_is_sbg() {
    for (alpha, beta) in [(0.7, 1.2), (5.0, 40.0), (1e-3, 2.0)] {
        let sbg = Sbg::try_from_fit(SbgParams { alpha, beta }, None).unwrap();
        let bdw = Bdw::try_from_fit(BdwParams { alpha, beta, c: 1.0 }, None).unwrap();
        for renewals in [0, 1, 7, 60] {
            for rate in [0.001, 0.1, 2.0] {
                let found = bdw.discounted_residual_lifetime(renewals, rate).unwrap();
                let want = sbg.discounted_residual_lifetime(renewals, rate).unwrap();
                assert_close("lifetime", found, want, 1e-10);
            }
            assert_close(
                "retention",
                bdw.retention(renewals + 1),
                sbg.retention(renewals + 1),
                1e-12,
            );
            let (ten, more) =
                (sbg.expected_renewals(renewals, 10), sbg.expected_renewals(renewals, 11));
            assert_close("last", more - ten, sbg.residual_survival(renewals, 11), 1e-9);
            assert_close("ten", bdw.expected_renewals(renewals, 10), ten, 1e-12);
            assert_eq!(
                bdw.median_residual_periods(renewals),
                sbg.median_residual_periods(renewals)
            );
        }
    }
}

/// Who leaves at the same rate for ever has a lifetime in closed form.
#[test]
fn lifetimes_of_equal_customers_have_a_closed_form() {
    // Each renews with 4 in 5.
    let sbg = Sbg::try_from_fit(SbgParams { alpha: 2e9, beta: 8e9 }, None).unwrap();
    let found = sbg.discounted_residual_lifetime(3, 0.1).unwrap();
    assert_close("lifetime", found, 0.8 / (1.0 - 0.8 / 1.1), 1e-7);
    assert_close(
        "value",
        sbg.new_customer_value(50.0, 0.1).unwrap(),
        50.0 / (1.0 - 0.8 / 1.1),
        1e-7,
    );
    assert_close("ahead", sbg.residual_value(0, 50.0, 0.1).unwrap(), 50.0 * found, 1e-7);
    assert_close("mean", sbg.mean_residual_renewals(0).unwrap(), 4.0, 1e-7);
    assert_eq!(sbg.median_residual_periods(0), Some(4));
    assert!(sbg.discounted_residual_lifetime(0, 0.0).is_err());
}

/// One cohort cut in two and cohorts of different ages give the same fit as the whole.
#[test]
fn cohorts_of_different_ages_are_fitted_together() {
    let fit = |cohorts: &[Cohort]| {
        let pooled = PooledCohorts::try_from_cohorts(cohorts).unwrap();
        *Bdw::fit(&ContractSpec::default(), &pooled).unwrap().params()
    };
    let of =
        |first_period, remaining: &[u64]| Cohort { first_period, remaining: remaining.to_vec() };
    let whole = fit(&[of(0, &[1_000, 869, 743, 653, 593, 551]), of(0, &[500, 430])]);
    let parts = fit(&[of(0, &[1_500, 1_299]), of(1, &[869, 743, 653]), of(3, &[653, 593, 551])]);
    assert_close("alpha", whole.alpha, parts.alpha, 1e-9);
    assert_close("beta", whole.beta, parts.beta, 1e-9);
    assert_close("c", whole.c, parts.c, 1e-9);
}

#[test]
fn one_sided_cohorts_are_decided_by_the_prior_and_said_so() {
    let of = |remaining: &[u64]| Cohort { first_period: 0, remaining: remaining.to_vec() };
    for cohort in [of(&[100, 100, 100]), of(&[100, 40]), of(&[1, 0]), of(&[100, 0])] {
        let pooled = PooledCohorts::try_from_cohorts(std::slice::from_ref(&cohort)).unwrap();
        let sbg = Sbg::fit(&ContractSpec::default(), &pooled).unwrap();
        let bdw = Bdw::fit(&ContractSpec::default(), &pooled).unwrap();
        for info in [sbg.info().unwrap(), bdw.info().unwrap()] {
            assert!(
                info.warnings.iter().any(|w| matches!(w, FitWarning::PriorDecides { .. })),
                "{cohort:?}: {info:?}"
            );
        }
        for t in 0..20 {
            assert!(
                (0.0..=1.0).contains(&sbg.survival(t)) && (0.0..=1.0).contains(&bdw.survival(t))
            );
        }
        let free = Sbg::fit(&ContractSpec { prior: Prior::None }, &pooled);
        assert!(matches!(free, Err(BtydError::NotConverged { .. })), "{cohort:?}: {free:?}");
    }
}

/// A period more may take less than the last digits of a survival: relative, some hundred times
/// the distance of two doubles.
const ROUNDING: f64 = 1e-12;

#[test]
fn survival_falls_where_hardly_anybody_leaves_after_a_million_periods() {
    // Ratios of gamma functions around e^(13 million) are subtracted here, whose difference is
    // a hundredth.
    let params =
        BdwParams { alpha: 95_332.575_528_524_48, beta: 1_141_870.346_524_875_1, c: 0.106_843 };
    let model = Bdw::try_from_fit(params, None).unwrap();
    for renewals in [6, 3_000, 1_124_280_182] {
        let survivals: Vec<f64> = (0..1_000)
            .map(|t| model.residual_survival(renewals, 183_613_121 + 1_000 * t))
            .collect();
        assert!(survivals.is_sorted_by(|a, b| *b <= *a * (1.0 + ROUNDING)), "{renewals}");
    }
}

fn wild() -> impl Strategy<Value = f64> {
    (-14.0..14.0_f64).prop_map(f64::exp)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]

    #[test]
    fn opportunities_keep_their_ranges(
        params in [wild(), wild(), wild(), wild()],
        x in prop_oneof![0_u32..8, 0_u32..3_000, any::<u32>()],
        t_x in prop_oneof![0_u32..8, 0_u32..3_000, any::<u32>()],
        n in prop_oneof![0_u32..8, 0_u32..3_000, any::<u32>()],
        n_ahead in prop_oneof![0_u32..8, 0_u32..2_000, any::<u32>()],
        rate in (-9.0..2.0_f64).prop_map(f64::exp),
    ) {
        let [alpha, beta, gamma, delta] = params;
        let model = BgBb::try_from_params(BgBbParams { alpha, beta, gamma, delta }).unwrap();
        let row = OpportunityRow { x, t_x, n };
        let log_likelihood = model.log_likelihood(&row);
        prop_assert!(log_likelihood.is_finite() && log_likelihood < 1e-9, "{log_likelihood}");
        let p = model.predict(&row, n_ahead);
        let (alive, none, expected) = (p.p_alive, p.p_no_purchase, p.expected_purchases);
        prop_assert!((0.0..=1.0).contains(&alive) && (0.0..=1.0).contains(&none), "{p:?}");
        prop_assert!(expected >= 0.0 && expected <= f64::from(n_ahead) * (1.0 + 1e-12), "{p:?}");
        prop_assert!(1.0 - none <= expected * (1.0 + 1e-9) + 1e-12, "{p:?}");
        prop_assert!(model.p_alive_next(&row) <= alive);
        let endless = model.discounted_residual_transactions(&row, rate.max(1e-4)).unwrap();
        prop_assert!(endless.is_finite() && endless >= 0.0, "{endless}");
    }

    #[test]
    fn contracts_keep_their_ranges(
        params in [wild(), wild()],
        c in (-3.0..3.0_f64).prop_map(f64::exp),
        renewals in prop_oneof![0_u32..8, 0_u32..3_000, any::<u32>()],
        t in prop_oneof![0_u32..8, 0_u32..3_000, any::<u32>()],
        rate in (-6.0..2.0_f64).prop_map(f64::exp),
    ) {
        let [alpha, beta] = params;
        let bdw = Bdw::try_from_fit(BdwParams { alpha, beta, c }, None).unwrap();
        let sbg = Sbg::try_from_fit(SbgParams { alpha, beta }, None).unwrap();
        let later = t.saturating_add(1);
        for (survival, next, retention, lifetime) in [
            (bdw.residual_survival(renewals, t), bdw.residual_survival(renewals, later),
             bdw.retention(t), bdw.discounted_residual_lifetime(renewals, rate).unwrap()),
            (sbg.residual_survival(renewals, t), sbg.residual_survival(renewals, later),
             sbg.retention(t), sbg.discounted_residual_lifetime(renewals, rate).unwrap()),
        ] {
            prop_assert!((0.0..=1.0).contains(&survival), "{survival}");
            prop_assert!(next <= survival * (1.0 + ROUNDING), "{survival} {next}");
            prop_assert!((0.0..=1.0).contains(&retention), "{retention}");
            let most = (1.0 + rate) / rate * (1.0 + 1e-9);
            prop_assert!((0.0..=most).contains(&lifetime), "{lifetime} {most}");
        }
    }
}
