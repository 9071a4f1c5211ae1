//! Covariates: facts about a customer that do not change, as the few numbers that a purchase
//! model can take.
//!
//! In: the names of facts and the customers known at a cutoff, to fix an encoding; then one
//! customer's history. Out: numbers. A text becomes one 0/1 column for each level that enough
//! customers have, but for the commonest, and one for all others (rare, unknown and never seen
//! before alike); a number is standardised. It deliberately knows no outcome and no model.

use thiserror::Error;

use crate::domain::Name;
use crate::history::{History, Latest};

/// Most columns that an encoding may have.
pub const COVARIATE_COLUMNS_MAX: usize = 12;
/// A level needs this many customers for a column of its own.
const LEVEL_CUSTOMERS_MIN: usize = 50;
/// Standard deviations from the mean beyond which a number counts as this far.
const NUMBER_SDS_MAX: f64 = 4.0;

/// A fact that can be a covariate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CovariateSource {
    /// How the customer was acquired.
    AcquisitionChannel,
    /// The persona given from outside.
    Persona,
    /// Whether a business.
    B2b,
    /// Whether enrolled in the loyalty programme.
    LoyaltyMember,
    /// Known contact people.
    ContactPeople,
    /// Whether a tag is set, such as `tag:region-north`.
    Tag(Name),
}

/// Why covariates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CovariateError {
    /// No such fact.
    #[error(
        "{found:?} is no covariate: name acquisition_channel, persona, b2b, loyalty_member, \
         contact_people or tag:NAME"
    )]
    Unknown {
        /// The name found.
        found: String,
    },
    /// Too many columns.
    #[error(
        "the covariates make {found} columns, at most {COVARIATE_COLUMNS_MAX} are possible: name \
         fewer"
    )]
    TooMany {
        /// Columns found.
        found: usize,
    },
    /// A stored encoding contradicts itself.
    #[error("the encoding of covariate {name}: {what}")]
    Invalid {
        /// The covariate.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

enum Fact<'h> {
    Missing,
    Text(&'h str),
    Flag(bool),
    Number(f64),
}

impl CovariateSource {
    /// From a name.
    ///
    /// # Errors
    /// [`CovariateError::Unknown`].
    pub fn parse(text: &str) -> Result<Self, CovariateError> {
        let unknown = || CovariateError::Unknown { found: text.to_owned() };
        Ok(match text {
            "acquisition_channel" => Self::AcquisitionChannel,
            "persona" => Self::Persona,
            "b2b" => Self::B2b,
            "loyalty_member" => Self::LoyaltyMember,
            "contact_people" => Self::ContactPeople,
            _ => {
                let tag = text.strip_prefix("tag:").ok_or_else(unknown)?;
                Self::Tag(Name::try_new(tag).map_err(|_| unknown())?)
            }
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::AcquisitionChannel => "acquisition_channel".to_owned(),
            Self::Persona => "persona".to_owned(),
            Self::B2b => "b2b".to_owned(),
            Self::LoyaltyMember => "loyalty_member".to_owned(),
            Self::ContactPeople => "contact_people".to_owned(),
            Self::Tag(tag) => format!("tag:{}", tag.as_str()),
        }
    }

    fn read<'h>(&self, history: &'h History) -> Fact<'h> {
        fn text(held: &Option<Latest<Name>>) -> Fact<'_> {
            held.as_ref().map_or(Fact::Missing, |held| Fact::Text(held.value().as_str()))
        }
        fn flag(held: &Option<Latest<bool>>) -> Fact<'_> {
            held.as_ref().map_or(Fact::Missing, |held| Fact::Flag(*held.value()))
        }
        let profile = history.profile();
        match self {
            Self::AcquisitionChannel => text(&profile.acquisition_channel),
            Self::Persona => text(&profile.persona),
            Self::B2b => flag(&profile.b2b),
            Self::LoyaltyMember => flag(&profile.loyalty_member),
            Self::ContactPeople => profile
                .contact_people
                .as_ref()
                .map_or(Fact::Missing, |held| Fact::Number(f64::from(*held.value()))),
            Self::Tag(tag) => match &profile.tags {
                Some(tags) => Fact::Flag(tags.value().contains(tag)),
                None => Fact::Missing,
            },
        }
    }
}

