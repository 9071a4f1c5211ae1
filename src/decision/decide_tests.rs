//! Tests of decisions case by case: tiers, gates, channels, offers, control groups.

use crate::decision::CampaignContact;
use crate::decision::ChannelFacts;
use crate::decision::Context;
use crate::decision::Decision;
use crate::decision::Experiment;
use crate::decision::Facts;
use crate::decision::Heartbeat;
use crate::decision::Lapse;
use crate::decision::OfferKind;
use crate::decision::Phase;
use crate::decision::Policy;
use crate::decision::Rfm;
use crate::decision::Segment;
use crate::decision::Stage;
use crate::decision::SuppressionReason as Why;
use crate::decision::Tier;
use crate::decision::decide;
use crate::domain::Channel;
use crate::model::Score;

use crate::decision::test_fixtures::*;

#[test]
fn overrides_raise_the_tier_and_say_so() {
    let desk = Desk::open();
    let cases: [(Facts, Tier, &str); 5] = [
        (Facts { complaint_serious_90d: 1, ..buyer() }, Tier::Red, "SERIOUS_COMPLAINT"),
        (
            Facts { nps_last: Some(6), nps_age_days: Some(180.0), ..buyer() },
            Tier::Red,
            "EXPRESSED_DISSATISFACTION",
        ),
        (Facts { open_tickets: 1, ..buyer() }, Tier::Amber, "OPEN_ISSUE"),
        (
            Facts { days_inactive: Some(30.0), expected_gap_days: Some(29.0), ..buyer() },
            Tier::Amber,
            "INACTIVE_30D_BUT_USUALLY_ACTIVE",
        ),
        (Facts { hb_activity: Some(Heartbeat::Drop), ..buyer() }, Tier::Amber, "HEARTBEAT_DROP"),
    ];
    for (facts, tier, reason) in cases {
        let green = desk.decide(&facts, 0.1);
        assert_eq!((green.tier, green.model_tier), (Some(tier), Some(Tier::Green)));
        assert_eq!(green.tier_reasons, ["MODEL_GREEN", reason]);
        let red = desk.decide(&facts, 0.9);
        assert_eq!(red.tier, Some(Tier::Red), "an override never lowers");
        assert_eq!(red.tier_reasons, ["MODEL_RED", reason]);
    }
    let slow = Facts { days_inactive: Some(30.0), expected_gap_days: Some(30.0), ..buyer() };
    assert_eq!(desk.decide(&slow, 0.1).tier, Some(Tier::Green), "30 days are normal for them");
}

#[test]
fn without_a_churn_model_only_overrides_give_a_tier() {
    let desk = Desk::open();
    for churn_prob in [None, Some(f64::NAN)] {
        let score = Score { churn_prob, ..score(0.1) };
        let plain = desk.decide_for("42", &buyer(), &score);
        assert_eq!((plain.tier, plain.value_at_risk), (None, None));
        assert!(plain.tier_reasons.is_empty());
        let open = Facts { open_tickets: 1, ..buyer() };
        assert_eq!(desk.decide_for("42", &open, &score).tier, Some(Tier::Amber));
    }
    let decision = desk.decide(&buyer(), 0.25);
    assert!((decision.value_at_risk.unwrap() - 50.0).abs() < 1e-12);
}

#[test]
fn an_unknown_customer_gets_nothing_and_is_told_why() {
    let desk = Desk::open();
    let decision = desk.decide(&Facts::default(), 0.5);
    assert_eq!((decision.segment, decision.phase), (Segment::Unknown, Phase::None));
    assert_eq!((decision.campaign_id(), decision.campaign_number()), ("no_action", 1));
    assert_eq!(why(&decision), Some(Why::NoEligibleCampaign));
    assert_eq!(decision.micro_key, "-/unknown/-");
    assert_eq!(decision.stage, None);
}

