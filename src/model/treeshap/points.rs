//! A tree explained at the points of a quadrature: one way down and one way up.
//!
//! In: a tree of a forest, once; then rows. Out: its contributions, added to those of other trees.
//! All that does not depend on the row is worked out once: the factor of each child at each point,
//! and what a unit of the sum below a child is worth to the feature of the split. What a child that
//! the row does not go to needs is the same for all splits that come first on their feature: the
//! fewer numbers, the more of them stay near to the processor. It deliberately
//! takes only trees that a path of at most 16 features leads through.

use std::collections::VecDeque;

use crate::model::forest::Forest;

use super::shares_below;

/// Features on a path that the points are exact for: twice as many as there are points.
pub(super) const PATH_FEATURES_MAX: usize = 16;

/// Gauss-Legendre on [-1, 1]: nodes above 0 and weights; the others mirror them.
const GAUSS_2: [(f64, f64); 1] = [(0.577_350_269_189_625_7, 1.0)];
const GAUSS_4: [(f64, f64); 2] = [
    (0.861_136_311_594_052_6, 0.347_854_845_137_453_8),
    (0.339_981_043_584_856_3, 0.652_145_154_862_546_1),
];
const GAUSS_6: [(f64, f64); 3] = [
    (0.932_469_514_203_152, 0.171_324_492_379_170_35),
    (0.661_209_386_466_264_5, 0.360_761_573_048_138_6),
    (0.238_619_186_083_196_9, 0.467_913_934_572_691),
];
const GAUSS_8: [(f64, f64); 4] = [
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
];

/// Points at most.
pub(super) const POINTS_MAX: usize = PATH_FEATURES_MAX / 2;

/// A split with the places of its own product and of its children's.
#[derive(Debug, Clone, Copy)]
struct Split {
    feature: u32,
    threshold: f32,
    missing_left: bool,
    own: u32,
    /// The left child's place; the right one's is the next.
    left: u32,
    /// The place that says whether earlier splits on this feature were followed; the root's, which
    /// always is, where there was none.
    above: u32,
    /// First vector of the child that the row goes to: factor and worth, by way.
    hot: u32,
    /// First vector of the other child: factor of a unit of its share, and worth.
    cold: u32,
    /// Shares of both children, times the value of one that is a leaf.
    shares: [f64; 2],
}

/// Ways that a row can find a split: to the left, to the right, and past it because an earlier
/// split on its feature was not followed; 0, 1 and this.
const PAST: u8 = 2;
/// Vectors of one way.
const OF_WAY: usize = 2;
/// First of the vectors of the other child where the way leads past, and where the split is the
/// first on its feature.
const COLD_PAST: u32 = 0;
const COLD_FIRST: u32 = 2;

/// A tree, ready for rows.
#[derive(Debug, Clone)]
pub(super) struct PointTree {
    n_points: usize,
    n_places: usize,
    /// Level after level: neighbours do not wait for each other.
    splits: Vec<Split>,
    /// Vectors of a number a point.
    numbers: Vec<f64>,
}

/// Memory for one row after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    products: Vec<f64>,
    followed: Vec<bool>,
    ways: Vec<u8>,
    /// By feature and point.
    sums: Vec<[f64; POINTS_MAX]>,
}

impl Scratch {
    /// Memory for a row of so many features.
    pub(super) fn new(n_features: usize) -> Self {
        Self { sums: vec![[0.0; POINTS_MAX]; n_features], ..Self::default() }
    }

    /// What all trees added up to, by feature.
    pub(super) fn write(&self, out: &mut [f64]) {
        for (slot, sums) in out.iter_mut().zip(&self.sums) {
            *slot = sums.iter().sum();
        }
    }
}

/// A feature on the way down: the place of its last split's child, and its share there.
type OnPath = (usize, u32, f64);

/// A node to be added, with its place and the features on the way to it, each once.
struct Waiting {
    position: usize,
    own: u32,
    path: Vec<OnPath>,
}

