//! Tests of what depends on money: expected values, economic tiers, exploration, versions, and
//! the probabilities that go with a decision.

use crate::decision::Arm;
use crate::decision::Context;
use crate::decision::Experiment;
use crate::decision::Facts;
use crate::decision::Lapse;
use crate::decision::Policy;
use crate::decision::Rfm;
use crate::decision::SuppressionReason as Why;
use crate::decision::Tier;
use crate::decision::TierCuts;
use crate::decision::WhyNot;
use crate::decision::decide;
use crate::decision::why_not;
use crate::model::Score;

use crate::decision::test_fixtures::*;

/// Without control groups.
fn open(text: &str) -> Desk {
    Desk::new(
        &text
            .replace("global_control_share   = 0.05", "global_control_share = 0.0")
            .replace("campaign_control_share = 0.10", "campaign_control_share = 0.0"),
    )
}

fn at_risk() -> Facts {
    Facts {
        lapse: Some(Lapse::Slipping),
        rfm: Rfm { v: Some(5), ..buyer().rfm },
        days_inactive: Some(40.0),
        ..buyer()
    }
}

#[test]
fn the_expected_value_is_the_formula() {
    let desk = open(&with_costs());
    // p = 0.5, mean 200, p90 400: 400 if retained; margin 0.4; tau 0.02; email .002, gift 6.
    let decision = desk.decide(&at_risk(), 0.5);
    assert_eq!(decision.campaign_id(), "retention_offer");
    let wanted = 0.02 * 400.0 * 0.4 - 0.002 - 6.0;
    assert!((decision.expected_value.unwrap() - wanted).abs() < 1e-12);
    assert!((decision.expected_cost.unwrap() - 6.002).abs() < 1e-12);
    // Nobody's chance of leaving falls below 0: at p = 0.01 the effect is at most 0.01.
    let safe = desk.decide(&buyer(), 0.01);
    let value = (200.0 / 0.99_f64).clamp(200.0, 400.0) * 0.4 * 0.01 - 0.002 - 3.0;
    assert_eq!(safe.campaign_id(), "upsell");
    assert!((safe.expected_value.unwrap() - value).abs() < 1e-12);
    let silent = open(Policy::default_text()).decide(&at_risk(), 0.5).expected_value;
    assert_eq!(silent, None, "no costs, no value");
}

#[test]
fn by_expected_value_the_best_campaign_goes_first_and_a_bad_one_never() {
    let desk = open(&by_value());
    // The gift costs more than it brings; the reminder costs nothing.
    let decision = desk.decide(&at_risk(), 0.5);
    assert_eq!(decision.campaign_id(), "inactivity_check_in");
    assert!(decision.expected_value.unwrap() > 0.0);
    let values: Vec<f64> = std::iter::once(decision.expected_value)
        .chain(decision.alternatives.iter().map(|one| one.expected_value))
        .map(Option::unwrap)
        .collect();
    assert!(values.is_sorted_by(|one, other| one >= other), "{values:?}");
    // A measured effect moves it, and moves it less the less certain it is.
    let measured = |error: f64| {
        let stated = format!(
            "id        = \"retention_offer\"\neffect = 0.2\neffect_standard_error = {error}"
        );
        let desk = open(&by_value().replace("id        = \"retention_offer\"", &stated));
        desk.decide(&at_risk(), 0.5).campaign_id().to_owned()
    };
    assert_eq!(measured(0.005), "retention_offer");
    assert_eq!(measured(0.3), "inactivity_check_in");
    // Nothing is worth it: said, with the campaign that was stopped.
    let dear = open(&by_value().replace("expected_value_min = 0.0", "expected_value_min = 1000"));
    let decision = dear.decide(&at_risk(), 0.5);
    assert_eq!(why(&decision), Some(Why::NegativeValue));
    assert_eq!(decision.suppression.unwrap().campaign.unwrap().id(), "retention_offer");
    // A complaint is answered whatever it brings.
    let angry = Facts { complaint_serious_90d: 1, ..at_risk() };
    assert_eq!(dear.decide(&angry, 0.5).campaign_id(), "service_recovery");
}

#[test]
fn an_offer_beyond_the_cap_is_not_given_by_value() {
    // Worth a lot by its effect, but a gift of 6 is more than 10 % of 50 x 0.4.
    let rich = by_value().replace("effect_mean    = 0.02", "effect_mean = 0.9");
    let desk = open(&rich);
    let mut poor = score(0.9);
    poor.clv.as_mut().unwrap().mean = 50.0;
    poor.clv.as_mut().unwrap().p90 = 500.0;
    let facts = Facts { days_inactive: Some(3.0), ..at_risk() };
    assert_eq!(why(&desk.decide_for("42", &facts, &poor)), Some(Why::NegativeValue));
    assert_eq!(desk.decide(&facts, 0.9).campaign_id(), "retention_offer");
}

