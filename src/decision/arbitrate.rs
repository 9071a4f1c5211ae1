//! The choice among the campaigns that fit a customer, and what it may give.
//!
//! In: the policy's campaigns by priority and the gates. Out: the most urgent campaign that passes,
//! the runners-up, or why the most urgent eligible one does not pass. The order is the policy's
//! priority: it needs no estimate of what a campaign brings, and is the same every time.

use crate::decision::channel::RankedChannels;
use crate::decision::fact::Fact;
use crate::decision::fact::View;
use crate::decision::gates::Gatekeeper;
use crate::decision::gates::Shut;
use crate::decision::policy::Campaign;
use crate::decision::policy::ClvBasis;
use crate::decision::policy::OfferKind;
use crate::decision::policy::Policy;
use crate::domain::Channel;

/// Most runners-up in a decision.
pub const ALTERNATIVES_MAX: usize = 3;

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
}

/// The most urgent campaign that passes every gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Winner<'p> {
    /// Its position in the policy.
    pub(crate) idx: usize,
    pub(crate) campaign: &'p Campaign,
    pub(crate) channels: RankedChannels,
}

/// What the gates left.
#[derive(Debug)]
pub(crate) struct Choice<'p> {
    pub(crate) winner: Option<Winner<'p>>,
    pub(crate) alternatives: Vec<Alternative<'p>>,
    /// The most urgent eligible campaign and its shut gate, where no campaign passes.
    pub(crate) blocked: Option<(&'p Campaign, Shut)>,
}

/// Chooses by priority.
pub(crate) fn choose<'p>(
    policy: &'p Policy,
    view: &View<'_>,
    keeper: &Gatekeeper<'_>,
) -> Choice<'p> {
    let mut choice = Choice { winner: None, alternatives: Vec::new(), blocked: None };
    for (idx, campaign) in policy.campaigns.iter().enumerate() {
        if !keeper.is_eligible(campaign, view) {
            continue;
        }
        match keeper.pass(campaign) {
            Err(shut) => choice.blocked = choice.blocked.or(Some((campaign, shut))),
            Ok(channels) if choice.winner.is_none() => {
                choice.winner = Some(Winner { idx, campaign, channels });
            }
            Ok(channels) => {
                if let Some(&channel) = channels.first() {
                    let offer = offer(policy, view, campaign);
                    choice.alternatives.push(Alternative { campaign, channel, offer });
                }
                if choice.alternatives.len() >= ALTERNATIVES_MAX {
                    break;
                }
            }
        }
    }
    choice
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
    let basis = match policy.clv_basis {
        ClvBasis::Revenue => 1.0,
        ClvBasis::Margin(share) => share,
    };
    let clv = view.number(Fact::ClvMean);
    let cost_max = clv.is_finite().then(|| (clv * basis * share).max(0.0));
    Offer { kind, cost_max, guarded: false }
}
