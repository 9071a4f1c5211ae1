//! The decision itself: tier, segment and campaign of one customer.

use crate::decision::arbitrate::Alternative;
use crate::decision::arbitrate::Offer;
use crate::decision::arbitrate::Winner;
use crate::decision::arbitrate::choose;
use crate::decision::arbitrate::offer;
use crate::decision::channel::RankedChannels;
use crate::decision::channel::reachable_mask;
use crate::decision::fact::View;
use crate::decision::facts::Facts;
use crate::decision::facts::Heartbeat;
use crate::decision::gates::Gatekeeper;
use crate::decision::gates::SuppressionReason;
use crate::decision::holdout::Arm;
use crate::decision::holdout::Assignment;
use crate::decision::holdout::Experiment;
use crate::decision::holdout::Salts;
use crate::decision::lapse::Lapse;
use crate::decision::policy::Campaign;
use crate::decision::policy::NO_ACTION;
use crate::decision::policy::NO_ACTION_NUMBER;
use crate::decision::policy::Policy;
use crate::decision::policy::PolicyId;
use crate::decision::policy::TargetKind;
use crate::decision::rfm::Rfm;
use crate::decision::segment::Phase;
use crate::decision::segment::Segment;
use crate::decision::segment::Stage;
use crate::decision::segment::is_active_core;
use crate::decision::segment::is_advocate;
use crate::decision::segment::micro_key;
use crate::decision::tier::Tier;
use crate::decision::tier::TierCuts;
use crate::decision::trace::RuleTrace;
use crate::decision::trace::trace;
use crate::domain::Name;
use crate::model::Score;

/// Everything about one customer beside the score.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The customer's id, hashed as its raw bytes into control groups.
    pub customer_id: &'a str,
    /// What is known of the customer.
    pub facts: &'a Facts,
    /// Cut points of the model's tier, from [`Policy::tier_cuts`]; `None` for a bundle without
    /// a churn model: then only overrides give a tier.
    pub tier_cuts: Option<TierCuts>,
    /// Salts of the experiments.
    pub salts: &'a Salts,
    /// Whether the rules tried are wanted in the reply.
    pub trace: bool,
}

/// Why nothing is recommended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suppression<'p> {
    /// The reason.
    pub reason: SuppressionReason,
    /// The most urgent campaign that the reason stopped, if any was eligible.
    pub campaign: Option<&'p Campaign>,
}

/// The three signals of the customer's rhythm, as they were in the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeartbeatStates {
    /// Of orders.
    pub orders: Option<Heartbeat>,
    /// Of activity.
    pub activity: Option<Heartbeat>,
    /// Of spend.
    pub spend: Option<Heartbeat>,
}

/// Marks of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// In rhythm, high spend, high predicted value, no drop.
    pub active_core: bool,
    /// Speaks for the brand.
    pub advocate: bool,
    /// Unlike those the models learned from.
    pub out_of_distribution: bool,
}

/// What to do about a customer. Names and codes borrow from the policy that decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<'p> {
    /// Which policy decided.
    pub policy: &'p PolicyId,
    /// Risk tier after overrides; `None` without a churn model where no override fired.
    pub tier: Option<Tier>,
    /// Risk tier of the model alone.
    pub model_tier: Option<Tier>,
    /// Reason codes of the tier: the model's, then every override that fired, in policy order.
    pub tier_reasons: Vec<&'p str>,
    /// Segment: exactly one.
    pub segment: Segment,
    /// Phase of the life cycle, from the segment.
    pub phase: Phase,
    /// Engagement stage; `None` for a non-buyer.
    pub stage: Option<Stage>,
    /// Scores 1..=5, as in the facts.
    pub rfm: Rfm,
    /// Own-rhythm state, as in the facts.
    pub lapse: Option<Lapse>,
    /// Probability of such a silence, as in the facts, in [0, 1].
    pub silence_prob: Option<f64>,
    /// Rhythm signals, as in the facts.
    pub heartbeat: HeartbeatStates,
    /// What to do; `None` is the explicit decision to do nothing, and `suppression` says why.
    pub campaign: Option<&'p Campaign>,
    /// What would have been done, had the customer not been held out.
    pub would_be_campaign: Option<&'p Campaign>,
    /// What goes with the campaign.
    pub offer: Offer,
    /// Channels of the campaign, the best first; empty without a campaign.
    pub channels: RankedChannels,
    /// What the campaign is about, such as the activity to promote.
    pub target: Option<Name>,
    /// Why there is no campaign; present exactly where `campaign` is not.
    pub suppression: Option<Suppression<'p>>,
    /// Runners-up, at most [`ALTERNATIVES_MAX`](crate::decision::ALTERNATIVES_MAX); none for a
    /// held-out customer.
    pub alternatives: Vec<Alternative<'p>>,
    /// Places in experiments: the global one, and the chosen campaign's.
    pub assignments: Vec<Assignment<'p>>,
    /// Marks.
    pub flags: Flags,
    /// `persona/segment/top_category`.
    pub micro_key: String,
    /// Churn probability times expected value, in currency units; `None` where one is missing.
    pub value_at_risk: Option<f64>,
    /// Days from the instant decided for until the reason of a suppression passes by itself
    /// (cooldown, quiet days, comfort gap), >= 0; `None` where that is not known.
    pub not_before_days: Option<f64>,
    /// Days from the instant decided for after which the recommendation is out of date, >= 0.
    pub expires_after_days: Option<f64>,
    /// The rules tried, where asked for.
    pub trace: Vec<RuleTrace<'p>>,
}

