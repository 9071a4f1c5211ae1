//! What can be wrong with a policy file, said with the line and a guess at what was meant.
//!
//! In: spans and names. Out: typed issues. It deliberately does not decide what is wrong.

use std::fmt;

use thiserror::Error;

/// Everything that is wrong with a policy file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Error)]
pub struct PolicyErrors {
    /// The issues.
    pub issues: Vec<PolicyIssue>,
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policy has {} issue(s)", self.issues.len())?;
        for issue in &self.issues {
            write!(f, "\n  {issue}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("line {line}: {kind}")]
pub struct PolicyIssue {
    /// Line in the file, from 1; a missing key is reported at its table.
    pub line: usize,
    /// What is wrong.
    pub kind: PolicyIssueKind,
}

/// What is wrong in one place of a policy file. `did_you_mean` is the nearest accepted name, empty
/// where none is near.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PolicyIssueKind {
    /// The file is no TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// The reader's own words.
        message: String,
    },
    /// A key nobody reads.
    #[error("[{table}] has no key {key:?}{}", hint(did_you_mean))]
    UnknownKey {
        /// The table.
        table: String,
        /// The key found.
        key: String,
        /// The nearest key.
        did_you_mean: String,
    },
    /// A key that must be there.
    #[error("[{table}] lacks the key {key:?}")]
    MissingKey {
        /// The table.
        table: String,
        /// The key.
        key: &'static str,
    },
    /// A value of the wrong type.
    #[error("{key} is {found}, {expected} is needed")]
    WrongType {
        /// The key.
        key: String,
        /// What is needed.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A name outside of a closed set.
    #[error("{key} is {found:?}, one of {expected} is needed{}", hint(did_you_mean))]
    UnknownName {
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// The names accepted.
        expected: String,
        /// The nearest of them.
        did_you_mean: String,
    },
    /// A number outside of its range.
    #[error("{key} is {found}, a number from {min} to {max} is needed")]
    OutOfRange {
        /// The key.
        key: String,
        /// What was found.
        found: f64,
        /// Least accepted.
        min: f64,
        /// Greatest accepted.
        max: f64,
    },
    /// A text of the wrong form.
    #[error("{key} is {found:?}, {expected} is needed")]
    BadText {
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// The form.
        expected: &'static str,
    },
    /// Something meant to be unique is there twice.
    #[error("{what} {name:?} is already used in line {first_line}")]
    Duplicate {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it stands first.
        first_line: usize,
    },
    /// A list that must not be empty.
    #[error("{key} is empty, at least one is needed")]
    Empty {
        /// The key.
        key: String,
    },
    /// Both or none of `when` and `any`.
    #[error("[{table}] needs either `when` (all hold) or `any` (one of several lists holds)")]
    WhenOrAny {
        /// The table.
        table: String,
    },
    /// A predicate that is no predicate.
    #[error("{text:?} is no predicate: {why}")]
    BadPredicate {
        /// The predicate.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A predicate on a fact that does not exist.
    #[error("{text:?}: there is no fact {name:?}{}", hint(did_you_mean))]
    UnknownFact {
        /// The predicate.
        text: String,
        /// The name found.
        name: String,
        /// The nearest fact.
        did_you_mean: String,
    },
    /// A predicate compares a fact with something it cannot be compared with.
    #[error("{text:?}: {fact} is {expected}, not {found:?}{}", hint(did_you_mean))]
    WrongLiteral {
        /// The predicate.
        text: String,
        /// The fact.
        fact: &'static str,
        /// What the fact is.
        expected: String,
        /// The literal found.
        found: String,
        /// The nearest accepted literal.
        did_you_mean: String,
    },
    /// An operator that the fact's kind has not.
    #[error("{text:?}: {fact} has no {operator}, use {accepted}")]
    WrongOperator {
        /// The predicate.
        text: String,
        /// The fact.
        fact: &'static str,
        /// The operator found.
        operator: &'static str,
        /// Those that exist.
        accepted: &'static str,
    },
    /// A predicate that no customer can meet.
    #[error("{text:?} can never hold: {fact} lies between {min} and {max}")]
    NeverHolds {
        /// The predicate.
        text: String,
        /// The fact.
        fact: &'static str,
        /// Least value of the fact.
        min: f64,
        /// Greatest value of the fact.
        max: f64,
    },
    /// A fact that is not decided yet where the rule stands.
    #[error("{text:?}: {fact} is not known yet in {place}")]
    TooEarly {
        /// The predicate.
        text: String,
        /// The fact.
        fact: &'static str,
        /// Where the rule stands.
        place: &'static str,
    },
    /// A segment that an earlier one takes everything from.
    #[error(
        "segment {segment:?} can never be reached: {earlier:?} in line {earlier_line} asks for no more and comes first"
    )]
    Shadowed {
        /// The unreachable segment.
        segment: String,
        /// The earlier one.
        earlier: String,
        /// Its line.
        earlier_line: usize,
    },
    /// A campaign uses a channel without limits.
    #[error("campaign {campaign:?} uses channel {channel}, which has no [channel.{channel}] table")]
    ChannelWithoutCaps {
        /// The campaign.
        campaign: String,
        /// The channel.
        channel: &'static str,
    },
    /// A campaign that is never held out could be hidden by one that is.
    #[error(
        "campaign {campaign:?} is never held out but less urgent than {before:?}: give it a lower priority number than every campaign that can be held out"
    )]
    NeverHeldOutTooLate {
        /// The campaign never held out.
        campaign: String,
        /// The one before it.
        before: String,
    },
    /// With `[economics]` every offer must say what it costs.
    #[error(
        "the campaign gives {offer:?} but nobody says what that costs: set offer_cost here, or {offer} under [economics.offer_cost]"
    )]
    NoOfferCost {
        /// The offer.
        offer: &'static str,
    },
    /// A list of conditions that no customer can meet.
    #[error("{rule} can never hold{}: {what}", of_list(*list))]
    Impossible {
        /// The rule, such as `campaign "upsell"`.
        rule: String,
        /// The list of `any`, from 1; 0 for the only one.
        list: usize,
        /// What contradicts what, and what to do.
        what: String,
    },
    /// A customer whom no segment takes.
    #[error(
        "no segment takes a customer with {example}: end with a segment that asks for less, such as when = [\"orders >= 0\"]"
    )]
    Uncovered {
        /// Facts of such a customer.
        example: String,
    },
    /// Something this version does not do.
    #[error("{key} = {found:?} is not supported yet, use {instead:?}")]
    NotSupported {
        /// The key.
        key: &'static str,
        /// What was asked for.
        found: String,
        /// What works.
        instead: &'static str,
    },
    /// Two keys that do not go together.
    #[error("{what}")]
    Conflict {
        /// What contradicts what.
        what: &'static str,
    },
}