#[test]
fn each_gate_gives_its_reason() {
    let desk = Desk::open();
    let lapsed = Facts { lapse: Some(Lapse::Lapsed), ..buyer() };
    let seen = |campaign: &str, days| vec![CampaignContact { campaign: name(campaign), days }];
    let mut push_heavy = buyer();
    push_heavy.channels[Channel::Push.index()].messages_7d = 4;
    let mut full = Facts { lapse: Some(Lapse::Lapsed), ..buyer() };
    full.channels[Channel::Email.index()].messages_7d = 2;
    let mut deaf = lapsed.clone();
    deaf.channels[Channel::Email.index()].consent = Some(false);
    let happy = Facts {
        hb_activity: Some(Heartbeat::Steady),
        breadth: Some(0.8),
        lapse: Some(Lapse::Current),
        ..buyer()
    };
    // The most urgent campaign of a calm customer with news is not on the allow list.
    let news = Facts {
        orders: 0,
        rfm: Rfm::default(),
        has_updates: true,
        has_email: false,
        visits: 0,
        ..happy.clone()
    };
    let cases = [
        (Facts { do_not_contact: true, ..buyer() }, Why::DoNotContact, None),
        (Facts { open_critical: 1, ..buyer() }, Why::OpenIssueBlocksPromotion, None),
        (news, Why::ComfortableUser, None),
        (Facts { days_since_contact: Some(4.0), ..happy.clone() }, Why::ComfortableGap, Some(10.0)),
        (push_heavy, Why::FrequencyCap, None),
        (full, Why::FrequencyCap, None),
        (Facts { days_since_order: Some(2.0), ..buyer() }, Why::QuietAfterOrder, Some(1.0)),
        (
            Facts { campaign_contacts: seen("win_back_light", 15.0), ..lapsed.clone() },
            Why::Cooldown,
            Some(45.0),
        ),
        (deaf, Why::NoReachableChannel, None),
        (Facts { facts_age_hours: Some(73.0), ..buyer() }, Why::StaleFacts, None),
    ];
    for (facts, reason, opens) in cases {
        let decision = desk.decide(&facts, 0.1);
        assert_eq!(why(&decision), Some(reason), "{decision:#?}");
        match (decision.not_before_days, opens) {
            (Some(found), Some(wanted)) => assert!((found - wanted).abs() < 1e-9, "{reason:?}"),
            (found, wanted) => assert_eq!(found, wanted, "{reason:?}"),
        }
    }
    let strange = Score { out_of_distribution: true, ..score(0.1) };
    assert_eq!(why(&desk.decide_for("42", &buyer(), &strange)), Some(Why::OutOfDistribution));
    let again = Facts { campaign_contacts: seen("win_back_light", 60.0), ..lapsed };
    assert_eq!(desk.decide(&again, 0.1).campaign_id(), "win_back_light", "the cooldown is over");
    assert_eq!(desk.decide(&happy, 0.1).campaign_id(), "upsell", "calm, and not contacted lately");
}

#[test]
fn a_complaint_is_answered_whatever_else_holds() {
    let desk = Desk::new(
        &Policy::default_text()
            .replace("global_control_share   = 0.05", "global_control_share = 1"),
    );
    let mut facts = Facts {
        complaint_serious_90d: 1,
        days_since_order: Some(0.0),
        facts_age_hours: Some(1e6),
        ..buyer()
    };
    for channel in &mut facts.channels {
        channel.messages_7d = 50;
        channel.messages_28d = 50;
    }
    let strange = Score { out_of_distribution: true, ..score(0.1) };
    let decision = desk.decide_for("42", &facts, &strange);
    assert_eq!(decision.campaign_id(), "service_recovery");
    assert_eq!(*decision.channels, [Channel::Email], "a person was never agreed to");
    assert_eq!(desk.decide(&buyer(), 0.1).would_be_campaign.unwrap().id(), "upsell");
}

