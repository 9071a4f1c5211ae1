//! A rule laid out flat: what is asked of every customer lies side by side.
//!
//! In: the lists of a rule. Out: whether one of them holds, as the lists themselves say. Most rules
//! fail at their first test, so what costs is finding the tests. Tests on names, and on one of
//! several numbers, are asked of the lists.

use crate::decision::fact::Fact;
use crate::decision::fact::NEAR;
use crate::decision::fact::View;
use crate::decision::fact::bits;
use crate::decision::fact::near;
use crate::decision::predicate::Op;
use crate::decision::predicate::Test;

#[derive(Debug, Clone, Copy, PartialEq)]
enum FlatOp {
    /// Between these, both included; what is missing lies nowhere.
    Within(f64, f64),
    /// A position whose bit is set.
    Code(u32),
    /// A bit in common.
    AnyBit(u32),
    /// As the test says that stands there.
    AsWritten { list: u16, at: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct FlatTest {
    op: FlatOp,
    fact: Fact,
    /// Where the next list begins.
    next: u16,
}

/// The tests of all lists, one list after another.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Flat {
    tests: Box<[FlatTest]>,
    /// Whether a list asks for nothing, or there are too many tests to be laid out.
    is_plain: bool,
}

impl Flat {
    pub(crate) fn new(any: &[Vec<Test>]) -> Self {
        let n_tests: usize = any.iter().map(Vec::len).sum();
        if any.iter().any(Vec::is_empty) || n_tests.max(any.len()) > usize::from(u16::MAX) {
            return Self { tests: Box::default(), is_plain: true };
        }
        let (mut tests, mut next) = (Vec::with_capacity(n_tests), 0_u16);
        for (list, all) in (0_u16..).zip(any) {
            next += u16::try_from(all.len()).unwrap_or(0);
            tests.extend((0_u16..).zip(all).map(|(at, test)| FlatTest {
                op: flat(&test.op, list, at),
                fact: test.fact,
                next,
            }));
        }
        Self { tests: tests.into(), is_plain: false }
    }

    /// Whether one of the lists holds; `any` are those it was made of.
    pub(crate) fn holds(&self, view: &View<'_>, any: &[Vec<Test>]) -> bool {
        if self.is_plain {
            return any.iter().any(|all| all.iter().all(|test| test.holds(view)));
        }
        let mut at = 0;
        while let Some(test) = self.tests.get(at) {
            let next = usize::from(test.next);
            if !test.holds(view, any) {
                at = next;
            } else if at + 1 == next {
                return true;
            } else {
                at += 1;
            }
        }
        false
    }
}

/// Bounds that are left out become the numbers next to them: the same numbers pass.
fn flat(op: &Op, list: u16, at: u16) -> FlatOp {
    match op {
        Op::AtLeast(bound) => FlatOp::Within(*bound, f64::INFINITY),
        Op::AtMost(bound) => FlatOp::Within(f64::NEG_INFINITY, *bound),
        Op::Above(bound) => FlatOp::Within(bound.next_up(), f64::INFINITY),
        Op::Below(bound) => FlatOp::Within(f64::NEG_INFINITY, bound.next_down()),
        Op::Code(mask) => FlatOp::Code(*mask),
        Op::AnyBit(mask) => FlatOp::AnyBit(*mask),
        Op::OneOf(literals) => match **literals {
            [literal] if has_near_bounds(literal) => {
                let [low, high] = near_bounds(literal);
                FlatOp::Within(low, high)
            }
            _ => FlatOp::AsWritten { list, at },
        },
        Op::Named(_) => FlatOp::AsWritten { list, at },
    }
}

/// Whether the rounded ends are close to the true ones: not where an end lies at 0, from which
/// there are more numbers to the true one than can be tried.
fn has_near_bounds(literal: f64) -> bool {
    literal.abs() < f64::MIN_POSITIVE || literal.abs() > 1_000.0 * NEAR
}

/// The least and the greatest number that counts as the same as a literal. The distance grows with
/// the number on either side, so a few steps from its rounded end find the true one.
fn near_bounds(literal: f64) -> [f64; 2] {
    let end = |inward: fn(f64) -> f64, outward: fn(f64) -> f64, guess: f64| {
        let mut end = guess;
        while !near(end, literal) {
            end = inward(end);
        }
        while near(outward(end), literal) {
            end = outward(end);
        }
        end
    };
    [
        end(f64::next_up, f64::next_down, literal - NEAR),
        end(f64::next_down, f64::next_up, literal + NEAR),
    ]
}

impl FlatTest {
    fn holds(&self, view: &View<'_>, any: &[Vec<Test>]) -> bool {
        match self.op {
            FlatOp::Within(low, high) => (low..=high).contains(&view.number(self.fact)),
            FlatOp::Code(mask) => {
                let value = view.number(self.fact);
                value >= 0.0 && mask >> bits(value) & 1 == 1
            }
            FlatOp::AnyBit(mask) => bits(view.number(self.fact)) & mask != 0,
            FlatOp::AsWritten { list, at } => any
                .get(usize::from(list))
                .and_then(|all| all.get(usize::from(at)))
                .is_some_and(|test| test.holds(view)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just inside and just outside of what counts as the same number.
    #[test]
    fn bounds_of_one_number_are_those_of_its_comparison() {
        for literal in [0.0, 1.0, -1.0, 0.3, 7.0, 1e6, 1e10, -2.5e15] {
            let [low, high] = near_bounds(literal);
            assert!(low <= literal && literal <= high);
            for (inside, outside) in [(low, low.next_down()), (high, high.next_up())] {
                assert!(near(inside, literal) && !near(outside, literal), "{literal}");
            }
        }
    }

    #[test]
    fn numbers_beside_the_distance_itself_are_compared_as_they_are_written() {
        for literal in [NEAR, -NEAR, 2.0 * NEAR, 1e-12, f64::MIN_POSITIVE] {
            assert!(!has_near_bounds(literal), "{literal}");
        }
        assert!(has_near_bounds(0.0) && has_near_bounds(0.01) && has_near_bounds(-1.0));
    }
}
