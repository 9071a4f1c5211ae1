//! What a campaign is worth for one customer, in units of the currency of the predicted value.
//!
//! In: the score, the policy's costs and effects. Out: an expected value:
//! EV = tau * value if retained * margin - cost - offer cost * P(accept) (the order by what a
//! campaign changes and not by risk is Ascarza 2018, "Retention futility"). tau is the campaign's
//! effect on the chance of a purchase: what was measured, shrunk towards the prior. It deliberately
//! learns nothing itself: `tenure-ops experiment report` measures, the owner of the policy writes
//! the number into the file.

use crate::decision::arbitrate::Offer;
use crate::decision::arbitrate::offer;
use crate::decision::fact::Fact;
use crate::decision::fact::View;
use crate::decision::policy::Campaign;
use crate::decision::policy::CampaignKind;
use crate::decision::policy::ClvBasis;
use crate::decision::policy::OfferKind;
use crate::decision::policy::Policy;
use crate::domain::Channel;
use crate::domain::Currency;
use crate::model::Score;

/// The `[economics]` of a policy: costs and assumptions, in currency units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Economics {
    /// Currency of all amounts of the policy.
    pub(crate) currency: Currency,
    /// Stands in for the value of a customer of whom none is predicted.
    pub(crate) clv_if_unknown: f64,
    /// Mean of the prior of a campaign's effect.
    pub(crate) effect_mean: f64,
    /// Its standard deviation.
    pub(crate) effect_sd: f64,
    /// Cost of one message by channel.
    pub(crate) channel_cost: [f64; Channel::ALL.len()],
    /// Cost of an accepted offer by kind; `None`: not said.
    pub(crate) offer_cost: [Option<f64>; OfferKind::ALL.len()],
}

/// What one campaign costs and brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CampaignEconomics {
    /// Cost of running it for one customer, beside the message.
    pub(crate) cost: f64,
    /// Cost of its offer where accepted.
    pub(crate) offer_cost: f64,
    /// Probability that the offer is accepted, in [0, 1].
    pub(crate) accept_prob: f64,
    /// Effect on the chance of a purchase, shrunk, in [-1, 1].
    pub(crate) effect: f64,
}

/// A measured effect pulled towards the prior by how little is known of it: the mean of the
/// posterior of a normal effect with a normal prior.
pub(crate) fn shrunk_effect(measured: Option<(f64, f64)>, prior_mean: f64, prior_sd: f64) -> f64 {
    let Some((effect, standard_error)) = measured else { return prior_mean };
    let (prior, noise) = (prior_sd * prior_sd, standard_error * standard_error);
    if prior + noise <= 0.0 {
        return effect;
    }
    let weight = prior / (prior + noise);
    weight * effect + (1.0 - weight) * prior_mean
}

/// The expected value of a customer who stays. The prediction is a mean over staying and leaving:
/// divided by the chance of staying it is the value of those who stay, if those who leave bring
/// nothing. That is an upper bound and explodes for who is all but lost, so it is held between the
/// mean and the ninetieth percentile (the mean where none is known).
#[must_use]
pub fn clv_if_retained(score: &Score) -> Option<f64> {
    let clv = score.clv.as_ref()?;
    bounded_value(clv.mean, clv.p90, score.churn_prob.unwrap_or(f64::NAN))
}

fn bounded_value(mean: f64, p90: f64, churn_prob: f64) -> Option<f64> {
    if !mean.is_finite() {
        return None;
    }
    let mean = mean.max(0.0);
    let most = if p90.is_finite() { p90.max(mean) } else { mean };
    let staying = 1.0 - churn_prob;
    if staying.is_nan() {
        return Some(mean);
    }
    Some(if staying > 0.0 { (mean / staying).clamp(mean, most) } else { most })
}

/// What is at stake with one customer, worked out once a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stakes {
    /// Value if retained, times margin.
    value: f64,
    /// The same of the plain prediction: what caps are shares of.
    capped_by: f64,
    /// The most that an effect can be: nobody's chance of leaving falls below 0.
    effect_max: f64,
}

impl Stakes {
    pub(crate) fn of(policy: &Policy, view: &View<'_>) -> Option<Self> {
        let economics = policy.economics.as_ref()?;
        let margin = policy.margin();
        let churn_prob = view.number(Fact::ChurnProb);
        let mean = view.number(Fact::ClvMean);
        let known = bounded_value(mean, view.number(Fact::ClvP90), churn_prob);
        let value = known.unwrap_or(economics.clv_if_unknown);
        let capped_by = if known.is_some() { mean.max(0.0) } else { economics.clv_if_unknown };
        Some(Self {
            value: value * margin,
            capped_by: capped_by * margin,
            effect_max: if churn_prob.is_nan() { 1.0 } else { churn_prob },
        })
    }

