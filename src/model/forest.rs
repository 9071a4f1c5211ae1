//! Boosted trees: our evaluator of the XGBoost JSON that the trees are stored as.
//!
//! In: XGBoost model JSON and rows of features. Out: margins and predictions in `f64`, and the
//! same JSON again. It deliberately grows no trees, and it refuses what it does not evaluate:
//! categorical splits, several outputs, weighted trees, other boosters and objectives.
//!
//! A split sends a row left when `x < t`, both as `f32`: the trees were grown on `f32` values, so a
//! comparison in `f64` could part a row from its training twin. NaN goes the stored default way.
//! The same sums are found in several ways, bit for bit: by following each path (`margin_plain`,
//! the reference), for many rows by bits (`block.rs`), for one row by tables of ranks (`ranks.rs`)
//! or, where the trees are too large for them, by walking trees in step (`walk.rs`).
//!
//! Leaves are `f32` in the file and are summed in `f64`, tree after tree, starting from the base
//! margin. XGBoost sums in `f32`: its margin differs from ours by the rounding of its own sum (5e-6
//! over 300 trees, 1e-6 on the probability), while ours stays additive enough for exact TreeSHAP.
//!
//! The base score is stored on the scale of the prediction, as XGBoost does, and enters the margin
//! through the link: its logit for a probability, its natural logarithm for a Tweedie mean.

use thiserror::Error;

use super::link::sigmoid;
use crate::dataset::FeatureMatrix;

use block::{BitForest, Lane, ROWS};
use ranks::RankForest;
use walk::StepForest;

mod block;
mod json_v1;
mod ranks;
mod walk;
mod wide;

/// Position that marks a leaf.
const LEAF: u32 = u32::MAX;
/// Bit of [`Node::feature`] that says "missing goes left".
const DEFAULT_LEFT: u32 = 1 << 31;
/// Longest path that is accepted: hostile files could otherwise cost quadratic memory later.
const DEPTH_MAX: usize = 512;

/// What the sum of the leaves means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ForestLink {
    /// The margin is a logit; XGBoost's `binary:logistic`.
    Logistic,
    /// The margin is the logarithm of a mean; XGBoost's `reg:tweedie`.
    Tweedie {
        /// Variance power, in (1, 2).
        power: f64,
    },
}

impl ForestLink {
    /// Prediction for a margin: a probability in [0, 1], or a mean >= 0.
    #[must_use]
    pub fn predict(self, margin: f64) -> f64 {
        match self {
            Self::Logistic => sigmoid(margin),
            Self::Tweedie { .. } => libm::exp(margin),
        }
    }

    /// Margin of a base score, none where it lies outside the range of the prediction.
    fn base_margin(self, base_score: f32) -> Option<f64> {
        let base = f64::from(base_score);
        match self {
            Self::Logistic if base > 0.0 && base < 1.0 => {
                Some(libm::log(base) - libm::log1p(-base))
            }
            Self::Tweedie { .. } if base > 0.0 && base.is_finite() => Some(libm::log(base)),
            _ => None,
        }
    }
}

/// A node of a tree; 16 bytes, so that a cache line holds four.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// Threshold of a split, value of a leaf.
    number: f32,
    /// Feature of a split, with [`DEFAULT_LEFT`].
    feature: u32,
    /// Position of the left child in the forest's nodes, or [`LEAF`].
    left: u32,
    /// Position of the right child.
    right: u32,
}

impl Node {
    pub(super) const fn is_leaf(&self) -> bool {
        self.left == LEAF
    }

    pub(super) const fn feature(&self) -> usize {
        (self.feature & !DEFAULT_LEFT) as usize
    }

    pub(super) const fn children(&self) -> (usize, usize) {
        (self.left as usize, self.right as usize)
    }

    pub(super) fn value(&self) -> f64 {
        f64::from(self.number)
    }

    /// Threshold of a split; a value below it goes left.
    pub(super) const fn threshold(&self) -> f32 {
        self.number
    }

    /// Whether a value goes to the left child.
    #[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
    pub(super) fn goes_left(&self, number: f64) -> bool {
        self.goes_left_f32(number as f32)
    }

