//! Exact contributions of the features to a forest's margin (TreeSHAP, path-dependent).
//!
//! In: a [`Forest`] whose nodes carry covers, once; then rows. Out: one contribution a feature;
//! with the expected margin they sum to the row's margin. A feature that is left out is averaged
//! over by the share of training weight that went each way.
//!
//! To a leaf each feature on its path contributes as to a product game: a known feature is worth 1
//! or 0, whether it follows the path, an unknown one its share z. The Shapley value of such a game
//! is an integral over y from 0 to 1 of the product of the others' y o + (1 - y) z, a polynomial,
//! which half as many Gauss points as there are features give exactly. At a point everything is a
//! product along the path, so a tree takes one way down, for the products, and one way up, for the
//! sums below each split. Only trees with very many features on a path are explained leaf by leaf.
//!
//! It deliberately gives no advice: a contribution says what the model used, not what to change.
//! Lundberg et al. (2020), "From local explanations to global understanding with explainable AI for
//! trees", Nature Machine Intelligence 2. The integral: Owen (1972), "Multilinear extensions of
//! games"; sums by subtree: Yu et al. (2022), "Linear TreeShap".

mod points;

use thiserror::Error;

use super::forest::Forest;

use points::{PATH_FEATURES_MAX, PointTree, Scratch};

/// Why a row cannot be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapError {
    /// A split without covers.
    #[error(
        "node {node}: no training weight is stored below it (sum_hessian), which TreeSHAP needs"
    )]
    Cover {
        /// Position of the node in the forest.
        node: usize,
    },
    /// A row, or the place for the contributions, of another length.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which of the two.
        what: &'static str,
        /// Number of features.
        expected: usize,
        /// Length found.
        found: usize,
    },
}

/// What a path asks of one feature: `low <= x < high`, a NaN bound asking nothing.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: usize,
    low: f32,
    high: f32,
    /// Whether a missing value follows the path.
    missing: bool,
}

impl Step {
    /// Whether a value follows the path.
    #[allow(clippy::cast_possible_truncation, reason = "trees were grown on f32 values")]
    fn follows(&self, number: f64) -> bool {
        let x = number as f32;
        let outside = x < self.low || x >= self.high;
        if x.is_nan() { self.missing } else { !outside }
    }

    /// The same path one split further, on this feature.
    fn narrowed(mut self, threshold: f32, left: bool, missing: bool) -> Self {
        // `min` and `max` pass over a NaN bound.
        if left {
            self.high = self.high.min(threshold);
        } else {
            self.low = self.low.max(threshold);
        }
        self.missing &= missing;
        self
    }
}

/// A leaf and the features on the way to it, each once.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    /// First of its steps.
    first: usize,
    /// Number of its steps.
    n_steps: usize,
    value: f64,
}

/// Explains rows of one forest.
#[derive(Debug, Clone)]
pub struct TreeShap {
    n_features: usize,
    expected_margin: f64,
    /// Trees of paths that are not too long.
    trees: Vec<PointTree>,
    /// Leaves of all other trees.
    leaves: Vec<Leaf>,
    /// Steps of these leaves, end to end.
    steps: Vec<Step>,
    /// Of each step: share of the training weight that follows the path when the feature is left
    /// out.
    shares: Vec<f64>,
}

impl TreeShap {
    /// Prepares a forest.
    ///
    /// # Errors
    /// [`ShapError::Cover`] when its file stored no covers.
    pub fn try_new(forest: &Forest) -> Result<Self, ShapError> {
        Self::with_limit(forest, PATH_FEATURES_MAX)
    }

    /// The same with another number of features on a path from which on a tree is explained leaf
    /// by leaf.
    fn with_limit(forest: &Forest, path_features_max: usize) -> Result<Self, ShapError> {
        let mut shap = Self {
            n_features: forest.n_features(),
            expected_margin: forest.base_margin(),
            trees: Vec::new(),
            leaves: Vec::new(),
            steps: Vec::new(),
            shares: Vec::new(),
        };
        for &root in forest.roots() {
            let (n_leaves, n_steps) = (shap.leaves.len(), shap.steps.len());
            shap.walk(forest, root as usize, &mut Vec::new())?;
            let longest = shap.leaves[n_leaves..].iter().map(|leaf| leaf.n_steps).max();
            let longest = longest.unwrap_or(0);
            if longest <= path_features_max.min(PATH_FEATURES_MAX) {
                shap.trees.push(PointTree::new(forest, root as usize, longest));
                shap.leaves.truncate(n_leaves);
                shap.steps.truncate(n_steps);
                shap.shares.truncate(n_steps);
            }
        }
        Ok(shap)
    }