fn of_list(list: usize) -> String {
    if list == 0 { String::new() } else { format!(" in list {list} of `any`") }
}

fn hint(did_you_mean: &str) -> String {
    if did_you_mean.is_empty() {
        String::new()
    } else {
        format!(" (did you mean {did_you_mean:?}?)")
    }
}

/// The accepted name nearest to what was written, or empty: at most a third of its letters may
/// differ (one at least, three at most).
pub(crate) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> String {
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (distance(written, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map_or_else(String::new, |(_, name)| name.to_owned())
}

/// Edit distance with swaps of neighbours (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().flat_map(char::to_lowercase).take(64).collect();
    let other: Vec<char> = other.chars().flat_map(char::to_lowercase).take(64).collect();
    let width = other.len() + 1;
    let mut rows = vec![0; (one.len() + 1) * width];
    for (idx, cell) in rows.iter_mut().take(width).enumerate() {
        *cell = idx;
    }
    for i in 1..=one.len() {
        rows[i * width] = i;
        for j in 1..=other.len() {
            let changed = usize::from(one[i - 1] != other[j - 1]);
            let mut best = (rows[(i - 1) * width + j] + 1)
                .min(rows[i * width + j - 1] + 1)
                .min(rows[(i - 1) * width + j - 1] + changed);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                best = best.min(rows[(i - 2) * width + j - 2] + 1);
            }
            rows[i * width + j] = best;
        }
    }
    rows.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let names = ["orders", "visits", "days_since_order", "segment"];
        let near = |written| nearest(written, names.into_iter());
        assert_eq!(near("order"), "orders");
        assert_eq!(near("segmnet"), "segment");
        assert_eq!(near("days_since_orders"), "days_since_order");
        assert_eq!(near("churn"), "");
        assert_eq!(near(""), "");
    }
}