#[test]
fn channels_are_ranked_by_response_once_enough_is_known() {
    let desk = Desk::open();
    // upsell: email, then in_app.
    let mut facts = buyer();
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Email, Channel::InApp]);
    let email = Channel::Email.index();
    let in_app = Channel::InApp.index();
    facts.channels[email] = ChannelFacts { delivered: 3, opened: 0, ..ChannelFacts::default() };
    facts.channels[in_app] = ChannelFacts { delivered: 2, opened: 2, ..ChannelFacts::default() };
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Email, Channel::InApp], "too few");
    facts.channels[in_app].delivered = 3;
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::InApp, Channel::Email]);
    facts.channels[in_app].consent = Some(false);
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Email], "an explicit no wins");
    facts.channels[email].hours_since_message = Some(15.0);
    let next = desk.decide(&facts, 0.1);
    assert_eq!(
        (next.campaign_id(), &*next.channels),
        ("bundle_offer", &[Channel::WebBanner, Channel::ContentCard][..])
    );
    facts.channels[email].hours_since_message = Some(16.0);
    assert_eq!(desk.decide(&facts, 0.1).campaign_id(), "upsell");
}

#[test]
fn unknown_consent_is_not_a_no_but_needs_to_be_assumed() {
    let desk = Desk::open();
    let mut facts =
        Facts { lapse: Some(Lapse::Lapsed), rfm: Rfm { v: Some(5), ..buyer().rfm }, ..buyer() };
    // win_back_high: human, email, sms.
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Email]);
    facts.channels[Channel::Human.index()].reachable = Some(true);
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Email], "a number is no consent");
    facts.channels[Channel::Human.index()].consent = Some(true);
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Human, Channel::Email]);
    facts.channels[Channel::Human.index()].reachable = Some(false);
    facts.channels[Channel::Email.index()].consent = Some(false);
    facts.channels[Channel::Sms.index()].consent = Some(true);
    assert_eq!(*desk.decide(&facts, 0.1).channels, [Channel::Sms], "falls back");
}

#[test]
fn offers_are_guarded_and_capped() {
    let desk = Desk::open();
    let first = Facts { orders: 1, days_since_order: Some(10.0), ..buyer() };
    let nudge = desk.decide(&first, 0.1);
    assert_eq!(
        (nudge.campaign_id(), nudge.offer.kind),
        ("second_purchase_nudge", OfferKind::Discount)
    );
    assert!((nudge.offer.cost_max.unwrap() - 20.0).abs() < 1e-9, "10 % of the value");
    let hunter = Facts { discount_share: Some(0.51), ..first.clone() };
    let nudge = desk.decide(&hunter, 0.1);
    assert_eq!((nudge.campaign_id(), nudge.offer.kind), ("second_purchase_nudge", OfferKind::None));
    assert!(nudge.offer.guarded && nudge.offer.cost_max.is_none());
    let light = desk.decide(&Facts { lapse: Some(Lapse::Lapsed), ..buyer() }, 0.1);
    assert_eq!(light.offer.kind, OfferKind::Voucher);
    assert!((light.offer.cost_max.unwrap() - 4.0).abs() < 1e-9, "2 % of the value");
    let poor = Score { clv: None, ..score(0.1) };
    assert_eq!(desk.decide_for("42", &first, &poor).offer.cost_max, None);
}

#[test]
fn control_groups_have_their_share_and_see_nothing() {
    let desk = Desk::new(Policy::default_text());
    let (n, mut n_global, mut n_campaign) = (20_000, 0.0, 0.0);
    for idx in 0..n {
        let decision = desk.decide_for(&format!("cust_{idx}"), &buyer(), &score(0.1));
        assert_eq!(decision.is_held_out(), decision.campaign.is_none());
        match why(&decision) {
            Some(Why::HoldoutGlobal) => n_global += 1.0,
            Some(Why::HoldoutCampaign) => n_campaign += 1.0,
            other => assert_eq!(other, None),
        }
        if decision.is_held_out() {
            assert!(decision.channels.is_empty() && decision.alternatives.is_empty());
            assert_eq!(decision.offer.kind, OfferKind::None);
            assert_eq!(decision.would_be_campaign.unwrap().id(), "upsell");
        } else {
            assert_eq!(decision.assignments[1].experiment, Experiment::Campaign("upsell"));
        }
        for assignment in &decision.assignments {
            assert!((0.0..1.0).contains(&assignment.place) && assignment.propensity > 0.0);
        }
    }
    // Five standard deviations.
    let share = |n_held: f64, of: f64, wanted: f64| {
        let sigma = (wanted * (1.0 - wanted) / of).sqrt();
        assert!((n_held / of - wanted).abs() < 5.0 * sigma, "{n_held} of {of}");
    };
    share(n_global, f64::from(n), 0.05);
    share(n_campaign, f64::from(n) - n_global, 0.10);
}

