//! Tests over random customers: the safety rules, and the reach of every rule.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::decision::Arm;
use crate::decision::Decision;
use crate::decision::Facts;
use crate::decision::Lapse;
use crate::decision::OfferKind;
use crate::decision::Policy;
use crate::decision::Rfm;
use crate::decision::Segment;
use crate::decision::SuppressionReason as Why;
use crate::decision::Tier;
use crate::domain::Channel;
use crate::domain::Name;
use crate::model::Score;

use crate::decision::predicate::Rule;
use crate::decision::predicate::compile;
use crate::decision::test_fixtures::*;

/// The safety rules, each checked from the facts alone and not through the code under test.
fn check_safety(facts: &Facts, score: &Score, decision: &Decision<'_>) {
    let id = decision.campaign_id();
    let would_be = decision.would_be_campaign.map(|campaign| campaign.id());
    // 1. Nobody who asked for no contact gets a campaign.
    if facts.do_not_contact {
        assert_eq!((id, would_be, why(decision)), ("no_action", None, Some(Why::DoNotContact)));
    }
    // 2. A discount never leaves the guard.
    let offers = std::iter::once(decision.offer)
        .chain(decision.alternatives.iter().map(|alternative| alternative.offer));
    for offer in offers.filter(|offer| offer.kind == OfferKind::Discount) {
        let is_high = facts.rfm.v.is_some_and(|v| v >= 4);
        let guarded = facts.orders <= 1
            || matches!(decision.segment, Segment::CannotLose | Segment::AtRisk)
            || (decision.tier == Some(Tier::Red) && is_high);
        assert!(guarded && facts.discount_share.is_none_or(|share| share <= 0.5), "{facts:?}");
        let limit = score.clv.as_ref().map(|clv| clv.mean * 0.1 + 1e-9);
        assert!(offer.cost_max.is_none_or(|cost| limit.is_some_and(|limit| cost <= limit)));
    }
    // 3. With a serious complaint or critical ticket: service or nothing.
    if facts.complaint_serious_90d > 0 || facts.open_critical > 0 {
        assert!(matches!(id, "service_recovery" | "no_action"), "{id}");
        assert!(decision.alternatives.is_empty());
    }
    // ... and a control group gets nothing but service.
    let in_control = decision.assignments.iter().any(|one| one.arm == Arm::Control);
    if in_control {
        assert!(matches!(id, "service_recovery" | "no_action"), "{id}");
    }
    // 4. No acquisition campaign to a buyer.
    let all = decision.alternatives.iter().map(|one| one.campaign.id()).chain([id]).chain(would_be);
    for id in all {
        let is_acquisition =
            matches!(id, "first_purchase_incentive" | "lead_capture" | "welcome_onboarding");
        assert!(!is_acquisition || facts.orders == 0, "{id}");
    }
    // 5. No campaign without a channel that reaches the customer.
    if decision.campaign.is_some() {
        assert!(!decision.channels.is_empty());
        for channel in decision.channels.iter() {
            let known = facts.channel(*channel);
            assert!(known.consent != Some(false) && known.reachable != Some(false));
            let is_assumed =
                !matches!(channel, Channel::Sms | Channel::PaidSocial | Channel::Human);
            assert!(known.consent == Some(true) || is_assumed, "{channel}");
        }
    }
    // D-3: what was done has a probability, and all of them sum to 1.
    let sent: f64 = decision.eligible.iter().map(|one| one.propensity).sum();
    assert!(decision.propensity > 0.0 && decision.propensity <= 1.0, "{}", decision.propensity);
    assert!(decision.eligible.iter().all(|one| (0.0..=1.0).contains(&one.propensity)));
    assert!(sent <= 1.0 + 1e-12, "{sent}");
    if decision.campaign.is_none() && !decision.is_held_out() {
        assert!(decision.eligible.is_empty());
    }
    // 6. A suppressed decision always says why, and only a suppressed one does.
    assert_eq!(decision.campaign.is_none(), decision.suppression.is_some());
    assert_eq!(
        decision.would_be_campaign.is_some(),
        matches!(why(decision), Some(Why::HoldoutGlobal | Why::HoldoutCampaign))
    );
}

