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

use super::forest::Forest;

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

/// A feature on the path to a leaf.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: usize,
    /// Share of the training weight that follows the path when the feature is left out.
    zero: f64,
    /// 1 if the row itself follows the path here, else 0.
    one: f64,
    /// Summed weight of the feature subsets of each size.
    weight: f64,
}

/// Explains rows of one forest.
#[derive(Debug, Clone)]
pub struct TreeShap<'a> {
    forest: &'a Forest,
    expected_margin: f64,
}

impl<'a> TreeShap<'a> {
    /// Prepares a forest.
    ///
    /// # Errors
    /// [`ShapError::Cover`] when its file stored no covers.
    pub fn try_new(forest: &'a Forest) -> Result<Self, ShapError> {
        let covers = forest.covers();
        for (position, node) in forest.nodes().iter().enumerate() {
            if !node.is_leaf() {
                let (left, right) = node.children();
                if f64::from(covers[left]) + f64::from(covers[right]) <= 0.0 {
                    return Err(ShapError::Cover { node: position });
                }
            }
        }
        let mut explainer = Self { forest, expected_margin: forest.base_margin() };
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
        let mut walk = Walk { shap: self, row, out, steps: Vec::new() };
        for &root in self.forest.roots() {
            walk.steps.clear();
            walk.visit(
                root as usize,
                0,
                Step { feature: NO_FEATURE, zero: 1.0, one: 1.0, weight: 0.0 },
            );
        }
        Ok(())
    }

    /// Share of the training weight below a split that went left.
    fn left_share(&self, position: usize) -> f64 {
        let (left, right) = self.forest.nodes()[position].children();
        let covers = self.forest.covers();
        let (left, right) = (f64::from(covers[left]), f64::from(covers[right]));
        left / (left + right)
    }

    /// Mean leaf value below a node. The depth of a forest is limited, so is the recursion.
    fn expected(&self, position: usize) -> f64 {
        let node = &self.forest.nodes()[position];
        if node.is_leaf() {
            return node.value();
        }
        let (left, right) = node.children();
        let share = self.left_share(position);
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
        let (mut zero, mut one) = (1.0, 1.0);
        if let Some(at) = self.steps[start..].iter().position(|s| s.feature == feature) {
            let step = self.steps[start + at];
            (zero, one) = (step.zero, step.one);
            unwind(&mut self.steps, start, start + at);
        }
        let (left, right) = node.children();
        let goes_left = node.goes_left(self.row[feature]);
        let share = self.shap.left_share(position);
        for (child, share, followed) in [(left, share, goes_left), (right, 1.0 - share, !goes_left)]
        {
            let step = Step {
                feature,
                zero: zero * share,
                one: if followed { one } else { 0.0 },
                weight: 0.0,
            };
            // A side that neither the row nor any training weight takes contributes nothing.
            if step.zero > 0.0 || step.one > 0.0 {
                let child_start = self.steps.len();
                self.steps.extend_from_within(start..);
                self.visit(child, child_start, step);
                self.steps.truncate(child_start);
            }
        }
    }

    fn add_leaf(&mut self, start: usize, value: f64) {
        let path = &self.steps[start..];
        for at in 1..path.len() {
            let weight = unwound_sum(path, at);
            self.out[path[at].feature] += weight * (path[at].one - path[at].zero) * value;
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn extend(steps: &mut Vec<Step>, start: usize, step: Step) {
    let depth = steps.len() - start;
    steps.push(Step { weight: if depth == 0 { 1.0 } else { 0.0 }, ..step });
    let path = &mut steps[start..];
    let size = (depth + 1) as f64;
    for i in (0..depth).rev() {
        path[i + 1].weight += step.one * path[i].weight * (i + 1) as f64 / size;
        path[i].weight = step.zero * path[i].weight * (depth - i) as f64 / size;
    }
}

/// Takes a step out of the path that starts at `start`: the inverse of [`extend`].
#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn unwind(steps: &mut Vec<Step>, start: usize, at: usize) {
    let path = &mut steps[start..];
    let at = at - start;
    let depth = path.len() - 1;
    let (zero, one) = (path[at].zero, path[at].one);
    let size = path.len() as f64;
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        if one > 0.0 {
            let kept = path[i].weight;
            path[i].weight = next * size / ((i + 1) as f64 * one);
            next = kept - path[i].weight * zero * (depth - i) as f64 / size;
        } else {
            path[i].weight = path[i].weight * size / (zero * (depth - i) as f64);
        }
    }
    for i in at..depth {
        let Step { feature, zero, one, .. } = path[i + 1];
        path[i] = Step { feature, zero, one, weight: path[i].weight };
    }
    steps.pop();
}

/// Sum of the weights that would be left without a step.
#[allow(clippy::cast_precision_loss, reason = "path lengths are below a thousand")]
fn unwound_sum(path: &[Step], at: usize) -> f64 {
    let depth = path.len() - 1;
    let (zero, one) = (path[at].zero, path[at].one);
    let size = path.len() as f64;
    let mut next = path[depth].weight;
    let mut total = 0.0;
    for i in (0..depth).rev() {
        if one > 0.0 {
            let weight = next * size / ((i + 1) as f64 * one);
            total += weight;
            next = path[i].weight - weight * zero * (depth - i) as f64 / size;
        } else {
            total += path[i].weight * size / (zero * (depth - i) as f64);
        }
    }
    total
}

#[cfg(test)]
mod tests;