#[test]
fn economic_red_is_where_acting_pays() {
    let text = with_costs()
        .replace("mode        = \"capacity\"", "mode = \"economic\"")
        .replace("effect_mean    = 0.02", "effect_mean = 0.2");
    let desk = open(&text);
    let scores: Vec<f64> = (0..1000).map(|idx| f64::from(idx) / 1000.0).collect();
    let cuts = desk.policy.tier_cuts(&scores).unwrap();
    assert!(cuts.red_prob > 1.0 && (cuts.amber_prob - 0.7).abs() < 1e-12, "{cuts:?}");
    let tier = |facts: &Facts, score: &Score, cuts: TierCuts| {
        let context = Context {
            customer_id: "42",
            facts,
            tier_cuts: Some(cuts),
            salts: &desk.salts,
            hour_of_day: None,
            trace: false,
        };
        let decision = decide(&desk.policy, score, &context);
        (decision.model_tier, decision.tier)
    };
    let facts = Facts { days_inactive: Some(3.0), ..at_risk() };
    let red = (Some(Tier::Red), Some(Tier::Red));
    let amber = (Some(Tier::Amber), Some(Tier::Amber));
    assert_eq!(tier(&facts, &score(0.8), cuts), red);
    assert_eq!(tier(&facts, &score(0.69), cuts).0, Some(Tier::Green), "not at elevated risk");
    let mut poor = score(0.8);
    poor.clv.as_mut().unwrap().mean = 20.0;
    poor.clv.as_mut().unwrap().p90 = 30.0;
    assert_eq!(tier(&facts, &poor, cuts), amber, "the gift costs more than it brings");
    let plain = Facts { days_inactive: Some(3.0), ..buyer() };
    assert_eq!(tier(&plain, &score(0.8), cuts), amber, "no campaign for them");
    // Contacted yesterday: the risk is what it was.
    let mut lately = facts.clone();
    lately.channels[0].messages_7d = 9;
    assert_eq!(tier(&lately, &score(0.8), cuts), red);
    // Monotone in the risk, and never below an override.
    let mut dice = Dice(11);
    let ids = [name("upsell")];
    for _ in 0..2_000 {
        let facts = random_facts(&mut dice, &ids);
        let mut last = None;
        for step in 0..=20 {
            let (model, found) = tier(&facts, &score(f64::from(step) / 20.0), cuts);
            assert!(model >= last && found >= model, "{facts:?}");
            last = model;
        }
    }
}

#[test]
fn propensities_sum_to_one_and_belong_to_what_was_done() {
    let explored =
        Policy::default_text().replace("explore_share = 0.0", "explore_share = 0.2").replace(
            "id        = \"upsell\"",
            "id        = \"upsell\"\nvariants = [\"short\", \"long\"]",
        );
    let desk = Desk::new(&explored);
    let (mut n_explored, mut n_sent, mut n_short) = (0.0_f64, 0.0_f64, 0.0_f64);
    let mut expected = (0.0_f64, 0.0_f64);
    let n = 40_000;
    for idx in 0..n {
        let id = format!("cust_{idx}");
        let decision = desk.decide_for(&id, &buyer(), &score(0.1));
        let sent: f64 = decision.eligible.iter().map(|one| one.propensity).sum();
        assert!((0.0..=1.0).contains(&sent));
        // D-3: each eligible campaign keeps the floor, before anybody is held out.
        let reached = 0.95 * 0.9;
        assert!(decision.eligible.iter().all(|one| one.propensity >= 0.02 * reached - 1e-12));
        match decision.campaign {
            Some(campaign) => {
                assert_eq!(decision.eligible[0].campaign.id(), campaign.id());
                assert_eq!(
                    decision.propensity.to_bits(),
                    decision.eligible[0].propensity.to_bits()
                );
            }
            None => {
                assert!(decision.is_held_out());
                assert!((decision.propensity - (1.0 - sent)).abs() < 1e-12);
            }
        }
        n_explored += f64::from(u8::from(decision.flags.explored));
        let upsell = decision.eligible.iter().find(|one| one.campaign.id() == "upsell").unwrap();
        expected.0 += upsell.propensity;
        if decision.campaign_id() == "upsell" {
            n_sent += 1.0;
            let versions = decision.assignments.last().unwrap();
            assert_eq!(versions.experiment, Experiment::Variants("upsell"));
            assert_eq!((versions.variant, versions.arm), (decision.variant, Arm::Treatment));
            assert!((versions.propensity - 0.5).abs() < 1e-15);
            n_short += f64::from(u8::from(decision.variant == Some("short")));
        }
        expected.1 += 1.0;
    }
    let near = |found: f64, wanted: f64, of: f64| {
        let sigma = (wanted * (1.0 - wanted) / of).sqrt();
        assert!((found / of - wanted).abs() < 5.0 * sigma, "{found} of {of}, wanted {wanted}");
    };
    // Three campaigns pass: two others with 0.2 / 3 each.
    near(n_explored, 2.0 * 0.2 / 3.0, expected.1);
    near(n_sent, expected.0 / expected.1, expected.1);
    near(n_short, 0.5, n_sent);
}

