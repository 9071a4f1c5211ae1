//! A tree explained at the points of a quadrature: one way down and one way up.
//!
//! In: a tree of a forest, once; then rows. Out: its contributions, added to those of other trees.
//! It deliberately takes only trees that a path of at most 16 features leads through.
//!
//! At a point y a feature that follows (o = 1) or not (o = 0), with the share z, has the factor
//! f = y o + (1 - y) z. On the way down a split gets A, the product of the factors above it; on the
//! way up R, the sum over the leaves below it of value times the factors between. To the feature of
//! a split its children are worth A (R_l (o_l - z_l) + R_r (o_r - z_r)). Where the feature was
//! split before, A holds the earlier factor f_a already: the children's are divided by it, and what
//! the earlier split is going to count, (o_a - z_a) times A R, is taken off.
//!
//! Factors are worked out for each row: that takes less time than to fetch them from a table.

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

/// A split; the places of its children follow from its own position among the splits.
#[derive(Debug, Clone, Copy)]
struct Split {
    /// With [`MISSING_LEFT`].
    feature: u32,
    threshold: f32,
    own: u32,
    /// The place that says whether earlier splits on this feature were followed, or [`FIRST`].
    above: u32,
    /// Of the children: shares of the weight that follows the path when the feature is left out.
    shares: [f64; 2],
    /// The same of the place above; 1 for a first split.
    share_above: f64,
}

/// Bit of a split's feature that says "missing goes left".
const MISSING_LEFT: u32 = 1 << 31;
/// No earlier split on this feature.
const FIRST: u32 = u32::MAX;
/// Stands in for a share of nothing where it divides: what is divided is 0 then.
const SHARE_MIN: f64 = 1e-300;

/// A tree, ready for rows.
#[derive(Debug, Clone)]
pub(super) struct PointTree {
    n_points: usize,
    /// Level after level: neighbours do not wait for each other.
    splits: Vec<Split>,
    /// Places and values of the leaves.
    leaves: Vec<(u32, f64)>,
}

