//! Many rows at once: the leaf of a row is found by bits, without following a path.
//!
//! In: the nodes of a forest, once; then blocks of 32 rows, as `f32`, by feature. Out: the leaves
//! added to the sum of each row, tree after tree, so that the sums are those of the plain
//! traversal, bit for bit. It deliberately knows no link and no row that is not part of a block.
//!
//! Leaves are numbered from left to right. A split that sends a row right takes away the leaves of
//! its left side; the first leaf that is left at the end is the row's. Every split of a tree is
//! looked at, but for all rows of a block in the same few instructions, and no branch depends on a
//! row. Lucchese et al. (2015), "QuickScorer: A fast algorithm to rank documents with additive
//! ensembles of regression trees".

use super::ranks::RankedSplit;
use super::{DEFAULT_LEFT, Node};

/// Rows of a block.
pub(super) const ROWS: usize = 32;
/// Leaves that one word of bits stands for.
const WORD_LEAVES: usize = 32;

/// The values of one feature in the rows of a block.
pub(super) type Lane = [f32; ROWS];

/// A split: where a row goes right, these leaves are taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    threshold: f32,
    feature: u32,
    /// Bits of the leaves below the left child, lowest word first.
    cleared: [u32; 2],
}

/// How a tree is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// At most 32 leaves.
    OneWord,
    /// At most 64 leaves.
    TwoWords,
    /// More leaves: the path is followed.
    Path,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Tree {
    form: Form,
    /// Its splits: first those where a missing value goes right, then, from `missing_left` on,
    /// those where it goes left.
    first: usize,
    missing_left: usize,
    end: usize,
    /// First of its leaves; for [`Form::Path`] the root among the nodes.
    leaf: usize,
}

/// A forest as bits.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct BitForest {
    trees: Vec<Tree>,
    splits: Vec<Split>,
    /// Leaves of each tree, filled up to whole words.
    leaves: Vec<f32>,
}

impl BitForest {
    /// Prepares the trees whose nodes begin at `roots`.
    pub(super) fn new(nodes: &[Node], roots: &[u32]) -> Self {
        let mut bits = Self::default();
        for (idx, &root) in roots.iter().enumerate() {
            let root = root as usize;
            let end = roots.get(idx + 1).map_or(nodes.len(), |&next| next as usize);
            // A tree of two-way splits has one leaf more than it has splits.
            let n_leaves = (end - root).div_ceil(2);
            bits.add(nodes, root, n_leaves);
        }
        bits
    }

    fn add(&mut self, nodes: &[Node], root: usize, n_leaves: usize) {
        let first = self.splits.len();
        if n_leaves > 2 * WORD_LEAVES {
            let tree =
                Tree { form: Form::Path, first, missing_left: first, end: first, leaf: root };
            self.trees.push(tree);
            return;
        }
        let mut cut = Cut { leaf: self.leaves.len(), missing_right: vec![], missing_left: vec![] };
        cut.below(nodes, root, &mut self.leaves);
        let Cut { leaf, missing_right, missing_left } = cut;
        self.splits.extend(missing_right);
        let middle = self.splits.len();
        self.splits.extend(missing_left);
        let form = if n_leaves <= WORD_LEAVES { Form::OneWord } else { Form::TwoWords };
        let n_words = if form == Form::OneWord { 1 } else { 2 };
        self.leaves.resize(leaf + n_words * WORD_LEAVES, 0.0);
        let end = self.splits.len();
        self.trees.push(Tree { form, first, missing_left: middle, end, leaf });
    }

    /// The leaves of each tree from left to right; none where one has more than 32.
    pub(super) fn small_trees(&self) -> Option<Vec<&[f32]>> {
        let leaves_of = |tree: &Tree| match tree.form {
            Form::OneWord => self.leaves.get(tree.leaf..=tree.leaf + (tree.end - tree.first)),
            Form::TwoWords | Form::Path => None,
        };
        self.trees.iter().map(leaves_of).collect()
    }

    /// All splits of [`BitForest::small_trees`].
    pub(super) fn ranked_splits(&self) -> Vec<RankedSplit> {
        let mut all = Vec::with_capacity(self.splits.len());
        for (tree, held) in (0..).zip(&self.trees) {
            for at in held.first..held.end {
                let split = self.splits[at];
                all.push(RankedSplit {
                    feature: split.feature as usize,
                    threshold: split.threshold,
                    missing_left: at >= held.missing_left,
                    tree,
                    cleared: split.cleared[0],
                });
            }
        }
        all
    }