impl PointTree {
    /// Prepares a tree whose paths meet at most `longest` features; all its splits have covers.
    pub(super) fn new(forest: &Forest, root: usize, longest: usize) -> Self {
        let n_points = match longest {
            0..=4 => 2,
            5..=8 => 4,
            9..=12 => 6,
            _ => POINTS_MAX,
        };
        let mut tree = Self { n_points, n_places: 1, splits: Vec::new(), numbers: Vec::new() };
        tree.add_vector(|_| 1.0);
        tree.add_vector(|_| 0.0);
        tree.add_cold(1.0);
        let mut waiting = VecDeque::from([Waiting { position: root, own: 0, path: Vec::new() }]);
        while let Some(node) = waiting.pop_front() {
            tree.add(forest, node, &mut waiting);
        }
        tree
    }

    /// Adds a node if it is a split; its children wait.
    fn add(&mut self, forest: &Forest, from: Waiting, waiting: &mut VecDeque<Waiting>) {
        let Waiting { position, own, path } = from;
        let node = &forest.nodes()[position];
        if node.is_leaf() {
            return;
        }
        let children: [usize; 2] = node.children().into();
        let left = to_u32(self.n_places);
        self.n_places += 2;
        let feature = node.feature();
        let held = path.iter().position(|(of, _, _)| *of == feature);
        let (above, share_above) = held.map_or((0, 1.0), |at| (path[at].1, path[at].2));
        // Covers were looked at before.
        let shares = shares_below(forest, position).unwrap_or([0.5, 0.5]);
        let values = children.map(|child| {
            let node = &forest.nodes()[child];
            if node.is_leaf() { node.value() } else { 1.0 }
        });
        let cold = if held.is_some() { self.add_cold(share_above) } else { COLD_FIRST };
        let hot = to_u32(self.n_vectors());
        for side in 0..2 {
            self.add_hot(share_above, shares[side], values[side]);
        }
        let shares_held = [shares[0] * values[0], shares[1] * values[1]];
        if held.is_some() {
            self.add_vector(|_| shares_held[0]);
            self.add_vector(|_| 0.0);
        }
        self.splits.push(Split {
            feature: to_u32(feature),
            threshold: node.threshold(),
            missing_left: node.goes_left(f64::NAN),
            own,
            left,
            above,
            hot,
            cold,
            shares: shares_held,
        });
        for ((position, own), share) in children.into_iter().zip(left..).zip(shares) {
            let mut path = path.clone();
            let here = (feature, own, share_above * share);
            match held {
                Some(at) => path[at] = here,
                None => path.push(here),
            }
            waiting.push_back(Waiting { position, own, path });
        }
    }

    fn n_vectors(&self) -> usize {
        self.numbers.len() / self.n_points
    }

    /// A number a point.
    fn add_vector(&mut self, number: impl Fn(f64) -> f64) {
        self.numbers.extend(rule(self.n_points).iter().map(|(y, _)| number(*y)));
    }

    /// With y the point, o whether the feature follows and z its share, a feature's factor is
    /// f = y o + (1 - y) z, and what a unit of the product is worth to it (o - z) / f. A split on a
    /// feature that was split before, with the share `above`, takes the place of the earlier one.
    ///
    /// Factor and worth of the child that the row goes to, with the value of a leaf in the factor.
    fn add_hot(&mut self, above: f64, share: f64, value: f64) {
        self.add_vector(|y| known(y, above * share) / known(y, above) * value);
        self.add_vector(|y| worth(y, above * share) - worth(y, above));
    }

    /// Factor of a unit of the other child's share, and worth, (0 - z) / ((1 - y) z), which does
    /// not depend on z.
    fn add_cold(&mut self, above: f64) -> u32 {
        let first = self.n_vectors();
        self.add_vector(|y| (1.0 - y) * above / known(y, above));
        self.add_vector(|y| -1.0 / (1.0 - y) - worth(y, above));
        to_u32(first)
    }

    /// Adds the contributions to a row, which has a value for every feature, as the scratch has a
    /// place.
    pub(super) fn add_contributions(&self, row: &[f64], scratch: &mut Scratch) {
        match self.n_points {
            2 => self.add_at::<2>(row, scratch),
            4 => self.add_at::<4>(row, scratch),
            6 => self.add_at::<6>(row, scratch),
            _ => self.add_at::<POINTS_MAX>(row, scratch),
        }
    }

