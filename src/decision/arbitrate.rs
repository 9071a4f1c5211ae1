//! The choice among the campaigns that fit a customer, and what it may give.
//!
//! In: the policy's campaigns by priority and the gates. Out: the campaign to run, the runners-up,
//! everything that passed with its probability, or why the most urgent eligible campaign does not
//! pass. `priority` takes the policy's order: it needs no estimate of what a campaign brings, and
//! is the same every time. `expected_value` takes the campaign that is expected to bring most;
//! service, and what is never held out, still goes first. Exploration draws a share of the
//! decisions by a hash, so that what a campaign brings can be learned; off unless asked for.

use crate::decision::channel::RankedChannels;
use crate::decision::economics::Stakes;
use crate::decision::fact::Fact;
use crate::decision::fact::View;
use crate::decision::gates::Gatekeeper;
use crate::decision::gates::Shut;
use crate::decision::gates::SuppressionReason;
use crate::decision::policy::Arbitration;
use crate::decision::policy::Campaign;
use crate::decision::policy::CampaignKind;
use crate::decision::policy::OfferKind;
use crate::decision::policy::Policy;
use crate::domain::Channel;

/// Most runners-up in a decision.
pub const ALTERNATIVES_MAX: usize = 3;
/// Least probability of a campaign that exploration may draw: below it a weight of one over it
/// would drown everything else.
const EXPLORED_PROB_MIN: f64 = 0.02;

/// What goes with the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    /// What is given.
    pub kind: OfferKind,
    /// Most it may cost, in units of the predicted value's currency; `None` where nothing is given
    /// or no value is predicted.
    pub cost_max: Option<f64>,
    /// Whether the discount guard took the campaign's discount away (reason `DISCOUNT_GUARD`).
    pub guarded: bool,
}

impl Offer {
    /// Nothing.
    pub const NONE: Self = Self { kind: OfferKind::None, cost_max: None, guarded: false };
}

/// A campaign that would have been next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alternative<'p> {
    /// The campaign.
    pub campaign: &'p Campaign,
    /// Its best channel.
    pub channel: Channel,
    /// What it would give.
    pub offer: Offer,
    /// What it is expected to bring, in currency units; `None` without `[economics]`.
    pub expected_value: Option<f64>,
}

/// A campaign that passed every gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'p> {
    /// Its position in the policy.
    pub(crate) idx: usize,
    pub(crate) campaign: &'p Campaign,
    pub(crate) channels: RankedChannels,
    pub(crate) expected_value: Option<f64>,
    /// Probability that the choice falls on it, in [0, 1], before anybody is held out.
    pub(crate) prob: f64,
}

impl<'p> Candidate<'p> {
    pub(crate) fn as_alternative(
        &self,
        policy: &Policy,
        view: &View<'_>,
    ) -> Option<Alternative<'p>> {
        let &channel = self.channels.first()?;
        Some(Alternative {
            campaign: self.campaign,
            channel,
            offer: offer(policy, view, self.campaign),
            expected_value: self.expected_value,
        })
    }

    /// Goes before all others, whatever those bring.
    const fn is_first(&self) -> bool {
        self.campaign.never_held_out || matches!(self.campaign.kind, CampaignKind::Service)
    }
}

/// What the gates left.
#[derive(Debug)]
pub(crate) struct Choice<'p> {
    /// Those that passed, the chosen one first, then the others in the order of the choice.
    pub(crate) passed: Vec<Candidate<'p>>,
    /// Whether the first was drawn by exploration and is not what would have been chosen.
    pub(crate) is_explored: bool,
    /// The most urgent eligible campaign and its shut gate, where no campaign passes.
    pub(crate) blocked: Option<(&'p Campaign, Shut)>,
}