    fn goes_left_f32(&self, x: f32) -> bool {
        if x.is_nan() { self.feature & DEFAULT_LEFT != 0 } else { x < self.number }
    }
}

/// Boosted trees with one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    link: ForestLink,
    base_score: f32,
    base_margin: f64,
    n_features: usize,
    nodes: Vec<Node>,
    /// Sum of the Hessians that reached each node (`sum_hessian`), 0 where the file has none.
    covers: Vec<f32>,
    /// Gain of each split (`loss_changes`), 0 for leaves and where the file has none.
    gains: Vec<f32>,
    /// First node of each tree; a tree's nodes are contiguous, its root first.
    roots: Vec<u32>,
    /// The same trees in other forms.
    forms: Forms,
}

/// Trees made ready for evaluation.
#[derive(Debug, Clone, PartialEq, Default)]
struct Forms {
    /// For one row, where the trees are small; else for one row.
    ranks: Option<RankForest>,
    steps: StepForest,
    /// For many rows.
    bits: BitForest,
}

impl Forms {
    fn new(n_features: usize, nodes: &[Node], roots: &[u32]) -> Self {
        let bits = BitForest::new(nodes, roots);
        let ranks = RankForest::try_new(&bits);
        let steps = match ranks {
            Some(_) => StepForest::default(),
            None => StepForest::new(n_features, nodes, roots),
        };
        Self { ranks, steps, bits }
    }
}

/// Rows of a last block that are so few that each is walked by itself.
const FEW_ROWS: usize = 3;

impl Forest {
    /// Reads XGBoost model JSON (`gbtree`, one output, `binary:logistic` or `reg:tweedie`,
    /// numerical splits). Nodes that no path reaches (left behind by pruning) are dropped.
    ///
    /// # Errors
    /// [`ForestError`] says what is malformed or not supported, and where.
    pub fn from_json(text: &str) -> Result<Self, ForestError> {
        json_v1::read(text)
    }

    /// The forest as XGBoost model JSON. Reading it back gives an equal forest, and writing that
    /// gives the same bytes.
    ///
    /// # Errors
    /// [`ForestError::Json`] should the JSON writer fail, which no forest makes it do.
    pub fn to_json(&self) -> Result<String, ForestError> {
        json_v1::write(self)
    }

    /// What the margin means.
    #[must_use]
    pub const fn link(&self) -> ForestLink {
        self.link
    }

    /// Number of features a row must have.
    #[must_use]
    pub const fn n_features(&self) -> usize {
        self.n_features
    }

    /// Number of trees.
    #[must_use]
    pub fn n_trees(&self) -> usize {
        self.roots.len()
    }

    /// Margin before the first tree: the link of the base score.
    #[must_use]
    pub const fn base_margin(&self) -> f64 {
        self.base_margin
    }

    /// Sum of the leaves a row falls into, plus the base margin: a logit or the logarithm of a
    /// mean. NaN if the row has not [`Forest::n_features`] values.
    #[must_use]
    pub fn margin(&self, row: &[f64]) -> f64 {
        if row.len() != self.n_features {
            return f64::NAN;
        }
        match &self.forms.ranks {
            Some(ranks) => ranks.margin(self.base_margin, row),
            None => self.forms.steps.margin(self.base_margin, row),
        }
    }

    /// The same by following each path: what the faster ways are held against, bit for bit.
    #[must_use]
    pub fn margin_plain(&self, row: &[f64]) -> f64 {
        if row.len() != self.n_features {
            return f64::NAN;
        }
        let mut sum = self.base_margin;
        for &root in &self.roots {
            let mut node = &self.nodes[root as usize];
            while !node.is_leaf() {
                let next = if node.goes_left(row[node.feature()]) { node.left } else { node.right };
                node = &self.nodes[next as usize];
            }
            sum += node.value();
        }
        sum
    }

    /// Probability in [0, 1] or mean >= 0; NaN if the row has not [`Forest::n_features`] values.
    #[must_use]
    pub fn predict(&self, row: &[f64]) -> f64 {
        self.link.predict(self.margin(row))
    }

