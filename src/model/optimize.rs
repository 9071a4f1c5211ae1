//! Maximises a smooth function of a few variables with exact first and second derivatives.
//!
//! In: a function that gives value, gradient and Hessian at a point, and a start. Out: the point
//! reached, its derivatives, and whether the full Newton step there is negligible. The method is
//! a trust-region Newton search on the eigenvalues of the negative Hessian, so it leaves saddles
//! and survives indefinite starts. It deliberately knows no model, no data and no threads: the
//! same function gives the same bits.

/// Value, gradient and Hessian of a function of `N` variables at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Derivs<const N: usize> {
    /// Function value.
    pub(crate) value: f64,
    /// First derivatives.
    pub(crate) gradient: [f64; N],
    /// Second derivatives, both triangles filled.
    pub(crate) hessian: [[f64; N]; N],
}

impl<const N: usize> Derivs<N> {
    /// The zero function.
    pub(crate) const ZERO: Self = Self { value: 0.0, gradient: [0.0; N], hessian: [[0.0; N]; N] };

    /// Adds another function.
    pub(crate) fn add(&mut self, other: &Self) {
        self.add_scaled(other, 1.0);
    }

    /// Adds a multiple of another function.
    pub(crate) fn add_scaled(&mut self, other: &Self, factor: f64) {
        self.value += factor * other.value;
        for i in 0..N {
            self.gradient[i] += factor * other.gradient[i];
            for j in 0..N {
                self.hessian[i][j] += factor * other.hessian[i][j];
            }
        }
    }

    /// Largest absolute first derivative.
    pub(crate) fn gradient_max(&self) -> f64 {
        self.gradient.iter().fold(0.0, |most, g| f64::max(most, g.abs()))
    }

    fn is_finite(&self) -> bool {
        self.value.is_finite()
            && self.gradient.iter().all(|g| g.is_finite())
            && self.hessian.iter().flatten().all(|h| h.is_finite())
    }
}

/// Why the search stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The full Newton step is negligible and the Hessian is negative definite.
    Converged,
    /// A variable ran to the bound: the function rises along a ridge.
    Bound,
    /// The step or iteration limit was reached, or the function is not finite at the start.
    Stalled,
}

/// Where the search ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Optimum<const N: usize> {
    /// The best point.
    pub(crate) point: [f64; N],
    /// Derivatives there.
    pub(crate) derivs: Derivs<N>,
    /// Why the search stopped.
    pub(crate) stop: Stop,
    /// Function evaluations used.
    pub(crate) n_evaluations: u32,
}

/// Evaluations after which a search gives up; well-behaved fits need 10 to 40.
const EVALUATIONS_MAX: u32 = 300;
/// A full Newton step below this (in log parameters) is convergence: the next one is its square.
const STEP_NEGLIGIBLE: f64 = 1e-9;
/// A full Newton step below this that gains nothing is convergence to the digits there are.
const STEP_LAST: f64 = 3e-5;
/// Newton steps below this are judged by the gradient too.
const NEAR_TOP: f64 = 1e-2;
/// Log parameters beyond this are a ridge, not an optimum: exp(35) is 1e15.
const BOUND: f64 = 35.0;
const RADIUS_START: f64 = 1.0;
const RADIUS_MAX: f64 = 4.0;
const RADIUS_MIN: f64 = 1e-12;
/// Predicted gains below this share of the value drown in rounding: then the step is trusted.
const NOISE_SHARE: f64 = 1e-13;

/// Maximises `function` from `start`.
pub(crate) fn maximize<const N: usize>(
    start: [f64; N],
    function: impl Fn(&[f64; N]) -> Derivs<N>,
) -> Optimum<N> {
    let mut best =
        Optimum { point: start, derivs: function(&start), stop: Stop::Stalled, n_evaluations: 1 };
    if !best.derivs.is_finite() {
        return best;
    }
    let mut radius = RADIUS_START;
    while best.n_evaluations < EVALUATIONS_MAX && radius > RADIUS_MIN {
        let step = trust_region_step(&best.derivs, radius);
        let mut point = best.point;
        for (p, s) in point.iter_mut().zip(step.step) {
            *p += s;
        }
        if point.iter().any(|p| p.abs() > BOUND) {
            best.stop = Stop::Bound;
            return best;
        }
        let derivs = function(&point);
        best.n_evaluations += 1;
        let gain = derivs.value - best.derivs.value;
        let in_noise = step.gain <= NOISE_SHARE * (1.0 + best.derivs.value.abs());
        // Close to the top a falling gradient is proof enough: values may have no digits left.
        let contracts = step.is_newton
            && (in_noise || step.length < NEAR_TOP)
            && derivs.gradient_max() <= 0.5 * best.derivs.gradient_max();
        let is_better = derivs.is_finite() && (gain > 1e-4 * step.gain || contracts);
        if is_better {
            best.point = point;
            best.derivs = derivs;
            if step.at_boundary && gain > 0.7 * step.gain {
                radius = f64::min(2.0 * radius, RADIUS_MAX);
            }
        }
        if step.is_newton && step.length < STEP_NEGLIGIBLE {
            best.stop = Stop::Converged;
            return best;
        }
        if !is_better && step.is_newton && (in_noise || step.length < STEP_LAST) {
            // No further digit can be gained: the step is as small as rounding allows.
            best.stop = if step.length < STEP_LAST { Stop::Converged } else { Stop::Stalled };
            return best;
        }
        if !is_better || (gain < 0.25 * step.gain && !contracts) {
            radius = 0.3 * f64::min(radius, step.length);
        }
    }
    best
}

