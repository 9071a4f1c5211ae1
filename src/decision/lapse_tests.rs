use super::*;
use crate::features::{GammaPrior, Rhythm, RhythmError};
use libm::lgamma;

const RULE: LapseRule = LapseRule { slipping_at: 0.20, lapsed_at: 0.05, hard_lapsed_days: 365.0 };

/// A small generator for test data: xorshift64*, uniform in (0, 1).
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.next().ln()
    }

    /// A Gamma of whole shape is a sum of exponentials.
    fn gamma(&mut self, shape: u32) -> f64 {
        (0..shape).map(|_| self.exponential()).sum()
    }
}

/// Customers observed for a fixed number of gaps, so that the exposure is not truncated.
fn base(a: u32, b: f64, n: usize) -> Vec<Rhythm> {
    let mut uniform = Uniform(42);
    (0..n)
        .map(|idx| {
            let rate = uniform.gamma(a) / b;
            let repeats = 1 + u32::try_from(idx % 6).unwrap();
            let active_days = (0..repeats).map(|_| uniform.exponential() / rate).sum();
            Rhythm { repeats, active_days }
        })
        .collect()
}

#[test]
fn the_prior_of_a_made_base_is_found_again() {
    for (a, b) in [(2, 60.0), (4, 100.0), (1, 30.0)] {
        let fitted = RhythmBase::fit(&base(a, b, 20_000), &[10.0], 3650.0).unwrap();
        let (found_a, found_b) = (fitted.prior.a, fitted.prior.b);
        assert!((found_a / f64::from(a) - 1.0).abs() < 0.08, "a {a}: {found_a}");
        assert!((found_b / b - 1.0).abs() < 0.10, "b {b}: {found_b}");
    }
}

#[test]
fn the_fit_is_a_maximum_and_does_not_depend_on_the_order() {
    let mut rows = base(3, 80.0, 3_000);
    let fitted = RhythmBase::fit(&rows, &[], 3650.0).unwrap().prior;
    let likelihood = |a: f64, b: f64| -> f64 {
        rows.iter()
            .map(|row| {
                let x = f64::from(row.repeats);
                lgamma(a + x) - lgamma(a) + a * b.ln() - (a + x) * (b + row.active_days).ln()
            })
            .sum()
    };
    let best = likelihood(fitted.a, fitted.b);
    for (da, db) in [(1.02, 1.0), (0.98, 1.0), (1.0, 1.02), (1.0, 0.98), (1.05, 1.05)] {
        assert!(likelihood(fitted.a * da, fitted.b * db) < best);
    }
    rows.reverse();
    let again = RhythmBase::fit(&rows, &[], 3650.0).unwrap().prior;
    assert_eq!((fitted.a.to_bits(), fitted.b.to_bits()), (again.a.to_bits(), again.b.to_bits()));
}

#[test]
fn degenerate_bases_give_a_prior_or_an_error() {
    let none = [Rhythm { repeats: 0, active_days: 0.0 }, Rhythm { repeats: 2, active_days: 0.0 }];
    assert_eq!(RhythmBase::fit(&none, &[], 100.0), Err(RhythmError::NoRepeater));
    assert_eq!(RhythmBase::fit(&[], &[], 100.0), Err(RhythmError::NoRepeater));
    let alike = [Rhythm { repeats: 3, active_days: 30.0 }; 50];
    let base = RhythmBase::fit(&alike, &[10.0; 150], 365.0).unwrap();
    assert!((base.prior.b / base.prior.a - 10.0).abs() < 0.1, "{base:?}");
    assert!(base.prior.a.is_finite() && base.prior.b > 0.0);
    let one = RhythmBase::fit(&[Rhythm { repeats: 1, active_days: 7.0 }], &[7.0], 10.0).unwrap();
    assert!(one.prior.a.is_finite() && one.history_short);
    for bad in [f64::NAN, -1.0, f64::INFINITY] {
        assert!(RhythmBase::fit(&[Rhythm { repeats: 1, active_days: bad }], &[], 9.0).is_err());
        assert!(RhythmBase::fit(&alike, &[bad], 9.0).is_err());
        assert!(RhythmBase::fit(&alike, &[], bad).is_err());
    }
}

#[test]
fn a_short_history_is_said_so() {
    let rows = base(4, 100.0, 2_000);
    assert!(RhythmBase::fit(&rows, &[], 60.0).unwrap().history_short);
    assert!(!RhythmBase::fit(&rows, &[], 365.0).unwrap().history_short);
}

#[test]
fn silence_follows_the_closed_form_and_falls_with_time() {
    let prior = GammaPrior { a: 12.8, b: 287.0 };
    let rhythm = Rhythm { repeats: 3, active_days: 60.0 };
    let expected = (347.0_f64 / 377.0).powf(15.8);
    assert!((prior.silence_prob(rhythm, 30.0) - expected).abs() < 1e-12);
    assert!((prior.silence_prob(rhythm, 0.0) - 1.0).abs() < 1e-15);
    let mut last = 1.0;
    for days in 1..2000 {
        let prob = prior.silence_prob(rhythm, f64::from(days));
        assert!(prob < last && prob >= 0.0);
        last = prob;
    }
    assert!((prior.expected_gap_days(rhythm) - 347.0 / 15.8).abs() < 1e-12);
}

#[test]
fn floors_and_ceiling_bind() {
    let base = RhythmBase {
        prior: GammaPrior { a: 12.8, b: 287.0 },
        gap_days_p50: 30.0,
        gap_days_p90: 90.0,
        history_short: false,
    };
    assert_eq!(RULE.state(&base, 0.21, 100.0), Lapse::Current);
    assert_eq!(RULE.state(&base, 0.20, 100.0), Lapse::Slipping);
    assert_eq!(RULE.state(&base, 0.05, 100.0), Lapse::Lapsed);
    assert_eq!(RULE.state(&base, 0.01, 29.9), Lapse::Current, "floor of slipping");
    assert_eq!(RULE.state(&base, 0.01, 89.9), Lapse::Slipping, "floor of lapsed");
    assert_eq!(RULE.state(&base, 0.90, 365.0), Lapse::Lapsed, "ceiling");
    assert_eq!(RULE.state(&base, f64::NAN, 100.0), Lapse::Current);
}

/// Reference: the same likelihood maximised by a simplex search (Nelder and Mead) in Python.
#[test]
fn the_prior_of_the_cdnow_sample_is_the_reference() {
    const ROWS: &str = include_str!("../../tests/golden/decision/cdnow_sample_rhythms.csv");
    let mut rhythms = Vec::new();
    for line in ROWS.lines().filter(|line| !line.starts_with('#')) {
        let numbers: Vec<u32> = line.split(',').map(|field| field.parse().unwrap()).collect();
        let rhythm = Rhythm { repeats: numbers[0], active_days: f64::from(numbers[1]) };
        rhythms.extend(std::iter::repeat_n(rhythm, usize::try_from(numbers[2]).unwrap()));
    }
    assert_eq!(rhythms.len(), 1040);
    let base = RhythmBase::fit(&rhythms, &[], 365.0).unwrap();
    let (a, b) = (base.prior.a, base.prior.b);
    assert!((a / 2.894_890_47 - 1.0).abs() < 1e-5, "a {a}");
    assert!((b / 149.226_832_9 - 1.0).abs() < 1e-5, "b {b}");
    let rhythm = Rhythm { repeats: 5, active_days: 100.0 };
    assert!((base.prior.silence_prob(rhythm, 60.0) - 0.182_132_697_5).abs() < 1e-6);
}