    /// Adds the leaves of all trees to the sums of the rows of a block, one lane a feature.
    // Inlined, so that a caller compiled for wider registers gets a body of its own.
    #[inline(always)]
    pub(super) fn add_leaves(&self, nodes: &[Node], block: &[Lane], sums: &mut [f64; ROWS]) {
        for tree in &self.trees {
            let right = self.splits.get(tree.first..tree.missing_left).unwrap_or_default();
            let left = self.splits.get(tree.missing_left..tree.end).unwrap_or_default();
            let leaves = self.leaves.get(tree.leaf..).unwrap_or_default();
            match tree.form {
                Form::OneWord => {
                    let Some(leaves) = leaves.first_chunk() else { continue };
                    add_one_word(right, left, block, leaves, sums);
                }
                Form::TwoWords => {
                    let Some(leaves) = leaves.first_chunk() else { continue };
                    add_two_words(right, left, block, leaves, sums);
                }
                Form::Path => add_path(nodes, tree.leaf, block, sums),
            }
        }
    }
}

/// All ones where a value goes right and a missing one, too.
#[inline(always)]
fn unless_below(x: f32, threshold: f32) -> u32 {
    u32::from(x < threshold).wrapping_sub(1)
}

/// All ones where a value goes right and a missing one does not.
#[inline(always)]
fn from_threshold(x: f32, threshold: f32) -> u32 {
    u32::from(x >= threshold).wrapping_neg()
}

#[inline(always)]
fn add_one_word(
    right: &[Split],
    left: &[Split],
    block: &[Lane],
    leaves: &[f32; WORD_LEAVES],
    sums: &mut [f64; ROWS],
) {
    let mut gone = [0_u32; ROWS];
    for split in right {
        let Some(lane) = block.get(split.feature as usize) else { continue };
        for (gone, &x) in gone.iter_mut().zip(lane) {
            *gone |= split.cleared[0] & unless_below(x, split.threshold);
        }
    }
    for split in left {
        let Some(lane) = block.get(split.feature as usize) else { continue };
        for (gone, &x) in gone.iter_mut().zip(lane) {
            *gone |= split.cleared[0] & from_threshold(x, split.threshold);
        }
    }
    for (sum, gone) in sums.iter_mut().zip(gone) {
        // The last leaf is never taken away, so that the mask of the position changes nothing.
        *sum += f64::from(leaves[gone.trailing_ones() as usize & (WORD_LEAVES - 1)]);
    }
}

#[inline(always)]
fn add_two_words(
    right: &[Split],
    left: &[Split],
    block: &[Lane],
    leaves: &[f32; 2 * WORD_LEAVES],
    sums: &mut [f64; ROWS],
) {
    let (mut low, mut high) = ([0_u32; ROWS], [0_u32; ROWS]);
    for split in right {
        let Some(lane) = block.get(split.feature as usize) else { continue };
        for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(lane) {
            let goes = unless_below(x, split.threshold);
            *low |= split.cleared[0] & goes;
            *high |= split.cleared[1] & goes;
        }
    }
    for split in left {
        let Some(lane) = block.get(split.feature as usize) else { continue };
        for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(lane) {
            let goes = from_threshold(x, split.threshold);
            *low |= split.cleared[0] & goes;
            *high |= split.cleared[1] & goes;
        }
    }
    for ((sum, low), high) in sums.iter_mut().zip(low).zip(high) {
        let gone = u64::from(high) << 32 | u64::from(low);
        *sum += f64::from(leaves[gone.trailing_ones() as usize & (2 * WORD_LEAVES - 1)]);
    }
}

#[inline(never)]
fn add_path(nodes: &[Node], root: usize, block: &[Lane], sums: &mut [f64; ROWS]) {
    for (row, sum) in sums.iter_mut().enumerate() {
        let mut node = &nodes[root];
        while !node.is_leaf() {
            let left = node.goes_left_f32(block[node.feature()][row]);
            node = &nodes[if left { node.left } else { node.right } as usize];
        }
        *sum += node.value();
    }
}

/// A tree on its way to bits.
struct Cut {
    /// First of its leaves.
    leaf: usize,
    missing_right: Vec<Split>,
    missing_left: Vec<Split>,
}

impl Cut {
    /// Numbers the leaves below a node and gives their bits. The tree has at most 64 leaves, so it
    /// is at most 63 splits deep.
    fn below(&mut self, nodes: &[Node], position: usize, leaves: &mut Vec<f32>) -> u64 {
        let node = &nodes[position];
        if node.is_leaf() {
            leaves.push(node.number);
            return 1 << (leaves.len() - 1 - self.leaf);
        }
        let (left, right) = node.children();
        let left = self.below(nodes, left, leaves);
        let right = self.below(nodes, right, leaves);
        #[allow(clippy::cast_possible_truncation, reason = "the two halves of the word")]
        let cleared = [left as u32, (left >> 32) as u32];
        let feature = node.feature & !DEFAULT_LEFT;
        let split = Split { threshold: node.number, feature, cleared };
        if node.feature & DEFAULT_LEFT == 0 {
            self.missing_right.push(split);
        } else {
            self.missing_left.push(split);
        }
        left | right
    }
}