struct Step<const N: usize> {
    step: [f64; N],
    length: f64,
    /// Rise of the quadratic model.
    gain: f64,
    at_boundary: bool,
    /// Whether this is the full Newton step on a negative definite Hessian.
    is_newton: bool,
}

/// The maximiser of the quadratic model within `radius`.
fn trust_region_step<const N: usize>(derivs: &Derivs<N>, radius: f64) -> Step<N> {
    let mut curvature = derivs.hessian;
    for entry in curvature.iter_mut().flatten() {
        *entry = -*entry;
    }
    let (values, vectors) = eigen_symmetric(curvature);
    let mut slope = [0.0; N];
    for (k, s) in slope.iter_mut().enumerate() {
        *s = (0..N).map(|i| vectors[i][k] * derivs.gradient[i]).sum();
    }
    let least = values.iter().fold(f64::INFINITY, |least, v| least.min(*v));
    let most = values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let floor = 1e-14 * most + f64::MIN_POSITIVE;
    let length_at = |shift: f64| -> f64 {
        (0..N).map(|k| (slope[k] / (values[k] + shift)).powi(2)).sum::<f64>().sqrt()
    };
    let is_newton = least > floor && length_at(0.0) <= radius;
    let shift = if is_newton {
        0.0
    } else {
        boundary_shift(f64::max(0.0, floor - least), most, |s| length_at(s) - radius)
    };
    let mut coords = [0.0; N];
    for k in 0..N {
        coords[k] = slope[k] / (values[k] + shift);
    }
    if !is_newton && length_at(shift) < 0.5 * radius && least <= floor {
        // The slope has no part along the direction of negative curvature: walk along it.
        if let Some(k) = (0..N).find(|&k| values[k] <= least) {
            coords[k] += if slope[k] < 0.0 { -radius } else { radius };
        }
    }
    let mut step = [0.0; N];
    for (i, s) in step.iter_mut().enumerate() {
        *s = (0..N).map(|k| vectors[i][k] * coords[k]).sum();
    }
    let gain = (0..N).map(|k| coords[k] * (slope[k] - 0.5 * values[k] * coords[k])).sum();
    let length = coords.iter().map(|c| c * c).sum::<f64>().sqrt();
    Step { step, length, gain, at_boundary: !is_newton, is_newton }
}

