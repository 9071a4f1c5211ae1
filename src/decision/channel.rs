//! Which channels a campaign may use for a customer, the best first.
//!
//! In: a campaign's list, consents, reachability, message counts and past responses. Out: a ranked
//! list, or why it is empty. A campaign falls back to its next channel instead of dropping the
//! customer. It deliberately does not send anything.

use std::ops::Deref;

use crate::decision::facts::ChannelFacts;
use crate::decision::facts::Facts;
use crate::decision::policy::Campaign;
use crate::decision::policy::CampaignKind;
use crate::decision::policy::Policy;
use crate::domain::Channel;

/// Delivered messages from which a channel's response is known.
const DELIVERED_MIN: u32 = 3;
/// Channels with a known response from which they are ranked by it.
const RANKED_CHANNELS_MIN: usize = 2;
/// Beta prior of the response, in messages: one in five, worth five messages. A channel without
/// history thereby stands at 20 %, and a single lucky message does not win.
const PRIOR_ENGAGED: f64 = 1.0;
const PRIOR_IGNORED: f64 = 4.0;

/// Up to eight channels, the best first; reads as a slice.
#[derive(Debug, Clone, Copy)]
pub struct RankedChannels {
    list: [Channel; Channel::ALL.len()],
    n: usize,
}

impl RankedChannels {
    pub(crate) const EMPTY: Self = Self { list: Channel::ALL, n: 0 };

    fn push(&mut self, channel: Channel) {
        if let Some(place) = self.list.get_mut(self.n) {
            *place = channel;
            self.n += 1;
        }
    }
}

impl Deref for RankedChannels {
    type Target = [Channel];

    fn deref(&self) -> &[Channel] {
        self.list.get(..self.n).unwrap_or_default()
    }
}

impl PartialEq for RankedChannels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Why no channel is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NoChannel {
    /// None of the campaign's channels reaches the customer.
    Unreachable,
    /// All that do are at their limits.
    Capped,
}

/// The channels by which the customer can be reached, as a bit mask over [`Channel::index`].
///
/// An explicit no always wins, and so does a channel known not to deliver. Unknown consent is not
/// a no: the policy's `assume_reachable` decides. Email to somebody who neither left an address nor
/// ever ordered has nowhere to go.
pub(crate) fn reachable_mask(policy: &Policy, facts: &Facts) -> u8 {
    let mut mask = 0;
    for channel in Channel::ALL {
        let known = facts.channel(channel);
        let mut open = match known.consent {
            Some(consent) => consent,
            None => policy.assume_reachable[channel.index()],
        };
        open &= known.reachable != Some(false);
        if channel == Channel::Email {
            let has_address = facts.has_email || facts.orders > 0;
            open &= has_address || known.reachable == Some(true);
        }
        mask |= u8::from(open) << channel.index();
    }
    mask
}

/// The campaign's channels for the customer, the best first. Service messages have no caps.
pub(crate) fn rank(
    policy: &Policy,
    facts: &Facts,
    campaign: &Campaign,
    reachable: u8,
) -> Result<RankedChannels, NoChannel> {
    let mut usable = RankedChannels::EMPTY;
    let mut reaches = false;
    for &channel in &campaign.channels {
        if reachable >> channel.index() & 1 == 0 {
            continue;
        }
        reaches = true;
        let is_free = campaign.kind == CampaignKind::Service;
        if is_free || !is_capped(policy, channel, facts.channel(channel)) {
            usable.push(channel);
        }
    }
    match (usable.is_empty(), reaches) {
        (true, true) => Err(NoChannel::Capped),
        (true, false) => Err(NoChannel::Unreachable),
        _ => {
            rank_by_response(&mut usable, facts);
            Ok(usable)
        }
    }
}

/// A channel without limits in the policy is not used.
fn is_capped(policy: &Policy, channel: Channel, known: &ChannelFacts) -> bool {
    policy.caps_of(channel).is_none_or(|caps| {
        known.messages_7d >= caps.messages_7d_max
            || known.messages_28d >= caps.messages_28d_max
            || known.hours_since_message.is_some_and(|hours| hours < caps.gap_hours_min)
    })
}

/// With enough known responses the best-liked channel goes first; ties keep the policy's order.
fn rank_by_response(usable: &mut RankedChannels, facts: &Facts) {
    let is_known = |channel: &&Channel| facts.channel(**channel).delivered >= DELIVERED_MIN;
    if usable.iter().filter(is_known).count() < RANKED_CHANNELS_MIN {
        return;
    }
    let rate = |channel: Channel| response_rate(facts.channel(channel));
    if let Some(list) = usable.list.get_mut(..usable.n) {
        list.sort_by(|one, other| rate(*other).total_cmp(&rate(*one)));
    }
}

/// Smoothed share of delivered messages that were opened or clicked, in (0, 1).
fn response_rate(known: &ChannelFacts) -> f64 {
    // A click whose open was not seen is an open; more responses than messages are a counting slip.
    let engaged = f64::from(known.opened.max(known.clicked).min(known.delivered));
    (engaged + PRIOR_ENGAGED) / (f64::from(known.delivered) + PRIOR_ENGAGED + PRIOR_IGNORED)
}