#[test]
fn the_runners_up_are_the_next_campaigns() {
    let desk = Desk::open();
    let decision = desk.decide(&buyer(), 0.1);
    assert_eq!(decision.campaign_id(), "upsell");
    assert_eq!(decision.campaign_reason(), Some("LOYAL_LOW_PLAN"));
    assert_eq!(decision.expires_after_days, Some(14.0));
    let ids: Vec<&str> = decision.alternatives.iter().map(|one| one.campaign.id()).collect();
    assert_eq!(ids, ["bundle_offer", "recommendation"]);
    assert_eq!(decision.alternatives[0].channel, Channel::Email);
}

#[test]
fn marks_stages_and_keys_follow_from_the_facts() {
    let desk = Desk::open();
    let top = Facts {
        rfm: Rfm { r: Some(5), f: Some(5), m: Some(5), v: Some(5) },
        persona: Some(name("family")),
        top_category: Some(name("coffee")),
        ..buyer()
    };
    let decision = desk.decide(&top, 0.1);
    assert_eq!((decision.segment, decision.phase), (Segment::Champion, Phase::Veneration));
    assert_eq!(decision.stage, Some(Stage::Loyal));
    assert!(decision.flags.active_core && decision.flags.advocate);
    assert_eq!(decision.micro_key, "family/champion/coffee");
    let dropping = Facts { hb_activity: Some(Heartbeat::Drop), ..top.clone() };
    let decision = desk.decide(&dropping, 0.1);
    assert!(!decision.flags.active_core && !decision.flags.advocate, "amber now");
    let sticky =
        Facts { sticky_gap: Some(true), target_activity: Some(name("watch_list")), ..buyer() };
    let decision = desk.decide(&sticky, 0.1);
    assert_eq!(decision.campaign_id(), "sticky_adoption");
    assert_eq!(decision.target, Some(name("watch_list")));
    for (lapse, stage) in [(Lapse::Slipping, Stage::Lapsing), (Lapse::Lapsed, Stage::Inactive)] {
        assert_eq!(
            desk.decide(&Facts { lapse: Some(lapse), ..top.clone() }, 0.1).stage,
            Some(stage)
        );
    }
    assert_eq!(desk.decide(&buyer(), 0.1).stage, Some(Stage::Active));
}

#[test]
fn the_trace_shows_what_was_tried_and_found() {
    let desk = Desk::open();
    let facts = Facts { hb_activity: None, ..buyer() };
    let score = score(0.1);
    let context = Context {
        customer_id: "42",
        facts: &facts,
        tier_cuts: Some(CUTS),
        salts: &desk.salts,
        hour_of_day: None,
        trace: true,
    };
    let traced = decide(&desk.policy, &score, &context);
    let plain = desk.decide(&facts, 0.1);
    assert_eq!(Decision { trace: Vec::new(), ..traced.clone() }, plain, "asking changes nothing");
    let rule = |id: &str| traced.trace.iter().find(|rule| rule.id == id).unwrap();
    assert!(rule("potential_loyalist").held && !rule("champion").held);
    assert!(traced.trace.iter().all(|rule| rule.id != "promising"), "the first match ends it");
    let test = &rule("potential_loyalist").tests[1];
    assert_eq!((test.text, test.held, test.found.as_deref()), ("f >= 3", true, Some("3")));
    let missing = &rule("HEARTBEAT_DROP").tests[0];
    assert_eq!((missing.held, &missing.found), (false, &None), "not measured does not hold");
    let risk = rule("upsell").tests.iter().find(|test| test.text == "risk = green").unwrap();
    assert_eq!(risk.found.as_deref(), Some("green"));
}
