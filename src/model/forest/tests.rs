use serde_json::Value;
use serde_json::json;

use super::*;

/// Two trees on three features: a split with missing left, a nested one with missing right.
fn model() -> Value {
    let tree =
        |left: Value, right: Value, at: Value, numbers: Value, missing: Value, cover: Value| {
            let n = left.as_array().unwrap().len();
            json!({
                "base_weights": numbers, "categories": [], "categories_nodes": [],
                "categories_segments": [], "categories_sizes": [], "default_left": missing, "id": 0,
                "left_children": left, "loss_changes": vec![0.0; n], "parents": vec![0; n],
                "right_children": right, "split_conditions": numbers, "split_indices": at,
                "split_type": vec![0; n], "sum_hessian": cover,
                "tree_param": {"num_deleted": "0", "num_feature": "3", "num_nodes": n.to_string(),
                               "size_leaf_vector": "1"}
            })
        };
    let trees = vec![
        tree(
            json!([1, -1, -1]),
            json!([2, -1, -1]),
            json!([0, 0, 0]),
            json!([1.5, -0.25, 0.5]),
            json!([1, 0, 0]),
            json!([10.0, 4.0, 6.0]),
        ),
        tree(
            json!([1, 3, -1, -1, -1]),
            json!([2, 4, -1, -1, -1]),
            json!([2, 1, 0, 0, 0]),
            json!([0.1, 7.0, 1.0, 2.0, 4.0]),
            json!([0, 1, 0, 0, 0]),
            json!([10.0, 5.0, 5.0, 2.0, 3.0]),
        ),
    ];
    json!({"learner": {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "gradient_booster": {"model": {
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "2"},
            "iteration_indptr": [0, 1, 2], "tree_info": [0, 0], "trees": trees}, "name": "gbtree"},
        "learner_model_param": {"base_score": "[2.5E-1]", "boost_from_average": "1",
            "num_class": "0", "num_feature": "3", "num_target": "1"},
        "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}}
    }, "version": [3, 2, 0]})
}

fn forest() -> Forest {
    Forest::from_json(&model().to_string()).unwrap()
}

const TREE: &str = "/learner/gradient_booster/model/trees";

fn changed(path: &str, to: Value) -> Result<Forest, ForestError> {
    let mut model = model();
    let path = path.replace("TREE", TREE);
    *model.pointer_mut(&path).unwrap_or_else(|| panic!("{path}")) = to;
    Forest::from_json(&model.to_string())
}

#[test]
fn rows_follow_splits_and_missing_values_the_stored_way() {
    let forest = forest();
    let base = (0.25_f64 / 0.75).ln();
    let nan = f64::NAN;
    for (row, leaves) in [
        ([1.0, 6.0, 0.0], -0.25 + 2.0),
        ([1.5, 7.0, 0.0], 0.5 + 4.0),
        ([nan, nan, 0.0], -0.25 + 2.0),
        ([2.0, 0.0, nan], 0.5 + 1.0),
        ([f64::INFINITY, f64::NEG_INFINITY, -1e300], 0.5 + 2.0),
    ] {
        assert!((forest.margin(&row) - base - leaves).abs() < 1e-12, "{row:?}");
        assert!((forest.predict(&row) - sigmoid(base + leaves)).abs() < 1e-12);
    }
    assert!(forest.margin(&[1.0, 2.0]).is_nan());
    assert_eq!((forest.n_trees(), forest.n_features()), (2, 3));
}

#[test]
fn features_are_compared_as_f32() {
    // 0.1 as f64 lies below the f32 nearest to it: in f64 the row would go left.
    let forest = forest();
    let at_threshold = forest.margin(&[1.0, 6.0, 0.1]);
    assert!((at_threshold - forest.margin(&[1.0, 6.0, 5.0])).abs() < 1e-12);
    assert!((at_threshold - forest.margin(&[1.0, 6.0, 0.099])).abs() > 0.5);
}

