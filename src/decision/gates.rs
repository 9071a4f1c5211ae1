//! The gates a campaign passes for a customer, in order; the first that is shut says why.
//!
//! In: facts, tier and one campaign whose rule holds. Out: its channels, or the reason it must
//! wait. Holdout is not a gate here: it comes last, after the choice, so that control and treatment
//! are drawn from the same eligible customers.

use crate::decision::channel::NoChannel;
use crate::decision::channel::RankedChannels;
use crate::decision::channel::rank;
use crate::decision::fact::Fact;
use crate::decision::fact::View;
use crate::decision::facts::Facts;
use crate::decision::policy::Campaign;
use crate::decision::policy::CampaignKind;
use crate::decision::policy::Policy;

/// Why nothing is recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SuppressionReason {
    /// The customer asked for no contact.
    DoNotContact = 1,
    /// A serious complaint or critical ticket: only service speaks.
    OpenIssueBlocksPromotion = 2,
    /// Doing well: this kind of campaign would disturb.
    ComfortableUser = 3,
    /// Doing well and contacted lately.
    ComfortableGap = 4,
    /// Enough messages already.
    FrequencyCap = 5,
    /// Just ordered.
    QuietAfterOrder = 6,
    /// The same campaign came lately.
    Cooldown = 7,
    /// No channel reaches the customer.
    NoReachableChannel = 8,
    /// What is known is too old.
    StaleFacts = 9,
    /// The customer is unlike those the models learned from.
    OutOfDistribution = 10,
    /// In the global control group.
    HoldoutGlobal = 11,
    /// In the campaign's control group.
    HoldoutCampaign = 12,
    /// No campaign's rule holds.
    NoEligibleCampaign = 13,
    /// It would cost more than it is expected to bring.
    NegativeValue = 14,
}

impl SuppressionReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::DoNotContact,
        Self::OpenIssueBlocksPromotion,
        Self::ComfortableUser,
        Self::ComfortableGap,
        Self::FrequencyCap,
        Self::QuietAfterOrder,
        Self::Cooldown,
        Self::NoReachableChannel,
        Self::StaleFacts,
        Self::OutOfDistribution,
        Self::HoldoutGlobal,
        Self::HoldoutCampaign,
        Self::NoEligibleCampaign,
        Self::NegativeValue,
    ];

    /// Its code in files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DoNotContact => "DO_NOT_CONTACT",
            Self::OpenIssueBlocksPromotion => "OPEN_ISSUE_BLOCKS_PROMOTION",
            Self::ComfortableUser => "COMFORTABLE_USER",
            Self::ComfortableGap => "COMFORTABLE_GAP",
            Self::FrequencyCap => "FREQUENCY_CAP",
            Self::QuietAfterOrder => "QUIET_AFTER_ORDER",
            Self::Cooldown => "COOLDOWN",
            Self::NoReachableChannel => "NO_REACHABLE_CHANNEL",
            Self::StaleFacts => "STALE_FACTS",
            Self::OutOfDistribution => "OUT_OF_DISTRIBUTION",
            Self::HoldoutGlobal => "HOLDOUT_GLOBAL",
            Self::HoldoutCampaign => "HOLDOUT_CAMPAIGN",
            Self::NoEligibleCampaign => "NO_ELIGIBLE_CAMPAIGN",
            Self::NegativeValue => "NEGATIVE_VALUE",
        }
    }
}

/// A shut gate, and when it opens by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shut {
    pub(crate) reason: SuppressionReason,
    pub(crate) opens_after_days: Option<f64>,
}

impl Shut {
    pub(crate) const fn now(reason: SuppressionReason) -> Self {
        Self { reason, opens_after_days: None }
    }

    /// Shut until `past` has grown to `needed`.
    fn until(reason: SuppressionReason, needed: f64, past: f64) -> Self {
        Self { reason, opens_after_days: Some((needed - past).max(0.0)) }
    }
}