/// The shift at which `excess` (falling in the shift) is zero, by bisection in the logarithm.
fn boundary_shift(least: f64, scale: f64, excess: impl Fn(f64) -> f64) -> f64 {
    let start = least * (1.0 + 1e-12) + 1e-14 * scale + f64::MIN_POSITIVE;
    if excess(start) <= 0.0 {
        return start;
    }
    let mut width = f64::max(scale, 1e-300);
    for _ in 0..200 {
        if excess(start + width) <= 0.0 {
            break;
        }
        width *= 4.0;
    }
    let (mut low, mut high) = (0.0, width);
    for _ in 0..200 {
        let middle =
            if low > 0.0 && high > 16.0 * low { (low * high).sqrt() } else { 0.5 * (low + high) };
        if excess(start + middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    start + high
}

/// Eigenvalues and eigenvectors (in columns) of a symmetric matrix by Jacobi rotations.
#[allow(clippy::needless_range_loop, reason = "rotations mix rows and columns by index")]
pub(crate) fn eigen_symmetric<const N: usize>(
    mut matrix: [[f64; N]; N],
) -> ([f64; N], [[f64; N]; N]) {
    let mut vectors = identity::<N>();
    for _ in 0..60 {
        let off: f64 =
            (0..N).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| matrix[i][j].abs()).sum();
        let on: f64 = (0..N).map(|i| matrix[i][i].abs()).sum();
        if off <= 1e-18 * on || off <= f64::MIN_POSITIVE {
            break;
        }
        for p in 0..N {
            for q in (p + 1)..N {
                if matrix[p][q].abs() <= f64::MIN_POSITIVE {
                    continue;
                }
                let theta = 0.5 * (matrix[q][q] - matrix[p][p]) / matrix[p][q];
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..N {
                    let (kp, kq) = (matrix[k][p], matrix[k][q]);
                    matrix[k][p] = c * kp - s * kq;
                    matrix[k][q] = s * kp + c * kq;
                }
                for k in 0..N {
                    let (pk, qk) = (matrix[p][k], matrix[q][k]);
                    matrix[p][k] = c * pk - s * qk;
                    matrix[q][k] = s * pk + c * qk;
                }
                for row in &mut vectors {
                    let (kp, kq) = (row[p], row[q]);
                    row[p] = c * kp - s * kq;
                    row[q] = s * kp + c * kq;
                }
            }
        }
    }
    let mut values = [0.0; N];
    for (i, value) in values.iter_mut().enumerate() {
        *value = matrix[i][i];
    }
    (values, vectors)
}

/// Inverse of a symmetric positive definite matrix; none where it is not.
pub(crate) fn invert_positive<const N: usize>(matrix: [[f64; N]; N]) -> Option<[[f64; N]; N]> {
    // Scaling to a unit diagonal first keeps the digits of parameters known to different accuracy.
    let mut scale = [0.0; N];
    for (i, s) in scale.iter_mut().enumerate() {
        if matrix[i][i].is_nan() || matrix[i][i] <= 0.0 {
            return None;
        }
        *s = 1.0 / matrix[i][i].sqrt();
    }
    let mut scaled = matrix;
    for i in 0..N {
        for j in 0..N {
            scaled[i][j] *= scale[i] * scale[j];
        }
    }
    let (values, vectors) = eigen_symmetric(scaled);
    if values.iter().any(|v| v.is_nan() || *v <= 1e-14) {
        return None;
    }
    let mut inverse = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..N {
            let sum: f64 = (0..N).map(|k| vectors[i][k] * vectors[j][k] / values[k]).sum();
            inverse[i][j] = sum * scale[i] * scale[j];
        }
    }
    Some(inverse)
}

fn identity<const N: usize>() -> [[f64; N]; N] {
    let mut matrix = [[0.0; N]; N];
    for (i, row) in matrix.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(p: &[f64; 2]) -> Derivs<2> {
        let (x, y) = (p[0], p[1]);
        let u = y - x * x;
        Derivs {
            value: -(100.0 * u * u + (1.0 - x).powi(2)),
            gradient: [400.0 * x * u + 2.0 * (1.0 - x), -200.0 * u],
            hessian: [[400.0 * u - 800.0 * x * x - 2.0, 400.0 * x], [400.0 * x, -200.0]],
        }
    }

    #[test]
    fn curved_valley_is_followed_to_its_top() {
        let top = maximize([-1.2, 1.0], rosenbrock);
        assert_eq!(top.stop, Stop::Converged);
        assert!(top.point.iter().all(|p| (p - 1.0).abs() < 1e-12), "{top:?}");
    }

    #[test]
    fn saddle_is_left() {
        // -(x^2 - 1)^2 - y^2 has a saddle at 0 with zero slope, tops at x = -1 and 1.
        let top = maximize([0.0, 0.3], |p: &[f64; 2]| Derivs {
            value: -(p[0] * p[0] - 1.0).powi(2) - p[1] * p[1],
            gradient: [-4.0 * p[0] * (p[0] * p[0] - 1.0), -2.0 * p[1]],
            hessian: [[-12.0 * p[0] * p[0] + 4.0, 0.0], [0.0, -2.0]],
        });
        assert_eq!(top.stop, Stop::Converged);
        assert!((top.point[0].abs() - 1.0).abs() < 1e-12 && top.point[1].abs() < 1e-12);
    }

    #[test]
    fn endless_ridge_is_no_optimum() {
        // -exp(-x) rises forever, ever more slowly.
        let top = maximize([0.0], |p: &[f64; 1]| {
            let e = (-p[0]).exp();
            Derivs { value: -e, gradient: [e], hessian: [[-e]] }
        });
        assert_ne!(top.stop, Stop::Converged);
    }

    #[test]
    fn inverse_times_matrix_is_one() {
        let matrix = [[4.0, 1.0, 0.5], [1.0, 3e-4, 1e-5], [0.5, 1e-5, 2e6]];
        assert!(invert_positive(matrix).is_none(), "not positive definite");
        let matrix = [[4.0, 0.01, 0.5], [0.01, 3e-4, 1e-5], [0.5, 1e-5, 2e6]];
        let inverse = invert_positive(matrix).unwrap();
        for (i, row) in matrix.iter().enumerate() {
            for j in 0..3 {
                let sum: f64 = row.iter().zip(&inverse).map(|(m, column)| m * column[j]).sum();
                let want = if i == j { 1.0 } else { 0.0 };
                assert!((sum - want).abs() < 1e-9, "{i} {j} {sum}");
            }
        }
    }
}