#[test]
fn written_models_are_read_back_to_the_same_bytes() {
    let forest = forest();
    let text = forest.to_json().unwrap();
    let back = Forest::from_json(&text).unwrap();
    assert_eq!(back, forest);
    assert_eq!(back.to_json().unwrap(), text);
    let tweedie = changed(
        "/learner/objective",
        json!({
            "name": "reg:tweedie",
            "tweedie_regression_param": {"tweedie_variance_power": "1.3"}
        }),
    )
    .unwrap();
    assert_eq!(tweedie.link(), ForestLink::Tweedie { power: 1.3 });
    assert!((tweedie.base_margin() - 0.25_f64.ln()).abs() < 1e-12);
    let text = tweedie.to_json().unwrap();
    assert_eq!(Forest::from_json(&text).unwrap().to_json().unwrap(), text);
}

#[test]
fn older_files_with_boolean_flags_and_plain_base_scores_are_read() {
    let mut old = model();
    *old.pointer_mut(&format!("{TREE}/0/default_left")).unwrap() = json!([true, false, false]);
    *old.pointer_mut("/learner/learner_model_param/base_score").unwrap() = json!("2.5E-1");
    assert_eq!(Forest::from_json(&old.to_string()).unwrap(), forest());
}

#[test]
fn nodes_left_behind_by_pruning_are_dropped() {
    let mut pruned = model();
    let tree = pruned.pointer_mut(&format!("{TREE}/1")).unwrap();
    // The root's left child becomes a leaf: nodes 3 and 4 hang in the air.
    tree["left_children"] = json!([1, -1, -1, -1, -1]);
    tree["right_children"] = json!([2, -1, -1, -1, -1]);
    let forest = Forest::from_json(&pruned.to_string()).unwrap();
    assert_eq!(forest.nodes().len(), 6);
    let text = forest.to_json().unwrap();
    assert_eq!(Forest::from_json(&text).unwrap(), forest);
    assert!((forest.margin(&[1.0, 0.0, 0.0]) - forest.base_margin() - 6.75).abs() < 1e-12);
}

#[test]
fn malformed_trees_are_refused_with_their_place() {
    type Expected = fn(&ForestError) -> bool;
    let cases: [(&str, Value, Expected); 16] = [
        ("TREE/1/left_children/0", json!(5), |e| matches!(e, ForestError::Child { child: 5, .. })),
        ("TREE/1/right_children/1", json!(-2), |e| matches!(e, ForestError::Child { .. })),
        ("TREE/1/right_children/0", json!(-1), |e| matches!(e, ForestError::Child { .. })),
        ("TREE/1/left_children/1", json!(0), |e| matches!(e, ForestError::NotATree { .. })),
        ("TREE/1/left_children/1", json!(2), |e| matches!(e, ForestError::NotATree { .. })),
        ("TREE/1/split_indices/0", json!(3), |e| matches!(e, ForestError::Feature { .. })),
        ("TREE/1/split_indices/0", json!(-1), |e| matches!(e, ForestError::Feature { .. })),
        ("TREE/0/split_type/0", json!(1), |e| matches!(e, ForestError::Categorical { .. })),
        ("TREE/0/split_conditions/0", json!(1e39), |e| matches!(e, ForestError::Json(_))),
        ("TREE/0/split_conditions/1", json!(null), |e| matches!(e, ForestError::Json(_))),
        ("TREE/0/sum_hessian/1", json!(-1.0), |e| matches!(e, ForestError::Number { .. })),
        ("TREE/0/split_indices", json!([0]), |e| matches!(e, ForestError::Length { .. })),
        ("TREE/0/sum_hessian", json!([1.0]), |e| matches!(e, ForestError::Length { .. })),
        ("TREE/0/left_children", json!([]), |e| matches!(e, ForestError::Length { .. })),
        ("TREE/0/tree_param/num_feature", json!("4"), |e| {
            matches!(e, ForestError::Features { expected: 3, found: 4 })
        }),
        ("TREE/0/tree_param/num_nodes", json!("4"), |e| matches!(e, ForestError::Parameter { .. })),
    ];
    for (path, to, expected) in cases {
        let error = changed(path, to).unwrap_err();
        assert!(expected(&error), "{path}: {error}");
    }
}

