//! Learned models and metrics against numbers of scikit-learn, SciPy and XGBoost, made once by
//! `tests/golden/reference/learn.py`.
#![allow(clippy::unwrap_used, reason = "a golden file that cannot be read fails the test")]

use serde_json::Value;
use tenure::dataset::FeatureMatrix;
use tenure::evaluate;
use tenure::model::Forest;
use tenure::model::Isotonic;
use tenure::model::Logistic;
use tenure::model::LogisticSpec;
use tenure::model::LogitLine;
use tenure::model::TreeShap;
use tenure::model::TweedieGlm;
use tenure::model::TweedieGlmSpec;

const LEARN: &str = include_str!("../golden/reference/learn.json");
const XGBOOST_LOGISTIC: &str = include_str!("../golden/reference/xgboost_logistic.json");
const XGBOOST_TWEEDIE: &str = include_str!("../golden/reference/xgboost_tweedie.json");

fn golden(part: &str) -> Value {
    let all: Value = serde_json::from_str(LEARN).unwrap();
    all[part].clone()
}

/// A list of numbers; null is a missing value.
fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn flags(list: &Value) -> Vec<bool> {
    list.as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect()
}

fn table(list: &Value) -> Vec<Vec<f64>> {
    list.as_array().unwrap().iter().map(numbers).collect()
}

fn close(what: &str, found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance, "{what}: {found}, reference {wanted}");
}

#[test]
fn logistic_regression_equals_scikit_learn() {
    let golden = golden("linear");
    let (x, y) = (table(&golden["x"]), flags(&golden["y"]));
    let not_y: Vec<bool> = y.iter().map(|hit| !hit).collect();
    for reference in golden["logistic"].as_array().unwrap() {
        let spec = LogisticSpec { l2: reference["l2"].as_f64().unwrap() };
        let weights = numbers(&reference["weights"]);
        let intercept = reference["intercept"].as_f64().unwrap();
        // Both orientations: turning the outcome must turn every sign.
        for (y, sign) in [(&y, 1.0), (&not_y, -1.0)] {
            let model = Logistic::fit(&spec, &x, y).unwrap();
            close("intercept", model.intercept(), sign * intercept, 2e-6);
            for (found, wanted) in model.weights().iter().zip(&weights) {
                close("weight", *found, sign * wanted, 2e-6);
            }
            let logits: Vec<f64> =
                (0..y.len()).map(|i| model.logit(&[x[0][i], x[1][i], x[2][i], x[3][i]])).collect();
            assert!(evaluate::auc(&logits, y).unwrap() > 0.7);
        }
    }
}

#[test]
fn tweedie_regression_equals_scikit_learn() {
    let golden = golden("linear");
    let (x, spend) = (table(&golden["x"]), numbers(&golden["spend"]));
    let row_weights = numbers(&golden["row_weights"]);
    for reference in golden["tweedie"].as_array().unwrap() {
        let spec = TweedieGlmSpec { power: 1.5, l2: reference["l2"].as_f64().unwrap() };
        let weighted = reference["weighted"].as_bool().unwrap();
        let weights = weighted.then_some(row_weights.as_slice());
        let model = TweedieGlm::fit(&spec, &x, &spend, weights).unwrap();
        close("intercept", model.intercept(), reference["intercept"].as_f64().unwrap(), 1e-7);
        for (found, wanted) in model.weights().iter().zip(numbers(&reference["weights"])) {
            close("weight", *found, wanted, 1e-7);
        }
        for (i, wanted) in numbers(&reference["predictions"]).iter().enumerate() {
            let found = model.predict(&[x[0][i], x[1][i], x[2][i], x[3][i]]);
            close("prediction", found, *wanted, 1e-6 * wanted);
        }
    }
}

#[test]
fn recalibration_equals_scikit_learn() {
    let golden = golden("metrics");
    let (y, prob) = (flags(&golden["y"]), numbers(&golden["prob"]));
    let line = evaluate::calibration_line(&prob, &y).unwrap();
    let wanted = numbers(&golden["line"]);
    // Ours has a thousandth of a pseudo-row of prior, so that separated outcomes stay finite.
    close("intercept", line.intercept(), wanted[0], 1e-4);
    close("slope", line.slope(), wanted[1], 1e-4);
    let logits: Vec<f64> = prob.iter().map(|p| (p / (1.0 - p)).ln()).collect();
    close("same line", LogitLine::fit(&logits, &y).unwrap().slope(), line.slope(), 1e-9);
    for (input, output) in [("prob", "isotonic"), ("coarse", "isotonic_coarse")] {
        let map = Isotonic::fit(&numbers(&golden[input]), &y).unwrap();
        for (step, wanted) in (0..).zip(numbers(&golden[output])) {
            close(output, map.apply(f64::from(step) / 40.0), wanted, 1.5e-6);
        }
    }
}