impl Decision<'_> {
    /// Id of the campaign, or `no_action`.
    #[must_use]
    pub fn campaign_id(&self) -> &str {
        self.campaign.map_or(NO_ACTION, Campaign::id)
    }

    /// Wire number of the campaign, or that of doing nothing.
    #[must_use]
    pub fn campaign_number(&self) -> u16 {
        self.campaign.map_or(NO_ACTION_NUMBER, Campaign::number)
    }

    /// Reason code of the campaign.
    #[must_use]
    pub fn campaign_reason(&self) -> Option<&str> {
        self.campaign.map(Campaign::reason)
    }

    /// Whether the customer would have got a campaign and is left alone on purpose.
    #[must_use]
    pub const fn is_held_out(&self) -> bool {
        self.would_be_campaign.is_some()
    }
}

/// Decides what to do about one customer. Pure and total: any facts give a decision; numbers that
/// are NaN count as missing.
#[must_use]
pub fn decide<'p>(policy: &'p Policy, score: &Score, context: &Context<'_>) -> Decision<'p> {
    let facts = context.facts;
    let reachable = reachable_mask(policy, facts);
    let mut view = View::new(facts, score, reachable);
    let model_tier = model_tier(score, context.tier_cuts);
    view.set_model_tier(model_tier);
    let (segment, phase) = segment_of(policy, &view);
    view.set_segment(segment);
    let (tier, tier_reasons) = final_tier(policy, &view, model_tier);
    view.set_risk(tier);
    let keeper = Gatekeeper::new(policy, facts, &view, reachable);
    let action = act(policy, &view, &keeper, context);
    Decision {
        policy: &policy.id,
        tier,
        model_tier,
        tier_reasons,
        segment,
        phase,
        stage: Stage::of(facts),
        rfm: facts.rfm,
        lapse: facts.lapse,
        silence_prob: facts.silence_prob,
        heartbeat: HeartbeatStates {
            orders: facts.hb_orders,
            activity: facts.hb_activity,
            spend: facts.hb_spend,
        },
        campaign: action.campaign,
        would_be_campaign: action.would_be_campaign,
        offer: action.offer,
        channels: action.channels,
        target: action.campaign.and_then(|campaign| target(facts, campaign)),
        suppression: action.suppression,
        alternatives: action.alternatives,
        assignments: action.assignments,
        flags: Flags {
            active_core: is_active_core(facts, score),
            advocate: is_advocate(facts, segment, tier),
            out_of_distribution: score.out_of_distribution,
        },
        micro_key: micro_key(facts, segment),
        value_at_risk: value_at_risk(score),
        not_before_days: action.not_before_days,
        expires_after_days: action.campaign.map(|campaign| campaign.ttl_days),
        trace: if context.trace { trace(policy, &view, &keeper) } else { Vec::new() },
    }
}

fn model_tier(score: &Score, cuts: Option<TierCuts>) -> Option<Tier> {
    let churn_prob = score.churn_prob.filter(|prob| !prob.is_nan())?;
    Some(cuts?.tier(churn_prob))
}

/// The first segment whose rule holds. A policy without one for this customer leaves them unknown.
fn segment_of(policy: &Policy, view: &View<'_>) -> (Segment, Phase) {
    policy
        .segments
        .iter()
        .find(|rule| rule.rule.holds(view))
        .map_or((Segment::Unknown, Phase::None), |rule| (rule.segment, rule.phase))
}