#[test]
fn unsupported_models_are_refused_by_name() {
    let param = "/learner/learner_model_param";
    let cases = [
        ("/learner/gradient_booster/name".to_owned(), json!("dart")),
        ("/learner/objective/name".to_owned(), json!("multi:softprob")),
        (format!("{param}/num_class"), json!("3")),
        (format!("{param}/num_target"), json!("2")),
        (format!("{TREE}/0/tree_param/size_leaf_vector"), json!("2")),
        ("/learner/gradient_booster/model/tree_info/1".to_owned(), json!(1)),
    ];
    for (path, to) in cases {
        let error = changed(&path, to).unwrap_err();
        assert!(matches!(error, ForestError::Unsupported { .. }), "{path}: {error}");
    }
    for (path, to) in [
        ("base_score", "[1.0]"),
        ("base_score", "[0]"),
        ("base_score", "[0.5,0.5]"),
        ("base_score", "NaN"),
        ("num_feature", "0"),
        ("num_feature", "-3"),
        ("num_feature", "99999999999"),
    ] {
        let error = changed(&format!("{param}/{path}"), json!(to)).unwrap_err();
        assert!(matches!(error, ForestError::Parameter { .. }), "{path} {to}: {error}");
    }
    let mut weighted = model();
    weighted["learner"]["gradient_booster"]["model"]["weight_drop"] = json!([0.5, 0.5]);
    assert!(matches!(
        Forest::from_json(&weighted.to_string()),
        Err(ForestError::Unsupported { what: "weight_drop", .. })
    ));
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    let n = 2 * DEPTH_MAX + 5;
    // Every odd node is a leaf, every even one splits: one long spine.
    let spine = |step: usize| {
        (0..n)
            .map(|i| if i % 2 == 0 && i + 2 < n { i as i64 + step as i64 } else { -1 })
            .collect::<Vec<_>>()
    };
    let mut deep = model();
    let tree = deep.pointer_mut(&format!("{TREE}/0")).unwrap();
    tree["left_children"] = json!(spine(1));
    tree["right_children"] = json!(spine(2));
    for name in ["split_indices", "default_left", "split_type"] {
        tree[name] = json!(vec![0; n]);
    }
    for name in ["split_conditions", "sum_hessian", "loss_changes", "base_weights"] {
        tree[name] = json!(vec![1.0; n]);
    }
    tree["tree_param"]["num_nodes"] = json!(n.to_string());
    let error = Forest::from_json(&deep.to_string()).unwrap_err();
    assert!(matches!(error, ForestError::Depth { tree: 0, .. }), "{error}");
}

#[test]
fn cut_or_mangled_text_never_panics() {
    let text = model().to_string();
    for end in (0..text.len()).step_by(7) {
        assert!(Forest::from_json(&text[..end]).is_err());
    }
    for (at, _) in text.char_indices().step_by(3) {
        for replacement in ["9", "-", "]", "\"", "e"] {
            let mut mangled = text.clone();
            mangled.replace_range(at..=at, replacement);
            // Most are refused; what is accepted must still be safe to walk.
            if let Ok(forest) = Forest::from_json(&mangled) {
                let _ = forest.margin(&vec![0.5; forest.n_features().min(64)]);
            }
        }
    }
}

#[test]
fn a_matrix_of_another_width_is_refused() {
    let x = FeatureMatrix::from_columns("s", vec![vec![1.0]; 2]).unwrap();
    assert!(matches!(forest().margins(&x), Err(ForestError::Features { expected: 3, found: 2 })));
}
