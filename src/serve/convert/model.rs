//! Traffic policies and what shadows said, as messages.

use super::names;
use crate::bundle::{TrafficArmV1, TrafficCause, TrafficRevisionV1};
use crate::domain::Timestamp;
use crate::scoring::Engine;
use crate::serve::pb;
use crate::serve::serving::{ShadowArm, version_name};
use crate::serve::shadow::Differences;

/// The resource name of a model's traffic policy.
pub(in crate::serve) fn traffic_name(model: &str) -> String {
    format!("models/{model}/trafficPolicy")
}

/// The policy that an engine decides by.
pub(in crate::serve) fn policy(engine: &Engine) -> pb::DecisionPolicy {
    let policy = engine.policy().id();
    pb::DecisionPolicy {
        id: policy.id.clone(),
        version: policy.version.clone(),
        hash: policy.hash.to_vec(),
    }
}

/// One revision of the traffic policy of a model.
pub(in crate::serve) fn traffic(
    model: &str,
    revision: &TrafficRevisionV1,
    etag: &str,
) -> pb::TrafficPolicy {
    let TrafficRevisionV1 { revision, cause, of_revision, changed_at, salt, arms } = revision;
    let cause = match cause {
        TrafficCause::Start => pb::TrafficCause::Start,
        TrafficCause::Update => pb::TrafficCause::Update,
        TrafficCause::Alias => pb::TrafficCause::Alias,
        TrafficCause::RollBack => pb::TrafficCause::RollBack,
        TrafficCause::ArmLost => pb::TrafficCause::ArmLost,
    };
    let arm = |arm: &TrafficArmV1| {
        let TrafficArmV1 { arm, version, weight, shadow } = arm;
        pb::TrafficArm {
            arm: arm.clone(),
            model_version: version_name(model, version),
            weight: u32::from(*weight),
            shadow: *shadow,
        }
    };
    pb::TrafficPolicy {
        name: traffic_name(model),
        arms: arms.iter().map(arm).collect(),
        salt: salt.clone(),
        revision: *revision,
        etag: etag.to_owned(),
        cause: cause.into(),
        of_revision: of_revision.unwrap_or(0),
        change_time: Some(super::timestamp(Timestamp::from_micros(*changed_at))),
    }
}

/// How far a shadow agrees with the champion.
pub(in crate::serve) fn agreement(arm: &ShadowArm) -> pb::ShadowAgreement {
    let sums = arm.agreement.sums();
    let pairs = sums.tiers.iter().map(|((served, shadow), count)| pb::TierPair {
        served: names::tier(*served),
        shadow: names::tier(*shadow),
        count: *count,
    });
    let Differences { n: churn_count, sum, absolute, served: _ } = sums.churn;
    let clv = sums.clv;
    pb::ShadowAgreement {
        arm: arm.name.clone(),
        model_version: arm.served.model_version.clone(),
        served_version: arm.champion.model_version.clone(),
        compared_count: sums.n,
        failed_count: arm.agreement.failed.get(),
        dropped_count: arm.agreement.dropped.get(),
        same_tier_count: sums.n_same_tier(),
        same_decision_count: sums.n_same_action,
        tier_pairs: pairs.collect(),
        churn_count,
        churn_difference_sum: sum,
        churn_absolute_difference_sum: absolute,
        clv_count: clv.n,
        clv_difference_sum: clv.sum,
        clv_absolute_difference_sum: clv.absolute,
        clv_served_sum: clv.served,
    }
}
