use super::super::forest::ForestLink;
use super::*;

/// Uniform numbers in [0, 1) from a fixed seed.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

struct Rows {
    x: FeatureMatrix,
    outcome: Vec<f64>,
    spend: Vec<f64>,
}

fn rows(n: usize, seed: u64) -> Rows {
    let mut random = uniform(seed);
    let mut x = FeatureMatrix::new("s", 5);
    let (mut outcome, mut spend) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let mut row: Vec<f64> = (0..5).map(|_| 4.0 * random() - 2.0).collect();
        let signal = row[0] + row[1] * row[2];
        if random() < 0.2 {
            row[1] = f64::NAN;
        }
        outcome.push(if random() < 1.0 / (1.0 + (-signal).exp()) { 1.0 } else { 0.0 });
        spend.push(if random() < 0.6 { 0.0 } else { -(random().max(1e-12).ln()) * signal.exp() });
        x.push_row(&row).unwrap();
    }
    Rows { x, outcome, spend }
}

/// The sum in `f32`, as XGBoost and hessboost do it.
#[allow(clippy::cast_possible_truncation, reason = "narrow on purpose")]
fn margin_f32(forest: &Forest, row: &[f64]) -> f32 {
    let mut sum = forest.base_margin() as f32;
    for &root in forest.roots() {
        let mut node = &forest.nodes()[root as usize];
        while !node.is_leaf() {
            let (left, right) = node.children();
            let next = if node.goes_left(row[node.feature()]) { left } else { right };
            node = &forest.nodes()[next];
        }
        sum += node.value() as f32;
    }
    sum
}

fn spec(objective: Objective) -> BoostedSpec {
    BoostedSpec { objective, n_rounds_max: 80, learning_rate: 0.1, seed: 11, ..Default::default() }
}

fn objectives() -> [Objective; 2] {
    [Objective::Logistic, Objective::Tweedie { power: 1.5 }]
}