/// The gates as they stand for one customer.
#[derive(Debug)]
pub(crate) struct Gatekeeper<'a> {
    policy: &'a Policy,
    facts: &'a Facts,
    reachable: u8,
    has_open_issue: bool,
    is_comfortable: bool,
    is_capped: bool,
    /// Days since the order, where they are few enough to keep quiet.
    quiet_since_days: Option<f64>,
    is_stale: bool,
    is_out_of_distribution: bool,
}

impl<'a> Gatekeeper<'a> {
    /// `view` must already hold segment and risk.
    pub(crate) fn new(
        policy: &'a Policy,
        facts: &'a Facts,
        view: &View<'_>,
        reachable: u8,
    ) -> Self {
        let gates = &policy.gates;
        Self {
            policy,
            facts,
            reachable,
            has_open_issue: facts.open_critical > 0 || facts.complaint_serious_90d > 0,
            is_comfortable: gates.comfort.holds(view),
            is_capped: facts.messages_7d() >= gates.messages_7d_max,
            quiet_since_days: facts
                .days_since_order
                .filter(|days| *days <= gates.quiet_after_order_days),
            is_stale: facts.facts_age_hours.is_some_and(|hours| hours > gates.facts_age_hours_max),
            is_out_of_distribution: gates.block_out_of_distribution
                && view.number(Fact::OutOfDistribution) > 0.5,
        }
    }

    /// Whether a campaign's rule holds. A campaign for non-buyers never reaches a buyer, whatever
    /// its rule says.
    pub(crate) fn is_eligible(&self, campaign: &Campaign, view: &View<'_>) -> bool {
        (self.is_non_buyer() || !campaign.non_buyers_only) && campaign.rule.holds(view)
    }

    pub(crate) const fn is_non_buyer(&self) -> bool {
        self.facts.orders == 0
    }

    /// The channels of an eligible campaign, or the first gate that is shut for it.
    pub(crate) fn pass(&self, campaign: &Campaign) -> Result<RankedChannels, Shut> {
        use SuppressionReason as Why;
        if self.facts.do_not_contact {
            return Err(Shut::now(Why::DoNotContact));
        }
        let is_service = campaign.kind == CampaignKind::Service;
        if self.has_open_issue && !is_service {
            return Err(Shut::now(Why::OpenIssueBlocksPromotion));
        }
        if !is_service {
            self.pass_comfort(campaign)?;
        }
        let channels = rank(self.policy, self.facts, campaign, self.reachable);
        if !is_service {
            if self.is_capped || channels == Err(NoChannel::Capped) {
                return Err(Shut::now(Why::FrequencyCap));
            }
            if let Some(days) = self.quiet_since_days.filter(|_| !campaign.allowed_in_quiet) {
                let needed = self.policy.gates.quiet_after_order_days;
                return Err(Shut::until(Why::QuietAfterOrder, needed, days));
            }
        }
        if let Some(days) = self.facts.days_since_campaign(&campaign.id)
            && days < campaign.cooldown_days
        {
            return Err(Shut::until(Why::Cooldown, campaign.cooldown_days, days));
        }
        let channels = channels.map_err(|_| Shut::now(Why::NoReachableChannel))?;
        if campaign.kind == CampaignKind::Marketing {
            if self.is_stale {
                return Err(Shut::now(Why::StaleFacts));
            }
            if self.is_out_of_distribution {
                return Err(Shut::now(Why::OutOfDistribution));
            }
        }
        Ok(channels)
    }

    fn pass_comfort(&self, campaign: &Campaign) -> Result<(), Shut> {
        if !self.is_comfortable {
            return Ok(());
        }
        if !campaign.allowed_in_comfort {
            return Err(Shut::now(SuppressionReason::ComfortableUser));
        }
        let gap_days = self.policy.gates.comfort_gap_days;
        match self.facts.days_since_contact {
            Some(days) if days < gap_days && !campaign.free_of_comfort_gap => {
                Err(Shut::until(SuppressionReason::ComfortableGap, gap_days, days))
            }
            _ => Ok(()),
        }
    }
}