/// Where seldom things were seen, over many random customers.
#[derive(Default)]
struct Seen {
    segments: BTreeSet<Segment>,
    campaigns: BTreeMap<String, u32>,
    reasons: BTreeSet<Why>,
    guarded: u32,
}

/// By expected value, with economic tiers, exploration and versions at once.
fn everything_on() -> String {
    by_value()
        .replace("mode        = \"capacity\"", "mode = \"economic\"")
        .replace("explore_share = 0.0", "explore_share = 0.3")
        .replace("effect_mean    = 0.02", "effect_mean = 0.1")
        .replace(
            "id        = \"upsell\"",
            "id        = \"upsell\"\nvariants = [\"a\", \"b\", \"c\"]",
        )
}

#[test]
fn the_safety_rules_hold_by_value_with_exploration_too() {
    let desk = Desk::new(&everything_on());
    let ids: Vec<Name> = desk.policy.campaigns().iter().map(|one| name(one.id())).collect();
    let mut dice = Dice(0xCAFE);
    let mut seen = Seen::default();
    let mut n_explored = 0;
    for idx in 0..120_000 {
        let facts = random_facts(&mut dice, &ids);
        let score = random_score(&mut dice);
        let decision = desk.decide_for(&format!("cust_{idx}"), &facts, &score);
        check_safety(&facts, &score, &decision);
        assert!(decision.tier >= decision.model_tier);
        seen.reasons.extend(why(&decision));
        *seen.campaigns.entry(decision.campaign_id().to_owned()).or_default() += 1;
        n_explored += u32::from(decision.flags.explored);
    }
    assert!(seen.reasons.contains(&Why::NegativeValue), "{:?}", seen.reasons);
    assert!(n_explored > 1_000, "{n_explored}");
    assert!(seen.campaigns.len() > 20, "{:?}", seen.campaigns);
}

#[test]
fn the_safety_rules_hold_for_random_customers_and_every_rule_is_reached() {
    let desk = Desk::new(Policy::default_text());
    let ids: Vec<Name> = desk.policy.campaigns().iter().map(|one| name(one.id())).collect();
    let mut dice = Dice(0x5EED);
    let mut seen = Seen::default();
    for idx in 0..200_000 {
        let facts = random_facts(&mut dice, &ids);
        let score = random_score(&mut dice);
        let decision = desk.decide_for(&format!("cust_{idx}"), &facts, &score);
        check_safety(&facts, &score, &decision);
        // The model can never lower a tier that an override raised, nor an override the model's.
        assert!(decision.tier >= decision.model_tier);
        seen.segments.insert(decision.segment);
        *seen.campaigns.entry(decision.campaign_id().to_owned()).or_default() += 1;
        seen.reasons.extend(why(&decision));
        seen.guarded += u32::from(decision.offer.guarded);
    }
    assert_eq!(seen.segments.len(), Segment::ALL.len(), "{:?}", seen.segments);
    assert_eq!(seen.campaigns.len(), 28 + 1, "{:?}", seen.campaigns);
    // By priority nothing is weighed.
    let all = Why::ALL.into_iter().filter(|reason| *reason != Why::NegativeValue);
    assert_eq!(seen.reasons, all.collect());
    // second_purchase_nudge to a discount hunter.
    assert!(seen.guarded > 0);
}