/// Chooses among all campaigns. `explore_place` is the customer's place in exploration, worked
/// out only where it is needed.
pub(crate) fn choose<'p>(
    policy: &'p Policy,
    view: &View<'_>,
    keeper: &Gatekeeper<'_>,
    explore_place: impl FnOnce() -> f64,
) -> Choice<'p> {
    let stakes = Stakes::of(policy, view);
    let mut choice = Choice { passed: Vec::new(), is_explored: false, blocked: None };
    for (idx, campaign) in policy.campaigns.iter().enumerate() {
        if !keeper.is_eligible(campaign, view) {
            continue;
        }
        match pass(policy, view, (keeper, stakes.as_ref()), campaign) {
            Err(shut) => choice.blocked = choice.blocked.or(Some((campaign, shut))),
            Ok((channels, expected_value)) => {
                choice.passed.push(Candidate {
                    idx,
                    campaign,
                    channels,
                    expected_value,
                    prob: 0.0,
                });
            }
        }
    }
    if policy.arbitration == Arbitration::ExpectedValue {
        // Stable: equal values keep the policy's order.
        choice.passed.sort_by(|one, other| {
            let value = |of: &Candidate<'_>| of.expected_value.unwrap_or(f64::NEG_INFINITY);
            (other.is_first().cmp(&one.is_first())).then_with(|| {
                if one.is_first() {
                    return std::cmp::Ordering::Equal;
                }
                value(other).total_cmp(&value(one))
            })
        });
    }
    if let Some(first) = choice.passed.first_mut() {
        first.prob = 1.0;
    }
    if policy.gates.explore_share > 0.0 && choice.passed.len() > 1 {
        explore(&mut choice, policy.gates.explore_share, explore_place());
    }
    choice
}

/// Channels and expected value of an eligible campaign, or the first gate that is shut for it; the
/// value is the last gate.
pub(crate) fn pass(
    policy: &Policy,
    view: &View<'_>,
    (keeper, stakes): (&Gatekeeper<'_>, Option<&Stakes>),
    campaign: &Campaign,
) -> Result<(RankedChannels, Option<f64>), Shut> {
    let channels = keeper.pass(campaign)?;
    let (Some(stakes), Some(&channel)) = (stakes, channels.first()) else {
        return Ok((channels, None));
    };
    let offer = offer(policy, view, campaign);
    let value = stakes.expected_value(policy, campaign, channel, &offer);
    let is_asked =
        policy.arbitration == Arbitration::ExpectedValue && campaign.kind != CampaignKind::Service;
    if is_asked && value.is_none_or(|value| value <= policy.expected_value_min) {
        return Err(Shut::now(SuppressionReason::NegativeValue));
    }
    Ok((channels, value))
}

/// Draws among the candidates that may be drawn: each other than the best with the same small
/// probability, the best with the rest. What goes first anyway is never drawn from.
fn explore(choice: &mut Choice<'_>, explore_share: f64, place: f64) {
    if choice.passed.first().is_none_or(Candidate::is_first) {
        return;
    }
    #[allow(clippy::cast_precision_loss, reason = "a policy has at most 500 campaigns")]
    let n = choice.passed.len() as f64;
    let each = (explore_share / n).max(EXPLORED_PROB_MIN).min(1.0 / n);
    let best = 1.0 - each * (n - 1.0);
    for (rank, candidate) in choice.passed.iter_mut().enumerate() {
        candidate.prob = if rank == 0 { best } else { each };
    }
    if place < best {
        return;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the quotient lies between 0 and the number of campaigns"
    )]
    let drawn = 1 + ((place - best) / each) as usize;
    let drawn = drawn.min(choice.passed.len() - 1);
    choice.passed[..=drawn].rotate_right(1);
    choice.is_explored = true;
}

/// What a campaign may give this customer: a discount only behind the guard, and nothing that
/// costs more than its share of the predicted value.
pub(crate) fn offer(policy: &Policy, view: &View<'_>, campaign: &Campaign) -> Offer {
    let guard = &policy.discount_guard;
    let kind = campaign.offer;
    if kind == OfferKind::None {
        return Offer::NONE;
    }
    let is_used_to_discounts = view.number(Fact::DiscountShare) > guard.discount_share_max;
    if guard.kinds.contains(&kind) && (is_used_to_discounts || !guard.allow.holds(view)) {
        return Offer { guarded: true, ..Offer::NONE };
    }
    let share = policy.offer_share_of_clv_max.min(campaign.cost_share_of_clv_max);
    let clv = view.number(Fact::ClvMean);
    let cost_max = clv.is_finite().then(|| (clv * policy.margin() * share).max(0.0));
    Offer { kind, cost_max, guarded: false }
}
