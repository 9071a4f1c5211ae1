//! Special functions and quadrature nodes of the purchase models.
//!
//! In: positive finite numbers. Out: log-gamma and its derivatives, Pochhammer ratios, the
//! logistic function, Gauss-Legendre nodes. Ratios are formed before logarithms are taken, so
//! that large arguments do not cancel. It deliberately has no hypergeometric function: none of
//! the models needs one.

/// Natural logarithm of the gamma function for `x > 0`.
pub(super) fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// From here on the asymptotic series of digamma and trigamma hold to the last digit.
const ASYMPTOTIC_MIN: f64 = 12.0;

/// Derivative of [`ln_gamma`] for `x > 0`.
pub(super) fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < ASYMPTOTIC_MIN {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    // Coefficients are Bernoulli numbers B(2n) / 2n.
    let tail = y
        * (1.0 / 12.0
            - y * (1.0 / 120.0
                - y * (1.0 / 252.0
                    - y * (1.0 / 240.0 - y * (1.0 / 132.0 - y * 691.0 / 32_760.0)))));
    sum + x.ln() - 0.5 / x - tail
}

/// Second derivative of [`ln_gamma`] for `x > 0`.
pub(super) fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < ASYMPTOTIC_MIN {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    // Coefficients are Bernoulli numbers B(2n).
    let tail = 1.0 / 6.0
        - y * (1.0 / 30.0
            - y * (1.0 / 42.0 - y * (1.0 / 30.0 - y * (5.0 / 66.0 - y * 691.0 / 2_730.0))));
    sum + 1.0 / x + 0.5 * y + y / x * tail
}

/// ln(Gamma(x + a) / Gamma(x)) for `x > 0` and `a >= 0`, without the cancellation of two
/// [`ln_gamma`] of about the same size.
pub(super) fn ln_gamma_ratio(mut x: f64, a: f64) -> f64 {
    // Up to where Stirling's series holds to the last digit, step by step; what is lost from 1 is
    // kept too, because a small `a` takes little.
    let (mut kept, mut lost) = (1.0, 0.0);
    while x < ASYMPTOTIC_MIN {
        lost += kept * a / (x + a);
        kept *= x / (x + a);
        x += 1.0;
    }
    let steps = if lost < 0.5 { f64::ln_1p(-lost) } else { f64::ln(kept) };
    let stirling = |z: f64| {
        let y = 1.0 / (z * z);
        (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1_260.0 - y * (1.0 / 1_680.0 - y / 1_188.0))))
            / z
    };
    let end = x + a;
    steps + (x - 0.5) * (a / x).ln_1p() + a * (end.ln() - 1.0) + (stirling(end) - stirling(x))
}

/// Longest product that is multiplied out; longer ones go through [`ln_gamma`].
const PRODUCT_MAX: u32 = 4_096;

/// ln of the Pochhammer product c (c+1) ... (c+n-1) = Gamma(c+n) / Gamma(c).
pub(super) fn ln_pochhammer(c: f64, n: u32) -> f64 {
    if n > PRODUCT_MAX {
        return ln_gamma(c + f64::from(n)) - ln_gamma(c);
    }
    ln_product((0..n).map(|i| c + f64::from(i)))
}

/// ln of (b)_n / (b+a)_n, the probability that a Beta(a, b) coin of dropping out never falls in
/// `n` throws; at most 0.
pub(super) fn ln_survival(a: f64, b: f64, n: u32) -> f64 {
    if n > PRODUCT_MAX {
        let top = f64::from(n);
        return (ln_gamma(b + top) - ln_gamma(a + b + top)) - (ln_gamma(b) - ln_gamma(a + b));
    }
    ln_product((0..n).map(|i| {
        let c = b + f64::from(i);
        c / (a + c)
    }))
}

/// Multiplies first and takes logarithms only before the product leaves the safe range.
fn ln_product(factors: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut product) = (0.0, 1.0_f64);
    for factor in factors {
        product *= factor;
        if !(1e-150..=1e150).contains(&product) {
            sum += product.ln();
            product = 1.0;
        }
    }
    sum + product.ln()
}

/// ln of c (c+1) ... (c+n-1) with its first and second derivative in c, for rising `n`.
pub(super) struct PochhammerWalk {
    c: f64,
    n: u32,
    /// Logarithm, first and second derivative at the current `n`.
    at: [f64; 3],
}

impl PochhammerWalk {
    pub(super) fn new(c: f64) -> Self {
        Self { c, n: 0, at: [0.0; 3] }
    }

