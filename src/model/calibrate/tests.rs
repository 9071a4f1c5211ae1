use super::super::link::logit;
use super::*;

/// Logits on a grid; at each, the share of true rows that a line asks for.
fn grid(intercept: f64, slope: f64) -> (Vec<f64>, Vec<bool>) {
    let (mut logits, mut y) = (Vec::new(), Vec::new());
    for step in -20..=20 {
        let z = f64::from(step) / 8.0;
        let share = sigmoid(intercept + slope * z);
        for i in 0..500 {
            logits.push(z);
            y.push((f64::from(i) + 0.5) / 500.0 < share);
        }
    }
    (logits, y)
}

#[test]
fn the_line_that_made_the_outcomes_is_found() {
    for (intercept, slope) in [(0.0, 1.0), (-1.2, 0.4), (0.7, 2.5)] {
        let (logits, y) = grid(intercept, slope);
        let line = LogitLine::fit(&logits, &y).unwrap();
        assert!((line.intercept() - intercept).abs() < 5e-3, "{line:?}");
        assert!((line.slope() - slope).abs() < 5e-3, "{line:?}");
        let mean = logits.iter().map(|z| sigmoid(line.apply(*z))).sum::<f64>() / y.len() as f64;
        let share = y.iter().filter(|&&hit| hit).count() as f64 / y.len() as f64;
        assert!((mean - share).abs() < 1e-6);
    }
}

#[test]
fn a_falling_line_is_measured_but_never_used() {
    let (logits, y) = grid(0.0, -1.0);
    assert!((LogitLine::measure(&logits, &y).unwrap().slope() + 1.0).abs() < 5e-3);
    assert!(matches!(LogitLine::fit(&logits, &y), Err(FitError::Inverted { .. })));
    assert!(matches!(LogitLine::try_new(0.0, 0.0), Err(FitError::Inverted { .. })));
    assert!(matches!(LogitLine::try_new(f64::NAN, 1.0), Err(FitError::Spec { .. })));
}

#[test]
fn separated_outcomes_give_a_finite_line() {
    let logits = [-2.0, -1.0, 1.0, 2.0];
    let line = LogitLine::fit(&logits, &[false, false, true, true]).unwrap();
    assert!(line.slope() > 1.0 && line.slope() < 100.0, "{line:?}");
    let flat = LogitLine::fit(&[0.3; 4], &[false, true, true, true]).unwrap();
    assert!((sigmoid(flat.apply(0.3)) - 0.75).abs() < 1e-3);
}

#[test]
fn extreme_logits_converge() {
    let logits: Vec<f64> = (0..2000).map(|i| f64::from(i - 1000) * 5.0).collect();
    let y: Vec<bool> = (0..2000).map(|i| (i > 1000) != (i % 17 == 0)).collect();
    let line = LogitLine::fit(&logits, &y).unwrap();
    assert!(line.slope() > 0.0 && line.slope() < 0.1, "{line:?}");
}

#[test]
fn bad_rows_are_refused() {
    assert!(matches!(LogitLine::fit(&[], &[]), Err(FitError::Empty)));
    assert!(matches!(LogitLine::fit(&[1.0], &[true, false]), Err(FitError::Length { .. })));
    assert!(matches!(LogitLine::fit(&[1.0, 2.0], &[true, true]), Err(FitError::OneClass { .. })));
    let found = LogitLine::fit(&[1.0, f64::INFINITY], &[true, false]);
    assert!(matches!(found, Err(FitError::Number { row: 1, .. })));
    assert!(matches!(
        Isotonic::fit(&[0.5, 1.5], &[true, false]),
        Err(FitError::Number { row: 1, .. })
    ));
    assert!(Isotonic::fit(&[0.5, f64::NAN], &[true, false]).is_err());
}

#[test]
fn pooling_gives_the_means_of_the_violating_blocks() {
    let probs = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    let y = [false, true, false, true, true, true];
    let map = Isotonic::fit(&probs, &y).unwrap();
    let knots: Vec<(f64, f64)> = map.knots().collect();
    assert_eq!(knots, [(0.1, 0.0), (0.2, 0.5), (0.3, 0.5), (0.4, 1.0), (0.6, 1.0)]);
    assert!((map.apply(0.15) - 0.25).abs() < 1e-12 && (map.apply(0.35) - 0.75).abs() < 1e-12);
    assert_eq!(Isotonic::try_from_knots(&knots).unwrap(), map);
    for bad in [
        vec![],
        vec![(0.2, 0.1), (0.2, 0.3)],
        vec![(0.2, 0.3), (0.4, 0.1)],
        vec![(f64::NAN, 0.1)],
        vec![(0.1, 1.5)],
    ] {
        assert!(Isotonic::try_from_knots(&bad).is_err(), "{bad:?}");
    }
    // Ends are flat and clamped.
    assert!(map.apply(0.0) > 0.0 && map.apply(1.0) < 1.0 && map.apply(f64::NAN).is_nan());
}

#[test]
fn the_map_never_falls_and_ignores_the_order_of_the_rows() {
    let (logits, y) = grid(-0.5, 0.6);
    let probs: Vec<f64> = logits.iter().map(|z| sigmoid(*z)).collect();
    let map = Isotonic::fit(&probs, &y).unwrap();
    let turned: Vec<f64> = probs.iter().rev().copied().collect();
    let y_turned: Vec<bool> = y.iter().rev().copied().collect();
    assert_eq!(map, Isotonic::fit(&turned, &y_turned).unwrap());
    let mut last = 0.0;
    for step in 0..=1000 {
        let found = map.apply(f64::from(step) / 1000.0);
        assert!(found >= last);
        last = found;
    }
    let line = sigmoid(-0.5 + 0.6 * logit(0.3));
    assert!((map.apply(0.3) - line).abs() < 0.02);
}

#[test]
fn a_line_is_found_where_the_loss_has_more_rows_than_digits() {
    // Log-odds spread as those of a log, and outcomes that follow them.
    let mut state = 1_u64;
    let mut unit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    for n in [20_000, 23_570, 100_000, 300_000] {
        let (logits, y): (Vec<f64>, Vec<bool>) = (0..n)
            .map(|_| {
                let z = 6.0 * unit() - 1.5;
                (z, unit() < 1.0 / (1.0 + (-z - 0.1).exp()))
            })
            .unzip();
        let line = LogitLine::fit(&logits, &y).unwrap();
        assert!((line.slope() - 1.0).abs() < 0.1, "{n}: {line:?}");
    }
}
