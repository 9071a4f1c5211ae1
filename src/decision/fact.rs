//! The closed set of facts a predicate may name, and a flat view of them.
//!
//! In: facts and the score of one customer. Out: one number a fact (NaN = missing), so that a
//! compiled test is one comparison and a missing fact makes it false. It deliberately holds no
//! rule.

use crate::decision::facts::Facts;
use crate::decision::facts::Heartbeat;
use crate::decision::segment::Segment;
use crate::decision::segment::Stage;
use crate::decision::tier::Tier;
use crate::domain::Channel;
use crate::domain::Name;
use crate::model::Score;

/// What kind of literal a fact is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FactKind {
    /// A number between two bounds; a literal beyond them could never, or always, hold.
    Number {
        /// Least possible value.
        min: f64,
        /// Greatest possible value.
        max: f64,
    },
    /// `true` or `false`.
    Flag,
    /// One of a closed set of names.
    OneOf(&'static [&'static str]),
    /// A set of channels: a predicate holds where any of those named is in it.
    Channels,
    /// A name given by the business.
    Name,
    /// A set of such names: a predicate holds where any of those named is in it.
    Names,
}

const HEARTBEATS: &[&str] = &["no_data", "steady", "rise", "drop"];
const LAPSES: &[&str] = &["current", "slipping", "lapsed"];
const TIERS: &[&str] = &["green", "amber", "red"];
const STAGES: &[&str] = &["active", "loyal", "lapsing", "inactive"];
const SEGMENTS: &[&str] = &[
    "unknown",
    "engaged_visitor",
    "loyal_visitor",
    "cannot_lose",
    "lost",
    "at_risk",
    "falling_asleep",
    "first_time",
    "champion",
    "loyal",
    "potential_loyalist",
    "recent",
    "promising",
];

const fn number(min: f64, max: f64) -> FactKind {
    FactKind::Number { min, max }
}
const MORE: FactKind = number(0.0, f64::INFINITY);
const SHARE: FactKind = number(0.0, 1.0);
const FIFTH: FactKind = number(1.0, 5.0);
const MONEY: FactKind = number(f64::NEG_INFINITY, f64::INFINITY);

macro_rules! facts {
    ($($variant:ident $name:literal $kind:expr, $unit:literal;)*) => {
        /// A fact a predicate may name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Fact {
            $(#[doc = $unit] $variant,)*
        }

        impl Fact {
            /// All facts.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in a policy.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is compared with.
            #[must_use]
            pub const fn kind(self) -> FactKind {
                match self { $(Self::$variant => $kind,)* }
            }

            /// What it says and in which unit, in one line.
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }
        }
    };
}