/// The greatest of the model's tier and all overrides.
fn final_tier<'p>(
    policy: &'p Policy,
    view: &View<'_>,
    model_tier: Option<Tier>,
) -> (Option<Tier>, Vec<&'p str>) {
    let mut tier = model_tier;
    let mut reasons = Vec::with_capacity(2);
    reasons.extend(model_tier.map(Tier::model_reason));
    for rule in policy.overrides.iter().filter(|rule| rule.rule.holds(view)) {
        tier = tier.max(Some(rule.tier));
        reasons.push(&*rule.reason);
    }
    (tier, reasons)
}

/// The part of a decision that is about doing something.
#[derive(Debug)]
struct Action<'p> {
    campaign: Option<&'p Campaign>,
    would_be_campaign: Option<&'p Campaign>,
    offer: Offer,
    channels: RankedChannels,
    suppression: Option<Suppression<'p>>,
    alternatives: Vec<Alternative<'p>>,
    assignments: Vec<Assignment<'p>>,
    not_before_days: Option<f64>,
}

impl<'p> Action<'p> {
    const fn none(suppression: Suppression<'p>, assignments: Vec<Assignment<'p>>) -> Self {
        Self {
            campaign: None,
            would_be_campaign: None,
            offer: Offer::NONE,
            channels: RankedChannels::EMPTY,
            suppression: Some(suppression),
            alternatives: Vec::new(),
            assignments,
            not_before_days: None,
        }
    }
}

fn act<'p>(
    policy: &'p Policy,
    view: &View<'_>,
    keeper: &Gatekeeper<'_>,
    context: &Context<'_>,
) -> Action<'p> {
    let mut assignments = Vec::with_capacity(2);
    let global = global_arm(policy, context, &mut assignments);
    if context.facts.do_not_contact {
        let reason = SuppressionReason::DoNotContact;
        return Action::none(Suppression { reason, campaign: None }, assignments);
    }
    let choice = choose(policy, view, keeper);
    let Some(winner) = choice.winner else {
        let (reason, campaign, not_before_days) = match choice.blocked {
            Some((campaign, shut)) => (shut.reason, Some(campaign), shut.opens_after_days),
            None => (SuppressionReason::NoEligibleCampaign, None, None),
        };
        let none = Action::none(Suppression { reason, campaign }, assignments);
        return Action { not_before_days, ..none };
    };
    // Last on purpose: both arms are then drawn from the same eligible customers.
    if let Some(reason) = held_out(&winner, global, context, &mut assignments) {
        let suppression = Suppression { reason, campaign: Some(winner.campaign) };
        let would_be_campaign = Some(winner.campaign);
        return Action { would_be_campaign, ..Action::none(suppression, assignments) };
    }
    Action {
        campaign: Some(winner.campaign),
        would_be_campaign: None,
        offer: offer(policy, view, winner.campaign),
        channels: winner.channels,
        suppression: None,
        alternatives: choice.alternatives,
        assignments,
        not_before_days: None,
    }
}

fn global_arm<'p>(
    policy: &'p Policy,
    context: &Context<'_>,
    assignments: &mut Vec<Assignment<'p>>,
) -> Arm {
    let share = policy.gates.global_control_share;
    if share <= 0.0 {
        return Arm::Treatment;
    }
    let place = context.salts.global(context.customer_id);
    let assignment = Assignment::new(Experiment::Global, place, share);
    assignments.push(assignment);
    assignment.arm
}

/// The reason to leave the customer alone on purpose, if there is one.
fn held_out<'p>(
    winner: &Winner<'p>,
    global: Arm,
    context: &Context<'_>,
    assignments: &mut Vec<Assignment<'p>>,
) -> Option<SuppressionReason> {
    let campaign = winner.campaign;
    if campaign.never_held_out {
        return None;
    }
    if global == Arm::Control {
        return Some(SuppressionReason::HoldoutGlobal);
    }
    if campaign.control_share <= 0.0 {
        return None;
    }
    let place = context.salts.campaign(winner.idx, &campaign.id, context.customer_id);
    let experiment = Experiment::Campaign(&campaign.id);
    let assignment = Assignment::new(experiment, place, campaign.control_share);
    assignments.push(assignment);
    (assignment.arm == Arm::Control).then_some(SuppressionReason::HoldoutCampaign)
}

fn target(facts: &Facts, campaign: &Campaign) -> Option<Name> {
    match campaign.target? {
        TargetKind::Activity => facts.target_activity.clone(),
        TargetKind::Category => facts.top_category.clone(),
    }
}

fn value_at_risk(score: &Score) -> Option<f64> {
    let value = score.churn_prob? * score.clv.as_ref()?.mean;
    value.is_finite().then_some(value)
}
