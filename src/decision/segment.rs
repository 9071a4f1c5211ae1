//! Segments, phases, engagement stages and the flags derived from them.
//!
//! In: facts and the score. Out: closed enums with stable numbers. Which customer belongs to which
//! segment is the policy's matter; here are the names, and what follows from them. There is no path
//! dependence: any customer may move from any segment to any other.

use std::fmt;

use crate::decision::facts::Facts;
use crate::decision::facts::Heartbeat;
use crate::decision::lapse::Lapse;
use crate::decision::tier::Tier;
use crate::model::Score;

/// A customer's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Segment {
    /// Nothing known: no order, no visit, no address.
    Unknown = 0,
    /// Visits, without order or address.
    EngagedVisitor = 1,
    /// Left an address, no order yet.
    LoyalVisitor = 2,
    /// High value, lapsed.
    CannotLose = 3,
    /// Lower value, lapsed.
    Lost = 4,
    /// High value, slipping.
    AtRisk = 5,
    /// Lower value, slipping.
    FallingAsleep = 6,
    /// One order.
    FirstTime = 7,
    /// Buys most often and spends most.
    Champion = 8,
    /// Buys often.
    Loyal = 9,
    /// Buys regularly, with larger orders.
    PotentialLoyalist = 10,
    /// Bought recently, not often.
    Recent = 11,
    /// Any other repeat buyer.
    Promising = 12,
}

impl Segment {
    /// All segments, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Unknown,
        Self::EngagedVisitor,
        Self::LoyalVisitor,
        Self::CannotLose,
        Self::Lost,
        Self::AtRisk,
        Self::FallingAsleep,
        Self::FirstTime,
        Self::Champion,
        Self::Loyal,
        Self::PotentialLoyalist,
        Self::Recent,
        Self::Promising,
    ];

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::EngagedVisitor => "engaged_visitor",
            Self::LoyalVisitor => "loyal_visitor",
            Self::CannotLose => "cannot_lose",
            Self::Lost => "lost",
            Self::AtRisk => "at_risk",
            Self::FallingAsleep => "falling_asleep",
            Self::FirstTime => "first_time",
            Self::Champion => "champion",
            Self::Loyal => "loyal",
            Self::PotentialLoyalist => "potential_loyalist",
            Self::Recent => "recent",
            Self::Promising => "promising",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|segment| segment.as_str() == text)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A phase of the customer's life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Nothing known.
    None = 0,
    /// Not yet a buyer.
    Acquisition = 1,
    /// A new buyer, to be kept.
    Retention = 2,
    /// A buyer who can grow.
    IncreasedValue = 3,
    /// A top buyer, to be honoured.
    Veneration = 4,
    /// A buyer going or gone, to be won back.
    Reactivation = 5,
}

impl Phase {
    /// All phases, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Acquisition,
        Self::Retention,
        Self::IncreasedValue,
        Self::Veneration,
        Self::Reactivation,
    ];

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Acquisition => "acquisition",
            Self::Retention => "retention",
            Self::IncreasedValue => "increased_value",
            Self::Veneration => "veneration",
            Self::Reactivation => "reactivation",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How engaged a buyer is; a non-buyer has no stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    /// In rhythm.
    Active = 1,
    /// In rhythm and buying often.
    Loyal = 2,
    /// Longer silent than usual.
    Lapsing = 3,
    /// Not to be expected back on their own.
    Inactive = 4,
}

impl Stage {
    /// All stages, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Active, Self::Loyal, Self::Lapsing, Self::Inactive];

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Loyal => "loyal",
            Self::Lapsing => "lapsing",
            Self::Inactive => "inactive",
        }
    }

    /// The stage that follows from the rhythm and the frequency.
    #[must_use]
    pub fn of(facts: &Facts) -> Option<Self> {
        Some(match facts.lapse? {
            Lapse::Current if facts.rfm.f.is_some_and(|f| f >= 4) => Self::Loyal,
            Lapse::Current => Self::Active,
            Lapse::Slipping => Self::Lapsing,
            Lapse::Lapsed => Self::Inactive,
        })
    }
}

/// Least share of the base with a lower predicted value, for the active core.
const ACTIVE_CORE_CLV_PERCENTILE_MIN: f64 = 0.80;
/// Least answer to the recommendation question that counts as a promoter.
const PROMOTER_NPS_MIN: u8 = 9;
/// Days for which such an answer speaks.
const PROMOTER_NPS_DAYS_MAX: f64 = 180.0;

/// Whether the customer belongs to the active core: in rhythm, high spend so far, high predicted
/// value, and no sign of dropping activity.
pub(crate) fn is_active_core(facts: &Facts, score: &Score) -> bool {
    facts.lapse == Some(Lapse::Current)
        && facts.rfm.v.is_some_and(|v| v >= 4)
        && score.clv.as_ref().is_some_and(|clv| clv.percentile >= ACTIVE_CORE_CLV_PERCENTILE_MIN)
        && facts.hb_activity != Some(Heartbeat::Drop)
}

/// Whether the customer speaks for the brand: a recent promoter who buys, or a top customer at low
/// risk.
pub(crate) fn is_advocate(facts: &Facts, segment: Segment, tier: Option<Tier>) -> bool {
    let promoter = facts.nps_last.is_some_and(|nps| nps >= PROMOTER_NPS_MIN)
        && facts.nps_age_days.is_some_and(|days| days <= PROMOTER_NPS_DAYS_MAX)
        && facts.orders >= 2;
    promoter || (matches!(segment, Segment::Champion | Segment::Loyal) && tier == Some(Tier::Green))
}

/// The key of the micro-segment: `persona/segment/top_category`, `-` for what is not known.
#[must_use]
pub fn micro_key(facts: &Facts, segment: Segment) -> String {
    let persona = facts.persona.as_ref().map_or("-", |name| name.as_str());
    let category = facts.top_category.as_ref().map_or("-", |name| name.as_str());
    // Put together by hand: this is asked of every customer.
    let segment = segment.as_str();
    let mut key = String::with_capacity(persona.len() + segment.len() + category.len() + 2);
    for part in [persona, "/", segment, "/", category] {
        key.push_str(part);
    }
    key
}
