//! Closed sets of the domain as enums of the wire: one exhaustive match each.

use crate::decision::{Arm, Campaign, Heartbeat, Lapse, OfferKind, Phase, Segment, Stage};
use crate::decision::{SuppressionReason, Tier};
use crate::domain::Channel;
use crate::serve::pb;

pub(in crate::serve) fn tier(tier: Option<Tier>) -> i32 {
    let wire = match tier {
        None => pb::RiskTier::Unspecified,
        Some(Tier::Green) => pb::RiskTier::Green,
        Some(Tier::Amber) => pb::RiskTier::Amber,
        Some(Tier::Red) => pb::RiskTier::Red,
    };
    wire.into()
}

pub(super) fn segment(segment: Segment) -> i32 {
    let wire = match segment {
        Segment::Unknown => pb::Segment::Unknown,
        Segment::EngagedVisitor => pb::Segment::EngagedVisitor,
        Segment::LoyalVisitor => pb::Segment::LoyalVisitor,
        Segment::CannotLose => pb::Segment::CannotLose,
        Segment::Lost => pb::Segment::Lost,
        Segment::AtRisk => pb::Segment::AtRisk,
        Segment::FallingAsleep => pb::Segment::FallingAsleep,
        Segment::FirstTime => pb::Segment::FirstTime,
        Segment::Champion => pb::Segment::Champion,
        Segment::Loyal => pb::Segment::Loyal,
        Segment::PotentialLoyalist => pb::Segment::PotentialLoyalist,
        Segment::Recent => pb::Segment::Recent,
        Segment::Promising => pb::Segment::Promising,
    };
    wire.into()
}

pub(super) fn phase(phase: Phase) -> i32 {
    let wire = match phase {
        Phase::None => pb::LifecyclePhase::None,
        Phase::Acquisition => pb::LifecyclePhase::Acquisition,
        Phase::Retention => pb::LifecyclePhase::Retention,
        Phase::IncreasedValue => pb::LifecyclePhase::IncreasedValue,
        Phase::Veneration => pb::LifecyclePhase::Veneration,
        Phase::Reactivation => pb::LifecyclePhase::Reactivation,
    };
    wire.into()
}

pub(super) fn stage(stage: Option<Stage>) -> i32 {
    let wire = match stage {
        None => pb::EngagementStage::Unspecified,
        Some(Stage::Active) => pb::EngagementStage::Active,
        Some(Stage::Loyal) => pb::EngagementStage::Loyal,
        Some(Stage::Lapsing) => pb::EngagementStage::Lapsing,
        Some(Stage::Inactive) => pb::EngagementStage::Inactive,
    };
    wire.into()
}

pub(super) fn lapse(lapse: Lapse) -> i32 {
    let wire = match lapse {
        Lapse::Current => pb::LapseState::Current,
        Lapse::Slipping => pb::LapseState::Slipping,
        Lapse::Lapsed => pb::LapseState::Lapsed,
    };
    wire.into()
}

pub(super) fn heartbeat(state: Heartbeat) -> i32 {
    let wire = match state {
        Heartbeat::NoData => pb::HeartbeatState::NoData,
        Heartbeat::Steady => pb::HeartbeatState::Steady,
        Heartbeat::Rise => pb::HeartbeatState::Rise,
        Heartbeat::Drop => pb::HeartbeatState::Drop,
    };
    wire.into()
}

pub(super) fn channel(channel: Channel) -> i32 {
    let wire = match channel {
        Channel::Email => pb::Channel::Email,
        Channel::Push => pb::Channel::Push,
        Channel::InApp => pb::Channel::InApp,
        Channel::ContentCard => pb::Channel::ContentCard,
        Channel::Sms => pb::Channel::Sms,
        Channel::WebBanner => pb::Channel::WebBanner,
        Channel::PaidSocial => pb::Channel::PaidSocial,
        Channel::Human => pb::Channel::Human,
    };
    wire.into()
}

/// A campaign of the policy by its wire number; one without a number of ours is a custom one.
pub(super) fn campaign(campaign: Option<&Campaign>) -> i32 {
    let Some(campaign) = campaign else {
        return pb::CampaignType::Unspecified.into();
    };
    pb::CampaignType::try_from(i32::from(campaign.number()))
        .unwrap_or(pb::CampaignType::Custom)
        .into()
}

pub(super) fn offer_kind(kind: OfferKind) -> i32 {
    let wire = match kind {
        OfferKind::None => pb::OfferKind::None,
        OfferKind::Discount => pb::OfferKind::Discount,
        OfferKind::Credit => pb::OfferKind::Credit,
        OfferKind::Voucher => pb::OfferKind::Voucher,
        OfferKind::Gift => pb::OfferKind::Gift,
        OfferKind::Upgrade => pb::OfferKind::Upgrade,
        OfferKind::Points => pb::OfferKind::Points,
        OfferKind::Bundle => pb::OfferKind::Bundle,
        OfferKind::FreeShipping => pb::OfferKind::FreeShipping,
        OfferKind::EarlyAccess => pb::OfferKind::EarlyAccess,
    };
    wire.into()
}

pub(super) fn suppression(reason: Option<SuppressionReason>) -> i32 {
    use SuppressionReason as From;
    use pb::Suppression as To;

    let wire = match reason {
        None => To::Unspecified,
        Some(From::DoNotContact) => To::DoNotContact,
        Some(From::OpenIssueBlocksPromotion) => To::OpenIssueBlocksPromotion,
        Some(From::ComfortableUser) => To::ComfortableUser,
        Some(From::ComfortableGap) => To::ComfortableGap,
        Some(From::FrequencyCap) => To::FrequencyCap,
        Some(From::QuietAfterOrder) => To::QuietAfterOrder,
        Some(From::Cooldown) => To::Cooldown,
        Some(From::NoReachableChannel) => To::NoReachableChannel,
        Some(From::StaleFacts) => To::StaleFacts,
        Some(From::OutOfDistribution) => To::OutOfDistribution,
        Some(From::HoldoutGlobal) => To::HoldoutGlobal,
        Some(From::HoldoutCampaign) => To::HoldoutCampaign,
        Some(From::NoEligibleCampaign) => To::NoEligibleCampaign,
        Some(From::NegativeValue) => To::NegativeValue,
    };
    wire.into()
}

pub(super) fn arm(arm: Arm) -> i32 {
    let wire = match arm {
        Arm::Treatment => pb::ExperimentArm::Treatment,
        Arm::Control => pb::ExperimentArm::Control,
    };
    wire.into()
}