facts! {
    HasEmail "has_email" FactKind::Flag, "an email address is known";
    DoNotContact "do_not_contact" FactKind::Flag, "asked for no contact at all";
    B2b "b2b" FactKind::Flag, "a business account";
    Persona "persona" FactKind::Name, "the persona assigned by the business";
    Tags "tags" FactKind::Names, "tags assigned by the business";
    Reachable "reachable" FactKind::Channels, "channels by which the customer can be reached now";
    Orders "orders" MORE, "purchase occasions so far";
    DaysSinceOrder "days_since_order" MORE, "days since the last purchase";
    R "r" FIFTH, "recency score 1..=5";
    F "f" FIFTH, "frequency score 1..=5";
    M "m" FIFTH, "order value score 1..=5";
    V "v" FIFTH, "total spend score 1..=5";
    LapseState "lapse" FactKind::OneOf(LAPSES), "own-rhythm state";
    SilenceProb "silence_prob" SHARE, "probability of a silence this long from an active buyer";
    StageOf "stage" FactKind::OneOf(STAGES), "engagement stage";
    AvgOrderValue "avg_order_value" MONEY, "average order value, currency units";
    DiscountShare "discount_share" SHARE, "share of orders bought at a discount";
    ExpectedGapDays "expected_gap_days" MORE, "days usually between orders";
    ReplenishDueRatio "replenish_due_ratio" MORE, "time since the product was bought over its life";
    TopCategory "top_category" FactKind::Name, "the category bought most";
    CartAbandonedHours "cart_abandoned_hours" MORE, "hours since a basket was left";
    Visits "visits" MORE, "visits so far";
    DaysInactive "days_inactive" MORE, "days since any activity";
    HbOrders "hb_orders" FactKind::OneOf(HEARTBEATS), "heartbeat of orders";
    HbActivity "hb_activity" FactKind::OneOf(HEARTBEATS), "heartbeat of activity";
    HbSpend "hb_spend" FactKind::OneOf(HEARTBEATS), "heartbeat of spend";
    HbOrdersProb "hb_orders_prob" SHARE, "probability of the drop or rise that orders lean to";
    HbActivityProb "hb_activity_prob" SHARE, "probability of the drop or rise that activity leans to";
    HbOrdersWindow "hb_orders_window" MORE, "days of the window that orders are compared in";
    HbActivityWindow "hb_activity_window" MORE, "days of the window that activity is compared in";
    Breadth "breadth" SHARE, "share of the features offered that were used in 90 days";
    StickyGap "sticky_gap" FactKind::Flag, "the best sticky activity is not done regularly";
    TargetActivity "target_activity" FactKind::Name, "the sticky activity to promote";
    DeviceBreadth "device_breadth" MORE, "distinct kinds of device used";
    AchievementNew "achievement_new" FactKind::Flag, "an achievement is not yet celebrated";
    HasUpdates "has_updates" FactKind::Flag, "unseen content waits";
    ComplaintSerious90d "complaint_serious_90d" MORE, "serious complaints in 90 days";
    OpenTickets "open_tickets" MORE, "open tickets";
    OpenCritical "open_critical" MORE, "open critical tickets";
    NpsLast "nps_last" number(0.0, 10.0), "last recommendation answer 0..=10";
    NpsAgeDays "nps_age_days" MORE, "days since that answer";
    CsatLast "csat_last" MONEY, "last satisfaction answer, own scale";
    SupportWaitHours "support_wait_hours" MORE, "hours waited for support";
    ResolvedWithinSla "resolved_within_sla" FactKind::Flag, "last ticket resolved in time";
    TenureDays "tenure_days" MORE, "days since the first event";
    LoyaltyMember "loyalty_member" FactKind::Flag, "member of the loyalty programme";
    SpendMilestone "spend_milestone" FactKind::Flag, "a spend milestone waits for its reward";
    Referrals "referrals" MORE, "customers referred so far";
    ContactPeople "contact_people" MORE, "known contact people at a business account";
    CsmChangedDays "csm_changed_days" MORE, "days since the account's success manager changed";
    DaysSinceContact "days_since_contact" MORE, "days since the last commercial contact";
    Messages7d "messages_7d" MORE, "commercial messages in 7 days, all channels";
    FactsAgeHours "facts_age_hours" MORE, "hours since the newest data behind the facts";
    ChurnProb "churn_p" SHARE, "calibrated churn probability";
    ClvMean "clv" MONEY, "expected value over the horizon, currency units";
    ClvP10 "clv_p10" MONEY, "10th percentile of value, currency units";
    ClvP50 "clv_p50" MONEY, "median value, currency units";
    ClvP90 "clv_p90" MONEY, "90th percentile of value, currency units";
    ClvPercentile "clv_percentile" SHARE, "share of the base with a lower expected value";
    ModelTier "model_tier" FactKind::OneOf(TIERS), "risk tier of the model alone";
    OutOfDistribution "out_of_distribution" FactKind::Flag, "unlike what the models were trained on";
    SegmentOf "segment" FactKind::OneOf(SEGMENTS), "segment (not in segment rules)";
    Risk "risk" FactKind::OneOf(TIERS), "final risk tier (only in campaigns, comfort and discount guard)";
}

impl Fact {
    /// From its name in a policy.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fact| fact.as_str() == text)
    }
}

/// How many facts there are: one past the last.
const N_FACTS: usize = Fact::Risk as usize + 1;

/// All facts of one customer, flat. Enums are their position in the kind's list, flags 0 or 1,
/// channel sets a bit mask; NaN is missing. Names stay in the facts.
#[derive(Debug)]
pub(crate) struct View<'a> {
    numbers: [f64; N_FACTS],
    facts: &'a Facts,
}

impl<'a> View<'a> {
    /// Everything but what the policy itself decides: segment and risk follow later.
    pub(crate) fn new(facts: &'a Facts, score: &Score, reachable: u8) -> Self {
        let mut view = Self { numbers: [f64::NAN; N_FACTS], facts };
        view.fill_purchases(facts);
        view.fill_activity(facts);
        view.fill_relation(facts, reachable);
        view.fill_score(score);
        view
    }

    /// The value, NaN where missing.
    pub(crate) const fn number(&self, fact: Fact) -> f64 {
        self.numbers[fact as usize]
    }