#[test]
fn every_customer_has_exactly_one_segment_and_it_is_the_one_of_the_table() {
    let desk = Desk::open();
    let fifths = [None, Some(1), Some(2), Some(3), Some(4), Some(5)];
    let lapses = [None, Some(Lapse::Current), Some(Lapse::Slipping), Some(Lapse::Lapsed)];
    let mut n = 0;
    for orders in [0, 1, 2, 9] {
        for (has_email, visits) in [(false, 0), (false, 3), (true, 0), (true, 3)] {
            for lapse in lapses {
                for (r, f, m, v) in fifths.into_iter().flat_map(|r| {
                    let pairs = fifths
                        .into_iter()
                        .flat_map(move |f| fifths.into_iter().map(move |v| (r, f, v)));
                    pairs.flat_map(|(r, f, v)| [Some(2), Some(3)].map(|m| (r, f, m, v)))
                }) {
                    let rfm = Rfm { r, f, m, v };
                    let facts = Facts { orders, has_email, visits, lapse, rfm, ..Facts::default() };
                    let view = crate::decision::fact::View::new(&facts, &score(0.1), 0);
                    let n_matching =
                        desk.policy.segments.iter().filter(|one| one.rule.holds(&view)).count();
                    assert!(n_matching >= 1, "{facts:?}");
                    assert_eq!(desk.decide(&facts, 0.1).segment, by_table(&facts), "{facts:?}");
                    n += 1;
                }
            }
        }
    }
    assert_eq!(n, 4 * 4 * 4 * 6 * 6 * 6 * 2);
}

/// The table of segments, written once more by hand.
fn by_table(facts: &Facts) -> Segment {
    let at_least = |score: Option<u8>, least: u8| score.is_some_and(|score| score >= least);
    let Rfm { r, f, m, v } = facts.rfm;
    match (facts.orders, facts.lapse) {
        (0, _) if facts.has_email => Segment::LoyalVisitor,
        (0, _) if facts.visits > 0 => Segment::EngagedVisitor,
        (0, _) => Segment::Unknown,
        (_, Some(Lapse::Lapsed)) if at_least(v, 4) => Segment::CannotLose,
        (_, Some(Lapse::Lapsed)) => Segment::Lost,
        (_, Some(Lapse::Slipping)) if at_least(v, 4) => Segment::AtRisk,
        (_, Some(Lapse::Slipping)) => Segment::FallingAsleep,
        (1, _) => Segment::FirstTime,
        _ if f == Some(5) && v == Some(5) => Segment::Champion,
        _ if at_least(f, 4) => Segment::Loyal,
        _ if at_least(f, 3) && at_least(m, 3) => Segment::PotentialLoyalist,
        _ if at_least(r, 4) && f.is_some_and(|f| f <= 2) => Segment::Recent,
        _ => Segment::Promising,
    }
}

#[test]
fn a_greater_risk_never_has_a_lower_tier() {
    let desk = Desk::open();
    let ids = [name("upsell")];
    let mut dice = Dice(7);
    for _ in 0..2_000 {
        let facts = random_facts(&mut dice, &ids);
        let mut last = None;
        for step in 0..=20 {
            let tier = desk.decide(&facts, f64::from(step) / 20.0).tier;
            assert!(tier >= last, "{facts:?}");
            last = tier;
        }
    }
}

/// The rules that no policy can break hold even where every campaign fits everybody.
#[test]
fn the_safety_rules_hold_where_the_campaigns_ask_for_nothing() {
    let mut desk = Desk::new(Policy::default_text());
    let anybody = compile("orders >= 0").unwrap();
    let ids: Vec<Name> = desk.policy.campaigns().iter().map(|one| name(one.id())).collect();
    for campaign in desk.policy.campaigns.iter_mut().skip(1) {
        campaign.rule = Rule::new(vec![vec![anybody.clone()]]);
    }
    let mut dice = Dice(99);
    let mut n_campaigns = 0;
    for idx in 0..100_000 {
        // Each campaign is the most urgent one in its turn; service stays first.
        if idx % 1000 == 0 {
            desk.policy.campaigns[1..].rotate_left(1);
        }
        let facts = random_facts(&mut dice, &ids);
        let score = random_score(&mut dice);
        let decision = desk.decide_for(&format!("cust_{idx}"), &facts, &score);
        check_safety(&facts, &score, &decision);
        n_campaigns += u32::from(decision.campaign.is_some());
    }
    assert!(n_campaigns > 30_000, "{n_campaigns}");
}