#[test]
fn our_evaluator_predicts_what_the_library_predicts() {
    let rows = rows(3_000, 1);
    for objective in objectives() {
        let target = if objective == Objective::Logistic { &rows.outcome } else { &rows.spend };
        let spec = spec(objective);
        let grown_on = TrainingRows { x: &rows.x, target, weights: None, margin: None };
        let model = train(&spec, grown_on, None).unwrap();
        let data = matrix(&rows.x, target, None).unwrap();
        let margins = model.predict_margin(&data, ..).unwrap();
        let predictions = model.predict(&data, ..).unwrap();
        let forest = Boosted::fit(&spec, &rows.x, target, None, None).unwrap();
        assert_eq!(forest.n_trees(), 80);
        let mut row = [0.0; 5];
        let (mut worst, mut worst_narrow, mut spread) = (0.0_f64, 0.0_f64, 0.0_f64);
        for i in 0..rows.x.n_rows() {
            rows.x.copy_row(i, &mut row);
            let margin = forest.margin(&row);
            worst = worst.max((margin - f64::from(margins.as_slice()[i])).abs());
            let narrow = margin_f32(&forest, &row);
            worst_narrow = worst_narrow.max((f64::from(narrow - margins.as_slice()[i])).abs());
            let theirs = f64::from(predictions.as_slice()[i]);
            let ours = forest.predict(&row);
            assert!((ours - theirs).abs() <= 2e-6 * theirs.max(0.5), "{ours} {theirs}");
            spread = spread.max((margin - forest.base_margin()).abs());
        }
        assert!(worst < 2e-6, "largest difference of margins {worst}");
        // Summed as narrowly as the library sums, only the base score's own rounding is left.
        assert!(worst_narrow < 5e-7, "largest difference of f32 margins {worst_narrow}");
        assert!(spread > 1.0, "the trees must say something, largest move {spread}");
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let rows = rows(20_000, 2);
    for objective in objectives() {
        let target = if objective == Objective::Logistic { &rows.outcome } else { &rows.spend };
        for shape in [TreeShape::Depth(4), TreeShape::Leaves(15)] {
            let one = BoostedSpec { shape, n_rounds_max: 20, ..spec(objective) };
            let two = BoostedSpec { n_threads: 2, ..one.clone() };
            let other = BoostedSpec { seed: 12, ..one.clone() };
            let text = |s: &BoostedSpec| {
                Boosted::fit(s, &rows.x, target, None, None).unwrap().to_json().unwrap()
            };
            let first = text(&one);
            assert!(first == text(&two), "{objective:?} {shape:?}");
            assert!(first == text(&one), "{objective:?} {shape:?}");
            assert!(first != text(&other), "the seed must matter");
        }
    }
}

#[test]
fn early_stopping_keeps_the_trees_up_to_the_best_round() {
    let (train_rows, valid_rows) = (rows(1_500, 3), rows(1_500, 4));
    let spec = BoostedSpec {
        n_rounds_max: 400,
        learning_rate: 0.3,
        early_stopping_rounds: NonZeroUsize::new(10),
        ..spec(Objective::Logistic)
    };
    let valid = Some((&valid_rows.x, valid_rows.outcome.as_slice()));
    let stopped = Boosted::fit(&spec, &train_rows.x, &train_rows.outcome, None, valid).unwrap();
    assert!((2..200).contains(&stopped.n_trees()), "{}", stopped.n_trees());
    let full = BoostedSpec { early_stopping_rounds: None, ..spec };
    let full = Boosted::fit(&full, &train_rows.x, &train_rows.outcome, None, valid).unwrap();
    assert_eq!(full.n_trees(), 400);
    let loss = |forest: &Forest| -> f64 {
        let margins = forest.margins(&valid_rows.x).unwrap();
        let pairs = margins.iter().zip(&valid_rows.outcome);
        pairs.map(|(z, y)| (1.0 + z.exp()).ln() - y * z).sum::<f64>() / 1_500.0
    };
    assert!(loss(&stopped) < loss(&full) - 0.01, "{} {}", loss(&stopped), loss(&full));
}

#[test]
fn monotone_directions_hold_everywhere() {
    let rows = rows(3_000, 5);
    let spec = BoostedSpec { monotone: vec![1, 0, 0, -1, 0], ..spec(Objective::Logistic) };
    let forest = Boosted::fit(&spec, &rows.x, &rows.outcome, None, None).unwrap();
    let mut row = [0.0; 5];
    for i in (0..3_000).step_by(30) {
        rows.x.copy_row(i, &mut row);
        for (feature, sign) in [(0, 1.0), (3, -1.0)] {
            let mut last = f64::NEG_INFINITY;
            for step in -20..=20 {
                let mut moved = row;
                moved[feature] = f64::from(step) / 10.0;
                let margin = sign * forest.margin(&moved);
                assert!(margin >= last - 1e-12);
                last = margin;
            }
        }
    }
}

#[test]
fn weights_count_as_repeated_rows() {
    let rows = rows(400, 6);
    let spec = BoostedSpec { subsample: 1.0, colsample: 1.0, ..spec(Objective::Logistic) };
    let positions: Vec<usize> = (0..400).flat_map(|i| vec![i; 1 + i % 3]).collect();
    let weights: Vec<f64> = (0..400_u32).map(|i| f64::from(1 + i % 3)).collect();
    let repeated: Vec<f64> = positions.iter().map(|&i| rows.outcome[i]).collect();
    let one = Boosted::fit(&spec, &rows.x, &rows.outcome, Some(weights.as_slice()), None).unwrap();
    let two = Boosted::fit(&spec, &rows.x.select_rows(&positions), &repeated, None, None).unwrap();
    let (one, two) = (one.margins(&rows.x).unwrap(), two.margins(&rows.x).unwrap());
    let mean_gap = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).sum::<f64>() / 400.0;
    // Bins and rounding differ a little; ignoring the weights would move margins by tenths.
    let plain = Boosted::fit(&spec, &rows.x, &rows.outcome, None, None).unwrap();
    let plain = plain.margins(&rows.x).unwrap();
    let plain_gap = plain.iter().zip(&two).map(|(a, b)| (a - b).abs()).sum::<f64>() / 400.0;
    assert!(mean_gap < 0.25 * plain_gap, "{mean_gap} {plain_gap}");
}

#[test]
fn the_mean_of_the_target_is_the_base_score() {
    let rows = rows(500, 7);
    let mean = rows.spend.iter().sum::<f64>() / 500.0;
    let spec = spec(Objective::Tweedie { power: 1.3 });
    let forest = Boosted::fit(&spec, &rows.x, &rows.spend, None, None).unwrap();
    assert!((forest.base_margin() - mean.ln()).abs() < 1e-6);
    assert!(matches!(forest.link(), ForestLink::Tweedie { power } if (power - 1.3).abs() < 1e-6));
}

