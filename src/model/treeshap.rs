//! Exact contributions of the features to a forest's margin (TreeSHAP, path-dependent).
//!
//! In: a [`Forest`] whose nodes carry covers, and a row. Out: one contribution a feature; with the
//! expected margin they sum to the row's margin. A feature that is left out is averaged over by
//! the share of training weight that went each way.
//!
//! It deliberately gives no advice: a contribution says what the model used, not what to change.
//! Lundberg et al. (2020), "From local explanations to global understanding with explainable AI for
//! trees", Nature Machine Intelligence 2, algorithm 2.

use thiserror::Error;

use super::forest::{DEPTH_MAX, Forest};

/// Mark of the first path element, which belongs to no feature.
const NO_FEATURE: usize = usize::MAX;

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

/// Reciprocals of the sizes of feature sets: divisions would be most of the work. A path has at
/// most one step a split, and one before the first.
const INVERSES: [f64; DEPTH_MAX + 3] = inverses();

#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
const fn inverses() -> [f64; DEPTH_MAX + 3] {
    let mut list = [0.0; DEPTH_MAX + 3];
    let mut n = 1;
    while n < list.len() {
        list[n] = 1.0 / n as f64;
        n += 1;
    }
    list
}

/// A feature on the path to a leaf.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: usize,
    /// Share of the training weight that follows the path when the feature is left out.
    zero: f64,
    /// Whether the row itself follows the path here.
    followed: bool,
    /// Summed weight of the feature subsets of each size.
    weight: f64,
}

/// Explains rows of one forest.
#[derive(Debug, Clone)]
pub struct TreeShap<'a> {
    forest: &'a Forest,
    expected_margin: f64,
    /// Of each split: share of the training weight below it that went left.
    left_shares: Vec<f64>,
}

impl<'a> TreeShap<'a> {
    /// Prepares a forest.
    ///
    /// # Errors
    /// [`ShapError::Cover`] when its file stored no covers.
    pub fn try_new(forest: &'a Forest) -> Result<Self, ShapError> {
        let covers = forest.covers();
        let mut left_shares = Vec::with_capacity(forest.nodes().len());
        for (position, node) in forest.nodes().iter().enumerate() {
            if node.is_leaf() {
                left_shares.push(1.0);
                continue;
            }
            let (left, right) = node.children();
            let (left, right) = (f64::from(covers[left]), f64::from(covers[right]));
            if left + right <= 0.0 {
                return Err(ShapError::Cover { node: position });
            }
            left_shares.push(left / (left + right));
        }
        let mut explainer = Self { forest, expected_margin: forest.base_margin(), left_shares };
        for &root in forest.roots() {
            explainer.expected_margin += explainer.expected(root as usize);
        }
        Ok(explainer)
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
        let expected = self.forest.n_features();
        for (what, found) in [("row", row.len()), ("contributions", out.len())] {
            if found != expected {
                return Err(ShapError::Length { what, expected, found });
            }
        }
        out.fill(0.0);
        let first = Step { feature: NO_FEATURE, zero: 1.0, followed: true, weight: 0.0 };
        let mut walk = Walk { shap: self, row, out, steps: Vec::new() };
        for &root in self.forest.roots() {
            walk.steps.clear();
            walk.visit(root as usize, 0, first);
        }
        Ok(())
    }

    /// Mean leaf value below a node. The depth of a forest is limited, so is the recursion.
    fn expected(&self, position: usize) -> f64 {
        let node = &self.forest.nodes()[position];
        if node.is_leaf() {
            return node.value();
        }
        let (left, right) = node.children();
        let share = self.left_shares[position];
        share * self.expected(left) + (1.0 - share) * self.expected(right)
    }
}

/// One row on its way through one tree. `steps` holds the paths of all open nodes, end to end.
struct Walk<'a> {
    shap: &'a TreeShap<'a>,
    row: &'a [f64],
    out: &'a mut [f64],
    steps: Vec<Step>,
}

