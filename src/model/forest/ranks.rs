//! One row of a forest of small trees: what each feature takes away is looked up.
//!
//! In: a forest as bits, once; then rows. Out: the sum of the leaves, tree after tree, bit for bit
//! that of the plain traversal. It deliberately knows no link, and it is not made for forests of
//! very many or large trees, whose tables would not stay in the cache.
//!
//! The thresholds of a feature in ascending order are passed one by one as its value grows, and
//! each takes leaves away from a tree. So a value's rank among them says which leaves of all trees
//! are gone by this feature: one row of a table, of which every few are kept and the thresholds in
//! between are added one by one. What all features leave over is the leaf of each tree.

use std::ops::BitOrAssign;

use super::block::BitForest;

/// Trees that are held at once.
const TREES_MAX: usize = 512;
/// Features with splits.
const FEATURES_MAX: usize = 256;
/// Size of a table that stays in the cache beside others, bytes.
const TABLE_BYTES_MAX: usize = 384 << 10;
/// Thresholds between two rows of a table, at most.
const STRIDE_MAX: usize = 64;
/// Trees that are worked on in registers.
const LANES: usize = 32;

/// The leaves of a tree as bits.
trait Word: Copy + Default + BitOrAssign + Into<u32> + PartialEq {
    /// Leaves that it stands for.
    const LEAVES: usize;

    /// The lowest bits.
    fn of(bits: u32) -> Self;
}

impl Word for u8 {
    const LEAVES: usize = 8;

    #[allow(clippy::cast_possible_truncation, reason = "only trees of at most 8 leaves have these")]
    fn of(bits: u32) -> Self {
        bits as Self
    }
}

impl Word for u32 {
    const LEAVES: usize = 32;

    fn of(bits: u32) -> Self {
        bits
    }
}

/// A feature's part of the lists.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Feature {
    feature: usize,
    /// Its first threshold, and how many there are.
    first: usize,
    n: usize,
    /// Its first row of the table; the one after those by rank is that of a missing value.
    row: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Ranks<W> {
    n_trees: usize,
    /// Trees, filled up to whole registers.
    n_lanes: usize,
    /// Thresholds between two rows of the table.
    stride: usize,
    features: Vec<Feature>,
    /// Ascending for each feature.
    thresholds: Vec<f32>,
    /// Tree and leaves taken away, by threshold.
    marks: Vec<(u32, W)>,
    /// Leaves taken away, by row and tree.
    table: Vec<W>,
    /// By tree.
    leaves: Vec<f32>,
}

/// A forest by ranks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RankForest(Width);

#[derive(Debug, Clone, PartialEq)]
enum Width {
    /// Trees of at most 8 leaves.
    Narrow(Ranks<u8>),
    /// Of at most 32.
    Wide(Ranks<u32>),
}

/// A split as the table needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RankedSplit {
    pub(super) feature: usize,
    pub(super) threshold: f32,
    pub(super) missing_left: bool,
    pub(super) tree: u32,
    pub(super) cleared: u32,
}

impl RankForest {
    /// Prepares a forest; none where its trees are too many or too large.
    pub(super) fn try_new(bits: &BitForest) -> Option<Self> {
        let trees = bits.small_trees()?;
        if trees.is_empty() || trees.len() > TREES_MAX {
            return None;
        }
        let width = if trees.iter().all(|leaves| leaves.len() <= u8::LEAVES) {
            Width::Narrow(Ranks::try_new(bits.ranked_splits(), &trees)?)
        } else {
            Width::Wide(Ranks::try_new(bits.ranked_splits(), &trees)?)
        };
        Some(Self(width))
    }

    /// The base margin plus the leaves of a row, which has a value for every feature.
    pub(super) fn margin(&self, base_margin: f64, row: &[f64]) -> f64 {
        match &self.0 {
            Width::Narrow(ranks) => ranks.margin(base_margin, row),
            Width::Wide(ranks) => ranks.margin(base_margin, row),
        }
    }
}

