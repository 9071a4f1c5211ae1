//! XGBoost's model JSON to [`Forest`] and back.
//!
//! In: text of unknown origin. Out: nodes that a traversal can follow without checks of its own:
//! children exist, every path ends in a leaf, features exist, numbers are finite.
//! It deliberately ignores fields that do not change predictions (attributes, names, parents).

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use super::{DEFAULT_LEFT, DEPTH_MAX, Forest, ForestError, ForestLink, Forms, LEAF, Node};

/// Nodes a forest may have: about a gigabyte in memory, far beyond what is useful.
const NODES_MAX: usize = 50_000_000;
/// Features a forest may have: the two highest bits of a position are not used.
const FEATURES_MAX: usize = 1 << 24;
/// The version of XGBoost's schema that the written files follow.
const SCHEMA_VERSION: [u32; 3] = [3, 0, 0];
/// XGBoost's mark for "no parent".
const NO_PARENT: i64 = i32::MAX as i64;

#[derive(Debug, Serialize, Deserialize)]
struct ModelV1 {
    learner: LearnerV1,
    #[serde(default)]
    version: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LearnerV1 {
    #[serde(default)]
    attributes: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    feature_names: Vec<String>,
    #[serde(default)]
    feature_types: Vec<String>,
    gradient_booster: BoosterV1,
    learner_model_param: LearnerParamV1,
    objective: ObjectiveV1,
}

#[derive(Debug, Serialize, Deserialize)]
struct BoosterV1 {
    model: TreesV1,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct TreesV1 {
    gbtree_model_param: TreesParamV1,
    #[serde(default)]
    iteration_indptr: Vec<usize>,
    #[serde(default)]
    tree_info: Vec<i64>,
    trees: Vec<TreeV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight_drop: Option<Vec<f32>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TreesParamV1 {
    #[serde(default = "one_text")]
    num_parallel_tree: String,
    num_trees: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct LearnerParamV1 {
    base_score: String,
    #[serde(default = "zero_text")]
    boost_from_average: String,
    #[serde(default = "zero_text")]
    num_class: String,
    num_feature: String,
    #[serde(default = "one_text")]
    num_target: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ObjectiveV1 {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reg_loss_param: Option<RegLossV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tweedie_regression_param: Option<TweedieV1>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RegLossV1 {
    #[serde(default = "one_text")]
    scale_pos_weight: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct TweedieV1 {
    tweedie_variance_power: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct TreeV1 {
    base_weights: Vec<f32>,
    #[serde(default)]
    categories: Vec<i64>,
    #[serde(default)]
    categories_nodes: Vec<i64>,
    #[serde(default)]
    categories_segments: Vec<i64>,
    #[serde(default)]
    categories_sizes: Vec<i64>,
    #[serde(deserialize_with = "flags")]
    default_left: Vec<u8>,
    #[serde(default)]
    id: usize,
    left_children: Vec<i64>,
    #[serde(default)]
    loss_changes: Vec<f32>,
    #[serde(default)]
    parents: Vec<i64>,
    right_children: Vec<i64>,
    split_conditions: Vec<f32>,
    split_indices: Vec<i64>,
    #[serde(default, deserialize_with = "flags")]
    split_type: Vec<u8>,
    #[serde(default)]
    sum_hessian: Vec<f32>,
    tree_param: TreeParamV1,
}

#[derive(Debug, Serialize, Deserialize)]
struct TreeParamV1 {
    #[serde(default = "zero_text")]
    num_deleted: String,
    num_feature: String,
    num_nodes: String,
    #[serde(default = "zero_text")]
    size_leaf_vector: String,
}

fn zero_text() -> String {
    "0".to_owned()
}

fn one_text() -> String {
    "1".to_owned()
}

/// Flags are written as 0 and 1 by newer versions of XGBoost and as booleans by older ones.
fn flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(u8),
    }
    let found: Vec<Flag> = Vec::deserialize(deserializer)?;
    Ok(found
        .into_iter()
        .map(|flag| match flag {
            Flag::Bool(flag) => u8::from(flag),
            Flag::Number(number) => number,
        })
        .collect())
}

pub(super) fn read(text: &str) -> Result<Forest, ForestError> {
    let model: ModelV1 = serde_json::from_str(text)?;
    let LearnerV1 { gradient_booster, learner_model_param, objective, .. } = model.learner;
    check_layout(&gradient_booster, &learner_model_param)?;
    let link = link(&objective)?;
    let n_features = count("num_feature", &learner_model_param.num_feature)?;
    if n_features == 0 || n_features > FEATURES_MAX {
        return Err(unusable("num_feature", &learner_model_param.num_feature, "in 1..=2^24"));
    }
    let base_score = base_score(&learner_model_param.base_score)?;
    let base_margin = link.base_margin(base_score).ok_or_else(|| {
        unusable("base_score", &learner_model_param.base_score, "a prediction of the objective")
    })?;
    let mut forest = Forest {
        link,
        base_score,
        base_margin,
        n_features,
        nodes: Vec::new(),
        covers: Vec::new(),
        gains: Vec::new(),
        roots: Vec::new(),
        forms: Forms::default(),
    };
    for (idx, tree) in gradient_booster.model.trees.iter().enumerate() {
        add_tree(&mut forest, idx, tree)?;
    }
    forest.forms = Forms::new(n_features, &forest.nodes, &forest.roots);
    Ok(forest)
}

fn unsupported(what: &'static str, found: &str, wanted: &'static str) -> ForestError {
    ForestError::Unsupported { what, found: found.to_owned(), wanted }
}

fn unusable(what: &'static str, found: &str, wanted: &'static str) -> ForestError {
    ForestError::Parameter { what, found: found.to_owned(), wanted }
}

fn count(what: &'static str, found: &str) -> Result<usize, ForestError> {
    found.trim().parse().map_err(|_| unusable(what, found, "a whole number"))
}

/// One number, or XGBoost 3's vector of one number: `5E-1`, `[5E-1]`.
fn base_score(found: &str) -> Result<f32, ForestError> {
    let inner = found.trim();
    let inner = inner.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(inner);
    inner.trim().parse().map_err(|_| unusable("base_score", found, "one number"))
}

fn check_layout(booster: &BoosterV1, param: &LearnerParamV1) -> Result<(), ForestError> {
    if booster.name != "gbtree" {
        return Err(unsupported("gradient_booster", &booster.name, "gbtree"));
    }
    if booster.model.weight_drop.is_some() {
        return Err(unsupported("weight_drop", "(weights)", "a booster without tree weights"));
    }
    if count("num_class", &param.num_class)? > 1 {
        return Err(unsupported("num_class", &param.num_class, "one output"));
    }
    if count("num_target", &param.num_target)? > 1 {
        return Err(unsupported("num_target", &param.num_target, "one output"));
    }
    let n_trees = count("num_trees", &booster.model.gbtree_model_param.num_trees)?;
    if n_trees != booster.model.trees.len() {
        let found = &booster.model.gbtree_model_param.num_trees;
        return Err(unusable("num_trees", found, "the number of trees in the file"));
    }
    if let Some(group) = booster.model.tree_info.iter().find(|&&group| group != 0) {
        return Err(unsupported("tree_info", &group.to_string(), "one output group, 0"));
    }
    Ok(())
}

fn link(objective: &ObjectiveV1) -> Result<ForestLink, ForestError> {
    match objective.name.as_str() {
        "binary:logistic" => Ok(ForestLink::Logistic),
        "reg:tweedie" => {
            let found = objective
                .tweedie_regression_param
                .as_ref()
                .map_or("1.5", |param| param.tweedie_variance_power.as_str());
            let power: f64 = found.trim().parse().unwrap_or(f64::NAN);
            if power > 1.0 && power < 2.0 {
                Ok(ForestLink::Tweedie { power })
            } else {
                Err(unusable("tweedie_variance_power", found, "between 1 and 2"))
            }
        }
        other => Err(unsupported("objective", other, "binary:logistic or reg:tweedie")),
    }
}

/// Appends the nodes that can be reached, in the order of their positions, the root first.
fn add_tree(forest: &mut Forest, idx: usize, tree: &TreeV1) -> Result<(), ForestError> {
    check_tree(forest, idx, tree)?;
    let reached = reachable(idx, tree)?;
    let offset = forest.nodes.len();
    if offset + reached.len() > NODES_MAX {
        return Err(ForestError::TooLarge { limit: NODES_MAX });
    }
    // New position of every old one; NODES_MAX keeps them within u32.
    let mut position = vec![LEAF; tree.left_children.len()];
    for (new, &old) in reached.iter().enumerate() {
        position[old] = to_u32(offset + new);
    }
    forest.roots.push(to_u32(offset));
    for &old in &reached {
        let is_leaf = tree.left_children[old] < 0;
        let child = |child: i64| usize::try_from(child).map_or(LEAF, |c| position[c]);
        let node = if is_leaf {
            Node { number: tree.split_conditions[old], feature: 0, left: LEAF, right: LEAF }
        } else {
            Node {
                number: tree.split_conditions[old],
                feature: split_feature(forest.n_features, idx, old, tree)?,
                left: child(tree.left_children[old]),
                right: child(tree.right_children[old]),
            }
        };
        if !node.number.is_finite() {
            let (found, what) = (node.number, if is_leaf { "leaf" } else { "threshold" });
            return Err(ForestError::Number { tree: idx, node: old, what, found });
        }
        forest.nodes.push(node);
        forest.covers.push(statistic(&tree.sum_hessian, "sum_hessian", idx, old)?);
        let gain = statistic(&tree.loss_changes, "loss_changes", idx, old)?;
        forest.gains.push(if is_leaf { 0.0 } else { gain });
    }
    Ok(())
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(LEAF)
}

fn statistic(
    list: &[f32],
    what: &'static str,
    tree: usize,
    node: usize,
) -> Result<f32, ForestError> {
    let found = list.get(node).copied().unwrap_or(0.0);
    if found.is_finite() && found >= 0.0 {
        Ok(found)
    } else {
        Err(ForestError::Number { tree, node, what, found })
    }
}

fn check_tree(forest: &Forest, idx: usize, tree: &TreeV1) -> Result<(), ForestError> {
    let n = tree.left_children.len();
    let length = |what, found, optional: bool| {
        if found == n || (optional && found == 0) {
            Ok(())
        } else {
            Err(ForestError::Length { tree: idx, what, expected: n, found })
        }
    };
    if n == 0 {
        return Err(ForestError::Length {
            tree: idx,
            what: "left_children",
            expected: 1,
            found: 0,
        });
    }
    length("right_children", tree.right_children.len(), false)?;
    length("split_indices", tree.split_indices.len(), false)?;
    length("split_conditions", tree.split_conditions.len(), false)?;
    length("default_left", tree.default_left.len(), false)?;
    length("split_type", tree.split_type.len(), true)?;
    length("sum_hessian", tree.sum_hessian.len(), true)?;
    length("loss_changes", tree.loss_changes.len(), true)?;
    if count("tree_param.num_nodes", &tree.tree_param.num_nodes)? != n {
        let found = &tree.tree_param.num_nodes;
        return Err(unusable("tree_param.num_nodes", found, "the number of nodes in the file"));
    }
    let n_features = count("tree_param.num_feature", &tree.tree_param.num_feature)?;
    if n_features != forest.n_features {
        return Err(ForestError::Features { expected: forest.n_features, found: n_features });
    }
    if count("size_leaf_vector", &tree.tree_param.size_leaf_vector)? > 1 {
        let found = &tree.tree_param.size_leaf_vector;
        return Err(unsupported("size_leaf_vector", found, "one output"));
    }
    if let Some(node) = tree.split_type.iter().position(|&kind| kind != 0) {
        return Err(ForestError::Categorical { tree: idx, node });
    }
    if let Some(&node) = tree.categories_nodes.first() {
        return Err(ForestError::Categorical {
            tree: idx,
            node: usize::try_from(node).unwrap_or(0),
        });
    }
    Ok(())
}

fn split_feature(
    n_features: usize,
    tree: usize,
    node: usize,
    stored: &TreeV1,
) -> Result<u32, ForestError> {
    let found = stored.split_indices[node];
    let missing = ForestError::Feature { tree, node, feature: found, n_features };
    let feature = u32::try_from(found).map_err(|_| missing)?;
    if (feature as usize) >= n_features {
        return Err(ForestError::Feature { tree, node, feature: found, n_features });
    }
    Ok(if stored.default_left[node] == 0 { feature } else { feature | DEFAULT_LEFT })
}

/// Positions of the nodes on a path from the root, ascending. Proves that the links form a tree.
fn reachable(idx: usize, tree: &TreeV1) -> Result<Vec<usize>, ForestError> {
    let n_nodes = tree.left_children.len();
    let mut seen = vec![false; n_nodes];
    let mut open = vec![(0_usize, 0_usize)];
    while let Some((node, depth)) = open.pop() {
        if seen[node] {
            return Err(ForestError::NotATree { tree: idx, node });
        }
        if depth > DEPTH_MAX {
            return Err(ForestError::Depth { tree: idx, limit: DEPTH_MAX });
        }
        seen[node] = true;
        if tree.left_children[node] == -1 {
            continue;
        }
        for child in [tree.left_children[node], tree.right_children[node]] {
            match usize::try_from(child) {
                Ok(position) if position < n_nodes => open.push((position, depth + 1)),
                _ => return Err(ForestError::Child { tree: idx, node, child, n_nodes }),
            }
        }
    }
    Ok((0..n_nodes).filter(|&node| seen[node]).collect())
}

pub(super) fn write(forest: &Forest) -> Result<String, ForestError> {
    let n_trees = forest.roots.len();
    let trees = (0..n_trees).map(|idx| tree_v1(forest, idx)).collect();
    let tweedie_regression_param = match forest.link {
        ForestLink::Logistic => None,
        ForestLink::Tweedie { power } => {
            Some(TweedieV1 { tweedie_variance_power: power.to_string() })
        }
    };
    let (name, reg_loss_param) = match forest.link {
        ForestLink::Logistic => {
            ("binary:logistic", Some(RegLossV1 { scale_pos_weight: one_text() }))
        }
        ForestLink::Tweedie { .. } => ("reg:tweedie", None),
    };
    let model = ModelV1 {
        learner: LearnerV1 {
            attributes: serde_json::Map::new(),
            feature_names: Vec::new(),
            feature_types: Vec::new(),
            gradient_booster: BoosterV1 {
                model: TreesV1 {
                    gbtree_model_param: TreesParamV1 {
                        num_parallel_tree: one_text(),
                        num_trees: n_trees.to_string(),
                    },
                    iteration_indptr: (0..=n_trees).collect(),
                    tree_info: vec![0; n_trees],
                    trees,
                    weight_drop: None,
                },
                name: "gbtree".to_owned(),
            },
            learner_model_param: LearnerParamV1 {
                base_score: format!("[{:e}]", forest.base_score),
                boost_from_average: zero_text(),
                num_class: zero_text(),
                num_feature: forest.n_features.to_string(),
                num_target: one_text(),
            },
            objective: ObjectiveV1 {
                name: name.to_owned(),
                reg_loss_param,
                tweedie_regression_param,
            },
        },
        version: SCHEMA_VERSION.to_vec(),
    };
    Ok(serde_json::to_string(&model)?)
}

fn tree_v1(forest: &Forest, idx: usize) -> TreeV1 {
    let start = forest.roots[idx] as usize;
    let end = forest.roots.get(idx + 1).map_or(forest.nodes.len(), |&next| next as usize);
    let nodes = &forest.nodes[start..end];
    let local = |position: u32| i64::from(position) - i64::from(forest.roots[idx]);
    let mut parents = vec![NO_PARENT; nodes.len()];
    for (parent, node) in (0_i64..).zip(nodes) {
        if !node.is_leaf() {
            let (left, right) = node.children();
            parents[left - start] = parent;
            parents[right - start] = parent;
        }
    }
    let child = |node: &Node, position| if node.is_leaf() { -1 } else { local(position) };
    TreeV1 {
        // A leaf's value stands in both arrays; the weight of a split is not used to predict.
        base_weights: nodes.iter().map(|n| if n.is_leaf() { n.number } else { 0.0 }).collect(),
        categories: Vec::new(),
        categories_nodes: Vec::new(),
        categories_segments: Vec::new(),
        categories_sizes: Vec::new(),
        default_left: nodes.iter().map(|n| u8::from(n.feature & DEFAULT_LEFT != 0)).collect(),
        id: idx,
        left_children: nodes.iter().map(|n| child(n, n.left)).collect(),
        loss_changes: forest.gains[start..end].to_vec(),
        parents,
        right_children: nodes.iter().map(|n| child(n, n.right)).collect(),
        split_conditions: nodes.iter().map(|n| n.number).collect(),
        split_indices: nodes
            .iter()
            .map(|n| if n.is_leaf() { 0 } else { i64::from(n.feature & !DEFAULT_LEFT) })
            .collect(),
        split_type: vec![0; nodes.len()],
        sum_hessian: forest.covers[start..end].to_vec(),
        tree_param: TreeParamV1 {
            num_deleted: zero_text(),
            num_feature: forest.n_features.to_string(),
            num_nodes: nodes.len().to_string(),
            size_leaf_vector: "1".to_owned(),
        },
    }
}