    /// The names of a fact of kind `Name` or `Names`.
    pub(crate) fn names(&self, fact: Fact) -> &'a [Name] {
        match fact {
            Fact::Persona => self.facts.persona.as_slice(),
            Fact::TopCategory => self.facts.top_category.as_slice(),
            Fact::TargetActivity => self.facts.target_activity.as_slice(),
            Fact::Tags => &self.facts.tags,
            _ => &[],
        }
    }

    pub(crate) fn set_segment(&mut self, segment: Segment) {
        self.set(Fact::SegmentOf, f64::from(segment as u8));
    }

    pub(crate) fn set_model_tier(&mut self, tier: Option<Tier>) {
        self.set_maybe(Fact::ModelTier, tier.map(tier_code));
    }

    pub(crate) fn set_risk(&mut self, tier: Option<Tier>) {
        self.set_maybe(Fact::Risk, tier.map(tier_code));
    }

    fn set(&mut self, fact: Fact, value: f64) {
        self.numbers[fact as usize] = value;
    }

    fn set_maybe(&mut self, fact: Fact, value: Option<f64>) {
        self.set(fact, value.unwrap_or(f64::NAN));
    }

    fn fill_purchases(&mut self, facts: &Facts) {
        let rfm = &facts.rfm;
        self.set(Fact::Orders, f64::from(facts.orders));
        self.set_maybe(Fact::DaysSinceOrder, facts.days_since_order);
        self.set_maybe(Fact::R, rfm.r.map(f64::from));
        self.set_maybe(Fact::F, rfm.f.map(f64::from));
        self.set_maybe(Fact::M, rfm.m.map(f64::from));
        self.set_maybe(Fact::V, rfm.v.map(f64::from));
        self.set_maybe(Fact::LapseState, facts.lapse.map(|lapse| f64::from(lapse as u8)));
        self.set_maybe(Fact::SilenceProb, facts.silence_prob);
        let stage = Stage::of(facts).map(|stage| f64::from(stage as u8) - 1.0);
        self.set_maybe(Fact::StageOf, stage);
        self.set_maybe(Fact::AvgOrderValue, facts.avg_order_value);
        self.set_maybe(Fact::DiscountShare, facts.discount_share);
        self.set_maybe(Fact::ExpectedGapDays, facts.expected_gap_days);
        self.set_maybe(Fact::ReplenishDueRatio, facts.replenish_due_ratio);
        self.set_maybe(Fact::CartAbandonedHours, facts.cart_abandoned_hours);
    }

    fn fill_activity(&mut self, facts: &Facts) {
        let code = |heartbeat: Option<Heartbeat>| heartbeat.map(|state| f64::from(state as u8));
        self.set(Fact::Visits, f64::from(facts.visits));
        self.set_maybe(Fact::DaysInactive, facts.days_inactive);
        self.set_maybe(Fact::HbOrders, code(facts.hb_orders));
        self.set_maybe(Fact::HbActivity, code(facts.hb_activity));
        self.set_maybe(Fact::HbSpend, code(facts.hb_spend));
        if let Some(beats) = &facts.beats {
            let window = |days: u16| (days > 0).then(|| f64::from(days));
            self.set_maybe(Fact::HbOrdersProb, beats.orders.prob);
            self.set_maybe(Fact::HbActivityProb, beats.activity.prob);
            self.set_maybe(Fact::HbOrdersWindow, window(beats.orders.window_days));
            self.set_maybe(Fact::HbActivityWindow, window(beats.activity.window_days));
        }
        self.set_maybe(Fact::Breadth, facts.breadth);
        self.set_maybe(Fact::StickyGap, facts.sticky_gap.map(flag));
        self.set_maybe(Fact::DeviceBreadth, facts.device_breadth.map(f64::from));
        self.set(Fact::AchievementNew, flag(facts.achievement_new));
        self.set(Fact::HasUpdates, flag(facts.has_updates));
    }

    fn fill_relation(&mut self, facts: &Facts, reachable: u8) {
        self.set(Fact::HasEmail, flag(facts.has_email));
        self.set(Fact::DoNotContact, flag(facts.do_not_contact));
        self.set(Fact::B2b, flag(facts.b2b));
        self.set(Fact::Reachable, f64::from(reachable));
        self.set(Fact::ComplaintSerious90d, f64::from(facts.complaint_serious_90d));
        self.set(Fact::OpenTickets, f64::from(facts.open_tickets));
        self.set(Fact::OpenCritical, f64::from(facts.open_critical));
        self.set_maybe(Fact::NpsLast, facts.nps_last.map(f64::from));
        self.set_maybe(Fact::NpsAgeDays, facts.nps_age_days);
        self.set_maybe(Fact::CsatLast, facts.csat_last);
        self.set_maybe(Fact::SupportWaitHours, facts.support_wait_hours);
        self.set_maybe(Fact::ResolvedWithinSla, facts.resolved_within_sla.map(flag));
        self.set_maybe(Fact::TenureDays, facts.tenure_days);
        self.set_maybe(Fact::LoyaltyMember, facts.loyalty_member.map(flag));
        self.set(Fact::SpendMilestone, flag(facts.spend_milestone));
        self.set(Fact::Referrals, f64::from(facts.referrals));
        self.set_maybe(Fact::ContactPeople, facts.contact_people.map(f64::from));
        self.set_maybe(Fact::CsmChangedDays, facts.csm_changed_days);
        self.set_maybe(Fact::DaysSinceContact, facts.days_since_contact);
        self.set(Fact::Messages7d, f64::from(facts.messages_7d()));
        self.set_maybe(Fact::FactsAgeHours, facts.facts_age_hours);
    }

    fn fill_score(&mut self, score: &Score) {
        self.set_maybe(Fact::ChurnProb, score.churn_prob);
        if let Some(clv) = &score.clv {
            self.set(Fact::ClvMean, clv.mean);
            self.set(Fact::ClvP10, clv.p10);
            self.set(Fact::ClvP50, clv.p50);
            self.set(Fact::ClvP90, clv.p90);
            self.set(Fact::ClvPercentile, clv.percentile);
        }
        self.set(Fact::OutOfDistribution, flag(score.out_of_distribution));
    }
}

const fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn tier_code(tier: Tier) -> f64 {
    f64::from(tier as u8) - 1.0
}

/// What a fact says, for the rule trace; none where it is missing.
pub(crate) fn describe(view: &View<'_>, fact: Fact) -> Option<String> {
    let value = view.number(fact);
    match fact.kind() {
        FactKind::Name | FactKind::Names => {
            let names: Vec<&str> = view.names(fact).iter().map(Name::as_str).collect();
            (!names.is_empty()).then(|| names.join("|"))
        }
        _ if value.is_nan() => None,
        FactKind::Number { .. } => Some(value.to_string()),
        FactKind::Flag => Some((value > 0.5).to_string()),
        FactKind::OneOf(names) => names
            .iter()
            .zip(0_u8..)
            .find(|(_, code)| near(f64::from(*code), value))
            .map(|(name, _)| (*name).to_owned()),
        FactKind::Channels => {
            let is_in = |channel: &Channel| has_bit(value, channel.index());
            let names: Vec<&str> = Channel::ALL
                .iter()
                .filter(|channel| is_in(channel))
                .map(|channel| channel.as_str())
                .collect();
            Some(names.join("|"))
        }
    }
}

/// Numbers less than this apart are the same.
pub(crate) const NEAR: f64 = 1e-9;

/// Whether two small whole numbers, kept as floats, are the same.
pub(crate) fn near(one: f64, other: f64) -> bool {
    (one - other).abs() < NEAR
}

/// Whether the bit of a mask kept as a float is set; false for NaN.
pub(crate) fn has_bit(mask: f64, bit: usize) -> bool {
    bits(mask) >> bit & 1 == 1
}

/// A mask kept as a float, as an integer; 0 for NaN.
pub(crate) fn bits(mask: f64) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "masks and codes are whole numbers below 256; NaN becomes 0 by definition"
    )]
    let bits = mask as u32;
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::lapse::Lapse;

    #[test]
    fn every_list_of_names_is_the_enum_in_order() {
        assert_eq!(HEARTBEATS, Heartbeat::ALL.map(Heartbeat::as_str));
        assert_eq!(LAPSES, Lapse::ALL.map(Lapse::as_str));
        assert_eq!(TIERS, Tier::ALL.map(Tier::as_str));
        assert_eq!(STAGES, Stage::ALL.map(Stage::as_str));
        assert_eq!(SEGMENTS, Segment::ALL.map(Segment::as_str));
        for (idx, segment) in Segment::ALL.into_iter().enumerate() {
            assert_eq!(segment as usize, idx);
        }
    }

    #[test]
    fn every_fact_has_its_own_place_and_name() {
        assert_eq!(Fact::ALL.len(), N_FACTS);
        for (idx, fact) in Fact::ALL.iter().copied().enumerate() {
            assert_eq!(fact as usize, idx);
            assert_eq!(Fact::parse(fact.as_str()), Some(fact));
        }
        assert_eq!(Fact::parse("order"), None);
    }
}