    /// Moves on to `n`, which is not below the last one.
    pub(super) fn advance(&mut self, n: u32) -> [f64; 3] {
        let (from, to) = (self.c + f64::from(self.n), self.c + f64::from(n));
        if n.saturating_sub(self.n) > PRODUCT_MAX {
            self.at[0] += ln_gamma(to) - ln_gamma(from);
            self.at[1] += digamma(to) - digamma(from);
            self.at[2] += trigamma(to) - trigamma(from);
        } else {
            self.at[0] += ln_product((self.n..n).map(|i| self.c + f64::from(i)));
            for i in self.n..n {
                let inverse = 1.0 / (self.c + f64::from(i));
                self.at[1] += inverse;
                self.at[2] -= inverse * inverse;
            }
        }
        self.n = n.max(self.n);
        self.at
    }
}

/// ln(1 + e^z).
pub(super) fn softplus(z: f64) -> f64 {
    if z > 0.0 { z + (-z).exp().ln_1p() } else { z.exp().ln_1p() }
}

/// e^z / (1 + e^z), to full relative accuracy at both ends.
pub(super) fn logistic(z: f64) -> f64 {
    if z < 0.0 {
        let e = z.exp();
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + (-z).exp())
    }
}

/// `logistic(-z)` and `logistic(z)`, cheaper than one by one.
pub(super) fn logistic_pair(z: f64) -> (f64, f64) {
    let e = (-z.abs()).exp();
    let (less, more) = (e / (1.0 + e), 1.0 / (1.0 + e));
    if z < 0.0 { (more, less) } else { (less, more) }
}

/// (1 - e^-z) / z, 1 at z = 0.
pub(super) fn decay_mean(z: f64) -> f64 {
    if z.abs() < 1e-8 { 1.0 - 0.5 * z } else { -(-z).exp_m1() / z }
}

/// Positive halves of the 16 Gauss-Legendre nodes on [-1, 1] and their weights.
const GAUSS_LEGENDRE: [(f64, f64); 8] = [
    (0.095_012_509_837_637_44, 0.189_450_610_455_068_5),
    (0.281_603_550_779_258_9, 0.182_603_415_044_923_58),
    (0.458_016_777_657_227_37, 0.169_156_519_395_002_54),
    (0.617_876_244_402_643_8, 0.149_595_988_816_576_73),
    (0.755_404_408_355_003, 0.124_628_971_255_533_88),
    (0.865_631_202_387_831_8, 0.095_158_511_682_492_79),
    (0.944_575_023_073_232_6, 0.062_253_523_938_647_894),
    (0.989_400_934_991_649_9, 0.027_152_459_411_754_096),
];

/// The same for 12, 10, 8 and 6 nodes.
const GAUSS_LEGENDRE_12: [(f64, f64); 6] = [
    (0.125_233_408_511_468_9, 0.249_147_045_813_402_77),
    (0.367_831_498_998_180_2, 0.233_492_536_538_354_8),
    (0.587_317_954_286_617_5, 0.203_167_426_723_065_92),
    (0.769_902_674_194_304_7, 0.160_078_328_543_346_23),
    (0.904_117_256_370_474_9, 0.106_939_325_995_318_43),
    (0.981_560_634_246_719_2, 0.047_175_336_386_511_83),
];
const GAUSS_LEGENDRE_10: [(f64, f64); 5] = [
    (0.148_874_338_981_631_22, 0.295_524_224_714_752_87),
    (0.433_395_394_129_247_2, 0.269_266_719_309_996_35),
    (0.679_409_568_299_024_4, 0.219_086_362_515_982_04),
    (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
    (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
];
const GAUSS_LEGENDRE_8: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_27),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];
const GAUSS_LEGENDRE_6: [(f64, f64); 3] = [
    (0.238_619_186_083_196_9, 0.467_913_934_572_691_04),
    (0.661_209_386_466_264_5, 0.360_761_573_048_138_6),
    (0.932_469_514_203_152, 0.171_324_492_379_170_36),
];

/// Nodes that a panel needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nodes {
    /// 6.
    Six,
    /// 8.
    Eight,
    /// 10.
    Ten,
    /// 12.
    Twelve,
    /// 16: to the last digit on every panel that the models use.
    Sixteen,
}

/// Calls `visit(node, weight)` for the 16 nodes of Gauss-Legendre on [from, to].
pub(super) fn gauss_legendre(from: f64, to: f64, visit: impl FnMut(f64, f64)) {
    gauss_legendre_of(Nodes::Sixteen, from, to, visit);
}

