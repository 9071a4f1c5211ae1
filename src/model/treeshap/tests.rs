use super::super::boosted::{Boosted, BoostedSpec, Objective, TreeShape};
use super::*;
use crate::dataset::FeatureMatrix;

const N_FEATURES: usize = 5;

/// Margin of a tree when only the features in `known` are known: the others are averaged over.
fn conditional(forest: &Forest, position: usize, row: &[f64], known: usize) -> f64 {
    let node = &forest.nodes()[position];
    if node.is_leaf() {
        return node.value();
    }
    let (left, right) = node.children();
    if known & (1 << node.feature()) != 0 {
        let next = if node.goes_left(row[node.feature()]) { left } else { right };
        return conditional(forest, next, row, known);
    }
    let cover = |child: usize| f64::from(forest.covers()[child]);
    let share = cover(left) / (cover(left) + cover(right));
    share * conditional(forest, left, row, known)
        + (1.0 - share) * conditional(forest, right, row, known)
}

/// Shapley values by their definition: a weighted sum over all subsets of features.
fn by_definition(forest: &Forest, row: &[f64]) -> Vec<f64> {
    let margin = |known: usize| -> f64 {
        forest.roots().iter().map(|&r| conditional(forest, r as usize, row, known)).sum()
    };
    let margins: Vec<f64> = (0..1 << N_FEATURES).map(margin).collect();
    let factorial = |n: usize| (1..=n).product::<usize>() as f64;
    (0..N_FEATURES)
        .map(|feature| {
            (0..1_usize << N_FEATURES)
                .filter(|known| known & (1 << feature) == 0)
                .map(|known| {
                    let size = known.count_ones() as usize;
                    let weight =
                        factorial(size) * factorial(N_FEATURES - size - 1) / factorial(N_FEATURES);
                    weight * (margins[known | (1 << feature)] - margins[known])
                })
                .sum()
        })
        .collect()
}

fn fitted(shape: TreeShape) -> (Forest, FeatureMatrix) {
    let mut x = FeatureMatrix::new("s", N_FEATURES);
    let mut y = Vec::new();
    for i in 0..800_u32 {
        let at = |k: u32| f64::from(i.wrapping_mul(k) % 97) / 97.0;
        let third = if i % 6 == 0 { f64::NAN } else { at(7919) };
        x.push_row(&[at(31), at(57), third, f64::from(i % 3), at(1013)]).unwrap();
        y.push(if at(31) * at(57) + 0.3 * f64::from(i % 3) + 0.3 * at(4001) > 0.6 {
            1.0
        } else {
            0.0
        });
    }
    let spec = BoostedSpec {
        objective: Objective::Logistic,
        n_rounds_max: 25,
        shape,
        min_child_weight: 0.5,
        ..Default::default()
    };
    (Boosted::fit(&spec, &x, &y, None, None).unwrap(), x)
}

#[test]
fn contributions_are_the_shapley_values_and_sum_to_the_margin() {
    // Deep trees use a feature several times on one path, the case that is easy to get wrong.
    for shape in [TreeShape::Depth(3), TreeShape::Depth(8), TreeShape::Leaves(24)] {
        let (forest, x) = fitted(shape);
        let shap = TreeShap::try_new(&forest).unwrap();
        let leaf_by_leaf = TreeShap::with_limit(&forest, 0).unwrap();
        assert!(shap.leaves.is_empty() && leaf_by_leaf.trees.is_empty());
        let (mut row, mut found, mut again) = ([0.0; N_FEATURES], [0.0; N_FEATURES], [0.0; 5]);
        let mut largest = 0.0_f64;
        for i in (0..800).step_by(40) {
            x.copy_row(i, &mut row);
            shap.contributions(&row, &mut found).unwrap();
            for (ours, wanted) in found.iter().zip(by_definition(&forest, &row)) {
                assert!((ours - wanted).abs() < 1e-11, "{shape:?} row {i}: {ours} {wanted}");
                largest = largest.max(ours.abs());
            }
            let sum = shap.expected_margin() + found.iter().sum::<f64>();
            assert!((sum - forest.margin(&row)).abs() < 1e-9);
            leaf_by_leaf.contributions(&row, &mut again).unwrap();
            for (ours, wanted) in found.iter().zip(&again) {
                assert!((ours - wanted).abs() < 1e-12, "{shape:?} row {i}: {ours} {wanted}");
            }
        }
        assert!(largest > 0.1, "nothing was explained");
    }
}

#[test]
fn missing_covers_and_wrong_lengths_are_refused() {
    let (forest, _) = fitted(TreeShape::Depth(2));
    let mut stored: serde_json::Value = serde_json::from_str(&forest.to_json().unwrap()).unwrap();
    let trees = "/learner/gradient_booster/model/trees/3/sum_hessian";
    *stored.pointer_mut(trees).unwrap() = serde_json::json!([]);
    let bare = Forest::from_json(&stored.to_string()).unwrap();
    assert!(matches!(TreeShap::try_new(&bare), Err(ShapError::Cover { .. })));
    let shap = TreeShap::try_new(&forest).unwrap();
    let mut out = [0.0; N_FEATURES];
    assert!(matches!(
        shap.contributions(&[0.0; 4], &mut out),
        Err(ShapError::Length { what: "row", expected: 5, found: 4 })
    ));
    assert!(shap.contributions(&[0.0; 5], &mut out[1..]).is_err());
}

/// Paths of 3 to 20 features, some of them twice, some shares 0: every number of points, and the
/// leaves of what is too long for them.
#[test]
fn long_paths_are_explained_alike_by_points_and_leaf_by_leaf() {
    const WIDE: usize = 24;
    let mut x = FeatureMatrix::new("s", WIDE);
    let mut y = Vec::new();
    let mut state = 1_u64;
    let mut unit = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    for _ in 0..600 {
        let row: Vec<f64> = (0..WIDE).map(|_| unit()).collect();
        y.push(f64::from(u8::from(row.iter().sum::<f64>() + unit() > 12.5)));
        x.push_row(&row).unwrap();
    }
    let mut most = 0;
    for depth in [3, 6, 12, 20] {
        let shape = TreeShape::Depth(depth);
        let spec = BoostedSpec {
            objective: Objective::Logistic,
            n_rounds_max: 8,
            shape,
            min_child_weight: 0.0,
            ..Default::default()
        };
        let forest = Boosted::fit(&spec, &x, &y, None, None).unwrap();
        let by_points = TreeShap::try_new(&forest).unwrap();
        let by_leaves = TreeShap::with_limit(&forest, 0).unwrap();
        most = by_leaves.leaves.iter().map(|leaf| leaf.n_steps).max().unwrap().max(most);
        let (mut row, mut one, mut other) = ([0.0; WIDE], [0.0; WIDE], [0.0; WIDE]);
        for i in (0..600).step_by(60) {
            x.copy_row(i, &mut row);
            row[i % WIDE] = f64::NAN;
            by_points.contributions(&row, &mut one).unwrap();
            by_leaves.contributions(&row, &mut other).unwrap();
            for (ours, wanted) in one.iter().zip(&other) {
                assert!((ours - wanted).abs() < 1e-12, "depth {depth}: {ours} {wanted}");
            }
            let sum = by_points.expected_margin() + one.iter().sum::<f64>();
            assert!((sum - forest.margin(&row)).abs() < 1e-9, "depth {depth}");
        }
    }
    assert!(most > 8, "the longest path has {most} features");
}
