//! Recalibration of probabilities on rows that the model has not seen.
//!
//! In: logits or probabilities and outcomes. Out: a line on the logit scale (two parameters, safe
//! on few rows) or a monotone step line (only for thousands of rows).
//! It deliberately does not decide whether recalibration helps: a later window does.

use super::error::{FitError, check_classes, check_length};
use super::link::{clamp_prob, sigmoid, softplus};

/// Weight of one pseudo-row each for intercept 0 and slope 1: nothing against some dozen real
/// rows, but it keeps the optimum finite where the outcomes can be separated perfectly.
const RIDGE: f64 = 1e-3;
/// Newton steps; about six are needed.
const STEPS_MAX: usize = 100;
/// Relative rounding of a loss summed over many rows.
const LOSS_ROUNDING: f64 = 1e-13;
/// Largest absolute gradient a row at the optimum.
const GRADIENT_ROW_MAX: f64 = 1e-9;

/// A line on the logit scale: `calibrated logit = intercept + slope * logit`.
///
/// Platt's scaling applied to the logit. Read as a measurement, slope 1 and intercept 0 mean a
/// calibrated model; a slope below 1 means predictions that are too extreme.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitLine {
    intercept: f64,
    slope: f64,
}

impl LogitLine {
    /// The line that changes nothing.
    pub const IDENTITY: Self = Self { intercept: 0.0, slope: 1.0 };

    /// Takes a finite intercept and a finite slope above 0.
    ///
    /// # Errors
    /// [`FitError::Spec`] or [`FitError::Inverted`] otherwise.
    pub fn try_new(intercept: f64, slope: f64) -> Result<Self, FitError> {
        if !intercept.is_finite() {
            let wanted = "finite";
            return Err(FitError::Spec { parameter: "intercept", found: intercept, wanted });
        }
        if !(slope.is_finite() && slope > 0.0) {
            return Err(FitError::Inverted { slope });
        }
        Ok(Self { intercept, slope })
    }

    /// Fits the line for recalibration: the ranking must survive, so the slope must be positive.
    ///
    /// # Errors
    /// Those of [`LogitLine::measure`], and [`FitError::Inverted`] for a slope that is not
    /// positive: then the model must not be used at all.
    pub fn fit(logits: &[f64], y: &[bool]) -> Result<Self, FitError> {
        let found = Self::measure(logits, y)?;
        Self::try_new(found.intercept, found.slope)
    }

    /// Fits the line by maximum likelihood without a condition on the slope, to judge calibration.
    ///
    /// # Errors
    /// [`FitError::Length`], [`FitError::OneClass`], [`FitError::Number`] for a logit that is not
    /// finite, [`FitError::NotConverged`].
    pub fn measure(logits: &[f64], y: &[bool]) -> Result<Self, FitError> {
        check_length("logits", y.len(), logits.len())?;
        check_classes(y)?;
        if let Some(row) = logits.iter().position(|z| !z.is_finite()) {
            let (found, wanted) = (logits[row], "finite");
            return Err(FitError::Number { what: "logit", row, found, wanted });
        }
        newton(logits, y)
    }

    /// Shift on the logit scale.
    #[must_use]
    pub const fn intercept(&self) -> f64 {
        self.intercept
    }

    /// Stretch on the logit scale.
    #[must_use]
    pub const fn slope(&self) -> f64 {
        self.slope
    }

    /// Calibrated logit.
    #[must_use]
    pub fn apply(&self, logit: f64) -> f64 {
        self.intercept + self.slope * logit
    }
}

/// Penalised loss, gradient and Hessian `[aa, ab, bb]` at a line.
fn derivatives(line: LogitLine, logits: &[f64], y: &[bool]) -> (f64, [f64; 2], [f64; 3]) {
    let LogitLine { intercept, slope } = line;
    let pull = slope - 1.0;
    let mut loss = 0.5 * RIDGE * (intercept * intercept + pull * pull);
    let mut gradient = [RIDGE * intercept, RIDGE * pull];
    let mut hessian = [RIDGE, 0.0, RIDGE];
    for (&z, &positive) in logits.iter().zip(y) {
        let eta = line.apply(z);
        let target = if positive { 1.0 } else { 0.0 };
        let p = sigmoid(eta);
        loss += if positive { softplus(-eta) } else { softplus(eta) };
        gradient[0] += p - target;
        gradient[1] += (p - target) * z;
        let curvature = p * (1.0 - p);
        hessian[0] += curvature;
        hessian[1] += curvature * z;
        hessian[2] += curvature * z * z;
    }
    (loss, gradient, hessian)
}

fn newton(logits: &[f64], y: &[bool]) -> Result<LogitLine, FitError> {
    let mut line = LogitLine::IDENTITY;
    let (mut loss, mut gradient, mut hessian) = derivatives(line, logits, y);
    #[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
    let n = y.len() as f64;
    let scale = logits.iter().fold(1.0_f64, |a, z| a.max(z.abs()));
    let size = |g: [f64; 2]| g[0].abs().max(g[1].abs() / scale) / n;
    for _ in 0..STEPS_MAX {
        if size(gradient) <= 0.01 * GRADIENT_ROW_MAX {
            break;
        }
        let [aa, ab, bb] = hessian;
        let determinant = aa * bb - ab * ab;
        let da = (bb * gradient[0] - ab * gradient[1]) / determinant;
        let db = (aa * gradient[1] - ab * gradient[0]) / determinant;
        let mut share = 1.0;
        let better = loop {
            let next = LogitLine {
                intercept: line.intercept - share * da,
                slope: line.slope - share * db,
            };
            let found = derivatives(next, logits, y);
            // Near the optimum the loss, a sum over the rows, falls by less than its own rounding:
            // there the gradient tells.
            let is_equal = found.0 <= loss * (1.0 + LOSS_ROUNDING);
            if found.0 < loss || (is_equal && size(found.1) < size(gradient)) {
                break Some((next, found));
            }
            share *= 0.5;
            if share < 1e-9 {
                break None;
            }
        };
        let Some((next, found)) = better else { break };
        line = next;
        (loss, gradient, hessian) = found;
    }
    let gradient = size(gradient);
    if gradient <= GRADIENT_ROW_MAX {
        Ok(line)
    } else {
        Err(FitError::NotConverged { model: "recalibration", n_steps: STEPS_MAX, gradient })
    }
}

