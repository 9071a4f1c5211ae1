use super::*;

/// Two informative columns, one constant, with a share of true that the shift moves.
fn rows(shift: f64) -> (Vec<Vec<f64>>, Vec<bool>) {
    let a: Vec<f64> = (0..400_u32).map(|i| f64::from(i * 7919 % 401) / 40.0).collect();
    let b: Vec<f64> = (0..400_u32).map(|i| f64::from(i * 104_729 % 397)).collect();
    let noise = (0..400_u32).map(|i| f64::from(i * 1_299_709 % 1009) / 1009.0 - 0.5);
    let y = a.iter().zip(&b).zip(noise).map(|((a, b), e)| a - b / 40.0 + 8.0 * e > shift).collect();
    (vec![a, b, vec![3.0; 400]], y)
}

fn concordance(model: &Logistic, x: &[Vec<f64>], y: &[bool]) -> f64 {
    let z: Vec<f64> = (0..y.len()).map(|i| model.logit(&[x[0][i], x[1][i], x[2][i]])).collect();
    let (mut good, mut all) = (0.0, 0.0);
    for i in 0..y.len() {
        for j in 0..y.len() {
            if y[i] && !y[j] {
                all += 1.0;
                good += if z[i] > z[j] { 1.0 } else { 0.0 };
            }
        }
    }
    good / all
}

#[test]
fn logits_speak_of_true_whichever_class_is_more_frequent() {
    for shift in [-4.0, 0.0, 4.0] {
        let (x, y) = rows(shift);
        let n_true = y.iter().filter(|&&hit| hit).count();
        let model = Logistic::fit(&LogisticSpec::default(), &x, &y).unwrap();
        assert!(concordance(&model, &x, &y) > 0.7, "{n_true} of 400 true");
        assert!(model.weights()[0] > 0.1 && model.weights()[1] < -0.1);
        let mean_prob =
            (0..400).map(|i| model.prob(&[x[0][i], x[1][i], x[2][i]])).sum::<f64>() / 400.0;
        assert!((mean_prob - n_true as f64 / 400.0).abs() < 1e-6, "{mean_prob} {n_true}");
    }
    let share = |shift| rows(shift).1.iter().filter(|&&hit| hit).count();
    assert!(share(-4.0) > 240 && share(4.0) < 160, "both orientations are exercised");
}

#[test]
fn the_order_of_the_classes_in_the_rows_is_irrelevant() {
    let (x, y) = rows(-4.0);
    let turned: Vec<Vec<f64>> = x.iter().map(|c| c.iter().rev().copied().collect()).collect();
    let y_turned: Vec<bool> = y.iter().rev().copied().collect();
    let one = Logistic::fit(&LogisticSpec::default(), &x, &y).unwrap();
    let two = Logistic::fit(&LogisticSpec::default(), &turned, &y_turned).unwrap();
    assert!((one.intercept() - two.intercept()).abs() < 1e-6);
}

#[test]
fn constant_columns_get_no_weight_and_terms_sum_to_the_logit() {
    let (x, y) = rows(0.0);
    let model = Logistic::fit(&LogisticSpec::default(), &x, &y).unwrap();
    assert!(model.weights()[2].abs() < f64::EPSILON);
    let row = [1.5, 200.0, 99.0];
    let terms: f64 = (0..3).map(|column| model.term(column, row[column])).sum();
    assert!((model.intercept() + terms - model.logit(&row)).abs() < 1e-12);
    let flat = Logistic::fit(&LogisticSpec::default(), &[vec![3.0; 400]], &y).unwrap();
    let share = y.iter().filter(|&&hit| hit).count() as f64 / 400.0;
    assert!((flat.prob(&[3.0]) - share).abs() < 1e-12);
}

#[test]
fn units_of_the_columns_do_not_change_the_prediction() {
    let (x, y) = rows(0.0);
    let large: Vec<Vec<f64>> =
        x.iter().map(|c| c.iter().map(|v| v * 1e6 - 5e6).collect()).collect();
    let one = Logistic::fit(&LogisticSpec::default(), &x, &y).unwrap();
    let two = Logistic::fit(&LogisticSpec::default(), &large, &y).unwrap();
    let row = [2.0, 100.0, 3.0];
    let row_large = row.map(|v| v * 1e6 - 5e6);
    assert!((one.logit(&row) - two.logit(&row_large)).abs() < 1e-5);
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let (x, y) = rows(0.0);
    let spec = LogisticSpec::default();
    assert!(matches!(
        Logistic::fit(&LogisticSpec { l2: -1.0 }, &x, &y),
        Err(FitError::Spec { parameter: "l2", .. })
    ));
    assert!(matches!(
        Logistic::fit(&LogisticSpec { l2: f64::NAN }, &x, &y),
        Err(FitError::Spec { .. })
    ));
    assert!(matches!(Logistic::fit(&spec, &x, &y[1..]), Err(FitError::Length { .. })));
    assert!(matches!(Logistic::fit(&spec, &x, &[true; 400]), Err(FitError::OneClass { .. })));
    assert!(matches!(Logistic::fit(&spec, &[], &[]), Err(FitError::Empty)));
    let mut holed = x;
    holed[1][7] = f64::NAN;
    let found = Logistic::fit(&spec, &holed, &y);
    assert!(matches!(found, Err(FitError::Feature { column: 1, row: 7, .. })));
}

#[test]
fn separated_classes_without_penalty_never_give_a_half_fitted_model() {
    let x: Vec<f64> = (0..100).map(f64::from).collect();
    let y: Vec<bool> = x.iter().map(|v| *v > 49.0).collect();
    let columns = [x];
    // No finite optimum exists: either an error, or a point at which the gradient has vanished.
    match Logistic::fit(&LogisticSpec { l2: 0.0 }, &columns, &y) {
        Ok(model) => assert!(model.prob(&[0.0]) < 1e-3 && model.prob(&[99.0]) > 0.999),
        Err(error) => {
            assert!(matches!(error, FitError::NotConverged { .. } | FitError::Library { .. }))
        }
    }
    let safe = Logistic::fit(&LogisticSpec::default(), &columns, &y).unwrap();
    assert!(safe.prob(&[0.0]) < 0.01 && safe.prob(&[99.0]) > 0.99);
}

#[test]
fn wrong_rows_give_nan_and_never_a_number() {
    let (x, y) = rows(0.0);
    let model = Logistic::fit(&LogisticSpec::default(), &x, &y).unwrap();
    assert!(model.logit(&[1.0]).is_nan() && model.prob(&[1.0, f64::NAN, 3.0]).is_nan());
}

#[test]
fn stored_form_keeps_every_bit_and_is_checked() {
    let (x, y) = rows(0.0);
    let model = Logistic::fit(&LogisticSpec::default(), &x, &y).unwrap();
    let text = serde_json::to_string(&model.to_v1()).unwrap();
    let stored: LinearV1 = serde_json::from_str(&text).unwrap();
    let back = Logistic::try_from(stored.clone()).unwrap();
    assert_eq!(back, model);
    assert_eq!(serde_json::to_string(&back.to_v1()).unwrap(), text);
    for broken in [
        LinearV1 { scales: vec![1.0], ..stored.clone() },
        LinearV1 { scales: vec![1.0, 0.0, 1.0], ..stored.clone() },
        LinearV1 { weights: vec![1.0, f64::NAN, 1.0], ..stored.clone() },
        LinearV1 { intercept: f64::INFINITY, ..stored },
    ] {
        assert!(Logistic::try_from(broken).is_err());
    }
}
