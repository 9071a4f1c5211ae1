//! Contributions against those of LightGBM, made once by `tests/golden/reference/lightgbm.py`.
//!
//! LightGBM's trees are rewritten as ours. It splits by `x <= t` on `f64`, ours by `x < t` on
//! `f32`: the next `f32` above takes the threshold's place, and the margins say whether a row
//! went another way. Its leaves are `f64`, ours `f32`: each tree becomes three of one shape whose
//! leaves add up to the original, which leaves contributions as they are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a golden file that cannot be read fails")]
#![allow(clippy::cast_possible_truncation, reason = "the parts are narrow on purpose")]

use serde_json::Value;
use serde_json::json;
use tenure::model::{Forest, TreeShap};

const GOLDEN: &str = include_str!("../golden/reference/treeshap_lightgbm.json");
/// `f32` parts of a leaf: 72 bits hold the 53 of an `f64`.
const PARTS: usize = 3;

/// A tree in XGBoost's arrays, with the leaves of one part.
#[derive(Default)]
struct Tree {
    left: Vec<i64>,
    right: Vec<i64>,
    parents: Vec<i64>,
    features: Vec<i64>,
    numbers: Vec<f64>,
    default_left: Vec<u8>,
    covers: Vec<f64>,
}

impl Tree {
    /// Adds a node and what is below it; gives its position.
    fn add(&mut self, node: &Value, parent: i64, part: usize) -> i64 {
        let at = self.left.len();
        let position = i64::try_from(at).unwrap();
        self.left.push(-1);
        self.right.push(-1);
        self.parents.push(parent);
        let Some(threshold) = node["threshold"].as_f64() else {
            self.features.push(0);
            self.numbers.push(leaf_part(node["leaf_value"].as_f64().unwrap(), part));
            self.default_left.push(0);
            self.covers.push(node["leaf_count"].as_f64().unwrap());
            return position;
        };
        assert_eq!(node["decision_type"], "<=");
        let missing_left = match node["missing_type"].as_str().unwrap() {
            "NaN" => node["default_left"].as_bool().unwrap(),
            // LightGBM takes the missing value for 0 here.
            "None" => 0.0 <= threshold,
            other => panic!("missing_type {other}"),
        };
        self.features.push(node["split_feature"].as_i64().unwrap());
        self.numbers.push(f64::from((threshold as f32).next_up()));
        self.default_left.push(u8::from(missing_left));
        self.covers.push(node["internal_count"].as_f64().unwrap());
        self.left[at] = self.add(&node["left_child"], position, part);
        self.right[at] = self.add(&node["right_child"], position, part);
        position
    }

    fn to_json(&self, id: usize, n_features: usize) -> Value {
        let n = self.left.len();
        json!({
            "base_weights": vec![0.0; n],
            "categories": [], "categories_nodes": [], "categories_segments": [],
            "categories_sizes": [],
            "default_left": self.default_left,
            "id": id,
            "left_children": self.left,
            "loss_changes": vec![0.0; n],
            "parents": self.parents,
            "right_children": self.right,
            "split_conditions": self.numbers,
            "split_indices": self.features,
            "split_type": vec![0; n],
            "sum_hessian": self.covers,
            "tree_param": {
                "num_deleted": "0",
                "num_feature": n_features.to_string(),
                "num_nodes": n.to_string(),
                "size_leaf_vector": "1",
            },
        })
    }
}

/// The part of a leaf that the parts before leave over.
fn leaf_part(value: f64, part: usize) -> f64 {
    let mut rest = value;
    for _ in 0..part {
        rest -= f64::from(rest as f32);
    }
    f64::from(rest as f32)
}

/// LightGBM's trees as one of our forests.
fn forest(golden: &Value) -> Forest {
    let n_features = golden["cols"].as_array().unwrap().len();
    let mut trees = Vec::new();
    for stored in golden["model_json"]["tree_info"].as_array().unwrap() {
        for part in 0..PARTS {
            let mut tree = Tree::default();
            tree.add(&stored["tree_structure"], 2_147_483_647, part);
            trees.push(tree.to_json(trees.len(), n_features));
        }
    }
    let n = trees.len();
    let model = json!({
        "learner": {
            "attributes": {}, "feature_names": [], "feature_types": [],
            "gradient_booster": {
                "model": {
                    "gbtree_model_param": { "num_parallel_tree": "1", "num_trees": n.to_string() },
                    "iteration_indptr": (0..=n).collect::<Vec<_>>(),
                    "tree_info": vec![0; n],
                    "trees": trees,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": "5E-1", "boost_from_average": "1", "num_class": "0",
                "num_feature": n_features.to_string(), "num_target": "1",
            },
            "objective": {
                "name": "binary:logistic",
                "reg_loss_param": { "scale_pos_weight": "1" },
            },
        },
        "version": [3, 2, 0],
    });
    Forest::from_json(&model.to_string()).unwrap()
}

#[test]
fn contributions_equal_those_of_lightgbm() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let forest = forest(&golden);
    let shap = TreeShap::try_new(&forest).unwrap();
    let numbers = |list: &Value| -> Vec<f64> {
        list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
    };
    let rows = golden["rows"].as_array().unwrap();
    assert!(rows.len() >= 25);
    let mut found = vec![0.0; forest.n_features()];
    for (at, row) in rows.iter().enumerate() {
        let row = numbers(row);
        let raw = golden["raw"][at].as_f64().unwrap();
        let margin = forest.margin(&row);
        assert!((margin - raw).abs() < 1e-9, "row {at}: margin {margin}, LightGBM {raw}");
        shap.contributions(&row, &mut found).unwrap();
        let wanted = numbers(&golden["contrib"][at]);
        let (expected, parts) = wanted.split_last().unwrap();
        assert!((shap.expected_margin() - expected).abs() < 1e-9);
        for (feature, (ours, theirs)) in found.iter().zip(parts).enumerate() {
            assert!((ours - theirs).abs() < 1e-9, "row {at}, {feature}: {ours}, {theirs}");
        }
    }
}
