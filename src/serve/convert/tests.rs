use std::collections::BTreeSet;

use super::*;
use crate::decision::{CAMPAIGN_NUMBERS, CUSTOM_NUMBER, Heartbeat, Lapse, NO_ACTION_NUMBER};
use crate::decision::{OfferKind, Phase, Policy, Segment, Stage, SuppressionReason, Tier};
use crate::domain::Channel;
use crate::serve::pb;

/// Every value of a closed set has a wire name of its own, and it is the set's own name.
fn check(prefix: &str, names: &[&str], wires: &[i32], wire_name: impl Fn(i32) -> &'static str) {
    let found: Vec<&str> = wires.iter().map(|wire| wire_name(*wire)).collect();
    let expected: Vec<String> =
        names.iter().map(|name| format!("{prefix}_{}", name.to_ascii_uppercase())).collect();
    assert_eq!(found, expected);
}

#[test]
fn closed_sets_keep_their_names_on_the_wire() {
    let wires = Segment::ALL.map(names::segment);
    let name = |wire| pb::Segment::try_from(wire).unwrap().as_str_name();
    check("SEGMENT", &Segment::ALL.map(Segment::as_str), &wires, name);
    let wires = Phase::ALL.map(names::phase);
    let name = |wire| pb::LifecyclePhase::try_from(wire).unwrap().as_str_name();
    check("LIFECYCLE_PHASE", &Phase::ALL.map(Phase::as_str), &wires, name);
    let wires = Stage::ALL.map(|stage| names::stage(Some(stage)));
    let name = |wire| pb::EngagementStage::try_from(wire).unwrap().as_str_name();
    check("ENGAGEMENT_STAGE", &Stage::ALL.map(Stage::as_str), &wires, name);
    let wires = Tier::ALL.map(|tier| names::tier(Some(tier)));
    let name = |wire| pb::RiskTier::try_from(wire).unwrap().as_str_name();
    check("RISK_TIER", &Tier::ALL.map(Tier::as_str), &wires, name);
    let wires = Lapse::ALL.map(names::lapse);
    let name = |wire| pb::LapseState::try_from(wire).unwrap().as_str_name();
    check("LAPSE_STATE", &Lapse::ALL.map(Lapse::as_str), &wires, name);
    let wires = Heartbeat::ALL.map(names::heartbeat);
    let name = |wire| pb::HeartbeatState::try_from(wire).unwrap().as_str_name();
    check("HEARTBEAT_STATE", &Heartbeat::ALL.map(Heartbeat::as_str), &wires, name);
    let wires = Channel::ALL.map(names::channel);
    let name = |wire| pb::Channel::try_from(wire).unwrap().as_str_name();
    check("CHANNEL", &Channel::ALL.map(Channel::as_str), &wires, name);
    let wires = OfferKind::ALL.map(names::offer_kind);
    let name = |wire| pb::OfferKind::try_from(wire).unwrap().as_str_name();
    check("OFFER_KIND", &OfferKind::ALL.map(OfferKind::as_str), &wires, name);
    let wires = SuppressionReason::ALL.map(|reason| names::suppression(Some(reason)));
    let name = |wire| pb::Suppression::try_from(wire).unwrap().as_str_name();
    check("SUPPRESSION", &SuppressionReason::ALL.map(SuppressionReason::as_str), &wires, name);
}

#[test]
fn campaigns_keep_the_numbers_that_the_policy_room_gave_them() {
    for (id, number) in CAMPAIGN_NUMBERS {
        let wire = pb::CampaignType::try_from(i32::from(number)).unwrap().as_str_name();
        assert_eq!(wire, format!("CAMPAIGN_TYPE_{}", id.to_ascii_uppercase()));
    }
    let number = |wire: pb::CampaignType| u16::try_from(i32::from(wire)).unwrap();
    assert_eq!(number(pb::CampaignType::NoAction), NO_ACTION_NUMBER);
    assert_eq!(number(pb::CampaignType::Custom), CUSTOM_NUMBER);
    let policy = Policy::default_policy().unwrap();
    let wires: BTreeSet<i32> =
        policy.campaigns().iter().map(|campaign| names::campaign(Some(campaign))).collect();
    assert_eq!(wires.len(), 28);
    assert_eq!(names::campaign(None), 0);
}

#[test]
fn instants_come_back_from_the_wire() {
    for micros in [0, 1, -1, 1_780_272_000_123_456, -2_208_988_800_000_000] {
        let there = Timestamp::from_micros(micros);
        assert_eq!(instant("t", &timestamp(there)), Ok(there));
    }
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
        let message = prost_types::Timestamp { seconds, nanos };
        assert_eq!(instant("a.t", &message).unwrap_err().field, "a.t");
    }
    let cut = prost_types::Timestamp { seconds: 5, nanos: 1_999 };
    assert_eq!(instant("t", &cut).unwrap().micros(), 5_000_001);
}

#[test]
fn nesting_in_attributes_is_refused_whatever_its_depth() {
    use prost_types::value::Kind;
    let mut value = prost_types::Value { kind: Some(Kind::NumberValue(1.0)) };
    for _ in 0..50 {
        let list = prost_types::ListValue { values: vec![value] };
        value = prost_types::Value { kind: Some(Kind::ListValue(list)) };
    }
    let object = prost_types::Struct { fields: [("a".to_owned(), value.clone())].into() };
    for kind in [value.kind, Some(Kind::StructValue(object))] {
        let fields = [("tags".to_owned(), prost_types::Value { kind })].into();
        let message = pb::Event {
            event_id: "1".to_owned(),
            customer: "c".to_owned(),
            r#type: "profile".to_owned(),
            event_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            attributes: Some(prost_types::Struct { fields }),
        };
        let refused = event(&message, "events[0]", None, &crate::events::Rules::default());
        assert_eq!(refused.unwrap_err().field, "events[0].attributes.tags");
    }
}
