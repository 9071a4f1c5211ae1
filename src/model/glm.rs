//! Generalised linear model of a mean that is often exactly 0: Tweedie variance, logarithmic link.
//!
//! In: finite columns, targets >= 0, optional weights. Out: `ln mean = intercept + weights * x` on
//! standardised columns, fitted by iteratively reweighted least squares with the exact second
//! derivatives (the loss is convex for a power between 1 and 2).
//!
//! It deliberately fills no missing values. Dunn and Smyth (2018), "Generalized Linear Models With
//! Examples in R", chapter 12.

use super::error::{FitError, check_length};
use super::linear::{Linear, LinearV1, LinearV1Error};
use super::standardize::Standardizer;

/// Newton steps; about ten are needed.
const STEPS_MAX: usize = 100;
/// Largest absolute gradient for a unit of weight at the optimum, against the mean target.
const GRADIENT_MAX: f64 = 1e-8;

/// Settings of a Tweedie regression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TweedieGlmSpec {
    /// Variance power, in (1, 2): variance = dispersion * mean^power.
    pub power: f64,
    /// Strength of the penalty `l2 / 2 * sum(weight^2)` against half the deviance summed over
    /// rows, on standardised columns; the intercept is free. Finite, >= 0; scikit-learn's
    /// `alpha * sum of sample weights`.
    pub l2: f64,
}

impl Default for TweedieGlmSpec {
    /// Power 1.5, the middle between counts and sizes, and one pseudo-row of penalty.
    fn default() -> Self {
        Self { power: 1.5, l2: 1.0 }
    }
}

/// A fitted Tweedie regression.
#[derive(Debug, Clone, PartialEq)]
pub struct TweedieGlm {
    linear: Linear,
}

impl TweedieGlm {
    /// Fits the mean of `target` on columns of finite values.
    ///
    /// # Errors
    /// [`FitError::Spec`] for a setting out of range; [`FitError::Length`], [`FitError::Feature`],
    /// [`FitError::Number`], [`FitError::OneClass`] (all targets 0) for the data;
    /// [`FitError::NotConverged`].
    pub fn fit(
        spec: &TweedieGlmSpec,
        x: &[Vec<f64>],
        target: &[f64],
        row_weights: Option<&[f64]>,
    ) -> Result<Self, FitError> {
        check(spec, target, row_weights)?;
        let scaler = Standardizer::fit(x, target.len())?;
        let columns: Vec<Vec<f64>> = scaler
            .active
            .iter()
            .map(|&column| x[column].iter().map(|&v| scaler.scaled(column, v)).collect())
            .collect();
        let ones = vec![1.0; target.len()];
        let row_weights = row_weights.unwrap_or(&ones);
        let problem = Problem { spec: *spec, columns: &columns, target, row_weights };
        let beta = problem.solve()?;
        Ok(Self { linear: Linear::new(beta[0], &beta[1..], scaler) })
    }

    /// Number of columns it was fitted on.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.linear.weights.len()
    }

    /// Logarithm of the mean at the mean of every column.
    #[must_use]
    pub const fn intercept(&self) -> f64 {
        self.linear.intercept
    }

    /// Change of the logarithm for one standard deviation of a column.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.linear.weights
    }

    /// Logarithm of the predicted mean; NaN if the row has a NaN or another number of values than
    /// [`TweedieGlm::n_features`].
    #[must_use]
    pub fn log_mean(&self, row: &[f64]) -> f64 {
        self.linear.sum(row)
    }

    /// Predicted mean, > 0, in units of the target; NaN as for [`TweedieGlm::log_mean`].
    #[must_use]
    pub fn predict(&self, row: &[f64]) -> f64 {
        libm::exp(self.log_mean(row))
    }

    pub(super) const fn linear(&self) -> &Linear {
        &self.linear
    }

    /// The form it is stored in.
    #[must_use]
    pub fn to_v1(&self) -> LinearV1 {
        self.linear.to_v1()
    }
}

impl TryFrom<LinearV1> for TweedieGlm {
    type Error = LinearV1Error;

    fn try_from(stored: LinearV1) -> Result<Self, Self::Error> {
        Ok(Self { linear: Linear::try_from(stored)? })
    }
}

fn check(
    spec: &TweedieGlmSpec,
    target: &[f64],
    row_weights: Option<&[f64]>,
) -> Result<(), FitError> {
    let TweedieGlmSpec { power, l2 } = *spec;
    if !(power > 1.0 && power < 2.0) {
        let wanted = "between 1 and 2";
        return Err(FitError::Spec { parameter: "power", found: power, wanted });
    }
    let wanted = "a finite number of at least 0";
    if !(l2.is_finite() && l2 >= 0.0) {
        return Err(FitError::Spec { parameter: "l2", found: l2, wanted });
    }
    if target.is_empty() {
        return Err(FitError::Empty);
    }
    check_length("weights", target.len(), row_weights.map_or(target.len(), <[f64]>::len))?;
    let mut sum = 0.0;
    for (row, &found) in target.iter().enumerate() {
        if !(found.is_finite() && found >= 0.0) {
            return Err(FitError::Number { what: "target", row, found, wanted });
        }
        let weight = row_weights.map_or(1.0, |w| w[row]);
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(FitError::Number { what: "weight", row, found: weight, wanted });
        }
        sum += weight * found;
    }
    if sum > 0.0 && sum.is_finite() {
        Ok(())
    } else {
        Err(FitError::OneClass { n_rows: target.len(), outcome: "zero" })
    }
}

/// The penalised loss on standardised columns.
struct Problem<'a> {
    spec: TweedieGlmSpec,
    columns: &'a [Vec<f64>],
    target: &'a [f64],
    row_weights: &'a [f64],
}

