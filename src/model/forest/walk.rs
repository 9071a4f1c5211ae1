//! One row: several trees are walked in step, so that the processor need not wait for one.
//!
//! In: the nodes of a forest, once; then rows. Out: the sum of the leaves, tree after tree, bit
//! for bit that of the plain traversal. It deliberately knows no link and no block of rows.
//!
//! A step is arithmetic and no branch: the right child lies beside the left one, a leaf leads to
//! itself, and a missing value is an infinity that goes the stored way. Only the number of steps
//! is decided, once for the deepest of the trees that walk together.

use super::{DEFAULT_LEFT, Node};

/// Trees that walk together.
const TREES: usize = 8;
/// Trees whose leaves are held before they are added; among them trees of like depth walk together.
const WINDOW: usize = 256;
/// Rows of at most so many features need no memory of their own.
const STACK_FEATURES: usize = 255;
/// Places of a row of [`STACK_FEATURES`].
const STACK_SLOTS: usize = 2 * STACK_FEATURES + 1;

/// A node; 16 bytes, so that a cache line holds four.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    threshold: f32,
    /// Where the value lies among the slots.
    slot: u32,
    /// Left child; the right one comes next. A leaf's is itself.
    left: u32,
    leaf: f32,
}

/// A tree in the order of its walk.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Start {
    root: u32,
    /// Steps to its deepest leaf.
    depth: u32,
    /// Its place in its window.
    place: usize,
}

/// A forest as steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct StepForest {
    n_features: usize,
    steps: Vec<Step>,
    /// Trees, window after window, ascending by depth inside of each.
    starts: Vec<Start>,
}

impl StepForest {
    /// Prepares the trees whose nodes begin at `roots`.
    pub(super) fn new(n_features: usize, nodes: &[Node], roots: &[u32]) -> Self {
        let mut forest =
            Self { n_features, steps: Vec::with_capacity(nodes.len()), starts: Vec::new() };
        for (idx, &root) in roots.iter().enumerate() {
            let start = forest.add(nodes, root, idx % WINDOW);
            forest.starts.push(start);
        }
        for window in forest.starts.chunks_mut(WINDOW) {
            window.sort_by_key(|start| start.depth);
        }
        forest
    }

    /// Appends a tree, level after level.
    fn add(&mut self, nodes: &[Node], root: u32, place: usize) -> Start {
        let first = self.steps.len();
        let (mut level, mut depth) = (vec![root], 0);
        loop {
            let mut below = Vec::new();
            // The children of this level come right after it.
            let children = self.steps.len() + level.len();
            for &position in &level {
                let node = &nodes[position as usize];
                let step = self.step(node, children + below.len());
                self.steps.push(step);
                if !node.is_leaf() {
                    below.extend([node.left, node.right]);
                }
            }
            if below.is_empty() {
                return Start { root: to_u32(first), depth, place };
            }
            (level, depth) = (below, depth + 1);
        }
    }

    fn step(&self, node: &Node, left: usize) -> Step {
        let n_features = to_u32(self.n_features);
        let feature = node.feature & !DEFAULT_LEFT;
        if node.is_leaf() {
            // The last slot is below every number, so a leaf always leads "left", to itself.
            let own = to_u32(self.steps.len());
            return Step { threshold: 0.0, slot: 2 * n_features, left: own, leaf: node.number };
        }
        let missing_left = node.feature & DEFAULT_LEFT != 0;
        let slot = if missing_left { feature } else { n_features + feature };
        Step { threshold: node.number, slot, left: to_u32(left), leaf: 0.0 }
    }

    /// The base margin plus the leaves of a row, which has as many values as there are features.
    pub(super) fn margin(&self, base_margin: f64, row: &[f64]) -> f64 {
        if self.n_features <= STACK_FEATURES {
            return self.walk(base_margin, row, &mut [0.0; STACK_SLOTS]);
        }
        self.walk(base_margin, row, &mut vec![0.0; 2 * self.n_features + 1])
    }

    fn walk(&self, base_margin: f64, row: &[f64], slots: &mut [f32]) -> f64 {
        fill(slots, row);
        let mut sum = base_margin;
        for window in self.starts.chunks(WINDOW) {
            let mut leaves = [0.0_f32; WINDOW];
            for trees in window.chunks(TREES) {
                let mut at = [0_u32; TREES];
                for (at, start) in at.iter_mut().zip(trees) {
                    *at = start.root;
                }
                for _ in 0..trees.last().map_or(0, |start| start.depth) {
                    for at in &mut at {
                        let step = &self.steps[*at as usize];
                        let goes_left = slots[step.slot as usize] < step.threshold;
                        *at = step.left + u32::from(!goes_left);
                    }
                }
                for (&at, start) in at.iter().zip(trees) {
                    leaves[start.place] = self.steps[at as usize].leaf;
                }
            }
            for &leaf in &leaves[..window.len()] {
                sum += f64::from(leaf);
            }
        }
        sum
    }
}

/// The row as trees see it: once with missing values that go left, once with those that go right,
/// then a number that always goes left.
#[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
fn fill(slots: &mut [f32], row: &[f64]) {
    let n = row.len();
    let (left, right) = slots.split_at_mut(n);
    for ((left, right), &number) in left.iter_mut().zip(right.iter_mut()).zip(row) {
        let x = number as f32;
        *left = if x.is_nan() { f32::NEG_INFINITY } else { x };
        *right = if x.is_nan() { f32::INFINITY } else { x };
    }
    slots[2 * n] = f32::NEG_INFINITY;
}

/// Positions are below the limit of nodes, and features below that of features.
fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
