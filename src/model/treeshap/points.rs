//! A tree explained at the points of a quadrature: one way down and one way up.
//!
//! In: a tree of a forest, once; then rows. Out: its contributions, added to those of other trees.
//! All that does not depend on the row is worked out once: the factor of each child at each point,
//! and what a unit of the sum below a child is worth to the feature of the split. It deliberately
//! takes only trees that a path of at most 16 features leads through.

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

/// A split with the places of its own product and of its children's.
#[derive(Debug, Clone, Copy)]
struct Split {
    feature: u32,
    threshold: f32,
    missing_left: bool,
    own: u32,
    left: u32,
    right: u32,
    /// The place that says whether earlier splits on this feature were followed; the root's, which
    /// always is, where there was none.
    above: u32,
}

/// Factors of the left and the right child, then worths of both.
const PARTS: usize = 4;
/// Ways that a row can find a split: an earlier one on the feature not followed, left, right.
const WAYS: usize = 3;

/// A tree, ready for rows.
#[derive(Debug, Clone)]
pub(super) struct PointTree {
    n_points: usize,
    n_places: usize,
    /// In order of a walk that sees parents first.
    splits: Vec<Split>,
    /// Places and values of the leaves.
    leaves: Vec<(u32, f64)>,
    /// By split, way, part and point.
    numbers: Vec<f64>,
}

/// Memory for one row after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    products: Vec<f64>,
    followed: Vec<bool>,
    ways: Vec<u8>,
}

/// A feature on the way down: the place of its last split's child, and its share there.
type OnPath = (usize, u32, f64);

impl PointTree {
    /// Prepares a tree whose paths meet at most `longest` features; all its splits have covers.
    pub(super) fn new(forest: &Forest, root: usize, longest: usize) -> Self {
        let n_points = match longest {
            0..=4 => 2,
            5..=8 => 4,
            9..=12 => 6,
            _ => 8,
        };
        let (splits, leaves, numbers) = (Vec::new(), Vec::new(), Vec::new());
        let mut tree = Self { n_points, n_places: 1, splits, leaves, numbers };
        tree.add(forest, root, 0, &mut Vec::new());
        tree
    }

    fn add(&mut self, forest: &Forest, position: usize, own: u32, path: &mut Vec<OnPath>) {
        let node = &forest.nodes()[position];
        if node.is_leaf() {
            self.leaves.push((own, node.value()));
            return;
        }
        let (at_left, at_right) = node.children();
        let left = u32::try_from(self.n_places).unwrap_or(u32::MAX);
        let right = left.saturating_add(1);
        self.n_places += 2;
        let feature = node.feature();
        let held = path.iter().rposition(|(of, _, _)| *of == feature);
        let (above, share_above) = held.map_or((0, 1.0), |at| (path[at].1, path[at].2));
        // Covers were looked at before.
        let shares = shares_below(forest, position).unwrap_or([0.5, 0.5]);
        self.splits.push(Split {
            feature: u32::try_from(feature).unwrap_or(u32::MAX),
            threshold: node.threshold(),
            missing_left: node.goes_left(f64::NAN),
            own,
            left,
            right,
            above,
        });
        self.add_numbers(share_above, shares);
        for (child, place, share) in [(at_left, left, shares[0]), (at_right, right, shares[1])] {
            path.push((feature, place, share_above * share));
            self.add(forest, child, place, path);
            path.pop();
        }
    }