#[test]
fn bad_settings_are_refused() {
    let rows = rows(50, 8);
    let good = spec(Objective::Logistic);
    for bad in [
        BoostedSpec { n_rounds_max: 0, ..good.clone() },
        BoostedSpec { n_threads: 0, ..good.clone() },
        BoostedSpec { shape: TreeShape::Depth(0), ..good.clone() },
        BoostedSpec { shape: TreeShape::Leaves(1), ..good.clone() },
        BoostedSpec { objective: Objective::Tweedie { power: 2.0 }, ..good.clone() },
        BoostedSpec { early_stopping_rounds: NonZeroUsize::new(5), ..good.clone() },
        BoostedSpec { monotone: vec![2, 0, 0, 0, 0], ..good.clone() },
    ] {
        let error = Boosted::fit(&bad, &rows.x, &rows.outcome, None, None).unwrap_err();
        assert!(matches!(error, FitError::Spec { .. }), "{error}");
    }
    for bad in [
        BoostedSpec { learning_rate: f64::NAN, ..good.clone() },
        BoostedSpec { learning_rate: 0.0, ..good.clone() },
        BoostedSpec { lambda: -1.0, ..good.clone() },
        BoostedSpec { min_child_weight: f64::NAN, ..good.clone() },
        BoostedSpec { subsample: 0.0, ..good.clone() },
        BoostedSpec { colsample: 1.5, ..good.clone() },
    ] {
        let error = Boosted::fit(&bad, &rows.x, &rows.outcome, None, None).unwrap_err();
        assert!(matches!(error, FitError::Library { .. }), "{bad:?} {error}");
    }
    let short = BoostedSpec { monotone: vec![1], ..good };
    let error = Boosted::fit(&short, &rows.x, &rows.outcome, None, None).unwrap_err();
    assert!(matches!(error, FitError::Length { what: "monotone", .. }), "{error}");
}

#[test]
fn bad_rows_are_refused() {
    let rows = rows(50, 9);
    let good = spec(Objective::Logistic);
    let fit = |x: &FeatureMatrix, y: &[f64], w: Option<&[f64]>| Boosted::fit(&good, x, y, w, None);
    assert!(matches!(fit(&rows.x, &[], None), Err(FitError::Empty)));
    assert!(matches!(fit(&rows.x, &rows.outcome[1..], None), Err(FitError::Length { .. })));
    assert!(matches!(fit(&rows.x, &[0.0; 50], None), Err(FitError::OneClass { .. })));
    assert!(matches!(fit(&rows.x, &[1.0; 50], None), Err(FitError::OneClass { .. })));
    assert!(matches!(fit(&rows.x, &[2.0; 50], None), Err(FitError::Number { row: 0, .. })));
    assert!(matches!(fit(&rows.x, &[f64::NAN; 50], None), Err(FitError::Number { .. })));
    let weights = [-1.0; 50];
    assert!(matches!(fit(&rows.x, &rows.outcome, Some(&weights)), Err(FitError::Number { .. })));
    for far in [f64::INFINITY, 1e39] {
        let mut columns: Vec<Vec<f64>> = (0..5).map(|c| rows.x.column(c).to_vec()).collect();
        columns[2][3] = far;
        let x = FeatureMatrix::from_columns("s", columns).unwrap();
        let found = fit(&x, &rows.outcome, None);
        assert!(matches!(found, Err(FitError::Feature { column: 2, row: 3, .. })));
    }
    let columns: Vec<Vec<f64>> = (0..5).map(|c| rows.x.column(c).to_vec()).collect();
    let other = FeatureMatrix::from_columns("t", columns).unwrap();
    let found = Boosted::fit(&good, &rows.x, &rows.outcome, None, Some((&other, &rows.outcome)));
    assert!(matches!(found, Err(FitError::Schema { .. })));
}

#[test]
fn columns_that_do_not_vary_change_no_tree() {
    let rows = rows(1_500, 8);
    let mut wide = FeatureMatrix::new("s", 8);
    let mut row = [0.0; 5];
    for i in 0..rows.x.n_rows() {
        rows.x.copy_row(i, &mut row);
        let [a, b, c, d, e] = row;
        // Equal as f32, equal, and missing throughout.
        let nearly = 1.0 + 1e-12 * i as f64;
        wide.push_row(&[nearly, a, b, 7.0, c, d, f64::NAN, e]).unwrap();
    }
    let mut spec = spec(Objective::Logistic);
    spec.monotone = vec![1, 0, 0, 0, 0];
    let narrow = Boosted::fit(&spec, &rows.x, &rows.outcome, None, None).unwrap();
    spec.monotone = vec![0, 1, 0, 0, 0, 0, 0, 0];
    let found = Boosted::fit(&spec, &wide, &rows.outcome, None, None).unwrap();
    assert_eq!((found.n_features(), found.n_trees()), (8, narrow.n_trees()));
    let mut wide_row = [0.0; 8];
    for i in 0..200 {
        rows.x.copy_row(i, &mut row);
        wide.copy_row(i, &mut wide_row);
        assert_eq!(found.margin(&wide_row).to_bits(), narrow.margin(&row).to_bits());
        let mut last = f64::NAN;
        found.staged_margins(&wide_row, |_, margin| last = margin);
        assert_eq!(last.to_bits(), narrow.margin(&row).to_bits());
    }
    assert!(found.gain_by_feature()[1] > 0.0 && found.gain_by_feature()[3] < 1e-12);
}
