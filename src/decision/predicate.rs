//! Predicates: `field op literal`, compiled to comparisons of numbers.
//!
//! In: text from a policy. Out: typed tests. `when` is a list of which all must hold, `any` a list
//! of such lists of which one must. There is deliberately no expression language: no brackets, no
//! arithmetic, no negation, so a rule can be read, checked and hashed. A missing fact makes its
//! test false.

use crate::decision::fact::Fact;
use crate::decision::fact::FactKind;
use crate::decision::fact::View;
use crate::decision::fact::bits;
use crate::decision::fact::near;
use crate::decision::flat_rule::Flat;
use crate::decision::issue::PolicyIssueKind;
use crate::decision::issue::nearest;
use crate::domain::Channel;
use crate::domain::Name;

/// The comparison of a test, with its literal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    AtLeast(f64),
    AtMost(f64),
    Above(f64),
    Below(f64),
    /// A number or flag among these.
    OneOf(Box<[f64]>),
    /// An enum whose position is a set bit.
    Code(u32),
    /// A channel set with a bit in common.
    AnyBit(u32),
    /// A name, or set of names, with one of these.
    Named(Box<[Name]>),
}

impl Op {
    /// Whether it holds for a number (NaN: missing) or, where it is about names, for those.
    pub(crate) fn holds(&self, value: f64, found: &[Name]) -> bool {
        match self {
            Self::AtLeast(bound) => value >= *bound,
            Self::AtMost(bound) => value <= *bound,
            Self::Above(bound) => value > *bound,
            Self::Below(bound) => value < *bound,
            Self::OneOf(literals) => literals.iter().any(|literal| near(value, *literal)),
            Self::Code(mask) => value >= 0.0 && mask >> bits(value) & 1 == 1,
            Self::AnyBit(mask) => bits(value) & mask != 0,
            Self::Named(names) => found.iter().any(|name| names.contains(name)),
        }
    }
}

/// One compiled predicate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    pub(crate) fact: Fact,
    pub(crate) op: Op,
    /// As written, for traces.
    pub(crate) text: Box<str>,
}

impl Test {
    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        match &self.op {
            Op::Named(_) => self.op.holds(f64::NAN, view.names(self.fact)),
            op => op.holds(view.number(self.fact), &[]),
        }
    }

    /// The meaning, free of spacing, order and ways of writing.
    pub(crate) fn canonical(&self) -> String {
        let fact = self.fact.as_str();
        match &self.op {
            Op::AtLeast(bound) => format!("{fact}>={bound}"),
            Op::AtMost(bound) => format!("{fact}<={bound}"),
            Op::Above(bound) => format!("{fact}>{bound}"),
            Op::Below(bound) => format!("{fact}<{bound}"),
            Op::OneOf(literals) => {
                let texts: Vec<String> = literals.iter().map(f64::to_string).collect();
                format!("{fact}={}", texts.join("|"))
            }
            Op::Code(mask) | Op::AnyBit(mask) => format!("{fact}#{mask}"),
            // A length before each name keeps "a|b" apart from "a" and "b".
            Op::Named(names) => {
                let texts: Vec<String> =
                    names.iter().map(|name| format!("{}:{name}", name.as_str().len())).collect();
                format!("{fact}={}", texts.join("|"))
            }
        }
    }
}

/// A rule: one of the lists must hold in full.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rule {
    any: Vec<Vec<Test>>,
    flat: Flat,
}

impl Rule {
    pub(crate) fn new(any: Vec<Vec<Test>>) -> Self {
        let flat = Flat::new(&any);
        Self { any, flat }
    }

    /// The lists, of which one must hold.
    pub(crate) fn any(&self) -> &[Vec<Test>] {
        &self.any
    }

    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        self.flat.holds(view, &self.any)
    }

    /// The meaning: order within `when` and of the lists in `any` does not count.
    pub(crate) fn canonical(&self) -> String {
        let mut lists: Vec<String> =
            self.any.iter().map(|all| canonical_list(all).join("&")).collect();
        lists.sort();
        lists.dedup();
        lists.join(" or ")
    }

    /// Whether everybody who meets `other` also meets this, as far as equal tests tell: each list
    /// of the other holds all tests of one list of this.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let mine: Vec<Vec<String>> = self.any.iter().map(|all| canonical_list(all)).collect();
        other
            .any
            .iter()
            .map(|all| canonical_list(all))
            .all(|theirs| mine.iter().any(|tests| tests.iter().all(|test| theirs.contains(test))))
    }
}

fn canonical_list(all: &[Test]) -> Vec<String> {
    let mut texts: Vec<String> = all.iter().map(Test::canonical).collect();
    texts.sort();
    texts.dedup();
    texts
}

/// Operators in the order in which they are looked for: the longer before their beginnings.
const OPERATORS: [&str; 6] = [">=", "<=", ">", "<", "=", "in "];