/// Memory for one row after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By place and point: A on the way down, R on the way up.
    products: Vec<f64>,
    /// Factors of the children, by place but the root's.
    factors: Vec<f64>,
    /// By place.
    followed: Vec<bool>,
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
        let mut tree = Self { n_points, splits: Vec::new(), leaves: Vec::new() };
        let mut waiting = VecDeque::from([Waiting { position: root, own: 0, path: Vec::new() }]);
        while let Some(node) = waiting.pop_front() {
            tree.add(forest, node, &mut waiting);
        }
        tree
    }

    /// Adds a node; the children of a split wait.
    fn add(&mut self, forest: &Forest, from: Waiting, waiting: &mut VecDeque<Waiting>) {
        let Waiting { position, own, path } = from;
        let node = &forest.nodes()[position];
        if node.is_leaf() {
            self.leaves.push((own, node.value()));
            return;
        }
        let left = to_u32(place_left(self.splits.len()));
        let feature = node.feature();
        let held = path.iter().position(|(of, _, _)| *of == feature);
        let (above, share_above) = held.map_or((FIRST, 1.0), |at| (path[at].1, path[at].2));
        // Covers were looked at before.
        let shares = shares_below(forest, position).unwrap_or([0.5, 0.5]);
        let shares = shares.map(|share| share * share_above);
        let missing_left = if node.goes_left(f64::NAN) { MISSING_LEFT } else { 0 };
        self.splits.push(Split {
            feature: to_u32(feature) | missing_left,
            threshold: node.threshold(),
            own,
            above,
            shares,
            share_above,
        });
        let children: [usize; 2] = node.children().into();
        for ((position, own), share) in children.into_iter().zip(left..).zip(shares) {
            let mut path = path.clone();
            let here = (feature, own, share);
            match held {
                Some(at) => path[at] = here,
                None => path.push(here),
            }
            waiting.push_back(Waiting { position, own, path });
        }
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
        let Scratch { products, factors, followed, sums } = scratch;
        // What an earlier tree left there is written over before it is read.
        let (n_splits, n_places) = (self.splits.len(), place_left(self.splits.len()));
        products.resize(products.len().max(n_places * K), 0.0);
        factors.resize(factors.len().max(2 * n_splits * K), 0.0);
        followed.resize(followed.len().max(n_places), true);
        let products = &mut products.as_chunks_mut::<K>().0[..n_places];
        let factors = &mut factors.as_chunks_mut::<K>().0.as_chunks_mut::<2>().0[..n_splits];
        let followed = &mut followed[..n_places];
        let points = Points::<K>::new();
        products[0] = std::array::from_fn(|k| rule(K)[k].1);
        for (at, (split, factors)) in self.splits.iter().zip(factors.iter_mut()).enumerate() {
            let goes_left = split.goes_left(row);
            let above = split.above == FIRST || followed[split.above as usize];
            let follows = [above & goes_left, above & !goes_left];
            followed[place_left(at)..][..2].copy_from_slice(&follows);
            let mut found: [[f64; K]; 2] =
                std::array::from_fn(|side| points.factor(follows[side], split.shares[side]));
            if split.above != FIRST {
                let before = points.inverse(above, split.share_above);
                found = found.map(|factor| times(&factor, &before));
            }
            *factors = found;
            let own = products[split.own as usize];
            let children = &mut products[place_left(at)..][..2];
            children[0] = times(&own, &found[0]);
            children[1] = times(&own, &found[1]);
        }
        for &(place, value) in &self.leaves {
            products[place as usize] = [value; K];
        }
        for (at, (split, factors)) in self.splits.iter().zip(factors.iter()).enumerate().rev() {
            let follows = &followed[place_left(at)..][..2];
            let worth = [0, 1].map(|side| known(follows[side]) - split.shares[side]);
            let children = &products[place_left(at)..][..2];
            let (left, right, own) = (children[0], children[1], products[split.own as usize]);
            let sum: [f64; K] =
                std::array::from_fn(|k| left[k] * factors[0][k] + right[k] * factors[1][k]);
            let mut gain: [f64; K] =
                std::array::from_fn(|k| own[k] * (left[k] * worth[0] + right[k] * worth[1]));
            if split.above != FIRST {
                let above = followed[split.above as usize];
                let before = points.inverse(above, split.share_above);
                let counted = known(above) - split.share_above;
                gain = std::array::from_fn(|k| (gain[k] - own[k] * sum[k] * counted) * before[k]);
            }
            products[split.own as usize] = sum;
            if let Some(sums) = sums[split.feature()].first_chunk_mut::<K>() {
                let held = *sums;
                *sums = std::array::from_fn(|k| held[k] + gain[k]);
            }
        }
    }
}

/// The points y as factors are made of them.
struct Points<const K: usize> {
    /// y o for o = 0 and o = 1.
    of_known: [[f64; K]; 2],
    /// 1 - y.
    of_share: [f64; K],
}

impl<const K: usize> Points<K> {
    fn new() -> Self {
        let y: [f64; K] = std::array::from_fn(|k| rule(K)[k].0);
        Self { of_known: [[0.0; K], y], of_share: y.map(|y| 1.0 - y) }
    }

    fn factor(&self, follows: bool, share: f64) -> [f64; K] {
        let of_known = &self.of_known[usize::from(follows)];
        std::array::from_fn(|k| of_known[k] + self.of_share[k] * share)
    }

    fn inverse(&self, follows: bool, share: f64) -> [f64; K] {
        self.factor(follows, share.max(SHARE_MIN)).map(|factor| 1.0 / factor)
    }
}

impl Split {
    const fn feature(&self) -> usize {
        (self.feature & !MISSING_LEFT) as usize
    }

    #[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
    fn goes_left(&self, row: &[f64]) -> bool {
        let x = row[self.feature()] as f32;
        (x < self.threshold) | (x.is_nan() & (self.feature & MISSING_LEFT != 0))
    }
}

/// The place of the left child of a split; the right one's is the next.
const fn place_left(split: usize) -> usize {
    2 * split + 1
}

/// o as a number.
fn known(follows: bool) -> f64 {
    f64::from(u8::from(follows))
}

fn times<const K: usize>(a: &[f64; K], b: &[f64; K]) -> [f64; K] {
    std::array::from_fn(|k| a[k] * b[k])
}

/// Positions are below the limit of nodes.
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
