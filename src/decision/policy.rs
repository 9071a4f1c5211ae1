//! The policy: what a business does about whom, checked and ready to decide with.
//!
//! In: the text of a policy file ([`Policy::parse`]). Out: a value of which every rule is compiled,
//! every name known and every number in range. A policy never changes; a new file is a new policy.
//! It deliberately holds no customer, no clock and no secret: salts are handed in beside it.

use sha2::Digest;
use sha2::Sha256;

use crate::decision::canon;
use crate::decision::check;
use crate::decision::economics::CampaignEconomics;
use crate::decision::economics::Economics;
use crate::decision::fact_rule::FactRule;
use crate::decision::issue::PolicyErrors;
use crate::decision::lapse::LapseRule;
use crate::decision::predicate::Rule;
use crate::decision::segment::Phase;
use crate::decision::segment::Segment;
use crate::decision::tier::Tier;
use crate::decision::tier::TierCuts;
use crate::decision::tier::TierError;
use crate::domain::Channel;
use crate::domain::Currency;
use crate::domain::Name;

/// Wire number of the explicit decision to do nothing.
pub const NO_ACTION_NUMBER: u16 = 1;
/// Wire number of a campaign that a business defined for itself.
pub const CUSTOM_NUMBER: u16 = 2;
/// A probability that nobody has.
const NOBODY_PROB: f64 = 2.0;
/// Name of the explicit decision to do nothing.
pub const NO_ACTION: &str = "no_action";

/// The campaigns of the default policy with their wire numbers, stable whatever priority a policy
/// gives them.
pub const CAMPAIGN_NUMBERS: [(&str, u16); 28] = [
    ("service_recovery", 10),
    ("cart_recovery", 15),
    ("win_back_high", 20),
    ("retention_offer", 25),
    ("activity_recovery", 30),
    ("replenishment", 35),
    ("second_purchase_nudge", 40),
    ("post_purchase_care", 42),
    ("first_purchase_incentive", 45),
    ("lead_capture", 47),
    ("welcome_onboarding", 48),
    ("relationship_broadening", 50),
    ("inactivity_check_in", 55),
    ("feature_education", 58),
    ("sticky_adoption", 60),
    ("vip_perk", 62),
    ("upsell", 65),
    ("bundle_offer", 67),
    ("loyalty_reward", 70),
    ("loyalty_enroll", 72),
    ("referral", 74),
    ("review_request", 76),
    ("feedback_survey", 78),
    ("milestone", 80),
    ("activity_boost", 82),
    ("recommendation", 85),
    ("habit_reminder", 88),
    ("win_back_light", 90),
];

/// What a campaign gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OfferKind {
    /// Nothing but the message.
    None = 1,
    /// A lower price.
    Discount = 2,
    /// Store credit.
    Credit = 3,
    /// A voucher.
    Voucher = 4,
    /// A gift.
    Gift = 5,
    /// A better plan or product.
    Upgrade = 6,
    /// Loyalty points.
    Points = 7,
    /// A bundle.
    Bundle = 8,
    /// Free shipping.
    FreeShipping = 9,
    /// Earlier access than others.
    EarlyAccess = 10,
}

impl OfferKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Discount,
        Self::Credit,
        Self::Voucher,
        Self::Gift,
        Self::Upgrade,
        Self::Points,
        Self::Bundle,
        Self::FreeShipping,
        Self::EarlyAccess,
    ];

    /// Its position in [`OfferKind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Discount => "discount",
            Self::Credit => "credit",
            Self::Voucher => "voucher",
            Self::Gift => "gift",
            Self::Upgrade => "upgrade",
            Self::Points => "points",
            Self::Bundle => "bundle",
            Self::FreeShipping => "free_shipping",
            Self::EarlyAccess => "early_access",
        }
    }
}

/// What a campaign is for, which decides the gates it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampaignKind {
    /// Answers a problem: passes caps, quiet days, comfort, stale facts, an open issue.
    Service,
    /// First steps: passes stale facts and unusual customers.
    Onboarding,
    /// Anything else.
    Marketing,
}

impl CampaignKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Service, Self::Onboarding, Self::Marketing];

    /// Its name in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Onboarding => "onboarding",
            Self::Marketing => "marketing",
        }
    }
}

/// Which fact says what the campaign is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// The sticky activity to adopt.
    Activity,
    /// The category bought most.
    Category,
}

impl TargetKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Activity, Self::Category];

    /// Its name in policies: the fact it is read from.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activity => "target_activity",
            Self::Category => "top_category",
        }
    }
}