    /// With y the point, o whether the feature follows and z its share, a feature's factor is
    /// f = y o + (1 - y) z, and what a unit of the product is worth to it (o - z) / f. A split on a
    /// feature that was split before takes the place of the earlier one.
    fn add_numbers(&mut self, above: f64, shares: [f64; 2]) {
        let points: Vec<f64> = rule(self.n_points).iter().map(|(y, _)| *y).collect();
        let known = |y: f64, share: f64| y + (1.0 - y) * share;
        let worth = |y: f64, share: f64| (1.0 - share) / known(y, share);
        let followed = |y: f64, share: f64| known(y, above * share) / known(y, above);
        let left_out = |y: f64, share: f64| (1.0 - y) * above * share / known(y, above);
        let gained = |y: f64, share: f64| worth(y, above * share) - worth(y, above);
        // (0 - z) / ((1 - y) z), which does not depend on z.
        let lost = |y: f64| -1.0 / (1.0 - y) - worth(y, above);
        let [left, right] = shares;
        // An earlier split on the feature was not followed: nothing is left to gain or lose.
        self.numbers.extend(points.iter().map(|_| left));
        self.numbers.extend(points.iter().map(|_| right));
        self.numbers.extend(points.iter().map(|_| 0.0));
        self.numbers.extend(points.iter().map(|_| 0.0));
        self.numbers.extend(points.iter().map(|&y| followed(y, left)));
        self.numbers.extend(points.iter().map(|&y| left_out(y, right)));
        self.numbers.extend(points.iter().map(|&y| gained(y, left)));
        self.numbers.extend(points.iter().map(|&y| lost(y)));
        self.numbers.extend(points.iter().map(|&y| left_out(y, left)));
        self.numbers.extend(points.iter().map(|&y| followed(y, right)));
        self.numbers.extend(points.iter().map(|&y| lost(y)));
        self.numbers.extend(points.iter().map(|&y| gained(y, right)));
    }

    /// Adds the contributions to a row, which has a value for every feature, as `out` has a place.
    pub(super) fn add_contributions(&self, row: &[f64], out: &mut [f64], scratch: &mut Scratch) {
        match self.n_points {
            2 => self.add_at::<2>(row, out, scratch),
            4 => self.add_at::<4>(row, out, scratch),
            6 => self.add_at::<6>(row, out, scratch),
            _ => self.add_at::<8>(row, out, scratch),
        }
    }

    fn add_at<const K: usize>(&self, row: &[f64], out: &mut [f64], scratch: &mut Scratch) {
        let Scratch { products, followed, ways } = scratch;
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
        let prepared = numbers.chunks_exact(WAYS * PARTS);
        for ((split, parts), way) in self.splits.iter().zip(prepared).zip(ways.iter_mut()) {
            let goes_left = split.goes_left(row);
            let above = followed[split.above as usize];
            *way = u8::from(above) * (1 + u8::from(!goes_left));
            let (left, right) = (split.left as usize, split.right as usize);
            followed[left] = above & goes_left;
            followed[right] = above & !goes_left;
            let parts = &parts[usize::from(*way) * PARTS..][..PARTS];
            let own = products[split.own as usize];
            products[left] = times(&own, &parts[0]);
            products[right] = times(&own, &parts[1]);
        }
        for &(place, value) in &self.leaves {
            for product in &mut products[place as usize] {
                *product *= value;
            }
        }
        let prepared = numbers.chunks_exact(WAYS * PARTS);
        for ((split, parts), &way) in self.splits.iter().zip(prepared).zip(ways.iter()).rev() {
            let parts = &parts[usize::from(way) * PARTS..][..PARTS];
            let (left, right) = (products[split.left as usize], products[split.right as usize]);
            let (mut sum, mut worth) = ([0.0; K], [0.0; K]);
            for k in 0..K {
                sum[k] = left[k] + right[k];
                worth[k] = left[k] * parts[2][k] + right[k] * parts[3][k];
            }
            products[split.own as usize] = sum;
            out[split.feature as usize] += worth.iter().sum::<f64>();
        }
    }
}

impl Split {
    #[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
    fn goes_left(&self, row: &[f64]) -> bool {
        let x = row[self.feature as usize] as f32;
        (x < self.threshold) | (x.is_nan() & self.missing_left)
    }
}

fn times<const K: usize>(a: &[f64; K], b: &[f64; K]) -> [f64; K] {
    std::array::from_fn(|k| a[k] * b[k])
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
