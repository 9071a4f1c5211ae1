//! The decision itself: tier, segment and campaign of one customer.

use crate::decision::arbitrate::ALTERNATIVES_MAX;
use crate::decision::arbitrate::Alternative;
use crate::decision::arbitrate::Candidate;
use crate::decision::arbitrate::Choice;
use crate::decision::arbitrate::Offer;
use crate::decision::arbitrate::choose;
use crate::decision::arbitrate::offer;
use crate::decision::channel::RankedChannels;
use crate::decision::channel::reachable_mask;
use crate::decision::economics::planned_cost;
use crate::decision::economics::red_pays;
use crate::decision::fact::Fact;
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
use crate::decision::policy::TierMode;
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
use crate::domain::Channel;
use crate::domain::Name;
use crate::model::Score;

const HOURS_PER_DAY: f64 = 24.0;

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
    /// Hour of the day of the instant decided for, in the business's zone, in [0, 24); `None`
    /// where quiet hours do not matter.
    pub hour_of_day: Option<f64>,
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

/// A campaign that passed every gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eligible<'p> {
    /// The campaign.
    pub campaign: &'p Campaign,
    /// Probability that it is sent to this customer, in [0, 1]: exploration and all control
    /// groups included. Together with the probability that nothing is sent they sum to 1.
    pub propensity: f64,
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
    /// The campaign was drawn by exploration and is not the one that goes first.
    pub explored: bool,
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
    /// The version of the campaign to use, where versions are compared.
    pub variant: Option<&'p str>,
    /// What the campaign is expected to bring, in currency units; `None` without one, and without
    /// `[economics]` in the policy.
    pub expected_value: Option<f64>,
    /// What message and offer are expected to cost, in currency units; `None` likewise.
    pub expected_cost: Option<f64>,
    /// All campaigns that passed every gate, the one chosen (or held out) first.
    pub eligible: Vec<Eligible<'p>>,
    /// Probability of what was done: of the campaign, or of nothing; in (0, 1].
    pub propensity: f64,
    /// Places in experiments: the global one, and the chosen campaign's.
    pub assignments: Vec<Assignment<'p>>,
    /// Marks.
    pub flags: Flags,
    /// `persona/segment/top_category`.
    pub micro_key: String,
    /// Churn probability times expected value, in currency units; `None` where one is missing.
    pub value_at_risk: Option<f64>,
    /// Days from the instant decided for until the reason of a suppression passes by itself
    /// (cooldown, quiet days, comfort gap), or until the quiet hours end before which the campaign
    /// must not go out, >= 0; `None` where there is nothing to wait for, or that is not known.
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
    let mut model_tier = model_tier(score, context.tier_cuts);
    view.set_model_tier(model_tier);
    let (segment, phase) = segment_of(policy, &view);
    view.set_segment(segment);
    if let TierMode::Economic { .. } = policy.tier_mode {
        model_tier = economic_tier(policy, &mut view, model_tier, reachable);
        view.set_model_tier(model_tier);
    }
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
        variant: action.variant,
        expected_value: action.expected_value,
        expected_cost: action.expected_cost,
        eligible: action.eligible,
        propensity: action.propensity,
        channels: action.channels,
        target: action.campaign.and_then(|campaign| target(facts, campaign)),
        suppression: action.suppression,
        alternatives: action.alternatives,
        assignments: action.assignments,
        flags: Flags {
            active_core: is_active_core(facts, score),
            advocate: is_advocate(facts, segment, tier),
            out_of_distribution: score.out_of_distribution,
            explored: action.is_explored,
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

/// Of those at elevated risk, red are those for whom acting pays. Rises with the churn
/// probability, as value at stake and largest effect do.
fn economic_tier(
    policy: &Policy,
    view: &mut View<'_>,
    by_cuts: Option<Tier>,
    reachable: u8,
) -> Option<Tier> {
    let is_elevated = by_cuts >= Some(Tier::Amber);
    if !is_elevated || view.number(Fact::ChurnProb) < policy.red_prob_min {
        return by_cuts;
    }
    view.set_model_tier(Some(Tier::Red));
    view.set_risk(Some(Tier::Red));
    if red_pays(policy, view, reachable) { Some(Tier::Red) } else { by_cuts }
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
    variant: Option<&'p str>,
    expected_value: Option<f64>,
    expected_cost: Option<f64>,
    channels: RankedChannels,
    suppression: Option<Suppression<'p>>,
    alternatives: Vec<Alternative<'p>>,
    eligible: Vec<Eligible<'p>>,
    propensity: f64,
    is_explored: bool,
    assignments: Vec<Assignment<'p>>,
    not_before_days: Option<f64>,
}

impl<'p> Action<'p> {
    const fn none(suppression: Suppression<'p>, assignments: Vec<Assignment<'p>>) -> Self {
        Self {
            campaign: None,
            would_be_campaign: None,
            offer: Offer::NONE,
            variant: None,
            expected_value: None,
            expected_cost: None,
            channels: RankedChannels::EMPTY,
            suppression: Some(suppression),
            alternatives: Vec::new(),
            eligible: Vec::new(),
            propensity: 1.0,
            is_explored: false,
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
    let choice = choose(policy, view, keeper, || context.salts.explore(context.customer_id));
    let Some(winner) = choice.passed.first().copied() else {
        let (reason, campaign, not_before_days) = match choice.blocked {
            Some((campaign, shut)) => (shut.reason, Some(campaign), shut.opens_after_days),
            None => (SuppressionReason::NoEligibleCampaign, None, None),
        };
        let none = Action::none(Suppression { reason, campaign }, assignments);
        return Action { not_before_days, ..none };
    };
    let eligible = eligible(policy, &choice);
    let (campaign, is_explored) = (winner.campaign, choice.is_explored);
    // Last on purpose: both arms are then drawn from the same eligible customers.
    if let Some(reason) = held_out(&winner, global, context, &mut assignments) {
        let sent: f64 = eligible.iter().map(|one| one.propensity).sum();
        let none = Action::none(Suppression { reason, campaign: Some(campaign) }, assignments);
        let would_be_campaign = Some(campaign);
        return Action { would_be_campaign, eligible, propensity: 1.0 - sent, is_explored, ..none };
    }
    let offer = offer(policy, view, campaign);
    let channel = winner.channels.first().copied();
    let runners_up = choice.passed.iter().skip(1).take(ALTERNATIVES_MAX);
    Action {
        campaign: Some(campaign),
        would_be_campaign: None,
        offer,
        variant: variant(&winner, context, &mut assignments),
        expected_value: winner.expected_value,
        expected_cost: channel.and_then(|one| planned_cost(policy, campaign, one, &offer)),
        channels: winner.channels,
        suppression: None,
        alternatives: runners_up.filter_map(|one| one.as_alternative(policy, view)).collect(),
        propensity: eligible.first().map_or(1.0, |one| one.propensity),
        eligible,
        is_explored,
        assignments,
        not_before_days: channel.and_then(|channel| quiet_days(policy, channel, context)),
    }
}

/// All that passed, each with the probability that it is sent.
fn eligible<'p>(policy: &Policy, choice: &Choice<'p>) -> Vec<Eligible<'p>> {
    let reached = 1.0 - policy.gates.global_control_share;
    let propensity = |one: &Candidate<'p>| match one.campaign.never_held_out {
        true => one.prob,
        false => one.prob * reached * (1.0 - one.campaign.control_share),
    };
    let passed = choice.passed.iter();
    passed.map(|one| Eligible { campaign: one.campaign, propensity: propensity(one) }).collect()
}

/// Draws the version of a campaign with versions.
fn variant<'p>(
    winner: &Candidate<'p>,
    context: &Context<'_>,
    assignments: &mut Vec<Assignment<'p>>,
) -> Option<&'p str> {
    let campaign = winner.campaign;
    if campaign.variants.is_empty() {
        return None;
    }
    let place = context.salts.variant(winner.idx, &campaign.id, context.customer_id);
    let assignment = Assignment::of_variant(campaign, place)?;
    assignments.push(assignment);
    assignment.variant
}

/// Days until the quiet hours end, for a channel that goes to the customer by itself: what waits
/// on a page or in an app disturbs nobody.
fn quiet_days(policy: &Policy, channel: Channel, context: &Context<'_>) -> Option<f64> {
    let (from, until) = policy.gates.quiet_hours?;
    let hour = context.hour_of_day?;
    let goes_out =
        matches!(channel, Channel::Email | Channel::Push | Channel::Sms | Channel::Human);
    let is_quiet =
        if from <= until { (from..until).contains(&hour) } else { hour >= from || hour < until };
    (goes_out && is_quiet).then(|| (until - hour).rem_euclid(HOURS_PER_DAY) / HOURS_PER_DAY)
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
    winner: &Candidate<'p>,
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