/// Compiles one predicate.
pub(crate) fn compile(text: &str) -> Result<Test, PolicyIssueKind> {
    let bad = |why| PolicyIssueKind::BadPredicate { text: text.to_owned(), why };
    let line = text.trim();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name_end = line.find(|letter| !is_word(letter)).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_end);
    let rest = rest.trim_start();
    if name.is_empty() {
        return Err(bad("it starts with a fact's name, such as \"orders >= 2\""));
    }
    if rest.starts_with("!=") || rest.starts_with("not ") || rest.starts_with("<>") {
        return Err(bad("there is no negation, list what is wanted with `in a|b`"));
    }
    if rest.starts_with("==") {
        return Err(bad("equality is written with a single ="));
    }
    let operator = OPERATORS
        .into_iter()
        .find(|operator| rest.starts_with(operator))
        .ok_or_else(|| bad("after the fact comes one of = >= <= > < in"))?;
    let literal = rest[operator.len()..].trim();
    if literal.is_empty() {
        return Err(bad("nothing to compare with"));
    }
    let fact = Fact::parse(name).ok_or_else(|| PolicyIssueKind::UnknownFact {
        text: text.to_owned(),
        name: name.to_owned(),
        did_you_mean: nearest(name, Fact::ALL.iter().map(|fact| fact.as_str())),
    })?;
    let op = Written { text, fact, operator: operator.trim(), literal }.op()?;
    Ok(Test { fact, op, text: line.into() })
}

/// A predicate taken apart, its fact known.
struct Written<'t> {
    text: &'t str,
    fact: Fact,
    operator: &'static str,
    literal: &'t str,
}

impl Written<'_> {
    fn op(&self) -> Result<Op, PolicyIssueKind> {
        match self.fact.kind() {
            FactKind::Number { min, max } => self.number(min, max),
            FactKind::Flag => self.flag(),
            FactKind::OneOf(names) => Ok(Op::Code(self.mask(names)?)),
            FactKind::Channels => Ok(Op::AnyBit(self.mask(&Channel::ALL.map(Channel::as_str))?)),
            FactKind::Name | FactKind::Names => self.named(),
        }
    }

    fn number(&self, min: f64, max: f64) -> Result<Op, PolicyIssueKind> {
        let mut literals = Vec::new();
        for literal in self.literals() {
            let value = literal.parse::<f64>().ok().filter(|value| value.is_finite());
            literals.push(value.ok_or_else(|| self.wrong(literal, "a number".to_owned(), ""))?);
        }
        let (first, n) = (literals[0], literals.len());
        let (op, possible) = match self.operator {
            ">=" if n == 1 => (Op::AtLeast(first), first <= max),
            "<=" if n == 1 => (Op::AtMost(first), first >= min),
            ">" if n == 1 => (Op::Above(first), first < max),
            "<" if n == 1 => (Op::Below(first), first > min),
            "in" | "=" => {
                literals.sort_by(f64::total_cmp);
                literals.dedup_by(|later, earlier| near(*later, *earlier));
                let possible = literals.iter().all(|value| (min..=max).contains(value));
                (Op::OneOf(literals.into()), possible)
            }
            _ => return Err(self.wrong(self.literal, "a number".to_owned(), "")),
        };
        if possible {
            return Ok(op);
        }
        let (text, fact) = (self.text.to_owned(), self.fact.as_str());
        Err(PolicyIssueKind::NeverHolds { text, fact, min, max })
    }

    fn flag(&self) -> Result<Op, PolicyIssueKind> {
        self.only_equality("= with true or false")?;
        match self.literal {
            "true" => Ok(Op::OneOf([1.0].into())),
            "false" => Ok(Op::OneOf([0.0].into())),
            other => {
                let near = nearest(other, ["true", "false"].into_iter());
                Err(self.wrong(other, "true or false".to_owned(), &near))
            }
        }
    }

    fn mask(&self, names: &[&str]) -> Result<u32, PolicyIssueKind> {
        self.only_equality("= or in a|b")?;
        let mut mask = 0_u32;
        for literal in self.literals() {
            let position = names.iter().position(|name| *name == literal).ok_or_else(|| {
                let near = nearest(literal, names.iter().copied());
                self.wrong(literal, format!("one of {}", names.join(", ")), &near)
            })?;
            mask |= 1 << position;
        }
        Ok(mask)
    }

    fn named(&self) -> Result<Op, PolicyIssueKind> {
        self.only_equality("= or in a|b")?;
        let mut names = Vec::new();
        for literal in self.literals() {
            let name = Name::try_new(literal)
                .map_err(|_| self.wrong(literal, "a name of 1 to 64 bytes".to_owned(), ""))?;
            names.push(name);
        }
        names.sort();
        names.dedup();
        Ok(Op::Named(names.into()))
    }

    /// The literal, or those of a list; only `in` has lists.
    fn literals(&self) -> impl Iterator<Item = &str> {
        let is_list = self.operator == "in";
        self.literal.split(move |letter| is_list && letter == '|').map(str::trim)
    }

    fn only_equality(&self, accepted: &'static str) -> Result<(), PolicyIssueKind> {
        let is_list_of_flags = self.operator == "in" && self.fact.kind() == FactKind::Flag;
        if matches!(self.operator, "=" | "in") && !is_list_of_flags {
            return Ok(());
        }
        Err(PolicyIssueKind::WrongOperator {
            text: self.text.to_owned(),
            fact: self.fact.as_str(),
            operator: self.operator,
            accepted,
        })
    }

    fn wrong(&self, found: &str, expected: String, near: &str) -> PolicyIssueKind {
        PolicyIssueKind::WrongLiteral {
            text: self.text.to_owned(),
            fact: self.fact.as_str(),
            expected,
            found: found.to_owned(),
            did_you_mean: near.to_owned(),
        }
    }
}