/// A campaign a policy may recommend.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    pub(crate) id: Box<str>,
    pub(crate) number: u16,
    pub(crate) priority: u16,
    pub(crate) objective: Box<str>,
    pub(crate) reason: Box<str>,
    pub(crate) why: Box<str>,
    pub(crate) kind: CampaignKind,
    pub(crate) non_buyers_only: bool,
    pub(crate) rule: Rule,
    pub(crate) channels: Vec<Channel>,
    pub(crate) offer: OfferKind,
    pub(crate) target: Option<TargetKind>,
    pub(crate) cooldown_days: f64,
    pub(crate) ttl_days: f64,
    pub(crate) cost_share_of_clv_max: f64,
    pub(crate) control_share: f64,
    pub(crate) never_held_out: bool,
    pub(crate) allowed_in_comfort: bool,
    pub(crate) free_of_comfort_gap: bool,
    pub(crate) allowed_in_quiet: bool,
    /// Whether its expected value can make a customer red, where the tiers are economic.
    pub(crate) makes_red: bool,
    /// Present where the policy has `[economics]`.
    pub(crate) economics: Option<CampaignEconomics>,
    /// Versions that are compared, in equal shares; empty: one version.
    pub(crate) variants: Vec<Box<str>>,
}

impl Campaign {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its wire number; [`CUSTOM_NUMBER`] for a campaign of the business's own.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Its urgency: lower goes first.
    #[must_use]
    pub const fn priority(&self) -> u16 {
        self.priority
    }

    /// What it is meant to achieve, a short code.
    #[must_use]
    pub fn objective(&self) -> &str {
        &self.objective
    }

    /// The reason code it is recommended with.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// One line for the people who run it.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> CampaignKind {
        self.kind
    }

    /// Its channels, the preferred first.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// What it gives.
    #[must_use]
    pub const fn offer(&self) -> OfferKind {
        self.offer
    }

    /// Its versions that are compared, in equal shares; none where there is only one.
    pub fn variants(&self) -> impl Iterator<Item = &str> {
        self.variants.iter().map(|variant| &**variant)
    }

    /// Share of those it would go to that are left alone, in [0, 1]; 0 where it is never held
    /// out.
    #[must_use]
    pub const fn control_share(&self) -> f64 {
        if self.never_held_out { 0.0 } else { self.control_share }
    }
}

/// Limits of one channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChannelCaps {
    pub(crate) gap_hours_min: f64,
    pub(crate) messages_7d_max: u32,
    pub(crate) messages_28d_max: u32,
}

/// How the model's tier is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TierMode {
    Capacity {
        red_share: f64,
        amber_share: f64,
    },
    Fixed(TierCuts),
    /// The riskiest `elevated_share` are amber, and red where acting pays.
    Economic {
        elevated_share: f64,
    },
}

/// How the choice among the campaigns that pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arbitration {
    /// By the policy's priority.
    Priority,
    /// By what they are expected to bring.
    ExpectedValue,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Override {
    pub(crate) tier: Tier,
    pub(crate) rule: Rule,
    pub(crate) reason: Box<str>,
    pub(crate) why: Box<str>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SegmentRule {
    pub(crate) segment: Segment,
    pub(crate) phase: Phase,
    pub(crate) rule: Rule,
    pub(crate) why: Box<str>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DiscountGuard {
    pub(crate) kinds: Vec<OfferKind>,
    pub(crate) allow: Rule,
    pub(crate) discount_share_max: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gates {
    pub(crate) messages_7d_max: u32,
    pub(crate) quiet_after_order_days: f64,
    pub(crate) facts_age_hours_max: f64,
    pub(crate) block_out_of_distribution: bool,
    pub(crate) comfort: Rule,
    pub(crate) comfort_gap_days: f64,
    pub(crate) global_control_share: f64,
    /// Share of decisions among several campaigns that are drawn instead of chosen.
    pub(crate) explore_share: f64,
    pub(crate) salt: SaltSource,
    /// Hours of the day, in the business's zone, between which nothing is sent: from, until.
    pub(crate) quiet_hours: Option<(f64, f64)>,
}

/// Where the salt of the experiments comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SaltSource {
    /// The installation's own, handed in.
    Generated,
    /// Written in the policy.
    Fixed(Box<str>),
}

/// What the caps on offers are shares of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClvBasis {
    /// Predicted revenue.
    Revenue,
    /// Predicted revenue times this share, in (0, 1].
    Margin(f64),
}

/// The activities that make customers stay, for those who work out the facts `sticky_gap` and
/// `target_activity`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sticky {
    /// The activities, by name.
    pub activities: Vec<Name>,
    /// Uses within 28 days from which an activity counts as done regularly.
    pub regular_uses_28d_min: u32,
}

/// Which policy decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyId {
    /// The policy's name.
    pub id: String,
    /// Its version, as its owner counts.
    pub version: String,
    /// SHA-256 of what the policy means: equal for files that differ only in comments, order of
    /// keys, white space, `why` texts, name and version.
    pub hash: [u8; 32],
}