/// A monotone map from probability to probability, by pooling adjacent violators.
///
/// Linear between its knots and flat outside. It follows any monotone shape, so it needs thousands
/// of rows and hundreds of the rarer outcome; it also creates ties.
#[derive(Debug, Clone, PartialEq)]
pub struct Isotonic {
    from: Vec<f64>,
    to: Vec<f64>,
}

impl Isotonic {
    /// Fits the non-decreasing map with the least squared error.
    ///
    /// # Errors
    /// [`FitError::Length`], [`FitError::OneClass`], [`FitError::Number`] for a value outside
    /// [0, 1].
    pub fn fit(probs: &[f64], y: &[bool]) -> Result<Self, FitError> {
        check_length("probabilities", y.len(), probs.len())?;
        check_classes(y)?;
        if let Some(row) = probs.iter().position(|p| !(0.0..=1.0).contains(p)) {
            let (found, wanted) = (probs[row], "in [0, 1]");
            return Err(FitError::Number { what: "probability", row, found, wanted });
        }
        let mut order: Vec<usize> = (0..probs.len()).collect();
        order.sort_by(|&a, &b| probs[a].total_cmp(&probs[b]));
        let mut blocks: Vec<Block> = Vec::new();
        for &row in &order {
            let (p, hits) = (probs[row], u64::from(y[row]));
            match blocks.last_mut() {
                // Equal inputs must have one output: they start as one block.
                Some(last) if last.is_at(p) => last.add(hits),
                _ => {
                    pool(&mut blocks);
                    blocks.push(Block { first: p, last: p, hits, n_rows: 1 });
                }
            }
        }
        pool(&mut blocks);
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for block in &blocks {
            from.push(block.first);
            to.push(block.mean());
            if block.last > block.first {
                from.push(block.last);
                to.push(block.mean());
            }
        }
        Ok(Self { from, to })
    }

    /// Calibrated probability, clamped away from 0 and 1; NaN for NaN.
    #[must_use]
    pub fn apply(&self, prob: f64) -> f64 {
        if prob.is_nan() {
            return f64::NAN;
        }
        let right = self.from.partition_point(|&knot| knot < prob);
        let found = if right == 0 {
            self.to[0]
        } else if right == self.from.len() {
            self.to[right - 1]
        } else {
            let (x0, x1) = (self.from[right - 1], self.from[right]);
            let (y0, y1) = (self.to[right - 1], self.to[right]);
            y0 + (y1 - y0) * ((prob - x0) / (x1 - x0))
        };
        clamp_prob(found)
    }

    /// Takes knots as [`Isotonic::knots`] gives them: at least one, inputs rising, outputs never
    /// falling, all in [0, 1].
    ///
    /// # Errors
    /// [`FitError::Empty`], or [`FitError::Number`] with the first knot that breaks a rule.
    pub fn try_from_knots(knots: &[(f64, f64)]) -> Result<Self, FitError> {
        if knots.is_empty() {
            return Err(FitError::Empty);
        }
        let (mut x_min, mut y_min) = (f64::NEG_INFINITY, 0.0);
        for (row, &(x, y)) in knots.iter().enumerate() {
            if !((0.0..=1.0).contains(&x) && x > x_min) {
                let wanted = "in [0, 1] and above the knot before";
                return Err(FitError::Number { what: "knot input", row, found: x, wanted });
            }
            if !(y_min..=1.0).contains(&y) {
                let wanted = "in [0, 1] and not below the knot before";
                return Err(FitError::Number { what: "knot output", row, found: y, wanted });
            }
            (x_min, y_min) = (x, y);
        }
        let (from, to) = knots.iter().copied().unzip();
        Ok(Self { from, to })
    }

    /// Knots, ascending: input and output.
    pub fn knots(&self) -> impl ExactSizeIterator<Item = (f64, f64)> + '_ {
        self.from.iter().copied().zip(self.to.iter().copied())
    }
}

/// Neighbouring inputs with one output.
#[derive(Debug)]
struct Block {
    first: f64,
    last: f64,
    hits: u64,
    n_rows: u64,
}

impl Block {
    fn is_at(&self, p: f64) -> bool {
        self.last.total_cmp(&p).is_eq() && self.first.total_cmp(&p).is_eq()
    }

    const fn add(&mut self, hits: u64) {
        self.hits += hits;
        self.n_rows += 1;
    }

    #[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
    fn mean(&self) -> f64 {
        self.hits as f64 / self.n_rows as f64
    }
}

/// Merges the last blocks as long as an earlier one has no lower mean. Means are compared as
/// integer fractions, so equal means are equal.
fn pool(blocks: &mut Vec<Block>) {
    while let [.., before, last] = blocks.as_mut_slice() {
        let left = u128::from(before.hits) * u128::from(last.n_rows);
        let right = u128::from(last.hits) * u128::from(before.n_rows);
        if left < right {
            return;
        }
        before.last = last.last;
        before.hits += last.hits;
        before.n_rows += last.n_rows;
        blocks.pop();
    }
}

#[cfg(test)]
mod tests;