/// How one fact becomes columns.
#[derive(Debug, Clone, PartialEq)]
pub enum CovariateCode {
    /// One column for each level, in this order, then one for all levels that are neither among
    /// them nor the reference.
    Levels {
        /// The commonest level: all columns 0. Empty where nobody has a level.
        reference: String,
        /// Levels with a column.
        levels: Vec<String>,
    },
    /// 1 where it is true; 0 where it is false or unknown.
    Flag,
    /// The number less the mean, over the standard deviation; 0 where it is unknown.
    Number {
        /// Mean over the customers who have it.
        mean: f64,
        /// Standard deviation over them; positive.
        sd: f64,
    },
}

/// Covariates with their codes, frozen with the models.
#[derive(Debug, Clone, PartialEq)]
pub struct CovariateEncoding {
    fields: Vec<(CovariateSource, CovariateCode)>,
}

impl CovariateEncoding {
    /// Fixes the encoding on the customers of a base.
    ///
    /// # Errors
    /// [`CovariateError::TooMany`].
    pub fn fit<'h>(
        sources: &[CovariateSource],
        histories: impl Iterator<Item = &'h History> + Clone,
    ) -> Result<Self, CovariateError> {
        let fields = sources
            .iter()
            .map(|source| (source.clone(), code_of(source, histories.clone())))
            .collect();
        Self::try_new(fields)
    }

    /// From stored codes.
    ///
    /// # Errors
    /// [`CovariateError`].
    pub fn try_new(fields: Vec<(CovariateSource, CovariateCode)>) -> Result<Self, CovariateError> {
        for (source, code) in &fields {
            let bad = |what| CovariateError::Invalid { name: source.name(), what };
            match code {
                CovariateCode::Number { mean, sd } if !(mean.is_finite() && *sd > 0.0) => {
                    return Err(bad("a finite mean and a positive deviation are needed"));
                }
                CovariateCode::Levels { reference, levels } if levels.contains(reference) => {
                    return Err(bad("the reference has no column"));
                }
                _ => {}
            }
        }
        let encoding = Self { fields };
        let found = encoding.columns().len();
        if found > COVARIATE_COLUMNS_MAX {
            return Err(CovariateError::TooMany { found });
        }
        Ok(encoding)
    }

    /// The facts with their codes.
    #[must_use]
    pub fn fields(&self) -> &[(CovariateSource, CovariateCode)] {
        &self.fields
    }

    /// Names of the columns, in order.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (source, code) in &self.fields {
            let name = source.name();
            match code {
                CovariateCode::Levels { levels, .. } => {
                    names.extend(levels.iter().map(|level| format!("{name}={level}")));
                    names.push(format!("{name}=(other)"));
                }
                CovariateCode::Flag | CovariateCode::Number { .. } => names.push(name),
            }
        }
        names
    }

    /// A customer's numbers, one a column; always finite.
    #[must_use]
    pub fn encode(&self, history: &History) -> Vec<f64> {
        let mut out = Vec::new();
        for (source, code) in &self.fields {
            match (code, source.read(history)) {
                (CovariateCode::Levels { reference, levels }, fact) => {
                    let level = if let Fact::Text(level) = fact { level } else { "" };
                    let at = levels.iter().position(|known| known == level);
                    let start = out.len();
                    out.resize(start + levels.len() + 1, 0.0);
                    if let Some(at) = at {
                        out[start + at] = 1.0;
                    } else if level != reference {
                        out[start + levels.len()] = 1.0;
                    }
                }
                (CovariateCode::Flag, fact) => {
                    out.push(if matches!(fact, Fact::Flag(true)) { 1.0 } else { 0.0 });
                }
                (CovariateCode::Number { mean, sd }, Fact::Number(number)) => {
                    out.push(((number - mean) / sd).clamp(-NUMBER_SDS_MAX, NUMBER_SDS_MAX));
                }
                (CovariateCode::Number { .. }, _) => out.push(0.0),
            }
        }
        out
    }
}

fn code_of<'h>(
    source: &CovariateSource,
    histories: impl Iterator<Item = &'h History>,
) -> CovariateCode {
    match source {
        CovariateSource::AcquisitionChannel | CovariateSource::Persona => {
            let mut counts = std::collections::BTreeMap::<&str, usize>::new();
            for history in histories {
                let level = if let Fact::Text(level) = source.read(history) { level } else { "" };
                *counts.entry(level).or_default() += 1;
            }
            levels_of(&counts)
        }
        CovariateSource::B2b | CovariateSource::LoyaltyMember | CovariateSource::Tag(_) => {
            CovariateCode::Flag
        }
        CovariateSource::ContactPeople => {
            let numbers: Vec<f64> = histories
                .filter_map(|history| match source.read(history) {
                    Fact::Number(number) => Some(number),
                    _ => None,
                })
                .collect();
            let n = numbers.len().max(1) as f64;
            let mean = numbers.iter().sum::<f64>() / n;
            let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            // Where all are alike, any unit would do.
            CovariateCode::Number { mean, sd: if variance > 0.0 { variance.sqrt() } else { 1.0 } }
        }
    }
}