    /// Tells the margin of a row after each tree, from the first on: what a forest of fewer rounds
    /// would say. Tells nothing if the row has not [`Forest::n_features`] values.
    pub fn staged_margins(&self, row: &[f64], mut tell: impl FnMut(usize, f64)) {
        if row.len() != self.n_features {
            return;
        }
        let mut sum = self.base_margin;
        for (tree, &root) in self.roots.iter().enumerate() {
            let mut node = &self.nodes[root as usize];
            while !node.is_leaf() {
                let next = if node.goes_left(row[node.feature()]) { node.left } else { node.right };
                node = &self.nodes[next as usize];
            }
            sum += node.value();
            tell(tree, sum);
        }
    }

    /// The same trees in terms of rows with more columns: feature `i` becomes `features[i]`.
    pub(super) fn widened(mut self, features: &[usize], n_features: usize) -> Self {
        for node in self.nodes.iter_mut().filter(|node| !node.is_leaf()) {
            let wide = features.get(node.feature()).copied().unwrap_or(0);
            // Positions of features came from a u32 and stay below n_features.
            let wide = u32::try_from(wide).unwrap_or(0);
            node.feature = (node.feature & DEFAULT_LEFT) | wide;
        }
        self.n_features = n_features;
        // They name features, too.
        self.forms = Forms::new(n_features, &self.nodes, &self.roots);
        self
    }

    /// Margins of all rows of a matrix, in their order.
    ///
    /// # Errors
    /// [`ForestError::Features`] when the matrix has another number of columns.
    pub fn margins(&self, x: &FeatureMatrix) -> Result<Vec<f64>, ForestError> {
        if x.n_columns() != self.n_features {
            return Err(ForestError::Features { expected: self.n_features, found: x.n_columns() });
        }
        let mut block = vec![[0.0; ROWS]; self.n_features];
        let mut margins = Vec::with_capacity(x.n_rows());
        for first in (0..x.n_rows()).step_by(ROWS) {
            let n_rows = ROWS.min(x.n_rows() - first);
            for (column, lane) in block.iter_mut().enumerate() {
                fill(lane, x.column(column)[first..first + n_rows].iter());
            }
            margins.extend_from_slice(&self.block_margins(&block)[..n_rows]);
        }
        Ok(margins)
    }

    /// Appends the margins of rows that lie one after another.
    ///
    /// # Errors
    /// [`ForestError::Features`] when the values are no whole number of rows.
    pub fn margins_of(&self, rows: &[f64], margins: &mut Vec<f64>) -> Result<(), ForestError> {
        Self::margins_of_all(&mut [(self, margins)], rows)
    }

    /// The same of several forests that take the same rows, for less.
    ///
    /// # Errors
    /// As [`Forest::margins_of`], of the first that does not take them.
    pub(super) fn margins_of_all(
        forests: &mut [(&Self, &mut Vec<f64>)],
        rows: &[f64],
    ) -> Result<(), ForestError> {
        let Some(expected) = forests.first().map(|(forest, _)| forest.n_features) else {
            return Ok(());
        };
        for (forest, _) in &*forests {
            let found =
                if forest.n_features == expected { rows.len() % expected } else { expected };
            if found != 0 {
                return Err(ForestError::Features { expected: forest.n_features, found });
            }
        }
        let mut block = Vec::new();
        for rows in rows.chunks(ROWS * expected) {
            let n_rows = rows.len() / expected;
            if n_rows <= FEW_ROWS {
                for (forest, margins) in &mut *forests {
                    margins.extend(rows.chunks(expected).map(|row| forest.margin(row)));
                }
                continue;
            }
            block.resize(expected, [0.0; ROWS]);
            for (at, row) in rows.chunks(expected).enumerate().take(ROWS) {
                fill_row(&mut block, at % ROWS, row);
            }
            for (forest, margins) in &mut *forests {
                margins.extend_from_slice(&forest.block_margins(&block)[..n_rows]);
            }
        }
        Ok(())
    }

