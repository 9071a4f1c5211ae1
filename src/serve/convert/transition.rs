//! Changes of standing as messages.

use super::names;
use crate::domain::{CustomerId, Timestamp};
use crate::scoring::{Cause, Standing, StandingV1, TransitionV1};
use crate::serve::pb;

/// A change; a word that this version does not know is not set.
pub(in crate::serve) fn transition(customer: &CustomerId, record: &TransitionV1) -> pb::Transition {
    let TransitionV1 { v: _, before, after, cause, as_of, facts_as_of, tier_reasons, model } =
        record;
    let instant = |micros: i64| super::timestamp(Timestamp::from_micros(micros));
    let cause = match cause {
        Cause::Events => pb::TransitionCause::Events,
        Cause::Time => pb::TransitionCause::Time,
        Cause::Model => pb::TransitionCause::Model,
    };
    pb::Transition {
        customer: customer.as_str().to_owned(),
        previous: before.as_ref().map(standing),
        current: Some(standing(after)),
        cause: cause.into(),
        as_of: Some(instant(*as_of)),
        facts_as_of: facts_as_of.map(instant),
        tier_reasons: tier_reasons.clone(),
        model_version: model.clone(),
    }
}

fn standing(words: &StandingV1) -> pb::Standing {
    let Ok(Standing { tier, segment, heartbeat }) = Standing::try_from(words) else {
        return pb::Standing::default();
    };
    let beat = |beat: Option<_>| beat.map_or(0, names::heartbeat);
    pb::Standing {
        risk_tier: names::tier(tier),
        segment: names::segment(segment),
        orders_heartbeat: beat(heartbeat.orders),
        activity_heartbeat: beat(heartbeat.activity),
        spend_heartbeat: beat(heartbeat.spend),
    }
}