    /// Collects the leaves below a node. The depth of a forest is limited, so is the recursion.
    fn walk(
        &mut self,
        forest: &Forest,
        position: usize,
        path: &mut Vec<(Step, f64)>,
    ) -> Result<(), ShapError> {
        let node = &forest.nodes()[position];
        if node.is_leaf() {
            self.add_leaf(path, node.value());
            return Ok(());
        }
        let (left, right) = node.children();
        let Some([left_share, right_share]) = shares_below(forest, position) else {
            return Err(ShapError::Cover { node: position });
        };
        let feature = node.feature();
        let at = path.iter().position(|(step, _)| step.feature == feature);
        let any = Step { feature, low: f32::NAN, high: f32::NAN, missing: true };
        let before = at.map_or((any, 1.0), |at| path[at]);
        let missing_left = node.goes_left(f64::NAN);
        for (child, is_left, share) in [(left, true, left_share), (right, false, right_share)] {
            let (step, held) = before;
            let next =
                (step.narrowed(node.threshold(), is_left, missing_left == is_left), held * share);
            match at {
                Some(at) => path[at] = next,
                None => path.push(next),
            }
            self.walk(forest, child, path)?;
            match at {
                Some(at) => path[at] = before,
                None => drop(path.pop()),
            }
        }
        Ok(())
    }

    fn add_leaf(&mut self, path: &[(Step, f64)], value: f64) {
        self.leaves.push(Leaf { first: self.steps.len(), n_steps: path.len(), value });
        self.expected_margin += value * path.iter().map(|(_, share)| share).product::<f64>();
        self.steps.extend(path.iter().map(|(step, _)| *step));
        self.shares.extend(path.iter().map(|(_, share)| *share));
    }

    /// Number of features a row must have.
    #[must_use]
    pub const fn n_features(&self) -> usize {
        self.n_features
    }

    /// Mean margin over the training weights: the margin of a row of which nothing is known.
    #[must_use]
    pub const fn expected_margin(&self) -> f64 {
        self.expected_margin
    }

    /// Writes the contribution of each feature, on the scale of the margin.
    ///
    /// `expected_margin + sum(out)` is the row's margin up to rounding (1e-9).
    ///
    /// # Errors
    /// [`ShapError::Length`] for a row or a place of another length.
    pub fn contributions(&self, row: &[f64], out: &mut [f64]) -> Result<(), ShapError> {
        let expected = self.n_features;
        for (what, found) in [("row", row.len()), ("contributions", out.len())] {
            if found != expected {
                return Err(ShapError::Length { what, expected, found });
            }
        }
        let mut scratch = Scratch::new(expected);
        for tree in &self.trees {
            tree.add_contributions(row, &mut scratch);
        }
        scratch.write(out);
        for leaf in &self.leaves {
            let steps = &self.steps[leaf.first..leaf.first + leaf.n_steps];
            let followed: Vec<bool> =
                steps.iter().map(|step| step.follows(row[step.feature])).collect();
            let found = leaf_contributions(&self.shares[leaf.first..], &followed, leaf.value);
            for (step, part) in steps.iter().zip(found) {
                out[step.feature] += part;
            }
        }
        Ok(())
    }
}

/// Shares of the training weight that went left and right of a split; none without any.
fn shares_below(forest: &Forest, position: usize) -> Option<[f64; 2]> {
    let (left, right) = forest.nodes()[position].children();
    let covers = [left, right].map(|child| f64::from(forest.covers()[child]));
    let cover = covers[0] + covers[1];
    (cover > 0.0).then(|| covers.map(|part| part / cover))
}

/// The Shapley values of one leaf: the game in which a set of known features is worth the leaf's
/// value if all of them follow the path, times the shares of those that are not known.
#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn leaf_contributions(shares: &[f64], followed: &[bool], value: f64) -> Vec<f64> {
    let n = followed.len();
    (0..n)
        .map(|own| {
            // by_size[k]: summed worth of the sets of k others that all follow the path.
            let mut by_size = vec![0.0; n];
            by_size[0] = 1.0;
            let others = (0..n).filter(|&other| other != own);
            for (n_before, other) in others.enumerate() {
                for size in (0..=n_before).rev() {
                    if followed[other] {
                        by_size[size + 1] += by_size[size];
                    }
                    by_size[size] *= shares[other];
                }
            }
            // A set of k others has the weight k! (n - 1 - k)! / n!.
            let (mut sum, mut weight) = (0.0, 1.0 / n as f64);
            for (size, worth) in by_size.iter().enumerate() {
                sum += weight * worth;
                weight *= (size + 1) as f64 / (n - 1 - size).max(1) as f64;
            }
            value * sum * (f64::from(u8::from(followed[own])) - shares[own])
        })
        .collect()
}

#[cfg(test)]
mod tests;