    fn block_margins(&self, block: &[Lane]) -> [f64; ROWS] {
        let mut sums = [self.base_margin; ROWS];
        wide::add_leaves(&self.forms.bits, &self.nodes, block, &mut sums);
        sums
    }

    /// Total gain of the splits on each feature: a rough importance; TreeSHAP explains better.
    #[must_use]
    pub fn gain_by_feature(&self) -> Vec<f64> {
        let mut gains = vec![0.0; self.n_features];
        for (node, &gain) in self.nodes.iter().zip(&self.gains) {
            if !node.is_leaf() {
                gains[node.feature()] += f64::from(gain);
            }
        }
        gains
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn covers(&self) -> &[f32] {
        &self.covers
    }

    pub(super) fn roots(&self) -> &[u32] {
        &self.roots
    }
}

/// Values of one feature as the trees see them.
#[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
fn fill<'x>(lane: &mut Lane, values: impl Iterator<Item = &'x f64>) {
    for (slot, &number) in lane.iter_mut().zip(values) {
        *slot = number as f32;
    }
}

/// Values of one row as the trees see them.
#[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
fn fill_row(block: &mut [Lane], at: usize, row: &[f64]) {
    for (lane, &number) in block.iter_mut().zip(row) {
        lane[at] = number as f32;
    }
}

/// Why trees cannot be read, written or applied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ForestError {
    /// Not JSON, or a field is missing or has another type than XGBoost gives it.
    #[error("not an XGBoost model: {0}")]
    Json(#[from] serde_json::Error),
    /// Something that this evaluator does not do.
    #[error("{what} = {found} is not supported: {wanted} is")]
    Unsupported {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// What is supported.
        wanted: &'static str,
    },
    /// A number stored as text that cannot be used.
    #[error("{what} = \"{found}\" cannot be used: it must be {wanted}")]
    Parameter {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// An array of another length than the tree has nodes.
    #[error("tree {tree}: {what} has {found} values for {expected} nodes")]
    Length {
        /// Position of the tree.
        tree: usize,
        /// Name of the array.
        what: &'static str,
        /// Number of nodes.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// A child that is no node of the tree.
    #[error("tree {tree}, node {node}: child {child} does not exist among {n_nodes} nodes")]
    Child {
        /// Position of the tree.
        tree: usize,
        /// Position of the node.
        node: usize,
        /// Position of the child.
        child: i64,
        /// Number of nodes.
        n_nodes: usize,
    },
    /// A node that can be reached in two ways.
    #[error("tree {tree}, node {node}: it has two parents or lies on a cycle")]
    NotATree {
        /// Position of the tree.
        tree: usize,
        /// Position of the node.
        node: usize,
    },
    /// A path that is too long.
    #[error("tree {tree} is deeper than {limit} splits")]
    Depth {
        /// Position of the tree.
        tree: usize,
        /// The limit.
        limit: usize,
    },
    /// A threshold, leaf, cover or gain that is no finite number.
    #[error("tree {tree}, node {node}: {what} {found} is not a finite number in its range")]
    Number {
        /// Position of the tree.
        tree: usize,
        /// Position of the node.
        node: usize,
        /// Which number.
        what: &'static str,
        /// The number.
        found: f32,
    },
    /// A split on a feature that does not exist.
    #[error("tree {tree}, node {node}: feature {feature} does not exist among {n_features}")]
    Feature {
        /// Position of the tree.
        tree: usize,
        /// Position of the node.
        node: usize,
        /// Position of the feature.
        feature: i64,
        /// Number of features.
        n_features: usize,
    },
    /// A split by category.
    #[error("tree {tree}, node {node}: categorical splits are not supported, encode as numbers")]
    Categorical {
        /// Position of the tree.
        tree: usize,
        /// Position of the node.
        node: usize,
    },
    /// More nodes than positions can count.
    #[error("the trees have more than {limit} nodes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Rows with another number of features than the trees were grown on.
    #[error("the trees take {expected} features, the rows have {found}")]
    Features {
        /// Number of features of the trees.
        expected: usize,
        /// Number of features of the rows.
        found: usize,
    },
}

#[cfg(test)]
mod fast_tests;
#[cfg(test)]
mod tests;