#[test]
fn exploration_never_touches_service() {
    let desk = open(&Policy::default_text().replace("explore_share = 0.0", "explore_share = 1.0"));
    let angry = Facts { nps_last: Some(3), nps_age_days: Some(3.0), ..buyer() };
    for idx in 0..2_000 {
        let decision = desk.decide_for(&format!("c{idx}"), &angry, &score(0.1));
        assert_eq!((decision.campaign_id(), decision.flags.explored), ("service_recovery", false));
        assert!((decision.propensity - 1.0).abs() < 1e-15);
    }
}

#[test]
fn what_goes_out_waits_for_the_end_of_the_quiet_hours() {
    let desk = open(Policy::default_text());
    let at = |hour_of_day: Option<f64>, facts: &Facts| {
        let context = Context {
            customer_id: "42",
            facts,
            tier_cuts: Some(CUTS),
            salts: &desk.salts,
            hour_of_day,
            trace: false,
        };
        decide(&desk.policy, &score(0.1), &context).not_before_days.map(|days| days * 24.0)
    };
    let near = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-9);
    near(at(Some(21.0), &buyer()), 11.0);
    near(at(Some(23.5), &buyer()), 8.5);
    near(at(Some(0.0), &buyer()), 8.0);
    assert_eq!(at(Some(8.0), &buyer()), None);
    assert_eq!(at(Some(20.99), &buyer()), None);
    assert_eq!(at(None, &buyer()), None);
    // A banner disturbs nobody.
    let visitor = Facts { visits: 5, ..Facts::default() };
    assert_eq!(at(Some(23.0), &visitor), None);
}

#[test]
fn every_campaign_can_be_asked_why_not() {
    let desk = Desk::new(
        &Policy::default_text()
            .replace("global_control_share   = 0.05", "global_control_share = 0.0")
            .replace("campaign_control_share = 0.10", "campaign_control_share = 0.5"),
    );
    let ids: Vec<_> = desk.policy.campaigns().iter().map(|one| name(one.id())).collect();
    let mut dice = Dice(3);
    let mut seen = [0_u32; 5];
    for idx in 0..3_000 {
        let facts = random_facts(&mut dice, &ids);
        let score = random_score(&mut dice);
        let id = format!("c{idx}");
        let context = Context {
            customer_id: &id,
            facts: &facts,
            tier_cuts: Some(CUTS),
            salts: &desk.salts,
            hour_of_day: None,
            trace: true,
        };
        let decision = decide(&desk.policy, &score, &context);
        let mut n_chosen = 0;
        for campaign in desk.policy.campaigns() {
            let is_listed = decision.eligible.iter().any(|one| one.campaign.id() == campaign.id());
            match why_not(&decision, campaign.id()) {
                WhyNot::Chosen => {
                    n_chosen += 1;
                    seen[0] += 1;
                }
                WhyNot::NotTraced => panic!("{facts:?}"),
                WhyNot::Conditions(failed) => {
                    assert!(!failed.is_empty() && failed.iter().all(|test| !test.held));
                    seen[1] += 1;
                }
                WhyNot::Gate(_) => {
                    assert!(!is_listed);
                    seen[2] += 1;
                }
                WhyNot::HeldOut(reason) => {
                    assert_eq!((reason, decision.campaign), (Why::HoldoutCampaign, None));
                    seen[3] += 1;
                }
                WhyNot::Outranked { by } => {
                    assert!(is_listed && by != campaign.id());
                    seen[4] += 1;
                }
            }
        }
        assert_eq!(n_chosen, u32::from(decision.campaign.is_some()));
        assert_eq!(why_not(&decision, "no_such"), WhyNot::NotTraced);
    }
    assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
}