/// Loss, gradient and Hessian at a point; the Hessian is row-major.
struct Slope {
    loss: f64,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
}

impl Problem<'_> {
    fn solve(&self) -> Result<Vec<f64>, FitError> {
        let weight_sum: f64 = self.row_weights.iter().sum();
        let total: f64 = self.row_weights.iter().zip(self.target).map(|(w, y)| w * y).sum();
        let mean = total / weight_sum;
        let mut beta = vec![0.0; self.columns.len() + 1];
        beta[0] = libm::log(mean);
        // The gradient has the unit mean^(2 - power): measured against it, money needs no scale.
        let unit = weight_sum * libm::pow(mean, 2.0 - self.spec.power);
        let size = |g: &[f64]| g.iter().fold(0.0_f64, |a, v| a.max(v.abs())) / unit;
        let mut slope = self.slope(&beta);
        for _ in 0..STEPS_MAX {
            if size(&slope.gradient) <= 1e-4 * GRADIENT_MAX {
                break;
            }
            let Some(step) = newton_step(&slope.hessian, &slope.gradient) else { break };
            let mut share = 1.0;
            let mut better = None;
            while share > 1e-9 {
                let next: Vec<f64> = beta.iter().zip(&step).map(|(b, s)| b - share * s).collect();
                if self.loss(&next) < slope.loss {
                    better = Some(next);
                    break;
                }
                share *= 0.5;
            }
            if let Some(next) = better {
                beta = next;
                slope = self.slope(&beta);
                continue;
            }
            // Near the optimum the loss falls by less than its own rounding: the gradient decides.
            let next: Vec<f64> = beta.iter().zip(&step).map(|(b, s)| b - s).collect();
            let found = self.slope(&next);
            if size(&found.gradient) >= size(&slope.gradient) {
                break;
            }
            (beta, slope) = (next, found);
        }
        let gradient = size(&slope.gradient);
        if gradient <= GRADIENT_MAX && slope.gradient.iter().all(|g| g.is_finite()) {
            Ok(beta)
        } else {
            Err(FitError::NotConverged {
                model: "Tweedie regression",
                n_steps: STEPS_MAX,
                gradient,
            })
        }
    }

    fn log_mean(&self, beta: &[f64], row: usize) -> f64 {
        beta[0] + self.columns.iter().zip(&beta[1..]).map(|(c, b)| c[row] * b).sum::<f64>()
    }

    fn penalty(&self, beta: &[f64]) -> f64 {
        0.5 * self.spec.l2 * beta[1..].iter().map(|b| b * b).sum::<f64>()
    }

    fn loss(&self, beta: &[f64]) -> f64 {
        let p = self.spec.power;
        let mut loss = self.penalty(beta);
        for (row, (&y, &w)) in self.target.iter().zip(self.row_weights).enumerate() {
            let eta = self.log_mean(beta, row);
            let below = libm::exp((1.0 - p) * eta);
            let above = libm::exp((2.0 - p) * eta);
            loss += w * (y * below / (p - 1.0) + above / (2.0 - p));
        }
        loss
    }

    fn slope(&self, beta: &[f64]) -> Slope {
        let (p, size) = (self.spec.power, beta.len());
        let mut gradient: Vec<f64> = beta.iter().map(|b| self.spec.l2 * b).collect();
        gradient[0] = 0.0;
        let mut hessian = vec![0.0; size * size];
        for idx in 1..size {
            hessian[idx * size + idx] = self.spec.l2;
        }
        let mut features = vec![1.0; size];
        for (row, (&y, &w)) in self.target.iter().zip(self.row_weights).enumerate() {
            for (slot, column) in features[1..].iter_mut().zip(self.columns) {
                *slot = column[row];
            }
            let eta = features.iter().zip(beta).map(|(x, b)| x * b).sum::<f64>();
            let below = y * libm::exp((1.0 - p) * eta);
            let above = libm::exp((2.0 - p) * eta);
            let residual = w * (above - below);
            let curvature = w * ((2.0 - p) * above + (p - 1.0) * below);
            for i in 0..size {
                gradient[i] += residual * features[i];
                for j in 0..=i {
                    hessian[i * size + j] += curvature * features[i] * features[j];
                }
            }
        }
        Slope { loss: self.loss(beta), gradient, hessian }
    }
}

/// Solves `hessian * step = gradient` for the lower triangle of a symmetric matrix. Where columns
/// depend on each other a small ridge picks one of the equal solutions.
fn newton_step(hessian: &[f64], gradient: &[f64]) -> Option<Vec<f64>> {
    let size = gradient.len();
    let largest = (0..size).fold(0.0_f64, |a, i| a.max(hessian[i * size + i]));
    [0.0, 1e-12, 1e-9, 1e-6].iter().find_map(|ridge| cholesky(hessian, gradient, ridge * largest))
}

fn cholesky(matrix: &[f64], right: &[f64], ridge: f64) -> Option<Vec<f64>> {
    let n = right.len();
    let mut lower = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| lower[i * n + k] * lower[j * n + k]).sum();
            let rest = matrix[i * n + j] - dot;
            if i == j {
                let rest = rest + ridge;
                if !(rest.is_finite() && rest > 1e-14 * matrix[i * n + i]) {
                    return None;
                }
                lower[i * n + i] = rest.sqrt();
            } else {
                lower[i * n + j] = rest / lower[j * n + j];
            }
        }
    }
    let mut solution = right.to_vec();
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| lower[i * n + k] * solution[k]).sum();
        solution[i] = (solution[i] - dot) / lower[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| lower[k * n + i] * solution[k]).sum();
        solution[i] = (solution[i] - dot) / lower[i * n + i];
    }
    Some(solution)
}

#[cfg(test)]
mod tests;