    fn add_at<const K: usize>(&self, row: &[f64], scratch: &mut Scratch) {
        let Scratch { products, followed, ways, sums } = scratch;
        // What an earlier tree left there is written over before it is read.
        let (n_places, n_splits) = (self.n_places, self.splits.len());
        products.resize(products.len().max(n_places * K), 0.0);
        followed.resize(followed.len().max(n_places), true);
        ways.resize(ways.len().max(n_splits), 0);
        let products = &mut products.as_chunks_mut::<K>().0[..n_places];
        let (followed, ways) = (&mut followed[..n_places], &mut ways[..n_splits]);
        let numbers = self.numbers.as_chunks::<K>().0;
        for (slot, (_, weight)) in products[0].iter_mut().zip(rule(K)) {
            *slot = *weight;
        }
        followed[0] = true;
        for (split, way) in self.splits.iter().zip(ways.iter_mut()) {
            let goes_left = split.goes_left(row);
            let above = followed[split.above as usize];
            *way = if above { u8::from(!goes_left) } else { PAST };
            let children = &mut followed[split.left as usize..][..2];
            children[0] = above & goes_left;
            children[1] = above & !goes_left;
            let own = products[split.own as usize];
            let (hot, cold) = split.vectors(*way);
            let (at, other) = sides(*way);
            let (hot, cold, share) = (&numbers[hot], &numbers[cold], split.shares[other]);
            let children = &mut products[split.left as usize..][..2];
            children[at] = std::array::from_fn(|k| own[k] * hot[k]);
            children[other] = std::array::from_fn(|k| own[k] * (cold[k] * share));
        }
        for (split, &way) in self.splits.iter().zip(ways.iter()).rev() {
            let (hot, cold) = split.vectors(way);
            let (at, other) = sides(way);
            let (hot, cold) = (&numbers[hot + 1], &numbers[cold + 1]);
            let children = &products[split.left as usize..][..2];
            let (here, there) = (children[at], children[other]);
            let sums = &mut sums[split.feature as usize];
            for k in 0..K {
                sums[k] += here[k] * hot[k] + there[k] * cold[k];
            }
            products[split.own as usize] = std::array::from_fn(|k| here[k] + there[k]);
        }
    }
}

impl Split {
    #[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
    fn goes_left(&self, row: &[f64]) -> bool {
        let x = row[self.feature as usize] as f32;
        (x < self.threshold) | (x.is_nan() & self.missing_left)
    }

    /// The first vectors of the two children of a way.
    fn vectors(&self, way: u8) -> (usize, usize) {
        let hot = self.hot as usize + OF_WAY * usize::from(way);
        let cold = if way == PAST { COLD_PAST } else { self.cold };
        (hot, cold as usize)
    }
}

/// The child that the row goes to, and the other one; past a split the left one stands for it.
fn sides(way: u8) -> (usize, usize) {
    let at = usize::from(way & 1);
    (at, 1 - at)
}

fn known(y: f64, share: f64) -> f64 {
    y + (1.0 - y) * share
}

fn worth(y: f64, share: f64) -> f64 {
    (1.0 - share) / known(y, share)
}

/// Positions are below the limit of nodes, and vectors a few times as many.
fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Points and weights on [0, 1].
fn rule(n_points: usize) -> &'static [(f64, f64)] {
    match n_points {
        2 => &RULE_2,
        4 => &RULE_4,
        6 => &RULE_6,
        _ => &RULE_8,
    }
}

static RULE_2: [(f64, f64); 2] = mirrored(&GAUSS_2);
static RULE_4: [(f64, f64); 4] = mirrored(&GAUSS_4);
static RULE_6: [(f64, f64); 6] = mirrored(&GAUSS_6);
static RULE_8: [(f64, f64); 8] = mirrored(&GAUSS_8);

/// From [-1, 1] to [0, 1].
const fn mirrored<const K: usize>(half: &[(f64, f64)]) -> [(f64, f64); K] {
    let mut rule = [(0.0, 0.0); K];
    let mut at = 0;
    while at < half.len() {
        let (node, weight) = half[at];
        rule[at] = (0.5 - 0.5 * node, 0.5 * weight);
        rule[K - 1 - at] = (0.5 + 0.5 * node, 0.5 * weight);
        at += 1;
    }
    rule
}
