//! A churn model as an ONNX graph, for programs that are not ours.
//!
//! In: a fitted whole. Out: the bytes of an ONNX model that takes rows of the feature schema (with
//! the buy-till-you-die columns) as 64-bit floats and gives what ours gives: the trees' margin, the
//! regression's and the calibrated log-odds, and the probability of churn. Trees are evaluated in
//! 32 bits, as they were grown, and so is their sum, which ours is not: that is the difference.
//!
//! Only what this graph needs of the format is written: see <https://github.com/onnx/onnx>,
//! `onnx.proto` (operator set 13) and the operator `TreeEnsembleRegressor` of `ai.onnx.ml` 1.

use thiserror::Error;

use super::churn::{ChurnKind, ChurnModel};
use super::columns::{Columns, Input};
use super::fitted::Predictor;
use super::forest::Forest;
use super::linear::Linear;
use super::link::PROB_MIN;

mod wire;

use wire::{Attribute, DOUBLE, FLOAT, Graph};

/// Why a model has no graph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A candidate whose learned part is missing.
    #[error("the model {kind:?} lacks its {part}: there is nothing to export")]
    Part {
        /// The candidate.
        kind: &'static str,
        /// What is missing.
        part: &'static str,
    },
}

/// The churn model of a fitted whole as the bytes of an ONNX model.
///
/// # Errors
/// [`OnnxError::Part`] where a learned part is missing.
pub fn churn_onnx(predictor: &Predictor, version: &str) -> Result<Vec<u8>, OnnxError> {
    let model = &predictor.fitted().churn;
    let mut graph = Graph::new("features", predictor.schema().features().len());
    let log_odds = log_odds(&mut graph, predictor.columns(), model)?;
    graph.node("Identity", &[&log_odds], "log_odds", &[]);
    graph.node("Sigmoid", &["log_odds"], "churn_probability", &[]);
    graph.output("log_odds");
    graph.output("churn_probability");
    let schema = predictor.schema();
    let names: Vec<&str> = schema.features().iter().map(|feature| feature.name).collect();
    Ok(graph.model(&[
        ("model_version", version),
        ("feature_schema", schema.id()),
        ("features", &names.join(",")),
    ]))
}

/// Adds the nodes up to the calibrated log-odds and gives the name of that value.
fn log_odds(graph: &mut Graph, columns: &Columns, model: &ChurnModel) -> Result<String, OnnxError> {
    let lacks = |part| OnnxError::Part { kind: model.kind.as_str(), part };
    let logistic = |graph: &mut Graph| {
        let part = model.parts.logistic.as_ref().ok_or_else(|| lacks("regression"))?;
        Ok(regression(graph, columns, part.linear()))
    };
    let boosted = |graph: &mut Graph| {
        let forest = model.parts.forest.as_ref().ok_or_else(|| lacks("trees"))?;
        trees(graph, forest);
        let closed_form = closed_form(graph, columns);
        graph.node("Add", &[&closed_form, "forest_margin"], "boosted_logit", &[]);
        Ok("boosted_logit".to_owned())
    };
    let raw = match model.kind {
        ChurnKind::BaseRate => {
            // Of the right number of rows: a column times 0 plus the constant.
            let column = graph.column(columns.btyd_churn);
            let finite = graph.finite(&column);
            graph.scaled(&finite, 0.0, model.parts.base_logit)
        }
        ChurnKind::Btyd => closed_form(graph, columns),
        ChurnKind::Logistic => logistic(graph)?,
        ChurnKind::Boosted => boosted(graph)?,
        ChurnKind::Blend => {
            let (first, second) = (logistic(graph)?, boosted(graph)?);
            graph.node("Add", &[&first, &second], "blend_sum", &[]);
            graph.scaled("blend_sum", 0.5, 0.0)
        }
        ChurnKind::Stacked => {
            let [closed, linear, forest] = model.parts.stack.weights();
            let mut sum = closed_form(graph, columns);
            sum = graph.scaled(&sum, closed, 0.0);
            if linear > 0.0 {
                let member = logistic(graph)?;
                let member = graph.scaled(&member, linear, 0.0);
                sum = graph.next("Add", &[&sum, &member]);
            }
            if forest > 0.0 {
                let member = boosted(graph)?;
                let member = graph.scaled(&member, forest, 0.0);
                sum = graph.next("Add", &[&sum, &member]);
            }
            sum
        }
    };
    Ok(graph.scaled(&raw, model.calibration.slope(), model.calibration.intercept()))
}

/// Log-odds of the closed form, which stands in a column.
fn closed_form(graph: &mut Graph, columns: &Columns) -> String {
    let column = graph.column(columns.btyd_churn);
    logit(graph, &column)
}