/// Calls `visit(node, weight)` for the nodes of Gauss-Legendre on [from, to].
pub(super) fn gauss_legendre_of(nodes: Nodes, from: f64, to: f64, mut visit: impl FnMut(f64, f64)) {
    let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
    let table: &[(f64, f64)] = match nodes {
        Nodes::Six => &GAUSS_LEGENDRE_6,
        Nodes::Eight => &GAUSS_LEGENDRE_8,
        Nodes::Ten => &GAUSS_LEGENDRE_10,
        Nodes::Twelve => &GAUSS_LEGENDRE_12,
        Nodes::Sixteen => &GAUSS_LEGENDRE,
    };
    for &(x, w) in table {
        visit(middle - half * x, half * w);
        visit(middle + half * x, half * w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, want: f64, tolerance: f64) {
        assert!((found - want).abs() <= tolerance * want.abs().max(1e-300), "{found} {want}");
    }

    #[test]
    fn digamma_and_trigamma_have_their_known_values() {
        let euler = 0.577_215_664_901_532_9;
        close(digamma(1.0), -euler, 1e-15);
        close(digamma(0.5), -euler - 2.0 * 2.0_f64.ln(), 1e-15);
        close(trigamma(1.0), std::f64::consts::PI.powi(2) / 6.0, 1e-15);
        close(trigamma(0.5), std::f64::consts::PI.powi(2) / 2.0, 1e-15);
        for x in [1e-4, 0.3, 7.7, 11.999, 12.001, 5e3, 1e8] {
            close(digamma(x), digamma(x + 1.0) - 1.0 / x, 1e-13);
            close(trigamma(x), trigamma(x + 1.0) + 1.0 / (x * x), 1e-13);
        }
    }

    #[test]
    fn products_agree_with_log_gamma() {
        for (c, n) in [(0.24, 1), (0.24, 150), (7.0, 4_000), (3.0, 5_000)] {
            close(ln_pochhammer(c, n), ln_gamma(c + f64::from(n)) - ln_gamma(c), 1e-12);
            let mut walk = PochhammerWalk::new(c);
            walk.advance(n / 3);
            let at = walk.advance(n);
            close(at[0], ln_pochhammer(c, n), 1e-12);
            close(at[1], digamma(c + f64::from(n)) - digamma(c), 1e-11);
            close(at[2], trigamma(c + f64::from(n)) - trigamma(c), 1e-11);
        }
        close(ln_survival(0.8, 2.4, 3), (2.4 / 3.2 * 3.4 / 4.2 * 4.4 / 5.2_f64).ln(), 1e-14);
        close(ln_survival(0.8, 2.4, 4_097), ln_survival(0.8, 2.4, 4_096), 1e-3);
    }

    #[test]
    fn ratio_of_gammas_agrees_with_the_product() {
        for (x, n) in [(0.24, 1), (0.24, 40), (7.0, 3), (11.9, 900), (3e4, 4_000)] {
            close(ln_gamma_ratio(x, f64::from(n)), ln_pochhammer(x, n), 1e-13);
        }
        for x in [1e-3, 0.7, 11.0, 13.0, 1e7] {
            close(ln_gamma_ratio(x, 1e-9) / 1e-9, digamma(x) + 0.5e-9 * trigamma(x), 1e-8);
        }
    }

    #[test]
    fn gauss_legendre_is_exact_for_polynomials() {
        for (nodes, degree) in [
            (Nodes::Six, 10),
            (Nodes::Eight, 14),
            (Nodes::Ten, 18),
            (Nodes::Twelve, 22),
            (Nodes::Sixteen, 30),
        ] {
            let mut sum = 0.0;
            gauss_legendre_of(nodes, 1.0, 3.0, |x, w| sum += w * x.powi(degree));
            close(sum, (3.0_f64.powi(degree + 1) - 1.0) / f64::from(degree + 1), 1e-14);
        }
    }

    #[test]
    fn logistic_keeps_small_numbers() {
        close(logistic(-700.0), (-700.0_f64).exp(), 1e-15);
        close(logistic(0.0), 0.5, 0.0);
        close(softplus(800.0), 800.0, 0.0);
        for z in [-700.0, -2.0, 0.0, 0.3, 900.0, f64::INFINITY, f64::NEG_INFINITY] {
            let pair = logistic_pair(z);
            assert_eq!((pair.0.to_bits(), pair.1.to_bits()), {
                (logistic(-z).to_bits(), logistic(z).to_bits())
            });
        }
        close(decay_mean(1e-9), 1.0, 1e-9);
        close(decay_mean(-2.0), (2.0_f64.exp() - 1.0) / 2.0, 1e-15);
    }
}
