//! The canonical form of a policy: one text for one meaning.
//!
//! In: a checked policy. Out: text to be hashed. It holds everything that can change a decision
//! (and the settings others read from the policy), nothing else: no name, no version, no `why`, no
//! order that has no meaning. It is built from the checked values, so neither comments nor the way
//! a file is written can reach it.

use std::fmt::Write;

use crate::decision::policy::Arbitration;
use crate::decision::policy::Campaign;
use crate::decision::policy::ClvBasis;
use crate::decision::policy::OfferKind;
use crate::decision::policy::Policy;
use crate::decision::policy::SaltSource;
use crate::decision::policy::TierMode;
use crate::domain::Channel;
use crate::domain::Name;

/// Changes with the form itself, so that hashes of different forms never meet.
const FORM: &str = "tenure policy, canonical form 1";

/// A text of lines `key=value`.
struct Lines(String);

impl Lines {
    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{key}={value}");
    }
}

/// The canonical form.
pub(crate) fn canonical(policy: &Policy) -> String {
    let mut lines = Lines(String::with_capacity(16_384));
    lines.put("form", FORM);
    settings(policy, &mut lines);
    for rule in &policy.overrides {
        lines.put("override", format_args!("{} {}", rule.tier, rule.reason));
        lines.put("override.rule", rule.rule.canonical());
    }
    // Order counts: the first match wins.
    for rule in &policy.segments {
        lines.put("segment", format_args!("{} {}", rule.segment, rule.phase));
        lines.put("segment.rule", rule.rule.canonical());
    }
    for campaign in &policy.campaigns {
        put_campaign(campaign, &mut lines);
    }
    lines.0
}

fn settings(policy: &Policy, lines: &mut Lines) {
    match policy.clv_basis {
        ClvBasis::Revenue => lines.put("clv_basis", "revenue"),
        ClvBasis::Margin(share) => lines.put("clv_basis", format_args!("margin {share}")),
    }
    let rule = &policy.lapse_rule;
    lines.put(
        "rhythm",
        format_args!("{} {} {}", rule.slipping_at, rule.lapsed_at, rule.hard_lapsed_days),
    );
    lines.put("facts", policy.fact_rule.canonical());
    let mut activities: Vec<&str> = policy.sticky.activities.iter().map(Name::as_str).collect();
    activities.sort_unstable();
    for activity in activities {
        lines.put("sticky", activity);
    }
    lines.put("sticky.regular", policy.sticky.regular_uses_28d_min);
    match policy.tier_mode {
        TierMode::Capacity { red_share, amber_share } => {
            lines.put("risk", format_args!("capacity {red_share} {amber_share}"));
        }
        TierMode::Fixed(cuts) => {
            lines.put("risk", format_args!("fixed {} {}", cuts.red_prob, cuts.amber_prob));
        }
        TierMode::Economic { elevated_share } => {
            lines.put("risk", format_args!("economic {elevated_share}"));
        }
    }
    lines.put("risk.red_min", policy.red_prob_min);
    for channel in Channel::ALL {
        if policy.assume_reachable[channel.index()] {
            lines.put("assume_reachable", channel);
        }
        if let Some(caps) = policy.caps_of(channel) {
            let (gap, week, month) =
                (caps.gap_hours_min, caps.messages_7d_max, caps.messages_28d_max);
            lines.put("caps", format_args!("{channel} {gap} {week} {month}"));
        }
    }
    put_gates(policy, lines);
    put_economics(policy, lines);
}

fn put_economics(policy: &Policy, lines: &mut Lines) {
    let by_value = policy.arbitration == Arbitration::ExpectedValue;
    lines.put("arbitration", if by_value { "expected_value" } else { "priority" });
    if by_value || matches!(policy.tier_mode, TierMode::Economic { .. }) {
        lines.put("value.min", policy.expected_value_min);
    }
    // Effects and offers are in the campaigns, with every default filled in.
    if let Some(economics) = &policy.economics {
        lines.put("economics", economics.currency);
        lines.put("economics.unknown", economics.clv_if_unknown);
        for (channel, cost) in Channel::ALL.into_iter().zip(economics.channel_cost) {
            lines.put("economics.channel", format_args!("{channel} {cost}"));
        }
    }
}

fn put_gates(policy: &Policy, lines: &mut Lines) {
    let gates = &policy.gates;
    lines.put("gates.messages_7d", gates.messages_7d_max);
    lines.put("gates.quiet", gates.quiet_after_order_days);
    lines.put("gates.age", gates.facts_age_hours_max);
    lines.put("gates.ood", gates.block_out_of_distribution);
    lines.put("comfort", gates.comfort.canonical());
    lines.put("comfort.gap", gates.comfort_gap_days);
    let guard = &policy.discount_guard;
    let mut kinds: Vec<&str> = guard.kinds.iter().map(|kind| kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    lines.put("discount.kinds", kinds.join(" "));
    lines.put("discount.allow", guard.allow.canonical());
    lines.put("discount.share", guard.discount_share_max);
    lines.put("offer.share", policy.offer_share_of_clv_max);
    lines.put("control", gates.global_control_share);
    lines.put("explore", gates.explore_share);
    if let Some((from, until)) = gates.quiet_hours {
        lines.put("quiet.hours", format_args!("{from} {until}"));
    }
    match &gates.salt {
        SaltSource::Generated => lines.put("salt", "generated"),
        SaltSource::Fixed(salt) => lines.put("salt", format_args!("fixed {salt}")),
    }
}

fn put_campaign(campaign: &Campaign, lines: &mut Lines) {
    lines.put("campaign", format_args!("{} {}", campaign.priority, campaign.id));
    lines.put("rule", campaign.rule.canonical());
    lines.put("objective", &campaign.objective);
    lines.put("reason", &campaign.reason);
    lines.put("kind", campaign.kind.as_str());
    let channels: Vec<&str> = campaign.channels.iter().map(|channel| channel.as_str()).collect();
    lines.put("channels", channels.join(" "));
    lines.put("offer", OfferKind::as_str(campaign.offer));
    lines.put("target", campaign.target.map_or("-", |target| target.as_str()));
    lines.put("cooldown", campaign.cooldown_days);
    lines.put("ttl", campaign.ttl_days);
    lines.put("cost", campaign.cost_share_of_clv_max);
    lines.put("control", campaign.control_share);
    let flags = [
        campaign.non_buyers_only,
        campaign.never_held_out,
        campaign.allowed_in_comfort,
        campaign.free_of_comfort_gap,
        campaign.allowed_in_quiet,
        campaign.makes_red,
    ];
    lines.put("flags", format_args!("{flags:?}"));
    // Order counts: it says which part of the hash belongs to which version.
    lines.put("variants", campaign.variants.join(" "));
    if let Some(own) = &campaign.economics {
        let (cost, given, accepted) = (own.cost, own.offer_cost, own.accept_prob);
        lines.put("economics", format_args!("{cost} {given} {accepted} {}", own.effect));
    }
}