impl<W: Word> Ranks<W> {
    fn try_new(mut splits: Vec<RankedSplit>, trees: &[&[f32]]) -> Option<Self> {
        splits.sort_by(|a, b| a.feature.cmp(&b.feature).then(a.threshold.total_cmp(&b.threshold)));
        let of_feature = || splits.chunk_by(|a, b| a.feature == b.feature);
        let n_lanes = trees.len().next_multiple_of(LANES);
        let stride = (0..).map(|power| 1 << power).take_while(|s| *s <= STRIDE_MAX).find(|s| {
            let n_rows: usize = of_feature().map(|splits| splits.len() / s + 2).sum();
            n_rows * n_lanes * size_of::<W>() <= TABLE_BYTES_MAX
        })?;
        let mut leaves = vec![0.0; trees.len() * W::LEAVES];
        for (place, leaves_of) in leaves.chunks_mut(W::LEAVES).zip(trees) {
            for (place, leaf) in place.iter_mut().zip(*leaves_of) {
                *place = *leaf;
            }
        }
        let mut ranks = Self {
            n_trees: trees.len(),
            n_lanes,
            stride,
            features: Vec::new(),
            thresholds: splits.iter().map(|split| split.threshold).collect(),
            marks: splits.iter().map(|split| (split.tree, W::of(split.cleared))).collect(),
            table: Vec::new(),
            leaves,
        };
        let mut first = 0;
        for splits in of_feature() {
            ranks.add_feature(splits, first);
            first += splits.len();
        }
        (ranks.features.len() <= FEATURES_MAX).then_some(ranks)
    }

    /// Adds the rows of a feature to the table; its splits are not empty.
    fn add_feature(&mut self, splits: &[RankedSplit], first: usize) {
        let Some(feature) = splits.first().map(|split| split.feature) else { return };
        let row = self.table.len() / self.n_lanes;
        self.features.push(Feature { feature, first, n: splits.len(), row });
        let mut gone = vec![W::default(); self.n_lanes];
        for (rank, split) in splits.iter().enumerate() {
            if rank % self.stride == 0 {
                self.table.extend_from_slice(&gone);
            }
            gone[split.tree as usize] |= W::of(split.cleared);
        }
        if splits.len().is_multiple_of(self.stride) {
            self.table.extend_from_slice(&gone);
        }
        let mut missing = vec![W::default(); self.n_lanes];
        for split in splits.iter().filter(|split| !split.missing_left) {
            missing[split.tree as usize] |= W::of(split.cleared);
        }
        self.table.extend_from_slice(&missing);
    }

    #[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
    fn margin(&self, base_margin: f64, row: &[f64]) -> f64 {
        let mut gone = [W::default(); TREES_MAX];
        let gone = &mut gone[..self.n_lanes];
        let mut rows = [0; FEATURES_MAX];
        for (place, held) in rows.iter_mut().zip(&self.features) {
            let x = row[held.feature] as f32;
            if x.is_nan() {
                *place = held.row + held.n / self.stride + 1;
                continue;
            }
            let thresholds = &self.thresholds[held.first..held.first + held.n];
            let rank = thresholds.partition_point(|threshold| *threshold <= x);
            let n_rows = rank / self.stride;
            *place = held.row + n_rows;
            for &(tree, cleared) in
                &self.marks[held.first + n_rows * self.stride..held.first + rank]
            {
                gone[tree as usize] |= cleared;
            }
        }
        let rows = &rows[..self.features.len()];
        for (chunk, gone) in gone.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let mut sum = *gone;
            for row in rows {
                let at = row * self.n_lanes + chunk * LANES;
                let Some(taken) = self.table.get(at..).and_then(|part| part.first_chunk::<LANES>())
                else {
                    continue;
                };
                for (sum, taken) in sum.iter_mut().zip(taken) {
                    *sum |= *taken;
                }
            }
            *gone = sum;
        }
        let mut sum = base_margin;
        for (leaves, &gone) in self.leaves.chunks_exact(W::LEAVES).zip(&gone[..self.n_trees]) {
            let gone: u32 = gone.into();
            // The last leaf is never taken away, so that the mask of the position changes nothing.
            sum += f64::from(leaves[gone.trailing_ones() as usize & (W::LEAVES - 1)]);
        }
        sum
    }
}
