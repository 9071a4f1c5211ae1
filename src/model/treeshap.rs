//! Exact contributions of the features to a forest's margin (TreeSHAP, path-dependent).
//!
//! In: a [`Forest`] whose nodes carry covers, once; then rows. Out: one contribution a feature;
//! with the expected margin they sum to the row's margin. A feature that is left out is averaged
//! over by the share of training weight that went each way.
//!
//! A path to a leaf asks each of its features one question: does the value lie in an interval? The
//! features that say yes form a pattern, and the leaf's contributions depend on the pattern alone.
//! So they are worked out once for all patterns of a path, and a row only looks them up.
//!
//! It deliberately gives no advice: a contribution says what the model used, not what to change.
//! Lundberg et al. (2020), "From local explanations to global understanding with explainable AI for
//! trees", Nature Machine Intelligence 2. Tables of patterns: Yang (2021), "Fast TreeSHAP:
//! Accelerating SHAP value computation for trees", second algorithm.

use thiserror::Error;

use super::forest::Forest;

/// Paths of at most so many features have a table: 16 patterns of 4 numbers. On longer ones the
/// pattern at hand is worked out when a row shows it.
const TABLE_FEATURES_MAX: usize = 4;
/// Marks a leaf without a table.
const NO_TABLE: usize = usize::MAX;

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
    /// First number of its table, or [`NO_TABLE`].
    table: usize,
    value: f64,
}

/// Explains rows of one forest.
#[derive(Debug, Clone)]
pub struct TreeShap {
    n_features: usize,
    expected_margin: f64,
    leaves: Vec<Leaf>,
    /// Steps of all leaves, end to end.
    steps: Vec<Step>,
    /// Of each step: share of the training weight that follows the path when the feature is left
    /// out.
    shares: Vec<f64>,
    /// Contributions by leaf, pattern and step.
    table: Vec<f64>,
}

impl TreeShap {
    /// Prepares a forest.
    ///
    /// # Errors
    /// [`ShapError::Cover`] when its file stored no covers.
    pub fn try_new(forest: &Forest) -> Result<Self, ShapError> {
        let mut shap = Self {
            n_features: forest.n_features(),
            expected_margin: forest.base_margin(),
            leaves: Vec::new(),
            steps: Vec::new(),
            shares: Vec::new(),
            table: Vec::new(),
        };
        for &root in forest.roots() {
            shap.walk(forest, root as usize, &mut Vec::new())?;
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
        let covers = forest.covers();
        let (left_cover, right_cover) = (f64::from(covers[left]), f64::from(covers[right]));
        let cover = left_cover + right_cover;
        if cover <= 0.0 {
            return Err(ShapError::Cover { node: position });
        }
        let feature = node.feature();
        let at = path.iter().position(|(step, _)| step.feature == feature);
        let any = Step { feature, low: f32::NAN, high: f32::NAN, missing: true };
        let before = at.map_or((any, 1.0), |at| path[at]);
        let missing_left = node.goes_left(f64::NAN);
        for (child, is_left, share) in
            [(left, true, left_cover / cover), (right, false, right_cover / cover)]
        {
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
        let n_steps = path.len();
        let leaf = Leaf { first: self.steps.len(), n_steps, table: NO_TABLE, value };
        self.expected_margin += value * path.iter().map(|(_, share)| share).product::<f64>();
        self.steps.extend(path.iter().map(|(step, _)| *step));
        self.shares.extend(path.iter().map(|(_, share)| *share));
        if n_steps > TABLE_FEATURES_MAX {
            self.leaves.push(leaf);
            return;
        }
        let table = self.table.len();
        for pattern in 0..1_usize << n_steps {
            let followed: Vec<bool> = (0..n_steps).map(|i| pattern & (1 << i) != 0).collect();
            let shares = &self.shares[leaf.first..];
            self.table.extend(leaf_contributions(shares, &followed, value));
        }
        self.leaves.push(Leaf { table, ..leaf });
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
        out.fill(0.0);
        for leaf in &self.leaves {
            let steps = &self.steps[leaf.first..leaf.first + leaf.n_steps];
            if leaf.table == NO_TABLE {
                let followed: Vec<bool> =
                    steps.iter().map(|step| step.follows(row[step.feature])).collect();
                let shares = &self.shares[leaf.first..];
                let found = leaf_contributions(shares, &followed, leaf.value);
                for (step, part) in steps.iter().zip(found) {
                    out[step.feature] += part;
                }
                continue;
            }
            let mut pattern = 0;
            for (bit, step) in steps.iter().enumerate() {
                pattern |= usize::from(step.follows(row[step.feature])) << bit;
            }
            let held = &self.table[leaf.table + pattern * leaf.n_steps..];
            for (step, part) in steps.iter().zip(held) {
                out[step.feature] += part;
            }
        }
        Ok(())
    }
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