#[test]
fn ranking_metrics_equal_scikit_learn_and_scipy() {
    let golden = golden("metrics");
    let (y, prob, coarse) =
        (flags(&golden["y"]), numbers(&golden["prob"]), numbers(&golden["coarse"]));
    let (actual, predicted) = (numbers(&golden["actual"]), numbers(&golden["predicted"]));
    let wanted = |name: &str| golden[name].as_f64().unwrap();
    close("auc", evaluate::auc(&prob, &y).unwrap(), wanted("auc"), 1e-14);
    close("auc, ties", evaluate::auc(&coarse, &y).unwrap(), wanted("auc_coarse"), 1e-14);
    close("pr", evaluate::pr_auc(&prob, &y).unwrap(), wanted("average_precision"), 1e-12);
    let pr_coarse = evaluate::pr_auc(&coarse, &y).unwrap();
    close("pr, ties", pr_coarse, wanted("average_precision_coarse"), 1e-12);
    let rho = evaluate::spearman(&predicted, &actual).unwrap();
    close("spearman", rho, wanted("spearman"), 1e-12);
    let gini = evaluate::gini_normalised(&predicted, &actual).unwrap();
    close("gini", gini, wanted("gini"), 1e-12);
    let capture = evaluate::value_capture(&predicted, &actual, 0.1).unwrap();
    close("value capture", capture, wanted("top_10_capture"), 1e-12);
    let top = evaluate::top_share(&prob, &y, 0.1).unwrap();
    close("capture", top.capture_share, wanted("capture_10"), 1e-12);
    close("lift", top.lift_ratio, wanted("capture_10") * 10.0, 1e-12);
}

#[test]
fn calibration_and_value_metrics_equal_scikit_learn() {
    let golden = golden("metrics");
    let (y, prob) = (flags(&golden["y"]), numbers(&golden["prob"]));
    let (actual, predicted) = (numbers(&golden["actual"]), numbers(&golden["predicted"]));
    let wanted = |name: &str| golden[name].as_f64().unwrap();
    close("log loss", evaluate::log_loss(&prob, &y).unwrap(), wanted("log_loss"), 1e-12);
    close("brier", evaluate::brier(&prob, &y).unwrap(), wanted("brier"), 1e-12);
    close("ece", evaluate::ece(&prob, &y).unwrap(), wanted("ece"), 1e-12);
    let bins = evaluate::reliability(&prob, &y, 10).unwrap();
    let (mean_prob, true_share) = (numbers(&golden["bins"][0]), numbers(&golden["bins"][1]));
    assert_eq!(bins.len(), mean_prob.len());
    for (bin, (p, share)) in bins.iter().zip(mean_prob.iter().zip(&true_share)) {
        assert_eq!(bin.n_rows, 30);
        close("bin, predicted", bin.prob_mean, *p, 1e-12);
        close("bin, found", bin.positive_share, *share, 1e-12);
    }
    close("rmse", evaluate::rmse(&predicted, &actual).unwrap(), wanted("rmse"), 1e-10);
    close("mae", evaluate::mae(&predicted, &actual).unwrap(), wanted("mae"), 1e-10);
}

#[test]
fn models_of_xgboost_predict_what_xgboost_predicts() {
    for (name, text) in
        [("xgboost_logistic", XGBOOST_LOGISTIC), ("xgboost_tweedie", XGBOOST_TWEEDIE)]
    {
        let golden = golden(name);
        let forest = Forest::from_json(text).unwrap();
        assert_eq!((forest.n_trees(), forest.n_features()), (12, 4));
        let rows = table(&golden["rows"]);
        let (margins, predictions) = (numbers(&golden["margins"]), numbers(&golden["predictions"]));
        for (row, (margin, prediction)) in rows.iter().zip(margins.iter().zip(&predictions)) {
            close("margin", forest.margin(row), *margin, 1e-6);
            close("prediction", forest.predict(row), *prediction, 1e-6 * prediction.max(1.0));
        }
        let mut x = FeatureMatrix::new("s", 4);
        rows.iter().for_each(|row| x.push_row(row).unwrap());
        let at_once = forest.margins(&x).unwrap();
        assert!(rows.iter().zip(&at_once).all(|(r, m)| forest.margin(r).to_bits() == m.to_bits()));
        // Our own writing of it is the same model.
        let written = forest.to_json().unwrap();
        let back = Forest::from_json(&written).unwrap();
        assert_eq!(back, forest);
        assert_eq!(back.to_json().unwrap(), written);
    }
}

#[test]
fn contributions_equal_those_of_xgboost() {
    for (name, text) in
        [("xgboost_logistic", XGBOOST_LOGISTIC), ("xgboost_tweedie", XGBOOST_TWEEDIE)]
    {
        let golden = golden(name);
        let forest = Forest::from_json(text).unwrap();
        let shap = TreeShap::try_new(&forest).unwrap();
        let mut found = [0.0; 4];
        for (row, wanted) in table(&golden["rows"]).iter().zip(table(&golden["contributions"])) {
            shap.contributions(row, &mut found).unwrap();
            // XGBoost computes in f32.
            close("expected margin", shap.expected_margin(), wanted[4], 1e-5);
            for (ours, theirs) in found.iter().zip(&wanted) {
                close("contribution", *ours, *theirs, 1e-5);
            }
            let sum = shap.expected_margin() + found.iter().sum::<f64>();
            close("sum", sum, forest.margin(row), 1e-9);
        }
    }
}