fn logit(graph: &mut Graph, prob: &str) -> String {
    let low = graph.number(PROB_MIN);
    let high = graph.number(1.0 - PROB_MIN);
    let one = graph.number(1.0);
    let clipped = graph.next("Clip", &[prob, &low, &high]);
    let rest = graph.next("Sub", &[&one, &clipped]);
    let odds = graph.next("Div", &[&clipped, &rest]);
    graph.next("Log", &[&odds])
}

/// Adds a regression on transformed columns as `linear_margin`.
fn regression(graph: &mut Graph, columns: &Columns, line: &Linear) -> String {
    let mut sum = graph.number(line.intercept);
    for (at, (position, input)) in columns.design_inputs().enumerate() {
        let column = graph.column(position);
        let scaled = match input {
            Input::Plain => column.clone(),
            Input::LogPlusOne => {
                let (zero, one) = (graph.number(0.0), graph.number(1.0));
                let least = graph.next("Max", &[&column, &zero]);
                let more = graph.next("Add", &[&least, &one]);
                graph.next("Log", &[&more])
            }
            Input::LogFrom(least) => {
                let least = graph.number(least);
                let least = graph.next("Max", &[&column, &least]);
                graph.next("Log", &[&least])
            }
            Input::Logit => logit(graph, &column),
        };
        // A missing value enters as 0 on the transformed scale.
        let zero = graph.number(0.0);
        let missing = graph.next("IsNaN", &[&column]);
        let filled = graph.next("Where", &[&missing, &zero, &scaled]);
        let term = graph.scaled(&filled, line.slope(at), line.term(at, 0.0));
        sum = graph.next("Add", &[&sum, &term]);
    }
    graph.node("Identity", &[&sum], "linear_margin", &[]);
    graph.output("linear_margin");
    "linear_margin".to_owned()
}

/// Adds the trees as `forest_margin`.
fn trees(graph: &mut Graph, forest: &Forest) {
    let mut list = TreeLists::default();
    for (tree, &root) in forest.roots().iter().enumerate() {
        let end = forest.roots().get(tree + 1).map_or(forest.nodes().len(), |&r| r as usize);
        list.add(forest, tree, root as usize..end);
    }
    #[allow(clippy::cast_possible_truncation, reason = "the format holds 32-bit floats")]
    let base = forest.base_margin() as f32;
    let attributes = [
        Attribute::text("aggregate_function", "SUM"),
        Attribute::text("post_transform", "NONE"),
        Attribute::int("n_targets", 1),
        Attribute::floats("base_values", &[base]),
        Attribute::ints("nodes_treeids", &list.tree_ids),
        Attribute::ints("nodes_nodeids", &list.node_ids),
        Attribute::ints("nodes_featureids", &list.features),
        Attribute::floats("nodes_values", &list.thresholds),
        Attribute::texts("nodes_modes", &list.modes),
        Attribute::ints("nodes_truenodeids", &list.lefts),
        Attribute::ints("nodes_falsenodeids", &list.rights),
        Attribute::ints("nodes_missing_value_tracks_true", &list.missing_left),
        Attribute::ints("target_treeids", &list.leaf_trees),
        Attribute::ints("target_nodeids", &list.leaf_nodes),
        Attribute::ints("target_ids", &vec![0; list.leaf_nodes.len()]),
        Attribute::floats("target_weights", &list.leaf_weights),
    ];
    let input = graph.input().to_owned();
    graph.node("Cast", &[&input], "features_32", &[Attribute::int("to", FLOAT)]);
    graph.node("ai.onnx.ml.TreeEnsembleRegressor", &["features_32"], "sum_32", &attributes);
    graph.node("Cast", &["sum_32"], "forest_margin", &[Attribute::int("to", DOUBLE)]);
    graph.output("forest_margin");
}

/// The trees as the operator wants them: parallel lists.
#[derive(Default)]
struct TreeLists {
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    features: Vec<i64>,
    thresholds: Vec<f32>,
    modes: Vec<&'static str>,
    lefts: Vec<i64>,
    rights: Vec<i64>,
    missing_left: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_weights: Vec<f32>,
}

impl TreeLists {
    fn add(&mut self, forest: &Forest, tree: usize, nodes: std::ops::Range<usize>) {
        let int = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let first = nodes.start;
        for position in nodes {
            let node = &forest.nodes()[position];
            self.tree_ids.push(int(tree));
            self.node_ids.push(int(position - first));
            if node.is_leaf() {
                self.features.push(0);
                self.thresholds.push(0.0);
                self.modes.push("LEAF");
                self.lefts.push(0);
                self.rights.push(0);
                self.missing_left.push(0);
                self.leaf_trees.push(int(tree));
                self.leaf_nodes.push(int(position - first));
                self.leaf_weights.push(node.threshold());
            } else {
                let (left, right) = node.children();
                self.features.push(int(node.feature()));
                self.thresholds.push(node.threshold());
                self.modes.push("BRANCH_LT");
                self.lefts.push(int(left - first));
                self.rights.push(int(right - first));
                self.missing_left.push(i64::from(node.goes_left(f64::NAN)));
            }
        }
    }
}