    /// What a campaign is expected to bring by a channel; `None` where its offer costs more than
    /// the customer's value allows, or where the policy names no costs.
    pub(crate) fn expected_value(
        &self,
        policy: &Policy,
        campaign: &Campaign,
        channel: Channel,
        offer: &Offer,
    ) -> Option<f64> {
        let economics = policy.economics.as_ref()?;
        let own = campaign.economics.as_ref()?;
        let gain = own.effect.min(self.effect_max) * self.value;
        let mut cost = own.cost + economics.channel_cost[channel.index()];
        if offer.kind != OfferKind::None {
            let share = policy.offer_share_of_clv_max.min(campaign.cost_share_of_clv_max);
            if own.offer_cost > self.capped_by * share {
                return None;
            }
            cost += own.offer_cost * own.accept_prob;
        }
        Some(gain - cost)
    }
}

/// Whether treating this customer as red would pay: one of the campaigns that the policy names
/// for it fits a red customer, reaches them, keeps within its cap and is expected to bring more
/// than the least value. Gates that open again (caps, cooldowns) do not count: a message sent
/// yesterday changes no risk. `view` holds the segment, and its risk is red.
pub(crate) fn red_pays(policy: &Policy, view: &View<'_>, reachable: u8) -> bool {
    let Some(stakes) = Stakes::of(policy, view) else { return false };
    let is_non_buyer = view.number(Fact::Orders) < 0.5;
    policy
        .campaigns
        .iter()
        .filter(|campaign| campaign.makes_red && campaign.kind != CampaignKind::Service)
        .filter(|campaign| is_non_buyer || !campaign.non_buyers_only)
        .any(|campaign| {
            let is_open = |channel: &&Channel| reachable >> channel.index() & 1 == 1;
            let Some(&channel) = campaign.channels.iter().find(is_open) else { return false };
            campaign.rule.holds(view)
                && stakes
                    .expected_value(policy, campaign, channel, &offer(policy, view, campaign))
                    .is_some_and(|value| value > policy.expected_value_min)
        })
}

/// What a campaign costs by a channel if its offer is accepted as often as the policy assumes.
pub(crate) fn planned_cost(
    policy: &Policy,
    campaign: &Campaign,
    channel: Channel,
    offer: &Offer,
) -> Option<f64> {
    let (economics, own) = (policy.economics.as_ref()?, campaign.economics.as_ref()?);
    let message = own.cost + economics.channel_cost[channel.index()];
    let given = if offer.kind == OfferKind::None { 0.0 } else { own.offer_cost * own.accept_prob };
    Some(message + given)
}

impl Policy {
    /// Share of the predicted value that is margin.
    pub(crate) const fn margin(&self) -> f64 {
        match self.clv_basis {
            ClvBasis::Revenue => 1.0,
            ClvBasis::Margin(share) => share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
    }

    #[test]
    fn an_effect_is_pulled_to_the_prior_by_its_noise() {
        near(shrunk_effect(None, 0.02, 0.02), 0.02);
        near(shrunk_effect(Some((0.06, 0.02)), 0.02, 0.02), 0.04);
        near(shrunk_effect(Some((0.06, 0.0)), 0.02, 0.02), 0.06);
        near(shrunk_effect(Some((0.06, 0.01)), 0.02, 0.0), 0.02);
        near(shrunk_effect(Some((0.06, 0.0)), 0.02, 0.0), 0.06);
        assert!(shrunk_effect(Some((0.5, 1.0)), 0.02, 0.02) < 0.021, "noise says nothing");
    }

    #[test]
    fn the_value_of_who_stays_lies_between_mean_and_the_ninetieth_percentile() {
        near(bounded_value(100.0, 400.0, 0.5).unwrap(), 200.0);
        near(bounded_value(100.0, 150.0, 0.5).unwrap(), 150.0);
        near(bounded_value(100.0, f64::NAN, 0.5).unwrap(), 100.0);
        near(bounded_value(100.0, 400.0, f64::NAN).unwrap(), 100.0);
        near(bounded_value(100.0, 400.0, 1.0).unwrap(), 400.0);
        near(bounded_value(0.0, 0.0, 1.0).unwrap(), 0.0);
        near(bounded_value(-5.0, f64::NAN, 0.3).unwrap(), 0.0);
        assert_eq!(bounded_value(f64::NAN, 1.0, 0.3), None);
        let mut last = 0.0;
        for step in 0..=100 {
            let value = bounded_value(100.0, 400.0, f64::from(step) / 100.0).unwrap();
            assert!(value >= last, "rises with the risk");
            last = value;
        }
    }
}
