use super::*;

/// Targets that lie exactly on a line of the logarithm.
fn exact() -> (Vec<Vec<f64>>, Vec<f64>) {
    let a: Vec<f64> = (0..60).map(f64::from).collect();
    let b: Vec<f64> = (0..60_u32).map(|i| f64::from(i * 37 % 61)).collect();
    let y = a.iter().zip(&b).map(|(a, b)| (0.3 + 0.02 * a - 0.05 * b).exp()).collect();
    (vec![a, b, vec![2.0; 60]], y)
}

#[test]
fn an_exact_line_is_found_and_constant_columns_ignored() {
    let (x, y) = exact();
    let spec = TweedieGlmSpec { power: 1.5, l2: 0.0 };
    let model = TweedieGlm::fit(&spec, &x, &y, None).unwrap();
    for (i, wanted) in y.iter().enumerate() {
        let found = model.predict(&[x[0][i], x[1][i], 2.0]);
        assert!((found / wanted - 1.0).abs() < 1e-9, "{found} {wanted}");
    }
    assert!(model.weights()[2].abs() < f64::EPSILON);
    let text = serde_json::to_string(&model.to_v1()).unwrap();
    let back = TweedieGlm::try_from(serde_json::from_str::<LinearV1>(&text).unwrap()).unwrap();
    assert_eq!(back, model);
}

#[test]
fn scale_of_money_and_copied_columns_do_not_matter() {
    let (mut x, mut y) = exact();
    for i in (0..60).step_by(3) {
        y[i] = 0.0;
    }
    let spec = TweedieGlmSpec { power: 1.5, l2: 0.0 };
    let one = TweedieGlm::fit(&spec, &x, &y, None).unwrap();
    let cents: Vec<f64> = y.iter().map(|v| v * 1e6).collect();
    let scaled = TweedieGlm::fit(&spec, &x, &cents, None).unwrap();
    x[2] = x[0].clone();
    let copied = TweedieGlm::fit(&spec, &x, &y, None).unwrap();
    let wanted = one.predict(&[10.0, 20.0, 2.0]);
    assert!((scaled.predict(&[10.0, 20.0, 2.0]) / wanted / 1e6 - 1.0).abs() < 1e-7);
    assert!((copied.predict(&[10.0, 20.0, 10.0]) / wanted - 1.0).abs() < 1e-6);
}

#[test]
fn weights_are_repeated_rows() {
    let (x, mut y) = exact();
    for i in (0..60).step_by(4) {
        y[i] = 0.0;
    }
    let weights: Vec<f64> = (0..60_u32).map(|i| f64::from(i % 3)).collect();
    let positions: Vec<usize> = (0..60).flat_map(|i| vec![i; i % 3]).collect();
    let spec = TweedieGlmSpec { power: 1.2, l2: 0.0 };
    let one = TweedieGlm::fit(&spec, &x, &y, Some(&weights)).unwrap();
    let repeat = |v: &[f64]| positions.iter().map(|&i| v[i]).collect::<Vec<f64>>();
    let columns: Vec<Vec<f64>> = x.iter().map(|c| repeat(c)).collect();
    let two = TweedieGlm::fit(&spec, &columns, &repeat(&y), None).unwrap();
    let row = [5.0, 30.0, 2.0];
    assert!((one.predict(&row) / two.predict(&row) - 1.0).abs() < 1e-7);
}

#[test]
fn bad_input_is_refused() {
    let (x, y) = exact();
    let good = TweedieGlmSpec::default();
    for power in [1.0, 2.0, f64::NAN] {
        let spec = TweedieGlmSpec { power, ..good };
        assert!(matches!(TweedieGlm::fit(&spec, &x, &y, None), Err(FitError::Spec { .. })));
    }
    let spec = TweedieGlmSpec { l2: -1.0, ..good };
    assert!(matches!(TweedieGlm::fit(&spec, &x, &y, None), Err(FitError::Spec { .. })));
    assert!(matches!(TweedieGlm::fit(&good, &x, &[], None), Err(FitError::Empty)));
    assert!(matches!(TweedieGlm::fit(&good, &x, &y[1..], None), Err(FitError::Length { .. })));
    let zero = vec![0.0; 60];
    assert!(matches!(TweedieGlm::fit(&good, &x, &zero, None), Err(FitError::OneClass { .. })));
    let mut bad = y.clone();
    bad[5] = -1.0;
    assert!(matches!(
        TweedieGlm::fit(&good, &x, &bad, None),
        Err(FitError::Number { what: "target", row: 5, .. })
    ));
    let found = TweedieGlm::fit(&good, &x, &y, Some(&bad));
    assert!(matches!(found, Err(FitError::Number { what: "weight", row: 5, .. })));
    let model = TweedieGlm::fit(&good, &x, &y, None).unwrap();
    assert!(model.predict(&[1.0]).is_nan() && model.predict(&[1.0, f64::NAN, 0.0]).is_nan());
}

#[test]
fn money_of_any_size_with_columns_that_depend_on_each_other_converges() {
    let mut random = 1_u64;
    let mut unit = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let n = 2_400;
    let levels: Vec<usize> = (0..n).map(|row| row * 7 % 11 % 3).collect();
    let mut x: Vec<Vec<f64>> = (0..3)
        .map(|level| levels.iter().map(|l| f64::from(u8::from(*l == level))).collect())
        .collect();
    x.push((0..n).map(|_| unit() * 1_500.0).collect());
    for scale in [1e-3, 1.0, 1e6] {
        let y: Vec<f64> = levels
            .iter()
            .map(|level| if unit() < 0.4 { 0.0 } else { scale * (1.0 + *level as f64) * unit() })
            .collect();
        let model = TweedieGlm::fit(&TweedieGlmSpec::default(), &x, &y, None).unwrap();
        assert!(model.weights().iter().all(|w| w.abs() < 2.0));
    }
}
