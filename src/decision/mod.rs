//! What to do about a customer: scores and facts -> tier, segment, campaign, channel, holdout.
//!
//! In: a checked [`Policy`], a [`Score`](crate::model::Score) and the [`Facts`] of one customer.
//! Out: a [`Decision`], the same every time for the same input. It deliberately knows no history,
//! no store, no clock, no randomness and no model; it sends nothing and keeps nothing.
//!
//! Invariants, whatever the policy says: nobody who asked for no contact gets a campaign; a
//! discount never leaves the guard; with a serious complaint only service speaks; no campaign for
//! non-buyers reaches a buyer; no campaign without a channel that reaches the customer; a decision
//! without a campaign says why; an override never lowers a tier; a held-out customer gets no
//! campaign.

mod arbitrate;
mod campaigns;
mod canon;
mod channel;
mod check;
mod costs;
mod decide;
mod economics;
mod fact;
mod fact_rule;
mod facts;
mod flat_rule;
mod gates;
mod given;
mod holdout;
mod issue;
mod lapse;
mod policy;
mod predicate;
mod reach;
mod read;
mod rfm;
mod segment;
mod tier;
mod trace;
mod why;

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod hash_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod safety_tests;
#[cfg(test)]
mod test_fixtures;
#[cfg(test)]
mod value_tests;

pub use arbitrate::ALTERNATIVES_MAX;
pub use arbitrate::Alternative;
pub use arbitrate::Offer;
pub use channel::RankedChannels;
pub use decide::Context;
pub use decide::Decision;
pub use decide::Eligible;
pub use decide::Flags;
pub use decide::HeartbeatStates;
pub use decide::Suppression;
pub use decide::decide;
pub use economics::clv_if_retained;
pub use fact::Fact;
pub use fact::FactKind;
pub use fact_rule::FactRule;
pub use facts::CampaignContact;
pub use facts::ChannelFacts;
pub use facts::Facts;
pub use facts::Heartbeat;
pub use gates::SuppressionReason;
pub use holdout::Arm;
pub use holdout::Assignment;
pub use holdout::Experiment;
pub use holdout::ExperimentSetup;
pub use holdout::SaltError;
pub use holdout::Salts;
pub use holdout::campaign_salt;
pub use holdout::explore_salt;
pub use holdout::global_salt;
pub use holdout::unit_interval;
pub use holdout::variant_salt;
pub use issue::PolicyErrors;
pub use issue::PolicyIssue;
pub use issue::PolicyIssueKind;
pub use lapse::Lapse;
pub use lapse::LapseRule;
pub use policy::CAMPAIGN_NUMBERS;
pub use policy::CUSTOM_NUMBER;
pub use policy::Campaign;
pub use policy::CampaignKind;
pub use policy::ClvBasis;
pub use policy::NO_ACTION;
pub use policy::NO_ACTION_NUMBER;
pub use policy::OfferKind;
pub use policy::Policy;
pub use policy::PolicyId;
pub use policy::Sticky;
pub use policy::TargetKind;
pub use rfm::Rfm;
pub use rfm::RfmCuts;
pub use rfm::RfmError;
pub use rfm::RfmValues;
pub use segment::Phase;
pub use segment::Segment;
pub use segment::Stage;
pub use segment::micro_key;
pub use tier::Tier;
pub use tier::TierCuts;
pub use tier::TierError;
pub use trace::RuleKind;
pub use trace::RuleTrace;
pub use trace::TestTrace;
pub use why::WhyNot;
pub use why::why_not;