impl Walk<'_> {
    /// Visits a node whose path starts at `start` and is about to get one more step.
    fn visit(&mut self, position: usize, start: usize, step: Step) {
        extend(&mut self.steps, start, step);
        let node = &self.shap.forest.nodes()[position];
        if node.is_leaf() {
            self.add_leaf(start, node.value());
            return;
        }
        let feature = node.feature();
        // A feature that is on the path already is taken out first: it counts once.
        let (mut zero, mut followed) = (1.0, true);
        if let Some(at) = self.steps[start..].iter().position(|s| s.feature == feature) {
            let step = self.steps[start + at];
            (zero, followed) = (step.zero, step.followed);
            unwind(&mut self.steps, start, at);
        }
        let (left, right) = node.children();
        let goes_left = node.goes_left(self.row[feature]);
        let share = self.shap.left_shares[position];
        for (child, share, here) in [(left, share, goes_left), (right, 1.0 - share, !goes_left)] {
            let step =
                Step { feature, zero: zero * share, followed: followed && here, weight: 0.0 };
            // A side that neither the row nor any training weight takes contributes nothing.
            if step.zero > 0.0 || step.followed {
                let child_start = self.steps.len();
                self.steps.extend_from_within(start..);
                self.visit(child, child_start, step);
                self.steps.truncate(child_start);
            }
        }
    }

    fn add_leaf(&mut self, start: usize, value: f64) {
        let path = &self.steps[start..];
        // Where the row leaves the path, the share `zero` cancels: one sum serves all such steps.
        let mut left_sum = None;
        for step in &path[1..] {
            self.out[step.feature] += if step.followed {
                followed_sum(path, step.zero) * (1.0 - step.zero) * value
            } else {
                -*left_sum.get_or_insert_with(|| unfollowed_sum(path)) * value
            };
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn extend(steps: &mut Vec<Step>, start: usize, step: Step) {
    let depth = steps.len() - start;
    steps.push(Step { weight: if depth == 0 { 1.0 } else { 0.0 }, ..step });
    let path = &mut steps[start..];
    let inverse = INVERSES[depth + 1];
    for i in (0..depth).rev() {
        if step.followed {
            path[i + 1].weight += path[i].weight * (i + 1) as f64 * inverse;
        }
        path[i].weight *= step.zero * (depth - i) as f64 * inverse;
    }
}

/// Takes the step at `at` out of the path that starts at `start`: the inverse of [`extend`].
#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn unwind(steps: &mut Vec<Step>, start: usize, at: usize) {
    let path = &mut steps[start..];
    let depth = path.len() - 1;
    let Step { zero, followed, .. } = path[at];
    let size = path.len() as f64;
    let inverse = INVERSES[path.len()];
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        if followed {
            let kept = path[i].weight;
            path[i].weight = next * size * INVERSES[i + 1];
            next = kept - path[i].weight * zero * (depth - i) as f64 * inverse;
        } else {
            // A step that is not followed has training weight, else it was not visited.
            path[i].weight *= size * INVERSES[depth - i] / zero;
        }
    }
    for i in at..depth {
        path[i] = Step { weight: path[i].weight, ..path[i + 1] };
    }
    steps.pop();
}

/// Sum of the weights that would be left without a followed step of share `zero`.
#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn followed_sum(path: &[Step], zero: f64) -> f64 {
    let depth = path.len() - 1;
    let size = path.len() as f64;
    let scale = zero * INVERSES[path.len()];
    let (mut next, mut total) = (path[depth].weight, 0.0);
    for i in (0..depth).rev() {
        let weight = next * size * INVERSES[i + 1];
        total += weight;
        next = path[i].weight - weight * scale * (depth - i) as f64;
    }
    total
}

/// The same without a step that is not followed, times its share.
#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn unfollowed_sum(path: &[Step]) -> f64 {
    let depth = path.len() - 1;
    let sum: f64 = (0..depth).map(|i| path[i].weight * INVERSES[depth - i]).sum();
    sum * path.len() as f64
}

#[cfg(test)]
mod tests;