/// A checked policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(crate) id: PolicyId,
    pub(crate) clv_basis: ClvBasis,
    pub(crate) lapse_rule: LapseRule,
    pub(crate) fact_rule: FactRule,
    pub(crate) sticky: Sticky,
    pub(crate) tier_mode: TierMode,
    pub(crate) red_prob_min: f64,
    pub(crate) overrides: Vec<Override>,
    pub(crate) segments: Vec<SegmentRule>,
    pub(crate) assume_reachable: [bool; Channel::ALL.len()],
    pub(crate) caps: [Option<ChannelCaps>; Channel::ALL.len()],
    pub(crate) gates: Gates,
    pub(crate) discount_guard: DiscountGuard,
    pub(crate) offer_share_of_clv_max: f64,
    pub(crate) economics: Option<Economics>,
    pub(crate) arbitration: Arbitration,
    /// A campaign is expected to bring more than this, in currency units.
    pub(crate) expected_value_min: f64,
    /// By priority, the most urgent first.
    pub(crate) campaigns: Vec<Campaign>,
}

impl Policy {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// [`PolicyErrors`] with everything that is wrong, by line; a file that is no TOML gives its
    /// syntax errors only.
    pub fn parse(text: &str) -> Result<Self, PolicyErrors> {
        let mut policy = check::check(text)?;
        policy.id.hash = Sha256::digest(canon::canonical(&policy).as_bytes()).into();
        Ok(policy)
    }

    /// The text of the policy that comes with the program.
    #[must_use]
    pub const fn default_text() -> &'static str {
        include_str!("default_policy.toml")
    }

    /// The policy that comes with the program.
    ///
    /// # Errors
    /// None in practice: a test reads the text that is compiled in.
    pub fn default_policy() -> Result<Self, PolicyErrors> {
        Self::parse(Self::default_text())
    }

    /// Name, version and hash.
    #[must_use]
    pub const fn id(&self) -> &PolicyId {
        &self.id
    }

    /// Its campaigns, the most urgent first.
    #[must_use]
    pub fn campaigns(&self) -> &[Campaign] {
        &self.campaigns
    }

    /// Its segments in the order they are tried, each with its phase and one line for people.
    pub fn segments(&self) -> impl Iterator<Item = (Segment, Phase, &str)> {
        self.segments.iter().map(|rule| (rule.segment, rule.phase, &*rule.why))
    }

    /// Its overrides of the risk tier, each with the reason code and one line for people.
    pub fn overrides(&self) -> impl Iterator<Item = (Tier, &str, &str)> {
        self.overrides.iter().map(|rule| (rule.tier, &*rule.reason, &*rule.why))
    }

    /// When a silence means slipping or lapsed, for those who work out the fact `lapse`.
    #[must_use]
    pub const fn lapse_rule(&self) -> &LapseRule {
        &self.lapse_rule
    }

    /// How heartbeat, support and milestone facts are worked out.
    #[must_use]
    pub const fn fact_rule(&self) -> &FactRule {
        &self.fact_rule
    }

    /// The sticky activities, for those who work out the facts about them.
    #[must_use]
    pub const fn sticky(&self) -> &Sticky {
        &self.sticky
    }

    /// What the caps on offers are shares of.
    #[must_use]
    pub const fn clv_basis(&self) -> ClvBasis {
        self.clv_basis
    }

    /// Currency of the policy's costs; `None` where it names none.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.economics.as_ref().map(|economics| economics.currency)
    }

    /// Share of customers that no campaign but service reaches, in [0, 1].
    #[must_use]
    pub const fn global_control_share(&self) -> f64 {
        self.gates.global_control_share
    }

    /// The cut points of the risk tier: found from a reference sample of churn probabilities (or
    /// a table of its quantiles) where the policy says `capacity`, its own numbers where it says
    /// `fixed`. Where it says `economic`, amber begins at the riskiest shares together and no
    /// probability is red by itself: [`decide`](crate::decision::decide) adds the economics.
    /// Worked out once for a policy and a bundle, then frozen.
    ///
    /// # Errors
    /// [`TierError`] where the sample is needed and is empty or holds no probabilities.
    pub fn tier_cuts(&self, reference_scores: &[f64]) -> Result<TierCuts, TierError> {
        let mut cuts = match self.tier_mode {
            TierMode::Fixed(cuts) => cuts,
            TierMode::Capacity { red_share, amber_share } => {
                TierCuts::capacity(reference_scores, red_share, amber_share)?
            }
            TierMode::Economic { elevated_share } => {
                let cuts = TierCuts::capacity(reference_scores, 0.0, elevated_share)?;
                TierCuts { red_prob: NOBODY_PROB, ..cuts }
            }
        };
        cuts.red_prob = cuts.red_prob.max(self.red_prob_min);
        Ok(cuts)
    }

    pub(crate) fn caps_of(&self, channel: Channel) -> Option<&ChannelCaps> {
        self.caps[channel.index()].as_ref()
    }
}