/// The commonest level is the reference (of equal ones the first by name); unknown is a level too.
fn levels_of(counts: &std::collections::BTreeMap<&str, usize>) -> CovariateCode {
    let mut by_count: Vec<(&str, usize)> = counts.iter().map(|(k, n)| (*k, *n)).collect();
    by_count.sort_by(|p, q| q.1.cmp(&p.1).then(p.0.cmp(q.0)));
    let reference = by_count.first().map_or("", |(level, _)| level).to_owned();
    let levels = by_count
        .iter()
        .skip(1)
        .filter(|(_, n)| *n >= LEVEL_CUSTOMERS_MIN)
        .map(|(level, _)| (*level).to_owned())
        .collect();
    CovariateCode::Levels { reference, levels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CustomerId, EventId, Timestamp, Zone};
    use crate::events::{Event, EventKind, Profile};

    fn customer(channel: Option<&str>, people: Option<u32>, tags: &[&str]) -> History {
        let mut history = History::default();
        let time = Timestamp::from_micros(0);
        history.apply(&Event {
            customer: CustomerId::try_new("c").unwrap(),
            id: EventId::from_bits(1),
            time,
            day: Zone::UTC.day_of(time),
            kind: EventKind::Profile(Box::new(Profile {
                acquisition_channel: channel.map(|name| Name::try_new(name).unwrap()),
                contact_people: people,
                tags: Some(tags.iter().map(|tag| Name::try_new(tag).unwrap()).collect()),
                ..Profile::default()
            })),
        });
        history
    }

    fn base() -> Vec<History> {
        let mut base = vec![customer(Some("search"), Some(1), &[]); 80];
        base.extend(vec![customer(Some("friend"), Some(3), &["north"]); 60]);
        base.extend(vec![customer(Some("fair"), None, &[]); 3]);
        base
    }

    fn sources() -> Vec<CovariateSource> {
        ["acquisition_channel", "contact_people", "tag:north"]
            .map(|name| CovariateSource::parse(name).unwrap())
            .to_vec()
    }

    #[test]
    fn levels_are_columns_but_for_the_commonest_and_the_rare() {
        let base = base();
        let encoding = CovariateEncoding::fit(&sources(), base.iter()).unwrap();
        let names = encoding.columns();
        let wanted = [
            "acquisition_channel=friend",
            "acquisition_channel=(other)",
            "contact_people",
            "tag:north",
        ];
        assert_eq!(names, wanted);
        let check = |customer: &History, expected: [f64; 4]| {
            let found = encoding.encode(customer);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
            assert_eq!(found.len(), 4);
        };
        let sd = (60.0 * 80.0_f64).sqrt() * 2.0 / 140.0;
        let mean = (80.0 + 180.0) / 140.0;
        check(&base[0], [0.0, 0.0, (1.0 - mean) / sd, 0.0]);
        check(&base[100], [1.0, 0.0, (3.0 - mean) / sd, 1.0]);
        check(&base[142], [0.0, 1.0, 0.0, 0.0]);
        // Never seen, unknown, absurd.
        check(&customer(Some("radio"), Some(u32::MAX), &[]), [0.0, 1.0, 4.0, 0.0]);
        check(&History::default(), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_wrong_name_and_too_many_columns_are_refused() {
        for bad in ["region", "tag:", ""] {
            let found = CovariateSource::parse(bad);
            assert!(matches!(found, Err(CovariateError::Unknown { .. })), "{bad}: {found:?}");
        }
        for source in sources() {
            assert_eq!(CovariateSource::parse(&source.name()), Ok(source));
        }
        let many: Vec<History> = (0..14)
            .flat_map(|i| vec![customer(Some(&format!("c{i}")), None, &[]); LEVEL_CUSTOMERS_MIN])
            .collect();
        let found = CovariateEncoding::fit(&sources()[..1], many.iter());
        assert_eq!(found, Err(CovariateError::TooMany { found: 14 }));
    }
}
